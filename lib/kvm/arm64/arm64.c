/* SPDX-License-Identifier: MIT */
/*
 * arm64.c - struct vferry_kvm_arm64: what is asked of KVM once, and the list of components.
 *
 * Everything that the other side must match is read here, before the vCPUs run: a call that reads
 * a vCPU waits for as long as it is in KVM_RUN, and the GIC can't be read meanwhile at all. What a
 * machine can't be migrated with is refused here too, not in the middle of a migration.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/clock.h"
#include "kvm/arm64/arm64_internal.h"
#include "kvm/call.h"
#include "vferry_kvm_arm64.h"

#define IPA_BITS_DEFAULT	40u
#define IPA_BITS_MIN		32u
#define IPA_BITS_MAX		52u

/* ---- the host ---- */

static int host_call(void *user, int fd, unsigned long request, void *argument)
{
	(void) user;
	return vf_kvm_call(fd, request, argument);
}

/* Of other hosts there is no KVM to ask for it. */
static uint64_t host_counter(void *user)
{
	uint64_t count = 0;

	(void) user;
#ifdef __aarch64__
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(count) : : "memory");
#endif
	return count;
}

static uint32_t host_counter_hz(void *user)
{
	uint64_t hz = 0;

	(void) user;
#ifdef __aarch64__
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
#endif
	return (uint32_t) hz;
}

static uint64_t host_realtime_ns(void *user)
{
	(void) user;
	return vf_realtime_ns();
}

const struct vf_arm64_calls vf_arm64_host_calls = { .call = host_call, .counter = host_counter,
	.counter_hz = host_counter_hz, .realtime_ns = host_realtime_ns };

/* ---- calls ---- */

int vf_arm64_call(const struct vferry_kvm_arm64 *arm64, int fd, unsigned long request,
		  void *argument)
{
	return arm64->calls.call(arm64->calls.user, fd, request, argument);
}

static int has(const struct vf_arm64_calls *calls, int fd, int capability)
{
	int ret = calls->call(calls->user, fd, KVM_CHECK_EXTENSION, (void *) (uintptr_t) capability);

	return ret > 0 ? ret : 0;
}

int vf_arm64_has(const struct vferry_kvm_arm64 *arm64, int fd, int capability)
{
	return has(&arm64->calls, fd, capability);
}

/* ---- what is needed ---- */

static int probe_host(const struct vf_arm64_calls *calls, int kvm, struct vferry_error *err)
{
	static const struct {
		int number;
		const char *name;
	} needed[] = {
		{ KVM_CAP_ONE_REG, "ONE_REG" }, { KVM_CAP_MP_STATE, "MP_STATE" },
		{ KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS" }, { KVM_CAP_DEVICE_CTRL, "DEVICE_CTRL" },
	};

	if (!has(calls, kvm, VF_KVM_CAP_ARM_PSCI_0_2))
		return vferry_error_set(err, -ENOTSUP, "kvm-config", "kvm",
					"this host's KVM does not run arm64 machines");
	for (size_t i = 0; i < VF_ARRAY_COUNT(needed); i++)
		if (!has(calls, kvm, needed[i].number))
			return vferry_error_set(err, -ENOTSUP, "kvm-capability", "kvm",
						"this host's KVM has no KVM_CAP_%s, without which "
						"a vCPU can't be saved: Linux 4.19 or later has it",
						needed[i].name);
	return 0;
}

int vferry_kvm_arm64_probe(int kvm, struct vferry_error *err)
{
	return probe_host(&vf_arm64_host_calls, kvm, err);
}

static int bad_config(struct vferry_error *err, const char *what)
{
	return vferry_error_set(err, -EINVAL, "kvm-config", "kvm", "%s", what);
}

static int no_memory(struct vferry_error *err)
{
	return vferry_error_set(err, -ENOMEM, "no-memory", "kvm",
				"no memory for the description of the machine");
}

/* Only for saying more about what is refused, so no failure. */
static int read_masks(struct vferry_kvm_arm64 *arm64, struct vferry_error *err)
{
	struct vf_kvm_reg_masks masks = { 0 };

	arm64->masks = calloc(VF_KVM_MASKS, sizeof(*arm64->masks));
	if (!arm64->masks)
		return no_memory(err);
	masks.addr = (uintptr_t) arm64->masks;
	arm64->has_masks = vf_arm64_has(arm64, arm64->vm, VF_KVM_CAP_REG_MASK_RANGES) &&
			   !vf_arm64_call(arm64, arm64->vm, VF_KVM_GET_REG_WRITABLE_MASKS, &masks);
	return 0;
}

/* ---- components ---- */

static void describe(struct vferry_kvm_arm64 *arm64)
{
	struct vferry_component *to = arm64->components;

	for (uint32_t i = 0; i < arm64->cpu_count; i++)
		*to++ = (struct vferry_component) { .size = sizeof(*to),
			.name = arm64->cpus[i].name, .user = &arm64->cpus[i],
			.identity = vf_arm64_cpu_identity, .check = vf_arm64_cpu_check,
			.sections = &arm64->cpus[i].section, .section_count = 1,
			.steps = vf_arm64_cpu_steps, .step_count = vf_arm64_cpu_step_count };
	*to++ = (struct vferry_component) { .size = sizeof(*to), .name = "counter", .user = arm64,
		.identity = vf_arm64_counter_identity, .check = vf_arm64_counter_check,
		.sections = &vf_arm64_counter_section, .section_count = 1,
		.steps = vf_arm64_counter_steps, .step_count = vf_arm64_counter_step_count };
	arm64->component_count = (size_t) (to - arm64->components);
}

static int build(struct vferry_kvm_arm64 *arm64, const struct vferry_kvm_arm64_config *config,
		 struct vferry_error *err)
{
	int code = probe_host(&arm64->calls, config->kvm, err);

	if (code)
		return code;
	arm64->kvm = config->kvm;
	arm64->vm = config->vm;
	arm64->gic_fd = config->gic;
	arm64->ipa_bits = config->ipa_bits ? config->ipa_bits : IPA_BITS_DEFAULT;
	arm64->time = config->time;
	arm64->release = config->release;
	arm64->user = config->user;
	arm64->cpus = calloc(config->cpu_count, sizeof(*arm64->cpus));
	arm64->components = calloc(config->cpu_count + 1, sizeof(*arm64->components));
	if (!arm64->cpus || !arm64->components)
		return no_memory(err);
	arm64->cpu_count = config->cpu_count;
	code = read_masks(arm64, err);
	for (uint32_t i = 0; i < config->cpu_count && !code; i++) {
		struct vf_arm64_cpu *cpu = &arm64->cpus[i];

		cpu->arm64 = arm64;
		cpu->fd = config->vcpu[i];
		(void) snprintf(cpu->name, sizeof(cpu->name), "cpu/%u", i);
		code = vf_arm64_cpu_probe(cpu, err);
	}
	if (!code)
		code = vf_arm64_gic_probe(arm64, config->its, config->its_count, err);
	if (!code)
		code = vf_arm64_counter_probe(arm64, err);
	if (!code)
		describe(arm64);
	return code;
}

int vf_arm64_new(const struct vferry_kvm_arm64_config *config, const struct vf_arm64_calls *calls,
		 struct vferry_kvm_arm64 **ret_arm64, struct vferry_error *err)
{
	struct vferry_kvm_arm64 *arm64;
	int code;

	if (!config || config->size < sizeof(*config) || config->kvm < 0 || config->vm < 0 ||
	    !config->vcpu || !config->cpu_count || config->cpu_count > VFERRY_KVM_CPUS_MAX ||
	    config->gic < 0 || (config->its_count && !config->its) ||
	    config->its_count > VFERRY_GIC_ITS_MAX ||
	    (unsigned) config->time > VFERRY_KVM_TIME_PAUSED)
		return bad_config(err, "the description of the machine is incomplete");
	if (config->ipa_bits && (config->ipa_bits < IPA_BITS_MIN || config->ipa_bits > IPA_BITS_MAX))
		return bad_config(err, "guest addresses have 32 to 52 bits");
	arm64 = calloc(1, sizeof(*arm64));
	if (!arm64)
		return no_memory(err);
	arm64->calls = *calls;
	code = build(arm64, config, err);
	if (code < 0) {
		vferry_kvm_arm64_free(arm64);
		return code;
	}
	*ret_arm64 = arm64;
	return 0;
}

int vferry_kvm_arm64_new(const struct vferry_kvm_arm64_config *config,
			 struct vferry_kvm_arm64 **ret_arm64, struct vferry_error *err)
{
	return vf_arm64_new(config, &vf_arm64_host_calls, ret_arm64, err);
}

struct vferry_kvm_arm64 *vferry_kvm_arm64_free(struct vferry_kvm_arm64 *arm64)
{
	if (!arm64)
		return NULL;
	vferry_gic_free(arm64->gic);
	for (uint32_t i = 0; i < arm64->cpu_count; i++)
		vf_arm64_bank_done(&arm64->cpus[i].bank);
	free(arm64->cpus);
	free(arm64->masks);
	free(arm64->components);
	free(arm64);
	return NULL;
}

/* The GIC's components come last. */
size_t vferry_kvm_arm64_component_count(const struct vferry_kvm_arm64 *arm64)
{
	return arm64->component_count + vferry_gic_component_count(arm64->gic);
}

const struct vferry_component *vferry_kvm_arm64_component(const struct vferry_kvm_arm64 *arm64,
							  size_t index)
{
	if (index < arm64->component_count)
		return &arm64->components[index];
	return vferry_gic_component(arm64->gic, index - arm64->component_count);
}
