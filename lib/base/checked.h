/* SPDX-License-Identifier: MIT */
/* checked.h - arithmetic on numbers that come from outside. True = overflowed, result unusable. */
#ifndef VF_BASE_CHECKED_H
#define VF_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VF_KIB 1024ull
#define VF_MIB (1024ull * 1024)
#define VF_GIB (1024ull * 1024 * 1024)
#define VF_PAGE_BYTES 4096ull	/* the unit of dirty tracking and of the stream, on every host */

#define VF_ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

static inline bool vf_add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	return __builtin_add_overflow(a, b, ret);
}

static inline bool vf_mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	return __builtin_mul_overflow(a, b, ret);
}

/* Is [at, at+len) inside [0, size)? Never overflows. */
static inline bool vf_range_in(uint64_t at, uint64_t len, uint64_t size)
{
	return at <= size && len <= size - at;
}

static inline uint64_t vf_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t vf_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t vf_div_up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
static inline bool vf_is_pow2(uint64_t v) { return v && !(v & (v - 1)); }

#endif
