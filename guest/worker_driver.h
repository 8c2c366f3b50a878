/* SPDX-License-Identifier: MIT */
/*
 * worker_driver.h - what the files of the self-checking guest's drivers share.
 *
 *   worker_device.c   finding and setting up a device, its step, resets, what it is told to do
 *   worker_job.c      jobs: submitted, noticed, watched
 *   worker_irq.c      interrupts: enabled, masked, taken
 *   worker_accel.c    kind of device: accel
 *   worker_edu.c      and edu
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

/* ---- kinds of devices ---- */

struct worker_kind {
	uint32_t id;			/* of PCI: vendor | device << 16 */
	enum worker_irq_mode best_mode;	/* in place of those above it */
	bool is_peer;			/* its BAR2 can be written to by accel devices */
	/* As after power-on, and quiet. false: it is not what it says. */
	bool (*set_up)(struct guest_vcpu *vcpu, struct worker_device *dev);
	/* Interrupts are enabled: jobs may come. NULL: nothing is to be done. */
	void (*start)(struct guest_vcpu *vcpu, struct worker_device *dev, unsigned index);
	/* The device's own reset. NULL: it has none. */
	void (*reset)(struct guest_vcpu *vcpu, struct worker_device *dev);
	/* Jobs at one time that can be told apart in the device's mode. */
	uint64_t (*slots_max)(struct guest_vcpu *vcpu, const struct worker_device *dev);
	/* Chooses the slot's next job, of slot->seed. false: not now. Then the device is told. */
	bool (*prepare)(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);
	void (*begin)(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);
	/* The job that is under way is done; how well is counted. */
	bool (*done)(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);
	void (*judge)(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s);
	/* Nothing is under way: has it heard of each job as often as it was told? NULL: it can't say. */
	void (*account)(struct guest_vcpu *vcpu, struct worker *w, unsigned index);
	/* INTx: slots with a cause, a bit each. They have none then, and the line is down. */
	uint32_t (*take_causes)(struct guest_vcpu *vcpu, struct worker_device *dev);
};

extern const struct worker_kind worker_kind_accel, worker_kind_edu;

const struct worker_kind *worker_kind_of(struct guest_vcpu *vcpu, unsigned index);

/* ---- jobs ---- */

/* A device's part of guest RAM, and in it a page to read from and one to write to. */
uint64_t worker_area(struct guest_vcpu *vcpu, unsigned device);
uint64_t worker_source_buffer(struct guest_vcpu *vcpu, unsigned device, unsigned slot);
uint64_t worker_target_buffer(struct guest_vcpu *vcpu, unsigned device, unsigned slot);
/* Where its resets are counted: worker_resets_count(). */
uint64_t worker_resets_gpa(struct guest_vcpu *vcpu, unsigned device);
/* One reset more, or its end: odd while the device can be written to by its peers. */
void worker_resets_count(struct guest_vcpu *vcpu, unsigned index);
/* What a reset took with it. */
void worker_jobs_void(struct worker *w, struct worker_device *dev);
/* Return: false, its kind has no room for a job now. */
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
