/* SPDX-License-Identifier: MIT */
/* crc32c.c - one bitwise reference, and the SSE4.2 / ARMv8 instruction forms chosen at run time. */
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/crc32c.h"

#define CRC32C_POLY_REFLECTED 0x82f63b78u

static uint32_t crc_generic(uint32_t crc, const uint8_t *p, size_t size)
{
	for (; size; size--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLY_REFLECTED : 0);
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_native(uint32_t crc, const uint8_t *p,
							      size_t size)
{
	uint64_t wide = crc;

	for (; size >= 8; size -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		wide = __builtin_ia32_crc32di(wide, v);
	}
	crc = (uint32_t) wide;
	for (; size; size--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

static int native_usable(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t crc_native(uint32_t crc, const uint8_t *p,
							    size_t size)
{
	for (; size >= 8; size -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		crc = __builtin_aarch64_crc32cx(crc, v);
	}
	for (; size; size--)
		crc = __builtin_aarch64_crc32cb(crc, *p++);
	return crc;
}

static int native_usable(void)
{
	return (getauxval(AT_HWCAP) & (1ul << 7)) != 0;	/* HWCAP_CRC32 */
}
#else
#define crc_native crc_generic
static int native_usable(void)
{
	return 0;
}
#endif

uint32_t vf_crc32c(uint32_t crc, const void *data, size_t size)
{
	crc = ~crc;
	crc = native_usable() ? crc_native(crc, data, size) : crc_generic(crc, data, size);
	return ~crc;
}
