/* SPDX-License-Identifier: MIT */
/* test_trust.c - who may be at the other end: on a socket pair, and as other users (root needed). */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <vferry/ram.h>
#include <vferry/session.h>
#include <vferry/trust.h>

#include "control.h"
#include "vfio-user/client.h"
#include "vfio-user/server.h"

#define OTHER 65534u
#define SAID_BYTES 2048

static char path[64];

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("not root: other users can't be played\n");
		skip();
	}
}

/* A process of user OTHER that connects to `path`; what it is sent goes to @said. Return: its pid. */
static pid_t connect_as_other(int said)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		char text[SAID_BYTES];
		int fd;
		ssize_t n;

		(void) strcpy(address.sun_path, path);
		if (setgid(OTHER) || setuid(OTHER))
			_exit(9);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *) &address, sizeof(address)))
			_exit(errno == EACCES ? 1 : 8);
		while ((n = read(fd, text, sizeof(text))) > 0) {
			(void) !write(said, text, (size_t) n);
			if (memchr(text, '\n', (size_t) n))
				break;
		}
		_exit(0);
	}
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void make_path(void)
{
	static unsigned count;

	(void) snprintf(path, sizeof(path), "/tmp/vferry-trust-%d-%u", (int) getpid(), count++);
}

static void test_own_user(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int pair[2], pipes[2];

	(void) state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(vferry_trust_check(NULL, pair[0], &err), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vferry_trust_check(NULL, pipes[0], &err), -ENOTSOCK);
	assert_int_equal(vferry_trust_mode(NULL), 0600);
	assert_int_equal(vferry_trust_mode(&(struct vferry_trust) { .count = 1 }), 0666);
	for (int i = 0; i < 2; i++) {
		(void) close(pair[i]);
		(void) close(pipes[i]);
	}
}

/* Somebody who is neither we nor root: seen from a process of another user, on a pair of ours. */
static void test_other_user(void **state)
{
	const struct vferry_trust named = { .count = 2, .uids = { 12345, OTHER } };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener, fd;
	pid_t pid;

	(void) state;
	need_root();
	make_path();
	(void) strcpy(address.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof(address)), 0);
	assert_int_equal(chmod(path, 0666) || listen(listener, 1), 0);
	pid = connect_as_other(1);
	fd = accept(listener, NULL, NULL);
	assert_int_equal(vferry_trust_check(NULL, fd, &err), -EACCES);
	assert_non_null(strstr(err.message, "65534"));
	assert_int_equal(vferry_trust_check(&named, fd, NULL), 0);
	(void) close(fd);
	assert_int_equal(end_of(pid), 0);
	(void) close(listener);
	(void) unlink(path);
}

/* ---- control socket ---- */

static const struct control_command commands[] = { { 0 } };

static void ask_control(const struct vferry_trust *trust, mode_t mode, char *said)
{
	struct control *control;
	int pipes[2];
	pid_t pid;

	make_path();
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(control_new(commands, NULL, &control, NULL), 0);
	control_set_trust(control, trust);
	assert_int_equal(control_listen(control, path, NULL), 0);
	if (mode)
		assert_int_equal(chmod(path, mode), 0);
	pid = connect_as_other(pipes[1]);
	while (!waitpid(pid, NULL, WNOHANG))
		control_dispatch(control);
	(void) close(pipes[1]);
	memset(said, 0, SAID_BYTES);
	assert_true(read(pipes[0], said, SAID_BYTES - 1) >= 0);
	(void) close(pipes[0]);
	(void) control_free(control);
}

static void test_control_socket(void **state)
{
	const struct vferry_trust named = { .count = 1, .uids = { OTHER } };
	char said[SAID_BYTES];
	mode_t mask;

	(void) state;
	need_root();
	ask_control(NULL, 0, said);	/* the file's mode keeps it out */
	assert_string_equal(said, "");
	ask_control(NULL, 0666, said);	/* the mode was changed: the check does */
	assert_non_null(strstr(said, "\"error\""));
	assert_non_null(strstr(said, "65534"));
	assert_null(strstr(said, "\"QMP\""));
	mask = umask(0);
	ask_control(&named, 0, said);
	(void) umask(mask);
	assert_non_null(strstr(said, "\"QMP\""));
}

/* ---- vfio-user ---- */

static const struct vf_vfio_user_server_ops no_ops = { .size = sizeof(no_ops) };

static struct vf_vfio_user_server *new_server(const struct vferry_trust *trust)
{
	const struct vf_vfio_user_server_options options = {
		.size = sizeof(options), .ops = &no_ops, .trust = trust,
	};
	struct vf_vfio_user_server *server;

	make_path();
	assert_int_equal(vf_vfio_user_server_new(&options, &server, NULL), 0);
	assert_int_equal(vf_vfio_user_server_listen(server, path, NULL), 0);
	return server;
}

static void test_device_turns_clients_away(void **state)
{
	struct vf_vfio_user_server *server;
	struct vferry_error err = VFERRY_ERROR_INIT;
	pid_t pid;

	(void) state;
	need_root();
	server = new_server(NULL);
	assert_int_equal(chmod(path, 0666), 0);
	pid = connect_as_other(1);
	while (!waitpid(pid, NULL, WNOHANG))
		assert_int_equal(vf_vfio_user_server_dispatch(server, &err), 0);
	assert_string_equal(err.id, "peer-not-trusted");
	vf_vfio_user_server_free(server);
}

/* A device that another user serves: VERSION is not even sent. */
static void test_client_checks_the_device(void **state)
{
	const struct vferry_trust named = { .count = 1, .uids = { OTHER } };
	struct vf_vfio_user_client_options options = { .size = sizeof(options) };
	struct vf_vfio_user_client *client;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ready[2];
	char waste;
	pid_t pid;

	(void) state;
	need_root();
	make_path();
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct vf_vfio_user_server_options o = { .size = sizeof(o), .ops = &no_ops };
		struct vf_vfio_user_server *server;

		if (setgid(OTHER) || setuid(OTHER) || vf_vfio_user_server_new(&o, &server, NULL) ||
		    vf_vfio_user_server_listen(server, path, NULL))
			_exit(9);
		(void) !write(ready[1], "x", 1);
		for (;;)
			(void) vf_vfio_user_server_dispatch(server, NULL);
	}
	assert_int_equal(read(ready[0], &waste, 1), 1);
	assert_int_equal(vf_vfio_user_client_connect(path, &options, &client, &err), -EACCES);
	assert_string_equal(err.id, "peer-not-trusted");
	options.trust = &named;
	assert_int_equal(vf_vfio_user_client_connect(path, &options, &client, NULL), 0);
	vf_vfio_user_client_free(client);
	(void) kill(pid, SIGKILL);
	(void) waitpid(pid, NULL, 0);
	(void) unlink(path);
}

/* ---- migration ---- */

static int stand_still(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static const struct vferry_machine_ops machine_ops = {
	.size = sizeof(machine_ops), .stop = stand_still, .start = stand_still,
};

static struct vferry_session *new_session(struct vferry_ram **ret_ram, const struct vferry_trust *trust)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_session *s;

	if (trust)
		p.trust = *trust;
	assert_int_equal(vferry_ram_new(ret_ram), 0);
	assert_int_equal(vferry_ram_create_block(*ret_ram, "ram0", 0, 1 << 20, 0, NULL), 0);
	assert_int_equal(vferry_session_new(&machine_ops, NULL, &s, NULL), 0);
	assert_int_equal(vferry_session_set_ram(s, *ret_ram), 0);
	assert_int_equal(vferry_session_set_machine(s, "test"), 0);
	assert_int_equal(vferry_session_set_parameters(s, &p, NULL), 0);
	return s;
}

static void test_destination_turns_sources_away(void **state)
{
	struct vferry_session *s;
	struct vferry_status status;
	struct vferry_ram *ram;
	char uri[80], said[SAID_BYTES] = "";
	int pipes[2];
	bool told = false;

	(void) state;
	need_root();
	make_path();
	(void) snprintf(uri, sizeof(uri), "unix:%s", path);
	s = new_session(&ram, NULL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vferry_session_accept(s, uri, NULL), 0);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(end_of(connect_as_other(pipes[1])), 0);
	assert_true(read(pipes[0], said, sizeof(said)) > 0);
	for (size_t i = 0; i + 5 <= sizeof(said); i++)
		told = told || !memcmp(said + i, "65534", 5);
	assert_true(told);
	do {	/* it is counted when the connection is closed */
		vferry_session_get_status(s, &status);
	} while (!status.turned_away);
	assert_string_equal(status.turned_away_error.id, "peer-not-trusted");
	(void) vferry_session_free(s);
	(void) vferry_ram_free(ram);
	(void) close(pipes[0]);
	(void) close(pipes[1]);
}

/* Whoever listens there may be anybody: nothing of the machine goes there. */
static void test_source_checks_the_destination(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct vferry_session *s;
	struct vferry_status status;
	struct vferry_ram *ram;
	char uri[80], waste;
	int ready[2];
	pid_t pid;

	(void) state;
	need_root();
	make_path();
	(void) snprintf(uri, sizeof(uri), "unix:%s", path);
	(void) strcpy(address.sun_path, path);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		int fd;

		if (setgid(OTHER) || setuid(OTHER))
			_exit(9);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (bind(fd, (struct sockaddr *) &address, sizeof(address)) || listen(fd, 4))
			_exit(9);
		(void) !write(ready[1], "x", 1);
		fd = accept(fd, NULL, NULL);
		_exit(read(fd, &waste, 1) > 0 ? 1 : 0);	/* a byte of ours: bad */
	}
	assert_int_equal(read(ready[0], &waste, 1), 1);
	s = new_session(&ram, NULL);
	assert_int_equal(vferry_session_migrate(s, uri, NULL), 0);
	assert_int_equal(vferry_session_wait(s, 0), 0);
	vferry_session_get_status(s, &status);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_FAILED);
	assert_string_equal(status.error.id, "peer-not-trusted");
	assert_int_equal(end_of(pid), 0);
	(void) vferry_session_free(s);
	(void) vferry_ram_free(ram);
	(void) unlink(path);
	(void) close(ready[0]);
	(void) close(ready[1]);
}

/* Only the file that was made is removed, and a link in the way is not followed. */
static void test_symbolic_links(void **state)
{
	struct vf_vfio_user_server *server;
	struct control *control;
	char other[80];
	struct stat st;

	(void) state;
	make_path();
	(void) snprintf(other, sizeof(other), "%s.target", path);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(control_new(commands, NULL, &control, NULL), 0);
	assert_int_equal(control_listen(control, path, NULL), -EEXIST);
	assert_int_equal(stat(other, &st), -1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(control_listen(control, path, NULL), 0);
	/* Another's file in its place stays. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(other, path), 0);
	(void) control_free(control);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(unlink(path), 0);
	server = new_server(NULL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(other, path), 0);
	vf_vfio_user_server_free(server);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_user),
		cmocka_unit_test(test_other_user),
		cmocka_unit_test(test_control_socket),
		cmocka_unit_test(test_device_turns_clients_away),
		cmocka_unit_test(test_client_checks_the_device),
		cmocka_unit_test(test_destination_turns_sources_away),
		cmocka_unit_test(test_source_checks_the_destination),
		cmocka_unit_test(test_symbolic_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
