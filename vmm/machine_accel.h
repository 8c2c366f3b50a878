/* SPDX-License-Identifier: MIT */
/*
 * machine_accel.h - what an accelerator does for a machine, and what a machine is made of.
 *
 * An accelerator runs vCPUs and has the interrupt controller; RAM, PCI host, devices and interrupt
 * plan are the machine's and the same for all. A new one is one more table in machine.c.
 *
 * Threads: as machine.h says; create, destroy and component by the owner only.
 */
#ifndef VMM_MACHINE_ACCEL_H
#define VMM_MACHINE_ACCEL_H

#include <stdatomic.h>

#include "machine.h"
#include "pci_host.h"

#define MACHINE_RAM_RANGES 2u

/* RAM fills the ranges in their order; each that is used is one block. */
struct machine_layout {
	struct {
		uint64_t gpa;
		uint64_t bytes_max;
	} ram[MACHINE_RAM_RANGES];
	struct pci_host_config pci;
	/* INTx of slot n is pin intx_first + n % intx_pins of the interrupt controller. */
	uint32_t intx_first, intx_pins;
};

struct machine_accel {
	const char *name;
	const char *summary;
	const struct machine_layout *layout;
	/* 0 if it can be used here; else why not. `auto` takes the first that can. */
	int (*probe)(const struct machine_options *options, struct vferry_error *err);
	/* What both sides of a migration must agree on. */
	void (*describe)(const struct machine *machine, char *to, size_t size);
	/* RAM and PCI host exist, devices do not. Sets machine->accel_data. */
	int (*create)(struct machine *machine, const struct machine_options *options,
		      struct vferry_error *err);
	void (*destroy)(struct machine *machine);	/* devices are gone */
	/* A descriptor that KVM is told through which devices its guest has, for vferry_dma_space; the
	 * caller closes it. -1: there is none. May be NULL. */
	int (*open_vfio)(struct machine *machine);
	/* Where devices' interrupts go. */
	void (*get_sink)(struct machine *machine, struct vferry_irq_sink *ret_sink);
	int (*start)(struct machine *machine, struct vferry_error *err);
	int (*stop)(struct machine *machine, struct vferry_error *err);
	/* vCPUs and interrupt controller, stopped; the devices were reset before. */
	int (*reset)(struct machine *machine, struct vferry_error *err);
	void (*throttle)(struct machine *machine, unsigned percent);
	int (*command)(struct machine *machine, const char *text, char *reply, size_t reply_size,
		       struct vferry_error *err);
	/* As machine_console_put(); may be NULL. */
	size_t (*console_put)(struct machine *machine, const void *bytes, size_t count);
	void (*verdict)(struct machine *machine, struct machine_verdict *ret_verdict);
	/* running, powered_off, reset_wanted, throttle_percent, counter_ns, last_stop_ns, starts, stops, guest, gic,
	 * irqchip, dirty */
	void (*get_info)(struct machine *machine, struct machine_info *ret_info);
	bool (*is_loaded)(struct machine *machine);
	/* vCPUs, clock, interrupt controller; they live as long as the machine. NULL ends. */
	const struct vferry_component *(*component)(struct machine *machine, size_t index);
	/* Names of its guest programs; NULL ends. May be NULL. */
	const char *(*guest)(size_t index, const char **ret_summary);
};

struct machine_slot {
	struct machine *machine;
	struct vferry_device *device;
	unsigned slot;
	bool kernel;			/* a device of the kernel's */
	char name[160];		/* for people; there before the device is */
	atomic_bool failed;	/* the host told of an error, since the machine was last started */
	atomic_bool requested;	/* the host wants it back, and that was told */
};

struct machine {
	const struct machine_accel *accel;
	void *accel_data;
	struct machine_callbacks callbacks;
	void *user;
	unsigned cpus;
	bool hugetlb;
	bool paused;
	struct vferry_ram *ram;
	struct pci_host *pci;
	struct vferry_irq_plan *irqs;
	struct vferry_dma_space *space;	/* of kernel devices; NULL: it has none */
	int kvm_vfio;			/* owned; -1 = none */
	struct machine_slot slot[MACHINE_DEVICES_MAX];
	size_t slots;
};

extern const struct machine_accel machine_accel_kvm;
extern const struct machine_accel machine_accel_soft;

/* What both sides of a migration must agree on. */
void machine_describe(const struct machine *machine, char *to, size_t size);

#endif
