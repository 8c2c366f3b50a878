/* SPDX-License-Identifier: MIT */
/*
 * test_early_sections.c - over a socket nothing can be looked up: what comes before its time is
 * held, up to the bound that ACCEPT names, and refused by name beyond. The source is made up of
 * encoders and sends its frames in orders of its own; it carries dependencies, which the
 * destination keeps.
 */
#include <errno.h>

#include "encoded_source.h"

#define LATE 16u			/* sections of a component that waits */
#define BODY_BYTES ((1u << 20) - VF_SECTION_HEADER_BYTES)	/* announced as most */

enum { FIRST = 0, LATE_A = 1, LATE_B = 2, COMPONENTS = 3 };

/* What the destination loaded, in its order. */
struct world {
	struct vferry_session *session;
	struct vf_channel *channel;
	_Atomic unsigned loaded;	/* steps */
	_Atomic unsigned first_at, late_loaded;
	_Atomic bool wrong, running;
	struct vferry_section_desc sections[LATE];
	struct vferry_step_desc steps[LATE];
	char names[LATE][16];
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

static int load_first(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct world *w = user;

	(void) err;
	if (vferry_read_u32(vferry_step_reader(step)) != 0x4711)
		w->wrong = true;
	w->first_at = ++w->loaded;
	return 0;
}

static int load_late(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct world *w = user;
	unsigned at = ++w->loaded;
	uint32_t id = vferry_read_u32(vferry_step_reader(step));

	(void) err;
	if (id != vferry_step_section_id(step) || !w->first_at || at <= w->first_at)
		w->wrong = true;
	w->late_loaded++;
	return 0;
}

static const struct vferry_section_desc first_section = {
	.id = 1, .name = "key", .version = 1, .oldest = 1, .max_bytes = 64,
};

static const struct vferry_step_desc first_step = {
	.size = sizeof(first_step), .step_class = VFERRY_LOAD_OTHER, .name = "load", .section = 1,
	.run = load_first,
};

static void destination_up(struct world *w, const char *uri)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_component first = {
		.size = sizeof(first), .name = "first", .user = w, .sections = &first_section,
		.section_count = 1, .steps = &first_step, .step_count = 1,
	}, late = {
		.size = sizeof(late), .user = w, .sections = w->sections, .section_count = LATE,
		.steps = w->steps, .step_count = LATE,
	};

	for (unsigned i = 0; i < LATE; i++) {
		(void) snprintf(w->names[i], sizeof(w->names[i]), "part-%u", i + 1);
		w->sections[i] = (struct vferry_section_desc) {
			.id = i + 1, .name = w->names[i], .version = 1, .oldest = 1,
			.max_bytes = BODY_BYTES,
		};
		w->steps[i] = (struct vferry_step_desc) {
			.size = sizeof(w->steps[i]), .step_class = VFERRY_LOAD_OTHER,
			.name = w->names[i], .section = i + 1, .run = load_late,
		};
	}
	assert_int_equal(vferry_session_new(&ops, w, &w->session, &err), 0);
	assert_int_equal(vferry_session_add_component(w->session, &first, &err), 0);
	late.name = "late/a";
	assert_int_equal(vferry_session_add_component(w->session, &late, &err), 0);
	late.name = "late/b";
	assert_int_equal(vferry_session_add_component(w->session, &late, &err), 0);
	assert_int_equal(vferry_session_set_machine(w->session, "made-up"), 0);
	if (vferry_session_accept(w->session, uri, &err))
		fail_msg("%s", err.message);
}

/* ---- source ---- */

/* Everything of late/a and late/b depends on the one section of first. */
static void greet(struct world *w)
{
	struct vf_wire_section key = { .id = 1, .version = 1, .max_bytes = 64, .name = "key" };
	struct vf_wire_section parts[LATE] = { 0 };
	struct vf_wire_component components[COMPONENTS] = {
		[FIRST] = { .name = "first", .section_count = 1, .sections = &key },
		[LATE_A] = { .name = "late/a", .section_count = LATE, .sections = parts },
		[LATE_B] = { .name = "late/b", .section_count = LATE, .sections = parts },
	};
	struct vf_wire_dependency dependencies[2 * LATE];
	struct vf_machine m = {
		.description = "made-up", .max_downtime_ns = ENCODED_SECOND,
		.component_count = COMPONENTS, .components = components,
		.dependency_count = 2 * LATE, .dependencies = dependencies,
	};

	for (uint32_t i = 0; i < LATE; i++) {
		parts[i] = (struct vf_wire_section) { .id = i + 1, .version = 1,
						      .max_bytes = BODY_BYTES };
		(void) snprintf(parts[i].name, sizeof(parts[i].name), "part-%u", i + 1);
		dependencies[i] = (struct vf_wire_dependency) { FIRST, 1, LATE_A, i + 1 };
		dependencies[LATE + i] = (struct vf_wire_dependency) { FIRST, 1, LATE_B, i + 1 };
	}
	encoded_greet(w->channel, &m);
}

static void send_section(struct world *w, uint32_t component, uint32_t id, uint32_t value,
			 uint32_t bytes)
{
	encoded_section(w->channel, component, id, value, bytes);
}

/* All that waits, each section with its own id. */
static void send_late(struct world *w, uint32_t bytes)
{
	for (uint32_t id = 1; id <= LATE; id++) {
		send_section(w, LATE_A, id, id, bytes);
		send_section(w, LATE_B, id, id, bytes);
	}
}

/* Everything that will have been sent: all of it is known beforehand. */
static void send_manifest(struct world *w, uint32_t late_bytes)
{
	struct vf_manifest_section list[2 * LATE + 1] = { encoded_listed(FIRST, 1, 0x4711, 4) };
	struct vf_manifest manifest = { .section_count = 2 * LATE + 1, .sections = list };

	for (uint32_t i = 0; i < 2 * LATE; i++)
		list[i + 1] = encoded_listed(i < LATE ? LATE_A : LATE_B, i % LATE + 1,
					     i % LATE + 1, late_bytes);
	encoded_manifest(w->channel, &manifest);
}

/* Nothing early, nothing twice. */
static void send_all(struct world *w)
{
	send_section(w, FIRST, 1, 0x4711, 4);
	send_late(w, 1000);
	send_manifest(w, 1000);
	encoded_switchover(w->channel);
}

static void world_up(struct world *w)
{
	char uri[80];

	memset(w, 0, sizeof(*w));
	encoded_uri(uri, sizeof(uri));
	destination_up(w, uri);
	w->channel = encoded_connect(uri);
	greet(w);
}

static void world_down(struct world *w)
{
	w->channel = vf_channel_free(w->channel);
	w->session = vferry_session_free(w->session);
}

static void expect_handed_over(struct world *w)
{
	struct vferry_status status;

	encoded_expect(w->channel, VF_FRAME_PREPARED);
	assert_false(w->running);
	assert_false(w->wrong);
	assert_int_equal(w->late_loaded, 2 * LATE);
	encoded_commit(w->channel);
	encoded_expect(w->channel, VF_FRAME_REPORT);
	encoded_expect(w->channel, VF_FRAME_RUNNING);
	assert_int_equal(vferry_session_wait(w->session, 5 * ENCODED_SECOND), 0);
	vferry_session_get_status(w->session, &status);
	assert_int_equal(status.outcome, VFERRY_OUTCOME_DONE);
	assert_true(w->running);
	encoded_expect(w->channel, VF_FRAME_VECTORS);	/* what an older source skips, last */
}

/* ---- the tests ---- */

static void what_comes_too_early_is_held(void **state)
{
	struct world w;

	(void) state;
	world_up(&w);
	for (uint32_t id = LATE; id > LATE / 2; id--)	/* backwards, and before the switchover */
		send_section(&w, LATE_B, id, id, 1000);
	send_manifest(&w, 1000);
	encoded_switchover(w.channel);
	for (uint32_t id = 1; id <= LATE; id++)
		send_section(&w, LATE_A, id, id, 1000);
	for (uint32_t id = 1; id <= LATE / 2; id++)
		send_section(&w, LATE_B, id, id, 1000);
	usleep(50000);
	assert_int_equal(w.loaded, 0);
	send_section(&w, FIRST, 1, 0x4711, 4);		/* what all others wait for */
	expect_handed_over(&w);
	world_down(&w);
}

static void a_section_that_comes_again_takes_the_place_of_the_first(void **state)
{
	struct world w;

	(void) state;
	world_up(&w);
	for (uint32_t id = 1; id <= LATE; id++) {
		send_section(&w, LATE_A, id, 99, 5000);
		send_section(&w, LATE_A, id, id, 1000);
		send_section(&w, LATE_B, id, id, 1000);
	}
	send_section(&w, FIRST, 1, 0x4711, 4);
	send_manifest(&w, 1000);
	encoded_switchover(w.channel);
	expect_handed_over(&w);
	world_down(&w);
}

static void sections_of_the_bound_are_held(void **state)
{
	uint32_t bytes = (16u << 20) / (2 * LATE) - 64;
	struct world w;

	(void) state;
	world_up(&w);
	send_late(&w, bytes);
	send_section(&w, FIRST, 1, 0x4711, 4);
	encoded_switchover(w.channel);
	send_manifest(&w, bytes);
	expect_handed_over(&w);
	world_down(&w);
}

static void expect_not_done(struct world *w, struct vferry_status *ret_status)
{
	assert_int_equal(vferry_session_wait(w->session, 5 * ENCODED_SECOND), 0);
	vferry_session_get_status(w->session, ret_status);
	assert_int_not_equal(ret_status->outcome, VFERRY_OUTCOME_DONE);
	assert_false(w->running);
}

static void expect_failed(struct world *w, const char *id, const char *object, const char *part)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vferry_status status;
	struct vf_frame frame;
	uint8_t *body;

	frame = encoded_answer(w->channel, &body);
	assert_int_equal(frame.type, VF_FRAME_FAILED);
	assert_int_equal(vf_failure_decode(body, frame.length, &why, NULL), 0);
	free(body);
	assert_string_equal(why.id, id);
	assert_string_equal(why.object, object);
	if (!strstr(why.message, part))
		fail_msg("%s", why.message);
	expect_not_done(w, &status);
}

static void expect_refused(struct world *w, const char *id, const char *object, const char *part)
{
	expect_failed(w, id, object, part);
	assert_int_equal(w->loaded, 0);
}

static void beyond_the_bound_it_is_refused_by_name(void **state)
{
	struct world w;

	(void) state;
	world_up(&w);
	/* 16 sections of a MiB but 8 bytes are within 16 MiB; what would go beyond is not held. */
	for (uint32_t id = 1; id <= LATE; id++)
		send_section(&w, LATE_A, id, id, BODY_BYTES);
	send_section(&w, LATE_B, 3, 3, 4096);
	expect_refused(&w, "sections-over-bound", "late/b:part-3",
		       "16777088 of 16777216 were held");
	world_down(&w);
}

/* What was loaded is what the manifest is about, and not what comes after it. */
static void what_comes_too_late_is_refused_by_name(void **state)
{
	struct vferry_status status;
	struct world w;

	(void) state;
	world_up(&w);
	send_section(&w, FIRST, 1, 0x4711, 4);
	while (!w.loaded)
		usleep(100);
	send_all(&w);
	expect_failed(&w, "section-late", "first:key", "again after it had been loaded");
	world_down(&w);

	world_up(&w);
	send_all(&w);
	encoded_expect(w.channel, VF_FRAME_PREPARED);
	send_section(&w, LATE_A, 1, 1, 1000);
	encoded_expect(w.channel, VF_FRAME_RESOLVED);	/* the promise is taken back */
	expect_not_done(&w, &status);
	assert_string_equal(status.error.id, "section-late");
	assert_string_equal(status.error.object, "late/a:part-1");
	world_down(&w);
}

static void what_was_not_agreed_on_is_refused_by_name(void **state)
{
	struct world w;

	(void) state;
	world_up(&w);
	send_section(&w, FIRST, 1, 0x4711, 65);
	expect_refused(&w, "section-too-large", "first:key", "at most 64 were agreed on");
	world_down(&w);
	world_up(&w);
	send_section(&w, FIRST, 2, 0x4711, 4);
	expect_refused(&w, "section-not-announced", "first", "section 2");
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_too_early_is_held),
		cmocka_unit_test(a_section_that_comes_again_takes_the_place_of_the_first),
		cmocka_unit_test(sections_of_the_bound_are_held),
		cmocka_unit_test(beyond_the_bound_it_is_refused_by_name),
		cmocka_unit_test(what_comes_too_late_is_refused_by_name),
		cmocka_unit_test(what_was_not_agreed_on_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
