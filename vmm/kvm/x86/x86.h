/* SPDX-License-Identifier: MIT */
/*
 * x86.h - what the x86-64 files of the KVM machine share.
 *
 *   x86.c       the address map; what is made before vCPUs; ports and other exits
 *   cpuid.c     what the vCPUs say of themselves
 *   power_on.c  registers and interrupt controllers as after power-on
 *   irq.c       routes of pins, and where messages go
 *   split.c     a split irqchip: ioapic.c, an IOAPIC, and pins.c, from eventfds to its pins
 *
 * and for a kernel in place of the guest program:
 *
 *   linux.c     the kernel, its initial RAM disk and what it is told, in memory; the first vCPU
 *   bzimage.c   the kernel's header
 *   acpi.c      ACPI tables, of which dsdt.asl is one
 */
#ifndef VMM_KVM_X86_X86_H
#define VMM_KVM_X86_X86_H

#include "../kvm.h"
#include "ioapic.h"

/* The physical address space: RAM from 0, with a hole below 4 GiB; see kvm_arch_layout. */
#define X86_RAM_LOW_BYTES	0x80000000ull
#define X86_RAM_HIGH_GPA	0x100000000ull
#define X86_RAM_HIGH_BYTES	0x7e00000000ull		/* as far as window64 */
#define X86_ECAM		0xb0000000ull
#define X86_WINDOW32		0xc0000000ull
#define X86_WINDOW32_BYTES	0x3ec00000ull		/* as far as the IOAPIC */
#define X86_WINDOW64		0x8000000000ull
#define X86_WINDOW64_BYTES	0x4000000000ull
#define X86_IDENTITY_MAP	0xfffbc000ull		/* Intel: KVM's, for real mode */
#define X86_TSS			0xfffbd000ull

#define X86_INTX_FIRST		16u			/* IOAPIC pins */
#define X86_INTX_PINS		8u
#define X86_SERIAL_PORT		0x3f8u
#define X86_SERIAL_IRQ		4u
#define X86_LAPIC_TIMER_HZ	1000000000ull		/* KVM's APIC bus */

#define X86_IOAPIC		0xfec00000ull

#define X86_PORT_SLEEP		0x600u
#define X86_PORT_RESET		0xcf9u
#define X86_RESET_NOW		0x06u

struct x86_power_on;
struct x86_pins;

struct kvm_arch {
	struct vferry_kvm_x86 *state;
	bool split;			/* LAPICs are KVM's, the IOAPIC is ours */
	struct ioapic *ioapic;		/* split irqchip, else NULL */
	struct x86_pins *pins;		/* split irqchip, else NULL */
	struct vferry_component ioapic_component;
	uint32_t config_address;	/* port 0xcf8; of the vCPUs' threads while they run */
	pthread_mutex_t config_lock;	/* protects config_address */
	struct x86_power_on *power_on;
};

/* ---- cpuid.c ---- */

int x86_cpuid_set(struct kvm_vcpu *vcpu, struct vferry_error *err);

/* ---- split.c ---- */

/* The messages of the IOAPIC's pins. */
void x86_split_add_routes(struct kvm_machine *m, struct kvm_irq_routing *table);
/* KVM_CAP_SPLIT_IRQCHIP, an IOAPIC, its pins and its component. */
int x86_split_new(struct kvm_machine *m, struct vferry_error *err);
void x86_split_free(struct kvm_arch *arch);

/* ---- power_on.c ---- */

/* Every vCPU exists, none ran. */
int x86_power_on_remember(struct kvm_machine *m, struct x86_power_on **ret, struct vferry_error *err);
int x86_power_on_apply(struct kvm_machine *m, const struct x86_power_on *p, struct vferry_error *err);
struct x86_power_on *x86_power_on_free(struct x86_power_on *p);
bool x86_msr_set(int vcpu, uint32_t index, uint64_t value);	/* false: this KVM does not take it */

#endif
