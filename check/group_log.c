/* SPDX-License-Identifier: MIT */
/* group_log.c - the log of what a device writes by DMA: which requests are right, and what a report does. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "dma.h"
#include "internal.h"

#define PAGE VF_PAGE_BYTES
#define RANGES_MAX 257u		/* one more than fits into a page of the kernel's */

static int start(struct check *c, const struct vf_vfio_dma_log_range *ranges, uint32_t count)
{
	uint64_t page;

	return c->backend->ops->dma_log_start(c->backend, PAGE, ranges, count, &page, NULL);
}

static int report(struct check *c, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	return c->backend->ops->dma_log_report(c->backend, iova, bytes, page, words, NULL);
}

/* Memory and a log of all of it. False: a verdict was given. */
static bool started(struct check *c)
{
	int r;

	if (!check_memory_map(c))
		return false;
	r = check_log_start(c);
	if (r < 0)
		check_blocked(c, "the log can't be started: %s", check_errno(r));
	return r == 0;
}

static void refused(struct check *c, int r, int want, const char *what)
{
	if (r >= 0) {
		(void) check_log_stop(c);
		check_fail(c, "%s is accepted", what);
	} else if (want && r != want) {
		check_fail(c, "%s fails with %s, not %s", what, check_errno(r), check_errno(want));
	}
}

/* --- start and stop --- */

static void run_start(struct check *c, const struct check_assertion *a)
{
	int r;

	(void) a;
	if (!check_memory_map(c))
		return;
	r = check_log_start(c);
	if (r < 0)
		check_fail(c, "START fails with %s", check_errno(r));
	else
		(void) check_log_stop(c);
}

static void run_page(struct check *c, const struct check_assertion *a)
{
	const struct vf_vfio_dma_log_range whole = { .iova = CHECK_IOVA, .length = CHECK_BYTES };
	uint64_t page = 0;
	int r;

	(void) a;
	if (!check_memory_map(c))
		return;
	r = c->backend->ops->dma_log_start(c->backend, PAGE, &whole, 1, &page, NULL);
	if (r < 0)
		check_blocked(c, "the log can't be started: %s", check_errno(r));
	else if (!vf_is_pow2(page))
		check_fail(c, "the page size is %" PRIu64 ", no power of two", page);
	(void) check_log_stop(c);
}

static void run_stop(struct check *c, const struct check_assertion *a)
{
	int r;

	(void) a;
	if (!started(c))
		return;
	r = check_log_stop(c);
	if (r < 0)
		check_fail(c, "STOP fails with %s", check_errno(r));
}

static void run_restart(struct check *c, const struct check_assertion *a)
{
	int r;

	(void) a;
	if (!started(c))
		return;
	r = check_log_stop(c);
	if (r < 0) {
		check_blocked(c, "the log can't be stopped: %s", check_errno(r));
		return;
	}
	r = check_log_start(c);
	if (r < 0)
		check_fail(c, "START after STOP fails with %s", check_errno(r));
	else
		(void) check_log_stop(c);
}

static void run_again(struct check *c, const struct check_assertion *a)
{
	(void) a;
	if (!started(c))
		return;
	if (check_log_start(c) >= 0)
		check_fail(c, "a second START is accepted");
	(void) check_log_stop(c);
}

static void run_no_ranges(struct check *c, const struct check_assertion *a)
{
	(void) a;
	if (check_memory_map(c))
		refused(c, start(c, NULL, 0), -EINVAL, "START without ranges");
}

static void run_many_ranges(struct check *c, const struct check_assertion *a)
{
	struct vf_vfio_dma_log_range ranges[RANGES_MAX];

	(void) a;
	if (!check_memory_map(c))
		return;
	for (uint32_t i = 0; i < RANGES_MAX; i++)
		ranges[i] = (struct vf_vfio_dma_log_range) { CHECK_IOVA + 2 * i * PAGE, PAGE };
	refused(c, start(c, ranges, RANGES_MAX), -E2BIG, "START with 257 ranges");
}

static void run_unaligned(struct check *c, const struct check_assertion *a)
{
	const struct vf_vfio_dma_log_range at = { CHECK_IOVA + 8, PAGE }, length = { CHECK_IOVA, PAGE + 8 };

	(void) a;
	if (!check_memory_map(c))
		return;
	refused(c, start(c, &at, 1), -EINVAL, "START with a range that begins within a page");
	refused(c, start(c, &length, 1), -EINVAL, "START with a range that ends within a page");
}

static void run_overlap(struct check *c, const struct check_assertion *a)
{
	const struct vf_vfio_dma_log_range ranges[] = { { CHECK_IOVA, 4 * PAGE }, { CHECK_IOVA + PAGE, PAGE } };

	(void) a;
	if (check_memory_map(c))
		refused(c, start(c, ranges, 2), -EINVAL, "START with ranges that overlap");
}

static void run_wrap(struct check *c, const struct check_assertion *a)
{
	const struct vf_vfio_dma_log_range range = { UINT64_MAX - PAGE + 1, 2 * PAGE };

	(void) a;
	if (check_memory_map(c))
		refused(c, start(c, &range, 1), -EOVERFLOW, "START with a range that wraps around");
}

static void run_states(struct check *c, const struct check_assertion *a)
{
	static const uint32_t states[] = { VF_VFIO_STATE_PRE_COPY, VF_VFIO_STATE_STOP_COPY };

	(void) a;
	if (!started(c))
		return;
	if (check_log_stop(c) < 0) {
		check_blocked(c, "the log can't be stopped in RUNNING");
		return;
	}
	for (size_t i = 0; i < VF_ARRAY_COUNT(states) && !check_decided(c); i++) {
		int r;

		if (!check_has_state(c, states[i]) || !check_go(c, states[i]))
			continue;
		r = check_log_start(c);
		if (r < 0)
			check_fail(c, "START in %s fails with %s", check_state_name(states[i]),
				   check_errno(r));
		else if ((r = check_log_stop(c)) < 0)
			check_fail(c, "STOP in %s fails with %s", check_state_name(states[i]),
				   check_errno(r));
	}
}

/* --- reports --- */

static void run_report(struct check *c, const struct check_assertion *a)
{
	uint64_t word = 0;
	int r;

	(void) a;
	if (!started(c))
		return;
	r = report(c, CHECK_IOVA, CHECK_BYTES, PAGE, &word);
	if (r < 0)
		check_fail(c, "REPORT fails with %s", check_errno(r));
	(void) check_log_stop(c);
}

static void run_in_stop(struct check *c, const struct check_assertion *a)
{
	uint64_t word = 0;
	int r;

	(void) a;
	if (!started(c))
		return;
	if (check_go(c, VF_VFIO_STATE_STOP_COPY)) {
		r = report(c, CHECK_IOVA, CHECK_BYTES, PAGE, &word);
		if (r < 0)
			check_fail(c, "REPORT in STOP_COPY fails with %s", check_errno(r));
	}
	(void) check_log_stop(c);
}

static void run_clears(struct check *c, const struct check_assertion *a)
{
	uint64_t first = 0, word = 0;

	(void) a;
	if (!started(c))
		return;
	if (check_log_report(c, &first) && check_log_report(c, &word) && word)
		check_fail(c, "nobody uses the device, and the second report says %#" PRIx64, word);
	(void) check_log_stop(c);
}

static void run_ors(struct check *c, const struct check_assertion *a)
{
	const uint64_t before = 0xa5a5a5a5a5a5a5a5ull;
	uint64_t word = before;

	(void) a;
	if (!started(c))
		return;
	if (check_log_report(c, &word) && (word & before) != before)
		check_fail(c, "bits that were set before are %#" PRIx64 " afterwards", word & before);
	(void) check_log_stop(c);
}

static void run_bounds(struct check *c, const struct check_assertion *a)
{
	uint64_t words[3] = { 0 };

	(void) a;
	if (!started(c))
		return;
	if (check_log_report(c, &words[1]) && (words[0] || words[2]))
		check_fail(c, "what lies before or behind the bitmap was changed");
	(void) check_log_stop(c);
}

static void run_bad_page(struct check *c, const struct check_assertion *a)
{
	static const uint64_t pages[] = { 0, 512, 2048, 3 * PAGE };
	uint64_t words[16];

	(void) a;
	if (!started(c))
		return;
	for (size_t i = 0; i < VF_ARRAY_COUNT(pages) && !check_decided(c); i++) {
		int r;

		memset(words, 0, sizeof(words));
		r = report(c, CHECK_IOVA, 3 * 16 * PAGE, pages[i], words);
		if (r >= 0)
			check_fail(c, "a page size of %" PRIu64 " is accepted", pages[i]);
		else if (r != -EINVAL)
			check_fail(c, "a page size of %" PRIu64 " fails with %s, not EINVAL", pages[i],
				   check_errno(r));
	}
	(void) check_log_stop(c);
}

static void run_other_page(struct check *c, const struct check_assertion *a)
{
	uint64_t word = 0;
	int r;

	(void) a;
	if (!started(c))
		return;
	r = report(c, CHECK_IOVA, CHECK_BYTES, 4 * PAGE, &word);
	if (r < 0)
		check_fail(c, "REPORT in pages of 16 KiB, with a log that was started for 4 KiB, fails with %s",
			   check_errno(r));
	(void) check_log_stop(c);
}

static void run_report_wrap(struct check *c, const struct check_assertion *a)
{
	uint64_t words[4] = { 0 };

	(void) a;
	if (!started(c))
		return;
	if (report(c, UINT64_MAX - PAGE + 1, 2 * PAGE, PAGE, words) >= 0)
		check_fail(c, "REPORT of a range that wraps around is accepted");
	(void) check_log_stop(c);
}

static void run_report_off(struct check *c, const struct check_assertion *a)
{
	uint64_t word = 0;

	(void) a;
	if (!check_memory_map(c))
		return;
	if (report(c, CHECK_IOVA, CHECK_BYTES, PAGE, &word) >= 0)
		check_warn(c, "it is answered before START");
	if (started(c) && check_log_stop(c) == 0 && report(c, CHECK_IOVA, CHECK_BYTES, PAGE, &word) >= 0)
		check_warn(c, "it is answered after STOP");
}

#define START "linux/vfio.h: VFIO_DEVICE_FEATURE_DMA_LOGGING_START"
#define STOP "linux/vfio.h: VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP"
#define REPORT "linux/vfio.h: VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT"
#define CORE "kernel: core, VFIO_DEVICE_FEATURE_DMA_LOGGING_START"
#define LOG(name, from_where, function, words) { .id = "log." name, .source = from_where, \
	.needs = CHECK_NEEDS_LOG, .run = function, .sentence = words }
#define KERNEL(name, function, words) { .id = "log." name, .source = CORE, \
	.needs = CHECK_NEEDS_LOG | CHECK_NEEDS_DESCRIPTOR, .run = function, .sentence = words }

static const struct check_assertion assertions[] = {
	LOG("start", START, run_start, "START with one range succeeds"),
	LOG("page", START, run_page, "START tells the page size that the device uses, a power of two"),
	LOG("stop", STOP, run_stop, "STOP after START succeeds"),
	LOG("restart", START, run_restart, "START after STOP succeeds"),
	LOG("states", START, run_states, "the log is started and stopped in any migration state"),
	LOG("unaligned", START, run_unaligned, "ranges that are not of whole pages are refused with EINVAL"),
	LOG("overlap", START, run_overlap, "ranges that overlap are refused with EINVAL"),
	LOG("wrap", CORE, run_wrap, "a range that wraps around is refused with EOVERFLOW"),
	KERNEL("again", run_again, "START while the log runs is refused"),
	KERNEL("no-ranges", run_no_ranges, "START without ranges is refused with EINVAL"),
	KERNEL("many-ranges", run_many_ranges,
	       "START with more ranges than fit into a page of 4 KiB is refused with E2BIG"),
	LOG("report", REPORT, run_report, "REPORT of the range succeeds"),
	LOG("in-stop", REPORT, run_in_stop, "REPORT succeeds in STOP_COPY: the last one belongs there"),
	LOG("clears", REPORT, run_clears, "a report clears the log: a device at rest has nothing in the next"),
	LOG("ors", REPORT, run_ors, "a report sets bits and clears none"),
	LOG("bounds", REPORT, run_bounds, "a report writes only the bits of its range"),
	LOG("bad-page", REPORT, run_bad_page,
	    "a report with a page size below 4096, or that is no power of two, is refused with EINVAL"),
	LOG("other-page", REPORT, run_other_page, "a report may be in other pages than the log was started with"),
	LOG("report-wrap", REPORT, run_report_wrap, "a report of a range that wraps around is refused"),
	LOG("report-off", "none", run_report_off, "a report is refused while there is no log"),
};

const struct check_group check_group_log = {
	.name = "log",
	.about = "While a machine is copied, a page that the device wrote has to be copied again. The log is apart from the "
		 "migration state: it begins before the first pass and is read for the last time when the device has stopped.",
	CHECK_GROUP(assertions),
};
