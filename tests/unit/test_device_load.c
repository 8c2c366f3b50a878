/* SPDX-License-Identifier: MIT */
/*
 * test_device_load.c - the destination's side: identity and comparison, stage, restage, vectors, arm;
 * pending and masked vectors, INTx; what the guest changed while it was moved; a new generation; abort.
 */
#include "test_device_steps.h"
#include "session/irq_plan.h"

struct pair {
	struct machine *source, *target;
	struct sections wire;
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->source = machine_new();
	p->target = machine_new();
	assert_int_equal(vf_device_session_begin(p->source->device, VF_DEVICE_SOURCE, NULL), 0);
	assert_int_equal(vf_device_session_begin(p->target->device, VF_DEVICE_DESTINATION, NULL),
			 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	machine_free(p->source);
	machine_free(p->target);
	sections_free(&p->wire);
	free(p);
	return 0;
}

/* ---- a whole move, in parts ---- */

static void save_early(struct pair *p)
{
	assert_int_equal(stream_of(p->source)->precopy_start(p->source->device, NULL), 0);
	run_ok(p->source, VFERRY_SAVE_CONFIG_EARLY, &p->wire);
}

static void save_rest(struct pair *p)
{
	run_ok(p->source, VFERRY_SAVE_DEVICE_P2P, NULL);
	run_ok(p->source, VFERRY_SAVE_DEVICE_STOP, NULL);
	run_ok(p->source, VFERRY_SAVE_CONFIG, &p->wire);
	sink_pump(&p->source->sink);
	run_ok(p->source, VFERRY_SAVE_IRQ_FLUSH, NULL);
}

static void load_early(struct pair *p)
{
	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	run_ok(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire);
	run_ok(p->target, VFERRY_LOAD_VECTOR_ALLOC, NULL);
	assert_int_equal(stream_of(p->target)->write(p->target->device, "abc", 3, NULL), 0);
}

static void load_routes(struct pair *p)
{
	struct vferry_component irq;

	assert_int_equal(vf_irq_plan_component(p->target->plan, &irq), 0);
	assert_int_equal(irq.steps[0].run(irq.user, NULL, NULL), 0);
}

static void load_rest(struct pair *p)
{
	run_ok(p->target, VFERRY_LOAD_CONFIG_RESTAGE, &p->wire);
	run_ok(p->target, VFERRY_LOAD_DEVICE_VALIDATE, NULL);
	/* Here the interrupt controller would be restored. */
	load_routes(p);
	run_ok(p->target, VFERRY_LOAD_IRQ_CONNECT, NULL);
	run_ok(p->target, VFERRY_LOAD_CONFIG_ARM, NULL);
	run_ok(p->target, VFERRY_LOAD_DEVICE_RUN_P2P, NULL);
	run_ok(p->target, VFERRY_LOAD_DEVICE_RUN, NULL);
	sink_pump(&p->target->sink);
	vf_device_session_end(p->target->device);
}

static void move(struct pair *p)
{
	save_early(p);
	load_early(p);
	save_rest(p);
	load_rest(p);
}

/* The guest sees on the target what it saw on the source. */
static void check_same_view(struct pair *p)
{
	for (uint32_t at = 0; at < VF_CONFIG_BYTES_MAX; at += 4) {
		uint32_t a = vferry_device_config_read(p->source->device, at, 4);
		uint32_t b = vferry_device_config_read(p->target->device, at, 4);

		if (a != b)
			fail_msg("config space at %#x: %#x and %#x", at, a, b);
	}
	for (uint32_t at = 0; at < MSIX_VECTORS * 16; at += 8) {
		uint64_t a, b;

		p->source->device->unreachable = false;
		a = guest_bar_value(p->source, 4, at, 8);
		b = guest_bar_value(p->target, 4, at, 8);
		assert_int_equal(a, b);
	}
}

static void guest_sets_up(struct machine *m)
{
	guest_config(m, VF_PCI_BAR0, 4, 0x80000000);
	guest_config(m, VF_PCI_BAR0 + 8, 4, 0xc0000000);
	guest_config(m, VF_PCI_BAR0 + 16, 4, 0xc1000000);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_BUS_MASTER);
	guest_config(m, AT_PCIE + VF_PCI_PCIE_DEVCTL, 2, 0x2830);
}

static void a_machine_with_msix_moves(void **state)
{
	struct pair *p = *state;
	struct vferry_device_info info;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 3);
	forget(&p->target->notes);
	move(p);
	check_same_view(p);
	/* The whole table once, connects after it. */
	expect_notes(&p->target->sink.notes, "routes 3; connect 0; connect 1; connect 2; ");
	vferry_device_get_info(p->target->device, &info);
	assert_int_equal(info.state, VF_VFIO_STATE_RUNNING);
	assert_int_equal(info.vectors_connected, 3);
	assert_int_equal(info.bar_gpa[0], 0x80000000);
	fake_fire(p->target->fake, VF_VFIO_PCI_MSIX_IRQ, 2);
	sink_pump(&p->target->sink);
	assert_int_equal(p->target->sink.delivered[2], 1);
}

static size_t position(const char *text, const char *what)
{
	const char *at = strstr(text, what);

	if (!at)
		fail_msg("%s not in: %s", what, text);
	return (size_t) (at - text);
}

static void nothing_touches_interrupts_before_arm(void **state)
{
	struct pair *p = *state;
	const char *text = p->target->notes.text;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	guest_config(p->source, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM |
		     VF_PCI_COMMAND_BUS_MASTER | VF_PCI_COMMAND_INTX_DISABLE);
	save_early(p);
	load_early(p);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_CONFIG_RESTAGE, &p->wire);
	run_ok(p->target, VFERRY_LOAD_DEVICE_VALIDATE, NULL);
	/* D0 and RESUMING, config, vectors, data: nothing of it is connected. */
	assert_true(position(text, "set_state RESUMING") < position(text, "config 4="));
	assert_true(position(text, "config 4=6") < position(text, "irqs msix 70"));
	assert_true(position(text, "bar0 at 80000000") < position(text, "write 3"));
	assert_null(strstr(text, "config 4=406"));
	expect_notes(&p->target->sink.notes, "");
	load_routes(p);
	run_ok(p->target, VFERRY_LOAD_IRQ_CONNECT, NULL);
	expect_notes(&p->target->sink.notes, "routes 2; connect 0; connect 1; ");
	run_ok(p->target, VFERRY_LOAD_CONFIG_ARM, NULL);
	assert_int_equal(vf_get_u16(p->target->fake->image.bytes + VF_PCI_COMMAND), 0x406);
	/* Vectors were allocated once. */
	assert_null(strstr(text + position(text, "irqs msix 70") + 1, "irqs msix 70"));
	expect_notes(&p->target->sink.notes, "");
}

static void pending_and_masked_vectors_survive(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 4);
	guest_bar(p->source, 4, 1 * 16 + 12, 4, 1);
	guest_bar(p->source, 4, 2 * 16 + 12, 4, 1);
	fake_fire(p->source->fake, VF_VFIO_PCI_MSIX_IRQ, 1);
	move(p);
	check_same_view(p);
	expect_notes(&p->target->sink.notes, "routes 4; connect 0; connect 3; ");
	assert_int_equal(guest_bar_value(p->target, 4, 0x2000, 8), 2);
	guest_bar(p->target, 4, 1 * 16 + 12, 4, 0);
	guest_bar(p->target, 4, 2 * 16 + 12, 4, 0);
	expect_notes(&p->target->sink.notes, "connect 1; connect 2; ");
	assert_int_equal(p->target->sink.delivered[1], 1);
	assert_int_equal(p->target->sink.delivered[2], 0);
	/* Undone instead, the source still has it. */
	assert_int_equal(undo_all(p->source, NULL), 0);
	guest_bar(p->source, 4, 1 * 16 + 12, 4, 0);
	assert_int_equal(p->source->sink.delivered[1], 1);
}

static void function_mask_survives(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	guest_msix_control(p->source, true, true);
	fake_fire(p->source->fake, VF_VFIO_PCI_MSIX_IRQ, 0);
	move(p);
	expect_notes(&p->target->sink.notes, "routes 2; ");
	guest_msix_control(p->target, true, false);
	expect_notes(&p->target->sink.notes, "connect 0; connect 1; ");
	assert_int_equal(p->target->sink.delivered[0], 1);
	assert_int_equal(p->target->sink.delivered[1], 0);
}

/* What the device signalled while the move was on its way to the target's controller. */
static void an_event_before_the_connect_is_delivered(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 1);
	save_early(p);
	load_early(p);
	fake_fire(p->target->fake, VF_VFIO_PCI_MSIX_IRQ, 0);
	save_rest(p);
	load_rest(p);
	assert_int_equal(p->target->sink.delivered[0], 1);
}

static void msi_moves_with_its_mask(void **state)
{
	struct pair *p = *state;
	uint16_t flags;

	guest_sets_up(p->source);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_ADDRESS, 4, (uint32_t) DOORBELL);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_DATA_64, 2, 0x40);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_FLAGS, 2, VF_PCI_MSI_FLAGS_ENABLE | 1 << 4);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_MASK_64, 4, 2);
	move(p);
	check_same_view(p);
	expect_notes(&p->target->sink.notes, "routes 2; connect 0; connect 1; ");
	flags = vf_get_u16(p->target->fake->image.bytes + AT_MSI + VF_PCI_MSI_FLAGS);
	assert_true(flags & VF_PCI_MSI_FLAGS_ENABLE);
	assert_int_equal(p->target->fake->image.bytes[AT_MSI + VF_PCI_MSI_MASK_64], 2);
	assert_int_equal(p->target->fake->trigger_count[VF_VFIO_PCI_MSI_IRQ], 2);
}

static void an_asserted_intx_line_is_raised_again(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	vf_put_u16(p->source->fake->image.bytes + VF_PCI_STATUS,
		   VF_PCI_STATUS_CAP_LIST | VF_PCI_STATUS_INTX);
	fake_fire(p->source->fake, VF_VFIO_PCI_INTX_IRQ, 0);
	sink_pump(&p->source->sink);
	move(p);
	expect_notes(&p->target->sink.notes, "routes 1; connect 0; ");
	assert_int_equal(p->target->sink.delivered[0], 1);
}

static void an_idle_intx_line_is_not(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	move(p);
	assert_int_equal(p->target->sink.delivered[0], 0);
	assert_int_equal(p->target->sink.connects, 1);
}

static void intx_disabled_stays_so(void **state)
{
	struct pair *p = *state;

	guest_config(p->source, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM |
		     VF_PCI_COMMAND_INTX_DISABLE);
	move(p);
	check_same_view(p);
	assert_int_equal(p->target->sink.connects, 0);
	guest_config(p->target, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM);
	assert_int_equal(p->target->sink.connects, 1);
}

/* ---- what the guest changed after config space was staged ---- */

static void stage_then(struct pair *p)
{
	guest_sets_up(p->source);
	save_early(p);
	load_early(p);
	forget(&p->target->notes);
	forget(&p->target->sink.notes);
}

static void a_bar_moved(void **state)
{
	struct pair *p = *state;
	const char *text = p->target->notes.text;

	stage_then(p);
	guest_config(p->source, VF_PCI_BAR0 + 8, 4, 0xd0000000);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_CONFIG_RESTAGE, &p->wire);
	assert_true(position(text, "bar2 gone from c0000000") < position(text, "bar2 at d0000000"));
	assert_null(strstr(text, "bar0"));
	load_rest(p);
	check_same_view(p);
}

static void device_control_changed(void **state)
{
	struct pair *p = *state;

	stage_then(p);
	guest_config(p->source, AT_PCIE + VF_PCI_PCIE_DEVCTL, 2, 0x5810);
	save_rest(p);
	load_rest(p);
	check_same_view(p);
	assert_int_equal(vf_get_u16(p->target->fake->image.bytes + AT_PCIE + VF_PCI_PCIE_DEVCTL),
			 0x5810);
}

static void intx_became_msix(void **state)
{
	struct pair *p = *state;
	const char *text = p->target->notes.text;

	stage_then(p);
	guest_msix_on(p->source, 2);
	save_rest(p);
	load_rest(p);
	check_same_view(p);
	assert_true(position(text, "irqs intx 0") < position(text, "irqs msix 70"));
	expect_notes(&p->target->sink.notes, "routes 2; connect 0; connect 1; ");
}

static void msi_became_msix(void **state)
{
	struct pair *p = *state;
	const char *text = p->target->notes.text;

	guest_sets_up(p->source);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_ADDRESS, 4, (uint32_t) DOORBELL);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_FLAGS, 2, VF_PCI_MSI_FLAGS_ENABLE);
	save_early(p);
	load_early(p);
	forget(&p->target->notes);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_FLAGS, 2, 0);
	guest_msix_on(p->source, 2);
	save_rest(p);
	load_rest(p);
	check_same_view(p);
	assert_true(position(text, "irqs msi 0") < position(text, "irqs msix 70"));
	assert_int_equal(p->target->sink.set_routes, 1);
	assert_int_equal(p->target->sink.connects, 2);
}

static void the_number_of_msi_vectors_changed(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_ADDRESS, 4, (uint32_t) DOORBELL);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_FLAGS, 2, VF_PCI_MSI_FLAGS_ENABLE);
	save_early(p);
	load_early(p);
	guest_config(p->source, AT_MSI + VF_PCI_MSI_FLAGS, 2, VF_PCI_MSI_FLAGS_ENABLE | 2 << 4);
	save_rest(p);
	load_rest(p);
	assert_int_equal(p->target->fake->trigger_count[VF_VFIO_PCI_MSI_IRQ], 4);
	assert_int_equal(p->target->sink.connects, 4);
}

static void the_guest_powered_it_down(void **state)
{
	struct pair *p = *state;

	stage_then(p);
	guest_config(p->source, AT_PM + VF_PCI_PM_CSR, 2, VF_PCI_PM_CSR_NO_RESET | 3);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_CONFIG_RESTAGE, &p->wire);
	assert_int_equal(p->target->fake->image.bytes[AT_PM + VF_PCI_PM_CSR] & 3, 0);
	load_rest(p);
	assert_int_equal(p->target->fake->image.bytes[AT_PM + VF_PCI_PM_CSR] & 3, 3);
	check_same_view(p);
}

/* ---- streams in other orders ---- */

static void config_space_as_the_last_section(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	save_rest(p);
	/* No CONFIG section at all: stage takes CONFIG_FINAL. */
	load_early(p);
	load_rest(p);
	check_same_view(p);
	assert_int_equal(p->target->sink.connects, 2);
}

/* The table goes out once, with them in it. */
static void vectors_not_allocated_early_are_so_for_the_routes(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	run_ok(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire);
	run_ok(p->target, VFERRY_LOAD_CONFIG_RESTAGE, &p->wire);
	load_routes(p);
	expect_notes(&p->target->sink.notes, "routes 2; ");
	run_ok(p->target, VFERRY_LOAD_VECTOR_ALLOC, NULL);
	load_rest(p);
	expect_notes(&p->target->sink.notes, "connect 0; connect 1; ");
}

static void vectors_are_at_the_connect_at_the_latest(void **state)
{
	struct pair *p = *state;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	run_ok(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire);
	run_ok(p->target, VFERRY_LOAD_IRQ_CONNECT, NULL);
	expect_notes(&p->target->sink.notes, "routes 2; connect 0; connect 1; ");
}

static void a_foreign_server_gets_its_vectors_before_stop(void **state)
{
	struct pair *p = *state;
	const char *text = p->target->notes.text;

	p->target->fake->base.caps.irqs_while_stopped = false;
	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	run_ok(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire);
	run_ok(p->target, VFERRY_LOAD_DEVICE_VALIDATE, NULL);
	assert_true(position(text, "irqs msix 70") < position(text, "set_state STOP"));
}

/* ---- generations, failures, abort ---- */

static void a_new_generation_starts_from_nothing(void **state)
{
	struct pair *p = *state;
	const char *text = p->target->notes.text;

	stage_then(p);
	assert_int_equal(stream_of(p->target)->restart(p->target->device, NULL), 0);
	assert_true(position(text, "reset; ") < position(text, "set_state RESUMING"));
	/* The reset took config space with it. */
	assert_int_equal(vf_get_u16(p->target->fake->image.bytes + VF_PCI_COMMAND), 6);
	assert_int_equal(p->target->fake->state, VF_VFIO_STATE_RESUMING);
	save_rest(p);
	load_rest(p);
	check_same_view(p);
}

static void bad_sections_are_refused(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	assert_int_equal(run_step(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire, &err), -EPROTO);
	guest_sets_up(p->source);
	save_early(p);
	p->wire.size[1] /= 2;
	vferry_error_clear(&err);
	assert_int_equal(run_step(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire, &err), -EINVAL);
	assert_int_equal(p->target->device->bars[0].gpa, 0);
}

static void data_out_of_place_is_refused(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(stream_of(p->target)->write(p->target->device, "x", 1, &err), -ENODATA);
	assert_int_equal(run_step(p->target, VFERRY_LOAD_DEVICE_VALIDATE, NULL, NULL), -EINVAL);
}

static void a_refused_load_is_wiped(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device_info info;

	guest_sets_up(p->source);
	guest_msix_on(p->source, 2);
	save_early(p);
	load_early(p);
	save_rest(p);
	run_ok(p->target, VFERRY_LOAD_CONFIG_RESTAGE, &p->wire);
	fake_fail(p->target->fake, "set_state STOP", -EINVAL, VF_VFIO_STATE_ERROR, 1);
	assert_int_equal(run_step(p->target, VFERRY_LOAD_DEVICE_VALIDATE, NULL, &err), -EINVAL);
	forget(&p->target->notes);
	assert_int_equal(vf_device_abort_load(p->target->device, NULL), 0);
	expect_notes(&p->target->notes, "bar0 gone from 80000000; bar2 gone from c0000000; "
		     "bar4 gone from c1000000; irqs msix 0; reset; get_state; ");
	vf_device_session_end(p->target->device);
	vferry_device_get_info(p->target->device, &info);
	assert_int_equal(info.vector_count, 0);
	assert_int_equal(info.state, VF_VFIO_STATE_RUNNING);
	/* It can take the machine in the next attempt. */
	assert_int_equal(vf_device_session_begin(p->target->device, VF_DEVICE_DESTINATION, NULL),
			 0);
	load_early(p);
	load_rest(p);
	check_same_view(p);
}

static void an_abort_that_fails_leaves_a_dead_device(void **state)
{
	struct pair *p = *state;

	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	assert_int_equal(vferry_device_reset(p->target->device, NULL), -EBUSY);
	fake_fail(p->target->fake, "reset", -EIO, KEEP_STATE, 2);
	assert_int_equal(vf_device_abort_load(p->target->device, NULL), -EIO);
	vf_device_session_end(p->target->device);
	assert_int_equal(vf_device_session_begin(p->target->device, VF_DEVICE_DESTINATION, NULL),
			 -ENODEV);
}

static void writes_that_fail_fail_the_step(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	guest_sets_up(p->source);
	save_early(p);
	run_ok(p->target, VFERRY_LOAD_DEVICE_RESUMING, NULL);
	fake_fail(p->target->fake, "config 4=6", -EIO, KEEP_STATE, 1);
	assert_int_equal(run_step(p->target, VFERRY_LOAD_CONFIG_STAGE, &p->wire, &err), -EIO);
	assert_string_equal(err.id, "config-write");
}

/* ---- comparison ---- */

static void compare(struct machine *source, struct machine *target, int component,
		    struct vferry_reasons *reasons)
{
	struct vferry_component a[VF_DEVICE_COMPONENTS], b[VF_DEVICE_COMPONENTS];
	struct vferry_writer *w;
	struct vferry_reader *r;
	const void *data;
	size_t size;

	memset(reasons, 0, sizeof(*reasons));
	assert_int_equal(vf_device_components(source->device, a), 0);
	assert_int_equal(vf_device_components(target->device, b), 0);
	assert_int_equal(vferry_writer_new(65536, &w), 0);
	assert_int_equal(a[component].identity(a[component].user, w, NULL), 0);
	data = vferry_writer_data(w, &size);
	assert_int_equal(vferry_reader_new(data, size, &r), 0);
	assert_int_equal(b[component].check(b[component].user, r, reasons), 0);
	assert_true(vferry_reader_done(r));
	vferry_reader_free(r);
	/* Cut off anywhere, it is refused and not compared. */
	for (size_t cut = 0; cut < size; cut++) {
		struct vferry_reasons none = { 0 };

		assert_int_equal(vferry_reader_new(data, cut, &r), 0);
		assert_true(b[component].check(b[component].user, r, &none) < 0 || none.count);
		vferry_reader_free(r);
	}
	vferry_writer_free(w);
}

static void like_devices_are_taken(void **state)
{
	struct pair *p = *state;
	struct vferry_reasons reasons;

	compare(p->source, p->target, VF_DEVICE_COMPONENT_PCI, &reasons);
	assert_int_equal(reasons.count, 0);
	compare(p->source, p->target, VF_DEVICE_COMPONENT_VFIO, &reasons);
	assert_int_equal(reasons.count, 0);
}

static struct machine *machine_unlike(uint64_t flags)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct fake *f;

	pthread_mutex_init(&m->notes.lock, NULL);
	f = fake_new(&m->notes, flags);
	vf_put_u16(f->image.bytes + VF_PCI_DEVICE, 0x9999);
	f->image.regions[2].size = 0x8000;
	vf_put_u32(f->image.bytes + AT_PCIE + VF_PCI_PCIE_DEVCAP2, 0x1e);
	memcpy(f->fresh, f->image.bytes, sizeof(f->fresh));
	machine_init_with(m, f);
	return m;
}

static void all_reasons_are_given(void **state)
{
	struct pair *p = *state;
	struct machine *other = machine_unlike(VF_VFIO_MIGRATION_STOP_COPY);
	struct vferry_reasons reasons;

	compare(p->source, other, VF_DEVICE_COMPONENT_PCI, &reasons);
	assert_true(reasons.count >= 3);
	assert_true(has_reason(&reasons, "config-bar-size"));
	compare(p->source, other, VF_DEVICE_COMPONENT_VFIO, &reasons);
	assert_true(has_reason(&reasons, "device-id"));
	assert_true(has_reason(&reasons, "device-pre-copy"));
	machine_free(other);
	other = machine_unlike(0);
	compare(p->source, other, VF_DEVICE_COMPONENT_VFIO, &reasons);
	assert_true(has_reason(&reasons, "device-not-migratable"));
	machine_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_machine_with_msix_moves),
		TEST(nothing_touches_interrupts_before_arm),
		TEST(pending_and_masked_vectors_survive),
		TEST(function_mask_survives),
		TEST(an_event_before_the_connect_is_delivered),
		TEST(msi_moves_with_its_mask),
		TEST(an_asserted_intx_line_is_raised_again),
		TEST(an_idle_intx_line_is_not),
		TEST(intx_disabled_stays_so),
		TEST(a_bar_moved),
		TEST(device_control_changed),
		TEST(intx_became_msix),
		TEST(msi_became_msix),
		TEST(the_number_of_msi_vectors_changed),
		TEST(the_guest_powered_it_down),
		TEST(config_space_as_the_last_section),
		TEST(vectors_not_allocated_early_are_so_for_the_routes),
		TEST(vectors_are_at_the_connect_at_the_latest),
		TEST(a_foreign_server_gets_its_vectors_before_stop),
		TEST(a_new_generation_starts_from_nothing),
		TEST(bad_sections_are_refused),
		TEST(data_out_of_place_is_refused),
		TEST(a_refused_load_is_wiped),
		TEST(an_abort_that_fails_leaves_a_dead_device),
		TEST(writes_that_fail_fail_the_step),
		TEST(like_devices_are_taken),
		TEST(all_reasons_are_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
