/* SPDX-License-Identifier: MIT */
/*
 * channel.c - frames over a transport: numbers and checksums; see channel.h.
 *
 * A channel that failed in one direction stays failed in it: after a half-sent frame nothing that
 * follows could be understood. The reason of the first failure is what later calls return. It also hangs
 * up, so that the peer and this side's other threads hear of it at once, and wait for nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/trace.h"
#include "transfer/channel.h"
#include "transfer/message_points.h"

#define IOV_AT_ONCE 1024u	/* UIO_MAXIOV */
#define SKIP_BYTES 4096u

struct vf_channel {
	const struct vf_transport_ops *ops;
	void *transport;
	char name[160];
	struct vf_limiter *limiter;	/* borrowed, may be NULL */
	struct vf_trace *trace;		/* borrowed, may be NULL */
	bool down;			/* atomic; shut down by this side */
	bool patient;			/* atomic; silence between two frames is no failure */
	uint64_t stall_ns;		/* atomic; the stall timeout, to be named; 0 = none */
	int broken;			/* atomic; why this side hung up, 0 = it did not */
	uint64_t frame_limit_ns;	/* atomic; a frame that began must be here within; 0 = none */

	pthread_mutex_t send_lock;	/* protects the two below, and the order on the wire */
	uint64_t send_sequence;
	int send_error;

	/* Of the one receiving thread. */
	uint64_t recv_sequence;
	uint32_t recv_left;		/* of the body under way */
	int recv_error;
	uint64_t recv_began_ns;		/* the frame under way; 0 = its first byte is not there */
	uint64_t recv_at;		/* where it begins, in bytes of this connection */
	uint16_t recv_type;		/* 0 = not known yet */

	/* Atomic, relaxed. */
	uint64_t sent_bytes, sent_frames, received_bytes, received_frames, last_received_ns;
	uint64_t sent_content, received_content;	/* frames other than keepalives */
};

int vf_channel_new(const struct vf_transport_ops *ops, void *take_transport, const char *name,
		   struct vf_channel **ret_channel)
{
	struct vf_channel *channel = calloc(1, sizeof(*channel));

	if (!channel) {
		ops->free(take_transport);
		return -ENOMEM;
	}
	channel->ops = ops;
	channel->transport = take_transport;
	(void) snprintf(channel->name, sizeof(channel->name), "%s", name);
	(void) pthread_mutex_init(&channel->send_lock, NULL);
	*ret_channel = channel;
	return 0;
}

struct vf_channel *vf_channel_free(struct vf_channel *channel)
{
	if (channel) {
		channel->ops->free(channel->transport);
		(void) pthread_mutex_destroy(&channel->send_lock);
		free(channel);
	}
	return NULL;
}

void *vf_channel_transport(const struct vf_channel *channel, const struct vf_transport_ops *ops)
{
	return channel->ops == ops ? channel->transport : NULL;
}

const char *vf_channel_name(const struct vf_channel *channel)
{
	return channel->name;
}

void vf_channel_set_limiter(struct vf_channel *channel, struct vf_limiter *limiter)
{
	channel->limiter = limiter;
}

void vf_channel_send_by_reference(struct vf_channel *channel)
{
	if (channel->ops->send_by_reference)
		channel->ops->send_by_reference(channel->transport);
}

void vf_channel_set_trace(struct vf_channel *channel, struct vf_trace *trace)
{
	channel->trace = trace;
}

struct vf_trace *vf_channel_trace(const struct vf_channel *channel)
{
	return channel->trace;
}

int vf_channel_set_stall_timeout(struct vf_channel *channel, uint64_t ns)
{
	uint64_t limit;

	if (vf_mul_u64(ns, VF_FRAME_STALLS, &limit))
		limit = 0;
	vf_channel_set_frame_limit(channel, limit);
	__atomic_store_n(&channel->stall_ns, ns, __ATOMIC_RELAXED);
	return channel->ops->set_stall_timeout(channel->transport, ns);
}

void vf_channel_set_frame_limit(struct vf_channel *channel, uint64_t ns)
{
	__atomic_store_n(&channel->frame_limit_ns, ns, __ATOMIC_RELAXED);
}

void vf_channel_be_patient(struct vf_channel *channel)
{
	__atomic_store_n(&channel->patient, true, __ATOMIC_RELAXED);
}

void vf_channel_locate(const struct vf_channel *channel, unsigned index, struct vferry_error *err)
{
	char said[sizeof(err->message)];
	const char *type = vf_frame_type_name(channel->recv_type);

	if (!err || !err->code)
		return;
	(void) snprintf(said, sizeof(said), "%s", err->message);
	(void) snprintf(err->message, sizeof(err->message),
			"channel %u, frame %llu%s%s%s at byte %llu: %.400s", index,
			(unsigned long long) channel->recv_sequence - (channel->recv_type != 0),
			type ? " (" : "", type ?: "", type ? ")" : "",
			(unsigned long long) channel->recv_at, said);
	if (!err->object[0])
		(void) snprintf(err->object, sizeof(err->object), "%.63s", channel->name);
}

void vf_channel_shutdown(struct vf_channel *channel)
{
	__atomic_store_n(&channel->down, true, __ATOMIC_RELEASE);
	channel->ops->shutdown(channel->transport);
}

static void count(uint64_t *counter, uint64_t n)
{
	(void) __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static int failure(const struct vf_channel *channel, int ret, const char *doing,
		   struct vferry_error *err)
{
	if (__atomic_load_n(&channel->down, __ATOMIC_ACQUIRE))
		return vferry_error_set(err, -ECANCELED, "channel-shutdown", channel->name,
					"%s: this side shut the channel down", doing);
	if (ret == -ETIMEDOUT)
		return vferry_error_set(err, ret, "channel-stalled", channel->name,
					"%s: nothing moved for %llu ms, the stall timeout", doing,
					(unsigned long long) (__atomic_load_n(&channel->stall_ns,
									      __ATOMIC_RELAXED) /
							      VF_MS_NS));
	if (ret == -ETIME)
		return vferry_error_set(err, -ETIMEDOUT, "channel-slow", channel->name,
					"%s: a frame was not whole within its time", doing);
	if (channel->ops->explain)
		channel->ops->explain(channel->transport, err);
	return vferry_error_set(err, ret, "channel-lost", channel->name, "%s: %s", doing,
				vferry_errno_name(ret));
}

/* The peer, and who else is inside, hear of it now. */
static void hang_up(struct vf_channel *channel, int why)
{
	int none = 0;

	(void) __atomic_compare_exchange_n(&channel->broken, &none, why, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
	channel->ops->shutdown(channel->transport);
}

/* Drops the first @bytes of the vector. */
static void consume(struct iovec **iov, size_t *iov_count, size_t bytes)
{
	while (*iov_count && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		(*iov_count)--;
	}
	if (*iov_count) {
		(*iov)->iov_base = (uint8_t *) (*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
}

static uint64_t iov_bytes(const struct iovec *iov, size_t iov_count)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < iov_count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* ---- sending ---- */

static bool pays(uint16_t type)
{
	return type == VF_FRAME_PAGES || type == VF_FRAME_STREAM_DATA;
}

static int send_all_locked(struct vf_channel *channel, struct iovec *iov, size_t iov_count,
			   bool guest)
{
	consume(&iov, &iov_count, 0);	/* empty entries */
	while (iov_count) {
		int64_t n = vf_trace(channel->trace, VF_TRACE_LINK_WRITE, channel->name,
				     iov_bytes(iov, iov_count), 0, 0);

		if (!n)
			n = channel->ops->send(channel->transport, iov,
					       vf_min_u64(iov_count, IOV_AT_ONCE), guest);
		if (n < 0)
			return (int) n;
		count(&channel->sent_bytes, (uint64_t) n);
		consume(&iov, &iov_count, (size_t) n);
	}
	return 0;
}

/* Frames that go together are of one type, or follow one of it. */
static int trace_sending(const struct vf_channel *channel, const struct vf_outgoing *frames,
			 size_t frame_count)
{
	enum vf_trace_point point = frame_count ? vf_message_point(frames[0].frame.type, true)
						: VF_TRACE_NONE;
	uint64_t bytes = 0;

	if (!channel->trace || point == VF_TRACE_NONE)
		return 0;
	for (size_t i = 0; i < frame_count; i++)
		bytes += VF_FRAME_HEADER_BYTES + frames[i].frame.length;
	return vf_trace(channel->trace, point, channel->name, bytes, frames[0].frame.component,
			frame_count);
}

static int send_locked(struct vf_channel *channel, struct vf_outgoing *frames, size_t frame_count,
		       struct iovec *iov, size_t iov_count, bool guest, struct vferry_error *err)
{
	int ret = channel->send_error;

	if (!ret)
		ret = trace_sending(channel, frames, frame_count);
	if (!ret) {
		for (size_t i = 0; i < frame_count; i++) {
			frames[i].frame.sequence = channel->send_sequence + i;
			vf_frame_encode(&frames[i].frame, frames[i].header);
		}
		ret = send_all_locked(channel, iov, iov_count, guest);
		channel->send_sequence += frame_count;
	}
	if (ret && !channel->send_error)
		hang_up(channel, ret);	/* nothing can follow */
	if (ret)
		return channel->send_error = failure(channel, ret, "sending", err);
	count(&channel->sent_frames, frame_count);
	for (size_t i = 0; i < frame_count; i++)
		count(&channel->sent_content, frames[i].frame.type != VF_FRAME_KEEPALIVE);
	return 0;
}

int vf_channel_send_vector(struct vf_channel *channel, struct vf_outgoing *frames,
			   size_t frame_count, struct iovec *iov, size_t iov_count, bool guest,
			   struct vferry_error *err)
{
	uint64_t bytes = 0;
	int ret = 0;

	for (size_t i = 0; i < frame_count; i++) {
		if (frames[i].frame.length > VF_FRAME_MAX_BYTES)
			return vferry_error_set(err, -EMSGSIZE, "frame-length", channel->name,
						"a %s frame of %u bytes is longer than any may be",
						vf_frame_type_name(frames[i].frame.type) ?: "unknown",
						frames[i].frame.length);
		if (pays(frames[i].frame.type))
			bytes += VF_FRAME_HEADER_BYTES + frames[i].frame.length;
	}
	if (bytes && channel->limiter)
		ret = vf_limiter_take(channel->limiter, bytes);
	if (ret)
		return vferry_error_set(err, ret, "channel-cancelled", channel->name, "cancelled");
	(void) pthread_mutex_lock(&channel->send_lock);
	ret = send_locked(channel, frames, frame_count, iov, iov_count, guest, err);
	(void) pthread_mutex_unlock(&channel->send_lock);
	return ret;
}

int vf_channel_send(struct vf_channel *channel, enum vf_frame_type type, uint16_t flags,
		    uint32_t component, const void *body, size_t length, struct vferry_error *err)
{
	struct vf_outgoing out = {
		.frame = { .type = (uint16_t) type, .flags = flags, .component = component },
	};
	struct iovec iov[2] = {
		{ .iov_base = out.header, .iov_len = sizeof(out.header) },
		{ .iov_base = (void *) body, .iov_len = length },
	};

	out.frame.length = (uint32_t) vf_min_u64(length, UINT32_MAX);
	out.frame.body_crc = length <= VF_FRAME_MAX_BYTES ? vf_crc32c(0, body, length) : 0;
	return vf_channel_send_vector(channel, &out, 1, iov, 2, false, err);
}

int vf_channel_keepalive(struct vf_channel *channel)
{
	struct vf_outgoing out = {
		.frame = { .type = VF_FRAME_KEEPALIVE, .flags = VF_FRAME_OPTIONAL,
			   .component = VF_NO_COMPONENT },
	};
	struct iovec iov = { .iov_base = out.header, .iov_len = sizeof(out.header) };
	int ret;

	if (pthread_mutex_trylock(&channel->send_lock))
		return 0;
	ret = send_locked(channel, &out, 1, &iov, 1, false, NULL);
	(void) pthread_mutex_unlock(&channel->send_lock);
	return ret;
}

/* ---- receiving ---- */

/* Has the frame under way taken too long? A peer that sends a byte now and then never stalls. */
static bool is_late(const struct vf_channel *channel)
{
	uint64_t limit = __atomic_load_n(&channel->frame_limit_ns, __ATOMIC_RELAXED);

	return limit && channel->recv_began_ns && vf_now_ns() - channel->recv_began_ns > limit;
}

/*
 * Fills the whole vector. Return: 1; 0 = closed before the first byte; -ECONNRESET closed later;
 * other negative errno.
 */
static int recv_all(struct vf_channel *channel, struct iovec *iov, size_t iov_count, bool guest)
{
	bool any = false;
	uint64_t now;

	consume(&iov, &iov_count, 0);
	while (iov_count) {
		int64_t n = vf_trace(channel->trace, VF_TRACE_LINK_READ, channel->name,
				     iov_bytes(iov, iov_count), 0, 0);

		if (!n) {
			n = channel->ops->recv(channel->transport, iov,
					       vf_min_u64(iov_count, IOV_AT_ONCE), guest);
			if (n == -ETIMEDOUT && !channel->recv_began_ns &&
			    __atomic_load_n(&channel->patient, __ATOMIC_RELAXED))
				continue;
		}
		if (n < 0)
			return (int) n;
		if (!n)
			return any ? -ECONNRESET : 0;
		any = true;
		count(&channel->received_bytes, (uint64_t) n);
		now = vf_now_ns();
		__atomic_store_n(&channel->last_received_ns, now, __ATOMIC_RELAXED);
		if (!channel->recv_began_ns)
			channel->recv_began_ns = now;
		consume(&iov, &iov_count, (size_t) n);
		if (iov_count && is_late(channel))
			return -ETIME;
	}
	return 1;
}

static int recv_failure(struct vf_channel *channel, int ret, const char *doing,
			struct vferry_error *err)
{
	/* What the peer got wrong it can still be told; a link that broke is broken for both. */
	if (ret != -EPROTO && ret != -EBADMSG && ret != -EMSGSIZE && ret != -ETIMEDOUT && ret != -ETIME)
		hang_up(channel, ret);
	return channel->recv_error = failure(channel, ret, doing, err);
}

int vf_channel_recv_vector(struct vf_channel *channel, struct iovec *iov, size_t iov_count,
			   bool guest, struct vferry_error *err)
{
	uint64_t bytes;
	int ret;

	if (channel->recv_error)
		return failure(channel, channel->recv_error, "receiving", err);
	bytes = iov_bytes(iov, iov_count);
	if (bytes > channel->recv_left)
		return recv_failure(channel, -EPROTO, "receiving more than the frame has", err);
	if (!bytes)
		return 0;
	ret = recv_all(channel, iov, iov_count, guest);
	if (ret <= 0)
		return recv_failure(channel, ret ? ret : -ECONNRESET,
				    "the connection ended within a frame", err);
	channel->recv_left -= (uint32_t) bytes;
	return 0;
}

static int skip_body(struct vf_channel *channel, struct vferry_error *err)
{
	uint8_t nowhere[SKIP_BYTES];

	while (channel->recv_left) {
		struct iovec iov = {
			.iov_base = nowhere,
			.iov_len = vf_min_u64(channel->recv_left, sizeof(nowhere)),
		};
		int ret = vf_channel_recv_vector(channel, &iov, 1, false, err);

		if (ret)
			return ret;
	}
	return 0;
}

/* One header, of whatever type. Return: as vf_channel_recv_header(). */
static int recv_one_header(struct vf_channel *channel, uint32_t max_length, struct vf_frame *ret_frame,
			   struct vferry_error *err)
{
	uint8_t header[VF_FRAME_HEADER_BYTES];
	struct iovec iov = { .iov_base = header, .iov_len = sizeof(header) };
	struct vf_frame frame;
	int ret;

	channel->recv_began_ns = 0;
	channel->recv_type = 0;
	channel->recv_at = __atomic_load_n(&channel->received_bytes, __ATOMIC_RELAXED);
	ret = recv_all(channel, &iov, 1, false);

	if (!ret)	/* closed by the peer, or by this side when it failed to send */
		ret = __atomic_load_n(&channel->broken, __ATOMIC_ACQUIRE);
	if (!ret && !__atomic_load_n(&channel->down, __ATOMIC_ACQUIRE))
		return 0;
	if (ret <= 0)
		return recv_failure(channel, ret ? ret : -ECONNRESET, "receiving", err);
	ret = vf_frame_decode(header, max_length, &frame, err);
	if (ret)
		return channel->recv_error = ret;
	if (frame.sequence != channel->recv_sequence) {
		channel->recv_error = -EPROTO;
		return vferry_error_set(err, -EPROTO, "frame-sequence", channel->name,
					"frame %llu came where %llu was due: frames were lost, "
					"repeated or swapped", (unsigned long long) frame.sequence,
					(unsigned long long) channel->recv_sequence);
	}
	if (vf_frame_type_name(frame.type))
		ret = vf_trace(channel->trace, vf_message_point(frame.type, false), channel->name,
			       VF_FRAME_HEADER_BYTES + frame.length, frame.component, 0);
	if (ret < 0)
		return recv_failure(channel, ret, "receiving", err);
	channel->recv_sequence++;
	channel->recv_type = frame.type;
	channel->recv_left = frame.length;
	count(&channel->received_frames, 1);
	count(&channel->received_content, frame.type != VF_FRAME_KEEPALIVE);
	*ret_frame = frame;
	return 1;
}

int vf_channel_recv_header(struct vf_channel *channel, uint32_t max_length,
			   struct vf_frame *ret_frame, struct vferry_error *err)
{
	if (channel->recv_error)
		return failure(channel, channel->recv_error, "receiving", err);
	if (channel->recv_left)
		return recv_failure(channel, -EPROTO, "the last frame was not read to its end", err);
	for (;;) {
		struct vf_frame frame;
		int ret = recv_one_header(channel, max_length, &frame, err);

		if (ret <= 0)
			return ret;
		if (vf_frame_type_name(frame.type)) {
			*ret_frame = frame;
			return 1;
		}
		ret = skip_body(channel, err);	/* optional, or decode had refused it */
		if (ret)
			return ret;
	}
}

int vf_channel_recv_parts(struct vf_channel *channel, const struct vf_frame *frame, void *head,
			  size_t head_bytes, void *rest, struct vferry_error *err)
{
	size_t rest_bytes = frame->length - head_bytes;
	struct iovec iov[2] = {
		{ .iov_base = head, .iov_len = head_bytes },
		{ .iov_base = rest, .iov_len = rest_bytes },
	};
	int ret = vf_channel_recv_vector(channel, iov, rest_bytes ? 2 : 1, false, err);

	if (ret)
		return ret;
	if (vf_crc32c(vf_crc32c(0, head, head_bytes), rest, rest_bytes) != frame->body_crc) {
		channel->recv_error = -EBADMSG;
		return vferry_error_set(err, -EBADMSG, "body-crc", channel->name,
					"the checksum of a %s frame is wrong",
					vf_frame_type_name(frame->type));
	}
	return 0;
}

int vf_channel_recv_body(struct vf_channel *channel, const struct vf_frame *frame, void *body,
			 struct vferry_error *err)
{
	return vf_channel_recv_parts(channel, frame, body, frame->length, NULL, err);
}

int vf_channel_recv(struct vf_channel *channel, uint32_t max_length, struct vf_frame *ret_frame,
		    uint8_t **ret_body, struct vferry_error *err)
{
	struct vf_frame frame;
	uint8_t *body = NULL;
	int ret = vf_channel_recv_header(channel, max_length, &frame, err);

	if (ret <= 0)
		return ret;
	if (frame.length) {
		body = vf_trace(channel->trace, VF_TRACE_MEMORY, channel->name, frame.length, 0, 0)
			       ? NULL : malloc(frame.length);
		if (!body)
			return vferry_error_set(err, -ENOMEM, "memory", channel->name,
						"no memory for a frame of %u bytes", frame.length);
	}
	ret = vf_channel_recv_body(channel, &frame, body, err);
	if (ret) {
		free(body);
		return ret;
	}
	*ret_frame = frame;
	*ret_body = body;
	return 1;
}

void vf_channel_get_stats(const struct vf_channel *channel, struct vf_channel_stats *ret_stats)
{
	*ret_stats = (struct vf_channel_stats) {
		.sent_bytes = __atomic_load_n(&channel->sent_bytes, __ATOMIC_RELAXED),
		.sent_frames = __atomic_load_n(&channel->sent_frames, __ATOMIC_RELAXED),
		.received_bytes = __atomic_load_n(&channel->received_bytes, __ATOMIC_RELAXED),
		.received_frames = __atomic_load_n(&channel->received_frames, __ATOMIC_RELAXED),
		.sent_content = __atomic_load_n(&channel->sent_content, __ATOMIC_RELAXED),
		.received_content = __atomic_load_n(&channel->received_content, __ATOMIC_RELAXED),
		.last_received_ns = __atomic_load_n(&channel->last_received_ns, __ATOMIC_RELAXED),
	};
}
