/* SPDX-License-Identifier: MIT */
/*
 * cmd_order.c - `vferry order`: the rules with their reasons, and the plan that follows for a machine:
 * a running one, asked over its control socket, or a representative one of an architecture.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vferry/order.h>
#include <vferry/session.h>

#include "command.h"
#include "order_machine.h"
#include "qmp.h"

enum { OPT_ARCH = 1, OPT_CONTROL, OPT_PHASE, OPT_DOT, OPT_JSON };

static const char *const phases[] = { "save", "load", "undo" };
static const char *const formats[] = { "text", "json", "dot" };	/* enum vferry_plan_format */

static const struct tool_option options[] = {
	{ "arch", "arm64|x86-64", "plan of a representative machine (arm64)", OPT_ARCH },
	{ "control", "PATH", "plan of the running machine with this control socket", OPT_CONTROL },
	{ "phase", "save|load|undo", "only this one (all; with --dot: load)", OPT_PHASE },
	{ "dot", NULL, "the plan as a graph for Graphviz", OPT_DOT },
	{ "json", NULL, "rules and plans as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry order", .arguments = "[--arch A | --control PATH] [--dot | --json]",
	.summary = "Shows the order rules, why each is there, and the plan that follows from them.",
	.options = options,
};

struct request {
	const char *arch, *control;
	int phase;			/* -1: all */
	enum vferry_plan_format format;
	bool dot, json;
	struct qmp *qmp;		/* of the running machine; or */
	struct order_machine *machine;	/* the representative one */
};

static int take(void *user, int id, const char *value)
{
	struct request *r = user;

	switch (id) {
	case OPT_ARCH:
		r->arch = value;
		return order_machine_known(value) ? 0 : -EINVAL;
	case OPT_CONTROL:
		r->control = value;
		return 0;
	case OPT_PHASE:
		for (int i = 0; i < VFERRY_PHASE__COUNT; i++)
			if (!strcmp(value, phases[i]))
				r->phase = i;
		return r->phase < 0 ? -EINVAL : 0;
	case OPT_DOT:
		r->dot = true;
		return 0;
	default:
		r->json = true;
		return 0;
	}
}

/* ---- rules ---- */

static void print_classes(const struct vferry_order_rule *rule, uint64_t set)
{
	const char *separator = "";

	for (int bit = 0; bit < 64; bit++) {
		if (!(set >> bit & 1))
			continue;
		printf("%s%s", separator, vferry_step_class_name((int) rule->phase * 64 + bit));
		separator = ", ";
	}
}

static void print_rule(const struct vferry_order_rule *rule)
{
	static const char *const scopes[] = { "", " of the same device", " of the same component" };

	printf("%s\n    ", rule->id);
	print_classes(rule, rule->first);
	printf("\n    %s%s\n    ", rule->kind == VFERRY_RULE_BEFORE ? "before" : "never at the time of",
	       scopes[rule->scope]);
	print_classes(rule, rule->then);
	printf("\n    because %s%s\n    (%s)\n", rule->because,
	       rule->required ? "; a machine without the first is refused" : "", rule->source);
}

static void print_rules(const struct request *r)
{
	static const char *const titles[] = { "Saving", "Loading", "Undoing, after a failure before "
					      "COMMIT" };
	const struct vferry_order_rule *rules;
	size_t count;

	rules = vferry_order_rules(&count);
	for (int phase = 0; phase < VFERRY_PHASE__COUNT; phase++) {
		if (r->phase >= 0 && r->phase != phase)
			continue;
		printf("%s: rules\n\n", titles[phase]);
		for (size_t i = 0; i < count; i++)
			if ((int) rules[i].phase == phase)
				print_rule(&rules[i]);
		putchar('\n');
	}
}

static struct json_object *classes_json(const struct vferry_order_rule *rule, uint64_t set)
{
	struct json_object *list = json_object_new_array();

	for (int bit = 0; bit < 64; bit++)
		if (set >> bit & 1)
			json_object_array_add(list, json_object_new_string(
				vferry_step_class_name((int) rule->phase * 64 + bit)));
	return list;
}

static struct json_object *rule_json(const struct vferry_order_rule *rule)
{
	static const char *const scopes[] = { "any", "device", "component" };
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "id", json_object_new_string(rule->id));
	json_object_object_add(o, "phase", json_object_new_string(phases[rule->phase]));
	json_object_object_add(o, "kind", json_object_new_string(
		rule->kind == VFERRY_RULE_BEFORE ? "before" : "excludes"));
	json_object_object_add(o, "scope", json_object_new_string(scopes[rule->scope]));
	json_object_object_add(o, "first", classes_json(rule, rule->first));
	json_object_object_add(o, "then", classes_json(rule, rule->then));
	json_object_object_add(o, "required", json_object_new_boolean(rule->required));
	json_object_object_add(o, "because", json_object_new_string(rule->because));
	json_object_object_add(o, "source", json_object_new_string(rule->source));
	return o;
}

/* ---- plans ---- */

static int plan_of_running(struct request *r, int phase, char **ret_text, struct vferry_error *err)
{
	struct json_object *arguments = json_object_new_object(), *answer;
	int ret;

	json_object_object_add(arguments, "phase", json_object_new_string(phases[phase]));
	json_object_object_add(arguments, "format", json_object_new_string(formats[r->format]));
	ret = qmp_call(r->qmp, "x-vferry-plan", arguments, &answer, err);
	if (ret)
		return ret;
	*ret_text = strdup(qmp_string(answer, "plan", ""));
	(void) json_object_put(answer);
	return *ret_text ? 0 : -ENOMEM;
}

static int get_plan(struct request *r, int phase, char **ret_text, struct vferry_error *err)
{
	return r->qmp ? plan_of_running(r, phase, ret_text, err)
		      : order_machine_plan(r->machine, (enum vferry_phase) phase, r->format, ret_text,
					   err);
}

static int print_plans(struct request *r, struct vferry_error *err)
{
	for (int phase = 0; phase < VFERRY_PHASE__COUNT; phase++) {
		char *text = NULL;
		int ret;

		if (r->phase >= 0 && r->phase != phase)
			continue;
		ret = get_plan(r, phase, &text, err);
		if (ret)
			return ret;
		if (!r->dot)
			printf("Plan: %s (%s)\n\n", phases[phase],
			       r->qmp ? "the running machine" : r->arch);
		fputs(text, stdout);
		if (!r->dot)
			putchar('\n');
		free(text);
	}
	return 0;
}

static int print_json(struct request *r, struct vferry_error *err)
{
	struct json_object *all = json_object_new_object(), *list = json_object_new_array();
	struct json_object *plans = json_object_new_object();
	const struct vferry_order_rule *rules;
	int ret = 0;
	size_t count;

	rules = vferry_order_rules(&count);
	for (size_t i = 0; i < count; i++)
		if (r->phase < 0 || r->phase == (int) rules[i].phase)
			json_object_array_add(list, rule_json(&rules[i]));
	json_object_object_add(all, "rules", list);
	json_object_object_add(all, "plans", plans);
	for (int phase = 0; phase < VFERRY_PHASE__COUNT && !ret; phase++) {
		char *text = NULL;

		if (r->phase >= 0 && r->phase != phase)
			continue;
		ret = get_plan(r, phase, &text, err);
		if (!ret)
			json_object_object_add(plans, phases[phase], json_tokener_parse(text));
		free(text);
	}
	if (!ret)
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY |
							 JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(all);
	return ret;
}

static int show(struct request *r, struct vferry_error *err)
{
	int ret = r->control ? qmp_open(r->control, &r->qmp, err)
			     : order_machine_new(r->arch, &r->machine, err);

	if (ret)
		return ret;
	if (r->json)
		return print_json(r, err);
	if (!r->dot)
		print_rules(r);
	return print_plans(r, err);
}

int cmd_order(int argc, char **argv)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct request r = { .phase = -1 };
	int code = tool_parse(&usage, argc, argv, take, &r, NULL);
	int ret;

	if (code < 0 && r.dot && r.json)
		code = tool_fail(&usage, TOOL_USAGE, "only one of --dot and --json is possible");
	if (code < 0 && r.arch && r.control)
		code = tool_fail(&usage, TOOL_USAGE, "only one of --arch and --control is possible");
	if (code >= 0)
		return code;
	if (!r.arch)
		r.arch = "arm64";
	if (r.dot && r.phase < 0)
		r.phase = VFERRY_PHASE_LOAD;
	r.format = r.dot ? VFERRY_PLAN_DOT : r.json ? VFERRY_PLAN_JSON : VFERRY_PLAN_TEXT;
	ret = show(&r, &err);
	if (ret)
		(void) tool_fail(&usage, 0, "%s", err.code ? err.message : strerror(-ret));
	(void) qmp_close(r.qmp);
	(void) order_machine_free(r.machine);
	return ret ? TOOL_FAILED : TOOL_DONE;
}
