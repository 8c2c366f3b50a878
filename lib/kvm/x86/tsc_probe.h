/* SPDX-License-Identifier: MIT */
/*
 * tsc_probe.h - can the TSC that a guest sees be moved on this host?
 *
 * KVM_VCPU_TSC_OFFSET may be accepted and yet have no effect, where a guest's RDTSC is executed by
 * the processor as it is. No capability tells. So a vCPU of a VM of its own reads its TSC once, in
 * ring 3, with an offset that is far away from 0.
 */
#ifndef VF_KVM_X86_TSC_PROBE_H
#define VF_KVM_X86_TSC_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

/**
 * vf_x86_tsc_probe() - false also if the offset can't be set, or the vCPU does not come that far
 * Return: 0; -errno of making the VM.
 */
int vf_x86_tsc_probe(int kvm, bool *ret_moves, struct vferry_error *err);

/* Is what a guest saw between two looks at the host's TSC the host's plus @offset? */
bool vf_x86_tsc_moved(uint64_t before, uint64_t seen, uint64_t after, uint64_t offset);

#endif
