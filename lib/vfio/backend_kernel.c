/* SPDX-License-Identifier: MIT */
/*
 * backend_kernel.c - a device of the kernel's VFIO, by group or by character device: opening, closing,
 * and what it can reach by DMA. See kernel_device.h for who answers the other calls.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/kernel_device.h"

#define DATA_TIMEOUTS 6u	/* as long as a transition of other backends may take */

static void close_device(struct vf_backend *backend)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);

	d->resample = vf_kernel_resample_free(d->resample);
	vf_kernel_drop_stream(d);
	vf_close(&d->spare);
	vf_kernel_log_done(d);
	if (d->seat.fd >= 0)
		vf_space_leave(d->space, &d->seat);
	if (d->owns_space)
		(void) vferry_dma_space_free(d->space);
	pthread_mutex_destroy(&d->stream_lock);
	pthread_mutex_destroy(&d->resample_lock);
	pthread_mutex_destroy(&d->log_lock);
	free(d);
}

static int dma_map(struct vf_backend *backend, uint64_t iova, uint64_t bytes, bool writable, int fd,
		   uint64_t fd_offset, void *host, struct vferry_error *err)
{
	(void) fd;
	(void) fd_offset;
	return vf_space_map(vf_kernel_device_of(backend)->space, iova, bytes, writable, host, err);
}

static int dma_unmap(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
		     struct vferry_error *err)
{
	return vf_space_unmap(vf_kernel_device_of(backend)->space, iova, bytes, err);
}

#define OPS(name_) {					\
	.name = name_,					\
	.close = close_device,				\
	.get_info = vf_kernel_get_info,			\
	.get_region = vf_kernel_get_region,		\
	.get_irq_info = vf_kernel_get_irq_info,		\
	.region_read = vf_kernel_region_read,		\
	.region_write = vf_kernel_region_write,		\
	.set_irqs = vf_kernel_set_irqs,			\
	.dma_map = dma_map,				\
	.dma_unmap = dma_unmap,				\
	.reset = vf_kernel_reset,			\
	.feature = vf_kernel_feature,			\
	.get_migration = vf_kernel_get_migration,	\
	.get_state = vf_kernel_get_state,		\
	.set_state = vf_kernel_set_state,		\
	.data_read = vf_kernel_data_read,		\
	.data_write = vf_kernel_data_write,		\
	.data_size = vf_kernel_data_size,		\
	.precopy_info = vf_kernel_precopy_info,		\
	.dma_log_start = vf_kernel_log_start,		\
	.dma_log_stop = vf_kernel_log_stop,		\
	.dma_log_report = vf_kernel_log_report,		\
}

static const struct vf_backend_ops group_ops = OPS("kernel-group");
static const struct vf_backend_ops cdev_ops = OPS("kernel-cdev");

static struct vf_kernel_device *new_device(const struct vf_kernel *kernel,
					   const struct vf_backend_options *options)
{
	struct vf_kernel_device *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->base.ops = &group_ops;
	d->base.caps = (struct vf_backend_caps) {
		.log_any_range = true,
		.irqs_while_stopped = true,
		.data_fd = true,
		.dma_by_address = true,
		.areas_fault = true,
	};
	d->kernel = *kernel;
	d->seat = (struct vf_space_seat) VF_SPACE_SEAT_INIT;
	d->spare = -1;
	d->timeout_ns = options->timeout_ns * DATA_TIMEOUTS;
	pthread_mutex_init(&d->stream_lock, NULL);
	pthread_mutex_init(&d->resample_lock, NULL);
	pthread_mutex_init(&d->log_lock, NULL);
	return d;
}

static int enter_space(struct vf_kernel_device *d, const struct vf_kernel_target *target,
		       struct vferry_dma_space *space, struct vferry_error *err)
{
	int r = 0;

	d->space = space;
	if (!space) {
		r = vf_space_new(&d->kernel, NULL, &d->space, err);
		d->owns_space = r == 0;
	}
	return r < 0 ? r : vf_space_enter(d->space, target, &d->seat, err);
}

int vf_backend_open_kernel_at(const struct vf_kernel *kernel, const char *text,
			      const struct vf_backend_options *options,
			      struct vf_backend **ret_backend, struct vferry_error *err)
{
	struct vf_kernel_target target;
	struct vf_kernel_device *d;
	uint64_t flags;
	int r = vf_kernel_find(kernel, text, &target, err);

	if (r < 0)
		return r;
	d = new_device(kernel, options);
	if (!d)
		return vferry_error_set(err, -ENOMEM, "no-memory", text, "no memory");
	(void) snprintf(d->name, sizeof(d->name), "%s", target.name);
	(void) snprintf(d->base.driver, sizeof(d->base.driver), "%s", target.driver);
	r = enter_space(d, &target, options->dma_space, err);
	if (r == 0) {
		if (d->space->ops == &vf_space_cdev_ops)
			d->base.ops = &cdev_ops;
		d->base.caps.no_peers = !d->space->ops->maps_bars;
		r = vf_kernel_device_learn(d, err);
	}
	if (r < 0) {
		close_device(&d->base);
		return r;
	}
	vf_kernel_migration_learn(d);
	if (vf_kernel_get_migration(&d->base, &flags, NULL) < 0)
		vf_kernel_find_driver(kernel, &target, d->base.better_driver,
				      sizeof(d->base.better_driver));
	*ret_backend = &d->base;
	return 0;
}

int vf_backend_open_kernel(const char *text, const struct vf_backend_options *options,
			   struct vf_backend **ret_backend, struct vferry_error *err)
{
	const struct vf_kernel kernel = vf_kernel_real();

	return vf_backend_open_kernel_at(&kernel, text, options, ret_backend, err);
}
