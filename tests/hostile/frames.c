/* SPDX-License-Identifier: MIT */
/* frames.c - see frames.h. */
#include "frames.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "wire/pages.h"

#define TYPE_AT 4u
#define FLAGS_AT 6u
#define LENGTH_AT 12u
#define SEQUENCE_AT 16u
#define BODY_CRC_AT 24u
#define CRC_AT 28u

static uint8_t *copy_of(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	if (size)
		memcpy(copy, data, size);
	return copy;
}

void hostile_stream_parse(struct hostile_stream *s, const uint8_t *data, size_t size)
{
	s->count = 0;
	while (size >= VF_FRAME_HEADER_BYTES && s->count < HOSTILE_FRAMES_MAX) {
		struct hostile_frame *f = &s->frames[s->count++];
		uint32_t length = vf_get_u32(data + LENGTH_AT);

		memcpy(f->header, data, sizeof(f->header));
		data += sizeof(f->header);
		size -= sizeof(f->header);
		f->bytes = (uint32_t) vf_min_u64(length, size);
		f->body = copy_of(data, f->bytes);
		data += f->bytes;
		size -= f->bytes;
	}
}

void hostile_stream_done(struct hostile_stream *s)
{
	for (unsigned i = 0; i < s->count; i++)
		free(s->frames[i].body);
	s->count = 0;
}

size_t hostile_stream_store(const struct hostile_stream *s, uint8_t *to, size_t room)
{
	size_t at = 0;

	for (unsigned i = 0; i < s->count; i++) {
		const struct hostile_frame *f = &s->frames[i];

		if (room - at < sizeof(f->header) + f->bytes)
			break;
		memcpy(to + at, f->header, sizeof(f->header));
		/* A length that lies would swallow what follows; it is chosen when it is sent. */
		if (!(hostile_frame_flags(f) & (HOSTILE_RAW | HOSTILE_LENGTH)))
			vf_put_u32(to + at + LENGTH_AT, f->bytes);
		at += sizeof(f->header);
		memcpy(to + at, f->body, f->bytes);
		at += f->bytes;
	}
	return at;
}

void hostile_stream_remove(struct hostile_stream *s, unsigned at)
{
	free(s->frames[at].body);
	s->count--;
	memmove(&s->frames[at], &s->frames[at + 1], (s->count - at) * sizeof(s->frames[0]));
}

bool hostile_stream_insert(struct hostile_stream *s, unsigned at, const struct hostile_frame *frame)
{
	struct hostile_frame copy = *frame;

	if (s->count == HOSTILE_FRAMES_MAX)
		return false;
	copy.body = copy_of(frame->body, frame->bytes);
	memmove(&s->frames[at + 1], &s->frames[at], (s->count - at) * sizeof(s->frames[0]));
	s->frames[at] = copy;
	s->count++;
	return true;
}

int hostile_stream_find(const struct hostile_stream *s, uint16_t type, unsigned nth)
{
	for (unsigned i = 0; i < s->count; i++)
		if (hostile_frame_type(&s->frames[i]) == type && !nth--)
			return (int) i;
	return -1;
}

uint16_t hostile_frame_type(const struct hostile_frame *f)
{
	return vf_get_u16(f->header + TYPE_AT);
}

uint16_t hostile_frame_flags(const struct hostile_frame *f)
{
	return vf_get_u16(f->header + FLAGS_AT);
}

void hostile_frame_set_flags(struct hostile_frame *f, uint16_t flags)
{
	vf_put_u16(f->header + FLAGS_AT, flags);
}

void hostile_frame_resize(struct hostile_frame *f, uint32_t bytes)
{
	uint8_t *body = realloc(f->body, bytes ? bytes : 1);

	if (!body)
		abort();
	if (bytes > f->bytes)
		memset(body + f->bytes, 0, bytes - f->bytes);
	f->body = body;
	f->bytes = bytes;
}

/* Of PAGES the checksum covers the table alone; compressed data has one of its own, in the table. */
static size_t summed(uint8_t *body, size_t bytes)
{
	unsigned runs = vf_get_u16(body + 4);
	size_t table = VF_PAGES_HEADER_BYTES + runs * (body[0] == VF_PAGES_CHUNK ? 4u : 16u);

	if (table > bytes)
		return bytes;
	if (body[1])
		vf_put_u32(body + 20, vf_crc32c(0, body + table, bytes - table));
	return table;
}

uint8_t *hostile_frame_bytes(const struct hostile_frame *f, uint64_t sequence, size_t *ret_size)
{
	size_t size = sizeof(f->header) + f->bytes;
	uint16_t flags = hostile_frame_flags(f);
	uint8_t *to = malloc(size), *body = to + sizeof(f->header);
	size_t crc_bytes = f->bytes;

	if (!to)
		abort();
	memcpy(to, f->header, sizeof(f->header));
	memcpy(body, f->body, f->bytes);
	*ret_size = size;
	vf_put_u16(to + FLAGS_AT, flags & (uint16_t) ~HOSTILE_BITS);
	if (flags & HOSTILE_RAW)
		return to;
	if (hostile_frame_type(f) == VF_FRAME_PAGES && f->bytes >= VF_PAGES_HEADER_BYTES)
		crc_bytes = summed(body, f->bytes);
	vf_put_u32(to, VF_FRAME_MARK);
	if (!(flags & HOSTILE_LENGTH))
		vf_put_u32(to + LENGTH_AT, f->bytes);
	if (!(flags & HOSTILE_SEQUENCE))
		vf_put_u64(to + SEQUENCE_AT, sequence);
	vf_put_u32(to + BODY_CRC_AT, vf_crc32c(0, body, crc_bytes));
	vf_put_u32(to + CRC_AT, vf_crc32c(0, to, CRC_AT));
	return to;
}
