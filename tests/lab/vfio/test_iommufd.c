/* SPDX-License-Identifier: MIT */
/*
 * test_iommufd.c - what the library asks of iommufd, on a real one, with an IOMMU that tells what was written.
 *
 * Nothing that QEMU emulates has one. But a kernel with CONFIG_IOMMUFD_TEST has devices of its own, in an iommufd,
 * behind an IOMMU that is nothing but a list of pages: whoever asks can write to them as a device would. A VFIO
 * device is only stood in for: opening it, binding and attaching it become such a device's (test_domain.h). All that
 * iommufd itself is asked goes to the kernel as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_domain.h"

#define PAGES		512u
#define BYTES		(PAGES * TEST_PAGE)
#define AT		(TEST_FIRST + (1u << 20))
#define HOLE		TEST_PAGE

struct rig {
	struct test_host host;
	struct vferry_dma_space *space;
	uint8_t *memory;
	uint64_t bits[PAGES / 64];
};

static int set_up(void **state)
{
	const struct vferry_dma_space_options options = { .size = sizeof(options), .kvm_vfio = -1, .iommufd = -1 };
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	test_host_init(&rig->host);
	assert_int_equal(vf_space_new(&rig->host.kernel, &options, &rig->space, NULL), 0);
	rig->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(rig->memory != MAP_FAILED);
	*state = rig;
	return 0;
}

/* Nothing is left: the iommufd is closed, and all that was in it was destroyed before. */
static int tear_down(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig->space->devices, 0);
	assert_int_equal(rig->space->fd, -1);
	assert_int_equal(rig->host.refused, 0);
	(void) vferry_dma_space_free(rig->space);
	test_host_done(&rig->host);
	(void) munmap(rig->memory, BYTES);
	free(rig);
	return 0;
}

static struct vf_space_seat enter(struct rig *rig, const char *cdev)
{
	struct vf_kernel_target target = { .wanted = VF_KERNEL_CDEV, .fd = -1, .group = -1 };
	struct vf_space_seat seat = VF_SPACE_SEAT_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) snprintf(target.name, sizeof(target.name), "%s", cdev);
	(void) snprintf(target.cdev, sizeof(target.cdev), "%s", cdev);
	if (vf_space_enter(rig->space, &target, &seat, &err) < 0)
		fail_msg("%s: %s", cdev, err.message);
	return seat;
}

static void map(struct rig *rig, uint64_t iova, uint64_t bytes, uint64_t at)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_space_map(rig->space, iova, bytes, true, rig->memory + at, &err) < 0)
		fail_msg("%#llx: %s", (unsigned long long) iova, err.message);
}

static void unmap(struct rig *rig, uint64_t iova, uint64_t bytes)
{
	assert_int_equal(vf_space_unmap(rig->space, iova, bytes, NULL), 0);
}

static int report(struct rig *rig, struct vf_space_seat *seat, uint64_t iova, uint64_t bytes)
{
	memset(rig->bits, 0, sizeof(rig->bits));
	return vf_space_log_report(rig->space, seat, iova, bytes, TEST_PAGE, rig->bits);
}

/* Of all bits of the last report, these are set and no others. */
static void expect_pages(const struct rig *rig, const uint32_t *pages, size_t count)
{
	uint64_t expected[PAGES / 64] = { 0 };

	for (size_t i = 0; i < count; i++)
		expected[pages[i] / 64] |= 1ull << pages[i] % 64;
	for (size_t i = 0; i < PAGES / 64; i++)
		if (rig->bits[i] != expected[i])
			fail_msg("pages %zu and on: %#llx instead of %#llx", i * 64,
				 (unsigned long long) rig->bits[i], (unsigned long long) expected[i]);
}

/* ---- written pages ---- */

static void what_was_written_is_told_once(void **state)
{
	static const uint32_t pages[] = { 0, 63, 64, 300, PAGES - 1 };
	struct rig *rig = *state;
	struct vf_space_seat seat = enter(rig, TEST_TRACKS);

	assert_non_null(seat.table);
	map(rig, AT, BYTES, 0);
	assert_int_equal(test_write(&rig->host, seat.table->id, AT, 1), -EINVAL);	/* no log, no bits */
	assert_int_equal(vf_space_log_start(rig->space, &seat), 0);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		assert_int_equal(test_write(&rig->host, seat.table->id, AT + pages[i] * TEST_PAGE, 1), 1);
	assert_int_equal(report(rig, &seat, AT, BYTES), 0);
	expect_pages(rig, pages, sizeof(pages) / sizeof(pages[0]));
	assert_int_equal(report(rig, &seat, AT, BYTES), 0);
	expect_pages(rig, NULL, 0);
	/* Of a part, and the rest stays for later. */
	assert_int_equal(test_write(&rig->host, seat.table->id, AT, PAGES), PAGES);
	assert_int_equal(report(rig, &seat, AT + 64 * TEST_PAGE, 64 * TEST_PAGE), 0);
	assert_true(rig->bits[0] == UINT64_MAX && rig->bits[1] == 0);
	assert_int_equal(report(rig, &seat, AT, BYTES), 0);
	assert_true(rig->bits[0] == UINT64_MAX && rig->bits[1] == 0 && rig->bits[2] == UINT64_MAX);
	assert_int_equal(vf_space_log_stop(rig->space, &seat), 0);
	assert_int_equal(test_write(&rig->host, seat.table->id, AT, 1), -EINVAL);
	unmap(rig, AT, BYTES);
	vf_space_leave(rig->space, &seat);
}

/* A log that begins again does not know what came before. */
static void a_new_log_is_empty(void **state)
{
	struct rig *rig = *state;
	struct vf_space_seat seat = enter(rig, TEST_TRACKS);

	map(rig, AT, BYTES, 0);
	assert_int_equal(vf_space_log_start(rig->space, &seat), 0);
	assert_int_equal(test_write(&rig->host, seat.table->id, AT, 7), 7);
	assert_int_equal(vf_space_log_stop(rig->space, &seat), 0);
	assert_int_equal(vf_space_log_start(rig->space, &seat), 0);
	assert_int_equal(report(rig, &seat, AT, BYTES), 0);
	expect_pages(rig, NULL, 0);
	assert_int_equal(vf_space_log_stop(rig->space, &seat), 0);
	assert_int_equal(report(rig, &seat, AT, BYTES), -EINVAL);
	unmap(rig, AT, BYTES);
	vf_space_leave(rig->space, &seat);
}

/* The kernel answers for what is before a hole, as if there were nothing behind it. So we don't ask. */
static void holes_are_not_asked_about(void **state)
{
	struct rig *rig = *state;
	struct vf_space_seat seat = enter(rig, TEST_TRACKS);
	const uint64_t second = AT + BYTES / 2 + HOLE;
	struct vf_iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get), .iova = AT, .length = BYTES / 2 + HOLE + TEST_PAGE,
		.page_size = TEST_PAGE, .data = (uintptr_t) rig->bits,
	};

	map(rig, AT, BYTES / 2, 0);
	map(rig, second, BYTES / 4, BYTES / 2);
	assert_int_equal(vf_space_log_start(rig->space, &seat), 0);
	get.hwpt_id = seat.table->id;
	assert_int_equal(test_write(&rig->host, seat.table->id, AT, 1), 1);
	assert_int_equal(test_write(&rig->host, seat.table->id, second, 1), 1);
	assert_int_equal(vf_kernel_ioctl(&rig->host.kernel, rig->space->fd, VF_IOMMU_HWPT_GET_DIRTY_BITMAP, &get), 0);
	expect_pages(rig, (const uint32_t []) { 0 }, 1);
	assert_int_equal(report(rig, &seat, AT, BYTES / 2 + HOLE + TEST_PAGE), -EINVAL);
	assert_int_equal(report(rig, &seat, second, BYTES / 4), 0);
	expect_pages(rig, (const uint32_t []) { 0 }, 1);
	unmap(rig, AT, BYTES / 2);
	unmap(rig, second, BYTES / 4);
	vf_space_leave(rig->space, &seat);
}

/* ---- several devices ---- */

static void two_devices_share_a_table(void **state)
{
	struct rig *rig = *state;
	struct vf_space_seat a = enter(rig, TEST_TRACKS), b;

	map(rig, AT, BYTES, 0);
	b = enter(rig, TEST_TRACKS);
	assert_ptr_equal(a.table, b.table);
	assert_int_equal(a.table->users, 2);
	assert_int_equal(vf_space_log_start(rig->space, &a), 0);
	assert_int_equal(vf_space_log_start(rig->space, &b), 0);
	/* One goes without a word; the other one's log goes on, and ends when it says so. */
	vf_space_leave(rig->space, &a);
	assert_int_equal(test_write(&rig->host, b.table->id, AT + 5 * TEST_PAGE, 1), 1);
	assert_int_equal(report(rig, &b, AT, BYTES), 0);
	expect_pages(rig, (const uint32_t []) { 5 }, 1);
	assert_int_equal(vf_space_log_stop(rig->space, &b), 0);
	assert_int_equal(test_write(&rig->host, b.table->id, AT, 1), -EINVAL);
	/* The only one that logs goes: nobody is left who wants to know. */
	a = enter(rig, TEST_TRACKS);
	assert_int_equal(vf_space_log_start(rig->space, &a), 0);
	vf_space_leave(rig->space, &a);
	assert_int_equal(test_write(&rig->host, b.table->id, AT, 1), -EINVAL);
	unmap(rig, AT, BYTES);
	vf_space_leave(rig->space, &b);
}

/* All devices reach all memory, in whichever table they are; only one of these can log. */
static void one_that_cannot_tell_beside_one_that_can(void **state)
{
	struct rig *rig = *state;
	struct vf_space_seat blind = enter(rig, TEST_BLIND), seeing;
	uint32_t blind_table;

	assert_null(blind.table);
	map(rig, AT, BYTES / 2, 0);
	seeing = enter(rig, TEST_TRACKS);
	assert_non_null(seeing.table);
	map(rig, AT + BYTES, BYTES / 2, BYTES / 2);
	blind_table = test_table_of(&rig->host, blind.fd);
	assert_int_not_equal(blind_table, seeing.table->id);
	test_expect_mapped(&rig->host, blind_table, AT, BYTES / 2, rig->memory);
	test_expect_mapped(&rig->host, blind_table, AT + BYTES, BYTES / 2, rig->memory + BYTES / 2);
	test_expect_mapped(&rig->host, seeing.table->id, AT, BYTES / 2, rig->memory);
	test_expect_mapped(&rig->host, seeing.table->id, AT + BYTES, BYTES / 2, rig->memory + BYTES / 2);
	assert_int_equal(vf_space_log_start(rig->space, &blind), -EOPNOTSUPP);
	assert_int_equal(vf_space_log_start(rig->space, &seeing), 0);
	assert_int_equal(report(rig, &blind, AT, BYTES / 2), -EINVAL);
	assert_int_equal(report(rig, &seeing, AT, BYTES / 2), 0);
	unmap(rig, AT + BYTES, BYTES / 2);
	unmap(rig, AT, BYTES / 2);
	vf_space_leave(rig->space, &seeing);
	vf_space_leave(rig->space, &blind);
}

/* ---- what can't be mapped ---- */

static void addresses_that_the_iommu_lacks_are_named(void **state)
{
	struct rig *rig = *state;
	struct vf_space_seat seat = enter(rig, TEST_TRACKS);
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_true(vf_space_map(rig->space, TEST_LAST + 1 - TEST_PAGE, 2 * TEST_PAGE, true, rig->memory, &err) < 0);
	assert_string_equal(err.id, "dma-addresses");
	map(rig, TEST_LAST + 1 - TEST_PAGE, TEST_PAGE, 0);
	err = (struct vferry_error) VFERRY_ERROR_INIT;
	assert_int_equal(vf_space_map(rig->space, TEST_LAST + 1 - 2 * TEST_PAGE, 2 * TEST_PAGE, true, rig->memory,
				      &err), -EEXIST);
	unmap(rig, TEST_LAST + 1 - TEST_PAGE, TEST_PAGE);
	vf_space_leave(rig->space, &seat);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_told_once), TEST(a_new_log_is_empty), TEST(holes_are_not_asked_about),
		TEST(two_devices_share_a_table), TEST(one_that_cannot_tell_beside_one_that_can),
		TEST(addresses_that_the_iommu_lacks_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
