/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the groups of assertions share: the device under check, its states, images, and
 * how a verdict is given.
 *
 * An assertion returns after its first verdict; without one it has passed. What is only preparation
 * gives BLOCKED when it fails (check_reach() and whatever says so), so that a fault is told where it is, not
 * wherever it is in the way.
 */
#ifndef CHECK_INTERNAL_H
#define CHECK_INTERNAL_H

#include <poll.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "check.h"
#include "vferry_vfio.h"
#include "vfio/backend.h"

#define CHECK_NEEDS_P2P		(1u << 0)
#define CHECK_NEEDS_PRECOPY	(1u << 1)
#define CHECK_NEEDS_LOG		(1u << 2)
#define CHECK_NEEDS_SIZE	(1u << 3)
#define CHECK_NEEDS_INFO	(1u << 4)	/* precopy information */
#define CHECK_NEEDS_IMAGE	(1u << 5)	/* a state that was saved before */
#define CHECK_NEEDS_RESET	(1u << 6)
#define CHECK_NEEDS_DESCRIPTOR	(1u << 7)	/* migration data by a descriptor of the kernel's */
#define CHECK_NEEDS_FEATURE	(1u << 8)	/* requests as they stand */
#define CHECK_NEEDS_DMA		(1u << 9)	/* a device whose DMA can be driven */
#define CHECK_NEEDS_CONFIG	(1u << 10)	/* config space */

#define CHECK_IMAGE_MAX (256u << 20)	/* more state than this isn't kept */

/* Calls on migration descriptors; those of the system unless a test puts others in place. */
struct check_sys {
	ssize_t (*read)(void *user, int fd, void *to, size_t len);
	ssize_t (*write)(void *user, int fd, const void *from, size_t len);
	ssize_t (*pread)(void *user, int fd, void *to, size_t len, off_t at);
	ssize_t (*pwrite)(void *user, int fd, const void *from, size_t len, off_t at);
	off_t (*lseek)(void *user, int fd, off_t at, int whence);
	int (*poll)(void *user, struct pollfd *fds, int timeout_ms);
	int (*fcntl)(void *user, int fd, int command, int value);
	int (*precopy_info)(void *user, int fd, struct vf_vfio_precopy_info *info);
	int (*close)(void *user, int fd);
	/* Exchanges the bound on descriptors with *limit; UINT64_MAX: so that none is left. */
	int (*limit_fds)(void *user, uint64_t *limit);
	void *user;	/* all return a negative errno on failure */
};

extern const struct check_sys check_system;

struct check_image {
	uint8_t *bytes;
	size_t size;
};

struct check_driver;	/* makes the device do DMA: dma.h */

struct check_memory {
	int fd;
	uint8_t *map;		/* NULL: not made yet */
	bool mapped;		/* for the device that is open now */
};

struct check {
	const struct check_options *options;
	const struct check_sys *sys;
	struct vf_backend *backend;	/* NULL after it was lost */
	uint64_t flags;			/* VF_VFIO_MIGRATION_* */
	uint32_t has;			/* CHECK_NEEDS_* that are there */
	uint32_t first_state;		/* in which it was found */
	uint64_t deadline_ns;		/* of this assertion, for loops that could go on */
	atomic_bool lost;		/* the connection ended, or the device doesn't answer */
	uint32_t gone;			/* so many times in a row it could not be opened again */
	struct check_image image;	/* of the device as it was first, after a reset */
	const struct check_driver *driver;
	struct check_memory memory;
	uint16_t vendor, device;
	uint64_t random;		/* state of check_random() */
	struct check_result *result;
	struct check_report *report;
};

/* --- verdicts; the first one that is worse than a pass counts --- */
void check_say(struct check *c, enum check_verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define check_fail(c, ...) check_say(c, CHECK_FAIL, __VA_ARGS__)
#define check_warn(c, ...) check_say(c, CHECK_WARN, __VA_ARGS__)
#define check_skip(c, ...) check_say(c, CHECK_SKIP, __VA_ARGS__)
#define check_blocked(c, ...) check_say(c, CHECK_BLOCKED, __VA_ARGS__)
/* Beside a pass: what was seen. */
#define check_note(c, ...) check_say(c, CHECK_PASS, __VA_ARGS__)
bool check_decided(const struct check *c);	/* worse than a pass already */

/* --- device.c --- */
const char *check_state_name(uint32_t state);
bool check_has_state(const struct check *c, uint32_t state);
int check_get(struct check *c, uint32_t *ret_state);
int check_set(struct check *c, uint32_t state);		/* timed; errors are the device's */
int check_reset(struct check *c);
/* Is the device in @state? Fails the assertion if not, naming @after. */
bool check_is(struct check *c, uint32_t state, const char *after);
/* To @state from RUNNING by the usual arcs. False: BLOCKED was said. RESUMING comes with the whole
 * image written, so that the way out is open. */
bool check_reach(struct check *c, uint32_t state);
/* SET, which has to work before what matters. False: BLOCKED was said. */
bool check_go(struct check *c, uint32_t state);
/* To RUNNING, by reset where need be. */
int check_settle(struct check *c);
/* Is SET of @target refused with EINVAL, and the device still in @state? Fails the assertion if not. */
void check_refuses(struct check *c, uint32_t state, uint32_t target);
/* Does @body in each state that the device has, until there is a verdict. RESUMING takes an image. */
void check_each_state(struct check *c, void (*body)(struct check *c, uint32_t state));
/* A request as it stands: @flags and @argsz, @in bytes of @data go out, @room come back. */
int check_feature(struct check *c, uint32_t flags, uint32_t argsz, void *data, size_t in,
		  size_t room);

ssize_t check_data_read(struct check *c, void *to, size_t len);
int check_data_write(struct check *c, const void *from, size_t len);
/* Reads to the end, @chunk bytes at most at once, behind what is in @image. 0; -EFBIG; -ETIME: it does not end; errors. */
int check_drain(struct check *c, struct check_image *image, size_t chunk);
/* Reads what there is now (PRE_COPY), @most bytes at most. Bytes, or an error. */
int64_t check_drain_some(struct check *c, struct check_image *image, size_t chunk, uint64_t most);
/* Room for @chunk bytes more. 0; -ENOMEM; -EFBIG: more than CHECK_IMAGE_MAX. */
int check_image_room(struct check_image *image, size_t chunk);
void check_image_done(struct check_image *image);
/* RUNNING -> STOP -> STOP_COPY -> all of it -> STOP. False: BLOCKED was said. */
bool check_save(struct check *c, struct check_image *ret, size_t chunk);
enum check_step {
	CHECK_LOADED = 0,
	CHECK_BEFORE = 1,	/* RESUMING was not reached */
	CHECK_WRITING = 2,
	CHECK_ENDING = 3,	/* SET STOP after the data */
};

/* STOP -> RESUMING -> all of it, in pieces of @chunk -> STOP. @ret_step: what failed. */
int check_load(struct check *c, const void *bytes, size_t size, size_t chunk,
	       enum check_step *ret_step);
/* Is the first image taken, as it was saved? False: BLOCKED was said. */
bool check_first_loads(struct check *c);
/* check_load() of what has to be taken, since the first image is; a refusal fails the assertion, in these
 * words. With the first image itself check_first_loads() comes before. */
bool check_loads(struct check *c, const struct check_image *image, size_t chunk, const char *what);

/* Makes RESUMING -> STOP fail, by garbage, which may lead to ERROR. False: a verdict was given. */
bool check_fail_to_load(struct check *c);

uint64_t check_random(struct check *c);
bool check_time_left(const struct check *c);
void check_time_add(struct check *c, const char *what, uint64_t ns, uint64_t bytes);
const char *check_errno(int64_t code);	/* "EIO", "success" */

/* --- groups --- */
extern const struct check_group check_group_feature, check_group_arc, check_group_state,
	check_group_data, check_group_descriptor, check_group_precopy, check_group_size, check_group_image,
	check_group_hostile, check_group_reset, check_group_p2p, check_group_log, check_group_dma,
	check_group_quiet, check_group_concurrent, check_group_timing;

#define CHECK_GROUP(table) .assertions = (table), .count = sizeof(table) / sizeof((table)[0])

#endif
