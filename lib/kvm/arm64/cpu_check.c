/* SPDX-License-Identifier: MIT */
/*
 * cpu_check.c - what a vCPU must find on the other side, compared before RAM is sent.
 *
 * Identity of cpu/N, version 1: u16 1 | u32 registers, up to 4096 |
 *	each, rising: u64 id | u8 the value follows | the value, of the size that the id says |
 *	u32 PPI of the virtual timer | u32 PPI of the physical timer |
 *	u32 interrupt of the PMU (0xffffffff for these: none) | u32 counters of the PMU, 0 for none |
 *	u64 address of the stolen time (2^64-1: none)
 *
 * Values are sent of registers that say what the vCPU is. Where the source's differs from what this
 * vCPU shows, only KVM knows whether it can show that too: so it is tried, and put back. A vCPU that
 * ran takes no other value any more, and is refused likewise.
 */
#include <errno.h>
#include <string.h>

#include "kvm/arm64/arm64_internal.h"
#include "vferry_kvm_arm64.h"

#define IDENTITY_VERSION	1u

int vf_arm64_cpu_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct vf_arm64_cpu *cpu = user;

	(void) err;
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_u32(w, cpu->bank.count);
	for (uint32_t i = 0; i < cpu->bank.count; i++) {
		const struct vf_arm64_reg *reg = &cpu->bank.regs[i];

		vferry_write_u64(w, reg->id);
		vferry_write_u8(w, reg->present);
		if (reg->present)
			vferry_write_bytes(w, reg->value, vf_arm64_reg_bytes(reg->id));
	}
	vferry_write_u32(w, cpu->timer_irq);
	vferry_write_u32(w, cpu->ptimer_irq);
	vferry_write_u32(w, cpu->pmu_irq);
	vferry_write_u32(w, cpu->pmu_counters);
	vferry_write_u64(w, cpu->pvtime);
	return 0;
}

/* One register of the source. */
struct entry {
	uint64_t id;
	const uint8_t *value;	/* NULL: not sent */
};

static int read_entry(struct entry *entry, struct vferry_reader *r)
{
	uint64_t last = entry->id;
	uint8_t has_value;

	entry->id = vferry_read_u64(r);
	has_value = vferry_read_u8(r);
	entry->value = NULL;
	if (entry->id <= last || !vf_arm64_reg_bytes(entry->id) || has_value > 1)
		return -EINVAL;
	if (has_value)
		entry->value = vferry_read_bytes(r, vf_arm64_reg_bytes(entry->id));
	return has_value && !entry->value ? -EINVAL : 0;
}

/* Those of one feature are one reason, not fifty. */
static void add_missing(const struct vf_arm64_cpu *cpu, const struct entry *entry, bool *told,
			struct vferry_reasons *reasons)
{
	enum vf_arm64_feature feature = vf_arm64_reg_feature(entry->id);
	char name[VF_ARM64_NAME_BYTES];

	if (feature == VF_ARM64_FEATURE_NONE) {
		vferry_reasons_add(reasons, "cpu-register", cpu->name,
				   "the source has %s, which this host's KVM has not",
				   vf_arm64_reg_name(entry->id, name));
	} else if (!told[feature]) {
		told[feature] = true;
		vferry_reasons_add(reasons, "cpu-feature", cpu->name,
				   "the vCPU has %s on the source and not here: it has no %s",
				   vf_arm64_feature_name(feature),
				   vf_arm64_reg_name(entry->id, name));
	}
}

/* What may be changed in an ID register; nothing where KVM does not say. */
static uint64_t writable(const struct vferry_kvm_arm64 *arm64, uint64_t id)
{
	uint32_t sysreg = (uint32_t) (id & VF_REG_NUMBER_MASK);

	if (!arm64->has_masks || id != VF_REG_OF_SYSREG(sysreg))
		return 0;
	return arm64->masks[VF_KVM_MASK_INDEX(sysreg >> 11 & 7, sysreg >> 3 & 7, sysreg & 7)];
}

static void add_refused(const struct vf_arm64_cpu *cpu, const struct entry *entry,
			const struct vf_arm64_reg *own, int code, struct vferry_reasons *reasons)
{
	uint64_t theirs = vf_arm64_reg_u64(entry->id, entry->value);
	uint64_t ours = vf_arm64_reg_u64(own->id, own->value);
	uint64_t fixed = (theirs ^ ours) & ~writable(cpu->arm64, entry->id);
	char name[VF_ARM64_NAME_BYTES];

	(void) vf_arm64_reg_name(entry->id, name);
	if (entry->id == VF_REG_SVE_VLS)
		vferry_reasons_add(reasons, "cpu-sve-lengths", cpu->name,
				   "the vector lengths of SVE are 0x%llx on the source and 0x%llx "
				   "here (KVM_REG_ARM64_SVE_VLS)", (unsigned long long) theirs,
				   (unsigned long long) ours);
	else if (code == -EBUSY)
		vferry_reasons_add(reasons, "cpu-id-register", cpu->name,
				   "%s is 0x%llx on the source and 0x%llx here, where the vCPU ran "
				   "already", vf_arm64_reg_name(entry->id, name),
				   (unsigned long long) theirs, (unsigned long long) ours);
	else
		vferry_reasons_add(reasons, "cpu-id-register", cpu->name,
				   "%s is 0x%llx on the source and 0x%llx here, and this host's KVM "
				   "can't show the source's: bits 0x%llx are %s",
				   vf_arm64_reg_name(entry->id, name),
				   (unsigned long long) theirs, (unsigned long long) ours,
				   (unsigned long long) (fixed ? fixed : theirs ^ ours),
				   fixed ? "fixed" : "not what this host can do");
}

/* Return: 0, with a reason if it can't be shown; -errno if what was tried can't be taken back. */
static int try_value(const struct vf_arm64_cpu *cpu, const struct entry *entry,
		     const struct vf_arm64_reg *own, struct vferry_reasons *reasons)
{
	int code = vf_arm64_reg_set(cpu, entry->id, entry->value);

	if (!code)
		return vf_arm64_reg_set(cpu, own->id, own->value);
	add_refused(cpu, entry, own, code, reasons);
	return 0;
}

static int check_register(const struct vf_arm64_cpu *cpu, const struct entry *entry, bool *told,
			  struct vferry_reasons *reasons)
{
	const struct vf_arm64_reg *own = vf_arm64_bank_find(&cpu->bank, entry->id);

	if (!own) {
		add_missing(cpu, entry, told, reasons);
		return 0;
	}
	if (!entry->value || !own->present ||
	    !memcmp(entry->value, own->value, vf_arm64_reg_bytes(own->id)))
		return 0;
	return try_value(cpu, entry, own, reasons);
}

static int check_registers(const struct vf_arm64_cpu *cpu, struct vferry_reader *source,
			   struct vferry_reasons *reasons)
{
	bool told[VF_ARM64_FEATURE__COUNT] = { false };
	struct entry entry = { 0 };
	uint32_t count = vferry_read_u32(source);
	int code = count > VF_ARM64_REGS_MAX ? -EINVAL : 0;

	for (uint32_t i = 0; i < count && !code; i++) {
		code = read_entry(&entry, source);
		if (!code)
			code = check_register(cpu, &entry, told, reasons);
	}
	return code;
}

static void check_irq(const struct vf_arm64_cpu *cpu, const char *what, uint32_t theirs,
		      uint32_t ours, struct vferry_reasons *reasons)
{
	if (theirs != ours)
		vferry_reasons_add(reasons, "cpu-interrupt", cpu->name,
				   "%s has interrupt %d on the source and %d here", what,
				   (int) theirs, (int) ours);
}

int vf_arm64_cpu_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct vf_arm64_cpu *cpu = user;
	uint16_t version = vferry_read_u16(source);
	uint32_t timer_irq, ptimer_irq, pmu_irq, pmu_counters;
	uint64_t pvtime;
	int code;

	if (version != IDENTITY_VERSION)
		return -EINVAL;
	code = check_registers(cpu, source, reasons);
	timer_irq = vferry_read_u32(source);
	ptimer_irq = vferry_read_u32(source);
	pmu_irq = vferry_read_u32(source);
	pmu_counters = vferry_read_u32(source);
	pvtime = vferry_read_u64(source);
	if (code)
		return code;
	if (!vferry_reader_done(source))
		return -EINVAL;
	check_irq(cpu, "the virtual timer", timer_irq, cpu->timer_irq, reasons);
	check_irq(cpu, "the physical timer", ptimer_irq, cpu->ptimer_irq, reasons);
	check_irq(cpu, "the PMU", pmu_irq, cpu->pmu_irq, reasons);
	if (pmu_counters && cpu->pmu_counters && pmu_counters != cpu->pmu_counters)
		vferry_reasons_add(reasons, "cpu-pmu", cpu->name,
				   "the PMU has %u counters on the source and %u here", pmu_counters,
				   cpu->pmu_counters);
	if (pvtime != cpu->pvtime)
		vferry_reasons_add(reasons, "cpu-stolen-time", cpu->name,
				   "the stolen time is at 0x%llx on the source and at 0x%llx here",
				   (unsigned long long) pvtime, (unsigned long long) cpu->pvtime);
	return 0;
}
