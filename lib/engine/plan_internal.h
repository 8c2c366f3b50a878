/* SPDX-License-Identifier: MIT */
/* plan_internal.h - what plan.c (building) and plan_run.c (running) share. */
#ifndef VF_ENGINE_PLAN_INTERNAL_H
#define VF_ENGINE_PLAN_INTERNAL_H

#include "engine/order.h"

#define NO_DEVICE UINT32_MAX

struct step {
	struct vf_plan_step in;		/* its strings point into this struct */
	char component_name[VFERRY_NAME_BYTES];
	char device_name[VFERRY_NAME_BYTES];
	char name[VFERRY_NAME_BYTES];
	uint32_t device;		/* index of the device key, or NO_DEVICE */
	uint32_t component;		/* dense index */
	uint32_t waits, wait_count;	/* gates it waits for: plan->gate_refs[waits...] */
	uint32_t opens, open_count;	/* gates it helps to open */
	uint64_t tail_ns;		/* longest chain from its start to the end */
	bool has_input;
	uint32_t runs, thread;
	uint64_t start_ns, end_ns, bytes;
};

/* Open once all of its first steps are done; then all of its `then` steps may go. */
struct gate {
	const struct vferry_order_rule *rule;	/* NULL: data dependency */
	uint32_t firsts, first_count;		/* plan->members[firsts...] */
	uint32_t thens, then_count;
	uint64_t tail_ns;			/* longest chain behind it */
};

/* How far one run is; makespan works on a copy. */
struct run {
	uint32_t *gate_left;	/* per gate: first steps not done */
	uint32_t *step_left;	/* per step: gates not open */
	uint8_t *state;		/* per step: enum vf_step_state */
	uint32_t *running;	/* indices of running steps */
	size_t running_count;
	size_t finished;
};

struct depend {
	uint32_t first, then;
};

struct vf_plan {
	enum vferry_phase phase;
	const struct vferry_order_rule *rules;	/* borrowed */
	size_t rule_count;
	bool sealed;
	bool failed;
	uint64_t allowed;

	struct step *steps;
	uint32_t step_count, step_room;
	struct depend *depends;
	uint32_t depend_count, depend_room;
	uint32_t device_count, component_count;

	struct gate *gates;
	uint32_t gate_count, gate_room;
	uint32_t *members;
	uint32_t member_count, member_room;
	uint32_t *gate_refs;
	uint32_t *order;	/* one legal order */
	uint32_t *rank;		/* steps by falling tail */
	struct run run;
};

static inline uint64_t step_bit(const struct step *step)
{
	return vf_class_bit(step->in.step_class);
}

int vf_run_init(const struct vf_plan *plan, struct run *ret);
void vf_run_free(struct run *run);
/* Opens what @step opens, as done. */
void vf_run_finish(const struct vf_plan *plan, struct run *run, uint32_t step);
void vf_plan_full_name(const struct vf_plan *plan, uint32_t step, char *to, size_t size);
/* The rule by which a running step keeps @step from starting, or NULL; *ret_other names it. */
const struct vferry_order_rule *vf_run_excluded(const struct vf_plan *plan, const struct run *run,
						uint32_t step, uint32_t *ret_other);

#endif
