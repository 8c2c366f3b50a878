/* SPDX-License-Identifier: MIT */
/*
 * message_mutator.h - changes one field of a message, by decoding and encoding it: what results is
 * well-formed, so it gets past the decoder, and says something else than before.
 */
#ifndef TESTS_FUZZ_MESSAGE_MUTATOR_H
#define TESTS_FUZZ_MESSAGE_MUTATOR_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "random.h"
#include "wire/message.h"

static inline void flip(bool *value)
{
	*value = !*value;
}

static inline uint32_t number32(uint32_t *seed)
{
	return (uint32_t) fuzz_number(seed);
}

static inline void mutate_component(struct vf_wire_component *c, uint32_t *seed)
{
	struct vf_wire_section *s = c->section_count ? &c->sections[fuzz_random(seed) % c->section_count]
						     : NULL;

	switch (fuzz_random(seed) % 9) {
	case 0:
		c->name[0] = (char) ('a' + fuzz_random(seed) % 26);
		break;
	case 1:
		(void) strcpy(c->device, fuzz_random(seed) % 2 ? "" : "00:05.0");
		break;
	case 2:
		flip(&c->has_stream);
		break;
	case 3:
		flip(&c->has_precopy);
		break;
	case 4:
		if (s)
			s->id = fuzz_random(seed) % 4 ? fuzz_random(seed) % 4 : number32(seed);
		break;
	case 5:
		if (s)
			s->version = (uint16_t) fuzz_number(seed);
		break;
	case 6:
		if (s)
			s->max_bytes = number32(seed);
		break;
	case 7:
		if (c->section_count)
			c->section_count--;
		break;
	case 8:
		if (c->identity_bytes)
			fuzz_field(c->identity, c->identity_bytes, seed);
		break;
	}
}

static inline void mutate_machine(struct vf_machine *m, uint32_t *seed)
{
	struct vf_wire_block *b = m->block_count ? &m->blocks[fuzz_random(seed) % m->block_count] : NULL;
	struct vf_wire_dependency *d = m->dependency_count ? &m->dependencies[0] : NULL;
	uint32_t n = m->component_count;
	struct vf_wire_component swap;

	switch (fuzz_random(seed) % 12) {
	case 0:
		m->compression = fuzz_random(seed) % 4;
		break;
	case 1:
		flip(&m->verify);
		break;
	case 2:
		flip(&m->check_only);
		break;
	case 3:
		m->pause_budget_ns = fuzz_number(seed);
		break;
	case 4:
		m->max_downtime_ns = fuzz_number(seed);
		break;
	case 5:
		if (b)
			b->bytes = fuzz_number(seed);
		break;
	case 6:
		if (b)
			b->gpa = fuzz_number(seed);
		break;
	case 7:
		m->block_count -= m->block_count != 0;
		break;
	case 8:
		if (d) {
			d->first_component = fuzz_random(seed) % 4;
			d->then_section = fuzz_random(seed) % 4;
		}
		break;
	case 9:		/* other indices for the same components */
		if (n > 1) {
			swap = m->components[0];
			m->components[0] = m->components[n - 1];
			m->components[n - 1] = swap;
		}
		break;
	default:
		if (n)
			mutate_component(&m->components[fuzz_random(seed) % n], seed);
		break;
	}
}

static inline void mutate_manifest(struct vf_manifest *m, uint32_t *seed)
{
	switch (fuzz_random(seed) % 6) {
	case 0:
		m->pages_normal = fuzz_number(seed);
		break;
	case 1:
		m->section_count -= m->section_count != 0;
		break;
	case 2:
		m->stream_count -= m->stream_count != 0;
		break;
	case 3:
		if (m->section_count)
			m->sections[0].component = number32(seed);
		break;
	case 4:
		if (m->stream_count)
			m->streams[0].bytes = fuzz_number(seed);
		break;
	case 5:
		if (m->channel_count)
			m->channels[0].frames = fuzz_number(seed);
		break;
	}
}

static inline void mutate_accept(struct vf_accept *m, uint32_t *seed)
{
	switch (fuzz_random(seed) % 4) {
	case 0:
		m->load_ns = fuzz_number(seed);
		break;
	case 1:
		m->hold_bytes = fuzz_number(seed);
		break;
	case 2:
		if (m->credit_count)
			m->credits[0].bytes = fuzz_number(seed);
		break;
	case 3:
		if (m->credit_count)
			m->credits[0].component = number32(seed);
		break;
	}
}

static inline void mutate_mark(struct vf_stream_mark *m, uint32_t *seed)
{
	switch (fuzz_random(seed) % 4) {
	case 0:
		m->generation = fuzz_random(seed) % 3;
		break;
	case 1:
		m->kind = 1 + fuzz_random(seed) % 3;
		break;
	case 2:
		m->offset = fuzz_number(seed);
		break;
	case 3:
		m->crc ^= 1u << fuzz_random(seed) % 32;
		break;
	}
}

/* Decode, change, encode. */
#define CHANGE(type, name, change, done)                                        \
	do {                                                                    \
		struct type m;                                                  \
		if (name##_decode(f->body, f->bytes, &m, NULL))                 \
			break;                                                  \
		change(&m, seed);                                               \
		name##_encode(&w, &m);                                          \
		done;                                                           \
		changed = !w.bad;                                               \
	} while (0)

/* false: there is no such message in it. */
static inline bool mutate_message(struct hostile_frame *f, uint32_t *seed)
{
	bool changed = false;
	struct vf_writer w;

	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	switch (hostile_frame_type(f)) {
	case VF_FRAME_MACHINE:
		CHANGE(vf_machine, vf_machine, mutate_machine, vf_machine_done(&m));
		break;
	case VF_FRAME_MANIFEST:
		CHANGE(vf_manifest, vf_manifest, mutate_manifest, vf_manifest_done(&m));
		break;
	case VF_FRAME_ACCEPT:
		CHANGE(vf_accept, vf_accept, mutate_accept, vf_accept_done(&m));
		break;
	case VF_FRAME_STREAM_MARK:
		CHANGE(vf_stream_mark, vf_stream_mark, mutate_mark, );
		break;
	}
	if (changed) {
		hostile_frame_resize(f, (uint32_t) w.size);
		memcpy(f->body, w.data, w.size);
	}
	vf_writer_done(&w);
	return changed;
}

#endif
