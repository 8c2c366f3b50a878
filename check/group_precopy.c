/* SPDX-License-Identifier: MIT */
/* group_precopy.c - what a device tells about its data: precopy information, and the size of its state. */
#include <errno.h>
#include <inttypes.h>

#include "base/checked.h"
#include "internal.h"

#define PIECE 4096u
#define SLACK (1u << 20)

static int info(struct check *c, struct vf_vfio_precopy_info *ret)
{
	*ret = (struct vf_vfio_precopy_info) { .argsz = sizeof(*ret) };
	return c->backend->ops->precopy_info(c->backend, ret, NULL);
}

static bool have_info(struct check *c, struct vf_vfio_precopy_info *ret)
{
	int r = info(c, ret);

	if (r < 0)
		check_blocked(c, "there is no precopy information: %s", check_errno(r));
	return r == 0;
}

static void run_info(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info i;
	int r;

	if (!check_reach(c, a->from))
		return;
	r = info(c, &i);
	if (r < 0)
		check_fail(c, "it fails with %s", check_errno(r));
}

static void run_info_elsewhere(struct check *c, const struct check_assertion *a)
{
	static const uint32_t states[] = { VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_STOP,
					   VF_VFIO_STATE_STOP_COPY };
	struct vf_vfio_precopy_info i;

	(void) a;
	for (size_t n = 0; n < VF_ARRAY_COUNT(states) && !check_decided(c); n++)
		if (check_go(c, states[n]) && info(c, &i) >= 0)
			check_fail(c, "in %s it is given", check_state_name(states[n]));
}

static void run_initial(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info i;

	(void) a;
	if (check_reach(c, VF_VFIO_STATE_PRE_COPY) && have_info(c, &i) && !i.initial_bytes)
		check_fail(c, "initial_bytes is 0 before anything was read");
}

static void run_dirty(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info i;

	(void) a;
	if (check_reach(c, VF_VFIO_STATE_PRE_COPY) && have_info(c, &i) && i.dirty_bytes)
		check_fail(c, "dirty_bytes is %" PRIu64 " before anything was read", i.dirty_bytes);
}

static void run_flags(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info i;

	(void) a;
	if (check_reach(c, VF_VFIO_STATE_PRE_COPY) && have_info(c, &i) && i.flags)
		check_fail(c, "flags are %#x, though nobody has asked for PRECOPY_INFOv2", i.flags);
}

/* Reads all there is, and looks at initial_bytes after each piece. */
static void run_falls(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info i = { 0 };
	struct check_image image = { 0 };
	uint64_t before;
	int64_t n = 1;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_PRE_COPY) || !have_info(c, &i))
		return;
	before = i.initial_bytes;
	while (n > 0 && !check_decided(c)) {
		n = check_drain_some(c, &image, PIECE, PIECE);
		image.size = 0;		/* only how much matters */
		if (n < 0)
			check_blocked(c, "read fails with %s", check_errno(n));
		else if (have_info(c, &i) && i.initial_bytes > before &&
			 !(i.flags & VF_VFIO_PRECOPY_INFO_REINIT))
			check_fail(c, "initial_bytes rises from %" PRIu64 " to %" PRIu64, before,
				   i.initial_bytes);
		before = i.initial_bytes;
	}
	if (!check_decided(c) && i.initial_bytes)
		check_fail(c, "initial_bytes is still %" PRIu64 " when there is nothing to read",
			   i.initial_bytes);
	check_image_done(&image);
}

static void run_both_zero(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_precopy_info i = { 0 };
	struct check_image image = { 0 };
	int lies = 0;
	int64_t n = 1;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_PRE_COPY))
		return;
	while (n > 0 && lies < 3 && have_info(c, &i)) {
		n = check_drain_some(c, &image, PIECE, PIECE);
		image.size = 0;
		if (n < 0)
			check_blocked(c, "read fails with %s", check_errno(n));
		/* Once it may have changed in between. */
		lies = n > 0 && !i.initial_bytes && !i.dirty_bytes ? lies + 1 : 0;
	}
	if (lies == 3)
		check_fail(c, "both are 0, and there is data to read, three times one after the other");
	check_image_done(&image);
}

static void run_v2(struct check *c, const struct check_assertion *a)
{
	uint32_t flags = VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2 | VF_VFIO_FEATURE_SET;
	int r = check_feature(c, flags | VF_VFIO_FEATURE_PROBE, 8, NULL, 0, 0);

	(void) a;
	if (r < 0) {
		check_skip(c, "the device has no PRECOPY_INFOv2 (7.1)");
		return;
	}
	r = check_feature(c, flags, 8, NULL, 0, 0);
	if (r < 0)
		check_fail(c, "PROBE says yes, and SET fails with %s", check_errno(r));
}

/* --- size --- */

static int size_of(struct check *c, uint64_t *ret)
{
	return c->backend->ops->data_size(c->backend, ret, NULL);
}

static void has_size(struct check *c, uint32_t state)
{
	uint64_t bytes;
	int r = size_of(c, &bytes);

	if (r < 0)
		check_fail(c, "in %s it fails with %s", check_state_name(state), check_errno(r));
}

static void run_size_states(struct check *c, const struct check_assertion *a)
{
	(void) a;
	check_each_state(c, has_size);
}

static void run_size_estimate(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	uint64_t bytes;
	int r = size_of(c, &bytes);

	(void) a;
	if (r < 0)
		check_blocked(c, "the size is not given: %s", check_errno(r));
	else if (check_save(c, &image, VF_MIB)) {
		if (bytes < image.size / 2)
			check_warn(c, "the estimate is %" PRIu64 " bytes, and there are %zu: a forecast of the pause is wrong",
				   bytes, image.size);
		else if (bytes > 4 * image.size + SLACK)
			check_warn(c, "the estimate is %" PRIu64 " bytes, and there are only %zu", bytes,
				   image.size);
		else
			check_note(c, "estimated %" PRIu64 ", read %zu", bytes, image.size);
	}
	check_image_done(&image);
}

static void run_size_quiet(struct check *c, const struct check_assertion *a)
{
	uint64_t bytes;
	int r;

	(void) a;
	if (!check_go(c, VF_VFIO_STATE_STOP))
		return;
	r = size_of(c, &bytes);
	if (r < 0)
		check_blocked(c, "the size is not given: %s", check_errno(r));
	else
		(void) check_is(c, VF_VFIO_STATE_STOP, "after its size was asked for");
}

#define INFO "linux/vfio.h: VFIO_MIG_GET_PRECOPY_INFO"
#define SIZE "linux/vfio.h: VFIO_DEVICE_FEATURE_MIG_DATA_SIZE"
#define NEEDS (CHECK_NEEDS_PRECOPY | CHECK_NEEDS_INFO)

static const struct check_assertion precopy[] = {
	{ .id = "precopy.info", .source = INFO, .needs = NEEDS, .run = run_info,
	  .from = VF_VFIO_STATE_PRE_COPY, .sentence = "precopy information is given in PRE_COPY" },
	{ .id = "precopy.info-p2p", .source = INFO, .needs = NEEDS | CHECK_NEEDS_P2P, .run = run_info,
	  .from = VF_VFIO_STATE_PRE_COPY_P2P, .sentence = "precopy information is given in PRE_COPY_P2P" },
	{ .id = "precopy.info-elsewhere", .source = INFO, .needs = NEEDS, .run = run_info_elsewhere,
	  .sentence = "precopy information is refused outside of PRE_COPY and PRE_COPY_P2P" },
	{ .id = "precopy.initial", .source = INFO, .needs = NEEDS, .run = run_initial,
	  .sentence = "initial_bytes is not 0 when a session begins" },
	{ .id = "precopy.falls", .source = INFO, .needs = NEEDS, .run = run_falls,
	  .sentence = "initial_bytes falls as data is read, never rises without REINIT, and is 0 when there is nothing to read" },
	{ .id = "precopy.dirty", .source = INFO, .needs = NEEDS, .run = run_dirty,
	  .sentence = "dirty_bytes is 0 when a session begins" },
	{ .id = "precopy.both-zero", .source = INFO, .needs = NEEDS, .run = run_both_zero,
	  .sentence = "when both are 0, a read says that there is nothing now" },
	{ .id = "precopy.flags", .source = INFO, .needs = NEEDS, .run = run_flags,
	  .sentence = "without PRECOPY_INFOv2, flags that were 0 come back as 0" },
	{ .id = "precopy.v2", .source = "linux/vfio.h: VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2",
	  .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_FEATURE, .run = run_v2,
	  .sentence = "where PRECOPY_INFOv2 can be asked for, asking succeeds" },
};

static const struct check_assertion size[] = {
	{ .id = "size.states", .source = SIZE, .needs = CHECK_NEEDS_SIZE, .run = run_size_states,
	  .sentence = "the size of the state is told in every state" },
	{ .id = "size.estimate", .source = "none", .needs = CHECK_NEEDS_SIZE, .run = run_size_estimate,
	  .sentence = "the size that is told is between half and four times what is then read" },
	{ .id = "size.quiet", .source = SIZE, .needs = CHECK_NEEDS_SIZE, .run = run_size_quiet,
	  .sentence = "asking for the size changes no state" },
};

const struct check_group check_group_precopy = {
	.name = "precopy",
	.about = "By precopy information a user decides when to stop the machine. Data that never gets less, or that is "
		 "there though both numbers say 0, makes that decision wrong.",
	CHECK_GROUP(precopy),
};

const struct check_group check_group_size = {
	.name = "size",
	.about = "The size of the state is what a forecast of the pause is made of. It is an estimate.",
	CHECK_GROUP(size),
};
