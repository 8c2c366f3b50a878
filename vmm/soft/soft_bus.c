/* SPDX-License-Identifier: MIT */
/* soft_bus.c - what a guest program can do to its machine (guest/bus.h). */
#include <errno.h>
#include <stddef.h>

#include "soft.h"

static struct soft_vcpu *soft_of(const struct guest_vcpu *vcpu)
{
	return (struct soft_vcpu *) ((char *) vcpu - offsetof(struct soft_vcpu, guest));
}

void *guest_ram(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	return vferry_ram_host(soft_of(vcpu)->machine->config.ram, gpa, bytes);
}

void guest_ram_written(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	vferry_ram_mark_dirty(soft_of(vcpu)->machine->config.ram, gpa, bytes);
}

static bool stopping(void *user)
{
	struct soft_vcpu *vcpu = user;

	return atomic_load(&vcpu->parker.stop);
}

/* Interrupt controller, then PCI, then nobody. */
static int bus_read(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t *ret_value)
{
	struct soft_machine *m = vcpu->machine;
	int r = soft_gic_mmio_read(m->gic, vcpu->guest.id, gpa, size, ret_value);

	if (r != -ENXIO)
		return r;
	return pci_host_read(m->config.pci, gpa, size, ret_value, stopping, vcpu);
}

static int bus_write(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	struct soft_machine *m = vcpu->machine;
	int r = soft_gic_mmio_write(m->gic, vcpu->guest.id, gpa, size, value);

	if (r != -ENXIO)
		return r;
	return pci_host_write(m->config.pci, gpa, size, value, stopping, vcpu);
}

uint64_t guest_read(struct guest_vcpu *guest, uint64_t gpa, unsigned size)
{
	struct soft_vcpu *vcpu = soft_of(guest);
	uint64_t value = UINT64_MAX;

	if (vcpu->bus_failed)
		return UINT64_MAX;
	atomic_store(&vcpu->waiting_gpa, gpa);
	if (bus_read(vcpu, gpa, size, &value) < 0) {
		vcpu->bus_failed = true;
		value = UINT64_MAX;
	}
	atomic_store(&vcpu->waiting_gpa, 0);
	return value;
}

void guest_write(struct guest_vcpu *guest, uint64_t gpa, unsigned size, uint64_t value)
{
	struct soft_vcpu *vcpu = soft_of(guest);

	if (vcpu->bus_failed)
		return;
	atomic_store(&vcpu->waiting_gpa, gpa);
	if (bus_write(vcpu, gpa, size, value) < 0)
		vcpu->bus_failed = true;
	atomic_store(&vcpu->waiting_gpa, 0);
}

bool guest_bus_failed(const struct guest_vcpu *vcpu)
{
	return soft_of(vcpu)->bus_failed;
}

int guest_icc_write(struct guest_vcpu *guest, uint32_t reg, uint64_t value)
{
	struct soft_vcpu *vcpu = soft_of(guest);
	int r = soft_gic_icc_write(vcpu->machine->gic, guest->id, reg, value);

	/* What was masked before may be deliverable now. */
	atomic_store(&vcpu->kicked, true);
	return r;
}

uint64_t guest_counter(struct guest_vcpu *vcpu)
{
	return run_clock_counter(&soft_of(vcpu)->machine->clock);
}

uint64_t guest_run_ns(struct guest_vcpu *vcpu)
{
	return run_clock_run(&soft_of(vcpu)->machine->clock);
}

uint64_t guest_wall_ns(struct guest_vcpu *vcpu)
{
	const struct run_clock *clock = &soft_of(vcpu)->machine->clock;

	return run_clock_run(clock) + run_clock_paused(clock);
}

void guest_wait_until(struct guest_vcpu *vcpu, uint64_t run_ns)
{
	soft_of(vcpu)->wait_until = run_ns;
}

void guest_console(struct guest_vcpu *vcpu, const char *line)
{
	const struct soft_config *config = &soft_of(vcpu)->machine->config;

	if (config->console)
		config->console(config->user, line);
}
