/* SPDX-License-Identifier: MIT */
/* counter_time.c - see counter_time.h. */
#include <errno.h>

#include "base/clock.h"
#include "kvm/arm64/counter_time.h"

#define TIME_MAX	(1ull << 62)	/* some 146 years: sums of two do not overflow */

void vf_arm64_time_write(const struct vf_arm64_time *time, struct vferry_writer *w)
{
	vferry_write_u8(w, (uint8_t) time->mode);
	vferry_write_u64(w, time->realtime_ns);
	vferry_write_u32(w, time->hz);
	vferry_write_u64(w, time->virtual_count);
	vferry_write_u64(w, time->physical_count);
}

int vf_arm64_time_read(struct vf_arm64_time *time, struct vferry_reader *r,
		       struct vferry_error *err)
{
	uint8_t mode = vferry_read_u8(r);

	time->realtime_ns = vferry_read_u64(r);
	time->hz = vferry_read_u32(r);
	time->virtual_count = vferry_read_u64(r);
	time->physical_count = vferry_read_u64(r);
	if (!vferry_reader_done(r) || mode > VFERRY_KVM_TIME_PAUSED || !time->hz ||
	    time->realtime_ns > TIME_MAX)
		return vferry_error_set(err, -EINVAL, "counter-section-damaged", "counter",
					"the section of the counter is cut short or makes no sense");
	time->mode = (enum vferry_kvm_time) mode;
	return 0;
}

uint64_t vf_arm64_time_elapsed(const struct vf_arm64_time *time, uint64_t realtime_ns)
{
	uint64_t ns;

	if (time->mode == VFERRY_KVM_TIME_PAUSED || realtime_ns <= time->realtime_ns)
		return 0;
	ns = realtime_ns - time->realtime_ns;
	return (uint64_t) ((unsigned __int128) ns * time->hz / VF_SECOND_NS);
}
