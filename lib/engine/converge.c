/* SPDX-License-Identifier: MIT */
/*
 * converge.c - the decision at the end of a round, and the policies. See converge.h.
 *
 * Rounds are compared by the RAM they leave behind. A round is "stuck" when it left at least nine
 * tenths of the best one so far: the dirty set has reached the size that the guest rewrites in the
 * time it takes to send it. Two stuck rounds in a row are needed, because one may be an accident.
 */
#include <string.h>

#include "base/checked.h"
#include "engine/converge.h"

#define STUCK_ROUNDS 2u
/* QEMU's defaults: people know how a guest behaves under them. */
#define THROTTLE_INITIAL 20u
#define THROTTLE_STEP 10u
#define THROTTLE_MAX 99u
#define NS_PER_S 1000000000ull

static enum vf_verdict_kind decide_throttle(struct vf_converge *converge,
					    const struct vf_verdict *view)
{
	/* Taking CPU time away makes less dirty memory, and no device or step any faster. */
	if (view->never == VF_NEVER_FIXED || converge->stuck < STUCK_ROUNDS)
		return VF_VERDICT_AGAIN;
	converge->throttle = converge->throttle ? converge->throttle + THROTTLE_STEP :
						  THROTTLE_INITIAL;
	if (converge->throttle > THROTTLE_MAX)
		converge->throttle = THROTTLE_MAX;
	/* The next rounds are judged against what this one left. */
	converge->stuck = 0;
	return VF_VERDICT_AGAIN;
}

static enum vf_verdict_kind decide_continue(struct vf_converge *converge,
					    const struct vf_verdict *view)
{
	(void) converge;
	(void) view;
	return VF_VERDICT_AGAIN;
}

static enum vf_verdict_kind decide_give_up(struct vf_converge *converge,
					   const struct vf_verdict *view)
{
	(void) converge;
	return view->never != VF_NEVER_NOT_SAID ? VF_VERDICT_GIVE_UP : VF_VERDICT_AGAIN;
}

static const struct vf_policy policies[] = {
	{
		.name = "throttle",
		.summary = "slow the guest's CPUs down step by step until the limit is met",
		.decide = decide_throttle,
	},
	{
		.name = "continue",
		.summary = "go on with rounds until the limit is met or the timeout is reached",
		.decide = decide_continue,
	},
	{
		.name = "give-up",
		.summary = "end the migration once it is known that the limit will not be met",
		.decide = decide_give_up,
	},
};

const struct vf_policy *vf_policies(size_t *ret_count)
{
	*ret_count = VF_ARRAY_COUNT(policies);
	return policies;
}

const struct vf_policy *vf_policy_find(const char *name)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(policies); i++) {
		if (!strcmp(policies[i].name, name))
			return &policies[i];
	}
	return NULL;
}

void vf_converge_init(struct vf_converge *converge, const struct vf_policy *policy,
		      uint64_t max_downtime_ns)
{
	*converge = (struct vf_converge) {
		.policy = policy,
		.max_downtime_ns = max_downtime_ns,
		.best_ram_bytes = UINT64_MAX,
	};
}

static uint64_t per_second(uint64_t bytes, uint64_t ns)
{
	__extension__ unsigned __int128 rate;

	if (!ns)
		return 0;
	rate = (unsigned __int128) bytes * NS_PER_S / ns;
	return rate > UINT64_MAX ? UINT64_MAX : (uint64_t) rate;
}

static void note_round(struct vf_converge *converge, const struct vf_round *round)
{
	uint64_t left = round->left.ram_bytes;

	if (converge->count && left >= converge->best_ram_bytes - converge->best_ram_bytes / 10)
		converge->stuck++;
	else
		converge->stuck = 0;
	converge->best_ram_bytes = vf_min_u64(converge->best_ram_bytes, left);
	converge->last[converge->count % VF_CONVERGE_ROUNDS] = *round;
	converge->count++;
}

/*
 * The pause fits: would it get much shorter by one more round? That takes as long as sending what is
 * left, and what is dirtied meanwhile is to the last round's as their lengths are: half of it if it is
 * half as long. So all of these rounds together take no longer than the pause that is allowed, but
 * for guests that change their ways; against those there are only so many.
 */
static bool worth_a_round(const struct vf_converge *converge, const struct vf_round *round,
			  const struct vf_downtime *downtime)
{
	const uint64_t ns = downtime->term[VF_TERM_RAM].ns;

	return converge->extra < VF_CONVERGE_EXTRA && !downtime->blind &&
	       ns > VF_CONVERGE_WORTH_NS && ns <= round->ns / 2;
}

void vf_converge_round(struct vf_converge *converge, const struct vf_round *round,
		       bool acknowledged, struct vf_verdict *ret)
{
	struct vf_verdict v = {
		.dirty_rate = per_second(round->left.ram_bytes, round->ns),
	};
	bool fits;

	note_round(converge, round);
	vf_downtime_estimate(&round->left, &v.downtime);
	/* Not knowing the rate with bytes to send is not knowing anything. */
	fits = v.downtime.expected_ns <= converge->max_downtime_ns &&
	       v.downtime.term[VF_TERM_RAM].known;
	if (fits && acknowledged && worth_a_round(converge, round, &v.downtime)) {
		converge->extra++;
		/* Should it not fit after that, no round until now says that it never will. */
		converge->stuck = 0;
		converge->best_ram_bytes = UINT64_MAX;
	} else if (fits && acknowledged) {
		v.kind = VF_VERDICT_SWITCH;
	} else if (fits) {
		v.waits_for_ack = true;
	} else {
		/* The guest has changed its ways since it fitted: next time that is taken. */
		if (converge->extra)
			converge->extra = VF_CONVERGE_EXTRA;
		if (v.downtime.fixed_ns > converge->max_downtime_ns)
			v.never = VF_NEVER_FIXED;
		else if (converge->stuck >= STUCK_ROUNDS)
			v.never = VF_NEVER_DIRTY_RATE;
		v.kind = converge->policy->decide(converge, &v);
	}
	v.throttle = converge->throttle;
	*ret = v;
}
