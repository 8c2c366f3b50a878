/* SPDX-License-Identifier: MIT */
/*
 * cmd_probe.c - `vferry probe`: can this device be migrated, and if not, what has to change? Facts, rules
 * and reports are in probe/.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "pci_names.h"
#include "probe/forecast.h"
#include "probe/measure.h"
#include "probe/record.h"

#define ANSWER_NS (5ull * 1000000000)
#define MAX_DOWNTIME_NS (300ull * 1000000)	/* as vferry migrate has it */

enum {
	OPT_ALL = 1, OPT_MEMORY, OPT_BANDWIDTH, OPT_DIRTY_RATE, OPT_MAX_DOWNTIME, OPT_POLICY, OPT_MEASURE,
	OPT_FILES_ONLY, OPT_ROOT, OPT_CAPTURE, OPT_JSON,
};

static const struct tool_option options[] = {
	{ "all", NULL, "every PCI function that is no bridge, and mediated devices, a line each",
	  OPT_ALL },
	{ "memory", "SIZE", "of the guest it is meant for, e.g. 16G", OPT_MEMORY },
	{ "bandwidth", "RATE", "predict how a migration at this rate would go, e.g. 1G/s",
	  OPT_BANDWIDTH },
	{ "dirty-rate", "RATE", "at which the guest dirties memory (0)", OPT_DIRTY_RATE },
	{ "max-downtime", "MS", "as of vferry migrate (300)", OPT_MAX_DOWNTIME },
	{ "policy", "throttle|continue|give-up", "likewise (throttle)", OPT_POLICY },
	{ "measure", NULL, "save and load the state of a device that nobody uses, and time it",
	  OPT_MEASURE },
	{ "files-only", NULL, "read sysfs, and open no device", OPT_FILES_ONLY },
	{ "root", "DIR", "a host's files in DIR (sys, proc, dev, lib) instead of this host's", OPT_ROOT },
	{ "capture", "DIR", "keep what is found in a new folder, for vferry device --replay",
	  OPT_CAPTURE },
	{ "json", NULL, "everything, as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry probe", .arguments = "[DEVICE] [options]",
	.summary = "Says whether a device can be migrated on this host, and what to change if not. DEVICE:\n"
		   "a PCI address, vfio:BDF, vfio:/dev/vfio/devices/vfioN, vfio-user:PATH.",
	.options = options,
	.operands_min = 0, .operands_max = 1,
};

struct request {
	const char *device, *root_folder, *capture_folder;
	bool all, files_only, json, measure, dirty_rate_given;
	struct probe_wish wish;
	struct probe_root *root;
	struct probe_host host;
	struct probe_notes *notes;	/* with --capture: what was read of the host */
	struct json_object *devices;	/* with --json */
	int exit;			/* of one device */
};

static int take(void *user, int id, const char *value)
{
	static const char *const policies[] = { "throttle", "continue", "give-up", NULL };
	struct request *r = user;
	uint64_t number;

	switch (id) {
	case OPT_ALL:
		r->all = true;
		return 0;
	case OPT_MEMORY:
		r->wish.memory.known = true;
		return tool_size(value, &r->wish.memory.value) || !r->wish.memory.value ? -EINVAL : 0;
	case OPT_BANDWIDTH:
		r->wish.bandwidth.known = true;
		return tool_rate(value, &r->wish.bandwidth.value) || !r->wish.bandwidth.value ? -EINVAL
											      : 0;
	case OPT_DIRTY_RATE:
		r->dirty_rate_given = true;
		return tool_rate(value, &r->wish.dirty_rate) ? -EINVAL : 0;
	case OPT_MAX_DOWNTIME:
		if (tool_number(value, 1, 86400000, &number))
			return -EINVAL;
		r->wish.max_downtime_ns = number * 1000000;
		return 0;
	case OPT_POLICY:
		r->wish.policy = value;
		return tool_word(value, policies) ? -EINVAL : 0;
	case OPT_MEASURE:
		r->measure = true;
		return 0;
	case OPT_FILES_ONLY:
		r->files_only = true;
		return 0;
	case OPT_ROOT:
		r->root_folder = value;
		return 0;
	case OPT_CAPTURE:
		r->capture_folder = value;
		return 0;
	default:
		r->json = true;
		return 0;
	}
}

static int exit_of(enum probe_answer migratable)
{
	return migratable == PROBE_YES ? TOOL_DONE : migratable == PROBE_NO ? TOOL_REFUSED : TOOL_FAILED;
}

/* @ret_backend: the device, open, where it was asked and answered; else NULL. */
static void ask(const struct request *r, struct probe_facts *facts, struct vf_backend **ret_backend)
{
	*ret_backend = NULL;
	if (r->root_folder)
		(void) snprintf(facts->vfio.why, sizeof(facts->vfio.why),
				"the files in %s are another host's", r->root_folder);
	else if (r->files_only)
		(void) snprintf(facts->vfio.why, sizeof(facts->vfio.why), "--files-only was given");
	else if (probe_can_ask(facts))
		probe_ask(facts, ANSWER_NS, ret_backend);
}

/* Return: 0; an exit code, and all was said. */
static int measure(const struct request *r, const struct probe_facts *facts, struct vf_backend *backend,
		   struct probe_measured *ret)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (facts->vfio.asked == PROBE_IN_USE)
		return tool_fail(&usage, TOOL_REFUSED, "%s is in use, and is not measured: %s", r->device,
				 facts->vfio.why);
	if (!backend || facts->vfio.migration != PROBE_YES)
		return tool_fail(&usage, TOOL_REFUSED, "%s can't be measured: %s", r->device,
				 backend ? "it does not migrate" : facts->vfio.why[0] ?
				 facts->vfio.why : "no VFIO driver has it");
	if (probe_measure(backend, facts, ret, &err) < 0)
		return tool_fail(&usage, err.code == -EBUSY ? TOOL_REFUSED : TOOL_FAILED,
				 "%s could not be measured: %s", r->device, err.message);
	return 0;
}

/* The report as JSON, with no device in it yet. */
static struct json_object *make_json(const struct probe_host *host, struct json_object **ret_devices)
{
	struct json_object *top = json_object_new_object();

	*ret_devices = json_object_new_array();
	(void) json_object_object_add(top, "host", probe_json_host(host));
	(void) json_object_object_add(top, "devices", *ret_devices);
	return top;
}

/* Return: 0; an exit code, and all was said. */
static int capture(const struct request *r, const struct probe_report *report,
		   struct vf_backend *backend)
{
	const char *why = report->facts->vfio.why;
	struct json_object *devices, *top = make_json(&r->host, &devices);
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret;

	(void) json_object_array_add(devices, probe_json_device(report));
	ret = probe_capture(r->capture_folder, top, r->notes, backend, &err);
	json_object_put(top);
	if (ret < 0)
		return tool_fail(&usage, TOOL_FAILED, "no capture was made: %s", err.message);
	if (backend)
		fprintf(stderr, "%s: captured in %s\n", usage.name, r->capture_folder);
	else
		fprintf(stderr, "%s: in %s is what sysfs says, and no device to replay: %s\n", usage.name,
			r->capture_folder, why[0] ? why : "no VFIO driver has it");
	return 0;
}

static void print(const struct request *r, const struct probe_report *report)
{
	if (r->json)
		(void) json_object_array_add(r->devices, probe_json_device(report));
	else if (r->all)
		probe_text_line(stdout, report);
	else
		probe_text_device(stdout, &r->host, report);
}

/* Facts are there: what follows from them. Return: 0; an exit code, and all was said. */
static int conclude(struct request *r, struct probe_facts *facts, struct vf_backend *backend)
{
	struct probe_verdict verdict;
	struct probe_measured measured = { 0 };
	struct probe_forecast forecast;
	char product[160] = "";
	struct probe_report report = { .facts = facts, .verdict = &verdict, .wish = &r->wish,
				       .product = product };
	int ret;

	if (r->measure) {
		ret = measure(r, facts, backend, &measured);
		if (ret)
			return ret;
		report.measured = &measured;
		facts->vfio.state_bytes.known = true;
		facts->vfio.state_bytes.value = measured.legs[PROBE_LEG_READ].bytes;
	}
	if (r->wish.bandwidth.known &&
	    probe_forecast(facts, report.measured, &r->wish, &forecast, NULL) == 0)
		report.forecast = &forecast;
	probe_judge(&r->host, facts, &r->wish, &verdict);
	if (facts->has_ids)
		(void) pci_name_device(facts->vendor, facts->device, product, sizeof(product));
	print(r, &report);
	r->exit = exit_of(verdict.migratable);
	return r->capture_folder ? capture(r, &report, backend) : 0;
}

static int probe_one(void *user, const char *name)
{
	struct request *r = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct probe_facts facts;
	struct vf_backend *backend;
	int ret;

	/* In a list, a device that has gone meanwhile is no failure. */
	if (probe_look(r->root, name, &facts, &err) < 0)
		return r->all ? 0 : tool_fail(&usage, TOOL_REFUSED, "%s: %s", name, err.message);
	ask(r, &facts, &backend);
	ret = conclude(r, &facts, backend);
	probe_close(backend);
	return ret;
}

static int run(struct request *r)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *top = NULL;
	int ret;

	if (r->json)
		top = make_json(&r->host, &r->devices);
	else if (r->all)
		probe_text_head(stdout);
	if (r->all) {
		ret = probe_each(r->root, probe_one, r, &err);
		if (ret < 0)
			ret = tool_fail(&usage, TOOL_FAILED, "%s", err.message);
	} else {
		ret = probe_one(r, r->device);
		if (!ret)
			ret = r->exit;
	}
	if (r->json && (ret == TOOL_DONE || json_object_array_length(r->devices)))
		(void) printf("%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY |
			      JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(top);
	return ret;
}

int cmd_probe(int argc, char **argv)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct request r = { .wish.max_downtime_ns = MAX_DOWNTIME_NS };
	int ret = tool_parse(&usage, argc, argv, take, &r, &r.device);

	if (ret >= 0)
		return ret;
	if (r.all == (r.device != NULL))
		return tool_fail(&usage, TOOL_USAGE, "either a device or --all: %s", usage.arguments);
	if (r.wish.bandwidth.known && !r.wish.memory.known)
		return tool_fail(&usage, TOOL_USAGE, "--bandwidth needs --memory");
	if (r.dirty_rate_given && !r.wish.bandwidth.known)
		return tool_fail(&usage, TOOL_USAGE, "--dirty-rate needs --memory and --bandwidth");
	if (r.measure && (r.all || r.files_only || r.root_folder))
		return tool_fail(&usage, TOOL_USAGE, "--measure is for one device of this host");
	if (r.capture_folder && (r.all || r.measure || r.root_folder))
		return tool_fail(&usage, TOOL_USAGE, "--capture is for one device of this host, and without "
				 "--measure, which writes to it");
	if (probe_root_open(r.root_folder, &r.root, &err) < 0)
		return tool_fail(&usage, TOOL_REFUSED, "%s", err.message);
	if (r.capture_folder && probe_notes_begin(r.root, &r.notes) < 0)
		return tool_fail(&usage, TOOL_FAILED, "no memory");
	probe_host(r.root, &r.host);
	ret = run(&r);
	probe_notes_free(r.notes);
	r.root = probe_root_close(r.root);
	if (fflush(stdout))
		return tool_fail(&usage, TOOL_FAILED, "the report can't be written: %s",
				 vferry_errno_name(errno));
	return ret;
}
