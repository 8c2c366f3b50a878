/* SPDX-License-Identifier: MIT */
/* link.c - see link.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "session/link.h"
#include "transfer/socket.h"
#include "transfer/tls.h"
#include "wire/frame.h"

#define TLS_HANDSHAKE_RECORD 0x16	/* the first byte of a client that speaks TLS */

/* ---- protection ---- */

int vf_link_prepare(struct vferry_session *s, bool server, struct vferry_error *err)
{
	const struct vf_tls_options options = { .dir = s->parameters.tls_creds, .server = server };

	s->tls = vf_tls_creds_free(s->tls);
	/* A file has no other side: what is in it is as safe as where it lies. */
	if (!options.dir || s->target.kind == VF_URI_FILE)
		return 0;
	return vf_tls_creds_new(&options, &s->tls, err);
}

bool vf_link_loopback_only(const struct vferry_session *s)
{
	return !s->tls && !s->parameters.insecure;
}

/* Of a unix socket the kernel says whose process is at the other end. */
static int check_user(const struct vferry_session *s, int fd, const char *name,
		      struct vferry_error *err)
{
	socklen_t length = sizeof(int);
	int domain, ret;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) || domain != AF_UNIX)
		return 0;
	ret = vferry_trust_check(&s->parameters.trust, fd, err);
	if (ret && err && !err->object[0])
		(void) snprintf(err->object, sizeof(err->object), "%s", name);
	return ret;
}

int vf_link_connect(struct vferry_session *s, const struct vf_uri *uri, uint64_t timeout_ns,
		    int cancel_fd, struct vf_channel **ret_channel, struct vferry_error *err)
{
	const char *wanted = s->parameters.tls_hostname;
	char name[160];
	struct vf_tls_handshake handshake = {
		.creds = s->tls, .name = vf_socket_name(uri, name, sizeof(name)),
		.peer_host = wanted ? wanted : uri->kind == VF_URI_TCP ? uri->host : NULL,
		.timeout_ns = timeout_ns, .cancel_fd = cancel_fd,
	};
	int fd = vf_socket_connect(uri, vf_link_loopback_only(s), timeout_ns, cancel_fd, err);
	int ret = fd < 0 ? fd : uri->kind == VF_URI_UNIX ? check_user(s, fd, name, err) : 0;

	if (ret) {
		vf_close(&fd);
		return ret;
	}
	return s->tls ? vf_tls_channel_new(&handshake, fd, ret_channel, err)
		      : vf_channel_from_fd(fd, name, ret_channel, err);
}

/* Return: 1 the peer speaks TLS; 0 it does not; negative errno. */
static int speaks_tls(int fd, const char *name, uint64_t timeout_ns, int cancel_fd,
		      struct vferry_error *err)
{
	uint8_t first;
	int ret = vf_socket_wait(fd, POLLIN, vf_socket_deadline(timeout_ns), cancel_fd);
	ssize_t n;

	if (ret)
		return vferry_error_set(err, ret, "no-greeting", name, "no greeting came: %s",
					vferry_errno_name(ret));
	n = recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n <= 0)
		return vferry_error_set(err, n ? -errno : -ECONNRESET, "no-greeting", name,
					"the connection was closed without a greeting");
	return first == TLS_HANDSHAKE_RECORD;
}

/* What is not expected is taken as a plain channel all the same, so that it can be told. */
static int refuse_in_plain(int take_fd, const char *name, bool tls, struct vf_channel **ret_channel,
			   struct vferry_error *err)
{
	struct vferry_error ignored = VFERRY_ERROR_INIT;

	(void) vf_channel_from_fd(take_fd, name, ret_channel, &ignored);
	return tls ? vferry_error_set(err, -EPROTO, "tls-unexpected", name,
				      "the source speaks TLS, and the destination was started without "
				      "--tls-creds")
		   : vferry_error_set(err, -EPROTO, "tls-plain-peer", name,
				      "the source does not speak TLS, and the destination wants it: "
				      "give the source --tls-creds");
}

int vf_link_accept(struct vferry_session *s, int take_fd, bool came, const char *name,
		   uint64_t timeout_ns, int cancel_fd, struct vf_channel **ret_channel, struct vferry_error *err)
{
	const struct vf_tls_handshake handshake = {
		.creds = s->tls, .name = name, .timeout_ns = timeout_ns, .cancel_fd = cancel_fd,
	};
	int ret = came ? check_user(s, take_fd, name, err) : 0;
	int tls;

	*ret_channel = NULL;
	if (ret) {	/* a channel all the same, so that it can be told */
		struct vferry_error ignored = VFERRY_ERROR_INIT;

		(void) vf_channel_from_fd(take_fd, name, ret_channel, &ignored);
		return ret;
	}
	tls = speaks_tls(take_fd, name, timeout_ns, cancel_fd, err);
	if (tls < 0) {
		vf_close(&take_fd);
		return tls;
	}
	if ((tls == 1) != (s->tls != NULL))
		return refuse_in_plain(take_fd, name, tls, ret_channel, err);
	return tls ? vf_tls_channel_new(&handshake, take_fd, ret_channel, err)
		   : vf_channel_from_fd(take_fd, name, ret_channel, err);
}

int vf_link_check_peer(const struct vferry_session *s, const struct vf_channel *channel,
		       struct vferry_error *err)
{
	struct vf_tls_info info;

	if (!s->tls || !s->parameters.tls_allow || vf_tls_peer_in(channel, s->parameters.tls_allow))
		return 0;
	(void) vf_tls_get_info(channel, &info);
	return vferry_error_set(err, -EACCES, "tls-not-allowed", vf_channel_name(channel),
				"%s is known, but not among those that may come here (tls-allow)",
				info.peer);
}

void vf_link_note(struct vferry_session *s, const struct vf_channel *channel)
{
	struct vf_tls_info info;

	if (!vf_tls_get_info(channel, &info))
		return;
	(void) pthread_mutex_lock(&s->lock);
	s->status.tls.encrypted = true;
	s->status.tls.psk = info.psk;
	s->status.tls.kernel_channels += info.kernel_sends;
	(void) snprintf(s->status.tls.cipher, sizeof(s->status.tls.cipher), "%s", info.cipher);
	(void) snprintf(s->status.tls.peer, sizeof(s->status.tls.peer), "%s", info.peer);
	(void) pthread_mutex_unlock(&s->lock);
}

/* ---- joining ---- */

int vf_link_secret(const struct vf_channel *channel, uint8_t ret_secret[VF_JOIN_BYTES],
		   struct vferry_error *err)
{
	struct vf_tls_info info;

	_Static_assert(VF_JOIN_BYTES == VF_TLS_SECRET_BYTES, "a secret is what JOIN carries");
	if (vf_tls_get_info(channel, &info))
		return vf_tls_session_secret(channel, ret_secret, err);
	if (getrandom(ret_secret, VF_JOIN_BYTES, 0) != VF_JOIN_BYTES)
		return vferry_error_set(err, -EIO, "no-random", NULL, "no random bytes to be had");
	return 0;
}

int vf_link_join(const struct vf_channel *channel, const uint8_t secret[VF_JOIN_BYTES],
		 const struct vf_hello *hello, uint8_t ret_join[VF_JOIN_BYTES],
		 struct vferry_error *err)
{
	struct vf_tls_info info;

	if (vf_tls_get_info(channel, &info))
		return vf_tls_join_proof(channel, secret, hello, ret_join, err);
	memcpy(ret_join, secret, VF_JOIN_BYTES);
	return 0;
}

bool vf_link_join_matches(const struct vf_channel *channel, const uint8_t secret[VF_JOIN_BYTES],
			  const struct vf_hello *hello, const uint8_t join[VF_JOIN_BYTES])
{
	uint8_t due[VF_JOIN_BYTES];
	volatile uint8_t differ = 0;

	if (vf_link_join(channel, secret, hello, due, NULL))
		return false;
	for (size_t i = 0; i < VF_JOIN_BYTES; i++)	/* all of them, whatever the first ones were */
		differ |= due[i] ^ join[i];
	return !differ;
}
