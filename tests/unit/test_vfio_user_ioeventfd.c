/* SPDX-License-Identifier: MIT */
/*
 * Writes that come by eventfd: who is offered what, in which order a device hears of them, and where
 * they are while it is stopped. The test is KVM: it writes to the eventfds.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "vfio-user/protocol.h"
#include "vfio-user/socket.h"
#include "vfio_user_fixture.h"

#define BAR VF_VFIO_PCI_BAR0_REGION
#define DOORBELL 0x70u

struct scene {
	struct fixture_device d;
	struct vf_vfio_user_client *client;
	struct vf_vfio_user_ioeventfd list[VF_VFIO_USER_MAX_IO_FDS];
	uint32_t count;
};

static void ask(struct scene *s)
{
	assert_int_equal(vf_vfio_user_client_get_ioeventfds(s->client, BAR, FIXTURE_BAR0_BYTES,
							    s->list, &s->count, NULL), 0);
}

static void forget(struct scene *s)
{
	while (s->count)
		close(s->list[--s->count].fd);
}

/* A device with a doorbell, and another for the value 5. */
static void begin(struct scene *s, const struct vf_vfio_user_client_options *options)
{
	const struct vf_vfio_user_ioeventfd_desc any = { BAR, DOORBELL, 4, false, 0 };
	const struct vf_vfio_user_ioeventfd_desc five = { BAR, DOORBELL + 8, 8, true, 5 };

	fixture_init(&s->d, NULL);
	assert_int_equal(vf_vfio_user_server_add_ioeventfd(s->d.server, &any, NULL), 0);
	assert_int_equal(vf_vfio_user_server_add_ioeventfd(s->d.server, &five, NULL), 0);
	assert_int_equal(fixture_connect(&s->d, options, &s->client), 0);
	ask(s);
}

static void end(struct scene *s)
{
	forget(s);
	vf_vfio_user_client_free(s->client);
	fixture_stop(&s->d);
	fixture_done(&s->d);
}

static void kick(const struct scene *s, uint32_t number, uint64_t count)
{
	assert_int_equal(eventfd_write(s->list[number].fd, count), 0);
}

static uint64_t kicks(struct scene *s, uint32_t number)
{
	return atomic_load(&s->d.kicks[number]);
}

static void wait_for_kicks(struct scene *s, uint32_t number, uint64_t wanted)
{
	uint64_t deadline = vf_now_ns() + 10 * VF_SECOND_NS;

	while (kicks(s, number) < wanted && vf_now_ns() < deadline)
		(void) usleep(200);
	assert_int_equal(kicks(s, number), wanted);
}

static void set_state(struct scene *s, enum vf_vfio_state state)
{
	assert_int_equal(vf_vfio_user_client_set_state(s->client, state, NULL), 0);
}

/* The server has done all that it had to do. */
static void settle(struct scene *s)
{
	enum vf_vfio_state state;

	assert_int_equal(vf_vfio_user_client_get_state(s->client, &state, NULL), 0);
}

static void offered(void **state)
{
	struct scene s;
	struct vf_vfio_user_ioeventfd_desc bad[] = {
		{ BAR, FIXTURE_BAR0_BYTES - 3, 4, false, 0 }, { BAR, 0, 3, false, 0 },
		{ BAR, 0, 0, false, 0 }, { BAR, 0, 16, false, 0 }, { BAR + 1, 0, 4, false, 0 },
		{ VF_VFIO_PCI_REGIONS, 0, 4, false, 0 }, { BAR, UINT64_MAX - 2, 4, false, 0 },
	};

	(void) state;
	begin(&s, NULL);
	assert_int_equal(s.count, 2);
	assert_int_equal(s.list[0].offset, DOORBELL);
	assert_int_equal(s.list[0].size, 4);
	assert_false(s.list[0].matches);
	assert_int_equal(s.list[1].offset, DOORBELL + 8);
	assert_int_equal(s.list[1].size, 8);
	assert_true(s.list[1].matches);
	assert_int_equal(s.list[1].match, 5);
	kick(&s, 1, 3);
	kick(&s, 0, 1);
	wait_for_kicks(&s, 0, 1);
	wait_for_kicks(&s, 1, 3);
	forget(&s);
	/* A region without any, and one that is not there. */
	assert_int_equal(vf_vfio_user_client_get_ioeventfds(s.client, VF_VFIO_PCI_CONFIG_REGION, 4096,
							    s.list, &s.count, NULL), 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(vf_vfio_user_client_get_ioeventfds(s.client, 77, 4096, s.list, &s.count,
							    NULL), 0);
	assert_int_equal(s.count, 0);
	end(&s);

	fixture_init(&s.d, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vf_vfio_user_server_add_ioeventfd(s.d.server, &bad[i], NULL),
				 -EINVAL);
	bad[0].offset = 0;
	for (uint32_t i = 0; i < VF_VFIO_USER_IOEVENTFDS; i++)
		assert_int_equal(vf_vfio_user_server_add_ioeventfd(s.d.server, &bad[0], NULL), 0);
	assert_int_equal(vf_vfio_user_server_add_ioeventfd(s.d.server, &bad[0], NULL), -ENOSPC);
	fixture_done(&s.d);
}

/* What a vCPU wrote first is done first: a kick, then a message. */
static void before_what_follows(void **state)
{
	struct scene s;
	uint8_t byte = 0;

	(void) state;
	begin(&s, NULL);
	for (uint64_t i = 1; i <= 500; i++) {
		kick(&s, 0, 1);
		if (i % 2) {
			assert_int_equal(vf_vfio_user_client_region_write(s.client, BAR, 0, &byte, 1,
									  NULL), 0);
			assert_int_equal(atomic_load(&s.d.kicks_at_write), i);
		} else {
			assert_int_equal(vf_vfio_user_client_region_read(s.client, BAR, 0, &byte, 1,
									 NULL), 0);
			assert_int_equal(atomic_load(&s.d.kicks_at_read), i);
		}
	}
	end(&s);
}

/* Kicks right before a stop are with the device when it has stopped; later ones wait for it to run. */
static void stop_and_go(struct scene *s)
{
	static const enum vf_vfio_state ways[][3] = {
		{ VF_VFIO_STATE_STOP, VF_VFIO_STATE_STOP_COPY, VF_VFIO_STATE_RUNNING },
		{ VF_VFIO_STATE_STOP_COPY, VF_VFIO_STATE_STOP, VF_VFIO_STATE_RUNNING_P2P },
		{ VF_VFIO_STATE_STOP, VF_VFIO_STATE_STOP, VF_VFIO_STATE_PRE_COPY },
	};
	uint64_t known = kicks(s, 0);

	for (int round = 0; round < 30; round++) {
		const enum vf_vfio_state *way = ways[round % 3];

		kick(s, 0, 7);
		known += 7;
		set_state(s, way[0]);
		assert_int_equal(kicks(s, 0), known);
		kick(s, 0, 2);
		set_state(s, way[1]);
		kick(s, 0, 1);
		settle(s);
		assert_int_equal(kicks(s, 0), known);
		set_state(s, way[2]);
		known += 3;
		wait_for_kicks(s, 0, known);
		set_state(s, VF_VFIO_STATE_RUNNING);
	}
	assert_int_equal(kicks(s, 0), known);
}

static void stopped_device(void **state)
{
	struct scene s;

	(void) state;
	begin(&s, NULL);
	stop_and_go(&s);
	end(&s);
}

static void stopped_slow_device(void **state)
{
	struct scene s;

	(void) state;
	begin(&s, NULL);
	atomic_store(&s.d.later, true);
	atomic_store(&s.d.later_ms, 1);
	stop_and_go(&s);
	end(&s);
}

/* A reset ends a life, and so does the state of another device. */
static void another_life(void **state)
{
	struct scene s;

	(void) state;
	begin(&s, NULL);
	set_state(&s, VF_VFIO_STATE_STOP);
	kick(&s, 0, 4);
	assert_int_equal(vf_vfio_user_client_reset(s.client, NULL), 0);
	settle(&s);
	assert_int_equal(kicks(&s, 0), 0);
	set_state(&s, VF_VFIO_STATE_STOP);
	kick(&s, 0, 4);
	set_state(&s, VF_VFIO_STATE_RESUMING);
	assert_int_equal(vf_vfio_user_client_reset(s.client, NULL), 0);
	settle(&s);
	assert_int_equal(kicks(&s, 0), 0);
	kick(&s, 0, 1);
	wait_for_kicks(&s, 0, 1);
	end(&s);
}

/* A lost device hears nothing. */
static void lost_device(void **state)
{
	struct scene s;

	(void) state;
	begin(&s, NULL);
	s.d.fail_to = VF_VFIO_STATE_STOP;
	s.d.lose = true;
	assert_int_equal(vf_vfio_user_client_set_state(s.client, VF_VFIO_STATE_STOP, NULL), -EIO);
	kick(&s, 0, 4);
	settle(&s);
	assert_int_equal(kicks(&s, 0), 0);
	end(&s);
}

/* What one client was given is of no use once it has gone, and can't make the device wait. */
static void another_client(void **state)
{
	struct scene s;
	uint64_t deadline = vf_now_ns() + 10 * VF_SECOND_NS;
	uint8_t byte = 0;
	int pair[2], old;

	(void) state;
	begin(&s, NULL);
	old = dup(s.list[0].fd);
	assert_int_equal(fcntl(old, F_SETFL, 0), 0);	/* whoever reads it waits ... */
	assert_int_equal(vf_vfio_user_client_region_read(s.client, BAR, 0, &byte, 1, NULL), 0);
	forget(&s);
	vf_vfio_user_client_free(s.client);
	while (!atomic_load(&s.d.lost_clients) && vf_now_ns() < deadline)
		(void) usleep(200);
	assert_int_equal(atomic_load(&s.d.lost_clients), 1);
	fixture_stop(&s.d);
	close(s.d.stop);
	s.d.stop = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vf_vfio_user_server_attach(s.d.server, pair[0], NULL), 0);
	fixture_start(&s.d);
	assert_int_equal(vf_vfio_user_client_attach(pair[1], "next", NULL, &s.client, NULL), 0);
	ask(&s);
	assert_int_equal(s.count, 2);
	assert_int_equal(eventfd_write(old, 9), 0);
	settle(&s);
	assert_int_equal(kicks(&s, 0), 0);
	kick(&s, 0, 2);
	wait_for_kicks(&s, 0, 2);
	close(old);
	end(&s);
}

/* --- servers that are not ours: all that they send is in the socket before the client comes --- */

static void put(int fd, uint16_t id, uint16_t command, uint32_t error, const void *body, size_t len,
		const int *fds, uint32_t fd_count)
{
	struct vf_vfio_user_header header = {
		.id = id, .command = command, .size = (uint32_t) (16 + len),
		.flags = error ? 0x21 : 1, .error = error,
	};
	uint8_t raw[16];
	struct iovec iov[2] = { { raw, 16 }, { (void *) (uintptr_t) body, len } };

	vf_vfio_user_put_header(raw, &header);
	assert_int_equal(vf_socket_send(fd, iov, 2, fds, fd_count, vf_now_ns() + VF_SECOND_NS), 0);
}

/* What the client makes of this answer about a region of 4096 bytes. */
static int hear(uint32_t error, const void *body, size_t len, const int *fds, uint32_t fd_count,
		uint32_t *ret_count)
{
	static const uint8_t version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8}}";
	struct vf_vfio_user_client_options options = { .size = sizeof(options), .timeout_ms = 2000 };
	struct vf_vfio_user_ioeventfd list[VF_VFIO_USER_MAX_IO_FDS];
	struct vf_vfio_user_client *client;
	uint32_t count = 0;
	int pair[2], ret;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	put(pair[1], 64, VF_VFIO_USER_VERSION, 0, version, sizeof(version), NULL, 0);
	put(pair[1], 129, VF_VFIO_USER_GET_REGION_IO_FDS, error, body, len, fds, fd_count);
	assert_int_equal(vf_vfio_user_client_attach(pair[0], "foreign", &options, &client, NULL), 0);
	ret = vf_vfio_user_client_get_ioeventfds(client, BAR, 4096, list, &count, NULL);
	if (!ret)
		*ret_count = count;
	for (uint32_t i = 0; !ret && i < count; i++)
		close(list[i].fd);
	assert_int_equal(vf_vfio_user_client_check_alive(client, NULL) != 0, ret != 0);
	vf_vfio_user_client_free(client);
	close(pair[1]);
	return ret;
}

static int hear_one(const struct vf_vfio_user_io_fd *span, uint32_t region, int fd,
		    uint32_t *ret_count)
{
	const struct vf_vfio_user_io_fds head = { .argsz = 56, .region = region, .count = 1 };
	uint8_t body[56];

	vf_vfio_user_put_io_fds(body, &head);
	vf_vfio_user_put_io_fd(body + 16, span);
	return hear(0, body, sizeof(body), &fd, fd >= 0, ret_count);
}

static int count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void foreign_servers(void **state)
{
	const struct vf_vfio_user_io_fd good = { .offset = 8, .size = 4 };
	struct vf_vfio_user_io_fd span;
	int event = eventfd(0, EFD_CLOEXEC), memory = memfd_create("m", MFD_CLOEXEC);
	int before = count_descriptors();
	uint32_t count = 99;

	(void) state;
	assert_int_equal(hear_one(&good, BAR, event, &count), 0);
	assert_int_equal(count, 1);
	/* Left out: another kind, a port, a flag that nobody knows, a value of no size. */
	for (uint32_t i = 0; i < 5; i++) {
		span = good;
		span.type = i < 2 ? VF_VFIO_USER_IOREGIONFD + i : VF_VFIO_USER_IOEVENTFD;
		span.flags = i == 2 ? VF_VFIO_USER_IOEVENTFD_PIO : i == 3 ? 1u << 7 : 0;
		if (i == 4) {
			span.size = 0;
			span.flags = VF_VFIO_USER_IOEVENTFD_DATAMATCH;
		}
		count = 99;
		assert_int_equal(hear_one(&span, BAR, event, &count), 0);
		assert_int_equal(count, 0);
	}
	/* Refused: none. */
	count = 99;
	assert_int_equal(hear(EINVAL, NULL, 0, NULL, 0, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(hear(EOPNOTSUPP, NULL, 0, NULL, 0, &count), 0);
	/* Lies: outside, of an odd size, no descriptor, not an eventfd, of another region, cut. */
	span = (struct vf_vfio_user_io_fd) { .offset = 4093, .size = 4 };
	assert_int_equal(hear_one(&span, BAR, event, &count), -EPROTO);
	span = (struct vf_vfio_user_io_fd) { .size = 3 };
	assert_int_equal(hear_one(&span, BAR, event, &count), -EPROTO);
	assert_int_equal(hear_one(&good, BAR, -1, &count), -EPROTO);
	assert_int_equal(hear_one(&good, BAR, memory, &count), -EPROTO);
	assert_int_equal(hear_one(&good, BAR + 1, event, &count), -EPROTO);
	span = good;
	span.fd_index = 1;
	assert_int_equal(hear_one(&span, BAR, event, &count), -EPROTO);
	assert_int_equal(hear(0, "abcdefghijklmno", 15, NULL, 0, &count), -EPROTO);
	assert_int_equal(count_descriptors(), before);
	close(event);
	close(memory);
}

/* One descriptor for two spans, of which the second is a lie: nothing is left behind. */
static void shared_descriptors(void **state)
{
	const struct vf_vfio_user_io_fds head = { .argsz = 96, .region = BAR, .count = 2 };
	struct vf_vfio_user_io_fd span = { .offset = 8, .size = 4 };
	int event = eventfd(0, EFD_CLOEXEC), before = count_descriptors();
	uint8_t body[96];
	uint32_t count = 0;

	(void) state;
	vf_vfio_user_put_io_fds(body, &head);
	vf_vfio_user_put_io_fd(body + 16, &span);
	span.offset = 16;
	vf_vfio_user_put_io_fd(body + 56, &span);
	assert_int_equal(hear(0, body, sizeof(body), &event, 1, &count), 0);
	assert_int_equal(count, 2);
	span.fd_index = 7;
	vf_vfio_user_put_io_fd(body + 56, &span);
	assert_int_equal(hear(0, body, sizeof(body), &event, 1, &count), -EPROTO);
	assert_int_equal(count_descriptors(), before);
	close(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offered),
		cmocka_unit_test(before_what_follows),
		cmocka_unit_test(stopped_device),
		cmocka_unit_test(stopped_slow_device),
		cmocka_unit_test(another_life),
		cmocka_unit_test(lost_device),
		cmocka_unit_test(another_client),
		cmocka_unit_test(foreign_servers),
		cmocka_unit_test(shared_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
