/* SPDX-License-Identifier: MIT */
/*
 * server.c - the connection of server.h: who is connected, whose turn it is, and the order of
 * requests. See server_internal.h for what lies where.
 *
 * One request at a time: received whole, handed to its handler, its reply sent whole, then the
 * next. Between two of these steps dispatch may return: what is unfinished stays in `incoming`,
 * `current` and `reply`. While a callback is LATER the client's socket is not watched.
 */
#define _GNU_SOURCE
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"

#define MESSAGES_AT_ONCE 64	/* then the device's own loop has its turn */

int vf_server_watch(struct vf_vfio_user_server *server, int fd, uint64_t tag, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = tag };

	return epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

void vf_server_unwatch(struct vf_vfio_user_server *server, int fd)
{
	(void) epoll_ctl(server->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* --- what a request's handler leaves --- */

uint8_t *vf_server_reply(struct vf_vfio_user_server *server, size_t len)
{
	if (len > server->reply_capacity) {
		uint8_t *more = malloc(len);

		if (!more)
			return NULL;
		free(server->reply);
		server->reply = more;
		server->reply_capacity = len;
	}
	/* Never what an earlier client or request has left there. */
	memset(server->reply, 0, len);
	server->reply_len = len;
	return server->reply;
}

void vf_server_expect(struct vf_vfio_user_server *server, enum vf_server_later kind)
{
	(void) pthread_mutex_lock(&server->state_lock);
	server->completed = false;
	(void) pthread_mutex_unlock(&server->state_lock);
	server->later = kind;
}

int64_t vf_server_called(struct vf_vfio_user_server *server, int64_t ret)
{
	if (ret != VF_VFIO_USER_LATER)
		server->later = VF_LATER_NONE;
	return ret;
}

void vf_vfio_user_server_complete(struct vf_vfio_user_server *server, int64_t result)
{
	(void) pthread_mutex_lock(&server->state_lock);
	server->completed = true;
	server->result = result;
	(void) pthread_mutex_unlock(&server->state_lock);
	(void) eventfd_write(server->wake, 1);
}

static void drop_reply_fds(struct vf_vfio_user_server *server)
{
	for (uint32_t i = 0; server->reply_fds_owned && i < server->reply_fd_count; i++)
		vf_close(&server->reply_fds[i]);
	server->reply_fd_count = 0;
	server->reply_fds_owned = false;
}

/* --- the client comes and goes --- */

/* In place of removing and adding it: that cannot fail. */
static void watch_listener(struct vf_vfio_user_server *server, bool watch)
{
	struct epoll_event event = { .events = watch ? EPOLLIN : 0, .data.u64 = VF_TAG_LISTENER };

	(void) epoll_ctl(server->epoll, EPOLL_CTL_MOD, server->listener, &event);
	server->next_waits = !watch;
}

static void watch_client(struct vf_vfio_user_server *server, bool in, bool out)
{
	struct epoll_event event = {
		.events = (in ? EPOLLIN : 0u) | (out ? EPOLLOUT : 0u),
		.data.u64 = VF_TAG_CLIENT,
	};
	bool want = in || out;

	if (want == server->watching && out == server->watching_out)
		return;
	/* EPOLLHUP can't be masked, so a socket that must wait leaves the set. */
	(void) epoll_ctl(server->epoll, !want ? EPOLL_CTL_DEL :
			 server->watching ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, server->fd, &event);
	server->watching = want;
	server->watching_out = out;
}

static void set_twin(struct vf_vfio_user_server *server, int fd)
{
	(void) pthread_mutex_lock(&server->twin_lock);
	vf_close(&server->twin);
	server->twin = fd;
	(void) pthread_mutex_unlock(&server->twin_lock);
}

static void disconnect(struct vf_vfio_user_server *server)
{
	if (server->fd < 0)
		return;
	watch_client(server, false, false);
	vf_close(&server->fd);
	set_twin(server, -1);
	vf_server_request_free(server->incoming);
	vf_server_request_free(server->current);
	server->incoming = server->current = NULL;
	while (server->queue) {
		struct vf_vfio_user_request *next = server->queue->next;

		vf_server_request_free(server->queue);
		server->queue = next;
	}
	server->queue_end = &server->queue;
	server->queue_count = 0;
	drop_reply_fds(server);
	server->replying = server->negotiated = server->client_gone = false;
	server->later = VF_LATER_NONE;
	vf_server_dma_forget(server);
	vf_server_irqs_forget(server, true);
	vf_server_buffer_forget(server);
	vf_server_kicks_forget(server);
	if (server->ops.disconnected)
		server->ops.disconnected(server->user);
	if (server->ops.reset)
		(void) server->ops.reset(server->user, VF_VFIO_USER_RESET_LOST_CLIENT);
	(void) vf_server_finish_reset(server, 0);
	if (server->next_waits)
		watch_listener(server, true);
}

/* Takes @fd. */
static int adopt(struct vf_vfio_user_server *server, int fd)
{
	int ret = vf_socket_prepare(fd);

	if (ret) {
		vf_close(&fd);
		return ret;
	}
	server->fd = fd;
	server->watching = server->watching_out = false;
	vf_vfio_user_caps_default(&server->theirs);
	vf_vfio_user_caps_meet(&server->mine, &server->theirs, &server->both);
	watch_client(server, true, false);
	return 0;
}

static void accept_client(struct vf_vfio_user_server *server, struct vferry_error *err)
{
	int fd;

	/* It is the client still, until what it has said is dealt with. */
	if (vf_vfio_user_server_peer_gone(server)) {
		watch_listener(server, false);
		return;
	}
	fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	/* vfio-user has no way to say why: it goes into the device's log. */
	if (server->fd >= 0 || vferry_trust_check(server->options.trust, fd, err))
		vf_close(&fd);		/* one at a time: the second sees the end at once */
	else
		(void) adopt(server, fd);
}

/* --- handlers --- */

static int make_twin(struct vf_vfio_user_server *server)
{
	int pair[2];

	/* Blocking: the client's end is as a foreign client may expect it; ours never waits. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	set_twin(server, pair[0]);
	server->reply_fds[0] = pair[1];
	server->reply_fd_count = 1;
	server->reply_fds_owned = true;
	return 0;
}

static int handle_version(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	struct vf_vfio_user_caps offer;
	uint16_t major, minor;
	uint8_t *reply;
	char *text;
	int ret;

	if (server->negotiated ||
	    vf_vfio_user_get_version(request->body, request->body_len, &major, &minor,
				     &server->theirs))
		return -EINVAL;
	if (major != VF_VFIO_USER_MAJOR)
		return -EPROTONOSUPPORT;
	vf_vfio_user_caps_meet(&server->mine, &server->theirs, &server->both);
	server->both.twin_socket = server->both.twin_socket && server->theirs.max_msg_fds;
	/* Limits are each side's own, capabilities what both have. */
	offer = server->mine;
	offer.twin_socket = server->both.twin_socket;
	offer.extensions = server->both.extensions;
	if (offer.twin_socket) {
		ret = make_twin(server);
		if (ret)
			return ret;
		offer.twin_fd_index = 0;
	}
	ret = vf_vfio_user_caps_format(&offer, &text);
	if (ret)
		return ret;
	reply = vf_server_reply(server, VF_VFIO_USER_VERSION_BYTES + strlen(text) + 1);
	if (reply) {
		vf_put_u16(reply, VF_VFIO_USER_MAJOR);
		vf_put_u16(reply + 2, minor < VF_VFIO_USER_MINOR ? minor : VF_VFIO_USER_MINOR);
		memcpy(reply + VF_VFIO_USER_VERSION_BYTES, text, strlen(text) + 1);
		server->negotiated = true;
	}
	free(text);
	if (!reply)
		return -ENOMEM;
	if (server->ops.connected)
		server->ops.connected(server->user);
	return 0;
}

static int handle(struct vf_vfio_user_server *server)
{
	uint16_t command = server->current->header.command;

	if (!server->negotiated && command != VF_VFIO_USER_VERSION)
		return -EINVAL;
	if (command >= VF_VFIO_USER_PRECOPY_INFO && !server->both.extensions)
		return -EOPNOTSUPP;
	switch (command) {
	case VF_VFIO_USER_VERSION:
		return handle_version(server);
	case VF_VFIO_USER_DMA_MAP:
		return vf_server_dma_map(server);
	case VF_VFIO_USER_DMA_UNMAP:
		return vf_server_dma_unmap(server);
	case VF_VFIO_USER_GET_INFO:
		return vf_server_get_info(server);
	case VF_VFIO_USER_GET_REGION_INFO:
		return vf_server_get_region_info(server);
	case VF_VFIO_USER_GET_REGION_IO_FDS:
		return vf_server_get_region_io_fds(server);
	case VF_VFIO_USER_GET_IRQ_INFO:
		return vf_server_get_irq_info(server);
	case VF_VFIO_USER_SET_IRQS:
		return vf_server_set_irqs(server);
	case VF_VFIO_USER_REGION_READ:
		return vf_server_region_read(server);
	case VF_VFIO_USER_REGION_WRITE:
		return vf_server_region_write(server);
	case VF_VFIO_USER_RESET:
		return vf_server_reset(server);
	case VF_VFIO_USER_FEATURE:
		return vf_server_feature(server);
	case VF_VFIO_USER_MIG_DATA_READ:
		return vf_server_mig_data_read(server);
	case VF_VFIO_USER_MIG_DATA_WRITE:
		return vf_server_mig_data_write(server);
	case VF_VFIO_USER_PRECOPY_INFO:
		return vf_server_precopy_info(server);
	case VF_VFIO_USER_BUFFER_OPEN:
		return vf_server_buffer_open(server);
	case VF_VFIO_USER_BUFFER_READ:
		return vf_server_buffer_read(server);
	case VF_VFIO_USER_BUFFER_WRITE:
		return vf_server_buffer_write(server);
	default:
		return -EOPNOTSUPP;
	}
}

/* The device's word about the request, then the request itself. */
static int begin(struct vf_vfio_user_server *server)
{
	int64_t ret = 0;

	/* What was written before the request was sent is done before it, as on a bus. */
	vf_server_kicks_take(server);
	if (server->ops.request) {
		vf_server_expect(server, VF_LATER_REQUEST);
		ret = vf_server_called(server, server->ops.request(server->user,
				       server->current->header.command));
	}
	return ret ? (int) ret : handle(server);
}

int vf_server_finish(struct vf_vfio_user_server *server, enum vf_server_later kind, int64_t result)
{
	switch (kind) {
	case VF_LATER_PLAIN:
		return (int) result;
	case VF_LATER_REQUEST:
		return result ? (int) result : handle(server);
	case VF_LATER_RESET:
		return vf_server_finish_reset(server, result);
	default:
		return vf_server_finish_migration(server, kind, result);
	}
}

/* --- replies --- */

static void end_request(struct vf_vfio_user_server *server)
{
	drop_reply_fds(server);
	vf_server_request_free(server->current);
	server->current = NULL;
	server->replying = false;
}

/* A callback's LATER stays as it is; else the reply is laid out and sending begins. */
static void answer(struct vf_vfio_user_server *server, int ret)
{
	struct vf_vfio_user_header header = server->current->header;

	if (ret == VF_VFIO_USER_LATER)
		return;
	if (ret > 0 || ret < -4095)
		ret = -EIO;	/* a callback's mistake must not look like success */
	if (header.flags & VF_VFIO_USER_NO_REPLY) {
		end_request(server);
		return;
	}
	if (ret) {
		server->reply_len = 0;
		drop_reply_fds(server);
	}
	header.size = (uint32_t) (VF_VFIO_USER_HEADER_BYTES + server->reply_len);
	header.flags = VF_VFIO_USER_TYPE_REPLY | (ret ? VF_VFIO_USER_ERROR : 0);
	header.error = (uint32_t) -ret;
	vf_vfio_user_put_header(server->reply_raw, &header);
	server->reply_sent = 0;
	server->replying = true;
}

/* Return: 0 = sent, -EAGAIN, or the client has gone. */
static int send_reply(struct vf_vfio_user_server *server)
{
	size_t total = VF_VFIO_USER_HEADER_BYTES + server->reply_len;

	while (server->reply_sent < total) {
		size_t head = server->reply_sent < VF_VFIO_USER_HEADER_BYTES ?
			      VF_VFIO_USER_HEADER_BYTES - server->reply_sent : 0;
		size_t at = head ? 0 : server->reply_sent - VF_VFIO_USER_HEADER_BYTES;
		struct iovec iov[2] = {
			{ .iov_base = server->reply_raw + VF_VFIO_USER_HEADER_BYTES - head,
			  .iov_len = head },
			{ .iov_base = server->reply_len ? server->reply + at : NULL,
			  .iov_len = server->reply_len - at },
		};
		ssize_t sent = vf_socket_send_some(server->fd, iov, 2, server->reply_fds,
						   server->reply_sent ? 0 : server->reply_fd_count);

		if (sent < 0)
			return (int) sent;
		server->reply_sent += (size_t) sent;
	}
	return 0;
}

/* --- dispatch --- */

/* One step for the client. Return: 0 = go on, -EAGAIN = wait, else it has to go. */
static int step(struct vf_vfio_user_server *server)
{
	int ret;

	if (server->later)
		return -EAGAIN;
	if (server->client_gone)
		return -ENOTCONN;
	if (server->replying) {
		ret = send_reply(server);
		if (!ret)
			end_request(server);
		return ret;
	}
	ret = vf_server_next_request(server);
	if (ret)
		return ret;
	if ((server->current->header.flags & VF_VFIO_USER_TYPE_MASK) != VF_VFIO_USER_TYPE_COMMAND)
		return -EPROTO;
	server->reply_len = 0;
	ret = begin(server);
	if (server->client_gone && ret != VF_VFIO_USER_LATER)
		return -ENOTCONN;
	answer(server, ret);
	return 0;
}

/* What complete() has said, if a callback is waiting for it. */
static void take_completion(struct vf_vfio_user_server *server)
{
	enum vf_server_later kind = server->later;
	bool completed;
	int64_t result;
	int ret;

	if (!kind)
		return;
	(void) pthread_mutex_lock(&server->state_lock);
	completed = server->completed;
	result = server->result;
	server->completed = false;
	(void) pthread_mutex_unlock(&server->state_lock);
	if (!completed)
		return;
	server->later = VF_LATER_NONE;
	ret = vf_server_finish(server, kind, result);
	answer(server, ret);
}

static void serve_client(struct vf_vfio_user_server *server, struct vferry_error *err)
{
	int ret = 0;

	for (int i = 0; i < MESSAGES_AT_ONCE && server->fd >= 0 && !ret; i++)
		ret = step(server);
	if (server->fd < 0)
		return;
	if (!ret || ret == -EAGAIN) {
		bool wait = server->later != VF_LATER_NONE;

		watch_client(server, !wait && !server->replying, !wait && server->replying);
		/* Requests that were put by give no event of their own. */
		if (!wait && server->queue && !server->replying)
			(void) eventfd_write(server->wake, 1);
		return;
	}
	vferry_error_set(err, ret, ret == -ENOTCONN || ret == -EPIPE || ret == -ECONNRESET ?
			 "client-gone" : "client-protocol", "vfio-user",
			 "the client %s (%s)", ret == -EPROTO ? "broke the protocol" : "has gone",
			 vferry_errno_name(ret));
	disconnect(server);
}

int vf_vfio_user_server_dispatch(struct vf_vfio_user_server *server, struct vferry_error *err)
{
	struct epoll_event events[8];
	int count;

	server->dispatch_thread = gettid();
	do {
		count = epoll_wait(server->epoll, events, VF_ARRAY_COUNT(events), 0);
	} while (count < 0 && errno == EINTR);
	if (count < 0)
		return vferry_error_set(err, -errno, "server-poll", "vfio-user", "epoll: %s",
					vferry_errno_name(errno));
	for (int i = 0; i < count; i++) {
		uint64_t tag = events[i].data.u64;
		eventfd_t waste;

		if (tag == VF_TAG_LISTENER)
			accept_client(server, err);
		else if (tag == VF_TAG_WAKE)
			(void) eventfd_read(server->wake, &waste);
		else if (tag >= VF_TAG_UNMASK && tag < VF_TAG_UNMASK + VF_SERVER_IRQS)
			vf_server_irq_unmask_event(server, (uint32_t) (tag - VF_TAG_UNMASK));
	}
	take_completion(server);
	serve_client(server, err);
	vf_server_kicks_take(server);
	return 0;
}

/* --- life --- */

static void read_options(struct vf_vfio_user_server *server,
			 const struct vf_vfio_user_server_options *given)
{
	struct vf_vfio_user_server_options options = { 0 };

	memcpy(&options, given, vf_min_u64(given->size, sizeof(options)));
	if (options.ops)
		memcpy(&server->ops, options.ops, vf_min_u64(options.ops->size,
							     sizeof(server->ops)));
	if (!options.device_flags)
		options.device_flags = VF_VFIO_DEVICE_FLAGS_RESET | VF_VFIO_DEVICE_FLAGS_PCI;
	if (!options.max_msg_fds)
		options.max_msg_fds = 16;
	if (options.max_msg_fds > VF_VFIO_USER_MAX_FDS)
		options.max_msg_fds = VF_VFIO_USER_MAX_FDS;
	if (!options.max_dma_maps)
		options.max_dma_maps = 4096;
	if (!options.max_data_xfer_bytes)
		options.max_data_xfer_bytes = VF_VFIO_USER_DEFAULT_XFER;
	options.max_data_xfer_bytes = vf_max_u64(options.max_data_xfer_bytes, VF_VFIO_USER_MIN_XFER);
	options.max_data_xfer_bytes = vf_min_u64(options.max_data_xfer_bytes, 64 * VF_MIB);
	if (!options.max_mig_buffer_bytes)
		options.max_mig_buffer_bytes = 64 * VF_MIB;
	if (!options.dma_timeout_ms)
		options.dma_timeout_ms = 5000;
	server->options = options;
	server->user = options.user;
	vf_vfio_user_caps_default(&server->mine);
	server->mine.max_msg_fds = options.max_msg_fds;
	server->mine.max_data_xfer_bytes = options.max_data_xfer_bytes;
	server->mine.max_dma_maps = options.max_dma_maps;
	server->mine.twin_socket = !options.no_twin_socket;
	server->mine.extensions = !options.no_extensions;
	server->mine.p2p = options.migration_flags & VF_VFIO_MIGRATION_P2P;
	server->mine.data_size = server->ops.data_size;
	server->mine.precopy_info = server->ops.precopy_info;
	server->mine.dma_log_ranges = true;
	server->mine.mig_buffer_bytes = options.max_mig_buffer_bytes;
}

int vf_vfio_user_server_new(const struct vf_vfio_user_server_options *options,
			    struct vf_vfio_user_server **ret_server, struct vferry_error *err)
{
	struct vf_vfio_user_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server)
		return vferry_error_set(err, -ENOMEM, "no-memory", "vfio-user", "out of memory");
	read_options(server, options);
	(void) pthread_mutex_init(&server->irq_lock, NULL);
	(void) pthread_mutex_init(&server->twin_lock, NULL);
	(void) pthread_mutex_init(&server->state_lock, NULL);
	(void) pthread_rwlock_init(&server->dma_lock, NULL);
	server->fd = server->listener = server->twin = -1;
	server->queue_end = &server->queue;
	server->state = VF_VFIO_STATE_RUNNING;
	for (uint32_t i = 0; i < VF_SERVER_REGIONS; i++)
		server->regions[i].fd = -1;
	for (uint32_t i = 0; i < VF_SERVER_IRQS; i++)
		server->irqs[i].unmask = -1;
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = server->epoll < 0 || server->wake < 0 ? -errno :
	      vf_server_watch(server, server->wake, VF_TAG_WAKE, EPOLLIN);
	if (ret) {
		vf_vfio_user_server_free(server);
		return vferry_error_set(err, ret, "no-descriptor", "vfio-user", "no epoll: %s",
					vferry_errno_name(ret));
	}
	*ret_server = server;
	return 0;
}

void vf_vfio_user_server_free(struct vf_vfio_user_server *server)
{
	if (!server)
		return;
	disconnect(server);
	vf_server_remove_path(server);
	vf_close(&server->listener);
	vf_close(&server->wake);
	vf_close(&server->epoll);
	for (uint32_t i = 0; i < VF_SERVER_REGIONS; i++) {
		vf_close(&server->regions[i].fd);
		free(server->regions[i].areas);
	}
	for (uint32_t i = 0; i < VF_SERVER_IRQS; i++)
		free(server->irqs[i].vectors);
	for (uint32_t i = 0; i < server->ioeventfd_count; i++)
		vf_close(&server->ioeventfds[i].fd);
	free(server->reply);
	(void) pthread_mutex_destroy(&server->irq_lock);
	(void) pthread_mutex_destroy(&server->twin_lock);
	(void) pthread_mutex_destroy(&server->state_lock);
	(void) pthread_rwlock_destroy(&server->dma_lock);
	free(server);
}

int vf_vfio_user_server_attach(struct vf_vfio_user_server *server, int take_fd,
			       struct vferry_error *err)
{
	int ret;

	if (server->fd >= 0) {
		vf_close(&take_fd);
		return vferry_error_set(err, -EBUSY, "client-present", "vfio-user",
					"a client is connected already");
	}
	ret = adopt(server, take_fd);
	if (ret)
		return vferry_error_set(err, ret, "client-gone", "vfio-user",
					"the socket can't be used: %s", vferry_errno_name(ret));
	return 0;
}

int vf_vfio_user_server_fd(const struct vf_vfio_user_server *server)
{
	return server->epoll;
}

void vf_vfio_user_server_was_reset(struct vf_vfio_user_server *server)
{
	(void) vf_server_finish_reset(server, 0);
}

void vf_vfio_user_server_disconnect(struct vf_vfio_user_server *server)
{
	disconnect(server);
}

bool vf_vfio_user_server_peer_gone(const struct vf_vfio_user_server *server)
{
	struct pollfd p = { .fd = server->fd, .events = POLLRDHUP };

	return server->fd >= 0 && poll(&p, 1, 0) == 1 && p.revents;
}

bool vf_vfio_user_server_is_connected(const struct vf_vfio_user_server *server)
{
	return server->fd >= 0 && server->negotiated;
}
