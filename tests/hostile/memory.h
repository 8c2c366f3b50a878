/* SPDX-License-Identifier: MIT */
/*
 * memory.h - what the code under test takes from malloc(): the most at one time, and the largest piece.
 * For programs linked with hostile_memory_args, which put these functions in front of libc's. Guest RAM
 * and its bitmaps are mapped, and do not count.
 */
#ifndef TESTS_HOSTILE_MEMORY_H
#define TESTS_HOSTILE_MEMORY_H

#include <stddef.h>

struct memory_use {
	size_t peak;		/* beyond what was in use at the reset */
	size_t largest;		/* asked for in one call */
};

void memory_use_reset(void);
struct memory_use memory_use_get(void);

#endif
