/* SPDX-License-Identifier: MIT */
/* bus.c - MMIO: an access is one instruction, so that a VMM sees what is meant. */
#include "cpu.h"

const uint64_t arch_low_end = 1ull << 32;

uint64_t arch_mmio_read(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	switch (size) {
	case 1:
		__asm__ volatile("movzbl (%1), %k0" : "=r"(value) : "r"(gpa) : "memory");
		break;
	case 2:
		__asm__ volatile("movzwl (%1), %k0" : "=r"(value) : "r"(gpa) : "memory");
		break;
	case 4:
		__asm__ volatile("movl (%1), %k0" : "=r"(value) : "r"(gpa) : "memory");
		break;
	default:
		__asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(gpa) : "memory");
		break;
	}
	return value;
}

void arch_mmio_write(uint64_t gpa, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		__asm__ volatile("movb %b0, (%1)" : : "q"(value), "r"(gpa) : "memory");
		break;
	case 2:
		__asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(gpa) : "memory");
		break;
	case 4:
		__asm__ volatile("movl %k0, (%1)" : : "r"(value), "r"(gpa) : "memory");
		break;
	default:
		__asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
		break;
	}
}
