/* SPDX-License-Identifier: MIT */
/*
 * gic_dist.c - the interrupts' own bits, and the distributor's registers.
 *
 * A bit register is the same thing in the distributor (SPIs) and in a redistributor (SGIs, PPIs),
 * so both come through gic_bits_access(). Through KVM's attributes ISPENDR is the latch itself,
 * written whole, and ICPENDR reads as zero and ignores writes; the other set/clear pairs work as
 * for the guest.
 */
#include <errno.h>
#include <stdlib.h>

#include "gic_internal.h"

#define PRODUCT		(0x4bu << 24)	/* 'K' */
#define IMPLEMENTER	0x43bu		/* Arm */
#define CTLR_GROUP1	(1u << 1)
#define CTLR_ARE	(1u << 4)
#define CTLR_DS		(1u << 6)
#define CTLR_NASSGIREQ	(1u << 8)
#define TYPER2_NASSGICAP (1u << 8)

void gic_irq_reset(struct gic_irq *irq, uint32_t intid, int cpu)
{
	*irq = (struct gic_irq) {
		.intid = intid,
		.cpu = cpu,
		.group1 = true,
		.enabled = intid < 16,		/* SGIs come up enabled in KVM */
		.level = intid >= 16 && intid < GIC_PRIVATE,	/* PPIs; SPIs come up as edges */
	};
}

int gic_dist_init(struct soft_gic *gic)
{
	unsigned int spis = gic->spis ? gic->spis : 256 - GIC_PRIVATE;
	struct gic_irq *spi = calloc(spis, sizeof(*spi));

	if (!spi)
		return -ENOMEM;
	for (unsigned int i = 0; i < spis; i++)
		gic_irq_reset(&spi[i], GIC_PRIVATE + i, gic->cpus ? 0 : GIC_NO_CPU);
	gic->spis = spis;
	gic->spi = spi;
	return 0;
}

struct gic_irq *gic_irq_get(struct soft_gic *gic, unsigned int cpu, uint32_t intid)
{
	if (intid < GIC_PRIVATE)
		return cpu < gic->cpus ? &gic->cpu[cpu]->irq[intid] : NULL;
	if (gic->spi && intid - GIC_PRIVATE < gic->spis)
		return &gic->spi[intid - GIC_PRIVATE];
	return NULL;
}

/* KVM packs Aff3 beside Aff2, into bits 31:24; the register itself has it in 39:32. */
static uint32_t affinity_of(uint64_t mpidr)
{
	return (uint32_t) (mpidr & 0xffffff) | (uint32_t) gic_field(mpidr, 39, 32) << 24;
}

int gic_cpu_by_affinity(const struct soft_gic *gic, uint64_t affinity)
{
	for (unsigned int i = 0; i < gic->cpus; i++)
		if (affinity_of(gic->cpu[i]->mpidr) == affinity)
			return (int) i;
	return GIC_NO_CPU;
}

bool gic_irq_pending(const struct gic_irq *irq)
{
	if (irq->forwarded)
		return irq->hw_pending;
	return irq->latch || (irq->level && irq->line);
}

void gic_changed(struct soft_gic *gic)
{
	for (unsigned int i = 0; i < gic->cpus; i++)
		gic->cpu[i]->stale = true;
}

/* --- bit registers --- */

/* One bit of register @offset (its first word) for one interrupt. */
static bool bit_get(const struct gic_irq *irq, uint64_t offset, bool host)
{
	switch (offset) {
	case VF_GICD_IGROUPR:
		return irq->group1;
	case VF_GICD_ISENABLER:
	case VF_GICD_ICENABLER:
		return irq->enabled;
	case VF_GICD_ISPENDR:
		return host ? irq->latch : gic_irq_pending(irq);
	case VF_GICD_ICPENDR:
		return !host && gic_irq_pending(irq);
	case VF_GICD_ISACTIVER:
	case VF_GICD_ICACTIVER:
		return irq->active;
	}
	return false;
}

static void bit_set(struct gic_irq *irq, uint64_t offset, bool bit, bool host)
{
	switch (offset) {
	case VF_GICD_IGROUPR:
		irq->group1 = bit;
		break;
	case VF_GICD_ISENABLER:
		irq->enabled = irq->enabled || bit;
		break;
	case VF_GICD_ICENABLER:
		irq->enabled = irq->enabled && !bit;
		break;
	case VF_GICD_ISPENDR:
		irq->latch = host ? bit : irq->latch || bit;
		break;
	case VF_GICD_ICPENDR:
		if (!host)
			irq->latch = irq->latch && !bit;
		break;
	case VF_GICD_ISACTIVER:
		irq->active = irq->active || bit;
		break;
	case VF_GICD_ICACTIVER:
		irq->active = irq->active && !bit;
		break;
	}
}

static void bits_access(struct soft_gic *gic, unsigned int cpu, uint64_t base, uint32_t first,
			bool write, bool host, uint64_t *value)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < 32; i++) {
		struct gic_irq *irq = gic_irq_get(gic, cpu, first + i);

		if (!irq)
			continue;
		if (write)
			bit_set(irq, base, *value >> i & 1, host);
		else
			bits |= (uint64_t) bit_get(irq, base, host) << i;
	}
	if (!write)
		*value = bits;
}

/* One byte for each interrupt. */
static void priority_access(struct soft_gic *gic, unsigned int cpu, uint32_t first,
			    unsigned int len, bool write, uint64_t *value)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < len; i++) {
		struct gic_irq *irq = gic_irq_get(gic, cpu, first + i);

		if (!irq)
			continue;
		if (write)
			irq->priority = (uint8_t) (*value >> 8 * i) & 0xf8; /* 5 bits are there */
		else
			bytes |= (uint64_t) irq->priority << 8 * i;
	}
	if (!write)
		*value = bytes;
}

/* Two bits for each interrupt, the upper one: edge. SGIs are edges and stay so. */
static void config_access(struct soft_gic *gic, unsigned int cpu, uint32_t first, bool write,
			  uint64_t *value)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < 16; i++) {
		struct gic_irq *irq = gic_irq_get(gic, cpu, first + i);

		if (!irq)
			continue;
		if (!write)
			bits |= irq->level ? 0 : 2ull << 2 * i;
		else if (irq->intid >= 16)
			irq->level = !(*value >> 2 * i & 2);
	}
	if (!write)
		*value = bits;
}

int gic_bits_access(struct soft_gic *gic, unsigned int cpu, uint64_t offset, unsigned int len,
		    bool write, bool host, uint64_t *value)
{
	uint64_t base = offset & ~0x7full;

	if (write)
		gic_changed(gic);
	if (offset >= VF_GICD_IPRIORITYR && offset < VF_GICD_IPRIORITYR + 0x400 &&
	    (len == 4 || len == 1)) {
		priority_access(gic, cpu, (uint32_t) (offset - VF_GICD_IPRIORITYR), len, write,
				value);
		return 0;
	}
	if (len != 4 || (offset & 3))
		return -ENXIO;
	if (offset >= VF_GICD_IGROUPR && offset < VF_GICD_IPRIORITYR) {
		bits_access(gic, cpu, base, (uint32_t) (offset - base) * 8, write, host, value);
		return 0;
	}
	if (offset >= VF_GICD_ICFGR && offset < VF_GICD_ICFGR + 0x100) {
		config_access(gic, cpu, (uint32_t) (offset - VF_GICD_ICFGR) * 4, write, value);
		return 0;
	}
	if ((offset >= 0x800 && offset < 0xc00) || /* ITARGETSR: with affinity routing, nothing */
	    (offset >= 0xd00 && offset < 0xd80)) { /* IGRPMODR: one security state, nothing */
		*value = write ? *value : 0;
		return 0;
	}
	return -ENXIO;
}

int gic_level_access(struct soft_gic *gic, unsigned int cpu, uint32_t first, bool write,
		     uint64_t *value)
{
	uint64_t bits = 0;

	if (first % 32)
		return -EINVAL;
	for (uint32_t i = 0; i < 32; i++) {
		struct gic_irq *irq = gic_irq_get(gic, cpu, first + i);

		if (!irq)
			continue;
		if (write)
			irq->line = irq->level && (*value >> i & 1);
		else
			bits |= (uint64_t) (irq->level && irq->line) << i;
	}
	if (write)
		gic_changed(gic);
	else
		*value = bits;
	return 0;
}

/* --- the distributor's own --- */

static uint32_t misc_read(const struct soft_gic *gic, uint64_t offset)
{
	switch (offset) {
	case VF_GICD_CTLR:
		return (gic->dist_on ? CTLR_GROUP1 : 0) | CTLR_ARE | CTLR_DS |
		       (gic->nassgireq ? CTLR_NASSGIREQ : 0);
	case VF_GICD_TYPER:
		return ((gic->spis + GIC_PRIVATE) / 32 - 1) |
		       (gic_has_its(gic) ? (GIC_ID_BITS - 1) << 19 | 1u << 17 : 9u << 19);
	case VF_GICD_IIDR:
		return PRODUCT | gic->revision << 12 | IMPLEMENTER;
	case VF_GICD_TYPER2:
		return gic->config.kind == SOFT_GIC_V4_1 ? TYPER2_NASSGICAP : 0;
	}
	return 0;
}

static int misc_write(struct soft_gic *gic, uint64_t offset, uint32_t value, bool host)
{
	uint32_t revision = value >> 12 & 0xf;

	switch (offset) {
	case VF_GICD_CTLR: {
		bool was_on = gic->dist_on;

		gic->dist_on = value & CTLR_GROUP1;
		/* The guest may switch SGIs over only while the distributor is off. */
		if (gic->config.kind == SOFT_GIC_V4_1 && (host || !was_on || !gic->dist_on))
			gic->nassgireq = value & CTLR_NASSGIREQ;
		gic_changed(gic);
		return 0;
	}
	case VF_GICD_TYPER2:
		return host && value != misc_read(gic, offset) ? -EINVAL : 0;
	case VF_GICD_IIDR:
		if (!host)
			return 0;
		if (((value ^ misc_read(gic, offset)) & ~(0xfu << 12)) || revision < 2 ||
		    revision > 3)
			return -EINVAL;
		gic->revision = revision;
		return 0;
	}
	return 0;
}

static int router_access(struct soft_gic *gic, uint64_t offset, unsigned int len, bool write,
			 uint64_t *value)
{
	struct gic_irq *irq = gic_irq_get(gic, 0, (uint32_t) ((offset - VF_GICD_IROUTER) / 8));
	bool upper = offset & 4;	/* Aff3 is not there */

	if (!irq || irq->intid < GIC_PRIVATE || upper) {
		*value = write ? *value : 0;
		return 0;
	}
	if (len != 4 && len != 8)
		return -ENXIO;
	if (!write) {
		*value = irq->affinity;
		return 0;
	}
	irq->affinity = (uint32_t) *value & 0xffffff;
	irq->cpu = gic_cpu_by_affinity(gic, irq->affinity);
	gic_changed(gic);
	return 0;
}

int gic_dist_access(struct soft_gic *gic, uint64_t offset, unsigned int len, bool write, bool host,
		    uint64_t *value)
{
	if (offset >= VF_GICD_FRAME_SIZE || (offset & (len - 1)))
		return -ENXIO;
	if (offset >= VF_GICD_IROUTER && offset < VF_GICD_IROUTER + 0x2000)
		return router_access(gic, offset, len, write, value);
	if (len == 4 && offset < 0x14) {	/* 0x10: STATUSR, always 0 */
		if (write)
			return misc_write(gic, offset, (uint32_t) *value, host);
		*value = misc_read(gic, offset);
		return 0;
	}
	if (len == 4 && offset >= 0xffd0) {
		if (!write)
			*value = offset == 0xffe8 ? 0x3b : 0;	/* PIDR2: GICv3 */
		return 0;
	}
	/* Private interrupts have their registers in the redistributors; here they are empty. */
	if ((offset >= VF_GICD_IGROUPR && offset < VF_GICD_IPRIORITYR && (offset & 0x7f) < 4) ||
	    (offset >= VF_GICD_IPRIORITYR && offset < VF_GICD_IPRIORITYR + GIC_PRIVATE) ||
	    (offset >= VF_GICD_ICFGR && offset < VF_GICD_ICFGR + 8)) {
		*value = write ? *value : 0;
		return 0;
	}
	return gic_bits_access(gic, 0, offset, len, write, host, value);
}
