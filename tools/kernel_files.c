/* SPDX-License-Identifier: MIT */
/* kernel_files.c - kernels and initial RAM disks into memory; see kernel_files.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel_files.h"

#define FILE_MAX (1ll << 30)

static int read_all(int fd, char *to, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		ssize_t got = read(fd, to + at, bytes - at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EINVAL;	/* it became shorter */
		at += (size_t) got;
	}
	return 0;
}

static int read_file(const char *path, void **ret, size_t *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	int r = 0;

	if (fd < 0 || fstat(fd, &status) < 0)
		r = -errno;
	else if (!S_ISREG(status.st_mode) || status.st_size == 0)
		r = -EINVAL;
	else if (status.st_size > FILE_MAX)
		r = -EFBIG;
	if (r == 0) {
		*ret_bytes = (size_t) status.st_size;
		*ret = malloc(*ret_bytes);
		r = *ret ? read_all(fd, *ret, *ret_bytes) : -ENOMEM;
	}
	if (fd >= 0)
		(void) close(fd);
	return r;
}

static const char *complaint(const struct kernel_files *files, const struct machine_options *options)
{
	if (!files->image_path)
		return files->initrd_path ? "--initrd is for a --kernel" :
		       files->kernel.append ? "--append is for a --kernel" : NULL;
	if (options->guest_args || strcmp(options->guest, "worker") != 0)
		return "--guest and --guest-args are for guest programs, not for a --kernel";
	return NULL;
}

int kernel_files_read(struct kernel_files *files, struct machine_options *options, char *why,
		      size_t why_size)
{
	const char *wrong = complaint(files, options), *path = files->image_path;
	int r;

	if (wrong) {
		(void) snprintf(why, why_size, "%s", wrong);
		return -EINVAL;
	}
	if (!path)
		return 0;
	r = read_file(path, &files->image, &files->kernel.image_bytes);
	if (r == 0 && files->initrd_path) {
		path = files->initrd_path;
		r = read_file(path, &files->initrd, &files->kernel.initrd_bytes);
	}
	if (r < 0) {
		(void) snprintf(why, why_size, "%s cannot be read: %s", path,
				r == -EINVAL ? "it is no file, or empty" : strerror(-r));
		return r;
	}
	files->kernel.image = files->image;
	files->kernel.initrd = files->initrd;
	options->kernel = &files->kernel;
	return 0;
}

void kernel_files_done(struct kernel_files *files)
{
	free(files->image);
	free(files->initrd);
	*files = (struct kernel_files) { 0 };
}
