/* SPDX-License-Identifier: MIT */
/*
 * vferry/error.h - what went wrong, for people and for programs.
 *
 * Every function of the library that can fail returns 0 or a positive count on success and a
 * negative errno on failure. Where a person can act on the detail, the function also takes an
 * optional struct vferry_error as its last argument. It is caller's storage, needs no clean-up,
 * and is written only on failure, once, where the failure is first understood; callers above add
 * context with vferry_error_phase() only. NULL is always allowed.
 *
 * Threads: an error object belongs to whoever passed it; the library keeps no reference.
 */
#ifndef VFERRY_ERROR_H
#define VFERRY_ERROR_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vferry_error {
	int code;		/* negative errno, 0 = nothing went wrong */
	char phase[24];		/* "setup", "active", "device", "load", ... ; may be empty */
	char object[64];	/* component or thing: "vfio/00:04.0", "tcp:host:4444" */
	char id[48];		/* stable word for programs: "config-mismatch" */
	char message[512];	/* one sentence for people */
};

#define VFERRY_ERROR_INIT { 0 }

/**
 * vferry_error_set() - record a failure
 * @err:    may be NULL; left alone when it already holds an error (the first one counts)
 * @code:   negative errno
 * @id:     stable identifier for programs, a string literal
 * @object: what it happened to, may be NULL
 * @fmt:    sentence for people: what was attempted, on what, and what can be done
 *
 * Return: @code, so that a failing function can end in `return vferry_error_set(...)`.
 */
int vferry_error_set(struct vferry_error *err, int code, const char *id, const char *object,
		     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

int vferry_error_setv(struct vferry_error *err, int code, const char *id, const char *object,
		      const char *fmt, va_list args) __attribute__((format(printf, 5, 0)));

/** vferry_error_phase() - name the phase, unless one is named already. @err may be NULL. */
void vferry_error_phase(struct vferry_error *err, const char *phase);

/** vferry_error_clear() - back to "nothing went wrong". @err may be NULL. */
void vferry_error_clear(struct vferry_error *err);

/**
 * vferry_errno_name() - "EINVAL" for -EINVAL (or EINVAL)
 *
 * Return: a static string; "E?" for a number that has no name.
 */
const char *vferry_errno_name(int code);

#ifdef __cplusplus
}
#endif
#endif
