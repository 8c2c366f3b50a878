/* SPDX-License-Identifier: MIT */
/* cmd_migrate.c - `vferry migrate` and `vferry save`, which differ in where the machine goes. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration.h"

enum {
	OPT_CONTROL = 1, OPT_CHECK, OPT_MAX_DOWNTIME, OPT_PAUSE_BUDGET, OPT_BANDWIDTH, OPT_CHANNELS,
	OPT_COMPRESSION, OPT_POLICY, OPT_TIMEOUT, OPT_STALL_TIMEOUT, OPT_VERIFY, OPT_TLS, OPT_TLS_HOST,
	OPT_INSECURE, OPT_HOOK, OPT_DETACH, OPT_JSON,
};

static const struct tool_option migrate_options[] = {
	{ "control", "PATH", "control socket of the machine", OPT_CONTROL },
	{ "check", NULL, "only ask whether the destination would take it", OPT_CHECK },
	{ "max-downtime", "MS", "switch over when the pause is expected to fit (300)",
	  OPT_MAX_DOWNTIME },
	{ "pause-budget", "MS", "roll back if the pause gets longer (0: ten times max-downtime)",
	  OPT_PAUSE_BUDGET },
	{ "bandwidth", "RATE", "at most, e.g. 100MB/s (0: no limit)", OPT_BANDWIDTH },
	{ "parallel-connections", "N", "1 to 16 (1)", OPT_CHANNELS },
	{ "compression", "none|lz4|zstd", "of pages (none)", OPT_COMPRESSION },
	{ "policy", "throttle|continue|give-up", "if it does not converge (throttle)", OPT_POLICY },
	{ "timeout", "SECONDS", "give up after so long (0: never)", OPT_TIMEOUT },
	{ "stall-timeout", "SECONDS", "give up a destination that is silent for so long (30)",
	  OPT_STALL_TIMEOUT },
	{ "verify", NULL, "compare a digest of all memory, outside the pause", OPT_VERIFY },
	{ "tls-creds", "DIR", "TLS, with the certificates or the key in DIR", OPT_TLS },
	{ "tls-hostname", "NAME", "in the destination's certificate (the URI's host)", OPT_TLS_HOST },
	{ "insecure", NULL, "plain tcp to another host is meant", OPT_INSECURE },
	{ "hook", "FILE", "program told before the switchover, after commit or roll-back", OPT_HOOK },
	{ "detach", NULL, "start it, and do not wait", OPT_DETACH },
	{ "json", NULL, "the result as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage migrate_usage = {
	.name = "vferry migrate", .arguments = "URI --control PATH [options]",
	.summary = "Moves a running machine to tcp:HOST:PORT, unix:PATH, fd:N or file:PATH.",
	.options = migrate_options, .operands_min = 1, .operands_max = 1,
};

static const struct tool_option save_options[] = {
	{ "control", "PATH", "control socket of the machine", OPT_CONTROL },
	{ "bandwidth", "RATE", "at most, e.g. 100MB/s (0: no limit)", OPT_BANDWIDTH },
	{ "parallel-connections", "N", "writers, 1 to 16 (1)", OPT_CHANNELS },
	{ "compression", "none|lz4|zstd", "of pages (none)", OPT_COMPRESSION },
	{ "timeout", "SECONDS", "give up after so long (0: never)", OPT_TIMEOUT },
	{ "hook", "FILE", "program told before the machine stops, and after", OPT_HOOK },
	{ "detach", NULL, "start it, and do not wait", OPT_DETACH },
	{ "json", NULL, "the result as JSON", OPT_JSON },
	{ 0 }
};

static const struct tool_usage save_usage = {
	.name = "vferry save", .arguments = "FILE --control PATH [options]",
	.summary = "Saves a running machine into a file; it stays stopped. See `run --incoming`.",
	.options = save_options, .operands_min = 1, .operands_max = 1,
};

struct request {
	struct migration_request migration;
	struct json_object *parameters;
	bool detach, json, tls;	/* tls: --tls-creds was given */
};

static int add_number(struct request *r, const char *name, const char *value, uint64_t min,
		      uint64_t max)
{
	uint64_t number;
	int ret = tool_number(value, min, max, &number);

	if (!ret)
		json_object_object_add(r->parameters, name, json_object_new_uint64(number));
	return ret;
}

static int add_word(struct request *r, const char *name, const char *value, const char *const *words)
{
	int ret = tool_word(value, words);

	if (!ret)
		json_object_object_add(r->parameters, name, json_object_new_string(value));
	return ret;
}

static int add_rate(struct request *r, const char *value)
{
	uint64_t rate;
	int ret = tool_rate(value, &rate);

	if (!ret && rate >= INT64_MAX)
		ret = -ERANGE;
	if (!ret)
		json_object_object_add(r->parameters, "max-bandwidth", json_object_new_uint64(rate));
	return ret;
}

static int add_hook(struct request *r, const char *value)
{
	char *path = realpath(value, NULL);

	if (!path)
		return -errno;
	json_object_object_add(r->parameters, "x-vferry-hook", json_object_new_string(path));
	free(path);
	return 0;
}

static int add_directory(struct request *r, const char *value)
{
	char *path = tool_directory(value);

	if (!path)
		return -errno;
	json_object_object_add(r->parameters, "tls-creds", json_object_new_string(path));
	free(path);
	r->tls = true;
	return 0;
}

static int take(void *user, int id, const char *value)
{
	static const char *const compressions[] = { "none", "lz4", "zstd", NULL };
	static const char *const policies[] = { "throttle", "continue", "give-up", NULL };
	struct request *r = user;

	switch (id) {
	case OPT_CONTROL:
		r->migration.control = value;
		return 0;
	case OPT_CHECK:
		r->migration.check = true;
		return 0;
	case OPT_MAX_DOWNTIME:
		return add_number(r, "downtime-limit", value, 0, 2000000);
	case OPT_PAUSE_BUDGET:
		return add_number(r, "x-vferry-pause-budget", value, 0, 20000000);
	case OPT_BANDWIDTH:
		return add_rate(r, value);
	case OPT_CHANNELS:
		return add_number(r, "multifd-channels", value, 1, 16);
	case OPT_COMPRESSION:
		return add_word(r, "multifd-compression", value, compressions);
	case OPT_POLICY:
		return add_word(r, "x-vferry-policy", value, policies);
	case OPT_TIMEOUT:
		return add_number(r, "x-vferry-timeout", value, 0, 1000000);
	case OPT_STALL_TIMEOUT:
		return add_number(r, "x-vferry-stall-timeout", value, 1, 1000000);
	case OPT_VERIFY:
		json_object_object_add(r->parameters, "x-vferry-verify",
				       json_object_new_boolean(true));
		return 0;
	case OPT_TLS:
		return add_directory(r, value);
	case OPT_TLS_HOST:
		json_object_object_add(r->parameters, "tls-hostname", json_object_new_string(value));
		return 0;
	case OPT_INSECURE:
		json_object_object_add(r->parameters, "x-vferry-insecure",
				       json_object_new_boolean(true));
		return 0;
	case OPT_HOOK:
		return add_hook(r, value);
	case OPT_DETACH:
		r->detach = true;
		return 0;
	default:
		r->json = true;
		return 0;
	}
}

static int run(const struct tool_usage *usage, int argc, char **argv, const char *scheme)
{
	struct request r = { .parameters = json_object_new_object() };
	char given[4200], *uri = NULL;
	const char *operand;
	int code = tool_parse(usage, argc, argv, take, &r, &operand);

	if (code < 0 && !r.migration.control)
		code = tool_fail(usage, TOOL_USAGE, "--control is missing");
	if (code < 0 && (size_t) snprintf(given, sizeof(given), "%s%s", scheme, operand) >=
				sizeof(given))
		code = tool_fail(usage, TOOL_USAGE, "the path is too long");
	if (code < 0 && !(uri = tool_absolute_uri(given)))
		code = tool_fail(usage, TOOL_USAGE, "'%s' is no URI; expected tcp:HOST:PORT, "
				 "unix:PATH, fd:N or file:PATH", given);
	if (code < 0 && r.tls && !strncmp(uri, "file:", 5))
		code = tool_fail(usage, TOOL_USAGE, "--tls-creds: a file is not encrypted");
	if (code < 0) {
		r.migration.uri = uri;
		r.migration.parameters = r.parameters;
		code = (int) migration_command(usage, &r.migration, r.detach, r.json);
	}
	free(uri);
	(void) json_object_put(r.parameters);
	return code;
}

int cmd_migrate(int argc, char **argv)
{
	return run(&migrate_usage, argc, argv, "");
}

int cmd_save(int argc, char **argv)
{
	return run(&save_usage, argc, argv, "file:");
}
