/* SPDX-License-Identifier: MIT */
/* inspect_print.c - see inspect_print.h. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "command.h"
#include "inspect_print.h"
#include "pci_names.h"

#define UNKNOWN "not known"

static void id_text(const uint8_t id[16], char to[33])
{
	for (int i = 0; i < 16; i++)
		(void) snprintf(to + 2 * i, 3, "%02x", id[i]);
}

/* "gic:registers"; numbers for what is not described. */
static void section_name(const struct vferry_inspection *i, uint32_t component, uint32_t section,
			 char to[140])
{
	const struct vferry_inspect_component *c = &i->components[component];

	for (size_t j = 0; j < c->section_count; j++)
		if (c->sections[j].id == section) {
			(void) snprintf(to, 140, "%s:%s", c->name, c->sections[j].name);
			return;
		}
	(void) snprintf(to, 140, "%s:%u", c->name, section);
}

/* ---- text ---- */

void inspect_print_frame(const struct vferry_inspect_frame *frame)
{
	char type[32];

	if (frame->type)
		(void) snprintf(type, sizeof(type), "%s", frame->type);
	else
		(void) snprintf(type, sizeof(type), "optional %u", frame->type_number);
	printf("  %12" PRIu64 "  %5" PRIu64 "  %-14s %8u bytes", frame->offset, frame->sequence,
	       type, frame->length);
	if (frame->component_name)
		printf("  %s", frame->component_name);
	else if (frame->component != UINT32_MAX)
		printf("  component %u", frame->component);
	printf("%s%s%s\n", frame->detail[0] ? "  " : "", frame->detail,
	       frame->intact ? "" : "  damaged");
}

static void print_file(const struct vferry_inspection *i, const struct inspect_style *style)
{
	char size[32], id[33];

	printf("%s\n", style->name);
	printf("  size       %s (%" PRIu64 " bytes)\n", tool_bytes_text(i->file_bytes, size),
	       i->file_bytes);
	if (!i->file_version)
		return;
	printf("  format     version %u\n", i->file_version);
	if (i->has_hello) {
		id_text(i->session_id, id);
		printf("  stream     version %u.%u, written by %s\n", i->stream_major,
		       i->stream_minor, i->software[0] ? i->software : UNKNOWN);
		printf("  session    %s\n", id);
	}
	if (i->has_machine)
		printf("  machine    %s\n", i->machine);
	printf("  frames     %" PRIu64 " at offset %" PRIu64 ", %" PRIu64 " bytes:", i->frame_count,
	       i->frames_offset, i->frames_bytes);
	for (size_t t = 0; t < i->frame_types; t++)
		printf("%s %" PRIu64 " %s", t ? "," : "", i->frames[t].count,
		       i->frames[t].type ?: "of unknown types");
	putchar('\n');
}

static void print_blocks(const struct vferry_inspection *i)
{
	printf("\nRAM\n");
	for (size_t b = 0; b < i->block_count; b++) {
		const struct vferry_inspect_block *block = &i->blocks[b];
		char size[32], content[32];

		printf("  %-10s ", block->name[0] ? block->name : "?");
		if (block->name[0])
			printf("at 0x%" PRIx64 ", ", block->gpa);
		printf("%s in %" PRIu64 " pages, %" PRIu64 " with content (%s), at offset %" PRIu64
		       "\n",
		       tool_bytes_text(block->bytes, size), block->pages, block->data_pages,
		       tool_bytes_text(block->data_pages * 4096, content), block->offset);
	}
	if (i->has_digest)
		printf("  digest     %08x\n", i->digest);
}

static void print_function(const struct vferry_inspect_component *c,
			   const struct inspect_style *style)
{
	char name[300], class[140];

	printf("    function  %04x:%04x", c->vendor, c->product);
	if (!style->numeric && pci_name_device(c->vendor, c->product, name, sizeof(name))[0])
		printf(" %s", name);
	printf(", class %06x", c->class_code);
	if (!style->numeric && pci_name_class(c->class_code, class, sizeof(class))[0])
		printf(" %s", class);
	printf(", subsystem %04x:%04x\n", c->subsystem_vendor, c->subsystem);
}

static void print_section(const struct vferry_inspect_section *s)
{
	printf("    section   %u %s, ", s->id, s->name);
	if (!s->times) {
		printf("announced with version %u and at most %u bytes: missing\n", s->version,
		       s->max_bytes);
		return;
	}
	printf("version %u, %zu bytes of at most %u, at offset %" PRIu64, s->body_version, s->bytes,
	       s->max_bytes, s->offset);
	if (s->times > 1)
		printf(", the last of %u", s->times);
	printf("%s\n", s->body ? "" : ", not readable");
}

static void print_stream(const struct vferry_inspect_stream *s)
{
	char size[32];

	printf("    stream    %s (%" PRIu64 " bytes) of generation %u in %" PRIu64 " frames",
	       tool_bytes_text(s->bytes, size), s->bytes, s->generation, s->frames);
	if (s->initial_ended)
		printf(", initial %" PRIu64, s->initial_bytes);
	if (s->stopped)
		printf(", stopped at %" PRIu64, s->stopped_bytes);
	if (s->void_bytes)
		printf(", and %" PRIu64 " bytes of earlier ones", s->void_bytes);
	printf("%s\n", s->ended ? "" : ", without its end");
}

static void print_components(const struct vferry_inspection *i, const struct inspect_style *style)
{
	printf("\nComponents\n");
	for (size_t n = 0; n < i->component_count; n++) {
		const struct vferry_inspect_component *c = &i->components[n];

		printf("  %s", c->name);
		if (c->identity_bytes)
			printf(", identity of %zu bytes", c->identity_bytes);
		putchar('\n');
		if (c->has_ids)
			print_function(c, style);
		for (size_t s = 0; s < c->section_count; s++)
			print_section(&c->sections[s]);
		if (c->has_stream)
			print_stream(&c->stream);
	}
}

static void print_dependencies(const struct vferry_inspection *i)
{
	char first[140], then[140];

	printf("\nDependencies\n");
	if (!i->dependency_count)
		printf("  none carried: the rules of who loads it are all there is\n");
	for (size_t d = 0; d < i->dependency_count; d++) {
		const struct vferry_inspect_dependency *dep = &i->dependencies[d];

		section_name(i, dep->first_component, dep->first_section, first);
		section_name(i, dep->then_component, dep->then_section, then);
		printf("  %s before %s\n", first, then);
	}
}

static void print_manifest(const struct vferry_inspection *i)
{
	printf("\nManifest\n");
	if (i->has_manifest)
		printf("  at offset %" PRIu64 ": %" PRIu64
		       " pages written with content and %" PRIu64
		       " without, %u sections, %u streams\n",
		       i->manifest_offset, i->manifest_pages_normal, i->manifest_pages_zero,
		       i->manifest_sections, i->manifest_streams);
	else
		printf("  missing\n");
}

struct printer {
	char group[64];
};

static void print_field(void *user, const struct vferry_inspect_field *f)
{
	struct printer *p = user;
	bool capability = !strcmp(f->name, "id");

	if (strcmp(p->group, f->group) || capability) {
		(void) snprintf(p->group, sizeof(p->group), "%s", f->group);
		printf("  %s", f->group);
		if (capability)
			printf(" at 0x%03x", f->offset);
		putchar('\n');
	}
	printf("    %03x  %-28s %s\n", f->offset, f->name, f->value);
}

/* Of each function, as it is loaded in the end: the last of its config sections that there is. */
static const struct vferry_inspect_section *config_of(const struct vferry_inspect_component *c)
{
	for (size_t s = c->section_count; s-- > 0;)
		if (c->sections[s].is_config && c->sections[s].body)
			return &c->sections[s];
	return NULL;
}

static void print_configs(const struct vferry_inspection *i)
{
	for (size_t n = 0; n < i->component_count; n++) {
		const struct vferry_inspect_section *s = config_of(&i->components[n]);
		struct printer p = { 0 };

		if (!s)
			continue;
		printf("\nConfig space of %s (%s)\n", i->components[n].name, s->name);
		(void) vferry_inspect_config(s->body, s->bytes, print_field, &p, NULL);
	}
}

static void print_problems(const struct vferry_inspection *i)
{
	if (!i->problem_count)
		return;
	printf("\nProblems\n");
	for (size_t n = 0; n < i->problems_listed; n++)
		printf("  offset %" PRIu64 ": %s: %s\n", i->problems[n].offset, i->problems[n].what,
		       i->problems[n].message);
	if (i->problem_count > i->problems_listed)
		printf("  and %zu more\n", i->problem_count - i->problems_listed);
}

void inspect_print(const struct vferry_inspection *i, const struct inspect_style *style)
{
	print_file(i, style);
	if (i->file_version) {
		print_blocks(i);
		if (style->verify)
			printf("  verified   %" PRIu64 " pages have the right checksum\n",
			       i->verified_pages);
		print_components(i, style);
		print_dependencies(i);
		print_manifest(i);
		print_configs(i);
	}
	print_problems(i);
}

/* ---- JSON ---- */

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static void add_hex(struct json_object *o, const char *key, unsigned digits, uint64_t value)
{
	char text[24];

	(void) snprintf(text, sizeof(text), "%0*" PRIx64, (int) digits, value);
	add_string(o, key, text);
}

struct json_object *inspect_json_frame(const struct vferry_inspect_frame *f)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "offset", f->offset);
	add_number(o, "sequence", f->sequence);
	if (f->type)
		add_string(o, "type", f->type);
	add_number(o, "type-number", f->type_number);
	add_number(o, "bytes", f->length);
	if (f->component_name)
		add_string(o, "component", f->component_name);
	if (f->detail[0])
		add_string(o, "detail", f->detail);
	add_bool(o, "intact", f->intact);
	return o;
}

static void add_field(void *user, const struct vferry_inspect_field *f)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "group", f->group);
	add_string(o, "name", f->name);
	add_number(o, "offset", f->offset);
	add_number(o, "bytes", f->bytes);
	add_string(o, "value", f->value);
	json_object_array_add(user, o);
}

static struct json_object *section_json(const struct vferry_inspect_section *s)
{
	struct json_object *o = json_object_new_object(), *fields;

	add_number(o, "id", s->id);
	add_string(o, "name", s->name);
	add_number(o, "announced-version", s->version);
	add_number(o, "max-bytes", s->max_bytes);
	add_number(o, "times", s->times);
	if (!s->body)
		return o;
	add_number(o, "offset", s->offset);
	add_number(o, "version", s->body_version);
	add_number(o, "bytes", s->bytes);
	add_hex(o, "crc32c", 8, s->crc);
	if (s->is_config) {
		fields = json_object_new_array();
		(void) vferry_inspect_config(s->body, s->bytes, add_field, fields, NULL);
		json_object_object_add(o, "config", fields);
	}
	return o;
}

static struct json_object *stream_json(const struct vferry_inspect_stream *s)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "generation", s->generation);
	add_number(o, "frames", s->frames);
	add_number(o, "bytes", s->bytes);
	add_hex(o, "crc32c", 8, s->crc);
	add_number(o, "void-bytes", s->void_bytes);
	if (s->initial_ended)
		add_number(o, "initial-bytes", s->initial_bytes);
	if (s->stopped)
		add_number(o, "stopped-at", s->stopped_bytes);
	add_bool(o, "ended", s->ended);
	return o;
}

static void add_ids(struct json_object *o, const struct vferry_inspect_component *c,
		    const struct inspect_style *style)
{
	char name[300];

	add_hex(o, "vendor", 4, c->vendor);
	add_hex(o, "product", 4, c->product);
	add_hex(o, "subsystem-vendor", 4, c->subsystem_vendor);
	add_hex(o, "subsystem", 4, c->subsystem);
	add_hex(o, "class", 6, c->class_code);
	if (!style->numeric && pci_name_device(c->vendor, c->product, name, sizeof(name))[0])
		add_string(o, "product-name", name);
	if (!style->numeric && pci_name_class(c->class_code, name, sizeof(name))[0])
		add_string(o, "class-name", name);
}

static struct json_object *component_json(const struct vferry_inspect_component *c,
					  const struct inspect_style *style)
{
	struct json_object *o = json_object_new_object(), *sections = json_object_new_array();

	add_string(o, "name", c->name);
	if (c->device[0])
		add_string(o, "device", c->device);
	add_number(o, "identity-bytes", c->identity_bytes);
	if (c->has_ids)
		add_ids(o, c, style);
	for (size_t s = 0; s < c->section_count; s++)
		json_object_array_add(sections, section_json(&c->sections[s]));
	json_object_object_add(o, "sections", sections);
	if (c->has_stream)
		json_object_object_add(o, "stream", stream_json(&c->stream));
	return o;
}

static struct json_object *blocks_json(const struct vferry_inspection *i)
{
	struct json_object *list = json_object_new_array();

	for (size_t b = 0; b < i->block_count; b++) {
		struct json_object *o = json_object_new_object();

		if (i->blocks[b].name[0]) {
			add_string(o, "name", i->blocks[b].name);
			add_number(o, "gpa", i->blocks[b].gpa);
		}
		add_number(o, "bytes", i->blocks[b].bytes);
		add_number(o, "pages", i->blocks[b].pages);
		add_number(o, "data-pages", i->blocks[b].data_pages);
		add_number(o, "offset", i->blocks[b].offset);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *dependencies_json(const struct vferry_inspection *i)
{
	struct json_object *list = json_object_new_array();
	char name[140];

	for (size_t d = 0; d < i->dependency_count; d++) {
		struct json_object *o = json_object_new_object();

		section_name(i, i->dependencies[d].first_component,
			     i->dependencies[d].first_section, name);
		add_string(o, "first", name);
		section_name(i, i->dependencies[d].then_component, i->dependencies[d].then_section,
			     name);
		add_string(o, "then", name);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *manifest_json(const struct vferry_inspection *i)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "offset", i->manifest_offset);
	add_number(o, "pages-normal", i->manifest_pages_normal);
	add_number(o, "pages-zero", i->manifest_pages_zero);
	add_number(o, "sections", i->manifest_sections);
	add_number(o, "streams", i->manifest_streams);
	return o;
}

static struct json_object *problems_json(const struct vferry_inspection *i)
{
	struct json_object *list = json_object_new_array();

	for (size_t n = 0; n < i->problems_listed; n++) {
		struct json_object *o = json_object_new_object();

		add_number(o, "offset", i->problems[n].offset);
		add_string(o, "what", i->problems[n].what);
		add_string(o, "message", i->problems[n].message);
		json_object_array_add(list, o);
	}
	return list;
}

static void add_header(struct json_object *o, const struct vferry_inspection *i)
{
	struct json_object *types = json_object_new_object();
	char id[33];

	add_number(o, "file-version", i->file_version);
	add_number(o, "frames-offset", i->frames_offset);
	add_number(o, "frames-bytes", i->frames_bytes);
	add_number(o, "frame-count", i->frame_count);
	for (size_t t = 0; t < i->frame_types; t++)
		add_number(types, i->frames[t].type ?: "unknown", i->frames[t].count);
	json_object_object_add(o, "frame-types", types);
	if (i->has_hello) {
		char version[32];

		id_text(i->session_id, id);
		(void) snprintf(version, sizeof(version), "%u.%u", i->stream_major,
				i->stream_minor);
		add_string(o, "stream-version", version);
		add_string(o, "software", i->software);
		add_string(o, "session", id);
	}
}

struct json_object *inspect_json(const struct vferry_inspection *i,
				 const struct inspect_style *style)
{
	struct json_object *o = json_object_new_object(), *components = json_object_new_array();

	add_string(o, "file", style->name);
	add_number(o, "bytes", i->file_bytes);
	if (i->file_version)
		add_header(o, i);
	if (i->has_machine) {
		add_string(o, "machine", i->machine);
		add_number(o, "max-downtime-ns", i->max_downtime_ns);
	}
	json_object_object_add(o, "ram", blocks_json(i));
	if (i->has_digest)
		add_hex(o, "ram-digest", 8, i->digest);
	if (style->verify)
		add_number(o, "verified-pages", i->verified_pages);
	for (size_t n = 0; n < i->component_count; n++)
		json_object_array_add(components, component_json(&i->components[n], style));
	json_object_object_add(o, "components", components);
	json_object_object_add(o, "dependencies", dependencies_json(i));
	if (i->has_manifest)
		json_object_object_add(o, "manifest", manifest_json(i));
	add_bool(o, "good", !i->problem_count);
	add_number(o, "problem-count", i->problem_count);
	json_object_object_add(o, "problems", problems_json(i));
	return o;
}
