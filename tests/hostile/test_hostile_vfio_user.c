/* SPDX-License-Identifier: MIT */
/*
 * hostile vfio-user: a client that lies to our server about every offset, count, index, size and
 * descriptor, and a server that sends our client commands it should not. Both sides answer with an
 * error or hang up, go on serving whoever comes next, close what they were given, and allocate nothing
 * that was only announced.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "../unit/vfio_user_fixture.h"
#include "base/clock.h"
#include "memory.h"
#include "vfio-user/protocol.h"
#include "vfio-user/socket.h"

#define DEADLINE (vf_now_ns() + 5 * VF_SECOND_NS)
/* What an end of a connection may take for one message: 1 MiB of data, and its head; sent and received. */
#define MESSAGE_MOST (3u << 20)

static const uint64_t edges[] = {
	0, 1, 3, 4, 7, 8, 255, 4095, 4096, 4097, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff,
	0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xfffffffffffffffc,
	0xffffffffffffffff,
};
#define EDGES (sizeof(edges) / sizeof(*edges))

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void) closedir(dir);
	return n;
}

/* ---- a client by hand, against our server ---- */

struct liar {
	struct fixture_device device;
	int fd;
};

static int hear(int fd)
{
	struct vf_vfio_user_header header;
	struct vf_vfio_user_fds fds = { .count = 0 };
	static uint8_t waste[2 << 20];
	uint8_t raw[16];
	int ret = -1;

	if (!vf_socket_receive(fd, raw, 16, &fds, DEADLINE) &&
	    !vf_vfio_user_get_header(raw, &header) && header.size - 16 <= sizeof(waste) &&
	    !vf_socket_receive(fd, waste, header.size - 16, &fds, DEADLINE))
		ret = (int) header.error;
	vf_fds_done(&fds);
	return ret;
}

static void say(int fd, uint16_t command, uint32_t size, const void *body, size_t bytes,
		const int *fds, uint32_t fd_count)
{
	struct vf_vfio_user_header header = {
		.id = 7, .command = command, .size = size ? size : (uint32_t) (16 + bytes),
	};
	uint8_t raw[16];
	struct iovec iov[2] = { { raw, 16 }, { (void *) body, bytes } };

	vf_vfio_user_put_header(raw, &header);
	(void) vf_socket_send(fd, iov, bytes ? 2 : 1, fds, fd_count, DEADLINE);
}

static int ask(struct liar *l, uint16_t command, const void *body, size_t bytes)
{
	say(l->fd, command, 0, body, bytes, NULL, 0);
	return hear(l->fd);
}

static void dial(struct liar *l)
{
	static const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,\"vferry\":"
		"{\"version\":1,\"p2p\":true,\"precopy_info\":true,\"mig_data_size\":true,"
		"\"mig_buffer_bytes\":1048576}}}";
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vf_vfio_user_server_attach(l->device.server, pair[0], NULL), 0);
	l->fd = pair[1];
	fixture_start(&l->device);
	assert_int_equal(ask(l, VF_VFIO_USER_VERSION, version, sizeof(version)), 0);
}

static void hang_up(struct liar *l)
{
	eventfd_t stopped;

	(void) close(l->fd);
	fixture_stop(&l->device);
	(void) eventfd_read(l->device.stop, &stopped);	/* it may be started again */
	for (unsigned i = 0; i < 8; i++)	/* it hears of it */
		(void) vf_vfio_user_server_dispatch(l->device.server, NULL);
}

static void begin(struct liar *l)
{
	fixture_init(&l->device, NULL);
	dial(l);
	memory_use_reset();
}

static void end(struct liar *l)
{
	struct memory_use use = memory_use_get();

	hang_up(l);
	fixture_done(&l->device);
	if (use.peak > MESSAGE_MOST)
		fail_msg("%zu bytes of memory, %zu in one piece", use.peak, use.largest);
}

/* It lives, and its device is as it was. */
static void expect_alive(struct liar *l)
{
	uint8_t body[16] = { 0 };

	vf_put_u32(body, 16);
	assert_int_equal(ask(l, VF_VFIO_USER_GET_INFO, body, sizeof(body)), 0);
}

static void regions_end_where_they_end(void **state)
{
	struct liar l;

	(void) state;
	begin(&l);
	for (unsigned o = 0; o < EDGES; o++) {
		for (unsigned c = 0; c < EDGES && edges[c] <= UINT32_MAX; c++) {
			for (uint32_t region = 0; region < 11; region++) {
				struct vf_vfio_user_access access = {
					.address = edges[o], .count = (uint32_t) edges[c],
					.region = region < 10 ? region : UINT32_MAX,
				};
				uint64_t size = region == VF_VFIO_PCI_CONFIG_REGION
							? FIXTURE_CONFIG_BYTES
							: region == 0 ? FIXTURE_BAR0_BYTES : 0;
				bool inside = access.count && access.address < size &&
					      access.count <= size - access.address;
				uint8_t body[16];
				int ret;

				if (region == VF_VFIO_PCI_CONFIG_REGION && inside)
					continue;	/* does things of its own */
				vf_vfio_user_put_region_access(body, &access);
				ret = ask(&l, VF_VFIO_USER_REGION_READ, body, sizeof(body));
				if (!ret != inside)
					fail_msg("read of %u at %llx in region %u: %d", access.count,
						 (unsigned long long) access.address, region, ret);
				if (access.count > 4096)
					continue;
				/* A write whose data do not come along. */
				ret = ask(&l, VF_VFIO_USER_REGION_WRITE, body, sizeof(body));
				if (!ret)
					fail_msg("write of %u bytes that are not there", access.count);
			}
		}
	}
	expect_alive(&l);
	end(&l);
}

static void maps_and_unmaps(void **state)
{
	int file = memfd_create("m", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct liar l;

	(void) state;
	assert_int_equal(ftruncate(file, 8192), 0);
	assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	begin(&l);
	for (unsigned a = 0; a < EDGES; a++) {
		for (unsigned b = 0; b < EDGES; b++) {
			for (unsigned which = 0; which < 3; which++) {
				struct vf_vfio_user_dma_map map = {
					.flags = 3, .fd_offset = which == 0 ? edges[a] : 0,
					.iova = which == 1 ? edges[a] : 0, .size = edges[b],
				};
				bool wraps = map.size > UINT64_MAX - map.iova,
				     beyond = map.fd_offset > 8192 || map.size > 8192 - map.fd_offset;
				uint8_t body[32] = { 0 };
				int ret;

				vf_vfio_user_put_dma_map(body, &map);
				say(l.fd, VF_VFIO_USER_DMA_MAP, 0, body, sizeof(body), &file,
				    which < 2);
				ret = hear(l.fd);
				if (ret < 0)
					fail_msg("it hung up");
				if (!ret && (wraps || !map.size || (which < 2 && beyond)))
					fail_msg("mapped %llx at %llx of %llx",
						 (unsigned long long) map.size,
						 (unsigned long long) map.iova,
						 (unsigned long long) map.fd_offset);
				vf_put_u32(body, 24);
				vf_put_u32(body + 4, 0);
				vf_put_u64(body + 8, map.iova);
				vf_put_u64(body + 16, map.size);
				assert_int_equal(ask(&l, VF_VFIO_USER_DMA_UNMAP, body, 24) == 0,
						 ret == 0);
			}
		}
	}
	expect_alive(&l);
	end(&l);
	(void) close(file);
}

static void interrupts_of_nobody(void **state)
{
	struct liar l;

	(void) state;
	begin(&l);
	for (unsigned s = 0; s < EDGES && edges[s] <= UINT32_MAX; s++)
		for (unsigned c = 0; c < EDGES && edges[c] <= UINT32_MAX; c++)
			for (uint32_t index = 0; index < 6; index++) {
				struct vf_vfio_irq_set set = {
					.argsz = 20, .index = index, .start = (uint32_t) edges[s],
					.count = (uint32_t) edges[c],
					.flags = VF_VFIO_IRQ_SET_DATA_NONE |
						 VF_VFIO_IRQ_SET_ACTION_TRIGGER,
				};
				uint32_t most = index == VF_VFIO_PCI_INTX_IRQ ? 1
						: index == VF_VFIO_PCI_MSIX_IRQ ? 40 : 0;
				uint8_t body[20];

				vf_vfio_user_put_irq_set(body, &set);
				if (!ask(&l, VF_VFIO_USER_SET_IRQS, body, sizeof(body)) &&
				    (uint64_t) set.start + set.count > most)
					fail_msg("%u from %u of index %u", set.count, set.start, index);
			}
	expect_alive(&l);
	end(&l);
}

/* Descriptors with every command, of which hardly any wants one: none stays open. */
static void descriptors_are_closed(void **state)
{
	int file = memfd_create("x", MFD_CLOEXEC), fds[8];
	unsigned before;
	struct liar l;

	(void) state;
	for (unsigned i = 0; i < 8; i++)
		fds[i] = file;
	begin(&l);
	expect_alive(&l);
	before = count_descriptors();
	for (uint16_t command = 2; command < 24; command++) {
		uint8_t body[64] = { 0 };

		for (uint32_t bytes = 0; bytes <= sizeof(body); bytes += 8) {
			say(l.fd, command, 0, body, bytes, fds, 8);
			if (hear(l.fd) >= 0)
				continue;
			hang_up(&l);
			dial(&l);
		}
	}
	expect_alive(&l);
	assert_int_equal(count_descriptors(), before);
	end(&l);
	(void) close(file);
}

/* Sizes in the header: too small for itself, or far more than was agreed on. */
static void messages_of_any_size(void **state)
{
	static const uint32_t sizes[] = { 1, 15, 17, 1 << 20, 64 << 20, 0x7fffffff, 0xffffffff };
	struct liar l;

	(void) state;
	begin(&l);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		say(l.fd, VF_VFIO_USER_GET_INFO, sizes[i], NULL, 0, NULL, 0);
		(void) shutdown(l.fd, SHUT_WR);
		assert_int_not_equal(hear(l.fd), 0);
		hang_up(&l);
		dial(&l);
	}
	expect_alive(&l);
	end(&l);
}

/* ---- a server by hand, against our client ---- */

static atomic_uint asked, asked_wrong;

/* RAM of one page at 0. */
static int dma_read(void *user, uint64_t address, void *to, size_t bytes)
{
	(void) user;
	asked++;
	if (bytes > 1 << 20)
		asked_wrong++;
	if (bytes > 4096 || address > 4096 - bytes)
		return -EFAULT;
	memset(to, 0x5a, bytes);
	return 0;
}

static int dma_write(void *user, uint64_t address, const void *from, size_t bytes)
{
	(void) user;
	(void) from;
	asked++;
	return bytes > 4096 || address > 4096 - bytes ? -EFAULT : 0;
}

struct server {
	int fd;
	pthread_t thread;
	atomic_uint refused, granted;
	int attached;		/* descriptor that goes along, or -1 */
};

static void greet(struct server *s)
{
	static const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8}}";
	struct vf_vfio_user_header header;
	static uint8_t waste[65536];
	uint8_t raw[16];
	struct iovec iov[2] = { { raw, 16 }, { (void *) version, sizeof(version) } };

	assert_int_equal(vf_socket_receive(s->fd, raw, 16, NULL, DEADLINE), 0);
	assert_int_equal(vf_vfio_user_get_header(raw, &header), 0);
	assert_int_equal(vf_socket_receive(s->fd, waste, header.size - 16, NULL, DEADLINE), 0);
	header.flags = 1;
	header.size = 16 + sizeof(version);
	vf_vfio_user_put_header(raw, &header);
	assert_int_equal(vf_socket_send(s->fd, iov, 2, NULL, 0, DEADLINE), 0);
}

static void *lie(void *user)
{
	struct server *s = user;

	greet(s);
	for (unsigned a = 0; a < EDGES; a++) {
		for (unsigned c = 0; c < EDGES; c++) {
			for (uint16_t command = 1; command < 20; command++) {
				uint8_t body[24] = { 0 };
				int ret;

				if (command != VF_VFIO_USER_DMA_READ &&
				    command != VF_VFIO_USER_DMA_WRITE && (a || c))
					continue;
				vf_put_u64(body, edges[a]);
				vf_put_u64(body + 8, edges[c]);
				say(s->fd, command, 0, body, command % 2 ? 16 : 24, &s->attached,
				    s->attached >= 0);
				ret = hear(s->fd);
				if (ret < 0)
					return NULL;
				if (ret)
					s->refused++;
				else
					s->granted++;
			}
		}
	}
	(void) shutdown(s->fd, SHUT_RDWR);
	return NULL;
}

static void commands_from_a_server(void **state)
{
	static const struct vf_vfio_user_client_ops ops = {
		.size = sizeof(ops), .dma_read = dma_read, .dma_write = dma_write,
	};
	struct vf_vfio_user_client_options options = { .size = sizeof(options), .ops = &ops };
	struct vf_vfio_user_client *client;
	struct vf_vfio_device_info info;
	struct server s = { .attached = memfd_create("x", MFD_CLOEXEC) };
	unsigned before = count_descriptors();
	int pair[2];

	(void) state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = pair[1];
	memory_use_reset();
	assert_int_equal(pthread_create(&s.thread, NULL, lie, &s), 0);
	assert_int_equal(vf_vfio_user_client_attach(pair[0], "liar", &options, &client, NULL), 0);
	(void) vf_vfio_user_client_get_info(client, &info, NULL);	/* never answered */
	(void) pthread_join(s.thread, NULL);
	/* DMA_READ of what is there, and nothing else. */
	assert_int_equal(s.refused + s.granted, 2 * EDGES * EDGES + 17);
	assert_true(s.granted > 0 && s.refused > 10 * s.granted);
	assert_int_equal(asked_wrong, 0);
	assert_true(memory_use_get().peak < MESSAGE_MOST);
	vf_vfio_user_client_free(client);
	(void) close(pair[1]);
	assert_int_equal(count_descriptors(), before);
	(void) close(s.attached);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_end_where_they_end),
		cmocka_unit_test(maps_and_unmaps),
		cmocka_unit_test(interrupts_of_nobody),
		cmocka_unit_test(descriptors_are_closed),
		cmocka_unit_test(messages_of_any_size),
		cmocka_unit_test(commands_from_a_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
