/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the one clock and the one unit: CLOCK_MONOTONIC in nanoseconds. Two hosts share none:
 * between them CLOCK_REALTIME has to do.
 */
#ifndef VF_BASE_CLOCK_H
#define VF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define VF_MS_NS 1000000ull
#define VF_SECOND_NS 1000000000ull

static inline uint64_t vf_clock_ns(clockid_t clock)
{
	struct timespec ts;

	(void) clock_gettime(clock, &ts);
	return (uint64_t) ts.tv_sec * VF_SECOND_NS + (uint64_t) ts.tv_nsec;
}

/* A moment of a clock, or how long. */
static inline struct timespec vf_timespec(uint64_t ns)
{
	return (struct timespec) {
		.tv_sec = (time_t) (ns / VF_SECOND_NS),
		.tv_nsec = (long) (ns % VF_SECOND_NS),
	};
}

static inline uint64_t vf_now_ns(void)
{
	return vf_clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t vf_realtime_ns(void)
{
	return vf_clock_ns(CLOCK_REALTIME);
}

#endif
