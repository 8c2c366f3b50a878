/* SPDX-License-Identifier: MIT */
/*
 * processes.h - child processes of a command, in a private directory; all gone when it is freed.
 *
 * Each child runs this very program, in a process group of its own (Ctrl-C reaches the command only) and
 * dies with its parent. What it prints goes to a log in the directory. Threads: one.
 */
#ifndef TOOLS_PROCESSES_H
#define TOOLS_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>

#include <vferry/error.h>

#define PROCESSES_MAX 24

struct processes;

/** processes_new() - makes the directory, mode 0700. Return: 0; -errno. */
int processes_new(struct processes **ret_processes, struct vferry_error *err);
/* Ends all children, and removes the directory. NULL is fine; returns NULL. */
struct processes *processes_free(struct processes *p);
const char *processes_dir(const struct processes *p);
/**
 * processes_start() - and wait until it prints a line that begins with "ready"
 * @name: of its log; @argv: of the sub-command, NULL ends
 * @ret_line: that line; may be NULL
 * Return: 0; -ECHILD it ended; -ETIMEDOUT; -EINTR a signal to end came. Its log is in @err then.
 */
int processes_start(struct processes *p, const char *name, const char *const *argv, char *ret_line,
		    size_t size, struct vferry_error *err);
/* Ends the children whose names are @name, or begin with it and '-'; the youngest first. */
void processes_end(struct processes *p, const char *name);
/* The name of a child that is gone, or NULL. */
const char *processes_dead(struct processes *p);
/* Lets them work for so long. Return: 0; -EINTR as processes_sleep(); -ECHILD one of them ended. */
int processes_work(struct processes *p, unsigned ms, struct vferry_error *err);
/* Return: 0; -EINTR SIGINT or SIGTERM came (they must be blocked). */
int processes_sleep(unsigned ms);

#endif
