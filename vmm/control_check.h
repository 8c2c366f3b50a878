/* SPDX-License-Identifier: MIT */
/* control_check.h - arguments of a request against their table. Pure; any thread. */
#ifndef VMM_CONTROL_CHECK_H
#define VMM_CONTROL_CHECK_H

#include <json-c/json.h>

#include "control.h"

/**
 * control_check() - every member known, of its type and in its range, none missing
 * @table: NULL: nothing is allowed
 * @arguments: an object, or NULL
 * @text: what is wrong, in QEMU's words
 *
 * Return: 0; -EINVAL.
 */
int control_check(const struct control_argument *table, struct json_object *arguments, char *text,
		  size_t size);

#endif
