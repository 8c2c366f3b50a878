/* SPDX-License-Identifier: MIT */
/* soft_clock.c - the guest's time: see struct soft_clock. */
#include <time.h>

#include "soft.h"

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	(void) clock_gettime(id, &ts);
	return (uint64_t) ts.tv_sec * 1000000000ull + (uint64_t) ts.tv_nsec;
}

uint64_t soft_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t soft_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

void soft_clock_start(struct soft_clock *clock)
{
	uint64_t now = soft_now_ns();

	if (clock->running)
		return;
	if (clock->stopped_real_ns) {
		/* Two hosts share no monotonic clock; if their real ones disagree, time stands still. */
		uint64_t real = soft_real_ns();

		if (real > clock->stopped_real_ns)
			clock->paused_ns += real - clock->stopped_real_ns;
		clock->stopped_real_ns = 0;
	} else if (clock->since_ns) {
		clock->paused_ns += now - clock->since_ns;
	}
	clock->since_ns = now;
	clock->running = true;
}

void soft_clock_stop(struct soft_clock *clock)
{
	uint64_t now = soft_now_ns();

	if (!clock->running)
		return;
	clock->run_ns += now - clock->since_ns;
	clock->since_ns = now;
	clock->running = false;
}

uint64_t soft_clock_run(const struct soft_clock *clock)
{
	return clock->running ? clock->run_ns + (soft_now_ns() - clock->since_ns) : clock->run_ns;
}

uint64_t soft_clock_paused(const struct soft_clock *clock)
{
	return clock->paused_ns;
}

uint64_t soft_clock_counter(const struct soft_clock *clock)
{
	uint64_t run = soft_clock_run(clock);

	return clock->mode == MACHINE_GUEST_TIME_PAUSED ? run : run + clock->paused_ns;
}
