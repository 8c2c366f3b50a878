/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder share. */
#ifndef CAPTURE_INTERNAL_H
#define CAPTURE_INTERNAL_H

#include <json-c/json.h>

#include "capture.h"

void capture_print(struct vf_writer *to, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The size of the region must be known. */
int capture_parse_config(const char *text, size_t size, struct capture *c, struct vferry_error *err);
/* device.json as an object; NULL: no memory. */
struct json_object *capture_describe(const struct capture *c);

/* Flags by their names; "bit-N" for the others. */
struct capture_flag {
	uint64_t bit;
	const char *name;
};

struct capture_flags {
	const struct capture_flag *names;
	size_t count;
};

extern const struct capture_flags capture_device_flags, capture_region_flags, capture_irq_flags,
	capture_migration_flags;

#endif
