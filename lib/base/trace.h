/* SPDX-License-Identifier: MIT */
/*
 * trace.h - one session's trace: the points that are passed, a ring of the last events, a listener.
 *
 * Model: the session owns a trace, and whatever works for it has a pointer to it, which may be NULL.
 * Points are declared in lib/base/trace-points. Two rings: points that come often have one of their
 * own, so that what is rare stays. Passing a point costs a look at the clock, two short locks and a copy
 * of 88 bytes, so points are passed for each call and each batch, never for each page.
 *
 * Threads: any. The locks are leaves; the listener is called without them.
 */
#ifndef VF_BASE_TRACE_H
#define VF_BASE_TRACE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/trace.h>

#include "base/trace_points.h"

struct vf_trace;

extern const struct vferry_trace_point vf_trace_points[VF_TRACE__COUNT];

int vf_trace_new(struct vf_trace **ret_trace);
struct vf_trace *vf_trace_free(struct vf_trace *trace);	/* NULL allowed */
/* While nobody passes points. */
void vf_trace_listen(struct vf_trace *trace, vferry_trace_fn fn, void *user);

/* Use vf_trace(). */
int vf_trace_pass(struct vf_trace *trace, enum vf_trace_point point, const char *object, uint64_t a,
		  uint64_t b, uint64_t c);

/*
 * Passes a point; VF_TRACE_NONE is none. @trace and @object may be NULL. Return: 0, or, of a point that can fail, the negative
 * errno that what follows is to fail with.
 */
static inline int vf_trace(struct vf_trace *trace, enum vf_trace_point point, const char *object,
			   uint64_t a, uint64_t b, uint64_t c)
{
	return trace && point != VF_TRACE_NONE ? vf_trace_pass(trace, point, object, a, b, c) : 0;
}

/* pthread_create(), at the point `thread`. Return: 0; negative errno. */
int vf_trace_thread(struct vf_trace *trace, const char *name, pthread_t *ret_thread,
		    void *(*main)(void *), void *user);

#define VF_TRACE_OBJECT_BYTES 40

struct vf_trace_record {
	uint64_t time_ns;
	uint64_t arguments[VFERRY_TRACE_ARGUMENTS];
	uint32_t thread;
	int result;
	uint16_t point;
	char object[VF_TRACE_OBJECT_BYTES];
};

/* All that is kept, oldest first; the caller frees it. Return: 0; -ENOMEM. */
int vf_trace_records(struct vf_trace *trace, struct vf_trace_record **ret_records, size_t *ret_count);
/* How often @point was passed. */
uint64_t vf_trace_passed(const struct vf_trace *trace, enum vf_trace_point point);

/* Made from lib/base/trace-points. */
void vf_trace_probe(enum vf_trace_point point, const char *object, const uint64_t *arguments);

#endif
