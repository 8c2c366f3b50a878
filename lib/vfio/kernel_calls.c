/* SPDX-License-Identifier: MIT */
/* kernel_calls.c - the system calls themselves; see kernel_calls.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "vfio/kernel_calls.h"

static int result(int r)
{
	return r < 0 ? -errno : r;
}

static ssize_t long_result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

static int real_open(void *user, const char *path, int flags)
{
	(void) user;
	return result(open(path, flags | O_CLOEXEC));
}

static int real_dup(void *user, int fd)
{
	(void) user;
	return result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

static int real_ioctl(void *user, int fd, unsigned long request, void *arg)
{
	int r;

	(void) user;
	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return result(r);
}

static ssize_t real_pread(void *user, int fd, void *to, size_t len, uint64_t offset)
{
	(void) user;
	return long_result(pread(fd, to, len, (off_t) offset));
}

static ssize_t real_pwrite(void *user, int fd, const void *from, size_t len, uint64_t offset)
{
	(void) user;
	return long_result(pwrite(fd, from, len, (off_t) offset));
}

static ssize_t real_read(void *user, int fd, void *to, size_t len)
{
	(void) user;
	return long_result(read(fd, to, len));
}

static ssize_t real_write(void *user, int fd, const void *from, size_t len)
{
	(void) user;
	return long_result(write(fd, from, len));
}

static int real_set_nonblocking(void *user, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	(void) user;
	return flags < 0 ? -errno : result(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

static int real_wait_readable(void *user, int fd, uint64_t timeout_ns)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int ms = (int) vf_min_u64(vf_div_up(timeout_ns, VF_MS_NS), INT_MAX);
	int r = poll(&pfd, 1, ms);

	(void) user;
	if (r < 0 && errno == EINTR)
		return 1;	/* look again */
	return result(r);
}

static int real_readlink(void *user, const char *path, char *to, size_t size)
{
	ssize_t n = readlink(path, to, size);

	(void) user;
	if (n < 0)
		return -errno;
	if ((size_t) n >= size)
		return -ENAMETOOLONG;
	to[n] = '\0';
	return 0;
}

static int real_list(void *user, const char *folder, int (*each)(void *arg, const char *name),
		     void *arg)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int r = 0;

	(void) user;
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			r = each(arg, entry->d_name);
	(void) closedir(dir);
	return r < 0 ? r : 0;
}

static const struct vf_kernel_calls real = {
	.open = real_open,
	.dup = real_dup,
	.ioctl = real_ioctl,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.read = real_read,
	.write = real_write,
	.set_nonblocking = real_set_nonblocking,
	.wait_readable = real_wait_readable,
	.readlink = real_readlink,
	.list = real_list,
};

struct vf_kernel vf_kernel_real(void)
{
	return (struct vf_kernel) { .calls = &real };
}
