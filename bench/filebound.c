/* SPDX-License-Identifier: MIT */
/*
 * filebound.c - the least that any engine must do to save guest memory into a file and to restore it.
 *
 *     bench-filebound --file PATH --mib N --threads N
 *
 * Writes every 2 MiB unit of its memory, which is full of random bytes, over the file, and then reads
 * the file into fresh memory; whichever thread is free takes the next unit. Nothing is looked at,
 * summed or synced. Prints `ready`, waits for a line, and prints one line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"
#include "content.h"

#define THREADS_MAX 16u
#define UNIT_BYTES (2u << 20)

struct job {
	int fd;
	bool save;
	char *memory;
	uint64_t bytes;
	uint64_t next;		/* atomic */
};

static void *move_units(void *arg)
{
	struct job *job = arg;
	uint64_t at;

	while ((at = __atomic_fetch_add(&job->next, UNIT_BYTES, __ATOMIC_RELAXED)) < job->bytes) {
		uint64_t end = at + UNIT_BYTES;

		while (at < end) {
			ssize_t n = job->save ? pwrite(job->fd, job->memory + at, end - at, (off_t) at) :
						pread(job->fd, job->memory + at, end - at, (off_t) at);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				bench_die(job->save ? "write" : "read");
			at += (uint64_t) n;
		}
	}
	return NULL;
}

/* Return: ms. */
static double run(struct job *job, bool save, unsigned threads)
{
	pthread_t others[THREADS_MAX];
	uint64_t start = bench_now_ns();

	job->save = save;
	job->next = 0;
	for (unsigned i = 1; i < threads; i++)
		if (pthread_create(&others[i], NULL, move_units, job))
			bench_die("thread");
	(void) move_units(job);
	for (unsigned i = 1; i < threads; i++)
		(void) pthread_join(others[i], NULL);
	return (double) (bench_now_ns() - start) / 1e6;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "file", required_argument, NULL, 'f' }, { "mib", required_argument, NULL, 'm' },
		{ "threads", required_argument, NULL, 't' }, { 0 }
	};
	struct job job = { .fd = -1 };
	double save_ms, restore_ms;
	unsigned threads = 1;
	char line[32];
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (option == 'f')
			job.fd = open(optarg, O_RDWR | O_CLOEXEC);
		else if (option == 'm')
			job.bytes = bench_number(optarg) * BENCH_MIB / UNIT_BYTES * UNIT_BYTES;
		else if (option == 't')
			threads = (unsigned) bench_number(optarg);
		else
			return 1;
	}
	if (job.fd < 0 || !job.bytes || !threads || threads > THREADS_MAX)
		return 1;
	job.memory = bench_guest_memory(job.bytes, true);
	bench_fill(job.memory, job.bytes, BENCH_MIX_RANDOM, 1);
	printf("ready\n");
	(void) fflush(stdout);
	bench_await(line, sizeof(line));
	save_ms = run(&job, true, threads);
	(void) munmap(job.memory, job.bytes);
	job.memory = bench_guest_memory(job.bytes, true);
	restore_ms = run(&job, false, threads);
	printf("{\"status\":\"completed\",\"save_ms\":%.3f,\"restore_ms\":%.3f,\"cpu_s\":%.3f}\n",
	       save_ms, restore_ms, (double) bench_cpu_ns() / 1e9);
	return 0;
}
