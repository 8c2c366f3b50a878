/* SPDX-License-Identifier: MIT */
/* accel_memory.c - see accel_memory.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel_memory.h"
#include "accel_pattern.h"
#include "base/checked.h"

#define GENERATION_STEP 0xd6e8feb86659fd93ull	/* odd, so that generations never share a seed */

static void *map_zeroes(uint64_t bytes)
{
	void *p = mmap(NULL, (size_t) bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int accel_memory_init(struct accel_memory *m, uint64_t bytes, uint64_t seed, uint64_t overlay_limit)
{
	*m = (struct accel_memory) { .bytes = bytes, .seed = seed, .overlay_limit = overlay_limit };
	if (!bytes || bytes % ACCEL_PAGE_BYTES || bytes > ACCEL_MEMORY_MAX)
		return -EINVAL;
	m->blocks = vf_div_up(bytes, ACCEL_BLOCK_BYTES);
	m->generation = map_zeroes(m->blocks * sizeof(*m->generation));
	m->overlay = map_zeroes(m->blocks * sizeof(struct accel_overlay *));
	if (m->generation && m->overlay)
		return 0;
	accel_memory_done(m);
	return -ENOMEM;
}

static void free_page(struct accel_memory *m, uint64_t block, unsigned int page)
{
	struct accel_overlay *o = m->overlay[block];

	if (!o || !o->page[page])
		return;
	free(o->page[page]);
	o->page[page] = NULL;
	m->overlay_pages--;
}

static void free_block(struct accel_memory *m, uint64_t block)
{
	if (!m->overlay[block])
		return;
	for (unsigned int i = 0; i < ACCEL_BLOCK_PAGES; i++)
		free_page(m, block, i);
	free(m->overlay[block]);
	m->overlay[block] = NULL;
	m->overlay_blocks--;
}

static void free_overlay(struct accel_memory *m)
{
	/* Without written pages the table need not be walked, which would make it resident. */
	for (uint64_t b = 0; b < m->blocks && m->overlay_blocks; b++)
		free_block(m, b);
}

void accel_memory_done(struct accel_memory *m)
{
	if (m->overlay) {
		free_overlay(m);
		(void) munmap(m->overlay, (size_t) (m->blocks * sizeof(struct accel_overlay *)));
	}
	if (m->generation)
		(void) munmap(m->generation, (size_t) (m->blocks * sizeof(*m->generation)));
	*m = (struct accel_memory) { 0 };
}

void accel_memory_reset(struct accel_memory *m, uint64_t seed)
{
	free_overlay(m);
	m->seed = seed;
	/* Private anonymous memory comes back as zeroes. */
	(void) madvise(m->generation, (size_t) (m->blocks * sizeof(*m->generation)), MADV_DONTNEED);
}

uint64_t accel_memory_seed(const struct accel_memory *m, uint32_t generation)
{
	return m->seed + generation * GENERATION_STEP;
}

/* Calls for each part of a range that lies in one page. */
struct part {
	uint64_t block;
	unsigned int page;
	uint32_t at;		/* offset in the page */
	size_t len;
};

static struct part first_part(uint64_t at, size_t len)
{
	uint32_t in_page = (uint32_t) (at % ACCEL_PAGE_BYTES);

	return (struct part) {
		.block = at / ACCEL_BLOCK_BYTES,
		.page = (unsigned int) (at % ACCEL_BLOCK_BYTES / ACCEL_PAGE_BYTES),
		.at = in_page,
		.len = (size_t) vf_min_u64(len, ACCEL_PAGE_BYTES - in_page),
	};
}

void accel_memory_read(const struct accel_memory *m, uint64_t at, void *to, size_t len)
{
	uint8_t *p = to;

	assert(vf_range_in(at, len, m->bytes));
	while (len) {
		struct part part = first_part(at, len);
		const struct accel_overlay *o = m->overlay[part.block];

		if (!o) {	/* the common case, for the rest of the block at once */
			uint64_t left = ACCEL_BLOCK_BYTES - at % ACCEL_BLOCK_BYTES;

			part.len = (size_t) vf_min_u64(len, left);
		}
		if (o && o->page[part.page])
			memcpy(p, o->page[part.page] + part.at, part.len);
		else
			accel_pattern_fill(p, part.len,
					   accel_memory_seed(m, m->generation[part.block]), at);
		p += part.len;
		at += part.len;
		len -= part.len;
	}
}

/* The overlay page, made and filled with the pattern if it was not there. */
static int own_page(struct accel_memory *m, uint64_t block, unsigned int page, uint8_t **ret)
{
	struct accel_overlay *o = m->overlay[block];

	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		m->overlay[block] = o;
		m->overlay_blocks++;
	}
	if (!o->page[page]) {
		if (m->overlay_pages >= m->overlay_limit)
			return -ENOSPC;
		o->page[page] = malloc(ACCEL_PAGE_BYTES);
		if (!o->page[page])
			return -ENOMEM;
		accel_pattern_fill(o->page[page], ACCEL_PAGE_BYTES,
				   accel_memory_seed(m, m->generation[block]),
				   block * ACCEL_BLOCK_BYTES + page * ACCEL_PAGE_BYTES);
		m->overlay_pages++;
	}
	*ret = o->page[page];
	return 0;
}

int accel_memory_write(struct accel_memory *m, uint64_t at, const void *from, size_t len)
{
	const uint8_t *p = from;

	assert(vf_range_in(at, len, m->bytes));
	while (len) {
		struct part part = first_part(at, len);
		uint8_t *page;
		int ret = own_page(m, part.block, part.page, &page);

		if (ret)
			return ret;
		memcpy(page + part.at, p, part.len);
		p += part.len;
		at += part.len;
		len -= part.len;
	}
	return 0;
}

void accel_memory_put_pattern(struct accel_memory *m, uint64_t block, uint32_t generation)
{
	if (m->overlay_blocks)
		free_block(m, block);
	if (m->generation[block] != generation)		/* else its page stays untouched */
		m->generation[block] = generation;
}

int accel_memory_put_block(struct accel_memory *m, uint64_t block, uint32_t generation,
			   const void *data)
{
	size_t size = accel_memory_block_bytes(m, block);
	uint64_t start = block * ACCEL_BLOCK_BYTES;

	m->generation[block] = generation;
	for (unsigned int i = 0; i * ACCEL_PAGE_BYTES < size; i++) {
		const uint8_t *from = (const uint8_t *) data + i * ACCEL_PAGE_BYTES;
		uint64_t at = start + i * ACCEL_PAGE_BYTES;
		int ret;

		if (accel_pattern_equal(from, ACCEL_PAGE_BYTES, accel_memory_seed(m, generation), at)) {
			free_page(m, block, i);
			continue;
		}
		ret = accel_memory_write(m, at, from, ACCEL_PAGE_BYTES);
		if (ret)
			return ret;
	}
	return 0;
}
