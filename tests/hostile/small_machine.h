/* SPDX-License-Identifier: MIT */
/*
 * small_machine.h - the smallest machine that has one of everything a stream can carry: two RAM blocks,
 * sections with a dependency between them, an identity, a device whose state streams before and after
 * the stop. It starts within a millisecond, so that tests can afford thousands.
 */
#ifndef TESTS_HOSTILE_SMALL_MACHINE_H
#define TESTS_HOSTILE_SMALL_MACHINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vferry/vferry.h>

#define SMALL_RAM_BYTES (2u << 20)
#define SMALL_ROM_BYTES (64u << 10)
#define SMALL_ROM_GPA (4ull << 30)
#define SMALL_STATE_BYTES 3000u		/* of the device; half of it before the stop */
#define SMALL_SECOND_NS 1000000000ull

struct small_machine {
	struct vferry_ram *ram;
	struct vferry_session *session;
	uint64_t counter;		/* cpu/0 */
	uint32_t board[2];
	uint8_t state[SMALL_STATE_BYTES];
	size_t state_at;
	bool state_stopped;
	atomic_bool running;
	atomic_uint starts;
};

/* What a source holds when it starts; a destination is empty. Aborts if there is no memory. */
void small_machine_init(struct small_machine *m, bool source);
void small_machine_done(struct small_machine *m);
/* A session for it, in place of the last one. @p: NULL = defaults. */
void small_machine_session(struct small_machine *m, const struct vferry_parameters *p);
/* Does @m hold what a source's machine holds? */
bool small_machine_is_whole(const struct small_machine *m);

#endif
