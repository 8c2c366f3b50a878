/* SPDX-License-Identifier: MIT */
/* test_engine.c - both sides' state machines: what they ask for on each event. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "engine/destination.h"
#include "engine/source.h"

#define MS 1000000ull

static char told[512];		/* the last actions, as text */

static const char *text_of(const struct vf_actions *actions)
{
	size_t at = 0;

	told[0] = 0;
	for (size_t i = 0; i < actions->count; i++) {
		const struct vf_action *a = &actions->list[i];
		char detail[32] = "";

		if (a->kind == VF_ACT_ARM_TIMER)
			continue;
		if (a->kind == VF_ACT_EMIT)
			(void) snprintf(detail, sizeof(detail), "(%s)", vf_status_name(a->status));
		else if (a->kind == VF_ACT_FINISH)
			(void) snprintf(detail, sizeof(detail), "(%s %d)",
					vf_outcome_name(a->outcome), a->exit_code);
		else if (a->kind == VF_ACT_START_ROUND)
			(void) snprintf(detail, sizeof(detail), "(%u)", a->round);
		else if (a->kind == VF_ACT_SET_THROTTLE)
			(void) snprintf(detail, sizeof(detail), "(%u)", a->percent);
		else if (a->kind == VF_ACT_RUN_HOOK)
			(void) snprintf(detail, sizeof(detail), "(%s)", vf_hook_name(a->hook));
		else if (a->kind == VF_ACT_WRITE_RECORD || a->kind == VF_ACT_ANSWER_RESOLVE)
			(void) snprintf(detail, sizeof(detail), "(%s)",
					a->lost ? "lost" : a->ran ? "ran" : "aborted");
		at += (size_t) snprintf(told + at, sizeof(told) - at, "%s%s%s", at ? " " : "",
					vf_action_name(a->kind), detail);
	}
	return told;
}

static uint64_t timer_of(const struct vf_actions *actions)
{
	for (size_t i = 0; i < actions->count; i++) {
		if (actions->list[i].kind == VF_ACT_ARM_TIMER)
			return actions->list[i].at_ns;
	}
	return 0;
}

static struct vf_actions out;

static const char *src(struct vf_source *s, struct vf_source_event e)
{
	int r = vf_source_event(s, &e, &out);

	if (r)
		return "ignored";
	return text_of(&out);
}

static const char *dst(struct vf_destination *d, struct vf_destination_event e)
{
	int r = vf_destination_event(d, &e, &out);

	if (r)
		return "ignored";
	return text_of(&out);
}

#define SRC(event, ...) src(&s, (struct vf_source_event) { .kind = VF_SRC_##event, ##__VA_ARGS__ })
#define DST(event, ...) \
	dst(&d, (struct vf_destination_event) { .kind = VF_DST_##event, ##__VA_ARGS__ })
#define SAYS(call, text) assert_string_equal((call), text)

static struct vf_round small_round(void)
{
	return (struct vf_round) {
		.ns = MS, .left = { .rate = VF_GIB, .ram_bytes = VF_MIB,
				    .save = { .known = true }, .load = { .known = true },
				    .round_trip = { .known = true } },
	};
}

static struct vf_round large_round(void)
{
	struct vf_round round = small_round();

	round.left.ram_bytes = 4 * VF_GIB;
	return round;
}

static struct vf_source new_source(struct vf_source_config config)
{
	static struct vf_source s;

	if (!config.policy)
		config.policy = vf_policy_find("continue");
	if (!config.max_downtime_ns)
		config.max_downtime_ns = 100 * MS;
	vf_source_init(&s, &config);
	return s;
}

static struct vf_source active_source(struct vf_source_config config)
{
	struct vf_source s = new_source(config);

	SAYS(SRC(START, .now_ns = MS), "SEND_MACHINE EMIT(setup)");
	SAYS(SRC(PEER_ACCEPTED), "EMIT(active) START_TRACKING START_ROUND(1)");
	return s;
}

static struct vf_source offering_source(struct vf_source_config config)
{
	struct vf_source s = active_source(config);

	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(device) RUN_SAVE_PLAN");
	SAYS(SRC(MACHINE_STOPPED), "");
	SAYS(SRC(SAVE_DONE), "SEND_MANIFEST");
	return s;
}

static struct vf_source committed_source(struct vf_source_config config)
{
	struct vf_source s = offering_source(config);

	SAYS(SRC(PEER_PREPARED), config.hooks[VF_HOOK_AFTER_COMMIT] ?
				 "SEND_COMMIT RUN_HOOK(after-commit)" : "SEND_COMMIT");
	return s;
}

#define PLAIN (struct vf_source_config) { 0 }

static void whole_migration(void **state)
{
	struct vf_source s = active_source(PLAIN);

	(void) state;
	SAYS(SRC(ROUND_DONE, .round = large_round()), "START_ROUND(2)");
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(device) RUN_SAVE_PLAN");
	SAYS(SRC(MACHINE_STOPPED, .now_ns = 7), "");
	assert_int_equal(s.paused_ns, 7);
	SAYS(SRC(SAVE_DONE), "SEND_MANIFEST");
	SAYS(SRC(PEER_PREPARED), "SEND_COMMIT");
	assert_false(vf_handover_may_run(s.handover));
	SAYS(SRC(CANCEL), "ignored");
	SAYS(SRC(PEER_RUNNING), "EMIT(completed) FINISH(done 0)");
	SAYS(SRC(PEER_RUNNING), "ignored");
	SAYS(SRC(CANCEL), "ignored");
}

static void check_only(void **state)
{
	struct vf_source s = new_source((struct vf_source_config) { .check = true });
	struct vf_destination d;

	(void) state;
	SAYS(SRC(START), "SEND_MACHINE EMIT(setup)");
	SAYS(SRC(PEER_ACCEPTED), "EMIT(none) FINISH(checked 0)");
	vf_destination_init(&d);
	SAYS(DST(LISTENING), "EMIT(setup)");
	SAYS(DST(MACHINE_OK, .check = true), "SEND_ACCEPT DISCARD EMIT(none) FINISH(checked 0)");
}

static void refused(void **state)
{
	struct vferry_error why = { .code = -EINVAL, .id = "config-mismatch", .message = "BAR 0" };
	struct vf_source s = new_source(PLAIN);
	struct vf_destination d;

	(void) state;
	SAYS(SRC(START), "SEND_MACHINE EMIT(setup)");
	SAYS(SRC(PEER_REFUSED, .error = &why), "EMIT(failed) FINISH(refused 2)");
	assert_string_equal(s.error.id, "config-mismatch");
	assert_string_equal(s.error.phase, "setup");
	vf_destination_init(&d);
	SAYS(DST(LISTENING), "EMIT(setup)");
	SAYS(DST(MACHINE_REFUSED, .error = &why),
	     "SEND_REFUSE DISCARD EMIT(failed) FINISH(refused 2)");
}

/* A cancel at any moment before COMMIT brings the machine back; by undo only if it was away. */
static void cancel_anywhere(void **state)
{
	struct vf_source s = new_source(PLAIN);

	(void) state;
	SAYS(SRC(CANCEL), "ignored");
	SAYS(SRC(START), "SEND_MACHINE EMIT(setup)");
	SAYS(SRC(CANCEL), "EMIT(cancelling) SEND_CANCEL EMIT(cancelled) FINISH(cancelled 4)");
	s = active_source(PLAIN);
	SAYS(SRC(CANCEL),
	     "EMIT(cancelling) SEND_CANCEL STOP_TRACKING EMIT(cancelled) FINISH(cancelled 4)");
	s = active_source(PLAIN);
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(device) RUN_SAVE_PLAN");
	SAYS(SRC(CANCEL), "EMIT(cancelling) SEND_CANCEL RUN_UNDO_PLAN");
	SAYS(SRC(CANCEL), "ignored");
	SAYS(SRC(MACHINE_STOPPED), "ignored");
	SAYS(SRC(SAVE_DONE), "ignored");
	SAYS(SRC(PEER_PREPARED), "ignored");
	SAYS(SRC(LINK_LOST), "ignored");
	SAYS(SRC(UNDO_DONE), "EMIT(cancelled) FINISH(cancelled 4)");
	s = offering_source(PLAIN);
	SAYS(SRC(CANCEL), "EMIT(cancelling) SEND_CANCEL RUN_UNDO_PLAN");
	SAYS(SRC(PEER_PREPARED), "ignored");
	SAYS(SRC(UNDO_DONE, .device_lost = true), "EMIT(cancelled) FINISH(cancelled 4)");
	assert_true(s.device_lost);
	assert_int_equal(s.handover, VF_HO_SRC_KEPT);
}

static void failures_before_commit(void **state)
{
	struct vferry_error why = { .code = -EIO, .id = "device-error", .message = "gone" };
	struct vf_source s = active_source(PLAIN);

	(void) state;
	SAYS(SRC(LINK_LOST), "STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	assert_string_equal(s.error.id, "link-lost");
	s = active_source(PLAIN);
	SAYS(SRC(SAVE_FAILED, .error = &why),
	     "SEND_CANCEL STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	assert_string_equal(s.error.id, "device-error");
	s = active_source(PLAIN);
	SAYS(SRC(PEER_FAILED), "STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	s = active_source(PLAIN);
	SAYS(SRC(STALL), "SEND_CANCEL STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	/* The peer sends what it must not. */
	for (int kind = 0; kind < VF_SRC_EVENT__COUNT; kind++) {
		if (kind != VF_SRC_PEER_ACCEPTED && kind != VF_SRC_PEER_REFUSED &&
		    kind != VF_SRC_PEER_PREPARED && kind != VF_SRC_PEER_RUNNING &&
		    kind != VF_SRC_RESOLVED)
			continue;
		s = active_source(PLAIN);
		SAYS(src(&s, (struct vf_source_event) {
			.kind = (enum vf_source_event_kind) kind, .ran = true }),
		     "SEND_CANCEL STOP_TRACKING EMIT(failed) FINISH(failed 3)");
		assert_string_equal(s.error.id, "protocol");
	}
	s = offering_source(PLAIN);
	SAYS(SRC(PEER_FAILED), "RUN_UNDO_PLAN");
	SAYS(SRC(UNDO_DONE), "EMIT(failed) FINISH(failed 3)");
	s = offering_source(PLAIN);
	SAYS(SRC(LINK_LOST), "RUN_UNDO_PLAN");
	s = offering_source(PLAIN);
	SAYS(SRC(PEER_RUNNING), "SEND_CANCEL RUN_UNDO_PLAN");
}

static void pause_budget_and_timeout(void **state)
{
	struct vf_source_config config = { .pause_budget_ns = 50 * MS };
	struct vf_source s = active_source(config);

	(void) state;
	SAYS(SRC(ROUND_DONE, .round = small_round(), .now_ns = 100 * MS),
	     "EMIT(device) RUN_SAVE_PLAN");
	assert_int_equal(timer_of(&out), 150 * MS);
	SAYS(SRC(TIMER, .now_ns = 149 * MS), "");
	assert_int_equal(timer_of(&out), 150 * MS);
	SAYS(SRC(TIMER, .now_ns = 150 * MS), "SEND_CANCEL RUN_UNDO_PLAN");
	assert_string_equal(s.error.id, "pause-budget");
	assert_int_equal(timer_of(&out), 0);

	/* PREPARED that comes too late counts as late even if the timer is later still. */
	s = active_source(config);
	SAYS(SRC(ROUND_DONE, .round = small_round(), .now_ns = 100 * MS),
	     "EMIT(device) RUN_SAVE_PLAN");
	SAYS(SRC(MACHINE_STOPPED, .now_ns = 101 * MS), "");
	SAYS(SRC(SAVE_DONE, .now_ns = 102 * MS), "SEND_MANIFEST");
	SAYS(SRC(PEER_PREPARED, .now_ns = 151 * MS), "SEND_CANCEL RUN_UNDO_PLAN");

	config = (struct vf_source_config) { .timeout_ns = 10 * MS };
	s = new_source(config);
	SAYS(SRC(START, .now_ns = MS), "SEND_MACHINE EMIT(setup)");
	assert_int_equal(timer_of(&out), 11 * MS);
	SAYS(SRC(PEER_ACCEPTED, .now_ns = 2 * MS), "EMIT(active) START_TRACKING START_ROUND(1)");
	SAYS(SRC(TIMER, .now_ns = 11 * MS),
	     "SEND_CANCEL STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	assert_string_equal(s.error.id, "timeout");
}

static void outcome_unknown(void **state)
{
	struct vf_source s = committed_source(PLAIN);

	(void) state;
	SAYS(SRC(TIMER, .now_ns = 5000 * MS), "");
	SAYS(SRC(TIMER, .now_ns = 20000 * MS), "EMIT(device) FINISH(unknown 5)");
	SAYS(SRC(CANCEL), "ignored");
	SAYS(SRC(LINK_LOST), "ignored");
	SAYS(SRC(ASK), "SEND_RESOLVE");
	SAYS(SRC(RESOLVED, .ran = true), "EMIT(completed) FINISH(done 0)");
	SAYS(SRC(FENCED, .ran = false), "ignored");

	s = committed_source(PLAIN);
	SAYS(SRC(LINK_LOST), "EMIT(device) FINISH(unknown 5)");
	assert_int_equal(out.list[0].outcome, VF_OUTCOME_UNKNOWN);
	SAYS(SRC(ASK), "SEND_RESOLVE");
	SAYS(SRC(RESOLVED, .ran = false), "RUN_UNDO_PLAN");
	SAYS(SRC(UNDO_DONE), "EMIT(failed) FINISH(failed 3)");
	assert_true(vf_handover_may_run(s.handover));

	s = committed_source(PLAIN);
	SAYS(SRC(FENCED), "ignored");
	SAYS(SRC(STALL), "EMIT(device) FINISH(unknown 5)");
	SAYS(SRC(FENCED, .ran = false), "RUN_UNDO_PLAN");
	s = committed_source(PLAIN);
	SAYS(SRC(LINK_LOST), "EMIT(device) FINISH(unknown 5)");
	SAYS(SRC(FENCED, .ran = true), "EMIT(failed) FINISH(lost 6)");
	assert_false(vf_handover_may_run(s.handover));

	s = committed_source(PLAIN);
	SAYS(SRC(PEER_FAILED), "EMIT(failed) FINISH(lost 6)");
	s = committed_source(PLAIN);
	SAYS(SRC(RESOLVED, .ran = false), "RUN_UNDO_PLAN");
}

static void acknowledgements(void **state)
{
	struct vf_source s = new_source(PLAIN);

	(void) state;
	assert_int_equal(vf_source_add_stream(&s, 7, 1), 0);
	assert_int_equal(vf_source_add_stream(&s, 7, 1), -EEXIST);
	assert_int_equal(vf_source_add_stream(&s, 8, 1), 0);
	SAYS(SRC(START), "SEND_MACHINE EMIT(setup)");
	SAYS(SRC(PEER_ACCEPTED), "EMIT(active) START_TRACKING START_ROUND(1)");
	SAYS(SRC(STREAM_ACK, .component = 7, .generation = 1), "");
	/* It would fit, but one is missing: wait a little, then look again. */
	SAYS(SRC(ROUND_DONE, .round = small_round(), .now_ns = 100 * MS), "");
	assert_int_equal(timer_of(&out), 120 * MS);
	SAYS(SRC(TIMER, .now_ns = 120 * MS), "START_ROUND(2)");
	SAYS(SRC(ROUND_DONE, .round = small_round(), .now_ns = 130 * MS), "");
	/* Another component's, or an older generation's, does not count. */
	SAYS(SRC(STREAM_ACK, .component = 9, .generation = 1), "");
	SAYS(SRC(STREAM_REINIT, .component = 8, .generation = 2), "");
	SAYS(SRC(STREAM_ACK, .component = 8, .generation = 1), "");
	assert_false(vf_source_acknowledged(&s));
	SAYS(SRC(STREAM_ACK, .component = 8, .generation = 2), "START_ROUND(3)");
	/* Withdrawn again before the round ends. */
	SAYS(SRC(STREAM_REINIT, .component = 7, .generation = 2), "");
	SAYS(SRC(ROUND_DONE, .round = small_round(), .now_ns = 140 * MS), "");
	SAYS(SRC(STREAM_ACK, .component = 7, .generation = 2), "START_ROUND(4)");
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(device) RUN_SAVE_PLAN");
	SAYS(SRC(STREAM_ACK, .component = 7, .generation = 2), "ignored");
}

static void too_many_streams(void **state)
{
	struct vf_source s = new_source(PLAIN);

	(void) state;
	for (uint32_t i = 0; i < VF_SOURCE_MAX_STREAMS; i++)
		assert_int_equal(vf_source_add_stream(&s, i, 0), 0);
	assert_int_equal(vf_source_add_stream(&s, VF_SOURCE_MAX_STREAMS, 0), -E2BIG);
}

static void hold_and_continue(void **state)
{
	struct vf_source s = active_source((struct vf_source_config) { .hold = true });

	(void) state;
	SAYS(SRC(CONTINUE), "ignored");
	SAYS(SRC(ROUND_DONE, .round = small_round(), .now_ns = 100 * MS), "EMIT(pre-switchover)");
	assert_int_equal(timer_of(&out), 200 * MS);
	SAYS(SRC(TIMER, .now_ns = 200 * MS), "START_ROUND(2)");
	SAYS(SRC(ROUND_DONE, .round = large_round(), .now_ns = 300 * MS), "START_ROUND(3)");
	SAYS(SRC(CONTINUE), "EMIT(active)");
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(device) RUN_SAVE_PLAN");

	s = active_source((struct vf_source_config) { .hold = true });
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(pre-switchover)");
	SAYS(SRC(CONTINUE), "EMIT(active) START_ROUND(2)");
	s = active_source((struct vf_source_config) { .hold = true });
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(pre-switchover)");
	SAYS(SRC(CANCEL),
	     "EMIT(cancelling) SEND_CANCEL STOP_TRACKING EMIT(cancelled) FINISH(cancelled 4)");
}

static void hooks(void **state)
{
	struct vf_source_config config = {
		.hooks = { [VF_HOOK_BEFORE_SWITCHOVER] = true, [VF_HOOK_AFTER_COMMIT] = true,
			   [VF_HOOK_AFTER_ROLL_BACK] = true },
	};
	struct vf_source s = active_source(config);

	(void) state;
	SAYS(SRC(ROUND_DONE, .round = small_round()), "RUN_HOOK(before-switchover)");
	SAYS(SRC(HOOK_OK, .hook = VF_HOOK_AFTER_COMMIT), "");
	SAYS(SRC(HOOK_OK, .hook = VF_HOOK_BEFORE_SWITCHOVER), "START_ROUND(2)");
	SAYS(SRC(ROUND_DONE, .round = small_round()), "EMIT(device) RUN_SAVE_PLAN");
	SAYS(SRC(MACHINE_STOPPED), "");
	SAYS(SRC(SAVE_DONE), "SEND_MANIFEST");
	SAYS(SRC(PEER_PREPARED), "SEND_COMMIT RUN_HOOK(after-commit)");
	SAYS(SRC(HOOK_FAILED, .hook = VF_HOOK_AFTER_COMMIT), "ignored");
	SAYS(SRC(PEER_RUNNING), "EMIT(completed) FINISH(done 0)");

	s = active_source(config);
	SAYS(SRC(ROUND_DONE, .round = small_round()), "RUN_HOOK(before-switchover)");
	SAYS(SRC(HOOK_FAILED, .hook = VF_HOOK_BEFORE_SWITCHOVER),
	     "SEND_CANCEL STOP_TRACKING RUN_HOOK(after-roll-back)");
	SAYS(SRC(HOOK_OK, .hook = VF_HOOK_BEFORE_SWITCHOVER), "");
	SAYS(SRC(HOOK_OK, .hook = VF_HOOK_AFTER_ROLL_BACK), "EMIT(failed) FINISH(failed 3)");
	assert_string_equal(s.error.id, "hook-failed");

	s = active_source(config);
	SAYS(SRC(CANCEL),
	     "EMIT(cancelling) SEND_CANCEL STOP_TRACKING EMIT(cancelled) FINISH(cancelled 4)");
	s = active_source(config);
	SAYS(SRC(ROUND_DONE, .round = small_round()), "RUN_HOOK(before-switchover)");
	SAYS(SRC(CANCEL),
	     "EMIT(cancelling) SEND_CANCEL STOP_TRACKING RUN_HOOK(after-roll-back)");
	SAYS(SRC(HOOK_FAILED, .hook = VF_HOOK_AFTER_ROLL_BACK),
	     "EMIT(cancelled) FINISH(cancelled 4)");
}

static void policies_act(void **state)
{
	struct vf_source_config config = { .policy = vf_policy_find("throttle") };
	struct vf_source s = active_source(config);

	(void) state;
	SAYS(SRC(ROUND_DONE, .round = large_round()), "START_ROUND(2)");
	SAYS(SRC(ROUND_DONE, .round = large_round()), "START_ROUND(3)");
	SAYS(SRC(ROUND_DONE, .round = large_round()), "FORECAST SET_THROTTLE(20) START_ROUND(4)");
	SAYS(SRC(ROUND_DONE, .round = small_round()),
	     "SET_THROTTLE(0) EMIT(device) RUN_SAVE_PLAN");
	s = active_source(config);
	for (int i = 0; i < 3; i++)
		(void) SRC(ROUND_DONE, .round = large_round());
	SAYS(SRC(LINK_LOST), "SET_THROTTLE(0) STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	config.policy = vf_policy_find("give-up");
	s = active_source(config);
	(void) SRC(ROUND_DONE, .round = large_round());
	(void) SRC(ROUND_DONE, .round = large_round());
	SAYS(SRC(ROUND_DONE, .round = large_round()),
	     "FORECAST SEND_CANCEL STOP_TRACKING EMIT(failed) FINISH(failed 3)");
	assert_string_equal(s.error.id, "will-not-fit");
	assert_non_null(strstr(s.error.message, "4000 ms"));
}

static struct vf_destination loading(void)
{
	struct vf_destination d;

	vf_destination_init(&d);
	SAYS(DST(LISTENING), "EMIT(setup)");
	SAYS(DST(MACHINE_OK), "SEND_ACCEPT EMIT(active)");
	return d;
}

static struct vf_destination prepared(void)
{
	struct vf_destination d = loading();

	SAYS(DST(SWITCHOVER_BEGAN), "EMIT(device)");
	SAYS(DST(MANIFEST_OK), "");
	SAYS(DST(LOAD_READY), "SEND_PREPARED");
	return d;
}

static struct vf_destination recording(void)
{
	struct vf_destination d = prepared();

	SAYS(DST(COMMIT), "WRITE_RECORD(ran)");
	return d;
}

static void destination_runs(void **state)
{
	struct vf_destination d = recording();

	(void) state;
	assert_false(vf_handover_may_run(d.handover));
	SAYS(DST(CANCELLED), "ignored");
	SAYS(DST(RECORD_WRITTEN), "RUN_PLAN_AFTER_COMMIT");
	assert_true(vf_handover_may_run(d.handover));
	SAYS(DST(RUN_DONE), "SEND_RUNNING EMIT(completed) FINISH(done 0)");
	SAYS(DST(LINK_LOST), "");
	SAYS(DST(RESOLVE_QUERY), "ANSWER_RESOLVE(ran)");
	SAYS(DST(COMMIT), "");
	SAYS(DST(CANCELLED), "ignored");
	SAYS(DST(RUN_FAILED), "ignored");

	d = recording();
	SAYS(DST(RESOLVE_QUERY), "");
	SAYS(DST(RECORD_WRITTEN), "RUN_PLAN_AFTER_COMMIT ANSWER_RESOLVE(ran)");
	SAYS(DST(RUN_FAILED), "SEND_RUN_FAILED EMIT(failed) FINISH(lost 6)");
	SAYS(DST(RESOLVE_QUERY), "ANSWER_RESOLVE(lost)");
}

static void destination_before_prepared(void **state)
{
	struct vf_destination d = loading();

	(void) state;
	SAYS(DST(LINK_LOST), "DISCARD EMIT(failed) FINISH(failed 3)");
	SAYS(DST(RESOLVE_QUERY), "ANSWER_RESOLVE(aborted)");
	d = loading();
	SAYS(DST(CANCELLED), "DISCARD EMIT(cancelled) FINISH(cancelled 4)");
	d = loading();
	SAYS(DST(LOAD_FAILED), "SEND_LOAD_FAILED DISCARD EMIT(failed) FINISH(failed 3)");
	SAYS(DST(COMMIT), "ANSWER_RESOLVE(aborted)");
	d = loading();
	SAYS(DST(MANIFEST_BAD), "SEND_LOAD_FAILED DISCARD EMIT(failed) FINISH(failed 3)");
	assert_string_equal(d.error.id, "manifest");
	d = loading();
	SAYS(DST(COMMIT), "DISCARD ANSWER_RESOLVE(aborted) EMIT(failed) FINISH(failed 3)");
	d = loading();
	SAYS(DST(RESOLVE_QUERY), "DISCARD ANSWER_RESOLVE(aborted) EMIT(failed) FINISH(failed 3)");
	d = loading();
	SAYS(DST(LOAD_READY), "");
	SAYS(DST(FENCED, .source_fenced = true), "ignored");
	SAYS(DST(MANIFEST_OK), "EMIT(device) SEND_PREPARED");
}

static void destination_holds(void **state)
{
	struct vf_destination d = prepared();

	(void) state;
	SAYS(DST(LINK_LOST), "EMIT(device)");
	assert_int_equal(d.outcome, VF_OUTCOME_UNKNOWN);
	SAYS(DST(LINK_LOST), "ignored");
	SAYS(DST(COMMIT), "ignored");
	SAYS(DST(RESOLVE_QUERY), "WRITE_RECORD(aborted)");
	assert_false(vf_handover_may_run(d.handover));
	SAYS(DST(COMMIT), "");
	SAYS(DST(RECORD_WRITTEN), "DISCARD ANSWER_RESOLVE(aborted) EMIT(failed) FINISH(failed 3)");
	SAYS(DST(COMMIT), "ANSWER_RESOLVE(aborted)");

	/* That the source is fenced is not believed while it is there. */
	d = prepared();
	SAYS(DST(FENCED, .source_fenced = true), "");
	assert_int_equal(d.state, VF_DST_PREPARED);
	SAYS(DST(LINK_LOST), "EMIT(device)");
	SAYS(DST(FENCED, .source_fenced = true), "WRITE_RECORD(ran)");
	SAYS(DST(FENCED, .source_fenced = true), "ignored");
	SAYS(DST(FENCED, .source_fenced = false), "ignored");
	SAYS(DST(RECORD_WRITTEN), "RUN_PLAN_AFTER_COMMIT");
	d = prepared();
	SAYS(DST(FENCED, .source_fenced = false), "WRITE_RECORD(aborted)");
	SAYS(DST(RECORD_FAILED), "DISCARD ANSWER_RESOLVE(aborted) EMIT(failed) FINISH(failed 3)");
	d = prepared();
	SAYS(DST(CANCELLED), "WRITE_RECORD(aborted)");
	SAYS(DST(RECORD_WRITTEN),
	     "DISCARD ANSWER_RESOLVE(aborted) EMIT(cancelled) FINISH(cancelled 4)");
	d = prepared();
	SAYS(DST(LOAD_FAILED), "WRITE_RECORD(aborted)");
	SAYS(DST(RECORD_WRITTEN), "DISCARD ANSWER_RESOLVE(aborted) EMIT(failed) FINISH(failed 3)");
	d = recording();
	SAYS(DST(RECORD_FAILED), "DISCARD ANSWER_RESOLVE(aborted) EMIT(failed) FINISH(failed 3)");
	assert_string_equal(d.error.id, "record-failed");
}

/* Every event in every state: no action list overflows, no assertion fires, ends stay ends. */
static void every_event_in_every_state(void **state)
{
	struct vf_source sources[] = {
		new_source(PLAIN), active_source(PLAIN), offering_source(PLAIN),
		committed_source(PLAIN), active_source((struct vf_source_config) {
			.hold = true, .hooks = { true, true, true }, .timeout_ns = 1 }),
	};
	struct vf_destination destinations[] = { loading(), prepared(), recording() };

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(sources); i++) {
		for (int a = 0; a < VF_SRC_EVENT__COUNT; a++) {
			for (int b = 0; b < VF_SRC_EVENT__COUNT; b++) {
				struct vf_source s = sources[i];
				struct vf_source_event e = { .round = small_round(), .now_ns = 9 };

				e.kind = (enum vf_source_event_kind) a;
				(void) vf_source_event(&s, &e, &out);
				e.kind = (enum vf_source_event_kind) b;
				(void) vf_source_event(&s, &e, &out);
				assert_true(s.state < VF_SRC_STATE__COUNT);
			}
		}
	}
	for (size_t i = 0; i < VF_ARRAY_COUNT(destinations); i++) {
		for (int a = 0; a < VF_DST_EVENT__COUNT; a++) {
			for (int b = 0; b < VF_DST_EVENT__COUNT; b++) {
				struct vf_destination d = destinations[i];
				struct vf_destination_event e = { .now_ns = 9 };

				e.kind = (enum vf_destination_event_kind) a;
				(void) vf_destination_event(&d, &e, &out);
				e.kind = (enum vf_destination_event_kind) b;
				(void) vf_destination_event(&d, &e, &out);
				assert_true(d.state < VF_DST_STATE__COUNT);
			}
		}
	}
}

static void tables_as_text(void **state)
{
	char text[8192], small[16];
	int len = vf_source_table_text(text, sizeof(text));

	(void) state;
	assert_in_range(len, 500, sizeof(text) - 1);
	assert_int_equal(strlen(text), len);
	assert_non_null(strstr(text, "setup + PEER_REFUSED -> ended"));
	assert_int_equal(vf_source_table_text(small, sizeof(small)), len);
	assert_int_equal(strlen(small), sizeof(small) - 1);
	len = vf_destination_table_text(text, sizeof(text));
	assert_int_equal(strlen(text), len);
	assert_non_null(strstr(text, "prepared + COMMIT -> recording-ran"));
	assert_int_equal(vf_outcome_exit_code(VF_OUTCOME_LOST), 6);
	assert_int_equal(vf_outcome_exit_code(VF_OUTCOME_NONE), -EINVAL);
	assert_null(vf_status_name(VF_STATUS__COUNT));
	assert_null(vf_action_name((enum vf_action_kind) 40));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_migration),
		cmocka_unit_test(check_only),
		cmocka_unit_test(refused),
		cmocka_unit_test(cancel_anywhere),
		cmocka_unit_test(failures_before_commit),
		cmocka_unit_test(pause_budget_and_timeout),
		cmocka_unit_test(outcome_unknown),
		cmocka_unit_test(acknowledgements),
		cmocka_unit_test(too_many_streams),
		cmocka_unit_test(hold_and_continue),
		cmocka_unit_test(hooks),
		cmocka_unit_test(policies_act),
		cmocka_unit_test(destination_runs),
		cmocka_unit_test(destination_before_prepared),
		cmocka_unit_test(destination_holds),
		cmocka_unit_test(every_event_in_every_state),
		cmocka_unit_test(tables_as_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
