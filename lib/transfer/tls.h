/* SPDX-License-Identifier: MIT */
/*
 * tls.h - channels over TLS 1.3, and the credentials for it. By OpenSSL; without it (the build option
 * `tls`) credentials cannot be loaded, which is said, and nothing else of this is ever reached.
 *
 * Model. Credentials are a directory with the file names of QEMU and libvirt; what is in it decides:
 *
 *   X.509   ca-cert.pem, optional ca-crl.pem, and server-cert.pem, server-key.pem on the destination,
 *           client-cert.pem, client-key.pem on the source. Both sides verify the other's certificate,
 *           and the source that it is for the host it wanted.
 *   PSK     keys.psk with lines user:hexkey. The source uses the first, the destination knows all.
 *
 * Only TLS 1.3, with OpenSSL's ciphers (PSK: those whose hash is that of the key, SHA-256) and always
 * with an ephemeral key exchange. No tickets, no resumption, no early data, no renegotiation. Keys are
 * renewed after so many bytes. The end of a stream is announced (close_notify); an end that is not is
 * -ECONNRESET.
 *
 * Threads. Credentials never change: any number. A channel as channel.h says: OpenSSL's object is used
 * under a lock that is never held while something is waited for, so that one thread may receive
 * while another sends. What is sent is copied into a private buffer first: guest memory changes while it is
 * read, and what is encrypted must be what is authenticated.
 */
#ifndef VF_TRANSFER_TLS_H
#define VF_TRANSFER_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

#include "transfer/channel.h"
#include "wire/message.h"

#define VF_TLS_SECRET_BYTES 32
#define VF_TLS_REKEY_BYTES (64ull << 30)

struct vf_tls_creds;

struct vf_tls_options {
	const char *dir;
	bool server;		/* the destination's files, else the source's */
	uint64_t rekey_bytes;	/* sent under one key; 0: VF_TLS_REKEY_BYTES */
};

/*
 * Reads and checks everything. Keys that others may read are refused, and so are certificates that
 * the peer would refuse. Return: 0; -ENOTSUP this build has no TLS; -ENOENT, -EACCES, -EINVAL, ...
 */
int vf_tls_creds_new(const struct vf_tls_options *options, struct vf_tls_creds **ret_creds,
		     struct vferry_error *err);
/* After every channel that was made with it. NULL allowed. Returns NULL. */
struct vf_tls_creds *vf_tls_creds_free(struct vf_tls_creds *creds);
/* X.509 on the source: the certificate must be for somebody, so `peer_host` is needed. */
bool vf_tls_creds_need_host(const struct vf_tls_creds *creds);

struct vf_tls_handshake {
	const struct vf_tls_creds *creds;	/* borrowed while the channel lives */
	const char *name;			/* of the channel, for messages */
	const char *peer_host;			/* source: name or address in the peer's certificate */
	uint64_t timeout_ns;			/* of the whole handshake; 0: none */
	int cancel_fd;				/* readable: give up; -1: none */
};

/*
 * The handshake over a connected stream socket, which is taken over (closed on failure, too).
 * Return: 0; -ECANCELED; -ETIMEDOUT; -EPROTO the peer speaks something else; -EACCES it, or this side,
 * was not trusted; -ECONNRESET. A source may learn only from the first receive that it was turned away.
 */
int vf_tls_channel_new(const struct vf_tls_handshake *handshake, int take_fd,
		       struct vf_channel **ret_channel, struct vferry_error *err);

struct vf_tls_info {
	char cipher[64];	/* "TLS_AES_256_GCM_SHA384" */
	char peer[256];		/* DN of the certificate, as in RFC 4514, or the PSK's user */
	bool psk;
	bool kernel_sends;	/* kTLS */
};

/* Return: false: the channel is not encrypted. */
bool vf_tls_get_info(const struct vf_channel *channel, struct vf_tls_info *ret_info);
/* Is the peer's DN, one of its DNS names or addresses, or its PSK user in @names, one a line? */
bool vf_tls_peer_in(const struct vf_channel *channel, const char *names);

/*
 * A secret that only the two ends of this connection know. For plain channels: -EINVAL.
 */
int vf_tls_session_secret(const struct vf_channel *channel, uint8_t ret_secret[VF_TLS_SECRET_BYTES],
			  struct vferry_error *err);
/*
 * What proves that whoever opened @channel knows @secret, and means this connection, session and
 * place (purpose, number): an HMAC-SHA256 over them and a value that only this connection has.
 */
int vf_tls_join_proof(const struct vf_channel *channel, const uint8_t secret[VF_TLS_SECRET_BYTES],
		      const struct vf_hello *hello, uint8_t ret_proof[VF_TLS_SECRET_BYTES],
		      struct vferry_error *err);

#endif
