/* SPDX-License-Identifier: MIT */
/*
 * client_ioeventfd.c - which writes a server would rather have by eventfd (GET_REGION_IO_FDS).
 *
 * The request is optional, and so is using what it answers: an errno is "none", and what is of no use
 * here is left out. What can't be true of an ioeventfd breaks the connection, as elsewhere.
 */
#define _GNU_SOURCE
#include "vfio-user/client_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"

static bool is_of_use(const struct vf_vfio_user_io_fd *io)
{
	if (io->type != VF_VFIO_USER_IOEVENTFD || io->flags & ~VF_VFIO_USER_IOEVENTFD_DATAMATCH)
		return false;
	/* A value to compare with has a size. */
	return !(io->flags & VF_VFIO_USER_IOEVENTFD_DATAMATCH) || io->size;
}

/* Descriptors may be shared by several spans: each gets one of its own. */
static int take_one(const struct vf_vfio_user_io_fd *io, const struct vf_vfio_user_fds *fds,
		    struct vf_vfio_user_ioeventfd *ret)
{
	int fd;

	/* KVM takes nothing else. */
	if (io->fd_index >= fds->count || !vf_fd_is_eventfd(fds->fd[io->fd_index]))
		return -EPROTO;
	fd = fcntl(fds->fd[io->fd_index], F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*ret = (struct vf_vfio_user_ioeventfd) {
		.offset = io->offset,
		.size = (uint32_t) io->size,
		.matches = io->flags & VF_VFIO_USER_IOEVENTFD_DATAMATCH,
		.match = io->datamatch,
		.fd = fd,
	};
	return 0;
}

static int take_all(struct vf_vfio_user_client *client, const struct vf_vfio_user_call *call,
		    uint32_t region, uint64_t region_bytes, struct vf_vfio_user_ioeventfd *list,
		    uint32_t *ret_count, struct vferry_error *err)
{
	struct vf_vfio_user_io_fd spans[VF_VFIO_USER_MAX_IO_FDS];
	struct vf_vfio_user_io_fds head;
	uint32_t spans_count = 0, count = 0;
	int ret = vf_vfio_user_get_io_fd_list(call->reply, call->reply_len, region_bytes, spans,
					      &spans_count);

	if (ret == -E2BIG)
		spans_count = 0;
	else if (ret || vf_vfio_user_get_io_fds(call->reply, call->reply_len, &head) ||
		 head.region != region)
		return vf_vfio_user_client_broken(client, "region io descriptors of another shape",
						  err);
	ret = 0;
	for (uint32_t i = 0; i < spans_count && !ret; i++) {
		if (!is_of_use(&spans[i]))
			continue;
		ret = take_one(&spans[i], call->reply_fds, &list[count]);
		count += !ret;
	}
	if (!ret) {
		*ret_count = count;
		return 0;
	}
	while (count)
		vf_close(&list[--count].fd);
	if (ret == -EPROTO)
		return vf_vfio_user_client_broken(client, "an ioeventfd without its eventfd", err);
	return vferry_error_set(err, ret, "no-descriptor", client->name, "no descriptor: %s",
				vferry_errno_name(ret));
}

int vf_vfio_user_client_get_ioeventfds(struct vf_vfio_user_client *client, uint32_t region,
				       uint64_t region_bytes, struct vf_vfio_user_ioeventfd *list,
				       uint32_t *ret_count, struct vferry_error *err)
{
	struct vf_vfio_user_io_fds ask = { .argsz = VF_VFIO_USER_IO_FDS_MAX, .region = region };
	uint8_t body[VF_VFIO_USER_IO_FDS_BYTES], reply[VF_VFIO_USER_IO_FDS_MAX];
	struct vf_vfio_user_fds fds = { .count = 0 };
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_GET_REGION_IO_FDS,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
		.reply_fds = &fds,
	};
	struct vferry_error why = VFERRY_ERROR_INIT;
	int ret;

	vf_vfio_user_put_io_fds(body, &ask);
	ret = vf_vfio_user_client_call(client, &call, &why);
	if (!ret) {
		ret = take_all(client, &call, region, region_bytes, list, ret_count, err);
	} else if (!vf_vfio_user_client_check_alive(client, err)) {
		*ret_count = 0;		/* refused: it has none, or does not know the request */
		ret = 0;
	}
	vf_fds_done(&fds);
	return ret;
}
