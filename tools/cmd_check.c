/* SPDX-License-Identifier: MIT */
/*
 * cmd_check.c - `vferry check`: does a device keep the rules of VFIO migration? The assertions and who
 * runs them are in check/.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/report.h"
#include "command.h"

#define ONLY_MAX 64u

enum { OPT_ONLY = 1, OPT_LIST, OPT_REPEAT, OPT_SEED, OPT_LIMIT, OPT_JSON, OPT_JUNIT, OPT_TAP };

static const struct tool_option options[] = {
	{ "only", "ID|GROUP", "run this only; several", OPT_ONLY },
	{ "list", NULL, "show all assertions, and run none", OPT_LIST },
	{ "repeat", "N", "run all N times (1)", OPT_REPEAT },
	{ "seed", "N", "of what is tried at random (from the clock; it is shown)", OPT_SEED },
	{ "limit", "SECONDS", "a device that takes longer over one assertion hangs (60)", OPT_LIMIT },
	{ "json", NULL, "the report as JSON, at the end", OPT_JSON },
	{ "tap", NULL, "the report as TAP, at the end", OPT_TAP },
	{ "junit", "FILE", "also write JUnit's XML into FILE", OPT_JUNIT },
	{ 0 }
};

static const struct tool_usage usage = {
	.name = "vferry check", .arguments = "DEVICE [options]",
	.summary = "Checks, rule by rule, whether a device can be migrated as VFIO has it. What is in the\n"
		   "device is destroyed. DEVICE: vfio-user:PATH, vfio:BDF, vfio:/dev/vfio/devices/vfioN.",
	.options = options,
	.operands_min = 0, .operands_max = 1,
};

struct request {
	struct check_options check;
	const char *only[ONLY_MAX];
	const char *junit;
	bool list, json, tap, seeded;
	struct check_results results;
	const struct check_group *last_group;
};

static int take(void *user, int id, const char *value)
{
	struct request *r = user;
	uint64_t number = 0;
	int ret = 0;

	switch (id) {
	case OPT_ONLY:
		if (!check_known(value) || r->check.only_count == ONLY_MAX)
			return -EINVAL;
		r->only[r->check.only_count++] = value;
		return 0;
	case OPT_REPEAT:
		ret = tool_number(value, 1, 1000000, &number);
		r->check.repeat = (uint32_t) number;
		return ret ? -EINVAL : 0;
	case OPT_SEED:
		r->seeded = true;
		return tool_number(value, 0, UINT64_MAX, &r->check.seed) ? -EINVAL : 0;
	case OPT_LIMIT:
		ret = tool_number(value, 2, 86400, &number);
		r->check.limit_ns = number * 1000000000;
		return ret ? -EINVAL : 0;
	case OPT_JUNIT:
		r->junit = value;
		return 0;
	case OPT_LIST:
		r->list = true;
		return 0;
	case OPT_JSON:
		r->json = true;
		return 0;
	default:
		r->tap = true;
		return 0;
	}
}

static void take_result(void *user, const struct check_result *result)
{
	struct request *r = user;

	check_results_add(&r->results, result);
	if (!r->json && !r->tap)
		check_text_result(stdout, result, &r->last_group);
}

static int write_junit(const struct request *r, const struct check_report *report)
{
	FILE *to = fopen(r->junit, "we");
	int ret = to ? check_junit(to, r->check.device, &r->results, report) : -errno;

	if (to && fclose(to) && !ret)
		ret = -errno;
	return ret;
}

static int print(const struct request *r, const struct check_report *report)
{
	int ret = 0;

	if (r->json)
		ret = check_json(stdout, r->check.device, r->check.seed, &r->results, report);
	else if (r->tap)
		ret = check_tap(stdout, r->check.seed, &r->results, report);
	else
		check_text_end(stdout, r->check.seed, report);
	if (ret || fflush(stdout))
		return tool_fail(&usage, TOOL_FAILED, "the report can't be written: %s",
				 vferry_errno_name(ret ? ret : errno));
	if (r->junit && (ret = write_junit(r, report)))
		return tool_fail(&usage, TOOL_FAILED, "%s can't be written: %s", r->junit,
				 vferry_errno_name(ret));
	return report->verdicts[CHECK_FAIL] || report->verdicts[CHECK_BLOCKED] || r->results.incomplete ?
	       TOOL_FAILED : TOOL_DONE;
}

static int check(struct request *r)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct check_report report;
	struct timespec now;
	int ret;

	if (!r->seeded) {
		(void) clock_gettime(CLOCK_REALTIME, &now);
		r->check.seed = (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
	}
	r->check.only = r->only;
	r->check.result = take_result;
	r->check.user = r;
	if (check_run(&r->check, &report, &err) < 0)
		return tool_fail(&usage, TOOL_REFUSED, "%s: %s", r->check.device, err.message);
	ret = print(r, &report);
	if (report.hung)	/* a thread is left that can't be stopped */
		_Exit(ret);
	check_results_done(&r->results);
	return ret;
}

int cmd_check(int argc, char **argv)
{
	struct request r = { 0 };
	int ret = tool_parse(&usage, argc, argv, take, &r, &r.check.device);

	if (ret >= 0)
		return ret;
	if (r.list) {
		check_text_list(stdout);
		return TOOL_DONE;
	}
	if (!r.check.device)
		return tool_fail(&usage, TOOL_USAGE, "an argument is missing: %s", usage.arguments);
	if (r.json && r.tap)
		return tool_fail(&usage, TOOL_USAGE, "--json and --tap are one too many");
	return check(&r);
}
