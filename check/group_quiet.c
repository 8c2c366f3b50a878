/* SPDX-License-Identifier: MIT */
/*
 * group_quiet.c - with a device that is at work when it is told to stop: is it quiet from then on?
 *
 * A write into memory, and an interrupt when that is done, are begun and would happen a while later; the
 * state changes at once. Whatever the device does before the change is reported as done is its own
 * affair: some wait for what is under way. After it nothing may happen, for longer than the work takes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "dma.h"
#include "internal.h"

#define WHERE (CHECK_DRIVER_PAGES * VF_PAGE_BYTES)	/* in the memory */
#define UNTOUCHED 0xa5
#define IRQ_MS 1000

static void wait_longer_than_the_work(const struct check *c)
{
	struct timespec ts = vf_timespec(2 * c->driver->work_ns);

	(void) nanosleep(&ts, NULL);
}

/*
 * At work: memory is all UNTOUCHED where it is going to write. @irq_fd: where interrupts go, or -1.
 * Return: the moment before it began, in ns; 0 = it doesn't, as was said.
 */
static uint64_t begin(struct check *c, int irq_fd)
{
	uint64_t began;
	int r = 0;

	if (!check_driver_start(c))
		return 0;
	if (irq_fd >= 0)
		r = c->backend->ops->set_irqs(c->backend, c->driver->irq_index,
					      VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &irq_fd, NULL);
	memset(c->memory.map + WHERE, UNTOUCHED, CHECK_DRIVER_MAX);
	began = vf_now_ns();
	if (r == 0)
		r = c->driver->begin(c, CHECK_IOVA + WHERE, CHECK_DRIVER_MAX);
	if (r < 0)
		check_blocked(c, "the device can't be set to work: %s", check_errno(r));
	return r == 0 ? began : 0;
}

static void end(struct check *c, int irq_fd)
{
	if (irq_fd >= 0)
		(void) c->backend->ops->set_irqs(c->backend, c->driver->irq_index,
						 VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, NULL);
	(void) check_reset(c);
}

/* Is it still in @state, after a while in which it had something to do? */
static bool stays(struct check *c, uint32_t state)
{
	wait_longer_than_the_work(c);
	return check_is(c, state, "while it is watched");
}

static void run_memory(struct check *c, const struct check_assertion *a)
{
	uint8_t *before = malloc(CHECK_BYTES);

	if (!before) {
		check_blocked(c, "no memory");
		return;
	}
	if (begin(c, -1) && check_go(c, a->from)) {
		memcpy(before, c->memory.map, CHECK_BYTES);
		if (stays(c, a->from)) {
			uint64_t at = 0;

			while (at < CHECK_BYTES && before[at] == c->memory.map[at])
				at++;
			if (at < CHECK_BYTES)
				check_fail(c, "memory at %#llx was written in %s", CHECK_IOVA + at,
					   check_state_name(a->from));
		}
	}
	end(c, -1);
	free(before);
}

/* For interrupts. -1: BLOCKED was said. */
static int new_eventfd(struct check *c)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		check_blocked(c, "no eventfd: %s", check_errno(-errno));
	return fd;
}

/*
 * Takes what was raised before the change. If the work could be done by then, its interrupt may still be on
 * its way: it was sent, and a CPU of the host has yet to take it. No driver can wait for that (an LPI that is
 * pending can't be seen), and it says nothing of the device.
 */
static void take_earlier(const struct check *c, uint64_t began, int irq_fd)
{
	eventfd_t count;

	if (vf_now_ns() - began >= c->driver->work_ns)
		wait_longer_than_the_work(c);
	(void) eventfd_read(irq_fd, &count);
}

static void run_interrupt(struct check *c, const struct check_assertion *a)
{
	int fd = new_eventfd(c);
	eventfd_t count;
	uint64_t began;

	if (fd < 0)
		return;
	began = begin(c, fd);
	if (began && check_go(c, a->from)) {
		take_earlier(c, began, fd);
		if (stays(c, a->from) && eventfd_read(fd, &count) == 0)
			check_fail(c, "%" PRIu64 " interrupts in %s", (uint64_t) count,
				   check_state_name(a->from));
	}
	end(c, fd);
	vf_close(&fd);
}

/* After the work is done. */
static void look_at_the_work(struct check *c, int irq_fd)
{
	struct pollfd interrupt = { .fd = irq_fd, .events = POLLIN };

	if (c->memory.map[WHERE] == UNTOUCHED &&
	    !memcmp(c->memory.map + WHERE, c->memory.map + WHERE + 1, CHECK_DRIVER_MAX - 1))
		check_warn(c, "what was under way at the stop is done after it, and nothing was written");
	else if (poll(&interrupt, 1, IRQ_MS) != 1)
		check_warn(c, "what was under way at the stop is done after it, and no interrupt came");
}

static void run_goes_on(struct check *c, const struct check_assertion *a)
{
	int fd = new_eventfd(c);
	int r;

	(void) a;
	if (fd < 0)
		return;
	if (begin(c, fd) && check_go(c, VF_VFIO_STATE_STOP) && check_go(c, VF_VFIO_STATE_RUNNING)) {
		r = c->driver->finish(c);
		if (r < 0)
			check_warn(c, "what was under way at the stop is not done after it: %s", check_errno(r));
		else
			look_at_the_work(c, fd);
	}
	end(c, fd);
	vf_close(&fd);
}

#define STATES "linux/vfio.h: enum vfio_device_mig_state"
#define NEEDS (CHECK_NEEDS_DMA | CHECK_NEEDS_RESET)
#define QUIET(name, function, state, words) \
	{ .id = "quiet." name, .source = STATES, .needs = NEEDS, .run = function, .from = state, .sentence = words }

static const struct check_assertion assertions[] = {
	QUIET("STOP", run_memory, VF_VFIO_STATE_STOP,
	      "a device that is at work when the state changes writes nothing in STOP"),
	QUIET("STOP_COPY", run_memory, VF_VFIO_STATE_STOP_COPY,
	      "a device that is at work when the state changes writes nothing in STOP_COPY"),
	QUIET("RESUMING", run_memory, VF_VFIO_STATE_RESUMING,
	      "a device that is at work when the state changes writes nothing in RESUMING"),
	QUIET("interrupt-STOP", run_interrupt, VF_VFIO_STATE_STOP,
	      "a device that is at work when the state changes raises no interrupt in STOP"),
	QUIET("interrupt-STOP_COPY", run_interrupt, VF_VFIO_STATE_STOP_COPY,
	      "a device that is at work when the state changes raises no interrupt in STOP_COPY"),
	QUIET("interrupt-RESUMING", run_interrupt, VF_VFIO_STATE_RESUMING,
	      "a device that is at work when the state changes raises no interrupt in RESUMING"),
	{ .id = "quiet.goes-on", .source = "none", .needs = NEEDS, .run = run_goes_on,
	  .sentence = "what was under way when the device was stopped is done when it runs again" },
};

const struct check_group check_group_quiet = {
	.name = "quiet",
	.about = "Only for devices that this program has a driver for (`accel`, QEMU's edu), since they have to be at work when "
		 "they are stopped. What is written after the last look at the log is lost, and an interrupt after the stop "
		 "reaches nobody.",
	CHECK_GROUP(assertions),
};
