/* SPDX-License-Identifier: MIT */
/*
 * channel.h - frames over one connection.
 *
 * A channel numbers and checksums what it sends, and checks numbers, checksums and lengths of what
 * it receives, so that what comes out is what went in, or an error. It knows types of frames only
 * where it must: PAGES and STREAM_DATA pay the bandwidth limiter.
 *
 * Threads: any number of threads may send (one frame, or one vector of frames, at a time; a lock of
 * the channel), one at a time may receive. vf_channel_shutdown() may be called from any thread at
 * any time and wakes them all. vf_channel_free() only when nobody is inside any more.
 */
#ifndef VF_TRANSFER_CHANNEL_H
#define VF_TRANSFER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <vferry/error.h>

#include "transfer/limiter.h"
#include "transfer/uri.h"
#include "wire/frame.h"

struct vf_channel;
struct vf_listener;
struct vf_trace;

/*
 * What moves bytes; the seam between plain sockets and TLS. send and recv return bytes moved (recv: 0 = the peer closed),
 * or -ETIMEDOUT when the peer moved nothing for the stall timeout, or another negative errno. They
 * move at least one byte. @guest: the vector points into guest memory, which changes meanwhile.
 */
struct vf_transport_ops {
	int64_t (*send)(void *transport, const struct iovec *iov, size_t count, bool guest);
	int64_t (*recv)(void *transport, const struct iovec *iov, size_t count, bool guest);
	int (*set_stall_timeout)(void *transport, uint64_t ns);
	/* See vf_channel_send_by_reference(). May be NULL: this transport always copies. */
	void (*send_by_reference)(void *transport);
	/* What is known of a failure beyond its errno, if anything. May be NULL. */
	void (*explain)(void *transport, struct vferry_error *err);
	void (*shutdown)(void *transport);	/* both ways; wakes blocked threads */
	void (*free)(void *transport);
};

/* ---- getting one ---- */

/*
 * Connects, for up to @timeout_ns (0 = for ever) or until @cancel_fd (-1: none) is readable. A
 * refused connection is an error at once. fd:N is duplicated; its peer must be connected.
 * Return: 0; -ECANCELED; -ETIMEDOUT; -EINVAL not a channel (file:); what connect(2) says.
 */
int vf_channel_connect(const struct vf_uri *uri, uint64_t timeout_ns, int cancel_fd,
		       struct vf_channel **ret_channel, struct vferry_error *err);
/* Over a connected stream socket, which is taken over (closed on failure, too). */
int vf_channel_from_fd(int take_fd, const char *name, struct vf_channel **ret_channel,
		       struct vferry_error *err);
/* Over any transport, which is taken over. */
int vf_channel_new(const struct vf_transport_ops *ops, void *take_transport, const char *name,
		   struct vf_channel **ret_channel);
struct vf_channel *vf_channel_free(struct vf_channel *channel);	/* closes; NULL allowed */
/* Its transport, if it has these ops; else NULL. */
void *vf_channel_transport(const struct vf_channel *channel, const struct vf_transport_ops *ops);
/* "tcp:10.0.0.1:4444": for messages. */
const char *vf_channel_name(const struct vf_channel *channel);

/*
 * Listens. unix: a stale socket file is replaced, and the new one has mode 0600. @loopback_only: as
 * vf_socket_connect().
 */
int vf_listener_new(const struct vf_uri *uri, bool loopback_only, struct vf_listener **ret_listener,
		    struct vferry_error *err);
struct vf_listener *vf_listener_free(struct vf_listener *listener);	/* removes a unix path */
/* It was made of fd:N with a connected socket. */
bool vf_listener_is_connection(const struct vf_listener *listener);
/* The URI to connect to, with the real port. */
const char *vf_listener_uri(const struct vf_listener *listener);
/* As vf_channel_connect(). A listener of fd:N with a connected socket gives it, once. */
int vf_listener_accept(struct vf_listener *listener, uint64_t timeout_ns, int cancel_fd,
		       struct vf_channel **ret_channel, struct vferry_error *err);

/* ---- set-up: before threads use it ---- */

void vf_channel_set_limiter(struct vf_channel *channel, struct vf_limiter *limiter); /* borrowed */
void vf_channel_set_trace(struct vf_channel *channel, struct vf_trace *trace); /* borrowed */
struct vf_trace *vf_channel_trace(const struct vf_channel *channel);	/* for who works on it; or NULL */
/*
 * Guest memory need not be copied when it is sent: it lies in huge pages, for which it is cheaper to hand
 * the pages over; the peer may then receive what they hold later than the call. For entries of 64 KiB
 * and more of vectors sent with @guest. Without effect where the transport or the kernel can't.
 */
void vf_channel_send_by_reference(struct vf_channel *channel);
/*
 * Peer neither takes nor sends anything for so long: -ETIMEDOUT. 0 = never. Sets the limit of a frame,
 * too, to VF_FRAME_STALLS times that: a peer that sends a byte now and then does not stall.
 */
int vf_channel_set_stall_timeout(struct vf_channel *channel, uint64_t ns);
#define VF_FRAME_STALLS 10u
/* From its first byte to its last a frame may take so long: else -ETIMEDOUT. 0 = for ever. */
void vf_channel_set_frame_limit(struct vf_channel *channel, uint64_t ns);

/*
 * From now on the receiver waits for the next frame for as long as it takes, in a call under way, too. A
 * frame that began, and sending, keep their limits. At any time, from any thread.
 */
void vf_channel_be_patient(struct vf_channel *channel);

/* ---- sending ---- */

/*
 * One frame. Of @frame, type, flags and component are used; the rest is filled in here.
 * Return: 0; -EMSGSIZE @length beyond VF_FRAME_MAX_BYTES; -EPIPE, -ECONNRESET; -ETIMEDOUT;
 * -ECANCELED. After a failed send the channel only returns that error.
 */
int vf_channel_send(struct vf_channel *channel, enum vf_frame_type type, uint16_t flags,
		    uint32_t component, const void *body, size_t length, struct vferry_error *err);

/* A frame whose body the caller lays out: length and body_crc of @frame are the caller's, too. */
struct vf_outgoing {
	struct vf_frame frame;
	uint8_t header[VF_FRAME_HEADER_BYTES];	/* filled in here */
};

/*
 * Several frames by as few system calls as possible. @iov holds, for each frame in order, first an
 * entry for its `header` and then its body. @iov is consumed. @guest: see vf_transport_ops.
 */
int vf_channel_send_vector(struct vf_channel *channel, struct vf_outgoing *frames,
			   size_t frame_count, struct iovec *iov, size_t iov_count, bool guest,
			   struct vferry_error *err);

/*
 * A sign of life, unless somebody is sending at this moment: who sends is alive, and may be waiting for
 * a slow peer, for which the other channels should not have to wait. Return: as vf_channel_send().
 */
int vf_channel_keepalive(struct vf_channel *channel);

/* ---- receiving ---- */

/*
 * The next header: mark, checksum, length (within @max_length) and sequence are verified; the body
 * must be received next, whole, by the functions below. Frames of unknown type that are OPTIONAL
 * are skipped. Return: 1; 0 = the peer closed between two frames; negative errno: -EBADMSG, -EPROTO,
 * -EMSGSIZE, -ECONNRESET closed within a frame, -ETIMEDOUT.
 */
int vf_channel_recv_header(struct vf_channel *channel, uint32_t max_length,
			   struct vf_frame *ret_frame, struct vferry_error *err);
/* The whole body of @frame into @body (room: frame->length), and its checksum verified. */
int vf_channel_recv_body(struct vf_channel *channel, const struct vf_frame *frame, void *body,
			 struct vferry_error *err);
/* The same, in two places: the first @head_bytes, at most frame->length, and the rest. */
int vf_channel_recv_parts(struct vf_channel *channel, const struct vf_frame *frame, void *head,
			  size_t head_bytes, void *rest, struct vferry_error *err);
/* Exactly the vector's bytes of the body, not verified. @iov is consumed. */
int vf_channel_recv_vector(struct vf_channel *channel, struct iovec *iov, size_t iov_count,
			   bool guest, struct vferry_error *err);
/*
 * Header and body in one. @ret_body: malloc()ed, or NULL if it is empty. Return: as recv_header.
 */
int vf_channel_recv(struct vf_channel *channel, uint32_t max_length, struct vf_frame *ret_frame,
		    uint8_t **ret_body, struct vferry_error *err);

/*
 * Puts in front of @err's message which frame of this channel, the session's number @index, was
 * being received, and where it began: "channel 0, frame 7 (section) at byte 4096: ...". Only by the
 * receiving thread.
 */
void vf_channel_locate(const struct vf_channel *channel, unsigned index, struct vferry_error *err);

/* ---- both ---- */

void vf_channel_shutdown(struct vf_channel *channel);

struct vf_channel_stats {
	uint64_t sent_bytes;		/* headers included */
	uint64_t sent_frames;
	uint64_t received_bytes;
	uint64_t received_frames;
	uint64_t sent_content;		/* of the frames those that are no keepalives */
	uint64_t received_content;
	uint64_t last_received_ns;	/* CLOCK_MONOTONIC; 0 = never */
};

void vf_channel_get_stats(const struct vf_channel *channel, struct vf_channel_stats *ret_stats);

#endif
