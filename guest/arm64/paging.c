/* SPDX-License-Identifier: MIT */
/*
 * paging.c - page tables beyond those in entry.S: RAM, and the windows of BARs, by the GiB. Each is
 * where it is for the machine. Entries are only added, so nothing need be flushed.
 *
 * The window of 64-bit BARs is told to be memory. Registers there are devices' all the same, for
 * what the hypervisor says of them is stricter and counts; and BARs that are memory of the VMM are
 * seen through the same caches by everybody.
 */
#include "cpu.h"

#define GIB		(1ull << 30)
#define PAGE_BYTES	4096ull
#define LEVEL1_BYTES	(512 * GIB)	/* that a table of that level spans */
#define SPACE_BYTES	(512 * LEVEL1_BYTES)
#define TABLES_MAX	256u		/* from GUEST_TABLES_OFFSET on */
#define TABLE_ADDRESS	0xfffffffff000ull

/* entry.S */
extern uint64_t level0[512];

static unsigned tables;

/* The table for what is at @gpa; NULL, there is none left. */
static uint64_t *level1_of(uint64_t gpa)
{
	uint64_t *entry = &level0[gpa / LEVEL1_BYTES];
	uint64_t *table;

	if (*entry)
		return (uint64_t *) (*entry & TABLE_ADDRESS);
	if (tables == TABLES_MAX)
		return NULL;
	table = (uint64_t *) (arch_ram_gpa + GUEST_TABLES_OFFSET + tables++ * PAGE_BYTES);
	for (unsigned i = 0; i < 512; i++)
		table[i] = 0;
	__asm__ volatile("dsb ishst" : : : "memory");
	*entry = (uint64_t) table | ENTRY_TABLE;
	return table;
}

/* Return: bytes of @range that are mapped, from its beginning. */
static uint64_t map(const struct guest_range *range, uint64_t kind)
{
	uint64_t end = range->gpa + range->bytes;

	if (end < range->gpa || range->gpa >= SPACE_BYTES)
		return 0;
	if (end > SPACE_BYTES)
		end = SPACE_BYTES;
	for (uint64_t at = range->gpa / GIB * GIB; at < end; at += GIB) {
		uint64_t *table = level1_of(at);

		if (!table)
			return at > range->gpa ? at - range->gpa : 0;
		if (!table[at / GIB % 512])
			table[at / GIB % 512] = at | kind;
	}
	return end - range->gpa;
}

void paging_boot(void)
{
	for (unsigned i = 0; i < 2; i++)
		platform.ram[i].bytes = map(&platform.ram[i], ENTRY_NORMAL);
	platform.window32.bytes = map(&platform.window32, ENTRY_DEVICE);
	platform.window64.bytes = map(&platform.window64, ENTRY_NORMAL);
	__asm__ volatile("dsb ishst\n\tisb" : : : "memory");
}
