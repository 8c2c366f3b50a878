/* SPDX-License-Identifier: MIT */
/* serving.h - how a software device waits for its client and answers it, whatever it is a device of. */
#ifndef VF_DEVICES_SERVING_H
#define VF_DEVICES_SERVING_H

#include <time.h>

#include <vferry/error.h>
#include "vfio-user/server.h"

struct serving {
	const char *name;		/* of the device, in errors */
	struct vf_vfio_user_server *wire;
	/* Says what was wrong with a client, may be NULL. */
	void (*note)(void *user, const char *text);
	void *user;
};

/**
 * serving_next() - waits, for @wait at most (NULL = for ever), and answers what has come
 * Return: 1; 0 once @stop_fd is readable; -errno, and there is nothing to serve any more.
 */
int serving_next(const struct serving *s, int stop_fd, const struct timespec *wait,
		 struct vferry_error *err);

#endif
