/* SPDX-License-Identifier: MIT */
/* kvm_drills_arm64.h - see kvm_drills.h */
#ifndef TESTS_KVM_DRILLS_ARM64_H
#define TESTS_KVM_DRILLS_ARM64_H

#include "vmm/kvm/arm64/arm64.h"

#include "vferry_kvm_arm64.h"

#define DRILL_MESSAGES	WORKER_SLOTS
#define REQUESTER	(1u << 3)	/* of device 0: slot 1 */
#define ITS_DOORBELL	0x10040u
#define ITS_CMD_CLEAR	0x04ull
#define COMMAND_BYTES	32u
#define CORE(field, size) (KVM_REG_ARM64 | (size) | KVM_REG_ARM_CORE | \
			   offsetof(struct kvm_regs, field) / sizeof(uint32_t))

/* ---- interrupts ---- */

static inline struct vferry_irq_route drill_message(unsigned vector)
{
	return (struct vferry_irq_route) { .kind = VFERRY_IRQ_MSI,
					   .address = ARM64_ITS + ITS_DOORBELL, .data = vector,
					   .requester_id = REQUESTER };
}

static inline void drill_attribute(int fd, unsigned long request, uint32_t group, uint64_t number,
				   uint64_t *value)
{
	struct kvm_device_attr attribute = { .group = group, .attr = number,
					     .addr = (uintptr_t) value };

	assert_int_equal(ioctl(fd, request, &attribute), 0);
}

/* As KVM writes it into the redistributor's table. */
static inline bool drill_is_pending(struct rig *rig, uint32_t lpi)
{
	const uint8_t *table = drill_at(rig, ARM64_RAM + WORKER_LPI_PENDING, WORKER_TABLE_BYTES);

	drill_attribute(arm64_gic_fd(kvm_of(rig)->arch->gic), KVM_SET_DEVICE_ATTR,
			KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_SAVE_PENDING_TABLES, NULL);
	return table[lpi / 8] & 1u << lpi % 8;
}

/* The guest's driver is done with the ITS, so its queue can be gone on with. */
static inline void drill_clear(struct rig *rig, uint32_t event)
{
	const int its = arm64_gic_its_fd(kvm_of(rig)->arch->gic);
	uint64_t written, read, *at;

	drill_attribute(its, KVM_GET_DEVICE_ATTR, KVM_DEV_ARM_VGIC_GRP_ITS_REGS, VF_GITS_CWRITER,
			&written);
	at = drill_at(rig, ARM64_RAM + WORKER_ITS_QUEUE + written, COMMAND_BYTES);
	at[0] = ITS_CMD_CLEAR | (uint64_t) REQUESTER << 32;
	at[1] = event;
	at[2] = at[3] = 0;
	written += COMMAND_BYTES;
	drill_attribute(its, KVM_SET_DEVICE_ATTR, KVM_DEV_ARM_VGIC_GRP_ITS_REGS, VF_GITS_CWRITER,
			&written);
	drill_attribute(its, KVM_GET_DEVICE_ATTR, KVM_DEV_ARM_VGIC_GRP_ITS_REGS, VF_GITS_CREADR,
			&read);
	assert_int_equal(read, written);
}

static inline bool drill_drop_interrupt(struct rig *rig)
{
	for (uint32_t event = 0; event < DRILL_MESSAGES; event++) {
		if (!drill_is_pending(rig, WORKER_MSI_FIRST + event))
			continue;
		drill_clear(rig, event);
		return !drill_is_pending(rig, WORKER_MSI_FIRST + event);
	}
	return false;
}

/* ---- registers ---- */

static inline void drill_read_register(struct rig *rig, uint64_t id, void *value)
{
	struct kvm_one_reg one = { .id = id, .addr = (uintptr_t) value };

	drill_call(rig, KVM_GET_ONE_REG, &one);
}

static inline void drill_write_register(struct rig *rig, uint64_t id, const void *value)
{
	struct kvm_one_reg one = { .id = id, .addr = (uintptr_t) value };

	drill_call(rig, KVM_SET_ONE_REG, &one);
}

static inline unsigned drill_spoil(struct rig *rig, uint64_t id)
{
	uint64_t value;

	drill_read_register(rig, id, &value);
	value ^= 0x1000;
	drill_write_register(rig, id, &value);
	return id & 0xffff;
}

static inline unsigned drill_spoil_vector(struct rig *rig)
{
	uint64_t value[2];

	drill_read_register(rig, CORE(fp_regs.vregs[3], KVM_REG_SIZE_U128), value);
	value[1] ^= 0x100;
	drill_write_register(rig, CORE(fp_regs.vregs[3], KVM_REG_SIZE_U128), value);
	return 3;
}

/* TPIDR_EL1 */
static inline unsigned drill_spoil_system(struct rig *rig)
{
	return drill_spoil(rig, ARM64_SYS_REG(3, 0, 13, 0, 4));
}

/* DBGWVR1_EL1 */
static inline unsigned drill_spoil_debug(struct rig *rig)
{
	return drill_spoil(rig, ARM64_SYS_REG(2, 0, 0, 1, 6));
}

/* ---- time, and the way ---- */

static inline bool drill_drop_timer(struct rig *rig)
{
	const uint64_t off = 0;
	uint64_t control;

	drill_read_register(rig, KVM_REG_ARM_TIMER_CTL, &control);
	drill_write_register(rig, KVM_REG_ARM_TIMER_CTL, &off);
	return control & 1;
}

/* Not moved where the whole machine's counter has been given an offset already. */
static inline bool drill_counter_back(struct rig *rig)
{
	uint64_t before, back, after;

	drill_read_register(rig, KVM_REG_ARM_TIMER_CNT, &before);
	back = before / 2;
	drill_write_register(rig, KVM_REG_ARM_TIMER_CNT, &back);
	drill_read_register(rig, KVM_REG_ARM_TIMER_CNT, &after);
	return after < before;
}

static inline const char *drill_astray(struct rig *rig)
{
	const uint64_t nowhere = DRILL_NOWHERE;

	drill_write_register(rig, CORE(regs.pc, KVM_REG_SIZE_U64), &nowhere);
	return "exception 33 at 0x7000000000 (0x7000000000)";
}

#endif
