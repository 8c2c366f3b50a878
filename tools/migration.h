/* SPDX-License-Identifier: MIT */
/*
 * migration.h - starting a migration over a control socket, following it and reporting on it.
 *
 * Threads: one. SIGINT and SIGTERM are blocked from migration_follow() on, and cancel.
 */
#ifndef TOOLS_MIGRATION_H
#define TOOLS_MIGRATION_H

#include <stdbool.h>
#include <stdio.h>

#include <json-c/json.h>

#include <vferry/error.h>

#include "command.h"
#include "qmp.h"

struct migration_request {
	const char *control;			/* path */
	const char *uri;
	struct json_object *parameters;		/* x-vferry-parameters, borrowed; NULL: none */
	bool check;
};

/* Starts it. Return: 0; as qmp_call(). */
int migration_start(struct qmp *qmp, const struct migration_request *request,
		    struct vferry_error *err);
/**
 * migration_follow() - until it ended
 * @progress: it is shown on standard error
 * @ret_state: query-migrate's last answer, the caller's; NULL if there is none
 * Return: the exit code.
 */
int migration_follow(const struct tool_usage *usage, struct qmp *qmp, bool progress,
		     struct json_object **ret_state);
/* The exit code that an answer of query-migrate means; TOOL_FAILED while it is pending. */
int migration_exit_code(struct json_object *state);
/* Bytes by component, pause, restore plan as executed. */
void migration_report(FILE *to, struct json_object *state);
/* One line for each device that has vectors that hardware delivered before, and does not any more. */
void migration_warn_interrupts(FILE *to, struct json_object *state);
/* The rest of a line: why it failed, if it did. Of several reasons each has a line of its own. */
void migration_print_why(FILE *to, struct json_object *state);
/* One word or sentence on how it ended. */
void migration_print_end(FILE *to, struct json_object *state);

/* A command that opens the socket itself. Return: the exit code. */
int migration_command(const struct tool_usage *usage, const struct migration_request *request,
		      bool detach, bool json);

#endif
