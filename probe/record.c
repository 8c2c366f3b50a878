/* SPDX-License-Identifier: MIT */
/* record.c - the folder of a capture, with all its parts; see record.h. */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "capture/capture.h"
#include "record.h"

static int save_report(const char *folder, struct json_object *report, struct vferry_error *err)
{
	const char *text = json_object_to_json_string_ext(report, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE);

	if (!text)
		return vferry_error_set(err, -ENOMEM, "no-memory", folder, "no memory");
	return capture_save_file(folder, "probe.json", text, strlen(text), err);
}

static int save_device(const char *folder, struct vf_backend *b, struct vferry_error *err)
{
	struct capture *c = calloc(1, sizeof(*c));
	int ret = c ? probe_record_device(b, c, err) :
		  vferry_error_set(err, -ENOMEM, "no-memory", folder, "no memory");

	if (!ret)
		ret = capture_save(c, folder, err);
	free(c);
	return ret;
}

int probe_capture(const char *folder, struct json_object *report, const struct probe_notes *notes,
		  struct vf_backend *b, struct vferry_error *err)
{
	int ret = capture_make_folder(folder, err);

	if (!ret)
		ret = save_report(folder, report, err);
	if (!ret)
		ret = probe_notes_save(notes, folder, err);
	if (!ret && b)
		ret = save_device(folder, b, err);
	return ret;
}
