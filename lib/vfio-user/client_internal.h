/* SPDX-License-Identifier: MIT */
/*
 * client_internal.h - what the client's files share: the connection (client.c) and one call on it.
 *
 * Threads: a caller claims a slot, sends its request while it owns `sending`, and then waits for
 * its slot to be done. Whoever waits while nobody reads becomes the reader, and reads for all until
 * its own reply is there; then it wakes another waiter to go on. With DMA callbacks and no twin
 * socket the client's own thread is the reader for ever, so that the server is heard at any time;
 * with a twin socket that thread listens there.
 *
 * Lock order: `lock` only. It is never held over a system call that can block.
 */
#ifndef VF_VFIO_USER_CLIENT_INTERNAL_H
#define VF_VFIO_USER_CLIENT_INTERNAL_H

#include <pthread.h>

#include "vfio-user/client.h"
#include "vfio-user/protocol.h"
#include "vfio-user/socket.h"

#define VF_VFIO_USER_SLOTS 64u		/* requests on the way at once */

/* One request and where its reply goes. All memory is the caller's. */
struct vf_vfio_user_call {
	uint16_t command;
	const void *head;	/* first part of the body, then `data` */
	size_t head_len;
	const void *data;
	size_t data_len;
	const int *fds;
	uint32_t fd_count;

	void *reply;		/* first part of the reply's body, then `reply_data` */
	size_t reply_size;
	void *reply_data;
	size_t reply_data_size;
	struct vf_vfio_user_fds *reply_fds;	/* NULL: descriptors in the reply are closed */
	bool transition;	/* the longer timeout */

	size_t reply_len;	/* out: bytes of body received, in both parts */
};

struct vf_vfio_user_slot {
	struct vf_vfio_user_call *call;	/* NULL = free */
	uint16_t id;
	bool sent;		/* a reply may come */
	bool busy;		/* the reader writes to the call's memory */
	bool done;
	bool waiting;		/* its owner sleeps on `wake` */
	int result;
	pthread_cond_t wake;
};

struct vf_vfio_user_client {
	int fd;
	int twin;		/* -1 = none */
	char name[64];
	struct vf_vfio_user_client_ops ops;
	void *user;
	uint64_t timeout_ns;
	struct vf_vfio_user_peer peer;
	struct vf_vfio_user_caps mine;
	uint64_t reply_max;	/* bytes of body that any reply may have */

	pthread_mutex_t lock;	/* everything below */
	uint64_t transition_timeout_ns;
	pthread_cond_t room;	/* a slot or `sending` is free */
	struct vf_vfio_user_slot slots[VF_VFIO_USER_SLOTS];
	uint32_t next_slot;
	uint16_t generation;
	bool sending;
	bool reading;
	int dead;		/* 0, or the first cause */
	char why[160];
	pthread_t thread;	/* serves the server's commands */
	bool has_thread;
	int stop_fd;		/* eventfd: the thread is to end */

	/* shared migration buffer */
	void *buffer;
	size_t buffer_bytes;
	int buffer_fd;
};

/* Sends @call and waits for its reply. Return: 0 with reply_len set, or a negative errno. */
int vf_vfio_user_client_call(struct vf_vfio_user_client *client, struct vf_vfio_user_call *call,
			     struct vferry_error *err);
/* The peer broke the protocol: the connection is dead. Returns -EPROTO. */
int vf_vfio_user_client_broken(struct vf_vfio_user_client *client, const char *what,
			       struct vferry_error *err);

#endif
