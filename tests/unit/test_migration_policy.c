/* SPDX-License-Identifier: MIT */
/*
 * A guest that dirties memory faster than it can be sent, a link that is limited, a pause that would be
 * too long: what each policy makes of it, and that the numbers are said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "migrations.h"

#define MB 1000000ull
#define MS_NS 1000000ull
/* 16 MiB, all of it again every 80 ms; to send it takes ten times as long. A busy host slows the guest
 * down, but not that much. (To be slowed down on purpose, four times is enough, and takes less time.) */
#define TOO_FAST "working-set=16M rate=200 job-delay-us=300"

static void dirtying_up(struct move *m, enum vferry_policy policy)
{
	m->options.guest_args = TOO_FAST;
	m->parameters.bandwidth = policy == VFERRY_POLICY_THROTTLE ? 50 * MB : 20 * MB;
	m->parameters.max_downtime_ns = 60 * MS_NS;
	m->parameters.pause_budget_ns = 3000 * MS_NS;
	m->parameters.policy = policy;
	move_up(m);
	WAIT_FOR(verdict_of(&m->from).dirtied_pages > 8192, 10000);
}

static void throttled_until_it_fits(void **state)
{
	struct move m = MOVE_INIT;
	struct machine_info info;
	unsigned most = 0;
	struct vferry_status s;

	(void) state;
	dirtying_up(&m, VFERRY_POLICY_THROTTLE);
	move_begin(&m);
	do {
		sleep_ms(2);
		s = status_of(&m.from);
		most = s.throttle_percent > most ? s.throttle_percent : most;
	} while (s.outcome == VFERRY_OUTCOME_PENDING);
	expect_done(&m);
	assert_true(most > 0);
	assert_true(status_of(&m.from).downtime_known);
	machine_get_info(m.to.machine, &info);
	assert_int_equal(info.throttle_percent, 0);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void expect_source_as_before(struct move *m)
{
	struct machine_info info;

	assert_true(machine_is_running(m->from.machine));
	machine_get_info(m->from.machine, &info);
	assert_int_equal(info.throttle_percent, 0);
	wait_jobs(&m->from, 16);
	expect_connected(m, &m->from, MOVE_VECTORS);
	expect_clean(m, &m->from, MOVE_VECTORS);
}

static void goes_on_until_time_is_up(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status s;

	(void) state;
	m.parameters.timeout_ns = 4000 * MS_NS;
	dirtying_up(&m, VFERRY_POLICY_CONTINUE);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	s = status_of(&m.from);
	assert_string_equal(s.error.id, "timeout");
	assert_true(s.total_ns >= 4000 * MS_NS);
	assert_true(s.pass > 2);
	assert_true(s.forecast[0] != '\0');
	assert_int_equal(verdict_of(&m.from).paused_ns, 0);
	expect_source_as_before(&m);
	move_down(&m);
}

static void gives_up_early(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status s;

	(void) state;
	dirtying_up(&m, VFERRY_POLICY_GIVE_UP);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	s = status_of(&m.from);
	assert_string_equal(s.error.id, "will-not-fit");
	assert_non_null(strstr(s.error.message, "60 ms"));
	assert_non_null(strstr(s.forecast, "MiB/s"));
	assert_true(s.expected_downtime_known);
	assert_true(s.expected_downtime_ns > 60 * MS_NS);
	assert_int_equal(verdict_of(&m.from).paused_ns, 0);
	expect_source_as_before(&m);
	move_down(&m);
}

/* The device's own share cannot be shortened by sending memory again. */
static void device_alone_takes_too_long(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status s;

	(void) state;
	m.device.precopy = false;
	m.device.device.state_bytes = 16 << 20;
	m.parameters.bandwidth = 50 * MB;
	m.parameters.max_downtime_ns = 20 * MS_NS;
	m.parameters.policy = VFERRY_POLICY_GIVE_UP;
	move_up(&m);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	s = status_of(&m.from);
	assert_string_equal(s.error.id, "will-not-fit");
	assert_non_null(strstr(s.forecast, "device state"));
	assert_true(s.expected_downtime_ns > 300 * MS_NS);
	assert_int_equal(verdict_of(&m.from).paused_ns, 0);
	expect_source_as_before(&m);
	move_down(&m);
}

/* Of a transition nothing is known until it was made: that another one is slow holds nothing up. */
static void slow_start_of_precopy_says_nothing(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.source_script[0] = "on RUNNING->PRE_COPY delay 1500ms\n";
	m.parameters.max_downtime_ns = 1000 * MS_NS;
	m.parameters.policy = VFERRY_POLICY_GIVE_UP;
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	assert_true(status_of(&m.from).expected_downtime_unknown_terms > 0);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

/* What it took once is what it is expected to take, in the next migration of this machine. */
static void slow_stop_is_remembered(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status s;

	(void) state;
	m.source_script[0] = "on PRE_COPY_P2P->STOP_COPY delay 1500ms\n";
	m.target_script[0] = "on RESUMING->STOP fail EINVAL times 1\n";
	m.parameters.max_downtime_ns = 1000 * MS_NS;
	m.parameters.policy = VFERRY_POLICY_GIVE_UP;
	move_up(&m);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	assert_string_equal(status_of(&m.from).error.id, "device-transition");
	m.from.session = vferry_session_free(m.from.session);
	test_machine_free(&m.to);
	target_up(&m);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	s = status_of(&m.from);
	assert_string_equal(s.error.id, "will-not-fit");
	assert_non_null(strstr(s.forecast, "device state and steps alone"));
	assert_true(s.expected_downtime_ns >= 1500 * MS_NS);
	expect_clean(&m, &m.from, 2 * MOVE_VECTORS);
	move_down(&m);
}

static void bandwidth_is_kept(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status s;
	uint64_t bytes, ns, rate;

	(void) state;
	m.options.memory_bytes = 64 << 20;
	m.options.guest_args = MOVE_ARGS "fill=40M";
	m.parameters.bandwidth = 40 * MB;
	m.parameters.channels = 2;
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	s = status_of(&m.from);
	bytes = s.ram_sent_bytes + s.device_sent_bytes + s.section_bytes;
	ns = s.total_ns - s.setup_ns;
	rate = (uint64_t) ((double) bytes * 1e9 / (double) ns);
	assert_true(bytes > 40 << 20);
	if (rate > 44 * MB)
		fail_msg("%llu bytes a second", (unsigned long long) rate);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void pause_budget_is_kept(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status s;

	(void) state;
	m.target_script[0] = "on RESUMING->STOP delay 1500ms\n";
	m.parameters.pause_budget_ns = 250 * MS_NS;
	move_up(&m);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	s = status_of(&m.from);
	assert_string_equal(s.error.id, "pause-budget");
	assert_false(s.device_lost);
	assert_true(verdict_of(&m.from).paused_ns < 1200 * MS_NS);
	assert_true(verdict_of(&m.from).paused_ns >= 200 * MS_NS);
	expect_source_as_before(&m);
	m.from.session = vferry_session_free(m.from.session);
	test_machine_free(&m.to);
	/* With time enough it succeeds, and the time is said. */
	m.parameters.pause_budget_ns = 10000 * MS_NS;
	target_up(&m);
	move_begin(&m);
	expect_done(&m);
	s = status_of(&m.from);
	assert_true(s.downtime_known && s.downtime_ns >= 1500 * MS_NS);
	expect_clean(&m, &m.to, 2 * MOVE_VECTORS);
	move_down(&m);
}

/* The pause as it was expected and as it was, and every step in it. */
static void prediction_beside_measurement(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_step_report *steps;
	struct vferry_status s;
	unsigned here = 0, there = 0;
	size_t count;
	bool slow_seen = false;

	(void) state;
	m.source_script[0] = "on PRE_COPY_P2P->STOP_COPY delay 70ms\n";
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	s = status_of(&m.from);
	assert_true(s.downtime_known);
	assert_true(s.expected_downtime_known);
	assert_true(s.downtime_ns >= 70 * MS_NS);
	assert_int_equal(vferry_session_report(m.from.session, &steps, &count), 0);
	for (size_t i = 0; i < count; i++) {
		const struct vferry_step_report *step = &steps[i];

		if (!step->in_pause)
			continue;
		assert_true(step->done);
		assert_true(step->end_ns >= step->start_ns);
		assert_true(step->end_ns <= s.downtime_ns + 5 * MS_NS);
		here += !step->remote;
		there += step->remote;
		slow_seen |= !strcmp(step->component, "vfio/00:01.0") && !step->remote &&
			     step->end_ns - step->start_ns >= 70 * MS_NS;
	}
	free(steps);
	assert_true(here > 5);
	assert_true(there > 5);
	assert_true(slow_seen);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(throttled_until_it_fits),
		cmocka_unit_test(goes_on_until_time_is_up),
		cmocka_unit_test(gives_up_early),
		cmocka_unit_test(device_alone_takes_too_long),
		cmocka_unit_test(slow_start_of_precopy_says_nothing),
		cmocka_unit_test(slow_stop_is_remembered),
		cmocka_unit_test(bandwidth_is_kept),
		cmocka_unit_test(pause_budget_is_kept),
		cmocka_unit_test(prediction_beside_measurement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
