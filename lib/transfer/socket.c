/* SPDX-License-Identifier: MIT */
/*
 * socket.c - the transport over a stream socket, and how to get one: connect and listen.
 *
 * Sockets are blocking, with the kernel's send and receive timeouts as stall timeout: a call that
 * moved anything returns what it moved, so only a peer that moved nothing times out.
 *
 * Congestion control: where the default paces (bbr), cubic is 1.3 times as fast on one host or a
 * short link, so it is asked for on each socket. TCP's buffers are left to the kernel: setting
 * them would end its auto-tuning, and be capped far below what tuning reaches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "transfer/channel.h"
#include "transfer/guest_io.h"
#include "transfer/reference.h"
#include "transfer/socket.h"

#define UNIX_BUFFER_BYTES (2 * (int) VF_MIB)	/* two writes of 1 MiB: sender and receiver overlap */
#define BACKLOG 32

struct socket {
	int fd;
	struct vf_reference reference;
};

/* ---- transport ---- */

int vf_socket_failure(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK ? -ETIMEDOUT : -error;
}

static int64_t send_copies(const struct socket *s, const struct iovec *iov, size_t count, bool guest,
			   bool more)
{
	struct msghdr msg = { .msg_iov = (struct iovec *) iov, .msg_iovlen = count };
	int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
	ssize_t n;

	do
		n = guest ? vf_guest_sendmsg(s->fd, &msg, flags) : sendmsg(s->fd, &msg, flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? vf_socket_failure(errno) : n;
}

static int64_t socket_send(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	const struct socket *s = transport;
	size_t copies = 0;
	int64_t n;

	if (!guest || !vf_reference_is_open(&s->reference))
		return send_copies(s, iov, count, guest, false);
	while (copies < count && !vf_reference_suits(&iov[copies]))
		copies++;
	if (copies)
		return send_copies(s, iov, copies, guest, copies < count);
	n = vf_reference_send(&s->reference, s->fd, iov);
	return n ? n : send_copies(s, iov, 1, guest, false);
}

static int64_t socket_recv(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	const struct socket *s = transport;
	struct msghdr msg = { .msg_iov = (struct iovec *) iov, .msg_iovlen = count };
	ssize_t n;

	do
		n = guest ? vf_guest_recvmsg(s->fd, &msg, MSG_WAITALL) : recvmsg(s->fd, &msg, MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? vf_socket_failure(errno) : n;
}

static void socket_send_by_reference(void *transport)
{
	vf_reference_open(&((struct socket *) transport)->reference);
}

static int socket_set_stall_timeout(void *transport, uint64_t ns)
{
	const struct socket *s = transport;
	struct timeval tv = {
		.tv_sec = (time_t) (ns / VF_SECOND_NS),
		.tv_usec = (suseconds_t) (ns % VF_SECOND_NS / 1000),
	};

	if (ns && !tv.tv_sec && !tv.tv_usec)
		tv.tv_usec = 1;	/* zero would mean never */
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ||
	    setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)))
		return -errno;
	return 0;
}

static void socket_shutdown(void *transport)
{
	(void) shutdown(((struct socket *) transport)->fd, SHUT_RDWR);
}

static void socket_free(void *transport)
{
	struct socket *s = transport;

	vf_reference_close(&s->reference);
	vf_close(&s->fd);
	free(s);
}

static const struct vf_transport_ops socket_ops = {
	.send = socket_send,
	.recv = socket_recv,
	.set_stall_timeout = socket_set_stall_timeout,
	.send_by_reference = socket_send_by_reference,
	.shutdown = socket_shutdown,
	.free = socket_free,
};

/* Best effort: none of these decides whether a migration works. */
static void tune(int fd, int domain)
{
	int on = 1, bytes = UNIX_BUFFER_BYTES;

	if (domain == AF_UNIX) {
		(void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		(void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
		return;
	}
	(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void) setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

void vf_socket_tune(int fd)
{
	socklen_t length = sizeof(int);
	int domain;

	if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length))
		tune(fd, domain);
}

static int set_blocking(int fd, bool blocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 ||
	    fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK))
		return -errno;
	return 0;
}

int vf_channel_from_fd(int take_fd, const char *name, struct vf_channel **ret_channel,
		       struct vferry_error *err)
{
	struct socket *s;
	int domain, type, ret;
	socklen_t length = sizeof(int);

	if (getsockopt(take_fd, SOL_SOCKET, SO_TYPE, &type, &length) ||
	    getsockopt(take_fd, SOL_SOCKET, SO_DOMAIN, &domain, &length)) {
		ret = vferry_error_set(err, -EINVAL, "channel-socket", name, "not a socket: %s",
				       vferry_errno_name(errno));
		goto fail;
	}
	if (type != SOCK_STREAM) {
		ret = vferry_error_set(err, -EINVAL, "channel-socket", name, "not a stream socket");
		goto fail;
	}
	ret = set_blocking(take_fd, true);
	if (ret)
		goto fail;
	tune(take_fd, domain);
	s = malloc(sizeof(*s));
	if (!s) {
		ret = -ENOMEM;
		goto fail;
	}
	*s = (struct socket) { .fd = take_fd, .reference = VF_REFERENCE_CLOSED };
	return vf_channel_new(&socket_ops, s, name, ret_channel);
fail:
	vf_close(&take_fd);
	return ret;
}

/* ---- waiting ---- */

int vf_socket_wait(int fd, short events, uint64_t deadline_ns, int cancel_fd)
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = events },
		{ .fd = cancel_fd, .events = POLLIN },	/* negative: ignored by poll */
	};

	for (;;) {
		int timeout = -1;
		int n;

		if (deadline_ns) {
			uint64_t now = vf_now_ns();

			if (now >= deadline_ns)
				return -ETIMEDOUT;
			timeout = (int) vf_min_u64(vf_div_up(deadline_ns - now, VF_MS_NS), 60000);
		}
		n = poll(fds, 2, timeout);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		if (fds[1].revents)
			return -ECANCELED;
		if (fds[0].revents)
			return 0;
	}
}

uint64_t vf_socket_deadline(uint64_t timeout_ns)
{
	uint64_t at;

	if (!timeout_ns || vf_add_u64(vf_now_ns(), timeout_ns, &at))
		return 0;
	return at;
}

const char *vf_socket_name(const struct vf_uri *uri, char *to, size_t size)
{
	if (uri->kind == VF_URI_TCP)
		(void) snprintf(to, size, strchr(uri->host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
				uri->host, uri->port);
	else if (uri->kind == VF_URI_FD)
		(void) snprintf(to, size, "fd:%d", uri->fd);
	else
		(void) snprintf(to, size, "%s:%.128s", uri->kind == VF_URI_UNIX ? "unix" : "file",
				uri->path);
	return to;
}

static struct sockaddr_un unix_address(const struct vf_uri *uri)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void) snprintf(address.sun_path, sizeof(address.sun_path), "%.107s", uri->path);
	return address;
}

/* ---- connecting ---- */

static int connect_fd(int fd, const struct sockaddr *address, socklen_t length, uint64_t deadline_ns,
		      int cancel_fd)
{
	socklen_t size = sizeof(int);
	int error = 0;
	int ret;

	if (!connect(fd, address, length))
		return 0;
	/* unix: EAGAIN = the listener's backlog is full, which is not worth waiting for in the dark */
	if (errno != EINPROGRESS && errno != EINTR)
		return -errno;
	ret = vf_socket_wait(fd, POLLOUT, deadline_ns, cancel_fd);
	if (ret)
		return ret;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
		return -errno;
	return -error;
}

static int connect_address(int domain, const struct sockaddr *address, socklen_t length,
			   uint64_t deadline_ns, int cancel_fd)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0)
		return -errno;
	tune(fd, domain);
	ret = connect_fd(fd, address, length, deadline_ns, cancel_fd);
	if (ret) {
		vf_close(&fd);
		return ret;
	}
	return fd;
}

static int resolve(const struct vf_uri *uri, bool passive, struct addrinfo **ret_list,
		   struct vferry_error *err)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
	};
	char port[8];
	int ret;

	(void) snprintf(port, sizeof(port), "%u", uri->port);
	ret = getaddrinfo(uri->host[0] ? uri->host : NULL, port, &hints, ret_list);
	if (ret)
		return vferry_error_set(err, ret == EAI_SYSTEM ? -errno : -EHOSTUNREACH, "resolve",
					uri->host, "cannot resolve \"%s\": %s", uri->host,
					gai_strerror(ret));
	return 0;
}

/* ---- who may be reached without encryption ---- */

static bool is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const void *) address;
	const struct sockaddr_in *four = (const void *) address;

	if (address->sa_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	if (address->sa_family != AF_INET6)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127);
}

/* Of a name, all addresses must be this host's: which of them is taken is not known before. */
static int check_loopback(const struct vf_uri *uri, const struct addrinfo *list,
			  struct vferry_error *err)
{
	char name[160];

	for (; list; list = list->ai_next)
		if (!is_loopback(list->ai_addr))
			return vferry_error_set(err, -EPERM, "insecure",
						vf_socket_name(uri, name, sizeof(name)),
						"plain tcp to or from another host shows the whole "
						"machine to the network, and lets anybody there "
						"change it: give TLS credentials (--tls-creds), or "
						"accept that (--insecure)");
	return 0;
}

/* ---- connecting tcp ---- */

static int connect_tcp(const struct vf_uri *uri, bool loopback_only, uint64_t deadline_ns,
		       int cancel_fd, struct vferry_error *err)
{
	struct addrinfo *list;
	int fd = resolve(uri, false, &list, err);

	if (fd)
		return fd;
	fd = loopback_only ? check_loopback(uri, list, err) : 0;
	if (fd) {
		freeaddrinfo(list);
		return fd;
	}
	fd = -EHOSTUNREACH;
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		fd = connect_address(a->ai_family, a->ai_addr, a->ai_addrlen, deadline_ns, cancel_fd);
		if (fd >= 0 || fd == -ECANCELED || fd == -ETIMEDOUT)
			break;
	}
	freeaddrinfo(list);
	return fd;
}

int vf_socket_connect(const struct vf_uri *uri, bool loopback_only, uint64_t timeout_ns,
		      int cancel_fd, struct vferry_error *err)
{
	uint64_t until = vf_socket_deadline(timeout_ns);
	char name[160];
	int fd = -EINVAL;

	(void) vf_socket_name(uri, name, sizeof(name));
	switch (uri->kind) {
	case VF_URI_TCP:
		fd = connect_tcp(uri, loopback_only, until, cancel_fd, err);
		break;
	case VF_URI_UNIX: {
		struct sockaddr_un address = unix_address(uri);

		fd = connect_address(AF_UNIX, (struct sockaddr *) &address, sizeof(address), until,
				     cancel_fd);
		break;
	}
	case VF_URI_FD:
		fd = fcntl(uri->fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			fd = -errno;
		break;
	case VF_URI_FILE:
		return vferry_error_set(err, -EINVAL, "channel-file", name,
					"a file is not a connection");
	}
	if (fd < 0)
		return vferry_error_set(err, fd, "connect", name, "cannot connect: %s",
					vferry_errno_name(fd));
	return fd;
}

int vf_channel_connect(const struct vf_uri *uri, uint64_t timeout_ns, int cancel_fd,
		       struct vf_channel **ret_channel, struct vferry_error *err)
{
	int fd = vf_socket_connect(uri, false, timeout_ns, cancel_fd, err);
	char name[160];

	return fd < 0 ? fd : vf_channel_from_fd(fd, vf_socket_name(uri, name, sizeof(name)),
						ret_channel, err);
}

/* ---- listening ---- */

struct vf_listener {
	int fd;
	bool given;		/* fd: was a connected socket, and is accepted by giving it away */
	char uri[160];
	char path[108];		/* unix: ours to remove, while it is this inode */
	dev_t device;
	ino_t inode;
};

static int listen_tcp(const struct vf_uri *uri, bool loopback_only, struct vf_listener *listener,
		      struct vferry_error *err)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct vf_uri real = { .kind = VF_URI_TCP };
	struct addrinfo *list;
	char port[8];
	int ret = resolve(uri, true, &list, err);
	int on = 1;

	if (ret)
		return ret;
	if (loopback_only && (ret = check_loopback(uri, list, err))) {
		freeaddrinfo(list);
		return ret;
	}
	ret = -EADDRNOTAVAIL;
	for (const struct addrinfo *a = list; a && listener->fd < 0; a = a->ai_next) {
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0) {
			ret = -errno;
			continue;
		}
		tune(fd, a->ai_family);	/* accepted sockets inherit it */
		(void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, BACKLOG)) {
			ret = -errno;
			vf_close(&fd);
		}
		listener->fd = fd;
	}
	freeaddrinfo(list);
	if (listener->fd < 0)
		return ret;
	if (getsockname(listener->fd, (struct sockaddr *) &address, &length))
		return -errno;
	if (getnameinfo((struct sockaddr *) &address, length, real.host, sizeof(real.host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return -EINVAL;
	real.port = (uint16_t) atoi(port);
	(void) vf_socket_name(&real, listener->uri, sizeof(listener->uri));
	return 0;
}

/* A socket file that nobody listens on any more is in the way; one in use is not ours to take. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = connect_address(AF_UNIX, (const struct sockaddr *) address, sizeof(*address), 0, -1);
	if (fd != -ECONNREFUSED) {
		if (fd >= 0)
			vf_close(&fd);
		return -EADDRINUSE;
	}
	return unlink(address->sun_path) ? -errno : 0;
}

static int listen_unix(const struct vf_uri *uri, struct vf_listener *listener)
{
	struct sockaddr_un address = unix_address(uri);
	struct stat st;
	int ret = remove_stale(&address);

	if (ret)
		return ret;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return -errno;
	/* The file gets the socket's mode (less the umask): at no moment is it another. */
	if (fchmod(listener->fd, 0600) ||
	    bind(listener->fd, (struct sockaddr *) &address, sizeof(address)))
		return -errno;
	(void) snprintf(listener->path, sizeof(listener->path), "%.107s", uri->path);
	if (lstat(listener->path, &st) ||
	    listen(listener->fd, BACKLOG))
		return -errno;
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	(void) vf_socket_name(uri, listener->uri, sizeof(listener->uri));
	return 0;
}

static int listen_fd(const struct vf_uri *uri, struct vf_listener *listener)
{
	socklen_t length = sizeof(int);
	int listening;

	listener->fd = fcntl(uri->fd, F_DUPFD_CLOEXEC, 3);
	if (listener->fd < 0)
		return -errno;
	if (getsockopt(listener->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length))
		return -errno;
	listener->given = !listening;
	(void) vf_socket_name(uri, listener->uri, sizeof(listener->uri));
	return 0;
}

int vf_listener_new(const struct vf_uri *uri, bool loopback_only, struct vf_listener **ret_listener,
		    struct vferry_error *err)
{
	struct vf_listener *listener = calloc(1, sizeof(*listener));
	char name[160];
	int ret = -EINVAL;

	if (!listener)
		return -ENOMEM;
	listener->fd = -1;
	if (uri->kind == VF_URI_TCP)
		ret = listen_tcp(uri, loopback_only, listener, err);
	else if (uri->kind == VF_URI_UNIX)
		ret = listen_unix(uri, listener);
	else if (uri->kind == VF_URI_FD)
		ret = listen_fd(uri, listener);
	if (ret) {
		(void) vf_listener_free(listener);
		return vferry_error_set(err, ret, "listen", vf_socket_name(uri, name, sizeof(name)),
					"cannot listen: %s", vferry_errno_name(ret));
	}
	*ret_listener = listener;
	return 0;
}

struct vf_listener *vf_listener_free(struct vf_listener *listener)
{
	struct stat st;

	if (!listener)
		return NULL;
	if (listener->path[0] && !lstat(listener->path, &st) && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		(void) unlink(listener->path);
	vf_close(&listener->fd);
	free(listener);
	return NULL;
}

bool vf_listener_is_connection(const struct vf_listener *listener)
{
	return listener->given;
}

const char *vf_listener_uri(const struct vf_listener *listener)
{
	return listener->uri;
}

int vf_listener_accept_fd(struct vf_listener *listener, uint64_t timeout_ns, int cancel_fd,
			  struct vferry_error *err)
{
	uint64_t until = vf_socket_deadline(timeout_ns);
	int fd;

	if (listener->given) {
		fd = listener->fd;
		listener->fd = -1;
		return fd >= 0 ? fd
			       : vferry_error_set(err, -EINVAL, "accept", listener->uri,
						  "the descriptor is one connection, and was used");
	}
	do {
		int ret = vf_socket_wait(listener->fd, POLLIN, until, cancel_fd);

		if (ret)
			return vferry_error_set(err, ret, "accept", listener->uri,
						"no connection came: %s", vferry_errno_name(ret));
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EAGAIN));
	if (fd < 0)
		return vferry_error_set(err, -errno, "accept", listener->uri, "cannot accept: %s",
					vferry_errno_name(errno));
	return fd;
}

int vf_listener_accept(struct vf_listener *listener, uint64_t timeout_ns, int cancel_fd,
		       struct vf_channel **ret_channel, struct vferry_error *err)
{
	int fd = vf_listener_accept_fd(listener, timeout_ns, cancel_fd, err);

	return fd < 0 ? fd : vf_channel_from_fd(fd, listener->uri, ret_channel, err);
}
