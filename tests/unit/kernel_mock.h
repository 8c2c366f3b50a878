/* SPDX-License-Identifier: MIT */
/*
 * kernel_mock.h - a kernel for the tests of the kernel backends: group, container, character device,
 * iommufd, KVM's VFIO device, sysfs, and one device that can migrate.
 *
 * Its descriptors are real ones (memfds), so that they are mapped and closed as always, and a
 * descriptor that is left open shows in /proc/self/fd. Which of them is what, it remembers by number.
 * Each call is noted; the n-th, or one by name, can be made to fail.
 */
#ifndef KERNEL_MOCK_H
#define KERNEL_MOCK_H

#include "kernel_mock_base.h"	/* first */
#include "kernel_mock_device.h"
#include "kernel_mock_host.h"

static int mock_ioctl(void *user, int fd, unsigned long request, void *arg)
{
	struct mock *m = user;
	int r;

	assert_true(fd >= 0 && fd < MOCK_FDS);
	switch (m->kinds[fd]) {
	case MOCK_CONTAINER:
		return mock_container(m, request, arg);
	case MOCK_GROUP:
		return mock_group(m, request, arg);
	case MOCK_DEVICE:
		return mock_device(m, request, arg);
	case MOCK_IOMMUFD:
		return mock_iommufd(m, request, arg);
	case MOCK_KVM:
		return mock_kvm(m, request, arg);
	case MOCK_DATA:
		assert_true(request == VF_VFIO_MIG_GET_PRECOPY_INFO);
		assert_int_equal(((struct vf_vfio_precopy_info *) arg)->flags, 0);
		r = mock_call(m, "PRECOPY_INFO");
		*(struct vf_vfio_precopy_info *) arg = m->precopy;
		return r;
	default:
		return -EBADF;
	}
}

static const struct vf_kernel_calls mock_calls = {
	.open = mock_open, .dup = mock_dup, .ioctl = mock_ioctl, .pread = mock_pread,
	.pwrite = mock_pwrite, .read = mock_read, .write = mock_write,
	.set_nonblocking = mock_set_nonblocking, .wait_readable = mock_wait_readable,
	.readlink = mock_readlink, .list = mock_list,
};

/* ---- life ---- */

__attribute__((unused))
static struct mock *mock_new(void)
{
	struct mock *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->kernel = (struct vf_kernel) { .calls = &mock_calls, .user = m };
	pthread_mutex_init(&m->lock, NULL);
	image_full(&m->image);
	m->config_bytes = m->image.size;
	m->driver = "../../bus/pci/drivers/some_vfio_pci";
	m->viable = true;
	m->mapped_bars = 1u << 0 | 1u << 4;
	m->info_flags = VF_VFIO_DEVICE_FLAGS_PCI | VF_VFIO_DEVICE_FLAGS_RESET;
	m->vectors_left = -1;
	m->mig_flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
		       VF_VFIO_MIGRATION_PRE_COPY;
	m->state = VF_VFIO_STATE_RUNNING;
	m->fail_state = UINT32_MAX;
	m->features_missing = 1u << VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2;
	m->kvm = -1;
	m->fds_before = mock_count_fds();
	return m;
}

/* Nothing is left: no descriptor, no mapping, no group in a container, nothing that KVM was told. */
__attribute__((unused))
static void mock_expect_clean(struct mock *m)
{
	if (m->kvm >= 0)
		(void) close(m->kvm);
	m->kvm = -1;
	assert_int_equal(mock_count_fds(), m->fds_before);
	assert_int_equal(m->mapping_count, 0);
	assert_int_equal(m->containers_set, 0);
	assert_int_equal(m->groups_told, 0);
	assert_int_equal(m->devices_told, 0);
	assert_int_equal(m->ioas, 0);
	assert_int_equal(m->table, 0);
}

__attribute__((unused))
static void mock_free(struct mock *m)
{
	mock_expect_clean(m);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

__attribute__((unused))
static int mock_open_backend(struct mock *m, const char *text, struct vferry_dma_space *space,
			     struct vf_backend **ret, struct vferry_error *err)
{
	const struct vf_backend_options options = { .timeout_ns = 1000000000, .dma_space = space };

	return vf_backend_open_kernel_at(&m->kernel, text, &options, ret, err);
}

__attribute__((unused))
static struct vferry_dma_space *mock_space(struct mock *m, bool with_kvm)
{
	struct vferry_dma_space_options options = {
		.size = sizeof(options), .kvm_vfio = -1, .iommufd = -1,
	};
	struct vferry_dma_space *space;

	if (with_kvm)
		options.kvm_vfio = m->kvm = mock_new_fd(m, MOCK_KVM);
	assert_int_equal(vf_space_new(&m->kernel, &options, &space, NULL), 0);
	return space;
}

#endif
