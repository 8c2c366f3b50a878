/* SPDX-License-Identifier: MIT */
/* measure.h - how long a stop-copy and a resume of a device take; see measure.c. */
#ifndef PROBE_MEASURE_H
#define PROBE_MEASURE_H

#include "probe.h"

/* The legs of the way, in their order. */
enum probe_leg {
	PROBE_LEG_P2P = 0,	/* RUNNING -> RUNNING_P2P, where there is one */
	PROBE_LEG_STOP = 1,	/* -> STOP */
	PROBE_LEG_STOP_COPY = 2,
	PROBE_LEG_READ = 3,	/* all of the state */
	PROBE_LEG_SAVED = 4,	/* STOP_COPY -> STOP */
	PROBE_LEG_RESUMING = 5,
	PROBE_LEG_WRITE = 6,
	PROBE_LEG_VALIDATE = 7,	/* RESUMING -> STOP */
	PROBE_LEG_RUN_P2P = 8,
	PROBE_LEG_RUN = 9,	/* -> RUNNING */
	PROBE_LEGS = 10,
};

struct probe_measured {
	struct {
		bool there;
		uint64_t ns;
		uint64_t bytes;		/* READ and WRITE */
	} legs[PROBE_LEGS];
};

const char *probe_leg_name(enum probe_leg leg, bool p2p);	/* "RUNNING -> STOP" */

/**
 * probe_measure() - takes the device through a save and a load of its own state
 * The device is open, so nobody else uses it. Afterwards it is in RUNNING with the state it had; when
 * something failed it was reset, or the error says that it could not be.
 *
 * Return: 0; -EBUSY it is not in RUNNING; -EFBIG more state than is kept; -ENOMEM; the device's errors.
 */
int probe_measure(struct vf_backend *backend, const struct probe_facts *facts,
		  struct probe_measured *ret, struct vferry_error *err);

#endif
