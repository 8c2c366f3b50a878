/* SPDX-License-Identifier: MIT */
/*
 * arm64.h - what the arm64 files of the KVM machine share.
 *
 *   map.h     addresses and interrupts
 *   arm64.c   what the machine is made of; exits
 *   cpu.c     vCPUs as after power-on; the counter
 *   gic.c     GICv3 and ITS: made, and as after power-on
 *   irq.c     routes, and where messages go
 *
 * and for a kernel in place of the guest program:
 *
 *   linux.c         kernel, initial RAM disk and device tree in memory
 *   image.c         the kernel's header
 *   device_tree.c   what the kernel is told
 */
#ifndef VMM_KVM_ARM64_ARM64_H
#define VMM_KVM_ARM64_ARM64_H

#include "../kvm.h"
#include "map.h"

struct arm64_gic;

struct kvm_arch {
	struct vferry_kvm_arm64 *state;
	struct arm64_gic *gic;
	struct kvm_vcpu_init init;	/* of every vCPU, but for who is off at first */
	bool coherent;			/* arm64_cpu_is_coherent() */
	bool forwards;			/* messages may go straight into vCPUs */
	int gic_state;			/* debugfs: what KVM tells of its GIC; -1: not to be had */
	atomic_uint_fast64_t counter_offset;	/* of the host's counter, when it ran last */
};

/* ---- cpu.c ---- */

int arm64_cpu_choose(struct kvm_machine *m, struct vferry_error *err);
/* All as after power-on; the first at the guest's entry, the others off. */
int arm64_cpu_power_on(struct kvm_machine *m, struct vferry_error *err);
/* After power-on: where the first begins, and with what in x0. */
int arm64_cpu_enter_at(struct kvm_machine *m, uint64_t pc, uint64_t x0, struct vferry_error *err);
/* Do the guest's accesses to device memory go through the caches? */
bool arm64_cpu_is_coherent(const struct kvm_machine *m);
/* Does the physical timer move with the machine? */
bool arm64_cpu_has_physical_timer(const struct kvm_machine *m);

/* ---- gic.c ---- */

/* Every vCPU exists, none ran. */
int arm64_gic_new(struct kvm_machine *m, struct arm64_gic **ret_gic, struct vferry_error *err);
struct arm64_gic *arm64_gic_free(struct arm64_gic *gic);
/* The devices' descriptors, borrowed. */
int arm64_gic_fd(const struct arm64_gic *gic);
int arm64_gic_its_fd(const struct arm64_gic *gic);
/* As after power-on; no vCPU is in any ioctl. */
int arm64_gic_reset(struct arm64_gic *gic, struct vferry_error *err);

/* ---- irq.c ---- */

/* May this host's KVM forward messages at all? */
bool arm64_irq_host_forwards(void);
/* What KVM tells of this VM's GIC, which is there, or -1. From the thread that made the VM. */
int arm64_irq_open_state(const struct kvm_machine *m);

#endif
