/* SPDX-License-Identifier: MIT */
/*
 * test_soft_migrate.c - a soft machine with its device moves to another one in the same process,
 * and back; the guest judges. The whole library is under it; processes come in tests/e2e.
 */
#include "machine_rig.h"

static void session_new(struct rig *rig, struct vferry_session **ret)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_session_new(machine_session_ops(), rig->m, ret, &err) < 0 ||
	    machine_add_to_session(rig->m, *ret, &err) < 0)
		fail_msg("%s", err.message);
}

static void expect_done(struct vferry_session *session, const char *side)
{
	struct vferry_status status;
	int r = vferry_session_wait(session, 30 * SECOND);

	vferry_session_get_status(session, &status);
	if (r < 0)
		fail_msg("%s did not end: %s, pass %u, %lu bytes of RAM left", side,
			 vferry_state_name(status.state), status.pass, status.ram_remaining_bytes);
	if (status.outcome != VFERRY_OUTCOME_DONE)
		fail_msg("%s: outcome %d: %s: %s", side, status.outcome, status.error.object,
			 status.error.message);
}

static void move(struct rig *from, struct rig *to, const char *uri)
{
	struct vferry_session *source, *destination;
	struct vferry_error err = VFERRY_ERROR_INIT;

	session_new(from, &source);
	session_new(to, &destination);
	if (vferry_session_accept(destination, uri, &err) < 0 ||
	    vferry_session_migrate(source, uri, &err) < 0)
		fail_msg("%s", err.message);
	expect_done(source, "source");
	expect_done(destination, "destination");
	assert_false(machine_is_running(from->m));
	assert_true(machine_is_running(to->m));
	(void) vferry_session_free(source);
	(void) vferry_session_free(destination);
}

static void move_once(const char *args, enum machine_gic gic, unsigned cpus, unsigned devices,
		      uint64_t allowed_spurious)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig a, b;
	char uri[64];

	o.gic = gic;
	o.cpus = cpus;
	o.guest_args = args;
	rig_up(&a, devices, NULL, o);
	o.incoming = true;
	rig_up(&b, devices, NULL, o);
	(void) snprintf(uri, sizeof(uri), "unix:%s/s", b.dir);
	start(&a);
	sleep_ms(100);
	if (devices)
		wait_for_jobs(&a, 200);
	move(&a, &b, uri);
	if (devices)
		wait_for_jobs(&b, 200);
	judge(&b);
	if (!machine_verdict_clean(&b.v, allowed_spurious)) {
		print(&b);
		fail_msg("not clean: %s", b.v.first_fault);
	}
	print_message("spurious %lu, gap %lu us, jobs %lu\n", b.v.spurious,
		      b.v.longest_gap_ns / 1000, b.v.verified_jobs);
	rig_down(&a);
	(void) unlink(uri + 5);
	rig_down(&b);
}

static void test_memory_only(void **state)
{
	(void) state;
	move_once("working-set=8M rate=20 notice-ms=5000", MACHINE_GIC_OFF, 1, 0, 0);
	move_once("working-set=8M rate=20 notice-ms=5000", MACHINE_GIC_V3, 3, 0, 0);
}

static void test_device(void **state)
{
	(void) state;
	move_once("working-set=4M rate=20 notice-ms=5000", MACHINE_GIC_V3, 1, 1, 0);
	move_once("working-set=4M rate=20 notice-ms=5000", MACHINE_GIC_V4_0, 2, 2, 8);
	move_once("working-set=4M rate=20 notice-ms=5000", MACHINE_GIC_V4_1, 1, 1, 0);
}

static void test_modes(void **state)
{
	(void) state;
	move_once("working-set=4M rate=20 notice-ms=5000 irq=msi", MACHINE_GIC_V4_0, 1, 1, 4);
	move_once("working-set=4M rate=20 notice-ms=5000 irq=intx", MACHINE_GIC_V4_0, 1, 1, 0);
	move_once("working-set=4M rate=20 notice-ms=5000", MACHINE_GIC_OFF, 1, 1, 0);
}

/* Masked vectors, a moved BAR and MSI in place of MSI-X arrive as they are. */
static void test_changed(void **state)
{
	static const char *const changes[] = { "move-bar 0 0", "mask-vector 0 1", "mask-function 0",
		"irq-mode 0 msi", "flr 0", "reset-device 0", "mask-cycle 0 5" };
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig a, b;
	char uri[64];

	(void) state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		o.guest_args = "working-set=4M rate=20 notice-ms=5000";
		o.incoming = false;
		rig_up(&a, 1, NULL, o);
		o.incoming = true;
		rig_up(&b, 1, NULL, o);
		(void) snprintf(uri, sizeof(uri), "unix:%s/s", b.dir);
		print_message("%s\n", changes[i]);
		start(&a);
		wait_for_jobs(&a, 100);
		assert_int_equal(machine_guest_command(a.m, changes[i], NULL, 0, NULL), 0);
		sleep_ms(20);
		move(&a, &b, uri);
		judge(&b);
		wait_for_jobs(&b, 100);
		judge(&b);
		if (!machine_verdict_clean(&b.v, 4)) {
			print(&b);
			fail_msg("\"%s\": not clean: %s", changes[i], b.v.first_fault);
		}
		rig_down(&a);
		(void) unlink(uri + 5);
		rig_down(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_only),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
