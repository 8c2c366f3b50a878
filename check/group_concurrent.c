/* SPDX-License-Identifier: MIT */
/*
 * group_concurrent.c - two threads at once, as a VMM has them: one moves data, the other asks, accesses
 * the device, or gives the migration up. And how long it all takes.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "internal.h"
#include "vfio/pci_regs.h"

#define PIECE 1024u
#define ROUNDS 20

/* Reads to the end on a thread of its own. */
struct reader {
	struct check *c;
	struct check_image image;
	atomic_bool begun, done;
	int result;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	int64_t n;

	do {
		n = check_drain_some(r->c, &r->image, PIECE, PIECE);
		atomic_store(&r->begun, true);
	} while (n == PIECE);	/* less is the end, which is read once */
	r->result = n < 0 ? (int) n : 0;
	atomic_store(&r->done, true);
	return NULL;
}

static bool start_reader(struct check *c, struct reader *r, pthread_t *thread)
{
	*r = (struct reader) { .c = c };
	if (pthread_create(thread, NULL, read_all, r) == 0)
		return true;
	check_blocked(c, "there is no second thread");
	return false;
}

/* Until it has read once, or has given up. */
static void wait_for_reader(struct reader *r)
{
	struct timespec nap = { .tv_nsec = 20000 };

	while (!atomic_load(&r->begun))
		(void) nanosleep(&nap, NULL);
}

static int ask_state(struct check *c)
{
	uint32_t state;
	int r = check_get(c, &state);

	return r == 0 && state != VF_VFIO_STATE_STOP_COPY ? -EREMOTEIO : r;
}

static int ask_size(struct check *c)
{
	uint64_t bytes;

	return c->has & CHECK_NEEDS_SIZE ? c->backend->ops->data_size(c->backend, &bytes, NULL) : 0;
}

/* While a thread reads in STOP_COPY, @ask is done again and again; what was read has to be right. */
static void while_reading(struct check *c, int (*ask)(struct check *c), const char *what)
{
	struct reader r;
	pthread_t thread;
	int result = 0, asked = 0;

	if (!check_reach(c, VF_VFIO_STATE_STOP_COPY))
		return;
	result = ask(c);
	if (result < 0) {
		check_blocked(c, "%s fails with %s even when nobody reads", what, check_errno(result));
		return;
	}
	if (!start_reader(c, &r, &thread))
		return;
	wait_for_reader(&r);
	do {
		result = ask(c);
		asked++;
	} while (result == 0 && !atomic_load(&r.done));
	(void) pthread_join(thread, NULL);
	if (result < 0)
		check_fail(c, "%s fails with %s while another thread reads", what, check_errno(result));
	else if (r.result < 0)
		check_fail(c, "read fails with %s while another thread asks", check_errno(r.result));
	else if (check_loads(c, &r.image, VF_MIB, "what was read meanwhile"))
		check_note(c, "%d times", asked);
	check_image_done(&r.image);
}

static void run_state(struct check *c, const struct check_assertion *a)
{
	(void) a;
	while_reading(c, ask_state, "GET of the state");
}

static void run_size(struct check *c, const struct check_assertion *a)
{
	(void) a;
	while_reading(c, ask_size, "GET of the size");
}

static void run_access(struct check *c, const struct check_assertion *a)
{
	struct reader r;
	pthread_t thread;
	uint8_t id[4];
	int result;

	(void) a;
	if (!check_reach(c, VF_VFIO_STATE_PRE_COPY) || !start_reader(c, &r, &thread))
		return;
	wait_for_reader(&r);
	do {
		result = c->backend->ops->region_read(c->backend, VF_VFIO_PCI_CONFIG_REGION, VF_PCI_VENDOR, id,
						      sizeof(id), NULL);
	} while (result == 0 && !atomic_load(&r.done));
	(void) pthread_join(thread, NULL);
	if (result < 0)
		check_fail(c, "a read of config space fails with %s in PRE_COPY", check_errno(result));
	else if (r.result < 0)
		check_fail(c, "read of the data fails with %s", check_errno(r.result));
	check_image_done(&r.image);
}

/* @from: a saving state in which another thread reads. */
static void run_cancel(struct check *c, const struct check_assertion *a)
{
	struct check_image whole = { 0 };
	struct reader r;
	pthread_t thread;
	int result;

	if (!check_reach(c, a->from) || !check_go(c, VF_VFIO_STATE_RUNNING))
		return;		/* that would be another assertion's */
	if (!check_reach(c, a->from) || !start_reader(c, &r, &thread))
		return;
	wait_for_reader(&r);
	result = check_set(c, VF_VFIO_STATE_RUNNING);
	(void) pthread_join(thread, NULL);
	check_image_done(&r.image);
	if (result < 0)
		check_fail(c, "SET RUNNING fails with %s while another thread reads", check_errno(result));
	else if (check_is(c, VF_VFIO_STATE_RUNNING, "after a session was given up") &&
		 check_save(c, &whole, VF_MIB))
		(void) check_loads(c, &whole, VF_MIB, "what the next session gave");
	check_image_done(&whole);
}

/* --- timing --- */

static void run_rounds(struct check *c, const struct check_assertion *a)
{
	(void) a;
	if (!check_go(c, VF_VFIO_STATE_STOP) || !check_go(c, VF_VFIO_STATE_RUNNING))
		return;		/* that would be another assertion's */
	for (int i = 0; i < ROUNDS && check_time_left(c); i++) {
		int r = check_set(c, VF_VFIO_STATE_STOP);

		if (r == 0)
			r = check_set(c, VF_VFIO_STATE_RUNNING);
		if (r < 0) {
			check_fail(c, "the %dth time it fails with %s", i + 2, check_errno(r));
			return;
		}
	}
}

static void run_first_byte(struct check *c, const struct check_assertion *a)
{
	uint8_t bytes[8];
	ssize_t n;

	(void) a;
	for (int i = 0; i < ROUNDS / 4 && check_time_left(c); i++) {
		uint64_t start;

		if (!check_go(c, VF_VFIO_STATE_STOP))
			return;
		start = vf_now_ns();
		if (!check_go(c, VF_VFIO_STATE_STOP_COPY))
			return;
		n = check_data_read(c, bytes, sizeof(bytes));
		if (n <= 0) {
			check_fail(c, "the first read in STOP_COPY gives %s",
				   n < 0 ? check_errno(n) : "no data");
			return;
		}
		check_time_add(c, "STOP to the first byte", vf_now_ns() - start, 0);
	}
}

static void run_moving(struct check *c, const struct check_assertion *a)
{
	struct check_image image = { 0 };

	(void) a;
	for (int i = 0; i < 3 && check_time_left(c); i++)
		if (!check_settle(c) && check_save(c, &image, VF_MIB) &&
		    !check_loads(c, &image, VF_MIB, "what was saved for timing"))
			break;
	check_image_done(&image);
}

#define STATES "linux/vfio.h: enum vfio_device_mig_state"
#define KERNEL "kernel: drivers lock their state; a VMM moves data on a thread of its own"

static const struct check_assertion concurrent[] = {
	{ .id = "concurrent.state", .source = KERNEL, .needs = CHECK_NEEDS_IMAGE, .run = run_state,
	  .sentence = "the state is told while another thread reads, and what that reads is right" },
	{ .id = "concurrent.size", .source = KERNEL, .needs = CHECK_NEEDS_IMAGE | CHECK_NEEDS_SIZE,
	  .run = run_size, .sentence = "the size is told while another thread reads, and what that reads is right" },
	{ .id = "concurrent.access", .source = KERNEL, .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_CONFIG | CHECK_NEEDS_IMAGE,
	  .run = run_access, .sentence = "in PRE_COPY the device is accessed while another thread reads data" },
	{ .id = "concurrent.cancel-precopy", .source = KERNEL, .from = VF_VFIO_STATE_PRE_COPY,
	  .needs = CHECK_NEEDS_PRECOPY | CHECK_NEEDS_IMAGE, .run = run_cancel,
	  .sentence = "PRE_COPY is left for RUNNING while another thread reads, and the next session is whole" },
	{ .id = "concurrent.cancel-stop", .source = KERNEL, .from = VF_VFIO_STATE_STOP_COPY,
	  .needs = CHECK_NEEDS_IMAGE, .run = run_cancel,
	  .sentence = "STOP_COPY is left for RUNNING while another thread reads, and the next session is whole" },
};

const struct check_group check_group_concurrent = {
	.name = "concurrent",
	.about = "A VMM reads and writes data on a thread for each device, while others ask for its state, let the guest "
		 "access it, or give up.",
	CHECK_GROUP(concurrent),
};

static const struct check_assertion timing[] = {
	{ .id = "timing.rounds", .source = STATES, .run = run_rounds,
	  .sentence = "the device is stopped and started 20 times; the table says how long that takes" },
	{ .id = "timing.first-byte", .source = STATES, .needs = CHECK_NEEDS_IMAGE, .run = run_first_byte,
	  .sentence = "data comes as soon as STOP_COPY is reached; the table says when" },
	{ .id = "timing.moving", .source = STATES, .needs = CHECK_NEEDS_IMAGE, .run = run_moving,
	  .sentence = "state is moved out and in three times; the table says how fast" },
};

const struct check_group check_group_timing = {
	.name = "timing",
	.about = "No document says how long anything may take. What was measured, over all assertions, is in the report's "
		 "table: the pause of a migration is made of it.",
	CHECK_GROUP(timing),
};
