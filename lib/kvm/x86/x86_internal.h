/* SPDX-License-Identifier: MIT */
/*
 * x86_internal.h - the inside of struct vferry_kvm_x86, for the files of this folder.
 *
 *	x86.c		the object, which components there are
 *	cpu.c		cpu/N: identity, save, load		cpu_image.h	its section
 *	cpuid.h, msrs.h	what it is made of and compared by
 *	lapic.c		lapic/N
 *	chips.c		pic, ioapic, pit
 *	clock.c		clock					time.h		its arithmetic
 *	tsc_probe.h	can this host's TSC be moved?
 */
#ifndef VF_KVM_X86_INTERNAL_H
#define VF_KVM_X86_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/kvm.h>

#include "kvm/x86/cpu_image.h"
#include "kvm/x86/cpuid.h"
#include "kvm/x86/msrs.h"
#include "kvm/x86/time.h"

#define VF_X86_VENDOR_BYTES	12u
#define VF_X86_BOOT_ID_BYTES	64u

/* What is known of a vCPU without asking it. */
struct vf_x86_cpu {
	struct vferry_kvm_x86 *x86;
	int fd;
	char name[VFERRY_NAME_BYTES];		/* "cpu/0" */
	char lapic_name[VFERRY_NAME_BYTES];	/* "lapic/0" */
	struct kvm_cpuid_entry2 *cpuid;		/* VF_X86_CPUID_MAX; changed by the load step id */
	uint32_t cpuid_count;
	uint32_t tsc_khz;			/* likewise */
	uint64_t mcg_cap;
};

struct vferry_kvm_x86 {
	int kvm, vm;
	enum vferry_kvm_irqchip irqchip;
	bool pit;
	struct vf_x86_cpu *cpus;
	uint32_t cpu_count;

	/* Of the host, and never changed. */
	uint32_t xsave_bytes;
	bool tsc_scales;			/* a vCPU may have another frequency than the host */
	bool tsc_moves;				/* KVM_VCPU_TSC_OFFSET has an effect */
	char boot_id[VF_X86_BOOT_ID_BYTES];	/* the same host since the same boot */
	char vendor[VF_X86_VENDOR_BYTES];
	struct kvm_cpuid_entry2 *supported;	/* KVM_GET_SUPPORTED_CPUID, VF_X86_CPUID_MAX */
	uint32_t supported_count;
	struct vf_x86_msr_list msrs;

	/* Of the machine's time: written by the clock's steps, which never run at one time. */
	enum vferry_kvm_time time;
	struct vf_x86_time stopped;		/* what the last save found; for undo */
	bool has_stopped;

	struct vferry_section_desc cpu_section;
	struct vferry_section_desc clock_section;
	struct vferry_component *components;
	size_t component_count;
};

/* What each file has of steps and sections. */
extern const struct vferry_step_desc vf_x86_cpu_steps[];
extern const size_t vf_x86_cpu_step_count;
extern const struct vferry_step_desc vf_x86_lapic_steps[];
extern const size_t vf_x86_lapic_step_count;
extern const struct vferry_section_desc vf_x86_lapic_section;
extern const struct vferry_step_desc vf_x86_clock_steps[];
extern const size_t vf_x86_clock_step_count;

/* Their users are the struct vf_x86_cpu (cpu/N, lapic/N) or the struct vferry_kvm_x86. */
int vf_x86_cpu_identity(void *user, struct vferry_writer *w, struct vferry_error *err);
int vf_x86_cpu_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons);
int vf_x86_clock_identity(void *user, struct vferry_writer *w, struct vferry_error *err);
int vf_x86_clock_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons);

/* pic, ioapic, and pit if there is one. Return: how many components were described. */
size_t vf_x86_chips_describe(struct vferry_kvm_x86 *x86, struct vferry_component *to);

/** vf_x86_cpu_probe() - what is to be known of a vCPU that never ran */
int vf_x86_cpu_probe(struct vf_x86_cpu *cpu, struct vferry_error *err);

/* The vCPU's TSC, and by how much it is ahead of the host's. Return: 0; -errno. */
int vf_x86_tsc_get(int vcpu, uint64_t *ret_tsc);
int vf_x86_tsc_offset_get(int vcpu, uint64_t *ret_offset);
int vf_x86_tsc_offset_set(int vcpu, uint64_t offset);

#endif
