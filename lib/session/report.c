/* SPDX-License-Identifier: MIT */
/* report.c - steps as executed, on both sides, and plans as text, JSON or dot. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/clock.h"
#include "session/session_internal.h"
#include "wire/frame.h"

/* ---- as executed ---- */

static uint64_t since(uint64_t ns, uint64_t zero)
{
	return ns > zero ? ns - zero : 0;
}

int vf_report_local(struct vferry_session *s, struct vf_report *ret_report)
{
	struct vf_executor *executor = s->source ? vf_source_executor(s) : vf_destination_executor(s);
	struct vf_plan *plan = s->source ? vf_source_plan(s) : vf_destination_plan(s);
	uint64_t pause = s->source ? vf_source_pause_ns(s) : vf_destination_pause_ns(s);
	struct vf_report report = { 0 };

	if (!executor || !plan)
		return -ENODATA;
	report.steps = calloc(vf_plan_count(plan) + 1, sizeof(*report.steps));
	if (!report.steps)
		return -ENOMEM;
	for (uint32_t i = 0; i < vf_plan_count(plan) && i < VF_MAX_REPORT_STEPS; i++) {
		struct vf_report_step *to = &report.steps[report.step_count];
		struct vf_plan_view view;

		vf_executor_get(executor, i, &view);
		if (view.state != VF_STEP_DONE)
			continue;
		*to = (struct vf_report_step) {
			.component = view.step.component, .step_class = view.step.step_class,
			.bytes = view.bytes, .thread = view.thread,
			.in_pause = pause && view.end_ns > pause,
		};
		to->start_ns = since(view.start_ns, to->in_pause ? pause : s->started_ns);
		to->end_ns = since(view.end_ns, to->in_pause ? pause : s->started_ns);
		/* The session's own steps have no component on the wire: the name says it. */
		(void) snprintf(to->name, sizeof(to->name), "%.63s",
				view.step.component == VF_NO_COMPONENT ? view.full_name
								       : view.step.name);
		if (s->destination && to->component != VF_NO_COMPONENT)
			to->component = s->components[to->component].remote;
		report.step_count++;
	}
	*ret_report = report;
	return 0;
}

static void fill_step(struct vferry_session *s, const struct vf_report_step *from, bool remote,
		      struct vferry_step_report *to)
{
	/* Of both sides' numbers, the source's are the session's own. */
	const struct vf_session_component *c = NULL;
	uint64_t predicted = VF_NS_UNKNOWN;
	char full_name[VF_PLAN_STEP_NAME_BYTES];

	*to = (struct vferry_step_report) {
		.step_class = (enum vferry_step_class) from->step_class, .remote = remote,
		.done = true, .start_ns = from->start_ns, .end_ns = from->end_ns,
		.bytes = from->bytes, .thread = from->thread, .in_pause = from->in_pause,
	};
	for (size_t i = 0; i < s->component_count && from->component != VF_NO_COMPONENT; i++)
		if ((s->source ? s->components[i].index : s->components[i].remote) == from->component)
			c = &s->components[i];
	if (c) {
		(void) snprintf(to->component, sizeof(to->component), "%s", c->name);
		(void) snprintf(to->name, sizeof(to->name), "%.31s", from->name);
		for (size_t i = 0; i < c->desc.step_count; i++)
			if (!strcmp(c->desc.steps[i].name, from->name) &&
			    c->desc.steps[i].declared_ns)
				predicted = c->desc.steps[i].declared_ns;
	} else {
		const char *colon = strchr(from->name, ':');

		(void) snprintf(to->component, sizeof(to->component), "%.*s",
				colon ? (int) (colon - from->name) : 0, from->name);
		(void) snprintf(to->name, sizeof(to->name), "%.31s", colon ? colon + 1 : from->name);
	}
	(void) snprintf(full_name, sizeof(full_name), "%s:%s", to->component, to->name);
	if (!remote && s->source)
		predicted = vf_source_predicted_ns(s, full_name);
	to->predicted_known = predicted != VF_NS_UNKNOWN;
	to->predicted_ns = to->predicted_known ? predicted : 0;
}

static int compare_steps(const void *a, const void *b)
{
	const struct vferry_step_report *x = a, *y = b;

	if (x->in_pause != y->in_pause)
		return x->in_pause ? 1 : -1;
	if (x->remote != y->remote)
		return x->remote ? 1 : -1;
	return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

int vferry_session_report(struct vferry_session *s, struct vferry_step_report **ret_steps,
			  size_t *ret_count)
{
	struct vf_report local;
	struct vferry_step_report *steps;
	size_t count = 0;
	int ret = vf_report_local(s, &local);

	if (ret)
		return ret;
	(void) pthread_mutex_lock(&s->lock);
	steps = calloc((size_t) local.step_count + s->remote_report.step_count + 1, sizeof(*steps));
	if (steps) {
		for (uint32_t i = 0; i < local.step_count; i++)
			fill_step(s, &local.steps[i], false, &steps[count++]);
		for (uint32_t i = 0; i < s->remote_report.step_count; i++)
			fill_step(s, &s->remote_report.steps[i], true, &steps[count++]);
	}
	(void) pthread_mutex_unlock(&s->lock);
	vf_report_done(&local);
	if (!steps)
		return -ENOMEM;
	qsort(steps, count, sizeof(*steps), compare_steps);
	*ret_steps = steps;
	*ret_count = count;
	return 0;
}

/* ---- reasons against ---- */

int vferry_session_reasons(struct vferry_session *s, struct vferry_error **ret_reasons,
			   size_t *ret_count, size_t *ret_dropped)
{
	struct vferry_error *reasons;

	(void) pthread_mutex_lock(&s->lock);
	reasons = calloc((size_t) s->refused.reason_count + 1, sizeof(*reasons));
	if (reasons) {
		if (s->refused.reason_count)
			memcpy(reasons, s->refused.reasons,
			       s->refused.reason_count * sizeof(*reasons));
		*ret_reasons = reasons;
		*ret_count = s->refused.reason_count;
		if (ret_dropped)
			*ret_dropped = s->refused.dropped;
	}
	(void) pthread_mutex_unlock(&s->lock);
	return reasons ? 0 : -ENOMEM;
}

/* ---- as planned ---- */

static void edges_into(const struct vf_plan *plan, uint32_t then,
		       void (*tell)(void *user, uint32_t first, const struct vferry_order_rule *rule),
		       void *user)
{
	struct vf_plan_cursor cursor = { 0 };
	struct vf_plan_edge edge;

	while (vf_plan_edges_next(plan, &cursor, &edge))
		if (edge.then == then)
			tell(user, edge.first, edge.rule);
}

struct text {
	FILE *f;
	const struct vf_plan *plan;
	const struct vferry_order_rule *last;
	uint32_t then;
	struct json_object *list;
};

static void tell_text(void *user, uint32_t first, const struct vferry_order_rule *rule)
{
	struct text *t = user;
	struct vf_plan_view view;

	vf_plan_get(t->plan, first, &view);
	fprintf(t->f, "      after %-28s %s\n", view.full_name, rule ? rule->id : "(source)");
}

static void plan_text(FILE *f, const struct vf_plan *plan, const uint32_t *order)
{
	struct text t = { .f = f, .plan = plan };

	for (size_t i = 0; i < vf_plan_count(plan); i++) {
		struct vf_plan_view view;

		vf_plan_get(plan, order[i], &view);
		fprintf(f, "%4zu  %-34s %s\n", i + 1, view.full_name,
			vferry_step_class_name((int) view.step.step_class));
		edges_into(plan, order[i], tell_text, &t);
	}
}

static void tell_dot(void *user, uint32_t first, const struct vferry_order_rule *rule)
{
	struct text *t = user;
	struct vf_plan_view a, b;

	vf_plan_get(t->plan, first, &a);
	vf_plan_get(t->plan, t->then, &b);
	fprintf(t->f, "\t\"%s\" -> \"%s\" [tooltip=\"%s\"];\n", a.full_name, b.full_name,
		rule ? rule->id : "source");
}

static void plan_dot(FILE *f, const struct vf_plan *plan, const uint32_t *order)
{
	struct text t = { .f = f, .plan = plan };

	fprintf(f, "digraph plan {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"sans\"];\n");
	for (size_t i = 0; i < vf_plan_count(plan); i++) {
		struct vf_plan_view view;

		vf_plan_get(plan, order[i], &view);
		fprintf(f, "\t\"%s\";\n", view.full_name);
		t.then = order[i];
		edges_into(plan, order[i], tell_dot, &t);
	}
	fprintf(f, "}\n");
}

static void tell_json(void *user, uint32_t first, const struct vferry_order_rule *rule)
{
	struct text *t = user;
	struct json_object *edge = json_object_new_object();
	struct vf_plan_view view;

	vf_plan_get(t->plan, first, &view);
	json_object_object_add(edge, "step", json_object_new_string(view.full_name));
	json_object_object_add(edge, "rule", rule ? json_object_new_string(rule->id) : NULL);
	json_object_array_add(t->list, edge);
}

static void plan_json(FILE *f, const struct vf_plan *plan, const uint32_t *order)
{
	struct json_object *steps = json_object_new_array();

	for (size_t i = 0; i < vf_plan_count(plan); i++) {
		struct json_object *step = json_object_new_object();
		struct text t = { .plan = plan, .list = json_object_new_array() };
		struct vf_plan_view view;

		vf_plan_get(plan, order[i], &view);
		json_object_object_add(step, "step", json_object_new_string(view.full_name));
		json_object_object_add(step, "class",
				       json_object_new_string(vferry_step_class_name(
					       (int) view.step.step_class)));
		edges_into(plan, order[i], tell_json, &t);
		json_object_object_add(step, "after", t.list);
		json_object_array_add(steps, step);
	}
	fputs(json_object_to_json_string_ext(steps, JSON_C_TO_STRING_PRETTY), f);
	json_object_put(steps);
}

int vferry_session_describe_plan(struct vferry_session *s, enum vferry_phase phase,
				 enum vferry_plan_format format, char **ret_text,
				 struct vferry_error *err)
{
	struct vf_plan *plan = NULL;
	uint32_t *order = NULL;
	char *text = NULL;
	size_t size;
	FILE *f;
	int ret = vf_steps_plan(s, phase, NULL, &plan, err);

	if (!ret)
		ret = vf_plan_seal(plan, err);
	if (!ret) {
		order = calloc(vf_plan_count(plan) + 1, sizeof(*order));
		f = order ? open_memstream(&text, &size) : NULL;
		ret = f ? 0 : -ENOMEM;
	}
	if (!ret) {
		vf_plan_order(plan, order);
		if (format == VFERRY_PLAN_DOT)
			plan_dot(f, plan, order);
		else if (format == VFERRY_PLAN_JSON)
			plan_json(f, plan, order);
		else
			plan_text(f, plan, order);
		if (fclose(f))
			ret = -ENOMEM;
	}
	free(order);
	(void) vf_plan_free(plan);
	if (ret) {
		free(text);
		return vferry_error_set(err, ret, "no-memory", NULL, "no memory for the plan");
	}
	*ret_text = text;
	return 0;
}
