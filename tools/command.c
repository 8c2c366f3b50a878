/* SPDX-License-Identifier: MIT */
/* command.c - see command.h. */
#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/machine.h"

#define OPTIONS_MAX 40
#define ID_HELP 10000

static void show_help(const struct tool_usage *usage)
{
	printf("usage: %s %s\n%s\n\n", usage->name, usage->arguments, usage->summary);
	for (const struct tool_option *o = usage->options; o->name; o++) {
		char left[64];

		(void) snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
				o->value ? o->value : "");
		printf("  %-32s %s\n", left, o->help);
	}
	printf("  %-32s %s\n", "--help", "show this");
}

int tool_fail(const struct tool_usage *usage, int code, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", usage->name);
	va_start(args, fmt);
	(void) vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

static const struct tool_option *find(const struct tool_usage *usage, int id)
{
	const struct tool_option *o = usage->options;

	while (o->name && o->id != id)
		o++;
	return o;
}

static size_t long_options(const struct tool_usage *usage, struct option longs[OPTIONS_MAX + 2])
{
	size_t count = 0;

	for (const struct tool_option *o = usage->options; o->name && count < OPTIONS_MAX; o++)
		longs[count++] = (struct option) {
			.name = o->name, .val = o->id,
			.has_arg = o->value ? required_argument : no_argument,
		};
	longs[count++] = (struct option) { .name = "help", .val = ID_HELP };
	longs[count] = (struct option) { 0 };
	return count;
}

int tool_parse(const struct tool_usage *usage, int argc, char **argv,
	       int (*take)(void *user, int id, const char *value), void *user,
	       const char **ret_operands)
{
	struct option longs[OPTIONS_MAX + 2];
	size_t operands = 0;
	int id;

	(void) long_options(usage, longs);
	optind = 0;	/* glibc: begin anew */
	opterr = 0;
	while ((id = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (id == ID_HELP) {
			show_help(usage);
			return TOOL_DONE;
		}
		if (id == ':')
			return tool_fail(usage, TOOL_USAGE, "%s needs a value", argv[optind - 1]);
		if (id == '?')
			return tool_fail(usage, TOOL_USAGE, "there is no option %s", argv[optind - 1]);
		if (take(user, id, optarg))
			return tool_fail(usage, TOOL_USAGE, "--%s: '%s' is not possible; expected %s",
					 find(usage, id)->name, optarg ? optarg : "",
					 find(usage, id)->value ? find(usage, id)->value : "nothing");
	}
	for (; optind < argc; optind++) {
		if (operands == usage->operands_max)
			return tool_fail(usage, TOOL_USAGE, "'%s' is one argument too many",
					 argv[optind]);
		ret_operands[operands++] = argv[optind];
	}
	if (operands < usage->operands_min)
		return tool_fail(usage, TOOL_USAGE, "an argument is missing: %s", usage->arguments);
	return -1;
}

/* ---- numbers ---- */

int tool_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t) (*text - '0'), &value))
			return -ERANGE;
	}
	if (value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int tool_word(const char *text, const char *const *words)
{
	while (*words && strcmp(text, *words))
		words++;
	return *words ? 0 : -EINVAL;
}

int tool_accel(const char *text)
{
	const char *name;

	if (!strcmp(text, "auto"))
		return 0;
	for (size_t i = 0; (name = machine_name_accel(i, NULL)) != NULL; i++)
		if (!strcmp(text, name))
			return 0;
	return -EINVAL;
}

void tool_block_end_signals(sigset_t *ret)
{
	sigset_t signals;

	(void) sigemptyset(&signals);
	(void) sigaddset(&signals, SIGTERM);
	(void) sigaddset(&signals, SIGINT);
	(void) sigprocmask(SIG_BLOCK, &signals, NULL);
	if (ret)
		*ret = signals;
}

static int unit_factor(const char *unit, uint64_t *ret)
{
	static const char letters[] = "KMGT";
	const char *at = *unit ? strchr(letters, *unit) : NULL;
	uint64_t base;

	*ret = 1;
	if (!*unit || !strcmp(unit, "B"))
		return 0;
	if (!at)
		return -EINVAL;
	if (!unit[1] || !strcmp(unit + 1, "iB"))
		base = 1024;
	else if (!strcmp(unit + 1, "B"))
		base = 1000;
	else
		return -EINVAL;
	for (const char *l = letters; l <= at; l++)
		*ret *= base;
	return 0;
}

int tool_size(const char *text, uint64_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	char number[32];
	uint64_t value, factor;
	int result;

	if (!digits || digits >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, digits);
	number[digits] = '\0';
	result = tool_number(number, 0, UINT64_MAX, &value);
	if (!result)
		result = unit_factor(text + digits, &factor);
	if (!result && __builtin_mul_overflow(value, factor, &value))
		result = -ERANGE;
	if (!result)
		*ret = value;
	return result;
}

int tool_rate(const char *text, uint64_t *ret)
{
	size_t length = strlen(text);
	char size[48];

	if (length >= sizeof(size))
		return -EINVAL;
	if (length > 2 && !strcmp(text + length - 2, "/s"))
		length -= 2;
	memcpy(size, text, length);
	size[length] = '\0';
	return tool_size(size, ret);
}

const char *tool_bytes_text(uint64_t bytes, char to[32])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double value = (double) bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		(void) snprintf(to, 32, "%" PRIu64 " bytes", bytes);
		return to;
	}
	for (; value >= 1024 && unit < 3; unit++)
		value /= 1024;
	(void) snprintf(to, 32, "%.1f %s", value, units[unit]);
	return to;
}

const char *tool_time_text(uint64_t ns, char to[32])
{
	if (ns < 1000000)
		(void) snprintf(to, 32, "%.0f us", (double) ns / 1e3);
	else if (ns < 1000000000)
		(void) snprintf(to, 32, "%.1f ms", (double) ns / 1e6);
	else
		(void) snprintf(to, 32, "%.2f s", (double) ns / 1e9);
	return to;
}

char *tool_absolute_uri(const char *uri)
{
	size_t prefix = !strncmp(uri, "unix:", 5) || !strncmp(uri, "file:", 5) ? 5 : 0;
	char *cwd, *result = NULL;

	if (!prefix && strncmp(uri, "tcp:", 4) && strncmp(uri, "fd:", 3)) {
		errno = EINVAL;
		return NULL;
	}
	if (!prefix || uri[prefix] == '/' || !uri[prefix])
		return strdup(uri);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&result, "%.5s%s/%s", uri, cwd, uri + prefix) < 0)
		result = NULL;
	free(cwd);
	return result;
}

char *tool_directory(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return NULL;
	if (!S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		return NULL;
	}
	return realpath(path, NULL);
}
