/* SPDX-License-Identifier: MIT */
/*
 * source_answers.c - the thread that reads what the destination answers, on channel 0, and makes events
 * of it. A destination that turns this side away while it connects: source_link.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "session/source.h"
#include "wire/frame.h"

#define LAST_WORD_NS VF_SECOND_NS	/* what a peer said before it closed is here within */

static struct vf_session_component *component_of(struct vferry_session *s,
						  const struct vf_frame *frame)
{
	return frame->component < s->component_count ? &s->components[frame->component] : NULL;
}

static int on_accept(struct vf_source_side *side, const void *body, size_t bytes,
		     struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	struct vf_accept accept;
	int ret = vf_accept_decode(body, bytes, &accept, err);

	if (ret)
		return ret;
	side->load_ns = accept.load_ns;
	(void) pthread_mutex_lock(&side->lock);
	side->tells_vectors = accept.features & VF_FEATURE_VECTORS;
	(void) pthread_mutex_unlock(&side->lock);
	for (uint32_t i = 0; i < accept.credit_count; i++) {
		uint32_t component = accept.credits[i].component;

		if (component < s->component_count && s->components[component].stream_source)
			vf_stream_source_add_credit(s->components[component].stream_source,
						    accept.credits[i].bytes);
	}
	vf_accept_done(&accept);
	vf_session_post_kind(s, VF_SRC_PEER_ACCEPTED);
	return 0;
}

static int on_refuse(struct vferry_session *s, const void *body, size_t bytes,
		     struct vferry_error *err)
{
	struct vferry_error summary;
	struct vf_refuse refuse;
	int ret = vf_refuse_decode(body, bytes, &refuse, err);

	if (ret)
		return ret;
	vf_reasons_summary(&refuse, &summary);
	(void) pthread_mutex_lock(&s->lock);
	vf_refuse_done(&s->refused);
	s->refused = refuse;
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_post_error(s, VF_SRC_PEER_REFUSED, &summary);
	return 0;
}

static int on_stream(struct vferry_session *s, const struct vf_frame *frame, const void *body,
		     struct vferry_error *err)
{
	struct vf_session_component *c = component_of(s, frame);
	struct vf_event event = { .kind = VF_SRC_STREAM_ACK, .component = frame->component };
	uint64_t bytes;
	int ret;

	if (!c || !c->stream_source)
		return vferry_error_set(err, -EPROTO, "no-such-stream", NULL,
					"%s for component %u, which has no stream",
					vf_frame_type_name(frame->type), frame->component);
	if (frame->type == VF_FRAME_CREDIT) {
		ret = vf_number64_decode(body, frame->length, &bytes, err);
		if (!ret)
			vf_stream_source_add_credit(c->stream_source, bytes);
		return ret;
	}
	ret = vf_number32_decode(body, frame->length, &event.generation, err);
	if (!ret) {
		vf_stream_source_acknowledge(c->stream_source, event.generation);
		vf_session_post(s, &event);
	}
	return ret;
}

static int on_report(struct vferry_session *s, const void *body, size_t bytes,
		     struct vferry_error *err)
{
	struct vf_report report;
	int ret = vf_report_decode(body, bytes, &report, err);

	if (ret)
		return ret;
	(void) pthread_mutex_lock(&s->lock);
	vf_report_done(&s->remote_report);
	s->remote_report = report;
	(void) pthread_mutex_unlock(&s->lock);
	return 0;
}

static int on_vectors(struct vferry_session *s, const void *body, size_t bytes,
		      struct vferry_error *err)
{
	struct vf_vectors vectors;
	int ret = vf_vectors_decode(body, bytes, &vectors, err);

	if (ret)
		return ret;
	vf_session_keep_vectors(s, VF_AFTER, &vectors);
	vf_session_notify(s);
	return 0;
}

int vf_source_resolution(const void *body, size_t bytes, uint32_t *ret_answer, struct vferry_error *err)
{
	int ret = vf_number32_decode(body, bytes, ret_answer, err);

	if (!ret && *ret_answer != VF_RESOLUTION_RAN && *ret_answer != VF_RESOLUTION_ABORTED &&
	    *ret_answer != VF_RESOLUTION_LOST)
		ret = vferry_error_set(err, -EBADMSG, "no-answer", NULL,
				       "RESOLVED says %u, which is no outcome", *ret_answer);
	return ret;
}

static int on_number(struct vferry_session *s, uint32_t kind, const struct vf_frame *frame,
		     const void *body, struct vferry_error *err)
{
	struct vf_event event = { .kind = kind };
	uint32_t number;
	int ret;

	if (frame->type == VF_FRAME_RESOLVED) {
		ret = vf_source_resolution(body, frame->length, &number, err);
		event.number = ret ? 0 : number;
	} else {
		ret = vf_number64_decode(body, frame->length, &event.number, err);
	}
	if (!ret)
		vf_session_post(s, &event);
	return ret;
}

static void on_keepalive(struct vf_source_side *side, const uint8_t *body, size_t bytes)
{
	if (bytes != 4)
		return;
	(void) pthread_mutex_lock(&side->lock);
	if (side->tags_due && vf_get_u32(body) == side->tag && !--side->tags_due) {
		side->round_trip_ns = vf_min_u64(side->round_trip_ns, vf_now_ns() - side->tag_ns);
		(void) pthread_cond_broadcast(&side->answers_changed);
	}
	(void) pthread_mutex_unlock(&side->lock);
}

static bool answered_before(struct vf_source_side *side)
{
	bool before;

	(void) pthread_mutex_lock(&side->lock);
	before = side->answered;
	side->answered = true;
	(void) pthread_mutex_unlock(&side->lock);
	return before;
}

static int on_answer(struct vf_source_side *side, const struct vf_frame *frame, const void *body,
		     struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	struct vferry_error said;
	int ret;

	if ((frame->type == VF_FRAME_ACCEPT || frame->type == VF_FRAME_REFUSE) && answered_before(side))
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
					"%s, when the machine was answered already",
					vf_frame_type_name(frame->type));
	switch (frame->type) {
	case VF_FRAME_ACCEPT:
		return on_accept(side, body, frame->length, err);
	case VF_FRAME_REFUSE:
		return on_refuse(s, body, frame->length, err);
	case VF_FRAME_CREDIT:
	case VF_FRAME_INITIAL_ACK:
		return on_stream(s, frame, body, err);
	case VF_FRAME_PREPARED:
		return on_number(s, VF_SRC_PEER_PREPARED, frame, body, err);
	case VF_FRAME_RUNNING:
		return on_number(s, VF_SRC_PEER_RUNNING, frame, body, err);
	case VF_FRAME_RESOLVED:
		return on_number(s, VF_SRC_RESOLVED, frame, body, err);
	case VF_FRAME_FAILED:
		ret = vf_failure_decode(body, frame->length, &said, err);
		if (!ret)
			vf_session_post_error(s, VF_SRC_PEER_FAILED, &said);
		return ret;
	case VF_FRAME_REPORT:
		return on_report(s, body, frame->length, err);
	case VF_FRAME_VECTORS:
		return on_vectors(s, body, frame->length, err);
	case VF_FRAME_KEEPALIVE:
		on_keepalive(side, body, frame->length);
		return 0;
	default:
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
					"%s does not come from a destination",
					vf_frame_type_name(frame->type));
	}
}

static void *return_main(void *user)
{
	struct vf_source_side *side = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret;

	for (;;) {
		struct vf_frame frame;
		uint8_t *body = NULL;

		ret = vf_channel_recv(side->channels[0], VF_FRAME_MAX_MESSAGE_BYTES, &frame, &body,
				      &err);
		if (ret > 0)
			ret = on_answer(side, &frame, body, &err) ?: 1;
		free(body);
		if (ret <= 0)
			break;
	}
	(void) vferry_error_set(&err, ret < 0 ? ret : -ECONNRESET, "link-lost",
				vf_channel_name(side->channels[0]),
				ret < 0 ? "the link to the destination failed: %s"
					: "the destination closed the connection%s",
				ret < 0 ? vferry_errno_name(ret) : "");
	vf_channel_locate(side->channels[0], 0, &err);
	vf_session_post_error(side->session, ret == -ETIMEDOUT ? VF_SRC_STALL : VF_SRC_LINK_LOST,
			      &err);
	(void) pthread_mutex_lock(&side->lock);
	side->answers_ended = true;
	(void) pthread_cond_broadcast(&side->answers_changed);
	(void) pthread_mutex_unlock(&side->lock);
	return NULL;
}

int vf_source_answers_start(struct vf_source_side *side)
{
	int ret = vf_trace_thread(side->session->trace, "answers", &side->return_thread, return_main,
				  side);

	side->return_exists = !ret;
	return ret;
}

bool vf_source_peer_tells(struct vf_source_side *side, const struct vferry_error *err)
{
	uint64_t until = vf_now_ns() + LAST_WORD_NS;
	struct timespec ts = vf_timespec(until);
	bool ended;

	if (!side->return_exists || strcmp(err->id, "channel-lost"))
		return false;
	(void) pthread_mutex_lock(&side->lock);
	while (!side->answers_ended &&
	       pthread_cond_timedwait(&side->answers_changed, &side->lock, &ts) != ETIMEDOUT)
		;
	ended = side->answers_ended;
	(void) pthread_mutex_unlock(&side->lock);
	return ended;
}
