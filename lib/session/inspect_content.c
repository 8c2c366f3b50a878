/* SPDX-License-Identifier: MIT */
/*
 * inspect_content.c - what the frames of a saved machine say, held against each other: sections
 * against what was announced, streams against their marks, everything against the manifest.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "session/inspect.h"
#include "vfio/config.h"
#include "vfio/device_component.h"

#define CONFIG_PREFIX "pci/"

/* ---- the description ---- */

static void take_ids(struct vferry_inspect_component *c)
{
	struct vf_reader r = vf_reader_of(c->identity, c->identity_bytes);
	struct vf_config_layout *layout = malloc(sizeof(*layout));
	uint32_t size = vf_read_u32(&r);
	const uint8_t *bytes = vf_read_bytes(&r, size);
	struct vf_reader inner = vf_reader_of(bytes, bytes ? size : 0);

	if (layout && vf_reader_done(&r) && !vf_config_layout_decode(&inner, layout, NULL)) {
		c->has_ids = true;
		c->vendor = layout->vendor;
		c->product = layout->device;
		c->subsystem_vendor = layout->subsystem_vendor;
		c->subsystem = layout->subsystem;
		c->class_code = layout->class_code;
	}
	free(layout);
}

static int take_component(struct vferry_inspect_component *c, const struct vf_wire_component *w)
{
	bool pci = !strncmp(w->name, CONFIG_PREFIX, strlen(CONFIG_PREFIX)) && w->device[0];

	strcpy(c->name, w->name);
	strcpy(c->device, w->device);
	c->has_stream = w->has_stream;
	c->identity = w->identity;
	c->identity_bytes = w->identity_bytes;
	c->sections = calloc(w->section_count ? w->section_count : 1, sizeof(*c->sections));
	if (!c->sections)
		return -ENOMEM;
	c->section_count = w->section_count;
	for (uint32_t i = 0; i < w->section_count; i++) {
		c->sections[i].id = w->sections[i].id;
		c->sections[i].version = w->sections[i].version;
		c->sections[i].max_bytes = w->sections[i].max_bytes;
		strcpy(c->sections[i].name, w->sections[i].name);
		c->sections[i].is_config =
			pci && (w->sections[i].id == VF_DEVICE_SECTION_CONFIG ||
				w->sections[i].id == VF_DEVICE_SECTION_CONFIG_FINAL);
	}
	if (pci)
		take_ids(c);
	return 0;
}

static void take_blocks(struct vf_inspect *in, const struct vf_machine *m, uint64_t offset)
{
	struct vferry_inspection *out = in->out;

	if (m->block_count != out->block_count)
		vf_inspect_problem(in, offset, "machine",
				   "%zu RAM blocks were expected, as in the file's "
				   "header; %u are described",
				   out->block_count, m->block_count);
	for (size_t i = 0; i < out->block_count && i < m->block_count; i++) {
		struct vferry_inspect_block *b = &out->blocks[i];

		strcpy(b->name, m->blocks[i].name);
		b->gpa = m->blocks[i].gpa;
		b->flags = m->blocks[i].flags;
		if (m->blocks[i].bytes != b->bytes)
			vf_inspect_problem(in, offset, "machine",
					   "RAM block %s: %" PRIu64 " bytes were "
					   "expected, as in the file's header; %" PRIu64
					   " are described",
					   b->name, b->bytes, m->blocks[i].bytes);
	}
}

static void take_machine(struct vf_inspect *in, uint64_t offset)
{
	struct vferry_inspection *out = in->out;
	const struct vf_machine *m = &in->own->machine;

	out->has_machine = true;
	strcpy(out->machine, m->description);
	out->max_downtime_ns = m->max_downtime_ns;
	take_blocks(in, m, offset);
	out->components = calloc(m->component_count ? m->component_count : 1,
				 sizeof(*out->components));
	out->dependencies = calloc(m->dependency_count ? m->dependency_count : 1,
				   sizeof(*out->dependencies));
	if (!out->components || !out->dependencies) {
		in->result = -ENOMEM;
		return;
	}
	out->component_count = m->component_count;
	for (uint32_t i = 0; i < m->component_count && !in->result; i++)
		in->result = take_component(&out->components[i], &m->components[i]);
	out->dependency_count = m->dependency_count;
	for (uint32_t i = 0; i < m->dependency_count; i++)
		out->dependencies[i] = (struct vferry_inspect_dependency) {
			.first_component = m->dependencies[i].first_component,
			.first_section = m->dependencies[i].first_section,
			.then_component = m->dependencies[i].then_component,
			.then_section = m->dependencies[i].then_section,
		};
}

static void take_hello(struct vf_inspect *in, const struct vf_hello *hello, uint64_t offset)
{
	struct vferry_inspection *out = in->out;

	out->has_hello = true;
	out->stream_major = hello->major;
	out->stream_minor = hello->minor;
	memcpy(out->session_id, hello->session_id, sizeof(out->session_id));
	strcpy(out->software, hello->software);
	if (hello->purpose != VF_PURPOSE_FILE)
		vf_inspect_problem(in, offset, "hello",
				   "purpose %d (a file) was expected, it says %u", VF_PURPOSE_FILE,
				   hello->purpose);
}

void vf_inspect_description(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset)
{
	struct vf_hello hello;

	if (frame->type == VF_FRAME_HELLO && !in->out->has_hello &&
	    !vf_hello_decode(in->body, frame->length, &hello, NULL))
		take_hello(in, &hello, offset);
	else if (frame->type == VF_FRAME_MACHINE && !in->out->has_machine &&
		 !vf_machine_decode(in->body, frame->length, &in->own->machine, NULL))
		take_machine(in, offset);
}

/* ---- sections ---- */

static void bad_content(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset,
			const struct vferry_error *why)
{
	vf_inspect_problem(in, offset, vf_frame_type_name(frame->type), "%s",
			   why->code ? why->message : "cannot be read");
}

/* The component that a frame belongs to; without a description, nobody knows. */
static struct vferry_inspect_component *component_of(struct vf_inspect *in,
						     const struct vf_frame *frame, uint64_t offset)
{
	if (frame->component < in->out->component_count)
		return &in->out->components[frame->component];
	if (in->out->has_machine)
		vf_inspect_problem(in, offset, vf_frame_type_name(frame->type),
				   "it is for component %u, %zu are described", frame->component,
				   in->out->component_count);
	return NULL;
}

static struct vferry_inspect_section *section_of(struct vferry_inspect_component *c, uint32_t id)
{
	for (size_t i = 0; i < c->section_count; i++)
		if (c->sections[i].id == id)
			return &c->sections[i];
	return NULL;
}

static void ignore_field(void *user, const struct vferry_inspect_field *field)
{
	(void) user;
	(void) field;
}

static void keep_section(struct vf_inspect *in, const struct vferry_inspect_component *c,
			 struct vferry_inspect_section *s, const void *body, size_t bytes)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	void *copy;

	if (bytes > s->max_bytes) {
		vf_inspect_problem(in, s->offset, "section",
				   "%s:%s: at most %u bytes were announced, "
				   "these are %zu",
				   c->name, s->name, s->max_bytes, bytes);
		return;
	}
	if (bytes > VF_INSPECT_HOLD_BYTES - (in->held_bytes - s->bytes)) {
		vf_inspect_problem(in, s->offset, "section",
				   "%s:%s: %zu bytes, with %" PRIu64 " of at most "
				   "%u held before it",
				   c->name, s->name, bytes, in->held_bytes, VF_INSPECT_HOLD_BYTES);
		return;
	}
	copy = malloc(bytes ? bytes : 1);
	if (!copy) {
		in->result = -ENOMEM;
		return;
	}
	memcpy(copy, body, bytes);
	free((void *) s->body);
	in->held_bytes += bytes - s->bytes;
	s->body = copy;
	s->bytes = bytes;
	s->crc = vf_crc32c(0, copy, bytes);
	if (s->is_config && vferry_inspect_config(copy, bytes, ignore_field, NULL, &why)) {
		vf_inspect_problem(in, s->offset, "section", "%s:%s: %s", c->name, s->name,
				   why.code ? why.message : "the config space cannot be decoded");
		s->is_config = false;
	}
}

static void on_section(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_inspect_component *c = component_of(in, frame, offset);
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vferry_inspect_section *s;
	struct vf_section_header header;

	if (!c)
		return;
	if (vf_section_header_decode(in->body, frame->length, &header, &why)) {
		bad_content(in, frame, offset, &why);
		return;
	}
	s = section_of(c, header.id);
	if (!s) {
		vf_inspect_problem(in, offset, "section", "section %u of %s was not announced",
				   header.id, c->name);
		return;
	}
	s->times++;
	s->offset = offset;
	s->body_version = header.version;
	keep_section(in, c, s, in->body + VF_SECTION_HEADER_BYTES,
		     frame->length - VF_SECTION_HEADER_BYTES);
}

/* ---- streams ---- */

/* Is the frame where the stream is? If not, goes on from there: what is missing is said once. */
static void expect_place(struct vf_inspect *in, struct vferry_inspect_component *c, uint64_t offset,
			 uint32_t generation, uint64_t at)
{
	struct vferry_inspect_stream *s = &c->stream;

	if (s->frames == 1 && !s->void_bytes)
		s->generation = generation;
	if (generation == s->generation && at == s->bytes)
		return;
	vf_inspect_problem(in, offset, "stream",
			   "%s: generation %u at byte %" PRIu64 " was expected, "
			   "this is generation %u at %" PRIu64,
			   c->name, s->generation, s->bytes, generation, at);
	s->generation = generation;
	s->bytes = at;
}

static void on_data(struct vf_inspect *in, struct vferry_inspect_component *c,
		    const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vf_stream_header header;

	if (vf_stream_header_decode(in->body, frame->length, &header, &why)) {
		bad_content(in, frame, offset, &why);
		return;
	}
	expect_place(in, c, offset, header.generation, header.offset);
	c->stream.crc = vf_crc32c(c->stream.crc, in->body + VF_STREAM_HEADER_BYTES,
				  frame->length - VF_STREAM_HEADER_BYTES);
	c->stream.bytes += frame->length - VF_STREAM_HEADER_BYTES;
}

static void on_mark(struct vf_inspect *in, struct vferry_inspect_component *c,
		    const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_inspect_stream *s = &c->stream;
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vf_stream_mark mark;

	if (vf_stream_mark_decode(in->body, frame->length, &mark, &why)) {
		bad_content(in, frame, offset, &why);
		return;
	}
	expect_place(in, c, offset, mark.generation, mark.offset);
	if (mark.crc != s->crc)
		vf_inspect_problem(in, offset, "stream",
				   "%s: the %" PRIu64 " bytes so far have checksum %08x, "
				   "%08x was expected",
				   c->name, s->bytes, s->crc, mark.crc);
	s->crc = mark.crc;
	if (mark.kind == VF_MARK_INITIAL_END) {
		s->initial_ended = true;
		s->initial_bytes = mark.offset;
	} else if (mark.kind == VF_MARK_STOPPED) {
		s->stopped = true;
		s->stopped_bytes = mark.offset;
	} else {
		s->ended = true;
	}
}

static void on_restart(struct vf_inspect *in, struct vferry_inspect_component *c,
		       const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_inspect_stream *s = &c->stream;
	struct vferry_error why = VFERRY_ERROR_INIT;
	uint32_t generation;

	if (vf_number32_decode(in->body, frame->length, &generation, &why)) {
		bad_content(in, frame, offset, &why);
		return;
	}
	if (s->stopped)
		vf_inspect_problem(in, offset, "stream",
				   "%s: generation %u begins after the device had "
				   "been stopped",
				   c->name, generation);
	*s = (struct vferry_inspect_stream){
		.generation = generation,
		.frames = s->frames,
		.void_bytes = s->void_bytes + s->bytes,
	};
}

static void on_stream(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_inspect_component *c = component_of(in, frame, offset);

	if (!c)
		return;
	if (!c->has_stream || c->stream.ended) {
		vf_inspect_problem(in, offset, "stream",
				   c->has_stream ? "%s: its stream had ended before"
						 : "%s: no stream was announced",
				   c->name);
		return;
	}
	c->stream.frames++;
	if (frame->type == VF_FRAME_STREAM_DATA)
		on_data(in, c, frame, offset);
	else if (frame->type == VF_FRAME_STREAM_MARK)
		on_mark(in, c, frame, offset);
	else
		on_restart(in, c, frame, offset);
}

/* ---- the rest ---- */

/* Both were taken by the first walk if they could be: here it is said why not. */
static void check_description(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vf_machine machine = { 0 };
	struct vf_hello hello;
	int ret = frame->type == VF_FRAME_HELLO
			  ? vf_hello_decode(in->body, frame->length, &hello, &why)
			  : vf_machine_decode(in->body, frame->length, &machine, &why);

	vf_machine_done(&machine);
	if (ret)
		bad_content(in, frame, offset, &why);
}

static void on_manifest(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset)
{
	struct vferry_inspection *out = in->out;
	struct vferry_error why = VFERRY_ERROR_INIT;

	if (out->has_manifest) {
		vf_inspect_problem(in, offset, "manifest",
				   "there is one already, at offset %" PRIu64,
				   out->manifest_offset);
		return;
	}
	if (vf_manifest_decode(in->body, frame->length, &in->manifest, &why)) {
		bad_content(in, frame, offset, &why);
		return;
	}
	out->has_manifest = true;
	out->manifest_offset = offset;
	out->manifest_pages_normal = in->manifest.pages_normal;
	out->manifest_pages_zero = in->manifest.pages_zero;
	out->manifest_sections = in->manifest.section_count;
	out->manifest_streams = in->manifest.stream_count;
}

void vf_inspect_content(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset)
{
	switch (frame->type) {
	case VF_FRAME_HELLO:
	case VF_FRAME_MACHINE:
		check_description(in, frame, offset);
		return;
	case VF_FRAME_SECTION:
		on_section(in, frame, offset);
		return;
	case VF_FRAME_STREAM_DATA:
	case VF_FRAME_STREAM_MARK:
	case VF_FRAME_STREAM_RESTART:
		on_stream(in, frame, offset);
		return;
	case VF_FRAME_MANIFEST:
		on_manifest(in, frame, offset);
		return;
	case VF_FRAME_DIGEST:
		in->out->has_digest =
			!vf_number32_decode(in->body, frame->length, &in->out->digest, NULL);
		return;
	}
}

static void check_listed_section(struct vf_inspect *in, const struct vf_manifest_section *m)
{
	struct vferry_inspect_component *c = m->component < in->out->component_count
						     ? &in->out->components[m->component] : NULL;
	const struct vferry_inspect_section *s = c ? section_of(c, m->id) : NULL;

	if (!s)
		vf_inspect_problem(in, in->out->manifest_offset, "manifest",
				   "it lists section %u of "
				   "component %u, which was not announced",
				   m->id, m->component);
	else if (!s->body)
		vf_inspect_problem(in, in->out->manifest_offset, "manifest",
				   "%s:%s: %u bytes were expected, "
				   "the section is missing",
				   c->name, s->name, m->bytes);
	else if (s->bytes != m->bytes || s->crc != m->crc)
		vf_inspect_problem(in, in->out->manifest_offset, "manifest",
				   "%s:%s: %u bytes with checksum "
				   "%08x were expected, there are %zu with %08x",
				   c->name, s->name, m->bytes, m->crc, s->bytes, s->crc);
}

static void check_listed_stream(struct vf_inspect *in, const struct vf_manifest_stream *m)
{
	const struct vferry_inspect_component *c =
		m->component < in->out->component_count ? &in->out->components[m->component] : NULL;
	const struct vferry_inspect_stream *s = c && c->has_stream ? &c->stream : NULL;

	if (!s)
		vf_inspect_problem(in, in->out->manifest_offset, "manifest",
				   "it lists a stream of component "
				   "%u, which has none",
				   m->component);
	else if (s->generation != m->generation || s->bytes != m->bytes || s->crc != m->crc)
		vf_inspect_problem(
			in, in->out->manifest_offset, "manifest",
			"%s: %" PRIu64 " bytes of "
			"generation %u with checksum %08x were expected, there are %" PRIu64
			" of %u with %08x",
			c->name, m->bytes, m->generation, m->crc, s->bytes, s->generation, s->crc);
}

void vf_inspect_sum_up(struct vf_inspect *in)
{
	struct vferry_inspection *out = in->out;
	uint64_t end = in->file_bytes;

	if (!out->file_version)
		return;
	if (!out->has_hello)
		vf_inspect_problem(in, end, "file", "a hello frame was expected, none can be read");
	if (!out->has_machine)
		vf_inspect_problem(in, end, "file",
				   "a machine frame was expected, none can be read: whose "
				   "the sections are is not known");
	if (!out->has_manifest)
		vf_inspect_problem(in, end, "file",
				   "a manifest was expected, none can be read: what may be "
				   "missing is not known");
	for (size_t i = 0; i < out->component_count; i++)
		if (out->components[i].has_stream && !out->components[i].stream.ended)
			vf_inspect_problem(in, end, "stream",
					   "%s: the stream has no end; %" PRIu64 " bytes of "
					   "it are here",
					   out->components[i].name,
					   out->components[i].stream.bytes);
	if (!out->has_machine)
		return;
	for (uint32_t i = 0; i < in->manifest.section_count; i++)
		check_listed_section(in, &in->manifest.sections[i]);
	for (uint32_t i = 0; i < in->manifest.stream_count; i++)
		check_listed_stream(in, &in->manifest.streams[i]);
}
