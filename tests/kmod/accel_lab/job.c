// SPDX-License-Identifier: GPL-2.0-only
/*
 * job.c - jobs of the accel device (accel.h): given, waited for, verified.
 *
 * A slot's jobs are in turn: a copy in RAM; the source into the device's memory; a pattern made by the
 * device; and what it keeps back into RAM, which may be in another process by then.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>

#include "lab.h"

#define LOST_MS 60000u	/* a machine that moves stands still for a while, an emulated one for long */

static const u8 turns[] = { ACCEL_OP_COPY, ACCEL_OP_STORE, ACCEL_OP_FILL, ACCEL_OP_LOAD };

static u8 opcode_of(const struct lab_slot *slot)
{
	return turns[slot->jobs % ARRAY_SIZE(turns)];
}

static void wrong(struct lab_slot *slot, const char *what)
{
	struct lab_device *lab = slot->device;

	if (!lab->wrong++)
		dev_err(&lab->pdev->dev, "vector %u, job %llu (opcode %u): %s\n", slot->number,
			slot->jobs, opcode_of(slot), what);
}

static void write_pattern(u8 *to, u64 seed)
{
	u64 *words = (u64 *) to;
	u32 i;

	for (i = 0; i < LAB_BYTES / sizeof(*words); i++)
		words[i] = accel_pattern(seed, i);
}

static bool is_pattern(const u8 *from, u64 seed)
{
	const u64 *words = (const u64 *) from;
	u32 i;

	for (i = 0; i < LAB_BYTES / sizeof(*words); i++)
		if (words[i] != accel_pattern(seed, i))
			return false;
	return true;
}

static u32 status_of(const struct lab_slot *slot)
{
	return READ_ONCE(slot->device->ring[slot->descriptor].status);
}

/* After a move a vector may fire once more than it was asked to. */
void lab_slot_interrupt(struct lab_slot *slot)
{
	if (READ_ONCE(slot->under_way) && status_of(slot) != ACCEL_JOB_PENDING)
		complete(&slot->done);
	else
		atomic64_inc(&slot->spurious);
}

static void give(struct lab_slot *slot)
{
	struct lab_device *lab = slot->device;
	struct accel_descriptor job = {
		.opcode = opcode_of(slot), .flags = ACCEL_FLAG_IRQ, .vector = (u16) slot->number,
		.src = slot->source_dma, .dst = slot->target_dma, .length = LAB_BYTES,
	};

	slot->seed = ((u64) slot->number << 56 | slot->jobs) * 0xff51afd7ed558ccdull + 1;
	job.seed = slot->seed;
	job.cookie = ~slot->seed;
	if (job.opcode == ACCEL_OP_STORE)
		job.dst = slot->number * LAB_BYTES;
	else if (job.opcode == ACCEL_OP_LOAD)
		job.src = slot->number * LAB_BYTES;
	write_pattern(slot->source, slot->seed);
	memset(slot->target, 0, LAB_BYTES);
	reinit_completion(&slot->done);
	slot->descriptor = lab->tail;
	lab->ring[slot->descriptor] = job;
	slot->given = ktime_get();
	WRITE_ONCE(slot->under_way, true);
	lab->tail = (lab->tail + 1) % LAB_RING;
	/* The job is in memory before the doorbell rings. */
	writel(lab->tail, lab->registers + ACCEL_REG_RING_TAIL);
}

static void verify(struct lab_slot *slot)
{
	const struct accel_descriptor *job = &slot->device->ring[slot->descriptor];

	dma_rmb();
	if (status_of(slot) != ACCEL_JOB_OK || job->cookie_echo != ~slot->seed) {
		wrong(slot, "failed");
		return;
	}
	switch (opcode_of(slot)) {
	case ACCEL_OP_STORE:
		slot->stored_seed = slot->seed;
		slot->stored = true;
		break;
	case ACCEL_OP_LOAD:
		if (slot->stored && !is_pattern(slot->target, slot->stored_seed))
			wrong(slot, "the device's memory changed");
		break;
	default:
		if (!is_pattern(slot->target, slot->seed))
			wrong(slot, "wrong data");
		break;
	}
}

static void finish(struct lab_slot *slot)
{
	struct lab_device *lab = slot->device;
	u64 ms;

	if (!wait_for_completion_timeout(&slot->done, msecs_to_jiffies(LOST_MS)))
		wrong(slot, status_of(slot) == ACCEL_JOB_PENDING ? "was lost" : "its interrupt was lost");
	else
		verify(slot);
	WRITE_ONCE(slot->under_way, false);
	ms = (u64) ktime_ms_delta(ktime_get(), slot->given);
	lab->slowest_ms = max(lab->slowest_ms, ms);
	slot->jobs++;
	lab->jobs++;
}

void lab_device_turn(struct lab_device *lab)
{
	u32 i;

	for (i = 0; i < lab->slots; i++)
		give(&lab->slot[i]);
	for (i = 0; i < lab->slots; i++)
		finish(&lab->slot[i]);
}

int lab_device_start(struct lab_device *lab)
{
	writel(ACCEL_CTRL_RESET, lab->registers + ACCEL_REG_CTRL);
	if (readl(lab->registers + ACCEL_REG_ID) != ACCEL_ID ||
	    readl(lab->registers + ACCEL_REG_VERSION) != ACCEL_VERSION)
		return -ENODEV;
	writel(lower_32_bits(lab->ring_dma), lab->registers + ACCEL_REG_RING_BASE);
	writel(upper_32_bits(lab->ring_dma), lab->registers + ACCEL_REG_RING_BASE + 4);
	writel(LAB_RING, lab->registers + ACCEL_REG_RING_ENTRIES);
	writel(ACCEL_CTRL_ENABLE, lab->registers + ACCEL_REG_CTRL);
	return readl(lab->registers + ACCEL_REG_STATUS) & ACCEL_STATUS_ERROR ? -EIO : 0;
}
