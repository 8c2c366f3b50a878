/* SPDX-License-Identifier: MIT */
/* huge_pool.h - more pages of 2 MiB in the kernel's pool for a while, where a test may change it. */
#ifndef TESTS_UNIT_HUGE_POOL_H
#define TESTS_UNIT_HUGE_POOL_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define HUGE_POOL "/proc/sys/vm/nr_hugepages"

struct huge_pool {
	int fd;		/* locked, so that one test at a time changes it; -1: it was not changed */
	long before;
};

static inline void huge_pool_write(const struct huge_pool *pool, long pages)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", pages);

	(void) !pwrite(pool->fd, text, (size_t) length, 0);
}

/* Without the right to, the pool stays as it is. */
static inline void huge_pool_grow(struct huge_pool *pool, long more)
{
	char text[32] = "";

	pool->fd = open(HUGE_POOL, O_RDWR | O_CLOEXEC);
	if (pool->fd < 0)
		return;
	if (flock(pool->fd, LOCK_EX) || pread(pool->fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%ld", &pool->before) != 1) {
		(void) close(pool->fd);
		pool->fd = -1;
		return;
	}
	huge_pool_write(pool, pool->before + more);
}

static inline void huge_pool_restore(struct huge_pool *pool)
{
	if (pool->fd < 0)
		return;
	huge_pool_write(pool, pool->before);
	(void) close(pool->fd);
	pool->fd = -1;
}

#endif
