/* SPDX-License-Identifier: MIT */
/*
 * side.h - one side of a migration that a command sets up by itself: a machine and its software
 * devices, each a child process (processes.h).
 *
 * Threads: one.
 */
#ifndef TOOLS_SIDE_H
#define TOOLS_SIDE_H

#include <stdbool.h>

#include <json-c/json.h>

#include <vferry/error.h>

#include "command.h"
#include "processes.h"
#include "qmp.h"

#define SIDE_DEVICES_MAX 8

struct side_options {
	const char *accel, *memory, *guest_args;
	const char *cpus;
	unsigned devices;
	/* Of all devices but the first, which has 1 MiB that stays as it is. */
	const char *state_size, *dirty_rate;
	bool over_unix;
	const char *const *more;	/* arguments for `vferry run`, in pairs; NULL ends; or NULL */
};

struct side {
	char name[32];
	char control[256];
	char uri[256];			/* of a destination: where it listens */
	char device[SIDE_DEVICES_MAX][280];
	struct qmp *qmp;
};

/**
 * side_start() - devices, then the machine; it is ready when this returns
 * @name: no other side's, ever
 * Return: 0; as processes_start() and qmp_open(). Whatever was started ends with @processes.
 */
int side_start(struct side *side, struct processes *processes, const struct side_options *options,
	       const char *name, bool incoming, struct vferry_error *err);
/* Closes the connection, then ends the machine and its devices. A side that never was is fine. */
void side_end(struct side *side, struct processes *processes);

/**
 * side_migrate() - moves @from's machine to @to, and says what went wrong if something did
 * @ret_state: as migration_follow(). Return: the exit code.
 */
int side_migrate(const struct tool_usage *usage, struct side *from, const struct side *to,
		 bool progress, struct json_object **ret_state);

/* Vectors that are connected now: each may fire once too often when it is disconnected. */
int side_vectors(struct side *side, uint64_t *ret_count, struct vferry_error *err);
/* The guest checks all it has. @ret_verdict: the caller's. Return: 0, whatever the verdict. */
int side_judge(struct side *side, uint64_t allowed_spurious, struct json_object **ret_verdict,
	       struct vferry_error *err);
/* Return: 0 if the machine's run state is @wanted; -EPROTO. */
int side_expect(struct side *side, const char *wanted, struct vferry_error *err);

#endif
