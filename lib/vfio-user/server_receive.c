/* SPDX-License-Identifier: MIT */
/*
 * server_receive.c - messages of the client, each received whole before anyone looks at it.
 *
 * What has come of the next one stays in `incoming` until the rest is there. While the device waits for
 * an answer of the client's (await_answer), requests that come first are put by in `queue`.
 */
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define BODY_SLACK (VF_VFIO_USER_FEATURE_BYTES + VF_VFIO_USER_LOG_START_BYTES + \
		    16u * VF_VFIO_USER_MAX_LOG_RANGES)

void vf_server_request_free(struct vf_vfio_user_request *request)
{
	if (!request)
		return;
	vf_fds_done(&request->fds);
	free(request->body);
	free(request);
}

static uint64_t body_limit(const struct vf_vfio_user_server *server, uint16_t command)
{
	if (command == VF_VFIO_USER_VERSION)
		return VF_VFIO_USER_VERSION_BYTES + VF_VFIO_USER_JSON_MAX + 1;
	return vf_max_u64(server->mine.max_data_xfer_bytes + VF_VFIO_USER_ACCESS_BYTES, BODY_SLACK);
}

static int receive_header(struct vf_vfio_user_server *server, struct vf_vfio_user_request *request)
{
	while (request->raw_got < VF_VFIO_USER_HEADER_BYTES) {
		ssize_t got = vf_socket_receive_some(server->fd, request->raw + request->raw_got,
						     VF_VFIO_USER_HEADER_BYTES - request->raw_got,
						     &request->fds);

		if (got <= 0)
			return got ? (int) got : -ENOTCONN;
		request->raw_got += (size_t) got;
	}
	if (vf_vfio_user_get_header(request->raw, &request->header))
		return -EPROTO;
	request->body_len = request->header.size - VF_VFIO_USER_HEADER_BYTES;
	if (request->body_len > body_limit(server, request->header.command) ||
	    request->fds.count > server->mine.max_msg_fds)
		return -EPROTO;
	request->body = malloc(request->body_len ? request->body_len : 1);
	return request->body ? 0 : -ENOMEM;
}

/* One whole message into *ret_request, which the caller owns; or -EAGAIN, or the client is bad. */
static int receive_request(struct vf_vfio_user_server *server,
			   struct vf_vfio_user_request **ret_request)
{
	struct vf_vfio_user_request *request = server->incoming;
	int ret;

	if (!request) {
		request = calloc(1, sizeof(*request));
		if (!request)
			return -ENOMEM;
		server->incoming = request;
	}
	if (!request->body) {
		ret = receive_header(server, request);
		if (ret)
			return ret;
	}
	while (request->body_got < request->body_len) {
		ssize_t got = vf_socket_receive_some(server->fd, request->body + request->body_got,
						     request->body_len - request->body_got,
						     &request->fds);

		if (got <= 0)
			return got ? (int) got : -ENOTCONN;
		request->body_got += (size_t) got;
	}
	if (request->fds.count > server->mine.max_msg_fds)
		return -EPROTO;
	server->incoming = NULL;
	*ret_request = request;
	return 0;
}

int vf_server_await_answer(struct vf_vfio_user_server *server, uint16_t id, uint16_t command,
			   uint8_t *body, size_t len, uint64_t deadline_ns)
{
	for (;;) {
		struct vf_vfio_user_request *request;
		int ret = receive_request(server, &request);

		if (ret == -EAGAIN) {
			ret = vf_socket_wait_in(server->fd, deadline_ns);
			if (ret)
				return ret;
			continue;
		}
		if (ret)
			return ret;
		if ((request->header.flags & VF_VFIO_USER_TYPE_MASK) == VF_VFIO_USER_TYPE_COMMAND) {
			if (server->queue_count == VF_SERVER_QUEUE) {
				vf_server_request_free(request);
				return -EPROTO;
			}
			*server->queue_end = request;
			server->queue_end = &request->next;
			server->queue_count++;
			continue;
		}
		ret = request->header.id != id || request->header.command != command ? -EPROTO :
		      request->header.flags & VF_VFIO_USER_ERROR ? -EFAULT :
		      request->body_len != len ? -EPROTO : 0;
		if (!ret)
			memcpy(body, request->body, len);
		vf_server_request_free(request);
		return ret;
	}
}

int vf_server_next_request(struct vf_vfio_user_server *server)
{
	if (server->queue) {
		server->current = server->queue;
		server->queue = server->queue->next;
		if (!server->queue)
			server->queue_end = &server->queue;
		server->queue_count--;
		return 0;
	}
	return receive_request(server, &server->current);
}
