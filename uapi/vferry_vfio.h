/* SPDX-License-Identifier: MIT */
/*
 * vferry_vfio.h - the numbers and layouts of VFIO that kernel VFIO and vfio-user share, in our own
 * definitions: a build host's headers may be years older than the kernel the program meets. Each
 * group names the kernel release that it came in. Never include <linux/vfio.h> from here; a unit
 * test compares the two wherever the host's header knows a thing.
 *
 * All structs are the in-memory layout of the ioctl (and of the vfio-user payload, which is the
 * same), host byte order, no implicit padding.
 */
#ifndef VFERRY_UAPI_VFIO_H
#define VFERRY_UAPI_VFIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- ioctl numbers: _IO(';', n). 3.6 unless noted; cdev 6.6. Encoded here without <linux/ioctl.h>:
 * _IO() has neither direction nor size, so the number is type and sequence on every architecture
 * that KVM and VFIO share. */
#define VF_VFIO_IO(n)			((0x3bul << 8) | (n))
#define VF_VFIO_GET_API_VERSION		VF_VFIO_IO(100)
#define VF_VFIO_CHECK_EXTENSION		VF_VFIO_IO(101)
#define VF_VFIO_SET_IOMMU		VF_VFIO_IO(102)
#define VF_VFIO_GROUP_GET_STATUS	VF_VFIO_IO(103)
#define VF_VFIO_GROUP_SET_CONTAINER	VF_VFIO_IO(104)
#define VF_VFIO_GROUP_UNSET_CONTAINER	VF_VFIO_IO(105)
#define VF_VFIO_GROUP_GET_DEVICE_FD	VF_VFIO_IO(106)
#define VF_VFIO_DEVICE_GET_INFO		VF_VFIO_IO(107)
#define VF_VFIO_DEVICE_GET_REGION_INFO	VF_VFIO_IO(108)
#define VF_VFIO_DEVICE_GET_IRQ_INFO	VF_VFIO_IO(109)
#define VF_VFIO_DEVICE_SET_IRQS		VF_VFIO_IO(110)
#define VF_VFIO_DEVICE_RESET		VF_VFIO_IO(111)
#define VF_VFIO_IOMMU_GET_INFO		VF_VFIO_IO(112)	/* on a container */
#define VF_VFIO_IOMMU_MAP_DMA		VF_VFIO_IO(113)
#define VF_VFIO_IOMMU_UNMAP_DMA		VF_VFIO_IO(114)
#define VF_VFIO_IOMMU_DIRTY_PAGES	VF_VFIO_IO(117)	/* on a container, 5.8 */
#define VF_VFIO_DEVICE_FEATURE		VF_VFIO_IO(117)	/* on a device, 5.7 */
#define VF_VFIO_DEVICE_BIND_IOMMUFD	VF_VFIO_IO(118)	/* cdev, 6.6 */
#define VF_VFIO_DEVICE_ATTACH_IOMMUFD_PT VF_VFIO_IO(119)
#define VF_VFIO_DEVICE_DETACH_IOMMUFD_PT VF_VFIO_IO(120)
#define VF_VFIO_MIG_GET_PRECOPY_INFO	VF_VFIO_IO(121)	/* on a migration data fd, 6.2 */

/* Capability chains of information structs: 4.6. */
struct vf_vfio_cap_header {
	uint16_t id;
	uint16_t version;
	uint32_t next;		/* from the start of the info struct, 0 = last */
};

/* --- group and container: 3.6; what is told of the IOMMU 3.6, its capability chain 5.4 --- */
#define VF_VFIO_API_VERSION		0
#define VF_VFIO_TYPE1V2_IOMMU		3u	/* CHECK_EXTENSION, SET_IOMMU; 3.18 */

#define VF_VFIO_GROUP_FLAGS_VIABLE	(1u << 0)
#define VF_VFIO_GROUP_FLAGS_CONTAINER_SET (1u << 1)

struct vf_vfio_group_status {
	uint32_t argsz;
	uint32_t flags;
};

#define VF_VFIO_DMA_MAP_FLAG_READ	(1u << 0)
#define VF_VFIO_DMA_MAP_FLAG_WRITE	(1u << 1)

struct vf_vfio_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t vaddr;
	uint64_t iova;
	uint64_t size;
};

struct vf_vfio_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t iova;
	uint64_t size;		/* out: how much was unmapped */
};

#define VF_VFIO_IOMMU_INFO_CAPS		(1u << 1)
#define VF_VFIO_IOMMU_CAP_IOVA_RANGE	1u

struct vf_vfio_iommu_info {
	uint32_t argsz;
	uint32_t flags;
	uint64_t iova_pgsizes;
	uint32_t cap_offset;	/* from the start of this struct */
	uint32_t reserved;
};

struct vf_vfio_iova_range {
	uint64_t start;
	uint64_t end;		/* the last address */
};

struct vf_vfio_iova_ranges {
	struct vf_vfio_cap_header header;
	uint32_t nr_iovas;
	uint32_t reserved;
	/* struct vf_vfio_iova_range ranges[nr_iovas] */
};

/* --- cdev: 6.6 --- */
struct vf_vfio_bind_iommufd {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct vf_vfio_attach_iommufd_pt {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id;		/* of an IOAS or a HWPT */
};

/* --- device, region and interrupt information: 3.6; capability chains 4.6 --- */
#define VF_VFIO_DEVICE_FLAGS_RESET	(1u << 0)
#define VF_VFIO_DEVICE_FLAGS_PCI	(1u << 1)
#define VF_VFIO_DEVICE_FLAGS_CAPS	(1u << 7)

struct vf_vfio_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};

#define VF_VFIO_REGION_FLAG_READ	(1u << 0)
#define VF_VFIO_REGION_FLAG_WRITE	(1u << 1)
#define VF_VFIO_REGION_FLAG_MMAP	(1u << 2)
#define VF_VFIO_REGION_FLAG_CAPS	(1u << 3)

struct vf_vfio_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset;	/* from the start of this struct, 0 = none */
	uint64_t size;
	uint64_t offset;	/* of the region in the descriptor that is mapped */
};

#define VF_VFIO_REGION_CAP_SPARSE_MMAP	1u
#define VF_VFIO_REGION_CAP_TYPE		2u
#define VF_VFIO_REGION_CAP_MSIX_MAPPABLE 3u

struct vf_vfio_sparse_area {
	uint64_t offset;
	uint64_t size;
};

struct vf_vfio_sparse_mmap {
	struct vf_vfio_cap_header header;
	uint32_t nr_areas;
	uint32_t reserved;
	/* struct vf_vfio_sparse_area areas[nr_areas] */
};

/* Region indexes of a PCI function. */
#define VF_VFIO_PCI_BAR0_REGION		0u
#define VF_VFIO_PCI_BAR5_REGION		5u
#define VF_VFIO_PCI_ROM_REGION		6u
#define VF_VFIO_PCI_CONFIG_REGION	7u
#define VF_VFIO_PCI_VGA_REGION		8u
#define VF_VFIO_PCI_REGIONS		9u

#define VF_VFIO_IRQ_INFO_EVENTFD	(1u << 0)
#define VF_VFIO_IRQ_INFO_MASKABLE	(1u << 1)
#define VF_VFIO_IRQ_INFO_AUTOMASKED	(1u << 2)
#define VF_VFIO_IRQ_INFO_NORESIZE	(1u << 3)

struct vf_vfio_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};

/* Interrupt indexes of a PCI function. */
#define VF_VFIO_PCI_INTX_IRQ		0u
#define VF_VFIO_PCI_MSI_IRQ		1u
#define VF_VFIO_PCI_MSIX_IRQ		2u
#define VF_VFIO_PCI_ERR_IRQ		3u
#define VF_VFIO_PCI_REQ_IRQ		4u
#define VF_VFIO_PCI_IRQS		5u

#define VF_VFIO_IRQ_SET_DATA_NONE	(1u << 0)
#define VF_VFIO_IRQ_SET_DATA_BOOL	(1u << 1)
#define VF_VFIO_IRQ_SET_DATA_EVENTFD	(1u << 2)
#define VF_VFIO_IRQ_SET_ACTION_MASK	(1u << 3)
#define VF_VFIO_IRQ_SET_ACTION_UNMASK	(1u << 4)
#define VF_VFIO_IRQ_SET_ACTION_TRIGGER	(1u << 5)
#define VF_VFIO_IRQ_SET_DATA_MASK	0x07u
#define VF_VFIO_IRQ_SET_ACTION_TYPE_MASK 0x38u

struct vf_vfio_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
	/* data: nothing, uint8_t[count] or int32_t fd[count] */
};

/* --- DEVICE_FEATURE: 5.7 --- */
#define VF_VFIO_FEATURE_MASK		0xffffu
#define VF_VFIO_FEATURE_GET		(1u << 16)
#define VF_VFIO_FEATURE_SET		(1u << 17)
#define VF_VFIO_FEATURE_PROBE		(1u << 18)

struct vf_vfio_device_feature {
	uint32_t argsz;		/* this header and the data */
	uint32_t flags;
	/* data */
};

#define VF_VFIO_FEATURE_MIGRATION		1u	/* GET; v2 protocol, 5.18 */
#define VF_VFIO_FEATURE_MIG_DEVICE_STATE	2u	/* GET, SET; 5.18 */
#define VF_VFIO_FEATURE_DMA_LOGGING_START	6u	/* SET; 6.1 */
#define VF_VFIO_FEATURE_DMA_LOGGING_STOP	7u	/* SET; 6.1 */
#define VF_VFIO_FEATURE_DMA_LOGGING_REPORT	8u	/* GET; 6.1 */
#define VF_VFIO_FEATURE_MIG_DATA_SIZE		9u	/* GET; 6.2 */
#define VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2	12u	/* SET, no data; 7.1 */

#define VF_VFIO_MIGRATION_STOP_COPY	(1ull << 0)
#define VF_VFIO_MIGRATION_P2P		(1ull << 1)
#define VF_VFIO_MIGRATION_PRE_COPY	(1ull << 2)	/* 6.2 */

struct vf_vfio_feature_migration {
	uint64_t flags;
};

enum vf_vfio_state {
	VF_VFIO_STATE_ERROR = 0,
	VF_VFIO_STATE_STOP = 1,
	VF_VFIO_STATE_RUNNING = 2,
	VF_VFIO_STATE_STOP_COPY = 3,
	VF_VFIO_STATE_RESUMING = 4,
	VF_VFIO_STATE_RUNNING_P2P = 5,
	VF_VFIO_STATE_PRE_COPY = 6,		/* 6.2 */
	VF_VFIO_STATE_PRE_COPY_P2P = 7,		/* 6.2 */
	VF_VFIO_STATE__COUNT = 8,
};

static inline bool vf_vfio_state_is_precopy(uint32_t state)
{
	return state == VF_VFIO_STATE_PRE_COPY || state == VF_VFIO_STATE_PRE_COPY_P2P;
}

/* As people write them; NULL = there is no such state. */
static inline const char *vf_vfio_state_name(uint32_t state)
{
	static const char *const names[VF_VFIO_STATE__COUNT] = {
		[VF_VFIO_STATE_ERROR] = "ERROR",
		[VF_VFIO_STATE_STOP] = "STOP",
		[VF_VFIO_STATE_RUNNING] = "RUNNING",
		[VF_VFIO_STATE_STOP_COPY] = "STOP_COPY",
		[VF_VFIO_STATE_RESUMING] = "RESUMING",
		[VF_VFIO_STATE_RUNNING_P2P] = "RUNNING_P2P",
		[VF_VFIO_STATE_PRE_COPY] = "PRE_COPY",
		[VF_VFIO_STATE_PRE_COPY_P2P] = "PRE_COPY_P2P",
	};

	return state < VF_VFIO_STATE__COUNT ? names[state] : NULL;
}

struct vf_vfio_feature_mig_state {
	uint32_t device_state;
	int32_t data_fd;	/* kernel VFIO only; -1 = no new session */
};

struct vf_vfio_feature_mig_data_size {
	uint64_t stop_copy_length;
};

/* Argument of VF_VFIO_MIG_GET_PRECOPY_INFO. Pass flags = 0. Before 7.1, or without
 * MIG_PRECOPY_INFOV2, flags come back as they were. */
#define VF_VFIO_PRECOPY_INFO_REINIT	(1u << 0)	/* 7.1: new initial data has appeared */

struct vf_vfio_precopy_info {
	uint32_t argsz;
	uint32_t flags;
	uint64_t initial_bytes;
	uint64_t dirty_bytes;
};

struct vf_vfio_dma_log_range {
	uint64_t iova;
	uint64_t length;
};

struct vf_vfio_dma_log_control {
	uint64_t page_size;	/* in: a hint; out: what the device tracks in */
	uint32_t num_ranges;
	uint32_t reserved;
	uint64_t ranges;	/* kernel: address of num_ranges vf_vfio_dma_log_range */
};

struct vf_vfio_dma_log_report {
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t bitmap;	/* kernel: address of the bitmap, zeroed by the caller */
};

#endif
