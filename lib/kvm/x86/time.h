/* SPDX-License-Identifier: MIT */
/*
 * time.h - what the clocks of a machine showed at one moment, and what they are to show later.
 *
 * Section "time" of clock, version 1, little-endian:
 *
 *	u8  enum vferry_kvm_time
 *	u64 CLOCK_REALTIME of the moment, ns
 *	u64 KVM's clock, ns
 *	u32 TSC frequency, kHz
 *	u64 TSC of vCPU 0
 *	u32 vCPUs
 *	each: u64 by how much its TSC is ahead of vCPU 0's (modulo 2^64)
 *
 * Where time goes on while the machine is stopped, both clocks are moved by what CLOCK_REALTIME
 * moved since, never back. No KVM here.
 */
#ifndef VF_KVM_X86_TIME_H
#define VF_KVM_X86_TIME_H

#include <stdint.h>

#include <vferry/error.h>
#include <vferry/kvm.h>
#include <vferry/stream.h>

struct vf_x86_time {
	enum vferry_kvm_time mode;
	uint64_t realtime_ns;
	uint64_t clock_ns;
	uint32_t tsc_khz;
	uint64_t tsc;
	uint32_t cpus;
	uint64_t ahead[VFERRY_KVM_CPUS_MAX];
};

uint32_t vf_x86_time_bytes(uint32_t cpus);
void vf_x86_time_write(const struct vf_x86_time *time, struct vferry_writer *w);
/** vf_x86_time_read() - Return: 0; -EINVAL damaged, or not of @cpus vCPUs. */
int vf_x86_time_read(struct vf_x86_time *time, uint32_t cpus, struct vferry_reader *r,
		     struct vferry_error *err);

/* How much guest time has passed since, if it is @realtime_ns now. */
uint64_t vf_x86_time_elapsed(const struct vf_x86_time *time, uint64_t realtime_ns);
/* What vCPU 0's TSC shows after that. */
uint64_t vf_x86_time_tsc(const struct vf_x86_time *time, uint64_t elapsed_ns);

#endif
