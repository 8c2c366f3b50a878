/* SPDX-License-Identifier: MIT */
/*
 * gic.c - the interrupt controller of an arm64 machine: KVM's VGICv3 with one ITS.
 *
 * KVM resets an ITS, and nothing else of it. A VGIC's registers right after it was made are what
 * power-on is, so they are read then and written back for a reset. Of the pairs that set and clear
 * bits all is cleared; pending bits are written by the "set" register, which is how this interface
 * has it (Documentation/virt/kvm/devices/arm-vgic-v3.rst).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vferry_kvm_arm64.h"

#include "arm64.h"

#define REGISTERS_MAX	1024u
#define SPI_END		(ARM64_SPI_FIRST + ARM64_SPIS)

struct gic_register {
	uint32_t group;
	uint64_t attr;
	uint64_t value;
};

struct arm64_gic {
	int gic, its;		/* KVM's devices; owned */
	unsigned count;
	struct gic_register registers[REGISTERS_MAX];	/* in the order in which they are written */
};

static int failed(struct vferry_error *err, const char *what)
{
	int r = -errno;

	return vferry_error_set(err, r, "gic-setup", "gic", "%s failed (%s)", what, vferry_errno_name(r));
}

/* ---- as after power-on ---- */

static bool is_wide(uint32_t group)
{
	return group == VF_VGIC_GRP_CPU_SYSREGS;
}

static int access_register(int gic, unsigned long call, struct gic_register *reg)
{
	uint32_t narrow = (uint32_t) reg->value;
	struct kvm_device_attr attr = {
		.group = reg->group, .attr = reg->attr,
		.addr = (uint64_t) (uintptr_t) (is_wide(reg->group) ? (void *) &reg->value : &narrow),
	};

	if (ioctl(gic, call, &attr) < 0)
		return -errno;
	if (!is_wide(reg->group))
		reg->value = narrow;
	return 0;
}

static void add(struct arm64_gic *gic, uint32_t group, uint64_t attr, uint64_t value)
{
	if (gic->count < REGISTERS_MAX)
		gic->registers[gic->count++] = (struct gic_register) { group, attr, value };
}

/* What it holds now. Return: 0; -ENOENT this KVM has no such register. */
static int keep(struct arm64_gic *gic, uint32_t group, uint64_t attr)
{
	struct gic_register reg = { group, attr, 0 };
	int r = access_register(gic->gic, KVM_GET_DEVICE_ATTR, &reg);

	if (r == 0)
		add(gic, group, attr, reg.value);
	return r;
}

static int keep_row(struct arm64_gic *gic, uint32_t group, uint64_t first, uint64_t end)
{
	int r = 0;

	for (uint64_t attr = first; attr < end && r == 0; attr += 4)
		r = keep(gic, group, attr);
	return r;
}

/* @bits of each SPI, in registers from @base on. */
static int keep_field(struct arm64_gic *gic, uint64_t base, unsigned bits)
{
	return keep_row(gic, VF_VGIC_GRP_DIST_REGS, base + ARM64_SPI_FIRST * bits / 8,
			base + SPI_END * bits / 8);
}

static int keep_distributor(struct arm64_gic *gic)
{
	int r = keep(gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_CTLR);

	for (uint32_t at = ARM64_SPI_FIRST / 8; at < SPI_END / 8; at += 4) {
		add(gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_ICENABLER + at, UINT32_MAX);
		add(gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_ICACTIVER + at, UINT32_MAX);
		add(gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_ISPENDR + at, 0);
	}
	if (r == 0)
		r = keep_field(gic, VF_GICD_IGROUPR, 1);
	if (r == 0)
		r = keep_field(gic, VF_GICD_ICFGR, 2);
	if (r == 0)
		r = keep_field(gic, VF_GICD_IPRIORITYR, 8);
	return r == 0 ? keep_field(gic, VF_GICD_IROUTER, 64) : r;
}

/* GICR_CTLR comes first: the base registers can't be written while LPIs are on. */
static int keep_redistributor(struct arm64_gic *gic, uint64_t cpu)
{
	const uint32_t group = VF_VGIC_GRP_REDIST_REGS;
	int r = keep(gic, group, cpu | VF_GICR_CTLR);

	if (r == 0)
		r = keep_row(gic, group, cpu | VF_GICR_PROPBASER, cpu | (VF_GICR_PENDBASER + 8));
	add(gic, group, cpu | VF_GICR_ICENABLER0, UINT32_MAX);
	add(gic, group, cpu | VF_GICR_ICACTIVER0, UINT32_MAX);
	add(gic, group, cpu | VF_GICR_ISPENDR0, 0);
	if (r == 0)
		r = keep(gic, group, cpu | VF_GICR_IGROUPR0);
	if (r == 0)
		r = keep_row(gic, group, cpu | VF_GICR_IPRIORITYR0, cpu | (VF_GICR_IPRIORITYR0 + 32));
	return r == 0 ? keep_row(gic, group, cpu | VF_GICR_ICFGR0, cpu | (VF_GICR_ICFGR1 + 4)) : r;
}

/* How many active priority registers there are depends on the processor: those that can be read. */
static int keep_cpu_interface(struct arm64_gic *gic, uint64_t cpu)
{
	static const uint32_t all[] = {
		VF_ICC_SRE_EL1, VF_ICC_CTLR_EL1, VF_ICC_PMR_EL1, VF_ICC_BPR0_EL1, VF_ICC_BPR1_EL1,
		VF_ICC_IGRPEN0_EL1, VF_ICC_IGRPEN1_EL1,
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && r == 0; i++)
		r = keep(gic, VF_VGIC_GRP_CPU_SYSREGS, cpu | all[i]);
	for (uint32_t n = 0; n < 4 && r == 0; n++) {
		(void) keep(gic, VF_VGIC_GRP_CPU_SYSREGS, cpu | VF_ICC_AP0R_EL1(n));
		(void) keep(gic, VF_VGIC_GRP_CPU_SYSREGS, cpu | VF_ICC_AP1R_EL1(n));
	}
	return r;
}

static void add_lines(struct arm64_gic *gic, uint64_t cpu, uint32_t first, uint32_t end)
{
	for (uint64_t intid = first; intid < end; intid += 32)
		add(gic, VF_VGIC_GRP_LEVEL_INFO,
		    cpu | VF_VGIC_LEVEL_LINE << VF_VGIC_LEVEL_INFO_SHIFT | intid, 0);
}

static int remember(struct arm64_gic *gic, unsigned cpus, struct vferry_error *err)
{
	int r = keep_distributor(gic);

	for (uint64_t i = 0; i < cpus && r == 0; i++) {
		uint64_t cpu = i << VF_VGIC_MPIDR_SHIFT;	/* affinity 0.0.0.i */

		r = keep_redistributor(gic, cpu);
		if (r == 0)
			r = keep_cpu_interface(gic, cpu);
		add_lines(gic, cpu, 0, ARM64_SPI_FIRST);
	}
	add_lines(gic, 0, ARM64_SPI_FIRST, SPI_END);
	if (r == 0 && gic->count == REGISTERS_MAX)
		r = -E2BIG;
	return r == 0 ? 0 : vferry_error_set(err, r, "gic-setup", "gic",
					     "the GIC's registers cannot be read (%s)",
					     vferry_errno_name(r));
}

int arm64_gic_reset(struct arm64_gic *gic, struct vferry_error *err)
{
	struct kvm_device_attr its = { .group = VF_VGIC_GRP_CTRL, .attr = VF_ITS_CTRL_RESET };

	if (ioctl(gic->its, KVM_SET_DEVICE_ATTR, &its) < 0)
		return failed(err, "the reset of the ITS");
	for (unsigned i = 0; i < gic->count; i++) {
		struct gic_register reg = gic->registers[i];
		int r = access_register(gic->gic, KVM_SET_DEVICE_ATTR, &reg);

		if (r < 0)
			return vferry_error_set(err, r, "gic-reset", "gic",
						"register %#llx of group %u cannot be set to %#llx (%s)",
						(unsigned long long) reg.attr, reg.group,
						(unsigned long long) reg.value, vferry_errno_name(r));
	}
	return 0;
}

/* ---- making one ---- */

static int create(int vm, uint32_t type)
{
	struct kvm_create_device device = { .type = type };

	return ioctl(vm, KVM_CREATE_DEVICE, &device) < 0 ? -1 : (int) device.fd;
}

static int set(int device, uint32_t group, uint64_t attr, const void *value)
{
	struct kvm_device_attr all = { .group = group, .attr = attr,
				       .addr = (uint64_t) (uintptr_t) value };

	return ioctl(device, KVM_SET_DEVICE_ATTR, &all);
}

static int make_gic(struct arm64_gic *gic, int vm, unsigned cpus, struct vferry_error *err)
{
	const uint32_t interrupts = SPI_END;
	const uint64_t distributor = ARM64_GICD;
	/* One region: where it is, and for how many. */
	const uint64_t region = ARM64_GICR | (uint64_t) cpus << 52;

	gic->gic = create(vm, VF_KVM_DEV_VGIC_V3);
	if (gic->gic < 0)
		return failed(err, "making a GICv3");
	if (set(gic->gic, VF_VGIC_GRP_NR_IRQS, 0, &interrupts) < 0 ||
	    set(gic->gic, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_DIST, &distributor) < 0 ||
	    set(gic->gic, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_REDIST_REGION, &region) < 0)
		return failed(err, "placing the GICv3");
	if (set(gic->gic, VF_VGIC_GRP_CTRL, VF_VGIC_CTRL_INIT, NULL) < 0)
		return failed(err, "initialising the GICv3");
	return 0;
}

/* Before registers are loaded into the GIC: redistributors take no LPIs while there is no ITS. */
static int make_its(struct arm64_gic *gic, int vm, struct vferry_error *err)
{
	const uint64_t address = ARM64_ITS;

	gic->its = create(vm, VF_KVM_DEV_VGIC_ITS);
	if (gic->its < 0)
		return failed(err, "making an ITS");
	if (set(gic->its, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_ITS, &address) < 0)
		return failed(err, "placing the ITS");
	if (set(gic->its, VF_VGIC_GRP_CTRL, VF_VGIC_CTRL_INIT, NULL) < 0)
		return failed(err, "initialising the ITS");
	return 0;
}

int arm64_gic_new(struct kvm_machine *m, struct arm64_gic **ret_gic, struct vferry_error *err)
{
	struct arm64_gic *gic = calloc(1, sizeof(*gic));
	int r;

	if (!gic)
		return -ENOMEM;
	gic->gic = gic->its = -1;
	r = make_gic(gic, m->vm, m->cpus, err);
	if (r == 0)
		r = make_its(gic, m->vm, err);
	if (r == 0)
		r = remember(gic, m->cpus, err);
	if (r < 0)
		(void) arm64_gic_free(gic);
	else
		*ret_gic = gic;
	return r;
}

struct arm64_gic *arm64_gic_free(struct arm64_gic *gic)
{
	if (!gic)
		return NULL;
	if (gic->its >= 0)
		(void) close(gic->its);
	if (gic->gic >= 0)
		(void) close(gic->gic);
	free(gic);
	return NULL;
}

int arm64_gic_fd(const struct arm64_gic *gic)
{
	return gic->gic;
}

int arm64_gic_its_fd(const struct arm64_gic *gic)
{
	return gic->its;
}
