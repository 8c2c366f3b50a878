/* SPDX-License-Identifier: MIT */
/*
 * destination_machine.c - can this side take the machine that the source describes? Everything is
 * compared, and every reason against is listed, before the first byte of RAM.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "session/destination.h"
#include "transfer/compress.h"
#include "vfio/device_component.h"
#include "wire/cursor.h"
#include "wire/frame.h"

static void check_ram(struct vferry_session *s, const struct vf_machine *m,
		      struct vferry_reasons *reasons)
{
	size_t count = s->ram ? vferry_ram_block_count(s->ram) : 0;

	if (m->block_count != count)
		vferry_reasons_add(reasons, "ram-blocks-differ", "ram",
				   "%u blocks of RAM on the source, %zu here", m->block_count,
				   count);
	for (size_t i = 0; i < count && i < m->block_count; i++) {
		const struct vferry_ram_block *here = vferry_ram_get_block(s->ram, i);
		const struct vf_wire_block *there = &m->blocks[i];

		if (strcmp(here->name, there->name) || here->gpa != there->gpa ||
		    here->bytes != there->bytes)
			vferry_reasons_add(reasons, "ram-block-differs", "ram",
					   "block %zu: %s at 0x%" PRIx64 ", %" PRIu64
					   " bytes on the source; %s at 0x%" PRIx64 ", %" PRIu64
					   " bytes here", i, there->name, there->gpa, there->bytes,
					   here->name, here->gpa, here->bytes);
	}
}

static void check_sections(const struct vf_session_component *c, const struct vf_wire_component *w,
			   struct vferry_reasons *reasons)
{
	for (uint32_t i = 0; i < w->section_count; i++) {
		const struct vf_wire_section *there = &w->sections[i];
		const struct vferry_section_desc *here = vf_component_section(&c->desc, there->id);

		if (!here)
			vferry_reasons_add(reasons, "section-unknown", c->name,
					   "section %u (%s) is not known here", there->id,
					   there->name);
		else if (there->version < here->oldest || there->version > here->version)
			vferry_reasons_add(reasons, "section-version", c->name,
					   "section %s has version %u; this side reads %u to %u",
					   there->name, there->version, here->oldest,
					   here->version);
	}
	if (w->has_stream != (c->desc.stream != NULL))
		vferry_reasons_add(reasons, "stream-differs", c->name,
				   w->has_stream
					   ? "sends a stream of state, which is not taken here"
					   : "sends no stream of state, which is needed here");
}

/* Every load step with a section must get one from this source. */
static void check_fed(struct vferry_session *s, struct vf_session_component *c,
		      struct vferry_reasons *reasons)
{
	for (size_t i = 0; i < c->desc.step_count; i++) {
		const struct vferry_step_desc *d = &c->desc.steps[i];

		if (VFERRY_PHASE_OF(d->step_class) == VFERRY_PHASE_LOAD && d->section &&
		    !vf_destination_feeding(s, c, d))
			vferry_reasons_add(
				reasons, "section-missing", c->name,
				"step %s needs section %u, which the source does not send", d->name,
				d->section);
	}
}

static void check_component(struct vferry_session *s, struct vf_session_component *c,
			    const struct vf_wire_component *w, struct vferry_reasons *reasons)
{
	struct vferry_reader reader = { .r = vf_reader_of(w->identity, w->identity_bytes) };

	check_sections(c, w, reasons);
	check_fed(s, c, reasons);
	if (!c->desc.check) {
		if (w->identity_bytes)
			vferry_reasons_add(
				reasons, "identity-unknown", c->name,
				"the source names an identity that nobody here can compare");
		return;
	}
	if (c->desc.check(c->desc.user, &reader, reasons))
		vferry_reasons_add(reasons, "identity-malformed", c->name,
				   "the identity that the source sent cannot be read");
}

static void match_components(struct vf_destination_side *side, struct vferry_reasons *reasons)
{
	struct vferry_session *s = side->session;
	const struct vf_machine *m = &side->machine;

	for (uint32_t i = 0; i < m->component_count; i++) {
		struct vf_session_component *c =
			vf_session_find_component(s, m->components[i].name);

		if (!c) {
			vferry_reasons_add(reasons, "component-missing", m->components[i].name,
					   "the source has this component, this side has not");
			continue;
		}
		c->remote = i;
		side->by_remote[i] = c;
	}
	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].remote == VF_NO_COMPONENT)
			vferry_reasons_add(reasons, "component-extra", s->components[i].name,
					   "this side has this component, the source has not");
	for (uint32_t i = 0; i < m->component_count; i++)
		if (side->by_remote[i])
			check_component(s, side->by_remote[i], &m->components[i], reasons);
}

uint32_t vf_destination_feeding(struct vferry_session *s, const struct vf_session_component *c,
				const struct vferry_step_desc *step)
{
	const struct vf_wire_component *w;

	if (!step->section || c->remote == VF_NO_COMPONENT)
		return 0;
	w = &s->destination->machine.components[c->remote];
	for (int pass = 0; pass < 2; pass++) {
		uint32_t wanted = pass ? step->section_else : step->section;

		for (uint32_t i = 0; wanted && i < w->section_count; i++)
			if (w->sections[i].id == wanted)
				return wanted;
	}
	return 0;
}

/* ---- what is set up once nothing is against it ---- */

static int announce_sections(struct vf_destination_side *side)
{
	const struct vf_machine *m = &side->machine;
	size_t capacity = 0;
	int ret;

	for (uint32_t i = 0; i < m->component_count; i++)
		capacity += m->components[i].section_count;
	ret = vf_sections_init(&side->sections, capacity, VF_HOLD_BYTES);
	for (uint32_t i = 0; i < m->component_count && !ret; i++) {
		const struct vf_session_component *c = side->by_remote[i];
		const struct vf_wire_component *w = &m->components[i];

		for (uint32_t j = 0; j < w->section_count && !ret; j++) {
			const struct vferry_section_desc *here =
				vf_component_section(&c->desc, w->sections[j].id);
			struct vf_section_slot slot = {
				.component = i, .id = w->sections[j].id,
				.version = w->sections[j].version,
				.max_bytes = here->max_bytes < w->sections[j].max_bytes
						     ? here->max_bytes : w->sections[j].max_bytes,
			};

			(void) snprintf(slot.name, sizeof(slot.name), "%s:%.30s", c->name,
					here->name);
			ret = vf_sections_announce(&side->sections, capacity, &slot);
		}
	}
	return ret;
}

uint64_t vf_destination_credit(const struct vf_destination_side *side)
{
	const struct vferry_session *s = side->session;
	uint64_t streams = 0, each;

	for (size_t i = 0; i < s->component_count; i++)
		streams += s->components[i].desc.stream != NULL;
	each = VF_CREDIT_BYTES / (streams ? streams : 1);
	return each < VF_CREDIT_LEAST ? VF_CREDIT_LEAST : each;
}

static int make_sinks(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->component_count && !ret; i++) {
		struct vf_session_component *c = &s->components[i];

		if (c->desc.stream)
			ret = vf_stream_sink_new(c->remote, c->name, c->desc.stream, c->desc.user,
						 vf_destination_credit(side),
						 &vf_destination_sink_ops, side, &c->stream_sink);
	}
	return ret;
}

/* Every load step of the first section before every load step of the second. */
static int add_dependency(struct vf_destination_side *side, struct vf_plan *plan,
			  const struct vf_wire_dependency *d, struct vferry_error *err)
{
	const struct vf_session_component *first = side->by_remote[d->first_component];
	const struct vf_session_component *then = side->by_remote[d->then_component];
	struct vf_plan_view a, b;

	for (uint32_t i = 0; i < vf_plan_count(plan); i++) {
		vf_plan_get(plan, i, &a);
		if (a.step.component != first->index || a.step.step >= VF_OWN_FIRST ||
		    vf_destination_feeding(side->session, first, &first->desc.steps[a.step.step]) !=
			    d->first_section)
			continue;
		for (uint32_t j = 0; j < vf_plan_count(plan); j++) {
			int ret;

			vf_plan_get(plan, j, &b);
			if (b.step.component != then->index || b.step.step >= VF_OWN_FIRST ||
			    vf_destination_feeding(side->session, then,
						   &then->desc.steps[b.step.step]) !=
				    d->then_section)
				continue;
			ret = vf_plan_depend(plan, i, j, err);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int make_plan(struct vf_destination_side *side, struct vferry_error *err)
{
	const struct vf_machine *m = &side->machine;
	int ret = vf_steps_plan(side->session, VFERRY_PHASE_LOAD, vf_destination_feeding,
				&side->plan, err);

	for (uint32_t i = 0; i < m->dependency_count && !ret; i++)
		ret = add_dependency(side, side->plan, &m->dependencies[i], err);
	return ret ? ret : vf_plan_seal(side->plan, err);
}

static int begin_devices(struct vf_destination_side *side, struct vferry_reasons *reasons)
{
	struct vferry_session *s = side->session;
	size_t i;
	int ret = 0;

	for (i = 0; i < s->device_count && !ret; i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		vf_device_set_trace(s->devices[i], s->trace);
		ret = vf_device_session_begin(s->devices[i], VF_DEVICE_DESTINATION, &err);
		if (ret)
			vferry_reasons_add(reasons, err.id[0] ? err.id : "device-not-usable",
					   vf_device_address(s->devices[i]), "%s",
					   err.code ? err.message : vferry_errno_name(ret));
	}
	if (ret) {
		for (i--; i-- > 0;)
			vf_device_session_end(s->devices[i]);
		return ret;
	}
	side->devices_begun = true;
	return 0;
}

int vf_destination_check(struct vf_destination_side *side, struct vferry_reasons *reasons)
{
	struct vferry_session *s = side->session;
	const struct vf_machine *m = &side->machine;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret;

	if (strcmp(m->description, s->description))
		vferry_reasons_add(reasons, "machine-differs", "machine",
				   "the source is a \"%s\", this side a \"%s\"", m->description,
				   s->description);
	if (!vf_codec_available((enum vf_codec) m->compression))
		vferry_reasons_add(reasons, "compression-unknown", "ram",
				   "compression %u cannot be undone by this build", m->compression);
	check_ram(s, m, reasons);
	match_components(side, reasons);
	if (reasons->list.reason_count)
		return 0;
	ret = announce_sections(side);
	if (!ret)
		ret = make_sinks(side);
	if (!ret)
		ret = make_plan(side, &err);
	if (!ret)
		ret = begin_devices(side, reasons);
	if (ret && !reasons->list.reason_count)
		vferry_reasons_add(reasons, err.id[0] ? err.id : "setup-failed",
				   err.object[0] ? err.object : "machine", "%s",
				   err.code ? err.message : vferry_errno_name(ret));
	return 0;
}

/* ---- the manifest ---- */

static int check_manifest_section(struct vf_destination_side *side,
				  const struct vf_manifest_section *m, struct vferry_error *err)
{
	struct vf_section_slot slot = { 0 };

	(void) vf_sections_get(&side->sections, m->component, m->id, &slot);
	if (slot.unread)
		return vferry_error_set(err, -EPROTO, "section-late", slot.name,
					"a section that came again after it had been loaded");
	if (slot.arrived && slot.bytes == m->bytes && slot.crc == m->crc)
		return 0;
	return vferry_error_set(err, -EBADMSG, "manifest-section", slot.name,
				"section %u of component %u: the manifest lists %u bytes with sum "
				"%08x, %zu bytes with %08x are here", m->id, m->component, m->bytes,
				m->crc, slot.bytes, slot.crc);
}

static int check_manifest_stream(struct vf_destination_side *side,
				 const struct vf_manifest_stream *m, struct vferry_error *err)
{
	const struct vf_session_component *c =
		m->component < side->machine.component_count ? side->by_remote[m->component] : NULL;
	uint32_t generation = 0, crc = 0;
	uint64_t bytes = 0;

	if (c && c->stream_sink)
		vf_stream_sink_get_totals(c->stream_sink, &generation, &bytes, &crc);
	if (c && c->stream_sink && generation == m->generation && bytes == m->bytes &&
	    crc == m->crc)
		return 0;
	return vferry_error_set(err, -EBADMSG, "manifest-stream", c ? c->name : NULL,
				"the manifest lists %" PRIu64
				" bytes of generation %u with sum %08x, "
				"%" PRIu64 " of %u with %08x were loaded",
				m->bytes, m->generation, m->crc, bytes, generation, crc);
}

/* RAM is complete: no page follows. Of a file, each page has its own checksum instead. */
static int check_manifest_pages(struct vf_destination_side *side, struct vferry_error *err)
{
	const struct vf_manifest *m = &side->manifest;
	struct vf_receiver_stats stats;

	if (side->file || !side->session->ram)
		return 0;
	vf_receiver_get_stats(side->receiver, &stats);
	if (stats.pages_normal == m->pages_normal && stats.pages_zero == m->pages_zero)
		return 0;
	return vferry_error_set(err, -EBADMSG, "manifest-pages", "ram",
				"manifest: %" PRIu64 " pages and %" PRIu64 " zero pages were sent, %"
				PRIu64 " and %" PRIu64 " came", m->pages_normal, m->pages_zero,
				stats.pages_normal, stats.pages_zero);
}

int vf_destination_check_manifest(struct vf_destination_side *side, struct vferry_error *err)
{
	const struct vf_manifest *m = &side->manifest;
	uint32_t streams = 0;
	int ret = 0;

	vf_sections_close(&side->sections);
	for (uint32_t i = 0; i < m->section_count && !ret; i++)
		ret = check_manifest_section(side, &m->sections[i], err);
	for (uint32_t i = 0; i < m->stream_count && !ret; i++)
		ret = check_manifest_stream(side, &m->streams[i], err);
	for (size_t i = 0; i < side->session->component_count; i++)
		streams += side->session->components[i].stream_sink != NULL;
	if (!ret && streams != m->stream_count)
		ret = vferry_error_set(err, -EBADMSG, "manifest-stream", NULL,
				       "the manifest lists %u streams, there are %u",
				       m->stream_count, streams);
	if (!ret)
		ret = check_manifest_pages(side, err);
	for (uint32_t i = 0; i < m->channel_count && !ret && side->channel_count; i++) {
		struct vf_channel_stats stats = { 0 };

		if (i < side->channel_count)
			vf_channel_get_stats(side->channels[i], &stats);
		if (stats.received_content < m->channels[i].frames)
			ret = vferry_error_set(err, -EBADMSG, "manifest-channel", NULL,
					       "channel %u: %" PRIu64 " frames were sent, %" PRIu64
					       " came", i, m->channels[i].frames,
					       stats.received_content);
	}
	return ret;
}
