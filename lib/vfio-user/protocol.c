/* SPDX-License-Identifier: MIT */
/*
 * protocol.c - see protocol.h. The layouts are written out here, offset by offset, and nowhere
 * else: no struct is copied to or from a message.
 */
#include "vfio-user/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vfio-user is in host order");

void vf_vfio_user_put_header(uint8_t *to, const struct vf_vfio_user_header *header)
{
	vf_put_u16(to, header->id);
	vf_put_u16(to + 2, header->command);
	vf_put_u32(to + 4, header->size);
	vf_put_u32(to + 8, header->flags);
	vf_put_u32(to + 12, header->error);
}

int vf_vfio_user_get_header(const uint8_t *from, struct vf_vfio_user_header *ret_header)
{
	struct vf_vfio_user_header header = {
		.id = vf_get_u16(from),
		.command = vf_get_u16(from + 2),
		.size = vf_get_u32(from + 4),
		.flags = vf_get_u32(from + 8),
		.error = vf_get_u32(from + 12),
	};

	if (header.size < VF_VFIO_USER_HEADER_BYTES ||
	    (header.flags & VF_VFIO_USER_TYPE_MASK) > VF_VFIO_USER_TYPE_REPLY)
		return -EINVAL;
	*ret_header = header;
	return 0;
}

const char *vf_vfio_user_command_name(uint16_t command)
{
	static const struct {
		uint16_t command;
		const char *name;
	} names[] = {
		{ VF_VFIO_USER_VERSION, "VERSION" },
		{ VF_VFIO_USER_DMA_MAP, "DMA_MAP" },
		{ VF_VFIO_USER_DMA_UNMAP, "DMA_UNMAP" },
		{ VF_VFIO_USER_GET_INFO, "DEVICE_GET_INFO" },
		{ VF_VFIO_USER_GET_REGION_INFO, "DEVICE_GET_REGION_INFO" },
		{ VF_VFIO_USER_GET_REGION_IO_FDS, "DEVICE_GET_REGION_IO_FDS" },
		{ VF_VFIO_USER_GET_IRQ_INFO, "DEVICE_GET_IRQ_INFO" },
		{ VF_VFIO_USER_SET_IRQS, "DEVICE_SET_IRQS" },
		{ VF_VFIO_USER_REGION_READ, "REGION_READ" },
		{ VF_VFIO_USER_REGION_WRITE, "REGION_WRITE" },
		{ VF_VFIO_USER_DMA_READ, "DMA_READ" },
		{ VF_VFIO_USER_DMA_WRITE, "DMA_WRITE" },
		{ VF_VFIO_USER_RESET, "DEVICE_RESET" },
		{ VF_VFIO_USER_REGION_WRITE_MULTI, "REGION_WRITE_MULTI" },
		{ VF_VFIO_USER_FEATURE, "DEVICE_FEATURE" },
		{ VF_VFIO_USER_MIG_DATA_READ, "MIG_DATA_READ" },
		{ VF_VFIO_USER_MIG_DATA_WRITE, "MIG_DATA_WRITE" },
		{ VF_VFIO_USER_PRECOPY_INFO, "PRECOPY_INFO" },
		{ VF_VFIO_USER_BUFFER_OPEN, "BUFFER_OPEN" },
		{ VF_VFIO_USER_BUFFER_READ, "BUFFER_READ" },
		{ VF_VFIO_USER_BUFFER_WRITE, "BUFFER_WRITE" },
	};

	for (size_t i = 0; i < VF_ARRAY_COUNT(names); i++)
		if (names[i].command == command)
			return names[i].name;
	return "?";
}

/* DMA_MAP: 0 argsz, 4 flags, 8 offset in the descriptor, 16 IOVA, 24 size. */
void vf_vfio_user_put_dma_map(uint8_t *to, const struct vf_vfio_user_dma_map *map)
{
	vf_put_u32(to, VF_VFIO_USER_DMA_MAP_BYTES);
	vf_put_u32(to + 4, map->flags);
	vf_put_u64(to + 8, map->fd_offset);
	vf_put_u64(to + 16, map->iova);
	vf_put_u64(to + 24, map->size);
}

int vf_vfio_user_get_dma_map(const uint8_t *body, size_t len, struct vf_vfio_user_dma_map *ret_map)
{
	struct vf_vfio_user_dma_map map;
	uint64_t end;

	if (len < VF_VFIO_USER_DMA_MAP_BYTES || vf_get_u32(body) < VF_VFIO_USER_DMA_MAP_BYTES)
		return -EINVAL;
	map = (struct vf_vfio_user_dma_map) {
		.flags = vf_get_u32(body + 4),
		.fd_offset = vf_get_u64(body + 8),
		.iova = vf_get_u64(body + 16),
		.size = vf_get_u64(body + 24),
	};
	if (!map.size || vf_add_u64(map.iova, map.size, &end) ||
	    vf_add_u64(map.fd_offset, map.size, &end) ||
	    map.flags & ~(VF_VFIO_USER_DMA_READABLE | VF_VFIO_USER_DMA_WRITABLE |
			  VF_VFIO_USER_DMA_MMAP))
		return -EINVAL;
	*ret_map = map;
	return 0;
}

/* DMA_UNMAP: 0 argsz, 4 flags, 8 IOVA, 16 size. */
void vf_vfio_user_put_dma_unmap(uint8_t *to, uint32_t flags, uint64_t iova, uint64_t size)
{
	vf_put_u32(to, VF_VFIO_USER_DMA_UNMAP_BYTES);
	vf_put_u32(to + 4, flags);
	vf_put_u64(to + 8, iova);
	vf_put_u64(to + 16, size);
}

int vf_vfio_user_get_dma_unmap(const uint8_t *body, size_t len, uint32_t *ret_flags,
			       uint64_t *ret_iova, uint64_t *ret_size)
{
	uint32_t flags;

	if (len < VF_VFIO_USER_DMA_UNMAP_BYTES || vf_get_u32(body) < VF_VFIO_USER_DMA_UNMAP_BYTES)
		return -EINVAL;
	flags = vf_get_u32(body + 4);
	/* Bit 0 asked for the dirty bitmap of protocol v1, which is retired. */
	if (flags & ~VF_VFIO_USER_UNMAP_ALL)
		return -EINVAL;
	if (flags && (vf_get_u64(body + 8) || vf_get_u64(body + 16)))
		return -EINVAL;
	*ret_flags = flags;
	*ret_iova = vf_get_u64(body + 8);
	*ret_size = vf_get_u64(body + 16);
	return 0;
}

/* REGION_*: 0 u64 offset, 8 u32 region, 12 u32 count. */
void vf_vfio_user_put_region_access(uint8_t *to, const struct vf_vfio_user_access *access)
{
	vf_put_u64(to, access->address);
	vf_put_u32(to + 8, access->region);
	vf_put_u32(to + 12, (uint32_t) access->count);
}

int vf_vfio_user_get_region_access(const uint8_t *body, size_t len,
				   struct vf_vfio_user_access *ret_access)
{
	if (len < VF_VFIO_USER_ACCESS_BYTES)
		return -EINVAL;
	ret_access->address = vf_get_u64(body);
	ret_access->region = vf_get_u32(body + 8);
	ret_access->count = vf_get_u32(body + 12);
	return 0;
}

/* DMA_READ, DMA_WRITE: 0 u64 IOVA, 8 u64 count. */
void vf_vfio_user_put_dma_access(uint8_t *to, const struct vf_vfio_user_access *access)
{
	vf_put_u64(to, access->address);
	vf_put_u64(to + 8, access->count);
}

int vf_vfio_user_get_dma_access(const uint8_t *body, size_t len,
				struct vf_vfio_user_access *ret_access)
{
	uint64_t end;

	if (len < VF_VFIO_USER_ACCESS_BYTES ||
	    vf_add_u64(vf_get_u64(body), vf_get_u64(body + 8), &end))
		return -EINVAL;
	ret_access->address = vf_get_u64(body);
	ret_access->region = 0;
	ret_access->count = vf_get_u64(body + 8);
	return 0;
}

/* Device info: 0 argsz, 4 flags, 8 regions, 12 irqs. Irq info: 0 argsz, 4 flags, 8 index, 12 count. */
static void put_four(uint8_t *to, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	vf_put_u32(to, a);
	vf_put_u32(to + 4, b);
	vf_put_u32(to + 8, c);
	vf_put_u32(to + 12, d);
}

void vf_vfio_user_put_device_info(uint8_t *to, const struct vf_vfio_device_info *info)
{
	put_four(to, info->argsz, info->flags, info->num_regions, info->num_irqs);
}

int vf_vfio_user_get_device_info(const uint8_t *body, size_t len,
				 struct vf_vfio_device_info *ret_info)
{
	if (len < VF_VFIO_USER_INFO_BYTES || vf_get_u32(body) < VF_VFIO_USER_INFO_BYTES)
		return -EINVAL;
	*ret_info = (struct vf_vfio_device_info) {
		.argsz = vf_get_u32(body),
		.flags = vf_get_u32(body + 4),
		.num_regions = vf_get_u32(body + 8),
		.num_irqs = vf_get_u32(body + 12),
	};
	return 0;
}

void vf_vfio_user_put_irq_info(uint8_t *to, const struct vf_vfio_irq_info *info)
{
	put_four(to, info->argsz, info->flags, info->index, info->count);
}

int vf_vfio_user_get_irq_info(const uint8_t *body, size_t len, struct vf_vfio_irq_info *ret_info)
{
	if (len < VF_VFIO_USER_INFO_BYTES || vf_get_u32(body) < VF_VFIO_USER_INFO_BYTES)
		return -EINVAL;
	*ret_info = (struct vf_vfio_irq_info) {
		.argsz = vf_get_u32(body),
		.flags = vf_get_u32(body + 4),
		.index = vf_get_u32(body + 8),
		.count = vf_get_u32(body + 12),
	};
	return 0;
}

/* Region info: 0 argsz, 4 flags, 8 index, 12 first capability, 16 u64 size, 24 u64 fd offset. */
void vf_vfio_user_put_region_info(uint8_t *to, const struct vf_vfio_region_info *info)
{
	put_four(to, info->argsz, info->flags, info->index, info->cap_offset);
	vf_put_u64(to + 16, info->size);
	vf_put_u64(to + 24, info->offset);
}

int vf_vfio_user_get_region_info(const uint8_t *body, size_t len,
				 struct vf_vfio_region_info *ret_info)
{
	if (len < VF_VFIO_USER_REGION_INFO_BYTES ||
	    vf_get_u32(body) < VF_VFIO_USER_REGION_INFO_BYTES)
		return -EINVAL;
	*ret_info = (struct vf_vfio_region_info) {
		.argsz = vf_get_u32(body),
		.flags = vf_get_u32(body + 4),
		.index = vf_get_u32(body + 8),
		.cap_offset = vf_get_u32(body + 12),
		.size = vf_get_u64(body + 16),
		.offset = vf_get_u64(body + 24),
	};
	return 0;
}

/* Capability: 0 u16 id, 2 u16 version, 4 u32 next; sparse: 8 areas, 12 reserved, 16 {offset, size}. */
void vf_vfio_user_put_sparse(uint8_t *to, const struct vf_vfio_sparse_area *areas, uint32_t count)
{
	vf_put_u16(to, VF_VFIO_REGION_CAP_SPARSE_MMAP);
	vf_put_u16(to + 2, 1);
	vf_put_u32(to + 4, 0);
	vf_put_u32(to + 8, count);
	vf_put_u32(to + 12, 0);
	for (uint32_t i = 0; i < count; i++) {
		vf_put_u64(to + 16 + 16 * (size_t) i, areas[i].offset);
		vf_put_u64(to + 24 + 16 * (size_t) i, areas[i].size);
	}
}

static int compare_areas(const void *a, const void *b)
{
	const struct vf_vfio_sparse_area *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int read_areas(const uint8_t *cap, size_t len, uint64_t region_size,
		      struct vf_vfio_sparse_area *areas, uint32_t *ret_count)
{
	uint32_t count;

	if (len < VF_VFIO_USER_SPARSE_BYTES)
		return -EINVAL;
	count = vf_get_u32(cap + 8);
	if (count > VF_VFIO_USER_MAX_AREAS || (len - VF_VFIO_USER_SPARSE_BYTES) / 16 < count)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		areas[i].offset = vf_get_u64(cap + 16 + 16 * (size_t) i);
		areas[i].size = vf_get_u64(cap + 24 + 16 * (size_t) i);
		if (!areas[i].size || !vf_range_in(areas[i].offset, areas[i].size, region_size))
			return -EINVAL;
	}
	qsort(areas, count, sizeof(*areas), compare_areas);
	for (uint32_t i = 1; i < count; i++)
		if (areas[i].offset - areas[i - 1].offset < areas[i - 1].size)
			return -EINVAL;
	*ret_count = count;
	return 0;
}

int vf_vfio_user_get_sparse(const uint8_t *body, size_t len, const struct vf_vfio_region_info *info,
			    struct vf_vfio_sparse_area *areas, uint32_t *ret_count)
{
	size_t at = info->flags & VF_VFIO_REGION_FLAG_CAPS ? info->cap_offset : 0;
	size_t before = VF_VFIO_USER_REGION_INFO_BYTES - 1;

	/* Each capability lies behind the one before it, so a chain always ends. */
	while (at) {
		uint32_t next;

		if (at <= before || !vf_range_in(at, 8, len))
			return -EINVAL;
		next = vf_get_u32(body + at + 4);
		if (vf_get_u16(body + at) == VF_VFIO_REGION_CAP_SPARSE_MMAP)
			return read_areas(body + at, len - at, info->size, areas, ret_count);
		before = at;
		at = next;
	}
	*ret_count = 0;
	return 0;
}

/* GET_REGION_IO_FDS, both ways: 0 argsz, 4 flags, 8 region, 12 count, 16 spans. */
void vf_vfio_user_put_io_fds(uint8_t *to, const struct vf_vfio_user_io_fds *fds)
{
	put_four(to, fds->argsz, fds->flags, fds->region, fds->count);
}

int vf_vfio_user_get_io_fds(const uint8_t *body, size_t len, struct vf_vfio_user_io_fds *ret_fds)
{
	if (len < VF_VFIO_USER_IO_FDS_BYTES || vf_get_u32(body) < VF_VFIO_USER_IO_FDS_BYTES)
		return -EINVAL;
	*ret_fds = (struct vf_vfio_user_io_fds) {
		.argsz = vf_get_u32(body),
		.flags = vf_get_u32(body + 4),
		.region = vf_get_u32(body + 8),
		.count = vf_get_u32(body + 12),
	};
	return 0;
}

/* A span: 0 u64 offset, 8 u64 size, 16 descriptor, 20 type, 24 flags, 28 zero, 32 u64 datamatch; the
 * long one has memory's descriptor at 28, the place in it at 32, and datamatch at 40. */
void vf_vfio_user_put_io_fd(uint8_t *to, const struct vf_vfio_user_io_fd *fd)
{
	vf_put_u64(to, fd->offset);
	vf_put_u64(to + 8, fd->size);
	put_four(to + 16, fd->fd_index, fd->type, fd->flags, 0);
	vf_put_u64(to + 32, fd->datamatch);
}

static bool io_fd_possible(const struct vf_vfio_user_io_fd *fd, uint64_t region_bytes)
{
	/* Of the other types nothing is used. */
	if (fd->type != VF_VFIO_USER_IOEVENTFD)
		return true;
	return fd->size <= 8 && (!fd->size || vf_is_pow2(fd->size)) &&
	       vf_range_in(fd->offset, fd->size ? fd->size : 1, region_bytes);
}

int vf_vfio_user_get_io_fd_list(const uint8_t *body, size_t len, uint64_t region_bytes,
				struct vf_vfio_user_io_fd *fds, uint32_t *ret_count)
{
	struct vf_vfio_user_io_fds head;
	size_t each;

	if (vf_vfio_user_get_io_fds(body, len, &head))
		return -EINVAL;
	if (head.count > VF_VFIO_USER_MAX_IO_FDS)
		return -E2BIG;
	each = head.count ? (head.argsz - VF_VFIO_USER_IO_FDS_BYTES) / head.count : 0;
	if (head.count && each != VF_VFIO_USER_IO_FD_BYTES && each != VF_VFIO_USER_IO_FD_LONG_BYTES)
		return -E2BIG;
	if (len - VF_VFIO_USER_IO_FDS_BYTES < head.count * each)
		return -EINVAL;
	for (uint32_t i = 0; i < head.count; i++) {
		const uint8_t *at = body + VF_VFIO_USER_IO_FDS_BYTES + i * each;

		fds[i] = (struct vf_vfio_user_io_fd) {
			.offset = vf_get_u64(at),
			.size = vf_get_u64(at + 8),
			.fd_index = vf_get_u32(at + 16),
			.type = vf_get_u32(at + 20),
			.flags = vf_get_u32(at + 24),
			.datamatch = vf_get_u64(at + each - 8),
		};
		if (!io_fd_possible(&fds[i], region_bytes))
			return -EINVAL;
	}
	*ret_count = head.count;
	return 0;
}

/* SET_IRQS: 0 argsz, 4 flags, 8 index, 12 start, 16 count, 20 bools. */
void vf_vfio_user_put_irq_set(uint8_t *to, const struct vf_vfio_irq_set *set)
{
	put_four(to, set->argsz, set->flags, set->index, set->start);
	vf_put_u32(to + 16, set->count);
}

int vf_vfio_user_get_irq_set(const uint8_t *body, size_t len, struct vf_vfio_irq_set *ret_set,
			     const uint8_t **ret_bools)
{
	struct vf_vfio_irq_set set;
	uint32_t kind, action, end;

	if (len < VF_VFIO_USER_IRQ_SET_BYTES || vf_get_u32(body) < VF_VFIO_USER_IRQ_SET_BYTES)
		return -EINVAL;
	set = (struct vf_vfio_irq_set) {
		.argsz = vf_get_u32(body),
		.flags = vf_get_u32(body + 4),
		.index = vf_get_u32(body + 8),
		.start = vf_get_u32(body + 12),
		.count = vf_get_u32(body + 16),
	};
	kind = set.flags & VF_VFIO_IRQ_SET_DATA_MASK;
	action = set.flags & VF_VFIO_IRQ_SET_ACTION_TYPE_MASK;
	if (set.flags != (kind | action) || !vf_is_pow2(kind) || !vf_is_pow2(action) ||
	    __builtin_add_overflow(set.start, set.count, &end))
		return -EINVAL;
	if (kind == VF_VFIO_IRQ_SET_DATA_BOOL && len - VF_VFIO_USER_IRQ_SET_BYTES < set.count)
		return -EINVAL;
	*ret_set = set;
	*ret_bools = kind == VF_VFIO_IRQ_SET_DATA_BOOL ? body + VF_VFIO_USER_IRQ_SET_BYTES : NULL;
	return 0;
}

/* DEVICE_FEATURE: 0 argsz, 4 flags, 8 data. */
void vf_vfio_user_put_feature(uint8_t *to, uint32_t argsz, uint32_t flags)
{
	vf_put_u32(to, argsz);
	vf_put_u32(to + 4, flags);
}

int vf_vfio_user_get_feature(const uint8_t *body, size_t len, uint32_t *ret_argsz,
			     uint32_t *ret_flags, const uint8_t **ret_data, size_t *ret_data_len)
{
	if (len < VF_VFIO_USER_FEATURE_BYTES)
		return -EINVAL;
	*ret_argsz = vf_get_u32(body);
	*ret_flags = vf_get_u32(body + 4);
	*ret_data = body + VF_VFIO_USER_FEATURE_BYTES;
	*ret_data_len = len - VF_VFIO_USER_FEATURE_BYTES;
	return 0;
}

/* LOGGING_START: 0 u64 page size, 8 u32 ranges, 12 reserved, 16 {u64 iova, u64 length}. */
void vf_vfio_user_put_log_start(uint8_t *to, uint64_t page_size, uint32_t count)
{
	vf_put_u64(to, page_size);
	vf_put_u32(to + 8, count);
	vf_put_u32(to + 12, 0);
}

int vf_vfio_user_get_log_start(const uint8_t *data, size_t len, uint64_t *ret_page_size,
			       uint32_t *ret_count)
{
	uint32_t count;

	if (len < VF_VFIO_USER_LOG_START_BYTES)
		return -EINVAL;
	count = vf_get_u32(data + 8);
	if (count > VF_VFIO_USER_MAX_LOG_RANGES ||
	    (len - VF_VFIO_USER_LOG_START_BYTES) / 16 < count)
		return -EINVAL;
	*ret_page_size = vf_get_u64(data);
	*ret_count = count;
	return 0;
}

void vf_vfio_user_put_log_range(uint8_t *to, const struct vf_vfio_dma_log_range *range)
{
	vf_put_u64(to, range->iova);
	vf_put_u64(to + 8, range->length);
}

void vf_vfio_user_get_log_range(const uint8_t *from, struct vf_vfio_dma_log_range *ret_range)
{
	ret_range->iova = vf_get_u64(from);
	ret_range->length = vf_get_u64(from + 8);
}

/* LOGGING_REPORT: 0 u64 iova, 8 u64 length, 16 u64 page size, 24 bitmap. */
void vf_vfio_user_put_log_report(uint8_t *to, const struct vf_vfio_dma_log_report *report)
{
	vf_put_u64(to, report->iova);
	vf_put_u64(to + 8, report->length);
	vf_put_u64(to + 16, report->page_size);
}

int vf_vfio_user_get_log_report(const uint8_t *data, size_t len,
				struct vf_vfio_dma_log_report *ret_report)
{
	struct vf_vfio_dma_log_report report;
	uint64_t end;

	if (len < VF_VFIO_USER_LOG_REPORT_BYTES)
		return -EINVAL;
	report = (struct vf_vfio_dma_log_report) {
		.iova = vf_get_u64(data),
		.length = vf_get_u64(data + 8),
		.page_size = vf_get_u64(data + 16),
	};
	if (!vf_is_pow2(report.page_size) || report.page_size < VF_PAGE_BYTES || !report.length ||
	    report.iova % report.page_size || report.length % report.page_size ||
	    vf_add_u64(report.iova, report.length, &end))
		return -EINVAL;
	*ret_report = report;
	return 0;
}

uint64_t vf_vfio_user_log_bitmap_bytes(uint64_t length, uint64_t page_size)
{
	return vf_div_up(vf_div_up(length, page_size), 64) * 8;
}

/* MIG_DATA_*: 0 argsz, 4 size, 8 data. */
void vf_vfio_user_put_mig_data(uint8_t *to, uint32_t argsz, uint32_t size)
{
	vf_put_u32(to, argsz);
	vf_put_u32(to + 4, size);
}

int vf_vfio_user_get_mig_data(const uint8_t *body, size_t len, uint32_t *ret_argsz,
			      uint32_t *ret_size)
{
	if (len < VF_VFIO_USER_MIG_DATA_BYTES)
		return -EINVAL;
	*ret_argsz = vf_get_u32(body);
	*ret_size = vf_get_u32(body + 4);
	return 0;
}

/* PRECOPY_INFO reply: 0 argsz, 4 flags, 8 u64 initial, 16 u64 dirty. */
void vf_vfio_user_put_precopy(uint8_t *to, const struct vf_vfio_precopy_info *info)
{
	vf_put_u32(to, VF_VFIO_USER_PRECOPY_BYTES);
	vf_put_u32(to + 4, info->flags);
	vf_put_u64(to + 8, info->initial_bytes);
	vf_put_u64(to + 16, info->dirty_bytes);
}

int vf_vfio_user_get_precopy(const uint8_t *body, size_t len, struct vf_vfio_precopy_info *ret_info)
{
	if (len < VF_VFIO_USER_PRECOPY_BYTES)
		return -EINVAL;
	*ret_info = (struct vf_vfio_precopy_info) {
		.argsz = vf_get_u32(body),
		.flags = vf_get_u32(body + 4),
		.initial_bytes = vf_get_u64(body + 8),
		.dirty_bytes = vf_get_u64(body + 16),
	};
	return 0;
}

/* BUFFER_*: 0 u64 offset, 8 u64 size. */
void vf_vfio_user_put_buffer_range(uint8_t *to, uint64_t offset, uint64_t size)
{
	vf_put_u64(to, offset);
	vf_put_u64(to + 8, size);
}

int vf_vfio_user_get_buffer_range(const uint8_t *body, size_t len, uint64_t *ret_offset,
				  uint64_t *ret_size)
{
	if (len < VF_VFIO_USER_BUFFER_RANGE_BYTES)
		return -EINVAL;
	*ret_offset = vf_get_u64(body);
	*ret_size = vf_get_u64(body + 8);
	return 0;
}
