/* SPDX-License-Identifier: MIT */
/*
 * tls_error.c - OpenSSL's queue of errors as one sentence that somebody can act on.
 *
 * Three kinds matter: what this side found wrong with the peer's certificate, what the peer found
 * wrong with ours and said in an alert, and a peer that has no key in common with us. They are tables.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>

#include "base/checked.h"
#include "transfer/tls_internal.h"

#define ALERT_FIRST 1000	/* an alert n that came is OpenSSL's reason 1000 + n */

/* ---- what is wrong with the peer's certificate ---- */

static const struct {
	int found;		/* X509_V_ERR_... */
	const char *text;	/* after "the peer's certificate (...) " */
} faults[] = {
	{ X509_V_ERR_CERT_HAS_EXPIRED, "has expired" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "is not valid yet; are the clocks of both hosts right?" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "was not issued by a CA in ca-cert.pem" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "was not issued by a CA in ca-cert.pem" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "was not issued by a CA in ca-cert.pem" },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "is self-signed, and not by a CA in ca-cert.pem" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "was issued by a CA that is not in ca-cert.pem" },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, "was not issued by a CA in ca-cert.pem, though one has "
					     "the same name" },
	{ X509_V_ERR_CERT_REVOKED, "was revoked (ca-crl.pem)" },
	{ X509_V_ERR_UNABLE_TO_GET_CRL, "comes from a CA that ca-crl.pem has no list of" },
	{ X509_V_ERR_CRL_HAS_EXPIRED, "cannot be checked: the list in ca-crl.pem is out of date" },
	{ X509_V_ERR_INVALID_PURPOSE, "was not issued for this role (extended key usage)" },
};

static int certificate_error(const struct vf_tls *tls, struct vferry_error *err)
{
	long found = SSL_get_verify_result(tls->ssl);

	if (found == X509_V_ERR_HOSTNAME_MISMATCH || found == X509_V_ERR_IP_ADDRESS_MISMATCH)
		return vferry_error_set(err, -EACCES, "tls-host", tls->name,
					"the peer's certificate is for %s, not for \"%s\"; connect by "
					"a name that it has, or give that name as tls-hostname",
					tls->at_fault, tls->host);
	if (tls->creds->users)
		return vferry_error_set(err, -EACCES, "tls-psk", tls->name,
					"the peer came with a certificate (%s), and this side has a PSK",
					tls->at_fault);
	for (size_t i = 0; i < VF_ARRAY_COUNT(faults); i++)
		if (faults[i].found == found)
			return vferry_error_set(err, -EACCES, "tls-certificate", tls->name,
						"the peer's certificate (%s) %s", tls->at_fault,
						faults[i].text);
	return vferry_error_set(err, -EACCES, "tls-certificate", tls->name,
				"the peer's certificate (%s) is not good: %s", tls->at_fault,
				X509_verify_cert_error_string(found));
}

/* ---- what the peer found wrong ---- */

static const struct {
	int alert;
	const char *text;	/* after "the peer turned this side away: " */
} alerts[] = {
	{ SSL_AD_BAD_CERTIFICATE, "it cannot use our certificate" },
	{ SSL_AD_UNSUPPORTED_CERTIFICATE, "our certificate was not issued for this role" },
	{ SSL_AD_CERTIFICATE_REVOKED, "our certificate was revoked" },
	{ SSL_AD_CERTIFICATE_EXPIRED, "our certificate has expired, says its clock" },
	{ SSL_AD_CERTIFICATE_UNKNOWN, "it does not trust our certificate" },
	{ SSL_AD_UNKNOWN_CA, "it does not know the CA that issued our certificate" },
	{ SSL_AD_ACCESS_DENIED, "it does not let this name in" },
	{ TLS13_AD_CERTIFICATE_REQUIRED, "it wants a certificate, and this side has none" },
	{ SSL_AD_DECRYPT_ERROR, "our signature or our PSK is not what it expects" },
	{ SSL_AD_PROTOCOL_VERSION, "it does not speak TLS 1.3" },
};

static int alert_error(const struct vf_tls *tls, int alert, const char *doing,
		       struct vferry_error *err)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(alerts); i++)
		if (alerts[i].alert == alert)
			return vferry_error_set(err, -EACCES, "tls-turned-away", tls->name,
						"the peer turned this side away: %s", alerts[i].text);
	/* What a destination answers to a key or a user that it does not have. */
	if (tls->creds->users && !tls->done)
		return vferry_error_set(err, -EACCES, "tls-psk", tls->name,
					"the peer does not have the same key for user \"%s\", or uses "
					"certificates (its alert: %s)", tls->user,
					SSL_alert_desc_string_long(alert));
	if (alert == SSL_AD_HANDSHAKE_FAILURE)
		return vferry_error_set(err, -EACCES, "tls-turned-away", tls->name,
					"the peer turned this side away: it has no certificate to show "
					"(a PSK instead?), or no cipher in common");
	return vferry_error_set(err, -EPROTO, "tls-alert", tls->name, "%s: the peer's TLS gave up: %s",
				doing, SSL_alert_desc_string_long(alert));
}

/* ---- the rest ---- */

static int psk_error(const struct vf_tls *tls, struct vferry_error *err)
{
	if (!tls->user[0])
		return vferry_error_set(err, -EACCES, "tls-psk", tls->name,
					"the peer offered no PSK; does it use certificates?");
	if (tls->user_unknown)
		return vferry_error_set(err, -EACCES, "tls-psk", tls->name,
					"the peer's user \"%s\" is not in keys.psk", tls->user);
	return vferry_error_set(err, -EACCES, "tls-psk", tls->name,
				"the peer has another key for user \"%s\"", tls->user);
}

static int reason_error(const struct vf_tls *tls, unsigned long queued, const char *doing,
			struct vferry_error *err)
{
	char text[160];

	switch (ERR_GET_REASON(queued)) {
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return certificate_error(tls, err);
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return vferry_error_set(err, -ECONNRESET, "tls-truncated", tls->name,
					"%s: the connection ended without a word (close_notify): the "
					"peer died, or somebody cut it", doing);
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return vferry_error_set(err, -EACCES, "tls-certificate", tls->name,
					"the peer came without a certificate");
	case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
	case SSL_R_BAD_RECORD_TYPE:
		return vferry_error_set(err, -EBADMSG, "tls-damaged", tls->name,
					"%s: a record was damaged or forged on its way", doing);
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_WRONG_SSL_VERSION:
		return vferry_error_set(err, -EPROTO, "tls-version", tls->name,
					"the peer does not speak TLS 1.3");
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
		return vferry_error_set(err, -EPROTO, "tls-plain-peer", tls->name,
					"the peer does not speak TLS: was it started without "
					"--tls-creds?");
	default:
		ERR_error_string_n(queued, text, sizeof(text));
		return vferry_error_set(err, -EPROTO, "tls-failed", tls->name, "%s: TLS failed: %s",
					doing, ERR_reason_error_string(queued) ?: text);
	}
}

int vf_tls_error_locked(struct vf_tls *tls, int code, const char *doing, struct vferry_error *err)
{
	unsigned long queued = ERR_peek_error();
	struct vferry_error found = VFERRY_ERROR_INIT;
	int reason = ERR_GET_REASON(queued);

	if (!queued || ERR_GET_LIB(queued) != ERR_LIB_SSL)
		(void) vferry_error_set(&found, code ? code : -EPROTO, "tls-failed", tls->name,
					"%s: %s", doing, code ? vferry_errno_name(code)
					: ERR_reason_error_string(queued) ?: "TLS failed");
	else if (reason >= ALERT_FIRST && reason < ALERT_FIRST + 256)
		(void) alert_error(tls, reason - ALERT_FIRST, doing, &found);
	else if (tls->creds->users && tls->creds->server && !tls->done &&
		 reason != SSL_R_UNEXPECTED_EOF_WHILE_READING)
		(void) psk_error(tls, &found);
	else
		(void) reason_error(tls, queued, doing, &found);
	ERR_clear_error();
	if (!tls->why.code && queued)	/* a system call's errno says all of it */
		tls->why = found;
	if (err && !err->code)
		*err = found;
	return found.code;
}

int vf_tls_file_error(const char *path, const char *what, struct vferry_error *err)
{
	unsigned long queued = ERR_peek_error();
	const char *why = queued ? ERR_reason_error_string(queued) : NULL;
	bool no_start = ERR_GET_LIB(queued) == ERR_LIB_PEM;	/* "no start line": nobody's words */

	(void) vferry_error_set(err, -EINVAL, "tls-file", path, "%s: %s%s%s", path, what,
				why && !no_start ? ": " : "", why && !no_start ? why : "");
	ERR_clear_error();
	return -EINVAL;
}
