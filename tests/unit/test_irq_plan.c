/* SPDX-License-Identifier: MIT */
/* test_irq_plan.c - the table goes out once, connects come after, a release loses nothing. */
#include "test_device.h"
#include "session/irq_plan.h"
#include "session/session_internal.h"

struct fixture {
	struct sink sink;
	struct vferry_irq_plan *plan;
	struct vf_irq_source *a, *b;
	int fds[8];
};

static struct vf_irq_source *add(struct fixture *x, const char *name, uint32_t pin)
{
	const struct vf_irq_source_desc desc = { .name = name, .requester_id = 7, .intx_pin = pin };
	struct vf_irq_source *source;

	assert_int_equal(vf_irq_source_add(x->plan, &desc, &source, NULL), 0);
	return source;
}

static int set_up_with(void **state, bool loses_pending)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct vferry_irq_sink table;

	sink_init(&x->sink);
	table = sink_table(&x->sink);
	table.loses_pending = loses_pending;
	assert_int_equal(vferry_irq_plan_new(&table, &x->plan, NULL), 0);
	x->a = add(x, "a", 3);
	x->b = add(x, "b", 3);
	for (int i = 0; i < 8; i++)
		x->fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	*state = x;
	return 0;
}

static int setup(void **state)
{
	return set_up_with(state, false);
}

static int setup_losing(void **state)
{
	return set_up_with(state, true);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	vferry_irq_plan_free(x->plan);
	assert_int_equal(x->sink.producers, 0);
	for (int i = 0; i < 8; i++)
		close(x->fds[i]);
	free(x);
	return 0;
}

static void alloc_msi(struct fixture *x, struct vf_irq_source *s, uint32_t count, int first_fd)
{
	assert_int_equal(vf_irq_alloc(x->plan, s, VFERRY_IRQ_MSI, count, &x->fds[first_fd], -1,
				      NULL), 0);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(vf_irq_set_message(x->plan, s, i, DOORBELL, 100 + i), 0);
}

static void table_goes_out_once_before_connects(void **state)
{
	struct fixture *x = *state;
	struct vferry_component component;

	alloc_msi(x, x->a, 2, 0);
	alloc_msi(x, x->b, 2, 2);
	expect_notes(&x->sink.notes, "");
	assert_int_equal(x->sink.producers, 4);

	assert_int_equal(vf_irq_plan_component(x->plan, &component), 0);
	assert_int_equal(component.step_count, 1);
	assert_int_equal(component.steps[0].step_class, VFERRY_LOAD_IRQ_ROUTES);
	assert_int_equal(component.steps[0].run(component.user, NULL, NULL), 0);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(vf_irq_connect(x->plan, x->a, i, NULL), 0);
		assert_int_equal(vf_irq_connect(x->plan, x->b, i, NULL), 0);
	}
	expect_notes(&x->sink.notes, "routes 4; connect 0; connect 2; connect 1; connect 3; ");
	assert_int_equal(x->sink.routes[3].data, 101);
	assert_int_equal(x->sink.routes[3].requester_id, 7);

	/* The same again changes nothing. */
	assert_int_equal(vf_irq_set_message(x->plan, x->a, 0, DOORBELL, 100), 0);
	assert_int_equal(vf_irq_commit(x->plan, NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	expect_notes(&x->sink.notes, "");
	assert_int_equal(vf_irq_plan_commits(x->plan), 1);
}

static void connect_commits_what_it_needs(void **state)
{
	struct fixture *x = *state;

	alloc_msi(x, x->a, 1, 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	expect_notes(&x->sink.notes, "routes 1; connect 0; ");
}

static void new_route_reconnects(void **state)
{
	struct fixture *x = *state;

	alloc_msi(x, x->a, 1, 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	forget(&x->sink.notes);
	assert_int_equal(vf_irq_set_message(x->plan, x->a, 0, DOORBELL, 55), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	expect_notes(&x->sink.notes, "routes 1; disconnect 0; connect 0; ");
	assert_int_equal(x->sink.routes[0].data, 55);
}

static void no_message_no_connect(void **state)
{
	struct fixture *x = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(vf_irq_alloc(x->plan, x->a, VFERRY_IRQ_MSI, 1, x->fds, -1, NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, &err), -EINVAL);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 1, NULL), -EINVAL);
	assert_int_equal(vf_irq_set_message(x->plan, x->a, 1, DOORBELL, 1), -EINVAL);
	expect_notes(&x->sink.notes, "");
}

static void devices_on_one_pin_share_a_gsi(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(vf_irq_alloc(x->plan, x->a, VFERRY_IRQ_PIN, 1, &x->fds[0], x->fds[1],
				      NULL), 0);
	assert_int_equal(vf_irq_alloc(x->plan, x->b, VFERRY_IRQ_PIN, 1, &x->fds[2], x->fds[3],
				      NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->b, 0, NULL), 0);
	expect_notes(&x->sink.notes, "routes 1; connect 0; connect 0; ");
	assert_int_equal(x->sink.routes[0].pin, 3);
	assert_int_equal(x->sink.resample[0], x->fds[3]);
	vf_irq_free(x->plan, x->a);
	assert_int_equal(vf_irq_commit(x->plan, NULL), 0);
	assert_true(x->sink.routed[0]);
	x->sink.eventfd[0] = x->fds[2];
	vf_irq_free(x->plan, x->b);
	assert_int_equal(vf_irq_commit(x->plan, NULL), 0);
	assert_false(x->sink.routed[0]);
}

static void pending_event_is_found_at_connect(void **state)
{
	struct fixture *x = *state;

	alloc_msi(x, x->a, 1, 0);
	assert_int_equal(eventfd_write(x->fds[0], 1), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	assert_int_equal(x->sink.delivered[0], 1);
}

static void forwarded_vector_is_sent_again_when_cut(void **state)
{
	struct fixture *x = *state;

	x->sink.forwarded = VFERRY_FORWARDED_YES;
	alloc_msi(x, x->a, 1, 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	forget(&x->sink.notes);
	assert_int_equal(vf_irq_disconnect(x->plan, x->a, 0, NULL), 0);
	assert_int_equal(vf_irq_disconnect(x->plan, x->a, 0, NULL), 0);
	expect_notes(&x->sink.notes, "disconnect 0; signal 0; ");
	/* A vector that was not forwarded loses nothing. */
	x->sink.forwarded = VFERRY_FORWARDED_NO;
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	assert_int_equal(vf_irq_disconnect(x->plan, x->a, 0, NULL), 0);
	expect_notes(&x->sink.notes, "connect 0; disconnect 0; ");
}

static void cut_unknown_vector(struct fixture *x, const char *expected)
{
	x->sink.forwarded = VFERRY_FORWARDED_UNKNOWN;
	alloc_msi(x, x->a, 1, 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	forget(&x->sink.notes);
	assert_int_equal(vf_irq_disconnect(x->plan, x->a, 0, NULL), 0);
	expect_notes(&x->sink.notes, expected);
}

/* Where nobody can tell, an interrupt too many is better than one lost: if it can be lost at all. */
static void unknown_vector_is_sent_again_if_it_may_be_lost(void **state)
{
	cut_unknown_vector(*state, "disconnect 0; signal 0; ");
}

static void unknown_vector_is_not_sent_again(void **state)
{
	cut_unknown_vector(*state, "disconnect 0; ");
}

/* Save on GICv4.0: all are cut before any is sent again; masked ones are not sent. */
static void release_and_reconnect(void **state)
{
	struct fixture *x = *state;
	struct vf_irq_counts counts;

	x->sink.forwarded = VFERRY_FORWARDED_YES;
	alloc_msi(x, x->a, 3, 0);
	alloc_msi(x, x->b, 1, 3);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 2, NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->b, 0, NULL), 0);
	forget(&x->sink.notes);
	x->sink.asked = 0;
	assert_int_equal(vferry_irq_plan_release(x->plan, NULL), 3);
	assert_int_equal(x->sink.asked, 1);	/* of all at once: asking KVM is slow */
	expect_notes(&x->sink.notes,
		     "disconnect 3; disconnect 0; disconnect 2; signal 3; signal 0; signal 2; ");
	vf_irq_count(x->plan, x->a, &counts);
	assert_int_equal(counts.wanted, 2);
	assert_int_equal(counts.connected, 0);
	/* Undo: those that were, and the same routes. */
	assert_int_equal(vf_irq_reconnect(x->plan, x->a, NULL), 0);
	assert_int_equal(vf_irq_reconnect(x->plan, x->a, NULL), 0);
	expect_notes(&x->sink.notes, "connect 0; connect 2; ");
	vf_irq_count(x->plan, x->a, &counts);
	assert_int_equal(counts.forwarded, 2);
}

/* All vectors of all devices, whoever asks: with one question, and what is not connected is not asked. */
static void all_vectors_are_listed(void **state)
{
	struct fixture *x = *state;
	struct vf_irq_vector *list;
	size_t count;

	x->sink.forwarded = VFERRY_FORWARDED_YES;
	alloc_msi(x, x->a, 3, 0);
	alloc_msi(x, x->b, 1, 3);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 1, NULL), 0);
	assert_int_equal(vf_irq_connect(x->plan, x->b, 0, NULL), 0);
	x->sink.fail_connect = -EAGAIN;
	assert_int_equal(vf_irq_connect(x->plan, x->a, 2, NULL), -EAGAIN);
	x->sink.fail_connect = 0;
	x->sink.asked = 0;
	assert_int_equal(vf_irq_plan_list(x->plan, &list, &count), 0);
	assert_int_equal(x->sink.asked, 1);
	assert_int_equal(count, 4);
	assert_string_equal(list[0].source, "b");
	assert_true(list[0].connected && list[0].forwarded == VFERRY_FORWARDED_YES);
	for (uint32_t i = 0; i < 3; i++) {
		assert_string_equal(list[1 + i].source, "a");
		assert_int_equal(list[1 + i].vector, i);
		assert_int_equal(list[1 + i].connected, i == 1);
		assert_int_equal(list[1 + i].forwarded, i == 1 ? VFERRY_FORWARDED_YES
							       : VFERRY_FORWARDED_NO);
	}
	assert_string_equal(list[1].reason, "the guest masked it, or did not set it up");
	assert_string_equal(list[3].reason, "it could not be connected");
	free(list);
	x->sink.forwarded = VFERRY_FORWARDED_NO;
	assert_int_equal(vf_irq_plan_list(x->plan, &list, &count), 0);
	assert_string_equal(list[0].reason, "no hardware");
	free(list);
}

static struct vf_device_vectors runs_of(const struct vf_irq_vector *list, size_t count, uint32_t most)
{
	struct vf_device_vectors d = { .run_count = 0 };
	uint32_t vectors = 0;

	assert_int_equal(vf_session_make_runs(list, count, most, &d), 0);
	assert_true(d.run_count <= most);
	for (uint32_t i = 0; i < d.run_count; i++)
		vectors += d.runs[i].count;
	assert_int_equal(vectors, count);
	return d;
}

/* For the report: what is alike is one run, and there are never more than fit a message. */
static void vectors_become_runs(void **state)
{
	struct vf_irq_vector list[6] = {
		{ .connected = true, .forwarded = VFERRY_FORWARDED_YES },
		{ .connected = true, .forwarded = VFERRY_FORWARDED_YES },
		{ .connected = true, .forwarded = VFERRY_FORWARDED_NO, .reason = "a" },
		{ .connected = true, .forwarded = VFERRY_FORWARDED_NO, .reason = "b\n" },
		{ .forwarded = VFERRY_FORWARDED_NO, .reason = "c" },
		{ .forwarded = VFERRY_FORWARDED_NO, .reason = "c" },
	};
	struct vf_device_vectors d;

	(void) state;
	d = runs_of(list, 6, 100);
	assert_int_equal(d.run_count, 4);
	assert_int_equal(d.runs[0].count, 2);
	assert_string_equal(d.runs[2].reason, "b?");
	assert_false(d.runs[3].connected);
	free(d.runs);
	d = runs_of(list, 6, 4);
	assert_int_equal(d.run_count, 4);
	assert_string_equal(d.runs[3].reason, "c");
	free(d.runs);
	d = runs_of(list, 6, 3);
	assert_int_equal(d.run_count, 3);
	assert_int_equal(d.runs[2].count, 3);
	assert_int_equal(d.runs[2].forwarded, VFERRY_FORWARDED_UNKNOWN);
	assert_string_equal(d.runs[2].reason, "too many different answers to list");
	free(d.runs);
	d = runs_of(list, 0, 3);
	assert_int_equal(d.run_count, 0);
	free(d.runs);
}

static void release_leaves_software_vectors(void **state)
{
	struct fixture *x = *state;

	alloc_msi(x, x->a, 1, 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	forget(&x->sink.notes);
	assert_int_equal(vferry_irq_plan_release(x->plan, NULL), 0);
	expect_notes(&x->sink.notes, "");
	x->sink.forwarded = VFERRY_FORWARDED_UNKNOWN;
	assert_int_equal(vferry_irq_plan_release(x->plan, NULL), 1);
	expect_notes(&x->sink.notes, "disconnect 0; signal 0; ");
}

static void failures_are_told_and_leave_things_usable(void **state)
{
	struct fixture *x = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_irq_counts counts;

	x->sink.fail_producer = -ENXIO;
	assert_int_equal(vf_irq_alloc(x->plan, x->a, VFERRY_IRQ_MSI, 2, x->fds, -1, &err), -ENXIO);
	assert_string_equal(err.id, "irq-producer");
	x->sink.fail_producer = 0;
	vf_irq_count(x->plan, x->a, &counts);
	assert_int_equal(counts.vectors, 0);

	alloc_msi(x, x->a, 2, 0);
	x->sink.fail_routes = -E2BIG;
	vferry_error_clear(&err);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, &err), -E2BIG);
	assert_string_equal(err.id, "irq-routes");
	x->sink.fail_routes = 0;
	x->sink.fail_connect = -EAGAIN;
	vferry_error_clear(&err);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, &err), -EAGAIN);
	assert_string_equal(err.id, "irq-connect");
	x->sink.fail_connect = 0;
	forget(&x->sink.notes);
	/* It stayed wanted: a reconnect brings it. */
	assert_int_equal(vf_irq_reconnect(x->plan, x->a, NULL), 0);
	expect_notes(&x->sink.notes, "connect 0; ");

	x->sink.forwarded = VFERRY_FORWARDED_YES;
	x->sink.fail_signal = -EIO;
	vferry_error_clear(&err);
	assert_int_equal(vferry_irq_plan_release(x->plan, &err), -EIO);
	assert_string_equal(err.id, "irq-resend");
	x->sink.fail_signal = 0;
	assert_int_equal(vf_irq_reconnect(x->plan, x->a, NULL), 0);
	x->sink.fail_disconnect = -EBADF;
	assert_int_equal(vf_irq_disconnect(x->plan, x->a, 0, NULL), -EBADF);
	vf_irq_count(x->plan, x->a, &counts);
	assert_int_equal(counts.connected, 1);
	x->sink.fail_disconnect = 0;
}

static void gsis_run_out_and_come_back(void **state)
{
	struct fixture *x = *state;
	struct vferry_irq_sink table = sink_table(&x->sink);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_irq_plan *plan;
	const struct vf_irq_source_desc desc = { .name = "small" };
	struct vf_irq_source *s;

	table.gsi_count = 2;
	assert_int_equal(vferry_irq_plan_new(&table, &plan, NULL), 0);
	assert_int_equal(vf_irq_source_add(plan, &desc, &s, NULL), 0);
	assert_int_equal(vf_irq_alloc(plan, s, VFERRY_IRQ_MSI, 3, x->fds, -1, &err), -ENOSPC);
	assert_string_equal(err.id, "irq-gsis");
	assert_int_equal(vf_irq_alloc(plan, s, VFERRY_IRQ_MSI, 2, x->fds, -1, NULL), 0);
	assert_int_equal(vf_irq_alloc(plan, s, VFERRY_IRQ_MSI, 2, x->fds, -1, NULL), 0);
	assert_int_equal(vf_irq_alloc(plan, s, VFERRY_IRQ_PIN, 2, x->fds, -1, NULL), -EINVAL);
	vferry_irq_plan_free(plan);
}

static void flush_waits_for_the_controller(void **state)
{
	struct fixture *x = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	alloc_msi(x, x->a, 2, 0);
	assert_int_equal(vf_irq_connect(x->plan, x->a, 0, NULL), 0);
	/* The second one is silent: its event is a pending bit, not on its way. */
	assert_int_equal(eventfd_write(x->fds[1], 1), 0);
	assert_int_equal(vf_irq_flush(x->plan, x->a, NULL), 0);
	assert_int_equal(eventfd_write(x->fds[0], 1), 0);
	assert_int_equal(vf_irq_flush(x->plan, x->a, &err), -ETIMEDOUT);
	assert_string_equal(err.id, "irq-flush");
	sink_pump(&x->sink);
	assert_int_equal(vf_irq_flush(x->plan, x->a, NULL), 0);
}

static void bad_arguments(void **state)
{
	struct vferry_irq_plan *plan;
	struct vferry_irq_sink table = { .size = 4 };

	(void) state;
	assert_int_equal(vferry_irq_plan_new(NULL, &plan, NULL), -EINVAL);
	assert_int_equal(vferry_irq_plan_new(&table, &plan, NULL), -EINVAL);
	assert_int_equal(vf_irq_plan_component(NULL, NULL), -EINVAL);
	assert_null(vferry_irq_plan_free(NULL));
	assert_int_equal(vferry_irq_plan_release(NULL, NULL), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(table_goes_out_once_before_connects),
		TEST(connect_commits_what_it_needs),
		TEST(new_route_reconnects),
		TEST(no_message_no_connect),
		TEST(devices_on_one_pin_share_a_gsi),
		TEST(pending_event_is_found_at_connect),
		TEST(forwarded_vector_is_sent_again_when_cut),
		cmocka_unit_test_setup_teardown(unknown_vector_is_sent_again_if_it_may_be_lost,
						setup_losing, teardown),
		TEST(unknown_vector_is_not_sent_again),
		TEST(release_and_reconnect),
		TEST(all_vectors_are_listed),
		cmocka_unit_test(vectors_become_runs),
		TEST(release_leaves_software_vectors),
		TEST(failures_are_told_and_leave_things_usable),
		TEST(gsis_run_out_and_come_back),
		TEST(flush_waits_for_the_controller),
		cmocka_unit_test(bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
