/* SPDX-License-Identifier: MIT */
/*
 * bound.c - the least that any engine must do to move guest memory: the bound to measure by.
 *
 *     bench-bound --mib N --mix MIX --transport tcp|unix --channels N --memory hugetlb|shmem
 *
 * Two processes with memory of their own. The source looks at every page once and sends, for each
 * 2 MiB, a bitmap of the pages with content and those pages, straight from its memory (by reference
 * where that is cheaper than a copy: runs of huge memory); the destination receives them straight into
 * its own, fresh one. Whichever channel is free takes the next 2 MiB. No dirty tracking, no checks, no hand-over: an engine that could do without these
 * would be as fast as this.
 *
 * Prints `ready`, waits for a line, and prints one line of JSON.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "content.h"

#define CHANNELS_MAX 16u
#define UNIT_BYTES (2u << 20)
#define UNIT_PAGES (UNIT_BYTES / BENCH_PAGE_BYTES)
#define UNIT_WORDS (UNIT_PAGES / 64)
#define IOVS (UNIT_PAGES / 2 + 2)
#define LAST_UNIT UINT64_MAX
#define PIPE_BYTES (1 << 20)
#define BY_REFERENCE_LEAST (64u << 10)

struct unit {
	uint64_t number;
	uint64_t content[UNIT_WORDS];	/* bit per page */
};

struct bound {
	char *memory;
	uint64_t units;
	uint64_t next;		/* atomic */
	uint64_t sent;		/* atomic */
	bool by_reference;
	unsigned channels;
	int fds[CHANNELS_MAX][2];
};

struct worker {
	struct bound *bound;
	unsigned channel;
};

typedef uint64_t vector __attribute__((vector_size(64)));

/* The compiler makes of this what the CPU is best at. */
__attribute__((target_clones("avx512f", "avx2", "default")))
static bool is_zero(const char *page)
{
	const vector *v = (const vector *) page;

	for (unsigned i = 0; i < BENCH_PAGE_BYTES / sizeof(vector); i += 4) {
		vector any = v[i] | v[i + 1] | v[i + 2] | v[i + 3];

		if (any[0] | any[1] | any[2] | any[3] | any[4] | any[5] | any[6] | any[7])
			return false;
	}
	return true;
}

static bool has_content(const struct unit *unit, unsigned page)
{
	return unit->content[page / 64] >> (page % 64) & 1;
}

static int content_iovs(const struct unit *unit, char *memory, struct iovec *iov)
{
	int n = 0;

	for (unsigned page = 0; page < UNIT_PAGES; page++) {
		if (!has_content(unit, page))
			continue;
		if (page && has_content(unit, page - 1)) {
			iov[n - 1].iov_len += BENCH_PAGE_BYTES;
			continue;
		}
		iov[n++] = (struct iovec) { memory + page * BENCH_PAGE_BYTES, BENCH_PAGE_BYTES };
	}
	return n;
}

static uint64_t move(int fd, struct iovec *iov, int count, bool send)
{
	uint64_t moved = 0;

	while (count) {
		struct msghdr message = { .msg_iov = iov, .msg_iovlen = (size_t) count };
		ssize_t n = send ? sendmsg(fd, &message, MSG_NOSIGNAL) : recvmsg(fd, &message, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			bench_die(send ? "send" : "receive");
		moved += (uint64_t) n;
		while (count && (size_t) n >= iov->iov_len) {
			n -= (ssize_t) iov->iov_len;
			iov++;
			count--;
		}
		if (count) {
			iov->iov_base = (char *) iov->iov_base + n;
			iov->iov_len -= (size_t) n;
		}
	}
	return moved;
}

/* Through @pipe, which takes PIPE_BYTES at once. */
static uint64_t refer(int fd, const int pipe[2], const struct iovec *run)
{
	size_t moved = 0;

	while (moved < run->iov_len) {
		struct iovec part = { (char *) run->iov_base + moved, run->iov_len - moved };
		ssize_t left = vmsplice(pipe[1], &part, 1, 0);

		if (left <= 0)
			bench_die("vmsplice");
		moved += (size_t) left;
		while (left > 0) {
			ssize_t n = splice(pipe[0], NULL, fd, NULL, (size_t) left, SPLICE_F_MOVE);

			if (n <= 0)
				bench_die("splice");
			left -= n;
		}
	}
	return moved;
}

static uint64_t send_unit(int fd, const int pipe[2], struct iovec *iov, int count)
{
	uint64_t moved = 0;
	int first = 0;

	for (int i = 1; pipe[0] >= 0 && i < count; i++) {
		if (iov[i].iov_len < BY_REFERENCE_LEAST)
			continue;
		moved += move(fd, iov + first, i - first, true);
		moved += refer(fd, pipe, &iov[i]);
		first = i + 1;
	}
	return moved + move(fd, iov + first, count - first, true);
}

static void *source_main(void *arg)
{
	const struct worker *worker = arg;
	struct bound *b = worker->bound;
	int fd = b->fds[worker->channel][0];
	int pipe[2] = { -1, -1 };
	struct iovec iov[IOVS];
	struct unit unit;
	char done;

	if (b->by_reference && (pipe2(pipe, O_CLOEXEC) ||
				fcntl(pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0))
		bench_die("pipe");
	while ((unit.number = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED)) < b->units) {
		char *memory = b->memory + unit.number * UNIT_BYTES;

		memset(unit.content, 0, sizeof(unit.content));
		for (unsigned page = 0; page < UNIT_PAGES; page++)
			if (!is_zero(memory + page * BENCH_PAGE_BYTES))
				unit.content[page / 64] |= 1ull << (page % 64);
		iov[0] = (struct iovec) { &unit, sizeof(unit) };
		(void) __atomic_fetch_add(&b->sent, send_unit(fd, pipe, iov,
					  1 + content_iovs(&unit, memory, iov + 1)),
					  __ATOMIC_RELAXED);
	}
	unit.number = LAST_UNIT;
	iov[0] = (struct iovec) { &unit, sizeof(unit) };
	(void) move(fd, iov, 1, true);
	iov[0] = (struct iovec) { &done, 1 };
	(void) move(fd, iov, 1, false);
	return NULL;
}

static void *destination_main(void *arg)
{
	const struct worker *worker = arg;
	struct bound *b = worker->bound;
	int fd = b->fds[worker->channel][1];
	struct iovec iov[IOVS];
	struct unit unit;
	char done = 'k';

	for (;;) {
		iov[0] = (struct iovec) { &unit, sizeof(unit) };
		(void) move(fd, iov, 1, false);
		if (unit.number >= b->units)
			break;
		(void) move(fd, iov, content_iovs(&unit, b->memory + unit.number * UNIT_BYTES, iov),
			    false);
	}
	iov[0] = (struct iovec) { &done, 1 };
	(void) move(fd, iov, 1, true);
	return NULL;
}

static void run(struct bound *b, void *(*work)(void *))
{
	struct worker workers[CHANNELS_MAX];
	pthread_t threads[CHANNELS_MAX];

	for (unsigned i = 0; i < b->channels; i++) {
		workers[i] = (struct worker) { .bound = b, .channel = i };
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			bench_die("thread");
	}
	for (unsigned i = 0; i < b->channels; i++)
		(void) pthread_join(threads[i], NULL);
}

static void destination(struct bound *b, bool hugetlb, int answer)
{
	uint64_t cpu;

	(void) munmap(b->memory, b->units * UNIT_BYTES);
	b->memory = bench_guest_memory(b->units * UNIT_BYTES, hugetlb);
	cpu = bench_cpu_ns();
	run(b, destination_main);
	cpu = bench_cpu_ns() - cpu;
	_exit(write(answer, &cpu, sizeof(cpu)) != sizeof(cpu));
}

static int source(struct bound *b, int answer)
{
	uint64_t start, cpu, theirs = 0;
	char line[32];

	printf("ready\n");
	(void) fflush(stdout);
	bench_await(line, sizeof(line));
	start = bench_now_ns();
	cpu = bench_cpu_ns();
	run(b, source_main);
	start = bench_now_ns() - start;
	cpu = bench_cpu_ns() - cpu;
	if (read(answer, &theirs, sizeof(theirs)) != sizeof(theirs))
		bench_die("the destination");
	printf("{\"status\":\"completed\",\"wall_ms\":%.3f,\"cpu_src_s\":%.3f,\"cpu_dst_s\":%.3f,"
	       "\"sent_mib\":%.1f}\n", (double) start / 1e6, (double) cpu / 1e9,
	       (double) theirs / 1e9, (double) b->sent / (double) BENCH_MIB);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "mib", required_argument, NULL, 'm' }, { "mix", required_argument, NULL, 'x' },
		{ "transport", required_argument, NULL, 't' },
		{ "channels", required_argument, NULL, 'c' },
		{ "memory", required_argument, NULL, 'y' }, { 0 }
	};
	struct bound b = { .channels = 1 };
	const char *transport = "tcp";
	enum bench_mix mix = BENCH_MIX_RANDOM;
	uint64_t mib = 512;
	bool hugetlb = true;
	int answer[2], option;
	pid_t child;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (option == 'm')
			mib = bench_number(optarg);
		else if (option == 't')
			transport = optarg;
		else if (option == 'c')
			b.channels = (unsigned) bench_number(optarg);
		else if (option == 'y')
			hugetlb = !strcmp(optarg, "hugetlb");
		else if (option != 'x' || !bench_mix_parse(optarg, &mix))
			return 1;
	}
	if (!b.channels || b.channels > CHANNELS_MAX)
		return 1;
	b.units = mib * BENCH_MIB / UNIT_BYTES;
	b.memory = bench_guest_memory(b.units * UNIT_BYTES, hugetlb);
	b.by_reference = hugetlb;
	bench_fill(b.memory, b.units * UNIT_BYTES, mix, 1);
	for (unsigned i = 0; i < b.channels; i++)
		bench_socket_pair(transport, b.fds[i]);
	if (pipe(answer))
		bench_die("pipe");
	child = fork();
	if (child < 0)
		bench_die("fork");
	if (!child)
		destination(&b, hugetlb, answer[1]);
	return source(&b, answer[0]) || waitpid(child, NULL, 0) != child;
}
