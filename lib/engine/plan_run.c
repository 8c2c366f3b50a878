/* SPDX-License-Identifier: MIT */
/*
 * plan_run.c - running a sealed plan: what is ready, what was done, how long it would take.
 *
 * A run is three arrays of counters (struct run), so that a prediction works on a copy of it and
 * obeys the very same rules as the real run.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "engine/order.h"
#include "engine/plan_internal.h"

#define RESTARTABLE \
	(vf_class_bit(VFERRY_LOAD_DEVICE_RESUMING) | vf_class_bit(VFERRY_LOAD_CONFIG_STAGE) | \
	 vf_class_bit(VFERRY_LOAD_DEVICE_DATA))
/* Vectors survive a device's reset, and are redone by restage if the mode changed. */
#define SURVIVES_RESTART vf_class_bit(VFERRY_LOAD_VECTOR_ALLOC)

int vf_run_init(const struct vf_plan *plan, struct run *ret)
{
	struct run run = {
		.gate_left = calloc(plan->gate_count + 1, sizeof(*run.gate_left)),
		.step_left = calloc(plan->step_count + 1, sizeof(*run.step_left)),
		.state = calloc(plan->step_count + 1, sizeof(*run.state)),
		.running = calloc(plan->step_count + 1, sizeof(*run.running)),
	};

	if (!run.gate_left || !run.step_left || !run.state || !run.running) {
		vf_run_free(&run);
		return -ENOMEM;
	}
	for (uint32_t g = 0; g < plan->gate_count; g++)
		run.gate_left[g] = plan->gates[g].first_count;
	for (uint32_t i = 0; i < plan->step_count; i++)
		run.step_left[i] = plan->steps[i].wait_count;
	*ret = run;
	return 0;
}

void vf_run_free(struct run *run)
{
	free(run->gate_left);
	free(run->step_left);
	free(run->state);
	free(run->running);
	*run = (struct run) { 0 };
}

void vf_run_finish(const struct vf_plan *plan, struct run *run, uint32_t index)
{
	const struct step *step = &plan->steps[index];

	run->state[index] = VF_STEP_DONE;
	run->finished++;
	for (uint32_t i = 0; i < step->open_count; i++) {
		uint32_t g = plan->gate_refs[step->opens + i];
		const struct gate *gate = &plan->gates[g];

		assert(run->gate_left[g]);
		if (--run->gate_left[g])
			continue;
		for (uint32_t t = 0; t < gate->then_count; t++)
			run->step_left[plan->members[gate->thens + t]]--;
	}
}

/* The reverse: @index is waiting again. */
static void run_reopen(const struct vf_plan *plan, struct run *run, uint32_t index)
{
	const struct step *step = &plan->steps[index];

	run->state[index] = VF_STEP_WAITING;
	run->finished--;
	for (uint32_t i = 0; i < step->open_count; i++) {
		uint32_t g = plan->gate_refs[step->opens + i];
		const struct gate *gate = &plan->gates[g];

		if (run->gate_left[g]++)
			continue;
		for (uint32_t t = 0; t < gate->then_count; t++)
			run->step_left[plan->members[gate->thens + t]]++;
	}
}

static void run_start(struct run *run, uint32_t index)
{
	run->state[index] = VF_STEP_RUNNING;
	run->running[run->running_count++] = index;
}

static void run_stop(struct run *run, uint32_t index)
{
	for (size_t i = 0; i < run->running_count; i++) {
		if (run->running[i] == index) {
			run->running[i] = run->running[--run->running_count];
			return;
		}
	}
	assert(!"step does not run");
}

static bool same_scope(enum vferry_rule_scope scope, const struct step *a, const struct step *b)
{
	switch (scope) {
	case VFERRY_SCOPE_DEVICE:
		return a->device == b->device || a->device == NO_DEVICE || b->device == NO_DEVICE;
	case VFERRY_SCOPE_COMPONENT:
		return a->component == b->component;
	case VFERRY_SCOPE_ANY:
		break;
	}
	return true;
}

const struct vferry_order_rule *vf_run_excluded(const struct vf_plan *plan, const struct run *run,
						uint32_t index, uint32_t *ret_other)
{
	const struct step *step = &plan->steps[index];
	uint64_t bit = step_bit(step);

	if (!run->running_count)
		return NULL;
	for (size_t i = 0; i < plan->rule_count; i++) {
		const struct vferry_order_rule *rule = &plan->rules[i];
		uint64_t against = 0;

		if (rule->phase != plan->phase || rule->kind != VFERRY_RULE_EXCLUDES)
			continue;
		if (rule->first & bit)
			against |= rule->then;
		if (rule->then & bit)
			against |= rule->first;
		if (!against)
			continue;
		for (size_t k = 0; k < run->running_count; k++) {
			const struct step *other = &plan->steps[run->running[k]];

			if ((against & step_bit(other)) && same_scope(rule->scope, step, other)) {
				if (ret_other)
					*ret_other = run->running[k];
				return rule;
			}
		}
	}
	return NULL;
}

static bool is_ready(const struct vf_plan *plan, uint32_t index)
{
	const struct step *step = &plan->steps[index];

	return plan->run.state[index] == VF_STEP_WAITING && !plan->run.step_left[index] &&
	       step->has_input && (plan->allowed & step_bit(step));
}

void vf_plan_allow(struct vf_plan *plan, uint64_t classes)
{
	plan->allowed = classes;
}

void vf_plan_input(struct vf_plan *plan, uint32_t step)
{
	assert(step < plan->step_count);
	plan->steps[step].has_input = true;
}

size_t vf_plan_ready(const struct vf_plan *plan, uint32_t *ret, size_t max)
{
	size_t n = 0;

	if (!plan->sealed || plan->failed)
		return 0;
	for (uint32_t k = 0; k < plan->step_count && n < max; k++) {
		uint32_t i = plan->rank[k];

		if (is_ready(plan, i) && !vf_run_excluded(plan, &plan->run, i, NULL))
			ret[n++] = i;
	}
	return n;
}

int vf_plan_next(const struct vf_plan *plan, uint32_t *ret_step)
{
	if (plan->failed)
		return -ECANCELED;
	if (vf_plan_all_done(plan))
		return -ENODATA;
	return vf_plan_ready(plan, ret_step, 1) ? 0 : -EAGAIN;
}

int vf_plan_start(struct vf_plan *plan, uint32_t index, uint32_t thread, uint64_t now_ns)
{
	struct step *step;

	if (!plan->sealed || index >= plan->step_count || plan->failed || !is_ready(plan, index))
		return -EAGAIN;
	if (vf_run_excluded(plan, &plan->run, index, NULL))
		return -EBUSY;
	step = &plan->steps[index];
	run_start(&plan->run, index);
	step->runs++;
	step->thread = thread;
	step->start_ns = now_ns;
	step->end_ns = 0;
	step->bytes = 0;
	return 0;
}

static void end_step(struct vf_plan *plan, uint32_t index, uint64_t now_ns)
{
	assert(index < plan->step_count && plan->run.state[index] == VF_STEP_RUNNING);
	plan->steps[index].end_ns = now_ns;
	run_stop(&plan->run, index);
}

void vf_plan_done(struct vf_plan *plan, uint32_t index, uint64_t bytes, uint64_t now_ns)
{
	end_step(plan, index, now_ns);
	plan->steps[index].bytes = bytes;
	vf_run_finish(plan, &plan->run, index);
}

void vf_plan_fail(struct vf_plan *plan, uint32_t index, bool go_on, uint64_t now_ns)
{
	end_step(plan, index, now_ns);
	if (go_on)
		vf_run_finish(plan, &plan->run, index);
	else
		plan->failed = true;
	plan->run.state[index] = VF_STEP_FAILED;
}

size_t vf_plan_running(const struct vf_plan *plan)
{
	return plan->run.running_count;
}

bool vf_plan_all_done(const struct vf_plan *plan)
{
	return plan->sealed && !plan->failed && plan->run.finished == plan->step_count;
}

bool vf_plan_classes_done(const struct vf_plan *plan, uint64_t classes)
{
	for (uint32_t i = 0; i < plan->step_count; i++) {
		if (!(classes & step_bit(&plan->steps[i])))
			continue;
		if (plan->failed || plan->run.state[i] == VF_STEP_WAITING ||
		    plan->run.state[i] == VF_STEP_RUNNING)
			return false;
	}
	return true;
}

bool vf_class_before_restart(enum vferry_step_class step_class)
{
	return VFERRY_PHASE_OF(step_class) == VFERRY_PHASE_LOAD &&
	       (vf_class_bit(step_class) & (RESTARTABLE | SURVIVES_RESTART));
}

static bool is_restartable(const struct vf_plan *plan, const struct step *step, uint32_t device)
{
	return plan->phase == VFERRY_PHASE_LOAD && step->device == device &&
	       (step_bit(step) & RESTARTABLE);
}

/* Has anything been built on this step already? */
static bool was_built_on(const struct vf_plan *plan, const struct step *step, uint32_t device)
{
	for (uint32_t i = 0; i < step->open_count; i++) {
		const struct gate *gate = &plan->gates[plan->gate_refs[step->opens + i]];

		for (uint32_t t = 0; t < gate->then_count; t++) {
			uint32_t index = plan->members[gate->thens + t];
			const struct step *then = &plan->steps[index];

			if (plan->run.state[index] != VF_STEP_WAITING &&
			    !is_restartable(plan, then, device) &&
			    !(step_bit(then) & SURVIVES_RESTART))
				return true;
		}
	}
	return false;
}

int vf_plan_restart_device(struct vf_plan *plan, const char *name, struct vferry_error *err)
{
	uint32_t device = NO_DEVICE;
	int count = 0;

	for (uint32_t i = 0; i < plan->step_count && device == NO_DEVICE; i++) {
		if (plan->steps[i].device != NO_DEVICE && !strcmp(plan->steps[i].device_name, name))
			device = plan->steps[i].device;
	}
	if (device == NO_DEVICE)
		return vferry_error_set(err, -ENOENT, "order-no-device", name,
					"No step belongs to device %s.", name);
	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct step *step = &plan->steps[i];
		bool again = is_restartable(plan, step, device);

		if (again && plan->run.state[i] == VF_STEP_RUNNING)
			return -EBUSY;
		if (plan->failed || (again && was_built_on(plan, step, device)) ||
		    (!again && step->device == device && !(step_bit(step) & SURVIVES_RESTART) &&
		     plan->run.state[i] != VF_STEP_WAITING))
			return vferry_error_set(err, -ENOTRECOVERABLE, "order-restart-late", name,
						"Device %s began anew after steps behind its first "
						"state had started.", name);
	}
	for (uint32_t i = 0; i < plan->step_count; i++) {
		struct step *step = &plan->steps[i];

		if (!is_restartable(plan, step, device))
			continue;
		if (plan->run.state[i] == VF_STEP_DONE)
			run_reopen(plan, &plan->run, i);
		step->has_input = !step->in.needs_input;
		count++;
	}
	return count;
}

void vf_plan_get(const struct vf_plan *plan, uint32_t index, struct vf_plan_view *ret_view)
{
	const struct step *step = &plan->steps[index];

	assert(index < plan->step_count);
	*ret_view = (struct vf_plan_view) {
		.step = step->in,
		.state = plan->run.state ? (enum vf_step_state) plan->run.state[index] :
					   VF_STEP_WAITING,
		.has_input = step->has_input,
		.runs = step->runs,
		.start_ns = step->start_ns,
		.end_ns = step->end_ns,
		.thread = step->thread,
		.bytes = step->bytes,
	};
	ret_view->step.component_name = step->component_name;
	ret_view->step.name = step->name;
	ret_view->step.device = step->device_name[0] ? step->device_name : NULL;
	vf_plan_full_name(plan, index, ret_view->full_name, sizeof(ret_view->full_name));
}

/* The first step that keeps @gate shut, and how many more do. */
static uint32_t gate_waits_for(const struct vf_plan *plan, const struct gate *gate)
{
	for (uint32_t i = 0; i < gate->first_count; i++) {
		uint32_t first = plan->members[gate->firsts + i];

		if (plan->run.state[first] == VF_STEP_WAITING ||
		    plan->run.state[first] == VF_STEP_RUNNING)
			return first;
	}
	return gate->first_count ? plan->members[gate->firsts] : 0;
}

void vf_plan_why_waiting(const struct vf_plan *plan, uint32_t index, char *to, size_t size)
{
	const struct step *step = &plan->steps[index];
	const struct vferry_order_rule *rule;
	char name[VF_PLAN_STEP_NAME_BYTES], more[32] = "";
	uint32_t other;

	if (!plan->sealed) {
		(void) snprintf(to, size, "the plan is not sealed");
		return;
	}
	if (plan->run.state[index] != VF_STEP_WAITING) {
		static const char *const words[] = {
			[VF_STEP_RUNNING] = "it runs",
			[VF_STEP_DONE] = "it is done",
			[VF_STEP_FAILED] = "it failed",
		};

		(void) snprintf(to, size, "%s", words[plan->run.state[index]]);
		return;
	}
	for (uint32_t i = 0; i < step->wait_count; i++) {
		uint32_t g = plan->gate_refs[step->waits + i];
		const struct gate *gate = &plan->gates[g];

		if (!plan->run.gate_left[g])
			continue;
		vf_plan_full_name(plan, gate_waits_for(plan, gate), name, sizeof(name));
		if (plan->run.gate_left[g] > 1)
			(void) snprintf(more, sizeof(more), " and %u more",
					plan->run.gate_left[g] - 1);
		if (gate->rule)
			(void) snprintf(to, size, "waits for %s%s (rule %s: %s)", name, more,
					gate->rule->id, gate->rule->because);
		else
			(void) snprintf(to, size, "waits for %s (data dependency from the source)",
					name);
		return;
	}
	if (!step->has_input) {
		(void) snprintf(to, size, "waits for its data from the source");
		return;
	}
	if (!(plan->allowed & step_bit(step))) {
		(void) snprintf(to, size, "steps of class %s may not start yet",
				vferry_step_class_name((int) step->in.step_class));
		return;
	}
	rule = vf_run_excluded(plan, &plan->run, index, &other);
	if (rule) {
		vf_plan_full_name(plan, other, name, sizeof(name));
		(void) snprintf(to, size, "may not run beside %s (rule %s: %s)", name, rule->id,
				rule->because);
		return;
	}
	(void) snprintf(to, size, "%s",
			plan->failed ? "another step failed" : "ready, no thread took it");
}

static uint64_t step_ns(const uint64_t *ns, uint32_t step)
{
	return ns[step] == VF_NS_UNKNOWN ? 0 : ns[step];
}

/* Starts what can be started; steps that take no time are done at once. */
static void simulate_start(const struct vf_plan *plan, struct run *run, const uint64_t *ns,
			   uint64_t now_ns, uint64_t *end_ns, unsigned threads)
{
	for (bool more = true; more; ) {
		more = false;
		for (uint32_t k = 0; k < plan->step_count; k++) {
			uint32_t i = plan->rank[k];

			if (threads && run->running_count >= threads)
				return;
			if (run->state[i] != VF_STEP_WAITING || run->step_left[i] ||
			    vf_run_excluded(plan, run, i, NULL))
				continue;
			if (step_ns(ns, i)) {
				run_start(run, i);
				if (vf_add_u64(now_ns, step_ns(ns, i), &end_ns[i]))
					end_ns[i] = UINT64_MAX;
			} else {
				vf_run_finish(plan, run, i);
				more = true;
			}
		}
	}
}

int vf_plan_makespan(const struct vf_plan *plan, const uint64_t *ns, uint64_t classes,
		     unsigned threads, uint64_t *ret_ns)
{
	uint64_t now_ns = 0, *end_ns;
	struct run run;
	int r;

	if (!plan->sealed)
		return -EINVAL;
	end_ns = calloc(plan->step_count + 1, sizeof(*end_ns));
	if (!end_ns)
		return -ENOMEM;
	r = vf_run_init(plan, &run);
	if (r < 0) {
		free(end_ns);
		return r;
	}
	for (uint32_t i = 0; i < plan->step_count; i++) {
		if (!(classes & step_bit(&plan->steps[i])) ||
		    plan->run.state[i] == VF_STEP_DONE || plan->run.state[i] == VF_STEP_FAILED)
			vf_run_finish(plan, &run, i);
	}
	for (;;) {
		simulate_start(plan, &run, ns, now_ns, end_ns, threads);
		if (!run.running_count)
			break;
		now_ns = UINT64_MAX;
		for (size_t k = 0; k < run.running_count; k++)
			now_ns = vf_min_u64(now_ns, end_ns[run.running[k]]);
		for (size_t k = run.running_count; k-- > 0; ) {
			uint32_t i = run.running[k];

			if (end_ns[i] <= now_ns) {
				run_stop(&run, i);
				vf_run_finish(plan, &run, i);
			}
		}
	}
	assert(run.finished == plan->step_count);
	vf_run_free(&run);
	free(end_ns);
	*ret_ns = now_ns;
	return 0;
}
