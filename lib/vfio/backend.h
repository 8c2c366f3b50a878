/* SPDX-License-Identifier: MIT */
/*
 * backend.h - what a passed through function is reached by: vfio-user (backend_vfio_user.c), or
 * kernel VFIO, by group and container or by cdev and iommufd (backend_kernel.c).
 *
 * Model. A backend is one open function. Its calls are VFIO's, one to one, with VFIO's numbers
 * (uapi/vferry_vfio.h) and negative errnos; it holds no policy: device.c and migration.c decide what
 * is called when and what a failure means. Migration data is a stream, whatever carries it: a file
 * descriptor of the kernel's, or messages.
 *
 * Threads: all calls may come from several threads at once, except that each of data_read and
 * data_write is used by one thread at a time. close() comes last and alone.
 */
#ifndef VF_VFIO_BACKEND_H
#define VF_VFIO_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vferry/device.h>
#include <vferry/error.h>
#include "vferry_vfio.h"

struct vf_backend;

#define VF_BACKEND_AREAS_MAX 64u

struct vf_backend_region {
	uint32_t flags;		/* VF_VFIO_REGION_FLAG_* */
	uint64_t size;		/* 0 = not there */
	int fd;			/* to map the areas from; owned by whoever asked, -1 = none */
	bool sealed;		/* fd cannot shrink, so touching a mapping cannot raise SIGBUS */
	uint64_t fd_offset;	/* of the region in fd */
	uint32_t area_count;
	struct vf_vfio_sparse_area *areas;	/* owned likewise; sorted, disjoint, inside */
};

#define VF_BACKEND_IOEVENTFDS_MAX 64u	/* of one region */

/* Where DMA of a device that has no memory of ours goes; called on threads of the backend. */
struct vf_backend_dma_ops {
	int (*read)(void *user, uint64_t iova, void *to, size_t len);
	int (*write)(void *user, uint64_t iova, const void *from, size_t len);
};

struct vf_backend_ops {
	const char *name;	/* "vfio-user" */
	void (*close)(struct vf_backend *backend);
	int (*get_info)(struct vf_backend *backend, struct vf_vfio_device_info *ret_info,
			struct vferry_error *err);
	int (*get_region)(struct vf_backend *backend, uint32_t index,
			  struct vf_backend_region *ret_region, struct vferry_error *err);
	int (*get_irq_info)(struct vf_backend *backend, uint32_t index,
			    struct vf_vfio_irq_info *ret_info, struct vferry_error *err);
	int (*region_read)(struct vf_backend *backend, uint32_t region, uint64_t offset, void *to,
			   size_t len, struct vferry_error *err);
	int (*region_write)(struct vf_backend *backend, uint32_t region, uint64_t offset,
			    const void *from, size_t len, struct vferry_error *err);
	/* Of a BAR's region, all of each write in it; the eventfds are owned by whoever asked. @list has
	 * room for VF_BACKEND_IOEVENTFDS_MAX. NULL: there are none. */
	int (*get_ioeventfds)(struct vf_backend *backend, uint32_t region, uint64_t region_bytes,
			      struct vferry_bar_ioeventfd *list, uint32_t *ret_count,
			      struct vferry_error *err);
	/* As VFIO_DEVICE_SET_IRQS: @action VF_VFIO_IRQ_SET_ACTION_*; @fds NULL = DATA_NONE;
	 * (TRIGGER, 0, 0, NULL) disables the index. */
	int (*set_irqs)(struct vf_backend *backend, uint32_t index, uint32_t action, uint32_t start,
			uint32_t count, const int *fds, struct vferry_error *err);
	/* @host: the same memory as fd + fd_offset, for backends that map by address; may be NULL
	 * where fd is of a device's region. */
	int (*dma_map)(struct vf_backend *backend, uint64_t iova, uint64_t bytes, bool writable,
		       int fd, uint64_t fd_offset, void *host, struct vferry_error *err);
	int (*dma_unmap)(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
			 struct vferry_error *err);
	int (*reset)(struct vf_backend *backend, struct vferry_error *err);

	/* Migration. -ENOTTY: it cannot. */
	int (*get_migration)(struct vf_backend *backend, uint64_t *ret_flags,
			     struct vferry_error *err);
	int (*get_state)(struct vf_backend *backend, uint32_t *ret_state, struct vferry_error *err);
	int (*set_state)(struct vf_backend *backend, uint32_t state, struct vferry_error *err);
	/* Bytes; 0 = nothing now (PRE_COPY*: the kernel's ENOMSG) or the end (STOP_COPY). */
	ssize_t (*data_read)(struct vf_backend *backend, void *to, size_t len,
			     struct vferry_error *err);
	int (*data_write)(struct vf_backend *backend, const void *from, size_t len,
			  struct vferry_error *err);	/* all of it */
	/* Memory that data_read and data_write move without a copy, or NULL. May be NULL. */
	void *(*data_area)(struct vf_backend *backend, size_t *ret_bytes);
	int (*data_size)(struct vf_backend *backend, uint64_t *ret_bytes, struct vferry_error *err);
	int (*precopy_info)(struct vf_backend *backend, struct vf_vfio_precopy_info *ret_info,
			    struct vferry_error *err);

	/* Dirty tracking of the device's writes. */
	int (*dma_log_start)(struct vf_backend *backend, uint64_t page_bytes,
			     const struct vf_vfio_dma_log_range *ranges, uint32_t count,
			     uint64_t *ret_page_bytes, struct vferry_error *err);
	int (*dma_log_stop)(struct vf_backend *backend, struct vferry_error *err);
	/* ORs into @words: bit n = page n from @iova. Aligned to @page_bytes. */
	int (*dma_log_report)(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
			      uint64_t page_bytes, uint64_t *words, struct vferry_error *err);

	/*
	 * VFIO_DEVICE_FEATURE as @arg says: a struct vf_vfio_device_feature and its data, whose
	 * argsz and flags are the caller's word, right or wrong; for those who check a device. What
	 * comes back is put behind the header, @room bytes of header and data at most. @bytes: how
	 * much of it is the request, where requests are messages. A descriptor in it is the caller's.
	 */
	int (*feature)(struct vf_backend *backend, void *arg, size_t bytes, size_t room,
		       struct vferry_error *err);
};

/* Found out when it was opened; what VFIO has no probe for. */
struct vf_backend_caps {
	uint32_t features;	/* VFERRY_DEVICE_DMA_LOG, _IOMMU_DIRTY, _DATA_SIZE, _PRECOPY_INFO */
	bool log_any_range;	/* dma_log_report of any aligned range, not of whole mappings only */
	bool log_error_is_local;	/* a failed report says nothing about other ranges */
	bool irqs_while_stopped;	/* SET_IRQS and DMA_MAP are answered in STOP */
	bool data_fd;		/* migration data has a descriptor, which feature() returns */
	bool dma_by_address;	/* dma_map takes @host and pins it; else it takes @fd */
	bool no_peers;		/* BARs of other devices can't be mapped into it */
	bool areas_fault;	/* touching a mapped BAR while decoding is off raises SIGBUS */
};

struct vf_backend {
	const struct vf_backend_ops *ops;
	struct vf_backend_caps caps;
	char driver[32];	/* of the kernel, that the device is bound to; "" = not known */
	char better_driver[64];	/* one that would let it migrate; "" = none known */
};

struct vf_backend_options {
	uint64_t timeout_ns;	/* of one request */
	const struct vf_backend_dma_ops *dma;
	void *user;
	const struct vferry_trust *trust;	/* who may serve it */
	struct vferry_dma_space *dma_space;	/* kernel VFIO; NULL: one of its own */
};

/**
 * vf_backend_open() - what a device's URI stands for
 * Return: 0; -EINVAL not a device URI; -ENOTSUP a kind that this build has no backend for; errors of
 * the backend.
 */
int vf_backend_open(const char *uri, const struct vf_backend_options *options,
		    struct vf_backend **ret_backend, struct vferry_error *err);
int vf_backend_open_vfio_user(const char *path, const struct vf_backend_options *options,
			      struct vf_backend **ret_backend, struct vferry_error *err);
int vf_backend_open_kernel(const char *text, const struct vf_backend_options *options,
			   struct vf_backend **ret_backend, struct vferry_error *err);
void vf_backend_region_done(struct vf_backend_region *region);

#endif
