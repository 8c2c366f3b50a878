/* SPDX-License-Identifier: MIT */
/*
 * accel_memory.h - the accel device's internal memory, of any size in little memory.
 *
 * Model: memory is cut into blocks of 64 KiB. Each has a generation, and what was never written in
 * it is the pattern of its generation; written pages of 4 KiB lie in an overlay, at most
 * `overlay_limit` of them. Moving a block to its next generation is how memory "changes by itself".
 *
 * Invariant: a byte is its overlay page's if there is one, else the pattern's.
 * Threads: none of its own; the device's lock covers it.
 */
#ifndef VF_DEVICES_ACCEL_MEMORY_H
#define VF_DEVICES_ACCEL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCEL_BLOCK_BYTES 65536u
#define ACCEL_PAGE_BYTES 4096u
#define ACCEL_BLOCK_PAGES (ACCEL_BLOCK_BYTES / ACCEL_PAGE_BYTES)
#define ACCEL_MEMORY_MAX (1ull << 42)

struct accel_overlay {
	uint8_t *page[ACCEL_BLOCK_PAGES];	/* owned; NULL = never written */
};

struct accel_memory {
	uint64_t bytes;				/* multiple of a page, at most ACCEL_MEMORY_MAX */
	uint64_t seed;
	uint64_t blocks;			/* the last one may be short */
	uint32_t *generation;			/* per block; mmap()ed, so untouched ones are free */
	struct accel_overlay **overlay;		/* per block, NULL = nothing written; as above */
	uint64_t overlay_blocks;		/* entries in use of the table above */
	uint64_t overlay_pages;
	uint64_t overlay_limit;
};

int accel_memory_init(struct accel_memory *m, uint64_t bytes, uint64_t seed, uint64_t overlay_limit);
void accel_memory_done(struct accel_memory *m);
/* Back to generation 0 and nothing written, with the pattern of @seed. */
void accel_memory_reset(struct accel_memory *m, uint64_t seed);

static inline size_t accel_memory_block_bytes(const struct accel_memory *m, uint64_t block)
{
	uint64_t left = m->bytes - block * ACCEL_BLOCK_BYTES;

	return (size_t) (left < ACCEL_BLOCK_BYTES ? left : ACCEL_BLOCK_BYTES);
}

/* The pattern's seed for a block of @generation. */
uint64_t accel_memory_seed(const struct accel_memory *m, uint32_t generation);

/* The range must lie inside. */
void accel_memory_read(const struct accel_memory *m, uint64_t at, void *to, size_t len);
/* -ENOSPC (overlay full) or -ENOMEM: nothing of the page concerned and behind it is written. */
int accel_memory_write(struct accel_memory *m, uint64_t at, const void *from, size_t len);
/* Takes a whole block as it came from another device: pages equal to the pattern cost nothing. */
int accel_memory_put_block(struct accel_memory *m, uint64_t block, uint32_t generation,
			   const void *data);
/* The same for a block that is all pattern. */
void accel_memory_put_pattern(struct accel_memory *m, uint64_t block, uint32_t generation);

#endif
