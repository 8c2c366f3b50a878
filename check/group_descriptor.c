/* SPDX-License-Identifier: MIT */
/*
 * group_descriptor.c - the descriptor that the kernel gives for a session's data: when there is one,
 * what it can do, and when it is dead. Sessions are begun by requests as they stand, so that the
 * descriptor is ours and nobody else reads it.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "internal.h"

#define PIECE 65536u
#define DATA_MS 1000

/* SET, and what it gives: *ret_fd is -1 where there is none. */
static int set(struct check *c, uint32_t state, int *ret_fd)
{
	uint8_t data[8];
	int r;

	vf_put_u32(data, state);
	vf_put_u32(data + 4, UINT32_MAX);
	*ret_fd = -1;
	r = check_feature(c, VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_SET, 16, data, 8, 8);
	if (r >= 0)
		*ret_fd = (int32_t) vf_get_u32(data + 4);
	return r < 0 ? r : 0;
}

static void close_fd(struct check *c, int fd)
{
	if (fd >= 0)
		(void) c->sys->close(c->sys->user, fd);
}

/* Begins a session. -1: BLOCKED was said. */
static int begin(struct check *c, uint32_t state)
{
	int fd, r = 0;

	if (state != VF_VFIO_STATE_PRE_COPY && !check_go(c, VF_VFIO_STATE_STOP))
		return -1;
	r = set(c, state, &fd);
	if (r < 0 || fd < 0)
		check_blocked(c, "no descriptor for %s: %s", check_state_name(state), check_errno(r));
	return fd;
}

/* Reads until a result that is no data, which is returned. */
static ssize_t read_all(struct check *c, int fd, struct check_image *image)
{
	for (;;) {
		ssize_t n = check_image_room(image, PIECE);

		if (n < 0)
			return n;
		if (!check_time_left(c))
			return -ETIME;
		n = c->sys->read(c->sys->user, fd, image->bytes + image->size, PIECE);
		if (n <= 0)
			return n;
		image->size += (size_t) n;
	}
}

static void run_given(struct check *c, const struct check_assertion *a)
{
	static const uint32_t states[] = { VF_VFIO_STATE_STOP_COPY, VF_VFIO_STATE_RESUMING,
					   VF_VFIO_STATE_PRE_COPY };

	(void) a;
	for (size_t i = 0; i < VF_ARRAY_COUNT(states) && !check_decided(c); i++) {
		int fd, r;

		if (!check_has_state(c, states[i]) || check_settle(c) < 0)
			continue;
		if (states[i] != VF_VFIO_STATE_PRE_COPY && !check_go(c, VF_VFIO_STATE_STOP))
			return;
		r = set(c, states[i], &fd);
		if (r == 0 && fd < 0)
			check_fail(c, "SET %s gives data_fd %d", check_state_name(states[i]), fd);
		else if (r < 0)
			check_blocked(c, "SET %s fails with %s", check_state_name(states[i]), check_errno(r));
		close_fd(c, fd);
	}
}

static void run_get(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, VF_VFIO_STATE_STOP_COPY), r;
	uint8_t data[8];

	(void) a;
	if (fd < 0)
		return;
	r = check_feature(c, VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_GET, 16, data, 0, 8);
	if (r < 0)
		check_blocked(c, "GET fails with %s", check_errno(r));
	else if ((int32_t) vf_get_u32(data + 4) != -1)
		check_fail(c, "GET gives data_fd %d", (int32_t) vf_get_u32(data + 4));
	close_fd(c, fd);
}

static void run_none(struct check *c, const struct check_assertion *a)
{
	static const uint32_t states[] = { VF_VFIO_STATE_STOP, VF_VFIO_STATE_RUNNING };

	(void) a;
	for (size_t i = 0; i < VF_ARRAY_COUNT(states) && !check_decided(c); i++) {
		int fd, r = set(c, states[i], &fd);

		if (r < 0)
			check_blocked(c, "SET %s fails with %s", check_state_name(states[i]), check_errno(r));
		else if (fd >= 0)
			check_fail(c, "SET %s gives data_fd %d", check_state_name(states[i]), fd);
		close_fd(c, fd);
	}
}

static void run_one(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int fd = begin(c, VF_VFIO_STATE_PRE_COPY), second = -1, r;
	ssize_t n;

	(void) a;
	if (fd < 0)
		return;
	(void) read_all(c, fd, &image);
	r = set(c, VF_VFIO_STATE_STOP_COPY, &second);
	if (r < 0)
		check_blocked(c, "SET STOP_COPY fails with %s", check_errno(r));
	else if (second >= 0)
		check_fail(c, "SET STOP_COPY in PRE_COPY gives a second descriptor");
	else if ((n = read_all(c, fd, &image)) < 0)
		check_fail(c, "the descriptor of PRE_COPY can't be read in STOP_COPY: %s", check_errno(n));
	else
		(void) check_loads(c, &image, VF_MIB, "what one descriptor gave in both states");
	close_fd(c, second);
	close_fd(c, fd);
	check_image_done(&image);
}

static void run_fresh(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int old = begin(c, VF_VFIO_STATE_STOP_COPY), fd = -1;
	uint8_t data[16];
	ssize_t n;

	(void) a;
	if (old < 0)
		return;
	(void) c->sys->read(c->sys->user, old, data, sizeof(data));
	fd = begin(c, VF_VFIO_STATE_STOP_COPY);
	if (fd >= 0) {
		n = read_all(c, fd, &image);
		if (n < 0)
			check_fail(c, "the second session can't be read while the first one's descriptor is open: %s",
				   check_errno(n));
		else
			(void) check_loads(c, &image, VF_MIB, "what the second session gave");
	}
	close_fd(c, fd);
	close_fd(c, old);
	check_image_done(&image);
}

static void run_cloexec(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, VF_VFIO_STATE_STOP_COPY), r;

	(void) a;
	if (fd < 0)
		return;
	r = c->sys->fcntl(c->sys->user, fd, F_GETFD, 0);
	if (r < 0 || !(r & FD_CLOEXEC))
		check_fail(c, "FD_CLOEXEC is not set");
	close_fd(c, fd);
}

static void run_no_seek(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, VF_VFIO_STATE_STOP_COPY);
	off_t at;

	(void) a;
	if (fd < 0)
		return;
	at = c->sys->lseek(c->sys->user, fd, 0, SEEK_CUR);
	if (at >= 0)
		check_fail(c, "lseek says %lld", (long long) at);
	else if (at != -ESPIPE)
		check_fail(c, "lseek fails with %s, not ESPIPE", check_errno(at));
	close_fd(c, fd);
}

/* @from: STOP_COPY or RESUMING. */
static void run_no_place(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, a->from);
	uint8_t data[16] = { 0 };
	ssize_t n;

	if (fd < 0)
		return;
	if (a->from == VF_VFIO_STATE_STOP_COPY)
		n = c->sys->pread(c->sys->user, fd, data, sizeof(data), 0);
	else
		n = c->sys->pwrite(c->sys->user, fd, data, sizeof(data), 0);
	if (n != -ESPIPE)
		check_fail(c, "it says %s, not ESPIPE", n < 0 ? check_errno(n) : "that it was done");
	close_fd(c, fd);
}

/* @from: a session in whose other direction the descriptor can't be used. */
static void run_one_way(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, a->from);
	uint8_t data[16] = { 0 };
	ssize_t n;

	if (fd < 0)
		return;
	if (a->from == VF_VFIO_STATE_STOP_COPY)
		n = c->sys->write(c->sys->user, fd, data, sizeof(data));
	else
		n = c->sys->read(c->sys->user, fd, data, sizeof(data));
	if (n >= 0)
		check_fail(c, "it is accepted");
	close_fd(c, fd);
}

static void run_nothing_now(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int fd = begin(c, VF_VFIO_STATE_PRE_COPY);
	ssize_t n;

	(void) a;
	if (fd < 0)
		return;
	n = read_all(c, fd, &image);
	if (n == 0)
		check_fail(c, "read gives 0, which is the end, where ENOMSG says that there is nothing now");
	else if (n != -ENOMSG)
		check_fail(c, "read fails with %s, not ENOMSG", check_errno(n));
	close_fd(c, fd);
	check_image_done(&image);
}

static void run_end(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int fd = begin(c, VF_VFIO_STATE_STOP_COPY);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t byte;
	ssize_t n;

	if (fd < 0)
		return;
	n = read_all(c, fd, &image);
	if (n < 0)
		check_fail(c, "read fails with %s, and gives no end", check_errno(n));
	else if (a->from && (c->sys->poll(c->sys->user, &p, DATA_MS) != 1 || !(p.revents & POLLIN)))
		check_fail(c, "poll does not say POLLIN at the end");
	else if (!a->from && (n = c->sys->read(c->sys->user, fd, &byte, 1)) != 0)
		check_fail(c, "after the end, read gives %s", n < 0 ? check_errno(n) : "data");
	close_fd(c, fd);
	check_image_done(&image);
}

static void run_poll_data(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, VF_VFIO_STATE_STOP_COPY);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void) a;
	if (fd < 0)
		return;
	if (c->sys->poll(c->sys->user, &p, 10 * DATA_MS) != 1 || !(p.revents & POLLIN))
		check_fail(c, "poll does not say POLLIN within 10 s of STOP_COPY");
	close_fd(c, fd);
}

/* @from: the session that is over. */
static void run_after(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, a->from);
	uint8_t data[16] = { 0 };
	ssize_t n;

	if (fd < 0)
		return;
	if (check_settle(c) < 0) {
		check_blocked(c, "the session can't be left");
	} else if (a->from == VF_VFIO_STATE_RESUMING) {
		n = c->sys->write(c->sys->user, fd, data, sizeof(data));
		if (n >= 0)
			check_fail(c, "a write is accepted");
	} else {
		n = c->sys->read(c->sys->user, fd, data, sizeof(data));
		if (n > 0)
			check_fail(c, "a read gives %zd bytes", n);
		else if (n == 0)
			check_warn(c, "a read gives the end of data instead of an error");
	}
	close_fd(c, fd);
}

static void run_closed(struct check *c, const struct check_assertion *a)
{
	int fd = begin(c, VF_VFIO_STATE_STOP_COPY);

	(void) a;
	if (fd < 0)
		return;
	close_fd(c, fd);
	(void) check_is(c, VF_VFIO_STATE_STOP_COPY, "after the descriptor was closed with data unread");
}

/* @from: a state; @to: argsz; it works in PRE_COPY with 24, else is refused. */
static void run_info(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info info = { .argsz = a->to };
	int fd = begin(c, VF_VFIO_STATE_PRE_COPY), second = -1, r;
	bool good = a->from == VF_VFIO_STATE_PRE_COPY && a->to == sizeof(info);

	if (fd < 0)
		return;
	r = a->from == VF_VFIO_STATE_PRE_COPY ? 0 : set(c, a->from, &second);
	if (r < 0)
		check_blocked(c, "SET %s fails with %s", check_state_name(a->from), check_errno(r));
	r = c->sys->precopy_info(c->sys->user, fd, &info);
	if (good && r < 0)
		check_fail(c, "it fails with %s", check_errno(r));
	else if (!good && r >= 0)
		check_fail(c, "it is answered");
	else if (!good && r != -EINVAL)
		check_fail(c, "it fails with %s, not EINVAL", check_errno(r));
	close_fd(c, second);
	close_fd(c, fd);
}

static void run_exhausted(struct check *c, const struct check_assertion *a)
{
	struct check_image whole = { 0 };
	uint64_t limit = UINT64_MAX;
	int fd = -1, r;

	(void) a;
	if (!check_go(c, VF_VFIO_STATE_STOP))
		return;
	r = c->sys->limit_fds(c->sys->user, &limit);
	if (r == 0) {
		r = set(c, VF_VFIO_STATE_STOP_COPY, &fd);
		(void) c->sys->limit_fds(c->sys->user, &limit);
	}
	close_fd(c, fd);
	if (r == 0)
		check_skip(c, "there was a descriptor left");
	else if (check_settle(c) < 0)
		check_fail(c, "SET failed with %s, and RUNNING can't be reached", check_errno(r));
	else if (check_save(c, &whole, VF_MIB))
		(void) check_loads(c, &whole, VF_MIB, "what the next session gave");
	check_image_done(&whole);
}

#define SETS "linux/vfio.h: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE"
#define INFO "linux/vfio.h: VFIO_MIG_GET_PRECOPY_INFO"
#define NEEDS (CHECK_NEEDS_DESCRIPTOR | CHECK_NEEDS_FEATURE)
#define PRECOPY (NEEDS | CHECK_NEEDS_PRECOPY)
#define FD(name, from_where, what, function, words) \
	.id = "fd." name, .source = from_where, .needs = (what), .run = function, .sentence = words

static const struct check_assertion assertions[] = {
	{ FD("given", SETS, NEEDS, run_given, "SET that begins a session gives a descriptor") },
	{ FD("get", SETS, NEEDS, run_get, "GET gives a data_fd of -1, in a session, too") },
	{ FD("none", SETS, NEEDS, run_none, "SET that begins no session gives a data_fd of -1") },
	{ FD("one", SETS, PRECOPY | CHECK_NEEDS_IMAGE, run_one,
	     "one descriptor goes from PRE_COPY to the end of STOP_COPY") },
	{ FD("fresh", SETS, NEEDS | CHECK_NEEDS_IMAGE, run_fresh,
	     "a new session has a descriptor of its own, and is whole, though the old one is still open") },
	{ FD("cloexec", "kernel: drivers open it with O_CLOEXEC", NEEDS, run_cloexec,
	     "the descriptor is closed at exec") },
	{ FD("no-seek", "kernel: drivers open it as a stream", NEEDS, run_no_seek,
	     "lseek is refused with ESPIPE") },
	{ FD("no-pread", "kernel: drivers open it as a stream", NEEDS, run_no_place,
	     "pread is refused with ESPIPE"), .from = VF_VFIO_STATE_STOP_COPY },
	{ FD("no-pwrite", "kernel: drivers open it as a stream", NEEDS, run_no_place,
	     "pwrite is refused with ESPIPE"), .from = VF_VFIO_STATE_RESUMING },
	{ FD("no-write", SETS, NEEDS, run_one_way, "the descriptor of a save can't be written to"),
	  .from = VF_VFIO_STATE_STOP_COPY },
	{ FD("no-read", SETS, NEEDS, run_one_way, "the descriptor of a load can't be read from"),
	  .from = VF_VFIO_STATE_RESUMING },
	{ FD("nothing-now", "linux/vfio.h: VFIO_DEVICE_STATE_PRE_COPY", PRECOPY, run_nothing_now,
	     "in PRE_COPY, a read with nothing to give fails with ENOMSG: it is not the end") },
	{ FD("end", "linux/vfio.h: VFIO_DEVICE_STATE_STOP_COPY", NEEDS, run_end,
	     "in STOP_COPY a read at the end gives 0, and so does the next") },
	{ FD("poll-end", "kernel: mlx5", NEEDS, run_end, "at the end poll says POLLIN"), .from = 1 },
	{ FD("poll-data", "kernel: mlx5", NEEDS, run_poll_data, "poll says POLLIN when there is data") },
	{ FD("after-save", "kernel: mlx5, mtty", NEEDS, run_after,
	     "when its session is over, nothing is read from a descriptor"), .from = VF_VFIO_STATE_STOP_COPY },
	{ FD("after-load", "kernel: mlx5, mtty", NEEDS, run_after,
	     "when its session is over, a write to a descriptor is refused"), .from = VF_VFIO_STATE_RESUMING },
	{ FD("closed", SETS, NEEDS, run_closed, "closing the descriptor changes no state") },
	{ FD("info", INFO, PRECOPY, run_info, "GET_PRECOPY_INFO is answered in PRE_COPY"),
	  .from = VF_VFIO_STATE_PRE_COPY, .to = 24 },
	{ FD("info-argsz", INFO, PRECOPY, run_info,
	     "GET_PRECOPY_INFO with an argsz below 24 is refused with EINVAL"),
	  .from = VF_VFIO_STATE_PRE_COPY, .to = 16 },
	{ FD("info-stop-copy", INFO, PRECOPY, run_info,
	     "GET_PRECOPY_INFO in STOP_COPY is refused with EINVAL"),
	  .from = VF_VFIO_STATE_STOP_COPY, .to = 24 },
	{ FD("exhausted", "kernel: core; the state moves before a descriptor is found", NEEDS | CHECK_NEEDS_IMAGE,
	     run_exhausted, "when no descriptor is left for SET STOP_COPY, the device can be brought back to RUNNING "
	     "and saved") },
};

const struct check_group check_group_descriptor = {
	.name = "fd",
	.about = "The kernel gives data through a descriptor for each session. It is a stream; it lives from the first "
		 "saving state to the end; and it is dead when its session is left. Skipped over vfio-user, which has none.",
	CHECK_GROUP(assertions),
};
