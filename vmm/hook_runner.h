/* SPDX-License-Identifier: MIT */
/*
 * hook_runner.h - a process that runs hooks for one that can't start programs any more.
 *
 * It is forked before the sandbox is entered, while there is one thread, and knows the programs that
 * the command line named: whoever asks it can have nothing else run, with no other words than those of
 * a hook. It ends when the asking side goes.
 *
 * Threads: hook_runner_run() from any; hooks run one after the other.
 */
#ifndef VMM_HOOK_RUNNER_H
#define VMM_HOOK_RUNNER_H

#include <stddef.h>

#include <vferry/error.h>
#include <vferry/session.h>

#define HOOK_PROGRAMS_MAX 16u

struct hook_runner;

/** hook_runner_new() - forks. @programs: paths, borrowed until it returns. Return: 0; -E2BIG; -errno. */
int hook_runner_new(const char *const *programs, size_t count, struct hook_runner **ret_runner,
		    struct vferry_error *err);
struct hook_runner *hook_runner_free(struct hook_runner *runner);	/* NULL is fine; returns NULL */
/** hook_runner_check() - may @program be run? Return: 0; -EPERM it is none of them, or @runner is NULL. */
int hook_runner_check(const struct hook_runner *runner, const char *program, struct vferry_error *err);
/**
 * hook_runner_run() - has @program told, and waits
 * Return: as vm_hook_run(); as hook_runner_check(); -ECHILD the process is gone.
 */
int hook_runner_run(struct hook_runner *runner, const char *program, enum vferry_hook hook,
		    struct vferry_error *err);

#endif
