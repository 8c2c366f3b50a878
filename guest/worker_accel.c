/* SPDX-License-Identifier: MIT */
/*
 * worker_accel.c - the accel device (uapi/accel.h) in the hands of the self-checking guest: its ring
 * and its jobs (struct worker_kind).
 *
 * Every job is verified byte by byte: copies, fills and loads in RAM, checksums, and what was stored
 * in the device when it is loaded again, maybe in another process.
 *
 * A device that can reads the ring's tail from RAM when its doorbell is rung, and counts how often that
 * was: as often as there were jobs, however the doorbell came to it, and wherever it was moved meanwhile.
 */
#include "guest/worker_driver.h"

#define WORD			sizeof(uint64_t)

/* ---- addresses ---- */

static uint64_t descriptor_gpa(struct guest_vcpu *vcpu, unsigned device, uint64_t index)
{
	return worker_area(vcpu, device) + index * sizeof(struct accel_descriptor);
}

/* Bits 0-31: the tail. Bit 32: the device reads it. (A machine saved by one that knew of no such device
 * has zeros here.) */
static uint64_t tail_gpa(struct guest_vcpu *vcpu, unsigned device)
{
	return worker_area(vcpu, device) + WORKER_TAIL;
}

#define TAIL_IN_RAM	(1ull << 32)

/* CRC32C, four bits at a time: the guest shares no code with what it checks. */
__attribute__((no_sanitize("thread")))
static uint32_t crc32c(const uint8_t *at, uint64_t bytes)
{
	static const uint32_t table[16] = {
		0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u, 0x417b1dbcu, 0x5125dad3u,
		0x61c69362u, 0x7198540du, 0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u,
		0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u,
	};
	uint32_t crc = UINT32_MAX;

	for (uint64_t i = 0; i < bytes; i++) {
		crc ^= at[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

/* ---- the ring ---- */

static void start_ring(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index)
{
	worker_zero(vcpu, worker_area(vcpu, index), WORKER_RING * sizeof(struct accel_descriptor));
	guest_write(vcpu, dev->bar[0] + ACCEL_REG_RING_BASE, 8, worker_area(vcpu, index));
	worker_store(vcpu, tail_gpa(vcpu, index), 0);
	if (worker_reg_read(vcpu, dev, ACCEL_REG_VERSION) >= 2) {
		guest_write(vcpu, dev->bar[0] + ACCEL_REG_TAIL_ADDRESS, 8, tail_gpa(vcpu, index));
		worker_store(vcpu, tail_gpa(vcpu, index), TAIL_IN_RAM);
	}
	worker_reg_write(vcpu, dev, ACCEL_REG_RING_ENTRIES, WORKER_RING);
	worker_reg_write(vcpu, dev, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE);
	dev->tail = 0;
}

static void ring_doorbell(struct guest_vcpu *vcpu, const struct worker_device *dev, unsigned index)
{
	uint64_t tail = dev->tail % WORKER_RING;

	if (worker_load(vcpu, tail_gpa(vcpu, index)) & TAIL_IN_RAM) {
		worker_store(vcpu, tail_gpa(vcpu, index), tail | TAIL_IN_RAM);
		worker_reg_write(vcpu, dev, ACCEL_REG_DOORBELL, 0);
	} else {
		worker_reg_write(vcpu, dev, ACCEL_REG_RING_TAIL, (uint32_t) tail);
	}
}

static void count_doorbells(struct guest_vcpu *vcpu, struct worker *w, unsigned index)
{
	const struct worker_device *dev = &w->device[index];
	uint64_t counted;

	if (!(worker_load(vcpu, tail_gpa(vcpu, index)) & TAIL_IN_RAM))
		return;
	counted = guest_read(vcpu, dev->bar[0] + ACCEL_REG_DOORBELLS, 8);
	if (counted != dev->tail && !guest_bus_failed(vcpu))
		worker_fault(w, WORKER_FAULT_DOORBELLS, index, dev->tail, counted);
}

/* ---- jobs ---- */

static uint64_t peer_window(struct guest_vcpu *vcpu, const struct worker *w, unsigned index,
			    unsigned *ret_peer)
{
	unsigned peer = (unsigned) ((index + 1) % w->found);
	uint64_t slot = w->device[peer].pci_slot;
	uint64_t base = worker_config_read(vcpu, slot, 0x18, 4) & ~15ull;

	base |= (uint64_t) worker_config_read(vcpu, slot, 0x1c, 4) << 32;
	*ret_peer = peer;
	return base;
}

/* Where a slot writes in its peer's window: every slot of every device has a place of its own. */
static uint64_t peer_offset(unsigned index, unsigned slot)
{
	return (index * WORKER_SLOTS + slot) * WORKER_PAGE % ACCEL_BAR2_BYTES;
}

static uint64_t job_length(const struct worker *w, const struct worker_slot *slot)
{
	return slot->op == ACCEL_OP_COPY_PEER ? WORKER_PEER_BYTES : w->job_bytes;
}

/*
 * A device's count grows by one when its set-up is done, and by one when a reset begins: it is odd
 * while the device can be written to.
 */
static bool peer_ready(struct guest_vcpu *vcpu, const struct worker *w, unsigned index)
{
	unsigned peer = (unsigned) ((index + 1) % w->found);

	return worker_kind_of(vcpu, peer)->is_peer &&
	       worker_load(vcpu, worker_resets_gpa(vcpu, peer)) % 2 == 1;
}

/* Since the slot's job was given to its device, or right now. */
static bool was_reset(struct guest_vcpu *vcpu, unsigned peer, const struct worker_slot *slot)
{
	uint64_t count = worker_load(vcpu, worker_resets_gpa(vcpu, peer));

	return count != slot->peer_resets || count % 2 == 0;
}

static uint64_t next_op(struct guest_vcpu *vcpu, const struct worker *w, unsigned index, unsigned s)
{
	const struct worker_device *dev = &w->device[index];
	const struct worker_slot *slot = &dev->slot[s];
	static const uint64_t cycle[] = { ACCEL_OP_COPY, ACCEL_OP_STORE, ACCEL_OP_FILL,
					  ACCEL_OP_CRC32C, ACCEL_OP_LOAD };
	uint64_t op = cycle[slot->number % 5];

	if (w->peer && w->found > 1 && peer_ready(vcpu, w, index))
		return ACCEL_OP_COPY_PEER;
	if (op == ACCEL_OP_STORE && (s + 1) * WORKER_PAGE > dev->state_bytes)
		return ACCEL_OP_COPY;
	if (op == ACCEL_OP_LOAD && !slot->stored)
		return ACCEL_OP_FILL;
	return op;
}

/* Each word is a store of its own, in this order; the doorbell comes after all of them. */
static void write_descriptor(struct guest_vcpu *vcpu, uint64_t gpa,
			     const struct accel_descriptor *d)
{
	worker_store(vcpu, gpa, d->opcode | (uint64_t) d->flags << 8 |
		     (uint64_t) d->vector << 16 | (uint64_t) d->delay_us << 32);
	worker_store(vcpu, gpa + 8, d->src);
	worker_store(vcpu, gpa + 16, d->dst);
	worker_store(vcpu, gpa + 24, d->length);
	worker_store(vcpu, gpa + 32, d->seed);
	worker_store(vcpu, gpa + 40, d->cookie);
	worker_store(vcpu, gpa + 48, ACCEL_JOB_PENDING);
	worker_store(vcpu, gpa + 56, 0);
}

static uint32_t job_status(struct guest_vcpu *vcpu, unsigned index, const struct worker_slot *slot)
{
	return (uint32_t) worker_load(vcpu, descriptor_gpa(vcpu, index, slot->descriptor) + 48);
}

static uint64_t job_cookie(const struct worker_slot *slot)
{
	return worker_mix(slot->seed, slot->number);
}

/* A finished job whose interrupt was not noticed yet keeps its descriptor. */
static bool descriptor_free(const struct worker_device *dev, uint64_t descriptor)
{
	for (unsigned s = 0; s < dev->slots; s++)
		if (dev->slot[s].in_flight && dev->slot[s].descriptor == descriptor)
			return false;
	return true;
}

static void fill_job(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		     struct accel_descriptor *d)
{
	struct worker_slot *slot = &w->device[index].slot[s];
	unsigned peer = 0;

	d->opcode = (uint8_t) slot->op;
	d->flags = (uint8_t) (w->device[index].mode == WORKER_IRQ_POLL ? 0 : ACCEL_FLAG_IRQ);
	d->vector = (uint16_t) s;
	d->delay_us = (uint32_t) w->job_delay_us;
	d->length = job_length(w, slot);
	d->seed = slot->op == ACCEL_OP_CRC32C ? 0 : slot->seed;
	d->cookie = job_cookie(slot);
	d->src = worker_source_buffer(vcpu, index, s);
	d->dst = worker_target_buffer(vcpu, index, s);
	switch (slot->op) {
	case ACCEL_OP_FILL:
		d->src = 0;
		break;
	case ACCEL_OP_CRC32C:
		d->dst = 0;
		break;
	case ACCEL_OP_STORE:
		d->dst = s * WORKER_PAGE;
		slot->stored = 0;
		break;
	case ACCEL_OP_LOAD:
		d->src = s * WORKER_PAGE;
		break;
	case ACCEL_OP_COPY_PEER:
		d->dst = peer_window(vcpu, w, index, &peer) + peer_offset(index, s);
		slot->peer_resets = worker_load(vcpu, worker_resets_gpa(vcpu, peer));
		slot->peer_written = 0;
		break;
	default:
		break;
	}
	if (slot->op != ACCEL_OP_FILL && slot->op != ACCEL_OP_LOAD)
		worker_pattern_write(vcpu, worker_source_buffer(vcpu, index, s), slot->seed, d->length);
}

static void check_peer(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];
	unsigned peer;
	uint64_t at = peer_window(vcpu, w, index, &peer) + peer_offset(index, s);
	bool good = true;

	for (uint64_t i = 0; i < WORKER_PEER_BYTES / WORD && good; i++)
		good = guest_read(vcpu, at + i * WORD, WORD) == accel_pattern(slot->peer_seed, i);
	if (guest_bus_failed(vcpu) ||
	    was_reset(vcpu, peer, slot)) {
		slot->peer_written = 0;
	} else if (good) {
		w->peer_writes++;
	} else {
		w->lost_peer_writes++;
		slot->peer_written = 0;
		worker_fault(w, WORKER_FAULT_PEER, index, s, 0);
	}
}

static bool prepare_job(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_device *dev = &w->device[index];
	struct worker_slot *slot = &dev->slot[s];
	struct accel_descriptor d = { 0 };
	uint64_t descriptor = dev->tail % WORKER_RING;

	if (!descriptor_free(dev, descriptor))
		return false;
	/* What was written into the peer last must still be there, before it is replaced. */
	if (slot->peer_written)
		check_peer(vcpu, w, index, s);
	slot->op = next_op(vcpu, w, index, s);
	slot->descriptor = descriptor;
	fill_job(vcpu, w, index, s, &d);
	write_descriptor(vcpu, descriptor_gpa(vcpu, index, descriptor), &d);
	return true;
}

static void begin_job(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_device *dev = &w->device[index];

	(void) s;
	dev->tail++;
	ring_doorbell(vcpu, dev, index);
}

/* Is what a finished job left behind what it should be? */
static bool result_good(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];
	const uint64_t gpa = descriptor_gpa(vcpu, index, slot->descriptor);
	const uint64_t target = worker_target_buffer(vcpu, index, s);
	const uint64_t bytes = job_length(w, slot);
	uint32_t result = (uint32_t) (worker_load(vcpu, gpa + 48) >> 32);
	const uint8_t *source = guest_ram(vcpu, worker_source_buffer(vcpu, index, s), bytes);

	if (worker_load(vcpu, gpa + 56) != job_cookie(slot))
		return false;
	switch (slot->op) {
	case ACCEL_OP_COPY:
	case ACCEL_OP_FILL:
		return worker_pattern_check(vcpu, target, slot->seed, bytes, NULL) == bytes;
	case ACCEL_OP_CRC32C:
		return source && result == crc32c(source, bytes);
	case ACCEL_OP_STORE:
		slot->stored = 1;
		slot->stored_seed = slot->seed;
		return true;
	case ACCEL_OP_LOAD:
		return worker_pattern_check(vcpu, target, slot->stored_seed, bytes, NULL) == bytes;
	case ACCEL_OP_COPY_PEER:
		slot->peer_written = 1;
		slot->peer_seed = slot->seed;
		check_peer(vcpu, w, index, s);
		return true;
	default:
		return true;
	}
}

static void judge_job(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];
	uint32_t status = job_status(vcpu, index, slot);
	unsigned peer = (unsigned) ((index + 1) % w->found);

	if (status == ACCEL_JOB_OK && result_good(vcpu, w, index, s)) {
		w->verified_jobs++;
	} else if (status == ACCEL_JOB_OK) {
		w->corrupt_jobs++;
		worker_fault(w, WORKER_FAULT_JOB_RESULT, index, s, slot->op);
	} else if (slot->op == ACCEL_OP_COPY_PEER &&
		   was_reset(vcpu, peer, slot)) {
		/* A peer that is being reset cannot be written to. */
		w->voided_jobs++;
	} else {
		w->failed_jobs++;
		worker_fault(w, WORKER_FAULT_JOB_STATUS, index, s, status);
	}
}

static bool job_done(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	return job_status(vcpu, index, &w->device[index].slot[s]) != ACCEL_JOB_PENDING;
}

/* ---- the device ---- */

static bool set_up(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	worker_reg_write(vcpu, dev, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	if (worker_reg_read(vcpu, dev, ACCEL_REG_ID) != ACCEL_ID)
		return false;
	dev->state_bytes = guest_read(vcpu, dev->bar[0] + ACCEL_REG_STATE_BYTES, 8);
	return true;
}

/* At once, and config space stays. */
static void reset(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	worker_reg_write(vcpu, dev, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	(void) worker_reg_read(vcpu, dev, ACCEL_REG_STATUS);
}

static uint64_t slots_max(struct guest_vcpu *vcpu, const struct worker_device *dev)
{
	switch (dev->mode) {
	case WORKER_IRQ_MSI:
		return ACCEL_MSI_VECTORS;
	case WORKER_IRQ_MSIX:
		return worker_reg_read(vcpu, dev, ACCEL_REG_VECTORS) % 2049;
	default:
		return WORKER_SLOTS;
	}
}

static uint32_t take_causes(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	uint32_t causes = worker_reg_read(vcpu, dev, ACCEL_REG_IRQ_STATUS);

	if (causes == 0 || guest_bus_failed(vcpu))
		return causes;
	worker_reg_write(vcpu, dev, ACCEL_REG_IRQ_STATUS, causes);
	/* Read back: the line must have dropped before the interrupt is ended. */
	(void) worker_reg_read(vcpu, dev, ACCEL_REG_IRQ_STATUS);
	return causes;
}

const struct worker_kind worker_kind_accel = {
	.id = ACCEL_PCI_VENDOR | ACCEL_PCI_DEVICE << 16,
	.best_mode = WORKER_IRQ_MSIX,
	.is_peer = true,
	.set_up = set_up,
	.start = start_ring,
	.reset = reset,
	.slots_max = slots_max,
	.prepare = prepare_job,
	.begin = begin_job,
	.done = job_done,
	.judge = judge_job,
	.account = count_doorbells,
	.take_causes = take_causes,
};
