/* SPDX-License-Identifier: MIT */
/* tls_none.c - tls.h in a build without TLS: there are no credentials, so nothing else is reached. */
#include <errno.h>

#include "base/cleanup.h"
#include "transfer/tls.h"

static int absent(const char *object, struct vferry_error *err)
{
	return vferry_error_set(err, -ENOTSUP, "no-tls", object,
				"this build has no TLS (it was made without OpenSSL, option tls)");
}

int vf_tls_creds_new(const struct vf_tls_options *options, struct vf_tls_creds **ret_creds,
		     struct vferry_error *err)
{
	(void) ret_creds;
	return absent(options->dir, err);
}

struct vf_tls_creds *vf_tls_creds_free(struct vf_tls_creds *creds)
{
	(void) creds;
	return NULL;
}

bool vf_tls_creds_need_host(const struct vf_tls_creds *creds)
{
	(void) creds;
	return false;
}

int vf_tls_channel_new(const struct vf_tls_handshake *handshake, int take_fd,
		       struct vf_channel **ret_channel, struct vferry_error *err)
{
	(void) ret_channel;
	vf_close(&take_fd);
	return absent(handshake->name, err);
}

bool vf_tls_get_info(const struct vf_channel *channel, struct vf_tls_info *ret_info)
{
	(void) channel;
	*ret_info = (struct vf_tls_info) { 0 };
	return false;
}

bool vf_tls_peer_in(const struct vf_channel *channel, const char *names)
{
	(void) channel;
	(void) names;
	return false;
}

int vf_tls_session_secret(const struct vf_channel *channel, uint8_t ret_secret[VF_TLS_SECRET_BYTES],
			  struct vferry_error *err)
{
	(void) ret_secret;
	return absent(vf_channel_name(channel), err);
}

int vf_tls_join_proof(const struct vf_channel *channel, const uint8_t secret[VF_TLS_SECRET_BYTES],
		      const struct vf_hello *hello, uint8_t ret_proof[VF_TLS_SECRET_BYTES],
		      struct vferry_error *err)
{
	(void) secret;
	(void) hello;
	(void) ret_proof;
	return absent(vf_channel_name(channel), err);
}
