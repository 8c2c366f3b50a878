/* SPDX-License-Identifier: MIT */
/* test_device_script.c - the language of device scripts: what it takes, refuses, and does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <errno.h>

#include "devices/script.h"
#include "vfio-user/protocol.h"

static struct vf_script parse(const char *text)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script s;

	if (vf_script_parse(&s, text, strlen(text), "test", &err))
		fail_msg("%s", err.message);
	return s;
}

static void test_arcs(void **state)
{
	struct vf_script s = parse("# a comment\n"
				   "\n"
				   "on RESUMING->STOP delay 50ms\r\n"
				   "\ton STOP->STOP_COPY fail EIO error-state   # why not\n"
				   "on *->RUNNING_P2P fail times 2\n"
				   "on RUNNING->* delay 1.5s hang");
	struct vf_script_action a;

	(void) state;
	assert_int_equal(s.rule_count, 4);
	a = vf_script_on_arc(&s, VF_VFIO_STATE_RESUMING, VF_VFIO_STATE_STOP);
	assert_int_equal(a.delay_ns, 50000000);
	assert_int_equal(a.what, VF_SCRIPT_GO_ON);
	a = vf_script_on_arc(&s, VF_VFIO_STATE_STOP, VF_VFIO_STATE_STOP_COPY);
	assert_int_equal(a.what, VF_SCRIPT_FAIL);
	assert_int_equal(a.code, -EIO);
	assert_true(a.error_state);
	for (int i = 0; i < 3; i++) {
		a = vf_script_on_arc(&s, VF_VFIO_STATE_STOP, VF_VFIO_STATE_RUNNING_P2P);
		assert_int_equal(a.what, i < 2 ? VF_SCRIPT_FAIL : VF_SCRIPT_GO_ON);
	}
	a = vf_script_on_arc(&s, VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_RUNNING_P2P);
	assert_int_equal(a.what, VF_SCRIPT_HANG);
	assert_int_equal(a.delay_ns, 1500000000);
	a = vf_script_on_arc(&s, VF_VFIO_STATE_STOP, VF_VFIO_STATE_RUNNING);
	assert_int_equal(a.what, VF_SCRIPT_GO_ON);
	vf_script_done(&s);
}

static void test_messages(void **state)
{
	struct vf_script s = parse("on message REGION_READ 3 hang\n"
				   "on message REGION_READ delay 1us\n"
				   "on message DEVICE_RESET disconnect\n"
				   "on message DMA_MAP exit times 1\n"
				   "on message BUFFER_READ fail\n");

	(void) state;
	for (int i = 1; i <= 4; i++) {
		struct vf_script_action a = vf_script_on_message(&s, 9);

		assert_int_equal(a.what, i == 3 ? VF_SCRIPT_HANG : VF_SCRIPT_GO_ON);
		assert_int_equal(a.delay_ns, i == 3 ? 0 : 1000);
	}
	assert_int_equal(vf_script_on_message(&s, 13).what, VF_SCRIPT_DISCONNECT);
	assert_int_equal(vf_script_on_message(&s, 13).what, VF_SCRIPT_DISCONNECT);
	assert_int_equal(vf_script_on_message(&s, 2).what, VF_SCRIPT_EXIT);
	assert_int_equal(vf_script_on_message(&s, 2).what, VF_SCRIPT_GO_ON);
	assert_int_equal(vf_script_on_message(&s, 10).what, VF_SCRIPT_GO_ON);
	assert_int_equal(vf_script_on_message(&s, 4000).what, VF_SCRIPT_GO_ON);
	assert_int_equal(vf_script_on_message(&s, UINT32_MAX).what, VF_SCRIPT_GO_ON);
	assert_int_equal(vf_script_on_message(&s, VF_VFIO_USER_BUFFER_READ).what, VF_SCRIPT_FAIL);
	vf_script_done(&s);
}

static void test_data(void **state)
{
	struct vf_script s = parse("on data-read after 1MiB fail\n"
				   "on data-write fail ENOSPC error-state times 1\n"
				   "truncate data at 4KiB\n"
				   "reinit at 2MiB\n"
				   "limit data-read 100MiB/s\nlimit data-write 1000\n");
	struct vf_script_action a;

	(void) state;
	assert_int_equal(vf_script_on_data(&s, false, 0, 1 << 20).what, VF_SCRIPT_GO_ON);
	a = vf_script_on_data(&s, false, 1, 1 << 20);
	assert_int_equal(a.what, VF_SCRIPT_FAIL);
	assert_int_equal(a.code, -EIO);
	assert_false(a.error_state);
	a = vf_script_on_data(&s, true, 0, 1);
	assert_int_equal(a.code, -ENOSPC);
	assert_true(a.error_state);
	assert_int_equal(vf_script_on_data(&s, true, 0, 1).what, VF_SCRIPT_GO_ON);
	assert_int_equal(s.truncate_at, 4096);
	assert_int_equal(s.reinit_at, 2 << 20);
	assert_int_equal(s.read_rate, 100 << 20);
	assert_int_equal(s.write_rate, 1000);
	vf_script_done(&s);
}

static void test_nothing(void **state)
{
	struct vf_script s = parse("");

	(void) state;
	assert_int_equal(s.truncate_at, UINT64_MAX);
	assert_int_equal(s.reinit_at, UINT64_MAX);
	assert_int_equal(vf_script_on_arc(&s, 1, 2).what, VF_SCRIPT_GO_ON);
	vf_script_done(&s);
}

/* Beside what is done, in front of it. */
static void test_notices(void **state)
{
	struct vf_script s = parse("on message DEVICE_RESET notice error\n"
				   "on message DMA_MAP delay 1ms notice request fail EIO\n"
				   "on RUNNING->* notice request times 1\n"
				   "on data-read notice error exit\n");
	struct vf_script_action a = vf_script_on_message(&s, 13);

	(void) state;
	assert_true(a.notice == VF_SCRIPT_ERROR && a.what == VF_SCRIPT_GO_ON && a.delay_ns == 0);
	a = vf_script_on_message(&s, 2);
	assert_true(a.notice == VF_SCRIPT_REQUEST && a.what == VF_SCRIPT_FAIL && a.code == -EIO);
	assert_int_equal(a.delay_ns, 1000000);
	a = vf_script_on_arc(&s, VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_STOP);
	assert_true(a.notice == VF_SCRIPT_REQUEST && a.what == VF_SCRIPT_GO_ON);
	a = vf_script_on_arc(&s, VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_STOP);
	assert_int_equal(a.notice, VF_SCRIPT_NO_NOTICE);
	a = vf_script_on_data(&s, false, 0, 1);
	assert_true(a.notice == VF_SCRIPT_ERROR && a.what == VF_SCRIPT_EXIT);
	vf_script_done(&s);
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"jump", "on", "on STOP", "on STOP->", "on ->STOP fail", "on STOP->NOWHERE fail",
		"on stop->running fail", "on STOP->RUNNING", "on STOP->RUNNING sleep 5ms",
		"on STOP->RUNNING delay", "on STOP->RUNNING delay 5", "on STOP->RUNNING delay -5ms",
		"on STOP->RUNNING delay 3601s", "on STOP->RUNNING delay 0.0001ns",
		"on STOP->RUNNING delay 99999999999999999999s", "on STOP->RUNNING fail EWHAT",
		"on STOP->RUNNING notice", "on STOP->RUNNING notice fail",
		"on STOP->RUNNING notice error request", "on STOP->RUNNING fail notice error",
		"on STOP->RUNNING fail error-state EIO", "on STOP->RUNNING fail EIO delay 5ms",
		"on STOP->RUNNING hang hang", "on STOP->RUNNING times 3",
		"on STOP->RUNNING fail times 0", "on STOP->RUNNING fail times x",
		"on STOP->RUNNING fail EIO more", "on message", "on message 3 fail",
		"on message WHAT fail", "on message REGION_READ", "on message REGION_READ 0 fail",
		"on message REGION_READ 1 fail times 2", "on message REGION_READ fail EIO error-state",
		"on data-read after fail", "on data-read after 1XiB fail", "on data-look fail",
		"truncate at 5", "truncate data 5", "truncate data at", "truncate data at 5 6",
		"truncate data at 20000000000G", "reinit 5", "limit data-read", "limit 5",
		"limit data-read 0", "limit data-read fast", "on STOP->RUNNING delay 1.s",
		"on STOP->RUNNING delay 1.2345s", "truncate data at 1.5",
		"a b c d e f g h i j k l m n o p q r s t",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_script s;
		char text[300];

		snprintf(text, sizeof(text), "# first\n\n%s\n", bad[i]);
		if (vf_script_parse(&s, text, strlen(text), "file", &err) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_string_equal(err.id, "script-bad");
		assert_int_equal(strncmp(err.message, "file:3: ", 8), 0);
		assert_null(s.rules);
	}
}

static void test_bounds(void **state)
{
	char *text = malloc(VF_SCRIPT_BYTES_MAX + 2);
	struct vf_script s;
	size_t at = 0;

	(void) state;
	assert_non_null(text);
	memset(text, '\n', VF_SCRIPT_BYTES_MAX + 1);
	assert_int_equal(vf_script_parse(&s, text, VF_SCRIPT_BYTES_MAX, "f", NULL), 0);
	vf_script_done(&s);
	assert_int_equal(vf_script_parse(&s, text, VF_SCRIPT_BYTES_MAX + 1, "f", NULL), -E2BIG);
	for (unsigned int i = 0; i < VF_SCRIPT_RULES_MAX; i++, at += 14)
		memcpy(text + at, "on *->* fail \n", 14);
	assert_int_equal(vf_script_parse(&s, text, at, "f", NULL), 0);
	vf_script_done(&s);
	memcpy(text + at, "on *->* fail \n", 14);
	assert_int_equal(vf_script_parse(&s, text, at + 14, "f", NULL), -E2BIG);
	memset(text, ' ', 256);
	assert_int_equal(vf_script_parse(&s, text, 255, "f", NULL), 0);
	vf_script_done(&s);
	assert_int_equal(vf_script_parse(&s, text, 256, "f", NULL), -EINVAL);
	assert_int_equal(vf_script_parse(&s, "reinit\0at 5", 11, "f", NULL), -EINVAL);
	free(text);
}

static void test_files(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char path[] = "/tmp/vferry-script-XXXXXX";
	int fd = mkstemp(path);
	struct vf_script s;

	(void) state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "reinit at 1M\n", 13), 13);
	close(fd);
	assert_int_equal(vf_script_load(&s, path, NULL), 0);
	assert_int_equal(s.reinit_at, 1 << 20);
	vf_script_done(&s);
	unlink(path);
	assert_int_equal(vf_script_load(&s, path, &err), -ENOENT);
	assert_string_equal(err.id, "script-unreadable");
	assert_int_equal(vf_script_load(&s, "/", NULL), -EISDIR);
}

static void test_sizes(void **state)
{
	uint64_t v = 0;

	(void) state;
	assert_int_equal(vf_script_size("8G", &v), 0);
	assert_int_equal(v, 8ull << 30);
	assert_int_equal(vf_script_size("4KiB", &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(vf_script_size("1.5M", &v), 0);
	assert_int_equal(v, 3 << 19);
	assert_int_equal(vf_script_size("4kb", &v), -EINVAL);
	assert_int_equal(vf_script_size("", &v), -EINVAL);
	assert_int_equal(vf_script_size("99999999999G", &v), -ERANGE);
	assert_int_equal(vf_script_rate("2K/s", &v), 0);
	assert_int_equal(v, 2048);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arcs), cmocka_unit_test(test_messages),
		cmocka_unit_test(test_data), cmocka_unit_test(test_notices),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_bad), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_files), cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
