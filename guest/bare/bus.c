/* SPDX-License-Identifier: MIT */
/* bus.c - what a program can do to its machine (guest/bus.h), on bare metal. */
#include "bare.h"

static struct bare_cpu *cpu_of(struct guest_vcpu *vcpu)
{
	return (struct bare_cpu *) ((char *) vcpu - offsetof(struct bare_cpu, guest));
}

static bool within(const struct guest_range *range, uint64_t gpa)
{
	return gpa >= range->gpa && gpa - range->gpa < range->bytes;
}

/* What is not mapped would be answered by nobody either. */
static bool reachable(const struct guest_vcpu *vcpu, uint64_t gpa)
{
	return gpa < arch_low_end || within(&vcpu->platform->window32, gpa) ||
	       within(&vcpu->platform->window64, gpa);
}

uint64_t guest_read(struct guest_vcpu *vcpu, uint64_t gpa, unsigned size)
{
	return reachable(vcpu, gpa) ? arch_mmio_read(gpa, size) : UINT64_MAX;
}

void guest_write(struct guest_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	if (reachable(vcpu, gpa))
		arch_mmio_write(gpa, size, value);
}

void *guest_ram(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct guest_range *ram = &vcpu->platform->ram[i];

		if (gpa >= ram->gpa && bytes <= ram->bytes && gpa - ram->gpa <= ram->bytes - bytes)
			return (void *) (arch_ram_alias + gpa);
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
