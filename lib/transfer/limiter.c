/* SPDX-License-Identifier: MIT */
/* limiter.c - see limiter.h. All state is under one lock; a taker sleeps on its condition. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/clock.h"
#include "transfer/limiter.h"

#define BURST_NS (50 * VF_MS_NS)
#define MOST_RATE (INT64_MAX / 7200)	/* an hour of it does not overflow */

struct vf_limiter {
	pthread_mutex_t lock;	/* protects all below */
	pthread_cond_t changed;	/* rate or cancelled */
	uint64_t rate;		/* bytes a second, 0 = unlimited */
	int64_t tokens;		/* bytes; below zero: owed */
	uint64_t filled_ns;	/* tokens are as of then */
	bool cancelled;
};

int vf_limiter_new(uint64_t bytes_per_second, struct vf_limiter **ret)
{
	struct vf_limiter *limiter = calloc(1, sizeof(*limiter));
	pthread_condattr_t attr;

	if (!limiter)
		return -ENOMEM;
	(void) pthread_mutex_init(&limiter->lock, NULL);
	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&limiter->changed, &attr);
	(void) pthread_condattr_destroy(&attr);
	limiter->rate = vf_min_u64(bytes_per_second, MOST_RATE);
	limiter->filled_ns = vf_now_ns();
	*ret = limiter;
	return 0;
}

struct vf_limiter *vf_limiter_free(struct vf_limiter *limiter)
{
	if (limiter) {
		(void) pthread_cond_destroy(&limiter->changed);
		(void) pthread_mutex_destroy(&limiter->lock);
		free(limiter);
	}
	return NULL;
}

/* Tokens that @ns are worth. Long double: neither factor is bounded. */
static int64_t worth(const struct vf_limiter *limiter, uint64_t ns)
{
	return (int64_t) ((long double) limiter->rate * ns / VF_SECOND_NS);
}

static void fill_locked(struct vf_limiter *limiter)
{
	uint64_t now = vf_now_ns();
	int64_t most = worth(limiter, BURST_NS);

	/* An hour fills any bucket; more could overflow. */
	limiter->tokens += worth(limiter, vf_min_u64(now - limiter->filled_ns, 3600 * VF_SECOND_NS));
	if (limiter->tokens > most)
		limiter->tokens = most;
	limiter->filled_ns = now;
}

void vf_limiter_set_rate(struct vf_limiter *limiter, uint64_t bytes_per_second)
{
	(void) pthread_mutex_lock(&limiter->lock);
	fill_locked(limiter);
	bytes_per_second = vf_min_u64(bytes_per_second, MOST_RATE);
	/* What is owed is bytes; at a lower rate, which was not known then, it must not take an age. */
	if (limiter->tokens < 0 && bytes_per_second < limiter->rate)
		limiter->tokens = (int64_t) ((long double) limiter->tokens * bytes_per_second /
					     limiter->rate);
	limiter->rate = bytes_per_second;
	(void) pthread_cond_broadcast(&limiter->changed);
	(void) pthread_mutex_unlock(&limiter->lock);
}

int vf_limiter_take(struct vf_limiter *limiter, uint64_t bytes)
{
	int ret = 0;

	(void) pthread_mutex_lock(&limiter->lock);
	for (;;) {
		struct timespec until;
		uint64_t wait_ns;

		if (limiter->cancelled) {
			ret = -ECANCELED;
			break;
		}
		if (!limiter->rate)
			break;
		fill_locked(limiter);
		if (limiter->tokens >= 0) {
			limiter->tokens -= (int64_t) bytes;
			break;
		}
		wait_ns = (uint64_t) ((long double) -limiter->tokens * VF_SECOND_NS / limiter->rate);
		wait_ns = limiter->filled_ns + vf_min_u64(wait_ns + 1, 3600 * VF_SECOND_NS);
		until = vf_timespec(wait_ns);
		(void) pthread_cond_timedwait(&limiter->changed, &limiter->lock, &until);
	}
	(void) pthread_mutex_unlock(&limiter->lock);
	return ret;
}

void vf_limiter_cancel(struct vf_limiter *limiter)
{
	(void) pthread_mutex_lock(&limiter->lock);
	limiter->cancelled = true;
	(void) pthread_cond_broadcast(&limiter->changed);
	(void) pthread_mutex_unlock(&limiter->lock);
}
