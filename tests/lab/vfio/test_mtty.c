/* SPDX-License-Identifier: MIT */
/*
 * test_mtty.c - the kernel's own sample device, mtty: two mediated devices with two serial ports each. Their
 * driver is not ours; what it does otherwise than <linux/vfio.h> says is written down here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/serial_reg.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"
#include "sysfs.h"

#define CREATE		"/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create"
#define UUID_A		"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define UUID_B		"83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"

static struct device a, b;
static uint8_t stream[4096];

static void put(const struct device *device, uint64_t at, uint8_t value)
{
	assert_int_equal(device_write(device, at, &value, 1), 0);
}

static uint8_t get(const struct device *device, uint64_t at)
{
	uint8_t value;

	assert_int_equal(pread(device->fd, &value, 1, (off_t) (device->bar0 + at)), 1);
	return value;
}

/* A reset of this device ends sessions, and changes no register. */
static int set_up(void **state)
{
	(void) state;
	device_reset(&a);
	device_reset(&b);
	put(&a, UART_LCR, 0);
	put(&b, UART_LCR, 0);
	put(&a, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	put(&b, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	put(&b, UART_SCR, 0);
	return 0;
}

static void write_words(const struct device *device, const char *words)
{
	for (; *words; words++)
		put(device, UART_TX, (uint8_t) *words);
}

static void check_words(const struct device *device, const char *words)
{
	for (; *words; words++)
		assert_int_equal(get(device, UART_RX), *words);
	assert_false(get(device, UART_LSR) & UART_LSR_DR);
}

static void load(const struct device *device, size_t bytes)
{
	device_load(device, stream, bytes);
	device_to(device, VF_VFIO_STATE_RUNNING);
}

static void test_features(void **state)
{
	uint64_t bytes = 0;

	(void) state;
	assert_int_equal(a.flags, VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
				  VF_VFIO_MIGRATION_PRE_COPY);
	assert_int_equal(device_feature(&a, VF_VFIO_FEATURE_MIG_DATA_SIZE | VF_VFIO_FEATURE_GET, &bytes,
					sizeof(bytes)), 0);
	assert_in_range(bytes, 32, sizeof(stream));
}

static void test_arcs(void **state)
{
	(void) state;
	check_arcs(&a);
}

static void test_state_moves(void **state)
{
	(void) state;
	put(&a, UART_SCR, 0x5a);
	write_words(&a, "moved");
	load(&b, device_save(&a, stream, sizeof(stream)));
	assert_int_equal(get(&b, UART_SCR), 0x5a);
	check_words(&b, "moved");
	device_to(&a, VF_VFIO_STATE_RUNNING);	/* it was a copy */
	check_words(&a, "moved");
}

static void test_pre_copy(void **state)
{
	struct vf_vfio_precopy_info info = { .argsz = sizeof(info) };
	size_t bytes = 0;
	ssize_t n;
	int fd;

	(void) state;
	fd = device_session(&a, VF_VFIO_STATE_PRE_COPY);
	assert_return_code(ioctl(fd, VF_VFIO_MIG_GET_PRECOPY_INFO, &info), errno);
	assert_in_range(info.initial_bytes, 1, sizeof(stream));
	assert_int_equal(info.dirty_bytes, 0);
	while ((n = read(fd, stream + bytes, 5)) > 0)
		bytes += (size_t) n;
	assert_int_equal(n, 0);		/* -ENOMSG is what it should be: this is not the end */
	assert_int_equal(bytes, info.initial_bytes);
	write_words(&a, "late");
	device_to(&a, VF_VFIO_STATE_PRE_COPY_P2P);
	device_to(&a, VF_VFIO_STATE_STOP_COPY);
	bytes += stream_read_all(fd, stream + bytes, sizeof(stream) - bytes);
	close(fd);
	load(&b, bytes);
	check_words(&b, "late");
}

static void test_truncated_stream(void **state)
{
	size_t bytes = device_save(&a, stream, sizeof(stream));
	int fd, ignored;

	(void) state;
	for (size_t length = 0; length < bytes; length++) {
		fd = device_session(&b, VF_VFIO_STATE_RESUMING);
		stream_write_all(fd, stream, length);
		assert_int_equal(device_set_state(&b, VF_VFIO_STATE_STOP, &ignored), -EINVAL);
		assert_int_equal(device_state(&b), VF_VFIO_STATE_RESUMING);
		close(fd);
		device_reset(&b);
	}
}

static void check_interrupt(uint32_t index)
{
	int to = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t count = 0;

	assert_int_equal(device_interrupt(&a, index, to), 0);
	put(&a, UART_IER, UART_IER_THRI);	/* the transmitter is empty */
	assert_int_equal(read(to, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	put(&a, UART_IER, 0);
	assert_int_equal(device_interrupt(&a, index, -1), 0);
	close(to);
}

static void test_interrupts(void **state)
{
	(void) state;
	check_interrupt(VFIO_PCI_INTX_IRQ_INDEX);
	check_interrupt(VFIO_PCI_MSI_IRQ_INDEX);
}

/* It says that it logs DMA (it does none). Whether the kernel can report a log is up to how it was built. */
static void test_log(void **state)
{
	uint64_t bitmap[RAM_BYTES / PAGE / 64] = { 0 };
	int ret;

	(void) state;
	assert_int_equal(device_log_start(&a), 0);
	ret = device_log_report(&a, bitmap);
	assert_true(ret == 0 || ret == -EOPNOTSUPP);	/* the latter without IOMMUFD */
	print_message("a report of the log: %s\n", strerror(-ret));
	for (size_t i = 0; i < sizeof(bitmap) / sizeof(bitmap[0]); i++)
		assert_int_equal(bitmap[i], 0);
	device_log_stop(&a);
}

static int open_mtty(struct device *device, const char *uuid)
{
	char path[128];
	int ret = sysfs_write(CREATE, uuid);

	if (ret) {
		fprintf(stderr, CREATE ": %s\n", strerror(-ret));
		return ret;
	}
	(void) snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s", uuid);
	device_open(device, path, uuid);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_features, set_up),
		cmocka_unit_test_setup(test_arcs, set_up),
		cmocka_unit_test_setup(test_state_moves, set_up),
		cmocka_unit_test_setup(test_pre_copy, set_up),
		cmocka_unit_test_setup(test_truncated_stream, set_up),
		cmocka_unit_test_setup(test_interrupts, set_up),
		cmocka_unit_test_setup(test_log, set_up),
	};

	(void) setvbuf(stdout, NULL, _IOLBF, 0);
	if (open_mtty(&a, UUID_A) || open_mtty(&b, UUID_B))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
