/* SPDX-License-Identifier: MIT */
/* trace: the points, the rings, the listener, faults, the dump, and the VM's actions. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <json-c/json.h>
#include <vferry/session.h>
#include <vferry/trace.h>

#include "base/trace.h"
#include "transfer/message_points.h"
#include "vferry_vfio.h"
#include "vmm/vm_trace.h"
#include "wire/frame.h"

/* ---- points ---- */

static void every_message_has_two_points(void **state)
{
	unsigned known = 0;

	(void) state;
	for (uint16_t type = 0; type < 256; type++) {
		const char *name = vf_frame_type_name(type);
		char sent[64], received[64];

		if (!name)
			continue;
		known++;
		(void) snprintf(sent, sizeof(sent), "send-%s", name);
		(void) snprintf(received, sizeof(received), "recv-%s", name);
		assert_int_equal(vf_message_point(type, true), vferry_trace_find_point(sent));
		assert_int_equal(vf_message_point(type, false), vferry_trace_find_point(received));
		/* JOIN goes out with HELLO, as one vector. */
		assert_int_equal(vf_message_point(type, true) == VF_TRACE_NONE, type == VF_FRAME_JOIN);
		assert_int_not_equal(vf_message_point(type, false), VF_TRACE_NONE);
	}
	assert_true(known >= 24);
}

static void states_are_in_order(void **state)
{
	(void) state;
	for (int i = VFERRY_STATE_SETUP; i <= VFERRY_STATE_FAILED; i++) {
		char name[64];

		(void) snprintf(name, sizeof(name), "state-%s", vferry_state_name(i));
		assert_int_equal(vferry_trace_find_point(name),
				 VF_TRACE_STATE_SETUP + i - VFERRY_STATE_SETUP);
	}
	/* The device states are counted through, as VFIO numbers them. */
	assert_int_equal(VF_TRACE_DEVICE_STOP_COPY - VF_TRACE_DEVICE_STOP,
			 VF_VFIO_STATE_STOP_COPY - VF_VFIO_STATE_STOP);
	assert_int_equal(VF_TRACE_DEVICE_RUNNING - VF_TRACE_DEVICE_STOP,
			 VF_VFIO_STATE_RUNNING - VF_VFIO_STATE_STOP);
	assert_int_equal(VF_TRACE_DEVICE_RUNNING_P2P - VF_TRACE_DEVICE_STOP,
			 VF_VFIO_STATE_RUNNING_P2P - VF_VFIO_STATE_STOP);
	assert_int_equal(VF_TRACE_DEVICE_PRE_COPY_P2P - VF_TRACE_DEVICE_STOP,
			 VF_VFIO_STATE_PRE_COPY_P2P - VF_VFIO_STATE_STOP);
}

static void points_say_what_they_are(void **state)
{
	(void) state;
	assert_int_equal(vferry_trace_point_count(), VF_TRACE__COUNT - 1);
	for (size_t i = 1; i <= vferry_trace_point_count(); i++) {
		const struct vferry_trace_point *p = vferry_trace_get_point(i);

		assert_non_null(p);
		assert_int_equal(vferry_trace_find_point(p->name), i);
		assert_string_not_equal(vferry_trace_kind_name(p->kind), "unknown");
		assert_true(strlen(p->sentence) > 10);
	}
	assert_null(vferry_trace_get_point(0));
	assert_null(vferry_trace_get_point(VF_TRACE__COUNT));
	assert_int_equal(vferry_trace_find_point("send-nothing"), 0);
	assert_string_equal(vferry_trace_kind_name((enum vferry_trace_kind) 99), "unknown");
}

/* ---- rings and listener ---- */

static void rare_events_survive_many(void **state)
{
	struct vf_trace_record *records;
	struct vf_trace *trace;
	bool there = false;
	size_t count;

	(void) state;
	assert_int_equal(vf_trace_new(&trace), 0);
	assert_int_equal(vf_trace(trace, VF_TRACE_SEND_COMMIT, "unix:/x", 16, 7, 0), 0);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(vf_trace(trace, VF_TRACE_LINK_WRITE, NULL, i, 0, 0), 0);
	assert_int_equal(vf_trace_records(trace, &records, &count), 0);
	assert_true(count > 100 && count < 2000);
	for (size_t i = 0; i < count; i++) {
		there |= records[i].point == VF_TRACE_SEND_COMMIT && records[i].arguments[1] == 7 &&
			 !strcmp(records[i].object, "unix:/x");
		assert_true(!i || records[i].time_ns >= records[i - 1].time_ns);
	}
	assert_true(there);
	assert_int_equal(records[count - 1].arguments[0], 99999);
	assert_int_equal(vf_trace_passed(trace, VF_TRACE_LINK_WRITE), 100000);
	free(records);
	(void) vf_trace_free(trace);
	assert_int_equal(vf_trace(NULL, VF_TRACE_SEND_COMMIT, NULL, 0, 0, 0), 0);
}

static int fail_all(void *user, const struct vferry_trace_event *event)
{
	const struct vferry_trace_event *want = user;

	assert_string_equal(event->object, want->object);
	assert_int_equal(event->number, want->number);
	assert_string_equal(event->point->name, vferry_trace_get_point(want->number)->name);
	assert_int_equal(event->arguments[2], 3);
	assert_true(event->thread == (uint32_t) gettid());
	return -EIO;
}

static void listener_makes_fail_what_can(void **state)
{
	char object[200];
	struct vferry_trace_event want = { .object = object, .number = VF_TRACE_DEVICE_STOP };
	struct vf_trace_record *records;
	struct vf_trace *trace;
	size_t count;

	(void) state;
	/* Longer than what is kept. */
	memset(object, 'x', sizeof(object) - 1);
	object[sizeof(object) - 1] = '\0';
	assert_int_equal(vf_trace_new(&trace), 0);
	vf_trace_listen(trace, fail_all, &want);
	assert_int_equal(vf_trace(trace, VF_TRACE_DEVICE_STOP, object, 1, 2, 3), -EIO);
	want.number = VF_TRACE_ROUND_BEGIN;	/* only told */
	assert_int_equal(vf_trace(trace, VF_TRACE_ROUND_BEGIN, object, 1, 2, 3), 0);
	assert_int_equal(vf_trace_records(trace, &records, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(records[0].result, -EIO);
	assert_int_equal(records[1].result, 0);
	assert_int_equal(strlen(records[0].object), VF_TRACE_OBJECT_BYTES - 1);
	free(records);
	(void) vf_trace_free(trace);
}

static void *pass_many(void *trace)
{
	for (unsigned i = 0; i < 20000; i++)
		(void) vf_trace(trace, i % 2 ? VF_TRACE_LINK_READ : VF_TRACE_STEP_END, "x", i, 0, 0);
	return NULL;
}

static void threads_pass_together(void **state)
{
	struct vf_trace_record *records;
	struct vf_trace *trace;
	pthread_t threads[4];
	size_t count;

	(void) state;
	assert_int_equal(vf_trace_new(&trace), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pass_many, trace), 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vf_trace_records(trace, &records, &count), 0);
		for (size_t j = 0; j < count; j++)
			assert_string_equal(records[j].object, "x");
		free(records);
	}
	for (int i = 0; i < 4; i++)
		(void) pthread_join(threads[i], NULL);
	assert_int_equal(vf_trace_passed(trace, VF_TRACE_LINK_READ), 40000);
	(void) vf_trace_free(trace);
}

/* ---- a session's dump ---- */

static int nothing(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static int refuse_to_connect(void *user, const struct vferry_trace_event *event)
{
	(*(unsigned *) user)++;
	return !strcmp(event->point->name, "link-connect") ? -ENETDOWN : 0;
}

static struct json_object *member(struct json_object *of, const char *name)
{
	struct json_object *it;

	assert_true(json_object_object_get_ex(of, name, &it));
	return it;
}

static struct vferry_session *failed_session(unsigned *told)
{
	static const struct vferry_machine_ops ops = { .size = sizeof(ops), .stop = nothing,
						       .start = nothing };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_session *session;
	struct vferry_status status;

	assert_int_equal(vferry_session_new(&ops, NULL, &session, &err), 0);
	assert_int_equal(vferry_session_set_trace(session, refuse_to_connect, told), 0);
	assert_int_equal(vferry_session_migrate(session, "unix:/tmp/vferry-nobody", &err), 0);
	assert_int_equal(vferry_session_set_trace(session, NULL, NULL), -EBUSY);
	assert_int_equal(vferry_session_wait(session, 0), 0);
	vferry_session_get_status(session, &status);
	assert_int_equal(status.error.code, -ENETDOWN);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_FAILED);
	return session;
}

static void dump_tells_what_happened(void **state)
{
	struct json_object *top, *events, *last;
	struct vferry_session *session;
	unsigned told = 0;
	char *text;

	(void) state;
	session = failed_session(&told);
	assert_true(told > 3);
	assert_int_equal(vferry_session_dump_trace(session, VFERRY_TRACE_TEXT, &text), 0);
	assert_non_null(strstr(text, "link-connect"));
	assert_non_null(strstr(text, "made to fail: ENETDOWN"));
	assert_non_null(strstr(text, "state-failed"));
	free(text);
	assert_int_equal(vferry_session_dump_trace(session, VFERRY_TRACE_JSON, &text), 0);
	top = json_tokener_parse(text);
	free(text);
	assert_non_null(top);
	assert_string_equal(json_object_get_string(member(member(top, "session"), "state")), "failed");
	assert_string_equal(json_object_get_string(member(member(member(top, "session"), "error"),
							  "errno")), "ENETDOWN");
	assert_int_equal(json_object_get_int(member(member(top, "points"), "link-connect")), 1);
	events = member(top, "events");
	last = json_object_array_get_idx(events, json_object_array_length(events) - 1);
	assert_string_equal(json_object_get_string(member(last, "point")), "outcome");
	assert_int_equal(json_object_get_int(member(last, "code")), VFERRY_OUTCOME_FAILED);
	(void) json_object_put(top);
	(void) vferry_session_free(session);
}

/* ---- the VM's actions ---- */

static void actions_are_checked(void **state)
{
	static const char *const good[] = {
		"send-commit=stop", "send-commit:2=kill", "recv-section@unix:/x:3=fail:EPIPE",
		"step-begin@its/0:tables=delay:5", "round-begin=stop,device-stop@vfio/00:01.0=fail:EIO",
	};
	static const char *const bad[] = {
		"send-commit", "send-nothing=stop", "send-commit=go", "send-commit:0=stop",
		"send-commit:x=stop", "round-begin=fail:EIO", "device-stop=fail:EWHAT", "=stop",
		"send-commit=delay:-1", "send-commit=delay:",
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vm_trace *trace;

	(void) state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(vm_trace_new(&(struct vm_trace_options) { .actions = good[i] }, &trace, &err), 0);
		assert_non_null(trace);
		(void) vm_trace_free(trace);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vferry_error_clear(&err);
		assert_int_equal(vm_trace_new(&(struct vm_trace_options) { .actions = bad[i] }, &trace, &err), -EINVAL);
		assert_string_equal(err.id, "trace-action");
		assert_null(trace);
	}
	assert_int_equal(vm_trace_new(&(struct vm_trace_options) { 0 }, &trace, &err), 0);
	assert_null(trace);
	assert_int_equal(vm_trace_new(&(struct vm_trace_options) { .file = "/nowhere/x" }, &trace,
				      NULL), -ENOENT);
}

static void failure_is_written(void **state)
{
	struct vm_trace_options options = { 0 };
	struct vferry_session *session;
	struct json_object *top;
	struct vm_trace *trace;
	const char *written;
	unsigned told = 0;
	char path[64];
	struct stat st;
	int fd;

	(void) state;
	(void) snprintf(path, sizeof(path), "/tmp/vferry-trace-%d", (int) getpid());
	options.failed = path;
	/* Nothing failed: nothing is left. */
	assert_int_equal(vm_trace_new(&options, &trace, NULL), 0);
	assert_int_equal(access(path, F_OK), 0);
	(void) vm_trace_free(trace);
	assert_int_equal(access(path, F_OK), -1);

	session = failed_session(&told);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vm_trace_new(&options, &trace, NULL), 0);
		assert_int_equal(vm_trace_write_failure(trace, session, &written), 0);
		assert_string_equal(written, path);
		(void) vm_trace_free(trace);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	top = json_object_from_file(path);
	assert_non_null(top);
	(void) json_object_put(top);
	(void) unlink(path);
	/* What was there already is never removed, and nothing but a regular file is written to. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(vm_trace_new(&options, &trace, NULL), -ENXIO);
	assert_int_equal(access(path, F_OK), 0);
	(void) unlink(path);
	assert_int_equal(symlink("/nowhere/x", path), 0);
	assert_int_equal(vm_trace_new(&options, &trace, NULL), -ELOOP);
	(void) unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void) close(fd);
	assert_int_equal(vm_trace_new(&options, &trace, NULL), 0);
	(void) vm_trace_free(trace);
	assert_int_equal(unlink(path), 0);
	options = (struct vm_trace_options) { .actions = "send-commit=stop" };
	assert_int_equal(vm_trace_new(&options, &trace, NULL), 0);
	assert_int_equal(vm_trace_write_failure(trace, session, &written), -ENOENT);
	(void) vm_trace_free(trace);
	(void) vferry_session_free(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_has_two_points),
		cmocka_unit_test(states_are_in_order),
		cmocka_unit_test(points_say_what_they_are),
		cmocka_unit_test(rare_events_survive_many),
		cmocka_unit_test(listener_makes_fail_what_can),
		cmocka_unit_test(threads_pass_together),
		cmocka_unit_test(dump_tells_what_happened),
		cmocka_unit_test(actions_are_checked),
		cmocka_unit_test(failure_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
