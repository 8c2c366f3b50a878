/* SPDX-License-Identifier: MIT */
/*
 * tls_files.h - directories of TLS credentials for tests, made on the fly: a CA, certificates of any
 * age and name that it signs, lists of revoked ones, PSKs.
 */
#ifndef TEST_TLS_FILES_H
#define TEST_TLS_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define TLS_DAY 86400L

struct tls_ca {
	EVP_PKEY *key;
	X509 *cert;
	long serial;
};

struct tls_cert {
	const char *file;	/* "server": server-cert.pem, server-key.pem */
	const char *name;	/* CN */
	const char *san;	/* "DNS:host,IP:127.0.0.1"; NULL: none */
	const char *usage;	/* extended key usage; NULL: that of `file` */
	long from, until;	/* days from now; both 0: yesterday to in 30 days */
};

static inline void tls_must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

static inline FILE *tls_open(const char *dir, const char *name, const char *suffix, mode_t mode)
{
	char path[512];
	FILE *file;

	(void) snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
	file = fopen(path, "w");
	tls_must(file != NULL && !fchmod(fileno(file), mode), path);
	return file;
}

static inline void tls_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	tls_must(extension && X509_add_ext(cert, extension, -1), value);
	X509_EXTENSION_free(extension);
}

static inline X509 *tls_new_cert(struct tls_ca *ca, EVP_PKEY *key, const char *name, long from,
				 long until)
{
	X509 *cert = X509_new();
	X509_NAME *subject = X509_get_subject_name(cert);

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), ++ca->serial);
	X509_gmtime_adj(X509_getm_notBefore(cert), from * TLS_DAY);
	X509_gmtime_adj(X509_getm_notAfter(cert), until * TLS_DAY);
	X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *) "Lab", -1, -1,
				   0);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *) name, -1, -1,
				   0);
	X509_set_issuer_name(cert, ca->cert ? X509_get_subject_name(ca->cert) : subject);
	X509_set_pubkey(cert, key);
	return cert;
}

static inline void tls_ca_new(struct tls_ca *ca, const char *name)
{
	*ca = (struct tls_ca) { .key = EVP_EC_gen("P-256") };
	ca->cert = tls_new_cert(ca, ca->key, name, -1, 30);
	tls_extension(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE");
	tls_extension(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	tls_extension(ca->cert, ca->cert, NID_subject_key_identifier, "hash");
	tls_must(X509_sign(ca->cert, ca->key, EVP_sha256()) > 0, "sign");
}

static inline void tls_ca_free(struct tls_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
}

static inline void tls_write_ca(const char *dir, const struct tls_ca *ca)
{
	FILE *file = tls_open(dir, "ca", "-cert.pem", 0644);

	tls_must(PEM_write_X509(file, ca->cert), "ca");
	(void) fclose(file);
}

/* Return: its serial number. */
static inline long tls_write_cert(const char *dir, struct tls_ca *ca, const struct tls_cert *c)
{
	long until = c->from || c->until ? c->until : 30, from = c->from || c->until ? c->from : -1;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = tls_new_cert(ca, key, c->name, from, until);
	FILE *file = tls_open(dir, c->file, "-cert.pem", 0644);

	tls_extension(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE");
	tls_extension(cert, ca->cert, NID_ext_key_usage,
		      c->usage ? c->usage : c->file[0] == 's' ? "serverAuth" : "clientAuth");
	if (c->san)
		tls_extension(cert, ca->cert, NID_subject_alt_name, c->san);
	tls_must(X509_sign(cert, ca->key, EVP_sha256()) > 0, "sign");
	tls_must(PEM_write_X509(file, cert), "certificate");
	(void) fclose(file);
	file = tls_open(dir, c->file, "-key.pem", 0600);
	tls_must(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), "key");
	(void) fclose(file);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ca->serial;
}

/* @serial 0: a list that revokes nothing. */
static inline void tls_write_crl(const char *dir, const struct tls_ca *ca, long serial, long until)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *at = X509_gmtime_adj(NULL, -2 * TLS_DAY);
	FILE *file = tls_open(dir, "ca", "-crl.pem", 0644);

	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
	X509_CRL_set1_lastUpdate(crl, at);
	if (serial) {
		X509_REVOKED *revoked = X509_REVOKED_new();
		ASN1_INTEGER *number = ASN1_INTEGER_new();

		ASN1_INTEGER_set(number, serial);
		X509_REVOKED_set_serialNumber(revoked, number);
		X509_REVOKED_set_revocationDate(revoked, at);
		X509_CRL_add0_revoked(crl, revoked);
		ASN1_INTEGER_free(number);
	}
	X509_gmtime_adj(at, until * TLS_DAY);
	X509_CRL_set1_nextUpdate(crl, at);
	tls_must(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0, "sign a list");
	tls_must(PEM_write_X509_CRL(file, crl), "list");
	(void) fclose(file);
	ASN1_TIME_free(at);
	X509_CRL_free(crl);
}

static inline void tls_write_text(const char *dir, const char *name, const char *text, mode_t mode)
{
	FILE *file = tls_open(dir, name, "", mode);

	(void) fputs(text, file);
	(void) fclose(file);
}

static inline void tls_new_dir(char *to, size_t size)
{
	(void) snprintf(to, size, "/tmp/vferry-tls-XXXXXX");
	tls_must(mkdtemp(to) != NULL, "mkdtemp");
}

static inline void tls_remove_dir(const char *dir)
{
	static const char *const files[] = {
		"ca-cert.pem", "ca-crl.pem", "server-cert.pem", "server-key.pem", "client-cert.pem",
		"client-key.pem", "keys.psk",
	};
	char path[512];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		(void) snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		(void) unlink(path);
	}
	(void) rmdir(dir);
}

#endif
