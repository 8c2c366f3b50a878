/* SPDX-License-Identifier: MIT */
/* time.c - see time.h. */
#include <errno.h>

#include "kvm/x86/time.h"

#define TIME_MAX	(1ull << 62)	/* some 146 years: sums of two do not overflow */
#define CPU_BYTES	8u
#define HEAD_BYTES	(1u + 8 + 8 + 4 + 8 + 4)

uint32_t vf_x86_time_bytes(uint32_t cpus)
{
	return HEAD_BYTES + cpus * CPU_BYTES;
}

void vf_x86_time_write(const struct vf_x86_time *time, struct vferry_writer *w)
{
	vferry_write_u8(w, (uint8_t) time->mode);
	vferry_write_u64(w, time->realtime_ns);
	vferry_write_u64(w, time->clock_ns);
	vferry_write_u32(w, time->tsc_khz);
	vferry_write_u64(w, time->tsc);
	vferry_write_u32(w, time->cpus);
	for (uint32_t i = 0; i < time->cpus; i++)
		vferry_write_u64(w, time->ahead[i]);
}

int vf_x86_time_read(struct vf_x86_time *time, uint32_t cpus, struct vferry_reader *r,
		     struct vferry_error *err)
{
	uint8_t mode = vferry_read_u8(r);

	time->realtime_ns = vferry_read_u64(r);
	time->clock_ns = vferry_read_u64(r);
	time->tsc_khz = vferry_read_u32(r);
	time->tsc = vferry_read_u64(r);
	time->cpus = vferry_read_u32(r);
	if (time->cpus != cpus || mode > VFERRY_KVM_TIME_PAUSED || !time->tsc_khz ||
	    time->realtime_ns > TIME_MAX || time->clock_ns > TIME_MAX)
		return vferry_error_set(err, -EINVAL, "clock-section-damaged", "clock",
					"the section of the clock is cut short or makes no sense");
	time->mode = (enum vferry_kvm_time) mode;
	for (uint32_t i = 0; i < cpus; i++)
		time->ahead[i] = vferry_read_u64(r);
	if (!vferry_reader_done(r))
		return vferry_error_set(err, -EINVAL, "clock-section-damaged", "clock",
					"the section of the clock is cut short, or too long");
	return 0;
}

uint64_t vf_x86_time_elapsed(const struct vf_x86_time *time, uint64_t realtime_ns)
{
	if (time->mode == VFERRY_KVM_TIME_PAUSED || realtime_ns <= time->realtime_ns)
		return 0;
	return realtime_ns - time->realtime_ns;
}

uint64_t vf_x86_time_tsc(const struct vf_x86_time *time, uint64_t elapsed_ns)
{
	return time->tsc + (uint64_t) ((unsigned __int128) elapsed_ns * time->tsc_khz / 1000000);
}
