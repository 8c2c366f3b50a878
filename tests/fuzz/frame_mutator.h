/* SPDX-License-Identifier: MIT */
/*
 * frame_mutator.h - libFuzzer's mutator for streams of frames (tests/hostile/frames.h): reorders, drops,
 * repeats and splices frames, changes one field of a message, its length, its header. What is changed
 * is put right again where it is sent, but for a share that lies on purpose.
 *
 * Included once by each target whose input is such a stream.
 */
#ifndef TESTS_FUZZ_FRAME_MUTATOR_H
#define TESTS_FUZZ_FRAME_MUTATOR_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "frames.h"
#include "message_mutator.h"
#include "random.h"

/* libFuzzer's; weak, since the replay of a corpus has no libFuzzer and changes nothing. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2,
				 size_t size2, uint8_t *out, size_t max_out, unsigned int seed);

#define BODY_MOST 8192u

/* Of all frames equally often, or a message rather than pages. */
static unsigned pick_frame(const struct hostile_stream *s, uint32_t *seed)
{
	unsigned at = fuzz_random(seed) % s->count;

	if (hostile_frame_type(&s->frames[at]) == VF_FRAME_PAGES && fuzz_random(seed) % 2)
		at = fuzz_random(seed) % s->count;
	return at;
}

static void move_frame(struct hostile_stream *s, unsigned from, unsigned to)
{
	struct hostile_frame f = s->frames[from];

	memmove(&s->frames[from], &s->frames[from + 1],
		(s->count - from - 1) * sizeof(s->frames[0]));
	memmove(&s->frames[to + 1], &s->frames[to], (s->count - 1 - to) * sizeof(s->frames[0]));
	s->frames[to] = f;
}

static void mutate_body(struct hostile_frame *f)
{
	static uint8_t body[BODY_MOST];
	size_t size = f->bytes < sizeof(body) ? f->bytes : sizeof(body);

	memcpy(body, f->body, size);
	size = LLVMFuzzerMutate(body, size, sizeof(body));
	if (f->bytes <= sizeof(body))
		hostile_frame_resize(f, (uint32_t) size);
	memcpy(f->body, body, size < f->bytes ? size : f->bytes);
}

static void mutate_header(struct hostile_frame *f, uint32_t *seed)
{
	static const uint16_t lies[] = { HOSTILE_RAW, HOSTILE_EARLY, HOSTILE_EARLY,
					 HOSTILE_SEQUENCE, HOSTILE_LENGTH, VF_FRAME_OPTIONAL };

	switch (fuzz_random(seed) % 4) {
	case 0:		/* another type, known or not */
		vf_put_u16(f->header + 4, (uint16_t) (fuzz_random(seed) % 28));
		break;
	case 1:
		vf_put_u32(f->header + 8, fuzz_random(seed) % 4 ? fuzz_random(seed) % 6
								 : (uint32_t) fuzz_number(seed));
		break;
	case 2:
		hostile_frame_set_flags(f, hostile_frame_flags(f) ^ lies[fuzz_random(seed) % 6]);
		break;
	case 3:
		fuzz_field(f->header, sizeof(f->header), seed);
		break;
	}
}

static void mutate_stream(struct hostile_stream *s, uint32_t *seed)
{
	unsigned at = pick_frame(s, seed), other = pick_frame(s, seed);
	struct hostile_frame *f = &s->frames[at];

	switch (fuzz_random(seed) % 12) {
	case 0:
		if (s->count > 1)
			hostile_stream_remove(s, at);
		break;
	case 1:		/* replayed: at once, or later */
		(void) hostile_stream_insert(s, fuzz_random(seed) % 2 ? at : other, f);
		break;
	case 2:
		move_frame(s, at, other);
		break;
	case 3:
		hostile_frame_resize(f, f->bytes ? fuzz_random(seed) % f->bytes : 1);
		break;
	case 4:
		hostile_frame_resize(f, f->bytes + 1 + fuzz_random(seed) % 64);
		break;
	case 5:
	case 6:
		mutate_header(f, seed);
		break;
	case 7:		/* one body into another frame */
		if (at != other && s->frames[other].bytes <= BODY_MOST) {
			hostile_frame_resize(f, s->frames[other].bytes);
			memcpy(f->body, s->frames[other].body, f->bytes);
		}
		break;
	case 8:
		mutate_body(f);
		break;
	case 9:
		if (f->bytes)
			fuzz_field(f->body, f->bytes < 64 ? f->bytes : 64, seed);
		break;
	default:
		if (!mutate_message(f, seed) && f->bytes)
			fuzz_field(f->body, f->bytes, seed);
		break;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static struct hostile_stream s;
	uint32_t random = seed | 1;

	hostile_stream_parse(&s, data, size);
	if (!s.count || fuzz_random(&random) % 32 == 0) {
		hostile_stream_done(&s);
		return LLVMFuzzerMutate(data, size, max_size);
	}
	for (unsigned n = 1 + fuzz_random(&random) % 3; n && s.count; n--)
		mutate_stream(&s, &random);
	size = hostile_stream_store(&s, data, max_size);
	hostile_stream_done(&s);
	return size;
}

/* The beginning of one, and the end of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2,
				 size_t size2, uint8_t *out, size_t max_out, unsigned int seed)
{
	static struct hostile_stream a, b;
	uint32_t random = seed | 1;
	size_t size;

	hostile_stream_parse(&a, data1, size1);
	hostile_stream_parse(&b, data2, size2);
	for (unsigned keep = a.count ? fuzz_random(&random) % (a.count + 1) : 0; a.count > keep;)
		hostile_stream_remove(&a, a.count - 1);
	for (unsigned i = b.count ? fuzz_random(&random) % b.count : 0; i < b.count; i++)
		(void) hostile_stream_insert(&a, a.count, &b.frames[i]);
	size = hostile_stream_store(&a, out, max_out);
	hostile_stream_done(&a);
	hostile_stream_done(&b);
	return size;
}

#endif
