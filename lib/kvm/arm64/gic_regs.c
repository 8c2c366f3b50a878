/* SPDX-License-Identifier: MIT */
/* gic_regs.c - lists of registers, to and from a controller or a section; see gic_regs.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "gic_regs.h"
#include "vferry_kvm_arm64.h"

#define ENTRY_BYTES	16u
#define HEADER_BYTES	4u
#define PRIVATE		32u	/* interrupts that each CPU has of its own */

/* --- the lists --- */

static int add(struct vf_gic_list *list, const struct vf_gic_reg *reg)
{
	if (list->count == list->capacity) {
		uint32_t capacity = list->capacity ? 2 * list->capacity : 64;
		struct vf_gic_reg *regs = reallocarray(list->regs, capacity, sizeof(*regs));

		if (!regs)
			return -ENOMEM;
		list->regs = regs;
		list->capacity = capacity;
	}
	list->regs[list->count++] = *reg;
	return 0;
}

/* A row of registers, 4 bytes apart: what differs is only the offset. */
static int add_row(struct vf_gic_list *list, struct vf_gic_reg reg, uint32_t first, uint32_t end,
		   uint32_t step)
{
	int err = 0;

	for (uint32_t offset = first; offset < end && !err; offset += step) {
		reg.offset = offset;
		err = add(list, &reg);
	}
	return err;
}

static int add_one(struct vf_gic_list *list, struct vf_gic_reg reg, uint32_t offset)
{
	return add_row(list, reg, offset, offset + 1, 1);
}

/* A field of each interrupt from 32 on, @bits wide, in registers from @base on. */
struct field {
	uint32_t base;
	uint32_t bits;
	bool set_clear;
};

static int add_field(struct vf_gic_list *list, struct vf_gic_reg reg, const struct field *field,
		     uint32_t irqs)
{
	reg.set_clear = field->set_clear;
	return add_row(list, reg, field->base + PRIVATE * field->bits / 8,
		       field->base + irqs * field->bits / 8, 4);
}

/*
 * Configuration before pending bits: whether an interrupt is an edge or a level says what its latch
 * means. GICD_IIDR before all: it selects how the kernel takes what follows.
 */
static int add_dist(struct vf_gic_list *list, uint32_t irqs)
{
	static const struct field before[] = {
		{ VF_GICD_IGROUPR, 1, false }, { VF_GICD_ICFGR, 2, false },
		{ VF_GICD_IPRIORITYR, 8, false }, { VF_GICD_IROUTER, 64, false },
		{ VF_GICD_ISENABLER, 1, true },
	};
	static const struct field after[] = {
		{ VF_GICD_ISPENDR, 1, false }, { VF_GICD_ISACTIVER, 1, true },
	};
	struct vf_gic_reg reg = { .group = VF_VGIC_GRP_DIST_REGS, .stage = VF_GIC_STAGE_DIST };
	struct vf_gic_reg level = reg, iidr = reg;
	int err;

	level.group = VF_VGIC_GRP_LEVEL_INFO;
	iidr.verify = UINT32_MAX;
	err = add_one(list, iidr, VF_GICD_IIDR);
	err = err ? err : add_one(list, reg, VF_GICD_CTLR);
	err = err ? err : add_one(list, reg, VF_GICD_STATUSR);
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]) && !err; i++)
		err = add_field(list, reg, &before[i], irqs);
	err = err ? err : add_row(list, level, PRIVATE, irqs, 32);
	for (size_t i = 0; i < sizeof(after) / sizeof(after[0]) && !err; i++)
		err = add_field(list, reg, &after[i], irqs);
	return err;
}

static int add_bases(struct vf_gic_list *list, uint16_t cpu)
{
	const struct vf_gic_reg reg = { .group = VF_VGIC_GRP_REDIST_REGS, .cpu = cpu,
		.stage = VF_GIC_STAGE_BASES, .verify = UINT32_MAX };

	return add_row(list, reg, VF_GICR_PROPBASER, VF_GICR_PENDBASER + 8, 4);
}

static int add_redist(struct vf_gic_list *list, uint16_t cpu)
{
	const struct vf_gic_reg reg = { .group = VF_VGIC_GRP_REDIST_REGS, .cpu = cpu,
		.stage = VF_GIC_STAGE_REDIST };
	const struct vf_gic_reg level = { .group = VF_VGIC_GRP_LEVEL_INFO, .cpu = cpu,
		.stage = VF_GIC_STAGE_REDIST };
	struct vf_gic_reg set_clear = reg, ctlr = reg;
	int err;

	set_clear.set_clear = true;
	ctlr.verify = 1;	/* EnableLPIs, dropped where there is no ITS */
	err = add_one(list, ctlr, VF_GICR_CTLR);
	err = err ? err : add_one(list, reg, VF_GICR_STATUSR);
	err = err ? err : add_one(list, reg, VF_GICR_WAKER);
	err = err ? err : add_one(list, reg, VF_GICR_IGROUPR0);
	err = err ? err : add_row(list, reg, VF_GICR_ICFGR0, VF_GICR_ICFGR1 + 4, 4);
	err = err ? err : add_row(list, reg, VF_GICR_IPRIORITYR0, VF_GICR_IPRIORITYR0 + PRIVATE, 4);
	err = err ? err : add_one(list, set_clear, VF_GICR_ISENABLER0);
	err = err ? err : add_one(list, level, 0);
	err = err ? err : add_one(list, reg, VF_GICR_ISPENDR0);
	return err ? err : add_one(list, set_clear, VF_GICR_ISACTIVER0);
}

static int add_icc(struct vf_gic_list *list, uint16_t cpu, uint32_t ap_registers)
{
	static const uint32_t before[] = { VF_ICC_SRE_EL1, VF_ICC_CTLR_EL1, VF_ICC_PMR_EL1,
		VF_ICC_BPR0_EL1, VF_ICC_BPR1_EL1 };
	struct vf_gic_reg reg = { .group = VF_VGIC_GRP_CPU_SYSREGS, .cpu = cpu,
		.stage = VF_GIC_STAGE_REDIST };
	int err = 0;

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]) && !err; i++)
		err = add_one(list, reg, before[i]);
	/* A source with fewer bits of priority has fewer of them. */
	for (uint32_t n = 0; n < ap_registers && !err; n++) {
		reg.optional = n > 0;
		err = add_one(list, reg, VF_ICC_AP0R_EL1(n));
		err = err ? err : add_one(list, reg, VF_ICC_AP1R_EL1(n));
	}
	reg.optional = false;
	err = err ? err : add_one(list, reg, VF_ICC_IGRPEN0_EL1);
	return err ? err : add_one(list, reg, VF_ICC_IGRPEN1_EL1);
}

int vf_gic_list_of_gic(const struct vf_gic_shape *shape, struct vf_gic_list *ret_list)
{
	struct vf_gic_list list = { 0 };
	int err;

	assert(shape->nr_irqs % 32 == 0 && shape->nr_irqs <= 1024 &&
	       shape->cpus <= VFERRY_GIC_CPUS_MAX);
	err = add_dist(&list, shape->nr_irqs);
	for (uint32_t i = 0; i < shape->cpus && !err; i++) {
		err = add_bases(&list, (uint16_t) i);
		err = err ? err : add_redist(&list, (uint16_t) i);
		err = err ? err : add_icc(&list, (uint16_t) i, shape->ap_registers);
	}
	if (err)
		vf_gic_list_done(&list);
	else
		*ret_list = list;
	return err;
}

/*
 * How an ITS reads its commands from memory: cacheability and shareability of CBASER. They read as 0
 * until the register is first written, and never after.
 */
#define CBASER_ATTRIBUTES (7ull << 59 | 7ull << 53 | 3ull << 10)

/* CBASER before CREADR and CWRITER, which it zeroes; an enabled ITS drops writes to all bases. */
int vf_gic_list_of_its(struct vf_gic_list *ret_list)
{
	static const uint32_t wide[] = { VF_GITS_CBASER, VF_GITS_CREADR, VF_GITS_CWRITER };
	struct vf_gic_reg reg = { .group = VF_VGIC_GRP_ITS_REGS, .stage = VF_GIC_STAGE_ITS };
	struct vf_gic_list list = { 0 };
	int err = 0;

	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]) && !err; i++) {
		reg.verify = wide[i] == VF_GITS_CBASER ? ~CBASER_ATTRIBUTES : UINT64_MAX;
		err = add_one(&list, reg, wide[i]);
	}
	reg.verify = UINT64_MAX;
	err = err ? err : add_row(&list, reg, VF_GITS_BASER(0), VF_GITS_BASER(8), 8);
	err = err ? err : add_one(&list, reg, VF_GITS_IIDR);
	reg.stage = VF_GIC_STAGE_ENABLE;
	reg.verify = 1;
	err = err ? err : add_one(&list, reg, VF_GITS_CTLR);
	if (err)
		vf_gic_list_done(&list);
	else
		*ret_list = list;
	return err;
}

void vf_gic_list_done(struct vf_gic_list *list)
{
	free(list->regs);
	*list = (struct vf_gic_list) { 0 };
}

/* --- sections --- */

uint32_t vf_gic_list_bytes(const struct vf_gic_list *list)
{
	return HEADER_BYTES + list->count * ENTRY_BYTES;
}

void vf_gic_list_write(const struct vf_gic_list *list, struct vferry_writer *w)
{
	vferry_write_u32(w, list->count);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct vf_gic_reg *reg = &list->regs[i];

		vferry_write_u16(w, reg->group);
		vferry_write_u16(w, reg->cpu);
		vferry_write_u32(w, reg->offset);
		vferry_write_u64(w, reg->value);
	}
}

static bool is_entry(const struct vf_gic_reg *reg, uint16_t group, uint16_t cpu, uint32_t offset)
{
	return reg->group == group && reg->cpu == cpu && reg->offset == offset;
}

int vf_gic_list_read(struct vf_gic_list *list, struct vferry_reader *r, const char *object,
		     struct vferry_error *err)
{
	uint32_t count = vferry_read_u32(r);
	uint32_t at = 0, i = 0;

	for (; i < count && vferry_reader_left(r) >= ENTRY_BYTES; i++) {
		uint16_t group = vferry_read_u16(r);
		uint16_t cpu = vferry_read_u16(r);
		uint32_t offset = vferry_read_u32(r);

		while (at < list->count && list->regs[at].optional &&
		       !is_entry(&list->regs[at], group, cpu, offset))
			at++;
		if (at == list->count || !is_entry(&list->regs[at], group, cpu, offset))
			return vferry_error_set(
				err, -EINVAL, "irqchip-register-unknown", object,
				"the section has register 0x%x of group %u, CPU %u, which does "
				"not belong there on this machine",
				offset, group, cpu);
		list->regs[at].value = vferry_read_u64(r);
		list->regs[at].present = true;
		at++;
	}
	while (at < list->count && list->regs[at].optional)
		at++;
	if (i < count || at < list->count || !vferry_reader_done(r))
		return vferry_error_set(err, -EINVAL, "irqchip-section-damaged", object,
					"the section of registers is cut short, or too long");
	return 0;
}

/* --- the controller --- */

static const char *group_name(uint16_t group)
{
	switch (group) {
	case VF_VGIC_GRP_DIST_REGS:
		return "distributor register";
	case VF_VGIC_GRP_REDIST_REGS:
		return "redistributor register";
	case VF_VGIC_GRP_CPU_SYSREGS:
		return "CPU interface register";
	case VF_VGIC_GRP_LEVEL_INFO:
		return "line levels from interrupt";
	}
	return "ITS register";
}

static const char *hint(int code)
{
	switch (code) {
	case -EBUSY:
		return ": a vCPU is in an ioctl, or the controller is not initialised";
	case -EINVAL:
		return ": this host can't take the value";
	case -ENXIO:
	case -ENOENT:	/* of the CPU interface */
		return ": this host has no such register, or the device has no address";
	}
	return "";
}

static int failed(const struct vf_gic_reg *reg, const struct vf_gic_device *device,
		  const char *verb, int code, struct vferry_error *err)
{
	return vferry_error_set(err, code, "irqchip-access", device->object,
				"%s %s 0x%x of CPU %u failed with %s%s", verb,
				group_name(reg->group), reg->offset, reg->cpu,
				vferry_errno_name(code), hint(code));
}

static uint64_t attr_of(const struct vf_gic_reg *reg, const struct vf_gic_device *device)
{
	uint64_t affinity = device->affinity && reg->group != VF_VGIC_GRP_DIST_REGS ?
			    device->affinity[reg->cpu] : 0;

	return affinity << VF_VGIC_MPIDR_SHIFT | reg->offset;
}

static int get(const struct vf_gic_reg *reg, const struct vf_gic_device *device,
	       uint64_t *ret_value)
{
	uint64_t value = 0;
	int code = device->ops->get_attr(device->user, device->device, reg->group,
					 attr_of(reg, device), &value);

	if (!code)
		*ret_value = value;
	return code;
}

static int set(const struct vf_gic_reg *reg, const struct vf_gic_device *device)
{
	uint64_t attr = attr_of(reg, device);
	uint64_t zeros = ~reg->value & UINT32_MAX;
	int code = 0;

	if (reg->set_clear)
		code = device->ops->set_attr(device->user, device->device, reg->group, attr + 0x80,
					     &zeros);
	if (code)
		return code;
	return device->ops->set_attr(device->user, device->device, reg->group, attr, &reg->value);
}

int vf_gic_list_save(struct vf_gic_list *list, const struct vf_gic_device *device,
		     struct vferry_error *err)
{
	for (uint32_t i = 0; i < list->count; i++) {
		int code = get(&list->regs[i], device, &list->regs[i].value);

		if (code)
			return failed(&list->regs[i], device, "reading", code, err);
		list->regs[i].present = true;
	}
	return 0;
}

/* A 64-bit register that goes in two halves is verified after both: in a second walk. */
static int verify(const struct vf_gic_list *list, const struct vf_gic_device *device,
		  enum vf_gic_stage stage, struct vferry_error *err)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct vf_gic_reg *reg = &list->regs[i];
		uint64_t value;
		int code;

		if (reg->stage != stage || !reg->verify || !reg->present)
			continue;
		code = get(reg, device, &value);
		if (code)
			return failed(reg, device, "reading back", code, err);
		if ((value ^ reg->value) & reg->verify)
			return vferry_error_set(
				err, -EIO, "irqchip-write-dropped", device->object,
				"%s 0x%x of CPU %u was written as 0x%llx and reads 0x%llx: the "
				"controller dropped it without an error, because something "
				"that it needs was not there or was done too early",
				group_name(reg->group), reg->offset, reg->cpu,
				(unsigned long long) reg->value, (unsigned long long) value);
	}
	return 0;
}

int vf_gic_list_load(const struct vf_gic_list *list, const struct vf_gic_device *device,
		     enum vf_gic_stage stage, struct vferry_error *err)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct vf_gic_reg *reg = &list->regs[i];
		int code;

		if (reg->stage != stage || !reg->present)
			continue;
		code = set(reg, device);
		if (code)
			return failed(reg, device, "writing", code, err);
	}
	return verify(list, device, stage, err);
}
