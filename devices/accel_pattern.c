/* SPDX-License-Identifier: MIT */
/*
 * accel_pattern.c - the vector forms of accel_pattern().
 *
 * The words of the sequence differ by a constant before they are folded, so eight running sums
 * replace the multiplication, which common vector units lack for 64 bits.
 */
#include <endian.h>
#include <string.h>

#include "accel.h"
#include "accel_pattern.h"

#define LANES 4
#define STEP 0x9e3779b97f4a7c15ull	/* as in accel_pattern() */

typedef uint64_t lanes __attribute__((vector_size(8 * LANES)));
typedef uint64_t lanes_any __attribute__((vector_size(8 * LANES), aligned(1), may_alias));

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the vector form stores host order");

/* The part of word @offset / 8 that lies at @offset and behind, at most @len bytes of it. */
static size_t part_of_word(uint8_t *to, size_t len, uint64_t seed, uint64_t offset)
{
	uint64_t word = accel_pattern(seed, offset / 8);
	size_t at = (size_t) (offset % 8);
	size_t count = 8 - at < len ? 8 - at : len;

	memcpy(to, (const uint8_t *) &word + at, count);
	return count;
}

static void start_lanes(lanes *first, lanes *second, uint64_t seed, uint64_t offset)
{
	for (unsigned int i = 0; i < LANES; i++) {
		(*first)[i] = seed + (offset / 8 + i) * STEP;
		(*second)[i] = seed + (offset / 8 + LANES + i) * STEP;
	}
}

void accel_pattern_fill(void *to, size_t len, uint64_t seed, uint64_t offset)
{
	uint8_t *p = to;
	lanes a, b;

	if (offset % 8 && len) {
		size_t count = part_of_word(p, len, seed, offset);

		p += count;
		len -= count;
		offset += count;
	}
	start_lanes(&a, &b, seed, offset);
	for (; len >= 16 * LANES; len -= 16 * LANES, p += 16 * LANES, offset += 16 * LANES) {
		((lanes_any *) p)[0] = a ^ a >> 32;
		((lanes_any *) p)[1] = b ^ b >> 32;
		a += 2 * LANES * STEP;
		b += 2 * LANES * STEP;
	}
	while (len) {
		size_t count = part_of_word(p, len, seed, offset);

		p += count;
		len -= count;
		offset += count;
	}
}

bool accel_pattern_equal(const void *data, size_t len, uint64_t seed, uint64_t offset)
{
	const uint8_t *p = data;
	lanes a, b, differ = { 0 };
	uint8_t word[8];

	if (offset % 8 && len) {
		size_t count = part_of_word(word, len, seed, offset);

		if (memcmp(p, word, count))
			return false;
		p += count;
		len -= count;
		offset += count;
	}
	start_lanes(&a, &b, seed, offset);
	for (; len >= 16 * LANES; len -= 16 * LANES, p += 16 * LANES, offset += 16 * LANES) {
		differ |= ((const lanes_any *) p)[0] ^ a ^ a >> 32;
		differ |= ((const lanes_any *) p)[1] ^ b ^ b >> 32;
		a += 2 * LANES * STEP;
		b += 2 * LANES * STEP;
	}
	for (unsigned int i = 0; i < LANES; i++)
		if (differ[i])
			return false;
	while (len) {
		size_t count = part_of_word(word, len, seed, offset);

		if (memcmp(p, word, count))
			return false;
		p += count;
		len -= count;
		offset += count;
	}
	return true;
}
