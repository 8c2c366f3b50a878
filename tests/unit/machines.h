/* SPDX-License-Identifier: MIT */
/*
 * machines.h - whole machines with accel devices in one process, for tests that migrate them: each
 * device is served by a thread of its own over a real vfio-user socket.
 */
#ifndef TESTS_MACHINES_H
#define TESTS_MACHINES_H

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vferry/vferry.h>

#include "devices/accel_server.h"
#include "vmm/machine.h"

#define TEST_DEVICES_MAX 8
#define TEST_SECOND_NS 1000000000ull

struct test_device {
	struct accel_server *server;
	pthread_t thread;
	int stop;
	char path[64];
	char uri[96];
};

struct test_machine {
	struct test_device devices[TEST_DEVICES_MAX];
	unsigned device_count;
	struct machine *machine;
	struct vferry_session *session;
};

static void *test_device_main(void *user)
{
	struct test_device *d = user;

	(void) accel_server_run(d->server, d->stop, false, NULL);
	return NULL;
}

static void test_device_note(void *user, const char *text)
{
	(void) user;
	fprintf(stderr, "device: %s\n", text);
}

static void test_device_start(struct test_device *d, const struct accel_server_options *options,
			      const char *script_text)
{
	static int count;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct accel_server_options o = *options;
	struct vf_script script = { 0 };

	if (!script_text)
		script_text = "";
	if (vf_script_parse(&script, script_text, strlen(script_text), "script", &err))
		fail_msg("%s", err.message);
	o.note = test_device_note;
	(void) snprintf(d->path, sizeof(d->path), "/tmp/vferry-accel-%d-%d", (int) getpid(), count++);
	(void) snprintf(d->uri, sizeof(d->uri), "vfio-user:%s", d->path);
	if (accel_server_new(&o, &script, &d->server, &err) ||
	    accel_server_listen(d->server, d->path, &err))
		fail_msg("%s", err.message);
	d->stop = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(pthread_create(&d->thread, NULL, test_device_main, d), 0);
}

static void test_device_stop(struct test_device *d)
{
	(void) eventfd_write(d->stop, 1);
	(void) pthread_join(d->thread, NULL);
	accel_server_free(d->server);
	(void) close(d->stop);
}

/* @scripts: one for each device, or NULL; each may be NULL. @device_timeout_ns: 0 = the library's. */
static inline void test_machine_start_scripted(struct test_machine *m,
					const struct machine_options *options,
					const struct accel_server_options *device,
					unsigned device_count, const char *const *scripts,
					uint64_t device_timeout_ns)
{
	struct machine_device_options list[TEST_DEVICES_MAX] = { 0 };
	struct machine_options o = *options;
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(m, 0, sizeof(*m));
	m->device_count = device_count;
	for (unsigned i = 0; i < device_count; i++) {
		struct accel_server_options each = *device;

		each.device.seed += i;
		test_device_start(&m->devices[i], &each, scripts ? scripts[i] : NULL);
		list[i].uri = m->devices[i].uri;
		list[i].timeout_ns = device_timeout_ns;
	}
	o.devices = list;
	o.device_count = device_count;
	if (machine_new(&o, &m->machine, &err))
		fail_msg("%s: %s", err.id, err.message);
}

static inline void test_machine_start(struct test_machine *m,
				      const struct machine_options *options,
				      const struct accel_server_options *device,
				      unsigned device_count)
{
	test_machine_start_scripted(m, options, device, device_count, NULL, 0);
}

static inline void test_machine_session(struct test_machine *m, const struct vferry_parameters *p)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	m->session = vferry_session_free(m->session);
	if (vferry_session_new(machine_session_ops(), m->machine, &m->session, &err) ||
	    machine_add_to_session(m->machine, m->session, &err) ||
	    (p && vferry_session_set_parameters(m->session, p, &err)))
		fail_msg("%s: %s", err.id, err.message);
}

static inline void test_machine_free(struct test_machine *m)
{
	m->session = vferry_session_free(m->session);
	m->machine = machine_free(m->machine);
	for (unsigned i = 0; i < m->device_count; i++)
		test_device_stop(&m->devices[i]);
}

#endif
