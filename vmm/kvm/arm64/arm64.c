/* SPDX-License-Identifier: MIT */
/*
 * arm64.c - an arm64 machine as far as a guest needs one: what it is made of, exits.
 * Beside PCI and the interrupt controller it has a 16550. Power and reset are PSCI's, in KVM.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest/boot.h"
#include "guest/bus.h"

#include "arm64.h"
#include "host.h"

_Static_assert(ARM64_RAM == GUEST_ARM64_RAM, "the guest program is linked for another address");

static const struct kvm_capability needed[] = {
	KVM_CAPABILITY(ONE_REG), KVM_CAPABILITY(DEVICE_CTRL), KVM_CAPABILITY(ARM_PSCI_0_2), { 0 },
};

const struct kvm_arch_facts kvm_arch_facts = {
	.name = "kvm-arm64-v1",
	.needed = needed,
	.elf_machine = EM_AARCH64,
	.pins = ARM64_SPIS,
	.pin_routes = ARM64_SPIS,
	.device_ids = true,
	.loses_pending = true,
};

const struct machine_layout kvm_arch_layout = {
	.ram = { { .gpa = ARM64_RAM, .bytes_max = ARM64_RAM_BYTES } },
	.pci = { .ecam = ARM64_ECAM,
		 .window32 = ARM64_WINDOW32, .window32_bytes = ARM64_WINDOW32_BYTES,
		 .window64 = ARM64_WINDOW64, .window64_bytes = ARM64_WINDOW64_BYTES },
	.intx_first = ARM64_INTX_FIRST,
	.intx_pins = ARM64_INTX_PINS,
};

/* ---- what is needed ---- */

int kvm_arch_probe(int kvm, struct vferry_error *err)
{
	int r = arm64_host_check(kvm, err);

	return r == 0 ? vferry_kvm_arm64_probe(kvm, err) : r;
}

int kvm_arch_probe_vm(int vm, struct vferry_error *err)
{
	return arm64_host_check_vm(vm, err);
}

int kvm_arch_check(const struct machine_options *options, struct vferry_error *err)
{
	if (options->irqchip == MACHINE_IRQCHIP_SPLIT)
		return vferry_error_set(err, -EINVAL, "x86-only", "machine",
					"--irqchip split is for x86-64: a GIC is all in the kernel");
	return 0;
}

/* ---- what it is made of ---- */

int kvm_arch_new(struct kvm_machine *m, const struct machine_options *options,
		 struct vferry_error *err)
{
	struct kvm_enable_cap nisv = { .cap = KVM_CAP_ARM_NISV_TO_USER };

	m->arch = calloc(1, sizeof(*m->arch));
	if (!m->arch)
		return -ENOMEM;
	m->arch->forwards = machine_has_kernel_devices(options) && arm64_irq_host_forwards();
	m->arch->gic_state = -1;
	/* Without it KVM_RUN fails there, which says less. */
	(void) ioctl(m->vm, KVM_ENABLE_CAP, &nisv);
	return arm64_cpu_choose(m, err);
}

void kvm_arch_free(struct kvm_machine *m)
{
	if (!m->arch)
		return;
	m->arch->gic = arm64_gic_free(m->arch->gic);
	if (m->arch->gic_state >= 0)
		(void) close(m->arch->gic_state);
	free(m->arch);
	m->arch = NULL;
}

int kvm_arch_complete(struct kvm_machine *m, struct vferry_error *err)
{
	int r = arm64_gic_new(m, &m->arch->gic, err);

	if (r < 0)
		return r;
	m->arch->coherent = arm64_cpu_is_coherent(m);
	m->arch->gic_state = arm64_irq_open_state(m);
	return 0;
}

/* Called while the machine is stopped, so the plan is there. */
static int release_vectors(void *user, struct vferry_error *err)
{
	const struct kvm_machine *m = user;

	return m->machine->irqs ? vferry_irq_plan_release(m->machine->irqs, err) : 0;
}

int kvm_arch_state_new(struct kvm_machine *m, const int *vcpu, enum vferry_kvm_time time,
		       struct vferry_error *err)
{
	const int its = arm64_gic_its_fd(m->arch->gic);
	struct vferry_kvm_arm64_config config = {
		.size = sizeof(config), .kvm = m->kvm, .vm = m->vm, .vcpu = vcpu,
		.cpu_count = m->cpus, .gic = arm64_gic_fd(m->arch->gic), .its = &its, .its_count = 1,
		.time = time, .release = release_vectors, .user = m,
	};

	return vferry_kvm_arm64_new(&config, &m->arch->state, err);
}

void kvm_arch_state_free(struct kvm_machine *m)
{
	if (m->arch)
		m->arch->state = vferry_kvm_arm64_free(m->arch->state);
}

const struct vferry_component *kvm_arch_component(struct kvm_machine *m, size_t index)
{
	return index < vferry_kvm_arm64_component_count(m->arch->state)
		       ? vferry_kvm_arm64_component(m->arch->state, index) : NULL;
}

/* The GIC last: what resets a vCPU lowers the lines of its timers. */
int kvm_arch_power_on(struct kvm_machine *m, struct vferry_error *err)
{
	int r = arm64_cpu_power_on(m, err);

	return r == 0 ? arm64_gic_reset(m->arch->gic, err) : r;
}

/* ---- running ---- */

bool kvm_arch_maps_bars(const struct kvm_machine *m)
{
	return m->arch->coherent;
}

bool kvm_arch_mmio(struct kvm_machine *m, uint64_t gpa, unsigned size, bool write, uint64_t *value)
{
	uint64_t offset = gpa - ARM64_SERIAL;

	if (gpa < ARM64_SERIAL || offset >= ARM64_SERIAL_BYTES || size != 1)
		return false;
	if (write)
		kvm_console_write(m->console, (unsigned) offset, (uint8_t) *value);
	else
		*value = kvm_console_read(m->console, (unsigned) offset);
	return true;
}

static void system_event(struct kvm_vcpu *vcpu)
{
	uint32_t type = vcpu->run->system_event.type;

	switch (type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		kvm_machine_wish(vcpu->machine, KVM_WISH_POWER_OFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		kvm_machine_wish(vcpu->machine, KVM_WISH_RESET);
		break;
	default:
		kvm_machine_log(vcpu->machine, "vCPU %u: system event %u is not known here: the machine "
				"is switched off", vcpu->id, type);
		kvm_exit_give_up(vcpu);
		break;
	}
}

bool kvm_arch_exit(struct kvm_vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(vcpu);
		return true;
	case KVM_EXIT_ARM_NISV:
		kvm_machine_log(vcpu->machine, "vCPU %u: an access to %#llx, where no memory is, by an "
				"instruction that cannot be carried out for it: the machine is switched "
				"off", vcpu->id, (unsigned long long) vcpu->run->arm_nisv.fault_ipa);
		kvm_exit_give_up(vcpu);
		return true;
	default:
		return false;
	}
}

/* ---- the guest program ---- */

void kvm_arch_platform(struct guest_platform *platform)
{
	platform->irqchip = GUEST_IRQCHIP_GIC;
	platform->vectors = GUEST_ARM64_VECTORS;
	platform->intx_first = ARM64_SPI_FIRST + ARM64_INTX_FIRST;
	platform->gicd_gpa = ARM64_GICD;
	platform->gicr_gpa = ARM64_GICR;
	platform->its_gpa = ARM64_ITS;
}

int kvm_arch_describe(struct kvm_machine *m, struct guest_boot *boot)
{
	boot->arm64 = (struct guest_boot_arm64) {
		.gicd_gpa = ARM64_GICD, .gicr_gpa = ARM64_GICR, .its_gpa = ARM64_ITS,
		.timer_irq = ARM64_TIMER_IRQ,
		.physical_timer = arm64_cpu_has_physical_timer(m),
	};
	boot->intx_first = ARM64_SPI_FIRST + ARM64_INTX_FIRST;
	boot->serial_at = ARM64_SERIAL;
	boot->serial_irq = ARM64_SPI_FIRST + ARM64_SERIAL_SPI;
	return 0;
}

/* ---- registers of the board: none ---- */

void kvm_arch_save(struct kvm_machine *m, struct vferry_writer *w)
{
	(void) m;
	(void) w;
}

bool kvm_arch_load(struct kvm_machine *m, struct vferry_reader *r)
{
	(void) m;
	(void) r;
	return true;
}
