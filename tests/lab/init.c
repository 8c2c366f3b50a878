/* SPDX-License-Identifier: MIT */
/*
 * init.c - the first process of a lab machine: mounts what is needed, loads the modules of /modules in
 * the order of their names, runs /scenarios with its own arguments, and powers off. The line
 * "lab: exit N" is the machine's result.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const mounts[][2] = {
	{ "proc", "/proc" },
	{ "sysfs", "/sys" },
	{ "devtmpfs", "/dev" },
	{ "debugfs", "/sys/kernel/debug" },
	{ "tracefs", "/sys/kernel/tracing" },
};

static void load_modules(void)
{
	char path[32];

	for (unsigned int i = 0; i < 32; i++) {
		int fd;

		(void) snprintf(path, sizeof(path), "/modules/%02u.ko", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0))
			printf("lab: %s: %s\n", path, strerror(errno));
		close(fd);
	}
}

static int run(char **argv)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 126;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	char *words[] = { "/scenarios", "/gic.scenario", argc > 1 ? argv[1] : NULL, NULL };

	for (unsigned int i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		(void) mkdir(mounts[i][1], 0755);
		if (mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL) && errno != EBUSY)
			printf("lab: %s: %s\n", mounts[i][1], strerror(errno));
	}
	load_modules();
	printf("lab: exit %d\n", run(words));
	(void) fflush(NULL);
	(void) reboot(RB_POWER_OFF);
	return 1;
}
