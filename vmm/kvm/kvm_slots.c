/* SPDX-License-Identifier: MIT */
/*
 * kvm_slots.c - memory of BARs as memory slots, so that vCPUs access it without an exit.
 *
 * KVM_SET_USER_MEMORY_REGION returns when no vCPU uses the old slots any more, which is what
 * unmapping promises. KVM refuses what is not page-aligned, or lies over another slot (a guest that
 * sizes its BARs with decoding on), and not every host can (kvm_arch_maps_bars()): such an area stays
 * behind exits, which is slower, not wrong.
 */
#include <sys/ioctl.h>

#include "kvm.h"

#define PAGE 4096u

static bool map(void *user, unsigned id, uint64_t gpa, uint64_t bytes, void *host)
{
	const struct kvm_machine *m = user;
	struct kvm_userspace_memory_region region = {
		.slot = KVM_SLOT_BARS + id, .guest_phys_addr = gpa, .memory_size = bytes,
		.userspace_addr = (uint64_t) (uintptr_t) host,
	};

	if (!kvm_arch_maps_bars(m) || bytes == 0 || gpa % PAGE || bytes % PAGE || region.userspace_addr % PAGE)
		return false;
	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static void unmap(void *user, unsigned id)
{
	const struct kvm_machine *m = user;
	struct kvm_userspace_memory_region region = { .slot = KVM_SLOT_BARS + id };

	(void) ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

const struct pci_memory_ops kvm_slots_ops = { .map = map, .unmap = unmap };
