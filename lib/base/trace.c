/* SPDX-License-Identifier: MIT */
/* trace.c - see trace.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/trace.h"

#define RARE_RECORDS 1024u
#define OFTEN_RECORDS 512u

struct ring {
	pthread_mutex_t lock;		/* protects what follows */
	struct vf_trace_record *records;	/* owned */
	size_t room;
	uint64_t written;		/* ever; the next goes to written % room */
};

struct vf_trace {
	vferry_trace_fn fn;
	void *user;
	struct ring rare, often;
	uint64_t passed[VF_TRACE__COUNT];	/* atomic, relaxed */
};

static int ring_init(struct ring *ring, size_t room)
{
	(void) pthread_mutex_init(&ring->lock, NULL);
	ring->room = room;
	ring->records = calloc(room, sizeof(*ring->records));
	return ring->records ? 0 : -ENOMEM;
}

static void ring_done(struct ring *ring)
{
	(void) pthread_mutex_destroy(&ring->lock);
	free(ring->records);
}

int vf_trace_new(struct vf_trace **ret_trace)
{
	struct vf_trace *trace = calloc(1, sizeof(*trace));
	int ret;

	if (!trace)
		return -ENOMEM;
	ret = ring_init(&trace->rare, RARE_RECORDS);
	if (ring_init(&trace->often, OFTEN_RECORDS) || ret) {
		(void) vf_trace_free(trace);
		return -ENOMEM;
	}
	*ret_trace = trace;
	return 0;
}

struct vf_trace *vf_trace_free(struct vf_trace *trace)
{
	if (trace) {
		ring_done(&trace->rare);
		ring_done(&trace->often);
		free(trace);
	}
	return NULL;
}

void vf_trace_listen(struct vf_trace *trace, vferry_trace_fn fn, void *user)
{
	trace->fn = fn;
	trace->user = user;
}

static void keep(struct ring *ring, const struct vf_trace_record *record)
{
	(void) pthread_mutex_lock(&ring->lock);
	ring->records[ring->written++ % ring->room] = *record;
	(void) pthread_mutex_unlock(&ring->lock);
}

static int tell(const struct vf_trace *trace, const struct vferry_trace_point *info,
		const struct vf_trace_record *record, const char *object)
{
	struct vferry_trace_event event = {
		.size = sizeof(event), .number = record->point, .point = info, .object = object,
		.time_ns = record->time_ns, .thread = record->thread,
	};
	int ret;

	memcpy(event.arguments, record->arguments, sizeof(event.arguments));
	ret = trace->fn(trace->user, &event);
	return ret < 0 && info->can_fail ? ret : 0;
}

int vf_trace_pass(struct vf_trace *trace, enum vf_trace_point point, const char *object, uint64_t a,
		  uint64_t b, uint64_t c)
{
	const struct vferry_trace_point *info = &vf_trace_points[point];
	struct vf_trace_record record = {
		.time_ns = vf_now_ns(), .arguments = { a, b, c }, .point = (uint16_t) point,
		.thread = (uint32_t) gettid(),
	};

	if (!object)
		object = "";
	(void) __atomic_fetch_add(&trace->passed[point], 1, __ATOMIC_RELAXED);
	vf_trace_probe(point, object, record.arguments);
	if (trace->fn)
		record.result = tell(trace, info, &record, object);
	memcpy(record.object, object, vf_min_u64(strlen(object), sizeof(record.object) - 1));
	keep(info->often ? &trace->often : &trace->rare, &record);
	return record.result;
}

int vf_trace_thread(struct vf_trace *trace, const char *name, pthread_t *ret_thread,
		    void *(*main)(void *), void *user)
{
	int ret = vf_trace(trace, VF_TRACE_THREAD, name, 0, 0, 0);

	return ret ? ret : -pthread_create(ret_thread, NULL, main, user);
}

uint64_t vf_trace_passed(const struct vf_trace *trace, enum vf_trace_point point)
{
	return __atomic_load_n(&trace->passed[point], __ATOMIC_RELAXED);
}

/* ---- reading ---- */

static size_t copy_ring(struct ring *ring, struct vf_trace_record *to)
{
	size_t count;

	(void) pthread_mutex_lock(&ring->lock);
	count = vf_min_u64(ring->written, ring->room);
	for (size_t i = 0; i < count; i++)
		to[i] = ring->records[(ring->written - count + i) % ring->room];
	(void) pthread_mutex_unlock(&ring->lock);
	return count;
}

static int earlier(const void *a, const void *b)
{
	uint64_t x = ((const struct vf_trace_record *) a)->time_ns;
	uint64_t y = ((const struct vf_trace_record *) b)->time_ns;

	return x < y ? -1 : x > y;
}

int vf_trace_records(struct vf_trace *trace, struct vf_trace_record **ret_records, size_t *ret_count)
{
	struct vf_trace_record *records = calloc(RARE_RECORDS + OFTEN_RECORDS, sizeof(*records));
	size_t count;

	if (!records)
		return -ENOMEM;
	count = copy_ring(&trace->rare, records);
	count += copy_ring(&trace->often, records + count);
	qsort(records, count, sizeof(*records), earlier);
	*ret_records = records;
	*ret_count = count;
	return 0;
}

/* ---- the points, for embedders ---- */

const char *vferry_trace_kind_name(enum vferry_trace_kind kind)
{
	static const char *const names[] = {
		[VFERRY_TRACE_MESSAGE] = "message", [VFERRY_TRACE_DEVICE] = "device",
		[VFERRY_TRACE_CALL] = "call", [VFERRY_TRACE_STEP] = "step",
		[VFERRY_TRACE_STATE] = "state", [VFERRY_TRACE_ROUND] = "round",
		[VFERRY_TRACE_MEMORY] = "memory",
	};

	return kind < VF_ARRAY_COUNT(names) && names[kind] ? names[kind] : "unknown";
}

size_t vferry_trace_point_count(void)
{
	return VF_TRACE__COUNT - 1;
}

const struct vferry_trace_point *vferry_trace_get_point(size_t number)
{
	return number > VF_TRACE_NONE && number < VF_TRACE__COUNT ? &vf_trace_points[number] : NULL;
}

size_t vferry_trace_find_point(const char *name)
{
	for (size_t i = VF_TRACE_NONE + 1; i < VF_TRACE__COUNT; i++)
		if (!strcmp(vf_trace_points[i].name, name))
			return i;
	return 0;
}
