/* SPDX-License-Identifier: MIT */
/*
 * init.c - the first process of a lab machine: mounts what is needed, loads the modules of /modules in
 * the order of their names, runs each line of /commands, a program with its arguments, and powers off.
 * If there is a busybox, so are its tools. With LAB_LOG=boot (a word of the kernel's command line) what
 * the kernel said while it booted counts as said meanwhile by the first command, and warnings count as
 * complaints.
 *
 *	lab: run N COMMAND
 *	lab: kernel: ...	it complained meanwhile
 *	lab: exit N CODE	its exit code; 128 and more: the signal that ended it (a line of its own)
 *	lab: done
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define WORDS_MAX	64
#define SHOWN_MAX	40	/* lines of the kernel's log, after one command */

static const char *const mounts[][2] = {
	{ "proc", "/proc" },
	{ "sysfs", "/sys" },
	{ "devtmpfs", "/dev" },
	{ "tmpfs", "/tmp" },
	{ "debugfs", "/sys/kernel/debug" },
	{ "tracefs", "/sys/kernel/tracing" },
};

/* How a kernel says that something is wrong with itself. */
static const char *const complaints[] = {
	"WARNING:", "BUG:", "Oops", "Internal error", "Call trace", "Call Trace", "rcu: INFO:",
	"blocked for more than", "registration fails",
};

/* What it warns of because its processor is emulated, and slow, or because a module is not its own. */
static const char *const no_wonder[] = {
	"hrtimer: interrupt took", "perf: interrupt took", "clocksource: ", "RT throttling",
	"loading out-of-tree module", "module verification failed",
};

static bool has_one_of(const char *text, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

#define HAS_ONE_OF(text, words) has_one_of(text, words, sizeof(words) / sizeof((words)[0]))

static void load_modules(void)
{
	char path[32];

	for (unsigned int i = 0; i < 100; i++) {
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

static void loopback_up(void)
{
	struct ifreq interface = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &interface))
		printf("lab: lo: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* What the kernel logged since the last call: from the first complaint on, it is shown. Strict: and warnings. */
static void show_log(int log, bool strict)
{
	unsigned int shown = 0;
	bool wrong = false;
	char record[8192];

	for (;;) {
		ssize_t n = read(log, record, sizeof(record) - 1);
		unsigned long level;
		bool warned;
		char *text;

		if (n < 0 && errno == EPIPE)
			continue;	/* some were overwritten */
		if (n <= 0)
			return;
		record[n] = '\0';
		level = strtoul(record, NULL, 10);	/* 8 and more: it is not the kernel's */
		text = strchr(record, ';');
		if (!text)
			continue;
		text[strcspn(text, "\n")] = '\0';
		wrong |= HAS_ONE_OF(text, complaints);
		warned = strict && level <= LOG_WARNING && !HAS_ONE_OF(text, no_wonder);
		if ((wrong || warned) && shown++ < SHOWN_MAX)
			printf("lab: kernel: %s\n", text + 1);
	}
}

static int run(char *line)
{
	char *words[WORDS_MAX + 1] = { NULL };
	unsigned int count = 0;
	int status;
	pid_t pid;

	for (char *word = strtok(line, " "); word && count < WORDS_MAX; word = strtok(NULL, " "))
		words[count++] = word;
	if (!count)
		return 127;
	(void) fflush(NULL);
	pid = fork();
	if (!pid) {
		execvp(words[0], words);
		perror(words[0]);
		_exit(127);
	}
	/* Orphans come here, too. */
	for (;;) {
		pid_t one = wait(&status);

		if (one == pid)
			break;
		if (one < 0 && errno != EINTR)
			return 126;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	char busybox[] = "/bin/busybox", install[] = "/bin/busybox --install -s /bin";
	const char *log_from = getenv("LAB_LOG");
	bool strict = log_from && strcmp(log_from, "boot") == 0;
	unsigned int number = 0;
	char line[4096];
	FILE *commands;
	int log;

	(void) setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		(void) mkdir(mounts[i][1], 0755);
		if (mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL) && errno != EBUSY)
			printf("lab: %s: %s\n", mounts[i][1], strerror(errno));
	}
	(void) setenv("PATH", "/bin", 1);
	(void) setenv("HOME", "/tmp", 1);
	if (!access(busybox, X_OK))
		(void) run(install);
	load_modules();
	loopback_up();
	log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	commands = fopen("/commands", "re");
	if (log < 0 || !commands) {
		printf("lab: no %s\n", log < 0 ? "kernel log" : "commands");
	} else {
		if (!strict)
			(void) lseek(log, 0, SEEK_END);
		for (; fgets(line, sizeof(line), commands); number++) {
			int code;

			line[strcspn(line, "\n")] = '\0';
			printf("lab: run %u %s\n", number, line);
			code = run(line);
			show_log(log, strict);
			printf("\nlab: exit %u %d\n", number, code);
		}
		printf("lab: done\n");
	}
	(void) fflush(NULL);
	sync();
	(void) reboot(RB_POWER_OFF);
	return 1;
}
