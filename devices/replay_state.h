/* SPDX-License-Identifier: MIT */
/*
 * replay_state.h - the migration state of a replayed device: as many bytes as the captured device said
 * that it has, and what was written into its regions.
 *
 *   head     40 bytes: "VFREPLAY", u32 version (1), u32 CRC of what makes the device this one,
 *            u64 bytes of filling, u64 seed of it, u32 zero, u32 CRC of the 36 bytes before
 *   filling  as accel_pattern_fill() makes it: a byte that changed on its way is noticed
 *   pages    each 24 bytes and the data: u32 1, u32 region, u64 offset, u32 bytes (a page; less at
 *            the end of a region), u32 CRC of the data. Of a page that is all zero there is none
 *   end      24 bytes: u32 2, u32 zero, u64 pages, u32 zero, u32 CRC of all pages' heads
 *
 * Head and filling are the initial data of PRE_COPY, the rest comes in STOP_COPY. So the size of an
 * untouched device's state is that of the capture, unless that is less than head and end take; what
 * was written into regions comes on top.
 *
 * Numbers are little-endian, CRCs are CRC32C. Loading checks all of it as it comes, in pieces of any
 * size, and needs no more memory than a page.
 *
 * Threads: none of its own.
 */
#ifndef VF_DEVICES_REPLAY_STATE_H
#define VF_DEVICES_REPLAY_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include "base/checked.h"
#include "replay_memory.h"

#define REPLAY_HEAD_BYTES 40u
#define REPLAY_RECORD_BYTES 24u

struct replay_state {
	uint32_t identity;	/* CRC of what both sides must have alike */
	uint64_t filling;	/* bytes */
	struct replay_memory *memory;	/* borrowed */
};

/* @bytes: what an untouched device's state shall take. */
void replay_state_init(struct replay_state *s, const struct capture *capture, uint64_t bytes,
		       struct replay_memory *memory);

struct replay_save {
	const struct replay_state *state;
	bool active, stopping, ended;
	uint8_t piece[REPLAY_RECORD_BYTES + VF_PAGE_BYTES];	/* head, page or end that is going out */
	size_t piece_bytes, piece_at;
	bool headed;
	uint64_t filled;
	uint32_t region;	/* the next page is looked for from here */
	uint64_t offset;
	uint64_t pages;
	uint32_t crc;
};

void replay_save_start(struct replay_save *s, const struct replay_state *state);
/* What changes from here on is not in it. */
void replay_save_stop(struct replay_save *s);
void replay_save_end(struct replay_save *s);
/* Return: bytes; 0 = none now, or, once stopped, at all; -EINVAL: no save. */
int64_t replay_save_read(struct replay_save *s, void *to, size_t size);
/* What PRE_COPY still has to send. */
uint64_t replay_save_initial(const struct replay_save *s);
/* What is left of a save to its end; without a save, of one that would begin now. */
uint64_t replay_save_left(const struct replay_save *s, const struct replay_state *state);

struct replay_load {
	const struct replay_state *state;
	bool active, ended;
	int failed;		/* the first error: all that follows is refused */
	struct vferry_error error;
	uint8_t piece[REPLAY_RECORD_BYTES + VF_PAGE_BYTES];
	size_t piece_bytes, piece_have;
	uint64_t filling, filled, seed;
	bool headed;
	uint64_t pages;
	uint32_t region;	/* pages come in order, each once: the next one is from here on */
	uint64_t offset;
	uint32_t crc;
};

/* Regions are zero from here on. */
void replay_load_start(struct replay_load *l, const struct replay_state *state);
/* All of it, or the first error again. */
int replay_load_write(struct replay_load *l, const void *from, size_t size);
/* Is it whole? */
int replay_load_finish(struct replay_load *l);

#endif
