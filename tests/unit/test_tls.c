/* SPDX-License-Identifier: MIT */
/*
 * test_tls.c - who may shake hands with whom, and what both sides say when it fails; frames over TLS
 * by many threads; truncation, stall, cancel; proofs that bind channels.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/checked.h"
#include "base/clock.h"
#include "tls_files.h"
#include "transfer/socket.h"
#include "transfer/tls.h"

#define HOST "host-b.example.org"
#define PSK_A "alice:000102030405060708090a0b0c0d0e0f\n"
#define PSK_B "bob:101112131415161718191a1b1c1d1e1f\n"

/* ---- the world ---- */

static struct tls_ca ca, other_ca;
static char base[64];		/* good credentials of both sides */

static void make_good(const char *dir)
{
	tls_write_ca(dir, &ca);
	(void) tls_write_cert(dir, &ca, &(struct tls_cert) { .file = "server", .name = "host-b",
							     .san = "DNS:" HOST ",IP:127.0.0.1,IP:::1" });
	(void) tls_write_cert(dir, &ca, &(struct tls_cert) { .file = "client", .name = "host-a",
							     .san = "DNS:host-a.example.org" });
}

static int make_world(void **state)
{
	(void) state;
	tls_ca_new(&ca, "Lab CA");
	tls_ca_new(&other_ca, "Another CA");
	tls_new_dir(base, sizeof(base));
	make_good(base);
	return 0;
}

static int end_world(void **state)
{
	(void) state;
	tls_remove_dir(base);
	tls_ca_free(&ca);
	tls_ca_free(&other_ca);
	return 0;
}

static struct vf_tls_creds *load(const char *dir, bool server)
{
	const struct vf_tls_options options = { .dir = dir, .server = server };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_tls_creds *creds = NULL;
	int ret = vf_tls_creds_new(&options, &creds, &err);

	if (ret)
		fail_msg("%s: %s", dir, err.message);
	return creds;
}

/* One end of a handshake, on a thread of its own. */
struct end {
	struct vf_tls_creds *creds;	/* owned */
	const char *host;
	uint64_t timeout_ns;
	int cancel_fd;
	int fd;
	struct vf_channel *channel;
	struct vferry_error err;
	int ret;
	pthread_t thread;
};

static void *end_main(void *user)
{
	struct end *end = user;
	const struct vf_tls_handshake h = {
		.creds = end->creds, .name = "peer", .peer_host = end->host,
		.timeout_ns = end->timeout_ns, .cancel_fd = end->cancel_fd,
	};

	end->ret = vf_tls_channel_new(&h, end->fd, &end->channel, &end->err);
	return NULL;
}

static void end_start(struct end *end, const char *dir, bool server, int fd)
{
	*end = (struct end) { .creds = load(dir, server), .host = server ? NULL : HOST,
			      .timeout_ns = 20 * VF_SECOND_NS, .cancel_fd = -1, .fd = fd };
}

static void end_go(struct end *end)
{
	assert_int_equal(pthread_create(&end->thread, NULL, end_main, end), 0);
}

static void end_join(struct end *end)
{
	assert_int_equal(pthread_join(end->thread, NULL), 0);
}

static void end_free(struct end *end)
{
	end->channel = vf_channel_free(end->channel);
	end->creds = vf_tls_creds_free(end->creds);
}

static void tcp_pair(int fds[2])
{
	struct vf_listener *listener;
	struct vf_uri uri;

	assert_int_equal(vf_uri_parse("tcp:127.0.0.1:0", &uri, NULL), 0);
	assert_int_equal(vf_listener_new(&uri, true, &listener, NULL), 0);
	assert_int_equal(vf_uri_parse(vf_listener_uri(listener), &uri, NULL), 0);
	fds[0] = vf_socket_connect(&uri, true, VF_SECOND_NS, -1, NULL);
	assert_true(fds[0] >= 0);
	fds[1] = vf_listener_accept_fd(listener, VF_SECOND_NS, -1, NULL);
	assert_true(fds[1] >= 0);
	(void) vf_listener_free(listener);
}

/*
 * Source with @source's files, destination with @destination's. A source hears from its first
 * receive, at the latest, that it was turned away.
 */
static void meet_as(struct end *source, struct end *destination)
{
	end_go(source);
	end_go(destination);
	end_join(source);
	end_join(destination);
	if (!source->ret && destination->ret) {
		struct vf_frame frame;
		uint8_t *body;

		source->ret = vf_channel_recv(source->channel, 100, &frame, &body, &source->err);
		source->ret = source->ret > 0 ? 0 : source->ret;
	}
}

static void meet(const char *source_dir, const char *destination_dir, struct end *source,
		 struct end *destination)
{
	int fds[2];

	tcp_pair(fds);
	end_start(source, source_dir, false, fds[0]);
	end_start(destination, destination_dir, true, fds[1]);
	meet_as(source, destination);
}

static void exchange(struct vf_channel *a, struct vf_channel *b)
{
	struct vf_frame frame;
	uint8_t *body;

	assert_int_equal(vf_channel_send(a, VF_FRAME_SECTION, 0, 5, "hello", 5, NULL), 0);
	assert_int_equal(vf_channel_recv(b, 100, &frame, &body, NULL), 1);
	assert_int_equal(frame.length, 5);
	assert_memory_equal(body, "hello", 5);
	free(body);
}

/* Both ends failed, with these ids and these words in their sentences. */
static void assert_fails(const char *source_dir, const char *destination_dir, const char *source_id,
			 const char *source_says, const char *destination_id,
			 const char *destination_says)
{
	struct end source, destination;

	meet(source_dir, destination_dir, &source, &destination);
	if (!source.ret || !destination.ret || strcmp(source.err.id, source_id) ||
	    strcmp(destination.err.id, destination_id) || !strstr(source.err.message, source_says) ||
	    !strstr(destination.err.message, destination_says))
		fail_msg("source %d %s: %s\ndestination %d %s: %s", source.ret, source.err.id,
			 source.err.message, destination.ret, destination.err.id,
			 destination.err.message);
	assert_null(destination.channel);
	end_free(&source);
	end_free(&destination);
}

/* ---- handshakes ---- */

static void x509_both_know_each_other(void **state)
{
	struct end source, destination;
	struct vf_tls_info info;

	(void) state;
	meet(base, base, &source, &destination);
	if (source.ret || destination.ret)
		fail_msg("%s / %s", source.err.message, destination.err.message);
	exchange(source.channel, destination.channel);
	exchange(destination.channel, source.channel);
	assert_true(vf_tls_get_info(source.channel, &info));
	assert_string_equal(info.peer, "CN=host-b,O=Lab (" HOST ", 127.0.0.1, ::1)");
	assert_true(strstr(info.cipher, "TLS_") == info.cipher);
	assert_false(info.psk);
	assert_true(vf_tls_get_info(destination.channel, &info));
	assert_string_equal(info.peer, "CN=host-a,O=Lab (host-a.example.org)");
	assert_true(vf_tls_peer_in(destination.channel, "x\nhost-a.example.org"));
	assert_true(vf_tls_peer_in(destination.channel, "CN=host-a,O=Lab\n"));
	assert_false(vf_tls_peer_in(destination.channel, "host-a.example.or\nost-a.example.org\nhost-a\n"
							 "CN=host-a,O=Lab2\n\n"));
	assert_false(vf_tls_peer_in(destination.channel, ""));
	end_free(&source);
	end_free(&destination);
}

static void the_name_must_be_the_hosts(void **state)
{
	static const struct {
		const char *host;
		bool good;
	} hosts[] = {
		{ "127.0.0.1", true }, { "::1", true }, { "HOST-B.example.org", true },
		{ "127.0.0.2", false }, { "host-b", false }, { "example.org", false },
		{ "host-a.example.org", false },
	};

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(hosts); i++) {
		struct end source, destination;
		int fds[2];

		tcp_pair(fds);
		end_start(&source, base, false, fds[0]);
		end_start(&destination, base, true, fds[1]);
		source.host = hosts[i].host;
		meet_as(&source, &destination);
		if (hosts[i].good && !source.ret) {
			exchange(source.channel, destination.channel);
		} else {
			assert_false(hosts[i].good);
			assert_string_equal(source.err.id, "tls-host");
			assert_non_null(strstr(source.err.message, hosts[i].host));
			assert_non_null(strstr(source.err.message, "CN=host-b"));
			assert_string_equal(destination.err.id, "tls-turned-away");
		}
		end_free(&source);
		end_free(&destination);
	}
}

static void without_a_host_nobody_is_trusted(void **state)
{
	const struct vf_tls_handshake h = { .creds = load(base, false), .name = "unix:x",
					    .cancel_fd = -1 };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_channel *channel;
	int fds[2];

	(void) state;
	assert_true(vf_tls_creds_need_host(h.creds));
	tcp_pair(fds);
	assert_int_equal(vf_tls_channel_new(&h, fds[0], &channel, &err), -EINVAL);
	assert_string_equal(err.id, "tls-no-host");
	(void) close(fds[1]);
	(void) vf_tls_creds_free((struct vf_tls_creds *) h.creds);
}

static void unknown_ca(void **state)
{
	char dir[64];

	(void) state;
	tls_new_dir(dir, sizeof(dir));
	tls_write_ca(dir, &other_ca);
	(void) tls_write_cert(dir, &other_ca, &(struct tls_cert) { .file = "client", .name = "spy" });
	(void) tls_write_cert(dir, &other_ca, &(struct tls_cert) { .file = "server", .name = "spy",
								   .san = "DNS:" HOST });
	assert_fails(base, dir, "tls-certificate", "CA", "tls-turned-away", "know the CA");
	tls_write_ca(dir, &ca);	/* trusts ours, but is none of ours: its own files would not load */
	assert_int_equal(vf_tls_creds_new(&(struct vf_tls_options) { .dir = dir },
					  &(struct vf_tls_creds *) { NULL }, NULL), -EINVAL);
	tls_remove_dir(dir);
}

static void revoked(void **state)
{
	char dir[64];
	long serial;

	(void) state;
	tls_new_dir(dir, sizeof(dir));
	make_good(dir);
	serial = ca.serial;	/* the client's */
	tls_write_crl(base, &ca, serial, 30);
	assert_fails(dir, base, "tls-turned-away", "revoked", "tls-certificate", "revoked");
	tls_write_crl(base, &ca, serial - 1, 30);
	assert_fails(base, dir, "tls-certificate", "revoked", "tls-turned-away", "revoked");
	tls_write_crl(base, &ca, 1, 30);
	{
		struct end source, destination;

		meet(base, dir, &source, &destination);
		assert_int_equal(source.ret, 0);
		exchange(source.channel, destination.channel);
		end_free(&source);
		end_free(&destination);
	}
	(void) unlink(strcat(strcpy((char[96]) { 0 }, base), "/ca-crl.pem"));
	tls_remove_dir(dir);
}

static void psk(void **state)
{
	char alice[64], bob[64], both[64], wrong[64];
	struct end source, destination;
	struct vf_tls_info info;

	(void) state;
	tls_new_dir(alice, sizeof(alice));
	tls_new_dir(bob, sizeof(bob));
	tls_new_dir(both, sizeof(both));
	tls_new_dir(wrong, sizeof(wrong));
	tls_write_text(alice, "keys.psk", PSK_A, 0600);
	tls_write_text(bob, "keys.psk", "# a comment\n\n" PSK_B, 0600);
	tls_write_text(both, "keys.psk", PSK_A PSK_B, 0640);
	tls_write_text(wrong, "keys.psk", "alice:ff0102030405060708090a0b0c0d0e0f\r\n", 0400);
	meet(bob, both, &source, &destination);
	if (source.ret || destination.ret)
		fail_msg("%s / %s", source.err.message, destination.err.message);
	exchange(source.channel, destination.channel);
	exchange(destination.channel, source.channel);
	assert_true(vf_tls_get_info(destination.channel, &info));
	assert_true(info.psk);
	assert_string_equal(info.peer, "bob");
	assert_non_null(strstr(info.cipher, "SHA256"));
	assert_true(vf_tls_peer_in(destination.channel, "alice\nbob"));
	assert_false(vf_tls_peer_in(destination.channel, "alice"));
	end_free(&source);
	end_free(&destination);
	assert_fails(alice, bob, "tls-psk", "\"alice\"", "tls-psk", "\"alice\" is not in keys.psk");
	assert_fails(wrong, both, "tls-psk", "\"alice\"", "tls-psk", "another key for user \"alice\"");
	/* The two ways do not mix. */
	assert_fails(alice, base, "tls-psk", "certificate", "tls-turned-away", "");
	assert_fails(base, alice, "tls-turned-away", "PSK", "tls-psk", "no PSK");
	tls_remove_dir(alice);
	tls_remove_dir(bob);
	tls_remove_dir(both);
	tls_remove_dir(wrong);
}

/* ---- peers that follow no rules: OpenSSL by hand ---- */

struct raw {
	int fd;
	SSL_CTX *ctx;
	int version;
	const char *dir;	/* its client-*.pem; NULL: no certificate */
	int ret;
	pthread_t thread;
};

static void *raw_main(void *user)
{
	struct raw *raw = user;
	SSL *ssl = SSL_new(raw->ctx);
	sigset_t pipe_only;
	char c;

	/* It writes without care; the library's channels must not need this. */
	(void) sigemptyset(&pipe_only);
	(void) sigaddset(&pipe_only, SIGPIPE);
	(void) pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
	(void) fcntl(raw->fd, F_SETFL, 0);
	(void) SSL_set_fd(ssl, raw->fd);
	raw->ret = SSL_connect(ssl);
	if (raw->ret == 1)
		raw->ret = SSL_read(ssl, &c, 1);
	ERR_clear_error();
	SSL_free(ssl);
	(void) close(raw->fd);
	return NULL;
}

static void assert_raw_fails(const char *dir, int version, const char *id, const char *says)
{
	struct raw raw = { .ctx = SSL_CTX_new(TLS_client_method()) };
	struct end destination;
	char path[160];
	int fds[2];

	tcp_pair(fds);
	raw.fd = fds[0];
	SSL_CTX_set_max_proto_version(raw.ctx, version);
	if (dir) {
		(void) snprintf(path, sizeof(path), "%s/client-cert.pem", dir);
		assert_int_equal(SSL_CTX_use_certificate_file(raw.ctx, path, SSL_FILETYPE_PEM), 1);
		(void) snprintf(path, sizeof(path), "%s/client-key.pem", dir);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(raw.ctx, path, SSL_FILETYPE_PEM), 1);
	}
	end_start(&destination, base, true, fds[1]);
	end_go(&destination);
	assert_int_equal(pthread_create(&raw.thread, NULL, raw_main, &raw), 0);
	end_join(&destination);
	assert_int_equal(pthread_join(raw.thread, NULL), 0);
	assert_true(raw.ret <= 0);
	assert_int_not_equal(destination.ret, 0);
	if (strcmp(destination.err.id, id) || !strstr(destination.err.message, says))
		fail_msg("%s: %s", destination.err.id, destination.err.message);
	end_free(&destination);
	SSL_CTX_free(raw.ctx);
}

static void hostile_sources(void **state)
{
	const struct tls_cert expired = { .file = "client", .name = "host-a", .from = -20, .until = -10 };
	const struct tls_cert early = { .file = "client", .name = "host-a", .from = 10, .until = 20 };
	const struct tls_cert role = { .file = "client", .name = "host-a", .usage = "serverAuth" };
	char dir[64];

	(void) state;
	tls_new_dir(dir, sizeof(dir));
	assert_raw_fails(NULL, TLS1_3_VERSION, "tls-certificate", "without a certificate");
	assert_raw_fails(base, TLS1_2_VERSION, "tls-version", "TLS 1.3");
	(void) tls_write_cert(dir, &ca, &expired);
	assert_raw_fails(dir, TLS1_3_VERSION, "tls-certificate", "has expired");
	(void) tls_write_cert(dir, &ca, &early);
	assert_raw_fails(dir, TLS1_3_VERSION, "tls-certificate", "not valid yet");
	(void) tls_write_cert(dir, &ca, &role);
	assert_raw_fails(dir, TLS1_3_VERSION, "tls-certificate", "this role");
	(void) tls_write_cert(dir, &other_ca, &(struct tls_cert) { .file = "client", .name = "x" });
	assert_raw_fails(dir, TLS1_3_VERSION, "tls-certificate", "CA");
	tls_remove_dir(dir);
}

/* ---- credentials ---- */

static void assert_no_creds(const char *dir, bool server, int code, const char *id, const char *says)
{
	const struct vf_tls_options options = { .dir = dir, .server = server };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_tls_creds *creds;
	int ret = vf_tls_creds_new(&options, &creds, &err);

	if (ret != code || strcmp(err.id, id) || !strstr(err.message, says))
		fail_msg("%d %s: %s", ret, err.id, err.message);
}

static void bad_credentials(void **state)
{
	char dir[64], path[192];

	(void) state;
	assert_no_creds("/nowhere", true, -ENOENT, "tls-file", "/nowhere");
	tls_new_dir(dir, sizeof(dir));
	assert_no_creds(dir, true, -ENOENT, "tls-file", "neither");
	make_good(dir);
	(void) snprintf(path, sizeof(path), "%s/server-key.pem", dir);
	assert_int_equal(chmod(path, 0644), 0);
	assert_no_creds(dir, true, -EACCES, "tls-key-mode", "chmod 0600");
	assert_int_equal(chmod(path, 0660), 0);
	assert_no_creds(dir, true, -EACCES, "tls-key-mode", "server-key.pem");
	(void) vf_tls_creds_free(load(dir, false));	/* the source does not look at it */
	assert_int_equal(unlink(path), 0);
	assert_no_creds(dir, true, -ENOENT, "tls-file", "server-key.pem");
	tls_write_text(dir, "server-key.pem", "nonsense", 0600);
	assert_no_creds(dir, true, -EINVAL, "tls-file", "no private key");
	make_good(dir);
	(void) snprintf(path, sizeof(path), "cp %s/client-key.pem %s/server-key.pem", dir, dir);
	assert_int_equal(system(path), 0);
	assert_no_creds(dir, true, -EINVAL, "tls-file", "does not belong");
	tls_write_text(dir, "keys.psk", PSK_A, 0600);
	assert_no_creds(dir, true, -EINVAL, "tls-ambiguous", "both");
	(void) unlink(strcat(strcpy(path, dir), "/keys.psk"));
	(void) tls_write_cert(dir, &ca, &(struct tls_cert) { .file = "server", .name = "x", .from = -9,
							     .until = -3 });
	assert_no_creds(dir, true, -EINVAL, "tls-own-certificate", "expired");
	(void) tls_write_cert(dir, &ca, &(struct tls_cert) { .file = "server", .name = "x",
							     .usage = "clientAuth" });
	assert_no_creds(dir, true, -EINVAL, "tls-own-certificate", "purpose");
	tls_write_text(dir, "ca-cert.pem", "nonsense", 0644);
	assert_no_creds(dir, true, -EINVAL, "tls-file", "no certificate");
	make_good(dir);
	tls_write_text(dir, "ca-crl.pem", "nonsense", 0644);
	assert_no_creds(dir, true, -EINVAL, "tls-file", "no list");
	tls_write_crl(dir, &ca, 0, -1);
	assert_no_creds(dir, true, -EINVAL, "tls-own-certificate", "CRL");
	tls_remove_dir(dir);
}

static void bad_psk_files(void **state)
{
	static const char *const bad[] = {
		"\n", "alice\n", ":000102030405060708090a0b0c0d0e0f\n", "alice:00\n", "alice:0\n",
		"alice:000102030405060708090a0b0c0d0e0g\n", "alice:000102030405060708090a0b0c0d0e0f0\n",
		PSK_A PSK_A,
	};
	char dir[64];

	(void) state;
	tls_new_dir(dir, sizeof(dir));
	for (size_t i = 0; i < VF_ARRAY_COUNT(bad); i++) {
		tls_write_text(dir, "keys.psk", bad[i], 0600);
		assert_no_creds(dir, i % 2, -EINVAL, "tls-psk-file", "keys.psk");
	}
	tls_write_text(dir, "keys.psk", PSK_A, 0604);
	assert_no_creds(dir, true, -EACCES, "tls-key-mode", "0604");
	tls_remove_dir(dir);
}

/* ---- peers without TLS, that are silent, or gone ---- */

static void plain_peers(void **state)
{
	struct vf_channel *plain;
	struct end end;
	int fds[2];

	(void) state;
	for (int server = 0; server < 2; server++) {
		tcp_pair(fds);
		end_start(&end, base, server, fds[0]);
		assert_int_equal(vf_channel_from_fd(fds[1], "plain", &plain, NULL), 0);
		end_go(&end);
		assert_int_equal(vf_channel_send(plain, VF_FRAME_HELLO, 0, VF_NO_COMPONENT, "x", 1, NULL),
				 0);
		end_join(&end);
		assert_int_equal(end.ret, -EPROTO);
		assert_string_equal(end.err.id, "tls-plain-peer");
		assert_non_null(strstr(end.err.message, "--tls-creds"));
		end_free(&end);
		(void) vf_channel_free(plain);
	}
}

static void silent_peers(void **state)
{
	uint64_t one = 1, start;
	struct end end;
	int fds[2];

	(void) state;
	for (int server = 0; server < 2; server++) {
		tcp_pair(fds);
		end_start(&end, base, server, fds[0]);
		end.timeout_ns = 50 * VF_MS_NS;
		start = vf_now_ns();
		(void) end_main(&end);
		assert_int_equal(end.ret, -ETIMEDOUT);
		assert_true(vf_now_ns() - start >= 50 * VF_MS_NS);
		assert_non_null(strstr(end.err.message, "too long"));
		end_free(&end);
		(void) close(fds[1]);

		tcp_pair(fds);
		end_start(&end, base, server, fds[0]);
		end.cancel_fd = eventfd(0, EFD_CLOEXEC);
		end_go(&end);
		if (!server)	/* half a handshake is on its way */
			assert_int_equal(poll(&(struct pollfd) { .fd = fds[1], .events = POLLIN }, 1, 9000),
					 1);
		assert_int_equal(write(end.cancel_fd, &one, sizeof(one)), sizeof(one));
		end_join(&end);
		assert_int_equal(end.ret, -ECANCELED);
		(void) close(end.cancel_fd);
		end_free(&end);
		(void) close(fds[1]);

		tcp_pair(fds);
		end_start(&end, base, server, fds[0]);
		(void) close(fds[1]);
		(void) end_main(&end);
		assert_true(end.ret == -ECONNRESET || end.ret == -EPIPE);
		end_free(&end);
	}
}

static void meet_well(struct end *source, struct end *destination)
{
	meet(base, base, source, destination);
	assert_int_equal(source->ret, 0);
	assert_int_equal(destination->ret, 0);
}

static void stall_and_shutdown(void **state)
{
	struct end source, destination;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_frame frame;
	uint8_t *body;
	int ret;

	(void) state;
	meet_well(&source, &destination);
	assert_int_equal(vf_channel_set_stall_timeout(source.channel, 50 * VF_MS_NS), 0);
	assert_int_equal(vf_channel_recv(source.channel, 100, &frame, &body, &err), -ETIMEDOUT);
	assert_string_equal(err.id, "channel-stalled");
	body = calloc(1, VF_MIB);
	do	/* nobody reads */
		ret = vf_channel_send(source.channel, VF_FRAME_SECTION, 0, 0, body, VF_MIB, NULL);
	while (!ret);
	assert_int_equal(ret, -ETIMEDOUT);
	free(body);
	end_free(&source);
	end_free(&destination);
}

static void *blocked_main(void *user)
{
	struct vf_channel *channel = user;
	struct vf_frame frame;
	uint8_t *body;

	return (void *) (intptr_t) vf_channel_recv(channel, 100, &frame, &body, NULL);
}

static void shutdown_wakes_and_says_goodbye(void **state)
{
	struct end source, destination;
	struct vf_frame frame;
	pthread_t thread;
	uint8_t *body;
	void *ret;

	(void) state;
	meet_well(&source, &destination);
	assert_int_equal(pthread_create(&thread, NULL, blocked_main, source.channel), 0);
	exchange(source.channel, destination.channel);	/* sends beside the one that receives */
	vf_channel_shutdown(source.channel);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_int_equal((intptr_t) ret, -ECANCELED);
	assert_int_equal(vf_channel_send(source.channel, VF_FRAME_COMMIT, 0, 0, NULL, 0, NULL), -ECANCELED);
	assert_int_equal(vf_channel_recv(destination.channel, 100, &frame, &body, NULL), 0);
	end_free(&source);
	end_free(&destination);
}

/* The end of the connection without the end of the stream is no end, whoever made it. */
static void truncation_is_an_error(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct end source, destination;
	struct vf_frame frame;
	uint8_t *body;
	int fds[2];

	(void) state;
	tcp_pair(fds);
	end_start(&source, base, false, fds[0]);
	end_start(&destination, base, true, fds[1]);
	meet_as(&source, &destination);
	exchange(source.channel, destination.channel);
	assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
	assert_int_equal(vf_channel_recv(destination.channel, 100, &frame, &body, &err), -ECONNRESET);
	assert_string_equal(err.id, "tls-truncated");
	end_free(&source);
	end_free(&destination);
}

static void a_damaged_record_is_an_error(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct end source, destination;
	struct vf_frame frame;
	uint8_t *body;
	int fds[2];

	(void) state;
	tcp_pair(fds);
	end_start(&source, base, false, fds[0]);
	end_start(&destination, base, true, fds[1]);
	meet_as(&source, &destination);
	assert_int_equal(send(fds[0], "\x17\x03\x03\x00\x20 this was never encrypted by us.", 37, 0), 37);
	assert_int_equal(vf_channel_recv(destination.channel, 100, &frame, &body, &err), -EBADMSG);
	assert_string_equal(err.id, "tls-damaged");
	end_free(&source);
	end_free(&destination);
}

/* ---- many threads, both ways, while keys are renewed ---- */

#define FRAMES 200u
#define SENDERS 3u

struct traffic {
	struct vf_channel *channel;
	uint8_t *guest;		/* a page that changes while it is sent */
	bool failed;
};

static void *send_main(void *user)
{
	struct traffic *t = user;

	for (unsigned i = 0; i < FRAMES; i++) {
		struct vf_outgoing out = { .frame = { .type = VF_FRAME_PAGES, .length = 100000 } };
		struct iovec iov[2] = { { out.header, sizeof(out.header) }, { t->guest, 100000 } };

		if (vf_channel_send_vector(t->channel, &out, 1, iov, 2, true, NULL))
			t->failed = true;
	}
	return NULL;
}

static void *receive_main(void *user)
{
	struct traffic *t = user;
	uint8_t *to = malloc(100000);

	for (unsigned i = 0; i < FRAMES * SENDERS; i++) {
		struct vf_frame frame;
		struct iovec iov = { to, 100000 };

		if (vf_channel_recv_header(t->channel, VF_FRAME_MAX_BYTES, &frame, NULL) != 1 ||
		    frame.length != 100000 ||
		    vf_channel_recv_vector(t->channel, &iov, 1, false, NULL))
			t->failed = true;
	}
	free(to);
	return NULL;
}

static void *guest_main(void *user)
{
	struct traffic *t = user;

	for (unsigned i = 0; i < 20000; i++)	/* races with the copy by nature: told to TSan there */
		__atomic_store_n(&t->guest[i % 100000], (uint8_t) i, __ATOMIC_RELAXED);
	return NULL;
}

static void both_ways_at_once(void **state)
{
	struct vf_tls_options options = { .dir = base, .rekey_bytes = 300000 };
	struct end source, destination;
	struct traffic traffic[2];
	pthread_t threads[2][SENDERS + 2];
	int fds[2];

	(void) state;
	tcp_pair(fds);
	end_start(&source, base, false, fds[0]);
	end_start(&destination, base, true, fds[1]);
	source.creds = vf_tls_creds_free(source.creds);
	destination.creds = vf_tls_creds_free(destination.creds);
	assert_int_equal(vf_tls_creds_new(&options, &source.creds, NULL), 0);
	options.server = true;
	assert_int_equal(vf_tls_creds_new(&options, &destination.creds, NULL), 0);
	meet_as(&source, &destination);
	for (int i = 0; i < 2; i++) {
		traffic[i] = (struct traffic) {
			.channel = i ? destination.channel : source.channel, .guest = calloc(1, 100000),
		};
		for (unsigned j = 0; j < SENDERS + 2; j++)
			assert_int_equal(pthread_create(&threads[i][j], NULL,
							j < SENDERS ? send_main
							: j == SENDERS ? receive_main : guest_main,
							&traffic[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		for (unsigned j = 0; j < SENDERS + 2; j++)
			assert_int_equal(pthread_join(threads[i][j], NULL), 0);
		assert_false(traffic[i].failed);
		free(traffic[i].guest);
	}
	end_free(&source);
	end_free(&destination);
}

/* ---- channels of one session ---- */

static void proofs_bind_channels(void **state)
{
	struct vf_hello hello = { .purpose = VF_PURPOSE_MIGRATE, .session_id = { 1, 2, 3 }, .channel = 1,
				  .channel_count = 2 };
	uint8_t secret[2][32], proof[2][32], other[32];
	struct end source[2], destination[2];

	(void) state;
	for (int i = 0; i < 2; i++)
		meet_well(&source[i], &destination[i]);
	assert_int_equal(vf_tls_session_secret(source[0].channel, secret[0], NULL), 0);
	assert_int_equal(vf_tls_session_secret(destination[0].channel, secret[1], NULL), 0);
	assert_memory_equal(secret[0], secret[1], 32);
	assert_int_equal(vf_tls_session_secret(source[1].channel, other, NULL), 0);
	assert_memory_not_equal(secret[0], other, 32);

	assert_int_equal(vf_tls_join_proof(source[1].channel, secret[0], &hello, proof[0], NULL), 0);
	assert_int_equal(vf_tls_join_proof(destination[1].channel, secret[0], &hello, proof[1], NULL), 0);
	assert_memory_equal(proof[0], proof[1], 32);
	/* Another secret, connection, place, purpose or session: another proof. */
	assert_int_equal(vf_tls_join_proof(source[1].channel, other, &hello, proof[1], NULL), 0);
	assert_memory_not_equal(proof[0], proof[1], 32);
	assert_int_equal(vf_tls_join_proof(source[0].channel, secret[0], &hello, proof[1], NULL), 0);
	assert_memory_not_equal(proof[0], proof[1], 32);
	hello.channel = 0;
	assert_int_equal(vf_tls_join_proof(source[1].channel, secret[0], &hello, proof[1], NULL), 0);
	assert_memory_not_equal(proof[0], proof[1], 32);
	hello.channel = 1;
	hello.purpose = VF_PURPOSE_RESOLVE;
	assert_int_equal(vf_tls_join_proof(source[1].channel, secret[0], &hello, proof[1], NULL), 0);
	assert_memory_not_equal(proof[0], proof[1], 32);
	hello.purpose = VF_PURPOSE_MIGRATE;
	hello.session_id[0]++;
	assert_int_equal(vf_tls_join_proof(source[1].channel, secret[0], &hello, proof[1], NULL), 0);
	assert_memory_not_equal(proof[0], proof[1], 32);
	for (int i = 0; i < 2; i++) {
		end_free(&source[i]);
		end_free(&destination[i]);
	}
}

/* What the kernel says it can do is done. */
static void kernel_tls_is_used_where_it_is(void **state)
{
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_available_ulp", "r");
	struct end source, destination;
	struct vf_tls_info info;
	char line[128] = "";

	(void) state;
	if (file) {
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		(void) fclose(file);
	}
	meet_well(&source, &destination);
	assert_true(vf_tls_get_info(source.channel, &info));
	assert_int_equal(info.kernel_sends, strstr(line, "tls") != NULL);
	exchange(source.channel, destination.channel);
	end_free(&source);
	end_free(&destination);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(x509_both_know_each_other),
		cmocka_unit_test(the_name_must_be_the_hosts),
		cmocka_unit_test(without_a_host_nobody_is_trusted),
		cmocka_unit_test(unknown_ca),
		cmocka_unit_test(revoked),
		cmocka_unit_test(psk),
		cmocka_unit_test(hostile_sources),
		cmocka_unit_test(bad_credentials),
		cmocka_unit_test(bad_psk_files),
		cmocka_unit_test(plain_peers),
		cmocka_unit_test(silent_peers),
		cmocka_unit_test(stall_and_shutdown),
		cmocka_unit_test(shutdown_wakes_and_says_goodbye),
		cmocka_unit_test(truncation_is_an_error),
		cmocka_unit_test(a_damaged_record_is_an_error),
		cmocka_unit_test(both_ways_at_once),
		cmocka_unit_test(proofs_bind_channels),
		cmocka_unit_test(kernel_tls_is_used_where_it_is),
	};

	return cmocka_run_group_tests(tests, make_world, end_world);
}
