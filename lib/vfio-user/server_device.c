/* SPDX-License-Identifier: MIT */
/*
 * server_device.c - the device as described: regions and their access, interrupts and their
 * eventfds.
 *
 * An interrupt has an eventfd, a mask and a pending bit per vector, as a PCI function would. A
 * masked edge is kept and signalled at the unmask; a line (INTx) is looked at again instead.
 */
#define _GNU_SOURCE
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"

/* --- description --- */

int vf_vfio_user_server_set_region(struct vf_vfio_user_server *server, uint32_t index,
				   const struct vf_vfio_user_region_desc *desc,
				   struct vferry_error *err)
{
	struct vf_server_region region = {
		.size = desc->size,
		.flags = desc->flags & (VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE),
		.fd = -1,
		.fd_offset = desc->fd_offset,
	};

	if (index >= VF_SERVER_REGIONS || desc->area_count > VF_VFIO_USER_MAX_AREAS)
		return vferry_error_set(err, -EINVAL, "bad-argument", "vfio-user",
					"region %u can't be described so", index);
	for (uint32_t i = 0; i < desc->area_count; i++)
		if (!vf_range_in(desc->areas[i].offset, desc->areas[i].size, desc->size))
			return vferry_error_set(err, -EINVAL, "bad-argument", "vfio-user",
						"area %u lies outside region %u", i, index);
	if (desc->fd >= 0) {
		region.fd = fcntl(desc->fd, F_DUPFD_CLOEXEC, 3);
		if (region.fd < 0)
			return vferry_error_set(err, -errno, "no-descriptor", "vfio-user",
						"no descriptor: %s", vferry_errno_name(errno));
		region.flags |= VF_VFIO_REGION_FLAG_MMAP;
		region.area_count = desc->area_count;
		region.areas = calloc(desc->area_count ? desc->area_count : 1,
				      sizeof(*region.areas));
		if (!region.areas) {
			vf_close(&region.fd);
			return vferry_error_set(err, -ENOMEM, "no-memory", "vfio-user",
						"out of memory");
		}
		if (desc->area_count)
			memcpy(region.areas, desc->areas,
			       desc->area_count * sizeof(*region.areas));
	}
	vf_close(&server->regions[index].fd);
	free(server->regions[index].areas);
	server->regions[index] = region;
	return 0;
}

int vf_vfio_user_server_set_irq(struct vf_vfio_user_server *server, uint32_t index, uint32_t count,
				uint32_t flags, struct vferry_error *err)
{
	struct vf_server_vector *vectors;

	if (index >= VF_SERVER_IRQS || count > VF_SERVER_MAX_VECTORS)
		return vferry_error_set(err, -EINVAL, "bad-argument", "vfio-user",
					"%u interrupts of index %u", count, index);
	vectors = calloc(count ? count : 1, sizeof(*vectors));
	if (!vectors)
		return vferry_error_set(err, -ENOMEM, "no-memory", "vfio-user", "out of memory");
	for (uint32_t i = 0; i < count; i++)
		vectors[i].trigger = -1;
	free(server->irqs[index].vectors);
	server->irqs[index].vectors = vectors;
	server->irqs[index].count = count;
	server->irqs[index].flags = flags;
	return 0;
}

/* --- information --- */

int vf_server_get_info(struct vf_vfio_user_server *server)
{
	struct vf_vfio_device_info info;
	uint8_t *reply;

	if (vf_vfio_user_get_device_info(server->current->body, server->current->body_len, &info))
		return -EINVAL;
	reply = vf_server_reply(server, VF_VFIO_USER_INFO_BYTES);
	if (!reply)
		return -ENOMEM;
	info = (struct vf_vfio_device_info) {
		.argsz = VF_VFIO_USER_INFO_BYTES,
		.flags = server->options.device_flags,
		.num_regions = VF_SERVER_REGIONS,
		.num_irqs = VF_SERVER_IRQS,
	};
	vf_vfio_user_put_device_info(reply, &info);
	return 0;
}

int vf_server_get_region_info(struct vf_vfio_user_server *server)
{
	struct vf_vfio_region_info info;
	struct vf_server_region *region;
	size_t whole = VF_VFIO_USER_REGION_INFO_BYTES;
	uint32_t argsz;
	uint8_t *reply;

	if (vf_vfio_user_get_region_info(server->current->body, server->current->body_len, &info) ||
	    info.index >= VF_SERVER_REGIONS)
		return -EINVAL;
	argsz = info.argsz;
	region = &server->regions[info.index];
	/* The capability also for a region that is mappable as a whole: libvfio-user's clients
	 * expect the descriptor with it. */
	if (region->fd >= 0 && region->area_count)
		whole += VF_VFIO_USER_SPARSE_BYTES + 16 * (size_t) region->area_count;
	info = (struct vf_vfio_region_info) {
		.argsz = (uint32_t) whole,
		.index = info.index,
		.flags = region->flags,
		.size = region->size,
		.offset = region->fd_offset,
	};
	if (argsz < whole) {
		/* Says how much it takes, without the capability. */
		reply = vf_server_reply(server, VF_VFIO_USER_REGION_INFO_BYTES);
		if (!reply)
			return -ENOMEM;
		vf_vfio_user_put_region_info(reply, &info);
		return 0;
	}
	reply = vf_server_reply(server, whole);
	if (!reply)
		return -ENOMEM;
	if (whole > VF_VFIO_USER_REGION_INFO_BYTES) {
		info.flags |= VF_VFIO_REGION_FLAG_CAPS;
		info.cap_offset = VF_VFIO_USER_REGION_INFO_BYTES;
		vf_vfio_user_put_sparse(reply + VF_VFIO_USER_REGION_INFO_BYTES, region->areas,
					region->area_count);
	}
	if (region->fd >= 0 && server->theirs.max_msg_fds)
		server->reply_fds[server->reply_fd_count++] = region->fd;
	vf_vfio_user_put_region_info(reply, &info);
	return 0;
}

int vf_server_get_irq_info(struct vf_vfio_user_server *server)
{
	struct vf_vfio_irq_info info;
	uint8_t *reply;

	if (vf_vfio_user_get_irq_info(server->current->body, server->current->body_len, &info) ||
	    info.index >= VF_SERVER_IRQS)
		return -EINVAL;
	reply = vf_server_reply(server, VF_VFIO_USER_INFO_BYTES);
	if (!reply)
		return -ENOMEM;
	info.argsz = VF_VFIO_USER_INFO_BYTES;
	info.flags = server->irqs[info.index].flags;
	info.count = server->irqs[info.index].count;
	vf_vfio_user_put_irq_info(reply, &info);
	return 0;
}

/* --- regions --- */

static int check_access(struct vf_vfio_user_server *server, uint32_t flag,
			struct vf_vfio_user_access *access)
{
	const struct vf_vfio_user_request *request = server->current;

	if (vf_vfio_user_get_region_access(request->body, request->body_len, access) ||
	    access->region >= VF_SERVER_REGIONS || !access->count ||
	    access->count > server->mine.max_data_xfer_bytes)
		return -EINVAL;
	if (!(server->regions[access->region].flags & flag) ||
	    !vf_range_in(access->address, access->count, server->regions[access->region].size))
		return -EINVAL;
	return 0;
}

int vf_server_region_read(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_access access;
	uint8_t *reply;

	if (check_access(server, VF_VFIO_REGION_FLAG_READ, &access))
		return -EINVAL;
	if (!server->ops.region_read)
		return -EOPNOTSUPP;
	reply = vf_server_reply(server, VF_VFIO_USER_ACCESS_BYTES + access.count);
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_region_access(reply, &access);
	vf_server_expect(server, VF_LATER_PLAIN);
	return (int) vf_server_called(server, server->ops.region_read(server->user, access.region,
				      access.address, reply + VF_VFIO_USER_ACCESS_BYTES,
				      (uint32_t) access.count));
}

int vf_server_region_write(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	struct vf_vfio_user_access access;
	uint8_t *reply;

	if (check_access(server, VF_VFIO_REGION_FLAG_WRITE, &access) ||
	    request->body_len - VF_VFIO_USER_ACCESS_BYTES != access.count)
		return -EINVAL;
	if (!server->ops.region_write)
		return -EOPNOTSUPP;
	reply = vf_server_reply(server, VF_VFIO_USER_ACCESS_BYTES);
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_region_access(reply, &access);
	vf_server_expect(server, VF_LATER_PLAIN);
	return (int) vf_server_called(server, server->ops.region_write(server->user, access.region,
				      access.address, request->body + VF_VFIO_USER_ACCESS_BYTES,
				      (uint32_t) access.count));
}

/* --- interrupts --- */

/* A client that lets its eventfd run full loses nothing: its counter is not zero. */
static int signal_locked(struct vf_server_vector *vector)
{
	struct pollfd p = { .fd = vector->trigger, .events = POLLOUT };

	if (vector->trigger < 0)
		return 0;
	if (poll(&p, 1, 0) == 1 && p.revents & POLLOUT)
		(void) eventfd_write(vector->trigger, 1);
	return 1;
}

static int raise_locked(struct vf_server_irq *irq, uint32_t n)
{
	struct vf_server_vector *vector = &irq->vectors[n];

	if (vector->masked) {
		vector->pending = true;
		return 0;
	}
	if (!signal_locked(vector))
		return 0;
	if (irq->flags & VF_VFIO_IRQ_INFO_AUTOMASKED)
		vector->masked = true;
	return 1;
}

static void unmask_locked(struct vf_server_irq *irq, uint32_t n)
{
	struct vf_server_vector *vector = &irq->vectors[n];
	bool again = vector->pending || (n == 0 && irq->level);

	vector->masked = false;
	vector->pending = false;
	if (again)
		(void) raise_locked(irq, n);
}

int vf_vfio_user_server_irq_trigger(struct vf_vfio_user_server *server, uint32_t index,
				    uint32_t vector)
{
	int ret = 0;

	if (index >= VF_SERVER_IRQS || vector >= server->irqs[index].count)
		return 0;
	(void) pthread_mutex_lock(&server->irq_lock);
	ret = raise_locked(&server->irqs[index], vector);
	(void) pthread_mutex_unlock(&server->irq_lock);
	return ret;
}

void vf_vfio_user_server_irq_level(struct vf_vfio_user_server *server, uint32_t index,
				   bool asserted)
{
	struct vf_server_irq *irq;

	if (index >= VF_SERVER_IRQS || !server->irqs[index].count)
		return;
	irq = &server->irqs[index];
	(void) pthread_mutex_lock(&server->irq_lock);
	if (asserted && !irq->level && !irq->vectors[0].masked)
		(void) raise_locked(irq, 0);
	irq->level = asserted;
	(void) pthread_mutex_unlock(&server->irq_lock);
}

bool vf_vfio_user_server_irq_connected(struct vf_vfio_user_server *server, uint32_t index,
				       uint32_t vector)
{
	bool connected;

	if (index >= VF_SERVER_IRQS || vector >= server->irqs[index].count)
		return false;
	(void) pthread_mutex_lock(&server->irq_lock);
	connected = server->irqs[index].vectors[vector].trigger >= 0;
	(void) pthread_mutex_unlock(&server->irq_lock);
	return connected;
}

static void drop_unmask_locked(struct vf_vfio_user_server *server, struct vf_server_irq *irq)
{
	if (irq->unmask >= 0)
		vf_server_unwatch(server, irq->unmask);
	vf_close(&irq->unmask);
}

/* Masks and what is pending go at a reset; the eventfds only with the client. */
void vf_server_irqs_forget(struct vf_vfio_user_server *server, bool fds_too)
{
	(void) pthread_mutex_lock(&server->irq_lock);
	for (uint32_t i = 0; i < VF_SERVER_IRQS; i++) {
		struct vf_server_irq *irq = &server->irqs[i];

		irq->level = false;
		for (uint32_t n = 0; n < irq->count; n++) {
			irq->vectors[n].masked = irq->vectors[n].pending = false;
			if (fds_too)
				vf_close(&irq->vectors[n].trigger);
		}
		if (fds_too)
			drop_unmask_locked(server, irq);
	}
	(void) pthread_mutex_unlock(&server->irq_lock);
}

void vf_server_irq_unmask_event(struct vf_vfio_user_server *server, uint32_t index)
{
	struct vf_server_irq *irq = &server->irqs[index];
	struct pollfd p;
	eventfd_t count;

	(void) pthread_mutex_lock(&server->irq_lock);
	p = (struct pollfd) { .fd = irq->unmask, .events = POLLIN };
	/* Asked again: the event may be older than the descriptor. */
	if (irq->unmask >= 0 && poll(&p, 1, 0) == 1 && p.revents & POLLIN &&
	    !eventfd_read(irq->unmask, &count) && irq->count)
		unmask_locked(irq, 0);
	(void) pthread_mutex_unlock(&server->irq_lock);
	if (server->ops.irq_changed)
		server->ops.irq_changed(server->user, index);
}

static int set_unmask_fd(struct vf_vfio_user_server *server, struct vf_server_irq *irq,
			 const struct vf_vfio_irq_set *set)
{
	struct vf_vfio_user_fds *fds = &server->current->fds;
	int ret;

	if (set->start || set->count != 1 || fds->count > 1)
		return -EINVAL;
	if (fds->count && !vf_fd_is_eventfd(fds->fd[0]))
		return -EINVAL;
	drop_unmask_locked(server, irq);
	if (!fds->count)
		return 0;
	irq->unmask = vf_fds_take(fds, 0);
	ret = vf_server_watch(server, irq->unmask, VF_TAG_UNMASK + set->index, EPOLLIN);
	if (ret)
		vf_close(&irq->unmask);
	return ret;
}

static int mask_locked(struct vf_vfio_user_server *server, struct vf_server_irq *irq,
		       const struct vf_vfio_irq_set *set, const uint8_t *bools)
{
	bool unmask = set->flags & VF_VFIO_IRQ_SET_ACTION_UNMASK;

	if (!(irq->flags & VF_VFIO_IRQ_INFO_MASKABLE))
		return -ENOTTY;
	if (set->flags & VF_VFIO_IRQ_SET_DATA_EVENTFD)
		return unmask ? set_unmask_fd(server, irq, set) : -ENOTTY;
	for (uint32_t i = 0; i < set->count; i++) {
		if (bools && !bools[i])
			continue;
		if (unmask)
			unmask_locked(irq, set->start + i);
		else
			irq->vectors[set->start + i].masked = true;
	}
	return 0;
}

static int connect_locked(struct vf_vfio_user_server *server, struct vf_server_irq *irq,
			  const struct vf_vfio_irq_set *set)
{
	struct vf_vfio_user_fds *fds = &server->current->fds;

	if (fds->count && fds->count != set->count)
		return -EINVAL;
	for (uint32_t i = 0; i < fds->count; i++)
		if (!vf_fd_is_eventfd(fds->fd[i]))
			return -EINVAL;
	for (uint32_t i = 0; i < set->count; i++) {
		vf_close(&irq->vectors[set->start + i].trigger);
		if (fds->count)
			irq->vectors[set->start + i].trigger = vf_fds_take(fds, i);
	}
	return 0;
}

static int trigger_locked(struct vf_vfio_user_server *server, struct vf_server_irq *irq,
			  const struct vf_vfio_irq_set *set, const uint8_t *bools)
{
	if (set->flags & VF_VFIO_IRQ_SET_DATA_EVENTFD)
		return connect_locked(server, irq, set);
	if (!set->count && set->flags & VF_VFIO_IRQ_SET_DATA_NONE) {
		for (uint32_t n = 0; n < irq->count; n++) {
			vf_close(&irq->vectors[n].trigger);
			irq->vectors[n].masked = irq->vectors[n].pending = false;
		}
		drop_unmask_locked(server, irq);
		return 0;
	}
	for (uint32_t i = 0; i < set->count; i++)
		if (!bools || bools[i])
			(void) raise_locked(irq, set->start + i);
	return 0;
}

int vf_server_set_irqs(struct vf_vfio_user_server *server)
{
	struct vf_vfio_irq_set set;
	struct vf_server_irq *irq;
	const uint8_t *bools;
	int ret;

	if (vf_vfio_user_get_irq_set(server->current->body, server->current->body_len, &set,
				     &bools) || set.index >= VF_SERVER_IRQS)
		return -EINVAL;
	irq = &server->irqs[set.index];
	if (!vf_range_in(set.start, set.count, irq->count))
		return -EINVAL;
	(void) pthread_mutex_lock(&server->irq_lock);
	if (set.flags & VF_VFIO_IRQ_SET_ACTION_TRIGGER)
		ret = trigger_locked(server, irq, &set, bools);
	else
		ret = mask_locked(server, irq, &set, bools);
	(void) pthread_mutex_unlock(&server->irq_lock);
	if (!ret && server->ops.irq_changed)
		server->ops.irq_changed(server->user, set.index);
	return ret;
}
