/* SPDX-License-Identifier: MIT */
/*
 * lapic.c - the component lapic/N.
 *
 * Section "state" of lapic/N, version 1, little-endian:
 *
 *	u32 bytes of registers (1024) | the registers, as KVM_GET_LAPIC gives them
 *	u64 TSC_DEADLINE, 0: none
 *	u64 the vCPU's TSC when that was read
 *
 * The timer of a LAPIC that counts is started by KVM_SET_LAPIC with what was left of it. A deadline
 * is set after that (it is dropped unless the timer is in deadline mode), and again by the clock,
 * which moves the TSC: until then the TSC is set back far enough that it does not expire.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/call.h"
#include "kvm/x86/x86_internal.h"

#define SECTION_STATE	1u
#define LAPIC_BYTES	1024u
/* Some minutes at any frequency: more than a destination that is prepared waits. */
#define SET_BACK	(1ull << 40)

struct lapic {
	struct kvm_lapic_state state;
	uint64_t deadline, tsc;
};

static_assert(sizeof(struct kvm_lapic_state) == LAPIC_BYTES, "as in the section");

static int failed(const struct vf_x86_cpu *cpu, const char *call, int code,
		  struct vferry_error *err)
{
	return vf_kvm_failed(err, cpu->lapic_name, call, code);
}

/* MP_STATE first: reading it takes an INIT that is pending, which resets the LAPIC. */
static int save_state(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vf_x86_cpu *cpu = user;
	struct vferry_writer *w = vferry_step_writer(step);
	struct kvm_mp_state mp_state;
	struct lapic lapic = { 0 };
	int code = vf_kvm_call(cpu->fd, KVM_GET_MP_STATE, &mp_state);

	if (code)
		return failed(cpu, "KVM_GET_MP_STATE", code, err);
	code = vf_kvm_call(cpu->fd, KVM_GET_LAPIC, &lapic.state);
	if (code)
		return failed(cpu, "KVM_GET_LAPIC", code, err);
	code = vf_x86_msr_get(cpu->fd, VF_MSR_TSC_DEADLINE, &lapic.deadline);
	if (!code)
		code = vf_x86_tsc_get(cpu->fd, &lapic.tsc);
	if (code)
		return failed(cpu, "reading TSC_DEADLINE and the TSC", code, err);
	vferry_write_u32(w, LAPIC_BYTES);
	vferry_write_bytes(w, lapic.state.regs, LAPIC_BYTES);
	vferry_write_u64(w, lapic.deadline);
	vferry_write_u64(w, lapic.tsc);
	return 0;
}

static int read_section(const struct vf_x86_cpu *cpu, struct vferry_reader *r, struct lapic *lapic,
			struct vferry_error *err)
{
	uint32_t bytes = vferry_read_u32(r);
	const void *registers = bytes == LAPIC_BYTES ? vferry_read_bytes(r, bytes) : NULL;

	lapic->deadline = vferry_read_u64(r);
	lapic->tsc = vferry_read_u64(r);
	if (!registers || !vferry_reader_done(r))
		return vferry_error_set(err, -EINVAL, "lapic-section-damaged", cpu->lapic_name,
					"the section of a LAPIC is cut short, too long, or not of "
					"%u bytes of registers", LAPIC_BYTES);
	memcpy(lapic->state.regs, registers, LAPIC_BYTES);
	return 0;
}

static int load_state(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vf_x86_cpu *cpu = user;
	struct lapic lapic;
	int code = read_section(cpu, vferry_step_reader(step), &lapic, err);

	if (code)
		return code;
	code = vf_kvm_call(cpu->fd, KVM_SET_LAPIC, &lapic.state);
	if (code == -EINVAL)
		return vferry_error_set(err, code, "lapic-refused", cpu->lapic_name,
					"KVM_SET_LAPIC failed with EINVAL: the APIC id is not this "
					"vCPU's, or KVM_CAP_X2APIC_API differs");
	return code ? failed(cpu, "KVM_SET_LAPIC", code, err) : 0;
}

static int set_tsc_back(const struct vf_x86_cpu *cpu, uint64_t tsc)
{
	uint64_t to = tsc > SET_BACK ? tsc - SET_BACK : 0;
	uint64_t now = 0, offset = 0;
	int code = vf_x86_tsc_offset_get(cpu->fd, &offset);

	if (!code)
		code = vf_x86_tsc_get(cpu->fd, &now);
	return code ? code : vf_x86_tsc_offset_set(cpu->fd, offset + to - now);
}

static int load_deadline(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vf_x86_cpu *cpu = user;
	struct lapic lapic;
	int code = read_section(cpu, vferry_step_reader(step), &lapic, err);

	if (code)
		return code;
	if (cpu->x86->tsc_moves)
		code = set_tsc_back(cpu, lapic.tsc);
	if (!code)
		code = vf_x86_msr_set(cpu->fd, VF_MSR_TSC_DEADLINE, lapic.deadline);
	return code ? failed(cpu, "setting TSC_DEADLINE", code, err) : 0;
}

#define STEP(class_, name_, run_) { .size = sizeof(struct vferry_step_desc), \
	.step_class = class_, .name = name_, .section = SECTION_STATE, .run = run_ }

const struct vferry_step_desc vf_x86_lapic_steps[] = {
	STEP(VFERRY_SAVE_LAPIC, "state", save_state),
	STEP(VFERRY_LOAD_LAPIC, "state", load_state),
	STEP(VFERRY_LOAD_TSC_DEADLINE, "deadline", load_deadline),
};
const size_t vf_x86_lapic_step_count = VF_ARRAY_COUNT(vf_x86_lapic_steps);

const struct vferry_section_desc vf_x86_lapic_section = { .id = SECTION_STATE, .name = "state",
	.version = 1, .oldest = 1, .max_bytes = 4 + LAPIC_BYTES + 8 + 8 };
