/* SPDX-License-Identifier: MIT */
/*
 * server.h - the device's side of vfio-user: what a process that *is* a PCI function embeds.
 *
 * Model: the device describes its regions and interrupts once and gives a table of callbacks; the
 * library keeps the connection (one client at a time; whoever comes when the last one has hung up waits
 * until its end is dealt with), the DMA mappings, the eventfds of each vector, the migration state
 * machine and the DMA log. The device's own loop polls one descriptor, vf_vfio_user_server_fd(), for
 * POLLIN and then calls vf_vfio_user_server_dispatch(), which never waits for the client: unfinished
 * messages and replies stay buffered.
 *
 * Requests are answered strictly one after the other. A callback that can't finish at once returns
 * VF_VFIO_USER_LATER and calls vf_vfio_user_server_complete() when done, from any thread. Until
 * then dispatch returns as usual and the device's loop goes on, but no further request of the
 * client is looked at: its register accesses wait as well. Buffers given to the callback stay valid
 * until complete().
 *
 * Migration: the device implements single arcs only; the library walks composed ones (shortest
 * way, no saving state in between; states the device lacks are skipped), refuses what is no arc
 * with -EINVAL, and knows the state. With P2P in migration_flags the single arcs are RUNNING <>
 * RUNNING_P2P, RUNNING_P2P <> STOP, STOP <> STOP_COPY, STOP <> RESUMING, and with PRE_COPY too
 * RUNNING <> PRE_COPY, PRE_COPY <> PRE_COPY_P2P, RUNNING_P2P <> PRE_COPY_P2P, PRE_COPY_P2P ->
 * STOP_COPY. Without P2P: RUNNING <> STOP, RUNNING <> PRE_COPY, PRE_COPY -> STOP_COPY. A client
 * without our extension can't name P2P states, yet the walk still goes through them.
 *
 * Kicks: writes that a client's KVM turns into an eventfd's count (ioeventfd) reach the device by
 * `kicked`, before whatever the client asks for after them. While the device is in no running state they
 * stay in the eventfd: those from before the stop were handed over before it, later ones are once it
 * runs again. A reset, and the state of another device (RESUMING), make an end of them.
 *
 * Threads: new, free, describe, listen, attach and dispatch belong to one thread, which is where
 * all callbacks run. Marked "any thread": complete, irq, dma and state helpers. The client may
 * unmap memory at any time: a pointer from dma_get() is good until dma_put(), and an unmap
 * waits for it - so hold it briefly, and never across LATER.
 */
#ifndef VF_VFIO_USER_SERVER_H
#define VF_VFIO_USER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vferry/error.h>
#include <vferry/trust.h>
#include "vferry_vfio.h"

struct vf_vfio_user_server;

#define VF_VFIO_USER_LATER (-4096)	/* no errno: the answer comes with complete() */

enum vf_vfio_user_reset {
	VF_VFIO_USER_RESET_REQUEST = 1,		/* DEVICE_RESET */
	VF_VFIO_USER_RESET_LOST_CLIENT = 2,	/* the client went; LATER is not possible here */
};

struct vf_vfio_user_dma {
	uint64_t iova;
	uint64_t size;
	bool readable, writable;
	bool mapped;		/* false: reached by messages only */
};

/* Return 0 (data_read: bytes) or a negative errno for the client. Missing = -EOPNOTSUPP. */
struct vf_vfio_user_server_ops {
	uint32_t size;		/* sizeof(struct), members beyond it are missing */
	/* Before anything is done about a request, by the protocol's number. 0: go on; an errno is
	 * the answer. After LATER, what complete() says is taken the same way. */
	int (*request)(void *user, uint16_t command);
	/* Inside the region as described, and allowed by its flags: checked before. */
	int (*region_read)(void *user, uint32_t region, uint64_t offset, void *to, uint32_t len);
	int (*region_write)(void *user, uint32_t region, uint64_t offset, const void *from,
			    uint32_t len);
	/* To the state after power on: RUNNING, nothing kept. The library forgets masks and
	 * sessions itself, keeps DMA mappings and the eventfds, and sets the state to RUNNING. */
	int (*reset)(void *user, enum vf_vfio_user_reset why);
	void (*connected)(void *user);
	void (*disconnected)(void *user);
	void (*dma_mapped)(void *user, const struct vf_vfio_user_dma *dma);
	/* Before the range goes: stop using it. */
	void (*dma_unmapping)(void *user, const struct vf_vfio_user_dma *dma);
	/* Eventfds of the index were set, taken or (un)masked. */
	void (*irq_changed)(void *user, uint32_t index);
	/* So many writes of the ioeventfd with this number; LATER is not possible. */
	void (*kicked)(void *user, uint32_t ioeventfd, uint64_t count);

	/* One single arc. On failure the device has stayed in @from, or it has called
	 * vf_vfio_user_server_device_lost() and is in ERROR. */
	int (*arc)(void *user, enum vf_vfio_state from, enum vf_vfio_state to);
	/* Up to @len bytes of state; 0 = none now (PRE_COPY*) or at all (STOP_COPY). */
	ssize_t (*data_read)(void *user, void *to, size_t len);
	/* All of it. */
	int (*data_write)(void *user, const void *from, size_t len);
	int (*data_size)(void *user, uint64_t *ret_bytes);	/* estimate, any state */
	/* Sets initial_bytes, dirty_bytes, flags. Asked in PRE_COPY states only. */
	int (*precopy_info)(void *user, struct vf_vfio_precopy_info *ret_info);
	/* The extension offers these only where the callbacks exist. */
};

struct vf_vfio_user_server_options {
	uint32_t size;
	const struct vf_vfio_user_server_ops *ops;	/* borrowed for the server's life */
	void *user;
	uint64_t migration_flags;	/* VF_VFIO_MIGRATION_*, 0 = can't migrate */
	uint32_t device_flags;		/* VF_VFIO_DEVICE_FLAGS_*, 0 = RESET | PCI */
	/* Bounds on the client, 0 = default in brackets. */
	uint32_t max_msg_fds;		/* [16] */
	uint32_t max_dma_maps;		/* [4096] */
	uint64_t max_data_xfer_bytes;	/* [1 MiB] */
	uint64_t max_mig_buffer_bytes;	/* [64 MiB] */
	uint32_t dma_timeout_ms;	/* for DMA by messages [5000] */
	bool no_extensions;		/* talk like a foreign server */
	bool no_twin_socket;
	bool no_dma_log;	/* device writes can't be logged */
	const struct vferry_trust *trust;	/* who may connect; borrowed for the server's life, or NULL */
};

int vf_vfio_user_server_new(const struct vf_vfio_user_server_options *options,
			    struct vf_vfio_user_server **ret_server, struct vferry_error *err);
/* Also removes the socket's path if listening. NULL is allowed. */
void vf_vfio_user_server_free(struct vf_vfio_user_server *server);

/* --- describing the device, before listen or attach --- */
struct vf_vfio_user_region_desc {
	uint64_t size;
	uint32_t flags;		/* READ, WRITE; MMAP is implied by fd */
	int fd;			/* borrowed (dup-ed), -1 = no mmap */
	uint64_t fd_offset;
	const struct vf_vfio_sparse_area *areas;	/* copied; none = all of it */
	uint32_t area_count;
};

int vf_vfio_user_server_set_region(struct vf_vfio_user_server *server, uint32_t index,
				   const struct vf_vfio_user_region_desc *desc,
				   struct vferry_error *err);
/* @flags: VF_VFIO_IRQ_INFO_*. At most 2048 vectors. */
int vf_vfio_user_server_set_irq(struct vf_vfio_user_server *server, uint32_t index, uint32_t count,
				uint32_t flags, struct vferry_error *err);

#define VF_VFIO_USER_IOEVENTFDS 16u	/* of one device */

/*
 * A write that need not come as one, as its value does not matter, or is known: clients that can, make
 * it a kick. Others write as ever, so region_write has to do the same.
 */
struct vf_vfio_user_ioeventfd_desc {
	uint32_t region;
	uint64_t offset;
	uint32_t size;		/* of the write: 1, 2, 4, 8 */
	bool matches;		/* only of the value `match` */
	uint64_t match;
};

/* Needs `kicked`. Numbers go up from 0. -ENOSPC: more than VF_VFIO_USER_IOEVENTFDS. */
int vf_vfio_user_server_add_ioeventfd(struct vf_vfio_user_server *server,
				      const struct vf_vfio_user_ioeventfd_desc *desc,
				      struct vferry_error *err);

/* --- connection --- */
/* A unix socket at @path; its mode is vferry_trust_mode()'s, and others are turned away. A dead socket file there is replaced, anything else -EEXIST or
 * -EADDRINUSE. */
int vf_vfio_user_server_listen(struct vf_vfio_user_server *server, const char *path,
			       struct vferry_error *err);
/* Serves a connected stream socket; taken also on failure. */
int vf_vfio_user_server_attach(struct vf_vfio_user_server *server, int take_fd,
			       struct vferry_error *err);
/* Pollable for POLLIN; the same for the server's life. */
int vf_vfio_user_server_fd(const struct vf_vfio_user_server *server);
/* Does what can be done now. Return: 0; only a failure of the server itself (epoll) is an error.
 * A client that breaks the protocol is disconnected, and *err says why while 0 is returned. */
int vf_vfio_user_server_dispatch(struct vf_vfio_user_server *server, struct vferry_error *err);
/* The device has reset itself (a function level reset written to config space, in its callback):
 * what RESET does here is done, without asking the device. */
void vf_vfio_user_server_was_reset(struct vf_vfio_user_server *server);
/* Drops the client as if it had gone, a callback that is LATER included. Not from a callback. */
void vf_vfio_user_server_disconnect(struct vf_vfio_user_server *server);
/* Has the client gone? For a device that stays LATER for long: dispatch doesn't look then. */
bool vf_vfio_user_server_peer_gone(const struct vf_vfio_user_server *server);
bool vf_vfio_user_server_is_connected(const struct vf_vfio_user_server *server);
/* Ends a callback that returned LATER: 0, bytes (data_read) or negative errno. Any thread. */
void vf_vfio_user_server_complete(struct vf_vfio_user_server *server, int64_t result);

/* --- interrupts: any thread --- */
/* An edge. Return: 1 = signalled, 0 = no eventfd there, or masked (then kept pending). */
int vf_vfio_user_server_irq_trigger(struct vf_vfio_user_server *server, uint32_t index,
				    uint32_t vector);
/* A line (INTx): signals when it is asserted and not masked; an AUTOMASKED index masks itself as it
 * signals, and signals again at the unmask if the line is still up. */
void vf_vfio_user_server_irq_level(struct vf_vfio_user_server *server, uint32_t index,
				   bool asserted);
/* Has the vector an eventfd? */
bool vf_vfio_user_server_irq_connected(struct vf_vfio_user_server *server, uint32_t index,
				       uint32_t vector);

/* --- DMA: any thread. Ranges may span mappings that lie side by side. --- */
/* Copies, by mapping or by message, and logs what it wrote. -EFAULT: not mapped, or not so. DMA by
 * message needs the twin socket, or the dispatch thread, in a callback or between two dispatches
 * (-EAGAIN there: a reply is half sent, dispatch again first); else -EOPNOTSUPP. It waits for the
 * client's answer, dma_timeout_ms at most; a client that keeps it waiting is disconnected. */
int vf_vfio_user_server_dma_read(struct vf_vfio_user_server *server, uint64_t iova, void *to,
				 size_t len);
int vf_vfio_user_server_dma_write(struct vf_vfio_user_server *server, uint64_t iova,
				  const void *from, size_t len);
/* One of these by message even where the memory is mapped; within one mapping. */
int vf_vfio_user_server_dma_message(struct vf_vfio_user_server *server, bool write, uint64_t iova,
				    void *data, size_t len);
/* A pointer to [iova, iova + *len) for direct access; *len is cut down to what is contiguous.
 * Pair with dma_put(). A writer calls dma_dirty() after its writes, before dma_put(). NULL: as
 * -EFAULT, or reached by messages only. */
void *vf_vfio_user_server_dma_get(struct vf_vfio_user_server *server, uint64_t iova, bool write,
				  size_t *len);
void vf_vfio_user_server_dma_put(struct vf_vfio_user_server *server);
void vf_vfio_user_server_dma_dirty(struct vf_vfio_user_server *server, uint64_t iova, uint64_t len);

/* --- migration: any thread --- */
enum vf_vfio_state vf_vfio_user_server_state(struct vf_vfio_user_server *server);
/* The device has lost its state: ERROR until a reset. */
void vf_vfio_user_server_device_lost(struct vf_vfio_user_server *server);

#endif
