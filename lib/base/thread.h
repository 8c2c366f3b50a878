/* SPDX-License-Identifier: MIT */
/* thread.h - threads of the library's own in somebody else's program. */
#ifndef VF_BASE_THREAD_H
#define VF_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Signals are for the program's own threads: this one takes none. Return: 0, negative errno. */
static inline int vf_thread_start(pthread_t *ret_thread, void *(*run)(void *user), void *user)
{
	sigset_t all, before;
	int ret;

	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(ret_thread, NULL, run, user);
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -ret;
}

#endif
