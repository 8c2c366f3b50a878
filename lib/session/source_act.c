/* SPDX-License-Identifier: MIT */
/*
 * source_act.c - what the decisions of the engine's machine mean, for a source.
 *
 * Threads that send pages and device state, the save plan, the undo plan, hooks. What may take long
 * and must not keep the session from hearing of a cancel (hooks, undo, resolve) runs on the helper
 * thread, one at a time.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "ram/ram.h"
#include "session/source.h"
#include "vfio/device_component.h"
#include "wire/frame.h"

/* Worse than what it was to undo: said first, with the cause behind it. */
void vf_source_note_failed_undo(struct vf_source_side *side, const struct vferry_error *undo)
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
		vf_source_note_failed_undo(side, &err);
	if (vf_source_device_lost(side->session))
		side->machine.device_lost = true;
}

/* ---- the helper thread ---- */

void vf_source_join_helper(struct vf_source_side *side)
{
	if (side->helper_exists)
		(void) pthread_join(side->helper_thread, NULL);
	side->helper_exists = false;
}

static void *undo_main(void *user);

static void run_helper(struct vf_source_side *side, void *(*main)(void *), uint32_t failed_kind)
{
	int ret;

	vf_source_join_helper(side);
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
		vf_executor_allow(side->save, VF_SOURCE_LIVE_CLASSES);
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
	if (round > 1)
		vf_source_refresh_rate(side);
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

	vf_source_join_helper(side);	/* a hook that still runs is part of the migration */
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

int vf_source_act(struct vf_source_side *side, const struct vf_action *action, struct vferry_error *err)
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
		vf_source_forecast(side);
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
