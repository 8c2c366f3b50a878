/* SPDX-License-Identifier: MIT */
/*
 * source.c - the source's session thread: events into the engine's machine, its actions carried out.
 *
 * The engine decides (engine/source.h); here is what its decisions mean: threads that send pages and
 * device state, the save plan, the undo plan, hooks. What may take long and must not keep the session from
 * hearing of a cancel (hooks, undo, resolve) runs on the helper thread, one at a time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "engine/downtime.h"
#include "ram/ram.h"
#include "session/source.h"
#include "vfio/device_component.h"
#include "wire/frame.h"

#define RATE_BYTES (4 * VF_MIB)		/* a round of fewer bytes says nothing of the link's rate */
#define LIVE_SAVE_CLASSES vf_class_bit(VFERRY_SAVE_CONFIG_EARLY)

static const char *const policy_names[] = {
	[VFERRY_POLICY_THROTTLE] = "throttle",
	[VFERRY_POLICY_CONTINUE] = "continue",
	[VFERRY_POLICY_GIVE_UP] = "give-up",
};

/* Worse than what it was to undo: said first, with the cause behind it. */
static void note_failed_undo(struct vf_source_side *side, const struct vferry_error *undo)
{
	struct vferry_error cause = side->machine.error;

	vferry_error_clear(&side->machine.error);
	(void) vferry_error_set(&side->machine.error, undo->code, "undo-failed", undo->object,
				"not all of the machine could be put back: %.200s (it was given up "
				"because: %s%s%.200s)", undo->message, cause.object,
				cause.object[0] ? ": " : "", cause.message);
}

/* While the machine runs: short, unless a device makes trouble. */
static void undo_live(struct vf_source_side *side)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_source_undo(side, &err))
		note_failed_undo(side, &err);
	if (vf_source_device_lost(side->session))
		side->machine.device_lost = true;
}

/* ---- the helper thread ---- */

static void join_helper(struct vf_source_side *side)
{
	if (side->helper_exists)
		(void) pthread_join(side->helper_thread, NULL);
	side->helper_exists = false;
}

static void *undo_main(void *user);

static void run_helper(struct vf_source_side *side, void *(*main)(void *), uint32_t failed_kind)
{
	int ret;

	join_helper(side);
	ret = vf_trace_thread(side->session->trace, "helper", &side->helper_thread, main, side);
	side->helper_exists = !ret;
	if (ret && main == undo_main) {
		(void) undo_main(side);	/* later here is better than never: the machine stands still */
	} else if (ret) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		(void) vferry_error_set(&err, ret, "no-thread", NULL, "cannot start a thread: %s",
					vferry_errno_name(ret));
		vf_session_post_error(side->session, failed_kind, &err);
	}
}

static void *undo_main(void *user)
{
	struct vf_source_side *side = user;
	struct vf_event event = { .kind = VF_SRC_UNDO_DONE };
	struct vferry_error err = VFERRY_ERROR_INIT;

	event.has_error = vf_source_undo(side, &err) != 0;
	event.error = err;
	event.flag = vf_source_device_lost(side->session);
	vf_session_post(side->session, &event);
	return NULL;
}

static void *hook_main(void *user)
{
	struct vf_source_side *side = user;
	struct vferry_session *s = side->session;
	struct vf_event event = { .kind = VF_SRC_HOOK_OK, .number = side->hook };
	int ret = s->ops.hook(s->user, (enum vferry_hook) side->hook, &event.error);

	if (ret) {
		(void) vferry_error_set(&event.error, ret, "hook-failed", vf_hook_name(side->hook),
					"the hook failed: %s", vferry_errno_name(ret));
		event.kind = VF_SRC_HOOK_FAILED;
		event.has_error = true;
	}
	vf_session_post(s, &event);
	return NULL;
}

static void *resolve_main(void *user)
{
	struct vf_source_side *side = user;
	struct vf_event event = { .kind = VF_SRC_RESOLVED };
	struct vferry_error err = VFERRY_ERROR_INIT;
	int answer = vf_source_ask(side, side->resolve_uri, &err);

	if (answer < 0) {
		/* Nothing is known that was not before; the question may be asked again. */
		(void) pthread_mutex_lock(&side->session->lock);
		side->session->status.error = err;
		(void) pthread_mutex_unlock(&side->session->lock);
		vf_session_notify(side->session);
		return NULL;
	}
	event.number = (uint64_t) answer;
	vf_session_post(side->session, &event);
	return NULL;
}

/* ---- actions ---- */

static int start_streams(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->component_count && !ret; i++) {
		struct vf_stream_source *stream = s->components[i].stream_source;

		if (!stream)
			continue;
		ret = vf_stream_source_start(stream, s->parameters.stall_timeout_ns, err);
		/* No pre-copy, a device that cannot tell, or a file: nobody to wait for. */
		if (!ret && (side->file || vf_stream_source_acknowledged(stream))) {
			struct vf_stream_source_totals totals;
			struct vf_event event = { .kind = VF_SRC_STREAM_ACK, .component = (uint32_t) i };

			vf_stream_source_get_totals(stream, &totals);
			event.generation = totals.generation;
			vf_session_post(s, &event);
		}
	}
	return ret;
}

/* Config space first: it is staged over there before the first byte of state. */
static int start_tracking(struct vf_source_side *side, struct vferry_error *err)
{
	int ret = 0;

	if (side->session->ram)
		ret = vf_ram_tracking_start(side->session->ram, err);
	if (!ret) {
		vf_executor_allow(side->save, LIVE_SAVE_CLASSES);
		ret = vf_executor_wait(side->save, err);
	}
	return ret ? ret : start_streams(side, err);
}

static int start_round(struct vf_source_side *side, uint32_t round)
{
	struct vf_event done = { .kind = VF_SRC_OWN_ROUND_FINISHED, .generation = round - 1 };
	struct vferry_session *s = side->session;

	(void) pthread_mutex_lock(&s->lock);
	s->status.pass = round;
	(void) pthread_mutex_unlock(&s->lock);
	if (s->ops.pass_began)
		s->ops.pass_began(s->user, round);
	(void) vf_trace(s->trace, VF_TRACE_ROUND_BEGIN, "ram", round, 0, 0);
	vf_session_notify(s);
	if (side->file && s->ram)
		return vf_source_file_start_round(side, round - 1);
	if (side->pages)
		return vf_page_sender_start_round(side->pages, round - 1);
	vf_session_post(s, &done);
	return 0;
}

/* With --verify: the sum of all RAM goes over before the manifest; its time is not the pause's. */
static int send_digest(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	uint64_t start = vf_now_ns();
	uint32_t digest;
	uint8_t body[4];
	int ret;

	if (!s->parameters.verify || !s->ram)
		return 0;
	ret = vferry_ram_digest(s->ram, &digest, err);
	if (ret)
		return ret;
	vf_put_u32(body, digest);
	(void) pthread_mutex_lock(&side->lock);
	side->verify_ns += vf_now_ns() - start;
	(void) pthread_mutex_unlock(&side->lock);
	return vf_source_send(side, VF_FRAME_DIGEST, body, sizeof(body), err);
}

static void emit(struct vf_source_side *side, const struct vf_action *action)
{
	vf_session_set_owner(side->session, vf_handover_may_run(side->machine.handover));
	vf_session_set_state(side->session, action->status);
}

/* Ends what still runs, and lets go of the devices. */
static void finish(struct vf_source_side *side, const struct vf_action *action)
{
	struct vferry_session *s = side->session;
	bool given_away = side->machine.handover == VF_HO_SRC_GAVE;

	join_helper(side);	/* a hook that still runs is part of the migration */
	if (side->file && action->exit_code != VFERRY_OUTCOME_DONE) {
		vf_source_file_join(side);
		vf_file_writer_discard(side->file);
	}
	if (action->outcome != VF_OUTCOME_UNKNOWN) {
		if (s->ram && given_away)
			vf_ram_tracking_stop(s->ram);
		for (size_t i = 0; i < s->device_count; i++) {
			if (given_away)
				vf_device_finish_source(s->devices[i]);
			vf_device_session_end(s->devices[i]);
		}
	}
	vf_session_set_owner(s, vf_handover_may_run(side->machine.handover));
	vf_session_set_state(s, action->status);
	(void) pthread_mutex_lock(&s->lock);
	s->status.device_lost = side->machine.device_lost;
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_finish(s, action->exit_code, &side->machine.error);
}

static void forecast(struct vf_source_side *side)
{
	const struct vf_verdict *v = &side->machine.verdict;
	struct vferry_session *s = side->session;
	uint64_t limit_ms = side->machine.config.max_downtime_ns / VF_MS_NS;
	uint64_t fixed_ms = v->downtime.fixed_ns / VF_MS_NS;
	uint64_t dirty_mib = v->dirty_rate / VF_MIB;
	uint64_t rate_mib = side->rate / VF_MIB;

	(void) pthread_mutex_lock(&s->lock);
	if (v->never == VF_NEVER_FIXED)
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

/* Return: what the action failed with; the caller makes it an event. */
static int act(struct vf_source_side *side, const struct vf_action *action, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret;

	switch (action->kind) {
	case VF_ACT_EMIT:
		emit(side, action);
		return 0;
	case VF_ACT_ARM_TIMER:		/* the machine remembers it: armed_ns */
		return 0;
	case VF_ACT_FINISH:
		finish(side, action);
		return 0;
	case VF_ACT_RUN_HOOK:
		side->hook = action->hook;
		run_helper(side, hook_main, VF_SRC_HOOK_FAILED);
		return 0;
	case VF_ACT_SEND_MACHINE:
		ret = vf_source_send_machine(side, err);
		if (!ret && side->file)
			vf_source_file_accept(side);
		return ret;
	case VF_ACT_START_TRACKING:
		return start_tracking(side, err);
	case VF_ACT_STOP_TRACKING:
		undo_live(side);
		return 0;
	case VF_ACT_START_ROUND:
		return start_round(side, action->round);
	case VF_ACT_SET_THROTTLE:
		if (s->ops.throttle)
			s->ops.throttle(s->user, action->percent);
		(void) pthread_mutex_lock(&s->lock);
		s->status.throttle_percent = action->percent;
		(void) pthread_mutex_unlock(&s->lock);
		return 0;
	case VF_ACT_FORECAST:
		forecast(side);
		return 0;
	case VF_ACT_RUN_SAVE_PLAN:
		side->last_round = side->machine.round;
		vf_executor_allow(side->save, ~0ull);
		return 0;
	case VF_ACT_SEND_MANIFEST:
		ret = send_digest(side, err);
		if (!ret)
			ret = vf_source_send_manifest(side, err);
		return !ret && side->file ? vf_source_file_finish(side, err) : ret;
	case VF_ACT_SEND_COMMIT:
		(void) pthread_mutex_lock(&side->lock);
		side->committed_ns = vf_now_ns();
		(void) pthread_mutex_unlock(&side->lock);
		if (side->file) {
			vf_session_post_kind(s, VF_SRC_PEER_RUNNING);
			return 0;
		}
		return vf_source_send(side, VF_FRAME_COMMIT, s->id, sizeof(s->id), err);
	case VF_ACT_SEND_CANCEL:
		if (!side->file)
			vf_source_send_cancel(side, &side->machine.error);
		return 0;
	case VF_ACT_SEND_RESOLVE:
		run_helper(side, resolve_main, VF_SRC_LINK_LOST);
		return 0;
	case VF_ACT_RUN_UNDO_PLAN:
		run_helper(side, undo_main, VF_SRC_UNDO_DONE);
		return 0;
	default:
		return -EINVAL;
	}
}

/* ---- events ---- */

static void feed(struct vf_source_side *side, struct vf_source_event *event);

static void carry_out(struct vf_source_side *side, const struct vf_actions *actions)
{
	for (size_t i = 0; i < actions->count; i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_source_event failed = { .error = &err };
		int ret = act(side, &actions->list[i], &err);

		if (!ret)
			continue;
		(void) vferry_error_set(&err, ret, "failed", vf_action_name(actions->list[i].kind),
					"%s", vferry_errno_name(ret));
		if (actions->list[i].kind != VF_ACT_SEND_COMMIT && vf_source_peer_tells(side, &err))
			return;
		/* A message that did not go out is a lost link; the rest is a failed save. */
		switch (actions->list[i].kind) {
		case VF_ACT_SEND_MACHINE:
		case VF_ACT_SEND_MANIFEST:
		case VF_ACT_SEND_COMMIT:
			failed.kind = side->file ? VF_SRC_SAVE_FAILED : VF_SRC_LINK_LOST;
			break;
		default:
			failed.kind = VF_SRC_SAVE_FAILED;
		}
		feed(side, &failed);
		return;	/* what was to follow no longer holds */
	}
}

static void feed(struct vf_source_side *side, struct vf_source_event *event)
{
	struct vf_actions actions;

	event->now_ns = vf_now_ns();
	if (!vf_source_event(&side->machine, event, &actions))
		carry_out(side, &actions);
}

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

static int measure_round(struct vf_source_side *side, uint32_t round, struct vf_round *ret)
{
	struct vferry_session *s = side->session;
	struct vf_ram_collected collected = { 0 };
	struct vf_page_stats stats = { 0 };
	unsigned threads = vf_session_step_threads(s);
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
	if (stats.bytes >= RATE_BYTES && stats.rate)
		side->rate = stats.rate;
	else if (!side->rate)
		side->rate = side->link_rate;
	if (side->bandwidth && side->rate > side->bandwidth)
		side->rate = side->bandwidth;
	ret->sent_bytes = stats.bytes;
	ret->ns = stats.ns;
	ret->left = (struct vf_downtime_input) {
		.rate = side->rate,
		.ram_bytes = collected.dirty_pages * VF_PAGE_BYTES,
		.round_trip = { side->round_trip_ns, side->round_trip_known },
	};
	if (side->load_ns != VF_UNKNOWN_NS)
		ret->left.load = (struct vf_time_known) { side->load_ns, true };
	measure_streams(side, &ret->left);
	predict_steps(side, ret->left.ram_bytes);
	error = vf_downtime_plan(side->save_plan, side->predicted, ~LIVE_SAVE_CLASSES, threads,
				 &ret->left.save, NULL);
	return error;
}

static void publish_round(struct vf_source_side *side, const struct vf_round *round)
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

static void on_round_finished(struct vf_source_side *side, const struct vf_event *event)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_source_event e = { .kind = VF_SRC_ROUND_DONE, .error = &err };
	int ret = (int) event->number;

	if (side->pages)	/* free again once its callback returned; knows what it failed with */
		ret = vf_page_sender_wait(side->pages, 0, &err);
	if (ret)
		(void) vferry_error_set(&err, ret, "ram-failed", "ram", "sending pages: %s",
					vferry_errno_name(ret));
	else
		ret = measure_round(side, event->generation + 1, &e.round);
	(void) vf_trace(side->session->trace, VF_TRACE_ROUND_END, "ram", event->generation + 1,
			e.round.sent_bytes, ret < 0 ? (uint64_t) -ret : 0);
	if (ret == -ECANCELED)
		return;
	if (ret) {
		(void) vferry_error_set(&err, ret, "ram-failed", "ram", "%s", vferry_errno_name(ret));
		if (vf_source_peer_tells(side, &err))
			return;
		e.kind = VF_SRC_SAVE_FAILED;
		feed(side, &e);
		return;
	}
	feed(side, &e);
	publish_round(side, &e.round);
}

static void note_running(struct vf_source_side *side, uint64_t run_ns)
{
	struct vferry_session *s = side->session;
	uint64_t verify;

	(void) pthread_mutex_lock(&side->lock);
	verify = side->verify_ns;
	side->downtime_ns = side->committed_ns - side->stopped_ns + side->round_trip_ns / 2 + run_ns;
	side->downtime_ns -= vf_min_u64(verify, side->downtime_ns);
	(void) pthread_mutex_unlock(&side->lock);
	(void) pthread_mutex_lock(&s->lock);
	s->status.downtime_known = true;
	s->status.downtime_ns = side->downtime_ns;
	(void) pthread_mutex_unlock(&s->lock);
}

static void on_event(struct vf_source_side *side, const struct vf_event *event)
{
	struct vf_source_event e = {
		.kind = (enum vf_source_event_kind) event->kind,
		.error = event->has_error ? &event->error : NULL,
		.component = event->component,
		.generation = event->generation,
		.device_lost = event->kind == VF_SRC_UNDO_DONE && event->flag,
		.ran = event->kind == VF_SRC_RESOLVED ? event->number != VF_RESOLUTION_ABORTED
						      : event->flag,
		.lost = event->kind == VF_SRC_RESOLVED && event->number == VF_RESOLUTION_LOST,
		.hook = event->kind == VF_SRC_HOOK_OK || event->kind == VF_SRC_HOOK_FAILED
				? (enum vf_hook) event->number : VF_HOOK_BEFORE_SWITCHOVER,
	};

	switch (event->kind) {
	case VF_SRC_OWN_ROUND_FINISHED:
		on_round_finished(side, event);
		return;
	case VF_SRC_OWN_STREAM_FAILED:
		e.kind = VF_SRC_SAVE_FAILED;
		if (vf_source_peer_tells(side, &event->error))
			return;
		break;
	case VF_SRC_SAVE_FAILED:
		if (vf_source_peer_tells(side, &event->error))
			return;
		break;
	case VF_SRC_PEER_PREPARED:
		(void) pthread_mutex_lock(&side->lock);
		side->verify_ns += event->number;
		(void) pthread_mutex_unlock(&side->lock);
		break;
	case VF_SRC_PEER_RUNNING:
		note_running(side, event->number);
		break;
	case VF_SRC_UNDO_DONE:
		if (event->has_error)
			note_failed_undo(side, &event->error);
		break;
	case VF_SRC_OWN_LIMITS:
		side->machine.config.max_downtime_ns = event->number;
		side->machine.converge.max_downtime_ns = event->number;
		side->bandwidth = event->bandwidth;
		return;
	}
	feed(side, &e);
}

/* ---- life ---- */

static int make_streams(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->component_count && !ret; i++) {
		struct vf_session_component *c = &s->components[i];

		if (c->desc.stream)
			ret = vf_stream_source_new(c->index, c->name, c->desc.stream, c->desc.user,
						   &vf_source_stream_ops, side, &c->stream_source);
	}
	return ret;
}

static int make_plans(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = vf_steps_plan(s, VFERRY_PHASE_SAVE, NULL, &side->save_plan, err);

	if (!ret)
		ret = vf_plan_seal(side->save_plan, err);
	if (!ret) {
		size_t count = vf_plan_count(side->save_plan);

		side->predicted = calloc(count + 1, sizeof(*side->predicted));
		ret = side->predicted ? 0 : -ENOMEM;
		for (size_t i = 0; i < count && !ret; i++)
			side->predicted[i] = VF_NS_UNKNOWN;
	}
	if (!ret)
		ret = vf_steps_plan(s, VFERRY_PHASE_UNDO, NULL, &side->undo_plan, err);
	if (!ret)
		ret = vf_plan_seal(side->undo_plan, err);
	if (!ret)
		ret = vf_executor_new(side->save_plan, vf_session_step_threads(s), false, &vf_source_save_ops,
				      side, &side->save);
	if (!ret)
		ret = vf_executor_new(side->undo_plan, 4, true, &vf_source_undo_ops, side, &side->undo);
	if (!ret) {
		vf_executor_set_trace(side->save, s->trace);
		vf_executor_set_trace(side->undo, s->trace);
	}
	return ret;
}

/* Devices that cannot be migrated are found before anything is sent. */
static int begin_devices(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->device_count; i++) {
		int ret;

		vf_device_set_trace(s->devices[i], s->trace);
		ret = vf_device_session_begin(s->devices[i], VF_DEVICE_SOURCE, err);

		if (!ret && s->device_count > 1 && !vf_device_is_p2p_safe(s->devices[i]))
			ret = vferry_error_set(err, -ENOTSUP, "device-no-p2p",
					       vf_device_address(s->devices[i]),
					       "has no P2P states, and BARs are DMA-mapped between it "
					       "and another device: they cannot be stopped one by one");
		if (ret) {
			while (i-- > 0)
				vf_device_session_end(s->devices[i]);
			return ret;
		}
	}
	return 0;
}

static int open_link(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret;

	if (s->target.kind == VF_URI_FILE)
		return vf_source_file_open(side, err);
	ret = vf_source_connect(side, err);

	if (!ret && s->ram) {
		struct vf_page_sender_options options = {
			.ram = s->ram, .channels = side->channels,
			.channel_count = side->channel_count,
			.codec = (enum vf_codec) s->parameters.compression,
			.round_done = vf_source_round_done, .user = side,
		};

		struct vf_page_sender *pages;

		ret = vf_page_sender_new(&options, &pages, err);
		(void) pthread_mutex_lock(&side->lock);
		side->pages = ret ? NULL : pages;
		(void) pthread_mutex_unlock(&side->lock);
	}
	return ret ? ret : vf_source_link_start(side, err);
}

static void init_machine(struct vf_source_side *side)
{
	const struct vferry_parameters *p = &side->session->parameters;
	struct vf_source_config config = {
		.policy = vf_policy_find(policy_names[p->policy]),
		.max_downtime_ns = p->max_downtime_ns,
		.pause_budget_ns = p->pause_budget_ns ? p->pause_budget_ns : 10 * p->max_downtime_ns,
		.timeout_ns = p->timeout_ns,
		.check = p->check_only,
		.hold = p->hold_before_switchover,
	};

	for (int i = 0; i < VF_HOOK__COUNT; i++)
		config.hooks[i] = side->session->ops.hook != NULL;
	vf_source_init(&side->machine, &config);
}

/* Every stream that may send before the stop. Whether it knows its initial bytes is seen once it does. */
static void add_streams(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->component_count; i++) {
		const struct vf_session_component *c = &s->components[i];
		struct vf_stream_source_totals totals;

		if (!c->stream_source)
			continue;
		/* Before the engine hears of it: acknowledgements of another generation do not count. */
		vf_stream_source_sync(c->stream_source);
		if (!c->desc.stream->precopy_start || !c->desc.stream->remaining)
			continue;
		vf_stream_source_get_totals(c->stream_source, &totals);
		(void) vf_source_add_stream(&side->machine, c->index, totals.generation);
	}
}

/* Failed before the engine began: nothing was changed. */
static void fail_setup(struct vf_source_side *side, int exit_code, struct vferry_error *err, int ret)
{
	struct vferry_session *s = side->session;

	(void) vferry_error_set(err, ret, "setup-failed", s->uri, "%s", vferry_errno_name(ret));
	vferry_error_phase(err, "setup");
	vf_session_set_owner(s, true);
	vf_session_set_state(s, ret == -ECANCELED ? VF_STATUS_CANCELLED : VF_STATUS_FAILED);
	vf_session_finish(s, ret == -ECANCELED ? VFERRY_OUTCOME_CANCELLED : exit_code, err);
}

static bool set_up(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret;

	vf_session_set_owner(s, true);
	vf_session_set_state(s, VF_STATUS_SETUP);
	ret = make_plans(side, &err);
	if (!ret)
		ret = begin_devices(side, &err);
	if (ret) {
		fail_setup(side, VFERRY_OUTCOME_REFUSED, &err, ret);
		return false;
	}
	ret = open_link(side, &err);
	if (ret) {
		for (size_t i = 0; i < s->device_count; i++)
			vf_device_session_end(s->devices[i]);
		fail_setup(side, ret == -EPERM && !strcmp(err.id, "insecure") ? VFERRY_OUTCOME_REFUSED
									       : VFERRY_OUTCOME_FAILED,
			   &err, ret);
		return false;
	}
	return true;
}

static void source_run(struct vferry_session *s)
{
	struct vf_source_side *side = s->source;
	struct vf_source_event start = { .kind = VF_SRC_START };

	if (!set_up(side))
		return;
	add_streams(side);
	feed(side, &start);
	while (!vf_session_quitting(s)) {
		uint64_t armed = side->machine.armed_ns == UINT64_MAX ? 0 : side->machine.armed_ns;
		struct vf_source_event timer = { .kind = VF_SRC_TIMER };
		struct vf_event event;

		if (vf_session_next_event(s, armed, &event))
			on_event(side, &event);
		else if (armed && vf_now_ns() >= armed)
			feed(side, &timer);
	}
}

static int source_cancel(struct vferry_session *s)
{
	uint64_t one = 1;
	bool ended, committed;

	(void) pthread_mutex_lock(&s->lock);
	ended = s->ended;
	(void) pthread_mutex_unlock(&s->lock);
	(void) pthread_mutex_lock(&s->source->lock);
	committed = s->source->committed_ns != 0;
	(void) pthread_mutex_unlock(&s->source->lock);
	if (committed)
		return -EALREADY;
	if (ended)
		return 0;
	(void) !write(s->cancel_fd, &one, sizeof(one));
	vf_session_post_kind(s, VF_SRC_CANCEL);
	return 0;
}

static void source_free(struct vferry_session *s)
{
	struct vf_source_side *side = s->source;

	join_helper(side);
	vf_source_file_join(side);
	vf_source_link_stop(side);
	side->file = vf_file_writer_free(side->file);
	side->pages = vf_page_sender_free(side->pages);
	for (size_t i = 0; i < s->component_count; i++)
		s->components[i].stream_source = vf_stream_source_free(s->components[i].stream_source);
	side->save = vf_executor_free(side->save);
	side->undo = vf_executor_free(side->undo);
	/* Nobody is left who would: a device that is closed next must not stay a source of dirt. */
	if (s->ram)
		vf_ram_tracking_stop(s->ram);
	(void) vf_plan_free(side->save_plan);
	(void) vf_plan_free(side->undo_plan);
	(void) vf_limiter_free(side->limiter);
	(void) pthread_cond_destroy(&side->answers_ended_changed);
	(void) pthread_mutex_destroy(&side->lock);
	free(side->sections);
	free(side->predicted);
	free(side);
	s->source = NULL;
}

static void source_status(struct vferry_session *s, struct vferry_status *status)
{
	struct vf_source_side *side = s->source;

	(void) pthread_mutex_lock(&side->lock);
	status->section_bytes = side->section_bytes;
	if (side->file) {
		status->ram_sent_bytes = side->file_total.bytes;
		status->pages_normal = side->file_total.pages_normal;
		status->pages_zero = side->file_total.pages_zero;
	}
	if (side->pages) {
		struct vf_page_stats pages;

		vf_page_sender_get_stats(side->pages, NULL, &pages);
		status->ram_sent_bytes = pages.bytes;
		status->pages_normal = pages.pages_normal;
		status->pages_zero = pages.pages_zero;
	}
	(void) pthread_mutex_unlock(&side->lock);
	status->ram_total_bytes = s->ram ? vferry_ram_bytes(s->ram) : 0;
	status->device_sent_bytes = 0;
	for (size_t i = 0; i < s->component_count; i++) {
		struct vf_stream_source_totals totals;

		if (!s->components[i].stream_source)
			continue;
		vf_stream_source_get_totals(s->components[i].stream_source, &totals);
		status->device_sent_bytes += totals.sent_bytes;
	}
}

const struct vf_side_ops vf_source_ops = {
	.run = source_run,
	.cancel = source_cancel,
	.free = source_free,
	.status = source_status,
};

int vf_source_side_new(struct vferry_session *s, struct vferry_error *err)
{
	struct vf_source_side *side = calloc(1, sizeof(*side));
	int ret;

	if (!side)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory for a source");
	side->session = s;
	side->load_ns = VF_UNKNOWN_NS;
	side->bandwidth = s->parameters.bandwidth;
	side->channel_count = s->target.kind == VF_URI_FD || s->target.kind == VF_URI_FILE
				      ? 1 : s->parameters.channels;
	(void) pthread_mutex_init(&side->lock, NULL);
	vf_session_init_condition(&side->answers_ended_changed);
	init_machine(side);
	s->source = side;
	ret = vf_limiter_new(s->parameters.bandwidth, &side->limiter);
	if (!ret && getrandom(s->id, sizeof(s->id), 0) != sizeof(s->id))
		ret = -EIO;
	if (!ret)
		ret = make_streams(side);
	if (ret) {
		source_free(s);
		return vferry_error_set(err, ret, "no-memory", NULL, "cannot set up a source: %s",
					vferry_errno_name(ret));
	}
	return 0;
}

/* ---- what session.c passes on ---- */

struct vf_executor *vf_source_executor(struct vferry_session *s)
{
	return s->source ? s->source->save : NULL;
}

struct vf_plan *vf_source_plan(struct vferry_session *s)
{
	return s->source ? s->source->save_plan : NULL;
}

/* Before the save plan ran it changes with each round; afterwards it is what was expected. */
uint64_t vf_source_predicted_ns(struct vferry_session *s, const char *full_name)
{
	int step = s->source && s->source->save_plan ? vf_plan_find(s->source->save_plan, full_name)
						     : -ENOENT;

	return step < 0 || !s->source->predicted ? VF_NS_UNKNOWN : s->source->predicted[step];
}

uint64_t vf_source_pause_ns(struct vferry_session *s)
{
	uint64_t ns = 0;

	if (s->source) {
		(void) pthread_mutex_lock(&s->source->lock);
		ns = s->source->stopped_ns;
		(void) pthread_mutex_unlock(&s->source->lock);
	}
	return ns;
}

int vf_source_continue(struct vferry_session *s)
{
	vf_session_post_kind(s, VF_SRC_CONTINUE);
	return 0;
}

int vf_source_resolve(struct vferry_session *s, const char *peer, bool fenced_destination)
{
	struct vf_event event = { .kind = peer ? VF_SRC_ASK : VF_SRC_FENCED };

	if (peer) {
		if (strlen(peer) >= sizeof(s->source->resolve_uri))
			return -EINVAL;
		(void) snprintf(s->source->resolve_uri, sizeof(s->source->resolve_uri), "%s", peer);
	}
	event.flag = !peer && !fenced_destination;	/* the source is the one fenced off */
	vf_session_post(s, &event);
	return 0;
}

int vferry_session_set_limits(struct vferry_session *s, uint64_t max_downtime_ns, uint64_t bandwidth)
{
	if (!max_downtime_ns)
		return -EINVAL;
	if (s->source) {
		struct vf_event event = { .kind = VF_SRC_OWN_LIMITS, .number = max_downtime_ns,
					  .bandwidth = bandwidth };

		vf_limiter_set_rate(s->source->limiter, bandwidth);
		vf_session_post(s, &event);
	} else if (!s->side) {
		s->parameters.max_downtime_ns = max_downtime_ns;
		s->parameters.bandwidth = bandwidth;
	}
	return 0;
}
