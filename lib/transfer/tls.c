/* SPDX-License-Identifier: MIT */
/*
 * tls.c - the transport over TLS 1.3: the handshake, sending and receiving; see tls.h.
 *
 * The socket does not block. A call tries OpenSSL under the lock; what it then waits for it waits for
 * by poll(2), without the lock. So a receiver that waits for hours never keeps a sender out, and
 * shutdown(2) wakes both. OpenSSL's queue of errors belongs to the thread, and its state to the lock,
 * so both are looked at before the lock is let go.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/x509v3.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "transfer/guest_io.h"
#include "transfer/socket.h"
#include "transfer/tls_internal.h"

#define SECRET_LABEL "EXPORTER-vferry-session"
#define JOIN_LABEL "EXPORTER-vferry-join"
#define PROOF_LABEL "vferry join 1"

/* ---- one try ---- */

/*
 * After OpenSSL said no. Return: POLLIN, POLLOUT: wait for that; 0 the peer said that it sends no
 * more; negative errno.
 */
static int refused_locked(struct vf_tls *tls, int ret, const char *doing)
{
	int error = errno;

	switch (SSL_get_error(tls->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return POLLIN;
	case SSL_ERROR_WANT_WRITE:
		return POLLOUT;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		tls->broken = true;
		return vf_tls_error_locked(tls, error ? -error : -ECONNRESET, doing, NULL);
	default:
		tls->broken = true;
		return vf_tls_error_locked(tls, 0, doing, NULL);
	}
}

/* Until @events or an error. Return: 0; -ETIMEDOUT nothing for the stall timeout; negative errno. */
static int wait_stalling(const struct vf_tls *tls, short events)
{
	uint64_t ns = __atomic_load_n(&tls->stall_ns, __ATOMIC_RELAXED);
	uint64_t until = 0;

	if (ns && vf_add_u64(vf_now_ns(), ns, &until))
		until = 0;
	return vf_socket_wait(tls->fd, events, until, -1);
}

/* ---- sending ---- */

/* The first bytes of the vector, at most one record's. */
static size_t gather(uint8_t *to, const struct iovec *iov, size_t count, bool guest)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count && bytes < VF_TLS_RECORD_BYTES; i++) {
		size_t n = vf_min_u64(iov[i].iov_len, VF_TLS_RECORD_BYTES - bytes);

		if (guest)
			vf_guest_copy(to + bytes, iov[i].iov_base, n);
		else if (n)
			memcpy(to + bytes, iov[i].iov_base, n);
		bytes += n;
	}
	return bytes;
}

/*
 * A peer that turned this side away said why before it closed; the write that finds the connection
 * closed must not hide it.
 */
static int last_words_locked(struct vf_tls *tls, int code)
{
	char nowhere;
	int ret;

	tls->why = (struct vferry_error) VFERRY_ERROR_INIT;
	ERR_clear_error();
	errno = 0;
	ret = SSL_peek(tls->ssl, &nowhere, 1);
	if (ret <= 0 && SSL_get_error(tls->ssl, ret) == SSL_ERROR_SSL) {
		int said = vf_tls_error_locked(tls, 0, "sending", NULL);

		if (said == -EACCES)
			return said;
	}
	ERR_clear_error();
	tls->why = (struct vferry_error) VFERRY_ERROR_INIT;
	return code;
}

/* New keys for what this side sends. The kernel's cannot be renewed, so those stay. */
static void renew_keys_locked(struct vf_tls *tls)
{
	if (tls->until_rekey || BIO_get_ktls_send(SSL_get_wbio(tls->ssl)))
		return;
	if (SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
		tls->until_rekey = tls->creds->rekey_bytes;
	ERR_clear_error();
}

/* Return: > 0 written, all of it; POLLIN or POLLOUT in *ret_wait and 0; negative errno. */
static int64_t write_locked(struct vf_tls *tls, size_t bytes, int *ret_wait)
{
	int n, ret;

	if (tls->broken)
		return tls->why.code ? tls->why.code : -ECONNRESET;
	renew_keys_locked(tls);
	ERR_clear_error();
	errno = 0;
	n = SSL_write(tls->ssl, tls->out, (int) bytes);
	if (n > 0) {
		tls->until_rekey -= vf_min_u64(tls->until_rekey, (uint64_t) n);
		return n;
	}
	ret = refused_locked(tls, n, "sending");
	if (ret == -EPIPE || ret == -ECONNRESET)
		return last_words_locked(tls, ret);
	*ret_wait = ret > 0 ? ret : 0;
	return ret < 0 ? ret : ret ? 0 : -EPIPE;
}

static int64_t tls_send(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	struct vf_tls *tls = transport;
	size_t bytes = gather(tls->out, iov, count, guest);

	for (;;) {
		int wait = 0, ret;
		int64_t n;

		(void) pthread_mutex_lock(&tls->lock);
		n = write_locked(tls, bytes, &wait);
		(void) pthread_mutex_unlock(&tls->lock);
		if (n)
			return n;
		ret = wait_stalling(tls, (short) wait);
		if (ret)
			return ret;
	}
}

/* ---- receiving ---- */

static int64_t read_locked(struct vf_tls *tls, const struct iovec *iov, int *ret_wait)
{
	int n, ret;

	if (tls->broken)
		return tls->why.code ? tls->why.code : -ECONNRESET;
	ERR_clear_error();
	errno = 0;
	n = SSL_read(tls->ssl, iov->iov_base, (int) vf_min_u64(iov->iov_len, INT32_MAX));
	if (n > 0)
		return n;
	ret = refused_locked(tls, n, "receiving");
	*ret_wait = ret > 0 ? ret : 0;
	return ret < 0 ? ret : 0;
}

/* A record at a time. Where it lands is its own place: it was authenticated before. */
static int64_t tls_recv(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	struct vf_tls *tls = transport;

	(void) count;
	(void) guest;
	for (;;) {
		int wait = 0, ret;
		int64_t n;

		(void) pthread_mutex_lock(&tls->lock);
		n = read_locked(tls, iov, &wait);
		(void) pthread_mutex_unlock(&tls->lock);
		if (n || !wait)
			return n;
		ret = wait_stalling(tls, (short) wait);
		if (ret)
			return ret;
	}
}

/* ---- the rest of a transport ---- */

static int tls_set_stall_timeout(void *transport, uint64_t ns)
{
	__atomic_store_n(&((struct vf_tls *) transport)->stall_ns, ns, __ATOMIC_RELAXED);
	return 0;
}

/* Says goodbye if there is room for it, and wakes everybody. */
static void tls_shutdown(void *transport)
{
	struct vf_tls *tls = transport;

	(void) pthread_mutex_lock(&tls->lock);
	if (tls->done && !tls->broken && !(SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN)) {
		ERR_clear_error();
		(void) SSL_shutdown(tls->ssl);
		ERR_clear_error();
	}
	(void) pthread_mutex_unlock(&tls->lock);
	(void) shutdown(tls->fd, SHUT_RDWR);
}

static void tls_explain(void *transport, struct vferry_error *err)
{
	struct vf_tls *tls = transport;

	(void) pthread_mutex_lock(&tls->lock);
	if (tls->why.code && err && !err->code)
		*err = tls->why;
	(void) pthread_mutex_unlock(&tls->lock);
}

static void tls_free(void *transport)
{
	struct vf_tls *tls = transport;

	if (tls->ssl && tls->fd >= 0)
		tls_shutdown(tls);
	SSL_free(tls->ssl);
	vf_close(&tls->fd);
	(void) pthread_mutex_destroy(&tls->lock);
	OPENSSL_cleanse(tls->out, sizeof(tls->out));
	free(tls);
}

const struct vf_transport_ops vf_tls_ops = {
	.send = tls_send,
	.recv = tls_recv,
	.set_stall_timeout = tls_set_stall_timeout,
	.explain = tls_explain,
	.shutdown = tls_shutdown,
	.free = tls_free,
};

/* ---- the handshake ---- */

int vf_tls_verified(int ok, X509_STORE_CTX *check)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct vf_tls *tls = SSL_get_app_data(ssl);
	const X509 *cert = X509_STORE_CTX_get_current_cert(check);

	if (!ok && cert)
		vf_tls_describe(cert, tls->at_fault, sizeof(tls->at_fault));
	return ok;
}

/* The certificate must be for the host that was meant: its address, or its name. */
static int expect_host(struct vf_tls *tls, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
	struct in6_addr address;

	(void) snprintf(tls->host, sizeof(tls->host), "%s", host);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, host) ? 0 : -EINVAL;
	return SSL_set1_host(tls->ssl, host) && SSL_set_tlsext_host_name(tls->ssl, host) ? 0 : -EINVAL;
}

static int set_up(struct vf_tls *tls, const struct vf_tls_handshake *h, struct vferry_error *err)
{
	int flags = fcntl(tls->fd, F_GETFL);
	BIO *bio;

	if (flags < 0 || fcntl(tls->fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	tls->ssl = SSL_new(tls->creds->ctx);
	bio = BIO_new(tls->creds->bio);
	if (!tls->ssl || !bio) {
		BIO_free(bio);
		return -ENOMEM;
	}
	(void) BIO_set_fd(bio, tls->fd, BIO_NOCLOSE);
	SSL_set_bio(tls->ssl, bio, bio);
	(void) SSL_set_app_data(tls->ssl, tls);
	if (!vf_tls_creds_need_host(tls->creds))
		return 0;
	if (!h->peer_host || !h->peer_host[0])
		return vferry_error_set(err, -EINVAL, "tls-no-host", tls->name,
					"whose certificate is to be expected there? Give tls-hostname");
	return expect_host(tls, h->peer_host);
}

static int shake_hands(struct vf_tls *tls, const struct vf_tls_handshake *h, struct vferry_error *err)
{
	uint64_t deadline_ns = vf_socket_deadline(h->timeout_ns);

	for (;;) {
		int ret, wait;

		(void) pthread_mutex_lock(&tls->lock);
		ERR_clear_error();
		errno = 0;
		ret = tls->creds->server ? SSL_accept(tls->ssl) : SSL_connect(tls->ssl);
		wait = ret == 1 ? 0 : refused_locked(tls, ret, "handshake");
		tls->done = ret == 1;
		(void) pthread_mutex_unlock(&tls->lock);
		if (ret == 1)
			return 0;
		if (wait <= 0) {
			tls_explain(tls, err);
			return wait ? wait : -ECONNRESET;
		}
		ret = vf_socket_wait(tls->fd, (short) wait, deadline_ns, h->cancel_fd);
		if (ret)
			return ret;
	}
}

static int check_agreed(struct vf_tls *tls, struct vferry_error *err)
{
	/* A PSK is there to be used: whoever did not use it is nobody we know. */
	if (tls->creds->users && !SSL_session_reused(tls->ssl))
		return vferry_error_set(err, -EACCES, "tls-psk", tls->name,
					"the peer took up no PSK");
	if (!tls->creds->users && !SSL_get0_peer_certificate(tls->ssl))
		return vferry_error_set(err, -EACCES, "tls-certificate", tls->name,
					"the peer came without a certificate");
	return 0;
}

int vf_tls_channel_new(const struct vf_tls_handshake *h, int take_fd, struct vf_channel **ret_channel,
		       struct vferry_error *err)
{
	struct vf_tls *tls = calloc(1, sizeof(*tls));
	int ret;

	if (!tls) {
		vf_close(&take_fd);
		return vferry_error_set(err, -ENOMEM, "no-memory", h->name, "no memory for TLS");
	}
	tls->creds = h->creds;
	tls->fd = take_fd;
	tls->until_rekey = h->creds->rekey_bytes;
	(void) snprintf(tls->name, sizeof(tls->name), "%s", h->name);
	(void) snprintf(tls->at_fault, sizeof(tls->at_fault), "no name");
	(void) pthread_mutex_init(&tls->lock, NULL);
	vf_socket_tune(take_fd);
	ret = set_up(tls, h, err);
	if (!ret)
		ret = shake_hands(tls, h, err);
	if (!ret)
		ret = check_agreed(tls, err);
	if (!ret)
		return vf_channel_new(&vf_tls_ops, tls, h->name, ret_channel);
	tls_free(tls);
	return vferry_error_set(err, ret, "tls-handshake", h->name,
				ret == -ETIMEDOUT ? "the TLS handshake took too long: %s"
						  : "the TLS handshake failed: %s",
				vferry_errno_name(ret));
}

/* ---- secrets of a connection ---- */

static int export(struct vf_tls *tls, const char *label, uint8_t ret_secret[VF_TLS_SECRET_BYTES],
		  struct vferry_error *err)
{
	int ok = 0;

	if (tls) {
		(void) pthread_mutex_lock(&tls->lock);
		ok = SSL_export_keying_material(tls->ssl, ret_secret, VF_TLS_SECRET_BYTES, label,
						strlen(label), NULL, 0, 0);
		ERR_clear_error();
		(void) pthread_mutex_unlock(&tls->lock);
	}
	return ok == 1 ? 0 : vferry_error_set(err, -EINVAL, "tls-export", tls ? tls->name : NULL,
					      "no secret can be had from this connection");
}

int vf_tls_session_secret(const struct vf_channel *channel, uint8_t ret_secret[VF_TLS_SECRET_BYTES],
			  struct vferry_error *err)
{
	return export(vf_channel_transport(channel, &vf_tls_ops), SECRET_LABEL, ret_secret, err);
}

int vf_tls_join_proof(const struct vf_channel *channel, const uint8_t secret[VF_TLS_SECRET_BYTES],
		      const struct vf_hello *hello, uint8_t ret_proof[VF_TLS_SECRET_BYTES],
		      struct vferry_error *err)
{
	uint8_t own[VF_TLS_SECRET_BYTES];
	struct vf_writer w;
	unsigned bytes = 0;
	int ret = export(vf_channel_transport(channel, &vf_tls_ops), JOIN_LABEL, own, err);

	if (ret)
		return ret;
	vf_writer_init(&w, 256);
	vf_write_bytes(&w, PROOF_LABEL, sizeof(PROOF_LABEL));
	vf_write_bytes(&w, hello->session_id, sizeof(hello->session_id));
	vf_write_u32(&w, hello->purpose);
	vf_write_u32(&w, hello->channel);
	vf_write_u32(&w, hello->channel_count);
	vf_write_bytes(&w, own, sizeof(own));
	if (w.bad || !HMAC(EVP_sha256(), secret, VF_TLS_SECRET_BYTES, w.data, w.size, ret_proof, &bytes) ||
	    bytes != VF_TLS_SECRET_BYTES)
		ret = vferry_error_set(err, -ENOMEM, "tls-proof", NULL, "no memory for a proof");
	vf_writer_done(&w);
	OPENSSL_cleanse(own, sizeof(own));
	ERR_clear_error();
	return ret;
}
