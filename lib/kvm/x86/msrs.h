/* SPDX-License-Identifier: MIT */
/*
 * msrs.h - which MSRs are a vCPU's state, and moving their values.
 *
 * Model. The list is made once for a machine, of what KVM_GET_MSR_INDEX_LIST names and of what it
 * leaves out (MTRRs, machine check banks), as far as a vCPU of this host has them. It rises by
 * index. Not in it, because others move them: the TSC and TSC_DEADLINE (clock, LAPIC), EFER and the
 * APIC base (SREGS), MCG_CAP (made with the vCPU). Nor is KVM's wall clock: writing it asks KVM to
 * write the time into guest RAM, once, and that was done.
 *
 * Values from outside go only into MSRs that are in the list. KVM_SET_MSRS stops at the first one
 * that it does not take and returns how many it took; that one is named in the error.
 */
#ifndef VF_KVM_X86_MSRS_H
#define VF_KVM_X86_MSRS_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

#include "kvm/x86/cpu_image.h"

#define VF_MSR_TSC		0x10u
#define VF_MSR_APIC_BASE	0x1bu
#define VF_MSR_MCG_CAP		0x179u
#define VF_MSR_TSC_DEADLINE	0x6e0u
#define VF_MSR_EFER		0xc0000080u
#define VF_MSR_WALL_CLOCK_OLD	0x11u
#define VF_MSR_WALL_CLOCK	0x4b564d00u

struct vf_x86_msr_list {
	uint32_t count;
	uint32_t index[VF_X86_MSRS_MAX];	/* rising */
	uint32_t feature_count;
	uint32_t feature[VF_X86_MSRS_MAX];	/* those of them that say what a vCPU has; rising */
};

/** vf_x86_msr_list_probe() - Return: 0; -ENOMEM; -E2BIG more than VF_X86_MSRS_MAX; what KVM said */
int vf_x86_msr_list_probe(struct vf_x86_msr_list *list, int kvm, int vcpu,
			  struct vferry_error *err);
bool vf_x86_msr_list_has(const struct vf_x86_msr_list *list, uint32_t index);
bool vf_x86_msr_is_feature(const struct vf_x86_msr_list *list, uint32_t index);

/* One MSR. Return: 0; -EINVAL this vCPU has none, or does not take the value; -errno. */
int vf_x86_msr_get(int vcpu, uint32_t index, uint64_t *ret_value);
int vf_x86_msr_set(int vcpu, uint32_t index, uint64_t value);

/* Values of the whole list. */
int vf_x86_msrs_save(const struct vf_x86_msr_list *list, int vcpu, struct vf_x86_cpu_image *image,
		     const char *object, struct vferry_error *err);
/* @feature: those that are features, else the others. */
int vf_x86_msrs_load(const struct vf_x86_msr_list *list, int vcpu,
		     const struct vf_x86_cpu_image *image, bool feature, const char *object,
		     struct vferry_error *err);

#endif
