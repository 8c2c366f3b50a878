/* SPDX-License-Identifier: MIT */
/*
 * broken.h - a device with one fault: an accel device, served over vfio-user by a thread, and a backend
 * before it that does one thing otherwise.
 *
 * A fault is a row of the table in faults.c: the assertion that must find it, and the calls that are
 * answered in another way. A call that is not the fault's goes through to the device.
 */
#ifndef TESTS_CHECK_BROKEN_H
#define TESTS_CHECK_BROKEN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/internal.h"

/* How the device is where an assertion needs it so. */
#define DEVICE_NO_P2P		(1u << 0)
#define DEVICE_NO_PRECOPY	(1u << 1)
#define DEVICE_ERRS		(1u << 2)	/* a transition that fails leads to ERROR */
#define DEVICE_DESCRIPTORS	(1u << 3)	/* migration data has descriptors, as the kernel's */

struct broken;

enum fd_call {
	FD_READ, FD_WRITE, FD_PREAD, FD_PWRITE, FD_SEEK, FD_POLL, FD_FLAGS, FD_INFO, FD_CLOSE, FD_GIVEN,
};

struct fault {
	const char *id;			/* the assertion that fails */
	enum check_verdict verdict;	/* ... or warns; CHECK_PASS stands for CHECK_FAIL */
	unsigned int device;		/* DEVICE_* */
	bool alone;			/* can't be kept from the others: they are not run */
	const char *also;		/* what else speaks of the same: ids with blanks between; may be NULL */
	uint32_t a, b;			/* of the functions below */
	int code;
	int (*set_state)(struct broken *b, uint32_t from, uint32_t to);
	int (*get_state)(struct broken *b, uint32_t *ret_state);
	int (*reset)(struct broken *b);
	int (*feature)(struct broken *b, void *arg, size_t bytes, size_t room);
	/* What a call on descriptor @fd results in; FD_GIVEN: the descriptor that SET gives. */
	ssize_t (*fd_result)(struct broken *b, enum fd_call call, int fd, ssize_t result);
	ssize_t (*data_read)(struct broken *b, void *to, size_t len);
	int (*data_write)(struct broken *b, const void *from, size_t len);
	int (*data_size)(struct broken *b, uint64_t *ret_bytes);
	int (*precopy_info)(struct broken *b, struct vf_vfio_precopy_info *ret_info);
	int (*region_read)(struct broken *b, uint32_t region, uint64_t offset, void *to, size_t len);
	int (*region_write)(struct broken *b, uint32_t region, uint64_t offset, const void *from, size_t len);
	int (*log_start)(struct broken *b, uint64_t page, const struct vf_vfio_dma_log_range *ranges,
			 uint32_t count, uint64_t *ret_page);
	int (*log_stop)(struct broken *b);
	int (*log_report)(struct broken *b, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words);
};

struct broken {
	struct vf_backend base;		/* first */
	pthread_mutex_t lock;		/* over each call */
	struct vf_backend *real;
	const struct fault *fault;	/* NULL: none */
	unsigned int device;
	uint32_t state;			/* as the device last told */
	bool error;			/* DEVICE_ERRS: until a reset */
	uint32_t sessions;		/* of saving, begun so far */
	uint64_t read, written;		/* bytes of this session */
	bool end_seen;			/* a read gave nothing in it */
	bool from_precopy;		/* STOP_COPY was reached from there, when ... */
	uint64_t read_before_stop;	/* ... so much had been read */
	bool loaded;			/* an image, since RUNNING or a reset */
	uint8_t *golden;		/* the first stream that was read whole */
	size_t golden_size;
	bool logging;
	int session_fd;			/* DEVICE_DESCRIPTORS: of the session, -1 = none */
	uint32_t fd_sessions;
	bool no_fds;
	bool has_reader;		/* somebody has read in this session: */
	pthread_t reader;
	uint8_t *host;			/* memory that is mapped for the device, and */
	uint64_t host_bytes;
	int irq_fd;			/* ... where its last interrupt goes; borrowed, -1 = none */
	uint64_t memory[4];		/* the fault's own */
};

/* What the device itself does, with what `device` makes of it. */
int broken_set_state(struct broken *b, uint32_t to);
int broken_get_state(struct broken *b, uint32_t *ret_state);
int broken_reset(struct broken *b);
ssize_t broken_read(struct broken *b, void *to, size_t len);
/* The first byte of what is read is wrong when @wrong. */
ssize_t broken_read_wrong(struct broken *b, void *to, size_t len, bool wrong);
/* As a fault's data_read: the next session begins wrong if memory[0], which is cleared then. */
ssize_t broken_next_wrong(struct broken *b, void *to, size_t len);
int broken_write(struct broken *b, const void *from, size_t len);
/* With DEVICE_DESCRIPTORS by the rules of the kernel's core. */
int broken_log_start(struct broken *b, uint64_t page, const struct vf_vfio_dma_log_range *ranges,
		     uint32_t count, uint64_t *ret_page);
int broken_log_stop(struct broken *b);
int broken_feature(struct broken *b, void *arg, size_t bytes, size_t room);

/* --- descriptors.c --- */
struct check_sys descriptors_of(struct broken **b);
int descriptors_set_state(struct broken *b, uint8_t *data);
void descriptors_entered(struct broken *b, bool began, bool ended);

/* Puts itself before @take_real. */
struct vf_backend *broken_new(struct vf_backend *take_real, const struct fault *fault, unsigned int device);

const struct fault *fault_at(size_t index);	/* NULL: that was the last */

/* Parts of the table: each ends with a fault without id. */
extern const struct fault faults_of_requests[], faults_of_data[], faults_of_images[],
	faults_of_logs[], faults_of_descriptors[];

#endif
