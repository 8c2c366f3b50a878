/* SPDX-License-Identifier: MIT */
/*
 * cmd_inspect.c - `vferry inspect FILE`: what is in a saved machine, and where a damaged one
 * breaks. What the file says is on standard output, also of a damaged one; its problems last, and
 * counted on standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "command.h"
#include "inspect_print.h"

enum { OPT_FRAMES = 1, OPT_VERIFY, OPT_NUMERIC, OPT_JSON };

static const struct tool_option options[] = {
	{ "frames", NULL, "list every frame with its offset", OPT_FRAMES },
	{ "verify", NULL, "read all pages and check their checksums", OPT_VERIFY },
	{ "numeric", NULL, "PCI numbers without names", OPT_NUMERIC },
	{ "json", NULL, "as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry inspect",
	.arguments = "FILE [options]",
	.summary =
		"Shows what is in a saved machine. Exit code 2: the file is damaged, or is none.",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
};

struct request {
	bool frames, verify, numeric, json;
	struct json_object *list;	/* of frames */
};

static int take(void *user, int id, const char *value)
{
	struct request *r = user;

	(void) value;
	r->frames |= id == OPT_FRAMES;
	r->verify |= id == OPT_VERIFY;
	r->numeric |= id == OPT_NUMERIC;
	r->json |= id == OPT_JSON;
	return 0;
}

static void on_frame(void *user, const struct vferry_inspect_frame *frame)
{
	struct request *r = user;

	if (r->json)
		json_object_array_add(r->list, inspect_json_frame(frame));
	else
		inspect_print_frame(frame);
}

static void print_json(struct request *r, const struct vferry_inspection *i,
		       const struct inspect_style *style)
{
	struct json_object *o = inspect_json(i, style);

	if (r->list)
		json_object_object_add(o, "frames", json_object_get(r->list));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
					       JSON_C_TO_STRING_NOSLASHESCAPE));
	(void) json_object_put(o);
}

static int inspect(struct request *r, const char *path)
{
	struct vferry_inspect_options how = VFERRY_INSPECT_OPTIONS_INIT;
	struct inspect_style style = { .name = path, .numeric = r->numeric, .verify = r->verify };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_inspection *i;
	size_t problems;
	int ret;

	how.verify = r->verify;
	how.frame = r->frames ? on_frame : NULL;
	how.user = r;
	if (r->frames && !r->json)
		printf("Frames\n");
	ret = vferry_inspect(path, &how, &i, &err);
	if (ret)
		return tool_fail(&usage, ret == -ENOMEM ? TOOL_FAILED : TOOL_REFUSED, "%s: %s",
				 path, err.code ? err.message : strerror(-ret));
	if (r->json) {
		print_json(r, i, &style);
	} else {
		if (r->frames)
			putchar('\n');
		inspect_print(i, &style);
	}
	problems = i->problem_count;
	(void) vferry_inspection_free(i);
	if (problems)
		return tool_fail(&usage, TOOL_REFUSED, "%s is damaged: %zu problem%s", path,
				 problems, problems == 1 ? "" : "s");
	return TOOL_DONE;
}

int cmd_inspect(int argc, char **argv)
{
	struct request r = { 0 };
	const char *path;
	int code = tool_parse(&usage, argc, argv, take, &r, &path);

	if (code >= 0)
		return code;
	if (r.json && r.frames)
		r.list = json_object_new_array();
	code = inspect(&r, path);
	(void) json_object_put(r.list);
	return code;
}
