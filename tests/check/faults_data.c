/* SPDX-License-Identifier: MIT */
/* faults_data.c - faults in the stream, and in what is told about it; see faults.c. */
#include <errno.h>

#include "base/checked.h"
#include "broken.h"

/* --- reading and writing --- */

static ssize_t read_fails(struct broken *b, void *to, size_t len)
{
	(void) b;
	(void) to;
	(void) len;
	return -EIO;
}

static ssize_t end_moves(struct broken *b, void *to, size_t len)
{
	ssize_t n = broken_read(b, to, len);
	bool again = n == 0 && b->memory[0] == b->sessions;

	if (n == 0 && b->state == VF_VFIO_STATE_STOP_COPY)
		b->memory[0] = b->sessions;
	return again ? 1 : n;
}

static ssize_t reads_in_stop(struct broken *b, void *to, size_t len)
{
	return b->state == VF_VFIO_STATE_STOP ? 5 : broken_read(b, to, len);
}

static int writes_in_stop(struct broken *b, const void *from, size_t len)
{
	return b->state == VF_VFIO_STATE_STOP ? 0 : broken_write(b, from, len);
}

static ssize_t one_byte_is_wrong(struct broken *b, void *to, size_t len)
{
	return broken_read_wrong(b, to, len, len == 1);
}

static ssize_t big_read_fails(struct broken *b, void *to, size_t len)
{
	return len > 8 * VF_MIB ? -EINVAL : broken_read(b, to, len);
}

static int one_byte_is_refused(struct broken *b, const void *from, size_t len)
{
	return len == 1 ? -EINVAL : broken_write(b, from, len);
}

/* The first bytes of STOP_COPY are wrong, when PRE_COPY before it was read ... */
static ssize_t after_precopy(struct broken *b, void *to, size_t len, bool when)
{
	bool first = b->from_precopy && b->state == VF_VFIO_STATE_STOP_COPY && b->read == b->read_before_stop;

	return broken_read_wrong(b, to, len, first && when);
}

static ssize_t after_whole_precopy(struct broken *b, void *to, size_t len)
{
	return after_precopy(b, to, len, b->end_seen);
}

static ssize_t after_some_precopy(struct broken *b, void *to, size_t len)
{
	return after_precopy(b, to, len, b->read_before_stop == 100);
}

static ssize_t after_unread_precopy(struct broken *b, void *to, size_t len)
{
	return after_precopy(b, to, len, !b->read_before_stop);
}

/* SET `b` in `a` with data unread. */
static int remembers(struct broken *b, uint32_t from, uint32_t to)
{
	if (from == b->fault->a && to == b->fault->b && b->read && !b->end_seen)
		b->memory[0] = 1;
	return broken_set_state(b, to);
}

/* --- precopy information --- */

static int real_info(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	return b->real->ops->precopy_info(b->real, ret, NULL);
}

static int no_info(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	return b->state == b->fault->a ? -EIO : real_info(b, ret);
}

static int info_anywhere(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	return b->state == VF_VFIO_STATE_STOP_COPY ? 0 : real_info(b, ret);
}

static int no_initial(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	int r = real_info(b, ret);

	if (r == 0) {
		ret->dirty_bytes = b->read ? ret->initial_bytes + ret->dirty_bytes : 0;
		ret->initial_bytes = 0;
	}
	return r;
}

static int initial_stays(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	int r = real_info(b, ret);

	ret->initial_bytes += 4096;
	return r;
}

static int dirty_at_first(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	int r = real_info(b, ret);

	ret->dirty_bytes += b->read ? 0 : 4096;
	return r;
}

static int says_nothing(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	int r = real_info(b, ret);

	if (b->read)
		ret->initial_bytes = ret->dirty_bytes = 0;
	return r;
}

static int has_flags(struct broken *b, struct vf_vfio_precopy_info *ret)
{
	int r = real_info(b, ret);

	ret->flags = VF_VFIO_PRECOPY_INFO_REINIT;
	return r;
}

static int v2_only_probed(struct broken *b, void *arg, size_t bytes, size_t room)
{
	const struct vf_vfio_device_feature *head = arg;

	if ((head->flags & VF_VFIO_FEATURE_MASK) == VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2)
		return head->flags & VF_VFIO_FEATURE_PROBE ? 0 : -EINVAL;
	return broken_feature(b, arg, bytes, room);
}

/* --- size --- */

static int real_size(struct broken *b, uint64_t *ret)
{
	return b->real->ops->data_size(b->real, ret, NULL);
}

static int no_size_in_stop_copy(struct broken *b, uint64_t *ret)
{
	return b->state == VF_VFIO_STATE_STOP_COPY ? -EINVAL : real_size(b, ret);
}

static int size_of_one(struct broken *b, uint64_t *ret)
{
	(void) b;
	*ret = 1;
	return 0;
}

static int size_starts(struct broken *b, uint64_t *ret)
{
	int r = real_size(b, ret);

	if (b->state == VF_VFIO_STATE_STOP)
		(void) broken_set_state(b, VF_VFIO_STATE_RUNNING);
	return r;
}

const struct fault faults_of_data[] = {
	{ .id = "data.out", .data_read = read_fails },
	{ .id = "data.end-stays", .data_read = end_moves },
	{ .id = "data.read-elsewhere", .data_read = reads_in_stop },
	{ .id = "data.write-elsewhere", .data_write = writes_in_stop },
	{ .id = "data.small-reads", .data_read = one_byte_is_wrong },
	{ .id = "data.big-reads", .data_read = big_read_fails },
	{ .id = "data.small-writes", .data_write = one_byte_is_refused },
	{ .id = "data.precopy-all", .data_read = after_whole_precopy },
	{ .id = "data.precopy-some", .data_read = after_some_precopy },
	{ .id = "data.precopy-unread", .data_read = after_unread_precopy },
	{ .id = "data.left-early", .data_read = broken_next_wrong, .set_state = remembers,
	  .a = VF_VFIO_STATE_STOP_COPY, .b = VF_VFIO_STATE_STOP },
	{ .id = "data.cancelled", .data_read = broken_next_wrong, .set_state = remembers,
	  .a = VF_VFIO_STATE_PRE_COPY, .b = VF_VFIO_STATE_RUNNING, .also = "concurrent.cancel-precopy" },

	{ .id = "precopy.info", .precopy_info = no_info, .a = VF_VFIO_STATE_PRE_COPY },
	{ .id = "precopy.info-p2p", .precopy_info = no_info, .a = VF_VFIO_STATE_PRE_COPY_P2P },
	{ .id = "precopy.info-elsewhere", .precopy_info = info_anywhere },
	{ .id = "precopy.initial", .precopy_info = no_initial },
	{ .id = "precopy.falls", .precopy_info = initial_stays },
	{ .id = "precopy.dirty", .precopy_info = dirty_at_first },
	{ .id = "precopy.both-zero", .precopy_info = says_nothing },
	{ .id = "precopy.flags", .precopy_info = has_flags },
	{ .id = "precopy.v2", .feature = v2_only_probed },

	{ .id = "size.states", .data_size = no_size_in_stop_copy },
	{ .id = "size.estimate", .verdict = CHECK_WARN, .data_size = size_of_one },
	{ .id = "size.quiet", .data_size = size_starts },
	{ 0 }
};
