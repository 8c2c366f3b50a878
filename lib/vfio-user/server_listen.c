/* SPDX-License-Identifier: MIT */
/* server_listen.c - the socket that clients come by, and its file. */
#define _GNU_SOURCE
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

void vf_server_remove_path(struct vf_vfio_user_server *server)
{
	struct stat st;

	if (server->path[0] && !lstat(server->path, &st) && st.st_dev == server->path_dev &&
	    st.st_ino == server->path_ino)
		(void) unlink(server->path);
	server->path[0] = '\0';
}

/* Removes a socket that nobody listens on. Return: 0 = the path is free. */
static int clear_path(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, ret = 0;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *) address, sizeof(*address)) ||
	    errno != ECONNREFUSED)
		ret = -EADDRINUSE;
	else if (unlink(address->sun_path))
		ret = -errno;
	vf_close(&fd);
	return ret;
}

int vf_vfio_user_server_listen(struct vf_vfio_user_server *server, const char *path,
			       struct vferry_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	struct stat st;
	int fd = -1, ret;

	_Static_assert(sizeof(address.sun_path) == sizeof(server->path), "one length");
	if (len >= sizeof(address.sun_path))
		return vferry_error_set(err, -ENAMETOOLONG, "socket-path", path,
					"the socket's path is longer than %zu bytes",
					sizeof(address.sun_path) - 1);
	if (server->listener >= 0)
		return vferry_error_set(err, -EBUSY, "socket-path", path, "already listening");
	memcpy(address.sun_path, path, len + 1);
	ret = clear_path(&address);
	if (ret)
		goto out;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The file gets the socket's mode (less the umask): at no moment is it another. */
	if (fd < 0 || fchmod(fd, vferry_trust_mode(server->options.trust)) ||
	    bind(fd, (struct sockaddr *) &address, sizeof(address))) {
		ret = -errno;
		goto out;
	}
	memcpy(server->path, path, len + 1);
	if (lstat(path, &st) || listen(fd, 4)) {
		ret = -errno;
		goto out;
	}
	server->path_dev = st.st_dev;
	server->path_ino = st.st_ino;
	ret = vf_server_watch(server, fd, VF_TAG_LISTENER, EPOLLIN);
out:
	if (ret) {
		vf_close(&fd);
		return vferry_error_set(err, ret, "socket-listen", path, "cannot listen at %s: %s",
					path, vferry_errno_name(ret));
	}
	server->listener = fd;
	return 0;
}
