/* SPDX-License-Identifier: MIT */
/*
 * ring.c - dirty rings: for each vCPU a list of the pages that it wrote, shared with KVM.
 *
 * Model. KVM fills an entry and sets its DIRTY flag; we read it and set RESET; KVM_RESET_DIRTY_RINGS
 * protects the pages of all entries so marked and gives their places back. A ring that is almost
 * full makes KVM_RUN return KVM_EXIT_DIRTY_RING_FULL until then. Entries name a slot and a page of
 * it; slots that are not ours (a BAR of the VMM's) are given back unread.
 *
 * Where KVM writes guest RAM without a vCPU (arm64: tables of an ITS, pending tables), it has no ring
 * to put that into, and keeps a bitmap of each slot besides: a log, which memory.c asks after the
 * rings each time.
 *
 * A bounded walk: a vCPU that runs may fill as fast as we empty, so one pull takes at most one
 * ring's length; the rest stays for the next.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/call.h"
#include "kvm/memory_internal.h"
#include "vferry_kvm_arm64.h"

/* Headers older than the rings of their architecture say 0, where struct kvm_run is. */
#ifdef __x86_64__
static_assert(VF_KVM_RING_PAGE_OFFSET == KVM_DIRTY_LOG_PAGE_OFFSET, "as KVM has it");
#endif

static size_t ring_bytes(const struct vferry_kvm_memory *m)
{
	return (size_t) m->ring_entries * sizeof(struct kvm_dirty_gfn);
}

int vf_kvm_ring_enable(struct vferry_kvm_memory *m, uint32_t entries)
{
	static const uint32_t capabilities[] = { KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
		KVM_CAP_DIRTY_LOG_RING };
	struct kvm_enable_cap cap = { 0 };
	uint64_t bytes = (uint64_t) entries * sizeof(struct kvm_dirty_gfn);
	int most = 0, ret;

	for (size_t i = 0; i < VF_ARRAY_COUNT(capabilities) && most <= 0; i++) {
		cap.cap = capabilities[i];
		most = vf_kvm_has(m->vm, (int) cap.cap);
	}
	if (most <= 0)
		return -ENOTSUP;
	if (!vf_is_pow2(entries) || bytes > (uint64_t) most)
		return -EINVAL;
	cap.args[0] = bytes;
	ret = vf_kvm_call(m->vm, KVM_ENABLE_CAP, &cap);
	if (!ret && vf_kvm_has(m->vm, VF_KVM_CAP_RING_WITH_BITMAP)) {
		struct kvm_enable_cap backlog = { .cap = VF_KVM_CAP_RING_WITH_BITMAP };

		ret = vf_kvm_call(m->vm, KVM_ENABLE_CAP, &backlog);
		m->has_backlog = !ret;
	}
	if (ret)
		return ret;
	m->ring_entries = entries;
	m->way = VF_KVM_WAY_RING;
	m->name = "kvm-ring";
	return 0;
}

static void mark_locked(struct vferry_kvm_memory *m, const struct kvm_dirty_gfn *entry)
{
	uint32_t index = entry->slot - m->slot_first;

	if (entry->slot >= m->slot_first && index < m->slot_count &&
	    entry->offset < m->slots[index].pending.bits)
		vf_bitmap_set_range(&m->slots[index].pending, entry->offset, 1);
}

/* Return: entries taken. */
static uint32_t harvest_locked(struct vferry_kvm_memory *m, struct vf_kvm_ring *ring)
{
	uint32_t count = 0;

	for (; count < m->ring_entries; count++, ring->next++) {
		struct kvm_dirty_gfn *entry = &ring->entries[ring->next % m->ring_entries];

		/* DIRTY and RESET: ours already, and not yet given back by a reset that failed. */
		if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		mark_locked(m, entry);
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
	return count;
}

int vf_kvm_rings_pull_locked(struct vferry_kvm_memory *m)
{
	uint64_t taken = 0;
	int ret;

	for (uint32_t i = 0; i < m->vcpu_count; i++)
		taken += harvest_locked(m, &m->rings[i]);
	if (!taken)
		return 0;
	ret = vf_kvm_call_value(m->vm, KVM_RESET_DIRTY_RINGS, 0);
	return ret < 0 ? ret : 0;
}

void vf_kvm_rings_done(struct vferry_kvm_memory *m)
{
	for (uint32_t i = 0; i < m->vcpu_count; i++)
		if (m->rings[i].entries)
			(void) munmap(m->rings[i].entries, ring_bytes(m));
	m->vcpu_count = 0;
}

int vferry_kvm_memory_add_vcpu(struct vferry_kvm_memory *m, int vcpu, struct vferry_error *err)
{
	int number = -E2BIG, code = 0;

	(void) pthread_mutex_lock(&m->lock);
	if (m->vcpu_count < VFERRY_KVM_CPUS_MAX) {
		struct vf_kvm_ring ring = { 0 };

		if (m->way == VF_KVM_WAY_RING) {
			ring.entries = mmap(NULL, ring_bytes(m), PROT_READ | PROT_WRITE, MAP_SHARED,
					    vcpu, VF_KVM_RING_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
			code = ring.entries == MAP_FAILED ? -errno : 0;
		}
		number = code ? code : (int) m->vcpu_count;
		if (!code)
			m->rings[m->vcpu_count++] = ring;
	}
	(void) pthread_mutex_unlock(&m->lock);
	if (code)
		return vferry_error_set(err, code, "kvm-dirty-ring", "kvm-ring",
					"the ring of a vCPU can't be mapped: %s",
					vferry_errno_name(code));
	if (number < 0)
		return vferry_error_set(err, number, "kvm-vcpus", m->name, "more than %u vCPUs",
					VFERRY_KVM_CPUS_MAX);
	return number;
}

int vferry_kvm_memory_ring_full(struct vferry_kvm_memory *m, uint32_t vcpu,
				struct vferry_error *err)
{
	int ret = -EINVAL;

	(void) pthread_mutex_lock(&m->lock);
	if (m->way == VF_KVM_WAY_RING && vcpu < m->vcpu_count)
		ret = vf_kvm_rings_pull_locked(m);
	(void) pthread_mutex_unlock(&m->lock);
	if (ret == -EINVAL)
		return vferry_error_set(err, ret, "kvm-dirty-ring", m->name,
					"vCPU %u has no dirty ring", vcpu);
	return ret < 0 ? vf_kvm_failed(err, m->name, "KVM_RESET_DIRTY_RINGS", ret) : 0;
}
