/* SPDX-License-Identifier: MIT */
/*
 * vferry_iommufd.h - the numbers and layouts of iommufd (/dev/iommu), in our own definitions, as
 * vferry_vfio.h has those of VFIO: kernel 6.2 unless noted. A unit test compares them with the build
 * host's <linux/iommufd.h> where there is one.
 *
 * Every struct begins with its size; the kernel takes smaller and larger ones.
 */
#ifndef VFERRY_UAPI_IOMMUFD_H
#define VFERRY_UAPI_IOMMUFD_H

#include <stdint.h>

#define VF_IOMMU_IO(n)			((0x3bul << 8) | (n))
#define VF_IOMMU_DESTROY		VF_IOMMU_IO(0x80)
#define VF_IOMMU_IOAS_ALLOC		VF_IOMMU_IO(0x81)
#define VF_IOMMU_IOAS_IOVA_RANGES	VF_IOMMU_IO(0x84)
#define VF_IOMMU_IOAS_MAP		VF_IOMMU_IO(0x85)
#define VF_IOMMU_IOAS_UNMAP		VF_IOMMU_IO(0x86)
#define VF_IOMMU_HWPT_ALLOC		VF_IOMMU_IO(0x89)	/* 6.7 */
#define VF_IOMMU_GET_HW_INFO		VF_IOMMU_IO(0x8a)	/* 6.6; out_capabilities 6.7 */
#define VF_IOMMU_HWPT_SET_DIRTY_TRACKING VF_IOMMU_IO(0x8b)	/* 6.7 */
#define VF_IOMMU_HWPT_GET_DIRTY_BITMAP	VF_IOMMU_IO(0x8c)	/* 6.7 */

struct vf_iommu_destroy {
	uint32_t size;
	uint32_t id;
};

struct vf_iommu_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};

struct vf_iommu_iova_range {
	uint64_t start;
	uint64_t last;
};

struct vf_iommu_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;		/* in: room; out: how many there are (-EMSGSIZE: more) */
	uint32_t reserved;
	uint64_t allowed_iovas;		/* address of struct vf_iommu_iova_range[num_iovas] */
	uint64_t out_iova_alignment;
};

#define VF_IOMMU_IOAS_MAP_FIXED_IOVA	(1u << 0)
#define VF_IOMMU_IOAS_MAP_WRITEABLE	(1u << 1)
#define VF_IOMMU_IOAS_MAP_READABLE	(1u << 2)

struct vf_iommu_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};

struct vf_iommu_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length;		/* out: how much was unmapped */
};

#define VF_IOMMU_HWPT_ALLOC_DIRTY_TRACKING (1u << 1)

struct vf_iommu_hwpt_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pt_id;			/* the IOAS */
	uint32_t out_hwpt_id;
	uint32_t reserved;
	uint32_t data_type;		/* 0 = none */
	uint32_t data_len;
	uint64_t data_uptr;
};

#define VF_IOMMU_HW_CAP_DIRTY_TRACKING	(1ull << 0)

struct vf_iommu_hw_info {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t data_len;
	uint64_t data_uptr;
	uint32_t out_data_type;
	uint32_t reserved;
	uint64_t out_capabilities;
};

#define VF_IOMMU_HWPT_DIRTY_TRACKING_ENABLE (1u << 0)

struct vf_iommu_hwpt_set_dirty_tracking {
	uint32_t size;
	uint32_t flags;
	uint32_t hwpt_id;
	uint32_t reserved;
};

/* Reads and clears. The walk ends at the first hole of the range, without an error. */
struct vf_iommu_hwpt_get_dirty_bitmap {
	uint32_t size;
	uint32_t hwpt_id;
	uint32_t flags;
	uint32_t reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t data;			/* address of the bitmap, zeroed by the caller */
};

#endif
