/* SPDX-License-Identifier: MIT */
/*
 * sim_send.c - what the source sends: messages, rounds of pages, device state.
 *
 * As transfer/page_sender.c and session/stream_source.c, whose threads are events here: a sender
 * looks at one chunk, sends it, and goes on when its channel has taken it; a pump reads one piece
 * of a device's state, within credit. In between guest and devices go on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "sim.h"
#include "transfer/chunk.h"
#include "wire/frame.h"

#define PIECE_BYTES 512u	/* of device state, at most at once */

/* ---- messages ---- */

static int describe(struct sim *s, struct vf_machine *m)
{
	*m = (struct vf_machine) {
		.description = "sim", .verify = s->verify, .check_only = s->config.check,
		.max_downtime_ns = s->config.max_downtime_ns,
		.pause_budget_ns = s->config.pause_budget_ns,
	};
	m->blocks = calloc(RAM_BLOCKS, sizeof(*m->blocks));
	m->components = calloc(MAX_COMPONENTS, sizeof(*m->components));
	m->dependencies = calloc(1, sizeof(*m->dependencies));
	if (!m->blocks || !m->components || !m->dependencies)
		return -ENOMEM;
	for (; m->block_count < RAM_BLOCKS; m->block_count++) {
		const struct vferry_ram_block *b = vferry_ram_get_block(s->ram[SOURCE],
									m->block_count);

		m->blocks[m->block_count] = (struct vf_wire_block) {
			.gpa = b->gpa, .bytes = b->bytes, .flags = b->flags,
		};
		(void) snprintf(m->blocks[m->block_count].name, VF_WIRE_NAME_BYTES, "%s", b->name);
	}
	return 0;
}

/* Components of the save plan; one section for each step that feeds something over there. */
static int describe_components(struct sim *s, struct vf_machine *m)
{
	const struct exec *x = &s->exec[SAVE];

	for (size_t i = 0; i < x->step_count; i++) {
		const struct world_step *step = &x->steps[i];
		struct vf_wire_component *c = &m->components[component_index(s, step->component)];

		if (c == &m->components[m->component_count]) {
			m->component_count++;
			(void) snprintf(c->name, sizeof(c->name), "%s", step->component);
			(void) snprintf(c->device, sizeof(c->device), "%s",
					step->device ? step->device : "");
			c->sections = calloc(4, sizeof(*c->sections));
			c->identity_bytes = 8;
			c->identity = malloc(8);
			if (!c->sections || !c->identity)
				return -ENOMEM;
			vf_put_u64(c->identity, s->seed);
		}
		c->has_stream |= step->step_class == VFERRY_SAVE_DEVICE_DATA;
		if (!feeds_any(step->step_class))
			continue;
		c->sections[c->section_count] = (struct vf_wire_section) {
			.id = section_id(step), .version = 1, .max_bytes = 64,
		};
		(void) snprintf(c->sections[c->section_count++].name, VF_WIRE_NAME_BYTES, "%s",
				step->name);
	}
	return 0;
}

int send_machine(struct sim *s)
{
	struct vf_machine m;
	struct vf_writer w;
	int ret = describe(s, &m);

	if (!ret)
		ret = describe_components(s, &m);
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	if (!ret)
		vf_machine_encode(&w, &m);
	if (!ret)
		ret = link_send(s, 0, SOURCE, 0, VF_FRAME_MACHINE, VF_NO_COMPONENT, &w);
	vf_writer_done(&w);
	vf_machine_done(&m);
	return ret;
}

/* All parts of a device share a channel; everything else goes on the first. */
static unsigned device_channel(const struct sim *s, unsigned device)
{
	return device % s->connection[0].channels;
}

static void note_section(struct sim *s, const struct vf_manifest_section *section)
{
	for (uint32_t i = 0; i < s->sent_count; i++) {
		if (s->sent[i].id == section->id) {
			s->sent[i] = *section;
			return;
		}
	}
	if (s->sent_count == MAX_SECTIONS)
		wrong(s, "more sections than there are");
	else
		s->sent[s->sent_count++] = *section;
}

uint32_t section_id(const struct world_step *step)
{
	return 1 + step->step_class + 64 * (step->index < 0 ? 0 : (uint32_t) step->index);
}

int send_section(struct sim *s, const struct world_step *step)
{
	uint32_t index = step->index < 0 ? 0 : (uint32_t) step->index;
	uint64_t state = guest_state(s, step->step_class, index);
	struct vf_section_header header = { .id = section_id(step), .version = 1 };
	uint8_t body[VF_SECTION_HEADER_BYTES + 48] = { 0 };
	size_t bytes = 8 + state % 40;
	struct vf_manifest_section sent = {
		.component = component_index(s, step->component), .id = header.id,
		.bytes = (uint32_t) bytes,
	};

	if (s->mutation == MUTATION_OLD_SECTION && step->step_class == VFERRY_SAVE_CPU)
		state--;
	vf_section_header_encode(body, &header);
	vf_put_u64(body + VF_SECTION_HEADER_BYTES, state);
	sent.crc = vf_crc32c(0, body + VF_SECTION_HEADER_BYTES, bytes);
	note_section(s, &sent);
	return link_send_bytes(s, 0, SOURCE, step->device ? device_channel(s, index) : 0,
			       VF_FRAME_SECTION, sent.component, body,
			       VF_SECTION_HEADER_BYTES + bytes);
}

int send_switchover(struct sim *s)
{
	uint8_t body[4];

	s->switched = true;
	vf_put_u32(body, s->last_round);
	return link_send_bytes(s, 0, SOURCE, 0, VF_FRAME_SWITCHOVER, VF_NO_COMPONENT, body, 4);
}

static int send_digest(struct sim *s)
{
	uint8_t body[4];
	uint32_t digest;
	int ret = vferry_ram_digest(s->ram[SOURCE], &digest, NULL);

	vf_put_u32(body, digest);
	return ret ? ret : link_send_bytes(s, 0, SOURCE, 0, VF_FRAME_DIGEST, VF_NO_COMPONENT, body,
					   4);
}

int send_manifest(struct sim *s)
{
	struct vf_channel_count channels[MAX_CHANNELS];
	struct vf_manifest_stream streams[WORLD_MAX_DEVICES];
	struct vf_manifest m = {
		.pages_normal = s->pages_normal, .pages_zero = s->pages_zero,
		.sections = s->sent, .section_count = s->sent_count,
		.streams = streams, .stream_count = (uint32_t) s->machine->devices,
		.channels = channels, .channel_count = s->connection[0].channels,
	};
	struct vf_writer w;
	int ret = s->verify ? send_digest(s) : 0;

	if (ret)
		return ret;
	for (unsigned i = 0; i < m.channel_count; i++) {
		struct vf_channel_stats stats;

		vf_channel_get_stats(s->connection[0].channel[SOURCE][i], &stats);
		channels[i] = (struct vf_channel_count) { stats.sent_frames, stats.sent_bytes };
	}
	for (uint32_t i = 0; i < m.stream_count; i++) {
		const struct device *d = &s->device[SOURCE][i];

		streams[i] = (struct vf_manifest_stream) {
			.component = stream_component(s, i), .generation = d->sent_generation,
			.bytes = d->offset, .crc = d->crc,
		};
	}
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_manifest_encode(&w, &m);
	return link_send(s, 0, SOURCE, 0, VF_FRAME_MANIFEST, VF_NO_COMPONENT, &w);
}

/* ---- pages ---- */

static int send_pages(struct sim *s, unsigned channel, const struct vf_pages *pages)
{
	const struct vferry_ram_block *block = vferry_ram_get_block(s->ram[SOURCE], pages->block);
	uint8_t table[VF_PAGES_MAX_TABLE_BYTES];
	struct vf_outgoing out = { .frame = { .type = VF_FRAME_PAGES,
					      .component = VF_NO_COMPONENT } };
	size_t table_bytes = vf_pages_table_bytes(pages), n = 2;
	struct iovec iov[2 + VF_PAGES_MAX_RUNS] = {
		{ out.header, sizeof(out.header) }, { table, table_bytes },
	};

	vf_pages_encode(pages, table);
	out.frame.length = (uint32_t) table_bytes + pages->stored;
	out.frame.body_crc = vf_crc32c(0, table, table_bytes);
	for (unsigned i = 0; i < pages->run_count && pages->form == VF_PAGES_CHUNK; i++) {
		if (pages->runs[i].kind == VF_PAGES_DATA)
			iov[n++] = (struct iovec) { vf_ram_page(block, pages->runs[i].page),
						    pages->runs[i].count * VF_PAGE_BYTES };
	}
	if (s->mutation == MUTATION_OVERTAKES)
		channel = (unsigned) rng_below(&s->rng, s->connection[0].channels);
	return vf_channel_send_vector(s->connection[0].channel[SOURCE][channel], &out, 1, iov, n,
				      true, NULL);
}

static int add_zero_range(struct sim *s, unsigned channel, size_t block, uint64_t page, uint64_t end)
{
	struct vf_pages *ranges = &s->walk[channel].ranges;
	int ret = 0;

	page = vf_pages_owned_from(page, channel, s->connection[0].channels);
	if (page >= end || s->mutation == MUTATION_ZERO_LOST)
		return 0;
	if (ranges->run_count && (ranges->block != block || ranges->run_count == 8)) {
		ret = send_pages(s, channel, ranges);
		ranges->run_count = 0;
	}
	ranges->form = VF_PAGES_ZERO_RANGES;
	ranges->block = (uint16_t) block;
	ranges->runs[ranges->run_count++] = (struct vf_pages_run) {
		.page = page, .count = end - page, .kind = VF_PAGES_ZERO,
	};
	return ret;
}

/* Pages whose bits are taken: looked at, then sent. The guest may write at any point of this. */
static int send_taken(struct sim *s, unsigned channel, size_t block, const struct vf_chunk *chunk)
{
	struct vf_pages *pages = &s->walk[channel].chunk;
	bool writes = s->vcpus[SOURCE];
	uint64_t zeros = 0;
	int ret = 0;

	if (writes && rng_percent(&s->rng, 20))
		guest_write(s);
	(void) vf_chunk_look(chunk, vferry_ram_get_block(s->ram[SOURCE], block),
			     vf_zero_test_named("generic"), pages);
	if (writes && rng_percent(&s->rng, 20))
		guest_write(s);
	for (unsigned i = 0; i < pages->run_count; i++)
		zeros += pages->runs[i].kind == VF_PAGES_ZERO ? pages->runs[i].count : 0;
	s->pages_normal += pages->data_pages;
	s->pages_zero += zeros;
	if (!pages->data_pages) {
		for (unsigned i = 0; i < pages->run_count && !ret; i++)
			ret = add_zero_range(s, channel, block, pages->runs[i].page,
					     pages->runs[i].page + pages->runs[i].count);
		return ret;
	}
	pages->form = VF_PAGES_CHUNK;
	pages->codec = VF_CODEC_NONE;
	pages->block = (uint16_t) block;
	pages->stored = pages->data_pages * (uint32_t) VF_PAGE_BYTES;
	pages->data_crc = 0;
	ret = send_pages(s, channel, pages);
	if (writes && rng_percent(&s->rng, 20))
		guest_write(s);
	return ret;
}

/* The chunk of @page, as far as @end. */
static int send_from(struct sim *s, unsigned channel, size_t block, uint64_t page, uint64_t end,
		     bool every)
{
	struct vf_chunk wanted = { .first = vf_chunk_first(page) };
	struct vf_chunk taken;
	int ret;

	vf_chunk_add_range(&wanted, page, end);
	if (s->mutation == MUTATION_TAKES_LATE) {
		/* What is dirty is seen, and taken only when it is sent. */
		vf_chunk_take(s->ram[SOURCE], block, &wanted, &taken);
		for (unsigned w = 0; w < VF_CHUNK_WORDS; w++)
			if (taken.bits[w])
				vf_ram_restore_dirty(s->ram[SOURCE], block, wanted.first / 64 + w,
						     taken.bits[w]);
		ret = send_taken(s, channel, block, every ? &wanted : &taken);
		vf_chunk_take(s->ram[SOURCE], block, every ? &wanted : &taken, &taken);
		return ret;
	}
	vf_chunk_take(s->ram[SOURCE], block, &wanted, &taken);
	return send_taken(s, channel, block, every ? &wanted : &taken);
}

/* One chunk, or one hole, of the walk. Return: 1 = there is more; 0; negative errno. */
static int walk_on(struct sim *s, unsigned channel, bool every)
{
	struct vferry_ram *ram = s->ram[SOURCE];
	unsigned channels = s->connection[0].channels;
	struct walk *w = &s->walk[channel];
	uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(ram, w->block)), next;
	bool by_holes = every || vf_ram_all_marked(ram, w->block);
	int ret = 0;

	w->page = vf_pages_owned_from(w->page, channel, channels);
	if (w->page < pages && by_holes && w->page >= w->data_end) {
		uint64_t data = vf_ram_next_data(ram, w->block, w->page, pages, &w->data_end);

		if (data == pages)
			w->data_end = pages;
		if (data > w->page &&
		    (every || vf_chunk_take_hole(ram, w->block, w->page, data, channel, channels)))
			ret = add_zero_range(s, channel, w->block, w->page, data);
		w->page = vf_pages_owned_from(data, channel, channels);
	} else if (!by_holes && w->page < pages) {
		next = vf_min_u64((w->page / VF_UNIT_PAGES + 1) * VF_UNIT_PAGES, pages);
		w->page = vf_ram_next_dirty(ram, w->block, w->page, next);
		w->data_end = pages;
		if (w->page == next)
			return w->page < pages || w->block + 1 < RAM_BLOCKS ? 1 : 0;
	}
	if (!ret && w->page < pages && w->page < w->data_end) {
		next = vf_min_u64(vf_chunk_first(w->page) + VF_CHUNK_PAGES, w->data_end);
		ret = send_from(s, channel, w->block, w->page, next, every);
		w->page = next;
	}
	if (ret || w->page < pages)
		return ret ? ret : 1;
	w->block++;
	w->page = w->data_end = 0;
	return w->block < RAM_BLOCKS;
}

int send_round(struct sim *s, uint32_t number)
{
	struct vf_ram_collected collected;
	int ret = s->in_last_round ? vf_ram_collect(s->ram[SOURCE], &collected) : 0;

	if (ret)
		return ret;
	s->round = number;
	s->walking = s->connection[0].channels;
	for (unsigned i = 0; i < s->walking; i++) {
		s->walk[i].busy = true;
		s->walk[i].block = s->walk[i].page = s->walk[i].data_end = 0;
		s->walk[i].ranges.run_count = 0;
		post(s, some(s, MS / 10, 2 * MS), (struct event) {
			.kind = EV_CHUNK, .a = i, .b = number });
	}
	return 0;
}

static int end_channel_round(struct sim *s, unsigned channel, uint32_t round)
{
	uint8_t body[VF_ROUND_END_BYTES];
	int ret = 0;

	if (s->walk[channel].ranges.run_count)
		ret = send_pages(s, channel, &s->walk[channel].ranges);
	vf_round_end_encode(round, body);
	return ret ? ret : link_send_bytes(s, 0, SOURCE, channel, VF_FRAME_ROUND_END,
					   VF_NO_COMPONENT, body, sizeof(body));
}

void send_chunk(struct sim *s, unsigned channel, uint32_t round)
{
	int ret = 1;

	if (!s->walking || !s->walk[channel].busy || round != s->round)
		return;
	guest_settle(s);
	/* Several pieces that cost nothing are one event. */
	for (unsigned i = 0; i < 8 && ret == 1 && link_free_ns(s, SOURCE, channel) == s->now_ns; i++)
		ret = walk_on(s, channel, !round);
	if (ret == 1) {
		post(s, link_free_ns(s, SOURCE, channel) - s->now_ns + 1000, (struct event) {
			.kind = EV_CHUNK, .a = channel, .b = round });
		return;
	}
	if (!ret)
		ret = end_channel_round(s, channel, round);
	s->walk[channel].busy = false;
	if (ret) {
		s->walking = 0;
		source_round_sent(s, ret);
	} else if (!--s->walking) {
		source_round_sent(s, 0);
	}
}

/* ---- device state ---- */

static int send_mark(struct sim *s, unsigned device, enum vf_stream_mark_kind kind)
{
	struct device *d = &s->device[SOURCE][device];
	struct vf_stream_mark mark = {
		.generation = d->sent_generation, .kind = kind, .offset = d->offset, .crc = d->crc,
	};
	struct vf_writer w;

	vf_writer_init(&w, 64);
	vf_stream_mark_encode(&w, &mark);
	return link_send(s, 0, SOURCE, device_channel(s, device), VF_FRAME_STREAM_MARK,
			 stream_component(s, device), &w);
}

static int send_piece(struct sim *s, unsigned device, const uint8_t *data, size_t bytes)
{
	struct device *d = &s->device[SOURCE][device];
	struct vf_stream_header header = { .generation = d->sent_generation, .offset = d->offset };
	uint8_t body[VF_STREAM_HEADER_BYTES + PIECE_BYTES];
	uint32_t crc = vf_crc32c(0, data, bytes);

	vf_stream_header_encode(body, &header);
	memcpy(body + VF_STREAM_HEADER_BYTES, data, bytes);
	d->crc = vf_crc32c_combine(d->crc, crc, bytes);
	d->offset += bytes;
	return link_send_bytes(s, 0, SOURCE, device_channel(s, device), VF_FRAME_STREAM_DATA,
			       stream_component(s, device), body, VF_STREAM_HEADER_BYTES + bytes);
}

/* The guest reset the device: what was sent is void, and its config space is sent anew. */
int follow_generation(struct sim *s, unsigned device)
{
	const struct exec *x = &s->exec[SAVE];
	struct device *d = &s->device[SOURCE][device];
	uint8_t body[4];
	int ret;

	if (d->generation == d->sent_generation)
		return 0;
	d->sent_generation = d->generation;
	d->offset = d->crc = 0;
	d->initial_marked = d->acknowledged = false;
	vf_put_u32(body, d->generation);
	ret = link_send_bytes(s, 0, SOURCE, device_channel(s, device), VF_FRAME_STREAM_RESTART,
			      stream_component(s, device), body, sizeof(body));
	for (size_t i = 0; i < x->step_count && !ret; i++) {
		if (x->steps[i].step_class == VFERRY_SAVE_CONFIG_EARLY &&
		    x->steps[i].index == (int) device)
			ret = send_section(s, &x->steps[i]);
	}
	SRC(s, STREAM_REINIT, .component = stream_component(s, device),
	    .generation = d->generation);
	return ret;
}

static int follow_initial(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];

	if (d->reinit) {
		bool withdraw = d->initial_marked || d->acknowledged;

		d->reinit = d->initial_marked = d->acknowledged = false;
		if (withdraw)
			SRC(s, STREAM_REINIT, .component = stream_component(s, device),
			    .generation = d->sent_generation);
	}
	if (d->initial_marked || device_left(s, device) > 4 * RECORD_BYTES)
		return 0;
	d->initial_marked = true;
	return send_mark(s, device, VF_MARK_INITIAL_END);
}

/* Return: bytes; 0 = nothing now, or no credit; negative errno. */
static int pump_piece(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];
	uint8_t data[PIECE_BYTES];
	size_t bytes = device_read(s, device, data, vf_min_u64(sizeof(data), d->credit));
	int ret;

	if (!bytes)
		return 0;
	d->credit -= bytes;
	if (s->mutation == MUTATION_DROPS_CHUNK && d->drop_next) {
		d->drop_next = false;
		return (int) bytes;
	}
	d->drop_next = true;
	ret = send_piece(s, device, data, bytes);
	return ret ? ret : (int) bytes;
}

void pump_later(struct sim *s, unsigned device, uint64_t ns)
{
	struct device *d = &s->device[SOURCE][device];

	if (!d->pump_posted)
		post(s, ns, (struct event) { .kind = EV_PUMP, .a = device });
	d->pump_posted = true;
}

static void pump_failed(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];
	bool drain = d->drain_step >= 0;
	uint32_t step = (uint32_t) d->drain_step;

	d->precopying = false;
	d->drain_step = -1;
	if (drain)
		end_step(s, SAVE, step, true);
	else
		SRC(s, SAVE_FAILED);
}

static void pump_drained(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];
	uint32_t step = (uint32_t) d->drain_step;
	int ret = send_mark(s, device, VF_MARK_END);

	d->drain_step = -1;
	if (ret)
		end_step(s, SAVE, step, true);
	else
		step_time_over(s, SAVE, step);
}

void pump_device(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];
	bool drain = d->drain_step >= 0;
	int ret = 0;

	d->pump_posted = false;
	if (!drain && !d->precopying)
		return;
	guest_settle(s);
	if (!drain && rng_below(&s->rng, 1000) < s->faults.precopy_fails) {
		fault(s, FAULT_PRECOPY);
		pump_failed(s, device);
		return;
	}
	if (!drain)
		ret = follow_generation(s, device);
	if (!ret && !drain && d->precopying)
		ret = follow_initial(s, device);
	if (!ret && (drain || d->precopying))
		ret = pump_piece(s, device);
	if (ret < 0) {
		pump_failed(s, device);
		return;
	}
	if (drain && !device_left(s, device))
		pump_drained(s, device);
	else if (drain || d->precopying)
		pump_later(s, device, ret ? some(s, 1000, MS / 5) : some(s, MS / 2, 4 * MS));
}

/* Config space is over there: pre-copy begins, of the devices that have it. */
void pump_begin(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];

	if (!d->has_precopy)
		return;
	d->precopying = true;
	pump_later(s, device, some(s, 1000, 2 * MS));
}

/* The device stopped: all that is left. */
void pump_drain(struct sim *s, unsigned device, uint32_t step)
{
	struct device *d = &s->device[SOURCE][device];
	int ret;

	d->drain_step = (int) step;
	/* A reset in the very last moment before the stop. */
	ret = follow_generation(s, device);
	if (!ret)
		ret = send_mark(s, device, VF_MARK_STOPPED);
	if (ret)
		pump_failed(s, device);
	else
		pump_later(s, device, some(s, 1000, MS / 5));
}

/* Everything that sends ends, in the middle of what it does. */
void send_nothing_more(struct sim *s)
{
	int last = s->last_step;

	s->walking = 0;
	s->last_step = -1;
	link_close(s, 0, SOURCE);
	for (unsigned i = 0; i < (unsigned) s->machine->devices; i++) {
		s->device[SOURCE][i].precopying = false;
		if (s->device[SOURCE][i].drain_step >= 0)
			pump_failed(s, i);
	}
	if (last >= 0)
		end_step(s, SAVE, (uint32_t) last, true);
}
