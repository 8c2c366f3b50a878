/* SPDX-License-Identifier: MIT */
/*
 * worker_edu.c - QEMU's edu device (-device edu; docs/specs/edu.rst of QEMU) in the hands of the
 * self-checking guest (struct worker_kind): the kind of device that a real kernel can have without
 * any hardware. One job at a time, one interrupt.
 *
 * Jobs take turns: an interrupt by itself, a factorial, a page's part into the device's buffer, and
 * from there back into RAM. So what is carried along with the device is looked at, too. DMA takes the
 * device 100 ms, everything else a moment.
 *
 * Needs dma_mask to reach guest RAM (-device edu,dma_mask=0xffffffffffffffff).
 */
#include "guest/worker_driver.h"

#define EDU_ID			0x00u
#define EDU_ID_VALUE		0x00edu	/* its low half; above are versions */
#define EDU_FACTORIAL		0x08u
#define EDU_STATUS		0x20u
#define EDU_STATUS_COMPUTING	0x01u
#define EDU_STATUS_IRQ		0x80u	/* at the end of a factorial */
#define EDU_CAUSES		0x24u
#define EDU_RAISE		0x60u
#define EDU_CLEAR		0x64u
#define EDU_DMA_SOURCE		0x80u	/* this and what follows: 64 bits */
#define EDU_DMA_TARGET		0x88u
#define EDU_DMA_COUNT		0x90u
#define EDU_DMA_COMMAND		0x98u
#define EDU_DMA_RUN		0x01u
#define EDU_DMA_TO_RAM		0x02u
#define EDU_DMA_IRQ		0x04u

#define EDU_BUFFER		0x40000u	/* for DMA, as the device sees it */
#define BYTES_MAX		2048u		/* of one DMA; the buffer has twice as many */
#define CAUSE_RAISED		0x02u		/* 1 and 0x100 are the device's own */
#define FACTORIAL_MAX		12u		/* of a number up to this: 32 bits */

enum edu_op { EDU_OP_RAISE, EDU_OP_FACTORIAL, EDU_OP_STORE, EDU_OP_LOAD, EDU_OP__COUNT };

static uint64_t dma_bytes(const struct worker *w)
{
	return w->job_bytes < BYTES_MAX ? w->job_bytes : BYTES_MAX;
}

static uint32_t number_of(const struct worker_slot *slot)
{
	return 1 + (uint32_t) (slot->seed % FACTORIAL_MAX);
}

static uint32_t factorial(uint32_t n)
{
	return n < 2 ? 1 : n * factorial(n - 1);
}

/* ---- jobs ---- */

static bool prepare(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	slot->op = slot->number % EDU_OP__COUNT;
	if (slot->op == EDU_OP_LOAD && !slot->stored)
		slot->op = EDU_OP_RAISE;
	if (slot->op == EDU_OP_STORE) {
		slot->stored = 0;
		worker_pattern_write(vcpu, worker_source_buffer(vcpu, index, s), slot->seed,
				     dma_bytes(w));
	} else if (slot->op == EDU_OP_LOAD) {
		worker_zero(vcpu, worker_target_buffer(vcpu, index, s), dma_bytes(w));
	}
	return true;
}

static void begin_dma(struct guest_vcpu *vcpu, const struct worker_device *dev, uint64_t source,
		      uint64_t target, uint64_t bytes, uint64_t command)
{
	guest_write(vcpu, dev->bar[0] + EDU_DMA_SOURCE, 8, source);
	guest_write(vcpu, dev->bar[0] + EDU_DMA_TARGET, 8, target);
	guest_write(vcpu, dev->bar[0] + EDU_DMA_COUNT, 8, bytes);
	guest_write(vcpu, dev->bar[0] + EDU_DMA_COMMAND, 8, command | EDU_DMA_RUN | EDU_DMA_IRQ);
}

static void begin(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	const struct worker_device *dev = &w->device[index];
	const struct worker_slot *slot = &dev->slot[s];

	switch (slot->op) {
	case EDU_OP_FACTORIAL:
		worker_reg_write(vcpu, dev, EDU_FACTORIAL, number_of(slot));
		break;
	case EDU_OP_STORE:
		begin_dma(vcpu, dev, worker_source_buffer(vcpu, index, s), EDU_BUFFER, dma_bytes(w), 0);
		break;
	case EDU_OP_LOAD:
		begin_dma(vcpu, dev, EDU_BUFFER, worker_target_buffer(vcpu, index, s), dma_bytes(w),
			  EDU_DMA_TO_RAM);
		break;
	default:
		worker_reg_write(vcpu, dev, EDU_RAISE, CAUSE_RAISED);
		break;
	}
}

static bool done(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	const struct worker_device *dev = &w->device[index];

	switch (dev->slot[s].op) {
	case EDU_OP_FACTORIAL:
		return !(worker_reg_read(vcpu, dev, EDU_STATUS) & EDU_STATUS_COMPUTING);
	case EDU_OP_STORE:
	case EDU_OP_LOAD:
		return !(guest_read(vcpu, dev->bar[0] + EDU_DMA_COMMAND, 8) & EDU_DMA_RUN);
	default:
		return true;
	}
}

static bool result_good(struct guest_vcpu *vcpu, const struct worker *w, unsigned index, unsigned s)
{
	const struct worker_device *dev = &w->device[index];
	const struct worker_slot *slot = &dev->slot[s];

	switch (slot->op) {
	case EDU_OP_FACTORIAL:
		return worker_reg_read(vcpu, dev, EDU_FACTORIAL) == factorial(number_of(slot));
	case EDU_OP_LOAD:
		return worker_pattern_check(vcpu, worker_target_buffer(vcpu, index, s),
					    slot->stored_seed, dma_bytes(w), NULL) == dma_bytes(w);
	default:
		return true;
	}
}

static uint32_t take_causes(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	uint32_t causes = worker_reg_read(vcpu, dev, EDU_CAUSES);

	if (causes == 0 || guest_bus_failed(vcpu))
		return 0;
	worker_reg_write(vcpu, dev, EDU_CLEAR, causes);
	/* Read back: the line must have dropped before the interrupt is ended. */
	(void) worker_reg_read(vcpu, dev, EDU_CAUSES);
	return 1;
}

static void judge(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	(void) take_causes(vcpu, &w->device[index]);
	if (!result_good(vcpu, w, index, s)) {
		w->corrupt_jobs++;
		worker_fault(w, WORKER_FAULT_JOB_RESULT, index, s, slot->op);
		return;
	}
	w->verified_jobs++;
	if (slot->op != EDU_OP_STORE)
		return;
	slot->stored = 1;
	slot->stored_seed = slot->seed;
}

/* ---- the device ---- */

static bool set_up(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	if ((worker_reg_read(vcpu, dev, EDU_ID) & 0xffff) != EDU_ID_VALUE)
		return false;
	worker_reg_write(vcpu, dev, EDU_STATUS, EDU_STATUS_IRQ);
	(void) take_causes(vcpu, dev);
	return true;
}

static uint64_t slots_max(struct guest_vcpu *vcpu, const struct worker_device *dev)
{
	(void) vcpu;
	(void) dev;
	return 1;
}

const struct worker_kind worker_kind_edu = {
	.id = 0x1234u | 0x11e8u << 16,
	.best_mode = WORKER_IRQ_MSI,
	.set_up = set_up,
	.slots_max = slots_max,
	.prepare = prepare,
	.begin = begin,
	.done = done,
	.judge = judge,
	.take_causes = take_causes,
};
