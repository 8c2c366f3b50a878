/* SPDX-License-Identifier: MIT */
/*
 * parking.h - vCPU threads that park when they are told to, and whoever waits until all have.
 *
 * Model. A vCPU's thread looks at `stop` between two pieces of work, and parks (parker_park) when it is
 * set. Whoever wants that sets it, does what takes the thread out of its work or wait (parker_wake, and
 * an accelerator's own kick), and waits for all of a machine with parking_wait().
 *
 * Locks: a parker's is a leaf; the parking's comes before it and protects nothing but the wait.
 */
#ifndef VMM_PARKING_H
#define VMM_PARKING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One for a machine. */
struct parking {
	pthread_mutex_t lock;
	pthread_cond_t changed;	/* some vCPU parked */
};

/* One for a vCPU; its user may wait on `wake`, and protect more by `lock`. */
struct parker {
	struct parking *parking;
	pthread_mutex_t lock;	/* protects `parked` and the waiting on `wake` */
	pthread_cond_t wake;	/* by CLOCK_MONOTONIC */
	bool parked;
	atomic_bool stop;	/* leave the run loop */
	atomic_bool exit;	/* and the thread */
};

void parking_init(struct parking *parking);
void parking_done(struct parking *parking);
/**
 * parking_wait() - until no vCPU runs any more
 * @find_running: the number of one that does not count as parked; -1: all are
 * Return: -1 all are; else the number of one that is not within @timeout_ns.
 */
int parking_wait(struct parking *parking, uint64_t timeout_ns, int (*find_running)(void *user),
		 void *user);

/* Told to stop, and not parked: its thread is yet to come. */
void parker_init(struct parker *parker, struct parking *parking);
void parker_done(struct parker *parker);
/* By the vCPU's thread: until it may run again. Return: false, the thread is to end. */
bool parker_park(struct parker *parker);
/* By the vCPU's thread: sleeps until @until_ns (CLOCK_MONOTONIC) or told to stop. */
void parker_sleep(struct parker *parker, uint64_t until_ns);
/* Once, with parker->lock held: until woken or @until_ns. */
void parker_wait_locked(struct parker *parker, uint64_t until_ns);
/* From any thread: out of any wait on `wake`, to look at the flags. */
void parker_wake(struct parker *parker);
void parker_let_run(struct parker *parker);
bool parker_is_parked(struct parker *parker);

#endif
