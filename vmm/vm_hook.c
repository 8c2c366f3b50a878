/* SPDX-License-Identifier: MIT */
/*
 * vm_hook.c - the user's program for what the library cannot move: a switch port, a storage lock.
 *
 * It gets one argument, the moment. Its output is ours; its process group is killed when it takes
 * too long, since it stands in the way of a switchover.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vm_internal.h"

#define HOOK_TIMEOUT_MS 30000

extern char **environ;

const char *vm_hook_word(enum vferry_hook hook)
{
	static const char *const words[] = {
		[VFERRY_HOOK_BEFORE_SWITCHOVER] = "before-switchover",
		[VFERRY_HOOK_AFTER_COMMIT] = "after-commit",
		[VFERRY_HOOK_AFTER_ROLLBACK] = "after-rollback",
	};

	return (unsigned) hook < sizeof(words) / sizeof(words[0]) ? words[hook] : NULL;
}

static int spawn(const char *program, const char *word, pid_t *ret_pid)
{
	char *const argv[] = { (char *) program, (char *) word, NULL };
	posix_spawnattr_t attr;
	sigset_t none;
	int ret = posix_spawnattr_init(&attr);

	if (ret)
		return -ret;
	/* We block signals that it may want to get. */
	(void) sigemptyset(&none);
	(void) posix_spawnattr_setsigmask(&attr, &none);
	(void) posix_spawnattr_setpgroup(&attr, 0);
	(void) posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	ret = posix_spawn(ret_pid, program, NULL, &attr, argv, environ);
	(void) posix_spawnattr_destroy(&attr);
	return -ret;
}

/* Return: 1 it ended; 0 it did not in time. */
static int wait_for(pid_t pid)
{
	struct pollfd p = { .fd = (int) syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	int ret;

	if (p.fd < 0)
		return 1;	/* waitpid() will wait then */
	do {
		ret = poll(&p, 1, HOOK_TIMEOUT_MS);
	} while (ret < 0 && errno == EINTR);
	(void) close(p.fd);
	return ret != 0;
}

int vm_hook_run(const char *program, const char *word, struct vferry_error *err)
{
	bool late = false;
	int status, ret;
	pid_t pid;

	ret = spawn(program, word, &pid);
	if (ret)
		return vferry_error_set(err, ret, "hook-failed", program, "hook %s %s: %s", program,
					word, strerror(-ret));
	if (!wait_for(pid)) {
		late = true;
		(void) kill(-pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (late)
		return vferry_error_set(err, -ETIMEDOUT, "hook-failed", program,
					"hook %s %s took longer than %d s", program, word,
					HOOK_TIMEOUT_MS / 1000);
	if (WIFSIGNALED(status))
		return vferry_error_set(err, -ECANCELED, "hook-failed", program,
					"hook %s %s was killed by signal %d", program, word,
					WTERMSIG(status));
	if (WEXITSTATUS(status))
		return vferry_error_set(err, -ECANCELED, "hook-failed", program,
					"hook %s %s ended with %d", program, word,
					WEXITSTATUS(status));
	return 0;
}
