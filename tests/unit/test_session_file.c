/* SPDX-License-Identifier: MIT */
/* session_file: a machine is saved to a file and loaded from it; full disks and damaged files. */
#include "made_up_machine.h"

/* ---- files ---- */

static void save_to(struct machine *from, const char *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	machine_session(from, &machine_ops, NULL);
	assert_int_equal(vferry_session_migrate(from->session, uri, &err), 0);
	assert_int_equal(vferry_session_wait(from->session, 20 * SECOND), 0);
}

static void load_from(struct machine *to, const char *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	machine_session(to, &machine_ops, NULL);
	assert_int_equal(vferry_session_accept(to->session, uri, &err), 0);
	assert_int_equal(vferry_session_wait(to->session, 20 * SECOND), 0);
}

static void saved_and_loaded(void **state)
{
	struct machine from, to, again;
	char uri[64];

	(void) state;
	(void) snprintf(uri, sizeof(uri), "file:/tmp/vferry-test-file-%d", (int) getpid());
	machine_init(&from, true);
	machine_init(&to, true);
	machine_init(&again, true);
	machine_fill(&from);
	save_to(&from, uri);
	load_from(&to, uri);
	expect_moved(&from, &to);
	load_from(&again, uri);
	expect_moved(&from, &again);
	(void) unlink(uri + strlen("file:"));
	machine_done(&from);
	machine_done(&to);
	machine_done(&again);
}

static void a_full_disk_leaves_the_machine_running(void **state)
{
	struct machine from;

	(void) state;
	machine_init(&from, true);
	machine_fill(&from);
	save_to(&from, "file:/dev/full");
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
}

static void a_damaged_file_is_refused_with_its_place(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_status status;
	struct machine from, to;
	char uri[64];
	long size;
	FILE *f;

	(void) state;
	(void) snprintf(uri, sizeof(uri), "file:/tmp/vferry-test-bad-%d", (int) getpid());
	machine_init(&from, true);
	machine_fill(&from);
	save_to(&from, uri);
	assert_int_equal(outcome_of(&from), VFERRY_OUTCOME_DONE);
	f = fopen(uri + strlen("file:"), "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	size = ftell(f);
	for (int i = 1; i < 6; i++) {
		int byte = 0;
		long at;

		/* A byte that means something: places of zero pages are holes that nobody reads. */
		machine_init(&to, true);
		assert_int_equal(fseek(f, size / 6 * i, SEEK_SET), 0);
		while (!byte)
			byte = fgetc(f);
		assert_int_not_equal(byte, EOF);
		at = ftell(f) - 1;
		assert_int_equal(fseek(f, at, SEEK_SET), 0);
		(void) fputc(byte ^ 0x40, f);
		assert_int_equal(fflush(f), 0);
		machine_session(&to, &machine_ops, NULL);
		if (!vferry_session_accept(to.session, uri, &err)) {
			assert_int_equal(vferry_session_wait(to.session, 20 * SECOND), 0);
			vferry_session_get_status(to.session, &status);
			assert_int_not_equal(status.outcome, VFERRY_OUTCOME_DONE);
			assert_non_null(strstr(status.error.message, "offset"));
			assert_false(to.running);
		}
		assert_int_equal(fseek(f, at, SEEK_SET), 0);
		(void) fputc(byte, f);
		assert_int_equal(fflush(f), 0);
		machine_done(&to);
	}
	(void) fclose(f);
	(void) unlink(uri + strlen("file:"));
	machine_done(&from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saved_and_loaded),
		cmocka_unit_test(a_full_disk_leaves_the_machine_running),
		cmocka_unit_test(a_damaged_file_is_refused_with_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
