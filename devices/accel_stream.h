/* SPDX-License-Identifier: MIT */
/*
 * accel_stream.h - the accel device's migration state as a stream of bytes, both directions.
 *
 * The stream is a row of records: a head of 32 bytes, then `length` bytes of payload. All fields
 * are little-endian.
 *
 *   0 u32 type       4 u32 generation    8 u64 index        16 u32 length
 *  20 u32 payload CRC32C (0 for PATTERN)   24 u32 zero      28 u32 CRC32C of bytes 0-27
 *
 *   START      first, once: u64 magic, u32 version, u32 MSI-X vectors, u64 state bytes, u64 seed,
 *              u64 window bytes
 *   PATTERN    block `index` of internal memory in full; must equal the pattern of `generation`
 *   LITERAL    the same for a block with written pages
 *   WINDOW     BAR2 from byte `index`, ACCEL_WINDOW_CHUNK bytes
 *   REGISTERS  once, after the last of the three above: registers, ring, current job, interrupts
 *   END        last: u64 records before it, u64 bytes before it, u32 digest, u32 zero
 *
 * The digest is the CRC32C of all heads before END; it covers literal payloads by their CRC, and
 * PATTERN payloads are compared byte by byte, which is as fast. Blocks and chunks may come again;
 * each block must have come once. Window chunks that never came are zero.
 *
 * Saving follows memory that changes: a first pass over internal memory ("initial"), then what
 * changed behind the pass, and the window, whose writes nobody sees, by comparing it. Stopping ends
 * it with what is left. Both sides keep one record's payload, so memory does not grow with the
 * state.
 *
 * Threads: none; the device's lock covers everything here.
 */
#ifndef VF_DEVICES_ACCEL_STREAM_H
#define VF_DEVICES_ACCEL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include "accel_device.h"
#include "accel_registers.h"

#define ACCEL_RECORD_HEAD 32u
#define ACCEL_START_BYTES 40u
#define ACCEL_END_BYTES 24u
#define ACCEL_WINDOW_CHUNK 65536u
#define ACCEL_STREAM_MAGIC 0x3153545341434341ull	/* "ACCASTS1" */
#define ACCEL_STREAM_VERSION 2u
#define ACCEL_STREAM_OLDEST 1u

enum accel_record {
	ACCEL_RECORD_START = 1,
	ACCEL_RECORD_PATTERN = 2,
	ACCEL_RECORD_LITERAL = 3,
	ACCEL_RECORD_WINDOW = 4,
	ACCEL_RECORD_REGISTERS = 5,
	ACCEL_RECORD_END = 6,
};

/* --- saving --- */
struct accel_save {
	struct accel_device *device;
	bool active;
	bool stopping;			/* the rest may be sent: the device is stopped */
	bool started, registers_sent, ended;
	uint64_t next_block;		/* of the first pass */
	uint32_t next_chunk;		/* of the current pass over the window */
	uint64_t dirty_cursor;
	uint8_t *window_sent;		/* what the other side has of the window */
	uint64_t bytes, records;	/* begun so far */
	uint32_t digest;
	bool reinit;			/* first pass was started again, not yet told */

	/* the record being sent */
	uint8_t head[ACCEL_RECORD_HEAD];
	size_t head_left;
	size_t payload_len, payload_left;
	bool is_pattern;
	bool is_initial;		/* belongs to the first pass */
	uint64_t pattern_seed, pattern_at;
	uint8_t payload[ACCEL_BLOCK_BYTES];
};

int accel_save_init(struct accel_save *s, struct accel_device *a);
void accel_save_done(struct accel_save *s);
/* Begins a session; with a running device it sends what is there already. */
void accel_save_start(struct accel_save *s);
/* The device has been stopped: what follows ends the stream. */
void accel_save_stop(struct accel_save *s);
/* Ends the session, complete or not. */
void accel_save_end(struct accel_save *s);
/* Makes the first pass begin anew, as a device does whose initial data has changed. */
void accel_save_reinit(struct accel_save *s);
/* Up to @size bytes. 0 = nothing now, or after the end nothing ever. -EINVAL: no session. */
int64_t accel_save_read(struct accel_save *s, void *to, size_t size, uint64_t now_ns);
/* Bytes of the first pass and of changes behind it that are left to send. */
void accel_save_pending(struct accel_save *s, uint64_t now_ns, uint64_t *ret_initial,
			uint64_t *ret_dirty);
/* Bytes that would be left if the device stopped now; also without a session. */
uint64_t accel_save_estimate(struct accel_save *s, uint64_t now_ns);

/* --- loading --- */
struct accel_load {
	struct accel_device *device;
	bool active;
	int failed;			/* negative errno: the session is dead */
	struct vferry_error error;	/* why */
	bool started, registers_loaded, ended;
	uint32_t version;
	uint64_t bytes, records;
	uint32_t digest;
	struct vf_bitmap received;
	uint64_t missing_blocks;
	struct accel_saved_registers registers;	/* applied by finish */

	/* the record being received */
	uint8_t head[ACCEL_RECORD_HEAD];
	size_t head_have;
	uint32_t type, generation, length, payload_crc;
	uint64_t index;
	size_t payload_have;
	uint8_t payload[ACCEL_BLOCK_BYTES];
};

int accel_load_init(struct accel_load *l, struct accel_device *a);
void accel_load_done(struct accel_load *l);
/* Begins a session: the device is stopped and becomes empty. */
void accel_load_start(struct accel_load *l, uint64_t now_ns);
/* Takes all of it, in chunks of any size. -EINVAL, -ENOSPC ...: refused, and so is all that
 * follows; l->error says why. */
int accel_load_write(struct accel_load *l, const void *from, size_t size);
/* Ends the session. -EINVAL: the image was not complete, and the device holds garbage. */
int accel_load_finish(struct accel_load *l);
/* Ends the session without a result. */
void accel_load_abort(struct accel_load *l);

#endif
