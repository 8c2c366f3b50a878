/* SPDX-License-Identifier: MIT */
/*
 * scene.c - one migration with at most one fault, and what must hold afterwards; see rollback.h.
 *
 * What must hold follows from how it ended, not from what was made to fail: a machine that the source
 * has still is as before, one that went over is whole over there, and nowhere are there two. A fault
 * may be of no consequence (a look at holes that fails costs only time); then the migration is done.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rollback.h"

static void wrong(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

/* The headers of the unit tests, outside of their framework: what does not hold ends the scene. */
#define fail_msg(...) wrong(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(c) ((c) ? (void) 0 : fail_msg("not so: %s", #c))
#define assert_false(c) assert_true(!(c))
#define assert_non_null(c) assert_true((c) != NULL)
#define assert_int_equal(a, b) \
	((long long) (a) == (long long) (b) ? (void) 0 \
	 : fail_msg("%s is %lld, not %lld", #a, (long long) (a), (long long) (b)))

#include "tests/unit/migrations.h"
#include "vfio/device_internal.h"

#ifndef SLOW
#define SLOW 1u		/* how much slower this build is: a sanitizer's */
#endif
#define SCENE_SECONDS (60u * SLOW)
#define SETTLE_MS (10000u * SLOW)
#define VECTORS MOVE_VECTORS
#define MEMORY_BYTES (16ull << 20)

struct scene {
	const struct configuration *c;
	const struct fault *fault;
	struct result *result;
	struct move m;
	struct watch watches[SIDES];
	bool counting, guest_resets;
	char uri[PATH_MAX + 16], file[PATH_MAX + 16], records[PATH_MAX];
	struct belongings before;
};

static struct scene scene;	/* this process has one */

static void wrong(const char *file, int line, const char *fmt, ...)
{
	const char *name = strrchr(file, '/');
	char text[500];
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	(void) snprintf(scene.result->wrong, sizeof(scene.result->wrong), "%s:%d: %s",
			name ? name + 1 : file, line, text);
	_exit(1);
}

/* ---- sessions ---- */

static struct machine *machine_of(enum side side)
{
	return side == SOURCE ? scene.m.from.machine : scene.m.to.machine;
}

static int op_stop(void *user, struct vferry_error *err)
{
	return machine_stop(machine_of(*(enum side *) user), err);
}

/* At no moment may there be two. */
static int op_start(void *user, struct vferry_error *err)
{
	enum side side = *(enum side *) user;
	struct machine *other = machine_of(!side);

	if (other && machine_is_running(other))
		fail_msg("the %s's machine is started while the other one runs", side_names[side]);
	return machine_start(machine_of(side), err);
}

static void op_throttle(void *user, unsigned percent)
{
	machine_throttle(machine_of(*(enum side *) user), percent);
}

static void make_session(enum side side, bool watched)
{
	static const struct vferry_machine_ops ops = {
		.size = sizeof(ops), .stop = op_stop, .start = op_start, .throttle = op_throttle,
	};
	static enum side sides[SIDES] = { SOURCE, DESTINATION };
	struct test_machine *m = side == SOURCE ? &scene.m.from : &scene.m.to;
	struct vferry_parameters parameters = scene.m.parameters;
	struct vferry_error err = VFERRY_ERROR_INIT;

	parameters.record_dir = side == DESTINATION ? scene.records : NULL;
	m->session = vferry_session_free(m->session);
	if (vferry_session_new(&ops, &sides[side], &m->session, &err) ||
	    (watched && vferry_session_set_trace(m->session, watch_event, &scene.watches[side])) ||
	    machine_add_to_session(m->machine, m->session, &err) ||
	    vferry_session_set_parameters(m->session, &parameters, &err))
		fail_msg("%s: %s", err.id, err.message);
}

/* ---- counting ---- */

static void *end_at_once(void *user)
{
	return user;
}

/* What this process has when there is no machine. A sanitizer adds a thread of its own to the first one. */
static struct belongings count_empty(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, end_at_once, NULL) || pthread_join(thread, NULL))
		fail_msg("no thread");
	return belongings();
}

/* ---- the migration ---- */

static void wait_end(struct test_machine *m, const char *who)
{
	if (vferry_session_wait(m->session, SCENE_SECONDS / 2 * TEST_SECOND_NS))
		fail_msg("the %s's session does not end: it is in %s", who,
			 vferry_state_name(status_of(m).state));
}

/* Up to the hook before the switchover. False: it ended before. */
static bool wait_hold(void)
{
	uint64_t began = now_ms();

	for (;;) {
		struct vferry_status s = status_of(&scene.m.from);

		if (s.outcome != VFERRY_OUTCOME_PENDING)
			return false;
		if (s.state == VFERRY_STATE_PRE_SWITCHOVER)
			return true;
		if (now_ms() - began > SCENE_SECONDS / 2 * 1000)
			fail_msg("it never came to the switchover: %s", vferry_state_name(s.state));
		sleep_ms(1);
	}
}

static void interfere(void)
{
	if (scene.c->scenario == CANCELLED && wait_hold())
		(void) vferry_session_cancel(scene.m.from.session);
	if (scene.c->scenario == RESET && wait_hold()) {
		__atomic_store_n(&scene.guest_resets, true, __ATOMIC_RELEASE);
		guest(&scene.m.from, "flr 0");
		WAIT_FOR(verdict_of(&scene.m.from).resets == 1, SETTLE_MS);
		__atomic_store_n(&scene.guest_resets, false, __ATOMIC_RELEASE);
		/* Its stream begins anew, and is heard of. */
		WAIT_FOR(status_of(&scene.m.from).outcome != VFERRY_OUTCOME_PENDING ||
			 device_info(&scene.m.from, 0).vectors_connected == VECTORS, SETTLE_MS);
		(void) vferry_session_continue(scene.m.from.session);
	}
}

/* Asks, as an operator would; if nobody can answer, the word of somebody who fenced the other side. */
static void resolve(void)
{
	struct test_machine *from = &scene.m.from, *to = &scene.m.to;
	struct vferry_error err = VFERRY_ERROR_INIT;

	for (int i = 0; i < 5 && status_of(from).outcome == VFERRY_OUTCOME_UNKNOWN; i++) {
		uint64_t began = now_ms();

		(void) vferry_session_resolve(from->session, scene.uri, false, &err);
		while (status_of(from).outcome == VFERRY_OUTCOME_UNKNOWN && now_ms() - began < 300 * SLOW)
			sleep_ms(1);
	}
	if (status_of(from).outcome != VFERRY_OUTCOME_UNKNOWN)
		return;
	if (machine_is_running(to->machine)) {
		(void) vferry_session_resolve(from->session, NULL, false, &err);
	} else {
		to->session = vferry_session_free(to->session);
		assert_false(machine_is_running(to->machine));
		(void) vferry_session_resolve(from->session, NULL, true, &err);
	}
	WAIT_FOR(status_of(from).outcome != VFERRY_OUTCOME_UNKNOWN, SETTLE_MS);
}

/* Return: false: one of the sides could not even begin. */
static bool migrate(bool watched, struct vferry_error *err)
{
	make_session(DESTINATION, watched);
	if (vferry_session_accept(scene.m.to.session, scene.uri, err) == 0) {
		make_session(SOURCE, watched);
		if (vferry_session_migrate(scene.m.from.session, scene.uri, err) == 0)
			return true;
	}
	if (!watched)
		fail_msg("cannot begin: %s: %s", err->id, err->message);
	return false;
}

/* ---- what must hold ---- */

static void expect_work(struct test_machine *m, const char *who)
{
	assert_true(machine_is_running(m->machine));
	wait_jobs(m, 8);
	for (unsigned i = 0; i < m->device_count; i++) {
		struct vferry_device_info info = device_info(m, i);
		uint32_t state;

		if (info.lost)
			fail_msg("the %s's device %u is lost, and that was not said", who, i);
		if (vferry_device_get_state(machine_device(m->machine, i), &state, NULL) ||
		    state != VF_VFIO_STATE_RUNNING)
			fail_msg("the %s's device %u is in state %u", who, i, state);
		assert_false(machine_device(m->machine, i)->log.on);
	}
	expect_connected(&scene.m, m, VECTORS);
	expect_clean(&scene.m, m, 6 * scene.c->devices * VECTORS);
}

/* Said aloud; the guest's driver then resets it, as it would after any other failure of a device. */
static void recover_lost(const struct vferry_status *status)
{
	struct test_machine *m = &scene.m.from;
	unsigned lost = 0;

	for (unsigned i = 0; i < m->device_count; i++)
		lost += device_info(m, i).lost;
	if (!status->device_lost != !lost)
		fail_msg("%u devices are lost, and the status says %s", lost,
			 status->device_lost ? "one is" : "none is");
	if (!lost)
		return;
	scene.result->device_lost = true;
	if (!scene.c->devices_may_be_lost && scene.fault->point &&
	    vferry_trace_get_point(scene.fault->point)->kind != VFERRY_TRACE_DEVICE)
		fail_msg("a device was lost, though nothing happened to it");
	for (unsigned i = 0; i < m->device_count; i++) {
		uint64_t resets = verdict_of(m).resets;
		char command[16];

		if (!device_info(m, i).lost)
			continue;
		(void) snprintf(command, sizeof(command), "flr %u", i);
		guest(m, command);
		WAIT_FOR(verdict_of(m).resets > resets, SETTLE_MS);
		WAIT_FOR(device_info(m, i).vectors_connected == VECTORS, SETTLE_MS);
	}
}

static void fresh_target(void)
{
	test_machine_free(&scene.m.to);
	target_up(&scene.m);
}

/*
 * A step of the undo plan itself was made to fail. Nothing can undo that; it must be said, first, and
 * nothing may run twice.
 */
static bool is_failed_undo(const struct vferry_status *status)
{
	return !strcmp(status->error.id, "undo-failed") && scene.fault->point &&
	       vferry_trace_get_point(scene.fault->point)->kind == VFERRY_TRACE_STEP &&
	       scene.c->devices_may_be_lost;
}

/* The source has the machine: as it was, nothing left over, and able to migrate at once. */
static void expect_kept(const struct vferry_status *status)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_true(status->owner);
	assert_false(machine_is_running(scene.m.to.machine));
	if (is_failed_undo(status))
		return;
	scene.m.from.session = vferry_session_free(scene.m.from.session);
	test_machine_free(&scene.m.to);
	memset(&scene.m.to, 0, sizeof(scene.m.to));
	assert_true(machine_is_running(scene.m.from.machine));
	recover_lost(status);
	expect_work(&scene.m.from, "source");
	expect_belongings(scene.before, SETTLE_MS, "after the failure");

	scene.m.parameters.hold_before_switchover = false;
	scene.m.options.memory_bytes = MEMORY_BYTES;
	target_up(&scene.m);
	(void) migrate(false, &err);
	wait_end(&scene.m.from, "source");
	if (status_of(&scene.m.from).outcome != VFERRY_OUTCOME_DONE)
		fail_msg("the next migration failed: %s: %s", status_of(&scene.m.from).error.id,
			 status_of(&scene.m.from).error.message);
	wait_end(&scene.m.to, "destination");
	assert_false(machine_is_running(scene.m.from.machine));
	expect_work(&scene.m.to, "destination");
}

/* Loads the file, whose machine runs nowhere. */
static void load(bool watched)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	make_session(DESTINATION, watched);
	if (vferry_session_accept(scene.m.to.session, scene.file, &err)) {
		if (!watched)
			fail_msg("the file cannot be loaded: %s: %s", err.id, err.message);
		return;
	}
	wait_end(&scene.m.to, "destination");
	scene.result->destination_outcome = (int) status_of(&scene.m.to).outcome;
}

static void expect_saved(void)
{
	assert_false(machine_is_running(scene.m.from.machine));
	load(true);
	if (!machine_is_running(scene.m.to.machine)) {
		struct vferry_status s = status_of(&scene.m.to);

		(void) snprintf(scene.result->error, sizeof(scene.result->error), "%s: %.150s",
				s.error.id, s.error.message);
		fresh_target();
		load(false);
	}
	expect_work(&scene.m.to, "destination");
}

/* Refused at once: nothing has happened. */
static void not_begun(const struct vferry_error *err)
{
	const struct vferry_status s = { .owner = true };

	(void) snprintf(scene.result->error, sizeof(scene.result->error), "%s: %.150s", err->id,
			err->message);
	scene.result->source_outcome = VFERRY_OUTCOME_FAILED;
	expect_kept(&s);
}

static void save(void)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_status s;

	make_session(SOURCE, true);
	if (vferry_session_migrate(scene.m.from.session, scene.file, &err)) {
		not_begun(&err);
		return;
	}
	wait_end(&scene.m.from, "source");
	s = status_of(&scene.m.from);
	scene.result->source_outcome = (int) s.outcome;
	(void) snprintf(scene.result->error, sizeof(scene.result->error), "%s: %.150s", s.error.id,
			s.error.message);
	if (s.outcome == VFERRY_OUTCOME_DONE)
		expect_saved();
	else
		expect_kept(&s);
}

static bool is_after_commit(enum vferry_outcome outcome)
{
	return outcome == VFERRY_OUTCOME_DONE || outcome == VFERRY_OUTCOME_UNKNOWN ||
	       outcome == VFERRY_OUTCOME_FAILED_AFTER;
}

static void expect_moved(enum vferry_outcome outcome)
{
	assert_true(scene.result->committed);
	assert_false(machine_is_running(scene.m.from.machine));
	if (scene.m.to.session)
		wait_end(&scene.m.to, "destination");
	if (outcome == VFERRY_OUTCOME_DONE)
		expect_work(&scene.m.to, "destination");
}

static void move(void)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_status s;

	if (!migrate(true, &err)) {
		not_begun(&err);
		return;
	}
	interfere();
	wait_end(&scene.m.from, "source");
	s = status_of(&scene.m.from);
	if (is_after_commit(s.outcome) && !scene.result->committed)
		fail_msg("outcome %d, but COMMIT was never sent", (int) s.outcome);
	scene.result->source_outcome = (int) s.outcome;
	(void) snprintf(scene.result->error, sizeof(scene.result->error), "%s: %.150s", s.error.id,
			s.error.message);
	if (s.outcome == VFERRY_OUTCOME_UNKNOWN) {
		assert_false(machine_is_running(scene.m.from.machine));
		resolve();
		s = status_of(&scene.m.from);
	}
	if (is_after_commit(s.outcome))
		expect_moved(s.outcome);
	else
		expect_kept(&s);
}

/* ---- set-up ---- */

static void describe(const struct configuration *c)
{
	static char args[200];
	struct move *m = &scene.m;

	*m = (struct move) MOVE_INIT;
	(void) snprintf(args, sizeof(args), "%s notice-ms=%u lost-ms=%u",
			"working-set=2M rate=10 job-delay-us=300", 8000 * SLOW, 20000 * SLOW);
	m->options.guest_args = args;
	m->options.memory_bytes = MEMORY_BYTES;
	m->devices = c->devices;
	m->device.device.state_bytes = c->state_bytes ? c->state_bytes : 256 << 10;
	m->device.device.overlay_bytes = 4 << 20;
	m->device.precopy = !c->no_precopy;
	m->device.p2p = !c->no_p2p;
	m->parameters.channels = c->channels;
	m->parameters.compression = c->compression;
	m->parameters.verify = c->verify;
	m->parameters.hold_before_switchover = c->scenario == RESET || c->scenario == CANCELLED;
	/* The first round's end is the switchover: what is passed does not depend on the link. */
	m->parameters.max_downtime_ns = 10 * TEST_SECOND_NS;
	m->parameters.pause_budget_ns = 5 * SLOW * TEST_SECOND_NS;
	m->parameters.stall_timeout_ns = 5 * SLOW * TEST_SECOND_NS;
}

static void watch_sides(const struct configuration *c, const struct fault *fault)
{
	scene.counting = !c->first_point;
	for (enum side side = SOURCE; side <= DESTINATION; side++) {
		scene.watches[side] = (struct watch) {
			.side = side, .result = scene.result, .counting = &scene.counting,
			.guest_resets = &scene.guest_resets,
		};
		if (c->first_point && side == c->first_side)
			scene.watches[side].first_point = vferry_trace_find_point(c->first_point);
		if (fault->point && side == fault->side)
			scene.watches[side].fault = *fault;
	}
}

static void name_files(void)
{
	char here[PATH_MAX - 16];

	if (!getcwd(here, sizeof(here)))
		fail_msg("getcwd: %s", strerror(errno));
	(void) snprintf(scene.uri, sizeof(scene.uri), "unix:%s/link-%d", here, (int) getpid());
	(void) snprintf(scene.file, sizeof(scene.file), "file:%s/saved-%d", here, (int) getpid());
	(void) snprintf(scene.records, sizeof(scene.records), "%s", here);
}

void scene_run(const struct configuration *c, const struct fault *fault, struct result *result)
{
	struct belongings empty;

	(void) alarm(SCENE_SECONDS);
	scene.c = c;
	scene.fault = fault;
	scene.result = result;
	result->source_outcome = result->destination_outcome = VFERRY_OUTCOME_PENDING;
	describe(c);
	watch_sides(c, fault);
	name_files();
	empty = count_empty();
	source_up(&scene.m);
	scene.before = belongings();
	if (c->scenario == REFUSED)
		scene.m.options.memory_bytes *= 2;
	target_up(&scene.m);
	if (c->scenario == SAVE)
		save();
	else
		move();
	move_down(&scene.m);
	expect_belongings(empty, SETTLE_MS, "at the end");
	exit(0);
}
