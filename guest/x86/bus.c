/* SPDX-License-Identifier: MIT */
/* bus.c - what a program can do to its machine (guest/bus.h), on bare metal. */
#include <errno.h>

#include "cpu.h"

void *guest_ram(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct guest_range *ram = &vcpu->platform->ram[i];

		if (gpa >= ram->gpa && bytes <= ram->bytes && gpa - ram->gpa <= ram->bytes - bytes)
			return (void *) (ALIAS + gpa);
	}
	return NULL;
}

/* The machine sees to that. */
void guest_ram_written(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	(void) vcpu;
	(void) gpa;
	(void) bytes;
}

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

/* A bus that does not answer reads as ones, and that is all that is to be seen. */
bool guest_bus_failed(const struct guest_vcpu *vcpu)
{
	(void) vcpu;
	return false;
}

uint64_t guest_counter(struct guest_vcpu *vcpu)
{
	return cpu_of(vcpu)->now_ns;
}

uint64_t guest_run_ns(struct guest_vcpu *vcpu)
{
	return cpu_of(vcpu)->now_ns - cpu_of(vcpu)->skipped_ns;
}

uint64_t guest_wall_ns(struct guest_vcpu *vcpu)
{
	return cpu_of(vcpu)->now_ns;
}

void guest_wait_until(struct guest_vcpu *vcpu, uint64_t run_ns)
{
	cpu_of(vcpu)->wait_ns = run_ns;
}

void guest_console(struct guest_vcpu *vcpu, const char *line)
{
	(void) vcpu;
	console_say(line);
}
