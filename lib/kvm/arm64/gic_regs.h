/* SPDX-License-Identifier: MIT */
/*
 * gic_regs.h - which registers are a GIC's or an ITS's state, and their section.
 *
 * Model. A list holds every register of one controller in the order in which they are restored;
 * each belongs to one stage of the restore. Saving fills in the values; a section is the list
 * written out; reading one accepts exactly the registers of the list, in its order, where only
 * those marked optional may be missing. So nothing that comes from outside chooses which register
 * is written.
 *
 * Section "registers", version 1, little-endian:
 *
 *	u32 count
 *	count times:  u16 group | u16 cpu | u32 offset | u64 value
 *
 * group is KVM's attribute group, cpu counts vCPUs from 0 (0 where there is none), offset is that
 * of the register, the encoding of an ICC system register, or the first INTID of 32 line levels.
 */
#ifndef VF_KVM_ARM64_GIC_REGS_H
#define VF_KVM_ARM64_GIC_REGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/irqchip.h>
#include <vferry/stream.h>

enum vf_gic_stage {
	VF_GIC_STAGE_DIST = 0,
	VF_GIC_STAGE_BASES = 1,		/* PROPBASER, PENDBASER: dropped once LPIs are on */
	VF_GIC_STAGE_REDIST = 2,
	VF_GIC_STAGE_ITS = 3,
	VF_GIC_STAGE_ENABLE = 4,	/* GITS_CTLR */
};

struct vf_gic_reg {
	uint16_t group;
	uint16_t cpu;
	uint32_t offset;
	enum vf_gic_stage stage;
	bool present;		/* value is valid */
	bool optional;
	bool set_clear;		/* ones set; zeros are cleared through the register 0x80 further */
	uint64_t verify;	/* these bits must read back as written */
	uint64_t value;
};

struct vf_gic_list {
	struct vf_gic_reg *regs;	/* owned */
	uint32_t count;
	uint32_t capacity;
};

struct vf_gic_shape {
	uint32_t cpus;
	uint32_t nr_irqs;	/* SGIs, PPIs and SPIs: a multiple of 32, up to 1024 */
	uint32_t ap_registers;	/* ICC_AP0Rn, ICC_AP1Rn: 1, 2 or 4 */
};

/** Return: 0; -ENOMEM. Free with vf_gic_list_done(), which is also fine on a zeroed list. */
int vf_gic_list_of_gic(const struct vf_gic_shape *shape, struct vf_gic_list *ret_list);
int vf_gic_list_of_its(struct vf_gic_list *ret_list);
void vf_gic_list_done(struct vf_gic_list *list);

/* Most bytes of a section of this list. */
uint32_t vf_gic_list_bytes(const struct vf_gic_list *list);
void vf_gic_list_write(const struct vf_gic_list *list, struct vferry_writer *w);
/** Return: 0; -EINVAL damaged, or not of this machine. */
int vf_gic_list_read(struct vf_gic_list *list, struct vferry_reader *r, const char *object,
		     struct vferry_error *err);

/* Where the registers are. */
struct vf_gic_device {
	const struct vferry_gic_ops *ops;
	void *user;
	int device;
	const uint32_t *affinity;	/* of each CPU; NULL: an ITS */
	const char *object;		/* for errors: "its/0" */
};

int vf_gic_list_save(struct vf_gic_list *list, const struct vf_gic_device *device,
		     struct vferry_error *err);
/** Writes the registers of one stage. -EIO: one was dropped without an error. */
int vf_gic_list_load(const struct vf_gic_list *list, const struct vf_gic_device *device,
		     enum vf_gic_stage stage, struct vferry_error *err);

#endif
