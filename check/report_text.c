/* SPDX-License-Identifier: MIT */
/* report_text.c - results for people, and for whoever reads TAP; see report.h. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define MIB 1048576.0

void check_results_add(struct check_results *results, const struct check_result *result)
{
	if (results->count == results->room) {
		size_t room = results->room ? 2 * results->room : 256;
		struct check_result *list = realloc(results->list, room * sizeof(*list));

		if (!list) {
			results->incomplete = true;
			return;
		}
		results->list = list;
		results->room = room;
	}
	results->list[results->count++] = *result;
}

void check_results_done(struct check_results *results)
{
	free(results->list);
	*results = (struct check_results) { 0 };
}

const struct check_group *check_group_of(const struct check_assertion *assertion)
{
	const struct check_group *group;

	for (size_t i = 0; (group = check_group(i)) != NULL; i++)
		if (assertion >= group->assertions && assertion < group->assertions + group->count)
			return group;
	return NULL;
}

static const char *word_of(enum check_verdict verdict)
{
	return verdict == CHECK_FAIL ? "FAIL" : check_verdict_name(verdict);
}

void check_text_result(FILE *to, const struct check_result *result,
		       const struct check_group **last_group)
{
	const struct check_assertion *a = result->assertion;
	const struct check_group *group = check_group_of(a);

	if (group != *last_group)
		(void) fprintf(to, "%s\n", group->name);
	*last_group = group;
	(void) fprintf(to, "  %-8s%s\n", word_of(result->verdict), a->id);
	if (result->verdict == CHECK_FAIL || result->verdict == CHECK_WARN)
		(void) fprintf(to, "          expected: %s\n", a->sentence);
	if (result->text[0])
		(void) fprintf(to, "          %s\n", result->text);
	if (result->verdict == CHECK_FAIL)
		(void) fprintf(to, "          from %s\n", a->source);
	(void) fflush(to);
}

static void print_time(FILE *to, const struct check_time *t)
{
	double mean_ms = (double) t->total_ns / 1e6 / t->count;

	(void) fprintf(to, "  %-28s%8u %12.3f %12.3f", t->what, t->count, mean_ms,
		       (double) t->max_ns / 1e6);
	if (t->bytes)
		(void) fprintf(to, " %10.1f", (double) t->bytes / MIB / ((double) t->total_ns / 1e9));
	(void) fputc('\n', to);
}

void check_text_end(FILE *to, uint64_t seed, const struct check_report *report)
{
	const uint32_t *n = report->verdicts;

	(void) fprintf(to, "\n  %-28s%8s %12s %12s %10s\n", "time of", "count", "mean ms", "max ms",
		       "MiB/s");
	for (uint32_t i = 0; i < report->time_count; i++)
		print_time(to, &report->times[i]);
	(void) fprintf(to, "\ndevice: %s; %s; %" PRIu64 " bytes of state\nleft in: %s\n", report->device,
		       report->features, report->image_bytes, report->left);
	if (report->hung)
		(void) fprintf(to, "the run was ended: the device hangs\n");
	(void) fprintf(to, "%u passed, %u failed, %u warnings, %u blocked, %u skipped\nseed: %" PRIu64 "\n",
		       n[CHECK_PASS], n[CHECK_FAIL], n[CHECK_WARN], n[CHECK_BLOCKED], n[CHECK_SKIP], seed);
}

void check_text_list(FILE *to)
{
	const struct check_group *group;

	for (size_t g = 0; (group = check_group(g)) != NULL; g++) {
		(void) fprintf(to, "%s\n", group->name);
		for (size_t i = 0; i < group->count; i++)
			(void) fprintf(to, "  %-36s %s\n", group->assertions[i].id,
				       group->assertions[i].sentence);
	}
}

int check_tap(FILE *to, uint64_t seed, const struct check_results *results,
	      const struct check_report *report)
{
	(void) fprintf(to, "TAP version 13\n1..%zu\n", results->count);
	for (size_t i = 0; i < results->count; i++) {
		const struct check_result *r = &results->list[i];
		bool good = r->verdict <= CHECK_SKIP;

		(void) fprintf(to, "%sok %zu - %s", good ? "" : "not ", i + 1, r->assertion->id);
		if (r->verdict == CHECK_SKIP)
			(void) fprintf(to, " # SKIP %s", r->text);
		(void) fputc('\n', to);
		if (r->text[0] && r->verdict != CHECK_SKIP)
			(void) fprintf(to, "# %s: %s\n", check_verdict_name(r->verdict), r->text);
	}
	(void) fprintf(to, "# %s; left in: %s; seed: %" PRIu64 "\n", report->device, report->left, seed);
	return ferror(to) ? -EIO : 0;
}
