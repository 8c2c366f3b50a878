/* SPDX-License-Identifier: MIT */
/*
 * test_device_migration.c - the source's side: every transition, failed in every way and undone from
 * every point; resets by the guest while its device's state is being read; the DMA log.
 */
#include "test_device_steps.h"
#include "ram/ram.h"

static int setup(void **state)
{
	*state = machine_new();
	return 0;
}

static int teardown(void **state)
{
	machine_free(*state);
	return 0;
}

static void drain(struct machine *m)
{
	while (stream_read_some(m, NULL) > 0)
		;
}

/* ---- the plain way ---- */

static void precopy_p2p_stop(void **state)
{
	struct machine *m = *state;
	struct sections wire = { 0 };

	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, NULL), 0);
	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, NULL), -EBUSY);
	m->fake->to_read = 100;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	assert_int_equal(stream_read_some(m, NULL), 64);
	assert_int_equal(stream_read_some(m, NULL), 36);
	assert_int_equal(stream_read_some(m, NULL), 0);
	expect_notes(&m->notes, "set_state PRE_COPY; read; read; read; ");
	run_ok(m, VFERRY_SAVE_DEVICE_P2P, &wire);
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, &wire);
	expect_notes(&m->notes, "set_state PRE_COPY_P2P; unreachable; set_state STOP_COPY; ");
	m->fake->to_read = 1;
	assert_int_equal(stream_read_some(m, NULL), 1);
	assert_int_equal(stream_read_some(m, NULL), 0);
	run_ok(m, VFERRY_SAVE_CONFIG, &wire);
	run_ok(m, VFERRY_SAVE_IRQ_FLUSH, &wire);
	vf_device_finish_source(m->device);
	vf_device_session_end(m->device);
	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, NULL), -ENODEV);
	assert_int_equal(vferry_device_config_write(m->device, 4, 2, 0, NULL), -ENODEV);
	sections_free(&wire);
}

static void states_a_device_lacks_are_skipped(void **state)
{
	struct machine *m = machine_new_flags(VF_VFIO_MIGRATION_STOP_COPY);
	struct sections wire = { 0 };

	(void) state;
	m->fake->to_read = 10;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 1);
	assert_int_equal(stream_read_some(m, NULL), 0);
	run_ok(m, VFERRY_SAVE_DEVICE_P2P, &wire);
	expect_notes(&m->notes, "");
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, &wire);
	expect_notes(&m->notes, "unreachable; set_state STOP_COPY; ");
	assert_int_equal(stream_read_some(m, NULL), 10);
	machine_free(m);

	m = machine_new_flags(VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P);
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 1);
	run_ok(m, VFERRY_SAVE_DEVICE_P2P, &wire);
	expect_notes(&m->notes, "set_state RUNNING_P2P; ");
	machine_free(m);
}

static void a_device_without_migration_is_refused(void **state)
{
	struct machine *m = machine_new_flags(0);
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, &err), -ENOTSUP);
	assert_string_equal(err.id, "device-not-migratable");
	machine_free(m);
}

static void bars_are_shut_while_state_is_read(void **state)
{
	struct machine *m = *state;
	uint64_t value;

	run_ok(m, VFERRY_SAVE_DEVICE_STOP, NULL);
	assert_int_equal(vferry_device_bar_read(m->device, 2, 0, 4, &value, NULL), -EBUSY);
	run_ok(m, VFERRY_UNDO_BAR_MAP, NULL);
	assert_int_equal(vferry_device_bar_read(m->device, 2, 0, 4, &value, NULL), 0);
}

static void remaining_is_known_or_unknown(void **state)
{
	struct machine *m = *state;
	struct vferry_remaining left;

	m->fake->info = (struct vf_vfio_precopy_info) { .initial_bytes = 7, .dirty_bytes = 9,
							.flags = VF_VFIO_PRECOPY_INFO_REINIT };
	m->fake->data_bytes = 11;
	assert_int_equal(stream_of(m)->remaining(m->device, &left, NULL), 0);
	assert_false(left.precopy_known);
	assert_true(left.stop_copy_known);
	assert_int_equal(left.stop_copy_bytes, 11);
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	assert_int_equal(stream_of(m)->remaining(m->device, &left, NULL), 0);
	assert_true(left.precopy_known && left.reinit);
	assert_int_equal(left.initial_bytes, 7);
	assert_int_equal(left.dirty_bytes, 9);
	m->device->features = VFERRY_DEVICE_STOP_COPY;
	assert_int_equal(stream_of(m)->remaining(m->device, &left, NULL), 0);
	assert_false(left.precopy_known || left.stop_copy_known);
}

/* ---- failures ---- */

static void open_vectors(struct machine *m)
{
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_BUS_MASTER);
	guest_msix_on(m, 2);
	forget(&m->notes);
	forget(&m->sink.notes);
}

/* The device runs as it did: state, vectors, BARs, log; and may migrate at once. */
static void check_running(struct machine *m, bool lost)
{
	struct vferry_device_info info;
	uint64_t value;

	vferry_device_get_info(m->device, &info);
	assert_int_equal(m->fake->state, VF_VFIO_STATE_RUNNING);
	assert_int_equal(info.state, VF_VFIO_STATE_RUNNING);
	assert_int_equal(info.lost, lost);
	assert_int_equal(info.vectors_connected, 2);
	assert_int_equal(m->fake->trigger_count[VF_VFIO_PCI_MSIX_IRQ], MSIX_VECTORS);
	assert_false(m->fake->logging);
	assert_int_equal(vferry_device_bar_read(m->device, 2, 0, 4, &value, NULL), 0);
	/* The device's own registers too: bus master above all, or its messages die. */
	assert_int_equal(vf_get_u16(m->fake->image.bytes + VF_PCI_COMMAND), 6);
}

static const enum vferry_step_class save_steps[] = {
	VFERRY_SAVE_CONFIG_EARLY, VFERRY_SAVE_DEVICE_P2P, VFERRY_SAVE_DEVICE_STOP,
	VFERRY_SAVE_CONFIG, VFERRY_SAVE_DEVICE_DIRTY, VFERRY_SAVE_IRQ_FLUSH,
};

/* From each point of a partly done save, twice in a row, and then a whole save works. */
static void undo_from_every_point(void **state)
{
	struct machine *m = *state;
	struct sections wire = { 0 };

	open_vectors(m);
	m->sink.forwarded = VFERRY_FORWARDED_YES;
	for (size_t done = 0; done <= sizeof(save_steps) / sizeof(save_steps[0]); done++) {
		assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, NULL), 0);
		assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
		m->fake->to_read = 100;
		assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
		for (size_t i = 0; i < done; i++)
			run_ok(m, save_steps[i], &wire);
		if (done == sizeof(save_steps) / sizeof(save_steps[0])) {
			drain(m);
			assert_int_equal(vferry_irq_plan_release(m->plan, NULL), 2);
			assert_int_equal(m->sink.signals, 2);
		}
		for (int twice = 0; twice < 2; twice++)
			assert_int_equal(undo_all(m, NULL), 0);
		vf_ram_tracking_stop(m->ram);
		vf_device_session_end(m->device);
		check_running(m, false);
	}
	sections_free(&wire);
}

/* @last: 0 start, 1 P2P, 2 stop. */
static int run_save_until(struct machine *m, int last, struct vferry_error *err)
{
	int r = stream_of(m)->precopy_start(m->device, err);

	if (r == 0 && last >= 1)
		r = run_step(m, VFERRY_SAVE_DEVICE_P2P, NULL, err);
	if (r == 0 && last >= 2)
		r = run_step(m, VFERRY_SAVE_DEVICE_STOP, NULL, err);
	return r;
}

/* Each transition of the save fails, and leaves the device in each state there is. */
static void every_transition_fails_in_every_way(void **state)
{
	static const struct {
		const char *call;
		int at;
	} failing[] = {
		{ "set_state PRE_COPY", 0 },
		{ "set_state PRE_COPY_P2P", 1 },
		{ "set_state STOP_COPY", 2 },
	};

	(void) state;
	for (size_t i = 0; i < 3; i++) {
		for (uint32_t after = 0; after < VF_VFIO_STATE__COUNT; after++) {
			struct machine *m = machine_new();
			struct vferry_error err = VFERRY_ERROR_INIT;
			bool lost = after == VF_VFIO_STATE_ERROR;

			if (after == VF_VFIO_STATE_RESUMING) {	/* not on the way of a save */
				machine_free(m);
				continue;
			}
			open_vectors(m);
			fake_fail(m->fake, failing[i].call, -EIO, after, 1);
			assert_int_equal(run_save_until(m, failing[i].at, &err), -EIO);
			assert_string_equal(err.id, "device-transition");
			/* It says where the device really is. */
			assert_non_null(strstr(err.message, vf_migration_state_name(after)));
			assert_int_equal(undo_all(m, NULL), 0);
			check_running(m, lost);
			assert_int_equal(undo_all(m, NULL), 0);
			check_running(m, lost);
			/* And it can be tried again at once. */
			assert_int_equal(run_save_until(m, 2, NULL), 0);
			assert_int_equal(undo_all(m, NULL), 0);
			check_running(m, lost);
			machine_free(m);
		}
	}
}

/* The named state first; then a reset; then the device is dead, and that is said. */
static void recovery_goes_from_named_state_to_reset_to_report(void **state)
{
	struct machine *m = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	open_vectors(m);
	assert_int_equal(run_save_until(m, 2, NULL), 0);
	fake_fail(m->fake, "set_state RUNNING_P2P", -EIO, KEEP_STATE, 1);
	fake_fail(m->fake, "set_state RUNNING", -EIO, VF_VFIO_STATE_STOP, 1);
	forget(&m->notes);
	run_ok(m, VFERRY_UNDO_DEVICE_RUN_P2P, NULL);
	run_ok(m, VFERRY_UNDO_DEVICE_RUN, NULL);
	assert_memory_equal(m->notes.text, "get_state; set_state RUNNING_P2P; get_state; "
			    "get_state; set_state RUNNING; get_state; reset; get_state; ", 100);
	assert_true(vf_device_is_lost(m->device));
	assert_int_equal(undo_all(m, NULL), 0);
	check_running(m, true);

	/* A machine reset makes a lost device an ordinary one again. */
	assert_int_equal(vferry_device_reset(m->device, NULL), 0);
	assert_false(vf_device_is_lost(m->device));

	assert_int_equal(run_save_until(m, 2, NULL), 0);
	fake_fail(m->fake, "set_state RUNNING_P2P", -EIO, VF_VFIO_STATE_ERROR, 1);
	fake_fail(m->fake, "reset", -EIO, KEEP_STATE, 2);
	run_ok(m, VFERRY_UNDO_DEVICE_RUN_P2P, NULL);
	assert_int_equal(run_step(m, VFERRY_UNDO_DEVICE_RUN, NULL, &err), -EIO);
	assert_string_equal(err.id, "device-reset");
	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, &err), -ENODEV);
}

/* A request that failed although the device got there: an end is an end, a stream is not. */
static void the_state_counts_not_the_answer(void **state)
{
	struct machine *m = *state;

	assert_int_equal(run_save_until(m, 2, NULL), 0);
	fake_fail(m->fake, "set_state RUNNING", -EFAULT, VF_VFIO_STATE_RUNNING, 1);
	run_ok(m, VFERRY_UNDO_DEVICE_RUN, NULL);
	assert_false(vf_device_is_lost(m->device));
	fake_fail(m->fake, "set_state STOP_COPY", -EMFILE, VF_VFIO_STATE_STOP_COPY, 1);
	assert_int_equal(run_step(m, VFERRY_SAVE_DEVICE_STOP, NULL, NULL), -EMFILE);
	assert_int_equal(undo_all(m, NULL), 0);
	assert_int_equal(m->fake->state, VF_VFIO_STATE_RUNNING);
}

static void unreadable_state_counts_as_error(void **state)
{
	struct machine *m = *state;

	open_vectors(m);
	assert_int_equal(run_save_until(m, 1, NULL), 0);
	fake_fail(m->fake, "get_state", -EIO, KEEP_STATE, 2);
	assert_int_equal(undo_all(m, NULL), 0);
	assert_true(vf_device_is_lost(m->device));
	assert_int_equal(m->fake->state, VF_VFIO_STATE_RUNNING);
}

static void failing_data_fails_the_stream_only(void **state)
{
	struct machine *m = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	open_vectors(m);
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	fake_fail(m->fake, "read", -ENODEV, KEEP_STATE, 1);
	assert_int_equal(stream_read_some(m, &err), -ENODEV);
	assert_string_equal(err.id, "device-data");
	assert_int_equal(undo_all(m, NULL), 0);
	check_running(m, false);
}

/* ---- resets by the guest ---- */

static struct machine *reset_machine;

static void guest_flr(struct machine *m)
{
	guest_config(m, AT_PCIE + VF_PCI_PCIE_DEVCTL, 2, VF_PCI_PCIE_DEVCTL_FLR);
}

static void flr_in_read(struct fake *f)
{
	(void) f;
	guest_flr(reset_machine);
}

static void flr_between_reads_begins_a_generation(void **state)
{
	struct machine *m = *state;
	uint32_t first;

	m->fake->to_read = 1000;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	first = stream_of(m)->generation(m->device);
	assert_int_equal(stream_read_some(m, NULL), 64);
	guest_flr(m);
	/* Not yet: bytes read so far and the generation still belong together. */
	assert_int_equal(stream_of(m)->generation(m->device), first);
	forget(&m->notes);
	assert_int_equal(stream_read_some(m, NULL), 0);
	expect_notes(&m->notes, "set_state PRE_COPY; ");
	assert_int_equal(stream_of(m)->generation(m->device), first + 1);
	assert_int_equal(stream_read_some(m, NULL), 64);
	run_ok(m, VFERRY_SAVE_DEVICE_P2P, NULL);
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, NULL);
	assert_int_equal(stream_of(m)->generation(m->device), first + 1);
}

static void flr_during_a_read_voids_its_bytes(void **state)
{
	struct machine *m = *state;

	reset_machine = m;
	m->fake->to_read = 1000;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	m->fake->in_read = flr_in_read;
	assert_int_equal(stream_read_some(m, NULL), 0);
	assert_int_equal(stream_of(m)->generation(m->device), 1);
	/* The same where the old stream answered with an error. */
	m->fake->in_read = flr_in_read;
	fake_fail(m->fake, "read", -ENODEV, KEEP_STATE, 1);
	assert_int_equal(stream_read_some(m, NULL), 0);
	assert_int_equal(stream_of(m)->generation(m->device), 2);
	assert_int_equal(m->fake->state, VF_VFIO_STATE_PRE_COPY);
	assert_int_equal(stream_read_some(m, NULL), 64);
}

/* libvfio-user keeps PRE_COPY over a reset: the old stream must not go on as if it were new. */
static void flr_on_a_server_that_keeps_its_state(void **state)
{
	struct machine *m = *state;

	m->fake->reset_keeps_state = true;
	m->fake->to_read = 1000;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	guest_flr(m);
	assert_int_equal(m->fake->state, VF_VFIO_STATE_RUNNING);
	assert_int_equal(stream_read_some(m, NULL), 0);
	assert_int_equal(m->fake->state, VF_VFIO_STATE_PRE_COPY);
	assert_int_equal(stream_of(m)->generation(m->device), 1);
}

static void flr_that_no_read_noticed_is_told_at_the_stop(void **state)
{
	struct machine *m = *state;

	m->fake->to_read = 1000;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	assert_int_equal(stream_read_some(m, NULL), 64);
	guest_flr(m);
	forget(&m->notes);
	run_ok(m, VFERRY_SAVE_DEVICE_P2P, NULL);
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, NULL);
	expect_notes(&m->notes, "set_state RUNNING_P2P; unreachable; set_state STOP_COPY; ");
	assert_int_equal(stream_of(m)->generation(m->device), 1);
	assert_int_equal(stream_read_some(m, NULL), 64);
}

static void failing_restart_fails_the_read(void **state)
{
	struct machine *m = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	guest_flr(m);
	fake_fail(m->fake, "set_state PRE_COPY", -ENOMEM, KEEP_STATE, 1);
	assert_int_equal(stream_read_some(m, &err), -ENOMEM);
	assert_int_equal(stream_of(m)->generation(m->device), 0);
	assert_int_equal(undo_all(m, NULL), 0);
	assert_int_equal(m->fake->state, VF_VFIO_STATE_RUNNING);
	assert_false(vf_device_is_lost(m->device));
}

/* Nothing was sent before the stop, so nothing is void. */
static void flr_without_precopy_is_no_new_generation(void **state)
{
	struct machine *m = machine_new_flags(VF_VFIO_MIGRATION_STOP_COPY);

	(void) state;
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 1);
	guest_flr(m);
	assert_int_equal(stream_read_some(m, NULL), 0);
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, NULL);
	assert_int_equal(stream_of(m)->generation(m->device), 0);
	machine_free(m);
}

/* A tool left it in PRE_COPY: what that stream gave already is not part of this one. */
static void precopy_of_somebody_else_is_ended_first(void **state)
{
	struct machine *m = *state;

	assert_int_equal(vferry_device_set_state(m->device, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	forget(&m->notes);
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	expect_notes(&m->notes, "set_state RUNNING; set_state PRE_COPY; ");
}

static void resets_before_a_session_do_not_count(void **state)
{
	struct machine *m = *state;
	uint32_t first;

	guest_flr(m);
	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, NULL), 0);
	first = stream_of(m)->generation(m->device);
	assert_int_equal(stream_of(m)->precopy_start(m->device, NULL), 0);
	assert_int_equal(stream_of(m)->generation(m->device), first);
}

/* ---- the DMA log ---- */

static uint64_t collect(struct machine *m, struct vf_ram_collected *ret)
{
	struct vf_ram_collected collected;

	assert_int_equal(vf_ram_collect(m->ram, &collected), 0);
	if (ret)
		*ret = collected;
	return collected.dirty_pages;
}

static void clear_dirty(struct machine *m)
{
	for (size_t b = 0; b < vferry_ram_block_count(m->ram); b++)
		for (uint64_t w = 0; w < vferry_ram_get_block(m->ram, b)->bytes / 4096 / 64; w++)
			(void) vf_ram_take_dirty(m->ram, b, w);
}

static void set_dirty(struct machine *m, uint64_t gpa)
{
	m->fake->dirty_gpa[m->fake->dirty_count++] = gpa;
}

#define ALL_PAGES ((0x100000u + 0x200000u) / 4096)

static void the_log_is_a_dirty_source(void **state)
{
	struct machine *m = *state;

	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	expect_notes(&m->notes, "log_start 2; ");
	set_dirty(m, 0x5000);
	set_dirty(m, 0x401ff000);
	assert_int_equal(collect(m, NULL), 2);
	assert_int_equal(vf_ram_next_dirty(m->ram, 0, 0, 256), 5);
	assert_int_equal(vf_ram_next_dirty(m->ram, 1, 0, 512), 511);
	clear_dirty(m);
	assert_int_equal(collect(m, NULL), 0);
	/* What it wrote until it stopped. */
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, NULL);
	set_dirty(m, 0x40000000);
	run_ok(m, VFERRY_SAVE_DEVICE_DIRTY, NULL);
	assert_int_equal(vf_ram_dirty_pages(m->ram), 1);
	assert_int_equal(vf_ram_next_dirty(m->ram, 1, 0, 512), 0);
	forget(&m->notes);
	vf_ram_tracking_stop(m->ram);
	expect_notes(&m->notes, "log_stop; ");
	assert_int_equal(run_step(m, VFERRY_UNDO_LOGGING_OFF, NULL, NULL), 0);
	expect_notes(&m->notes, "");
}

/* A foreign server reports whole mappings only. */
static void whole_region_reports_go_through_a_shadow(void **state)
{
	struct machine *m = *state;

	m->fake->base.caps.log_any_range = false;
	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	forget(&m->notes);
	set_dirty(m, 0x5000);
	set_dirty(m, 0x401ff000);
	assert_int_equal(collect(m, NULL), 2);
	expect_notes(&m->notes, "report 0+100000; report 40000000+200000; ");
	clear_dirty(m);
	run_ok(m, VFERRY_SAVE_DEVICE_STOP, NULL);
	set_dirty(m, 0x1000);
	run_ok(m, VFERRY_SAVE_DEVICE_DIRTY, NULL);
	assert_int_equal(collect(m, NULL), 1);
	assert_int_equal(vf_ram_next_dirty(m->ram, 0, 0, 256), 1);
	/* Asked for twice, nothing is lost in between. */
	set_dirty(m, 0xff000);
	run_ok(m, VFERRY_SAVE_DEVICE_DIRTY, NULL);
	assert_int_equal(collect(m, NULL), 2);
	vf_ram_tracking_stop(m->ram);
}

static void larger_pages_are_spread(void **state)
{
	struct machine *m = *state;

	m->fake->log_page_bytes = 0x10000;
	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	set_dirty(m, 0x25000);
	assert_int_equal(collect(m, NULL), 16);
	assert_int_equal(vf_ram_next_dirty(m->ram, 0, 0, 256), 0x20);
	assert_int_equal(vf_ram_next_dirty(m->ram, 0, 0x30, 256), 256);
	vf_ram_tracking_stop(m->ram);
}

static void a_failed_report_makes_its_range_dirty(void **state)
{
	struct machine *m = *state;
	struct vferry_device_info info;
	struct vf_ram_collected collected;

	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	fake_fail(m->fake, "report 0+100000", -ENOENT, KEEP_STATE, 1);
	assert_int_equal(collect(m, &collected), 0x100);
	assert_int_equal(collected.failed_sources, 0);
	vferry_device_get_info(m->device, &info);
	assert_int_equal(info.log_failures, 1);
	clear_dirty(m);
	/* Kernel VFIO: the whole log is void. */
	m->fake->base.caps.log_error_is_local = false;
	fake_fail(m->fake, "report 0+100000", -ENOENT, KEEP_STATE, 1);
	assert_int_equal(collect(m, &collected), ALL_PAGES);
	assert_int_equal(collected.failed_sources, 1);
	clear_dirty(m);
	fake_fail(m->fake, "report 40000000+200000", -ENOENT, KEEP_STATE, 1);
	run_ok(m, VFERRY_SAVE_DEVICE_DIRTY, NULL);
	assert_int_equal(vf_ram_dirty_pages(m->ram), ALL_PAGES);
	vf_ram_tracking_stop(m->ram);
}

static void without_a_log_all_is_dirty_in_the_last_round(void **state)
{
	struct machine *m = *state;
	struct vferry_device_info info;

	fake_fail(m->fake, "log_start 2", -EOPNOTSUPP, KEEP_STATE, 1);
	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	vferry_device_get_info(m->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_NONE);
	assert_int_equal(info.log_failures, 1);
	assert_int_equal(collect(m, NULL), 0);
	run_ok(m, VFERRY_SAVE_DEVICE_DIRTY, NULL);
	assert_int_equal(collect(m, NULL), ALL_PAGES);
	clear_dirty(m);
	/* Once. */
	assert_int_equal(collect(m, NULL), 0);
	vf_ram_tracking_stop(m->ram);
	/* Next time the log works again. */
	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	vferry_device_get_info(m->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_DEVICE_LOG);
	vf_ram_tracking_stop(m->ram);
}

static void a_reset_voids_the_log(void **state)
{
	struct machine *m = *state;

	assert_int_equal(vf_ram_tracking_start(m->ram, NULL), 0);
	clear_dirty(m);
	forget(&m->notes);
	guest_flr(m);
	expect_notes(&m->notes, "reset; get_state; log_stop; log_start 2; ");
	assert_int_equal(vf_ram_dirty_pages(m->ram), ALL_PAGES);
	vf_ram_tracking_stop(m->ram);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(precopy_p2p_stop),
		cmocka_unit_test(states_a_device_lacks_are_skipped),
		cmocka_unit_test(a_device_without_migration_is_refused),
		TEST(bars_are_shut_while_state_is_read),
		TEST(remaining_is_known_or_unknown),
		TEST(undo_from_every_point),
		cmocka_unit_test(every_transition_fails_in_every_way),
		TEST(recovery_goes_from_named_state_to_reset_to_report),
		TEST(the_state_counts_not_the_answer),
		TEST(unreadable_state_counts_as_error),
		TEST(failing_data_fails_the_stream_only),
		TEST(flr_between_reads_begins_a_generation),
		TEST(flr_during_a_read_voids_its_bytes),
		TEST(flr_on_a_server_that_keeps_its_state),
		TEST(flr_that_no_read_noticed_is_told_at_the_stop),
		TEST(failing_restart_fails_the_read),
		cmocka_unit_test(flr_without_precopy_is_no_new_generation),
		TEST(resets_before_a_session_do_not_count),
		TEST(precopy_of_somebody_else_is_ended_first),
		TEST(the_log_is_a_dirty_source),
		TEST(whole_region_reports_go_through_a_shadow),
		TEST(larger_pages_are_spread),
		TEST(a_failed_report_makes_its_range_dirty),
		TEST(without_a_log_all_is_dirty_in_the_last_round),
		TEST(a_reset_voids_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
