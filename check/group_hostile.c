/* SPDX-License-Identifier: MIT */
/*
 * group_hostile.c - images that are wrong. Nobody promises that they are detected, so what is taken is
 * a warning; but the device answers, can be reset, and afterwards takes an image that is right.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

#define FLIPS 32u
#define RANDOM_CUTS 16u
#define NOISE 65536u

struct tries {
	unsigned int made, taken;
	char first[80];		/* the first that was taken */
};

/* Loads @bytes, and brings the device back. False: there is no use in going on. */
static bool try_image(struct check *c, struct tries *t, const void *bytes, size_t size,
		      const char *what, unsigned long long number)
{
	enum check_step step;
	int r;

	if (!t->made && !check_first_loads(c))
		return false;
	r = check_load(c, bytes, size, VF_MIB, &step);
	if (step == CHECK_BEFORE) {
		check_blocked(c, "RESUMING can't be reached: %s", check_errno(r));
		return false;
	}
	t->made++;
	if (step == CHECK_LOADED && !t->taken++)
		(void) snprintf(t->first, sizeof(t->first), "%s %llu", what, number);
	r = check_reset(c);
	if (r < 0)
		r = check_settle(c);
	if (r < 0) {
		check_fail(c, "after %s %llu the device can't be reset: %s", what, number, check_errno(r));
		return false;
	}
	return check_settle(c) == 0 && check_time_left(c);
}

static void conclude(struct check *c, const struct tries *t)
{
	if (check_decided(c))
		return;
	if (!check_loads(c, &c->image, VF_MIB, "an image that is right, after those that were not,"))
		return;
	if (t->taken)
		check_warn(c, "%u of %u are taken as if they were right: %s", t->taken, t->made, t->first);
	else
		check_note(c, "%u tried", t->made);
}

static void run_empty(struct check *c, const struct check_assertion *a)
{
	struct tries t = { 0 };

	(void) a;
	(void) try_image(c, &t, c->image.bytes, 0, "length", 0);
	conclude(c, &t);
}

static void run_truncated(struct check *c, const struct check_assertion *a)
{
	struct tries t = { 0 };
	bool on = true;

	(void) a;
	for (size_t size = 1; size < c->image.size && on; size *= 2)
		on = try_image(c, &t, c->image.bytes, size, "length", size);
	for (unsigned int i = 0; i < RANDOM_CUTS && on && c->image.size > 1; i++) {
		size_t size = 1 + check_random(c) % (c->image.size - 1);

		on = try_image(c, &t, c->image.bytes, size, "length", size);
	}
	if (on && c->image.size > 1)
		(void) try_image(c, &t, c->image.bytes, c->image.size - 1, "length", c->image.size - 1);
	conclude(c, &t);
}

/* A copy of the image with room for @more; NULL: BLOCKED was said. */
static uint8_t *copy_image(struct check *c, size_t more)
{
	uint8_t *copy = malloc(c->image.size + more);

	if (copy)
		memcpy(copy, c->image.bytes, c->image.size);
	else
		check_blocked(c, "no memory for a copy of the image");
	return copy;
}

static void run_flipped(struct check *c, const struct check_assertion *a)
{
	uint8_t *copy = copy_image(c, 0);
	struct tries t = { 0 };
	bool on = copy != NULL;

	(void) a;
	for (unsigned int i = 0; i < FLIPS && on; i++) {
		uint64_t bit = check_random(c) % (c->image.size * 8);

		copy[bit / 8] ^= (uint8_t) (1u << bit % 8);
		on = try_image(c, &t, copy, c->image.size, "bit", bit);
		copy[bit / 8] ^= (uint8_t) (1u << bit % 8);
	}
	free(copy);
	conclude(c, &t);
}

static void run_extended(struct check *c, const struct check_assertion *a)
{
	uint8_t *copy = copy_image(c, 4096);
	struct tries t = { 0 };

	(void) a;
	if (copy) {
		memset(copy + c->image.size, 0x5a, 4096);
		if (try_image(c, &t, copy, c->image.size + 1, "bytes too many:", 1))
			(void) try_image(c, &t, copy, c->image.size + 4096, "bytes too many:", 4096);
	}
	free(copy);
	conclude(c, &t);
}

static void run_replayed(struct check *c, const struct check_assertion *a)
{
	uint8_t *copy = copy_image(c, c->image.size);
	struct tries t = { 0 };

	(void) a;
	if (copy) {
		memcpy(copy + c->image.size, c->image.bytes, c->image.size);
		(void) try_image(c, &t, copy, 2 * c->image.size, "times:", 2);
	}
	free(copy);
	conclude(c, &t);
}

static void run_swapped(struct check *c, const struct check_assertion *a)
{
	size_t half = c->image.size / 2;
	uint8_t *copy = copy_image(c, 0);
	struct tries t = { 0 };

	(void) a;
	if (copy) {
		memcpy(copy, c->image.bytes + half, c->image.size - half);
		memcpy(copy + c->image.size - half, c->image.bytes, half);
		if (memcmp(copy, c->image.bytes, c->image.size))
			(void) try_image(c, &t, copy, c->image.size, "halves swapped at", half);
	}
	free(copy);
	conclude(c, &t);
}

/* @from: 0 = zeroes, 1 = noise */
static void run_foreign(struct check *c, const struct check_assertion *a)
{
	size_t size = vf_max_u64(NOISE, c->image.size);
	uint8_t *bytes = calloc(1, size);
	struct tries t = { 0 };

	if (!bytes) {
		check_blocked(c, "no memory for an image");
		return;
	}
	for (size_t i = 0; i < size && a->from; i++)
		bytes[i] = (uint8_t) (check_random(c) | 1);
	if (try_image(c, &t, bytes, 16, "length", 16))
		(void) try_image(c, &t, bytes, size, "length", size);
	free(bytes);
	conclude(c, &t);
}

static void run_after_write(struct check *c, const struct check_assertion *a)
{
	static const uint8_t garbage[256] = { 0x5a, 0xa5 };
	int r;

	(void) a;
	if (!check_go(c, VF_VFIO_STATE_STOP) || !check_go(c, VF_VFIO_STATE_RESUMING))
		return;
	r = check_data_write(c, garbage, sizeof(garbage));
	if (r >= 0) {
		check_skip(c, "garbage is not refused when it is written");
		return;
	}
	if (check_data_write(c, c->image.bytes, c->image.size) >= 0 &&
	    check_set(c, VF_VFIO_STATE_STOP) >= 0)
		check_warn(c, "after a write that failed, the same session takes a whole image");
}

#define SENTENCE(what) what ": the device answers, can be reset, and takes a right image afterwards; it is best " \
	"refused"
#define HOSTILE(name, function, number, what) { .id = "hostile." name, .source = "none", \
	.needs = CHECK_NEEDS_IMAGE, .run = function, .from = (number), .sentence = SENTENCE(what) }

static const struct check_assertion assertions[] = {
	HOSTILE("empty", run_empty, 0, "no data at all"),
	HOSTILE("truncated", run_truncated, 0,
		"an image that ends early, at each power of two, at random places and one byte before its end"),
	HOSTILE("flipped", run_flipped, 0, "an image with one bit that is wrong, at random places"),
	HOSTILE("extended", run_extended, 0, "an image with bytes behind its end"),
	HOSTILE("replayed", run_replayed, 0, "an image twice in one session"),
	HOSTILE("swapped", run_swapped, 0, "an image whose halves are swapped"),
	HOSTILE("zeroes", run_foreign, 0, "zeroes"),
	HOSTILE("noise", run_foreign, 1, "noise"),
	{ .id = "hostile.after-write", .source = "kernel: mlx5, after any error of a write", .run = run_after_write,
	  .needs = CHECK_NEEDS_IMAGE,
	  .sentence = "after a write that failed, the session is dead: it doesn't take an image any more" },
};

const struct check_group check_group_hostile = {
	.name = "hostile",
	.about = "Images come from another host. A driver that takes a damaged one without a word runs a device whose "
		 "state is wrong; one that hangs, or can't be reset afterwards, takes the host's device away. Only the "
		 "latter fails here. Best: frame the stream, check lengths and a checksum, validate when RESUMING is left.",
	CHECK_GROUP(assertions),
};
