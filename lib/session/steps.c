/* SPDX-License-Identifier: MIT */
/*
 * steps.c - from registered components to a plan, and how one step of a component runs.
 *
 * Besides the components' steps a plan has the session's own: stopping and starting vCPUs, the last
 * RAM round, a drain for each stream, the hand-over's two marks. They obey the same rules.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/session_internal.h"
#include "wire/cursor.h"
#include "wire/frame.h"

struct vf_session_component *vf_session_find_component(struct vferry_session *s, const char *name)
{
	for (size_t i = 0; i < s->component_count; i++)
		if (!strcmp(s->components[i].name, name))
			return &s->components[i];
	return NULL;
}

const struct vferry_section_desc *vf_component_section(const struct vferry_component *c, uint32_t id)
{
	for (size_t i = 0; i < c->section_count; i++)
		if (c->sections[i].id == id)
			return &c->sections[i];
	return NULL;
}

unsigned vf_session_step_threads(const struct vferry_session *s)
{
	unsigned threads = 4;

	for (size_t i = 0; i < s->component_count; i++)
		threads += s->components[i].desc.stream != NULL;
	return threads;
}

/* ---- plans ---- */

static int add_own(struct vf_plan *plan, const struct vf_session_component *c,
		   enum vf_own_step own, enum vferry_step_class step_class, const char *component,
		   const char *name, bool needs_input, struct vferry_error *err)
{
	struct vf_plan_step step = {
		.component = c ? c->index : VF_NO_COMPONENT,
		.step = own,
		.step_class = step_class,
		.component_name = c ? c->name : component,
		.device = c && c->device[0] ? c->device : NULL,
		.name = name,
		.needs_input = needs_input,
		.declared_ns = VF_NS_UNKNOWN,
	};
	int ret = vf_plan_add(plan, &step, err);

	return ret < 0 ? ret : 0;
}

static int add_component_steps(struct vferry_session *s, struct vf_session_component *c,
			       enum vferry_phase phase, vf_feeding_section feeding,
			       struct vf_plan *plan, struct vferry_error *err)
{
	for (size_t i = 0; i < c->desc.step_count; i++) {
		const struct vferry_step_desc *d = &c->desc.steps[i];
		struct vf_plan_step step = {
			.component = c->index,
			.step = (uint32_t) i,
			.step_class = d->step_class,
			.component_name = c->name,
			.device = c->device[0] ? c->device : NULL,
			.name = d->name,
			.declared_ns = d->declared_ns ? d->declared_ns : VF_NS_UNKNOWN,
		};
		int ret;

		if (VFERRY_PHASE_OF(d->step_class) != phase)
			continue;
		if (phase == VFERRY_PHASE_LOAD && d->section)
			step.needs_input = feeding ? feeding(s, c, d) != 0 : true;
		ret = vf_plan_add(plan, &step, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int add_stream_steps(struct vf_session_component *c, enum vferry_phase phase,
			    struct vf_plan *plan, struct vferry_error *err)
{
	int ret;

	if (!c->desc.stream || phase == VFERRY_PHASE_UNDO)
		return 0;
	if (phase == VFERRY_PHASE_SAVE)
		return add_own(plan, c, VF_OWN_STREAM_DRAIN, VFERRY_SAVE_DEVICE_DATA, NULL, "data",
			       false, err);
	ret = add_own(plan, c, VF_OWN_STREAM_DATA, VFERRY_LOAD_DEVICE_DATA, NULL, "data", false,
		      err);
	return ret ? ret : add_own(plan, c, VF_OWN_STREAM_LAST, VFERRY_LOAD_DEVICE_DATA_LAST, NULL,
				   "data-last", false, err);
}

static int add_session_steps(struct vferry_session *s, enum vferry_phase phase,
			     struct vf_plan *plan, struct vferry_error *err)
{
	static const struct {
		enum vferry_phase phase;
		enum vf_own_step own;
		enum vferry_step_class step_class;
		const char *component, *name;
		bool needs_input, needs_ram;
	} own[] = {
		{ VFERRY_PHASE_SAVE, VF_OWN_VCPU_STOP, VFERRY_SAVE_VCPU_STOP, "machine", "stop",
		  false, false },
		{ VFERRY_PHASE_SAVE, VF_OWN_VCPU_COMPLETE, VFERRY_SAVE_VCPU_COMPLETE, "machine",
		  "complete-io", false, false },
		{ VFERRY_PHASE_SAVE, VF_OWN_RAM_LAST, VFERRY_SAVE_RAM_LAST, "ram", "last", false,
		  true },
		{ VFERRY_PHASE_LOAD, VF_OWN_RAM_COMPLETE, VFERRY_LOAD_RAM, "ram", "complete", true,
		  true },
		{ VFERRY_PHASE_LOAD, VF_OWN_PREPARED, VFERRY_LOAD_PREPARED, "session", "prepared",
		  true, false },
		{ VFERRY_PHASE_LOAD, VF_OWN_COMMIT, VFERRY_LOAD_COMMIT, "session", "commit", true,
		  false },
		{ VFERRY_PHASE_LOAD, VF_OWN_VCPU_RUN, VFERRY_LOAD_VCPU_RUN, "machine", "run", false,
		  false },
		{ VFERRY_PHASE_UNDO, VF_OWN_LOGGING_OFF, VFERRY_UNDO_LOGGING_OFF, "ram",
		  "logging-off", false, true },
		{ VFERRY_PHASE_UNDO, VF_OWN_UNDO_VCPU_RUN, VFERRY_UNDO_VCPU_RUN, "machine", "run",
		  false, false },
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		int ret;

		if (own[i].phase != phase || (own[i].needs_ram && !s->ram))
			continue;
		ret = add_own(plan, NULL, own[i].own, own[i].step_class, own[i].component,
			      own[i].name, own[i].needs_input, err);
		if (ret)
			return ret;
	}
	return 0;
}

int vf_steps_plan(struct vferry_session *s, enum vferry_phase phase, vf_feeding_section feeding,
		  struct vf_plan **ret_plan, struct vferry_error *err)
{
	size_t rule_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	struct vf_plan *plan;
	int ret = vf_plan_new(phase, rules, rule_count, &plan);

	if (ret)
		return vferry_error_set(err, ret, "no-memory", NULL, "no memory for a plan");
	ret = add_session_steps(s, phase, plan, err);
	for (size_t i = 0; i < s->component_count && !ret; i++) {
		ret = add_component_steps(s, &s->components[i], phase, feeding, plan, err);
		if (!ret)
			ret = add_stream_steps(&s->components[i], phase, plan, err);
	}
	if (ret) {
		(void) vf_plan_free(plan);
		return ret;
	}
	*ret_plan = plan;	/* not sealed: the caller may add what the source knows */
	return 0;
}

/* ---- one step ---- */

struct vferry_writer *vferry_step_writer(struct vferry_step *step)
{
	return step->writer;
}

struct vferry_reader *vferry_step_reader(struct vferry_step *step)
{
	return step->reader;
}

uint16_t vferry_step_section_version(const struct vferry_step *step)
{
	return step->version;
}

uint32_t vferry_step_section_id(const struct vferry_step *step)
{
	return step->section;
}

void vferry_step_count_bytes(struct vferry_step *step, uint64_t bytes)
{
	step->bytes += bytes;
}

int vf_step_run_save(struct vferry_session *s, struct vf_session_component *c,
		     const struct vferry_step_desc *desc, vf_send_section send,
		     uint64_t *ret_bytes, struct vferry_error *err)
{
	const struct vferry_section_desc *section = vf_component_section(&c->desc, desc->section);
	struct vferry_writer writer;
	struct vferry_step step = { 0 };
	int ret;

	if (section) {
		vf_writer_init(&writer.w, section->max_bytes);
		step = (struct vferry_step) {
			.writer = &writer, .section = section->id, .version = section->version,
		};
	}
	ret = desc->run(c->desc.user, &step, err);
	if (section) {
		if (!ret && writer.w.bad)
			ret = vferry_error_set(err, -EMSGSIZE, "section-too-large", c->name,
					       "section %s does not fit its bound of %u bytes",
					       section->name, section->max_bytes);
		if (!ret)
			ret = send(s, c, section, writer.w.data, writer.w.size, err);
		step.bytes += writer.w.size;
		vf_writer_done(&writer.w);
	}
	*ret_bytes = step.bytes;
	return ret;
}

int vf_step_run_load(struct vf_session_component *c, const struct vferry_step_desc *desc,
		     uint32_t section, uint16_t version, const void *body, size_t bytes,
		     uint64_t *ret_bytes, struct vferry_error *err)
{
	struct vferry_reader reader = { .r = vf_reader_of(body, bytes) };
	struct vferry_step step = {
		.reader = section ? &reader : NULL, .section = section, .version = version,
		.bytes = bytes,
	};
	int ret = desc->run(c->desc.user, &step, err);

	if (!ret && reader.r.bad)
		ret = vferry_error_set(err, -EBADMSG, "section-malformed", c->name,
				       "section %u is cut short at byte %zu of %zu", section,
				       reader.r.at, reader.r.size);
	*ret_bytes = step.bytes;
	return ret;
}

/* ---- reasons ---- */

int vf_reasons_init(struct vferry_reasons *r)
{
	*r = (struct vferry_reasons) { 0 };
	r->list.reasons = calloc(VF_MAX_REASONS, sizeof(*r->list.reasons));
	return r->list.reasons ? 0 : -ENOMEM;
}

void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...)
{
	struct vferry_error *reason;
	va_list args;

	if (reasons->list.reason_count == VF_MAX_REASONS) {
		reasons->list.dropped++;
		return;
	}
	reason = &reasons->list.reasons[reasons->list.reason_count++];
	va_start(args, fmt);
	(void) vferry_error_setv(reason, -EPROTO, id, object, fmt, args);
	va_end(args);
	/* It may quote the peer, and is shown to people. */
	for (char *c = reason->message; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	vferry_error_phase(reason, "setup");
}

void vf_reasons_summary(const struct vf_refuse *list, struct vferry_error *err)
{
	char text[sizeof(err->message)];
	size_t at = 0;

	for (uint32_t i = 0; i < list->reason_count && at < sizeof(text); i++) {
		int n = snprintf(text + at, sizeof(text) - at, "%s%s: %s", i ? "; " : "",
				 list->reasons[i].object, list->reasons[i].message);

		at += n > 0 ? (size_t) n : 0;
	}
	if (at >= sizeof(text))		/* the rest is in vferry_session_reasons() */
		(void) snprintf(text + sizeof(text) - 4, 4, "...");
	vferry_error_clear(err);
	(void) vferry_error_set(err, -EPROTO, list->reason_count == 1 ? list->reasons[0].id
								      : "not-migratable",
				list->reason_count ? list->reasons[0].object : NULL, "%s", text);
	vferry_error_phase(err, "setup");
}
