/* SPDX-License-Identifier: MIT */
/* chunk.c - see chunk.h. */
#include "transfer/chunk.h"

void vf_chunk_add_range(struct vf_chunk *chunk, uint64_t from, uint64_t to)
{
	for (unsigned w = 0; w < VF_CHUNK_WORDS; w++) {
		uint64_t base = chunk->first + w * 64;
		uint64_t start = vf_max_u64(base, from);
		uint64_t end = vf_min_u64(base + 64, to);

		if (start < end)
			chunk->bits[w] |= ~0ull >> (64 - (end - start)) << (start - base);
	}
}

void vf_chunk_take(struct vferry_ram *ram, size_t block, const struct vf_chunk *wanted,
		   struct vf_chunk *ret_taken)
{
	uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(ram, block));

	*ret_taken = (struct vf_chunk) { .first = wanted->first };
	for (unsigned w = 0; w < VF_CHUNK_WORDS; w++) {
		uint64_t word = wanted->first / 64 + w;
		uint64_t bits;

		if (!wanted->bits[w] || word * 64 >= pages)
			continue;
		bits = vf_ram_take_dirty(ram, block, word);
		if (bits & ~wanted->bits[w])
			vf_ram_restore_dirty(ram, block, word, bits & ~wanted->bits[w]);
		ret_taken->bits[w] = bits & wanted->bits[w];
	}
}

/* Of one unit, or a part of it. */
static uint64_t take_range(struct vferry_ram *ram, size_t block, uint64_t page, uint64_t end)
{
	uint64_t count = 0;

	while ((page = vf_ram_next_dirty(ram, block, page, end)) < end) {
		struct vf_chunk wanted = { .first = vf_chunk_first(page) };
		struct vf_chunk taken;

		vf_chunk_add_range(&wanted, page, end);
		vf_chunk_take(ram, block, &wanted, &taken);
		for (unsigned w = 0; w < VF_CHUNK_WORDS; w++)
			count += (uint64_t) __builtin_popcountll(taken.bits[w]);
		page = wanted.first + VF_CHUNK_PAGES;
	}
	return count;
}

uint64_t vf_chunk_take_hole(struct vferry_ram *ram, size_t block, uint64_t page, uint64_t end,
			    unsigned index, unsigned channels)
{
	uint64_t count = 0;
	uint64_t at = page;

	while ((at = vf_pages_owned_from(at, index, channels)) < end) {
		uint64_t unit_end = (at / VF_UNIT_PAGES + 1) * VF_UNIT_PAGES;

		count += take_range(ram, block, at, vf_min_u64(unit_end, end));
		at = unit_end;
	}
	while (page < end) {
		uint64_t data_end = end;
		uint64_t data = vf_ram_next_data(ram, block, page, end, &data_end);

		if (data == end)
			break;
		vf_ram_mark_pages(ram, block, data, data_end - data);
		page = data_end;
	}
	return count;
}

uint32_t vf_chunk_look(const struct vf_chunk *chunk, const struct vferry_ram_block *block,
		       vf_zero_test is_zero, struct vf_pages *ret)
{
	struct vf_pages_run *run = NULL;

	ret->first = chunk->first;
	ret->run_count = 0;
	ret->data_pages = 0;
	for (unsigned w = 0; w < VF_CHUNK_WORDS; w++) {
		for (uint64_t left = chunk->bits[w]; left; left &= left - 1) {
			uint64_t page = chunk->first + w * 64 + (unsigned) __builtin_ctzll(left);
			bool zero = is_zero(vf_ram_page(block, page));
			enum vf_pages_kind kind = zero ? VF_PAGES_ZERO : VF_PAGES_DATA;

			ret->data_pages += !zero;
			if (run && run->kind == kind && run->page + run->count == page) {
				run->count++;
				continue;
			}
			run = &ret->runs[ret->run_count++];
			*run = (struct vf_pages_run) { .page = page, .count = 1, .kind = kind };
		}
	}
	return ret->data_pages;
}
