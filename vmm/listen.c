/* SPDX-License-Identifier: MIT */
/* listen.c - see listen.h. */
#define _GNU_SOURCE
#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

struct vm_listener {
	int fd;
	char uri[VM_LISTEN_URI_BYTES];
	char path[sizeof(((struct sockaddr_un *) 0)->sun_path)];	/* unix; else empty */
	dev_t device;	/* of the path: only the file that we made is removed */
	ino_t inode;
};

static int fail(struct vferry_error *err, int code, const char *uri, const char *why)
{
	return vferry_error_set(err, code, "listen", uri, "cannot listen at %s: %s", uri,
				why ? why : strerror(-code));
}

/* Nobody answers there: the file was left behind by a process that is gone. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, ret;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	ret = connect(fd, (const struct sockaddr *) address, sizeof(*address)) ? -errno : 0;
	(void) close(fd);
	if (ret != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(address->sun_path) ? -errno : 0;
}

static int listen_unix(struct vm_listener *listener, const char *uri,
		       const struct vferry_trust *trust, struct vferry_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = uri + strlen("unix:");
	struct stat st;
	int ret;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return fail(err, -EINVAL, uri, "the path is empty or longer than 107 bytes");
	(void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ret = remove_stale(&address);
	if (ret)
		return fail(err, ret, uri, NULL);
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return fail(err, -errno, uri, NULL);
	/* The file gets the socket's mode (less the umask): at no moment is it another. */
	if (fchmod(listener->fd, vferry_trust_mode(trust)) ||
	    bind(listener->fd, (struct sockaddr *) &address, sizeof(address)))
		return fail(err, -errno, uri, NULL);
	if (lstat(path, &st) || listen(listener->fd, BACKLOG))
		return fail(err, -errno, uri, NULL);
	(void) snprintf(listener->path, sizeof(listener->path), "%s", path);
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	(void) snprintf(listener->uri, sizeof(listener->uri), "%s", uri);
	return 0;
}

/* Splits "HOST:PORT", "[HOST]:PORT", ":PORT". */
static int split_tcp(const char *rest, char *host, size_t size, const char **ret_port)
{
	const char *colon = strrchr(rest, ':');
	size_t length = colon ? (size_t) (colon - rest) : 0;

	if (!colon || strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1] ||
	    strlen(colon + 1) > 5 || atoi(colon + 1) > 65535)
		return -EINVAL;
	if (length >= 2 && rest[0] == '[' && rest[length - 1] == ']') {
		rest++;
		length -= 2;
	} else if (memchr(rest, ':', length)) {
		return -EINVAL;
	}
	if (length >= size)
		return -EINVAL;
	memcpy(host, rest, length);
	host[length] = '\0';
	*ret_port = colon + 1;
	return 0;
}

static int bind_tcp(struct vm_listener *listener, const struct addrinfo *list)
{
	int ret = -EADDRNOTAVAIL;

	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		int one = 1;
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) &&
		    !bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, BACKLOG)) {
			listener->fd = fd;
			return 0;
		}
		ret = -errno;
		if (fd >= 0)
			(void) close(fd);
	}
	return ret;
}

static bool is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const void *) address;
	const struct sockaddr_in *four = (const void *) address;

	if (address->sa_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
		(IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127));
}

static int check_loopback(const struct addrinfo *list, const char *uri, struct vferry_error *err)
{
	for (; list; list = list->ai_next)
		if (!is_loopback(list->ai_addr))
			return vferry_error_set(err, -EPERM, "insecure", uri,
						"%s can be reached from other hosts, and whoever reaches "
						"it could send any machine: give TLS credentials "
						"(--tls-creds), or accept that (--insecure)", uri);
	return 0;
}

static int listen_tcp(struct vm_listener *listener, const char *uri, bool loopback_only,
		      struct vferry_error *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct addrinfo *list;
	char host[256], service[16];
	const char *port;
	int ret;

	if (split_tcp(uri + strlen("tcp:"), host, sizeof(host), &port))
		return fail(err, -EINVAL, uri,
			    "expected tcp:HOST:PORT, an IPv6 address in []");
	ret = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (ret)
		return fail(err, -EADDRNOTAVAIL, uri, gai_strerror(ret));
	ret = loopback_only ? check_loopback(list, uri, err) : 0;
	if (!ret && (ret = bind_tcp(listener, list)))
		(void) fail(err, ret, uri, NULL);
	freeaddrinfo(list);
	if (ret)
		return ret;
	if (getsockname(listener->fd, (struct sockaddr *) &address, &length) ||
	    getnameinfo((struct sockaddr *) &address, length, host, sizeof(host), service,
			sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV))
		return fail(err, -EADDRNOTAVAIL, uri, NULL);
	(void) snprintf(listener->uri, sizeof(listener->uri),
			strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, service);
	return 0;
}

int vm_listener_new(const char *uri, const struct vferry_trust *trust, bool loopback_only,
		    struct vm_listener **ret_listener, struct vferry_error *err)
{
	struct vm_listener *listener = calloc(1, sizeof(*listener));
	int ret;

	if (!listener)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	listener->fd = -1;
	if (!strncmp(uri, "tcp:", 4))
		ret = listen_tcp(listener, uri, loopback_only, err);
	else if (!strncmp(uri, "unix:", 5))
		ret = listen_unix(listener, uri, trust, err);
	else
		ret = fail(err, -EINVAL, uri, "expected tcp:HOST:PORT or unix:PATH");
	if (ret) {
		(void) vm_listener_free(listener);
		return ret;
	}
	*ret_listener = listener;
	return 0;
}

struct vm_listener *vm_listener_free(struct vm_listener *listener)
{
	struct stat st;

	if (!listener)
		return NULL;
	if (listener->path[0] && !lstat(listener->path, &st) && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		(void) unlink(listener->path);
	if (listener->fd >= 0)
		(void) close(listener->fd);
	free(listener);
	return NULL;
}

int vm_listener_fd(const struct vm_listener *listener)
{
	return listener->fd;
}

const char *vm_listener_uri(const struct vm_listener *listener)
{
	return listener->uri;
}
