/* SPDX-License-Identifier: MIT */
/*
 * link.h - from a connection to a channel of a session: plain or TLS, and who may join.
 *
 * A session has one way for all its connections: TLS if it has credentials, else plain, which beyond
 * this host has to be asked for. Every connection begins with HELLO and JOIN (if the source announced
 * VF_FEATURE_JOIN). JOIN shows that it comes from whoever opened channel 0:
 *
 *   TLS     an HMAC, keyed by a secret of channel 0's connection, over the session's id, the place in
 *           it, and a value that only this connection has. So another client with good
 *           credentials cannot join, nor somebody in between who passes JOIN on.
 *   plain   on channel 0, 32 random bytes; on all others the same. Whoever reads the network
 *           has them; for everybody else they cannot be guessed.
 *
 * Threads: any; what is kept of channel 0 is the caller's to guard.
 */
#ifndef VF_SESSION_LINK_H
#define VF_SESSION_LINK_H

#include "session/session_internal.h"
#include "transfer/channel.h"

/* Loads the credentials that the parameters name, before the session starts. */
int vf_link_prepare(struct vferry_session *s, bool server, struct vferry_error *err);
/* May plain tcp go to this host only? */
bool vf_link_loopback_only(const struct vferry_session *s);

/* A connection to @uri, ready for HELLO. */
int vf_link_connect(struct vferry_session *s, const struct vf_uri *uri, uint64_t timeout_ns,
		    int cancel_fd, struct vf_channel **ret_channel, struct vferry_error *err);
/*
 * A connection that @came to a listener, or was handed over, likewise; @take_fd is taken over. One of
 * a user who may not come, a peer that speaks TLS to a plain destination, or plain to one with TLS, is
 * told so in its own words: *@ret_channel may be there also on failure.
 */
int vf_link_accept(struct vferry_session *s, int take_fd, bool came, const char *name,
		   uint64_t timeout_ns, int cancel_fd, struct vf_channel **ret_channel, struct vferry_error *err);
/* Is the peer one of those that may come (tls_allow)? */
int vf_link_check_peer(const struct vferry_session *s, const struct vf_channel *channel,
		       struct vferry_error *err);
/* Puts into the status how channel @channel is protected. Its locks not held. */
void vf_link_note(struct vferry_session *s, const struct vf_channel *channel);

/* Source, on channel 0: makes the secret of the session. */
int vf_link_secret(const struct vf_channel *channel, uint8_t ret_secret[VF_JOIN_BYTES],
		   struct vferry_error *err);
/* What JOIN must say on @channel after @hello. */
int vf_link_join(const struct vf_channel *channel, const uint8_t secret[VF_JOIN_BYTES],
		 const struct vf_hello *hello, uint8_t ret_join[VF_JOIN_BYTES],
		 struct vferry_error *err);

/* Destination: a JOIN that came, compared in constant time. */
bool vf_link_join_matches(const struct vf_channel *channel, const uint8_t secret[VF_JOIN_BYTES],
			  const struct vf_hello *hello, const uint8_t join[VF_JOIN_BYTES]);

#endif
