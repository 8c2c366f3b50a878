/* SPDX-License-Identifier: MIT */
/*
 * made_up_machine.h - a machine for sessions: RAM, a component with a section, one with a stream. Two
 * of them in one process migrate over real sockets, or by a file; each can be told to fail.
 */
#ifndef MADE_UP_MACHINE_H
#define MADE_UP_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static inline int stop_machine(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_stop)
		return vferry_error_set(err, m->fail_stop, "told-to-fail", "machine", "stop");
	__atomic_store_n(&m->running, false, __ATOMIC_SEQ_CST);
	m->stops++;
	return 0;
}

static inline int start_machine(void *user, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_start)
		return vferry_error_set(err, m->fail_start, "told-to-fail", "machine", "start");
	__atomic_store_n(&m->running, true, __ATOMIC_SEQ_CST);
	m->starts++;
	return 0;
}

static inline int save_counter(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_save)
		return vferry_error_set(err, m->fail_save, "told-to-fail", "counter", "save");
	vferry_write_u64(vferry_step_writer(step), m->counter);
	return 0;
}

static inline int load_counter(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	if (m->fail_load)
		return vferry_error_set(err, m->fail_load, "told-to-fail", "counter", "load");
	m->counter = vferry_read_u64(vferry_step_reader(step));
	return 0;
}

static inline int counter_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	(void) user;
	(void) err;
	vferry_write_u32(w, 7);
	return 0;
}

static inline int counter_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	uint32_t version = vferry_read_u32(source);

	(void) user;
	if (version != 7)
		vferry_reasons_add(reasons, "counter-kind", "counter", "kind %u, 7 here", version);
	return vferry_reader_done(source) ? 0 : -EBADMSG;
}

static inline int64_t blob_read(void *user, void *buffer, size_t size, struct vferry_error *err)
{
	struct machine *m = user;
	size_t end = m->blob_stopped ? BLOB_BYTES : BLOB_BYTES / 2;
	size_t n = end - m->blob_at < size ? end - m->blob_at : size;

	(void) err;
	memcpy(buffer, m->blob + m->blob_at, n);
	m->blob_at += n;
	return (int64_t) n;
}

static inline int blob_precopy_start(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static inline int blob_remaining(void *user, struct vferry_remaining *ret, struct vferry_error *err)
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

static inline int blob_write(void *user, const void *data, size_t size, struct vferry_error *err)
{
	struct machine *m = user;

	if (size > BLOB_BYTES - m->blob_at)
		return vferry_error_set(err, -EFBIG, "too-long", "blob", "too long");
	memcpy(m->blob + m->blob_at, data, size);
	m->blob_at += size;
	return 0;
}

static inline int blob_stop(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	(void) step;
	(void) err;
	m->blob_stopped = true;
	return 0;
}

static inline int blob_run(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct machine *m = user;

	(void) step;
	(void) err;
	m->blob_stopped = false;
	m->blob_at = 0;
	return 0;
}

static inline int no_step(void *user, struct vferry_step *step, struct vferry_error *err)
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

static inline void machine_init(struct machine *m, bool with_ram)
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

static inline void machine_fill(struct machine *m)
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

static inline void machine_session(struct machine *m, const struct vferry_machine_ops *ops,
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

static inline void machine_done(struct machine *m)
{
	m->session = vferry_session_free(m->session);
	m->ram = vferry_ram_free(m->ram);
	free(m->blob);
}

static inline void socket_uri(char *to, size_t size)
{
	static int count;

	(void) snprintf(to, size, "unix:/tmp/vferry-test-%d-%d", (int) getpid(), count++);
}

static inline enum vferry_outcome outcome_of(struct machine *m)
{
	struct vferry_status status;

	vferry_session_get_status(m->session, &status);
	return status.outcome;
}

static inline void migrate(struct machine *from, struct machine *to, const struct vferry_parameters *p)
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

static inline void expect_moved(struct machine *from, struct machine *to)
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

/* After every failure before COMMIT: the source runs as before, and can migrate at once. */
static inline void expect_still_there(struct machine *from, enum vferry_outcome outcome, const char *id)
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

#endif
