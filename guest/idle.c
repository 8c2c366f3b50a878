/* SPDX-License-Identifier: MIT */
/*
 * idle.c - a guest that does nothing: for measuring what a migration costs by itself.
 * Its only words count its steps. Command: poweroff.
 */
#include <errno.h>

#include "guest/bus.h"

struct idle {
	uint64_t steps;
	uint64_t power_off;
};

static int idle_init(const struct guest_platform *platform, unsigned cpu, const char *args,
		     uint64_t *words, struct guest_text *why)
{
	(void) platform;
	(void) cpu;
	*(struct idle *) words = (struct idle) { 0 };
	if (!args[0])
		return 0;
	guest_text_add(why, "guest idle takes no arguments, not \"");
	guest_text_add(why, args);
	guest_text_add(why, "\"");
	return -EINVAL;
}

static bool idle_valid(const struct guest_platform *platform, unsigned cpu, const uint64_t *words)
{
	(void) platform;
	(void) cpu;
	return ((const struct idle *) words)->power_off <= 1;
}

static enum guest_step idle_step(struct guest_vcpu *vcpu, uint64_t *words)
{
	struct idle *idle = (struct idle *) words;

	(void) vcpu;
	idle->steps++;
	return idle->power_off ? GUEST_STEP_POWER_OFF : GUEST_STEP_WAIT;
}

static int idle_command(const struct guest_platform *platform, unsigned cpu, uint64_t *words,
			const char *text, struct guest_text *reply)
{
	(void) platform;
	if (!guest_text_equal(text, "poweroff"))
		return -EINVAL;
	((struct idle *) words)->power_off = cpu == 0;
	guest_text_add(reply, "ok");
	return 0;
}

const struct guest_program guest_idle = {
	.name = "idle",
	.summary = "does nothing at all",
	.version = 1,
	.words = sizeof(struct idle) / sizeof(uint64_t),
	.init = idle_init,
	.valid = idle_valid,
	.step = idle_step,
	.command = idle_command,
};
