/* SPDX-License-Identifier: MIT */
/*
 * cpu_image.h - what an arm64 vCPU is made of, and its section. No KVM here.
 *
 * Section "state" of cpu/N, version 1, little-endian:
 *
 *	u32 MP_STATE
 *	u8  an SError is pending | u8 its syndrome is valid | u64 syndrome
 *	u32 registers, up to 4096
 *	each, rising: u64 id | the value, of the size that the id says
 *
 * Ids are those of KVM_GET_ONE_REG (Documentation/virt/kvm/api.rst). A register that this vCPU has
 * not is refused; one that the source had not keeps the value it has here, but no core register
 * (x0, PC, ...) may be missing.
 */
#ifndef VF_KVM_ARM64_CPU_IMAGE_H
#define VF_KVM_ARM64_CPU_IMAGE_H

#include <vferry/error.h>
#include <vferry/stream.h>

#include "kvm/arm64/registers.h"

struct vf_arm64_cpu_image {
	uint32_t mp_state;
	bool serror_pending, serror_has_esr;
	uint64_t serror_esr;
	struct vf_arm64_bank bank;
};

/** vf_arm64_cpu_image_init() - with the registers of @bank, without values. Return: 0; -ENOMEM. */
int vf_arm64_cpu_image_init(struct vf_arm64_cpu_image *image, const struct vf_arm64_bank *bank);
void vf_arm64_cpu_image_done(struct vf_arm64_cpu_image *image);

/* Most bytes of a section that a vCPU with these registers can read. */
uint32_t vf_arm64_cpu_image_bytes(const struct vf_arm64_bank *bank);
void vf_arm64_cpu_image_write(const struct vf_arm64_cpu_image *image, struct vferry_writer *w);
/** vf_arm64_cpu_image_read() - Return: 0; -EINVAL damaged, or not for this vCPU. */
int vf_arm64_cpu_image_read(struct vf_arm64_cpu_image *image, struct vferry_reader *r,
			    const char *object, struct vferry_error *err);

#endif
