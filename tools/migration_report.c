/* SPDX-License-Identifier: MIT */
/* migration_report.c - a finished migration, for people: see migration.h. */
#include "migration.h"

#include <string.h>

#define COMPONENTS_MAX 256

struct component_bytes {
	const char *name;	/* borrowed from the state */
	uint64_t bytes;
};

/* The session's own bookkeeping is no component. */
static void sum_component(struct component_bytes *list, size_t *count, struct json_object *step)
{
	const char *name = qmp_string(step, "component", "");
	uint64_t bytes = qmp_uint(step, "bytes", 0);
	size_t i = 0;

	if (!*name || !bytes || !strcmp(name, "ram"))
		return;
	while (i < *count && strcmp(list[i].name, name))
		i++;
	if (i == COMPONENTS_MAX)
		return;
	if (i == *count)
		list[(*count)++] = (struct component_bytes) { .name = name };
	list[i].bytes += bytes;
}

static void report_bytes(FILE *to, struct json_object *state)
{
	struct json_object *ram = qmp_member(state, "ram"), *steps = qmp_member(state, "x-vferry-report");
	struct component_bytes list[COMPONENTS_MAX];
	char text[32];
	size_t count = 0;

	fprintf(to, "\nbytes by component\n");
	fprintf(to, "  %-20s %12s   %llu pages, and %llu zero pages that are only named\n", "ram",
		tool_bytes_text(qmp_uint(ram, "transferred", 0), text),
		(unsigned long long) qmp_uint(ram, "normal", 0),
		(unsigned long long) qmp_uint(ram, "duplicate", 0));
	for (size_t i = 0; steps && i < json_object_array_length(steps); i++) {
		struct json_object *step = json_object_array_get_idx(steps, i);

		if (!strcmp(qmp_string(step, "side", ""), "source"))
			sum_component(list, &count, step);
	}
	for (size_t i = 0; i < count; i++)
		fprintf(to, "  %-20s %12s\n", list[i].name, tool_bytes_text(list[i].bytes, text));
	fprintf(to, "  %-20s %12s   of all devices, before and in the pause\n", "device state",
		tool_bytes_text(qmp_uint(qmp_member(state, "vfio"), "transferred", 0), text));
}

static void report_pause(FILE *to, struct json_object *state)
{
	struct json_object *expected = qmp_member(state, "x-vferry-expected-downtime-ns");
	struct json_object *measured = qmp_member(state, "x-vferry-downtime-ns");
	char a[32], b[32];

	fprintf(to, "\npause\n  predicted %s%s, measured %s\n",
		expected && qmp_uint(state, "x-vferry-expected-downtime-unknown-terms", 0) ? "at least "
											   : "",
		expected ? tool_time_text(json_object_get_uint64(expected), a) : "unknown",
		measured ? tool_time_text(json_object_get_uint64(measured), b) : "unknown");
}

/* ---- interrupts ---- */

static void counts_text(struct json_object *side, struct json_object *all, const char *unknown_name,
			char *to, size_t size)
{
	uint64_t connected = qmp_uint(side, "connected", 0), unknown = qmp_uint(side, "unknown", 0);

	if (!side)
		(void) snprintf(to, size, "not known: %s", qmp_string(all, unknown_name, "no word of it"));
	else if (unknown && unknown == connected)
		(void) snprintf(to, size, "not known");
	else if (unknown)
		(void) snprintf(to, size, "%llu of %llu, and %llu not known",
				(unsigned long long) qmp_uint(side, "forwarded", 0),
				(unsigned long long) connected, (unsigned long long) unknown);
	else
		(void) snprintf(to, size, "%llu of %llu",
				(unsigned long long) qmp_uint(side, "forwarded", 0),
				(unsigned long long) connected);
}

/* What is not forwarded, with the reason. @all: what is not connected, too. */
static void report_runs(FILE *to, const char *when, struct json_object *side, bool all)
{
	struct json_object *runs = qmp_member(side, "runs");

	for (size_t i = 0; runs && i < json_object_array_length(runs); i++) {
		struct json_object *run = json_object_array_get_idx(runs, i);
		uint64_t first = qmp_uint(run, "first", 0), count = qmp_uint(run, "count", 0);
		const char *forwarded = qmp_string(run, "forwarded", "unknown");
		char last[32] = "";

		if (!strcmp(forwarded, "yes") || (!all && !qmp_bool(run, "connected")))
			continue;
		if (count > 1)
			(void) snprintf(last, sizeof(last), " to %llu",
					(unsigned long long) (first + count - 1));
		fprintf(to, "    %s, vector%s %llu%s: %s: %s\n", when, count > 1 ? "s" : "",
			(unsigned long long) first, last,
			!qmp_bool(run, "connected") ? "not connected" :
			!strcmp(forwarded, "no") ? "not forwarded" : "not known",
			qmp_string(run, "reason", "no reason given"));
	}
}

static void report_device_interrupts(FILE *to, struct json_object *all, struct json_object *device)
{
	struct json_object *before = qmp_member(device, "before"), *after = qmp_member(device, "after");
	char was[128], is[128];

	counts_text(before, all, "before-unknown", was, sizeof(was));
	counts_text(after, all, "after-unknown", is, sizeof(is));
	fprintf(to, "  %-20s forwarded before: %s; after: %s\n", qmp_string(device, "address", ""), was,
		is);
	if (before && !json_object_equal(qmp_member(before, "runs"), qmp_member(after, "runs")))
		report_runs(to, "before", before, false);
	report_runs(to, "after", after, true);
}

static void report_interrupts(FILE *to, struct json_object *state)
{
	struct json_object *all = qmp_member(state, "x-vferry-interrupts");
	struct json_object *devices = qmp_member(all, "devices");
	size_t count = devices ? json_object_array_length(devices) : 0;

	if (count)
		fprintf(to, "\ninterrupts (forwarded: delivered by hardware; of vectors that are connected)\n");
	for (size_t i = 0; i < count; i++)
		report_device_interrupts(to, all, json_object_array_get_idx(devices, i));
}

void migration_warn_interrupts(FILE *to, struct json_object *state)
{
	struct json_object *devices = qmp_member(qmp_member(state, "x-vferry-interrupts"), "devices");

	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);
		uint64_t lost = qmp_uint(device, "lost", 0), doubtful = qmp_uint(device, "doubtful", 0);

		if (lost)
			fprintf(to, "WARNING: %s: %llu vector%s that hardware delivered before %s not "
				    "forwarded any more: each interrupt goes by way of the host\n",
				qmp_string(device, "address", ""), (unsigned long long) lost,
				lost > 1 ? "s" : "", lost > 1 ? "are" : "is");
		if (doubtful)
			fprintf(to, "WARNING: %s: of %llu vector%s that hardware delivered before it is not "
				    "known whether %s forwarded now\n",
				qmp_string(device, "address", ""), (unsigned long long) doubtful,
				doubtful > 1 ? "s" : "", doubtful > 1 ? "they are" : "it is");
	}
}

/* ---- steps ---- */

static void report_step(FILE *to, struct json_object *step)
{
	const char *component = qmp_string(step, "component", "");
	struct json_object *predicted = qmp_member(step, "predicted-ns");
	uint64_t start = qmp_uint(step, "start-ns", 0), end = qmp_uint(step, "end-ns", 0);
	char bytes[32], name[128], expected[32];

	(void) snprintf(name, sizeof(name), "%s%s%s", component, *component ? ":" : "",
			qmp_string(step, "name", ""));
	fprintf(to, "  %10.3f %10.3f %9.3f %6llu  %-34s %-18s %s", (double) start / 1e6,
		(double) end / 1e6, (double) (end - start) / 1e6,
		(unsigned long long) qmp_uint(step, "thread", 0), name,
		qmp_string(step, "class", ""),
		qmp_uint(step, "bytes", 0) ? tool_bytes_text(qmp_uint(step, "bytes", 0), bytes) : "");
	if (predicted)
		fprintf(to, "%s(expected %s)", qmp_uint(step, "bytes", 0) ? " " : "",
			tool_time_text(json_object_get_uint64(predicted), expected));
	fputc('\n', to);
}

static void report_steps(FILE *to, struct json_object *steps, const char *side, bool in_pause,
			 const char *title)
{
	bool any = false;

	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		struct json_object *step = json_object_array_get_idx(steps, i);

		if (strcmp(qmp_string(step, "side", ""), side) ||
		    qmp_bool(step, "in-pause") != in_pause)
			continue;
		if (!any)
			fprintf(to, "\n%s\n  %10s %10s %9s %6s  %s\n", title, "from ms", "to ms",
				"took ms", "thread", "step");
		any = true;
		report_step(to, step);
	}
}

void migration_report(FILE *to, struct json_object *state)
{
	struct json_object *steps = qmp_member(state, "x-vferry-report");

	report_bytes(to, state);
	report_pause(to, state);
	report_interrupts(to, state);
	if (!steps || !json_object_is_type(steps, json_type_array))
		return;
	report_steps(to, steps, "source", false,
		     "saved while the machine ran (times since the start)");
	report_steps(to, steps, "source", true, "saved in the pause (times since it began)");
	report_steps(to, steps, "destination", false,
		     "restored while the machine ran (times since the destination was asked)");
	report_steps(to, steps, "destination", true,
		     "restored in the pause (times since the destination heard of it)");
}
