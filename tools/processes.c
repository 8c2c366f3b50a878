/* SPDX-License-Identifier: MIT */
/* processes.c - see processes.h. */
#define _GNU_SOURCE
#include "processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_MS 20000
#define END_MS 5000
#define STEP_MS 10
#define ARGUMENTS_MAX 40

struct child {
	pid_t pid;		/* 0: reaped */
	char name[48];
	char *log;		/* owned */
};

struct processes {
	char dir[200];
	struct child children[PROCESSES_MAX];
	size_t count;
};

int processes_sleep(unsigned ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L };
	sigset_t signals;

	(void) sigemptyset(&signals);
	(void) sigaddset(&signals, SIGINT);
	(void) sigaddset(&signals, SIGTERM);
	return sigtimedwait(&signals, NULL, &time) > 0 ? -EINTR : 0;
}

int processes_new(struct processes **ret_processes, struct vferry_error *err)
{
	struct processes *p = calloc(1, sizeof(*p));
	const char *base = getenv("XDG_RUNTIME_DIR");

	if (!p)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	/* A socket's path has 107 bytes, so a long base is of no use. */
	if (!base || strlen(base) > 40 || access(base, W_OK))
		base = "/tmp";
	(void) snprintf(p->dir, sizeof(p->dir), "%s/vferry-XXXXXX", base);
	if (!mkdtemp(p->dir)) {
		int code = -errno;

		free(p);
		return vferry_error_set(err, code, "directory", NULL,
					"cannot make a directory in %s: %s", base, strerror(-code));
	}
	*ret_processes = p;
	return 0;
}

const char *processes_dir(const struct processes *p)
{
	return p->dir;
}

static bool reap(struct child *c)
{
	if (c->pid && waitpid(c->pid, NULL, WNOHANG) == c->pid)
		c->pid = 0;
	return !c->pid;
}

const char *processes_dead(struct processes *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (reap(&p->children[i]))
			return p->children[i].name;
	return NULL;
}

int processes_work(struct processes *p, unsigned ms, struct vferry_error *err)
{
	const char *dead;

	if (processes_sleep(ms))
		return vferry_error_set(err, -EINTR, "interrupted", NULL, "interrupted");
	dead = processes_dead(p);
	return dead ? vferry_error_set(err, -ECHILD, "child-ended", dead, "the %s is gone", dead) : 0;
}

static void pause_ms(unsigned ms)
{
	const struct timespec time = { .tv_nsec = ms * 1000000L };

	(void) nanosleep(&time, NULL);
}

/* The youngest first: a machine lets go of its devices before they go. */
static void end_child(struct child *c)
{
	if (reap(c))
		return;
	(void) kill(c->pid, SIGTERM);
	for (unsigned waited = 0; waited < END_MS && !reap(c); waited += STEP_MS)
		pause_ms(STEP_MS);
	if (!c->pid)
		return;
	(void) kill(c->pid, SIGKILL);
	(void) waitpid(c->pid, NULL, 0);
	c->pid = 0;
}

static bool is_of(const struct child *c, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(c->name, name, length) && (!c->name[length] || c->name[length] == '-');
}

void processes_end(struct processes *p, const char *name)
{
	size_t kept = 0;

	for (size_t i = p->count; i-- > 0;)
		if (is_of(&p->children[i], name))
			end_child(&p->children[i]);
	for (size_t i = 0; i < p->count; i++) {
		if (is_of(&p->children[i], name))
			free(p->children[i].log);
		else
			p->children[kept++] = p->children[i];
	}
	p->count = kept;
}

static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			(void) unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void) closedir(dir);
	(void) rmdir(path);
}

struct processes *processes_free(struct processes *p)
{
	if (!p)
		return NULL;
	while (p->count) {
		end_child(&p->children[--p->count]);
		free(p->children[p->count].log);
	}
	remove_dir(p->dir);
	free(p);
	return NULL;
}

static void become(const char *log, const char *const *argv)
{
	char *arguments[ARGUMENTS_MAX] = { (char *) "vferry" };
	sigset_t none;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int null = open("/dev/null", O_RDONLY);

	for (size_t i = 0; argv[i] && i + 2 < ARGUMENTS_MAX; i++)
		arguments[i + 1] = (char *) argv[i];
	(void) setpgid(0, 0);
	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void) sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
	if (fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
	    dup2(fd, STDERR_FILENO) < 0)
		_exit(3);
	(void) execv("/proc/self/exe", arguments);
	_exit(3);
}

/* A line of the log that begins with "ready", or the last line. */
static bool read_ready(const char *log, char *line, size_t size)
{
	FILE *f = fopen(log, "re");
	bool found = false;

	line[0] = '\0';
	while (f && !found && fgets(line, (int) size, f)) {
		size_t length = strcspn(line, "\n");

		found = line[length] == '\n' && !strncmp(line, "ready", 5);
		line[length] = '\0';
	}
	if (f)
		(void) fclose(f);
	return found;
}

static int wait_ready(struct child *c, char *ret_line, size_t size, struct vferry_error *err)
{
	char line[400];

	for (unsigned waited = 0; waited < READY_MS; waited += STEP_MS) {
		bool ended = reap(c);

		if (read_ready(c->log, line, sizeof(line))) {
			if (ret_line)
				(void) snprintf(ret_line, size, "%s", line);
			return 0;
		}
		if (ended)
			return vferry_error_set(err, -ECHILD, "child-ended", c->name,
						"%s ended: %s", c->name, line);
		if (processes_sleep(STEP_MS))
			return vferry_error_set(err, -EINTR, "interrupted", NULL, "interrupted");
	}
	return vferry_error_set(err, -ETIMEDOUT, "child-timeout", c->name,
				"%s was not ready within %d s: %s", c->name, READY_MS / 1000, line);
}

int processes_start(struct processes *p, const char *name, const char *const *argv, char *ret_line,
		    size_t size, struct vferry_error *err)
{
	struct child *c = &p->children[p->count];
	pid_t pid;

	if (p->count == PROCESSES_MAX)
		return vferry_error_set(err, -E2BIG, "too-many", name, "too many processes");
	*c = (struct child) { 0 };
	(void) snprintf(c->name, sizeof(c->name), "%s", name);
	if (asprintf(&c->log, "%s/%s.log", p->dir, name) < 0)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");
	pid = fork();
	if (pid < 0) {
		free(c->log);
		return vferry_error_set(err, -errno, "fork", name, "cannot start %s: %s", name,
					strerror(errno));
	}
	if (!pid)
		become(c->log, argv);
	c->pid = pid;
	p->count++;
	return wait_ready(c, ret_line, size, err);
}
