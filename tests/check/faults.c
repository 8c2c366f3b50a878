/* SPDX-License-Identifier: MIT */
/*
 * faults.c - for each assertion a fault of the device that makes it fail, and nothing else.
 *
 * Arcs have theirs in a loop of the test: the arc is refused, or taken where it does not exist.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "broken.h"

#define GET VF_VFIO_FEATURE_GET
#define SET VF_VFIO_FEATURE_SET
#define PROBE VF_VFIO_FEATURE_PROBE
#define MIGRATION VF_VFIO_FEATURE_MIGRATION
#define STATE VF_VFIO_FEATURE_MIG_DEVICE_STATE

/* --- requests --- */

static const struct vf_vfio_device_feature *head_of(const void *arg)
{
	return arg;
}

/* Requests with flags `a` and an argsz up to `b` (0 = any) are answered with `code`, and not done. */
static int feature_answers(struct broken *b, void *arg, size_t bytes, size_t room)
{
	if (head_of(arg)->flags == b->fault->a && (!b->fault->b || head_of(arg)->argsz <= b->fault->b))
		return b->fault->code;
	return broken_feature(b, arg, bytes, room);
}

/* ... with an argsz of `b` at least. */
static int feature_answers_long(struct broken *b, void *arg, size_t bytes, size_t room)
{
	if (head_of(arg)->flags == b->fault->a && head_of(arg)->argsz >= b->fault->b)
		return b->fault->code;
	return broken_feature(b, arg, bytes, room);
}

/* ... with an argsz from 8 on, below `b`. */
static int feature_answers_short(struct broken *b, void *arg, size_t bytes, size_t room)
{
	if (head_of(arg)->flags == b->fault->a && head_of(arg)->argsz >= 8 && head_of(arg)->argsz < b->fault->b)
		return b->fault->code;
	return broken_feature(b, arg, bytes, room);
}

static int no_stop_copy(struct broken *b, void *arg, size_t bytes, size_t room)
{
	int r = broken_feature(b, arg, bytes, room);

	if (r >= 0 && head_of(arg)->flags == (MIGRATION | GET) && head_of(arg)->argsz == 16)
		((uint8_t *) arg)[8] &= (uint8_t) ~VF_VFIO_MIGRATION_STOP_COPY;
	return r;
}

static int flags_change(struct broken *b, void *arg, size_t bytes, size_t room)
{
	int r = broken_feature(b, arg, bytes, room);

	if (r >= 0 && head_of(arg)->flags == (MIGRATION | GET) && b->state == VF_VFIO_STATE_STOP)
		((uint8_t *) arg)[8] ^= VF_VFIO_MIGRATION_PRE_COPY;
	return r;
}

static int probe_sets(struct broken *b, void *arg, size_t bytes, size_t room)
{
	if (head_of(arg)->flags == (STATE | SET | PROBE) && head_of(arg)->argsz == 16)
		return broken_set_state(b, VF_VFIO_STATE_STOP);
	return broken_feature(b, arg, bytes, room);
}

#define ANSWERS(name, flags, argsz, with) \
	{ .id = "feature." name, .feature = feature_answers, .a = (flags), .b = (argsz), .code = (with) }

/* --- states --- */

/* SET of `a` is answered with `code`, and not done. */
static int set_answers(struct broken *b, uint32_t from, uint32_t to)
{
	(void) from;
	return to == b->fault->a ? b->fault->code : broken_set_state(b, to);
}

static int set_same_fails(struct broken *b, uint32_t from, uint32_t to)
{
	return from == to ? -EINVAL : broken_set_state(b, to);
}

static int set_unknown_fails_otherwise(struct broken *b, uint32_t from, uint32_t to)
{
	(void) from;
	return to >= VF_VFIO_STATE__COUNT ? -EIO : broken_set_state(b, to);
}

static int found_stopped(struct broken *b, uint32_t *ret_state)
{
	if (b->memory[0]++)
		return broken_get_state(b, ret_state);
	*ret_state = VF_VFIO_STATE_STOP;
	return 0;
}

/* Leaves PRE_COPY by itself, between one GET and the next. */
static int moves_by_itself(struct broken *b, uint32_t *ret_state)
{
	int r = broken_get_state(b, ret_state);

	if (r == 0 && *ret_state == VF_VFIO_STATE_PRE_COPY && ++b->memory[0] > 1)
		(void) broken_set_state(b, VF_VFIO_STATE_RUNNING);
	return broken_get_state(b, ret_state);
}

static int failure_resets(struct broken *b, uint32_t from, uint32_t to)
{
	int r = broken_set_state(b, to);

	if (r < 0 && from == VF_VFIO_STATE_RESUMING && to == VF_VFIO_STATE_STOP)
		(void) broken_reset(b);
	return r;
}

static int error_is_left(struct broken *b, uint32_t from, uint32_t to)
{
	if (from == VF_VFIO_STATE_ERROR && to == VF_VFIO_STATE_RUNNING)
		return broken_reset(b);
	return broken_set_state(b, to);
}

const struct fault faults_of_requests[] = {
	{ .id = "feature.migration", .feature = no_stop_copy },
	{ .id = "feature.migration-same", .feature = flags_change },
	ANSWERS("probe-migration", MIGRATION | PROBE | GET, 0, -ENOTTY),
	ANSWERS("probe-state-get", STATE | PROBE | GET, 0, -ENOTTY),
	ANSWERS("probe-state-set", STATE | PROBE | SET, 8, -ENOTTY),
	ANSWERS("probe-state-both", STATE | PROBE | SET | GET, 0, -EINVAL),
	ANSWERS("probe-log-start", VF_VFIO_FEATURE_DMA_LOGGING_START | PROBE | SET, 0, -ENOTTY),
	ANSWERS("probe-log-stop", VF_VFIO_FEATURE_DMA_LOGGING_STOP | PROBE | SET, 0, -ENOTTY),
	ANSWERS("probe-log-report", VF_VFIO_FEATURE_DMA_LOGGING_REPORT | PROBE | GET, 0, -ENOTTY),
	ANSWERS("probe-size", VF_VFIO_FEATURE_MIG_DATA_SIZE | PROBE | GET, 0, -ENOTTY),
	ANSWERS("probe-migration-set", MIGRATION | PROBE | SET, 0, 0),
	ANSWERS("probe-log-start-get", VF_VFIO_FEATURE_DMA_LOGGING_START | PROBE | GET, 0, 0),
	ANSWERS("probe-log-stop-get", VF_VFIO_FEATURE_DMA_LOGGING_STOP | PROBE | GET, 0, 0),
	ANSWERS("probe-log-report-set", VF_VFIO_FEATURE_DMA_LOGGING_REPORT | PROBE | SET, 0, 0),
	ANSWERS("probe-size-set", VF_VFIO_FEATURE_MIG_DATA_SIZE | PROBE | SET, 0, -EIO),
	{ .id = "feature.probe-quiet", .feature = probe_sets },
	ANSWERS("probe-unknown", 0xfff0u | PROBE | GET, 0, -EINVAL),
	ANSWERS("unknown", 0xfff0u | GET, 0, 0),
	ANSWERS("get-and-set", STATE | GET | SET, 0, 0),
	ANSWERS("no-accessor", STATE, 0, 0),
	ANSWERS("unknown-flag", STATE | SET | 1u << 19, 0, 0),
	ANSWERS("migration-set", MIGRATION | SET, 0, 0),
	ANSWERS("short-header", MIGRATION | GET, 7, 0),
	{ .id = "feature.short-get", .feature = feature_answers_short, .a = MIGRATION | GET, .b = 16 },
	{ .id = "feature.short-set", .feature = feature_answers_short, .a = STATE | SET, .b = 16 },
	{ .id = "feature.long-argsz", .feature = feature_answers_long, .a = MIGRATION | GET, .b = 72,
	  .code = -EINVAL },

	{ .id = "state.first", .verdict = CHECK_WARN, .get_state = found_stopped },
	{ .id = "state.same", .set_state = set_same_fails },
	{ .id = "state.to-error", .set_state = set_answers, .a = VF_VFIO_STATE_ERROR },
	{ .id = "state.to-unknown", .set_state = set_unknown_fails_otherwise },
	{ .id = "state.to-absent-RUNNING_P2P", .device = DEVICE_NO_P2P, .set_state = set_answers,
	  .a = VF_VFIO_STATE_RUNNING_P2P },
	{ .id = "state.to-absent-PRE_COPY", .device = DEVICE_NO_PRECOPY, .set_state = set_answers,
	  .a = VF_VFIO_STATE_PRE_COPY },
	{ .id = "state.to-absent-PRE_COPY_P2P", .device = DEVICE_NO_P2P, .set_state = set_answers,
	  .a = VF_VFIO_STATE_PRE_COPY_P2P, .code = -EIO },
	{ .id = "state.stays", .alone = true, .get_state = moves_by_itself },
	{ .id = "state.after-failure", .set_state = failure_resets },
	{ .id = "state.error-exits", .device = DEVICE_ERRS, .set_state = error_is_left },
	{ 0 }
};

const struct fault *fault_at(size_t index)
{
	static const struct fault *const parts[] = { faults_of_requests, faults_of_data, faults_of_images,
						       faults_of_logs, faults_of_descriptors };

	for (size_t i = 0; i < VF_ARRAY_COUNT(parts); i++)
		for (const struct fault *f = parts[i]; f->id; f++)
			if (!index--)
				return f;
	return NULL;
}
