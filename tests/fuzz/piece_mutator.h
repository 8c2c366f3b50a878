/* SPDX-License-Identifier: MIT */
/*
 * piece_mutator.h - libFuzzer's mutator for inputs that are a chain of { u8 flags, u16 length, bytes }:
 * the messages that one end of vfio-user gets. Pieces are repeated, dropped, moved, cut and lengthened;
 * one field of a piece becomes another number; what goes along with it changes.
 *
 * Included once by a target that defines PIECES_AT, where in its input the chain begins.
 */
#ifndef TESTS_FUZZ_PIECE_MUTATOR_H
#define TESTS_FUZZ_PIECE_MUTATOR_H

#include <string.h>

#include "base/bytes.h"
#include "random.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

#define PIECE_HEAD 3u
#define PIECES_MOST 128u

struct piece {
	size_t at, size;	/* with its head */
};

/* Lengths beyond the end are put right. */
static unsigned find_pieces(uint8_t *data, size_t size, struct piece *pieces)
{
	unsigned count = 0;

	for (size_t at = PIECES_AT; at + PIECE_HEAD <= size && count < PIECES_MOST; count++) {
		size_t length = vf_get_u16(data + at + 1);

		if (length > size - at - PIECE_HEAD)
			length = size - at - PIECE_HEAD;
		vf_put_u16(data + at + 1, (uint16_t) length);
		pieces[count] = (struct piece) { at, PIECE_HEAD + length };
		at += PIECE_HEAD + length;
	}
	return count;
}

/* Room of @bytes opens, or closes, at @at. Return: the new size. */
static size_t shift(uint8_t *data, size_t size, size_t at, size_t out, size_t in)
{
	memmove(data + at + in, data + at + out, size - at - out);
	return size - out + in;
}

static size_t insert_piece(uint8_t *data, size_t size, size_t max, size_t at, const struct piece *p)
{
	static uint8_t copy[PIECE_HEAD + 65536];

	if (p->size > max - size)
		return size;
	memcpy(copy, data + p->at, p->size);
	size = shift(data, size, at, 0, p->size);
	memcpy(data + at, copy, p->size);
	return size;
}

/* The piece becomes @length bytes long; new ones are 0. */
static size_t resize_piece(uint8_t *data, size_t size, size_t max, const struct piece *p, size_t length)
{
	size_t old = p->size - PIECE_HEAD, end = p->at + p->size;

	if (length > 65535 || (length > old && length - old > max - size))
		return size;
	if (length > old) {
		size = shift(data, size, end, 0, length - old);
		memset(data + end, 0, length - old);
	} else {
		size = shift(data, size, p->at + PIECE_HEAD + length, old - length, 0);
	}
	vf_put_u16(data + p->at + 1, (uint16_t) length);
	return size;
}

static size_t mutate_pieces(uint8_t *data, size_t size, size_t max, uint32_t *seed)
{
	static struct piece pieces[PIECES_MOST];
	unsigned count = find_pieces(data, size, pieces);
	struct piece p, other;
	size_t length;

	if (!count)
		return size;
	p = pieces[fuzz_random(seed) % count];
	other = pieces[fuzz_random(seed) % count];
	length = p.size - PIECE_HEAD;
	switch (fuzz_random(seed) % 10) {
	case 0:
		return shift(data, size, p.at, p.size, 0);
	case 1:
		return insert_piece(data, size, max, p.at, &p);
	case 2:
		return insert_piece(data, size, max, other.at, &p);
	case 3:
		return resize_piece(data, size, max, &p, length ? fuzz_random(seed) % length : 1);
	case 4:
		return resize_piece(data, size, max, &p, length + 1 + fuzz_random(seed) % 32);
	case 5:
		data[p.at] ^= (uint8_t) (1u << fuzz_random(seed) % 8);
		return size;
	case 6:		/* another command, of those there are */
		if (length)
			data[p.at + PIECE_HEAD] = (uint8_t) (fuzz_random(seed) % 24);
		return size;
	default:
		fuzz_field(data + p.at + PIECE_HEAD, length, seed);
		return size;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint32_t random = seed | 1;

	if (fuzz_random(&random) % 4 == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	for (unsigned n = 1 + fuzz_random(&random) % 3; n; n--)
		size = mutate_pieces(data, size, max_size, &random);
	return size;
}

#endif
