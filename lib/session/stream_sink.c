/* SPDX-License-Identifier: MIT */
/* stream_sink.c - see stream_sink.h. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "session/stream_sink.h"
#include "wire/message.h"

#define MAX_QUEUED 4096		/* marks cost no credit: bounded by number */
#define PLACE_BYTES (1u << 20)	/* what our own source sends at once */
#define OWN_PLACES 4u
#define MAX_PLACES 64u

struct item {
	struct item *next;
	uint16_t type;		/* enum vf_frame_type */
	struct vf_stream_mark mark;
	uint32_t generation;	/* RESTART */
	size_t bytes;
	uint32_t crc;		/* of data */
	const uint8_t *data;	/* in a place, or behind the item */
	uint8_t copy[];
};

struct vf_stream_sink {
	uint32_t component;
	const char *name;
	const struct vferry_stream_ops *stream;
	void *stream_user;
	const struct vf_stream_sink_ops *ops;
	void *user;
	uint64_t limit_bytes;
	uint8_t *area;		/* places, one behind the other */
	uint8_t *own_area;	/* the same, or NULL: it is the component's */
	uint32_t place_count;

	pthread_mutex_t lock;	/* everything below, except what only the load steps touch */
	pthread_cond_t changed;
	struct item *first;
	struct item **last;
	uint32_t count;
	uint64_t held_bytes;
	uint64_t places_taken;	/* bit per place */
	uint64_t ungranted_bytes;	/* loaded; granted anew when it is worth a message */
	bool cancelled;
	/* What is put: */
	bool started;
	uint32_t put_generation;
	uint64_t put_offset;
	bool put_end;		/* the mark "end" of this generation */

	/* What is loaded; load steps only, one at a time. */
	uint32_t generation;
	uint64_t offset;
	uint32_t crc;
	bool stopped;		/* mark "stopped" was reached */
};

int vf_stream_sink_new(uint32_t component, const char *name, const struct vferry_stream_ops *stream,
		       void *stream_user, uint64_t limit_bytes, const struct vf_stream_sink_ops *ops,
		       void *user, struct vf_stream_sink **ret_sink)
{
	struct vf_stream_sink *s = calloc(1, sizeof(*s));
	size_t area_bytes = 0;

	if (!s)
		return -ENOMEM;
	if (stream->area)
		s->area = stream->area(stream_user, &area_bytes);
	if (area_bytes < PLACE_BYTES) {
		area_bytes = OWN_PLACES * PLACE_BYTES;
		s->area = s->own_area = aligned_alloc(VF_PAGE_BYTES, area_bytes);
		if (!s->area) {
			free(s);
			return -ENOMEM;
		}
	}
	s->place_count = (uint32_t) vf_min_u64(area_bytes / PLACE_BYTES, MAX_PLACES);
	/* As many as credit can fill are there before the pause, in which they would be touched first. */
	(void) madvise(s->area, vf_min_u64(area_bytes, limit_bytes + PLACE_BYTES), MADV_POPULATE_WRITE);
	s->component = component;
	s->name = name;
	s->stream = stream;
	s->stream_user = stream_user;
	s->limit_bytes = limit_bytes;
	s->ops = ops;
	s->user = user;
	s->last = &s->first;
	(void) pthread_mutex_init(&s->lock, NULL);
	(void) pthread_cond_init(&s->changed, NULL);
	*ret_sink = s;
	return 0;
}

struct vf_stream_sink *vf_stream_sink_free(struct vf_stream_sink *s)
{
	if (!s)
		return NULL;
	while (s->first) {
		struct item *item = s->first;

		s->first = item->next;
		free(item);
	}
	(void) pthread_cond_destroy(&s->changed);
	(void) pthread_mutex_destroy(&s->lock);
	free(s->own_area);
	free(s);
	return NULL;
}

static int queue_locked(struct vf_stream_sink *s, struct item *item, struct vferry_error *err)
{
	if (s->count == MAX_QUEUED || item->bytes > s->limit_bytes - s->held_bytes)
		return vferry_error_set(err, -ENOBUFS, "credit-exceeded", s->name,
					"%zu bytes of state came with %" PRIu64 " of %" PRIu64
					" queued: the source has not kept its credit",
					item->bytes, s->held_bytes, s->limit_bytes);
	*s->last = item;
	s->last = &item->next;
	s->count++;
	s->held_bytes += item->bytes;
	(void) pthread_cond_broadcast(&s->changed);
	return 0;
}

static int out_of_order(struct vf_stream_sink *s, uint32_t generation, uint64_t offset,
			struct vferry_error *err)
{
	return vferry_error_set(err, -EPROTO, "stream-out-of-order", s->name,
				"state of generation %u at %" PRIu64 " where %u at %" PRIu64
				" was due", generation, offset, s->put_generation, s->put_offset);
}

void *vf_stream_sink_place(struct vf_stream_sink *s, size_t length)
{
	void *place = NULL;

	if (length <= VF_STREAM_HEADER_BYTES || length - VF_STREAM_HEADER_BYTES > PLACE_BYTES)
		return NULL;
	(void) pthread_mutex_lock(&s->lock);
	/* The first free one: what was used last is in the cache still. */
	for (uint32_t i = 0; i < s->place_count && !place; i++) {
		if (s->places_taken >> i & 1)
			continue;
		s->places_taken |= 1ull << i;
		place = s->area + (size_t) i * PLACE_BYTES;
	}
	(void) pthread_mutex_unlock(&s->lock);
	return place;
}

/* Not in a place: nothing to do. */
static void leave_place_locked(struct vf_stream_sink *s, const void *data)
{
	uintptr_t at = (uintptr_t) data, start = (uintptr_t) s->area;

	if (at >= start && at - start < (size_t) s->place_count * PLACE_BYTES)
		s->places_taken &= ~(1ull << (at - start) / PLACE_BYTES);
}

/* @place: where the data is, and @body the header alone; or NULL. */
static int put_data(struct vf_stream_sink *s, const struct vf_frame *frame, const uint8_t *body,
		    void *place, struct item **ret, struct vferry_error *err)
{
	size_t bytes = frame->length;
	struct vf_stream_header h;
	uint32_t head_crc;
	struct item *item;
	int error = vf_stream_header_decode(body, bytes, &h, err);

	if (error)
		return error;
	head_crc = vf_crc32c(0, body, VF_STREAM_HEADER_BYTES);
	body += VF_STREAM_HEADER_BYTES;
	bytes -= VF_STREAM_HEADER_BYTES;
	if (!s->started) {
		s->started = true;
		s->put_generation = h.generation;
	}
	if (h.generation != s->put_generation || h.offset != s->put_offset)
		return out_of_order(s, h.generation, h.offset, err);
	/* Bounded by the frame's length; checked against credit again where it is queued. */
	item = bytes > s->limit_bytes ? NULL : malloc(sizeof(*item) + (place ? 0 : bytes));
	if (!item)
		return vferry_error_set(err, -ENOMEM, "no-memory", s->name,
					"no memory for %zu bytes of state", bytes);
	*item = (struct item) {
		.type = VF_FRAME_STREAM_DATA,
		.bytes = bytes,
		.data = place ? place : item->copy,
		/* The frame's sum is verified; taking the header's out of it leaves the data's. */
		.crc = vf_crc32c_combine(head_crc, frame->body_crc, bytes),
	};
	if (!place)
		memcpy(item->copy, body, bytes);
	s->put_offset += bytes;
	*ret = item;
	return 0;
}

static int put_mark(struct vf_stream_sink *s, const uint8_t *body, size_t bytes, struct item *item,
		    struct vferry_error *err)
{
	int error = vf_stream_mark_decode(body, bytes, &item->mark, err);

	if (error)
		return error;
	if (!s->started) {
		s->started = true;
		s->put_generation = item->mark.generation;
	}
	if (item->mark.generation != s->put_generation || item->mark.offset != s->put_offset)
		return out_of_order(s, item->mark.generation, item->mark.offset, err);
	s->put_end = item->mark.kind == VF_MARK_END;
	return 0;
}

static int put_restart(struct vf_stream_sink *s, const uint8_t *body, size_t bytes,
		       struct item *item, struct vferry_error *err)
{
	int error = vf_number32_decode(body, bytes, &item->generation, err);

	if (error)
		return error;
	s->started = true;
	s->put_generation = item->generation;
	s->put_offset = 0;
	s->put_end = false;
	return 0;
}

int vf_stream_sink_put(struct vf_stream_sink *s, const struct vf_frame *frame, const void *body,
		       void *place, struct vferry_error *err)
{
	struct item *item = NULL;
	int ret;

	(void) pthread_mutex_lock(&s->lock);
	if (frame->type == VF_FRAME_STREAM_DATA) {
		ret = put_data(s, frame, body, place, &item, err);
	} else {
		item = calloc(1, sizeof(*item));
		if (!item)
			ret = -ENOMEM;
		else if (frame->type == VF_FRAME_STREAM_MARK)
			ret = put_mark(s, body, frame->length, item, err);
		else
			ret = put_restart(s, body, frame->length, item, err);
		if (item)
			item->type = frame->type;
	}
	if (!ret)
		ret = queue_locked(s, item, err);
	if (ret && place)
		leave_place_locked(s, place);
	(void) pthread_mutex_unlock(&s->lock);
	if (ret)
		free(item);
	return ret;
}

bool vf_stream_sink_has_all(struct vf_stream_sink *s)
{
	bool all;

	(void) pthread_mutex_lock(&s->lock);
	all = s->put_end;
	(void) pthread_mutex_unlock(&s->lock);
	return all;
}

int vf_stream_sink_wait_room(struct vf_stream_sink *s, size_t bytes)
{
	int ret;

	(void) pthread_mutex_lock(&s->lock);
	while (!s->cancelled && (s->count == MAX_QUEUED ||
				 (s->held_bytes && bytes > s->limit_bytes - s->held_bytes)))
		(void) pthread_cond_wait(&s->changed, &s->lock);
	ret = s->cancelled ? -ECANCELED : 0;
	(void) pthread_mutex_unlock(&s->lock);
	return ret;
}

/* The next item, which the caller frees; @wait: until there is one. -ECANCELED; -EAGAIN. */
static int take(struct vf_stream_sink *s, bool wait, struct item **ret)
{
	struct item *item;
	int error = 0;

	(void) pthread_mutex_lock(&s->lock);
	while (wait && !s->first && !s->cancelled)
		(void) pthread_cond_wait(&s->changed, &s->lock);
	item = s->cancelled ? NULL : s->first;
	if (!item)
		error = s->cancelled ? -ECANCELED : -EAGAIN;
	if (item) {
		s->first = item->next;
		if (!s->first)
			s->last = &s->first;
		s->count--;
		(void) pthread_cond_broadcast(&s->changed);
	}
	(void) pthread_mutex_unlock(&s->lock);
	*ret = item;
	return error;
}

static int load_chunk(struct vf_stream_sink *s, const struct item *item, uint64_t *bytes,
		      struct vferry_error *err)
{
	int ret = s->stream->write(s->stream_user, item->data, item->bytes, err);
	uint64_t grant = 0;

	if (ret)
		return ret < 0 ? ret : -EIO;
	s->crc = vf_crc32c_combine(s->crc, item->crc, item->bytes);
	s->offset += item->bytes;
	*bytes += item->bytes;
	(void) pthread_mutex_lock(&s->lock);
	s->held_bytes -= item->bytes;
	leave_place_locked(s, item->data);
	/* The source is left with at least three quarters, so it never waits for what is withheld. */
	s->ungranted_bytes += item->bytes;
	if (s->ungranted_bytes >= s->limit_bytes / 4) {
		grant = s->ungranted_bytes;
		s->ungranted_bytes = 0;
	}
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
	if (grant)
		s->ops->grant(s->user, s->component, grant);
	return 0;
}

static int check_mark(struct vf_stream_sink *s, const struct vf_stream_mark *mark,
		      struct vferry_error *err)
{
	if (mark->offset == s->offset && mark->crc == s->crc)
		return 0;
	return vferry_error_set(err, -EBADMSG, "stream-damaged", s->name,
				"%" PRIu64 " bytes of state with sum %08x; the source sent %" PRIu64
				" with %08x", s->offset, s->crc, mark->offset, mark->crc);
}

static int begin_anew(struct vf_stream_sink *s, uint32_t generation, struct vferry_error *err)
{
	s->generation = generation;
	s->offset = 0;
	s->crc = 0;
	if (s->stopped)
		return vferry_error_set(err, -EPROTO, "stream-out-of-order", s->name,
					"the device was reset after it had been stopped");
	if (s->stream->restart) {
		int ret = s->stream->restart(s->stream_user, err);

		if (ret)
			return ret;
	}
	return VF_SINK_RESTART;
}

static int load_mark(struct vf_stream_sink *s, const struct vf_stream_mark *mark, uint32_t until,
		     bool *ret_reached, struct vferry_error *err)
{
	int ret = check_mark(s, mark, err);

	if (ret)
		return ret;
	s->generation = mark->generation;
	if (mark->kind == VF_MARK_INITIAL_END) {
		s->ops->initial_loaded(s->user, s->component, mark->generation);
		return 0;
	}
	if (mark->kind != until)
		return vferry_error_set(err, -EPROTO, "stream-out-of-order", s->name,
					"mark %u where %u was due", mark->kind, until);
	*ret_reached = true;
	return 0;
}

static int load_until(struct vf_stream_sink *s, uint32_t until, bool wait, uint64_t *ret_bytes,
		      struct vferry_error *err)
{
	uint64_t bytes = 0;
	bool reached = false;

	while (!reached) {
		struct item *item;
		int ret = take(s, wait, &item);

		if (ret)
			return ret;
		if (item->type == VF_FRAME_STREAM_DATA)
			ret = load_chunk(s, item, &bytes, err);
		else if (item->type == VF_FRAME_STREAM_RESTART)
			ret = begin_anew(s, item->generation, err);
		else
			ret = load_mark(s, &item->mark, until, &reached, err);
		free(item);
		if (ret)
			return ret;
	}
	*ret_bytes = bytes;
	return VF_SINK_DONE;
}

static int load_data(struct vf_stream_sink *s, bool wait, uint64_t *ret_bytes,
		     struct vferry_error *err)
{
	int ret = load_until(s, VF_MARK_STOPPED, wait, ret_bytes, err);

	if (ret == VF_SINK_DONE)
		s->stopped = true;
	return ret;
}

int vf_stream_sink_load_data(struct vf_stream_sink *s, uint64_t *ret_bytes, struct vferry_error *err)
{
	return load_data(s, true, ret_bytes, err);
}

int vf_stream_sink_load_last(struct vf_stream_sink *s, uint64_t *ret_bytes, struct vferry_error *err)
{
	return load_until(s, VF_MARK_END, true, ret_bytes, err);
}

int vf_stream_sink_try_data(struct vf_stream_sink *s, uint64_t *ret_bytes, struct vferry_error *err)
{
	return load_data(s, false, ret_bytes, err);
}

int vf_stream_sink_try_last(struct vf_stream_sink *s, uint64_t *ret_bytes, struct vferry_error *err)
{
	return load_until(s, VF_MARK_END, false, ret_bytes, err);
}

void vf_stream_sink_cancel(struct vf_stream_sink *s)
{
	(void) pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
}

void vf_stream_sink_get_totals(struct vf_stream_sink *s, uint32_t *ret_generation,
			       uint64_t *ret_bytes, uint32_t *ret_crc)
{
	*ret_generation = s->generation;
	*ret_bytes = s->offset;
	*ret_crc = s->crc;
}
