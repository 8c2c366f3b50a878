/* SPDX-License-Identifier: MIT */
/*
 * cmd_soak.c - `vferry soak`: one machine moves from process to process, again and again; after each
 * time its guest checks all it has.
 *
 * The destination of a round, with devices of its own, is the source of the next. What a vector may
 * fire once too often adds up, as the guest counts from its start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration.h"
#include "side.h"

#define ROUNDS_MAX 100000

enum { OPT_ACCEL = 1, OPT_ROUNDS, OPT_CPUS, OPT_DEVICES, OPT_MEMORY, OPT_RATE, OPT_GUEST_ARGS, OPT_WORK, OPT_DIRTY,
       OPT_IRQCHIP, OPT_TRANSPORT, OPT_JSON };

static const struct tool_option options[] = {
	{ "accel", "auto|kvm|soft", "what runs the vCPUs (auto)", OPT_ACCEL },
	{ "rounds", "N", "migrations (10)", OPT_ROUNDS },
	{ "cpus", "N", "vCPUs (2)", OPT_CPUS },
	{ "devices", "N", "passed-through devices, 0 to 8 (2)", OPT_DEVICES },
	{ "memory", "SIZE", "memory of the machine (256M)", OPT_MEMORY },
	{ "rate", "MB/S", "how fast the guest dirties 64M of it (50)", OPT_RATE },
	{ "guest-args", "\"KEY=VALUE ...\"", "added to the guest's command line", OPT_GUEST_ARGS },
	{ "work", "MS", "how long the guest works before each migration (200)", OPT_WORK },
	{ "dirty", "auto|log|ring", "as of vferry run; KVM only", OPT_DIRTY },
	{ "irqchip", "kernel|split", "as of vferry run; KVM only", OPT_IRQCHIP },
	{ "transport", "tcp|unix", "what it is moved over (tcp, loopback)", OPT_TRANSPORT },
	{ "json", NULL, "rounds and verdicts as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry soak", .arguments = "[options]",
	.summary = "Moves a busy machine from process to process, and asks its guest each time.",
	.options = options,
};

struct soak {
	struct side_options machine;
	const char *dirty, *irqchip;	/* NULL: not said */
	const char *more[5];		/* what these are to `vferry run` */
	const char *more_guest_args;
	char *guest_args;
	uint64_t rounds, work_ms, devices, rate;
	bool json;

	struct processes *processes;
	struct side at;			/* where the machine is */
	uint64_t allowed_spurious;
	uint64_t clean;
	uint64_t *pause_ns;		/* of each round that was clean */
	struct json_object *list;
};

static int take(void *user, int id, const char *value)
{
	static const char *const dirty[] = { "auto", "log", "ring", NULL };
	static const char *const chips[] = { "kernel", "split", NULL };
	struct soak *s = user;
	uint64_t number;

	switch (id) {
	case OPT_ACCEL:
		s->machine.accel = value;
		return tool_accel(value);
	case OPT_ROUNDS:
		return tool_number(value, 1, ROUNDS_MAX, &s->rounds);
	case OPT_CPUS:
		s->machine.cpus = value;
		return tool_number(value, 1, 8, &number);
	case OPT_DEVICES:
		return tool_number(value, 0, SIDE_DEVICES_MAX, &s->devices);
	case OPT_MEMORY:
		s->machine.memory = value;
		return tool_size(value, &number);
	case OPT_RATE:
		return tool_number(value, 0, 1000000, &s->rate);
	case OPT_GUEST_ARGS:
		s->more_guest_args = value;
		return 0;
	case OPT_WORK:
		return tool_number(value, 0, 3600000, &s->work_ms);
	case OPT_DIRTY:
		s->dirty = value;
		return tool_word(value, dirty);
	case OPT_IRQCHIP:
		s->irqchip = value;
		return tool_word(value, chips);
	case OPT_TRANSPORT:
		s->machine.over_unix = !strcmp(value, "unix");
		return s->machine.over_unix || !strcmp(value, "tcp") ? 0 : -EINVAL;
	default:
		s->json = true;
		return 0;
	}
}

/* ---- a round ---- */

static int judge(struct soak *s, struct json_object **ret_verdict, struct vferry_error *err)
{
	uint64_t vectors;
	int ret = side_expect(&s->at, "running", err);

	if (!ret)
		ret = side_vectors(&s->at, &vectors, err);
	if (!ret) {
		s->allowed_spurious += vectors;
		ret = side_judge(&s->at, s->allowed_spurious, ret_verdict, err);
	}
	return ret;
}

/* Takes @state and @verdict. Return: the exit code. */
static int note_round(struct soak *s, uint64_t round, struct json_object *state,
		      struct json_object *verdict)
{
	bool clean = qmp_bool(verdict, "clean");
	uint64_t pause = qmp_uint(state, "x-vferry-downtime-ns", 0);
	struct json_object *o = json_object_new_object();
	char a[32], b[32], c[32];

	json_object_object_add(o, "round", json_object_new_uint64(round));
	json_object_object_add(o, "total-time-ms", json_object_new_uint64(qmp_uint(state, "total-time", 0)));
	json_object_object_add(o, "pause-ns", json_object_new_uint64(pause));
	json_object_object_add(o, "verdict", verdict);
	(void) json_object_array_add(s->list, o);
	if (clean)
		s->pause_ns[s->clean++] = pause;
	if (!s->json) {
		printf("%6llu  %10s  pause %10s  longest gap so far %10s  %s\n",
		       (unsigned long long) round,
		       tool_time_text(qmp_uint(state, "total-time", 0) * 1000000, a),
		       tool_time_text(pause, b),
		       tool_time_text(qmp_uint(verdict, "longest-gap-ns", 0), c),
		       clean ? "clean" : qmp_string(verdict, "first-fault", "not clean"));
		(void) fflush(stdout);
	}
	(void) json_object_put(state);
	return clean ? TOOL_DONE : TOOL_FAILED;
}

static int end_of(const struct vferry_error *err, int ret)
{
	return tool_fail(&usage, ret == -EINTR ? TOOL_CANCELLED : TOOL_FAILED, "%s",
			 err->code ? err->message : strerror(-ret));
}

/* Return: the exit code. */
static int do_round(struct soak *s, uint64_t round)
{
	struct json_object *state = NULL, *verdict = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct side to;
	char name[32];
	int code, ret;

	(void) snprintf(name, sizeof(name), "machine-%llu", (unsigned long long) round);
	ret = side_start(&to, s->processes, &s->machine, name, true, &err);
	if (!ret)
		ret = processes_work(s->processes, (unsigned) s->work_ms, &err);
	code = ret ? end_of(&err, ret) : side_migrate(&usage, &s->at, &to, false, &state);
	if (code) {
		(void) json_object_put(state);
		side_end(&to, s->processes);
		return code;
	}
	side_end(&s->at, s->processes);
	s->at = to;
	ret = judge(s, &verdict, &err);
	if (!ret)
		return note_round(s, round, state, verdict);
	(void) json_object_put(state);
	return end_of(&err, ret);
}

/* ---- all of them ---- */

static void pass_on(struct soak *s)
{
	size_t n = 0;

	if (s->dirty) {
		s->more[n++] = "--dirty";
		s->more[n++] = s->dirty;
	}
	if (s->irqchip) {
		s->more[n++] = "--irqchip";
		s->more[n++] = s->irqchip;
	}
	s->machine.more = s->more;
}

static int set_up(struct soak *s, struct vferry_error *err)
{
	int ret = processes_new(&s->processes, err);

	if (!ret && asprintf(&s->guest_args, "working-set=64M rate=%llu p2p=%s %s",
			     (unsigned long long) s->rate, s->devices > 1 ? "on" : "off",
			     s->more_guest_args) < 0) {
		s->guest_args = NULL;
		ret = -ENOMEM;
	}
	s->machine.guest_args = s->guest_args;
	s->machine.devices = (unsigned) s->devices;
	pass_on(s);
	s->list = json_object_new_array();
	s->pause_ns = calloc(s->rounds, sizeof(*s->pause_ns));
	if (!ret && !s->pause_ns)
		ret = -ENOMEM;
	return ret ? ret : side_start(&s->at, s->processes, &s->machine, "machine-0", false, err);
}

static int run(struct soak *s)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code = TOOL_DONE, ret = set_up(s, &err);

	if (ret)
		return end_of(&err, ret);
	for (uint64_t round = 1; round <= s->rounds && !code; round++)
		code = do_round(s, round);
	return code;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

static void print_end(struct soak *s)
{
	uint64_t median = 0, most = 0;
	char a[32], b[32];

	if (s->clean) {
		qsort(s->pause_ns, s->clean, sizeof(*s->pause_ns), by_size);
		median = s->pause_ns[s->clean / 2];
		most = s->pause_ns[s->clean - 1];
	}
	if (!s->json) {
		printf("%llu of %llu rounds clean; pause %s in the median, %s at most\n",
		       (unsigned long long) s->clean, (unsigned long long) s->rounds,
		       tool_time_text(median, a), tool_time_text(most, b));
		return;
	}
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "rounds", json_object_new_uint64(s->rounds));
	json_object_object_add(o, "clean", json_object_new_uint64(s->clean));
	json_object_object_add(o, "pause-median-ns", json_object_new_uint64(median));
	json_object_object_add(o, "pause-most-ns", json_object_new_uint64(most));
	json_object_object_add(o, "list", json_object_get(s->list));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
					       JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(o);
}

int cmd_soak(int argc, char **argv)
{
	struct soak s = {
		.machine = { .accel = "auto", .memory = "256M", .cpus = "2", .state_size = "4M",
			     .dirty_rate = "1M/s" },
		.more_guest_args = "", .rounds = 10, .work_ms = 200, .devices = 2, .rate = 50,
	};
	int code = tool_parse(&usage, argc, argv, take, &s, NULL);

	if (code >= 0)
		return code;
	tool_block_end_signals(NULL);
	code = run(&s);
	print_end(&s);
	(void) qmp_close(s.at.qmp);
	(void) processes_free(s.processes);
	(void) json_object_put(s.list);
	free(s.pause_ns);
	free(s.guest_args);
	return code;
}
