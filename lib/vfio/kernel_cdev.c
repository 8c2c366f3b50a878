/* SPDX-License-Identifier: MIT */
/*
 * kernel_cdev.c - kernel VFIO by character device and iommufd.
 *
 * In this order: the device is opened; KVM is told of it, because a driver takes its KVM when it is
 * bound; it is bound to iommufd. One IOAS holds the machine's mappings. Attached to the IOAS itself, a
 * device gets a page table (HWPT) that can't tell what was written. So one with dirty tracking is made
 * first where the IOMMU has that, and shared by the devices that it fits.
 *
 * A device without an IOMMU of its own (a mediated one) is attached to the IOAS.
 *
 * Closing the device unbinds and detaches it. BARs of other devices can't be mapped into an IOAS.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/kernel_space.h"
#include "vferry_iommufd.h"
#include "vferry_vfio.h"

static int iommufd_of(const struct vferry_dma_space *space)
{
	return space->given_iommufd >= 0 ? space->given_iommufd : space->fd;
}

static int call(struct vferry_dma_space *space, unsigned long request, void *arg)
{
	int r = vf_kernel_ioctl(&space->kernel, iommufd_of(space), request, arg);

	return r < 0 ? r : 0;
}

static void destroy(struct vferry_dma_space *space, uint32_t id)
{
	struct vf_iommu_destroy gone = { .size = sizeof(gone), .id = id };

	(void) call(space, VF_IOMMU_DESTROY, &gone);
}

/* ---- the space ---- */

static int open_space(struct vferry_dma_space *space, struct vferry_error *err)
{
	struct vf_iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	const struct vf_kernel *k = &space->kernel;
	int r;

	if (iommufd_of(space) < 0) {
		int fd = k->calls->open(k->user, "/dev/iommu", O_RDWR);

		if (fd < 0)
			return vferry_error_set(err, fd, "iommufd-open", "dma-space",
						"/dev/iommu cannot be opened: %s",
						vferry_errno_name(fd));
		space->fd = fd;
	}
	if (space->ioas)
		return 0;
	r = call(space, VF_IOMMU_IOAS_ALLOC, &alloc);
	if (r < 0)
		return vferry_error_set(err, r, "iommufd-ioas", "dma-space",
					"iommufd makes no address space: %s", vferry_errno_name(r));
	space->ioas = alloc.out_ioas_id;
	return 0;
}

static void close_space(struct vferry_dma_space *space)
{
	if (space->ioas)
		destroy(space, space->ioas);
	space->ioas = 0;
}

/* ---- page tables ---- */

static int attach(struct vferry_dma_space *space, int fd, uint32_t id)
{
	struct vf_vfio_attach_iommufd_pt attach = {
		.argsz = sizeof(attach), .pt_id = id,
	};

	return vf_kernel_ioctl(&space->kernel, fd, VF_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static bool iommu_can_log(struct vferry_dma_space *space, uint32_t devid)
{
	struct vf_iommu_hw_info info = { .size = sizeof(info), .dev_id = devid };

	return call(space, VF_IOMMU_GET_HW_INFO, &info) == 0 &&
	       (info.out_capabilities & VF_IOMMU_HW_CAP_DIRTY_TRACKING);
}

/* One that another device has, if the kernel says that it fits. */
static struct vf_space_table *share_table(struct vferry_dma_space *space, int fd)
{
	for (uint32_t i = 0; i < VF_SPACE_TABLES_MAX; i++) {
		struct vf_space_table *table = &space->tables[i];

		if (table->users > 0 && attach(space, fd, table->id) >= 0)
			return table;
	}
	return NULL;
}

static struct vf_space_table *make_table(struct vferry_dma_space *space, int fd, uint32_t devid)
{
	struct vf_iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = VF_IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = devid,
		.pt_id = space->ioas,
	};

	for (uint32_t i = 0; i < VF_SPACE_TABLES_MAX; i++) {
		struct vf_space_table *table = &space->tables[i];

		if (table->users > 0)
			continue;
		if (call(space, VF_IOMMU_HWPT_ALLOC, &alloc) < 0)
			return NULL;
		if (attach(space, fd, alloc.out_hwpt_id) < 0) {
			destroy(space, alloc.out_hwpt_id);
			return NULL;
		}
		*table = (struct vf_space_table) { .id = alloc.out_hwpt_id };
		return table;
	}
	return NULL;
}

/* A table that can log, or, because everything else works without one, the IOAS. */
static int attach_device(struct vferry_dma_space *space, struct vf_space_seat *seat, uint32_t devid,
			 const struct vf_kernel_target *t, struct vferry_error *err)
{
	int r;

	if (iommu_can_log(space, devid)) {
		seat->table = share_table(space, seat->fd);
		if (!seat->table)
			seat->table = make_table(space, seat->fd, devid);
		if (seat->table) {
			seat->table->users++;
			return 0;
		}
	}
	r = attach(space, seat->fd, space->ioas);
	if (r < 0)
		return vferry_error_set(err, r, "iommufd-attach", t->name,
					"%s cannot be attached to the machine's address space: %s",
					t->name, vferry_errno_name(r));
	return 0;
}

/* ---- which tables log ---- */

static int set_logging(struct vferry_dma_space *space, const struct vf_space_table *table, bool on)
{
	struct vf_iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = on ? VF_IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = table->id,
	};

	return call(space, VF_IOMMU_HWPT_SET_DIRTY_TRACKING, &set);
}

static int start_logging(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	int r = seat->table->logging ? 0 : set_logging(space, seat->table, true);

	if (r < 0)
		return r;
	seat->table->logging++;
	seat->logging = true;
	return 0;
}

static int stop_logging(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	seat->logging = false;
	return --seat->table->logging ? 0 : set_logging(space, seat->table, false);
}

/* ---- entering ---- */

static int explain_open(const struct vf_kernel_target *t, int r, struct vferry_error *err)
{
	if (r == -EBUSY)
		return vferry_error_set(err, r, "device-in-use", t->name,
					"%s is in use by another process", t->name);
	return vferry_error_set(err, r, "device-open", t->name, "%s of %s cannot be opened: %s",
				t->cdev[0] ? t->cdev : "the descriptor", t->name,
				vferry_errno_name(r));
}

static int explain_bind(const struct vf_kernel_target *t, int r, struct vferry_error *err)
{
	const char *reason = "";

	if (r == -EBUSY)
		return vferry_error_set(err, r, "device-in-use", t->name,
					"the IOMMU group of %s is in use by another process", t->name);
	if (r == -EPERM)
		reason = "; its interrupts are not isolated, which the module parameter "
			 "allow_unsafe_interrupts overrules, or its group has another owner";
	else if (r == -EINVAL)	/* a character device can be opened by many; it is bound once */
		reason = "; it is in use by another process, or its DMA is not cache coherent";
	return vferry_error_set(err, r, "iommufd-bind", t->name, "%s cannot be bound to iommufd: %s%s",
				t->name, vferry_errno_name(r), reason);
}

static int open_device(struct vferry_dma_space *space, const struct vf_kernel_target *t,
		       struct vferry_error *err)
{
	const struct vf_kernel *k = &space->kernel;
	int fd;

	if (t->fd < 0 && !t->cdev[0])
		return vferry_error_set(err, -ENODEV, "device-driver", t->name,
					"%s, bound to %s, has no VFIO character device: bind it to a "
					"VFIO driver, or open it by its group", t->name,
					t->driver[0] ? t->driver : "no driver");
	fd = t->fd >= 0 ? k->calls->dup(k->user, t->fd) : k->calls->open(k->user, t->cdev, O_RDWR);
	return fd < 0 ? explain_open(t, fd, err) : fd;
}

/* @others: devices that stay. */
static void take_out(struct vferry_dma_space *space, struct vf_space_seat *seat, uint32_t others)
{
	if (seat->told_kvm)
		(void) vf_space_tell_kvm(space, seat->fd, false);
	if (seat->logging)
		(void) stop_logging(space, seat);
	vf_close(&seat->fd);
	if (seat->table && --seat->table->users == 0)
		destroy(space, seat->table->id);
	if (others == 0)
		close_space(space);
}

static void leave(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	take_out(space, seat, space->devices - 1);
}

static int enter(struct vferry_dma_space *space, const struct vf_kernel_target *t,
		 struct vf_space_seat *seat, struct vferry_error *err)
{
	struct vf_vfio_bind_iommufd bind = { .argsz = sizeof(bind) };
	int r = open_space(space, err);

	if (r < 0)
		return r;
	r = open_device(space, t, err);
	if (r >= 0) {
		seat->fd = r;
		r = vf_space_tell_kvm(space, seat->fd, true);
		seat->told_kvm = r == 0;
		if (r < 0)
			vferry_error_set(err, r, "kvm-vfio", t->name, "KVM takes no %s: %s", t->name,
					 vferry_errno_name(r));
	}
	if (r >= 0) {
		bind.iommufd = iommufd_of(space);
		r = vf_kernel_ioctl(&space->kernel, seat->fd, VF_VFIO_DEVICE_BIND_IOMMUFD, &bind);
		if (r < 0)
			explain_bind(t, r, err);
	}
	if (r >= 0)
		r = attach_device(space, seat, bind.out_devid, t, err);
	if (r < 0)
		take_out(space, seat, space->devices);
	return r;
}

/* ---- mappings ---- */

static int map(struct vferry_dma_space *space, const struct vf_space_mapping *m)
{
	struct vf_iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = VF_IOMMU_IOAS_MAP_FIXED_IOVA | VF_IOMMU_IOAS_MAP_READABLE |
			 (m->writable ? VF_IOMMU_IOAS_MAP_WRITEABLE : 0),
		.ioas_id = space->ioas,
		.user_va = (uintptr_t) m->host,
		.length = m->bytes,
		.iova = m->iova,
	};

	return call(space, VF_IOMMU_IOAS_MAP, &map);
}

static int unmap(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes)
{
	struct vf_iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = space->ioas, .iova = iova, .length = bytes,
	};

	return call(space, VF_IOMMU_IOAS_UNMAP, &unmap);
}

static int get_ranges(struct vferry_dma_space *space, struct vf_space_range *ranges, uint32_t max)
{
	struct vf_iommu_iova_range *found = calloc(max, sizeof(*found));
	struct vf_iommu_ioas_iova_ranges get = {
		.size = sizeof(get), .ioas_id = space->ioas, .num_iovas = max,
		.allowed_iovas = (uintptr_t) found,
	};
	int r = found ? call(space, VF_IOMMU_IOAS_IOVA_RANGES, &get) : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < get.num_iovas && i < max; i++)
		ranges[i] = (struct vf_space_range) { found[i].start, found[i].last };
	free(found);
	return r < 0 ? r : (int) vf_min_u64(get.num_iovas, max);
}

/* ---- what the IOMMU saw being written ---- */

int vf_space_log_start(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	int r = -EOPNOTSUPP;

	pthread_mutex_lock(&space->lock);
	if (seat->table)
		r = seat->logging ? -EINVAL : start_logging(space, seat);
	pthread_mutex_unlock(&space->lock);
	return r;
}

int vf_space_log_stop(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	int r;

	pthread_mutex_lock(&space->lock);
	r = seat->logging ? stop_logging(space, seat) : -EINVAL;
	pthread_mutex_unlock(&space->lock);
	return r;
}

/* The kernel's walk ends silently at the first hole of a range; so holes are refused here. */
static bool is_mapped_locked(const struct vferry_dma_space *space, uint64_t iova, uint64_t bytes)
{
	for (uint32_t i = 0; i < space->mapping_count; i++) {
		const struct vf_space_mapping *m = &space->mappings[i];

		if (iova >= m->iova && vf_range_in(iova - m->iova, bytes, m->bytes))
			return true;
	}
	return false;
}

int vf_space_log_report(struct vferry_dma_space *space, struct vf_space_seat *seat, uint64_t iova,
			uint64_t bytes, uint64_t page_bytes, uint64_t *words)
{
	struct vf_iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get), .iova = iova, .length = bytes, .page_size = page_bytes,
		.data = (uintptr_t) words,
	};
	int r = -EINVAL;

	pthread_mutex_lock(&space->lock);
	if (seat->logging && is_mapped_locked(space, iova, bytes)) {
		get.hwpt_id = seat->table->id;
		r = call(space, VF_IOMMU_HWPT_GET_DIRTY_BITMAP, &get);
	}
	pthread_mutex_unlock(&space->lock);
	return r;
}

const struct vf_space_ops vf_space_cdev_ops = {
	.name = "kernel-cdev",
	.enter = enter,
	.leave = leave,
	.map = map,
	.unmap = unmap,
	.get_ranges = get_ranges,
};
