/* SPDX-License-Identifier: MIT */
/*
 * page_crc.h - CRC32C of many pages at once, and of zeros that nobody has to read.
 *
 * One CRC is a chain of dependent instructions; three chains side by side use the processor's
 * pipeline, three times as fast. Checksums of pieces are put together by multiplying with powers of
 * x in GF(2) (as zlib's crc32_combine() does for its polynomial).
 */
#ifndef VF_RAM_PAGE_CRC_H
#define VF_RAM_PAGE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* vf_crc32c(0, page, 4096) of each of @count pages. The guest may write meanwhile. */
void vf_page_crcs(const void *pages, size_t count, uint32_t *crcs);
/* The checksum of A followed by @bytes zeros, given that of A. */
uint32_t vf_crc32c_append_zeros(uint32_t crc, uint64_t bytes);
/* The checksum of A followed by one page, given both of theirs. */
uint32_t vf_crc32c_append_page(uint32_t crc, uint32_t page_crc);

#endif
