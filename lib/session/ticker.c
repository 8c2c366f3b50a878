/* SPDX-License-Identifier: MIT */
/* ticker.c - see ticker.h. */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "session/ticker.h"

static void *ticker_main(void *user)
{
	struct vf_ticker *t = user;
	uint64_t next = vf_now_ns() + t->every_ns;

	(void) pthread_mutex_lock(&t->lock);
	while (!t->quit) {
		struct timespec until = vf_timespec(next);

		if (pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT)
			continue;
		(void) pthread_mutex_unlock(&t->lock);
		t->tick(t->user);
		next = vf_now_ns() + t->every_ns;
		(void) pthread_mutex_lock(&t->lock);
	}
	(void) pthread_mutex_unlock(&t->lock);
	return NULL;
}

int vf_ticker_start(struct vf_ticker *t, uint64_t every_ns, void (*tick)(void *user), void *user)
{
	pthread_condattr_t attr;
	int ret;

	*t = (struct vf_ticker) { .tick = tick, .user = user, .every_ns = every_ns };
	if (!every_ns)
		return 0;
	(void) pthread_mutex_init(&t->lock, NULL);
	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&t->changed, &attr);
	(void) pthread_condattr_destroy(&attr);
	ret = -pthread_create(&t->thread, NULL, ticker_main, t);
	t->exists = !ret;
	return ret;
}

void vf_ticker_stop(struct vf_ticker *t)
{
	if (!t->exists)
		return;
	(void) pthread_mutex_lock(&t->lock);
	t->quit = true;
	(void) pthread_cond_signal(&t->changed);
	(void) pthread_mutex_unlock(&t->lock);
	(void) pthread_join(t->thread, NULL);
	(void) pthread_cond_destroy(&t->changed);
	(void) pthread_mutex_destroy(&t->lock);
	t->exists = false;
}
