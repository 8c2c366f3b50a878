/* SPDX-License-Identifier: MIT */
/*
 * parse.c - the texts of a capture, back into a capture.
 *
 * Decoding takes what it finds where it expects it, and asks nothing: what is missing is zero. Then
 * bounds are checked, and the result is described again. A member that is unknown, missing, of
 * another type, out of order or at odds with config space makes a difference there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

#define DEPTH_MAX 8
#define PATH_BYTES 128u
#define PAGE_MASK (VF_PAGE_BYTES - 1)

static int bad(struct vferry_error *err, const char *object, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(struct vferry_error *err, const char *object, const char *fmt, ...)
{
	va_list args;
	int ret;

	va_start(args, fmt);
	ret = vferry_error_setv(err, -EINVAL, "capture-bad", object, fmt, args);
	va_end(args);
	return ret;
}

/* --- decoding: whatever is there --- */

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(o, json_type_object))
		(void) json_object_object_get_ex(o, key, &value);
	return value;
}

static uint64_t number(struct json_object *o, const char *key)
{
	struct json_object *value = member(o, key);

	return json_object_is_type(value, json_type_int) ? json_object_get_uint64(value) : 0;
}

static bool yes(struct json_object *o, const char *key)
{
	struct json_object *value = member(o, key);

	return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

static const char *text(struct json_object *o)
{
	return json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";
}

static size_t length(struct json_object *list, size_t most)
{
	if (!json_object_is_type(list, json_type_array))
		return 0;
	return (size_t) vf_min_u64(json_object_array_length(list), most);
}

static uint64_t flags(struct json_object *o, const struct capture_flags *known)
{
	struct json_object *list = member(o, "flags");
	size_t count = length(list, 64);
	uint64_t value = 0;

	for (size_t i = 0; i < count; i++) {
		const char *word = text(json_object_array_get_idx(list, i));
		unsigned int bit;

		for (size_t n = 0; n < known->count; n++)
			if (!strcmp(known->names[n].name, word))
				value |= known->names[n].bit;
		if (sscanf(word, "bit-%2u", &bit) == 1 && bit < 64)
			value |= 1ull << bit;
	}
	return value;
}

static void decode_region(struct json_object *o, struct capture *c)
{
	struct json_object *areas = member(o, "areas");
	uint64_t index = number(o, "index");
	struct capture_region *r;

	if (index >= VF_VFIO_PCI_REGIONS)
		return;
	r = &c->regions[index];
	r->size = number(o, "size");
	r->flags = (uint32_t) flags(o, &capture_region_flags);
	r->area_count = (uint32_t) length(areas, CAPTURE_AREAS_MAX);
	for (uint32_t i = 0; i < r->area_count; i++) {
		struct json_object *area = json_object_array_get_idx(areas, i);

		r->areas[i].offset = number(area, "offset");
		r->areas[i].size = number(area, "size");
	}
}

static void decode_irq(struct json_object *o, struct capture *c)
{
	uint64_t index = number(o, "index");

	if (index >= VF_VFIO_PCI_IRQS)
		return;
	c->irqs[index].count = (uint32_t) vf_min_u64(number(o, "count"), UINT32_MAX);
	c->irqs[index].flags = (uint32_t) flags(o, &capture_irq_flags);
}

static void decode(struct json_object *o, struct capture *c)
{
	struct json_object *regions = member(o, "regions"), *irqs = member(o, "interrupts");
	struct json_object *migration = member(o, "migration");
	size_t region_count = length(regions, VF_VFIO_PCI_REGIONS);
	size_t irq_count = length(irqs, VF_VFIO_PCI_IRQS);

	c->device_flags = (uint32_t) flags(o, &capture_device_flags);
	c->extensions = !strcmp(text(member(o, "vfio_user")), "extended");
	for (size_t i = 0; i < region_count; i++)
		decode_region(json_object_array_get_idx(regions, i), c);
	for (size_t i = 0; i < irq_count; i++)
		decode_irq(json_object_array_get_idx(irqs, i), c);
	c->migration_flags = flags(migration, &capture_migration_flags);
	c->has_data_size = json_object_is_type(member(migration, "data_size"), json_type_int);
	c->data_size = number(migration, "data_size");
	c->precopy_info = yes(migration, "precopy_info");
	c->dma_log = yes(migration, "dma_log");
}

/* --- bounds --- */

static int check_region(const struct capture_region *r, uint32_t index, struct vferry_error *err)
{
	uint64_t end = 0;

	if (r->size > CAPTURE_REGION_MAX)
		return bad(err, "region", "region %u of %" PRIu64 " bytes is larger than %llu", index,
			   r->size, CAPTURE_REGION_MAX);
	if (r->area_count > CAPTURE_AREAS_MAX)
		return bad(err, "region", "region %u has more than %u areas", index,
			   CAPTURE_AREAS_MAX);
	if (!r->area_count != !(r->flags & VF_VFIO_REGION_FLAG_MMAP))
		return bad(err, "region", "region %u has areas to map if, and only if, it is \"mmap\"",
			   index);
	for (uint32_t i = 0; i < r->area_count; i++) {
		const struct vf_vfio_sparse_area *a = &r->areas[i];

		if (!a->size || a->offset & PAGE_MASK || a->offset < end ||
		    !vf_range_in(a->offset, a->size, r->size) ||
		    (a->size & PAGE_MASK && a->offset + a->size != r->size))
			return bad(err, "region", "area %u of region %u, %" PRIu64 " bytes at %" PRIu64
				   ", is empty, not of whole pages, outside, or not behind the one "
				   "before", i, index, a->size, a->offset);
		end = a->offset + a->size;
	}
	return 0;
}

int capture_check(const struct capture *c, struct vferry_error *err)
{
	uint32_t config = capture_config_bytes(c);
	int ret = 0;

	if (!(c->device_flags & VF_VFIO_DEVICE_FLAGS_PCI))
		return bad(err, "device", "this is no PCI function");
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS && !ret; i++)
		ret = check_region(&c->regions[i], i, err);
	if (ret)
		return ret;
	if (!config || c->regions[VF_VFIO_PCI_CONFIG_REGION].size > CAPTURE_CONFIG_MAX)
		return bad(err, "region", "a config space of %" PRIu64 " bytes is none",
			   c->regions[VF_VFIO_PCI_CONFIG_REGION].size);
	if (c->regions[VF_VFIO_PCI_CONFIG_REGION].flags & VF_VFIO_REGION_FLAG_MMAP)
		return bad(err, "region", "config space can't be mapped");
	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS; i++)
		if (c->irqs[i].count > CAPTURE_VECTORS_MAX)
			return bad(err, "interrupt", "%u interrupts of index %u are more than %u",
				   c->irqs[i].count, i, CAPTURE_VECTORS_MAX);
	if (c->data_size > CAPTURE_STATE_MAX)
		return bad(err, "migration", "a state of %" PRIu64 " bytes is larger than %llu",
			   c->data_size, CAPTURE_STATE_MAX);
	if (c->migration_flags && !(c->migration_flags & VF_VFIO_MIGRATION_STOP_COPY))
		return bad(err, "migration", "a device that migrates has at least stop-copy");
	return 0;
}

/* --- the first difference --- */

/* What was read may have been made to harm a terminal. */
static void keep_printable(struct vferry_error *err)
{
	for (char *at = err ? err->message : ""; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
}

struct difference {
	char path[PATH_BYTES];
	struct json_object *read, *means;	/* borrowed; NULL = not there */
};

static bool differs(struct json_object *read, struct json_object *means, const char *path,
		    unsigned int depth, struct difference *ret);

static bool found(struct json_object *read, struct json_object *means, const char *path,
		  struct difference *ret)
{
	(void) snprintf(ret->path, sizeof(ret->path), "%s", path);
	ret->read = read;
	ret->means = means;
	return true;
}

static bool arrays_differ(struct json_object *read, struct json_object *means, const char *path,
			  unsigned int depth, struct difference *ret)
{
	size_t a = json_object_array_length(read), b = json_object_array_length(means);
	char name[PATH_BYTES];

	for (size_t i = 0; i < a || i < b; i++) {
		(void) snprintf(name, sizeof(name), "%.90s[%zu]", path, i);
		if (differs(json_object_array_get_idx(read, i), json_object_array_get_idx(means, i),
			    name, depth, ret))
			return true;
	}
	return false;
}

static bool objects_differ(struct json_object *read, struct json_object *means, const char *path,
			   unsigned int depth, struct difference *ret)
{
	struct json_object *other;
	char name[PATH_BYTES];

	json_object_object_foreach(means, key, value) {
		(void) snprintf(name, sizeof(name), "%.60s%s%.60s", path, *path ? "." : "", key);
		if (!json_object_object_get_ex(read, key, &other))
			return found(NULL, value, name, ret);
		if (differs(other, value, name, depth, ret))
			return true;
	}
	json_object_object_foreach(read, theirs, unknown) {
		(void) snprintf(name, sizeof(name), "%.60s%s%.60s", path, *path ? "." : "", theirs);
		if (!json_object_object_get_ex(means, theirs, NULL))
			return found(unknown, NULL, name, ret);
	}
	return false;
}

static bool differs(struct json_object *read, struct json_object *means, const char *path,
		    unsigned int depth, struct difference *ret)
{
	enum json_type type = json_object_get_type(means);

	if (json_object_get_type(read) != type || depth == DEPTH_MAX)
		return found(read, means, path, ret);
	if (type == json_type_object)
		return objects_differ(read, means, path, depth + 1, ret);
	if (type == json_type_array)
		return arrays_differ(read, means, path, depth + 1, ret);
	return !json_object_equal(read, means) && found(read, means, path, ret);
}

static int compare(struct json_object *read, const struct capture *c, struct vferry_error *err)
{
	struct json_object *means = capture_describe(c);
	struct difference d;
	int ret = 0;

	if (!means)
		return vferry_error_set(err, -ENOMEM, "no-memory", "device.json", "no memory");
	if (!differs(read, means, "", 0, &d))
		goto out;
	if (!d.read)
		ret = bad(err, "device.json", "device.json: %s is missing or null", d.path);
	else if (!d.means)
		ret = bad(err, "device.json", "device.json: %s, which is %.60s, has no meaning here",
			  d.path, json_object_to_json_string(d.read));
	else
		ret = bad(err, "device.json", "device.json: %s is %.60s, where the rest, or config, "
			  "makes it %.60s", d.path, json_object_to_json_string(d.read),
			  json_object_to_json_string(d.means));
	keep_printable(err);
out:
	json_object_put(means);
	return ret;
}

/* --- all of it --- */

static int parse_json(const char *data, size_t size, struct json_object **ret_object,
		      struct vferry_error *err)
{
	struct json_tokener *tokener;
	struct json_object *o;
	int ret = 0;

	if (size > CAPTURE_FILE_MAX)
		return bad(err, "device.json", "device.json is longer than %u bytes", CAPTURE_FILE_MAX);
	tokener = json_tokener_new_ex(DEPTH_MAX);
	if (!tokener)
		return vferry_error_set(err, -ENOMEM, "no-memory", "device.json", "no memory");
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tokener, data, (int) size);
	if (json_tokener_get_error(tokener) != json_tokener_success)
		ret = bad(err, "device.json", "device.json is no JSON at byte %zu: %s",
			  json_tokener_get_parse_end(tokener),
			  json_tokener_error_desc(json_tokener_get_error(tokener)));
	else if (json_tokener_get_parse_end(tokener) != size)
		ret = bad(err, "device.json", "device.json goes on behind its object");
	else if (!json_object_is_type(o, json_type_object))
		ret = bad(err, "device.json", "device.json is no JSON object");
	json_tokener_free(tokener);
	if (ret)
		json_object_put(o);
	else
		*ret_object = o;
	return ret;
}

static int check_format(struct json_object *o, struct vferry_error *err)
{
	if (strcmp(text(member(o, "format")), "vferry-capture"))
		return bad(err, "device.json", "device.json is not of a capture: format is not "
			   "\"vferry-capture\"");
	if (number(o, "version") != CAPTURE_VERSION)
		return vferry_error_set(err, -EOPNOTSUPP, "capture-version", "device.json",
					"the capture is of version %" PRIu64 ", and this program knows "
					"version %u", number(o, "version"), CAPTURE_VERSION);
	return 0;
}

int capture_parse(const char *device, size_t device_bytes, const char *config, size_t config_bytes,
		  struct capture *ret_capture, struct vferry_error *err)
{
	struct capture *c = calloc(1, sizeof(*c));
	struct json_object *o = NULL;
	int ret = c ? parse_json(device, device_bytes, &o, err) :
		  vferry_error_set(err, -ENOMEM, "no-memory", "device.json", "no memory");

	if (!ret)
		ret = check_format(o, err);
	if (ret)
		goto out;
	decode(o, c);
	ret = capture_check(c, err);
	if (!ret)
		ret = capture_parse_config(config, config_bytes, c, err);
	if (!ret)
		ret = compare(o, c, err);
	if (!ret)
		*ret_capture = *c;
out:
	json_object_put(o);
	free(c);
	return ret;
}
