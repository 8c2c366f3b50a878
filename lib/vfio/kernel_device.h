/* SPDX-License-Identifier: MIT */
/*
 * kernel_device.h - an open kernel VFIO device; shared by the files that answer the backend's calls:
 *
 *   backend_kernel.c      opening and closing, DMA, the table of calls
 *   kernel_device.c       information, regions, interrupts, reset
 *   kernel_migration.c    features, states, the data descriptor, the logs of written pages
 *
 * Model. All of it is ioctls on one descriptor; the two kinds differ in how they come to it
 * (kernel_space.h) and in who logs writes where the device itself does not.
 *
 * A migration session of the device has a descriptor of its own: one from PRE_COPY to the end of
 * STOP_COPY, one for RESUMING. It is read by one thread while others change the state or reset the
 * device, so it is counted: closed when it is replaced and nobody reads it any more.
 */
#ifndef VF_VFIO_KERNEL_DEVICE_H
#define VF_VFIO_KERNEL_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vfio/backend.h"
#include "vfio/kernel_calls.h"
#include "vfio/kernel_resample.h"
#include "vfio/kernel_space.h"

struct vf_kernel_region {
	uint32_t flags;
	uint64_t size;
	uint64_t offset;	/* in the device's descriptor */
};

/* The descriptor of a session. */
struct vf_kernel_stream {
	int fd;
	uint32_t users;		/* under stream_lock: the device, and whoever reads or writes */
};

struct vf_kernel_device {
	struct vf_backend base;		/* first */
	struct vf_kernel kernel;
	struct vferry_dma_space *space;
	bool owns_space;
	struct vf_space_seat seat;	/* taken once it has a descriptor */
	char name[64];
	uint64_t timeout_ns;		/* that data may keep us waiting */

	struct vf_vfio_device_info info;
	struct vf_kernel_region regions[VF_VFIO_PCI_REGIONS];
	bool precopy_reinit;		/* MIG_PRECOPY_INFOV2 was opted in: flags of the answer count */

	pthread_mutex_t stream_lock;
	struct vf_kernel_stream *stream;	/* owned, counted; NULL = no session */
	atomic_bool stopped;		/* STOP_COPY was reached: "nothing now" can't be said any more */
	int spare;			/* kept free for the next session's descriptor */

	pthread_mutex_t resample_lock;
	struct vf_kernel_resample *resample;	/* INTx of a driver that can't unmask by eventfd */

	pthread_mutex_t log_lock;
	bool log_is_iommu;		/* of the log that runs */
	uint64_t *log_words;		/* owned; where the kernel puts bits */
};

static inline struct vf_kernel_device *vf_kernel_device_of(struct vf_backend *backend)
{
	return (struct vf_kernel_device *) backend;
}

static inline int vf_kernel_device_ioctl(struct vf_kernel_device *d, unsigned long request, void *arg)
{
	return vf_kernel_ioctl(&d->kernel, d->seat.fd, request, arg);
}

/* ---- kernel_device.c ---- */

/* What it is and where its regions are, and whether it can be reset: which resets it. */
int vf_kernel_device_learn(struct vf_kernel_device *d, struct vferry_error *err);
int vf_kernel_get_info(struct vf_backend *backend, struct vf_vfio_device_info *ret_info,
		       struct vferry_error *err);
int vf_kernel_get_region(struct vf_backend *backend, uint32_t index,
			 struct vf_backend_region *ret_region, struct vferry_error *err);
int vf_kernel_region_read(struct vf_backend *backend, uint32_t region, uint64_t offset, void *to,
			  size_t len, struct vferry_error *err);
int vf_kernel_region_write(struct vf_backend *backend, uint32_t region, uint64_t offset,
			   const void *from, size_t len, struct vferry_error *err);
int vf_kernel_get_irq_info(struct vf_backend *backend, uint32_t index,
			   struct vf_vfio_irq_info *ret_info, struct vferry_error *err);
int vf_kernel_set_irqs(struct vf_backend *backend, uint32_t index, uint32_t action, uint32_t start,
		       uint32_t count, const int *fds, struct vferry_error *err);
int vf_kernel_reset(struct vf_backend *backend, struct vferry_error *err);

/* ---- kernel_migration.c ---- */

/* Which features there are; opts in to what makes answers clearer. */
void vf_kernel_migration_learn(struct vf_kernel_device *d);
/* The session is over, whoever ended it. */
void vf_kernel_drop_stream(struct vf_kernel_device *d);
int vf_kernel_feature(struct vf_backend *backend, void *arg, size_t bytes, size_t room,
		      struct vferry_error *err);
int vf_kernel_get_migration(struct vf_backend *backend, uint64_t *ret_flags,
			    struct vferry_error *err);
int vf_kernel_get_state(struct vf_backend *backend, uint32_t *ret_state, struct vferry_error *err);
int vf_kernel_set_state(struct vf_backend *backend, uint32_t state, struct vferry_error *err);
ssize_t vf_kernel_data_read(struct vf_backend *backend, void *to, size_t len,
			    struct vferry_error *err);
int vf_kernel_data_write(struct vf_backend *backend, const void *from, size_t len,
			 struct vferry_error *err);
int vf_kernel_data_size(struct vf_backend *backend, uint64_t *ret_bytes, struct vferry_error *err);
int vf_kernel_precopy_info(struct vf_backend *backend, struct vf_vfio_precopy_info *ret_info,
			   struct vferry_error *err);
int vf_kernel_log_start(struct vf_backend *backend, uint64_t page_bytes,
			const struct vf_vfio_dma_log_range *ranges, uint32_t count,
			uint64_t *ret_page_bytes, struct vferry_error *err);
int vf_kernel_log_stop(struct vf_backend *backend, struct vferry_error *err);
int vf_kernel_log_report(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
			 uint64_t page_bytes, uint64_t *words, struct vferry_error *err);
void vf_kernel_log_done(struct vf_kernel_device *d);

/* ---- backend_kernel.c ---- */

/* With a kernel of the caller's; @text is what follows "vfio:". */
int vf_backend_open_kernel_at(const struct vf_kernel *kernel, const char *text,
			      const struct vf_backend_options *options,
			      struct vf_backend **ret_backend, struct vferry_error *err);

#endif
