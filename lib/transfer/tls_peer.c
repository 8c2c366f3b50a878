/* SPDX-License-Identifier: MIT */
/* tls_peer.c - who the other side is: names of its certificate, or the user of its PSK. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include "transfer/tls_internal.h"

#define NAMES_SHOWN 8

void vf_tls_subject(const X509 *cert, char *to, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long n;

	*to = '\0';
	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
		n = BIO_get_mem_data(bio, &text);
		(void) snprintf(to, size, "%.*s", (int) n, text);
	}
	BIO_free(bio);
}

/* One alternative name as text, "" for kinds that are of no use here. */
static void name_text(const GENERAL_NAME *name, char *to, size_t size)
{
	const ASN1_STRING *value;
	int kind;

	value = GENERAL_NAME_get0_value(name, &kind);
	*to = '\0';
	if (kind == GEN_DNS || kind == GEN_EMAIL || kind == GEN_URI) {
		/* A NUL within would end the name early: such a name is nobody's. */
		if (!memchr(ASN1_STRING_get0_data(value), 0, (size_t) ASN1_STRING_length(value)))
			(void) snprintf(to, size, "%.*s", ASN1_STRING_length(value),
					(const char *) ASN1_STRING_get0_data(value));
	} else if (kind == GEN_IPADD && (ASN1_STRING_length(value) == 4 ||
					 ASN1_STRING_length(value) == 16)) {
		(void) inet_ntop(ASN1_STRING_length(value) == 4 ? AF_INET : AF_INET6,
				 ASN1_STRING_get0_data(value), to, (socklen_t) size);
	}
}

void vf_tls_describe(const X509 *cert, char *to, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t used;
	int shown = 0;

	vf_tls_subject(cert, to, size);
	used = strlen(to);
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && shown < NAMES_SHOWN; i++) {
		char name[256];

		name_text(sk_GENERAL_NAME_value(names, i), name, sizeof(name));
		if (!name[0] || used + strlen(name) + 4 > size)
			continue;
		used += (size_t) snprintf(to + used, size - used, "%s%s", shown++ ? ", " : " (", name);
	}
	if (shown)
		(void) snprintf(to + used, size - used, ")");
	GENERAL_NAMES_free(names);
}

/* Is @name one of @names, one a line? */
static bool listed(const char *names, const char *name)
{
	size_t bytes = strlen(name);

	while (bytes && *names) {
		size_t line = strcspn(names, "\n");

		if (line == bytes && !memcmp(names, name, bytes))
			return true;
		names += line + (names[line] == '\n');
	}
	return false;
}

static bool cert_listed(const X509 *cert, const char *names)
{
	GENERAL_NAMES *alternative = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char name[1024];
	bool found;

	vf_tls_subject(cert, name, sizeof(name));
	found = listed(names, name);
	for (int i = 0; i < sk_GENERAL_NAME_num(alternative) && !found; i++) {
		name_text(sk_GENERAL_NAME_value(alternative, i), name, sizeof(name));
		found = listed(names, name);
	}
	GENERAL_NAMES_free(alternative);
	return found;
}

bool vf_tls_peer_in(const struct vf_channel *channel, const char *names)
{
	struct vf_tls *tls = vf_channel_transport(channel, &vf_tls_ops);
	bool found = false;

	if (!tls)
		return false;
	(void) pthread_mutex_lock(&tls->lock);
	if (tls->creds->users)
		found = listed(names, tls->user);
	else if (SSL_get0_peer_certificate(tls->ssl))
		found = cert_listed(SSL_get0_peer_certificate(tls->ssl), names);
	(void) pthread_mutex_unlock(&tls->lock);
	return found;
}

bool vf_tls_get_info(const struct vf_channel *channel, struct vf_tls_info *ret_info)
{
	struct vf_tls *tls = vf_channel_transport(channel, &vf_tls_ops);
	const X509 *cert;

	*ret_info = (struct vf_tls_info) { 0 };
	if (!tls)
		return false;
	(void) pthread_mutex_lock(&tls->lock);
	(void) snprintf(ret_info->cipher, sizeof(ret_info->cipher), "%s",
			SSL_get_cipher_name(tls->ssl));
	ret_info->psk = tls->creds->users != NULL;
	ret_info->kernel_sends = BIO_get_ktls_send(SSL_get_wbio(tls->ssl));
	cert = SSL_get0_peer_certificate(tls->ssl);
	if (ret_info->psk)
		(void) snprintf(ret_info->peer, sizeof(ret_info->peer), "%s", tls->user);
	else if (cert)
		vf_tls_describe(cert, ret_info->peer, sizeof(ret_info->peer));
	(void) pthread_mutex_unlock(&tls->lock);
	return true;
}
