/* SPDX-License-Identifier: MIT */
/*
 * When the switchover may begin, and in which steps devices stop: peers write into each other's BARs
 * through it, and what a device must have loaded before it is waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "migrations.h"

#define STATE_BYTES (1u << 20)

/* ---- peers ---- */

/*
 * The second device stops late, in either half: if the first one stopped before both are in a P2P
 * state, what the second still writes into it would be lost. Jobs are slow, so that some are under
 * way still when that comes.
 */
#define STOPS_LATE "on PRE_COPY->PRE_COPY_P2P delay 60ms\non PRE_COPY_P2P->STOP_COPY delay 60ms\n"

static void peers_up(struct move *m)
{
	m->devices = 2;
	m->options.cpus = 2;
	m->options.peers = true;
	m->options.guest_args = "working-set=4M rate=10 p2p=on job-delay-us=60000";
	m->source_script[1] = STOPS_LATE;
	move_up(m);
	WAIT_FOR(verdict_of(&m->from).peer_writes > 8, 5000);
}

static void peers_write_through_it(void **state)
{
	struct move m = MOVE_INIT;
	uint64_t before;

	(void) state;
	peers_up(&m);
	move_begin(&m);
	expect_done(&m);
	before = verdict_of(&m.to).peer_writes;
	WAIT_FOR(verdict_of(&m.to).peer_writes > before + 8, 5000);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, 2 * MOVE_VECTORS);
	assert_int_equal(m.verdict.lost_peer_writes, 0);
	move_down(&m);
}

static bool loses_a_write(void)
{
	struct move m = MOVE_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	bool lost;

	m.device.p2p_ignored = true;
	peers_up(&m);
	move_begin(&m);
	expect_done(&m);
	assert_int_equal(machine_judge(m.to.machine, 30 * TEST_SECOND_NS, &m.verdict, &err), 0);
	lost = m.verdict.lost_peer_writes > 0;
	assert_int_equal(machine_verdict_clean(&m.verdict, 2 * MOVE_VECTORS), !lost);
	if (lost)
		assert_non_null(strstr(m.verdict.first_fault, "write into the peer was lost"));
	move_down(&m);
	return lost;
}

/*
 * Devices that do not keep the promise of the P2P states: this is what the step is for. On a host that is
 * slow enough no write may happen to fall between the two stops, so there are several tries.
 */
static void without_p2p_writes_are_lost(void **state)
{
	bool lost = false;

	(void) state;
	for (unsigned i = 0; i < 6 && !lost; i++)
		lost = loses_a_write();
	assert_true(lost);
}

static void peers_without_p2p_are_refused(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_status status;

	(void) state;
	m.device.p2p = false;
	peers_up(&m);
	move_begin(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_REFUSED);
	status = status_of(&m.from);
	assert_string_equal(status.error.id, "device-no-p2p");
	assert_non_null(strstr(status.error.object, "00:01.0"));
	assert_int_equal(status.ram_sent_bytes, 0);
	assert_true(machine_is_running(m.from.machine));
	wait_jobs(&m.from, 16);
	expect_clean(&m, &m.from, 0);
	move_down(&m);
}

/* Several devices that cannot reach each other need no P2P states. */
static void strangers_without_p2p(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.devices = 2;
	m.device.p2p = false;
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	wait_jobs(&m.to, 16);
	expect_clean(&m, &m.to, 2 * MOVE_VECTORS);
	move_down(&m);
}

/* ---- initial bytes ---- */

#define SLOW_LOAD "limit data-write 4MiB/s\n"

static uint64_t leave_state(struct move *m, enum vferry_state state)
{
	uint64_t began = now_ms();
	struct vferry_status s;

	do {
		sleep_ms(1);
		s = status_of(&m->from);
		if (s.state == VFERRY_STATE_FAILED)
			fail_msg("%s: %s", s.error.id, s.error.message);
	} while (s.state == state || s.state < VFERRY_STATE_ACTIVE);
	return now_ms() - began;
}

/* Without jobs, little of the device's memory changes: nothing piles up at the slow end. */
static void slow_up(struct move *m)
{
	m->target_script[0] = SLOW_LOAD;
	move_up(m);
	quiesce_jobs(&m->from);
}

static void expect_works(struct move *m)
{
	guest(&m->to, "jobs on");
	wait_jobs(&m->to, 8);
	expect_connected(m, &m->to, MOVE_VECTORS);
	expect_clean(m, &m->to, MOVE_VECTORS);
	move_down(m);
}

static void waits_for_initial_bytes(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	slow_up(&m);
	move_begin(&m);
	/* RAM is done long before. */
	assert_true(leave_state(&m, VFERRY_STATE_ACTIVE) >= 200);
	expect_done(&m);
	assert_true(status_of(&m.from).device_sent_bytes >= STATE_BYTES);
	expect_works(&m);
}

/* Nobody to ask: a device of plain vfio-user. It takes the same state, inside the pause if need be. */
static void nobody_to_wait_for(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.device.extensions = false;
	m.device.p2p = false;
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	wait_jobs(&m.to, 16);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

/* Before the first acknowledgement: all of it is sent and loaded twice, or nearly. */
static void reinit_before_acknowledgement(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.source_script[0] = "reinit at 900KiB\n";
	slow_up(&m);
	move_begin(&m);
	assert_true(leave_state(&m, VFERRY_STATE_ACTIVE) >= 400);
	expect_done(&m);
	assert_true(status_of(&m.from).device_sent_bytes >= (900 << 10) + STATE_BYTES);
	expect_works(&m);
}

/* After it, while the migration is held: what was acknowledged is no longer enough. */
static void reinit_withdraws(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.device.device.state_bytes = 2 * STATE_BYTES;	/* more than goes in one write */
	m.device.device.dirty_rate = 128 << 10;
	m.source_script[0] = "reinit at 2240KiB\n";
	slow_up(&m);
	move_hold(&m);
	assert_true(status_of(&m.from).device_sent_bytes < 2240 << 10);
	WAIT_FOR(status_of(&m.from).device_sent_bytes >= (2240 << 10) + (128 << 10), 5000);
	sleep_ms(50);	/* the device is asked every 20 ms */
	assert_int_equal(vferry_session_continue(m.from.session), 0);
	WAIT_FOR(status_of(&m.from).state != VFERRY_STATE_PRE_SWITCHOVER, 2000);
	assert_true(leave_state(&m, VFERRY_STATE_ACTIVE) >= 100);
	expect_done(&m);
	assert_true(status_of(&m.from).device_sent_bytes >= (2240 << 10) + 2 * STATE_BYTES);
	expect_works(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_write_through_it),
		cmocka_unit_test(without_p2p_writes_are_lost),
		cmocka_unit_test(peers_without_p2p_are_refused),
		cmocka_unit_test(strangers_without_p2p),
		cmocka_unit_test(waits_for_initial_bytes),
		cmocka_unit_test(nobody_to_wait_for),
		cmocka_unit_test(reinit_before_acknowledgement),
		cmocka_unit_test(reinit_withdraws),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
