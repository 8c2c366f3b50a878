/* SPDX-License-Identifier: MIT */
/* watch.c - see rollback.h. */
#include <errno.h>
#include <string.h>

#include "rollback.h"

const char *const side_names[SIDES] = { "source", "destination" };

int watch_error_of(const struct vferry_trace_point *point)
{
	switch (point->kind) {
	case VFERRY_TRACE_MESSAGE:
		return -ECONNRESET;
	case VFERRY_TRACE_MEMORY:
		return -ENOMEM;
	case VFERRY_TRACE_CALL:
		if (!strncmp(point->name, "file-", 5) || !strncmp(point->name, "record-", 7))
			return -ENOSPC;
		return !strcmp(point->name, "thread") ? -EAGAIN : -EIO;
	default:
		return -EIO;
	}
}

/* Of a reset by the guest, whose own access it is; the migration only follows it. */
static bool is_of_guest(const struct watch *w, const struct vferry_trace_event *event)
{
	return __atomic_load_n(w->guest_resets, __ATOMIC_ACQUIRE) &&
	       (!strcmp(event->point->name, "device-reset") ||
		!strcmp(event->point->name, "device-state") ||
		!strcmp(event->point->name, "device-running"));
}

int watch_event(void *user, const struct vferry_trace_event *event)
{
	struct watch *w = user;
	uint64_t n;

	if (!strcmp(event->point->name, "send-commit") && w->side == SOURCE)
		__atomic_store_n(&w->result->committed, true, __ATOMIC_RELAXED);
	if (!__atomic_load_n(w->counting, __ATOMIC_ACQUIRE)) {
		if (event->number != w->first_point)
			return 0;
		__atomic_store_n(w->counting, true, __ATOMIC_RELEASE);
		return watch_error_of(event->point);
	}
	if (event->number >= POINTS_MAX || is_of_guest(w, event))
		return 0;
	n = __atomic_add_fetch(&w->result->passed[w->side][event->number], 1, __ATOMIC_RELAXED);
	if (event->number != w->fault.point || n != w->fault.nth)
		return 0;
	__atomic_store_n(&w->result->fired, true, __ATOMIC_RELAXED);
	return w->fault.error;
}
