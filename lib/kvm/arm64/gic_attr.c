/* SPDX-License-Identifier: MIT */
/*
 * gic_attr.c - the VGICv3 and the ITSs of a VM behind struct vferry_gic_ops: their descriptors are
 * its device numbers. What is done with them is gic_component.c's.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>

#include "kvm/arm64/arm64_internal.h"
#include "kvm/call.h"
#include "vferry_kvm_arm64.h"

static int device_attr(const struct vferry_kvm_arm64 *arm64, int fd, unsigned long request,
		       uint32_t group, uint64_t attr, void *value)
{
	struct kvm_device_attr attribute = { .group = group, .attr = attr,
		.addr = (uintptr_t) value };

	return vf_arm64_call(arm64, fd, request, &attribute);
}

int vf_arm64_get_attr(const struct vferry_kvm_arm64 *arm64, int fd, uint32_t group, uint64_t attr,
		      void *value)
{
	return device_attr(arm64, fd, KVM_GET_DEVICE_ATTR, group, attr, value);
}

static int set(void *user, int device, uint32_t group, uint64_t attr, const uint64_t *value)
{
	return device_attr(user, device, KVM_SET_DEVICE_ATTR, group, attr, (void *) value);
}

/* An attribute of 32 bits leaves the upper half as it is. */
static int get(void *user, int device, uint32_t group, uint64_t attr, uint64_t *value)
{
	uint64_t answer = 0;
	int code = device_attr(user, device, KVM_GET_DEVICE_ATTR, group, attr, &answer);

	if (!code)
		*value = answer;
	return code;
}

static int release(void *user, struct vferry_error *err)
{
	struct vferry_kvm_arm64 *arm64 = user;

	return arm64->release(arm64->user, err);
}

/* Until KVM has no further region: it is told which one, and describes that. */
static void read_regions(struct vferry_kvm_arm64 *arm64)
{
	for (uint32_t i = 0; i < VF_ARM64_REGIONS_MAX; i++) {
		uint64_t region = i;

		if (vf_arm64_get_attr(arm64, arm64->gic_fd, VF_VGIC_GRP_ADDR,
				      VF_VGIC_ADDR_REDIST_REGION, &region))
			return;
		arm64->regions[arm64->region_count++] = region;
	}
}

static int read_addresses(struct vferry_kvm_arm64 *arm64, struct vferry_error *err)
{
	int code = vf_arm64_get_attr(arm64, arm64->gic_fd, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_DIST,
				     &arm64->distributor);

	if (code)
		return vferry_error_set(err, code, "kvm-config", "gic",
					"the address of the distributor can't be read (%s): is it a "
					"VGICv3?", vferry_errno_name(code));
	read_regions(arm64);
	if (!arm64->region_count)
		return vferry_error_set(err, -EINVAL, "kvm-config", "gic",
					"the VGIC has no redistributors");
	return 0;
}

/* Aff3 is apart from the others in MPIDR. */
static uint32_t affinity_of(const struct vf_arm64_cpu *cpu)
{
	uint64_t id = VF_REG_OF_SYSREG(VF_SYSREG_MPIDR_EL1);
	const struct vf_arm64_reg *reg = vf_arm64_bank_find(&cpu->bank, id);
	uint64_t mpidr = reg ? vf_arm64_reg_u64(id, reg->value) : 0;

	return (uint32_t) ((mpidr & 0xffffff) | (mpidr >> 32 & 0xff) << 24);
}

int vf_arm64_gic_probe(struct vferry_kvm_arm64 *arm64, const int *its, uint32_t its_count,
		       struct vferry_error *err)
{
	uint32_t *affinity = calloc(arm64->cpu_count, sizeof(*affinity));
	struct vferry_gic_config config = { .size = sizeof(config), .ops = &arm64->gic_ops,
		.user = arm64, .device = arm64->gic_fd, .affinity = affinity,
		.cpu_count = arm64->cpu_count, .its = its, .its_count = its_count };
	int code;

	arm64->gic_ops = (struct vferry_gic_ops) { .size = sizeof(arm64->gic_ops), .set_attr = set,
		.get_attr = get, .release = arm64->release ? release : NULL };
	if (!affinity)
		return vferry_error_set(err, -ENOMEM, "no-memory", "gic",
					"no memory for the vCPUs' affinities");
	for (uint32_t i = 0; i < arm64->cpu_count; i++)
		affinity[i] = affinity_of(&arm64->cpus[i]);
	code = read_addresses(arm64, err);
	if (!code)
		code = vferry_gic_new(&config, &arm64->gic, err);
	free(affinity);
	return code;
}
