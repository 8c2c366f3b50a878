/* SPDX-License-Identifier: MIT */
/* group_feature.c - VFIO_DEVICE_FEATURE: who may be asked what, and how much room there must be. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "internal.h"

#define GET VF_VFIO_FEATURE_GET
#define SET VF_VFIO_FEATURE_SET
#define PROBE VF_VFIO_FEATURE_PROBE
#define HEAD 8u
#define NO_SUCH_FEATURE 0xfff0u

static bool refused(struct check *c, int r, int want, const char *what)
{
	if (r >= 0)
		check_fail(c, "%s is accepted", what);
	else if (r != want)
		check_fail(c, "%s fails with %s, not %s", what, check_errno(r), check_errno(want));
	return r == want;
}

static void run_migration_get(struct check *c, const struct check_assertion *a)
{
	uint8_t data[8];
	int r = check_feature(c, VF_VFIO_FEATURE_MIGRATION | GET, HEAD + 8, data, 0, 8);

	(void) a;
	if (r < 0)
		check_fail(c, "GET fails with %s", check_errno(r));
	else if (!(vf_get_u64(data) & VF_VFIO_MIGRATION_STOP_COPY))
		check_fail(c, "the flags are %#" PRIx64 ", without STOP_COPY", vf_get_u64(data));
}

static void run_migration_same(struct check *c, const struct check_assertion *a)
{
	uint8_t first[8], data[8];
	static const uint32_t states[] = { VF_VFIO_STATE_STOP, VF_VFIO_STATE_STOP_COPY };
	int r = check_feature(c, VF_VFIO_FEATURE_MIGRATION | GET, HEAD + 8, first, 0, 8);

	(void) a;
	if (r < 0) {
		check_blocked(c, "GET fails with %s", check_errno(r));
		return;
	}
	for (size_t i = 0; i < VF_ARRAY_COUNT(states); i++) {
		if (!check_go(c, states[i]))
			return;
		r = check_feature(c, VF_VFIO_FEATURE_MIGRATION | GET, HEAD + 8, data, 0, 8);
		if (r < 0)
			check_fail(c, "in %s GET fails with %s", check_state_name(states[i]),
				   check_errno(r));
		else if (memcmp(first, data, 8))
			check_fail(c, "the flags are %#" PRIx64 " in RUNNING and %#" PRIx64 " in %s",
				   vf_get_u64(first), vf_get_u64(data), check_state_name(states[i]));
	}
}

/* @from: the feature; @to: accessors. */
static void run_probe(struct check *c, const struct check_assertion *a)
{
	int r = check_feature(c, a->from | a->to | PROBE, HEAD, NULL, 0, 0);

	if (r < 0)
		check_fail(c, "PROBE fails with %s", check_errno(r));
}

static void run_probe_not(struct check *c, const struct check_assertion *a)
{
	(void) refused(c, check_feature(c, a->from | a->to | PROBE, HEAD, NULL, 0, 0), -EINVAL,
		       "PROBE");
}

static void run_probe_quiet(struct check *c, const struct check_assertion *a)
{
	uint8_t data[8] = { VF_VFIO_STATE_STOP };
	int r = check_feature(c, VF_VFIO_FEATURE_MIG_DEVICE_STATE | SET | PROBE, HEAD + 8, data, 8, 0);

	(void) a;
	if (r < 0)
		check_fail(c, "PROBE with data behind it fails with %s", check_errno(r));
	else
		(void) check_is(c, VF_VFIO_STATE_RUNNING, "after PROBE of SET with STOP as data");
}

/* @from: flags and feature of a request with a whole payload. */
static void run_refused(struct check *c, const struct check_assertion *a)
{
	uint8_t data[8] = { VF_VFIO_STATE_STOP };
	int r = check_feature(c, a->from, HEAD + 8, data, a->from & GET ? 0 : 8, 0);

	if (refused(c, r, -(int) a->to, "the request"))
		(void) check_is(c, VF_VFIO_STATE_RUNNING, "after the request");
}

static void run_unknown_probe(struct check *c, const struct check_assertion *a)
{
	(void) a;
	(void) refused(c, check_feature(c, NO_SUCH_FEATURE | GET | PROBE, HEAD, NULL, 0, 0), -ENOTTY,
		       "PROBE of a feature that does not exist");
}

static void run_short_header(struct check *c, const struct check_assertion *a)
{
	(void) a;
	(void) refused(c, check_feature(c, VF_VFIO_FEATURE_MIGRATION | GET, HEAD - 1, NULL, 0, 0),
		       -EINVAL, "argsz 7");
}

static void run_short_get(struct check *c, const struct check_assertion *a)
{
	(void) a;
	for (uint32_t room = 0; room < 8 && !check_decided(c); room++) {
		int r = check_feature(c, VF_VFIO_FEATURE_MIGRATION | GET, HEAD + room, NULL, 0, 0);

		(void) refused(c, r, -EINVAL, "GET with an argsz that holds less than the flags");
	}
}

static void run_short_set(struct check *c, const struct check_assertion *a)
{
	uint8_t data[8] = { VF_VFIO_STATE_STOP };

	(void) a;
	for (uint32_t room = 0; room < 8 && !check_decided(c); room++) {
		int r = check_feature(c, VF_VFIO_FEATURE_MIG_DEVICE_STATE | SET, HEAD + room, data,
				      room, 0);

		if (refused(c, r, -EINVAL, "SET of the state with an argsz that holds less than it"))
			(void) check_is(c, VF_VFIO_STATE_RUNNING, "after a SET that was too short");
	}
}

static void run_long_argsz(struct check *c, const struct check_assertion *a)
{
	uint8_t data[8];
	int r = check_feature(c, VF_VFIO_FEATURE_MIGRATION | GET, HEAD + 64, data, 0, 8);

	(void) a;
	if (r < 0)
		check_fail(c, "an argsz of 72 is refused with %s", check_errno(r));
	else if (!(vf_get_u64(data) & VF_VFIO_MIGRATION_STOP_COPY))
		check_fail(c, "with an argsz of 72 the flags are %#" PRIx64, vf_get_u64(data));
}

#define SOURCE "linux/vfio.h: VFIO_DEVICE_FEATURE"
#define MIGRATION "linux/vfio.h: VFIO_DEVICE_FEATURE_MIGRATION"

#define PROBE_YES(name, feature, ops, lacking, words) { \
	.id = "feature." name, .source = SOURCE, .needs = CHECK_NEEDS_FEATURE | (lacking), \
	.run = run_probe, .from = VF_VFIO_FEATURE_##feature, .to = (ops), \
	.sentence = "PROBE with " words " of " #feature " succeeds, as the feature is there" }

#define PROBE_NO(name, feature, ops, lacking, words) { \
	.id = "feature." name, .source = SOURCE, .needs = CHECK_NEEDS_FEATURE | (lacking), \
	.run = run_probe_not, .from = VF_VFIO_FEATURE_##feature, .to = (ops), \
	.sentence = "PROBE with " words " of " #feature " is refused with EINVAL: it has no such accessor" }

#define REFUSED(name, flags, code, words) { \
	.id = "feature." name, .source = SOURCE, .needs = CHECK_NEEDS_FEATURE, .run = run_refused, \
	.from = (flags), .to = (code), .sentence = words " is refused with " #code ", and nothing happens" }

static const struct check_assertion assertions[] = {
	{ .id = "feature.migration", .source = MIGRATION, .run = run_migration_get,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "GET of MIGRATION gives the flags, with STOP_COPY always among them" },
	{ .id = "feature.migration-same", .source = MIGRATION, .run = run_migration_same,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "the flags of MIGRATION are the same in every state" },
	PROBE_YES("probe-migration", MIGRATION, GET, 0, "GET"),
	PROBE_YES("probe-state-get", MIG_DEVICE_STATE, GET, 0, "GET"),
	PROBE_YES("probe-state-set", MIG_DEVICE_STATE, SET, 0, "SET"),
	PROBE_YES("probe-state-both", MIG_DEVICE_STATE, GET | SET, 0, "GET and SET"),
	PROBE_YES("probe-log-start", DMA_LOGGING_START, SET, CHECK_NEEDS_LOG, "SET"),
	PROBE_YES("probe-log-stop", DMA_LOGGING_STOP, SET, CHECK_NEEDS_LOG, "SET"),
	PROBE_YES("probe-log-report", DMA_LOGGING_REPORT, GET, CHECK_NEEDS_LOG, "GET"),
	PROBE_YES("probe-size", MIG_DATA_SIZE, GET, CHECK_NEEDS_SIZE, "GET"),
	PROBE_NO("probe-migration-set", MIGRATION, SET, 0, "SET"),
	PROBE_NO("probe-log-start-get", DMA_LOGGING_START, GET, CHECK_NEEDS_LOG, "GET"),
	PROBE_NO("probe-log-stop-get", DMA_LOGGING_STOP, GET, CHECK_NEEDS_LOG, "GET"),
	PROBE_NO("probe-log-report-set", DMA_LOGGING_REPORT, SET, CHECK_NEEDS_LOG, "SET"),
	PROBE_NO("probe-size-set", MIG_DATA_SIZE, SET, CHECK_NEEDS_SIZE, "SET"),
	{ .id = "feature.probe-quiet", .source = SOURCE, .run = run_probe_quiet,
	  .needs = CHECK_NEEDS_FEATURE, .sentence = "PROBE changes nothing, whatever data is behind it" },
	{ .id = "feature.probe-unknown", .source = SOURCE, .run = run_unknown_probe,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "PROBE of a feature that does not exist is refused with ENOTTY" },
	REFUSED("unknown", NO_SUCH_FEATURE | GET, ENOTTY, "GET of a feature that does not exist"),
	REFUSED("get-and-set", VF_VFIO_FEATURE_MIG_DEVICE_STATE | GET | SET, EINVAL,
		"GET and SET at once without PROBE"),
	REFUSED("no-accessor", VF_VFIO_FEATURE_MIG_DEVICE_STATE, EINVAL,
		"a request without GET, SET and PROBE"),
	REFUSED("unknown-flag", VF_VFIO_FEATURE_MIG_DEVICE_STATE | SET | 1u << 19, EINVAL,
		"a flag that does not exist"),
	REFUSED("migration-set", VF_VFIO_FEATURE_MIGRATION | SET, EINVAL, "SET of MIGRATION"),
	{ .id = "feature.short-header", .source = SOURCE, .run = run_short_header,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "an argsz that does not cover the header is refused with EINVAL" },
	{ .id = "feature.short-get", .source = SOURCE, .run = run_short_get,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "GET with an argsz that does not cover the payload is refused with EINVAL" },
	{ .id = "feature.short-set", .source = SOURCE, .run = run_short_set,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "SET with an argsz that does not cover the payload is refused with EINVAL, and nothing happens" },
	{ .id = "feature.long-argsz", .source = SOURCE, .run = run_long_argsz,
	  .needs = CHECK_NEEDS_FEATURE,
	  .sentence = "an argsz that has room for more than the payload is accepted" },
};

const struct check_group check_group_feature = {
	.name = "feature",
	.about = "Every request to a device's migration goes through VFIO_DEVICE_FEATURE. The kernel's core checks "
		 "most of this for a driver; a vfio-user server has to do it itself.",
	CHECK_GROUP(assertions),
};
