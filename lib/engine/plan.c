/* SPDX-License-Identifier: MIT */
/*
 * plan.c - building a plan: steps, gates, and the proof that it can be run. See order.h.
 *
 * A rule between n first and m later steps is one gate with n + m members, not n x m edges. All
 * gates together have at most VF_PLAN_MAX_MEMBERS members, so a plan's memory is bounded whatever
 * is registered. Sealing sorts the steps topologically; what cannot be sorted is a cycle.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "engine/order.h"
#include "engine/plan_internal.h"

/* A step that nobody timed still counts as something, so that longer chains come first. */
#define NOMINAL_STEP_NS 1000ull

int vf_plan_new(enum vferry_phase phase, const struct vferry_order_rule *rules, size_t rule_count,
		struct vf_plan **ret_plan)
{
	struct vf_plan *plan;

	if ((unsigned) phase >= VFERRY_PHASE__COUNT || (rule_count && !rules))
		return -EINVAL;
	plan = calloc(1, sizeof(*plan));
	if (!plan)
		return -ENOMEM;
	plan->phase = phase;
	plan->rules = rules;
	plan->rule_count = rule_count;
	plan->allowed = UINT64_MAX;
	*ret_plan = plan;
	return 0;
}

struct vf_plan *vf_plan_free(struct vf_plan *plan)
{
	if (!plan)
		return NULL;
	vf_run_free(&plan->run);
	free(plan->steps);
	free(plan->depends);
	free(plan->gates);
	free(plan->members);
	free(plan->gate_refs);
	free(plan->order);
	free(plan->rank);
	free(plan);
	return NULL;
}

/* Room for one more of @count entries, doubling up to @limit. */
static int grow(void **array, uint32_t count, uint32_t *room, size_t entry, uint32_t limit)
{
	uint32_t want;
	void *more;

	if (count < *room)
		return 0;
	if (count >= limit)
		return -E2BIG;
	want = *room ? *room * 2 : 16;
	if (want > limit)
		want = limit;
	more = realloc(*array, want * entry);
	if (!more)
		return -ENOMEM;
	*array = more;
	*room = want;
	return 0;
}

void vf_plan_full_name(const struct vf_plan *plan, uint32_t step, char *to, size_t size)
{
	(void) snprintf(to, size, "%s:%s", plan->steps[step].component_name,
			plan->steps[step].name);
}

int vf_plan_find(const struct vf_plan *plan, const char *full_name)
{
	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct step *step = &plan->steps[i];
		size_t len = strlen(step->component_name);

		if (!strncmp(full_name, step->component_name, len) && full_name[len] == ':' &&
		    !strcmp(full_name + len + 1, step->name))
			return (int) i;
	}
	return -ENOENT;
}

static bool name_ok(const char *name)
{
	return name && name[0] && strlen(name) < VFERRY_NAME_BYTES;
}

/* Dense numbers for device keys and components: equal ones get equal numbers. */
static void number_step(struct vf_plan *plan, struct step *step)
{
	bool have_device = !step->device_name[0], have_component = false;

	step->device = NO_DEVICE;
	for (uint32_t i = 0; i < plan->step_count && !(have_device && have_component); i++) {
		const struct step *other = &plan->steps[i];

		if (!have_device && !strcmp(other->device_name, step->device_name)) {
			step->device = other->device;
			have_device = true;
		}
		if (!have_component && other->in.component == step->in.component) {
			step->component = other->component;
			have_component = true;
		}
	}
	if (!have_device)
		step->device = plan->device_count++;
	if (!have_component)
		step->component = plan->component_count++;
}

int vf_plan_add(struct vf_plan *plan, const struct vf_plan_step *in, struct vferry_error *err)
{
	char full[VF_PLAN_STEP_NAME_BYTES];
	struct step *step;
	int r;

	if (plan->sealed)
		return -EBUSY;
	if (VFERRY_PHASE_OF(in->step_class) != (unsigned) plan->phase ||
	    !vferry_step_class_name((int) in->step_class) || !name_ok(in->component_name) ||
	    !name_ok(in->name) || (in->device && !name_ok(in->device)))
		return vferry_error_set(err, -EINVAL, "order-step-invalid", in->component_name,
					"Step \"%s\" has no usable name, or its class %d is not "
					"one of this phase.", in->name ? in->name : "",
					(int) in->step_class);
	(void) snprintf(full, sizeof(full), "%s:%s", in->component_name, in->name);
	if (vf_plan_find(plan, full) >= 0)
		return vferry_error_set(err, -EEXIST, "order-step-twice", full,
					"Step %s is registered twice.", full);
	r = grow((void **) &plan->steps, plan->step_count, &plan->step_room, sizeof(*step),
		 VF_PLAN_MAX_STEPS);
	if (r < 0)
		return vferry_error_set(err, r, "order-too-many-steps", full,
					"No room for a step beyond %u.", plan->step_count);
	step = &plan->steps[plan->step_count];
	*step = (struct step) { .in = *in, .has_input = !in->needs_input };
	(void) snprintf(step->component_name, sizeof(step->component_name), "%s",
			in->component_name);
	(void) snprintf(step->name, sizeof(step->name), "%s", in->name);
	if (in->device)
		(void) snprintf(step->device_name, sizeof(step->device_name), "%s", in->device);
	number_step(plan, step);
	return (int) plan->step_count++;
}

int vf_plan_depend(struct vf_plan *plan, uint32_t first, uint32_t then, struct vferry_error *err)
{
	int r;

	if (plan->sealed)
		return -EBUSY;
	if (first >= plan->step_count || then >= plan->step_count)
		return vferry_error_set(err, -ENOENT, "order-dependency-unknown", NULL,
					"A data dependency names step %u, of %u there are.",
					first >= plan->step_count ? first : then, plan->step_count);
	if (first == then)
		return vferry_error_set(err, -EINVAL, "order-dependency-self", NULL,
					"A data dependency of step %u on itself.", first);
	r = grow((void **) &plan->depends, plan->depend_count, &plan->depend_room,
		 sizeof(*plan->depends), VF_PLAN_MAX_DEPENDS);
	if (r < 0)
		return vferry_error_set(err, r, "order-too-many-dependencies", NULL,
					"No room for a data dependency beyond %u.",
					plan->depend_count);
	plan->depends[plan->depend_count++] = (struct depend) { first, then };
	return 0;
}

static int add_member(struct vf_plan *plan, uint32_t step)
{
	int r = grow((void **) &plan->members, plan->member_count, &plan->member_room,
		     sizeof(*plan->members), VF_PLAN_MAX_MEMBERS);

	if (!r)
		plan->members[plan->member_count++] = step;
	return r;
}

/* Which steps of a rule belong together: those of one machine, one device or one component. */
struct group {
	enum vferry_rule_scope scope;
	uint32_t key;		/* device (NO_DEVICE: steps of no device) or component */
};

static bool in_group(const struct group *group, const struct step *step, bool first)
{
	switch (group->scope) {
	case VFERRY_SCOPE_DEVICE:
		/* A step of no device is one of every device; as a later step it waits for all. */
		if (first)
			return group->key == NO_DEVICE || step->device == group->key ||
			       step->device == NO_DEVICE;
		return step->device == group->key;
	case VFERRY_SCOPE_COMPONENT:
		return step->component == group->key;
	case VFERRY_SCOPE_ANY:
		break;
	}
	return true;
}

static int collect(struct vf_plan *plan, const struct group *group, uint64_t classes, bool first,
		   uint32_t *ret_count)
{
	uint32_t begin = plan->member_count;

	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct step *step = &plan->steps[i];
		int r;

		if (!(classes & step_bit(step)) || !in_group(group, step, first))
			continue;
		r = add_member(plan, i);
		if (r < 0)
			return r;
	}
	*ret_count = plan->member_count - begin;
	return 0;
}

static int missing(const struct vf_plan *plan, const struct vferry_order_rule *rule, uint32_t then,
		   struct vferry_error *err)
{
	char full[VF_PLAN_STEP_NAME_BYTES], classes[160] = "";
	size_t at = 0;

	vf_plan_full_name(plan, then, full, sizeof(full));
	for (int n = 0; n < 64 && at < sizeof(classes); n++) {
		const char *name = vferry_step_class_name((int) plan->phase * 64 + n);

		if ((rule->first >> n & 1) && name)
			at += (size_t) snprintf(classes + at, sizeof(classes) - at, "%s%s",
						at ? " or " : "", name);
	}
	return vferry_error_set(err, -ENOKEY, "order-step-missing", full,
				"Step %s needs a %s step before it, and none is registered "
				"(rule %s: %s).", full, classes, rule->id, rule->because);
}

static int add_gate(struct vf_plan *plan, const struct vferry_order_rule *rule,
		    const struct group *group, struct vferry_error *err)
{
	struct gate gate = { .rule = rule, .firsts = plan->member_count };
	int r;

	r = collect(plan, group, rule->first, true, &gate.first_count);
	if (r < 0)
		return r;
	gate.thens = plan->member_count;
	r = collect(plan, group, rule->then, false, &gate.then_count);
	if (r < 0)
		return r;
	if (gate.then_count && !gate.first_count && rule->required)
		return missing(plan, rule, plan->members[gate.thens], err);
	if (!gate.then_count || !gate.first_count) {
		plan->member_count = gate.firsts;
		return 0;
	}
	r = grow((void **) &plan->gates, plan->gate_count, &plan->gate_room, sizeof(gate),
		 VF_PLAN_MAX_MEMBERS);
	if (!r)
		plan->gates[plan->gate_count++] = gate;
	return r;
}

static int add_rule(struct vf_plan *plan, const struct vferry_order_rule *rule,
		    struct vferry_error *err)
{
	struct group group = { .scope = rule->scope, .key = NO_DEVICE };
	uint32_t keys = 0;
	int r;

	if (rule->scope == VFERRY_SCOPE_DEVICE)
		keys = plan->device_count;
	else if (rule->scope == VFERRY_SCOPE_COMPONENT)
		keys = plan->component_count;
	for (uint32_t key = 0; key < keys; key++) {
		group.key = key;
		r = add_gate(plan, rule, &group, err);
		if (r < 0)
			return r;
	}
	if (rule->scope == VFERRY_SCOPE_COMPONENT)
		return 0;
	group.key = NO_DEVICE;
	return add_gate(plan, rule, &group, err);
}

static int add_depends(struct vf_plan *plan)
{
	for (uint32_t i = 0; i < plan->depend_count; i++) {
		struct gate gate = {
			.firsts = plan->member_count, .first_count = 1,
			.thens = plan->member_count + 1, .then_count = 1,
		};
		int r = add_member(plan, plan->depends[i].first);

		if (!r)
			r = add_member(plan, plan->depends[i].then);
		if (!r)
			r = grow((void **) &plan->gates, plan->gate_count, &plan->gate_room,
				 sizeof(gate), VF_PLAN_MAX_MEMBERS);
		if (r < 0)
			return r;
		plan->gates[plan->gate_count++] = gate;
	}
	return 0;
}

/* For every step, the gates it waits for and the gates it helps to open. */
static int link_steps(struct vf_plan *plan)
{
	uint32_t at = 0;

	plan->gate_refs = calloc(plan->member_count ? plan->member_count : 1,
				 sizeof(*plan->gate_refs));
	if (!plan->gate_refs)
		return -ENOMEM;
	for (uint32_t g = 0; g < plan->gate_count; g++) {
		const struct gate *gate = &plan->gates[g];

		for (uint32_t i = 0; i < gate->first_count; i++)
			plan->steps[plan->members[gate->firsts + i]].open_count++;
		for (uint32_t i = 0; i < gate->then_count; i++)
			plan->steps[plan->members[gate->thens + i]].wait_count++;
	}
	for (uint32_t i = 0; i < plan->step_count; i++) {
		struct step *step = &plan->steps[i];

		step->opens = at;
		at += step->open_count;
		step->waits = at;
		at += step->wait_count;
		step->open_count = step->wait_count = 0;
	}
	for (uint32_t g = 0; g < plan->gate_count; g++) {
		const struct gate *gate = &plan->gates[g];

		for (uint32_t i = 0; i < gate->first_count; i++) {
			struct step *step = &plan->steps[plan->members[gate->firsts + i]];

			plan->gate_refs[step->opens + step->open_count++] = g;
		}
		for (uint32_t i = 0; i < gate->then_count; i++) {
			struct step *step = &plan->steps[plan->members[gate->thens + i]];

			plan->gate_refs[step->waits + step->wait_count++] = g;
		}
	}
	return 0;
}

/* Before a step that could not be sorted is one that could not be either: walk until it repeats. */
static int report_cycle(const struct vf_plan *plan, const struct run *run, uint32_t *seen,
			uint32_t *via, struct vferry_error *err)
{
	char text[420] = "", full[VF_PLAN_STEP_NAME_BYTES];
	uint32_t at = 0, stop;
	size_t len = 0;

	for (uint32_t i = 0; i < plan->step_count; i++)
		seen[i] = UINT32_MAX;
	while (at < plan->step_count && run->state[at] == VF_STEP_DONE)
		at++;
	/* seen[x] = the step that waits for x, via[x] = the gate between them. */
	for (uint32_t later = at; ; later = at) {
		const struct step *step = &plan->steps[later];
		const struct gate *gate = NULL;
		uint32_t first = UINT32_MAX;

		for (uint32_t i = 0; i < step->wait_count && first == UINT32_MAX; i++) {
			uint32_t g = plan->gate_refs[step->waits + i];

			gate = &plan->gates[g];
			for (uint32_t k = 0; k < gate->first_count; k++) {
				uint32_t s = plan->members[gate->firsts + k];

				if (run->state[s] != VF_STEP_DONE) {
					first = s;
					via[s] = g;
					break;
				}
			}
		}
		if (first == UINT32_MAX)
			return -EINVAL;	/* not a cycle: our own bug */
		if (seen[first] != UINT32_MAX) {
			seen[first] = later;
			at = first;
			break;
		}
		seen[first] = later;
		at = first;
	}
	stop = at;
	do {
		const struct vferry_order_rule *rule = plan->gates[via[at]].rule;

		vf_plan_full_name(plan, at, full, sizeof(full));
		if (len < sizeof(text))
			len += (size_t) snprintf(text + len, sizeof(text) - len,
						 "%s before (%s) ", full,
						 rule ? rule->id : "the source's data dependency");
		at = seen[at];
	} while (at != stop);
	vf_plan_full_name(plan, stop, full, sizeof(full));
	return vferry_error_set(err, -ELOOP, "order-cycle", full,
				"The steps cannot be ordered: %s%s%s.", text,
				len < sizeof(text) ? "" : "... ", full);
}

static int sort_steps(struct vf_plan *plan, struct vferry_error *err)
{
	uint32_t *seen, *via, done = 0;
	struct run run;
	int r;

	plan->order = calloc(plan->step_count + 1, sizeof(*plan->order));
	if (!plan->order)
		return -ENOMEM;
	r = vf_run_init(plan, &run);
	if (r < 0)
		return r;
	for (bool more = true; more; ) {
		more = false;
		for (uint32_t i = 0; i < plan->step_count; i++) {
			if (run.state[i] == VF_STEP_DONE || run.step_left[i])
				continue;
			vf_run_finish(plan, &run, i);
			plan->order[done++] = i;
			more = true;
		}
	}
	if (done < plan->step_count) {
		seen = calloc(plan->step_count, sizeof(*seen));
		via = calloc(plan->step_count, sizeof(*via));
		r = seen && via ? report_cycle(plan, &run, seen, via, err) : -ENOMEM;
		free(seen);
		free(via);
	}
	vf_run_free(&run);
	return r;
}

/* By falling tail, then by registration: heap-free insertion into `rank` by a merge sort. */
static void sort_rank(struct vf_plan *plan, uint32_t *scratch)
{
	uint32_t n = plan->step_count;

	for (uint32_t i = 0; i < n; i++)
		plan->rank[i] = i;
	for (uint32_t width = 1; width < n; width *= 2) {
		for (uint32_t lo = 0; lo < n; lo += 2 * width) {
			uint32_t mid = lo + width < n ? lo + width : n;
			uint32_t hi = lo + 2 * width < n ? lo + 2 * width : n;
			uint32_t a = lo, b = mid;

			for (uint32_t k = lo; k < hi; k++) {
				bool left = a < mid &&
					    (b >= hi ||
					     plan->steps[plan->rank[a]].tail_ns >=
						     plan->steps[plan->rank[b]].tail_ns);

				scratch[k] = plan->rank[left ? a++ : b++];
			}
		}
		memcpy(plan->rank, scratch, n * sizeof(*scratch));
	}
}

static int rank_steps(struct vf_plan *plan)
{
	uint32_t *scratch = calloc(plan->step_count + 1, sizeof(*scratch));

	plan->rank = calloc(plan->step_count + 1, sizeof(*plan->rank));
	if (!plan->rank || !scratch) {
		free(scratch);
		return -ENOMEM;
	}
	for (uint32_t k = plan->step_count; k-- > 0; ) {
		struct step *step = &plan->steps[plan->order[k]];
		uint64_t own = step->in.declared_ns == VF_NS_UNKNOWN || !step->in.declared_ns ?
				       NOMINAL_STEP_NS : step->in.declared_ns;
		uint64_t longest = 0;

		/* Every step behind a gate comes before every step that opens it here. */
		for (uint32_t i = 0; i < step->open_count; i++)
			longest = vf_max_u64(longest, plan->gates[plan->gate_refs[
					step->opens + i]].tail_ns);
		if (vf_add_u64(own, longest, &step->tail_ns))
			step->tail_ns = UINT64_MAX;
		for (uint32_t i = 0; i < step->wait_count; i++) {
			struct gate *gate = &plan->gates[plan->gate_refs[step->waits + i]];

			gate->tail_ns = vf_max_u64(gate->tail_ns, step->tail_ns);
		}
	}
	sort_rank(plan, scratch);
	free(scratch);
	return 0;
}

int vf_plan_seal(struct vf_plan *plan, struct vferry_error *err)
{
	int r = 0;

	if (plan->sealed)
		return -EBUSY;
	plan->sealed = true;
	/* The step array does not move any more: its strings can be pointed at. */
	for (uint32_t i = 0; i < plan->step_count; i++) {
		struct step *step = &plan->steps[i];

		step->in.component_name = step->component_name;
		step->in.name = step->name;
		step->in.device = step->device_name[0] ? step->device_name : NULL;
	}
	for (size_t i = 0; i < plan->rule_count && !r; i++) {
		const struct vferry_order_rule *rule = &plan->rules[i];

		if (rule->phase == plan->phase && rule->kind == VFERRY_RULE_BEFORE)
			r = add_rule(plan, rule, err);
	}
	if (!r)
		r = add_depends(plan);
	if (!r)
		r = link_steps(plan);
	if (!r)
		r = sort_steps(plan, err);
	if (!r)
		r = rank_steps(plan);
	if (!r)
		r = vf_run_init(plan, &plan->run);
	if (r < 0)
		return vferry_error_set(err, r, "order-seal", NULL,
					"The plan of %u steps cannot be made (%s).",
					plan->step_count, vferry_errno_name(r));
	return 0;
}

size_t vf_plan_count(const struct vf_plan *plan)
{
	return plan->step_count;
}

void vf_plan_order(const struct vf_plan *plan, uint32_t *ret)
{
	memcpy(ret, plan->order, plan->step_count * sizeof(*ret));
}

bool vf_plan_edges_next(const struct vf_plan *plan, struct vf_plan_cursor *cursor,
			struct vf_plan_edge *ret_edge)
{
	const struct gate *gate;

	if (cursor->gate >= plan->gate_count)
		return false;
	gate = &plan->gates[cursor->gate];
	*ret_edge = (struct vf_plan_edge) {
		.first = plan->members[gate->firsts + cursor->first],
		.then = plan->members[gate->thens + cursor->then],
		.rule = gate->rule,
	};
	if (++cursor->then == gate->then_count) {
		cursor->then = 0;
		if (++cursor->first == gate->first_count) {
			cursor->first = 0;
			cursor->gate++;
		}
	}
	return true;
}
