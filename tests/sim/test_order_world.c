/* SPDX-License-Identifier: MIT */
/*
 * test_order_world.c - the table of order rules against the world (order_world.h).
 *
 * With all rules, no legal schedule of any machine goes wrong. With any one rule taken out, some
 * schedule does; a rule for which that cannot be shown has no place in the table. Schedules are
 * random and seeded: steps start and end in any order that the plan allows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "engine/order.h"
#include "order_world.h"
#include "rng.h"

#define SEEDS_GOOD 300
#define SEEDS_BAD 3000
#define MAX_RULES 128

static struct vf_plan *make_plan(const struct world_machine *machine, enum vferry_phase phase,
				 const struct vferry_order_rule *rules, size_t rule_count,
				 struct world_step *steps)
{
	size_t n = world_steps(machine, phase, steps, WORLD_MAX_STEPS);
	struct vferry_error err = VFERRY_ERROR_INIT;
	const char *components[WORLD_MAX_STEPS];
	uint32_t component_count = 0;
	struct vf_plan *plan;

	assert_int_equal(vf_plan_new(phase, rules, rule_count, &plan), 0);
	for (size_t i = 0; i < n; i++) {
		uint32_t c = 0;

		while (c < component_count && strcmp(components[c], steps[i].component))
			c++;
		if (c == component_count)
			components[component_count++] = steps[i].component;
		assert_int_equal(vf_plan_add(plan, &(struct vf_plan_step) {
			.component = c, .step_class = steps[i].step_class, .name = steps[i].name,
			.component_name = steps[i].component, .device = steps[i].device,
			.declared_ns = VF_NS_UNKNOWN,
		}, &err), (int) i);
	}
	if (vf_plan_seal(plan, &err) < 0)
		fail_msg("%s: %s", machine->name, err.message);
	return plan;
}

/* One schedule. Return: what went wrong, or NULL. */
static const char *run_once(const struct world_machine *machine, enum vferry_phase phase,
			    const struct vferry_order_rule *rules, size_t rule_count, uint64_t seed,
			    bool alone)
{
	struct world_step steps[WORLD_MAX_STEPS];
	uint32_t ready[WORLD_MAX_STEPS], running[WORLD_MAX_STEPS];
	struct vf_plan *plan = make_plan(machine, phase, rules, rule_count, steps);
	size_t running_count = 0;
	struct rng rng = { seed };
	struct world world;

	world_init(&world, machine, phase);
	while (!vf_plan_all_done(plan)) {
		size_t n = vf_plan_ready(plan, ready, VF_ARRAY_COUNT(ready));

		assert_true(n || running_count);
		if (n && (!running_count || (!alone && rng_percent(&rng, 60)))) {
			uint32_t step = ready[rng_below(&rng, n)];

			assert_int_equal(vf_plan_start(plan, step, 0, 0), 0);
			world_begin(&world, &steps[step]);
			running[running_count++] = step;
		} else {
			size_t k = rng_below(&rng, running_count);
			uint32_t step = running[k];

			running[k] = running[--running_count];
			vf_plan_done(plan, step, 0, 0);
			world_end(&world, &steps[step]);
		}
	}
	world_finish(&world);
	(void) vf_plan_free(plan);
	return world.failure;
}

static void all_rules_hold(void **state)
{
	size_t rule_count, machine_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	const struct world_machine *machines = world_machines(&machine_count);

	(void) state;
	for (size_t m = 0; m < machine_count; m++) {
		for (int phase = 0; phase < VFERRY_PHASE__COUNT; phase++) {
			for (uint64_t seed = 0; seed < SEEDS_GOOD; seed++) {
				const char *failure = run_once(&machines[m],
							       (enum vferry_phase) phase, rules,
							       rule_count, seed, seed % 3 == 0);

				if (failure)
					fail_msg("%s, phase %d, seed %llu: %s", machines[m].name,
						 phase, (unsigned long long) seed, failure);
			}
		}
	}
}

/* Each rule is needed: taken out, something goes wrong on some machine. */
static void every_rule_is_needed(void **state)
{
	struct vferry_order_rule less[MAX_RULES];
	size_t rule_count, machine_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	const struct world_machine *machines = world_machines(&machine_count);
	unsigned needless = 0;

	(void) state;
	assert_in_range(rule_count, 1, MAX_RULES);
	for (size_t r = 0; r < rule_count; r++) {
		const char *failure = NULL;

		memcpy(less, rules, r * sizeof(*less));
		memcpy(less + r, rules + r + 1, (rule_count - r - 1) * sizeof(*less));
		for (uint64_t seed = 0; seed < SEEDS_BAD && !failure; seed++) {
			for (size_t m = 0; m < machine_count && !failure; m++)
				failure = run_once(&machines[m], rules[r].phase, less,
						   rule_count - 1, seed, false);
		}
		if (failure) {
			print_message("without %-40s %s\n", rules[r].id, failure);
		} else {
			print_message("without %-40s NOTHING GOES WRONG\n", rules[r].id);
			needless++;
		}
	}
	assert_int_equal(needless, 0);
}

/* Each rule says what it is, why, and who says so; ids are unique; classes exist. */
static void rules_are_complete(void **state)
{
	size_t count;
	const struct vferry_order_rule *rules = vferry_order_rules(&count);

	(void) state;
	for (size_t i = 0; i < count; i++) {
		assert_true(rules[i].id[0] && rules[i].because[0] && rules[i].source[0]);
		assert_true(rules[i].first && rules[i].then);
		assert_true(rules[i].kind == VFERRY_RULE_BEFORE || !rules[i].required);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(rules[i].id, rules[k].id);
		for (int n = 0; n < 64; n++) {
			if ((rules[i].first | rules[i].then) >> n & 1)
				assert_non_null(vferry_step_class_name(
					(int) rules[i].phase * 64 + n));
		}
	}
}

/* A required first step that is missing is refused, and the rule named. */
static void missing_steps_are_refused(void **state)
{
	size_t count;
	const struct vferry_order_rule *rules = vferry_order_rules(&count);

	(void) state;
	for (size_t i = 0; i < count; i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_plan *plan;

		if (!rules[i].required)
			continue;
		assert_int_equal(vf_plan_new(rules[i].phase, &rules[i], 1, &plan), 0);
		assert_int_equal(vf_plan_add(plan, &(struct vf_plan_step) {
			.step_class = (enum vferry_step_class)
				((int) rules[i].phase * 64 + __builtin_ctzll(rules[i].then)),
			.component_name = "lonely", .name = "step", .device = "00:04.0",
		}, &err), 0);
		assert_int_equal(vf_plan_seal(plan, &err), -ENOKEY);
		assert_string_equal(err.id, "order-step-missing");
		assert_non_null(strstr(err.message, rules[i].id));
		assert_non_null(strstr(err.message, "lonely:step"));
		(void) vf_plan_free(plan);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_complete),
		cmocka_unit_test(missing_steps_are_refused),
		cmocka_unit_test(all_rules_hold),
		cmocka_unit_test(every_rule_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
