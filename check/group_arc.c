/* SPDX-License-Identifier: MIT */
/*
 * group_arc.c - every way from one migration state to another, those that a driver implements and
 * those that the core composes of them, and those that don't exist.
 */
#include <stdio.h>

#include "internal.h"

static bool has_both(struct check *c, const struct check_assertion *a)
{
	if (check_has_state(c, a->from) && check_has_state(c, a->to))
		return true;
	check_skip(c, "the device has no %s", check_state_name(check_has_state(c, a->from) ?
							       a->to : a->from));
	return false;
}

static void run_arc(struct check *c, const struct check_assertion *a)
{
	char after[64];
	int r;

	if (!has_both(c, a) || !check_reach(c, a->from))
		return;
	r = check_set(c, a->to);
	(void) snprintf(after, sizeof(after), "after SET %s in %s", check_state_name(a->to),
			check_state_name(a->from));
	if (r < 0)
		check_fail(c, "SET %s in %s fails with %s", check_state_name(a->to),
			   check_state_name(a->from), check_errno(r));
	else
		(void) check_is(c, a->to, after);
}

static void run_no_arc(struct check *c, const struct check_assertion *a)
{
	if (has_both(c, a) && check_reach(c, a->from))
		check_refuses(c, a->from, a->to);
}

#define SOURCE "linux/vfio.h: enum vfio_device_mig_state"

#define ARC(a, b) { .id = "arc." #a "-" #b, .source = SOURCE, .run = run_arc, \
	.from = VF_VFIO_STATE_##a, .to = VF_VFIO_STATE_##b, \
	.sentence = "SET " #b " in " #a " succeeds, and GET then says " #b }
#define COMPOSED(a, b) { .id = "arc." #a "-" #b, .source = SOURCE, .run = run_arc, \
	.from = VF_VFIO_STATE_##a, .to = VF_VFIO_STATE_##b, \
	.sentence = "SET " #b " in " #a " walks the arcs in between, and GET then says " #b }
#define NONE(a, b) { .id = "arc." #a "-" #b, .source = SOURCE, .run = run_no_arc, \
	.from = VF_VFIO_STATE_##a, .to = VF_VFIO_STATE_##b, \
	.sentence = "SET " #b " in " #a " is refused with EINVAL, and the device stays in " #a }

static const struct check_assertion assertions[] = {
	/* a driver's own; without P2P RUNNING <-> STOP is one of them */
	ARC(RUNNING, RUNNING_P2P), ARC(RUNNING_P2P, RUNNING),
	ARC(RUNNING_P2P, STOP), ARC(STOP, RUNNING_P2P),
	ARC(RUNNING, STOP), ARC(STOP, RUNNING),
	ARC(STOP, STOP_COPY), ARC(STOP_COPY, STOP),
	ARC(STOP, RESUMING), ARC(RESUMING, STOP),
	ARC(RUNNING, PRE_COPY), ARC(PRE_COPY, RUNNING),
	ARC(PRE_COPY, STOP_COPY),
	ARC(PRE_COPY, PRE_COPY_P2P), ARC(PRE_COPY_P2P, PRE_COPY),
	ARC(RUNNING_P2P, PRE_COPY_P2P), ARC(PRE_COPY_P2P, RUNNING_P2P),
	ARC(PRE_COPY_P2P, STOP_COPY),
	/* composed */
	COMPOSED(RUNNING, STOP_COPY), COMPOSED(RUNNING, RESUMING), COMPOSED(RUNNING, PRE_COPY_P2P),
	COMPOSED(STOP, PRE_COPY), COMPOSED(STOP, PRE_COPY_P2P),
	COMPOSED(STOP_COPY, RUNNING), COMPOSED(STOP_COPY, RESUMING), COMPOSED(STOP_COPY, RUNNING_P2P),
	COMPOSED(RESUMING, RUNNING), COMPOSED(RESUMING, STOP_COPY), COMPOSED(RESUMING, RUNNING_P2P),
	COMPOSED(RESUMING, PRE_COPY), COMPOSED(RESUMING, PRE_COPY_P2P),
	COMPOSED(RUNNING_P2P, STOP_COPY), COMPOSED(RUNNING_P2P, RESUMING), COMPOSED(RUNNING_P2P, PRE_COPY),
	COMPOSED(PRE_COPY, STOP), COMPOSED(PRE_COPY, RESUMING), COMPOSED(PRE_COPY, RUNNING_P2P),
	COMPOSED(PRE_COPY_P2P, RUNNING), COMPOSED(PRE_COPY_P2P, STOP), COMPOSED(PRE_COPY_P2P, RESUMING),
	/* a session that was stopped doesn't go back */
	NONE(STOP_COPY, PRE_COPY), NONE(STOP_COPY, PRE_COPY_P2P),
};

const struct check_group check_group_arc = {
	.name = "arc",
	.about = "A driver implements single arcs; the core walks from one to the next until the state that was asked "
		 "for is reached, by the shortest way on which no state is passed that streams data. All 42 pairs "
		 "of different states are tried, as far as the device has them. RESUMING is left with a whole image.",
	CHECK_GROUP(assertions),
};
