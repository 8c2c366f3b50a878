/* SPDX-License-Identifier: MIT */
/*
 * record_host.c - notes of what is read of a host's files; see record.h.
 *
 * A note is a path and what was there: a file with its bytes, a link with its target, or only the
 * name. Notes are put into a folder by the paths that the links among them lead to, so that a link and
 * what was read behind it can both be there.
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
#include "capture/capture.h"
#include "record.h"
#include "vfio/kernel_calls.h"

#define LINKS_MAX 16u		/* in one path */
#define ALIASES "/modules.alias"
#define ALIAS "alias vfio_pci:"

enum kind {
	KIND_NAME = 0,
	KIND_LINK = 1,
	KIND_FILE = 2,
};

struct note {
	enum kind kind;
	char *path;
	char *data;		/* of a file, or a link's target with its zero */
	size_t size;
};

struct probe_notes {
	struct probe_root *root;
	struct vf_kernel real;
	struct vf_kernel_calls calls;
	struct note notes[PROBE_NOTES_MAX];
	uint32_t count;
	bool cut;
};

/* --- taking notes --- */

static struct note *find(const struct probe_notes *n, const char *path)
{
	for (uint32_t i = 0; i < n->count; i++)
		if (!strcmp(n->notes[i].path, path))
			return (struct note *) &n->notes[i];
	return NULL;
}

static bool is_of_interest(const char *path)
{
	return !strncmp(path, "/sys/", 5) || !strncmp(path, "/proc/", 6) ||
	       !strncmp(path, "/dev/", 5) || !strncmp(path, "/lib/", 5);
}

/* The better of two notes of one path stays. @take_data: taken also on failure. */
static void add(struct probe_notes *n, enum kind kind, const char *path, char *take_data, size_t size)
{
	struct note *note = find(n, path);

	if (!note && is_of_interest(path)) {
		char *copy = n->count < PROBE_NOTES_MAX ? strdup(path) : NULL;

		n->cut |= !copy;
		if (copy) {
			note = &n->notes[n->count++];
			*note = (struct note) { .path = copy };
		}
	}
	if (!note || kind <= note->kind) {
		free(take_data);
		return;
	}
	free(note->data);
	note->kind = kind;
	note->data = take_data;
	note->size = size;
}

/* Lines that are none of ours go; in place. */
static size_t keep_aliases(char *text, size_t size)
{
	size_t kept = 0;

	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t len = end ? (size_t) (end - text) + 1 - at : size - at;

		if (len > strlen(ALIAS) && !memcmp(text + at, ALIAS, strlen(ALIAS))) {
			memmove(text + kept, text + at, len);
			kept += len;
		}
		at += len;
	}
	return kept;
}

static bool is_aliases(const char *path)
{
	size_t len = strlen(path);

	return len > strlen(ALIASES) && !strcmp(path + len - strlen(ALIASES), ALIASES);
}

/* A second look at a file that was just opened. */
static void note_file(struct probe_notes *n, const char *path)
{
	size_t room = is_aliases(path) ? 16u << 20 : PROBE_NOTE_BYTES, have = 0;
	int fd = n->real.calls->open(n->real.user, path, O_RDONLY | O_NONBLOCK);
	char *data = NULL, *fitting;
	struct stat st;

	if (fd < 0)
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && is_of_interest(path))
		data = malloc(room);
	while (data && have < room) {
		ssize_t got = n->real.calls->read(n->real.user, fd, data + have, room - have);

		if (got <= 0 || (size_t) got > room - have)
			break;
		have += (size_t) got;
	}
	vf_close(&fd);
	if (!data)
		return;
	if (is_aliases(path))
		have = keep_aliases(data, have);
	if (have > PROBE_NOTE_BYTES)
		have = PROBE_NOTE_BYTES;
	fitting = realloc(data, have ? have : 1);
	add(n, KIND_FILE, path, fitting ? fitting : data, have);
}

static int noting_open(void *user, const char *path, int flags)
{
	struct probe_notes *n = user;
	int fd = n->real.calls->open(n->real.user, path, flags);

	if (fd >= 0)
		note_file(n, path);
	return fd;
}

static ssize_t noting_read(void *user, int fd, void *to, size_t len)
{
	struct probe_notes *n = user;

	return n->real.calls->read(n->real.user, fd, to, len);
}

static int noting_readlink(void *user, const char *path, char *to, size_t size)
{
	struct probe_notes *n = user;
	int r = n->real.calls->readlink(n->real.user, path, to, size);
	char target[PATH_MAX];

	/* All of it, however little was asked for. */
	if ((r == 0 || r == -ENAMETOOLONG) &&
	    n->real.calls->readlink(n->real.user, path, target, sizeof(target)) == 0)
		add(n, KIND_LINK, path, strdup(target), strlen(target) + 1);
	else if (r == -EINVAL)
		add(n, KIND_NAME, path, NULL, 0);
	return r;
}

struct listing {
	struct probe_notes *notes;
	const char *folder;
	int (*each)(void *arg, const char *name);
	void *arg;
};

static int note_name(void *arg, const char *name)
{
	struct listing *l = arg;
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%s/%s", l->folder, name);

	if (length > 0 && (size_t) length < sizeof(path))
		add(l->notes, KIND_NAME, path, NULL, 0);
	return l->each(l->arg, name);
}

static int noting_list(void *user, const char *folder, int (*each)(void *arg, const char *name),
		       void *arg)
{
	struct probe_notes *n = user;
	struct listing l = { .notes = n, .folder = folder, .each = each, .arg = arg };

	return n->real.calls->list(n->real.user, folder, note_name, &l);
}

int probe_notes_begin(struct probe_root *root, struct probe_notes **ret_notes)
{
	struct probe_notes *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->root = root;
	n->real = *probe_root_files(root);
	n->calls = (struct vf_kernel_calls) {
		.open = noting_open, .read = noting_read, .readlink = noting_readlink,
		.list = noting_list,
	};
	probe_root_read_through(root, &(struct vf_kernel) { .calls = &n->calls, .user = n });
	*ret_notes = n;
	return 0;
}

void probe_notes_free(struct probe_notes *n)
{
	if (!n)
		return;
	probe_root_read_through(n->root, &n->real);
	for (uint32_t i = 0; i < n->count; i++) {
		free(n->notes[i].path);
		free(n->notes[i].data);
	}
	free(n);
}

/* --- writing them down --- */

/* @to: the folder of @path, with the relative or absolute @target behind it, without "." and "..". */
static bool follow(char *to, size_t size, const char *path, const char *target)
{
	char joined[2 * PATH_MAX], *part, *rest = joined;
	size_t used = 0;
	int slash = (int) (strrchr(path, '/') - path);
	int length = *target == '/' ? snprintf(joined, sizeof(joined), "%s", target) :
		     snprintf(joined, sizeof(joined), "%.*s/%s", slash, path, target);

	if (length < 0 || (size_t) length >= sizeof(joined))
		return false;
	to[0] = '\0';
	while ((part = strsep(&rest, "/"))) {
		size_t len = strlen(part);

		if (!len || !strcmp(part, "."))
			continue;
		if (!strcmp(part, "..")) {
			char *last = strrchr(to, '/');

			used = last ? (size_t) (last - to) : 0;
			to[used] = '\0';
			continue;
		}
		if (used + 1 + len >= size)
			return false;
		to[used] = '/';
		memcpy(to + used + 1, part, len + 1);
		used += 1 + len;
	}
	return used > 0;
}

/* The path without links in its folders, as far as they are known. */
static bool resolve(const struct probe_notes *n, const char *path, char *to, size_t size)
{
	char whole[PATH_MAX], folder[PATH_MAX];

	if (!follow(to, size, "/", path))
		return false;
	for (unsigned int links = 0, at = 1; links < LINKS_MAX;) {
		const char *end = strchr(to + at, '/');
		const struct note *link;

		if (!end)
			return true;
		(void) snprintf(folder, sizeof(folder), "%.*s", (int) (end - to), to);
		link = find(n, folder);
		at = (unsigned int) (end - to) + 1;
		if (!link || link->kind != KIND_LINK)
			continue;
		if (!follow(whole, sizeof(whole), folder, link->data) ||
		    strlen(whole) + strlen(end) >= sizeof(whole))
			return false;
		strcat(whole, end);
		if (!follow(to, size, "/", whole))
			return false;
		at = 1;
		links++;
	}
	return false;
}

static int save(const struct probe_notes *n, const struct note *note, const char *folder,
		struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	char path[PATH_MAX], name[PATH_MAX + 8];
	int ret;

	if (!resolve(n, note->path, path, sizeof(path)))
		return 0;	/* a link that leads nowhere */
	(void) snprintf(name, sizeof(name), "host%s", path);
	ret = note->kind == KIND_LINK ? capture_save_link(folder, name, note->data, &why) :
	      capture_save_file(folder, name, note->data, note->size, &why);
	/* By another path it was there already; or it is the folder of what is behind it. */
	if (ret == -EEXIST || ret == -EISDIR || ret == -ENOTDIR)
		return 0;
	if (ret && err)
		*err = why;
	return ret;
}

int probe_notes_save(const struct probe_notes *n, const char *folder, struct vferry_error *err)
{
	/* Files, then links: what is only a name may turn out to be the folder of these. */
	static const enum kind order[] = { KIND_FILE, KIND_LINK, KIND_NAME };
	int ret = 0;

	for (unsigned int pass = 0; pass < sizeof(order) / sizeof(order[0]); pass++)
		for (uint32_t i = 0; i < n->count && !ret; i++)
			if (n->notes[i].kind == order[pass])
				ret = save(n, &n->notes[i], folder, err);
	if (!ret && n->cut)
		ret = vferry_error_set(err, -EOVERFLOW, "capture-cut", folder,
				       "more was read of this host than %s/host holds", folder);
	return ret;
}
