/* SPDX-License-Identifier: MIT */
/*
 * vferry/kvm.h - the state of a machine that KVM runs: vCPUs, interrupt controllers and clocks of
 * an x86-64 or an arm64 machine, and guest RAM as KVM's memory slots with their dirty pages.
 *
 * The embedder makes the VM and its vCPUs and runs them; the library is handed the descriptors. It
 * makes components out of them, whose steps read and write state with KVM's own calls while no vCPU
 * runs, and a dirty source of the RAM. So a VMM embeds it whatever its run loop looks like.
 *
 * An order that works on x86-64:
 *   1. /dev/kvm, KVM_CREATE_VM, KVM_SET_TSS_ADDR, KVM_CREATE_IRQCHIP (or KVM_CAP_SPLIT_IRQCHIP),
 *      KVM_CREATE_PIT2
 *   2. vferry_kvm_memory_new(): memory slots; capabilities that are there before vCPUs only
 *   3. KVM_CREATE_VCPU, KVM_SET_CPUID2; vferry_kvm_memory_add_vcpu() for each
 *   4. vferry_kvm_x86_new(), before the first KVM_RUN; its components go into each session
 * and on arm64:
 *   1. /dev/kvm, KVM_CREATE_VM
 *   2. vferry_kvm_memory_new(), before any other memory slot: with rings, KVM wants it so
 *   3. KVM_CREATE_VCPU, KVM_ARM_VCPU_INIT (and _FINALIZE); vferry_kvm_memory_add_vcpu() for each
 *   4. KVM_CREATE_DEVICE: a VGICv3, then each ITS; their addresses, and KVM_DEV_ARM_VGIC_CTRL_INIT
 *      of each. A KVM_RUN before that is complete ends a VM for good.
 *   5. vferry_kvm_arm64_new(), before the first KVM_RUN; its components go into each session
 *
 * Components and their steps, ordered by the rules of <vferry/order.h>; x86-64:
 *
 *   cpu/N     save  state         load  id (CPUID, TSC frequency, MSRs that say what there is),
 *                                       sregs (SREGS2, MSRs), registers (all others)
 *   lapic/N   save  state         load  state, deadline
 *   pic, ioapic, pit              load  state                    (irqchip in the kernel only)
 *   clock     save  time          load  time       undo  time
 *
 * arm64:
 *
 *   cpu/N     save  state         load  id (MPIDR, ID and firmware registers), registers
 *   gic, its/N                    as in <vferry/irqchip.h>
 *   counter   save  time          load  time       undo  time
 *
 * Threads: as <vferry/component.h> says. The embedder's stop sees to it that no vCPU is in KVM_RUN
 * while a step of these components runs, and that pending MMIO and PIO are completed (KVM_RUN with
 * immediate_exit, on the vCPU's own thread) before the stop returns. Nothing here calls KVM_RUN on
 * the embedder's vCPUs.
 */
#ifndef VFERRY_KVM_H
#define VFERRY_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/error.h>
#include <vferry/ram.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFERRY_KVM_CPUS_MAX 240u	/* two components each on x86-64, and a session has 512 */

/*
 * Does the guest's time (TSC and KVM clock, or the counter) go on in the pause of a migration, from
 * the save of the clock to the start on the other side, or to the undo? What the embedder's own
 * stops do to time is the embedder's affair. The source's choice counts.
 */
enum vferry_kvm_time {
	VFERRY_KVM_TIME_RUNNING = 0,	/* yes: the guest sees the pause as a gap */
	VFERRY_KVM_TIME_PAUSED = 1,	/* no: on x86-64 that needs a TSC that can be moved */
};

/* ---- vCPUs, interrupt controllers, clocks: x86-64 ---- */

struct vferry_kvm_x86;

enum vferry_kvm_irqchip {
	VFERRY_KVM_IRQCHIP_KERNEL = 0,	/* KVM_CREATE_IRQCHIP */
	VFERRY_KVM_IRQCHIP_SPLIT = 1,	/* LAPICs in the kernel; IOAPIC, PIC and PIT are the VMM's */
};

struct vferry_kvm_x86_config {
	uint32_t size;
	int kvm;		/* /dev/kvm; this and the others are borrowed while the object lives */
	int vm;
	const int *vcpu;	/* @cpu_count descriptors, vCPU 0 first; copied */
	uint32_t cpu_count;	/* 1..VFERRY_KVM_CPUS_MAX */
	enum vferry_kvm_irqchip irqchip;
	bool pit;		/* KVM_CREATE_PIT2 was called; not with a split irqchip */
	enum vferry_kvm_time time;
};

/**
 * vferry_kvm_x86_probe() - can this host's KVM save and load x86-64 machines? @kvm: /dev/kvm
 * Return: 0; -ENOTSUP and what it lacks. vferry_kvm_x86_new() asks for the same, and more.
 */
int vferry_kvm_x86_probe(int kvm, struct vferry_error *err);

/**
 * vferry_kvm_x86_new() - after each vCPU got its CPUID, before the first KVM_RUN
 *
 * Reads what the other side must match (CPUID, which MSRs there are, sizes, TSC frequency), since
 * of a vCPU that runs nothing can be read. Whether this host's TSC can be moved is tried out once,
 * on a VM of one vCPU that lives for as long as the call.
 * Return: 0; -EINVAL bad config, or one that is not what the descriptors are; -ENOTSUP this host or
 * this guest can't be migrated as configured, and the error says why; -ENOMEM; what KVM returned.
 */
int vferry_kvm_x86_new(const struct vferry_kvm_x86_config *config, struct vferry_kvm_x86 **ret_x86,
		       struct vferry_error *err);
/* After the sessions that have its components. NULL is fine; returns NULL. */
struct vferry_kvm_x86 *vferry_kvm_x86_free(struct vferry_kvm_x86 *x86);

size_t vferry_kvm_x86_component_count(const struct vferry_kvm_x86 *x86);
/** vferry_kvm_x86_component() - for vferry_session_add_component(); borrowed. NULL: no such. */
const struct vferry_component *vferry_kvm_x86_component(const struct vferry_kvm_x86 *x86,
							size_t index);

/* ---- vCPUs, interrupt controller, counter: arm64 ---- */

struct vferry_kvm_arm64;

struct vferry_kvm_arm64_config {
	uint32_t size;
	int kvm;		/* /dev/kvm; this and the others are borrowed while the object lives */
	int vm;
	const int *vcpu;	/* @cpu_count descriptors, vCPU 0 first; copied */
	uint32_t cpu_count;	/* 1..VFERRY_KVM_CPUS_MAX */
	uint32_t ipa_bits;	/* of guest addresses, as KVM_CREATE_VM was told; 0: 40 */
	int gic;		/* KVM_DEV_TYPE_ARM_VGIC_V3, initialised */
	const int *its;		/* @its_count of KVM_DEV_TYPE_ARM_VGIC_ITS, initialised; copied */
	uint32_t its_count;	/* up to VFERRY_GIC_ITS_MAX of <vferry/irqchip.h>, may be 0 */
	enum vferry_kvm_time time;
	/* As in struct vferry_gic_ops. NULL: nothing is ever forwarded. */
	int (*release)(void *user, struct vferry_error *err);
	void *user;
};

/**
 * vferry_kvm_arm64_probe() - can this host's KVM save and load arm64 machines? @kvm: /dev/kvm
 * Return: 0; -ENOTSUP and what it lacks. vferry_kvm_arm64_new() asks for the same, and more.
 */
int vferry_kvm_arm64_probe(int kvm, struct vferry_error *err);

/**
 * vferry_kvm_arm64_new() - after vCPUs, GIC and ITSs were initialised, before the first KVM_RUN
 *
 * Reads what the other side must match (registers, features, sizes, addresses, the counter's
 * frequency), since a vCPU that runs can't be read, nor can the GIC meanwhile. vCPUs have the
 * features that their KVM_ARM_VCPU_INIT chose; a guest with memory tags (MTE) or with guests of its
 * own (EL2) is refused. Their registers are those that KVM_GET_REG_LIST names.
 *
 * Time: CNTVCT goes on, or stands still, as @time says. CNTPCT too where KVM can move it (from Linux
 * 6.4 on). An older one always shows the guest the host's, and neither gives nor takes the EL1
 * physical timer: a guest that uses that instead of the virtual one loses what it had set, and no
 * call tells.
 * Return: 0; -EINVAL bad config, or one that is not what the descriptors are; -ENOTSUP this host or
 * this guest can't be migrated as configured, and the error says why; -ENOMEM; what KVM returned.
 */
int vferry_kvm_arm64_new(const struct vferry_kvm_arm64_config *config,
			 struct vferry_kvm_arm64 **ret_arm64, struct vferry_error *err);
/* After the sessions that have its components. NULL is fine; returns NULL. */
struct vferry_kvm_arm64 *vferry_kvm_arm64_free(struct vferry_kvm_arm64 *arm64);

size_t vferry_kvm_arm64_component_count(const struct vferry_kvm_arm64 *arm64);
/** vferry_kvm_arm64_component() - for vferry_session_add_component(); borrowed. NULL: no such. */
const struct vferry_component *vferry_kvm_arm64_component(const struct vferry_kvm_arm64 *arm64,
							  size_t index);

/* ---- memory slots and dirty pages: any KVM ---- */

struct vferry_kvm_memory;

/*
 * How KVM says which pages were written. Guests lose about as much by one as by the other. The log
 * costs with the size of RAM (32 KiB for each GiB in every round), rings with what was written; the
 * log asks nothing of the run loop, and no vCPU ever waits because it is full.
 */
enum vferry_kvm_dirty {
	VFERRY_KVM_DIRTY_AUTO = 0,	/* the log, which every KVM has */
	VFERRY_KVM_DIRTY_LOG = 1,	/* a bitmap of each slot */
	VFERRY_KVM_DIRTY_RING = 2,	/* a ring of each vCPU */
};

struct vferry_kvm_memory_config {
	uint32_t size;
	int vm;				/* borrowed while the object lives */
	struct vferry_ram *ram;		/* borrowed; its blocks are complete, and are not added to */
	uint32_t slot_first;		/* block n is slot slot_first + n, of address space 0 */
	enum vferry_kvm_dirty dirty;
	uint32_t ring_entries;		/* of each vCPU's ring, a power of two; 0: 16384 */
};

/**
 * vferry_kvm_memory_new() - one memory slot for each block, and a dirty source of the RAM
 *
 * Before any vCPU is made: rings and the log's mode can't be chosen later. On arm64 rings come with
 * a log for what KVM itself writes, and that before any memory slot.
 * Return: 0; -EINVAL bad config; -ENOTSUP this KVM has no such way; -ENOMEM; what KVM returned.
 */
int vferry_kvm_memory_new(const struct vferry_kvm_memory_config *config,
			  struct vferry_kvm_memory **ret_memory, struct vferry_error *err);
/* Takes slots and dirty source away. No session is active, no vCPU runs. NULL is fine; returns NULL. */
struct vferry_kvm_memory *vferry_kvm_memory_free(struct vferry_kvm_memory *memory);

/* The way that was chosen: LOG or RING, never AUTO. */
enum vferry_kvm_dirty vferry_kvm_memory_dirty(const struct vferry_kvm_memory *memory);

/**
 * vferry_kvm_memory_add_vcpu() - each vCPU, once it is made and before it runs; @vcpu is borrowed
 *
 * They are numbered from 0, in the order of the calls. With the log there is nothing to do.
 * Return: the number; -E2BIG more than VFERRY_KVM_CPUS_MAX; -errno of mapping the ring.
 */
int vferry_kvm_memory_add_vcpu(struct vferry_kvm_memory *memory, int vcpu,
			       struct vferry_error *err);
/**
 * vferry_kvm_memory_ring_full() - makes room in the rings, on KVM_EXIT_DIRTY_RING_FULL
 * @vcpu: its number. From any thread, with other vCPUs running; what it takes out is reported by
 * the next collection.
 * Return: 0; -EINVAL no such vCPU, or there are no rings; what KVM returned.
 */
int vferry_kvm_memory_ring_full(struct vferry_kvm_memory *memory, uint32_t vcpu,
				struct vferry_error *err);

#ifdef __cplusplus
}
#endif
#endif
