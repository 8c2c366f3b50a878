/* SPDX-License-Identifier: MIT */
/*
 * cmd_demo.c - `vferry demo`: two machines with two software devices each, all in processes of their
 * own; the guest works, is moved while it works, and says at the end what it saw.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration.h"
#include "processes.h"

#define DEVICES 2
#define WORK_MS 2000
#define AFTER_MS 1000
#define JUDGE_SECONDS 30
#define GUEST_ARGS "working-set=64M rate=60 p2p=on"

enum { OPT_MEMORY = 1, OPT_TRANSPORT, OPT_ACCEL, OPT_JSON };

static const struct tool_option options[] = {
	{ "accel", "auto|kvm|soft", "what runs the vCPUs (auto)", OPT_ACCEL },
	{ "memory", "SIZE", "memory of the machine (256M)", OPT_MEMORY },
	{ "transport", "tcp|unix", "what it is moved over (tcp, loopback)", OPT_TRANSPORT },
	{ "json", NULL, "migration and verdict as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry demo", .arguments = "[options]",
	.summary = "Moves a busy machine with two passed-through devices from one process to another.",
	.options = options,
};

struct demo {
	const char *memory, *accel;
	bool over_unix, json;
	struct processes *processes;
	char socket[2][DEVICES][256];		/* of the devices; source, destination */
	char control[2][256];
	char uri[256];
	struct qmp *qmp[2];
	struct json_object *migration, *verdict, *machines[2];
};

static int take(void *user, int id, const char *value)
{
	struct demo *d = user;
	uint64_t bytes;

	switch (id) {
	case OPT_ACCEL:
		d->accel = value;
		return strcmp(value, "auto") && strcmp(value, "kvm") && strcmp(value, "soft") ? -EINVAL : 0;
	case OPT_MEMORY:
		d->memory = value;
		return tool_size(value, &bytes);
	case OPT_TRANSPORT:
		d->over_unix = !strcmp(value, "unix");
		return d->over_unix || !strcmp(value, "tcp") ? 0 : -EINVAL;
	default:
		d->json = true;
		return 0;
	}
}

/* ---- processes ---- */

static const char *const side_names[2] = { "source", "destination" };

static int start_devices(struct demo *d, int side, struct vferry_error *err)
{
	for (int i = 0; i < DEVICES; i++) {
		/* The second has something to move before the pause, that goes on changing. */
		const char *const argv[] = {
			"device", "--model", "accel", "--socket", d->socket[side][i],
			"--state-size", i ? "64M" : "1M", "--dirty-rate", i ? "4M/s" : "0", NULL,
		};
		char name[32];
		int ret;

		(void) snprintf(name, sizeof(name), "%s-device-%d", side_names[side], i);
		(void) snprintf(d->socket[side][i], sizeof(d->socket[side][i]), "%s/%s.sock",
				processes_dir(d->processes), name);
		ret = processes_start(d->processes, name, argv, NULL, 0, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int start_machine(struct demo *d, int side, struct vferry_error *err)
{
	char devices[DEVICES][280], incoming[300], line[400];
	const char *argv[] = {
		"run", "--accel", d->accel, "--cpus", "2", "--memory", d->memory, "--guest-args", GUEST_ARGS,
		"--control", d->control[side], "--device", devices[0], "--device", devices[1],
		side ? "--incoming" : NULL, incoming, NULL,
	};
	int ret;

	(void) snprintf(d->control[side], sizeof(d->control[side]), "%s/%s.qmp",
			processes_dir(d->processes), side_names[side]);
	for (int i = 0; i < DEVICES; i++)
		(void) snprintf(devices[i], sizeof(devices[i]), "vfio-user:%s", d->socket[side][i]);
	if (d->over_unix)
		(void) snprintf(incoming, sizeof(incoming), "unix:%s/migration.sock",
				processes_dir(d->processes));
	else
		(void) snprintf(incoming, sizeof(incoming), "tcp:127.0.0.1:0");
	ret = processes_start(d->processes, side_names[side], argv, line, sizeof(line), err);
	if (!ret && side && strstr(line, "incoming="))
		(void) snprintf(d->uri, sizeof(d->uri), "%.255s",
				strstr(line, "incoming=") + strlen("incoming="));
	return ret ? ret : qmp_open(d->control[side], &d->qmp[side], err);
}

static int set_up(struct demo *d, struct vferry_error *err)
{
	int ret = processes_new(&d->processes, err);

	for (int side = 0; side < 2 && !ret; side++) {
		ret = start_devices(d, side, err);
		if (!ret)
			ret = start_machine(d, side, err);
	}
	return ret;
}

/* ---- verdict ---- */

static unsigned long long count_of(struct json_object *o, const char *name)
{
	return (unsigned long long) qmp_uint(o, name, 0);
}

static void print_verdict(struct json_object *v)
{
	char a[32], b[32], c[32];

	printf("\nwhat the guest says\n");
	printf("  memory      %llu pages dirtied, %llu checked, %llu corrupt\n",
	       count_of(v, "dirtied-pages"), count_of(v, "checked-pages"),
	       count_of(v, "corrupt-pages"));
	printf("  DMA jobs    %llu verified, %llu corrupt, %llu failed, %llu lost, %llu unnoticed\n",
	       count_of(v, "verified-jobs"), count_of(v, "corrupt-jobs"), count_of(v, "failed-jobs"),
	       count_of(v, "lost-jobs"), count_of(v, "unnoticed-jobs"));
	printf("  device to device  %llu writes verified, %llu lost\n", count_of(v, "peer-writes"),
	       count_of(v, "lost-peer-writes"));
	printf("  interrupts  %llu, %llu of them spurious, %llu unknown\n", count_of(v, "interrupts"),
	       count_of(v, "spurious"), count_of(v, "unknown-interrupts"));
	printf("  longest gap %s", tool_time_text(qmp_uint(v, "longest-gap-ns", 0), a));
	/* On bare metal a guest can't tell a pause from a gap. */
	if (qmp_uint(v, "longest-gap-running-ns", 0))
		printf("; %s with pauses left out",
		       tool_time_text(qmp_uint(v, "longest-gap-running-ns", 0), b));
	printf("; paused for %s in all\n", tool_time_text(qmp_uint(v, "paused-ns", 0), c));
	printf("  clock       went back %llu times\n", count_of(v, "clock-backward"));
	if (qmp_bool(v, "clean"))
		printf("verdict: nothing is wrong\n");
	else
		printf("verdict: SOMETHING IS WRONG: %s\n", qmp_string(v, "first-fault", "see above"));
}

/* Each vector that the migration disconnected may have fired once too often. */
static uint64_t vectors(struct json_object *state)
{
	struct json_object *devices = qmp_member(state, "x-vferry-devices");
	uint64_t count = 0;

	for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
		count += qmp_uint(json_object_array_get_idx(devices, i), "vectors-connected", 0);
	return count;
}

static int judge(struct demo *d, struct vferry_error *err)
{
	struct json_object *arguments = json_object_new_object(), *state;
	int ret = qmp_call(d->qmp[1], "query-migrate", NULL, &state, err);

	if (ret) {
		(void) json_object_put(arguments);
		return ret;
	}
	json_object_object_add(arguments, "judge", json_object_new_boolean(true));
	json_object_object_add(arguments, "timeout", json_object_new_int(JUDGE_SECONDS));
	json_object_object_add(arguments, "allowed-spurious", json_object_new_uint64(vectors(state)));
	(void) json_object_put(state);
	return qmp_call(d->qmp[1], "x-vferry-verdict", arguments, &d->verdict, err);
}

/* ---- the demo ---- */

static int work(struct demo *d, unsigned ms, struct vferry_error *err)
{
	const char *dead;

	if (processes_sleep(ms))
		return vferry_error_set(err, -EINTR, "interrupted", NULL, "interrupted");
	dead = processes_dead(d->processes);
	return dead ? vferry_error_set(err, -ECHILD, "child-ended", dead, "the %s is gone", dead) : 0;
}

static void say(const struct demo *d, const char *text)
{
	if (!d->json) {
		puts(text);
		(void) fflush(stdout);
	}
}

static int say_working(struct demo *d, struct vferry_error *err)
{
	struct json_object *info;
	int ret = qmp_call(d->qmp[0], "x-vferry-query-machine", NULL, &info, err);

	if (ret)
		return ret;
	if (!d->json) {
		printf("the guest works, on %s: it dirties memory, keeps its devices busy and checks both ...\n",
		       qmp_string(qmp_member(info, "machine"), "accel", "?"));
		(void) fflush(stdout);
	}
	(void) json_object_put(info);
	return 0;
}

/* Return: the exit code. */
static int migrate(struct demo *d)
{
	const struct migration_request request = { .control = d->control[0], .uri = d->uri };
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code, ret = migration_start(d->qmp[0], &request, &err);

	if (ret)
		return tool_fail(&usage, TOOL_FAILED, "%s", err.message);
	code = migration_follow(&usage, d->qmp[0], &d->migration);
	if (code)
		return tool_fail(&usage, code, "the migration did not end well: %s",
				 qmp_string(d->migration, "error-desc", "no reason was given"));
	if (!d->json) {
		migration_print_end(stdout, d->migration);
		migration_report(stdout, d->migration);
	}
	return TOOL_DONE;
}

/* Exactly one of the two runs it now. */
static int check_machines(struct demo *d, struct vferry_error *err)
{
	static const char *const wanted[2] = { "postmigrate", "running" };

	for (int side = 0; side < 2; side++) {
		int ret = qmp_call(d->qmp[side], "query-status", NULL, &d->machines[side], err);
		const char *status;

		if (ret)
			return ret;
		status = qmp_string(d->machines[side], "status", "");
		if (strcmp(status, wanted[side]))
			return vferry_error_set(err, -EPROTO, "wrong-state", side_names[side],
						"the %s is %s, not %s", side_names[side], status,
						wanted[side]);
	}
	return 0;
}

static int after(struct demo *d)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = work(d, AFTER_MS, &err);

	if (!ret)
		ret = check_machines(d, &err);
	if (!ret)
		ret = judge(d, &err);
	if (ret)
		return tool_fail(&usage, TOOL_FAILED, "%s", err.code ? err.message : strerror(-ret));
	if (!d->json)
		print_verdict(d->verdict);
	return qmp_bool(d->verdict, "clean") ? TOOL_DONE : TOOL_FAILED;
}

static int run(struct demo *d)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code, ret;

	say(d, "starting four device processes and two machines with two devices each ...");
	ret = set_up(d, &err);
	if (!ret)
		ret = say_working(d, &err);
	if (!ret)
		ret = work(d, WORK_MS, &err);
	if (ret)
		return tool_fail(&usage, ret == -EINTR ? TOOL_CANCELLED : TOOL_FAILED, "%s",
				 err.code ? err.message : strerror(-ret));
	if (!d->json) {
		printf("moving it, live, to %s ...\n", d->uri);
		(void) fflush(stdout);
	}
	code = migrate(d);
	return code ? code : after(d);
}

static void print_json(struct demo *d)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "migration", json_object_get(d->migration));
	json_object_object_add(o, "verdict", json_object_get(d->verdict));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
					       JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(o);
}

int cmd_demo(int argc, char **argv)
{
	struct demo d = { .memory = "256M", .accel = "auto" };
	sigset_t signals;
	int code = tool_parse(&usage, argc, argv, take, &d, NULL);

	if (code >= 0)
		return code;
	(void) sigemptyset(&signals);
	(void) sigaddset(&signals, SIGINT);
	(void) sigaddset(&signals, SIGTERM);
	(void) sigprocmask(SIG_BLOCK, &signals, NULL);
	code = run(&d);
	if (d.json)
		print_json(&d);
	for (int side = 0; side < 2; side++) {
		(void) qmp_close(d.qmp[side]);
		(void) json_object_put(d.machines[side]);
	}
	(void) json_object_put(d.migration);
	(void) json_object_put(d.verdict);
	(void) processes_free(d.processes);
	return code;
}
