/* SPDX-License-Identifier: MIT */
/*
 * gic_redist.c - the redistributors: where they lie, and their registers.
 *
 * PROPBASER is one register for the whole machine, whichever redistributor it is written through.
 * PROPBASER and PENDBASER ignore writes once the CPU has LPIs enabled, and LPIs can be enabled only
 * where there is an ITS: both silently, which is what makes the order of a restore matter.
 */
#include <errno.h>

#include "gic_internal.h"

#define CTLR_ENABLE_LPIS	1u
#define CTLR_IR_CES		(1u << 2 | 1u << 1)	/* INVLPIR there; LPIs can be turned off */
#define PENDBASER_PTZ		(1ull << 62)
#define INNER_RAWB		3ull
#define SHARE_INNER		1ull

/*
 * The kernel's view of memory attributes: outer shareable becomes inner, inner non-cacheable
 * becomes write-back, outer is "as inner" or non-cacheable. @inner and @outer: where the fields
 * are.
 */
uint64_t gic_baser_sanitise(uint64_t value, unsigned int inner, unsigned int outer)
{
	if (gic_field(value, 11, 10) == 2)
		value = (value & ~gic_mask(11, 10)) | SHARE_INNER << 10;
	if (gic_field(value, inner + 2, inner) <= 1)
		value = (value & ~gic_mask(inner + 2, inner)) | INNER_RAWB << inner;
	if (gic_field(value, outer + 2, outer) > 1)
		value &= ~gic_mask(outer + 2, outer);
	return value;
}

uint64_t gic_propbaser_initial(void)
{
	return INNER_RAWB << 7 | SHARE_INNER << 10;
}

void gic_redist_reset(struct gic_cpu *cpu)
{
	cpu->pendbaser = INNER_RAWB << 7 | SHARE_INNER << 10;
	cpu->lpis_on = false;
}

/* --- regions --- */

static uint64_t region_size(const struct soft_gic *gic, const struct gic_region *region)
{
	return (region->count ? region->count : gic->cpus) * (uint64_t) VF_GICR_FRAMES_SIZE;
}

int gic_redist_place(struct soft_gic *gic, unsigned int cpu)
{
	for (unsigned int i = 0; i < gic->regions; i++) {
		struct gic_region *region = &gic->region[i];

		if (region->count && region->used == region->count)
			continue;
		gic->cpu[cpu]->rd_base =
			region->base + region->used * (uint64_t) VF_GICR_FRAMES_SIZE;
		region->used++;
		return 0;
	}
	return -EINVAL;
}

int gic_redist_region_add(struct soft_gic *gic, uint32_t index, uint64_t base, uint32_t count)
{
	struct gic_region region = { .base = base, .count = count };
	uint64_t size = region_size(gic, &region);

	if (gic->regions) {
		if (!count)
			return gic->region[gic->regions - 1].count ? -EINVAL : -EEXIST;
		if (!gic->region[gic->regions - 1].count)
			return -EINVAL;
	}
	if (base & (GIC_PAGE_64K - 1) || index != gic->regions)
		return -EINVAL;
	if (base >= 1ull << 40 || size > (1ull << 40) - base)
		return -E2BIG;
	if (gic->regions == GIC_REGIONS_MAX)
		return -ENOSPC;
	if (gic->dist_base != GIC_ADDR_UNSET && base < gic->dist_base + VF_GICD_FRAME_SIZE &&
	    gic->dist_base < base + size)
		return -EINVAL;
	for (unsigned int i = 0; i < gic->regions; i++)
		if (base < gic->region[i].base + region_size(gic, &gic->region[i]) &&
		    gic->region[i].base < base + size)
			return -EINVAL;
	gic->region[gic->regions++] = region;
	for (unsigned int i = 0; i < gic->cpus; i++)
		if (gic->cpu[i]->rd_base == GIC_ADDR_UNSET)
			(void) gic_redist_place(gic, i);
	return 0;
}

/* GICR_TYPER.Last: none follows right behind. */
static bool is_last(const struct soft_gic *gic, unsigned int cpu)
{
	uint64_t end = gic->cpu[cpu]->rd_base + VF_GICR_FRAMES_SIZE;

	for (unsigned int i = 0; i < gic->cpus; i++)
		if (gic->cpu[i]->rd_base == end)
			return false;
	return true;
}

/* --- registers --- */

static void ctlr_write(struct soft_gic *gic, unsigned int index, uint64_t value)
{
	struct gic_cpu *cpu = gic->cpu[index];
	bool on = value & CTLR_ENABLE_LPIS;

	if (!gic_has_its(gic) || on == cpu->lpis_on)
		return;
	cpu->lpis_on = on;
	if (on && !(cpu->pendbaser & PENDBASER_PTZ))
		(void) gic_pending_table_read(gic, index); /* unreadable: as if nothing pended */
	gic_changed(gic);
}

/* Half or all of a 64-bit register. */
static uint64_t merge(uint64_t old, uint64_t offset, unsigned int len, uint64_t value)
{
	unsigned int low = (unsigned int) (offset & 4) * 8;
	uint64_t mask = len == 8 ? UINT64_MAX : gic_mask(31, 0) << low;

	return (old & ~mask) | (value << low & mask);
}

static uint64_t split(uint64_t value, uint64_t offset, unsigned int len)
{
	return len == 8 ? value : value >> (offset & 4) * 8 & UINT32_MAX;
}

static void propbaser_write(struct soft_gic *gic, unsigned int cpu, uint64_t offset,
			    unsigned int len, uint64_t value)
{
	uint64_t reserved = gic_mask(63, 59) | gic_mask(55, 52) | gic_mask(6, 5);

	if (gic->cpu[cpu]->lpis_on)
		return;
	value = merge(gic->propbaser, offset, len, value);
	gic->propbaser = gic_baser_sanitise(value, 7, 56) & ~reserved;
}

static void pendbaser_write(struct gic_cpu *cpu, uint64_t offset, unsigned int len, uint64_t value)
{
	uint64_t reserved = gic_mask(63, 63) | gic_mask(61, 59) | gic_mask(55, 52) |
			    gic_mask(15, 12) | gic_mask(6, 0);

	if (cpu->lpis_on)
		return;
	value = merge(cpu->pendbaser, offset, len, value);
	cpu->pendbaser = gic_baser_sanitise(value, 7, 56) & ~reserved;
}

static uint64_t typer(const struct soft_gic *gic, unsigned int cpu)
{
	return (gic->cpu[cpu]->mpidr & 0xffffff) << 32 | (uint64_t) cpu << 8 |
	       (uint64_t) is_last(gic, cpu) << 4 | (uint64_t) gic_has_its(gic);
}

/* INVLPIR, INVALLR: configuration bytes are read anew, for one LPI or for all of the CPU. */
static void invalidate(struct soft_gic *gic, unsigned int cpu, bool all, uint64_t value)
{
	if (!gic->cpu[cpu]->lpis_on)
		return;
	for (struct gic_irq *irq = gic->lpi_list; irq; irq = irq->next)
		if (all ? irq->cpu == (int) cpu : irq->intid == (uint32_t) value)
			(void) gic_lpi_configure(gic, irq);
}

static int rd_access(struct soft_gic *gic, unsigned int index, uint64_t offset, unsigned int len,
		     bool write, uint64_t *value)
{
	struct gic_cpu *cpu = gic->cpu[index];
	uint64_t wide;

	switch (offset & ~7ull) {
	case VF_GICR_TYPER:
		wide = typer(gic, index);
		break;
	case VF_GICR_PROPBASER:
		if (write)
			propbaser_write(gic, index, offset, len, *value);
		wide = gic->propbaser;
		break;
	case VF_GICR_PENDBASER:
		if (write)
			pendbaser_write(cpu, offset, len, *value);
		wide = cpu->pendbaser & ~PENDBASER_PTZ;
		break;
	case 0xa0:	/* INVLPIR */
	case 0xb0:	/* INVALLR */
		if (write && !(offset & 4))
			invalidate(gic, index, offset >= 0xb0, *value);
		wide = 0;
		break;
	default:
		if (len != 4)
			return -ENXIO;
		if (offset == VF_GICR_CTLR && write)
			ctlr_write(gic, index, *value);
		else if (offset == VF_GICR_CTLR)
			*value = (cpu->lpis_on ? CTLR_ENABLE_LPIS : 0) |
				 (gic->revision >= 3 ? CTLR_IR_CES : 0);
		else if (offset == VF_GICR_IIDR)
			*value = write ? *value : (0x4bu << 24 | 0x43bu);
		else if (offset == VF_GICR_STATUSR || offset == VF_GICR_WAKER || offset == 0xc0)
			*value = write ? *value : 0;
		else if (offset >= 0xffd0)
			*value = write ? *value : offset == 0xffe8 ? 0x3b : 0;
		else
			return -ENXIO;
		return 0;
	}
	if (!write)
		*value = split(wide, offset, len);
	return 0;
}

int gic_redist_access(struct soft_gic *gic, unsigned int cpu, uint64_t offset, unsigned int len,
		      bool write, bool host, uint64_t *value)
{
	uint64_t sgi = offset - VF_GICR_SGI_BASE;

	if (offset >= VF_GICR_FRAMES_SIZE || (offset & (len - 1)))
		return -ENXIO;
	if (offset < VF_GICR_SGI_BASE)
		return len >= 4 ? rd_access(gic, cpu, offset, len, write, value) : -ENXIO;
	/* Only the first word of each register: 32 interrupts. */
	if ((sgi >= VF_GICD_IGROUPR && sgi < VF_GICD_IPRIORITYR && (sgi & 0x7f) < 4) ||
	    (sgi >= VF_GICD_IPRIORITYR && sgi < VF_GICD_IPRIORITYR + GIC_PRIVATE) ||
	    sgi == VF_GICD_ICFGR || sgi == VF_GICD_ICFGR + 4 || sgi == 0xd00)
		return gic_bits_access(gic, cpu, sgi, len, write, host, value);
	if (sgi == 0xe00 && len == 4) {		/* NSACR */
		*value = write ? *value : 0;
		return 0;
	}
	return -ENXIO;
}
