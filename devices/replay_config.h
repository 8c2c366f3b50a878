/* SPDX-License-Identifier: MIT */
/*
 * replay_config.h - config space of a replayed device: the captured bytes, and which bits of them can be
 * written.
 *
 * Model: what a host or guest must be able to set is writable: COMMAND, BARs by their regions' sizes,
 * interrupt line, power state, MSI, MSI-X, device control. All else is as captured, whatever is
 * written. Capabilities that make no sense have nothing writable.
 *
 * Threads: none of its own.
 */
#ifndef VF_DEVICES_REPLAY_CONFIG_H
#define VF_DEVICES_REPLAY_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "capture/capture.h"

struct replay_config {
	const struct capture *capture;	/* borrowed */
	uint32_t size;
	uint8_t bytes[CAPTURE_CONFIG_MAX];
	uint8_t writable[CAPTURE_CONFIG_MAX];	/* by bit */
	uint8_t resets[CAPTURE_CONFIG_MAX];	/* by bit: a 1 written there resets the function */
};

void replay_config_init(struct replay_config *c, const struct capture *capture);
/* As captured. */
void replay_config_reset(struct replay_config *c);
/* The range must lie inside. */
void replay_config_read(const struct replay_config *c, uint32_t at, void *to, uint32_t len);
/* Return: must the function be reset now? */
bool replay_config_write(struct replay_config *c, uint32_t at, const void *from, uint32_t len);

#endif
