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
#include "probe/probe.h"

#define ANSWER_NS (5ull * 1000000000)

enum { OPT_ALL = 1, OPT_MEMORY, OPT_FILES_ONLY, OPT_ROOT, OPT_JSON };

static const struct tool_option options[] = {
	{ "all", NULL, "every PCI function that is no bridge, and mediated devices, a line each", OPT_ALL },
	{ "memory", "SIZE", "of the guest it is meant for, e.g. 16G", OPT_MEMORY },
	{ "files-only", NULL, "read sysfs, and open no device", OPT_FILES_ONLY },
	{ "root", "DIR", "a host's files in DIR (sys, proc, dev, lib) instead of this host's", OPT_ROOT },
	{ "json", NULL, "everything, as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry probe", .arguments = "[DEVICE] [options]",
	.summary = "Says whether a device can be migrated on this host, and what to change if not. DEVICE: a\n"
		   "PCI address, vfio:BDF, vfio:/dev/vfio/devices/vfioN, vfio-user:PATH.",
	.options = options,
	.operands_min = 0, .operands_max = 1,
};

struct request {
	const char *device, *root_folder;
	bool all, files_only, json;
	struct probe_wish wish;
	struct probe_root *root;
	struct probe_host host;
	struct json_object *devices;	/* with --json */
	int exit;			/* of one device */
};

static int take(void *user, int id, const char *value)
{
	struct request *r = user;

	switch (id) {
	case OPT_ALL:
		r->all = true;
		return 0;
	case OPT_MEMORY:
		r->wish.memory.known = true;
		return tool_size(value, &r->wish.memory.value) || !r->wish.memory.value ? -EINVAL : 0;
	case OPT_FILES_ONLY:
		r->files_only = true;
		return 0;
	case OPT_ROOT:
		r->root_folder = value;
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

static void ask(const struct request *r, struct probe_facts *facts)
{
	if (r->root_folder)
		(void) snprintf(facts->vfio.why, sizeof(facts->vfio.why),
				"the files in %s are another host's", r->root_folder);
	else if (r->files_only)
		(void) snprintf(facts->vfio.why, sizeof(facts->vfio.why), "--files-only was given");
	else if (probe_can_ask(facts))
		probe_ask(facts, ANSWER_NS, NULL);
}

static int probe_one(void *user, const char *name)
{
	struct request *r = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct probe_verdict verdict;
	struct probe_facts facts;
	char product[160] = "";
	struct probe_report report = { .facts = &facts, .verdict = &verdict, .product = product };

	/* In a list, a device that has gone meanwhile is no failure. */
	if (probe_look(r->root, name, &facts, &err) < 0)
		return r->all ? 0 : tool_fail(&usage, TOOL_REFUSED, "%s: %s", name, err.message);
	ask(r, &facts);
	probe_judge(&r->host, &facts, &r->wish, &verdict);
	if (facts.has_ids)
		(void) pci_name_device(facts.vendor, facts.device, product, sizeof(product));
	if (r->json)
		(void) json_object_array_add(r->devices, probe_json_device(&report));
	else if (r->all)
		probe_text_line(stdout, &report);
	else
		probe_text_device(stdout, &report);
	r->exit = exit_of(verdict.migratable);
	return 0;
}

static int run(struct request *r)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *top = NULL;
	int ret;

	if (r->json) {
		top = json_object_new_object();
		r->devices = json_object_new_array();
		(void) json_object_object_add(top, "host", probe_json_host(&r->host));
		(void) json_object_object_add(top, "devices", r->devices);
	} else if (!r->all) {
		probe_text_host(stdout, &r->host);
		(void) fputc('\n', stdout);
	}
	if (r->all) {
		ret = probe_each(r->root, probe_one, r, &err);
		if (ret < 0)
			ret = tool_fail(&usage, TOOL_FAILED, "%s", err.message);
	} else {
		ret = probe_one(r, r->device);
		if (!ret)
			ret = r->exit;
	}
	if (r->json && (r->all || json_object_array_length(r->devices)))
		(void) printf("%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY |
			      JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(top);
	return ret;
}

int cmd_probe(int argc, char **argv)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct request r = { 0 };
	int ret = tool_parse(&usage, argc, argv, take, &r, &r.device);

	if (ret >= 0)
		return ret;
	if (r.all == (r.device != NULL))
		return tool_fail(&usage, TOOL_USAGE, "either a device or --all: %s", usage.arguments);
	if (probe_root_open(r.root_folder, &r.root, &err) < 0)
		return tool_fail(&usage, TOOL_REFUSED, "%s", err.message);
	probe_host(r.root, &r.host);
	ret = run(&r);
	r.root = probe_root_close(r.root);
	if (fflush(stdout))
		return tool_fail(&usage, TOOL_FAILED, "the report can't be written: %s",
				 vferry_errno_name(errno));
	return ret;
}
