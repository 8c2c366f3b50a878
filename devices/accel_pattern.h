/* SPDX-License-Identifier: MIT */
/*
 * accel_pattern.h - makes and checks runs of accel_pattern() at memory speed.
 *
 * A run is named by its seed and its byte offset in the sequence; offset and length may be any.
 */
#ifndef VF_DEVICES_ACCEL_PATTERN_H
#define VF_DEVICES_ACCEL_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void accel_pattern_fill(void *to, size_t len, uint64_t seed, uint64_t offset);
bool accel_pattern_equal(const void *data, size_t len, uint64_t seed, uint64_t offset);

#endif
