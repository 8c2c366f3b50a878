/* SPDX-License-Identifier: MIT */
/*
 * downtime.h - how long the pause would be if it began now, and how long it was.
 *
 * Model: expected = bytes left / measured rate + the time of the save steps and of the load steps
 * inside the pause (each the length of its plan, steps in parallel where the rules let them) +
 * the round trips of the hand-over. Each term is known or unknown; an unknown term counts nothing
 * and makes the sum a lower bound, which is said.
 *
 * Pure: no system calls, no clock, no threads.
 */
#ifndef VF_ENGINE_DOWNTIME_H
#define VF_ENGINE_DOWNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/order.h"

enum vf_downtime_term {
	VF_TERM_RAM = 0,	/* dirty RAM / rate */
	VF_TERM_DEVICES = 1,	/* device state left / rate */
	VF_TERM_SAVE = 2,	/* save steps */
	VF_TERM_LOAD = 3,	/* load steps inside the pause, as the destination says */
	VF_TERM_HANDOVER = 4,	/* round trips */
	VF_TERM__COUNT
};

struct vf_time_known {
	uint64_t ns;
	bool known;
};

struct vf_downtime_input {
	uint64_t rate;			/* bytes per second, measured; 0 = unknown */
	uint64_t ram_bytes;		/* dirty now; always known */
	/* Of RAM that goes in the pause whatever the rounds do: nobody knows what a device wrote. */
	uint64_t blind_bytes;
	uint64_t device_bytes;		/* stop-copy and dirty state of all devices that know it */
	uint32_t devices_unknown;	/* devices that cannot tell */
	struct vf_time_known save;	/* vf_downtime_plan() of the save plan */
	struct vf_time_known load;	/* the same from the destination */
	struct vf_time_known round_trip;
};

struct vf_downtime {
	struct vf_time_known term[VF_TERM__COUNT];
	uint64_t expected_ns;		/* sum of what is known */
	uint64_t fixed_ns;		/* that part which no further round makes smaller */
	bool blind;			/* all of RAM is in it: nobody knows what a device wrote */
	uint32_t unknown;		/* terms not known: > 0 = expected is a lower bound */
};

void vf_downtime_estimate(const struct vf_downtime_input *input, struct vf_downtime *ret);
const char *vf_downtime_term_name(enum vf_downtime_term term);	/* "ram" */

/**
 * vf_downtime_plan() - length of what is left of @plan in the classes @classes
 * @measured: per step, VF_NS_UNKNOWN where nothing was measured (then the declared time counts);
 * may be NULL. Steps whose time is bytes / rate (device data, last RAM) are counted as 0 here.
 * @ret_unknown_steps: how many steps neither measured nor declared; may be NULL. known = none.
 * Return: 0; -ENOMEM.
 */
int vf_downtime_plan(const struct vf_plan *plan, const uint64_t *measured, uint64_t classes,
		     unsigned threads, struct vf_time_known *ret, uint32_t *ret_unknown_steps);

/* One step afterwards. */
struct vf_downtime_step {
	struct vf_time_known predicted, actual;
};
void vf_downtime_step(const struct vf_plan *plan, uint32_t step, const uint64_t *measured,
		      struct vf_downtime_step *ret);

#endif
