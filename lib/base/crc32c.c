/* SPDX-License-Identifier: MIT */
/*
 * crc32c.c - one bitwise reference, and the SSE4.2 / ARMv8 instruction forms chosen at run time.
 *
 * The instruction's result comes three cycles after its operands, but one can begin in each: so long
 * data is taken as three lanes at a time, whose sums are put together as in vf_crc32c_combine().
 */
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/crc32c.h"

#define CRC32C_POLY_REFLECTED 0x82f63b78u
#define X0 0x80000000u			/* x^0 */
#define LANE_BYTES 4096u
#define X_LANE 0x35d73a62u		/* vf_crc32c_power(LANE_BYTES), tested */

uint32_t vf_crc32c_multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = X0; bit; bit >>= 1) {
		product ^= a & bit ? b : 0;
		b = b >> 1 ^ (b & 1 ? CRC32C_POLY_REFLECTED : 0);
	}
	return product;
}

uint32_t vf_crc32c_power(uint64_t bytes)
{
	uint32_t square = X0 >> 8;	/* x^8 */
	uint32_t result = X0;

	for (; bytes; bytes >>= 1) {
		if (bytes & 1)
			result = vf_crc32c_multiply(result, square);
		square = vf_crc32c_multiply(square, square);
	}
	return result;
}

uint32_t vf_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
	return vf_crc32c_multiply(crc_a, vf_crc32c_power(bytes_b)) ^ crc_b;
}

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
#define CRC_TARGET "sse4.2"
#define crc_word __builtin_ia32_crc32di
#define crc_byte __builtin_ia32_crc32qi

static int native_usable(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#define CRC_TARGET "+crc"
#define crc_word __builtin_aarch64_crc32cx
#define crc_byte __builtin_aarch64_crc32cb

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

#ifdef CRC_TARGET
static inline uint64_t word_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

__attribute__((target(CRC_TARGET))) static uint32_t crc_lanes(uint32_t crc, const uint8_t *p)
{
	uint32_t a = crc, b = 0, c = 0;

	for (size_t i = 0; i < LANE_BYTES; i += 8) {
		a = (uint32_t) crc_word(a, word_at(p + i));
		b = (uint32_t) crc_word(b, word_at(p + i + LANE_BYTES));
		c = (uint32_t) crc_word(c, word_at(p + i + 2 * LANE_BYTES));
	}
	return vf_crc32c_multiply(vf_crc32c_multiply(a, X_LANE) ^ b, X_LANE) ^ c;
}

__attribute__((target(CRC_TARGET))) static uint32_t crc_native(uint32_t crc, const uint8_t *p,
							       size_t size)
{
	for (; size >= 3 * LANE_BYTES; size -= 3 * LANE_BYTES, p += 3 * LANE_BYTES)
		crc = crc_lanes(crc, p);
	for (; size >= 8; size -= 8, p += 8)
		crc = (uint32_t) crc_word(crc, word_at(p));
	for (; size; size--)
		crc = crc_byte(crc, *p++);
	return crc;
}
#endif

uint32_t vf_crc32c(uint32_t crc, const void *data, size_t size)
{
	crc = ~crc;
	crc = native_usable() ? crc_native(crc, data, size) : crc_generic(crc, data, size);
	return ~crc;
}
