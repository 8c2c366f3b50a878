/* SPDX-License-Identifier: MIT */
/*
 * worker_device.c - the self-checking guest's driver of the accel device (uapi/accel.h).
 *
 * Model. Each vector of a device has a slot with at most one job under way, and the job asks for
 * exactly one interrupt. The next job of a slot is not submitted before the interrupt was
 * acknowledged, so every interrupt matters: one that never comes leaves its slot behind
 * (`unnoticed`, or `lost` if the job was not even done), one too many finds no finished job
 * (`spurious`). Every job is verified byte by byte: copies, fills and loads in RAM, checksums, and
 * what was stored in the device when it is loaded again, maybe in another process.
 *
 * A device that is reset loses its jobs and its memory; the slots say so (`voided`), because an
 * interrupt of a lost job may still be under way.
 */
#include "guest/worker.h"

#define PCI_COMMAND		0x04u
#define PCI_STATUS		0x06u
#define PCI_STATUS_CAPS		0x10u
#define PCI_CAPABILITIES	0x34u
#define PCI_CAP_MSI		0x05u
#define PCI_CAP_EXP		0x10u
#define PCI_CAP_MSIX		0x11u
#define COMMAND_MEMORY		0x0002u
#define COMMAND_MASTER		0x0004u
#define COMMAND_NO_INTX		0x0400u
#define EXP_DEVCTL		8u
#define EXP_DEVCTL_FLR		0x8000u
#define MSI_CONTROL		2u
#define MSI_ENABLE		0x0001u
#define MSI_MULTIPLE(n)		((uint32_t) (n) << 4)	/* log2 of the messages enabled */
#define MSI_MASK_64		0x10u
#define MSIX_CONTROL		2u
#define MSIX_TABLE		4u
#define MSIX_MASK_ALL		0x4000u
#define MSIX_ENABLE		0x8000u
#define MSIX_ENTRY_BYTES	16u
#define MSIX_ENTRY_CONTROL	12u

#define RESET_NS		100000000ull	/* that a driver waits after FLR */
#define WATCH_NS		10000000ull	/* how often timeouts are looked at */
#define CAPABILITIES_MAX	48u
#define WORD			sizeof(uint64_t)

/* ---- addresses ---- */

static uint64_t area(struct guest_vcpu *vcpu, unsigned device)
{
	return vcpu->platform->ram[0].gpa + WORKER_DEVICE_AREA + device * WORKER_DEVICE_BYTES;
}

static uint64_t source_buffer(struct guest_vcpu *vcpu, unsigned device, unsigned slot)
{
	return area(vcpu, device) + WORKER_BUFFERS + slot * 2 * WORKER_PAGE;
}

static uint64_t target_buffer(struct guest_vcpu *vcpu, unsigned device, unsigned slot)
{
	return source_buffer(vcpu, device, slot) + WORKER_PAGE;
}

static uint64_t descriptor_gpa(struct guest_vcpu *vcpu, unsigned device, uint64_t index)
{
	return area(vcpu, device) + index * sizeof(struct accel_descriptor);
}

static uint64_t resets_gpa(struct guest_vcpu *vcpu, unsigned device)
{
	return vcpu->platform->ram[0].gpa + WORKER_BOOT_PAGE + 8 * WORKER_BOOT_RESETS(device);
}

static uint32_t reg_read(struct guest_vcpu *vcpu, const struct worker_device *dev, uint32_t reg)
{
	return (uint32_t) guest_read(vcpu, dev->bar[0] + reg, 4);
}

static void reg_write(struct guest_vcpu *vcpu, const struct worker_device *dev, uint32_t reg,
		      uint32_t value)
{
	guest_write(vcpu, dev->bar[0] + reg, 4, value);
}

static uint32_t command_read(struct guest_vcpu *vcpu, const struct worker_device *dev)
{
	return worker_config_read(vcpu, dev->pci_slot, PCI_COMMAND, 2);
}

static void command_write(struct guest_vcpu *vcpu, const struct worker_device *dev, uint32_t value)
{
	worker_config_write(vcpu, dev->pci_slot, PCI_COMMAND, 2, value);
}

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

/* ---- finding and setting up ---- */

void worker_device_find(struct guest_vcpu *vcpu, struct worker *w)
{
	const struct guest_platform *platform = vcpu->platform;
	const uint64_t page = platform->ram[0].gpa + WORKER_BOOT_PAGE;
	uint64_t count = worker_load(vcpu, page + 8 * WORKER_BOOT_COUNT);

	w->found = count > WORKER_DEVICES ? WORKER_DEVICES : count;
	for (unsigned i = 0; i < w->found; i++) {
		struct worker_device *dev = &w->device[i];

		dev->pci_slot = worker_load(vcpu, page + 8 * WORKER_BOOT_SLOT(i)) % WORKER_PCI_SLOTS;
		if (!worker_owns(platform, vcpu->id, i))
			continue;
		dev->phase = WORKER_DEVICE_SETUP;
		dev->mode = w->mode;
		dev->wanted_mode = w->mode;
	}
}

static void find_capabilities(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	uint32_t at;

	if (!(worker_config_read(vcpu, dev->pci_slot, PCI_STATUS, 2) & PCI_STATUS_CAPS))
		return;
	at = worker_config_read(vcpu, dev->pci_slot, PCI_CAPABILITIES, 1) & 0xfc;
	for (unsigned i = 0; i < CAPABILITIES_MAX && at >= 0x40; i++) {
		uint32_t head = worker_config_read(vcpu, dev->pci_slot, at, 2);

		if ((head & 0xff) == PCI_CAP_MSI)
			dev->cap_msi = at;
		else if ((head & 0xff) == PCI_CAP_MSIX)
			dev->cap_msix = at;
		else if ((head & 0xff) == PCI_CAP_EXP)
			dev->cap_pcie = at;
		at = head >> 8 & 0xfc;
	}
	if (dev->cap_msix)
		dev->msix_table = worker_config_read(vcpu, dev->pci_slot,
						     dev->cap_msix + MSIX_TABLE, 4) & ~7u;
}

static void disable_interrupts(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	command_write(vcpu, dev, command_read(vcpu, dev) | COMMAND_NO_INTX);
	if (dev->cap_msi)
		worker_config_write(vcpu, dev->pci_slot, dev->cap_msi + MSI_CONTROL, 2, 0);
	if (dev->cap_msix)
		worker_config_write(vcpu, dev->pci_slot, dev->cap_msix + MSIX_CONTROL, 2, 0);
}

static void enable_msi(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index)
{
	const struct worker_message message = worker_message(vcpu, index, 0);
	const uint64_t cap = dev->cap_msi;
	uint32_t log2 = 0;

	while (2u << log2 <= dev->slots && log2 < 5)
		log2++;
	worker_config_write(vcpu, dev->pci_slot, cap + 4, 4, (uint32_t) message.address);
	worker_config_write(vcpu, dev->pci_slot, cap + 8, 4, (uint32_t) (message.address >> 32));
	worker_config_write(vcpu, dev->pci_slot, cap + 12, 2, message.data);
	worker_config_write(vcpu, dev->pci_slot, cap + MSI_MASK_64, 4, 0);
	worker_config_write(vcpu, dev->pci_slot, cap + MSI_CONTROL, 2,
			    MSI_ENABLE | MSI_MULTIPLE(log2));
}

static void write_entry(struct guest_vcpu *vcpu, const struct worker_device *dev, unsigned index,
			unsigned v)
{
	const struct worker_message message = worker_message(vcpu, index, v);
	uint64_t entry = dev->bar[0] + dev->msix_table + v * MSIX_ENTRY_BYTES;

	guest_write(vcpu, entry, 4, (uint32_t) message.address);
	guest_write(vcpu, entry + 4, 4, message.address >> 32);
	guest_write(vcpu, entry + 8, 4, message.data);
	guest_write(vcpu, entry + MSIX_ENTRY_CONTROL, 4, 0);
}

static void enable_msix(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index)
{
	const uint64_t cap = dev->cap_msix;

	/* As drivers do it: on, but masked as a whole until every entry is written. */
	worker_config_write(vcpu, dev->pci_slot, cap + MSIX_CONTROL, 2, MSIX_ENABLE | MSIX_MASK_ALL);
	for (unsigned v = 0; v < dev->slots; v++)
		write_entry(vcpu, dev, index, v);
	worker_config_write(vcpu, dev->pci_slot, cap + MSIX_CONTROL, 2, MSIX_ENABLE);
}

static void enable_interrupts(struct guest_vcpu *vcpu, struct worker_device *dev,
			      unsigned index)
{
	disable_interrupts(vcpu, dev);
	for (unsigned s = 0; s < WORKER_SLOTS; s++)
		dev->slot[s].masked = 0;
	switch (dev->mode) {
	case WORKER_IRQ_INTX:
		command_write(vcpu, dev, command_read(vcpu, dev) & ~COMMAND_NO_INTX);
		break;
	case WORKER_IRQ_MSI:
		enable_msi(vcpu, dev, index);
		break;
	case WORKER_IRQ_MSIX:
		enable_msix(vcpu, dev, index);
		break;
	default:
		break;
	}
}

/* What a reset took with it. */
static void void_jobs(struct worker *w, struct worker_device *dev)
{
	for (unsigned s = 0; s < WORKER_SLOTS; s++) {
		struct worker_slot *slot = &dev->slot[s];

		if (slot->in_flight) {
			slot->in_flight = 0;
			slot->voided = 1;
			w->voided_jobs++;
		}
		slot->stored = 0;
		slot->peer_written = 0;
	}
	dev->tail = 0;
}

static uint64_t choose_slots(const struct worker *w, const struct worker_device *dev,
			     uint64_t vectors)
{
	uint64_t slots = w->vectors;

	if (dev->mode == WORKER_IRQ_MSI && slots > ACCEL_MSI_VECTORS)
		slots = ACCEL_MSI_VECTORS;
	if (dev->mode == WORKER_IRQ_MSIX && slots > vectors)
		slots = vectors;
	if (dev->mode == WORKER_IRQ_MSI && slots == 3)
		slots = 2;
	return slots > 0 ? slots : 1;
}

static void start_ring(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index)
{
	worker_zero(vcpu, area(vcpu, index), WORKER_RING * sizeof(struct accel_descriptor));
	guest_write(vcpu, dev->bar[0] + ACCEL_REG_RING_BASE, 8, area(vcpu, index));
	reg_write(vcpu, dev, ACCEL_REG_RING_ENTRIES, WORKER_RING);
	reg_write(vcpu, dev, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE);
	dev->tail = 0;
}

static void setup(struct guest_vcpu *vcpu, struct worker *w, unsigned index)
{
	struct worker_device *dev = &w->device[index];

	/* What the BARs are is in the registers now, and what they must be again after a reset. */
	if (dev->bar_bytes[0] == 0) {
		command_write(vcpu, dev, command_read(vcpu, dev) & ~COMMAND_MEMORY);
		worker_bars_size(vcpu, dev);
	} else {
		worker_bars_write(vcpu, dev);
	}
	command_write(vcpu, dev, (command_read(vcpu, dev) | COMMAND_MEMORY | COMMAND_MASTER));
	find_capabilities(vcpu, dev);
	reg_write(vcpu, dev, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	if (reg_read(vcpu, dev, ACCEL_REG_ID) != ACCEL_ID ||
	    (dev->mode == WORKER_IRQ_MSI && !dev->cap_msi) ||
	    (dev->mode == WORKER_IRQ_MSIX && !dev->cap_msix)) {
		worker_fault(w, WORKER_FAULT_SETUP, WORKER_PHASE_RUN, index, 0);
		dev->phase = WORKER_DEVICE_DEAD;
		return;
	}
	dev->state_bytes = guest_read(vcpu, dev->bar[0] + ACCEL_REG_STATE_BYTES, 8);
	dev->slots = choose_slots(w, dev, reg_read(vcpu, dev, ACCEL_REG_VECTORS) % 2049);
	if (dev->slots > WORKER_SLOTS)
		dev->slots = WORKER_SLOTS;
	enable_interrupts(vcpu, dev, index);
	start_ring(vcpu, dev, index);
	/* Second count of the reset: what a peer wrote in between may be gone as well. */
	worker_store(vcpu, resets_gpa(vcpu, index), worker_load(vcpu, resets_gpa(vcpu, index)) + 1);
	dev->phase = WORKER_DEVICE_RUN;
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

	return worker_load(vcpu, resets_gpa(vcpu, peer)) % 2 == 1;
}

/* Since the slot's job was given to its device, or right now. */
static bool was_reset(struct guest_vcpu *vcpu, unsigned peer, const struct worker_slot *slot)
{
	uint64_t count = worker_load(vcpu, resets_gpa(vcpu, peer));

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
	d->src = source_buffer(vcpu, index, s);
	d->dst = target_buffer(vcpu, index, s);
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
		slot->peer_resets = worker_load(vcpu, resets_gpa(vcpu, peer));
		slot->peer_written = 0;
		break;
	default:
		break;
	}
	if (slot->op != ACCEL_OP_FILL && slot->op != ACCEL_OP_LOAD)
		worker_pattern_write(vcpu, source_buffer(vcpu, index, s), slot->seed, d->length);
}

static void check_peer(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);

static bool submit(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		   uint64_t now_ns)
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
	slot->seed = worker_mix(worker_mix(w->seed, index * WORKER_SLOTS + s), slot->number);
	slot->descriptor = descriptor;
	fill_job(vcpu, w, index, s, &d);
	write_descriptor(vcpu, descriptor_gpa(vcpu, index, descriptor), &d);
	slot->submitted_ns = now_ns;
	slot->done_seen_ns = 0;
	slot->in_flight = 1;
	dev->tail++;
	w->submitted_jobs++;
	reg_write(vcpu, dev, ACCEL_REG_RING_TAIL, (uint32_t) (dev->tail % WORKER_RING));
	return true;
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

/* Is what a finished job left behind what it should be? */
static bool result_good(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];
	const uint64_t gpa = descriptor_gpa(vcpu, index, slot->descriptor);
	const uint64_t target = target_buffer(vcpu, index, s);
	const uint64_t bytes = job_length(w, slot);
	uint32_t result = (uint32_t) (worker_load(vcpu, gpa + 48) >> 32);
	const uint8_t *source = guest_ram(vcpu, source_buffer(vcpu, index, s), bytes);

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

/* The job is done, and the guest knows. */
static void complete(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	judge_job(vcpu, w, index, s);
	slot->in_flight = 0;
	slot->voided = 0;
	if (!slot->masked)
		slot->was_masked = 0;
	slot->done_seen_ns = 0;
	slot->number++;
}

/* ---- interrupts ---- */

static void slot_interrupt(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	slot->interrupts++;
	if (slot->in_flight && job_status(vcpu, index, slot) != ACCEL_JOB_PENDING)
		complete(vcpu, w, index, s);
	else if (slot->voided)
		slot->voided = 0;
	else if (slot->was_masked)
		slot->was_masked = 0;
	else
		w->spurious++;
}

/* Return: there was a cause, or none could be read. */
static bool intx_interrupt(struct guest_vcpu *vcpu, struct worker *w, unsigned index)
{
	struct worker_device *dev = &w->device[index];
	uint32_t causes = reg_read(vcpu, dev, ACCEL_REG_IRQ_STATUS);

	if (guest_bus_failed(vcpu))
		return true;
	if (causes == 0)
		return false;
	reg_write(vcpu, dev, ACCEL_REG_IRQ_STATUS, causes);
	/* Read back: the line must have dropped before the interrupt is ended. */
	(void) reg_read(vcpu, dev, ACCEL_REG_IRQ_STATUS);
	for (unsigned s = 0; s < dev->slots; s++)
		if (causes & 1u << s)
			slot_interrupt(vcpu, w, index, s);
	return true;
}

/* Return: some device of this vCPU has that pin. Several may share it. */
static bool pin_interrupt(struct guest_vcpu *vcpu, struct worker *w, uint32_t pin)
{
	bool known = false, asked = false, caused = false;

	for (unsigned i = 0; i < WORKER_DEVICES; i++) {
		const struct worker_device *dev = &w->device[i];

		if (dev->phase == WORKER_DEVICE_NONE ||
		    dev->pci_slot % vcpu->platform->intx_pins != pin)
			continue;
		known = true;
		if (dev->phase != WORKER_DEVICE_RUN && dev->phase != WORKER_DEVICE_DRAIN)
			continue;
		asked = true;
		caused |= intx_interrupt(vcpu, w, i);
	}
	if (asked && !caused)
		w->spurious++;
	return known;
}

/* Return: it was given to somebody. */
static bool message_interrupt(struct guest_vcpu *vcpu, struct worker *w, uint32_t number)
{
	unsigned index = number / WORKER_SLOTS, s = number % WORKER_SLOTS;

	if (index >= WORKER_DEVICES || w->device[index].phase == WORKER_DEVICE_NONE ||
	    s >= w->device[index].slots)
		return false;
	slot_interrupt(vcpu, w, index, s);
	return true;
}

void worker_device_interrupt(struct guest_vcpu *vcpu, struct worker *w, uint32_t intid)
{
	bool known;

	w->interrupts++;
	if (intid >= WORKER_MSI_FIRST)
		known = message_interrupt(vcpu, w, intid - WORKER_MSI_FIRST);
	else
		known = intid >= WORKER_PIN_FIRST &&
			pin_interrupt(vcpu, w, intid - WORKER_PIN_FIRST);
	if (known)
		return;
	w->unknown_interrupts++;
	worker_fault(w, WORKER_FAULT_INTERRUPT, intid, 0, 0);
}

/* ---- timeouts, masks ---- */

static void watch_slot(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		       uint64_t now_ns)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	if (!slot->in_flight)
		return;
	if (job_status(vcpu, index, slot) == ACCEL_JOB_PENDING) {
		uint64_t limit = w->lost_ns + w->job_delay_us * 1000 * WORKER_SLOTS;

		if (now_ns - slot->submitted_ns < limit)
			return;
		slot->in_flight = 0;
		slot->voided = 1;
		slot->number++;
		w->lost_jobs++;
		worker_fault(w, WORKER_FAULT_JOB_LOST, index, s, 0);
		return;
	}
	if (w->device[index].mode == WORKER_IRQ_POLL) {
		complete(vcpu, w, index, s);
		return;
	}
	if (slot->masked || slot->done_seen_ns == 0) {
		slot->done_seen_ns = now_ns;
		return;
	}
	if (now_ns - slot->done_seen_ns < w->notice_ns)
		return;
	w->unnoticed_jobs++;
	worker_fault(w, WORKER_FAULT_UNNOTICED, index, s, 0);
	complete(vcpu, w, index, s);
}

/*
 * A vector that hardware forwards is disconnected to be masked, and sent once more then: what was
 * pending in hardware is lost with the connection. So masking may cost one interrupt too many.
 */
static void note_mask(struct worker_slot *slot, uint64_t why, bool masked)
{
	slot->masked = masked ? slot->masked | why : slot->masked & ~why;
	slot->was_masked |= masked;
	slot->done_seen_ns = 0;
}

static void set_mask(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned s, bool masked)
{
	if (dev->mode == WORKER_IRQ_MSIX) {
		guest_write(vcpu, dev->bar[0] + dev->msix_table + s * MSIX_ENTRY_BYTES +
			   MSIX_ENTRY_CONTROL, 4, masked);
	} else if (dev->mode == WORKER_IRQ_MSI) {
		const uint64_t at = dev->cap_msi + MSI_MASK_64;
		uint32_t mask = worker_config_read(vcpu, dev->pci_slot, at, 4);

		mask = masked ? mask | 1u << s : mask & ~(1u << s);
		worker_config_write(vcpu, dev->pci_slot, at, 4, mask);
	} else {
		return;
	}
	note_mask(&dev->slot[s], WORKER_MASKED_VECTOR, masked);
}

static void set_mask_all(struct guest_vcpu *vcpu, struct worker_device *dev, bool masked)
{
	if (dev->mode != WORKER_IRQ_MSIX)
		return;
	worker_config_write(vcpu, dev->pci_slot, dev->cap_msix + MSIX_CONTROL, 2,
			    MSIX_ENABLE | (masked ? MSIX_MASK_ALL : 0));
	for (unsigned s = 0; s < dev->slots; s++)
		note_mask(&dev->slot[s], WORKER_MASKED_ALL, masked);
}

/* One vector after the other is masked for a while. */
static void mask_cycle(struct guest_vcpu *vcpu, struct worker_device *dev, uint64_t now_ns)
{
	if (dev->mask_cycle_ns == 0 || now_ns < dev->mask_due_ns)
		return;
	set_mask(vcpu, dev, (unsigned) dev->mask_slot, false);
	dev->mask_slot = (dev->mask_slot + 1) % dev->slots;
	set_mask(vcpu, dev, (unsigned) dev->mask_slot, true);
	dev->mask_due_ns = now_ns + dev->mask_cycle_ns;
}

bool worker_devices_busy(const struct worker *w)
{
	for (unsigned i = 0; i < WORKER_DEVICES; i++) {
		const struct worker_device *dev = &w->device[i];

		if (dev->phase == WORKER_DEVICE_RESETTING || dev->phase == WORKER_DEVICE_SETUP)
			return true;
		for (unsigned s = 0; s < WORKER_SLOTS; s++)
			if (dev->slot[s].in_flight)
				return true;
	}
	return false;
}

bool worker_devices_quiet(struct guest_vcpu *vcpu, struct worker *w)
{
	for (unsigned i = 0; i < WORKER_DEVICES; i++) {
		struct worker_device *dev = &w->device[i];
		bool masked = false;

		if (dev->phase != WORKER_DEVICE_RUN)
			continue;
		dev->mask_cycle_ns = 0;
		for (unsigned s = 0; s < dev->slots; s++)
			masked |= dev->slot[s].masked != 0;
		for (unsigned s = 0; masked && s < dev->slots; s++)
			set_mask(vcpu, dev, s, false);
		if (masked)
			set_mask_all(vcpu, dev, false);
	}
	return !worker_devices_busy(w);
}

/* ---- the step of one device ---- */

static bool run_device(struct guest_vcpu *vcpu, struct worker *w, unsigned index, uint64_t now_ns)
{
	struct worker_device *dev = &w->device[index];
	bool in_flight = false;

	if (now_ns - dev->watched_ns >= WATCH_NS || dev->mode == WORKER_IRQ_POLL) {
		dev->watched_ns = now_ns;
		for (unsigned s = 0; s < dev->slots; s++)
			watch_slot(vcpu, w, index, s, now_ns);
	}
	mask_cycle(vcpu, dev, now_ns);
	for (unsigned s = 0; s < dev->slots; s++)
		in_flight |= dev->slot[s].in_flight;
	if (dev->phase == WORKER_DEVICE_DRAIN) {
		if (in_flight)
			return false;
		dev->mode = dev->wanted_mode;
		dev->slots = choose_slots(w, dev, reg_read(vcpu, dev, ACCEL_REG_VECTORS) % 2049);
		if (dev->slots > WORKER_SLOTS)
			dev->slots = WORKER_SLOTS;
		/* A cause that was raised for the old mode is no cause any more. */
		reg_write(vcpu, dev, ACCEL_REG_IRQ_STATUS, UINT32_MAX);
		enable_interrupts(vcpu, dev, index);
		dev->phase = WORKER_DEVICE_RUN;
		return true;
	}
	if (!w->jobs || w->judging)
		return false;
	for (unsigned i = 0; i < dev->slots; i++) {
		unsigned s = (unsigned) ((dev->next_slot + i) % dev->slots);

		if (!dev->slot[s].in_flight) {
			dev->next_slot = (s + 1) % dev->slots;
			return submit(vcpu, w, index, s, now_ns);
		}
	}
	return false;
}

bool worker_device_step(struct guest_vcpu *vcpu, struct worker *w, unsigned index, uint64_t now_ns)
{
	struct worker_device *dev = &w->device[index];
	bool did = false;

	switch (dev->phase) {
	case WORKER_DEVICE_SETUP:
		setup(vcpu, w, index);
		did = true;
		break;
	case WORKER_DEVICE_RESETTING:
		if (now_ns >= dev->resume_ns) {
			dev->phase = WORKER_DEVICE_SETUP;
			did = true;
		}
		break;
	case WORKER_DEVICE_RUN:
	case WORKER_DEVICE_DRAIN:
		did = run_device(vcpu, w, index, now_ns);
		break;
	default:
		break;
	}
	if (guest_bus_failed(vcpu)) {
		w->bus_errors++;
		worker_fault(w, WORKER_FAULT_BUS, index, 0, 0);
	}
	return did;
}

/* ---- what it is told to do ---- */

static void reset_device(struct guest_vcpu *vcpu, struct worker *w, unsigned index, bool flr,
			 uint64_t now_ns)
{
	struct worker_device *dev = &w->device[index];

	if (dev->phase != WORKER_DEVICE_RUN && dev->phase != WORKER_DEVICE_DRAIN)
		return;
	worker_store(vcpu, resets_gpa(vcpu, index), worker_load(vcpu, resets_gpa(vcpu, index)) + 1);
	w->resets++;
	if (!flr) {
		/* The device's own reset: at once, and config space stays. */
		reg_write(vcpu, dev, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
		(void) reg_read(vcpu, dev, ACCEL_REG_STATUS);
		dev->resume_ns = now_ns;
	} else {
		uint32_t devctl = worker_config_read(vcpu, dev->pci_slot,
						     dev->cap_pcie + EXP_DEVCTL, 2);

		worker_config_write(vcpu, dev->pci_slot, dev->cap_pcie + EXP_DEVCTL, 2,
				    devctl | EXP_DEVCTL_FLR);
		dev->resume_ns = now_ns + RESET_NS;
	}
	void_jobs(w, dev);
	dev->phase = WORKER_DEVICE_RESETTING;
}

static void move_bar(struct guest_vcpu *vcpu, struct worker_device *dev, uint64_t bar)
{
	uint32_t command = command_read(vcpu, dev);

	if (bar >= WORKER_BARS || dev->bar_bytes[bar] == 0)
		return;
	dev->bar[bar] ^= dev->bar_bytes[bar];
	command_write(vcpu, dev, command & ~COMMAND_MEMORY);
	worker_bars_write(vcpu, dev);
	command_write(vcpu, dev, command);
}

/* MSI-X stays enabled meanwhile. */
static void add_vectors(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index,
			uint64_t wanted)
{
	uint64_t most = reg_read(vcpu, dev, ACCEL_REG_VECTORS);

	if (most > vcpu->platform->vectors)
		most = vcpu->platform->vectors;
	if (dev->mode != WORKER_IRQ_MSIX || wanted > most)
		return;
	for (; dev->slots < wanted; dev->slots++)
		write_entry(vcpu, dev, index, (unsigned) dev->slots);
}

void worker_device_act(struct guest_vcpu *vcpu, struct worker *w, const struct worker_act *act,
		       uint64_t now_ns)
{
	unsigned index = (unsigned) (act->a % WORKER_DEVICES);
	struct worker_device *dev = &w->device[index];

	if (dev->phase != WORKER_DEVICE_RUN && dev->phase != WORKER_DEVICE_DRAIN)
		return;
	switch (act->op) {
	case WORKER_ACT_FLR:
	case WORKER_ACT_RESET:
		reset_device(vcpu, w, index, act->op == WORKER_ACT_FLR && dev->cap_pcie, now_ns);
		break;
	case WORKER_ACT_MOVE_BAR:
		move_bar(vcpu, dev, act->b);
		break;
	case WORKER_ACT_IRQ_MODE:
		dev->wanted_mode = act->b % WORKER_IRQ__COUNT;
		dev->phase = WORKER_DEVICE_DRAIN;
		break;
	case WORKER_ACT_MASK:
	case WORKER_ACT_UNMASK:
		if (act->b < dev->slots)
			set_mask(vcpu, dev, (unsigned) act->b, act->op == WORKER_ACT_MASK);
		break;
	case WORKER_ACT_MASK_ALL:
	case WORKER_ACT_UNMASK_ALL:
		set_mask_all(vcpu, dev, act->op == WORKER_ACT_MASK_ALL);
		break;
	case WORKER_ACT_ADD_VECTORS:
		add_vectors(vcpu, dev, index, act->b);
		break;
	case WORKER_ACT_MASK_CYCLE:
		dev->mask_cycle_ns = act->b;
		dev->mask_due_ns = now_ns;
		if (act->b == 0)
			set_mask(vcpu, dev, (unsigned) dev->mask_slot, false);
		break;
	default:
		break;
	}
}

bool worker_device_valid(const struct worker_device *dev)
{
	if (dev->phase >= WORKER_DEVICE__COUNT || dev->pci_slot >= WORKER_PCI_SLOTS ||
	    dev->slots > WORKER_SLOTS || dev->mode >= WORKER_IRQ__COUNT ||
	    dev->wanted_mode >= WORKER_IRQ__COUNT || dev->cap_msi >= 256 || dev->cap_msix >= 256 ||
	    dev->cap_pcie >= 256 || dev->msix_table > UINT32_MAX)
		return false;
	if ((dev->phase == WORKER_DEVICE_RUN || dev->phase == WORKER_DEVICE_DRAIN) &&
	    (dev->slots == 0 || dev->mask_slot >= WORKER_SLOTS))
		return false;
	for (unsigned s = 0; s < WORKER_SLOTS; s++) {
		const struct worker_slot *slot = &dev->slot[s];

		if (slot->in_flight > 1 || slot->masked > 3 || slot->op >= ACCEL_OP_COUNT ||
		    slot->descriptor >= WORKER_RING)
			return false;
	}
	return true;
}
