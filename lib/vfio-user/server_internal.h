/* SPDX-License-Identifier: MIT */
/*
 * server_internal.h - what the server's files share. server.c has the connection and the order of
 * requests, server_listen.c the socket that clients come by, server_receive.c their messages,
 * server_device.c answers about regions and interrupts, server_dma.c keeps the mappings and the DMA
 * log, server_ioeventfd.c the writes that come by eventfd, server_migration.c the states and their data.
 *
 * A request is one struct vf_vfio_user_request: it is complete before anyone looks at it, and is
 * answered by filling `reply` and returning 0, or by a negative errno, or later. Everything here
 * belongs to the dispatch thread, but for what lies behind the locks named below. Lock order:
 * dma_lock, irq_lock, twin_lock, state_lock; only dma_lock is held while another is taken.
 */
#ifndef VF_VFIO_USER_SERVER_INTERNAL_H
#define VF_VFIO_USER_SERVER_INTERNAL_H

#include <pthread.h>

#include "base/bitmap.h"
#include "vfio-user/protocol.h"
#include "vfio-user/server.h"
#include "vfio-user/socket.h"

#define VF_SERVER_REGIONS VF_VFIO_PCI_REGIONS
#define VF_SERVER_IRQS VF_VFIO_PCI_IRQS
#define VF_SERVER_MAX_VECTORS 2048u
#define VF_SERVER_QUEUE 64u		/* requests put by while a DMA answer is awaited */

struct vf_vfio_user_request {
	struct vf_vfio_user_header header;
	uint8_t *body;			/* owned */
	size_t body_len;		/* received so far: body_got */
	size_t body_got;
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES];
	size_t raw_got;
	struct vf_vfio_user_fds fds;
	struct vf_vfio_user_request *next;
};

/* What a callback that returned LATER was doing, to finish it. */
enum vf_server_later {
	VF_LATER_NONE = 0,
	VF_LATER_PLAIN,		/* an empty reply, or the one that is already laid out */
	VF_LATER_REQUEST,	/* nothing yet: the request itself comes next */
	VF_LATER_RESET,
	VF_LATER_ARC,
	VF_LATER_DATA_READ,
	VF_LATER_BUFFER_READ,
	VF_LATER_DATA_SIZE,
	VF_LATER_PRECOPY,
};

struct vf_server_region {
	uint64_t size;
	uint32_t flags;
	int fd;
	uint64_t fd_offset;
	struct vf_vfio_sparse_area *areas;
	uint32_t area_count;
};

struct vf_server_vector {
	int trigger;
	bool masked;
	bool pending;
};

struct vf_server_irq {
	uint32_t count;
	uint32_t flags;
	bool level;			/* the line of vector 0 */
	int unmask;			/* eventfd that unmasks vector 0, -1 = none */
	struct vf_server_vector *vectors;
};

struct vf_server_ioeventfd {
	struct vf_vfio_user_ioeventfd_desc desc;
	int fd;				/* a client writes to it, or its KVM */
	bool given;			/* to this client */
};

struct vf_server_dma {
	uint64_t iova;
	uint64_t size;
	bool readable, writable;
	uint8_t *memory;		/* of iova; NULL = by messages */
	void *map;
	size_t map_len;
	struct vf_bitmap dirty;		/* while logging is on and the memory is mapped */
};

struct vf_vfio_user_server {
	struct vf_vfio_user_server_ops ops;
	void *user;
	struct vf_vfio_user_server_options options;
	char path[108];
	dev_t path_dev;			/* of the socket file we made: only that one is removed */
	ino_t path_ino;
	int epoll;
	int listener;
	bool next_waits;		/* the listener is not looked at until the client's end is dealt with */
	int wake;			/* eventfd: complete() was called */
	int fd;				/* the client, -1 = none */
	bool watching_out;
	bool watching;			/* fd is in epoll */
	bool negotiated;
	bool client_gone;		/* noticed while a callback is LATER */
	_Atomic(pid_t) dispatch_thread;	/* the one that called dispatch last */
	struct vf_vfio_user_caps mine, both;
	struct vf_vfio_user_caps theirs;

	/* the request being received, answered, or put by */
	struct vf_vfio_user_request *incoming;
	struct vf_vfio_user_request *current;
	struct vf_vfio_user_request *queue, **queue_end;
	uint32_t queue_count;
	enum vf_server_later later;
	uint8_t *reply;			/* body; grows to what is asked, never above the bound */
	size_t reply_len;
	size_t reply_capacity;
	int reply_fds[VF_VFIO_USER_IOEVENTFDS];	/* go with the reply, borrowed unless reply_fds_owned */
	uint32_t reply_fd_count;
	bool reply_fds_owned;
	uint8_t reply_raw[VF_VFIO_USER_HEADER_BYTES];
	size_t reply_sent;		/* of header and body */
	bool replying;

	struct vf_server_region regions[VF_SERVER_REGIONS];
	struct vf_server_ioeventfd ioeventfds[VF_VFIO_USER_IOEVENTFDS];
	uint32_t ioeventfd_count;

	pthread_mutex_t irq_lock;	/* irqs[], but for count and flags */
	struct vf_server_irq irqs[VF_SERVER_IRQS];

	pthread_rwlock_t dma_lock;	/* dma[], logging: writers on the dispatch thread only */
	struct vf_server_dma *dma;	/* sorted by iova */
	uint32_t dma_count, dma_room;
	bool logging;
	uint64_t log_page;

	pthread_mutex_t twin_lock;	/* twin and the exchange on it */
	int twin;
	uint16_t twin_id;

	pthread_mutex_t state_lock;	/* state, completion */
	enum vf_vfio_state state;
	bool lost;
	bool completed;
	int64_t result;
	enum vf_vfio_state arc_to, target;	/* dispatch thread: the walk under way */

	uint8_t *buffer;		/* shared migration buffer */
	size_t buffer_len;
};

/* Room for a reply body of @len, zeroed; NULL if there is no memory. */
uint8_t *vf_server_reply(struct vf_vfio_user_server *server, size_t len);
/* Marks that a callback is about to run that may return LATER for @kind. */
void vf_server_expect(struct vf_vfio_user_server *server, enum vf_server_later kind);
/* Ends expect(): LATER stays, anything else is the result. */
int64_t vf_server_called(struct vf_vfio_user_server *server, int64_t ret);
/* One whole request into `current`: put by, or received. Return: 0, -EAGAIN, or the client is bad. */
int vf_server_next_request(struct vf_vfio_user_server *server);
void vf_server_request_free(struct vf_vfio_user_request *request);
/* Reads and puts by requests until the answer @id comes; dispatch thread, in a callback. */
int vf_server_await_answer(struct vf_vfio_user_server *server, uint16_t id, uint16_t command,
			   uint8_t *body, size_t len, uint64_t deadline_ns);

/* Requests: 0 = `reply` is filled, negative errno, or VF_VFIO_USER_LATER. */
int vf_server_get_info(struct vf_vfio_user_server *server);
int vf_server_get_region_info(struct vf_vfio_user_server *server);
int vf_server_get_region_io_fds(struct vf_vfio_user_server *server);
int vf_server_get_irq_info(struct vf_vfio_user_server *server);
int vf_server_set_irqs(struct vf_vfio_user_server *server);
int vf_server_region_read(struct vf_vfio_user_server *server);
int vf_server_region_write(struct vf_vfio_user_server *server);
int vf_server_dma_map(struct vf_vfio_user_server *server);
int vf_server_dma_unmap(struct vf_vfio_user_server *server);
int vf_server_reset(struct vf_vfio_user_server *server);
int vf_server_feature(struct vf_vfio_user_server *server);
int vf_server_mig_data_read(struct vf_vfio_user_server *server);
int vf_server_mig_data_write(struct vf_vfio_user_server *server);
int vf_server_precopy_info(struct vf_vfio_user_server *server);
int vf_server_buffer_open(struct vf_vfio_user_server *server);
int vf_server_buffer_read(struct vf_vfio_user_server *server);
int vf_server_buffer_write(struct vf_vfio_user_server *server);
/* DMA log features: the data of the current request's feature. */
int vf_server_log_start(struct vf_vfio_user_server *server, const uint8_t *data, size_t len);
int vf_server_log_stop(struct vf_vfio_user_server *server);
int vf_server_log_report(struct vf_vfio_user_server *server, const uint8_t *data, size_t len,
			 uint32_t argsz);
/* After complete(): as above. */
int vf_server_finish(struct vf_vfio_user_server *server, enum vf_server_later kind, int64_t result);
int vf_server_finish_reset(struct vf_vfio_user_server *server, int64_t result);
int vf_server_finish_migration(struct vf_vfio_user_server *server, enum vf_server_later kind,
			       int64_t result);

/* Hands kicks to the device, if it runs and no callback is LATER. */
void vf_server_kicks_take(struct vf_vfio_user_server *server);
/* Kicks of a life that has ended: before a reset, or before the state that is about to come. */
void vf_server_kicks_drop(struct vf_vfio_user_server *server);
/* The client has gone: what it was given is not the next one's. */
void vf_server_kicks_forget(struct vf_vfio_user_server *server);
void vf_server_irqs_forget(struct vf_vfio_user_server *server, bool fds_too);
void vf_server_irq_unmask_event(struct vf_vfio_user_server *server, uint32_t index);
void vf_server_dma_forget(struct vf_vfio_user_server *server);
void vf_server_buffer_forget(struct vf_vfio_user_server *server);
/* Only the file that we made: somebody may have put another in its place. */
void vf_server_remove_path(struct vf_vfio_user_server *server);
int vf_server_watch(struct vf_vfio_user_server *server, int fd, uint64_t tag, uint32_t events);
void vf_server_unwatch(struct vf_vfio_user_server *server, int fd);

/* epoll tags */
#define VF_TAG_LISTENER 1u
#define VF_TAG_WAKE 2u
#define VF_TAG_CLIENT 3u
#define VF_TAG_KICK 4u
#define VF_TAG_UNMASK 16u		/* + irq index */

/* The next single arc from @from towards @to, given VF_VFIO_MIGRATION_* @flags; -EINVAL = none. */
int vf_vfio_user_next_state(uint64_t flags, enum vf_vfio_state from, enum vf_vfio_state to,
			    enum vf_vfio_state *ret_next);

#endif
