/* SPDX-License-Identifier: MIT */
/*
 * A migration fails at a device, on either side, at every place where one can fail. The source runs
 * on as it was: guest clean, vectors forwarded, devices RUNNING, nothing logged, nothing leaked; and the
 * next attempt succeeds at once. Where a device lost its state, that is said, and never passed off as
 * whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "migrations.h"
#include "ram/ram.h"
#include "vfio/device_internal.h"

#define DEVICES 2u
/* Of a request, where a device hangs. Transitions may take six times as long. */
#define HANG_TIMEOUT_NS TEST_SECOND_NS
#define SETTLE_MS 1000u

static void expect_as_before(struct move *m)
{
	assert_true(machine_is_running(m->from.machine));
	for (unsigned i = 0; i < m->devices; i++) {
		struct vferry_device *device = machine_device(m->from.machine, i);
		struct vferry_device_info info = device_info(&m->from, i);
		uint32_t state;

		assert_false(info.lost);
		assert_int_equal(vferry_device_get_state(device, &state, NULL), 0);
		assert_int_equal(state, VF_VFIO_STATE_RUNNING);
		assert_false(device->log.on);
	}
	wait_jobs(&m->from, 16);
	expect_connected(m, &m->from, MOVE_VECTORS);
}

static void attempt(struct move *m)
{
	target_up(m);
	move_begin(m);
}

static void end_attempt(struct move *m)
{
	m->from.session = vferry_session_free(m->from.session);
	test_machine_free(&m->to);
}

static void succeed_at_once(struct move *m, uint64_t spurious)
{
	memset(m->target_script, 0, sizeof(m->target_script));
	attempt(m);
	expect_done(m);
	wait_jobs(&m->to, 16);
	expect_connected(m, &m->to, MOVE_VECTORS);
	expect_clean(m, &m->to, spurious);
}

struct drill {
	const char *source, *target;	/* scripts of the first device */
	const char *id;			/* of the error, or of a part of its message */
	bool no_precopy, hangs;
	bool stuck;			/* short stall timeout; and so at each other try */
};

static void fails_whole(const struct drill *drill)
{
	struct move m = MOVE_INIT;
	struct belongings before;
	struct vferry_status status;
	enum vferry_outcome outcome;

	m.devices = DEVICES;
	m.device.precopy = !drill->no_precopy;
	if (drill->hangs) {	/* the device is given up before the whole migration is */
		m.device_timeout_ns = HANG_TIMEOUT_NS;
		m.parameters.pause_budget_ns = 14 * HANG_TIMEOUT_NS;
	}
	if (drill->stuck)
		m.parameters.stall_timeout_ns = 1000000000;
	m.source_script[0] = drill->source;
	m.target_script[0] = drill->target;
	source_up(&m);
	before = belongings();
	attempt(&m);
	outcome = move_wait(&m);
	status = status_of(&m.from);
	if (outcome != VFERRY_OUTCOME_FAILED)
		fail_msg("outcome %d: %s: %s: %s", outcome, status.error.id, status.error.object,
			 status.error.message);
	assert_false(status.device_lost);
	assert_true(status.owner);
	if (!strstr(status.error.id, drill->id))
		fail_msg("error %s: %s: %s, not %s", status.error.id, status.error.object,
			 status.error.message, drill->id);
	assert_non_null(strstr(status.error.object, "00:01.0"));
	assert_true(status.error.message[0] != '\0');
	end_attempt(&m);
	expect_as_before(&m);
	expect_clean(&m, &m.from, DEVICES * MOVE_VECTORS);
	expect_belongings(before, SETTLE_MS, "after the failure");
	if (drill->stuck) {
		test_machine_free(&m.from);
		return;
	}
	succeed_at_once(&m, 2 * DEVICES * MOVE_VECTORS);
	move_down(&m);
}

static void target_refuses_validation(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on RESUMING->STOP fail EINVAL\n",
				      .id = "device-transition" });
}

static void target_refuses_resuming(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on STOP->RESUMING fail EBUSY\n",
				      .id = "device-transition" });
}

static void target_refuses_data(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on data-write after 512KiB fail EINVAL\n",
				      .id = "device-data" });
}

static void target_goes_to_error(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on RESUMING->STOP fail EIO error-state\n",
				      .id = "device-transition" });
}

static void target_hangs(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on RESUMING->STOP hang\n",
				      .id = "device-transition", .hangs = true });
}

static void target_dies_while_loading(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on data-write after 512KiB disconnect\n",
				      .id = "device-data" });
}

static void target_dies_at_validation(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .target = "on RESUMING->STOP disconnect\n",
				      .id = "device-transition" });
}

static void source_refuses_precopy(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .source = "on RUNNING->PRE_COPY fail EBUSY times 1\n",
				      .id = "device-transition" });
}

static void source_refuses_p2p(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .source = "on PRE_COPY->PRE_COPY_P2P fail EBUSY times 1\n",
				      .id = "device-transition" });
}

static void source_refuses_stop(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .source = "on PRE_COPY_P2P->STOP_COPY fail EBUSY times 1\n",
				      .id = "device-transition" });
}

static void source_data_fails_live(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .source = "on data-read after 256KiB fail EIO times 1\n",
				      .id = "device-data" });
}

static void source_gives_less_than_it_announced(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .source = "truncate data at 256KiB\n",
				      .id = "initial-bytes-stuck", .stuck = true });
}

static void source_data_fails_stopped(void **state)
{
	(void) state;
	fails_whole(&(struct drill) { .source = "on data-read after 256KiB fail EIO times 1\n",
				      .id = "device-data", .no_precopy = true });
}

/* ---- lost ---- */

/* The device's state is gone, the machine's is not: said aloud, and then the guest's driver helps itself. */
static void loses_device(const char *script, const char *target)
{
	struct move m = MOVE_INIT;
	struct vferry_status status;
	struct belongings before;

	m.devices = DEVICES;
	m.source_script[0] = script;
	m.target_script[0] = target;
	source_up(&m);
	before = belongings();
	attempt(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	status = status_of(&m.from);
	assert_true(status.device_lost);
	assert_true(status.owner);
	assert_true(device_info(&m.from, 0).lost);
	assert_false(device_info(&m.from, 1).lost);
	assert_int_equal(device_info(&m.from, 0).state, VF_VFIO_STATE_RUNNING);
	end_attempt(&m);
	assert_true(machine_is_running(m.from.machine));
	guest(&m.from, "flr 0");
	WAIT_FOR(verdict_of(&m.from).resets == 1, 2000);
	WAIT_FOR(device_info(&m.from, 0).vectors_connected == MOVE_VECTORS, 2000);
	wait_jobs(&m.from, 32);
	expect_connected(&m, &m.from, MOVE_VECTORS);
	expect_clean(&m, &m.from, DEVICES * MOVE_VECTORS);
	expect_belongings(before, SETTLE_MS, "after the failure");
	/* The guest has a device again that it knows to be empty. */
	assert_false(device_info(&m.from, 0).lost);
	succeed_at_once(&m, 2 * DEVICES * MOVE_VECTORS);
	assert_false(status_of(&m.from).device_lost);
	move_down(&m);
}

static void source_goes_to_error_at_stop(void **state)
{
	(void) state;
	loses_device("on PRE_COPY_P2P->STOP_COPY fail EIO error-state times 1\n", NULL);
}

static void source_goes_to_error_while_read(void **state)
{
	(void) state;
	loses_device("on data-read after 256KiB fail EIO error-state times 1\n", NULL);
}

static void source_does_not_come_back(void **state)
{
	(void) state;
	loses_device("on STOP->RUNNING_P2P fail EIO error-state times 1\n",
		     "on RESUMING->STOP fail EINVAL\n");
}

/* The device's process answers no more, or is gone: so is the device, and the machine runs on. */
static void loses_process(const char *script)
{
	struct move m = MOVE_INIT;
	struct vferry_status status;
	struct machine_verdict v;
	uint64_t began;

	m.devices = DEVICES;
	m.device_timeout_ns = HANG_TIMEOUT_NS;
	m.source_script[0] = script;
	source_up(&m);
	attempt(&m);
	began = now_ms();
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_FAILED);
	/* The transition's time, and once more that of a request, to whoever else asks. */
	assert_true(now_ms() - began < 2 * 7 * (HANG_TIMEOUT_NS / 1000000));
	status = status_of(&m.from);
	assert_true(status.device_lost);
	assert_true(status.owner);
	assert_true(device_info(&m.from, 0).lost);
	assert_false(device_info(&m.from, 1).lost);
	assert_non_null(strstr(status.error.object, "00:01.0"));
	end_attempt(&m);
	assert_true(machine_is_running(m.from.machine));
	/* The other device works, and its interrupts arrive. */
	v = verdict_of(&m.from);
	WAIT_FOR(verdict_of(&m.from).vector_interrupts[1][0] > v.vector_interrupts[1][0] + 4, 5000);
	assert_int_equal(device_info(&m.from, 1).vectors_forwarded, MOVE_VECTORS);
	assert_int_equal(verdict_of(&m.from).corrupt_pages, 0);
	/* What is left cannot be moved, and is told so before anything is sent. */
	attempt(&m);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_REFUSED);
	assert_true(machine_is_running(m.from.machine));
	move_down(&m);
}

static void source_hangs(void **state)
{
	(void) state;
	loses_process("on PRE_COPY_P2P->STOP_COPY hang\n");
}

static void source_process_dies(void **state)
{
	(void) state;
	loses_process("on PRE_COPY_P2P->STOP_COPY disconnect\n");
}

/* ---- others ---- */

/* Cancelled in each phase, again and again: nothing piles up. */
static void cancelled_again_and_again(void **state)
{
	struct move m = MOVE_INIT;
	struct belongings before;

	(void) state;
	m.devices = DEVICES;
	source_up(&m);
	before = belongings();
	for (unsigned i = 0; i < 6; i++) {
		m.parameters.hold_before_switchover = i == 0;
		if (i == 0) {
			target_up(&m);
			move_hold(&m);
		} else {
			attempt(&m);
			sleep_ms(i * 7);
		}
		if (vferry_session_cancel(m.from.session) == -EALREADY)
			break;
		if (move_wait(&m) == VFERRY_OUTCOME_DONE)
			break;
		assert_int_equal(status_of(&m.from).outcome, VFERRY_OUTCOME_CANCELLED);
		end_attempt(&m);
		expect_as_before(&m);
		expect_belongings(before, SETTLE_MS, "after the cancel");
	}
	m.parameters.hold_before_switchover = false;
	if (machine_is_running(m.from.machine))
		succeed_at_once(&m, 8 * DEVICES * MOVE_VECTORS);
	move_down(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(target_refuses_validation),
		cmocka_unit_test(target_refuses_resuming),
		cmocka_unit_test(target_refuses_data),
		cmocka_unit_test(target_goes_to_error),
		cmocka_unit_test(target_hangs),
		cmocka_unit_test(target_dies_while_loading),
		cmocka_unit_test(target_dies_at_validation),
		cmocka_unit_test(source_refuses_precopy),
		cmocka_unit_test(source_refuses_p2p),
		cmocka_unit_test(source_refuses_stop),
		cmocka_unit_test(source_data_fails_live),
		cmocka_unit_test(source_gives_less_than_it_announced),
		cmocka_unit_test(source_data_fails_stopped),
		cmocka_unit_test(source_goes_to_error_at_stop),
		cmocka_unit_test(source_goes_to_error_while_read),
		cmocka_unit_test(source_does_not_come_back),
		cmocka_unit_test(source_hangs),
		cmocka_unit_test(source_process_dies),
		cmocka_unit_test(cancelled_again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
