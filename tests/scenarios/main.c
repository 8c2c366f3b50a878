/* SPDX-License-Identifier: MIT */
/*
 * main.c - reads a scenario file and runs each scenario on every host that it names.
 *
 *	scenarios FILE [WORD]	only scenarios whose title holds WORD
 *
 * A line that gives another answer than expected ends its scenario, is printed with both answers,
 * and makes the program fail. Lines, macros and their nesting are bounded; a bad line is exit
 * code 2.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"

#define LINES_MAX	4096
#define DEPTH_MAX	8

struct line {
	unsigned int number;
	unsigned int argc;
	char *argv[SCENARIO_ARGS];	/* before "->" or "=>" */
	char *expect;			/* after "->", "ok" if nothing; NULL with "=>" */
	char *store;			/* after "=>": the variable that takes the answer */
};

struct file {
	const char *path;
	char *text;
	struct line *lines;
	unsigned int count;
};

static const char *const kinds[] = { "v3", "v4.0", "v4.1" };
static const char *const kernels[] = { "6.12", "6.15", "6.16" };

static int bad_line(const struct file *file, const struct line *line, const char *why)
{
	fprintf(stderr, "%s:%u: %s\n", file->path, line->number, why);
	return -EINVAL;
}

/* --- reading --- */

static int split_line(const struct file *file, struct line *line, char *text)
{
	char *comment = strchr(text, '#');
	char *arrow, *save = NULL;

	if (comment)
		*comment = '\0';
	line->expect = (char *) "ok";
	arrow = strstr(text, "->");
	if (arrow) {
		*arrow = '\0';
		line->expect = arrow + 2 + strspn(arrow + 2, " \t");
		for (size_t n = strlen(line->expect); n && strchr(" \t", line->expect[n - 1]); n--)
			line->expect[n - 1] = '\0';
	} else if ((arrow = strstr(text, "=>"))) {
		*arrow = '\0';
		line->expect = NULL;
		line->store = strtok_r(arrow + 2, " \t", &save);
		if (!line->store)
			return bad_line(file, line, "no variable after =>");
	}
	save = NULL;
	for (char *word = strtok_r(text, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (line->argc == SCENARIO_ARGS)
			return bad_line(file, line, "too many words");
		line->argv[line->argc++] = word;
	}
	return 0;
}

static int read_file(struct file *file)
{
	FILE *f = fopen(file->path, "re");
	size_t size = 0;
	unsigned int number = 0;
	char *rest;
	int ret = -EIO;

	if (!f || getdelim(&file->text, &size, '\0', f) < 0)
		goto out;
	file->lines = calloc(LINES_MAX, sizeof(*file->lines));
	if (!file->lines)
		goto out;
	rest = file->text;
	for (char *text = strsep(&rest, "\n"); text; text = strsep(&rest, "\n")) {
		struct line *line = &file->lines[file->count];

		if (file->count == LINES_MAX)
			goto out;
		line->number = ++number;
		ret = split_line(file, line, text);
		if (ret)
			goto out;
		if (line->argc)
			file->count++;
	}
	ret = 0;
out:
	if (ret == -EIO)
		fprintf(stderr, "%s: %s\n", file->path, strerror(errno));
	if (f)
		fclose(f);
	return ret;
}

/* The lines from after `define NAME` to before its `end`. */
static int find_macro(const struct file *file, const char *name, unsigned int *ret_from,
		      unsigned int *ret_to)
{
	for (unsigned int i = 0; i < file->count; i++) {
		const struct line *line = &file->lines[i];

		if (line->argc != 2 || strcmp(line->argv[0], "define") ||
		    strcmp(line->argv[1], name))
			continue;
		*ret_from = ++i;
		while (i < file->count && strcmp(file->lines[i].argv[0], "end"))
			i++;
		*ret_to = i;
		return i < file->count ? 0 : -EINVAL;
	}
	return -EINVAL;
}

/* --- running --- */

enum outcome { PASSED, FAILED, SKIPPED, BROKEN };

static bool answers(const struct scenario_run *run, const struct line *line,
		    const struct scenario_answer *answer)
{
	uint64_t number;

	if (answer->is_not)
		return strcmp(answer->text, line->expect) != 0;
	if (answer->is_start)
		return !strncmp(answer->text, line->expect, strlen(answer->text));
	if (!answer->is_number || scenario_number(run, line->expect, &number))
		return !strcmp(answer->text, line->expect);
	return answer->number == number;
}

static enum outcome run_line(const struct file *file, struct scenario_run *run,
			     const struct line *line)
{
	struct scenario_answer answer;

	if (scenario_command(run, line->argc, line->argv, &answer)) {
		(void) bad_line(file, line, "no such command, or wrong words");
		return BROKEN;
	}
	if (answer.skipped)
		return SKIPPED;
	if (line->store && answer.is_number && !scenario_set_var(run, line->store, answer.number))
		return PASSED;
	if (line->expect && answers(run, line, &answer))
		return PASSED;
	fprintf(stderr, "%s:%u: [%s, %s] %s", file->path, line->number, run->host.kind,
		run->host.kernel, line->argv[0]);
	for (unsigned int i = 1; i < line->argc; i++)
		fprintf(stderr, " %s", line->argv[i]);
	fprintf(stderr, "\n  expected %s, got %s%s\n", line->expect ? line->expect : "a number",
		answer.is_not ? "not " : "", answer.text);
	return FAILED;
}

static enum outcome run_lines(const struct file *file, struct scenario_run *run, unsigned int from,
			      unsigned int to, unsigned int depth)
{
	for (unsigned int i = from; i < to; i++) {
		const struct line *line = &file->lines[i];
		unsigned int start, stop;
		enum outcome outcome;

		if (!strcmp(line->argv[0], "on") || !strcmp(line->argv[0], "kernel") ||
		    !strcmp(line->argv[0], "lab"))
			continue;
		if (strcmp(line->argv[0], "do")) {
			outcome = run_line(file, run, line);
		} else if (line->argc != 2 || depth == DEPTH_MAX ||
			   find_macro(file, line->argv[1], &start, &stop)) {
			(void) bad_line(file, line, "no such macro, or too deep");
			return BROKEN;
		} else {
			outcome = run_lines(file, run, start, stop, depth + 1);
			if (outcome == FAILED)
				fprintf(stderr, "  called from line %u\n", line->number);
		}
		if (outcome != PASSED)
			return outcome;
	}
	return PASSED;
}

/* Is @word among the words of the scenario's line `verb`? No such line: all are. */
static bool listed(const struct file *file, unsigned int from, unsigned int to, const char *verb,
		   const char *word)
{
	bool any = false;

	for (unsigned int i = from; i < to; i++) {
		const struct line *line = &file->lines[i];

		if (strcmp(line->argv[0], verb))
			continue;
		any = true;
		for (unsigned int j = 1; j < line->argc; j++)
			if (!strcmp(line->argv[j], word))
				return true;
	}
	return !any;
}

static enum outcome run_scenario(const struct file *file, const struct scenario_backend *backend,
				 const struct scenario_host *host, unsigned int from,
				 unsigned int to)
{
	struct scenario_run run = { .backend = backend, .host = *host };
	unsigned int start, stop;
	enum outcome outcome = PASSED;

	if (!find_macro(file, "always", &start, &stop))
		outcome = run_lines(file, &run, start, stop, 1);
	if (outcome == PASSED)
		outcome = run_lines(file, &run, from, to, 0);
	scenario_run_done(&run);
	return outcome;
}

static void print_title(const struct line *line)
{
	for (unsigned int i = 1; i < line->argc; i++)
		fprintf(stderr, " %s", line->argv[i]);
}

static bool title_has(const struct line *line, const char *word)
{
	for (unsigned int i = 1; word && i < line->argc; i++)
		if (strstr(line->argv[i], word))
			return true;
	return !word;
}

/* The scenario's line `lab`, if it keeps this real kernel out. */
static const struct line *kept_out(const struct file *file, const struct scenario_host *host,
				   unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i < to && host->release; i++) {
		const struct line *line = &file->lines[i];
		unsigned int major, minor;

		if (strcmp(line->argv[0], "lab") || line->argc < 2)
			continue;
		if (sscanf(line->argv[1], "%u.%u", &major, &minor) != 2 ||
		    host->release < major * 100 + minor)
			return line;
	}
	return NULL;
}

/* Runs on @only, or, if that has no kind, on every host. */
static void run_hosts(const struct file *file, const struct scenario_host *only,
		      unsigned int title, unsigned int to, unsigned int count[4])
{
	for (unsigned int k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (unsigned int n = 0; n < sizeof(kernels) / sizeof(kernels[0]); n++) {
			struct scenario_host host = {
				.kind = kinds[k],
				.kernel = kernels[n],
				.release = only->release,
			};
			const struct line *out = kept_out(file, &host, title, to);
			enum outcome outcome;

			if (only->kind && (strcmp(only->kind, kinds[k]) ||
					   strcmp(only->kernel, kernels[n])))
				continue;
			if (!listed(file, title, to, "on", kinds[k]) ||
			    !listed(file, title, to, "kernel", kernels[n]))
				continue;
			outcome = out ? SKIPPED :
				  run_scenario(file, scenario_backend, &host, title + 1, to);
			count[outcome]++;
			if (outcome == PASSED)
				continue;
			fprintf(stderr, outcome == SKIPPED ? "skipped: scenario" : "  in scenario");
			print_title(&file->lines[title]);
			for (unsigned int i = 2; out && i < out->argc; i++)
				fprintf(stderr, "%s %s", i == 2 ? " --" : "", out->argv[i]);
			fprintf(stderr, "\n");
		}
	}
}

int main(int argc, char **argv)
{
	struct file file = { .path = argc > 1 ? argv[1] : "" };
	unsigned int count[4] = { 0 };
	struct scenario_host host = { .kind = NULL };
	unsigned int scenarios = 0;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s FILE [WORD]\n", argv[0]);
		return 2;
	}
	if (read_file(&file))
		return 2;
	if (scenario_backend->host && scenario_backend->host(&host)) {
		fprintf(stderr, "%s: cannot tell what this host is\n", scenario_backend->name);
		return 2;
	}
	for (unsigned int i = 0; i < file.count; i++) {
		unsigned int to = i + 1;

		if (strcmp(file.lines[i].argv[0], "scenario"))
			continue;
		while (to < file.count && strcmp(file.lines[to].argv[0], "scenario") &&
		       strcmp(file.lines[to].argv[0], "define"))
			to++;
		if (!title_has(&file.lines[i], argc == 3 ? argv[2] : NULL))
			continue;
		scenarios++;
		run_hosts(&file, &host, i, to, count);
	}
	free(file.lines);
	free(file.text);
	printf("%u scenarios, %u runs: %u passed, %u failed, %u skipped\n", scenarios,
	       count[PASSED] + count[FAILED] + count[SKIPPED] + count[BROKEN], count[PASSED],
	       count[FAILED] + count[BROKEN], count[SKIPPED]);
	return count[BROKEN] ? 2 : count[FAILED] || !count[PASSED];
}
