/* SPDX-License-Identifier: MIT */
/* test_domain.c - see test_domain.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_domain.h"

/* ---- the kernel's test calls: drivers/iommu/iommufd/iommufd_test.h of Linux 6.12 ---- */

#define TEST_CMD	VF_IOMMU_IO(0xa0)

enum { OP_CHECK_MAP = 3, OP_DEVICE_REPLACE = 10, OP_DEVICE_FLAGS = 12, OP_DIRTY = 13 };

#define DEVICE_NO_DIRTY	1u

struct test_cmd {
	uint32_t size, op, id, reserved;
	union {
		struct {
			uint32_t out_object, out_table, out_device, flags;
		} device;
		struct {
			uint32_t table;
		} replace;
		struct {
			uint64_t iova, length, address;
		} check_map;
		struct {
			uint32_t flags;
			uint64_t iova, length, page_size, bits, out_count;
		} dirty;
	};
	uint32_t last;
};

static int call(struct test_host *host, struct test_cmd *cmd)
{
	const struct vf_kernel real = vf_kernel_real();

	cmd->size = sizeof(*cmd);
	return vf_kernel_ioctl(&real, host->iommufd, TEST_CMD, cmd);
}

int test_write(struct test_host *host, uint32_t table, uint64_t iova, uint32_t pages)
{
	uint8_t bits[4096];
	struct test_cmd cmd = {
		.op = OP_DIRTY, .id = table,
		.dirty = { .iova = iova, .length = (uint64_t) pages * TEST_PAGE, .page_size = TEST_PAGE / 2,
			   .bits = (uintptr_t) bits },
	};
	int r;

	/* Its IOMMU's pages are half as large as the processor's: the second half of each is written. */
	assert_true((size_t) pages * 2 <= sizeof(bits) * 8);
	memset(bits, 0xaa, sizeof(bits));
	r = call(host, &cmd);
	return r < 0 ? r : (int) cmd.dirty.out_count;
}

void test_expect_mapped(struct test_host *host, uint32_t table, uint64_t iova, uint64_t bytes, const void *memory)
{
	struct test_cmd cmd = {
		.op = OP_CHECK_MAP, .id = table,
		.check_map = { .iova = iova, .length = bytes, .address = (uintptr_t) memory },
	};

	assert_int_equal(call(host, &cmd), 0);
}

/* ---- devices ---- */

static struct test_device *find(struct test_host *host, int fd)
{
	for (unsigned int i = 0; i < TEST_DEVICES_MAX; i++)
		if (host->devices[i].fd == fd)
			return &host->devices[i];
	return NULL;
}

uint32_t test_table_of(struct test_host *host, int fd)
{
	return find(host, fd)->table;
}

static void destroy(struct test_host *host, uint32_t object)
{
	const struct vf_kernel real = vf_kernel_real();
	struct vf_iommu_destroy gone = { .size = sizeof(gone), .id = object };

	assert_int_equal(vf_kernel_ioctl(&real, host->iommufd, VF_IOMMU_DESTROY, &gone), 0);
}

/* A VFIO device is unbound when its descriptor is closed, of which nobody tells us. */
static void sweep(struct test_host *host)
{
	for (unsigned int i = 0; i < TEST_DEVICES_MAX; i++) {
		struct test_device *device = &host->devices[i];

		if (!device->fd || fcntl(device->fd, F_GETFD) >= 0)
			continue;
		if (device->object)
			destroy(host, device->object);
		*device = (struct test_device) { 0 };
	}
}

static int bind_device(struct test_host *host, struct test_device *device, struct vf_vfio_bind_iommufd *bind)
{
	struct test_cmd cmd = {
		.op = OP_DEVICE_FLAGS, .id = host->ioas,
		.device = { .flags = device->blind ? DEVICE_NO_DIRTY : 0 },
	};
	int r;

	assert_int_equal(bind->iommufd, host->iommufd);
	r = call(host, &cmd);
	if (r < 0)
		return r;
	device->object = cmd.device.out_object;
	device->table = cmd.device.out_table;
	bind->out_devid = cmd.device.out_device;
	return 0;
}

static int attach_device(struct test_host *host, struct test_device *device, uint32_t table)
{
	struct test_cmd cmd = { .op = OP_DEVICE_REPLACE, .id = device->object, .replace = { .table = table } };
	int r = call(host, &cmd);

	if (r >= 0)
		device->table = cmd.replace.table;
	return r;
}

/* ---- in the kernel's place ---- */

static int host_open(void *user, const char *path, int flags)
{
	const struct vf_kernel real = vf_kernel_real();
	struct test_host *host = user;
	struct test_device *device;
	int fd;

	sweep(host);
	if (strcmp(path, TEST_TRACKS) != 0 && strcmp(path, TEST_BLIND) != 0) {
		fd = real.calls->open(real.user, path, flags);
		if (strcmp(path, "/dev/iommu") == 0)
			host->iommufd = fd;
		return fd;
	}
	device = find(host, 0);
	fd = memfd_create(path, MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	assert_true(device && fd > 0);
	*device = (struct test_device) { .fd = fd, .blind = strcmp(path, TEST_BLIND) == 0 };
	return fd;
}

static int host_ioctl(void *user, int fd, unsigned long request, void *arg)
{
	const struct vf_kernel real = vf_kernel_real();
	struct test_host *host = user;
	struct test_device *device;
	int r;

	sweep(host);
	device = find(host, fd);
	if (device && request == VF_VFIO_DEVICE_BIND_IOMMUFD)
		return bind_device(host, device, arg);
	if (device && request == VF_VFIO_DEVICE_ATTACH_IOMMUFD_PT)
		return attach_device(host, device, ((struct vf_vfio_attach_iommufd_pt *) arg)->pt_id);
	assert_null(device);
	r = vf_kernel_ioctl(&real, fd, request, arg);
	if (r >= 0 && request == VF_IOMMU_IOAS_ALLOC)
		host->ioas = ((struct vf_iommu_ioas_alloc *) arg)->out_ioas_id;
	else if (r < 0 && request == VF_IOMMU_DESTROY)
		host->refused++;
	return r;
}

void test_host_init(struct test_host *host)
{
	static struct vf_kernel_calls calls;

	calls = *vf_kernel_real().calls;
	calls.open = host_open;
	calls.ioctl = host_ioctl;
	*host = (struct test_host) { .kernel = { .calls = &calls, .user = host }, .iommufd = -1 };
}

void test_host_done(struct test_host *host)
{
	for (unsigned int i = 0; i < TEST_DEVICES_MAX; i++)
		assert_true(!host->devices[i].fd || fcntl(host->devices[i].fd, F_GETFD) < 0);
}
