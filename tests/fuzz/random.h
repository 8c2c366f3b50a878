/* SPDX-License-Identifier: MIT */
/* random.h - what custom mutators choose with: a generator, and numbers that break things. */
#ifndef TESTS_FUZZ_RANDOM_H
#define TESTS_FUZZ_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t fuzz_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed >> 1;	/* the lowest bit is the weakest */
}

/* Bounds, and what lies just beside them. */
static inline uint64_t fuzz_number(uint32_t *seed)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 4, 7, 8, 15, 16, 64, 127, 128, 255, 256, 257, 511, 512, 4095, 4096, 4097,
		0x7fff, 0x8000, 0xffff, 0x10000, 1 << 20, (1 << 20) + 1, 16 << 20, 0x7fffffff,
		0x80000000, 0xfffff000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
		0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff,
	};
	uint32_t which = fuzz_random(seed) % (sizeof(edges) / sizeof(*edges) + 6);

	if (which < sizeof(edges) / sizeof(*edges))
		return edges[which];
	return (uint64_t) fuzz_random(seed) << (fuzz_random(seed) % 40);
}

/* One number of 1, 2, 4 or 8 bytes somewhere in @data becomes another, or a little more or less. */
static inline void fuzz_field(uint8_t *data, size_t size, uint32_t *seed)
{
	size_t width = (size_t) 1 << fuzz_random(seed) % 4;
	uint64_t value = 0;
	size_t at;

	while (width > size)
		width /= 2;
	if (!width)
		return;
	at = fuzz_random(seed) % (size - width + 1);
	if (fuzz_random(seed) % 2)
		at -= at % width;
	for (size_t i = 0; i < width; i++)
		value |= (uint64_t) data[at + i] << (8 * i);
	if (fuzz_random(seed) % 3)
		value = fuzz_number(seed);
	else
		value += (uint64_t) (fuzz_random(seed) % 9) - 4;
	for (size_t i = 0; i < width; i++)
		data[at + i] = (uint8_t) (value >> (8 * i));
}

#endif
