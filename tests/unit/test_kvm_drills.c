/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_drills.c - the judge is worth something on KVM, too: one bit of memory, one interrupt,
 * one job, one register, one timer, and it complains. Each is taken away, or given twice, from a
 * stopped machine by the calls of KVM that a migration would use.
 */
#include "kvm_drills.h"

static void up(struct rig *rig, unsigned devices, const char *args)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;

	o.accel = "kvm";
	o.guest_args = args;
	rig_up(rig, devices, NULL, o);
	start(rig);
	wait_booted(rig);
}

static struct drill drill_of(struct rig *rig)
{
	const uint64_t ram = kvm_arch_layout.ram[0].gpa;

	return (struct drill) {
		.worker = drill_at(rig, ram + GUEST_WORDS_OFFSET, sizeof(struct worker)),
		.ram_gpa = ram,
	};
}

static void drill_up(struct rig *rig)
{
	struct drill drill;

	up(rig, 1, DRILL_ARGS);
	drill = drill_of(rig);
	drill_stop_with_jobs_done(rig, &drill);
}

/* ---- interrupts and jobs ---- */

static void test_lost_interrupt(void **state)
{
	bool dropped = false;
	struct rig rig;

	(void) state;
	drill_up(&rig);
	for (unsigned i = 0; i < DRILL_TRIES && !dropped; i++) {
		dropped = drill_drop_interrupt(&rig);
		if (!dropped)
			sleep_ms(10);
	}
	assert_true(dropped);
	expect_complaint(&rig);
	expect_unnoticed_job(&rig);
	rig_down(&rig);
}

static void test_doubled_interrupt(void **state)
{
	struct vferry_irq_route route = drill_message(1);
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
	assert_true(sink.signal_msi(sink.user, &route, NULL) >= 0);
	for (unsigned i = 0; i < DRILL_TRIES && rig.v.spurious == 0; i++) {
		sleep_ms(5);
		look(&rig);
	}
	judge(&rig);
	assert_int_equal(rig.v.spurious, 1);
	assert_false(machine_verdict_clean(&rig.v, 0));
	assert_true(machine_verdict_clean(&rig.v, 1));
	/* A vector that its device does not use. */
	route = drill_message(DRILL_MESSAGES - 1);
	assert_true(sink.signal_msi(sink.user, &route, NULL) >= 0);
	for (unsigned i = 0; i < DRILL_TRIES && rig.v.unknown_interrupts == 0; i++) {
		sleep_ms(5);
		look(&rig);
	}
	judge(&rig);
	assert_int_equal(rig.v.unknown_interrupts, 1);
	rig_down(&rig);
}

/* What a device signals while its vector is masked comes once, when it is connected: not twice. */
static void test_pending_when_connected(void **state)
{
	struct vferry_irq_route route = drill_message(DRILL_MESSAGES - 1);
	int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	struct vferry_irq_sink sink;
	struct rig rig;
	uint64_t count;

	(void) state;
	up(&rig, 1, "working-set=1M jobs=off");
	/* The guest's driver sets up its vectors, and the plan their routes: then it is our turn. */
	while (drill_of(&rig).worker->device[0].phase != WORKER_DEVICE_RUN)
		sleep_ms(5);
	rig.m->accel->get_sink(rig.m, &sink);
	route.gsi = sink.gsi_first + sink.gsi_count - 1;
	assert_int_equal(sink.set_routes(sink.user, &route, 1, NULL), 0);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(sink.connect(sink.user, route.gsi, fd, -1, NULL), 0);
		assert_int_equal(read(fd, &count, sizeof(count)), -1);
		assert_int_equal(sink.flush(sink.user, NULL), 0);
		for (unsigned t = 0; t < DRILL_TRIES && rig.v.unknown_interrupts < i; t++) {
			sleep_ms(5);
			look(&rig);
		}
		judge(&rig);
		assert_int_equal(rig.v.unknown_interrupts, i);
		assert_int_equal(sink.disconnect(sink.user, route.gsi, fd, NULL), 0);
		assert_int_equal(eventfd_write(fd, 1), 0);
	}
	(void) close(fd);
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

/* ---- doorbells, which KVM puts into an eventfd ---- */

static int doorbell_of(struct rig *rig)
{
	struct vferry_bar_ioeventfd io;

	assert_int_equal(machine_device_ioeventfds(rig->m, 0), 1);
	assert_int_equal(vferry_device_bar_ioeventfd(machine_device(rig->m, 0), 0, 0, &io), 0);
	assert_int_equal(io.offset, ACCEL_REG_DOORBELL);
	return io.eventfd;
}

static void set_state(struct rig *rig, uint32_t state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_device_set_state(machine_device(rig->m, 0), state, &err) < 0)
		fail_msg("%s", err.message);
}

/* The guest rings a device that has stopped, until all its slots have a job. Return: the count. */
static uint64_t ring_stopped_device(struct rig *rig, int doorbell)
{
	uint64_t count = 0;

	set_state(rig, VF_VFIO_STATE_STOP);
	start(rig);
	for (unsigned i = 0; i < 5 * DRILL_TRIES && count < 4; i++) {	/* vectors of the guest */
		uint64_t more;

		sleep_ms(10);
		if (read(doorbell, &more, sizeof(more)) == sizeof(more))
			count += more;
	}
	stop(rig);
	assert_int_equal(count, 4);
	return count;
}

static void expect_miscounted(struct rig *rig, const char *first_fault)
{
	start(rig);
	judge(rig);
	assert_false(machine_verdict_clean(&rig->v, 0));
	assert_non_null(strstr(rig->v.first_fault, first_fault));
}

/* Stopped with all jobs done, so that the next thing the guest does is to ring for new ones. */
static void doorbell_up(struct rig *rig)
{
	struct drill drill;

	up(rig, 1, "working-set=1M lost-ms=20000 notice-ms=20000");
	drill = drill_of(rig);
	drill_stop_with_jobs_done(rig, &drill);
}

/* What is rung while the device is stopped stays there until it runs. */
static void test_doorbell_waits(void **state)
{
	struct rig rig;
	uint64_t count;
	int doorbell;

	(void) state;
	doorbell_up(&rig);
	doorbell = doorbell_of(&rig);
	count = ring_stopped_device(&rig, doorbell);
	assert_int_equal(write(doorbell, &count, sizeof(count)), sizeof(count));
	set_state(&rig, VF_VFIO_STATE_RUNNING);
	start(&rig);
	judge(&rig);
	assert_string_equal(rig.v.first_fault, "");
	assert_true(machine_verdict_clean(&rig.v, 0));
	rig_down(&rig);
}

static void test_lost_doorbell(void **state)
{
	struct rig rig;
	uint64_t count;
	int doorbell;

	(void) state;
	doorbell_up(&rig);
	doorbell = doorbell_of(&rig);
	count = ring_stopped_device(&rig, doorbell) - 1;
	assert_int_equal(write(doorbell, &count, sizeof(count)), sizeof(count));
	set_state(&rig, VF_VFIO_STATE_RUNNING);
	expect_miscounted(&rig, "device 0 heard its doorbell ");
	rig_down(&rig);
}

static void test_doubled_doorbell(void **state)
{
	struct rig rig;

	(void) state;
	doorbell_up(&rig);
	assert_int_equal(eventfd_write(doorbell_of(&rig), 1), 0);
	expect_miscounted(&rig, "device 0 heard its doorbell ");
	rig_down(&rig);
}

/* ---- memory ---- */

static void test_bit_flip(void **state)
{
	static const char *const sets[] = { "working-set=4M rate=0", "working-set=0 fill=4M",
					    "working-set=0 fill=4M fill-kind=zero" };

	(void) state;
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t gpa = kvm_arch_layout.ram[0].gpa + WORKER_DATA +
				     123 * WORKER_PAGE + 8 * 77;
		struct rig rig;
		uint64_t *word;

		up(&rig, 0, sets[i]);
		judge(&rig);
		assert_int_equal(rig.v.corrupt_pages, 0);
		stop(&rig);
		word = drill_at(&rig, gpa, sizeof(*word));
		*word ^= 1ull << 40;
		start(&rig);
		judge(&rig);
		assert_int_equal(rig.v.corrupt_pages, 1);
		assert_int_equal(rig.v.corrupt_gpa, gpa);
		assert_int_equal(rig.v.corrupt_found, *word);
		assert_int_equal(rig.v.corrupt_expected, *word ^ 1ull << 40);
		assert_false(machine_verdict_clean(&rig.v, 0));
		rig_down(&rig);
	}
}

/* A page that is as it was one sweep ago: what a migration that loses a dirty page leaves. */
static void test_stale_page(void **state)
{
	uint8_t old[WORKER_PAGE];
	uint64_t dirtied;
	struct rig rig;
	void *page;

	(void) state;
	up(&rig, 0, "working-set=1M rate=max");
	stop(&rig);
	page = drill_at(&rig, kvm_arch_layout.ram[0].gpa + WORKER_DATA + 55 * WORKER_PAGE,
			WORKER_PAGE);
	memcpy(old, page, sizeof(old));
	look(&rig);
	dirtied = rig.v.dirtied_pages;
	start(&rig);
	while (rig.v.dirtied_pages < dirtied + 1000)
		look(&rig);
	stop(&rig);
	look(&rig);
	assert_true(machine_verdict_clean(&rig.v, 0));
	memcpy(page, old, sizeof(old));
	start(&rig);
	judge(&rig);
	assert_true(rig.v.corrupt_pages > 0);
	assert_false(machine_verdict_clean(&rig.v, 0));
	rig_down(&rig);
}

/* ---- registers, time ---- */

/* Each by the number that the guest calls it by. */
static void expect_lost_register(struct rig *rig, unsigned number)
{
	char fault[64];

	(void) snprintf(fault, sizeof(fault), "register %#x held", number);
	expect_complaint(rig);
	assert_int_equal(rig->v.lost_registers, 1);
	assert_non_null(strstr(rig->v.first_fault, fault));
}

static void lose_register(unsigned (*spoil)(struct rig *rig))
{
	struct rig rig;

	up(&rig, 0, "working-set=1M");
	stop(&rig);
	expect_lost_register(&rig, spoil(&rig));
	rig_down(&rig);
}

static void test_lost_vector_register(void **state)
{
	(void) state;
	lose_register(drill_spoil_vector);
}

static void test_lost_system_register(void **state)
{
	(void) state;
	lose_register(drill_spoil_system);
}

static void test_lost_debug_register(void **state)
{
	(void) state;
	lose_register(drill_spoil_debug);
}

/* Its device wakes the guest all the same: only the watch on the timer can tell. */
static void test_lost_timer(void **state)
{
	bool taken = false;
	struct rig rig;

	(void) state;
	up(&rig, 1, "working-set=1M rate=0 notice-ms=200");
	/* Until it is stopped with a timer set that has not come. */
	for (unsigned i = 0; i < DRILL_TRIES && !taken; i++) {
		start(&rig);
		sleep_ms(3 + i);	/* long enough for a slow one to get to its wait */
		stop(&rig);
		taken = drill_drop_timer(&rig);
	}
	assert_true(taken);
	start(&rig);
	for (unsigned i = 0; i < DRILL_TRIES && rig.v.lost_timers == 0; i++) {
		sleep_ms(20);
		look(&rig);
	}
	assert_true(rig.v.lost_timers > 0);
	assert_false(machine_verdict_clean(&rig.v, 0));
	assert_non_null(strstr(rig.v.first_fault, "timer"));
	rig_down(&rig);
}

static void test_counter_that_goes_back(void **state)
{
	struct rig rig;

	(void) state;
	up(&rig, 0, "working-set=1M");
	stop(&rig);
	if (!drill_counter_back(&rig)) {
		rig_down(&rig);
		print_message("this KVM does not move the counter back\n");
		skip();
	}
	expect_complaint(&rig);
	assert_true(rig.v.clock_backward > 0);
	rig_down(&rig);
}

/* The guest's own kernel goes astray: that ends the machine, and is not forgotten. */
static void test_exception(void **state)
{
	const char *fault;
	struct rig rig;

	(void) state;
	up(&rig, 0, "working-set=1M");
	stop(&rig);
	fault = drill_astray(&rig);
	start(&rig);
	for (unsigned i = 0; i < DRILL_TRIES && !machine_is_powered_off(rig.m); i++)
		sleep_ms(20);
	assert_true(machine_is_powered_off(rig.m));
	look(&rig);
	assert_false(machine_verdict_clean(&rig.v, 0));
	assert_string_equal(rig.v.first_fault, fault);
	rig_down(&rig);
}

/* And a pause, however long, is none of these. */
static void test_pause_is_no_fault(void **state)
{
	struct rig rig;

	(void) state;
	up(&rig, 1, DRILL_ARGS);
	for (unsigned i = 0; i < 3; i++) {
		stop(&rig);
		sleep_ms(700);
		start(&rig);
		wait_for_jobs(&rig, 20);
	}
	judge(&rig);
	if (!machine_verdict_clean(&rig.v, 0))
		fail_msg("%s", rig.v.first_fault);
	assert_true(rig.v.longest_gap_ns > SECOND / 2);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_interrupt),
		cmocka_unit_test(test_doubled_interrupt),
		cmocka_unit_test(test_pending_when_connected),
		cmocka_unit_test(test_lost_job),
		cmocka_unit_test(test_corrupt_dma),
		cmocka_unit_test(test_doorbell_waits),
		cmocka_unit_test(test_lost_doorbell),
		cmocka_unit_test(test_doubled_doorbell),
		cmocka_unit_test(test_bit_flip),
		cmocka_unit_test(test_stale_page),
		cmocka_unit_test(test_lost_vector_register),
		cmocka_unit_test(test_lost_system_register),
		cmocka_unit_test(test_lost_debug_register),
		cmocka_unit_test(test_lost_timer),
		cmocka_unit_test(test_counter_that_goes_back),
		cmocka_unit_test(test_exception),
		cmocka_unit_test(test_pause_is_no_fault),
	};

	return rig_lacks_kvm() ? RIG_SKIPPED : cmocka_run_group_tests(tests, NULL, NULL);
}
