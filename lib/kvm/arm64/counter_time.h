/* SPDX-License-Identifier: MIT */
/*
 * counter_time.h - what the counters of a machine showed at one moment, and what they are to show
 * later. No KVM here.
 *
 * Section "time" of counter, version 1, little-endian:
 *
 *	u8  enum vferry_kvm_time
 *	u64 CLOCK_REALTIME of the moment, ns
 *	u32 frequency, Hz
 *	u64 CNTVCT of every vCPU
 *	u64 CNTPCT of every vCPU (the host's counter, where KVM has no other for the guest)
 *
 * Where time goes on while the machine is stopped, both are moved by what CLOCK_REALTIME moved
 * since, never back.
 */
#ifndef VF_KVM_ARM64_COUNTER_TIME_H
#define VF_KVM_ARM64_COUNTER_TIME_H

#include <stdint.h>

#include <vferry/error.h>
#include <vferry/kvm.h>
#include <vferry/stream.h>

#define VF_ARM64_TIME_BYTES	(1u + 8 + 4 + 8 + 8)

struct vf_arm64_time {
	enum vferry_kvm_time mode;
	uint64_t realtime_ns;
	uint32_t hz;
	uint64_t virtual_count;
	uint64_t physical_count;
};

void vf_arm64_time_write(const struct vf_arm64_time *time, struct vferry_writer *w);
/** vf_arm64_time_read() - Return: 0; -EINVAL damaged. */
int vf_arm64_time_read(struct vf_arm64_time *time, struct vferry_reader *r,
		       struct vferry_error *err);

/* How many ticks of guest time have passed since, if it is @realtime_ns now. */
uint64_t vf_arm64_time_elapsed(const struct vf_arm64_time *time, uint64_t realtime_ns);

#endif
