/* SPDX-License-Identifier: MIT */
/* map.h - addresses and interrupts of an arm64 machine. */
#ifndef VMM_KVM_ARM64_MAP_H
#define VMM_KVM_ARM64_MAP_H

/* The physical address space: what every VM has that asks for nothing else. */
#define ARM64_ADDRESS_BITS	40u
#define ARM64_GICD		0x08000000ull
#define ARM64_ITS		0x08080000ull
#define ARM64_GICR		0x080a0000ull	/* 128 KiB for each vCPU */
#define ARM64_SERIAL		0x09000000ull	/* registers are bytes, one beside the other */
#define ARM64_SERIAL_BYTES	8ull
#define ARM64_WINDOW32		0x10000000ull
#define ARM64_WINDOW32_BYTES	0x2f000000ull
#define ARM64_ECAM		0x3f000000ull
#define ARM64_RAM		0x40000000ull
#define ARM64_RAM_BYTES		(ARM64_WINDOW64 - ARM64_RAM)
#define ARM64_WINDOW64		0x8000000000ull
#define ARM64_WINDOW64_BYTES	0x4000000000ull
/* Its last part is for BARs that must not be prefetched: a kernel complains of one of 4 GiB or more. */
#define ARM64_PLAIN64_BYTES	0x80000000ull
#define ARM64_PLAIN64		(ARM64_WINDOW64 + ARM64_WINDOW64_BYTES - ARM64_PLAIN64_BYTES)

/* Interrupts. A GSI below ARM64_SPIS is the SPI of that number, and its INTID is 32 more. */
#define ARM64_SPIS		64u
#define ARM64_SPI_FIRST		32u
#define ARM64_SERIAL_SPI	0u
#define ARM64_INTX_FIRST	3u	/* SPIs */
#define ARM64_INTX_PINS		4u
#define ARM64_TIMER_IRQ		27u	/* the virtual timer's PPI, where KVM has it by itself */

#endif
