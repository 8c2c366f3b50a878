/* SPDX-License-Identifier: MIT */
/*
 * guest_worker_boot.c - the self-checking guest sets its machine up, as an operating system does:
 * PCI functions are found and their BARs placed; the distributor, every redistributor and the ITS
 * are programmed through their registers and the command queue, with tables in guest RAM.
 *
 * vCPU 0 does it, a piece in each step, and releases the others through the boot page.
 */
#include "guest_worker.h"
#include "vferry_kvm_arm64.h"

#define PCI_VENDOR		0x00u
#define PCI_COMMAND		0x04u
#define PCI_COMMAND_MEMORY	0x2u
#define PCI_BAR(n)		(0x10u + 4u * (n))
#define PCI_BAR_IO		0x1u
#define PCI_BAR_TYPE_64		0x4u

/* Registers of the GIC beyond offsets. */
#define GICD_CTLR_VALUE		0x12u		/* ARE_NS, EnableGrp1A */
#define GICR_ENABLE_LPIS	1u
#define LPI_ID_BITS		14u		/* 8192 .. 16383 */
#define LPI_CONFIG_ON		0xa3u		/* priority 0xa0, enabled */
#define BASER_VALID		(1ull << 63)
#define BASER_TYPE(v)		((v) >> 56 & 7)
#define BASER_ENTRY(v)		((v) >> 48 & 31)
#define BASER_TYPE_DEVICE	1u
#define BASER_TYPE_COLLECTION	4u
#define BASER_PAGE_64K		(2ull << 8)
#define PENDBASER_ZEROED	(1ull << 62)
#define ITS_CMD_SYNC		0x05ull
#define ITS_CMD_MAPD		0x08ull
#define ITS_CMD_MAPC		0x09ull
#define ITS_CMD_MAPTI		0x0aull
#define ITS_CMD_INV		0x0cull
#define ITS_CMD_INVALL		0x0dull
#define ITS_COMMAND_BYTES	32u

static uint64_t config_gpa(uint64_t slot, uint64_t offset)
{
	return SOFT_ECAM_BASE + (slot << 15) + offset;
}

uint32_t worker_config_read(struct soft_vcpu *vcpu, uint64_t slot, uint64_t offset, unsigned size)
{
	return (uint32_t) soft_read(vcpu, config_gpa(slot, offset), size);
}

void worker_config_write(struct soft_vcpu *vcpu, uint64_t slot, uint64_t offset, unsigned size,
			 uint32_t value)
{
	soft_write(vcpu, config_gpa(slot, offset), size, value);
}

/* ---- PCI ---- */

void worker_bars_size(struct soft_vcpu *vcpu, struct worker_device *dev)
{
	for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++) {
		uint32_t old = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4);
		uint64_t mask;

		worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4, UINT32_MAX);
		mask = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4);
		worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4, old);
		if (mask == 0 || (mask & PCI_BAR_IO))
			continue;
		dev->bar[b] = old & ~15ull;
		if ((mask & PCI_BAR_TYPE_64) && b + 1 < VFERRY_BAR_COUNT) {
			uint32_t high = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4);
			uint64_t high_mask;

			worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4, UINT32_MAX);
			high_mask = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4);
			worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b + 1), 4, high);
			dev->bar[b] |= (uint64_t) high << 32;
			dev->bar_bytes[b] = ~((mask & ~15ull) | high_mask << 32) + 1;
			b++;
			continue;
		}
		dev->bar_bytes[b] = (uint32_t) (~(uint32_t) (mask & ~15ull) + 1);
	}
}

void worker_bars_write(struct soft_vcpu *vcpu, const struct worker_device *dev)
{
	for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++) {
		if (dev->bar_bytes[b] == 0)
			continue;
		worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4, (uint32_t) dev->bar[b]);
		if (worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4) & PCI_BAR_TYPE_64) {
			b++;
			worker_config_write(vcpu, dev->pci_slot, PCI_BAR(b), 4,
					    (uint32_t) (dev->bar[b - 1] >> 32));
		}
	}
}

/* Room for a BAR in two places: it can be moved by flipping the bit of its size. */
static uint64_t take_room(uint64_t *next, uint64_t bytes, uint64_t end)
{
	uint64_t at = (*next + 2 * bytes - 1) / (2 * bytes) * (2 * bytes);

	if (at >= end || 2 * bytes > end - at)
		return 0;
	*next = at + 2 * bytes;
	return at;
}

static void place_bars(struct soft_vcpu *vcpu, struct worker *w, struct worker_device *dev)
{
	for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++) {
		uint64_t bytes = dev->bar_bytes[b];
		bool wide = worker_config_read(vcpu, dev->pci_slot, PCI_BAR(b), 4) &
			    PCI_BAR_TYPE_64;

		if (bytes == 0 || bytes > SOFT_WINDOW64_BYTES / 4)
			continue;
		dev->bar[b] = wide ?
			take_room(&w->next64, bytes, SOFT_WINDOW64_BASE + SOFT_WINDOW64_BYTES) :
			take_room(&w->next32, bytes, SOFT_WINDOW32_BASE + SOFT_WINDOW32_BYTES);
		if (dev->bar[b] == 0)
			dev->bar_bytes[b] = 0;
		if (wide)
			b++;
	}
	worker_bars_write(vcpu, dev);
}

/* One slot of bus 0 in each step. */
static void scan_slot(struct soft_vcpu *vcpu, struct worker *w, uint64_t slot)
{
	uint64_t ram = soft_platform(vcpu)->ram_gpa;
	uint32_t id = worker_config_read(vcpu, slot, PCI_VENDOR, 4);
	struct worker_device dev = { .pci_slot = slot };
	uint32_t command;

	if ((id & 0xffff) == 0xffff)
		return;
	command = worker_config_read(vcpu, slot, PCI_COMMAND, 2);
	worker_config_write(vcpu, slot, PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY);
	worker_bars_size(vcpu, &dev);
	place_bars(vcpu, w, &dev);
	worker_config_write(vcpu, slot, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
	if (id != (ACCEL_PCI_VENDOR | ACCEL_PCI_DEVICE << 16) || w->found == WORKER_DEVICES)
		return;
	worker_store(vcpu, ram + WORKER_BOOT_PAGE + 8 * WORKER_BOOT_SLOT(w->found), slot);
	w->found++;
}

/* ---- GIC ---- */

static void distributor(struct soft_vcpu *vcpu)
{
	const uint64_t d = SOFT_GICD_BASE;

	soft_write(vcpu, d + VF_GICD_CTLR, 4, 0);
	for (uint32_t i = WORKER_SPI_FIRST; i < WORKER_SPI_FIRST + SOFT_SPIS; i += 32) {
		soft_write(vcpu, d + VF_GICD_ICENABLER + i / 8, 4, UINT32_MAX);
		soft_write(vcpu, d + VF_GICD_ICPENDR + i / 8, 4, UINT32_MAX);
		soft_write(vcpu, d + VF_GICD_IGROUPR + i / 8, 4, UINT32_MAX);
	}
	for (uint32_t i = WORKER_SPI_FIRST; i < WORKER_SPI_FIRST + SOFT_SPIS; i += 4)
		soft_write(vcpu, d + VF_GICD_IPRIORITYR + i, 4, 0xa0a0a0a0u);
	/* Level-triggered, each to the vCPU that its device belongs to. */
	for (uint32_t i = WORKER_SPI_FIRST; i < WORKER_SPI_FIRST + SOFT_SPIS; i += 16)
		soft_write(vcpu, d + VF_GICD_ICFGR + i / 4, 4, 0);
	soft_write(vcpu, d + VF_GICD_CTLR, 4, GICD_CTLR_VALUE);
}

static void route_intx(struct soft_vcpu *vcpu, const struct worker *w)
{
	const struct soft_platform *platform = soft_platform(vcpu);

	for (uint64_t i = 0; i < w->found; i++) {
		uint64_t slot = worker_load(vcpu, platform->ram_gpa + 8 * WORKER_BOOT_SLOT(i));
		uint64_t intid = WORKER_SPI_FIRST + slot % SOFT_SPIS;

		soft_write(vcpu, SOFT_GICD_BASE + VF_GICD_IROUTER + 8 * intid, 8,
			   i % platform->cpus);
		soft_write(vcpu, SOFT_GICD_BASE + VF_GICD_ISENABLER + intid / 32 * 4, 4,
			   1u << (intid % 32));
	}
}

static void redistributor(struct soft_vcpu *vcpu, uint64_t cpu)
{
	const uint64_t ram = soft_platform(vcpu)->ram_gpa;
	const uint64_t r = SOFT_GICR_BASE + cpu * VF_GICR_FRAMES_SIZE;
	const uint64_t pending = ram + WORKER_LPI_PENDING + cpu * WORKER_TABLE_BYTES;

	soft_write(vcpu, r + VF_GICR_WAKER, 4, 0);
	soft_write(vcpu, r + VF_GICR_IGROUPR0, 4, UINT32_MAX);
	if (soft_read(vcpu, r + VF_GICR_CTLR, 4) & GICR_ENABLE_LPIS)
		soft_write(vcpu, r + VF_GICR_CTLR, 4, 0);
	worker_zero(vcpu, pending, WORKER_TABLE_BYTES);
	soft_write(vcpu, r + VF_GICR_PROPBASER, 8, (ram + WORKER_LPI_CONFIG) | (LPI_ID_BITS - 1));
	soft_write(vcpu, r + VF_GICR_PENDBASER, 8, pending | PENDBASER_ZEROED);
	soft_write(vcpu, r + VF_GICR_CTLR, 4, GICR_ENABLE_LPIS);
}

static void lpi_configuration(struct soft_vcpu *vcpu, const struct worker *w)
{
	const uint64_t table = soft_platform(vcpu)->ram_gpa + WORKER_LPI_CONFIG;

	worker_zero(vcpu, table, WORKER_TABLE_BYTES);
	/* One byte for each, from LPI 8192 on: eight at once. */
	for (uint64_t lpi = 0; lpi < w->found * WORKER_SLOTS; lpi += 8)
		worker_store(vcpu, table + lpi, LPI_CONFIG_ON * 0x0101010101010101ull);
}

/* ---- ITS ---- */

static bool its_tables(struct soft_vcpu *vcpu)
{
	const uint64_t ram = soft_platform(vcpu)->ram_gpa;
	uint64_t table = ram + WORKER_ITS_TABLES;
	unsigned found = 0;

	soft_write(vcpu, SOFT_ITS_BASE + VF_GITS_CTLR, 4, 0);
	worker_zero(vcpu, ram + WORKER_ITS_QUEUE, WORKER_TABLE_BYTES);
	worker_zero(vcpu, ram + WORKER_ITS_TABLES, 2 * WORKER_TABLE_BYTES);
	worker_zero(vcpu, ram + WORKER_ITT, WORKER_DEVICES * WORKER_PAGE);
	for (unsigned n = 0; n < 8; n++) {
		const uint64_t at = SOFT_ITS_BASE + VF_GITS_BASER(n);
		uint64_t value = soft_read(vcpu, at, 8);

		if (BASER_TYPE(value) != BASER_TYPE_DEVICE &&
		    BASER_TYPE(value) != BASER_TYPE_COLLECTION)
			continue;
		if (found == 2)
			return false;
		soft_write(vcpu, at, 8, BASER_VALID | table | BASER_PAGE_64K);
		table += WORKER_TABLE_BYTES;
		found++;
	}
	soft_write(vcpu, SOFT_ITS_BASE + VF_GITS_CBASER, 8,
		   BASER_VALID | (ram + WORKER_ITS_QUEUE) | (WORKER_TABLE_BYTES / 4096 - 1));
	soft_write(vcpu, SOFT_ITS_BASE + VF_GITS_CWRITER, 8, 0);
	soft_write(vcpu, SOFT_ITS_BASE + VF_GITS_CTLR, 4, 1);
	return found == 2;
}

static void its_command(struct soft_vcpu *vcpu, struct worker *w, uint64_t first, uint64_t second,
			uint64_t third)
{
	const uint64_t at = soft_platform(vcpu)->ram_gpa + WORKER_ITS_QUEUE + w->queue;

	worker_store(vcpu, at, first);
	worker_store(vcpu, at + 8, second);
	worker_store(vcpu, at + 16, third);
	worker_store(vcpu, at + 24, 0);
	w->queue = (w->queue + ITS_COMMAND_BYTES) % WORKER_TABLE_BYTES;
}

/* Return: the ITS has read all that was written. */
static bool its_submit(struct soft_vcpu *vcpu, const struct worker *w)
{
	soft_write(vcpu, SOFT_ITS_BASE + VF_GITS_CWRITER, 8, w->queue);
	return soft_read(vcpu, SOFT_ITS_BASE + VF_GITS_CREADR, 8) == w->queue;
}

/* A collection for each vCPU, numbered as they are. GITS_TYPER.PTA = 0: targets are numbers. */
static bool its_collections(struct soft_vcpu *vcpu, struct worker *w)
{
	for (uint64_t cpu = 0; cpu < soft_platform(vcpu)->cpus; cpu++) {
		its_command(vcpu, w, ITS_CMD_MAPC, 0, BASER_VALID | cpu << 16 | cpu);
		its_command(vcpu, w, ITS_CMD_INVALL, 0, cpu);
		its_command(vcpu, w, ITS_CMD_SYNC, 0, cpu << 16);
	}
	return its_submit(vcpu, w);
}

/* All events of one device, to the vCPU that it belongs to. */
static bool its_device(struct soft_vcpu *vcpu, struct worker *w, uint64_t device)
{
	const struct soft_platform *platform = soft_platform(vcpu);
	uint64_t slot = worker_load(vcpu, platform->ram_gpa + 8 * WORKER_BOOT_SLOT(device));
	uint64_t id = slot << 3;	/* bus 0, function 0 */
	uint64_t itt = platform->ram_gpa + WORKER_ITT + device * WORKER_PAGE;
	uint64_t cpu = device % platform->cpus;

	its_command(vcpu, w, ITS_CMD_MAPD | id << 32, 3, BASER_VALID | itt);
	for (uint64_t event = 0; event < WORKER_SLOTS; event++) {
		uint64_t lpi = WORKER_LPI_FIRST + device * WORKER_SLOTS + event;

		its_command(vcpu, w, ITS_CMD_MAPTI | id << 32, event | lpi << 32, cpu);
		its_command(vcpu, w, ITS_CMD_INV | id << 32, event, 0);
	}
	its_command(vcpu, w, ITS_CMD_SYNC, 0, cpu << 16);
	return its_submit(vcpu, w);
}

/* ---- in order ---- */

static void dead(struct worker *w, uint64_t detail)
{
	worker_fault(w, WORKER_FAULT_SETUP, w->phase, detail, 0);
	w->phase = WORKER_PHASE_DEAD;
}

static void next_phase(struct worker *w, enum worker_phase phase)
{
	w->phase = phase;
	w->cursor = 0;
}

static void release(struct soft_vcpu *vcpu, struct worker *w)
{
	const uint64_t page = soft_platform(vcpu)->ram_gpa + WORKER_BOOT_PAGE;

	worker_store(vcpu, page + 8 * WORKER_BOOT_COUNT, w->found);
	worker_store(vcpu, page, WORKER_BOOT_MAGIC);
	next_phase(w, WORKER_PHASE_CPU);
}

void worker_boot_step(struct soft_vcpu *vcpu, struct worker *w)
{
	const struct soft_platform *platform = soft_platform(vcpu);

	switch (w->phase) {
	case WORKER_PHASE_PCI:
		if (w->cursor == 0) {
			worker_store(vcpu, platform->ram_gpa + WORKER_BOOT_PAGE, 0);
			w->cursor++;
		} else if (w->cursor < PCI_HOST_SLOTS) {
			scan_slot(vcpu, w, w->cursor++);
		} else {
			next_phase(w, platform->gic ? WORKER_PHASE_GIC : WORKER_PHASE_RELEASE);
		}
		break;
	case WORKER_PHASE_GIC:
		distributor(vcpu);
		route_intx(vcpu, w);
		lpi_configuration(vcpu, w);
		next_phase(w, WORKER_PHASE_REDIST);
		break;
	case WORKER_PHASE_REDIST:
		redistributor(vcpu, w->cursor++);
		if (w->cursor == platform->cpus)
			next_phase(w, platform->its ? WORKER_PHASE_ITS : WORKER_PHASE_RELEASE);
		break;
	case WORKER_PHASE_ITS:
		w->queue = 0;
		if (!its_tables(vcpu) || !its_collections(vcpu, w))
			dead(w, 0);
		else
			next_phase(w, WORKER_PHASE_MAP);
		break;
	case WORKER_PHASE_MAP:
		if (w->cursor == w->found)
			next_phase(w, WORKER_PHASE_RELEASE);
		else if (!its_device(vcpu, w, w->cursor++))
			dead(w, w->cursor);
		break;
	case WORKER_PHASE_RELEASE:
		release(vcpu, w);
		break;
	default:
		break;
	}
}

void worker_cpu_interface(struct soft_vcpu *vcpu)
{
	(void) soft_icc_write(vcpu, VF_ICC_PMR_EL1, 0xf0);
	(void) soft_icc_write(vcpu, VF_ICC_BPR1_EL1, 0);
	(void) soft_icc_write(vcpu, VF_ICC_IGRPEN1_EL1, 1);
}
