/* SPDX-License-Identifier: MIT */
/* test_converge.c - the downtime model, and what is done at the end of a round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "engine/converge.h"

#define MS 1000000ull
#define KNOWN(time_ns) { .ns = (time_ns), .known = true }

static struct vf_round round_of(uint64_t dirty_mib, uint64_t fixed_ms)
{
	return (struct vf_round) {
		.number = 1, .sent_bytes = dirty_mib * VF_MIB, .ns = 1000 * MS,
		.left = {
			.rate = 1000 * VF_MIB,
			.ram_bytes = dirty_mib * VF_MIB,
			.save = KNOWN(fixed_ms * MS), .load = KNOWN(0), .round_trip = KNOWN(0),
		},
	};
}

static void sum_of_terms(void **state)
{
	struct vf_downtime_input in = {
		.rate = 100 * VF_MIB, .ram_bytes = 10 * VF_MIB, .device_bytes = 20 * VF_MIB,
		.save = KNOWN(5 * MS), .load = KNOWN(7 * MS), .round_trip = KNOWN(1 * MS),
	};
	struct vf_downtime d;

	(void) state;
	vf_downtime_estimate(&in, &d);
	assert_int_equal(d.term[VF_TERM_RAM].ns, 100 * MS);
	assert_int_equal(d.term[VF_TERM_DEVICES].ns, 200 * MS);
	assert_int_equal(d.expected_ns, 313 * MS);
	assert_int_equal(d.fixed_ns, 213 * MS);
	assert_int_equal(d.unknown, 0);

	/* What is not known is said, and counts as nothing. */
	in.load.known = false;
	in.load.ns = 0;
	in.devices_unknown = 1;
	vf_downtime_estimate(&in, &d);
	assert_int_equal(d.expected_ns, 306 * MS);
	assert_int_equal(d.unknown, 2);
	assert_false(d.term[VF_TERM_DEVICES].known);
	assert_false(d.term[VF_TERM_LOAD].known);

	in.rate = 0;
	vf_downtime_estimate(&in, &d);
	assert_false(d.term[VF_TERM_RAM].known);
	assert_int_equal(d.unknown, 3);

	/* Sizes from a device are not trusted to be sane. */
	in.rate = 1;
	in.ram_bytes = in.device_bytes = UINT64_MAX;
	in.save.ns = UINT64_MAX;
	vf_downtime_estimate(&in, &d);
	assert_true(d.expected_ns == UINT64_MAX);
	assert_true(d.fixed_ns <= d.expected_ns);
}

/* What nobody knows to be clean goes in the pause, and no round makes that less. */
static void blind_memory_is_fixed(void **state)
{
	struct vf_downtime_input in = {
		.rate = 100 * VF_MIB, .ram_bytes = 10 * VF_MIB, .blind_bytes = 50 * VF_MIB,
		.save = KNOWN(5 * MS), .load = KNOWN(0), .round_trip = KNOWN(0),
	};
	struct vf_converge c;
	struct vf_verdict v;
	struct vf_downtime d;
	struct vf_round round = { .number = 1, .ns = 1000 * MS };

	(void) state;
	vf_downtime_estimate(&in, &d);
	assert_int_equal(d.term[VF_TERM_RAM].ns, 500 * MS);
	assert_int_equal(d.expected_ns, 505 * MS);
	assert_int_equal(d.fixed_ns, 505 * MS);
	assert_true(d.blind);
	/* What is dirty is part of it, not more. */
	in.ram_bytes = 60 * VF_MIB;
	vf_downtime_estimate(&in, &d);
	assert_int_equal(d.expected_ns, 605 * MS);
	assert_int_equal(d.fixed_ns, 505 * MS);
	in.ram_bytes = 0;
	round.left = in;
	vf_converge_init(&c, vf_policy_find("give-up"), 300 * MS);
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_GIVE_UP);
	assert_int_equal(v.never, VF_NEVER_FIXED);
	vf_converge_init(&c, vf_policy_find("give-up"), 600 * MS);
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_SWITCH);
}

static struct vf_plan *small_plan(uint32_t *step, size_t count, const enum vferry_step_class *of,
				  const uint64_t *declared)
{
	size_t rule_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	struct vf_plan *plan;

	assert_int_equal(vf_plan_new((enum vferry_phase) VFERRY_PHASE_OF(of[0]), rules, rule_count,
				     &plan), 0);
	for (size_t i = 0; i < count; i++)
		step[i] = (uint32_t) vf_plan_add(plan, &(struct vf_plan_step) {
			.component = (uint32_t) i, .step_class = of[i], .component_name = "c",
			.name = vferry_step_class_name((int) of[i]), .declared_ns = declared[i],
		}, NULL);
	assert_int_equal(vf_plan_seal(plan, NULL), 0);
	return plan;
}

static void time_of_a_plan(void **state)
{
	static const enum vferry_step_class of[] = {
		VFERRY_LOAD_RAM, VFERRY_LOAD_GIC_REDIST, VFERRY_LOAD_OTHER,
	};
	static const uint64_t declared[] = { 900 * MS, 4 * MS, VF_NS_UNKNOWN };
	uint64_t measured[] = { VF_NS_UNKNOWN, 6 * MS, VF_NS_UNKNOWN };
	struct vf_downtime_step after;
	struct vf_time_known time;
	uint32_t step[3], unknown;
	struct vf_plan *plan = small_plan(step, 3, of, declared);

	(void) state;
	/* RAM's time is its bytes; what nobody knows is counted and said. */
	assert_int_equal(vf_downtime_plan(plan, NULL, UINT64_MAX, 0, &time, &unknown), 0);
	assert_int_equal(time.ns, 4 * MS);
	assert_int_equal(unknown, 1);
	assert_false(time.known);
	/* Measured counts before declared. */
	assert_int_equal(vf_downtime_plan(plan, measured, UINT64_MAX, 0, &time, NULL), 0);
	assert_int_equal(time.ns, 6 * MS);
	measured[2] = 11 * MS;
	assert_int_equal(vf_downtime_plan(plan, measured, UINT64_MAX, 0, &time, &unknown), 0);
	assert_int_equal(time.ns, 11 * MS);
	assert_true(time.known);
	assert_int_equal(unknown, 0);

	assert_int_equal(vf_plan_start(plan, step[2], 0, 100), 0);
	vf_plan_done(plan, step[2], 0, 350);
	vf_downtime_step(plan, step[2], measured, &after);
	assert_true(after.predicted.known && after.actual.known);
	assert_int_equal(after.predicted.ns, 11 * MS);
	assert_int_equal(after.actual.ns, 250);
	vf_downtime_step(plan, step[1], NULL, &after);
	assert_int_equal(after.predicted.ns, 4 * MS);
	assert_false(after.actual.known);
	vf_downtime_step(plan, step[2], NULL, &after);
	assert_false(after.predicted.known);
	(void) vf_plan_free(plan);
}

static struct vf_converge with_policy(const char *name, uint64_t limit_ms)
{
	struct vf_converge c;

	assert_non_null(vf_policy_find(name));
	vf_converge_init(&c, vf_policy_find(name), limit_ms * MS);
	return c;
}

static void switches_when_it_fits(void **state)
{
	struct vf_converge c = with_policy("continue", 100);
	struct vf_round round = round_of(200, 10);
	struct vf_verdict v;

	(void) state;
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_AGAIN);
	assert_int_equal(v.downtime.expected_ns, 210 * MS);
	assert_int_equal(v.dirty_rate, 200 * VF_MIB);
	round = round_of(90, 10);
	round.ns = 90 * MS;
	vf_converge_round(&c, &round, false, &v);
	assert_int_equal(v.kind, VF_VERDICT_AGAIN);
	assert_true(v.waits_for_ack);
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_SWITCH);
	assert_false(v.waits_for_ack);
	/* Without a rate nothing can be said about what is left. */
	round.left.rate = 0;
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_AGAIN);
}

/* A limit of 300 ms is no reason for a pause of 300 ms. */
static void a_limit_is_no_goal(void **state)
{
	struct vf_converge c = with_policy("continue", 300);
	struct vf_round round = round_of(200, 10);
	struct vf_verdict v;

	(void) state;
	/* 200 MiB in 1000 ms leave 40 MiB in the 200 ms that they take, and those 8 in 40. */
	for (uint64_t mib = 200, ns = 1000 * MS; mib >= 8; ns = mib * MS, mib /= 5) {
		round = round_of(mib, 10);
		round.ns = ns;
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.kind, VF_VERDICT_AGAIN);
		assert_false(v.waits_for_ack);
		assert_int_equal(v.never, VF_NEVER_NOT_SAID);
	}
	/* What takes no time is sent in the pause. */
	round = round_of(1, 10);
	round.ns = 8 * MS;
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_SWITCH);

	/* A round that would leave more than half is not made. */
	c = with_policy("continue", 300);
	round = round_of(200, 10);
	round.ns = 399 * MS;
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_SWITCH);

	/* Nor one that makes nothing shorter, because it all goes in the pause anyhow. */
	c = with_policy("continue", 300);
	round = round_of(100, 10);
	round.left.blind_bytes = 200 * VF_MIB;
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_SWITCH);

	/* Nor once more if it was of no use: what fits the second time is taken, and nothing given up. */
	c = with_policy("give-up", 300);
	for (uint32_t i = 0; i < 3; i++) {
		round = round_of(i == 1 ? 400 : 200, 10);
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.kind, i < 2 ? VF_VERDICT_AGAIN : VF_VERDICT_SWITCH);
		assert_int_equal(v.never, VF_NEVER_NOT_SAID);
	}

	/* A guest that always writes more than before does not keep it going. */
	c = with_policy("continue", 300);
	for (uint32_t i = 0; i < VF_CONVERGE_EXTRA; i++) {
		round = round_of(200, 10);
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.kind, VF_VERDICT_AGAIN);
	}
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_SWITCH);
}

static void throttles_step_by_step(void **state)
{
	struct vf_converge c = with_policy("throttle", 100);
	struct vf_round round = round_of(500, 0);
	uint32_t last = 0, steps = 0;
	struct vf_verdict v;

	(void) state;
	for (int i = 0; i < 60; i++) {
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.kind, VF_VERDICT_AGAIN);
		assert_true(v.throttle >= last && v.throttle <= 99);
		if (!last && v.throttle)
			assert_int_equal(v.throttle, 20);
		steps += v.throttle != last;
		last = v.throttle;
	}
	assert_int_equal(last, 99);
	assert_int_equal(steps, 9);

	/* Rounds that get smaller are left alone. */
	c = with_policy("throttle", 100);
	for (uint64_t mib = 4000; mib > 200; mib /= 2) {
		round = round_of(mib, 0);
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.throttle, 0);
		assert_int_equal(v.never, VF_NEVER_NOT_SAID);
	}

	/* A device's state does not get smaller when the guest is slowed down. */
	c = with_policy("throttle", 100);
	for (int i = 0; i < 10; i++) {
		round = round_of(10, 200);
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.throttle, 0);
		assert_int_equal(v.never, VF_NEVER_FIXED);
	}
}

static void gives_up_with_the_reason(void **state)
{
	struct vf_converge c = with_policy("give-up", 100);
	struct vf_round round = round_of(500, 0);
	struct vf_verdict v;
	int rounds = 0;

	(void) state;
	do {
		vf_converge_round(&c, &round, true, &v);
		rounds++;
	} while (v.kind == VF_VERDICT_AGAIN);
	assert_int_equal(v.kind, VF_VERDICT_GIVE_UP);
	assert_int_equal(v.never, VF_NEVER_DIRTY_RATE);
	assert_int_equal(rounds, 3);

	c = with_policy("give-up", 100);
	round = round_of(500, 101);
	vf_converge_round(&c, &round, true, &v);
	assert_int_equal(v.kind, VF_VERDICT_GIVE_UP);
	assert_int_equal(v.never, VF_NEVER_FIXED);

	/* Going on: said, but nothing is done about it. */
	c = with_policy("continue", 100);
	for (int i = 0; i < 20; i++) {
		vf_converge_round(&c, &round, true, &v);
		assert_int_equal(v.kind, VF_VERDICT_AGAIN);
		assert_int_equal(v.never, VF_NEVER_FIXED);
		assert_int_equal(v.throttle, 0);
	}
}

static void names(void **state)
{
	size_t count;
	const struct vf_policy *policies = vf_policies(&count);

	(void) state;
	assert_int_equal(count, 3);
	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(vf_policy_find(policies[i].name), &policies[i]);
		assert_true(strlen(policies[i].summary) > 10);
	}
	assert_null(vf_policy_find("guess"));
	assert_string_equal(vf_downtime_term_name(VF_TERM_RAM), "ram");
	assert_null(vf_downtime_term_name(VF_TERM__COUNT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sum_of_terms),
		cmocka_unit_test(blind_memory_is_fixed),
		cmocka_unit_test(time_of_a_plan),
		cmocka_unit_test(switches_when_it_fits),
		cmocka_unit_test(a_limit_is_no_goal),
		cmocka_unit_test(throttles_step_by_step),
		cmocka_unit_test(gives_up_with_the_reason),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
