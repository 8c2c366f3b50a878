/* SPDX-License-Identifier: MIT */
/*
 * ticker.h - a thread that calls a function every so often, and can be stopped at once. Both sides
 * keep the link awake with it: a peer that is silent for too long counts as dead.
 *
 * How long is too long is each side's own choice (vferry_parameters.stall_timeout_ns), of which the
 * other knows nothing; so signs of life come at a fixed pace, four of them in the shortest timeout.
 */
#ifndef VF_SESSION_TICKER_H
#define VF_SESSION_TICKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define VF_KEEPALIVE_NS 250000000ull
#define VF_STALL_LEAST_NS (4 * VF_KEEPALIVE_NS)

struct vf_ticker {
	void (*tick)(void *user);	/* on the ticker's thread */
	void *user;
	uint64_t every_ns;
	pthread_t thread;
	bool exists;
	pthread_mutex_t lock;		/* quit */
	pthread_cond_t changed;
	bool quit;
};

/* @every_ns 0: never ticks, no thread. Return: 0; -EAGAIN. */
int vf_ticker_start(struct vf_ticker *t, uint64_t every_ns, void (*tick)(void *user), void *user);
/* Waits for a tick under way. Accepts a zeroed or stopped one. */
void vf_ticker_stop(struct vf_ticker *t);

#endif
