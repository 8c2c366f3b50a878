/* SPDX-License-Identifier: MIT */
/*
 * session: a made-up machine (RAM, a component with a section, one with a stream) moves between two
 * sessions of one process, over real sockets; and everything that may go wrong on the way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <vferry/vferry.h>

#define RAM_BYTES (32ull << 20)
#define BLOB_BYTES (3u << 20)
#define SECOND 1000000000ull

struct machine {
	struct vferry_ram *ram;
	struct vferry_session *session;
	uint64_t counter;		/* component "counter": what the section carries */
	uint8_t *blob;			/* component "blob": what the stream carries */
	size_t blob_at;
	bool blob_stopped;
	bool running;
	unsigned starts, stops;
	/* What is to go wrong. */
	int fail_save, fail_load, fail_stop, fail_start;
	unsigned hooks;
	int fail_hook;
	pthread_t dirtier;
	bool dirty;
};

static int stop_machine(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_stop)
		return vferry_error_set(err, m->fail_stop, "told-to-fail", "machine", "stop");
	__atomic_store_n(&m->running, false, __ATOMIC_SEQ_CST);
	m->stops++;
	return 0;
}

static int start_machine(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_start)
		return vferry_error_set(err, m->fail_start, "told-to-fail", "machine", "start");
	__atomic_store_n(&m->running, true, __ATOMIC_SEQ_CST);
	m->starts++;
	return 0;
}

static int hook(void *user, enum vferry_hook which, struct vferry_error *err)
{
	struct machine *m = user;

	(void) err;
	m->hooks |= 1u << which;
	return which == VFERRY_HOOK_BEFORE_SWITCHOVER ? m->fail_hook : 0;
}

static int save_counter(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_save)
		return vferry_error_set(err, m->fail_save, "told-to-fail", "counter", "save");
	vferry_write_u64(vferry_step_writer(step), m->counter);
	return 0;
}

static int load_counter(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_load)
		return vferry_error_set(err, m->fail_load, "told-to-fail", "counter", "load");
	m->counter = vferry_read_u64(vferry_step_reader(step));
	return 0;
}

static int counter_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	(void) user;
	(void) err;
	vferry_write_u32(w, 7);
	return 0;
}

static int counter_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	uint32_t version = vferry_read_u32(source);

	(void) user;
	if (version != 7)
		vferry_reasons_add(reasons, "counter-kind", "counter", "kind %u, 7 here", version);
	return vferry_reader_done(source) ? 0 : -EBADMSG;
}

static int64_t blob_read(void *user, void *buffer, size_t size, struct vferry_error *err)
{
	struct machine *m = user;
	size_t end = m->blob_stopped ? BLOB_BYTES : BLOB_BYTES / 2;
	size_t n = end - m->blob_at < size ? end - m->blob_at : size;

	(void) err;
	memcpy(buffer, m->blob + m->blob_at, n);
	m->blob_at += n;
	return (int64_t) n;
}

static int blob_precopy_start(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static int blob_remaining(void *user, struct vferry_remaining *ret, struct vferry_error *err)
{
	struct machine *m = user;
	size_t half = BLOB_BYTES / 2;

	(void) err;
	*ret = (struct vferry_remaining) {
		.initial_bytes = m->blob_at < half ? half - m->blob_at : 0,
		.stop_copy_bytes = half, .precopy_known = true, .stop_copy_known = true,
	};
	return 0;
}

static int blob_write(void *user, const void *data, size_t size, struct vferry_error *err)
{
	struct machine *m = user;

	if (size > BLOB_BYTES - m->blob_at)
		return vferry_error_set(err, -EFBIG, "too-long", "blob", "too long");
	memcpy(m->blob + m->blob_at, data, size);
	m->blob_at += size;
	return 0;
}

static int blob_stop(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	(void) step;
	(void) err;
	m->blob_stopped = true;
	return 0;
}

static int blob_run(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	(void) step;
	(void) err;
	m->blob_stopped = false;
	m->blob_at = 0;
	return 0;
}

static int no_step(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) user;
	(void) step;
	(void) err;
	return 0;
}

static const struct vferry_section_desc counter_sections[] = {
	{ .id = 1, .name = "value", .version = 1, .oldest = 1, .max_bytes = 64 },
};

static const struct vferry_step_desc counter_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_OTHER, .name = "save",
	  .section = 1, .run = save_counter },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER, .name = "load",
	  .section = 1, .run = load_counter },
};

static const struct vferry_stream_ops blob_stream = {
	.size = sizeof(blob_stream),
	.precopy_start = blob_precopy_start,
	.read = blob_read,
	.remaining = blob_remaining,
	.write = blob_write,
};

#define STEP(class, label, function) \
	{ .size = sizeof(struct vferry_step_desc), .step_class = class, .name = label, \
	  .run = function }

static const struct vferry_step_desc blob_steps[] = {
	STEP(VFERRY_SAVE_DEVICE_P2P, "p2p", no_step),
	STEP(VFERRY_SAVE_DEVICE_STOP, "stop", blob_stop),
	STEP(VFERRY_LOAD_DEVICE_RESUMING, "resuming", no_step),
	STEP(VFERRY_LOAD_CONFIG_STAGE, "stage", no_step),
	STEP(VFERRY_LOAD_CONFIG_RESTAGE, "restage", no_step),
	STEP(VFERRY_LOAD_DEVICE_VALIDATE, "validate", no_step),
	STEP(VFERRY_LOAD_DEVICE_RUN_P2P, "run-p2p", no_step),
	STEP(VFERRY_LOAD_DEVICE_RUN, "run", blob_run),
	STEP(VFERRY_UNDO_DEVICE_RUN, "run-again", blob_run),
};

static const struct vferry_machine_ops machine_ops = {
	.size = sizeof(machine_ops), .stop = stop_machine, .start = start_machine,
};

static const struct vferry_machine_ops hook_ops = {
	.size = sizeof(hook_ops), .stop = stop_machine, .start = start_machine, .hook = hook,
};

static void machine_init(struct machine *m, bool with_ram)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(m, 0, sizeof(*m));
	m->blob = calloc(1, BLOB_BYTES);
	if (with_ram) {
		assert_int_equal(vferry_ram_new(&m->ram), 0);
		assert_int_equal(vferry_ram_create_block(m->ram, "ram0", 1 << 20, RAM_BYTES, 0,
							 &err), 0);
	}
}

static void machine_fill(struct machine *m)
{
	uint64_t value = 88172645463325252ull;

	for (size_t i = 0; i < BLOB_BYTES; i++)
		m->blob[i] = (uint8_t) (i * 7 + (i >> 9));
	m->counter = 42;
	m->running = true;
	for (uint64_t at = 0; m->ram && at < RAM_BYTES; at += 3 * 4096) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
		assert_int_equal(vferry_ram_write(m->ram, (1 << 20) + at, &value, 8), 0);
	}
}

static void machine_session(struct machine *m, const struct vferry_machine_ops *ops,
			    const struct vferry_parameters *p)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_component counter = {
		.size = sizeof(counter), .name = "counter", .user = m,
		.identity = counter_identity, .check = counter_check,
		.sections = counter_sections, .section_count = 1,
		.steps = counter_steps, .step_count = 2,
	};
	struct vferry_component blob = {
		.size = sizeof(blob), .name = "blob", .device = "00:01.0", .user = m,
		.steps = blob_steps, .step_count = sizeof(blob_steps) / sizeof(blob_steps[0]),
		.stream = &blob_stream,
	};

	m->session = vferry_session_free(m->session);
	assert_int_equal(vferry_session_new(ops, m, &m->session, &err), 0);
	assert_int_equal(vferry_session_add_component(m->session, &counter, &err), 0);
	assert_int_equal(vferry_session_add_component(m->session, &counter, NULL), -EEXIST);
	assert_int_equal(vferry_session_add_component(m->session, &blob, &err), 0);
	assert_int_equal(vferry_session_set_ram(m->session, m->ram), 0);
	assert_int_equal(vferry_session_set_machine(m->session, "test-v1"), 0);
	if (p)
		assert_int_equal(vferry_session_set_parameters(m->session, p, &err), 0);
}

static void machine_done(struct machine *m)
{
	m->session = vferry_session_free(m->session);
	m->ram = vferry_ram_free(m->ram);
	free(m->blob);
}

static void *dirtier_main(void *user)
{
	struct machine *m = user;
	uint64_t n = 0;

	while (__atomic_load_n(&m->dirty, __ATOMIC_SEQ_CST)) {
		struct timespec ts = { .tv_nsec = 200000 };

		if (__atomic_load_n(&m->running, __ATOMIC_SEQ_CST)) {
			n++;
			(void) vferry_ram_write(m->ram, (1 << 20) + n * 4096 % RAM_BYTES, &n, 8);
		}
		(void) nanosleep(&ts, NULL);
	}
	return NULL;
}

static void socket_uri(char *to, size_t size)
{
	static int count;

	(void) snprintf(to, size, "unix:/tmp/vferry-test-%d-%d", (int) getpid(), count++);
}

static enum vferry_outcome outcome_of(struct machine *m)
{
	struct vferry_status status;

	vferry_session_get_status(m->session, &status);
	return status.outcome;
}

static void migrate(struct machine *from, struct machine *to, const struct vferry_parameters *p)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	char uri[128];

	socket_uri(uri, sizeof(uri));
	machine_session(from, &machine_ops, p);
	machine_session(to, &machine_ops, p);
	assert_int_equal(vferry_session_accept(to->session, uri, &err), 0);
	assert_int_equal(vferry_session_migrate(from->session, uri, &err), 0);
	assert_int_equal(vferry_session_wait(from->session, 20 * SECOND), 0);
}

static void expect_moved(struct machine *from, struct machine *to)
{
	struct vferry_status status;
	uint32_t a, b;

	vferry_session_get_status(from->session, &status);
	if (status.outcome)
		print_error("source: %d %s: %s\n", status.outcome, status.error.id,
			    status.error.message);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_DONE);
	assert_int_equal(status.state, VFERRY_STATE_COMPLETED);
	assert_false(status.owner);
	assert_true(status.downtime_known);
	assert_int_equal(vferry_session_wait(to->session, 5 * SECOND), 0);
	assert_int_equal(outcome_of(to), VFERRY_OUTCOME_DONE);
	assert_false(from->running);
	assert_true(to->running);
	assert_int_equal(to->counter, 42);
	assert_memory_equal(from->blob, to->blob, BLOB_BYTES);
	if (from->ram) {
		to->running = false;
		assert_int_equal(vferry_ram_digest(from->ram, &a, NULL), 0);
		assert_int_equal(vferry_ram_digest(to->ram, &b, NULL), 0);
		assert_int_equal(a, b);
	}
}

static void moves(void **state)
{
	struct machine from, to;

	(void) state;
	machine_init(&from, true);
	machine_init(&to, true);
	machine_fill(&from);
	migrate(&from, &to, NULL);
	expect_moved(&from, &to);
	assert_int_equal(from.stops, 1);
	assert_int_equal(to.starts, 1);
	machine_done(&from);
	machine_done(&to);
}

static void moves_without_ram(void **state)
{
	struct machine from, to;

	(void) state;
	machine_init(&from, false);
	machine_init(&to, false);
	machine_fill(&from);
	migrate(&from, &to, NULL);
	expect_moved(&from, &to);
	machine_done(&from);
	machine_done(&to);
}

static void moves_on_four_channels_while_dirtied_and_verified(void **state)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct machine from, to;

	(void) state;
	p.channels = 4;
	p.verify = true;
	machine_init(&from, true);
	machine_init(&to, true);
	machine_fill(&from);
	from.dirty = true;
	assert_int_equal(pthread_create(&from.dirtier, NULL, dirtier_main, &from), 0);
	migrate(&from, &to, &p);
	__atomic_store_n(&from.dirty, false, __ATOMIC_SEQ_CST);
	(void) pthread_join(from.dirtier, NULL);
	expect_moved(&from, &to);
	machine_done(&from);
	machine_done(&to);
}

static void there_and_back(void **state)
{
	struct machine a, b;

	(void) state;
	machine_init(&a, true);
	machine_init(&b, true);
	machine_fill(&a);
	migrate(&a, &b, NULL);
	expect_moved(&a, &b);
	b.running = true;
	/* Back into fresh memory. */
	a.session = vferry_session_free(a.session);
	a.ram = vferry_ram_free(a.ram);
	free(a.blob);
	machine_init(&a, true);
	migrate(&b, &a, NULL);
	expect_moved(&b, &a);
	machine_done(&a);
	machine_done(&b);
}

/* After every failure before COMMIT: the source runs as before, and can migrate at once. */
static void expect_still_there(struct machine *from, enum vferry_outcome outcome, const char *id)
{
	struct machine to;
	struct vferry_status status;

	vferry_session_get_status(from->session, &status);
	if (status.outcome != outcome || (id && strcmp(status.error.id, id)))
		print_error("%d, expected %d: %s: %s\n", status.outcome, outcome, status.error.id,
			    status.error.message);
	assert_int_equal(status.outcome, outcome);
	if (id)
		assert_string_equal(status.error.id, id);
	assert_true(status.owner);
	assert_true(from->running);
	assert_false(from->blob_stopped);
	from->fail_save = from->fail_stop = from->fail_hook = 0;
	machine_init(&to, from->ram != NULL);
	migrate(from, &to, NULL);
	expect_moved(from, &to);
	machine_done(&to);
}

static void failures_roll_back(void **state)
{
	static const struct {
		int save, load, stop;
		const char *id;
	} cases[] = {
		{ .save = -EIO, .id = "told-to-fail" },
		{ .load = -EINVAL, .id = "told-to-fail" },
		{ .stop = -EBUSY, .id = "told-to-fail" },
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct machine from, to;

		machine_init(&from, true);
		machine_init(&to, true);
		machine_fill(&from);
		from.fail_save = cases[i].save;
		from.fail_stop = cases[i].stop;
		to.fail_load = cases[i].load;
		migrate(&from, &to, NULL);
		assert_int_equal(vferry_session_wait(to.session, 5 * SECOND), 0);
		assert_int_equal(to.starts, 0);
		expect_still_there(&from, VFERRY_OUTCOME_FAILED, cases[i].id);
		machine_done(&from);
		machine_done(&to);
	}
}

static void a_failing_undo_is_not_passed_off_as_running(void **state)
{
	struct vferry_status status;
	struct machine from, to;

	(void) state;
	machine_init(&from, true);
	machine_init(&to, true);
	machine_fill(&from);
	from.fail_start = -EIO;
	to.fail_load = -EINVAL;
	migrate(&from, &to, NULL);
	vferry_session_get_status(from.session, &status);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_FAILED);
	assert_string_equal(status.error.id, "undo-failed");
	assert_non_null(strstr(status.error.message, "could be put back"));
	machine_done(&from);
	machine_done(&to);
}

static void a_failing_start_is_after_the_hand_over(void **state)
{
	struct machine from, to;

	(void) state;
	machine_init(&from, true);
	machine_init(&to, true);
	machine_fill(&from);
	to.fail_start = -EIO;
	migrate(&from, &to, NULL);
	assert_int_equal(outcome_of(&from), VFERRY_OUTCOME_FAILED_AFTER);
	assert_false(from.running);
	assert_false(to.running);
	machine_done(&from);
	machine_done(&to);
}

/* One of the reasons that this side has, and no other, says so. */
static void expect_reason(struct machine *m, const char *words)
{
	struct vferry_error *reasons;
	size_t count, dropped = 1, found = 0;

	assert_int_equal(vferry_session_reasons(m->session, &reasons, &count, &dropped), 0);
	assert_int_equal(dropped, 0);
	for (size_t i = 0; i < count; i++) {
		assert_int_not_equal(reasons[i].code, 0);
		assert_true(reasons[i].id[0] && reasons[i].message[0]);
		found += strstr(reasons[i].message, words) != NULL;
	}
	assert_int_equal(found, 1);
	free(reasons);
}

static void differences_are_refused(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_status status;
	struct machine from, to;
	char uri[128];

	(void) state;
	machine_init(&from, true);
	machine_init(&to, false);
	machine_fill(&from);
	socket_uri(uri, sizeof(uri));
	machine_session(&from, &machine_ops, NULL);
	machine_session(&to, &machine_ops, NULL);
	assert_int_equal(vferry_session_set_machine(to.session, "test-v2"), 0);
	assert_int_equal(vferry_session_accept(to.session, uri, &err), 0);
	assert_int_equal(vferry_session_migrate(from.session, uri, &err), 0);
	assert_int_equal(vferry_session_wait(from.session, 10 * SECOND), 0);
	vferry_session_get_status(from.session, &status);
	assert_non_null(strstr(status.error.message, "test-v2"));
	assert_non_null(strstr(status.error.message, "blocks of RAM"));
	assert_int_equal(from.stops, 0);
	expect_reason(&from, "test-v2");
	expect_reason(&from, "blocks of RAM");
	expect_reason(&to, "test-v2");
	expect_reason(&to, "blocks of RAM");
	expect_still_there(&from, VFERRY_OUTCOME_REFUSED, NULL);
	machine_done(&from);
	machine_done(&to);
}

static void check_changes_nothing(void **state)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct machine from, to;

	(void) state;
	p.check_only = true;
	machine_init(&from, true);
	machine_init(&to, true);
	machine_fill(&from);
	migrate(&from, &to, &p);
	assert_int_equal(from.stops, 0);
	assert_int_equal(to.counter, 0);
	expect_still_there(&from, VFERRY_OUTCOME_DONE, NULL);
	machine_done(&from);
	machine_done(&to);
}

/* Shorter than signs of life are apart, it would give up a peer that is well. */
static void a_stall_timeout_is_a_second_or_more(void **state)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine m;

	(void) state;
	machine_init(&m, true);
	machine_session(&m, &machine_ops, NULL);
	p.stall_timeout_ns = SECOND;
	assert_int_equal(vferry_session_set_parameters(m.session, &p, &err), 0);
	p.stall_timeout_ns = 0;
	assert_int_equal(vferry_session_set_parameters(m.session, &p, &err), 0);
	p.stall_timeout_ns = SECOND - 1;
	assert_int_equal(vferry_session_set_parameters(m.session, &p, &err), -EINVAL);
	assert_non_null(strstr(err.message, "1 s"));
	machine_done(&m);
}

static void nobody_listens(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from;

	(void) state;
	machine_init(&from, true);
	machine_fill(&from);
	machine_session(&from, &machine_ops, NULL);
	assert_int_equal(vferry_session_migrate(from.session, "unix:/tmp/vferry-nobody", &err), 0);
	assert_int_equal(vferry_session_wait(from.session, 10 * SECOND), 0);
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
}

/* Waits for a state, holds there, and does something. */
static void held(struct machine *from, struct machine *to, const struct vferry_machine_ops *ops)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_status status;
	char uri[128];

	p.hold_before_switchover = true;
	machine_init(from, true);
	machine_init(to, true);
	machine_fill(from);
	socket_uri(uri, sizeof(uri));
	machine_session(from, ops, &p);
	machine_session(to, &machine_ops, NULL);
	assert_int_equal(vferry_session_accept(to->session, uri, &err), 0);
	assert_int_equal(vferry_session_migrate(from->session, uri, &err), 0);
	for (int i = 0; i < 2000; i++) {
		struct timespec ts = { .tv_nsec = 5000000 };

		vferry_session_get_status(from->session, &status);
		if (status.state == VFERRY_STATE_PRE_SWITCHOVER)
			return;
		(void) nanosleep(&ts, NULL);
	}
	fail_msg("not in pre-switchover: %s, %s", vferry_state_name(status.state),
		 status.error.message);
}

static void cancel_in_pre_switchover(void **state)
{
	struct machine from, to;

	(void) state;
	held(&from, &to, &machine_ops);
	assert_int_equal(vferry_session_cancel(from.session), 0);
	assert_int_equal(vferry_session_wait(from.session, 10 * SECOND), 0);
	expect_still_there(&from, VFERRY_OUTCOME_CANCELLED, NULL);
	machine_done(&from);
	machine_done(&to);
}

static void continue_from_pre_switchover(void **state)
{
	struct machine from, to;

	(void) state;
	held(&from, &to, &hook_ops);
	assert_int_equal(vferry_session_continue(from.session), 0);
	assert_int_equal(vferry_session_wait(from.session, 10 * SECOND), 0);
	expect_moved(&from, &to);
	assert_int_equal(from.hooks, 1u << VFERRY_HOOK_BEFORE_SWITCHOVER |
				     1u << VFERRY_HOOK_AFTER_COMMIT);
	machine_done(&from);
	machine_done(&to);
}

static void a_failing_hook_cancels(void **state)
{
	struct machine from, to;

	(void) state;
	held(&from, &to, &hook_ops);
	from.fail_hook = -EPERM;
	assert_int_equal(vferry_session_continue(from.session), 0);
	assert_int_equal(vferry_session_wait(from.session, 10 * SECOND), 0);
	assert_int_equal(from.stops, 0);
	from.fail_hook = 0;
	expect_still_there(&from, outcome_of(&from), "hook-failed");
	machine_done(&from);
	machine_done(&to);
}

static void the_destination_goes_away(void **state)
{
	struct machine from, to;

	(void) state;
	held(&from, &to, &machine_ops);
	to.session = vferry_session_free(to.session);
	assert_int_equal(vferry_session_wait(from.session, 10 * SECOND), 0);
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
	machine_done(&to);
}

/* ---- a link that is cut at a message ---- */

struct proxy {
	char listen_path[100], target_path[100];
	uint16_t cut_at;	/* frame type that is not passed on any more */
	int listener, near, far;
	pthread_t accept_thread, up, down;
};

static bool move_bytes(int from, int to, uint8_t *buffer, size_t bytes)
{
	while (bytes) {
		ssize_t n = recv(from, buffer, bytes < 65536 ? bytes : 65536, 0);

		if (n <= 0 || send(to, buffer, (size_t) n, MSG_NOSIGNAL) != n)
			return false;
		bytes -= (size_t) n;
	}
	return true;
}

static void pump(struct proxy *p, int from, int to)
{
	uint8_t header[32], *buffer = malloc(65536);

	for (;;) {
		uint32_t length;

		if (recv(from, header, sizeof(header), MSG_WAITALL) != sizeof(header) ||
		    (uint16_t) (header[4] | header[5] << 8) == p->cut_at)
			break;
		memcpy(&length, header + 12, 4);
		if (send(to, header, sizeof(header), MSG_NOSIGNAL) != sizeof(header) ||
		    !move_bytes(from, to, buffer, length))
			break;
	}
	(void) shutdown(p->near, SHUT_RDWR);
	(void) shutdown(p->far, SHUT_RDWR);
	free(buffer);
}

static void *pump_up(void *user)
{
	struct proxy *p = user;

	pump(p, p->near, p->far);
	return NULL;
}

static void *pump_down(void *user)
{
	struct proxy *p = user;

	pump(p, p->far, p->near);
	return NULL;
}

static void *proxy_main(void *user)
{
	struct proxy *p = user;
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	p->near = accept(p->listener, NULL, NULL);
	p->far = socket(AF_UNIX, SOCK_STREAM, 0);
	(void) snprintf(to.sun_path, sizeof(to.sun_path), "%s", p->target_path);
	if (p->near < 0 || connect(p->far, (struct sockaddr *) &to, sizeof(to)))
		return NULL;
	(void) pthread_create(&p->up, NULL, pump_up, p);
	(void) pthread_create(&p->down, NULL, pump_down, p);
	(void) pthread_join(p->up, NULL);
	(void) pthread_join(p->down, NULL);
	return NULL;
}

static void proxy_start(struct proxy *p, const char *target_uri, uint16_t cut_at)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	*p = (struct proxy) { .cut_at = cut_at };
	(void) snprintf(p->target_path, sizeof(p->target_path), "%s", target_uri + strlen("unix:"));
	(void) snprintf(p->listen_path, sizeof(p->listen_path), "%.80s-proxy", p->target_path);
	(void) snprintf(at.sun_path, sizeof(at.sun_path), "%s", p->listen_path);
	p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	(void) unlink(p->listen_path);
	assert_int_equal(bind(p->listener, (struct sockaddr *) &at, sizeof(at)), 0);
	assert_int_equal(listen(p->listener, 1), 0);
	assert_int_equal(pthread_create(&p->accept_thread, NULL, proxy_main, p), 0);
}

static void proxy_end(struct proxy *p)
{
	(void) pthread_join(p->accept_thread, NULL);
	(void) close(p->listener);
	(void) close(p->near);
	(void) close(p->far);
	(void) unlink(p->listen_path);
}

#define COMMIT_FRAME 13
#define RUNNING_FRAME 19

/* Migrates over a link that is cut at @cut_at. Returns the URI to ask at. */
static void cut_migration(struct machine *from, struct machine *to, uint16_t cut_at, char uri[128],
			  char record_dir[64])
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct proxy proxy;
	char through[160];

	strcpy(record_dir, "/tmp/vferry-record-XXXXXX");
	assert_non_null(mkdtemp(record_dir));
	p.record_dir = record_dir;
	machine_init(from, true);
	machine_init(to, true);
	machine_fill(from);
	socket_uri(uri, 128);
	machine_session(from, &machine_ops, NULL);
	machine_session(to, &machine_ops, &p);
	assert_int_equal(vferry_session_accept(to->session, uri, &err), 0);
	proxy_start(&proxy, uri, cut_at);
	(void) snprintf(through, sizeof(through), "unix:%s", proxy.listen_path);
	assert_int_equal(vferry_session_migrate(from->session, through, &err), 0);
	assert_int_equal(vferry_session_wait(from->session, 20 * SECOND), 0);
	assert_int_equal(outcome_of(from), VFERRY_OUTCOME_UNKNOWN);
	assert_false(from->running);
	assert_int_equal(vferry_session_cancel(from->session), -EALREADY);
	proxy_end(&proxy);
}

static void wait_known(struct machine *m)
{
	for (int i = 0; i < 1000 && outcome_of(m) == VFERRY_OUTCOME_UNKNOWN; i++)
		(void) usleep(5000);
}

/* The destination has heard of the lost link, and holds the machine. */
static void wait_held(struct machine *m)
{
	for (int i = 0; i < 4000 && outcome_of(m) == VFERRY_OUTCOME_PENDING; i++)
		(void) usleep(5000);
	assert_int_equal(outcome_of(m), VFERRY_OUTCOME_UNKNOWN);
}

static void expect_record(const char *dir, const char *word)
{
	char command[256];

	(void) snprintf(command, sizeof(command), "grep -qx %s %s/*.vferry && rm -r %s", word, dir,
			dir);
	assert_int_equal(system(command), 0);
}

static void commit_that_never_came_is_resolved_to_aborted(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, COMMIT_FRAME, uri, dir);
	assert_int_equal(vferry_session_resolve(from.session, uri, false, &err), 0);
	wait_known(&from);
	assert_false(to.running);
	expect_record(dir, "aborted");
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
	machine_done(&to);
}

static void an_answer_that_never_came_is_resolved_to_ran(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, RUNNING_FRAME, uri, dir);
	assert_int_equal(vferry_session_wait(to.session, 5 * SECOND), 0);
	assert_true(to.running);
	assert_int_equal(vferry_session_resolve(from.session, uri, false, &err), 0);
	wait_known(&from);
	expect_record(dir, "ran");
	assert_int_equal(outcome_of(&from), VFERRY_OUTCOME_DONE);
	assert_false(from.running);
	machine_done(&from);
	machine_done(&to);
}

static void a_fenced_destination_gives_the_machine_back(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, COMMIT_FRAME, uri, dir);
	/* The operator made sure of it: */
	to.session = vferry_session_free(to.session);
	assert_false(to.running);
	assert_int_equal(vferry_session_resolve(from.session, NULL, true, &err), 0);
	wait_known(&from);
	expect_record(dir, "aborted");
	expect_still_there(&from, VFERRY_OUTCOME_FAILED, NULL);
	machine_done(&from);
	machine_done(&to);
}

static void a_prepared_destination_is_promoted_when_the_source_is_fenced(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct machine from, to;
	char uri[128], dir[64];

	(void) state;
	cut_migration(&from, &to, COMMIT_FRAME, uri, dir);
	assert_false(to.running);
	wait_held(&to);
	assert_int_equal(vferry_session_resolve(to.session, uri, false, &err), -EINVAL);
	assert_int_equal(vferry_session_resolve(to.session, NULL, false, &err), 0);
	assert_int_equal(vferry_session_wait(to.session, 5 * SECOND), 0);
	assert_int_equal(outcome_of(&to), VFERRY_OUTCOME_DONE);
	assert_true(to.running);
	expect_record(dir, "ran");
	/* It is known now: another word is refused. */
	assert_int_equal(vferry_session_resolve(to.session, NULL, true, &err), -EINVAL);
	/* Whoever asks later hears it. */
	assert_int_equal(vferry_session_resolve(from.session, uri, false, &err), 0);
	wait_known(&from);
	assert_int_equal(outcome_of(&from), VFERRY_OUTCOME_DONE);
	assert_false(from.running);
	machine_done(&from);
	machine_done(&to);
}

/* ---- dependencies ---- */

static int load_late(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	/* The counter's own value is there only if its section was loaded before this one. */
	if (vferry_read_u64(vferry_step_reader(step)) != 7 || m->counter != 42)
		return vferry_error_set(err, -EINVAL, "too-early", "late", "loaded before the counter");
	return 0;
}

static int save_late(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) user;
	(void) err;
	vferry_write_u64(vferry_step_writer(step), 7);
	return 0;
}

static int load_slowly(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) usleep(20000);
	return load_counter(user, step, err);
}

static void add_late(struct machine *m, bool cycle)
{
	static const struct vferry_step_desc steps[] = {
		{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_OTHER,
		  .name = "save", .section = 1, .run = save_late },
		{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER,
		  .name = "load", .section = 1, .run = load_late },
	};
	static const struct vferry_step_desc slow[] = {
		{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_OTHER,
		  .name = "save", .section = 1, .run = save_counter },
		{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER,
		  .name = "load", .section = 1, .run = load_slowly },
	};
	struct vferry_component late = {
		.size = sizeof(late), .name = "late", .user = m, .sections = counter_sections,
		.section_count = 1, .steps = steps, .step_count = 2,
	}, first = late;

	first.name = "first";
	first.steps = slow;
	assert_int_equal(vferry_session_new(&machine_ops, m, &m->session, NULL), 0);
	assert_int_equal(vferry_session_add_component(m->session, &late, NULL), 0);
	assert_int_equal(vferry_session_add_component(m->session, &first, NULL), 0);
	assert_int_equal(vferry_session_add_dependency(m->session, "first", 1, "none", 1, NULL),
			 -ENOENT);
	assert_int_equal(vferry_session_add_dependency(m->session, "first", 1, "first", 1, NULL),
			 -EINVAL);
	assert_int_equal(vferry_session_add_dependency(m->session, "first", 1, "late", 1, NULL), 0);
	if (cycle)
		assert_int_equal(vferry_session_add_dependency(m->session, "late", 1, "first", 1,
							       NULL), 0);
}

static void what_the_source_knows_is_obeyed_and_a_cycle_refused(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	for (int cycle = 0; cycle < 2; cycle++) {
		struct machine from, to;
		char uri[128];

		machine_init(&from, false);
		machine_init(&to, false);
		machine_fill(&from);
		socket_uri(uri, sizeof(uri));
		add_late(&from, cycle);
		add_late(&to, false);
		assert_int_equal(vferry_session_accept(to.session, uri, &err), 0);
		assert_int_equal(vferry_session_migrate(from.session, uri, &err), 0);
		assert_int_equal(vferry_session_wait(from.session, 20 * SECOND), 0);
		assert_int_equal(outcome_of(&from),
				 cycle ? VFERRY_OUTCOME_REFUSED : VFERRY_OUTCOME_DONE);
		assert_true(from.running == (cycle == 1));
		machine_done(&from);
		machine_done(&to);
	}
}

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
		cmocka_unit_test(moves),
		cmocka_unit_test(moves_without_ram),
		cmocka_unit_test(moves_on_four_channels_while_dirtied_and_verified),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(failures_roll_back),
		cmocka_unit_test(a_failing_start_is_after_the_hand_over),
		cmocka_unit_test(a_failing_undo_is_not_passed_off_as_running),
		cmocka_unit_test(differences_are_refused),
		cmocka_unit_test(check_changes_nothing),
		cmocka_unit_test(a_stall_timeout_is_a_second_or_more),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(cancel_in_pre_switchover),
		cmocka_unit_test(continue_from_pre_switchover),
		cmocka_unit_test(a_failing_hook_cancels),
		cmocka_unit_test(the_destination_goes_away),
		cmocka_unit_test(commit_that_never_came_is_resolved_to_aborted),
		cmocka_unit_test(an_answer_that_never_came_is_resolved_to_ran),
		cmocka_unit_test(a_fenced_destination_gives_the_machine_back),
		cmocka_unit_test(a_prepared_destination_is_promoted_when_the_source_is_fenced),
		cmocka_unit_test(what_the_source_knows_is_obeyed_and_a_cycle_refused),
		cmocka_unit_test(saved_and_loaded),
		cmocka_unit_test(a_full_disk_leaves_the_machine_running),
		cmocka_unit_test(a_damaged_file_is_refused_with_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
