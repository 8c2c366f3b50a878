/* SPDX-License-Identifier: MIT */
/*
 * counter.c - the component counter: the guest's CNTVCT and CNTPCT, and what is true of the VM as a
 * whole.
 *
 * Identity of counter, version 1: u16 1 | u8 enum vferry_kvm_time | u32 frequency, Hz |
 *	u8 one offset for both counters | u32 vCPUs | u32 bits of guest addresses |
 *	u64 address of the distributor | u32 regions of redistributors, up to 32 |
 *	each: u64 as KVM describes it
 *
 * KVM keeps an offset of each counter to the host's, for the whole VM, however it is set: so it is
 * set through vCPU 0 alone, once, when nothing but the start is left to do. Writing the guest's
 * value into the counter's register keeps both counters as they were to each other. That is ignored
 * in a VM whose embedder called KVM_ARM_SET_COUNTER_OFFSET, which is tried out before the first run;
 * there the same call is made again.
 *
 * A kernel before 6.4 shows the guest the host's counter as CNTPCT, whatever is done.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/arm64/arm64_internal.h"
#include "kvm/call.h"
#include "vferry_kvm_arm64.h"

#define IDENTITY_VERSION	1u
#define SECTION_TIME		1u
/* How often the clocks are read, to find a moment when nothing came between. */
#define READINGS		5
/* Far more than passes between two calls, and little beside 2^63: days, at 1 GHz. */
#define LEAP			(1ull << 50)

static int get_count(const struct vferry_kvm_arm64 *arm64, uint64_t id, uint64_t *ret)
{
	return vf_arm64_reg_get(&arm64->cpus[0], id, ret);
}

static int set_count(const struct vferry_kvm_arm64 *arm64, uint64_t id, uint64_t value)
{
	return vf_arm64_reg_set(&arm64->cpus[0], id, &value);
}

static uint64_t realtime_ns(const struct vferry_kvm_arm64 *arm64)
{
	return arm64->calls.realtime_ns(arm64->calls.user);
}

/* ---- one moment ---- */

/* The guest's counters beside CLOCK_REALTIME, which is taken in the middle. */
static int read_moment(const struct vferry_kvm_arm64 *arm64, struct vf_arm64_time *time)
{
	uint64_t shortest = UINT64_MAX;
	int code = 0;

	for (int i = 0; i < READINGS && !code; i++) {
		uint64_t virtual_count = 0, physical_count = 0, before = realtime_ns(arm64), took;

		code = get_count(arm64, VF_REG_TIMER_CNT, &virtual_count);
		if (!code && arm64->has_physical)
			code = get_count(arm64, VF_REG_PTIMER_CNT, &physical_count);
		else if (!code)
			physical_count = arm64->calls.counter(arm64->calls.user);
		took = realtime_ns(arm64) - before;
		if (code || took >= shortest)
			continue;
		shortest = took;
		time->realtime_ns = before + took / 2;
		time->virtual_count = virtual_count;
		time->physical_count = physical_count;
	}
	return code;
}

/* ---- setting it ---- */

static int set_offset(const struct vferry_kvm_arm64 *arm64, uint64_t virtual_count)
{
	struct vf_kvm_counter_offset offset = {
		.counter_offset = arm64->calls.counter(arm64->calls.user) - virtual_count };

	return vf_arm64_call(arm64, arm64->vm, VF_KVM_SET_COUNTER_OFFSET, &offset);
}

static int set_counts(const struct vferry_kvm_arm64 *arm64, uint64_t virtual_count,
		      uint64_t physical_count)
{
	int code = set_count(arm64, VF_REG_TIMER_CNT, virtual_count);

	if (!code && arm64->has_physical)
		code = set_count(arm64, VF_REG_PTIMER_CNT, physical_count);
	return code;
}

static int set_time(const struct vferry_kvm_arm64 *arm64, const struct vf_arm64_time *time,
		    struct vferry_error *err)
{
	uint64_t elapsed = vf_arm64_time_elapsed(time, realtime_ns(arm64));
	uint64_t virtual_count = time->virtual_count + elapsed, now = 0;
	int code;

	if (arm64->one_offset)
		code = set_offset(arm64, virtual_count);
	else
		code = set_counts(arm64, virtual_count, time->physical_count + elapsed);
	if (!code)
		code = get_count(arm64, VF_REG_TIMER_CNT, &now);
	if (code)
		return vf_kvm_failed(err, "counter", arm64->one_offset ?
				     "KVM_ARM_SET_COUNTER_OFFSET" : "setting the counters", code);
	if (now - virtual_count >= LEAP)
		return vferry_error_set(err, -EIO, "counter-dropped", "counter",
					"CNTVCT was to be 0x%llx, and is 0x%llx",
					(unsigned long long) virtual_count,
					(unsigned long long) now);
	return 0;
}

/* ---- steps ---- */

static int save_time(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_kvm_arm64 *arm64 = user;
	int code;

	arm64->stopped = (struct vf_arm64_time) { .mode = arm64->time, .hz = arm64->counter_hz };
	code = read_moment(arm64, &arm64->stopped);
	arm64->has_stopped = !code;
	if (code)
		return vf_kvm_failed(err, "counter", "reading the counters", code);
	vf_arm64_time_write(&arm64->stopped, vferry_step_writer(step));
	return 0;
}

static int load_time(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_kvm_arm64 *arm64 = user;
	struct vf_arm64_time time;
	int code = vf_arm64_time_read(&time, vferry_step_reader(step), err);

	if (!code && time.hz != arm64->counter_hz)
		code = vferry_error_set(err, -EINVAL, "counter-frequency", "counter",
					"the counter ran at %u Hz, and runs at %u Hz here", time.hz,
					arm64->counter_hz);
	if (!code)
		code = set_time(arm64, &time, err);
	if (!code)
		arm64->time = time.mode;
	return code;
}

/* Only where time stood still there is something to put back. */
static int undo_time(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_kvm_arm64 *arm64 = user;

	(void) step;
	if (!arm64->has_stopped)
		return 0;
	arm64->has_stopped = false;
	return arm64->stopped.mode == VFERRY_KVM_TIME_PAUSED ?
		set_time(arm64, &arm64->stopped, err) : 0;
}

#define STEP(class_, section_, run_) { .size = sizeof(struct vferry_step_desc), \
	.step_class = class_, .name = "time", .section = section_, .run = run_ }

const struct vferry_step_desc vf_arm64_counter_steps[] = {
	STEP(VFERRY_SAVE_CLOCK, SECTION_TIME, save_time),
	STEP(VFERRY_LOAD_COUNTER, SECTION_TIME, load_time),
	STEP(VFERRY_UNDO_CLOCK, 0, undo_time),
};
const size_t vf_arm64_counter_step_count = VF_ARRAY_COUNT(vf_arm64_counter_steps);

const struct vferry_section_desc vf_arm64_counter_section = { .id = SECTION_TIME, .name = "time",
	.version = 1, .oldest = 1, .max_bytes = VF_ARM64_TIME_BYTES };

/* ---- identity ---- */

int vf_arm64_counter_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct vferry_kvm_arm64 *arm64 = user;

	(void) err;
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_u8(w, (uint8_t) arm64->time);
	vferry_write_u32(w, arm64->counter_hz);
	vferry_write_u8(w, arm64->one_offset);
	vferry_write_u32(w, arm64->cpu_count);
	vferry_write_u32(w, arm64->ipa_bits);
	vferry_write_u64(w, arm64->distributor);
	vferry_write_u32(w, arm64->region_count);
	for (uint32_t i = 0; i < arm64->region_count; i++)
		vferry_write_u64(w, arm64->regions[i]);
	return 0;
}

struct identity {
	uint8_t mode, one_offset;
	uint32_t hz, cpus, ipa_bits, region_count;
	uint64_t distributor;
	uint64_t regions[VF_ARM64_REGIONS_MAX];
};

static int read_identity(struct identity *id, struct vferry_reader *r)
{
	uint16_t version = vferry_read_u16(r);

	id->mode = vferry_read_u8(r);
	id->hz = vferry_read_u32(r);
	id->one_offset = vferry_read_u8(r);
	id->cpus = vferry_read_u32(r);
	id->ipa_bits = vferry_read_u32(r);
	id->distributor = vferry_read_u64(r);
	id->region_count = vferry_read_u32(r);
	if (version != IDENTITY_VERSION || id->mode > VFERRY_KVM_TIME_PAUSED ||
	    id->region_count > VF_ARM64_REGIONS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < id->region_count; i++)
		id->regions[i] = vferry_read_u64(r);
	return vferry_reader_done(r) ? 0 : -EINVAL;
}

static void check_addresses(const struct vferry_kvm_arm64 *arm64, const struct identity *id,
			    struct vferry_reasons *reasons)
{
	if (id->distributor != arm64->distributor)
		vferry_reasons_add(reasons, "kvm-gic-address", "counter",
				   "the distributor is at 0x%llx on the source and at 0x%llx here",
				   (unsigned long long) id->distributor,
				   (unsigned long long) arm64->distributor);
	if (id->region_count != arm64->region_count)
		vferry_reasons_add(reasons, "kvm-gic-address", "counter",
				   "the redistributors have %u regions on the source and %u here",
				   id->region_count, arm64->region_count);
	for (uint32_t i = 0; i < id->region_count && i < arm64->region_count; i++)
		if (id->regions[i] != arm64->regions[i])
			vferry_reasons_add(reasons, "kvm-gic-address", "counter",
					   "region %u of the redistributors is 0x%llx on the source "
					   "and 0x%llx here", i,
					   (unsigned long long) id->regions[i],
					   (unsigned long long) arm64->regions[i]);
}

int vf_arm64_counter_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct vferry_kvm_arm64 *arm64 = user;
	struct identity id;

	if (read_identity(&id, source))
		return -EINVAL;
	if (id.cpus != arm64->cpu_count)
		vferry_reasons_add(reasons, "kvm-vcpus", "counter",
				   "the machine has %u vCPUs on the source and %u here", id.cpus,
				   arm64->cpu_count);
	if (id.hz != arm64->counter_hz)
		vferry_reasons_add(reasons, "kvm-counter-frequency", "counter",
				   "the counter runs at %u Hz on the source and at %u Hz here, and "
				   "nothing scales it", id.hz, arm64->counter_hz);
	if (!id.one_offset && arm64->one_offset)
		vferry_reasons_add(reasons, "kvm-counter-offset", "counter",
				   "KVM_ARM_SET_COUNTER_OFFSET was called for this VM, so its CNTVCT "
				   "and CNTPCT are one; on the source they are two");
	if (id.ipa_bits > arm64->ipa_bits)
		vferry_reasons_add(reasons, "kvm-ipa-size", "counter",
				   "guest addresses have %u bits on the source and %u here",
				   id.ipa_bits, arm64->ipa_bits);
	check_addresses(arm64, &id, reasons);
	return 0;
}

/* ---- once, before anything runs ---- */

/* Is a write of CNTVCT ignored, because of KVM_ARM_SET_COUNTER_OFFSET? */
static int try_leap(struct vferry_kvm_arm64 *arm64)
{
	uint64_t before = 0, after = 0;
	int code = get_count(arm64, VF_REG_TIMER_CNT, &before);

	if (!code)
		code = set_count(arm64, VF_REG_TIMER_CNT, before + LEAP);
	if (!code)
		code = get_count(arm64, VF_REG_TIMER_CNT, &after);
	if (code)
		return code;
	arm64->one_offset = after - before < LEAP;
	return arm64->one_offset ? 0 : set_count(arm64, VF_REG_TIMER_CNT, after - LEAP);
}

int vf_arm64_counter_probe(struct vferry_kvm_arm64 *arm64, struct vferry_error *err)
{
	uint64_t physical;
	int code;

	arm64->counter_hz = arm64->calls.counter_hz(arm64->calls.user);
	arm64->has_physical = !get_count(arm64, VF_REG_PTIMER_CNT, &physical);
	code = try_leap(arm64);
	if (code)
		return vf_kvm_failed(err, "counter", "reading and moving CNTVCT", code);
	if (!arm64->counter_hz)
		return vferry_error_set(err, -ENOTSUP, "kvm-counter-frequency", "counter",
					"this host's counter has no frequency");
	if (arm64->one_offset && !vf_arm64_has(arm64, arm64->vm, VF_KVM_CAP_COUNTER_OFFSET))
		return vferry_error_set(err, -ENOTSUP, "kvm-counter-offset", "counter",
					"this host's KVM can't move CNTVCT");
	return 0;
}
