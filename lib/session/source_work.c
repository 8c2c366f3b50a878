/* SPDX-License-Identifier: MIT */
/*
 * source_work.c - what the source's plans do: the session's own save steps, the undo, and what pumps
 * and page sender tell. Nothing here decides anything; it runs on workers, pumps and sender threads.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "ram/ram.h"
#include "session/source.h"
#include "vfio/device_component.h"
#include "wire/frame.h"

#define SETTLE_NS (20 * VF_MS_NS)	/* most that is waited for what was sent to be read */

/* ---- callbacks of the pumps and of the page sender ---- */

static int stream_send(void *user, uint16_t type, uint32_t component, const void *head,
		       size_t head_bytes, const void *body, size_t body_bytes,
		       uint32_t body_crc, struct vferry_error *err)
{
	return vf_source_send_for(user, (enum vf_frame_type) type, component, head, head_bytes, body,
				  body_bytes, body_crc, err);
}

/* The guest reset the device: its config space is sent anew, behind the RESTART. */
static int stream_restarted(void *user, uint32_t component, struct vferry_error *err)
{
	struct vf_source_side *side = user;
	struct vferry_session *s = side->session;
	const char *device = s->components[component].device;
	int ret = 0;

	for (size_t i = 0; i < s->component_count && device[0] && !ret; i++) {
		struct vf_session_component *c = &s->components[i];

		if (strcmp(c->device, device))
			continue;
		for (size_t j = 0; j < c->desc.step_count && !ret; j++) {
			uint64_t bytes;

			if (c->desc.steps[j].step_class == VFERRY_SAVE_CONFIG_EARLY)
				ret = vf_step_run_save(s, c, &c->desc.steps[j],
						       vf_source_send_section, &bytes, err);
		}
	}
	return ret;
}

static void stream_reinit(void *user, uint32_t component)
{
	struct vf_source_side *side = user;
	struct vf_stream_source_totals totals;
	struct vf_event event = { .kind = VF_SRC_STREAM_REINIT, .component = component };

	vf_stream_source_get_totals(side->session->components[component].stream_source, &totals);
	event.generation = totals.generation;
	vf_session_post(side->session, &event);
	if (side->file ||
	    vf_stream_source_acknowledged(side->session->components[component].stream_source)) {
		event.kind = VF_SRC_STREAM_ACK;
		vf_session_post(side->session, &event);
	}
}

static void stream_failed(void *user, uint32_t component, const struct vferry_error *error)
{
	struct vf_source_side *side = user;

	(void) component;
	vf_session_post_error(side->session, VF_SRC_OWN_STREAM_FAILED, error);
}

const struct vf_stream_source_ops vf_source_stream_ops = {
	.send = stream_send,
	.restarted = stream_restarted,
	.reinit = stream_reinit,
	.failed = stream_failed,
};

/*
 * What was sent may be in the sockets, megabytes of it, and would be read in the pause if that began
 * now. So each channel is asked whether all was read, and a round ends when it was. It is no more than
 * a help: not waited for where a round trip takes as long, and given up soon. The answers tell of the
 * round trip, too, which the setup may have measured when the other side was busy.
 */
static void await_reader(struct vf_source_side *side, uint32_t round)
{
	const uint32_t tag = VF_SOURCE_TAG | round;
	uint64_t now = vf_now_ns();
	struct timespec ts = vf_timespec(now + SETTLE_NS);
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t body[4];
	bool waits;

	if (!side->round_trip_known)
		return;
	vf_put_u32(body, tag);
	(void) pthread_mutex_lock(&side->lock);
	waits = side->round_trip_ns <= SETTLE_NS / 2;
	side->tag = tag;
	side->tag_ns = now;
	side->tags_due = side->channel_count;
	(void) pthread_mutex_unlock(&side->lock);
	for (unsigned i = 0; i < side->channel_count; i++)
		if (vf_channel_send(side->channels[i], VF_FRAME_KEEPALIVE, VF_FRAME_OPTIONAL,
				    VF_NO_COMPONENT, body, sizeof(body), &err))
			return;		/* who sends next will hear of it */
	(void) pthread_mutex_lock(&side->lock);
	while (waits && side->tags_due && !side->answers_ended &&
	       pthread_cond_timedwait(&side->answers_changed, &side->lock, &ts) != ETIMEDOUT)
		;
	(void) pthread_mutex_unlock(&side->lock);
}

void vf_source_round_done(void *user, uint32_t round, int result)
{
	struct vf_source_side *side = user;
	struct vf_event event = {
		.kind = VF_SRC_OWN_ROUND_FINISHED, .generation = round, .number = (uint64_t) result,
	};
	bool last;

	(void) pthread_mutex_lock(&side->lock);
	last = side->in_last_round;
	(void) pthread_mutex_unlock(&side->lock);
	if (last)
		return;
	if (!result)
		await_reader(side, round);
	vf_session_post(side->session, &event);
}

/* ---- save steps ---- */

static void stop_streams(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].stream_source)
			vf_stream_source_request_stop(s->components[i].stream_source);
}

static int join_streams(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->component_count; i++) {
		int one = s->components[i].stream_source
				  ? vf_stream_source_stop(s->components[i].stream_source, err) : 0;

		ret = ret ? ret : one;
	}
	return ret;
}

static int step_vcpu_stop(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	uint8_t body[4];
	uint64_t now;
	int ret;

	vf_session_note_vectors(s, VF_BEFORE);	/* may be slow: the machine runs, and so do streams */
	now = vf_now_ns();
	stop_streams(side);
	ret = s->ops.stop(s->user, err);
	if (ret)
		return ret;
	(void) pthread_mutex_lock(&side->lock);
	side->machine_stopped = true;
	side->stopped_ns = now;
	(void) pthread_mutex_unlock(&side->lock);
	vf_session_post_kind(s, VF_SRC_MACHINE_STOPPED);
	vf_put_u32(body, side->last_round);
	ret = vf_source_send(side, VF_FRAME_SWITCHOVER, body, sizeof(body), err);
	return ret ? ret : join_streams(side, err);
}

static int step_ram_last(struct vf_source_side *side, uint64_t *ret_bytes, struct vferry_error *err)
{
	struct vf_ram_collected collected;
	struct vf_page_stats stats;
	int ret;

	(void) pthread_mutex_lock(&side->lock);
	side->in_last_round = true;
	(void) pthread_mutex_unlock(&side->lock);
	ret = vf_ram_collect(side->session->ram, &collected);
	if (!ret && side->file)
		return vf_source_file_last_round(side, side->last_round, ret_bytes, err);
	if (!ret)
		ret = vf_page_sender_start_round(side->pages, side->last_round);
	if (!ret)
		ret = vf_page_sender_wait(side->pages, 0, err);
	if (ret)
		return vferry_error_set(err, ret, "ram-last-failed", "ram",
					"sending the last pages: %s", vferry_errno_name(ret));
	vf_page_sender_get_stats(side->pages, &stats, NULL);
	*ret_bytes = stats.bytes;
	return 0;
}

static int run_own_save_step(struct vf_source_side *side, const struct vf_plan_view *view,
			     uint64_t *ret_bytes, struct vferry_error *err)
{
	struct vferry_session *s = side->session;

	switch (view->step.step) {
	case VF_OWN_VCPU_STOP:
		return step_vcpu_stop(side, err);
	case VF_OWN_VCPU_COMPLETE:
		return s->ops.complete_io ? s->ops.complete_io(s->user, err) : 0;
	case VF_OWN_STREAM_DRAIN:
		return vf_stream_source_drain(s->components[view->step.component].stream_source,
					      ret_bytes, err);
	case VF_OWN_RAM_LAST:
		return step_ram_last(side, ret_bytes, err);
	}
	return -EINVAL;
}

/* Told after the config space of the stopped device, a reset would make that void. */
static int follow_streams(struct vf_source_side *side, const char *device, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->component_count && !ret; i++)
		if (s->components[i].stream_source && !strcmp(s->components[i].device, device))
			ret = vf_stream_source_follow(s->components[i].stream_source, err);
	return ret;
}

static int run_save_step(void *user, const struct vf_plan_view *view, uint64_t *ret_bytes,
			 struct vferry_error *err)
{
	struct vf_source_side *side = user;
	struct vf_session_component *c;

	if (view->step.step >= VF_OWN_FIRST)
		return run_own_save_step(side, view, ret_bytes, err);
	c = &side->session->components[view->step.component];
	if (view->step.step_class == VFERRY_SAVE_CONFIG && c->device[0]) {
		int ret = follow_streams(side, c->device, err);

		if (ret)
			return ret;
	}
	return vf_step_run_save(side->session, c, &c->desc.steps[view->step.step],
				vf_source_send_section, ret_bytes, err);
}

/* That the live steps are done may be told late, when the machine has stopped already: it does not count. */
static void save_idle(void *user, uint64_t classes)
{
	struct vf_source_side *side = user;

	if (classes == ~0ull)
		vf_session_post_kind(side->session, VF_SRC_SAVE_DONE);
}

static void save_failed(void *user, const struct vferry_error *error)
{
	struct vf_source_side *side = user;

	vf_session_post_error(side->session, VF_SRC_SAVE_FAILED, error);
}

const struct vf_executor_ops vf_source_save_ops = {
	.run = run_save_step,
	.idle = save_idle,
	.failed = save_failed,
};

/* ---- undo ---- */

static int run_undo_step(void *user, const struct vf_plan_view *view, uint64_t *ret_bytes,
			 struct vferry_error *err)
{
	struct vf_source_side *side = user;
	struct vferry_session *s = side->session;
	struct vf_session_component *c;

	if (view->step.step == VF_OWN_LOGGING_OFF) {
		vf_ram_tracking_stop(s->ram);
		return 0;
	}
	if (view->step.step == VF_OWN_UNDO_VCPU_RUN)
		return side->machine_stopped ? s->ops.start(s->user, err) : 0;
	c = &s->components[view->step.component];
	return vf_step_run_save(s, c, &c->desc.steps[view->step.step], vf_source_send_section,
				ret_bytes, err);
}

static void nothing(void *user, uint64_t classes)
{
	(void) user;
	(void) classes;
}

const struct vf_executor_ops vf_source_undo_ops = { .run = run_undo_step, .idle = nothing };

/* Everything that sends ends; then the undo plan. Any step may fail; the others run all the same. */
int vf_source_undo(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret;

	if (side->pages)
		vf_page_sender_cancel(side->pages);
	if (side->file)
		vf_file_writer_cancel(side->file);
	vf_limiter_cancel(side->limiter);
	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].stream_source)
			vf_stream_source_cancel(s->components[i].stream_source);
	for (unsigned i = 0; i < side->channel_count && !side->file; i++)
		if (side->channels[i])
			vf_channel_shutdown(side->channels[i]);
	vf_source_file_join(side);
	if (side->save)
		vf_executor_stop(side->save);
	(void) join_streams(side, NULL);
	if (side->pages)	/* freed with the side: the status still reads it */
		vf_page_sender_settle(side->pages);
	if (s->ops.throttle)
		s->ops.throttle(s->user, 0);
	if (!side->undo)
		return 0;
	vf_executor_allow(side->undo, ~0ull);
	ret = vf_executor_wait(side->undo, err);
	return ret;
}

bool vf_source_device_lost(struct vferry_session *s)
{
	for (size_t i = 0; i < s->device_count; i++)
		if (vf_device_is_lost(s->devices[i]))
			return true;
	return false;
}
