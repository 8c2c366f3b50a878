/* SPDX-License-Identifier: MIT */
/*
 * stream_sink.h - the destination's end of a component's state stream: a bounded queue, and the two
 * load steps that empty it.
 *
 * Model: the receiver's thread queues frames as they come and never blocks: the source sends no more
 * than the credit it was granted, so what would not fit is a peer's lie and refused. The load step
 * `data` writes to the component until the mark "stopped", the step `data-last` until the mark "end";
 * each frees room, which is granted anew. Data lies in places of the component's area, or of an own one,
 * received there; only if all are taken it is copied into memory of its own. Offsets, generation and sum are checked against the marks.
 *
 * Threads: one lock inside; put from the receiver, run from a step, cancel from anywhere.
 */
#ifndef VF_SESSION_STREAM_SINK_H
#define VF_SESSION_STREAM_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/error.h>

#include "wire/frame.h"

struct vf_stream_sink;

struct vf_stream_sink_ops {
	/* Room for @bytes more: grant it. */
	void (*grant)(void *user, uint32_t component, uint64_t bytes);
	/* All initial bytes of @generation are loaded. */
	void (*initial_loaded)(void *user, uint32_t component, uint32_t generation);
};

int vf_stream_sink_new(uint32_t component, const char *name, const struct vferry_stream_ops *stream,
		       void *stream_user, uint64_t limit_bytes, const struct vf_stream_sink_ops *ops,
		       void *user, struct vf_stream_sink **ret_sink);
struct vf_stream_sink *vf_stream_sink_free(struct vf_stream_sink *s);

/*
 * Where to receive the data of a STREAM_DATA frame of @length bytes, behind its stream header: in memory
 * that the component takes it from. NULL: there is no room, or it is too long. The place is taken until
 * the data was loaded, or forever if it is never put.
 */
void *vf_stream_sink_place(struct vf_stream_sink *s, size_t length);
/*
 * STREAM_DATA, STREAM_MARK, STREAM_RESTART, verified by body_crc. @body: frame->length bytes; or, if
 * @place was got before and holds the data, the stream header only. -EPROTO, -ENOBUFS, -EBADMSG.
 */
int vf_stream_sink_put(struct vf_stream_sink *s, const struct vf_frame *frame, const void *body,
		       void *place, struct vferry_error *err);

/* Was the mark "end" put? If nothing can follow any more, the load steps would wait for it in vain. */
bool vf_stream_sink_has_all(struct vf_stream_sink *s);
/* Until a frame of @bytes may be put: for who reads a file. Return: 0; -ECANCELED. */
int vf_stream_sink_wait_room(struct vf_stream_sink *s, size_t bytes);

enum vf_stream_sink_result {
	VF_SINK_DONE = 0,
	VF_SINK_RESTART = 1,	/* the guest reset the device: resuming, stage and data run again */
};

/* The load steps. Return: enum vf_stream_sink_result; negative errno; -ECANCELED. */
int vf_stream_sink_load_data(struct vf_stream_sink *s, uint64_t *ret_bytes,
			     struct vferry_error *err);
int vf_stream_sink_load_last(struct vf_stream_sink *s, uint64_t *ret_bytes,
			     struct vferry_error *err);
/* The same for who has no thread to wait on: -EAGAIN: all that is queued is loaded, call again. */
int vf_stream_sink_try_data(struct vf_stream_sink *s, uint64_t *ret_bytes,
			    struct vferry_error *err);
int vf_stream_sink_try_last(struct vf_stream_sink *s, uint64_t *ret_bytes,
			    struct vferry_error *err);
void vf_stream_sink_cancel(struct vf_stream_sink *s);
/* After both steps: what was loaded, to hold against the manifest. */
void vf_stream_sink_get_totals(struct vf_stream_sink *s, uint32_t *ret_generation,
			       uint64_t *ret_bytes, uint32_t *ret_crc);

#endif
