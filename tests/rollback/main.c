/* SPDX-License-Identifier: MIT */
/*
 * main.c - rollback: makes each thing that can fail in a migration fail, one at a time.
 *
 *   rollback [--json] [--sample N] [--seed S] [--configuration NAME]
 *   rollback --configuration NAME --side SIDE --point POINT [--nth N]     one of them again
 *   rollback --list
 *
 * Dry runs of each configuration count how often each point is passed on each side. Of a point that is
 * passed often, four passings are made to fail: the first two, the middle one and the last. Exits with 0
 * only if all that was counted was injected, nothing was wrong, and every point of the list was passed
 * by some dry run, or configurations.c says why none can.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "rollback.h"

#define INJECTIONS_MAX 8192
#define PER_POINT 4
#define DRY_RUNS 2
/* Of a passing that a run does not come to, for it has fewer: some depend on who is faster. */
#define ATTEMPTS 40
#define JOBS 2

struct injection {
	const struct configuration *c;
	struct fault fault;
	uint64_t counted;		/* passings in the dry runs */
	unsigned attempts;
	bool injected, failed;
	uint64_t ms;
	struct result result;
};

struct options {
	bool json, list;
	size_t sample;
	unsigned seed;
	const char *configuration, *side, *point;
	uint64_t nth;
};

static struct options options = { .seed = 1, .nth = 1 };
static struct injection injections[INJECTIONS_MAX];
static size_t injection_count;
static size_t counted;		/* before the sample was taken */
static bool seen[SIDES][POINTS_MAX];
static unsigned failures;

static uint64_t now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* ---- one scene, in a process ---- */

struct run {
	pid_t pid;			/* 0: none */
	struct result *result;		/* shared */
	struct injection *injection;
	uint64_t began_ms;
};

static void start(struct run *run, const struct configuration *c, const struct fault *fault)
{
	memset(run->result, 0, sizeof(*run->result));
	(void) fflush(NULL);
	run->began_ms = now_ms();
	run->pid = fork();
	if (run->pid < 0) {
		perror("rollback: fork");
		exit(2);
	}
	if (!run->pid)
		scene_run(c, fault, run->result);
}

/* The scene has ended: what is wrong with how, if nothing else was? */
static void judge_end(struct run *run, int status)
{
	char *wrong = run->result->wrong;
	size_t size = sizeof(run->result->wrong);

	if (wrong[0] || (WIFEXITED(status) && !WEXITSTATUS(status)))
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		(void) snprintf(wrong, size, "it did not end");
	else if (WIFSIGNALED(status))
		(void) snprintf(wrong, size, "it died of %s", strsignal(WTERMSIG(status)));
	else
		(void) snprintf(wrong, size, "it exited with %d", WEXITSTATUS(status));
}

static struct result *shared_result(void)
{
	void *at = mmap(NULL, sizeof(struct result), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED) {
		perror("rollback: mmap");
		exit(2);
	}
	return at;
}

/* ---- counting ---- */

static void dry_run(const struct configuration *c, struct result *result)
{
	struct fault none = { 0 };
	struct run run = { .result = result };
	int status;

	start(&run, c, &none);
	while (waitpid(run.pid, &status, 0) < 0 && errno == EINTR)
		;
	judge_end(&run, status);
	if (result->wrong[0]) {
		fprintf(stderr, "rollback: %s without a fault: %s (%s)\n", c->name, result->wrong,
			result->error);
		exit(1);
	}
}

static void plan_point(const struct configuration *c, enum side side, size_t point, uint64_t count)
{
	const uint64_t some[PER_POINT] = { 1, 2, (count + 1) / 2, count };
	uint64_t last = 0;

	for (uint64_t i = 0; i < PER_POINT && i < count; i++) {
		uint64_t nth = count <= PER_POINT ? i + 1 : some[i];

		if (nth == last || injection_count == INJECTIONS_MAX)
			continue;
		last = nth;
		injections[injection_count++] = (struct injection) {
			.c = c, .counted = count,
			.fault = { .side = side, .point = point, .nth = nth,
				   .error = watch_error_of(vferry_trace_get_point(point)) },
		};
	}
}

/* What each of several dry runs passes is counted: so much, a run with a fault comes to as well. */
static void count_points(const struct configuration *c)
{
	struct result *result = shared_result();
	uint64_t least[SIDES][POINTS_MAX];

	for (int i = 0; i < DRY_RUNS; i++) {
		dry_run(c, result);
		for (enum side side = SOURCE; side <= DESTINATION; side++)
			for (size_t p = 1; p <= vferry_trace_point_count(); p++) {
				uint64_t n = result->passed[side][p];

				seen[side][p] |= n != 0;
				if (!i || n < least[side][p])
					least[side][p] = n;
			}
	}
	for (enum side side = SOURCE; side <= DESTINATION; side++)
		for (size_t p = 1; p <= vferry_trace_point_count(); p++)
			if (vferry_trace_get_point(p)->can_fail && least[side][p] &&
			    (!c->only || strstr(vferry_trace_get_point(p)->name, c->only)))
				plan_point(c, side, p, least[side][p]);
	(void) munmap(result, sizeof(*result));
}

/* A part of the plan, the same for the same seed. */
static void take_sample(size_t size)
{
	if (!size || size >= injection_count)
		return;
	srand(options.seed);
	for (size_t i = 0; i < size; i++) {
		size_t other = i + (size_t) rand() % (injection_count - i);
		struct injection kept = injections[i];

		injections[i] = injections[other];
		injections[other] = kept;
	}
	injection_count = size;
}

/* ---- injecting ---- */

static void tell(const struct injection *in)
{
	fprintf(stderr, "rollback: WRONG: %s\n  replay: rollback --configuration %s --side %s --point %s "
		"--nth %llu\n  outcome %d, error %s\n", in->result.wrong, in->c->name,
		side_names[in->fault.side], vferry_trace_get_point(in->fault.point)->name,
		(unsigned long long) in->fault.nth, in->result.source_outcome, in->result.error);
}

/* Return: whether it must be tried once more. */
static bool take_result(struct injection *in, const struct result *result)
{
	uint64_t passed = result->passed[in->fault.side][in->fault.point];

	in->result = *result;
	in->attempts++;
	in->injected = result->fired;
	in->failed = result->wrong[0] != '\0';
	if (in->failed) {
		failures++;
		tell(in);
		return false;
	}
	if (in->injected || in->attempts == ATTEMPTS)
		return false;
	/* The last of fewer passings is the last, too. */
	if (passed && passed < in->fault.nth)
		in->fault.nth = passed;
	return true;
}

static void reap(struct run *runs, unsigned *running)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);

	for (int i = 0; i < JOBS; i++) {
		struct run *run = &runs[i];

		if (pid <= 0 || run->pid != pid)
			continue;
		run->pid = 0;
		(*running)--;
		judge_end(run, status);
		run->injection->ms += now_ms() - run->began_ms;
		if (take_result(run->injection, run->result)) {
			start(run, run->injection->c, &run->injection->fault);
			(*running)++;
		}
	}
}

static void inject_all(void)
{
	struct run runs[JOBS] = { 0 };
	unsigned running = 0;
	size_t next = 0;

	for (int i = 0; i < JOBS; i++)
		runs[i].result = shared_result();
	while (next < injection_count || running) {
		for (int i = 0; i < JOBS && next < injection_count; i++) {
			if (runs[i].pid)
				continue;
			runs[i].injection = &injections[next++];
			start(&runs[i], runs[i].injection->c, &runs[i].injection->fault);
			running++;
		}
		reap(runs, &running);
	}
	for (int i = 0; i < JOBS; i++)
		(void) munmap(runs[i].result, sizeof(struct result));
}

/* ---- the end ---- */

static size_t injected(void)
{
	size_t n = 0;

	for (size_t i = 0; i < injection_count; i++)
		n += injections[i].injected;
	return n;
}

static bool is_unexplained(enum side side, size_t p)
{
	const struct vferry_trace_point *point = vferry_trace_get_point(p);

	return point->can_fail && !seen[side][p] && !why_never_seen(point->name, side);
}

static unsigned count_unexplained(bool print)
{
	unsigned n = 0;

	for (enum side side = SOURCE; side <= DESTINATION && !options.configuration; side++)
		for (size_t p = 1; p <= vferry_trace_point_count(); p++) {
			if (!is_unexplained(side, p))
				continue;
			n++;
			if (print)
				fprintf(stderr, "rollback: no configuration passes %s on the %s\n",
					vferry_trace_get_point(p)->name, side_names[side]);
		}
	return n;
}

static struct json_object *text(const char *value)
{
	return json_object_new_string(value);
}

static struct json_object *number(uint64_t value)
{
	return json_object_new_uint64(value);
}

static struct json_object *injection_json(const struct injection *in)
{
	struct json_object *to = json_object_new_object();

	json_object_object_add(to, "configuration", text(in->c->name));
	json_object_object_add(to, "side", text(side_names[in->fault.side]));
	json_object_object_add(to, "point", text(vferry_trace_get_point(in->fault.point)->name));
	json_object_object_add(to, "nth", number(in->fault.nth));
	json_object_object_add(to, "of", number(in->counted));
	json_object_object_add(to, "errno", text(vferry_errno_name(in->fault.error)));
	json_object_object_add(to, "injected", json_object_new_boolean(in->injected));
	json_object_object_add(to, "outcome", json_object_new_int(in->result.source_outcome));
	json_object_object_add(to, "ms", number(in->ms));
	json_object_object_add(to, "device-lost", json_object_new_boolean(in->result.device_lost));
	if (in->result.error[0])
		json_object_object_add(to, "error", text(in->result.error));
	if (in->failed)
		json_object_object_add(to, "wrong", text(in->result.wrong));
	return to;
}

static struct json_object *never_json(void)
{
	struct json_object *list = json_object_new_array();

	for (enum side side = SOURCE; side <= DESTINATION; side++)
		for (size_t p = 1; p <= vferry_trace_point_count(); p++) {
			const struct vferry_trace_point *point = vferry_trace_get_point(p);
			struct json_object *entry;

			if (!point->can_fail || seen[side][p])
				continue;
			entry = json_object_new_object();
			json_object_object_add(entry, "point", text(point->name));
			json_object_object_add(entry, "side", text(side_names[side]));
			json_object_object_add(entry, "why", why_never_seen(point->name, side)
					       ? text(why_never_seen(point->name, side)) : NULL);
			json_object_array_add(list, entry);
		}
	return list;
}

static void print_json(void)
{
	struct json_object *to = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(to, "counted", number(counted));
	json_object_object_add(to, "chosen", number(injection_count));
	json_object_object_add(to, "injected", number(injected()));
	json_object_object_add(to, "wrong", number(failures));
	json_object_object_add(to, "seed", number(options.seed));
	json_object_object_add(to, "passings-of-a-point", number(PER_POINT));
	json_object_object_add(to, "never-passed", never_json());
	for (size_t i = 0; i < injection_count; i++)
		json_object_array_add(list, injection_json(&injections[i]));
	json_object_object_add(to, "faults", list);
	puts(json_object_to_json_string_ext(to, JSON_C_TO_STRING_PRETTY |
						JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(to);
}

static int finish(void)
{
	unsigned unexplained = count_unexplained(true);
	bool good = injected() == injection_count && injection_count && !failures && !unexplained;

	for (size_t i = 0; i < injection_count; i++)
		if (!injections[i].injected && !injections[i].failed)
			fprintf(stderr, "rollback: never came to %s %s:%llu on the %s\n",
				injections[i].c->name,
				vferry_trace_get_point(injections[i].fault.point)->name,
				(unsigned long long) injections[i].fault.nth,
				side_names[injections[i].fault.side]);
	if (options.json)
		print_json();
	fprintf(stderr, "rollback: %zu counted, %zu chosen (seed %u), %zu injected, %u wrong, "
		"%u points never passed and not explained\n", counted, injection_count, options.seed,
		injected(), failures, unexplained);
	return good ? 0 : 1;
}

/* ---- options ---- */

static const struct configuration *find_configuration(const char *name)
{
	for (size_t i = 0; i < configuration_count; i++)
		if (!strcmp(configurations[i].name, name))
			return &configurations[i];
	fprintf(stderr, "rollback: no configuration '%s'; --list has them\n", name);
	exit(2);
}

static void plan_one(void)
{
	size_t point = vferry_trace_find_point(options.point);

	if (!options.configuration || !point || !options.nth ||
	    (options.side && strcmp(options.side, "source") && strcmp(options.side, "destination"))) {
		fprintf(stderr, "rollback: --point needs --configuration, a point that exists, and "
			"--side source or destination\n");
		exit(2);
	}
	injections[0] = (struct injection) {
		.c = find_configuration(options.configuration), .counted = options.nth,
		.fault = { .side = options.side && options.side[0] == 'd' ? DESTINATION : SOURCE,
			   .point = point, .nth = options.nth,
			   .error = watch_error_of(vferry_trace_get_point(point)) },
	};
	injection_count = 1;
}

static void plan_all(void)
{
	for (size_t i = 0; i < configuration_count; i++)
		if (!options.configuration ||
		    &configurations[i] == find_configuration(options.configuration))
			count_points(&configurations[i]);
}

static int list(void)
{
	for (size_t i = 0; i < configuration_count; i++)
		printf("%-12s %s\n", configurations[i].name, configurations[i].sentence);
	return 0;
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "json", no_argument, NULL, 'j' }, { "list", no_argument, NULL, 'l' },
		{ "sample", required_argument, NULL, 'n' }, { "seed", required_argument, NULL, 's' },
		{ "configuration", required_argument, NULL, 'c' },
		{ "side", required_argument, NULL, 'w' }, { "point", required_argument, NULL, 'p' },
		{ "nth", required_argument, NULL, 't' }, { 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'j':
			options.json = true;
			break;
		case 'l':
			options.list = true;
			break;
		case 'n':
			options.sample = strtoull(optarg, NULL, 10);
			break;
		case 's':
			options.seed = (unsigned) strtoul(optarg, NULL, 10);
			break;
		case 'c':
			options.configuration = optarg;
			break;
		case 'w':
			options.side = optarg;
			break;
		case 'p':
			options.point = optarg;
			break;
		case 't':
			options.nth = strtoull(optarg, NULL, 10);
			break;
		default:
			exit(2);
		}
	}
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void) st;
	(void) kind;
	(void) where;
	return remove(path);
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/vferry-rollback-XXXXXX";
	int code;

	take_options(argc, argv);
	if (options.list)
		return list();
	if (vferry_trace_point_count() >= POINTS_MAX || !mkdtemp(folder) || chdir(folder)) {
		perror("rollback: no folder to work in");
		return 2;
	}
	if (options.point)
		plan_one();
	else
		plan_all();
	counted = injection_count;
	take_sample(options.sample);
	inject_all();
	code = finish();
	(void) chdir("/");
	(void) nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return code;
}
