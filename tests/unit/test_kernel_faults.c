/* SPDX-License-Identifier: MIT */
/*
 * A whole life of a kernel device, from opening to a migration that is given up, with every single
 * call failing in turn, by every error: the device always ends up running or closed, and nothing is
 * left behind. Then devices as the library's user sees them: RAM, peers, reasons.
 */
#include "kernel_mock.h"

#include <sys/resource.h>

#include "ram/ram.h"
#include "vfio/device_internal.h"
#include "vfio/pci_regs.h"

#define BDF "0000:3b:00.0"
#define RAM_BYTES (1u << 20)

static const int errors[] = {
	-EPERM, -ENOENT, -EINTR, -EIO, -EAGAIN, -ENOMEM, -EFAULT, -EBUSY, -ENODEV, -EINVAL, -EMFILE,
	-ENOTTY, -ENOSPC, -EOPNOTSUPP, -EOVERFLOW, -ETIMEDOUT, -ENOMSG, -E2BIG,
};

struct life {
	struct mock *m;
	struct vferry_dma_space *space;
	struct vferry_ram *ram;
	struct vferry_device *device;
};

static struct vferry_ram *new_ram(uint32_t flags)
{
	struct vferry_ram *ram;

	assert_int_equal(vferry_ram_new(&ram), 0);
	assert_int_equal(vferry_ram_create_block(ram, "ram0", 0, RAM_BYTES, flags, NULL), 0);
	return ram;
}

static void count_notice(void *user)
{
	atomic_fetch_add((atomic_int *) user, 1);
}

static const struct vferry_device_callbacks notice_callbacks = {
	.size = sizeof(notice_callbacks), .device_error = count_notice, .device_requested = count_notice,
};

static atomic_int noticed;

static int open_device(struct mock *m, const char *text, struct vferry_dma_space *space,
		       struct vferry_device **ret, struct vferry_error *err)
{
	const struct vferry_device_options options = {
		.size = sizeof(options), .address = "00:04.0", .dma_space = space,
		.callbacks = &notice_callbacks, .user = &noticed,
	};
	struct vf_backend *b;
	int r = mock_open_backend(m, text, space, &b, err);

	return r < 0 ? r : vf_device_open_backend(b, text, &options, ret, err);
}

static int drain(struct vferry_device *d, struct vferry_error *err)
{
	char buffer[1024];
	int64_t n;

	do
		n = vf_migration_read(d, buffer, sizeof(buffer), err);
	while (n > 0);
	return (int) n;
}

/* As a session does it. Return: 0; what failed. */
static int save(struct life *l, struct vferry_error *err)
{
	struct vferry_device *d = l->device;
	struct vf_ram_collected collected;
	struct vferry_remaining left;
	int r = vf_device_session_begin(d, VF_DEVICE_SOURCE, err);

	if (r == 0)
		r = vf_ram_tracking_start(l->ram, err);
	if (r == 0)
		r = vf_migration_precopy_start(d, err);
	l->m->to_read = 3000;
	if (r >= 0)
		r = vf_migration_remaining(d, &left, err);
	if (r == 0)
		r = drain(d, err);
	if (r == 0)
		r = vf_ram_collect(l->ram, &collected);
	if (r >= 0)
		r = vf_migration_p2p(d, err);
	if (r == 0)
		r = vf_migration_stop(d, err);
	l->m->to_read = 500;
	if (r == 0)
		r = drain(d, err);
	return r < 0 ? r : vf_device_log_last(d, err);
}

/* Given up at the end, or where it failed: the machine runs on. */
static void undo(struct life *l, bool may_be_dead)
{
	struct vferry_device *d = l->device;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r;

	vf_migration_undo_p2p(d);
	r = vf_migration_undo_run(d, &err);
	vf_ram_tracking_stop(l->ram);
	vf_device_session_end(d);
	/* Where the one call that fails is the reset of a device in ERROR, it is dead, and says so. */
	if (r < 0 && may_be_dead) {
		assert_true(d->dead);
		assert_true(err.message[0]);
		return;
	}
	assert_true(r >= 0);
	assert_int_equal(l->m->state, VF_VFIO_STATE_RUNNING);
	assert_int_equal(d->lost, r == 1);
	assert_false(l->m->logging && !l->m->failed);
}

static int migrate_away_and_back(struct life *l)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int r = open_device(l->m, BDF, l->space, &l->device, &err);

	if (r == 0) {
		r = vferry_device_attach_ram(l->device, l->ram, &err);
		if (r == 0) {
			r = save(l, &err);
			undo(l, l->m->failed);
		}
		l->device = vferry_device_close(l->device);
	}
	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_true(err.id[0] && err.message[0]);
	}
	return r;
}

/* Return: was there a call to fail? */
static bool fail_one(unsigned n, int error, bool cdev, bool iommu_logs, uint32_t fail_state)
{
	struct life l = { .m = mock_new() };
	bool failed;

	l.m->has_iommu = cdev;
	l.m->can_track = iommu_logs;
	if (iommu_logs)
		l.m->features_missing |= 1u << VF_VFIO_FEATURE_DMA_LOGGING_START;
	l.m->fail_at = n;
	l.m->fail_with = error;
	l.m->fail_state = fail_state;
	l.space = mock_space(l.m, true);
	l.ram = new_ram(VFERRY_RAM_PINNED);
	(void) migrate_away_and_back(&l);
	failed = l.m->failed;
	/* What the first round could not do, the second can: nothing stuck. */
	l.m->fail_at = 0;
	if (l.m->state != VF_VFIO_STATE_ERROR)
		assert_int_equal(migrate_away_and_back(&l), 0);
	else
		l.m->mapping_count = 0;
	l.ram = vferry_ram_free(l.ram);
	(void) vferry_dma_space_free(l.space);
	mock_free(l.m);
	return failed;
}

static void every_call_fails_once(bool cdev, bool iommu_logs)
{
	static const uint32_t states[] = { UINT32_MAX, VF_VFIO_STATE_ERROR };

	for (unsigned s = 0; s < 2; s++)
		for (unsigned e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
			unsigned n = 1;

			while (fail_one(n, errors[e], cdev, iommu_logs, states[s]))
				n++;
			assert_true(n > 55);	/* it did get through all of it */
		}
}

static void each_call_fails_with_a_group(void **state)
{
	(void) state;
	every_call_fails_once(false, false);
}

static void each_call_fails_with_a_character_device(void **state)
{
	(void) state;
	every_call_fails_once(true, false);
}

static void each_call_fails_where_the_iommu_logs(void **state)
{
	(void) state;
	every_call_fails_once(true, true);
}

/* ---- what a user is told ---- */

static int set_up(void **state)
{
	struct life *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->m = mock_new();
	*state = l;
	return 0;
}

static int tear_down(void **state)
{
	struct life *l = *state;

	l->device = vferry_device_close(l->device);
	if (l->ram)
		l->ram = vferry_ram_free(l->ram);
	(void) vferry_dma_space_free(l->space);
	mock_free(l->m);
	free(l);
	return 0;
}

static void open_life(struct life *l)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (open_device(l->m, BDF, l->space, &l->device, &err) < 0)
		fail_msg("%s", err.message);
}

/* Both indexes are asked for, by whatever backend; and given back before the device is closed. */
static void the_host_is_listened_to(void **state)
{
	struct life *l = *state;

	atomic_store(&noticed, 0);
	open_life(l);
	for (int i = 0; i < 2; i++) {
		assert_true(l->m->notices[i] > 0);
		assert_int_equal(eventfd_write(l->m->notices[i], 1), 0);
		for (int wait = 0; wait < 5000 && atomic_load(&noticed) <= i; wait++)
			usleep(1000);
		assert_int_equal(atomic_load(&noticed), i + 1);
	}
	l->device = vferry_device_close(l->device);
	assert_int_equal(l->m->notices[0], -1);
	assert_int_equal(l->m->notices[1], -1);
}

static void ram_must_be_made_for_it(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;

	open_life(l);
	l->ram = new_ram(0);
	assert_int_equal(vferry_device_attach_ram(l->device, l->ram, &err), -EINVAL);
	assert_non_null(strstr(err.message, "VFERRY_RAM_PINNED"));
}

/* The number that is needed stands in the sentence. */
static void a_low_memory_lock_limit_is_named(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;
	struct rlimit before, low;

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	low = (struct rlimit) { .rlim_cur = 65536, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	open_life(l);
	l->m->lock_limit = 65536;
	l->ram = new_ram(VFERRY_RAM_PINNED);
	assert_int_equal(vferry_device_attach_ram(l->device, l->ram, &err), -ENOMEM);
	assert_string_equal(err.id, "memory-lock-limit");
	assert_non_null(strstr(err.message, "needs all 1 MiB"));
	assert_non_null(strstr(err.message, "to 65 MiB"));
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

static void what_cannot_migrate_says_why(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;
	struct vferry_device_info info;

	l->m->mig_flags = 0;
	l->m->driver = "../../bus/pci/drivers/vfio-pci";
	l->m->aliases = "alias vfio_pci:v00001D1Dd00002E2Esv*sd*bc*sc*i* fine_vfio_pci\n";
	open_life(l);
	assert_int_equal(vf_device_session_begin(l->device, VF_DEVICE_SOURCE, &err), -ENOTSUP);
	assert_string_equal(err.id, "device-not-migratable");
	assert_non_null(strstr(err.message, "bound to vfio-pci, and fine_vfio_pci is made for it"));
	vferry_device_get_info(l->device, &info);
	assert_string_equal(info.backend, "kernel-group");
	assert_string_equal(info.driver, "vfio-pci");
}

static void what_cannot_be_reset_does_not_migrate(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;

	l->m->info_flags = VF_VFIO_DEVICE_FLAGS_PCI;
	fail_named(l->m, "RESET", -EINVAL);
	open_life(l);
	assert_int_equal(vf_device_session_begin(l->device, VF_DEVICE_SOURCE, &err), -ENOTSUP);
	assert_string_equal(err.id, "device-no-reset");
}

static void which_log_is_used_is_shown(void **state)
{
	struct life *l = *state;
	struct vferry_device_info info;

	l->m->has_iommu = l->m->can_track = true;
	open_life(l);
	vferry_device_get_info(l->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_DEVICE_LOG);
	l->device = vferry_device_close(l->device);
	l->m->features_missing |= 1u << VF_VFIO_FEATURE_DMA_LOGGING_START;
	open_life(l);
	vferry_device_get_info(l->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_IOMMU);
	l->device = vferry_device_close(l->device);
	l->m->can_track = false;
	open_life(l);
	vferry_device_get_info(l->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_NONE);
}

/* A log that turns out not to be readable is given up at the start, and that is shown. */
static void a_log_that_fails_is_no_longer_shown(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;
	struct vferry_device_info info;

	open_life(l);
	l->m->no_report = true;
	l->ram = new_ram(VFERRY_RAM_PINNED);
	assert_int_equal(vferry_device_attach_ram(l->device, l->ram, &err), 0);
	assert_int_equal(vf_ram_tracking_start(l->ram, &err), 0);
	vferry_device_get_info(l->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_NONE);
	assert_int_equal(info.log_failures, 1);
	vf_ram_tracking_stop(l->ram);
}

/* Debian's 6.12: found out at once, and the IOMMU takes its place where it can. */
static void a_log_that_nobody_can_read_is_none(void **state)
{
	struct life *l = *state;
	struct vferry_device_info info;

	l->m->no_report = true;
	open_life(l);
	vferry_device_get_info(l->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_NONE);
	assert_int_equal(info.log_failures, 0);
	l->device = vferry_device_close(l->device);
	l->m->has_iommu = l->m->can_track = true;
	open_life(l);
	vferry_device_get_info(l->device, &info);
	assert_int_equal(info.dirty_tracking, VFERRY_TRACKING_IOMMU);
}

/* ---- BARs ---- */

static void place_bar0(struct vferry_device *d, uint64_t gpa)
{
	assert_int_equal(vferry_device_config_write(d, VF_PCI_BAR0, 4, (uint32_t) gpa, NULL), 0);
	assert_int_equal(vferry_device_config_write(d, VF_PCI_BAR0 + 4, 4, (uint32_t) (gpa >> 32), NULL), 0);
	assert_int_equal(vferry_device_config_write(d, VF_PCI_COMMAND, 2, VF_PCI_COMMAND_MEM, NULL), 0);
}

/* By address, of what is mapped; and taken out before the BAR moves or decoding ends. */
static void bars_of_peers_by_group(void **state)
{
	struct life *l = *state;
	struct vferry_bar_area area;
	struct vferry_device *peer;
	uint64_t found = 0;

	l->space = mock_space(l->m, false);
	open_life(l);
	assert_int_equal(open_device(l->m, BDF, l->space, &peer, NULL), 0);
	assert_int_equal(vferry_device_add_peer(l->device, peer, NULL), 0);
	assert_int_equal(vferry_device_bar_area(peer, 0, 0, &area), 0);
	assert_true(area.guest_only);
	mock_forget(l->m);
	place_bar0(peer, 0x10000000);
	assert_non_null(strstr(l->m->notes, "MAP 10000000+1000000; "));
	for (unsigned i = 0; i < l->m->mapping_count; i++)
		if (l->m->mappings[i].iova == 0x10000000)
			found = l->m->mappings[i].host;
	assert_int_equal(found, (uintptr_t) area.host);
	mock_forget(l->m);
	assert_int_equal(vferry_device_config_write(peer, VF_PCI_COMMAND, 2, 0, NULL), 0);
	assert_true(strstr(l->m->notes, "UNMAP 10000000+1000000; ") <
		    strstr(l->m->notes, "pwrite 7 4+2; "));
	assert_int_equal(l->m->mapping_count, 0);
	(void) vferry_device_close(peer);
}

/* BAR 2 has 256 bytes here, and its page to itself: the page is offered, to the guest and to nobody else. */
static void a_bar_smaller_than_a_page(void **state)
{
	const uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
	struct life *l = *state;
	struct vferry_device *peer;
	struct vferry_bar_area area;

	l->space = mock_space(l->m, false);
	image_region(&l->m->image, 2, 256, 0);
	open_life(l);
	assert_int_equal(vferry_device_bar_area(l->device, 2, 0, &area), -ENOENT);
	l->m->mapped_bars |= 1u << 2;
	assert_int_equal(open_device(l->m, BDF, l->space, &peer, NULL), 0);
	assert_int_equal(vferry_device_bar_area(peer, 2, 0, &area), 0);
	assert_true(area.offset == 0 && area.bytes == page && area.guest_only);
	assert_int_equal(vferry_device_bar_area(peer, 2, 1, &area), -ENOENT);
	assert_int_equal(vferry_device_add_peer(l->device, peer, NULL), 0);
	mock_forget(l->m);
	assert_int_equal(vferry_device_config_write(peer, VF_PCI_BAR0 + 8, 4, 0x20000000, NULL), 0);
	place_bar0(peer, 0x10000000);
	assert_non_null(strstr(l->m->notes, "MAP 10000000+"));
	assert_null(strstr(l->m->notes, "MAP 20000000+"));
	(void) vferry_device_close(peer);
}

static struct vferry_device *open_small_bar(struct life *l, uint64_t bytes, unsigned mapped)
{
	struct vferry_bar_area area;
	struct vferry_device *d;

	image_region(&l->m->image, 2, bytes, 0);
	l->m->mapped_bars = mapped;
	assert_int_equal(open_device(l->m, BDF, l->space, &d, NULL), 0);
	for (unsigned bar = 1; bar < VF_CONFIG_BARS; bar++)
		assert_int_equal(vferry_device_bar_area(d, bar, 0, &area), -ENOENT);
	return d;
}

/* Its driver can't do what it says; vectors are in it; it is no memory. Then it is read and written. */
static void small_bars_that_are_not_mapped(void **state)
{
	struct life *l = *state;
	uint64_t value;

	l->space = mock_space(l->m, false);
	l->m->no_mmap = true;
	l->device = open_small_bar(l, 256, 1u << 2);
	assert_int_equal(vferry_device_bar_read(l->device, 2, 16, 4, &value, NULL), 0);
	(void) vferry_device_close(l->device);
	l->m->no_mmap = false;
	vf_put_u32(l->m->image.bytes + AT_MSIX + VF_PCI_MSIX_TABLE, 0x000 | 2);
	vf_put_u32(l->m->image.bytes + AT_MSIX + VF_PCI_MSIX_PBA, 0x600 | 2);
	(void) vferry_device_close(open_small_bar(l, 2048, 1u << 2));
	l->device = open_small_bar(l, 2048, 1u << 3);
}

static void no_peers_by_character_device(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;
	struct vferry_device *peer;

	l->m->has_iommu = true;
	l->space = mock_space(l->m, false);
	open_life(l);
	assert_int_equal(open_device(l->m, BDF, l->space, &peer, NULL), 0);
	assert_int_equal(vferry_device_add_peer(l->device, peer, &err), -ENOTSUP);
	assert_true(vf_device_is_p2p_safe(l->device));
	place_bar0(peer, 0x10000000);
	assert_int_equal(l->m->mapping_count, 0);
	(void) vferry_device_close(peer);
}

/* Else the IOMMU meets accesses to memory that is not mapped any more, and the host's log fills with them. */
static void dma_is_stopped_before_its_memory_goes(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct life *l = *state;
	const char *stop, *unmap;

	open_life(l);
	l->ram = new_ram(VFERRY_RAM_PINNED);
	assert_int_equal(vferry_device_attach_ram(l->device, l->ram, &err), 0);
	assert_int_equal(vferry_device_config_write(l->device, VF_PCI_COMMAND, 2,
						    VF_PCI_COMMAND_BUS_MASTER, &err), 0);
	assert_true(l->m->image.bytes[VF_PCI_COMMAND] & VF_PCI_COMMAND_BUS_MASTER);
	mock_forget(l->m);
	l->device = vferry_device_close(l->device);
	assert_false(l->m->image.bytes[VF_PCI_COMMAND] & VF_PCI_COMMAND_BUS_MASTER);
	stop = strstr(l->m->notes, "pwrite 7 4+2; ");
	unmap = strstr(l->m->notes, "UNMAP ");
	assert_non_null(stop);
	assert_non_null(unmap);
	assert_true(stop < unmap);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_fails_with_a_group),
		cmocka_unit_test(each_call_fails_with_a_character_device),
		cmocka_unit_test(each_call_fails_where_the_iommu_logs),
		TEST(the_host_is_listened_to), TEST(ram_must_be_made_for_it),
		TEST(a_low_memory_lock_limit_is_named),
		TEST(what_cannot_migrate_says_why), TEST(what_cannot_be_reset_does_not_migrate),
		TEST(which_log_is_used_is_shown), TEST(a_log_that_fails_is_no_longer_shown),
		TEST(a_log_that_nobody_can_read_is_none),
		TEST(bars_of_peers_by_group), TEST(a_bar_smaller_than_a_page),
		TEST(small_bars_that_are_not_mapped), TEST(no_peers_by_character_device),
		TEST(dma_is_stopped_before_its_memory_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
