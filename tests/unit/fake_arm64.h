/* SPDX-License-Identifier: MIT */
/*
 * fake_arm64.h - for tests: an arm64 host's KVM as far as the library sees it, in this process. Its
 * time is a number, its vCPUs have the few registers that a test needs, and any call can be made to
 * fail.
 */
#ifndef TESTS_UNIT_FAKE_ARM64_H
#define TESTS_UNIT_FAKE_ARM64_H

#include <errno.h>
#include <linux/kvm.h>

#include "arm64_side.h"
#include "kvm/arm64/arm64_internal.h"
#include "vferry_kvm_arm64.h"

#define FAKE_KVM	100
#define FAKE_VM		101
#define FAKE_VCPU	110	/* and those after it */
#define FAKE_GIC	120
#define FAKE_ITS	130
#define FAKE_CPUS	2u
#define FAKE_REGS	96u
#define FAKE_HZ		1000000000u	/* a tick is a nanosecond */

#define CORE(number)	VF_REG(VF_REG_CORE, VF_REG_SIZE_U64, (number))
#define X(n)		CORE(2u * (n))
#define MIDR		VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 0u, 0u, 0u))
#define MPIDR		VF_REG_OF_SYSREG(VF_SYSREG_MPIDR_EL1)
#define PFR1		VF_REG_OF_SYSREG(VF_SYSREG_ID_AA64PFR1_EL1)
#define ISAR0		VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 0u, 6u, 0u))
#define TPIDR		VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 13u, 0u, 4u))
#define PMCR		VF_REG_OF_SYSREG(VF_SYSREG_PMCR_EL0)
#define CSSELR		VF_REG_OF_SYSREG(VF_SYSREG(3u, 2u, 0u, 0u, 0u))
#define Z(n)		VF_REG(VF_REG_SVE, VF_REG_SIZE_U2048, 32u * (n))

struct fake_reg {
	uint64_t id;
	uint64_t changeable;	/* bits that a write may change; of ID registers some, or none */
	uint8_t value[VF_ARM64_REG_BYTES_MAX];
	unsigned written;
};

struct fake_vcpu {
	struct fake_reg regs[FAKE_REGS];
	uint32_t count;
	bool ran;
	struct vf_kvm_arm64_events events;
	struct kvm_mp_state mp_state;
};

struct fake_kvm {
	struct fake_vcpu vcpu[FAKE_CPUS];
	int without;			/* this capability is not there; 0: all are */
	int list_code;			/* what KVM_GET_REG_LIST fails with */
	uint64_t now_ns;		/* CLOCK_REALTIME */
	uint64_t counter_base;		/* the host's counter is that and now_ns */
	uint64_t offset[2];		/* of CNTVCT and CNTPCT to it */
	bool has_physical, one_offset, drops_counts;
	uint32_t hz;
	uint64_t distributor, region;
	unsigned calls, fail_at;	/* from 1 on; 0: none fails */
	struct vferry_kvm_arm64 *arm64;
};

/* ---- registers ---- */

static inline struct fake_reg *fake_find(struct fake_vcpu *vcpu, uint64_t id)
{
	for (uint32_t i = 0; i < vcpu->count; i++)
		if (vcpu->regs[i].id == id)
			return &vcpu->regs[i];
	return NULL;
}

static inline struct fake_reg *fake_add(struct fake_vcpu *vcpu, uint64_t id, uint64_t value,
					uint64_t changeable)
{
	struct fake_reg *reg = &vcpu->regs[vcpu->count++];

	assert_true(vcpu->count <= FAKE_REGS);
	*reg = (struct fake_reg) { .id = id, .changeable = changeable };
	memcpy(reg->value, &value, sizeof(value));
	return reg;
}

/* On every vCPU. */
static inline void fake_add_all(struct fake_kvm *k, uint64_t id, uint64_t value,
				uint64_t changeable)
{
	for (unsigned n = 0; n < FAKE_CPUS; n++)
		fake_add(&k->vcpu[n], id, value, changeable);
}

static inline uint64_t fake_value(struct fake_kvm *k, unsigned n, uint64_t id)
{
	uint64_t value;

	memcpy(&value, fake_find(&k->vcpu[n], id)->value, sizeof(value));
	return value;
}

static inline int fake_counter_reg(struct fake_kvm *k, bool set, uint64_t id, uint64_t *value)
{
	unsigned which = id == VF_REG_PTIMER_CNT;
	uint64_t host = k->counter_base + k->now_ns;

	if (which && !k->has_physical)
		return -ENOENT;
	if (!set)
		*value = host - k->offset[which];
	else if (!k->one_offset && !k->drops_counts)
		k->offset[which] = host - *value;
	return 0;
}

static inline int fake_one_reg(struct fake_kvm *k, struct fake_vcpu *vcpu, bool set,
			       const struct kvm_one_reg *one)
{
	void *value = (void *) (uintptr_t) one->addr;
	uint32_t bytes = vf_arm64_reg_bytes(one->id);
	struct fake_reg *reg = fake_find(vcpu, one->id);
	uint64_t theirs = 0, own = 0;

	if (vf_arm64_reg_is_counter(one->id))
		return fake_counter_reg(k, set, one->id, value);
	if (!reg)
		return -ENOENT;
	if (!set) {
		memcpy(value, reg->value, bytes);
		return 0;
	}
	memcpy(&theirs, value, bytes < 8 ? bytes : 8);
	memcpy(&own, reg->value, bytes < 8 ? bytes : 8);
	if (vcpu->ran && vf_arm64_reg_is_id(reg->id) && theirs != own)
		return -EBUSY;
	if ((theirs ^ own) & ~reg->changeable)
		return -EINVAL;
	memcpy(reg->value, value, bytes);
	reg->written++;
	return 0;
}

static inline int fake_list(const struct fake_kvm *k, const struct fake_vcpu *vcpu,
			    struct kvm_reg_list *list)
{
	uint64_t room = list->n;
	uint32_t counters = k->has_physical ? 2 : 1;

	if (k->list_code)
		return k->list_code;
	list->n = vcpu->count + counters;
	if (room < list->n)
		return -E2BIG;
	for (uint32_t i = 0; i < vcpu->count; i++)
		list->reg[i] = vcpu->regs[i].id;
	list->reg[vcpu->count] = VF_REG_TIMER_CNT;
	if (k->has_physical)
		list->reg[vcpu->count + 1] = VF_REG_PTIMER_CNT;
	return 0;
}

/* ---- attributes ---- */

static inline int fake_get_attr(const struct fake_kvm *k, int fd,
				const struct kvm_device_attr *attr)
{
	void *to = (void *) (uintptr_t) attr->addr;
	uint32_t small = 0;
	uint64_t large = 0;

	if (fd < FAKE_GIC) {
		small = 27 - (uint32_t) attr->attr;
		if (attr->group != VF_VCPU_GRP_TIMER)
			return -ENXIO;
		memcpy(to, &small, sizeof(small));
		return 0;
	}
	switch (attr->group) {
	case VF_VGIC_GRP_ADDR:
		memcpy(&large, to, sizeof(large));
		if (attr->attr == VF_VGIC_ADDR_REDIST_REGION && large)
			return -ENOENT;
		large = attr->attr == VF_VGIC_ADDR_DIST ? k->distributor : k->region;
		memcpy(to, &large, sizeof(large));
		return 0;
	case VF_VGIC_GRP_NR_IRQS:
		small = 64;
		break;
	}
	memcpy(to, &small, sizeof(small));
	return 0;
}

static inline int fake_set_offset(struct fake_kvm *k, const struct vf_kvm_counter_offset *offset)
{
	k->one_offset = true;
	k->offset[0] = k->offset[1] = offset->counter_offset;
	return 0;
}

static inline int fake_masks(struct fake_kvm *k, const struct vf_kvm_reg_masks *masks)
{
	uint64_t *to = (uint64_t *) (uintptr_t) masks->addr;

	assert_int_equal(masks->range, 0);
	for (uint32_t i = 0; i < k->vcpu[0].count; i++) {
		const struct fake_reg *reg = &k->vcpu[0].regs[i];
		uint32_t n = (uint32_t) (reg->id & 0xffff);

		if (vf_arm64_reg_is_id(reg->id) && reg->id == VF_REG_OF_SYSREG(n))
			to[VF_KVM_MASK_INDEX(n >> 11 & 7, n >> 3 & 7, n & 7)] = reg->changeable;
	}
	return 0;
}

/* ---- the table of calls ---- */

static inline int fake_vcpu_call(struct fake_kvm *k, int fd, unsigned long request, void *argument)
{
	struct fake_vcpu *vcpu = &k->vcpu[fd - FAKE_VCPU];

	switch (request) {
	case KVM_GET_REG_LIST:
		return fake_list(k, vcpu, argument);
	case KVM_GET_ONE_REG:
	case KVM_SET_ONE_REG:
		return fake_one_reg(k, vcpu, request == KVM_SET_ONE_REG, argument);
	case VF_KVM_GET_VCPU_EVENTS:
		memcpy(argument, &vcpu->events, sizeof(vcpu->events));
		return 0;
	case VF_KVM_SET_VCPU_EVENTS:
		memcpy(&vcpu->events, argument, sizeof(vcpu->events));
		return 0;
	case KVM_GET_MP_STATE:
		memcpy(argument, &vcpu->mp_state, sizeof(vcpu->mp_state));
		return 0;
	case KVM_SET_MP_STATE:
		memcpy(&vcpu->mp_state, argument, sizeof(vcpu->mp_state));
		return 0;
	case KVM_GET_DEVICE_ATTR:
		return fake_get_attr(k, fd, argument);
	}
	fail_msg("vCPU: request 0x%lx", request);
	return -ENOTTY;
}

static inline int fake_call(void *user, int fd, unsigned long request, void *argument)
{
	struct fake_kvm *k = user;

	if (++k->calls == k->fail_at)
		return -EIO;
	if (request == KVM_CHECK_EXTENSION)
		return (int) (uintptr_t) argument != k->without;
	if (fd >= FAKE_VCPU && fd < FAKE_VCPU + (int) FAKE_CPUS)
		return fake_vcpu_call(k, fd, request, argument);
	if (request == KVM_GET_DEVICE_ATTR)
		return fake_get_attr(k, fd, argument);
	if (fd == FAKE_VM && request == VF_KVM_SET_COUNTER_OFFSET)
		return fake_set_offset(k, argument);
	if (fd == FAKE_VM && request == VF_KVM_GET_REG_WRITABLE_MASKS)
		return fake_masks(k, argument);
	fail_msg("descriptor %d: request 0x%lx", fd, request);
	return -ENOTTY;
}

static inline uint64_t fake_counter(void *user)
{
	const struct fake_kvm *k = user;

	return k->counter_base + k->now_ns;
}

static inline uint32_t fake_hz(void *user)
{
	return ((const struct fake_kvm *) user)->hz;
}

static inline uint64_t fake_realtime(void *user)
{
	return ((const struct fake_kvm *) user)->now_ns;
}

/* ---- a host ---- */

/* Two vCPUs: core registers, ID registers of which ISAR0 may be changed, firmware, and others. */
static inline struct fake_kvm *fake_new(uint64_t counter_base)
{
	struct fake_kvm *k = calloc(1, sizeof(*k));

	*k = (struct fake_kvm) { .now_ns = 1000 * 1000000000ull, .counter_base = counter_base,
		.has_physical = true, .hz = FAKE_HZ, .distributor = 0x08000000,
		.region = 0x080a0000 };
	for (unsigned n = 0; n < 31; n++)
		fake_add_all(k, X(n), 0x1000 + n, ~0ull);
	fake_add_all(k, CORE(VF_CORE_PC), 0x40000000, ~0ull);
	fake_add_all(k, CORE(VF_CORE_PSTATE), 0x3c5, ~0ull);
	fake_add_all(k, VF_REG(VF_REG_CORE, VF_REG_SIZE_U128, VF_CORE_VREGS), 0x77, ~0ull);
	fake_add_all(k, MIDR, 0x410fd0c1, 0);
	fake_add_all(k, ISAR0, 0x1021, 0xf000);
	fake_add_all(k, PFR1, 0x21, 0);
	fake_add_all(k, VF_REG_PSCI_VERSION, 0x10001, ~0ull);
	fake_add_all(k, TPIDR, 0, ~0ull);
	fake_add_all(k, CSSELR, 0, ~0ull);
	for (unsigned n = 0; n < FAKE_CPUS; n++)
		fake_add(&k->vcpu[n], MPIDR, 0x80000000 + n, ~0ull);
	return k;
}

static inline int fake_try(struct fake_kvm *k, enum vferry_kvm_time time, struct vferry_error *err)
{
	static const int its = FAKE_ITS;
	const int vcpu[FAKE_CPUS] = { FAKE_VCPU, FAKE_VCPU + 1 };
	const struct vf_arm64_calls calls = { .user = k, .call = fake_call, .counter = fake_counter,
		.counter_hz = fake_hz, .realtime_ns = fake_realtime };
	struct vferry_kvm_arm64_config config = { .size = sizeof(config), .kvm = FAKE_KVM,
		.vm = FAKE_VM, .vcpu = vcpu, .cpu_count = FAKE_CPUS, .gic = FAKE_GIC, .its = &its,
		.its_count = 1, .time = time };

	*err = (struct vferry_error) VFERRY_ERROR_INIT;
	return vf_arm64_new(&config, &calls, &k->arm64, err);
}

static inline void fake_start(struct fake_kvm *k, enum vferry_kvm_time time)
{
	struct vferry_error err;

	if (fake_try(k, time, &err))
		fail_msg("%s: %s", err.object, err.message);
}

static inline void fake_free(struct fake_kvm *k)
{
	vferry_kvm_arm64_free(k->arm64);
	free(k);
}

#endif
