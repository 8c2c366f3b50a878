/* SPDX-License-Identifier: MIT */
/* report_json.c - a run as one JSON object; see report.h. */
#include <errno.h>
#include <json-c/json.h>

#include "report.h"

static void add_text(struct json_object *to, const char *key, const char *text)
{
	(void) json_object_object_add(to, key, json_object_new_string(text));
}

static void add_number(struct json_object *to, const char *key, uint64_t number)
{
	(void) json_object_object_add(to, key, json_object_new_uint64(number));
}

static struct json_object *result_object(const struct check_result *r)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "id", r->assertion->id);
	add_text(o, "group", check_group_of(r->assertion)->name);
	add_text(o, "verdict", check_verdict_name(r->verdict));
	add_text(o, "sentence", r->assertion->sentence);
	add_text(o, "source", r->assertion->source);
	if (r->text[0])
		add_text(o, "text", r->text);
	add_number(o, "round", r->round);
	add_number(o, "ns", r->ns);
	return o;
}

static struct json_object *time_object(const struct check_time *t)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "what", t->what);
	add_number(o, "count", t->count);
	add_number(o, "total-ns", t->total_ns);
	add_number(o, "max-ns", t->max_ns);
	if (t->bytes)
		add_number(o, "bytes", t->bytes);
	return o;
}

int check_json(FILE *to, const char *device, uint64_t seed, const struct check_results *results,
	       const struct check_report *report)
{
	struct json_object *top = json_object_new_object(), *list = json_object_new_array();
	struct json_object *counts = json_object_new_object(), *times = json_object_new_array();

	add_text(top, "device", device);
	add_text(top, "kind", report->device);
	add_text(top, "features", report->features);
	add_number(top, "state-bytes", report->image_bytes);
	add_number(top, "seed", seed);
	add_text(top, "left-in", report->left);
	(void) json_object_object_add(top, "hung", json_object_new_boolean(report->hung));
	for (int v = 0; v < CHECK_VERDICTS; v++)
		add_number(counts, check_verdict_name((enum check_verdict) v), report->verdicts[v]);
	(void) json_object_object_add(top, "counts", counts);
	for (size_t i = 0; i < results->count; i++)
		(void) json_object_array_add(list, result_object(&results->list[i]));
	(void) json_object_object_add(top, "results", list);
	for (uint32_t i = 0; i < report->time_count; i++)
		(void) json_object_array_add(times, time_object(&report->times[i]));
	(void) json_object_object_add(top, "times", times);
	(void) fprintf(to, "%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY |
		       JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(top);
	return ferror(to) ? -EIO : 0;
}
