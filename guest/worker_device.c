/* SPDX-License-Identifier: MIT */
/*
 * worker_device.c - the self-checking guest's devices: finding one, setting it up, its step, resets,
 * and what it is told to do. Jobs and interrupts have files of their own, as has each kind of device
 * (worker_driver.h).
 */
#include "guest/worker_driver.h"

#define PCI_STATUS		0x06u
#define PCI_STATUS_CAPS		0x10u
#define PCI_CAPABILITIES	0x34u
#define PCI_CAP_MSI		0x05u
#define PCI_CAP_EXP		0x10u
#define PCI_CAP_MSIX		0x11u
#define EXP_DEVCTL		8u
#define EXP_DEVCTL_FLR		0x8000u
#define MSIX_TABLE		4u

#define RESET_NS		100000000ull	/* that a driver waits after FLR */
#define WATCH_NS		10000000ull	/* how often timeouts are looked at */
#define CAPABILITIES_MAX	48u

/* ---- kinds ---- */

static const struct worker_kind *const kinds[WORKER_KIND__COUNT] = {
	[WORKER_KIND_ACCEL] = &worker_kind_accel,
	[WORKER_KIND_EDU] = &worker_kind_edu,
};

enum worker_device_kind worker_device_kind(uint32_t id)
{
	unsigned kind = 0;

	while (kind < WORKER_KIND__COUNT && kinds[kind]->id != id)
		kind++;
	return (enum worker_device_kind) kind;
}

const struct worker_kind *worker_kind_of(struct guest_vcpu *vcpu, unsigned index)
{
	const uint64_t page = vcpu->platform->ram[0].gpa + WORKER_BOOT_PAGE;
	uint64_t kind = worker_load(vcpu, page + 8 * WORKER_BOOT_KIND(index));

	return kinds[kind < WORKER_KIND__COUNT ? kind : WORKER_KIND_ACCEL];
}

static enum worker_irq_mode choose_mode(struct guest_vcpu *vcpu, unsigned index, uint64_t wanted)
{
	enum worker_irq_mode best = worker_kind_of(vcpu, index)->best_mode;

	return wanted < best ? (enum worker_irq_mode) wanted : best;
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
		dev->mode = choose_mode(vcpu, i, w->mode);
		dev->wanted_mode = dev->mode;
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

static void choose_slots(struct guest_vcpu *vcpu, const struct worker *w, unsigned index,
			 struct worker_device *dev)
{
	uint64_t most = worker_kind_of(vcpu, index)->slots_max(vcpu, dev);
	uint64_t slots = w->vectors < most ? w->vectors : most;

	if (dev->mode == WORKER_IRQ_MSI && slots == 3)
		slots = 2;
	if (slots > WORKER_SLOTS)
		slots = WORKER_SLOTS;
	dev->slots = slots > 0 ? slots : 1;
}

static void setup(struct guest_vcpu *vcpu, struct worker *w, unsigned index)
{
	const struct worker_kind *kind = worker_kind_of(vcpu, index);
	struct worker_device *dev = &w->device[index];

	/* What the BARs are is in the registers now, and what they must be again after a reset. */
	if (dev->bar_bytes[0] == 0) {
		worker_command_write(vcpu, dev, worker_command_read(vcpu, dev) & ~COMMAND_MEMORY);
		worker_bars_size(vcpu, dev);
	} else {
		worker_bars_write(vcpu, dev);
	}
	worker_command_write(vcpu, dev,
			     worker_command_read(vcpu, dev) | COMMAND_MEMORY | COMMAND_MASTER);
	find_capabilities(vcpu, dev);
	if (!kind->set_up(vcpu, dev) ||
	    (dev->mode == WORKER_IRQ_MSI && !dev->cap_msi) ||
	    (dev->mode == WORKER_IRQ_MSIX && !dev->cap_msix)) {
		worker_fault(w, WORKER_FAULT_SETUP, WORKER_PHASE_RUN, index, 0);
		dev->phase = WORKER_DEVICE_DEAD;
		return;
	}
	choose_slots(vcpu, w, index, dev);
	worker_irqs_enable(vcpu, dev, index);
	if (kind->start)
		kind->start(vcpu, dev, index);
	/* Second count of the reset: what a peer wrote in between may be gone as well. */
	worker_resets_count(vcpu, index);
	dev->phase = WORKER_DEVICE_RUN;
}

/* ---- the step of one device ---- */

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
			worker_irq_mask(vcpu, dev, s, false);
		if (masked)
			worker_irq_mask_all(vcpu, dev, false);
	}
	return !worker_devices_busy(w);
}

void worker_devices_count(struct guest_vcpu *vcpu, struct worker *w)
{
	for (unsigned i = 0; i < WORKER_DEVICES; i++)
		if (w->device[i].phase == WORKER_DEVICE_RUN && worker_kind_of(vcpu, i)->account)
			worker_kind_of(vcpu, i)->account(vcpu, w, i);
}

static bool run_device(struct guest_vcpu *vcpu, struct worker *w, unsigned index, uint64_t now_ns)
{
	struct worker_device *dev = &w->device[index];
	bool in_flight = false;

	if (now_ns - dev->watched_ns >= WATCH_NS || dev->mode == WORKER_IRQ_POLL) {
		dev->watched_ns = now_ns;
		for (unsigned s = 0; s < dev->slots; s++)
			worker_job_watch(vcpu, w, index, s, now_ns);
	}
	worker_irq_mask_cycle(vcpu, dev, now_ns);
	for (unsigned s = 0; s < dev->slots; s++)
		in_flight |= dev->slot[s].in_flight;
	if (dev->phase == WORKER_DEVICE_DRAIN) {
		if (in_flight)
			return false;
		dev->mode = dev->wanted_mode;
		choose_slots(vcpu, w, index, dev);
		/* A cause that was raised for the old mode is no cause any more. */
		(void) worker_kind_of(vcpu, index)->take_causes(vcpu, dev);
		worker_irqs_enable(vcpu, dev, index);
		dev->phase = WORKER_DEVICE_RUN;
		return true;
	}
	if (!w->jobs || w->judging)
		return false;
	for (unsigned i = 0; i < dev->slots; i++) {
		unsigned s = (unsigned) ((dev->next_slot + i) % dev->slots);

		if (!dev->slot[s].in_flight) {
			dev->next_slot = (s + 1) % dev->slots;
			return worker_job_submit(vcpu, w, index, s, now_ns);
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
	const struct worker_kind *kind = worker_kind_of(vcpu, index);
	struct worker_device *dev = &w->device[index];

	if (!flr && !kind->reset)
		return;
	worker_resets_count(vcpu, index);
	w->resets++;
	if (!flr) {
		kind->reset(vcpu, dev);
		dev->resume_ns = now_ns;
	} else {
		uint32_t devctl = worker_config_read(vcpu, dev->pci_slot,
						     dev->cap_pcie + EXP_DEVCTL, 2);

		worker_config_write(vcpu, dev->pci_slot, dev->cap_pcie + EXP_DEVCTL, 2,
				    devctl | EXP_DEVCTL_FLR);
		dev->resume_ns = now_ns + RESET_NS;
	}
	worker_jobs_void(w, dev);
	dev->phase = WORKER_DEVICE_RESETTING;
}

static void move_bar(struct guest_vcpu *vcpu, struct worker_device *dev, uint64_t bar)
{
	uint32_t command = worker_command_read(vcpu, dev);

	if (bar >= WORKER_BARS || dev->bar_bytes[bar] == 0)
		return;
	dev->bar[bar] ^= dev->bar_bytes[bar];
	worker_command_write(vcpu, dev, command & ~COMMAND_MEMORY);
	worker_bars_write(vcpu, dev);
	worker_command_write(vcpu, dev, command);
}

/* MSI-X stays enabled meanwhile. */
static void add_vectors(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index,
			uint64_t wanted)
{
	uint64_t most = worker_kind_of(vcpu, index)->slots_max(vcpu, dev);

	if (most > vcpu->platform->vectors)
		most = vcpu->platform->vectors;
	if (dev->mode != WORKER_IRQ_MSIX || wanted > most)
		return;
	while (dev->slots < wanted)
		worker_irq_add(vcpu, dev, index);
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
		dev->wanted_mode = choose_mode(vcpu, index, act->b % WORKER_IRQ__COUNT);
		dev->phase = WORKER_DEVICE_DRAIN;
		break;
	case WORKER_ACT_MASK:
	case WORKER_ACT_UNMASK:
		if (act->b < dev->slots)
			worker_irq_mask(vcpu, dev, (unsigned) act->b, act->op == WORKER_ACT_MASK);
		break;
	case WORKER_ACT_MASK_ALL:
	case WORKER_ACT_UNMASK_ALL:
		worker_irq_mask_all(vcpu, dev, act->op == WORKER_ACT_MASK_ALL);
		break;
	case WORKER_ACT_ADD_VECTORS:
		add_vectors(vcpu, dev, index, act->b);
		break;
	case WORKER_ACT_MASK_CYCLE:
		dev->mask_cycle_ns = act->b;
		dev->mask_due_ns = now_ns;
		if (act->b == 0)
			worker_irq_mask(vcpu, dev, (unsigned) dev->mask_slot, false);
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
