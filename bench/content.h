/* SPDX-License-Identifier: MIT */
/*
 * content.h - what guest memory holds in a measurement; the same bytes for every engine.
 *
 * A page's content follows from mix, seed and its number alone:
 *   hole     never written
 *   zero     written with zeros
 *   random   incompressible, no two pages alike
 *   half     zero or random, by a hash of the page's number
 *   text     about 3:1 with zstd -1
 */
#ifndef BENCH_CONTENT_H
#define BENCH_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

enum bench_mix {
	BENCH_MIX_HOLE,
	BENCH_MIX_ZERO,
	BENCH_MIX_RANDOM,
	BENCH_MIX_HALF,
	BENCH_MIX_TEXT,
};

/* False: no such mix. */
bool bench_mix_parse(const char *name, enum bench_mix *ret_mix);

/* @words: 512 of them, aligned. Not for holes. */
void bench_page_fill(uint64_t *words, enum bench_mix mix, uint64_t seed, uint64_t page);

/* All @bytes of @host, by two threads. Holes: nothing. */
void bench_fill(void *host, uint64_t bytes, enum bench_mix mix, uint64_t seed);

#endif
