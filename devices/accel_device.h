/* SPDX-License-Identifier: MIT */
/*
 * accel_device.h - the accel device itself (uapi/accel.h), without threads, sockets or a clock.
 *
 * Model: registers, ring and internal memory are plain data. accel_step() does a bounded piece of
 * the job at the ring's head (at most one chunk), so the caller, who holds the device's lock around
 * every call here, can stop the device between any two chunks: the job's progress is state like the
 * rest and goes on elsewhere. Time comes in as an argument, memory and interrupts are reached
 * through struct accel_host.
 *
 * What may happen is one number, enum accel_run. Migration's states map onto it, and the state
 * stream (accel_stream.h) reads and fills this struct.
 *
 * Threads: none of its own. Every function needs the device's lock.
 */
#ifndef VF_DEVICES_ACCEL_DEVICE_H
#define VF_DEVICES_ACCEL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accel.h"
#include "accel_config.h"
#include "accel_memory.h"
#include "base/bitmap.h"

#define ACCEL_CHUNK_BYTES 65536u	/* the most DMA of one step */

enum accel_run {
	ACCEL_RUN_STOPPED = 0,	/* no DMA, no interrupts, nothing changes */
	ACCEL_RUN_NO_PEERS = 1,	/* no DMA to peers; the rest goes on */
	ACCEL_RUN_ALL = 2,
};

enum accel_irq_mode {
	ACCEL_IRQ_INTX = 0,
	ACCEL_IRQ_MSI = 1,
	ACCEL_IRQ_MSIX = 2,
	ACCEL_IRQ_MODES = 3,
};

struct accel_options {
	uint64_t state_bytes;
	uint64_t seed;
	uint64_t overlay_bytes;		/* written pages held at most */
	uint64_t dirty_rate;		/* bytes per second that change by themselves */
	uint32_t msix_vectors;		/* 0 = no MSI-X */
};

/* Called with the device's lock held. */
struct accel_host {
	/* 0, or -EFAULT if any part is not mapped so. */
	int (*dma_read)(void *user, uint64_t iova, void *to, size_t len);
	int (*dma_write)(void *user, uint64_t iova, const void *from, size_t len);
	/* One load of 4 aligned bytes, before whatever is read later. */
	int (*dma_load32)(void *user, uint64_t iova, uint32_t *ret_value);
	/* One store of 4 aligned bytes, not visible before what was written earlier. */
	int (*dma_store32)(void *user, uint64_t iova, uint32_t value);
	void (*message)(void *user, enum accel_irq_mode mode, uint32_t vector);
	void (*line)(void *user, bool asserted);
	void *user;
};

struct accel_registers {
	uint32_t ctrl;
	uint32_t error;			/* ACCEL_STATUS_ERROR or 0 */
	uint64_t ring_base;
	uint32_t ring_entries;
	uint32_t tail, head;
	uint32_t irq_status;
	uint64_t jobs_done, jobs_failed;
	uint64_t scratch;
	uint64_t tail_address;
	uint64_t doorbells;
	bool rung;			/* the tail in RAM is to be looked at */
};

/* The job at the ring's head, once fetched. */
struct accel_job {
	bool active;
	struct accel_descriptor d;	/* as fetched; status and result are the outcome so far */
	uint64_t done;			/* bytes moved */
	bool finished;			/* nothing left but to wait for the delay */
	uint64_t deadline_ns;		/* of the delay, while the device runs */
	uint64_t remaining_ns;		/* of the delay, while it is stopped */
};

struct accel_device {
	struct accel_options options;
	struct accel_host host;
	struct accel_config_space config;
	struct accel_registers reg;
	struct accel_job job;
	struct accel_memory memory;
	uint8_t *window;		/* BAR2, borrowed; others write here at any time */
	uint8_t *frozen;		/* the window as it was at the last stop: what is saved */
	enum accel_run run;
	uint32_t connected[ACCEL_IRQ_MODES];	/* vectors with a receiver */
	bool line;			/* as last told to the host */

	/* Memory that changes by itself: a sweep over all blocks. */
	uint64_t dirty_clock_ns;	/* up to here it has changed, 0 = clock stands */
	uint64_t dirty_block;		/* next one to change */

	/* What the running save has yet to send again; see accel_stream.c. */
	bool tracking;
	uint64_t tracked_blocks;	/* blocks below have been sent once */
	struct vf_bitmap dirty;
	uint64_t dirty_blocks;

	uint8_t chunk[ACCEL_CHUNK_BYTES];
};

/* @window: ACCEL_BAR2_BYTES, zeroed, outlives the device. -EINVAL for options out of range. */
int accel_device_init(struct accel_device *a, const struct accel_options *options,
		      const struct accel_host *host, uint8_t *window);
void accel_device_done(struct accel_device *a);
/* Power-on state, config space included; runs. */
void accel_device_reset(struct accel_device *a, uint64_t now_ns);

/* What CTRL.RESET does: as at power-on, but for config space and what may happen. */
void accel_device_empty(struct accel_device *a);

/* Sets what may happen. Stopping freezes the current job and the clock of its delay. */
void accel_device_set_run(struct accel_device *a, enum accel_run run, uint64_t now_ns);

/* BAR0. The access must lie inside; odd ones read as ones and do nothing. */
void accel_device_read(struct accel_device *a, uint64_t at, void *to, uint32_t len);
void accel_device_write(struct accel_device *a, uint64_t at, const void *from, uint32_t len,
			uint64_t now_ns);
/* So many writes to DOORBELL, whose values nobody knows. */
void accel_device_kick(struct accel_device *a, uint64_t count);
/* Config space. Return: true when it was a function level reset, which has been done. */
bool accel_device_config_write(struct accel_device *a, uint32_t at, const void *from, uint32_t len,
			       uint64_t now_ns);

/* How many vectors of @mode have a receiver now. */
void accel_device_irq_connected(struct accel_device *a, enum accel_irq_mode mode, uint32_t count);
enum accel_irq_mode accel_device_irq_mode(const struct accel_device *a);
/* Sends what is due: the line's level, and pending messages that are masked no longer. */
void accel_device_irq_update(struct accel_device *a);

bool accel_device_ring_valid(const struct accel_registers *r);
/* ACCEL_JOB_PENDING, or what the job fails with before any of it is done. */
uint32_t accel_device_check_job(const struct accel_device *a, const struct accel_descriptor *d);

#define ACCEL_STEP_AGAIN 0ull		/* did something: call again */
#define ACCEL_STEP_IDLE UINT64_MAX	/* nothing until a register or the run state changes */
/* Does a piece of work. Return: the time (ns) at which there is more, or one of the two above. */
uint64_t accel_device_step(struct accel_device *a, uint64_t now_ns);

/* Brings memory that changes by itself up to @now_ns. */
void accel_device_age(struct accel_device *a, uint64_t now_ns);
/* Has somebody written into the window since the device was stopped? Such writes are not saved. */
bool accel_device_window_late(const struct accel_device *a);
/* Notes that [at, at+len) of internal memory has changed. */
void accel_device_mark(struct accel_device *a, uint64_t at, uint64_t len);

#endif
