/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a run found, for people and for programs: text as it goes, and whole reports as
 * JSON, JUnit's XML and TAP.
 */
#ifndef CHECK_REPORT_H
#define CHECK_REPORT_H

#include <stdio.h>

#include "check.h"

struct check_results {
	struct check_result *list;	/* owned */
	size_t count, room;
	bool incomplete;		/* one was lost for lack of memory */
};

void check_results_add(struct check_results *results, const struct check_result *result);
void check_results_done(struct check_results *results);

const struct check_group *check_group_of(const struct check_assertion *assertion);

/* One result as it comes; @last_group is the caller's, for headings. */
void check_text_result(FILE *to, const struct check_result *result,
		       const struct check_group **last_group);
/* What follows the last one: the device, times, counts, the seed. */
void check_text_end(FILE *to, uint64_t seed, const struct check_report *report);
/* All assertions, with their sentences. */
void check_text_list(FILE *to);

/* Whole reports. 0; -ENOMEM; -EIO. */
int check_json(FILE *to, const char *device, uint64_t seed, const struct check_results *results,
	       const struct check_report *report);
int check_junit(FILE *to, const char *device, const struct check_results *results,
		const struct check_report *report);
int check_tap(FILE *to, uint64_t seed, const struct check_results *results,
	      const struct check_report *report);

#endif
