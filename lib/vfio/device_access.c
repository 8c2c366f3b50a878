/* SPDX-License-Identifier: MIT */
/*
 * device_access.c - what the guest does to the device: config space, BARs, and where BARs are.
 *
 * Model: a write to config space changes the view, which answers with effects; they are carried out
 * in the order that config.h gives: what goes away (mappings of the VMM, of peers), interrupts,
 * writes to the device, what appears. Between "gone" and "came" the VMM is called back. Accesses to
 * BARs go straight to the device, except to the MSI-X table and PBA, which the view answers.
 *
 * Threads: config writes of one device exclude each other (write_lock). BAR accesses outside the MSI-X
 * structures take no lock at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/device_internal.h"
#include "vfio/pci_regs.h"

/* ---- what is where in BARs ---- */

static bool is_io(const struct vferry_device *d, unsigned int bar)
{
	return (d->config->state.layout.bars[bar].flags & VF_CONFIG_BAR_IO) != 0;
}

enum msix_part { PART_NONE, PART_TABLE, PART_PBA };

/* MSI-X structures are constant, so this needs no lock. Any overlap counts. */
static enum msix_part msix_part(const struct vferry_device *d, unsigned int bar, uint64_t offset,
				unsigned int size, uint64_t *ret_inside)
{
	const struct vf_config_layout *l = &d->config->state.layout;
	uint64_t table = l->msix.count * 16ull, pba = (l->msix.count + 63ull) / 64 * 8;

	if (!l->msix.offset)
		return PART_NONE;
	if (bar == l->msix.table_bar && offset + size > l->msix.table_offset &&
	    offset < l->msix.table_offset + table) {
		*ret_inside = offset - l->msix.table_offset;
		return PART_TABLE;
	}
	if (bar == l->msix.pba_bar && offset + size > l->msix.pba_offset &&
	    offset < l->msix.pba_offset + pba) {
		*ret_inside = offset - l->msix.pba_offset;
		return PART_PBA;
	}
	return PART_NONE;
}

/* ---- memory of BARs ---- */

/* [from, to) less the MSI-X structures, in pieces of whole pages. */
static int add_area(struct vferry_device *d, unsigned int bar, uint64_t from, uint64_t to,
		    uint64_t page, struct vferry_error *err)
{
	const struct vf_backend_region *region = &d->regions[bar];
	struct vf_device_area *areas;
	void *host;

	from = vf_div_up(from, page) * page;
	to -= to % page;
	if (from >= to || (region->fd_offset + from) % page)
		return 0;
	areas = realloc(d->areas, (d->area_count + 1) * sizeof(*areas));
	if (!areas)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->vfio_name, "no memory");
	d->areas = areas;
	host = mmap(NULL, to - from, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd,
		    (off_t) (region->fd_offset + from));
	if (host == MAP_FAILED)
		return vferry_error_set(err, -errno, "device-map", d->vfio_name,
					"BAR %u could not be mapped: %s", bar,
					vferry_errno_name(errno));
	d->areas[d->area_count++] = (struct vf_device_area) {
		.bar = bar,
		.area = {
			.offset = from, .bytes = to - from, .host = host,
			.guest_only = d->backend->caps.areas_fault,
		},
	};
	return 0;
}

struct range {
	uint64_t from, to;
};

/* Pages of the BAR that hold MSI-X structures; at most two. */
static unsigned int msix_ranges(const struct vf_config_layout *l, unsigned int bar, uint64_t page,
				struct range out[2])
{
	const uint64_t starts[2] = { l->msix.table_offset, l->msix.pba_offset };
	const uint64_t sizes[2] = { l->msix.count * 16ull, (l->msix.count + 63ull) / 64 * 8 };
	const unsigned int bars[2] = { l->msix.table_bar, l->msix.pba_bar };
	unsigned int n = 0;

	if (!l->msix.offset)
		return 0;
	for (unsigned int i = 0; i < 2; i++)
		if (bars[i] == bar)
			out[n++] = (struct range) {
				starts[i] - starts[i] % page,
				vf_div_up(starts[i] + sizes[i], page) * page,
			};
	if (n == 2 && out[1].from < out[0].from) {
		struct range swap = out[0];

		out[0] = out[1];
		out[1] = swap;
	}
	return n;
}

/*
 * The kernel lets a BAR that is smaller than a page be mapped if it has its page to itself; what is mapped
 * is the page. Not all drivers can; where one can't, the BAR is read and written. Return: whether it is one.
 */
static bool add_small_bar(struct vferry_device *d, unsigned int bar, uint64_t page)
{
	const struct vf_backend_region *region = &d->regions[bar];

	if (!d->backend->caps.areas_fault || region->size >= page || region->area_count != 1 ||
	    region->areas[0].size != region->size)
		return false;
	(void) add_area(d, bar, 0, page, page, NULL);
	return true;
}

int vf_device_map_areas(struct vferry_device *d, struct vferry_error *err)
{
	uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
	int r = 0;

	for (unsigned int bar = 0; bar < VF_CONFIG_BARS && r == 0; bar++) {
		const struct vf_backend_region *region = &d->regions[bar];
		struct range holes[2];
		unsigned int hole_count = msix_ranges(&d->config->state.layout, bar, page, holes);

		if (region->fd < 0 || !region->sealed || is_io(d, bar))
			continue;
		if (hole_count == 0 && add_small_bar(d, bar, page))
			continue;
		for (uint32_t i = 0; i < region->area_count && r == 0; i++) {
			uint64_t at = region->areas[i].offset;
			uint64_t end = at + region->areas[i].size;

			for (unsigned int h = 0; h < hole_count && r == 0; h++) {
				if (holes[h].to <= at || holes[h].from >= end)
					continue;
				r = add_area(d, bar, at, holes[h].from, page, err);
				at = vf_min_u64(holes[h].to, end);
			}
			if (r == 0)
				r = add_area(d, bar, at, end, page, err);
		}
	}
	return r;
}

void vf_device_unmap_areas(struct vferry_device *d)
{
	for (uint32_t i = 0; i < d->area_count; i++)
		(void) munmap(d->areas[i].area.host, d->areas[i].area.bytes);
	free(d->areas);
	d->areas = NULL;
	d->area_count = 0;
}

int vferry_device_bar_area(struct vferry_device *d, unsigned bar, unsigned index,
			   struct vferry_bar_area *ret_area)
{
	for (uint32_t i = 0; i < d->area_count; i++) {
		if (d->areas[i].bar != bar)
			continue;
		if (index-- == 0) {
			*ret_area = d->areas[i].area;
			return 0;
		}
	}
	return -ENOENT;
}

/* ---- writes by eventfd ---- */

/* The MSI-X table is the view's, and what is mapped is memory: there a write means something else. */
static bool may_be_kick(const struct vferry_device *d, unsigned int bar,
			const struct vferry_bar_ioeventfd *io)
{
	const unsigned int size = io->bytes ? io->bytes : 1;
	uint64_t inside;

	if (msix_part(d, bar, io->offset, size, &inside) != PART_NONE)
		return false;
	for (uint32_t i = 0; i < d->area_count; i++) {
		const struct vferry_bar_area *area = &d->areas[i].area;

		if (d->areas[i].bar == bar && io->offset + size > area->offset &&
		    io->offset < area->offset + area->bytes)
			return false;
	}
	return true;
}

static int find_in_bar(struct vferry_device *d, unsigned int bar, struct vferry_error *err)
{
	struct vferry_bar_ioeventfd list[VF_BACKEND_IOEVENTFDS_MAX];
	uint32_t count = 0;
	int r = d->backend->ops->get_ioeventfds(d->backend, bar, d->regions[bar].size, list, &count,
						err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count; i++) {
		if (d->ioeventfd_count == VF_DEVICE_IOEVENTFDS_MAX || !may_be_kick(d, bar, &list[i])) {
			vf_close(&list[i].eventfd);
			continue;
		}
		d->ioeventfds[d->ioeventfd_count++] = (struct vf_device_ioeventfd) {
			.bar = bar, .io = list[i],
		};
	}
	return 0;
}

int vf_device_find_ioeventfds(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	for (unsigned int bar = 0; bar < VF_CONFIG_BARS && r == 0; bar++)
		if (d->backend->ops->get_ioeventfds && d->regions[bar].size > 0 && !is_io(d, bar) &&
		    d->config->state.layout.bars[bar].size > 0)
			r = find_in_bar(d, bar, err);
	return r;
}

void vf_device_close_ioeventfds(struct vferry_device *d)
{
	while (d->ioeventfd_count > 0)
		vf_close(&d->ioeventfds[--d->ioeventfd_count].io.eventfd);
}

int vferry_device_bar_ioeventfd(struct vferry_device *d, unsigned bar, unsigned index,
				struct vferry_bar_ioeventfd *ret_ioeventfd)
{
	for (uint32_t i = 0; i < d->ioeventfd_count; i++) {
		if (d->ioeventfds[i].bar != bar)
			continue;
		if (index-- == 0) {
			*ret_ioeventfd = d->ioeventfds[i].io;
			return 0;
		}
	}
	return -ENOENT;
}

/* ---- where BARs are ---- */

void vf_device_find_moves_locked(struct vferry_device *d, struct vf_device_bar_moves *ret_moves)
{
	struct vf_device_bar_moves moves = { 0 };

	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++) {
		struct vf_device_bar *bar = &d->bars[i];
		uint64_t gpa = 0;
		bool mapped = vf_config_bar_at(&d->config->state, i, &gpa);

		if (mapped == bar->mapped && (!mapped || gpa == bar->gpa))
			continue;
		if (bar->mapped) {
			moves.gone |= 1u << i;
			moves.from[i] = bar->gpa;
		}
		if (mapped) {
			moves.came |= 1u << i;
			moves.to[i] = gpa;
		}
		*bar = (struct vf_device_bar) { .mapped = mapped, .gpa = mapped ? gpa : 0 };
	}
	*ret_moves = moves;
}

void vf_device_tell_gone(struct vferry_device *d, const struct vf_device_bar_moves *moves)
{
	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++) {
		if (!(moves->gone & 1u << i))
			continue;
		for (uint32_t f = 0; f < d->follower_count; f++)
			vf_device_dma_remove_bar(d->followers[f], d, i);
		if (d->callbacks.bar_changed)
			d->callbacks.bar_changed(d->user, i, false, moves->from[i],
						 d->config->state.layout.bars[i].size);
	}
}

int vf_device_tell_came(struct vferry_device *d, const struct vf_device_bar_moves *moves,
			struct vferry_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++) {
		if (!(moves->came & 1u << i))
			continue;
		if (d->callbacks.bar_changed)
			d->callbacks.bar_changed(d->user, i, true, moves->to[i],
						 d->config->state.layout.bars[i].size);
		for (uint32_t f = 0; f < d->follower_count && !is_io(d, i); f++) {
			int r1 = vf_device_dma_add_bar(d->followers[f], d, i, moves->to[i],
						       r ? NULL : err);

			if (r == 0)
				r = r1;
		}
	}
	return r;
}

void vf_device_set_reachable(struct vferry_device *d, bool reachable)
{
	if (atomic_exchange(&d->unreachable, !reachable) == !reachable)
		return;
	if (d->callbacks.bars_reachable)
		d->callbacks.bars_reachable(d->user, reachable);
}

/* ---- config space ---- */

int vf_device_config_image(struct vferry_device *d, uint8_t *image, struct vferry_error *err)
{
	return d->backend->ops->region_read(d->backend, VF_VFIO_PCI_CONFIG_REGION, 0, image,
					    d->config->state.layout.size, err);
}

/* VFIO's regions are little-endian byte arrays, as PCI is. */
static uint32_t from_bytes(const uint8_t *bytes, uint32_t len)
{
	uint32_t v = 0;

	for (uint32_t i = 0; i < len; i++)
		v |= (uint32_t) bytes[i] << 8 * i;
	return v;
}

static void to_bytes(uint8_t *bytes, uint32_t len, uint64_t v)
{
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t) (v >> 8 * i);
}

int vf_device_config_write_out(struct vferry_device *d, const struct vf_config_write *w,
			       struct vferry_error *err)
{
	uint32_t value = w->value;
	uint8_t bytes[4];
	int r;

	if (w->keep) {
		r = d->backend->ops->region_read(d->backend, VF_VFIO_PCI_CONFIG_REGION, w->offset,
						 bytes, w->len, err);
		if (r < 0)
			return r;
		value |= from_bytes(bytes, w->len) & w->keep;
	}
	to_bytes(bytes, w->len, value);
	return d->backend->ops->region_write(d->backend, VF_VFIO_PCI_CONFIG_REGION, w->offset,
					     bytes, w->len, err);
}

uint32_t vferry_device_config_read(struct vferry_device *d, uint32_t offset, unsigned size)
{
	uint32_t from_device = 0, value;
	uint8_t bytes[4] = { 0xff, 0xff, 0xff, 0xff };

	pthread_mutex_lock(&d->lock);
	value = vf_config_read(d->config, offset, size,
			       &from_device);
	pthread_mutex_unlock(&d->lock);
	if (!from_device || size > sizeof(bytes))
		return value;
	/* A device that does not answer reads as all ones, as on a bus. */
	if (d->backend->ops->region_read(d->backend, VF_VFIO_PCI_CONFIG_REGION, offset, bytes, size,
					 NULL) < 0)
		memset(bytes, 0xff, sizeof(bytes));
	return value | (from_bytes(bytes, size) & from_device);
}

/* Everything of an effect that needs the lock: interrupts, then writes. */
static int carry_out_locked(struct vferry_device *d, const struct vf_config_effects *fx,
			    struct vferry_error *err)
{
	const uint32_t modes = VF_CONFIG_EFFECT_MSI_ENABLE | VF_CONFIG_EFFECT_MSI_MESSAGE |
			       VF_CONFIG_EFFECT_MSIX_CONTROL;
	/* INTx is the mode of a device that nobody has set up; the controller may not even exist yet
	 * when the device is opened. So it begins when the guest first uses the device. */
	const uint32_t uses = VF_CONFIG_EFFECT_MEM | VF_CONFIG_EFFECT_IO |
			      VF_CONFIG_EFFECT_BUS_MASTER;
	bool first_use = (fx->flags & uses) && d->irq.mode == VF_CONFIG_INTERRUPT_NONE;
	int r = 0;

	if ((fx->flags & modes) || first_use) {
		r = vf_device_irq_alloc_locked(d, &d->config->state, err);
		if (r == 0)
			r = vf_device_irq_update_locked(d, err);
	}
	for (uint32_t i = 0; i < fx->write_count; i++) {
		int r1 = vf_device_config_write_out(d, &fx->writes[i], r ? NULL : err);

		if (r == 0)
			r = r1;
	}
	if (fx->flags & VF_CONFIG_EFFECT_INTX_DISABLE) {
		int r1 = vf_device_irq_intx_disable_locked(d, r ? NULL : err);

		if (r == 0)
			r = r1;
	}
	return r;
}

int vferry_device_config_write(struct vferry_device *d, uint32_t offset, unsigned size,
			       uint32_t value, struct vferry_error *err)
{
	struct vf_config_effects fx;
	struct vf_device_bar_moves moves;
	int r = 0, r1;

	if (d->gone)
		return vferry_error_set(err, -ENODEV, "device-gone", d->vfio_name,
					"the machine runs elsewhere");
	pthread_mutex_lock(&d->write_lock);
	pthread_mutex_lock(&d->lock);
	vf_config_write(d->config, offset, size, value, &fx);
	if (fx.flags & VF_CONFIG_EFFECT_FLR) {
		pthread_mutex_unlock(&d->lock);
		r = vf_device_reset_write_locked(d, err);
		goto out;
	}
	vf_device_find_moves_locked(d, &moves);
	if (moves.gone) {
		pthread_mutex_unlock(&d->lock);
		vf_device_tell_gone(d, &moves);
		pthread_mutex_lock(&d->lock);
	}
	r = carry_out_locked(d, &fx, err);
	pthread_mutex_unlock(&d->lock);
	if (moves.came) {
		r1 = vf_device_tell_came(d, &moves, r ? NULL : err);
		if (r == 0)
			r = r1;
	}
out:
	pthread_mutex_unlock(&d->write_lock);
	return r;
}

/* ---- BARs ---- */

static int check_access(struct vferry_device *d, unsigned int bar, uint64_t offset,
			unsigned int size, struct vferry_error *err)
{
	if (bar >= VF_CONFIG_BARS || (size != 1 && size != 2 && size != 4 && size != 8) ||
	    !vf_range_in(offset, size, d->config->state.layout.bars[bar].size))
		return vferry_error_set(err, -EINVAL, "bar-access", d->vfio_name,
					"access of %u bytes at %#llx of BAR %u is outside", size,
					(unsigned long long) offset, bar);
	if (d->unreachable)
		return vferry_error_set(err, -EBUSY, "bar-access", d->vfio_name,
					"the device is being saved: its BARs must not be touched");
	return 0;
}

int vferry_device_bar_read(struct vferry_device *d, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t *ret_value, struct vferry_error *err)
{
	enum msix_part part;
	uint64_t inside = 0, value = 0;
	uint8_t bytes[8];
	int r = check_access(d, bar, offset, size, err);

	if (r < 0)
		return r;
	part = msix_part(d, bar, offset, size, &inside);
	if (part != PART_NONE) {
		pthread_mutex_lock(&d->lock);
		if (part == PART_TABLE) {
			value = vf_msix_table_read(&d->config->state.msix, inside, size);
		} else {
			vf_device_irq_take_pending_locked(d, (uint32_t) (inside * 8), size * 8);
			value = vf_msix_pba_read(&d->config->state.msix, inside, size);
		}
		pthread_mutex_unlock(&d->lock);
		*ret_value = value;
		return 0;
	}
	if (!vf_range_in(offset, size, d->regions[bar].size)) {
		/* Behind the device's registers: the BAR was rounded up to a power of two. */
		*ret_value = UINT64_MAX >> (64 - 8 * size);
		return 0;
	}
	r = d->backend->ops->region_read(d->backend, bar, offset, bytes, size, err);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < size; i++)
		value |= (uint64_t) bytes[i] << 8 * i;
	*ret_value = value;
	return 0;
}

static int table_write(struct vferry_device *d, uint64_t inside, unsigned int size, uint64_t value,
		       struct vferry_error *err)
{
	uint32_t vector = 0, flags;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	flags = vf_msix_table_write(&d->config->state.msix, inside, size, value, &vector);
	if (flags && d->irq.mode == VF_CONFIG_INTERRUPT_MSIX)
		r = vf_device_irq_update_vector_locked(d, vector, err);
	pthread_mutex_unlock(&d->lock);
	return r;
}

int vferry_device_bar_write(struct vferry_device *d, unsigned bar, uint64_t offset, unsigned size,
			    uint64_t value, struct vferry_error *err)
{
	uint64_t inside = 0;
	uint8_t bytes[8];
	int r = check_access(d, bar, offset, size, err);

	if (r < 0)
		return r;
	switch (msix_part(d, bar, offset, size, &inside)) {
	case PART_TABLE:
		return table_write(d, inside, size, value, err);
	case PART_PBA:
		return 0;	/* read only */
	case PART_NONE:
		break;
	}
	if (!vf_range_in(offset, size, d->regions[bar].size))
		return 0;
	to_bytes(bytes, size, value);
	return d->backend->ops->region_write(d->backend, bar, offset, bytes, size, err);
}
