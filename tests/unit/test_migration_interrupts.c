/* SPDX-License-Identifier: MIT */
/*
 * Interrupts across a migration: none lost, whatever the controller, the mode and the moment. The
 * guest lets a vector fire again only after it has acknowledged it, so each one matters to it.
 *
 * SLOW_STOP keeps the device running for a while after the vCPUs have stopped: every job under way
 * ends in that time, so that all vectors are pending when the controller is saved.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "migrations.h"
#include "told.h"

#define COMMAND		0x04u
#define COMMAND_NO_INTX	0x0400u
#define STATUS		0x06u
#define STATUS_INTX	0x0008u
#define MSI_MASK	(ACCEL_CAP_MSI + 16)
#define MSI_PENDING	(ACCEL_CAP_MSI + 20)
#define MSIX_CONTROL	(ACCEL_CAP_MSIX + 2)
#define MSIX_MASK_ALL	0x4000u

#define SLOW_STOP	"on PRE_COPY->PRE_COPY_P2P delay 30ms\n"

static uint32_t view(struct test_machine *m, uint32_t at, unsigned size)
{
	return vferry_device_config_read(machine_device(m->machine, 0), at, size);
}

static uint64_t pending_array(struct test_machine *m)
{
	uint64_t value;

	assert_int_equal(vferry_device_bar_read(machine_device(m->machine, 0), 0, ACCEL_MSIX_PBA, 8,
						&value, NULL), 0);
	return value;
}

/* A vector that was forwarded is disconnected once in a migration, if pending state is not readable. */
static uint64_t allowed(const struct move *m)
{
	return m->options.gic == MACHINE_GIC_V4_0 ? m->devices * MOVE_VECTORS : 0;
}

static void pending_at_stop(enum machine_gic gic, const char *args)
{
	struct move m = MOVE_INIT;

	m.options.gic = gic;
	m.options.cpus = 2;
	m.options.guest_args = args;
	m.devices = 2;
	m.source_script[0] = SLOW_STOP;
	m.source_script[1] = SLOW_STOP;
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	wait_jobs(&m.to, 32);
	expect_clean(&m, &m.to, allowed(&m));
	move_down(&m);
}

static void msix_pending(void **state)
{
	(void) state;
	pending_at_stop(MACHINE_GIC_V3, MOVE_ARGS "irq=msix");
	pending_at_stop(MACHINE_GIC_V4_0, MOVE_ARGS "irq=msix");
	pending_at_stop(MACHINE_GIC_V4_1, MOVE_ARGS "irq=msix");
}

static void msi_pending(void **state)
{
	(void) state;
	pending_at_stop(MACHINE_GIC_V3, MOVE_ARGS "irq=msi");
	pending_at_stop(MACHINE_GIC_V4_0, MOVE_ARGS "irq=msi");
	pending_at_stop(MACHINE_GIC_V4_1, MOVE_ARGS "irq=msi");
}

static void intx_pending(void **state)
{
	(void) state;
	pending_at_stop(MACHINE_GIC_V3, MOVE_ARGS "irq=intx");
	pending_at_stop(MACHINE_GIC_V4_0, MOVE_ARGS "irq=intx");
}

static void no_controller(void **state)
{
	(void) state;
	pending_at_stop(MACHINE_GIC_OFF, MOVE_ARGS);
}

/* As many as it can: whatever instant the stop falls into. */
static void at_any_instant(void **state)
{
	static const enum machine_gic gics[] = { MACHINE_GIC_V3, MACHINE_GIC_V4_0,
						 MACHINE_GIC_V4_1 };

	(void) state;
	for (unsigned i = 0; i < 3; i++) {
		struct move m = MOVE_INIT;

		m.options.gic = gics[i];
		m.options.guest_args = "working-set=1M rate=1 job-delay-us=0 job-bytes=64";
		move_up(&m);
		move_begin(&m);
		expect_done(&m);
		wait_jobs(&m.to, 32);
		expect_clean(&m, &m.to, allowed(&m));
		move_down(&m);
	}
}

/* ---- who delivers them, as it is told ---- */

/* What the source knows when the destination has told. */
static struct vferry_interrupts *interrupts_told(struct move *m)
{
	struct vferry_interrupts *in = told_interrupts(m->from.session);

	assert_int_equal(in->device_count, m->devices);
	return in;
}

/* All that the guest uses, one like the other; those that it does not use follow, in one run. */
static void expect_told(const struct vferry_vectors *v, enum vferry_forwarded forwarded,
			const char *why)
{
	assert_true(v->vectors >= MOVE_VECTORS);
	assert_int_equal(v->connected, MOVE_VECTORS);
	assert_int_equal(v->forwarded, forwarded == VFERRY_FORWARDED_YES ? MOVE_VECTORS : 0);
	assert_int_equal(v->unknown, 0);
	assert_int_equal(v->run_count, v->vectors > MOVE_VECTORS ? 2 : 1);
	assert_int_equal(v->runs[0].first, 0);
	assert_int_equal(v->runs[0].count, MOVE_VECTORS);
	assert_true(v->runs[0].connected);
	assert_int_equal(v->runs[0].forwarded, forwarded);
	assert_string_equal(v->runs[0].reason, why);
	if (v->run_count > 1) {
		assert_int_equal(v->runs[1].first, MOVE_VECTORS);
		assert_false(v->runs[1].connected);
		assert_string_equal(v->runs[1].reason, "the guest masked it, or did not set it up");
	}
}

static void told_forwarded(void **state)
{
	struct vferry_interrupts *in;
	struct move m = MOVE_INIT;

	(void) state;
	m.devices = 2;
	move_up(&m);
	move_begin(&m);
	expect_done(&m);
	in = interrupts_told(&m);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(in->devices[i].address, device_info(&m.from, i).address);
		expect_told(&in->devices[i].before, VFERRY_FORWARDED_YES, "");
		expect_told(&in->devices[i].after, VFERRY_FORWARDED_YES, "");
		assert_int_equal(in->devices[i].lost, 0);
		assert_int_equal(in->devices[i].doubtful, 0);
	}
	free(in);
	/* The destination knows its own side. */
	assert_int_equal(vferry_session_interrupts(m.to.session, &in), 0);
	assert_int_equal(in->before, VFERRY_KNOWN_NOT);
	assert_string_equal(in->before_reason, "only the source knows");
	assert_int_equal(in->after, VFERRY_KNOWN);
	expect_told(&in->devices[1].after, VFERRY_FORWARDED_YES, "");
	free(in);
	expect_clean(&m, &m.to, allowed(&m));
	move_down(&m);
}

/* To a host that forwards nothing: the guest goes on, and it is said. */
static void told_not_forwarded(void **state)
{
	struct vferry_interrupts *in;
	struct move m = MOVE_INIT;

	(void) state;
	source_up(&m);
	m.options.gic = MACHINE_GIC_V3;
	target_up(&m);
	move_begin(&m);
	expect_done(&m);
	in = interrupts_told(&m);
	expect_told(&in->devices[0].before, VFERRY_FORWARDED_YES, "");
	expect_told(&in->devices[0].after, VFERRY_FORWARDED_NO, "no-gicv4");
	assert_int_equal(in->devices[0].lost, MOVE_VECTORS);
	free(in);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

/* A machine that stays where it is. */
static void not_told(void **state)
{
	struct vferry_interrupts *in;
	struct move m = MOVE_INIT;

	(void) state;
	move_up(&m);
	move_hold(&m);
	assert_int_equal(vferry_session_interrupts(m.from.session, &in), 0);
	assert_int_equal(in->before, VFERRY_KNOWN_NOT);
	assert_string_equal(in->before_reason, "its vCPUs were not stopped");
	assert_int_equal(in->after, VFERRY_KNOWN_NOT);
	assert_string_equal(in->after_reason, "the machine was not handed over");
	assert_int_equal(in->device_count, 0);
	free(in);
	assert_int_equal(vferry_session_cancel(m.from.session), 0);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_CANCELLED);
	move_down(&m);
}

/* ---- masks ---- */

/* A masked vector's job keeps its place in the ring of 64: the others stand still once they come
 * round to it. So they are slow here. */
#define SLOW_JOBS MOVE_ARGS "job-delay-us=8000 notice-ms=5000 "

/* The jobs of vectors 0 and 2, which are masked, are done, and the guest does not hear of it. */
static void wait_silent(struct test_machine *m)
{
	struct machine_verdict before, after = verdict_of(m);

	do {
		before = after;
		sleep_ms(60);
		after = verdict_of(m);
	} while (after.vector_interrupts[0][0] != before.vector_interrupts[0][0] ||
		 after.vector_interrupts[0][2] != before.vector_interrupts[0][2]);
}

/* Between the two: `silent` vectors fired @most times at most, the others did. */
static void expect_fired(const struct machine_verdict *before, const struct machine_verdict *after,
			 const bool *silent, uint64_t most)
{
	for (unsigned v = 0; v < MOVE_VECTORS; v++) {
		uint64_t times = after->vector_interrupts[0][v] - before->vector_interrupts[0][v];
		bool fired = times > (silent[v] ? most : 0);

		if (fired == silent[v])
			fail_msg("vector %u %s", v, fired ? "fired, though masked" : "did not fire");
	}
}

static void masked_vectors(enum machine_gic gic, const char *args)
{
	static const bool silent[MOVE_VECTORS] = { true, false, true, false };
	static const bool none[MOVE_VECTORS] = { false };
	struct machine_verdict before, after;
	struct move m = MOVE_INIT;
	bool msi = strstr(args, "irq=msi ") != NULL;

	m.options.gic = gic;
	m.options.guest_args = args;
	m.source_script[0] = SLOW_STOP;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, "mask-vector 0 0");
	guest(&m.from, "mask-vector 0 2");
	wait_silent(&m.from);
	move_continue(&m);
	before = verdict_of(&m.to);
	wait_jobs(&m.to, 8);
	after = verdict_of(&m.to);
	/*
	 * The device masks MSI by itself, so the vector stays forwarded. What it sent before it was
	 * masked may be pending in hardware, and is sent once more instead of being lost.
	 */
	expect_fired(&before, &after, silent, msi && gic == MACHINE_GIC_V4_0);
	if (msi) {
		assert_int_equal(view(&m.to, MSI_MASK, 4), 0x5);
		assert_int_equal(view(&m.to, MSI_PENDING, 4), 0x5);
	} else {
		assert_int_equal(device_info(&m.to, 0).vectors_connected, 2);
		assert_true(pending_array(&m.to) == 0x5);
	}
	guest(&m.to, "unmask-vector 0 0");
	guest(&m.to, "unmask-vector 0 2");
	WAIT_FOR(verdict_of(&m.to).vector_interrupts[0][0] > after.vector_interrupts[0][0] + 2 &&
		 verdict_of(&m.to).vector_interrupts[0][2] > after.vector_interrupts[0][2] + 2, 2000);
	after = verdict_of(&m.to);
	expect_fired(&before, &after, none, 0);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, allowed(&m));
	move_down(&m);
}

static void msix_vectors_masked(void **state)
{
	(void) state;
	masked_vectors(MACHINE_GIC_V3, SLOW_JOBS "irq=msix ");
	masked_vectors(MACHINE_GIC_V4_0, SLOW_JOBS "irq=msix ");
	masked_vectors(MACHINE_GIC_V4_1, SLOW_JOBS "irq=msix ");
}

static void msi_vectors_masked(void **state)
{
	(void) state;
	masked_vectors(MACHINE_GIC_V3, SLOW_JOBS "irq=msi ");
	masked_vectors(MACHINE_GIC_V4_0, SLOW_JOBS "irq=msi ");
	masked_vectors(MACHINE_GIC_V4_1, SLOW_JOBS "irq=msi ");
}

static void function_masked(void **state)
{
	static const bool silent[MOVE_VECTORS] = { true, true, true, true };
	static const bool none[MOVE_VECTORS] = { false };
	struct machine_verdict before, after;
	struct move m = MOVE_INIT;

	(void) state;
	m.source_script[0] = SLOW_STOP;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, "mask-function 0");
	wait_silent(&m.from);
	move_continue(&m);
	before = verdict_of(&m.to);
	sleep_ms(30);
	after = verdict_of(&m.to);
	expect_fired(&before, &after, silent, 0);
	assert_true(view(&m.to, MSIX_CONTROL, 2) & MSIX_MASK_ALL);
	assert_int_equal(device_info(&m.to, 0).vectors_connected, 0);
	assert_true(pending_array(&m.to) == 0xf);
	guest(&m.to, "unmask-function 0");
	wait_jobs(&m.to, 16);
	after = verdict_of(&m.to);
	expect_fired(&before, &after, none, 0);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, allowed(&m));
	move_down(&m);
}

/* Masked and pending when its config space was sent, unmasked before the stop. */
static void unmasked_meanwhile(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.source_script[0] = SLOW_STOP;
	move_up(&m);
	guest(&m.from, "mask-vector 0 0");
	guest(&m.from, "mask-vector 0 2");
	wait_silent(&m.from);
	move_hold(&m);
	guest(&m.from, "unmask-vector 0 0");
	guest(&m.from, "unmask-vector 0 2");
	wait_jobs(&m.from, 8);
	move_continue(&m);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, allowed(&m));
	move_down(&m);
}

static void masks_in_flight(void **state)
{
	static const char *const args[] = { MOVE_ARGS "irq=msix", MOVE_ARGS "irq=msi" };

	(void) state;
	for (unsigned i = 0; i < 2; i++) {
		struct move m = MOVE_INIT;

		m.options.guest_args = args[i];
		move_up(&m);
		guest(&m.from, "mask-cycle 0 2");
		move_begin(&m);
		expect_done(&m);
		wait_jobs(&m.to, 32);
		expect_clean(&m, &m.to, allowed(&m));
		move_down(&m);
	}
}

/* ---- INTx ---- */

static void set_command(struct test_machine *m, uint32_t value)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_device_config_write(machine_device(m->machine, 0), COMMAND, 2, value, &err))
		fail_msg("%s", err.message);
}

/* Asserted, but switched off in COMMAND: nothing arrives until the guest switches it on. */
static void intx_disabled(void **state)
{
	struct machine_verdict before, after;
	struct move m = MOVE_INIT;

	(void) state;
	m.options.guest_args = MOVE_ARGS "irq=intx notice-ms=10000";
	move_up(&m);
	move_hold(&m);
	set_command(&m.from, view(&m.from, COMMAND, 2) | COMMAND_NO_INTX);
	do {
		before = verdict_of(&m.from);
		sleep_ms(30);
		after = verdict_of(&m.from);
	} while (after.interrupts != before.interrupts);
	assert_true(view(&m.from, STATUS, 2) & STATUS_INTX);
	move_continue(&m);
	before = verdict_of(&m.to);
	sleep_ms(30);
	after = verdict_of(&m.to);
	assert_true(after.interrupts == before.interrupts);
	assert_true(view(&m.to, COMMAND, 2) & COMMAND_NO_INTX);
	assert_true(view(&m.to, STATUS, 2) & STATUS_INTX);
	set_command(&m.to, view(&m.to, COMMAND, 2) & ~COMMAND_NO_INTX);
	wait_jobs(&m.to, 16);
	expect_clean(&m, &m.to, 0);
	move_down(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msix_pending),
		cmocka_unit_test(msi_pending),
		cmocka_unit_test(intx_pending),
		cmocka_unit_test(no_controller),
		cmocka_unit_test(at_any_instant),
		cmocka_unit_test(told_forwarded),
		cmocka_unit_test(told_not_forwarded),
		cmocka_unit_test(not_told),
		cmocka_unit_test(msix_vectors_masked),
		cmocka_unit_test(msi_vectors_masked),
		cmocka_unit_test(function_masked),
		cmocka_unit_test(unmasked_meanwhile),
		cmocka_unit_test(masks_in_flight),
		cmocka_unit_test(intx_disabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
