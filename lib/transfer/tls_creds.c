/* SPDX-License-Identifier: MIT */
/*
 * tls_creds.c - a directory of credentials becomes an SSL_CTX; see tls.h.
 *
 * Everything that the peer would refuse later is refused here, with the file's name: a certificate
 * that expired, that the CA did not sign, or that is not for this side's role; a key that does not fit
 * it. Secret files must belong to this user or root, and nobody else may read or change them; a group
 * may read them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "transfer/tls_internal.h"

#define FILE_BYTES_MAX (1u << 20)
#define USERS_MAX 1024u
#define KEY_BYTES_MIN 16u
#define READ_AHEAD_BYTES (64u << 10)	/* several records by one system call */

/* ---- files ---- */

struct file {
	char path[4200];
	char *data;		/* NUL behind */
	size_t size;
};

static void file_done(struct file *f)
{
	if (f->data)
		OPENSSL_cleanse(f->data, f->size);
	free(f->data);
	f->data = NULL;
}

static int check_file(const struct file *f, int fd, bool secret, struct stat *st,
		      struct vferry_error *err)
{
	if (fstat(fd, st))
		return vferry_error_set(err, -errno, "tls-file", f->path, "%s: %s", f->path,
					strerror(errno));
	if (!S_ISREG(st->st_mode) || !st->st_size || st->st_size > FILE_BYTES_MAX)
		return vferry_error_set(err, -EINVAL, "tls-file", f->path,
					"%s is no file of 1 byte to 1 MiB", f->path);
	if (secret && (st->st_mode & (S_IRWXO | S_IWGRP)))
		return vferry_error_set(err, -EACCES, "tls-key-mode", f->path,
					"%s holds a secret, and its mode %04o lets others at it; "
					"chmod 0600 it", f->path, (unsigned) st->st_mode & 07777);
	if (secret && st->st_uid && st->st_uid != geteuid())
		return vferry_error_set(err, -EACCES, "tls-key-owner", f->path,
					"%s holds a secret, and belongs to user %u; only this user or "
					"root may own it", f->path, (unsigned) st->st_uid);
	return 0;
}

static int read_all(struct file *f, int fd, struct vferry_error *err)
{
	size_t got = 0;

	while (got < f->size) {
		ssize_t n = read(fd, f->data + got, f->size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return vferry_error_set(err, n ? -errno : -EIO, "tls-file", f->path,
						"cannot read %s", f->path);
		got += (size_t) n;
	}
	return 0;
}

/* Return: 1 read; 0 there is none, and it is optional; negative errno. */
static int file_read(struct file *f, const char *dir, const char *name, bool secret, bool optional,
		     struct vferry_error *err)
{
	struct stat st;
	int fd, ret;

	*f = (struct file) { 0 };
	if ((size_t) snprintf(f->path, sizeof(f->path), "%s/%s", dir, name) >= sizeof(f->path))
		return vferry_error_set(err, -ENAMETOOLONG, "tls-file", name, "the path is too long");
	fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT && optional)
		return 0;
	if (fd < 0)
		return vferry_error_set(err, -errno, "tls-file", f->path, "cannot open %s: %s", f->path,
					strerror(errno));
	ret = check_file(f, fd, secret, &st, err);
	if (!ret) {
		f->size = (size_t) st.st_size;
		f->data = calloc(1, f->size + 1);
		ret = f->data ? read_all(f, fd, err) : -ENOMEM;
	}
	vf_close(&fd);
	if (ret)
		file_done(f);
	return ret ? ret : 1;
}

/* ---- X.509 ---- */

/* Keys with a pass phrase: there is nobody to ask. */
static int no_pass_phrase(char *to, int size, int writing, void *user)
{
	(void) to;
	(void) size;
	(void) writing;
	(void) user;
	return -1;
}

/* Every certificate of a file goes to @take, which takes the reference over. */
static int each_certificate(const struct file *f, int (*take)(SSL_CTX *ctx, X509 *cert, int index),
			    SSL_CTX *ctx, struct vferry_error *err)
{
	BIO *bio = BIO_new_mem_buf(f->data, (int) f->size);
	int count = 0, ret = bio ? 0 : -ENOMEM;
	X509 *cert;

	while (!ret && (cert = PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL)) != NULL)
		if (!take(ctx, cert, count++))
			ret = vf_tls_file_error(f->path, "cannot use this certificate", err);
	BIO_free(bio);
	if (!ret && !count)
		ret = vf_tls_file_error(f->path, "no certificate in PEM form", err);
	ERR_clear_error();	/* the end of the file is an error to OpenSSL */
	return ret;
}

static int trust(SSL_CTX *ctx, X509 *cert, int index)
{
	int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert);

	(void) index;
	X509_free(cert);
	return ok;
}

static int present(SSL_CTX *ctx, X509 *cert, int index)
{
	int ok;

	if (index && SSL_CTX_add0_chain_cert(ctx, cert))
		return 1;
	ok = !index && SSL_CTX_use_certificate(ctx, cert);
	X509_free(cert);
	return ok;
}

static int load_ca(struct vf_tls_creds *creds, const char *dir, struct vferry_error *err)
{
	struct file f;
	int ret = file_read(&f, dir, "ca-cert.pem", false, false, err);

	if (ret < 0)
		return ret;
	ret = each_certificate(&f, trust, creds->ctx, err);
	file_done(&f);
	return ret;
}

/* With a list of revoked certificates, the peer's issuer must have one, and it must be fresh. */
static int load_crl(struct vf_tls_creds *creds, const char *dir, struct vferry_error *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(creds->ctx);
	struct file f;
	X509_CRL *crl;
	int count = 0;
	BIO *bio;
	int ret = file_read(&f, dir, "ca-crl.pem", false, true, err);

	if (ret <= 0)
		return ret;
	bio = BIO_new_mem_buf(f.data, (int) f.size);
	ret = bio ? 0 : -ENOMEM;
	while (!ret && (crl = PEM_read_bio_X509_CRL(bio, NULL, no_pass_phrase, NULL)) != NULL) {
		if (!X509_STORE_add_crl(store, crl))
			ret = vf_tls_file_error(f.path, "cannot use this list", err);
		X509_CRL_free(crl);
		count++;
	}
	BIO_free(bio);
	if (!ret && !count)
		ret = vf_tls_file_error(f.path, "no list of revoked certificates in PEM form", err);
	if (!ret)
		(void) X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	ERR_clear_error();
	file_done(&f);
	return ret;
}

static int load_own(struct vf_tls_creds *creds, const char *dir, struct file *cert,
		    struct vferry_error *err)
{
	struct file key = { 0 };
	EVP_PKEY *pkey = NULL;
	BIO *bio = NULL;
	int ret = file_read(cert, dir, creds->server ? "server-cert.pem" : "client-cert.pem", false,
			    false, err);

	if (ret > 0)
		ret = each_certificate(cert, present, creds->ctx, err);
	if (!ret)
		ret = file_read(&key, dir, creds->server ? "server-key.pem" : "client-key.pem", true,
				false, err);
	if (ret < 0)
		return ret;
	bio = BIO_new_mem_buf(key.data, (int) key.size);
	ret = bio ? 0 : -ENOMEM;
	if (!ret && !(pkey = PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL)))
		ret = vf_tls_file_error(key.path, "no private key in PEM form without a pass phrase",
					err);
	if (!ret && (!SSL_CTX_use_PrivateKey(creds->ctx, pkey) || !SSL_CTX_check_private_key(creds->ctx)))
		ret = vf_tls_file_error(key.path, "this key does not belong to the certificate", err);
	EVP_PKEY_free(pkey);
	BIO_free(bio);
	file_done(&key);
	return ret;
}

/* What the peer will do with this side's certificate. */
static int check_own(struct vf_tls_creds *creds, const char *path, struct vferry_error *err)
{
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = NULL;
	X509 *own = SSL_CTX_get0_certificate(creds->ctx);
	char subject[256];
	int ret = 0;

	(void) SSL_CTX_get0_chain_certs(creds->ctx, &chain);
	if (!check || !X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(creds->ctx), own, chain) ||
	    !X509_STORE_CTX_set_default(check, creds->server ? "ssl_server" : "ssl_client")) {
		ret = -ENOMEM;
	} else if (X509_verify_cert(check) <= 0) {
		const X509 *at = X509_STORE_CTX_get_current_cert(check);

		vf_tls_subject(at ? at : own, subject, sizeof(subject));
		ret = vferry_error_set(err, -EINVAL, "tls-own-certificate", path,
				       "%s: %s (%s)", path, X509_verify_cert_error_string(
					       X509_STORE_CTX_get_error(check)), subject);
	}
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return ret;
}

static int load_x509(struct vf_tls_creds *creds, const char *dir, struct vferry_error *err)
{
	struct file cert = { 0 };
	int ret = load_ca(creds, dir, err);

	if (!ret)
		ret = load_crl(creds, dir, err);
	if (!ret)
		ret = load_own(creds, dir, &cert, err);
	if (!ret)
		ret = check_own(creds, cert.path, err);
	file_done(&cert);
	SSL_CTX_set_verify(creds->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   vf_tls_verified);
	return ret;
}

/* ---- PSK ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Return: NULL, or what is wrong with "user:hexkey". */
static const char *parse_user(char *line, struct vf_tls_user *user)
{
	char *hex = strchr(line, ':');

	if (!hex || hex == line || (size_t) (hex - line) >= sizeof(user->name))
		return "expected user:hexkey, with a user of 1 to 127 bytes";
	memcpy(user->name, line, (size_t) (hex - line));
	for (hex++; *hex; hex += 2) {
		int high = hex_digit(hex[0]), low = high < 0 ? -1 : hex_digit(hex[1]);

		if (low < 0 || user->key_bytes == sizeof(user->key))
			return "the key must be 16 to 64 bytes in hexadecimal";
		user->key[user->key_bytes++] = (uint8_t) (high << 4 | low);
	}
	return user->key_bytes < KEY_BYTES_MIN ? "the key must be 16 to 64 bytes in hexadecimal" : NULL;
}

static const struct vf_tls_user *find_user(const struct vf_tls_creds *creds, const void *name,
					   size_t bytes)
{
	for (size_t i = 0; i < creds->user_count; i++)
		if (strlen(creds->users[i].name) == bytes && !memcmp(creds->users[i].name, name, bytes))
			return &creds->users[i];
	return NULL;
}

static int take_users(struct vf_tls_creds *creds, const struct file *f, struct vferry_error *err)
{
	char *save = NULL;
	unsigned number = 0;

	for (char *line = strtok_r(f->data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *wrong = creds->user_count == USERS_MAX ? "too many users" : NULL;
		struct vf_tls_user *user = &creds->users[creds->user_count];

		number++;
		line[strcspn(line, "\r")] = '\0';
		if (*line == '#' || !*line)
			continue;
		if (!wrong)
			wrong = parse_user(line, user);
		if (!wrong && find_user(creds, user->name, strlen(user->name)))
			wrong = "this user was named before";
		if (wrong)
			return vferry_error_set(err, -EINVAL, "tls-psk-file", f->path,
						"%s, entry %u: %s", f->path, number, wrong);
		creds->user_count++;
	}
	return creds->user_count ? 0 : vferry_error_set(err, -EINVAL, "tls-psk-file", f->path,
							"%s has no user", f->path);
}

static int load_psk(struct vf_tls_creds *creds, struct file *f, struct vferry_error *err)
{
	int ret;

	creds->users = calloc(USERS_MAX + 1, sizeof(*creds->users));
	if (!creds->users)
		return -ENOMEM;
	ret = take_users(creds, f, err);
	if (ret)
		return ret;
	/* The hash of a key from a file is SHA-256 (RFC 8446, 4.2.11), and the cipher's must be the same. */
	if (!SSL_CTX_set_ciphersuites(creds->ctx, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"))
		return vf_tls_file_error(f->path, "no cipher of OpenSSL's goes with a PSK", err);
	if (creds->server)
		SSL_CTX_set_psk_find_session_callback(creds->ctx, vf_tls_psk_of_destination);
	else
		SSL_CTX_set_psk_use_session_callback(creds->ctx, vf_tls_psk_of_source);
	/* A peer that comes with a certificate instead is not trusted: there is no CA. */
	SSL_CTX_set_verify(creds->ctx, SSL_VERIFY_PEER, vf_tls_verified);
	return 0;
}

static SSL_SESSION *session_of(SSL *ssl, const struct vf_tls_user *user)
{
	static const unsigned char aes_128_gcm_sha256[] = { 0x13, 0x01 };
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session && cipher && SSL_SESSION_set1_master_key(session, user->key, user->key_bytes) &&
	    SSL_SESSION_set_cipher(session, cipher) &&
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

int vf_tls_psk_of_source(SSL *ssl, const EVP_MD *md, const unsigned char **ret_id, size_t *ret_bytes,
			 SSL_SESSION **ret_session)
{
	struct vf_tls *tls = SSL_get_app_data(ssl);
	const struct vf_tls_user *user = &tls->creds->users[0];

	*ret_session = NULL;
	if (md && EVP_MD_get_type(md) != NID_sha256)
		return 1;	/* the peer chose another hash: this key cannot be offered */
	*ret_session = session_of(ssl, user);
	*ret_id = (const unsigned char *) user->name;
	*ret_bytes = strlen(user->name);
	(void) snprintf(tls->user, sizeof(tls->user), "%s", user->name);
	return *ret_session != NULL;
}

int vf_tls_psk_of_destination(SSL *ssl, const unsigned char *id, size_t bytes,
			      SSL_SESSION **ret_session)
{
	struct vf_tls *tls = SSL_get_app_data(ssl);
	const struct vf_tls_user *user = find_user(tls->creds, id, bytes);
	size_t shown = vf_min_u64(bytes, sizeof(tls->user) - 1);

	for (size_t i = 0; i < shown; i++)
		tls->user[i] = (char) (id[i] < ' ' || id[i] > '~' ? '?' : id[i]);
	tls->user[shown] = '\0';
	tls->user_unknown = !user;
	*ret_session = user ? session_of(ssl, user) : NULL;
	return !user || *ret_session;
}

/* ---- life ---- */

static int new_context(struct vf_tls_creds *creds, struct vferry_error *err)
{
	creds->bio = vf_tls_bio_method();
	creds->ctx = SSL_CTX_new(creds->server ? TLS_server_method() : TLS_client_method());
	if (!creds->bio || !creds->ctx ||
	    !SSL_CTX_set_min_proto_version(creds->ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(creds->ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_num_tickets(creds->ctx, 0) ||
	    (creds->server &&	/* a PSK is a session to OpenSSL, and wants to know of what */
	     !SSL_CTX_set_session_id_context(creds->ctx, (const unsigned char *) "vferry", 6)))
		return vf_tls_file_error("OpenSSL", "TLS 1.3 cannot be set up", err);
	(void) SSL_CTX_set_options(creds->ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
						       SSL_OP_ENABLE_KTLS);
	(void) SSL_CTX_set_session_cache_mode(creds->ctx, SSL_SESS_CACHE_OFF);
	(void) SSL_CTX_set_mode(creds->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
						    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(creds->ctx, 1);
	SSL_CTX_set_default_read_buffer_len(creds->ctx, READ_AHEAD_BYTES);
	return 0;
}

/* What the directory holds decides; both would leave open which is meant. */
static int load(struct vf_tls_creds *creds, const char *dir, struct vferry_error *err)
{
	struct file psk;
	char ca[4200];
	bool x509;
	int ret;

	if ((size_t) snprintf(ca, sizeof(ca), "%s/ca-cert.pem", dir) >= sizeof(ca))
		return vferry_error_set(err, -ENAMETOOLONG, "tls-file", NULL, "the path is too long");
	x509 = !access(ca, F_OK);
	ret = file_read(&psk, dir, "keys.psk", true, true, err);
	if (ret < 0)
		return ret;
	if (ret && x509)
		ret = vferry_error_set(err, -EINVAL, "tls-ambiguous", dir,
				       "%s has both keys.psk and ca-cert.pem: use a directory for each",
				       dir);
	else if (ret)
		ret = load_psk(creds, &psk, err);
	else if (x509)
		ret = load_x509(creds, dir, err);
	else
		ret = vferry_error_set(err, -ENOENT, "tls-file", dir,
				       "%s has neither ca-cert.pem (X.509) nor keys.psk (PSK)", dir);
	file_done(&psk);
	return ret;
}

int vf_tls_creds_new(const struct vf_tls_options *options, struct vf_tls_creds **ret_creds,
		     struct vferry_error *err)
{
	struct vf_tls_creds *creds = calloc(1, sizeof(*creds));
	int ret;

	if (!creds)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory for credentials");
	creds->server = options->server;
	creds->rekey_bytes = options->rekey_bytes ? options->rekey_bytes : VF_TLS_REKEY_BYTES;
	ERR_clear_error();
	ret = new_context(creds, err);
	if (!ret)
		ret = load(creds, options->dir, err);
	if (ret) {
		(void) vf_tls_creds_free(creds);
		return vferry_error_set(err, ret, "tls-creds", options->dir,
					"cannot use the credentials in %s: %s", options->dir,
					vferry_errno_name(ret));
	}
	*ret_creds = creds;
	return 0;
}

struct vf_tls_creds *vf_tls_creds_free(struct vf_tls_creds *creds)
{
	if (!creds)
		return NULL;
	SSL_CTX_free(creds->ctx);
	BIO_meth_free(creds->bio);
	if (creds->users)
		OPENSSL_cleanse(creds->users, (USERS_MAX + 1) * sizeof(*creds->users));
	free(creds->users);
	free(creds);
	return NULL;
}

bool vf_tls_creds_need_host(const struct vf_tls_creds *creds)
{
	return !creds->server && !creds->users;
}
