/* SPDX-License-Identifier: MIT */
/* vfio-user: our client against our server, over a socketpair and over a path. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "vfio-user/protocol.h"
#include "vfio_user_fixture.h"

#define IOVA 0x100000000ull

struct dma_memory {
	uint8_t bytes[4 * 4096];
	atomic_int reads, writes;
};

static int memory_read(void *user, uint64_t iova, void *to, size_t len)
{
	struct dma_memory *m = user;

	if (iova < IOVA || iova - IOVA > sizeof(m->bytes) || len > sizeof(m->bytes) - (iova - IOVA))
		return -EFAULT;
	memcpy(to, m->bytes + (iova - IOVA), len);
	atomic_fetch_add(&m->reads, 1);
	return 0;
}

static int memory_write(void *user, uint64_t iova, const void *from, size_t len)
{
	struct dma_memory *m = user;

	if (iova < IOVA || iova - IOVA > sizeof(m->bytes) || len > sizeof(m->bytes) - (iova - IOVA))
		return -EFAULT;
	memcpy(m->bytes + (iova - IOVA), from, len);
	atomic_fetch_add(&m->writes, 1);
	return 0;
}

static const struct vf_vfio_user_client_ops memory_ops = {
	.size = sizeof(memory_ops),
	.dma_read = memory_read,
	.dma_write = memory_write,
};

static void finish(struct fixture_device *d, struct vf_vfio_user_client *client)
{
	vf_vfio_user_client_free(client);
	fixture_stop(d);
	fixture_done(d);
}

static void describes_the_device(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	struct vf_vfio_device_info info;
	struct vf_vfio_user_region region;
	struct vf_vfio_irq_info irq;
	uint8_t *map;

	(void) state;
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	assert_true(vf_vfio_user_client_peer(client)->extensions);
	assert_true(vf_vfio_user_client_peer(client)->p2p);
	assert_int_equal(vf_vfio_user_client_peer(client)->max_msg_fds, 16);
	assert_int_equal(vf_vfio_user_client_get_info(client, &info, NULL), 0);
	assert_int_equal(info.num_regions, VF_VFIO_PCI_REGIONS);
	assert_int_equal(info.num_irqs, VF_VFIO_PCI_IRQS);
	assert_true(info.flags & VF_VFIO_DEVICE_FLAGS_RESET);

	assert_int_equal(vf_vfio_user_client_get_region(client, VF_VFIO_PCI_BAR0_REGION, &region,
							NULL), 0);
	assert_int_equal(region.size, FIXTURE_BAR0_BYTES);
	assert_true(region.flags & VF_VFIO_REGION_FLAG_MMAP);
	assert_true(region.sealed);
	assert_int_equal(region.area_count, 2);
	assert_int_equal(region.areas[0].offset, 0);	/* sorted */
	assert_int_equal(region.areas[1].offset, 8192);
	map = mmap(NULL, FIXTURE_BAR0_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	map[8192] = 0x5a;
	(void) munmap(map, FIXTURE_BAR0_BYTES);
	vf_vfio_user_region_done(&region);

	assert_int_equal(vf_vfio_user_client_get_region(client, VF_VFIO_PCI_CONFIG_REGION, &region,
							NULL), 0);
	assert_int_equal(region.fd, -1);
	assert_int_equal(region.area_count, 0);
	vf_vfio_user_region_done(&region);
	assert_int_equal(vf_vfio_user_client_get_region(client, 99, &region, NULL), -EINVAL);

	assert_int_equal(vf_vfio_user_client_get_irq_info(client, VF_VFIO_PCI_MSIX_IRQ, &irq, NULL),
			 0);
	assert_int_equal(irq.count, 40);
	assert_int_equal(vf_vfio_user_client_get_irq_info(client, 5, &irq, NULL), -EINVAL);
	finish(&d, client);
}

static void reads_and_writes_regions(void **state)
{
	struct vf_vfio_user_server_options options = {
		.size = sizeof(options), .max_data_xfer_bytes = 100,
	};
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	uint8_t out[1000], in[1000];

	(void) state;
	fixture_init(&d, &options);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	assert_int_equal(vf_vfio_user_client_peer(client)->max_data_xfer_bytes, 100);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t) (i * 13);
	/* Ten messages of 100 bytes each way. */
	assert_int_equal(vf_vfio_user_client_region_write(client, 0, 3, out, sizeof(out), NULL), 0);
	assert_int_equal(vf_vfio_user_client_region_read(client, 0, 3, in, sizeof(in), NULL), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_memory_equal(d.bar + 3, out, sizeof(out));
	/* Past the end, and a region that is not there. */
	assert_int_equal(vf_vfio_user_client_region_read(client, 0, FIXTURE_BAR0_BYTES - 1, in, 2,
							 NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_region_write(client, 3, 0, in, 1, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_region_read(client, 0, UINT64_MAX, in, 2, NULL),
			 -EINVAL);
	assert_int_equal(vf_vfio_user_client_check_alive(client, NULL), 0);
	finish(&d, client);
}

static uint64_t count_of(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	eventfd_t count = 0;

	if (poll(&p, 1, 0) == 1)
		(void) eventfd_read(fd, &count);
	return count;
}

static void set_level(struct vf_vfio_user_client *client, uint8_t level)
{
	assert_int_equal(vf_vfio_user_client_region_write(client, VF_VFIO_PCI_CONFIG_REGION, 0x104,
							  &level, 1, NULL), 0);
}

static void signals_interrupts(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	int fds[40], pipe_fds[2];

	(void) state;
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	for (int i = 0; i < 40; i++)
		fds[i] = i == 3 || i == 4 ? -1 : eventfd(0, EFD_CLOEXEC);
	/* 40 vectors with a hole, at most 16 descriptors in a message. */
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_MSIX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 40, fds, NULL), 0);
	assert_int_equal(vf_vfio_user_server_irq_trigger(d.server, VF_VFIO_PCI_MSIX_IRQ, 39), 1);
	assert_int_equal(vf_vfio_user_server_irq_trigger(d.server, VF_VFIO_PCI_MSIX_IRQ, 2), 1);
	assert_int_equal(vf_vfio_user_server_irq_trigger(d.server, VF_VFIO_PCI_MSIX_IRQ, 3), 0);
	assert_int_equal(vf_vfio_user_server_irq_trigger(d.server, VF_VFIO_PCI_MSIX_IRQ, 40), 0);
	assert_int_equal(count_of(fds[39]), 1);
	assert_int_equal(count_of(fds[2]), 1);
	assert_int_equal(count_of(fds[38]), 0);
	assert_true(vf_vfio_user_server_irq_connected(d.server, VF_VFIO_PCI_MSIX_IRQ, 0));
	assert_false(vf_vfio_user_server_irq_connected(d.server, VF_VFIO_PCI_MSIX_IRQ, 4));
	/* Beyond the count; masking what can't be masked; disabling all. */
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_MSIX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_TRIGGER, 39, 2, fds, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_MSIX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL, NULL), -ENOTTY);
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_MSIX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, NULL), 0);
	assert_false(vf_vfio_user_server_irq_connected(d.server, VF_VFIO_PCI_MSIX_IRQ, 0));
	/* A pipe is no eventfd: it could raise SIGPIPE in the device. */
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_MSIX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &pipe_fds[1], NULL), -EINVAL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);

	/* INTx: masks itself, comes again at the unmask while the line is up. */
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_INTX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fds[0], NULL), 0);
	set_level(client, 1);
	set_level(client, 1);
	assert_int_equal(count_of(fds[0]), 1);
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_INTX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, NULL), 0);
	assert_int_equal(count_of(fds[0]), 1);
	set_level(client, 0);
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_INTX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, NULL), 0);
	assert_int_equal(count_of(fds[0]), 0);
	/* An edge masks too; a second one is kept for the unmask, and only one. */
	assert_int_equal(vf_vfio_user_server_irq_trigger(d.server, VF_VFIO_PCI_INTX_IRQ, 0), 1);
	assert_int_equal(vf_vfio_user_server_irq_trigger(d.server, VF_VFIO_PCI_INTX_IRQ, 0), 0);
	assert_int_equal(count_of(fds[0]), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_INTX_IRQ,
				 VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, NULL), 0);
		assert_int_equal(count_of(fds[0]), !i);
	}
	/* The unmask by eventfd, as a resampling irqfd does it. */
	assert_int_equal(vf_vfio_user_client_set_irqs(client, VF_VFIO_PCI_INTX_IRQ,
				VF_VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &fds[1], NULL), 0);
	set_level(client, 1);
	assert_int_equal(count_of(fds[0]), 1);
	assert_int_equal(eventfd_write(fds[1], 1), 0);
	for (int i = 0; i < 1000; i++) {
		if (count_of(fds[0]) == 1)
			break;
		usleep(1000);
		assert_true(i < 999);
	}
	for (int i = 0; i < 40; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	finish(&d, client);
}

static uint64_t data_of(size_t i)
{
	return 0x0123456789abcdefull + i;
}

static void dma_by_mapping_and_log(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	struct vf_vfio_dma_log_range range = { .iova = IOVA, .length = 64 * 4096 };
	int fd = memfd_create("ram", MFD_CLOEXEC);
	uint64_t *ram, words[2] = { 0 }, page = 0, value;
	size_t len;

	(void) state;
	assert_int_equal(ftruncate(fd, 65 * 4096), 0);
	ram = mmap(NULL, 65 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	/* Two maps side by side, from the second page of the file on. */
	assert_int_equal(vf_vfio_user_client_dma_map(client, IOVA, 32 * 4096, true, fd, 4096, NULL),
			 0);
	assert_int_equal(vf_vfio_user_client_dma_map(client, IOVA + 32 * 4096, 32 * 4096, true, fd,
						     33 * 4096, NULL), 0);
	/* Overlapping, beyond the file, wrapping round. */
	assert_int_equal(vf_vfio_user_client_dma_map(client, IOVA + 4096, 4096, true, fd, 0, NULL),
			 -EEXIST);
	assert_int_equal(vf_vfio_user_client_dma_map(client, 0, 66 * 4096, true, fd, 0, NULL),
			 -EINVAL);
	assert_int_equal(vf_vfio_user_client_dma_map(client, -8192ull, 16384, true, fd, 0, NULL),
			 -EINVAL);
	value = data_of(0);
	d.dma_test_iova = IOVA + 32 * 4096 - 4;	/* across the two */
	assert_int_equal(vf_vfio_user_client_region_write(client, VF_VFIO_PCI_CONFIG_REGION, 0x100,
							  &value, 8, NULL), 0);
	assert_memory_equal((uint8_t *) ram + 33 * 4096 - 4, &value, 8);

	/* Not before start; the page size is the device's choice. */
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 4096, 4096, words, NULL),
			 -EINVAL);
	assert_int_equal(vf_vfio_user_client_dma_log_start(client, 512, &range, 1, &page, NULL), 0);
	assert_int_equal(page, 4096);
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 64 * 4096, 4096, words,
							    NULL), 0);
	assert_int_equal(words[0], 0);	/* what came before does not count */
	assert_int_equal(vf_vfio_user_server_dma_write(d.server, IOVA + 32 * 4096 - 4, &value, 8),
			 0);
	len = 4096;
	assert_non_null(vf_vfio_user_server_dma_get(d.server, IOVA + 63 * 4096 + 8, true, &len));
	assert_int_equal(len, 4088);
	vf_vfio_user_server_dma_dirty(d.server, IOVA + 63 * 4096 + 8, 1);
	vf_vfio_user_server_dma_put(d.server);
	/* A part of it first: read and clear of that part only. */
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA + 31 * 4096, 4096, 4096,
							    words, NULL), 0);
	assert_int_equal(words[0], 1);
	words[0] = 0;
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 64 * 4096, 4096, words,
							    NULL), 0);
	assert_true(words[0] == (1ull << 32 | 1ull << 63));
	words[0] = 0;
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 64 * 4096, 4096, words,
							    NULL), 0);
	assert_int_equal(words[0], 0);
	/* In larger pages. */
	vf_vfio_user_server_dma_dirty(d.server, IOVA + 17 * 4096, 4096);
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 64 * 4096, 16384, words,
							    NULL), 0);
	assert_int_equal(words[0], 1u << 4);
	assert_int_equal(vf_vfio_user_client_dma_log_stop(client, NULL), 0);
	/* Logged in larger pages than reported: a page counts until all of it was asked for. */
	assert_int_equal(vf_vfio_user_client_dma_log_start(client, 16384, NULL, 0, &page, NULL), 0);
	assert_int_equal(page, 16384);
	vf_vfio_user_server_dma_dirty(d.server, IOVA + 4096, 1);
	for (int i = 0; i < 2; i++) {
		words[0] = 0;
		assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 8192, 4096, words,
								    NULL), 0);
		assert_int_equal(words[0], 3);
	}
	words[0] = 0;
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 65536, 4096, words, NULL),
			 0);
	assert_int_equal(words[0], 15);
	words[0] = 0;
	assert_int_equal(vf_vfio_user_client_dma_log_report(client, IOVA, 65536, 4096, words, NULL),
			 0);
	assert_int_equal(words[0], 0);
	assert_int_equal(vf_vfio_user_client_dma_log_stop(client, NULL), 0);

	assert_int_equal(vf_vfio_user_client_dma_unmap(client, IOVA, 4096, NULL), -ENOENT);
	assert_int_equal(vf_vfio_user_client_dma_unmap(client, IOVA, 32 * 4096, NULL), 0);
	assert_int_equal(vf_vfio_user_server_dma_read(d.server, IOVA, &value, 8), -EFAULT);
	assert_int_equal(atomic_load(&d.maps), 2);
	assert_int_equal(atomic_load(&d.unmaps), 1);
	(void) munmap(ram, 65 * 4096);
	close(fd);
	finish(&d, client);
}

static void check_dma_by_message(bool twin)
{
	struct dma_memory memory = { .bytes = { 0 } };
	struct vf_vfio_user_client_options options = {
		.size = sizeof(options), .ops = &memory_ops, .user = &memory,
	};
	struct vf_vfio_user_server_options server = {
		.size = sizeof(server), .no_twin_socket = !twin,
	};
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	uint64_t value = data_of(1), back = 0;

	fixture_init(&d, &server);
	assert_int_equal(fixture_connect(&d, &options, &client), 0);
	assert_int_equal(vf_vfio_user_client_peer(client)->twin_socket, twin);
	assert_int_equal(vf_vfio_user_client_dma_map(client, IOVA, 4 * 4096, true, -1, 0, NULL), 0);
	d.dma_test_iova = IOVA + 4092;
	assert_int_equal(vf_vfio_user_client_region_write(client, VF_VFIO_PCI_CONFIG_REGION, 0x100,
							  &value, 8, NULL), 0);
	assert_memory_equal(memory.bytes + 4092, &value, 8);
	assert_int_equal(vf_vfio_user_client_region_read(client, VF_VFIO_PCI_CONFIG_REGION, 0x200,
							 &back, 8, NULL), 0);
	assert_true(back == value);
	assert_int_equal(atomic_load(&memory.reads), 1);
	/* Outside of what is mapped: never asked. */
	d.dma_test_iova = IOVA + 4 * 4096 - 4;
	assert_int_equal(vf_vfio_user_client_region_read(client, VF_VFIO_PCI_CONFIG_REGION, 0x200,
							 &back, 8, NULL), -EFAULT);
	/* From another thread than dispatch's: on the twin socket only. */
	assert_int_equal(vf_vfio_user_server_dma_read(d.server, IOVA + 4092, &back, 8),
			 twin ? 0 : -EOPNOTSUPP);
	finish(&d, client);
}

static void dma_by_message_twin(void **state)
{
	(void) state;
	check_dma_by_message(true);
}

static void dma_by_message_same_socket(void **state)
{
	(void) state;
	check_dma_by_message(false);
}

static void save_state(struct vf_vfio_user_client *client, struct fixture_device *d, uint8_t *image)
{
	size_t at = 0;

	for (;;) {
		ssize_t got = vf_vfio_user_client_mig_data_read(client, image + at, 1u << 20, NULL);

		assert_true(got >= 0);
		if (!got)
			break;
		at += (size_t) got;
		assert_true(at <= d->state_bytes);
	}
	assert_int_equal(at, d->state_bytes);
}

static void check_migration(bool later)
{
	struct fixture_device a, b;
	struct vf_vfio_user_client *source, *destination;
	struct vf_vfio_precopy_info info;
	enum vf_vfio_state now;
	uint64_t flags, size;
	uint8_t *image;

	fixture_init(&a, NULL);
	fixture_init(&b, NULL);
	a.seed = b.seed = 9;
	atomic_store(&a.later, later);
	atomic_store(&b.later, later);
	assert_int_equal(fixture_connect(&a, NULL, &source), 0);
	assert_int_equal(fixture_connect(&b, NULL, &destination), 0);
	assert_int_equal(vf_vfio_user_client_get_migration(source, &flags, NULL), 0);
	assert_int_equal(flags, 7);
	assert_int_equal(vf_vfio_user_client_get_state(source, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_RUNNING);
	assert_int_equal(vf_vfio_user_client_get_data_size(source, &size, NULL), 0);
	assert_int_equal(size, a.state_bytes);
	assert_int_equal(vf_vfio_user_client_get_precopy_info(source, &info, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_mig_data_read(source, &flags, 8, NULL), -EINVAL);

	assert_int_equal(vf_vfio_user_client_set_state(source, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(vf_vfio_user_client_get_precopy_info(source, &info, NULL), 0);
	assert_int_equal(info.initial_bytes, a.state_bytes);
	assert_int_equal(info.dirty_bytes, 5);
	assert_int_equal(info.flags, VF_VFIO_PRECOPY_INFO_REINIT);
	assert_int_equal(vf_vfio_user_client_set_state(source, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_string_equal(a.arcs, "2>6 6>7 7>3 ");
	image = malloc(a.state_bytes + (1u << 20));
	save_state(source, &a, image);

	assert_int_equal(vf_vfio_user_client_set_state(destination, VF_VFIO_STATE_RESUMING, NULL),
			 0);
	assert_int_equal(vf_vfio_user_client_mig_data_write(destination, image, a.state_bytes,
							    NULL), 0);
	assert_int_equal(vf_vfio_user_client_set_state(destination, VF_VFIO_STATE_RUNNING, NULL), 0);
	assert_string_equal(b.arcs, "2>5 5>1 1>4 4>1 1>5 5>2 ");
	assert_int_equal(vf_vfio_user_client_get_state(destination, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_RUNNING);
	/* No way back into saving, and none to ERROR or to what does not exist. */
	assert_int_equal(vf_vfio_user_client_set_state(source, VF_VFIO_STATE_PRE_COPY, NULL),
			 -EINVAL);
	assert_int_equal(vf_vfio_user_client_set_state(source, VF_VFIO_STATE_ERROR, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_set_state(source, (enum vf_vfio_state) 8, NULL),
			 -EINVAL);
	free(image);
	finish(&a, source);
	finish(&b, destination);
}

static void migrates(void **state)
{
	(void) state;
	check_migration(false);
}

static void migrates_with_a_slow_device(void **state)
{
	(void) state;
	check_migration(true);
}

static void migrates_through_the_shared_buffer(void **state)
{
	struct fixture_device a, b;
	struct vf_vfio_user_client *source, *destination;
	uint8_t *out, *in;
	size_t half = 1u << 20, offset = 0;
	void *map;
	int fd;

	(void) state;
	fixture_init(&a, NULL);
	fixture_init(&b, NULL);
	assert_int_equal(fixture_connect(&a, NULL, &source), 0);
	assert_int_equal(fixture_connect(&b, NULL, &destination), 0);
	assert_int_equal(vf_vfio_user_client_mig_buffer_open(source, 65ull << 20, &map, NULL, NULL),
			 -E2BIG);
	assert_int_equal(vf_vfio_user_client_mig_buffer_open(source, 4 * half, &map, &fd, NULL), 0);
	assert_int_equal(vf_vfio_user_client_mig_buffer_open(source, 2 * half, &map, &fd, NULL), 0);
	out = map;
	assert_int_equal(vf_vfio_user_client_mig_buffer_open(destination, half, &map, NULL, NULL),
			 0);
	in = map;
	assert_int_equal(vf_vfio_user_client_mig_buffer_read(source, 0, half, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_set_state(source, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(vf_vfio_user_client_set_state(destination, VF_VFIO_STATE_RESUMING, NULL),
			 0);
	for (;;) {
		ssize_t got = vf_vfio_user_client_mig_buffer_read(source, offset, half, NULL);

		assert_true(got >= 0);
		if (!got)
			break;
		memcpy(in, out + offset, (size_t) got);
		assert_int_equal(vf_vfio_user_client_mig_buffer_write(destination, 0, (size_t) got,
								      NULL), 0);
		offset ^= half;
	}
	assert_int_equal(vf_vfio_user_client_mig_buffer_read(source, half, half + 1, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_set_state(destination, VF_VFIO_STATE_STOP, NULL), 0);
	finish(&a, source);
	finish(&b, destination);
}

static void foreign_peers_lose_the_extension(void **state)
{
	struct vf_vfio_user_client_options plain = { .size = sizeof(plain), .no_extensions = true };
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	struct vf_vfio_precopy_info info;
	uint64_t flags, size;
	uint8_t data[8] = { VF_VFIO_STATE_RUNNING_P2P };
	void *map;

	(void) state;
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, &plain, &client), 0);
	assert_false(vf_vfio_user_client_peer(client)->extensions);
	assert_int_equal(vf_vfio_user_client_get_migration(client, &flags, NULL), 0);
	assert_int_equal(flags, VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_PRE_COPY);
	assert_int_equal(vf_vfio_user_client_get_data_size(client, &size, NULL), -EOPNOTSUPP);
	assert_int_equal(vf_vfio_user_client_get_precopy_info(client, &info, NULL), -EOPNOTSUPP);
	assert_int_equal(vf_vfio_user_client_mig_buffer_open(client, 4096, &map, NULL, NULL),
			 -EOPNOTSUPP);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_RUNNING_P2P, NULL),
			 -EINVAL);
	/* The server refuses it too, and its own walk still goes through P2P. */
	assert_int_equal(vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_MIG_DEVICE_STATE |
			 VF_VFIO_FEATURE_SET, data, 8, 8, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP, NULL), 0);
	assert_string_equal(d.arcs, "2>5 5>1 ");
	assert_int_equal(vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_MIG_DATA_SIZE |
			 VF_VFIO_FEATURE_PROBE | VF_VFIO_FEATURE_GET, NULL, 0, 0, NULL), -ENOTTY);
	finish(&d, client);
}

static void failed_arcs_and_lost_devices(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	enum vf_vfio_state now;

	(void) state;
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	(void) pthread_mutex_lock(&d.lock);
	d.fail_to = VF_VFIO_STATE_STOP_COPY;
	(void) pthread_mutex_unlock(&d.lock);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP_COPY, NULL), -EIO);
	assert_int_equal(vf_vfio_user_client_get_state(client, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_STOP);	/* as far as it got */
	(void) pthread_mutex_lock(&d.lock);
	d.lose = true;
	(void) pthread_mutex_unlock(&d.lock);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP_COPY, NULL), -EIO);
	assert_int_equal(vf_vfio_user_client_get_state(client, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_ERROR);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_RUNNING, NULL),
			 -EINVAL);
	assert_int_equal(vf_vfio_user_client_reset(client, NULL), 0);
	assert_int_equal(vf_vfio_user_client_get_state(client, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_RUNNING);
	assert_int_equal(atomic_load(&d.resets), 1);
	/* A partial image is refused where it is validated. */
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_RESUMING, NULL), 0);
	assert_int_equal(vf_vfio_user_client_mig_data_write(client, "abc", 3, NULL), 0);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP, NULL), -EINVAL);
	finish(&d, client);
}

/* --- many threads, one connection --- */

struct worker {
	struct vf_vfio_user_client *client;
	uint32_t slot;
	atomic_int *failures;
};

static void *hammer(void *arg)
{
	struct worker *w = arg;

	for (uint32_t i = 0; i < 400; i++) {
		uint64_t value = (uint64_t) w->slot << 32 | i, back = 0;

		if (vf_vfio_user_client_region_write(w->client, 0, w->slot * 8, &value, 8, NULL) ||
		    vf_vfio_user_client_region_read(w->client, 0, w->slot * 8, &back, 8, NULL) ||
		    back != value)
			atomic_fetch_add(w->failures, 1);
	}
	return NULL;
}

static void check_threads(bool with_listener)
{
	struct dma_memory memory = { .bytes = { 0 } };
	struct vf_vfio_user_client_options options = {
		.size = sizeof(options), .ops = &memory_ops, .user = &memory,
	};
	struct vf_vfio_user_server_options server = {
		.size = sizeof(server), .no_twin_socket = true, .migration_flags = 7,
	};
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	struct worker workers[8];
	pthread_t threads[8];
	atomic_int failures = 0;
	uint8_t *image;

	fixture_init(&d, &server);
	assert_int_equal(fixture_connect(&d, with_listener ? &options : NULL, &client), 0);
	image = malloc(d.state_bytes + (1u << 20));
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	for (uint32_t i = 0; i < 8; i++) {
		workers[i] = (struct worker) { client, i, &failures };
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &workers[i]), 0);
	}
	save_state(client, &d, image);
	for (size_t i = 0; i < d.state_bytes; i++)
		if (image[i] != fixture_byte(&d, i))
			fail_msg("byte %zu", i);
	for (uint32_t i = 0; i < 8; i++)
		(void) pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&failures), 0);
	free(image);
	finish(&d, client);
}

static void threads_share_a_connection(void **state)
{
	(void) state;
	check_threads(false);
}

static void threads_share_a_connection_with_a_listener(void **state)
{
	(void) state;
	check_threads(true);
}

static void *one_read(void *arg)
{
	uint32_t value;

	return (void *) (intptr_t) vf_vfio_user_client_region_read(arg, VF_VFIO_PCI_BAR0_REGION, 0,
								   &value, 4, NULL);
}

static void hung_server_times_out(void **state)
{
	struct vf_vfio_user_client_options options = { .size = sizeof(options), .timeout_ms = 100 };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	pthread_t thread;
	uint64_t before;
	uint32_t value;
	void *ret;

	(void) state;
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, &options, &client), 0);
	atomic_store(&d.hang_reads, 1);
	before = vf_now_ns();
	assert_int_equal(pthread_create(&thread, NULL, one_read, client), 0);
	assert_int_equal(vf_vfio_user_client_region_read(client, VF_VFIO_PCI_CONFIG_REGION, 0,
							 &value, 4, &err) < 0, 1);
	(void) pthread_join(thread, &ret);
	assert_true(vf_now_ns() - before < 2 * VF_SECOND_NS);
	assert_true(err.code == -ETIMEDOUT || err.code == -ENOTCONN);
	vferry_error_clear(&err);
	/* Dead from then on, at once, and it says why. */
	before = vf_now_ns();
	assert_int_equal(vf_vfio_user_client_region_read(client, 0, 0, &value, 4, &err), -ENOTCONN);
	assert_true(vf_now_ns() - before < 50 * VF_MS_NS);
	assert_non_null(strstr(err.message, "ETIMEDOUT"));
	assert_int_equal(vf_vfio_user_client_check_alive(client, NULL), -ENOTCONN);
	finish(&d, client);
}

static void transitions_may_take_longer(void **state)
{
	struct vf_vfio_user_client_options options = {
		.size = sizeof(options), .timeout_ms = 100, .transition_timeout_ms = 5000,
	};
	struct fixture_device d;
	struct vf_vfio_user_client *client;

	(void) state;
	fixture_init(&d, NULL);
	atomic_store(&d.later, true);
	atomic_store(&d.later_ms, 150);
	assert_int_equal(fixture_connect(&d, &options, &client), 0);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP, NULL), 0);
	vf_vfio_user_client_set_transition_timeout(client, 50);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_RUNNING, NULL),
			 -ETIMEDOUT);
	usleep(400 * 1000);	/* the device's threads end */
	finish(&d, client);
}

static void dead_server_is_noticed(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	uint32_t value;

	(void) state;
	fixture_init(&d, NULL);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	assert_int_equal(vf_vfio_user_client_check_alive(client, NULL), 0);
	fixture_stop(&d);
	fixture_done(&d);
	assert_int_equal(vf_vfio_user_client_check_alive(client, NULL), -ENOTCONN);
	assert_int_equal(vf_vfio_user_client_region_read(client, 0, 0, &value, 4, NULL), -ENOTCONN);
	vf_vfio_user_client_free(client);
}

static void listens_at_a_path(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client, *second;
	struct vferry_error err = VFERRY_ERROR_INIT;
	char dir[] = "/tmp/vferry-test.XXXXXX", path[64], deep[200];
	struct stat st;

	(void) state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	fixture_init(&d, NULL);
	assert_int_equal(vf_vfio_user_server_listen(d.server, path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fixture_start(&d);
	assert_int_equal(vf_vfio_user_client_connect(path, NULL, &client, NULL), 0);
	/* One at a time. */
	assert_int_equal(vf_vfio_user_client_connect(path, NULL, &second, &err), -ENOTCONN);
	assert_string_equal(err.id, "device-server-busy");
	vf_vfio_user_client_free(client);
	for (int i = 0; !atomic_load(&d.lost_clients); i++) {
		assert_true(i < 1000);
		usleep(1000);
	}
	assert_int_equal(vf_vfio_user_client_connect(path, NULL, &client, NULL), 0);
	finish(&d, client);
	assert_int_not_equal(stat(path, &st), 0);	/* removed */

	memset(deep, 'x', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(vf_vfio_user_client_connect(deep, NULL, &client, NULL), -ENAMETOOLONG);
	assert_int_equal(vf_vfio_user_client_connect(path, NULL, &client, NULL), -ENOENT);
	assert_int_equal(rmdir(dir), 0);
}

/* A VMM that was started anew comes at once, and the end of the old one may not have been noticed. */
static void the_next_one_need_not_wait(void **state)
{
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	struct vferry_error err = VFERRY_ERROR_INIT;
	char dir[] = "/tmp/vferry-test.XXXXXX", path[64];

	(void) state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	fixture_init(&d, NULL);
	assert_int_equal(vf_vfio_user_server_listen(d.server, path, NULL), 0);
	fixture_start(&d);
	for (int i = 0; i < 200; i++) {
		if (vf_vfio_user_client_connect(path, NULL, &client, &err))
			fail_msg("client %d: %s", i, err.message);
		if (i < 199)
			vf_vfio_user_client_free(client);
	}
	assert_int_equal(atomic_load(&d.lost_clients), 199);
	finish(&d, client);
	assert_int_equal(rmdir(dir), 0);
}

static void path_of_somebody_else_is_left_alone(void **state)
{
	struct fixture_device a, b;
	char dir[] = "/tmp/vferry-test.XXXXXX", path[64];
	FILE *file;

	(void) state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	fixture_init(&a, NULL);
	fixture_init(&b, NULL);
	assert_int_equal(vf_vfio_user_server_listen(a.server, path, NULL), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(vf_vfio_user_server_listen(a.server, path, NULL), 0);
	assert_int_equal(vf_vfio_user_server_listen(b.server, path, NULL), -EADDRINUSE);
	fixture_done(&a);
	fixture_done(&b);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(describes_the_device),
		cmocka_unit_test(reads_and_writes_regions),
		cmocka_unit_test(signals_interrupts),
		cmocka_unit_test(dma_by_mapping_and_log),
		cmocka_unit_test(dma_by_message_twin),
		cmocka_unit_test(dma_by_message_same_socket),
		cmocka_unit_test(migrates),
		cmocka_unit_test(migrates_with_a_slow_device),
		cmocka_unit_test(migrates_through_the_shared_buffer),
		cmocka_unit_test(foreign_peers_lose_the_extension),
		cmocka_unit_test(failed_arcs_and_lost_devices),
		cmocka_unit_test(threads_share_a_connection),
		cmocka_unit_test(threads_share_a_connection_with_a_listener),
		cmocka_unit_test(hung_server_times_out),
		cmocka_unit_test(transitions_may_take_longer),
		cmocka_unit_test(dead_server_is_noticed),
		cmocka_unit_test(listens_at_a_path),
		cmocka_unit_test(the_next_one_need_not_wait),
		cmocka_unit_test(path_of_somebody_else_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
