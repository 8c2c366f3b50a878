/* SPDX-License-Identifier: MIT */
/*
 * x86.c - a PC as far as a guest needs one: address map, what it is made of, ports.
 *
 *   0x3f8-0x3ff   a 16550, interrupt 4
 *   0xcf8, 0xcfc  configuration space of bus 0, beside ECAM
 *   0xcf9         reset: bits 1 and 2
 *   0x600         sleep control: enable with type 5 is power off. 16 bits wide it is as an ACPI PM1a
 *                 control register, 8 bits wide as the one of ACPI's hardware-reduced machines
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "guest/boot.h"
#include "guest/bus.h"

#include "x86.h"

#define PORT_SERIAL_LAST	(X86_SERIAL_PORT + 7)
#define PORT_CONFIG_ADDRESS	0xcf8u
#define PORT_CONFIG_DATA	0xcfcu

#define SLEEP_OFF		(0x20u | 5u << 2)
#define SLEEP_MASK		0x3cu		/* enable, and the type */
#define CONFIG_ENABLE		0x80000000u
#define CONFIG_BITS		(CONFIG_ENABLE | 0x00fffffcu)	/* bus, slot, function, register */

static const struct kvm_capability needed[] = {
	KVM_CAPABILITY(IRQCHIP), KVM_CAPABILITY(PIT2), KVM_CAPABILITY(SET_TSS_ADDR),
	KVM_CAPABILITY(EXT_CPUID), { 0 },
};

const struct kvm_arch_facts kvm_arch_facts = {
	.name = "kvm-x86-64-v1",
	.needed = needed,
	.elf_machine = EM_X86_64,
	.pins = IOAPIC_PINS,
	.pin_routes = IOAPIC_PINS + 16,	/* and those of the PICs */
};

const struct machine_layout kvm_arch_layout = {
	.ram = { { .gpa = 0, .bytes_max = X86_RAM_LOW_BYTES },
		 { .gpa = X86_RAM_HIGH_GPA, .bytes_max = X86_RAM_HIGH_BYTES } },
	.pci = { .ecam = X86_ECAM,
		 .window32 = X86_WINDOW32, .window32_bytes = X86_WINDOW32_BYTES,
		 .window64 = X86_WINDOW64, .window64_bytes = X86_WINDOW64_BYTES },
	.intx_first = X86_INTX_FIRST,
	.intx_pins = X86_INTX_PINS,
};

/* ---- what is made before vCPUs ---- */

int kvm_arch_probe(int kvm, struct vferry_error *err)
{
	return vferry_kvm_x86_probe(kvm, err);
}

int kvm_arch_probe_vm(int vm, struct vferry_error *err)
{
	(void) vm;
	(void) err;
	return 0;
}

static int failed(struct vferry_error *err, const char *what)
{
	int r = -errno;

	return vferry_error_set(err, r, "kvm-setup", "kvm", "%s failed (%s)", what, vferry_errno_name(r));
}

int kvm_arch_check(const struct machine_options *options, struct vferry_error *err)
{
	(void) options;
	(void) err;
	return 0;
}

int kvm_arch_new(struct kvm_machine *m, const struct machine_options *options,
		 struct vferry_error *err)
{
	uint64_t identity_map = X86_IDENTITY_MAP;
	struct kvm_pit_config pit = { 0 };

	m->arch = calloc(1, sizeof(*m->arch));
	if (!m->arch)
		return -ENOMEM;
	(void) pthread_mutex_init(&m->arch->config_lock, NULL);
	m->arch->split = options->irqchip == MACHINE_IRQCHIP_SPLIT;
	if (ioctl(m->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
		return failed(err, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(m->vm, KVM_SET_TSS_ADDR, X86_TSS) < 0)
		return failed(err, "KVM_SET_TSS_ADDR");
	if (m->arch->split)
		return x86_split_new(m, err);
	if (ioctl(m->vm, KVM_CREATE_IRQCHIP, 0) < 0)
		return failed(err, "KVM_CREATE_IRQCHIP");
	if (ioctl(m->vm, KVM_CREATE_PIT2, &pit) < 0)
		return failed(err, "KVM_CREATE_PIT2");
	return 0;
}

void kvm_arch_free(struct kvm_machine *m)
{
	if (!m->arch)
		return;
	m->arch->power_on = x86_power_on_free(m->arch->power_on);
	x86_split_free(m->arch);
	(void) pthread_mutex_destroy(&m->arch->config_lock);
	free(m->arch);
	m->arch = NULL;
}

int kvm_arch_vcpu(struct kvm_vcpu *vcpu, struct vferry_error *err)
{
	return x86_cpuid_set(vcpu, err);
}

int kvm_arch_complete(struct kvm_machine *m, struct vferry_error *err)
{
	return x86_power_on_remember(m, &m->arch->power_on, err);
}

int kvm_arch_state_new(struct kvm_machine *m, const int *vcpu, enum vferry_kvm_time time,
		       struct vferry_error *err)
{
	bool split = m->arch->split;
	struct vferry_kvm_x86_config config = {
		.size = sizeof(config), .kvm = m->kvm, .vm = m->vm, .vcpu = vcpu,
		.cpu_count = m->cpus, .pit = !split,
		.irqchip = split ? VFERRY_KVM_IRQCHIP_SPLIT : VFERRY_KVM_IRQCHIP_KERNEL,
		.time = time,
	};

	return vferry_kvm_x86_new(&config, &m->arch->state, err);
}

void kvm_arch_state_free(struct kvm_machine *m)
{
	if (m->arch)
		m->arch->state = vferry_kvm_x86_free(m->arch->state);
}

const struct vferry_component *kvm_arch_component(struct kvm_machine *m, size_t index)
{
	size_t count = vferry_kvm_x86_component_count(m->arch->state);

	if (index < count)
		return vferry_kvm_x86_component(m->arch->state, index);
	return m->arch->split && index == count ? &m->arch->ioapic_component : NULL;
}

int kvm_arch_power_on(struct kvm_machine *m, struct vferry_error *err)
{
	m->arch->config_address = 0;
	if (m->arch->ioapic)
		ioapic_reset(m->arch->ioapic);
	return x86_power_on_apply(m, m->arch->power_on, err);
}

void kvm_arch_platform(struct guest_platform *platform)
{
	platform->irqchip = GUEST_IRQCHIP_APIC;
	platform->vectors = GUEST_X86_VECTORS;
}

int kvm_arch_describe(struct kvm_machine *m, struct guest_boot *boot)
{
	int khz = ioctl(m->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);

	if (khz <= 0)
		return khz < 0 ? -errno : -ENOTSUP;
	boot->x86.tsc_hz = (uint64_t) khz * 1000;
	boot->x86.lapic_timer_hz = X86_LAPIC_TIMER_HZ;
	boot->serial_at = X86_SERIAL_PORT;
	boot->serial_irq = X86_SERIAL_IRQ;
	return 0;
}

/* A guest that looks for it finds out that it was paused, and does not take that for a hang. */
void kvm_arch_starting(struct kvm_machine *m, bool paused)
{
	for (unsigned i = 0; i < m->cpus && paused; i++)
		(void) ioctl(m->vcpu[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

bool kvm_arch_maps_bars(const struct kvm_machine *m)
{
	(void) m;
	return true;
}

/* The guest's clock as KVM has it, which goes over with a migration. */
uint64_t kvm_arch_counter_ns(struct kvm_machine *m)
{
	struct kvm_clock_data clock = { 0 };

	return ioctl(m->vm, KVM_GET_CLOCK, &clock) < 0 ? 0 : clock.clock;
}

/* ---- configuration space by ports ---- */

/* Return: where in ECAM it is, or 0. Extended registers are in ECAM only. */
static uint64_t config_gpa(uint32_t address, unsigned port)
{
	uint32_t bdf = address >> 8 & 0xffff;

	if (!(address & CONFIG_ENABLE) || bdf >= PCI_HOST_ECAM_BYTES >> 12)
		return 0;
	return X86_ECAM + ((uint64_t) bdf << 12) + (address & 0xfc) + (port & 3);
}

static uint32_t config_address(struct kvm_arch *arch, const uint32_t *set)
{
	uint32_t address;

	pthread_mutex_lock(&arch->config_lock);
	if (set)
		arch->config_address = *set & CONFIG_BITS;
	address = arch->config_address;
	pthread_mutex_unlock(&arch->config_lock);
	return address;
}

/* ---- ports ---- */

static uint32_t ones(unsigned size)
{
	return size >= 4 ? UINT32_MAX : (1u << (size * 8)) - 1;
}

static bool is_serial(unsigned port)
{
	return port >= X86_SERIAL_PORT && port <= PORT_SERIAL_LAST;
}

static bool is_config_data(unsigned port, unsigned size)
{
	return port >= PORT_CONFIG_DATA && port + size <= PORT_CONFIG_DATA + 4;
}

static uint32_t port_in(struct kvm_vcpu *vcpu, unsigned port, unsigned size)
{
	struct kvm_machine *m = vcpu->machine;
	uint64_t gpa;

	if (is_serial(port) && size == 1)
		return kvm_console_read(m->console, port - X86_SERIAL_PORT);
	if (port == PORT_CONFIG_ADDRESS && size == 4)
		return config_address(m->arch, NULL);
	if (!is_config_data(port, size))
		return ones(size);
	gpa = config_gpa(config_address(m->arch, NULL), port);
	return gpa ? (uint32_t) kvm_mmio_read(vcpu, gpa, size) : ones(size);
}

static void port_out(struct kvm_vcpu *vcpu, unsigned port, unsigned size, uint32_t value)
{
	struct kvm_machine *m = vcpu->machine;
	uint64_t gpa;

	if (is_serial(port) && size == 1) {
		kvm_console_write(m->console, port - X86_SERIAL_PORT, (uint8_t) value);
	} else if (port == PORT_CONFIG_ADDRESS && size == 4) {
		(void) config_address(m->arch, &value);
	} else if (port == X86_PORT_RESET && size == 1) {
		if ((value & X86_RESET_NOW) == X86_RESET_NOW)
			kvm_machine_wish(m, KVM_WISH_RESET);
	} else if (port == X86_PORT_SLEEP && size <= 2) {
		if (((size == 2 ? value >> 8 : value) & SLEEP_MASK) == SLEEP_OFF)
			kvm_machine_wish(m, KVM_WISH_POWER_OFF);
	} else if (is_config_data(port, size)) {
		gpa = config_gpa(config_address(m->arch, NULL), port);
		if (gpa)
			kvm_mmio_write(vcpu, gpa, size, value);
	}
}

static void handle_io(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	unsigned size = run->io.size;
	uint64_t end = run->io.data_offset + (uint64_t) size * run->io.count;
	uint8_t *data = (uint8_t *) run + run->io.data_offset;

	if (size > 4 || end > vcpu->run_bytes)
		return;
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint32_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, size);
			port_out(vcpu, run->io.port, size, value);
		} else {
			value = port_in(vcpu, run->io.port, size);
			memcpy(data, &value, size);
		}
	}
	vcpu->unfinished = true;
}

bool kvm_arch_exit(struct kvm_vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vcpu);
		return true;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		kvm_exit_triple_fault(vcpu);
		return true;
	case KVM_EXIT_IOAPIC_EOI:
		if (!vcpu->machine->arch->ioapic)
			return false;
		ioapic_end_of_interrupt(vcpu->machine->arch->ioapic, vcpu->run->eoi.vector);
		return true;
	default:
		return false;
	}
}

/* ---- state ---- */

void kvm_arch_save(struct kvm_machine *m, struct vferry_writer *w)
{
	vferry_write_u32(w, config_address(m->arch, NULL));
}

bool kvm_arch_load(struct kvm_machine *m, struct vferry_reader *r)
{
	uint32_t value = vferry_read_u32(r);

	return config_address(m->arch, &value) == value;
}
