/* SPDX-License-Identifier: MIT */
/* common.h - what the bench's programs share: time, CPU, numbers, and waiting for the word to go. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define BENCH_PAGE_BYTES 4096u
#define BENCH_HUGE_BYTES (2u << 20)
#define BENCH_MIB (1ull << 20)

uint64_t bench_now_ns(void);		/* CLOCK_MONOTONIC, the same in all processes */
struct rusage;
uint64_t bench_usage_ns(const struct rusage *usage);	/* its user and system time */
uint64_t bench_cpu_ns(void);		/* user and system time of this process, all its threads */

/* A decimal number from the command line; ends the program if it is none. */
uint64_t bench_number(const char *text);

/* One line from standard input, without its end. Ends the program when there is none. */
void bench_await(char *line, size_t size);

/* "NAME: what: errno's words" on standard error, and exit code 1. */
__attribute__((noreturn)) void bench_die(const char *what);

/*
 * Sockets as vferry's channels are: TCP over loopback with cubic, or unix with 2 MiB of buffer.
 * @fds: [0] the sender's end, [1] the receiver's.
 */
void bench_socket_pair(const char *transport, int fds[2]);

/* Guest memory as others have it: a shared mapping of a memfd, fresh. */
char *bench_guest_memory(uint64_t bytes, bool hugetlb);

#endif
