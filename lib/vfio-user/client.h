/* SPDX-License-Identifier: MIT */
/*
 * client.h - one vfio-user device seen from the VMM.
 *
 * Model: a client is one connection to one device server. Every call is one request and its reply;
 * calls may come from any number of threads at once and are pipelined, so that a vCPU's register
 * access goes out while another thread drains migration data (the server answers in order: an
 * access waits behind the one request being served, never behind a whole stream). Whichever calling
 * thread waits first reads the socket for all. Commands of the server (DMA_READ, DMA_WRITE) are
 * served by a thread of the client: on a twin socket where the server gives one.
 *
 * Time: a call that is not answered within its timeout returns -ETIMEDOUT, and the connection is
 * dead from then on, as it is after a broken message (-EPROTO) or when the peer goes (-ENOTCONN).
 * Every later call on a dead connection returns -ENOTCONN at once, with the first cause in the
 * error. An errno that the *server* answers is returned as it is and leaves the connection alive.
 * -ETIMEDOUT, -EPROTO and -ENOTCONN answered by a server become -EREMOTEIO, to keep these apart.
 *
 * What a peer says is bounded before use: message and reply sizes by what was asked for,
 * descriptors by max_msg_fds, region layouts by the region and by the file behind them.
 */
#ifndef VF_VFIO_USER_CLIENT_H
#define VF_VFIO_USER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vferry/error.h>
#include <vferry/trust.h>
#include "vferry_vfio.h"

struct vf_vfio_user_client;

/* Called on a thread of the client, never on a caller's. May not call into the client. Return 0 or
 * a negative errno, which goes to the server. The range is the server's word: check it. */
struct vf_vfio_user_client_ops {
	uint32_t size;		/* sizeof(struct), members beyond it are missing */
	int (*dma_read)(void *user, uint64_t iova, void *to, size_t len);
	int (*dma_write)(void *user, uint64_t iova, const void *from, size_t len);
};

#define VF_VFIO_USER_TIMEOUT_MS 5000u

struct vf_vfio_user_client_options {
	uint32_t size;
	uint32_t timeout_ms;	/* of each call, 0 = VF_VFIO_USER_TIMEOUT_MS */
	uint32_t transition_timeout_ms;	/* of state changes, data, reset; 0 = timeout_ms */
	const struct vf_vfio_user_client_ops *ops;	/* borrowed for the client's life; NULL = none */
	void *user;
	bool no_extensions;	/* do not offer `vferry`: talk like a foreign client */
	const struct vferry_trust *trust;	/* connect: who may serve the device; borrowed, may be NULL */
};

/* What VERSION agreed on. Extension members are false with a foreign peer. */
struct vf_vfio_user_peer {
	uint16_t major, minor;
	uint32_t max_msg_fds;
	uint64_t max_data_xfer_bytes;
	uint64_t max_dma_maps;
	uint64_t pgsizes;
	bool twin_socket;
	bool extensions;	/* the peer speaks `vferry`; false = all below are */
	bool p2p;		/* RUNNING_P2P and PRE_COPY_P2P may be asked for */
	bool data_size;
	bool precopy_info;
	bool dma_log_ranges;	/* REPORT of any aligned range, not of whole regions only */
	uint64_t mig_buffer_bytes;	/* largest shared buffer the peer takes, 0 = none */
};

/**
 * vf_vfio_user_client_connect() - connect to the server at a unix socket and negotiate
 * @path:    socket path; longer than sun_path is -ENAMETOOLONG
 * @options: may be NULL
 * @ret_client: owned by the caller
 *
 * Return: 0; errno of connect(); -ETIMEDOUT; -EPROTONOSUPPORT (other major version); -EPROTO;
 * -EACCES whoever listens there is not trusted.
 */
int vf_vfio_user_client_connect(const char *path, const struct vf_vfio_user_client_options *options,
				struct vf_vfio_user_client **ret_client, struct vferry_error *err);
/* The same over a connected stream socket, which is taken also on failure. */
int vf_vfio_user_client_attach(int take_fd, const char *name,
			       const struct vf_vfio_user_client_options *options,
			       struct vf_vfio_user_client **ret_client, struct vferry_error *err);
/* Closes and frees. No other call may be running. NULL is allowed. */
void vf_vfio_user_client_free(struct vf_vfio_user_client *client);

/* Fixed after connect; borrowed. */
const struct vf_vfio_user_peer *vf_vfio_user_client_peer(const struct vf_vfio_user_client *client);
/* 0, or why the connection is dead (notices a peer that has gone without asking it anything). */
int vf_vfio_user_client_check_alive(struct vf_vfio_user_client *client, struct vferry_error *err);
/* Makes running and later calls of all threads fail with -ENOTCONN. Any thread. */
void vf_vfio_user_client_shutdown(struct vf_vfio_user_client *client);
void vf_vfio_user_client_set_transition_timeout(struct vf_vfio_user_client *client, uint32_t ms);

/* --- the device --- */
int vf_vfio_user_client_get_info(struct vf_vfio_user_client *client,
				 struct vf_vfio_device_info *ret_info, struct vferry_error *err);

/* Without MMAP in flags, fd is -1 and there are no areas. With it, areas are sorted, disjoint and
 * inside the region and, for a regular file or memfd, inside the file. */
struct vf_vfio_user_region {
	uint32_t index;
	uint32_t flags;		/* VF_VFIO_REGION_FLAG_* */
	uint64_t size;
	uint64_t fd_offset;	/* where the region starts in fd */
	int fd;			/* owned by this struct, -1 = not mappable */
	bool sealed;		/* fd can't be shortened: mapping it can't raise SIGBUS */
	uint32_t area_count;
	struct vf_vfio_sparse_area *areas;	/* owned; the whole region if the server lists none */
};

int vf_vfio_user_client_get_region(struct vf_vfio_user_client *client, uint32_t index,
				   struct vf_vfio_user_region *ret_region, struct vferry_error *err);
void vf_vfio_user_region_done(struct vf_vfio_user_region *region);
int vf_vfio_user_client_get_irq_info(struct vf_vfio_user_client *client, uint32_t index,
				     struct vf_vfio_irq_info *ret_info, struct vferry_error *err);
/*
 * A write that the server would have by an eventfd in place of a REGION_WRITE: whoever can (KVM, by
 * KVM_IOEVENTFD) adds 1 to it instead. What is written is lost, so a server asks for it only where
 * that does not matter.
 */
struct vf_vfio_user_ioeventfd {
	uint64_t offset;	/* inside the region, as is all of the write */
	uint32_t size;		/* of the write: 1, 2, 4, 8; 0 = any */
	bool matches;		/* only of the value `match` */
	uint64_t match;
	int fd;			/* an eventfd, owned by whoever asked; a descriptor of its own */
};

/*
 * Those of @region, which has @region_bytes; @list has room for VF_VFIO_USER_MAX_IO_FDS. Shadow
 * ioeventfds and ioregionfds, which Linux's KVM has not, and port I/O are left out: such accesses go by
 * message, as ever. Return: 0, also with none, and of a peer that does not know the request.
 */
int vf_vfio_user_client_get_ioeventfds(struct vf_vfio_user_client *client, uint32_t region,
				       uint64_t region_bytes, struct vf_vfio_user_ioeventfd *list,
				       uint32_t *ret_count, struct vferry_error *err);
/* All of @len or an error. Longer than max_data_xfer_bytes goes in several requests. */
int vf_vfio_user_client_region_read(struct vf_vfio_user_client *client, uint32_t region,
				    uint64_t offset, void *to, size_t len, struct vferry_error *err);
int vf_vfio_user_client_region_write(struct vf_vfio_user_client *client, uint32_t region,
				     uint64_t offset, const void *from, size_t len,
				     struct vferry_error *err);
/*
 * @fds: @count descriptors or -1 = leave unconnected (DATA_EVENTFD); borrowed. NULL = DATA_NONE.
 * One call may be several messages: peers bound the descriptors of one. libvfio-user knows no -1
 * inside a message, so runs of real descriptors go together and -1 runs go as one DATA_EVENTFD
 * message without descriptors.
 * @action: VF_VFIO_IRQ_SET_ACTION_TRIGGER, _MASK or _UNMASK.
 * (action TRIGGER, start 0, count 0, NULL) disables the whole index.
 */
int vf_vfio_user_client_set_irqs(struct vf_vfio_user_client *client, uint32_t index, uint32_t action,
				 uint32_t start, uint32_t count, const int *fds,
				 struct vferry_error *err);
/* @fd: memory behind the range, borrowed, or -1: the server then sends DMA_READ and DMA_WRITE. */
int vf_vfio_user_client_dma_map(struct vf_vfio_user_client *client, uint64_t iova, uint64_t size,
				bool writable, int fd, uint64_t fd_offset, struct vferry_error *err);
/* Exactly one earlier map. */
int vf_vfio_user_client_dma_unmap(struct vf_vfio_user_client *client, uint64_t iova, uint64_t size,
				  struct vferry_error *err);
int vf_vfio_user_client_reset(struct vf_vfio_user_client *client, struct vferry_error *err);

/*
 * Any DEVICE_FEATURE: @flags = index | VF_VFIO_FEATURE_GET, _SET or _PROBE; @data goes out
 * (@data_len bytes), the reply's data comes back into the same memory (up to @data_size).
 * Return: bytes of reply data, or a negative errno (-ENOTTY also where a peer says -EINVAL to PROBE).
 */
int vf_vfio_user_client_feature(struct vf_vfio_user_client *client, uint32_t flags, void *data,
				size_t data_len, size_t data_size, struct vferry_error *err);

/*
 * The same as it stands: @arg is the request, @bytes of header and data, argsz and flags whatever the
 * caller wrote. Data comes back behind the header, up to @room bytes with it. Errors are the peer's own.
 */
int vf_vfio_user_client_feature_raw(struct vf_vfio_user_client *client, void *arg, size_t bytes,
				    size_t room, struct vferry_error *err);

/* --- migration --- */
/* VF_VFIO_MIGRATION_*. P2P is cleared unless the peer has our extension. -ENOTTY = none. */
int vf_vfio_user_client_get_migration(struct vf_vfio_user_client *client, uint64_t *ret_flags,
				      struct vferry_error *err);
int vf_vfio_user_client_get_state(struct vf_vfio_user_client *client, enum vf_vfio_state *ret_state,
				  struct vferry_error *err);
/* Returns when the device is in @state. After a failure ask get_state: anything on the way, or
 * ERROR, is possible. */
int vf_vfio_user_client_set_state(struct vf_vfio_user_client *client, enum vf_vfio_state state,
				  struct vferry_error *err);
/* Up to @len bytes in one message. Return: bytes; 0 = nothing (now: PRE_COPY; at all: STOP_COPY).
 * Less than asked is no end; only 0 is. */
ssize_t vf_vfio_user_client_mig_data_read(struct vf_vfio_user_client *client, void *to, size_t len,
					  struct vferry_error *err);
/* All of @len. */
int vf_vfio_user_client_mig_data_write(struct vf_vfio_user_client *client, const void *from,
				       size_t len, struct vferry_error *err);
/* Bytes STOP_COPY would take. -EOPNOTSUPP with a foreign peer: unknown. */
int vf_vfio_user_client_get_data_size(struct vf_vfio_user_client *client, uint64_t *ret_bytes,
				      struct vferry_error *err);
/* -EOPNOTSUPP with a foreign peer; -EINVAL outside PRE_COPY*. argsz in @ret_info is not used. */
int vf_vfio_user_client_get_precopy_info(struct vf_vfio_user_client *client,
					 struct vf_vfio_precopy_info *ret_info,
					 struct vferry_error *err);

/*
 * Shared migration buffer: device state without copies through the socket. The client makes a
 * sealed memfd of @bytes, maps it and passes it once; reads and writes then name a place in it.
 * Different places may be in use at once: one half is sent on while the other is filled.
 * A second open replaces the first; free() unmaps. -EOPNOTSUPP with a foreign peer.
 * ret_fd (may be NULL) is borrowed, for sendfile() or splice().
 */
int vf_vfio_user_client_mig_buffer_open(struct vf_vfio_user_client *client, size_t bytes,
					void **ret_map, int *ret_fd, struct vferry_error *err);
/* As mig_data_read and _write, between the device and [offset, offset + len) of the buffer. */
ssize_t vf_vfio_user_client_mig_buffer_read(struct vf_vfio_user_client *client, size_t offset,
					    size_t len, struct vferry_error *err);
int vf_vfio_user_client_mig_buffer_write(struct vf_vfio_user_client *client, size_t offset,
					 size_t len, struct vferry_error *err);

/* --- DMA logging (device writes) --- */
/* @page_size: a hint; *ret_page_size is what the device uses. @count 0 = all it can reach. */
int vf_vfio_user_client_dma_log_start(struct vf_vfio_user_client *client, uint64_t page_size,
				      const struct vf_vfio_dma_log_range *ranges, uint32_t count,
				      uint64_t *ret_page_size, struct vferry_error *err);
int vf_vfio_user_client_dma_log_stop(struct vf_vfio_user_client *client, struct vferry_error *err);
/*
 * Read and clear: ORs into @words, bit n = page n from @iova. @iova and @length are multiples of
 * @page_size, which must be the one logging was started with (foreign peers break on others).
 * Any error: treat the whole range as dirty (foreign peers report whole DMA regions only).
 */
int vf_vfio_user_client_dma_log_report(struct vf_vfio_user_client *client, uint64_t iova,
				       uint64_t length, uint64_t page_size, uint64_t *words,
				       struct vferry_error *err);

#endif
