/* SPDX-License-Identifier: MIT */
/* timed.h - waiting on a condition until a time of CLOCK_MONOTONIC, as run_clock_now() tells it. */
#ifndef VMM_TIMED_H
#define VMM_TIMED_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline void timed_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;

	(void) pthread_condattr_init(&monotonic);
	(void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void) pthread_cond_init(cond, &monotonic);
	(void) pthread_condattr_destroy(&monotonic);
}

/* Once: woken or not. Return: 0; ETIMEDOUT. */
static inline int timed_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns)
{
	const struct timespec until = { .tv_sec = (time_t) (until_ns / 1000000000),
					.tv_nsec = (long) (until_ns % 1000000000) };

	return pthread_cond_timedwait(cond, lock, &until);
}

#endif
