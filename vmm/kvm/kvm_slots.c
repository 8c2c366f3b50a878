/* SPDX-License-Identifier: MIT */
/*
 * kvm_slots.c - what vCPUs do with BARs without an exit: memory as memory slots, writes as ioeventfds.
 *
 * KVM_SET_USER_MEMORY_REGION returns when no vCPU uses the old slots any more, which is what
 * unmapping promises. KVM refuses what is not page-aligned, or lies over another slot (a guest that
 * sizes its BARs with decoding on), and not every host can (kvm_arch_maps_bars()): such an area stays
 * behind exits, which is slower, not wrong.
 *
 * KVM_IOEVENTFD counts before the vCPU goes on, and returns from taking one away when no vCPU is in the
 * middle of it (the bus is under SRCU). So with a parked vCPU, or out of reach, all is in the eventfd.
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

static int ioeventfd(const struct kvm_machine *m, uint64_t gpa, const struct vferry_bar_ioeventfd *io,
		     uint32_t flags)
{
	const struct kvm_ioeventfd request = {
		.addr = gpa, .len = io->bytes, .fd = io->eventfd, .datamatch = io->match,
		.flags = flags | (io->matches ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return ioctl(m->vm, KVM_IOEVENTFD, &request);
}

static bool listen_at(void *user, uint64_t gpa, const struct vferry_bar_ioeventfd *io)
{
	return ioeventfd(user, gpa, io, 0) == 0;
}

static void unlisten_at(void *user, uint64_t gpa, const struct vferry_bar_ioeventfd *io)
{
	(void) ioeventfd(user, gpa, io, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

const struct pci_memory_ops kvm_slots_ops = {
	.map = map, .unmap = unmap, .listen = listen_at, .unlisten = unlisten_at,
};
