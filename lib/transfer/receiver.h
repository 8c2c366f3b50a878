/* SPDX-License-Identifier: MIT */
/*
 * receiver.h - takes frames from all channels, one thread each.
 *
 * Pages go straight into guest memory; ROUND_END frames are counted; every other frame goes to the
 * caller. Memory is fresh until a page arrives for it, so zero pages are written only where
 * something else arrived before, or where the destination's memory was not fresh to begin with.
 * Nothing is ever punched out.
 *
 * Threads: callbacks run on the channel's thread; they may send, but not free the receiver.
 */
#ifndef VF_TRANSFER_RECEIVER_H
#define VF_TRANSFER_RECEIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/ram.h>

#include "transfer/channel.h"

struct vf_receiver;

struct vf_receiver_ops {
	/*
	 * A frame that is neither PAGES nor ROUND_END. @body (frame->length bytes, verified) is
	 * valid until the return. Return: 0; 1 = read no more on this channel; negative = failed.
	 */
	int (*frame)(void *user, unsigned channel, const struct vf_frame *frame, const void *body,
		     struct vferry_error *err);
	/*
	 * Optional: where the body of @frame behind its first @ret_head bytes (at most
	 * frame->length) shall lie. Not NULL: it is received there, and, if that succeeded, handed
	 * over by placed() instead of frame(), with the first bytes in @head.
	 */
	void *(*place)(void *user, const struct vf_frame *frame, size_t *ret_head);
	int (*placed)(void *user, unsigned channel, const struct vf_frame *frame, const void *head,
		      void *place, struct vferry_error *err);
	/* Every channel has ended @round; all its pages are in place. In order, each round once. */
	void (*round)(void *user, uint32_t round);
	/* The peer closed @channel between two frames; its thread ends. */
	void (*closed)(void *user, unsigned channel);
	/* Once, for the first failure of any channel; that channel's thread ends. Not on stop. */
	void (*failed)(void *user, unsigned channel, const struct vferry_error *err);
};

struct vf_receiver_options {
	struct vferry_ram *ram;			/* borrowed; NULL: page frames are refused */
	struct vf_channel *const *channels;	/* copied; channels borrowed */
	unsigned channel_count;			/* 1..16; on both sides the same, in the same order */
	uint32_t max_message_bytes;		/* bound of other frames; 0 = VF_FRAME_MAX_BYTES */
	const struct vf_receiver_ops *ops;	/* borrowed */
	void *user;
};

/* Nothing is received before vf_receiver_start(), so that whoever is called then has the object. */
int vf_receiver_new(const struct vf_receiver_options *options, struct vf_receiver **ret_receiver,
		    struct vferry_error *err);
/* Starts the threads. Once; if it fails the object can only be freed. */
int vf_receiver_start(struct vf_receiver *receiver, struct vferry_error *err);
/*
 * No page may come any more: RAM is the machine's from here on. Called when all channels have ended the
 * last round, from round() too. Return: 0; -EPROTO: a page frame has begun on a channel since.
 */
int vf_receiver_end_pages(struct vf_receiver *receiver, struct vferry_error *err);
/* Shuts the channels down, if threads are still reading, and joins. NULL allowed. */
struct vf_receiver *vf_receiver_free(struct vf_receiver *receiver);

struct vf_receiver_stats {
	uint64_t bytes;			/* of page frames */
	uint64_t pages_normal;
	uint64_t pages_zero;
	uint64_t pages_cleared;		/* zero pages that had to be written */
	uint32_t rounds;		/* ended on all channels */
};

void vf_receiver_get_stats(struct vf_receiver *receiver, struct vf_receiver_stats *ret_stats);

#endif
