/* SPDX-License-Identifier: MIT */
/*
 * An open kernel VFIO device: its regions, interrupts, states, data and logs, call by call; and what
 * is made of answers that make no sense.
 */
#include "kernel_mock.h"

#define BDF "0000:3b:00.0"
#define GIB (1ull << 30)

struct rig {
	struct mock *mock;
	struct vf_backend *b;
};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	rig->mock = mock_new();
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	if (rig->b)
		rig->b->ops->close(rig->b);
	mock_free(rig->mock);
	free(rig);
	return 0;
}

/* After the mock was told what is to be special about it. */
static struct vf_backend *open_rig(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (rig->b)
		rig->b->ops->close(rig->b);
	rig->b = NULL;
	if (mock_open_backend(rig->mock, BDF, NULL, &rig->b, &err) < 0)
		fail_msg("%s", err.message);
	mock_forget(rig->mock);
	return rig->b;
}

/* ---- regions ---- */

static void regions_are_what_the_kernel_says(void **state)
{
	struct rig *rig = *state;
	struct vf_backend *b = open_rig(rig);
	struct vf_backend_region region;

	/* No capability: all of it can be mapped. */
	assert_int_equal(b->ops->get_region(b, 0, &region, NULL), 0);
	assert_int_equal(region.size, 16 << 20);
	assert_true(region.fd >= 0 && region.sealed);
	assert_int_equal(region.fd_offset, 0);
	assert_int_equal(region.area_count, 1);
	assert_int_equal(region.areas[0].offset, 0);
	assert_int_equal(region.areas[0].size, 16 << 20);
	vf_backend_region_done(&region);
	/* It can't be mapped at all; it is not there; there is no such region. */
	assert_int_equal(b->ops->get_region(b, 2, &region, NULL), 0);
	assert_int_equal(region.fd, -1);
	assert_int_equal(region.area_count, 0);
	assert_int_equal(b->ops->get_region(b, VF_VFIO_PCI_VGA_REGION, &region, NULL), 0);
	assert_int_equal(region.size, 0);
	assert_int_equal(b->ops->get_region(b, VF_VFIO_PCI_REGIONS, &region, NULL), -EINVAL);
}

static void sparse_areas_are_sorted_and_checked(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend_region region;
	struct vf_backend *b;

	m->sparse_count = 3;
	m->sparse[0] = (struct vf_vfio_sparse_area) { 0x8000, 0x1000 };
	m->sparse[1] = (struct vf_vfio_sparse_area) { 0x1000, 0x2000 };
	m->sparse[2] = (struct vf_vfio_sparse_area) { 0x4000, 0 };
	b = open_rig(rig);
	assert_int_equal(b->ops->get_region(b, 0, &region, NULL), 0);
	assert_int_equal(region.area_count, 2);
	assert_int_equal(region.areas[0].offset, 0x1000);
	assert_int_equal(region.areas[1].offset, 0x8000);
	vf_backend_region_done(&region);
}

static void areas_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		const char *what;
		struct vf_vfio_sparse_area areas[2];
		uint32_t count, lie;
		bool bad_caps;
	} cases[] = {
		{ "overlapping", { { 0, 0x2000 }, { 0x1000, 0x1000 } }, 2, 0, false },
		{ "outside", { { 0xfff000, 0x2000 } }, 1, 0, false },
		{ "wrapping", { { 0x1000, UINT64_MAX - 0x1000 } }, 1, 0, false },
		{ "more than fit", { { 0 } }, 1000, 0, false },
		{ "chain outside", { { 0, 0x1000 } }, 1, 0, true },
		{ "too long an answer", { { 0, 0x1000 } }, 1, 1u << 30, false },
	};
	struct rig *rig = *state;
	struct mock *m = rig->mock;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_backend_region region = { .fd = -1 };
		struct vf_backend *b;
		int r;

		m->sparse_count = cases[i].count;
		memcpy(m->sparse, cases[i].areas, sizeof(cases[i].areas));
		m->bad_caps = cases[i].bad_caps;
		m->argsz_lie = cases[i].lie;
		b = open_rig(rig);
		r = b->ops->get_region(b, 0, &region, &err);
		if (r != -EPROTO)
			fail_msg("%s: %d", cases[i].what, r);
		assert_string_equal(err.id, "device-region");
	}
}

static void accesses_go_where_the_region_is(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	uint8_t bytes[8] = { 1, 2, 3, 4 }, back[4];

	assert_int_equal(b->ops->region_write(b, 2, 0x10, bytes, 4, NULL), 0);
	assert_int_equal(b->ops->region_read(b, 2, 0x10, back, 4, NULL), 0);
	assert_memory_equal(bytes, back, 4);
	expect_calls(m, "pwrite 2 10+4; pread 2 10+4; ");
	fail_named(m, "pread 2 10+4", -EINTR);
	assert_int_equal(b->ops->region_read(b, 2, 0x10, back, 4, NULL), 0);
	fail_named(m, "pread 2 10+4", -EIO);
	assert_int_equal(b->ops->region_read(b, 2, 0x10, back, 4, NULL), -EIO);
	assert_int_equal(b->ops->region_read(b, VF_VFIO_PCI_VGA_REGION, 0, back, 4, NULL), -EINVAL);
}

/* mtty's is 255 bytes long. */
static void a_short_config_space_is_filled_up(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend_region region;
	struct vf_backend *b;
	uint8_t bytes[256];

	m->config_bytes = 255;
	b = open_rig(rig);
	assert_int_equal(b->ops->get_region(b, VF_VFIO_PCI_CONFIG_REGION, &region, NULL), 0);
	assert_int_equal(region.size, 256);
	memset(bytes, 0xee, sizeof(bytes));
	assert_int_equal(b->ops->region_read(b, VF_VFIO_PCI_CONFIG_REGION, 0, bytes, 256, NULL), 0);
	assert_memory_equal(bytes, m->image.bytes, 255);
	assert_int_equal(bytes[255], 0);
	assert_int_equal(b->ops->region_write(b, VF_VFIO_PCI_CONFIG_REGION, 255, bytes, 1, NULL), 0);
	assert_int_equal(b->ops->region_read(b, VF_VFIO_PCI_CONFIG_REGION, 255, bytes, 1, NULL), 0);
	expect_calls(m, "pread 7 0+ff; ");
}

/* ---- interrupts and reset ---- */

static void interrupts_in_one_call(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	int fds[64];

	for (int i = 0; i < 64; i++)
		fds[i] = i % 2 ? -1 : 100 + i;
	assert_int_equal(b->ops->set_irqs(b, VF_VFIO_PCI_MSIX_IRQ, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0,
					  64, fds, NULL), 0);
	assert_int_equal(b->ops->set_irqs(b, VF_VFIO_PCI_MSIX_IRQ, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0,
					  0, NULL, NULL), 0);
	expect_calls(m, "IRQS 2 TRIGGER 0+64 fds; IRQS 2 TRIGGER 0+0; ");
	/* Fewer than asked for: how many there are. */
	m->vectors_left = 16;
	assert_int_equal(b->ops->set_irqs(b, VF_VFIO_PCI_MSIX_IRQ, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0,
					  64, fds, NULL), 16);
	assert_int_equal(b->ops->set_irqs(b, VF_VFIO_PCI_MSIX_IRQ, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0,
					  5000, fds, NULL), -EINVAL);
}

static unsigned unmasked(struct mock *m)
{
	unsigned n;

	pthread_mutex_lock(&m->lock);
	n = m->unmasked;
	pthread_mutex_unlock(&m->lock);
	return n;
}

/* A driver that takes no eventfd for the end of interrupt is unmasked by a call, each time. */
static void intx_is_unmasked_by_hand_where_it_must(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	int fds[2] = { eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };

	m->no_unmask_fd = true;
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(b->ops->set_irqs(b, 0, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fds[0],
						  NULL), 0);
		assert_int_equal(b->ops->set_irqs(b, 0, VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &fds[1],
						  NULL), 0);
		for (unsigned i = 0; i < 5; i++) {
			unsigned before = unmasked(m);

			assert_int_equal(eventfd_write(fds[1], 1), 0);
			while (unmasked(m) == before)
				(void) usleep(100);
		}
		/* Once it was switched off, nobody listens. */
		assert_int_equal(b->ops->set_irqs(b, 0, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL,
						  NULL), 0);
		assert_int_equal(eventfd_write(fds[1], 1), 0);
		assert_int_equal(unmasked(m), 5 * (round + 1));
		(void) read(fds[1], &(eventfd_t) { 0 }, 8);
	}
	/* Any other refusal stays one. */
	fail_named(m, "IRQS 0 UNMASK 0+1 fds", -EINVAL);
	assert_int_equal(b->ops->set_irqs(b, 0, VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &fds[1], NULL),
			 -EINVAL);
	(void) close(fds[0]);
	(void) close(fds[1]);
}

static void whether_it_can_be_reset_is_tried(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_device_info info;
	struct vf_backend *b;

	m->info_flags = VF_VFIO_DEVICE_FLAGS_PCI;	/* it can, and does not say so: mtty */
	b = open_rig(rig);
	assert_int_equal(b->ops->get_info(b, &info, NULL), 0);
	assert_true(info.flags & VF_VFIO_DEVICE_FLAGS_RESET);
	fail_named(m, "RESET", -EINVAL);
	b = open_rig(rig);
	assert_int_equal(b->ops->get_info(b, &info, NULL), 0);
	assert_false(info.flags & VF_VFIO_DEVICE_FLAGS_RESET);
	fail_named(m, "RESET", -EINVAL);
	assert_int_equal(b->ops->reset(b, &err), -EINVAL);
	assert_non_null(strstr(err.message, "no function reset"));
}

/* ---- states and data ---- */

static void one_session_from_pre_copy_to_the_end(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	char buffer[4096];
	uint32_t now;

	m->to_read = 6000;
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	expect_calls(m, "dup; SET PRE_COPY; nonblocking; dup; ");
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), 4096);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), 1904);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), 0);	/* ENOMSG */
	mock_forget(m);
	m->to_read = 10;
	m->again = 2;
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_PRE_COPY_P2P, NULL), 0);
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(b->ops->get_state(b, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_STOP_COPY);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), 10);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), 0);	/* the end */
	expect_calls(m, "SET PRE_COPY_P2P; dup; SET STOP_COPY; dup; GET STATE; "
		     "read; wait; read; wait; read; read; ");
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_RUNNING, NULL), 0);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), -ENODATA);
}

static void a_session_ends_with_a_reset(void **state)
{
	struct rig *rig = *state;
	struct vf_backend *b = open_rig(rig);
	char buffer[16];

	rig->mock->to_read = 100;
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(b->ops->reset(b, NULL), 0);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), -ENODATA);
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), 16);
}

static void a_driver_that_takes_forever_is_given_up(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	struct vf_kernel_device *d = vf_kernel_device_of(b);
	char buffer[16];

	m->again = UINT32_MAX;
	m->never_readable = true;
	d->timeout_ns = 20000000;
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), -ETIMEDOUT);
}

static void errors_of_data_are_told(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	char buffer[16] = { 0 };

	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	fail_named(m, "read", -ENODEV);
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), -ENODEV);
	fail_named(m, "read", -ENOMSG);		/* "nothing now", in STOP_COPY: not the end */
	assert_int_equal(b->ops->data_read(b, buffer, sizeof(buffer), NULL), -EPROTO);
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_RESUMING, NULL), 0);
	fail_named(m, "write 16", -EOPNOTSUPP);
	assert_int_equal(b->ops->data_write(b, buffer, sizeof(buffer), NULL), -EOPNOTSUPP);
	fail_named(m, "write 16", -EINTR);
	assert_int_equal(b->ops->data_write(b, buffer, sizeof(buffer), NULL), 0);
	m->write_most = 3;
	m->writes = 0;
	assert_int_equal(b->ops->data_write(b, buffer, sizeof(buffer), NULL), 0);
	assert_int_equal(m->writes, 6);
	assert_int_equal(m->written, 32);
}

/* What the device's session needs is taken before the device has moved. */
static void without_a_free_descriptor_nothing_moves(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_backend *b = open_rig(rig);

	fail_named(m, "dup", -EMFILE);
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_STOP_COPY, &err), -EMFILE);
	assert_non_null(strstr(err.message, "too many descriptors"));
	assert_int_equal(m->state, VF_VFIO_STATE_RUNNING);
	expect_calls(m, "dup; dup; ");
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
}

static void how_much_is_left(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	struct vf_vfio_precopy_info info;
	uint64_t bytes = 0;

	m->to_read = 12345;
	assert_int_equal(b->ops->data_size(b, &bytes, NULL), 0);
	assert_int_equal(bytes, 12345);
	assert_int_equal(b->ops->precopy_info(b, &info, NULL), -ENODATA);
	m->precopy = (struct vf_vfio_precopy_info) { .initial_bytes = 7, .dirty_bytes = 8,
						     .flags = VF_VFIO_PRECOPY_INFO_REINIT };
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(b->ops->precopy_info(b, &info, NULL), 0);
	assert_int_equal(info.initial_bytes, 7);
	assert_int_equal(info.dirty_bytes, 8);
	assert_int_equal(info.flags, 0);	/* without the opt-in they say nothing */
	m->state = VF_VFIO_STATE_RUNNING;
	m->features_missing = 0;
	b = open_rig(rig);
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(b->ops->precopy_info(b, &info, NULL), 0);
	assert_int_equal(info.flags, VF_VFIO_PRECOPY_INFO_REINIT);
	assert_int_equal(b->ops->set_state(b, VF_VFIO_STATE_RUNNING, NULL), 0);
}

static void features_raw(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	struct {
		struct vf_vfio_device_feature head;
		struct vf_vfio_feature_mig_state state;
	} call = { .head = { .argsz = sizeof(call), .flags = VF_VFIO_FEATURE_MIG_DEVICE_STATE |
					      VF_VFIO_FEATURE_SET },
		   .state = { .device_state = VF_VFIO_STATE_STOP_COPY } };

	assert_true(b->caps.data_fd);
	assert_int_equal(b->ops->feature(b, &call, sizeof(call), sizeof(call), NULL), 0);
	assert_true(call.state.data_fd >= 0);	/* ours now */
	(void) close(call.state.data_fd);
	assert_int_equal(b->ops->feature(b, &call, sizeof(call), 4, NULL), -EINVAL);
	call.head.flags = 31 | VF_VFIO_FEATURE_GET;
	m->features_missing |= 1u << 31;
	assert_int_equal(b->ops->feature(b, &call, sizeof(call), sizeof(call), NULL), -ENOTTY);
}

/* ---- written pages ---- */

static const struct vf_vfio_dma_log_range ranges[] = { { 0, 6 * GIB } };

static void the_device_logs(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	size_t words_size = 6 * GIB / 4096 / 8;
	uint64_t *words = calloc(1, words_size), page = 0;

	assert_non_null(words);
	assert_int_equal(b->ops->dma_log_report(b, 0, GIB, 4096, words, NULL), -EINVAL);
	assert_int_equal(b->ops->dma_log_start(b, 4096, ranges, 1, &page, NULL), 0);
	assert_int_equal(page, 4096);
	expect_calls(m, "LOG_START 1; REPORT 0+1000; ");
	m->dirty[0] = 0;
	m->dirty[1] = 2 * GIB - 4096;
	m->dirty[2] = 2 * GIB;
	m->dirty[3] = 6 * GIB - 4096;
	m->dirty_count = 4;
	words[1] = 5;		/* what is there stays */
	assert_int_equal(b->ops->dma_log_report(b, 0, 6 * GIB, 4096, words, NULL), 0);
	expect_calls(m, "REPORT 0+80000000; REPORT 80000000+80000000; REPORT 100000000+80000000; ");
	assert_int_equal(words[0], 1);
	assert_int_equal(words[1], 5);
	assert_int_equal(words[2 * GIB / 4096 / 64 - 1], 1ull << 63);
	assert_int_equal(words[2 * GIB / 4096 / 64], 1);
	assert_int_equal(words[6 * GIB / 4096 / 64 - 1], 1ull << 63);
	assert_int_equal(m->dirty_count, 0);
	/* An answer to an error is none. */
	m->dirty[0] = 0;
	m->dirty_count = 1;
	words[0] = 0;
	fail_named(m, "REPORT 0+1000", -ENOMEM);
	assert_int_equal(b->ops->dma_log_report(b, 0, 4096, 4096, words, NULL), -ENOMEM);
	assert_int_equal(words[0], 0);
	assert_int_equal(b->ops->dma_log_report(b, 0, 4096, 2048, words, NULL), -EINVAL);
	assert_int_equal(b->ops->dma_log_report(b, 0, 4096, 12288, words, NULL), -EINVAL);
	assert_int_equal(b->ops->dma_log_report(b, 0, 4096, 8192, words, NULL), -EINVAL);
	assert_int_equal(b->ops->dma_log_stop(b, NULL), 0);
	free(words);
}

/* Debian's 6.12: a log can be started, and never be read. */
static void a_log_that_cannot_be_read_is_not_begun(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	struct vf_backend *b = open_rig(rig);
	uint64_t page = 0;

	m->no_report = true;
	assert_int_equal(b->ops->dma_log_start(b, 4096, ranges, 1, &page, NULL), -EOPNOTSUPP);
	expect_calls(m, "LOG_START 1; REPORT 0+1000; LOG_STOP; ");
	fail_named(m, "LOG_START 1", -E2BIG);
	assert_int_equal(b->ops->dma_log_start(b, 4096, ranges, 1, &page, NULL), -E2BIG);
	assert_int_equal(b->ops->dma_log_start(b, 4096, ranges, 0, &page, NULL), -EINVAL);
	assert_int_equal(b->ops->dma_log_start(b, 4096, ranges, 100000, &page, NULL), -E2BIG);
}

static void the_iommu_logs_where_the_device_cannot(void **state)
{
	struct rig *rig = *state;
	struct mock *m = rig->mock;
	uint64_t page = 0, words[2] = { 0 };
	static char memory[128 * 4096];
	const struct vf_vfio_dma_log_range all = { 0x100000, sizeof(memory) };
	struct vf_backend *b;

	m->has_iommu = m->can_track = true;
	m->features_missing |= 1u << VF_VFIO_FEATURE_DMA_LOGGING_START;
	b = open_rig(rig);
	assert_int_equal(b->caps.features & (VFERRY_DEVICE_IOMMU_DIRTY | VFERRY_DEVICE_DMA_LOG),
			 VFERRY_DEVICE_IOMMU_DIRTY);
	assert_int_equal(b->ops->dma_map(b, 0x100000, sizeof(memory), true, -1, 0, memory, NULL), 0);
	mock_forget(m);
	assert_int_equal(b->ops->dma_log_start(b, 4096, &all, 1, &page, NULL), 0);
	assert_int_equal(page, 4096);
	expect_calls(m, "hwpt TRACK on; hwpt DIRTY 100000+1000; ");
	m->dirty[0] = 0x100000 + 70 * 4096;
	m->dirty_count = 1;
	assert_int_equal(b->ops->dma_log_report(b, 0x100000, sizeof(memory), 4096, words, NULL), 0);
	assert_int_equal(words[1], 1ull << 6);
	mock_forget(m);
	/* The kernel ends at a hole and says nothing: it is not asked. */
	assert_int_equal(b->ops->dma_log_report(b, 0x100000, sizeof(memory) + 4096, 4096, words, NULL),
			 -EINVAL);
	assert_int_equal(b->ops->dma_log_report(b, 0xff000, 4096, 4096, words, NULL), -EINVAL);
	expect_calls(m, "");
	assert_int_equal(b->ops->dma_log_stop(b, NULL), 0);
	expect_calls(m, "hwpt TRACK off; ");
	assert_false(m->tracking);
	assert_int_equal(b->ops->dma_unmap(b, 0x100000, sizeof(memory), NULL), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(regions_are_what_the_kernel_says), TEST(sparse_areas_are_sorted_and_checked),
		TEST(areas_that_make_no_sense_are_refused), TEST(accesses_go_where_the_region_is),
		TEST(a_short_config_space_is_filled_up), TEST(interrupts_in_one_call),
		TEST(intx_is_unmasked_by_hand_where_it_must), TEST(whether_it_can_be_reset_is_tried),
		TEST(one_session_from_pre_copy_to_the_end), TEST(a_session_ends_with_a_reset),
		TEST(a_driver_that_takes_forever_is_given_up), TEST(errors_of_data_are_told),
		TEST(without_a_free_descriptor_nothing_moves), TEST(how_much_is_left),
		TEST(features_raw), TEST(the_device_logs),
		TEST(a_log_that_cannot_be_read_is_not_begun),
		TEST(the_iommu_logs_where_the_device_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
