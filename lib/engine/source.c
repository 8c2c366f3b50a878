/* SPDX-License-Identifier: MIT */
/*
 * source.c - the source's table of states and events; see source.h.
 *
 * Each row: in one of these states, on this event, call that handler, and be in one of those states
 * afterwards (asserted). The first row that matches counts. What matches no row is ignored.
 *
 * Rounds: normally one starts as soon as the last one ended. Where RAM is not what is missing (but an
 * acknowledgement, a person's CONTINUE, less device state or a faster link) the next round waits a
 * little, so that a machine at rest does not keep two CPUs and a link busy with empty rounds.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "engine/source.h"

#define NS_PER_MS 1000000ull
#define ACK_GAP_NS (20 * NS_PER_MS)
#define HOLD_GAP_NS (100 * NS_PER_MS)
#define FIXED_GAP_NS (100 * NS_PER_MS)
#define ANSWER_TIMEOUT_NS (10000 * NS_PER_MS)

#define S(state) (1u << VF_SRC_##state)
#define IN_ROUNDS (S(ROUND) | S(HOLD))
#define IN_SWITCHOVER (S(STOPPING) | S(SAVING) | S(WAIT_PREPARED))
#define BEFORE_COMMIT (S(SETUP) | IN_ROUNDS | S(HOOK) | IN_SWITCHOVER)
#define AFTER_COMMIT (S(WAIT_RUNNING) | S(UNKNOWN))
#define ENDS_BACK (S(UNDOING) | S(HOOK_BACK) | S(ENDED))

typedef void handler(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out);

/* One step of the hand-over core. Rows are chosen so that it always has one. */
static void hand_over(struct vf_source *s, enum vf_handover_input on)
{
	const struct vf_handover_rule *rule = vf_handover_step(s->handover, on);

	assert(rule);
	s->handover = rule->to;
}

static void emit(const struct vf_source *s, struct vf_actions *out)
{
	struct vf_action *action = vf_actions_add(out, VF_ACT_EMIT);

	action->status = s->status;
	action->outcome = s->outcome;
}

static void set_status(struct vf_source *s, enum vf_status status, struct vf_actions *out)
{
	if (s->status == status)
		return;
	s->status = status;
	emit(s, out);
}

static void finish(struct vf_source *s, enum vf_outcome outcome, struct vf_actions *out)
{
	static const enum vf_status ends[VF_OUTCOME__COUNT] = {
		[VF_OUTCOME_DONE] = VF_STATUS_COMPLETED,
		[VF_OUTCOME_CHECKED] = VF_STATUS_NONE,
		[VF_OUTCOME_REFUSED] = VF_STATUS_FAILED,
		[VF_OUTCOME_FAILED] = VF_STATUS_FAILED,
		[VF_OUTCOME_CANCELLED] = VF_STATUS_CANCELLED,
		[VF_OUTCOME_UNKNOWN] = VF_STATUS_DEVICE,
		[VF_OUTCOME_LOST] = VF_STATUS_FAILED,
	};
	struct vf_action *action;

	s->state = outcome == VF_OUTCOME_UNKNOWN ? VF_SRC_UNKNOWN : VF_SRC_ENDED;
	s->outcome = outcome;
	if (s->status == ends[outcome])
		emit(s, out);	/* the outcome is news, even if the status is not */
	else
		set_status(s, ends[outcome], out);
	action = vf_actions_add(out, VF_ACT_FINISH);
	action->status = s->status;
	action->outcome = outcome;
	action->exit_code = vf_outcome_exit_code(outcome);
}

static void run_hook(enum vf_hook hook, struct vf_actions *out)
{
	vf_actions_add(out, VF_ACT_RUN_HOOK)->hook = hook;
}

static void throttle(struct vf_source *s, uint32_t percent, struct vf_actions *out)
{
	if (s->throttle == percent)
		return;
	s->throttle = percent;
	vf_actions_add(out, VF_ACT_SET_THROTTLE)->percent = percent;
}

/* The machine is back, or was never away: tell the hook, then end. */
static void is_back(struct vf_source *s, struct vf_actions *out)
{
	if (s->config.hooks[VF_HOOK_AFTER_ROLL_BACK] && (s->hook_started || s->saving)) {
		s->state = VF_SRC_HOOK_BACK;
		run_hook(VF_HOOK_AFTER_ROLL_BACK, out);
		return;
	}
	finish(s, s->outcome, out);
}

/* The hand-over core says already that the machine stays: bring everything back. */
static void go_back(struct vf_source *s, enum vf_outcome outcome, struct vf_actions *out)
{
	s->outcome = outcome;
	s->next_round_ns = 0;
	s->round_runs = false;
	throttle(s, 0, out);
	if (s->saving) {
		s->state = VF_SRC_UNDOING;
		(void) vf_actions_add(out, VF_ACT_RUN_UNDO_PLAN);
		return;
	}
	if (s->tracking)
		(void) vf_actions_add(out, VF_ACT_STOP_TRACKING);
	s->tracking = false;
	is_back(s, out);
}

static void keep_error(struct vf_source *s, const struct vferry_error *error, int code,
		       const char *id, const char *message)
{
	if (s->error.code)
		return;
	if (error && error->code)
		s->error = *error;
	else
		(void) vferry_error_set(&s->error, code, id, NULL, "%s", message);
	vferry_error_phase(&s->error, vf_status_name(s->status));
}

/* A failure of this side's, or the link's, before COMMIT. */
static void fail(struct vf_source *s, const struct vferry_error *error, int code, const char *id,
		 const char *message, struct vf_actions *out)
{
	keep_error(s, error, code, id, message);
	if (s->link_lost) {
		hand_over(s, VF_HO_LINK_LOST);
	} else {
		hand_over(s, VF_HO_ROLL_BACK);
		(void) vf_actions_add(out, VF_ACT_SEND_CANCEL);
	}
	go_back(s, VF_OUTCOME_FAILED, out);
}

static void start_round(struct vf_source *s, struct vf_actions *out)
{
	s->round++;
	s->round_runs = true;
	s->next_round_ns = 0;
	vf_actions_add(out, VF_ACT_START_ROUND)->round = s->round;
}

static void on_start(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	s->started_ns = e->now_ns;
	s->state = VF_SRC_SETUP;
	(void) vf_actions_add(out, VF_ACT_SEND_MACHINE);
	set_status(s, VF_STATUS_SETUP, out);
}

static void on_accepted(struct vf_source *s, const struct vf_source_event *e,
			struct vf_actions *out)
{
	(void) e;
	if (s->config.check) {
		hand_over(s, VF_HO_ROLL_BACK);
		finish(s, VF_OUTCOME_CHECKED, out);
		return;
	}
	s->state = VF_SRC_ROUND;
	s->tracking = true;
	set_status(s, VF_STATUS_ACTIVE, out);
	(void) vf_actions_add(out, VF_ACT_START_TRACKING);
	start_round(s, out);
}

static void on_refused(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	keep_error(s, e->error, -EINVAL, "refused",
		   "The destination cannot take this machine, and gave no reason.");
	hand_over(s, VF_HO_LOAD_FAILED_MSG);
	finish(s, VF_OUTCOME_REFUSED, out);
}

static void begin_switchover(struct vf_source *s, uint64_t now_ns, struct vf_actions *out)
{
	s->state = VF_SRC_STOPPING;
	s->saving = true;
	s->switchover_ns = now_ns;
	throttle(s, 0, out);
	set_status(s, VF_STATUS_DEVICE, out);
	(void) vf_actions_add(out, VF_ACT_RUN_SAVE_PLAN);
}

/* It fits now: go, or hold, or ask the hook first. */
static void may_switch(struct vf_source *s, uint64_t now_ns, struct vf_actions *out)
{
	if (s->config.hold && !s->continued) {
		s->state = VF_SRC_HOLD;
		s->next_round_ns = now_ns + HOLD_GAP_NS;
		set_status(s, VF_STATUS_PRE_SWITCHOVER, out);
	} else if (s->config.hooks[VF_HOOK_BEFORE_SWITCHOVER] && !s->hook_started) {
		s->state = VF_SRC_HOOK;
		s->hook_started = true;
		run_hook(VF_HOOK_BEFORE_SWITCHOVER, out);
	} else {
		begin_switchover(s, now_ns, out);
	}
}

static const char *why_never(const struct vf_verdict *v)
{
	if (v->never != VF_NEVER_FIXED)
		return "memory is dirtied as fast as it is sent";
	return v->downtime.blind ?
		       "nobody knows which memory a device wrote, so all of it goes in the pause" :
		       "its steps and device state alone take longer";
}

static void give_up(struct vf_source *s, struct vf_actions *out)
{
	const struct vf_verdict *v = &s->verdict;
	char text[256];

	(void) snprintf(text, sizeof(text),
			"The pause would take %llu ms, the limit is %llu ms, and it will not get "
			"shorter: %s.",
			(unsigned long long) (v->downtime.expected_ns / NS_PER_MS),
			(unsigned long long) (s->config.max_downtime_ns / NS_PER_MS),
			why_never(v));
	fail(s, NULL, -ETIME, "will-not-fit", text, out);
}

static void on_round_done(struct vf_source *s, const struct vf_source_event *e,
			  struct vf_actions *out)
{
	s->round_runs = false;
	vf_converge_round(&s->converge, &e->round, vf_source_acknowledged(s), &s->verdict);
	if (s->verdict.never != VF_NEVER_NOT_SAID && !s->forecast) {
		s->forecast = true;
		(void) vf_actions_add(out, VF_ACT_FORECAST);
	}
	switch (s->verdict.kind) {
	case VF_VERDICT_SWITCH:
		may_switch(s, e->now_ns, out);
		break;
	case VF_VERDICT_GIVE_UP:
		give_up(s, out);
		break;
	case VF_VERDICT_AGAIN:
		throttle(s, s->verdict.throttle, out);
		if (s->verdict.waits_for_ack)
			s->next_round_ns = e->now_ns + ACK_GAP_NS;
		else if (s->verdict.never == VF_NEVER_FIXED && s->round > 1)
			s->next_round_ns = e->now_ns + FIXED_GAP_NS;
		else
			start_round(s, out);
		break;
	}
}

static void on_ack(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	for (size_t i = 0; i < s->stream_count; i++) {
		struct vf_source_stream *stream = &s->streams[i];

		/* One for bytes that are void by now says nothing. */
		if (stream->component == e->component && stream->generation == e->generation)
			stream->acknowledged = true;
	}
	if (s->state == VF_SRC_ROUND && s->next_round_ns && vf_source_acknowledged(s))
		start_round(s, out);
}

static void on_reinit(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	(void) out;
	for (size_t i = 0; i < s->stream_count; i++) {
		struct vf_source_stream *stream = &s->streams[i];

		if (stream->component != e->component)
			continue;
		stream->generation = e->generation;
		stream->acknowledged = false;
	}
}

static void on_continue(struct vf_source *s, const struct vf_source_event *e,
			struct vf_actions *out)
{
	(void) e;
	s->continued = true;
	s->state = VF_SRC_ROUND;
	set_status(s, VF_STATUS_ACTIVE, out);
	if (!s->round_runs)
		start_round(s, out);
}

static void on_hook_ok(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	if (s->state == VF_SRC_HOOK && e->hook == VF_HOOK_BEFORE_SWITCHOVER) {
		/* It may have taken long: what was dirtied meanwhile is sent before the stop. */
		s->hook_done = true;
		s->state = VF_SRC_ROUND;
		start_round(s, out);
	} else if (s->state == VF_SRC_HOOK_BACK && e->hook == VF_HOOK_AFTER_ROLL_BACK) {
		finish(s, s->outcome, out);
	}
}

static void on_hook_failed(struct vf_source *s, const struct vf_source_event *e,
			   struct vf_actions *out)
{
	if (s->state == VF_SRC_HOOK && e->hook == VF_HOOK_BEFORE_SWITCHOVER) {
		fail(s, e->error, -ECANCELED, "hook-failed",
		     "The hook before the switchover failed.", out);
	} else if (s->state == VF_SRC_HOOK_BACK && e->hook == VF_HOOK_AFTER_ROLL_BACK) {
		keep_error(s, e->error, -EIO, "hook-failed",
			   "The hook after the roll-back failed.");
		finish(s, s->outcome, out);
	}
}

static void on_stopped(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	(void) out;
	s->state = VF_SRC_SAVING;
	s->paused_ns = e->now_ns;
}

static void on_save_done(struct vf_source *s, const struct vf_source_event *e,
			 struct vf_actions *out)
{
	(void) e;
	s->state = VF_SRC_WAIT_PREPARED;
	hand_over(s, VF_HO_SAVED);
	(void) vf_actions_add(out, VF_ACT_SEND_MANIFEST);
}

static void on_save_failed(struct vf_source *s, const struct vf_source_event *e,
			   struct vf_actions *out)
{
	fail(s, e->error, -EIO, "save-failed", "Saving the machine failed.", out);
}

static bool over_budget(const struct vf_source *s, uint64_t now_ns)
{
	return s->config.pause_budget_ns && s->switchover_ns &&
	       now_ns - s->switchover_ns >= s->config.pause_budget_ns;
}

static bool over_timeout(const struct vf_source *s, uint64_t now_ns)
{
	return s->config.timeout_ns && now_ns - s->started_ns >= s->config.timeout_ns;
}

static void fail_budget(struct vf_source *s, struct vf_actions *out)
{
	fail(s, NULL, -ETIME, "pause-budget",
	     "The destination was not ready within the pause budget.", out);
}

static void fail_timeout(struct vf_source *s, struct vf_actions *out)
{
	fail(s, NULL, -ETIMEDOUT, "timeout", "The migration was not done within its timeout.", out);
}

static void on_prepared(struct vf_source *s, const struct vf_source_event *e,
			struct vf_actions *out)
{
	/* The timer may come a little later than the answer that came too late. */
	if (over_budget(s, e->now_ns)) {
		fail_budget(s, out);
		return;
	}
	if (over_timeout(s, e->now_ns)) {
		fail_timeout(s, out);
		return;
	}
	hand_over(s, VF_HO_PREPARED);
	s->state = VF_SRC_WAIT_RUNNING;
	s->committed_ns = e->now_ns;
	(void) vf_actions_add(out, VF_ACT_SEND_COMMIT);
	if (s->config.hooks[VF_HOOK_AFTER_COMMIT])
		run_hook(VF_HOOK_AFTER_COMMIT, out);
}

static void on_running(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	(void) e;
	hand_over(s, VF_HO_RUNNING);
	s->error = (struct vferry_error) VFERRY_ERROR_INIT;
	finish(s, VF_OUTCOME_DONE, out);
}

static void on_load_failed(struct vf_source *s, const struct vf_source_event *e,
			   struct vf_actions *out)
{
	keep_error(s, e->error, -EIO, "load-failed", "The destination could not load the machine.");
	hand_over(s, VF_HO_LOAD_FAILED_MSG);
	go_back(s, VF_OUTCOME_FAILED, out);
}

static void on_run_failed(struct vf_source *s, const struct vf_source_event *e,
			  struct vf_actions *out)
{
	s->error = (struct vferry_error) VFERRY_ERROR_INIT;
	keep_error(s, e->error, -EIO, "run-failed",
		   "The destination took the machine over and could not run it.");
	hand_over(s, VF_HO_RUN_FAILED_MSG);
	finish(s, VF_OUTCOME_LOST, out);
}

static void on_link_lost(struct vf_source *s, const struct vf_source_event *e,
			 struct vf_actions *out)
{
	s->link_lost = true;
	fail(s, e->error, -ECONNRESET, "link-lost", "The connection to the destination was lost.",
	     out);
}

static void on_stall(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	fail(s, e->error, -ETIMEDOUT, "stall", "No byte went to the destination for too long.",
	     out);
}

static void be_unknown(struct vf_source *s, const struct vferry_error *error,
		       struct vf_actions *out)
{
	keep_error(s, error, -ETIMEDOUT, "outcome-unknown",
		   "The machine was handed over, and the destination did not say that it runs.");
	s->link_lost = true;
	hand_over(s, VF_HO_LINK_LOST);
	finish(s, VF_OUTCOME_UNKNOWN, out);
}

static void on_answer_lost(struct vf_source *s, const struct vf_source_event *e,
			   struct vf_actions *out)
{
	be_unknown(s, e->error, out);
}

static void on_peer_bad(struct vf_source *s, const struct vf_source_event *e,
			struct vf_actions *out)
{
	char text[128];

	(void) snprintf(text, sizeof(text), "The destination sent %s in state %s.",
			vf_source_event_name(e->kind), vf_source_state_name(s->state));
	fail(s, NULL, -EPROTO, "protocol", text, out);
}

static void on_cancel(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	(void) e;
	set_status(s, VF_STATUS_CANCELLING, out);
	keep_error(s, NULL, -ECANCELED, "cancelled", "The migration was cancelled.");
	hand_over(s, VF_HO_ROLL_BACK);
	(void) vf_actions_add(out, VF_ACT_SEND_CANCEL);
	go_back(s, VF_OUTCOME_CANCELLED, out);
}

static void on_undo_done(struct vf_source *s, const struct vf_source_event *e,
			 struct vf_actions *out)
{
	s->device_lost = e->device_lost;
	s->tracking = false;
	is_back(s, out);
}

static void on_ask(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	(void) e;
	hand_over(s, VF_HO_ASK);
	s->link_lost = false;
	(void) vf_actions_add(out, VF_ACT_SEND_RESOLVE);
}

static void on_resolved(struct vf_source *s, const struct vf_source_event *e,
			struct vf_actions *out)
{
	if (e->lost) {
		s->error = (struct vferry_error) VFERRY_ERROR_INIT;
		keep_error(s, e->error, -EHOSTDOWN, "lost",
			   "The machine was handed over, and then lost on the destination: it could "
			   "not be run there, or the process that ran it has died.");
		hand_over(s, VF_HO_LOST);
		finish(s, VF_OUTCOME_LOST, out);
		return;
	}
	if (e->ran) {
		hand_over(s, VF_HO_RAN);
		s->error = (struct vferry_error) VFERRY_ERROR_INIT;
		finish(s, VF_OUTCOME_DONE, out);
		return;
	}
	s->error = (struct vferry_error) VFERRY_ERROR_INIT;
	keep_error(s, e->error, -ECANCELED, "aborted",
		   "The destination gave the machine up after the hand-over (its log says why); it "
		   "runs on here.");
	hand_over(s, VF_HO_ABORTED);
	go_back(s, VF_OUTCOME_FAILED, out);
}

static void on_fenced(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	s->error = (struct vferry_error) VFERRY_ERROR_INIT;
	if (e->ran) {
		keep_error(s, NULL, -EHOSTDOWN, "fenced", "This side was declared fenced.");
		hand_over(s, VF_HO_FENCED_SOURCE);
		finish(s, VF_OUTCOME_LOST, out);
		return;
	}
	keep_error(s, NULL, -EHOSTDOWN, "fenced",
		   "The destination was declared fenced; the machine runs on here.");
	hand_over(s, VF_HO_FENCED_DESTINATION);
	go_back(s, VF_OUTCOME_FAILED, out);
}

static uint64_t answer_deadline(const struct vf_source *s)
{
	return s->committed_ns + (s->config.answer_timeout_ns ? s->config.answer_timeout_ns :
								ANSWER_TIMEOUT_NS);
}

static void on_timer(struct vf_source *s, const struct vf_source_event *e, struct vf_actions *out)
{
	uint32_t state = 1u << s->state;

	s->armed_ns = UINT64_MAX;
	if ((state & IN_SWITCHOVER) && over_budget(s, e->now_ns))
		fail_budget(s, out);
	else if ((state & BEFORE_COMMIT) && over_timeout(s, e->now_ns))
		fail_timeout(s, out);
	else if ((state & IN_ROUNDS) && s->next_round_ns && e->now_ns >= s->next_round_ns)
		start_round(s, out);
	else if (s->state == VF_SRC_WAIT_RUNNING && e->now_ns >= answer_deadline(s))
		be_unknown(s, NULL, out);
}

static const struct row {
	uint32_t in;		/* states */
	enum vf_source_event_kind on;
	handler *handle;
	uint32_t to;		/* states that are possible afterwards */
} table[] = {
	{ S(NONE), VF_SRC_START, on_start, S(SETUP) },
	{ S(SETUP), VF_SRC_PEER_ACCEPTED, on_accepted, S(ROUND) | S(ENDED) },
	{ S(SETUP), VF_SRC_PEER_REFUSED, on_refused, S(ENDED) },
	{ IN_ROUNDS, VF_SRC_ROUND_DONE, on_round_done,
	  IN_ROUNDS | S(HOOK) | S(STOPPING) | ENDS_BACK },
	{ IN_ROUNDS | S(SETUP) | S(HOOK), VF_SRC_STREAM_ACK, on_ack,
	  IN_ROUNDS | S(SETUP) | S(HOOK) },
	{ IN_ROUNDS | S(SETUP) | S(HOOK), VF_SRC_STREAM_REINIT, on_reinit,
	  IN_ROUNDS | S(SETUP) | S(HOOK) },
	{ S(HOLD), VF_SRC_CONTINUE, on_continue, S(ROUND) },
	{ S(HOOK) | S(HOOK_BACK), VF_SRC_HOOK_OK, on_hook_ok,
	  S(ROUND) | S(HOOK) | S(HOOK_BACK) | S(ENDED) },
	{ S(HOOK) | S(HOOK_BACK), VF_SRC_HOOK_FAILED, on_hook_failed, S(HOOK) | ENDS_BACK },
	{ S(STOPPING), VF_SRC_MACHINE_STOPPED, on_stopped, S(SAVING) },
	{ S(SAVING), VF_SRC_SAVE_DONE, on_save_done, S(WAIT_PREPARED) },
	{ BEFORE_COMMIT, VF_SRC_SAVE_FAILED, on_save_failed, ENDS_BACK },
	{ S(WAIT_PREPARED), VF_SRC_PEER_PREPARED, on_prepared, S(WAIT_RUNNING) | ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_PEER_FAILED, on_load_failed, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_LINK_LOST, on_link_lost, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_STALL, on_stall, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_CANCEL, on_cancel, ENDS_BACK },
	{ BEFORE_COMMIT | S(WAIT_RUNNING), VF_SRC_TIMER, on_timer,
	  BEFORE_COMMIT | S(WAIT_RUNNING) | S(UNKNOWN) | ENDS_BACK },
	/* What a peer may not send before COMMIT. */
	{ BEFORE_COMMIT, VF_SRC_PEER_ACCEPTED, on_peer_bad, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_PEER_REFUSED, on_peer_bad, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_PEER_PREPARED, on_peer_bad, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_PEER_RUNNING, on_peer_bad, ENDS_BACK },
	{ BEFORE_COMMIT, VF_SRC_RESOLVED, on_peer_bad, ENDS_BACK },
	/* Given away. */
	{ AFTER_COMMIT, VF_SRC_PEER_RUNNING, on_running, S(ENDED) },
	{ AFTER_COMMIT, VF_SRC_PEER_FAILED, on_run_failed, S(ENDED) },
	{ AFTER_COMMIT, VF_SRC_RESOLVED, on_resolved, S(UNDOING) | S(ENDED) },
	{ S(WAIT_RUNNING), VF_SRC_LINK_LOST, on_answer_lost, S(UNKNOWN) },
	{ S(WAIT_RUNNING), VF_SRC_STALL, on_answer_lost, S(UNKNOWN) },
	{ S(WAIT_RUNNING), VF_SRC_PEER_ACCEPTED, on_answer_lost, S(UNKNOWN) },
	{ S(WAIT_RUNNING), VF_SRC_PEER_REFUSED, on_answer_lost, S(UNKNOWN) },
	{ S(WAIT_RUNNING), VF_SRC_PEER_PREPARED, on_answer_lost, S(UNKNOWN) },
	{ S(UNKNOWN), VF_SRC_ASK, on_ask, S(UNKNOWN) },
	{ S(UNKNOWN), VF_SRC_FENCED, on_fenced, S(UNDOING) | S(ENDED) },
	/* Going back. */
	{ S(UNDOING), VF_SRC_UNDO_DONE, on_undo_done, S(HOOK_BACK) | S(ENDED) },
};

/* The earliest of the deadlines that matter now. */
static uint64_t deadline(const struct vf_source *s)
{
	uint32_t state = 1u << s->state;
	uint64_t at = UINT64_MAX;

	if (s->config.timeout_ns && (state & BEFORE_COMMIT))
		at = vf_min_u64(at, s->started_ns + s->config.timeout_ns);
	if (s->config.pause_budget_ns && (state & IN_SWITCHOVER))
		at = vf_min_u64(at, s->switchover_ns + s->config.pause_budget_ns);
	if (s->next_round_ns && (state & IN_ROUNDS))
		at = vf_min_u64(at, s->next_round_ns);
	if (s->state == VF_SRC_WAIT_RUNNING)
		at = vf_min_u64(at, answer_deadline(s));
	return at;
}

int vf_source_event(struct vf_source *s, const struct vf_source_event *event,
		    struct vf_actions *ret_actions)
{
	const struct row *row = NULL;
	uint64_t at;

	ret_actions->count = 0;
	for (size_t i = 0; i < VF_ARRAY_COUNT(table) && !row; i++) {
		if (table[i].on == event->kind && (table[i].in & 1u << s->state))
			row = &table[i];
	}
	if (!row)
		return 1;
	row->handle(s, event, ret_actions);
	assert(row->to & 1u << s->state);
	at = deadline(s);
	if (at != s->armed_ns) {
		s->armed_ns = at;
		vf_actions_add(ret_actions, VF_ACT_ARM_TIMER)->at_ns = at;
	}
	return 0;
}

void vf_source_init(struct vf_source *s, const struct vf_source_config *config)
{
	*s = (struct vf_source) {
		.config = *config,
		.handover = VF_HO_SRC_OWNS,
		.armed_ns = UINT64_MAX,
	};
	vf_converge_init(&s->converge, config->policy, config->max_downtime_ns);
}

int vf_source_add_stream(struct vf_source *s, uint32_t component, uint32_t generation)
{
	for (size_t i = 0; i < s->stream_count; i++) {
		if (s->streams[i].component == component)
			return -EEXIST;
	}
	if (s->stream_count == VF_SOURCE_MAX_STREAMS)
		return -E2BIG;
	s->streams[s->stream_count++] = (struct vf_source_stream) {
		.component = component, .generation = generation,
	};
	return 0;
}

bool vf_source_acknowledged(const struct vf_source *s)
{
	for (size_t i = 0; i < s->stream_count; i++) {
		if (!s->streams[i].acknowledged)
			return false;
	}
	return true;
}

const char *vf_source_state_name(enum vf_source_state state)
{
	static const char *const names[VF_SRC_STATE__COUNT] = {
		[VF_SRC_NONE] = "none",
		[VF_SRC_SETUP] = "setup",
		[VF_SRC_ROUND] = "round",
		[VF_SRC_HOLD] = "hold",
		[VF_SRC_HOOK] = "hook",
		[VF_SRC_STOPPING] = "stopping",
		[VF_SRC_SAVING] = "saving",
		[VF_SRC_WAIT_PREPARED] = "wait-prepared",
		[VF_SRC_WAIT_RUNNING] = "wait-running",
		[VF_SRC_UNKNOWN] = "unknown",
		[VF_SRC_UNDOING] = "undoing",
		[VF_SRC_HOOK_BACK] = "hook-back",
		[VF_SRC_ENDED] = "ended",
	};

	return (size_t) state < VF_SRC_STATE__COUNT ? names[state] : NULL;
}

const char *vf_source_event_name(enum vf_source_event_kind kind)
{
	static const char *const names[VF_SRC_EVENT__COUNT] = {
		[VF_SRC_START] = "START",
		[VF_SRC_PEER_ACCEPTED] = "PEER_ACCEPTED",
		[VF_SRC_PEER_REFUSED] = "PEER_REFUSED",
		[VF_SRC_ROUND_DONE] = "ROUND_DONE",
		[VF_SRC_STREAM_ACK] = "STREAM_ACK",
		[VF_SRC_STREAM_REINIT] = "STREAM_REINIT",
		[VF_SRC_TIMER] = "TIMER",
		[VF_SRC_CANCEL] = "CANCEL",
		[VF_SRC_CONTINUE] = "CONTINUE",
		[VF_SRC_HOOK_OK] = "HOOK_OK",
		[VF_SRC_HOOK_FAILED] = "HOOK_FAILED",
		[VF_SRC_MACHINE_STOPPED] = "MACHINE_STOPPED",
		[VF_SRC_SAVE_DONE] = "SAVE_DONE",
		[VF_SRC_SAVE_FAILED] = "SAVE_FAILED",
		[VF_SRC_PEER_PREPARED] = "PEER_PREPARED",
		[VF_SRC_PEER_FAILED] = "PEER_FAILED",
		[VF_SRC_PEER_RUNNING] = "PEER_RUNNING",
		[VF_SRC_LINK_LOST] = "LINK_LOST",
		[VF_SRC_STALL] = "STALL",
		[VF_SRC_UNDO_DONE] = "UNDO_DONE",
		[VF_SRC_ASK] = "ASK",
		[VF_SRC_RESOLVED] = "RESOLVED",
		[VF_SRC_FENCED] = "FENCED",
	};

	return (size_t) kind < VF_SRC_EVENT__COUNT ? names[kind] : NULL;
}

static const char *state_name(uint32_t state)
{
	return vf_source_state_name((enum vf_source_state) state);
}

int vf_source_table_text(char *to, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < VF_ARRAY_COUNT(table); i++)
		len = vf_table_row_text(to, size, len, table[i].in,
					vf_source_event_name(table[i].on), table[i].to, state_name);
	return (int) len;
}
