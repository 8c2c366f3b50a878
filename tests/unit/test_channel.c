/* SPDX-License-Identifier: MIT */
/* test_channel.c - URIs, connections, frames over them, and every way in which a peer fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "transfer/channel.h"
#include "transfer/message_points.h"
#include "transfer/socket.h"

static void test_uris(void **state)
{
	static const char *const refused[] = {
		"", "tcp:", "tcp:host", "tcp:host:", "tcp:host:x", "tcp:host:65536", "tcp:host:-1",
		"tcp:::1:80", "unix:", "fd:", "fd:x", "fd:-1", "fd:99999999999", "file:", "ftp:x",
		"unix:/0123456789012345678901234567890123456789012345678901234567890123456789"
		"01234567890123456789012345678901234567",
	};
	struct vf_uri uri;

	(void) state;
	assert_int_equal(vf_uri_parse("tcp:example.org:4444", &uri, NULL), 0);
	assert_int_equal(uri.kind, VF_URI_TCP);
	assert_string_equal(uri.host, "example.org");
	assert_int_equal(uri.port, 4444);
	assert_int_equal(vf_uri_parse("tcp:[::1]:0", &uri, NULL), 0);
	assert_string_equal(uri.host, "::1");
	assert_int_equal(uri.port, 0);
	assert_int_equal(vf_uri_parse("tcp::80", &uri, NULL), 0);
	assert_string_equal(uri.host, "");
	assert_int_equal(vf_uri_parse("unix:/a/b:c", &uri, NULL), 0);
	assert_string_equal(uri.path, "/a/b:c");
	assert_int_equal(vf_uri_parse("fd:7", &uri, NULL), 0);
	assert_int_equal(uri.fd, 7);
	assert_int_equal(vf_uri_parse("file:x", &uri, NULL), 0);
	assert_int_equal(uri.kind, VF_URI_FILE);
	for (size_t i = 0; i < VF_ARRAY_COUNT(refused); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		assert_int_equal(vf_uri_parse(refused[i], &uri, &err), -EINVAL);
		assert_string_equal(err.id, "uri");
	}
}

static void test_every_message_that_comes_is_traced(void **state)
{
	(void) state;
	for (uint16_t type = 1; vf_frame_type_name(type); type++)
		assert_int_not_equal(vf_message_point(type, false), VF_TRACE_NONE);
}

static void make_pair(struct vf_channel **a, struct vf_channel **b)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(vf_channel_from_fd(fds[0], "a", a, NULL), 0);
	assert_int_equal(vf_channel_from_fd(fds[1], "b", b, NULL), 0);
}

/* One end a channel, the other a bare descriptor that says what it likes. */
static int make_half(struct vf_channel **a)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(vf_channel_from_fd(fds[0], "half", a, NULL), 0);
	return fds[1];
}

static void exchange(struct vf_channel *a, struct vf_channel *b)
{
	struct vf_channel_stats stats;
	struct vf_frame frame;
	uint8_t *body;

	assert_int_equal(vf_channel_send(a, VF_FRAME_SECTION, 0, 5, "hello", 5, NULL), 0);
	assert_int_equal(vf_channel_send(a, VF_FRAME_COMMIT, 0, VF_NO_COMPONENT, NULL, 0, NULL), 0);
	assert_int_equal(vf_channel_recv(b, 100, &frame, &body, NULL), 1);
	assert_int_equal(frame.type, VF_FRAME_SECTION);
	assert_int_equal(frame.component, 5);
	assert_int_equal(frame.sequence, 0);
	assert_int_equal(frame.length, 5);
	assert_memory_equal(body, "hello", 5);
	free(body);
	assert_int_equal(vf_channel_recv(b, 100, &frame, &body, NULL), 1);
	assert_int_equal(frame.type, VF_FRAME_COMMIT);
	assert_int_equal(frame.sequence, 1);
	assert_null(body);
	vf_channel_get_stats(a, &stats);
	assert_int_equal(stats.sent_frames, 2);
	assert_int_equal(stats.sent_bytes, 69);
	vf_channel_get_stats(b, &stats);
	assert_int_equal(stats.received_frames, 2);
	assert_int_equal(stats.received_bytes, 69);
	assert_true(stats.last_received_ns > 0);
}

static void test_frames(void **state)
{
	struct vf_channel *a, *b;
	struct vf_frame frame;
	uint8_t *body;

	(void) state;
	make_pair(&a, &b);
	exchange(a, b);
	exchange(b, a);	/* directions count apart */
	(void) vf_channel_free(a);
	assert_int_equal(vf_channel_recv(b, 100, &frame, &body, NULL), 0);
	(void) vf_channel_free(b);
}

/* Plain tcp that is kept to this host: by address, and by every address of a name. */
static void test_this_host_only(void **state)
{
	static const struct {
		const char *uri;
		bool here;
	} uris[] = {
		{ "tcp:127.0.0.1:0", true }, { "tcp:127.1.2.3:0", true }, { "tcp:localhost:0", true },
		{ "tcp:[::ffff:127.0.0.1]:0", true }, { "tcp:0.0.0.0:0", false }, { "tcp::0", false },
		{ "tcp:[::]:0", false }, { "tcp:192.0.2.1:0", false }, { "tcp:[2001:db8::1]:0", false },
		{ "tcp:[::ffff:192.0.2.1]:0", false },
	};

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(uris); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_listener *listener = NULL;
		struct vf_uri uri;
		int ret;

		assert_int_equal(vf_uri_parse(uris[i].uri, &uri, NULL), 0);
		ret = vf_listener_new(&uri, true, &listener, &err);
		if (uris[i].here != (ret != -EPERM))
			fail_msg("%s: %d %s", uris[i].uri, ret, err.message);
		(void) vf_listener_free(listener);
		if (uris[i].here)
			continue;
		assert_string_equal(err.id, "insecure");
		assert_non_null(strstr(err.message, "--tls-creds"));
		assert_non_null(strstr(err.message, "--insecure"));
		uri.port = 1;
		if (uri.host[0] && uri.host[0] != '0' && strcmp(uri.host, "::"))
			assert_int_equal(vf_socket_connect(&uri, true, VF_SECOND_NS, -1, NULL), -EPERM);
	}
}

static void listen_and_exchange(const char *text)
{
	struct vf_listener *listener;
	struct vf_channel *a, *b;
	struct vf_uri uri;

	assert_int_equal(vf_uri_parse(text, &uri, NULL), 0);
	assert_int_equal(vf_listener_new(&uri, false, &listener, NULL), 0);
	assert_int_equal(vf_uri_parse(vf_listener_uri(listener), &uri, NULL), 0);
	if (uri.kind == VF_URI_TCP)
		assert_int_not_equal(uri.port, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vf_channel_connect(&uri, VF_SECOND_NS, -1, &a, NULL), 0);
		assert_int_equal(vf_listener_accept(listener, VF_SECOND_NS, -1, &b, NULL), 0);
		exchange(a, b);
		(void) vf_channel_free(a);
		(void) vf_channel_free(b);
	}
	(void) vf_listener_free(listener);
	assert_int_equal(vf_channel_connect(&uri, VF_SECOND_NS, -1, &a, NULL),
			 uri.kind == VF_URI_TCP ? -ECONNREFUSED : -ENOENT);
}

static void test_tcp(void **state)
{
	(void) state;
	listen_and_exchange("tcp:127.0.0.1:0");
}

static void test_unix(void **state)
{
	char dir[] = "/tmp/vferry-channel-XXXXXX";
	struct vf_listener *listener, *second;
	struct vf_channel *channel;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_uri uri;
	struct stat st;
	char text[64];
	int fd;

	(void) state;
	assert_non_null(mkdtemp(dir));
	(void) snprintf(text, sizeof(text), "unix:%s/s", dir);
	listen_and_exchange(text);
	assert_int_equal(vf_uri_parse(text, &uri, NULL), 0);
	assert_int_equal(stat(uri.path, &st), -1);	/* cleaned up */
	assert_int_equal(vf_listener_new(&uri, false, &listener, NULL), 0);
	assert_int_equal(stat(uri.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(vf_listener_new(&uri, false, &second, NULL), -EADDRINUSE);
	assert_int_equal(vf_channel_connect(&uri, 0, -1, &channel, NULL), 0);
	(void) vf_channel_free(channel);
	(void) vf_listener_free(listener);
	/* A file that is no socket is not removed. */
	fd = open(uri.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(vf_listener_new(&uri, false, &listener, &err), -EEXIST);
	assert_int_equal(stat(uri.path, &st), 0);
	unlink(uri.path);
	rmdir(dir);
}

static void test_stale_unix_socket_is_replaced(void **state)
{
	char dir[] = "/tmp/vferry-channel-XXXXXX";
	struct vf_listener *listener;
	struct vf_uri uri;
	char text[64], copy[64];

	(void) state;
	assert_non_null(mkdtemp(dir));
	(void) snprintf(text, sizeof(text), "unix:%s/s", dir);
	(void) snprintf(copy, sizeof(copy), "%s/t", dir);
	assert_int_equal(vf_uri_parse(text, &uri, NULL), 0);
	assert_int_equal(vf_listener_new(&uri, false, &listener, NULL), 0);
	assert_int_equal(link(uri.path, copy), 0);
	(void) vf_listener_free(listener);
	assert_int_equal(rename(copy, uri.path), 0);	/* a socket file without a listener */
	listen_and_exchange(text);
	rmdir(dir);
}

static void test_fd(void **state)
{
	struct vf_listener *listener;
	struct vf_channel *a, *b;
	struct vf_uri uri;
	char text[16];
	int fds[2];
	int file;

	(void) state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	(void) snprintf(text, sizeof(text), "fd:%d", fds[0]);
	assert_int_equal(vf_uri_parse(text, &uri, NULL), 0);
	assert_int_equal(vf_channel_connect(&uri, 0, -1, &a, NULL), 0);
	uri.fd = fds[1];
	assert_int_equal(vf_listener_new(&uri, false, &listener, NULL), 0);
	assert_int_equal(vf_listener_accept(listener, 0, -1, &b, NULL), 0);
	close(fds[0]);
	close(fds[1]);
	exchange(a, b);
	assert_int_equal(vf_listener_accept(listener, 0, -1, &b, NULL), -EINVAL);
	(void) vf_listener_free(listener);
	(void) vf_channel_free(a);
	(void) vf_channel_free(b);
	file = open("/dev/null", O_RDWR | O_CLOEXEC);
	uri.fd = file;
	assert_int_equal(vf_channel_connect(&uri, 0, -1, &a, NULL), -EINVAL);
	assert_int_equal(vf_uri_parse("file:/x", &uri, NULL), 0);
	assert_int_equal(vf_channel_connect(&uri, 0, -1, &a, NULL), -EINVAL);
	assert_int_equal(vf_listener_new(&uri, false, &listener, NULL), -EINVAL);
	close(file);
}

static void test_accept_times_out_and_cancels(void **state)
{
	struct vf_listener *listener;
	struct vf_channel *channel;
	struct vf_uri uri;
	int cancel = eventfd(0, EFD_CLOEXEC);
	uint64_t one = 1, start = vf_now_ns();

	(void) state;
	assert_int_equal(vf_uri_parse("tcp:127.0.0.1:0", &uri, NULL), 0);
	assert_int_equal(vf_listener_new(&uri, false, &listener, NULL), 0);
	assert_int_equal(vf_listener_accept(listener, 50 * VF_MS_NS, cancel, &channel, NULL),
			 -ETIMEDOUT);
	assert_true(vf_now_ns() - start >= 50 * VF_MS_NS);
	assert_int_equal(write(cancel, &one, 8), 8);
	assert_int_equal(vf_listener_accept(listener, 0, cancel, &channel, NULL), -ECANCELED);
	(void) vf_listener_free(listener);
	close(cancel);
}

static void raw_frame(uint8_t *to, uint16_t type, uint16_t flags, uint64_t sequence,
		      const char *body)
{
	struct vf_frame f = {
		.type = type, .flags = flags, .length = (uint32_t) strlen(body),
		.sequence = sequence, .body_crc = vf_crc32c(0, body, strlen(body)),
	};

	vf_frame_encode(&f, to);
	memcpy(to + VF_FRAME_HEADER_BYTES, body, strlen(body));
}

/* Sends @size bytes and closes; what does receiving give, the second time too? */
static int received(const void *bytes, size_t size, struct vferry_error *err)
{
	struct vf_channel *channel;
	struct vf_frame frame;
	uint8_t *body;
	int fd = make_half(&channel);
	int ret, again;

	assert_int_equal(write(fd, bytes, size), (ssize_t) size);
	close(fd);
	do {
		ret = vf_channel_recv(channel, 64, &frame, &body, err);
		if (ret == 1)
			free(body);
	} while (ret == 1);
	if (ret < 0) {
		again = vf_channel_recv(channel, 64, &frame, &body, NULL);
		assert_int_equal(again, ret);	/* a channel that failed stays failed */
	}
	(void) vf_channel_free(channel);
	return ret;
}

static void test_bad_peers(void **state)
{
	uint8_t bytes[200];
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	raw_frame(bytes, VF_FRAME_COMMIT, 0, 0, "body");
	assert_int_equal(received(bytes, 36, NULL), 0);
	assert_int_equal(received(bytes, 0, NULL), 0);
	for (size_t cut = 1; cut < 36; cut++)
		assert_int_equal(received(bytes, cut, NULL), -ECONNRESET);
	for (unsigned bit = 0; bit < 36 * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t) (1u << (bit % 8));
		assert_int_equal(received(bytes, 36, NULL), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t) (1u << (bit % 8));
	}
	raw_frame(bytes + 36, VF_FRAME_COMMIT, 0, 0, "");	/* a repeat */
	assert_int_equal(received(bytes, 68, &err), -EPROTO);
	assert_string_equal(err.id, "frame-sequence");
	raw_frame(bytes + 36, VF_FRAME_COMMIT, 0, 2, "");	/* a gap */
	assert_int_equal(received(bytes, 68, NULL), -EPROTO);
	raw_frame(bytes + 36, VF_FRAME_COMMIT, 0, 1, "");
	assert_int_equal(received(bytes, 68, NULL), 0);
	raw_frame(bytes, 999, 0, 0, "");
	assert_int_equal(received(bytes, 32, NULL), -EPROTO);
	raw_frame(bytes, VF_FRAME_COMMIT, 0, 0,
		  "0123456789012345678901234567890123456789012345678901234567890123x");
	assert_int_equal(received(bytes, 97, NULL), -EMSGSIZE);
}

static void test_optional_unknown_frames_are_skipped(void **state)
{
	struct vf_channel *channel;
	struct vf_frame frame;
	uint8_t bytes[200], *body;
	int fd = make_half(&channel);

	(void) state;
	raw_frame(bytes, 999, VF_FRAME_OPTIONAL, 0, "whatever");
	raw_frame(bytes + 40, VF_FRAME_COMMIT, 0, 1, "x");
	assert_int_equal(write(fd, bytes, 73), 73);
	assert_int_equal(vf_channel_recv(channel, 64, &frame, &body, NULL), 1);
	assert_int_equal(frame.type, VF_FRAME_COMMIT);
	free(body);
	close(fd);
	(void) vf_channel_free(channel);
}

static void test_body_must_be_read_whole(void **state)
{
	struct vf_channel *a, *b;
	struct vf_frame frame;
	uint8_t bytes[8];
	struct iovec iov = { bytes, 3 };

	(void) state;
	make_pair(&a, &b);
	assert_int_equal(vf_channel_send(a, VF_FRAME_COMMIT, 0, 0, "12345", 5, NULL), 0);
	assert_int_equal(vf_channel_send(a, VF_FRAME_COMMIT, 0, 0, "12345", 5, NULL), 0);
	assert_int_equal(vf_channel_recv_header(b, 10, &frame, NULL), 1);
	assert_int_equal(vf_channel_recv_vector(b, &iov, 1, false, NULL), 0);
	iov = (struct iovec) { bytes, 3 };
	assert_int_equal(vf_channel_recv_vector(b, &iov, 1, false, NULL), -EPROTO);
	(void) vf_channel_free(b);
	(void) vf_channel_free(a);
}

static void test_too_long_a_frame_is_not_sent(void **state)
{
	struct vf_channel *a, *b;
	uint8_t *body = calloc(1, VF_FRAME_MAX_BYTES + 1);

	(void) state;
	make_pair(&a, &b);
	assert_int_equal(vf_channel_send(a, VF_FRAME_SECTION, 0, 0, body, VF_FRAME_MAX_BYTES + 1,
					 NULL), -EMSGSIZE);
	exchange(a, b);	/* and nothing is broken */
	free(body);
	(void) vf_channel_free(a);
	(void) vf_channel_free(b);
}

static void test_stall(void **state)
{
	struct vf_channel *channel;
	struct vf_frame frame;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t start;
	int fd = make_half(&channel);

	(void) state;
	assert_int_equal(vf_channel_set_stall_timeout(channel, 60 * VF_MS_NS), 0);
	start = vf_now_ns();
	assert_int_equal(vf_channel_recv_header(channel, 100, &frame, &err), -ETIMEDOUT);
	assert_string_equal(err.id, "channel-stalled");
	assert_true(vf_now_ns() - start >= 60 * VF_MS_NS);
	/* The peer may still be told. */
	assert_int_equal(vf_channel_send(channel, VF_FRAME_CANCEL, 0, 0, "", 0, NULL), 0);
	close(fd);
	(void) vf_channel_free(channel);
}

/* After a failed send nothing can follow: the peer hears that at once, and who waits for it as well. */
static void test_failed_send_hangs_up(void **state)
{
	struct vf_channel *channel;
	struct vf_frame frame;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t *body = calloc(1, VF_MIB);
	uint64_t start;
	int fd = make_half(&channel);
	ssize_t n;
	int ret;

	(void) state;
	assert_int_equal(vf_channel_set_stall_timeout(channel, 60 * VF_MS_NS), 0);
	start = vf_now_ns();
	do {	/* nobody reads: buffers fill up, then it stalls */
		ret = vf_channel_send(channel, VF_FRAME_STREAM_DATA, 0, 0, body, VF_MIB, &err);
	} while (!ret);
	assert_int_equal(ret, -ETIMEDOUT);
	assert_string_equal(err.id, "channel-stalled");
	assert_non_null(strstr(err.message, " 60 ms"));
	assert_int_equal(vf_channel_send(channel, VF_FRAME_COMMIT, 0, 0, "", 0, NULL), -ETIMEDOUT);
	assert_int_equal(vf_channel_set_stall_timeout(channel, 0), 0);
	assert_int_equal(vf_channel_recv_header(channel, 100, &frame, NULL), -ETIMEDOUT);
	assert_true(vf_now_ns() - start >= 60 * VF_MS_NS);
	assert_true(vf_now_ns() - start < 5 * VF_SECOND_NS);
	do
		n = read(fd, body, VF_MIB);
	while (n > 0);
	assert_int_equal(n, 0);
	free(body);
	close(fd);
	(void) vf_channel_free(channel);
}

static void *recv_one(void *arg)
{
	struct vf_frame frame;
	int ret = vf_channel_recv_header(arg, 100, &frame, NULL);

	return (void *) (intptr_t) ret;
}

static void *send_many(void *arg)
{
	uint8_t *body = calloc(1, VF_MIB);
	int ret;

	do {
		ret = vf_channel_send(arg, VF_FRAME_SECTION, 0, 0, body, VF_MIB, NULL);
	} while (!ret);
	free(body);
	return (void *) (intptr_t) ret;
}

static void *wait_and_send(void *arg)
{
	struct timespec ts = { .tv_nsec = 150 * (long) VF_MS_NS };

	(void) nanosleep(&ts, NULL);
	assert_int_equal(vf_channel_send(arg, VF_FRAME_COMMIT, 0, VF_NO_COMPONENT, NULL, 0, NULL), 0);
	return NULL;
}

/* Silence is borne, but not within a frame. */
static void test_patience(void **state)
{
	uint8_t header[VF_FRAME_HEADER_BYTES] = { 0x56 };
	struct vf_channel *a, *b, *half;
	struct vf_frame frame;
	pthread_t sender;
	int fd = make_half(&half);

	(void) state;
	make_pair(&a, &b);
	assert_int_equal(vf_channel_set_stall_timeout(b, 20 * VF_MS_NS), 0);
	vf_channel_be_patient(b);
	assert_int_equal(pthread_create(&sender, NULL, wait_and_send, a), 0);
	assert_int_equal(vf_channel_recv_header(b, 100, &frame, NULL), 1);
	assert_int_equal(pthread_join(sender, NULL), 0);
	(void) vf_channel_free(a);
	assert_int_equal(vf_channel_recv_header(b, 100, &frame, NULL), 0);
	(void) vf_channel_free(b);

	assert_int_equal(vf_channel_set_stall_timeout(half, 20 * VF_MS_NS), 0);
	vf_channel_be_patient(half);
	assert_int_equal(write(fd, header, 1), 1);
	assert_int_equal(vf_channel_recv_header(half, 100, &frame, NULL), -ETIMEDOUT);
	close(fd);
	(void) vf_channel_free(half);
}

/* A sign of life is content to nobody, and never waits for a peer that is slow to take something else. */
static void test_keepalive(void **state)
{
	struct vf_channel *a, *b, *slow;
	struct vf_channel_stats stats;
	struct vf_frame frame;
	uint8_t *body;
	pthread_t sender;
	int fd = make_half(&slow), queued = 0, before = -1;

	(void) state;
	make_pair(&a, &b);
	assert_int_equal(vf_channel_keepalive(a), 0);
	assert_int_equal(vf_channel_send(a, VF_FRAME_COMMIT, 0, VF_NO_COMPONENT, NULL, 0, NULL), 0);
	assert_int_equal(vf_channel_recv(b, 100, &frame, &body, NULL), 1);
	assert_int_equal(frame.type, VF_FRAME_KEEPALIVE);
	assert_int_equal(frame.length, 0);
	assert_int_equal(vf_channel_recv(b, 100, &frame, &body, NULL), 1);
	vf_channel_get_stats(a, &stats);
	assert_int_equal(stats.sent_frames, 2);
	assert_int_equal(stats.sent_content, 1);
	vf_channel_get_stats(b, &stats);
	assert_int_equal(stats.received_frames, 2);
	assert_int_equal(stats.received_content, 1);
	(void) vf_channel_free(a);
	(void) vf_channel_free(b);

	/* Somebody is in the midst of a frame: what is queued grows no more, and the frame is not whole. */
	assert_int_equal(pthread_create(&sender, NULL, send_many, slow), 0);
	while (!queued || queued != before) {
		struct timespec ts = { .tv_nsec = 20 * (long) VF_MS_NS };

		before = queued;
		(void) nanosleep(&ts, NULL);
		assert_int_equal(ioctl(fd, FIONREAD, &queued), 0);
	}
	assert_int_equal(vf_channel_keepalive(slow), 0);	/* returns */
	vf_channel_shutdown(slow);
	assert_int_equal(pthread_join(sender, NULL), 0);
	close(fd);
	(void) vf_channel_free(slow);
}

static void test_shutdown_wakes(void **state)
{
	struct vf_channel *channel;
	pthread_t receiver, sender;
	void *ret;
	int fd = make_half(&channel);

	(void) state;
	assert_int_equal(pthread_create(&receiver, NULL, recv_one, channel), 0);
	assert_int_equal(pthread_create(&sender, NULL, send_many, channel), 0);
	usleep(50000);
	vf_channel_shutdown(channel);
	(void) pthread_join(receiver, &ret);
	assert_int_equal((intptr_t) ret, -ECANCELED);
	(void) pthread_join(sender, &ret);
	assert_int_equal((intptr_t) ret, -ECANCELED);
	close(fd);
	(void) vf_channel_free(channel);
}

/* Many threads send; each frame arrives whole, numbers without a gap. */
#define SENDERS 4
#define FRAMES 200

static void *send_some(void *arg)
{
	char text[300];

	for (int i = 0; i < FRAMES; i++) {
		memset(text, 'a' + i % 26, sizeof(text));
		if (vf_channel_send(arg, VF_FRAME_SECTION, 0, 0, text, (size_t) (i % 300), NULL))
			return arg;
	}
	return NULL;
}

static void test_many_senders(void **state)
{
	struct vf_channel *a, *b;
	pthread_t threads[SENDERS];
	void *ret;

	(void) state;
	make_pair(&a, &b);
	for (int i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_some, a), 0);
	for (int i = 0; i < SENDERS * FRAMES; i++) {
		struct vf_frame frame;
		uint8_t *body;

		assert_int_equal(vf_channel_recv(b, 1000, &frame, &body, NULL), 1);
		assert_int_equal(frame.sequence, i);
		free(body);
	}
	for (int i = 0; i < SENDERS; i++) {
		(void) pthread_join(threads[i], &ret);
		assert_null(ret);
	}
	(void) vf_channel_free(a);
	(void) vf_channel_free(b);
}

struct taker {
	struct vf_limiter *limiter;
	int ret;
};

static void *take_much(void *arg)
{
	struct taker *t = arg;

	while (!(t->ret = vf_limiter_take(t->limiter, 1000000)))
		;
	return NULL;
}

static void test_limiter(void **state)
{
	struct vf_limiter *limiter;
	struct taker t;
	pthread_t thread;
	uint64_t start = vf_now_ns(), taken;

	(void) state;
	assert_int_equal(vf_limiter_new(0, &limiter), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(vf_limiter_take(limiter, UINT32_MAX), 0);	/* unlimited */
	vf_limiter_set_rate(limiter, 10 * 1000 * 1000);
	start = vf_now_ns();
	for (int i = 0; i < 20; i++)
		assert_int_equal(vf_limiter_take(limiter, 100 * 1000), 0);
	taken = vf_now_ns() - start;	/* 2 MB at 10 MB/s, less what the bucket held and what is owed */
	assert_true(taken > 100 * VF_MS_NS);
	assert_true(taken < 2 * VF_SECOND_NS);
	/* A taker that waits for ages hears of a new rate, and of the end. */
	vf_limiter_set_rate(limiter, 1000);
	t.limiter = limiter;
	assert_int_equal(pthread_create(&thread, NULL, take_much, &t), 0);
	usleep(20000);
	vf_limiter_cancel(limiter);
	(void) pthread_join(thread, NULL);
	assert_int_equal(t.ret, -ECANCELED);
	assert_int_equal(vf_limiter_take(limiter, 1), -ECANCELED);
	(void) vf_limiter_free(limiter);
	assert_true(vf_now_ns() - start < 5 * VF_SECOND_NS);
	assert_int_equal(vf_limiter_new(1, &limiter), 0);
	assert_int_equal(vf_limiter_take(limiter, 1000), 0);	/* owes 1000 s */
	vf_limiter_set_rate(limiter, UINT64_MAX);
	assert_int_equal(vf_limiter_take(limiter, 1000), 0);
	(void) vf_limiter_free(limiter);
}

static void test_only_bulk_pays(void **state)
{
	struct vf_limiter *limiter;
	struct vf_channel *a, *b;
	uint8_t data[1000] = { 0 };
	uint64_t start;

	(void) state;
	make_pair(&a, &b);
	assert_int_equal(vf_limiter_new(10000, &limiter), 0);
	vf_channel_set_limiter(a, limiter);
	start = vf_now_ns();
	for (int i = 0; i < 100; i++)
		assert_int_equal(vf_channel_send(a, VF_FRAME_SECTION, 0, 0, data, sizeof(data), NULL),
				 0);
	assert_true(vf_now_ns() - start < VF_SECOND_NS);	/* it would be 10 s */
	for (int i = 0; i < 3; i++)
		assert_int_equal(vf_channel_send(a, VF_FRAME_STREAM_DATA, 0, 0, data, sizeof(data),
						 NULL), 0);
	assert_true(vf_now_ns() - start > 100 * VF_MS_NS);
	vf_limiter_cancel(limiter);
	assert_int_equal(vf_channel_send(a, VF_FRAME_STREAM_DATA, 0, 0, data, 1, NULL), -ECANCELED);
	assert_int_equal(vf_channel_send(a, VF_FRAME_CANCEL, 0, 0, data, 1, NULL), 0);
	(void) vf_channel_free(a);
	(void) vf_channel_free(b);
	(void) vf_limiter_free(limiter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uris),
		cmocka_unit_test(test_every_message_that_comes_is_traced),
		cmocka_unit_test(test_this_host_only),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_stale_unix_socket_is_replaced),
		cmocka_unit_test(test_fd),
		cmocka_unit_test(test_accept_times_out_and_cancels),
		cmocka_unit_test(test_bad_peers),
		cmocka_unit_test(test_optional_unknown_frames_are_skipped),
		cmocka_unit_test(test_body_must_be_read_whole),
		cmocka_unit_test(test_too_long_a_frame_is_not_sent),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_keepalive),
		cmocka_unit_test(test_failed_send_hangs_up),
		cmocka_unit_test(test_shutdown_wakes),
		cmocka_unit_test(test_many_senders),
		cmocka_unit_test(test_limiter),
		cmocka_unit_test(test_only_bulk_pays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
