/* SPDX-License-Identifier: MIT */
/*
 * dirty.c - the union of all dirty sources, in one map per block.
 *
 * Why nothing is lost when tracking goes on while the machine runs: a writer writes, then loads
 * `tracking`. tracking_start() stores `tracking`, then makes every processor that runs a thread of
 * ours pass a full barrier (membarrier(2)). So a writer that still saw "off" had its write visible
 * before tracking_start() returned, and the first round, which reads every page, comes after. That
 * keeps the barrier out of vferry_ram_mark_dirty(), which vCPUs and device models call all the time.
 *
 * Why nothing is lost afterwards: a writer writes, then sets the bit (release); a sender takes the
 * bit (acquire), then reads the page. If the sender misses the write, the bit is set after it was
 * taken, and stays for the next round.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ram/ram_internal.h"

int vferry_ram_add_dirty_source(struct vferry_ram *ram, const struct vferry_dirty_source *source,
				struct vferry_error *err)
{
	struct vf_ram_source *slot;
	int ret = 0;

	if (!source || source->size < sizeof(*source) || !source->name || !source->collect)
		return vferry_error_set(err, -EINVAL, "dirty-source", NULL,
					"a dirty source needs a name and collect()");
	(void) pthread_mutex_lock(&ram->lock);
	if (vf_ram_tracking(ram)) {
		ret = vferry_error_set(err, -EBUSY, "ram-busy", source->name,
				       "dirty sources cannot be added during a migration");
		goto out;
	}
	if (ram->source_count == VF_RAM_MAX_SOURCES) {
		ret = vferry_error_set(err, -E2BIG, "dirty-sources", source->name,
				       "more than %d dirty sources", VF_RAM_MAX_SOURCES);
		goto out;
	}
	slot = &ram->sources[ram->source_count++];
	*slot = (struct vf_ram_source) { .ops = *source };
	(void) snprintf(slot->name, sizeof(slot->name), "%s", source->name);
	slot->ops.name = NULL;	/* the caller's; ours is slot->name, which moves with the slot */
out:
	(void) pthread_mutex_unlock(&ram->lock);
	return ret;
}

int vferry_ram_remove_dirty_source(struct vferry_ram *ram, void *user)
{
	int ret = -ENOENT;

	(void) pthread_mutex_lock(&ram->lock);
	if (vf_ram_tracking(ram)) {
		ret = -EBUSY;
		goto out;
	}
	for (size_t i = 0; i < ram->source_count; i++) {
		if (ram->sources[i].ops.user != user)
			continue;
		memmove(&ram->sources[i], &ram->sources[i + 1],
			(ram->source_count - i - 1) * sizeof(ram->sources[0]));
		ram->source_count--;
		ret = 0;
		break;
	}
out:
	(void) pthread_mutex_unlock(&ram->lock);
	return ret;
}

bool vf_ram_tracking(const struct vferry_ram *ram)
{
	return __atomic_load_n(&ram->tracking, __ATOMIC_ACQUIRE);
}

void vferry_ram_mark_dirty(struct vferry_ram *ram, uint64_t gpa, uint64_t bytes)
{
	uint64_t end;

	/* The load must not move before the caller's write; the processor's part is at the file top. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&ram->tracking, __ATOMIC_RELAXED))
		return;
	if (!bytes || vf_add_u64(gpa, bytes, &end))
		return;
	for (size_t i = 0; i < ram->block_count; i++) {
		struct vf_ram_block *block = &ram->blocks[i];
		uint64_t from = vf_max_u64(gpa, block->pub.gpa);
		uint64_t to = vf_min_u64(end, block->pub.gpa + block->pub.bytes);

		if (from >= to)
			continue;
		from = (from - block->pub.gpa) / VF_PAGE_BYTES;
		to = vf_div_up(to - block->pub.gpa, VF_PAGE_BYTES);
		vf_bitmap_set_range_atomic(&block->dirty, from, to - from);
	}
}

static void mark_block(struct vf_ram_block *block)
{
	vf_bitmap_set_range_atomic(&block->dirty, 0, block->dirty.bits);
	__atomic_store_n(&block->all_marked, true, __ATOMIC_RELEASE);
}

void vf_ram_mark_all(struct vferry_ram *ram)
{
	for (size_t i = 0; i < ram->block_count; i++)
		mark_block(&ram->blocks[i]);
}

static long register_barrier(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

void vf_ram_prepare_barrier(void)
{
	(void) register_barrier();	/* asked again when it is needed, with an answer then */
}

static int barrier_on_all_processors(struct vferry_error *err)
{
	long ret = register_barrier();

	if (!ret)
		ret = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	if (ret)
		ret = syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	if (ret)
		return vferry_error_set(err, -errno, "ram-membarrier", "ram",
					"membarrier(2) is needed to start dirty tracking: %s",
					vferry_errno_name(errno));
	return 0;
}

static void stop_sources_locked(struct vferry_ram *ram)
{
	for (size_t i = 0; i < ram->source_count; i++) {
		struct vf_ram_source *source = &ram->sources[i];

		if (source->started && source->ops.stop)
			source->ops.stop(source->ops.user);
		source->started = false;
	}
}

/* Room for one source's answer about the largest block. */
static int make_scratch_locked(struct vferry_ram *ram)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < ram->block_count; i++)
		bits = vf_max_u64(bits, ram->blocks[i].dirty.bits);
	if (ram->scratch.words && ram->scratch.bits >= bits)
		return 0;
	vf_bitmap_done(&ram->scratch);
	return vf_bitmap_init(&ram->scratch, bits);
}

int vf_ram_tracking_start(struct vferry_ram *ram, struct vferry_error *err)
{
	int ret;

	(void) pthread_mutex_lock(&ram->lock);
	if (vf_ram_tracking(ram)) {
		ret = vferry_error_set(err, -EBUSY, "ram-busy", "ram",
				       "dirty tracking is on already: another migration runs");
		goto out;
	}
	ret = make_scratch_locked(ram);
	if (ret) {
		(void) vferry_error_set(err, ret, "ram-memory", "ram", "no memory for dirty maps");
		goto out;
	}
	for (size_t i = 0; i < ram->block_count; i++) {
		vf_bitmap_clear_all(&ram->blocks[i].dirty);
		__atomic_store_n(&ram->blocks[i].all_marked, false, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&ram->tracking, true, __ATOMIC_SEQ_CST);
	ret = barrier_on_all_processors(err);
	for (size_t i = 0; !ret && i < ram->source_count; i++) {
		struct vf_ram_source *source = &ram->sources[i];

		ret = source->ops.start ? source->ops.start(source->ops.user, err) : 0;
		if (ret < 0)
			(void) vferry_error_set(err, ret, "dirty-source-start", source->name,
						"cannot start dirty tracking: %s",
						vferry_errno_name(ret));
		else
			ret = 0;
		source->started = !ret;
	}
	if (ret) {
		stop_sources_locked(ram);
		__atomic_store_n(&ram->tracking, false, __ATOMIC_SEQ_CST);
		goto out;
	}
	vf_ram_refresh_holes(ram);
out:
	(void) pthread_mutex_unlock(&ram->lock);
	return ret;
}

void vf_ram_tracking_stop(struct vferry_ram *ram)
{
	(void) pthread_mutex_lock(&ram->lock);
	if (vf_ram_tracking(ram)) {
		__atomic_store_n(&ram->tracking, false, __ATOMIC_SEQ_CST);
		stop_sources_locked(ram);
	}
	(void) pthread_mutex_unlock(&ram->lock);
}

/* Adds the source's answer in the scratch map to the block's, and empties the scratch map. */
static void merge_scratch_locked(struct vferry_ram *ram, struct vf_ram_block *block)
{
	uint64_t words = vf_bitmap_word_count(block->dirty.bits);
	uint64_t *from = ram->scratch.words;
	uint64_t seen = 0;

	if (block->dirty.bits % 64)	/* bits behind the last page are nobody's */
		from[words - 1] &= ~0ull >> (64 - block->dirty.bits % 64);
	for (uint64_t w = 0; w < words; w++) {
		uint64_t bits = from[w];

		if (!bits)
			continue;
		seen += (uint64_t) __builtin_popcountll(bits);
		vf_bitmap_or_words_atomic(&block->dirty, w, &bits, 1);
		from[w] = 0;
	}
	if (seen == block->dirty.bits)	/* it cannot tell: do not read holes because of it */
		__atomic_store_n(&block->all_marked, true, __ATOMIC_RELEASE);
}

static int collect_source_locked(struct vferry_ram *ram, struct vf_ram_source *source,
				 struct vferry_error *err)
{
	for (size_t b = 0; b < ram->block_count; b++) {
		struct vf_ram_block *block = &ram->blocks[b];
		int ret = source->ops.collect(source->ops.user, block->pub.gpa, block->pub.bytes,
					      ram->scratch.words, err);

		merge_scratch_locked(ram, block);
		if (ret < 0)
			return vferry_error_set(err, ret, "dirty-source-failed", source->name,
						"cannot say which pages are dirty (%s): all of them "
						"are sent again", vferry_errno_name(ret));
	}
	return 0;
}

int vf_ram_collect(struct vferry_ram *ram, struct vf_ram_collected *ret)
{
	struct vf_ram_collected collected = { 0 };

	(void) pthread_mutex_lock(&ram->lock);
	if (!vf_ram_tracking(ram)) {
		(void) pthread_mutex_unlock(&ram->lock);
		return -EINVAL;
	}
	for (size_t i = 0; i < ram->source_count; i++) {
		if (collect_source_locked(ram, &ram->sources[i], &collected.error) < 0) {
			collected.failed_sources++;
			vf_ram_mark_all(ram);
		}
	}
	(void) pthread_mutex_unlock(&ram->lock);
	collected.dirty_pages = vf_ram_dirty_pages(ram);
	*ret = collected;
	return 0;
}

uint64_t vf_ram_dirty_pages(const struct vferry_ram *ram)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ram->block_count; i++)
		sum += vf_bitmap_count(&ram->blocks[i].dirty, 0, ram->blocks[i].dirty.bits);
	return sum;
}

uint64_t vf_ram_take_dirty(struct vferry_ram *ram, size_t block, uint64_t word)
{
	return vf_bitmap_take_word_atomic(&ram->blocks[block].dirty, word);
}

void vf_ram_restore_dirty(struct vferry_ram *ram, size_t block, uint64_t word, uint64_t bits)
{
	vf_bitmap_or_words_atomic(&ram->blocks[block].dirty, word, &bits, 1);
}

void vf_ram_mark_pages(struct vferry_ram *ram, size_t block, uint64_t page, uint64_t count)
{
	vf_bitmap_set_range_atomic(&ram->blocks[block].dirty, page, count);
}

uint64_t vf_ram_next_dirty(const struct vferry_ram *ram, size_t block, uint64_t page, uint64_t end)
{
	return vf_bitmap_next_set(&ram->blocks[block].dirty, page, end);
}

bool vf_ram_all_marked(const struct vferry_ram *ram, size_t block)
{
	return __atomic_load_n(&ram->blocks[block].all_marked, __ATOMIC_ACQUIRE);
}
