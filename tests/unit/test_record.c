/* SPDX-License-Identifier: MIT */
/* record: one decision for ever, whole or not at all; and whether who claimed it still lives. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "session/record.h"

static const uint8_t id[VF_SESSION_ID_BYTES] = { 0xab, 1 };
#define ID_TEXT "ab010000000000000000000000000000"

static char dir[64];

static int make_dir(void **state)
{
	(void) state;
	strcpy(dir, "/tmp/vferry-record-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[96];

	(void) state;
	(void) snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static const char *path_of(const char *suffix)
{
	static char path[160];

	(void) snprintf(path, sizeof(path), "%s/%s.%s", dir, ID_TEXT, suffix);
	return path;
}

static int files(void)
{
	DIR *d = opendir(dir);
	int count = -2;		/* . and .. */

	assert_non_null(d);
	while (readdir(d))
		count++;
	(void) closedir(d);
	return count;
}

static struct vf_record_entry entry_now(void)
{
	struct vf_record_entry entry;

	assert_int_equal(vf_record_read(dir, id, &entry, NULL, NULL), 0);
	return entry;
}

static void a_directory_of_others_is_refused(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int claim = -1;

	(void) state;
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(vf_record_claim(dir, id, &claim, NULL, &err), -EPERM);
	assert_string_equal(err.id, "record-unsafe");
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_RAN, NULL, NULL), -EPERM);
	assert_int_equal(files(), 0);
	assert_int_equal(chmod(dir, 0700), 0);
	if (geteuid() != 0)
		skip();		/* nothing can be given away */
	assert_int_equal(chown(dir, 12345, 0), 0);
	assert_int_equal(vf_record_claim(dir, id, &claim, NULL, NULL), -EPERM);
}

static void a_decision_of_others_is_none(void **state)
{
	struct vf_record_entry entry;

	(void) state;
	if (geteuid() != 0)
		skip();		/* no file can be given away */
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_RAN, NULL, NULL), 0);
	assert_int_equal(entry_now().decided, VF_RECORD_RAN);
	assert_int_equal(chown(path_of("vferry"), 12345, 0), 0);
	assert_int_equal(vf_record_read(dir, id, &entry, NULL, NULL), -EPERM);
}

static void a_claim_says_whether_its_process_lives(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_record_entry entry = entry_now();
	int claim = -1, second = -1, status;
	pid_t child;

	(void) state;
	assert_false(entry.claimed || entry.held || entry.decided != VF_RECORD_NONE);
	assert_int_equal(vf_record_claim(dir, id, &claim, NULL, &err), 0);
	entry = entry_now();
	assert_true(entry.claimed && entry.held && entry.decided == VF_RECORD_NONE);
	assert_int_equal(vf_record_claim(dir, id, &second, NULL, &err), -EEXIST);
	assert_string_equal(err.id, "record-exists");
	vf_record_release(dir, id, &claim, false);
	assert_int_equal(claim, -1);
	entry = entry_now();
	assert_true(entry.claimed && !entry.held);
	assert_int_equal(unlink(path_of("open")), 0);

	assert_int_equal(vf_record_claim(dir, id, &claim, NULL, NULL), 0);
	vf_record_release(dir, id, &claim, true);
	assert_int_equal(files(), 0);

	child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (!vf_record_claim(dir, id, &claim, NULL, NULL))
			(void) raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	entry = entry_now();
	assert_true(entry.claimed && !entry.held);
}

static void the_first_decision_stays(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct stat st;
	int claim;

	(void) state;
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_RAN, NULL, NULL), 0);
	assert_int_equal(entry_now().decided, VF_RECORD_RAN);
	assert_int_equal(stat(path_of("vferry"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_RAN, NULL, NULL), 0);
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_ABORTED, NULL, &err), -EEXIST);
	assert_string_equal(err.id, "record-contradicts");
	assert_int_equal(entry_now().decided, VF_RECORD_RAN);
	assert_int_equal(vf_record_claim(dir, id, &claim, NULL, NULL), -EEXIST);
	assert_int_equal(files(), 1);
}

/* Processes that decide at once, half of them for each word: one word wins, and all know which. */
static void one_of_many_decides(void **state)
{
	(void) state;
	for (int round = 0; round < 50; round++) {
		int pipe_fd[2], said[2] = { 0 };
		enum vf_record won;

		assert_int_equal(pipe(pipe_fd), 0);
		for (int i = 0; i < 6; i++) {
			pid_t child = fork();
			char go;

			assert_true(child >= 0);
			if (child)
				continue;
			(void) close(pipe_fd[1]);
			(void) !read(pipe_fd[0], &go, 1);	/* all at once, when it closes */
			_exit(-vf_record_write(dir, id, i % 2 ? VF_RECORD_RAN : VF_RECORD_ABORTED,
					       NULL, NULL) * 2 + i % 2);
		}
		(void) close(pipe_fd[0]);
		(void) close(pipe_fd[1]);
		for (int i = 0, status; i < 6; i++) {
			assert_true(wait(&status) > 0);
			assert_true(WIFEXITED(status));
			assert_true(WEXITSTATUS(status) / 2 == 0 || WEXITSTATUS(status) / 2 == EEXIST);
			said[WEXITSTATUS(status) % 2] += WEXITSTATUS(status) / 2 == 0;
		}
		won = entry_now().decided;
		assert_int_equal(said[won == VF_RECORD_RAN], 3);
		assert_int_equal(said[won != VF_RECORD_RAN], 0);
		assert_int_equal(files(), 1);
		assert_int_equal(unlink(path_of("vferry")), 0);
	}
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void) close(fd);
}

static void what_is_no_record_is_none(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	static const char *const bad[] = { "", "ran", "ran\nran\n", "RAN\n", "aborted\n and more" };
	struct vf_record_entry entry;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_text(path_of("vferry"), bad[i]);
		assert_int_equal(vf_record_read(dir, id, &entry, NULL, NULL), -EBADMSG);
		assert_int_equal(vf_record_write(dir, id, VF_RECORD_RAN, NULL, NULL), -EBADMSG);
	}
	assert_int_equal(unlink(path_of("vferry")), 0);
	assert_int_equal(symlink("/etc/passwd", path_of("vferry")), 0);
	assert_int_equal(vf_record_read(dir, id, &entry, NULL, NULL), -ELOOP);
	assert_int_equal(vf_record_read("/nowhere", id, &entry, NULL, &err), -ENOENT);
	assert_string_equal(err.object, "/nowhere");
}

static void a_full_disk_leaves_nothing(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct rlimit old, none = { 0 };

	(void) state;
	(void) signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	none.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_RAN, NULL, &err), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_string_equal(err.id, "record-failed");
	assert_int_equal(files(), 0);
	assert_int_equal(vf_record_write(dir, id, VF_RECORD_ABORTED, NULL, NULL), 0);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(a_claim_says_whether_its_process_lives),
		IN_DIR(the_first_decision_stays),
		IN_DIR(one_of_many_decides),
		IN_DIR(what_is_no_record_is_none),
		IN_DIR(a_full_disk_leaves_nothing),
		IN_DIR(a_directory_of_others_is_refused),
		IN_DIR(a_decision_of_others_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
