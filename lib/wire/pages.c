/* SPDX-License-Identifier: MIT */
/*
 * pages.c - encodes and decodes the table of a page frame; layout and rules are in pages.h.
 *
 * The decoder believes nothing: each field is checked against the frame's length and the sizes of
 * the blocks, so that whoever reads on with the result stays inside guest memory.
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "wire/pages.h"

#define CHUNK_RUN_BYTES 4u
#define RANGE_BYTES 16u

static uint32_t run_bytes(unsigned form)
{
	return form == VF_PAGES_CHUNK ? CHUNK_RUN_BYTES : RANGE_BYTES;
}

size_t vf_pages_table_bytes(const struct vf_pages *pages)
{
	return VF_PAGES_HEADER_BYTES + (size_t) pages->run_count * run_bytes(pages->form);
}

void vf_pages_encode(const struct vf_pages *pages, uint8_t *to)
{
	assert(pages->run_count >= 1 && pages->run_count <= VF_PAGES_MAX_RUNS);
	to[0] = (uint8_t) pages->form;
	to[1] = (uint8_t) pages->codec;
	vf_put_u16(to + 2, pages->block);
	vf_put_u16(to + 4, pages->run_count);
	vf_put_u16(to + 6, 0);
	vf_put_u64(to + 8, pages->first);
	vf_put_u32(to + 16, pages->stored);
	vf_put_u32(to + 20, pages->data_crc);
	to += VF_PAGES_HEADER_BYTES;
	for (unsigned i = 0; i < pages->run_count; i++) {
		const struct vf_pages_run *run = &pages->runs[i];

		if (pages->form == VF_PAGES_CHUNK) {
			assert(run->page >= pages->first && run->count >= 1 &&
			       run->page - pages->first + run->count <= VF_CHUNK_PAGES);
			to[0] = (uint8_t) (run->page - pages->first);
			to[1] = (uint8_t) (run->count - 1);
			to[2] = (uint8_t) run->kind;
			to[3] = 0;
		} else {
			vf_put_u64(to, run->page);
			vf_put_u64(to + 8, run->count);
		}
		to += run_bytes(pages->form);
	}
}

static int bad(struct vferry_error *err, const char *what, uint64_t value)
{
	return vferry_error_set(err, -EPROTO, "pages-table", "ram", "page frame: bad %s (%llu)", what,
				(unsigned long long) value);
}

int vf_pages_peek(const uint8_t header[VF_PAGES_HEADER_BYTES], uint32_t length,
		  struct vferry_error *err)
{
	unsigned runs = vf_get_u16(header + 4);
	uint32_t stored = vf_get_u32(header + 16);
	uint32_t table;

	if (header[0] != VF_PAGES_CHUNK && header[0] != VF_PAGES_ZERO_RANGES)
		return bad(err, "form", header[0]);
	if (!runs || runs > VF_PAGES_MAX_RUNS)
		return bad(err, "number of runs", runs);
	if (stored > VF_PAGES_MAX_STORED_BYTES)
		return bad(err, "stored size", stored);
	table = VF_PAGES_HEADER_BYTES + runs * run_bytes(header[0]);
	if (table + stored != length)
		return bad(err, "length", length);
	return (int) table;
}

static int decode_chunk_runs(const uint8_t *at, uint64_t block_pages, struct vf_pages *pages,
			     struct vferry_error *err)
{
	uint64_t room, next = 0;

	if (pages->first % VF_CHUNK_PAGES || pages->first >= block_pages)
		return bad(err, "first page", pages->first);
	room = vf_min_u64(VF_CHUNK_PAGES, block_pages - pages->first);
	for (unsigned i = 0; i < pages->run_count; i++, at += CHUNK_RUN_BYTES) {
		uint64_t count = (uint64_t) at[1] + 1;

		if (at[0] < next || at[0] + count > room)
			return bad(err, "run", i);
		if ((at[2] != VF_PAGES_DATA && at[2] != VF_PAGES_ZERO) || at[3])
			return bad(err, "kind of run", at[2]);
		next = at[0] + count;
		pages->runs[i] = (struct vf_pages_run) {
			.page = pages->first + at[0], .count = count, .kind = at[2],
		};
		if (at[2] == VF_PAGES_DATA)
			pages->data_pages += (uint32_t) count;
	}
	return 0;
}

static int decode_ranges(const uint8_t *at, uint64_t block_pages, struct vf_pages *pages,
			 struct vferry_error *err)
{
	uint64_t next = 0;

	if (pages->first)
		return bad(err, "first page", pages->first);
	for (unsigned i = 0; i < pages->run_count; i++, at += RANGE_BYTES) {
		uint64_t page = vf_get_u64(at);
		uint64_t count = vf_get_u64(at + 8);

		if (!count || page < next || !vf_range_in(page, count, block_pages))
			return bad(err, "range", i);
		next = page + count;
		pages->runs[i] = (struct vf_pages_run) {
			.page = page, .count = count, .kind = VF_PAGES_ZERO,
		};
	}
	return 0;
}

/* Do stored size, codec and checksum go with the pages of the runs? */
static int check_stored(const struct vf_pages *pages, struct vferry_error *err)
{
	uint32_t raw = pages->data_pages * (uint32_t) VF_PAGE_BYTES;

	if (pages->codec == VF_CODEC_NONE) {
		if (pages->stored != raw)
			return bad(err, "stored size", pages->stored);
		if (pages->data_crc)
			return bad(err, "checksum of uncompressed pages", pages->data_crc);
		return 0;
	}
	if (!pages->data_pages || !pages->stored || pages->stored >= raw)
		return bad(err, "compressed size", pages->stored);
	return 0;
}

int vf_pages_decode(const uint8_t *table, size_t table_bytes, uint32_t length,
		    const uint64_t *block_pages, size_t block_count, struct vf_pages *ret,
		    struct vferry_error *err)
{
	int status;

	if (table_bytes < VF_PAGES_HEADER_BYTES)
		return bad(err, "length", table_bytes);
	status = vf_pages_peek(table, length, err);
	if (status < 0)
		return status;
	if ((size_t) status != table_bytes)
		return bad(err, "length", table_bytes);
	ret->form = table[0];
	ret->codec = table[1];
	ret->block = vf_get_u16(table + 2);
	ret->run_count = vf_get_u16(table + 4);
	ret->first = vf_get_u64(table + 8);
	ret->stored = vf_get_u32(table + 16);
	ret->data_crc = vf_get_u32(table + 20);
	ret->data_pages = 0;
	if (vf_get_u16(table + 6))
		return bad(err, "reserved field", vf_get_u16(table + 6));
	if (table[1] > VF_CODEC_ZSTD || (table[1] && table[0] != VF_PAGES_CHUNK))
		return bad(err, "codec", table[1]);
	if (ret->block >= block_count)
		return bad(err, "block", ret->block);
	table += VF_PAGES_HEADER_BYTES;
	if (ret->form == VF_PAGES_CHUNK)
		status = decode_chunk_runs(table, block_pages[ret->block], ret, err);
	else
		status = decode_ranges(table, block_pages[ret->block], ret, err);
	return status ? status : check_stored(ret, err);
}

void vf_round_end_encode(uint32_t round, uint8_t to[VF_ROUND_END_BYTES])
{
	vf_put_u32(to, round);
	vf_put_u32(to + 4, 0);
}

int vf_round_end_decode(const uint8_t *body, size_t size, uint32_t *ret_round,
			struct vferry_error *err)
{
	if (size != VF_ROUND_END_BYTES || vf_get_u32(body + 4))
		return vferry_error_set(err, -EPROTO, "round-end", "ram",
					"round-end frame: bad body of %zu bytes", size);
	*ret_round = vf_get_u32(body);
	return 0;
}
