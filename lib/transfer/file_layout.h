/* SPDX-License-Identifier: MIT */
/*
 * file_layout.h - the format of a saved machine, version 1.
 *
 *   header       4096 bytes, see below
 *   bitmaps      of each block in turn: bit n % 8 of byte n / 8 = page n has content (is not zero);
 *                each padded to 4096 bytes
 *   checksums    of each block in turn: CRC32C of each page (u32), valid where the page has content;
 *                each padded to 4096 bytes
 *   pages        from a multiple of 2 MiB on: all blocks in turn, page n of a block at 4096 * n
 *   frames       behind the last page: frames as on a channel (lib/wire/frame.h), without gaps,
 *                numbered from 0
 *
 * Every place follows from the sizes of the blocks, so that pages are written and read in any order,
 * by many threads, and mapped. Pages without content are holes of the file if it was new; in a file
 * that was written over, they hold anything. Their bits say that they are zero.
 *
 *   offset size  field of the header
 *        0    8  mark          "VFERRY\r\n"
 *        8    4  version       1; a reader refuses later ones
 *       12    4  flags         1 = complete; other bits 0
 *       16    8  frames_at     offset of the frames
 *       24    8  frames_bytes
 *       32    8  frame_count
 *       40    4  bitmap_crc    CRC32C of all bitmaps with their padding
 *       44    4  block_count   0..64
 *       48  8 *  pages of each block
 *          ...   0
 *     4092    4  crc           CRC32C of bytes 0..4091
 *
 * Mark, version and crc keep their places in every version.
 *
 * The header is zeroed before anything else is written, and written last, after a sync: a file with
 * a valid one is whole. Little-endian. No I/O here.
 */
#ifndef VF_TRANSFER_FILE_LAYOUT_H
#define VF_TRANSFER_FILE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#define VF_FILE_HEADER_BYTES 4096u
#define VF_FILE_VERSION 1u
#define VF_FILE_MAX_BLOCKS 64u
#define VF_FILE_COMPLETE 1u

struct vf_file_block {
	uint64_t pages;
	uint64_t bitmap_at;	/* offsets in the file */
	uint64_t crcs_at;
	uint64_t pages_at;
};

struct vf_file_layout {
	size_t block_count;
	struct vf_file_block blocks[VF_FILE_MAX_BLOCKS];
	uint64_t bitmaps_bytes;	/* of all, from VF_FILE_HEADER_BYTES on */
	uint64_t frames_at;
	uint64_t frames_bytes;
	uint64_t frame_count;
	uint32_t bitmap_crc;
};

/* Fills in all places; block_count and blocks[].pages are given. Return: 0; -EFBIG. */
int vf_file_layout_compute(struct vf_file_layout *layout);
void vf_file_header_encode(const struct vf_file_layout *layout, uint8_t to[VF_FILE_HEADER_BYTES]);
/* Return: 0; -EBADMSG; -EPROTONOSUPPORT; -EFBIG. @file_bytes: how long the file is. */
int vf_file_header_decode(const uint8_t from[VF_FILE_HEADER_BYTES], uint64_t file_bytes,
			  struct vf_file_layout *ret, const char *name, struct vferry_error *err);

#endif
