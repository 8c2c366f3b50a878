/* SPDX-License-Identifier: MIT */
/*
 * test_stream_restart.c - the guest resets a device in a bad moment, as the destination sees it.
 *
 * The source is made up of encoders, and says everything at once; the destination's device is slow.
 * So what belongs to the device after its reset is there before its load steps have come to the
 * reset. Nothing may be built on what was loaded before.
 */
#include <errno.h>

#include "encoded_source.h"

#define STATE_BYTES 64u

enum { PCI = 0, VFIO = 1 };
enum { EARLY = 1, FINAL = 2 };

struct world {
	struct vferry_session *session;
	struct vf_channel *channel;
	_Atomic bool held_resuming, held_write;		/* the device takes its time */
	_Atomic uint32_t writes, restarts, restaged_at;	/* at: so many restarts before */
	_Atomic bool restaged, running;
	_Atomic uint32_t staged, final;			/* values of the sections */
	uint8_t state[STATE_BYTES];
};

/* ---- destination ---- */

static int start(void *user, struct vferry_error *err)
{
	struct world *w = user;

	(void) err;
	w->running = true;
	return 0;
}

static int stop(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static const struct vferry_machine_ops ops = { .size = sizeof(ops), .stop = stop, .start = start };

static int stage(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct world *w = user;

	(void) err;
	w->staged = vferry_read_u32(vferry_step_reader(step));
	return 0;
}

static int restage(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct world *w = user;

	(void) err;
	w->final = vferry_read_u32(vferry_step_reader(step));
	w->restaged_at = w->restarts;
	w->restaged = true;
	return 0;
}

static int resuming(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct world *w = user;

	(void) step;
	(void) err;
	while (w->held_resuming)
		usleep(1000);
	return 0;
}

static int nothing(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) user;
	(void) step;
	(void) err;
	return 0;
}

static int write_state(void *user, const void *data, size_t size, struct vferry_error *err)
{
	struct world *w = user;

	(void) err;
	w->writes++;
	while (w->held_write)
		usleep(1000);
	if (size != STATE_BYTES)
		return -EBADMSG;
	memcpy(w->state, data, size);
	return 0;
}

static int restart(void *user, struct vferry_error *err)
{
	struct world *w = user;

	(void) err;
	w->restarts++;
	memset(w->state, 0, sizeof(w->state));
	return 0;
}

static const struct vferry_stream_ops stream = {
	.size = sizeof(stream), .write = write_state, .restart = restart,
};
static const struct vferry_section_desc sections[] = {
	{ .id = EARLY, .name = "early", .version = 1, .oldest = 1, .max_bytes = 64 },
	{ .id = FINAL, .name = "final", .version = 1, .oldest = 1, .max_bytes = 64 },
};
static const struct vferry_step_desc pci_steps[] = {
	{ .size = sizeof(*pci_steps), .step_class = VFERRY_LOAD_CONFIG_STAGE, .name = "stage",
	  .section = EARLY, .run = stage },
	{ .size = sizeof(*pci_steps), .step_class = VFERRY_LOAD_CONFIG_RESTAGE, .name = "restage",
	  .section = FINAL, .run = restage },
};
static const struct vferry_step_desc vfio_steps[] = {
	{ .size = sizeof(*vfio_steps), .step_class = VFERRY_LOAD_DEVICE_RESUMING,
	  .name = "resuming", .run = resuming },
	{ .size = sizeof(*vfio_steps), .step_class = VFERRY_LOAD_DEVICE_VALIDATE,
	  .name = "validate", .run = nothing },
};

static void destination_up(struct world *w, const char *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_component pci = {
		.size = sizeof(pci), .name = "pci/00:04.0", .device = "00:04.0", .user = w,
		.sections = sections, .section_count = 2, .steps = pci_steps, .step_count = 2,
	}, vfio = {
		.size = sizeof(vfio), .name = "vfio/00:04.0", .device = "00:04.0", .user = w,
		.steps = vfio_steps, .step_count = 2, .stream = &stream,
	};

	assert_int_equal(vferry_session_new(&ops, w, &w->session, &err), 0);
	assert_int_equal(vferry_session_add_component(w->session, &pci, &err), 0);
	assert_int_equal(vferry_session_add_component(w->session, &vfio, &err), 0);
	assert_int_equal(vferry_session_set_machine(w->session, "made-up"), 0);
	if (vferry_session_accept(w->session, uri, &err))
		fail_msg("%s", err.message);
}

/* ---- source ---- */

/* The next answer of @type; signs of life, credit, acknowledgements may come before. */
static void expect_answer(struct world *w, enum vf_frame_type type, uint32_t bytes)
{
	for (;;) {
		struct vferry_error err = VFERRY_ERROR_INIT, why = VFERRY_ERROR_INIT;
		struct vf_frame frame;
		uint8_t *body = NULL;

		if (vf_channel_recv(w->channel, VF_FRAME_MAX_BYTES, &frame, &body, &err) != 1)
			fail_msg("no answer: %s", err.message);
		if (frame.type == VF_FRAME_FAILED) {
			(void) vf_failure_decode(body, frame.length, &why, NULL);
			fail_msg("%s: %s", why.object, why.message);
		}
		free(body);
		if (frame.type == type && (!bytes || frame.length == bytes))
			return;
	}
}

/* Everything sent until now was heard over there. */
static void probe(struct world *w)
{
	uint8_t body[4] = { 1, 2, 3, 4 };

	encoded_send(w->channel, VF_FRAME_KEEPALIVE, VF_NO_COMPONENT, body, sizeof(body));
	expect_answer(w, VF_FRAME_KEEPALIVE, sizeof(body));
}

static void greet(struct world *w)
{
	struct vf_wire_section parts[] = {
		{ .id = EARLY, .version = 1, .max_bytes = 64, .name = "early" },
		{ .id = FINAL, .version = 1, .max_bytes = 64, .name = "final" },
	};
	struct vf_wire_component components[] = {
		[PCI] = { .name = "pci/00:04.0", .device = "00:04.0", .section_count = 2,
			  .sections = parts },
		[VFIO] = { .name = "vfio/00:04.0", .device = "00:04.0", .has_stream = true },
	};
	struct vf_machine m = {
		.description = "made-up", .max_downtime_ns = ENCODED_SECOND, .component_count = 2,
		.components = components,
	};

	encoded_greet(w->channel, &m);
}

static void send_section(struct world *w, uint32_t id, uint32_t value)
{
	encoded_section(w->channel, PCI, id, value, 4);
}

/* All of the device's state, of one generation. */
static uint32_t send_state(struct world *w, uint32_t generation, uint8_t value)
{
	struct vf_stream_header header = { .generation = generation };
	uint8_t body[VF_STREAM_HEADER_BYTES + STATE_BYTES];

	vf_stream_header_encode(body, &header);
	memset(body + VF_STREAM_HEADER_BYTES, value, STATE_BYTES);
	encoded_send(w->channel, VF_FRAME_STREAM_DATA, VFIO, body, sizeof(body));
	return vf_crc32c(0, body + VF_STREAM_HEADER_BYTES, STATE_BYTES);
}

static void send_restart(struct world *w, uint32_t generation)
{
	uint8_t body[4];

	vf_put_u32(body, generation);
	encoded_send(w->channel, VF_FRAME_STREAM_RESTART, VFIO, body, sizeof(body));
}

static void send_mark(struct world *w, uint32_t generation, uint32_t kind, uint64_t offset,
		      uint32_t crc)
{
	struct vf_stream_mark mark = { .generation = generation, .kind = kind, .offset = offset,
				       .crc = crc };
	struct vf_writer out;

	vf_writer_init(&out, 64);
	vf_stream_mark_encode(&out, &mark);
	encoded_send_writer(w->channel, VF_FRAME_STREAM_MARK, VFIO, &out);
}

/* The stopped device: its config space, the rest of its state, and what all of it was. */
static void send_rest(struct world *w, uint32_t generation, uint32_t early, uint32_t final)
{
	struct vf_manifest_section list[] = { encoded_listed(PCI, EARLY, early, 4),
					      encoded_listed(PCI, FINAL, final, 4) };
	struct vf_manifest_stream sent = { .component = VFIO, .generation = generation,
					   .bytes = STATE_BYTES };
	struct vf_manifest manifest = { .section_count = 2, .sections = list, .stream_count = 1,
					.streams = &sent };

	send_mark(w, generation, VF_MARK_STOPPED, 0, 0);
	send_section(w, FINAL, final);
	sent.crc = send_state(w, generation, (uint8_t) final);
	send_mark(w, generation, VF_MARK_END, STATE_BYTES, sent.crc);
	encoded_manifest(w->channel, &manifest);
}

static void world_up(struct world *w)
{
	char uri[80];

	encoded_uri(uri, sizeof(uri));
	destination_up(w, uri);
	w->channel = encoded_connect(uri);
	greet(w);
}

/* What was loaded is what the last generation sent. */
static void expect_handed_over(struct world *w, uint32_t early, uint32_t final)
{
	expect_answer(w, VF_FRAME_PREPARED, 0);
	assert_int_equal(w->staged, early);
	assert_int_equal(w->final, final);
	for (size_t i = 0; i < STATE_BYTES; i++)
		assert_int_equal(w->state[i], (uint8_t) final);
	encoded_commit(w->channel);
	expect_answer(w, VF_FRAME_RUNNING, 0);
	assert_true(w->running);
	w->channel = vf_channel_free(w->channel);
	w->session = vferry_session_free(w->session);
}

/* Until @value has become @wanted; a session that ended meanwhile has failed. */
static void await(struct world *w, _Atomic uint32_t *value, uint32_t wanted)
{
	struct vferry_status status;

	while (*value != wanted) {
		vferry_session_get_status(w->session, &status);
		if (status.outcome != VFERRY_OUTCOME_PENDING)
			fail_msg("%s: %s", status.error.object, status.error.message);
		usleep(1000);
	}
}

/* ---- the tests ---- */

static void config_space_that_a_reset_made_void_does_no_harm(void **state)
{
	struct world w = { .held_resuming = true };

	(void) state;
	world_up(&w);
	send_section(&w, EARLY, 10);	/* what stage waits with until the device is in RESUMING */
	send_restart(&w, 1);
	probe(&w);
	w.held_resuming = false;
	await(&w, &w.staged, 10);	/* it may use it: it is run again */
	send_section(&w, EARLY, 11);
	encoded_switchover(w.channel);
	send_rest(&w, 1, 11, 12);
	expect_handed_over(&w, 11, 12);
	assert_int_equal(w.restarts, 1);
}

static void nothing_is_built_on_a_device_that_will_begin_anew(void **state)
{
	struct world w = { .held_write = true };

	(void) state;
	world_up(&w);
	send_section(&w, EARLY, 20);
	(void) send_state(&w, 0, 1);
	await(&w, &w.writes, 1);
	/* Twice, and stopped, while the device still takes its first state. */
	send_restart(&w, 1);
	send_section(&w, EARLY, 21);
	send_restart(&w, 2);
	send_section(&w, EARLY, 22);
	encoded_switchover(w.channel);
	send_rest(&w, 2, 22, 23);
	probe(&w);
	/* Whoever would restage now has had time to. */
	for (int i = 0; i < 100 && !w.restaged; i++)
		usleep(1000);
	assert_false(w.restaged);
	w.held_write = false;
	expect_handed_over(&w, 22, 23);
	assert_int_equal(w.restarts, 2);
	assert_int_equal(w.restaged_at, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_space_that_a_reset_made_void_does_no_harm),
		cmocka_unit_test(nothing_is_built_on_a_device_that_will_begin_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
