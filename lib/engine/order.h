/* SPDX-License-Identifier: MIT */
/*
 * order.h - a plan: the steps of one phase of one machine, and which may run now.
 *
 * Model: steps are added, then the plan is sealed against a set of rules. Sealing turns each rule
 * into gates: one per rule and scope (machine, device or component), with the steps that open it
 * and the steps that wait behind it: memory is steps x rules and never steps x steps. A step is
 * ready when every gate before it is open, its input arrived, its class is allowed, and nothing
 * that excludes it runs.
 *
 * A step without a device counts as part of every device in a rule of device scope: one step that
 * connects the vectors of all devices waits for all of them, and all of them wait for it.
 *
 * Invariants: a sealed plan has no cycle; a step starts at most once per run of it; nothing grows
 * after sealing. Threads: none of its own; the session calls it under its lock. It knows no clock:
 * times are handed in.
 */
#ifndef VF_ENGINE_ORDER_H
#define VF_ENGINE_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/error.h>
#include <vferry/order.h>

#define VF_PLAN_MAX_STEPS 4096u
#define VF_PLAN_MAX_DEPENDS 4096u	/* data dependencies from the peer */
#define VF_PLAN_MAX_MEMBERS (1u << 20)	/* steps in all gates together */
#define VF_PLAN_STEP_NAME_BYTES (2 * VFERRY_NAME_BYTES)
#define VF_NS_UNKNOWN UINT64_MAX	/* a time that nobody measured or declared */

struct vf_plan;

enum vf_step_state {
	VF_STEP_WAITING = 0,
	VF_STEP_RUNNING = 1,
	VF_STEP_DONE = 2,
	VF_STEP_FAILED = 3,
};

/* What is registered. Strings are copied. */
struct vf_plan_step {
	uint32_t component;		/* caller's index; component scope compares it */
	uint32_t step;			/* caller's index in that component's steps */
	enum vferry_step_class step_class;
	const char *component_name;	/* "its/0" */
	const char *device;		/* guest PCI address, or NULL */
	const char *name;		/* "tables" */
	bool needs_input;		/* waits for vf_plan_input() */
	uint64_t declared_ns;		/* VF_NS_UNKNOWN if not declared */
};

/* One step as it stands; strings are borrowed from the plan. */
struct vf_plan_view {
	struct vf_plan_step step;
	char full_name[VF_PLAN_STEP_NAME_BYTES];	/* "its/0:tables" */
	enum vf_step_state state;
	bool has_input;			/* or needs none */
	uint32_t runs;			/* how often it was started (restarted devices: > 1) */
	uint64_t start_ns, end_ns;	/* of the last run; end from DONE or FAILED on */
	uint32_t thread;
	uint64_t bytes;
};

/* One dependency, for text, JSON and dot. @rule is NULL for a data dependency from the peer. */
struct vf_plan_edge {
	uint32_t first, then;
	const struct vferry_order_rule *rule;
};
struct vf_plan_cursor {
	size_t gate, first, then;	/* start at { 0 } */
};

/** vf_plan_new() - @rules are borrowed while the plan lives. Return: 0; -ENOMEM; -EINVAL. */
int vf_plan_new(enum vferry_phase phase, const struct vferry_order_rule *rules, size_t rule_count,
		struct vf_plan **ret_plan);
struct vf_plan *vf_plan_free(struct vf_plan *plan);	/* NULL allowed; returns NULL */

/**
 * vf_plan_add() - one more step
 * Return: its index; -EINVAL class of another phase, or no name; -EEXIST same full name;
 * -E2BIG; -ENOMEM; -EBUSY sealed.
 */
int vf_plan_add(struct vf_plan *plan, const struct vf_plan_step *step, struct vferry_error *err);

/** vf_plan_find() - by full name ("its/0:tables"). Return: index; -ENOENT. */
int vf_plan_find(const struct vf_plan *plan, const char *full_name);

/**
 * vf_plan_depend() - @first before @then, because the source says so (before sealing)
 * Return: 0; -ENOENT no such step; -EINVAL a step on itself; -E2BIG too many; -ENOMEM; -EBUSY.
 */
int vf_plan_depend(struct vf_plan *plan, uint32_t first, uint32_t then, struct vferry_error *err);

/**
 * vf_plan_seal() - checks everything, computes the gates; afterwards only running is possible
 * Return: 0; -ENOKEY a required first step is missing ("order-step-missing", rule named); -ELOOP
 * a cycle ("order-cycle", path and rules named); -E2BIG; -ENOMEM. After a failure only
 * vf_plan_free() is left.
 */
int vf_plan_seal(struct vf_plan *plan, struct vferry_error *err);

size_t vf_plan_count(const struct vf_plan *plan);
void vf_plan_get(const struct vf_plan *plan, uint32_t step, struct vf_plan_view *ret_view);
/** vf_plan_edges_next() - all dependencies, in a stable order. Return: false at the end. */
bool vf_plan_edges_next(const struct vf_plan *plan, struct vf_plan_cursor *cursor,
			struct vf_plan_edge *ret_edge);
/** vf_plan_order() - one legal order of all steps (stable). @ret has room for vf_plan_count(). */
void vf_plan_order(const struct vf_plan *plan, uint32_t *ret);

/* Running. */

/** vf_plan_allow() - only steps of these classes (bit n = phase * 64 + n) start. At first: all. */
void vf_plan_allow(struct vf_plan *plan, uint64_t classes);
/** vf_plan_input() - the section or the data of the step is there. Harmless when repeated. */
void vf_plan_input(struct vf_plan *plan, uint32_t step);
/**
 * vf_plan_next() - the best step to start now: the one with the longest chain behind it
 * Return: 0; -EAGAIN none is ready now; -ENODATA all are done; -ECANCELED one failed.
 */
int vf_plan_next(const struct vf_plan *plan, uint32_t *ret_step);
/** vf_plan_ready() - every step that might be started now, best first. Return: how many. */
size_t vf_plan_ready(const struct vf_plan *plan, uint32_t *ret, size_t max);
/** vf_plan_start() - Return: 0; -EAGAIN it is not ready; -EBUSY an excluded step runs. */
int vf_plan_start(struct vf_plan *plan, uint32_t step, uint32_t thread, uint64_t now_ns);
void vf_plan_done(struct vf_plan *plan, uint32_t step, uint64_t bytes, uint64_t now_ns);
/*
 * The step failed. Without @go_on nothing starts any more; with it (undo of a lost device) those
 * behind it may run as if it was done.
 */
void vf_plan_fail(struct vf_plan *plan, uint32_t step, bool go_on, uint64_t now_ns);
size_t vf_plan_running(const struct vf_plan *plan);
bool vf_plan_all_done(const struct vf_plan *plan);
/* Are all steps of these classes done (true also if there are none)? */
bool vf_plan_classes_done(const struct vf_plan *plan, uint64_t classes);

/**
 * vf_plan_restart_device() - the source's device began a new generation (load plans)
 * RESUMING, CONFIG_STAGE and DEVICE_DATA steps of @device become waiting again, without input.
 * Return: how many; -EBUSY one of them runs (end it first); -ENOTRECOVERABLE a later step of the
 * device started already; -ENOENT no such device.
 */
int vf_plan_restart_device(struct vf_plan *plan, const char *device, struct vferry_error *err);

/* May steps of this class run while it is known that their device will begin anew? */
bool vf_class_before_restart(enum vferry_step_class step_class);

/** vf_plan_why_waiting() - one sentence: what @step still waits for. Writes and NUL-ends. */
void vf_plan_why_waiting(const struct vf_plan *plan, uint32_t step, char *to, size_t size);

/**
 * vf_plan_makespan() - how long the steps that are not done yet take
 * @ns: time of each step, VF_NS_UNKNOWN counts as 0; @threads: how many run at one time, 0 = any.
 * Rules and exclusions are obeyed; input counts as present. Steps of classes outside @classes count
 * as done already. Return: 0; -ENOMEM.
 */
int vf_plan_makespan(const struct vf_plan *plan, const uint64_t *ns, uint64_t classes,
		     unsigned threads, uint64_t *ret_ns);

/* One class as a bit of a rule's sets. */
static inline uint64_t vf_class_bit(enum vferry_step_class step_class)
{
	return 1ull << ((unsigned) step_class % 64);
}

/*
 * Sets of load classes: all that can fail, and with PREPARED all that run before COMMIT. Classes
 * have their numbers for good, so one that came later and belongs there is named.
 */
#define VF_LOAD_FALLIBLE \
	(((1ull << VFERRY_LOAD_PREPARED % 64) - 1) | 1ull << VFERRY_LOAD_PIT % 64)
#define VF_LOAD_BEFORE_COMMIT (VF_LOAD_FALLIBLE | 1ull << VFERRY_LOAD_PREPARED % 64)

#endif
