/* SPDX-License-Identifier: MIT */
/* error.c - fills the error object; the model is in <vferry/error.h>. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include <vferry/error.h>

static void set_text(char *to, size_t size, const char *from)
{
	(void) snprintf(to, size, "%s", from ? from : "");
}

int vferry_error_setv(struct vferry_error *err, int code, const char *id, const char *object,
		      const char *fmt, va_list args)
{
	if (!err || err->code)
		return code;
	err->code = code;
	set_text(err->id, sizeof(err->id), id);
	set_text(err->object, sizeof(err->object), object);
	(void) vsnprintf(err->message, sizeof(err->message), fmt, args);
	return code;
}

int vferry_error_set(struct vferry_error *err, int code, const char *id, const char *object,
		     const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vferry_error_setv(err, code, id, object, fmt, args);
	va_end(args);
	return code;
}

void vferry_error_phase(struct vferry_error *err, const char *phase)
{
	if (err && !err->phase[0])
		set_text(err->phase, sizeof(err->phase), phase);
}

void vferry_error_clear(struct vferry_error *err)
{
	if (err)
		memset(err, 0, sizeof(*err));
}

const char *vferry_errno_name(int code)
{
	const char *name = strerrorname_np(code < 0 ? -code : code);

	return name ? name : "E?";
}
