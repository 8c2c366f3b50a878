/* SPDX-License-Identifier: MIT */
/* fuzz_pages.c - whatever the page table decoder accepts stays inside the blocks, and re-encodes. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "wire/pages.h"

static void check(const struct vf_pages *pages, const uint64_t *block_pages, const uint8_t *data,
		  size_t size)
{
	uint8_t again[VF_PAGES_MAX_TABLE_BYTES];
	uint64_t next = 0, data_pages = 0;

	for (unsigned i = 0; i < pages->run_count; i++) {
		const struct vf_pages_run *run = &pages->runs[i];

		if (!run->count || run->page < next ||
		    !vf_range_in(run->page, run->count, block_pages[pages->block]))
			abort();
		next = run->page + run->count;
		if (run->kind == VF_PAGES_DATA)
			data_pages += run->count;
	}
	if (data_pages != pages->data_pages || data_pages > VF_CHUNK_PAGES ||
	    pages->stored > VF_PAGES_MAX_STORED_BYTES)
		abort();
	vf_pages_encode(pages, again);
	if (vf_pages_table_bytes(pages) != size || memcmp(again, data, size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t block_pages[] = { 1, 700, 1ull << 29 };
	struct vf_pages *pages;
	uint32_t round;

	(void) vf_round_end_decode(data, size, &round, NULL);
	if (size < VF_PAGES_HEADER_BYTES)
		return 0;
	pages = malloc(sizeof(*pages));
	if (!pages)
		return 0;
	if (!vf_pages_decode(data, size, (uint32_t) size + vf_get_u32(data + 16), block_pages,
			     VF_ARRAY_COUNT(block_pages), pages, NULL))
		check(pages, block_pages, data, size);
	free(pages);
	return 0;
}
