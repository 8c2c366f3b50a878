/* SPDX-License-Identifier: MIT */
/* test_control.c - the QMP server: framing, arguments, late answers, clients that go or do not read. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "control.h"
#include "control_check.h"
#include "control_commands.h"

struct fixture {
	struct control *control;
	struct control_call *late;	/* of the command `later` */
	unsigned calls;
};

static void do_echo(void *user, struct json_object *arguments, struct control_call *call)
{
	((struct fixture *) user)->calls++;
	control_return(call, json_object_get(arguments));
}

static void do_fail(void *user, struct json_object *arguments, struct control_call *call)
{
	(void) user;
	(void) arguments;
	control_fail(call, "no %s today", "luck");
}

static void do_later(void *user, struct json_object *arguments, struct control_call *call)
{
	(void) arguments;
	((struct fixture *) user)->late = call;
}

static const char *const words[] = { "red", "green", NULL };

static const struct control_argument inner[] = {
	{ "n", CONTROL_INT, false, -5, 5, "apples", NULL, NULL },
	{ 0 }
};

static const struct control_argument echo_arguments[] = {
	{ "text", CONTROL_STRING, true, 0, 0, NULL, NULL, NULL },
	{ "number", CONTROL_INT, true, 0, INT64_MAX - 1, NULL, NULL, NULL },
	{ "flag", CONTROL_BOOL, true, 0, 0, NULL, NULL, NULL },
	{ "colour", CONTROL_WORD, true, 0, 0, NULL, words, NULL },
	{ "object", CONTROL_OBJECT, true, 0, 0, NULL, NULL, inner },
	{ "list", CONTROL_LIST, true, 0, 0, NULL, NULL, inner },
	{ 0 }
};

static const struct control_command commands[] = {
	{ "echo", echo_arguments, do_echo },
	{ "fail", NULL, do_fail },
	{ "later", NULL, do_later },
	{ 0 }
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(control_new(commands, f, &f->control, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void) control_free(f->control);
	free(f);
	return 0;
}

/* Our end of a new client. */
static int connect_client(struct fixture *f)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(control_add_client(f->control, fds[1]), 0);
	return fds[0];
}

static void say(struct fixture *f, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t) strlen(text));
	for (int i = 0; i < 4; i++)
		control_dispatch(f->control);
}

static const char *hear(int fd)
{
	static char text[1 << 16];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int negotiated(struct fixture *f)
{
	int fd = connect_client(f);

	assert_non_null(strstr(hear(fd), "\"QMP\""));
	say(f, fd, "{\"execute\":\"qmp_capabilities\"}");
	assert_string_equal(hear(fd), "{\"return\":{}}\r\n");
	return fd;
}

static void expect(struct fixture *f, int fd, const char *request, const char *answer)
{
	say(f, fd, request);
	assert_string_equal(hear(fd), answer);
}

static void test_calls(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f);

	expect(f, fd, "{\"execute\":\"echo\"}", "{\"return\":{}}\r\n");
	expect(f, fd, "{\"execute\":\"echo\",\"arguments\":{\"number\":3},\"id\":\"x\"}",
	       "{\"return\":{\"number\":3},\"id\":\"x\"}\r\n");
	expect(f, fd, "{\"execute\":\"fail\"}",
	       "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no luck today\"}}\r\n");
	expect(f, fd, "{\"execute\":\"none\"}",
	       "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":"
	       "\"The command none has not been found\"}}\r\n");
	/* Two at once, and one in two pieces. */
	expect(f, fd, "{\"execute\":\"echo\"} {\"execute\":\"echo\"}",
	       "{\"return\":{}}\r\n{\"return\":{}}\r\n");
	expect(f, fd, "{\"exec", "");
	expect(f, fd, "ute\":\"echo\"}\n", "{\"return\":{}}\r\n");
	assert_int_equal(f->calls, 5);
	(void) close(fd);
}

static void test_arguments(void **state)
{
	static const struct { const char *json, *wrong; } cases[] = {
		{ "{\"text\":\"a\",\"number\":0,\"flag\":true,\"colour\":\"red\","
		  "\"object\":{\"n\":-5},\"list\":[{\"n\":5},{\"n\":0}]}", NULL },
		{ "{\"text\":5}", "Invalid parameter type for 'text', expected: string" },
		{ "{\"text\":null}", "Invalid parameter type for 'text', expected: string" },
		{ "{\"text\":\"a\\u0000b\"}", "Parameter 'text' contains a NUL" },
		{ "{\"number\":1.0}", "Invalid parameter type for 'number', expected: integer" },
		{ "{\"number\":-1}", "Parameter 'number' expects a value between 0 and "
		  "9223372036854775806" },
		{ "{\"number\":99999999999999999999}", "Parameter 'number' expects a value between 0 and "
		  "9223372036854775806" },
		{ "{\"flag\":1}", "Invalid parameter type for 'flag', expected: boolean" },
		{ "{\"colour\":\"blue\"}", "Parameter 'colour' does not accept value 'blue'" },
		{ "{\"object\":[]}", "Invalid parameter type for 'object', expected: object" },
		{ "{\"object\":{}}", "Parameter 'object.n' is missing" },
		{ "{\"object\":{\"n\":6}}",
		  "Parameter 'object.n' expects a value between -5 and 5 apples" },
		{ "{\"object\":{\"n\":1,\"m\":1}}", "Parameter 'object.m' is unexpected" },
		{ "{\"list\":{}}", "Invalid parameter type for 'list', expected: array" },
		{ "{\"list\":[5]}", "Invalid parameter type for 'list[0]', expected: object" },
		{ "{\"list\":[{\"n\":1},{}]}", "Parameter 'list[1].n' is missing" },
		{ "{\"other\":1}", "Parameter 'other' is unexpected" },
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json_object *o = json_tokener_parse(cases[i].json);
		char text[256] = "";
		int ret = control_check(echo_arguments, o, text, sizeof(text));

		assert_string_equal(text, cases[i].wrong ? cases[i].wrong : "");
		assert_int_equal(ret < 0, cases[i].wrong != NULL);
		(void) json_object_put(o);
	}
}

static void test_bad_json(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f);

	/* The rest of its line is not looked at; the next line is. */
	say(f, fd, "{\"execute\" oops {\"execute\":\"echo\"}\n{\"execute\":\"echo\"}\n");
	assert_non_null(strstr(hear(fd), "JSON parse error"));
	assert_int_equal(f->calls, 1);
	say(f, fd, "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
	    "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}}}}}}}}}}\n");
	assert_non_null(strstr(hear(fd), "JSON parse error"));
	expect(f, fd, "{\"execute\":\"echo\"}", "{\"return\":{}}\r\n");
	(void) close(fd);
}

/* Each is answered with an error, and the line behind it is as good as ever. */
static void test_hostile_lines(void **state)
{
	static const char *const lines[] = {
		"\xff\xfe\xfd", "{\"execute\":\"\xc0\xaf\"}", "{\"execute\":\"a\\ud800\"}",
		"GET / HTTP/1.1", "\x16\x03\x01", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "[]", "7", "\"x\"",
		"{\"execute\":7}", "{\"execute\":\"echo\",\"arguments\":[]}",
		"{\"execute\":\"echo\",\"arguments\":7}", "{\"execute\":\"echo\",\"surplus\":1}",
		"{\"execute\":\"echo\"", "{\"execute\":null}", "{}",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		int fd = negotiated(f);

		say(f, fd, lines[i]);
		say(f, fd, "}\n");	/* ends even those that were cut */
		if (!strstr(hear(fd), "\"error\"") && i != 13)
			fail_msg("line %zu was not refused", i);
		say(f, fd, "\n{\"execute\":\"echo\"}\n");
		if (!strstr(hear(fd), "\"return\":{}"))
			fail_msg("after line %zu it is deaf", i);
		(void) close(fd);
		control_dispatch(f->control);
	}
}

static void test_late_answer(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f);
	struct control_call *call;

	/* What comes behind a call that is open waits; other clients do not. */
	expect(f, fd, "{\"execute\":\"later\",\"id\":1}{\"execute\":\"echo\",\"id\":2}", "");
	call = f->late;
	assert_non_null(call);
	int other = negotiated(f);
	expect(f, other, "{\"execute\":\"echo\"}", "{\"return\":{}}\r\n");
	control_return(call, NULL);
	control_dispatch(f->control);
	assert_string_equal(hear(fd), "{\"return\":{},\"id\":1}\r\n{\"return\":{},\"id\":2}\r\n");
	(void) close(other);
	(void) close(fd);
}

static void test_client_goes_before_its_answer(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f);

	expect(f, fd, "{\"execute\":\"later\"}", "");
	(void) close(fd);
	for (int i = 0; i < 4; i++)
		control_dispatch(f->control);
	assert_int_equal(control_client_count(f->control), 0);
	control_return(f->late, NULL);	/* to nobody */
	/* And the server may go before the call ends. */
	fd = negotiated(f);
	expect(f, fd, "{\"execute\":\"later\"}", "");
	f->control = control_free(f->control);
	control_fail(f->late, "too late");
	(void) close(fd);
}

static void test_events(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f), fresh = connect_client(f);
	const char *text;

	(void) hear(fresh);
	control_event(f->control, "STOP", NULL);
	text = hear(fd);
	assert_non_null(strstr(text, "\"event\":\"STOP\""));
	assert_non_null(strstr(text, "\"timestamp\":{\"seconds\":"));
	assert_string_equal(hear(fresh), "");	/* has not negotiated */
	(void) close(fd);
	(void) close(fresh);
}

static void test_client_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f);
	char *text = malloc(60001);
	unsigned sent = 0;

	memset(text, 'x', 60000);
	text[60000] = '\0';
	while (control_client_count(f->control) && sent < 1000) {
		control_event(f->control, "NOISE", json_object_new_string(text));
		control_dispatch(f->control);
		sent++;
	}
	assert_int_equal(control_client_count(f->control), 0);
	assert_true((size_t) sent * 60000 > CONTROL_OUTPUT_MAX);
	assert_true((size_t) sent * 60000 < 3 * (size_t) CONTROL_OUTPUT_MAX);
	free(text);
	(void) close(fd);
}

static void test_too_many_clients(void **state)
{
	struct fixture *f = *state;
	int fds[CONTROL_CLIENTS_MAX], pair[2];

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = connect_client(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(control_add_client(f->control, pair[1]), -ENOSPC);
	assert_int_equal(recv(pair[0], (char [1]) { 0 }, 1, 0), 0);	/* closed */
	(void) close(pair[0]);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		(void) close(fds[i]);
}

static void test_too_long_a_request(void **state)
{
	struct fixture *f = *state;
	int fd = negotiated(f);
	char *text = malloc(CONTROL_REQUEST_MAX / 2 + 1);

	memset(text, 'a', CONTROL_REQUEST_MAX / 2);
	text[CONTROL_REQUEST_MAX / 2] = '\0';
	say(f, fd, "{\"execute\":\"");
	say(f, fd, text);
	assert_string_equal(hear(fd), "");
	say(f, fd, text);
	assert_non_null(strstr(hear(fd), "too long"));
	assert_int_equal(control_client_count(f->control), 0);
	free(text);
	(void) close(fd);
}

static void test_socket(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct control *second;
	struct stat st;
	int fd;

	(void) snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/vferry-test-control.%d",
			(int) getpid());
	assert_int_equal(control_listen(f->control, address.sun_path, &err), 0);
	assert_int_equal(stat(address.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	control_dispatch(f->control);
	assert_non_null(strstr(hear(fd), "\"QMP\""));
	/* In use: not taken. Left behind: replaced. */
	assert_int_equal(control_new(commands, f, &second, NULL), 0);
	assert_int_equal(control_listen(second, address.sun_path, &err), -EADDRINUSE);
	(void) control_free(second);
	(void) close(fd);
	f->control = control_free(f->control);
	assert_int_equal(stat(address.sun_path, &st), -1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	(void) close(fd);
	assert_int_equal(control_new(commands, f, &f->control, NULL), 0);
	assert_int_equal(control_listen(f->control, address.sun_path, &err), 0);
}

/* Every table of the machine's commands ends, and has what its kind needs. */
static void check_table(const struct control_argument *a)
{
	for (; a && a->name; a++) {
		if (a->kind == CONTROL_WORD)
			assert_non_null(a->words);
		if (a->kind == CONTROL_INT)
			assert_true(a->min < a->max);
		if (a->kind == CONTROL_OBJECT || a->kind == CONTROL_LIST)
			check_table(a->members);
	}
}

static void test_tables(void **state)
{
	(void) state;
	for (const struct control_command *c = vm_control_commands(); c->name; c++) {
		assert_non_null(c->run);
		check_table(c->arguments);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_calls, set_up, tear_down),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test_setup_teardown(test_bad_json, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hostile_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_late_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_client_goes_before_its_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_events, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_client_that_does_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_many_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_long_a_request, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_socket, set_up, tear_down),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
