/* SPDX-License-Identifier: MIT */
/*
 * sim_alloc.c - memory that runs out.
 *
 * The program is linked with --wrap for what allocates, so that every call in the library comes
 * here first. Between memory_begin() and memory_end() the calls are counted, and the one of a given
 * number fails, or it and all later ones. Nothing in the library knows of it. The state is of the
 * program, not of a run, since malloc() has no other place for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sim.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);

static struct {
	struct sim *sim;	/* NULL: nothing fails */
	uint64_t count, number;
	bool stays_out, paused;
} memory;

void memory_begin(struct sim *s, uint64_t number, bool stays_out)
{
	memory.sim = s;
	memory.count = 0;
	memory.number = number;
	memory.stays_out = stays_out;
}

uint64_t memory_end(void)
{
	memory.sim = NULL;
	return memory.count;
}

void memory_pause(bool pause)
{
	memory.paused = pause;
}

static bool runs_out(void)
{
	if (!memory.sim || memory.paused)
		return false;
	memory.count++;
	if (!memory.number || memory.count < memory.number ||
	    (memory.count > memory.number && !memory.stays_out))
		return false;
	fault(memory.sim, memory.sim->acting == SOURCE ? FAULT_SOURCE_MEMORY :
							 FAULT_DESTINATION_MEMORY);
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return runs_out() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return runs_out() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
	return runs_out() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	return runs_out() ? MAP_FAILED : __real_mmap(at, bytes, prot, flags, fd, offset);
}

void *world_alloc(size_t bytes)
{
	void *p = __real_malloc(bytes);

	if (!p)
		abort();	/* of the host that runs the test */
	return p;
}

void world_free(void *p)
{
	free(p);
}
