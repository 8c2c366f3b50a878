/* SPDX-License-Identifier: MIT */
/*
 * client_device.c - what client.h offers over the connection: information, access, interrupts, DMA
 * and the DMA log. Each function is one request, or several where a peer's limits demand it.
 */
#define _GNU_SOURCE
#include "vfio-user/client_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"

#define LOG_PAGES_AT_ONCE_ALIGN 64ull	/* a chunk's bitmap ends with a whole word */

int vf_vfio_user_client_get_info(struct vf_vfio_user_client *client,
				 struct vf_vfio_device_info *ret_info, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_INFO_BYTES] = { 0 }, reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_GET_INFO,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
	};
	struct vf_vfio_device_info info;
	int ret;

	vf_put_u32(body, VF_VFIO_USER_INFO_BYTES);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret)
		return ret;
	if (vf_vfio_user_get_device_info(reply, call.reply_len, &info))
		return vf_vfio_user_client_broken(client, "device info too short", err);
	*ret_info = info;
	return 0;
}

/* Looks at the file behind a mappable region: is it long enough, and can it get shorter? */
static int check_region_file(const struct vf_vfio_user_region *region, bool *ret_sealed)
{
	struct stat st;
	uint64_t end;
	int seals;

	if (fstat(region->fd, &st))
		return -errno;
	if (vf_add_u64(region->fd_offset, region->size, &end))
		return -EPROTO;
	if (S_ISREG(st.st_mode)) {
		for (uint32_t i = 0; i < region->area_count; i++)
			if (!vf_range_in(region->fd_offset + region->areas[i].offset,
					 region->areas[i].size, (uint64_t) st.st_size))
				return -EPROTO;
	}
	seals = fcntl(region->fd, F_GET_SEALS);
	*ret_sealed = seals >= 0 && (seals & F_SEAL_SHRINK);
	return 0;
}

static int fill_region(struct vf_vfio_user_client *client, uint32_t index, const uint8_t *reply,
		       size_t len, struct vf_vfio_user_fds *fds, struct vf_vfio_user_region *region,
		       struct vferry_error *err)
{
	struct vf_vfio_region_info info;
	uint32_t count;

	if (vf_vfio_user_get_region_info(reply, len, &info) || info.index != index)
		return vf_vfio_user_client_broken(client, "region info of another shape", err);
	*region = (struct vf_vfio_user_region) {
		.index = index,
		.flags = info.flags & (VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE |
				       VF_VFIO_REGION_FLAG_MMAP),
		.size = info.size,
		.fd_offset = info.offset,
		.fd = -1,
	};
	/* Mappable without a descriptor happens (a capability did not fit): plain access then. */
	if (!(info.flags & VF_VFIO_REGION_FLAG_MMAP) || !fds->count || !info.size) {
		region->flags &= ~VF_VFIO_REGION_FLAG_MMAP;
		return 0;
	}
	region->areas = calloc(VF_VFIO_USER_MAX_AREAS, sizeof(*region->areas));
	if (!region->areas)
		return vferry_error_set(err, -ENOMEM, "no-memory", client->name, "out of memory");
	if (vf_vfio_user_get_sparse(reply, len, &info, region->areas, &count))
		return vf_vfio_user_client_broken(client, "sparse areas outside their region", err);
	if (!count)
		region->areas[count++] = (struct vf_vfio_sparse_area) { .size = info.size };
	region->area_count = count;
	region->fd = vf_fds_take(fds, 0);
	if (check_region_file(region, &region->sealed))
		return vf_vfio_user_client_broken(client,
						  "a region is larger than the file behind it", err);
	return 0;
}

int vf_vfio_user_client_get_region(struct vf_vfio_user_client *client, uint32_t index,
				   struct vf_vfio_user_region *ret_region, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_REGION_INFO_BYTES];
	struct vf_vfio_region_info ask = { .argsz = VF_VFIO_USER_REGION_INFO_MAX, .index = index };
	struct vf_vfio_user_region region = { .fd = -1 };
	struct vf_vfio_user_fds fds = { .count = 0 };
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_GET_REGION_INFO,
		.head = body,
		.head_len = sizeof(body),
		.reply_size = VF_VFIO_USER_REGION_INFO_MAX,
		.reply_fds = &fds,
	};
	int ret;

	call.reply = malloc(call.reply_size);
	if (!call.reply)
		return vferry_error_set(err, -ENOMEM, "no-memory", client->name, "out of memory");
	vf_vfio_user_put_region_info(body, &ask);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (!ret)
		ret = fill_region(client, index, call.reply, call.reply_len, &fds, &region, err);
	vf_fds_done(&fds);
	free(call.reply);
	if (ret)
		vf_vfio_user_region_done(&region);
	else
		*ret_region = region;
	return ret;
}

void vf_vfio_user_region_done(struct vf_vfio_user_region *region)
{
	vf_close(&region->fd);
	free(region->areas);
	region->areas = NULL;
	region->area_count = 0;
}

int vf_vfio_user_client_get_irq_info(struct vf_vfio_user_client *client, uint32_t index,
				     struct vf_vfio_irq_info *ret_info, struct vferry_error *err)
{
	struct vf_vfio_irq_info ask = { .argsz = VF_VFIO_USER_INFO_BYTES, .index = index }, info;
	uint8_t body[VF_VFIO_USER_INFO_BYTES], reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_GET_IRQ_INFO,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
	};
	int ret;

	vf_vfio_user_put_irq_info(body, &ask);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret)
		return ret;
	if (vf_vfio_user_get_irq_info(reply, call.reply_len, &info) || info.index != index)
		return vf_vfio_user_client_broken(client, "irq info of another shape", err);
	*ret_info = info;
	return 0;
}

static int read_once(struct vf_vfio_user_client *client, const struct vf_vfio_user_access *access,
		     void *to, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_ACCESS_BYTES], reply[VF_VFIO_USER_ACCESS_BYTES];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_REGION_READ,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
		.reply_data = to,
		.reply_data_size = access->count,
	};
	struct vf_vfio_user_access got;
	int ret;

	vf_vfio_user_put_region_access(body, access);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret)
		return ret;
	if (vf_vfio_user_get_region_access(reply, call.reply_len, &got) ||
	    got.count != access->count ||
	    call.reply_len != VF_VFIO_USER_ACCESS_BYTES + access->count)
		return vf_vfio_user_client_broken(client, "a region read of another length", err);
	return 0;
}

static int write_once(struct vf_vfio_user_client *client, const struct vf_vfio_user_access *access,
		      const void *from, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_ACCESS_BYTES], reply[VF_VFIO_USER_ACCESS_BYTES];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_REGION_WRITE,
		.head = body,
		.head_len = sizeof(body),
		.data = from,
		.data_len = access->count,
		.reply = reply,
		.reply_size = sizeof(reply),
	};
	struct vf_vfio_user_access got;
	int ret;

	vf_vfio_user_put_region_access(body, access);
	ret = vf_vfio_user_client_call(client, &call, err);
	if (ret)
		return ret;
	if (vf_vfio_user_get_region_access(reply, call.reply_len, &got) ||
	    got.count != access->count)
		return vf_vfio_user_client_broken(client, "a region write of another length", err);
	return 0;
}

int vf_vfio_user_client_region_read(struct vf_vfio_user_client *client, uint32_t region,
				    uint64_t offset, void *to, size_t len, struct vferry_error *err)
{
	for (size_t at = 0; at < len;) {
		struct vf_vfio_user_access access = {
			.address = offset + at,
			.region = region,
			.count = vf_min_u64(len - at, client->peer.max_data_xfer_bytes),
		};
		int ret = read_once(client, &access, (uint8_t *) to + at, err);

		if (ret)
			return ret;
		at += access.count;
	}
	return 0;
}

int vf_vfio_user_client_region_write(struct vf_vfio_user_client *client, uint32_t region,
				     uint64_t offset, const void *from, size_t len,
				     struct vferry_error *err)
{
	for (size_t at = 0; at < len;) {
		struct vf_vfio_user_access access = {
			.address = offset + at,
			.region = region,
			.count = vf_min_u64(len - at, client->peer.max_data_xfer_bytes),
		};
		int ret = write_once(client, &access, (const uint8_t *) from + at, err);

		if (ret)
			return ret;
		at += access.count;
	}
	return 0;
}

static int set_irqs_once(struct vf_vfio_user_client *client, struct vf_vfio_irq_set *set,
			 const int *fds, uint32_t fd_count, struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_IRQ_SET_BYTES], reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_SET_IRQS,
		.head = body,
		.head_len = sizeof(body),
		.fds = fds,
		.fd_count = fd_count,
		.reply = reply,
		.reply_size = sizeof(reply),
	};

	set->argsz = sizeof(body);
	vf_vfio_user_put_irq_set(body, set);
	return vf_vfio_user_client_call(client, &call, err);
}

int vf_vfio_user_client_set_irqs(struct vf_vfio_user_client *client, uint32_t index, uint32_t action,
				 uint32_t start, uint32_t count, const int *fds,
				 struct vferry_error *err)
{
	struct vf_vfio_irq_set set = {
		.index = index,
		.start = start,
		.count = count,
		.flags = action | VF_VFIO_IRQ_SET_DATA_NONE,
	};

	if (!fds)
		return set_irqs_once(client, &set, NULL, 0, err);
	if (!client->peer.max_msg_fds)
		return vferry_error_set(err, -EOPNOTSUPP, "device-server-no-fds", client->name,
					"the device server takes no descriptors, so no interrupts");
	set.flags = action | VF_VFIO_IRQ_SET_DATA_EVENTFD;
	for (uint32_t at = 0; at < count;) {
		bool real = fds[at] >= 0;
		uint32_t run = 1;
		int ret;

		/* A -1 has no place among descriptors that travel: runs of either kind. */
		while (at + run < count && (fds[at + run] >= 0) == real &&
		       (!real || run < client->peer.max_msg_fds))
			run++;
		set.start = start + at;
		set.count = run;
		ret = set_irqs_once(client, &set, fds + at, real ? run : 0, err);
		if (ret)
			return ret;
		at += run;
	}
	return 0;
}

int vf_vfio_user_client_dma_map(struct vf_vfio_user_client *client, uint64_t iova, uint64_t size,
				bool writable, int fd, uint64_t fd_offset, struct vferry_error *err)
{
	struct vf_vfio_user_dma_map map = {
		.flags = VF_VFIO_USER_DMA_READABLE | (writable ? VF_VFIO_USER_DMA_WRITABLE : 0),
		.iova = iova,
		.size = size,
		.fd_offset = fd >= 0 ? fd_offset : 0,
	};
	uint8_t body[VF_VFIO_USER_DMA_MAP_BYTES], reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_DMA_MAP,
		.head = body,
		.head_len = sizeof(body),
		.fds = &fd,
		.fd_count = fd >= 0,
		.reply = reply,
		.reply_size = sizeof(reply),
	};

	vf_vfio_user_put_dma_map(body, &map);
	return vf_vfio_user_client_call(client, &call, err);
}

int vf_vfio_user_client_dma_unmap(struct vf_vfio_user_client *client, uint64_t iova, uint64_t size,
				  struct vferry_error *err)
{
	uint8_t body[VF_VFIO_USER_DMA_UNMAP_BYTES], reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_DMA_UNMAP,
		.head = body,
		.head_len = sizeof(body),
		.reply = reply,
		.reply_size = sizeof(reply),
	};

	vf_vfio_user_put_dma_unmap(body, 0, iova, size);
	return vf_vfio_user_client_call(client, &call, err);
}

int vf_vfio_user_client_reset(struct vf_vfio_user_client *client, struct vferry_error *err)
{
	uint8_t reply[64];
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_RESET,
		.reply = reply,
		.reply_size = sizeof(reply),
		.transition = true,
	};

	return vf_vfio_user_client_call(client, &call, err);
}

/* --- DEVICE_FEATURE --- */

/* @head goes out as it stands. *ret_len: bytes of the reply, head and data; 0 = it is empty. */
static int feature_exchange(struct vf_vfio_user_client *client, const void *head, bool transition,
			    const void *data, size_t data_len, void *to, size_t to_size,
			    size_t *ret_len, struct vferry_error *err)
{
	uint8_t reply[VF_VFIO_USER_FEATURE_BYTES];
	uint8_t *request = NULL;
	struct vf_vfio_user_call call = {
		.command = VF_VFIO_USER_FEATURE,
		.head = head,
		.head_len = VF_VFIO_USER_FEATURE_BYTES,
		.data_len = data_len,
		.reply = reply,
		.reply_size = sizeof(reply),
		.reply_data = to,
		.reply_data_size = to_size,
		.transition = transition,
	};
	int ret;

	/* A copy: another thread may put the answer in place before our send has returned. */
	if (data_len) {
		request = malloc(data_len);
		if (!request)
			return vferry_error_set(err, -ENOMEM, "no-memory", client->name,
						"no memory for a request");
		memcpy(request, data, data_len);
		call.data = request;
	}
	ret = vf_vfio_user_client_call(client, &call, err);
	free(request);
	*ret_len = call.reply_len;
	return ret;
}

static int feature_call(struct vf_vfio_user_client *client, uint32_t flags, const void *data,
			size_t data_len, void *to, size_t to_size, struct vferry_error *err)
{
	bool transition = (flags & VF_VFIO_FEATURE_SET) && !(flags & VF_VFIO_FEATURE_PROBE);
	uint8_t head[VF_VFIO_USER_FEATURE_BYTES];
	size_t len;
	int ret;

	/* argsz bounds the reply, and libvfio-user wants it to cover the request as well. */
	vf_vfio_user_put_feature(head, (uint32_t) (sizeof(head) + vf_max_u64(data_len, to_size)), flags);
	ret = feature_exchange(client, head, transition, data, data_len, to, to_size, &len, err);
	if (ret)
		return ret;
	if (!len)
		return 0;	/* nothing to say but "done" */
	if (len < sizeof(head))
		return vf_vfio_user_client_broken(client, "a feature reply too short", err);
	return (int) (len - sizeof(head));
}

int vf_vfio_user_client_feature(struct vf_vfio_user_client *client, uint32_t flags, void *data,
				size_t data_len, size_t data_size, struct vferry_error *err)
{
	int ret;

	if (data_len > data_size || data_size > VF_VFIO_USER_DEFAULT_XFER)
		return vferry_error_set(err, -EINVAL, "bad-argument", client->name,
					"a feature's data does not fit");
	ret = feature_call(client, flags, data, data_len, data, data_size, err);
	if (ret == -EINVAL && (flags & VF_VFIO_FEATURE_PROBE))
		return -ENOTTY;
	return ret;
}

int vf_vfio_user_client_feature_raw(struct vf_vfio_user_client *client, void *arg, size_t bytes,
				    size_t room, struct vferry_error *err)
{
	const size_t head = VF_VFIO_USER_FEATURE_BYTES;
	uint8_t *data = (uint8_t *) arg + head;
	size_t len;

	if (bytes < head || bytes > room || room > VF_VFIO_USER_DEFAULT_XFER)
		return vferry_error_set(err, -EINVAL, "bad-argument", client->name,
					"a feature's data does not fit");
	return feature_exchange(client, arg, true, data, bytes - head, data, room - head, &len, err);
}

int vf_vfio_user_client_dma_log_start(struct vf_vfio_user_client *client, uint64_t page_size,
				      const struct vf_vfio_dma_log_range *ranges, uint32_t count,
				      uint64_t *ret_page_size, struct vferry_error *err)
{
	size_t len = VF_VFIO_USER_LOG_START_BYTES + 16 * (size_t) count;
	uint64_t chosen;
	uint8_t *data;
	int ret;

	if (count > VF_VFIO_USER_MAX_LOG_RANGES)
		return vferry_error_set(err, -E2BIG, "bad-argument", client->name,
					"%u ranges are too many for a DMA log", count);
	data = calloc(1, len);
	if (!data)
		return vferry_error_set(err, -ENOMEM, "no-memory", client->name, "out of memory");
	vf_vfio_user_put_log_start(data, page_size, count);
	for (uint32_t i = 0; i < count; i++)
		vf_vfio_user_put_log_range(data + VF_VFIO_USER_LOG_START_BYTES + 16 * (size_t) i,
					   &ranges[i]);
	ret = feature_call(client, VF_VFIO_FEATURE_DMA_LOGGING_START | VF_VFIO_FEATURE_SET, data,
			   len, data, len, err);
	if (ret < 0)
		goto out;
	chosen = ret >= 8 ? vf_get_u64(data) : page_size;
	ret = 0;
	if (!vf_is_pow2(chosen) || chosen < VF_PAGE_BYTES)
		ret = vferry_error_set(err, -EREMOTEIO, "device-log", client->name,
				       "the device logs DMA in pages of %llu bytes",
				       (unsigned long long) chosen);
	else if (ret_page_size)
		*ret_page_size = chosen;
out:
	free(data);
	return ret;
}

int vf_vfio_user_client_dma_log_stop(struct vf_vfio_user_client *client, struct vferry_error *err)
{
	int ret = feature_call(client, VF_VFIO_FEATURE_DMA_LOGGING_STOP | VF_VFIO_FEATURE_SET, NULL,
			       0, NULL, 0, err);

	return ret < 0 ? ret : 0;
}

static int report_once(struct vf_vfio_user_client *client,
		       const struct vf_vfio_dma_log_report *report, uint8_t *data, uint64_t *words,
		       struct vferry_error *err)
{
	size_t bitmap = vf_vfio_user_log_bitmap_bytes(report->length, report->page_size);
	struct vf_vfio_dma_log_report got;
	int ret;

	vf_vfio_user_put_log_report(data, report);
	ret = feature_call(client, VF_VFIO_FEATURE_DMA_LOGGING_REPORT | VF_VFIO_FEATURE_GET, data,
			   VF_VFIO_USER_LOG_REPORT_BYTES, data,
			   VF_VFIO_USER_LOG_REPORT_BYTES + bitmap, err);
	if (ret < 0)
		return ret;
	/* libvfio-user answers a range over several regions with neither data nor an error. */
	if (!ret)
		return vferry_error_set(err, -EREMOTEIO, "device-log", client->name,
					"the device server answered a DMA log request with nothing");
	if (vf_vfio_user_get_log_report(data, (size_t) ret, &got) || got.iova != report->iova ||
	    got.length != report->length || got.page_size != report->page_size ||
	    (size_t) ret != VF_VFIO_USER_LOG_REPORT_BYTES + bitmap)
		return vf_vfio_user_client_broken(client, "a DMA log of another shape", err);
	/* Words of nothing are not touched: a map of terabytes must not be made resident by them. */
	for (size_t i = 0; i < bitmap / 8; i++) {
		uint64_t word = vf_get_u64(data + VF_VFIO_USER_LOG_REPORT_BYTES + 8 * i);

		if (word)
			words[i] |= word;
	}
	return 0;
}

int vf_vfio_user_client_dma_log_report(struct vf_vfio_user_client *client, uint64_t iova,
				       uint64_t length, uint64_t page_size, uint64_t *words,
				       struct vferry_error *err)
{
	uint64_t end, chunk = length;
	uint8_t *data;
	int ret = 0;

	if (!vf_is_pow2(page_size) || page_size < VF_PAGE_BYTES || iova % page_size ||
	    length % page_size || vf_add_u64(iova, length, &end))
		return vferry_error_set(err, -EINVAL, "bad-argument", client->name,
					"a DMA log range that is not whole pages");
	/* A foreign peer reports whole DMA regions; ours any range: then messages stay small. */
	if (client->peer.dma_log_ranges) {
		uint64_t room = client->peer.max_data_xfer_bytes - VF_VFIO_USER_LOG_REPORT_BYTES;
		uint64_t pages = vf_max_u64(room / 8, 1) * LOG_PAGES_AT_ONCE_ALIGN;

		if (length / page_size > pages)
			chunk = pages * page_size;
	}
	if (vf_vfio_user_log_bitmap_bytes(chunk, page_size) > INT32_MAX / 2)
		return vferry_error_set(err, -E2BIG, "bad-argument", client->name,
					"a DMA log range too long for one message");
	data = malloc(VF_VFIO_USER_LOG_REPORT_BYTES +
		      vf_vfio_user_log_bitmap_bytes(chunk, page_size));
	if (!data)
		return vferry_error_set(err, -ENOMEM, "no-memory", client->name, "out of memory");
	for (uint64_t at = 0; at < length && !ret;) {
		struct vf_vfio_dma_log_report report = {
			.iova = iova + at,
			.length = vf_min_u64(chunk, length - at),
			.page_size = page_size,
		};

		ret = report_once(client, &report, data, words + at / page_size / 64, err);
		at += report.length;
	}
	free(data);
	return ret;
}
