/* SPDX-License-Identifier: MIT */
/*
 * record.c - see record.h.
 *
 * A file is written under a name that nobody else has, synced, and then linked to its own name, which
 * fails if that is taken: unlike a rename, which would replace the other's word. Then the directory is
 * synced. A process that dies in between leaves a *.tmp file, which means nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "session/record.h"

#define NAME_BYTES 64

static const char *const words[] = { [VF_RECORD_RAN] = "ran\n", [VF_RECORD_ABORTED] = "aborted\n" };

static void file_name(const uint8_t id[VF_SESSION_ID_BYTES], const char *suffix, char to[NAME_BYTES])
{
	for (int i = 0; i < VF_SESSION_ID_BYTES; i++)
		(void) sprintf(to + 2 * i, "%02x", id[i]);
	(void) snprintf(to + 2 * VF_SESSION_ID_BYTES, NAME_BYTES - 2 * VF_SESSION_ID_BYTES, ".%s",
			suffix);
}

static int fail(struct vferry_error *err, int code, const char *dir, const char *what)
{
	return vferry_error_set(err, code, "record-failed", dir,
				"cannot %s the record of the hand-over in %s: %s", what, dir,
				strerror(-code));
}

/* Is it this user's, or root's? Somebody else's word is none: -EPERM. */
static int check_owner(const struct stat *st)
{
	return st->st_uid == geteuid() || st->st_uid == 0 ? 0 : -EPERM;
}

/* Who can replace a decision can make both sides run. */
static int check_dir(int fd, const char *dir, struct vferry_error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return fail(err, -errno, dir, "look at");
	if (check_owner(&st) || st.st_mode & S_IWOTH)
		return vferry_error_set(err, -EPERM, "record-unsafe", dir,
					"the directory for records, %s, belongs to user %u and has mode %04o: others could "
					"replace what is decided there; it must be this user's or root's, and not "
					"writable for everybody", dir, (unsigned) st.st_uid,
					(unsigned) st.st_mode & 07777);
	return 0;
}

static int open_dir(struct vf_trace *trace, const char *dir, int *ret_fd, struct vferry_error *err)
{
	int ret = vf_trace(trace, VF_TRACE_RECORD_OPEN, dir, 0, 0, 0);

	if (!ret) {
		*ret_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ret = *ret_fd < 0 ? -errno : 0;
	}
	if (ret)
		return fail(err, ret, dir, "open");
	ret = check_dir(*ret_fd, dir, err);
	if (ret)
		vf_close(ret_fd);
	return ret;
}

static int put_text(struct vf_trace *trace, int fd, const char *name, const char *text)
{
	ssize_t n = write(fd, text, strlen(text));
	int ret;

	if (n < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return -errno;
	if (n != (ssize_t) strlen(text))
		return -ENOSPC;
	ret = vf_trace(trace, VF_TRACE_RECORD_SYNC, name, 0, 0, 0);
	return ret ? ret : fsync(fd) ? -errno : 0;
}

/* The name, for good; or none. */
static int put_name(struct vf_trace *trace, int dir, const char *temporary, const char *name)
{
	int ret = vf_trace(trace, VF_TRACE_RECORD_LINK, name, 0, 0, 0);

	if (!ret && linkat(dir, temporary, dir, name, 0))
		ret = -errno;
	if (ret)
		return ret;
	ret = vf_trace(trace, VF_TRACE_RECORD_SYNC_DIR, name, 0, 0, 0);
	if (!ret && fsync(dir))
		ret = -errno;
	if (ret)
		(void) unlinkat(dir, name, 0);	/* it may be there after a crash, or not */
	return ret;
}

/* Return: 0, and the file with its lock held; -EEXIST the name is taken. */
static int put_file(struct vf_trace *trace, int dir, const char *name, const char *text, int *ret_fd)
{
	char temporary[NAME_BYTES];
	uint64_t random;
	int fd, ret = vf_trace(trace, VF_TRACE_RECORD_WRITE, name, 0, 0, 0);

	if (ret)
		return ret;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EAGAIN;
	(void) snprintf(temporary, sizeof(temporary), "vferry-%016" PRIx64 ".tmp", random);
	fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = put_text(trace, fd, name, text);
	if (!ret)
		ret = put_name(trace, dir, temporary, name);
	(void) unlinkat(dir, temporary, 0);
	if (ret)
		vf_close(&fd);
	else
		*ret_fd = fd;
	return ret;
}

static int read_decision(struct vf_trace *trace, int dir, const char *name, enum vf_record *ret)
{
	int fd, failure = vf_trace(trace, VF_TRACE_RECORD_READ, name, 0, 0, 0);
	char text[16] = "";
	struct stat st;
	ssize_t n;

	*ret = VF_RECORD_NONE;
	if (failure)
		return failure;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = fstat(fd, &st) ? -errno : check_owner(&st);
	if (n == 0) {
		n = read(fd, text, sizeof(text) - 1);
		if (n < 0)
			n = -errno;
	}
	vf_close(&fd);
	if (n < 0)
		return (int) n;
	for (int i = VF_RECORD_RAN; i <= VF_RECORD_ABORTED; i++)
		if (!strcmp(text, words[i]))
			*ret = (enum vf_record) i;
	return *ret == VF_RECORD_NONE ? -EBADMSG : 0;
}

static int read_claim(int dir, const char *name, struct vf_record_entry *entry)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	entry->claimed = entry->held = false;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	entry->claimed = true;
	entry->held = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
	vf_close(&fd);
	return 0;
}

/* The claim first: its maker decides before it removes it. */
static int read_entry(struct vf_trace *trace, int dir, const uint8_t id[VF_SESSION_ID_BYTES],
		      struct vf_record_entry *entry)
{
	char claim[NAME_BYTES], decision[NAME_BYTES];
	int ret;

	file_name(id, "open", claim);
	file_name(id, "vferry", decision);
	ret = read_claim(dir, claim, entry);
	return ret ? ret : read_decision(trace, dir, decision, &entry->decided);
}

int vf_record_claim(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], int *ret_claim,
		    struct vf_trace *trace, struct vferry_error *err)
{
	struct vf_record_entry entry;
	char name[NAME_BYTES];
	int fd, ret = open_dir(NULL, dir, &fd, err);

	if (ret)
		return ret;
	file_name(id, "open", name);
	ret = read_entry(NULL, fd, id, &entry);
	if (!ret && entry.decided != VF_RECORD_NONE)
		ret = -EEXIST;
	if (!ret)
		ret = vf_trace(trace, VF_TRACE_RECORD_CLAIM, name, 0, 0, 0);
	if (!ret)
		ret = put_file(NULL, fd, name, "", ret_claim);
	if (ret == -EEXIST)
		(void) vferry_error_set(err, ret, "record-exists", name,
					"a session of this id was accepted here before");
	else if (ret)
		(void) fail(err, ret, dir, "begin");
	vf_close(&fd);
	return ret;
}

void vf_record_release(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], int *claim,
		       bool forget)
{
	char name[NAME_BYTES];
	int fd;

	if (*claim < 0)
		return;
	file_name(id, "open", name);
	if (forget && !open_dir(NULL, dir, &fd, NULL)) {
		(void) unlinkat(fd, name, 0);
		vf_close(&fd);
	}
	vf_close(claim);
}

int vf_record_write(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], enum vf_record record,
		    struct vf_trace *trace, struct vferry_error *err)
{
	enum vf_record there;
	char name[NAME_BYTES];
	int fd, file = -1, ret = open_dir(trace, dir, &fd, err);

	if (ret)
		return ret;
	file_name(id, "vferry", name);
	ret = put_file(trace, fd, name, words[record], &file);
	vf_close(&file);
	if (ret == -EEXIST) {
		ret = read_decision(trace, fd, name, &there);
		if (!ret && there != record)
			ret = vferry_error_set(err, -EEXIST, "record-contradicts", name,
					       "the record of this session says otherwise already");
	}
	if (ret && ret != -EEXIST)
		(void) fail(err, ret, dir, "write");
	vf_close(&fd);
	return ret;
}

int vf_record_read(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES],
		   struct vf_record_entry *ret_entry, struct vf_trace *trace,
		   struct vferry_error *err)
{
	struct vf_record_entry entry = { 0 };
	int fd, ret = open_dir(trace, dir, &fd, err);

	if (ret)
		return ret;
	ret = read_entry(trace, fd, id, &entry);
	vf_close(&fd);
	if (ret)
		return fail(err, ret, dir, "read");
	*ret_entry = entry;
	return 0;
}
