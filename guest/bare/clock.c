/* SPDX-License-Identifier: MIT */
/*
 * clock.c - the processor's counter as the program's clock, and the timer that ends its waits.
 *
 * Nobody tells a guest on bare metal when its machine was paused. A vCPU that did not run for
 * longer than PAUSE_NS, though it did not mean to wait, takes that for a pause: running time, by
 * which the program judges what comes too late, leaves it out. So a pause of whatever length is no
 * fault by itself, and what is late when the machine runs again is one.
 *
 * The timer is set to the earliest time that was waited for, and stays set until it comes: so each
 * setting must be answered by an interrupt in time, also when a device ended the wait before.
 */
#include "bare.h"

#define SECOND_NS	1000000000ull
#define PAUSE_NS	20000000ull
#define WAIT_MAX_NS	SECOND_NS

static uint64_t counter_at_boot;
static uint64_t ns_per_tick;	/* shifted left by 32 */

void clock_boot(uint64_t counter_hz)
{
	counter_at_boot = arch_counter();
	ns_per_tick = (SECOND_NS << 32) / counter_hz;
}

uint64_t clock_now_ns(void)
{
	uint64_t ticks = arch_counter() - counter_at_boot;

	if ((int64_t) ticks < 0)
		return 0;
	return (uint64_t) ((unsigned __int128) ticks * ns_per_tick >> 32);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void watch_timer(struct bare_cpu *cpu)
{
	uint64_t run_ns = cpu->now_ns - cpu->skipped_ns;

	if (cpu->timer_ns == 0 || run_ns < cpu->timer_ns + cpu->worker->notice_ns)
		return;
	cpu->watch->lost_timers++;
	worker_fault(cpu->worker, WORKER_FAULT_TIMER, run_ns - cpu->timer_ns, 0, 0);
	cpu->timer_ns = 0;
}

void clock_begin_step(struct bare_cpu *cpu)
{
	uint64_t now = clock_now_ns();
	/* Of the last step, or of the wait that followed it. */
	uint64_t expected = later(cpu->now_ns, cpu->wait_ns ? cpu->wait_ns + cpu->skipped_ns : 0);

	if (now < cpu->now_ns)		/* the program will see; its running time goes on */
		cpu->skipped_ns -= cpu->now_ns - now;
	else if (now > expected && now - expected > PAUSE_NS)
		cpu->skipped_ns += now - expected;
	cpu->now_ns = now;
	cpu->wait_ns = 0;
	watch_timer(cpu);
}

void clock_wait(struct bare_cpu *cpu)
{
	uint64_t run_ns = clock_now_ns() - cpu->skipped_ns;
	uint64_t timer_ns = 0;

	if (cpu->wait_ns <= run_ns)
		return;
	if (cpu->wait_ns - run_ns > WAIT_MAX_NS)
		cpu->wait_ns = run_ns + WAIT_MAX_NS;
	if (cpu->timer_ns == 0 || cpu->wait_ns < cpu->timer_ns) {
		cpu->timer_ns = cpu->wait_ns;
		timer_ns = cpu->wait_ns - run_ns;
	}
	arch_wait(cpu, timer_ns);
}

void clock_timer(struct bare_cpu *cpu)
{
	cpu->watch->timers++;
	cpu->timer_ns = 0;
}
