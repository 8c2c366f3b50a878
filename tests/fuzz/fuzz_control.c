/* SPDX-License-Identifier: MIT */
/*
 * fuzz_control.c - any bytes to the control socket, with the machine's own table of commands.
 *
 * The commands themselves are replaced by ones that answer, fail, or answer later, and look at their
 * arguments: nothing outside the process is touched. The first byte says how the bytes are cut up.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "control_commands.h"

#define COMMANDS_MAX 64
#define LATE_MAX 4

#define LINES_AT 1u
#include "line_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	unsigned calls;
	struct control_call *late[LATE_MAX];
	size_t late_count;
};

static void run(void *user, struct json_object *arguments, struct control_call *call)
{
	struct state *s = user;

	assert(json_object_is_type(arguments, json_type_object));
	json_object_object_foreach(arguments, key, value) {
		assert(key[0]);
		(void) json_object_to_json_string(value);
	}
	if (s->calls % 5 == 4 && s->late_count < LATE_MAX)
		s->late[s->late_count++] = call;
	else if (s->calls % 3)
		control_return(call, json_object_get(arguments));
	else
		control_fail(call, "call %u", s->calls);
	s->calls++;
}

/* Everything that is sent is read, so that nobody is dropped for not reading. */
static void drain(int fd)
{
	char text[4096];

	while (recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0)
		continue;
}

static void feed(struct control *control, int fd, const uint8_t *data, size_t size, size_t step)
{
	for (size_t at = 0; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;

		if (send(fd, data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		control_dispatch(control);
		drain(fd);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
	struct control_command commands[COMMANDS_MAX] = { 0 };
	const struct control_command *from = vm_control_commands();
	struct state s = { 0 };
	struct control *control;
	int fds[2];

	for (size_t i = 0; from[i].name && i + 1 < COMMANDS_MAX; i++) {
		commands[i] = from[i];
		commands[i].run = run;
	}
	if (!size || control_new(commands, &s, &control, NULL))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	assert(!control_add_client(control, fds[1]));
	if (data[0] & 1)
		feed(control, fds[0], (const uint8_t *) hello, sizeof(hello) - 1, sizeof(hello));
	feed(control, fds[0], data + 1, size - 1, (size_t) data[0] / 2 * 16 + 1);
	for (size_t i = 0; i < s.late_count; i++) {
		control_return(s.late[i], NULL);
		control_dispatch(control);
		drain(fds[0]);
	}
	control_event(control, "STOP", NULL);
	s.late_count = 0;
	(void) close(fds[0]);
	control_dispatch(control);
	(void) control_free(control);
	/* Calls that were opened after the last round end without a client. */
	for (size_t i = 0; i < s.late_count; i++)
		control_return(s.late[i], NULL);
	return 0;
}
