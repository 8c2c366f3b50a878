/* SPDX-License-Identifier: MIT */
/*
 * page_crc.c - see page_crc.h.
 *
 * As in vf_crc32c_combine(); and with n zero bytes behind A, crc(A 0^n) = (crc(A) + ~0) * x^8n + ~0.
 */
#include "base/checked.h"
#include "base/crc32c.h"
#include "ram/page_crc.h"

uint32_t vf_crc32c_append_zeros(uint32_t crc, uint64_t bytes)
{
	return ~vf_crc32c_multiply(~crc, vf_crc32c_power(bytes));
}

#define X_PAGE 0x35d73a62u	/* vf_crc32c_power(4096), tested */

uint32_t vf_crc32c_append_page(uint32_t crc, uint32_t page_crc)
{
	return vf_crc32c_multiply(crc, X_PAGE) ^ page_crc;
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
