/* SPDX-License-Identifier: MIT */
/*
 * accel_pattern.c - the vector forms of accel_pattern().
 *
 * The words of the sequence differ by a constant before they are folded, so eight running sums
 * replace the multiplication, which common vector units lack for 64 bits. Each loop is compiled twice:
 * for what every processor of the kind has, and for AVX2, which is chosen at run time.
 */
#include <endian.h>
#include <string.h>

#include "accel.h"
#include "accel_pattern.h"

#define LANES 4
#define PAIR_BYTES (2 * 8 * LANES)
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

static inline __attribute__((always_inline)) void start_lanes(lanes *first, lanes *second, uint64_t seed, uint64_t offset)
{
	for (unsigned int i = 0; i < LANES; i++) {
		(*first)[i] = seed + (offset / 8 + i) * STEP;
		(*second)[i] = seed + (offset / 8 + LANES + i) * STEP;
	}
}

/* Whole pairs of lanes, as many as go into @len; returns their bytes. */
static inline __attribute__((always_inline)) size_t fill_lanes(uint8_t *to, size_t len, uint64_t seed,
								uint64_t offset)
{
	size_t done = 0;
	lanes a, b;

	start_lanes(&a, &b, seed, offset);
	for (; len - done >= PAIR_BYTES; done += PAIR_BYTES) {
		((lanes_any *) (to + done))[0] = a ^ a >> 32;
		((lanes_any *) (to + done))[1] = b ^ b >> 32;
		a += 2 * LANES * STEP;
		b += 2 * LANES * STEP;
	}
	return done;
}

/* The same, compared: @ret_equal says whether all of them are the pattern. */
static inline __attribute__((always_inline)) size_t compare_lanes(const uint8_t *data, size_t len,
								   uint64_t seed, uint64_t offset,
								   bool *ret_equal)
{
	lanes a, b, differ = { 0 };
	size_t done = 0;
	uint64_t any = 0;

	start_lanes(&a, &b, seed, offset);
	for (; len - done >= PAIR_BYTES; done += PAIR_BYTES) {
		differ |= ((const lanes_any *) (data + done))[0] ^ a ^ a >> 32;
		differ |= ((const lanes_any *) (data + done))[1] ^ b ^ b >> 32;
		a += 2 * LANES * STEP;
		b += 2 * LANES * STEP;
	}
	for (unsigned int i = 0; i < LANES; i++)
		any |= differ[i];
	*ret_equal = !any;
	return done;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static size_t fill_avx2(uint8_t *to, size_t len, uint64_t seed,
							 uint64_t offset)
{
	return fill_lanes(to, len, seed, offset);
}

__attribute__((target("avx2"))) static size_t compare_avx2(const uint8_t *data, size_t len,
							    uint64_t seed, uint64_t offset,
							    bool *ret_equal)
{
	return compare_lanes(data, len, seed, offset, ret_equal);
}

static bool have_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
#define fill_avx2 fill_lanes
#define compare_avx2 compare_lanes
static bool have_avx2(void)
{
	return false;
}
#endif

void accel_pattern_fill(void *to, size_t len, uint64_t seed, uint64_t offset)
{
	uint8_t *p = to;
	size_t count;

	if (offset % 8 && len) {
		count = part_of_word(p, len, seed, offset);
		p += count;
		len -= count;
		offset += count;
	}
	count = have_avx2() ? fill_avx2(p, len, seed, offset) : fill_lanes(p, len, seed, offset);
	p += count;
	len -= count;
	offset += count;
	while (len) {
		count = part_of_word(p, len, seed, offset);
		p += count;
		len -= count;
		offset += count;
	}
}

bool accel_pattern_equal(const void *data, size_t len, uint64_t seed, uint64_t offset)
{
	const uint8_t *p = data;
	uint8_t word[8];
	size_t count;
	bool equal;

	if (offset % 8 && len) {
		count = part_of_word(word, len, seed, offset);
		if (memcmp(p, word, count))
			return false;
		p += count;
		len -= count;
		offset += count;
	}
	count = have_avx2() ? compare_avx2(p, len, seed, offset, &equal) :
			      compare_lanes(p, len, seed, offset, &equal);
	if (!equal)
		return false;
	p += count;
	len -= count;
	offset += count;
	while (len) {
		count = part_of_word(word, len, seed, offset);
		if (memcmp(p, word, count))
			return false;
		p += count;
		len -= count;
		offset += count;
	}
	return true;
}
