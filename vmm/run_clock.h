/* SPDX-License-Identifier: MIT */
/*
 * run_clock.h - how long a machine ran, and how long it was paused, over migrations.
 *
 * run: time that vCPUs were let run. paused: all stops together. The counter is run, or their sum.
 * Threads: changed only while every vCPU is parked, under the machine's lock.
 */
#ifndef VMM_RUN_CLOCK_H
#define VMM_RUN_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

struct run_clock {
	enum machine_guest_time mode;
	bool running;
	uint64_t run_ns;	/* until the last start or stop */
	uint64_t paused_ns;
	uint64_t since_ns;	/* CLOCK_MONOTONIC of that start or stop; 0: never started */
	uint64_t stopped_real_ns;	/* loaded: CLOCK_REALTIME when the source stopped; or 0 */
};

#define RUN_CLOCK_MAX_NS (1ull << 62)	/* more than any time that was loaded can be */

uint64_t run_clock_now(void);		/* CLOCK_MONOTONIC */
uint64_t run_clock_real(void);		/* CLOCK_REALTIME */
void run_clock_start(struct run_clock *clock);
void run_clock_stop(struct run_clock *clock);
uint64_t run_clock_run(const struct run_clock *clock);
uint64_t run_clock_paused(const struct run_clock *clock);
uint64_t run_clock_counter(const struct run_clock *clock);
/* CLOCK_REALTIME of the stop; it is stopped. */
uint64_t run_clock_stopped_real(const struct run_clock *clock);

#endif
