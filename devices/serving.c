/* SPDX-License-Identifier: MIT */
/* serving.c - see serving.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "serving.h"

int serving_next(const struct serving *s, int stop_fd, const struct timespec *wait,
		 struct vferry_error *err)
{
	struct pollfd fds[] = {
		{ .fd = stop_fd, .events = POLLIN },
		{ .fd = vf_vfio_user_server_fd(s->wire), .events = POLLIN },
	};
	struct vferry_error why = VFERRY_ERROR_INIT;
	int ret;

	if (ppoll(fds, 2, wait, NULL) < 0 && errno != EINTR)
		return vferry_error_set(err, -errno, "poll", s->name, "cannot wait: %s",
					vferry_errno_name(errno));
	if (fds[0].revents)
		return 0;
	ret = vf_vfio_user_server_dispatch(s->wire, &why);
	if (s->note && why.code && strcmp(why.id, "client-gone"))	/* which is how clients leave */
		s->note(s->user, why.message);
	if (ret && err)
		*err = why;
	return ret ? ret : 1;
}
