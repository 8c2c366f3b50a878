/* SPDX-License-Identifier: MIT */
/* file_layout.c - places in a save file, and its header; the format is in file_layout.h. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "transfer/file_layout.h"

#define CRC_AT (VF_FILE_HEADER_BYTES - 4)
#define BLOCKS_AT 48u
#define PAGES_ALIGN (2 * VF_MIB)
/* Sizes below this never overflow in the sums here; it is also what off_t can express. */
#define MOST_PAGES (1ull << 48)

static const uint8_t mark[8] = { 'V', 'F', 'E', 'R', 'R', 'Y', '\r', '\n' };

static uint64_t align(uint64_t at, uint64_t to)
{
	return vf_div_up(at, to) * to;
}

int vf_file_layout_compute(struct vf_file_layout *layout)
{
	uint64_t at = VF_FILE_HEADER_BYTES;

	for (size_t i = 0; i < layout->block_count; i++) {
		struct vf_file_block *b = &layout->blocks[i];

		if (b->pages > MOST_PAGES / VF_FILE_MAX_BLOCKS)
			return -EFBIG;
		b->bitmap_at = at;
		at += align(vf_div_up(b->pages, 8), VF_PAGE_BYTES);
	}
	layout->bitmaps_bytes = at - VF_FILE_HEADER_BYTES;
	for (size_t i = 0; i < layout->block_count; i++) {
		layout->blocks[i].crcs_at = at;
		at += align(layout->blocks[i].pages * 4, VF_PAGE_BYTES);
	}
	at = align(at, PAGES_ALIGN);
	for (size_t i = 0; i < layout->block_count; i++) {
		layout->blocks[i].pages_at = at;
		at += layout->blocks[i].pages * VF_PAGE_BYTES;
	}
	layout->frames_at = at;
	return 0;
}

void vf_file_header_encode(const struct vf_file_layout *layout, uint8_t to[VF_FILE_HEADER_BYTES])
{
	memset(to, 0, VF_FILE_HEADER_BYTES);
	memcpy(to, mark, sizeof(mark));
	vf_put_u32(to + 8, VF_FILE_VERSION);
	vf_put_u32(to + 12, VF_FILE_COMPLETE);
	vf_put_u64(to + 16, layout->frames_at);
	vf_put_u64(to + 24, layout->frames_bytes);
	vf_put_u64(to + 32, layout->frame_count);
	vf_put_u32(to + 40, layout->bitmap_crc);
	vf_put_u32(to + 44, (uint32_t) layout->block_count);
	for (size_t i = 0; i < layout->block_count; i++)
		vf_put_u64(to + BLOCKS_AT + 8 * i, layout->blocks[i].pages);
	vf_put_u32(to + CRC_AT, vf_crc32c(0, to, CRC_AT));
}

static int bad(struct vferry_error *err, const char *name, const char *what)
{
	return vferry_error_set(err, -EBADMSG, "file-header", name, "header at offset 0: %s", what);
}

int vf_file_header_decode(const uint8_t from[VF_FILE_HEADER_BYTES], uint64_t file_bytes,
			  struct vf_file_layout *ret, const char *name, struct vferry_error *err)
{
	static const uint8_t zeros[VF_FILE_HEADER_BYTES];
	uint64_t frames_at;

	if (!memcmp(from, zeros, sizeof(zeros)))
		return bad(err, name, "the file is incomplete: writing it did not come to its end");
	if (memcmp(from, mark, sizeof(mark)))
		return bad(err, name, "this is not a saved machine");
	if (vf_get_u32(from + CRC_AT) != vf_crc32c(0, from, CRC_AT))
		return bad(err, name, "its checksum is wrong");
	if (vf_get_u32(from + 8) > VF_FILE_VERSION)
		return vferry_error_set(err, -EPROTONOSUPPORT, "file-version", name,
					"the file has version %u; this program reads up to %u",
					vf_get_u32(from + 8), VF_FILE_VERSION);
	if (vf_get_u32(from + 8) != VF_FILE_VERSION || vf_get_u32(from + 12) != VF_FILE_COMPLETE)
		return bad(err, name, "bad version or flags");
	*ret = (struct vf_file_layout) {
		.frames_bytes = vf_get_u64(from + 24),
		.frame_count = vf_get_u64(from + 32),
		.bitmap_crc = vf_get_u32(from + 40),
		.block_count = vf_get_u32(from + 44),
	};
	if (ret->block_count > VF_FILE_MAX_BLOCKS)
		return bad(err, name, "too many RAM blocks");
	for (size_t i = 0; i < ret->block_count; i++) {
		ret->blocks[i].pages = vf_get_u64(from + BLOCKS_AT + 8 * i);
		if (!ret->blocks[i].pages)
			return bad(err, name, "an empty RAM block");
	}
	if (vf_file_layout_compute(ret))
		return bad(err, name, "a RAM block is too large");
	frames_at = vf_get_u64(from + 16);
	if (frames_at != ret->frames_at)
		return bad(err, name, "the place of the frames does not go with the RAM blocks");
	/* So the file's real length bounds whatever is allocated from here on. */
	if (!vf_range_in(frames_at, ret->frames_bytes, file_bytes))
		return bad(err, name, "the file is shorter than it says: it was cut off");
	return 0;
}
