/* SPDX-License-Identifier: MIT */
/* How a migration would go: numbers that can be worked out on paper, and what never ends. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "engine/downtime.h"
#include "probe/forecast.h"
#include "vferry_vfio.h"

#define S 1000000000ull
#define MS 1000000ull

static struct probe_facts device(void)
{
	return (struct probe_facts) {
		.name = "vfio:0000:3b:00.2",
		.vfio = {
			.asked = PROBE_ASKED, .migration = PROBE_YES, .dma_log = true,
			.flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P,
			.state_bytes = { 10 * VF_MIB, true },
		},
	};
}

/* 1 GiB of memory at 100 MiB/s. */
static struct probe_wish wish(uint64_t dirty_rate)
{
	return (struct probe_wish) {
		.memory = { 1000 * VF_MIB, true }, .bandwidth = { 100 * VF_MIB, true },
		.dirty_rate = dirty_rate, .max_downtime_ns = 300 * MS,
	};
}

static struct probe_forecast predict(const struct probe_facts *facts,
				     const struct probe_measured *measured,
				     const struct probe_wish *w)
{
	struct probe_forecast f;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (probe_forecast(facts, measured, w, &f, &err) < 0)
		fail_msg("%s", err.message);
	return f;
}

static void an_idle_guest_goes_in_one_round(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(0);
	struct probe_forecast f = predict(&facts, NULL, &w);

	(void) state;
	assert_int_equal(f.end, PROBE_SWITCHES);
	assert_int_equal(f.round_count, 1);
	assert_int_equal(f.rounds[0].bytes, 1000 * VF_MIB);
	assert_int_equal(f.rounds[0].ns, 10 * S);
	assert_int_equal(f.rounds[0].left, 0);
	assert_int_equal(f.terms[VF_TERM_DEVICES].ns, 100 * MS);
	assert_int_equal(f.downtime_ns, 100 * MS);
	assert_int_equal(f.total_ns, 10 * S + 100 * MS);
	/* Nobody measured the device's steps, nor how far the other side is. */
	assert_true(f.lower_bound);
	assert_true(f.terms[VF_TERM_RAM].known && f.terms[VF_TERM_DEVICES].known);
	assert_false(f.terms[VF_TERM_SAVE].known || f.terms[VF_TERM_LOAD].known ||
		     f.terms[VF_TERM_HANDOVER].known);
}

/* Each round leaves a fifth of what it sent: 200, 40, 8 MiB; 400 ms + 100 ms are too long, 80 + 100
 * not. */
static void rounds_get_smaller(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(20 * VF_MIB);
	struct probe_forecast f = predict(&facts, NULL, &w);

	(void) state;
	assert_int_equal(f.end, PROBE_SWITCHES);
	assert_int_equal(f.rounds[1].bytes, 200 * VF_MIB);
	assert_int_equal(f.rounds[2].bytes, 40 * VF_MIB);
	assert_int_equal(f.rounds[2].left, 8 * VF_MIB);
	/* It fits by then, and is made shorter: by 80 ms, 16 and 3.2, until RAM takes less than 1 ms. */
	assert_int_equal(f.round_count, 6);
	assert_in_range(f.rounds_ns, 12 * S + 499 * MS, 12 * S + 500 * MS);
	assert_in_range(f.downtime_ns, 100 * MS, 101 * MS);
	assert_int_equal(f.rounds[2].throttle, 0);
}

/* Never more than all of memory is dirty. */
static void a_guest_that_is_too_fast(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(500 * VF_MIB);
	struct probe_forecast f;

	(void) state;
	w.policy = "give-up";
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_GIVES_UP);
	assert_int_equal(f.never, PROBE_NEVER_DIRTY_RATE);
	assert_int_equal(f.rounds[0].left, 1000 * VF_MIB);
	assert_true(f.round_count >= 2 && f.round_count < 10);

	w.policy = "continue";
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_GOES_ON);
	assert_int_equal(f.round_count, PROBE_ROUNDS_MAX);

	w.policy = "throttle";
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_SWITCHES);
	assert_int_equal(f.never, PROBE_NEVER_DIRTY_RATE);
	assert_true(f.rounds[f.round_count - 1].throttle >= 80);
	assert_true(f.downtime_ns <= w.max_downtime_ns);
}

static void nobody_knows_what_the_device_wrote(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(0);
	struct probe_forecast f;

	(void) state;
	facts.vfio.dma_log = false;
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_GOES_ON);
	assert_int_equal(f.never, PROBE_NEVER_BLIND);
	assert_int_equal(f.round_count, 1);
	assert_int_equal(f.downtime_ns, 10 * S + 100 * MS);
	w.max_downtime_ns = 11 * S;
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_SWITCHES);
	facts.vfio.iommu_dirty = true;
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.downtime_ns, 100 * MS);
}

static void a_device_that_is_too_large(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(0);
	struct probe_forecast f;

	(void) state;
	facts.vfio.state_bytes.value = 50 * VF_MIB;
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_GOES_ON);
	assert_int_equal(f.never, PROBE_NEVER_FIXED);
	facts.vfio.state_bytes.known = false;
	f = predict(&facts, NULL, &w);
	assert_int_equal(f.end, PROBE_SWITCHES);
	assert_false(f.terms[VF_TERM_DEVICES].known);
	assert_true(f.lower_bound);
}

static struct probe_measured measured(bool p2p)
{
	struct probe_measured m = { 0 };

	for (int i = 0; i < PROBE_LEGS; i++)
		m.legs[i].there = p2p || (i != PROBE_LEG_P2P && i != PROBE_LEG_RUN_P2P);
	m.legs[PROBE_LEG_P2P].ns = 1 * MS;
	m.legs[PROBE_LEG_STOP].ns = 2 * MS;
	m.legs[PROBE_LEG_STOP_COPY].ns = 3 * MS;
	m.legs[PROBE_LEG_READ].bytes = m.legs[PROBE_LEG_WRITE].bytes = 5 * VF_MIB;
	m.legs[PROBE_LEG_READ].ns = 40 * MS;		/* faster than the link's 50 ms */
	m.legs[PROBE_LEG_WRITE].ns = 60 * MS;		/* slower by 10 */
	m.legs[PROBE_LEG_VALIDATE].ns = 7 * MS;
	m.legs[PROBE_LEG_RUN_P2P].ns = 100 * 1000;
	m.legs[PROBE_LEG_RUN].ns = 200 * 1000;
	m.legs[PROBE_LEG_SAVED].ns = m.legs[PROBE_LEG_RESUMING].ns = S;	/* not in the pause */
	return m;
}

static void what_was_measured_is_in_the_pause(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(0);
	struct probe_measured m = measured(true);
	struct probe_forecast f = predict(&facts, &m, &w);

	(void) state;
	assert_int_equal(f.terms[VF_TERM_DEVICES].ns, 50 * MS);
	assert_true(f.terms[VF_TERM_SAVE].known && f.terms[VF_TERM_LOAD].known);
	assert_int_equal(f.terms[VF_TERM_SAVE].ns, 6 * MS);
	assert_int_equal(f.terms[VF_TERM_LOAD].ns, 17 * MS + 300 * 1000);
	assert_int_equal(f.downtime_ns, 50 * MS + 6 * MS + 17 * MS + 300 * 1000);
	m.legs[PROBE_LEG_READ].ns = 90 * MS;
	f = predict(&facts, &m, &w);
	assert_int_equal(f.terms[VF_TERM_SAVE].ns, 46 * MS);

	facts.vfio.flags = VF_VFIO_MIGRATION_STOP_COPY;
	m = measured(false);
	f = predict(&facts, &m, &w);
	assert_int_equal(f.terms[VF_TERM_SAVE].ns, 5 * MS);
	assert_int_equal(f.terms[VF_TERM_LOAD].ns, 17 * MS + 200 * 1000);
}

static void what_can_not_be_predicted(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = wish(0), less;
	struct probe_forecast f;

	(void) state;
	less = w;
	less.memory.known = false;
	assert_int_equal(probe_forecast(&facts, NULL, &less, &f, NULL), -EINVAL);
	less = w;
	less.bandwidth.value = 0;
	assert_int_equal(probe_forecast(&facts, NULL, &less, &f, NULL), -EINVAL);
	less = w;
	less.policy = "hope";
	assert_int_equal(probe_forecast(&facts, NULL, &less, &f, NULL), -EINVAL);
	facts.vfio.migration = PROBE_NO;
	assert_int_equal(probe_forecast(&facts, NULL, &w, &f, NULL), -ENOTSUP);
}

/* Sums stay numbers. */
static void the_largest_numbers(void **state)
{
	struct probe_facts facts = device();
	struct probe_wish w = {
		.memory = { UINT64_MAX, true }, .bandwidth = { 1, true }, .dirty_rate = UINT64_MAX,
		.max_downtime_ns = 1,
	};
	struct probe_forecast f = predict(&facts, NULL, &w);

	(void) state;
	assert_int_equal(f.rounds[0].left, UINT64_MAX);
	assert_true(f.rounds_ns >= f.rounds[0].ns && f.total_ns >= f.rounds_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_guest_goes_in_one_round),
		cmocka_unit_test(rounds_get_smaller),
		cmocka_unit_test(a_guest_that_is_too_fast),
		cmocka_unit_test(nobody_knows_what_the_device_wrote),
		cmocka_unit_test(a_device_that_is_too_large),
		cmocka_unit_test(what_was_measured_is_in_the_pause),
		cmocka_unit_test(what_can_not_be_predicted),
		cmocka_unit_test(the_largest_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
