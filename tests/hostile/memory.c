/* SPDX-License-Identifier: MIT */
/* memory.c - see memory.h. */
#include "memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *p);

static atomic_llong in_use, base, peak;
static atomic_size_t largest;

static void count(long long change, size_t asked)
{
	long long now = atomic_fetch_add(&in_use, change) + change;
	long long most = peak;
	size_t most_asked = largest;

	while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
		continue;
	while (asked > most_asked && !atomic_compare_exchange_weak(&largest, &most_asked, asked))
		continue;
}

static long long size_of(void *p)
{
	return p ? (long long) malloc_usable_size(p) : 0;
}

void *__wrap_malloc(size_t size)
{
	void *p = __real_malloc(size);

	count(size_of(p), size);
	return p;
}

void *__wrap_calloc(size_t number, size_t size)
{
	void *p = __real_calloc(number, size);

	count(size_of(p), size && number > SIZE_MAX / size ? SIZE_MAX : number * size);
	return p;
}

void *__wrap_realloc(void *old, size_t size)
{
	long long before = size_of(old);
	void *p = __real_realloc(old, size);

	if (p)
		count(size_of(p) - before, size);
	return p;
}

void __wrap_free(void *p)
{
	count(-size_of(p), 0);
	__real_free(p);
}

void memory_use_reset(void)
{
	base = (long long) in_use;
	peak = (long long) in_use;
	largest = 0;
}

struct memory_use memory_use_get(void)
{
	long long most = peak - base;

	return (struct memory_use) { .peak = most > 0 ? (size_t) most : 0, .largest = largest };
}
