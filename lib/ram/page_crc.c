/* SPDX-License-Identifier: MIT */
/*
 * page_crc.c - see page_crc.h.
 *
 * In the reflected form used here bit 31 of a word is x^0. For messages A, B and n = bits of B:
 * crc(A B) = crc(A) * x^n + crc(B), where both pre- and post-inversion cancel out; and with B = n zero
 * bits, crc(A 0^n) = (crc(A) + ~0) * x^n + ~0.
 */
#include "base/checked.h"
#include "base/crc32c.h"
#include "ram/page_crc.h"

#define POLY_REFLECTED 0x82f63b78u
#define X0 0x80000000u	/* x^0 */

/* a * b modulo the polynomial. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = X0; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? POLY_REFLECTED : 0);
	}
	return product;
}

/* x^(8 * bytes) modulo the polynomial. */
static uint32_t power(uint64_t bytes)
{
	uint32_t square = X0 >> 8;	/* x^8 */
	uint32_t result = X0;

	for (; bytes; bytes >>= 1) {
		if (bytes & 1)
			result = multiply(result, square);
		square = multiply(square, square);
	}
	return result;
}

uint32_t vf_crc32c_append_zeros(uint32_t crc, uint64_t bytes)
{
	return ~multiply(~crc, power(bytes));
}

#define X_PAGE 0x35d73a62u	/* power(4096), tested */

uint32_t vf_crc32c_append_page(uint32_t crc, uint32_t page_crc)
{
	return multiply(crc, X_PAGE) ^ page_crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"), no_sanitize("thread")))
static void three_pages(const uint8_t *const pages[3], uint32_t crcs[3])
{
	const uint64_t *a = (const void *) pages[0];
	const uint64_t *b = (const void *) pages[1];
	const uint64_t *c = (const void *) pages[2];
	uint64_t x = UINT32_MAX, y = UINT32_MAX, z = UINT32_MAX;

	for (size_t i = 0; i < VF_PAGE_BYTES / 8; i++) {
		x = __builtin_ia32_crc32di(x, a[i]);
		y = __builtin_ia32_crc32di(y, b[i]);
		z = __builtin_ia32_crc32di(z, c[i]);
	}
	crcs[0] = ~(uint32_t) x;
	crcs[1] = ~(uint32_t) y;
	crcs[2] = ~(uint32_t) z;
}

static int three_usable(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

__attribute__((target("+crc"), no_sanitize("thread")))
static void three_pages(const uint8_t *const pages[3], uint32_t crcs[3])
{
	const uint64_t *a = (const void *) pages[0];
	const uint64_t *b = (const void *) pages[1];
	const uint64_t *c = (const void *) pages[2];
	uint32_t x = UINT32_MAX, y = UINT32_MAX, z = UINT32_MAX;

	for (size_t i = 0; i < VF_PAGE_BYTES / 8; i++) {
		x = __builtin_aarch64_crc32cx(x, a[i]);
		y = __builtin_aarch64_crc32cx(y, b[i]);
		z = __builtin_aarch64_crc32cx(z, c[i]);
	}
	crcs[0] = ~x;
	crcs[1] = ~y;
	crcs[2] = ~z;
}

static int three_usable(void)
{
	return (getauxval(AT_HWCAP) & (1ul << 7)) != 0;	/* HWCAP_CRC32 */
}
#else
static int three_usable(void)
{
	return 0;
}

static void three_pages(const uint8_t *const pages[3], uint32_t crcs[3])
{
	(void) pages;
	crcs[0] = crcs[1] = crcs[2] = 0;
}
#endif

void vf_page_crcs(const void *pages, size_t count, uint32_t *crcs)
{
	const uint8_t *p = pages;

	for (size_t i = 0; i < count; i += 3) {
		size_t n = count - i < 3 ? count - i : 3;
		const uint8_t *at[3];
		uint32_t three[3];

		/* One or two at the end: the third chain runs over one of them again, for nothing. */
		for (size_t j = 0; j < 3; j++)
			at[j] = p + (i + (j < n ? j : 0)) * VF_PAGE_BYTES;
		if (three_usable())
			three_pages(at, three);
		for (size_t j = 0; j < n; j++)
			crcs[i + j] = three_usable() ? three[j] : vf_crc32c(0, at[j], VF_PAGE_BYTES);
	}
}
