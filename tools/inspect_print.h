/* SPDX-License-Identifier: MIT */
/* inspect_print.h - an inspection as text, and as JSON. */
#ifndef TOOLS_INSPECT_PRINT_H
#define TOOLS_INSPECT_PRINT_H

#include <stdbool.h>

#include <vferry/inspect.h>

struct json_object;

struct inspect_style {
	const char *name;	/* of the file, as it was given */
	bool numeric;		/* PCI numbers without names */
	bool verify;		/* all pages were checked */
};

void inspect_print_frame(const struct vferry_inspect_frame *frame);
void inspect_print(const struct vferry_inspection *i, const struct inspect_style *style);

struct json_object *inspect_json_frame(const struct vferry_inspect_frame *frame);
/* The caller puts it. */
struct json_object *inspect_json(const struct vferry_inspection *i,
				 const struct inspect_style *style);

#endif
