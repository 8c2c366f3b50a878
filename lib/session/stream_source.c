/* SPDX-License-Identifier: MIT */
/* stream_source.c - see stream_source.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "session/stream_source.h"
#include "wire/frame.h"
#include "wire/message.h"

#define CHUNK_BYTES (1u << 20)	/* one read and one frame */
#define CHUNKS 2u			/* one is read while the other is sent */
#define IDLE_NS (10 * VF_MS_NS)		/* between two looks at a device that had nothing */
#define INFO_EVERY_NS (20 * VF_MS_NS)	/* a size query may cost the driver a firmware command */

struct vf_stream_source {
	uint32_t component;
	const char *name;
	const struct vferry_stream_ops *stream;
	void *stream_user;
	const struct vf_stream_source_ops *ops;
	void *user;
	uint8_t *buffer;		/* CHUNKS of CHUNK_BYTES, of whoever pumps */
	uint8_t *own_buffer;		/* the same, or NULL: it lies in the component's area */

	/* The owner's alone. */
	pthread_t thread;
	bool thread_exists;
	uint64_t patience_ns;		/* before the thread exists */

	pthread_mutex_t follow_lock;	/* before `lock`: one at a time begins a generation */
	pthread_mutex_t lock;		/* everything below */
	pthread_cond_t changed;
	bool precopying;		/* pre-copy began: acknowledgement may be awaited */
	bool stopping;			/* pre-copy is to end */
	bool cancelled;
	uint64_t credit;
	uint32_t generation;
	uint64_t offset;
	uint32_t crc;
	uint64_t sent_bytes;
	/* Of drain: what was read and is to be sent. */
	size_t chunk_bytes[CHUNKS];
	unsigned chunk_first, chunk_count;
	bool read_all;
	bool send_failed;
	bool initial_marked;		/* MARK(initial-end) of this generation is sent */
	bool initial_known;
	bool acknowledged;
	struct vferry_remaining remaining;	/* as the component last said */
	struct vferry_error error;	/* of the pre-copy thread */
};

int vf_stream_source_new(uint32_t component, const char *name, const struct vferry_stream_ops *stream,
			 void *stream_user, const struct vf_stream_source_ops *ops, void *user,
			 struct vf_stream_source **ret_source)
{
	struct vf_stream_source *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	size_t area_bytes = 0;

	if (!s)
		return -ENOMEM;
	s->component = component;
	s->name = name;
	s->stream = stream;
	s->stream_user = stream_user;
	s->ops = ops;
	s->user = user;
	if (stream->area)
		s->buffer = stream->area(stream_user, &area_bytes);
	if (area_bytes < CHUNKS * CHUNK_BYTES)
		s->buffer = s->own_buffer = aligned_alloc(VF_PAGE_BYTES, CHUNKS * CHUNK_BYTES);
	if (!s->buffer) {
		free(s);
		return -ENOMEM;
	}
	/* Before the pause, in which it would be touched first. */
	(void) madvise(s->buffer, CHUNKS * CHUNK_BYTES, MADV_POPULATE_WRITE);
	(void) pthread_mutex_init(&s->follow_lock, NULL);
	(void) pthread_mutex_init(&s->lock, NULL);
	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&s->changed, &attr);
	(void) pthread_condattr_destroy(&attr);
	*ret_source = s;
	return 0;
}

struct vf_stream_source *vf_stream_source_free(struct vf_stream_source *s)
{
	if (!s)
		return NULL;
	vf_stream_source_cancel(s);
	(void) vf_stream_source_stop(s, NULL);
	(void) pthread_cond_destroy(&s->changed);
	(void) pthread_mutex_destroy(&s->lock);
	(void) pthread_mutex_destroy(&s->follow_lock);
	free(s->own_buffer);
	free(s);
	return NULL;
}

static void wait_locked(struct vf_stream_source *s, uint64_t ns)
{
	uint64_t until = vf_now_ns() + ns;
	struct timespec ts = vf_timespec(until);

	(void) pthread_cond_timedwait(&s->changed, &s->lock, &ts);
}

/* Takes up to CHUNK_BYTES of credit, waiting for some. -ECANCELED; 0 when pre-copy is to end. */
static int64_t take_credit(struct vf_stream_source *s, bool precopy)
{
	int64_t ret;

	(void) pthread_mutex_lock(&s->lock);
	while (!s->credit && !s->cancelled && !(precopy && s->stopping))
		(void) pthread_cond_wait(&s->changed, &s->lock);
	if (s->cancelled)
		ret = -ECANCELED;
	else if (precopy && s->stopping)
		ret = 0;
	else
		ret = (int64_t) vf_min_u64(s->credit, CHUNK_BYTES);
	if (ret > 0)
		s->credit -= (uint64_t) ret;
	(void) pthread_mutex_unlock(&s->lock);
	return ret;
}

/* Reads a chunk, for credit. Return: bytes; 0 = nothing now, or the end; negative errno. */
static int64_t read_chunk(struct vf_stream_source *s, uint8_t *to, bool precopy,
			  struct vferry_error *err)
{
	int64_t taken = take_credit(s, precopy);
	int64_t n = taken > 0 ? s->stream->read(s->stream_user, to, (size_t) taken, err) : taken;

	if (taken > 0 && n < taken)
		vf_stream_source_add_credit(s, (uint64_t) (n > 0 ? taken - n : taken));
	return n;
}

/*
 * Summed once, for the frame and for the stream. A device may still change what lies in memory that it
 * shares: then the destination finds the sum wrong and refuses, as it would refuse other bad state.
 */
static int send_chunk(struct vf_stream_source *s, const uint8_t *chunk, size_t bytes,
		      struct vferry_error *err)
{
	uint32_t crc = vf_crc32c(0, chunk, bytes);
	uint8_t head[VF_STREAM_HEADER_BYTES];
	struct vf_stream_header header = { .generation = s->generation, .offset = s->offset };
	int ret;

	vf_stream_header_encode(head, &header);
	ret = s->ops->send(s->user, VF_FRAME_STREAM_DATA, s->component, head, sizeof(head),
			   chunk, bytes, crc, err);
	if (ret)
		return ret;
	(void) pthread_mutex_lock(&s->lock);
	s->crc = vf_crc32c_combine(s->crc, crc, bytes);
	s->offset += bytes;
	s->sent_bytes += bytes;
	(void) pthread_mutex_unlock(&s->lock);
	return 0;
}

static int send_mark(struct vf_stream_source *s, uint32_t kind, struct vferry_error *err)
{
	struct vf_stream_mark mark = {
		.generation = s->generation, .kind = kind, .offset = s->offset, .crc = s->crc,
	};
	struct vf_writer w;
	int ret;

	vf_writer_init(&w, 64);
	vf_stream_mark_encode(&w, &mark);
	ret = w.bad ? -ENOMEM : s->ops->send(s->user, VF_FRAME_STREAM_MARK, s->component, w.data,
					     w.size, NULL, 0, 0, err);
	vf_writer_done(&w);
	return ret;
}

/* The guest reset the device: what was sent is void. */
static int begin_generation(struct vf_stream_source *s, uint32_t generation,
			    struct vferry_error *err)
{
	uint8_t body[4];
	int ret;

	vf_put_u32(body, generation);
	(void) pthread_mutex_lock(&s->lock);
	s->generation = generation;
	s->offset = 0;
	s->crc = 0;
	s->initial_marked = false;
	s->acknowledged = false;
	(void) pthread_mutex_unlock(&s->lock);
	ret = s->ops->send(s->user, VF_FRAME_STREAM_RESTART, s->component, body, sizeof(body), NULL,
			   0, 0, err);
	if (!ret)
		ret = s->ops->restarted(s->user, s->component, err);
	if (!ret)
		s->ops->reinit(s->user, s->component);
	return ret;
}

static int follow_generation(struct vf_stream_source *s, struct vferry_error *err)
{
	uint32_t generation;
	int ret = 0;

	if (!s->stream->generation)
		return 0;
	(void) pthread_mutex_lock(&s->follow_lock);
	generation = s->stream->generation(s->stream_user);
	if (generation != s->generation)
		ret = begin_generation(s, generation, err);
	(void) pthread_mutex_unlock(&s->follow_lock);
	return ret;
}

int vf_stream_source_follow(struct vf_stream_source *s, struct vferry_error *err)
{
	return follow_generation(s, err);
}

/* The component's answer, kept for whoever asks while the pump runs. */
static int ask_remaining(struct vf_stream_source *s, struct vferry_remaining *ret,
			 struct vferry_error *err)
{
	int error;

	*ret = (struct vferry_remaining) { 0 };
	error = s->stream->remaining ? s->stream->remaining(s->stream_user, ret, err) : 0;
	if (error)
		return error;
	(void) pthread_mutex_lock(&s->lock);
	s->remaining = *ret;
	(void) pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Are all initial bytes sent, or new ones there? */
static int follow_initial(struct vf_stream_source *s, struct vferry_error *err)
{
	struct vferry_remaining left;
	int ret = ask_remaining(s, &left, err);
	bool withdraw;

	if (ret || !left.precopy_known)
		return ret;
	(void) pthread_mutex_lock(&s->lock);
	s->initial_known = true;
	withdraw = left.reinit && (s->initial_marked || s->acknowledged);
	if (left.reinit) {
		s->initial_marked = false;
		s->acknowledged = false;
	}
	(void) pthread_mutex_unlock(&s->lock);
	if (withdraw)
		s->ops->reinit(s->user, s->component);
	if (left.initial_bytes || s->initial_marked)
		return 0;
	(void) pthread_mutex_lock(&s->lock);
	s->initial_marked = true;	/* first: the acknowledgement may come before send returns */
	(void) pthread_mutex_unlock(&s->lock);
	return send_mark(s, VF_MARK_INITIAL_END, err);
}

static bool wants_to_stop(struct vf_stream_source *s, bool idle)
{
	bool stop;

	(void) pthread_mutex_lock(&s->lock);
	if (idle && !s->stopping && !s->cancelled)
		wait_locked(s, IDLE_NS);
	stop = s->stopping || s->cancelled;
	(void) pthread_mutex_unlock(&s->lock);
	return stop;
}

/* It announced initial bytes and gives none: without them no switchover would ever start. */
static int check_patience(struct vf_stream_source *s, uint64_t idle_since, struct vferry_error *err)
{
	uint64_t initial;
	bool waiting;

	(void) pthread_mutex_lock(&s->lock);
	waiting = s->initial_known && !s->initial_marked;
	initial = s->remaining.initial_bytes;
	(void) pthread_mutex_unlock(&s->lock);
	if (!waiting || !s->patience_ns || vf_now_ns() - idle_since < s->patience_ns)
		return 0;
	return vferry_error_set(err, -ETIMEDOUT, "initial-bytes-stuck", s->name,
				"the device announces %llu more initial bytes, and gave none for %llu s",
				(unsigned long long) initial,
				(unsigned long long) (s->patience_ns / VF_SECOND_NS));
}

static int precopy(struct vf_stream_source *s, struct vferry_error *err)
{
	uint64_t next_info = 0, idle_since = 0;
	bool idle = false;

	while (!wants_to_stop(s, idle)) {
		int64_t n;
		int ret = follow_generation(s, err);

		if (!ret && (idle || vf_now_ns() >= next_info)) {
			ret = follow_initial(s, err);
			next_info = vf_now_ns() + INFO_EVERY_NS;
		}
		if (ret)
			return ret;
		n = read_chunk(s, s->buffer, true, err);
		if (n < 0)
			return (int) n;
		/* A reset between the look at the generation and the read: the bytes are void. */
		if (n && s->stream->generation &&
		    s->stream->generation(s->stream_user) != s->generation) {
			vf_stream_source_add_credit(s, (uint64_t) n);
			continue;
		}
		if (n == 0 && !idle)
			idle_since = vf_now_ns();
		idle = n == 0;
		ret = n ? send_chunk(s, s->buffer, (size_t) n, err) :
			  check_patience(s, idle_since, err);
		if (ret)
			return ret;
	}
	return 0;
}

static void *precopy_main(void *user)
{
	struct vf_stream_source *s = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = precopy(s, &err);

	if (ret && ret != -ECANCELED) {
		(void) vferry_error_set(&err, ret, "stream-failed", s->name,
					"reading device state: %s", vferry_errno_name(ret));
		(void) pthread_mutex_lock(&s->lock);
		s->error = err;
		(void) pthread_mutex_unlock(&s->lock);
		s->ops->failed(s->user, s->component, &err);
	}
	return NULL;
}

void vf_stream_source_sync(struct vf_stream_source *s)
{
	uint32_t generation;

	if (!s->stream->generation)
		return;
	generation = s->stream->generation(s->stream_user);
	(void) pthread_mutex_lock(&s->lock);
	s->generation = generation;
	(void) pthread_mutex_unlock(&s->lock);
}

int vf_stream_source_start(struct vf_stream_source *s, uint64_t patience_ns,
			   struct vferry_error *err)
{
	struct vferry_remaining left;
	int ret;

	/* A reset since vf_stream_source_sync() is followed by the thread, and told to the engine. */
	if (!s->stream->precopy_start)
		return 0;
	ret = s->stream->precopy_start(s->stream_user, err);
	if (ret)
		return ret < 0 ? ret : 0;	/* positive: this device has no pre-copy */
	/* Known from the first moment on, so that no switchover slips in before the thread asks. */
	ret = ask_remaining(s, &left, err);
	if (ret)
		return ret;
	s->initial_known = left.precopy_known;
	s->precopying = true;
	s->patience_ns = patience_ns;
	ret = -pthread_create(&s->thread, NULL, precopy_main, s);
	if (ret)
		return vferry_error_set(err, ret, "no-thread", s->name, "cannot start a thread: %s",
					vferry_errno_name(ret));
	s->thread_exists = true;
	return 0;
}

void vf_stream_source_request_stop(struct vf_stream_source *s)
{
	(void) pthread_mutex_lock(&s->lock);
	s->stopping = true;
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
}

int vf_stream_source_stop(struct vf_stream_source *s, struct vferry_error *err)
{
	if (!s->thread_exists)
		return 0;
	vf_stream_source_request_stop(s);
	(void) pthread_join(s->thread, NULL);
	s->thread_exists = false;
	if (s->error.code && err && !err->code)
		*err = s->error;
	return s->error.code;
}

/* The chunk to be sent next, waiting for it. False: there will be none. */
static bool await_chunk(struct vf_stream_source *s, unsigned *ret_index, size_t *ret_bytes)
{
	bool there;

	(void) pthread_mutex_lock(&s->lock);
	while (!s->chunk_count && !s->read_all && !s->cancelled)
		(void) pthread_cond_wait(&s->changed, &s->lock);
	there = s->chunk_count && !s->cancelled;
	*ret_index = s->chunk_first;
	*ret_bytes = s->chunk_bytes[s->chunk_first];
	(void) pthread_mutex_unlock(&s->lock);
	return there;
}

static void *sender_main(void *user)
{
	struct vf_stream_source *s = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	unsigned index;
	size_t bytes;
	int ret = 0;

	while (!ret && await_chunk(s, &index, &bytes)) {
		ret = send_chunk(s, s->buffer + index * CHUNK_BYTES, bytes, &err);
		(void) pthread_mutex_lock(&s->lock);
		s->chunk_first = (index + 1) % CHUNKS;
		s->chunk_count--;
		if (ret) {
			(void) vferry_error_set(&err, ret, "stream-failed", s->name,
						"sending device state: %s", vferry_errno_name(ret));
			s->error = err;
			s->send_failed = true;
		}
		(void) pthread_cond_broadcast(&s->changed);
		(void) pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

/* Where the next chunk may be read to, waiting for room. Negative: -ECANCELED, also after a failure. */
static int await_room(struct vf_stream_source *s)
{
	int ret;

	(void) pthread_mutex_lock(&s->lock);
	while (s->chunk_count == CHUNKS && !s->cancelled && !s->send_failed)
		(void) pthread_cond_wait(&s->changed, &s->lock);
	ret = s->cancelled || s->send_failed ? -ECANCELED :
					       (int) ((s->chunk_first + s->chunk_count) % CHUNKS);
	(void) pthread_mutex_unlock(&s->lock);
	return ret;
}

/* Reads until the end; the sender sends meanwhile. */
static int read_to_end(struct vf_stream_source *s, struct vferry_error *err)
{
	for (;;) {
		int index = await_room(s);
		int64_t n = index < 0 ? index : read_chunk(s, s->buffer + (unsigned) index * CHUNK_BYTES,
							   false, err);

		if (n <= 0)
			return (int) n;
		(void) pthread_mutex_lock(&s->lock);
		s->chunk_bytes[index] = (size_t) n;
		s->chunk_count++;
		(void) pthread_cond_broadcast(&s->changed);
		(void) pthread_mutex_unlock(&s->lock);
	}
}

/* The device makes its next chunk while the last one is on its way. */
static int pump_rest(struct vf_stream_source *s, struct vferry_error *err)
{
	pthread_t sender;
	int ret = -pthread_create(&sender, NULL, sender_main, s);

	if (ret)
		return vferry_error_set(err, ret, "no-thread", s->name, "cannot start a thread: %s",
					vferry_errno_name(ret));
	ret = read_to_end(s, err);
	(void) pthread_mutex_lock(&s->lock);
	s->read_all = true;
	s->cancelled |= ret != 0;
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
	(void) pthread_join(sender, NULL);
	if (!s->send_failed)
		return ret;
	if (err && !err->code)
		*err = s->error;
	return s->error.code;
}

int vf_stream_source_drain(struct vf_stream_source *s, uint64_t *ret_bytes, struct vferry_error *err)
{
	uint64_t before = s->sent_bytes;
	/* A reset in the very last moment before the stop. */
	int ret = follow_generation(s, err);

	if (!ret)
		ret = send_mark(s, VF_MARK_STOPPED, err);
	if (!ret)
		ret = pump_rest(s, err);
	if (!ret)
		ret = send_mark(s, VF_MARK_END, err);
	if (!ret)
		*ret_bytes = s->sent_bytes - before;
	return ret;
}

void vf_stream_source_add_credit(struct vf_stream_source *s, uint64_t bytes)
{
	(void) pthread_mutex_lock(&s->lock);
	if (vf_add_u64(s->credit, bytes, &s->credit))
		s->credit = UINT64_MAX;	/* a peer that grants the impossible only unblocks us */
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
}

void vf_stream_source_cancel(struct vf_stream_source *s)
{
	(void) pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
}

void vf_stream_source_acknowledge(struct vf_stream_source *s, uint32_t generation)
{
	(void) pthread_mutex_lock(&s->lock);
	/* Void if it speaks of an older generation, or of initial bytes that have since grown. */
	if (generation == s->generation && s->initial_marked)
		s->acknowledged = true;
	(void) pthread_mutex_unlock(&s->lock);
}

bool vf_stream_source_acknowledged(struct vf_stream_source *s)
{
	bool ready;

	(void) pthread_mutex_lock(&s->lock);
	ready = !s->precopying || !s->initial_known || s->acknowledged;
	(void) pthread_mutex_unlock(&s->lock);
	return ready;
}

int vf_stream_source_remaining(struct vf_stream_source *s, struct vferry_remaining *ret,
			       struct vferry_error *err)
{
	if (!s->thread_exists)
		return ask_remaining(s, ret, err);
	/* The pump asks every INFO_EVERY_NS; two threads never ask the device at once. */
	(void) pthread_mutex_lock(&s->lock);
	*ret = s->remaining;
	(void) pthread_mutex_unlock(&s->lock);
	return 0;
}

void vf_stream_source_get_totals(struct vf_stream_source *s, struct vf_stream_source_totals *ret)
{
	(void) pthread_mutex_lock(&s->lock);
	*ret = (struct vf_stream_source_totals) {
		.generation = s->generation, .bytes = s->offset, .crc = s->crc,
		.sent_bytes = s->sent_bytes,
	};
	(void) pthread_mutex_unlock(&s->lock);
}
