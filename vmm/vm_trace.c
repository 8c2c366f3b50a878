/* SPDX-License-Identifier: MIT */
/* vm_trace.c - see vm_trace.h. */
#define _GNU_SOURCE
#include "vm_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#define ACTIONS_MAX 32
#define OBJECT_BYTES 128
#define DELAY_MS_MAX 3600000u

enum action_kind { ACTION_STOP, ACTION_KILL, ACTION_FAIL, ACTION_DELAY };

struct action {
	size_t point;
	char object[OBJECT_BYTES];	/* "" = any */
	uint64_t nth;			/* 0 = every time */
	enum action_kind kind;
	uint32_t number;		/* errno or ms */
	uint64_t passed;		/* atomic */
};

struct vm_trace {
	struct action actions[ACTIONS_MAX];
	size_t action_count;
	pthread_mutex_t file_lock;	/* protects the file */
	FILE *file;			/* NULL = none */
	int failed_fd;			/* -1 = none */
	char *failed;			/* owned; its name */
	bool failed_is_ours;		/* made here, and nothing was written yet: goes at the end */
};

/* ---- reading actions ---- */

static int take_number(const char *text, uint64_t most, uint64_t *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno || *end || !*ret || *ret > most ? -EINVAL : 0;
}

static int take_errno(const char *name, uint32_t *ret)
{
	for (int code = 1; code < 256; code++)
		if (!strcmp(vferry_errno_name(code), name)) {
			*ret = (uint32_t) code;
			return 0;
		}
	return -EINVAL;
}

static int take_what(struct action *a, const char *what)
{
	uint64_t number;

	if (!strcmp(what, "stop") || !strcmp(what, "kill")) {
		a->kind = what[0] == 's' ? ACTION_STOP : ACTION_KILL;
		return 0;
	}
	if (!strncmp(what, "fail:", 5)) {
		a->kind = ACTION_FAIL;
		return vferry_trace_get_point(a->point)->can_fail ? take_errno(what + 5, &a->number)
								  : -EINVAL;
	}
	if (strncmp(what, "delay:", 6) || take_number(what + 6, DELAY_MS_MAX, &number))
		return -EINVAL;
	a->kind = ACTION_DELAY;
	a->number = (uint32_t) number;
	return 0;
}

/* @word is changed. */
static int take_action(struct action *a, char *word)
{
	char *what = strrchr(word, '='), *object, *nth;

	if (!what)
		return -EINVAL;
	*what++ = '\0';
	object = strchr(word, '@');
	/* An object may have colons ("its/0:tables"), a point has none. */
	nth = strrchr(object ? object : word, ':');
	if (nth && !take_number(nth + 1, UINT64_MAX, &a->nth))
		*nth = '\0';
	else if (nth && !object)
		return -EINVAL;
	if (object) {
		*object++ = '\0';
		if (strlen(object) >= sizeof(a->object))
			return -EINVAL;
		(void) snprintf(a->object, sizeof(a->object), "%s", object);
	}
	a->point = vferry_trace_find_point(word);
	return a->point ? take_what(a, what) : -ENOENT;
}

static int take_actions(struct vm_trace *trace, const char *text, struct vferry_error *err)
{
	char *copy = strdup(text), *save = NULL;
	int ret = copy ? 0 : -ENOMEM;

	for (char *word = ret ? NULL : strtok_r(copy, ",", &save); word && !ret;
	     word = strtok_r(NULL, ",", &save)) {
		char shown[200];

		(void) snprintf(shown, sizeof(shown), "%s", word);
		if (trace->action_count == ACTIONS_MAX)
			ret = vferry_error_set(err, -E2BIG, "trace-action", NULL,
					       "more than %d trace actions", ACTIONS_MAX);
		else if (take_action(&trace->actions[trace->action_count++], word))
			ret = vferry_error_set(err, -EINVAL, "trace-action", shown,
					       "'%s' is no trace action: expected POINT[@OBJECT][:N]= and "
					       "stop, kill, fail:ERRNO (of a point that can fail) or "
					       "delay:MS", shown);
	}
	free(copy);
	return ret;
}

/* ---- acting ---- */

static bool means(const struct action *a, const struct vferry_trace_event *event)
{
	size_t want = strlen(a->object), have = strlen(event->object);

	return a->point == event->number &&
	       (!want || (have >= want && !strcmp(event->object + have - want, a->object)));
}

static int act(const struct action *a)
{
	const struct timespec pause = {
		.tv_sec = a->number / 1000, .tv_nsec = (long) (a->number % 1000) * 1000000,
	};

	switch (a->kind) {
	case ACTION_STOP:
		(void) raise(SIGSTOP);
		return 0;
	case ACTION_KILL:
		(void) raise(SIGKILL);
		return 0;
	case ACTION_DELAY:
		(void) nanosleep(&pause, NULL);
		return 0;
	case ACTION_FAIL:
		return -(int) a->number;
	}
	return 0;
}

static void write_event(struct vm_trace *trace, const struct vferry_trace_event *event)
{
	const struct vferry_trace_point *point = event->point;
	struct json_object *to = json_object_new_object();

	json_object_object_add(to, "time-ns", json_object_new_uint64(event->time_ns));
	json_object_object_add(to, "point", json_object_new_string(point->name));
	json_object_object_add(to, "kind", json_object_new_string(vferry_trace_kind_name(point->kind)));
	json_object_object_add(to, "object", json_object_new_string(event->object));
	json_object_object_add(to, "thread", json_object_new_uint64(event->thread));
	for (size_t i = 0; i < VFERRY_TRACE_ARGUMENTS && point->arguments[i]; i++)
		json_object_object_add(to, point->arguments[i],
				       json_object_new_uint64(event->arguments[i]));
	(void) pthread_mutex_lock(&trace->file_lock);
	(void) fprintf(trace->file, "%s\n",
		       json_object_to_json_string_ext(to, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	/* What happens next may be the process's end. */
	(void) fflush(trace->file);
	(void) pthread_mutex_unlock(&trace->file_lock);
	(void) json_object_put(to);
}

static int on_event(void *user, const struct vferry_trace_event *event)
{
	struct vm_trace *trace = user;
	int ret = 0;

	if (trace->file)
		write_event(trace, event);
	for (size_t i = 0; i < trace->action_count; i++) {
		struct action *a = &trace->actions[i];
		uint64_t n;

		if (!means(a, event))
			continue;
		n = __atomic_add_fetch(&a->passed, 1, __ATOMIC_RELAXED);
		if ((!a->nth || a->nth == n) && !ret)
			ret = act(a);
	}
	return ret;
}

/* ---- life ---- */

static int open_failed(struct vm_trace *trace, const char *path)
{
	struct stat st;

	trace->failed = strdup(path);
	if (!trace->failed)
		return -ENOMEM;
	/* Only what was made here may be removed at the end. */
	trace->failed_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	trace->failed_is_ours = trace->failed_fd >= 0;
	if (!trace->failed_is_ours && errno == EEXIST)
		trace->failed_fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (trace->failed_fd < 0 || fstat(trace->failed_fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

static int open_files(struct vm_trace *trace, const struct vm_trace_options *options,
		      struct vferry_error *err)
{
	int ret;

	if (options->file && !(trace->file = fopen(options->file, "ae")))
		return vferry_error_set(err, -errno, "trace-file", options->file,
					"cannot write the trace to %s: %s", options->file,
					strerror(errno));
	ret = options->failed ? open_failed(trace, options->failed) : 0;
	return ret ? vferry_error_set(err, ret, "trace-file", options->failed,
				      "cannot write to %s, which is for traces of failed migrations: %s",
				      options->failed, strerror(-ret)) : 0;
}

int vm_trace_new(const struct vm_trace_options *options, struct vm_trace **ret_trace,
		 struct vferry_error *err)
{
	struct vm_trace *trace;
	int ret = 0;

	*ret_trace = NULL;
	if (!options->actions && !options->file && !options->failed)
		return 0;
	trace = calloc(1, sizeof(*trace));
	if (!trace)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	(void) pthread_mutex_init(&trace->file_lock, NULL);
	trace->failed_fd = -1;
	if (options->actions)
		ret = take_actions(trace, options->actions, err);
	if (!ret)
		ret = open_files(trace, options, err);
	if (ret)
		(void) vm_trace_free(trace);
	else
		*ret_trace = trace;
	return ret;
}

struct vm_trace *vm_trace_free(struct vm_trace *trace)
{
	if (!trace)
		return NULL;
	if (trace->file)
		(void) fclose(trace->file);
	if (trace->failed_fd >= 0) {
		if (trace->failed_is_ours)
			(void) unlink(trace->failed);
		(void) close(trace->failed_fd);
	}
	(void) pthread_mutex_destroy(&trace->file_lock);
	free(trace->failed);
	free(trace);
	return NULL;
}

int vm_trace_add_session(struct vm_trace *trace, struct vferry_session *session)
{
	return trace && (trace->file || trace->action_count)
		       ? vferry_session_set_trace(session, on_event, trace) : 0;
}

static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);
	off_t at = 0;

	if (ftruncate(fd, 0))
		return -errno;
	while (left) {
		ssize_t n = pwrite(fd, text + at, left, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		left -= (size_t) n;
	}
	return 0;
}

int vm_trace_write_failure(struct vm_trace *trace, struct vferry_session *session,
			   const char **ret_path)
{
	char *text;
	int ret;

	if (trace->failed_fd < 0)
		return -ENOENT;
	ret = vferry_session_dump_trace(session, VFERRY_TRACE_JSON, &text);
	if (ret)
		return ret;
	trace->failed_is_ours = false;
	ret = write_all(trace->failed_fd, text);
	free(text);
	if (!ret)
		*ret_path = trace->failed;
	return ret;
}
