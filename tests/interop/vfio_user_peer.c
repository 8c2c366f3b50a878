/* SPDX-License-Identifier: MIT */
/*
 * vfio_user_peer.c - our end of vfio-user for test_libvfio_user.py:
 *
 *	vfio_user_peer migrate SOURCE DESTINATION   our client moves a sample device between two servers
 *	vfio_user_peer cancel SOCKET                our client cancels a pre-copy (sample gpio device)
 *	vfio_user_peer bar1 SOCKET                  prints the size of BAR1
 *	vfio_user_peer serve SOCKET                 our server as the sample client's device
 *	server -v SOCKET                            the same, under the name that client starts
 *
 * Each step prints a line; the first thing that is not as it should be ends the program with 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "timer_device.h"
#include "vfio-user/client.h"

#define PAGE 4096ull
#define RAM_PAGES 3u

struct guest {
	uint8_t *ram;		/* page 0: first mapping, pages 1 and 2: second */
	int ram_fd;
	atomic_int dma_writes, dma_reads;
	struct vf_vfio_user_client *client;
	int irq;
};

#define CHECK(condition) do { \
	if (!(condition)) \
		fail(__LINE__, #condition, &err); \
} while (0)

static _Noreturn void fail(int line, const char *what, const struct vferry_error *err)
{
	fprintf(stderr, "vfio_user_peer.c:%d: %s\n", line, what);
	if (err->code)
		fprintf(stderr, "  %s: %s\n", vferry_errno_name(err->code), err->message);
	exit(1);
}

static int dma_read(void *user, uint64_t iova, void *to, size_t len)
{
	struct guest *g = user;

	if (iova > RAM_PAGES * PAGE || len > RAM_PAGES * PAGE - iova)
		return -EFAULT;
	memcpy(to, g->ram + iova, len);
	atomic_fetch_add(&g->dma_reads, 1);
	return 0;
}

static int dma_write(void *user, uint64_t iova, const void *from, size_t len)
{
	struct guest *g = user;

	if (iova > RAM_PAGES * PAGE || len > RAM_PAGES * PAGE - iova)
		return -EFAULT;
	memcpy(g->ram + iova, from, len);
	atomic_fetch_add(&g->dma_writes, 1);
	return 0;
}

static const struct vf_vfio_user_client_ops ops = {
	.size = sizeof(ops), .dma_read = dma_read, .dma_write = dma_write,
};

static void connect_guest(struct guest *g, const char *path)
{
	struct vf_vfio_user_client_options options = {
		.size = sizeof(options), .ops = &ops, .user = g,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	const struct vf_vfio_user_peer *peer;

	g->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	CHECK(g->ram_fd >= 0 && !ftruncate(g->ram_fd, (off_t) (RAM_PAGES * PAGE)));
	g->ram = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, g->ram_fd, 0);
	CHECK(g->ram != MAP_FAILED);
	g->irq = eventfd(0, EFD_CLOEXEC);
	CHECK(!vf_vfio_user_client_connect(path, &options, &g->client, &err));
	peer = vf_vfio_user_client_peer(g->client);
	CHECK(!peer->extensions && !peer->p2p && !peer->mig_buffer_bytes);
	printf("connected: vfio-user %u.%u, twin socket %d, %u fds, %llu bytes a message\n",
	       peer->major, peer->minor, peer->twin_socket, peer->max_msg_fds,
	       (unsigned long long) peer->max_data_xfer_bytes);
}

static void attach_guest(struct guest *g)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	CHECK(!vf_vfio_user_client_dma_map(g->client, 0, PAGE, true, g->ram_fd, 0, &err));
	CHECK(!vf_vfio_user_client_dma_map(g->client, PAGE, 2 * PAGE, true, g->ram_fd, PAGE, &err));
	CHECK(!vf_vfio_user_client_set_irqs(g->client, VF_VFIO_PCI_INTX_IRQ,
					    VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &g->irq, &err));
}

static void set_timer(struct guest *g, unsigned int seconds)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t due[8];

	vf_put_u64(due, (uint64_t) time(NULL) + seconds);
	CHECK(!vf_vfio_user_client_region_write(g->client, 0, 0, due, 8, &err));
}

/* The interrupt, and then the sample's DMA: written to page 0 by messages, to page 1 directly. */
static void wait_interrupt(struct guest *g)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct pollfd p = { .fd = g->irq, .events = POLLIN };

	CHECK(poll(&p, 1, 15000) == 1);
	for (int i = 0; i < 5000 && !(atomic_load(&g->dma_writes) >= 4 &&
				      atomic_load(&g->dma_reads) >= 2); i++)
		usleep(1000);
	CHECK(atomic_load(&g->dma_writes) >= 4 && atomic_load(&g->dma_reads) >= 2);
	CHECK(g->ram[0] == 'A' && g->ram[PAGE - 1] == 'D');
	CHECK(g->ram[PAGE] == 'A' && g->ram[2 * PAGE - 1] == 'D' && g->ram[2 * PAGE] == 0);
	printf("interrupt, %d DMA writes and %d reads by message\n", atomic_load(&g->dma_writes),
	       atomic_load(&g->dma_reads));
}

static void check_dirty_log(struct guest *g)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t word = 0;

	CHECK(!vf_vfio_user_client_dma_log_report(g->client, PAGE, 2 * PAGE, PAGE, &word, &err));
	CHECK(word == 1);
	word = 0;
	CHECK(!vf_vfio_user_client_dma_log_report(g->client, PAGE, 2 * PAGE, PAGE, &word, &err));
	CHECK(word == 0);
	/* Part of a region, or more than one: refused, which a caller takes as all dirty. */
	CHECK(vf_vfio_user_client_dma_log_report(g->client, 2 * PAGE, PAGE, PAGE, &word, NULL) < 0);
	CHECK(vf_vfio_user_client_dma_log_report(g->client, 0, 3 * PAGE, PAGE, &word, NULL) < 0);
	CHECK(!vf_vfio_user_client_check_alive(g->client, &err));
	CHECK(!vf_vfio_user_client_dma_log_stop(g->client, &err));
	printf("dirty log: page 1 and no other\n");
}

static size_t drain(struct guest *g, uint8_t *image, size_t room)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	size_t at = 0;

	for (;;) {
		/* More than is there: the reply is padded, and only its size field is true. */
		ssize_t got = vf_vfio_user_client_mig_data_read(g->client, image + at, 5000, &err);

		CHECK(got >= 0);
		if (!got)
			return at;
		at += (size_t) got;
		CHECK(at + 5000 <= room);
	}
}

static void check_foreign(struct guest *g)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_precopy_info info;
	uint64_t flags, size;
	enum vf_vfio_state state;

	CHECK(!vf_vfio_user_client_get_migration(g->client, &flags, &err));
	CHECK(flags == (VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_PRE_COPY));
	CHECK(!vf_vfio_user_client_get_state(g->client, &state, &err));
	CHECK(state == VF_VFIO_STATE_RUNNING);
	CHECK(vf_vfio_user_client_get_data_size(g->client, &size, NULL) == -EOPNOTSUPP);
	CHECK(vf_vfio_user_client_get_precopy_info(g->client, &info, NULL) == -EOPNOTSUPP);
	CHECK(vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_RUNNING_P2P, NULL) == -EINVAL);
}

static size_t check_bar1(struct guest *g)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_user_region region;
	uint8_t *map, byte;
	size_t size;

	CHECK(!vf_vfio_user_client_get_region(g->client, 1, &region, &err));
	CHECK(region.fd >= 0 && region.area_count == 2 && !region.sealed);
	size = region.size;
	/* What is written through the mapping is read through the socket. */
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
		   (off_t) (region.fd_offset + region.areas[0].offset));
	CHECK(map != MAP_FAILED);
	map[0] = 0x5a;
	CHECK(!vf_vfio_user_client_region_read(g->client, 1, region.areas[0].offset, &byte, 1,
					       &err));
	CHECK(byte == 0x5a);
	(void) munmap(map, PAGE);
	vf_vfio_user_region_done(&region);
	printf("BAR1: %zu bytes, two mappable areas\n", size);
	return size;
}

static void close_guest(struct guest *g)
{
	vf_vfio_user_client_free(g->client);
	(void) munmap(g->ram, RAM_PAGES * PAGE);
	close(g->ram_fd);
	close(g->irq);
}

static size_t save(struct guest *g, size_t bar1, uint8_t *image, size_t room)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t pattern[PAGE];
	size_t got;

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t) (i * 11 + 3);
	CHECK(!vf_vfio_user_client_region_write(g->client, 1, 0, pattern, sizeof(pattern), &err));
	set_timer(g, 3);
	CHECK(!vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_PRE_COPY, &err));
	got = drain(g, image, room);
	CHECK(got == bar1);
	CHECK(!vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_STOP_COPY, &err));
	got = drain(g, image, room);
	CHECK(got == bar1 + 8);
	CHECK(!memcmp(image, pattern, sizeof(pattern)));
	CHECK(!vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_STOP, &err));
	printf("saved %zu bytes\n", got);
	return got;
}

static void load(struct guest *g, const uint8_t *image, size_t len)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t page[PAGE];

	CHECK(!vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_RESUMING, &err));
	for (size_t at = 0; at < len; at += 1000)
		CHECK(!vf_vfio_user_client_mig_data_write(g->client, image + at, len - at < 1000 ?
							  len - at : 1000, &err));
	CHECK(!vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_STOP, &err));
	CHECK(!vf_vfio_user_client_region_read(g->client, 1, 0, page, sizeof(page), &err));
	CHECK(!memcmp(page, image, sizeof(page)));
	CHECK(!vf_vfio_user_client_set_state(g->client, VF_VFIO_STATE_RUNNING, &err));
	printf("loaded %zu bytes, running\n", len);
}

static int migrate(const char *from, const char *to)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct guest source = { 0 }, destination = { 0 };
	struct vf_vfio_device_info info;
	uint8_t *image = malloc(1 << 20);
	uint64_t page;
	size_t bar1, len;

	CHECK(image);
	connect_guest(&source, from);
	CHECK(!vf_vfio_user_client_get_info(source.client, &info, &err));
	CHECK(info.num_regions == VF_VFIO_PCI_REGIONS && info.num_irqs == VF_VFIO_PCI_IRQS);
	check_foreign(&source);
	bar1 = check_bar1(&source);
	attach_guest(&source);
	CHECK(!vf_vfio_user_client_dma_log_start(source.client, PAGE, NULL, 0, &page, &err));
	CHECK(page == PAGE);
	set_timer(&source, 1);
	wait_interrupt(&source);
	check_dirty_log(&source);
	len = save(&source, bar1, image, 1 << 20);
	connect_guest(&destination, to);
	load(&destination, image, len);
	attach_guest(&destination);
	wait_interrupt(&destination);
	CHECK(!vf_vfio_user_client_dma_unmap(destination.client, 0, PAGE, &err));
	close_guest(&source);
	close_guest(&destination);
	free(image);
	return 0;
}

/* The sample gpio device aborts on reads of other than 64 bytes, so none are made. */
static int cancel(const char *path)
{
	static const enum vf_vfio_state way[] = {
		VF_VFIO_STATE_PRE_COPY, VF_VFIO_STATE_RUNNING, VF_VFIO_STATE_PRE_COPY,
		VF_VFIO_STATE_STOP_COPY, VF_VFIO_STATE_STOP, VF_VFIO_STATE_RUNNING,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct guest g = { 0 };
	uint8_t data[64];

	connect_guest(&g, path);
	check_foreign(&g);
	for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
		enum vf_vfio_state now;

		CHECK(!vf_vfio_user_client_set_state(g.client, way[i], &err));
		CHECK(!vf_vfio_user_client_get_state(g.client, &now, &err));
		CHECK(now == way[i]);
		if (i == 0)
			CHECK(vf_vfio_user_client_mig_data_read(g.client, data, sizeof(data),
								&err) >= 0);
		/* STOP_COPY back to PRE_COPY is no way; the state stays. */
		if (way[i] == VF_VFIO_STATE_STOP_COPY)
			CHECK(vf_vfio_user_client_set_state(g.client, VF_VFIO_STATE_PRE_COPY,
							    NULL) == -EINVAL);
	}
	/* ERROR is never entered there, and reset works in RUNNING. */
	CHECK(!vf_vfio_user_client_reset(g.client, &err));
	close_guest(&g);
	printf("cancelled, then stopped and running again\n");
	return 0;
}

static int print_bar1(const char *path)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vfio_user_client *client;
	struct vf_vfio_user_region region;

	CHECK(!vf_vfio_user_client_connect(path, NULL, &client, &err));
	CHECK(!vf_vfio_user_client_get_region(client, 1, &region, &err));
	printf("%llu\n", (unsigned long long) region.size);
	vf_vfio_user_region_done(&region);
	vf_vfio_user_client_free(client);
	return 0;
}

int main(int argc, char **argv)
{
	int i = argc > 1 && !strcmp(argv[1], "-v") ? 2 : 1;

	setlinebuf(stdout);
	if (!strcmp(basename(argv[0]), "server") && argc == i + 1)
		return timer_device_run(argv[i]) ? 1 : 0;
	if (argc == 4 && !strcmp(argv[1], "migrate"))
		return migrate(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "cancel"))
		return cancel(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "bar1"))
		return print_bar1(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return timer_device_run(argv[2]) ? 1 : 0;
	fprintf(stderr, "usage: vfio_user_peer migrate SOURCE DESTINATION | cancel SOCKET | "
		"bar1 SOCKET | serve SOCKET\n");
	return 2;
}
