/* SPDX-License-Identifier: MIT */
/* memory_internal.h - the inside of struct vferry_kvm_memory, for memory.c and ring.c. */
#ifndef VF_KVM_MEMORY_INTERNAL_H
#define VF_KVM_MEMORY_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <vferry/kvm.h>

#include "base/bitmap.h"
#include "base/checked.h"

struct kvm_dirty_gfn;

enum vf_kvm_way {
	VF_KVM_WAY_LOG_AT_ONCE = 0,
	VF_KVM_WAY_LOG_BY_HAND = 1,
	VF_KVM_WAY_RING = 2,
};

/* One block of RAM. */
struct vf_kvm_slot {
	uint32_t number;
	uint64_t gpa, bytes;
	void *host;			/* borrowed from the RAM */
	struct vf_bitmap pending;	/* pages that KVM named and that were not reported yet */
};

/* One vCPU's ring, which KVM fills and we empty. */
struct vf_kvm_ring {
	struct kvm_dirty_gfn *entries;	/* mapped */
	uint32_t next;			/* the entry to be looked at next */
};

struct vferry_kvm_memory {
	int vm;
	struct vferry_ram *ram;
	const char *name;		/* of the dirty source, a literal */
	enum vf_kvm_way way;
	uint32_t slot_first;
	bool added;			/* to the RAM's dirty sources */

	pthread_mutex_t lock;		/* guards pending maps, `answer` and rings */
	struct vf_kvm_slot *slots;
	size_t slot_count;
	struct vf_bitmap answer;	/* of one KVM_GET_DIRTY_LOG that clears, else all clear */
	struct vf_kvm_ring rings[VFERRY_KVM_CPUS_MAX];
	uint32_t vcpu_count;
	uint32_t ring_entries;		/* a power of two; 0: no rings */
	bool has_backlog;		/* a bitmap beside the rings, of what KVM writes without a vCPU */
};

/**
 * vf_kvm_ring_enable() - and the bitmap beside them, where there is one
 * Return: 0; -ENOTSUP this KVM has no rings; what KVM_ENABLE_CAP returned.
 */
int vf_kvm_ring_enable(struct vferry_kvm_memory *m, uint32_t entries);
/* What is in the rings goes into the pending maps, then those pages are protected again. */
int vf_kvm_rings_pull_locked(struct vferry_kvm_memory *m);
void vf_kvm_rings_done(struct vferry_kvm_memory *m);

#endif
