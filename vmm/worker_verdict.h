/* SPDX-License-Identifier: MIT */
/*
 * worker_verdict.h - reads the verdict of the self-checking guest from its words.
 *
 * The words of a vCPU are those of guest/worker.h, wherever they are: in the soft machine's vCPU, or
 * in guest RAM. Nothing in them is trusted: they end up as figures and sentences only.
 */
#ifndef VMM_WORKER_VERDICT_H
#define VMM_WORKER_VERDICT_H

#include "guest/worker.h"
#include "machine.h"

/* Before the first vCPU. */
void worker_verdict_begin(struct machine_verdict *ret);
/*
 * Adds what vCPU @cpu saw. @words: WORKER_WORDS of them; WORKER_WATCH_WORDS more if
 * @platform->bare. Of the platform, `cpus` and `bare` are looked at.
 */
void worker_verdict_add(const struct guest_platform *platform, unsigned cpu, const uint64_t *words,
			struct machine_verdict *verdict);

#endif
