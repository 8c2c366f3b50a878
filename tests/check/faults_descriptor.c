/* SPDX-License-Identifier: MIT */
/* faults_descriptor.c - faults of migration descriptors; see faults.c and descriptors.c. */
#include <errno.h>
#include <fcntl.h>

#include "base/bytes.h"
#include "broken.h"

/* Call `a`, where it results in `b` (as a number), results in `code`. */
static ssize_t call_results(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	return call == (enum fd_call) b->fault->a && r == (ssize_t) (int32_t) b->fault->b ? b->fault->code : r;
}

static ssize_t none_for_precopy(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	return call == FD_GIVEN && b->state == VF_VFIO_STATE_RESUMING ? -1 : r;
}

static int get_gives(struct broken *b, void *arg, size_t bytes, size_t room)
{
	const struct vf_vfio_device_feature *head = arg;
	int r = broken_feature(b, arg, bytes, room);

	if (r >= 0 && head->flags == (VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_GET))
		vf_put_u32((uint8_t *) arg + 12, 7);
	return r;
}

static ssize_t stop_gives(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	return call == FD_GIVEN && b->state == VF_VFIO_STATE_STOP ? 7 : r;
}

static ssize_t second_given(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	if (call == FD_GIVEN && b->from_precopy && b->read && b->state == VF_VFIO_STATE_STOP_COPY)
		return b->session_fd;
	return r;
}

/* memory[0]: an older descriptor is open. */
static ssize_t old_is_in_the_way(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	if (call == FD_READ && r > 0 && r <= 16 && b->state == VF_VFIO_STATE_STOP_COPY)
		b->memory[0] = (uint64_t) fd;
	if (call == FD_CLOSE && b->memory[0] == (uint64_t) fd)
		b->memory[0] = 0;
	return call == FD_READ && b->memory[0] && b->memory[0] != (uint64_t) fd ? -EBUSY : r;
}

/* In state `a` the wrong direction is open. */
static ssize_t both_ways(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	if ((call == FD_READ || call == FD_WRITE) && b->state == b->fault->a && r == -EBADF)
		return 16;
	return r;
}

static ssize_t end_in_precopy(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) b;
	(void) fd;
	return call == FD_READ && r == -ENOMSG ? 0 : r;
}

/* memory[0]: the session whose end was seen. */
static ssize_t data_after_end(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	if (call != FD_READ || r)
		return r;
	if (b->memory[0] == (uint64_t) fd)
		return 1;
	b->memory[0] = (uint64_t) fd;
	return 0;
}

static ssize_t no_poll(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	return call == FD_POLL && b->end_seen == (b->fault->a == 1) ? 0 : r;
}

/* Call `a` on a descriptor whose session is over. */
static ssize_t lives_on(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	return call == (enum fd_call) b->fault->a && r == -ENODEV ? 16 : r;
}

static ssize_t close_stops(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	if (call == FD_CLOSE && fd == b->session_fd && b->state == VF_VFIO_STATE_STOP_COPY && !b->read)
		(void) broken_set_state(b, VF_VFIO_STATE_STOP);
	return r;
}

static ssize_t no_info_at_all(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) b;
	(void) fd;
	return call == FD_INFO && r == 0 ? -EIO : r;
}

/* In state `a`. */
static ssize_t info_answers(struct broken *b, enum fd_call call, int fd, ssize_t r)
{
	(void) fd;
	return call == FD_INFO && r == -EINVAL && b->state == b->fault->a ? 0 : r;
}

static int stuck_without(struct broken *b, uint32_t from, uint32_t to)
{
	(void) from;
	if (b->state == VF_VFIO_STATE_STOP_COPY && b->session_fd < 0)
		return -EBUSY;
	return broken_set_state(b, to);
}

static int no_reset_without(struct broken *b)
{
	if (b->state == VF_VFIO_STATE_STOP_COPY && b->session_fd < 0 && b->memory[0]++ < 1)
		return -EBUSY;
	return broken_reset(b);
}

#define FD(name) .id = "fd." name, .device = DEVICE_DESCRIPTORS

const struct fault faults_of_descriptors[] = {
	{ FD("given"), .fd_result = none_for_precopy },
	{ FD("get"), .feature = get_gives },
	{ FD("none"), .fd_result = stop_gives },
	{ FD("one"), .fd_result = second_given },
	{ FD("fresh"), .fd_result = old_is_in_the_way },
	{ FD("cloexec"), .fd_result = call_results, .a = FD_FLAGS, .b = FD_CLOEXEC },
	{ FD("no-seek"), .fd_result = call_results, .a = FD_SEEK, .b = (uint32_t) -ESPIPE },
	{ FD("no-pread"), .fd_result = call_results, .a = FD_PREAD, .b = (uint32_t) -ESPIPE, .code = 16 },
	{ FD("no-pwrite"), .fd_result = call_results, .a = FD_PWRITE, .b = (uint32_t) -ESPIPE, .code = 16 },
	{ FD("no-write"), .fd_result = both_ways, .a = VF_VFIO_STATE_STOP_COPY },
	{ FD("no-read"), .fd_result = both_ways, .a = VF_VFIO_STATE_RESUMING },
	{ FD("nothing-now"), .fd_result = end_in_precopy },
	{ FD("end"), .fd_result = data_after_end },
	{ FD("poll-end"), .fd_result = no_poll, .a = 1 },
	{ FD("poll-data"), .fd_result = no_poll, .a = 0 },
	{ FD("after-save"), .fd_result = lives_on, .a = FD_READ },
	{ FD("after-load"), .fd_result = lives_on, .a = FD_WRITE },
	{ FD("closed"), .fd_result = close_stops },
	{ FD("info"), .fd_result = no_info_at_all },
	{ FD("info-argsz"), .fd_result = info_answers, .a = VF_VFIO_STATE_PRE_COPY },
	{ FD("info-stop-copy"), .fd_result = info_answers, .a = VF_VFIO_STATE_STOP_COPY },
	{ FD("exhausted"), .set_state = stuck_without, .reset = no_reset_without },
	{ 0 }
};
