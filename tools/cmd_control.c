/* SPDX-License-Identifier: MIT */
/* cmd_control.c - `vferry status`, `cancel` and `resolve`: one or two calls to the control socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migration.h"

enum { OPT_CONTROL = 1, OPT_PEER, OPT_FENCED, OPT_JSON };

#define RESOLVE_POLLS 150	/* of 100 ms: the destination's answer may take a while */
#define CANCEL_POLLS 300

struct request {
	const char *control, *peer, *fenced;
	bool json;
};

static int take(void *user, int id, const char *value)
{
	struct request *r = user;

	switch (id) {
	case OPT_CONTROL:
		r->control = value;
		return 0;
	case OPT_PEER:
		r->peer = value;
		return 0;
	case OPT_FENCED:
		r->fenced = value;
		return strcmp(value, "source") && strcmp(value, "destination") ? -EINVAL : 0;
	default:
		r->json = true;
		return 0;
	}
}

/* Return: -1: go on, with a connection. */
static int begin(const struct tool_usage *usage, int argc, char **argv, struct request *r,
		 struct qmp **ret_qmp)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code = tool_parse(usage, argc, argv, take, r, NULL);

	if (code >= 0)
		return code;
	if (!r->control)
		return tool_fail(usage, TOOL_USAGE, "--control is missing");
	if (!ret_qmp)
		return -1;
	if (qmp_open(r->control, ret_qmp, &err))
		return tool_fail(usage, TOOL_FAILED, "%s", err.message);
	return -1;
}

static void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* ---- status ---- */

static const struct tool_option status_options[] = {
	{ "control", "PATH", "control socket of the machine", OPT_CONTROL },
	{ "json", NULL, "as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage status_usage = {
	.name = "vferry status", .arguments = "--control PATH [--json]",
	.summary = "Shows a machine, its devices and its migration.", .options = status_options,
};

/* How it is reached, and who knows what it wrote: without that, what it costs. */
static void print_backend(struct json_object *d)
{
	const char *tracking = qmp_string(d, "dirty-tracking", "none");
	const char *driver = qmp_string(d, "driver", NULL);

	printf("  by %s%s%s%s; pages that it wrote are %s\n", qmp_string(d, "backend", ""),
	       driver ? ", driver " : "", driver ? driver : "",
	       qmp_uint(d, "ioeventfds", 0) ? ", doorbells by eventfd" : "",
	       !strcmp(tracking, "device-log") ? "in its own log" :
	       !strcmp(tracking, "iommu") ? "known by the IOMMU" :
	       "not known: all memory is sent again while the machine is stopped");
}

/* Where nobody can tell whether vectors are forwarded, that is said, and no number. */
static void print_device(struct json_object *d)
{
	bool known = !qmp_uint(d, "vectors-forward-unknown", 0);
	char forwarded[24] = "forwarding unknown";

	if (known)
		(void) snprintf(forwarded, sizeof(forwarded), "%llu forwarded",
				(unsigned long long) qmp_uint(d, "vectors-forwarded", 0));
	printf("device %s  %s, interrupts %s, %llu vectors, %llu connected, %s%s\n",
	       qmp_string(d, "address", ""), qmp_string(d, "uri", ""),
	       qmp_string(d, "interrupts", ""), (unsigned long long) qmp_uint(d, "vectors", 0),
	       (unsigned long long) qmp_uint(d, "vectors-connected", 0), forwarded,
	       qmp_bool(d, "lost") ? ", its state was lost" : "");
	if (qmp_string(d, "not-forwarded", NULL))
		printf("  %s: %s\n", known ? "not forwarded" : "forwarding unknown",
		       qmp_string(d, "not-forwarded", NULL));
	if (qmp_bool(d, "host-error"))
		printf("  it had an error that the host could not correct\n");
	if (qmp_bool(d, "wanted-back"))
		printf("  the host wants it back, and waits until this vferry run has ended\n");
	print_backend(d);
}

static void print_tls(struct json_object *tls)
{
	if (!tls)
		return;
	printf("link       TLS 1.3, %s%s; the peer is %s%s\n", qmp_string(tls, "cipher", ""),
	       qmp_uint(tls, "kernel-channels", 0) ? ", by the kernel" : "",
	       strcmp(qmp_string(tls, "method", ""), "psk") ? "" : "user ", qmp_string(tls, "peer", ""));
}

static void print_status(struct json_object *run, struct json_object *migration)
{
	struct json_object *devices = qmp_member(migration, "x-vferry-devices");
	struct json_object *ram = qmp_member(migration, "ram");
	const char *state = qmp_string(migration, "status", "none");
	char text[32];

	printf("machine    %s\n", qmp_string(run, "status", "unknown"));
	printf("migration  %s", state);
	if (strcmp(qmp_string(migration, "x-vferry-outcome", "pending"), "pending"))
		printf(", %s", qmp_string(migration, "x-vferry-outcome", ""));
	migration_print_why(stdout, migration);
	if (ram)
		printf("memory     round %llu, %s left\n",
		       (unsigned long long) qmp_uint(ram, "dirty-sync-count", 0),
		       tool_bytes_text(qmp_uint(ram, "remaining", 0), text));
	print_tls(qmp_member(migration, "x-vferry-tls"));
	if (qmp_string(migration, "x-vferry-forecast", NULL))
		printf("forecast   %s\n", qmp_string(migration, "x-vferry-forecast", NULL));
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
		print_device(json_object_array_get_idx(devices, i));
}

int cmd_status(int argc, char **argv)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *run = NULL, *migration = NULL;
	struct request r = { 0 };
	struct qmp *qmp = NULL;
	int code = begin(&status_usage, argc, argv, &r, &qmp);

	if (code >= 0)
		return code;
	if (qmp_call(qmp, "query-status", NULL, &run, &err) ||
	    qmp_call(qmp, "query-migrate", NULL, &migration, &err)) {
		code = tool_fail(&status_usage, TOOL_FAILED, "%s", err.message);
	} else if (r.json) {
		struct json_object *both = json_object_new_object();

		json_object_object_add(both, "machine", json_object_get(run));
		json_object_object_add(both, "migration", json_object_get(migration));
		print_json(both);
		(void) json_object_put(both);
		code = TOOL_DONE;
	} else {
		print_status(run, migration);
		code = TOOL_DONE;
	}
	(void) json_object_put(run);
	(void) json_object_put(migration);
	(void) qmp_close(qmp);
	return code;
}

/* ---- cancel, resolve ---- */

/*
 * Asks until @word is no longer the outcome, the error is not @old_error any more (NULL: whatever it
 * is), or the time is up. Return: the last answer, the caller's; NULL and an error.
 */
static struct json_object *wait_for_outcome(struct qmp *qmp, const char *word, unsigned polls,
					    const char *old_error, struct vferry_error *err)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	struct json_object *state = NULL;

	for (unsigned i = 0; i < polls; i++) {
		(void) json_object_put(state);
		if (qmp_call(qmp, "query-migrate", NULL, &state, err))
			return NULL;
		if (strcmp(qmp_string(state, "x-vferry-outcome", "none"), word) ||
		    (old_error && strcmp(qmp_string(state, "error-desc", ""), old_error)))
			return state;
		(void) nanosleep(&pause, NULL);
	}
	return state;
}

static const struct tool_option cancel_options[] = {
	{ "control", "PATH", "control socket of the source's machine", OPT_CONTROL },
	{ "json", NULL, "the migration's state as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage cancel_usage = {
	.name = "vferry cancel", .arguments = "--control PATH [--json]",
	.summary = "Cancels a migration, if it was not handed over yet, and waits for its end.",
	.options = cancel_options,
};

static int report_outcome(const struct tool_usage *usage, struct json_object *state, bool json,
			  bool good, int code)
{
	if (json)
		print_json(state);
	else if (good)
		migration_print_end(stdout, state);
	else
		(void) tool_fail(usage, 0, "the migration's outcome is %s%s%s",
				 qmp_string(state, "x-vferry-outcome", "none"),
				 qmp_string(state, "error-desc", NULL) ? ": " : "",
				 qmp_string(state, "error-desc", ""));
	return code;
}

int cmd_cancel(int argc, char **argv)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *state = NULL;
	struct request r = { 0 };
	struct qmp *qmp = NULL;
	int code = begin(&cancel_usage, argc, argv, &r, &qmp);
	bool cancelled;

	if (code >= 0)
		return code;
	if (!qmp_call(qmp, "migrate_cancel", NULL, NULL, &err))
		state = wait_for_outcome(qmp, "pending", CANCEL_POLLS, NULL, &err);
	if (!state) {
		code = tool_fail(&cancel_usage, TOOL_FAILED, "%s", err.message);
	} else {
		cancelled = !strcmp(qmp_string(state, "x-vferry-outcome", "none"), "cancelled");
		code = report_outcome(&cancel_usage, state, r.json, cancelled,
				      cancelled ? TOOL_DONE : TOOL_FAILED);
	}
	(void) json_object_put(state);
	(void) qmp_close(qmp);
	return code;
}

static const struct tool_option resolve_options[] = {
	{ "control", "PATH", "control socket of the machine: the source's, or with --fenced either",
	  OPT_CONTROL },
	{ "peer", "URI", "ask the destination, which answers there", OPT_PEER },
	{ "fenced", "source|destination", "your word: this side was fenced off", OPT_FENCED },
	{ "json", NULL, "the migration's state as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage resolve_usage = {
	.name = "vferry resolve", .arguments = "--control PATH --peer URI | --fenced SIDE",
	.summary = "Settles a migration whose outcome is unknown. --fenced tells either side that "
		   "the other cannot run\nany more, and lets the machine run here: so be sure of it. "
		   "--fenced with the side's own name\ngives the machine up here.",
	.options = resolve_options,
};

/* A destination that gives its machine up ends, before or after it can tell. */
static struct json_object *gave_up(void)
{
	struct json_object *state = json_object_new_object();

	json_object_object_add(state, "x-vferry-outcome", json_object_new_string("failed"));
	json_object_object_add(state, "error-desc", json_object_new_string(
			       "The machine that was held there was given up; its process has ended."));
	return state;
}

static struct json_object *resolve_arguments(const struct request *r)
{
	struct json_object *arguments = json_object_new_object();
	char *peer = r->peer ? tool_absolute_uri(r->peer) : NULL;

	if (peer)
		json_object_object_add(arguments, "peer", json_object_new_string(peer));
	if (r->fenced)
		json_object_object_add(arguments, "fenced", json_object_new_string(r->fenced));
	free(peer);
	return arguments;
}

/* Says it, and waits for what it leads to. Return: the last answer, the caller's; NULL and an error. */
static struct json_object *settle(struct qmp *qmp, const struct request *r, struct vferry_error *err)
{
	struct json_object *run = NULL, *before = NULL, *state = NULL;
	bool ends;

	if (!qmp_call(qmp, "query-status", NULL, &run, err) &&
	    !qmp_call(qmp, "query-migrate", NULL, &before, err) &&
	    !qmp_call(qmp, "x-vferry-resolve", resolve_arguments(r), NULL, err)) {
		ends = r->fenced && !strcmp(r->fenced, "destination") &&
		       !strcmp(qmp_string(run, "status", ""), "inmigrate");
		state = wait_for_outcome(qmp, qmp_string(before, "x-vferry-outcome", "unknown"),
					 RESOLVE_POLLS, qmp_string(before, "error-desc", ""), err);
		if (!state && ends)
			state = gave_up();
	}
	(void) json_object_put(run);
	(void) json_object_put(before);
	return state;
}

static int resolve(struct qmp *qmp, const struct request *r)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *state = settle(qmp, r, &err);
	const char *outcome;
	int code;

	if (!state)
		return tool_fail(&resolve_usage, TOOL_FAILED, "%s", err.message);
	outcome = qmp_string(state, "x-vferry-outcome", "none");
	/* Ran or aborted, either is an answer; only none, or a machine that is lost, is a failure. */
	if (!strcmp(outcome, "unknown"))
		code = report_outcome(&resolve_usage, state, r->json, false, TOOL_UNKNOWN);
	else if (r->peer && !strcmp(outcome, "failed-after"))
		code = report_outcome(&resolve_usage, state, r->json, false, TOOL_FAILED_AFTER);
	else
		code = report_outcome(&resolve_usage, state, r->json, true, TOOL_DONE);
	(void) json_object_put(state);
	return code;
}

int cmd_resolve(int argc, char **argv)
{
	struct request r = { 0 };
	struct qmp *qmp = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int code = begin(&resolve_usage, argc, argv, &r, NULL);

	if (code >= 0)
		return code;
	if (!r.peer == !r.fenced)
		return tool_fail(&resolve_usage, TOOL_USAGE, "exactly one of --peer and --fenced is "
				 "needed");
	if (r.peer && strncmp(r.peer, "tcp:", 4) && strncmp(r.peer, "unix:", 5))
		return tool_fail(&resolve_usage, TOOL_USAGE, "--peer: '%s' is not possible; expected "
				 "tcp:HOST:PORT or unix:PATH", r.peer);
	if (qmp_open(r.control, &qmp, &err))
		return tool_fail(&resolve_usage, TOOL_FAILED, "%s", err.message);
	code = resolve(qmp, &r);
	(void) qmp_close(qmp);
	return code;
}
