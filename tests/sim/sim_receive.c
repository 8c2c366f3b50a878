/* SPDX-License-Identifier: MIT */
/*
 * sim_receive.c - what the destination reads: greetings, pages, sections, streams, the hand-over.
 *
 * As session/destination_link.c and transfer/receiver.c: nothing that arrives waits for a step.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "sim.h"
#include "wire/frame.h"

/* ---- pages ---- */

static void clear_pages(struct sim *s, size_t block, uint64_t page, uint64_t end)
{
	struct vf_bitmap *present = &s->present[block];

	while ((page = vf_bitmap_next_set(present, page, end)) < end) {
		memset(vf_ram_page(vferry_ram_get_block(s->ram[DESTINATION], block), page), 0,
		       VF_PAGE_BYTES);
		vf_bitmap_clear_range(present, page, 1);
		page++;
	}
}

/* Of a range, this channel's pages. */
static void take_zero_range(struct sim *s, unsigned channel, size_t block, uint64_t page,
			    uint64_t end)
{
	unsigned channels = s->connection[0].channels;

	while ((page = vf_pages_owned_from(page, channel, channels)) < end) {
		uint64_t unit_end = (page / VF_UNIT_PAGES + 1) * VF_UNIT_PAGES;

		clear_pages(s, block, page, vf_min_u64(unit_end, end));
		page = unit_end;
	}
}

static int take_chunk(struct sim *s, unsigned channel, const struct vf_pages *pages,
		      struct vferry_error *err)
{
	const struct vferry_ram_block *block = vferry_ram_get_block(s->ram[DESTINATION],
								    pages->block);
	struct iovec iov[VF_PAGES_MAX_RUNS];
	size_t n = 0;

	if (vf_pages_channel(pages->first, s->connection[0].channels) != channel &&
	    s->mutation != MUTATION_OVERTAKES)
		return vferry_error_set(err, -EPROTO, "pages-channel", NULL, "another's page");
	for (unsigned i = 0; i < pages->run_count; i++) {
		const struct vf_pages_run *run = &pages->runs[i];

		if (run->kind == VF_PAGES_ZERO) {
			clear_pages(s, pages->block, run->page, run->page + run->count);
			continue;
		}
		vf_bitmap_set_range(&s->present[pages->block], run->page, run->count);
		iov[n++] = (struct iovec) { vf_ram_page(block, run->page),
					    run->count * VF_PAGE_BYTES };
		s->pages_received += run->count;
	}
	return vf_channel_recv_vector(s->connection[0].channel[DESTINATION][channel], iov, n, true,
				      err);
}

static int take_pages(struct sim *s, unsigned channel, const struct vf_frame *frame,
		      struct vferry_error *err)
{
	struct vf_channel *from = s->connection[0].channel[DESTINATION][channel];
	uint64_t block_pages[RAM_BLOCKS] = { s->present[0].bits, s->present[1].bits };
	static struct vf_pages pages;
	uint8_t table[VF_PAGES_MAX_TABLE_BYTES];
	struct iovec iov = { table, VF_PAGES_HEADER_BYTES };
	int size, ret;

	if (!s->receiving || frame->length < VF_PAGES_HEADER_BYTES)
		return -EPROTO;
	ret = vf_channel_recv_vector(from, &iov, 1, false, err);
	if (ret)
		return ret;
	size = vf_pages_peek(table, frame->length, err);
	if (size < 0)
		return size;
	iov = (struct iovec) { table + VF_PAGES_HEADER_BYTES, (size_t) size - VF_PAGES_HEADER_BYTES };
	ret = vf_channel_recv_vector(from, &iov, 1, false, err);
	if (ret)
		return ret;
	if (vf_crc32c(0, table, (size_t) size) != frame->body_crc)
		return vferry_error_set(err, -EBADMSG, "pages-crc", NULL, "the table is damaged");
	ret = vf_pages_decode(table, (size_t) size, frame->length, block_pages, RAM_BLOCKS, &pages,
			      err);
	if (ret || pages.form == VF_PAGES_CHUNK)
		return ret ? ret : take_chunk(s, channel, &pages, err);
	for (unsigned i = 0; i < pages.run_count; i++)
		take_zero_range(s, channel, pages.block, pages.runs[i].page,
				pages.runs[i].page + pages.runs[i].count);
	return 0;
}

/* ---- rounds ---- */

static void ram_input(struct sim *s)
{
	input(s, VFERRY_LOAD_RAM, 0);
	pump(s, LOAD);
}

static int on_round_end(struct sim *s, unsigned channel, const struct vf_frame *frame,
			const uint8_t *body, struct vferry_error *err)
{
	uint32_t round, least = s->rounds + 1;
	int ret = vf_round_end_decode(body, frame->length, &round, err);

	if (ret)
		return ret;
	if (round != s->channel_rounds[channel])
		return vferry_error_set(err, -EPROTO, "round-order", NULL, "another round was due");
	s->channel_rounds[channel]++;
	for (unsigned i = 0; i < s->connection[0].channels; i++)
		if (s->channel_rounds[i] < least)
			least = s->channel_rounds[i];
	if (least == s->rounds)
		return 0;
	s->rounds = least;
	if (s->switchover && s->rounds > s->dst_last_round)
		ram_input(s);
	return 0;
}

static int on_switchover(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
			 struct vferry_error *err)
{
	int ret = vf_number32_decode(body, frame->length, &s->dst_last_round, err);

	if (ret)
		return ret;
	s->switchover = true;
	DST(s, SWITCHOVER_BEGAN);
	if (s->rounds > s->dst_last_round)
		ram_input(s);
	return 0;
}

/* ---- the machine ---- */

static int announce(struct sim *s)
{
	const struct vf_machine *m = &s->peer;
	int ret = vf_sections_init(&s->sections, MAX_SECTIONS, 4096);

	s->sections_there = !ret;
	for (uint32_t i = 0; i < m->component_count && !ret; i++) {
		for (uint32_t k = 0; k < m->components[i].section_count && !ret; k++) {
			const struct vf_wire_section *w = &m->components[i].sections[k];
			struct vf_section_slot slot = {
				.component = i, .id = w->id, .version = w->version,
				.max_bytes = w->max_bytes,
			};

			ret = vf_sections_announce(&s->sections, MAX_SECTIONS, &slot);
		}
	}
	return ret;
}

/* Both sides run the same machine: what arrived must say so, field by field. */
static void compare_machine(struct sim *s)
{
	const struct vf_machine *m = &s->peer;
	const struct exec *x = &s->exec[SAVE];
	uint32_t sections = 0, expected = 0;

	if (strcmp(m->description, "sim") || m->verify != s->verify ||
	    m->check_only != s->config.check || m->max_downtime_ns != s->config.max_downtime_ns ||
	    m->pause_budget_ns != s->config.pause_budget_ns || m->block_count != RAM_BLOCKS)
		wrong(s, "the description of the machine changed on its way");
	for (uint32_t i = 0; i < m->block_count; i++) {
		const struct vferry_ram_block *b = vferry_ram_get_block(s->ram[SOURCE], i);

		if (strcmp(m->blocks[i].name, b->name) || m->blocks[i].gpa != b->gpa ||
		    m->blocks[i].bytes != b->bytes)
			wrong(s, "a RAM block changed on its way");
	}
	for (uint32_t i = 0; i < m->component_count; i++) {
		const struct vf_wire_component *c = &m->components[i];

		sections += c->section_count;
		if (component_index(s, c->name) != i || c->identity_bytes != 8 ||
		    vf_get_u64(c->identity) != s->seed)
			wrong(s, "a component changed on its way");
	}
	for (size_t i = 0; i < x->step_count; i++) {
		const struct world_step *step = &x->steps[i];
		const struct vf_wire_component *c =
			&m->components[component_index(s, step->component)];

		if (strcmp(c->device, step->device ? step->device : ""))
			wrong(s, "a component's device changed on its way");
		expected += feeds_any(step->step_class);
	}
	if (sections != expected)
		wrong(s, "sections were lost on their way");
}

static int on_machine(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		      struct vferry_error *err)
{
	int ret;

	if (s->machine_there)
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL, "a second machine");
	ret = vf_machine_decode(body, frame->length, &s->peer, err);
	if (ret)
		return ret;
	s->machine_there = true;
	compare_machine(s);
	if (s->faults.refuses) {
		fault(s, FAULT_REFUSE);
		DST(s, MACHINE_REFUSED);
		return 0;
	}
	/* What cannot be set up is a reason against, and told as one. */
	ret = announce(s);
	if (!ret)
		ret = destination_make_sinks(s);
	if (!ret && !make_plan(s, LOAD))
		ret = -ENOMEM;
	if (ret)
		DST(s, MACHINE_REFUSED);
	else
		DST(s, MACHINE_OK, .check = s->peer.check_only);
	return 0;
}

/* ---- sections and streams ---- */

static int on_section(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		      struct vferry_error *err)
{
	struct vf_section_header header;
	int ret = vf_section_header_decode(body, frame->length, &header, err);

	if (!ret)
		ret = vf_sections_put(&s->sections, frame->component, header.id, header.version,
				      body + VF_SECTION_HEADER_BYTES,
				      frame->length - VF_SECTION_HEADER_BYTES, err);
	if (ret)
		return ret;
	section_arrived(s, (enum vferry_step_class) ((header.id - 1) % 64), (header.id - 1) / 64);
	pump(s, LOAD);
	return 0;
}

static int device_of(const struct sim *s, uint32_t component)
{
	for (int i = 0; i < s->machine->devices; i++) {
		if (stream_component(s, (uint32_t) i) == component)
			return i;
	}
	return -1;
}

/* What was staged before the reset is void: stage waits for the section that follows. */
static void forget_sections(struct sim *s, int device)
{
	for (size_t i = 0; i < s->sections.count; i++) {
		if ((s->sections.slots[i].id - 1) / 64 == (unsigned) device &&
		    s->peer.components[s->sections.slots[i].component].device[0])
			vf_sections_forget(&s->sections, s->sections.slots[i].component);
	}
}

static int on_stream(struct sim *s, const struct vf_frame *frame, const uint8_t *body, void *place,
		     struct vferry_error *err)
{
	int device = device_of(s, frame->component);
	struct device *d = device < 0 ? NULL : &s->device[DESTINATION][device];
	int ret;

	if (!d || !d->sink)
		return -EPROTO;
	if (frame->type == VF_FRAME_STREAM_RESTART) {
		forget_sections(s, device);
		d->restarts++;
	}
	ret = vf_stream_sink_put(d->sink, frame, body, place, err);
	if (!ret && !d->load_posted) {
		d->load_posted = true;
		post(s, some(s, 1000, MS / 2), (struct event) { .kind = EV_LOAD,
								.a = (uint32_t) device });
	}
	return ret;
}

/* ---- the hand-over ---- */

static int on_manifest(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		       struct vferry_error *err)
{
	struct vf_manifest manifest;
	int ret = vf_manifest_decode(body, frame->length, &manifest, err);

	if (ret)
		return ret;
	vf_manifest_done(&s->manifest);
	s->manifest = manifest;
	input(s, VFERRY_LOAD_PREPARED, 0);
	pump(s, LOAD);
	return 0;
}

void destination_ram_complete(struct sim *s)
{
	if (s->peer.verify)
		(void) vferry_ram_digest(s->ram[DESTINATION], &s->own_digest, NULL);
}

/* The last check before PREPARED. */
int destination_check_manifest(struct sim *s)
{
	const struct vf_manifest *m = &s->manifest;

	if (m->section_count != s->sent_count || m->stream_count != (uint32_t) s->machine->devices ||
	    m->channel_count != s->connection[0].channels || m->pages_normal != s->pages_normal ||
	    m->pages_zero != s->pages_zero)
		return -EBADMSG;
	for (uint32_t i = 0; i < m->section_count; i++) {
		struct vf_section_slot slot;

		if (vf_sections_get(&s->sections, m->sections[i].component, m->sections[i].id, &slot) ||
		    !slot.arrived || slot.bytes != m->sections[i].bytes ||
		    slot.crc != m->sections[i].crc)
			return -EBADMSG;
	}
	for (uint32_t i = 0; i < m->stream_count; i++) {
		int device = device_of(s, m->streams[i].component);
		uint32_t generation, crc;
		uint64_t bytes;

		if (device < 0)
			return -EBADMSG;
		vf_stream_sink_get_totals(s->device[DESTINATION][device].sink, &generation, &bytes,
					  &crc);
		if (generation != m->streams[i].generation || bytes != m->streams[i].bytes ||
		    crc != m->streams[i].crc)
			return -EBADMSG;
	}
	for (uint32_t i = 0; i < m->channel_count; i++) {
		struct vf_channel_stats stats;

		vf_channel_get_stats(s->connection[0].channel[DESTINATION][i], &stats);
		if (stats.received_frames < m->channels[i].frames)
			return -EBADMSG;
	}
	if (s->peer.verify && (!s->digest_there || s->digest != s->own_digest))
		return -EBADMSG;
	return 0;
}

static int on_commit(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	uint8_t id[VF_SESSION_ID_BYTES];
	int ret = vf_id_decode(body, frame->length, id, err);

	if (ret || memcmp(id, s->id, sizeof(id)))
		return ret ? ret : -EPROTO;
	DST(s, COMMIT);
	return 0;
}

static int on_cancel(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	struct vferry_error why;
	int ret = vf_failure_decode(body, frame->length, &why, err);

	if (ret)
		return ret;
	s->dst_told = true;
	DST(s, CANCELLED, .error = &why);
	return 0;
}

static int on_digest(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	s->digest_there = true;
	return vf_number32_decode(body, frame->length, &s->digest, err);
}

/* ---- greetings ---- */

static int start_receiving(struct sim *s)
{
	for (size_t b = 0; b < RAM_BLOCKS; b++) {
		int ret = vf_ram_data_map(s->ram[DESTINATION], b, &s->present[b]);

		if (ret)
			return ret;
	}
	s->receiving = true;
	return 0;
}

static int reply_hello(struct sim *s, unsigned connection, unsigned channel,
		       const struct vf_hello *hello)
{
	struct vf_writer w;

	vf_writer_init(&w, 512);
	vf_hello_encode(&w, hello);
	return link_send(s, connection, DESTINATION, channel, VF_FRAME_HELLO, VF_NO_COMPONENT, &w);
}

static int on_hello(struct sim *s, unsigned connection, unsigned channel,
		    const struct vf_frame *frame, const uint8_t *body, struct vferry_error *err)
{
	struct connection *c = &s->connection[connection];
	struct vf_hello hello;
	int ret = vf_hello_decode(body, frame->length, &hello, err);

	if (ret)
		return ret;
	if (hello.purpose != c->purpose || hello.channel != channel ||
	    hello.channel_count != c->channels || memcmp(hello.session_id, s->id, sizeof(s->id)) ||
	    strcmp(hello.software, "sim"))
		wrong(s, "a greeting changed on its way");
	c->hello[channel] = hello;
	return 0;
}

static int on_join(struct sim *s, unsigned connection, unsigned channel,
		   const struct vf_frame *frame, const uint8_t *body, struct vferry_error *err)
{
	struct connection *c = &s->connection[connection];
	const struct vf_hello *hello = &c->hello[channel];
	uint8_t join[VF_JOIN_BYTES], due[VF_JOIN_BYTES];
	int ret = vf_join_decode(body, frame->length, join, err);

	if (ret)
		return ret;
	source_secret(s, due);
	if (!(hello->features & VF_FEATURE_JOIN) || memcmp(join, due, sizeof(join)))
		wrong(s, "a greeting's secret changed on its way");
	if (c->purpose == VF_PURPOSE_RESOLVE)
		return s->bound ? reply_hello(s, connection, channel, hello) : -ENOENT;
	s->bound = true;
	(void) reply_hello(s, connection, channel, hello);
	return ++s->channels_there == c->channels ? start_receiving(s) : 0;
}

static int on_resolve(struct sim *s, unsigned connection, const struct vf_frame *frame,
		      const uint8_t *body, struct vferry_error *err)
{
	uint8_t id[VF_SESSION_ID_BYTES];
	int ret = vf_id_decode(body, frame->length, id, err);

	if (ret || memcmp(id, s->id, sizeof(id)))
		return ret ? ret : -EPROTO;
	if (s->dst_keeper) {
		post(s, some(s, MS / 10, 5 * MS), (struct event) { .kind = EV_KEPT,
								   .a = connection });
		return 0;
	}
	if (s->asker >= 0)
		link_close(s, (unsigned) s->asker, DESTINATION);
	s->asker = (int) connection;
	s->dst_told = true;
	DST(s, RESOLVE_QUERY);
	return 0;
}

/* ---- frames ---- */

static int on_message(struct sim *s, unsigned connection, unsigned channel,
		      const struct vf_frame *frame, const uint8_t *body, struct vferry_error *err)
{
	if (frame->type == VF_FRAME_HELLO)
		return on_hello(s, connection, channel, frame, body, err);
	if (frame->type == VF_FRAME_JOIN)
		return on_join(s, connection, channel, frame, body, err);
	if (connection)
		return frame->type == VF_FRAME_RESOLVE ?
			       on_resolve(s, connection, frame, body, err) : -EPROTO;
	if (s->dst_keeper)
		return -EPROTO;
	if (frame->type == VF_FRAME_MACHINE)
		return on_machine(s, frame, body, err);
	if (frame->type == VF_FRAME_CANCEL)
		return on_cancel(s, frame, body, err);
	if (!s->accepted)
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL, "not accepted yet");
	switch (frame->type) {
	case VF_FRAME_ROUND_END:
		return on_round_end(s, channel, frame, body, err);
	case VF_FRAME_SECTION:
		return on_section(s, frame, body, err);
	case VF_FRAME_STREAM_DATA:
	case VF_FRAME_STREAM_MARK:
	case VF_FRAME_STREAM_RESTART:
		return on_stream(s, frame, body, NULL, err);
	case VF_FRAME_SWITCHOVER:
		return on_switchover(s, frame, body, err);
	case VF_FRAME_MANIFEST:
		return on_manifest(s, frame, body, err);
	case VF_FRAME_DIGEST:
		return on_digest(s, frame, body, err);
	case VF_FRAME_COMMIT:
		return on_commit(s, frame, body, err);
	default:
		return -EPROTO;
	}
}

/* Device state, received where the sink wants it. Return: 1 = there is no such place. */
static int take_placed(struct sim *s, unsigned channel, const struct vf_frame *frame,
		       struct vferry_error *err)
{
	uint8_t head[VF_STREAM_HEADER_BYTES];
	int device = s->accepted ? device_of(s, frame->component) : -1;
	void *place = NULL;
	int ret;

	if (frame->type == VF_FRAME_STREAM_DATA && device >= 0 &&
	    s->device[DESTINATION][device].sink)
		place = vf_stream_sink_place(s->device[DESTINATION][device].sink, frame->length);
	if (!place)
		return 1;
	ret = vf_channel_recv_parts(s->connection[0].channel[DESTINATION][channel], frame, head,
				    sizeof(head), place, err);
	return ret ? ret : on_stream(s, frame, head, place, err);
}

int destination_frame(struct sim *s, unsigned connection, unsigned channel,
		      const struct vf_frame *frame, struct vferry_error *err)
{
	struct vf_channel *from = s->connection[connection].channel[DESTINATION][channel];
	uint8_t *body;
	int ret;

	if (frame->type == VF_FRAME_PAGES && !connection)
		return take_pages(s, channel, frame, err);
	if (frame->length > VF_FRAME_MAX_MESSAGE_BYTES)
		return -EMSGSIZE;
	ret = connection ? 1 : take_placed(s, channel, frame, err);
	if (ret <= 0)
		return ret;
	body = malloc(frame->length ? frame->length : 1);
	if (!body)
		return vferry_error_set(err, -ENOMEM, "memory", NULL, "no memory for a frame");
	ret = vf_channel_recv_body(from, frame, body, err);
	if (!ret)
		ret = on_message(s, connection, channel, frame, body, err);
	free(body);
	return ret;
}

/* What the peer got wrong is told to it; a link that broke is only lost. */
void destination_link_lost(struct sim *s, unsigned connection, const struct vferry_error *err,
			   int code)
{
	if (connection) {
		link_close(s, connection, DESTINATION);
		return;
	}
	say(s, "destination: channel ended: %s", code ? err->message : "closed");
	if (!code || code == -ECONNRESET || code == -EPIPE || code == -ETIMEDOUT ||
	    code == -ENOTCONN || code == -ECANCELED)
		DST(s, LINK_LOST, .error = err);
	else if (!s->receive_failed)
		DST(s, LOAD_FAILED, .error = err);
	s->receive_failed |= code < 0;
}
