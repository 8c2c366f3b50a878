/* SPDX-License-Identifier: MIT */
/* soft_bus.c - what a guest program can do to its machine; see soft.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "soft.h"

unsigned soft_cpu(const struct soft_vcpu *vcpu)
{
	return vcpu->id;
}

const struct soft_platform *soft_platform(const struct soft_vcpu *vcpu)
{
	return &vcpu->machine->platform;
}

void *soft_ram(struct soft_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	return vferry_ram_host(vcpu->machine->config.ram, gpa, bytes);
}

void soft_ram_written(struct soft_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	vferry_ram_mark_dirty(vcpu->machine->config.ram, gpa, bytes);
}

static bool stopping(void *user)
{
	struct soft_vcpu *vcpu = user;

	return atomic_load(&vcpu->stop);
}

/* Interrupt controller, then PCI, then nobody. */
static int bus_read(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t *ret_value)
{
	struct soft_machine *m = vcpu->machine;
	int r = soft_gic_mmio_read(m->gic, vcpu->id, gpa, size, ret_value);

	if (r != -ENXIO)
		return r;
	return pci_host_read(m->config.pci, gpa, size, ret_value, stopping, vcpu);
}

static int bus_write(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	struct soft_machine *m = vcpu->machine;
	int r = soft_gic_mmio_write(m->gic, vcpu->id, gpa, size, value);

	if (r != -ENXIO)
		return r;
	return pci_host_write(m->config.pci, gpa, size, value, stopping, vcpu);
}

uint64_t soft_read(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size)
{
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

void soft_write(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	if (vcpu->bus_failed)
		return;
	atomic_store(&vcpu->waiting_gpa, gpa);
	if (bus_write(vcpu, gpa, size, value) < 0)
		vcpu->bus_failed = true;
	atomic_store(&vcpu->waiting_gpa, 0);
}

bool soft_bus_failed(const struct soft_vcpu *vcpu)
{
	return vcpu->bus_failed;
}

int soft_icc_write(struct soft_vcpu *vcpu, uint32_t reg, uint64_t value)
{
	int r = soft_gic_icc_write(vcpu->machine->gic, vcpu->id, reg, value);

	/* What was masked before may be deliverable now. */
	atomic_store(&vcpu->kicked, true);
	return r;
}

uint64_t soft_counter(struct soft_vcpu *vcpu)
{
	return soft_clock_counter(&vcpu->machine->clock);
}

uint64_t soft_run_ns(struct soft_vcpu *vcpu)
{
	return soft_clock_run(&vcpu->machine->clock);
}

uint64_t soft_wall_ns(struct soft_vcpu *vcpu)
{
	return soft_clock_run(&vcpu->machine->clock) + soft_clock_paused(&vcpu->machine->clock);
}

void soft_wait_until(struct soft_vcpu *vcpu, uint64_t run_ns)
{
	vcpu->wait_until = run_ns;
}

void soft_console(struct soft_vcpu *vcpu, const char *format, ...)
{
	const struct soft_config *config = &vcpu->machine->config;
	char line[256];
	va_list args;

	if (!config->console)
		return;
	va_start(args, format);
	(void) vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	config->console(config->user, line);
}
