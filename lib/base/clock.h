/* SPDX-License-Identifier: MIT */
/* clock.h - the one clock and the one unit: CLOCK_MONOTONIC in nanoseconds. */
#ifndef VF_BASE_CLOCK_H
#define VF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define VF_MS_NS 1000000ull
#define VF_SECOND_NS 1000000000ull

static inline uint64_t vf_now_ns(void)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * VF_SECOND_NS + (uint64_t) ts.tv_nsec;
}

#endif
