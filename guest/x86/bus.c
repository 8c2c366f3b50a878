/* SPDX-License-Identifier: MIT */
/* bus.c - MMIO (guest/bus.h); an access is one instruction, so that a VMM sees what is meant. */
#include "cpu.h"

/* What is not mapped would be answered by nobody either. */
static bool reachable(const struct guest_vcpu *vcpu, uint64_t gpa)
{
	const struct guest_range *window = &vcpu->platform->window64;

	return gpa < 1ull << 32 || (gpa >= window->gpa && gpa - window->gpa < window->bytes);
}

uint64_t guest_read(struct guest_vcpu *vcpu, uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	if (!reachable(vcpu, gpa))
		return UINT64_MAX;
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

void guest_write(struct guest_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	if (!reachable(vcpu, gpa))
		return;
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
