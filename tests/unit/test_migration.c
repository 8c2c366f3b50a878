/* SPDX-License-Identifier: MIT */
/*
 * Whole migrations in one process: soft machine, GIC and ITS, accel devices over vfio-user, two
 * sessions over a socket. The guest is the judge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "machines.h"

static const struct accel_server_options device_defaults = {
	.device = { .state_bytes = 4 << 20, .seed = 7, .overlay_bytes = 16 << 20,
		    .dirty_rate = 1 << 20, .msix_vectors = 8 },
	.precopy = true, .p2p = true, .dma_log = true, .extensions = true,
};

static void sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000 };

	(void) nanosleep(&ts, NULL);
}

/* It works: pages are dirtied, and its devices have done @jobs more than by now. */
static void wait_busy(struct test_machine *m, uint64_t jobs)
{
	struct machine_verdict v;
	uint64_t before = 0;

	for (unsigned i = 0; i < 30000; i++) {
		assert_int_equal(machine_get_verdict(m->machine, &v), 0);
		if (!i)
			before = v.verified_jobs;
		if (v.booted && v.dirtied_pages && (!m->device_count || v.verified_jobs >= before + jobs))
			return;
		sleep_ms(1);
	}
	fail_msg("the guest does nothing");
}

static void migrate(struct test_machine *from, struct test_machine *to,
		    const struct vferry_parameters *p)
{
	static int count;
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[64];

	(void) snprintf(uri, sizeof(uri), "unix:/tmp/vferry-migration-%d-%d", (int) getpid(),
			count++);
	test_machine_session(from, p);
	test_machine_session(to, p);
	if (vferry_session_accept(to->session, uri, &err) ||
	    vferry_session_migrate(from->session, uri, &err))
		fail_msg("%s: %s", err.id, err.message);
	assert_int_equal(vferry_session_wait(from->session, 60 * TEST_SECOND_NS), 0);
}

static void expect_outcome(struct test_machine *m, enum vferry_outcome outcome)
{
	struct vferry_status status;

	vferry_session_get_status(m->session, &status);
	if (status.outcome != outcome)
		fail_msg("outcome %d, not %d: %s: %s: %s", status.outcome, outcome, status.error.id,
			 status.error.object, status.error.message);
}

static void expect_clean(struct test_machine *m, uint64_t spurious)
{
	struct machine_verdict v;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_judge(m->machine, 30 * TEST_SECOND_NS, &v, &err))
		fail_msg("%s: %s", err.id, err.message);
	if (!machine_verdict_clean(&v, spurious))
		fail_msg("not clean: %s (spurious %llu)", v.first_fault,
			 (unsigned long long) v.spurious);
	assert_true(v.booted);
	assert_true(v.checked_pages > 0);
	assert_true(!m->device_count || v.verified_jobs > 0);
}

static void expect_forwarded(struct test_machine *m)
{
	for (unsigned i = 0; i < m->device_count; i++) {
		struct vferry_device_info info;

		vferry_device_get_info(machine_device(m->machine, i), &info);
		assert_true(info.vectors_connected > 0);
		if (info.vectors_forwarded != info.vectors_connected)
			fail_msg("device %u: %u of %u vectors forwarded: %s", i,
				 info.vectors_forwarded, info.vectors_connected,
				 info.not_forwarded_reason);
	}
}

static void run_case(unsigned cpus, unsigned devices, unsigned channels, bool precopy)
{
	struct machine_options options = MACHINE_OPTIONS_INIT;
	struct accel_server_options device = device_defaults;
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct test_machine from, to;

	options.accel = "soft";
	options.cpus = cpus;
	options.memory_bytes = 64 << 20;
	device.precopy = precopy;
	p.channels = channels;
	test_machine_start(&from, &options, &device, devices);
	options.incoming = true;
	test_machine_start(&to, &options, &device, devices);
	assert_int_equal(machine_start(from.machine, &err), 0);
	wait_busy(&from, 16);
	migrate(&from, &to, &p);
	expect_outcome(&from, VFERRY_OUTCOME_DONE);
	assert_false(machine_is_running(from.machine));
	assert_true(machine_is_running(to.machine));
	wait_busy(&to, 16);
	expect_clean(&to, 8 * devices);
	if (devices)
		expect_forwarded(&to);
	test_machine_free(&from);
	test_machine_free(&to);
}

static void machine_without_devices(void **state)
{
	(void) state;
	run_case(2, 0, 1, true);
}

static void one_device_stop_copy(void **state)
{
	(void) state;
	run_case(1, 1, 1, false);
}

static void one_device_precopy(void **state)
{
	(void) state;
	run_case(1, 1, 1, true);
}

static void two_devices_four_channels(void **state)
{
	(void) state;
	run_case(2, 2, 4, true);
}

/* Each device writes into the other's BAR all the time: nothing may be lost on the way. */
static void peers_write_into_each_other(void **state)
{
	struct machine_options options = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct test_machine from, to;

	(void) state;
	options.accel = "soft";
	options.memory_bytes = 256 << 20;
	options.peers = true;
	options.guest_args = "working-set=64M rate=60 p2p=on";
	options.cpus = 2;
	test_machine_start(&from, &options, &device_defaults, 2);
	options.incoming = true;
	test_machine_start(&to, &options, &device_defaults, 2);
	assert_int_equal(machine_start(from.machine, &err), 0);
	wait_busy(&from, 16);
	migrate(&from, &to, NULL);
	expect_outcome(&from, VFERRY_OUTCOME_DONE);
	wait_busy(&to, 16);
	expect_clean(&to, 16);
	test_machine_free(&from);
	test_machine_free(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machine_without_devices),
		cmocka_unit_test(one_device_stop_copy),
		cmocka_unit_test(one_device_precopy),
		cmocka_unit_test(two_devices_four_channels),
		cmocka_unit_test(peers_write_into_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
