/* SPDX-License-Identifier: MIT */
/*
 * worker_boot.c - the self-checking guest sets its machine up, as an operating system does: PCI
 * functions are found and their BARs placed, then the interrupt controller is programmed.
 *
 * vCPU 0 does it, a piece in each step, and releases the others through the boot page.
 */
#include "guest/worker.h"

#define PCI_VENDOR		0x00u
#define PCI_COMMAND		0x04u
#define PCI_COMMAND_MEMORY	0x2u
#define PCI_BAR(n)		(0x10u + 4u * (n))
#define PCI_BAR_IO		0x1u
#define PCI_BAR_TYPE_64		0x4u

static uint64_t config_gpa(struct guest_vcpu *vcpu, uint64_t slot, uint64_t offset)
{
	return vcpu->platform->ecam_gpa + (slot << 15) + offset;
}

uint32_t worker_config_read(struct guest_vcpu *vcpu, uint64_t slot, uint64_t offset, unsigned size)
{
	return (uint32_t) guest_read(vcpu, config_gpa(vcpu, slot, offset), size);
}

void worker_config_write(struct guest_vcpu *vcpu, uint64_t slot, uint64_t offset, unsigned size,
			 uint32_t value)
{
	guest_write(vcpu, config_gpa(vcpu, slot, offset), size, value);
}

/* ---- PCI ---- */

void worker_bars_size(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	for (unsigned b = 0; b < WORKER_BARS; b++) {
		uint32_t old = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4);
		uint64_t mask;

		worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4, UINT32_MAX);
		mask = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4);
		worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4, old);
		if (mask == 0 || (mask & PCI_BAR_IO))
			continue;
		dev->bar[b] = old & ~15ull;
		if ((mask & PCI_BAR_TYPE_64) && b + 1 < WORKER_BARS) {
			uint32_t high = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4);
			uint64_t high_mask;

			worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4, UINT32_MAX);
			high_mask = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4);
			worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4, high);
			dev->bar[b] |= (uint64_t) high << 32;
			dev->bar_bytes[b] = ~((mask & ~15ull) | high_mask << 32) + 1;
			b++;
			continue;
		}
		dev->bar_bytes[b] = (uint32_t) (~(uint32_t) (mask & ~15ull) + 1);
	}
}

void worker_bars_write(struct guest_vcpu *vcpu, const struct worker_device *dev)
{
	for (unsigned b = 0; b < WORKER_BARS; b++) {
		if (dev->bar_bytes[b] == 0)
			continue;
		worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4, (uint32_t) dev->bar[b]);
		if (worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4) & PCI_BAR_TYPE_64) {
			b++;
			worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4,
					    (uint32_t) (dev->bar[b - 1] >> 32));
		}
	}
}

/* Room for a BAR in two places: it can be moved by flipping the bit of its size. */
static uint64_t take_room(uint64_t *next, uint64_t bytes, const struct guest_range *window)
{
	uint64_t at = (*next + 2 * bytes - 1) / (2 * bytes) * (2 * bytes);
	uint64_t end = window->gpa + window->bytes;

	if (at >= end || 2 * bytes > end - at)
		return 0;
	*next = at + 2 * bytes;
	return at;
}

static void place_bars(struct guest_vcpu *vcpu, struct worker *w, struct worker_device *dev)
{
	const struct guest_platform *platform = vcpu->platform;

	for (unsigned b = 0; b < WORKER_BARS; b++) {
		uint64_t bytes = dev->bar_bytes[b];
		bool wide = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4) &
			    PCI_BAR_TYPE_64;

		if (bytes == 0 || bytes > platform->window64.bytes / 4)
			continue;
		dev->bar[b] = wide ? take_room(&w->next64, bytes, &platform->window64) :
				     take_room(&w->next32, bytes, &platform->window32);
		if (dev->bar[b] == 0)
			dev->bar_bytes[b] = 0;
		if (wide)
			b++;
	}
	worker_bars_write(vcpu, dev);
}

/* One slot of bus 0 in each step. */
static void scan_slot(struct guest_vcpu *vcpu, struct worker *w, uint64_t slot)
{
	uint64_t ram = vcpu->platform->ram[0].gpa;
	uint32_t id = worker_config_read(vcpu, slot, PCI_VENDOR, 4);
	struct worker_device dev = { .pci_slot = slot };
	enum worker_device_kind kind = worker_device_kind(id);
	uint32_t command;

	if ((id & 0xffff) == 0xffff)
		return;
	command = worker_config_read(vcpu, slot, PCI_COMMAND, 2);
	worker_config_write(vcpu, slot, PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY);
	worker_bars_size(vcpu, &dev);
	place_bars(vcpu, w, &dev);
	worker_config_write(vcpu, slot, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
	if (kind == WORKER_KIND__COUNT || w->found == WORKER_DEVICES)
		return;
	worker_store(vcpu, ram + WORKER_BOOT_PAGE + 8 * WORKER_BOOT_SLOT(w->found), slot);
	worker_store(vcpu, ram + WORKER_BOOT_PAGE + 8 * WORKER_BOOT_KIND(w->found), kind);
	w->found++;
}

/* ---- in order ---- */

void worker_dead(struct worker *w, uint64_t detail)
{
	worker_fault(w, WORKER_FAULT_SETUP, w->phase, detail, 0);
	w->phase = WORKER_PHASE_DEAD;
}

void worker_next_phase(struct worker *w, enum worker_phase phase)
{
	w->phase = phase;
	w->cursor = 0;
}

static void release(struct guest_vcpu *vcpu, struct worker *w)
{
	const uint64_t page = vcpu->platform->ram[0].gpa + WORKER_BOOT_PAGE;

	worker_store(vcpu, page + 8 * WORKER_BOOT_COUNT, w->found);
	worker_store(vcpu, page, WORKER_BOOT_MAGIC);
	worker_next_phase(w, WORKER_PHASE_CPU);
}

void worker_boot_step(struct guest_vcpu *vcpu, struct worker *w)
{
	const struct guest_platform *platform = vcpu->platform;

	switch (w->phase) {
	case WORKER_PHASE_PCI:
		if (w->cursor == 0) {
			worker_store(vcpu, platform->ram[0].gpa + WORKER_BOOT_PAGE, 0);
			w->cursor++;
		} else if (w->cursor < WORKER_PCI_SLOTS) {
			scan_slot(vcpu, w, w->cursor++);
		} else {
			worker_next_phase(w, platform->irqchip == GUEST_IRQCHIP_NONE ?
					  WORKER_PHASE_RELEASE : WORKER_PHASE_IRQCHIP);
		}
		break;
	case WORKER_PHASE_RELEASE:
		release(vcpu, w);
		break;
	default:
		worker_irqchip_step(vcpu, w);
		break;
	}
}
