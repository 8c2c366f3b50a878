/* SPDX-License-Identifier: MIT */
/* kvm_exit.c - what a vCPU's exits ask for; what only one architecture has is in its folder. See kvm.h. */
#include <errno.h>
#include <string.h>

#include "kvm.h"

static bool stopping(void *user)
{
	struct kvm_vcpu *vcpu = user;

	return atomic_load(&vcpu->parker.stop);
}

static void access_begins(struct kvm_vcpu *vcpu, uint64_t at)
{
	atomic_store(&vcpu->access, at);
	atomic_store(&vcpu->accessing, true);
}

static void access_ends(struct kvm_vcpu *vcpu)
{
	atomic_store(&vcpu->accessing, false);
}

/* Nobody there reads as ones, and so does a device that does not answer. */
uint64_t kvm_mmio_read(struct kvm_vcpu *vcpu, uint64_t gpa, unsigned size)
{
	uint64_t value = UINT64_MAX;

	access_begins(vcpu, gpa);
	if (pci_host_read(vcpu->machine->pci, gpa, size, &value, stopping, vcpu) < 0)
		value = UINT64_MAX;
	access_ends(vcpu);
	return value;
}

void kvm_mmio_write(struct kvm_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	access_begins(vcpu, gpa);
	(void) pci_host_write(vcpu->machine->pci, gpa, size, value, stopping, vcpu);
	access_ends(vcpu);
}

/* The largest part of @left bytes that is an access: 1, 2, 4 or 8. */
static unsigned part_of(unsigned left)
{
	return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* KVM splits what crosses a page, so that @len may be any number up to 8. */
static void handle_mmio(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	unsigned len = run->mmio.len <= sizeof(run->mmio.data) ? run->mmio.len : 0;

	for (unsigned at = 0; at < len;) {
		unsigned part = part_of(len - at);
		uint64_t value = 0;

		if (run->mmio.is_write) {
			memcpy(&value, run->mmio.data + at, part);
			if (!kvm_arch_mmio(vcpu->machine, run->mmio.phys_addr + at, part, true, &value))
				kvm_mmio_write(vcpu, run->mmio.phys_addr + at, part, value);
		} else {
			if (!kvm_arch_mmio(vcpu->machine, run->mmio.phys_addr + at, part, false, &value))
				value = kvm_mmio_read(vcpu, run->mmio.phys_addr + at, part);
			memcpy(run->mmio.data + at, &value, part);
		}
		at += part;
	}
	vcpu->unfinished = true;
}

/* As a processor does: the machine starts anew. That it happened is remembered, and is a fault. */
void kvm_exit_triple_fault(struct kvm_vcpu *vcpu)
{
	atomic_fetch_add(&vcpu->machine->triple_faults, 1);
	kvm_machine_log(vcpu->machine, "vCPU %u took a triple fault: the machine is reset", vcpu->id);
	kvm_machine_wish(vcpu->machine, KVM_WISH_RESET);
}

void kvm_exit_give_up(struct kvm_vcpu *vcpu)
{
	kvm_machine_wish(vcpu->machine, KVM_WISH_POWER_OFF);
}

static void internal_error(struct kvm_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	bool known = run->internal.ndata > 0 && run->internal.ndata <= 16;

	kvm_machine_log(vcpu->machine, "vCPU %u: KVM cannot go on (internal error %u, %u words of data: "
			"%#llx ...): the machine is switched off", vcpu->id, run->internal.suberror,
			run->internal.ndata, known ? (unsigned long long) run->internal.data[0] : 0);
	kvm_exit_give_up(vcpu);
}

void kvm_exit_failed(struct kvm_vcpu *vcpu, int error)
{
	kvm_machine_log(vcpu->machine, "vCPU %u: KVM_RUN failed (%s): the machine is switched off",
			vcpu->id, vferry_errno_name(error));
	kvm_exit_give_up(vcpu);
}

static void ring_full(struct kvm_vcpu *vcpu)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_kvm_memory_ring_full(vcpu->machine->memory, vcpu->id, &err) == 0)
		return;
	kvm_machine_log(vcpu->machine, "vCPU %u: %s: the machine is switched off", vcpu->id,
			err.message);
	kvm_exit_give_up(vcpu);
}

void kvm_exit_handle(struct kvm_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_DIRTY_RING_FULL:
		ring_full(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		kvm_machine_log(vcpu->machine, "vCPU %u: the processor refused to enter the guest "
				"(%#llx): the machine is switched off", vcpu->id, (unsigned long long)
				run->fail_entry.hardware_entry_failure_reason);
		kvm_exit_give_up(vcpu);
		break;
	default:
		if (kvm_arch_exit(vcpu))
			break;
		kvm_machine_log(vcpu->machine, "vCPU %u: exit %u is not known here: the machine is "
				"switched off", vcpu->id, run->exit_reason);
		kvm_exit_give_up(vcpu);
		break;
	}
}
