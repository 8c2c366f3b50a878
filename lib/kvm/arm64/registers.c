/* SPDX-License-Identifier: MIT */
/* registers.c - see registers.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/arm64/registers.h"
#include "vferry_kvm_arm64.h"

/* ---- ids ---- */

static uint32_t kind(uint64_t id)
{
	return (uint32_t) ((id & VF_REG_KIND_MASK) >> VF_REG_KIND_SHIFT);
}

static uint32_t number(uint64_t id)
{
	return (uint32_t) (id & VF_REG_NUMBER_MASK);
}

/* A system register's name, taken apart. */
struct sysreg {
	unsigned op0, op1, crn, crm, op2;
};

static struct sysreg sysreg_of(uint64_t id)
{
	uint32_t n = number(id);

	return (struct sysreg) { .op0 = n >> 14 & 3, .op1 = n >> 11 & 7, .crn = n >> 7 & 15,
		.crm = n >> 3 & 15, .op2 = n & 7 };
}

uint32_t vf_arm64_reg_bytes(uint64_t id)
{
	uint32_t log2 = (uint32_t) ((id & VF_REG_SIZE_MASK) >> VF_REG_SIZE_SHIFT);

	if ((id & VF_REG_ARCH_MASK) != VF_REG_ARM64 || 1u << log2 > VF_ARM64_REG_BYTES_MAX)
		return 0;
	return 1u << log2;
}

bool vf_arm64_reg_is_id(uint64_t id)
{
	struct sysreg s = sysreg_of(id);

	switch (kind(id)) {
	case VF_REG_DEMUX:
	case VF_REG_FIRMWARE:
	case VF_REG_FIRMWARE_BITMAP:
		return true;
	case VF_REG_SVE:
		return id == VF_REG_SVE_VLS;
	case VF_REG_SYSREG:	/* op1 2 is CSSELR_EL1, which the guest writes */
		return s.op0 == 3 && s.crn == 0 && (s.op1 == 0 || s.op1 == 1 || s.op1 == 3);
	}
	return false;
}

bool vf_arm64_reg_is_core(uint64_t id)
{
	return kind(id) == VF_REG_CORE;
}

bool vf_arm64_reg_is_counter(uint64_t id)
{
	return id == VF_REG_TIMER_CNT || id == VF_REG_PTIMER_CNT;
}

uint64_t vf_arm64_reg_u64(uint64_t id, const uint8_t *value)
{
	uint32_t bytes = vf_arm64_reg_bytes(id);
	uint64_t n = 0;

	for (uint32_t i = 0; i < bytes && i < sizeof(n); i++)
		n |= (uint64_t) value[i] << 8 * i;
	return n;
}

/* ---- features ---- */

enum vf_arm64_feature vf_arm64_reg_feature(uint64_t id)
{
	struct sysreg s = sysreg_of(id);

	if (kind(id) == VF_REG_SVE)
		return VF_ARM64_FEATURE_SVE;
	if (kind(id) != VF_REG_SYSREG || s.op0 != 3)
		return VF_ARM64_FEATURE_NONE;
	if (s.op1 == 0 && s.crn == 1 && s.crm == 2 && s.op2 == 0)	/* ZCR_EL1 */
		return VF_ARM64_FEATURE_SVE;
	if (s.op1 == 0 && s.crn == 2 && s.crm >= 1 && s.crm <= 3)	/* the keys */
		return VF_ARM64_FEATURE_PTRAUTH;
	if (s.crn == 9 && s.crm >= 12 && s.crm <= 14)
		return VF_ARM64_FEATURE_PMU;
	if (s.op1 == 3 && s.crn == 14 && s.crm >= 8)		/* PMEVCNTRn, PMEVTYPERn */
		return VF_ARM64_FEATURE_PMU;
	return VF_ARM64_FEATURE_NONE;
}

const char *vf_arm64_feature_name(enum vf_arm64_feature feature)
{
	static const char *const names[VF_ARM64_FEATURE__COUNT] = {
		[VF_ARM64_FEATURE_NONE] = "nothing more",
		[VF_ARM64_FEATURE_SVE] = "SVE",
		[VF_ARM64_FEATURE_PTRAUTH] = "pointer authentication",
		[VF_ARM64_FEATURE_PMU] = "a PMU",
	};

	return names[feature];
}

/* ---- names ---- */

/* Of op0 3, op1 0, CRn 0: by CRm and op2. */
static const char *const id_names[8][8] = {
	{ "MIDR_EL1", NULL, NULL, NULL, NULL, "MPIDR_EL1", "REVIDR_EL1", NULL },
	{ "ID_PFR0_EL1", "ID_PFR1_EL1", "ID_DFR0_EL1", "ID_AFR0_EL1", "ID_MMFR0_EL1",
	  "ID_MMFR1_EL1", "ID_MMFR2_EL1", "ID_MMFR3_EL1" },
	{ "ID_ISAR0_EL1", "ID_ISAR1_EL1", "ID_ISAR2_EL1", "ID_ISAR3_EL1", "ID_ISAR4_EL1",
	  "ID_ISAR5_EL1", "ID_MMFR4_EL1", "ID_ISAR6_EL1" },
	{ "MVFR0_EL1", "MVFR1_EL1", "MVFR2_EL1", NULL, "ID_PFR2_EL1", "ID_DFR1_EL1",
	  "ID_MMFR5_EL1", NULL },
	{ "ID_AA64PFR0_EL1", "ID_AA64PFR1_EL1", "ID_AA64PFR2_EL1", NULL, "ID_AA64ZFR0_EL1",
	  "ID_AA64SMFR0_EL1", NULL, "ID_AA64FPFR0_EL1" },
	{ "ID_AA64DFR0_EL1", "ID_AA64DFR1_EL1", "ID_AA64DFR2_EL1", NULL, "ID_AA64AFR0_EL1",
	  "ID_AA64AFR1_EL1", NULL, NULL },
	{ "ID_AA64ISAR0_EL1", "ID_AA64ISAR1_EL1", "ID_AA64ISAR2_EL1", "ID_AA64ISAR3_EL1", NULL,
	  NULL, NULL, NULL },
	{ "ID_AA64MMFR0_EL1", "ID_AA64MMFR1_EL1", "ID_AA64MMFR2_EL1", "ID_AA64MMFR3_EL1",
	  "ID_AA64MMFR4_EL1", NULL, NULL, NULL },
};

static const struct {
	uint32_t sysreg;
	const char *name;
} sysreg_names[] = {
	{ VF_SYSREG(3u, 1u, 0u, 0u, 1u), "CLIDR_EL1" }, { VF_SYSREG(3u, 1u, 0u, 0u, 7u), "AIDR_EL1" },
	{ VF_SYSREG(3u, 3u, 0u, 0u, 1u), "CTR_EL0" }, { VF_SYSREG(3u, 3u, 0u, 0u, 7u), "DCZID_EL0" },
	{ VF_SYSREG(3u, 0u, 1u, 0u, 0u), "SCTLR_EL1" }, { VF_SYSREG(3u, 0u, 1u, 2u, 0u), "ZCR_EL1" },
	{ VF_SYSREG(3u, 0u, 2u, 0u, 0u), "TTBR0_EL1" }, { VF_SYSREG(3u, 0u, 2u, 0u, 1u), "TTBR1_EL1" },
	{ VF_SYSREG(3u, 0u, 2u, 0u, 2u), "TCR_EL1" }, { VF_SYSREG(3u, 0u, 12u, 0u, 0u), "VBAR_EL1" },
	{ VF_SYSREG_PMCR_EL0, "PMCR_EL0" },
	{ VF_SYSREG(3u, 3u, 14u, 3u, 1u), "CNTV_CTL_EL0" },
	{ VF_SYSREG(3u, 3u, 14u, 0u, 2u), "CNTV_CVAL_EL0" },	/* KVM's number of it */
};

static const char *sysreg_name(uint64_t id, char *buffer)
{
	struct sysreg s = sysreg_of(id);

	if (s.op0 == 3 && s.op1 == 0 && s.crn == 0 && s.crm < 8 && id_names[s.crm][s.op2])
		return id_names[s.crm][s.op2];
	for (size_t i = 0; i < sizeof(sysreg_names) / sizeof(sysreg_names[0]); i++)
		if (sysreg_names[i].sysreg == number(id))
			return sysreg_names[i].name;
	(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "S%u_%u_C%u_C%u_%u", s.op0, s.op1, s.crn, s.crm,
			s.op2);
	return buffer;
}

static const char *core_name(uint64_t id, char *buffer)
{
	uint32_t n = number(id);

	switch (n) {
	case VF_CORE_SP:
		return "SP";
	case VF_CORE_PC:
		return "PC";
	case VF_CORE_PSTATE:
		return "PSTATE";
	case VF_CORE_SP_EL1:
		return "SP_EL1";
	case VF_CORE_ELR_EL1:
		return "ELR_EL1";
	case VF_CORE_FPSR:
		return "FPSR";
	case VF_CORE_FPCR:
		return "FPCR";
	}
	if (n < VF_CORE_SP)
		(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "x%u", n / 2);
	else if (n < VF_CORE_VREGS)
		(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "SPSR[%u]", (n - VF_CORE_SPSR) / 2);
	else
		(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "v%u", (n - VF_CORE_VREGS) / 4);
	return buffer;
}

static const char *firmware_name(uint64_t id, char *buffer)
{
	static const char *const registers[] = { "PSCI_VERSION", "SMCCC_ARCH_WORKAROUND_1",
		"SMCCC_ARCH_WORKAROUND_2", "SMCCC_ARCH_WORKAROUND_3" };
	static const char *const bitmaps[] = { "STD_BMAP", "STD_HYP_BMAP", "VENDOR_HYP_BMAP",
		"VENDOR_HYP_BMAP_2" };
	const char *const *names = kind(id) == VF_REG_FIRMWARE ? registers : bitmaps;

	if (number(id) < 4)
		return names[number(id)];
	(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "firmware register %u%s", number(id),
			kind(id) == VF_REG_FIRMWARE ? "" : " of features");
	return buffer;
}

static const char *sve_name(uint64_t id, char *buffer)
{
	uint32_t n = number(id);
	const char *what = n < VF_REG_SVE_PREG_FIRST ? "Z" : n < VF_REG_SVE_FFR_FIRST ? "P" : "FFR";

	if (id == VF_REG_SVE_VLS)
		return "the vector lengths of SVE";
	(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "%s%u of SVE", what,
			n % VF_REG_SVE_PREG_FIRST / VF_REG_SVE_SLICES);
	return buffer;
}

const char *vf_arm64_reg_name(uint64_t id, char *buffer)
{
	switch (kind(id)) {
	case VF_REG_CORE:
		return core_name(id, buffer);
	case VF_REG_SYSREG:
		return sysreg_name(id, buffer);
	case VF_REG_FIRMWARE:
	case VF_REG_FIRMWARE_BITMAP:
		return firmware_name(id, buffer);
	case VF_REG_SVE:
		return sve_name(id, buffer);
	case VF_REG_DEMUX:
		(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "CCSIDR_EL1 of cache %u",
				number(id) & 0xffu);
		return buffer;
	}
	(void) snprintf(buffer, VF_ARM64_NAME_BYTES, "register 0x%llx", (unsigned long long) id);
	return buffer;
}

/* ---- banks ---- */

static int compare(const void *a, const void *b)
{
	const struct vf_arm64_reg *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

int vf_arm64_bank_init(struct vf_arm64_bank *bank, const uint64_t *ids, uint32_t count)
{
	*bank = (struct vf_arm64_bank) { 0 };
	bank->regs = calloc(count ? count : 1, sizeof(*bank->regs));
	if (!bank->regs)
		return -ENOMEM;
	bank->count = count;
	for (uint32_t i = 0; i < count; i++)
		bank->regs[i].id = ids[i];
	qsort(bank->regs, count, sizeof(*bank->regs), compare);
	for (uint32_t i = 0; i < count; i++) {
		if (vf_arm64_reg_bytes(bank->regs[i].id) &&
		    (!i || bank->regs[i].id != bank->regs[i - 1].id))
			continue;
		vf_arm64_bank_done(bank);
		return -EINVAL;
	}
	return 0;
}

int vf_arm64_bank_copy(struct vf_arm64_bank *bank, const struct vf_arm64_bank *from)
{
	bank->regs = calloc(from->count ? from->count : 1, sizeof(*bank->regs));
	bank->count = bank->regs ? from->count : 0;
	for (uint32_t i = 0; i < bank->count; i++)
		bank->regs[i].id = from->regs[i].id;
	return bank->regs ? 0 : -ENOMEM;
}

void vf_arm64_bank_done(struct vf_arm64_bank *bank)
{
	free(bank->regs);
	*bank = (struct vf_arm64_bank) { 0 };
}

struct vf_arm64_reg *vf_arm64_bank_find(const struct vf_arm64_bank *bank, uint64_t id)
{
	struct vf_arm64_reg key = { .id = id };

	return bank->count ? bsearch(&key, bank->regs, bank->count, sizeof(key), compare) : NULL;
}
