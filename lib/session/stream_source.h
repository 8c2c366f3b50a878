/* SPDX-License-Identifier: MIT */
/*
 * stream_source.h - the pump on the source: a component's state stream into frames, within credit.
 *
 * Model: while the machine runs a thread of its own reads what the component gives and sends it
 * (pre-copy). For the switchover the thread is stopped first; then vf_stream_source_drain() reads the
 * rest on the caller's thread, to the end, while a thread of its own sends what was read. The bytes of one generation are numbered from 0 and
 * summed; a guest's reset of the device begins the next generation with RESTART.
 *
 *   [RESTART] DATA* MARK(initial-end) DATA* MARK(stopped) DATA* MARK(end)
 *
 * Threads: credit and acknowledgement come from the return path's thread, the rest from the owner.
 */
#ifndef VF_SESSION_STREAM_SOURCE_H
#define VF_SESSION_STREAM_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/error.h>

struct vf_stream_source;

/* What the pump needs from its session. All of them are called on the pump's or drain's thread. */
struct vf_stream_source_ops {
	/* One frame of @type: head, then body, whose CRC32C is @body_crc. */
	int (*send)(void *user, uint16_t type, uint32_t component, const void *head,
		    size_t head_bytes, const void *body, size_t body_bytes, uint32_t body_crc,
		    struct vferry_error *err);
	/* A new generation began: RESTART is sent, config space must be sent again. */
	int (*restarted)(void *user, uint32_t component, struct vferry_error *err);
	/* New initial bytes appeared: an acknowledgement is void. */
	void (*reinit)(void *user, uint32_t component);
	void (*failed)(void *user, uint32_t component, const struct vferry_error *error);
};

struct vf_stream_source_totals {
	uint32_t generation;
	uint64_t bytes;			/* of this generation */
	uint32_t crc;
	uint64_t sent_bytes;		/* of all generations */
};

/* @component: its index in the machine description. All pointers are borrowed. */
int vf_stream_source_new(uint32_t component, const char *name, const struct vferry_stream_ops *stream,
			 void *stream_user, const struct vf_stream_source_ops *ops, void *user,
			 struct vf_stream_source **ret_source);
struct vf_stream_source *vf_stream_source_free(struct vf_stream_source *s);	/* stops it first */

/* Takes the component's generation as it is now for the first one; once, before the start. */
void vf_stream_source_sync(struct vf_stream_source *s);
/*
 * Begins pre-copy, if the component has any. It fails if the component announces initial bytes and gives
 * nothing for @patience_ns (0: no limit). Return: 0; the component's error.
 */
int vf_stream_source_start(struct vf_stream_source *s, uint64_t patience_ns,
			   struct vferry_error *err);
/* Asks pre-copy to end, without waiting: for several at once. */
void vf_stream_source_request_stop(struct vf_stream_source *s);
/* Ends pre-copy; returns when the thread is gone. Its failure, if any, is returned. */
int vf_stream_source_stop(struct vf_stream_source *s, struct vferry_error *err);
/*
 * After the device-stop step, on any thread: a reset in the last moment before it is told now, so that
 * the config space of the stopped device comes behind it.
 */
int vf_stream_source_follow(struct vf_stream_source *s, struct vferry_error *err);
/* After the device-stop step: all that is left, with both marks. */
int vf_stream_source_drain(struct vf_stream_source *s, uint64_t *ret_bytes,
			   struct vferry_error *err);
void vf_stream_source_add_credit(struct vf_stream_source *s, uint64_t bytes);
/* Wakes whoever waits for credit; it fails with -ECANCELED. For good. */
void vf_stream_source_cancel(struct vf_stream_source *s);
/* The destination loaded all initial bytes of @generation. */
void vf_stream_source_acknowledge(struct vf_stream_source *s, uint32_t generation);
/* May a switchover start, as far as this stream knows? True when nothing is known. */
bool vf_stream_source_acknowledged(struct vf_stream_source *s);
/* Owner only. While pre-copy runs: the pump's last figures. */
int vf_stream_source_remaining(struct vf_stream_source *s, struct vferry_remaining *ret,
			       struct vferry_error *err);
void vf_stream_source_get_totals(struct vf_stream_source *s, struct vf_stream_source_totals *ret);

#endif
