/* SPDX-License-Identifier: MIT */
/* device.c - states, requests and data of the device under check; see internal.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "internal.h"

#define FEATURE_HEAD 8u

const char *check_errno(int64_t code)
{
	return code < 0 ? vferry_errno_name((int) code) : "success";
}

const char *check_state_name(uint32_t state)
{
	const char *name = vf_vfio_state_name(state);

	return name ? name : "a state that does not exist";
}

bool check_has_state(const struct check *c, uint32_t state)
{
	switch (state) {
	case VF_VFIO_STATE_RUNNING_P2P:
		return c->flags & VF_VFIO_MIGRATION_P2P;
	case VF_VFIO_STATE_PRE_COPY:
		return c->flags & VF_VFIO_MIGRATION_PRE_COPY;
	case VF_VFIO_STATE_PRE_COPY_P2P:
		return c->flags & VF_VFIO_MIGRATION_PRE_COPY && c->flags & VF_VFIO_MIGRATION_P2P;
	default:
		return state != VF_VFIO_STATE_ERROR && state < VF_VFIO_STATE__COUNT;
	}
}

/* A device behind a connection may take that with it; what it answers itself is never one of these. */
static int64_t answered(struct check *c, int64_t r)
{
	if ((r == -ENOTCONN || r == -ETIMEDOUT || r == -EPROTO) && !(c->has & CHECK_NEEDS_DESCRIPTOR))
		atomic_store(&c->lost, true);
	return r;
}

uint64_t check_random(struct check *c)
{
	uint64_t x = c->random += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

bool check_time_left(const struct check *c)
{
	return !atomic_load(&c->lost) && vf_now_ns() < c->deadline_ns;
}

void check_time_add(struct check *c, const char *what, uint64_t ns, uint64_t bytes)
{
	struct check_report *r = c->report;
	uint32_t i = 0;

	while (i < r->time_count && strcmp(r->times[i].what, what))
		i++;
	if (i == CHECK_TIMES_MAX)
		return;
	if (i == r->time_count) {
		r->time_count++;
		(void) snprintf(r->times[i].what, sizeof(r->times[i].what), "%s", what);
	}
	r->times[i].count++;
	r->times[i].total_ns += ns;
	r->times[i].max_ns = vf_max_u64(r->times[i].max_ns, ns);
	r->times[i].bytes += bytes;
}

/* --- states --- */

int check_get(struct check *c, uint32_t *ret_state)
{
	return (int) answered(c, c->backend->ops->get_state(c->backend, ret_state, NULL));
}

int check_set(struct check *c, uint32_t state)
{
	uint32_t from = VF_VFIO_STATE_ERROR;
	uint64_t start;
	int r = check_get(c, &from);

	if (r < 0)
		return r;
	start = vf_now_ns();
	r = (int) answered(c, c->backend->ops->set_state(c->backend, state, NULL));
	if (r == 0 && from != state && from < VF_VFIO_STATE__COUNT) {
		char what[64];

		(void) snprintf(what, sizeof(what), "%s -> %s", check_state_name(from),
				check_state_name(state));
		check_time_add(c, what, vf_now_ns() - start, 0);
	}
	return r;
}

int check_reset(struct check *c)
{
	uint64_t start = vf_now_ns();
	int r = (int) answered(c, c->backend->ops->reset(c->backend, NULL));

	if (r == 0)
		check_time_add(c, "reset", vf_now_ns() - start, 0);
	return r;
}

bool check_is(struct check *c, uint32_t state, const char *after)
{
	uint32_t now;
	int r = check_get(c, &now);

	if (r < 0)
		check_fail(c, "%s: GET of the state fails with %s", after, check_errno(r));
	else if (now != state)
		check_fail(c, "%s: the state is %s, not %s", after, check_state_name(now),
			   check_state_name(state));
	return r == 0 && now == state;
}

void check_refuses(struct check *c, uint32_t state, uint32_t target)
{
	const char *name = vf_vfio_state_name(target);
	char number[16], after[80];
	int r = check_set(c, target);

	if (!name) {
		(void) snprintf(number, sizeof(number), "%u", target);
		name = number;
	}
	(void) snprintf(after, sizeof(after), "after SET %s in %s", name, check_state_name(state));
	if (r == 0)
		check_fail(c, "SET %s in %s is accepted", name, check_state_name(state));
	else if (r != -EINVAL)
		check_fail(c, "SET %s in %s fails with %s, not EINVAL", name, check_state_name(state),
			   check_errno(r));
	else
		(void) check_is(c, state, after);
}

bool check_go(struct check *c, uint32_t state)
{
	uint32_t now;
	int r = check_set(c, state);

	if (r == 0)
		r = check_get(c, &now);
	if (r == 0 && now != state)
		r = -EREMOTEIO;
	if (r < 0)
		check_blocked(c, "%s can't be reached: %s", check_state_name(state), check_errno(r));
	return r == 0;
}

bool check_reach(struct check *c, uint32_t state)
{
	bool via_stop = state == VF_VFIO_STATE_STOP_COPY || state == VF_VFIO_STATE_RESUMING;
	int r;

	if (state == VF_VFIO_STATE_RUNNING)
		return true;
	if (state == VF_VFIO_STATE_RESUMING && !c->image.size) {
		check_blocked(c, "no image of the device could be saved at the beginning");
		return false;
	}
	if (via_stop && !check_go(c, VF_VFIO_STATE_STOP))
		return false;
	if (state == VF_VFIO_STATE_PRE_COPY_P2P && !check_go(c, VF_VFIO_STATE_PRE_COPY))
		return false;
	if (!check_go(c, state))
		return false;
	if (state != VF_VFIO_STATE_RESUMING)
		return true;
	r = check_data_write(c, c->image.bytes, c->image.size);
	if (r < 0)
		check_blocked(c, "an image can't be written: %s", check_errno(r));
	return r == 0;
}

int check_settle(struct check *c)
{
	uint32_t state;
	int r = check_get(c, &state), reset = 0;

	if (r < 0)
		return r;
	if (state == VF_VFIO_STATE_RUNNING)
		return 0;
	/* What was loaded half can't be left in another way than by reset. */
	if (state == VF_VFIO_STATE_RESUMING || state == VF_VFIO_STATE_ERROR)
		reset = check_reset(c);
	else
		r = check_set(c, VF_VFIO_STATE_RUNNING);
	if (r < 0)
		reset = check_reset(c);
	if (reset < 0 && state != VF_VFIO_STATE_ERROR)
		(void) check_set(c, VF_VFIO_STATE_RUNNING);
	r = check_get(c, &state);
	if (r == 0 && state != VF_VFIO_STATE_RUNNING)	/* a reset that keeps the migration state */
		r = check_set(c, VF_VFIO_STATE_RUNNING);
	return r;
}

void check_each_state(struct check *c, void (*body)(struct check *c, uint32_t state))
{
	for (uint32_t state = VF_VFIO_STATE_STOP; state < VF_VFIO_STATE__COUNT && !check_decided(c);
	     state++) {
		if (!check_has_state(c, state) || (state == VF_VFIO_STATE_RESUMING && !c->image.size))
			continue;
		if (check_settle(c) < 0)
			check_blocked(c, "RUNNING can't be reached");
		else if (check_reach(c, state))
			body(c, state);
	}
}

/* --- requests --- */

int check_feature(struct check *c, uint32_t flags, uint32_t argsz, void *data, size_t in,
		  size_t room)
{
	uint8_t arg[FEATURE_HEAD + 256] = { 0 };
	struct vf_vfio_device_feature head = { .argsz = argsz, .flags = flags };
	int r;

	memcpy(arg, &head, sizeof(head));
	if (in)
		memcpy(arg + FEATURE_HEAD, data, vf_min_u64(in, sizeof(arg) - FEATURE_HEAD));
	r = c->backend->ops->feature(c->backend, arg, FEATURE_HEAD + in, sizeof(arg), NULL);
	if (r >= 0 && room)
		memcpy(data, arg + FEATURE_HEAD, vf_min_u64(room, sizeof(arg) - FEATURE_HEAD));
	return (int) answered(c, r);
}

/* --- data --- */

ssize_t check_data_read(struct check *c, void *to, size_t len)
{
	return (ssize_t) answered(c, c->backend->ops->data_read(c->backend, to, len, NULL));
}

int check_data_write(struct check *c, const void *from, size_t len)
{
	return (int) answered(c, c->backend->ops->data_write(c->backend, from, len, NULL));
}

void check_image_done(struct check_image *image)
{
	free(image->bytes);
	*image = (struct check_image) { 0 };
}

int check_image_room(struct check_image *image, size_t chunk)
{
	size_t want = image->size + chunk, have = vf_max_u64(4096, image->size);
	uint8_t *bytes;

	if (want > CHECK_IMAGE_MAX)
		return -EFBIG;
	/* Grows in powers of two, so its capacity follows from its size. */
	while (have & (have - 1))
		have += have & -have;
	if (image->bytes && want <= have && image->size)
		return 0;
	while (have < want)
		have *= 2;
	bytes = realloc(image->bytes, have);
	if (!bytes)
		return -ENOMEM;
	image->bytes = bytes;
	return 0;
}

int64_t check_drain_some(struct check *c, struct check_image *image, size_t chunk, uint64_t most)
{
	uint64_t total = 0;

	while (total < most) {
		size_t len = (size_t) vf_min_u64(chunk, most - total);
		int r = check_image_room(image, len);
		ssize_t n;

		if (r < 0)
			return r;
		if (!check_time_left(c))
			return -ETIME;
		n = check_data_read(c, image->bytes + image->size, len);
		if (n < 0)
			return n;
		if (n == 0)
			break;
		if ((size_t) n > len)
			return -EOVERFLOW;
		image->size += (size_t) n;
		total += (uint64_t) n;
	}
	return (int64_t) total;
}

int check_drain(struct check *c, struct check_image *image, size_t chunk)
{
	uint64_t start = vf_now_ns();
	int64_t n = check_drain_some(c, image, chunk, UINT64_MAX);

	if (n > 0 && chunk >= VF_MIB)
		check_time_add(c, "state read out", vf_now_ns() - start, (uint64_t) n);
	return n < 0 ? (int) n : 0;
}

bool check_save(struct check *c, struct check_image *ret, size_t chunk)
{
	struct check_image image = { 0 };
	int r;

	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return false;
	r = check_drain(c, &image, chunk);
	if (r < 0)
		check_blocked(c, "the state can't be read out: %s", check_errno(r));
	if (r < 0 || !check_go(c, VF_VFIO_STATE_STOP)) {
		check_image_done(&image);
		return false;
	}
	check_image_done(ret);
	*ret = image;
	return true;
}

int check_load(struct check *c, const void *bytes, size_t size, size_t chunk,
	       enum check_step *ret_step)
{
	const uint8_t *at = bytes;
	uint64_t start;
	uint32_t state;
	int r = check_get(c, &state);

	*ret_step = CHECK_BEFORE;
	if (r == 0 && state != VF_VFIO_STATE_STOP)
		r = check_set(c, VF_VFIO_STATE_STOP);
	if (r == 0)
		r = check_set(c, VF_VFIO_STATE_RESUMING);
	if (r < 0)
		return r;
	*ret_step = CHECK_WRITING;
	start = vf_now_ns();
	for (size_t done = 0; done < size; done += chunk) {
		r = check_data_write(c, at + done, vf_min_u64(chunk, size - done));
		if (r < 0)
			return r;
		if (!check_time_left(c))
			return -ETIME;
	}
	if (chunk >= VF_MIB && size)
		check_time_add(c, "state written", vf_now_ns() - start, size);
	*ret_step = CHECK_ENDING;
	r = check_set(c, VF_VFIO_STATE_STOP);
	if (r == 0)
		*ret_step = CHECK_LOADED;
	return r;
}

bool check_first_loads(struct check *c)
{
	enum check_step step;
	int r = check_load(c, c->image.bytes, c->image.size, VF_MIB, &step);

	if (step != CHECK_LOADED)
		check_blocked(c, "the first image can't be loaded: %s", check_errno(r));
	return step == CHECK_LOADED;
}

bool check_loads(struct check *c, const struct check_image *image, size_t chunk, const char *what)
{
	enum check_step step;
	int r = check_load(c, image->bytes, image->size, chunk, &step);

	if (step == CHECK_BEFORE)
		check_blocked(c, "RESUMING can't be reached: %s", check_errno(r));
	else if (step != CHECK_LOADED &&
		 (image == &c->image || (check_settle(c) == 0 && check_first_loads(c))))
		check_fail(c, "%s is refused: %s fails with %s", what,
			   step == CHECK_WRITING ? "write" : "SET STOP after it", check_errno(r));
	return step == CHECK_LOADED;
}

bool check_fail_to_load(struct check *c)
{
	static const uint8_t garbage[64] = { 0xa5, 0x5a, 0xff };
	enum check_step step;
	int r = check_load(c, garbage, sizeof(garbage), sizeof(garbage), &step);

	if (step == CHECK_LOADED)
		check_skip(c, "no transition is known that fails: the device takes garbage as its state");
	else if (step == CHECK_BEFORE)
		check_blocked(c, "RESUMING can't be reached: %s", check_errno(r));
	else if (step == CHECK_WRITING && check_set(c, VF_VFIO_STATE_STOP) == 0)
		check_skip(c, "no transition is known that fails: STOP is reached after a refused write");
	return !check_decided(c);
}

/* --- descriptors --- */

static ssize_t result_of(ssize_t r)
{
	return r < 0 ? -errno : r;
}

static ssize_t sys_read(void *user, int fd, void *to, size_t len)
{
	(void) user;
	return result_of(read(fd, to, len));
}

static ssize_t sys_write(void *user, int fd, const void *from, size_t len)
{
	(void) user;
	return result_of(write(fd, from, len));
}

static ssize_t sys_pread(void *user, int fd, void *to, size_t len, off_t at)
{
	(void) user;
	return result_of(pread(fd, to, len, at));
}

static ssize_t sys_pwrite(void *user, int fd, const void *from, size_t len, off_t at)
{
	(void) user;
	return result_of(pwrite(fd, from, len, at));
}

static off_t sys_lseek(void *user, int fd, off_t at, int whence)
{
	(void) user;
	return result_of(lseek(fd, at, whence));
}

static int sys_poll(void *user, struct pollfd *fds, int timeout_ms)
{
	(void) user;
	return (int) result_of(poll(fds, 1, timeout_ms));
}

static int sys_fcntl(void *user, int fd, int command, int value)
{
	(void) user;
	return (int) result_of(fcntl(fd, command, value));
}

static int sys_precopy_info(void *user, int fd, struct vf_vfio_precopy_info *info)
{
	(void) user;
	return (int) result_of(ioctl(fd, VF_VFIO_MIG_GET_PRECOPY_INFO, info));
}

static int sys_close(void *user, int fd)
{
	(void) user;
	return (int) result_of(close(fd));
}

static int sys_limit_fds(void *user, uint64_t *limit)
{
	struct rlimit bound;
	rlim_t before;
	int lowest;

	(void) user;
	if (getrlimit(RLIMIT_NOFILE, &bound))
		return -errno;
	before = bound.rlim_cur;
	bound.rlim_cur = *limit;
	if (*limit == UINT64_MAX) {
		lowest = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
		if (lowest < 0)
			return -errno;
		(void) close(lowest);
		bound.rlim_cur = (rlim_t) lowest;
	}
	if (setrlimit(RLIMIT_NOFILE, &bound))
		return -errno;
	*limit = before;
	return 0;
}

const struct check_sys check_system = {
	.read = sys_read, .write = sys_write, .pread = sys_pread, .pwrite = sys_pwrite,
	.lseek = sys_lseek, .poll = sys_poll, .fcntl = sys_fcntl, .precopy_info = sys_precopy_info,
	.close = sys_close, .limit_fds = sys_limit_fds,
};
