/* SPDX-License-Identifier: MIT */
/* group_dma.c - with a device that is made to write: is each page that it wrote in the log? */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "dma.h"
#include "internal.h"

#define PAGE VF_PAGE_BYTES
#define FIRST CHECK_DRIVER_PAGES
#define ROUNDS 8u

static uint64_t page_at(uint64_t page)
{
	return CHECK_IOVA + page * PAGE;
}

/* Pages of the driver's own are none of ours. */
static uint64_t ours(uint64_t word)
{
	return word & ~((1ull << FIRST) - 1);
}

static bool take_report(struct check *c, uint64_t *ret)
{
	uint64_t word = 0;
	bool given = check_log_report(c, &word);

	*ret = ours(word);
	return given;
}

/* A device that works, with a log that is empty. False: a verdict was given. */
static bool begin(struct check *c)
{
	uint64_t before;
	int r;

	if (!check_driver_start(c))
		return false;
	r = check_log_start(c);
	if (r < 0)
		check_blocked(c, "its log can't be started: %s", check_errno(r));
	return r == 0 && take_report(c, &before);
}

static void end(struct check *c)
{
	(void) check_log_stop(c);
}

static bool writes(struct check *c, uint64_t iova, uint64_t len)
{
	int r = c->driver->write(c, iova, len);

	if (r < 0)
		check_blocked(c, "the device doesn't write: %s", check_errno(r));
	return r == 0;
}

/* Writes some pages in each round; *ret_more: pages too many in reports. */
static bool write_and_compare(struct check *c, uint32_t *ret_more)
{
	*ret_more = 0;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t wrote = 0, said;

		for (int i = 0; i < 6; i++) {
			uint64_t page = FIRST + check_random(c) % (CHECK_PAGES - FIRST);
			uint64_t offset = check_random(c) % (PAGE / 8) * 8;

			if (!writes(c, page_at(page) + offset, 8))
				return false;
			wrote |= 1ull << page;
		}
		if (!take_report(c, &said))
			return false;
		if (wrote & ~said) {
			check_fail(c, "page %d of 64 was written and is not in the report: such a page is lost",
				   __builtin_ctzll(wrote & ~said));
			return false;
		}
		*ret_more += (uint32_t) __builtin_popcountll(said & ~wrote);
	}
	return true;
}

static void run_written(struct check *c, const struct check_assertion *a)
{
	uint32_t more;

	(void) a;
	if (!begin(c))
		return;
	if (write_and_compare(c, &more))
		check_note(c, "%u reports, %u pages too many", ROUNDS, more);
	end(c);
}

static void run_exact(struct check *c, const struct check_assertion *a)
{
	uint64_t said;

	(void) a;
	if (!begin(c))
		return;
	if (writes(c, page_at(FIRST + 3), 8) && take_report(c, &said) && said & ~(1ull << (FIRST + 3)))
		check_warn(c, "one page was written, and %d others are in the report",
			   __builtin_popcountll(said & ~(1ull << (FIRST + 3))));
	end(c);
}

static void run_cleared(struct check *c, const struct check_assertion *a)
{
	uint64_t said;

	(void) a;
	if (!begin(c))
		return;
	if (writes(c, page_at(FIRST + 1), CHECK_DRIVER_MAX) && take_report(c, &said) && take_report(c, &said) && said)
		check_fail(c, "pages %#" PRIx64 " are in the report again, though nothing was written", said);
	end(c);
}

static void run_crossing(struct check *c, const struct check_assertion *a)
{
	const uint64_t both = 3ull << (FIRST + 5);
	uint64_t said;

	(void) a;
	if (!begin(c))
		return;
	if (writes(c, page_at(FIRST + 6) - 8, 16) && take_report(c, &said) && (said & both) != both)
		check_fail(c, "a write over the end of a page left pages %#" PRIx64 " in the report, not both",
			   said);
	end(c);
}

static void run_reads(struct check *c, const struct check_assertion *a)
{
	uint64_t said;
	int r;

	(void) a;
	if (!begin(c))
		return;
	r = c->driver->read(c, page_at(FIRST + 2), CHECK_DRIVER_MAX);
	if (r < 0)
		check_blocked(c, "the device doesn't read: %s", check_errno(r));
	else if (take_report(c, &said) && said)
		check_warn(c, "the device has read only, and pages %#" PRIx64 " are in the report", said);
	end(c);
}

static void run_last(struct check *c, const struct check_assertion *a)
{
	uint64_t said;

	(void) a;
	if (!begin(c))
		return;
	if (writes(c, page_at(FIRST + 4), 8) && check_go(c, VF_VFIO_STATE_STOP_COPY) &&
	    take_report(c, &said) && !(said & 1ull << (FIRST + 4)))
		check_fail(c, "a page that was written before STOP_COPY is not in the report there");
	end(c);
}

static void run_parts(struct check *c, const struct check_assertion *a)
{
	uint64_t word = 0, rest;
	int r;

	(void) a;
	if (!c->backend->caps.log_any_range) {
		check_skip(c, "this server reports whole mappings only");
		return;
	}
	if (!begin(c))
		return;
	if (writes(c, page_at(FIRST), 8) && writes(c, page_at(FIRST + 1), 8)) {
		r = c->backend->ops->dma_log_report(c->backend, page_at(FIRST), PAGE, PAGE, &word, NULL);
		if (r < 0)
			check_fail(c, "REPORT of one page fails with %s", check_errno(r));
		else if (!(word & 1))
			check_fail(c, "REPORT of one page lacks it");
		else if (take_report(c, &rest) && !(rest & 1ull << (FIRST + 1)))
			check_fail(c, "REPORT of one page cleared the next one, too");
	}
	end(c);
}

static void run_stale(struct check *c, const struct check_assertion *a)
{
	uint64_t said;
	int r;

	(void) a;
	if (!begin(c))
		return;
	if (writes(c, page_at(FIRST + 7), 8)) {
		r = check_log_stop(c);
		if (r == 0)
			r = check_log_start(c);
		if (r < 0)
			check_blocked(c, "the log can't be started again: %s", check_errno(r));
		else if (take_report(c, &said) && said)
			check_warn(c, "pages %#" PRIx64 " of the log before are in it", said);
	}
	end(c);
}

#define REPORT "linux/vfio.h: VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT"
#define DMA(name, from_where, function, words) { .id = "dma." name, .source = from_where, \
	.needs = CHECK_NEEDS_LOG | CHECK_NEEDS_DMA | CHECK_NEEDS_RESET, .run = function, .sentence = words }

static const struct check_assertion assertions[] = {
	DMA("written", REPORT, run_written, "each page that the device wrote is in the next report"),
	DMA("crossing", REPORT, run_crossing, "a write over the end of a page is in the report with both pages"),
	DMA("cleared", REPORT, run_cleared, "what was reported is not reported again"),
	DMA("last", REPORT, run_last, "what was written before STOP_COPY is in a report there"),
	DMA("parts", REPORT, run_parts, "a report of a part clears that part only"),
	DMA("exact", "none", run_exact, "pages that were not written are not reported"),
	DMA("reads", "none", run_reads, "pages that were only read are not reported"),
	DMA("stale", "none", run_stale, "a log that is started anew is empty"),
};

const struct check_group check_group_dma = {
	.name = "dma",
	.about = "Only for devices that this program has a driver for (`accel`, QEMU's edu), since it has to make them write. "
		 "A page that was written and not reported is a silent corruption of the guest; one too many costs time only.",
	CHECK_GROUP(assertions),
};
