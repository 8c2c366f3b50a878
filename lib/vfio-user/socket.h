/* SPDX-License-Identifier: MIT */
/*
 * socket.h - bytes and descriptors over a non-blocking unix stream socket, with deadlines.
 *
 * Descriptors come with the first byte of the message that they belong to. Reading never crosses a
 * message's end, so they can't be taken for those of another. More than VF_VFIO_USER_MAX_FDS of
 * them in one message break the protocol. None of the calls raises SIGPIPE.
 */
#ifndef VF_VFIO_USER_SOCKET_H
#define VF_VFIO_USER_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vfio-user/protocol.h"

struct vf_vfio_user_fds {
	int fd[VF_VFIO_USER_MAX_FDS];	/* owned; a taken one is replaced by -1 */
	uint32_t count;
};

#define VF_SOCKET_FOREVER UINT64_MAX

/* Closes what has not been taken. */
void vf_fds_done(struct vf_vfio_user_fds *fds);
/* Takes one out; -1 if there is none. */
int vf_fds_take(struct vf_vfio_user_fds *fds, uint32_t index);
/* Anything else could block whoever writes to it, or raise SIGPIPE. */
bool vf_fd_is_eventfd(int fd);

/* Non-blocking, close-on-exec. */
int vf_socket_prepare(int fd);
/* What goes now: bytes sent, -EAGAIN, or -EPIPE and the like. @fds go with the first byte. */
ssize_t vf_socket_send_some(int fd, const struct iovec *iov, int count, const int *fds,
			    uint32_t fd_count);
/* All of it, @iov is used up. -ETIMEDOUT at @deadline_ns. */
int vf_socket_send(int fd, struct iovec *iov, int count, const int *fds, uint32_t fd_count,
		   uint64_t deadline_ns);
/* Until there is something to receive. */
int vf_socket_wait_in(int fd, uint64_t deadline_ns);
/* What is there: bytes, 0 = the peer has gone, -EAGAIN, -EPROTO (too many descriptors). */
ssize_t vf_socket_receive_some(int fd, void *to, size_t len, struct vf_vfio_user_fds *fds);
/* Exactly @len. -ENOTCONN if the peer goes before. */
int vf_socket_receive(int fd, void *to, size_t len, struct vf_vfio_user_fds *fds,
		      uint64_t deadline_ns);

#endif
