/* SPDX-License-Identifier: MIT */
/*
 * gic_its.c - an interrupt translation service: its registers, its command queue, and what it maps.
 *
 * The mapping (DeviceID, EventID) -> LPI -> CPU is kept in lists, as KVM does; the guest's tables
 * in RAM are written by a save and read by a restore (gic_tables.c), and otherwise only touched to
 * find out whether an entry would have a place (a command whose entry has none fails) and to wipe
 * an entry that is unmapped. A command that fails is skipped without a word: no error reaches the
 * guest.
 */
#include <errno.h>
#include <stdlib.h>

#include "gic_internal.h"

#define CMD_MOVI	0x01u
#define CMD_INT		0x03u
#define CMD_CLEAR	0x04u
#define CMD_SYNC	0x05u
#define CMD_MAPD	0x08u
#define CMD_MAPC	0x09u
#define CMD_MAPTI	0x0au
#define CMD_MAPI	0x0bu
#define CMD_INV		0x0cu
#define CMD_INVALL	0x0du
#define CMD_MOVALL	0x0eu
#define CMD_DISCARD	0x0fu

#define CMD_BYTES	32u
#define REFUSED		1	/* any of the architecture's command errors */
#define UNMAPPED_CPU	UINT32_MAX
#define BASER_PAGE_64K	(2ull << 8)
#define BASER_READ_ONLY	(gic_mask(52, 48) | gic_mask(58, 56))

static uint64_t baser_fixed(unsigned int type)
{
	return (uint64_t) type << 56 | (GIC_ENTRY - 1ull) << 48 | BASER_PAGE_64K;
}

uint64_t gic_baser_address(uint64_t baser)
{
	return (baser & gic_mask(47, 16)) | gic_field(baser, 15, 12) << 48;
}

uint64_t gic_baser_bytes(uint64_t baser)
{
	return (gic_field(baser, 7, 0) + 1) * GIC_PAGE_64K;
}

void gic_its_init(struct soft_gic *gic, struct gic_its *its)
{
	uint64_t attributes = gic_baser_sanitise(1ull << 10, 59, 53);

	(void) gic;
	its->base = GIC_ADDR_UNSET;
	its->device_baser = attributes | baser_fixed(GIC_TYPE_DEVICE);
	its->collection_baser = attributes | baser_fixed(GIC_TYPE_COLLECTION);
}

/* --- LPIs --- */

int gic_lpi_configure(struct soft_gic *gic, struct gic_irq *irq)
{
	uint64_t base = gic->propbaser & gic_mask(51, 12);
	uint8_t byte;
	int err = gic_read(gic, base + irq->intid - GIC_LPI_FIRST, &byte, 1);

	if (err)
		return err;
	irq->priority = byte & 0xf8;
	irq->enabled = byte & 1;
	gic_changed(gic);
	return 0;
}

void gic_lpi_put(struct soft_gic *gic, struct gic_irq *irq)
{
	irq->refs--;
	gic_lpi_drop(gic, irq);
}

void gic_lpi_drop(struct soft_gic *gic, struct gic_irq *irq)
{
	struct gic_irq **at = &gic->lpi_list;

	if (irq->refs || (irq->latch && irq->enabled && irq->cpu != GIC_NO_CPU))
		return;
	while (*at != irq)
		at = &(*at)->next;
	*at = irq->next;
	gic->lpi[irq->intid - GIC_LPI_FIRST] = NULL;
	free(irq);
	gic_changed(gic);
}

/*
 * The LPI, created if it's new: then it takes configuration and pending bit from the guest's
 * tables, and the pending bit is consumed there.
 */
static int lpi_get(struct soft_gic *gic, uint32_t intid, int cpu, struct gic_irq **ret_irq)
{
	struct gic_irq **at = &gic->lpi[intid - GIC_LPI_FIRST];
	struct gic_irq *irq = *at;
	int err;

	if (irq) {
		irq->refs++;
		*ret_irq = irq;
		return 0;
	}
	irq = calloc(1, sizeof(*irq));
	if (!irq)
		return -ENOMEM;
	gic_irq_reset(irq, intid, cpu);
	irq->refs = 1;
	irq->next = gic->lpi_list;
	gic->lpi_list = irq;
	*at = irq;
	err = gic_lpi_configure(gic, irq);
	if (!err)
		err = gic_lpi_sync_pending(gic, irq);
	if (err) {
		gic_lpi_put(gic, irq);
		return err;
	}
	*ret_irq = irq;
	return 0;
}

/* --- lists --- */

struct gic_collection *gic_collection_find(struct gic_its *its, uint32_t id)
{
	for (struct gic_collection *c = its->collections; c; c = c->next)
		if (c->id == id)
			return c;
	return NULL;
}

static struct gic_its_device *device_find(struct gic_its *its, uint32_t id)
{
	for (struct gic_its_device *device = its->devices; device && device->id <= id;
	     device = device->next)
		if (device->id == id)
			return device;
	return NULL;
}

struct gic_ite *gic_ite_find(struct gic_its *its, uint32_t devid, uint32_t event)
{
	struct gic_its_device *device = device_find(its, devid);

	for (struct gic_ite *ite = device ? device->ites : NULL; ite && ite->event <= event;
	     ite = ite->next)
		if (ite->event == event)
			return ite;
	return NULL;
}

static bool collection_mapped(const struct gic_collection *collection)
{
	return collection && collection->cpu != UNMAPPED_CPU;
}

struct gic_collection *gic_collection_add(struct gic_its *its, uint32_t id, uint32_t cpu)
{
	struct gic_collection *collection = calloc(1, sizeof(*collection));
	struct gic_collection **at = &its->collections;

	if (!collection)
		return NULL;
	collection->id = (uint16_t) id;
	collection->cpu = cpu;
	while (*at)
		at = &(*at)->next;
	*at = collection;
	return collection;
}

void gic_collection_free(struct gic_its *its, struct gic_collection *collection)
{
	struct gic_collection **at = &its->collections;

	for (struct gic_its_device *device = its->devices; device; device = device->next)
		for (struct gic_ite *ite = device->ites; ite; ite = ite->next)
			if (ite->collection == collection)
				ite->collection = NULL;
	while (*at != collection)
		at = &(*at)->next;
	*at = collection->next;
	free(collection);
}

struct gic_its_device *gic_its_device_add(struct gic_its *its, uint32_t id, uint64_t itt,
					  unsigned int event_bits)
{
	struct gic_its_device *device = calloc(1, sizeof(*device));
	struct gic_its_device **at = &its->devices;

	if (!device)
		return NULL;
	device->id = id;
	device->itt = itt;
	device->event_bits = event_bits;
	while (*at && (*at)->id < id)
		at = &(*at)->next;
	device->next = *at;
	*at = device;
	return device;
}

static void ite_free(struct soft_gic *gic, struct gic_its_device *device, struct gic_ite *ite)
{
	struct gic_ite **at = &device->ites;

	while (*at != ite)
		at = &(*at)->next;
	*at = ite->next;
	if (ite->irq->forwarded)
		gic_unforward(gic, ite->irq);
	gic_lpi_put(gic, ite->irq);
	free(ite);
}

void gic_its_device_free(struct soft_gic *gic, struct gic_its *its, struct gic_its_device *device)
{
	struct gic_its_device **at = &its->devices;

	while (device->ites)
		ite_free(gic, device, device->ites);
	while (*at != device)
		at = &(*at)->next;
	*at = device->next;
	free(device);
}

int gic_ite_add(struct soft_gic *gic, struct gic_its_device *device, uint32_t event, uint32_t lpi,
		struct gic_collection *collection)
{
	struct gic_ite *ite = calloc(1, sizeof(*ite));
	struct gic_ite **at = &device->ites;
	int cpu = collection_mapped(collection) ? (int) collection->cpu : GIC_NO_CPU;
	int err;

	if (!ite)
		return -ENOMEM;
	err = lpi_get(gic, lpi, cpu, &ite->irq);
	if (err) {
		free(ite);
		return err;
	}
	ite->event = event;
	ite->collection = collection;
	while (*at && (*at)->event < event)
		at = &(*at)->next;
	ite->next = *at;
	*at = ite;
	return 0;
}

static void devices_free(struct soft_gic *gic, struct gic_its *its)
{
	while (its->devices)
		gic_its_device_free(gic, its, its->devices);
}

static void collections_free(struct gic_its *its)
{
	while (its->collections)
		gic_collection_free(its, its->collections);
}

void gic_its_clear(struct soft_gic *gic, struct gic_its *its)
{
	devices_free(gic, its);
	collections_free(its);
}

void gic_its_reset(struct soft_gic *gic, struct gic_its *its)
{
	its->device_baser &= ~GIC_BASER_VALID;
	its->collection_baser &= ~GIC_BASER_VALID;
	its->cbaser = 0;
	its->creadr = 0;
	its->cwriter = 0;
	its->enabled = false;
	gic_its_clear(gic, its);
}

/* --- translation --- */

struct gic_its *gic_its_at(struct soft_gic *gic, uint64_t doorbell)
{
	for (unsigned int i = 0; i < gic->its_count; i++)
		if (gic->its[i]->base != GIC_ADDR_UNSET &&
		    doorbell - gic->its[i]->base < VF_GITS_FRAMES_SIZE)
			return gic->its[i];
	return NULL;
}

int gic_its_resolve(struct soft_gic *gic, struct gic_its *its, uint32_t devid, uint32_t event,
		    struct gic_irq **ret_irq)
{
	struct gic_ite *ite;

	if (!its->enabled)
		return -EBUSY;
	ite = gic_ite_find(its, devid, event);
	if (!ite || !collection_mapped(ite->collection) || ite->collection->cpu >= gic->cpus)
		return VF_ITS_UNMAPPED_INTERRUPT;
	if (!gic->cpu[ite->collection->cpu]->lpis_on)
		return -EBUSY;
	*ret_irq = ite->irq;
	return 0;
}

int gic_its_trigger(struct soft_gic *gic, struct gic_its *its, uint32_t devid, uint32_t event)
{
	struct gic_irq *irq = NULL;
	int err = gic_its_resolve(gic, its, devid, event, &irq);

	if (err)
		return err;
	if (irq->forwarded)
		irq->hw_pending = true;
	else
		irq->latch = true;
	gic_changed(gic);
	return 0;
}

static bool is_ram(struct soft_gic *gic, uint64_t gpa)
{
	uint64_t ignored;

	return !gic_read_u64(gic, gpa & ~7ull, &ignored);
}

bool gic_its_entry(struct soft_gic *gic, uint64_t baser, uint32_t id, uint64_t *ret_gpa)
{
	uint64_t base = gic_baser_address(baser);
	uint64_t bytes = gic_baser_bytes(baser);
	uint32_t per_page = GIC_PAGE_64K / GIC_ENTRY;
	uint64_t gpa;

	if (id >> 16)
		return false;
	if (!(baser & GIC_BASER_INDIRECT)) {
		if (id >= bytes / GIC_ENTRY)
			return false;
		gpa = base + id * (uint64_t) GIC_ENTRY;
	} else {
		uint64_t first;

		if (id / per_page >= bytes / 8 ||
		    gic_read_u64(gic, base + id / per_page * 8ull, &first) ||
		    !(first & GIC_BASER_VALID))
			return false;
		gpa = (first & gic_mask(51, 16)) + id % per_page * (uint64_t) GIC_ENTRY;
	}
	if (!is_ram(gic, gpa))
		return false;
	*ret_gpa = gpa;
	return true;
}

static bool event_has_place(struct soft_gic *gic, const struct gic_its_device *device,
			    uint32_t event)
{
	return is_ram(gic, device->itt + event * (uint64_t) GIC_ENTRY);
}

/* --- commands --- */

struct command {
	uint64_t word[4];
};

static uint32_t cmd_device(const struct command *c)
{
	return (uint32_t) (c->word[0] >> 32);
}

static uint32_t cmd_event(const struct command *c)
{
	return (uint32_t) c->word[1];
}

static uint32_t cmd_collection(const struct command *c)
{
	return (uint32_t) gic_field(c->word[2], 15, 0);
}

static bool cmd_valid(const struct command *c)
{
	return c->word[2] >> 63;
}

/* The LPI goes to another CPU; a forwarded one moves in hardware, pending bit and all. */
static void move_lpi(struct soft_gic *gic, struct gic_irq *irq, uint32_t cpu)
{
	irq->cpu = (int) cpu;
	gic_changed(gic);
}

static int do_mapd(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	uint32_t id = cmd_device(c);
	unsigned int bits = (unsigned int) gic_field(c->word[1], 4, 0) + 1;
	struct gic_its_device *device;
	uint64_t entry;

	if (!gic_its_entry(gic, its->device_baser, id, &entry) ||
	    (cmd_valid(c) && bits > GIC_ID_BITS))
		return REFUSED;
	device = device_find(its, id);
	if (device)
		gic_its_device_free(gic, its, device);
	if (!cmd_valid(c))
		return gic_write_u64(gic, entry, 0);
	device = gic_its_device_add(its, id, gic_field(c->word[2], 51, 8) << 8, bits);
	return device ? 0 : -ENOMEM;
}

static int do_mapc(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	uint32_t id = cmd_collection(c);
	uint32_t cpu = (uint32_t) gic_field(c->word[2], 47, 16);
	struct gic_collection *collection = gic_collection_find(its, id);
	uint64_t entry;

	if (cmd_valid(c) && cpu >= gic->cpus)
		return REFUSED;
	if (!cmd_valid(c)) {
		if (collection)
			gic_collection_free(its, collection);
		return 0;
	}
	if (!collection) {
		if (!gic_its_entry(gic, its->collection_baser, id, &entry))
			return REFUSED;
		return gic_collection_add(its, id, cpu) ? 0 : -ENOMEM;
	}
	collection->cpu = cpu;
	for (struct gic_its_device *device = its->devices; device; device = device->next)
		for (struct gic_ite *ite = device->ites; ite; ite = ite->next)
			if (ite->collection == collection)
				move_lpi(gic, ite->irq, cpu);
	return 0;
}

static uint32_t lpi_limit(const struct soft_gic *gic)
{
	unsigned int bits = (unsigned int) gic_field(gic->propbaser, 4, 0) + 1;

	return 1u << (bits < GIC_ID_BITS ? bits : GIC_ID_BITS);
}

static int do_mapti(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	struct gic_its_device *device = device_find(its, cmd_device(c));
	uint32_t event = cmd_event(c);
	uint32_t lpi = (c->word[0] & 0xff) == CMD_MAPTI ? (uint32_t) (c->word[1] >> 32) : event;
	struct gic_collection *collection = gic_collection_find(its, cmd_collection(c));
	bool fresh = !collection;
	uint64_t entry;
	int err;

	if (!device || event >= 1ull << device->event_bits || lpi < GIC_LPI_FIRST ||
	    lpi >= lpi_limit(gic) || !event_has_place(gic, device, event))
		return REFUSED;
	if (gic_ite_find(its, device->id, event))
		return 0;	/* mapped already: unpredictable, and KVM leaves it */
	if (fresh) {
		if (!gic_its_entry(gic, its->collection_baser, cmd_collection(c), &entry))
			return REFUSED;
		collection = gic_collection_add(its, cmd_collection(c), UNMAPPED_CPU);
		if (!collection)
			return -ENOMEM;
	}
	err = gic_ite_add(gic, device, event, lpi, collection);
	if (err && fresh)
		gic_collection_free(its, collection);
	return err;
}

static int do_discard(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	struct gic_its_device *device = device_find(its, cmd_device(c));
	struct gic_ite *ite = gic_ite_find(its, cmd_device(c), cmd_event(c));

	if (!ite || !collection_mapped(ite->collection))
		return REFUSED;
	ite_free(gic, device, ite);
	return gic_write_u64(gic, device->itt + cmd_event(c) * (uint64_t) GIC_ENTRY, 0);
}

static int do_movi(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	struct gic_ite *ite = gic_ite_find(its, cmd_device(c), cmd_event(c));
	struct gic_collection *to = gic_collection_find(its, cmd_collection(c));

	if (!ite || !collection_mapped(ite->collection) || !collection_mapped(to))
		return REFUSED;
	ite->collection = to;
	move_lpi(gic, ite->irq, to->cpu);
	return 0;
}

static int do_clear(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	struct gic_ite *ite = gic_ite_find(its, cmd_device(c), cmd_event(c));

	if (!ite)
		return REFUSED;
	ite->irq->latch = false;
	ite->irq->hw_pending = false;
	gic_changed(gic);
	return 0;
}

static int do_invall(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	struct gic_collection *collection = gic_collection_find(its, cmd_collection(c));

	if (!collection_mapped(collection))
		return REFUSED;
	for (struct gic_irq *irq = gic->lpi_list; irq; irq = irq->next)
		if (irq->cpu == (int) collection->cpu)
			(void) gic_lpi_configure(gic, irq);
	return 0;
}

static int do_movall(struct soft_gic *gic, const struct command *c)
{
	uint32_t from = (uint32_t) gic_field(c->word[2], 47, 16);
	uint32_t to = (uint32_t) gic_field(c->word[3], 47, 16);

	if (from >= gic->cpus || to >= gic->cpus)
		return REFUSED;
	for (struct gic_irq *irq = gic->lpi_list; irq; irq = irq->next)
		if (irq->cpu == (int) from)
			move_lpi(gic, irq, to);
	return 0;
}

static int do_command(struct soft_gic *gic, struct gic_its *its, const struct command *c)
{
	struct gic_ite *ite;

	switch (c->word[0] & 0xff) {
	case CMD_MAPD:
		return do_mapd(gic, its, c);
	case CMD_MAPC:
		return do_mapc(gic, its, c);
	case CMD_MAPI:
	case CMD_MAPTI:
		return do_mapti(gic, its, c);
	case CMD_DISCARD:
		return do_discard(gic, its, c);
	case CMD_MOVI:
		return do_movi(gic, its, c);
	case CMD_CLEAR:
		return do_clear(gic, its, c);
	case CMD_INT:
		return gic_its_trigger(gic, its, cmd_device(c), cmd_event(c));
	case CMD_INV:
		ite = gic_ite_find(its, cmd_device(c), cmd_event(c));
		return ite ? gic_lpi_configure(gic, ite->irq) : REFUSED;
	case CMD_INVALL:
		return do_invall(gic, its, c);
	case CMD_MOVALL:
		return do_movall(gic, c);
	case CMD_SYNC:
		return 0;	/* everything is done when it is done */
	}
	return REFUSED;
}

static uint64_t queue_bytes(const struct gic_its *its)
{
	return (gic_field(its->cbaser, 7, 0) + 1) * 4096;
}

static void run_commands(struct soft_gic *gic, struct gic_its *its)
{
	uint64_t base = its->cbaser & gic_mask(51, 12);

	if (!its->enabled)
		return;
	while (its->creadr != its->cwriter) {
		struct command c = { { 0 } };
		int err = 0;

		for (unsigned int i = 0; i < 4 && !err; i++)
			err = gic_read_u64(gic, base + its->creadr + 8 * i, &c.word[i]);
		if (!err)
			(void) do_command(gic, its, &c);
		its->creadr += CMD_BYTES;
		if (its->creadr >= queue_bytes(its))
			its->creadr = 0;
	}
}

/* --- registers --- */

static uint64_t merge(uint64_t old, uint64_t offset, unsigned int len, uint64_t value)
{
	unsigned int low = (unsigned int) (offset & 4) * 8;
	uint64_t mask = len == 8 ? UINT64_MAX : gic_mask(31, 0) << low;

	return (old & ~mask) | (value << low & mask);
}

static void cbaser_write(struct gic_its *its, uint64_t offset, unsigned int len, uint64_t value)
{
	if (its->enabled)
		return;
	value = merge(its->cbaser, offset, len, value);
	its->cbaser = gic_baser_sanitise(value, 59, 53) & ~gic_mask(15, 12);
	its->creadr = 0;
	its->cwriter = 0;
}

static void cwriter_write(struct soft_gic *gic, struct gic_its *its, uint64_t offset,
			  unsigned int len, uint64_t value)
{
	value = merge(its->cwriter, offset, len, value) & gic_mask(19, 5);
	if (value >= queue_bytes(its))
		return;
	its->cwriter = value;
	run_commands(gic, its);
}

static int creadr_write(struct gic_its *its, uint64_t value)
{
	value &= gic_mask(19, 5);
	if (its->enabled)
		return -EBUSY;
	if (value >= queue_bytes(its))
		return -EINVAL;
	its->creadr = value;
	return 0;
}

static void baser_write(struct soft_gic *gic, struct gic_its *its, uint64_t offset,
			unsigned int len, uint64_t value)
{
	unsigned int index = (unsigned int) (offset - VF_GITS_BASER(0)) / 8;
	uint64_t *reg = index ? &its->collection_baser : &its->device_baser;

	if (its->enabled || index > 1)
		return;
	value = merge(*reg, offset, len, value) & ~(BASER_READ_ONLY | gic_mask(9, 8));
	if (index)
		value &= ~GIC_BASER_INDIRECT;
	*reg = gic_baser_sanitise(value, 59, 53) |
	       baser_fixed(index ? GIC_TYPE_COLLECTION : GIC_TYPE_DEVICE);
	if (*reg & GIC_BASER_VALID)
		return;
	if (index)
		collections_free(its);
	else
		devices_free(gic, its);
}

static void ctlr_write(struct soft_gic *gic, struct gic_its *its, uint64_t value)
{
	bool on = value & 1;

	/* Enabling without tables or queue is dropped: only a read shows it. */
	if (on && !its->enabled &&
	    !(its->device_baser & its->collection_baser & its->cbaser & GIC_BASER_VALID))
		return;
	its->enabled = on;
	run_commands(gic, its);
}

static uint32_t id_register(uint64_t offset)
{
	switch (offset) {
	case 0xffd0:
		return 0x40;
	case 0xffe0:
		return 0x92;
	case 0xffe4:
		return 0xb4;
	case 0xffe8:
		return 0x3b;
	case 0xfff0:
		return 0x0d;
	case 0xfff4:
		return 0xf0;
	case 0xfff8:
		return 0x05;
	case 0xfffc:
		return 0xb1;
	}
	return 0;
}

static int narrow_access(struct soft_gic *gic, struct gic_its *its, uint64_t offset, bool write,
			 bool host, uint64_t *value)
{
	if (offset == VF_GITS_CTLR) {
		if (write)
			ctlr_write(gic, its, *value);
		else
			*value = (uint64_t) its->enabled |
				 (its->creadr == its->cwriter ? 1ull << 31 : 0);
		return 0;
	}
	if (offset == VF_GITS_IIDR) {
		if (write)	/* the revision is that of the tables' layout; 0 is the only one */
			return host && gic_field(*value, 15, 12) ? -EINVAL : 0;
		*value = 0x4bu << 24 | 0x43bu;
		return 0;
	}
	if (offset >= 0xffd0 && offset < 0x10000) {
		*value = write ? *value : id_register(offset);
		return 0;
	}
	return -ENXIO;
}

static int wide_access(struct soft_gic *gic, struct gic_its *its, uint64_t offset, unsigned int len,
		       bool write, bool host, uint64_t *value)
{
	uint64_t reg;

	switch (offset & ~7ull) {
	case VF_GITS_TYPER:
		reg = 1 | (GIC_ENTRY - 1u) << 4 | (GIC_ID_BITS - 1) << 8 | 15u << 13;
		break;
	case VF_GITS_CBASER:
		if (write)
			cbaser_write(its, offset, len, *value);
		reg = its->cbaser;
		break;
	case VF_GITS_CWRITER:
		if (write)
			cwriter_write(gic, its, offset, len, *value);
		reg = its->cwriter;
		break;
	case VF_GITS_CREADR:
		if (write)
			return host ? creadr_write(its, *value) : 0;
		reg = its->creadr;
		break;
	default:
		if (offset < VF_GITS_BASER(0) || offset >= VF_GITS_BASER(8))
			return -ENXIO;
		if (write)
			baser_write(gic, its, offset, len, *value);
		reg = offset < VF_GITS_BASER(1) ? its->device_baser :
		      offset < VF_GITS_BASER(2) ? its->collection_baser : 0;
	}
	if (!write)
		*value = len == 8 ? reg : reg >> (offset & 4) * 8 & UINT32_MAX;
	return 0;
}

int gic_its_access(struct soft_gic *gic, struct gic_its *its, uint64_t offset, unsigned int len,
		   bool write, bool host, uint64_t *value)
{
	if (offset >= VF_GITS_FRAMES_SIZE || (offset & (len - 1)) || len < 4)
		return -ENXIO;
	if (offset < VF_GITS_TYPER || offset >= 0xffd0)
		return len == 4 ? narrow_access(gic, its, offset, write, host, value) : -ENXIO;
	return wide_access(gic, its, offset, len, write, host, value);
}
