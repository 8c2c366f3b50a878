/* SPDX-License-Identifier: MIT */
/* session: a machine moves between two sessions of one process; and everything that may go wrong on the way. */
#include <time.h>

#include "made_up_machine.h"

static int hook(void *user, enum vferry_hook which, struct vferry_error *err)
{
	struct machine *m = user;

	(void) err;
	m->hooks |= 1u << which;
	return which == VFERRY_HOOK_BEFORE_SWITCHOVER ? m->fail_hook : 0;
}

static const struct vferry_machine_ops hook_ops = {
	.size = sizeof(hook_ops), .stop = stop_machine, .start = start_machine, .hook = hook,
};

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
		cmocka_unit_test(what_the_source_knows_is_obeyed_and_a_cycle_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
