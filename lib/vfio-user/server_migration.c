/* SPDX-License-Identifier: MIT */
/*
 * server_migration.c - the device's migration state, its data, and the features that speak of them.
 *
 * Every way through the states is in one table: `towards[from][to]` is the next state on the way of
 * a device that has them all; states that the device lacks are stepped over. The table is the
 * kernel's rule (shortest way, no saving state inside it) and has its own test.
 */
#define _GNU_SOURCE
#include "vfio-user/server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"

#define E VF_VFIO_STATE_ERROR
#define S VF_VFIO_STATE_STOP
#define R VF_VFIO_STATE_RUNNING
#define SC VF_VFIO_STATE_STOP_COPY
#define RE VF_VFIO_STATE_RESUMING
#define RP VF_VFIO_STATE_RUNNING_P2P
#define PC VF_VFIO_STATE_PRE_COPY
#define PP VF_VFIO_STATE_PRE_COPY_P2P

/* Columns: ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P.
 * E: there is no way. */
static const uint8_t towards[VF_VFIO_STATE__COUNT][VF_VFIO_STATE__COUNT] = {
	[E]  = { E, E,  E,  E,  E,  E,  E,  E },
	[S]  = { E, S,  RP, SC, RE, RP, RP, RP },
	[R]  = { E, RP, R,  RP, RP, RP, PC, RP },
	[SC] = { E, S,  S,  SC, S,  S,  E,  E },
	[RE] = { E, S,  S,  S,  RE, S,  S,  S },
	[RP] = { E, S,  R,  S,  S,  RP, R,  PP },
	[PC] = { E, R,  R,  PP, R,  R,  PC, PP },
	[PP] = { E, RP, RP, SC, RP, RP, PC, PP },
};

#undef E
#undef S
#undef R
#undef SC
#undef RE
#undef RP
#undef PC
#undef PP

static bool has_state(uint64_t flags, uint32_t state)
{
	bool p2p = flags & VF_VFIO_MIGRATION_P2P, precopy = flags & VF_VFIO_MIGRATION_PRE_COPY;

	switch (state) {
	case VF_VFIO_STATE_STOP:
	case VF_VFIO_STATE_STOP_COPY:
	case VF_VFIO_STATE_RESUMING:
		return flags & VF_VFIO_MIGRATION_STOP_COPY;
	case VF_VFIO_STATE_RUNNING:
		return true;
	case VF_VFIO_STATE_RUNNING_P2P:
		return p2p;
	case VF_VFIO_STATE_PRE_COPY:
		return precopy;
	case VF_VFIO_STATE_PRE_COPY_P2P:
		return p2p && precopy;
	default:
		return false;
	}
}

int vf_vfio_user_next_state(uint64_t flags, enum vf_vfio_state from, enum vf_vfio_state to,
			    enum vf_vfio_state *ret_next)
{
	uint8_t next = (uint8_t) from;

	if (!has_state(flags, from) || !has_state(flags, to))
		return -EINVAL;
	do {
		next = towards[next][to];
	} while (next != VF_VFIO_STATE_ERROR && !has_state(flags, next));
	if (next == VF_VFIO_STATE_ERROR)
		return -EINVAL;
	*ret_next = (enum vf_vfio_state) next;
	return 0;
}

enum vf_vfio_state vf_vfio_user_server_state(struct vf_vfio_user_server *server)
{
	enum vf_vfio_state state;

	(void) pthread_mutex_lock(&server->state_lock);
	state = server->lost ? VF_VFIO_STATE_ERROR : server->state;
	(void) pthread_mutex_unlock(&server->state_lock);
	return state;
}

void vf_vfio_user_server_device_lost(struct vf_vfio_user_server *server)
{
	(void) pthread_mutex_lock(&server->state_lock);
	server->lost = true;
	(void) pthread_mutex_unlock(&server->state_lock);
}

static void set_state(struct vf_vfio_user_server *server, enum vf_vfio_state state, bool found)
{
	(void) pthread_mutex_lock(&server->state_lock);
	server->state = state;
	if (found)
		server->lost = false;
	(void) pthread_mutex_unlock(&server->state_lock);
}

/* An arc is done. A device that takes in another's state has no kicks of its own any more. */
static void arrive(struct vf_vfio_user_server *server, enum vf_vfio_state state)
{
	set_state(server, state, false);
	if (state == VF_VFIO_STATE_RESUMING)
		vf_server_kicks_drop(server);
}

static uint64_t visible_flags(const struct vf_vfio_user_server *server)
{
	uint64_t flags = server->options.migration_flags;

	return server->both.p2p ? flags : flags & ~VF_VFIO_MIGRATION_P2P;
}

/* Arc by arc to the target; stops at LATER and goes on from there when it is done. */
static int walk(struct vf_vfio_user_server *server)
{
	for (;;) {
		enum vf_vfio_state from = vf_vfio_user_server_state(server), to;
		int64_t ret;

		if (from == server->target)
			return 0;
		if (vf_vfio_user_next_state(server->options.migration_flags, from, server->target,
					    &to))
			return from == VF_VFIO_STATE_ERROR ? -EIO : -EINVAL;
		server->arc_to = to;
		vf_server_expect(server, VF_LATER_ARC);
		ret = vf_server_called(server, server->ops.arc ?
				       server->ops.arc(server->user, from, to) : 0);
		if (ret)
			return (int) ret;
		arrive(server, to);
	}
}

static int feature_set_state(struct vf_vfio_user_server *server, const uint8_t *data, size_t len)
{
	enum vf_vfio_state from = vf_vfio_user_server_state(server), next;
	uint32_t state;

	if (len < 8)
		return -EINVAL;
	state = vf_get_u32(data);
	if (state >= VF_VFIO_STATE__COUNT || !has_state(visible_flags(server), state))
		return -EINVAL;
	if (vf_vfio_user_next_state(server->options.migration_flags, from,
				    (enum vf_vfio_state) state, &next))
		return -EINVAL;
	server->target = (enum vf_vfio_state) state;
	return walk(server);
}

/* --- features --- */

static uint32_t operations_of(const struct vf_vfio_user_server *server, uint32_t index)
{
	if (!server->options.migration_flags)
		return 0;
	switch (index) {
	case VF_VFIO_FEATURE_MIGRATION:
		return VF_VFIO_FEATURE_GET;
	case VF_VFIO_FEATURE_DMA_LOGGING_REPORT:
		return server->options.no_dma_log ? 0 : VF_VFIO_FEATURE_GET;
	case VF_VFIO_FEATURE_MIG_DEVICE_STATE:
		return VF_VFIO_FEATURE_GET | VF_VFIO_FEATURE_SET;
	case VF_VFIO_FEATURE_DMA_LOGGING_START:
	case VF_VFIO_FEATURE_DMA_LOGGING_STOP:
		return server->options.no_dma_log ? 0 : VF_VFIO_FEATURE_SET;
	case VF_VFIO_FEATURE_MIG_DATA_SIZE:
		return server->both.data_size ? VF_VFIO_FEATURE_GET : 0;
	default:
		return 0;
	}
}

/* A reply of the feature's header and @len bytes that follow at the returned pointer. */
static uint8_t *feature_reply(struct vf_vfio_user_server *server, uint32_t flags, size_t len)
{
	uint8_t *reply = vf_server_reply(server, VF_VFIO_USER_FEATURE_BYTES + len);

	if (!reply)
		return NULL;
	vf_vfio_user_put_feature(reply, (uint32_t) (VF_VFIO_USER_FEATURE_BYTES + len), flags);
	return reply + VF_VFIO_USER_FEATURE_BYTES;
}

static int feature_get(struct vf_vfio_user_server *server, uint32_t flags, uint32_t argsz)
{
	uint8_t *reply = feature_reply(server, flags, 8);
	uint64_t bytes = 0;
	int64_t ret;

	if (!reply)
		return -ENOMEM;
	if (argsz < VF_VFIO_USER_FEATURE_BYTES + 8)
		return -EINVAL;
	switch (flags & VF_VFIO_FEATURE_MASK) {
	case VF_VFIO_FEATURE_MIGRATION:
		vf_put_u64(reply, visible_flags(server));
		return 0;
	case VF_VFIO_FEATURE_MIG_DEVICE_STATE:
		vf_put_u32(reply, vf_vfio_user_server_state(server));
		return 0;
	default:
		ret = server->ops.data_size ? server->ops.data_size(server->user, &bytes) :
		      -EOPNOTSUPP;
		vf_put_u64(reply, bytes);
		return (int) ret;
	}
}

static int feature_set(struct vf_vfio_user_server *server, uint32_t flags, const uint8_t *data,
		       size_t len)
{
	uint8_t *reply = feature_reply(server, flags, len);

	if (!reply)
		return -ENOMEM;
	memcpy(reply, data, len);	/* SET repeats what it was given, with changes */
	switch (flags & VF_VFIO_FEATURE_MASK) {
	case VF_VFIO_FEATURE_MIG_DEVICE_STATE:
		return feature_set_state(server, data, len);
	case VF_VFIO_FEATURE_DMA_LOGGING_START:
		return vf_server_log_start(server, data, len);
	default:
		return vf_server_log_stop(server);
	}
}

int vf_server_feature(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	uint32_t argsz, flags, wanted, have;
	const uint8_t *data;
	size_t len;

	if (vf_vfio_user_get_feature(request->body, request->body_len, &argsz, &flags, &data, &len))
		return -EINVAL;
	wanted = flags & (VF_VFIO_FEATURE_GET | VF_VFIO_FEATURE_SET);
	have = operations_of(server, flags & VF_VFIO_FEATURE_MASK);
	if (!have)
		return -ENOTTY;
	if (flags & ~(VF_VFIO_FEATURE_MASK | VF_VFIO_FEATURE_GET | VF_VFIO_FEATURE_SET |
		      VF_VFIO_FEATURE_PROBE) || wanted & ~have || argsz < request->body_len)
		return -EINVAL;
	if (flags & VF_VFIO_FEATURE_PROBE)
		return feature_reply(server, flags, 0) ? 0 : -ENOMEM;
	if (wanted == VF_VFIO_FEATURE_SET)
		return feature_set(server, flags, data, len);
	if (wanted != VF_VFIO_FEATURE_GET)
		return -EINVAL;
	if ((flags & VF_VFIO_FEATURE_MASK) == VF_VFIO_FEATURE_DMA_LOGGING_REPORT)
		return vf_server_log_report(server, data, len, argsz);
	return feature_get(server, flags, argsz);
}

/* --- data --- */

static bool is_saving(enum vf_vfio_state state)
{
	return state == VF_VFIO_STATE_STOP_COPY || vf_vfio_state_is_precopy(state);
}

/* How much of @asked a device gave; more than asked is the device's bug, and not passed on. */
static int64_t read_result(int64_t ret, uint64_t asked)
{
	return ret > 0 && (uint64_t) ret > asked ? -EIO : ret;
}

static int finish_data_read(struct vf_vfio_user_server *server, int64_t result)
{
	uint64_t asked = server->reply_len - VF_VFIO_USER_MIG_DATA_BYTES;
	uint32_t size;

	result = read_result(result, asked);
	if (result < 0)
		return (int) result;
	size = (uint32_t) result;
	vf_vfio_user_put_mig_data(server->reply, VF_VFIO_USER_MIG_DATA_BYTES + size, size);
	/* libvfio-user's clients wait for as much as they asked for, whatever the size field says. */
	if (server->both.extensions)
		server->reply_len = VF_VFIO_USER_MIG_DATA_BYTES + size;
	return 0;
}

int vf_server_mig_data_read(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	uint32_t argsz, size;
	uint8_t *reply;
	int64_t ret;

	if (vf_vfio_user_get_mig_data(request->body, request->body_len, &argsz, &size))
		return -EINVAL;
	if (size > server->mine.max_data_xfer_bytes ||
	    argsz < VF_VFIO_USER_MIG_DATA_BYTES ||
	    size > argsz - VF_VFIO_USER_MIG_DATA_BYTES ||
	    !is_saving(vf_vfio_user_server_state(server)))
		return -EINVAL;
	if (!server->ops.data_read)
		return -EOPNOTSUPP;
	reply = vf_server_reply(server, VF_VFIO_USER_MIG_DATA_BYTES + size);
	if (!reply)
		return -ENOMEM;
	vf_server_expect(server, VF_LATER_DATA_READ);
	ret = vf_server_called(server, server->ops.data_read(server->user,
			       reply + VF_VFIO_USER_MIG_DATA_BYTES, size));
	return ret == VF_VFIO_USER_LATER ? VF_VFIO_USER_LATER : finish_data_read(server, ret);
}

int vf_server_mig_data_write(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	uint32_t argsz, size;

	if (vf_vfio_user_get_mig_data(request->body, request->body_len, &argsz, &size))
		return -EINVAL;
	if (size != request->body_len - VF_VFIO_USER_MIG_DATA_BYTES ||
	    vf_vfio_user_server_state(server) != VF_VFIO_STATE_RESUMING)
		return -EINVAL;
	if (!server->ops.data_write)
		return -EOPNOTSUPP;
	vf_server_expect(server, VF_LATER_PLAIN);
	return (int) vf_server_called(server, server->ops.data_write(server->user,
				      request->body + VF_VFIO_USER_MIG_DATA_BYTES, size));
}

int vf_server_precopy_info(struct vf_vfio_user_server *server)
{
	enum vf_vfio_state state = vf_vfio_user_server_state(server);
	struct vf_vfio_precopy_info info = { 0 };
	uint8_t *reply;
	int ret;

	if (!server->both.precopy_info)
		return -EOPNOTSUPP;
	if (!vf_vfio_state_is_precopy(state))
		return -EINVAL;
	ret = server->ops.precopy_info(server->user, &info);
	if (ret)
		return ret;
	reply = vf_server_reply(server, VF_VFIO_USER_PRECOPY_BYTES);
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_precopy(reply, &info);
	return 0;
}

/* --- shared buffer --- */

void vf_server_buffer_forget(struct vf_vfio_user_server *server)
{
	if (server->buffer)
		(void) munmap(server->buffer, server->buffer_len);
	server->buffer = NULL;
	server->buffer_len = 0;
}

int vf_server_buffer_open(struct vf_vfio_user_server *server)
{
	struct vf_vfio_user_request *request = server->current;
	uint64_t offset, size;
	struct stat st;
	int fd = request->fds.count == 1 ? request->fds.fd[0] : -1, seals;
	void *map;

	if (vf_vfio_user_get_buffer_range(request->body, request->body_len, &offset, &size) ||
	    offset || !size || fd < 0)
		return -EINVAL;
	if (size > server->both.mig_buffer_bytes)
		return -E2BIG;
	/* A client that could shorten the file could make us fault. */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) || (uint64_t) st.st_size < size)
		return -EINVAL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	vf_server_buffer_forget(server);
	server->buffer = map;
	server->buffer_len = size;
	return 0;
}

static int finish_buffer_read(struct vf_vfio_user_server *server, int64_t result)
{
	uint64_t offset = vf_get_u64(server->current->body);
	uint64_t asked = vf_get_u64(server->current->body + 8);
	uint8_t *reply = vf_server_reply(server, VF_VFIO_USER_BUFFER_RANGE_BYTES);

	result = read_result(result, asked);
	if (result < 0)
		return (int) result;
	if (!reply)
		return -ENOMEM;
	vf_vfio_user_put_buffer_range(reply, offset, (uint64_t) result);
	return 0;
}

static int buffer_range(struct vf_vfio_user_server *server, uint8_t **ret_at, uint64_t *ret_size)
{
	uint64_t offset;

	if (vf_vfio_user_get_buffer_range(server->current->body, server->current->body_len, &offset,
					  ret_size) ||
	    !server->buffer || !vf_range_in(offset, *ret_size, server->buffer_len))
		return -EINVAL;
	*ret_at = server->buffer + offset;
	return 0;
}

int vf_server_buffer_read(struct vf_vfio_user_server *server)
{
	uint64_t size;
	uint8_t *at;
	int64_t ret;

	if (buffer_range(server, &at, &size) || !is_saving(vf_vfio_user_server_state(server)))
		return -EINVAL;
	if (!server->ops.data_read)
		return -EOPNOTSUPP;
	vf_server_expect(server, VF_LATER_BUFFER_READ);
	ret = vf_server_called(server, server->ops.data_read(server->user, at, size));
	return ret == VF_VFIO_USER_LATER ? VF_VFIO_USER_LATER : finish_buffer_read(server, ret);
}

int vf_server_buffer_write(struct vf_vfio_user_server *server)
{
	uint64_t size;
	uint8_t *at;

	if (buffer_range(server, &at, &size) ||
	    vf_vfio_user_server_state(server) != VF_VFIO_STATE_RESUMING)
		return -EINVAL;
	if (!server->ops.data_write)
		return -EOPNOTSUPP;
	vf_server_expect(server, VF_LATER_PLAIN);
	return (int) vf_server_called(server, server->ops.data_write(server->user, at, size));
}

/* --- reset, and what came later --- */

int vf_server_finish_reset(struct vf_vfio_user_server *server, int64_t result)
{
	if (result)
		return (int) result;
	vf_server_irqs_forget(server, false);
	vf_server_kicks_drop(server);
	set_state(server, VF_VFIO_STATE_RUNNING, true);
	return 0;
}

int vf_server_reset(struct vf_vfio_user_server *server)
{
	int64_t ret;

	if (!server->ops.reset || !(server->options.device_flags & VF_VFIO_DEVICE_FLAGS_RESET))
		return -EOPNOTSUPP;
	vf_server_expect(server, VF_LATER_RESET);
	ret = vf_server_called(server, server->ops.reset(server->user, VF_VFIO_USER_RESET_REQUEST));
	return ret == VF_VFIO_USER_LATER ? VF_VFIO_USER_LATER : vf_server_finish_reset(server, ret);
}

int vf_server_finish_migration(struct vf_vfio_user_server *server, enum vf_server_later kind,
			       int64_t result)
{
	switch (kind) {
	case VF_LATER_DATA_READ:
		return finish_data_read(server, result);
	case VF_LATER_BUFFER_READ:
		return finish_buffer_read(server, result);
	case VF_LATER_ARC:
		if (result)
			return (int) result;
		arrive(server, server->arc_to);
		return walk(server);
	default:
		return (int) result;
	}
}
