/* SPDX-License-Identifier: MIT */
/*
 * worker_gic.c - the self-checking guest sets up a GICv3 with an ITS, as an operating system does:
 * the distributor, every redistributor and the ITS are programmed through their registers and the
 * command queue, with tables in guest RAM.
 */
#include "guest/worker.h"
#include "vferry_kvm_arm64.h"

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
#define ITS_DOORBELL		0x10040u	/* GITS_TRANSLATER */

/* ---- GIC ---- */

/* The bits of INTx pins among those of interrupts @first to @first + 31. */
static uint32_t pins_among(const struct guest_platform *platform, uint32_t first)
{
	const uint32_t end = platform->intx_first + platform->intx_pins;
	uint32_t bits = 0;

	for (uint32_t i = first; i < first + 32; i++)
		if (i >= platform->intx_first && i < end)
			bits |= 1u << i % 32;
	return bits;
}

/* Where interrupts of somebody else share a register with the pins, they are left on. */
static void distributor(struct guest_vcpu *vcpu)
{
	const struct guest_platform *platform = vcpu->platform;
	const uint64_t d = platform->gicd_gpa;
	const uint32_t first = platform->intx_first;
	const uint32_t end = first + platform->intx_pins;

	guest_write(vcpu, d + VF_GICD_CTLR, 4, 0);
	for (uint32_t i = first / 32 * 32; i < end; i += 32) {
		guest_write(vcpu, d + VF_GICD_ICENABLER + i / 8, 4, pins_among(platform, i));
		guest_write(vcpu, d + VF_GICD_ICPENDR + i / 8, 4, pins_among(platform, i));
		guest_write(vcpu, d + VF_GICD_IGROUPR + i / 8, 4, UINT32_MAX);
	}
	for (uint32_t i = first / 4 * 4; i < end; i += 4)
		guest_write(vcpu, d + VF_GICD_IPRIORITYR + i, 4, 0xa0a0a0a0u);
	/* Level-triggered, each to the vCPU that its device belongs to. */
	for (uint32_t i = first / 16 * 16; i < end; i += 16)
		guest_write(vcpu, d + VF_GICD_ICFGR + i / 4, 4, 0);
	guest_write(vcpu, d + VF_GICD_CTLR, 4, GICD_CTLR_VALUE);
}

static void route_intx(struct guest_vcpu *vcpu, const struct worker *w)
{
	const struct guest_platform *platform = vcpu->platform;

	for (uint64_t i = 0; i < w->found; i++) {
		uint64_t slot = worker_load(vcpu, platform->ram[0].gpa + 8 * WORKER_BOOT_SLOT(i));
		uint64_t intid = platform->intx_first + slot % platform->intx_pins;

		guest_write(vcpu, platform->gicd_gpa + VF_GICD_IROUTER + 8 * intid, 8,
			   i % platform->cpus);
		guest_write(vcpu, platform->gicd_gpa + VF_GICD_ISENABLER + intid / 32 * 4, 4,
			   1u << (intid % 32));
	}
}

static void redistributor(struct guest_vcpu *vcpu, uint64_t cpu)
{
	const uint64_t ram = vcpu->platform->ram[0].gpa;
	const uint64_t r = vcpu->platform->gicr_gpa + cpu * VF_GICR_FRAMES_SIZE;
	const uint64_t pending = ram + WORKER_LPI_PENDING + cpu * WORKER_TABLE_BYTES;

	guest_write(vcpu, r + VF_GICR_WAKER, 4, 0);
	guest_write(vcpu, r + VF_GICR_IGROUPR0, 4, UINT32_MAX);
	if (guest_read(vcpu, r + VF_GICR_CTLR, 4) & GICR_ENABLE_LPIS)
		guest_write(vcpu, r + VF_GICR_CTLR, 4, 0);
	worker_zero(vcpu, pending, WORKER_TABLE_BYTES);
	guest_write(vcpu, r + VF_GICR_PROPBASER, 8, (ram + WORKER_LPI_CONFIG) | (LPI_ID_BITS - 1));
	guest_write(vcpu, r + VF_GICR_PENDBASER, 8, pending | PENDBASER_ZEROED);
	guest_write(vcpu, r + VF_GICR_CTLR, 4, GICR_ENABLE_LPIS);
}

static void lpi_configuration(struct guest_vcpu *vcpu, const struct worker *w)
{
	const uint64_t table = vcpu->platform->ram[0].gpa + WORKER_LPI_CONFIG;

	worker_zero(vcpu, table, WORKER_TABLE_BYTES);
	/* One byte for each, from LPI 8192 on: eight at once. */
	for (uint64_t lpi = 0; lpi < w->found * WORKER_SLOTS; lpi += 8)
		worker_store(vcpu, table + lpi, LPI_CONFIG_ON * 0x0101010101010101ull);
}

/* ---- ITS ---- */

static bool its_tables(struct guest_vcpu *vcpu)
{
	const uint64_t ram = vcpu->platform->ram[0].gpa;
	uint64_t table = ram + WORKER_ITS_TABLES;
	unsigned found = 0;

	guest_write(vcpu, vcpu->platform->its_gpa + VF_GITS_CTLR, 4, 0);
	worker_zero(vcpu, ram + WORKER_ITS_QUEUE, WORKER_TABLE_BYTES);
	worker_zero(vcpu, ram + WORKER_ITS_TABLES, 2 * WORKER_TABLE_BYTES);
	worker_zero(vcpu, ram + WORKER_ITT, WORKER_DEVICES * WORKER_PAGE);
	for (unsigned n = 0; n < 8; n++) {
		const uint64_t at = vcpu->platform->its_gpa + VF_GITS_BASER(n);
		uint64_t value = guest_read(vcpu, at, 8);

		if (BASER_TYPE(value) != BASER_TYPE_DEVICE &&
		    BASER_TYPE(value) != BASER_TYPE_COLLECTION)
			continue;
		if (found == 2)
			return false;
		guest_write(vcpu, at, 8, BASER_VALID | table | BASER_PAGE_64K);
		table += WORKER_TABLE_BYTES;
		found++;
	}
	guest_write(vcpu, vcpu->platform->its_gpa + VF_GITS_CBASER, 8,
		   BASER_VALID | (ram + WORKER_ITS_QUEUE) | (WORKER_TABLE_BYTES / 4096 - 1));
	guest_write(vcpu, vcpu->platform->its_gpa + VF_GITS_CWRITER, 8, 0);
	guest_write(vcpu, vcpu->platform->its_gpa + VF_GITS_CTLR, 4, 1);
	return found == 2;
}

static void its_command(struct guest_vcpu *vcpu, struct worker *w, uint64_t first, uint64_t second,
			uint64_t third)
{
	const uint64_t at = vcpu->platform->ram[0].gpa + WORKER_ITS_QUEUE + w->queue;

	worker_store(vcpu, at, first);
	worker_store(vcpu, at + 8, second);
	worker_store(vcpu, at + 16, third);
	worker_store(vcpu, at + 24, 0);
	w->queue = (w->queue + ITS_COMMAND_BYTES) % WORKER_TABLE_BYTES;
}

/* Return: the ITS has read all that was written. */
static bool its_submit(struct guest_vcpu *vcpu, const struct worker *w)
{
	guest_write(vcpu, vcpu->platform->its_gpa + VF_GITS_CWRITER, 8, w->queue);
	return guest_read(vcpu, vcpu->platform->its_gpa + VF_GITS_CREADR, 8) == w->queue;
}

/* A collection for each vCPU, numbered as they are. GITS_TYPER.PTA = 0: targets are numbers. */
static bool its_collections(struct guest_vcpu *vcpu, struct worker *w)
{
	for (uint64_t cpu = 0; cpu < vcpu->platform->cpus; cpu++) {
		its_command(vcpu, w, ITS_CMD_MAPC, 0, BASER_VALID | cpu << 16 | cpu);
		its_command(vcpu, w, ITS_CMD_INVALL, 0, cpu);
		its_command(vcpu, w, ITS_CMD_SYNC, 0, cpu << 16);
	}
	return its_submit(vcpu, w);
}

/* All events of one device, to the vCPU that it belongs to. */
static bool its_device(struct guest_vcpu *vcpu, struct worker *w, uint64_t device)
{
	const struct guest_platform *platform = vcpu->platform;
	uint64_t slot = worker_load(vcpu, platform->ram[0].gpa + 8 * WORKER_BOOT_SLOT(device));
	uint64_t id = slot << 3;	/* bus 0, function 0 */
	uint64_t itt = platform->ram[0].gpa + WORKER_ITT + device * WORKER_PAGE;
	uint64_t cpu = device % platform->cpus;

	its_command(vcpu, w, ITS_CMD_MAPD | id << 32, 3, BASER_VALID | itt);
	for (uint64_t event = 0; event < WORKER_SLOTS; event++) {
		uint64_t lpi = WORKER_MSI_FIRST + device * WORKER_SLOTS + event;

		its_command(vcpu, w, ITS_CMD_MAPTI | id << 32, event | lpi << 32, cpu);
		its_command(vcpu, w, ITS_CMD_INV | id << 32, event, 0);
	}
	its_command(vcpu, w, ITS_CMD_SYNC, 0, cpu << 16);
	return its_submit(vcpu, w);
}

/* ---- in order ---- */

void worker_irqchip_step(struct guest_vcpu *vcpu, struct worker *w)
{
	switch (w->phase) {
	case WORKER_PHASE_IRQCHIP:
		distributor(vcpu);
		route_intx(vcpu, w);
		lpi_configuration(vcpu, w);
		worker_next_phase(w, WORKER_PHASE_REDIST);
		break;
	case WORKER_PHASE_REDIST:
		redistributor(vcpu, w->cursor++);
		if (w->cursor == vcpu->platform->cpus)
			worker_next_phase(w, WORKER_PHASE_ITS);
		break;
	case WORKER_PHASE_ITS:
		w->queue = 0;
		if (!its_tables(vcpu) || !its_collections(vcpu, w))
			worker_dead(w, 0);
		else
			worker_next_phase(w, WORKER_PHASE_MAP);
		break;
	case WORKER_PHASE_MAP:
		if (w->cursor == w->found)
			worker_next_phase(w, WORKER_PHASE_RELEASE);
		else if (!its_device(vcpu, w, w->cursor++))
			worker_dead(w, w->cursor);
		break;
	default:
		break;
	}
}

void worker_irqchip_cpu(struct guest_vcpu *vcpu)
{
	(void) guest_icc_write(vcpu, VF_ICC_PMR_EL1, 0xf0);
	(void) guest_icc_write(vcpu, VF_ICC_BPR1_EL1, 0);
	(void) guest_icc_write(vcpu, VF_ICC_IGRPEN1_EL1, 1);
}

struct worker_message worker_message(struct guest_vcpu *vcpu, unsigned device, unsigned vector)
{
	(void) device;	/* the ITS knows it by its requester id */
	return (struct worker_message) { .address = vcpu->platform->its_gpa + ITS_DOORBELL,
					 .data = vector };
}
