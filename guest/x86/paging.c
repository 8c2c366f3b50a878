/* SPDX-License-Identifier: MIT */
/*
 * paging.c - page tables for RAM above 4 GiB and for the window of 64-bit BARs; what lies below is
 * mapped in entry.S. Entries are only added, so nothing need be flushed. Ring 3 does it itself.
 */
#include "cpu.h"

#define GIB		(1ull << 30)
#define PAGE_BYTES	4096ull
#define LARGE_BYTES	0x200000ull
#define LEVEL3_BYTES	(512 * GIB)	/* that a table of that level spans; there are two */
#define ENTRY_TABLE	0x07ull		/* present, writable, ring 3 */
#define ENTRY_PAGE	0x87ull
#define TABLES_MAX	256u		/* from GUEST_TABLES_OFFSET on */
#define CPUID_EXTENDED	0x80000000u
#define CPUID_GIB_PAGES	(1u << 26)	/* leaf 0x80000001, edx */

/* entry.S */
extern uint64_t level3_low[512], level3_high[512];

static bool gib_pages;
static unsigned tables;

static uint64_t ask_gib_pages(void *unused)
{
	(void) unused;
	return read_cpuid(CPUID_EXTENDED).a > CPUID_EXTENDED &&
	       (read_cpuid(CPUID_EXTENDED + 1).d & CPUID_GIB_PAGES);
}

/* Return: false, there is no table left. */
static bool map_gib(uint64_t gpa)
{
	uint64_t *entry = gpa < LEVEL3_BYTES ? &level3_low[gpa / GIB] :
					       &level3_high[(gpa - LEVEL3_BYTES) / GIB];
	uint64_t *table;

	if (*entry)
		return true;
	if (gib_pages) {
		*entry = gpa | ENTRY_PAGE;
		return true;
	}
	if (tables == TABLES_MAX)
		return false;
	table = (uint64_t *) (GUEST_TABLES_OFFSET + tables++ * PAGE_BYTES);
	for (uint64_t i = 0; i < 512; i++)
		table[i] = (gpa + i * LARGE_BYTES) | ENTRY_PAGE;
	*entry = (uint64_t) table | ENTRY_TABLE;
	return true;
}

/* Return: bytes of @range that are mapped, from its beginning. */
static uint64_t map(const struct guest_range *range)
{
	uint64_t end = range->gpa + range->bytes;

	if (end < range->gpa || range->gpa >= 2 * LEVEL3_BYTES)
		return 0;
	if (end > 2 * LEVEL3_BYTES)
		end = 2 * LEVEL3_BYTES;
	for (uint64_t at = range->gpa / GIB * GIB; at < end; at += GIB)
		if (!map_gib(at))
			return at > range->gpa ? at - range->gpa : 0;
	return end - range->gpa;
}

void paging_boot(void)
{
	gib_pages = kernel(ask_gib_pages, NULL) != 0;
	for (unsigned i = 0; i < 2; i++)
		platform.ram[i].bytes = map(&platform.ram[i]);
	platform.window64.bytes = map(&platform.window64);
}
