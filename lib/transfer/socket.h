/* SPDX-License-Identifier: MIT */
/* socket.h - connections before they are channels, and waiting for them. */
#ifndef VF_TRANSFER_SOCKET_H
#define VF_TRANSFER_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

#include "transfer/channel.h"
#include "transfer/uri.h"

/*
 * As vf_channel_connect(), but gives the descriptor. @loopback_only: a tcp host that has any address
 * beyond this host is refused before anything is sent (-EPERM).
 */
int vf_socket_connect(const struct vf_uri *uri, bool loopback_only, uint64_t timeout_ns,
		      int cancel_fd, struct vferry_error *err);
/* As vf_listener_accept(), but gives the descriptor. */
int vf_listener_accept_fd(struct vf_listener *listener, uint64_t timeout_ns, int cancel_fd,
			  struct vferry_error *err);

/*
 * Until @fd has @events, @deadline_ns (0 = never) passes, or @cancel_fd (-1: none) is readable.
 * Return: 0; -ETIMEDOUT; -ECANCELED; -errno.
 */
int vf_socket_wait(int fd, short events, uint64_t deadline_ns, int cancel_fd);
/* The moment @timeout_ns from now; 0 for 0. */
uint64_t vf_socket_deadline(uint64_t timeout_ns);
/* Buffers, congestion control: best effort. */
void vf_socket_tune(int fd);
/* "tcp:10.0.0.1:4444". Return: @to. */
const char *vf_socket_name(const struct vf_uri *uri, char *to, size_t size);

/* errno of a call on a blocking socket, negative: its timeout is -ETIMEDOUT. */
int vf_socket_failure(int error);

#endif
