/* SPDX-License-Identifier: MIT */
/* faults_log.c - faults in the log of DMA, of a device that is not quiet, with two threads, and in time; see faults.c. */
#include <errno.h>
#include <sys/eventfd.h>

#include "broken.h"
#include "check/dma.h"

#define BYTES (CHECK_PAGES * 4096ull)
#define OURS(word) ((word) & ~((1ull << CHECK_DRIVER_PAGES) - 1))
#define PAGE_BIT(n) (1ull << (CHECK_DRIVER_PAGES + (n)))

typedef const struct vf_vfio_dma_log_range *ranges_t;

static bool is_whole(ranges_t ranges, uint32_t count)
{
	return count == 1 && ranges->iova == CHECK_IOVA && ranges->length == BYTES;
}

/* --- start and stop --- */

static int start_fails(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	return is_whole(ranges, count) ? -EIO : broken_log_start(b, page, ranges, count, ret_page);
}

static int odd_page(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	int r = broken_log_start(b, page, ranges, count, ret_page);

	*ret_page = 3000;
	return r;
}

static int stop_fails(struct broken *b)
{
	(void) broken_log_stop(b);
	return -EIO;
}

/* memory[0]: STOP was the last request. */
static int stop_noted(struct broken *b)
{
	b->memory[0] = 1;
	return broken_log_stop(b);
}

static int get_forgets(struct broken *b, uint32_t *ret_state)
{
	b->memory[0] = 0;
	return broken_get_state(b, ret_state);
}

static int not_after_stop(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	return b->memory[0] ? -EBUSY : broken_log_start(b, page, ranges, count, ret_page);
}

static int not_in_stop_copy(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count,
			    uint64_t *ret_page)
{
	return b->state == VF_VFIO_STATE_STOP_COPY ? -EINVAL :
	       broken_log_start(b, page, ranges, count, ret_page);
}

static int takes_unaligned(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count,
			   uint64_t *ret_page)
{
	if (count == 1 && (ranges->iova % 4096 || ranges->length % 4096))
		return 0;
	return broken_log_start(b, page, ranges, count, ret_page);
}

static int takes_two(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	return count == 2 ? 0 : broken_log_start(b, page, ranges, count, ret_page);
}

static int wrap_is_invalid(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count,
			   uint64_t *ret_page)
{
	int r = broken_log_start(b, page, ranges, count, ret_page);

	return r == -EOVERFLOW ? -EINVAL : r;
}

static int takes_again(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	return b->logging ? 0 : broken_log_start(b, page, ranges, count, ret_page);
}

/* `a` ranges. */
static int takes_count(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	return count == b->fault->a ? 0 : broken_log_start(b, page, ranges, count, ret_page);
}

/* --- reports --- */

static int real_report(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	return b->real->ops->dma_log_report(b->real, iova, bytes, page, words, NULL);
}

/* In state `a`. */
static int report_fails(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	if (b->state == b->fault->a && page == 4096 && iova == CHECK_IOVA)
		return -EIO;
	return real_report(b, iova, bytes, page, words);
}

static int first_page_always(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page,
			     uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	if (r == 0)
		*words |= 1;
	return r;
}

static int clears_bits(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	if (bytes == BYTES)
		*words &= ~1ull;
	return r;
}

static int writes_behind(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	words[1] |= 1;
	return real_report(b, iova, bytes, page, words);
}

/* A page size of `a` is answered with `code`. */
static int page_answers(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	return page == b->fault->a ? b->fault->code : real_report(b, iova, bytes, page, words);
}

static int takes_wrap(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	return iova + bytes < iova ? 0 : real_report(b, iova, bytes, page, words);
}

static int reports_off(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	return b->logging ? real_report(b, iova, bytes, page, words) : 0;
}

/* --- what the device wrote --- */

static int loses_one_of_many(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page,
			     uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);
	int count = __builtin_popcountll(OURS(*words));

	if (count > 2 && count <= 6)
		*words &= ~(OURS(*words) & -OURS(*words));
	return r;
}

static int loses_second(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	if (OURS(*words) == (PAGE_BIT(5) | PAGE_BIT(6)))
		*words &= ~PAGE_BIT(6);
	return r;
}

static int repeats(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);
	bool now = OURS(*words) == PAGE_BIT(1);

	if (b->memory[0] && !OURS(*words))
		*words |= PAGE_BIT(1);
	b->memory[0] = now;
	return r;
}

static int forgets_at_stop(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	if (b->state == VF_VFIO_STATE_STOP_COPY)
		*words = 0;
	return r;
}

static int clears_all(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	uint64_t lost = 0;
	int r = real_report(b, iova, bytes, page, words);

	if (r == 0 && bytes == 4096)
		(void) real_report(b, CHECK_IOVA, BYTES, page, &lost);
	return r;
}

static int reports_neighbour(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page,
			     uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	if (OURS(*words) == PAGE_BIT(3))
		*words |= PAGE_BIT(30);
	return r;
}

static int reports_reads(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	*words |= PAGE_BIT(2);
	return r;
}

static int start_keeps(struct broken *b, uint64_t page, ranges_t ranges, uint32_t count, uint64_t *ret_page)
{
	b->memory[1] = b->memory[0];
	return broken_log_start(b, page, ranges, count, ret_page);
}

static int reports_stale(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	int r = real_report(b, iova, bytes, page, words);

	if (b->memory[1])
		*words |= PAGE_BIT(7);
	b->memory[1] = 0;
	return r;
}

/* --- two threads --- */

static bool another_reads(const struct broken *b)
{
	return b->has_reader && !pthread_equal(b->reader, pthread_self());
}

static int state_once_busy(struct broken *b, uint32_t *ret_state)
{
	if (b->state == VF_VFIO_STATE_STOP_COPY && another_reads(b) && !b->memory[0]++)
		return -EBUSY;
	return broken_get_state(b, ret_state);
}

static int size_is_busy(struct broken *b, uint64_t *ret)
{
	if (b->state == VF_VFIO_STATE_STOP_COPY && another_reads(b))
		return -EBUSY;
	return b->real->ops->data_size(b->real, ret, NULL);
}

static int access_is_busy(struct broken *b, uint32_t region, uint64_t offset, void *to, size_t len)
{
	if (b->state == VF_VFIO_STATE_PRE_COPY && another_reads(b))
		return -EBUSY;
	return b->real->ops->region_read(b->real, region, offset, to, len, NULL);
}

/* In state `a`. */
static int running_is_busy(struct broken *b, uint32_t from, uint32_t to)
{
	if (from == b->fault->a && to == VF_VFIO_STATE_RUNNING && another_reads(b))
		return -EBUSY;
	return broken_set_state(b, to);
}

/* --- time --- */

/* memory[0]: how often it was stopped, and nothing else. */
static int tires(struct broken *b, uint32_t from, uint32_t to)
{
	if (from == VF_VFIO_STATE_RUNNING && to == VF_VFIO_STATE_STOP && ++b->memory[0] > 10)
		return -EIO;
	if (to != VF_VFIO_STATE_STOP && to != VF_VFIO_STATE_RUNNING)
		b->memory[0] = 0;
	return broken_set_state(b, to);
}

static ssize_t starts_empty(struct broken *b, void *to, size_t len)
{
	return len == 8 && !b->read ? 0 : broken_read(b, to, len);
}

static ssize_t fourth_is_wrong(struct broken *b, void *to, size_t len)
{
	return broken_read_wrong(b, to, len, b->sessions == 4);
}

#define DESCRIPTORS .device = DEVICE_DESCRIPTORS

/* --- a device that is not quiet --- */

/* In state `a`, when it is looked at: a byte of memory changes. */
static int writes_on(struct broken *b, uint32_t *ret_state)
{
	int r = broken_get_state(b, ret_state);

	if (r == 0 && *ret_state == b->fault->a && b->host)
		b->host[b->host_bytes - 1] ^= 1;
	return r;
}

static int interrupts_on(struct broken *b, uint32_t *ret_state)
{
	int r = broken_get_state(b, ret_state);

	if (r == 0 && *ret_state == b->fault->a && b->irq_fd >= 0)
		(void) eventfd_write(b->irq_fd, 1);
	return r;
}

/* What was under way is gone. */
static int forgets_work(struct broken *b, uint32_t from, uint32_t to)
{
	return from == VF_VFIO_STATE_STOP && to == VF_VFIO_STATE_RUNNING ? broken_reset(b) : broken_set_state(b, to);
}

const struct fault faults_of_logs[] = {
	{ .id = "log.start", .log_start = start_fails },
	{ .id = "log.page", .log_start = odd_page },
	{ .id = "log.stop", .log_stop = stop_fails },
	{ .id = "log.restart", .log_start = not_after_stop, .log_stop = stop_noted, .get_state = get_forgets },
	{ .id = "log.states", .log_start = not_in_stop_copy },
	{ .id = "log.unaligned", .log_start = takes_unaligned },
	{ .id = "log.overlap", .log_start = takes_two },
	{ .id = "log.wrap", .log_start = wrap_is_invalid },
	{ .id = "log.again", DESCRIPTORS, .log_start = takes_again },
	{ .id = "log.no-ranges", DESCRIPTORS, .log_start = takes_count, .a = 0 },
	{ .id = "log.many-ranges", DESCRIPTORS, .log_start = takes_count, .a = 257 },
	{ .id = "log.report", .log_report = report_fails, .a = VF_VFIO_STATE_RUNNING },
	{ .id = "log.in-stop", .log_report = report_fails, .a = VF_VFIO_STATE_STOP_COPY },
	{ .id = "log.clears", .log_report = first_page_always },
	{ .id = "log.ors", .log_report = clears_bits },
	{ .id = "log.bounds", .alone = true, .log_report = writes_behind },
	{ .id = "log.bad-page", .log_report = page_answers, .a = 2048 },
	{ .id = "log.other-page", .log_report = page_answers, .a = 16384, .code = -EINVAL },
	{ .id = "log.report-wrap", .log_report = takes_wrap },
	{ .id = "log.report-off", .verdict = CHECK_WARN, .log_report = reports_off },

	{ .id = "dma.written", .log_report = loses_one_of_many },
	{ .id = "dma.crossing", .log_report = loses_second },
	{ .id = "dma.cleared", .log_report = repeats },
	{ .id = "dma.last", .log_report = forgets_at_stop },
	{ .id = "dma.parts", .log_report = clears_all },
	{ .id = "dma.exact", .verdict = CHECK_WARN, .log_report = reports_neighbour },
	{ .id = "dma.reads", .verdict = CHECK_WARN, .alone = true, .log_report = reports_reads },
	{ .id = "dma.stale", .verdict = CHECK_WARN, .log_start = start_keeps, .log_stop = stop_noted,
	  .get_state = get_forgets, .log_report = reports_stale },

	{ .id = "quiet.STOP", .get_state = writes_on, .a = VF_VFIO_STATE_STOP },
	{ .id = "quiet.STOP_COPY", .get_state = writes_on, .a = VF_VFIO_STATE_STOP_COPY },
	{ .id = "quiet.RESUMING", .get_state = writes_on, .a = VF_VFIO_STATE_RESUMING },
	{ .id = "quiet.interrupt-STOP", .get_state = interrupts_on, .a = VF_VFIO_STATE_STOP },
	{ .id = "quiet.interrupt-STOP_COPY", .get_state = interrupts_on, .a = VF_VFIO_STATE_STOP_COPY },
	{ .id = "quiet.interrupt-RESUMING", .get_state = interrupts_on, .a = VF_VFIO_STATE_RESUMING },
	{ .id = "quiet.goes-on", .verdict = CHECK_WARN, .alone = true, .set_state = forgets_work },

	{ .id = "concurrent.state", .get_state = state_once_busy },
	{ .id = "concurrent.size", .data_size = size_is_busy },
	{ .id = "concurrent.access", .region_read = access_is_busy },
	{ .id = "concurrent.cancel-precopy", .set_state = running_is_busy, .a = VF_VFIO_STATE_PRE_COPY },
	{ .id = "concurrent.cancel-stop", .set_state = running_is_busy, .a = VF_VFIO_STATE_STOP_COPY },

	{ .id = "timing.rounds", .set_state = tires },
	{ .id = "timing.first-byte", .data_read = starts_empty },
	{ .id = "timing.moving", .alone = true, .data_read = fourth_is_wrong },
	{ 0 }
};
