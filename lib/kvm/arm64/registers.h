/* SPDX-License-Identifier: MIT */
/*
 * registers.h - the registers of an arm64 vCPU, as KVM_GET_REG_LIST names them. No KVM here.
 *
 * Model. A bank holds the registers of one vCPU, rising by id; an id says how many bytes a value
 * has. Which registers there are is asked of KVM once; nothing that comes from outside adds one.
 *
 * Registers that say what a vCPU is (ID registers, caches, firmware, vector lengths) can't be
 * written freely: they are compared before anything else is sent, and written before the others.
 * The guest's counters (CNTVCT, CNTPCT) are no vCPU's own, and not in a bank: see counter.c.
 */
#ifndef VF_KVM_ARM64_REGISTERS_H
#define VF_KVM_ARM64_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VF_ARM64_REGS_MAX	4096u
#define VF_ARM64_REG_BYTES_MAX	256u	/* a Z register */
#define VF_ARM64_NAME_BYTES	48u

struct vf_arm64_reg {
	uint64_t id;
	bool present;		/* `value` is valid */
	_Alignas(16) uint8_t value[VF_ARM64_REG_BYTES_MAX];	/* little-endian */
};

struct vf_arm64_bank {
	struct vf_arm64_reg *regs;	/* owned */
	uint32_t count;
};

/**
 * vf_arm64_bank_init() - of @count ids in any order, without values
 * Return: 0; -ENOMEM; -EINVAL an id is no register of arm64, or comes twice.
 */
int vf_arm64_bank_init(struct vf_arm64_bank *bank, const uint64_t *ids, uint32_t count);
/** vf_arm64_bank_copy() - the same registers, without values. Return: 0; -ENOMEM. */
int vf_arm64_bank_copy(struct vf_arm64_bank *bank, const struct vf_arm64_bank *from);
void vf_arm64_bank_done(struct vf_arm64_bank *bank);
/* NULL: no such. */
struct vf_arm64_reg *vf_arm64_bank_find(const struct vf_arm64_bank *bank, uint64_t id);

/* Bytes of its value; 0: no id of arm64, or larger than VF_ARM64_REG_BYTES_MAX. */
uint32_t vf_arm64_reg_bytes(uint64_t id);
/* Does it say what the vCPU is? */
bool vf_arm64_reg_is_id(uint64_t id);
/* x0, PC, PSTATE, ...: without them there is no vCPU. */
bool vf_arm64_reg_is_core(uint64_t id);
/* CNTVCT or CNTPCT */
bool vf_arm64_reg_is_counter(uint64_t id);
/* The first 64 bits of a value; shorter ones are filled up. */
uint64_t vf_arm64_reg_u64(uint64_t id, const uint8_t *value);

/* What an embedder asks for with KVM_ARM_VCPU_INIT, and what brings registers of its own. */
enum vf_arm64_feature {
	VF_ARM64_FEATURE_NONE = 0,
	VF_ARM64_FEATURE_SVE = 1,
	VF_ARM64_FEATURE_PTRAUTH = 2,
	VF_ARM64_FEATURE_PMU = 3,
	VF_ARM64_FEATURE__COUNT = 4,
};
enum vf_arm64_feature vf_arm64_reg_feature(uint64_t id);
const char *vf_arm64_feature_name(enum vf_arm64_feature feature);

/* "ID_AA64PFR0_EL1", "x3", "S3_0_C1_C0_2"; in @buffer of VF_ARM64_NAME_BYTES. */
const char *vf_arm64_reg_name(uint64_t id, char *buffer);

#endif
