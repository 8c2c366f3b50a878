/* SPDX-License-Identifier: MIT */
/*
 * boot.h - what a VMM tells a guest on bare metal, and where; shared by both.
 *
 * The VMM loads the image (guest/image.h) by its physical addresses, sets bytes of a segment beyond
 * those in the file to 0, as the whole first page of RAM, and writes struct guest_boot to
 * GUEST_BOOT_GPA. Then it starts vCPU 0 in real mode at GUEST_ENTRY_GPA: CS base 0x8000, IP 0. The
 * others wait for INIT and SIPI as after power-on. vCPU n has the local APIC id n.
 *
 * The guest writes its words (guest/worker.h) for the VMM to read, and talks over a 16550: lines to
 * the guest are commands, each answered by one line that begins with GUEST_REPLY_YES or
 * GUEST_REPLY_NO; all other lines from it are for people. Beside those of its program it knows
 * "reboot" and "triple-fault", which are not answered.
 *
 * Needs nothing but <stdint.h>.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdint.h>

/* From the beginning of RAM, which is at 0. */
#define GUEST_BOOT_GPA		0x1000u
#define GUEST_ENTRY_GPA		0x8000u		/* one page; SIPI vector 8 */
#define GUEST_IMAGE_GPA		0x500000u	/* up to GUEST_WORDS_GPA */
#define GUEST_WORDS_GPA		0x600000u	/* of vCPU 0 */
#define GUEST_WORDS_BYTES	0x020000u	/* for each vCPU */
#define GUEST_TABLES_GPA	0x700000u	/* page tables, up to 0x800000 */
#define GUEST_CPUS_MAX		8u

/* Of one device, a multiple of what MSI can ask for: a local APIC has no more for eight of them. */
#define GUEST_X86_VECTORS	12u

#define GUEST_BOOT_MAGIC	0x6775657374626f6full
#define GUEST_BOOT_VERSION	1u

struct guest_boot_range {
	uint64_t gpa;
	uint64_t bytes;
};

struct guest_boot {
	uint64_t magic;
	uint32_t version;
	uint32_t cpus;
	struct guest_boot_range ram[2];	/* the second holds 0 bytes if there is one only */
	uint64_t ecam_gpa;		/* bus 0 */
	struct guest_boot_range window32, window64;	/* for BARs; below 1 TiB */
	uint64_t counter_hz;		/* of the TSC */
	uint64_t lapic_timer_hz;	/* undivided */
	uint32_t intx_pin_first;	/* INTx of slot s is IOAPIC pin first + s % pins */
	uint32_t intx_pins;		/* at most 15 */
	uint32_t serial_port;
	uint32_t serial_irq;		/* its IOAPIC pin; active high, a level */
	char args[2048];		/* of the program, ended by a 0 byte */
};

#define GUEST_REPLY_YES		"reply + "
#define GUEST_REPLY_NO		"reply - "

/* Ports that end it. */
#define GUEST_POWER_PORT	0x600u
#define GUEST_POWER_OFF		0x3400u		/* outw: enable, type 5 */
#define GUEST_RESET_PORT	0xcf9u
#define GUEST_RESET		0x06u		/* outb: full reset */

#endif
