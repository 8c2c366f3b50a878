/* SPDX-License-Identifier: MIT */
/* test_device.c - what the guest does to a device, and what reaches backend, VMM and controller. */
#include "test_device.h"

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

static uint32_t config(struct machine *m, uint32_t offset, unsigned int size)
{
	return vferry_device_config_read(m->device, offset, size);
}

/* ---- opening ---- */

static void opening_asks_what_it_is(void **state)
{
	struct machine *m = *state;
	struct vferry_device_info info;

	vferry_device_get_info(m->device, &info);
	assert_string_equal(info.address, "00:04.0");
	assert_string_equal(info.backend, "fake");
	assert_int_equal(info.vendor_id, 0x1d1d);
	assert_int_equal(info.features, VFERRY_DEVICE_STOP_COPY | VFERRY_DEVICE_P2P |
			 VFERRY_DEVICE_PRE_COPY | VFERRY_DEVICE_DMA_LOG |
			 VFERRY_DEVICE_DATA_SIZE | VFERRY_DEVICE_PRECOPY_INFO);
	assert_int_equal(info.state, VF_VFIO_STATE_RUNNING);
	assert_int_equal(info.bar_bytes[4], 0x4000);
	assert_true(info.bar_is_io[3]);
	assert_int_equal(info.bar_gpa[0], 0);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_DEVICE_LOG);
}

static void bad_uris_and_options(void **state)
{
	struct vferry_device_options options = { .size = sizeof(options), .address = "00:01.0" };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device *device;

	(void) state;
	assert_int_equal(vferry_device_open("vfio:ffff:ff:1f.7", &options, &device, &err), -ENODEV);
	assert_string_equal(err.id, "device-missing");
	vferry_error_clear(&err);
	assert_int_equal(vferry_device_open("vfio:/dev/vfio/devices/vfio987654", &options, &device, &err),
			 -ENODEV);
	assert_int_equal(vferry_device_open("vfio:", &options, &device, NULL), -EINVAL);
	assert_int_equal(vferry_device_open("vfio:whatever", &options, &device, NULL), -EINVAL);
	assert_int_equal(vferry_device_open("pci:1", &options, &device, NULL), -EINVAL);
	assert_int_equal(vferry_device_open("vfio-user:", &options, &device, NULL), -EINVAL);
	assert_int_equal(vferry_device_open("vfio-user:/nonexistent/socket", &options, &device,
					    NULL), -ENOENT);
	options.address = "0000:00:04.0-too-long";
	assert_int_equal(vferry_device_open("vfio-user:/x", &options, &device, NULL), -EINVAL);
	options.size = 1;
	assert_int_equal(vferry_device_open("vfio-user:/x", &options, &device, NULL), -EINVAL);
	assert_null(vferry_device_close(NULL));
}

static void a_device_that_cannot_be_reset_is_not_opened(void **state)
{
	struct notes notes = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct fake *f = fake_new(&notes, 0);
	struct vferry_device_options options = { .size = sizeof(options), .address = "00:01.0" };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device *device = NULL;

	(void) state;
	fake_fail(f, "reset", -EIO, KEEP_STATE, 1);
	assert_int_equal(vf_device_open_backend(&f->base, "fake:", &options, &device, &err), -EIO);
	assert_string_equal(err.id, "device-reset");
	assert_null(device);
}

static void ram_is_mapped_block_by_block(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_device_options options = { .size = sizeof(options), .address = "00:01.0" };

	(void) state;
	pthread_mutex_init(&m->notes.lock, NULL);
	m->fake = fake_new(&m->notes, 0);
	assert_int_equal(vferry_ram_new(&m->ram), 0);
	assert_int_equal(vferry_ram_create_block(m->ram, "a", 0, 0x10000, 0, NULL), 0);
	assert_int_equal(vferry_ram_create_block(m->ram, "b", 0x100000, 0x20000, 0, NULL), 1);
	assert_int_equal(vf_device_open_backend(&m->fake->base, "fake:", &options, &m->device, NULL),
			 0);
	forget(&m->notes);
	fake_fail(m->fake, "map 100000+20000", -ENOSPC, KEEP_STATE, 1);
	assert_int_equal(vferry_device_attach_ram(m->device, m->ram, &err), -ENOSPC);
	assert_string_equal(err.id, "dma-map");
	expect_notes(&m->notes, "map 0+10000; map 100000+20000; unmap 0+10000; ");
	assert_int_equal(vferry_device_attach_ram(m->device, m->ram, NULL), 0);
	assert_int_equal(vferry_device_attach_ram(m->device, m->ram, NULL), -EINVAL);
	assert_int_equal(m->fake->maps, 2);
	forget(&m->notes);
	m->device = vferry_device_close(m->device);
	vferry_ram_free(m->ram);
	expect_notes(&m->notes, "unmap 0+10000; unmap 100000+20000; ");
	free(m);
}

/* ---- config space and BARs ---- */

static void bars_come_and_go_with_decoding(void **state)
{
	struct machine *m = *state;
	struct vferry_device_info info;

	guest_config(m, VF_PCI_BAR0, 4, 0x80000000);
	guest_config(m, VF_PCI_BAR0 + 4, 4, 1);
	guest_config(m, VF_PCI_BAR0 + 8, 4, 0xc0000000);
	assert_null(strstr(m->notes.text, "bar"));
	forget(&m->notes);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM);
	expect_notes(&m->notes, "irqs intx 1; unmask intx fd; config 4=2; "
				"bar0 at 180000000; bar2 at c0000000; ");
	vferry_device_get_info(m->device, &info);
	assert_int_equal(info.bar_gpa[0], 0x180000000);
	assert_int_equal(info.bar_gpa[2], 0xc0000000);
	assert_int_equal(info.bar_gpa[4], 0);
	/* Moved while it is decoded: out first, then in. */
	guest_config(m, VF_PCI_BAR0 + 8, 4, 0xd0000000);
	expect_notes(&m->notes, "bar2 gone from c0000000; config 18=d0000000; "
				"bar2 at d0000000; ");
	guest_config(m, VF_PCI_COMMAND, 2, 0);
	expect_notes(&m->notes, "bar0 gone from 180000000; bar2 gone from d0000000; config 4=0; ");
}

static void config_reads_mix_view_and_device(void **state)
{
	struct machine *m = *state;

	assert_int_equal(config(m, VF_PCI_VENDOR, 2), 0x1d1d);
	guest_config(m, VF_PCI_BAR0 + 8, 4, 0xffffffff);
	assert_int_equal(config(m, VF_PCI_BAR0 + 8, 4), 0xffffc000);
	vf_put_u16(m->fake->image.bytes + VF_PCI_STATUS, VF_PCI_STATUS_CAP_LIST |
		   VF_PCI_STATUS_INTX);
	assert_int_equal(config(m, VF_PCI_STATUS, 2) & VF_PCI_STATUS_INTX, VF_PCI_STATUS_INTX);
}

static void failing_config_write_is_told(void **state)
{
	struct machine *m = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	fake_fail(m->fake, "config 4=4", -EIO, KEEP_STATE, 1);
	assert_int_equal(vferry_device_config_write(m->device, VF_PCI_COMMAND, 2,
						    VF_PCI_COMMAND_BUS_MASTER, &err), -EIO);
}

static void bar_accesses_reach_the_device(void **state)
{
	struct machine *m = *state;
	uint64_t value;

	guest_bar(m, 2, 0x10, 8, 0x1122334455667788);
	assert_int_equal(guest_bar_value(m, 2, 0x10, 8), 0x1122334455667788);
	assert_int_equal(guest_bar_value(m, 2, 0x12, 2), 0x5566);
	/* The BAR is 16 KiB to the guest, its registers are 12. */
	assert_int_equal(guest_bar_value(m, 4, 0x3000, 4), 0xffffffff);
	guest_bar(m, 4, 0x3000, 4, 1);
	assert_int_equal(vferry_device_bar_read(m->device, 4, 0x4000, 4, &value, NULL), -EINVAL);
	assert_int_equal(vferry_device_bar_read(m->device, 4, 0, 3, &value, NULL), -EINVAL);
	assert_int_equal(vferry_device_bar_read(m->device, 6, 0, 4, &value, NULL), -EINVAL);
	assert_int_equal(vferry_device_bar_write(m->device, 2, UINT64_MAX - 1, 4, 0, NULL), -EINVAL);
}

static void areas_leave_msix_pages_out(void **state)
{
	struct machine *m = *state;
	struct vferry_bar_area area;

	assert_int_equal(vferry_device_bar_area(m->device, 0, 0, &area), 0);
	assert_int_equal(area.offset, 0);
	assert_int_equal(area.bytes, 16u << 20);
	((volatile uint8_t *) area.host)[0x1234] = 7;
	assert_int_equal(vferry_device_bar_area(m->device, 0, 1, &area), -ENOENT);
	/* Table in page 0, PBA in page 2: page 1 is left. */
	assert_int_equal(vferry_device_bar_area(m->device, 4, 0, &area), 0);
	assert_int_equal(area.offset, 0x1000);
	assert_int_equal(area.bytes, 0x1000);
	assert_int_equal(vferry_device_bar_area(m->device, 4, 1, &area), -ENOENT);
	assert_int_equal(vferry_device_bar_area(m->device, 2, 0, &area), -ENOENT);
}

static void ioeventfds_leave_memory_and_msix_out(void **state)
{
	struct machine *m = *state;
	struct vferry_bar_ioeventfd io;

	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 2, 0, &io), 0);
	assert_true(io.offset == 0x10 && io.bytes == 4 && !io.matches && io.eventfd >= 0);
	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 2, 1, &io), 0);
	assert_true(io.offset == 0x18 && io.bytes == 8 && io.matches && io.match == 3);
	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 2, 2, &io), -ENOENT);
	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 0, 0, &io), -ENOENT);
	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 4, 0, &io), 0);
	assert_int_equal(io.offset, 0x2800);
	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 4, 1, &io), -ENOENT);
	assert_int_equal(vferry_device_bar_ioeventfd(m->device, 7, 0, &io), -ENOENT);
}

/* ---- what the host tells ---- */

struct told {
	atomic_int errors, requests;
};

static void told_error(void *user)
{
	atomic_fetch_add(&((struct told *) user)->errors, 1);
}

static void told_request(void *user)
{
	atomic_fetch_add(&((struct told *) user)->requests, 1);
}

static void wait_for_count(atomic_int *count, int wanted)
{
	for (int i = 0; i < 5000 && atomic_load(count) < wanted; i++)
		usleep(1000);
	assert_int_equal(atomic_load(count), wanted);
}

static struct vferry_device *open_told(struct fake *f, struct told *told)
{
	static const struct vferry_device_callbacks callbacks = {
		.size = sizeof(callbacks), .device_error = told_error,
		.device_requested = told_request,
	};
	const struct vferry_device_options options = {
		.size = sizeof(options), .address = "00:05.0", .callbacks = &callbacks, .user = told,
	};
	struct vferry_device *d;

	assert_int_equal(vf_device_open_backend(&f->base, "fake:", &options, &d, NULL), 0);
	return d;
}

static void errors_and_requests_are_told(void **state)
{
	struct told told = { 0 };
	struct notes notes = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct fake *f = fake_new(&notes, ALL_MIGRATION);
	struct vferry_device *d = open_told(f, &told);

	(void) state;
	assert_int_equal(f->trigger_count[VF_VFIO_PCI_ERR_IRQ], 1);
	assert_int_equal(f->trigger_count[VF_VFIO_PCI_REQ_IRQ], 1);
	assert_int_equal(eventfd_write(f->triggers[VF_VFIO_PCI_REQ_IRQ][0], 1), 0);
	wait_for_count(&told.requests, 1);
	assert_int_equal(eventfd_write(f->triggers[VF_VFIO_PCI_ERR_IRQ][0], 1), 0);
	wait_for_count(&told.errors, 1);
	assert_int_equal(eventfd_write(f->triggers[VF_VFIO_PCI_REQ_IRQ][0], 1), 0);
	wait_for_count(&told.requests, 2);
	assert_int_equal(atomic_load(&told.errors), 1);
	forget(&notes);
	(void) vferry_device_close(d);
	/* It is told to signal nothing any more before anything else. */
	assert_int_equal(strncmp(notes.text, "irqs err 0; irqs req 0; ", 24), 0);
}

/* It may refuse: then it is a device that tells nothing. */
static void notices_may_be_refused(void **state)
{
	struct told told = { 0 };
	struct notes notes = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct fake *f = fake_new(&notes, ALL_MIGRATION);
	struct vferry_device *d;

	(void) state;
	fake_fail(f, "irqs err 1", -EINVAL, KEEP_STATE, 1);
	d = open_told(f, &told);
	assert_int_equal(f->trigger_count[VF_VFIO_PCI_ERR_IRQ], 0);
	assert_int_equal(eventfd_write(f->triggers[VF_VFIO_PCI_REQ_IRQ][0], 1), 0);
	wait_for_count(&told.requests, 1);
	(void) vferry_device_close(d);
}

/* ---- interrupts ---- */

static void msix_is_allocated_at_once_and_connected_when_open(void **state)
{
	struct machine *m = *state;
	struct vferry_device_info info;

	guest_msix_control(m, true, true);
	/* All vectors in one call, nothing connected while the function is masked. */
	expect_notes(&m->notes, "irqs msix 70; config 9e=c045; ");
	expect_notes(&m->sink.notes, "");
	for (uint32_t i = 0; i < 3; i++)
		guest_msix_entry(m, i, false);
	expect_notes(&m->sink.notes, "");
	guest_msix_control(m, true, false);
	expect_notes(&m->sink.notes, "routes 3; connect 0; connect 1; connect 2; ");
	assert_int_equal(m->sink.routes[1].address, DOORBELL);
	assert_int_equal(m->sink.routes[1].data, 0x4001);
	assert_int_equal(m->sink.routes[1].requester_id, 0x20);
	vferry_device_get_info(m->device, &info);
	assert_int_equal(info.irq_mode, VFERRY_IRQ_MODE_MSIX);
	assert_int_equal(info.vector_count, MSIX_VECTORS);
	assert_int_equal(info.vectors_connected, 3);
	assert_string_equal(info.not_forwarded_reason, "no hardware");
	fake_fire(m->fake, VF_VFIO_PCI_MSIX_IRQ, 1);
	sink_pump(&m->sink);
	assert_int_equal(m->sink.delivered[1], 1);
	guest_msix_control(m, false, false);
	expect_notes(&m->notes, "config 9e=8045; irqs msix 0; irqs intx 1; unmask intx fd; "
				"config 9e=45; ");
}

static void masked_vector_shows_and_keeps_its_pending_bit(void **state)
{
	struct machine *m = *state;

	guest_msix_on(m, 2);
	forget(&m->sink.notes);
	guest_bar(m, 4, 1 * 16 + 12, 4, 1);
	expect_notes(&m->sink.notes, "disconnect 1; ");
	assert_int_equal(guest_bar_value(m, 4, 0x2000, 8), 0);
	fake_fire(m->fake, VF_VFIO_PCI_MSIX_IRQ, 1);
	fake_fire(m->fake, VF_VFIO_PCI_MSIX_IRQ, 1);
	sink_pump(&m->sink);
	assert_int_equal(m->sink.delivered[1], 0);
	assert_int_equal(guest_bar_value(m, 4, 0x2000, 8), 2);
	assert_int_equal(guest_bar_value(m, 4, 0x2000, 4), 2);
	guest_bar(m, 4, 1 * 16 + 12, 4, 0);
	expect_notes(&m->sink.notes, "connect 1; ");
	assert_int_equal(m->sink.delivered[1], 1);
	assert_int_equal(guest_bar_value(m, 4, 0x2000, 8), 0);
}

/* Also where nobody looked at the PBA meanwhile. */
static void function_mask_keeps_events(void **state)
{
	struct machine *m = *state;

	guest_msix_on(m, 3);
	guest_bar(m, 4, 2 * 16 + 12, 4, 1);
	forget(&m->sink.notes);
	guest_msix_control(m, true, true);
	expect_notes(&m->sink.notes, "disconnect 0; disconnect 1; ");
	fake_fire(m->fake, VF_VFIO_PCI_MSIX_IRQ, 0);
	fake_fire(m->fake, VF_VFIO_PCI_MSIX_IRQ, 2);
	guest_msix_control(m, true, false);
	expect_notes(&m->sink.notes, "connect 0; connect 1; ");
	assert_int_equal(m->sink.delivered[0], 1);
	assert_int_equal(m->sink.delivered[2], 0);
	assert_int_equal(guest_bar_value(m, 4, 0x2000, 8), 4);
}

static void message_changed_under_mask_is_routed_before_connect(void **state)
{
	struct machine *m = *state;

	guest_msix_on(m, 1);
	forget(&m->sink.notes);
	guest_bar(m, 4, 12, 4, 1);
	guest_bar(m, 4, 8, 4, 0x77);
	guest_bar(m, 4, 12, 4, 0);
	expect_notes(&m->sink.notes, "disconnect 0; routes 1; connect 0; ");
	assert_int_equal(m->sink.routes[0].data, 0x77);
	/* Without a mask: the hardware follows a route only at a connect. */
	guest_bar(m, 4, 8, 4, 0x78);
	expect_notes(&m->sink.notes, "routes 1; disconnect 0; connect 0; ");
}

static void msi_is_allocated_before_its_enable_bit(void **state)
{
	struct machine *m = *state;

	guest_config(m, AT_MSI + VF_PCI_MSI_ADDRESS, 4, (uint32_t) DOORBELL);
	guest_config(m, AT_MSI + VF_PCI_MSI_DATA_64, 2, 0x40);
	forget(&m->notes);
	guest_config(m, AT_MSI + VF_PCI_MSI_FLAGS, 2, VF_PCI_MSI_FLAGS_ENABLE | 2 << 4);
	assert_memory_equal(m->notes.text, "irqs msi 4; ", 12);
	expect_notes(&m->sink.notes, "routes 4; connect 0; connect 1; connect 2; connect 3; ");
	assert_int_equal(m->sink.routes[3].data, 0x43);
	forget(&m->notes);
	guest_config(m, AT_MSI + VF_PCI_MSI_DATA_64, 2, 0x80);
	assert_int_equal(m->sink.routes[0].data, 0x80);
	assert_int_equal(m->sink.set_routes, 2);
}

static void intx_is_masked_by_command(void **state)
{
	struct machine *m = *state;

	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_IO);
	expect_notes(&m->notes, "irqs intx 1; unmask intx fd; config 4=1; ");
	expect_notes(&m->sink.notes, "routes 1; connect 0; ");
	assert_int_equal(m->sink.routes[0].kind, VFERRY_IRQ_PIN);
	assert_int_equal(m->sink.routes[0].pin, 5);
	assert_true(m->sink.resample[0] >= 0);
	fake_fire(m->fake, VF_VFIO_PCI_INTX_IRQ, 0);
	sink_pump(&m->sink);
	assert_int_equal(m->sink.delivered[0], 1);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_IO | VF_PCI_COMMAND_INTX_DISABLE);
	expect_notes(&m->sink.notes, "disconnect 0; ");
	/* It asserted its line, and lowered it again, while nobody listened. */
	fake_fire(m->fake, VF_VFIO_PCI_INTX_IRQ, 0);
	forget(&m->notes);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_IO);
	expect_notes(&m->sink.notes, "connect 0; ");
	assert_true(strstr(m->notes.text, "unmask intx; ") != NULL);
	sink_pump(&m->sink);
	assert_int_equal(m->sink.delivered[0], 1);	/* the device says again whether it is asserted */
}

static void a_device_without_vectors_left_is_told(void **state)
{
	struct machine *m = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	fake_fail(m->fake, "irqs msix 70", 12, KEEP_STATE, 1);
	assert_int_equal(vferry_device_config_write(m->device, AT_MSIX + VF_PCI_MSIX_CONTROL, 2,
						    VF_PCI_MSIX_CONTROL_ENABLE, &err), -ENOSPC);
	assert_string_equal(err.id, "irq-vectors");
}

/* ---- reset ---- */

static void flr_resets_device_and_view(void **state)
{
	struct machine *m = *state;

	guest_config(m, VF_PCI_BAR0 + 8, 4, 0xc0000000);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_BUS_MASTER);
	guest_msix_on(m, 2);
	forget(&m->notes);
	forget(&m->sink.notes);
	guest_config(m, AT_PCIE + VF_PCI_PCIE_DEVCTL, 2, VF_PCI_PCIE_DEVCTL_FLR);
	expect_notes(&m->notes, "bar2 gone from c0000000; irqs msix 0; reset; get_state; ");
	expect_notes(&m->sink.notes, "disconnect 0; disconnect 1; ");
	assert_int_equal(config(m, VF_PCI_COMMAND, 2), 0);
	assert_int_equal(config(m, VF_PCI_BAR0 + 8, 4), 0);
	assert_int_equal(m->sink.producers, 0);
	/* And it can be set up again. */
	guest_msix_on(m, 1);
	assert_int_equal(m->sink.connects, 1 + 2 + 1);	/* INTx, two vectors, one */
}

static void a_server_that_resets_only_what_runs(void **state)
{
	struct machine *m = *state;

	m->fake->reset_needs_running = true;
	assert_int_equal(vferry_device_set_state(m->device, VF_VFIO_STATE_STOP, NULL), 0);
	forget(&m->notes);
	assert_int_equal(vferry_device_reset(m->device, NULL), 0);
	expect_notes(&m->notes, "reset; set_state RUNNING; reset; get_state; ");
}

/* ---- peers ---- */

static void peers_follow_bars(void **state)
{
	struct machine *m = *state;
	struct machine *peer = machine_new();
	struct vferry_error err = VFERRY_ERROR_INIT;

	guest_config(peer, VF_PCI_BAR0, 4, 0x80000000);
	guest_config(peer, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM);
	forget(&m->notes);
	assert_true(vf_device_is_p2p_safe(m->device));
	assert_int_equal(vferry_device_add_peer(m->device, m->device, NULL), -EINVAL);
	assert_int_equal(vferry_device_add_peer(m->device, peer->device, NULL), 0);
	expect_notes(&m->notes, "map 80000000+1000000; ");
	assert_int_equal(vferry_device_add_peer(m->device, peer->device, NULL), -EEXIST);
	guest_config(peer, VF_PCI_BAR0, 4, 0x90000000);
	expect_notes(&m->notes, "unmap 80000000+1000000; map 90000000+1000000; ");
	guest_config(peer, VF_PCI_COMMAND, 2, 0);
	expect_notes(&m->notes, "unmap 90000000+1000000; ");
	fake_fail(m->fake, "map 90000000+1000000", -ENOSPC, KEEP_STATE, 1);
	assert_int_equal(vferry_device_config_write(peer->device, VF_PCI_COMMAND, 2,
						    VF_PCI_COMMAND_MEM, &err), -ENOSPC);
	assert_string_equal(err.id, "dma-map");
	forget(&m->notes);
	/* BAR 2 cannot be mapped: it stays out of reach. */
	guest_config(peer, VF_PCI_BAR0 + 8, 4, 0xc0000000);
	expect_notes(&m->notes, "");
	guest_config(peer, VF_PCI_BAR0, 4, 0xa0000000);
	expect_notes(&m->notes, "map a0000000+1000000; ");
	machine_free(peer);
	expect_notes(&m->notes, "unmap a0000000+1000000; ");
	assert_int_equal(m->fake->maps, 2);
}

static void a_device_closed_first_leaves_its_peers(void **state)
{
	struct machine *m = *state;
	struct machine *peer = machine_new();

	assert_int_equal(vferry_device_add_peer(peer->device, m->device, NULL), 0);
	assert_int_equal(vferry_device_add_peer(m->device, peer->device, NULL), 0);
	guest_config(m, VF_PCI_BAR0, 4, 0x80000000);
	guest_config(m, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM);
	assert_int_equal(peer->fake->maps, 3);
	machine_free(peer);
	guest_config(m, VF_PCI_COMMAND, 2, 0);
}

static void several_without_p2p_are_unsafe_only_as_peers(void **state)
{
	struct machine *a = machine_new_flags(VF_VFIO_MIGRATION_STOP_COPY);
	struct machine *b = machine_new_flags(VF_VFIO_MIGRATION_STOP_COPY);

	(void) state;
	assert_true(vf_device_is_p2p_safe(a->device));
	assert_int_equal(vferry_device_add_peer(a->device, b->device, NULL), 0);
	assert_false(vf_device_is_p2p_safe(a->device));
	assert_false(vf_device_is_p2p_safe(b->device));
	machine_free(a);
	assert_true(vf_device_is_p2p_safe(b->device));
	machine_free(b);
}

/* ---- DMA by message ---- */

static void messages_reach_ram_only(void **state)
{
	struct machine *m = *state;
	uint32_t value = 0x12345678, back = 0;

	assert_int_equal(vf_device_dma_ops.write(m->device, 0x40000010, &value, 4), 0);
	assert_int_equal(vf_device_dma_ops.read(m->device, 0x40000010, &back, 4), 0);
	assert_int_equal(back, value);
	assert_int_equal(vf_device_dma_ops.write(m->device, 0x30000000, &value, 4), -EFAULT);
	assert_int_equal(vf_device_dma_ops.read(m->device, UINT64_MAX - 1, &back, 4), -EFAULT);
}

/* ---- the raw interface ---- */

static void raw_interface(void **state)
{
	struct machine *m = *state;
	struct machine *other = machine_new_flags(0);
	uint32_t mig;
	char buffer[16];

	assert_int_equal(vferry_device_get_state(m->device, &mig, NULL), 0);
	assert_int_equal(mig, VF_VFIO_STATE_RUNNING);
	m->fake->to_read = 10;
	assert_int_equal(vferry_device_set_state(m->device, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(vferry_device_read_data(m->device, buffer, sizeof(buffer), NULL), 10);
	assert_int_equal(vferry_device_read_data(m->device, buffer, sizeof(buffer), NULL), 0);
	assert_int_equal(vferry_device_set_state(m->device, VF_VFIO_STATE_RESUMING, NULL), 0);
	assert_int_equal(vferry_device_write_data(m->device, buffer, 3, NULL), 0);
	assert_int_equal(vferry_device_set_state(m->device, VF_VFIO_STATE_RUNNING, NULL), 0);
	assert_int_equal(vf_device_session_begin(m->device, VF_DEVICE_SOURCE, NULL), 0);
	assert_int_equal(vferry_device_get_state(m->device, &mig, NULL), -EBUSY);
	vf_device_session_end(m->device);
	assert_int_equal(vferry_device_get_state(other->device, &mig, NULL), -ENOTTY);
	machine_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(opening_asks_what_it_is),
		cmocka_unit_test(bad_uris_and_options),
		cmocka_unit_test(a_device_that_cannot_be_reset_is_not_opened),
		cmocka_unit_test(ram_is_mapped_block_by_block),
		TEST(bars_come_and_go_with_decoding),
		TEST(config_reads_mix_view_and_device),
		TEST(failing_config_write_is_told),
		TEST(bar_accesses_reach_the_device),
		TEST(areas_leave_msix_pages_out),
		TEST(ioeventfds_leave_memory_and_msix_out),
		cmocka_unit_test(errors_and_requests_are_told),
		cmocka_unit_test(notices_may_be_refused),
		TEST(msix_is_allocated_at_once_and_connected_when_open),
		TEST(masked_vector_shows_and_keeps_its_pending_bit),
		TEST(function_mask_keeps_events),
		TEST(message_changed_under_mask_is_routed_before_connect),
		TEST(msi_is_allocated_before_its_enable_bit),
		TEST(intx_is_masked_by_command),
		TEST(a_device_without_vectors_left_is_told),
		TEST(flr_resets_device_and_view),
		TEST(a_server_that_resets_only_what_runs),
		TEST(peers_follow_bars),
		TEST(a_device_closed_first_leaves_its_peers),
		cmocka_unit_test(several_without_p2p_are_unsafe_only_as_peers),
		TEST(messages_reach_ram_only),
		TEST(raw_interface),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
