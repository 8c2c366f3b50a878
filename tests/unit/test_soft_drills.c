/* SPDX-License-Identifier: MIT */
/*
 * test_soft_drills.c - the judge is worth something: one lost or doubled interrupt, one lost job, one
 * wrong byte makes it complain. And a device that hangs does not hold up a stop.
 */
#include "drills.h"
#include "vmm/soft/soft.h"

static struct soft_machine *soft_of(struct rig *rig)
{
	return soft_machine_of(rig->m);
}

static struct drill drill_of(struct rig *rig)
{
	return (struct drill) { .worker = (struct worker *) soft_of(rig)->vcpu[0].words,
				.ram_gpa = SOFT_RAM_BASE };
}

static void drill_up(struct rig *rig)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct drill drill;

	o.guest_args = DRILL_ARGS;
	rig_up(rig, 1, NULL, o);
	drill = drill_of(rig);
	drill_stop_with_jobs_done(rig, &drill);
}

static void test_lost_interrupt(void **state)
{
	struct rig rig;
	uint32_t intid;

	(void) state;
	drill_up(&rig);
	intid = soft_gic_ack(soft_of(&rig)->gic, 0);
	assert_true(intid >= WORKER_MSI_FIRST);
	soft_gic_eoi(soft_of(&rig)->gic, 0, intid);
	expect_complaint(&rig);
	expect_unnoticed_job(&rig);
	rig_down(&rig);
}

static void test_doubled_interrupt(void **state)
{
	struct vferry_irq_route route = { .kind = VFERRY_IRQ_MSI, .address = SOFT_ITS_DOORBELL,
					  .data = 1, .requester_id = 1 << 3 };
	struct vferry_irq_sink sink;
	struct rig rig;

	(void) state;
	drill_up(&rig);
	start(&rig);
	rig.m->accel->get_sink(rig.m, &sink);
	judge(&rig);
	assert_int_equal(rig.v.spurious, 0);
	command(&rig, "jobs off");
	judge(&rig);
	assert_true(sink.signal_msi(sink.user, &route, NULL) > 0);
	sleep_ms(20);
	judge(&rig);
	assert_int_equal(rig.v.spurious, 1);
	assert_false(machine_verdict_clean(&rig.v, 0));
	assert_true(machine_verdict_clean(&rig.v, 1));
	/* An event that the guest gave to nobody. */
	route.data = 9;
	assert_true(sink.signal_msi(sink.user, &route, NULL) > 0);
	sleep_ms(20);
	judge(&rig);
	assert_int_equal(rig.v.unknown_interrupts, 1);
	rig_down(&rig);
}

static void test_lost_job(void **state)
{
	struct drill drill;
	struct rig rig;

	(void) state;
	drill_up(&rig);
	drill = drill_of(&rig);
	drill_lose_job(&rig, &drill);
	rig_down(&rig);
}

static void test_corrupt_dma(void **state)
{
	struct drill drill;
	struct rig rig;

	(void) state;
	drill_up(&rig);
	drill = drill_of(&rig);
	drill_corrupt_results(&rig, &drill);
	rig_down(&rig);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * SECOND + (uint64_t) ts.tv_nsec;
}

/* A device that no longer answers: a vCPU waits for it, and the stop is bounded all the same. */
static void test_hanging_device(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t began;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=1M";
	o.stop_timeout_ns = SECOND / 20;
	rig_up(&rig, 1, "on message REGION_READ 200 hang\non message REGION_WRITE 100 hang\n", o);
	start(&rig);
	/* Until a step takes long: an access is under way, and the stop gives up on it in time. */
	for (unsigned i = 0; i < 200; i++) {
		began = now_ns();
		vferry_error_clear(&err);
		if (machine_stop(rig.m, &err) == -ETIMEDOUT)
			break;
		start(&rig);
		sleep_ms(10);
	}
	assert_int_equal(err.code, -ETIMEDOUT);
	assert_string_equal(err.id, "vcpu-does-not-stop");
	assert_true(now_ns() - began < SECOND / 2);
	assert_true(machine_is_running(rig.m));
	/* The access itself ends with the device's time, and then there is nothing to wait for. */
	sleep_ms(1000);
	stop(&rig);
	assert_int_equal(machine_get_verdict(rig.m, &rig.v), 0);
	assert_false(machine_verdict_clean(&rig.v, 0));
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_interrupt),
		cmocka_unit_test(test_doubled_interrupt),
		cmocka_unit_test(test_lost_job),
		cmocka_unit_test(test_corrupt_dma),
		cmocka_unit_test(test_hanging_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
