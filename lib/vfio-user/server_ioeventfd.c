/* SPDX-License-Identifier: MIT */
/*
 * server_ioeventfd.c - writes to a region that come as counts of eventfds: kicks (server.h).
 *
 * Model: each ioeventfd is a non-blocking eventfd that is watched edge by edge, and read at the points
 * where order is at stake: before each request is begun, and after whatever a dispatch did. Reading is
 * what takes a kick, and it is done in running states only. So a kick is in the eventfd or with the
 * device, never in between: nothing has to be saved here.
 *
 * A client keeps what it was given for as long as it likes, so the next one gets other eventfds.
 */
#define _GNU_SOURCE
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "base/checked.h"
#include "base/cleanup.h"

static int make_eventfd(struct vf_vfio_user_server *server)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ret;

	if (fd < 0)
		return -errno;
	ret = vf_server_watch(server, fd, VF_TAG_KICK, EPOLLIN | EPOLLET);
	if (!ret)
		return fd;
	vf_close(&fd);
	return ret;
}

int vf_vfio_user_server_add_ioeventfd(struct vf_vfio_user_server *server,
				      const struct vf_vfio_user_ioeventfd_desc *desc,
				      struct vferry_error *err)
{
	int fd;

	if (!server->ops.kicked || desc->region >= VF_SERVER_REGIONS || desc->size > 8 ||
	    !vf_is_pow2(desc->size) ||
	    !(server->regions[desc->region].flags & VF_VFIO_REGION_FLAG_WRITE) ||
	    !vf_range_in(desc->offset, desc->size, server->regions[desc->region].size))
		return vferry_error_set(err, -EINVAL, "bad-argument", "vfio-user",
					"an ioeventfd of region %u can't be described so",
					desc->region);
	if (server->ioeventfd_count == VF_VFIO_USER_IOEVENTFDS)
		return vferry_error_set(err, -ENOSPC, "bad-argument", "vfio-user",
					"a device has %u ioeventfds at most", VF_VFIO_USER_IOEVENTFDS);
	fd = make_eventfd(server);
	if (fd < 0)
		return vferry_error_set(err, fd, "no-descriptor", "vfio-user", "no eventfd: %s",
					vferry_errno_name(fd));
	server->ioeventfds[server->ioeventfd_count++] = (struct vf_server_ioeventfd) {
		.desc = *desc,
		.fd = fd,
	};
	return 0;
}

/* Lists as many as descriptors fit into a message to this client; the rest it writes as ever. */
int vf_server_get_region_io_fds(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_io_fds ask;
	uint32_t numbers[VF_VFIO_USER_IOEVENTFDS], count = 0;
	uint8_t *reply;
	bool fits;

	if (vf_vfio_user_get_io_fds(server->current->body, server->current->body_len, &ask) ||
	    ask.region >= VF_SERVER_REGIONS || ask.flags || ask.count)
		return -EINVAL;
	for (uint32_t i = 0; i < server->ioeventfd_count; i++)
		if (server->ioeventfds[i].desc.region == ask.region &&
		    server->ioeventfds[i].fd >= 0 && count < server->theirs.max_msg_fds)
			numbers[count++] = i;
	fits = ask.argsz >= VF_VFIO_USER_IO_FDS_BYTES + VF_VFIO_USER_IO_FD_BYTES * count;
	ask.argsz = VF_VFIO_USER_IO_FDS_BYTES + VF_VFIO_USER_IO_FD_BYTES * count;
	ask.count = count;
	/* Too little room: says how much it takes. */
	reply = vf_server_reply(server, fits ? ask.argsz : VF_VFIO_USER_IO_FDS_BYTES);
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_io_fds(reply, &ask);
	for (uint32_t i = 0; fits && i < count; i++) {
		struct vf_server_ioeventfd *io = &server->ioeventfds[numbers[i]];
		const struct vf_vfio_user_io_fd span = {
			.offset = io->desc.offset,
			.size = io->desc.size,
			.fd_index = i,
			.type = VF_VFIO_USER_IOEVENTFD,
			.flags = io->desc.matches ? VF_VFIO_USER_IOEVENTFD_DATAMATCH : 0,
			.datamatch = io->desc.matches ? io->desc.match : 0,
		};

		vf_vfio_user_put_io_fd(reply + VF_VFIO_USER_IO_FDS_BYTES + i * VF_VFIO_USER_IO_FD_BYTES,
				       &span);
		server->reply_fds[server->reply_fd_count++] = io->fd;
		io->given = true;
	}
	return 0;
}

/* Whether reading waits is a flag that the client shares, and could change: so each read says it. */
static uint64_t take_count(const struct vf_server_ioeventfd *io)
{
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };

	if (io->fd < 0 || preadv2(io->fd, &iov, 1, -1, RWF_NOWAIT) != sizeof(count))
		return 0;
	return count;
}

static bool is_running(enum vf_vfio_state state)
{
	return state == VF_VFIO_STATE_RUNNING || state == VF_VFIO_STATE_RUNNING_P2P ||
	       vf_vfio_state_is_precopy(state);
}

void vf_server_kicks_take(struct vf_vfio_user_server *server)
{
	if (!server->ioeventfd_count || server->later ||
	    !is_running(vf_vfio_user_server_state(server)))
		return;
	for (uint32_t i = 0; i < server->ioeventfd_count; i++) {
		uint64_t count = take_count(&server->ioeventfds[i]);

		if (count)
			server->ops.kicked(server->user, i, count);
	}
}

void vf_server_kicks_drop(struct vf_vfio_user_server *server)
{
	for (uint32_t i = 0; i < server->ioeventfd_count; i++)
		(void) take_count(&server->ioeventfds[i]);
}

/* Without a new one the next client is offered none, and writes. */
void vf_server_kicks_forget(struct vf_vfio_user_server *server)
{
	for (uint32_t i = 0; i < server->ioeventfd_count; i++) {
		struct vf_server_ioeventfd *io = &server->ioeventfds[i];
		int fd;

		if (!io->given)
			continue;
		vf_server_unwatch(server, io->fd);
		vf_close(&io->fd);
		io->given = false;
		fd = make_eventfd(server);
		io->fd = fd >= 0 ? fd : -1;
	}
}
