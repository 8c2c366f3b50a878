/* SPDX-License-Identifier: MIT */
/* socket.c - see socket.h. */
#define _GNU_SOURCE
#include "vfio-user/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"

void vf_fds_done(struct vf_vfio_user_fds *fds)
{
	for (uint32_t i = 0; i < fds->count; i++)
		vf_close(&fds->fd[i]);
	fds->count = 0;
}

int vf_fds_take(struct vf_vfio_user_fds *fds, uint32_t index)
{
	int fd;

	if (index >= fds->count)
		return -1;
	fd = fds->fd[index];
	fds->fd[index] = -1;
	return fd;
}

/* An eventfd is an anonymous inode: no file type at all. */
bool vf_fd_is_eventfd(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && !(st.st_mode & S_IFMT);
}

int vf_socket_prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		struct timespec left, *timeout = NULL;
		int ret;

		if (deadline_ns != VF_SOCKET_FOREVER) {
			uint64_t now = vf_now_ns();
			uint64_t ns = now < deadline_ns ? deadline_ns - now : 0;

			left = vf_timespec(ns);
			timeout = &left;
		}
		ret = ppoll(&p, 1, timeout, NULL);
		if (ret > 0)
			return 0;
		if (!ret)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int vf_socket_wait_in(int fd, uint64_t deadline_ns)
{
	return wait_for(fd, POLLIN, deadline_ns);
}

ssize_t vf_socket_send_some(int fd, const struct iovec *iov, int count, const int *fds,
			    uint32_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VF_VFIO_USER_MAX_FDS * sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = (struct iovec *) iov, .msg_iovlen = (size_t) count };
	ssize_t ret;

	if (fd_count > VF_VFIO_USER_MAX_FDS)
		return -E2BIG;
	if (fd_count) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	do {
		ret = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

int vf_socket_send(int fd, struct iovec *iov, int count, const int *fds, uint32_t fd_count,
		   uint64_t deadline_ns)
{
	for (;;) {
		ssize_t sent;

		while (count && !iov->iov_len) {
			iov++;
			count--;
		}
		if (!count)
			return 0;
		sent = vf_socket_send_some(fd, iov, count, fds, fd_count);
		if (sent == -EAGAIN) {
			int ret = wait_for(fd, POLLOUT, deadline_ns);

			if (ret)
				return ret;
			continue;
		}
		if (sent < 0)
			return (int) sent;
		fd_count = 0;
		for (size_t left = (size_t) sent; left;) {
			size_t step = vf_min_u64(left, iov->iov_len);

			iov->iov_base = (uint8_t *) iov->iov_base + step;
			iov->iov_len -= step;
			left -= step;
			if (!iov->iov_len) {
				iov++;
				count--;
			}
		}
	}
}

/* Moves the descriptors of a received control message over; what does not fit is closed. */
static int keep_fds(struct msghdr *msg, struct vf_vfio_user_fds *fds)
{
	int ret = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (fds && fds->count < VF_VFIO_USER_MAX_FDS) {
				fds->fd[fds->count++] = fd;
			} else {
				vf_close(&fd);
				ret = -EPROTO;
			}
		}
	}
	return ret;
}

ssize_t vf_socket_receive_some(int fd, void *to, size_t len, struct vf_vfio_user_fds *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VF_VFIO_USER_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = to, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t ret;
	int bad;

	do {
		ret = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	if (!msg.msg_controllen)
		return ret;
	bad = keep_fds(&msg, fds);
	return bad ? bad : ret;
}

int vf_socket_receive(int fd, void *to, size_t len, struct vf_vfio_user_fds *fds,
		      uint64_t deadline_ns)
{
	uint8_t *at = to;

	while (len) {
		ssize_t got = vf_socket_receive_some(fd, at, len, fds);

		if (got == -EAGAIN) {
			int ret = wait_for(fd, POLLIN, deadline_ns);

			if (ret)
				return ret;
			continue;
		}
		if (!got || got == -ECONNRESET)
			return -ENOTCONN;
		if (got < 0)
			return (int) got;
		at += got;
		len -= (size_t) got;
	}
	return 0;
}
