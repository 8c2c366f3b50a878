/* SPDX-License-Identifier: MIT */
/* common.c - see common.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define UNIX_BUFFER_BYTES (2 << 20)
#define MFD_2MB (21u << 26)	/* memfd_create(2): log2 of the size */

uint64_t bench_now_ns(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

static uint64_t timeval_ns(const struct timeval *tv)
{
	return (uint64_t) tv->tv_sec * 1000000000u + (uint64_t) tv->tv_usec * 1000u;
}

uint64_t bench_usage_ns(const struct rusage *usage)
{
	return timeval_ns(&usage->ru_utime) + timeval_ns(&usage->ru_stime);
}

uint64_t bench_cpu_ns(void)
{
	struct rusage usage;

	(void) getrusage(RUSAGE_SELF, &usage);
	return bench_usage_ns(&usage);
}

uint64_t bench_number(const char *text)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9') {
		(void) fprintf(stderr, "'%s' is not a number\n", text);
		exit(1);
	}
	return number;
}

void bench_await(char *line, size_t size)
{
	if (!fgets(line, (int) size, stdin))
		exit(1);
	line[strcspn(line, "\n")] = '\0';
}

void bench_die(const char *what)
{
	(void) fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

static void tcp_pair(int fds[2])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *) &address, length) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *) &address, &length))
		bench_die("listen");
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fds[0] < 0)
		bench_die("socket");
	(void) setsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
	if (connect(fds[0], (struct sockaddr *) &address, length))
		bench_die("connect");
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fds[1] < 0)
		bench_die("accept");
	(void) close(listener);
}

void bench_socket_pair(const char *transport, int fds[2])
{
	int bytes = UNIX_BUFFER_BYTES;

	if (!strcmp(transport, "tcp")) {
		tcp_pair(fds);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		bench_die("socketpair");
	for (int i = 0; i < 2; i++) {
		(void) setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		(void) setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
}

char *bench_guest_memory(uint64_t bytes, bool hugetlb)
{
	int fd = memfd_create("bench", MFD_CLOEXEC | (hugetlb ? MFD_HUGETLB | MFD_2MB : 0));
	char *memory;

	if (fd < 0 || ftruncate(fd, (off_t) bytes))
		bench_die("memfd");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		bench_die("mmap (is the hugetlb pool large enough?)");
	(void) close(fd);
	return memory;
}
