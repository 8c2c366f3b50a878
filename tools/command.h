/* SPDX-License-Identifier: MIT */
/*
 * command.h - what all sub-commands share: exit codes, options, numbers with units.
 *
 * A sub-command is one line of the table in main.c and one file cmd_<name>.c. Its options are a
 * table, from which both parsing and --help come. Results go to standard output, progress and errors
 * to standard error.
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

enum tool_exit {
	TOOL_DONE = 0,
	TOOL_USAGE = 1,
	TOOL_REFUSED = 2,	/* not migratable, or bad input; nothing changed */
	TOOL_FAILED = 3,	/* the source runs on; other commands: any other failure */
	TOOL_CANCELLED = 4,
	TOOL_UNKNOWN = 5,	/* start neither side */
	TOOL_FAILED_AFTER = 6,
};

struct tool_option {
	const char *name;
	const char *value;	/* NULL: a switch */
	const char *help;
	int id;			/* > 0 */
};

/* Tables of options end with one without a name; --help is added to each. */
struct tool_usage {
	const char *name;	/* "vferry run" */
	const char *arguments;	/* "URI --control PATH [options]" */
	const char *summary;
	const struct tool_option *options;
	size_t operands_min, operands_max;
};

/*
 * tool_parse() - options by @take, which returns -EINVAL for a value that is not possible
 * @ret_operands: room for usage->operands_max
 *
 * Return: -1: go on; else the exit code with which to end (all was said).
 */
int tool_parse(const struct tool_usage *usage, int argc, char **argv,
	       int (*take)(void *user, int id, const char *value), void *user,
	       const char **ret_operands);
/* One line on standard error. Return: @code. */
int tool_fail(const struct tool_usage *usage, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Strict: digits, then a unit, nothing else. K M G T, with or without iB, are powers of 1024; KB MB
 * GB TB powers of 1000; B or nothing bytes. A rate may end in "/s". Return: 0; -EINVAL; -ERANGE.
 */
int tool_size(const char *text, uint64_t *ret);
int tool_rate(const char *text, uint64_t *ret);
int tool_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* Is it one of @words, which NULL ends? 0; -EINVAL. */
int tool_word(const char *text, const char *const *words);
/* "auto", or the name of an accelerator. 0; -EINVAL. */
int tool_accel(const char *text);

/* "1.5 GiB", "12 bytes" into @to. Return: @to. */
const char *tool_bytes_text(uint64_t bytes, char to[32]);
/* "412 us", "12.3 ms", "1.53 s". Return: @to. */
const char *tool_time_text(uint64_t ns, char to[32]);

/*
 * tool_absolute_uri() - a path in unix: and file: is ours; the machine's process may be elsewhere
 * Return: a string that the caller frees; NULL: no memory, or no such scheme (then errno is EINVAL).
 */
char *tool_absolute_uri(const char *uri);

/* tool_directory() - its absolute path, which the caller frees; NULL and errno: it is none. */
char *tool_directory(const char *path);

/* tool_block_end_signals() - SIGINT and SIGTERM, which are waited for from now on; @ret may be NULL */
void tool_block_end_signals(sigset_t *ret);

#define TOOL_COMMAND(name) int cmd_##name(int argc, char **argv)
TOOL_COMMAND(run);
TOOL_COMMAND(migrate);
TOOL_COMMAND(status);
TOOL_COMMAND(cancel);
TOOL_COMMAND(resolve);
TOOL_COMMAND(save);
TOOL_COMMAND(inspect);
TOOL_COMMAND(order);
TOOL_COMMAND(check);
TOOL_COMMAND(probe);
TOOL_COMMAND(device);
TOOL_COMMAND(demo);
TOOL_COMMAND(soak);

#endif
