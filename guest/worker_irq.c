/* SPDX-License-Identifier: MIT */
/* worker_irq.c - interrupts of devices: enabled, masked, taken (worker_driver.h). */
#include "guest/worker_driver.h"

#define MSI_CONTROL		2u
#define MSI_ENABLE		0x0001u
#define MSI_CAN_MASK		0x0100u
#define MSI_MULTIPLE(n)		((uint32_t) (n) << 4)	/* log2 of the messages enabled */
#define MSI_MASK_64		0x10u
#define MSIX_CONTROL		2u
#define MSIX_MASK_ALL		0x4000u
#define MSIX_ENABLE		0x8000u
#define MSIX_ENTRY_BYTES	16u
#define MSIX_ENTRY_CONTROL	12u

/* ---- set-up ---- */

static void disable_interrupts(struct guest_vcpu *vcpu, struct worker_device *dev)
{
	worker_command_write(vcpu, dev, worker_command_read(vcpu, dev) | COMMAND_NO_INTX);
	if (dev->cap_msi)
		worker_config_write(vcpu, dev->pci_slot, dev->cap_msi + MSI_CONTROL, 2, 0);
	if (dev->cap_msix)
		worker_config_write(vcpu, dev->pci_slot, dev->cap_msix + MSIX_CONTROL, 2, 0);
}

/* One message of an MSI capability, apart from the others. */
static bool can_mask_msi(struct guest_vcpu *vcpu, const struct worker_device *dev)
{
	return worker_config_read(vcpu, dev->pci_slot, dev->cap_msi + MSI_CONTROL, 2) & MSI_CAN_MASK;
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
	if (can_mask_msi(vcpu, dev))
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

void worker_irqs_enable(struct guest_vcpu *vcpu, struct worker_device *dev,
			unsigned index)
{
	disable_interrupts(vcpu, dev);
	for (unsigned s = 0; s < WORKER_SLOTS; s++)
		dev->slot[s].masked = 0;
	switch (dev->mode) {
	case WORKER_IRQ_INTX:
		worker_command_write(vcpu, dev, worker_command_read(vcpu, dev) & ~COMMAND_NO_INTX);
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

void worker_irq_add(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index)
{
	write_entry(vcpu, dev, index, (unsigned) dev->slots);
	dev->slots++;
}

/* ---- masks ---- */

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

void worker_irq_mask(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned s, bool masked)
{
	if (dev->mode == WORKER_IRQ_MSIX) {
		guest_write(vcpu, dev->bar[0] + dev->msix_table + s * MSIX_ENTRY_BYTES +
			   MSIX_ENTRY_CONTROL, 4, masked);
	} else if (dev->mode == WORKER_IRQ_MSI && can_mask_msi(vcpu, dev)) {
		const uint64_t at = dev->cap_msi + MSI_MASK_64;
		uint32_t mask = worker_config_read(vcpu, dev->pci_slot, at, 4);

		mask = masked ? mask | 1u << s : mask & ~(1u << s);
		worker_config_write(vcpu, dev->pci_slot, at, 4, mask);
	} else {
		return;
	}
	note_mask(&dev->slot[s], WORKER_MASKED_VECTOR, masked);
}

void worker_irq_mask_all(struct guest_vcpu *vcpu, struct worker_device *dev, bool masked)
{
	if (dev->mode != WORKER_IRQ_MSIX)
		return;
	worker_config_write(vcpu, dev->pci_slot, dev->cap_msix + MSIX_CONTROL, 2,
			    MSIX_ENABLE | (masked ? MSIX_MASK_ALL : 0));
	for (unsigned s = 0; s < dev->slots; s++)
		note_mask(&dev->slot[s], WORKER_MASKED_ALL, masked);
}

/* One vector after the other is masked for a while. */
void worker_irq_mask_cycle(struct guest_vcpu *vcpu, struct worker_device *dev, uint64_t now_ns)
{
	if (dev->mask_cycle_ns == 0 || now_ns < dev->mask_due_ns)
		return;
	worker_irq_mask(vcpu, dev, (unsigned) dev->mask_slot, false);
	dev->mask_slot = (dev->mask_slot + 1) % dev->slots;
	worker_irq_mask(vcpu, dev, (unsigned) dev->mask_slot, true);
	dev->mask_due_ns = now_ns + dev->mask_cycle_ns;
}

/* ---- taken ---- */

static void slot_interrupt(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	slot->interrupts++;
	if (worker_job_done(vcpu, w, index, s))
		worker_job_complete(vcpu, w, index, s);
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
	uint32_t causes = worker_kind_of(vcpu, index)->take_causes(vcpu, dev);

	if (guest_bus_failed(vcpu))
		return true;
	if (causes == 0)
		return false;
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
