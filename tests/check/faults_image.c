/* SPDX-License-Identifier: MIT */
/* faults_image.c - faults with whole images, in resets and in P2P states; see faults.c. */
#include <errno.h>
#include <string.h>

#include "broken.h"

/* --- images that are right --- */

static int forgets_by_reset(struct broken *b)
{
	b->memory[0] = 0;
	return broken_reset(b);
}

static int loaded_never_runs(struct broken *b, uint32_t from, uint32_t to)
{
	if (b->loaded && from == VF_VFIO_STATE_STOP && to == VF_VFIO_STATE_RUNNING)
		return -EINVAL;
	return broken_set_state(b, to);
}

/* memory[0]: whole images that were written one after the other, without RUNNING in between. */
static int counts_loads(struct broken *b, uint32_t from, uint32_t to)
{
	int r = broken_set_state(b, to);

	if (r == 0 && from == VF_VFIO_STATE_RESUMING && to == VF_VFIO_STATE_STOP)
		b->memory[0]++;
	if (to == VF_VFIO_STATE_RUNNING)
		b->memory[0] = 0;
	return r;
}

static int refuses_second(struct broken *b, const void *from, size_t len)
{
	return b->memory[0] && len == b->golden_size ? -EINVAL : broken_write(b, from, len);
}

static int notes_loaded(struct broken *b, uint32_t from, uint32_t to)
{
	if (b->loaded && from == VF_VFIO_STATE_STOP && to == VF_VFIO_STATE_RUNNING)
		b->memory[0] = 1;
	return broken_set_state(b, to);
}

static ssize_t spoilt_after_load(struct broken *b, void *to, size_t len)
{
	return broken_read_wrong(b, to, len, b->memory[0] && !b->read);
}

/* memory[0]: sessions since it ran. */
static int counts_sessions(struct broken *b, uint32_t from, uint32_t to)
{
	if (to == VF_VFIO_STATE_STOP_COPY && from == VF_VFIO_STATE_STOP)
		b->memory[0]++;
	if (to == VF_VFIO_STATE_RUNNING)
		b->memory[0] = 0;
	return broken_set_state(b, to);
}

static ssize_t second_differs(struct broken *b, void *to, size_t len)
{
	return broken_read_wrong(b, to, len, b->memory[0] > 1 && !b->read);
}

static ssize_t loaded_differs(struct broken *b, void *to, size_t len)
{
	return broken_read_wrong(b, to, len, b->loaded && !b->read);
}

static ssize_t later_differs(struct broken *b, void *to, size_t len)
{
	return broken_read_wrong(b, to, len, b->sessions > 1 && !b->read);
}

/* --- images that are wrong: `a` is the kind that is taken --- */

enum { EMPTY, TRUNCATED, FLIPPED, EXTENDED, REPLAYED, SWAPPED, ZEROES, NOISE };

static bool all(const uint8_t *at, size_t len, uint8_t mask, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		if ((at[i] & mask) != value)
			return false;
	return true;
}

static bool one_differs(const uint8_t *a, const uint8_t *b, size_t len)
{
	unsigned int count = 0;

	for (size_t i = 0; i < len; i++)
		count += a[i] != b[i];
	return count == 1;
}

static bool is_kind(const struct broken *b, const uint8_t *data, size_t len)
{
	size_t golden = b->golden_size, half = golden / 2;
	bool begins = !memcmp(data, b->golden, len < golden ? len : golden);

	switch (b->fault->a) {
	case TRUNCATED:
		return len < golden && begins;
	case FLIPPED:
		return len == golden && one_differs(data, b->golden, len);
	case EXTENDED:
		return len > golden && len != 2 * golden && begins;
	case REPLAYED:
		return len == 2 * golden && begins;
	case SWAPPED:
		return len == golden && !memcmp(data, b->golden + half, golden - half);
	case ZEROES:
		return all(data, len, 0xff, 0);
	case NOISE:
		return len >= 16 && all(data, len, 1, 1);
	default:
		return false;
	}
}

/* memory[0]: it is of that kind; memory[1]: something was written. */
static int kind_written(struct broken *b, const void *from, size_t len)
{
	int r;

	b->memory[0] = b->memory[1] ? b->memory[0] : is_kind(b, from, len);
	b->memory[1] = 1;
	r = broken_write(b, from, len);
	return b->memory[0] ? 0 : r;
}

static int kind_taken(struct broken *b, uint32_t from, uint32_t to)
{
	int r = broken_set_state(b, to);

	if (to == VF_VFIO_STATE_RESUMING) {
		b->memory[0] = b->fault->a == EMPTY;
		b->memory[1] = 0;
	}
	if (r < 0 && from == VF_VFIO_STATE_RESUMING && to == VF_VFIO_STATE_STOP && b->memory[0] &&
	    (b->fault->a != EMPTY || !b->memory[1])) {
		(void) broken_reset(b);
		r = broken_set_state(b, VF_VFIO_STATE_STOP);
	}
	return r;
}

#define TAKES(name, kind) { .id = "hostile." name, .verdict = CHECK_WARN, .a = (kind), \
	.data_write = kind_written, .set_state = kind_taken }

/* memory[0]: the session a write of which failed. */
static int forgives(struct broken *b, const void *from, size_t len)
{
	int r;

	if (b->memory[0] && len == b->golden_size && !memcmp(from, b->golden, len)) {
		(void) broken_reset(b);
		(void) broken_set_state(b, VF_VFIO_STATE_RESUMING);
	}
	r = broken_write(b, from, len);
	b->memory[0] = r < 0;
	return r;
}

static int forgets(struct broken *b, uint32_t from, uint32_t to)
{
	(void) from;
	b->memory[0] = 0;
	return broken_set_state(b, to);
}

/* --- reset --- */

/* In state `a` it leads to STOP. */
static int reset_stops(struct broken *b)
{
	uint32_t state = b->state;
	int r = broken_reset(b);

	return r == 0 && state == b->fault->a ? broken_set_state(b, VF_VFIO_STATE_STOP) : r;
}

static int reset_keeps_session(struct broken *b)
{
	b->memory[0] = b->state == VF_VFIO_STATE_STOP_COPY && b->read;
	return broken_reset(b);
}

static ssize_t reads_on(struct broken *b, void *to, size_t len)
{
	return b->memory[0] && b->state == VF_VFIO_STATE_RUNNING ? 5 : broken_read(b, to, len);
}

static int reset_keeps_place(struct broken *b)
{
	if (b->state == VF_VFIO_STATE_PRE_COPY && b->read)
		b->memory[0] = 1;
	return broken_reset(b);
}

/* memory[0]: half an image was in it, and nothing had failed (memory[1]). */
static int reset_keeps_half(struct broken *b)
{
	if (b->state == VF_VFIO_STATE_RESUMING && b->written == b->golden_size / 2 && !b->memory[1])
		b->memory[0] = 1;
	return broken_reset(b);
}

static int half_is_there(struct broken *b, const void *from, size_t len)
{
	if (b->memory[0]) {
		b->memory[0] = 0;
		return -EINVAL;
	}
	return broken_write(b, from, len);
}

static int notes_failure(struct broken *b, uint32_t from, uint32_t to)
{
	int r = broken_set_state(b, to);

	(void) from;
	b->memory[1] = r < 0;
	return r;
}

static int no_flr(struct broken *b, uint32_t region, uint64_t offset, const void *from, size_t len)
{
	if (region == VF_VFIO_PCI_CONFIG_REGION && offset >= 0x40)
		return 0;
	return b->real->ops->region_write(b->real, region, offset, from, len, NULL);
}

#define RESET(state) { .id = "reset." #state, .reset = reset_stops, .a = VF_VFIO_STATE_##state }

/* --- P2P --- */

static int notes_p2p(struct broken *b, uint32_t from, uint32_t to)
{
	(void) from;
	b->memory[0] = to == VF_VFIO_STATE_PRE_COPY_P2P && b->read;
	return broken_set_state(b, to);
}

static ssize_t spoilt_by_p2p(struct broken *b, void *to, size_t len)
{
	bool first = b->memory[0];

	b->memory[0] = 0;
	return broken_read_wrong(b, to, len, first);
}

static int deaf_in_p2p(struct broken *b, uint32_t region, uint64_t offset, void *to, size_t len)
{
	if (b->state == VF_VFIO_STATE_RUNNING_P2P)
		return -EIO;
	return b->real->ops->region_read(b->real, region, offset, to, len, NULL);
}

const struct fault faults_of_images[] = {
	{ .id = "image.runs", .set_state = loaded_never_runs },
	{ .id = "image.again", .data_write = refuses_second, .set_state = counts_loads,
	  .reset = forgets_by_reset },
	{ .id = "image.chained", .alone = true, .set_state = notes_loaded, .data_read = spoilt_after_load },
	{ .id = "image.twice", .verdict = CHECK_WARN, .set_state = counts_sessions, .data_read = second_differs,
	  .reset = forgets_by_reset },
	{ .id = "image.round-trip", .verdict = CHECK_WARN, .data_read = loaded_differs },

	TAKES("empty", EMPTY), TAKES("truncated", TRUNCATED), TAKES("flipped", FLIPPED),
	TAKES("extended", EXTENDED), TAKES("replayed", REPLAYED), TAKES("swapped", SWAPPED),
	TAKES("zeroes", ZEROES), TAKES("noise", NOISE),
	{ .id = "hostile.after-write", .verdict = CHECK_WARN, .data_write = forgives, .set_state = forgets,
	  .reset = forgets_by_reset },

	RESET(RUNNING), RESET(STOP), RESET(STOP_COPY), RESET(RESUMING), RESET(RUNNING_P2P), RESET(PRE_COPY),
	RESET(PRE_COPY_P2P),
	{ .id = "reset.ERROR", .device = DEVICE_ERRS, .reset = reset_stops, .a = VF_VFIO_STATE_ERROR },
	{ .id = "reset.ends-session", .reset = reset_keeps_session, .data_read = reads_on, .set_state = forgets },
	{ .id = "reset.fresh-save", .reset = reset_keeps_place, .data_read = broken_next_wrong },
	{ .id = "reset.half-loaded", .reset = reset_keeps_half, .data_write = half_is_there,
	  .set_state = notes_failure },
	{ .id = "reset.empties", .verdict = CHECK_WARN, .alone = true, .data_read = later_differs },
	{ .id = "reset.flr", .region_write = no_flr },

	{ .id = "p2p.session", .set_state = notes_p2p, .data_read = spoilt_by_p2p },
	{ .id = "p2p.registers", .region_read = deaf_in_p2p },
	{ 0 }
};
