/* SPDX-License-Identifier: MIT */
/*
 * cpuid.h - does this host have what a guest was told that it has?
 *
 * A feature bit of the source's vCPU is had here if KVM_GET_SUPPORTED_CPUID shows it, or the vCPU
 * that is there already: what KVM adds on its own, or where CPUID is not KVM's to change (a guest
 * that executes it natively), is in no list of supported features. Left out are bits that follow
 * from a vCPU's state (OSXSAVE, OSPKE) and those that describe topology.
 */
#ifndef VF_KVM_X86_CPUID_H
#define VF_KVM_X86_CPUID_H

#include <linux/kvm.h>
#include <stdint.h>

#include <vferry/component.h>

/* A table of CPUID; entries are borrowed. */
struct vf_x86_cpuid {
	const struct kvm_cpuid_entry2 *entries;
	uint32_t count;
};

/* @entries: VF_X86_CPUID_MAX (cpu_image.h). @request: KVM_GET_CPUID2, KVM_GET_SUPPORTED_CPUID. */
int vf_x86_cpuid_get(int fd, unsigned long request, struct kvm_cpuid_entry2 *entries,
		     uint32_t *ret_count);
int vf_x86_cpuid_set(int vcpu, const struct kvm_cpuid_entry2 *entries, uint32_t count);

const struct kvm_cpuid_entry2 *vf_x86_cpuid_find(const struct vf_x86_cpuid *cpuid,
						 uint32_t function, uint32_t index);
/* VMX or SVM: a guest that may run guests of its own. */
bool vf_x86_cpuid_nested(const struct vf_x86_cpuid *cpuid);
/* Adds a reason for each register in which the source has bits that neither table here has. */
void vf_x86_cpuid_check(const struct vf_x86_cpuid *source, const struct vf_x86_cpuid *supported,
			const struct vf_x86_cpuid *own, const char *object,
			struct vferry_reasons *reasons);

#endif
