/* SPDX-License-Identifier: MIT */
/*
 * boot.h - what a VMM tells a guest on bare metal, and where; shared by both.
 *
 * The VMM loads the image (guest/image.h) by its physical addresses, sets bytes of a segment beyond
 * those in the file to 0, as the whole first page of RAM, and writes struct guest_boot behind that
 * page. Then it starts vCPU 0 alone, at GUEST_ENTRY_OFFSET:
 *
 *   x86-64   in real mode: CS base 0x8000, IP 0. The others wait for INIT and SIPI as after power-on.
 *            vCPU n has the local APIC id n.
 *   arm64    in EL1 (EL1h), the MMU off and interrupts masked. The others are off until PSCI's
 *            CPU_ON (by hvc). vCPU n has the affinity 0.0.0.n.
 *
 * The guest writes its words (guest/worker.h) for the VMM to read, and talks over a 16550: lines to
 * the guest are commands, each answered by one line that begins with GUEST_REPLY_YES or
 * GUEST_REPLY_NO; all other lines from it are for people. Beside those of its program it knows
 * "reboot" and one that ends it hard: "triple-fault", or on arm64 "bad-access", an access to no
 * device by an instruction that cannot be carried out for it. These two are not answered.
 *
 * Needs nothing but <stdint.h>.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdint.h>

/* Where RAM begins. */
#define GUEST_X86_RAM		0x00000000u
#define GUEST_ARM64_RAM		0x40000000u

/* From the beginning of RAM. */
#define GUEST_BOOT_OFFSET	0x001000u	/* struct guest_boot */
#define GUEST_ENTRY_OFFSET	0x008000u	/* one page; x86-64: SIPI vector 8 */
#define GUEST_IMAGE_OFFSET	0x500000u	/* up to the words */
#define GUEST_WORDS_OFFSET	0x600000u	/* of vCPU 0 */
#define GUEST_WORDS_BYTES	0x020000u	/* for each vCPU */
#define GUEST_TABLES_OFFSET	0x700000u	/* page tables, up to 0x800000 */
#define GUEST_CPUS_MAX		8u

/* Of one device, a multiple of what MSI can ask for: a local APIC has no more for eight of them. */
#define GUEST_X86_VECTORS	12u
#define GUEST_ARM64_VECTORS	16u
/* arm64: the wired interrupts (INTIDs) that can be named below lie under this. */
#define GUEST_ARM64_WIRED_MAX	128u

#define GUEST_BOOT_MAGIC	0x6775657374626f6full
#define GUEST_BOOT_VERSION	2u

struct guest_boot_range {
	uint64_t gpa;
	uint64_t bytes;
};

struct guest_boot_x86 {
	uint64_t tsc_hz;
	uint64_t lapic_timer_hz;	/* undivided */
};

struct guest_boot_arm64 {
	uint64_t gicd_gpa, gicr_gpa, its_gpa;	/* GICR: 128 KiB for each vCPU, in their order */
	uint32_t timer_irq;		/* of the virtual timer: INTID of a PPI */
	uint32_t physical_timer;	/* 1: its registers move with the machine, 0: not all kernels can */
};

/* Interrupts: pins of the IOAPIC on x86-64, INTIDs of the GIC on arm64. */
struct guest_boot {
	uint64_t magic;
	uint32_t version;
	uint32_t cpus;
	struct guest_boot_range ram[2];	/* the second holds 0 bytes if there is one only */
	uint64_t ecam_gpa;		/* bus 0 */
	struct guest_boot_range window32, window64;	/* for BARs; x86-64: below 1 TiB */
	uint32_t intx_first;		/* INTx of slot s is first + s % pins; a level, active high */
	uint32_t intx_pins;		/* x86-64: at most 15 */
	uint64_t serial_at;		/* x86-64: a port; arm64: an address, registers are bytes */
	uint32_t serial_irq;		/* active high, a level */
	uint32_t reserved;
	union {
		struct guest_boot_x86 x86;
		struct guest_boot_arm64 arm64;
	};
	char args[2048];		/* of the program, ended by a 0 byte */
};

#define GUEST_REPLY_YES		"reply + "
#define GUEST_REPLY_NO		"reply - "

/* x86-64: ports that end it. On arm64, PSCI's SYSTEM_OFF and SYSTEM_RESET do. */
#define GUEST_POWER_PORT	0x600u
#define GUEST_POWER_OFF		0x3400u		/* outw: enable, type 5 */
#define GUEST_RESET_PORT	0xcf9u
#define GUEST_RESET		0x06u		/* outb: full reset */

#endif
