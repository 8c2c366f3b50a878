/* SPDX-License-Identifier: MIT */
/*
 * protocol.h - the messages of vfio-user, encoded and decoded; no I/O and no state.
 *
 * A message is a 16-byte header and a body; descriptors travel beside it:
 *
 *	0  u16 id	of the sender's choice, repeated in the reply
 *	2  u16 command
 *	4  u32 size	of header and body
 *	8  u32 flags	bits 0-3: 0 command, 1 reply; bit 4: no reply wanted; bit 5: error
 *	12 u32 error	errno of an error reply
 *
 * All fields are in host order; both ends are on one host, and the hosts are little-endian.
 * put functions write a fixed number of bytes to memory that the caller has; get functions take a
 * body and its true length, check every count against it, and return 0 or -EINVAL. Data that
 * follows a fixed part is returned as a borrowed pointer and its length.
 *
 * Our extension: an object `vferry` among the capabilities of VERSION. Each side states what it
 * has, and what both have is in force. Without it the commands from 0x8001 do not exist.
 */
#ifndef VF_VFIO_USER_PROTOCOL_H
#define VF_VFIO_USER_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vferry_vfio.h"

#define VF_VFIO_USER_MAJOR 0u
#define VF_VFIO_USER_MINOR 1u
#define VF_VFIO_USER_EXTENSION 1	/* version of our extension */

enum vf_vfio_user_command {
	VF_VFIO_USER_VERSION = 1,
	VF_VFIO_USER_DMA_MAP = 2,
	VF_VFIO_USER_DMA_UNMAP = 3,
	VF_VFIO_USER_GET_INFO = 4,
	VF_VFIO_USER_GET_REGION_INFO = 5,
	VF_VFIO_USER_GET_REGION_IO_FDS = 6,
	VF_VFIO_USER_GET_IRQ_INFO = 7,
	VF_VFIO_USER_SET_IRQS = 8,
	VF_VFIO_USER_REGION_READ = 9,
	VF_VFIO_USER_REGION_WRITE = 10,
	VF_VFIO_USER_DMA_READ = 11,
	VF_VFIO_USER_DMA_WRITE = 12,
	VF_VFIO_USER_RESET = 13,
	VF_VFIO_USER_REGION_WRITE_MULTI = 15,
	VF_VFIO_USER_FEATURE = 16,
	VF_VFIO_USER_MIG_DATA_READ = 17,
	VF_VFIO_USER_MIG_DATA_WRITE = 18,
	/* ours */
	VF_VFIO_USER_PRECOPY_INFO = 0x8001,	/* - -> precopy info */
	VF_VFIO_USER_BUFFER_OPEN = 0x8002,	/* u64 size, memfd -> - */
	VF_VFIO_USER_BUFFER_READ = 0x8003,	/* range -> range, size cut to what there was */
	VF_VFIO_USER_BUFFER_WRITE = 0x8004,	/* range -> - */
};

#define VF_VFIO_USER_HEADER_BYTES 16u
#define VF_VFIO_USER_TYPE_MASK	0xfu
#define VF_VFIO_USER_TYPE_COMMAND 0u
#define VF_VFIO_USER_TYPE_REPLY	1u
#define VF_VFIO_USER_NO_REPLY	(1u << 4)
#define VF_VFIO_USER_ERROR	(1u << 5)

struct vf_vfio_user_header {
	uint16_t id;
	uint16_t command;
	uint32_t size;
	uint32_t flags;
	uint32_t error;
};

void vf_vfio_user_put_header(uint8_t *to, const struct vf_vfio_user_header *header);
/* -EINVAL: a size below the header's own, or a type that is neither command nor reply. */
int vf_vfio_user_get_header(const uint8_t *from, struct vf_vfio_user_header *ret_header);
/* For programs and messages: "REGION_READ", or "?" */
const char *vf_vfio_user_command_name(uint16_t command);

/* --- VERSION --- */
#define VF_VFIO_USER_VERSION_BYTES 4u		/* before the JSON */
#define VF_VFIO_USER_JSON_MAX 16384u
#define VF_VFIO_USER_DEFAULT_XFER (1024u * 1024u)
#define VF_VFIO_USER_MIN_XFER 64u		/* less carries no useful message */
#define VF_VFIO_USER_MAX_FDS 64u		/* of one message, whatever a peer would take */

struct vf_vfio_user_caps {
	uint32_t max_msg_fds;
	uint64_t max_data_xfer_bytes;
	uint64_t max_dma_maps;
	uint64_t pgsizes;
	bool twin_socket;
	int twin_fd_index;	/* in a reply; -1 = none given */
	bool extensions;
	bool p2p, data_size, precopy_info, dma_log_ranges;
	uint64_t mig_buffer_bytes;
};

/* What the specification says of a peer that states nothing. */
void vf_vfio_user_caps_default(struct vf_vfio_user_caps *caps);
/* JSON text behind the numbers of VERSION, with its NUL; the caller frees it. */
int vf_vfio_user_caps_format(const struct vf_vfio_user_caps *caps, char **ret_text);
/* A whole VERSION body. Unknown capabilities are skipped, known ones of a wrong type refused. */
int vf_vfio_user_get_version(const uint8_t *body, size_t len, uint16_t *ret_major,
			     uint16_t *ret_minor, struct vf_vfio_user_caps *ret_caps);
/* What is in force between two sides. */
void vf_vfio_user_caps_meet(const struct vf_vfio_user_caps *a, const struct vf_vfio_user_caps *b,
			    struct vf_vfio_user_caps *ret_caps);

/* --- DMA --- */
#define VF_VFIO_USER_DMA_READABLE	(1u << 0)
#define VF_VFIO_USER_DMA_WRITABLE	(1u << 1)
#define VF_VFIO_USER_DMA_MMAP		(1u << 2)	/* libvfio-user's, optional */
#define VF_VFIO_USER_UNMAP_ALL		(1u << 1)

#define VF_VFIO_USER_DMA_MAP_BYTES 32u
#define VF_VFIO_USER_DMA_UNMAP_BYTES 24u

struct vf_vfio_user_dma_map {
	uint32_t flags;
	uint64_t fd_offset;
	uint64_t iova;
	uint64_t size;
};

void vf_vfio_user_put_dma_map(uint8_t *to, const struct vf_vfio_user_dma_map *map);
int vf_vfio_user_get_dma_map(const uint8_t *body, size_t len, struct vf_vfio_user_dma_map *ret_map);
void vf_vfio_user_put_dma_unmap(uint8_t *to, uint32_t flags, uint64_t iova, uint64_t size);
int vf_vfio_user_get_dma_unmap(const uint8_t *body, size_t len, uint32_t *ret_flags,
			       uint64_t *ret_iova, uint64_t *ret_size);

/* --- regions, also DMA_READ and DMA_WRITE --- */
#define VF_VFIO_USER_ACCESS_BYTES 16u

struct vf_vfio_user_access {
	uint64_t address;	/* offset in the region, or IOVA */
	uint32_t region;	/* 0 for DMA */
	uint64_t count;
};

void vf_vfio_user_put_region_access(uint8_t *to, const struct vf_vfio_user_access *access);
void vf_vfio_user_put_dma_access(uint8_t *to, const struct vf_vfio_user_access *access);
/* Only the fixed part; whether data of @count follows is the command's matter. */
int vf_vfio_user_get_region_access(const uint8_t *body, size_t len,
				   struct vf_vfio_user_access *ret_access);
int vf_vfio_user_get_dma_access(const uint8_t *body, size_t len,
				struct vf_vfio_user_access *ret_access);

/* --- information --- */
#define VF_VFIO_USER_INFO_BYTES 16u		/* device and irq info alike */
#define VF_VFIO_USER_REGION_INFO_BYTES 32u
#define VF_VFIO_USER_MAX_AREAS 1024u
#define VF_VFIO_USER_SPARSE_BYTES 16u		/* before the areas */
#define VF_VFIO_USER_REGION_INFO_MAX \
	(VF_VFIO_USER_REGION_INFO_BYTES + VF_VFIO_USER_SPARSE_BYTES + 16u * VF_VFIO_USER_MAX_AREAS)

void vf_vfio_user_put_device_info(uint8_t *to, const struct vf_vfio_device_info *info);
int vf_vfio_user_get_device_info(const uint8_t *body, size_t len,
				 struct vf_vfio_device_info *ret_info);
void vf_vfio_user_put_irq_info(uint8_t *to, const struct vf_vfio_irq_info *info);
int vf_vfio_user_get_irq_info(const uint8_t *body, size_t len, struct vf_vfio_irq_info *ret_info);
void vf_vfio_user_put_region_info(uint8_t *to, const struct vf_vfio_region_info *info);
int vf_vfio_user_get_region_info(const uint8_t *body, size_t len,
				 struct vf_vfio_region_info *ret_info);
/* The sparse-mmap capability that follows a region's info: 16 bytes and 16 per area. */
void vf_vfio_user_put_sparse(uint8_t *to, const struct vf_vfio_sparse_area *areas, uint32_t count);
/*
 * Finds it in a region-info reply. Areas are sorted and checked: inside @info->size, not empty, not
 * overlapping. *ret_count = 0 if there is none. @areas has room for VF_VFIO_USER_MAX_AREAS.
 */
int vf_vfio_user_get_sparse(const uint8_t *body, size_t len, const struct vf_vfio_region_info *info,
			    struct vf_vfio_sparse_area *areas, uint32_t *ret_count);

/*
 * --- GET_REGION_IO_FDS ---
 *
 * Spans of a region whose writes the server would rather have by descriptor than by message, 40 bytes
 * each. libvfio-user's are of 48: it has a fourth type, and puts where its memory is before datamatch.
 */
#define VF_VFIO_USER_IO_FDS_BYTES 16u		/* before the spans; the request alike */
#define VF_VFIO_USER_IO_FD_BYTES 40u
#define VF_VFIO_USER_IO_FD_LONG_BYTES 48u
#define VF_VFIO_USER_MAX_IO_FDS 64u		/* spans of one region */
#define VF_VFIO_USER_IO_FDS_MAX \
	(VF_VFIO_USER_IO_FDS_BYTES + VF_VFIO_USER_IO_FD_LONG_BYTES * VF_VFIO_USER_MAX_IO_FDS)

enum vf_vfio_user_io_fd_type {
	VF_VFIO_USER_IOEVENTFD = 0,
	VF_VFIO_USER_IOREGIONFD = 1,
	VF_VFIO_USER_IOEVENTFD_SHADOW = 2,	/* libvfio-user's */
};

/* Of an ioeventfd; KVM's numbers. */
#define VF_VFIO_USER_IOEVENTFD_DATAMATCH (1u << 0)
#define VF_VFIO_USER_IOEVENTFD_PIO	(1u << 1)

struct vf_vfio_user_io_fds {
	uint32_t argsz;		/* of a request: room for the reply; of a reply: what it takes */
	uint32_t flags;
	uint32_t region;
	uint32_t count;
};

struct vf_vfio_user_io_fd {
	uint64_t offset;
	uint64_t size;		/* 0 = of an access of any size */
	uint32_t fd_index;	/* among the descriptors of the reply */
	uint32_t type;
	uint32_t flags;
	uint64_t datamatch;
};

void vf_vfio_user_put_io_fds(uint8_t *to, const struct vf_vfio_user_io_fds *fds);
int vf_vfio_user_get_io_fds(const uint8_t *body, size_t len, struct vf_vfio_user_io_fds *ret_fds);
void vf_vfio_user_put_io_fd(uint8_t *to, const struct vf_vfio_user_io_fd *fd);
/*
 * Spans of a reply, into @fds with room for VF_VFIO_USER_MAX_IO_FDS. -EINVAL: cut off, or an ioeventfd
 * outside of @region_bytes or of no size that an access can have. -E2BIG: more of them than that, or
 * in a layout that is not known; nothing is wrong with them.
 */
int vf_vfio_user_get_io_fd_list(const uint8_t *body, size_t len, uint64_t region_bytes,
				struct vf_vfio_user_io_fd *fds, uint32_t *ret_count);

/* --- interrupts --- */
#define VF_VFIO_USER_IRQ_SET_BYTES 20u

void vf_vfio_user_put_irq_set(uint8_t *to, const struct vf_vfio_irq_set *set);
/* Exactly one action and one kind of data; DATA_BOOL has one byte per vector behind it. */
int vf_vfio_user_get_irq_set(const uint8_t *body, size_t len, struct vf_vfio_irq_set *ret_set,
			     const uint8_t **ret_bools);

/* --- DEVICE_FEATURE --- */
#define VF_VFIO_USER_FEATURE_BYTES 8u
#define VF_VFIO_USER_LOG_START_BYTES 16u	/* before the ranges */
#define VF_VFIO_USER_LOG_REPORT_BYTES 24u	/* before the bitmap */
#define VF_VFIO_USER_MAX_LOG_RANGES 4096u

void vf_vfio_user_put_feature(uint8_t *to, uint32_t argsz, uint32_t flags);
int vf_vfio_user_get_feature(const uint8_t *body, size_t len, uint32_t *ret_argsz,
			     uint32_t *ret_flags, const uint8_t **ret_data, size_t *ret_data_len);
void vf_vfio_user_put_log_start(uint8_t *to, uint64_t page_size, uint32_t count);
/* @data: of the feature. Ranges are then read one by one with get_log_range(). */
int vf_vfio_user_get_log_start(const uint8_t *data, size_t len, uint64_t *ret_page_size,
			       uint32_t *ret_count);
void vf_vfio_user_put_log_range(uint8_t *to, const struct vf_vfio_dma_log_range *range);
void vf_vfio_user_get_log_range(const uint8_t *from, struct vf_vfio_dma_log_range *ret_range);
void vf_vfio_user_put_log_report(uint8_t *to, const struct vf_vfio_dma_log_report *report);
/* Power-of-two page size of 4 KiB at least, aligned, not empty, not wrapping; bitmap is left 0. */
int vf_vfio_user_get_log_report(const uint8_t *data, size_t len,
				struct vf_vfio_dma_log_report *ret_report);
/* Bytes of the bitmap of @length at @page_size: whole 64-bit words. */
uint64_t vf_vfio_user_log_bitmap_bytes(uint64_t length, uint64_t page_size);

/* --- migration data --- */
#define VF_VFIO_USER_MIG_DATA_BYTES 8u

void vf_vfio_user_put_mig_data(uint8_t *to, uint32_t argsz, uint32_t size);
/* Fixed part only. */
int vf_vfio_user_get_mig_data(const uint8_t *body, size_t len, uint32_t *ret_argsz,
			      uint32_t *ret_size);

/* --- extension --- */
#define VF_VFIO_USER_PRECOPY_BYTES 24u
#define VF_VFIO_USER_BUFFER_RANGE_BYTES 16u

void vf_vfio_user_put_precopy(uint8_t *to, const struct vf_vfio_precopy_info *info);
int vf_vfio_user_get_precopy(const uint8_t *body, size_t len, struct vf_vfio_precopy_info *ret_info);
void vf_vfio_user_put_buffer_range(uint8_t *to, uint64_t offset, uint64_t size);
int vf_vfio_user_get_buffer_range(const uint8_t *body, size_t len, uint64_t *ret_offset,
				  uint64_t *ret_size);

#endif
