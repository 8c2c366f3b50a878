/* SPDX-License-Identifier: GPL-2.0-only */
/* lab.h - one accel device, and the job that each of its vectors has under way. */
#ifndef ACCEL_LAB_H
#define ACCEL_LAB_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/pci.h>

#include "accel.h"

#define LAB_SLOTS	4u
#define LAB_RING	16u
#define LAB_BYTES	4096u	/* of a job */

struct lab_device;

/* A vector. Its job asks for one interrupt, and the next one is not given before that came. */
struct lab_slot {
	struct lab_device *device;
	u32 number;
	u32 descriptor;		/* in the ring, of the last job */
	bool under_way;
	struct completion done;
	atomic64_t spurious;	/* interrupts with nothing to tell of */
	u64 jobs;
	u64 seed;		/* of the job */
	u64 stored_seed;	/* of what the device keeps for it */
	bool stored;
	ktime_t given;
	u8 *source, *target;
	dma_addr_t source_dma, target_dma;
};

struct lab_device {
	struct pci_dev *pdev;
	u8 __iomem *registers;
	struct accel_descriptor *ring;
	dma_addr_t ring_dma;
	u32 tail;
	u32 slots;
	struct lab_slot slot[LAB_SLOTS];
	struct task_struct *worker;
	/* Written by the worker only. */
	u64 jobs, wrong, slowest_ms;
};

int lab_device_start(struct lab_device *lab);
/* All jobs of a turn, and what became of them. */
void lab_device_turn(struct lab_device *lab);
void lab_slot_interrupt(struct lab_slot *slot);

#endif
