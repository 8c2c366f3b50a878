/* SPDX-License-Identifier: MIT */
/*
 * check.h - does a device keep the rules of VFIO migration? What `vferry check` runs.
 *
 * Model: a table of assertions in groups; each has a stable id, the sentence it stands on, where that
 * sentence is from, and a function that drives the device through the backend seam (lib/vfio). An
 * assertion begins and ends with the device in RUNNING, and gets one verdict:
 *
 *   pass     the device did as the sentence says
 *   warn     it did something that no document forbids, and that its users should know
 *   skip     the sentence does not apply to this device or to this way to reach it
 *   blocked  what comes before could not be done, so nothing was learned: another assertion fails
 *   fail     it did otherwise; or never answered, or could not be brought back to RUNNING afterwards
 *
 * Checking destroys what is in the device.
 *
 * Threads: check_run() works on a thread of its own, and watches it from the caller's. When an
 * assertion exceeds its time the run ends there: a thread that waits for the device in the kernel
 * can't be stopped, so it is left behind with what it uses, and the process should end soon.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

struct vf_backend;
struct check;
struct check_sys;

enum check_verdict {
	CHECK_PASS = 0,
	CHECK_WARN = 1,
	CHECK_SKIP = 2,
	CHECK_BLOCKED = 3,
	CHECK_FAIL = 4,
	CHECK_VERDICTS = 5,
};

const char *check_verdict_name(enum check_verdict verdict);

struct check_assertion {
	const char *id;		/* GROUP.NAME, never given to something else */
	const char *sentence;	/* what must hold */
	const char *source;	/* who says so; "none" = nobody: the worst verdict is a warning */
	unsigned int needs;	/* CHECK_NEEDS_*: skipped where the device has it not */
	void (*run)(struct check *c, const struct check_assertion *a);
	uint32_t from, to;	/* of families: states, or what the function makes of them */
};

struct check_group {
	const char *name;
	const char *about;	/* for whoever writes the driver */
	const struct check_assertion *assertions;
	size_t count;
};

/* In the order in which they are run; NULL: there is no such. */
const struct check_group *check_group(size_t index);
size_t check_assertion_count(void);
/* Is @word an assertion's id or a group's name? */
bool check_known(const char *word);

struct check_result {
	const struct check_assertion *assertion;
	uint32_t round;			/* from 0 */
	enum check_verdict verdict;
	char text[400];			/* why; may be empty with a pass */
	uint64_t ns;
};

/* Times of one transition, or of one way of moving data. */
struct check_time {
	char what[64];			/* "RUNNING -> STOP" */
	uint32_t count;
	uint64_t total_ns, max_ns;
	uint64_t bytes;			/* moved in total_ns; 0 = it moves none */
};

#define CHECK_TIMES_MAX 64u

struct check_report {
	uint32_t verdicts[CHECK_VERDICTS];
	char device[64];		/* "vfio-user, 7666:acc1" */
	char features[64];		/* "STOP_COPY P2P PRE_COPY" */
	uint64_t image_bytes;		/* of the device's state; 0 = none could be saved */
	bool hung;			/* the run was ended by its watchdog */
	char left[200];			/* in which state the device was left */
	struct check_time times[CHECK_TIMES_MAX];
	uint32_t time_count;
};

struct check_options {
	const char *device;		/* URI, or */
	int (*open)(void *user, struct vf_backend **ret_backend, struct vferry_error *err);
	const struct check_sys *sys;	/* NULL = the system's; see internal.h */
	const char *const *only;	/* ids and groups; none = all */
	size_t only_count;
	uint32_t repeat;		/* 0 = once */
	uint64_t seed;
	uint64_t limit_ns;		/* of one assertion; 0 = CHECK_LIMIT_NS */
	uint64_t answer_ns;		/* of one request of vfio-user; 0 = CHECK_ANSWER_NS */
	/* Each result as it comes; on a thread of the run, one at a time. */
	void (*result)(void *user, const struct check_result *result);
	void *user;
};

#define CHECK_LIMIT_NS (60ull * 1000000000)
#define CHECK_ANSWER_NS (2ull * 1000000000)

/**
 * check_run() - check a device
 * @ret: written when 0 is returned
 *
 * Return: 0, whatever the verdicts; nothing was run, and the device is as it was: -EBUSY somebody
 * uses it, -ENOTTY it can't migrate, -ENOMEM, errors of opening it.
 */
int check_run(const struct check_options *options, struct check_report *ret,
	      struct vferry_error *err);

#endif
