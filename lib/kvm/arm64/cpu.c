/* SPDX-License-Identifier: MIT */
/*
 * cpu.c - the component cpu/N: how an arm64 vCPU is saved and loaded; what it must find on the other
 * side is cpu_check.c's.
 *
 * Model. The state is what KVM_GET_REG_LIST names, plus VCPU_EVENTS and MP_STATE. Loading writes the
 * registers that say what the vCPU is first, and only where they differ from what this vCPU shows:
 * KVM takes another value only if it can show it, and some not even the same once more.
 */
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/arm64/arm64_internal.h"
#include "kvm/call.h"
#include "vferry_kvm_arm64.h"

#define SECTION_STATE	1u
/* ID_AA64PFR1_EL1.MTE: 1 is instructions only, from 2 on memory has tags. */
#define MTE_SHIFT	8
#define MTE_TAGS	2u
#define PMCR_N_SHIFT	11
#define PMCR_N_MASK	0x1fu

int vf_arm64_reg_get(const struct vf_arm64_cpu *cpu, uint64_t id, void *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t) value };

	return vf_arm64_call(cpu->arm64, cpu->fd, KVM_GET_ONE_REG, &reg);
}

int vf_arm64_reg_set(const struct vf_arm64_cpu *cpu, uint64_t id, const void *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t) value };

	return vf_arm64_call(cpu->arm64, cpu->fd, KVM_SET_ONE_REG, &reg);
}

static int get_failed(const struct vf_arm64_cpu *cpu, uint64_t id, int code,
		      struct vferry_error *err)
{
	char name[VF_ARM64_NAME_BYTES];

	return vferry_error_set(err, code, "cpu-register-read", cpu->name,
				"%s can't be read: %s%s", vf_arm64_reg_name(id, name),
				vferry_errno_name(code), vf_kvm_hint(code));
}

static int set_failed(const struct vf_arm64_cpu *cpu, const struct vf_arm64_reg *reg, int code,
		      struct vferry_error *err)
{
	char name[VF_ARM64_NAME_BYTES];

	return vferry_error_set(err, code, "cpu-register-refused", cpu->name,
				"%s does not take 0x%llx on this host: %s%s",
				vf_arm64_reg_name(reg->id, name),
				(unsigned long long) vf_arm64_reg_u64(reg->id, reg->value),
				vferry_errno_name(code),
				code == -EBUSY ? ": the vCPU ran already" : "");
}

static int no_memory(const struct vf_arm64_cpu *cpu, struct vferry_error *err)
{
	return vferry_error_set(err, -ENOMEM, "no-memory", cpu->name, "no memory for its state");
}

/* ---- saving ---- */

static int save_registers(const struct vf_arm64_cpu *cpu, struct vf_arm64_cpu_image *image,
			  struct vferry_error *err)
{
	for (uint32_t i = 0; i < image->bank.count; i++) {
		struct vf_arm64_reg *reg = &image->bank.regs[i];
		int code = vf_arm64_reg_get(cpu, reg->id, reg->value);

		if (code)
			return get_failed(cpu, reg->id, code, err);
		reg->present = true;
	}
	return 0;
}

static int save_image(const struct vf_arm64_cpu *cpu, struct vf_arm64_cpu_image *image,
		      struct vferry_error *err)
{
	struct vf_kvm_arm64_events events = { 0 };
	struct kvm_mp_state mp_state = { 0 };
	int code = vf_arm64_call(cpu->arm64, cpu->fd, VF_KVM_GET_VCPU_EVENTS, &events);

	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_GET_VCPU_EVENTS", code);
	code = vf_arm64_call(cpu->arm64, cpu->fd, KVM_GET_MP_STATE, &mp_state);
	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_GET_MP_STATE", code);
	image->mp_state = mp_state.mp_state;
	image->serror_pending = events.serror_pending;
	image->serror_has_esr = events.serror_has_esr;
	image->serror_esr = events.serror_esr;
	return save_registers(cpu, image, err);
}

static int save_state(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vf_arm64_cpu *cpu = user;
	struct vf_arm64_cpu_image image;
	int code;

	if (vf_arm64_cpu_image_init(&image, &cpu->bank))
		return no_memory(cpu, err);
	code = save_image(cpu, &image, err);
	if (!code)
		vf_arm64_cpu_image_write(&image, vferry_step_writer(step));
	vf_arm64_cpu_image_done(&image);
	return code;
}

/* ---- loading ---- */

static int load_id_register(struct vf_arm64_cpu *cpu, const struct vf_arm64_reg *reg,
			    struct vferry_error *err)
{
	struct vf_arm64_reg own = { .id = reg->id };
	int code = vf_arm64_reg_get(cpu, reg->id, own.value);

	if (code)
		return get_failed(cpu, reg->id, code, err);
	if (!memcmp(own.value, reg->value, vf_arm64_reg_bytes(reg->id)))
		return 0;
	code = vf_arm64_reg_set(cpu, reg->id, reg->value);
	return code ? set_failed(cpu, reg, code, err) : 0;
}

static int load_image_id(struct vf_arm64_cpu *cpu, const struct vf_arm64_cpu_image *image,
			 struct vferry_error *err)
{
	int code = 0;

	for (uint32_t i = 0; i < image->bank.count && !code; i++) {
		const struct vf_arm64_reg *reg = &image->bank.regs[i];

		if (reg->present && vf_arm64_reg_is_id(reg->id))
			code = load_id_register(cpu, reg, err);
	}
	return code ? code : vf_arm64_cpu_read_id(cpu, err);
}

static int load_events(const struct vf_arm64_cpu *cpu, const struct vf_arm64_cpu_image *image,
		       struct vferry_error *err)
{
	struct vf_kvm_arm64_events events = { .serror_pending = image->serror_pending,
		.serror_has_esr = image->serror_has_esr, .serror_esr = image->serror_esr };
	struct kvm_mp_state mp_state = { .mp_state = image->mp_state };
	int code = vf_arm64_call(cpu->arm64, cpu->fd, VF_KVM_SET_VCPU_EVENTS, &events);

	if (code)
		return vf_kvm_failed(err, cpu->name, "KVM_SET_VCPU_EVENTS", code);
	code = vf_arm64_call(cpu->arm64, cpu->fd, KVM_SET_MP_STATE, &mp_state);
	return code ? vf_kvm_failed(err, cpu->name, "KVM_SET_MP_STATE", code) : 0;
}

static int load_image_registers(struct vf_arm64_cpu *cpu, const struct vf_arm64_cpu_image *image,
				struct vferry_error *err)
{
	for (uint32_t i = 0; i < image->bank.count; i++) {
		const struct vf_arm64_reg *reg = &image->bank.regs[i];
		int code;

		if (!reg->present || vf_arm64_reg_is_id(reg->id))
			continue;
		code = vf_arm64_reg_set(cpu, reg->id, reg->value);
		if (code)
			return set_failed(cpu, reg, code, err);
	}
	return load_events(cpu, image, err);
}

static int load(struct vf_arm64_cpu *cpu, struct vferry_step *step,
		int (*stage)(struct vf_arm64_cpu *cpu, const struct vf_arm64_cpu_image *image,
			     struct vferry_error *err),
		struct vferry_error *err)
{
	struct vf_arm64_cpu_image image;
	int code;

	if (vf_arm64_cpu_image_init(&image, &cpu->bank))
		return no_memory(cpu, err);
	code = vf_arm64_cpu_image_read(&image, vferry_step_reader(step), cpu->name, err);
	if (!code)
		code = stage(cpu, &image, err);
	vf_arm64_cpu_image_done(&image);
	return code;
}

static int load_id(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return load(user, step, load_image_id, err);
}

static int load_registers(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return load(user, step, load_image_registers, err);
}

#define STEP(class_, name_, run_) { .size = sizeof(struct vferry_step_desc), \
	.step_class = class_, .name = name_, .section = SECTION_STATE, .run = run_ }

const struct vferry_step_desc vf_arm64_cpu_steps[] = {
	STEP(VFERRY_SAVE_CPU, "state", save_state),
	STEP(VFERRY_LOAD_CPU_ID, "id", load_id),
	STEP(VFERRY_LOAD_CPU_REGS, "registers", load_registers),
};
const size_t vf_arm64_cpu_step_count = VF_ARRAY_COUNT(vf_arm64_cpu_steps);

/* ---- once, before it runs ---- */

int vf_arm64_cpu_read_id(struct vf_arm64_cpu *cpu, struct vferry_error *err)
{
	for (uint32_t i = 0; i < cpu->bank.count; i++) {
		struct vf_arm64_reg *reg = &cpu->bank.regs[i];
		int code;

		if (!vf_arm64_reg_is_id(reg->id))
			continue;
		code = vf_arm64_reg_get(cpu, reg->id, reg->value);
		if (code)
			return get_failed(cpu, reg->id, code, err);
		reg->present = true;
	}
	return 0;
}

/* As struct kvm_reg_list. */
struct id_list {
	uint64_t count;
	uint64_t ids[VF_ARM64_REGS_MAX];
};

static_assert(offsetof(struct id_list, ids) == sizeof(struct kvm_reg_list), "as KVM has it");

/* The counters are moved for the whole VM, by counter.c. */
static uint32_t without_counters(struct id_list *list)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < list->count; i++)
		if (!vf_arm64_reg_is_counter(list->ids[i]))
			list->ids[kept++] = list->ids[i];
	return kept;
}

static int list_failed(const struct vf_arm64_cpu *cpu, int code, struct vferry_error *err)
{
	switch (code) {
	case -ENOEXEC:
		return vferry_error_set(err, -EINVAL, "kvm-config", cpu->name,
					"it was not initialised: KVM_ARM_VCPU_INIT comes first");
	case -EPERM:
		return vferry_error_set(err, -EINVAL, "kvm-config", cpu->name,
					"it was not made final: KVM_ARM_VCPU_FINALIZE comes first");
	case -E2BIG:
		return vferry_error_set(err, -ENOTSUP, "kvm-registers", cpu->name,
					"it has more than %u registers", VF_ARM64_REGS_MAX);
	}
	return vf_kvm_failed(err, cpu->name, "KVM_GET_REG_LIST", code);
}

static int make_bank(struct vf_arm64_cpu *cpu, struct id_list *list, struct vferry_error *err)
{
	int code = vf_arm64_bank_init(&cpu->bank, list->ids, without_counters(list));

	if (code == -ENOMEM)
		return no_memory(cpu, err);
	return code ? vferry_error_set(err, code, "kvm-registers", cpu->name,
				       "KVM_GET_REG_LIST names what is no register") : 0;
}

static int read_list(struct vf_arm64_cpu *cpu, struct vferry_error *err)
{
	struct id_list *list = calloc(1, sizeof(*list));
	int code;

	if (!list)
		return no_memory(cpu, err);
	list->count = VF_ARM64_REGS_MAX;
	code = vf_arm64_call(cpu->arm64, cpu->fd, KVM_GET_REG_LIST, list);
	if (code || list->count > VF_ARM64_REGS_MAX)
		code = list_failed(cpu, code ? code : -E2BIG, err);
	else
		code = make_bank(cpu, list, err);
	free(list);
	return code;
}

static uint32_t attr_u32(const struct vf_arm64_cpu *cpu, uint32_t group, uint64_t attr)
{
	uint32_t value = 0;

	return vf_arm64_get_attr(cpu->arm64, cpu->fd, group, attr, &value) ? VF_ARM64_NO_IRQ : value;
}

/* What was chosen by attributes of the vCPU, and can't be changed later. */
static void read_attributes(struct vf_arm64_cpu *cpu)
{
	uint64_t pmcr_id = VF_REG_OF_SYSREG(VF_SYSREG_PMCR_EL0), pmcr = 0;

	cpu->timer_irq = attr_u32(cpu, VF_VCPU_GRP_TIMER, VF_VCPU_TIMER_IRQ_VIRTUAL);
	cpu->ptimer_irq = attr_u32(cpu, VF_VCPU_GRP_TIMER, VF_VCPU_TIMER_IRQ_PHYSICAL);
	cpu->pmu_irq = VF_ARM64_NO_IRQ;
	if (vf_arm64_bank_find(&cpu->bank, pmcr_id) && !vf_arm64_reg_get(cpu, pmcr_id, &pmcr)) {
		cpu->pmu_irq = attr_u32(cpu, VF_VCPU_GRP_PMU, VF_VCPU_PMU_IRQ);
		/* The cycle counter, and those that PMCR_EL0 counts. */
		cpu->pmu_counters = 1 + (uint32_t) (pmcr >> PMCR_N_SHIFT & PMCR_N_MASK);
	}
	if (vf_arm64_get_attr(cpu->arm64, cpu->fd, VF_VCPU_GRP_PVTIME, VF_VCPU_PVTIME_IPA,
			      &cpu->pvtime))
		cpu->pvtime = UINT64_MAX;
}

static int refuse_unsaved(const struct vf_arm64_cpu *cpu, struct vferry_error *err)
{
	uint64_t pfr1_id = VF_REG_OF_SYSREG(VF_SYSREG_ID_AA64PFR1_EL1);
	const struct vf_arm64_reg *pfr1 = vf_arm64_bank_find(&cpu->bank, pfr1_id);

	if (pfr1 && (vf_arm64_reg_u64(pfr1_id, pfr1->value) >> MTE_SHIFT & 0xf) >= MTE_TAGS)
		return vferry_error_set(err, -ENOTSUP, "kvm-mte", cpu->name,
					"a guest whose memory has tags can't be migrated: leave "
					"KVM_CAP_ARM_MTE off");
	if (vf_arm64_bank_find(&cpu->bank, VF_REG_OF_SYSREG(VF_SYSREG_HCR_EL2)))
		return vferry_error_set(err, -ENOTSUP, "kvm-nested", cpu->name,
					"a guest that may run guests of its own can't be migrated: "
					"leave EL2 out of its vCPUs");
	return 0;
}

int vf_arm64_cpu_probe(struct vf_arm64_cpu *cpu, struct vferry_error *err)
{
	int code = read_list(cpu, err);

	if (!code)
		code = vf_arm64_cpu_read_id(cpu, err);
	if (!code)
		code = refuse_unsaved(cpu, err);
	if (code)
		return code;
	read_attributes(cpu);
	cpu->section = (struct vferry_section_desc) { .id = SECTION_STATE, .name = "state",
		.version = 1, .oldest = 1, .max_bytes = vf_arm64_cpu_image_bytes(&cpu->bank) };
	return 0;
}
