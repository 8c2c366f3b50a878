/* SPDX-License-Identifier: MIT */
/*
 * guest_idle.c - a guest that does nothing: for measuring what a migration costs by itself.
 * Its only words count its steps. Command: poweroff.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "soft.h"

struct idle {
	uint64_t steps;
	uint64_t power_off;
};

static int idle_init(const struct soft_platform *platform, unsigned cpu, const char *args,
		     uint64_t *words, struct vferry_error *err)
{
	(void) platform;
	(void) cpu;
	memset(words, 0, sizeof(struct idle));
	if (args[0])
		return vferry_error_set(err, -EINVAL, "guest-arguments", "idle",
					"guest idle takes no arguments, not \"%s\"", args);
	return 0;
}

static bool idle_valid(const struct soft_platform *platform, unsigned cpu, const uint64_t *words)
{
	(void) platform;
	(void) cpu;
	return ((const struct idle *) words)->power_off <= 1;
}

static enum soft_step idle_step(struct soft_vcpu *vcpu, uint64_t *words)
{
	struct idle *idle = (struct idle *) words;

	(void) vcpu;
	idle->steps++;
	return idle->power_off ? SOFT_STEP_POWER_OFF : SOFT_STEP_WAIT;
}

static int idle_command(const struct soft_platform *platform, unsigned cpu, uint64_t *words,
			const char *text, char *reply, size_t reply_size)
{
	(void) platform;
	if (strcmp(text, "poweroff") != 0)
		return -EINVAL;
	((struct idle *) words)->power_off = cpu == 0;
	(void) snprintf(reply, reply_size, "ok");
	return 0;
}

const struct soft_program soft_guest_idle = {
	.name = "idle",
	.summary = "does nothing at all",
	.version = 1,
	.words = sizeof(struct idle) / sizeof(uint64_t),
	.init = idle_init,
	.valid = idle_valid,
	.step = idle_step,
	.command = idle_command,
};
