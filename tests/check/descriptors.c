/* SPDX-License-Identifier: MIT */
/*
 * descriptors.c - migration descriptors as the kernel's, made of a device that has none: numbers that
 * stand for sessions, with the calls on them.
 *
 * What a call results in goes through the fault's fd_result().
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "broken.h"

#define FIRST_FD 1000

static ssize_t result(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	if (b->fault && b->fault->fd_result)
		r = b->fault->fd_result(b, call, fd, r);
	(void) pthread_mutex_unlock(&b->lock);
	return r;
}

/* Locked until result(). */
static struct broken *hold(void *user)
{
	struct broken *b = *(struct broken **) user;

	(void) pthread_mutex_lock(&b->lock);
	return b;
}

/* Is @fd the session's, and open in this direction? Else why not. */
static int usable(const struct broken *b, int fd, bool reading)
{
	if (fd != b->session_fd)
		return -ENODEV;
	return reading == (b->state != VF_VFIO_STATE_RESUMING) ? 0 : -EBADF;
}

static ssize_t fd_read(void *user, int fd, void *to, size_t len)
{
	struct broken *b = hold(user);
	ssize_t n = usable(b, fd, true);

	if (n == 0)
		n = broken_read(b, to, len);
	if (n == 0 && b->state != VF_VFIO_STATE_STOP_COPY)
		n = -ENOMSG;
	return result(b, FD_READ, fd, n);
}

static ssize_t fd_write(void *user, int fd, const void *from, size_t len)
{
	struct broken *b = hold(user);
	ssize_t n = usable(b, fd, false);

	if (n == 0)
		n = broken_write(b, from, len);
	return result(b, FD_WRITE, fd, n < 0 ? n : (ssize_t) len);
}

static ssize_t fd_pread(void *user, int fd, void *to, size_t len, off_t at)
{
	(void) to;
	(void) len;
	(void) at;
	return result(hold(user), FD_PREAD, fd, -ESPIPE);
}

static ssize_t fd_pwrite(void *user, int fd, const void *from, size_t len, off_t at)
{
	(void) from;
	(void) len;
	(void) at;
	return result(hold(user), FD_PWRITE, fd, -ESPIPE);
}

static off_t fd_lseek(void *user, int fd, off_t at, int whence)
{
	(void) at;
	(void) whence;
	return result(hold(user), FD_SEEK, fd, -ESPIPE);
}

static int fd_poll(void *user, struct pollfd *fds, int timeout_ms)
{
	ssize_t ready = result(hold(user), FD_POLL, fds->fd, 1);

	(void) timeout_ms;
	fds->revents = ready ? POLLIN : 0;
	return (int) ready;
}

static int fd_fcntl(void *user, int fd, int command, int value)
{
	(void) value;
	return (int) result(hold(user), FD_FLAGS, fd, command == F_GETFD ? FD_CLOEXEC : 0);
}

static int fd_precopy_info(void *user, int fd, struct vf_vfio_precopy_info *info)
{
	struct broken *b = hold(user);
	int r = usable(b, fd, true);

	if (r == 0 && info->argsz < sizeof(*info))
		r = -EINVAL;
	if (r == 0)
		r = b->real->ops->precopy_info(b->real, info, NULL);
	return (int) result(b, FD_INFO, fd, r);
}

static int fd_close(void *user, int fd)
{
	return (int) result(hold(user), FD_CLOSE, fd, 0);
}

static int limit_fds(void *user, uint64_t *limit)
{
	struct broken *b = hold(user);

	b->no_fds = *limit == UINT64_MAX;
	*limit = 1024;
	(void) pthread_mutex_unlock(&b->lock);
	return 0;
}

struct check_sys descriptors_of(struct broken **b)
{
	return (struct check_sys) {
		.read = fd_read, .write = fd_write, .pread = fd_pread, .pwrite = fd_pwrite,
		.lseek = fd_lseek, .poll = fd_poll, .fcntl = fd_fcntl, .precopy_info = fd_precopy_info,
		.close = fd_close, .limit_fds = limit_fds, .user = b,
	};
}

/* A request that sets the state: what the kernel's core makes of it. The lock is held. */
int descriptors_set_state(struct broken *b, uint8_t *data)
{
	uint32_t to = vf_get_u32(data), sessions = b->fd_sessions, now;
	int r;

	(void) broken_get_state(b, &now);
	r = broken_set_state(b, to);
	if (r == 0 && b->no_fds && b->fd_sessions != sessions) {
		b->session_fd = -1;
		r = -EMFILE;
	}
	if (r == 0) {
		ssize_t fd = b->fd_sessions != sessions ? b->session_fd : -1;

		if (b->fault && b->fault->fd_result)
			fd = b->fault->fd_result(b, FD_GIVEN, -1, fd);
		vf_put_u32(data + 4, (uint32_t) fd);
	}
	return r;
}

void descriptors_entered(struct broken *b, bool began, bool ended)
{
	if (began)
		b->session_fd = FIRST_FD + (int) ++b->fd_sessions;
	else if (ended)
		b->session_fd = -1;
}
