/* SPDX-License-Identifier: MIT */
/*
 * How a kernel VFIO device is found and opened, by group and by character device: which calls, in which
 * order, what is undone, and what is said when it can't be.
 */
#include "kernel_mock.h"

#define BDF "0000:3b:00.0"
#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"

/* What both kinds ask an open device, as long as it has everything. */
#define LEARN "INFO; REGION_INFO 0; REGION_INFO 1; REGION_INFO 2; REGION_INFO 3; REGION_INFO 4; " \
	"REGION_INFO 5; REGION_INFO 6; REGION_INFO 7; REGION_INFO 8; GET MIGRATION; FEATURE 12; " \
	"PROBE 9; PROBE 6; LOG_START 1; REPORT 0+1000; LOG_STOP; GET MIGRATION; "
#define GROUP "open /dev/vfio/7; group STATUS; open /dev/vfio/vfio; container VERSION; " \
	"container EXTENSION 3; group SET_CONTAINER; container SET_IOMMU 3; "

static int set_up(void **state)
{
	*state = mock_new();
	return 0;
}

static int tear_down(void **state)
{
	mock_free(*state);
	return 0;
}

static struct vf_backend *open_it(struct mock *m, const char *text, struct vferry_dma_space *space)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_backend *b = NULL;

	if (mock_open_backend(m, text, space, &b, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	return b;
}

/* It can't be opened; the error has this id, and its sentence these words. */
static void expect_refused(struct mock *m, const char *text, int code, const char *id, const char *words)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_backend *b = NULL;

	assert_int_equal(mock_open_backend(m, text, NULL, &b, &err), code);
	assert_null(b);
	assert_string_equal(err.id, id);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
	mock_expect_clean(m);
}

/* ---- finding ---- */

static void names_are_understood(void **state)
{
	static const struct {
		const char *text, *name;
		enum vf_kernel_kind wanted;
		int group, fd;
	} good[] = {
		{ "0000:3b:00.0", BDF, VF_KERNEL_ANY, 7, -1 },
		{ "3b:00.0", BDF, VF_KERNEL_ANY, 7, -1 },
		{ "group:3b:00.0", BDF, VF_KERNEL_GROUP, 7, -1 },
		{ "cdev:0000:3b:00.0", BDF, VF_KERNEL_CDEV, 7, -1 },
		{ UUID, UUID, VF_KERNEL_ANY, -1, -1 },
		{ "/sys/bus/pci/devices/" BDF, BDF, VF_KERNEL_ANY, 7, -1 },
		{ "/dev/vfio/devices/vfio3", BDF, VF_KERNEL_CDEV, 7, -1 },
		{ "fd=5", "fd=5", VF_KERNEL_CDEV, -1, 5 },
		{ "cdev:fd=5", "fd=5", VF_KERNEL_CDEV, -1, 5 },
	};
	struct mock *m = *state;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct vf_kernel_target t;

		assert_int_equal(vf_kernel_find(&m->kernel, good[i].text, &t, NULL), 0);
		assert_string_equal(t.name, good[i].name);
		assert_int_equal(t.wanted, good[i].wanted);
		assert_int_equal(t.group, good[i].group);
		assert_int_equal(t.fd, good[i].fd);
	}
}

static void other_names_are_refused(void **state)
{
	static const struct { const char *text; int error; } bad[] = {
		{ "", -EINVAL }, { "3b:00.8", -EINVAL }, { "3b:20.0", -EINVAL },
		{ "3b:00.0x", -EINVAL }, { "10000:3b:00.0", -EINVAL }, { "group:", -EINVAL },
		{ "cdev:cdev:3b:00.0", -EINVAL }, { "fd=", -EINVAL }, { "fd=-1", -EINVAL },
		{ "fd=99999999999", -EINVAL }, { "group:fd=5", -EINVAL },
		{ "/dev/vfio/devices/../7", -EINVAL }, { "/dev/vfio/devices/vfio", -EINVAL },
		{ "/dev/vfio/devices/vfio3/x", -EINVAL }, { "group:/dev/vfio/devices/vfio3", -EINVAL },
		{ "/dev/vfio/7", -EINVAL }, { "/etc/passwd", -EINVAL }, { "/sys/", -EINVAL },
		{ "83b8f4f2-509f-382f-3c1e-e6bfe0fa100", -EINVAL },
		{ "0000:77:00.0", -ENODEV }, { "/dev/vfio/devices/vfio9", -ENODEV },
		{ "/sys/no/such", -ENODEV },
	};
	struct mock *m = *state;
	char long_one[600];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_kernel_target t;
		int r = vf_kernel_find(&m->kernel, bad[i].text, &t, &err);

		if (r != bad[i].error)
			fail_msg("\"%s\": %d", bad[i].text, r);
		assert_int_equal(err.code, r);
	}
	memset(long_one, 'x', sizeof(long_one));
	memcpy(long_one, "/sys/", 5);
	long_one[sizeof(long_one) - 1] = '\0';
	expect_refused(m, long_one, -EINVAL, "device-uri", "not a VFIO device");
}

/* ---- by group ---- */

static void a_group_in_order(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, true);
	struct vf_backend *b = open_it(m, BDF, space);
	static char memory[8192];

	assert_string_equal(b->ops->name, "kernel-group");
	assert_string_equal(b->driver, "some_vfio_pci");
	assert_string_equal(b->better_driver, "");
	assert_int_equal(b->caps.features, VFERRY_DEVICE_DMA_LOG | VFERRY_DEVICE_DATA_SIZE |
			 VFERRY_DEVICE_PRECOPY_INFO);
	assert_false(b->caps.no_peers);
	expect_calls(m, GROUP "kvm ADD group; group DEVICE " BDF "; " LEARN);
	assert_int_equal(b->ops->dma_map(b, 0x1000, 8192, true, -1, 0, memory, NULL), 0);
	assert_int_equal(m->mappings[0].flags, 3);
	assert_int_equal(m->mappings[0].host, (uintptr_t) memory);
	assert_int_equal(b->ops->dma_unmap(b, 0x1000, 8192, NULL), 0);
	expect_calls(m, "MAP 1000+2000; UNMAP 1000+2000; ");
	b->ops->close(b);
	expect_calls(m, "kvm DEL group; group UNSET_CONTAINER; ");
	(void) vferry_dma_space_free(space);
}

static void two_devices_share_everything(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, true);
	struct vf_backend *a = open_it(m, BDF, space), *b;
	struct vferry_error err = VFERRY_ERROR_INIT;
	static char memory[4096], other[4096];

	mock_forget(m);
	b = open_it(m, BDF, space);
	expect_calls(m, "group DEVICE " BDF "; " LEARN);
	/* Mapped once for both, and gone when neither wants it any more. */
	assert_int_equal(a->ops->dma_map(a, 0, 4096, true, -1, 0, memory, NULL), 0);
	assert_int_equal(b->ops->dma_map(b, 0, 4096, true, -1, 0, memory, NULL), 0);
	assert_int_equal(b->ops->dma_map(b, 0, 4096, true, -1, 0, other, &err), -EEXIST);
	assert_int_equal(b->ops->dma_map(b, 0, 4096, false, -1, 0, memory, NULL), -EEXIST);
	expect_calls(m, "MAP 0+1000; ");
	assert_int_equal(a->ops->dma_unmap(a, 0, 4096, NULL), 0);
	expect_calls(m, "");
	assert_int_equal(b->ops->dma_unmap(b, 0, 4096, NULL), 0);
	assert_int_equal(b->ops->dma_unmap(b, 0, 4096, NULL), -ENOENT);
	expect_calls(m, "UNMAP 0+1000; ");
	a->ops->close(a);
	expect_calls(m, "");
	b->ops->close(b);
	expect_calls(m, "kvm DEL group; group UNSET_CONTAINER; ");
	/* The space is as new: even of the other kind. */
	m->has_iommu = true;
	a = open_it(m, BDF, space);
	assert_string_equal(a->ops->name, "kernel-cdev");
	a->ops->close(a);
	(void) vferry_dma_space_free(space);
}

static void kinds_do_not_mix(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, false);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_backend *a, *b = NULL;

	m->has_iommu = true;
	a = open_it(m, "group:" BDF, space);
	assert_int_equal(mock_open_backend(m, "cdev:" BDF, space, &b, &err), -EBUSY);
	assert_string_equal(err.id, "device-backend");
	/* Who has no wish takes what is there. */
	b = open_it(m, BDF, space);
	assert_string_equal(b->ops->name, "kernel-group");
	b->ops->close(b);
	a->ops->close(a);
	(void) vferry_dma_space_free(space);
}

static void groups_are_refused_with_reasons(void **state)
{
	struct mock *m = *state;

	expect_refused(m, "0000:3c:00.0", -ENODEV, "device-group", "no IOMMU group");
	fail_named(m, "open /dev/vfio/7", -ENOENT);
	m->driver = "../../bus/pci/drivers/nvme";
	expect_refused(m, BDF, -ENODEV, "device-driver", "bound to nvme, which is no VFIO driver");
	m->driver = NULL;
	fail_named(m, "open /dev/vfio/7", -ENOENT);
	expect_refused(m, BDF, -ENODEV, "device-driver", "bound to no driver");
	m->driver = "../../bus/pci/drivers/vfio-pci";
	fail_named(m, "open /dev/vfio/7", -EBUSY);
	expect_refused(m, BDF, -EBUSY, "group-in-use", "another process");
	fail_named(m, "open /dev/vfio/7", -EACCES);
	expect_refused(m, BDF, -EACCES, "group-open", "/dev/vfio/7");
	m->viable = false;
	expect_refused(m, BDF, -EPERM, "group-not-viable", "0000:3b:00.1 is bound to e1000e");
	m->viable = true;
	fail_named(m, "open /dev/vfio/vfio", -ENOENT);
	expect_refused(m, BDF, -ENOENT, "container-open", "/dev/vfio/vfio");
	fail_named(m, "container VERSION", 1);
	expect_refused(m, BDF, -ENOTSUP, "container-kind", "type 1 version 2");
	fail_named(m, "group SET_CONTAINER", -EINVAL);
	expect_refused(m, BDF, -EINVAL, "group-container", "EINVAL");
	fail_named(m, "container SET_IOMMU 3", -EPERM);
	expect_refused(m, BDF, -EPERM, "container-iommu", "allow_unsafe_interrupts");
	fail_named(m, "group DEVICE " BDF, -ENODEV);
	expect_refused(m, BDF, -ENODEV, "device-open", "bound to vfio-pci");
	expect_refused(m, "cdev:" BDF, -ENOENT, "iommufd-open", "/dev/iommu");
}

static void kvm_that_refuses_keeps_the_device_closed(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, true);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_backend *b = NULL;

	fail_named(m, "kvm ADD group", -ENXIO);
	assert_int_equal(mock_open_backend(m, BDF, space, &b, &err), -ENXIO);
	assert_string_equal(err.id, "kvm-vfio");
	expect_calls(m, GROUP "kvm ADD group; group UNSET_CONTAINER; ");
	(void) vferry_dma_space_free(space);
}

/* ---- by character device ---- */

static void a_character_device_in_order(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, true);
	static char memory[4096];
	struct vf_backend *b;

	m->has_iommu = m->can_track = true;
	b = open_it(m, BDF, space);
	assert_string_equal(b->ops->name, "kernel-cdev");
	assert_true(b->caps.no_peers);
	assert_true(b->caps.features & VFERRY_DEVICE_IOMMU_DIRTY);
	expect_calls(m, "open /dev/iommu; ioas ALLOC; open /dev/vfio/devices/vfio3; kvm ADD device; "
		     "BIND; HW_INFO; hwpt ALLOC tracking; ATTACH hwpt; " LEARN);
	assert_int_equal(b->ops->dma_map(b, 0, 4096, true, -1, 0, memory, NULL), 0);
	assert_int_equal(b->ops->dma_unmap(b, 0, 4096, NULL), 0);
	expect_calls(m, "ioas MAP 0+1000; ioas UNMAP 0+1000; ");
	b->ops->close(b);
	expect_calls(m, "kvm DEL device; DESTROY hwpt; DESTROY ioas; ");
	(void) vferry_dma_space_free(space);
}

static void page_tables_are_shared_where_they_fit(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, false);
	struct vf_backend *a, *b;

	m->has_iommu = m->can_track = true;
	a = open_it(m, "/dev/vfio/devices/vfio3", space);
	mock_forget(m);
	b = open_it(m, "/dev/vfio/devices/vfio3", space);
	expect_calls(m, "open /dev/vfio/devices/vfio3; BIND; HW_INFO; ATTACH hwpt; " LEARN);
	a->ops->close(a);
	expect_calls(m, "");
	b->ops->close(b);
	expect_calls(m, "DESTROY hwpt; DESTROY ioas; ");
	(void) vferry_dma_space_free(space);
}

/* One of two that log leaves without a word: the table logs for the other one, and no longer than that. */
static void who_leaves_stops_its_log(void **state)
{
	const struct vf_vfio_dma_log_range all = { 0, 4096 };
	struct mock *m = *state;
	struct vferry_dma_space *space = mock_space(m, false);
	static char memory[4096];
	struct vf_backend *a, *b;
	uint64_t page = 0;

	m->has_iommu = m->can_track = true;
	m->features_missing |= 1u << VF_VFIO_FEATURE_DMA_LOGGING_START;
	a = open_it(m, "/dev/vfio/devices/vfio3", space);
	b = open_it(m, "/dev/vfio/devices/vfio3", space);
	assert_int_equal(a->ops->dma_map(a, 0, 4096, true, -1, 0, memory, NULL), 0);
	mock_forget(m);
	assert_int_equal(a->ops->dma_log_start(a, 4096, &all, 1, &page, NULL), 0);
	assert_int_equal(b->ops->dma_log_start(b, 4096, &all, 1, &page, NULL), 0);
	assert_int_equal(b->ops->dma_log_start(b, 4096, &all, 1, &page, NULL), -EINVAL);
	expect_calls(m, "hwpt TRACK on; hwpt DIRTY 0+1000; hwpt DIRTY 0+1000; ");
	a->ops->close(a);
	expect_calls(m, "");
	assert_int_equal(b->ops->dma_log_stop(b, NULL), 0);
	assert_int_equal(b->ops->dma_log_stop(b, NULL), -EINVAL);
	expect_calls(m, "hwpt TRACK off; ");
	a = open_it(m, "/dev/vfio/devices/vfio3", space);
	mock_forget(m);
	assert_int_equal(a->ops->dma_log_start(a, 4096, &all, 1, &page, NULL), 0);
	a->ops->close(a);
	expect_calls(m, "hwpt TRACK on; hwpt DIRTY 0+1000; hwpt TRACK off; ");
	assert_int_equal(b->ops->dma_unmap(b, 0, 4096, NULL), 0);
	assert_int_equal(b->ops->dma_unmap(b, 0, 4096, NULL), -ENOENT);
	b->ops->close(b);
	(void) vferry_dma_space_free(space);
}

/* An IOMMU that can't track, one that says so late, a device that has none: attached all the same. */
static void without_tracking_the_ioas_will_do(void **state)
{
	struct mock *m = *state;
	struct vf_backend *b;

	m->has_iommu = true;
	b = open_it(m, BDF, NULL);
	assert_false(b->caps.features & VFERRY_DEVICE_IOMMU_DIRTY);
	b->ops->close(b);
	expect_calls(m, "open /dev/iommu; ioas ALLOC; open /dev/vfio/devices/vfio3; BIND; HW_INFO; "
		     "ATTACH ioas; " LEARN "DESTROY ioas; ");
	m->can_track = true;
	fail_named(m, "hwpt ALLOC tracking", -EOPNOTSUPP);
	b = open_it(m, BDF, NULL);
	assert_int_equal(m->attached_to, m->ioas);
	b->ops->close(b);
	fail_named(m, "ATTACH hwpt", -EINVAL);
	b = open_it(m, BDF, NULL);
	assert_int_equal(m->attached_to, m->ioas);
	b->ops->close(b);
	fail_named(m, "HW_INFO", -ENOENT);
	b = open_it(m, BDF, NULL);
	assert_int_equal(m->attached_to, m->ioas);
	b->ops->close(b);
}

static void an_inherited_descriptor(void **state)
{
	struct mock *m = *state;
	struct vferry_dma_space_options options = { .size = sizeof(options), .kvm_vfio = -1 };
	struct vferry_dma_space *space;
	struct vf_backend *b;
	char text[16];
	int fd;

	/* Both by somebody who may open them: this process may not. */
	options.iommufd = mock_new_fd(m, MOCK_IOMMUFD);
	fd = mock_new_fd(m, MOCK_DEVICE);
	assert_int_equal(vf_space_new(&m->kernel, &options, &space, NULL), 0);
	(void) snprintf(text, sizeof(text), "fd=%d", fd);
	b = open_it(m, text, space);
	expect_calls(m, "ioas ALLOC; dup; BIND; HW_INFO; ATTACH ioas; " LEARN);
	b->ops->close(b);
	(void) vferry_dma_space_free(space);
	(void) close(fd);
	(void) close(options.iommufd);
}

static void character_devices_are_refused_with_reasons(void **state)
{
	struct mock *m = *state;
	struct vf_backend *b;

	m->has_iommu = true;
	fail_named(m, "BIND", -EPERM);
	expect_refused(m, BDF, -EPERM, "iommufd-bind", "allow_unsafe_interrupts");
	fail_named(m, "BIND", -EINVAL);
	expect_refused(m, BDF, -EINVAL, "iommufd-bind", "in use by another process, or its DMA is not cache coherent");
	fail_named(m, "BIND", -EBUSY);
	expect_refused(m, BDF, -EBUSY, "device-in-use", "group of 0000:3b:00.0 is in use");
	fail_named(m, "open /dev/vfio/devices/vfio3", -EBUSY);
	expect_refused(m, BDF, -EBUSY, "device-in-use", "another process");
	fail_named(m, "ATTACH ioas", -EINVAL);
	expect_refused(m, BDF, -EINVAL, "iommufd-attach", "address space");
	fail_named(m, "ioas ALLOC", -ENOMEM);
	expect_refused(m, BDF, -ENOMEM, "iommufd-ioas", "ENOMEM");
	expect_refused(m, "cdev:0000:3c:00.0", -ENODEV, "device-driver", "character device");
	/* Not chosen where it can't be opened. */
	fail_named(m, "open /dev/iommu", -EACCES);
	mock_forget(m);
	b = open_it(m, BDF, NULL);
	assert_string_equal(b->ops->name, "kernel-group");
	b->ops->close(b);
}

/* ---- what is said ---- */

static void addresses_that_the_iommu_lacks_are_named(void **state)
{
	static const char *const kinds[] = { "group:" BDF, "cdev:" BDF };
	static char memory[4096];
	struct mock *m = *state;

	m->has_iommu = true;
	for (size_t i = 0; i < 2; i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_backend *b = open_it(m, kinds[i], NULL);

		assert_int_equal(b->ops->dma_map(b, 0xfee00000, 4096, true, -1, 0, memory, &err),
				 -EINVAL);
		assert_string_equal(err.id, "dma-addresses");
		assert_non_null(strstr(err.message, "0xfee00000 to 0xfee00fff"));
		vferry_error_clear(&err);
		m->fail_at = m->calls + 1;
		m->fail_with = -EFAULT;
		assert_int_equal(b->ops->dma_map(b, 0, 4096, true, -1, 0, memory, &err), -EFAULT);
		assert_string_equal(err.id, "dma-map");
		m->fail_at = 0;
		b->ops->close(b);
	}
}

static const char *find_driver(struct mock *m, const char *aliases)
{
	static char found[64];
	struct vf_backend *b;

	m->aliases = aliases;
	m->mig_flags = 0;
	b = open_it(m, BDF, NULL);
	(void) snprintf(found, sizeof(found), "%s", b->better_driver);
	b->ops->close(b);
	return found;
}

/* The driver with the fewest stars, of those that match, and neither vfio-pci nor the one it has. */
static void a_driver_that_would_do_is_named(void **state)
{
	struct mock *m = *state;
	char many[12000];
	size_t at = 0;

	assert_string_equal(find_driver(m, NULL), "");
	assert_string_equal(find_driver(m, "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
		"alias pci:v00001D1Dd00002E2Esv*sd*bc*sc*i* nvme\n"
		"alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"), "");
	assert_string_equal(find_driver(m, "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
		"alias vfio_pci:v00001D1Dd*sv*sd*bc*sc*i* coarse_vfio_pci\n"
		"alias vfio_pci:v00001D1Dd00002E2Esv*sd*bc*sc*i* fine_vfio_pci\n"
		"alias vfio_pci:v00001D1Dd*sv*sd*bc*sc*i* coarse_vfio_pci\n"), "fine_vfio_pci");
	m->driver = "../x/fine-vfio-pci";
	assert_string_equal(find_driver(m, "alias vfio_pci:v00001D1Dd00002E2Esv*sd*bc*sc*i* "
		"fine_vfio_pci\n"), "");
	/* Over the borders of the buffer, and after a line longer than it. */
	while (at < 9000)
		at += (size_t) snprintf(many + at, sizeof(many) - at,
			"alias vfio_pci:v000015B3d%08zXsv*sd*bc*sc*i* mlx5_vfio_pci\n", at);
	(void) snprintf(many + at, sizeof(many) - at,
			"alias vfio_pci:v00001D1Dd00002E2Esv*sd*bc*sc*i* last_vfio_pci\n");
	assert_string_equal(find_driver(m, many), "last_vfio_pci");
	memset(many, 'x', 9000);
	assert_string_equal(find_driver(m, many), "last_vfio_pci");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(names_are_understood), TEST(other_names_are_refused),
		TEST(a_group_in_order), TEST(two_devices_share_everything), TEST(kinds_do_not_mix),
		TEST(groups_are_refused_with_reasons), TEST(kvm_that_refuses_keeps_the_device_closed),
		TEST(a_character_device_in_order), TEST(page_tables_are_shared_where_they_fit),
		TEST(who_leaves_stops_its_log),
		TEST(without_tracking_the_ioas_will_do), TEST(an_inherited_descriptor),
		TEST(character_devices_are_refused_with_reasons),
		TEST(addresses_that_the_iommu_lacks_are_named), TEST(a_driver_that_would_do_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
