/* SPDX-License-Identifier: MIT */
/*
 * gic_cpu.c - the CPU interface: which interrupt a vCPU takes next, acknowledging and ending it,
 * and the ICC_* registers, for the guest and for KVM's attributes.
 *
 * All are group 1 interrupts; one of group 0 is never delivered (no guest of ours handles FIQs). A
 * priority has 5 bits, so an active priority is one of 32, a bit in ap1r. Binary points are kept as
 * written, and don't group: each of the 32 pre-empts the next.
 */
#include <errno.h>

#include "gic_internal.h"

#define CTLR_CBPR	(1u << 0)
#define CTLR_EOI_MODE	(1u << 1)
#define CTLR_PRI_BITS	(4u << 8)	/* 5 bits */
#define CTLR_A3V	(1u << 15)
#define PRIORITY_IDLE	0x100u
#define BPR0_MIN	2u		/* that of 5 bits of priority */

void gic_icc_reset(struct gic_cpu *cpu)
{
	cpu->bpr0 = BPR0_MIN;
	cpu->bpr1 = BPR0_MIN + 1;
}

static unsigned int running_priority(const struct gic_cpu *cpu)
{
	uint32_t active = cpu->ap0r | cpu->ap1r;

	return active ? (unsigned int) __builtin_ctz(active) << 3 : PRIORITY_IDLE;
}

static const struct gic_irq *better(const struct gic_irq *best, const struct gic_irq *irq)
{
	if (!irq->enabled || !irq->group1 || irq->active || !gic_irq_pending(irq))
		return best;
	if (!best || irq->priority < best->priority)
		return irq;
	return irq->priority == best->priority && irq->intid < best->intid ? irq : best;
}

static uint32_t find_best(struct soft_gic *gic, unsigned int index)
{
	struct gic_cpu *cpu = gic->cpu[index];
	const struct gic_irq *best = NULL;

	if (!gic->dist_on || !cpu->group1_on)
		return SOFT_GIC_SPURIOUS;
	for (unsigned int i = 0; i < GIC_PRIVATE; i++)
		best = better(best, &cpu->irq[i]);
	for (unsigned int i = 0; i < gic->spis; i++)
		if (gic->spi[i].cpu == (int) index)
			best = better(best, &gic->spi[i]);
	if (cpu->lpis_on)
		for (struct gic_irq *irq = gic->lpi_list; irq; irq = irq->next)
			if (irq->cpu == (int) index)
				best = better(best, irq);
	if (!best || best->priority >= cpu->pmr || best->priority >= running_priority(cpu))
		return SOFT_GIC_SPURIOUS;
	return best->intid;
}

uint32_t gic_cpu_best(struct soft_gic *gic, unsigned int cpu)
{
	if (!gic->initialized)
		return SOFT_GIC_SPURIOUS;
	if (gic->cpu[cpu]->stale) {
		gic->cpu[cpu]->best = find_best(gic, cpu);
		gic->cpu[cpu]->stale = false;
	}
	return gic->cpu[cpu]->best;
}

static struct gic_irq *any_irq(struct soft_gic *gic, unsigned int cpu, uint32_t intid)
{
	if (intid - GIC_LPI_FIRST < GIC_LPIS_MAX)
		return gic->lpi[intid - GIC_LPI_FIRST];
	return gic_irq_get(gic, cpu, intid);
}

bool soft_gic_pending(struct soft_gic *gic, unsigned int cpu)
{
	bool pending;

	gic_lock(gic);
	pending = cpu < gic->cpus && gic_cpu_best(gic, cpu) != SOFT_GIC_SPURIOUS;
	gic_unlock(gic, (int) cpu);
	return pending;
}

uint32_t soft_gic_ack(struct soft_gic *gic, unsigned int cpu)
{
	uint32_t intid = SOFT_GIC_SPURIOUS;

	gic_lock(gic);
	if (cpu < gic->cpus)
		intid = gic_cpu_best(gic, cpu);
	if (intid != SOFT_GIC_SPURIOUS) {
		struct gic_irq *irq = any_irq(gic, cpu, intid);

		irq->latch = false;
		irq->hw_pending = false;
		irq->active = intid < GIC_LPI_FIRST;
		gic->cpu[cpu]->ap1r |= 1u << (irq->priority >> 3);
		if (intid >= GIC_LPI_FIRST)
			gic_lpi_drop(gic, irq);
		gic_changed(gic);
	}
	gic_unlock(gic, (int) cpu);
	return intid;
}

static void deactivate(struct soft_gic *gic, unsigned int cpu, uint32_t intid)
{
	struct gic_irq *irq = any_irq(gic, cpu, intid);

	if (irq)
		irq->active = false;
}

void soft_gic_eoi(struct soft_gic *gic, unsigned int cpu, uint32_t intid)
{
	gic_lock(gic);
	if (cpu < gic->cpus && (intid < 1020 || intid >= GIC_LPI_FIRST)) {
		gic->cpu[cpu]->ap1r &= gic->cpu[cpu]->ap1r - 1;		/* the highest one ends */
		if (!gic->cpu[cpu]->eoi_mode)
			deactivate(gic, cpu, intid);
		gic_changed(gic);
	}
	gic_unlock(gic, (int) cpu);
}

void soft_gic_deactivate(struct soft_gic *gic, unsigned int cpu, uint32_t intid)
{
	gic_lock(gic);
	if (cpu < gic->cpus && gic->cpu[cpu]->eoi_mode) {
		deactivate(gic, cpu, intid);
		gic_changed(gic);
	}
	gic_unlock(gic, (int) cpu);
}

int soft_gic_sgi(struct soft_gic *gic, unsigned int to_cpu, uint32_t intid)
{
	int ret = -EINVAL;

	gic_lock(gic);
	if (!gic->initialized) {
		ret = -ENXIO;
	} else if (to_cpu < gic->cpus && intid < 16) {
		gic->cpu[to_cpu]->irq[intid].latch = true;
		gic_changed(gic);
		ret = 0;
	}
	gic_unlock(gic, -1);
	return ret;
}

/* --- ICC registers --- */

static uint64_t icc_read(const struct gic_cpu *cpu, uint32_t reg)
{
	switch (reg) {
	case VF_ICC_PMR_EL1:
		return cpu->pmr;
	case VF_ICC_BPR0_EL1:
		return cpu->bpr0;
	case VF_ICC_BPR1_EL1:
		return cpu->cbpr ? (cpu->bpr0 < 7 ? cpu->bpr0 + 1u : 7u) : cpu->bpr1;
	case VF_ICC_CTLR_EL1:
		return (cpu->cbpr ? CTLR_CBPR : 0) | (cpu->eoi_mode ? CTLR_EOI_MODE : 0) |
		       CTLR_PRI_BITS | CTLR_A3V;
	case VF_ICC_SRE_EL1:
		return 7;
	case VF_ICC_IGRPEN0_EL1:
		return cpu->group0_on;
	case VF_ICC_IGRPEN1_EL1:
		return cpu->group1_on;
	case VF_ICC_AP0R_EL1(0u):
		return cpu->ap0r;
	case VF_ICC_AP1R_EL1(0u):
		return cpu->ap1r;
	}
	return 0;
}

/* What the source's CPU interface could do that this one can't. */
static int ctlr_check(uint64_t value)
{
	if (gic_field(value, 10, 8) > CTLR_PRI_BITS >> 8 || gic_field(value, 13, 11) > 0)
		return -EINVAL;
	return gic_field(value, 14, 14) || !(value & CTLR_A3V) ? -EINVAL : 0;
}

static int icc_write(struct gic_cpu *cpu, uint32_t reg, uint64_t value, bool host)
{
	switch (reg) {
	case VF_ICC_PMR_EL1:
		cpu->pmr = (uint8_t) value;
		return 0;
	case VF_ICC_BPR0_EL1:
		cpu->bpr0 = (value & 7) < BPR0_MIN ? BPR0_MIN : value & 7;
		return 0;
	case VF_ICC_BPR1_EL1:
		if (!cpu->cbpr)
			cpu->bpr1 = (value & 7) < BPR0_MIN + 1 ? BPR0_MIN + 1 : value & 7;
		return 0;
	case VF_ICC_CTLR_EL1:
		if (host && ctlr_check(value))
			return -EINVAL;
		cpu->cbpr = value & CTLR_CBPR;
		cpu->eoi_mode = value & CTLR_EOI_MODE;
		return 0;
	case VF_ICC_SRE_EL1:
		return host && !(value & 1) ? -EINVAL : 0;
	case VF_ICC_IGRPEN0_EL1:
		cpu->group0_on = value & 1;
		return 0;
	case VF_ICC_IGRPEN1_EL1:
		cpu->group1_on = value & 1;
		return 0;
	case VF_ICC_AP0R_EL1(0u):
		cpu->ap0r = (uint32_t) value;
		return 0;
	case VF_ICC_AP1R_EL1(0u):
		cpu->ap1r = (uint32_t) value;
		return 0;
	}
	return -EINVAL;
}

static bool icc_exists(uint32_t reg)
{
	static const uint32_t known[] = {
		VF_ICC_PMR_EL1, VF_ICC_BPR0_EL1, VF_ICC_BPR1_EL1, VF_ICC_CTLR_EL1, VF_ICC_SRE_EL1,
		VF_ICC_IGRPEN0_EL1, VF_ICC_IGRPEN1_EL1, VF_ICC_AP0R_EL1(0u), VF_ICC_AP1R_EL1(0u),
	};

	for (unsigned int i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == reg)
			return true;
	return false;
}

/* AP0R1..3 and AP1R1..3 are registers, but with 5 bits of priority there is nothing behind them. */
static bool icc_too_high(uint32_t reg)
{
	for (uint32_t n = 1; n < 4; n++)
		if (reg == VF_ICC_AP0R_EL1(n) || reg == VF_ICC_AP1R_EL1(n))
			return true;
	return false;
}

int gic_icc_access(struct soft_gic *gic, unsigned int index, uint32_t reg, bool write, bool host,
		   uint64_t *value)
{
	if (!icc_exists(reg))
		return icc_too_high(reg) ? -EINVAL : -ENOENT;
	if (write) {
		gic_changed(gic);
		return icc_write(gic->cpu[index], reg, *value, host);
	}
	*value = icc_read(gic->cpu[index], reg);
	return 0;
}

static int icc_guest(struct soft_gic *gic, unsigned int cpu, uint32_t reg, bool write,
		     uint64_t *value)
{
	int ret = -ENOENT;

	gic_lock(gic);
	if (cpu < gic->cpus && gic->initialized)
		ret = gic_icc_access(gic, cpu, reg, write, false, value) ? -ENOENT : 0;
	gic_unlock(gic, (int) cpu);
	return ret;
}

int soft_gic_icc_read(struct soft_gic *gic, unsigned int cpu, uint32_t reg, uint64_t *ret_value)
{
	uint64_t value = 0;
	int ret = icc_guest(gic, cpu, reg, false, &value);

	if (!ret)
		*ret_value = value;
	return ret;
}

int soft_gic_icc_write(struct soft_gic *gic, unsigned int cpu, uint32_t reg, uint64_t value)
{
	return icc_guest(gic, cpu, reg, true, &value);
}
