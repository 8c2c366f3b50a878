/* SPDX-License-Identifier: MIT */
/*
 * rollback.h - every failure of a migration, one by one.
 *
 *   main.c            options, dry runs, which points are injected, the result
 *   configurations.c  the migrations that are tried, and which points none of them can pass
 *   scene.c           one of them: both sides in one process, with at most one fault, and what must hold
 *   watch.c           counts the points of one side, and makes one fail
 *
 * Each scene runs in a process of its own, so that a hang ends at its alarm, descriptors and threads
 * are counted from a fresh start, and a sanitizer's word counts. What it found is in shared memory.
 */
#ifndef TESTS_ROLLBACK_H
#define TESTS_ROLLBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/session.h>
#include <vferry/trace.h>

#define POINTS_MAX 256
#define SIDES 2

enum side { SOURCE = 0, DESTINATION = 1 };

extern const char *const side_names[SIDES];

/* The @nth time that @point is passed on @side it fails with @error. Point 0: no fault. */
struct fault {
	enum side side;
	size_t point;
	uint64_t nth;
	int error;
};

enum scenario {
	MOVE,		/* nothing else happens */
	SAVE,		/* into a file, and out of it */
	REFUSED,	/* the destination is another machine */
	CANCELLED,	/* by the user, before the switchover */
	RESET,		/* the guest resets its device during pre-copy */
	RESOLVED,	/* RUNNING is lost, and the destination is asked how it ended */
};

struct configuration {
	const char *name;
	const char *sentence;
	enum scenario scenario;
	unsigned devices, channels;
	enum vferry_compression compression;
	bool no_precopy, no_p2p;
	bool verify;
	uint64_t state_bytes;		/* of each device; 0 = some */
	const char *only;		/* points with this in their name; NULL: all */
	/* This fails first, always; points are counted from there on. NULL: from the beginning. */
	const char *first_point;
	enum side first_side;
	bool devices_may_be_lost;	/* a fault of the undo */
};

extern const struct configuration configurations[];
extern const size_t configuration_count;

/* Why no configuration passes this point; NULL: one must. */
const char *why_never_seen(const char *point, enum side side);

/* What a scene found. In shared memory; the scene's process writes it. */
struct result {
	uint64_t passed[SIDES][POINTS_MAX];	/* since counting began */
	bool fired;
	bool committed;				/* COMMIT was about to be sent */
	bool device_lost;
	int source_outcome, destination_outcome;
	char error[200];			/* the migration's */
	char wrong[600];			/* what does not hold; "" = nothing */
};

/* Runs to its end, and exits the process. */
void scene_run(const struct configuration *configuration, const struct fault *fault,
	       struct result *result) __attribute__((noreturn));

/* ---- watch.c ---- */

struct watch {
	enum side side;
	struct result *result;
	size_t first_point;		/* fails at its first passing; 0: none */
	bool *counting;			/* atomic; of both sides */
	bool *guest_resets;		/* atomic; the guest resets its device: what fails then, it sees */
	struct fault fault;		/* of this side, or none */
};

int watch_event(void *user, const struct vferry_trace_event *event);
/* What a real failure of this point would say. */
int watch_error_of(const struct vferry_trace_point *point);

#endif
