/* SPDX-License-Identifier: MIT */
/* forecast.h - how a migration would go, from facts and from what was measured; see forecast.c. */
#ifndef PROBE_FORECAST_H
#define PROBE_FORECAST_H

#include "measure.h"
#include "probe.h"

#define PROBE_ROUNDS_MAX 128u
#define PROBE_TERMS 5u

struct probe_round {
	uint64_t bytes, ns;
	uint64_t left;		/* dirty at its end */
	uint32_t throttle;	/* percent of the guest's CPU time that was taken away */
};

struct probe_term {
	const char *name;	/* "ram", "devices", "save", "load", "hand-over" */
	uint64_t ns;
	bool known;		/* no: only this much of it is known */
};

enum probe_end {
	PROBE_GOES_ON = 0,	/* after all of the rounds */
	PROBE_SWITCHES = 1,
	PROBE_GIVES_UP = 2,	/* the policy does */
};

enum probe_never {
	PROBE_NEVER_NOT_SAID = 0,
	PROBE_NEVER_FIXED = 1,	/* the device alone takes longer than the limit */
	PROBE_NEVER_BLIND = 2,	/* nobody knows what the device wrote, so all RAM goes in the pause */
	PROBE_NEVER_DIRTY_RATE = 3,	/* as it was first; slowing the guest down may have helped */
};

struct probe_forecast {
	enum probe_end end;
	enum probe_never never;
	struct probe_round rounds[PROBE_ROUNDS_MAX];
	uint32_t round_count;
	uint64_t rounds_ns;
	uint64_t downtime_ns;
	bool lower_bound;	/* a term is not, or not fully known */
	struct probe_term terms[PROBE_TERMS];
	uint64_t total_ns;
};

/**
 * probe_forecast() - @measured may be NULL
 * Return: 0; -EINVAL @wish says no memory or no bandwidth; -ENOTSUP the device does not migrate;
 * -ENOMEM.
 */
int probe_forecast(const struct probe_facts *facts, const struct probe_measured *measured,
		   const struct probe_wish *wish, struct probe_forecast *ret,
		   struct vferry_error *err);

#endif
