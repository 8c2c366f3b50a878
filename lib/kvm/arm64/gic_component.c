/* SPDX-License-Identifier: MIT */
/*
 * gic_component.c - the components `gic` and `its/N`: identity, sections, steps. The interface is
 * <vferry/irqchip.h>; which registers there are and their section: gic_regs.h.
 *
 * Model. A step is one or a few attribute calls; nothing is kept between steps: each load step
 * reads the section anew and takes its stage out of it. The identity is read when the object is
 * made, since a running vCPU makes every access -EBUSY.
 *
 * Identity of gic, version 1: u16 1 | u32 cpus | cpus times u32 affinity | u32 interrupts |
 *	u32 GICD_TYPER | u32 GICD_TYPER2 | u32 GICD_IIDR | u32 ICC_CTLR_EL1
 * Identity of its/N, version 1: u16 1 | u64 address | u64 GITS_TYPER | u32 GITS_IIDR
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gic_regs.h"
#include "vferry_kvm_arm64.h"

#define IDENTITY_VERSION	1u
#define SECTION_REGISTERS	1u
#define IIDR_REVISION_SHIFT	12
#define IIDR_REVISION		(0xfu << IIDR_REVISION_SHIFT)
#define ICC_CTLR_PRI_SHIFT	8
#define ICC_CTLR_ID_SHIFT	11
#define ICC_CTLR_SEIS_A3V	(3u << 14)

struct its_part {
	const struct vferry_gic *gic;
	int device;
	char name[VFERRY_NAME_BYTES];
	uint64_t address;
	uint64_t typer;
	uint32_t iidr;
	struct vferry_section_desc section;
};

struct vferry_gic {
	const struct vferry_gic_ops *ops;
	void *user;
	int device;
	uint32_t *affinity;
	struct vf_gic_shape shape;
	uint32_t typer, typer2, iidr, icc_ctlr;
	struct vferry_section_desc section;
	struct its_part *its;
	uint32_t its_count;
	struct vferry_component *components;	/* 1 + its_count */
};

static struct vf_gic_device gic_device(const struct vferry_gic *gic)
{
	return (struct vf_gic_device) { .ops = gic->ops, .user = gic->user, .device = gic->device,
		.affinity = gic->affinity, .object = "gic" };
}

static struct vf_gic_device its_device(const struct its_part *its)
{
	return (struct vf_gic_device) { .ops = its->gic->ops, .user = its->gic->user,
		.device = its->device, .object = its->name };
}

static int control(const struct vf_gic_device *device, uint64_t attr)
{
	return device->ops->set_attr(device->user, device->device, VF_VGIC_GRP_CTRL, attr, NULL);
}

/* --- saving --- */

static int save_registers(struct vf_gic_list *list, const struct vf_gic_device *device,
			  struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_writer *w = vferry_step_writer(step);
	int code = vf_gic_list_save(list, device, err);

	if (!code)
		vf_gic_list_write(list, w);
	vf_gic_list_done(list);
	return code;
}

static int no_memory(const char *object, int code, struct vferry_error *err)
{
	return vferry_error_set(err, code, "no-memory", object,
				"no memory for a list of registers");
}

static int gic_save_registers(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vferry_gic *gic = user;
	struct vf_gic_device device = gic_device(gic);
	struct vf_gic_list list;
	int code = vf_gic_list_of_gic(&gic->shape, &list);

	return code ? no_memory("gic", code, err) : save_registers(&list, &device, step, err);
}

static int gic_save_pending(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vf_gic_device device = gic_device(user);
	int code = control(&device, VF_VGIC_SAVE_PENDING_TABLES);

	(void) step;
	if (!code)
		return 0;
	return vferry_error_set(err, code, "irqchip-pending", "gic",
				"saving the pending tables into guest RAM failed with %s: %s",
				vferry_errno_name(code), code == -EBUSY ? "a vCPU is in an ioctl" :
				code == -EFAULT ? "a guest's pending table is not in RAM" :
				"is the controller initialised?");
}

static int tables_failed(const struct its_part *its, int code, struct vferry_error *err)
{
	const char *why = "";

	switch (code) {
	case -EACCES:
		why = ": vectors are forwarded, and this host can't save them so";
		break;
	case -EBUSY:
		why = ": a vCPU is in an ioctl";
		break;
	case -EFAULT:
		why = ": a table of the guest is not in RAM";
		break;
	case -EINVAL:
		why = ": the guest mapped what has no place in its tables";
		break;
	}
	return vferry_error_set(err, code, "its-save-tables", its->name,
				"saving the ITS tables into guest RAM failed with %s%s",
				vferry_errno_name(code), why);
}

/*
 * Whether forwarded vectors are in the way can't be asked, only tried. Where they are, they go back
 * to software now, before the pending tables are saved, so that what is sent once more is in them.
 */
static int its_release(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct its_part *its = user;
	struct vf_gic_device device = its_device(its);
	int code = control(&device, VF_ITS_SAVE_TABLES);

	(void) step;
	if (code == -EACCES && its->gic->ops->release) {
		code = its->gic->ops->release(its->gic->user, err);
		return code < 0 ? code : 0;
	}
	return code ? tables_failed(its, code, err) : 0;
}

static int its_save_tables(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct its_part *its = user;
	struct vf_gic_device device = its_device(its);
	int code = control(&device, VF_ITS_SAVE_TABLES);

	(void) step;
	return code ? tables_failed(its, code, err) : 0;
}

static int its_save_registers(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vf_gic_device device = its_device(user);
	struct vf_gic_list list;
	int code = vf_gic_list_of_its(&list);

	return code ? no_memory(device.object, code, err)
		    : save_registers(&list, &device, step, err);
}

/* --- loading --- */

static int load_stage(struct vf_gic_list *list, const struct vf_gic_device *device,
		      enum vf_gic_stage stage, struct vferry_step *step, struct vferry_error *err)
{
	int code = vf_gic_list_read(list, vferry_step_reader(step), device->object, err);

	if (!code)
		code = vf_gic_list_load(list, device, stage, err);
	vf_gic_list_done(list);
	return code;
}

static int gic_load_stage(const struct vferry_gic *gic, enum vf_gic_stage stage,
			  struct vferry_step *step, struct vferry_error *err)
{
	struct vf_gic_device device = gic_device(gic);
	struct vf_gic_list list;
	int code = vf_gic_list_of_gic(&gic->shape, &list);

	return code ? no_memory("gic", code, err) : load_stage(&list, &device, stage, step, err);
}

static int get_register(const struct vf_gic_device *device, uint32_t group, uint64_t attr,
			uint32_t *ret)
{
	uint64_t value = 0;
	int code = device->ops->get_attr(device->user, device->device, group, attr, &value);

	if (!code)
		*ret = (uint32_t) value;
	return code;
}

static int gic_load_created(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vferry_gic *gic = user;
	struct vf_gic_device device = gic_device(gic);
	uint32_t typer;
	int code = get_register(&device, VF_VGIC_GRP_DIST_REGS, VF_GICD_TYPER, &typer);

	(void) step;
	if (code)
		return vferry_error_set(
			err, code, "irqchip-not-ready", "gic",
			"GICD_TYPER can't be read (%s): the controller is not initialised, "
			"or a vCPU is in an ioctl",
			vferry_errno_name(code));
	if (typer != gic->typer)
		return vferry_error_set(
			err, -EINVAL, "irqchip-not-ready", "gic",
			"GICD_TYPER is 0x%x and was 0x%x when this machine was made: an ITS "
			"came later",
			typer, gic->typer);
	return 0;
}

static int gic_load_dist(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return gic_load_stage(user, VF_GIC_STAGE_DIST, step, err);
}

static int gic_load_bases(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return gic_load_stage(user, VF_GIC_STAGE_BASES, step, err);
}

static int gic_load_redist(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return gic_load_stage(user, VF_GIC_STAGE_REDIST, step, err);
}

static int its_load_stage(const struct its_part *its, enum vf_gic_stage stage,
			  struct vferry_step *step, struct vferry_error *err)
{
	struct vf_gic_device device = its_device(its);
	struct vf_gic_list list;
	int code = vf_gic_list_of_its(&list);

	return code ? no_memory(its->name, code, err)
		    : load_stage(&list, &device, stage, step, err);
}

static int its_load_registers(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return its_load_stage(user, VF_GIC_STAGE_ITS, step, err);
}

static int its_load_tables(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct its_part *its = user;
	struct vf_gic_device device = its_device(its);
	int code = control(&device, VF_ITS_RESTORE_TABLES);
	const char *why = "";

	(void) step;
	switch (code) {
	case 0:
		return 0;
	case -EFAULT:
		why = ": tables, LPI configuration or pending bits are not where the registers "
		      "say, so RAM or the redistributors are not restored yet";
		break;
	case -EINVAL:
		why = ": the tables in guest RAM contradict each other";
		break;
	case -EEXIST:
		why = ": this ITS holds mappings already";
		break;
	case -EBUSY:
		why = ": a vCPU is in an ioctl";
		break;
	}
	return vferry_error_set(err, code, "its-restore-tables", its->name,
				"restoring the ITS tables from guest RAM failed with %s%s",
				vferry_errno_name(code), why);
}

static int its_load_enable(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return its_load_stage(user, VF_GIC_STAGE_ENABLE, step, err);
}

#define STEP(class_, name_, section_, run_) { .size = sizeof(struct vferry_step_desc), \
	.step_class = class_, .name = name_, .section = section_, .run = run_ }

static const struct vferry_step_desc gic_steps[] = {
	STEP(VFERRY_SAVE_GIC_PENDING, "pending", 0, gic_save_pending),
	STEP(VFERRY_SAVE_GIC, "registers", SECTION_REGISTERS, gic_save_registers),
	STEP(VFERRY_LOAD_IRQCHIP_CREATE, "created", 0, gic_load_created),
	STEP(VFERRY_LOAD_GIC_DIST, "distributor", SECTION_REGISTERS, gic_load_dist),
	STEP(VFERRY_LOAD_GIC_LPI_BASES, "lpi-bases", SECTION_REGISTERS, gic_load_bases),
	STEP(VFERRY_LOAD_GIC_REDIST, "redistributors", SECTION_REGISTERS, gic_load_redist),
};

static const struct vferry_step_desc its_steps[] = {
	STEP(VFERRY_SAVE_ITS_RELEASE, "release", 0, its_release),
	STEP(VFERRY_SAVE_ITS_TABLES, "tables", 0, its_save_tables),
	STEP(VFERRY_SAVE_GIC, "registers", SECTION_REGISTERS, its_save_registers),
	STEP(VFERRY_LOAD_ITS_REGS, "registers", SECTION_REGISTERS, its_load_registers),
	STEP(VFERRY_LOAD_ITS_TABLES, "tables", 0, its_load_tables),
	STEP(VFERRY_LOAD_ITS_CTLR, "enable", SECTION_REGISTERS, its_load_enable),
};

/* --- identity --- */

static int gic_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct vferry_gic *gic = user;

	(void) err;
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_u32(w, gic->shape.cpus);
	for (uint32_t i = 0; i < gic->shape.cpus; i++)
		vferry_write_u32(w, gic->affinity[i]);
	vferry_write_u32(w, gic->shape.nr_irqs);
	vferry_write_u32(w, gic->typer);
	vferry_write_u32(w, gic->typer2);
	vferry_write_u32(w, gic->iidr);
	vferry_write_u32(w, gic->icc_ctlr);
	return 0;
}

static void check_equal(struct vferry_reasons *reasons, const char *object, const char *what,
			uint64_t source, uint64_t own)
{
	if (source != own)
		vferry_reasons_add(reasons, "irqchip-mismatch", object,
				   "%s is 0x%llx on the source and 0x%llx here", what,
				   (unsigned long long) source, (unsigned long long) own);
}

/* The same implementation, in a revision that this side has too. */
static void check_iidr(struct vferry_reasons *reasons, const char *object, const char *what,
		       uint32_t source, uint32_t own)
{
	check_equal(reasons, object, what, source & ~IIDR_REVISION, own & ~IIDR_REVISION);
	if ((source & IIDR_REVISION) > (own & IIDR_REVISION))
		vferry_reasons_add(reasons, "irqchip-revision", object,
				   "the source's %s has revision %u, and this host has up to %u",
				   what, (source & IIDR_REVISION) >> IIDR_REVISION_SHIFT,
				   (own & IIDR_REVISION) >> IIDR_REVISION_SHIFT);
}

static void check_at_most(struct vferry_reasons *reasons, const char *what, uint32_t source,
			  uint32_t own, unsigned int shift)
{
	source = source >> shift & 7;
	own = own >> shift & 7;
	if (source > own)
		vferry_reasons_add(reasons, "irqchip-cpu-interface", "gic",
				   "ICC_CTLR_EL1.%s is %u on the source, more than %u here", what,
				   source, own);
}

static int gic_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct vferry_gic *gic = user;
	uint16_t version = vferry_read_u16(source);
	uint32_t cpus = vferry_read_u32(source);
	uint32_t nr_irqs, typer, typer2, iidr, icc_ctlr;

	if (version != IDENTITY_VERSION || cpus > VFERRY_GIC_CPUS_MAX)
		return -EINVAL;
	check_equal(reasons, "gic", "the number of vCPUs", cpus, gic->shape.cpus);
	for (uint32_t i = 0; i < cpus; i++) {
		uint32_t affinity = vferry_read_u32(source);
		char what[32];

		(void) snprintf(what, sizeof(what), "the affinity of vCPU %u", i);
		if (i < gic->shape.cpus)
			check_equal(reasons, "gic", what, affinity, gic->affinity[i]);
	}
	nr_irqs = vferry_read_u32(source);
	typer = vferry_read_u32(source);
	typer2 = vferry_read_u32(source);
	iidr = vferry_read_u32(source);
	icc_ctlr = vferry_read_u32(source);
	if (!vferry_reader_done(source))
		return -EINVAL;
	check_equal(reasons, "gic", "the number of interrupts", nr_irqs, gic->shape.nr_irqs);
	check_equal(reasons, "gic", "GICD_TYPER", typer, gic->typer);
	check_equal(reasons, "gic", "GICD_TYPER2", typer2, gic->typer2);
	check_iidr(reasons, "gic", "GICD_IIDR", iidr, gic->iidr);
	check_equal(reasons, "gic", "ICC_CTLR_EL1 (SEIS, A3V)", icc_ctlr & ICC_CTLR_SEIS_A3V,
		    gic->icc_ctlr & ICC_CTLR_SEIS_A3V);
	check_at_most(reasons, "PRIbits", icc_ctlr, gic->icc_ctlr, ICC_CTLR_PRI_SHIFT);
	check_at_most(reasons, "IDbits", icc_ctlr, gic->icc_ctlr, ICC_CTLR_ID_SHIFT);
	return 0;
}

static int its_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct its_part *its = user;

	(void) err;
	vferry_write_u16(w, IDENTITY_VERSION);
	vferry_write_u64(w, its->address);
	vferry_write_u64(w, its->typer);
	vferry_write_u32(w, its->iidr);
	return 0;
}

static int its_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct its_part *its = user;
	uint16_t version = vferry_read_u16(source);
	uint64_t address = vferry_read_u64(source);
	uint64_t typer = vferry_read_u64(source);
	uint32_t iidr = vferry_read_u32(source);

	if (version != IDENTITY_VERSION || !vferry_reader_done(source))
		return -EINVAL;
	check_equal(reasons, its->name, "the address of the ITS", address, its->address);
	check_equal(reasons, its->name, "GITS_TYPER", typer, its->typer);
	check_iidr(reasons, its->name, "GITS_IIDR", iidr, its->iidr);
	return 0;
}

/* --- making one --- */

static int probe_failed(const char *object, const char *what, int code, struct vferry_error *err)
{
	return vferry_error_set(
		err, code, "irqchip-probe", object, "reading %s failed with %s%s", what,
		vferry_errno_name(code),
		code == -EBUSY ? ": the controller is not initialised, or a vCPU is in an ioctl"
			       : "");
}

static int gic_probe(struct vferry_gic *gic, struct vferry_error *err)
{
	struct vf_gic_device device = gic_device(gic);
	uint64_t cpu = (uint64_t) gic->affinity[0] << VF_VGIC_MPIDR_SHIFT;
	const struct {
		const char *name;
		uint32_t group;
		uint64_t attr;
		uint32_t *ret;
	} probes[] = {
		{ "the number of interrupts", VF_VGIC_GRP_NR_IRQS, 0, &gic->shape.nr_irqs },
		{ "GICD_TYPER", VF_VGIC_GRP_DIST_REGS, VF_GICD_TYPER, &gic->typer },
		{ "GICD_TYPER2", VF_VGIC_GRP_DIST_REGS, VF_GICD_TYPER2, &gic->typer2 },
		{ "GICD_IIDR", VF_VGIC_GRP_DIST_REGS, VF_GICD_IIDR, &gic->iidr },
		{ "ICC_CTLR_EL1", VF_VGIC_GRP_CPU_SYSREGS, cpu | VF_ICC_CTLR_EL1, &gic->icc_ctlr },
	};
	uint32_t priority_bits;

	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		int code = get_register(&device, probes[i].group, probes[i].attr, probes[i].ret);

		if (code)
			return probe_failed("gic", probes[i].name, code, err);
	}
	if (gic->shape.nr_irqs % 32 || gic->shape.nr_irqs < 64 || gic->shape.nr_irqs > 1024)
		return vferry_error_set(err, -EINVAL, "irqchip-probe", "gic",
					"a controller with %u interrupts makes no sense",
					gic->shape.nr_irqs);
	priority_bits = (gic->icc_ctlr >> ICC_CTLR_PRI_SHIFT & 7) + 1;
	gic->shape.ap_registers = priority_bits <= 5 ? 1 : priority_bits == 6 ? 2 : 4;
	return 0;
}

static int its_probe(struct its_part *its, struct vferry_error *err)
{
	struct vf_gic_device device = its_device(its);
	int code = device.ops->get_attr(device.user, device.device, VF_VGIC_GRP_ADDR,
					VF_VGIC_ADDR_ITS, &its->address);

	if (code)
		return probe_failed(its->name, "the address", code, err);
	code = device.ops->get_attr(device.user, device.device, VF_VGIC_GRP_ITS_REGS, VF_GITS_TYPER,
				    &its->typer);
	if (code)
		return probe_failed(its->name, "GITS_TYPER", code, err);
	code = get_register(&device, VF_VGIC_GRP_ITS_REGS, VF_GITS_IIDR, &its->iidr);
	return code ? probe_failed(its->name, "GITS_IIDR", code, err) : 0;
}

static int section_of(struct vf_gic_list *list, int code, struct vferry_section_desc *ret)
{
	if (code)
		return code;
	*ret = (struct vferry_section_desc) {
		.id = SECTION_REGISTERS,
		.name = "registers",
		.version = 1,
		.oldest = 1,
		.max_bytes = vf_gic_list_bytes(list),
	};
	vf_gic_list_done(list);
	return 0;
}

static void describe(struct vferry_gic *gic)
{
	gic->components[0] = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "gic", .user = gic,
		.identity = gic_identity, .check = gic_check,
		.sections = &gic->section, .section_count = 1,
		.steps = gic_steps, .step_count = sizeof(gic_steps) / sizeof(gic_steps[0]),
	};
	for (uint32_t i = 0; i < gic->its_count; i++)
		gic->components[1 + i] = (struct vferry_component) {
			.size = sizeof(struct vferry_component), .name = gic->its[i].name,
			.user = &gic->its[i], .identity = its_identity, .check = its_check,
			.sections = &gic->its[i].section, .section_count = 1,
			.steps = its_steps, .step_count = sizeof(its_steps) / sizeof(its_steps[0]),
		};
}

static int build(struct vferry_gic *gic, const struct vferry_gic_config *config,
		 struct vferry_error *err)
{
	struct vf_gic_list list = { 0 };
	int code;

	gic->affinity = calloc(config->cpu_count, sizeof(*gic->affinity));
	gic->its = calloc(config->its_count + 1, sizeof(*gic->its));
	gic->components = calloc(config->its_count + 1, sizeof(*gic->components));
	if (!gic->affinity || !gic->its || !gic->components)
		return no_memory("gic", -ENOMEM, err);
	memcpy(gic->affinity, config->affinity, config->cpu_count * sizeof(*gic->affinity));
	gic->shape.cpus = config->cpu_count;
	code = gic_probe(gic, err);
	if (code)
		return code;
	code = section_of(&list, vf_gic_list_of_gic(&gic->shape, &list), &gic->section);
	for (uint32_t i = 0; i < config->its_count && !code; i++) {
		struct its_part *its = &gic->its[i];

		its->gic = gic;
		its->device = config->its[i];
		(void) snprintf(its->name, sizeof(its->name), "its/%u", i);
		code = its_probe(its, err);
		if (!code)
			code = section_of(&list, vf_gic_list_of_its(&list), &its->section);
	}
	if (code)
		return no_memory("gic", code, err);	/* unless an error is set already */
	gic->its_count = config->its_count;
	describe(gic);
	return 0;
}

int vferry_gic_new(const struct vferry_gic_config *config, struct vferry_gic **ret_gic,
		   struct vferry_error *err)
{
	struct vferry_gic *gic;
	int code;

	if (!config || config->size < sizeof(*config) || !config->ops ||
	    config->ops->size < sizeof(*config->ops) || !config->ops->set_attr ||
	    !config->ops->get_attr || !config->affinity || !config->cpu_count ||
	    config->cpu_count > VFERRY_GIC_CPUS_MAX || config->its_count > VFERRY_GIC_ITS_MAX ||
	    (config->its_count && !config->its))
		return vferry_error_set(
			err, -EINVAL, "irqchip-config", "gic",
			"the description of the interrupt controller is incomplete");
	gic = calloc(1, sizeof(*gic));
	if (!gic)
		return no_memory("gic", -ENOMEM, err);
	gic->ops = config->ops;
	gic->user = config->user;
	gic->device = config->device;
	code = build(gic, config, err);
	if (code) {
		vferry_gic_free(gic);
		return code;
	}
	*ret_gic = gic;
	return 0;
}

struct vferry_gic *vferry_gic_free(struct vferry_gic *gic)
{
	if (!gic)
		return NULL;
	free(gic->affinity);
	free(gic->its);
	free(gic->components);
	free(gic);
	return NULL;
}

size_t vferry_gic_component_count(const struct vferry_gic *gic)
{
	return gic->its_count + 1;
}

const struct vferry_component *vferry_gic_component(const struct vferry_gic *gic, size_t index)
{
	return index <= gic->its_count ? &gic->components[index] : NULL;
}
