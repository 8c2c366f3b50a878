/* SPDX-License-Identifier: MIT */
/* group_data.c - the stream of state: where it begins and ends, and that its pieces don't matter. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

#define PIECE 4096u

static void run_out(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int r;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	r = check_drain(c, &image, VF_MIB);
	if (r == -EFBIG)
		check_warn(c, "there is more than %u MiB; assertions that need an image are blocked",
			   CHECK_IMAGE_MAX >> 20);
	else if (r == -ETIME)
		check_fail(c, "the data doesn't end within the time of an assertion");
	else if (r < 0)
		check_fail(c, "read fails with %s after %zu bytes", check_errno(r), image.size);
	else if (!image.size)
		check_fail(c, "there is no data at all");
	else
		check_note(c, "%zu bytes", image.size);
	check_image_done(&image);
}

static void run_end_stays(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	uint8_t more[64];

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	if (check_drain(c, &image, VF_MIB) < 0)
		check_blocked(c, "the state can't be read out");
	check_image_done(&image);
	for (int i = 0; i < 10 && !check_decided(c); i++) {
		ssize_t n = check_data_read(c, more, sizeof(more));

		if (n)
			check_fail(c, "read %d after the end gives %s", i + 1,
				   n < 0 ? check_errno(n) : "data");
	}
}

static void run_read_elsewhere(struct check *c, const struct check_assertion *a)
{
	static const uint32_t states[] = { VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_STOP,
					   VF_VFIO_STATE_RUNNING_P2P };
	uint8_t data[64];

	(void) a;
	for (size_t i = 0; i < VF_ARRAY_COUNT(states) && !check_decided(c); i++) {
		ssize_t n;

		if (!check_has_state(c, states[i]))
			continue;
		if (!check_go(c, states[i]))
			return;
		n = check_data_read(c, data, sizeof(data));
		if (n > 0)
			check_fail(c, "in %s a read gives %zd bytes", check_state_name(states[i]), n);
		else if (n == 0)
			check_warn(c, "in %s a read gives the end of data instead of an error",
				   check_state_name(states[i]));
	}
}

static void run_write_elsewhere(struct check *c, const struct check_assertion *a)
{
	static const uint32_t states[] = { VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_STOP,
					   VF_VFIO_STATE_STOP_COPY };
	static const uint8_t data[64];

	(void) a;
	for (size_t i = 0; i < VF_ARRAY_COUNT(states) && !check_decided(c); i++) {
		if (!check_go(c, states[i]))
			return;
		if (check_data_write(c, data, sizeof(data)) >= 0)
			check_fail(c, "in %s a write is accepted", check_state_name(states[i]));
	}
}

/* Pieces of 1, 2, 3 ... bytes at first, so that they fall on all boundaries there are. */
static void run_small_reads(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int64_t n = 1;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	for (size_t piece = 1; piece <= 127 && n > 0; piece += 2)
		n = check_drain_some(c, &image, piece, 3 * piece);
	if (n >= 0)
		n = check_drain(c, &image, VF_MIB);
	if (n < 0)
		check_fail(c, "read fails with %s after %zu bytes", check_errno(n), image.size);
	else
		(void) check_loads(c, &image, VF_MIB, "what small reads gave");
	check_image_done(&image);
}

static void run_big_reads(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int r;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	r = check_drain(c, &image, 16 * VF_MIB);
	if (r < 0)
		check_fail(c, "a read of 16 MiB fails with %s", check_errno(r));
	else
		(void) check_loads(c, &image, VF_MIB, "what large reads gave");
	check_image_done(&image);
}

static void run_small_writes(struct check *c, const struct check_assertion *a)
{
	size_t done = 0;
	int r = 0;

	(void) a;
	if (!check_first_loads(c) || !check_go(c, VF_VFIO_STATE_RESUMING))
		return;
	for (size_t piece = 1; done < c->image.size && r == 0; piece += piece < 255 ? 2 : 0) {
		size_t len = vf_min_u64(done < 65536 ? piece : VF_MIB, c->image.size - done);

		r = check_data_write(c, c->image.bytes + done, len);
		done += r == 0 ? len : 0;
	}
	if (r < 0)
		check_fail(c, "write fails with %s after %zu bytes", check_errno(r), done);
	else if ((r = check_set(c, VF_VFIO_STATE_STOP)) < 0)
		check_fail(c, "SET STOP after small writes fails with %s", check_errno(r));
}

/* @from: bytes that are read in PRE_COPY, 0 = none, UINT32_MAX = all that there is. */
static void run_from_precopy(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };
	int64_t n = 0;

	if (!check_reach(c, VF_VFIO_STATE_PRE_COPY))
		return;
	if (a->from)
		n = check_drain_some(c, &image, PIECE, a->from == UINT32_MAX ? CHECK_IMAGE_MAX : a->from);
	if (n < 0)
		check_fail(c, "read in PRE_COPY fails with %s", check_errno(n));
	else if (check_go(c, VF_VFIO_STATE_STOP_COPY)) {
		n = check_drain(c, &image, VF_MIB);
		if (n < 0)
			check_fail(c, "read in STOP_COPY fails with %s", check_errno(n));
		else
			(void) check_loads(c, &image, VF_MIB, "what both states gave together");
	}
	check_image_done(&image);
}

/* Ends a session half read, and asks whether the next is whole. @from: its state; @to: how it ends. */
static void run_left_early(struct check *c, const struct check_assertion *a)
{
	struct check_image part = { 0 }, whole = { 0 };
	int64_t n;

	if (!check_reach(c, a->from))
		return;
	n = check_drain_some(c, &part, PIECE / 2, PIECE);
	check_image_done(&part);
	if (n < 0)
		check_blocked(c, "read fails with %s", check_errno(n));
	else if (check_go(c, a->to) && check_settle(c) == 0 && check_save(c, &whole, VF_MIB))
		(void) check_loads(c, &whole, VF_MIB, "what the next session gave");
	check_image_done(&whole);
}

#define SOURCE "linux/vfio.h: enum vfio_device_mig_state"

static const struct check_assertion assertions[] = {
	{ .id = "data.out", .source = SOURCE, .run = run_out,
	  .sentence = "in STOP_COPY the state is read out, to an end" },
	{ .id = "data.end-stays", .source = SOURCE, .run = run_end_stays,
	  .sentence = "after the end of the data every read gives the end again" },
	{ .id = "data.read-elsewhere", .source = SOURCE, .run = run_read_elsewhere,
	  .sentence = "outside of PRE_COPY, PRE_COPY_P2P and STOP_COPY nothing is read" },
	{ .id = "data.write-elsewhere", .source = SOURCE, .run = run_write_elsewhere,
	  .sentence = "outside of RESUMING a write is refused" },
	{ .id = "data.small-reads", .source = SOURCE, .run = run_small_reads, .needs = CHECK_NEEDS_IMAGE,
	  .sentence = "reads of 1, 3, 5 ... bytes give the same stream: it can be loaded" },
	{ .id = "data.big-reads", .source = SOURCE, .run = run_big_reads, .needs = CHECK_NEEDS_IMAGE,
	  .sentence = "reads of 16 MiB give the same stream: it can be loaded" },
	{ .id = "data.small-writes", .source = SOURCE, .run = run_small_writes,
	  .needs = CHECK_NEEDS_IMAGE,
	  .sentence = "the stream can be written in pieces of 1, 3, 5 ... bytes" },
	{ .id = "data.precopy-all", .source = SOURCE, .run = run_from_precopy,
	  .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_IMAGE, .from = UINT32_MAX,
	  .sentence = "all that PRE_COPY gives until it has nothing more, and the rest in STOP_COPY, are one stream that can be loaded" },
	{ .id = "data.precopy-some", .source = SOURCE, .run = run_from_precopy,
	  .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_IMAGE, .from = 100,
	  .sentence = "PRE_COPY may be left for STOP_COPY in the middle of its data, which goes on there" },
	{ .id = "data.precopy-unread", .source = SOURCE, .run = run_from_precopy,
	  .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_IMAGE,
	  .sentence = "PRE_COPY may be left for STOP_COPY before anything was read" },
	{ .id = "data.left-early", .source = SOURCE, .run = run_left_early,
	  .needs = CHECK_NEEDS_IMAGE, .from = VF_VFIO_STATE_STOP_COPY, .to = VF_VFIO_STATE_STOP,
	  .sentence = "STOP_COPY may be left with data unread, and the next session begins at the beginning" },
	{ .id = "data.cancelled", .source = SOURCE, .run = run_left_early,
	  .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_IMAGE, .from = VF_VFIO_STATE_PRE_COPY,
	  .to = VF_VFIO_STATE_RUNNING,
	  .sentence = "PRE_COPY may be left for RUNNING with data unread, and the next session begins at the beginning" },
};

const struct check_group check_group_data = {
	.name = "data",
	.about = "The state of a device is one stream of bytes from the first read to the end. In which pieces it is read "
		 "and written doesn't matter; a session that is left is over, and the next one begins anew.",
	CHECK_GROUP(assertions),
};
