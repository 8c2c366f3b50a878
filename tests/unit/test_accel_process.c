/* SPDX-License-Identifier: MIT */
/*
 * test_accel_process.c - `vferry device` as a process of its own: command line, `ready`, signals,
 * and how little memory a large state takes.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/device_cmd.h"
#include "vfio-user/client.h"

#define ARGS_MAX 16
#define RESIDENT_MAX_KIB (64 * 1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char folder[] = "/tmp/vferry-accel-XXXXXX";

struct process {
	pid_t pid;
	int out;	/* its standard output */
	char path[64];
};

static void start(struct process *p, const char *name, const char *const *args)
{
	char *argv[ARGS_MAX + 6] = { (char *) "device", (char *) "--model", (char *) "accel",
				     (char *) "--socket", p->path };
	int pipes[2], count = 5;

	snprintf(p->path, sizeof(p->path), "%s/%s", folder, name);
	for (; *args; args++)
		argv[count++] = (char *) *args;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	fflush(NULL);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (!p->pid) {
		(void) dup2(pipes[1], STDOUT_FILENO);
		(void) close(pipes[0]);
		_exit(vf_device_main(count, argv));
	}
	close(pipes[1]);
	p->out = pipes[0];
}

static void await_ready(struct process *p)
{
	struct pollfd poll_fd = { .fd = p->out, .events = POLLIN };
	char text[16] = "";

	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_int_equal(read(p->out, text, sizeof(text) - 1), 6);
	assert_string_equal(text, "ready\n");
	assert_int_equal(access(p->path, F_OK), 0);
}

static int end_of(struct process *p)
{
	int status;

	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	close(p->out);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static struct vf_vfio_user_client *join(struct process *p)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_user_client *client;

	if (vf_vfio_user_client_connect(p->path, NULL, &client, &err))
		fail_msg("%s", err.message);
	return client;
}

static long peak_kib(pid_t pid)
{
	char path[64], line[128];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
			break;
	fclose(f);
	assert_true(kib > 0);
	return kib;
}

static int run_with(int argc, const char **argv)
{
	int status, null;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		(void) dup2(null, STDOUT_FILENO);
		(void) dup2(null, STDERR_FILENO);
		_exit(vf_device_main(argc, (char **) argv));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_usage(void **state)
{
	const char *bad[][6] = {
		{ "device" },
		{ "device", "--model", "accel" },
		{ "device", "--socket", "/nowhere/x" },
		{ "device", "--model", "other", "--socket", "/nowhere/x" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--what" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "word" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--state-size=1000" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--state-size=0" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--state-size=64T" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--dirty-rate=fast" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--seed=-1" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--msix-vectors=17" },
		{ "device", "--model=accel", "--socket=/nowhere/x", "--p2p=yes" },
		{ "device", "--model=accel", "--socket" },
	};
	const char *script[] = { "device", "--model=accel", "--socket=/nowhere/x",
				 "--script=/nowhere/s" };
	const char *socket[] = { "device", "--model=accel", "--socket=/nowhere/x" };
	const char *help[] = { "device", "--help" };

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int argc = 0;

		while (argc < 6 && bad[i][argc])
			argc++;
		if (run_with(argc, bad[i]) != 1)
			fail_msg("usage %zu was taken", i);
	}
	assert_int_equal(run_with(4, script), 2);
	assert_int_equal(run_with(3, socket), 3);
	assert_int_equal(run_with(2, help), 0);
}

static void test_terminated(void **state)
{
	const char *const args[] = { "--dma-log", "off", "--seed", "0x10", NULL };
	struct vf_vfio_user_client *client;
	struct process p;
	uint64_t seed = 0;

	(void) state;
	start(&p, "term", args);
	await_ready(&p);
	client = join(&p);
	assert_int_equal(vf_vfio_user_client_region_read(client, 0, 0x60, &seed, 8, NULL), 0);
	assert_int_equal(seed, 16);
	kill(p.pid, SIGTERM);
	assert_int_equal(end_of(&p), 0);
	assert_int_equal(access(p.path, F_OK), -1);
	vf_vfio_user_client_free(client);
}

static void test_once(void **state)
{
	const char *const args[] = { "--once", NULL };
	struct process p;

	(void) state;
	start(&p, "once", args);
	await_ready(&p);
	vf_vfio_user_client_free(join(&p));
	assert_int_equal(end_of(&p), 0);
	assert_int_equal(access(p.path, F_OK), -1);
}

/* Up to @most bytes of state from one process to the other. Return: bytes. */
static uint64_t stream(struct vf_vfio_user_client *from, struct vf_vfio_user_client *to,
		       uint64_t most)
{
	uint64_t total = 0;
	size_t size = 4 << 20;
	void *map;
	ssize_t got = 1;

	assert_int_equal(vf_vfio_user_client_mig_buffer_open(from, size, &map, NULL, NULL), 0);
	while (total < most && (got = vf_vfio_user_client_mig_buffer_read(from, 0, size, NULL)) > 0) {
		for (ssize_t at = 0; at < got; at += 1 << 20) {
			size_t len = got - at < 1 << 20 ? (size_t) (got - at) : 1 << 20;

			assert_int_equal(vf_vfio_user_client_mig_data_write(to,
					 (uint8_t *) map + at, len, NULL), 0);
		}
		total += (uint64_t) got;
	}
	assert_true(got >= 0);
	return total;
}

/* VFERRY_TEST_STATE_MIB=8192 moves all of 8 GiB; without it, a part of it and all of less. */
static void move(const char *size, uint64_t most, bool whole)
{
	const char *const args[] = { "--state-size", size, "--dirty-rate", "1G/s", NULL };
	struct vf_vfio_user_client *from, *to;
	struct process a, b;
	uint64_t total;

	start(&a, "from", args);
	start(&b, "to", args);
	await_ready(&a);
	await_ready(&b);
	from = join(&a);
	to = join(&b);
	usleep(20000);
	assert_int_equal(vf_vfio_user_client_set_state(to, VF_VFIO_STATE_RESUMING, NULL), 0);
	assert_int_equal(vf_vfio_user_client_set_state(from, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	total = stream(from, to, most);
	assert_int_equal(vf_vfio_user_client_set_state(to, VF_VFIO_STATE_STOP, NULL),
			 whole ? 0 : -EINVAL);
	print_message("%llu MiB of %s moved; at most %ld and %ld KiB resident\n",
		      (unsigned long long) (total >> 20), size, peak_kib(a.pid), peak_kib(b.pid));
	if (!SANITIZED) {
		assert_true(peak_kib(a.pid) < RESIDENT_MAX_KIB);
		assert_true(peak_kib(b.pid) < RESIDENT_MAX_KIB);
	}
	vf_vfio_user_client_free(from);
	vf_vfio_user_client_free(to);
	kill(a.pid, SIGTERM);
	kill(b.pid, SIGTERM);
	assert_int_equal(end_of(&a), 0);
	assert_int_equal(end_of(&b), 0);
}

static void test_large_state(void **state)
{
	const char *mib = getenv("VFERRY_TEST_STATE_MIB");
	char size[32];

	(void) state;
	move("8G", 128ull << 20, false);
	snprintf(size, sizeof(size), "%sM", mib ? mib : "128");
	move(size, UINT64_MAX, true);
}

static int make_folder(void **state)
{
	(void) state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void) state;
	return rmdir(folder);	/* sockets left behind would keep it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_terminated),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_large_state),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
