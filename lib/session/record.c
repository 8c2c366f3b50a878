/* SPDX-License-Identifier: MIT */
/*
 * record.c - what a destination promised, on disk before it acts: DIR/ID.vferry holds one word, "ran"
 * or "aborted", and a newline. Written to a temporary name, synced, renamed, and the directory synced, so
 * that it is there whole or not at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "session/session_internal.h"

static const char *const words[] = { [VF_RECORD_RAN] = "ran\n", [VF_RECORD_ABORTED] = "aborted\n" };

static void record_name(const uint8_t id[VF_SESSION_ID_BYTES], char to[64])
{
	for (int i = 0; i < VF_SESSION_ID_BYTES; i++)
		(void) sprintf(to + 2 * i, "%02x", id[i]);
	(void) strcpy(to + 2 * VF_SESSION_ID_BYTES, ".vferry");
}

static int fail(struct vferry_error *err, const char *dir, const char *what)
{
	int code = -errno;

	return vferry_error_set(err, code, "record-failed", dir, "%s the record of the hand-over: %s",
				what, strerror(-code));
}

/* A point that can fail, as a system call: false and errno. */
static bool pass(struct vf_trace *trace, enum vf_trace_point point, const char *name)
{
	int ret = vf_trace(trace, point, name, 0, 0, 0);

	if (ret < 0)
		errno = -ret;
	return !ret;
}

static int open_dir(struct vf_trace *trace, const char *dir)
{
	return pass(trace, VF_TRACE_RECORD_OPEN, dir)
		       ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static int read_at(struct vf_trace *trace, int dir, const char *name, enum vf_record *ret)
{
	char text[16] = "";
	int fd = pass(trace, VF_TRACE_RECORD_READ, name)
			 ? openat(dir, name, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n;

	*ret = VF_RECORD_NONE;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		n = -errno;
	vf_close(&fd);
	if (n < 0)
		return (int) n;
	for (int i = VF_RECORD_RAN; i <= VF_RECORD_ABORTED; i++)
		if (!strcmp(text, words[i]))
			*ret = (enum vf_record) i;
	return *ret == VF_RECORD_NONE ? -EBADMSG : 0;
}

static int write_at(struct vf_trace *trace, int dir, const char *name, enum vf_record record)
{
	const char *word = words[record];
	int fd = pass(trace, VF_TRACE_RECORD_WRITE, name)
			 ? openat(dir, "vferry.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	bool ok;

	if (fd < 0)
		return -1;
	ok = write(fd, word, strlen(word)) == (ssize_t) strlen(word) &&
	     pass(trace, VF_TRACE_RECORD_SYNC, name) && !fsync(fd);
	vf_close(&fd);
	return ok && pass(trace, VF_TRACE_RECORD_RENAME, name) &&
	       !renameat(dir, "vferry.tmp", dir, name) &&
	       pass(trace, VF_TRACE_RECORD_SYNC_DIR, name) && !fsync(dir) ? 0 : -1;
}

int vf_record_write(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], enum vf_record record,
		    struct vf_trace *trace, struct vferry_error *err)
{
	enum vf_record there;
	char name[64];
	int fd = open_dir(trace, dir);
	int ret;

	if (fd < 0)
		return fail(err, dir, "cannot open the directory of");
	record_name(id, name);
	ret = read_at(trace, fd, name, &there);
	if (!ret && there != VF_RECORD_NONE && there != record)
		ret = vferry_error_set(err, -EEXIST, "record-contradicts", name,
				       "the record of this session says otherwise already");
	else if (!ret && there == VF_RECORD_NONE && write_at(trace, fd, name, record))
		ret = fail(err, dir, "cannot write");
	vf_close(&fd);
	return ret;
}

int vf_record_read(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES],
		   struct vf_trace *trace, enum vf_record *ret_record, struct vferry_error *err)
{
	enum vf_record record;
	char name[64];
	int fd = open_dir(trace, dir);
	int ret;

	if (fd < 0)
		return fail(err, dir, "cannot open the directory of");
	record_name(id, name);
	ret = read_at(trace, fd, name, &record);
	vf_close(&fd);
	if (ret)
		return vferry_error_set(err, ret, "record-failed", name, "cannot read the record");
	*ret_record = record;
	return 0;
}
