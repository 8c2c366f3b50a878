/* SPDX-License-Identifier: MIT */
/*
 * zero.c - is a page all zeros? One implementation per instruction set, chosen at run time.
 *
 * A page with content shows it in its first bytes, nearly always, so each looks after every 128 or
 * 256 bytes. A page of zeros is bound by memory, not by the instruction set. The guest may write
 * while a page is tested: the answer is then as good as that of a moment before or after, and the
 * page is dirty again; ThreadSanitizer is told not to look (no_sanitize), here and nowhere else.
 */
#include <stddef.h>
#include <string.h>

#include "ram/ram.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define RACES_BY_NATURE __attribute__((no_sanitize("thread")))

RACES_BY_NATURE static bool zero_generic(const void *page)
{
	const uint64_t *p = page;

	for (size_t i = 0; i < VF_PAGE_BYTES / 8; i += 16) {
		uint64_t or = 0;

		for (size_t j = 0; j < 16; j++)
			or |= p[i + j];
		if (or)
			return false;
	}
	return true;
}

#if defined(__x86_64__)
RACES_BY_NATURE __attribute__((target("avx512f"))) static bool zero_avx512(const void *page)
{
	const char *p = page;

	for (size_t i = 0; i < VF_PAGE_BYTES; i += 256) {
		__m512i a = _mm512_or_si512(_mm512_load_si512(p + i), _mm512_load_si512(p + i + 64));
		__m512i b = _mm512_or_si512(_mm512_load_si512(p + i + 128),
					    _mm512_load_si512(p + i + 192));

		a = _mm512_or_si512(a, b);
		if (_mm512_test_epi64_mask(a, a))
			return false;
	}
	return true;
}

RACES_BY_NATURE __attribute__((target("avx2"))) static bool zero_avx2(const void *page)
{
	const __m256i *p = page;

	for (size_t i = 0; i < VF_PAGE_BYTES / 32; i += 4) {
		__m256i a = _mm256_or_si256(_mm256_load_si256(p + i), _mm256_load_si256(p + i + 1));
		__m256i b = _mm256_or_si256(_mm256_load_si256(p + i + 2),
					    _mm256_load_si256(p + i + 3));

		a = _mm256_or_si256(a, b);
		if (!_mm256_testz_si256(a, a))
			return false;
	}
	return true;
}

RACES_BY_NATURE static bool zero_sse2(const void *page)
{
	const __m128i *p = page;

	for (size_t i = 0; i < VF_PAGE_BYTES / 16; i += 8) {
		__m128i a = _mm_load_si128(p + i);

		for (size_t j = 1; j < 8; j++)
			a = _mm_or_si128(a, _mm_load_si128(p + i + j));
		if (_mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_setzero_si128())) != 0xffff)
			return false;
	}
	return true;
}
#elif defined(__aarch64__)
RACES_BY_NATURE static bool zero_neon(const void *page)
{
	const uint8_t *p = page;

	for (size_t i = 0; i < VF_PAGE_BYTES; i += 128) {
		uint8x16_t a = vld1q_u8(p + i);

		for (size_t j = 16; j < 128; j += 16)
			a = vorrq_u8(a, vld1q_u8(p + i + j));
		if (vmaxvq_u8(a))
			return false;
	}
	return true;
}
#endif

vf_zero_test vf_zero_test_named(const char *name)
{
#if defined(__x86_64__)
	if (!strcmp(name, "avx512"))
		return __builtin_cpu_supports("avx512f") ? zero_avx512 : NULL;
	if (!strcmp(name, "avx2"))
		return __builtin_cpu_supports("avx2") ? zero_avx2 : NULL;
	if (!strcmp(name, "sse2"))
		return zero_sse2;
#elif defined(__aarch64__)
	if (!strcmp(name, "neon"))
		return zero_neon;
#endif
	return strcmp(name, "generic") ? NULL : zero_generic;
}

vf_zero_test vf_zero_test_best(void)
{
	/* AVX2 before AVX-512: as fast on memory (perf), and no processor lowers its clock for it. */
	static const char *const order[] = { "avx2", "avx512", "sse2", "neon" };

	for (size_t i = 0; i < VF_ARRAY_COUNT(order); i++) {
		vf_zero_test test = vf_zero_test_named(order[i]);

		if (test)
			return test;
	}
	return zero_generic;
}
