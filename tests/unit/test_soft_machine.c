/* SPDX-License-Identifier: MIT */
/*
 * test_soft_machine.c - whole soft machines with accel devices over vfio-user run clean, in every
 * interrupt mode, through resets and whatever else a guest does to its devices.
 */
#include "machine_rig.h"

static void test_msix(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig rig;

	(void) state;
	o.cpus = 2;
	o.guest_args = "working-set=8M rate=50";
	rig_up(&rig, 2, NULL, o);
	start(&rig);
	wait_for_jobs(&rig, 1000);
	expect_clean(&rig);
	assert_int_equal(rig.v.devices, 2);
	rig_down(&rig);
}

static void run_mode(const char *args, enum machine_gic gic)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig rig;

	o.gic = gic;
	o.guest_args = args;
	rig_up(&rig, 1, NULL, o);
	start(&rig);
	wait_for_jobs(&rig, 300);
	expect_clean(&rig);
	rig_down(&rig);
}

static void test_modes(void **state)
{
	(void) state;
	run_mode("working-set=4M irq=msi", MACHINE_GIC_V4_0);
	run_mode("working-set=4M irq=intx", MACHINE_GIC_V4_0);
	run_mode("working-set=4M irq=msix", MACHINE_GIC_V3);
	run_mode("working-set=4M irq=msix", MACHINE_GIC_V4_1);
	run_mode("working-set=4M", MACHINE_GIC_OFF);
}

/* What a guest may do to its devices while they work. */
static void test_commands(void **state)
{
	static const char *const commands[] = { "move-bar 0 0", "move-bar 0 2", "reset-device 0",
		"irq-mode 0 msi", "flr 0", "irq-mode 0 intx", "irq-mode 0 msix", "mask-cycle 0 20",
		"rate 10", "flr 1", "mask-vector 1 2", "mask-function 1", "unmask-function 1" };
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig rig;

	(void) state;
	o.cpus = 2;
	o.guest_args = "working-set=4M";
	rig_up(&rig, 2, NULL, o);
	start(&rig);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		wait_for_jobs(&rig, 50);
		command(&rig, commands[i]);
		wait_for_jobs(&rig, 200);
		if (rig.v.first_fault[0] || rig.v.spurious) {
			print(&rig);
			fail_msg("after \"%s\": %s", commands[i], rig.v.first_fault);
		}
	}
	expect_clean(&rig);
	assert_int_equal(rig.v.resets, 3);
	rig_down(&rig);
}

static void test_peers(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_bar_area area;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=1M p2p=on";
	o.peers = true;
	rig_up(&rig, 2, NULL, o);
	start(&rig);
	/* The first jobs are others: a peer is written to once its own vCPU has set it up. */
	for (unsigned i = 0; i < 40 && rig.v.peer_writes <= 20; i++) {
		wait_for_jobs(&rig, 100);
		expect_clean(&rig);
	}
	assert_true(rig.v.peer_writes > 20);
	/* A write that never reached the peer. */
	assert_int_equal(machine_stop(rig.m, NULL), 0);
	if (vferry_device_bar_area(machine_device(rig.m, 1), 2, 0, &area) == 0) {
		memset(area.host, 0, area.bytes);
		start(&rig);
		wait_for_jobs(&rig, 50);
		judge(&rig);
		assert_true(rig.v.lost_peer_writes > 0);
	}
	rig_down(&rig);
}

static void test_machine_reset(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct rig rig;

	(void) state;
	o.cpus = 2;
	o.guest_args = "working-set=1M";
	rig_up(&rig, 2, NULL, o);
	start(&rig);
	for (unsigned i = 0; i < 3; i++) {
		wait_for_jobs(&rig, 50);
		expect_clean(&rig);
		if (machine_reset(rig.m, &err) < 0)
			fail_msg("%s", err.message);
	}
	wait_for_jobs(&rig, 50);
	expect_clean(&rig);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msix),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_machine_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
