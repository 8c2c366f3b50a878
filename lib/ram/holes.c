/* SPDX-License-Identifier: MIT */
/*
 * holes.c - which pages were never touched.
 *
 * shmem keeps a tree of what it holds, swapped pages included, and SEEK_DATA / SEEK_HOLE walk it.
 * hugetlb answers these with "all data", so its holes come from our page tables (mincore(2), which
 * for hugetlb mappings tells of page table entries, not of a page cache). A page that only another
 * process mapped, a device's, is not in ours; so page tables are believed only if what they hold
 * adds up to what the memfd has allocated. That comparison is made once dirty tracking is on: what
 * others touch later is in their dirty logs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/trace.h"
#include "ram/ram_internal.h"

/*
 * Is the huge page that @page lies in in our page tables? Failure counts as yes. One 4 KiB page of it
 * is asked about: where a table entry is missing, mincore() takes its time over each.
 */
static bool is_resident(const struct vf_ram_block *block, uint64_t page)
{
	unsigned char there;

	return mincore(vf_ram_page(&block->pub, page), VF_PAGE_BYTES, &there) || there & 1;
}

/* First run of equal residency from @page on: returns its end, and in @ret_resident what it is. */
static uint64_t resident_run(const struct vf_ram_block *block, uint64_t page, uint64_t end,
			     bool *ret_resident)
{
	*ret_resident = is_resident(block, page);
	do {
		page = vf_min_u64((page / block->huge_pages + 1) * block->huge_pages, end);
	} while (page < end && is_resident(block, page) == *ret_resident);
	return page;
}

static bool page_tables_hold_all(const struct vf_ram_block *block)
{
	uint64_t end = vf_ram_block_pages(&block->pub);
	uint64_t resident_pages = 0;
	struct stat st;

	for (uint64_t page = 0; page < end; ) {
		bool resident;
		uint64_t next = resident_run(block, page, end, &resident);

		if (resident)
			resident_pages += next - page;
		page = next;
	}
	/* Allocated is asked last: a page that came in between makes it the larger one. */
	return !fstat(block->pub.fd, &st) &&
	       (uint64_t) st.st_blocks * 512 == resident_pages * VF_PAGE_BYTES;
}

void vf_ram_refresh_holes(struct vferry_ram *ram)
{
	for (size_t i = 0; i < ram->block_count; i++) {
		struct vf_ram_block *block = &ram->blocks[i];

		if (block->holes == VF_HOLES_RESIDENT)
			__atomic_store_n(&block->resident_believed, page_tables_hold_all(block),
					 __ATOMIC_RELEASE);
	}
}

static uint64_t next_resident(const struct vf_ram_block *block, uint64_t page, uint64_t end,
			      uint64_t *ret_end)
{
	while (page < end) {
		bool resident;
		uint64_t next = resident_run(block, page, end, &resident);

		if (resident) {
			*ret_end = next;
			return page;
		}
		page = next;
	}
	return end;
}

/* Page of the block that file offset @offset lies in; before the block: 0. */
static uint64_t page_at(const struct vf_ram_block *block, off_t offset, bool up)
{
	uint64_t bytes = (uint64_t) offset;

	if (bytes <= block->pub.fd_offset)
		return 0;
	bytes -= block->pub.fd_offset;
	return up ? vf_div_up(bytes, VF_PAGE_BYTES) : bytes / VF_PAGE_BYTES;
}

void vf_ram_set_trace(struct vferry_ram *ram, struct vf_trace *trace)
{
	__atomic_store_n(&ram->trace, trace, __ATOMIC_RELEASE);
}

void vf_ram_drop_trace(struct vferry_ram *ram, struct vf_trace *trace)
{
	(void) __atomic_compare_exchange_n(&ram->trace, &trace, NULL, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static off_t seek_data(const struct vferry_ram *ram, const struct vf_ram_block *block, off_t from)
{
	int ret = vf_trace(__atomic_load_n(&ram->trace, __ATOMIC_ACQUIRE), VF_TRACE_RAM_SEEK,
			   block->name, (uint64_t) from / VF_PAGE_BYTES, 0, 0);

	if (ret)
		errno = -ret;
	return ret ? -1 : lseek(block->pub.fd, from, SEEK_DATA);
}

static uint64_t next_seek(const struct vferry_ram *ram, const struct vf_ram_block *block, uint64_t page,
			  uint64_t end, uint64_t *ret_end)
{
	off_t from = (off_t) (block->pub.fd_offset + page * VF_PAGE_BYTES);
	off_t data = seek_data(ram, block, from);
	uint64_t first, last;
	off_t hole;

	if (data < 0 && errno == ENXIO)	/* nothing but holes up to the end of the file */
		return end;
	if (data < 0) {
		*ret_end = end;
		return page;
	}
	first = vf_max_u64(page_at(block, data, false), page);
	if (first >= end)
		return end;
	hole = lseek(block->pub.fd, data, SEEK_HOLE);
	last = hole < 0 ? end : page_at(block, hole, true);
	*ret_end = vf_max_u64(vf_min_u64(last, end), first + 1);
	return first;
}

uint64_t vf_ram_next_data(const struct vferry_ram *ram, size_t index, uint64_t page, uint64_t end,
			  uint64_t *ret_end)
{
	const struct vf_ram_block *block = &ram->blocks[index];

	if (page >= end)
		return end;
	switch (block->holes) {
	case VF_HOLES_SEEK:
		return next_seek(ram, block, page, end, ret_end);
	case VF_HOLES_RESIDENT:
		if (__atomic_load_n(&block->resident_believed, __ATOMIC_ACQUIRE))
			return next_resident(block, page, end, ret_end);
		break;
	case VF_HOLES_NONE:
		break;
	}
	*ret_end = end;
	return page;
}

int vf_ram_data_map(struct vferry_ram *ram, size_t block, struct vf_bitmap *ret_map)
{
	uint64_t pages = vf_ram_block_pages(&ram->blocks[block].pub);
	uint64_t page = 0;
	int ret = vf_bitmap_init(ret_map, pages);

	if (ret)
		return ret;
	while (page < pages) {
		uint64_t end = pages;
		uint64_t data = vf_ram_next_data(ram, block, page, pages, &end);

		if (data == pages)
			break;
		vf_bitmap_set_range(ret_map, data, end - data);
		page = end;
	}
	return 0;
}
