/* SPDX-License-Identifier: MIT */
/*
 * ram.h - the inside of struct vferry_ram, for what sends, receives and saves pages.
 *
 * Every block has one dirty map: a bit per 4 KiB page, mmap()ed, so that a sparse block of 2 TiB
 * costs no more than the words that were touched. While tracking is on, vferry_ram_mark_dirty() and
 * vf_ram_collect() set bits; a sender takes a word (reads and clears it) *before* it looks at the
 * pages of that word, so that a write that comes later is seen again. While tracking is off nothing
 * is recorded, and vferry_ram_mark_dirty() costs one load.
 *
 * Holes: a range that was never touched reads as zeros, costs no memory, and must not be read,
 * since reading a shared mapping would populate it. vf_ram_next_data() finds what may hold data:
 * shmem by SEEK_DATA; hugetlb by page tables, believed only where resident equals allocated size;
 * pinned memory has no holes. It errs only towards "data".
 *
 * Threads: everything here may be called from any thread, but blocks and sources are added before.
 * vf_ram_collect() calls exclude each other by a lock of their own.
 */
#ifndef VF_RAM_RAM_H
#define VF_RAM_RAM_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/ram.h>

#include "base/bitmap.h"
#include "base/checked.h"

#define VF_RAM_MAX_BLOCKS 64

struct vf_trace;

/* Whose points looks at holes pass; borrowed. Drop: unless it is another's by then. */
void vf_ram_set_trace(struct vferry_ram *ram, struct vf_trace *trace);
void vf_ram_drop_trace(struct vferry_ram *ram, struct vf_trace *trace);

/* ---- dirty tracking ---- */

/*
 * Clears the maps and starts every source. One that fails to start: those started are stopped
 * again, tracking is off, its error is returned. -EBUSY: on already.
 */
int vf_ram_tracking_start(struct vferry_ram *ram, struct vferry_error *err);
void vf_ram_tracking_stop(struct vferry_ram *ram);	/* idempotent */
bool vf_ram_tracking(const struct vferry_ram *ram);

struct vf_ram_collected {
	uint64_t dirty_pages;		/* set in all maps now */
	unsigned failed_sources;	/* each of them: everything is dirty */
	struct vferry_error error;	/* of the first that failed, to be shown */
};

/*
 * Asks every source about every block and adds what they say to the maps. A source that fails loses
 * nothing: all pages become dirty, and @ret says so. Return: 0; -EINVAL tracking is off.
 */
int vf_ram_collect(struct vferry_ram *ram, struct vf_ram_collected *ret);
uint64_t vf_ram_dirty_pages(const struct vferry_ram *ram);
/* All pages of all blocks: for a device whose writes nobody logs. */
void vf_ram_mark_all(struct vferry_ram *ram);

/* ---- pages of one block ---- */

static inline uint64_t vf_ram_block_pages(const struct vferry_ram_block *block)
{
	return block->bytes / VF_PAGE_BYTES;
}

static inline uint8_t *vf_ram_page(const struct vferry_ram_block *block, uint64_t page)
{
	return (uint8_t *) block->host + page * VF_PAGE_BYTES;
}

/* The 64 pages from page 64 * @word on: their bits, which are cleared. */
uint64_t vf_ram_take_dirty(struct vferry_ram *ram, size_t block, uint64_t word);
/* Puts back what was taken but not sent. */
void vf_ram_restore_dirty(struct vferry_ram *ram, size_t block, uint64_t word, uint64_t bits);
/* Pages [page, page + count) of the block are dirty. */
void vf_ram_mark_pages(struct vferry_ram *ram, size_t block, uint64_t page, uint64_t count);
/* First dirty page at or behind @page and before @end; @end if there is none. */
uint64_t vf_ram_next_dirty(const struct vferry_ram *ram, size_t block, uint64_t page, uint64_t end);

/*
 * First run of pages in [page, end) that may hold data. Return: its first page, and its end in
 * @ret_end; @end if the rest is a hole.
 */
uint64_t vf_ram_next_data(const struct vferry_ram *ram, size_t block, uint64_t page, uint64_t end,
			  uint64_t *ret_end);

/*
 * Compares page tables with what is allocated, for vf_ram_next_data() of hugetlb blocks. Tracking
 * start and digest do it; who else wants holes does so after what keeps track of writers is on.
 */
void vf_ram_refresh_holes(struct vferry_ram *ram);
/* Was the whole block marked, since tracking began, by something that could not tell? Then dirty
 * pages may be holes. */
bool vf_ram_all_marked(const struct vferry_ram *ram, size_t block);

/* A map of one block with the bits of all pages that may hold data now. Return: 0; -ENOMEM. */
int vf_ram_data_map(struct vferry_ram *ram, size_t block, struct vf_bitmap *ret_map);

/* ---- zero test ---- */

/*
 * Is the page all zeros? @page is page aligned. The guest may write meanwhile; the answer then is
 * that of some moment. The implementation is chosen once per ram by what the processor has.
 */
typedef bool (*vf_zero_test)(const void *page);
vf_zero_test vf_zero_test_best(void);
/* "avx512", "avx2", "sse2", "neon", "generic"; NULL: not on this processor. For tests and benches. */
vf_zero_test vf_zero_test_named(const char *name);

#endif
