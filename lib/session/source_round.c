/* SPDX-License-Identifier: MIT */
/*
 * source_round.c - what a round of pre-copy says of the pause to come: measured, predicted, published.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/checked.h"
#include "base/clock.h"
#include "engine/downtime.h"
#include "ram/ram.h"
#include "session/source.h"
#include "vfio/device_component.h"

#define RATE_BYTES (4 * VF_MIB)		/* a round of fewer bytes says little of the link's rate */
#define RATE_PAGES (2 * RATE_BYTES / VF_PAGE_BYTES)	/* half of them may be zero */
#define RATE_AGE_NS VF_SECOND_NS	/* for so long it is believed, and ... */
#define RATE_SHARE 10u			/* for so many times what measuring takes */

static void measure_streams(struct vf_source_side *side, struct vf_downtime_input *left)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->component_count; i++) {
		struct vferry_remaining r;

		if (!s->components[i].stream_source)
			continue;
		if (vf_stream_source_remaining(s->components[i].stream_source, &r, NULL) ||
		    !r.stop_copy_known)
			left->devices_unknown++;
		else
			left->device_bytes += r.stop_copy_bytes;
	}
}

/* What all of RAM takes, if a device keeps us blind: as much as the largest round, which is the first. */
static uint64_t blind_bytes(struct vf_source_side *side, uint64_t sent_bytes)
{
	struct vferry_session *s = side->session;

	side->largest_round = vf_max_u64(side->largest_round, sent_bytes);
	for (size_t i = 0; i < s->device_count; i++)
		if (vf_device_is_blind(s->devices[i]))
			return side->largest_round;
	return 0;
}

static uint64_t stream_left(struct vf_source_side *side, const struct vf_session_component *c)
{
	struct vferry_remaining r;

	if (vf_stream_source_remaining(c->stream_source, &r, NULL) || !r.stop_copy_known)
		return VF_NS_UNKNOWN;
	return side->rate ? (uint64_t) ((double) r.stop_copy_bytes * 1e9 / (double) side->rate)
			  : VF_NS_UNKNOWN;
}

/* How long each step of the save plan would take now: from bytes and rate, or as declared. */
static void predict_steps(struct vf_source_side *side, uint64_t ram_bytes)
{
	struct vferry_session *s = side->session;

	for (uint32_t i = 0; i < vf_plan_count(side->save_plan); i++) {
		struct vf_plan_view view;
		uint64_t ns = VF_NS_UNKNOWN;

		vf_executor_get(side->save, i, &view);
		if (view.step.step == VF_OWN_STREAM_DRAIN)
			ns = stream_left(side, &s->components[view.step.component]);
		else if (view.step.step == VF_OWN_RAM_LAST && side->rate)
			ns = (uint64_t) ((double) ram_bytes * 1e9 / (double) side->rate);
		side->predicted[i] = ns != VF_NS_UNKNOWN ? ns : view.step.declared_ns;
	}
}

int vf_source_measure_round(struct vf_source_side *side, uint32_t round, struct vf_round *ret)
{
	struct vferry_session *s = side->session;
	struct vf_ram_collected collected = { 0 };
	struct vf_page_stats stats = { 0 };
	unsigned threads = vf_session_step_threads(s);
	uint64_t round_trip_ns;
	int error;

	*ret = (struct vf_round) { .number = round };
	if (side->pages)
		vf_page_sender_get_stats(side->pages, &stats, NULL);
	if (side->file) {
		stats.bytes = side->file_round.bytes;
		stats.ns = side->file_round.ns;
		stats.rate = stats.ns ? stats.bytes * VF_SECOND_NS / stats.ns : 0;
	}
	if (s->ram) {
		error = vf_ram_collect(s->ram, &collected);
		if (error)
			return error;
	}
	if (stats.bytes >= RATE_BYTES && stats.rate) {
		side->rate = stats.rate;
		side->rate_ns = vf_now_ns();
	} else if (!side->rate) {	/* better than not to know it at all */
		side->rate = side->link_rate ? side->link_rate : stats.rate;
		side->rate_ns = vf_now_ns();
	}
	if (side->bandwidth && side->rate > side->bandwidth)
		side->rate = side->bandwidth;
	(void) pthread_mutex_lock(&side->lock);
	round_trip_ns = side->round_trip_ns;
	(void) pthread_mutex_unlock(&side->lock);
	ret->sent_bytes = stats.bytes;
	ret->ns = stats.ns;
	ret->left = (struct vf_downtime_input) {
		.rate = side->rate,
		.ram_bytes = collected.dirty_pages * VF_PAGE_BYTES,
		.blind_bytes = s->ram ? blind_bytes(side, stats.bytes) : 0,
		.round_trip = { round_trip_ns, side->round_trip_known },
	};
	if (side->load_ns != VF_UNKNOWN_NS)
		ret->left.load = (struct vf_time_known) { side->load_ns, true };
	measure_streams(side, &ret->left);
	predict_steps(side, vf_max_u64(ret->left.ram_bytes, ret->left.blind_bytes));
	error = vf_downtime_plan(side->save_plan, side->predicted, ~VF_SOURCE_LIVE_CLASSES, threads,
				 &ret->left.save, NULL);
	return error;
}

/* Pages that may hold data, from where the last ones ended, and round again. */
static void mark_some_pages(struct vf_source_side *side)
{
	struct vferry_ram *ram = side->session->ram;
	size_t count = vferry_ram_block_count(ram);
	uint64_t left = RATE_PAGES;

	/* The first block twice: from there to its end, and its beginning last. */
	for (size_t visits = 0; count && visits <= count && left; visits++) {
		size_t block = side->rate_block;
		uint64_t end = vf_ram_block_pages(vferry_ram_get_block(ram, block)), run_end;

		while (left && side->rate_page < end) {
			uint64_t page = vf_ram_next_data(ram, block, side->rate_page, end, &run_end);
			uint64_t pages = vf_min_u64(page < end ? run_end - page : 0, left);

			vf_ram_mark_pages(ram, block, page, pages);
			left -= pages;
			side->rate_page = pages ? page + pages : end;
		}
		if (side->rate_page >= end) {
			side->rate_block = (block + 1) % count;
			side->rate_page = 0;
		}
	}
}

void vf_source_refresh_rate(struct vf_source_side *side)
{
	uint64_t now = vf_now_ns(), cost;

	if (!side->pages || !side->session->ram || !side->rate)
		return;
	cost = (uint64_t) ((double) RATE_PAGES * VF_PAGE_BYTES * 1e9 / (double) side->rate);
	if (now - side->rate_ns < vf_max_u64(RATE_AGE_NS, RATE_SHARE * cost))
		return;
	side->rate_ns = now;	/* if these are zero pages, others are tried later */
	mark_some_pages(side);
}

void vf_source_publish_round(struct vf_source_side *side, const struct vf_round *round)
{
	struct vferry_session *s = side->session;
	const struct vf_downtime *d = &side->machine.verdict.downtime;

	(void) pthread_mutex_lock(&s->lock);
	s->status.ram_remaining_bytes = round->left.ram_bytes;
	s->status.dirty_pages_rate = round->ns ? round->left.ram_bytes / VF_PAGE_BYTES *
							VF_SECOND_NS / round->ns : 0;
	s->status.rate = side->rate;
	s->status.expected_downtime_ns = d->expected_ns;
	s->status.expected_downtime_known = d->expected_ns != 0;
	s->status.expected_downtime_unknown_terms = d->unknown;
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_notify(s);
}

void vf_source_forecast(struct vf_source_side *side)
{
	const struct vf_verdict *v = &side->machine.verdict;
	struct vferry_session *s = side->session;
	uint64_t limit_ms = side->machine.config.max_downtime_ns / VF_MS_NS;
	uint64_t fixed_ms = v->downtime.fixed_ns / VF_MS_NS;
	uint64_t dirty_mib = v->dirty_rate / VF_MIB;
	uint64_t rate_mib = side->rate / VF_MIB;

	(void) pthread_mutex_lock(&s->lock);
	if (v->never == VF_NEVER_FIXED && v->downtime.blind)
		(void) snprintf(s->status.forecast, sizeof(s->status.forecast),
				"nobody knows which memory a device wrote, and all of it alone takes %"
				PRIu64 " ms of the %" PRIu64 " ms allowed", fixed_ms, limit_ms);
	else if (v->never == VF_NEVER_FIXED)
		(void) snprintf(s->status.forecast, sizeof(s->status.forecast),
				"device state and steps alone take %" PRIu64 " ms of the %" PRIu64
				" ms allowed", fixed_ms, limit_ms);
	else
		(void) snprintf(s->status.forecast, sizeof(s->status.forecast),
				"memory is dirtied at %" PRIu64 " MiB/s and sent at %" PRIu64 " MiB/s",
				dirty_mib, rate_mib);
	/* Here too, because the next thing may be the end. */
	s->status.expected_downtime_ns = v->downtime.expected_ns;
	s->status.expected_downtime_known = v->downtime.expected_ns != 0;
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_notify(s);
}
