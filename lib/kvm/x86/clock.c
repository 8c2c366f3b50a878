/* SPDX-License-Identifier: MIT */
/*
 * clock.c - the component clock: KVM's clock and the TSC of each vCPU, and what is true of the
 * machine as a whole.
 *
 * Identity of clock, version 1: u16 1 | u8 enum vferry_kvm_time | u8 the TSC can be moved |
 *	string, which boot of which host | u32 vCPUs | u8 enum vferry_kvm_irqchip | u8 has a PIT
 *
 * A TSC is moved by its offset to the host's, never by MSR_IA32_TSC, which KVM second-guesses: so
 * vCPUs keep their distances to the tick. Where the offset has no effect, the guest sees the host's
 * TSC; such a machine can go to another process on the same host only, where the TSC is right
 * without anybody's doing. That is compared by the host's boot id.
 *
 * A deadline of a LAPIC is in TSC units but armed as a time of the host: it is written again after
 * the TSC was moved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "kvm/call.h"
#include "kvm/x86/x86_internal.h"

#define IDENTITY_VERSION	1u
#define SECTION_TIME		1u
/* How often both clocks are read, to find a moment when nothing came between. */
#define READINGS		5

/* ---- TSC ---- */

int vf_x86_tsc_get(int vcpu, uint64_t *ret_tsc)
{
	return vf_x86_msr_get(vcpu, VF_MSR_TSC, ret_tsc);
}

static int offset_call(int vcpu, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attribute = { .group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t) offset };

	return vf_kvm_call(vcpu, request, &attribute);
}

int vf_x86_tsc_offset_get(int vcpu, uint64_t *ret_offset)
{
	return offset_call(vcpu, KVM_GET_DEVICE_ATTR, ret_offset);
}

int vf_x86_tsc_offset_set(int vcpu, uint64_t offset)
{
	return offset_call(vcpu, KVM_SET_DEVICE_ATTR, &offset);
}

/* ---- one moment ---- */

static int get_clock(int vm, uint64_t *ret_ns)
{
	struct kvm_clock_data data = { 0 };
	int code = vf_kvm_call(vm, KVM_GET_CLOCK, &data);

	if (!code)
		*ret_ns = data.clock;
	return code;
}

/* KVM's clock and vCPU 0's TSC beside CLOCK_REALTIME, which is taken in the middle. */
static int read_moment(const struct vferry_kvm_x86 *x86, struct vf_x86_time *time)
{
	uint64_t shortest = UINT64_MAX;
	int code = 0;

	for (int i = 0; i < READINGS && !code; i++) {
		uint64_t clock_ns = 0, tsc = 0, before = vf_realtime_ns(), took;

		code = get_clock(x86->vm, &clock_ns);
		if (!code)
			code = vf_x86_tsc_get(x86->cpus[0].fd, &tsc);
		took = vf_realtime_ns() - before;
		if (code || took >= shortest)
			continue;
		shortest = took;
		time->realtime_ns = before + took / 2;
		time->clock_ns = clock_ns;
		time->tsc = tsc;
	}
	return code;
}

static int read_time(const struct vferry_kvm_x86 *x86, struct vf_x86_time *time,
		     struct vferry_error *err)
{
	uint64_t first = 0, offset = 0;
	int code;

	*time = (struct vf_x86_time) { .mode = x86->time, .tsc_khz = x86->cpus[0].tsc_khz,
		.cpus = x86->cpu_count };
	for (uint32_t i = 0; i < x86->cpu_count && x86->tsc_moves; i++) {
		code = vf_x86_tsc_offset_get(x86->cpus[i].fd, &offset);
		if (code)
			return vf_kvm_failed(err, x86->cpus[i].name, "reading the TSC offset", code);
		if (i == 0)
			first = offset;
		time->ahead[i] = offset - first;
	}
	code = read_moment(x86, time);
	return code ? vf_kvm_failed(err, "clock", "reading KVM's clock and a TSC", code) : 0;
}

/* ---- setting it ---- */

static int move_clock(const struct vferry_kvm_x86 *x86, const struct vf_x86_time *time,
		      struct vferry_error *err)
{
	struct kvm_clock_data data = {
		.clock = time->clock_ns + vf_x86_time_elapsed(time, vf_realtime_ns()),
	};
	int code = vf_kvm_call(x86->vm, KVM_SET_CLOCK, &data);

	return code ? vf_kvm_failed(err, "clock", "KVM_SET_CLOCK", code) : 0;
}

/* Written once more, so that it is armed by the TSC that is true now. */
static int rearm_deadline(int vcpu)
{
	uint64_t deadline = 0;
	int code = vf_x86_msr_get(vcpu, VF_MSR_TSC_DEADLINE, &deadline);

	return code || !deadline ? code : vf_x86_msr_set(vcpu, VF_MSR_TSC_DEADLINE, deadline);
}

static int move_tscs(const struct vferry_kvm_x86 *x86, const struct vf_x86_time *time,
		     struct vferry_error *err)
{
	struct vf_x86_time now = { 0 };
	uint64_t offset = 0, target;
	int code = read_moment(x86, &now);

	if (!code)
		code = vf_x86_tsc_offset_get(x86->cpus[0].fd, &offset);
	if (code)
		return vf_kvm_failed(err, "clock", "reading a TSC and its offset", code);
	target = vf_x86_time_tsc(time, vf_x86_time_elapsed(time, now.realtime_ns));
	offset += target - now.tsc;
	for (uint32_t i = 0; i < x86->cpu_count; i++) {
		const struct vf_x86_cpu *cpu = &x86->cpus[i];

		code = vf_x86_tsc_offset_set(cpu->fd, offset + time->ahead[i]);
		if (!code)
			code = rearm_deadline(cpu->fd);
		if (code)
			return vf_kvm_failed(err, cpu->name, "moving the TSC", code);
	}
	return 0;
}

static int set_time(const struct vferry_kvm_x86 *x86, const struct vf_x86_time *time,
		    struct vferry_error *err)
{
	int code = move_clock(x86, time, err);

	return code || !x86->tsc_moves ? code : move_tscs(x86, time, err);
}

/* Tells guests that use KVM's clock not to mistake the pause for a lock-up; others have no need. */
static void announce_pause(const struct vferry_kvm_x86 *x86)
{
	for (uint32_t i = 0; i < x86->cpu_count; i++)
		(void) vf_kvm_call_value(x86->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

/* ---- steps ---- */

static int save_time(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_kvm_x86 *x86 = user;
	int code = read_time(x86, &x86->stopped, err);

	x86->has_stopped = !code;
	if (!code)
		vf_x86_time_write(&x86->stopped, vferry_step_writer(step));
	return code;
}

static int load_time(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_kvm_x86 *x86 = user;
	struct vf_x86_time time;
	int code = vf_x86_time_read(&time, x86->cpu_count, vferry_step_reader(step), err);

	if (!code)
		code = set_time(x86, &time, err);
	if (code)
		return code;
	x86->time = time.mode;
	announce_pause(x86);
	return 0;
}

/* Only where time stood still there is something to put back. */
static int undo_time(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_kvm_x86 *x86 = user;
	int code = 0;

	(void) step;
	if (!x86->has_stopped)
		return 0;
	x86->has_stopped = false;
	if (x86->stopped.mode == VFERRY_KVM_TIME_PAUSED)
		code = set_time(x86, &x86->stopped, err);
	announce_pause(x86);
	return code;
}

#define STEP(class_, section_, run_) { .size = sizeof(struct vferry_step_desc), \
	.step_class = class_, .name = "time", .section = section_, .run = run_ }

const struct vferry_step_desc vf_x86_clock_steps[] = {
	STEP(VFERRY_SAVE_CLOCK, SECTION_TIME, save_time),
	STEP(VFERRY_LOAD_CLOCK, SECTION_TIME, load_time),
	STEP(VFERRY_UNDO_CLOCK, 0, undo_time),
};
const size_t vf_x86_clock_step_count = VF_ARRAY_COUNT(vf_x86_clock_steps);

/* ---- identity ---- */

int vf_x86_clock_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct vferry_kvm_x86 *x86 = user;

	(void) err;
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_u8(w, (uint8_t) x86->time);
	vferry_write_u8(w, x86->tsc_moves);
	vferry_write_string(w, x86->boot_id);
	vferry_write_u32(w, x86->cpu_count);
	vferry_write_u8(w, (uint8_t) x86->irqchip);
	vferry_write_u8(w, x86->pit);
	return 0;
}

static const char *irqchip_name(unsigned irqchip)
{
	return irqchip == VFERRY_KVM_IRQCHIP_KERNEL ? "in the kernel" : "split";
}

static void check_time(const struct vferry_kvm_x86 *x86, uint8_t mode, bool moves,
		       const char *boot_id, struct vferry_reasons *reasons)
{
	if (x86->tsc_moves)
		return;
	if (mode == VFERRY_KVM_TIME_PAUSED)
		vferry_reasons_add(reasons, "kvm-time", "clock",
				   "the guest's time is to stand still meanwhile, and this host's "
				   "KVM can't move the TSC");
	else if (moves || !boot_id[0] || strcmp(boot_id, x86->boot_id) != 0)
		vferry_reasons_add(reasons, "kvm-tsc", "clock",
				   "this host's KVM can't move the TSC (an offset has no effect), "
				   "and what the guest saw so far is not the TSC of this host");
}

int vf_x86_clock_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct vferry_kvm_x86 *x86 = user;
	uint16_t version = vferry_read_u16(source);
	uint8_t mode = vferry_read_u8(source);
	uint8_t moves = vferry_read_u8(source);
	char boot_id[VF_X86_BOOT_ID_BYTES] = "";
	uint32_t cpus;
	uint8_t irqchip, pit;

	vferry_read_string(source, boot_id, sizeof(boot_id));
	cpus = vferry_read_u32(source);
	irqchip = vferry_read_u8(source);
	pit = vferry_read_u8(source);
	if (version != IDENTITY_VERSION || !vferry_reader_done(source) ||
	    mode > VFERRY_KVM_TIME_PAUSED || irqchip > VFERRY_KVM_IRQCHIP_SPLIT)
		return -EINVAL;
	if (cpus != x86->cpu_count)
		vferry_reasons_add(reasons, "kvm-vcpus", "clock",
				   "the machine has %u vCPUs on the source and %u here", cpus,
				   x86->cpu_count);
	if (irqchip != x86->irqchip)
		vferry_reasons_add(reasons, "kvm-irqchip", "clock",
				   "the interrupt controller is %s on the source and %s here",
				   irqchip_name(irqchip), irqchip_name(x86->irqchip));
	if (!!pit != x86->pit)
		vferry_reasons_add(reasons, "kvm-pit", "clock",
				   "the source has %s PIT in the kernel, this side has %s",
				   pit ? "a" : "no", x86->pit ? "one" : "none");
	check_time(x86, mode, moves, boot_id, reasons);
	return 0;
}
