/* SPDX-License-Identifier: MIT */
/*
 * chunk.h - looking at 256 pages of guest memory, for what sends and what saves them.
 *
 * The order is what keeps writes from getting lost: the bits of a chunk are taken from the dirty map
 * first, and the pages looked at after that.
 */
#ifndef VF_TRANSFER_CHUNK_H
#define VF_TRANSFER_CHUNK_H

#include <stdint.h>

#include "ram/ram.h"
#include "wire/pages.h"

#define VF_CHUNK_WORDS (VF_CHUNK_PAGES / 64)
#define VF_CHUNK_BYTES (VF_CHUNK_PAGES * VF_PAGE_BYTES)

/* Some pages of the chunk that begins at page `first` of its block. */
struct vf_chunk {
	uint64_t first;
	uint64_t bits[VF_CHUNK_WORDS];
};

static inline uint64_t vf_chunk_first(uint64_t page)
{
	return page / VF_CHUNK_PAGES * VF_CHUNK_PAGES;
}

/* Adds those pages of [from, to) that lie in the chunk. */
void vf_chunk_add_range(struct vf_chunk *chunk, uint64_t from, uint64_t to);
/* Takes the dirty bits of the pages of @wanted; others stay dirty. @ret_taken: which were. */
void vf_chunk_take(struct vferry_ram *ram, size_t block, const struct vf_chunk *wanted,
		   struct vf_chunk *ret_taken);
/*
 * Takes the dirty bits of [page, end), which was found to be a hole, of those pages that belong to
 * channel @index of @channels. Looked at again after that: what became data meanwhile is dirty again.
 * Return: how many bits were set.
 */
uint64_t vf_chunk_take_hole(struct vferry_ram *ram, size_t block, uint64_t page, uint64_t end,
			    unsigned index, unsigned channels);
/*
 * Looks at the pages of @chunk: makes runs of equal kind of them in @ret, and sets its first and
 * data_pages. Return: data_pages.
 */
uint32_t vf_chunk_look(const struct vf_chunk *chunk, const struct vferry_ram_block *block,
		       vf_zero_test is_zero, struct vf_pages *ret);

#endif
