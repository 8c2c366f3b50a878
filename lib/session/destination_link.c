/* SPDX-License-Identifier: MIT */
/*
 * destination_link.c - the destination's channels: what becomes of each frame, and what is sent.
 *
 * Frames arrive on the receiver's threads and never wait for a step: sections are stored, stream data
 * is queued within credit, everything else becomes an event.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "session/destination.h"
#include "session/link.h"
#include "wire/frame.h"

/* ---- sending ---- */

/* Greetings may still come in when a session ends before it began. */
static struct vf_channel *first_channel(struct vf_destination_side *side)
{
	struct vf_channel *channel;

	(void) pthread_mutex_lock(&side->lock);
	channel = side->channels[0];
	(void) pthread_mutex_unlock(&side->lock);
	return channel;
}

int vf_destination_send(struct vf_destination_side *side, enum vf_frame_type type,
			uint32_t component, const void *body, size_t bytes)
{
	struct vf_channel *channel = side->file ? NULL : first_channel(side);

	if (side->file)
		return 0;	/* a file needs no answers */
	if (!channel)
		return -ENOTCONN;
	return vf_channel_send(channel, type,
			       type == VF_FRAME_KEEPALIVE || type == VF_FRAME_REPORT ||
					       type == VF_FRAME_VECTORS
				       ? VF_FRAME_OPTIONAL : 0,
			       component, body, (uint32_t) bytes, NULL);
}

int vf_destination_refuse(struct vf_channel *channel, enum vf_frame_type type,
			  const struct vferry_error *why)
{
	struct vf_writer w;
	int ret;

	vf_writer_init(&w, 4096);
	vf_failure_encode(&w, why);
	ret = w.bad ? -ENOMEM : vf_channel_send(channel, type, 0, VF_NO_COMPONENT, w.data,
						(uint32_t) w.size, NULL);
	vf_writer_done(&w);
	return ret;
}

int vf_destination_send_error(struct vf_destination_side *side, enum vf_frame_type type,
			      const struct vferry_error *why)
{
	struct vf_channel *channel = first_channel(side);

	return channel ? vf_destination_refuse(channel, type, why) : -ENOTCONN;
}

int vf_destination_send_answer(struct vf_channel *channel, enum vf_handover_input answer)
{
	uint8_t body[4];

	vf_put_u32(body, answer == VF_HO_RAN ? VF_RESOLUTION_RAN :
			 answer == VF_HO_LOST ? VF_RESOLUTION_LOST : VF_RESOLUTION_ABORTED);
	return vf_channel_send(channel, VF_FRAME_RESOLVED, 0, VF_NO_COMPONENT, body, sizeof(body),
			       NULL);
}

void vf_destination_answer(struct vf_destination_side *side, enum vf_handover_input answer)
{
	struct vf_channel *asker, *channel = first_channel(side);

	(void) pthread_mutex_lock(&side->lock);
	asker = side->asker;
	side->asker = NULL;
	(void) pthread_mutex_unlock(&side->lock);
	if (asker)
		(void) vf_destination_send_answer(asker, answer);
	else if (channel)
		(void) vf_destination_send_answer(channel, answer);
	(void) vf_channel_free(asker);
}

/* ---- frames ---- */

void vf_destination_count_restart(struct vf_destination_side *side, struct vf_session_component *c)
{
	(void) pthread_mutex_lock(&side->lock);
	c->restarts_due++;
	(void) pthread_mutex_unlock(&side->lock);
}

static bool restart_due(struct vf_destination_side *side, const char *device)
{
	bool due = false;

	(void) pthread_mutex_lock(&side->lock);
	for (uint32_t i = 0; i < side->machine.component_count; i++)
		due |= side->by_remote[i]->restarts_due && !strcmp(side->by_remote[i]->device, device);
	(void) pthread_mutex_unlock(&side->lock);
	return due;
}

/* A device that will begin anew: what is behind its first state is fed when it has. */
void vf_destination_section_arrived(struct vf_destination_side *side,
				    const struct vf_session_component *c, uint32_t section)
{
	bool due = c->device[0] && restart_due(side, c->device);

	for (uint32_t i = 0; i < vf_plan_count(side->plan); i++) {
		struct vf_plan_view view;

		vf_executor_get(side->executor, i, &view);
		if (view.step.component == c->index && view.step.step < VF_OWN_FIRST &&
		    (!due || vf_class_before_restart(view.step.step_class)) &&
		    vf_destination_feeding(side->session, c, &c->desc.steps[view.step.step]) == section)
			vf_executor_input(side->executor, i);
	}
}

static void own_step_input(struct vf_destination_side *side, enum vf_own_step own)
{
	for (uint32_t i = 0; i < vf_plan_count(side->plan); i++) {
		struct vf_plan_view view;

		vf_executor_get(side->executor, i, &view);
		if (view.step.step == own)
			vf_executor_input(side->executor, i);
	}
}

static struct vf_session_component *component_of(struct vf_destination_side *side,
						  const struct vf_frame *frame,
						  struct vferry_error *err)
{
	if (frame->component < side->machine.component_count)
		return side->by_remote[frame->component];
	(void) vferry_error_set(err, -EPROTO, "no-such-component", NULL,
				"%s for component %u of %u", vf_frame_type_name(frame->type),
				frame->component, side->machine.component_count);
	return NULL;
}

static int on_section(struct vf_destination_side *side, const struct vf_frame *frame,
		      const uint8_t *body, struct vferry_error *err)
{
	struct vf_session_component *c = component_of(side, frame, err);
	struct vf_section_header header;
	int ret = c ? vf_section_header_decode(body, frame->length, &header, err) : -EPROTO;

	if (!ret)
		ret = vf_sections_put(&side->sections, frame->component, header.id, header.version,
				      body + VF_SECTION_HEADER_BYTES,
				      frame->length - VF_SECTION_HEADER_BYTES, err);
	if (ret && c && err && !err->object[0])
		(void) snprintf(err->object, sizeof(err->object), "%s", c->name);
	if (!ret)
		vf_destination_section_arrived(side, c, header.id);
	return ret;
}

/* @place: NULL, or where the body lies behind its stream header. */
static int on_stream(struct vf_destination_side *side, const struct vf_frame *frame,
		     const uint8_t *body, void *place, struct vferry_error *err)
{
	struct vf_session_component *c = component_of(side, frame, err);

	if (!c)
		return -EPROTO;
	if (!c->stream_sink)
		return vferry_error_set(err, -EPROTO, "no-such-stream", c->name,
					"%s for a component without a stream",
					vf_frame_type_name(frame->type));
	(void) pthread_mutex_lock(&side->lock);
	side->stream_bytes += frame->length;
	(void) pthread_mutex_unlock(&side->lock);
	/* What was staged before the reset is void: stage waits for the section that follows. */
	if (frame->type == VF_FRAME_STREAM_RESTART && !side->file) {
		vf_destination_count_restart(side, c);
		for (uint32_t i = 0; i < side->machine.component_count; i++)
			if (side->by_remote[i]->device[0] &&
			    !strcmp(side->by_remote[i]->device, c->device))
				vf_sections_forget(&side->sections, i);
	}
	return vf_stream_sink_put(c->stream_sink, frame, body, place, err);
}

static int on_machine(struct vf_destination_side *side, const struct vf_frame *frame,
		      const uint8_t *body, struct vferry_error *err)
{
	int ret;

	if (side->machine_there)
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
					"a second description of the machine");
	ret = vf_machine_decode(body, frame->length, &side->machine, err);
	if (ret)
		return ret;
	side->machine_there = true;
	(void) pthread_mutex_lock(&side->lock);
	side->described = true;
	(void) pthread_mutex_unlock(&side->lock);
	vf_session_post_kind(side->session, VF_DST_OWN_MACHINE);
	return 0;
}

/* All channels have ended the last round. What follows it is written over a machine that may run. */
static void end_ram(struct vf_destination_side *side)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_receiver_end_pages(side->receiver, &err))
		vf_session_post_error(side->session, VF_DST_LOAD_FAILED, &err);
	else
		own_step_input(side, VF_OWN_RAM_COMPLETE);
}

/* What comes once decides, or is being read, by the time that it comes again. */
static int comes_again(const struct vf_frame *frame, struct vferry_error *err)
{
	return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL, "a second %s",
				vf_frame_type_name(frame->type));
}

static int on_switchover(struct vf_destination_side *side, const struct vf_frame *frame,
			 const uint8_t *body, struct vferry_error *err)
{
	uint32_t last;
	bool complete;
	int ret = vf_number32_decode(body, frame->length, &last, err);

	if (ret)
		return ret;
	if (side->switchover)
		return comes_again(frame, err);
	(void) pthread_mutex_lock(&side->lock);
	side->switchover = true;
	side->switchover_ns = vf_now_ns();
	side->last_round = last;
	complete = side->rounds > last;
	(void) pthread_mutex_unlock(&side->lock);
	vf_session_post_kind(side->session, VF_DST_SWITCHOVER_BEGAN);
	if (complete)
		end_ram(side);
	return 0;
}

static void on_round(void *user, uint32_t round)
{
	struct vf_destination_side *side = user;
	bool complete;

	(void) pthread_mutex_lock(&side->lock);
	side->rounds = round + 1;
	complete = side->switchover && round >= side->last_round;
	(void) pthread_mutex_unlock(&side->lock);
	if (complete)
		end_ram(side);
}

void vf_destination_all_there(struct vf_destination_side *side)
{
	own_step_input(side, VF_OWN_PREPARED);
}

static int on_manifest(struct vf_destination_side *side, const struct vf_frame *frame,
		       const uint8_t *body, struct vferry_error *err)
{
	struct vf_manifest manifest;
	int ret;

	if (side->manifest_there)
		return comes_again(frame, err);
	ret = vf_manifest_decode(body, frame->length, &manifest, err);
	if (ret)
		return ret;
	(void) pthread_mutex_lock(&side->lock);
	side->manifest = manifest;
	side->manifest_there = true;
	/* What is left to come is COMMIT or CANCEL. A link that was silent may still bring it. */
	for (unsigned i = 0; i < side->channel_count; i++)
		vf_channel_be_patient(side->channels[i]);
	(void) pthread_mutex_unlock(&side->lock);
	if (!side->file)	/* there it may lie anywhere */
		vf_destination_all_there(side);
	return 0;
}

static int on_commit(struct vf_destination_side *side, const struct vf_frame *frame,
		     const uint8_t *body, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	uint8_t id[VF_SESSION_ID_BYTES];
	int ret = vf_id_decode(body, frame->length, id, err);

	if (!ret && memcmp(id, s->id, sizeof(id)))
		ret = vferry_error_set(err, -EPROTO, "wrong-session", NULL,
				       "COMMIT names another session");
	if (ret)
		return ret;
	(void) pthread_mutex_lock(&side->lock);
	side->commit_ns = vf_now_ns();
	(void) pthread_mutex_unlock(&side->lock);
	vf_session_post_kind(s, VF_DST_COMMIT);
	return 0;
}

static int on_cancel(struct vf_destination_side *side, const struct vf_frame *frame,
		     const uint8_t *body, struct vferry_error *err)
{
	struct vferry_error why;
	int ret = vf_failure_decode(body, frame->length, &why, err);

	if (!ret)
		vf_session_post_error(side->session, VF_DST_CANCELLED, &why);
	return ret;
}

static int on_digest(struct vf_destination_side *side, const struct vf_frame *frame,
		     const uint8_t *body, struct vferry_error *err)
{
	uint32_t digest;
	int ret = vf_number32_decode(body, frame->length, &digest, err);

	if (ret)
		return ret;
	if (side->digest_there)
		return comes_again(frame, err);
	(void) pthread_mutex_lock(&side->lock);
	side->digest = digest;
	side->digest_there = true;
	(void) pthread_mutex_unlock(&side->lock);
	return 0;
}

static int on_keepalive(struct vf_destination_side *side, const struct vf_frame *frame,
			const uint8_t *body)
{
	if (frame->length >= 4)
		(void) vf_destination_send(side, VF_FRAME_KEEPALIVE, VF_NO_COMPONENT, body, 4);
	return 0;
}

static bool is_accepted(struct vf_destination_side *side)
{
	bool accepted;

	(void) pthread_mutex_lock(&side->lock);
	accepted = side->accepted;
	(void) pthread_mutex_unlock(&side->lock);
	return accepted;
}

int vf_destination_frame(struct vf_destination_side *side, const struct vf_frame *frame,
			 const void *body, struct vferry_error *err)
{
	if (frame->type == VF_FRAME_KEEPALIVE)
		return on_keepalive(side, frame, body);
	if (frame->type == VF_FRAME_MACHINE)
		return on_machine(side, frame, body, err);
	if (frame->type == VF_FRAME_CANCEL)
		return on_cancel(side, frame, body, err);
	if (!is_accepted(side))
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
					"%s before the machine was accepted",
					vf_frame_type_name(frame->type));
	switch (frame->type) {
	case VF_FRAME_SECTION:
		return on_section(side, frame, body, err);
	case VF_FRAME_STREAM_DATA:
	case VF_FRAME_STREAM_MARK:
	case VF_FRAME_STREAM_RESTART:
		return on_stream(side, frame, body, NULL, err);
	case VF_FRAME_SWITCHOVER:
		return on_switchover(side, frame, body, err);
	case VF_FRAME_MANIFEST:
		return on_manifest(side, frame, body, err);
	case VF_FRAME_DIGEST:
		return on_digest(side, frame, body, err);
	case VF_FRAME_COMMIT:
		return on_commit(side, frame, body, err);
	default:
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
					"%s does not come from a source",
					vf_frame_type_name(frame->type));
	}
}

static void *on_place(void *user, const struct vf_frame *frame, size_t *ret_head)
{
	struct vf_destination_side *side = user;
	struct vf_session_component *c;

	if (frame->type != VF_FRAME_STREAM_DATA || !is_accepted(side))
		return NULL;
	c = component_of(side, frame, NULL);
	*ret_head = VF_STREAM_HEADER_BYTES;
	return c && c->stream_sink ? vf_stream_sink_place(c->stream_sink, frame->length) : NULL;
}

/* What is of a device. All else is on channel 0, so that one thread takes it. */
static bool is_of_any_channel(uint16_t type)
{
	return type == VF_FRAME_SECTION || vf_frame_is_stream(type) || type == VF_FRAME_KEEPALIVE;
}

static int on_placed(void *user, unsigned channel, const struct vf_frame *frame, const void *head,
		     void *place, struct vferry_error *err)
{
	(void) channel;
	return on_stream(user, frame, head, place, err);
}

static int on_frame(void *user, unsigned channel, const struct vf_frame *frame, const void *body,
		    struct vferry_error *err)
{
	if (channel && !is_of_any_channel(frame->type))
		return vferry_error_set(err, -EPROTO, "unexpected-frame", NULL,
					"%s on channel %u, not on channel 0",
					vf_frame_type_name(frame->type), channel);
	return vf_destination_frame(user, frame, body, err);
}

void vf_destination_ram_complete(struct vf_destination_side *side)
{
	own_step_input(side, VF_OWN_RAM_COMPLETE);
}

static void on_closed(void *user, unsigned channel)
{
	struct vf_destination_side *side = user;
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) vferry_error_set(&err, -ECONNRESET, "link-lost", NULL,
				"the source closed channel %u", channel);
	vf_session_post_error(side->session, VF_DST_LINK_LOST, &err);
}

/* What the peer got wrong is told to it; a link that broke is only lost. */
static void on_failed(void *user, unsigned channel, const struct vferry_error *err)
{
	struct vf_destination_side *side = user;
	bool link = err->code == -ECONNRESET || err->code == -EPIPE || err->code == -ETIMEDOUT ||
		    err->code == -ENOTCONN;

	(void) channel;
	vf_session_post_error(side->session, link ? VF_DST_LINK_LOST : VF_DST_LOAD_FAILED, err);
}

static const struct vf_receiver_ops receiver_ops = {
	.frame = on_frame,
	.place = on_place,
	.placed = on_placed,
	.round = on_round,
	.closed = on_closed,
	.failed = on_failed,
};

/* ---- life ---- */

int vf_destination_receive(struct vf_destination_side *side)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_receiver_options options = {
		.ram = side->session->ram,
		.channels = side->channels,
		.channel_count = side->channel_count,
		.ops = &receiver_ops,
		.user = side,
	};
	struct vf_receiver *receiver;
	int ret = vf_receiver_new(&options, &receiver, &err);

	if (!ret) {
		/* First: all of the machine may be there, and its last check begin, before this returns. */
		(void) pthread_mutex_lock(&side->lock);
		side->receiver = receiver;
		(void) pthread_mutex_unlock(&side->lock);
		ret = vf_receiver_start(receiver, &err);
	}
	if (ret)
		vf_session_post_error(side->session, VF_DST_LOAD_FAILED, &err);
	return ret;
}

/* A source that is bound, and then says nothing, would keep all others out. */
static void check_setup(struct vf_destination_side *side)
{
	uint64_t limit = side->session->parameters.stall_timeout_ns;
	struct vferry_error err = VFERRY_ERROR_INIT;
	bool late;

	(void) pthread_mutex_lock(&side->lock);
	late = side->bound && !side->described && !side->setup_late && limit &&
	       vf_now_ns() - side->bound_ns > limit;
	if (late) {
		side->setup_late = true;
		(void) vferry_error_set(&err, -ETIMEDOUT, "setup-timeout", NULL,
					"%u of %u channels came, and no description of a machine "
					"within %llu ms", side->channels_there, side->channel_count,
					(unsigned long long) (limit / VF_MS_NS));
	}
	(void) pthread_mutex_unlock(&side->lock);
	if (late)
		vf_session_post_error(side->session, VF_DST_LINK_LOST, &err);
}

static void tick(void *user)
{
	struct vf_destination_side *side = user;
	bool accepted;

	(void) pthread_mutex_lock(&side->lock);
	accepted = side->accepted;
	(void) pthread_mutex_unlock(&side->lock);
	check_setup(side);
	if (accepted)
		(void) vf_channel_keepalive(side->channels[0]);
}

int vf_destination_listen(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret;

	if (s->target.kind == VF_URI_FILE)
		return vf_destination_file_open(side, err);
	ret = vf_trace(s->trace, VF_TRACE_LINK_LISTEN, s->uri, 0, 0, 0);
	if (ret)
		return vferry_error_set(err, ret, "listen", s->uri, "cannot listen: %s",
					vferry_errno_name(ret));
	ret = vf_listener_new(&s->target, vf_link_loopback_only(s), &side->listener, err);
	if (ret)
		return ret;
	(void) pthread_mutex_lock(&s->lock);
	(void) snprintf(s->status.uri, sizeof(s->status.uri), "%s", vf_listener_uri(side->listener));
	(void) pthread_mutex_unlock(&s->lock);
	ret = vf_destination_accept_start(side);
	if (!ret)
		ret = vf_ticker_start(&side->ticker, VF_KEEPALIVE_NS, tick, side);
	return ret ? vferry_error_set(err, ret, "no-thread", NULL, "cannot start a thread: %s",
				      vferry_errno_name(ret)) : 0;
}

void vf_destination_link_stop(struct vf_destination_side *side)
{
	vf_destination_accept_stop(side);
	vf_destination_file_close(side);
	for (unsigned i = 0; i < side->channel_count; i++)
		if (side->channels[i])
			vf_channel_shutdown(side->channels[i]);
	vf_ticker_stop(&side->ticker);
	side->receiver = vf_receiver_free(side->receiver);
	for (unsigned i = 0; i < side->channel_count; i++)
		side->channels[i] = vf_channel_free(side->channels[i]);
	side->asker = vf_channel_free(side->asker);
	side->listener = vf_listener_free(side->listener);
}
