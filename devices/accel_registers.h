/* SPDX-License-Identifier: MIT */
/*
 * accel_registers.h - the REGISTERS record of the state stream: everything but the two memories.
 *
 * Fixed length; the fields are in accel_registers.c, in one list for both directions.
 */
#ifndef VF_DEVICES_ACCEL_REGISTERS_H
#define VF_DEVICES_ACCEL_REGISTERS_H

#include "accel_device.h"

#define ACCEL_REGISTERS_BYTES 168u
#define ACCEL_REGISTERS_1_BYTES 152u	/* of version 1, which had no DOORBELL */

struct accel_saved_registers {
	struct accel_registers reg;
	struct accel_job job;
	uint32_t msi_pending;
	uint64_t dirty_block;
};

/* Writes ACCEL_REGISTERS_BYTES. The device must be stopped. */
size_t accel_registers_encode(const struct accel_device *a, uint8_t *to);
/* -EINVAL: wrong length, or values that no device can have. @a is looked at only. */
int accel_registers_decode(const struct accel_device *a, const void *from, size_t len,
			   struct accel_saved_registers *ret);
void accel_registers_apply(struct accel_device *a, const struct accel_saved_registers *saved);

#endif
