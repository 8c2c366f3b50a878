/* SPDX-License-Identifier: MIT */
/*
 * bus.c - MMIO. An access is one instruction of a kind that a VMM is told all of, and ordered against
 * memory as drivers want it: what a device is to read is there before it is told so, and nothing that
 * it wrote is read before it said so.
 */
#include "cpu.h"

const uint64_t arch_low_end = GUEST_ARM64_RAM;

uint64_t arch_mmio_read(uint64_t gpa, unsigned size)
{
	uint64_t value;

	switch (size) {
	case 1:
		__asm__ volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(gpa) : "memory");
		break;
	case 2:
		__asm__ volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(gpa) : "memory");
		break;
	case 4:
		__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(gpa) : "memory");
		break;
	default:
		__asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(gpa) : "memory");
		break;
	}
	__asm__ volatile("dsb ld" : : : "memory");
	return value;
}

void arch_mmio_write(uint64_t gpa, unsigned size, uint64_t value)
{
	__asm__ volatile("dsb st" : : : "memory");
	switch (size) {
	case 1:
		__asm__ volatile("strb %w0, [%1]" : : "r"(value), "r"(gpa) : "memory");
		break;
	case 2:
		__asm__ volatile("strh %w0, [%1]" : : "r"(value), "r"(gpa) : "memory");
		break;
	case 4:
		__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(gpa) : "memory");
		break;
	default:
		__asm__ volatile("str %0, [%1]" : : "r"(value), "r"(gpa) : "memory");
		break;
	}
}
