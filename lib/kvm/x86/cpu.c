/* SPDX-License-Identifier: MIT */
/*
 * cpu.c - the component cpu/N: what it must find on the other side, how it is saved and loaded.
 *
 * Identity of cpu/N, version 1: u16 1 | 12 bytes vendor of the host | u32 TSC frequency, kHz |
 *	u64 MCG_CAP | u32 bytes of XSAVE | CPUID as in the section (cpu_image.h) |
 *	u32 MSRs | u32 index of each
 *
 * Orders. Saving: EVENTS, then MP_STATE, before all else, because both may change the vCPU (an
 * exception's payload is delivered, INIT and SIPI are taken). Loading: CPUID and the TSC frequency
 * say what the rest may be; SREGS2 (EFER, CR4, APIC base) before the MSRs, these before the
 * registers; EVENTS before MP_STATE.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/call.h"
#include "kvm/x86/x86_internal.h"

#define IDENTITY_VERSION	1u
#define SECTION_STATE		1u
/* KVM takes a frequency for the host's own if it is that near: its tsc_tolerance_ppm. */
#define TSC_TOLERANCE_PPM	250u

static struct vf_x86_cpuid own_cpuid(const struct vf_x86_cpu *cpu)
{
	return (struct vf_x86_cpuid) { .entries = cpu->cpuid, .count = cpu->cpuid_count };
}

static bool same_frequency(uint32_t a, uint32_t b)
{
	uint64_t apart = a > b ? a - b : b - a;

	return apart * 1000000 <= (uint64_t) b * TSC_TOLERANCE_PPM;
}

/* ---- saving ---- */

/* One KVM_GET of a whole structure. */
struct part {
	const char *name;
	unsigned long request;
	void *to;
};

static int get_parts(const struct vf_x86_cpu *cpu, const struct part *parts, size_t count,
		     struct vferry_error *err)
{
	for (size_t i = 0; i < count; i++) {
		int code = vf_kvm_call(cpu->fd, parts[i].request, parts[i].to);

		if (code < 0)
			return vf_kvm_failed(err, cpu->name, parts[i].name, code);
	}
	return 0;
}

static int save_image(const struct vf_x86_cpu *cpu, struct vf_x86_cpu_image *image,
		      struct vferry_error *err)
{
	const struct part parts[] = {
		{ "KVM_GET_VCPU_EVENTS", KVM_GET_VCPU_EVENTS, &image->events },
		{ "KVM_GET_MP_STATE", KVM_GET_MP_STATE, &image->mp_state },
		{ "KVM_GET_REGS", KVM_GET_REGS, &image->regs },
		{ "KVM_GET_XSAVE2", KVM_GET_XSAVE2, image->xsave },
		{ "KVM_GET_XCRS", KVM_GET_XCRS, &image->xcrs },
		{ "KVM_GET_SREGS2", KVM_GET_SREGS2, &image->sregs },
		{ "KVM_GET_DEBUGREGS", KVM_GET_DEBUGREGS, &image->debugregs },
	};
	int code = get_parts(cpu, parts, VF_ARRAY_COUNT(parts), err);

	if (!code)
		code = vf_x86_msrs_save(&cpu->x86->msrs, cpu->fd, image, cpu->name, err);
	if (code)
		return code;
	image->tsc_khz = cpu->tsc_khz;
	image->mcg_cap = cpu->mcg_cap;
	code = vf_x86_cpuid_get(cpu->fd, KVM_GET_CPUID2, image->cpuid, &image->cpuid_count);
	return code ? vf_kvm_failed(err, cpu->name, "KVM_GET_CPUID2", code) : 0;
}

static int no_memory(const struct vf_x86_cpu *cpu, struct vferry_error *err)
{
	return vferry_error_set(err, -ENOMEM, "no-memory", cpu->name, "no memory for its state");
}

static int save_state(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vf_x86_cpu *cpu = user;
	struct vf_x86_cpu_image image;
	int code;

	if (vf_x86_cpu_image_init(&image, cpu->x86->xsave_bytes))
		return no_memory(cpu, err);
	code = save_image(cpu, &image, err);
	if (!code)
		vf_x86_cpu_image_write(&image, vferry_step_writer(step));
	vf_x86_cpu_image_done(&image);
	return code;
}

/* ---- loading ---- */

static int load_frequency(struct vf_x86_cpu *cpu, uint32_t khz, struct vferry_error *err)
{
	int code;

	if (khz == cpu->tsc_khz)
		return 0;
	/* Never tried where it can't work: KVM changes the frequency even if it fails. */
	if (!same_frequency(khz, cpu->tsc_khz) && !cpu->x86->tsc_scales)
		return vferry_error_set(err, -EINVAL, "cpu-tsc-frequency", cpu->name,
					"the TSC ran at %u kHz and runs at %u kHz here, without "
					"scaling", khz, cpu->tsc_khz);
	if (!cpu->x86->tsc_scales)
		return 0;
	code = vf_kvm_call_value(cpu->fd, KVM_SET_TSC_KHZ, khz);
	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_SET_TSC_KHZ", code);
	cpu->tsc_khz = khz;
	return 0;
}

static int load_image_id(struct vf_x86_cpu *cpu, const struct vf_x86_cpu_image *image,
			 struct vferry_error *err)
{
	int code = vf_x86_cpuid_set(cpu->fd, image->cpuid, image->cpuid_count);

	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_SET_CPUID2", code);
	code = vf_x86_cpuid_get(cpu->fd, KVM_GET_CPUID2, cpu->cpuid, &cpu->cpuid_count);
	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_GET_CPUID2", code);
	if (image->mcg_cap != cpu->mcg_cap)
		return vferry_error_set(err, -EINVAL, "cpu-machine-check", cpu->name,
					"MCG_CAP is 0x%llx on the source and 0x%llx here",
					(unsigned long long) image->mcg_cap,
					(unsigned long long) cpu->mcg_cap);
	code = load_frequency(cpu, image->tsc_khz, err);
	return code ? code : vf_x86_msrs_load(&cpu->x86->msrs, cpu->fd, image, true, cpu->name, err);
}

static int load_image_sregs(struct vf_x86_cpu *cpu, const struct vf_x86_cpu_image *image,
			    struct vferry_error *err)
{
	int code = vf_kvm_call(cpu->fd, KVM_SET_SREGS2, (void *) &image->sregs);

	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_SET_SREGS2", code);
	return vf_x86_msrs_load(&cpu->x86->msrs, cpu->fd, image, false, cpu->name, err);
}

static int load_image_registers(struct vf_x86_cpu *cpu, const struct vf_x86_cpu_image *image,
				struct vferry_error *err)
{
	const struct {
		const char *name;
		unsigned long request;
		const void *from;
	} parts[] = {
		{ "KVM_SET_XCRS", KVM_SET_XCRS, &image->xcrs },
		{ "KVM_SET_XSAVE", KVM_SET_XSAVE, image->xsave },
		{ "KVM_SET_VCPU_EVENTS", KVM_SET_VCPU_EVENTS, &image->events },
		{ "KVM_SET_MP_STATE", KVM_SET_MP_STATE, &image->mp_state },
		{ "KVM_SET_DEBUGREGS", KVM_SET_DEBUGREGS, &image->debugregs },
		{ "KVM_SET_REGS", KVM_SET_REGS, &image->regs },
	};

	for (size_t i = 0; i < VF_ARRAY_COUNT(parts); i++) {
		int code = vf_kvm_call(cpu->fd, parts[i].request, (void *) parts[i].from);

		if (code)
			return vf_kvm_failed(err, cpu->name, parts[i].name, code);
	}
	return 0;
}

static int load(struct vf_x86_cpu *cpu, struct vferry_step *step,
		int (*stage)(struct vf_x86_cpu *cpu, const struct vf_x86_cpu_image *image,
			     struct vferry_error *err),
		struct vferry_error *err)
{
	struct vf_x86_cpu_image image;
	int code;

	if (vf_x86_cpu_image_init(&image, cpu->x86->xsave_bytes))
		return no_memory(cpu, err);
	code = vf_x86_cpu_image_read(&image, vferry_step_reader(step), cpu->name, err);
	if (!code)
		code = stage(cpu, &image, err);
	vf_x86_cpu_image_done(&image);
	return code;
}

static int load_id(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return load(user, step, load_image_id, err);
}

static int load_sregs(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return load(user, step, load_image_sregs, err);
}

static int load_registers(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return load(user, step, load_image_registers, err);
}

#define STEP(class_, name_, run_) { .size = sizeof(struct vferry_step_desc), \
	.step_class = class_, .name = name_, .section = SECTION_STATE, .run = run_ }

const struct vferry_step_desc vf_x86_cpu_steps[] = {
	STEP(VFERRY_SAVE_CPU, "state", save_state),
	STEP(VFERRY_LOAD_CPU_ID, "id", load_id),
	STEP(VFERRY_LOAD_CPU_SREGS, "sregs", load_sregs),
	STEP(VFERRY_LOAD_CPU_REGS, "registers", load_registers),
};
const size_t vf_x86_cpu_step_count = VF_ARRAY_COUNT(vf_x86_cpu_steps);

/* ---- identity ---- */

int vf_x86_cpu_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct vf_x86_cpu *cpu = user;
	const struct vferry_kvm_x86 *x86 = cpu->x86;

	(void) err;
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_bytes(w, x86->vendor, VF_X86_VENDOR_BYTES);
	vferry_write_u32(w, cpu->tsc_khz);
	vferry_write_u64(w, cpu->mcg_cap);
	vferry_write_u32(w, x86->xsave_bytes);
	vf_x86_cpuid_write(cpu->cpuid, cpu->cpuid_count, w);
	vferry_write_u32(w, x86->msrs.count);
	for (uint32_t i = 0; i < x86->msrs.count; i++)
		vferry_write_u32(w, x86->msrs.index[i]);
	return 0;
}

struct identity {
	char vendor[VF_X86_VENDOR_BYTES];
	uint32_t tsc_khz;
	uint64_t mcg_cap;
	uint32_t xsave_bytes;
	struct kvm_cpuid_entry2 cpuid[VF_X86_CPUID_MAX];
	uint32_t cpuid_count;
	uint32_t msrs[VF_X86_MSRS_MAX];
	uint32_t msr_count;
};

static int read_identity(struct identity *id, struct vferry_reader *r)
{
	uint16_t version = vferry_read_u16(r);
	const void *vendor = vferry_read_bytes(r, VF_X86_VENDOR_BYTES);
	int count;

	if (version != IDENTITY_VERSION || !vendor)
		return -EINVAL;
	memcpy(id->vendor, vendor, VF_X86_VENDOR_BYTES);
	id->tsc_khz = vferry_read_u32(r);
	id->mcg_cap = vferry_read_u64(r);
	id->xsave_bytes = vferry_read_u32(r);
	count = vf_x86_cpuid_read(id->cpuid, r);
	if (count < 0)
		return -EINVAL;
	id->cpuid_count = (uint32_t) count;
	id->msr_count = vferry_read_u32(r);
	if (id->msr_count > VF_X86_MSRS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < id->msr_count; i++)
		id->msrs[i] = vferry_read_u32(r);
	return vferry_reader_done(r) ? 0 : -EINVAL;
}

static bool printable(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return true;
}

static void compare(const struct vf_x86_cpu *cpu, const struct identity *id,
		    struct vferry_reasons *reasons)
{
	const struct vferry_kvm_x86 *x86 = cpu->x86;
	const struct vf_x86_cpuid own = own_cpuid(cpu);
	const struct vf_x86_cpuid source = { id->cpuid, id->cpuid_count };
	const struct vf_x86_cpuid supported = { x86->supported, x86->supported_count };

	if (memcmp(id->vendor, x86->vendor, VF_X86_VENDOR_BYTES))
		vferry_reasons_add(reasons, "cpu-vendor", cpu->name,
				   "the source's processor is a %.12s, and here is a %.12s",
				   printable(id->vendor, VF_X86_VENDOR_BYTES) ? id->vendor : "?",
				   x86->vendor);
	vf_x86_cpuid_check(&source, &supported, &own, cpu->name, reasons);
	if (id->xsave_bytes > x86->xsave_bytes)
		vferry_reasons_add(reasons, "cpu-xsave", cpu->name,
				   "XSAVE has %u bytes on the source, and %u here",
				   id->xsave_bytes, x86->xsave_bytes);
	if (!same_frequency(id->tsc_khz, cpu->tsc_khz) && !x86->tsc_scales)
		vferry_reasons_add(reasons, "cpu-tsc-frequency", cpu->name,
				   "the TSC runs at %u kHz on the source and at %u kHz here, and "
				   "this host can't scale it", id->tsc_khz, cpu->tsc_khz);
	if (id->mcg_cap != cpu->mcg_cap)
		vferry_reasons_add(reasons, "cpu-machine-check", cpu->name,
				   "MCG_CAP is 0x%llx on the source and 0x%llx here "
				   "(KVM_X86_SETUP_MCE)", (unsigned long long) id->mcg_cap,
				   (unsigned long long) cpu->mcg_cap);
	for (uint32_t i = 0; i < id->msr_count; i++)
		if (!vf_x86_msr_list_has(&x86->msrs, id->msrs[i]))
			vferry_reasons_add(reasons, "cpu-msr", cpu->name,
					   "the source has MSR 0x%x, which this host's KVM has not",
					   id->msrs[i]);
}

int vf_x86_cpu_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct vf_x86_cpu *cpu = user;
	struct identity *id = calloc(1, sizeof(*id));
	int code;

	if (!id)
		return -ENOMEM;
	code = read_identity(id, source);
	if (!code)
		compare(cpu, id, reasons);
	free(id);
	return code;
}

/* ---- once, before it runs ---- */

int vf_x86_cpu_probe(struct vf_x86_cpu *cpu, struct vferry_error *err)
{
	struct vf_x86_cpuid own;
	int khz, code;

	cpu->cpuid = calloc(VF_X86_CPUID_MAX, sizeof(*cpu->cpuid));
	if (!cpu->cpuid)
		return no_memory(cpu, err);
	code = vf_x86_cpuid_get(cpu->fd, KVM_GET_CPUID2, cpu->cpuid, &cpu->cpuid_count);
	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_GET_CPUID2", code);
	if (!cpu->cpuid_count)
		return vferry_error_set(err, -EINVAL, "kvm-config", cpu->name,
					"it has no CPUID yet: KVM_SET_CPUID2 comes first");
	own = own_cpuid(cpu);
	if (vf_x86_cpuid_nested(&own) && vf_kvm_has(cpu->x86->kvm, KVM_CAP_NESTED_STATE))
		return vferry_error_set(err, -ENOTSUP, "kvm-nested", cpu->name,
					"a guest that may run guests of its own can't be migrated: "
					"leave VMX and SVM out of its CPUID");
	khz = vf_kvm_call(cpu->fd, KVM_GET_TSC_KHZ, NULL);
	if (khz <= 0)
		return vf_kvm_failed(err, cpu->name, "KVM_GET_TSC_KHZ", khz ? khz : -EIO);
	cpu->tsc_khz = (uint32_t) khz;
	code = vf_x86_msr_get(cpu->fd, VF_MSR_MCG_CAP, &cpu->mcg_cap);
	return code ? vf_kvm_failed(err, cpu->name, "reading MCG_CAP", code) : 0;
}
