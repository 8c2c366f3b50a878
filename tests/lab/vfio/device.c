/* SPDX-License-Identifier: MIT */
/* device.c - opens kernel VFIO devices, and asks them for things. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"
#include "sysfs.h"

#define COMMAND		4

/* --- opening --- */

static int container_fd = -1;
static uint8_t *ram;

static void join_container(int group)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = RAM_IOVA,
		.size = RAM_BYTES,
	};
	bool first = container_fd < 0;

	if (first)
		container_fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	assert_true(container_fd >= 0);
	assert_return_code(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container_fd), errno);
	if (!first)
		return;
	assert_return_code(ioctl(container_fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), errno);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(ram != MAP_FAILED);
	map.vaddr = (uintptr_t) ram;
	assert_return_code(ioctl(container_fd, VFIO_IOMMU_MAP_DMA, &map), errno);
}

uint8_t *device_ram(void)
{
	return ram;
}

static uint64_t region_offset(const struct device *device, uint32_t index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	assert_return_code(ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &info), errno);
	return info.offset;
}

void device_open(struct device *device, const char *sysfs, const char *name)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int group = sysfs_open_group(sysfs);

	assert_return_code(group, -group);
	join_container(group);
	(void) snprintf(device->name, sizeof(device->name), "%s", name);
	device->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	assert_return_code(device->fd, errno);	/* the group stays open with it */
	assert_return_code(ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info), errno);	/* mtty wants it */
	device->bar0 = region_offset(device, VFIO_PCI_BAR0_REGION_INDEX);
	device->config = region_offset(device, VFIO_PCI_CONFIG_REGION_INDEX);
	assert_int_equal(device_feature(device, VF_VFIO_FEATURE_MIGRATION | VF_VFIO_FEATURE_GET,
					&device->flags, sizeof(device->flags)), 0);
}

bool device_open_pci(struct device *device, uint32_t vendor, uint32_t id, unsigned int nth,
		     const char *driver)
{
	char path[128], bdf[SYSFS_BDF];

	if (!sysfs_find_pci(vendor, id, nth, bdf) || sysfs_bind_pci(bdf, driver))
		return false;
	(void) snprintf(path, sizeof(path), SYSFS_PCI "devices/%s", bdf);
	device_open(device, path, bdf);
	return true;
}

/* --- registers and interrupts --- */

static void read_bar(const struct device *device, uint64_t at, void *value, size_t bytes)
{
	assert_int_equal(pread(device->fd, value, bytes, (off_t) (device->bar0 + at)), bytes);
}

uint32_t device_read32(const struct device *device, uint64_t at)
{
	uint32_t value;

	read_bar(device, at, &value, sizeof(value));
	return value;
}

uint64_t device_read64(const struct device *device, uint64_t at)
{
	uint64_t value;

	read_bar(device, at, &value, sizeof(value));
	return value;
}

int device_write(const struct device *device, uint64_t at, const void *value, size_t bytes)
{
	ssize_t n = pwrite(device->fd, value, bytes, (off_t) (device->bar0 + at));

	return n == (ssize_t) bytes ? 0 : n < 0 ? -errno : -EIO;
}

void device_write32(const struct device *device, uint64_t at, uint32_t value)
{
	assert_int_equal(device_write(device, at, &value, sizeof(value)), 0);
}

void device_write64(const struct device *device, uint64_t at, uint64_t value)
{
	assert_int_equal(device_write(device, at, &value, sizeof(value)), 0);
}

void device_command(const struct device *device, uint16_t command)
{
	assert_int_equal(pwrite(device->fd, &command, sizeof(command),
				(off_t) (device->config + COMMAND)), sizeof(command));
}

int device_interrupt(const struct device *device, uint32_t index, int eventfd)
{
	struct {
		struct vfio_irq_set head;
		int32_t fd;
	} set = {
		.head = {
			.argsz = sizeof(set),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = index,
			.count = 1,
		},
		.fd = eventfd,
	};

	if (eventfd < 0) {
		set.head.argsz = sizeof(set.head);
		set.head.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		set.head.count = 0;
	}
	return ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &set) ? -errno : 0;
}

/* --- features --- */

int device_feature(const struct device *device, uint32_t flags, void *data, size_t bytes)
{
	struct {
		struct vf_vfio_device_feature head;
		uint8_t data[64];
	} feature = { .head = { .argsz = (uint32_t) (sizeof(feature.head) + bytes), .flags = flags } };
	int ret;

	assert_true(bytes <= sizeof(feature.data));
	if (bytes)
		memcpy(feature.data, data, bytes);
	ret = ioctl(device->fd, VFIO_DEVICE_FEATURE, &feature) ? -errno : 0;
	if (bytes)
		memcpy(data, feature.data, bytes);
	return ret;
}

int device_state(const struct device *device)
{
	struct vf_vfio_feature_mig_state state = { 0 };

	assert_int_equal(device_feature(device, VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_GET,
					&state, sizeof(state)), 0);
	assert_int_equal(state.data_fd, -1);
	return (int) state.device_state;
}

int device_set_state(const struct device *device, uint32_t state, int *ret_fd)
{
	struct vf_vfio_feature_mig_state set = { .device_state = state, .data_fd = -1 };
	int ret = device_feature(device, VF_VFIO_FEATURE_MIG_DEVICE_STATE | VF_VFIO_FEATURE_SET, &set,
				 sizeof(set));

	*ret_fd = set.data_fd;
	return ret;
}

void device_to(const struct device *device, uint32_t state)
{
	int fd;

	assert_int_equal(device_set_state(device, state, &fd), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(device_state(device), state);
}

int device_session(const struct device *device, uint32_t state)
{
	int fd;

	assert_int_equal(device_set_state(device, state, &fd), 0);
	assert_true(fd >= 0);
	assert_int_equal(device_state(device), state);
	return fd;
}

void device_reset(const struct device *device)
{
	assert_return_code(ioctl(device->fd, VFIO_DEVICE_RESET), errno);
	assert_int_equal(device_state(device), VF_VFIO_STATE_RUNNING);
}

/* --- streams --- */

size_t stream_read_all(int fd, uint8_t *data, size_t room)
{
	size_t bytes = 0;
	ssize_t n;

	while ((n = read(fd, data + bytes, room - bytes)) > 0)
		bytes += (size_t) n;
	assert_return_code(n, errno);
	assert_true(bytes < room);
	return bytes;
}

void stream_write_all(int fd, const uint8_t *data, size_t bytes)
{
	while (bytes) {
		ssize_t n = write(fd, data, bytes);

		assert_return_code(n, errno);
		data += n;
		bytes -= (size_t) n;
	}
}

size_t device_save(const struct device *device, uint8_t *data, size_t room)
{
	int fd = device_session(device, VF_VFIO_STATE_STOP_COPY);
	size_t bytes = stream_read_all(fd, data, room);

	close(fd);
	return bytes;
}

void device_load(const struct device *device, const uint8_t *data, size_t bytes)
{
	int fd = device_session(device, VF_VFIO_STATE_RESUMING);

	stream_write_all(fd, data, bytes);
	close(fd);
	device_to(device, VF_VFIO_STATE_STOP);
}

/* --- the log of DMA --- */

int device_log_start(const struct device *device)
{
	struct vf_vfio_dma_log_range range = { .iova = RAM_IOVA, .length = RAM_BYTES };
	struct vf_vfio_dma_log_control control = {
		.page_size = PAGE,
		.num_ranges = 1,
		.ranges = (uintptr_t) &range,
	};

	return device_feature(device, VF_VFIO_FEATURE_DMA_LOGGING_START | VF_VFIO_FEATURE_SET, &control,
			      sizeof(control));
}

int device_log_report(const struct device *device, uint64_t bitmap[RAM_BYTES / PAGE / 64])
{
	struct vf_vfio_dma_log_report report = {
		.iova = RAM_IOVA,
		.length = RAM_BYTES,
		.page_size = PAGE,
		.bitmap = (uintptr_t) bitmap,
	};

	return device_feature(device, VF_VFIO_FEATURE_DMA_LOGGING_REPORT | VF_VFIO_FEATURE_GET, &report,
			      sizeof(report));
}

void device_log_stop(const struct device *device)
{
	assert_int_equal(device_feature(device, VF_VFIO_FEATURE_DMA_LOGGING_STOP | VF_VFIO_FEATURE_SET,
					NULL, 0), 0);
}
