/* SPDX-License-Identifier: MIT */
/*
 * memory.c - guest RAM as memory slots of KVM, and which pages the vCPUs wrote.
 *
 * Model. Each block of the RAM is one slot, with a map `pending` of pages that KVM said are written
 * and that were not yet reported. A collection pulls what KVM has into `pending`, then moves the
 * range that is asked for from there into the caller's words.
 *
 * Why nothing is lost: a page's bit is taken from KVM, *then* the page is protected again (by the
 * clear, by the reset of the ring, or by KVM itself when it gives its log), *then* collect()
 * returns and the page is read. A write that comes in between sets a new bit. The last collection
 * comes with all vCPUs out of KVM_RUN, where KVM has nothing left in the processor's own buffers.
 *
 * Three ways, from best to plainest:
 *   the log, cleared by hand   KVM_GET_DIRTY_LOG only reads; KVM_CLEAR_DIRTY_LOG protects just the
 *                              range that was asked for. At the start all is cleared in chunks,
 *                              so that no vCPU waits for one walk over the whole slot.
 *   the log                    KVM_GET_DIRTY_LOG clears and protects the whole slot at once
 *   rings (ring.c)             each vCPU's list of pages; a page is protected again by the reset.
 *                              On arm64 with a log beside them, for what no vCPU wrote.
 *
 * Not in KVM's log: what devices and the VMM itself write. They report on their own.
 *
 * Threads: `lock` covers pending maps and rings. collect() may run beside
 * vferry_kvm_memory_ring_full() of any vCPU; start() and stop() as the RAM calls them.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <unistd.h>

#include "kvm/call.h"
#include "kvm/memory_internal.h"

#define RING_ENTRIES_DEFAULT	16384u
/* Slot numbers have 16 bits; those above them name an address space. */
#define SLOT_FIRST_MAX		(UINT16_MAX - 64u)
/* Cleared at once when tracking starts: 64 MiB of guest memory. */
#define START_CHUNK_PAGES	(64 * VF_MIB / VF_PAGE_BYTES)

static int set_slot(const struct vferry_kvm_memory *m, const struct vf_kvm_slot *slot,
		    uint64_t bytes, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->number,
		.flags = flags,
		.guest_phys_addr = slot->gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t) slot->host,
	};

	return vf_kvm_call(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* ---- the log ---- */

static int clear_log(const struct vferry_kvm_memory *m, const struct vf_kvm_slot *slot,
		     uint64_t first, uint64_t pages)
{
	struct kvm_clear_dirty_log clear = {
		.slot = slot->number,
		.first_page = first,
		.num_pages = (uint32_t) pages,
		.dirty_bitmap = slot->pending.words + first / 64,
	};

	return vf_kvm_call(m->vm, KVM_CLEAR_DIRTY_LOG, &clear);
}

/* Whole words, and the slot's end: KVM takes no other ranges. In chunks, so that vCPUs get between. */
static int clear_range(const struct vferry_kvm_memory *m, const struct vf_kvm_slot *slot,
		       uint64_t first, uint64_t end)
{
	int ret = 0;

	while (first < end && !ret) {
		uint64_t pages = vf_min_u64(end - first, START_CHUNK_PAGES);

		ret = clear_log(m, slot, first, pages);
		first += pages;
	}
	return ret;
}

/* Into words that are all clear. */
static int get_log(const struct vferry_kvm_memory *m, const struct vf_kvm_slot *slot,
		   uint64_t *words)
{
	struct kvm_dirty_log log = { .slot = slot->number, .dirty_bitmap = words };

	return vf_kvm_call(m->vm, KVM_GET_DIRTY_LOG, &log);
}

/* KVM keeps what is not cleared, so `pending` holds no more than the last answer. */
static int pull_by_hand_locked(struct vferry_kvm_memory *m, struct vf_kvm_slot *slot,
			       uint64_t first, uint64_t end)
{
	int ret = get_log(m, slot, slot->pending.words);

	/* Only words that are reported whole: of the others, KVM keeps the bits. */
	first = vf_div_up(first, 64) * 64;
	if (end != slot->pending.bits)
		end = end / 64 * 64;
	return ret || first >= end ? ret : clear_range(m, slot, first, end);
}

/* KVM forgets the whole slot's bits with its answer, so it is added to those that are kept. */
static int pull_at_once_locked(struct vferry_kvm_memory *m, struct vf_kvm_slot *slot)
{
	uint64_t words = vf_bitmap_word_count(slot->pending.bits);
	int ret = get_log(m, slot, m->answer.words);

	for (uint64_t w = 0; w < words && !ret; w++) {
		if (!m->answer.words[w])
			continue;
		slot->pending.words[w] |= m->answer.words[w];
		m->answer.words[w] = 0;
	}
	return ret;
}

/* ---- the dirty source ---- */

static struct vf_kvm_slot *find_slot(struct vferry_kvm_memory *m, uint64_t gpa, uint64_t bytes)
{
	for (size_t i = 0; i < m->slot_count; i++) {
		struct vf_kvm_slot *slot = &m->slots[i];

		if (gpa >= slot->gpa && vf_range_in(gpa - slot->gpa, bytes, slot->bytes))
			return slot;
	}
	return NULL;
}

/* Moves pages [first, end) of `pending` to @words, whose bit 0 is page @first. */
static void report_locked(struct vf_kvm_slot *slot, uint64_t first, uint64_t end, uint64_t *words)
{
	for (uint64_t page = first; page < end;) {
		uint64_t word = slot->pending.words[page / 64];
		uint64_t next = vf_min_u64(end, (page / 64 + 1) * 64);

		if (!word) {
			page = next;
			continue;
		}
		for (; page < next; page++)
			if (word >> page % 64 & 1)
				words[(page - first) / 64] |= 1ull << (page - first) % 64;
	}
	vf_bitmap_clear_range(&slot->pending, first, end - first);
}

static int collect(void *user, uint64_t gpa, uint64_t bytes, uint64_t *words,
		   struct vferry_error *err)
{
	struct vferry_kvm_memory *m = user;
	struct vf_kvm_slot *slot = find_slot(m, gpa, bytes);
	const char *call = "KVM_GET_DIRTY_LOG or KVM_CLEAR_DIRTY_LOG";
	uint64_t first, end;
	int ret;

	if (!slot || (gpa | bytes) % VF_PAGE_BYTES)
		return vferry_error_set(err, -EINVAL, "kvm-dirty-range", m->name,
					"no block of RAM holds the range at 0x%llx",
					(unsigned long long) gpa);
	first = (gpa - slot->gpa) / VF_PAGE_BYTES;
	end = first + bytes / VF_PAGE_BYTES;
	(void) pthread_mutex_lock(&m->lock);
	switch (m->way) {
	case VF_KVM_WAY_RING:
		call = "KVM_RESET_DIRTY_RINGS";
		ret = vf_kvm_rings_pull_locked(m);
		if (ret < 0 || !m->has_backlog)
			break;
		call = "KVM_GET_DIRTY_LOG (beside rings)";
		ret = pull_at_once_locked(m, slot);
		break;
	case VF_KVM_WAY_LOG_BY_HAND:
		ret = pull_by_hand_locked(m, slot, first, end);
		break;
	default:
		ret = pull_at_once_locked(m, slot);
	}
	if (!ret)
		report_locked(slot, first, end, words);
	(void) pthread_mutex_unlock(&m->lock);
	return ret < 0 ? vf_kvm_failed(err, m->name, call, ret) : 0;
}

static void stop_slots_locked(struct vferry_kvm_memory *m, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		(void) set_slot(m, &m->slots[i], m->slots[i].bytes, 0);
		vf_bitmap_clear_all(&m->slots[i].pending);
	}
}

/* With everything marked by KVM, what is cleared is what becomes protected. */
static int start_slot_locked(struct vferry_kvm_memory *m, struct vf_kvm_slot *slot)
{
	int ret = set_slot(m, slot, slot->bytes, KVM_MEM_LOG_DIRTY_PAGES);

	if (ret || m->way != VF_KVM_WAY_LOG_BY_HAND)
		return ret;
	vf_bitmap_set_range(&slot->pending, 0, slot->pending.bits);
	ret = clear_range(m, slot, 0, slot->pending.bits);
	vf_bitmap_clear_all(&slot->pending);
	return ret;
}

static int start(void *user, struct vferry_error *err)
{
	struct vferry_kvm_memory *m = user;
	size_t i = 0;
	int ret = 0;

	(void) pthread_mutex_lock(&m->lock);
	if (m->way == VF_KVM_WAY_RING)	/* what an earlier tracking left there */
		ret = vf_kvm_rings_pull_locked(m);
	for (size_t n = 0; n < m->slot_count; n++)
		vf_bitmap_clear_all(&m->slots[n].pending);
	for (; i < m->slot_count && !ret; i++)
		ret = start_slot_locked(m, &m->slots[i]);
	if (ret)
		stop_slots_locked(m, i);
	(void) pthread_mutex_unlock(&m->lock);
	return ret < 0 ? vf_kvm_failed(err, m->name, "switching dirty pages on", ret) : 0;
}

static void stop(void *user)
{
	struct vferry_kvm_memory *m = user;

	(void) pthread_mutex_lock(&m->lock);
	stop_slots_locked(m, m->slot_count);
	(void) pthread_mutex_unlock(&m->lock);
}

/* ---- making one ---- */

static int no_memory(struct vferry_error *err)
{
	return vferry_error_set(err, -ENOMEM, "no-memory", "kvm-memory",
				"no memory for the maps of dirty pages");
}

static int enable(int vm, uint32_t capability, uint64_t argument)
{
	struct kvm_enable_cap cap = { .cap = capability, .args = { argument } };

	return vf_kvm_call(vm, KVM_ENABLE_CAP, &cap);
}

static int choose_ring(struct vferry_kvm_memory *m, uint32_t entries, struct vferry_error *err)
{
	int ret = vf_kvm_ring_enable(m, entries ? entries : RING_ENTRIES_DEFAULT);

	if (!ret)
		return 0;
	if (ret == -EEXIST || ret == -EBUSY)
		ret = -EINVAL;
	return vferry_error_set(err, ret, "kvm-dirty-ring", "kvm-memory",
				"KVM gives no dirty rings of %u entries (%s)%s",
				entries ? entries : RING_ENTRIES_DEFAULT, vferry_errno_name(ret),
				ret == -ENOTSUP ? ": it has none" :
				": not with vCPUs made already, for other than powers of two from "
				"256 on, nor (on arm64) beside memory slots made already");
}

static void choose_log(struct vferry_kvm_memory *m)
{
	const uint64_t both = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
	uint64_t has = (uint64_t) vf_kvm_has(m->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

	m->way = VF_KVM_WAY_LOG_AT_ONCE;
	if ((has & both) == both && !enable(m->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, both))
		m->way = VF_KVM_WAY_LOG_BY_HAND;
	m->name = "kvm-log";
}

static int add_slot(struct vferry_kvm_memory *m, const struct vferry_ram_block *block,
		    struct vferry_error *err)
{
	struct vf_kvm_slot *slot = &m->slots[m->slot_count];
	int ret;

	*slot = (struct vf_kvm_slot) { .number = m->slot_first + (uint32_t) m->slot_count,
		.gpa = block->gpa, .bytes = block->bytes, .host = block->host };
	if (vf_bitmap_init(&slot->pending, block->bytes / VF_PAGE_BYTES))
		return no_memory(err);
	ret = set_slot(m, slot, slot->bytes, 0);
	if (ret) {
		vf_bitmap_done(&slot->pending);
		return vferry_error_set(err, ret, "kvm-memory-slot", block->name,
					"KVM does not take slot %u at 0x%llx (%s)%s", slot->number,
					(unsigned long long) slot->gpa, vferry_errno_name(ret),
					ret == -EEXIST ? ": another slot is there" : "");
	}
	m->slot_count++;
	return 0;
}

static int build(struct vferry_kvm_memory *m, const struct vferry_kvm_memory_config *config,
		 struct vferry_error *err)
{
	struct vferry_dirty_source source = { .size = sizeof(source), .user = m, .start = start,
		.collect = collect, .stop = stop };
	size_t blocks = vferry_ram_block_count(m->ram);
	uint64_t largest = 0;
	int ret = 0;

	m->slots = calloc(blocks ? blocks : 1, sizeof(*m->slots));
	if (!m->slots)
		return no_memory(err);
	if (config->dirty == VFERRY_KVM_DIRTY_RING)
		ret = choose_ring(m, config->ring_entries, err);
	else
		choose_log(m);
	for (size_t i = 0; i < blocks && !ret; i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(m->ram, i);

		largest = vf_max_u64(largest, block->bytes / VF_PAGE_BYTES);
		ret = add_slot(m, block, err);
	}
	if (!ret && (m->way == VF_KVM_WAY_LOG_AT_ONCE || m->has_backlog) &&
	    vf_bitmap_init(&m->answer, largest))
		ret = no_memory(err);
	if (ret)
		return ret;
	source.name = m->name;
	ret = vferry_ram_add_dirty_source(m->ram, &source, err);
	m->added = !ret;
	return ret;
}

int vferry_kvm_memory_new(const struct vferry_kvm_memory_config *config,
			  struct vferry_kvm_memory **ret_memory, struct vferry_error *err)
{
	struct vferry_kvm_memory *m;
	int ret;

	if (!config || config->size < sizeof(*config) || config->vm < 0 || !config->ram ||
	    (unsigned) config->dirty > VFERRY_KVM_DIRTY_RING || config->slot_first > SLOT_FIRST_MAX)
		return vferry_error_set(err, -EINVAL, "kvm-memory-config", "kvm-memory",
					"the description of the memory slots is incomplete");
	if (sysconf(_SC_PAGESIZE) != VF_PAGE_BYTES)
		return vferry_error_set(err, -ENOTSUP, "kvm-page-size", "kvm-memory",
					"this host has pages of %ld bytes, and KVM's dirty bits are of "
					"these: only %u bytes are known to work",
					sysconf(_SC_PAGESIZE), (unsigned) VF_PAGE_BYTES);
	m = calloc(1, sizeof(*m));
	if (!m)
		return no_memory(err);
	(void) pthread_mutex_init(&m->lock, NULL);
	m->vm = config->vm;
	m->ram = config->ram;
	m->slot_first = config->slot_first;
	ret = build(m, config, err);
	if (ret < 0) {
		vferry_kvm_memory_free(m);
		return ret;
	}
	*ret_memory = m;
	return 0;
}

struct vferry_kvm_memory *vferry_kvm_memory_free(struct vferry_kvm_memory *m)
{
	if (!m)
		return NULL;
	if (m->added)
		(void) vferry_ram_remove_dirty_source(m->ram, m);
	for (size_t i = 0; i < m->slot_count; i++) {
		(void) set_slot(m, &m->slots[i], 0, 0);
		vf_bitmap_done(&m->slots[i].pending);
	}
	vf_kvm_rings_done(m);
	vf_bitmap_done(&m->answer);
	free(m->slots);
	(void) pthread_mutex_destroy(&m->lock);
	free(m);
	return NULL;
}

enum vferry_kvm_dirty vferry_kvm_memory_dirty(const struct vferry_kvm_memory *m)
{
	return m->way == VF_KVM_WAY_RING ? VFERRY_KVM_DIRTY_RING : VFERRY_KVM_DIRTY_LOG;
}
