/* SPDX-License-Identifier: MIT */
/*
 * root.c - the host's files, or a tree that stands for them; see probe.h.
 *
 * A tree may come from somebody else, with a bug report. So links in it are followed inside it only:
 * the kernel does that (openat2, RESOLVE_IN_ROOT), also for absolute ones.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "files.h"

struct probe_root {
	int fd;			/* -1: the host itself */
	struct vf_kernel files;
};

/* ---- a tree ---- */

static int open_in(const struct probe_root *root, const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned) (flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT };
	long fd = syscall(SYS_openat2, root->fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int) fd;
}

static int tree_open(void *user, const char *path, int flags)
{
	return open_in(user, path, flags | O_NONBLOCK);		/* should it be a FIFO */
}

static int tree_readlink(void *user, const char *path, char *to, size_t size)
{
	int fd = open_in(user, path, O_PATH | O_NOFOLLOW);
	ssize_t n;
	int r = 0;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", to, size);
	if (n < 0)
		r = errno == ENOENT ? -EINVAL : -errno;		/* it is there, and no link */
	else if ((size_t) n >= size)
		r = -ENAMETOOLONG;
	else
		to[n] = '\0';
	vf_close(&fd);
	return r;
}

static int tree_list(void *user, const char *folder, int (*each)(void *arg, const char *name),
		     void *arg)
{
	int fd = open_in(user, folder, O_RDONLY | O_DIRECTORY), r = 0;
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		vf_close(&fd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			r = each(arg, entry->d_name);
	(void) closedir(dir);
	return r < 0 ? r : 0;
}

static ssize_t tree_read(void *user, int fd, void *to, size_t len)
{
	ssize_t n = read(fd, to, len);

	(void) user;
	return n < 0 ? -errno : n;
}

/* What reading files needs, and no more. */
static const struct vf_kernel_calls tree_calls = {
	.open = tree_open, .read = tree_read, .readlink = tree_readlink, .list = tree_list,
};

int probe_root_open(const char *folder, struct probe_root **ret_root, struct vferry_error *err)
{
	struct probe_root *root = calloc(1, sizeof(*root));
	int r;

	if (!root)
		return vferry_error_set(err, -ENOMEM, "no-memory", folder, "no memory");
	root->fd = -1;
	root->files = vf_kernel_real();
	if (folder) {
		root->files = (struct vf_kernel) { .calls = &tree_calls, .user = root };
		root->fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root->fd < 0) {
			r = vferry_error_set(err, -errno, "root-open", folder, "%s can't be opened: %s",
					     folder, vferry_errno_name(errno));
			free(root);
			return r;
		}
	}
	*ret_root = root;
	return 0;
}

struct probe_root *probe_root_close(struct probe_root *root)
{
	if (root)
		vf_close(&root->fd);
	free(root);
	return NULL;
}

const struct vf_kernel *probe_root_files(const struct probe_root *root)
{
	return &root->files;
}

void probe_root_read_through(struct probe_root *root, const struct vf_kernel *files)
{
	root->files = *files;
}

bool probe_root_is_host(const struct probe_root *root)
{
	return root->fd < 0;
}

/* ---- files ---- */

ssize_t probe_read(const struct vf_kernel *k, const char *path, void *to, size_t size)
{
	int fd = k->calls->open(k->user, path, O_RDONLY);
	size_t have = 0;
	ssize_t n = 0;

	if (fd < 0)
		return fd;
	while (have < size) {
		n = k->calls->read(k->user, fd, (char *) to + have, size - have);
		if (n <= 0)
			break;
		have += (size_t) n;
	}
	vf_close(&fd);
	return n < 0 && have == 0 ? n : (ssize_t) have;
}

void probe_make_printable(char *text)
{
	for (; *text; text++)
		if (!isascii((unsigned char) *text) || !isprint((unsigned char) *text))
			*text = '?';
}

int probe_read_line(const struct vf_kernel *k, const char *path, char *to, size_t size)
{
	ssize_t n = probe_read(k, path, to, size - 1);

	to[n < 0 ? 0 : n] = '\0';
	if (n < 0)
		return (int) n;
	to[strcspn(to, "\n")] = '\0';
	probe_make_printable(to);
	return 0;
}

struct probe_number probe_read_number(const struct vf_kernel *k, const char *path)
{
	char text[64], *end;
	unsigned long long value;

	if (probe_read_line(k, path, text, sizeof(text)) < 0 || !isdigit((unsigned char) text[0]))
		return (struct probe_number) { 0 };
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || (*end && *end != ' '))
		return (struct probe_number) { 0 };
	return (struct probe_number) { .value = value, .known = true };
}

enum probe_answer probe_read_switch(const struct vf_kernel *k, const char *path)
{
	char text[16];

	if (probe_read_line(k, path, text, sizeof(text)) < 0)
		return PROBE_UNKNOWN;
	if (!strcmp(text, "Y") || !strcmp(text, "1"))
		return PROBE_YES;
	return !strcmp(text, "N") || !strcmp(text, "0") ? PROBE_NO : PROBE_UNKNOWN;
}

bool probe_exists(const struct vf_kernel *k, const char *path)
{
	char target[8];

	/* What is no link is there all the same. */
	return k->calls->readlink(k->user, path, target, sizeof(target)) != -ENOENT;
}

void probe_read_link(const struct vf_kernel *k, const char *path, char *to, size_t size)
{
	char target[512];
	const char *slash;

	to[0] = '\0';
	if (k->calls->readlink(k->user, path, target, sizeof(target)) < 0)
		return;
	slash = strrchr(target, '/');
	(void) snprintf(to, size, "%s", slash ? slash + 1 : target);
	probe_make_printable(to);
}

bool probe_path(char *to, size_t size, const char *folder, const char *name)
{
	int n = snprintf(to, size, "%s/%s", folder, name);

	return n >= 0 && (size_t) n < size;
}
