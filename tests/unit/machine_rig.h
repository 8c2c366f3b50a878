/* SPDX-License-Identifier: MIT */
/* machine_rig.h - a machine, soft if not told otherwise, with accel devices, each served by a thread of the test. */
#ifndef MACHINE_RIG_H
#define MACHINE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/accel_server.h"
#include "vmm/machine_accel.h"

#define SECOND 1000000000ull
#define DEVICES_MAX 4u

struct accel {
	struct accel_server *server;
	pthread_t thread;
	int stop;
	char path[48];
	char uri[64];
};

struct rig {
	struct accel accel[DEVICES_MAX];
	unsigned devices;
	char dir[24];
	struct machine *m;
	struct machine_verdict v;
};

static inline void note(void *user, const char *text)
{
	(void) user;
	print_message("device: %s\n", text);
}

static inline void log_line(void *user, const char *line)
{
	(void) user;
	print_message("machine: %s\n", line);
}

static const struct machine_callbacks callbacks = { .size = sizeof(callbacks), .log = log_line };

static inline void sleep_ms(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void) nanosleep(&ts, NULL);
}

static inline void *serve(void *arg)
{
	struct accel *a = arg;

	(void) accel_server_run(a->server, a->stop, false, NULL);
	return NULL;
}

static inline void accel_up(struct accel *a, const char *dir, unsigned i, const char *script_text)
{
	struct accel_server_options o = {
		.device = { .state_bytes = 4 << 20, .seed = 11 + i, .overlay_bytes = 1 << 20,
			    .msix_vectors = 16 },
		.precopy = true, .p2p = true, .dma_log = true, .extensions = true, .note = note,
		.no_ioeventfd = script_text != NULL,	/* scripts speak of messages: the doorbell is one */
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script script;

	vf_script_init(&script);
	if (script_text &&
	    vf_script_parse(&script, script_text, strlen(script_text), "script", &err) < 0)
		fail_msg("%s", err.message);
	if (accel_server_new(&o, &script, &a->server, &err) < 0)
		fail_msg("%s", err.message);
	(void) snprintf(a->path, sizeof(a->path), "%s/d%u", dir, i);
	(void) snprintf(a->uri, sizeof(a->uri), "vfio-user:%s", a->path);
	if (accel_server_listen(a->server, a->path, &err) < 0)
		fail_msg("%s", err.message);
	a->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(a->stop >= 0);
	assert_int_equal(pthread_create(&a->thread, NULL, serve, a), 0);
}

static inline void accel_down(struct accel *a)
{
	(void) eventfd_write(a->stop, 1);
	(void) pthread_join(a->thread, NULL);
	accel_server_free(a->server);
	(void) close(a->stop);
	(void) unlink(a->path);
}

static inline void rig_up(struct rig *rig, unsigned devices, const char *script,
		   struct machine_options options)
{
	struct machine_device_options device[DEVICES_MAX] = { 0 };
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(rig, 0, sizeof(*rig));
	rig->devices = devices;
	strcpy(rig->dir, "/tmp/soft-test-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	for (unsigned i = 0; i < devices; i++) {
		accel_up(&rig->accel[i], rig->dir, i, script);
		device[i].uri = rig->accel[i].uri;
		device[i].timeout_ns = SECOND / 2;
	}
	if (strcmp(options.accel, "kvm") != 0)
		options.accel = "soft";
	options.memory_bytes = 64 << 20;
	options.devices = device;
	options.device_count = devices;
	if (!options.callbacks)
		options.callbacks = &callbacks;
	if (machine_new(&options, &rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void rig_down(struct rig *rig)
{
	rig->m = machine_free(rig->m);
	for (unsigned i = 0; i < rig->devices; i++)
		accel_down(&rig->accel[i]);
	(void) rmdir(rig->dir);
}

static inline void start(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_start(rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void stop(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_stop(rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void command(struct rig *rig, const char *text)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_guest_command(rig->m, text, NULL, 0, &err) < 0)
		fail_msg("%s", err.message);
}

/* What the guest saw until now. */
static inline void look(struct rig *rig)
{
	assert_int_equal(machine_get_verdict(rig->m, &rig->v), 0);
}

/* Build hosts are busy: what takes time is waited for, not slept for. */
static inline void wait_for_jobs(struct rig *rig, uint64_t more)
{
	uint64_t before;

	look(rig);
	before = rig->v.verified_jobs;
	for (unsigned i = 0; i < 6000 && rig->v.verified_jobs < before + more; i++) {
		sleep_ms(5);
		look(rig);
	}
	assert_true(rig->v.verified_jobs >= before + more);
}

static inline void judge(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (machine_judge(rig->m, 20 * SECOND, &rig->v, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void print(const struct rig *rig)
{
	char *json = NULL;

	assert_int_equal(machine_figures(rig->m, &json), 0);
	print_message("%s\n", json);
	free(json);
}

static inline void expect_clean(struct rig *rig)
{
	judge(rig);
	if (!machine_verdict_clean(&rig->v, 0)) {
		print(rig);
		fail_msg("not clean: %s", rig->v.first_fault);
	}
}

static inline void wait_booted(struct rig *rig)
{
	for (unsigned i = 0; i < 2000; i++) {
		look(rig);
		if (rig->v.booted)
			return;
		sleep_ms(5);
	}
	fail_msg("the guest does not come up: %s", rig->v.first_fault);
}

#define RIG_SKIPPED	77

/* For main(): says why there can be no machine under KVM here, if so. */
static inline bool rig_lacks_kvm(void)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine *m;

	o.accel = "kvm";
	if (machine_new(&o, &m, &err) < 0) {
		printf("no machine under KVM: %s\n", err.message);
		return true;
	}
	(void) machine_free(m);
	return false;
}

#endif
