/* SPDX-License-Identifier: MIT */
/*
 * bitmap.h - bit n of a map is bit (n % 64) of 64-bit word n / 64, as KVM and VFIO lay them out on
 * a little-endian host. Large maps come from mmap(), so that words never touched cost no memory.
 *
 * The _atomic forms may run against each other on one map; the plain ones need the caller's lock.
 */
#ifndef VF_BASE_BITMAP_H
#define VF_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vf_bitmap {
	uint64_t *words;	/* mmap()ed, owned */
	uint64_t bits;
};

static inline uint64_t vf_bitmap_word_count(uint64_t bits)
{
	return bits / 64 + (bits % 64 != 0);
}

int vf_bitmap_init(struct vf_bitmap *map, uint64_t bits);	/* all clear; -ENOMEM, -EOVERFLOW */
void vf_bitmap_done(struct vf_bitmap *map);
bool vf_bitmap_test(const struct vf_bitmap *map, uint64_t bit);
void vf_bitmap_set_range(struct vf_bitmap *map, uint64_t first, uint64_t count);
void vf_bitmap_clear_range(struct vf_bitmap *map, uint64_t first, uint64_t count);
/* First set (clear) bit at or behind @from and before @end; @end if there is none. */
uint64_t vf_bitmap_next_set(const struct vf_bitmap *map, uint64_t from, uint64_t end);
uint64_t vf_bitmap_next_clear(const struct vf_bitmap *map, uint64_t from, uint64_t end);
uint64_t vf_bitmap_count(const struct vf_bitmap *map, uint64_t first, uint64_t count);
/* Gives never-touched memory back: all bits clear. */
void vf_bitmap_clear_all(struct vf_bitmap *map);

/* Sets bits, with release; cheap when they are set already. */
void vf_bitmap_set_range_atomic(struct vf_bitmap *map, uint64_t first, uint64_t count);
/* ORs @count words in at word @first_word. */
void vf_bitmap_or_words_atomic(struct vf_bitmap *map, uint64_t first_word, const uint64_t *words,
			       uint64_t count);
/* Takes (reads and clears) one word. */
uint64_t vf_bitmap_take_word_atomic(struct vf_bitmap *map, uint64_t word);

#endif
