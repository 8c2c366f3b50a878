/* SPDX-License-Identifier: MIT */
/* parking.c - see parking.h. */
#include "parking.h"

#include <errno.h>

#include "run_clock.h"
#include "timed.h"

void parking_init(struct parking *parking)
{
	(void) pthread_mutex_init(&parking->lock, NULL);
	timed_cond_init(&parking->changed);
}

void parking_done(struct parking *parking)
{
	(void) pthread_cond_destroy(&parking->changed);
	(void) pthread_mutex_destroy(&parking->lock);
}

int parking_wait(struct parking *parking, uint64_t timeout_ns, int (*find_running)(void *user),
		 void *user)
{
	uint64_t until = run_clock_now() + timeout_ns;
	int running;

	pthread_mutex_lock(&parking->lock);
	while ((running = find_running(user)) >= 0)
		if (timed_cond_wait(&parking->changed, &parking->lock, until) == ETIMEDOUT)
			break;
	running = find_running(user);
	pthread_mutex_unlock(&parking->lock);
	return running;
}

void parker_init(struct parker *parker, struct parking *parking)
{
	*parker = (struct parker) { .parking = parking };
	atomic_store(&parker->stop, true);
	(void) pthread_mutex_init(&parker->lock, NULL);
	timed_cond_init(&parker->wake);
}

void parker_done(struct parker *parker)
{
	(void) pthread_cond_destroy(&parker->wake);
	(void) pthread_mutex_destroy(&parker->lock);
}

bool parker_park(struct parker *parker)
{
	/* Told without this lock held: the parking's comes before it. */
	pthread_mutex_lock(&parker->lock);
	parker->parked = true;
	pthread_mutex_unlock(&parker->lock);
	pthread_mutex_lock(&parker->parking->lock);
	pthread_cond_broadcast(&parker->parking->changed);
	pthread_mutex_unlock(&parker->parking->lock);
	pthread_mutex_lock(&parker->lock);
	while (atomic_load(&parker->stop) && !atomic_load(&parker->exit))
		pthread_cond_wait(&parker->wake, &parker->lock);
	parker->parked = false;
	pthread_mutex_unlock(&parker->lock);
	return !atomic_load(&parker->exit);
}

void parker_wait_locked(struct parker *parker, uint64_t until_ns)
{
	(void) timed_cond_wait(&parker->wake, &parker->lock, until_ns);
}

void parker_sleep(struct parker *parker, uint64_t until_ns)
{
	pthread_mutex_lock(&parker->lock);
	while (!atomic_load(&parker->stop) && run_clock_now() < until_ns)
		parker_wait_locked(parker, until_ns);
	pthread_mutex_unlock(&parker->lock);
}

void parker_wake(struct parker *parker)
{
	pthread_mutex_lock(&parker->lock);
	pthread_cond_signal(&parker->wake);
	pthread_mutex_unlock(&parker->lock);
}

void parker_let_run(struct parker *parker)
{
	pthread_mutex_lock(&parker->lock);
	atomic_store(&parker->stop, false);
	pthread_cond_signal(&parker->wake);
	pthread_mutex_unlock(&parker->lock);
}

bool parker_is_parked(struct parker *parker)
{
	bool parked;

	pthread_mutex_lock(&parker->lock);
	parked = parker->parked;
	pthread_mutex_unlock(&parker->lock);
	return parked;
}
