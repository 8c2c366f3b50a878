/* SPDX-License-Identifier: MIT */
/*
 * backend_vfio_user.c - a device that another process serves over vfio-user.
 *
 * Model: one client (lib/vfio-user) per device; each call is one request. Whether the DMA log exists
 * is probed; sizes and precopy information are known only of peers that speak our extension. With such
 * a peer migration data goes through a buffer that both sides map. Its beginning is for data that lies
 * elsewhere and is copied; the rest is the caller's, and what lies there is not copied at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "vfio-user/client.h"
#include "vfio-user/protocol.h"
#include "vfio/backend.h"

#define TRANSITION_TIMEOUTS 6u	/* a driver may load a record per write; the session has a budget */
#define COPY_BYTES VF_MIB		/* of the buffer: for data that lies elsewhere */
#define AREA_BYTES (8 * VF_MIB)		/* the rest: the caller's; touched as far as it is used */

struct vfio_user {
	struct vf_backend base;		/* first */
	struct vf_vfio_user_client *client;
	struct vf_vfio_user_client_ops client_ops;
	uint8_t *buffer;		/* shared with the peer; NULL = none */
	size_t buffer_bytes;
	size_t copy_bytes;		/* at its beginning */
};

static struct vf_vfio_user_client *client_of(struct vf_backend *backend)
{
	return ((struct vfio_user *) backend)->client;
}

static void vu_close(struct vf_backend *backend)
{
	struct vfio_user *u = (struct vfio_user *) backend;

	vf_vfio_user_client_free(u->client);
	free(u);
}

static int vu_get_info(struct vf_backend *backend, struct vf_vfio_device_info *ret_info,
		       struct vferry_error *err)
{
	return vf_vfio_user_client_get_info(client_of(backend), ret_info, err);
}

static int vu_get_region(struct vf_backend *backend, uint32_t index,
			 struct vf_backend_region *ret_region, struct vferry_error *err)
{
	struct vf_vfio_user_region region;
	int r = vf_vfio_user_client_get_region(client_of(backend), index, &region, err);

	if (r < 0)
		return r;
	/* Descriptor and areas change hands. */
	*ret_region = (struct vf_backend_region) {
		.flags = region.flags,
		.size = region.size,
		.fd = region.fd,
		.sealed = region.sealed,
		.fd_offset = region.fd_offset,
		.area_count = region.area_count,
		.areas = region.areas,
	};
	return 0;
}

static int vu_get_irq_info(struct vf_backend *backend, uint32_t index,
			   struct vf_vfio_irq_info *ret_info, struct vferry_error *err)
{
	return vf_vfio_user_client_get_irq_info(client_of(backend), index, ret_info, err);
}

static int vu_region_read(struct vf_backend *backend, uint32_t region, uint64_t offset, void *to,
			  size_t len, struct vferry_error *err)
{
	return vf_vfio_user_client_region_read(client_of(backend), region, offset, to, len, err);
}

static int vu_region_write(struct vf_backend *backend, uint32_t region, uint64_t offset,
			   const void *from, size_t len, struct vferry_error *err)
{
	return vf_vfio_user_client_region_write(client_of(backend), region, offset, from, len, err);
}

_Static_assert(VF_BACKEND_IOEVENTFDS_MAX == VF_VFIO_USER_MAX_IO_FDS, "one bound");

static int vu_get_ioeventfds(struct vf_backend *backend, uint32_t region, uint64_t region_bytes,
			     struct vferry_bar_ioeventfd *list, uint32_t *ret_count,
			     struct vferry_error *err)
{
	struct vf_vfio_user_ioeventfd found[VF_VFIO_USER_MAX_IO_FDS];
	uint32_t count = 0;
	int r = vf_vfio_user_client_get_ioeventfds(client_of(backend), region, region_bytes, found,
						   &count, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count; i++)
		list[i] = (struct vferry_bar_ioeventfd) {
			.offset = found[i].offset,
			.bytes = found[i].size,
			.matches = found[i].matches,
			.match = found[i].match,
			.eventfd = found[i].fd,
		};
	*ret_count = count;
	return 0;
}

static int vu_set_irqs(struct vf_backend *backend, uint32_t index, uint32_t action, uint32_t start,
		       uint32_t count, const int *fds, struct vferry_error *err)
{
	return vf_vfio_user_client_set_irqs(client_of(backend), index, action, start, count, fds,
					    err);
}

static int vu_dma_map(struct vf_backend *backend, uint64_t iova, uint64_t bytes, bool writable,
		      int fd, uint64_t fd_offset, void *host, struct vferry_error *err)
{
	(void) host;
	return vf_vfio_user_client_dma_map(client_of(backend), iova, bytes, writable, fd, fd_offset,
					   err);
}

static int vu_dma_unmap(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
			struct vferry_error *err)
{
	return vf_vfio_user_client_dma_unmap(client_of(backend), iova, bytes, err);
}

static int vu_reset(struct vf_backend *backend, struct vferry_error *err)
{
	return vf_vfio_user_client_reset(client_of(backend), err);
}

static int vu_get_migration(struct vf_backend *backend, uint64_t *ret_flags,
			    struct vferry_error *err)
{
	return vf_vfio_user_client_get_migration(client_of(backend), ret_flags, err);
}

static int vu_get_state(struct vf_backend *backend, uint32_t *ret_state, struct vferry_error *err)
{
	enum vf_vfio_state state;
	int r = vf_vfio_user_client_get_state(client_of(backend), &state, err);

	if (r == 0)
		*ret_state = state;
	return r;
}

static int vu_set_state(struct vf_backend *backend, uint32_t state, struct vferry_error *err)
{
	return vf_vfio_user_client_set_state(client_of(backend), (enum vf_vfio_state) state, err);
}

static void *vu_data_area(struct vf_backend *backend, size_t *ret_bytes)
{
	struct vfio_user *u = (struct vfio_user *) backend;

	*ret_bytes = u->buffer_bytes - u->copy_bytes;
	return *ret_bytes ? u->buffer + u->copy_bytes : NULL;
}

/* Where in the buffer is @data, and how much room is there from it on? False: elsewhere. */
static bool find_in_buffer(const struct vfio_user *u, const void *data, size_t *ret_offset,
			   size_t *ret_room)
{
	uintptr_t at = (uintptr_t) data, start = (uintptr_t) u->buffer;

	if (!u->buffer || at < start || at - start >= u->buffer_bytes)
		return false;
	*ret_offset = at - start;
	*ret_room = u->buffer_bytes - *ret_offset;
	return true;
}

static ssize_t vu_data_read(struct vf_backend *backend, void *to, size_t len,
			    struct vferry_error *err)
{
	struct vfio_user *u = (struct vfio_user *) backend;
	size_t offset, room;
	ssize_t n;

	if (!u->buffer)
		return vf_vfio_user_client_mig_data_read(u->client, to, len, err);
	if (find_in_buffer(u, to, &offset, &room))
		return vf_vfio_user_client_mig_buffer_read(u->client, offset, vf_min_u64(len, room),
							   err);
	n = vf_vfio_user_client_mig_buffer_read(u->client, 0, vf_min_u64(len, u->copy_bytes), err);
	if (n > 0)
		memcpy(to, u->buffer, (size_t) n);
	return n;
}

static int vu_data_write(struct vf_backend *backend, const void *from, size_t len,
			 struct vferry_error *err)
{
	struct vfio_user *u = (struct vfio_user *) backend;
	const uint8_t *at = from;
	size_t offset, room;

	if (!u->buffer)
		return vf_vfio_user_client_mig_data_write(u->client, from, len, err);
	if (find_in_buffer(u, from, &offset, &room) && len <= room)
		return vf_vfio_user_client_mig_buffer_write(u->client, offset, len, err);
	while (len > 0) {
		size_t part = vf_min_u64(len, u->copy_bytes);
		int r;

		memcpy(u->buffer, at, part);
		r = vf_vfio_user_client_mig_buffer_write(u->client, 0, part, err);
		if (r < 0)
			return r;
		at += part;
		len -= part;
	}
	return 0;
}

static int vu_data_size(struct vf_backend *backend, uint64_t *ret_bytes, struct vferry_error *err)
{
	return vf_vfio_user_client_get_data_size(client_of(backend), ret_bytes, err);
}

static int vu_precopy_info(struct vf_backend *backend, struct vf_vfio_precopy_info *ret_info,
			   struct vferry_error *err)
{
	return vf_vfio_user_client_get_precopy_info(client_of(backend), ret_info, err);
}

static int vu_dma_log_start(struct vf_backend *backend, uint64_t page_bytes,
			    const struct vf_vfio_dma_log_range *ranges, uint32_t count,
			    uint64_t *ret_page_bytes, struct vferry_error *err)
{
	return vf_vfio_user_client_dma_log_start(client_of(backend), page_bytes, ranges, count,
						 ret_page_bytes, err);
}

static int vu_dma_log_stop(struct vf_backend *backend, struct vferry_error *err)
{
	return vf_vfio_user_client_dma_log_stop(client_of(backend), err);
}

static int vu_dma_log_report(struct vf_backend *backend, uint64_t iova, uint64_t bytes,
			     uint64_t page_bytes, uint64_t *words, struct vferry_error *err)
{
	return vf_vfio_user_client_dma_log_report(client_of(backend), iova, bytes, page_bytes,
						  words, err);
}

static int vu_feature(struct vf_backend *backend, void *arg, size_t bytes, size_t room,
		      struct vferry_error *err)
{
	return vf_vfio_user_client_feature_raw(client_of(backend), arg, bytes, room, err);
}

static const struct vf_backend_ops ops = {
	.name = "vfio-user",
	.close = vu_close,
	.get_info = vu_get_info,
	.get_region = vu_get_region,
	.get_irq_info = vu_get_irq_info,
	.region_read = vu_region_read,
	.region_write = vu_region_write,
	.get_ioeventfds = vu_get_ioeventfds,
	.set_irqs = vu_set_irqs,
	.dma_map = vu_dma_map,
	.dma_unmap = vu_dma_unmap,
	.reset = vu_reset,
	.get_migration = vu_get_migration,
	.get_state = vu_get_state,
	.set_state = vu_set_state,
	.data_read = vu_data_read,
	.data_write = vu_data_write,
	.data_area = vu_data_area,
	.data_size = vu_data_size,
	.precopy_info = vu_precopy_info,
	.dma_log_start = vu_dma_log_start,
	.dma_log_stop = vu_dma_log_stop,
	.dma_log_report = vu_dma_log_report,
	.feature = vu_feature,
};

static int probe(struct vfio_user *u, struct vferry_error *err)
{
	const struct vf_vfio_user_peer *peer = vf_vfio_user_client_peer(u->client);
	struct vferry_error why = VFERRY_ERROR_INIT;
	int r = vf_vfio_user_client_feature(u->client, VF_VFIO_FEATURE_DMA_LOGGING_START |
					    VF_VFIO_FEATURE_PROBE | VF_VFIO_FEATURE_SET,
					    NULL, 0, 0, &why);

	if (r >= 0)
		u->base.caps.features |= VFERRY_DEVICE_DMA_LOG;
	else if (vf_vfio_user_client_check_alive(u->client, err) < 0)
		return r;
	if (peer->data_size)
		u->base.caps.features |= VFERRY_DEVICE_DATA_SIZE;
	if (peer->precopy_info)
		u->base.caps.features |= VFERRY_DEVICE_PRECOPY_INFO;
	u->base.caps.log_any_range = peer->dma_log_ranges;
	u->base.caps.log_error_is_local = true;
	u->base.caps.irqs_while_stopped = peer->extensions;
	if (peer->mig_buffer_bytes) {
		void *map;

		u->buffer_bytes = vf_min_u64(peer->mig_buffer_bytes, COPY_BYTES + AREA_BYTES);
		u->copy_bytes = vf_min_u64(u->buffer_bytes, COPY_BYTES);
		if (vf_vfio_user_client_mig_buffer_open(u->client, u->buffer_bytes, &map, NULL,
							NULL) == 0)
			u->buffer = map;
	}
	return 0;
}

int vf_backend_open_vfio_user(const char *path, const struct vf_backend_options *options,
			      struct vf_backend **ret_backend, struct vferry_error *err)
{
	struct vfio_user *u = calloc(1, sizeof(*u));
	struct vf_vfio_user_client_options client_options = {
		.size = sizeof(client_options),
		.timeout_ms = (uint32_t) vf_min_u64(vf_div_up(options->timeout_ns, VF_MS_NS),
						    UINT32_MAX),
		.user = options->user,
		.trust = options->trust,
	};
	int r;

	if (!u)
		return vferry_error_set(err, -ENOMEM, "no-memory", path, "no memory");
	u->base.ops = &ops;
	client_options.transition_timeout_ms =
		(uint32_t) vf_min_u64((uint64_t) client_options.timeout_ms * TRANSITION_TIMEOUTS,
				      UINT32_MAX);
	if (options->dma) {
		u->client_ops = (struct vf_vfio_user_client_ops) {
			.size = sizeof(u->client_ops),
			.dma_read = options->dma->read,
			.dma_write = options->dma->write,
		};
		client_options.ops = &u->client_ops;
	}
	r = vf_vfio_user_client_connect(path, &client_options, &u->client, err);
	if (r == 0)
		r = probe(u, err);
	if (r < 0) {
		vf_vfio_user_client_free(u->client);
		free(u);
		return r;
	}
	*ret_backend = &u->base;
	return 0;
}
