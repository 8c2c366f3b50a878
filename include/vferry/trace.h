/* SPDX-License-Identifier: MIT */
/*
 * vferry/trace.h - what a session does, told as it does it, and kept for when it fails.
 *
 * A trace point is a place in the library that is passed while a migration runs: a message goes out
 * or comes in, a device is asked for a state, a system call of the data path is made, a step begins or
 * ends. Each passing is an event: the point, what it happens to, up to three numbers, the time, the
 * thread. Contents of guest memory are never among them. The last events of each session are kept in
 * memory, always, and vferry_session_dump_trace() writes them down; where <sys/sdt.h> was there at build
 * time each point is also a USDT probe, `vferry:send__commit`.
 *
 * For tests: a point that `can_fail` is passed before the thing is done, and a negative errno from
 * the callback makes it fail with that, without being done, as if the kernel, the peer or the device
 * had said so.
 */
#ifndef VFERRY_TRACE_H
#define VFERRY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vferry_session;

enum vferry_trace_kind {
	VFERRY_TRACE_MESSAGE = 1,
	VFERRY_TRACE_DEVICE = 2,
	VFERRY_TRACE_CALL = 3,		/* a system call of the data path */
	VFERRY_TRACE_STEP = 4,
	VFERRY_TRACE_STATE = 5,
	VFERRY_TRACE_ROUND = 6,
	VFERRY_TRACE_MEMORY = 7,
};

/** vferry_trace_kind_name() - "message". Return: static string. */
const char *vferry_trace_kind_name(enum vferry_trace_kind kind);

#define VFERRY_TRACE_ARGUMENTS 3

struct vferry_trace_point {
	const char *name;		/* "send-commit" */
	enum vferry_trace_kind kind;
	bool can_fail;			/* told before it is done; see above */
	bool often;			/* may come thousands of times a second */
	const char *arguments[VFERRY_TRACE_ARGUMENTS];	/* names of the numbers; NULL: no such number */
	const char *sentence;
};

/* All points, by number from 1. The numbers may differ between versions; the names are kept. */
size_t vferry_trace_point_count(void);
/** vferry_trace_get_point() - Return: static; NULL: no such number */
const struct vferry_trace_point *vferry_trace_get_point(size_t number);
/** vferry_trace_find_point() - Return: its number; 0: no such name */
size_t vferry_trace_find_point(const char *name);

struct vferry_trace_event {
	uint32_t size;
	uint32_t number;		/* of the point */
	const struct vferry_trace_point *point;
	const char *object;		/* "vfio/00:04.0"; may be empty; valid during the call */
	uint64_t arguments[VFERRY_TRACE_ARGUMENTS];
	uint64_t time_ns;		/* CLOCK_MONOTONIC */
	uint32_t thread;		/* as in /proc/self/task */
	int result;			/* in a dump: what the callback returned; else 0 */
};

/*
 * On whatever thread passes the point, which waits, and may hold locks of the library: no function of
 * the session, its devices or its RAM may be called. Return: 0; a negative errno: fail, if it can.
 */
typedef int (*vferry_trace_fn)(void *user, const struct vferry_trace_event *event);

/* Before the start. @fn NULL: nobody. Return: 0; -EBUSY the session was started. */
int vferry_session_set_trace(struct vferry_session *session, vferry_trace_fn fn, void *user);

enum vferry_trace_format { VFERRY_TRACE_TEXT = 0, VFERRY_TRACE_JSON = 1 };

/**
 * vferry_session_dump_trace() - the last events of a session, and what became of it
 *
 * At any time, also while it runs. As text: a line an event. As JSON: one object, with `session` (state,
 * outcome, error, rounds, figures), `points` (how often each was passed) and `events`, oldest first.
 *
 * Return: 0 and a string that the caller frees; -ENOMEM.
 */
int vferry_session_dump_trace(struct vferry_session *session, enum vferry_trace_format format,
			      char **ret_text);

#ifdef __cplusplus
}
#endif
#endif
