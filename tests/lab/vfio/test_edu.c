/* SPDX-License-Identifier: MIT */
/*
 * test_edu.c - tests/kmod/edu_vfio_pci on a real kernel, with two of QEMU's edu devices: what one of them was made
 * to do, the other one goes on with. Which features a kernel lets the driver offer differs; what is not there is
 * skipped, with the reason.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"

#define LIVENESS	0x04
#define FACTORIAL	0x08
#define STATUS		0x20
#define COMPUTING	0x01u
#define STATUS_IRQ	0x80u
#define INTERRUPTS	0x24
#define RAISE		0x60
#define ACKNOWLEDGE	0x64
#define SOURCE		0x80
#define TARGET		0x88
#define COUNT		0x90
#define COMMAND		0x98
#define RUN		0x01u
#define TO_RAM		0x02u
#define IRQ		0x04u
#define IRQ_FACTORIAL	0x001u
#define IRQ_DMA		0x100u
#define BUFFER		0x40000u
#define STREAM_MAX	65536u

static struct device a, b;
static uint8_t stream[STREAM_MAX];

static void pause_ms(long ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&time, &time))
		;
}

static void wait_while(const struct device *device, uint64_t at, uint32_t bits)
{
	for (unsigned int i = 0; i < WAIT_MS; i++) {
		if (!(device_read32(device, at) & bits))
			return;
		pause_ms(1);
	}
	fail_msg("%s: register %#llx keeps bits of %#x", device->name, (unsigned long long) at, bits);
}

static void start_dma(const struct device *device, uint64_t source, uint64_t target, uint32_t bytes,
		      uint32_t command)
{
	device_write64(device, SOURCE, source);
	device_write64(device, TARGET, target);
	device_write64(device, COUNT, bytes);
	device_write64(device, COMMAND, command | RUN);
}

/* Into the device's buffer, from RAM's first page. */
static void fill_buffer(const struct device *device, uint32_t at, uint32_t bytes, uint8_t seed)
{
	for (uint32_t i = 0; i < bytes; i++)
		device_ram()[i] = (uint8_t) (seed + i * 7);
	start_dma(device, RAM_IOVA, BUFFER + at, bytes, 0);
	wait_while(device, COMMAND, RUN);
	memset(device_ram(), 0, PAGE);
}

static void check_buffer(const struct device *device, uint32_t at, uint32_t bytes, uint8_t seed)
{
	uint8_t *page = device_ram() + 16 * PAGE;

	memset(page, 0xee, 2 * PAGE);
	start_dma(device, BUFFER + at, RAM_IOVA + 16 * PAGE, bytes, TO_RAM);
	wait_while(device, COMMAND, RUN);
	for (uint32_t i = 0; i < bytes; i++)
		if (page[i] != (uint8_t) (seed + i * 7))
			fail_msg("%s: byte %u of the buffer is %#x", device->name, at + i, page[i]);
	assert_int_equal(page[bytes], 0xee);
}

static bool has_pre_copy(void)
{
	return a.flags & VF_VFIO_MIGRATION_PRE_COPY;
}

/* From one device to the other, which runs afterwards; the first one is as after a reset. */
static void move(const struct device *from, const struct device *to)
{
	device_load(to, stream, device_save(from, stream, sizeof(stream)));
	device_to(to, VF_VFIO_STATE_RUNNING);
	device_reset(from);
}

static int set_up(void **state)
{
	(void) state;
	device_reset(&a);
	device_reset(&b);
	device_command(&a, 6);
	device_command(&b, 6);
	memset(device_ram(), 0, RAM_BYTES);
	return 0;
}

/* --- the states --- */

static void test_features(void **state)
{
	uint64_t bytes = 0;
	int ret = device_feature(&a, VF_VFIO_FEATURE_MIG_DATA_SIZE | VF_VFIO_FEATURE_GET, &bytes,
				 sizeof(bytes));
	uint64_t flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P;

	(void) state;
	assert_int_equal(ret, has_pre_copy() ? 0 : -ENOTTY);	/* they came with the same kernel */
	assert_int_equal(a.flags, has_pre_copy() ? flags | VF_VFIO_MIGRATION_PRE_COPY : flags);
	assert_true(!has_pre_copy() || bytes > PAGE);
}

static void test_arcs(void **state)
{
	(void) state;
	check_arcs(&a);
}

static void test_reset_leaves_nothing(void **state)
{
	int fd;

	(void) state;
	device_write32(&a, LIVENESS, 0x12345678);
	fill_buffer(&a, 0, 256, 9);
	device_write32(&a, RAISE, 4);
	fd = device_session(&a, VF_VFIO_STATE_STOP_COPY);
	device_reset(&a);
	assert_int_equal(read(fd, stream, sizeof(stream)), -1);
	assert_int_equal(errno, ENODEV);
	close(fd);
	assert_int_equal(device_read32(&a, LIVENESS), 0);
	assert_int_equal(device_read32(&a, INTERRUPTS), 0);
	assert_int_equal(device_read64(&a, TARGET), 0);
	memset(device_ram() + 16 * PAGE, 0xff, PAGE);
	start_dma(&a, BUFFER, RAM_IOVA + 16 * PAGE, 256, TO_RAM);
	wait_while(&a, COMMAND, RUN);
	for (unsigned int i = 0; i < 256; i++)
		assert_int_equal(device_ram()[16 * PAGE + i], 0);
}

/* --- what is carried over --- */

static void test_registers_move(void **state)
{
	(void) state;
	device_write32(&a, LIVENESS, 0xdeadbeef);
	device_write32(&a, FACTORIAL, 10);
	wait_while(&a, STATUS, COMPUTING);
	device_write32(&a, STATUS, STATUS_IRQ);
	device_write32(&a, RAISE, 0x30);
	device_write64(&a, SOURCE, 0x1122334455667788ull);
	device_write64(&a, TARGET, 0x99aabbccddeeff00ull);
	device_write64(&a, COUNT, 0x77);
	move(&a, &b);
	assert_int_equal(device_read32(&b, LIVENESS), ~0xdeadbeefu);
	assert_int_equal(device_read32(&b, FACTORIAL), 3628800);
	assert_int_equal(device_read32(&b, STATUS), STATUS_IRQ);
	assert_int_equal(device_read32(&b, INTERRUPTS), 0x30);
	assert_int_equal(device_read64(&b, SOURCE), 0x1122334455667788ull);
	assert_int_equal(device_read64(&b, TARGET), 0x99aabbccddeeff00ull);
	assert_int_equal(device_read64(&b, COUNT), 0x77);
	device_write32(&b, ACKNOWLEDGE, 0x10);
	assert_int_equal(device_read32(&b, INTERRUPTS), 0x20);
	device_write32(&b, FACTORIAL, 5);
	wait_while(&b, STATUS, COMPUTING);
	assert_int_equal(device_read32(&b, FACTORIAL), 120);
	/* QEMU raises it after COMPUTING has gone. */
	for (unsigned int i = 0; i < WAIT_MS && device_read32(&b, INTERRUPTS) == 0x20; i++)
		pause_ms(1);
	assert_int_equal(device_read32(&b, INTERRUPTS), 0x20 | IRQ_FACTORIAL);
}

static void test_buffer_moves(void **state)
{
	(void) state;
	fill_buffer(&a, 0, 4095, 1);
	fill_buffer(&a, 100, 50, 77);
	check_buffer(&a, 100, 50, 77);		/* the device itself has it */
	move(&a, &b);
	check_buffer(&b, 100, 50, 77);		/* not in the device yet */
	check_buffer(&b, 100, 50, 77);		/* it is now */
	check_buffer(&b, 0, 100, 1);
	fill_buffer(&b, 0, 10, 33);		/* partly new, partly moved */
	check_buffer(&b, 0, 10, 33);
	move(&b, &a);				/* and on, with what b never had */
	check_buffer(&a, 0, 10, 33);
	check_buffer(&a, 10, 90, 1 + 10 * 7);
	check_buffer(&a, 150, 4095 - 150, (uint8_t) (1 + 150 * 7));
}

static void test_state_moves_with_memory_off(void **state)
{
	(void) state;
	device_write32(&a, LIVENESS, 42);
	device_command(&a, 0);
	device_command(&b, 0);
	move(&a, &b);
	assert_int_equal(pread(b.fd, stream, 4, (off_t) b.bar0), -1);
	assert_int_equal(errno, EIO);
	device_command(&b, 6);
	assert_int_equal(device_read32(&b, LIVENESS), ~42u);
}

static void test_dma_is_held_and_moves(void **state)
{
	uint8_t *page = device_ram() + 16 * PAGE;

	(void) state;
	fill_buffer(&a, 0, 64, 3);
	device_to(&a, VF_VFIO_STATE_RUNNING_P2P);
	start_dma(&a, BUFFER, RAM_IOVA + 16 * PAGE, 64, TO_RAM | IRQ);
	pause_ms(300);				/* it would have been done after 100 */
	assert_int_equal(page[1], 0);
	assert_int_equal(device_read64(&a, COMMAND), TO_RAM | IRQ | RUN);
	move(&a, &b);
	wait_while(&b, COMMAND, RUN);
	assert_int_equal(page[1], 3 + 7);
	assert_int_equal(device_read32(&b, INTERRUPTS), IRQ_DMA);
	assert_int_equal(device_read64(&b, COMMAND), TO_RAM | IRQ);
	assert_int_equal(device_read64(&b, TARGET), RAM_IOVA + 16 * PAGE);
}

static void test_running_dma_is_waited_for(void **state)
{
	(void) state;
	fill_buffer(&a, 0, 64, 5);
	start_dma(&a, BUFFER, RAM_IOVA + 16 * PAGE, 64, TO_RAM);
	device_to(&a, VF_VFIO_STATE_RUNNING_P2P);
	assert_int_equal(device_ram()[16 * PAGE + 1], 5 + 7);
	device_to(&a, VF_VFIO_STATE_RUNNING);
	assert_int_equal(device_read64(&a, COMMAND), TO_RAM);
}

static void test_stopped_device_does_not_change(void **state)
{
	uint32_t value = 7;
	int fd;

	(void) state;
	device_to(&a, VF_VFIO_STATE_STOP);
	assert_int_equal(device_write(&a, LIVENESS, &value, sizeof(value)), -EBUSY);
	fd = device_session(&a, VF_VFIO_STATE_STOP_COPY);
	assert_int_equal(device_write(&a, LIVENESS, &value, sizeof(value)), -EBUSY);
	close(fd);
	device_to(&a, VF_VFIO_STATE_RUNNING);
	assert_int_equal(device_read32(&a, LIVENESS), 0);
}

/* --- interrupts --- */

static uint64_t take(int eventfd, int wait_ms)
{
	struct pollfd fd = { .fd = eventfd, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&fd, 1, wait_ms) == 1)
		assert_int_equal(read(eventfd, &count, sizeof(count)), sizeof(count));
	return count;
}

static void test_message_comes_once(void **state)
{
	int from = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), to = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void) state;
	assert_int_equal(device_interrupt(&a, VFIO_PCI_MSI_IRQ_INDEX, from), 0);
	assert_int_equal(device_interrupt(&b, VFIO_PCI_MSI_IRQ_INDEX, to), 0);
	device_write32(&a, RAISE, 2);
	assert_int_equal(take(from, WAIT_MS), 1);
	move(&a, &b);
	assert_int_equal(take(to, 200), 0);	/* the source's has come, and is not sent again */
	assert_int_equal(device_read32(&b, INTERRUPTS), 2);
	device_write32(&b, ACKNOWLEDGE, 2);
	device_write32(&b, RAISE, 1);
	assert_int_equal(take(to, WAIT_MS), 1);
	assert_int_equal(device_interrupt(&a, VFIO_PCI_MSI_IRQ_INDEX, -1), 0);
	assert_int_equal(device_interrupt(&b, VFIO_PCI_MSI_IRQ_INDEX, -1), 0);
	close(from);
	close(to);
}

static void test_level_is_raised_again(void **state)
{
	int to = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void) state;
	device_write32(&a, RAISE, 2);
	assert_int_equal(device_interrupt(&b, VFIO_PCI_INTX_IRQ_INDEX, to), 0);
	move(&a, &b);
	assert_int_equal(take(to, WAIT_MS), 1);
	assert_int_equal(device_read32(&b, INTERRUPTS), 2);
	device_write32(&b, ACKNOWLEDGE, 2);
	assert_int_equal(device_read32(&b, INTERRUPTS), 0);
	assert_int_equal(device_interrupt(&b, VFIO_PCI_INTX_IRQ_INDEX, -1), 0);
	close(to);
}

/* --- streams --- */

/* A state without its end is not a state, wherever it was cut. */
static void test_truncated_stream(void **state)
{
	static const size_t cut[] = { 0, 1, 7, 8, 23, 24, 25, 31, 32, 4000, 4127, 4128, 4129, 4135, 4136 };
	size_t bytes;
	int fd, ignored;

	(void) state;
	device_write32(&a, LIVENESS, 1);
	bytes = device_save(&a, stream, sizeof(stream));
	for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]) + 9; i++) {
		size_t length = i < sizeof(cut) / sizeof(cut[0]) ? cut[i] :
				bytes - (i - sizeof(cut) / sizeof(cut[0])) - 1;

		assert_true(length < bytes);
		fd = device_session(&b, VF_VFIO_STATE_RESUMING);
		stream_write_all(fd, stream, length);
		assert_int_equal(device_set_state(&b, VF_VFIO_STATE_STOP, &ignored), -EINVAL);
		assert_int_equal(device_state(&b), VF_VFIO_STATE_RESUMING);
		stream_write_all(fd, stream + length, bytes - length);	/* the rest comes later */
		close(fd);
		device_to(&b, VF_VFIO_STATE_STOP);
		device_reset(&b);
	}
}

static void test_wrong_stream(void **state)
{
	static const size_t wrong[] = { 0, 4, 8, 12, 16, 24, 28, 4128, 4132, 4136 + 8, 4136 + 40 };
	size_t bytes;
	int fd, ignored;

	(void) state;
	bytes = device_save(&a, stream, sizeof(stream));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		stream[wrong[i]] ^= 0x40;
		fd = device_session(&b, VF_VFIO_STATE_RESUMING);
		(void) !write(fd, stream, bytes);
		if (device_set_state(&b, VF_VFIO_STATE_STOP, &ignored) != -EINVAL)
			fail_msg("byte %zu is wrong, and taken", wrong[i]);
		close(fd);
		device_reset(&b);
		stream[wrong[i]] ^= 0x40;
	}
	fd = device_session(&b, VF_VFIO_STATE_RESUMING);
	stream_write_all(fd, stream, bytes);
	assert_int_equal(write(fd, stream, 1), -1);	/* behind the end */
	assert_int_equal(errno, EINVAL);
	close(fd);
	device_reset(&b);
	fd = device_session(&b, VF_VFIO_STATE_RESUMING);
	(void) !write(fd, stream, bytes + 1);		/* with the end */
	assert_int_equal(device_set_state(&b, VF_VFIO_STATE_STOP, &ignored), -EINVAL);
	close(fd);
}

static void test_file_outlives_session(void **state)
{
	int saving, loading;

	(void) state;
	saving = device_session(&a, VF_VFIO_STATE_STOP_COPY);
	loading = device_session(&b, VF_VFIO_STATE_RESUMING);
	device_to(&a, VF_VFIO_STATE_RUNNING);
	device_reset(&b);
	assert_int_equal(read(saving, stream, 8), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(write(loading, stream, 8), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(pread(saving, stream, 8, 0), -1);
	assert_int_equal(errno, ESPIPE);
	close(saving);
	close(loading);
}

static struct vf_vfio_precopy_info precopy(int fd)
{
	struct vf_vfio_precopy_info info = { .argsz = sizeof(info) };

	assert_return_code(ioctl(fd, VF_VFIO_MIG_GET_PRECOPY_INFO, &info), errno);
	return info;
}

static size_t read_for_now(int fd, uint8_t *data, size_t room)
{
	size_t bytes = 0;
	ssize_t n;

	while ((n = read(fd, data + bytes, room - bytes)) > 0)
		bytes += (size_t) n;
	assert_int_equal(n, -1);
	assert_int_equal(errno, ENOMSG);
	return bytes;
}

static void test_pre_copy(void **state)
{
	struct vf_vfio_precopy_info info;
	uint64_t left = 0;
	size_t bytes;
	int fd, ignored;

	(void) state;
	if (!has_pre_copy()) {
		print_message("skipped: no PRE_COPY before Linux 6.2\n");
		skip();
	}
	fill_buffer(&a, 0, 100, 1);
	fd = device_session(&a, VF_VFIO_STATE_PRE_COPY);
	info = precopy(fd);
	assert_true(info.initial_bytes > PAGE);
	assert_int_equal(info.dirty_bytes, 0);
	assert_int_equal(read(fd, stream, 10), 10);
	assert_int_equal(precopy(fd).initial_bytes, info.initial_bytes - 10);
	bytes = 10 + read_for_now(fd, stream + 10, sizeof(stream) - 10);
	assert_int_equal(bytes, info.initial_bytes);
	assert_int_equal(precopy(fd).initial_bytes, 0);
	assert_int_equal(precopy(fd).dirty_bytes, 0);

	fill_buffer(&a, 0, 50, 200);		/* it works meanwhile, and changes what was read */
	assert_int_equal(precopy(fd).initial_bytes, 0);
	assert_true(precopy(fd).dirty_bytes > PAGE);
	assert_int_equal(read(fd, stream + bytes, 20), 20);
	bytes += 20;
	device_write32(&a, LIVENESS, 99);
	device_to(&a, VF_VFIO_STATE_PRE_COPY_P2P);
	device_to(&a, VF_VFIO_STATE_STOP_COPY);
	assert_int_equal(ioctl(fd, VF_VFIO_MIG_GET_PRECOPY_INFO, &info), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(device_feature(&a, VF_VFIO_FEATURE_MIG_DATA_SIZE | VF_VFIO_FEATURE_GET, &left,
					sizeof(left)), 0);
	assert_int_equal(stream_read_all(fd, stream + bytes, sizeof(stream) - bytes), left);
	assert_int_equal(read(fd, stream + bytes + left, 1), 0);
	close(fd);
	assert_int_equal(device_set_state(&a, VF_VFIO_STATE_RUNNING, &ignored), 0);

	device_load(&b, stream, bytes + left);
	device_to(&b, VF_VFIO_STATE_RUNNING);
	check_buffer(&b, 0, 50, 200);
	check_buffer(&b, 50, 50, (uint8_t) (1 + 50 * 7));
	assert_int_equal(device_read32(&b, LIVENESS), ~99u);
}

/* --- the log of DMA --- */

/* The only page that is dirty; -1: none. */
static int log_page(const struct device *device)
{
	static uint64_t bitmap[RAM_BYTES / PAGE / 64];
	int page = -1;

	memset(bitmap, 0, sizeof(bitmap));
	assert_int_equal(device_log_report(device, bitmap), 0);
	for (int i = 0; i < (int) (RAM_BYTES / PAGE); i++) {
		if (!(bitmap[i / 64] >> (i % 64) & 1))
			continue;
		assert_int_equal(page, -1);
		page = i;
	}
	return page;
}

static void test_log(void **state)
{
	(void) state;
	if (device_log_start(&a) == -ENOTTY) {
		print_message("skipped: this kernel has no IOMMUFD, and refuses each report of a log\n");
		skip();
	}
	assert_int_equal(device_log_start(&a), -EINVAL);
	fill_buffer(&a, 0, 64, 1);		/* reads RAM only */
	assert_int_equal(log_page(&a), -1);
	start_dma(&a, BUFFER, RAM_IOVA + 77 * PAGE + 8, 64, TO_RAM);
	assert_int_equal(log_page(&a), 77);	/* before it is written, maybe */
	wait_while(&a, COMMAND, RUN);
	assert_int_equal(log_page(&a), 77);	/* so it is told again */
	assert_int_equal(log_page(&a), -1);
	check_buffer(&a, 0, 64, 1);
	assert_int_equal(log_page(&a), 16);
	device_log_stop(&a);
	assert_int_equal(device_log_start(&a), 0);	/* a new one knows nothing of the old one */
	assert_int_equal(log_page(&a), -1);
	device_log_stop(&a);
}

/* --- the trapped page --- */

static void test_registers_are_trapped(void **state)
{
	struct vfio_device_ioeventfd eventfd_write = {
		.argsz = sizeof(eventfd_write),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.offset = a.bar0 + RAISE,
		.fd = -1,
	};
	uint8_t bytes[16];

	(void) state;
	assert_true(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, a.fd, (off_t) a.bar0) == MAP_FAILED);
	assert_true(mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, a.fd, (off_t) a.bar0) == MAP_FAILED);
	assert_true(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, a.fd, (off_t) a.bar0 + PAGE) != MAP_FAILED);
	assert_int_equal(ioctl(a.fd, VFIO_DEVICE_IOEVENTFD, &eventfd_write), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(pread(a.fd, bytes, 16, (off_t) a.bar0), 16);
	assert_int_equal(bytes[0], 0xed);
	assert_int_equal(pread(a.fd, bytes, 1, (off_t) a.bar0), 1);
	assert_int_equal(bytes[0], 0xff);	/* no register is so narrow */
}

static void test_dma_outside_of_the_buffer(void **state)
{
	static const struct {
		uint64_t at, bytes;
	} outside[] = {
		{ BUFFER - 1, 1 }, { BUFFER, 4096 }, { BUFFER + 4095, 1 }, { BUFFER + 4096, 1 }, { BUFFER, 0 },
		{ BUFFER, ~0ull }, { ~0ull, 2 }, { BUFFER + 8, ~0ull - BUFFER },
	};

	(void) state;
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		device_write64(&a, SOURCE, outside[i].at);
		device_write64(&a, TARGET, RAM_IOVA);
		device_write64(&a, COUNT, outside[i].bytes);
		device_write64(&a, COMMAND, TO_RAM | RUN);
		assert_int_equal(device_read64(&a, COMMAND) & RUN, 0);
	}
	fill_buffer(&a, 0, 64, 1);		/* it works on */
	check_buffer(&a, 0, 64, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_features, set_up),
		cmocka_unit_test_setup(test_arcs, set_up),
		cmocka_unit_test_setup(test_reset_leaves_nothing, set_up),
		cmocka_unit_test_setup(test_registers_move, set_up),
		cmocka_unit_test_setup(test_buffer_moves, set_up),
		cmocka_unit_test_setup(test_state_moves_with_memory_off, set_up),
		cmocka_unit_test_setup(test_dma_is_held_and_moves, set_up),
		cmocka_unit_test_setup(test_running_dma_is_waited_for, set_up),
		cmocka_unit_test_setup(test_stopped_device_does_not_change, set_up),
		cmocka_unit_test_setup(test_message_comes_once, set_up),
		cmocka_unit_test_setup(test_level_is_raised_again, set_up),
		cmocka_unit_test_setup(test_truncated_stream, set_up),
		cmocka_unit_test_setup(test_wrong_stream, set_up),
		cmocka_unit_test_setup(test_file_outlives_session, set_up),
		cmocka_unit_test_setup(test_pre_copy, set_up),
		cmocka_unit_test_setup(test_log, set_up),
		cmocka_unit_test_setup(test_registers_are_trapped, set_up),
		cmocka_unit_test_setup(test_dma_outside_of_the_buffer, set_up),
	};

	(void) setvbuf(stdout, NULL, _IOLBF, 0);
	if (!device_open_pci(&a, 0x1234, 0x11e8, 0, "edu_vfio_pci") ||
	    !device_open_pci(&b, 0x1234, 0x11e8, 1, "edu_vfio_pci")) {
		fprintf(stderr, "no two edu devices for edu_vfio_pci\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
