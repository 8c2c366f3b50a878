/* SPDX-License-Identifier: MIT */
/* crc32c.h - CRC32C (Castagnoli, RFC 3720 B.4), by the processor's instruction where it has one. */
#ifndef VF_BASE_CRC32C_H
#define VF_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Start with @crc = 0; feed the result back in to go on. */
uint32_t vf_crc32c(uint32_t crc, const void *data, size_t size);

#endif
