/* SPDX-License-Identifier: MIT */
/*
 * gic_tables.c - what moves between the model and the tables in guest RAM.
 *
 * Layout, that of KVM's ABI revision 0; all entries are 8 bytes, little-endian:
 *
 *   device table entry      63 valid | 62:49 next | 48:5 ITT address >> 8 | 4:0 event bits - 1
 *   collection table entry  63 valid | 51:16 vCPU (or ~0: not mapped) | 15:0 collection
 *   ITT entry               63:48 next | 47:16 LPI | 15:0 collection
 *   pending table           one bit for each INTID, from bit 8192 on; PENDBASER of the target vCPU
 *
 * next is the distance to the next entry that is in use, 0 in the last one.
 *
 * The device table and ITTs are walked by their "next" offsets, which 0 ends; the collection table
 * is filled from its start and ends at the first entry that isn't valid.
 *
 * A restore happens once: each LPI's pending bit is taken into the model and cleared in RAM.
 */
#include <errno.h>

#include "gic_internal.h"

#define DEVICE_NEXT_MAX	((1u << 14) - 1)
#define EVENT_NEXT_MAX	((1u << 16) - 1)
#define SCANNED_ALL	1	/* came to the end of the table, no last entry seen */

/* --- pending tables --- */

static uint64_t pending_byte(const struct soft_gic *gic, const struct gic_irq *irq)
{
	return (gic->cpu[irq->cpu]->pendbaser & gic_mask(51, 16)) + irq->intid / 8;
}

/* A bit of one LPI: taken into the latch, and consumed. */
int gic_lpi_sync_pending(struct soft_gic *gic, struct gic_irq *irq)
{
	uint8_t bit = (uint8_t) (1u << irq->intid % 8);
	uint8_t byte;
	int err;

	if (irq->cpu < 0)
		return 0;
	err = gic_read(gic, pending_byte(gic, irq), &byte, 1);
	if (err)
		return err;
	irq->latch = byte & bit;
	gic_changed(gic);
	if (!irq->latch)
		return 0;
	byte = (uint8_t) (byte & ~bit);
	return gic_write(gic, pending_byte(gic, irq), &byte, 1);
}

/* LPIs were just enabled on this vCPU: those mapped already take their bit; it stays in RAM. */
int gic_pending_table_read(struct soft_gic *gic, unsigned int cpu)
{
	for (struct gic_irq *irq = gic->lpi_list; irq; irq = irq->next) {
		uint8_t byte;
		int err;

		if (irq->cpu != (int) cpu)
			continue;
		err = gic_read(gic, pending_byte(gic, irq), &byte, 1);
		if (err)
			return err;
		irq->latch = byte >> irq->intid % 8 & 1;
	}
	return 0;
}

/*
 * A forwarded LPI's bit is in hardware: GICv4.1 can read it there, GICv4.0 can't, and writes what
 * software last knew, which is wrong, and reports success.
 */
int gic_save_pending(struct soft_gic *gic)
{
	bool readable = gic->config.kind == SOFT_GIC_V4_1;

	for (struct gic_irq *irq = gic->lpi_list; irq; irq = irq->next) {
		bool pending = irq->forwarded && readable ? irq->hw_pending : irq->latch;
		uint8_t bit = (uint8_t) (1u << irq->intid % 8);
		uint8_t byte;
		int err;

		if (irq->cpu < 0)
			continue;
		err = gic_read(gic, pending_byte(gic, irq), &byte, 1);
		if (err)
			return err;
		if (!!(byte & bit) == pending)
			continue;
		byte ^= bit;
		err = gic_write(gic, pending_byte(gic, irq), &byte, 1);
		if (err)
			return err;
	}
	return 0;
}

/* --- save --- */

static uint64_t capped(uint64_t distance, uint64_t most)
{
	return distance < most ? distance : most;
}

static int save_itt(struct soft_gic *gic, const struct gic_its_device *device)
{
	for (const struct gic_ite *ite = device->ites; ite; ite = ite->next) {
		uint64_t next = !ite->next ? 0 :
				capped(ite->next->event - ite->event, EVENT_NEXT_MAX);
		uint64_t entry;
		int err;

		if (ite->irq->forwarded && gic->config.kind != SOFT_GIC_V4_1)
			return -EACCES;
		/* An entry whose collection was unmapped: the kernel would trip over it. */
		if (!ite->collection)
			return -EINVAL;
		entry = next << 48 | (uint64_t) ite->irq->intid << 16 | ite->collection->id;
		err = gic_write_u64(gic, device->itt + ite->event * (uint64_t) GIC_ENTRY, entry);
		if (err)
			return err;
	}
	return 0;
}

static int save_devices(struct soft_gic *gic, struct gic_its *its)
{
	if (!(its->device_baser & GIC_BASER_VALID))
		return 0;
	for (const struct gic_its_device *device = its->devices; device; device = device->next) {
		uint64_t next = !device->next ? 0 :
				capped(device->next->id - device->id, DEVICE_NEXT_MAX);
		uint64_t gpa;
		int err;

		if (!gic_its_entry(gic, its->device_baser, device->id, &gpa))
			return -EINVAL;
		err = save_itt(gic, device);
		if (err)
			return err;
		err = gic_write_u64(gic, gpa, GIC_BASER_VALID | next << 49 | device->itt >> 8 << 5 |
				    (device->event_bits - 1));
		if (err)
			return err;
	}
	return 0;
}

static int save_collections(struct soft_gic *gic, struct gic_its *its)
{
	uint64_t gpa = gic_baser_address(its->collection_baser);
	uint64_t end = gpa + gic_baser_bytes(its->collection_baser);

	if (!(its->collection_baser & GIC_BASER_VALID))
		return 0;
	for (const struct gic_collection *c = its->collections; c; c = c->next, gpa += GIC_ENTRY) {
		uint64_t entry = GIC_BASER_VALID | (uint64_t) c->cpu << 16 | c->id;
		int err = gpa < end ? gic_write_u64(gic, gpa, entry) : -EINVAL;

		if (err)
			return err;
	}
	return gpa < end ? gic_write_u64(gic, gpa, 0) : 0;
}

int gic_its_save(struct soft_gic *gic, struct gic_its *its)
{
	int err = save_devices(gic, its);

	return err ? err : save_collections(gic, its);
}

/* --- restore --- */

struct scan {
	struct soft_gic *gic;
	struct gic_its *its;
	struct gic_its_device *device;
	/* The distance to the next entry, 0: this was the last, or a negative errno. */
	int64_t (*entry)(const struct scan *scan, uint64_t id, uint64_t entry);
};

static int scan_table(const struct scan *scan, uint64_t gpa, uint64_t entries, uint64_t first_id)
{
	uint64_t at = 0;

	while (at < entries) {
		uint64_t entry;
		int64_t step;
		int err = gic_read_u64(scan->gic, gpa + at * GIC_ENTRY, &entry);

		if (err)
			return err;
		step = scan->entry(scan, first_id + at, entry);
		if (step <= 0)
			return (int) step;
		at += (uint64_t) step;
	}
	return SCANNED_ALL;
}

static int64_t restore_ite(const struct scan *scan, uint64_t event, uint64_t entry)
{
	uint32_t lpi = (uint32_t) gic_field(entry, 47, 16);
	uint64_t next = entry >> 48;
	struct gic_collection *collection;
	int err;

	if (!lpi)
		return 1;
	if (lpi < GIC_LPI_FIRST || lpi >= 1u << GIC_ID_BITS ||
	    event + next >= 1ull << scan->device->event_bits)
		return -EINVAL;
	collection = gic_collection_find(scan->its, (uint32_t) gic_field(entry, 15, 0));
	if (!collection)
		return -EINVAL;
	err = gic_ite_add(scan->gic, scan->device, (uint32_t) event, lpi, collection);
	return err ? err : (int64_t) next;
}

static int64_t restore_device(const struct scan *scan, uint64_t id, uint64_t entry)
{
	unsigned int bits = (unsigned int) gic_field(entry, 4, 0) + 1;
	struct scan itt = { .gic = scan->gic, .its = scan->its, .entry = restore_ite };
	uint64_t gpa;
	int err;

	if (!(entry & GIC_BASER_VALID))
		return 1;
	if (!gic_its_entry(scan->gic, scan->its->device_baser, (uint32_t) id, &gpa) ||
	    bits > GIC_ID_BITS)
		return -EINVAL;
	/* A table walked twice, or one that leads back: the list would hold the device twice. */
	for (const struct gic_its_device *d = scan->its->devices; d; d = d->next)
		if (d->id == id)
			return -EINVAL;
	itt.device =
		gic_its_device_add(scan->its, (uint32_t) id, gic_field(entry, 48, 5) << 8, bits);
	if (!itt.device)
		return -ENOMEM;
	err = scan_table(&itt, itt.device->itt, 1ull << bits, 0);
	if (err < 0) {
		gic_its_device_free(scan->gic, scan->its, itt.device);
		return err;
	}
	return (int64_t) gic_field(entry, 62, 49);
}

static int64_t restore_page(const struct scan *scan, uint64_t index, uint64_t entry)
{
	struct scan second = { .gic = scan->gic, .its = scan->its, .entry = restore_device };
	uint64_t per_page = GIC_PAGE_64K / GIC_ENTRY;

	if (!(entry & GIC_BASER_VALID))
		return 1;
	return scan_table(&second, entry & gic_mask(51, 16), per_page, index * per_page);
}

static int restore_devices(struct soft_gic *gic, struct gic_its *its)
{
	struct scan scan = { .gic = gic, .its = its, .entry = restore_device };
	int err;

	if (!(its->device_baser & GIC_BASER_VALID))
		return 0;
	if (its->device_baser & GIC_BASER_INDIRECT)
		scan.entry = restore_page;
	err = scan_table(&scan, gic_baser_address(its->device_baser),
			 gic_baser_bytes(its->device_baser) / GIC_ENTRY, 0);
	return err < 0 ? err : 0;
}

static int restore_collections(struct soft_gic *gic, struct gic_its *its)
{
	uint64_t gpa = gic_baser_address(its->collection_baser);
	uint64_t end = gpa + gic_baser_bytes(its->collection_baser);

	if (!(its->collection_baser & GIC_BASER_VALID))
		return 0;
	for (; gpa < end; gpa += GIC_ENTRY) {
		uint64_t entry, place;
		uint32_t id, cpu;
		int err = gic_read_u64(gic, gpa, &entry);

		if (err)
			return err;
		if (!(entry & GIC_BASER_VALID))
			return 0;
		id = (uint32_t) gic_field(entry, 15, 0);
		cpu = (uint32_t) gic_field(entry, 47, 16);
		if (cpu != UINT32_MAX && cpu >= gic->cpus)
			return -EINVAL;
		if (gic_collection_find(its, id))
			return -EEXIST;
		if (!gic_its_entry(gic, its->collection_baser, id, &place))
			return -EINVAL;
		if (!gic_collection_add(its, id, cpu))
			return -ENOMEM;
	}
	return 0;
}

/*
 * What fails is undone, and what was there before goes with it; pending bits that were consumed
 * stay consumed.
 */
int gic_its_restore(struct soft_gic *gic, struct gic_its *its)
{
	int err = restore_collections(gic, its);

	if (err) {
		while (its->collections)
			gic_collection_free(its, its->collections);
		return err;
	}
	err = restore_devices(gic, its);
	if (err)
		gic_its_clear(gic, its);
	return err;
}
