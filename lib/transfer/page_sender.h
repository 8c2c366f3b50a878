/* SPDX-License-Identifier: MIT */
/*
 * page_sender.h - sends RAM in rounds, one thread a channel.
 *
 * A round: each thread walks the units that travel on its channel (vf_pages_channel()); of each
 * chunk it takes the dirty bits, then looks at the pages (hole lookup, zero test), then sends them
 * straight from guest memory. The first round is about every page: holes and zero pages go as
 * ranges. Each thread ends the round by a ROUND_END frame on its channel.
 *
 * Before the first round dirty tracking is on (vf_ram_tracking_start()); before each later one the
 * caller has collected (vf_ram_collect()).
 *
 * Threads: all functions from any thread. A cancelled or failed sender stays so.
 */
#ifndef VF_TRANSFER_PAGE_SENDER_H
#define VF_TRANSFER_PAGE_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/ram.h>

#include "transfer/channel.h"
#include "transfer/compress.h"

struct vf_page_sender;

struct vf_page_stats {
	uint64_t bytes;			/* of page frames on the wire, headers included */
	uint64_t pages_normal;
	uint64_t pages_zero;		/* holes included */
	uint64_t pages_hole;
	uint64_t ns;			/* from start to the last thread's end, or until now */
	uint64_t rate;			/* bytes a second over ns; 0 = unknown */
};

struct vf_page_sender_options {
	struct vferry_ram *ram;				/* borrowed */
	struct vf_channel *const *channels;		/* copied; channels borrowed */
	unsigned channel_count;				/* 1..16 */
	enum vf_codec codec;
	/* Optional: on a sender thread, when a round ended on all channels, or failed. */
	void (*round_done)(void *user, uint32_t round, int result);
	void *user;
};

int vf_page_sender_new(const struct vf_page_sender_options *options,
		       struct vf_page_sender **ret_sender, struct vferry_error *err);
/* Cancels and joins. NULL allowed. */
struct vf_page_sender *vf_page_sender_free(struct vf_page_sender *sender);
/* Rounds count from 0; the first is about all pages. -EBUSY: one is under way. */
int vf_page_sender_start_round(struct vf_page_sender *sender, uint32_t round);
/*
 * Until the round ended, or failed on one channel. Return: 0; -ETIMEDOUT still under way (@timeout_ns; 0 = for ever); else how
 * it failed, -ECANCELED among it.
 */
int vf_page_sender_wait(struct vf_page_sender *sender, uint64_t timeout_ns,
			struct vferry_error *err);
/*
 * Until no thread sends any more, or looks at RAM: after a failure wait() returns when the first one knows
 * of it. After a cancel; for blocked threads see there.
 */
void vf_page_sender_settle(struct vf_page_sender *sender);
/*
 * Stops at the next write; blocked threads wake only when the caller also shuts down their channels
 * or cancels the limiter. What was taken and not sent is lost to this sender: a new migration begins
 * with all pages.
 */
void vf_page_sender_cancel(struct vf_page_sender *sender);
/* Of the round under way or just ended (@ret_round), and of all rounds; either may be NULL. */
void vf_page_sender_get_stats(struct vf_page_sender *sender, struct vf_page_stats *ret_round,
			      struct vf_page_stats *ret_total);

#endif
