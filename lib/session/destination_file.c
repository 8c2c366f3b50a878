/* SPDX-License-Identifier: MIT */
/*
 * destination_file.c - loading a saved machine: frames are taken in whatever order the file has them.
 *
 * Model: one thread walks the file for its description, and after that was accepted for everything
 * that is not part of a stream; pages are loaded beside it. Then each stream has a feeder that walks for
 * its own frames only, and waits while its queue is full. So no order of the file can hold anything
 * up. A state file commits as soon as everything is loaded: there is no source that could still run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "session/destination.h"
#include "wire/frame.h"

#define LOAD_THREADS 2

/* Hands @frame to the same code that a connection's frames go to, with its place in any error. */
static int deliver(struct vf_destination_side *side, const struct vf_file_frame *frame,
		   uint8_t *body, struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	int ret = vf_file_reader_body(side->file, frame, body, err);

	if (ret)
		return ret;
	ret = vf_destination_frame(side, &frame->frame, body, &why);
	if (ret)
		return vferry_error_set(err, ret, why.id[0] ? why.id : "bad-frame", why.object,
					"frame at offset %llu (%s): %s",
					(unsigned long long) frame->offset,
					vf_frame_type_name(frame->frame.type),
					why.code ? why.message : vferry_errno_name(ret));
	return 0;
}

/* ---- one stream ---- */

static int feed_stream(struct vf_file_feeder *feeder, uint8_t *body, struct vferry_error *err)
{
	struct vf_destination_side *side = feeder->side;
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_frame frame;
	int ret;

	while ((ret = vf_file_reader_next(side->file, &cursor, &frame, err)) > 0) {
		if (frame.frame.component != feeder->component || !vf_frame_is_stream(frame.frame.type))
			continue;
		if (frame.frame.length > VF_FRAME_MAX_BYTES)
			return -EMSGSIZE;
		ret = vf_stream_sink_wait_room(feeder->sink, frame.frame.length);
		if (!ret)
			ret = deliver(side, &frame, body, err);
		if (ret)
			return ret;
	}
	if (!ret && !vf_stream_sink_has_all(feeder->sink))
		ret = vferry_error_set(err, -EBADMSG, "file-incomplete",
				       side->by_remote[feeder->component]->name,
				       "the file ends before the end of this device's state");
	return ret;
}

static void *feeder_main(void *user)
{
	struct vf_file_feeder *feeder = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t *body = malloc(VF_FRAME_MAX_BYTES);
	int ret = body ? feed_stream(feeder, body, &err) : -ENOMEM;

	free(body);
	if (ret && ret != -ECANCELED) {
		(void) vferry_error_set(&err, ret, "file-unreadable", feeder->side->session->uri,
					"reading device state: %s", vferry_errno_name(ret));
		vf_session_post_error(feeder->side->session, VF_DST_LOAD_FAILED, &err);
	}
	return NULL;
}

static int start_feeders(struct vf_destination_side *side)
{
	int ret = 0;

	side->feeders = calloc(side->machine.component_count ? side->machine.component_count : 1,
			       sizeof(*side->feeders));
	if (!side->feeders)
		return -ENOMEM;
	for (uint32_t i = 0; i < side->machine.component_count && !ret; i++) {
		struct vf_file_feeder *feeder = &side->feeders[side->feeder_count];

		if (!side->by_remote[i]->stream_sink)
			continue;
		*feeder = (struct vf_file_feeder) {
			.side = side, .component = i, .sink = side->by_remote[i]->stream_sink,
		};
		ret = vf_trace_thread(side->session->trace, "feeder", &feeder->thread, feeder_main,
				      feeder);
		side->feeder_count += !ret;
	}
	return ret;
}

/* ---- the rest ---- */

static int find_frame(struct vf_destination_side *side, uint16_t type, struct vf_file_frame *frame,
		      struct vferry_error *err)
{
	struct vf_file_cursor cursor = { 0 };
	int ret;

	while ((ret = vf_file_reader_next(side->file, &cursor, frame, err)) > 0)
		if (frame->frame.type == type)
			return 0;
	return ret < 0 ? ret : vferry_error_set(err, -EBADMSG, "file-incomplete", NULL,
						"the file has no %s", vf_frame_type_name(type));
}

static int bind_to_file(struct vf_destination_side *side, uint8_t *body, struct vferry_error *err)
{
	struct vf_file_frame frame;
	struct vf_hello hello;
	int ret = find_frame(side, VF_FRAME_HELLO, &frame, err);

	if (!ret)
		ret = vf_file_reader_body(side->file, &frame, body, err);
	if (!ret)
		ret = vf_hello_decode(body, frame.frame.length, &hello, err);
	if (ret)
		return ret;
	memcpy(side->session->id, hello.session_id, sizeof(side->session->id));
	ret = find_frame(side, VF_FRAME_MACHINE, &frame, err);
	return ret ? ret : deliver(side, &frame, body, err);
}

/* Return: 0 accepted; -ECANCELED the session ended. */
static int wait_accepted(struct vf_destination_side *side)
{
	int ret;

	(void) pthread_mutex_lock(&side->lock);
	while (!side->accepted && !side->file_cancelled)
		(void) pthread_cond_wait(&side->file_changed, &side->lock);
	ret = side->file_cancelled || side->machine.check_only ? -ECANCELED : 0;
	(void) pthread_mutex_unlock(&side->lock);
	return ret;
}

static void *pages_main(void *user)
{
	struct vf_destination_side *side = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_file_stats stats;
	int ret = vf_file_reader_load_pages(side->file, side->session->ram, LOAD_THREADS, &stats,
					    &err);

	if (!ret) {
		(void) pthread_mutex_lock(&side->lock);
		side->file_stats = stats;
		(void) pthread_mutex_unlock(&side->lock);
		vf_destination_ram_complete(side);
	} else if (ret != -ECANCELED) {
		vf_session_post_error(side->session, VF_DST_LOAD_FAILED, &err);
	}
	return NULL;
}

static int deliver_rest(struct vf_destination_side *side, uint8_t *body, struct vferry_error *err)
{
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_frame frame;
	int ret;

	while ((ret = vf_file_reader_next(side->file, &cursor, &frame, err)) > 0) {
		if (vf_frame_is_stream(frame.frame.type) || frame.frame.type == VF_FRAME_HELLO ||
		    frame.frame.type == VF_FRAME_MACHINE || frame.frame.type == VF_FRAME_SWITCHOVER ||
		    frame.frame.type == VF_FRAME_KEEPALIVE ||
		    frame.frame.type == VF_FRAME_ROUND_END || frame.frame.type == VF_FRAME_COMMIT)
			continue;
		ret = deliver(side, &frame, body, err);
		if (ret)
			return ret;
	}
	return ret;
}

/* Before anything is delivered: in a file, sections do not wait for what lies in front of them. */
static int count_restarts(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_frame frame;
	int ret;

	while ((ret = vf_file_reader_next(side->file, &cursor, &frame, err)) > 0)
		if (frame.frame.type == VF_FRAME_STREAM_RESTART &&
		    frame.frame.component < side->machine.component_count)
			vf_destination_count_restart(side, side->by_remote[frame.frame.component]);
	return ret;
}

/* All was read: what is not here now would be waited for for ever. */
static int check_rest(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->component_count; i++) {
		const struct vf_session_component *c = &s->components[i];

		for (size_t j = 0; j < c->desc.step_count; j++) {
			const struct vferry_step_desc *step = &c->desc.steps[j];
			uint32_t section = vf_destination_feeding(s, c, step);

			if (VFERRY_PHASE_OF(step->step_class) == VFERRY_PHASE_LOAD && section &&
			    !vf_sections_arrived(&side->sections, c->remote, section))
				return vferry_error_set(err, -EBADMSG, "file-incomplete", c->name,
							"the file has no section %u, which step %s "
							"needs", section, step->name);
		}
	}
	if (!side->manifest_there)
		return vferry_error_set(err, -EBADMSG, "file-incomplete", NULL,
					"the file has no manifest of what was saved");
	return 0;
}

static int load_file(struct vf_destination_side *side, uint8_t *body, struct vferry_error *err)
{
	int ret = bind_to_file(side, body, err);

	if (!ret)
		ret = wait_accepted(side);
	if (ret)
		return ret;
	(void) pthread_mutex_lock(&side->lock);
	side->switchover = true;
	side->switchover_ns = vf_now_ns();
	(void) pthread_mutex_unlock(&side->lock);
	vf_session_post_kind(side->session, VF_DST_SWITCHOVER_BEGAN);
	ret = count_restarts(side, err);
	if (!ret && side->session->ram) {
		ret = vf_trace_thread(side->session->trace, "file-pages", &side->pages_thread, pages_main,
				      side);
		side->pages_exists = !ret;
	}
	if (!ret)
		ret = deliver_rest(side, body, err);
	if (!ret)
		ret = check_rest(side, err);
	/* Last, so that what a device begins anew with is here when its stream says that it does. */
	if (!ret)
		ret = start_feeders(side);
	if (!ret)
		vf_destination_all_there(side);
	return ret;
}

static void *file_main(void *user)
{
	struct vf_destination_side *side = user;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t *body = malloc(VF_FRAME_MAX_BYTES);
	int ret = body ? load_file(side, body, &err) : -ENOMEM;

	free(body);
	if (ret && ret != -ECANCELED) {
		(void) vferry_error_set(&err, ret, "file-unreadable", side->session->uri, "%s",
					vferry_errno_name(ret));
		vf_session_post_error(side->session, VF_DST_LOAD_FAILED, &err);
	}
	return NULL;
}

int vf_destination_file_open(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = vf_trace(s->trace, VF_TRACE_FILE_OPEN, s->uri, 0, 0, 0);

	if (ret)
		return vferry_error_set(err, ret, "file-open", s->uri, "cannot open: %s",
					vferry_errno_name(ret));
	ret = vf_file_reader_new(s->target.path, &side->file, err);
	if (ret)
		return ret;
	vf_file_reader_set_trace(side->file, s->trace);
	ret = vf_trace_thread(side->session->trace, "file", &side->accept_thread, file_main, side);
	side->accept_exists = !ret;
	return ret ? vferry_error_set(err, ret, "no-thread", NULL, "cannot start a thread: %s",
				      vferry_errno_name(ret)) : 0;
}

void vf_destination_file_cancel(struct vf_destination_side *side)
{
	(void) pthread_mutex_lock(&side->lock);
	side->file_cancelled = true;
	(void) pthread_cond_broadcast(&side->file_changed);
	(void) pthread_mutex_unlock(&side->lock);
	if (side->file)
		vf_file_reader_cancel(side->file);
}

/* After a cancel, and after the sinks were cancelled. */
void vf_destination_file_close(struct vf_destination_side *side)
{
	if (side->pages_exists)
		(void) pthread_join(side->pages_thread, NULL);
	side->pages_exists = false;
	for (uint32_t i = 0; i < side->feeder_count; i++)
		(void) pthread_join(side->feeders[i].thread, NULL);
	free(side->feeders);
	side->feeders = NULL;
	side->feeder_count = 0;
	if (side->file)		/* of a link, others look at it still */
		side->file = vf_file_reader_free(side->file);
}
