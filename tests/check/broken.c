/* SPDX-License-Identifier: MIT */
/* broken.c - the backend before the device; see broken.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "broken.h"

static struct broken *of(struct vf_backend *backend)
{
	struct broken *b = (struct broken *) backend;

	(void) pthread_mutex_lock(&b->lock);
	return b;
}

static void release(struct broken **b)
{
	(void) pthread_mutex_unlock(&(*b)->lock);
}

/* Held until the end of the function. */
#define HOLD __attribute__((cleanup(release)))

#define FAULT(b, member) ((b)->fault && (b)->fault->member)

/* --- the device --- */

int broken_get_state(struct broken *b, uint32_t *ret_state)
{
	int r = b->real->ops->get_state(b->real, ret_state, NULL);

	if (r == 0 && b->error)
		*ret_state = VF_VFIO_STATE_ERROR;
	if (r == 0)
		b->state = *ret_state;
	return r;
}

static bool saves(uint32_t state)
{
	return state == VF_VFIO_STATE_STOP_COPY || state == VF_VFIO_STATE_PRE_COPY ||
	       state == VF_VFIO_STATE_PRE_COPY_P2P;
}

static void entered(struct broken *b, uint32_t from, uint32_t to)
{
	b->state = to;
	descriptors_entered(b, to == VF_VFIO_STATE_RESUMING || (saves(to) && !saves(from)), !saves(to));
	b->from_precopy = to == VF_VFIO_STATE_STOP_COPY && saves(from);
	if (b->from_precopy)
		b->read_before_stop = b->read;
	else if (!saves(from) && saves(to)) {
		b->sessions++;
		b->read = 0;
		b->end_seen = b->has_reader = false;
	}
	if (to == VF_VFIO_STATE_RESUMING)
		b->written = 0;
	if (to == VF_VFIO_STATE_STOP && from == VF_VFIO_STATE_RESUMING)
		b->loaded = true;
	if (to == VF_VFIO_STATE_RUNNING)
		b->loaded = false;
}

int broken_set_state(struct broken *b, uint32_t to)
{
	uint32_t from = b->state;
	int r;

	if (b->error)
		return -EINVAL;
	r = b->real->ops->set_state(b->real, to, NULL);
	if (r < 0 && from == VF_VFIO_STATE_RESUMING && to == VF_VFIO_STATE_STOP &&
	    b->device & DEVICE_ERRS)
		b->error = true;
	if (r == 0 && from != to)
		entered(b, from, to);
	return r;
}

int broken_reset(struct broken *b)
{
	int r = b->real->ops->reset(b->real, NULL);

	if (r == 0) {
		b->error = b->loaded = false;
		descriptors_entered(b, false, true);
		b->state = VF_VFIO_STATE_RUNNING;
	}
	return r;
}

/* Keeps the first stream: the one that a run saves before all else. */
static void record(struct broken *b, const void *data, size_t len)
{
	if (b->sessions != 1)
		return;
	b->golden = realloc(b->golden, b->golden_size + len);
	memcpy(b->golden + b->golden_size, data, len);
	b->golden_size += len;
}

ssize_t broken_read(struct broken *b, void *to, size_t len)
{
	ssize_t n = b->real->ops->data_read(b->real, to, len, NULL);

	b->reader = pthread_self();
	b->has_reader = true;
	if (n > 0) {
		record(b, to, (size_t) n);
		b->read += (uint64_t) n;
	}
	b->end_seen |= n == 0;
	return n;
}

ssize_t broken_read_wrong(struct broken *b, void *to, size_t len, bool wrong)
{
	ssize_t n = broken_read(b, to, len);

	if (wrong && n > 0)
		((uint8_t *) to)[0] ^= 0xff;
	return n;
}

ssize_t broken_next_wrong(struct broken *b, void *to, size_t len)
{
	bool first = b->memory[0] && !b->read;

	if (first)
		b->memory[0] = 0;
	return broken_read_wrong(b, to, len, first);
}

int broken_write(struct broken *b, const void *from, size_t len)
{
	int r = b->real->ops->data_write(b->real, from, len, NULL);

	if (r == 0)
		b->written += len;
	return r;
}

int broken_feature(struct broken *b, void *arg, size_t bytes, size_t room)
{
	const uint32_t state = VF_VFIO_FEATURE_MIG_DEVICE_STATE;
	struct vf_vfio_device_feature head;
	int r;

	memcpy(&head, arg, sizeof(head));
	if (b->device & DEVICE_DESCRIPTORS && head.flags == (state | VF_VFIO_FEATURE_SET) && head.argsz == 16)
		return descriptors_set_state(b, (uint8_t *) arg + 8);
	r = b->real->ops->feature(b->real, arg, bytes, room, NULL);
	if (r >= 0 && b->device & DEVICE_DESCRIPTORS && head.flags == (state | VF_VFIO_FEATURE_GET))
		vf_put_u32((uint8_t *) arg + 12, UINT32_MAX);
	return r;
}

int broken_log_start(struct broken *b, uint64_t page, const struct vf_vfio_dma_log_range *ranges,
		     uint32_t count, uint64_t *ret_page)
{
	int r;

	if (b->device & DEVICE_DESCRIPTORS && count > 256)
		return -E2BIG;
	if (b->device & DEVICE_DESCRIPTORS && (!count || b->logging))
		return -EINVAL;
	r = b->real->ops->dma_log_start(b->real, page, ranges, count, ret_page, NULL);
	b->logging |= r == 0;
	return r;
}

int broken_log_stop(struct broken *b)
{
	b->logging = false;
	return b->real->ops->dma_log_stop(b->real, NULL);
}

/* --- the backend --- */

static void broken_close(struct vf_backend *backend)
{
	struct broken *b = (struct broken *) backend;

	b->real->ops->close(b->real);
	(void) pthread_mutex_destroy(&b->lock);
	free(b->golden);
	free(b);
}

static int get_info(struct vf_backend *backend, struct vf_vfio_device_info *ret_info,
		    struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	return b->real->ops->get_info(b->real, ret_info, err);
}

static int get_region(struct vf_backend *backend, uint32_t index, struct vf_backend_region *ret_region,
		      struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	return b->real->ops->get_region(b->real, index, ret_region, err);
}

static int region_read(struct vf_backend *backend, uint32_t region, uint64_t offset, void *to,
		       size_t len, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	if (FAULT(b, region_read))
		return b->fault->region_read(b, region, offset, to, len);
	return b->real->ops->region_read(b->real, region, offset, to, len, err);
}

static int region_write(struct vf_backend *backend, uint32_t region, uint64_t offset, const void *from,
			size_t len, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	if (FAULT(b, region_write))
		return b->fault->region_write(b, region, offset, from, len);
	return b->real->ops->region_write(b->real, region, offset, from, len, err);
}

static int dma_map(struct vf_backend *backend, uint64_t iova, uint64_t bytes, bool writable, int fd,
		   uint64_t fd_offset, void *host, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	b->host = host;
	b->host_bytes = bytes;
	return b->real->ops->dma_map(b->real, iova, bytes, writable, fd, fd_offset, host, err);
}

static int dma_unmap(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
		     struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	b->host = NULL;
	return b->real->ops->dma_unmap(b->real, iova, bytes, err);
}

static int set_irqs(struct vf_backend *backend, uint32_t index, uint32_t action, uint32_t start,
		    uint32_t count, const int *fds, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	b->irq_fd = fds && count ? fds[count - 1] : -1;
	return b->real->ops->set_irqs(b->real, index, action, start, count, fds, err);
}

static int reset(struct vf_backend *backend, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, reset) ? b->fault->reset(b) : broken_reset(b);
}

static int get_migration(struct vf_backend *backend, uint64_t *ret_flags, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	return b->real->ops->get_migration(b->real, ret_flags, err);
}

static int get_state(struct vf_backend *backend, uint32_t *ret_state, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, get_state) ? b->fault->get_state(b, ret_state) : broken_get_state(b, ret_state);
}

static int set_state(struct vf_backend *backend, uint32_t state, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);
	uint32_t now;

	(void) err;
	(void) broken_get_state(b, &now);
	return FAULT(b, set_state) ? b->fault->set_state(b, now, state) : broken_set_state(b, state);
}

static ssize_t data_read(struct vf_backend *backend, void *to, size_t len, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, data_read) ? b->fault->data_read(b, to, len) : broken_read(b, to, len);
}

static int data_write(struct vf_backend *backend, const void *from, size_t len, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, data_write) ? b->fault->data_write(b, from, len) : broken_write(b, from, len);
}

static int data_size(struct vf_backend *backend, uint64_t *ret_bytes, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	if (FAULT(b, data_size))
		return b->fault->data_size(b, ret_bytes);
	return b->real->ops->data_size(b->real, ret_bytes, err);
}

static int precopy_info(struct vf_backend *backend, struct vf_vfio_precopy_info *ret_info,
			struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	if (FAULT(b, precopy_info))
		return b->fault->precopy_info(b, ret_info);
	return b->real->ops->precopy_info(b->real, ret_info, err);
}

static int log_start(struct vf_backend *backend, uint64_t page, const struct vf_vfio_dma_log_range *ranges,
		     uint32_t count, uint64_t *ret_page, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, log_start) ? b->fault->log_start(b, page, ranges, count, ret_page) :
	       broken_log_start(b, page, ranges, count, ret_page);
}

static int log_stop(struct vf_backend *backend, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, log_stop) ? b->fault->log_stop(b) : broken_log_stop(b);
}

static int log_report(struct vf_backend *backend, uint64_t iova, uint64_t bytes, uint64_t page,
		      uint64_t *words, struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	if (FAULT(b, log_report))
		return b->fault->log_report(b, iova, bytes, page, words);
	return b->real->ops->dma_log_report(b->real, iova, bytes, page, words, err);
}

static int feature(struct vf_backend *backend, void *arg, size_t bytes, size_t room,
		   struct vferry_error *err)
{
	HOLD struct broken *b = of(backend);

	(void) err;
	return FAULT(b, feature) ? b->fault->feature(b, arg, bytes, room) :
	       broken_feature(b, arg, bytes, room);
}

static const struct vf_backend_ops ops = {
	.name = "broken",
	.close = broken_close,
	.get_info = get_info, .get_region = get_region,
	.region_read = region_read, .region_write = region_write,
	.dma_map = dma_map, .dma_unmap = dma_unmap, .set_irqs = set_irqs,
	.reset = reset,
	.get_migration = get_migration, .get_state = get_state, .set_state = set_state,
	.data_read = data_read, .data_write = data_write, .data_size = data_size,
	.precopy_info = precopy_info,
	.dma_log_start = log_start, .dma_log_stop = log_stop, .dma_log_report = log_report,
	.feature = feature,
};

struct vf_backend *broken_new(struct vf_backend *take_real, const struct fault *fault, unsigned int device)
{
	struct broken *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->base.ops = &ops;
	b->base.caps = take_real->caps;
	b->base.caps.data_fd = device & DEVICE_DESCRIPTORS;
	(void) pthread_mutex_init(&b->lock, NULL);
	b->real = take_real;
	b->fault = fault;
	b->device = device;
	b->state = VF_VFIO_STATE_RUNNING;
	b->session_fd = b->irq_fd = -1;
	return &b->base;
}
