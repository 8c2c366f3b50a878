/* SPDX-License-Identifier: MIT */
/*
 * test_permuted.c - the order of a stream is not the order of its restore. A working machine with
 * two devices is saved once; a separate program (tests/streams/permute.py, the first argument)
 * writes it down in other orders, and each of them is loaded into a fresh machine.
 *
 * What is compared is what saving the loaded machine says: every section of every component, the
 * devices' state, all RAM. Its vCPUs are not started before that, but its devices run, and finish
 * the jobs that were under way when it was saved; their interrupts are then part of what is
 * compared.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#include "accel.h"
#include "machines.h"
#include "transfer/file.h"
#include "wire/message.h"

#define DEVICES 2u
#define CPUS 2u
/* Sanitizers make a load many times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEEDS 50u
#else
#define SEEDS 1000u
#endif
#define JUDGED 100u	/* of so many loads one is run on, and its guest asked */
#define SPURIOUS 16u

static const struct accel_server_options device_options = {
	.device = { .state_bytes = 16 << 10, .seed = 7, .overlay_bytes = 1 << 20,
		    .msix_vectors = 8 },
	.precopy = true, .p2p = true, .dma_log = true, .extensions = true,
};

static const char *permute_path;

/* ---- the program that permutes ---- */

struct permuter {
	pid_t pid;
	FILE *orders, *answers;
};

static void permuter_start(struct permuter *p, const char *from, const char *to)
{
	int down[2], up[2];

	assert_int_equal(pipe(down), 0);
	assert_int_equal(pipe(up), 0);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (!p->pid) {
		(void) dup2(down[0], 0);
		(void) dup2(up[1], 1);
		(void) close(down[1]);
		(void) close(up[0]);
		execl("/usr/bin/python3", "python3", permute_path, from, to, "--serve",
		      (char *) NULL);
		_exit(127);
	}
	(void) close(down[0]);
	(void) close(up[1]);
	p->orders = fdopen(down[1], "w");
	p->answers = fdopen(up[0], "r");
	assert_non_null(p->orders);
	assert_non_null(p->answers);
}

static void permute(struct permuter *p, const char *order)
{
	char answer[16] = "";

	assert_true(fprintf(p->orders, "%s\n", order) > 0);
	assert_int_equal(fflush(p->orders), 0);
	if (!fgets(answer, sizeof(answer), p->answers) || strcmp(answer, "ok\n"))
		fail_msg("%s failed at order %s", permute_path, order);
}

static void permuter_end(struct permuter *p)
{
	int status;

	(void) fclose(p->orders);
	(void) fclose(p->answers);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	assert_int_equal(status, 0);
}

/* ---- machines ---- */

struct world {
	char saved[64], permuted[64], again[64];
	struct test_device
		devices[DEVICES]; /* of the destination: they serve one load after another */
	struct permuter permuter;
};

static void sleep_us(unsigned us)
{
	struct timespec ts = { .tv_nsec = (long) us * 1000 };

	(void) nanosleep(&ts, NULL);
}

static void machine_up(struct test_machine *m, const struct test_device *devices, bool incoming)
{
	struct machine_device_options list[DEVICES] = { 0 };
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;

	o.accel = "soft";
	o.cpus = CPUS;
	o.memory_bytes = MACHINE_MEMORY_MIN;
	o.guest_args = "working-set=256K rate=2 vectors=4 job-bytes=3000 job-delay-us=700 p2p=on";
	o.incoming = incoming;
	o.peers = true;
	o.devices = list;
	o.device_count = DEVICES;
	for (unsigned i = 0; i < DEVICES; i++)
		list[i].uri = devices[i].uri;
	memset(m, 0, sizeof(*m));
	if (machine_new(&o, &m->machine, &err))
		fail_msg("%s: %s", err.id, err.message);
}

static void machine_down(struct test_machine *m)
{
	m->session = vferry_session_free(m->session);
	m->machine = machine_free(m->machine);
}

static int do_nothing(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

/* A session that leaves the vCPUs where they are: parked. */
static const struct vferry_machine_ops parked_ops = {
	.size = sizeof(parked_ops), .stop = do_nothing, .start = do_nothing,
};

static void session_up(struct test_machine *m, const struct vferry_machine_ops *ops)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	m->session = vferry_session_free(m->session);
	if (vferry_session_new(ops, m->machine, &m->session, &err) ||
	    machine_add_to_session(m->machine, m->session, &err))
		fail_msg("%s: %s", err.id, err.message);
}

static void finish(struct test_machine *m, const char *what)
{
	struct vferry_status status;

	assert_int_equal(vferry_session_wait(m->session, 60 * TEST_SECOND_NS), 0);
	vferry_session_get_status(m->session, &status);
	if (status.outcome != VFERRY_OUTCOME_DONE)
		fail_msg("%s: outcome %d: %s: %s: %s", what, status.outcome, status.error.id,
			 status.error.object, status.error.message);
}

static void save(struct test_machine *m, const struct vferry_machine_ops *ops, const char *path)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[80];

	(void) snprintf(uri, sizeof(uri), "file:%s", path);
	session_up(m, ops);
	if (vferry_session_migrate(m->session, uri, &err))
		fail_msg("%s", err.message);
	finish(m, "save");
}

static void load(struct test_machine *m, const char *path, const char *order)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[80];

	(void) snprintf(uri, sizeof(uri), "file:%s", path);
	session_up(m, &parked_ops);
	if (vferry_session_accept(m->session, uri, &err))
		fail_msg("%s", err.message);
	finish(m, order);
}

/* ---- one machine's state ---- */

struct state {
	struct vf_manifest manifest;	/* sorted */
	uint32_t ram_digest;
	uint64_t jobs_done[DEVICES];
};

static int compare_sections(const void *a, const void *b)
{
	const struct vf_manifest_section *x = a, *y = b;

	return x->component != y->component ? (x->component < y->component ? -1 : 1)
					    : (int) x->id - (int) y->id;
}

static int compare_streams(const void *a, const void *b)
{
	const struct vf_manifest_stream *x = a, *y = b;

	return x->component < y->component ? -1 : x->component > y->component;
}

static void read_manifest(const char *path, struct vf_manifest *ret)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_reader *reader;
	struct vf_file_frame frame;
	bool found = false;

	if (vf_file_reader_new(path, &reader, &err))
		fail_msg("%s", err.message);
	while (!found && vf_file_reader_next(reader, &cursor, &frame, &err) > 0) {
		uint8_t *body = malloc(frame.frame.length + 1);

		found = frame.frame.type == VF_FRAME_MANIFEST;
		if (vf_file_reader_body(reader, &frame, body, &err) ||
		    (found && vf_manifest_decode(body, frame.frame.length, ret, &err)))
			fail_msg("%s", err.message);
		free(body);
	}
	assert_true(found);
	(void) vf_file_reader_free(reader);
	qsort(ret->sections, ret->section_count, sizeof(*ret->sections), compare_sections);
	qsort(ret->streams, ret->stream_count, sizeof(*ret->streams), compare_streams);
}

/* Until the jobs that were under way are done: then nothing changes any more. */
static uint64_t settle(struct vferry_device *device)
{
	uint64_t status = ACCEL_STATUS_BUSY;
	uint64_t done = 0;

	for (int i = 0; i < 20000 && status & ACCEL_STATUS_BUSY; i++) {
		assert_int_equal(vferry_device_bar_read(device, 0, ACCEL_REG_STATUS, 4, &status,
							NULL), 0);
		if (status & ACCEL_STATUS_BUSY)
			sleep_us(200);
	}
	assert_int_equal(status, 0);
	assert_int_equal(vferry_device_bar_read(device, 0, ACCEL_REG_JOBS_DONE, 8, &done, NULL), 0);
	return done;
}

static void expect_forwarded(struct test_machine *m, const char *order)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		struct vferry_device_info info;

		vferry_device_get_info(machine_device(m->machine, i), &info);
		if (!info.vectors_connected || info.vectors_forwarded != info.vectors_connected)
			fail_msg("order %s: device %u: %u of %u vectors forwarded: %s", order, i,
				 info.vectors_forwarded, info.vectors_connected,
				 info.not_forwarded_reason);
	}
}

static void take_state(struct test_machine *m, const char *again, struct state *ret)
{
	for (unsigned i = 0; i < DEVICES; i++)
		ret->jobs_done[i] = settle(machine_device(m->machine, i));
	save(m, &parked_ops, again);
	read_manifest(again, &ret->manifest);
	assert_int_equal(vferry_ram_digest(machine_ram(m->machine), &ret->ram_digest, NULL), 0);
}

static void expect_same(const struct state *is, const struct state *should, const char *order)
{
	const struct vf_manifest *a = &is->manifest, *b = &should->manifest;

	assert_int_equal(a->section_count, b->section_count);
	assert_int_equal(a->stream_count, b->stream_count);
	for (uint32_t i = 0; i < a->section_count; i++)
		if (memcmp(&a->sections[i], &b->sections[i], sizeof(a->sections[i])))
			fail_msg("order %s: section %u of component %u differs", order,
				 b->sections[i].id, b->sections[i].component);
	for (uint32_t i = 0; i < a->stream_count; i++)
		if (a->streams[i].component != b->streams[i].component ||
		    a->streams[i].bytes != b->streams[i].bytes ||
		    a->streams[i].crc != b->streams[i].crc)
			fail_msg("order %s: state of component %u differs", order,
				 b->streams[i].component);
	for (unsigned i = 0; i < DEVICES; i++)
		assert_int_equal(is->jobs_done[i], should->jobs_done[i]);
	if (is->ram_digest != should->ram_digest)
		fail_msg("order %s: RAM differs", order);
}

/* Loads the file into a fresh machine. */
static void load_and_take(struct world *w, const char *path, const char *order, struct state *ret)
{
	struct test_machine m;

	machine_up(&m, w->devices, true);
	load(&m, path, order);
	expect_forwarded(&m, order);
	take_state(&m, w->again, ret);
	machine_down(&m);
}

/* Loads it once more, and lets the guest judge what it finds. */
static void load_and_judge(struct world *w, const char *path, const char *order)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine_verdict v;
	struct test_machine m;

	machine_up(&m, w->devices, true);
	load(&m, path, order);
	if (machine_start(m.machine, &err) ||
	    machine_judge(m.machine, 30 * TEST_SECOND_NS, &v, &err))
		fail_msg("order %s: %s: %s", order, err.id, err.message);
	if (!machine_verdict_clean(&v, SPURIOUS) || !v.verified_jobs)
		fail_msg("order %s: the guest found %s (spurious %llu)", order, v.first_fault,
			 (unsigned long long) v.spurious);
	expect_forwarded(&m, order);
	machine_down(&m);
}

/* ---- the tests ---- */

static void make_path(char to[64], const char *name)
{
	/* In memory where that can be: syncing a disk is not what is tested here. */
	(void) snprintf(to, 64, "%s/vferry-permuted-%d-%s",
			access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (int) getpid(), name);
}

/* A machine that works is saved, with jobs under way. */
static void save_working_machine(const char *path)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct test_device devices[DEVICES];
	struct test_machine m;
	struct machine_verdict v;

	for (unsigned i = 0; i < DEVICES; i++)
		test_device_start(&devices[i], &device_options, NULL);
	machine_up(&m, devices, false);
	if (machine_start(m.machine, &err))
		fail_msg("%s", err.message);
	do {
		sleep_us(10000);
		assert_int_equal(machine_get_verdict(m.machine, &v), 0);
	} while (v.verified_jobs < 100);
	save(&m, machine_session_ops(), path);
	machine_down(&m);
	for (unsigned i = 0; i < DEVICES; i++)
		test_device_stop(&devices[i]);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	make_path(w->saved, "saved");
	make_path(w->permuted, "permuted");
	make_path(w->again, "again");
	save_working_machine(w->saved);
	permuter_start(&w->permuter, w->saved, w->permuted);
	for (unsigned i = 0; i < DEVICES; i++) {
		struct accel_server_options each = device_options;

		test_device_start(&w->devices[i], &each, NULL);
	}
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < DEVICES; i++)
		test_device_stop(&w->devices[i]);
	permuter_end(&w->permuter);
	(void) unlink(w->saved);
	(void) unlink(w->permuted);
	(void) unlink(w->again);
	free(w);
	return 0;
}

static void try_order(struct world *w, const char *order, const struct state *should)
{
	struct state is = { 0 };

	permute(&w->permuter, order);
	load_and_take(w, w->permuted, order, &is);
	expect_same(&is, should, order);
	vf_manifest_done(&is.manifest);
}

static void historical_orders_load_to_the_same(void **state)
{
	static const char *const orders[] = { "historical-iterative", "historical-last" };
	struct world *w = *state;
	struct state should = { 0 };

	load_and_take(w, w->saved, "as saved", &should);
	load_and_judge(w, w->saved, "as saved");
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		try_order(w, orders[i], &should);
		load_and_judge(w, w->permuted, orders[i]);
	}
	vf_manifest_done(&should.manifest);
}

static void permutations_load_to_the_same(void **state)
{
	struct world *w = *state;
	struct state should = { 0 };
	char order[16];

	load_and_take(w, w->saved, "as saved", &should);
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		(void) snprintf(order, sizeof(order), "%u", seed);
		try_order(w, order, &should);
		if (seed % JUDGED == 0)
			load_and_judge(w, w->permuted, order);
	}
	vf_manifest_done(&should.manifest);
	print_message("%u permutations loaded to one state\n", SEEDS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(historical_orders_load_to_the_same),
		cmocka_unit_test(permutations_load_to_the_same),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s PERMUTE.PY\n", argv[0]);
		return 1;
	}
	permute_path = argv[1];
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
