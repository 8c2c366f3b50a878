/* SPDX-License-Identifier: MIT */
/* control_check.c - see control_check.h. */
#include "control_check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct place {
	char path[128];		/* "capabilities[0].", for messages */
	char *text;
	size_t size;
};

static int say(const struct place *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int say(const struct place *p, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(p->text, p->size, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int wrong_type(const struct place *p, const char *name, const char *expected)
{
	return say(p, "Invalid parameter type for '%s%s', expected: %s", p->path, name, expected);
}

static int check_members(const struct place *p, const struct control_argument *table,
			 struct json_object *object);

static int check_int(const struct place *p, const struct control_argument *a,
		     struct json_object *value)
{
	int64_t number;

	if (!json_object_is_type(value, json_type_int))
		return wrong_type(p, a->name, "integer");
	errno = 0;
	number = json_object_get_int64(value);
	/* A number above INT64_MAX is cut to it, with ERANGE where json-c says so. */
	if (errno == ERANGE || number < a->min || number > a->max)
		return say(p, "Parameter '%s%s' expects a value between %" PRId64 " and %" PRId64
			   "%s%s", p->path, a->name, a->min, a->max, a->unit ? " " : "",
			   a->unit ? a->unit : "");
	return 0;
}

static int check_word(const struct place *p, const struct control_argument *a,
		      struct json_object *value)
{
	const char *word = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return wrong_type(p, a->name, "string");
	for (size_t i = 0; a->words[i]; i++)
		if (!strcmp(a->words[i], word))
			return 0;
	/* QEMU names the member only here. */
	return say(p, "Parameter '%s' does not accept value '%.64s'", a->name, word);
}

static int check_list(const struct place *p, const struct control_argument *a,
		      struct json_object *value)
{
	if (!json_object_is_type(value, json_type_array))
		return wrong_type(p, a->name, "array");
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		struct json_object *entry = json_object_array_get_idx(value, i);
		struct place inner = { .text = p->text, .size = p->size };
		int ret;

		(void) snprintf(inner.path, sizeof(inner.path), "%.40s%.40s[%zu]", p->path, a->name, i);
		if (!json_object_is_type(entry, json_type_object))
			return wrong_type(&inner, "", "object");
		(void) snprintf(inner.path + strlen(inner.path),
				sizeof(inner.path) - strlen(inner.path), ".");
		ret = check_members(&inner, a->members, entry);
		if (ret)
			return ret;
	}
	return 0;
}

static int check_one(const struct place *p, const struct control_argument *a,
		     struct json_object *value)
{
	struct place inner = { .text = p->text, .size = p->size };

	switch (a->kind) {
	case CONTROL_STRING:
		if (!json_object_is_type(value, json_type_string))
			return wrong_type(p, a->name, "string");
		/* What comes after an inner NUL would not be seen by anybody. */
		if (strlen(json_object_get_string(value)) != (size_t) json_object_get_string_len(value))
			return say(p, "Parameter '%s%s' contains a NUL", p->path, a->name);
		return 0;
	case CONTROL_INT:
		return check_int(p, a, value);
	case CONTROL_BOOL:
		return json_object_is_type(value, json_type_boolean)
			       ? 0 : wrong_type(p, a->name, "boolean");
	case CONTROL_WORD:
		return check_word(p, a, value);
	case CONTROL_OBJECT:
		if (!json_object_is_type(value, json_type_object))
			return wrong_type(p, a->name, "object");
		(void) snprintf(inner.path, sizeof(inner.path), "%.40s%.40s.", p->path, a->name);
		return check_members(&inner, a->members, value);
	case CONTROL_LIST:
		return check_list(p, a, value);
	}
	return -EINVAL;
}

static int check_members(const struct place *p, const struct control_argument *table,
			 struct json_object *object)
{
	static const struct control_argument none[] = { { 0 } };
	struct json_object *value;
	int ret;

	if (!table)
		table = none;
	for (const struct control_argument *a = table; a->name; a++) {
		if (!object || !json_object_object_get_ex(object, a->name, &value)) {
			if (!a->optional)
				return say(p, "Parameter '%s%s' is missing", p->path, a->name);
			continue;
		}
		ret = check_one(p, a, value);
		if (ret)
			return ret;
	}
	if (!object)
		return 0;
	json_object_object_foreach(object, key, member) {
		const struct control_argument *a = table;

		(void) member;
		while (a->name && strcmp(a->name, key))
			a++;
		if (!a->name)
			return say(p, "Parameter '%s%.64s' is unexpected", p->path, key);
	}
	return 0;
}

int control_check(const struct control_argument *table, struct json_object *arguments, char *text,
		  size_t size)
{
	const struct place top = { .path = "", .text = text, .size = size };

	return check_members(&top, table, arguments);
}
