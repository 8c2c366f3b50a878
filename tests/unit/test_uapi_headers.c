/* SPDX-License-Identifier: MIT */
/* Our VFIO and iommufd numbers and layouts against the build host's headers, wherever they know them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/vfio.h>
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif

#include "vferry_iommufd.h"
#include "vferry_vfio.h"
#include "vfio-user/client.h"
#include "vfio-user/server.h"

#define SAME(a, b) _Static_assert((unsigned long) (a) == (unsigned long) (b), #a)
#define SAME_FIELD(ours, theirs, field) \
	_Static_assert(offsetof(struct ours, field) == offsetof(struct theirs, field) && \
		       sizeof(((struct ours *) 0)->field) == sizeof(((struct theirs *) 0)->field), \
		       #ours "." #field)

SAME(VF_VFIO_GET_API_VERSION, VFIO_GET_API_VERSION);
SAME(VF_VFIO_CHECK_EXTENSION, VFIO_CHECK_EXTENSION);
SAME(VF_VFIO_SET_IOMMU, VFIO_SET_IOMMU);
SAME(VF_VFIO_GROUP_GET_STATUS, VFIO_GROUP_GET_STATUS);
SAME(VF_VFIO_GROUP_SET_CONTAINER, VFIO_GROUP_SET_CONTAINER);
SAME(VF_VFIO_GROUP_UNSET_CONTAINER, VFIO_GROUP_UNSET_CONTAINER);
SAME(VF_VFIO_GROUP_GET_DEVICE_FD, VFIO_GROUP_GET_DEVICE_FD);
SAME(VF_VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_INFO);
SAME(VF_VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_GET_REGION_INFO);
SAME(VF_VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_GET_IRQ_INFO);
SAME(VF_VFIO_DEVICE_SET_IRQS, VFIO_DEVICE_SET_IRQS);
SAME(VF_VFIO_DEVICE_RESET, VFIO_DEVICE_RESET);
SAME(VF_VFIO_IOMMU_GET_INFO, VFIO_IOMMU_GET_INFO);
SAME(VF_VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_MAP_DMA);
SAME(VF_VFIO_IOMMU_UNMAP_DMA, VFIO_IOMMU_UNMAP_DMA);
SAME(VF_VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_DIRTY_PAGES);
SAME(VF_VFIO_DEVICE_FEATURE, VFIO_DEVICE_FEATURE);

SAME(VF_VFIO_API_VERSION, VFIO_API_VERSION);
SAME(VF_VFIO_TYPE1V2_IOMMU, VFIO_TYPE1v2_IOMMU);
SAME(VF_VFIO_GROUP_FLAGS_VIABLE, VFIO_GROUP_FLAGS_VIABLE);
SAME(VF_VFIO_GROUP_FLAGS_CONTAINER_SET, VFIO_GROUP_FLAGS_CONTAINER_SET);
SAME(sizeof(struct vf_vfio_group_status), sizeof(struct vfio_group_status));
SAME(VF_VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_READ);
SAME(VF_VFIO_DMA_MAP_FLAG_WRITE, VFIO_DMA_MAP_FLAG_WRITE);
SAME(sizeof(struct vf_vfio_dma_map), sizeof(struct vfio_iommu_type1_dma_map));
SAME_FIELD(vf_vfio_dma_map, vfio_iommu_type1_dma_map, vaddr);
SAME_FIELD(vf_vfio_dma_map, vfio_iommu_type1_dma_map, iova);
SAME_FIELD(vf_vfio_dma_map, vfio_iommu_type1_dma_map, size);
SAME(sizeof(struct vf_vfio_dma_unmap), offsetof(struct vfio_iommu_type1_dma_unmap, data));
SAME_FIELD(vf_vfio_dma_unmap, vfio_iommu_type1_dma_unmap, size);
SAME(VF_VFIO_IOMMU_INFO_CAPS, VFIO_IOMMU_INFO_CAPS);
SAME_FIELD(vf_vfio_iommu_info, vfio_iommu_type1_info, cap_offset);
SAME(VF_VFIO_IOMMU_CAP_IOVA_RANGE, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
SAME(sizeof(struct vf_vfio_iova_ranges),
     offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges));
SAME_FIELD(vf_vfio_iova_ranges, vfio_iommu_type1_info_cap_iova_range, nr_iovas);
SAME(sizeof(struct vf_vfio_iova_range), sizeof(struct vfio_iova_range));
SAME_FIELD(vf_vfio_iova_range, vfio_iova_range, end);

SAME(VF_VFIO_DEVICE_FLAGS_RESET, VFIO_DEVICE_FLAGS_RESET);
SAME(VF_VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_PCI);
SAME(VF_VFIO_DEVICE_FLAGS_CAPS, VFIO_DEVICE_FLAGS_CAPS);
SAME_FIELD(vf_vfio_device_info, vfio_device_info, num_regions);
SAME_FIELD(vf_vfio_device_info, vfio_device_info, num_irqs);
SAME(VF_VFIO_REGION_FLAG_READ, VFIO_REGION_INFO_FLAG_READ);
SAME(VF_VFIO_REGION_FLAG_WRITE, VFIO_REGION_INFO_FLAG_WRITE);
SAME(VF_VFIO_REGION_FLAG_MMAP, VFIO_REGION_INFO_FLAG_MMAP);
SAME(VF_VFIO_REGION_FLAG_CAPS, VFIO_REGION_INFO_FLAG_CAPS);
SAME(sizeof(struct vf_vfio_region_info), sizeof(struct vfio_region_info));
SAME_FIELD(vf_vfio_region_info, vfio_region_info, index);
SAME_FIELD(vf_vfio_region_info, vfio_region_info, cap_offset);
SAME_FIELD(vf_vfio_region_info, vfio_region_info, size);
SAME_FIELD(vf_vfio_region_info, vfio_region_info, offset);
SAME(VF_VFIO_REGION_CAP_SPARSE_MMAP, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
SAME(VF_VFIO_REGION_CAP_TYPE, VFIO_REGION_INFO_CAP_TYPE);
SAME(VF_VFIO_REGION_CAP_MSIX_MAPPABLE, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
SAME(sizeof(struct vf_vfio_cap_header), sizeof(struct vfio_info_cap_header));
SAME_FIELD(vf_vfio_cap_header, vfio_info_cap_header, next);
SAME(sizeof(struct vf_vfio_sparse_area), sizeof(struct vfio_region_sparse_mmap_area));
SAME(sizeof(struct vf_vfio_sparse_mmap),
     offsetof(struct vfio_region_info_cap_sparse_mmap, areas));
SAME_FIELD(vf_vfio_sparse_mmap, vfio_region_info_cap_sparse_mmap, nr_areas);
SAME(VF_VFIO_PCI_BAR0_REGION, VFIO_PCI_BAR0_REGION_INDEX);
SAME(VF_VFIO_PCI_BAR5_REGION, VFIO_PCI_BAR5_REGION_INDEX);
SAME(VF_VFIO_PCI_ROM_REGION, VFIO_PCI_ROM_REGION_INDEX);
SAME(VF_VFIO_PCI_CONFIG_REGION, VFIO_PCI_CONFIG_REGION_INDEX);
SAME(VF_VFIO_PCI_VGA_REGION, VFIO_PCI_VGA_REGION_INDEX);
SAME(VF_VFIO_PCI_REGIONS, VFIO_PCI_NUM_REGIONS);

SAME(sizeof(struct vf_vfio_irq_info), sizeof(struct vfio_irq_info));
SAME_FIELD(vf_vfio_irq_info, vfio_irq_info, count);
SAME(VF_VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_EVENTFD);
SAME(VF_VFIO_IRQ_INFO_MASKABLE, VFIO_IRQ_INFO_MASKABLE);
SAME(VF_VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_AUTOMASKED);
SAME(VF_VFIO_IRQ_INFO_NORESIZE, VFIO_IRQ_INFO_NORESIZE);
SAME(VF_VFIO_PCI_INTX_IRQ, VFIO_PCI_INTX_IRQ_INDEX);
SAME(VF_VFIO_PCI_MSI_IRQ, VFIO_PCI_MSI_IRQ_INDEX);
SAME(VF_VFIO_PCI_MSIX_IRQ, VFIO_PCI_MSIX_IRQ_INDEX);
SAME(VF_VFIO_PCI_ERR_IRQ, VFIO_PCI_ERR_IRQ_INDEX);
SAME(VF_VFIO_PCI_REQ_IRQ, VFIO_PCI_REQ_IRQ_INDEX);
SAME(VF_VFIO_PCI_IRQS, VFIO_PCI_NUM_IRQS);
SAME(VF_VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_NONE);
SAME(VF_VFIO_IRQ_SET_DATA_BOOL, VFIO_IRQ_SET_DATA_BOOL);
SAME(VF_VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_EVENTFD);
SAME(VF_VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_MASK);
SAME(VF_VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_ACTION_UNMASK);
SAME(VF_VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_TRIGGER);
SAME(VF_VFIO_IRQ_SET_DATA_MASK, VFIO_IRQ_SET_DATA_TYPE_MASK);
SAME(VF_VFIO_IRQ_SET_ACTION_TYPE_MASK, VFIO_IRQ_SET_ACTION_TYPE_MASK);
SAME(sizeof(struct vf_vfio_irq_set), offsetof(struct vfio_irq_set, data));

SAME(VF_VFIO_FEATURE_MASK, VFIO_DEVICE_FEATURE_MASK);
SAME(VF_VFIO_FEATURE_GET, VFIO_DEVICE_FEATURE_GET);
SAME(VF_VFIO_FEATURE_SET, VFIO_DEVICE_FEATURE_SET);
SAME(VF_VFIO_FEATURE_PROBE, VFIO_DEVICE_FEATURE_PROBE);
SAME(sizeof(struct vf_vfio_device_feature), offsetof(struct vfio_device_feature, data));

#ifdef VFIO_DEVICE_FEATURE_MIGRATION	/* 5.18 */
SAME(VF_VFIO_FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_MIGRATION);
SAME(VF_VFIO_FEATURE_MIG_DEVICE_STATE, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
SAME(VF_VFIO_MIGRATION_STOP_COPY, VFIO_MIGRATION_STOP_COPY);
SAME(VF_VFIO_MIGRATION_P2P, VFIO_MIGRATION_P2P);
SAME(VF_VFIO_STATE_ERROR, VFIO_DEVICE_STATE_ERROR);
SAME(VF_VFIO_STATE_STOP, VFIO_DEVICE_STATE_STOP);
SAME(VF_VFIO_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING);
SAME(VF_VFIO_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP_COPY);
SAME(VF_VFIO_STATE_RESUMING, VFIO_DEVICE_STATE_RESUMING);
SAME(VF_VFIO_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_RUNNING_P2P);
SAME(sizeof(struct vf_vfio_feature_mig_state), sizeof(struct vfio_device_feature_mig_state));
SAME_FIELD(vf_vfio_feature_mig_state, vfio_device_feature_mig_state, data_fd);
#endif
#ifdef VFIO_DEVICE_FEATURE_DMA_LOGGING_START	/* 6.1 */
SAME(VF_VFIO_FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_DMA_LOGGING_START);
SAME(VF_VFIO_FEATURE_DMA_LOGGING_STOP, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP);
SAME(VF_VFIO_FEATURE_DMA_LOGGING_REPORT, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT);
SAME(sizeof(struct vf_vfio_dma_log_control), sizeof(struct vfio_device_feature_dma_logging_control));
SAME_FIELD(vf_vfio_dma_log_control, vfio_device_feature_dma_logging_control, ranges);
SAME(sizeof(struct vf_vfio_dma_log_range), sizeof(struct vfio_device_feature_dma_logging_range));
SAME(sizeof(struct vf_vfio_dma_log_report), sizeof(struct vfio_device_feature_dma_logging_report));
SAME_FIELD(vf_vfio_dma_log_report, vfio_device_feature_dma_logging_report, bitmap);
#endif
#ifdef VFIO_MIG_GET_PRECOPY_INFO	/* 6.2 */
SAME(VF_VFIO_MIG_GET_PRECOPY_INFO, VFIO_MIG_GET_PRECOPY_INFO);
SAME(VF_VFIO_FEATURE_MIG_DATA_SIZE, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE);
SAME(VF_VFIO_MIGRATION_PRE_COPY, VFIO_MIGRATION_PRE_COPY);
SAME(VF_VFIO_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY);
SAME(VF_VFIO_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_PRE_COPY_P2P);
SAME(sizeof(struct vf_vfio_precopy_info), sizeof(struct vfio_precopy_info));
SAME_FIELD(vf_vfio_precopy_info, vfio_precopy_info, dirty_bytes);
#endif
#ifdef VFIO_DEVICE_BIND_IOMMUFD		/* 6.6 */
SAME(VF_VFIO_DEVICE_BIND_IOMMUFD, VFIO_DEVICE_BIND_IOMMUFD);
SAME(VF_VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO_DEVICE_ATTACH_IOMMUFD_PT);
SAME(VF_VFIO_DEVICE_DETACH_IOMMUFD_PT, VFIO_DEVICE_DETACH_IOMMUFD_PT);
SAME(sizeof(struct vf_vfio_bind_iommufd), sizeof(struct vfio_device_bind_iommufd));
SAME_FIELD(vf_vfio_bind_iommufd, vfio_device_bind_iommufd, out_devid);
SAME_FIELD(vf_vfio_attach_iommufd_pt, vfio_device_attach_iommufd_pt, pt_id);
#endif

#ifdef IOMMU_IOAS_ALLOC			/* 6.2 */
SAME(VF_IOMMU_DESTROY, IOMMU_DESTROY);
SAME(sizeof(struct vf_iommu_destroy), sizeof(struct iommu_destroy));
SAME(VF_IOMMU_IOAS_ALLOC, IOMMU_IOAS_ALLOC);
SAME(sizeof(struct vf_iommu_ioas_alloc), sizeof(struct iommu_ioas_alloc));
SAME_FIELD(vf_iommu_ioas_alloc, iommu_ioas_alloc, out_ioas_id);
SAME(VF_IOMMU_IOAS_IOVA_RANGES, IOMMU_IOAS_IOVA_RANGES);
SAME(sizeof(struct vf_iommu_ioas_iova_ranges), sizeof(struct iommu_ioas_iova_ranges));
SAME_FIELD(vf_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges, num_iovas);
SAME_FIELD(vf_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges, allowed_iovas);
SAME_FIELD(vf_iommu_iova_range, iommu_iova_range, last);
SAME(VF_IOMMU_IOAS_MAP, IOMMU_IOAS_MAP);
SAME(VF_IOMMU_IOAS_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_FIXED_IOVA);
SAME(VF_IOMMU_IOAS_MAP_WRITEABLE, IOMMU_IOAS_MAP_WRITEABLE);
SAME(VF_IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_READABLE);
SAME(sizeof(struct vf_iommu_ioas_map), sizeof(struct iommu_ioas_map));
SAME_FIELD(vf_iommu_ioas_map, iommu_ioas_map, user_va);
SAME_FIELD(vf_iommu_ioas_map, iommu_ioas_map, iova);
SAME(VF_IOMMU_IOAS_UNMAP, IOMMU_IOAS_UNMAP);
SAME(sizeof(struct vf_iommu_ioas_unmap), sizeof(struct iommu_ioas_unmap));
SAME_FIELD(vf_iommu_ioas_unmap, iommu_ioas_unmap, length);
#endif
#ifdef IOMMU_HWPT_ALLOC			/* 6.6, 6.7 */
SAME(VF_IOMMU_HWPT_ALLOC, IOMMU_HWPT_ALLOC);
SAME_FIELD(vf_iommu_hwpt_alloc, iommu_hwpt_alloc, out_hwpt_id);
SAME(VF_IOMMU_GET_HW_INFO, IOMMU_GET_HW_INFO);
SAME_FIELD(vf_iommu_hw_info, iommu_hw_info, data_uptr);
#endif
#ifdef IOMMU_HWPT_GET_DIRTY_BITMAP	/* 6.7 */
SAME(VF_IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
SAME_FIELD(vf_iommu_hwpt_alloc, iommu_hwpt_alloc, data_uptr);
SAME_FIELD(vf_iommu_hw_info, iommu_hw_info, out_capabilities);
SAME(VF_IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_DIRTY_TRACKING);
SAME(VF_IOMMU_HWPT_SET_DIRTY_TRACKING, IOMMU_HWPT_SET_DIRTY_TRACKING);
SAME(sizeof(struct vf_iommu_hwpt_set_dirty_tracking),
     sizeof(struct iommu_hwpt_set_dirty_tracking));
SAME_FIELD(vf_iommu_hwpt_set_dirty_tracking, iommu_hwpt_set_dirty_tracking, hwpt_id);
SAME(VF_IOMMU_HWPT_DIRTY_TRACKING_ENABLE, IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
SAME(VF_IOMMU_HWPT_GET_DIRTY_BITMAP, IOMMU_HWPT_GET_DIRTY_BITMAP);
SAME(sizeof(struct vf_iommu_hwpt_get_dirty_bitmap), sizeof(struct iommu_hwpt_get_dirty_bitmap));
SAME_FIELD(vf_iommu_hwpt_get_dirty_bitmap, iommu_hwpt_get_dirty_bitmap, page_size);
SAME_FIELD(vf_iommu_hwpt_get_dirty_bitmap, iommu_hwpt_get_dirty_bitmap, data);
#endif

/* The newer ones, which the host may not have: the numbers as the kernel gave them out. */
SAME(VF_VFIO_FEATURE_MIG_DATA_SIZE, 9);
SAME(VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2, 12);
SAME(VF_VFIO_STATE_PRE_COPY_P2P, 7);
SAME(sizeof(struct vf_vfio_precopy_info), 24);
SAME(sizeof(struct vf_vfio_feature_mig_data_size), 8);
SAME(sizeof(struct vf_vfio_bind_iommufd), 16);
SAME(sizeof(struct vf_vfio_attach_iommufd_pt), 12);
SAME(VF_IOMMU_HWPT_GET_DIRTY_BITMAP, 0x3b8c);
SAME(sizeof(struct vf_iommu_ioas_map), 40);
SAME(sizeof(struct vf_iommu_ioas_unmap), 24);
SAME(sizeof(struct vf_iommu_hwpt_alloc), 40);
SAME(sizeof(struct vf_iommu_hw_info), 40);
SAME(sizeof(struct vf_iommu_hwpt_get_dirty_bitmap), 48);

static void layouts_agree(void **state)
{
	(void) state;
	/* All of it is decided at compile time; this makes the program say that it was. */
	assert_int_equal(VF_VFIO_DEVICE_FEATURE, VFIO_DEVICE_FEATURE);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(layouts_agree) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
