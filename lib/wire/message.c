/* SPDX-License-Identifier: MIT */
/* message.c - encoders and decoders of message.h; one pair a message, in the order of the header. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "wire/frame.h"
#include "wire/message.h"

static int bad(struct vferry_error *err, const char *what, const struct vf_reader *r)
{
	char text[200];

	vf_reader_complaint(r, text, sizeof(text));
	return vferry_error_set(err, -EBADMSG, "stream-malformed", what, "%s: %s", what, text);
}

/* Ends a decode: all read, nothing left over. */
static int finish(const struct vf_reader *r, const char *what, struct vferry_error *err)
{
	return vf_reader_done(r) ? 0 : bad(err, what, r);
}

/*
 * A count of elements that take at least @least bytes each: within @most, and possible with the
 * bytes that are left. So no list is allocated larger than its message allows.
 */
static uint32_t read_count(struct vf_reader *r, uint32_t most, size_t least)
{
	uint32_t count = vf_read_u32(r);

	if (count > most)
		vf_reader_fail(r, "is over its bound");
	else if (count > vf_reader_left(r) / least)
		vf_reader_fail(r, "is more than the message has room for");
	return r->bad ? 0 : count;
}

static void *list_of(struct vf_reader *r, uint32_t count, size_t element)
{
	void *list = count ? calloc(count, element) : NULL;

	if (count && !list)
		vf_reader_fail(r, "asks for more memory than there is");
	return list;
}

static bool read_bool(struct vf_reader *r)
{
	uint8_t v = vf_read_u8(r);

	if (v > 1)
		vf_reader_fail(r, "is neither 0 nor 1");
	return v == 1;
}

/* A name is shown to people as it is: nothing that moves a cursor, nothing that is no character. */
static void read_name(struct vf_reader *r, char *to, size_t size)
{
	vf_read_string(r, to, size);
	for (const char *c = to; *c; c++)
		if (*c < ' ' || *c > '~')
			vf_reader_fail(r, "is not all printable ASCII");
}

/* So is a sentence, but it is worth more than its odd characters. */
static void read_sentence(struct vf_reader *r, char *to, size_t size)
{
	vf_read_string(r, to, size);
	for (char *c = to; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* ---- HELLO ---- */

void vf_hello_encode(struct vf_writer *w, const struct vf_hello *m)
{
	vf_write_u16(w, m->major);
	vf_write_u16(w, m->minor);
	vf_write_u32(w, m->purpose);
	vf_write_bytes(w, m->session_id, VF_SESSION_ID_BYTES);
	vf_write_u32(w, m->channel);
	vf_write_u32(w, m->channel_count);
	vf_write_u64(w, m->features);
	vf_write_string(w, m->software);
}

int vf_hello_decode(const void *data, size_t size, struct vf_hello *ret, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_hello m = { 0 };
	const uint8_t *id;

	m.major = vf_read_u16(vf_reader_at(&r, "major"));
	m.minor = vf_read_u16(vf_reader_at(&r, "minor"));
	if (!r.bad && m.major != VF_STREAM_MAJOR)
		return vferry_error_set(err, -EPROTONOSUPPORT, "stream-version", "hello",
					"hello: major at byte 0 is another: stream version %u.%u; this "
					"side speaks %u.%u",
					m.major, m.minor, VF_STREAM_MAJOR, VF_STREAM_MINOR);
	m.purpose = vf_read_u32(vf_reader_at(&r, "purpose"));
	if (m.purpose < VF_PURPOSE_MIGRATE || m.purpose > VF_PURPOSE_FILE)
		vf_reader_fail(&r, "is no purpose");
	id = vf_read_bytes(vf_reader_at(&r, "session_id"), VF_SESSION_ID_BYTES);
	if (id)
		memcpy(m.session_id, id, VF_SESSION_ID_BYTES);
	m.channel = vf_read_u32(vf_reader_at(&r, "channel"));
	m.channel_count = vf_read_u32(vf_reader_at(&r, "channel_count"));
	if (!m.channel_count || m.channel_count > VF_MAX_CHANNELS)
		vf_reader_fail(&r, "is out of bounds");
	if (m.channel >= m.channel_count)
		vf_reader_fail(&r, "is not above the index of this channel");
	m.features = vf_read_u64(vf_reader_at(&r, "features"));
	read_name(vf_reader_at(&r, "software"), m.software, sizeof(m.software));
	if (finish(&r, "hello", err))
		return -EBADMSG;
	*ret = m;
	return 0;
}

/* ---- MACHINE ---- */

static void component_encode(struct vf_writer *w, const struct vf_wire_component *c)
{
	vf_write_string(w, c->name);
	vf_write_string(w, c->device);
	vf_write_u8(w, c->has_stream);
	vf_write_u8(w, c->has_precopy);
	vf_write_u32(w, c->section_count);
	for (uint32_t i = 0; i < c->section_count; i++) {
		vf_write_u32(w, c->sections[i].id);
		vf_write_u16(w, c->sections[i].version);
		vf_write_u32(w, c->sections[i].max_bytes);
		vf_write_string(w, c->sections[i].name);
	}
	vf_write_u32(w, c->identity_bytes);
	vf_write_bytes(w, c->identity, c->identity_bytes);
}

static void section_decode(struct vf_reader *r, const struct vf_wire_component *c,
			   struct vf_wire_section *s)
{
	s->id = vf_read_u32(vf_reader_at(r, "id"));
	if (!s->id)
		vf_reader_fail(r, "is 0");
	for (const struct vf_wire_section *other = c->sections; other < s; other++)
		if (other->id == s->id)
			vf_reader_fail(r, "was used before");
	s->version = vf_read_u16(vf_reader_at(r, "version"));
	s->max_bytes = vf_read_u32(vf_reader_at(r, "max_bytes"));
	if (s->max_bytes > VF_MAX_SECTION_BYTES)
		vf_reader_fail(r, "is over its bound");
	read_name(vf_reader_at(r, "name"), s->name, sizeof(s->name));
}

static void component_decode(struct vf_reader *r, struct vf_wire_component *c)
{
	const uint8_t *identity;

	read_name(vf_reader_at(r, "name"), c->name, sizeof(c->name));
	if (!c->name[0])
		vf_reader_fail(r, "is empty");
	read_name(vf_reader_at(r, "device"), c->device, sizeof(c->device));
	c->has_stream = read_bool(vf_reader_at(r, "has_stream"));
	c->has_precopy = read_bool(vf_reader_at(r, "has_precopy"));
	c->section_count = read_count(vf_reader_at(r, "section_count"), VF_MAX_SECTIONS, 12);
	c->sections = list_of(r, c->section_count, sizeof(*c->sections));
	for (uint32_t i = 0; i < c->section_count && !r->bad; i++) {
		vf_reader_item(r, 1, "sections", i);
		section_decode(r, c, &c->sections[i]);
	}
	vf_reader_item(r, 1, NULL, 0);
	c->identity_bytes = read_count(vf_reader_at(r, "identity_bytes"), VF_MAX_IDENTITY_BYTES, 1);
	identity = vf_read_bytes(vf_reader_at(r, "identity"), c->identity_bytes);
	c->identity = list_of(r, c->identity_bytes, 1);
	if (c->identity && identity)
		memcpy(c->identity, identity, c->identity_bytes);
}

void vf_machine_encode(struct vf_writer *w, const struct vf_machine *m)
{
	vf_write_string(w, m->description);
	vf_write_u32(w, m->compression);
	vf_write_u8(w, m->verify);
	vf_write_u8(w, m->check_only);
	vf_write_u64(w, m->max_downtime_ns);
	vf_write_u64(w, m->pause_budget_ns);
	vf_write_u32(w, m->block_count);
	for (uint32_t i = 0; i < m->block_count; i++) {
		vf_write_string(w, m->blocks[i].name);
		vf_write_u64(w, m->blocks[i].gpa);
		vf_write_u64(w, m->blocks[i].bytes);
		vf_write_u32(w, m->blocks[i].flags);
	}
	vf_write_u32(w, m->component_count);
	for (uint32_t i = 0; i < m->component_count; i++)
		component_encode(w, &m->components[i]);
	vf_write_u32(w, m->dependency_count);
	for (uint32_t i = 0; i < m->dependency_count; i++) {
		vf_write_u32(w, m->dependencies[i].first_component);
		vf_write_u32(w, m->dependencies[i].first_section);
		vf_write_u32(w, m->dependencies[i].then_component);
		vf_write_u32(w, m->dependencies[i].then_section);
	}
}

/* The name that component @index would be known by is taken. */
static bool name_taken(const struct vf_machine *m, uint32_t index)
{
	for (uint32_t i = 0; i < index; i++)
		if (!strcmp(m->components[i].name, m->components[index].name))
			return true;
	return false;
}

static void dependency_decode(struct vf_reader *r, uint32_t components, struct vf_wire_dependency *d)
{
	d->first_component = vf_read_u32(vf_reader_at(r, "first_component"));
	if (d->first_component >= components)
		vf_reader_fail(r, "is no component");
	d->first_section = vf_read_u32(vf_reader_at(r, "first_section"));
	d->then_component = vf_read_u32(vf_reader_at(r, "then_component"));
	if (d->then_component >= components)
		vf_reader_fail(r, "is no component");
	d->then_section = vf_read_u32(vf_reader_at(r, "then_section"));
}

static void machine_body_decode(struct vf_reader *r, struct vf_machine *m)
{
	read_name(vf_reader_at(r, "description"), m->description, sizeof(m->description));
	m->compression = vf_read_u32(vf_reader_at(r, "compression"));
	m->verify = read_bool(vf_reader_at(r, "verify"));
	m->check_only = read_bool(vf_reader_at(r, "check_only"));
	m->max_downtime_ns = vf_read_u64(vf_reader_at(r, "max_downtime_ns"));
	m->pause_budget_ns = vf_read_u64(vf_reader_at(r, "pause_budget_ns"));
	m->block_count = read_count(vf_reader_at(r, "block_count"), VF_MAX_BLOCKS, 22);
	m->blocks = list_of(r, m->block_count, sizeof(*m->blocks));
	for (uint32_t i = 0; i < m->block_count && !r->bad; i++) {
		vf_reader_item(r, 0, "blocks", i);
		read_name(vf_reader_at(r, "name"), m->blocks[i].name,
			       sizeof(m->blocks[i].name));
		m->blocks[i].gpa = vf_read_u64(vf_reader_at(r, "gpa"));
		m->blocks[i].bytes = vf_read_u64(vf_reader_at(r, "bytes"));
		m->blocks[i].flags = vf_read_u32(vf_reader_at(r, "flags"));
	}
	vf_reader_item(r, 0, NULL, 0);
	m->component_count = read_count(vf_reader_at(r, "component_count"), VF_MAX_COMPONENTS, 14);
	m->components = list_of(r, m->component_count, sizeof(*m->components));
	for (uint32_t i = 0; i < m->component_count && !r->bad; i++) {
		vf_reader_item(r, 0, "components", i);
		component_decode(r, &m->components[i]);
		if (name_taken(m, i))
			vf_reader_fail(r, "ends a component whose name was used before");
	}
	vf_reader_item(r, 0, NULL, 0);
	m->dependency_count = read_count(vf_reader_at(r, "dependency_count"), VF_MAX_DEPENDENCIES,
					 16);
	m->dependencies = list_of(r, m->dependency_count, sizeof(*m->dependencies));
	for (uint32_t i = 0; i < m->dependency_count && !r->bad; i++) {
		vf_reader_item(r, 0, "dependencies", i);
		dependency_decode(r, m->component_count, &m->dependencies[i]);
	}
	vf_reader_item(r, 0, NULL, 0);
}

int vf_machine_decode(const void *data, size_t size, struct vf_machine *ret,
		      struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_machine m = { 0 };

	machine_body_decode(&r, &m);
	if (finish(&r, "machine", err)) {
		vf_machine_done(&m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

void vf_machine_done(struct vf_machine *m)
{
	for (uint32_t i = 0; m->components && i < m->component_count; i++) {
		free(m->components[i].sections);
		free(m->components[i].identity);
	}
	free(m->components);
	free(m->blocks);
	free(m->dependencies);
	*m = (struct vf_machine) { 0 };
}

/* ---- ACCEPT, REFUSE ---- */

void vf_accept_encode(struct vf_writer *w, const struct vf_accept *m)
{
	vf_write_u64(w, m->features);
	vf_write_u64(w, m->hold_bytes);
	vf_write_u64(w, m->load_ns);
	vf_write_u32(w, m->credit_count);
	for (uint32_t i = 0; i < m->credit_count; i++) {
		vf_write_u32(w, m->credits[i].component);
		vf_write_u64(w, m->credits[i].bytes);
	}
}

int vf_accept_decode(const void *data, size_t size, struct vf_accept *ret, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_accept m = { 0 };

	m.features = vf_read_u64(vf_reader_at(&r, "features"));
	m.hold_bytes = vf_read_u64(vf_reader_at(&r, "hold_bytes"));
	m.load_ns = vf_read_u64(vf_reader_at(&r, "load_ns"));
	m.credit_count = read_count(vf_reader_at(&r, "credit_count"), VF_MAX_COMPONENTS, 12);
	m.credits = list_of(&r, m.credit_count, sizeof(*m.credits));
	for (uint32_t i = 0; i < m.credit_count && !r.bad; i++) {
		vf_reader_item(&r, 0, "credits", i);
		m.credits[i].component = vf_read_u32(vf_reader_at(&r, "component"));
		m.credits[i].bytes = vf_read_u64(vf_reader_at(&r, "bytes"));
	}
	if (finish(&r, "accept", err)) {
		vf_accept_done(&m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

void vf_accept_done(struct vf_accept *m)
{
	free(m->credits);
	*m = (struct vf_accept) { 0 };
}

static void error_encode(struct vf_writer *w, const struct vferry_error *m)
{
	vf_write_u32(w, (uint32_t) -m->code);
	vf_write_string(w, m->phase);
	vf_write_string(w, m->object);
	vf_write_string(w, m->id);
	vf_write_string(w, m->message);
}

static void error_decode(struct vf_reader *r, struct vferry_error *m)
{
	uint32_t code = vf_read_u32(vf_reader_at(r, "code"));

	if (!code || code > 4095)
		vf_reader_fail(r, "is no error number");
	m->code = -(int) (code & 4095);
	read_sentence(vf_reader_at(r, "phase"), m->phase, sizeof(m->phase));
	read_sentence(vf_reader_at(r, "object"), m->object, sizeof(m->object));
	read_sentence(vf_reader_at(r, "id"), m->id, sizeof(m->id));
	read_sentence(vf_reader_at(r, "message"), m->message, sizeof(m->message));
}

void vf_refuse_encode(struct vf_writer *w, const struct vf_refuse *m)
{
	vf_write_u32(w, m->dropped);
	vf_write_u32(w, m->reason_count);
	for (uint32_t i = 0; i < m->reason_count; i++)
		error_encode(w, &m->reasons[i]);
}

int vf_refuse_decode(const void *data, size_t size, struct vf_refuse *ret, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_refuse m = { .dropped = vf_read_u32(vf_reader_at(&r, "dropped")) };

	m.reason_count = read_count(vf_reader_at(&r, "reason_count"), VF_MAX_REASONS, 12);
	m.reasons = list_of(&r, m.reason_count, sizeof(*m.reasons));
	if (!m.reason_count)
		vf_reader_fail(&r, "is 0");
	for (uint32_t i = 0; i < m.reason_count && !r.bad; i++) {
		vf_reader_item(&r, 0, "reasons", i);
		error_decode(&r, &m.reasons[i]);
	}
	if (finish(&r, "refuse", err)) {
		vf_refuse_done(&m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

void vf_refuse_done(struct vf_refuse *m)
{
	free(m->reasons);
	*m = (struct vf_refuse) { 0 };
}

/* ---- SECTION, streams ---- */

void vf_section_header_encode(uint8_t to[VF_SECTION_HEADER_BYTES],
			      const struct vf_section_header *m)
{
	vf_put_u32(to, m->id);
	vf_put_u16(to + 4, m->version);
	vf_put_u16(to + 6, 0);
}

int vf_section_header_decode(const void *data, size_t size, struct vf_section_header *ret,
			     struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_section_header m = { 0 };

	m.id = vf_read_u32(vf_reader_at(&r, "id"));
	if (!m.id)
		vf_reader_fail(&r, "is 0");
	m.version = vf_read_u16(vf_reader_at(&r, "version"));
	if (vf_read_u16(vf_reader_at(&r, "the reserved field")) != 0)
		vf_reader_fail(&r, "is not 0");
	if (r.bad)
		return bad(err, "section", &r);
	*ret = m;
	return 0;
}

void vf_stream_header_encode(uint8_t to[VF_STREAM_HEADER_BYTES], const struct vf_stream_header *m)
{
	vf_put_u32(to, m->generation);
	vf_put_u32(to + 4, 0);
	vf_put_u64(to + 8, m->offset);
}

int vf_stream_header_decode(const void *data, size_t size, struct vf_stream_header *ret,
			    struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_stream_header m = { .generation = vf_read_u32(vf_reader_at(&r, "generation")) };

	if (vf_read_u32(vf_reader_at(&r, "the reserved field")) != 0)
		vf_reader_fail(&r, "is not 0");
	m.offset = vf_read_u64(vf_reader_at(&r, "offset"));
	if (r.bad)
		return bad(err, "stream-data", &r);
	*ret = m;
	return 0;
}

void vf_stream_mark_encode(struct vf_writer *w, const struct vf_stream_mark *m)
{
	vf_write_u32(w, m->generation);
	vf_write_u32(w, m->kind);
	vf_write_u64(w, m->offset);
	vf_write_u32(w, m->crc);
}

int vf_stream_mark_decode(const void *data, size_t size, struct vf_stream_mark *ret,
			  struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_stream_mark m = { 0 };

	m.generation = vf_read_u32(vf_reader_at(&r, "generation"));
	m.kind = vf_read_u32(vf_reader_at(&r, "kind"));
	if (m.kind < VF_MARK_INITIAL_END || m.kind > VF_MARK_END)
		vf_reader_fail(&r, "is no kind of mark");
	m.offset = vf_read_u64(vf_reader_at(&r, "offset"));
	m.crc = vf_read_u32(vf_reader_at(&r, "crc"));
	if (finish(&r, "stream-mark", err))
		return -EBADMSG;
	*ret = m;
	return 0;
}

/* ---- MANIFEST ---- */

void vf_manifest_encode(struct vf_writer *w, const struct vf_manifest *m)
{
	vf_write_u64(w, m->pages_normal);
	vf_write_u64(w, m->pages_zero);
	vf_write_u32(w, m->section_count);
	for (uint32_t i = 0; i < m->section_count; i++) {
		vf_write_u32(w, m->sections[i].component);
		vf_write_u32(w, m->sections[i].id);
		vf_write_u32(w, m->sections[i].bytes);
		vf_write_u32(w, m->sections[i].crc);
	}
	vf_write_u32(w, m->stream_count);
	for (uint32_t i = 0; i < m->stream_count; i++) {
		vf_write_u32(w, m->streams[i].component);
		vf_write_u32(w, m->streams[i].generation);
		vf_write_u64(w, m->streams[i].bytes);
		vf_write_u32(w, m->streams[i].crc);
	}
	vf_write_u32(w, m->channel_count);
	for (uint32_t i = 0; i < m->channel_count; i++) {
		vf_write_u64(w, m->channels[i].frames);
		vf_write_u64(w, m->channels[i].bytes);
	}
}

int vf_manifest_decode(const void *data, size_t size, struct vf_manifest *ret,
		       struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_manifest m = { 0 };

	m.pages_normal = vf_read_u64(vf_reader_at(&r, "pages_normal"));
	m.pages_zero = vf_read_u64(vf_reader_at(&r, "pages_zero"));
	m.section_count = read_count(vf_reader_at(&r, "section_count"), VF_MAX_COMPONENTS * VF_MAX_SECTIONS, 16);
	m.sections = list_of(&r, m.section_count, sizeof(*m.sections));
	for (uint32_t i = 0; i < m.section_count && !r.bad; i++) {
		vf_reader_item(&r, 0, "sections", i);
		m.sections[i].component = vf_read_u32(vf_reader_at(&r, "component"));
		m.sections[i].id = vf_read_u32(vf_reader_at(&r, "id"));
		m.sections[i].bytes = vf_read_u32(vf_reader_at(&r, "bytes"));
		m.sections[i].crc = vf_read_u32(vf_reader_at(&r, "crc"));
	}
	vf_reader_item(&r, 0, NULL, 0);
	m.stream_count = read_count(vf_reader_at(&r, "stream_count"), VF_MAX_COMPONENTS, 20);
	m.streams = list_of(&r, m.stream_count, sizeof(*m.streams));
	for (uint32_t i = 0; i < m.stream_count && !r.bad; i++) {
		vf_reader_item(&r, 0, "streams", i);
		m.streams[i].component = vf_read_u32(vf_reader_at(&r, "component"));
		m.streams[i].generation = vf_read_u32(vf_reader_at(&r, "generation"));
		m.streams[i].bytes = vf_read_u64(vf_reader_at(&r, "bytes"));
		m.streams[i].crc = vf_read_u32(vf_reader_at(&r, "crc"));
	}
	vf_reader_item(&r, 0, NULL, 0);
	m.channel_count = read_count(vf_reader_at(&r, "channel_count"), VF_MAX_CHANNELS, 16);
	m.channels = list_of(&r, m.channel_count, sizeof(*m.channels));
	for (uint32_t i = 0; i < m.channel_count && !r.bad; i++) {
		vf_reader_item(&r, 0, "channels", i);
		m.channels[i].frames = vf_read_u64(vf_reader_at(&r, "frames"));
		m.channels[i].bytes = vf_read_u64(vf_reader_at(&r, "bytes"));
	}
	if (finish(&r, "manifest", err)) {
		vf_manifest_done(&m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

void vf_manifest_done(struct vf_manifest *m)
{
	free(m->sections);
	free(m->streams);
	free(m->channels);
	*m = (struct vf_manifest) { 0 };
}

/* ---- FAILED, CANCEL ---- */

void vf_failure_encode(struct vf_writer *w, const struct vferry_error *m)
{
	error_encode(w, m);
}

int vf_failure_decode(const void *data, size_t size, struct vferry_error *ret,
		      struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vferry_error m = VFERRY_ERROR_INIT;

	error_decode(&r, &m);
	if (finish(&r, "failure", err))
		return -EBADMSG;
	*ret = m;
	return 0;
}

/* ---- REPORT ---- */

void vf_report_encode(struct vf_writer *w, const struct vf_report *m)
{
	vf_write_u32(w, m->step_count);
	for (uint32_t i = 0; i < m->step_count; i++) {
		const struct vf_report_step *s = &m->steps[i];

		vf_write_u32(w, s->component);
		vf_write_u32(w, s->step_class);
		vf_write_string(w, s->name);
		vf_write_u64(w, s->start_ns);
		vf_write_u64(w, s->end_ns);
		vf_write_u64(w, s->bytes);
		vf_write_u32(w, s->thread);
		vf_write_u8(w, s->in_pause);
	}
}

int vf_report_decode(const void *data, size_t size, struct vf_report *ret, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_report m = {
		.step_count = read_count(vf_reader_at(&r, "step_count"), VF_MAX_REPORT_STEPS, 39),
	};

	m.steps = list_of(&r, m.step_count, sizeof(*m.steps));
	for (uint32_t i = 0; i < m.step_count && !r.bad; i++) {
		struct vf_report_step *s = &m.steps[i];

		vf_reader_item(&r, 0, "steps", i);
		s->component = vf_read_u32(vf_reader_at(&r, "component"));
		s->step_class = vf_read_u32(vf_reader_at(&r, "step_class"));
		read_name(vf_reader_at(&r, "name"), s->name, sizeof(s->name));
		s->start_ns = vf_read_u64(vf_reader_at(&r, "start_ns"));
		s->end_ns = vf_read_u64(vf_reader_at(&r, "end_ns"));
		s->bytes = vf_read_u64(vf_reader_at(&r, "bytes"));
		s->thread = vf_read_u32(vf_reader_at(&r, "thread"));
		s->in_pause = read_bool(vf_reader_at(&r, "in_pause"));
	}
	if (finish(&r, "report", err)) {
		vf_report_done(&m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

void vf_report_done(struct vf_report *m)
{
	free(m->steps);
	*m = (struct vf_report) { 0 };
}

/* ---- VECTORS ---- */

static void device_vectors_encode(struct vf_writer *w, const struct vf_device_vectors *d)
{
	vf_write_string(w, d->address);
	vf_write_u32(w, d->run_count);
	for (uint32_t i = 0; i < d->run_count; i++) {
		vf_write_u32(w, d->runs[i].count);
		vf_write_u8(w, d->runs[i].connected);
		vf_write_u32(w, d->runs[i].forwarded);
		vf_write_string(w, d->runs[i].reason);
	}
}

void vf_vectors_encode(struct vf_writer *w, const struct vf_vectors *m)
{
	vf_write_u32(w, m->device_count);
	for (uint32_t i = 0; i < m->device_count; i++)
		device_vectors_encode(w, &m->devices[i]);
}

static void run_decode(struct vf_reader *r, uint32_t *vectors, struct vf_vector_run *run)
{
	run->count = vf_read_u32(vf_reader_at(r, "count"));
	if (!run->count || run->count > VF_MAX_VECTORS - *vectors)
		vf_reader_fail(r, "is out of bounds");
	*vectors += r->bad ? 0 : run->count;
	run->connected = read_bool(vf_reader_at(r, "connected"));
	run->forwarded = vf_read_u32(vf_reader_at(r, "forwarded"));
	if (run->forwarded > VFERRY_FORWARDED_YES)
		vf_reader_fail(r, "is no answer");
	else if (run->forwarded == VFERRY_FORWARDED_YES && !run->connected)
		vf_reader_fail(r, "is said of a vector that is not connected");
	read_name(vf_reader_at(r, "reason"), run->reason, sizeof(run->reason));
}

/* @runs: of the devices before; theirs and this one's have one bound. */
static void device_vectors_decode(struct vf_reader *r, uint32_t device, uint32_t *runs,
				  struct vf_device_vectors *d)
{
	uint32_t vectors = 0;

	read_name(vf_reader_at(r, "address"), d->address, sizeof(d->address));
	d->run_count = read_count(vf_reader_at(r, "run_count"), VF_MAX_VECTOR_RUNS - *runs, 11);
	*runs += d->run_count;
	d->runs = list_of(r, d->run_count, sizeof(*d->runs));
	for (uint32_t i = 0; i < d->run_count && !r->bad; i++) {
		vf_reader_item(r, 0, "devices", device);
		vf_reader_item(r, 1, "runs", i);
		run_decode(r, &vectors, &d->runs[i]);
	}
}

static bool address_taken(const struct vf_vectors *m, uint32_t index)
{
	for (uint32_t i = 0; i < index; i++)
		if (!strcmp(m->devices[i].address, m->devices[index].address))
			return true;
	return false;
}

int vf_vectors_decode(const void *data, size_t size, struct vf_vectors *ret,
		      struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_vectors m = {
		.device_count = read_count(vf_reader_at(&r, "device_count"), VF_MAX_VECTOR_DEVICES, 6),
	};
	uint32_t runs = 0;

	m.devices = list_of(&r, m.device_count, sizeof(*m.devices));
	for (uint32_t i = 0; i < m.device_count && !r.bad; i++) {
		vf_reader_item(&r, 0, "devices", i);
		device_vectors_decode(&r, i, &runs, &m.devices[i]);
		if (!r.bad && address_taken(&m, i))
			vf_reader_fail(vf_reader_at(&r, "address"), "is that of two devices");
	}
	if (finish(&r, "vectors", err)) {
		vf_vectors_done(&m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

void vf_vectors_done(struct vf_vectors *m)
{
	for (uint32_t i = 0; m->devices && i < m->device_count; i++)
		free(m->devices[i].runs);
	free(m->devices);
	*m = (struct vf_vectors) { 0 };
}

/* ---- bodies of one number, or the session's id ---- */

void vf_number32_encode(struct vf_writer *w, uint32_t v)
{
	vf_write_u32(w, v);
}

int vf_number32_decode(const void *data, size_t size, uint32_t *ret, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	uint32_t v = vf_read_u32(vf_reader_at(&r, "value"));

	if (finish(&r, "number", err))
		return -EBADMSG;
	*ret = v;
	return 0;
}

void vf_number64_encode(struct vf_writer *w, uint64_t v)
{
	vf_write_u64(w, v);
}

int vf_number64_decode(const void *data, size_t size, uint64_t *ret, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	uint64_t v = vf_read_u64(vf_reader_at(&r, "value"));

	if (finish(&r, "number", err))
		return -EBADMSG;
	*ret = v;
	return 0;
}

int vf_join_decode(const void *data, size_t size, uint8_t ret[VF_JOIN_BYTES], struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	const uint8_t *join = vf_read_bytes(vf_reader_at(&r, "join"), VF_JOIN_BYTES);

	if (finish(&r, "join", err))
		return -EBADMSG;
	memcpy(ret, join, VF_JOIN_BYTES);
	return 0;
}

int vf_id_decode(const void *data, size_t size, uint8_t ret[VF_SESSION_ID_BYTES],
		 struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(data, size);
	const uint8_t *id = vf_read_bytes(vf_reader_at(&r, "session_id"), VF_SESSION_ID_BYTES);

	if (finish(&r, "session-id", err))
		return -EBADMSG;
	memcpy(ret, id, VF_SESSION_ID_BYTES);
	return 0;
}
