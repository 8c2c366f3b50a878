/* SPDX-License-Identifier: MIT */
/* group_image.c - images that are right: what was saved can be loaded, and stays the same. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

/* Warns when they differ, with how and where. */
static void compare(struct check *c, const struct check_image *first, const struct check_image *second)
{
	size_t both = vf_min_u64(first->size, second->size), bytes = 0, ranges = 0, at = 0;
	bool inside = false;

	for (size_t i = 0; i < both; i++) {
		bool differs = first->bytes[i] != second->bytes[i];

		if (differs && !bytes++)
			at = i;
		ranges += differs && !inside;
		inside = differs;
	}
	if (bytes)
		check_warn(c, "%zu bytes differ, in %zu ranges, the first at %zu of %zu", bytes, ranges, at,
			   first->size);
	else if (first->size != second->size)
		check_warn(c, "one has %zu bytes and the other %zu", first->size, second->size);
}

static bool read_out(struct check *c, struct check_image *image)
{
	int r;

	if (!check_go(c, VF_VFIO_STATE_STOP_COPY))
		return false;
	r = check_drain(c, image, VF_MIB);
	if (r < 0)
		check_blocked(c, "the state can't be read out: %s", check_errno(r));
	return r == 0 && check_go(c, VF_VFIO_STATE_STOP);
}

static void run_runs(struct check *c, const struct check_assertion *a)
{
	int r;

	(void) a;
	if (!check_go(c, VF_VFIO_STATE_STOP) || !check_go(c, VF_VFIO_STATE_RUNNING))
		return;		/* that would be another assertion's */
	if (!check_first_loads(c))
		return;
	r = check_set(c, VF_VFIO_STATE_RUNNING);
	if (r < 0)
		check_fail(c, "SET RUNNING after it fails with %s", check_errno(r));
}

static void run_twice(struct check *c, const struct check_assertion *a)
{
	struct check_image first = { 0 }, second = { 0 };

	(void) a;
	if (check_go(c, VF_VFIO_STATE_STOP) && read_out(c, &first) && read_out(c, &second))
		compare(c, &first, &second);
	check_image_done(&first);
	check_image_done(&second);
}

static void run_round_trip(struct check *c, const struct check_assertion *a)
{
	struct check_image again = { 0 };

	(void) a;
	if (check_first_loads(c) && read_out(c, &again))
		compare(c, &c->image, &again);
	check_image_done(&again);
}

static void run_again(struct check *c, const struct check_assertion *a)
{
	(void) a;
	if (check_first_loads(c))
		(void) check_loads(c, &c->image, VF_MIB, "the same image over the first");
}

static void run_chained(struct check *c, const struct check_assertion *a)
{
	struct check_image next = { 0 };

	(void) a;
	if (check_first_loads(c) && check_go(c, VF_VFIO_STATE_RUNNING) && check_save(c, &next, VF_MIB))
		(void) check_loads(c, &next, VF_MIB, "what was saved after it had been loaded and had run");
	check_image_done(&next);
}

#define SOURCE "linux/vfio.h: enum vfio_device_mig_state"

static const struct check_assertion assertions[] = {
	{ .id = "image.runs", .source = SOURCE, .needs = CHECK_NEEDS_IMAGE, .run = run_runs,
	  .sentence = "a device into which an image was loaded goes on to RUNNING" },
	{ .id = "image.again", .source = SOURCE, .needs = CHECK_NEEDS_IMAGE, .run = run_again,
	  .sentence = "an image can be loaded over another one" },
	{ .id = "image.chained", .source = SOURCE, .needs = CHECK_NEEDS_IMAGE, .run = run_chained,
	  .sentence = "what was loaded and has run can be saved, and loaded again" },
	{ .id = "image.twice", .source = "none", .needs = CHECK_NEEDS_IMAGE, .run = run_twice,
	  .sentence = "two saves of a device that stays in STOP give the same bytes" },
	{ .id = "image.round-trip", .source = "none", .needs = CHECK_NEEDS_IMAGE, .run = run_round_trip,
	  .sentence = "an image that is loaded, and saved again, gives the same bytes" },
};

const struct check_group check_group_image = {
	.name = "image",
	.about = "What was saved can be loaded. That the same state gives the same bytes is not promised by anybody, but "
		 "where it does not, it is good to know why: the differing ranges are told.",
	CHECK_GROUP(assertions),
};
