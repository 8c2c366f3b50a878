/* SPDX-License-Identifier: MIT */
/*
 * crc32c_forms.c - one bitwise reference, and the forms with instructions of SSE4.2, VPCLMULQDQ and
 * ARMv8; see crc32c_forms.h.
 *
 * Pages may be a guest's, which writes to them: the sum is then that of no moment, and the page dirty
 * again. ThreadSanitizer is told not to look.
 */
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/crc32c_forms.h"

#define RACES_BY_NATURE __attribute__((no_sanitize("thread")))
#define X_PAGE 0x35d73a62u		/* vf_crc32c_power(4096), tested */

RACES_BY_NATURE static inline __attribute__((always_inline)) uint64_t word_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static uint32_t multiply_and_append(uint32_t crc, uint32_t page_crc)
{
	return vf_crc32c_multiply(crc, X_PAGE) ^ page_crc;
}

/* ---- bit by bit ---- */

RACES_BY_NATURE static uint32_t update_bits(uint32_t crc, const uint8_t *p, size_t size)
{
	for (; size; size--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? VF_CRC32C_POLYNOMIAL : 0);
	}
	return crc;
}

static uint32_t sum_page_bits(const uint8_t *page)
{
	return ~update_bits(~0u, page, VF_PAGE_BYTES);
}

static void sum_one_bits(const uint8_t *page, uint32_t *crc)
{
	*crc = sum_page_bits(page);
}

static const struct vf_crc32c_form generic = {
	.name = "generic", .update = update_bits, .sum_pages = sum_one_bits,
	.sum_page = sum_page_bits, .append_page = multiply_and_append, .at_once = 1,
};

/* ---- by the processor's CRC instruction: its result comes three cycles after its operands ---- */

#if defined(__x86_64__)
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_NAME "sse4.2"
#define crc_word (uint32_t) __builtin_ia32_crc32di
#define crc_byte __builtin_ia32_crc32qi
#elif defined(__aarch64__)
#define CRC_TARGET __attribute__((target("+crc")))
#define CRC_NAME "armv8"
#define crc_word __builtin_aarch64_crc32cx
#define crc_byte __builtin_aarch64_crc32cb
#endif

#ifdef CRC_TARGET
CRC_TARGET static uint32_t update_words(uint32_t crc, const uint8_t *p, size_t size)
{
	for (; size >= 8; size -= 8, p += 8)
		crc = crc_word(crc, word_at(p));
	for (; size; size--)
		crc = crc_byte(crc, *p++);
	return crc;
}

CRC_TARGET RACES_BY_NATURE static uint32_t sum_page_words(const uint8_t *page)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < VF_PAGE_BYTES; i += 8)
		crc = crc_word(crc, word_at(page + i));
	return ~crc;
}

CRC_TARGET RACES_BY_NATURE static void sum_three_pages(const uint8_t *pages, uint32_t *crcs)
{
	const uint8_t *b = pages + VF_PAGE_BYTES, *c = b + VF_PAGE_BYTES;
	uint32_t x = ~0u, y = ~0u, z = ~0u;

	for (size_t i = 0; i < VF_PAGE_BYTES; i += 8) {
		x = crc_word(x, word_at(pages + i));
		y = crc_word(y, word_at(b + i));
		z = crc_word(z, word_at(c + i));
	}
	crcs[0] = ~x;
	crcs[1] = ~y;
	crcs[2] = ~z;
}

static const struct vf_crc32c_form instruction = {
	.name = CRC_NAME, .update = update_words, .sum_pages = sum_three_pages,
	.sum_page = sum_page_words, .append_page = multiply_and_append, .at_once = 3,
};
#endif

/*
 * ---- by carry-less multiplication, which another part of the processor does ----
 *
 * As in Intel's "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ": 128 bits that lie n bits
 * in front of others are folded into these by multiplying their halves with x^(n+64) and x^n. A product
 * of two numbers with x^0 in the highest bit is one bit lower than it should be, so the factors are
 * x^(n+63) and x^(n-1), modulo CRC32C's polynomial, in the upper half of a word. Tested against the
 * other forms.
 */
#if defined(__x86_64__)
#define FOLD_TARGET __attribute__((target("avx2,vpclmulqdq,pclmul,sse4.2")))
#define FOLD_INLINE FOLD_TARGET RACES_BY_NATURE static inline __attribute__((always_inline))
#define FACTORS(x_n_63, x_n_1) { (long long) (x_n_63##ull << 32), (long long) (x_n_1##ull << 32), \
				 (long long) (x_n_63##ull << 32), (long long) (x_n_1##ull << 32) }
#define BESIDE 4u			/* pages by multiplication, beside as many by the instruction */
#define STRIDE 128u			/* four registers of 32 bytes */
#define X_PAGE_LESS_33 0x82f89c77u	/* x^(8 * 4096 - 33) */

typedef long long factors_t __attribute__((vector_size(32)));

static const factors_t by_128_bytes = FACTORS(0x6577b245, 0x7417153f);
static const factors_t by_64_bytes = FACTORS(0x1c19243b, 0x75bba45b);
static const factors_t by_32_bytes = FACTORS(0x33ccbbbc, 0xa2158b34);
static const factors_t by_16_bytes = FACTORS(0x3743f7bd, 0x3171d430);

FOLD_INLINE __m256i fold(__m256i a, factors_t by, __m256i into)
{
	__m256i high = _mm256_clmulepi64_epi128(a, (__m256i) by, 0x00);
	__m256i low = _mm256_clmulepi64_epi128(a, (__m256i) by, 0x11);

	return _mm256_xor_si256(_mm256_xor_si256(high, low), into);
}

/* The first STRIDE bytes of a page, with the register's first value in front. */
FOLD_INLINE void fold_begin(__m256i a[4], const uint8_t *page)
{
	const __m256i *p = (const __m256i *) page;

	a[0] = _mm256_xor_si256(_mm256_loadu_si256(p), _mm256_setr_epi32(-1, 0, 0, 0, 0, 0, 0, 0));
	a[1] = _mm256_loadu_si256(p + 1);
	a[2] = _mm256_loadu_si256(p + 2);
	a[3] = _mm256_loadu_si256(p + 3);
}

FOLD_INLINE void fold_more(__m256i a[4], const uint8_t *from)
{
	const __m256i *p = (const __m256i *) from;

	a[0] = fold(a[0], by_128_bytes, _mm256_loadu_si256(p));
	a[1] = fold(a[1], by_128_bytes, _mm256_loadu_si256(p + 1));
	a[2] = fold(a[2], by_128_bytes, _mm256_loadu_si256(p + 2));
	a[3] = fold(a[3], by_128_bytes, _mm256_loadu_si256(p + 3));
}

FOLD_INLINE uint32_t fold_end(__m256i a[4])
{
	__m128i first, last, by = _mm256_castsi256_si128((__m256i) by_16_bytes);
	uint64_t crc;

	a[2] = fold(a[0], by_64_bytes, a[2]);
	a[3] = fold(a[1], by_64_bytes, a[3]);
	a[3] = fold(a[2], by_32_bytes, a[3]);
	first = _mm256_castsi256_si128(a[3]);
	last = _mm_xor_si128(_mm256_extracti128_si256(a[3], 1), _mm_clmulepi64_si128(first, by, 0x00));
	last = _mm_xor_si128(last, _mm_clmulepi64_si128(first, by, 0x11));
	crc = _mm_crc32_u64(0, (uint64_t) _mm_extract_epi64(last, 0));
	return ~(uint32_t) _mm_crc32_u64(crc, (uint64_t) _mm_extract_epi64(last, 1));
}

FOLD_TARGET RACES_BY_NATURE static uint32_t sum_page_folded(const uint8_t *page)
{
	__m256i a[4];

	fold_begin(a, page);
	for (size_t i = STRIDE; i < VF_PAGE_BYTES; i += STRIDE)
		fold_more(a, page + i);
	return fold_end(a);
}

/* The first four by the instruction, the others by multiplication, step by step at the same time. */
FOLD_TARGET RACES_BY_NATURE static void sum_eight_pages(const uint8_t *pages, uint32_t *crcs)
{
	uint64_t w = UINT32_MAX, x = UINT32_MAX, y = UINT32_MAX, z = UINT32_MAX;
	const uint8_t *p = pages;

	for (size_t page = 0; page < BESIDE; page++) {
		const uint8_t *folded = pages + (BESIDE + page) * VF_PAGE_BYTES;
		__m256i a[4];

		fold_begin(a, folded);
		for (size_t i = STRIDE; i <= VF_PAGE_BYTES; i += STRIDE) {
			for (size_t j = 0; j < STRIDE / BESIDE; j += 8) {
				w = _mm_crc32_u64(w, word_at(p + j));
				x = _mm_crc32_u64(x, word_at(p + j + VF_PAGE_BYTES));
				y = _mm_crc32_u64(y, word_at(p + j + 2 * VF_PAGE_BYTES));
				z = _mm_crc32_u64(z, word_at(p + j + 3 * VF_PAGE_BYTES));
			}
			p += STRIDE / BESIDE;
			if (i < VF_PAGE_BYTES)
				fold_more(a, folded + i);
		}
		crcs[BESIDE + page] = fold_end(a);
	}
	crcs[0] = ~(uint32_t) w;
	crcs[1] = ~(uint32_t) x;
	crcs[2] = ~(uint32_t) y;
	crcs[3] = ~(uint32_t) z;
}

/* The instruction multiplies by x^32 and takes the remainder; the product is one bit low, as above. */
FOLD_TARGET static uint32_t fold_and_append(uint32_t crc, uint32_t page_crc)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int) crc),
					       _mm_cvtsi32_si128((int) X_PAGE_LESS_33), 0x00);

	return (uint32_t) _mm_crc32_u64(0, (uint64_t) _mm_cvtsi128_si64(product)) ^ page_crc;
}

static const struct vf_crc32c_form folding = {
	.name = "vpclmulqdq", .update = update_words, .sum_pages = sum_eight_pages,
	.sum_page = sum_page_folded, .append_page = fold_and_append, .at_once = 2 * BESIDE,
};
#endif

/* ---- the choice ---- */

const struct vf_crc32c_form *vf_crc32c_form_named(const char *name)
{
#if defined(__x86_64__)
	if (!strcmp(name, folding.name))
		return __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul") &&
		       __builtin_cpu_supports("avx2") && __builtin_cpu_supports("sse4.2") ?
			       &folding : NULL;
	if (!strcmp(name, instruction.name))
		return __builtin_cpu_supports("sse4.2") ? &instruction : NULL;
#elif defined(__aarch64__)
	if (!strcmp(name, instruction.name))
		return getauxval(AT_HWCAP) & (1ul << 7) ? &instruction : NULL;	/* HWCAP_CRC32 */
#endif
	return strcmp(name, generic.name) ? NULL : &generic;
}

const struct vf_crc32c_form *vf_crc32c_form_best(void)
{
	static const char *const order[] = { "vpclmulqdq", "sse4.2", "armv8" };

	for (size_t i = 0; i < VF_ARRAY_COUNT(order); i++) {
		const struct vf_crc32c_form *form = vf_crc32c_form_named(order[i]);

		if (form)
			return form;
	}
	return &generic;
}
