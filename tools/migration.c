/* SPDX-License-Identifier: MIT */
/* migration.c - see migration.h. The machine is asked ten times a second; events wake us earlier. */
#define _GNU_SOURCE
#include "migration.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/vm.h"

#define POLL_MS 100
#define BAR_WIDTH 24

struct follower {
	const struct tool_usage *usage;
	struct qmp *qmp;
	int signal_fd;
	bool terminal;
	bool cancelled;
	bool powered_off;
	uint64_t last_pass;
	char last_status[32];
	struct json_object *state;	/* the last answer */
};

/* ---- outcome ---- */

int migration_exit_code(struct json_object *state)
{
	static const struct { const char *word; int code; } outcomes[] = {
		{ "done", TOOL_DONE }, { "refused", TOOL_REFUSED }, { "failed", TOOL_FAILED },
		{ "cancelled", TOOL_CANCELLED }, { "unknown", TOOL_UNKNOWN },
		{ "failed-after", TOOL_FAILED_AFTER },
	};
	const char *word = qmp_string(state, "x-vferry-outcome", "");

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		if (!strcmp(outcomes[i].word, word))
			return outcomes[i].code;
	return TOOL_FAILED;
}

/* "OBJECT: sentence", without the object if the sentence names it. */
static void print_why(FILE *to, const char *object, const char *why)
{
	bool named = vm_sentence_names(why, object);

	fprintf(to, "%s%s%s\n", named ? "" : object, named ? "" : ": ", why);
}

void migration_print_why(FILE *to, struct json_object *state)
{
	struct json_object *reasons = qmp_member(state, "x-vferry-reasons");
	const char *why = qmp_string(state, "error-desc", NULL);
	size_t count = reasons ? json_object_array_length(reasons) : 0;
	uint64_t dropped = qmp_uint(state, "x-vferry-reasons-dropped", 0);

	if (count + dropped > 1) {
		fprintf(to, ": %llu reasons against\n", (unsigned long long) (count + dropped));
		for (size_t i = 0; i < count; i++) {
			struct json_object *reason = json_object_array_get_idx(reasons, i);

			fputs("  ", to);
			print_why(to, qmp_string(reason, "object", NULL), qmp_string(reason, "desc", ""));
		}
		if (dropped)
			fprintf(to, "  and %llu more\n", (unsigned long long) dropped);
	} else if (why) {
		fputs(": ", to);
		print_why(to, qmp_string(state, "x-vferry-error-object", NULL), why);
	} else {
		fputc('\n', to);
	}
}

/* A file could not be opened, as likely because of the machine's sandbox as because of its mode. */
static bool is_kept_out(struct json_object *state)
{
	return !strcmp(qmp_string(state, "x-vferry-error-id", ""), "file-open") &&
	       strstr(qmp_string(state, "error-desc", ""), "EACCES");
}

void migration_print_end(FILE *to, struct json_object *state)
{
	const char *outcome = qmp_string(state, "x-vferry-outcome", "pending");
	const char *word = outcome;
	char text[32];

	if (!strcmp(outcome, "pending"))
		return;		/* it was not seen to end */
	if (!strcmp(outcome, "done") && qmp_bool(state, "x-vferry-check"))
		word = "accepted (nothing was moved)";
	else if (!strcmp(outcome, "failed-after"))
		word = "failed when the destination had taken it over,";
	fprintf(to, "%s after %s", word,
		tool_time_text(qmp_uint(state, "total-time", 0) * 1000000, text));
	migration_print_why(to, state);
	if (is_kept_out(state))
		fprintf(to, "a machine opens files below --files of its `vferry run` only, which is the "
			    "directory where that was started if it was not given\n");
	migration_warn_interrupts(to, state);
	if (qmp_bool(state, "x-vferry-device-lost"))
		fprintf(to, "a device lost its state; `vferry status` tells which\n");
	if (!strcmp(outcome, "failed-after"))
		fprintf(to, "the machine is at the destination, and only there\n");
	if (qmp_string(state, "x-vferry-trace", NULL))
		fprintf(to, "what led to it is in %s\n", qmp_string(state, "x-vferry-trace", ""));
	if (!strcmp(outcome, "unknown"))
		fprintf(to, "start neither side; see `vferry resolve --help`\n");
}

/* ---- progress ---- */

/* In the first round nothing is known to be dirty: what it has not come to yet is left. */
static uint64_t bytes_left(struct json_object *ram, uint64_t total)
{
	uint64_t left = qmp_uint(ram, "remaining", 0);
	uint64_t seen = (qmp_uint(ram, "normal", 0) + qmp_uint(ram, "duplicate", 0)) *
			qmp_uint(ram, "page-size", 4096);

	if (left || qmp_uint(ram, "dirty-sync-count", 0) > 1 || seen > total)
		return left;
	return total - seen;
}

static void progress_line(struct follower *f, char *to, size_t size)
{
	struct json_object *ram = qmp_member(f->state, "ram");
	uint64_t total = qmp_uint(ram, "total", 0), left = bytes_left(ram, total);
	const char *status = qmp_string(f->state, "status", "none");
	struct json_object *mbps = qmp_member(ram, "mbps");
	char bar[BAR_WIDTH + 1], bytes[32], rate[32], pause[32];
	size_t full = total && left <= total ? (size_t) ((total - left) * BAR_WIDTH / total) : 0;
	uint64_t expected = qmp_uint(f->state, "x-vferry-expected-downtime-ns", UINT64_MAX);
	uint64_t throttle = qmp_uint(f->state, "cpu-throttle-percentage", 0);
	int n;

	for (size_t i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	n = snprintf(to, size, "round %-2llu [%s] %s left, %s/s, pause %s",
		     (unsigned long long) qmp_uint(ram, "dirty-sync-count", 0), bar,
		     tool_bytes_text(left, bytes),
		     tool_bytes_text(mbps ? (uint64_t) (json_object_get_double(mbps) * 1e6 / 8) : 0,
				     rate),
		     expected == UINT64_MAX ? "not known yet" : tool_time_text(expected, pause));
	if (throttle && n > 0 && (size_t) n < size)
		n += snprintf(to + n, size - (size_t) n, ", vCPUs slowed by %llu %%",
			      (unsigned long long) throttle);
	if (strcmp(status, "active") && n > 0 && (size_t) n < size)
		(void) snprintf(to + n, size - (size_t) n, ", %s", status);
}

static void show_progress(struct follower *f, bool end)
{
	uint64_t pass = qmp_uint(qmp_member(f->state, "ram"), "dirty-sync-count", 0);
	const char *status = qmp_string(f->state, "status", "");
	char line[256];

	progress_line(f, line, sizeof(line));
	if (f->terminal) {
		fprintf(stderr, "\r\033[K%s%s", line, end ? "\n" : "");
		if (pass != f->last_pass && f->last_pass && !end)
			fputc('\n', stderr);
	} else if (end || pass != f->last_pass || strcmp(status, f->last_status)) {
		fprintf(stderr, "%s\n", line);
	}
	(void) fflush(stderr);
	f->last_pass = pass;
	(void) snprintf(f->last_status, sizeof(f->last_status), "%s", status);
}

static void on_event(void *user, const char *name, struct json_object *data)
{
	struct follower *f = user;

	if (!strcmp(name, "SHUTDOWN") && qmp_bool(data, "guest"))
		f->powered_off = true;
}

/* ---- following ---- */

static bool pending(struct json_object *state)
{
	return !strcmp(qmp_string(state, "x-vferry-outcome", "pending"), "pending");
}

/* It ended, and the destination is about to tell of its interrupts: the machine bounds how long. */
static bool awaited(struct json_object *state)
{
	return qmp_bool(qmp_member(state, "x-vferry-interrupts"), "awaited");
}

static void on_signal(struct follower *f)
{
	struct signalfd_siginfo info;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (read(f->signal_fd, &info, sizeof(info)) != sizeof(info) || f->cancelled)
		return;
	f->cancelled = true;
	if (f->terminal)
		fputc('\n', stderr);
	(void) tool_fail(f->usage, 0, "cancelling");
	if (qmp_call(f->qmp, "migrate_cancel", NULL, NULL, &err))
		(void) tool_fail(f->usage, 0, "%s", err.message);
}

static int ask(struct follower *f, struct vferry_error *err)
{
	struct json_object *state;
	int ret = qmp_call(f->qmp, "query-migrate", NULL, &state, err);

	if (ret)
		return ret;
	(void) json_object_put(f->state);
	f->state = state;
	return 0;
}

static int wait_and_ask(struct follower *f, struct vferry_error *err)
{
	struct pollfd fds[] = {
		{ .fd = qmp_fd(f->qmp), .events = POLLIN },
		{ .fd = f->signal_fd, .events = POLLIN },
	};
	int ret = 0;

	(void) poll(fds, 2, POLL_MS);
	if (fds[1].revents)
		on_signal(f);
	if (fds[0].revents)
		ret = qmp_dispatch(f->qmp, err);
	return ret ? ret : ask(f, err);
}

/* The machine's process went away, and took the answer with it. */
static int no_answer(const struct tool_usage *usage, const struct vferry_error *err)
{
	return tool_fail(usage, TOOL_UNKNOWN, "%s: how the migration ended is not known; `vferry "
			 "status` tells what the destination has, and if it is prepared, `vferry resolve "
			 "--fenced source` runs it there", err->code ? err->message : "no answer");
}

static int lost(struct follower *f, const struct vferry_error *err)
{
	if (f->powered_off || (f->state && !pending(f->state)))
		return f->powered_off
			       ? tool_fail(f->usage, TOOL_CANCELLED, "the guest powered off")
			       : migration_exit_code(f->state);
	return no_answer(f->usage, err);
}

int migration_follow(const struct tool_usage *usage, struct qmp *qmp, bool progress,
		     struct json_object **ret_state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct follower f = {
		.usage = usage, .qmp = qmp, .terminal = isatty(STDERR_FILENO) == 1,
	};
	int code;
	sigset_t signals;
	int ret;

	tool_block_end_signals(&signals);
	f.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	qmp_set_events(qmp, on_event, &f);
	ret = ask(&f, &err);
	while (!ret && (pending(f.state) || awaited(f.state))) {
		if (progress && pending(f.state))
			show_progress(&f, false);
		ret = wait_and_ask(&f, &err);
	}
	if (f.state && progress)
		show_progress(&f, true);
	qmp_set_events(qmp, NULL, NULL);
	if (f.signal_fd >= 0)
		(void) close(f.signal_fd);
	code = ret ? lost(&f, &err) : migration_exit_code(f.state);
	*ret_state = f.state;
	return code;
}

static struct json_object *arguments_of(const struct migration_request *r)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "uri", json_object_new_string(r->uri));
	if (r->check)
		json_object_object_add(arguments, "x-vferry-check", json_object_new_boolean(true));
	if (r->parameters)
		json_object_object_add(arguments, "x-vferry-parameters",
				       json_object_get(r->parameters));
	return arguments;
}

int migration_start(struct qmp *qmp, const struct migration_request *request,
		    struct vferry_error *err)
{
	return qmp_call(qmp, "migrate", arguments_of(request), NULL, err);
}

int migration_command(const struct tool_usage *usage, const struct migration_request *request,
		      bool detach, bool json)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct json_object *state = NULL;
	int code = TOOL_DONE;
	struct qmp *qmp = NULL;
	int ret = qmp_open(request->control, &qmp, &err);

	if (!ret)
		ret = migration_start(qmp, request, &err);
	if (qmp && !request->check && (ret == -ECONNRESET || ret == -ETIMEDOUT))	/* it may have begun */
		code = no_answer(usage, &err);
	else if (ret)
		code = tool_fail(usage, TOOL_FAILED, "%s", err.code ? err.message : strerror(-ret));
	else if (!detach)
		code = migration_follow(usage, qmp, true, &state);
	if (state && json) {
		puts(json_object_to_json_string_ext(state, JSON_C_TO_STRING_PRETTY |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	} else if (state) {
		migration_print_end(code == TOOL_DONE ? stdout : stderr, state);
		if (code == TOOL_DONE && !request->check)
			migration_report(stdout, state);
	}
	(void) json_object_put(state);
	(void) qmp_close(qmp);
	return code;
}
