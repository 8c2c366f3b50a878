/* SPDX-License-Identifier: MIT */
/* trace_dump.c - a session's trace, for people and for programs: vferry_session_dump_trace(). */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/clock.h"
#include "session/session_internal.h"

struct dump {
	struct vferry_session *session;
	struct vferry_status status;
	struct vf_trace_record *records;	/* owned */
	size_t count;
};

static const char *role_of(const struct vferry_session *s)
{
	return s->source ? "source" : s->destination ? "destination" : "not started";
}

/* Not by vferry_session_get_status(), which drains the descriptor that the embedder waits on. */
static void take_status(struct vferry_session *s, struct vferry_status *ret_status)
{
	(void) pthread_mutex_lock(&s->lock);
	if (s->side)
		s->side->status(s, &s->status);
	*ret_status = s->status;
	(void) pthread_mutex_unlock(&s->lock);
}

/* ---- text ---- */

static void print_head(FILE *to, const struct dump *d)
{
	const struct vferry_status *status = &d->status;
	const struct vferry_error *e = &status->error;

	fprintf(to, "%s %s: %s, outcome %d%s\n", role_of(d->session), d->session->uri,
		vferry_state_name(status->state), (int) status->outcome,
		status->owner ? ", may run the machine" : "");
	if (e->code)
		fprintf(to, "failed: %s %s in %s: %s: %s\n", vferry_errno_name(e->code), e->id,
			e->phase[0] ? e->phase : "no phase", e->object, e->message);
	fprintf(to, "pass %" PRIu32 ", %" PRIu64 " bytes of pages, %" PRIu64 " of devices, %" PRIu64
		    " of sections\n", status->pass, status->ram_sent_bytes,
		status->device_sent_bytes, status->section_bytes);
}

static void print_event(FILE *to, const struct dump *d, const struct vf_trace_record *r)
{
	const struct vferry_trace_point *point = vferry_trace_get_point(r->point);
	int64_t since = (int64_t) (r->time_ns - d->session->started_ns);

	fprintf(to, "%12.6f  %7" PRIu32 "  %-22s %s", (double) since / 1e9, r->thread, point->name,
		r->object);
	for (size_t i = 0; i < VFERRY_TRACE_ARGUMENTS && point->arguments[i]; i++)
		fprintf(to, " %s=%" PRIu64, point->arguments[i], r->arguments[i]);
	if (r->result)
		fprintf(to, " made to fail: %s", vferry_errno_name(r->result));
	fputc('\n', to);
}

static int dump_text(const struct dump *d, char **ret_text)
{
	char *text = NULL;
	size_t bytes;
	FILE *to = open_memstream(&text, &bytes);

	if (!to)
		return -ENOMEM;
	print_head(to, d);
	for (size_t i = 0; i < d->count; i++)
		print_event(to, d, &d->records[i]);
	if (fclose(to)) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}

/* ---- JSON ---- */

static void add_number(struct json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_uint64(value));
}

static void add_text(struct json_object *to, const char *name, const char *value)
{
	json_object_object_add(to, name, json_object_new_string(value));
}

static struct json_object *session_json(const struct dump *d)
{
	const struct vferry_status *status = &d->status;
	struct json_object *to = json_object_new_object();

	add_text(to, "role", role_of(d->session));
	add_text(to, "uri", d->session->uri);
	add_text(to, "state", vferry_state_name(status->state));
	json_object_object_add(to, "outcome", json_object_new_int((int) status->outcome));
	json_object_object_add(to, "owner", json_object_new_boolean(status->owner));
	json_object_object_add(to, "device-lost", json_object_new_boolean(status->device_lost));
	add_number(to, "started-ns", d->session->started_ns);
	add_number(to, "channels", d->session->parameters.channels);
	add_number(to, "pass", status->pass);
	add_number(to, "ram-sent-bytes", status->ram_sent_bytes);
	add_number(to, "ram-remaining-bytes", status->ram_remaining_bytes);
	add_number(to, "device-sent-bytes", status->device_sent_bytes);
	add_number(to, "section-bytes", status->section_bytes);
	add_number(to, "rate", status->rate);
	if (status->expected_downtime_known)
		add_number(to, "expected-downtime-ns", status->expected_downtime_ns);
	if (status->forecast[0])
		add_text(to, "forecast", status->forecast);
	if (status->error.code) {
		struct json_object *error = json_object_new_object();

		add_text(error, "errno", vferry_errno_name(status->error.code));
		add_text(error, "id", status->error.id);
		add_text(error, "phase", status->error.phase);
		add_text(error, "object", status->error.object);
		add_text(error, "message", status->error.message);
		json_object_object_add(to, "error", error);
	}
	return to;
}

static struct json_object *points_json(const struct dump *d)
{
	struct json_object *to = json_object_new_object();

	for (size_t i = 1; i <= vferry_trace_point_count(); i++) {
		uint64_t passed = vf_trace_passed(d->session->trace, (enum vf_trace_point) i);

		if (passed)
			add_number(to, vferry_trace_get_point(i)->name, passed);
	}
	return to;
}

static struct json_object *event_json(const struct vf_trace_record *r)
{
	const struct vferry_trace_point *point = vferry_trace_get_point(r->point);
	struct json_object *to = json_object_new_object();

	add_number(to, "time-ns", r->time_ns);
	add_text(to, "point", point->name);
	add_text(to, "kind", vferry_trace_kind_name(point->kind));
	if (r->object[0])
		add_text(to, "object", r->object);
	add_number(to, "thread", r->thread);
	for (size_t i = 0; i < VFERRY_TRACE_ARGUMENTS && point->arguments[i]; i++)
		add_number(to, point->arguments[i], r->arguments[i]);
	if (r->result)
		add_text(to, "made-to-fail", vferry_errno_name(r->result));
	return to;
}

static int dump_json(const struct dump *d, char **ret_text)
{
	struct json_object *top = json_object_new_object();
	struct json_object *events = json_object_new_array();

	json_object_object_add(top, "session", session_json(d));
	json_object_object_add(top, "points", points_json(d));
	for (size_t i = 0; i < d->count; i++)
		json_object_array_add(events, event_json(&d->records[i]));
	json_object_object_add(top, "events", events);
	*ret_text = strdup(json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY |
							       JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(top);
	return *ret_text ? 0 : -ENOMEM;
}

int vferry_session_dump_trace(struct vferry_session *s, enum vferry_trace_format format,
			      char **ret_text)
{
	struct dump d = { .session = s };
	int ret = vf_trace_records(s->trace, &d.records, &d.count);

	if (ret)
		return ret;
	take_status(s, &d.status);
	ret = format == VFERRY_TRACE_JSON ? dump_json(&d, ret_text) : dump_text(&d, ret_text);
	free(d.records);
	return ret;
}
