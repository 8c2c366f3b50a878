/* SPDX-License-Identifier: MIT */
/*
 * accel_config.h - the accel function's config space: what it holds and what writes change.
 *
 * Model: 4096 bytes with a mask of writable bits for the first 256; everything else is read-only
 * zero. Writing tells the caller which of the device's moods may have changed; the caller acts.
 * MSI pending bits live here, in their register.
 *
 * Threads: none of its own; the device's lock covers it.
 */
#ifndef VF_DEVICES_ACCEL_CONFIG_H
#define VF_DEVICES_ACCEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define ACCEL_CONFIG_BYTES 4096u

enum accel_config_change {
	ACCEL_CONFIG_COMMAND = 1 << 0,	/* bus master, INTx disable */
	ACCEL_CONFIG_MSI = 1 << 1,	/* enable, vectors, mask */
	ACCEL_CONFIG_MSIX = 1 << 2,
	ACCEL_CONFIG_POWER = 1 << 3,
	ACCEL_CONFIG_FLR = 1 << 4,	/* the function must be reset now */
};

struct accel_config_space {
	uint8_t data[ACCEL_CONFIG_BYTES];
	uint32_t msix_vectors;
};

/* As at power-on, with @msix_vectors (0 = no MSI-X capability). */
void accel_config_reset(struct accel_config_space *c, uint32_t msix_vectors);
/* The range must lie inside. */
void accel_config_read(const struct accel_config_space *c, uint32_t at, void *to, uint32_t len);
/* Return: ACCEL_CONFIG_* of what was touched. */
unsigned int accel_config_write(struct accel_config_space *c, uint32_t at, const void *from,
				uint32_t len);

bool accel_config_bus_master(const struct accel_config_space *c);
bool accel_config_intx_disabled(const struct accel_config_space *c);
bool accel_config_in_d0(const struct accel_config_space *c);
bool accel_config_msi_enabled(const struct accel_config_space *c);
bool accel_config_msix_enabled(const struct accel_config_space *c);
uint32_t accel_config_msi_vectors(const struct accel_config_space *c);	/* 1..ACCEL_MSI_VECTORS */
uint32_t accel_config_msi_mask(const struct accel_config_space *c);
uint32_t accel_config_msi_pending(const struct accel_config_space *c);
void accel_config_set_msi_pending(struct accel_config_space *c, uint32_t pending);
void accel_config_set_intx_status(struct accel_config_space *c, bool asserted);

#endif
