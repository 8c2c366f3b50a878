/* SPDX-License-Identifier: MIT */
/* group_state.c - what holds for the state whatever it is: who changes it, and what a refusal leaves. */
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "internal.h"

#define IDLE_NS (5 * (long) VF_MS_NS)

static void run_first(struct check *c, const struct check_assertion *a)
{
	(void) a;
	if (c->first_state == VF_VFIO_STATE_RUNNING)
		return;
	check_say(c, c->has & CHECK_NEEDS_DESCRIPTOR ? CHECK_FAIL : CHECK_WARN, "it was in %s",
		  check_state_name(c->first_state));
}

static void same(struct check *c, uint32_t state)
{
	int r = check_set(c, state);

	if (r < 0)
		check_fail(c, "SET %s in %s fails with %s", check_state_name(state),
			   check_state_name(state), check_errno(r));
	else
		(void) check_is(c, state, "after SET of the state it is in");
}

static void run_same(struct check *c, const struct check_assertion *a)
{
	(void) a;
	check_each_state(c, same);
}

static void to_error(struct check *c, uint32_t state)
{
	check_refuses(c, state, VF_VFIO_STATE_ERROR);
}

static void run_to_error(struct check *c, const struct check_assertion *a)
{
	(void) a;
	check_each_state(c, to_error);
}

static void to_unknown(struct check *c, uint32_t state)
{
	static const uint32_t unknown[] = { 8, 99, 1u << 16, UINT32_MAX };

	for (size_t i = 0; i < VF_ARRAY_COUNT(unknown) && !check_decided(c); i++)
		check_refuses(c, state, unknown[i]);
}

static void run_to_unknown(struct check *c, const struct check_assertion *a)
{
	(void) a;
	check_each_state(c, to_unknown);
}

/* @from: a state whose flag may be absent. */
static void run_to_absent(struct check *c, const struct check_assertion *a)
{
	if (check_has_state(c, a->from))
		check_skip(c, "the device has %s", check_state_name(a->from));
	else
		check_refuses(c, VF_VFIO_STATE_RUNNING, a->from);
}

static void stays(struct check *c, uint32_t state)
{
	struct timespec idle = { .tv_nsec = IDLE_NS };

	(void) nanosleep(&idle, NULL);
	(void) check_is(c, state, "after 5 ms in which nothing was asked of it");
}

static void run_stays(struct check *c, const struct check_assertion *a)
{
	(void) a;
	check_each_state(c, stays);
}

static void run_after_failure(struct check *c, const struct check_assertion *a)
{
	uint32_t state;
	int r;

	(void) a;
	if (!check_fail_to_load(c))
		return;
	r = check_get(c, &state);
	if (r < 0)
		check_fail(c, "GET fails with %s after RESUMING -> STOP failed", check_errno(r));
	else if (state != VF_VFIO_STATE_RESUMING && state != VF_VFIO_STATE_STOP &&
		 state != VF_VFIO_STATE_ERROR)
		check_fail(c, "after RESUMING -> STOP failed the state is %s", check_state_name(state));
	else
		check_note(c, "it is %s", check_state_name(state));
}

static void run_error_exits(struct check *c, const struct check_assertion *a)
{
	uint32_t state = VF_VFIO_STATE_STOP;

	(void) a;
	if (!check_fail_to_load(c))
		return;
	if (check_get(c, &state) == 0 && state != VF_VFIO_STATE_ERROR) {
		check_skip(c, "garbage as its state does not bring the device into ERROR");
		return;
	}
	for (state = VF_VFIO_STATE_STOP; state < VF_VFIO_STATE__COUNT && !check_decided(c); state++)
		if (check_has_state(c, state))
			check_refuses(c, VF_VFIO_STATE_ERROR, state);
}

#define STATES "linux/vfio.h: enum vfio_device_mig_state"
#define SETS "linux/vfio.h: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE"

static const struct check_assertion assertions[] = {
	{ .id = "state.first", .source = STATES, .run = run_first,
	  .sentence = "a device that was just opened is in RUNNING" },
	{ .id = "state.same", .source = STATES, .run = run_same,
	  .sentence = "SET of the state that the device is in succeeds and changes nothing" },
	{ .id = "state.to-error", .source = STATES, .run = run_to_error,
	  .sentence = "SET ERROR is refused with EINVAL in every state, and the state stays" },
	{ .id = "state.to-unknown", .source = STATES, .run = run_to_unknown,
	  .sentence = "SET of a state that does not exist is refused with EINVAL in every state, and the state stays" },
	{ .id = "state.to-absent-RUNNING_P2P", .source = STATES, .run = run_to_absent,
	  .from = VF_VFIO_STATE_RUNNING_P2P,
	  .sentence = "without the flag P2P, SET RUNNING_P2P is refused with EINVAL" },
	{ .id = "state.to-absent-PRE_COPY", .source = STATES, .run = run_to_absent,
	  .from = VF_VFIO_STATE_PRE_COPY,
	  .sentence = "without the flag PRE_COPY, SET PRE_COPY is refused with EINVAL" },
	{ .id = "state.to-absent-PRE_COPY_P2P", .source = STATES, .run = run_to_absent,
	  .from = VF_VFIO_STATE_PRE_COPY_P2P,
	  .sentence = "without both flags, P2P and PRE_COPY, SET PRE_COPY_P2P is refused with EINVAL" },
	{ .id = "state.stays", .source = STATES, .run = run_stays,
	  .sentence = "the state changes by SET and by reset only, never by itself" },
	{ .id = "state.after-failure", .source = SETS, .run = run_after_failure,
	  .sentence = "after a SET that failed, GET tells the state: one on the way, or ERROR" },
	{ .id = "state.error-exits", .source = STATES, .run = run_error_exits,
	  .sentence = "ERROR is left by a reset only: SET of any state is refused with EINVAL" },
};

const struct check_group check_group_state = {
	.name = "state",
	.about = "The state is the user's: nobody else changes it, and what is refused changes nothing.",
	CHECK_GROUP(assertions),
};
