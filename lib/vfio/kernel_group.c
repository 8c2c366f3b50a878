/* SPDX-License-Identifier: MIT */
/*
 * kernel_group.c - kernel VFIO by group and container, with a type1v2 IOMMU.
 *
 * In this order, undone in the reverse: the group is opened, found viable, put into the container; the
 * first one lets the container have its IOMMU; KVM is told of the group, because a driver takes its
 * KVM when the device is opened; then the device is opened, by name.
 *
 * The container's own dirty bitmap is of no use: with a real IOMMU every page that is mapped is dirty
 * each time. It is not used.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/kernel_space.h"
#include "vferry_vfio.h"

#define INFO_BYTES_MAX (VF_SPACE_RANGES_MAX * sizeof(struct vf_vfio_iova_range) + 4096)

/* ---- reasons ---- */

static int explain_open(const struct vf_kernel_target *t, int r, struct vferry_error *err)
{
	if (r == -ENOENT)
		return vferry_error_set(err, -ENODEV, "device-driver", t->name,
					"%s is bound to %s, which is no VFIO driver: bind it to "
					"vfio-pci or to the VFIO driver made for it", t->name,
					t->driver[0] ? t->driver : "no driver");
	if (r == -EBUSY)
		return vferry_error_set(err, r, "group-in-use", t->name,
					"IOMMU group %d of %s is in use by another process", t->group,
					t->name);
	return vferry_error_set(err, r, "group-open", t->name,
				"/dev/vfio/%d of %s cannot be opened: %s", t->group, t->name,
				vferry_errno_name(r));
}

static int explain_not_viable(struct vferry_dma_space *space, const struct vf_kernel_target *t,
			      struct vferry_error *err)
{
	char in_way[96];

	vf_kernel_find_in_way(&space->kernel, t->group, in_way, sizeof(in_way));
	return vferry_error_set(err, -EPERM, "group-not-viable", t->name,
				"IOMMU group %d of %s cannot be used: %s; every device of the group "
				"must be bound to a VFIO driver or to none", t->group, t->name,
				in_way[0] ? in_way : "another device of it has a host driver");
}

/* ---- entering ---- */

static int open_container(struct vferry_dma_space *space, struct vferry_error *err)
{
	const struct vf_kernel *k = &space->kernel;
	int fd = k->calls->open(k->user, "/dev/vfio/vfio", O_RDWR), r;

	if (fd < 0)
		return vferry_error_set(err, fd, "container-open", "dma-space",
					"/dev/vfio/vfio cannot be opened: %s", vferry_errno_name(fd));
	r = vf_kernel_ioctl(k, fd, VF_VFIO_GET_API_VERSION, NULL);
	if (r == VF_VFIO_API_VERSION)
		r = vf_kernel_ioctl(k, fd, VF_VFIO_CHECK_EXTENSION,
				    (void *) (uintptr_t) VF_VFIO_TYPE1V2_IOMMU);
	else if (r > 0)
		r = 0;
	if (r <= 0) {
		vf_close(&fd);
		return vferry_error_set(err, r < 0 ? r : -ENOTSUP, "container-kind", "dma-space",
					"this kernel's VFIO has no IOMMU of type 1 version 2");
	}
	space->fd = fd;
	return 0;
}

static int check_viable(struct vferry_dma_space *space, int fd, const struct vf_kernel_target *t,
			struct vferry_error *err)
{
	struct vf_vfio_group_status status = { .argsz = sizeof(status) };
	int r = vf_kernel_ioctl(&space->kernel, fd, VF_VFIO_GROUP_GET_STATUS, &status);

	if (r < 0)
		return vferry_error_set(err, r, "group-status", t->name,
					"IOMMU group %d cannot be asked for its status: %s", t->group,
					vferry_errno_name(r));
	if (!(status.flags & VF_VFIO_GROUP_FLAGS_VIABLE))
		return explain_not_viable(space, t, err);
	if (status.flags & VF_VFIO_GROUP_FLAGS_CONTAINER_SET)
		return vferry_error_set(err, -EBUSY, "group-in-use", t->name,
					"IOMMU group %d of %s is in another container", t->group,
					t->name);
	return 0;
}

static int put_into_container(struct vferry_dma_space *space, int fd,
			      const struct vf_kernel_target *t, struct vferry_error *err)
{
	const struct vf_kernel *k = &space->kernel;
	bool first = space->fd < 0;
	int32_t container;
	int r;

	if (first) {
		r = open_container(space, err);
		if (r < 0)
			return r;
	}
	container = space->fd;
	r = vf_kernel_ioctl(k, fd, VF_VFIO_GROUP_SET_CONTAINER, &container);
	if (r < 0) {
		vferry_error_set(err, r, "group-container", t->name,
				 "IOMMU group %d of %s does not go into the machine's container: %s",
				 t->group, t->name, vferry_errno_name(r));
	} else if (first) {
		r = vf_kernel_ioctl(k, space->fd, VF_VFIO_SET_IOMMU,
				    (void *) (uintptr_t) VF_VFIO_TYPE1V2_IOMMU);
		if (r < 0) {
			vferry_error_set(err, r, "container-iommu", t->name,
					 "the container of %s gets no IOMMU: %s%s", t->name,
					 vferry_errno_name(r), r == -EPERM ?
					 "; without isolated interrupts the module parameter "
					 "allow_unsafe_interrupts is needed" : "");
			(void) vf_kernel_ioctl(k, fd, VF_VFIO_GROUP_UNSET_CONTAINER, NULL);
		}
	}
	if (r < 0 && first)
		vf_close(&space->fd);
	return r < 0 ? r : 0;
}

static void drop_group(struct vferry_dma_space *space, struct vf_space_group *group)
{
	if (--group->users > 0)
		return;
	if (group->told_kvm)
		(void) vf_space_tell_kvm(space, group->fd, false);
	(void) vf_kernel_ioctl(&space->kernel, group->fd, VF_VFIO_GROUP_UNSET_CONTAINER, NULL);
	vf_close(&group->fd);
	*group = (struct vf_space_group) { .fd = -1 };
}

static int open_group(struct vferry_dma_space *space, const struct vf_kernel_target *t,
		      struct vf_space_group *group, struct vferry_error *err)
{
	const struct vf_kernel *k = &space->kernel;
	char path[32];
	int fd, r;

	(void) snprintf(path, sizeof(path), "/dev/vfio/%d", t->group);
	fd = k->calls->open(k->user, path, O_RDWR);
	if (fd < 0)
		return explain_open(t, fd, err);
	r = check_viable(space, fd, t, err);
	if (r == 0)
		r = put_into_container(space, fd, t, err);
	if (r < 0) {
		vf_close(&fd);
		return r;
	}
	*group = (struct vf_space_group) { .number = t->group, .fd = fd, .users = 1 };
	r = vf_space_tell_kvm(space, fd, true);
	if (r < 0) {
		vferry_error_set(err, r, "kvm-vfio", t->name,
				 "KVM takes no IOMMU group %d: %s", t->group, vferry_errno_name(r));
		drop_group(space, group);
		return r;
	}
	group->told_kvm = true;
	return 0;
}

static int get_group(struct vferry_dma_space *space, const struct vf_kernel_target *t,
		     struct vf_space_group **ret, struct vferry_error *err)
{
	struct vf_space_group *unused = NULL;
	int r;

	for (uint32_t i = 0; i < VF_SPACE_GROUPS_MAX; i++) {
		struct vf_space_group *group = &space->groups[i];

		if (group->users > 0 && group->number == t->group) {
			group->users++;
			*ret = group;
			return 0;
		}
		if (group->users == 0 && !unused)
			unused = group;
	}
	if (!unused)
		return vferry_error_set(err, -E2BIG, "group-open", t->name,
					"more than %u IOMMU groups", VF_SPACE_GROUPS_MAX);
	r = open_group(space, t, unused, err);
	if (r == 0)
		*ret = unused;
	return r;
}

static int enter(struct vferry_dma_space *space, const struct vf_kernel_target *t,
		 struct vf_space_seat *seat, struct vferry_error *err)
{
	char name[sizeof(t->name)];
	int r;

	if (t->group < 0)
		return vferry_error_set(err, -ENODEV, "device-group", t->name,
					"%s is in no IOMMU group: this host has no IOMMU, or it is "
					"switched off", t->name);
	r = get_group(space, t, &seat->group, err);
	if (r < 0)
		return r;
	memcpy(name, t->name, sizeof(name));
	r = vf_kernel_ioctl(&space->kernel, seat->group->fd, VF_VFIO_GROUP_GET_DEVICE_FD, name);
	if (r < 0) {
		vferry_error_set(err, r, "device-open", t->name,
				 "%s, bound to %s, cannot be opened: %s", t->name,
				 t->driver[0] ? t->driver : "no driver", vferry_errno_name(r));
		drop_group(space, seat->group);
		return r;
	}
	seat->fd = r;
	return 0;
}

static void leave(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	vf_close(&seat->fd);
	drop_group(space, seat->group);
}

/* ---- mappings ---- */

static int map(struct vferry_dma_space *space, const struct vf_space_mapping *m)
{
	struct vf_vfio_dma_map map = {
		.argsz = sizeof(map),
		.flags = VF_VFIO_DMA_MAP_FLAG_READ | (m->writable ? VF_VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t) m->host,
		.iova = m->iova,
		.size = m->bytes,
	};
	int r = vf_kernel_ioctl(&space->kernel, space->fd, VF_VFIO_IOMMU_MAP_DMA, &map);

	return r < 0 ? r : 0;
}

static int unmap(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes)
{
	struct vf_vfio_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = iova, .size = bytes };
	int r = vf_kernel_ioctl(&space->kernel, space->fd, VF_VFIO_IOMMU_UNMAP_DMA, &unmap);

	return r < 0 ? r : 0;
}

/* What the capability chain of @info says of addresses. The kernel wrote it; it is checked all the same. */
static int parse_ranges(const uint8_t *info, size_t size, uint32_t cap_offset,
			struct vf_space_range *ranges, uint32_t max)
{
	for (unsigned hops = 0; hops < 16 && cap_offset; hops++) {
		struct vf_vfio_iova_ranges cap;

		if (!vf_range_in(cap_offset, sizeof(cap.header), size))
			return -EPROTO;
		memcpy(&cap.header, info + cap_offset, sizeof(cap.header));
		if (cap.header.id != VF_VFIO_IOMMU_CAP_IOVA_RANGE) {
			cap_offset = cap.header.next;
			continue;
		}
		if (!vf_range_in(cap_offset, sizeof(cap), size))
			return -EPROTO;
		memcpy(&cap, info + cap_offset, sizeof(cap));
		if (cap.nr_iovas > max ||
		    !vf_range_in(cap_offset + sizeof(cap),
				 cap.nr_iovas * sizeof(struct vf_vfio_iova_range), size))
			return -EPROTO;
		for (uint32_t i = 0; i < cap.nr_iovas; i++) {
			struct vf_vfio_iova_range range;

			memcpy(&range, info + cap_offset + sizeof(cap) + i * sizeof(range),
			       sizeof(range));
			ranges[i] = (struct vf_space_range) { range.start, range.end };
		}
		return (int) cap.nr_iovas;
	}
	return 0;
}

static int get_ranges(struct vferry_dma_space *space, struct vf_space_range *ranges, uint32_t max)
{
	struct vf_vfio_iommu_info info = { .argsz = sizeof(info) };
	size_t size;
	uint8_t *whole;
	int r = vf_kernel_ioctl(&space->kernel, space->fd, VF_VFIO_IOMMU_GET_INFO, &info);

	if (r < 0)
		return r;
	size = info.argsz;
	if (!(info.flags & VF_VFIO_IOMMU_INFO_CAPS) || size <= sizeof(info) || size > INFO_BYTES_MAX)
		return 0;
	whole = calloc(1, size);
	if (!whole)
		return -ENOMEM;
	memcpy(whole, &info.argsz, sizeof(info.argsz));
	r = vf_kernel_ioctl(&space->kernel, space->fd, VF_VFIO_IOMMU_GET_INFO, whole);
	if (r >= 0) {
		memcpy(&info, whole, sizeof(info));
		r = parse_ranges(whole, size, info.cap_offset, ranges, max);
	}
	free(whole);
	return r;
}

const struct vf_space_ops vf_space_group_ops = {
	.name = "kernel-group",
	.maps_bars = true,
	.enter = enter,
	.leave = leave,
	.map = map,
	.unmap = unmap,
	.get_ranges = get_ranges,
};
