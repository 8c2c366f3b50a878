/* SPDX-License-Identifier: MIT */
/*
 * What the guest does to its devices while it is being migrated: between the moment when config space
 * was sent and staged, and the stop. The destination must end with the guest's latest view, in the
 * view and in the device, and with every vector connected; a reset voids what was sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "migrations.h"
#include "vfio/device_internal.h"

#define COMMAND		0x04u
#define COMMAND_MASTER	0x0004u
#define COMMAND_PARITY	0x0040u
#define PMCSR		(ACCEL_CAP_PM + 4)
#define DEVCTL		(ACCEL_CAP_PCIE + 8)
#define DEVCTL2		(ACCEL_CAP_PCIE + 40)

static uint32_t view(struct test_machine *m, uint32_t at, unsigned size)
{
	return vferry_device_config_read(machine_device(m->machine, 0), at, size);
}

/* What the device itself has in its registers. */
static uint32_t hardware(struct test_machine *m, uint32_t at)
{
	uint8_t *image = calloc(1, VF_CONFIG_BYTES_MAX);
	uint32_t value;

	assert_int_equal(vf_device_config_image(machine_device(m->machine, 0), image, NULL), 0);
	value = (uint32_t) image[at] | (uint32_t) image[at + 1] << 8;
	free(image);
	return value;
}

static void guest_writes(struct test_machine *m, uint32_t at, uint32_t value)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_device_config_write(machine_device(m->machine, 0), at, 2, value, &err))
		fail_msg("%s", err.message);
}

static void bar_moved(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_device_info before, moved, after;

	(void) state;
	move_up(&m);
	move_hold(&m);
	before = device_info(&m.from, 0);
	guest(&m.from, "move-bar 0 0");
	guest(&m.from, "move-bar 0 2");
	WAIT_FOR(device_info(&m.from, 0).bar_gpa[0] != before.bar_gpa[0] &&
		 device_info(&m.from, 0).bar_gpa[2] != before.bar_gpa[2] &&
		 device_info(&m.from, 0).bar_gpa[2] != 0, 2000);
	wait_jobs(&m.from, 8);
	moved = device_info(&m.from, 0);
	move_continue(&m);
	after = device_info(&m.to, 0);
	assert_true(after.bar_gpa[0] == moved.bar_gpa[0]);
	assert_true(after.bar_gpa[2] == moved.bar_gpa[2]);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void device_control_changed(void **state)
{
	struct move m = MOVE_INIT;
	uint32_t devctl, devctl2;

	(void) state;
	move_up(&m);
	move_hold(&m);
	devctl = (view(&m.from, DEVCTL, 2) ^ 0x0010) | 0x000f;
	guest_writes(&m.from, DEVCTL, devctl);
	guest_writes(&m.from, DEVCTL2, 0x0006);
	devctl2 = view(&m.from, DEVCTL2, 2);
	assert_int_equal(view(&m.from, DEVCTL, 2), devctl);
	assert_int_equal(devctl2, 0x0006);
	move_continue(&m);
	assert_int_equal(view(&m.to, DEVCTL, 2), devctl);
	assert_int_equal(hardware(&m.to, DEVCTL), devctl);
	assert_int_equal(view(&m.to, DEVCTL2, 2), devctl2);
	assert_int_equal(hardware(&m.to, DEVCTL2), devctl2);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void mode_changed(const char *args, const char *command, enum vferry_irq_mode mode,
			 uint32_t vectors)
{
	struct move m = MOVE_INIT;

	m.options.guest_args = args;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, command);
	WAIT_FOR(device_info(&m.from, 0).irq_mode == mode &&
		 device_info(&m.from, 0).vectors_connected == vectors, 2000);
	wait_jobs(&m.from, 8);
	move_continue(&m);
	assert_int_equal(device_info(&m.to, 0).irq_mode, mode);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, vectors);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void msi_became_msix(void **state)
{
	(void) state;
	mode_changed(MOVE_ARGS "irq=msi", "irq-mode 0 msix", VFERRY_IRQ_MODE_MSIX, 4);
}

static void msix_became_msi(void **state)
{
	(void) state;
	mode_changed(MOVE_ARGS "irq=msix", "irq-mode 0 msi", VFERRY_IRQ_MODE_MSI, 4);
}

static void intx_became_msix(void **state)
{
	(void) state;
	mode_changed(MOVE_ARGS "irq=intx", "irq-mode 0 msix", VFERRY_IRQ_MODE_MSIX, 4);
}

static void msix_became_intx(void **state)
{
	(void) state;
	mode_changed(MOVE_ARGS "irq=msix", "irq-mode 0 intx", VFERRY_IRQ_INTX, 1);
}

/* Linux adds MSI-X vectors without disabling MSI-X. */
static void vectors_added(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.options.guest_args = MOVE_ARGS "vectors=2";
	move_up(&m);
	move_hold(&m);
	assert_int_equal(device_info(&m.from, 0).vectors_connected, 2);
	guest(&m.from, "add-vectors 0 7");
	WAIT_FOR(device_info(&m.from, 0).vectors_connected == 7, 2000);
	wait_jobs(&m.from, 14);
	move_continue(&m);
	wait_jobs(&m.to, 14);
	assert_int_equal(device_info(&m.to, 0).vectors_connected, 7);
	assert_int_equal(device_info(&m.to, 0).vectors_forwarded, 7);
	expect_clean(&m, &m.to, 7);
	for (unsigned i = 0; i < 7; i++)
		assert_true(m.verdict.vector_interrupts[0][i] > 0);
	move_down(&m);
}

static void command_changed(void **state)
{
	struct move m = MOVE_INIT;
	uint32_t command;

	(void) state;
	move_up(&m);
	move_hold(&m);
	quiesce_jobs(&m.from);
	command = (view(&m.from, COMMAND, 2) & ~COMMAND_MASTER) | COMMAND_PARITY;
	guest_writes(&m.from, COMMAND, command);
	assert_int_equal(view(&m.from, COMMAND, 2), command);
	move_continue(&m);
	assert_int_equal(view(&m.to, COMMAND, 2), command);
	assert_int_equal(hardware(&m.to, COMMAND), command);
	guest_writes(&m.to, COMMAND, command | COMMAND_MASTER);
	guest(&m.to, "jobs on");
	wait_jobs(&m.to, 8);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void put_to_sleep(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	move_up(&m);
	move_hold(&m);
	quiesce_jobs(&m.from);
	guest_writes(&m.from, PMCSR, view(&m.from, PMCSR, 2) | 3);
	assert_int_equal(view(&m.from, PMCSR, 2) & 3, 3);
	move_continue(&m);
	assert_int_equal(view(&m.to, PMCSR, 2) & 3, 3);
	assert_int_equal(hardware(&m.to, PMCSR) & 3, 3);
	guest_writes(&m.to, PMCSR, view(&m.to, PMCSR, 2) & ~3u);
	assert_int_equal(hardware(&m.to, PMCSR) & 3, 0);
	guest(&m.to, "jobs on");
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

/* Asleep when the migration begins, awake before the stop. */
static void woken_up(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	move_up(&m);
	quiesce_jobs(&m.from);
	guest_writes(&m.from, PMCSR, view(&m.from, PMCSR, 2) | 3);
	move_hold(&m);
	guest_writes(&m.from, PMCSR, view(&m.from, PMCSR, 2) & ~3u);
	guest(&m.from, "jobs on");
	wait_jobs(&m.from, 8);
	move_continue(&m);
	assert_int_equal(hardware(&m.to, PMCSR) & 3, 0);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

/* ---- resets ---- */

static void reset_while_held(const char *command)
{
	struct move m = MOVE_INIT;

	m.devices = 2;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, command);
	WAIT_FOR(verdict_of(&m.from).resets == 1, 2000);
	WAIT_FOR(device_info(&m.from, 0).vectors_connected == MOVE_VECTORS, 2000);
	wait_jobs(&m.from, 16);
	move_continue(&m);
	wait_jobs(&m.to, 16);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, 2 * MOVE_VECTORS);
	assert_int_equal(m.verdict.resets, 1);
	move_down(&m);
}

static void flr_after_initial_bytes(void **state)
{
	(void) state;
	reset_while_held("flr 0");
}

static void device_reset_after_initial_bytes(void **state)
{
	(void) state;
	reset_while_held("reset-device 0");
}

/* The guest is between reset and set-up when it is stopped. */
static void flr_and_stopped_at_once(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, "flr 0");
	WAIT_FOR(verdict_of(&m.from).resets == 1, 2000);
	move_continue(&m);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	assert_int_equal(m.verdict.resets, 1);
	move_down(&m);
}

/* The destination's device is slow at first: the reset comes before its initial bytes are acknowledged. */
static void reset_before_initial_bytes(const char *command)
{
	struct move m = MOVE_INIT;
	uint64_t sent;

	m.target_script[0] = "on data-write after 1MiB delay 1s times 1\n";
	m.device.device.state_bytes = 2 << 20;
	move_up(&m);
	m.parameters.hold_before_switchover = true;
	move_begin(&m);
	WAIT_FOR(status_of(&m.from).device_sent_bytes >= 256 << 10, 5000);
	sent = status_of(&m.from).device_sent_bytes;
	guest(&m.from, command);
	WAIT_FOR(verdict_of(&m.from).resets == 1, 2000);
	assert_int_equal(status_of(&m.from).state, VFERRY_STATE_ACTIVE);
	WAIT_FOR(status_of(&m.from).state == VFERRY_STATE_PRE_SWITCHOVER, 10000);
	/* All of the new state went over before the acknowledgement, which is of the new state. */
	assert_true(status_of(&m.from).device_sent_bytes >= sent + (2 << 20));
	assert_true(status_of(&m.to).device_sent_bytes >= sent + (2 << 20));
	move_continue(&m);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

static void flr_before_initial_bytes(void **state)
{
	(void) state;
	reset_before_initial_bytes("flr 0");
}

static void power_off(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	m.devices = 2;
	m.options.cpus = 2;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, "poweroff");
	WAIT_FOR(machine_is_powered_off(m.from.machine), 2000);
	move_continue(&m);
	WAIT_FOR(machine_is_powered_off(m.to.machine), 2000);
	m.verdict = verdict_of(&m.to);
	assert_true(machine_verdict_clean(&m.verdict, 2 * MOVE_VECTORS));
	move_down(&m);
}

/* The source is off when it comes back: nothing to start, and nothing went wrong. */
static void power_off_and_cancelled(void **state)
{
	struct move m = MOVE_INIT;

	(void) state;
	move_up(&m);
	move_hold(&m);
	guest(&m.from, "poweroff");
	WAIT_FOR(machine_is_powered_off(m.from.machine), 2000);
	assert_int_equal(vferry_session_cancel(m.from.session), 0);
	assert_int_equal(move_wait(&m), VFERRY_OUTCOME_CANCELLED);
	assert_int_equal(status_of(&m.from).error.code, -ECANCELED);
	assert_true(machine_is_powered_off(m.from.machine));
	assert_false(status_of(&m.from).device_lost);
	move_down(&m);
}

static void machine_was_reset(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	m.devices = 2;
	move_up(&m);
	move_hold(&m);
	if (machine_reset(m.from.machine, &err))
		fail_msg("%s: %s", err.id, err.message);
	WAIT_FOR(verdict_of(&m.from).booted, 5000);
	wait_jobs(&m.from, 16);
	move_continue(&m);
	wait_jobs(&m.to, 16);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, 2 * MOVE_VECTORS);
	move_down(&m);
}

static void machine_was_reset_and_stopped_at_once(void **state)
{
	struct move m = MOVE_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	move_up(&m);
	move_hold(&m);
	if (machine_reset(m.from.machine, &err))
		fail_msg("%s: %s", err.id, err.message);
	move_continue(&m);
	WAIT_FOR(verdict_of(&m.to).booted, 5000);
	wait_jobs(&m.to, 8);
	expect_connected(&m, &m.to, MOVE_VECTORS);
	expect_clean(&m, &m.to, MOVE_VECTORS);
	move_down(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bar_moved),
		cmocka_unit_test(device_control_changed),
		cmocka_unit_test(msi_became_msix),
		cmocka_unit_test(msix_became_msi),
		cmocka_unit_test(intx_became_msix),
		cmocka_unit_test(msix_became_intx),
		cmocka_unit_test(vectors_added),
		cmocka_unit_test(command_changed),
		cmocka_unit_test(put_to_sleep),
		cmocka_unit_test(woken_up),
		cmocka_unit_test(flr_after_initial_bytes),
		cmocka_unit_test(device_reset_after_initial_bytes),
		cmocka_unit_test(flr_and_stopped_at_once),
		cmocka_unit_test(flr_before_initial_bytes),
		cmocka_unit_test(power_off),
		cmocka_unit_test(power_off_and_cancelled),
		cmocka_unit_test(machine_was_reset),
		cmocka_unit_test(machine_was_reset_and_stopped_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
