/* SPDX-License-Identifier: MIT */
/*
 * cmd_demo.c - `vferry demo`: two machines with two software devices each, all in processes of their
 * own; the guest works, is moved while it works, and says at the end what it saw.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration.h"
#include "side.h"

#define DEVICES 2
#define WORK_MS 2000
#define AFTER_MS 1000
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
	struct side source, destination;
	struct json_object *migration, *verdict;
};

static int take(void *user, int id, const char *value)
{
	struct demo *d = user;
	uint64_t bytes;

	switch (id) {
	case OPT_ACCEL:
		d->accel = value;
		return tool_accel(value);
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

/* ---- both sides ---- */

static int set_up(struct demo *d, struct vferry_error *err)
{
	/* The second device has something to move before the pause, that goes on changing. */
	const struct side_options machine = {
		.accel = d->accel, .memory = d->memory, .guest_args = GUEST_ARGS, .cpus = "2",
		.devices = DEVICES, .state_size = "64M", .dirty_rate = "4M/s", .over_unix = d->over_unix,
	};
	int ret = processes_new(&d->processes, err);

	if (!ret)
		ret = side_start(&d->source, d->processes, &machine, "source", false, err);
	return ret ? ret : side_start(&d->destination, d->processes, &machine, "destination", true,
				      err);
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

static int judge(struct demo *d, struct vferry_error *err)
{
	uint64_t vectors;
	int ret = side_vectors(&d->destination, &vectors, err);

	return ret ? ret : side_judge(&d->destination, vectors, &d->verdict, err);
}

/* ---- the demo ---- */

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
	int ret = qmp_call(d->source.qmp, "x-vferry-query-machine", NULL, &info, err);

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
	int code = side_migrate(&usage, &d->source, &d->destination, true, &d->migration);

	if (code)
		return code;
	if (!d->json) {
		migration_print_end(stdout, d->migration);
		migration_report(stdout, d->migration);
	}
	return TOOL_DONE;
}

static int after(struct demo *d)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = processes_work(d->processes, AFTER_MS, &err);

	/* Exactly one of the two runs it now. */
	if (!ret)
		ret = side_expect(&d->source, "postmigrate", &err);
	if (!ret)
		ret = side_expect(&d->destination, "running", &err);
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
		ret = processes_work(d->processes, WORK_MS, &err);
	if (ret)
		return tool_fail(&usage, ret == -EINTR ? TOOL_CANCELLED : TOOL_FAILED, "%s",
				 err.code ? err.message : strerror(-ret));
	if (!d->json) {
		printf("moving it, live, to %s ...\n", d->destination.uri);
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
	int code = tool_parse(&usage, argc, argv, take, &d, NULL);

	if (code >= 0)
		return code;
	tool_block_end_signals(NULL);
	code = run(&d);
	if (d.json)
		print_json(&d);
	(void) qmp_close(d.source.qmp);
	(void) qmp_close(d.destination.qmp);
	(void) json_object_put(d.migration);
	(void) json_object_put(d.verdict);
	(void) processes_free(d.processes);
	return code;
}
