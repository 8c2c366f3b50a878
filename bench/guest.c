/* SPDX-License-Identifier: MIT */
/*
 * guest.c - the self-checking guest's verdict, read out of the memory of whoever runs it.
 *
 *     bench-guest PID ADDRESS    its words in guest memory, which that process has there, as JSON
 *
 * So a guest is judged alike in every VMM. It has one vCPU.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "guest/boot.h"
#include "guest/worker.h"
#include "vmm/machine.h"
#include "vmm/worker_verdict.h"

#include "common.h"

#define WORDS (WORKER_WORDS + WORKER_WATCH_WORDS)

int main(int argc, char **argv)
{
	static const struct guest_platform platform = { .cpus = 1, .bare = true };
	static uint64_t words[WORDS];
	struct iovec local = { .iov_base = words, .iov_len = sizeof(words) };
	struct machine_verdict v;
	struct iovec remote;

	if (argc != 3) {
		(void) fprintf(stderr, "usage: bench-guest PID ADDRESS\n");
		return 1;
	}
	remote.iov_base = (void *) (uintptr_t) (bench_number(argv[2]) + GUEST_WORDS_OFFSET);
	remote.iov_len = sizeof(words);
	if (process_vm_readv((pid_t) bench_number(argv[1]), &local, 1, &remote, 1, 0) !=
	    (ssize_t) sizeof(words))
		bench_die("process_vm_readv");
	memset(&v, 0, sizeof(v));
	worker_verdict_begin(&v);
	worker_verdict_add(&platform, 0, words, &v);
	printf("{\"booted\":%s,\"clean\":%s,\"passes\":%" PRIu64 ",\"dirtied-pages\":%" PRIu64
	       ",\"longest-gap-ns\":%" PRIu64 ",\"first-fault\":\"%s\"}\n",
	       v.booted ? "true" : "false", machine_verdict_clean(&v, 0) ? "true" : "false", v.passes,
	       v.dirtied_pages, v.longest_gap_ns, v.first_fault);
	return 0;
}
