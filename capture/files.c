/* SPDX-License-Identifier: MIT */
/*
 * files.c - a capture's folder. What is read is bounded, and has to be a regular file; what is
 * written was not there before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "internal.h"

static int open_folder(const char *folder, struct vferry_error *err)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? vferry_error_set(err, -errno, "capture-unreadable", folder,
					 "%s can't be opened: %s", folder, vferry_errno_name(errno)) : fd;
}

/* --- writing --- */

static int write_all(int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			size -= (size_t) n;
		}
	}
	return 0;
}

/* Opens (and makes) the folders in @name one by one, so that no link leads away. */
static int open_parent(int dir, const char *name, const char **ret_last)
{
	int at = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	const char *slash;

	while (at >= 0 && (slash = strchr(name, '/'))) {
		char part[NAME_MAX + 1];
		size_t len = (size_t) (slash - name);
		int next;

		if (!len || len > NAME_MAX || (len <= 2 && !strncmp(name, "..", len))) {
			vf_close(&at);
			return -EINVAL;
		}
		memcpy(part, name, len);
		part[len] = 0;
		(void) mkdirat(at, part, 0755);
		next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		vf_close(&at);
		at = next;
		name = slash + 1;
	}
	*ret_last = name;
	return at < 0 ? -errno : at;
}

static int save(const char *folder, const char *name, const void *data, size_t size,
		const char *target, struct vferry_error *err)
{
	int dir = open_folder(folder, err), parent, fd = -1, ret;
	const char *last;

	if (dir < 0)
		return dir;
	parent = open_parent(dir, name, &last);
	ret = parent < 0 ? parent : 0;
	if (!ret && target) {
		ret = symlinkat(target, parent, last) ? -errno : 0;
	} else if (!ret) {
		fd = openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
		ret = fd < 0 ? -errno : write_all(fd, data, size);
	}
	vf_close(&fd);
	vf_close(&parent);
	vf_close(&dir);
	return ret ? vferry_error_set(err, ret, "capture-unwritten", folder, "%s/%s can't be written: %s",
				      folder, name, vferry_errno_name(ret)) : 0;
}

int capture_save_file(const char *folder, const char *name, const void *data, size_t size,
		      struct vferry_error *err)
{
	return save(folder, name, data, size, NULL, err);
}

int capture_save_link(const char *folder, const char *name, const char *target,
		      struct vferry_error *err)
{
	return save(folder, name, NULL, 0, target, err);
}

int capture_make_folder(const char *folder, struct vferry_error *err)
{
	if (!mkdir(folder, 0755))
		return 0;
	return vferry_error_set(err, -errno, "capture-unwritten", folder, "the folder %s can't be made: %s",
				folder, errno == EEXIST ? "it is there already" : vferry_errno_name(errno));
}

int capture_save(const struct capture *c, const char *folder, struct vferry_error *err)
{
	struct vf_writer device, config;
	int ret = capture_check(c, err);

	if (ret)
		return ret;
	vf_writer_init(&device, CAPTURE_FILE_MAX);
	vf_writer_init(&config, CAPTURE_CONFIG_FILE_MAX);
	capture_write_device(c, &device);
	capture_write_config(c, &config);
	if (device.bad || config.bad)
		ret = vferry_error_set(err, -ENOMEM, "no-memory", folder, "no memory");
	if (!ret)
		ret = capture_save_file(folder, "config", config.data, config.size, err);
	if (!ret)
		ret = capture_save_file(folder, "device.json", device.data, device.size, err);
	vf_writer_done(&device);
	vf_writer_done(&config);
	return ret;
}

/* --- reading --- */

static int read_file(int dir, const char *folder, const char *name, size_t limit, char **ret_text,
		     size_t *ret_size, struct vferry_error *err)
{
	/* A FIFO must not hold us up. One byte more shows that a file is too long. */
	int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), ret = 0;
	char *text = malloc(limit + 1);
	size_t have = 0;
	struct stat st;

	if (fd < 0 || !text || fstat(fd, &st))
		ret = fd < 0 || text ? -errno : -ENOMEM;
	else if (!S_ISREG(st.st_mode))
		ret = -EINVAL;
	while (!ret && have <= limit) {
		ssize_t n = read(fd, text + have, limit + 1 - have);

		if (n == 0)
			break;
		if (n > 0)
			have += (size_t) n;
		else if (errno != EINTR)
			ret = -errno;
	}
	if (!ret && have > limit)
		ret = -EFBIG;
	vf_close(&fd);
	if (ret) {
		free(text);
		return vferry_error_set(err, ret, "capture-unreadable", folder, "%s/%s can't be read: %s",
					folder, name, ret == -EINVAL ? "it is no file" :
					vferry_errno_name(ret));
	}
	*ret_text = text;
	*ret_size = have;
	return 0;
}

int capture_load(const char *folder, struct capture *ret_capture, struct vferry_error *err)
{
	int dir = open_folder(folder, err), ret;
	char *device = NULL, *config = NULL;
	size_t device_bytes, config_bytes;

	if (dir < 0)
		return dir;
	ret = read_file(dir, folder, "device.json", CAPTURE_FILE_MAX, &device, &device_bytes, err);
	if (!ret)
		ret = read_file(dir, folder, "config", CAPTURE_CONFIG_FILE_MAX, &config, &config_bytes,
				err);
	if (!ret)
		ret = capture_parse(device, device_bytes, config, config_bytes, ret_capture, err);
	free(device);
	free(config);
	vf_close(&dir);
	return ret;
}
