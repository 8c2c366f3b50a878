/* SPDX-License-Identifier: MIT */
/*
 * client.c - the connection of client.h: negotiation, requests and replies, the server's commands.
 * How threads share the socket is told in client_internal.h.
 */
#define _GNU_SOURCE
#include "vfio-user/client_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define ID_SLOT_MASK (VF_VFIO_USER_SLOTS - 1)

_Static_assert((VF_VFIO_USER_SLOTS & ID_SLOT_MASK) == 0, "slots are a power of two");

/* The first cause counts. Everybody who waits wakes up, and so does a reader inside a recv. */
static void kill_locked(struct vf_vfio_user_client *client, int code, const char *why)
{
	if (client->dead)
		return;
	client->dead = code;
	snprintf(client->why, sizeof(client->why), "%s", why);
	(void) shutdown(client->fd, SHUT_RDWR);
	if (client->twin >= 0)
		(void) shutdown(client->twin, SHUT_RDWR);
	for (uint32_t i = 0; i < VF_VFIO_USER_SLOTS; i++)
		(void) pthread_cond_broadcast(&client->slots[i].wake);
	(void) pthread_cond_broadcast(&client->room);
}

static void kill_client(struct vf_vfio_user_client *client, int code, const char *why)
{
	(void) pthread_mutex_lock(&client->lock);
	kill_locked(client, code, why);
	(void) pthread_mutex_unlock(&client->lock);
}

static const char *why_of(int code)
{
	switch (code) {
	case -ETIMEDOUT:
		return "the device server did not answer in time";
	case -EPROTO:
		return "the device server broke the protocol";
	default:
		return "the device server has gone";
	}
}

static int dead_error(struct vf_vfio_user_client *client, struct vferry_error *err)
{
	return vferry_error_set(err, -ENOTCONN, "device-server-gone", client->name,
				"the connection is dead (%s): %s", vferry_errno_name(client->dead),
				client->why);
}

int vf_vfio_user_client_broken(struct vf_vfio_user_client *client, const char *what,
			       struct vferry_error *err)
{
	kill_client(client, -EPROTO, what);
	return vferry_error_set(err, -EPROTO, "device-server-protocol", client->name,
				"the device server broke the protocol: %s", what);
}

/* --- sending --- */

static int take_sending_locked(struct vf_vfio_user_client *client, uint64_t deadline_ns)
{
	while (client->sending && !client->dead) {
		struct timespec until = vf_timespec(deadline_ns);

		if (pthread_cond_timedwait(&client->room, &client->lock, &until) == ETIMEDOUT &&
		    client->sending)
			return -ETIMEDOUT;
	}
	if (client->dead)
		return -ENOTCONN;
	client->sending = true;
	return 0;
}

static void drop_sending_locked(struct vf_vfio_user_client *client)
{
	client->sending = false;
	(void) pthread_cond_broadcast(&client->room);
}

/* --- commands of the server --- */

static int send_answer(struct vf_vfio_user_client *client, int fd,
		       const struct vf_vfio_user_header *request, int result, const void *head,
		       size_t head_len, const void *data, size_t data_len)
{
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES];
	struct vf_vfio_user_header header = {
		.id = request->id,
		.command = request->command,
		.flags = VF_VFIO_USER_TYPE_REPLY | (result ? VF_VFIO_USER_ERROR : 0),
		.error = result ? (uint32_t) -result : 0,
	};
	struct iovec iov[3] = {
		{ .iov_base = raw, .iov_len = sizeof(raw) },
		{ .iov_base = (void *) head, .iov_len = result ? 0 : head_len },
		{ .iov_base = (void *) data, .iov_len = result ? 0 : data_len },
	};
	uint64_t deadline = vf_now_ns() + client->timeout_ns;
	int ret;

	header.size = (uint32_t) (sizeof(raw) + iov[1].iov_len + iov[2].iov_len);
	vf_vfio_user_put_header(raw, &header);
	if (fd == client->twin)		/* one thread writes there */
		return vf_socket_send(fd, iov, 3, NULL, 0, deadline);
	(void) pthread_mutex_lock(&client->lock);
	ret = take_sending_locked(client, deadline);
	(void) pthread_mutex_unlock(&client->lock);
	if (ret)
		return ret;
	ret = vf_socket_send(fd, iov, 3, NULL, 0, deadline);
	(void) pthread_mutex_lock(&client->lock);
	drop_sending_locked(client);
	(void) pthread_mutex_unlock(&client->lock);
	return ret;
}

static int run_dma(struct vf_vfio_user_client *client, uint16_t command, uint8_t *body, size_t len,
		   struct vf_vfio_user_access *access, uint8_t **ret_data)
{
	int ret = vf_vfio_user_get_dma_access(body, len, access);

	if (ret)
		return ret;
	if (access->count > client->mine.max_data_xfer_bytes)
		return -EINVAL;
	if (command == VF_VFIO_USER_DMA_READ) {
		uint8_t *data;

		if (!client->ops.dma_read)
			return -EOPNOTSUPP;
		data = malloc(access->count ? access->count : 1);
		if (!data)
			return -ENOMEM;
		ret = client->ops.dma_read(client->user, access->address, data, access->count);
		if (ret)
			free(data);
		else
			*ret_data = data;
		return ret;
	}
	if (len - VF_VFIO_USER_ACCESS_BYTES != access->count)
		return -EINVAL;
	return client->ops.dma_write ? client->ops.dma_write(client->user, access->address,
			body + VF_VFIO_USER_ACCESS_BYTES, access->count) : -EOPNOTSUPP;
}

/* Reads the rest of a command, obeys and answers it. */
static int serve_command(struct vf_vfio_user_client *client, int fd,
			 const struct vf_vfio_user_header *header, uint64_t deadline_ns)
{
	size_t len = header->size - VF_VFIO_USER_HEADER_BYTES;
	uint8_t fixed[VF_VFIO_USER_ACCESS_BYTES];
	struct vf_vfio_user_access access = { 0 };
	uint8_t *body = NULL, *data = NULL;
	int ret, result;

	if (len > VF_VFIO_USER_ACCESS_BYTES + client->mine.max_data_xfer_bytes)
		return -EPROTO;
	body = malloc(len ? len : 1);
	if (!body)
		return -ENOMEM;
	ret = vf_socket_receive(fd, body, len, NULL, deadline_ns);
	if (ret)
		goto out;
	if (header->command == VF_VFIO_USER_DMA_READ || header->command == VF_VFIO_USER_DMA_WRITE)
		result = run_dma(client, header->command, body, len, &access, &data);
	else
		result = -EOPNOTSUPP;
	if (header->flags & VF_VFIO_USER_NO_REPLY)
		goto out;
	vf_vfio_user_put_dma_access(fixed, &access);
	ret = send_answer(client, fd, header, result, fixed, sizeof(fixed), data,
			  data ? access.count : 0);
out:
	free(data);
	free(body);
	return ret;
}

/* --- replies --- */

static int server_errno(uint32_t error)
{
	/* Kept for what happens to the connection itself, or no errno at all. */
	if (!error || error > 4095 || error == ETIMEDOUT || error == EPROTO || error == ENOTCONN)
		return -EREMOTEIO;
	return -(int) error;
}

/* The slot that this reply answers, marked busy; NULL if nobody asked. */
static struct vf_vfio_user_slot *claim_reply(struct vf_vfio_user_client *client,
					     const struct vf_vfio_user_header *header)
{
	struct vf_vfio_user_slot *slot = &client->slots[header->id & ID_SLOT_MASK];

	(void) pthread_mutex_lock(&client->lock);
	if (!slot->call || !slot->sent || slot->done || slot->id != header->id ||
	    slot->call->command != header->command || client->dead)
		slot = NULL;
	else
		slot->busy = true;
	(void) pthread_mutex_unlock(&client->lock);
	return slot;
}

static int receive_body(struct vf_vfio_user_client *client, struct vf_vfio_user_call *call,
			size_t len, uint64_t deadline_ns)
{
	size_t first = vf_min_u64(len, call->reply_size);
	int ret;

	if (len > call->reply_size + call->reply_data_size)
		return -EPROTO;
	ret = vf_socket_receive(client->fd, call->reply, first, call->reply_fds, deadline_ns);
	if (!ret)
		ret = vf_socket_receive(client->fd, call->reply_data, len - first, call->reply_fds,
					deadline_ns);
	return ret;
}

/* Skips what follows the header of an error reply: nothing, by the specification. */
static int skip_body(struct vf_vfio_user_client *client, size_t len, uint64_t deadline_ns)
{
	uint8_t waste[256];

	if (len > 4096)
		return -EPROTO;
	while (len) {
		size_t step = vf_min_u64(len, sizeof(waste));
		int ret = vf_socket_receive(client->fd, waste, step, NULL, deadline_ns);

		if (ret)
			return ret;
		len -= step;
	}
	return 0;
}

static int receive_reply(struct vf_vfio_user_client *client,
			 const struct vf_vfio_user_header *header, struct vf_vfio_user_fds *fds,
			 uint64_t deadline_ns)
{
	size_t len = header->size - VF_VFIO_USER_HEADER_BYTES;
	struct vf_vfio_user_slot *slot = claim_reply(client, header);
	int ret, result = 0;

	if (!slot)
		return -EPROTO;
	if (header->flags & VF_VFIO_USER_ERROR) {
		result = server_errno(header->error);
		ret = skip_body(client, len, deadline_ns);
	} else {
		if (slot->call->reply_fds) {
			*slot->call->reply_fds = *fds;
			fds->count = 0;
		}
		ret = receive_body(client, slot->call, len, deadline_ns);
	}
	(void) pthread_mutex_lock(&client->lock);
	slot->busy = false;
	if (!ret) {
		slot->call->reply_len = result ? 0 : len;
		slot->result = result;
		slot->done = true;
	}
	(void) pthread_cond_signal(&slot->wake);
	(void) pthread_mutex_unlock(&client->lock);
	return ret;
}

/* Reads one message from @fd, whatever it is. -ETIMEDOUT only before its first byte counts as
 * "nothing came"; the caller treats all failures alike. */
static int receive_message(struct vf_vfio_user_client *client, int fd, uint64_t deadline_ns)
{
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES];
	struct vf_vfio_user_fds fds = { .count = 0 };
	struct vf_vfio_user_header header;
	int ret;

	ret = vf_socket_receive(fd, raw, sizeof(raw), &fds, deadline_ns);
	if (ret)
		goto out;
	/* A message that has begun must also end in time, though the reader may wait for ever. */
	if (deadline_ns == VF_SOCKET_FOREVER)
		deadline_ns = vf_now_ns() + client->timeout_ns;
	ret = -EPROTO;
	if (vf_vfio_user_get_header(raw, &header))
		goto out;
	if ((header.flags & VF_VFIO_USER_TYPE_MASK) == VF_VFIO_USER_TYPE_COMMAND)
		ret = serve_command(client, fd, &header, deadline_ns);
	else if (fd == client->fd)
		ret = receive_reply(client, &header, &fds, deadline_ns);
out:
	vf_fds_done(&fds);
	return ret;
}

static bool wait_readable(int fd, int stop_fd)
{
	struct pollfd p[2] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
	};

	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return false;
	return !p[1].revents;
}

/* Listens to the server at all times: on the twin socket, or as the one reader of the socket. */
static void *listen_thread(void *arg)
{
	struct vf_vfio_user_client *client = arg;
	int fd = client->twin >= 0 ? client->twin : client->fd;

	while (wait_readable(fd, client->stop_fd)) {
		int ret = receive_message(client, fd, VF_SOCKET_FOREVER);

		if (ret) {
			kill_client(client, ret, why_of(ret));
			break;
		}
	}
	return NULL;
}

/* --- calls --- */

static struct vf_vfio_user_slot *take_slot_locked(struct vf_vfio_user_client *client,
						  struct vf_vfio_user_call *call,
						  uint64_t deadline_ns)
{
	while (!client->dead) {
		struct timespec until = vf_timespec(deadline_ns);

		for (uint32_t i = 0; i < VF_VFIO_USER_SLOTS; i++) {
			uint32_t n = (client->next_slot + i) & ID_SLOT_MASK;
			struct vf_vfio_user_slot *slot = &client->slots[n];

			if (slot->call)
				continue;
			client->next_slot = n + 1;
			client->generation++;
			slot->call = call;
			slot->id = (uint16_t) (client->generation * VF_VFIO_USER_SLOTS + n);
			slot->sent = slot->busy = slot->done = slot->waiting = false;
			slot->result = 0;
			return slot;
		}
		if (pthread_cond_timedwait(&client->room, &client->lock, &until) == ETIMEDOUT)
			return NULL;
	}
	return NULL;
}

static int send_request(struct vf_vfio_user_client *client, struct vf_vfio_user_slot *slot,
			uint64_t deadline_ns)
{
	struct vf_vfio_user_call *call = slot->call;
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES];
	struct vf_vfio_user_header header = {
		.id = slot->id,
		.command = call->command,
		.size = (uint32_t) (sizeof(raw) + call->head_len + call->data_len),
		.flags = VF_VFIO_USER_TYPE_COMMAND,
	};
	struct iovec iov[3] = {
		{ .iov_base = raw, .iov_len = sizeof(raw) },
		{ .iov_base = (void *) call->head, .iov_len = call->head_len },
		{ .iov_base = (void *) call->data, .iov_len = call->data_len },
	};

	vf_vfio_user_put_header(raw, &header);
	return vf_socket_send(client->fd, iov, 3, call->fds, call->fd_count, deadline_ns);
}

/* Somebody else goes on reading, if somebody waits and nobody reads. */
static void pass_reading_locked(struct vf_vfio_user_client *client)
{
	if (client->reading)
		return;
	for (uint32_t i = 0; i < VF_VFIO_USER_SLOTS; i++) {
		if (client->slots[i].call && client->slots[i].waiting && !client->slots[i].done) {
			(void) pthread_cond_signal(&client->slots[i].wake);
			return;
		}
	}
}

static int wait_reply_locked(struct vf_vfio_user_client *client, struct vf_vfio_user_slot *slot,
			     uint64_t deadline_ns)
{
	struct timespec until = vf_timespec(deadline_ns);
	int ret = 0;

	while (!slot->done && !client->dead) {
		if (!client->reading) {
			client->reading = true;
			(void) pthread_mutex_unlock(&client->lock);
			ret = receive_message(client, client->fd, deadline_ns);
			(void) pthread_mutex_lock(&client->lock);
			client->reading = false;
		} else {
			slot->waiting = true;
			if (pthread_cond_timedwait(&slot->wake, &client->lock, &until) ==
			    ETIMEDOUT && !slot->done)
				ret = -ETIMEDOUT;
			slot->waiting = false;
		}
		if (ret) {
			if (client->dead)
				ret = -ENOTCONN;
			kill_locked(client, ret, why_of(ret));
			break;
		}
	}
	/* The reader may be writing to our memory; the socket is shut down, so it ends at once. */
	while (slot->busy)
		(void) pthread_cond_wait(&slot->wake, &client->lock);
	if (slot->done)
		return slot->result;
	return ret ? ret : -ENOTCONN;
}

static int call_locked(struct vf_vfio_user_client *client, struct vf_vfio_user_call *call,
		       uint64_t deadline_ns)
{
	struct vf_vfio_user_slot *slot = take_slot_locked(client, call, deadline_ns);
	int ret;

	if (!slot) {
		ret = client->dead ? -ENOTCONN : -ETIMEDOUT;
		kill_locked(client, ret, why_of(ret));
		return ret;
	}
	ret = take_sending_locked(client, deadline_ns);
	if (!ret) {
		slot->sent = true;	/* the reply may be faster than we are */
		(void) pthread_mutex_unlock(&client->lock);
		ret = send_request(client, slot, deadline_ns);
		(void) pthread_mutex_lock(&client->lock);
		drop_sending_locked(client);
	}
	if (ret) {
		if (client->dead || ret != -ETIMEDOUT)
			ret = -ENOTCONN;
		kill_locked(client, ret, why_of(ret));
		while (slot->busy)
			(void) pthread_cond_wait(&slot->wake, &client->lock);
	} else {
		ret = wait_reply_locked(client, slot, deadline_ns);
	}
	slot->call = NULL;
	(void) pthread_cond_broadcast(&client->room);
	pass_reading_locked(client);
	return ret;
}

int vf_vfio_user_client_call(struct vf_vfio_user_client *client, struct vf_vfio_user_call *call,
			     struct vferry_error *err)
{
	uint64_t timeout;
	int ret, dead;

	(void) pthread_mutex_lock(&client->lock);
	dead = client->dead;
	timeout = call->transition ? client->transition_timeout_ns : client->timeout_ns;
	ret = dead ? -ENOTCONN : call_locked(client, call, vf_now_ns() + timeout);
	dead = client->dead;
	(void) pthread_mutex_unlock(&client->lock);
	if (!ret)
		return 0;
	if (dead && ret == -ENOTCONN)
		return dead_error(client, err);
	if (dead)
		return vferry_error_set(err, ret, ret == -ETIMEDOUT ? "device-server-timeout" :
					"device-server-protocol", client->name, "%s: %s",
					vf_vfio_user_command_name(call->command), why_of(ret));
	return vferry_error_set(err, ret, "device-refused", client->name,
				"the device server refused %s with %s",
				vf_vfio_user_command_name(call->command), vferry_errno_name(ret));
}

/* --- life --- */

static void set_peer(struct vf_vfio_user_client *client, uint16_t major, uint16_t minor,
		     const struct vf_vfio_user_caps *caps)
{
	client->peer = (struct vf_vfio_user_peer) {
		.major = major,
		.minor = minor,
		.max_msg_fds = caps->max_msg_fds,
		.max_data_xfer_bytes = caps->max_data_xfer_bytes,
		.max_dma_maps = caps->max_dma_maps,
		.pgsizes = caps->pgsizes,
		.extensions = caps->extensions,
		.p2p = caps->p2p,
		.data_size = caps->data_size,
		.precopy_info = caps->precopy_info,
		.dma_log_ranges = caps->dma_log_ranges,
		.mig_buffer_bytes = caps->mig_buffer_bytes,
	};
}

/* A server that offers more than was proposed is tolerated (libvfio-user does): what counts is what
 * both have. A twin socket that came without being asked for is closed with the other descriptors. */
static int negotiate(struct vf_vfio_user_client *client, struct vferry_error *err)
{
	uint8_t head[VF_VFIO_USER_VERSION_BYTES];
	struct vf_vfio_user_fds fds = { .count = 0 };
	struct vf_vfio_user_caps theirs, both;
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_VERSION,
		.head = head,
		.head_len = sizeof(head),
		.reply_size = VF_VFIO_USER_VERSION_BYTES + VF_VFIO_USER_JSON_MAX + 1,
		.reply_fds = &fds,
	};
	uint16_t major, minor;
	char *text = NULL;
	int ret;

	vf_put_u16(head, VF_VFIO_USER_MAJOR);
	vf_put_u16(head + 2, VF_VFIO_USER_MINOR);
	ret = vf_vfio_user_caps_format(&client->mine, &text);
	call.reply = malloc(call.reply_size);
	if (ret || !call.reply) {
		ret = vferry_error_set(err, -ENOMEM, "no-memory", client->name, "out of memory");
		goto out;
	}
	call.data = text;
	call.data_len = strlen(text) + 1;
	ret = vf_vfio_user_client_call(client, &call, &why);
	if (ret == -ENOTCONN)	/* vfio-user has no words for it */
		ret = vferry_error_set(err, ret, "device-server-busy", client->name,
				       "the device server hung up at once: it serves another client, or "
				       "does not trust this user");
	else if (ret && err && !err->code)
		*err = why;
	if (ret)
		goto out;
	if (vf_vfio_user_get_version(call.reply, call.reply_len, &major, &minor, &theirs)) {
		ret = vf_vfio_user_client_broken(client, "its VERSION reply makes no sense", err);
		goto out;
	}
	if (major != VF_VFIO_USER_MAJOR || minor > VF_VFIO_USER_MINOR) {
		kill_client(client, -EPROTONOSUPPORT, "the device server speaks another version");
		ret = vferry_error_set(err, -EPROTONOSUPPORT, "device-server-version", client->name,
				       "the device server speaks vfio-user %u.%u, not %u.%u", major,
				       minor, VF_VFIO_USER_MAJOR, VF_VFIO_USER_MINOR);
		goto out;
	}
	vf_vfio_user_caps_meet(&client->mine, &theirs, &both);
	set_peer(client, major, minor, &both);
	if (both.twin_socket && theirs.twin_fd_index >= 0) {
		client->twin = vf_fds_take(&fds, (uint32_t) theirs.twin_fd_index);
		if (client->twin < 0) {
			ret = vf_vfio_user_client_broken(client, "its twin socket did not come", err);
			goto out;
		}
		ret = vf_socket_prepare(client->twin);
		if (ret) {
			vferry_error_set(err, ret, "device-server-protocol", client->name,
					 "the device server's twin socket can't be used");
			goto out;
		}
		client->peer.twin_socket = true;
	}
out:
	vf_fds_done(&fds);
	free(call.reply);
	free(text);
	return ret;
}

static int start_thread(struct vf_vfio_user_client *client, struct vferry_error *err)
{
	int ret;

	if (!client->ops.dma_read && !client->ops.dma_write)
		return 0;
	client->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (client->stop_fd < 0)
		return vferry_error_set(err, -errno, "no-descriptor", client->name,
					"no eventfd: %s", vferry_errno_name(errno));
	if (client->twin < 0)
		client->reading = true;		/* for good */
	ret = pthread_create(&client->thread, NULL, listen_thread, client);
	if (ret)
		return vferry_error_set(err, -ret, "no-thread", client->name, "no thread: %s",
					vferry_errno_name(ret));
	client->has_thread = true;
	return 0;
}

static void read_options(struct vf_vfio_user_client *client,
			 const struct vf_vfio_user_client_options *given)
{
	struct vf_vfio_user_client_options options = { 0 };

	if (given)
		memcpy(&options, given, vf_min_u64(given->size, sizeof(options)));
	if (options.ops)
		memcpy(&client->ops, options.ops, vf_min_u64(options.ops->size,
							     sizeof(client->ops)));
	if (!options.timeout_ms)
		options.timeout_ms = VF_VFIO_USER_TIMEOUT_MS;
	if (!options.transition_timeout_ms)
		options.transition_timeout_ms = options.timeout_ms;
	client->user = options.user;
	client->timeout_ns = options.timeout_ms * VF_MS_NS;
	client->transition_timeout_ns = options.transition_timeout_ms * VF_MS_NS;
	vf_vfio_user_caps_default(&client->mine);
	client->mine.max_msg_fds = 16;
	client->mine.pgsizes = 4096;
	client->mine.twin_socket = client->ops.dma_read || client->ops.dma_write;
	if (!options.no_extensions) {
		client->mine.extensions = true;
		client->mine.p2p = client->mine.data_size = client->mine.precopy_info = true;
		client->mine.dma_log_ranges = true;
		client->mine.mig_buffer_bytes = INT64_MAX;
	}
}

static int init_sync(struct vf_vfio_user_client *client)
{
	pthread_condattr_t attr;
	int ret = pthread_condattr_init(&attr);

	if (ret)
		return -ret;
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_mutex_init(&client->lock, NULL);
	(void) pthread_cond_init(&client->room, &attr);
	for (uint32_t i = 0; i < VF_VFIO_USER_SLOTS; i++)
		(void) pthread_cond_init(&client->slots[i].wake, &attr);
	(void) pthread_condattr_destroy(&attr);
	return 0;
}

int vf_vfio_user_client_attach(int take_fd, const char *name,
			       const struct vf_vfio_user_client_options *options,
			       struct vf_vfio_user_client **ret_client, struct vferry_error *err)
{
	struct vf_vfio_user_client *client = calloc(1, sizeof(*client));
	int ret = client ? init_sync(client) : -ENOMEM;

	if (ret) {
		free(client);
		vf_close(&take_fd);
		return vferry_error_set(err, ret, "no-memory", name, "out of memory");
	}
	client->fd = take_fd;
	client->twin = client->stop_fd = client->buffer_fd = -1;
	snprintf(client->name, sizeof(client->name), "vfio-user:%s", name ? name : "");
	read_options(client, options);
	ret = vf_socket_prepare(take_fd);
	if (ret)
		vferry_error_set(err, ret, "device-server-gone", client->name,
				 "the socket can't be used: %s", vferry_errno_name(ret));
	else
		ret = negotiate(client, err);
	if (!ret)
		ret = start_thread(client, err);
	if (ret) {
		vf_vfio_user_client_free(client);
		return ret;
	}
	*ret_client = client;
	return 0;
}

int vf_vfio_user_client_connect(const char *path, const struct vf_vfio_user_client_options *options,
				struct vf_vfio_user_client **ret_client, struct vferry_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd, ret;

	if (len >= sizeof(address.sun_path))
		return vferry_error_set(err, -ENAMETOOLONG, "socket-path", path,
					"the socket's path is longer than %zu bytes",
					sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return vferry_error_set(err, -errno, "no-descriptor", path, "no socket: %s",
					vferry_errno_name(errno));
	if (connect(fd, (struct sockaddr *) &address, sizeof(address))) {
		ret = vferry_error_set(err, -errno, "device-server-connect", path,
				       "cannot connect to the device server at %s: %s", path,
				       vferry_errno_name(errno));
		vf_close(&fd);
		return ret;
	}
	ret = vferry_trust_check(options && options->size >= offsetof(struct vf_vfio_user_client_options,
							      trust) + sizeof(options->trust)
				 ? options->trust : NULL, fd, err);
	if (ret) {
		vf_close(&fd);
		return ret;
	}
	return vf_vfio_user_client_attach(fd, path, options, ret_client, err);
}

void vf_vfio_user_client_free(struct vf_vfio_user_client *client)
{
	if (!client)
		return;
	kill_client(client, -ENOTCONN, "closed");
	if (client->has_thread) {
		(void) eventfd_write(client->stop_fd, 1);
		(void) pthread_join(client->thread, NULL);
	}
	if (client->buffer)
		(void) munmap(client->buffer, client->buffer_bytes);
	vf_close(&client->buffer_fd);
	vf_close(&client->stop_fd);
	vf_close(&client->twin);
	vf_close(&client->fd);
	for (uint32_t i = 0; i < VF_VFIO_USER_SLOTS; i++)
		(void) pthread_cond_destroy(&client->slots[i].wake);
	(void) pthread_cond_destroy(&client->room);
	(void) pthread_mutex_destroy(&client->lock);
	free(client);
}

const struct vf_vfio_user_peer *vf_vfio_user_client_peer(const struct vf_vfio_user_client *client)
{
	return &client->peer;
}

int vf_vfio_user_client_check_alive(struct vf_vfio_user_client *client, struct vferry_error *err)
{
	struct pollfd p = { .fd = client->fd, .events = POLLRDHUP };
	int ret = 0;

	(void) pthread_mutex_lock(&client->lock);
	if (!client->dead && poll(&p, 1, 0) > 0)
		kill_locked(client, -ENOTCONN, why_of(-ENOTCONN));
	if (client->dead)
		ret = dead_error(client, err);
	(void) pthread_mutex_unlock(&client->lock);
	return ret;
}

void vf_vfio_user_client_shutdown(struct vf_vfio_user_client *client)
{
	kill_client(client, -ENOTCONN, "shut down on this side");
}

void vf_vfio_user_client_set_transition_timeout(struct vf_vfio_user_client *client, uint32_t ms)
{
	(void) pthread_mutex_lock(&client->lock);
	client->transition_timeout_ns = ms ? ms * VF_MS_NS : client->timeout_ns;
	(void) pthread_mutex_unlock(&client->lock);
}
