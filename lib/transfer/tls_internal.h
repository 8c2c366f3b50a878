/* SPDX-License-Identifier: MIT */
/*
 * tls_internal.h - what the files of TLS share.
 *
 *   tls.c         the transport, the handshake, secrets of a connection
 *   tls_creds.c   files of credentials, and the SSL_CTX they make
 *   tls_bio.c     how records get to the socket
 *   tls_peer.c    who the other side is
 *   tls_error.c   OpenSSL's errors as ours
 *   tls_none.c    in place of all of them, in a build without TLS
 */
#ifndef VF_TRANSFER_TLS_INTERNAL_H
#define VF_TRANSFER_TLS_INTERNAL_H

#include <pthread.h>

#include <openssl/ssl.h>

#include "transfer/tls.h"

#define VF_TLS_RECORD_BYTES 16384u	/* of data in one record, at the most */
#define VF_TLS_USER_BYTES 128u		/* of a PSK's user, with its NUL */
#define VF_TLS_KEY_BYTES 64u

struct vf_tls_user {
	char name[VF_TLS_USER_BYTES];
	uint8_t key[VF_TLS_KEY_BYTES];
	size_t key_bytes;
};

struct vf_tls_creds {
	bool server;
	uint64_t rekey_bytes;
	SSL_CTX *ctx;
	BIO_METHOD *bio;		/* a socket's, that raises no SIGPIPE */
	struct vf_tls_user *users;	/* PSK; NULL: X.509 */
	size_t user_count;
};

struct vf_tls {
	const struct vf_tls_creds *creds;
	int fd;
	char name[160];
	char host[256];			/* that the peer's certificate must be for; "" */
	uint64_t stall_ns;		/* atomic; 0: never */

	pthread_mutex_t lock;		/* everything below; never held while waiting */
	SSL *ssl;
	bool done;			/* the handshake */
	bool broken;			/* a fatal error: OpenSSL forbids a shutdown then */
	struct vferry_error why;	/* the first failure, if there is more to say than its errno */
	uint64_t until_rekey;
	char user[VF_TLS_USER_BYTES];	/* PSK: of this handshake */
	bool user_unknown;
	char at_fault[256];		/* the certificate that was not good */

	uint8_t out[VF_TLS_RECORD_BYTES];	/* the one sending thread's: what is being encrypted */
};

/* ---- tls.c ---- */

extern const struct vf_transport_ops vf_tls_ops;
int vf_tls_verified(int ok, X509_STORE_CTX *check);	/* OpenSSL's verify callback */

/* ---- tls_creds.c ---- */

/* The PSK of this handshake, as a session that is taken up. */
int vf_tls_psk_of_source(SSL *ssl, const EVP_MD *md, const unsigned char **ret_id, size_t *ret_bytes,
			 SSL_SESSION **ret_session);
int vf_tls_psk_of_destination(SSL *ssl, const unsigned char *id, size_t bytes,
			      SSL_SESSION **ret_session);

/* ---- tls_bio.c ---- */

/* A socket's method whose writes raise no SIGPIPE; BIO_meth_free() it. NULL: no memory. */
BIO_METHOD *vf_tls_bio_method(void);

/* ---- tls_peer.c ---- */

/* "CN=host-a,O=Example", or "" */
void vf_tls_subject(const X509 *cert, char *to, size_t size);
/* "CN=host-a,O=Example (host-a.example.org, 10.0.0.1)" */
void vf_tls_describe(const X509 *cert, char *to, size_t size);

/* ---- tls_error.c ---- */

/*
 * Takes OpenSSL's queue of this thread, and says what went wrong so that a person can act on it.
 * @code: an errno that is known, negative; 0: by the queue. @doing: "handshake", "receiving", "sending".
 * tls->lock held. Return: the error's code.
 */
int vf_tls_error_locked(struct vf_tls *tls, int code, const char *doing, struct vferry_error *err);
/* The same without a connection: a file that could not be used. */
int vf_tls_file_error(const char *path, const char *what, struct vferry_error *err);

#endif
