/* SPDX-License-Identifier: MIT */
/*
 * migrations.h - one migration of a soft machine with accel devices, step by step, for tests that
 * interfere with it: the guest does something at a certain moment, a device fails at another.
 *
 * The guest is the judge. Nothing here sleeps for a fixed time where it can wait for what it needs.
 */
#ifndef TESTS_MIGRATIONS_H
#define TESTS_MIGRATIONS_H

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "machines.h"

#define MOVE_DEVICE_DEFAULTS { \
	.device = { .state_bytes = 1 << 20, .seed = 7, .overlay_bytes = 16 << 20, \
		    .dirty_rate = 256 << 10, .msix_vectors = 8 }, \
	.precopy = true, .p2p = true, .dma_log = true, .extensions = true }

#define MOVE_ARGS "working-set=4M rate=10 job-delay-us=300 "
#define MOVE_VECTORS 4u		/* what the guest uses of a device if not told otherwise */

struct move {
	/* Set before move_up(). */
	struct machine_options options;
	struct accel_server_options device;
	unsigned devices;
	const char *source_script[TEST_DEVICES_MAX];
	const char *target_script[TEST_DEVICES_MAX];
	struct vferry_parameters parameters;
	uint64_t device_timeout_ns;	/* of a request, a sixth of a transition's; 0 = the library's */

	struct test_machine from, to;
	struct machine_verdict verdict;
};

#define MOVE_INIT { \
	.options = { .size = sizeof(struct machine_options), .accel = "soft", .cpus = 1, \
		     .memory_bytes = 32ull << 20, .gic = MACHINE_GIC_V4_0, .guest = "worker", \
		     .guest_args = MOVE_ARGS }, \
	.device = MOVE_DEVICE_DEFAULTS, .devices = 1, .parameters = VFERRY_PARAMETERS_INIT }

static inline void sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000 };

	(void) nanosleep(&ts, NULL);
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* Until @condition, which may use `i`, the number of milliseconds so far; else fails. */
#define WAIT_FOR(condition, limit_ms)						\
	do {									\
		uint64_t wait_began = now_ms();					\
										\
		while (!(condition)) {						\
			if (now_ms() - wait_began > (limit_ms))			\
				fail_msg("%s:%d: waited in vain for %s",	\
					 __FILE__, __LINE__, #condition);	\
			sleep_ms(1);						\
		}								\
	} while (0)

static inline struct machine_verdict verdict_of(struct test_machine *m)
{
	struct machine_verdict v;

	assert_int_equal(machine_get_verdict(m->machine, &v), 0);
	return v;
}

static inline struct vferry_device_info device_info(struct test_machine *m, unsigned device)
{
	struct vferry_device_info info;

	vferry_device_get_info(machine_device(m->machine, device), &info);
	return info;
}

static inline struct vferry_status status_of(struct test_machine *m)
{
	struct vferry_status status;

	vferry_session_get_status(m->session, &status);
	return status;
}

static inline void guest(struct test_machine *m, const char *command)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_guest_command(m->machine, command, NULL, 0, &err))
		fail_msg("%s: %s: %s", command, err.id, err.message);
}

/* So many more jobs were done and verified: the devices work, and their interrupts arrive. */
static inline void wait_jobs(struct test_machine *m, uint64_t jobs)
{
	uint64_t before = verdict_of(m).verified_jobs;

	if (m->device_count)
		WAIT_FOR(verdict_of(m).verified_jobs >= before + jobs, 10000);
}

/* All jobs submitted so far have ended, and none follows. */
static inline void quiesce_jobs(struct test_machine *m)
{
	struct machine_verdict v;
	uint64_t before;

	guest(m, "jobs off");
	do {
		before = verdict_of(m).submitted_jobs;
		sleep_ms(20);
		v = verdict_of(m);
	} while (v.submitted_jobs != before ||
		 v.verified_jobs + v.voided_jobs + v.lost_jobs + v.failed_jobs + v.corrupt_jobs !=
			 v.submitted_jobs);
}

static inline void target_up(struct move *m)
{
	struct machine_options o = m->options;

	o.incoming = true;
	test_machine_start_scripted(&m->to, &o, &m->device, m->devices, m->target_script,
				    m->device_timeout_ns);
}

static inline void source_up(struct move *m)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	test_machine_start_scripted(&m->from, &m->options, &m->device, m->devices,
				    m->source_script, m->device_timeout_ns);
	if (machine_start(m->from.machine, &err))
		fail_msg("%s: %s", err.id, err.message);
	WAIT_FOR(verdict_of(&m->from).booted && verdict_of(&m->from).dirtied_pages > 0, 10000);
	wait_jobs(&m->from, 8);
}

static inline void move_up(struct move *m)
{
	source_up(m);
	target_up(m);
}

static inline void move_down(struct move *m)
{
	test_machine_free(&m->from);
	test_machine_free(&m->to);
}

static inline void move_begin(struct move *m)
{
	static int count;
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[64];

	(void) snprintf(uri, sizeof(uri), "unix:/tmp/vferry-move-%d-%d", (int) getpid(), count++);
	test_machine_session(&m->from, &m->parameters);
	test_machine_session(&m->to, &m->parameters);
	if (vferry_session_accept(m->to.session, uri, &err) ||
	    vferry_session_migrate(m->from.session, uri, &err))
		fail_msg("%s: %s", err.id, err.message);
}

/* Up to the point where all is sent but what changes still, and the guest runs on. */
static inline void move_hold(struct move *m)
{
	struct vferry_status s;

	m->parameters.hold_before_switchover = true;
	move_begin(m);
	do {
		sleep_ms(1);
		s = status_of(&m->from);
		if (s.outcome != VFERRY_OUTCOME_PENDING)
			fail_msg("ended: %s: %s: %s", s.error.id, s.error.object, s.error.message);
	} while (s.state != VFERRY_STATE_PRE_SWITCHOVER);
}

static inline enum vferry_outcome move_wait(struct move *m)
{
	assert_int_equal(vferry_session_wait(m->from.session, 30 * TEST_SECOND_NS), 0);
	return status_of(&m->from).outcome;
}

static inline void expect_done(struct move *m)
{
	enum vferry_outcome outcome = move_wait(m);
	struct vferry_status s = status_of(&m->from);

	if (outcome != VFERRY_OUTCOME_DONE)
		fail_msg("outcome %d: %s: %s: %s", outcome, s.error.id, s.error.object,
			 s.error.message);
	assert_int_equal(vferry_session_wait(m->to.session, 10 * TEST_SECOND_NS), 0);
	assert_int_equal(status_of(&m->to).outcome, VFERRY_OUTCOME_DONE);
	assert_false(machine_is_running(m->from.machine));
	assert_true(machine_is_running(m->to.machine) || machine_is_powered_off(m->to.machine));
}

static inline void move_continue(struct move *m)
{
	assert_int_equal(vferry_session_continue(m->from.session), 0);
	expect_done(m);
}

static inline void expect_clean(struct move *m, struct test_machine *where, uint64_t spurious)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_judge(where->machine, 30 * TEST_SECOND_NS, &m->verdict, &err))
		fail_msg("%s: %s", err.id, err.message);
	if (!machine_verdict_clean(&m->verdict, spurious))
		fail_msg("not clean: %s (%llu spurious, %llu allowed)", m->verdict.first_fault,
			 (unsigned long long) m->verdict.spurious, (unsigned long long) spurious);
	assert_true(m->verdict.checked_pages > 0);
}

/* Every vector that the guest enabled is connected and, where the controller can, forwarded. */
static inline void expect_connected(struct move *m, struct test_machine *where, uint32_t vectors)
{
	for (unsigned i = 0; i < where->device_count; i++) {
		struct vferry_device_info info = device_info(where, i);

		assert_int_equal(info.vectors_connected, vectors);
		if (m->options.gic >= MACHINE_GIC_V4_0 && info.irq_mode >= VFERRY_IRQ_MODE_MSI &&
		    info.vectors_forwarded != vectors)
			fail_msg("device %u: %u of %u vectors forwarded: %s", i,
				 info.vectors_forwarded, vectors, info.not_forwarded_reason);
	}
}

/* ---- what this process has ---- */

struct belongings {
	unsigned fds, threads;
};

/* A thread stays in /proc for an instant after it was joined, with PF_EXITING in its flags: proc(5). */
static inline bool thread_is_there(const char *tid)
{
	char path[288], line[1024];
	unsigned flags = 0;
	bool there;
	FILE *file;

	(void) snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);
	file = fopen(path, "re");
	there = file && fgets(line, sizeof(line), file);
	if (file)
		(void) fclose(file);
	if (!there)
		return false;
	assert_int_equal(sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %u", &flags), 1);
	return !(flags & 0x4);
}

static inline unsigned count_entries(const char *path, bool (*is_there)(const char *name))
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.' && (!is_there || is_there(entry->d_name));
	(void) closedir(dir);
	return n;
}

static inline struct belongings belongings(void)
{
	return (struct belongings) { count_entries("/proc/self/fd", NULL),
				     count_entries("/proc/self/task", thread_is_there) };
}

static inline void expect_belongings(struct belongings before, uint64_t limit_ms, const char *when)
{
	uint64_t began = now_ms();
	struct belongings now = belongings();

	while ((now.fds != before.fds || now.threads != before.threads) &&
	       now_ms() - began < limit_ms) {
		sleep_ms(2);
		now = belongings();
	}
	if (now.fds != before.fds || now.threads != before.threads)
		fail_msg("%s: %u descriptors and %u threads, were %u and %u", when, now.fds,
			 now.threads, before.fds, before.threads);
}

#endif
