/* SPDX-License-Identifier: MIT */
/*
 * arch.h - what differs between architectures. x86/ has all of it for a PC, arm64/ for a machine
 * with a GICv3; a build has one of them.
 *
 * Model. A machine's `struct kvm_arch` holds what only its architecture knows: interrupt
 * controllers, registers of the board, the state that <vferry/kvm.h> saves. The shared files ask
 * for it here, in the order in which a machine is made: new, vcpu, complete, state_new, power_on.
 */
#ifndef VMM_KVM_ARCH_H
#define VMM_KVM_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/device.h>
#include <vferry/error.h>
#include <vferry/kvm.h>

#include "../machine_accel.h"

struct kvm_irq_routing;
struct kvm_machine;
struct kvm_vcpu;
struct guest_boot;
struct guest_platform;

struct kvm_capability {
	int number;
	const char *name;		/* NULL: the list ends */
};

#define KVM_CAPABILITY(name_) { .number = KVM_CAP_##name_, .name = #name_ }

struct kvm_arch_facts {
	const char *name;		/* of the machine, for both sides of a migration */
	const struct kvm_capability *needed;	/* of KVM, beside what every machine needs */
	uint16_t elf_machine;		/* of programs for the guest */
	/* GSIs below `pins` are pins of interrupt controllers; messages have those above. */
	uint32_t pins;
	uint32_t pin_routes;		/* most that kvm_arch_add_routes() adds */
	bool device_ids;		/* a message is told apart by who sends it, too */
	bool loses_pending;		/* of a message that is forwarded, when its eventfd is taken away */
};

extern const struct kvm_arch_facts kvm_arch_facts;
extern const struct machine_layout kvm_arch_layout;

/* ---- making one ---- */

/* Does this KVM have what the machine needs, beyond capabilities? Asked first, then of a VM. */
int kvm_arch_probe(int kvm, struct vferry_error *err);
int kvm_arch_probe_vm(int vm, struct vferry_error *err);
/* Options that this architecture does not have: -EINVAL. */
int kvm_arch_check(const struct machine_options *options, struct vferry_error *err);
/* What is made before memory and vCPUs. Sets m->arch. */
int kvm_arch_new(struct kvm_machine *m, const struct machine_options *options,
		 struct vferry_error *err);
/* After vCPUs, interrupts and the serial port are gone. */
void kvm_arch_free(struct kvm_machine *m);
/* What the vCPU is to the guest. */
int kvm_arch_vcpu(struct kvm_vcpu *vcpu, struct vferry_error *err);
/* Every vCPU exists, none ran: what is made after them, and what power-on looks like. */
int kvm_arch_complete(struct kvm_machine *m, struct vferry_error *err);
/*
 * The library's components of this machine; freed while its descriptors are open.
 * @vcpu: all of the machine's, borrowed for the call
 */
int kvm_arch_state_new(struct kvm_machine *m, const int *vcpu, enum vferry_kvm_time time,
		       struct vferry_error *err);
void kvm_arch_state_free(struct kvm_machine *m);
/* Components of the library and of this architecture; NULL: no more. */
const struct vferry_component *kvm_arch_component(struct kvm_machine *m, size_t index);

/* ---- running ---- */

/* vCPUs and interrupt controllers as after power-on, the first vCPU at the guest's entry. */
int kvm_arch_power_on(struct kvm_machine *m, struct vferry_error *err);
/* vCPUs are about to run; @paused: they ran before, here or elsewhere, and were stopped. */
void kvm_arch_starting(struct kvm_machine *m, bool paused);
/* An exit that is of this architecture only. false: not known here either. */
bool kvm_arch_exit(struct kvm_vcpu *vcpu);
/* An access to something that the machine has beside PCI. false: nothing of it is there. */
bool kvm_arch_mmio(struct kvm_machine *m, uint64_t gpa, unsigned size, bool write, uint64_t *value);
/* Can memory that a process has be memory of a device to the guest? */
bool kvm_arch_maps_bars(const struct kvm_machine *m);
/* The guest's counter, ns. From any thread, with vCPUs running. */
uint64_t kvm_arch_counter_ns(struct kvm_machine *m);

/* ---- interrupts ---- */

/* "kernel", "split" */
const char *kvm_arch_irqchip(const struct kvm_machine *m);
/* The routes of pins, into a table that has room for facts.pin_routes more. */
void kvm_arch_add_routes(struct kvm_machine *m, struct kvm_irq_routing *table);
/* May an event of this route be on its way in KVM when the write to its eventfd has returned? */
bool kvm_arch_is_queued(const struct vferry_irq_route *route);
/*
 * How many messages go straight into vCPUs now, past their eventfds.
 * Return: with the reason, if it is 0; -ENODATA it can't be told, with the reason.
 */
int kvm_arch_count_forwarded(struct kvm_machine *m, const char **ret_reason);
/* Pins of a controller that is not KVM's. Both eventfds are borrowed. */
struct kvm_arch_pins {
	/* -EBUSY: connected already; -E2BIG. */
	int (*connect)(struct kvm_machine *m, unsigned pin, int eventfd, int resample);
	void (*disconnect)(struct kvm_machine *m, int eventfd);
	/* What was taken out of an eventfd has reached the controller. */
	void (*flush)(struct kvm_machine *m);
};
/* NULL: pins are KVM's. */
const struct kvm_arch_pins *kvm_arch_pins(const struct kvm_machine *m);
/* The serial port's interrupt. */
void kvm_arch_serial_irq(struct kvm_machine *m, bool level);

/* ---- the guest program ---- */

/* The interrupt controller, for those parts of the program that run here. */
void kvm_arch_platform(struct guest_platform *platform);
/* And what the program is told: timers, serial port, interrupt controllers. */
int kvm_arch_describe(struct kvm_machine *m, struct guest_boot *boot);

/* Can this kernel be booted here, in so much memory? */
int kvm_arch_check_kernel(const struct machine_options *options, struct vferry_error *err);
/* Into memory, and the first vCPU to where it begins. After power-on. */
int kvm_arch_boot_kernel(struct kvm_machine *m, struct vferry_error *err);

/* ---- registers that belong to the board ---- */

void kvm_arch_save(struct kvm_machine *m, struct vferry_writer *w);
bool kvm_arch_load(struct kvm_machine *m, struct vferry_reader *r);	/* false: can't be */

#endif
