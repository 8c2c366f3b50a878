/* SPDX-License-Identifier: MIT */
/*
 * worker_driver.h - what the files of the self-checking guest's accel driver share.
 *
 *   worker_device.c   finding and setting up a device, its step, resets, what it is told to do
 *   worker_job.c      jobs: made, submitted, verified, watched
 *   worker_irq.c      interrupts: enabled, masked, taken
 */
#ifndef GUEST_WORKER_DRIVER_H
#define GUEST_WORKER_DRIVER_H

#include "guest/worker.h"

#define PCI_COMMAND		0x04u
#define COMMAND_MEMORY		0x0002u
#define COMMAND_MASTER		0x0004u
#define COMMAND_NO_INTX		0x0400u

static inline uint32_t worker_reg_read(struct guest_vcpu *vcpu, const struct worker_device *dev,
				       uint32_t reg)
{
	return (uint32_t) guest_read(vcpu, dev->bar[0] + reg, 4);
}

static inline void worker_reg_write(struct guest_vcpu *vcpu, const struct worker_device *dev,
				    uint32_t reg, uint32_t value)
{
	guest_write(vcpu, dev->bar[0] + reg, 4, value);
}

static inline uint32_t worker_command_read(struct guest_vcpu *vcpu, const struct worker_device *dev)
{
	return worker_config_read(vcpu, dev->pci_slot, PCI_COMMAND, 2);
}

static inline void worker_command_write(struct guest_vcpu *vcpu, const struct worker_device *dev,
					uint32_t value)
{
	worker_config_write(vcpu, dev->pci_slot, PCI_COMMAND, 2, value);
}

/* ---- jobs ---- */

/* Starts a device's ring, empty. */
void worker_ring_start(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index);
/* One reset more, or its end: odd while the device can be written to by its peers. */
void worker_resets_count(struct guest_vcpu *vcpu, unsigned index);
/* What a reset took with it. */
void worker_jobs_void(struct worker *w, struct worker_device *dev);
/* Return: false, there is no room in the ring. */
bool worker_job_submit(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		       uint64_t now_ns);
/* Under way, as far as the guest knows, and done. */
bool worker_job_done(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);
/* The job is done, and the guest knows. */
void worker_job_complete(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);
/* Is it late? */
void worker_job_watch(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		      uint64_t now_ns);

/* ---- interrupts ---- */

/* In the device's mode, all slots' vectors unmasked. */
void worker_irqs_enable(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index);
/* MSI-X: one vector more, while the others are enabled. */
void worker_irq_add(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index);
void worker_irq_mask(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned s, bool masked);
void worker_irq_mask_all(struct guest_vcpu *vcpu, struct worker_device *dev, bool masked);
/* One vector after the other is masked for a while. */
void worker_irq_mask_cycle(struct guest_vcpu *vcpu, struct worker_device *dev, uint64_t now_ns);

#endif
