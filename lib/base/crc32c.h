/* SPDX-License-Identifier: MIT */
/* crc32c.h - CRC32C (Castagnoli, RFC 3720 B.4), by the processor's instructions where it has any. */
#ifndef VF_BASE_CRC32C_H
#define VF_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#define VF_CRC32C_POLYNOMIAL 0x82f63b78u	/* bit 31 for x^0; x^32 is not written */

/* Start with @crc = 0; feed the result back in to go on. */
uint32_t vf_crc32c(uint32_t crc, const void *data, size_t size);
/* vf_crc32c(0, page, 4096) of each of @count pages, one behind the other. A guest may write meanwhile. */
void vf_crc32c_pages(const void *pages, size_t count, uint32_t *crcs);

/*
 * The sum of A followed by B, from the sums of both (each begun with 0) and the length of B:
 * crc(A) * x^(8 * bytes) + crc(B), where both inversions cancel out. Takes about a microsecond.
 */
uint32_t vf_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);
/* The same where B is a page of 4 KiB; and where it is zeros, which nobody has to read. */
uint32_t vf_crc32c_append_page(uint32_t crc, uint32_t page_crc);
uint32_t vf_crc32c_append_zeros(uint32_t crc, uint64_t bytes);
/* What combine is made of; polynomials with bit 31 for x^0. a * b, and x^(8 * bytes), modulo CRC32C's. */
uint32_t vf_crc32c_multiply(uint32_t a, uint32_t b);
uint32_t vf_crc32c_power(uint64_t bytes);

#endif
