/* SPDX-License-Identifier: MIT */
/*
 * device_dma.c - what the device can reach by DMA, and what it wrote there.
 *
 * Model: device addresses are guest addresses. RAM is mapped block by block when it is attached; the
 * parts of a peer's BARs that can be mapped follow the guest's placing of them (the rest of a BAR is
 * registers that need the peer's process, and cannot be reached by a peer). The device's DMA log is a
 * dirty source of the RAM. Where reports are given for whole mappings only, or in larger pages, they
 * go to a shadow bitmap first, from which ranges are then taken. Bits are taken from the device when
 * a block is asked for from its beginning, and once more after the device has stopped.
 *
 * Without a log everything is dirty, once, after the device has stopped.
 *
 * Threads: mappings under dma_lock, the log under log_lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "vfio/device_internal.h"

#define MEMLOCK_MORE_MIB 64ull	/* what else of a process is locked: rings, BARs, bitmaps */
#define REPORT_BYTES (1 * VF_GIB)	/* of RAM, at most, in one request: 32 KiB of bits */

/* ---- peers ---- */

static int add_piece_locked(struct vferry_device *d, const struct vferry_device *peer,
			    unsigned int bar, uint64_t gpa, const struct vferry_bar_area *area,
			    struct vferry_error *err)
{
	const struct vf_backend_region *region = &peer->regions[bar];
	struct vf_device_dma_piece *pieces;
	uint64_t iova;
	int r;

	if (vf_add_u64(gpa, area->offset, &iova) || (iova | area->bytes) % VF_PAGE_BYTES ||
	    !vf_range_in(area->offset, area->bytes, region->size))
		return 0;	/* smaller than what an IOMMU can map */
	pieces = realloc(d->pieces, (d->piece_count + 1) * sizeof(*pieces));
	if (!pieces)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
	d->pieces = pieces;
	r = d->backend->ops->dma_map(d->backend, iova, area->bytes, true, region->fd,
				     region->fd_offset + area->offset, area->host, err);
	if (r < 0)
		return vferry_error_set(err, r, "dma-map", d->vfio_name,
					"BAR %u of %s could not be mapped for peer-to-peer DMA: %s",
					bar, peer->address, vferry_errno_name(r));
	d->pieces[d->piece_count++] = (struct vf_device_dma_piece) {
		.peer = peer, .bar = bar, .iova = iova, .bytes = area->bytes,
	};
	return 0;
}

int vf_device_dma_add_bar(struct vferry_device *d, const struct vferry_device *peer,
			  unsigned int bar, uint64_t gpa, struct vferry_error *err)
{
	const struct vf_backend_region *region = &peer->regions[bar];
	int r = 0;

	if (region->fd < 0)
		return 0;
	pthread_mutex_lock(&d->dma_lock);
	if (d->backend->caps.dma_by_address) {
		/* Only what is mapped here has an address. */
		for (uint32_t i = 0; i < peer->area_count && r == 0; i++)
			if (peer->areas[i].bar == bar)
				r = add_piece_locked(d, peer, bar, gpa, &peer->areas[i].area, err);
	} else {
		for (uint32_t i = 0; i < region->area_count && r == 0; i++) {
			const struct vferry_bar_area area = {
				.offset = region->areas[i].offset, .bytes = region->areas[i].size,
			};

			r = add_piece_locked(d, peer, bar, gpa, &area, err);
		}
	}
	pthread_mutex_unlock(&d->dma_lock);
	return r;
}

/* @bar < 0: all of the peer. A piece whose unmap fails is forgotten too: it cannot be tried better. */
static void remove_pieces_locked(struct vferry_device *d, const struct vferry_device *peer, int bar)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < d->piece_count; i++) {
		struct vf_device_dma_piece *piece = &d->pieces[i];

		if (piece->peer == peer && (bar < 0 || piece->bar == (unsigned int) bar))
			(void) d->backend->ops->dma_unmap(d->backend, piece->iova, piece->bytes,
							  NULL);
		else
			d->pieces[kept++] = *piece;
	}
	d->piece_count = kept;
}

void vf_device_dma_remove_bar(struct vferry_device *d, const struct vferry_device *peer,
			      unsigned int bar)
{
	pthread_mutex_lock(&d->dma_lock);
	remove_pieces_locked(d, peer, (int) bar);
	pthread_mutex_unlock(&d->dma_lock);
}

static void drop(struct vferry_device **list, uint32_t *count, const struct vferry_device *d)
{
	for (uint32_t i = 0; i < *count; i++) {
		if (list[i] == d) {
			list[i] = list[--*count];
			return;
		}
	}
}

int vferry_device_add_peer(struct vferry_device *d, struct vferry_device *peer,
			   struct vferry_error *err)
{
	int r = 0;

	if (!d || !peer || d == peer)
		return vferry_error_set(err, -EINVAL, "device-peer", d ? d->vfio_name : NULL,
					"a device cannot be its own peer");
	if (d->backend->caps.no_peers)
		return vferry_error_set(err, -ENOTSUP, "device-peer", d->vfio_name,
					"BARs of other devices cannot be mapped for DMA by %s",
					d->backend->ops->name);
	if (peer->backend->caps.areas_fault && !d->backend->caps.dma_by_address)
		return vferry_error_set(err, -ENOTSUP, "device-peer", d->vfio_name,
					"BARs of %s, a device of the kernel's, are not handed to a "
					"vfio-user server", peer->address);
	for (uint32_t i = 0; i < d->peer_count; i++)
		if (d->peers[i] == peer)
			return vferry_error_set(err, -EEXIST, "device-peer", d->vfio_name,
						"%s is a peer already", peer->address);
	if (d->peer_count == VF_DEVICE_PEERS_MAX || peer->follower_count == VF_DEVICE_PEERS_MAX)
		return vferry_error_set(err, -E2BIG, "device-peer", d->vfio_name,
					"more than %u peers", VF_DEVICE_PEERS_MAX);
	pthread_mutex_lock(&peer->write_lock);
	pthread_mutex_lock(&peer->lock);
	for (unsigned int i = 0; i < VF_CONFIG_BARS && r == 0; i++)
		if (peer->bars[i].mapped &&
		    !(peer->config->state.layout.bars[i].flags & VF_CONFIG_BAR_IO))
			r = vf_device_dma_add_bar(d, peer, i, peer->bars[i].gpa, err);
	if (r == 0) {
		d->peers[d->peer_count++] = peer;
		peer->followers[peer->follower_count++] = d;
	} else {
		pthread_mutex_lock(&d->dma_lock);
		remove_pieces_locked(d, peer, -1);
		pthread_mutex_unlock(&d->dma_lock);
	}
	pthread_mutex_unlock(&peer->lock);
	pthread_mutex_unlock(&peer->write_lock);
	return r;
}

/* ---- DMA by message: devices that cannot map our memory ---- */

static int dma_read(void *user, uint64_t iova, void *to, size_t len)
{
	struct vferry_device *d = user;

	return d->ram ? vferry_ram_read(d->ram, iova, to, len) : -EFAULT;
}

static int dma_write(void *user, uint64_t iova, const void *from, size_t len)
{
	struct vferry_device *d = user;

	return d->ram ? vferry_ram_write(d->ram, iova, from, len) : -EFAULT;
}

const struct vf_backend_dma_ops vf_device_dma_ops = { .read = dma_read, .write = dma_write };

/* ---- the log ---- */

static void mark_all(struct vferry_device *d)
{
	for (size_t i = 0; d->ram && i < vferry_ram_block_count(d->ram); i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(d->ram, i);

		vferry_ram_mark_dirty(d->ram, block->gpa, block->bytes);
	}
}

static void free_shadows_locked(struct vf_device_log *log)
{
	for (size_t i = 0; i < log->shadow_count; i++)
		vf_bitmap_done(&log->shadows[i]);
	free(log->shadows);
	log->shadows = NULL;
	log->shadow_count = 0;
}

static int make_shadows_locked(struct vferry_device *d)
{
	size_t count = vferry_ram_block_count(d->ram);
	struct vf_device_log *log = &d->log;

	log->shadows = calloc(count ? count : 1, sizeof(*log->shadows));
	if (!log->shadows)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(d->ram, i);
		int r = vf_bitmap_init(&log->shadows[i], block->bytes / VF_PAGE_BYTES);

		if (r < 0)
			return r;
		log->shadow_count++;
	}
	return 0;
}

enum vferry_dirty_tracking vf_device_log_kind(const struct vferry_device *d)
{
	if (d->features & VFERRY_DEVICE_DMA_LOG)
		return VFERRY_TRACKING_DEVICE_LOG;
	return d->features & VFERRY_DEVICE_IOMMU_DIRTY ? VFERRY_TRACKING_IOMMU
						       : VFERRY_TRACKING_NONE;
}

static int log_start_locked(struct vferry_device *d, struct vferry_error *err)
{
	size_t count = vferry_ram_block_count(d->ram);
	struct vf_vfio_dma_log_range *ranges = calloc(count ? count : 1, sizeof(*ranges));
	struct vf_device_log *log = &d->log;
	int r;

	if (!ranges)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
	for (size_t i = 0; i < count; i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(d->ram, i);

		ranges[i] = (struct vf_vfio_dma_log_range) { block->gpa, block->bytes };
	}
	log->page_bytes = VF_PAGE_BYTES;
	r = vf_device_trace(d, VF_TRACE_DEVICE_LOG_START, 0, 0);
	if (r == 0)
		r = d->backend->ops->dma_log_start(d->backend, VF_PAGE_BYTES, ranges,
						   (uint32_t) count, &log->page_bytes, err);
	free(ranges);
	if (r < 0)
		return r;
	if (log->page_bytes < VF_PAGE_BYTES || !vf_is_pow2(log->page_bytes))
		r = vferry_error_set(err, -EPROTO, "dma-log", d->vfio_name,
				     "the device logs in pages of %llu bytes, which cannot be used",
				     (unsigned long long) log->page_bytes);
	log->shadowed = !d->backend->caps.log_any_range || log->page_bytes != VF_PAGE_BYTES;
	if (r == 0 && log->shadowed)
		r = make_shadows_locked(d);
	if (r < 0) {
		free_shadows_locked(log);
		(void) d->backend->ops->dma_log_stop(d->backend, NULL);
		return r;
	}
	log->on = true;
	return 0;
}

/* Not being able to log is no reason to fail: the last round then sends everything, said aloud. */
static int log_start(void *user, struct vferry_error *err)
{
	struct vferry_device *d = user;
	int r = 0;

	(void) err;
	pthread_mutex_lock(&d->log_lock);
	d->log.tracking = VFERRY_TRACKING_NONE;
	if (vf_device_log_kind(d) != VFERRY_TRACKING_NONE) {
		r = log_start_locked(d, NULL);
		if (r == 0)
			d->log.tracking = vf_device_log_kind(d);
		else
			d->log_failures++;
	}
	pthread_mutex_unlock(&d->log_lock);
	return 0;
}

static void log_stop_locked(struct vferry_device *d)
{
	if (!d->log.on)
		return;
	d->log.on = false;
	if (!vf_device_trace(d, VF_TRACE_DEVICE_LOG_STOP, 0, 0))
		(void) d->backend->ops->dma_log_stop(d->backend, NULL);
	free_shadows_locked(&d->log);
}

void vf_device_log_stop(struct vferry_device *d)
{
	pthread_mutex_lock(&d->log_lock);
	log_stop_locked(d);
	pthread_mutex_unlock(&d->log_lock);
}

static void log_stop(void *user)
{
	vf_device_log_stop(user);
}

static void set_words(uint64_t *words, uint64_t bits)
{
	for (uint64_t i = 0; i < bits / 64; i++)
		words[i] = UINT64_MAX;
	if (bits % 64)
		words[bits / 64] |= UINT64_MAX >> (64 - bits % 64);
}

/* A failed report: what it covered is dirty; where it may have spoilt more, that is the caller's. */
static int failed_report(struct vferry_device *d, int r, struct vferry_error *err)
{
	d->log_failures++;
	if (d->backend->caps.log_error_is_local)
		return 0;
	return vferry_error_set(err, r, "dma-log", d->vfio_name,
				"the device's DMA log failed, all RAM counts as dirty: %s",
				vferry_errno_name(r));
}

static int report(struct vferry_device *d, uint64_t gpa, uint64_t bytes, uint64_t unit,
		  uint64_t *words)
{
	int r = vf_device_trace(d, VF_TRACE_DEVICE_LOG_REPORT, gpa, bytes);

	return r ? r : d->backend->ops->dma_log_report(d->backend, gpa, bytes, unit, words, NULL);
}

/* One block, whole, into its shadow. */
static int fetch_shadow_locked(struct vferry_device *d, size_t index, struct vferry_error *err)
{
	const struct vferry_ram_block *block = vferry_ram_get_block(d->ram, index);
	struct vf_bitmap *shadow = &d->log.shadows[index];
	uint64_t unit = d->log.page_bytes, scale = unit / VF_PAGE_BYTES;
	struct vf_bitmap coarse = { 0 };
	int r;

	if (scale == 1) {
		r = report(d, block->gpa, block->bytes, unit, shadow->words);
		goto out;
	}
	r = vf_bitmap_init(&coarse, vf_div_up(block->bytes, unit));
	if (r == 0)
		r = block->bytes % unit ? -EINVAL :
		    report(d, block->gpa, block->bytes, unit, coarse.words);
	if (r == 0)
		for (uint64_t bit = vf_bitmap_next_set(&coarse, 0, coarse.bits); bit < coarse.bits;
		     bit = vf_bitmap_next_set(&coarse, bit + 1, coarse.bits))
			vf_bitmap_set_range(shadow, bit * scale, scale);
	vf_bitmap_done(&coarse);
out:
	if (r < 0) {
		vf_bitmap_set_range(shadow, 0, shadow->bits);
		return failed_report(d, r, err);
	}
	return 0;
}

static int collect_shadow_locked(struct vferry_device *d, size_t index, uint64_t gpa,
				 uint64_t bytes, uint64_t *words, struct vferry_error *err)
{
	const struct vferry_ram_block *block = vferry_ram_get_block(d->ram, index);
	struct vf_bitmap *shadow = &d->log.shadows[index];
	uint64_t first = (gpa - block->gpa) / VF_PAGE_BYTES, end = first + bytes / VF_PAGE_BYTES;
	int r = 0;

	if (first == 0)
		r = fetch_shadow_locked(d, index, err);
	for (uint64_t bit = vf_bitmap_next_set(shadow, first, end); bit < end;
	     bit = vf_bitmap_next_set(shadow, bit + 1, end))
		words[(bit - first) / 64] |= 1ull << (bit - first) % 64;
	vf_bitmap_clear_range(shadow, first, end - first);
	return r;
}

static int collect_direct_locked(struct vferry_device *d, uint64_t gpa, uint64_t bytes,
				 uint64_t *words, struct vferry_error *err)
{
	for (uint64_t done = 0; done < bytes;) {
		uint64_t part = vf_min_u64(bytes - done, REPORT_BYTES);
		uint64_t *at = words + done / VF_PAGE_BYTES / 64;
		int r = report(d, gpa + done, part, VF_PAGE_BYTES, at);

		if (r < 0) {
			set_words(at, part / VF_PAGE_BYTES);
			r = failed_report(d, r, err);
			if (r < 0)
				return r;
		}
		done += part;
	}
	return 0;
}

static int find_block(const struct vferry_device *d, uint64_t gpa, uint64_t bytes)
{
	for (size_t i = 0; i < vferry_ram_block_count(d->ram); i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(d->ram, i);

		if (gpa >= block->gpa && vf_range_in(gpa - block->gpa, bytes, block->bytes))
			return (int) i;
	}
	return -EINVAL;
}

static int log_collect(void *user, uint64_t gpa, uint64_t bytes, uint64_t *words,
		       struct vferry_error *err)
{
	struct vferry_device *d = user;
	int block, r = 0;

	pthread_mutex_lock(&d->log_lock);
	if (d->log.on) {
		block = find_block(d, gpa, bytes);
		if (block < 0)
			r = vferry_error_set(err, block, "dma-log", d->vfio_name,
					     "a range outside RAM was asked for");
		else if (d->log.shadowed)
			r = collect_shadow_locked(d, (size_t) block, gpa, bytes, words, err);
		else
			r = collect_direct_locked(d, gpa, bytes, words, err);
	}
	pthread_mutex_unlock(&d->log_lock);
	return r;
}

static void mark_words(struct vferry_ram *ram, uint64_t gpa, const uint64_t *words, uint64_t pages)
{
	for (uint64_t page = 0; page < pages;) {
		uint64_t start = page;

		if (page % 64 == 0 && !words[page / 64]) {
			page += 64;
			continue;
		}
		while (page < pages && (words[page / 64] >> page % 64 & 1))
			page++;
		if (page > start)
			vferry_ram_mark_dirty(ram, gpa + start * VF_PAGE_BYTES,
					      (page - start) * VF_PAGE_BYTES);
		else
			page++;
	}
}

/* What the device logged of a block, straight into the RAM's own map. */
static int report_block_locked(struct vferry_device *d, const struct vferry_ram_block *block,
			       uint64_t *words, struct vferry_error *err)
{
	for (uint64_t done = 0; done < block->bytes;) {
		uint64_t part = vf_min_u64(block->bytes - done, REPORT_BYTES);
		int r;

		memset(words, 0, REPORT_BYTES / VF_PAGE_BYTES / 8);
		r = collect_direct_locked(d, block->gpa + done, part, words, err);
		if (r < 0)
			return r;
		mark_words(d->ram, block->gpa + done, words, part / VF_PAGE_BYTES);
		done += part;
	}
	return 0;
}

int vf_device_log_last(struct vferry_device *d, struct vferry_error *err)
{
	uint64_t *words;
	int r = 0;

	if (!d->ram)
		return 0;
	pthread_mutex_lock(&d->log_lock);
	if (!d->log.on) {
		/* Nobody knows what it wrote since the first round: everything, once. */
		mark_all(d);
		goto out;
	}
	words = malloc(REPORT_BYTES / VF_PAGE_BYTES / 8);
	if (!words) {
		r = vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
		goto out;
	}
	for (size_t i = 0; i < vferry_ram_block_count(d->ram) && r == 0; i++)
		r = d->log.shadowed ? fetch_shadow_locked(d, i, NULL) :
		    report_block_locked(d, vferry_ram_get_block(d->ram, i), words, NULL);
	free(words);
	/* The whole log is void: everything is dirty, and that is no reason to fail. */
	if (r < 0) {
		mark_all(d);
		r = 0;
	}
out:
	pthread_mutex_unlock(&d->log_lock);
	return r;
}

void vf_device_log_void(struct vferry_device *d)
{
	pthread_mutex_lock(&d->log_lock);
	if (d->log.on) {
		/* Whether the log itself survived a reset is not defined: begin it anew. */
		log_stop_locked(d);
		if (log_start_locked(d, NULL) < 0) {
			d->log.tracking = VFERRY_TRACKING_NONE;
			d->log_failures++;
		}
		mark_all(d);
	}
	pthread_mutex_unlock(&d->log_lock);
}

/* ---- RAM ---- */

static void unmap_ram(struct vferry_device *d, struct vferry_ram *ram, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(ram, i);

		(void) d->backend->ops->dma_unmap(d->backend, block->gpa, block->bytes, NULL);
	}
}

/* All of RAM is pinned. What the kernel says then is -ENOMEM, whatever it is short of. */
static void explain_no_memory(const struct vferry_device *d, struct vferry_ram *ram,
			      struct vferry_error *err)
{
	unsigned long long need = vferry_ram_bytes(ram), mib = VF_MIB;
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur >= need + MEMLOCK_MORE_MIB * mib)
		return;
	(void) vferry_error_set(err, -ENOMEM, "memory-lock-limit", d->vfio_name,
				"DMA needs all %llu MiB of guest memory locked, and this process may "
				"lock %llu MiB: raise the limit (ulimit -l, LimitMEMLOCK=) to %llu MiB "
				"or more", (need + mib - 1) / mib, (unsigned long long) limit.rlim_cur / mib,
				(need + mib - 1) / mib + MEMLOCK_MORE_MIB);
}

int vferry_device_attach_ram(struct vferry_device *d, struct vferry_ram *ram,
			     struct vferry_error *err)
{
	size_t count, i;
	int r = 0;

	if (!d || !ram || d->ram)
		return vferry_error_set(err, -EINVAL, "device-ram", d ? d->vfio_name : NULL,
					"no RAM, or RAM is attached already");
	count = vferry_ram_block_count(ram);
	for (i = 0; i < count; i++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(ram, i);

		if (d->backend->caps.dma_by_address && !(block->flags & VFERRY_RAM_PINNED)) {
			r = vferry_error_set(err, -EINVAL, "device-ram", d->vfio_name,
					     "RAM block %s is not made for being pinned "
					     "(VFERRY_RAM_PINNED), as a kernel device does", block->name);
			break;
		}
		r = d->backend->ops->dma_map(d->backend, block->gpa, block->bytes, true, block->fd,
					     block->fd_offset, block->host, err);
		if (r < 0) {
			if (r == -ENOMEM && d->backend->caps.dma_by_address)
				explain_no_memory(d, ram, err);
			vferry_error_set(err, r, "dma-map", d->vfio_name,
					 "RAM block %s could not be mapped for DMA: %s",
					 block->name, vferry_errno_name(r));
			break;
		}
	}
	if (r == 0) {
		const struct vferry_dirty_source source = {
			.size = sizeof(source),
			.name = d->vfio_name,
			.user = d,
			.start = log_start,
			.collect = log_collect,
			.stop = log_stop,
		};

		d->ram = ram;
		r = vferry_ram_add_dirty_source(ram, &source, err);
	}
	if (r < 0) {
		d->ram = NULL;
		unmap_ram(d, ram, i);
	}
	return r;
}

void vf_device_dma_detach(struct vferry_device *d)
{
	while (d->peer_count > 0) {
		struct vferry_device *peer = d->peers[--d->peer_count];

		drop(peer->followers, &peer->follower_count, d);
		pthread_mutex_lock(&d->dma_lock);
		remove_pieces_locked(d, peer, -1);
		pthread_mutex_unlock(&d->dma_lock);
	}
	while (d->follower_count > 0) {
		struct vferry_device *follower = d->followers[--d->follower_count];

		drop(follower->peers, &follower->peer_count, d);
		pthread_mutex_lock(&follower->dma_lock);
		remove_pieces_locked(follower, d, -1);
		pthread_mutex_unlock(&follower->dma_lock);
	}
	free(d->pieces);
	d->pieces = NULL;
	if (d->ram) {
		(void) vferry_ram_remove_dirty_source(d->ram, d);
		vf_device_log_stop(d);
		unmap_ram(d, d->ram, vferry_ram_block_count(d->ram));
		d->ram = NULL;
	}
}
