/* SPDX-License-Identifier: MIT */
/*
 * kernel_space.h - struct vferry_dma_space: the one address space that the kernel VFIO devices of a
 * machine share, and how a device gets into it.
 *
 *   kernel_space.c   what is mapped, which kind it is, life cycle; the public functions
 *   kernel_group.c   the old way: groups in a container with a type1v2 IOMMU
 *   kernel_cdev.c    the new way: character devices bound to iommufd, page tables that can log
 *
 * Model. The first device decides the kind. A mapping is the machine's, not a device's: each device
 * asks for all of RAM, so the same mapping asked for again is counted and made once. The BAR of a peer
 * goes in likewise. When the last device leaves, the space is as new.
 *
 * Threads: any; `lock` covers all of it and is held over the calls, pinning of all RAM included.
 */
#ifndef VF_VFIO_KERNEL_SPACE_H
#define VF_VFIO_KERNEL_SPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <vferry/device.h>

#include "vfio/kernel_calls.h"
#include "vfio/kernel_find.h"

#define VF_SPACE_GROUPS_MAX 64u
#define VF_SPACE_TABLES_MAX 64u
#define VF_SPACE_MAPPINGS_MAX 65535u	/* of type1, where a module parameter does not say otherwise */
#define VF_SPACE_RANGES_MAX 1024u	/* of addresses that an IOMMU can map */

struct vf_space_mapping {
	uint64_t iova, bytes;
	void *host;
	bool writable;
	uint32_t users;
};

struct vf_space_group {
	int number;
	int fd;
	uint32_t users;
	bool told_kvm;
};

/* A page table of iommufd (HWPT) with dirty tracking. */
struct vf_space_table {
	uint32_t id;
	uint32_t users;		/* devices that are attached */
	uint32_t logging;	/* of these, that want to know what was written */
};

struct vf_space_range {
	uint64_t first, last;
};

/* What one device has of a space. */
struct vf_space_seat {
	int fd;			/* the device; owned */
	struct vf_space_group *group;
	struct vf_space_table *table;	/* NULL = the IOMMU cannot tell what was written */
	bool logging;			/* it is one of those that the table logs for */
	bool told_kvm;
};

#define VF_SPACE_SEAT_INIT { .fd = -1 }

struct vferry_dma_space;

struct vf_space_ops {
	const char *name;	/* of the backend */
	bool maps_bars;		/* BARs of other devices can be mapped into it */
	/* The device, open and able to do DMA. Undoes what it did when it fails. */
	int (*enter)(struct vferry_dma_space *space, const struct vf_kernel_target *target,
		     struct vf_space_seat *seat, struct vferry_error *err);
	void (*leave)(struct vferry_dma_space *space, struct vf_space_seat *seat);
	int (*map)(struct vferry_dma_space *space, const struct vf_space_mapping *mapping);
	int (*unmap)(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes);
	/* Addresses that can be mapped: how many were written to @ranges; -errno. */
	int (*get_ranges)(struct vferry_dma_space *space, struct vf_space_range *ranges,
			  uint32_t max);
};

extern const struct vf_space_ops vf_space_group_ops, vf_space_cdev_ops;

struct vferry_dma_space {
	struct vf_kernel kernel;
	int kvm_vfio;		/* borrowed, -1 = none */
	int given_iommufd;	/* borrowed, -1 = none */

	pthread_mutex_t lock;
	const struct vf_space_ops *ops;	/* NULL = no device yet */
	uint32_t devices;
	int fd;			/* the container, or iommufd; owned, -1 = none */
	uint32_t ioas;
	struct vf_space_group groups[VF_SPACE_GROUPS_MAX];	/* free: no users */
	struct vf_space_table tables[VF_SPACE_TABLES_MAX];
	struct vf_space_mapping *mappings;	/* owned */
	uint32_t mapping_count;
};

int vf_space_new(const struct vf_kernel *kernel, const struct vferry_dma_space_options *options,
		 struct vferry_dma_space **ret_space, struct vferry_error *err);

int vf_space_enter(struct vferry_dma_space *space, const struct vf_kernel_target *target,
		   struct vf_space_seat *ret_seat, struct vferry_error *err);
void vf_space_leave(struct vferry_dma_space *space, struct vf_space_seat *seat);

int vf_space_map(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes, bool writable,
		 void *host, struct vferry_error *err);
int vf_space_unmap(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes,
		   struct vferry_error *err);

/* What the IOMMU saw being written, where the seat has a table. Devices that share one share its bits:
 * whoever asks first has them, so all of a machine must go into one map. Whoever leaves stops its log. */
int vf_space_log_start(struct vferry_dma_space *space, struct vf_space_seat *seat);
int vf_space_log_stop(struct vferry_dma_space *space, struct vf_space_seat *seat);
int vf_space_log_report(struct vferry_dma_space *space, struct vf_space_seat *seat, uint64_t iova,
			uint64_t bytes, uint64_t page_bytes, uint64_t *words);

/* Tells KVM's VFIO device of a group or device, or that it goes. 0 also without KVM. */
int vf_space_tell_kvm(struct vferry_dma_space *space, int fd, bool add);

#endif
