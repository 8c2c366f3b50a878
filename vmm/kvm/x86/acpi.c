/* SPDX-License-Identifier: MIT */
/* acpi.c - see acpi.h. A local APIC has its vCPU's number; pins of the IOAPIC are numbered from 0. */
#include <errno.h>
#include <string.h>

#include "acpi.h"
#include "x86.h"

#define LOCAL_APIC	0xfee00000u
#define ALIGN		64u

#define FADT_REVISION		6u
#define FADT_RESET_SUPPORTED	(1u << 10)
#define FADT_HW_REDUCED		(1u << 20)
#define FADT_NO_VGA		(1u << 2)	/* of the boot architecture flags */
#define FADT_NO_CMOS_RTC	(1u << 5)
#define SPACE_IO		1u

struct address {
	uint8_t space, bits, offset, access;
	uint64_t at;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t checksum_all;
	uint8_t reserved[3];
} __attribute__((packed));

#define RSDP_OLD_BYTES 20u	/* what the first checksum is of */

struct head {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct xsdt {
	struct head head;
	uint64_t tables[3];
} __attribute__((packed));

struct fadt {
	struct head head;
	uint8_t before_boot_flags[73];	/* of hardware that is not there */
	uint16_t boot_flags;
	uint8_t reserved;
	uint32_t flags;
	struct address reset_register;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor;
	uint64_t facs;
	uint64_t dsdt;
	struct address event_blocks[8];	/* neither are these */
	struct address sleep_control;
	struct address sleep_status;
	char hypervisor[8];
} __attribute__((packed));

_Static_assert(offsetof(struct fadt, boot_flags) == 109, "as the specification has it");
_Static_assert(offsetof(struct fadt, flags) == 112, "as the specification has it");
_Static_assert(offsetof(struct fadt, dsdt) == 140, "as the specification has it");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "as the specification has it");
_Static_assert(sizeof(struct fadt) == 276, "as the specification has it");

struct madt {
	struct head head;
	uint32_t local_apic;
	uint32_t flags;			/* no pair of 8259s that would have to be masked */
	struct {
		uint8_t type, length, id, reserved;
		uint32_t gpa, first_pin;
	} __attribute__((packed)) ioapic;
	struct {
		uint8_t type, length, processor, apic;
		uint32_t flags;
	} __attribute__((packed)) cpus[];
} __attribute__((packed));

#define MADT_LOCAL_APIC	0u
#define MADT_IOAPIC	1u
#define MADT_ENABLED	1u

struct mcfg {
	struct head head;
	uint64_t reserved;
	uint64_t gpa;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved2;
} __attribute__((packed));

/* Tables are added one behind the other. */
struct tables {
	uint8_t *to;
	uint64_t gpa;
	size_t used;
};

static uint8_t complement(const void *bytes, size_t count)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum = (uint8_t) (sum + ((const uint8_t *) bytes)[i]);
	return (uint8_t) -sum;
}

static struct head head_of(const char *signature, uint8_t revision, size_t bytes)
{
	struct head head = {
		.length = (uint32_t) bytes, .revision = revision, .oem = { 'V', 'F', 'E', 'R', 'R', 'Y' },
		.table = { 'K', 'V', 'M', '-', 'X', '8', '6', ' ' }, .oem_revision = 1,
		.creator = { 'V', 'F', 'R', 'Y' }, .creator_revision = 1,
	};

	memcpy(head.signature, signature, sizeof(head.signature));
	return head;
}

/* Room for a table, zeroed; NULL if there is none left. */
static void *add(struct tables *t, size_t bytes, uint64_t *ret_gpa)
{
	size_t at = (t->used + ALIGN - 1) / ALIGN * ALIGN;

	if (bytes > ACPI_BYTES_MAX || at > ACPI_BYTES_MAX - bytes)
		return NULL;
	*ret_gpa = t->gpa + at;
	t->used = at + bytes;
	return memset(t->to + at, 0, bytes);
}

static void seal(struct head *head)
{
	head->checksum = 0;
	head->checksum = complement(head, head->length);
}

static uint64_t add_dsdt(struct tables *t)
{
	uint64_t gpa = 0;
	void *dsdt = add(t, acpi_dsdt_bytes, &gpa);

	if (dsdt)
		memcpy(dsdt, acpi_dsdt, acpi_dsdt_bytes);
	return gpa;
}

static struct address port(uint16_t number)
{
	return (struct address) { .space = SPACE_IO, .bits = 8, .access = 1, .at = number };
}

static uint64_t add_fadt(struct tables *t, uint64_t dsdt)
{
	uint64_t gpa = 0;
	struct fadt *fadt = add(t, sizeof(*fadt), &gpa);

	if (!fadt)
		return 0;
	fadt->head = head_of("FACP", FADT_REVISION, sizeof(*fadt));
	fadt->boot_flags = FADT_NO_VGA | FADT_NO_CMOS_RTC;
	fadt->flags = FADT_HW_REDUCED | FADT_RESET_SUPPORTED;
	fadt->reset_register = port(X86_PORT_RESET);
	fadt->reset_value = X86_RESET_NOW;
	fadt->minor = 2;
	fadt->dsdt = dsdt;
	fadt->sleep_control = port(X86_PORT_SLEEP);
	fadt->sleep_status = port(X86_PORT_SLEEP + 1);
	seal(&fadt->head);
	return gpa;
}

static uint64_t add_madt(struct tables *t, unsigned cpus)
{
	uint64_t gpa = 0;
	size_t bytes = sizeof(struct madt) + cpus * sizeof(((struct madt *) NULL)->cpus[0]);
	struct madt *madt = add(t, bytes, &gpa);

	if (!madt)
		return 0;
	madt->head = head_of("APIC", 4, bytes);
	madt->local_apic = LOCAL_APIC;
	madt->ioapic.type = MADT_IOAPIC;
	madt->ioapic.length = sizeof(madt->ioapic);
	madt->ioapic.gpa = (uint32_t) X86_IOAPIC;
	for (unsigned i = 0; i < cpus; i++) {
		madt->cpus[i].type = MADT_LOCAL_APIC;
		madt->cpus[i].length = sizeof(madt->cpus[i]);
		madt->cpus[i].processor = (uint8_t) i;
		madt->cpus[i].apic = (uint8_t) i;
		madt->cpus[i].flags = MADT_ENABLED;
	}
	seal(&madt->head);
	return gpa;
}

static uint64_t add_mcfg(struct tables *t)
{
	uint64_t gpa = 0;
	struct mcfg *mcfg = add(t, sizeof(*mcfg), &gpa);

	if (!mcfg)
		return 0;
	mcfg->head = head_of("MCFG", 1, sizeof(*mcfg));
	mcfg->gpa = X86_ECAM;
	mcfg->last_bus = PCI_HOST_ECAM_BYTES / (1u << 20) - 1;
	seal(&mcfg->head);
	return gpa;
}

static void fill_rsdp(struct rsdp *rsdp, uint64_t xsdt)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem, "VFERRY", sizeof(rsdp->oem));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt;
	rsdp->checksum = complement(rsdp, RSDP_OLD_BYTES);
	rsdp->checksum_all = complement(rsdp, sizeof(*rsdp));
}

int acpi_build(void *to, uint64_t gpa, unsigned cpus)
{
	struct tables t = { .to = to, .gpa = gpa };
	uint64_t rsdp_gpa, xsdt_gpa = 0, fadt, madt, mcfg;
	struct rsdp *rsdp = add(&t, sizeof(*rsdp), &rsdp_gpa);
	struct xsdt *xsdt = add(&t, sizeof(*xsdt), &xsdt_gpa);

	fadt = add_fadt(&t, add_dsdt(&t));
	madt = add_madt(&t, cpus);
	mcfg = add_mcfg(&t);
	if (!mcfg || !madt || !fadt)
		return -E2BIG;
	xsdt->head = head_of("XSDT", 1, sizeof(*xsdt));
	xsdt->tables[0] = fadt;
	xsdt->tables[1] = madt;
	xsdt->tables[2] = mcfg;
	seal(&xsdt->head);
	fill_rsdp(rsdp, xsdt_gpa);
	return (int) t.used;
}
