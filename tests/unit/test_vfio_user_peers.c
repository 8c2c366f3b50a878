/* SPDX-License-Identifier: MIT */
/*
 * vfio-user with peers that are not ours: servers that deviate as libvfio-user does, and must be
 * put up with; servers and clients that lie, and must not be.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "vfio-user/protocol.h"
#include "vfio-user/socket.h"
#include "vfio_user_fixture.h"

#define DEADLINE (vf_now_ns() + 5 * VF_SECOND_NS)

/* --- a server by hand: answers each request with the next line of a script --- */

struct line {
	uint16_t command;	/* expected; 0 = end of script */
	uint32_t error;		/* error reply */
	const void *body;
	size_t len;
	uint32_t size;		/* in the header, 0 = the true one */
	uint16_t id_offset;	/* added to the id */
	uint16_t reply_command;	/* 0 = as asked */
	uint32_t flags;		/* 0 = as fits */
	int fd;			/* sent along, 0 = none */
	uint32_t fd_count;	/* ... so often, 0 = once */
	bool bare;		/* no header: body as it is */
	bool close;		/* hang up after it */
};

struct script {
	int fd;
	const char *json;
	const struct line *lines;
	pthread_t thread;
	bool wrong;
	int twin;		/* sent with VERSION though nobody asked, 0 = none */
	uint16_t major;
};

static void send_line(struct script *s, const struct vf_vfio_user_header *asked,
		      const struct line *line)
{
	struct vf_vfio_user_header header = *asked;
	uint8_t raw[16];
	struct iovec iov[2] = {
		{ raw, line->bare ? 0 : 16 }, { (void *) line->body, line->len },
	};
	int fds[VF_VFIO_USER_MAX_FDS];

	for (size_t i = 0; i < VF_VFIO_USER_MAX_FDS; i++)
		fds[i] = line->fd;
	header.id = (uint16_t) (header.id + line->id_offset);
	header.size = line->size ? line->size : (uint32_t) (16 + line->len);
	header.flags = line->flags ? line->flags : line->error ? 0x21 : 1;
	header.error = line->error;
	if (line->reply_command)
		header.command = line->reply_command;
	vf_vfio_user_put_header(raw, &header);
	(void) vf_socket_send(s->fd, iov, 2, fds, line->fd ? line->fd_count ? line->fd_count : 1 : 0,
			      DEADLINE);
}

static bool get_request(struct script *s, struct vf_vfio_user_header *header)
{
	struct vf_vfio_user_fds fds = { .count = 0 };
	uint8_t raw[16], waste[65536];
	bool ok = !vf_socket_receive(s->fd, raw, 16, &fds, DEADLINE) &&
		  !vf_vfio_user_get_header(raw, header) && header->size - 16 <= sizeof(waste) &&
		  !vf_socket_receive(s->fd, waste, header->size - 16, &fds, DEADLINE);

	vf_fds_done(&fds);
	return ok;
}

static void *run_script(void *arg)
{
	struct script *s = arg;
	struct vf_vfio_user_header header;
	char version[2048];
	size_t json = s->json ? strlen(s->json) + 1 : 0;
	struct line first = {
		.command = VF_VFIO_USER_VERSION, .body = version, .len = 4 + json, .fd = s->twin,
	};

	vf_put_u16((uint8_t *) version, s->major);
	vf_put_u16((uint8_t *) version + 2, 1);
	memcpy(version + 4, s->json ? s->json : "", json);
	if (!get_request(s, &header) || header.command != VF_VFIO_USER_VERSION)
		goto wrong;
	send_line(s, &header, &first);
	for (const struct line *line = s->lines; line && line->command; line++) {
		if (!get_request(s, &header) || header.command != line->command)
			goto wrong;
		send_line(s, &header, line);
		if (line->close)
			break;
	}
	if (s->lines && s->lines[0].close)
		(void) shutdown(s->fd, SHUT_RDWR);
	return NULL;
wrong:
	s->wrong = true;
	(void) shutdown(s->fd, SHUT_RDWR);
	return NULL;
}

static int start(struct script *s, const struct line *lines, const char *json,
		 struct vf_vfio_user_client **ret_client)
{
	struct vf_vfio_user_client_options options = { .size = sizeof(options), .timeout_ms = 1000 };
	int pair[2];

	s->lines = lines;
	s->json = json;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->fd = pair[0];
	assert_int_equal(pthread_create(&s->thread, NULL, run_script, s), 0);
	return vf_vfio_user_client_attach(pair[1], "script", &options, ret_client, NULL);
}

static void finish(struct script *s, struct vf_vfio_user_client *client)
{
	vf_vfio_user_client_free(client);
	(void) pthread_join(s->thread, NULL);
	close(s->fd);
	assert_false(s->wrong);
}

/* --- what is put up with --- */

static void tolerates_a_capability_nobody_proposed(void **state)
{
	struct script s = { .twin = dup(0) };
	struct vf_vfio_user_client *client;

	(void) state;
	/* v1 migration, and a twin socket that was not asked for. */
	assert_int_equal(start(&s, NULL, "{\"capabilities\":{\"max_msg_fds\":8,\"migration\":"
			       "{\"pgsize\":4096},\"twin_socket\":{\"supported\":true,"
			       "\"fd_index\":0}}}", &client), 0);
	assert_false(vf_vfio_user_client_peer(client)->twin_socket);
	assert_false(vf_vfio_user_client_peer(client)->extensions);
	assert_int_equal(vf_vfio_user_client_peer(client)->max_msg_fds, 8);
	finish(&s, client);
	close(s.twin);
}

static void tolerates_silence_in_version(void **state)
{
	struct script s = { 0 };
	struct vf_vfio_user_client *client;

	(void) state;
	assert_int_equal(start(&s, NULL, NULL, &client), 0);
	assert_int_equal(vf_vfio_user_client_peer(client)->max_msg_fds, 1);
	finish(&s, client);
}

static void tolerates_refusals(void **state)
{
	static const struct line lines[] = {
		{ .command = VF_VFIO_USER_FEATURE, .error = EINVAL },
		{ .command = VF_VFIO_USER_FEATURE, .error = EINVAL },
		{ .command = VF_VFIO_USER_RESET, .error = EINVAL },
		{ .command = VF_VFIO_USER_DMA_UNMAP, .error = EINVAL },
		{ .command = VF_VFIO_USER_FEATURE, .error = 95 },
		{ .command = VF_VFIO_USER_FEATURE, .error = ENOENT },
		{ .command = VF_VFIO_USER_FEATURE },	/* no data and no error */
		/* An error reply with a body, and errnos that mean the connection elsewhere. */
		{ .command = VF_VFIO_USER_RESET, .error = EIO, .body = "abcdefgh", .len = 8 },
		{ .command = VF_VFIO_USER_RESET, .error = ETIMEDOUT },
		{ .command = VF_VFIO_USER_RESET, .error = 1u << 31 },
		{ .command = VF_VFIO_USER_RESET, .flags = 0x21 },	/* error 0 */
		{ 0 },
	};
	struct script s = { 0 };
	struct vf_vfio_user_client *client;
	uint64_t flags, word = 0;

	(void) state;
	assert_int_equal(start(&s, lines, "{}", &client), 0);
	assert_int_equal(vf_vfio_user_client_feature(client, VF_VFIO_FEATURE_PROBE | 9, NULL, 0, 0,
						     NULL), -ENOTTY);
	assert_int_equal(vf_vfio_user_client_get_migration(client, &flags, NULL), -ENOTTY);
	assert_int_equal(vf_vfio_user_client_reset(client, NULL), -EINVAL);
	assert_int_equal(vf_vfio_user_client_dma_unmap(client, 0, 4096, NULL), -EINVAL);
	for (int i = 0; i < 3; i++) {
		static const int want[] = { -EOPNOTSUPP, -ENOENT, -EREMOTEIO };

		assert_int_equal(vf_vfio_user_client_dma_log_report(client, 0, 4096, 4096, &word,
								    NULL), want[i]);
	}
	assert_int_equal(vf_vfio_user_client_reset(client, NULL), -EIO);
	for (int i = 0; i < 3; i++)
		assert_int_equal(vf_vfio_user_client_reset(client, NULL), -EREMOTEIO);
	assert_int_equal(vf_vfio_user_client_check_alive(client, NULL), 0);
	assert_int_equal(word, 0);
	finish(&s, client);
}

static void tolerates_padded_and_short_replies(void **state)
{
	static uint8_t padded[8 + 100] = { 8 + 3, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c' };
	static uint8_t nothing[8 + 100] = { 8 };
	static uint8_t flags[16] = { 16, 0, 0, 0, 1, 0, 1, 0, 7 };	/* claims P2P */
	static uint8_t running[16] = { 16, 0, 0, 0, 2, 0, 1, 0, 2 };
	static const struct line lines[] = {
		{ .command = VF_VFIO_USER_MIG_DATA_READ, .body = padded, .len = sizeof(padded) },
		{ .command = VF_VFIO_USER_MIG_DATA_READ, .body = nothing, .len = sizeof(nothing) },
		{ .command = VF_VFIO_USER_FEATURE, .body = flags, .len = 16 },
		{ .command = VF_VFIO_USER_FEATURE },	/* LOGGING_STOP: nothing to say */
		/* A transition answered with nothing: asked again, and it had not happened. */
		{ .command = VF_VFIO_USER_FEATURE },
		{ .command = VF_VFIO_USER_FEATURE, .body = running, .len = 16 },
		{ 0 },
	};
	struct script s = { 0 };
	struct vf_vfio_user_client *client;
	uint64_t got = 0;
	char data[100];

	(void) state;
	assert_int_equal(start(&s, lines, "{}", &client), 0);
	assert_int_equal(vf_vfio_user_client_mig_data_read(client, data, 100, NULL), 3);
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(vf_vfio_user_client_mig_data_read(client, data, 100, NULL), 0);
	assert_int_equal(vf_vfio_user_client_get_migration(client, &got, NULL), 0);
	assert_int_equal(got, 5);	/* P2P states are our extension */
	assert_int_equal(vf_vfio_user_client_dma_log_stop(client, NULL), 0);
	assert_int_equal(vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP, NULL),
			 -EREMOTEIO);
	finish(&s, client);
}

static void tolerates_a_mappable_region_without_descriptor(void **state)
{
	uint8_t body[32];
	struct vf_vfio_region_info info = { .argsz = 4096, .flags = 7, .size = 4096 };
	struct line lines[] = {
		{ .command = VF_VFIO_USER_GET_REGION_INFO, .body = body, .len = 32 }, { 0 },
	};
	struct script s = { 0 };
	struct vf_vfio_user_client *client;
	struct vf_vfio_user_region region;

	(void) state;
	vf_vfio_user_put_region_info(body, &info);
	assert_int_equal(start(&s, lines, "{}", &client), 0);
	assert_int_equal(vf_vfio_user_client_get_region(client, 0, &region, NULL), 0);
	assert_int_equal(region.flags, 3);
	assert_int_equal(region.fd, -1);
	vf_vfio_user_region_done(&region);
	finish(&s, client);
}

/* --- what is not --- */

static void check_bad_version(uint16_t major, const char *json, int want)
{
	struct script s = { .major = major };
	struct vf_vfio_user_client *client;

	assert_int_equal(start(&s, NULL, json, &client), want);
	(void) pthread_join(s.thread, NULL);
	close(s.fd);
}

static void refuses_bad_versions(void **state)
{
	(void) state;
	check_bad_version(1, "{}", -EPROTONOSUPPORT);
	check_bad_version(0, "{", -EPROTO);
	check_bad_version(0, "{\"capabilities\":{\"max_msg_fds\":\"x\"}}", -EPROTO);
	/* It says that a twin socket comes, and we offer none here: that is fine; none comes: too. */
}

static int ask_info(struct vf_vfio_user_client *client)
{
	struct vf_vfio_device_info info;

	return vf_vfio_user_client_get_info(client, &info, NULL);
}

static int ask_region(struct vf_vfio_user_client *client)
{
	struct vf_vfio_user_region region;

	return vf_vfio_user_client_get_region(client, 0, &region, NULL);
}

static int ask_read(struct vf_vfio_user_client *client)
{
	uint8_t data[4];

	return vf_vfio_user_client_region_read(client, 0, 0, data, 4, NULL);
}

static int ask_data(struct vf_vfio_user_client *client)
{
	uint8_t data[16];

	return (int) vf_vfio_user_client_mig_data_read(client, data, 16, NULL);
}

static int ask_state(struct vf_vfio_user_client *client)
{
	enum vf_vfio_state now;

	return vf_vfio_user_client_get_state(client, &now, NULL);
}

static int ask_report(struct vf_vfio_user_client *client)
{
	uint64_t word = 0;

	return vf_vfio_user_client_dma_log_report(client, 0, 4096, 4096, &word, NULL);
}

/* One bad answer, the errno, and the connection is dead after it. */
static void check_bad(struct line line, int (*ask)(struct vf_vfio_user_client *), int want)
{
	struct line lines[2] = { line, { 0 } };
	struct script s = { 0 };
	struct vf_vfio_user_client *client;
	int ret;

	assert_int_equal(start(&s, lines, "{\"capabilities\":{\"max_msg_fds\":8}}", &client), 0);
	ret = ask(client);
	if (ret != want)
		fail_msg("command %u: %s, not %s", line.command, vferry_errno_name(ret),
			 vferry_errno_name(want));
	assert_int_equal(ask_info(client), -ENOTCONN);
	finish(&s, client);
}

static void refuses_lies_of_a_server(void **state)
{
	static const uint8_t info[16] = { 16 }, zero[256];
	uint8_t region[32], sparse[64], small[12], access[20] = { 0 }, data[24] = { 0 };
	uint8_t bad_state[16] = { 16, 0, 0, 0, 2, 0, 1, 0, 8 };
	uint8_t report[8 + 24 + 8] = { 40 };
	struct vf_vfio_region_info desc = { .argsz = 32, .flags = 7, .size = 8192 };
	struct vf_vfio_sparse_area area = { 4096, 8192 };
	int file = memfd_create("short", MFD_CLOEXEC);
	struct line good = { .command = VF_VFIO_USER_GET_INFO, .body = info, .len = 16 }, line;

	(void) state;
	assert_int_equal(ftruncate(file, 4096), 0);
	line = good;
	line.id_offset = 1;
	check_bad(line, ask_info, -EPROTO);
	line.id_offset = 64;		/* the same slot in another life of it */
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.reply_command = VF_VFIO_USER_RESET;
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.size = 15;
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.size = UINT32_MAX;
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.len = 12;			/* a reply too short for its kind */
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.len = 12;
	line.size = 32;
	line.close = true;		/* and one that ends in the middle */
	check_bad(line, ask_info, -ENOTCONN);
	line = good;
	line.flags = 2;
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.flags = 0x10;		/* a command instead, and far too long a one */
	line.reply_command = VF_VFIO_USER_DMA_WRITE;
	line.size = 1u << 30;
	check_bad(line, ask_info, -EPROTO);
	line = good;
	line.bare = true;
	line.body = "garbage garbage garbage";
	line.len = 24;
	check_bad(line, ask_info, -EPROTO);

	/* A region whose areas lie outside, or that is larger than its file. */
	vf_vfio_user_put_region_info(region, &desc);
	check_bad((struct line) { .command = VF_VFIO_USER_GET_REGION_INFO, .body = region,
				  .len = 32, .fd = file }, ask_region, -EPROTO);
	desc.flags = 15;
	desc.cap_offset = 32;
	vf_vfio_user_put_region_info(sparse, &desc);
	vf_vfio_user_put_sparse(sparse + 32, &area, 1);
	check_bad((struct line) { .command = VF_VFIO_USER_GET_REGION_INFO, .body = sparse,
				  .len = 64, .fd = file }, ask_region, -EPROTO);
	desc.index = 1;
	vf_vfio_user_put_region_info(region, &desc);
	check_bad((struct line) { .command = VF_VFIO_USER_GET_REGION_INFO, .body = region,
				  .len = 32 }, ask_region, -EPROTO);
	/* Region reads of another count or length. */
	vf_put_u32(access + 12, 4);
	check_bad((struct line) { .command = VF_VFIO_USER_REGION_READ, .body = access, .len = 18 },
		  ask_read, -EPROTO);
	check_bad((struct line) { .command = VF_VFIO_USER_REGION_READ, .body = zero, .len = 21 },
		  ask_read, -EPROTO);
	vf_put_u32(access + 12, 400);
	check_bad((struct line) { .command = VF_VFIO_USER_REGION_READ, .body = access, .len = 20 },
		  ask_read, -EPROTO);
	/* Migration data: more than the message holds, more than was asked for. */
	vf_put_u32(data + 4, 17);
	check_bad((struct line) { .command = VF_VFIO_USER_MIG_DATA_READ, .body = data, .len = 24 },
		  ask_data, -EPROTO);
	check_bad((struct line) { .command = VF_VFIO_USER_MIG_DATA_READ, .body = zero, .len = 25 },
		  ask_data, -EPROTO);
	check_bad((struct line) { .command = VF_VFIO_USER_MIG_DATA_READ, .body = small, .len = 4 },
		  ask_data, -EPROTO);
	check_bad((struct line) { .command = VF_VFIO_USER_FEATURE, .body = bad_state, .len = 16 },
		  ask_state, -EPROTO);
	check_bad((struct line) { .command = VF_VFIO_USER_FEATURE, .body = bad_state, .len = 7 },
		  ask_state, -EPROTO);
	vf_put_u64(report + 8, 4096);	/* another range than asked for */
	vf_put_u64(report + 16, 4096);
	vf_put_u64(report + 24, 4096);
	check_bad((struct line) { .command = VF_VFIO_USER_FEATURE, .body = report, .len = 40 },
		  ask_report, -EPROTO);
	close(file);
}

static void surplus_descriptors_are_closed(void **state)
{
	static const uint8_t info[16] = { 16 };
	int file = memfd_create("x", MFD_CLOEXEC), before, after;
	struct line lines[] = {
		{ .command = VF_VFIO_USER_GET_INFO, .body = info, .len = 16, .fd = file,
		  .fd_count = VF_VFIO_USER_MAX_FDS },
		{ 0 },
	};
	struct script s = { 0 };
	struct vf_vfio_user_client *client;

	(void) state;
	before = dup(file);
	close(before);
	assert_int_equal(start(&s, lines, "{}", &client), 0);
	assert_int_equal(ask_info(client), 0);
	finish(&s, client);
	after = dup(file);
	assert_int_equal(before, after);
	close(after);
	close(file);
}

/* --- a client by hand, against our server --- */

struct raw_client {
	struct fixture_device d;
	char dir[32], path[64];
	int fd;
};

static void dial(struct raw_client *c)
{
	struct sockaddr {
		uint16_t family;
		char path[108];
	} address = { .family = AF_UNIX };

	snprintf(address.path, sizeof(address.path), "%s", c->path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The server may still be letting the one before go. */
	for (int i = 0; i < 1000; i++) {
		uint8_t none;

		assert_int_equal(connect(c->fd, (void *) &address, sizeof(address)), 0);
		if (recv(c->fd, &none, 1, MSG_DONTWAIT) != 0)
			usleep(3000);
		if (recv(c->fd, &none, 1, MSG_DONTWAIT) < 0)
			return;
		close(c->fd);
		c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		usleep(1000);
	}
	fail();
}

static void send_raw(struct raw_client *c, const void *data, size_t len, const int *fds,
		     uint32_t count)
{
	struct iovec iov = { (void *) data, len };

	(void) vf_socket_send(c->fd, &iov, 1, fds, count, DEADLINE);
}

static void send_request(struct raw_client *c, uint16_t command, uint32_t size, uint32_t flags,
			 const void *body, size_t len, const int *fds, uint32_t count)
{
	struct vf_vfio_user_header header = {
		.id = 7, .command = command, .size = size ? size : (uint32_t) (16 + len),
		.flags = flags,
	};
	uint8_t *all = malloc(16 + len);

	vf_vfio_user_put_header(all, &header);
	if (len)
		memcpy(all + 16, body, len);
	send_raw(c, all, 16 + len, fds, count);
	free(all);
}

/* The errno of the reply (0 = success), or -1: the server has hung up. */
static int reply_of(struct raw_client *c, uint8_t *body, size_t room, size_t *ret_len)
{
	struct vf_vfio_user_header header;
	struct vf_vfio_user_fds fds = { .count = 0 };
	uint8_t raw[16], waste[65536];
	int ret = -1;

	if (vf_socket_receive(c->fd, raw, 16, &fds, DEADLINE) ||
	    vf_vfio_user_get_header(raw, &header))
		goto out;
	assert_true(header.size - 16 <= sizeof(waste));
	if (vf_socket_receive(c->fd, waste, header.size - 16, NULL, DEADLINE))
		goto out;
	assert_int_equal(header.id, 7);
	if (body) {
		assert_true(header.size - 16 <= room);
		memcpy(body, waste, header.size - 16);
		*ret_len = header.size - 16;
	}
	ret = (int) header.error;
out:
	vf_fds_done(&fds);
	return ret;
}

static int ask(struct raw_client *c, uint16_t command, const void *body, size_t len)
{
	send_request(c, command, 0, 0, body, len, NULL, 0);
	return reply_of(c, NULL, 0, NULL);
}

static void greet(struct raw_client *c)
{
	static const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":4,\"vferry\":"
		"{\"version\":1,\"p2p\":true,\"precopy_info\":true,\"mig_data_size\":true,"
		"\"mig_buffer_bytes\":1048576}}}";

	assert_int_equal(ask(c, VF_VFIO_USER_VERSION, version, sizeof(version)), 0);
}

static void begin(struct raw_client *c, bool do_greet)
{
	strcpy(c->dir, "/tmp/vferry-test.XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->path, sizeof(c->path), "%s/s", c->dir);
	fixture_init(&c->d, NULL);
	assert_int_equal(vf_vfio_user_server_listen(c->d.server, c->path, NULL), 0);
	fixture_start(&c->d);
	dial(c);
	if (do_greet)
		greet(c);
}

static void end(struct raw_client *c)
{
	close(c->fd);
	fixture_stop(&c->d);
	fixture_done(&c->d);
	assert_int_equal(rmdir(c->dir), 0);
}

static void hang_up_and_again(struct raw_client *c)
{
	assert_int_equal(reply_of(c, NULL, 0, NULL), -1);
	close(c->fd);
	dial(c);
	greet(c);
}

static void server_survives_bad_headers(void **state)
{
	static const uint8_t zero[64];
	struct raw_client c;
	int fds[17];

	(void) state;
	begin(&c, false);
	/* Nothing before VERSION; VERSION once; no nonsense in it. */
	assert_int_equal(ask(&c, VF_VFIO_USER_GET_INFO, zero, 16), EINVAL);
	assert_int_equal(ask(&c, VF_VFIO_USER_VERSION, "\1\0\0\0", 4), EPROTONOSUPPORT);
	assert_int_equal(ask(&c, VF_VFIO_USER_VERSION, "\0\0\0\0{}", 6), EINVAL);
	greet(&c);
	assert_int_equal(ask(&c, VF_VFIO_USER_VERSION, "\0\0\0\0", 4), EINVAL);
	assert_int_equal(ask(&c, 14, zero, 16), EOPNOTSUPP);
	assert_int_equal(ask(&c, 0xffff, zero, 16), EOPNOTSUPP);
	/* A size below the header's, one above all limits, a reply, a type of its own. */
	send_request(&c, VF_VFIO_USER_GET_INFO, 15, 0, zero, 16, NULL, 0);
	hang_up_and_again(&c);
	send_request(&c, VF_VFIO_USER_REGION_WRITE, UINT32_MAX, 0, zero, 16, NULL, 0);
	hang_up_and_again(&c);
	send_request(&c, VF_VFIO_USER_GET_INFO, 0, 1, zero, 16, NULL, 0);
	hang_up_and_again(&c);
	send_request(&c, VF_VFIO_USER_GET_INFO, 0, 2, zero, 16, NULL, 0);
	hang_up_and_again(&c);
	/* More descriptors than it takes. */
	for (int i = 0; i < 17; i++)
		fds[i] = c.fd;
	send_request(&c, VF_VFIO_USER_GET_INFO, 0, 0, zero, 16, fds, 17);
	hang_up_and_again(&c);
	/* Half a message, and gone. */
	send_request(&c, VF_VFIO_USER_REGION_WRITE, 4096, 0, zero, 64, NULL, 0);
	close(c.fd);
	dial(&c);
	greet(&c);
	assert_true(atomic_load(&c.d.lost_clients) >= 6);
	end(&c);
}

static void server_checks_each_request(void **state)
{
	struct raw_client c;
	struct vf_vfio_user_access access = { .address = 0, .region = 7, .count = 100 };
	struct vf_vfio_irq_set set = { .argsz = 20, .flags = 0x22, .index = 2, .count = 41 };
	struct vf_vfio_user_dma_map map = { .flags = 3, .iova = 0, .size = 8192 };
	uint8_t body[256] = { 0 };
	int file = memfd_create("m", MFD_CLOEXEC), one = eventfd(0, EFD_CLOEXEC);
	int two[2] = { one, one };

	(void) state;
	begin(&c, true);
	assert_int_equal(ftruncate(file, 4096), 0);
	for (uint16_t command = 2; command <= 18; command++) {
		int ret;

		if (command == VF_VFIO_USER_RESET)
			continue;
		ret = ask(&c, command, NULL, 0);	/* empty */
		assert_true(ret == EINVAL || ret == EOPNOTSUPP);
	}
	vf_vfio_user_put_region_access(body, &access);
	assert_int_equal(ask(&c, VF_VFIO_USER_REGION_WRITE, body, 16 + 99), EINVAL);
	assert_int_equal(ask(&c, VF_VFIO_USER_REGION_WRITE, body, 16 + 101), EINVAL);
	assert_int_equal(ask(&c, VF_VFIO_USER_REGION_WRITE, body, 16 + 100), 0);
	access.count = UINT32_MAX;
	vf_vfio_user_put_region_access(body, &access);
	assert_int_equal(ask(&c, VF_VFIO_USER_REGION_READ, body, 16), EINVAL);
	access.count = 0;
	vf_vfio_user_put_region_access(body, &access);
	assert_int_equal(ask(&c, VF_VFIO_USER_REGION_READ, body, 16), EINVAL);

	vf_vfio_user_put_irq_set(body, &set);	/* bools for 41 of 40 vectors */
	assert_int_equal(ask(&c, VF_VFIO_USER_SET_IRQS, body, 20 + 41), EINVAL);
	set.count = 40;
	vf_vfio_user_put_irq_set(body, &set);
	assert_int_equal(ask(&c, VF_VFIO_USER_SET_IRQS, body, 20 + 39), EINVAL);
	assert_int_equal(ask(&c, VF_VFIO_USER_SET_IRQS, body, 20 + 40), 0);
	set.count = UINT32_MAX;
	vf_vfio_user_put_irq_set(body, &set);
	assert_int_equal(ask(&c, VF_VFIO_USER_SET_IRQS, body, 20 + 40), EINVAL);
	set.flags = VF_VFIO_IRQ_SET_DATA_EVENTFD | VF_VFIO_IRQ_SET_ACTION_TRIGGER;
	set.count = 3;
	vf_vfio_user_put_irq_set(body, &set);	/* three vectors, two descriptors */
	send_request(&c, VF_VFIO_USER_SET_IRQS, 0, 0, body, 20, two, 2);
	assert_int_equal(reply_of(&c, NULL, 0, NULL), EINVAL);

	vf_vfio_user_put_dma_map(body, &map);	/* longer than the file behind it */
	send_request(&c, VF_VFIO_USER_DMA_MAP, 0, 0, body, 32, &file, 1);
	assert_int_equal(reply_of(&c, NULL, 0, NULL), EINVAL);
	map.size = 1ull << 62;
	vf_vfio_user_put_dma_map(body, &map);
	send_request(&c, VF_VFIO_USER_DMA_MAP, 0, 0, body, 32, &file, 1);
	assert_int_equal(reply_of(&c, NULL, 0, NULL), EINVAL);
	map.flags = VF_VFIO_USER_DMA_MMAP | 1;
	vf_vfio_user_put_dma_map(body, &map);
	assert_int_equal(ask(&c, VF_VFIO_USER_DMA_MAP, body, 32), EINVAL);

	/* Features: argsz below the request, GET and SET at once, none of them, unknown. */
	vf_vfio_user_put_feature(body, 15, VF_VFIO_FEATURE_SET | 2);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 16), EINVAL);
	vf_vfio_user_put_feature(body, 16, VF_VFIO_FEATURE_GET | VF_VFIO_FEATURE_SET | 2);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 16), EINVAL);
	vf_vfio_user_put_feature(body, 16, 2);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 16), EINVAL);
	vf_vfio_user_put_feature(body, 16, VF_VFIO_FEATURE_GET | 3);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 16), ENOTTY);
	vf_vfio_user_put_feature(body, 8, VF_VFIO_FEATURE_GET | 2);	/* no room for the reply */
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 8), EINVAL);
	/* A log of more ranges than came along, and a report that would not fit. */
	vf_vfio_user_put_feature(body, 8 + 16, VF_VFIO_FEATURE_SET | 6);
	vf_vfio_user_put_log_start(body + 8, 4096, 1);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 24), EINVAL);
	vf_vfio_user_put_log_start(body + 8, 4096, 0);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 24), 0);
	vf_vfio_user_put_feature(body, UINT32_MAX, VF_VFIO_FEATURE_GET | 8);
	vf_put_u64(body + 8, 0);
	vf_put_u64(body + 16, 1ull << 60);
	vf_put_u64(body + 24, 4096);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 32), E2BIG);

	/* Shared buffer: no descriptor, one that can shrink, larger than agreed, not open yet. */
	vf_vfio_user_put_buffer_range(body, 0, 4096);
	assert_int_equal(ask(&c, VF_VFIO_USER_BUFFER_OPEN, body, 16), EINVAL);
	send_request(&c, VF_VFIO_USER_BUFFER_OPEN, 0, 0, body, 16, &file, 1);
	assert_int_equal(reply_of(&c, NULL, 0, NULL), EINVAL);
	vf_vfio_user_put_buffer_range(body, 0, 2 << 20);
	send_request(&c, VF_VFIO_USER_BUFFER_OPEN, 0, 0, body, 16, &file, 1);
	assert_int_equal(reply_of(&c, NULL, 0, NULL), E2BIG);
	vf_vfio_user_put_buffer_range(body, 0, 0);
	assert_int_equal(ask(&c, VF_VFIO_USER_BUFFER_READ, body, 16), EINVAL);
	/* Data of another length than it says, in a state that takes data. */
	vf_vfio_user_put_feature(body, 16, VF_VFIO_FEATURE_SET | 2);
	vf_put_u32(body + 8, VF_VFIO_STATE_RESUMING);
	assert_int_equal(ask(&c, VF_VFIO_USER_FEATURE, body, 16), 0);
	vf_vfio_user_put_mig_data(body, 16, 9);
	assert_int_equal(ask(&c, VF_VFIO_USER_MIG_DATA_WRITE, body, 16), EINVAL);
	vf_vfio_user_put_mig_data(body, 16, 8);
	assert_int_equal(ask(&c, VF_VFIO_USER_MIG_DATA_WRITE, body, 16), 0);
	close(one);
	close(file);
	end(&c);
}

static void server_takes_bytes_one_by_one_and_pipelined(void **state)
{
	struct vf_vfio_user_header header = {
		.id = 7, .command = VF_VFIO_USER_REGION_READ, .size = 32,
	};
	struct vf_vfio_user_access access = { .region = 7, .count = 4 };
	struct raw_client c;
	uint8_t one[32], body[64];
	size_t len;

	(void) state;
	begin(&c, true);
	vf_put_u32(c.d.config, 0x11223344);
	vf_vfio_user_put_header(one, &header);
	vf_vfio_user_put_region_access(one + 16, &access);
	for (size_t i = 0; i < sizeof(one); i++) {
		send_raw(&c, one + i, 1, NULL, 0);
		usleep(200);
	}
	assert_int_equal(reply_of(&c, body, sizeof(body), &len), 0);
	assert_int_equal(len, 20);
	assert_int_equal(vf_get_u32(body + 16), 0x11223344);
	/* 100 at once, and a write that wants no reply among them. */
	for (int i = 0; i < 100; i++) {
		access.address = 4;
		vf_put_u64(one + 16, 4);
		if (i == 50) {
			uint8_t write[20];

			vf_vfio_user_put_region_access(write, &access);
			vf_put_u32(write + 16, 0xabcdef);
			send_request(&c, VF_VFIO_USER_REGION_WRITE, 0, VF_VFIO_USER_NO_REPLY, write,
				     20, NULL, 0);
		}
		send_raw(&c, one, sizeof(one), NULL, 0);
	}
	for (int i = 0; i < 100; i++) {
		assert_int_equal(reply_of(&c, body, sizeof(body), &len), 0);
		assert_int_equal(vf_get_u32(body + 16), i < 50 ? 0 : 0xabcdef);
	}
	end(&c);
}

static void maps_are_bounded(void **state)
{
	struct vf_vfio_user_server_options options = { .size = sizeof(options), .max_dma_maps = 20 };
	struct fixture_device d;
	struct vf_vfio_user_client *client;

	(void) state;
	fixture_init(&d, &options);
	assert_int_equal(fixture_connect(&d, NULL, &client), 0);
	for (uint64_t i = 0; i < 21; i++)	/* in no order, so that inserting is tried too */
		assert_int_equal(vf_vfio_user_client_dma_map(client, (i * 8 % 21) << 20, 4096, true,
							     -1, 0, NULL), i < 20 ? 0 : -ENOSPC);
	vf_vfio_user_client_free(client);
	for (int i = 0; atomic_load(&d.unmaps) < 20; i++) {
		assert_true(i < 1000);
		usleep(1000);
	}
	fixture_stop(&d);
	fixture_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tolerates_a_capability_nobody_proposed),
		cmocka_unit_test(tolerates_silence_in_version),
		cmocka_unit_test(tolerates_refusals),
		cmocka_unit_test(tolerates_padded_and_short_replies),
		cmocka_unit_test(tolerates_a_mappable_region_without_descriptor),
		cmocka_unit_test(refuses_bad_versions),
		cmocka_unit_test(refuses_lies_of_a_server),
		cmocka_unit_test(surplus_descriptors_are_closed),
		cmocka_unit_test(server_survives_bad_headers),
		cmocka_unit_test(server_checks_each_request),
		cmocka_unit_test(server_takes_bytes_one_by_one_and_pipelined),
		cmocka_unit_test(maps_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
