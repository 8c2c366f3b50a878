/* SPDX-License-Identifier: MIT */
/* kernel_mock_host.h - of kernel_mock.h: group, container, KVM, iommufd, and what sysfs has. */
#ifndef KERNEL_MOCK_HOST_H
#define KERNEL_MOCK_HOST_H

#include "kernel_mock_base.h"

/* ---- container and group ---- */

static int mock_map(struct mock *m, uint64_t iova, uint64_t bytes, uint64_t host, uint32_t flags)
{
	uint64_t all = bytes;

	for (unsigned i = 0; i < m->mapping_count; i++) {
		all += m->mappings[i].bytes;
		if (iova < m->mappings[i].iova + m->mappings[i].bytes &&
		    m->mappings[i].iova < iova + bytes)
			return -EEXIST;
	}
	if (m->lock_limit && all > m->lock_limit)
		return -ENOMEM;
	if (iova < 0xfef00000 && iova + bytes > 0xfee00000)
		return -EINVAL;		/* x86's window for messages */
	assert_true(m->mapping_count < MOCK_MAPPINGS);
	m->mappings[m->mapping_count++] = (struct mock_mapping) { iova, bytes, host, flags };
	return 0;
}

static int mock_unmap(struct mock *m, uint64_t iova, uint64_t bytes)
{
	for (unsigned i = 0; i < m->mapping_count; i++) {
		if (m->mappings[i].iova != iova || m->mappings[i].bytes != bytes)
			continue;
		m->mappings[i] = m->mappings[--m->mapping_count];
		return 0;
	}
	return -ENOENT;
}

static int mock_iommu_info(struct vf_vfio_iommu_info *info)
{
	struct {
		struct vf_vfio_iommu_info info;
		struct vf_vfio_iova_ranges head;
		struct vf_vfio_iova_range ranges[2];
	} all = {
		.info = { .argsz = sizeof(all), .flags = VF_VFIO_IOMMU_INFO_CAPS | 1,
			  .iova_pgsizes = 4096, .cap_offset = offsetof(__typeof__(all), head) },
		.head = { .header = { .id = VF_VFIO_IOMMU_CAP_IOVA_RANGE, .version = 1 },
			  .nr_iovas = 2 },
		.ranges = { { 0, 0xfedfffff }, { 0xfef00000, UINT64_MAX >> 16 } },
	};

	if (info->argsz < sizeof(all))
		all.info.cap_offset = 0;
	memcpy(info, &all, info->argsz < sizeof(all) ? sizeof(*info) : sizeof(all));
	return 0;
}

static int mock_container(struct mock *m, unsigned long request, void *arg)
{
	const struct vf_vfio_dma_map *map = arg;
	const struct vf_vfio_dma_unmap *unmap = arg;
	int r;

	switch (request) {
	case VF_VFIO_GET_API_VERSION:
		r = mock_call(m, "container VERSION");
		return r ? r : VF_VFIO_API_VERSION;
	case VF_VFIO_CHECK_EXTENSION:
		r = mock_call(m, "container EXTENSION %d", (int) (uintptr_t) arg);
		return r < 0 ? r : 1;
	case VF_VFIO_SET_IOMMU:
		r = mock_call(m, "container SET_IOMMU %d", (int) (uintptr_t) arg);
		return r == 0 && !m->containers_set ? -EINVAL : r;
	case VF_VFIO_IOMMU_GET_INFO:
		r = mock_call(m, "container INFO");
		return r < 0 ? r : mock_iommu_info(arg);
	case VF_VFIO_IOMMU_MAP_DMA:
		r = mock_call(m, "MAP %llx+%llx", (unsigned long long) map->iova,
			      (unsigned long long) map->size);
		return r < 0 ? r : mock_map(m, map->iova, map->size, map->vaddr, map->flags);
	case VF_VFIO_IOMMU_UNMAP_DMA:
		r = mock_call(m, "UNMAP %llx+%llx", (unsigned long long) unmap->iova,
			      (unsigned long long) unmap->size);
		return r < 0 ? r : mock_unmap(m, unmap->iova, unmap->size);
	default:
		return -ENOTTY;
	}
}

static int mock_group(struct mock *m, unsigned long request, void *arg)
{
	struct vf_vfio_group_status *status = arg;
	int r;

	switch (request) {
	case VF_VFIO_GROUP_GET_STATUS:
		r = mock_call(m, "group STATUS");
		if (r == 0)
			status->flags = m->viable ? VF_VFIO_GROUP_FLAGS_VIABLE : 0;
		return r;
	case VF_VFIO_GROUP_SET_CONTAINER:
		r = mock_call(m, "group SET_CONTAINER");
		assert_int_equal(m->kinds[*(int32_t *) arg], MOCK_CONTAINER);
		m->containers_set += r == 0;
		return r;
	case VF_VFIO_GROUP_UNSET_CONTAINER:
		r = mock_call(m, "group UNSET_CONTAINER");
		m->containers_set--;
		return r;
	case VF_VFIO_GROUP_GET_DEVICE_FD:
		r = mock_call(m, "group DEVICE %s", (const char *) arg);
		if (r < 0)
			return r;
		assert_int_equal(m->groups_told, m->kvm >= 0 ? 1 : 0);
		return strcmp(arg, "0000:3b:00.0") == 0 ? mock_new_fd(m, MOCK_DEVICE) : -ENODEV;
	default:
		return -ENOTTY;
	}
}

static int mock_kvm(struct mock *m, unsigned long request, void *arg)
{
	const struct kvm_device_attr *attr = arg;
	int fd = *(int32_t *) (uintptr_t) attr->addr, r;
	bool add = attr->attr == KVM_DEV_VFIO_GROUP_ADD;
	unsigned *told = m->kinds[fd] == MOCK_GROUP ? &m->groups_told : &m->devices_told;

	if (request != KVM_SET_DEVICE_ATTR || attr->group != KVM_DEV_VFIO_GROUP)
		return -ENXIO;
	r = mock_call(m, "kvm %s %s", add ? "ADD" : "DEL",
		      m->kinds[fd] == MOCK_GROUP ? "group" : "device");
	if (r == 0 || !add)
		*told += add ? 1u : -1u;
	return r;
}

/* ---- iommufd ---- */

static int mock_iommufd(struct mock *m, unsigned long request, void *arg)
{
	struct vf_iommu_ioas_alloc *ioas = arg;
	struct vf_iommu_destroy *gone = arg;
	struct vf_iommu_hwpt_alloc *table = arg;
	struct vf_iommu_hw_info *hw = arg;
	struct vf_iommu_ioas_map *map = arg;
	struct vf_iommu_ioas_unmap *unmap = arg;
	struct vf_iommu_hwpt_set_dirty_tracking *track = arg;
	struct vf_iommu_hwpt_get_dirty_bitmap *get = arg;
	struct vf_iommu_ioas_iova_ranges *ranges = arg;
	int r;

	switch (request) {
	case VF_IOMMU_IOAS_ALLOC:
		r = mock_call(m, "ioas ALLOC");
		if (r == 0)
			ioas->out_ioas_id = m->ioas = ++m->next_id;
		return r;
	case VF_IOMMU_DESTROY:
		r = mock_call(m, "DESTROY %s", gone->id == m->ioas ? "ioas" : "hwpt");
		*(gone->id == m->ioas ? &m->ioas : &m->table) = 0;
		return r;
	case VF_IOMMU_GET_HW_INFO:
		r = mock_call(m, "HW_INFO");
		assert_true(hw->dev_id == 42);
		hw->out_capabilities = m->can_track ? VF_IOMMU_HW_CAP_DIRTY_TRACKING : 0;
		return r;
	case VF_IOMMU_HWPT_ALLOC:
		r = mock_call(m, "hwpt ALLOC%s", table->flags & VF_IOMMU_HWPT_ALLOC_DIRTY_TRACKING
			      ? " tracking" : "");
		assert_true(table->dev_id == 42 && table->pt_id == m->ioas);
		if (r == 0)
			table->out_hwpt_id = m->table = ++m->next_id;
		return r;
	case VF_IOMMU_IOAS_MAP:
		r = mock_call(m, "ioas MAP %llx+%llx", (unsigned long long) map->iova,
			      (unsigned long long) map->length);
		assert_true(map->flags & VF_IOMMU_IOAS_MAP_FIXED_IOVA);
		return r < 0 ? r : mock_map(m, map->iova, map->length, map->user_va, map->flags);
	case VF_IOMMU_IOAS_UNMAP:
		r = mock_call(m, "ioas UNMAP %llx+%llx", (unsigned long long) unmap->iova,
			      (unsigned long long) unmap->length);
		return r < 0 ? r : mock_unmap(m, unmap->iova, unmap->length);
	case VF_IOMMU_IOAS_IOVA_RANGES:
		r = mock_call(m, "ioas RANGES");
		assert_true(ranges->num_iovas >= 2);
		memcpy((void *) (uintptr_t) ranges->allowed_iovas,
		       (const struct vf_iommu_iova_range []) {
			{ 0, 0xfedfffff }, { 0xfef00000, UINT64_MAX } }, 32);
		ranges->num_iovas = 2;
		return r;
	case VF_IOMMU_HWPT_SET_DIRTY_TRACKING:
		r = mock_call(m, "hwpt TRACK %s", track->flags ? "on" : "off");
		assert_int_equal(track->hwpt_id, m->table);
		if (r == 0)
			m->tracking = track->flags != 0;
		return r;
	case VF_IOMMU_HWPT_GET_DIRTY_BITMAP:
		r = mock_call(m, "hwpt DIRTY %llx+%llx", (unsigned long long) get->iova,
			      (unsigned long long) get->length);
		if (r == 0)
			mock_take_dirty(m, get->iova, get->length, get->page_size,
					(uint64_t *) (uintptr_t) get->data);
		return r;
	default:
		return -ENOTTY;
	}
}

/* ---- sysfs ---- */

#define MOCK_PCI "/sys/bus/pci/devices/"

static int mock_readlink(void *user, const char *path, char *to, size_t size)
{
	struct mock *m = user;
	const struct { const char *path, *target; } links[] = {
		{ MOCK_PCI "0000:3b:00.0", "../../../devices/pci0000:3a/0000:3b:00.0" },
		{ MOCK_PCI "0000:3b:00.0/iommu_group", "../../../kernel/iommu_groups/7" },
		{ MOCK_PCI "0000:3b:00.0/driver", m->driver },
		{ MOCK_PCI "0000:3b:00.1/driver", "../../bus/pci/drivers/e1000e" },
		{ MOCK_PCI "0000:3c:00.0", "../../../devices/pci0000:3a/0000:3c:00.0" },
		{ "/sys/class/vfio-dev/vfio3/device", "../../../0000:3b:00.0" },
		{ "/sys/class/vfio-dev/vfio3/device/iommu_group", "../../../kernel/iommu_groups/7" },
		{ "/sys/class/vfio-dev/vfio3/device/driver", m->driver },
		{ "/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "../x" },
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (strcmp(path, links[i].path) == 0 && links[i].target)
			return snprintf(to, size, "%s", links[i].target) < (int) size
				       ? 0 : -ENAMETOOLONG;
	return -ENOENT;
}

static int mock_list(void *user, const char *folder, int (*each)(void *arg, const char *name),
		     void *arg)
{
	struct mock *m = user;
	int r;

	if (strcmp(folder, MOCK_PCI "0000:3b:00.0/vfio-dev") == 0) {
		if (m->has_iommu)
			(void) each(arg, "vfio3");
		return 0;
	}
	if (strcmp(folder, "/sys/kernel/iommu_groups/7/devices") == 0) {
		r = each(arg, "0000:3b:00.0");
		return r ? 0 : each(arg, "0000:3b:00.1") < 0 ? -EIO : 0;
	}
	return -ENOENT;
}

#endif
