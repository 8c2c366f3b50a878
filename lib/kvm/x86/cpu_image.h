/* SPDX-License-Identifier: MIT */
/*
 * cpu_image.h - what an x86-64 vCPU is made of, and its section.
 *
 * Section "state" of cpu/N, version 1, little-endian:
 *
 *	u32 TSC frequency, kHz
 *	u64 MCG_CAP
 *	u32 entries of CPUID, up to 256
 *	each: u32 function | u32 index | u32 flags | u32 eax | u32 ebx | u32 ecx | u32 edx
 *	seven register sets, each: u32 bytes | bytes
 *		EVENTS 64, MP_STATE 4, REGS 144, SREGS2 320, XCRS 392, DEBUGREGS 128,
 *		XSAVE 4096 or more, a multiple of 8
 *	u32 MSRs, up to 1024
 *	each, rising: u32 index | u64 value
 *
 * A register set is KVM's structure of that name (Documentation/virt/kvm/api.rst), which has fixed
 * offsets, no holes, and is little-endian like the processor. Its length is what must be there; a
 * longer XSAVE than this host's is refused, a shorter one is filled up with zeros.
 */
#ifndef VF_KVM_X86_CPU_IMAGE_H
#define VF_KVM_X86_CPU_IMAGE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/stream.h>

#define VF_X86_CPUID_MAX	256u
#define VF_X86_MSRS_MAX		1024u
#define VF_X86_XSAVE_MIN	4096u
#define VF_X86_XSAVE_MAX	65536u

struct vf_x86_msr {
	uint32_t index;
	uint64_t value;
};

struct vf_x86_cpu_image {
	uint32_t tsc_khz;
	uint64_t mcg_cap;
	struct kvm_cpuid_entry2 *cpuid;		/* VF_X86_CPUID_MAX of them */
	uint32_t cpuid_count;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	uint8_t *xsave;				/* xsave_bytes of them */
	uint32_t xsave_bytes;			/* this host's */
	struct vf_x86_msr *msrs;		/* VF_X86_MSRS_MAX of them */
	uint32_t msr_count;
};

/** vf_x86_cpu_image_init() - all zero. Return: 0; -ENOMEM. */
int vf_x86_cpu_image_init(struct vf_x86_cpu_image *image, uint32_t xsave_bytes);
void vf_x86_cpu_image_done(struct vf_x86_cpu_image *image);

/* Most bytes of a section that a host with this size of XSAVE can read. */
uint32_t vf_x86_cpu_image_bytes(uint32_t xsave_bytes);
void vf_x86_cpu_image_write(const struct vf_x86_cpu_image *image, struct vferry_writer *w);
/** vf_x86_cpu_image_read() - Return: 0; -EINVAL damaged, or more than fits this host. */
int vf_x86_cpu_image_read(struct vf_x86_cpu_image *image, struct vferry_reader *r,
			  const char *object, struct vferry_error *err);

/* CPUID alone, as in the section: count and entries. Also part of the identity. */
void vf_x86_cpuid_write(const struct kvm_cpuid_entry2 *entries, uint32_t count,
			struct vferry_writer *w);
/** vf_x86_cpuid_read() - into VF_X86_CPUID_MAX entries. Return: their number; -EINVAL. */
int vf_x86_cpuid_read(struct kvm_cpuid_entry2 *entries, struct vferry_reader *r);

#endif
