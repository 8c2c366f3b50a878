/* SPDX-License-Identifier: MIT */
/*
 * pages.h - the body of a page frame (VF_FRAME_PAGES).
 *
 *   offset size  field
 *        0    1  form     1 = chunk, 2 = zero ranges
 *        1    1  codec    enum vf_codec; of zero ranges 0
 *        2    2  block    index of the RAM block
 *        4    2  runs     how many follow, 1..256
 *        6    2  0
 *        8    8  first    chunk: its first page, a multiple of 256; zero ranges: 0
 *       16    4  stored   bytes of data behind the table
 *       20    4  data_crc CRC32C of these bytes if codec is not 0, else 0
 *       24    .. runs
 *
 * Chunk: up to 256 pages (1 MiB). A run is 4 bytes: page in the chunk (u8), count - 1 (u8), kind
 * (u8: 0 data, 1 zero), 0. Runs are in rising order and do not overlap. The pages of all data runs
 * follow one another behind the table; codec 0: as they are (stored = 4096 * pages, no checksum,
 * because the guest may write while they go); else they were compressed together, from a copy.
 *
 * Zero ranges: a run is 16 bytes: first page (u64), count (u64). Ranges rise and do not overlap. Of
 * a range, those pages are meant that belong to the channel the frame travels on: see
 * vf_pages_channel(). So an empty guest of any size is one range a channel.
 *
 * The frame's body_crc covers the table (header and runs).
 */
#ifndef VF_WIRE_PAGES_H
#define VF_WIRE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#define VF_CHUNK_PAGES 256u		/* of one frame: 1 MiB */
#define VF_UNIT_PAGES 512u		/* of one channel: 2 MiB, so that two never share a huge page */
#define VF_PAGES_HEADER_BYTES 24u
#define VF_PAGES_MAX_RUNS 256u
#define VF_PAGES_MAX_TABLE_BYTES (VF_PAGES_HEADER_BYTES + 16u * VF_PAGES_MAX_RUNS)
#define VF_PAGES_MAX_STORED_BYTES (1u << 20)

enum vf_pages_form { VF_PAGES_CHUNK = 1, VF_PAGES_ZERO_RANGES = 2 };
enum vf_pages_kind { VF_PAGES_DATA = 0, VF_PAGES_ZERO = 1 };
enum vf_codec { VF_CODEC_NONE = 0, VF_CODEC_LZ4 = 1, VF_CODEC_ZSTD = 2 };

struct vf_pages_run {
	uint64_t page;		/* of the block */
	uint64_t count;
	enum vf_pages_kind kind;
};

struct vf_pages {
	enum vf_pages_form form;
	enum vf_codec codec;
	uint16_t block;
	uint16_t run_count;
	uint64_t first;
	uint32_t stored;
	uint32_t data_crc;
	uint32_t data_pages;	/* of all data runs; not on the wire */
	struct vf_pages_run runs[VF_PAGES_MAX_RUNS];
};

/* The channel, of @channels, that page @page of any block always travels on. */
static inline unsigned vf_pages_channel(uint64_t page, unsigned channels)
{
	return (unsigned) (page / VF_UNIT_PAGES % channels);
}

/* How many pages before @page belong to channel @index of @channels. */
static inline uint64_t vf_pages_owned_before(uint64_t page, unsigned index, unsigned channels)
{
	uint64_t cycle = (uint64_t) VF_UNIT_PAGES * channels;
	uint64_t rest = page % cycle;
	uint64_t first = (uint64_t) index * VF_UNIT_PAGES;
	uint64_t part = rest > first ? rest - first : 0;

	return page / cycle * VF_UNIT_PAGES + (part < VF_UNIT_PAGES ? part : VF_UNIT_PAGES);
}

/* First page at or behind @page that belongs to channel @index; may lie behind the block. */
static inline uint64_t vf_pages_owned_from(uint64_t page, unsigned index, unsigned channels)
{
	uint64_t unit = page / VF_UNIT_PAGES;
	uint64_t ahead = (index + channels - unit % channels) % channels;

	return ahead ? (unit + ahead) * VF_UNIT_PAGES : page;
}

/* Bytes of the table of @pages. */
size_t vf_pages_table_bytes(const struct vf_pages *pages);
/* @to has room for vf_pages_table_bytes(). @pages was made by this side: it must be valid. */
void vf_pages_encode(const struct vf_pages *pages, uint8_t *to);
/*
 * How long is the table whose first 24 bytes are @header, in a body of @length bytes?
 * Return: bytes; -EPROTO.
 */
int vf_pages_peek(const uint8_t header[VF_PAGES_HEADER_BYTES], uint32_t length,
		  struct vferry_error *err);
/*
 * @table: exactly the bytes that vf_pages_peek() said. @block_pages: sizes of the blocks that the
 * pages must lie in. Return: 0; -EPROTO, with *@ret unspecified.
 */
int vf_pages_decode(const uint8_t *table, size_t table_bytes, uint32_t length,
		    const uint64_t *block_pages, size_t block_count, struct vf_pages *ret,
		    struct vferry_error *err);

/* ---- VF_FRAME_ROUND_END: u32 round (from 0), u32 0 ---- */

#define VF_ROUND_END_BYTES 8u

void vf_round_end_encode(uint32_t round, uint8_t to[VF_ROUND_END_BYTES]);
int vf_round_end_decode(const uint8_t *body, size_t size, uint32_t *ret_round,
			struct vferry_error *err);

#endif
