/* SPDX-License-Identifier: MIT */
/*
 * socket.c - the raw socket's rate: one process writes 1 MiB at a time, another reads it.
 *
 *     bench-socket tcp|unix MIB
 *
 * Prints `ready`, waits for a line, and prints one line of JSON. The writer's memory is touched
 * before; the reader reads into 1 MiB that stays in its cache, which no load of a state can better.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define WRITE_BYTES (1u << 20)

static void receive(int fd, uint64_t bytes)
{
	char *buffer = malloc(WRITE_BYTES);

	while (buffer && bytes) {
		ssize_t n = read(fd, buffer, bytes < WRITE_BYTES ? bytes : WRITE_BYTES);

		if (n <= 0)
			_exit(1);
		bytes -= (uint64_t) n;
	}
	_exit(!buffer || write(fd, "k", 1) != 1);
}

int main(int argc, char **argv)
{
	uint64_t bytes, left, start, ns;
	char line[32], *buffer;
	struct rusage child_usage;
	uint64_t cpu;
	pid_t child;
	int fds[2];

	if (argc != 3) {
		(void) fprintf(stderr, "usage: bench-socket tcp|unix MIB\n");
		return 1;
	}
	left = bytes = bench_number(argv[2]) * BENCH_MIB;
	buffer = malloc(WRITE_BYTES);
	if (!buffer)
		bench_die("memory");
	memset(buffer, 0x5a, WRITE_BYTES);
	bench_socket_pair(argv[1], fds);
	child = fork();
	if (child < 0)
		bench_die("fork");
	(void) close(fds[child ? 1 : 0]);
	if (!child)
		receive(fds[1], bytes);
	printf("ready\n");
	(void) fflush(stdout);
	bench_await(line, sizeof(line));
	start = bench_now_ns();
	cpu = bench_cpu_ns();
	while (left) {
		ssize_t n = write(fds[0], buffer, left < WRITE_BYTES ? left : WRITE_BYTES);

		if (n <= 0)
			bench_die("write");
		left -= (uint64_t) n;
	}
	if (read(fds[0], line, 1) != 1)
		bench_die("read");
	ns = bench_now_ns() - start;
	cpu = bench_cpu_ns() - cpu;
	if (wait4(child, NULL, 0, &child_usage) != child)
		bench_die("wait");
	printf("{\"status\":\"completed\",\"wall_ms\":%.3f,\"bytes_per_s\":%.0f,"
	       "\"cpu_src_s\":%.3f,\"cpu_dst_s\":%.3f}\n",
	       (double) ns / 1e6, (double) bytes * 1e9 / (double) ns, (double) cpu / 1e9,
	       (double) bench_usage_ns(&child_usage) / 1e9);
	return 0;
}
