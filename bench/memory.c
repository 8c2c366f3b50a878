/* SPDX-License-Identifier: MIT */
/*
 * memory.c - the bench's hand in the memory of other processes, and in the machine's free memory.
 *
 *     bench-memory fill PID ADDRESS BYTES MIX SEED    writes a mix into a process (QEMU's guest)
 *     bench-memory hold MIB                           keeps memory warm
 *
 * hold: where this runs in a virtual machine, free memory may be handed back to the host, and its
 * next first touch is then twenty times as slow, for whoever happens to come first. So memory that a
 * measurement will allocate is touched before, held, and given back just in time, as much as others
 * take, from the line on standard input on until its end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common.h"
#include "content.h"

#define STEP_BYTES (1ull << 20)
#define HOLD_STEP_MIB 8
#define HEADROOM_MIB 256
#define POLL_MS 2

struct target {
	pid_t pid;
	uint64_t address;
	uint64_t bytes;
};

static void put(const struct target *t, uint64_t at, void *buffer, size_t bytes)
{
	struct iovec local = { .iov_base = buffer, .iov_len = bytes };
	struct iovec remote = { .iov_base = (void *) (uintptr_t) (t->address + at), .iov_len = bytes };

	if (process_vm_writev(t->pid, &local, 1, &remote, 1, 0) != (ssize_t) bytes)
		bench_die("process_vm_writev");
}

static int fill(const struct target *t, enum bench_mix mix, uint64_t seed)
{
	char *buffer = aligned_alloc(BENCH_PAGE_BYTES, STEP_BYTES);

	if (!buffer)
		bench_die("memory");
	for (uint64_t at = 0; mix != BENCH_MIX_HOLE && at < t->bytes; at += STEP_BYTES) {
		size_t bytes = t->bytes - at < STEP_BYTES ? t->bytes - at : STEP_BYTES;

		for (size_t i = 0; i < bytes; i += BENCH_PAGE_BYTES)
			bench_page_fill((uint64_t *) (buffer + i), mix, seed,
					(at + i) / BENCH_PAGE_BYTES);
		put(t, at, buffer, bytes);
	}
	free(buffer);
	return 0;
}

static int64_t free_mib(void)
{
	char text[512], *at;
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		(void) close(fd);
	if (n <= 0)
		bench_die("/proc/meminfo");
	text[n] = '\0';
	at = strstr(text, "MemFree:");
	return at ? strtoll(at + 8, NULL, 10) / 1024 : 0;
}

static int hold(uint64_t mib)
{
	size_t bytes = mib * BENCH_MIB, given = 0;
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	char line[16];
	int64_t wanted;
	char *held = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (held == MAP_FAILED)
		bench_die("mmap");
	(void) madvise(held, bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < bytes; i += BENCH_PAGE_BYTES)
		held[i] = 1;
	printf("ready\n");
	(void) fflush(stdout);
	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		return 0;
	wanted = free_mib() + HEADROOM_MIB;
	for (;;) {
		while (given < bytes && free_mib() < wanted) {
			(void) madvise(held + given, HOLD_STEP_MIB * BENCH_MIB, MADV_DONTNEED);
			given += HOLD_STEP_MIB * BENCH_MIB;
		}
		if (poll(&input, 1, POLL_MS) > 0 && read(STDIN_FILENO, line, sizeof(line)) <= 0)
			return 0;
	}
}

int main(int argc, char **argv)
{
	struct target target = { 0 };
	enum bench_mix mix;

	if (argc == 3 && !strcmp(argv[1], "hold"))
		return hold(bench_number(argv[2]) / HOLD_STEP_MIB * HOLD_STEP_MIB);
	if (argc == 7) {
		target.pid = (pid_t) bench_number(argv[2]);
		target.address = bench_number(argv[3]);
		target.bytes = bench_number(argv[4]);
	}
	if (argc == 7 && !strcmp(argv[1], "fill") && bench_mix_parse(argv[5], &mix))
		return fill(&target, mix, bench_number(argv[6]));
	(void) fprintf(stderr, "usage: bench-memory fill|hold ...\n");
	return 1;
}
