/* SPDX-License-Identifier: MIT */
/* run_clock.c - see run_clock.h. */
#include <time.h>

#include "run_clock.h"

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	(void) clock_gettime(id, &ts);
	return (uint64_t) ts.tv_sec * 1000000000ull + (uint64_t) ts.tv_nsec;
}

uint64_t run_clock_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t run_clock_real(void)
{
	return clock_ns(CLOCK_REALTIME);
}

void run_clock_start(struct run_clock *clock)
{
	uint64_t now = run_clock_now();

	if (clock->running)
		return;
	if (clock->stopped_real_ns) {
		/* Two hosts share no monotonic clock; if their real ones disagree, time stands still. */
		uint64_t real = run_clock_real();

		if (real > clock->stopped_real_ns)
			clock->paused_ns += real - clock->stopped_real_ns;
		clock->stopped_real_ns = 0;
	} else if (clock->since_ns) {
		clock->paused_ns += now - clock->since_ns;
	}
	clock->since_ns = now;
	clock->running = true;
}

void run_clock_stop(struct run_clock *clock)
{
	uint64_t now = run_clock_now();

	if (!clock->running)
		return;
	clock->run_ns += now - clock->since_ns;
	clock->since_ns = now;
	clock->running = false;
}

uint64_t run_clock_run(const struct run_clock *clock)
{
	return clock->running ? clock->run_ns + (run_clock_now() - clock->since_ns) : clock->run_ns;
}

uint64_t run_clock_paused(const struct run_clock *clock)
{
	return clock->paused_ns;
}

uint64_t run_clock_counter(const struct run_clock *clock)
{
	uint64_t run = run_clock_run(clock);

	return clock->mode == MACHINE_GUEST_TIME_PAUSED ? run : run + clock->paused_ns;
}

uint64_t run_clock_stopped_real(const struct run_clock *clock)
{
	uint64_t stopped = clock->since_ns ? run_clock_now() - clock->since_ns : 0;

	return clock->stopped_real_ns ? clock->stopped_real_ns : run_clock_real() - stopped;
}
