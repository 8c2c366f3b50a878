/* SPDX-License-Identifier: MIT */
/*
 * test_soft_machine.c - whole soft machines with accel devices over vfio-user: they run clean in
 * every interrupt mode and through resets, and the judge finds each thing that is done to them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/accel_server.h"
#include "vmm/machine_accel.h"
#include "vmm/soft/guest_worker.h"

#define SECOND 1000000000ull
#define DEVICES_MAX 4u

struct accel {
	struct accel_server *server;
	pthread_t thread;
	int stop;
	char path[80];
	char uri[100];
};

struct rig {
	struct accel accel[DEVICES_MAX];
	unsigned devices;
	char dir[32];
	struct machine *m;
	struct machine_verdict v;
};

static void note(void *user, const char *text)
{
	(void) user;
	print_message("device: %s\n", text);
}

static void log_line(void *user, const char *line)
{
	(void) user;
	print_message("machine: %s\n", line);
}

static const struct machine_callbacks callbacks = { .size = sizeof(callbacks), .log = log_line };

static void sleep_ms(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void) nanosleep(&ts, NULL);
}

static void *serve(void *arg)
{
	struct accel *a = arg;

	(void) accel_server_run(a->server, a->stop, false, NULL);
	return NULL;
}

static void accel_up(struct rig *rig, unsigned i, const char *script_text)
{
	struct accel_server_options o = {
		.device = { .state_bytes = 4 << 20, .seed = 11 + i, .overlay_bytes = 1 << 20,
			    .msix_vectors = 16 },
		.precopy = true, .p2p = true, .dma_log = true, .extensions = true, .note = note,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct accel *a = &rig->accel[i];
	struct vf_script script;

	vf_script_init(&script);
	if (script_text &&
	    vf_script_parse(&script, script_text, strlen(script_text), "script", &err) < 0)
		fail_msg("%s", err.message);
	if (accel_server_new(&o, &script, &a->server, &err) < 0)
		fail_msg("%s", err.message);
	(void) snprintf(a->path, sizeof(a->path), "%s/d%u", rig->dir, i);
	(void) snprintf(a->uri, sizeof(a->uri), "vfio-user:%s", a->path);
	if (accel_server_listen(a->server, a->path, &err) < 0)
		fail_msg("%s", err.message);
	a->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(a->stop >= 0);
	assert_int_equal(pthread_create(&a->thread, NULL, serve, a), 0);
}

static void accel_down(struct accel *a)
{
	(void) eventfd_write(a->stop, 1);
	(void) pthread_join(a->thread, NULL);
	accel_server_free(a->server);
	(void) close(a->stop);
	(void) unlink(a->path);
}

static void rig_up(struct rig *rig, unsigned devices, const char *script,
		   struct machine_options options)
{
	struct machine_device_options device[DEVICES_MAX] = { 0 };
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(rig, 0, sizeof(*rig));
	rig->devices = devices;
	strcpy(rig->dir, "/tmp/soft-test-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	for (unsigned i = 0; i < devices; i++) {
		accel_up(rig, i, script);
		device[i].uri = rig->accel[i].uri;
		device[i].timeout_ns = SECOND / 2;
	}
	options.accel = "soft";
	options.memory_bytes = 64 << 20;
	options.devices = device;
	options.device_count = devices;
	options.callbacks = &callbacks;
	if (machine_new(&options, &rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static void rig_down(struct rig *rig)
{
	rig->m = machine_free(rig->m);
	for (unsigned i = 0; i < rig->devices; i++)
		accel_down(&rig->accel[i]);
	(void) rmdir(rig->dir);
}

static void start(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_start(rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static void command(struct rig *rig, const char *text)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_guest_command(rig->m, text, NULL, 0, &err) < 0)
		fail_msg("%s", err.message);
}

static void judge(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_judge(rig->m, 20 * SECOND, &rig->v, &err) < 0)
		fail_msg("%s", err.message);
}

static void print(const struct rig *rig)
{
	char *json = NULL;

	assert_int_equal(machine_figures(rig->m, &json), 0);
	print_message("%s\n", json);
	free(json);
}

static void expect_clean(struct rig *rig)
{
	judge(rig);
	if (!machine_verdict_clean(&rig->v, 0)) {
		print(rig);
		fail_msg("not clean: %s", rig->v.first_fault);
	}
}

static void test_msix(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig rig;

	(void) state;
	o.cpus = 2;
	o.guest_args = "working-set=8M rate=50";
	rig_up(&rig, 2, NULL, o);
	start(&rig);
	sleep_ms(1000);
	expect_clean(&rig);
	print(&rig);
	assert_int_equal(rig.v.devices, 2);
	assert_true(rig.v.verified_jobs > 100);
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
	sleep_ms(500);
	expect_clean(&rig);
	if (rig.v.verified_jobs < 50)
		print(&rig);
	assert_true(rig.v.verified_jobs >= 50);
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
		uint64_t before;

		sleep_ms(60);
		assert_int_equal(machine_get_verdict(rig.m, &rig.v), 0);
		before = rig.v.verified_jobs;
		command(&rig, commands[i]);
		sleep_ms(250);
		assert_int_equal(machine_get_verdict(rig.m, &rig.v), 0);
		if (rig.v.first_fault[0] || rig.v.spurious || rig.v.verified_jobs < before + 5) {
			print(&rig);
			fail_msg("after \"%s\": %s", commands[i], rig.v.first_fault);
		}
	}
	expect_clean(&rig);
	assert_int_equal(rig.v.resets, 3);
	rig_down(&rig);
}

/* ---- drills: what is done to the machine must be found ---- */

static struct soft_machine *soft_of(struct rig *rig)
{
	return soft_machine_of(rig->m);
}

static struct worker *worker_of(struct rig *rig)
{
	return (struct worker *) soft_of(rig)->vcpu[0].words;
}

static void stop(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_stop(rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

/* Stopped, with a job under way in every slot that is done by now. */
static void stop_with_jobs_done(struct rig *rig)
{
	for (;;) {
		const struct worker_device *dev = &worker_of(rig)->device[0];
		unsigned in_flight = 0;

		start(rig);
		sleep_ms(20);
		stop(rig);
		for (unsigned s = 0; s < dev->slots; s++)
			in_flight += dev->slot[s].in_flight != 0;
		sleep_ms(30);
		if (dev->phase == WORKER_DEVICE_RUN && in_flight == dev->slots)
			return;
	}
}

static void drill_up(struct rig *rig)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;

	o.guest_args = "working-set=1M notice-ms=200 lost-ms=300";
	rig_up(rig, 1, NULL, o);
	stop_with_jobs_done(rig);
}

static void expect_complaint(struct rig *rig)
{
	start(rig);
	sleep_ms(700);
	judge(rig);
	assert_false(machine_verdict_clean(&rig->v, 0));
}

static void test_lost_interrupt(void **state)
{
	struct rig rig;
	uint32_t intid;

	(void) state;
	drill_up(&rig);
	intid = soft_gic_ack(soft_of(&rig)->gic, 0);
	assert_true(intid >= WORKER_LPI_FIRST);
	soft_gic_eoi(soft_of(&rig)->gic, 0, intid);
	expect_complaint(&rig);
	assert_int_equal(rig.v.unnoticed_jobs, 1);
	assert_int_equal(rig.v.spurious, 0);
	assert_string_equal(rig.v.first_fault + 15, ": job done, no interrupt came");
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
	assert_int_equal(rig.m->accel->get_sink(rig.m, &sink), 0);
	judge(&rig);
	assert_int_equal(rig.v.spurious, 0);
	command(&rig, "jobs off");
	sleep_ms(50);
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

static struct accel_descriptor *descriptor_of(struct rig *rig, unsigned s)
{
	uint64_t at = SOFT_RAM_BASE + WORKER_DEVICE_AREA;

	at += worker_of(rig)->device[0].slot[s].descriptor * sizeof(struct accel_descriptor);
	return vferry_ram_host(machine_ram(rig->m), at, sizeof(struct accel_descriptor));
}

static void test_lost_job(void **state)
{
	struct accel_descriptor *d;
	struct rig rig;

	(void) state;
	drill_up(&rig);
	d = descriptor_of(&rig, 2);
	assert_int_equal(d->status, ACCEL_JOB_OK);
	d->status = ACCEL_JOB_PENDING;
	expect_complaint(&rig);
	assert_int_equal(rig.v.lost_jobs, 1);
	assert_int_equal(rig.v.spurious, 1);
	rig_down(&rig);
}

static void test_corrupt_dma(void **state)
{
	struct rig rig;

	(void) state;
	drill_up(&rig);
	for (unsigned s = 0; s < 4; s++) {
		uint64_t at = SOFT_RAM_BASE + WORKER_DEVICE_AREA + WORKER_BUFFERS +
			      (2 * s + 1) * WORKER_PAGE + 2047;
		uint8_t *last = vferry_ram_host(machine_ram(rig.m), at, 1);

		/* Whatever the job was: the last byte that it wrote, its result, or its echo. */
		*last ^= 0x10;
		descriptor_of(&rig, s)->result ^= 1;
		if (worker_of(&rig)->device[0].slot[s].op == ACCEL_OP_STORE)
			descriptor_of(&rig, s)->cookie_echo ^= 1;
	}
	expect_complaint(&rig);
	assert_int_equal(rig.v.corrupt_jobs, 4);
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
	sleep_ms(500);
	expect_clean(&rig);
	assert_true(rig.v.peer_writes > 20);
	/* A write that never reached the peer. */
	stop(&rig);
	if (vferry_device_bar_area(machine_device(rig.m, 1), 2, 0, &area) == 0) {
		memset(area.host, 0, area.bytes);
		start(&rig);
		sleep_ms(200);
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
		sleep_ms(200);
		expect_clean(&rig);
		if (machine_reset(rig.m, &err) < 0)
			fail_msg("%s", err.message);
	}
	sleep_ms(200);
	expect_clean(&rig);
	assert_true(rig.v.verified_jobs > 20);
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
		cmocka_unit_test(test_msix),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_lost_interrupt),
		cmocka_unit_test(test_doubled_interrupt),
		cmocka_unit_test(test_lost_job),
		cmocka_unit_test(test_corrupt_dma),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_machine_reset),
		cmocka_unit_test(test_hanging_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
