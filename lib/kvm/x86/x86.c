/* SPDX-License-Identifier: MIT */
/*
 * x86.c - struct vferry_kvm_x86: what is asked of KVM once, and the list of components.
 *
 * Everything that the other side must match is read here, before the vCPUs run: a call that reads
 * a vCPU waits for as long as it is in KVM_RUN. What a machine can't be migrated with is refused
 * here too, not in the middle of a migration.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "kvm/call.h"
#include "kvm/x86/tsc_probe.h"
#include "kvm/x86/x86_internal.h"

#define SECTION_STATE	1u
#define CHIPS_MAX	3u

static int bad_config(struct vferry_error *err, const char *what)
{
	return vferry_error_set(err, -EINVAL, "kvm-config", "kvm", "%s", what);
}

static int no_memory(struct vferry_error *err)
{
	return vferry_error_set(err, -ENOMEM, "no-memory", "kvm",
				"no memory for the description of the machine");
}

/* ---- the host ---- */

int vferry_kvm_x86_probe(int kvm, struct vferry_error *err)
{
	static const struct {
		int number;
		const char *name;
	} needed[] = {
		{ KVM_CAP_MP_STATE, "MP_STATE" }, { KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS" },
		{ KVM_CAP_DEBUGREGS, "DEBUGREGS" }, { KVM_CAP_XCRS, "XCRS" },
		{ KVM_CAP_XSAVE2, "XSAVE2" }, { KVM_CAP_SREGS2, "SREGS2" },
		{ KVM_CAP_GET_TSC_KHZ, "GET_TSC_KHZ" }, { KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK" },
	};

	for (size_t i = 0; i < VF_ARRAY_COUNT(needed); i++)
		if (!vf_kvm_has(kvm, needed[i].number))
			return vferry_error_set(err, -ENOTSUP, "kvm-capability", "kvm",
						"this host's KVM has no KVM_CAP_%s, without which "
						"a vCPU can't be saved: Linux 5.17 or later has it",
						needed[i].name);
	return 0;
}

static int read_supported_cpuid(struct vferry_kvm_x86 *x86, struct vferry_error *err)
{
	struct vf_x86_cpuid supported;
	const struct kvm_cpuid_entry2 *vendor;
	int code;

	x86->supported = calloc(VF_X86_CPUID_MAX, sizeof(*x86->supported));
	if (!x86->supported)
		return no_memory(err);
	code = vf_x86_cpuid_get(x86->kvm, KVM_GET_SUPPORTED_CPUID, x86->supported,
				&x86->supported_count);
	if (code)
		return vf_kvm_failed(err, "kvm", "KVM_GET_SUPPORTED_CPUID", code);
	supported = (struct vf_x86_cpuid) { x86->supported, x86->supported_count };
	vendor = vf_x86_cpuid_find(&supported, 0, 0);
	if (vendor) {
		memcpy(x86->vendor, &vendor->ebx, 4);
		memcpy(x86->vendor + 4, &vendor->edx, 4);
		memcpy(x86->vendor + 8, &vendor->ecx, 4);
	}
	return 0;
}

/* Empty if it can't be read: then nothing is the same host. */
static void read_boot_id(struct vferry_kvm_x86 *x86)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, x86->boot_id, sizeof(x86->boot_id) - 1);

	x86->boot_id[n > 0 ? n : 0] = '\0';
	x86->boot_id[strcspn(x86->boot_id, "\n")] = '\0';
	if (fd >= 0)
		(void) close(fd);
}

static int probe_host(struct vferry_kvm_x86 *x86, struct vferry_error *err)
{
	int code = vferry_kvm_x86_probe(x86->kvm, err);

	if (code)
		return code;
	x86->xsave_bytes = (uint32_t) vf_kvm_has(x86->vm, KVM_CAP_XSAVE2);
	if (x86->xsave_bytes < VF_X86_XSAVE_MIN || x86->xsave_bytes > VF_X86_XSAVE_MAX ||
	    x86->xsave_bytes % 8)
		return vferry_error_set(err, -ENOTSUP, "kvm-xsave", "kvm",
					"XSAVE of %u bytes is more than can be saved",
					x86->xsave_bytes);
	x86->tsc_scales = vf_kvm_has(x86->kvm, KVM_CAP_TSC_CONTROL);
	read_boot_id(x86);
	code = read_supported_cpuid(x86, err);
	return code ? code : vf_x86_tsc_probe(x86->kvm, &x86->tsc_moves, err);
}

/* ---- the machine ---- */

static int check_irqchip(const struct vferry_kvm_x86 *x86, struct vferry_error *err)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_lapic_state lapic;
	struct kvm_pit_state2 pit;
	bool kernel = !vf_kvm_call(x86->vm, KVM_GET_IRQCHIP, &chip);

	if (kernel != (x86->irqchip == VFERRY_KVM_IRQCHIP_KERNEL))
		return bad_config(err, kernel ? "the VM's interrupt controller is in the kernel, "
						"not split" :
						"the VM has no interrupt controller in the kernel");
	if (vf_kvm_call(x86->cpus[0].fd, KVM_GET_LAPIC, &lapic))
		return bad_config(err, "the vCPUs' LAPICs are not in the kernel");
	if (x86->pit != !vf_kvm_call(x86->vm, KVM_GET_PIT2, &pit))
		return bad_config(err, x86->pit ? "the VM has no PIT in the kernel"
						: "the VM has a PIT in the kernel");
	return 0;
}

static int probe_machine(struct vferry_kvm_x86 *x86, struct vferry_error *err)
{
	int code = check_irqchip(x86, err);

	for (uint32_t i = 0; i < x86->cpu_count && !code; i++)
		code = vf_x86_cpu_probe(&x86->cpus[i], err);
	for (uint32_t i = 1; i < x86->cpu_count && !code; i++)
		if (x86->cpus[i].tsc_khz != x86->cpus[0].tsc_khz)
			code = vferry_error_set(err, -ENOTSUP, "kvm-tsc", x86->cpus[i].name,
						"its TSC runs at another frequency than vCPU 0's");
	if (code)
		return code;
	if (x86->time == VFERRY_KVM_TIME_PAUSED && !x86->tsc_moves)
		return vferry_error_set(err, -ENOTSUP, "kvm-time", "clock",
					"the guest's time can't stand still while the machine is "
					"stopped: this host's KVM can't move the TSC (an offset has "
					"no effect)");
	return vf_x86_msr_list_probe(&x86->msrs, x86->kvm, x86->cpus[0].fd, err);
}

/* ---- components ---- */

static void describe(struct vferry_kvm_x86 *x86)
{
	struct vferry_component *to = x86->components;

	x86->cpu_section = (struct vferry_section_desc) { .id = SECTION_STATE, .name = "state",
		.version = 1, .oldest = 1, .max_bytes = vf_x86_cpu_image_bytes(x86->xsave_bytes) };
	x86->clock_section = (struct vferry_section_desc) { .id = SECTION_STATE, .name = "time",
		.version = 1, .oldest = 1, .max_bytes = vf_x86_time_bytes(x86->cpu_count) };
	for (uint32_t i = 0; i < x86->cpu_count; i++) {
		*to++ = (struct vferry_component) { .size = sizeof(*to),
			.name = x86->cpus[i].name, .user = &x86->cpus[i],
			.identity = vf_x86_cpu_identity, .check = vf_x86_cpu_check,
			.sections = &x86->cpu_section, .section_count = 1,
			.steps = vf_x86_cpu_steps, .step_count = vf_x86_cpu_step_count };
		*to++ = (struct vferry_component) { .size = sizeof(*to),
			.name = x86->cpus[i].lapic_name, .user = &x86->cpus[i],
			.sections = &vf_x86_lapic_section, .section_count = 1,
			.steps = vf_x86_lapic_steps, .step_count = vf_x86_lapic_step_count };
	}
	to += vf_x86_chips_describe(x86, to);
	*to++ = (struct vferry_component) { .size = sizeof(*to), .name = "clock", .user = x86,
		.identity = vf_x86_clock_identity, .check = vf_x86_clock_check,
		.sections = &x86->clock_section, .section_count = 1,
		.steps = vf_x86_clock_steps, .step_count = vf_x86_clock_step_count };
	x86->component_count = (size_t) (to - x86->components);
}

static int build(struct vferry_kvm_x86 *x86, const struct vferry_kvm_x86_config *config,
		 struct vferry_error *err)
{
	int code;

	x86->kvm = config->kvm;
	x86->vm = config->vm;
	x86->irqchip = config->irqchip;
	x86->pit = config->pit;
	x86->time = config->time;
	x86->cpus = calloc(config->cpu_count, sizeof(*x86->cpus));
	x86->components = calloc(2 * config->cpu_count + CHIPS_MAX + 1, sizeof(*x86->components));
	if (!x86->cpus || !x86->components)
		return no_memory(err);
	x86->cpu_count = config->cpu_count;
	for (uint32_t i = 0; i < config->cpu_count; i++) {
		struct vf_x86_cpu *cpu = &x86->cpus[i];

		cpu->x86 = x86;
		cpu->fd = config->vcpu[i];
		(void) snprintf(cpu->name, sizeof(cpu->name), "cpu/%u", i);
		(void) snprintf(cpu->lapic_name, sizeof(cpu->lapic_name), "lapic/%u", i);
	}
	code = probe_host(x86, err);
	if (!code)
		code = probe_machine(x86, err);
	if (!code)
		describe(x86);
	return code;
}

int vferry_kvm_x86_new(const struct vferry_kvm_x86_config *config, struct vferry_kvm_x86 **ret_x86,
		       struct vferry_error *err)
{
	struct vferry_kvm_x86 *x86;
	int code;

	if (!config || config->size < sizeof(*config) || config->kvm < 0 || config->vm < 0 ||
	    !config->vcpu || !config->cpu_count || config->cpu_count > VFERRY_KVM_CPUS_MAX ||
	    (unsigned) config->irqchip > VFERRY_KVM_IRQCHIP_SPLIT ||
	    (unsigned) config->time > VFERRY_KVM_TIME_PAUSED)
		return bad_config(err, "the description of the machine is incomplete");
	if (config->irqchip == VFERRY_KVM_IRQCHIP_SPLIT && config->pit)
		return bad_config(err, "there is no PIT in the kernel with a split irqchip");
	x86 = calloc(1, sizeof(*x86));
	if (!x86)
		return no_memory(err);
	code = build(x86, config, err);
	if (code < 0) {
		vferry_kvm_x86_free(x86);
		return code;
	}
	*ret_x86 = x86;
	return 0;
}

struct vferry_kvm_x86 *vferry_kvm_x86_free(struct vferry_kvm_x86 *x86)
{
	if (!x86)
		return NULL;
	for (uint32_t i = 0; i < x86->cpu_count; i++)
		free(x86->cpus[i].cpuid);
	free(x86->cpus);
	free(x86->supported);
	free(x86->components);
	free(x86);
	return NULL;
}

size_t vferry_kvm_x86_component_count(const struct vferry_kvm_x86 *x86)
{
	return x86->component_count;
}

const struct vferry_component *vferry_kvm_x86_component(const struct vferry_kvm_x86 *x86,
							size_t index)
{
	return index < x86->component_count ? &x86->components[index] : NULL;
}
