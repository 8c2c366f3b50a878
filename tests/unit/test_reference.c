/* SPDX-License-Identifier: MIT */
/* test_reference.c - guest memory that is handed to the kernel instead of being copied. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checked.h"
#include "transfer/channel.h"
#include "wire/frame.h"

#define GUEST_BYTES (4u << 20)
#define BODY_MAX (8u << 20)

static uint8_t *guest;

static int set_up(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	(void) state;
	if (fd < 0 || ftruncate(fd, GUEST_BYTES))
		return -1;
	guest = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void) close(fd);
	if (guest == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < GUEST_BYTES; i++)
		guest[i] = (uint8_t) (i * 31 + (i >> 12));
	return 0;
}

static int tear_down(void **state)
{
	(void) state;
	return munmap(guest, GUEST_BYTES);
}

static void make_unix(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void make_tcp(int fds[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(at);

	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *) &at, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *) &at, &length), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *) &at, length), 0);
	fds[1] = accept(listener, NULL, NULL);
	assert_true(fds[1] >= 0);
	assert_int_equal(close(listener), 0);
}

static struct vf_channel *channel_of(int fd)
{
	struct vf_channel *channel;

	assert_int_equal(vf_channel_from_fd(fd, "a", &channel, NULL), 0);
	vf_channel_send_by_reference(channel);
	return channel;
}

/* One frame: its header, and @count parts of guest memory or of something else. */
static int send_parts(struct vf_channel *channel, const struct iovec *parts, size_t count)
{
	struct vf_outgoing out = { .frame = { .type = VF_FRAME_PAGES,
					      .component = VF_NO_COMPONENT } };
	struct iovec iov[8] = { { out.header, sizeof(out.header) } };

	for (size_t i = 0; i < count; i++) {
		iov[1 + i] = parts[i];
		out.frame.length += (uint32_t) parts[i].iov_len;
	}
	return vf_channel_send_vector(channel, &out, 1, iov, 1 + count, true, NULL);
}

/* Until it fails: more than any socket's buffer takes. */
static int send_on(struct vf_channel *channel)
{
	const struct iovec part = { guest, 1 << 20 };
	int ret = 0;

	for (int i = 0; i < 64 && !ret; i++)
		ret = send_parts(channel, &part, 1);
	return ret;
}

struct reader {
	int fd;
	uint8_t *data;
	size_t bytes;
};

static void *read_all(void *user)
{
	struct reader *r = user;
	ssize_t n;

	while (r->bytes < BODY_MAX && (n = read(r->fd, r->data + r->bytes, BODY_MAX - r->bytes)) > 0)
		r->bytes += (size_t) n;
	return NULL;
}

static void arrives_over(void (*make)(int fds[2]))
{
	uint8_t small[300], crooked[1];
	const struct iovec parts[] = {
		{ small, sizeof(small) }, { guest, 512 << 10 }, { crooked, sizeof(crooked) },
		{ guest + (1 << 20) + 100, 200 << 10 },		/* not whole pages */
		{ guest + (2 << 20), (64 << 10) + 777 }, { guest + (1 << 20), 4096 },
	};
	struct reader r = { .data = malloc(BODY_MAX) };
	struct vf_channel *channel;
	const uint8_t *at = r.data + VF_FRAME_HEADER_BYTES;
	pthread_t thread;
	int fds[2];

	assert_non_null(r.data);
	memset(small, 0x5a, sizeof(small));
	crooked[0] = 0xa5;
	make(fds);
	r.fd = fds[1];
	channel = channel_of(fds[0]);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	assert_int_equal(send_parts(channel, parts, VF_ARRAY_COUNT(parts)), 0);
	assert_null(vf_channel_free(channel));
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (size_t i = 0; i < VF_ARRAY_COUNT(parts); i++) {
		assert_memory_equal(at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	assert_int_equal(at - r.data, r.bytes);
	assert_int_equal(close(fds[1]), 0);
	free(r.data);
}

static void what_is_sent_arrives(void **state)
{
	(void) state;
	arrives_over(make_unix);
	arrives_over(make_tcp);
}

/* Large and whole: the receiver sees what is there when it looks. All else is of the call's moment. */
static void only_what_is_large_and_whole_is_not_copied(void **state)
{
	static const struct { size_t at, bytes; bool copied; } cases[] = {
		{ 0, 64 << 10, false }, { 4096, 128 << 10, false }, { 0, 60 << 10, true },
		{ 100, 128 << 10, true },
	};

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(cases); i++) {
		struct iovec part = { guest + cases[i].at, cases[i].bytes };
		uint8_t *middle = guest + cases[i].at + cases[i].bytes / 2, was = *middle;
		static uint8_t got[VF_FRAME_HEADER_BYTES + (128 << 10)];
		size_t whole = VF_FRAME_HEADER_BYTES + cases[i].bytes;
		struct vf_channel *channel;
		int fds[2];

		make_unix(fds);
		channel = channel_of(fds[0]);
		assert_int_equal(send_parts(channel, &part, 1), 0);
		*middle = (uint8_t) ~was;
		assert_int_equal(recv(fds[1], got, whole, MSG_WAITALL), whole);
		assert_int_equal(got[VF_FRAME_HEADER_BYTES + cases[i].bytes / 2],
				 cases[i].copied ? was : (uint8_t) ~was);
		*middle = was;
		assert_null(vf_channel_free(channel));
		assert_int_equal(close(fds[1]), 0);
	}
}

static void a_peer_that_goes_is_an_error_and_no_signal(void **state)
{
	struct iovec part = { guest, 1 << 20 };
	sigset_t pending;
	struct vf_channel *channel;
	int fds[2];

	(void) state;
	make_unix(fds);
	channel = channel_of(fds[0]);
	assert_int_equal(close(fds[1]), 0);
	assert_int_equal(send_parts(channel, &(struct iovec) { guest, 4096 }, 1), -EPIPE);
	assert_null(vf_channel_free(channel));
	make_unix(fds);
	channel = channel_of(fds[0]);
	assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
	assert_int_equal(send_parts(channel, &part, 1), -EPIPE);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGPIPE));
	assert_null(vf_channel_free(channel));
	assert_int_equal(close(fds[1]), 0);
}

static void *close_soon(void *user)
{
	uint8_t some[4096];
	int *fd = user;

	(void) recv(*fd, some, sizeof(some), MSG_WAITALL);
	(void) close(*fd);
	return NULL;
}

static void a_peer_that_goes_meanwhile_is_no_signal_either(void **state)
{
	struct vf_channel *channel;
	pthread_t thread;
	int fds[2], ret;

	(void) state;
	make_unix(fds);
	channel = channel_of(fds[0]);
	assert_int_equal(pthread_create(&thread, NULL, close_soon, &fds[1]), 0);
	ret = send_on(channel);
	assert_true(ret == -EPIPE || ret == -ECONNRESET);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_null(vf_channel_free(channel));
}

static void a_peer_that_takes_nothing_stalls(void **state)
{
	struct vf_channel *channel;
	int fds[2];

	(void) state;
	make_unix(fds);
	channel = channel_of(fds[0]);
	assert_int_equal(vf_channel_set_stall_timeout(channel, 50000000), 0);
	assert_int_equal(send_on(channel), -ETIMEDOUT);
	assert_null(vf_channel_free(channel));
	assert_int_equal(close(fds[1]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_arrives),
		cmocka_unit_test(only_what_is_large_and_whole_is_not_copied),
		cmocka_unit_test(a_peer_that_goes_is_an_error_and_no_signal),
		cmocka_unit_test(a_peer_that_goes_meanwhile_is_no_signal_either),
		cmocka_unit_test(a_peer_that_takes_nothing_stalls),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
