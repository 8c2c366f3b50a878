/* SPDX-License-Identifier: MIT */
/*
 * embed.c - the smallest program that migrates a machine with vferry.
 *
 * The machine is made up: 16 MiB of RAM, and one CPU, a thread that writes the number of each of its
 * steps into the next page. The number is its only register. The program forks: parent and child are
 * two hosts with one machine each, joined by a socket pair. The parent's machine works for a while and
 * is then moved, while it works, to the child, where it goes on with the step after its last.
 * Both sides end with 0 only if every page holds what the CPU wrote there last.
 *
 *     cc -o embed embed.c $(pkg-config --cflags --libs vferry) -pthread
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vferry/vferry.h>

#define PAGE_BYTES 4096u
#define PAGES 4096u

struct machine {
	struct vferry_ram *ram;
	pthread_t cpu;
	bool running;
	uint64_t steps;		/* the CPU's register */
};

static void sleep_ms(long ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void) nanosleep(&time, NULL);
}

/* ---- the machine: how it runs, stops and starts ---- */

static void *cpu_main(void *user)
{
	struct machine *m = user;

	while (__atomic_load_n(&m->running, __ATOMIC_ACQUIRE)) {
		uint64_t step = m->steps + 1;

		if (vferry_ram_write(m->ram, step % PAGES * PAGE_BYTES, &step, sizeof(step)))
			abort();
		m->steps = step;
		if (step % 64 == 0)
			sleep_ms(1);
	}
	return NULL;
}

static int machine_start(void *user, struct vferry_error *err)
{
	struct machine *m = user;
	int error;

	__atomic_store_n(&m->running, true, __ATOMIC_RELEASE);
	error = pthread_create(&m->cpu, NULL, cpu_main, m);
	if (error)
		return vferry_error_set(err, -error, "no-cpu", "cpu", "cannot start the CPU");
	return 0;
}

static int machine_stop(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	(void) err;
	__atomic_store_n(&m->running, false, __ATOMIC_RELEASE);
	(void) pthread_join(m->cpu, NULL);
	return 0;
}

static const struct vferry_machine_ops machine_ops = {
	.size = sizeof(machine_ops),
	.stop = machine_stop,
	.start = machine_start,
};

/* ---- its one component: the CPU's register ---- */

static int save_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct machine *m = user;

	(void) err;
	vferry_write_u64(vferry_step_writer(step), m->steps);
	return 0;
}

static int load_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_reader *r = vferry_step_reader(step);
	struct machine *m = user;
	uint64_t steps = vferry_read_u64(r);

	if (!vferry_reader_done(r))
		return vferry_error_set(err, -EBADMSG, "bad-cpu", "cpu/0", "one number is expected");
	m->steps = steps;
	return 0;
}

static const struct vferry_section_desc cpu_sections[] = {
	{ .id = 1, .name = "steps", .version = 1, .oldest = 1, .max_bytes = sizeof(uint64_t) },
};

/* When a step runs follows from its class; docs/order.md has the rules. */
static const struct vferry_step_desc cpu_steps[] = {
	{ .size = sizeof(*cpu_steps), .step_class = VFERRY_SAVE_CPU, .name = "save", .section = 1,
	  .run = save_cpu },
	{ .size = sizeof(*cpu_steps), .step_class = VFERRY_LOAD_CPU_REGS, .name = "load", .section = 1,
	  .run = load_cpu },
};

/* ---- one side of the migration ---- */

static int fail(const char *side, const struct vferry_error *err)
{
	(void) fprintf(stderr, "%s: %s: %s\n", side, err->object, err->message);
	return 1;
}

static int new_session(struct machine *m, struct vferry_session **ret_session,
		       struct vferry_error *err)
{
	const struct vferry_component cpu = {
		.size = sizeof(cpu), .name = "cpu/0", .user = m,
		.sections = cpu_sections, .section_count = 1,
		.steps = cpu_steps, .step_count = 2,
	};
	int ret = vferry_ram_new(&m->ram);

	if (!ret)
		ret = vferry_ram_create_block(m->ram, "ram0", 0, (uint64_t) PAGES * PAGE_BYTES, 0, err);
	if (ret < 0 || (ret = vferry_session_new(&machine_ops, m, ret_session, err)))
		return ret;
	ret = vferry_session_set_ram(*ret_session, m->ram);
	if (!ret)
		ret = vferry_session_set_machine(*ret_session, "example-v1");
	if (!ret)
		ret = vferry_session_add_component(*ret_session, &cpu, err);
	return ret;
}

/* How many pages do not hold the last step that wrote them? */
static unsigned wrong_pages(const struct machine *m)
{
	unsigned wrong = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t expected = m->steps < page ? 0 : m->steps - (m->steps - page) % PAGES;
		uint64_t found = 0;

		if (vferry_ram_read(m->ram, page * PAGE_BYTES, &found, sizeof(found)) ||
		    found != expected)
			wrong++;
	}
	return wrong;
}

static int source(const char *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_session *session = NULL;
	struct machine m = { .ram = NULL };
	struct vferry_status status;

	if (new_session(&m, &session, &err) || machine_start(&m, &err))
		return fail("source", &err);
	sleep_ms(200);
	if (vferry_session_migrate(session, uri, &err))
		return fail("source", &err);
	(void) vferry_session_wait(session, 0);
	vferry_session_get_status(session, &status);
	session = vferry_session_free(session);
	if (status.outcome != VFERRY_OUTCOME_DONE)
		return fail("source", &status.error);
	printf("source: stopped at step %llu; %llu KiB of RAM sent; the machine stood still for %llu us\n",
	       (unsigned long long) m.steps, (unsigned long long) status.ram_sent_bytes / 1024,
	       (unsigned long long) status.downtime_ns / 1000);
	m.ram = vferry_ram_free(m.ram);
	return 0;
}

static int destination(const char *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_session *session = NULL;
	struct machine m = { .ram = NULL };
	struct vferry_status status;
	unsigned wrong;

	if (new_session(&m, &session, &err) || vferry_session_accept(session, uri, &err))
		return fail("destination", &err);
	(void) vferry_session_wait(session, 0);
	vferry_session_get_status(session, &status);
	session = vferry_session_free(session);
	if (status.outcome != VFERRY_OUTCOME_DONE)
		return fail("destination", &status.error);
	sleep_ms(200);
	(void) machine_stop(&m, &err);
	wrong = wrong_pages(&m);
	printf("destination: went on to step %llu; %u of %u pages are wrong\n",
	       (unsigned long long) m.steps, wrong, PAGES);
	m.ram = vferry_ram_free(m.ram);
	return wrong ? 1 : 0;
}

int main(void)
{
	char uri[32];
	int pair[2];
	int status, ret;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || (child = fork()) < 0)
		return 1;
	(void) close(pair[child ? 1 : 0]);	/* a side that dies must be seen to hang up */
	(void) snprintf(uri, sizeof(uri), "fd:%d", pair[child ? 0 : 1]);
	if (!child)
		return destination(uri);
	ret = source(uri);
	(void) close(pair[0]);
	return waitpid(child, &status, 0) == child && !status ? ret : 1;
}
