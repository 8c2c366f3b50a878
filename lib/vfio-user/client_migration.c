/* SPDX-License-Identifier: MIT */
/*
 * client_migration.c - states and data of a device that migrates: client.h's migration part. What a
 * foreign peer has no word for (sizes, precopy information, the shared buffer) is -EOPNOTSUPP.
 */
#define _GNU_SOURCE
#include "vfio-user/client_internal.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/sealed.h"

static int foreign(struct vf_vfio_user_client *client, const char *what, struct vferry_error *err)
{
	return vferry_error_set(err, -EOPNOTSUPP, "device-server-foreign", client->name,
				"the device server has no %s", what);
}

int vf_vfio_user_client_get_migration(struct vf_vfio_user_client *client, uint64_t *ret_flags,
				      struct vferry_error *err)
{
	uint8_t data[8];
	uint64_t flags;
	struct vferry_error why = VFERRY_ERROR_INIT;
	int ret = vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_MIGRATION |
					      VF_VFIO_FEATURE_GET, data, 0, sizeof(data), &why);

	if (ret == -EINVAL || ret == -EOPNOTSUPP || ret == -ENOTTY)
		return vferry_error_set(err, -ENOTTY, "device-not-migratable", client->name,
					"the device can't migrate: its server knows no migration");
	if (ret < 0) {
		if (err && !err->code)
			*err = why;
		return ret;
	}
	if (ret < 8)
		return vf_vfio_user_client_broken(client, "migration flags too short", err);
	flags = vf_get_u64(data);
	if (!client->peer.p2p)
		flags &= ~VF_VFIO_MIGRATION_P2P;
	if (!(flags & VF_VFIO_MIGRATION_STOP_COPY))
		return vferry_error_set(err, -ENOTTY, "device-not-migratable", client->name,
					"the device can't migrate: it has no STOP_COPY");
	*ret_flags = flags;
	return 0;
}

int vf_vfio_user_client_get_state(struct vf_vfio_user_client *client, enum vf_vfio_state *ret_state,
				  struct vferry_error *err)
{
	uint8_t data[8];
	uint32_t state;
	int ret = vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_MIG_DEVICE_STATE |
					      VF_VFIO_FEATURE_GET, data, 0, sizeof(data), err);

	if (ret < 0)
		return ret;
	state = ret >= 4 ? vf_get_u32(data) : VF_VFIO_STATE__COUNT;
	if (state >= VF_VFIO_STATE__COUNT)
		return vf_vfio_user_client_broken(client, "a device state that does not exist", err);
	*ret_state = (enum vf_vfio_state) state;
	return 0;
}

static int confirm_state(struct vf_vfio_user_client *client, enum vf_vfio_state state,
			 struct vferry_error *err)
{
	enum vf_vfio_state now;
	int ret = vf_vfio_user_client_get_state(client, &now, err);

	if (ret || now == state)
		return ret;
	return vferry_error_set(err, -EREMOTEIO, "device-state", client->name,
				"the device is in state %d, not in %d as was asked", now, state);
}

int vf_vfio_user_client_set_state(struct vf_vfio_user_client *client, enum vf_vfio_state state,
				  struct vferry_error *err)
{
	uint8_t data[8];
	int ret;

	if ((state == VF_VFIO_STATE_RUNNING_P2P || state == VF_VFIO_STATE_PRE_COPY_P2P) &&
	    !client->peer.p2p)
		return vferry_error_set(err, -EINVAL, "device-server-foreign", client->name,
					"the device server has no P2P states");
	vf_put_u32(data, state);
	vf_put_u32(data + 4, 0);
	ret = vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_MIG_DEVICE_STATE |
					  VF_VFIO_FEATURE_SET, data, sizeof(data), sizeof(data), err);
	if (ret < 0)
		return ret;
	/* libvfio-user may answer a transition that failed with neither an error nor the state. */
	return ret >= 4 && vf_get_u32(data) == state ? 0 : confirm_state(client, state, err);
}

ssize_t vf_vfio_user_client_mig_data_read(struct vf_vfio_user_client *client, void *to, size_t len,
					  struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_MIG_DATA_BYTES], reply[VF_VFIO_USER_MIG_DATA_BYTES];
	uint32_t ask = (uint32_t) vf_min_u64(len, client->peer.max_data_xfer_bytes);
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_MIG_DATA_READ,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
		.reply_data = to,
		.reply_data_size = ask,
		.transition = true,
	};
	uint32_t argsz, size;
	int ret;

	vf_vfio_user_put_mig_data(body, VF_VFIO_USER_MIG_DATA_BYTES + ask, ask);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret)
		return ret;
	/* libvfio-user pads the message to what was asked for: only the size field is true. */
	if (vf_vfio_user_get_mig_data(reply, call.reply_len, &argsz, &size) ||
	    size > call.reply_len - VF_VFIO_USER_MIG_DATA_BYTES)
		return vf_vfio_user_client_broken(client, "migration data of another length", err);
	return (ssize_t) size;
}

int vf_vfio_user_client_mig_data_write(struct vf_vfio_user_client *client, const void *from,
				       size_t len, struct vferry_error *err)
{
	for (size_t at = 0; at < len;) {
		uint32_t step = (uint32_t) vf_min_u64(len - at, client->peer.max_data_xfer_bytes);
		uint8_t body[VF_VFIO_USER_MIG_DATA_BYTES], reply[64];
		struct vf_vfio_user_call call = {
			.command = VF_VFIO_USER_MIG_DATA_WRITE,
			.head = body,
			.head_len = sizeof(body),
			.data = (const uint8_t *) from + at,
			.data_len = step,
			.reply = reply,
			.reply_size = sizeof(reply),
			.transition = true,
		};
		int ret;

		vf_vfio_user_put_mig_data(body, VF_VFIO_USER_MIG_DATA_BYTES + step, step);
		ret = vf_vfio_user_client_call(client, &call, err);
		if (ret)
			return ret;
		at += step;
	}
	return 0;
}

int vf_vfio_user_client_get_data_size(struct vf_vfio_user_client *client, uint64_t *ret_bytes,
				      struct vferry_error *err)
{
	uint8_t data[8];
	int ret;

	if (!client->peer.data_size)
		return foreign(client, "way to tell the size of its state", err);
	ret = vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_MIG_DATA_SIZE |
					  VF_VFIO_FEATURE_GET, data, 0, sizeof(data), err);
	if (ret < 0)
		return ret;
	if (ret < 8)
		return vf_vfio_user_client_broken(client, "a data size too short", err);
	*ret_bytes = vf_get_u64(data);
	return 0;
}

int vf_vfio_user_client_get_precopy_info(struct vf_vfio_user_client *client,
					 struct vf_vfio_precopy_info *ret_info,
					 struct vferry_error *err)
{
	uint8_t reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_PRECOPY_INFO,
		.reply = reply,
		.reply_size = sizeof(reply),
	};
	int ret;

	if (!client->peer.precopy_info)
		return foreign(client, "precopy information", err);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret)
		return ret;
	if (vf_vfio_user_get_precopy(reply, call.reply_len, ret_info))
		return vf_vfio_user_client_broken(client, "precopy information too short", err);
	return 0;
}

/* --- shared buffer --- */

int vf_vfio_user_client_mig_buffer_open(struct vf_vfio_user_client *client, size_t bytes,
					void **ret_map, int *ret_fd, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_BUFFER_RANGE_BYTES], reply[64];
	int fd = -1, ret;
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_BUFFER_OPEN,
		.head = body,
		.head_len = sizeof(body),
		.fds = &fd,
		.fd_count = 1,
		.reply = reply,
		.reply_size = sizeof(reply),
	};
	void *map = NULL;

	if (!client->peer.mig_buffer_bytes)
		return foreign(client, "shared migration buffer", err);
	if (!bytes || bytes > client->peer.mig_buffer_bytes)
		return vferry_error_set(err, -E2BIG, "bad-argument", client->name,
					"the device server takes a buffer of up to %llu bytes",
					(unsigned long long) client->peer.mig_buffer_bytes);
	ret = vf_sealed_map("vferry-device-state", bytes, &fd, &map);
	if (ret)
		return vferry_error_set(err, ret, "no-memory", client->name,
					"no buffer of %zu bytes: %s", bytes, vferry_errno_name(ret));
	vf_vfio_user_put_buffer_range(body, 0, bytes);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret) {
		(void) munmap(map, bytes);
		vf_close(&fd);
		return ret;
	}
	if (client->buffer)
		(void) munmap(client->buffer, client->buffer_bytes);
	vf_close(&client->buffer_fd);
	client->buffer = map;
	client->buffer_bytes = bytes;
	client->buffer_fd = fd;
	*ret_map = map;
	if (ret_fd)
		*ret_fd = fd;
	return 0;
}

static int buffer_call(struct vf_vfio_user_client *client, uint16_t command, size_t offset,
		       size_t len, uint64_t *ret_size, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_BUFFER_RANGE_BYTES], reply[64];
	struct vf_vfio_user_call call = {
		.command = command,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
		.transition = true,
	};
	uint64_t got_offset, size;
	int ret;

	if (!vf_range_in(offset, len, client->buffer_bytes))
		return vferry_error_set(err, -EINVAL, "bad-argument", client->name,
					"a range outside the migration buffer");
	vf_vfio_user_put_buffer_range(body, offset, len);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret || !ret_size)
		return ret;
	if (vf_vfio_user_get_buffer_range(reply, call.reply_len, &got_offset, &size) ||
	    got_offset != offset || size > len)
		return vf_vfio_user_client_broken(client, "migration data of another length", err);
	*ret_size = size;
	return 0;
}

ssize_t vf_vfio_user_client_mig_buffer_read(struct vf_vfio_user_client *client, size_t offset,
					    size_t len, struct vferry_error *err)
{
	uint64_t size;
	int ret = buffer_call(client, VF_VFIO_USER_BUFFER_READ, offset, len, &size, err);

	return ret ? ret : (ssize_t) size;
}

int vf_vfio_user_client_mig_buffer_write(struct vf_vfio_user_client *client, size_t offset,
					 size_t len, struct vferry_error *err)
{
	return buffer_call(client, VF_VFIO_USER_BUFFER_WRITE, offset, len, NULL, err);
}
