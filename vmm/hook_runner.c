/* SPDX-License-Identifier: MIT */
/* hook_runner.c - see hook_runner.h. Two numbers go there, an error object comes back. */
#define _GNU_SOURCE
#include "hook_runner.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "vm_internal.h"

struct hook_runner {
	pthread_mutex_t lock;		/* one question at a time */
	int fd;
	char *programs[HOOK_PROGRAMS_MAX];
	size_t count;
};

struct question {
	uint32_t program, hook;
};

struct answer {
	int ret;
	struct vferry_error error;
};

/* ---- the process ---- */

/* What asks may have been taken over: nothing that it says is believed. */
static void answer_one(const struct hook_runner *r, const struct question *q, struct answer *a)
{
	const char *word = vm_hook_word((enum vferry_hook) q->hook);

	if (q->program >= r->count || !word)
		a->ret = vferry_error_set(&a->error, -EPERM, "hook-not-allowed", NULL,
					  "there is no such hook");
	else
		a->ret = vm_hook_run(r->programs[q->program], word, &a->error);
}

static void serve(const struct hook_runner *r, int fd)
{
	struct question q;

	while (recv(fd, &q, sizeof(q), 0) == (ssize_t) sizeof(q)) {
		struct answer a = { 0 };

		answer_one(r, &q, &a);
		if (send(fd, &a, sizeof(a), MSG_NOSIGNAL) != (ssize_t) sizeof(a))
			return;
	}
}

/* ---- the side that asks ---- */

static int ask(struct hook_runner *r, const struct question *q, struct answer *a)
{
	ssize_t n;

	if (send(r->fd, q, sizeof(*q), MSG_NOSIGNAL) != (ssize_t) sizeof(*q))
		return -ECHILD;
	do {
		n = recv(r->fd, a, sizeof(*a), 0);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t) sizeof(*a) ? 0 : -ECHILD;
}

static uint32_t find(const struct hook_runner *r, const char *program)
{
	uint32_t i = 0;

	while (i < r->count && strcmp(r->programs[i], program))
		i++;
	return i;
}

int hook_runner_check(const struct hook_runner *r, const char *program, struct vferry_error *err)
{
	if (r && find(r, program) < r->count)
		return 0;
	return vferry_error_set(err, -EPERM, "hook-not-allowed", program,
				"hook %s: a machine in a sandbox runs only those that `vferry run "
				"--hook` named", program);
}

int hook_runner_run(struct hook_runner *r, const char *program, enum vferry_hook hook,
		    struct vferry_error *err)
{
	int ret = hook_runner_check(r, program, err);
	struct question q = { .hook = (uint32_t) hook };
	struct answer a;

	if (ret)
		return ret;
	q.program = find(r, program);
	(void) pthread_mutex_lock(&r->lock);
	ret = ask(r, &q, &a);
	(void) pthread_mutex_unlock(&r->lock);
	if (ret)
		return vferry_error_set(err, ret, "hook-failed", program,
					"hook %s: the process that runs hooks is gone", program);
	if (a.ret && err && !err->code)
		*err = a.error;
	return a.ret;
}

static int add_programs(struct hook_runner *r, const char *const *programs, size_t count)
{
	if (count > HOOK_PROGRAMS_MAX)
		return -E2BIG;
	for (; r->count < count; r->count++) {
		r->programs[r->count] = strdup(programs[r->count]);
		if (!r->programs[r->count])
			return -ENOMEM;
	}
	return 0;
}

int hook_runner_new(const char *const *programs, size_t count, struct hook_runner **ret_runner,
		    struct vferry_error *err)
{
	struct hook_runner *r = calloc(1, sizeof(*r));
	int pair[2], ret;
	pid_t pid;

	if (!r)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	r->fd = -1;
	(void) pthread_mutex_init(&r->lock, NULL);
	ret = add_programs(r, programs, count);
	if (!ret && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		ret = -errno;
	if (ret)
		goto fail;
	r->fd = pair[0];
	pid = fork();
	if (!pid) {
		(void) close(pair[0]);
		serve(r, pair[1]);
		_exit(0);
	}
	if (pid < 0)
		ret = -errno;
	(void) close(pair[1]);
	if (ret)
		goto fail;
	*ret_runner = r;
	return 0;
fail:
	(void) hook_runner_free(r);
	return vferry_error_set(err, ret, "hook-runner", NULL,
				"cannot start a process for hooks: %s", vferry_errno_name(ret));
}

struct hook_runner *hook_runner_free(struct hook_runner *r)
{
	if (!r)
		return NULL;
	if (r->fd >= 0)
		(void) close(r->fd);	/* it ends by itself then, and init takes care of it */
	for (size_t i = 0; i < r->count; i++)
		free(r->programs[i]);
	(void) pthread_mutex_destroy(&r->lock);
	free(r);
	return NULL;
}
