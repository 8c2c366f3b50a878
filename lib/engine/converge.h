/* SPDX-License-Identifier: MIT */
/*
 * converge.h - what to do at the end of a pre-copy round.
 *
 * Model: the switch may be made when the expected downtime fits the limit and every stream that
 * knows its initial bytes has them acknowledged. The limit is no goal: rounds go on, a bounded number
 * of them, while each is expected to halve what RAM adds to the pause. If it does not fit, the policy
 * (a constant table of functions) says: another round, throttle the guest, or give up. That it will
 * never fit is said once, early, with the numbers: the fixed part alone is over the limit, or rounds
 * stopped getting smaller.
 *
 * Pure: no system calls, no clock, no threads.
 */
#ifndef VF_ENGINE_CONVERGE_H
#define VF_ENGINE_CONVERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/downtime.h"

#define VF_CONVERGE_ROUNDS 8u		/* how many past rounds are looked at */
#define VF_CONVERGE_EXTRA 8u		/* most rounds that only make a pause shorter that fits */
#define VF_CONVERGE_WORTH_NS 1000000ull	/* and for less than this of RAM there is none */

/* What the session measured in one round, at its end. */
struct vf_round {
	uint32_t number;		/* from 1 */
	uint64_t sent_bytes;
	uint64_t ns;
	struct vf_downtime_input left;	/* rate, and what is left now */
};

enum vf_verdict_kind {
	VF_VERDICT_AGAIN = 0,
	VF_VERDICT_SWITCH = 1,
	VF_VERDICT_GIVE_UP = 2,
};

enum vf_never {
	VF_NEVER_NOT_SAID = 0,		/* it may fit yet */
	VF_NEVER_FIXED = 1,		/* steps and device state alone are over the limit */
	VF_NEVER_DIRTY_RATE = 2,	/* memory is dirtied as fast as it is sent */
};

struct vf_verdict {
	enum vf_verdict_kind kind;
	uint32_t throttle;		/* percent of guest CPU time to take away, 0..99 */
	struct vf_downtime downtime;
	enum vf_never never;
	uint64_t dirty_rate;		/* bytes per second, measured in the last round */
	bool waits_for_ack;		/* it would fit, but initial bytes are not acknowledged */
};

struct vf_policy;

struct vf_converge {
	const struct vf_policy *policy;
	uint64_t max_downtime_ns;
	uint32_t throttle;
	uint32_t stuck;			/* rounds in a row that did not get smaller */
	uint32_t extra;			/* rounds asked for though the pause fitted */
	uint32_t count;			/* rounds seen */
	uint64_t best_ram_bytes;	/* the least that a round has left */
	struct vf_round last[VF_CONVERGE_ROUNDS];	/* ring; count % its size is next */
};

struct vf_policy {
	const char *name;		/* "throttle", "continue", "give-up" */
	const char *summary;		/* one sentence, for --help */
	/* It does not fit yet. Return: what to do; may change converge->throttle. */
	enum vf_verdict_kind (*decide)(struct vf_converge *converge, const struct vf_verdict *view);
};

const struct vf_policy *vf_policies(size_t *ret_count);
const struct vf_policy *vf_policy_find(const char *name);	/* NULL: no such policy */

void vf_converge_init(struct vf_converge *converge, const struct vf_policy *policy,
		      uint64_t max_downtime_ns);
/* @acknowledged: every stream that knows its initial bytes has them loaded on the other side. */
void vf_converge_round(struct vf_converge *converge, const struct vf_round *round,
		       bool acknowledged, struct vf_verdict *ret);

#endif
