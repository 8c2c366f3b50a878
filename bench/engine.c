/* SPDX-License-Identifier: MIT */
/*
 * engine.c - one side of a measured migration by vferry: the smallest embedder, with a clock.
 *
 *     bench-engine source|destination --uri URI [--mib N --mix MIX --memory hugetlb|shmem]
 *                  [--channels N --max-downtime MS --budget MS --device URI ...]
 *                  [--report] [--sample]
 *
 * The machine has RAM, one register, and the devices named; no vCPU runs, as in a paused guest.
 * Two processes and whoever starts them keep step by lines:
 *
 *     destination: listens, prints  ready URI
 *     source:      fills its memory, prints  ready , waits for a line with the URI, migrates
 *     both:        print one line of JSON when the session has ended; then answer `digest` lines
 *                  with the sum of all RAM, until end of file
 *
 * A source whose URI is file:PATH saves; a destination with one waits for a line before it loads.
 *
 * Times are CLOCK_MONOTONIC, so those of both sides go together. The pause is measured here, from the
 * session's call of stop() on the source to its call of start() on the destination.
 * --report: the steps of both sides inside the pause, on standard error.
 * --sample: a thread reads this process's memory use every few ms; not for runs that are timed.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vferry/vferry.h>

#include "common.h"
#include "content.h"

#define DEVICES_MAX 16
#define URI_BYTES 256
#define SAMPLE_NS 4000000
#define SEED 1

struct options {
	bool destination;
	const char *uri;
	uint64_t mib;
	enum bench_mix mix;
	uint32_t ram_flags;
	const char *devices[DEVICES_MAX];
	size_t device_count;
	bool sample;
	bool report;
	struct vferry_parameters parameters;
};

struct machine {
	struct vferry_ram *ram;
	struct vferry_irq_plan *irqs;		/* if it has devices */
	struct vferry_device *devices[DEVICES_MAX];
	struct vferry_session *session;
	uint64_t stopped_ns, started_ns;	/* 0: was not */
	uint64_t step;				/* its register */
};

struct sampler {
	pthread_t thread;
	bool running;			/* atomic */
	uint64_t least_kib, most_kib;
};

__attribute__((noreturn)) static void fail(const char *what, const struct vferry_error *err)
{
	(void) fprintf(stderr, "bench-engine: %s: %s: %s (%s)\n", what, err->object, err->message,
		       err->id);
	exit(1);
}

/* ---- memory use ---- */

/* Pss without hugetlb pages, which the kernel counts apart. Guest RAM in shmem is part of it. */
static uint64_t pss_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	uint64_t kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss: %" SCNu64, &kib) == 1)
			break;
	if (f)
		(void) fclose(f);
	return kib;
}

static void *sampler_main(void *arg)
{
	const struct timespec pause = { .tv_nsec = SAMPLE_NS };
	struct sampler *s = arg;

	while (__atomic_load_n(&s->running, __ATOMIC_RELAXED)) {
		uint64_t kib = pss_kib();

		if (kib > s->most_kib)
			s->most_kib = kib;
		(void) nanosleep(&pause, NULL);
	}
	return NULL;
}

static void sampler_start(struct sampler *s)
{
	s->least_kib = s->most_kib = pss_kib();
	s->running = true;
	if (pthread_create(&s->thread, NULL, sampler_main, s))
		bench_die("thread");
}

static void sampler_stop(struct sampler *s)
{
	__atomic_store_n(&s->running, false, __ATOMIC_RELAXED);
	(void) pthread_join(s->thread, NULL);
}

/* ---- the machine ---- */

static int machine_stop(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	(void) err;
	m->stopped_ns = bench_now_ns();
	return 0;
}

static int machine_start(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	(void) err;
	m->started_ns = bench_now_ns();
	return 0;
}

static int save_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct machine *m = user;

	(void) err;
	vferry_write_u64(vferry_step_writer(step), m->step);
	return 0;
}

static int load_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_reader *r = vferry_step_reader(step);
	struct machine *m = user;

	m->step = vferry_read_u64(r);
	if (!vferry_reader_done(r))
		return vferry_error_set(err, -EBADMSG, "bad-cpu", "cpu/0", "one number is expected");
	return 0;
}

static const struct vferry_machine_ops machine_ops = {
	.size = sizeof(machine_ops), .stop = machine_stop, .start = machine_start,
};

static const struct vferry_section_desc cpu_sections[] = {
	{ .id = 1, .name = "step", .version = 1, .oldest = 1, .max_bytes = sizeof(uint64_t) },
};

static const struct vferry_step_desc cpu_steps[] = {
	{ .size = sizeof(*cpu_steps), .step_class = VFERRY_SAVE_CPU, .name = "save", .section = 1,
	  .run = save_cpu },
	{ .size = sizeof(*cpu_steps), .step_class = VFERRY_LOAD_CPU_REGS, .name = "load",
	  .section = 1, .run = load_cpu },
};

/* ---- devices; their interrupts go to a controller that takes and forgets everything ---- */

static int sink_set_routes(void *user, const struct vferry_irq_route *routes, size_t count,
			   struct vferry_error *err)
{
	(void) user, (void) routes, (void) count, (void) err;
	return 0;
}

static int sink_connect(void *user, uint32_t gsi, int eventfd, int resample_eventfd,
			struct vferry_error *err)
{
	(void) user, (void) gsi, (void) eventfd, (void) resample_eventfd, (void) err;
	return 0;
}

static int sink_disconnect(void *user, uint32_t gsi, int eventfd, struct vferry_error *err)
{
	(void) user, (void) gsi, (void) eventfd, (void) err;
	return 0;
}

static const struct vferry_irq_sink sink = {
	.size = sizeof(sink), .gsi_first = 0, .gsi_count = 1024,
	.set_routes = sink_set_routes, .connect = sink_connect, .disconnect = sink_disconnect,
};

static int open_devices(struct machine *m, const struct options *o, struct vferry_error *err)
{
	int ret = 0;

	if (o->device_count)
		ret = vferry_irq_plan_new(&sink, &m->irqs, err);
	if (m->irqs)
		ret = vferry_session_set_irq_plan(m->session, m->irqs);
	for (size_t i = 0; !ret && i < o->device_count; i++) {
		char address[16];
		struct vferry_device_options options = {
			.size = sizeof(options), .address = address, .irqs = m->irqs,
			.requester_id = (uint32_t) (i + 4) << 3,
		};

		(void) snprintf(address, sizeof(address), "00:%02zx.0", i + 4);
		ret = vferry_device_open(o->devices[i], &options, &m->devices[i], err);
		if (!ret)
			ret = vferry_device_attach_ram(m->devices[i], m->ram, err);
		if (!ret)
			ret = vferry_session_add_device(m->session, m->devices[i], err);
	}
	return ret;
}

static void machine_new(struct machine *m, const struct options *o)
{
	const struct vferry_component cpu = {
		.size = sizeof(cpu), .name = "cpu/0", .user = m, .sections = cpu_sections,
		.section_count = 1, .steps = cpu_steps, .step_count = 2,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t bytes = o->mib * BENCH_MIB;
	int ret = vferry_ram_new(&m->ram);

	if (ret || vferry_ram_create_block(m->ram, "ram0", 0, bytes, o->ram_flags, &err) < 0)
		fail("RAM", &err);
	if (!o->destination)
		bench_fill(vferry_ram_host(m->ram, 0, bytes), bytes, o->mix, SEED);
	if (vferry_session_new(&machine_ops, m, &m->session, &err) ||
	    vferry_session_set_ram(m->session, m->ram) ||
	    vferry_session_set_machine(m->session, "bench-v1") ||
	    vferry_session_add_component(m->session, &cpu, &err) ||
	    vferry_session_set_parameters(m->session, &o->parameters, &err) ||
	    open_devices(m, o, &err))
		fail("set-up", &err);
}

static void machine_free(struct machine *m, const struct options *o)
{
	m->session = vferry_session_free(m->session);
	for (size_t i = 0; i < o->device_count; i++)
		m->devices[i] = vferry_device_close(m->devices[i]);
	m->irqs = vferry_irq_plan_free(m->irqs);
	m->ram = vferry_ram_free(m->ram);
}

/* ---- one run ---- */

static const char *await_listening(struct machine *m, struct vferry_status *status)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (;;) {
		vferry_session_get_status(m->session, status);
		if (*status->uri || status->outcome != VFERRY_OUTCOME_PENDING)
			return status->uri;
		(void) nanosleep(&pause, NULL);
	}
}

static void print_result(const struct machine *m, const struct sampler *sampler, uint64_t begin_ns,
			 uint64_t end_ns, uint64_t cpu_ns)
{
	struct vferry_status s;

	vferry_session_get_status(m->session, &s);
	printf("{\"status\":\"%s\",\"begin_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64 ",\"cpu_s\":%.6f,"
	       "\"stopped_ns\":%" PRIu64 ",\"started_ns\":%" PRIu64 ",\"pass\":%u,"
	       "\"sent_mib\":%.1f,\"device_bytes\":%" PRIu64 ",\"downtime_ms\":%.3f,"
	       "\"setup_ms\":%.3f,\"pss_before_kib\":%" PRIu64 ",\"pss_peak_kib\":%" PRIu64 "}\n",
	       s.outcome == VFERRY_OUTCOME_DONE ? "completed" : "failed", begin_ns, end_ns,
	       (double) cpu_ns / 1e9, m->stopped_ns, m->started_ns, s.pass,
	       (double) s.ram_sent_bytes / (double) BENCH_MIB, s.device_sent_bytes,
	       (double) s.downtime_ns / 1e6, (double) s.setup_ns / 1e6, sampler->least_kib,
	       sampler->most_kib);
	(void) fflush(stdout);
	if (s.outcome != VFERRY_OUTCOME_DONE)
		fail("migration", &s.error);
}

static void print_steps(const struct machine *m)
{
	struct vferry_step_report *steps;
	size_t count;

	if (vferry_session_report(m->session, &steps, &count))
		return;
	for (size_t i = 0; i < count; i++)
		if (steps[i].in_pause && steps[i].done)
			(void) fprintf(stderr, "%9.3f %9.3f ms  %s  thread %2u  %10" PRIu64
				       " bytes  %s:%s\n", (double) steps[i].start_ns / 1e6,
				       (double) steps[i].end_ns / 1e6,
				       steps[i].remote ? "there" : "here ", steps[i].thread,
				       steps[i].bytes, steps[i].component, steps[i].name);
	free(steps);
}

static void answer_digests(const struct machine *m)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char line[URI_BYTES];
	uint32_t digest;

	while (fgets(line, sizeof(line), stdin)) {
		if (vferry_ram_digest(m->ram, &digest, &err))
			fail("digest", &err);
		printf("%08x\n", digest);
		(void) fflush(stdout);
	}
}

static void run(struct machine *m, const struct options *o)
{
	bool loads = o->destination && !strncmp(o->uri, "file:", 5);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct sampler sampler = { 0 };
	struct vferry_status status;
	uint64_t begin, end, cpu;
	char uri[URI_BYTES];

	if (!o->destination || loads) {
		printf("ready\n");
		(void) fflush(stdout);
		bench_await(uri, sizeof(uri));
	}
	if (o->sample)
		sampler_start(&sampler);
	begin = bench_now_ns();
	cpu = bench_cpu_ns();
	if (o->destination ? vferry_session_accept(m->session, o->uri, &err) :
			     vferry_session_migrate(m->session, uri, &err))
		fail("start", &err);
	if (o->destination && !loads) {
		printf("ready %s\n", await_listening(m, &status));
		(void) fflush(stdout);
	}
	(void) vferry_session_wait(m->session, 0);
	end = bench_now_ns();
	cpu = bench_cpu_ns() - cpu;
	if (o->sample)
		sampler_stop(&sampler);
	print_result(m, &sampler, begin, end, cpu);
	if (o->report)
		print_steps(m);
	answer_digests(m);
}

static bool take_option(struct options *o, int option, const char *value)
{
	switch (option) {
	case 'u':
		o->uri = value;
		return true;
	case 'm':
		o->mib = bench_number(value);
		return true;
	case 'x':
		return bench_mix_parse(value, &o->mix);
	case 'y':
		o->ram_flags = strcmp(value, "hugetlb") ? 0 : VFERRY_RAM_HUGETLB;
		return true;
	case 'c':
		o->parameters.channels = (uint32_t) bench_number(value);
		return true;
	case 'd':
		o->parameters.max_downtime_ns = bench_number(value) * 1000000;
		return true;
	case 'b':
		o->parameters.pause_budget_ns = bench_number(value) * 1000000;
		return true;
	case 'v':
		if (o->device_count == DEVICES_MAX)
			return false;
		o->devices[o->device_count++] = value;
		return true;
	case 's':
		o->sample = true;
		return true;
	case 'r':
		o->report = true;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "uri", required_argument, NULL, 'u' }, { "mib", required_argument, NULL, 'm' },
		{ "mix", required_argument, NULL, 'x' }, { "memory", required_argument, NULL, 'y' },
		{ "channels", required_argument, NULL, 'c' },
		{ "max-downtime", required_argument, NULL, 'd' },
		{ "budget", required_argument, NULL, 'b' },
		{ "device", required_argument, NULL, 'v' }, { "sample", no_argument, NULL, 's' },
		{ "report", no_argument, NULL, 'r' }, { 0 }
	};
	struct options o = { .mib = 16, .parameters = VFERRY_PARAMETERS_INIT };
	struct machine machine = { 0 };
	int option;

	if (argc < 2 || (strcmp(argv[1], "source") && strcmp(argv[1], "destination"))) {
		(void) fprintf(stderr, "usage: bench-engine source|destination --uri URI ...\n");
		return 1;
	}
	o.destination = !strcmp(argv[1], "destination");
	optind = 2;
	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!take_option(&o, option, optarg))
			return 1;
	if (!o.uri)
		return 1;
	machine_new(&machine, &o);
	run(&machine, &o);
	machine_free(&machine, &o);
	return 0;
}
