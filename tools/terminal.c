/* SPDX-License-Identifier: MIT */
/* terminal.c - see terminal.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

#include "terminal.h"

#define ESCAPE		('a' & 0x1f)
#define ESCAPE_END	'x'

/* The process that waits for the end of the other, which is the end of the pipe. */
static void keep(const struct termios *before, int end)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	char byte;

	(void) prctl(PR_SET_NAME, "vferry-terminal");
	/* In the background it may write to the terminal, too; and what ends the other is no end for this. */
	for (int number = 1; number < NSIG; number++)
		(void) sigaction(number, &ignore, NULL);
	while (read(end, &byte, 1) < 0 && errno == EINTR)
		;
	(void) tcsetattr(STDIN_FILENO, TCSADRAIN, before);
	_exit(0);
}

static int start_keeper(struct terminal *t, const struct termios *before)
{
	int end[2], kept[2];
	pid_t pid;

	if (pipe2(end, O_CLOEXEC))
		return -errno;
	if (pipe2(kept, O_CLOEXEC)) {
		(void) close(end[0]);
		(void) close(end[1]);
		return -errno;
	}
	pid = fork();
	if (pid == 0) {
		(void) close(end[1]);
		(void) close(kept[0]);
		keep(before, end[0]);
	}
	(void) close(end[0]);
	(void) close(kept[1]);
	if (pid < 0) {
		(void) close(end[1]);
		(void) close(kept[0]);
		return -EAGAIN;
	}
	t->keeper = end[1];
	t->kept = kept[0];
	return 0;
}

static int take_terminal(struct terminal *t)
{
	struct termios before, raw;
	int r;

	/* In the background it is somebody else's. */
	if (tcgetattr(STDIN_FILENO, &before) || tcgetpgrp(STDIN_FILENO) != getpgrp()) {
		t->open = false;
		return 0;
	}
	r = start_keeper(t, &before);
	if (r < 0)
		return r;
	raw = before;
	cfmakeraw(&raw);
	raw.c_oflag = before.c_oflag;	/* lines of ours end as ever */
	return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) ? -errno : 0;
}

int terminal_open(struct terminal *t)
{
	int r;

	*t = (struct terminal) { .open = true, .keeper = -1, .kept = -1 };
	r = isatty(STDIN_FILENO) == 1 ? take_terminal(t) : 0;
	if (r < 0)
		terminal_close(t);
	return r;
}

/* Return: true, the machine is to end. */
static bool take_byte(struct terminal *t, char byte)
{
	if (t->keeper >= 0 && !t->escape && byte == ESCAPE) {
		t->escape = true;
		return false;
	}
	if (t->escape && byte == ESCAPE_END)
		return true;
	t->escape = false;
	t->bytes[t->count++] = byte;
	return false;
}

bool terminal_read(struct terminal *t)
{
	char bytes[sizeof(t->bytes)];
	ssize_t got = read(STDIN_FILENO, bytes, sizeof(t->bytes) - t->count);

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (got <= 0)
		t->open = false;
	for (ssize_t i = 0; i < got; i++)
		if (take_byte(t, bytes[i]))
			return true;
	return false;
}

void terminal_taken(struct terminal *t, size_t count)
{
	t->count -= count;
	memmove(t->bytes, t->bytes + count, t->count);
}

void terminal_close(struct terminal *t)
{
	char byte;

	t->open = false;
	if (t->keeper < 0)
		return;
	(void) close(t->keeper);
	while (read(t->kept, &byte, 1) < 0 && errno == EINTR)
		;
	(void) close(t->kept);
	t->keeper = t->kept = -1;
}
