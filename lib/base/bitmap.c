/* SPDX-License-Identifier: MIT */
/* bitmap.c - word at a time; see bitmap.h. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/bitmap.h"
#include "base/checked.h"

int vf_bitmap_init(struct vf_bitmap *map, uint64_t bits)
{
	uint64_t bytes;
	void *p;

	if (vf_mul_u64(vf_bitmap_word_count(bits), 8, &bytes) || bytes > SIZE_MAX)
		return -EOVERFLOW;
	if (!bytes)
		bytes = 8;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	*map = (struct vf_bitmap) { .words = p, .bits = bits };
	return 0;
}

static size_t map_bytes(const struct vf_bitmap *map)
{
	uint64_t bytes = vf_bitmap_word_count(map->bits) * 8;

	return bytes ? bytes : 8;
}

void vf_bitmap_done(struct vf_bitmap *map)
{
	if (map->words)
		(void) munmap(map->words, map_bytes(map));
	*map = (struct vf_bitmap) { 0 };
}

void vf_bitmap_clear_all(struct vf_bitmap *map)
{
	(void) madvise(map->words, map_bytes(map), MADV_DONTNEED);
}

bool vf_bitmap_test(const struct vf_bitmap *map, uint64_t bit)
{
	assert(bit < map->bits);
	return __atomic_load_n(&map->words[bit / 64], __ATOMIC_RELAXED) >> (bit % 64) & 1;
}

/* The bits of word @word that lie in [first, end). */
static uint64_t word_mask(uint64_t word, uint64_t first, uint64_t end)
{
	uint64_t mask = ~0ull;

	if (word == first / 64)
		mask &= ~0ull << (first % 64);
	if (word == end / 64)
		mask &= (end % 64) ? ~0ull >> (64 - end % 64) : 0;
	return mask;
}

void vf_bitmap_set_range(struct vf_bitmap *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	assert(vf_range_in(first, count, map->bits));
	for (uint64_t w = first / 64; w * 64 < end; w++)
		map->words[w] |= word_mask(w, first, end);
}

void vf_bitmap_clear_range(struct vf_bitmap *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	assert(vf_range_in(first, count, map->bits));
	for (uint64_t w = first / 64; w * 64 < end; w++)
		map->words[w] &= ~word_mask(w, first, end);
}

static uint64_t next(const struct vf_bitmap *map, uint64_t from, uint64_t end, uint64_t flip)
{
	if (end > map->bits)
		end = map->bits;
	for (uint64_t w = from / 64; w * 64 < end; w++) {
		uint64_t v = __atomic_load_n(&map->words[w], __ATOMIC_RELAXED) ^ flip;

		v &= word_mask(w, from > w * 64 ? from : w * 64, end);
		if (v)
			return w * 64 + (uint64_t) __builtin_ctzll(v);
	}
	return end;
}

uint64_t vf_bitmap_next_set(const struct vf_bitmap *map, uint64_t from, uint64_t end)
{
	return next(map, from, end, 0);
}

uint64_t vf_bitmap_next_clear(const struct vf_bitmap *map, uint64_t from, uint64_t end)
{
	return next(map, from, end, ~0ull);
}

uint64_t vf_bitmap_count(const struct vf_bitmap *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;
	uint64_t sum = 0;

	assert(vf_range_in(first, count, map->bits));
	for (uint64_t w = first / 64; w * 64 < end; w++) {
		uint64_t v = __atomic_load_n(&map->words[w], __ATOMIC_RELAXED);

		sum += (uint64_t) __builtin_popcountll(v & word_mask(w, first, end));
	}
	return sum;
}

static void or_word(struct vf_bitmap *map, uint64_t word, uint64_t value)
{
	/* Release: whoever takes the bit must see the write it stands for. */
	if (value)
		(void) __atomic_fetch_or(&map->words[word], value, __ATOMIC_RELEASE);
}

void vf_bitmap_set_range_atomic(struct vf_bitmap *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	assert(vf_range_in(first, count, map->bits));
	for (uint64_t w = first / 64; w * 64 < end; w++)
		or_word(map, w, word_mask(w, first, end));
}

void vf_bitmap_or_words_atomic(struct vf_bitmap *map, uint64_t first_word, const uint64_t *words,
			       uint64_t count)
{
	assert(vf_range_in(first_word, count, vf_bitmap_word_count(map->bits)));
	for (uint64_t i = 0; i < count; i++)
		or_word(map, first_word + i, words[i]);
}

uint64_t vf_bitmap_take_word_atomic(struct vf_bitmap *map, uint64_t word)
{
	assert(word < vf_bitmap_word_count(map->bits));
	if (!__atomic_load_n(&map->words[word], __ATOMIC_RELAXED))
		return 0;
	return __atomic_exchange_n(&map->words[word], 0, __ATOMIC_ACQUIRE);
}
