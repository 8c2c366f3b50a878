/* SPDX-License-Identifier: MIT */
/*
 * source.c - the source's session thread: its life, and events into the engine's machine.
 *
 * The engine decides (engine/source.h); what its decisions mean is in source_act.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "ram/ram.h"
#include "session/source.h"
#include "vfio/device_component.h"
#include "wire/frame.h"

static const char *const policy_names[] = {
	[VFERRY_POLICY_THROTTLE] = "throttle",
	[VFERRY_POLICY_CONTINUE] = "continue",
	[VFERRY_POLICY_GIVE_UP] = "give-up",
};

/* ---- events ---- */

static void feed(struct vf_source_side *side, struct vf_source_event *event);

static void carry_out(struct vf_source_side *side, const struct vf_actions *actions)
{
	for (size_t i = 0; i < actions->count; i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_source_event failed = { .error = &err };
		int ret = vf_source_act(side, &actions->list[i], &err);

		if (!ret)
			continue;
		(void) vferry_error_set(&err, ret, "failed", vf_action_name(actions->list[i].kind),
					"%s", vferry_errno_name(ret));
		if (actions->list[i].kind != VF_ACT_SEND_COMMIT && vf_source_peer_tells(side, &err))
			return;
		/* A message that did not go out is a lost link; the rest is a failed save. */
		switch (actions->list[i].kind) {
		case VF_ACT_SEND_MACHINE:
		case VF_ACT_SEND_MANIFEST:
		case VF_ACT_SEND_COMMIT:
			failed.kind = side->file ? VF_SRC_SAVE_FAILED : VF_SRC_LINK_LOST;
			break;
		default:
			failed.kind = VF_SRC_SAVE_FAILED;
		}
		feed(side, &failed);
		return;	/* what was to follow no longer holds */
	}
}

static void feed(struct vf_source_side *side, struct vf_source_event *event)
{
	struct vf_actions actions;

	event->now_ns = vf_now_ns();
	if (!vf_source_event(&side->machine, event, &actions))
		carry_out(side, &actions);
}

static void on_round_finished(struct vf_source_side *side, const struct vf_event *event)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_source_event e = { .kind = VF_SRC_ROUND_DONE, .error = &err };
	int ret = (int) event->number;

	if (side->pages)	/* free again once its callback returned; knows what it failed with */
		ret = vf_page_sender_wait(side->pages, 0, &err);
	if (ret)
		(void) vferry_error_set(&err, ret, "ram-failed", "ram", "sending pages: %s",
					vferry_errno_name(ret));
	else
		ret = vf_source_measure_round(side, event->generation + 1, &e.round);
	(void) vf_trace(side->session->trace, VF_TRACE_ROUND_END, "ram", event->generation + 1,
			e.round.sent_bytes, ret < 0 ? (uint64_t) -ret : 0);
	if (ret == -ECANCELED)
		return;
	if (ret) {
		(void) vferry_error_set(&err, ret, "ram-failed", "ram", "%s", vferry_errno_name(ret));
		if (vf_source_peer_tells(side, &err))
			return;
		e.kind = VF_SRC_SAVE_FAILED;
		feed(side, &e);
		return;
	}
	feed(side, &e);
	vf_source_publish_round(side, &e.round);
}

static void note_running(struct vf_source_side *side, uint64_t run_ns)
{
	struct vferry_session *s = side->session;
	uint64_t verify;

	(void) pthread_mutex_lock(&side->lock);
	verify = side->verify_ns;
	side->running_ns = vf_now_ns();
	side->downtime_ns = side->committed_ns - side->stopped_ns + side->round_trip_ns / 2 + run_ns;
	side->downtime_ns -= vf_min_u64(verify, side->downtime_ns);
	(void) pthread_mutex_unlock(&side->lock);
	(void) pthread_mutex_lock(&s->lock);
	s->status.downtime_known = true;
	s->status.downtime_ns = side->downtime_ns;
	(void) pthread_mutex_unlock(&s->lock);
}

static void on_event(struct vf_source_side *side, const struct vf_event *event)
{
	struct vf_source_event e = {
		.kind = (enum vf_source_event_kind) event->kind,
		.error = event->has_error ? &event->error : NULL,
		.component = event->component,
		.generation = event->generation,
		.device_lost = event->kind == VF_SRC_UNDO_DONE && event->flag,
		.ran = event->kind == VF_SRC_RESOLVED ? event->number != VF_RESOLUTION_ABORTED
						      : event->flag,
		.lost = event->kind == VF_SRC_RESOLVED && event->number == VF_RESOLUTION_LOST,
		.hook = event->kind == VF_SRC_HOOK_OK || event->kind == VF_SRC_HOOK_FAILED
				? (enum vf_hook) event->number : VF_HOOK_BEFORE_SWITCHOVER,
	};

	switch (event->kind) {
	case VF_SRC_OWN_ROUND_FINISHED:
		on_round_finished(side, event);
		return;
	case VF_SRC_OWN_STREAM_FAILED:
		e.kind = VF_SRC_SAVE_FAILED;
		if (vf_source_peer_tells(side, &event->error))
			return;
		break;
	case VF_SRC_SAVE_FAILED:
		if (vf_source_peer_tells(side, &event->error))
			return;
		break;
	case VF_SRC_PEER_PREPARED:
		(void) pthread_mutex_lock(&side->lock);
		side->verify_ns += event->number;
		(void) pthread_mutex_unlock(&side->lock);
		break;
	case VF_SRC_PEER_RUNNING:
		note_running(side, event->number);
		break;
	case VF_SRC_RESOLVED:	/* what has not come by now does not come later */
		(void) pthread_mutex_lock(&side->lock);
		side->running_ns = vf_now_ns();
		(void) pthread_mutex_unlock(&side->lock);
		break;
	case VF_SRC_UNDO_DONE:
		if (event->has_error)
			vf_source_note_failed_undo(side, &event->error);
		break;
	case VF_SRC_OWN_LIMITS:
		side->machine.config.max_downtime_ns = event->number;
		side->machine.converge.max_downtime_ns = event->number;
		if (side->bandwidth != event->bandwidth)
			side->rate = 0;		/* one that was limited says nothing any more */
		side->bandwidth = event->bandwidth;
		return;
	}
	feed(side, &e);
}

/* ---- life ---- */

static int make_streams(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->component_count && !ret; i++) {
		struct vf_session_component *c = &s->components[i];

		if (c->desc.stream)
			ret = vf_stream_source_new(c->index, c->name, c->desc.stream, c->desc.user,
						   &vf_source_stream_ops, side, &c->stream_source);
	}
	return ret;
}

static int make_plans(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = vf_steps_plan(s, VFERRY_PHASE_SAVE, NULL, &side->save_plan, err);

	if (!ret)
		ret = vf_plan_seal(side->save_plan, err);
	if (!ret) {
		size_t count = vf_plan_count(side->save_plan);

		side->predicted = calloc(count + 1, sizeof(*side->predicted));
		ret = side->predicted ? 0 : -ENOMEM;
		for (size_t i = 0; i < count && !ret; i++)
			side->predicted[i] = VF_NS_UNKNOWN;
	}
	if (!ret)
		ret = vf_steps_plan(s, VFERRY_PHASE_UNDO, NULL, &side->undo_plan, err);
	if (!ret)
		ret = vf_plan_seal(side->undo_plan, err);
	if (!ret)
		ret = vf_executor_new(side->save_plan, vf_session_step_threads(s), false, &vf_source_save_ops,
				      side, &side->save);
	if (!ret)
		ret = vf_executor_new(side->undo_plan, 4, true, &vf_source_undo_ops, side, &side->undo);
	if (!ret) {
		vf_executor_set_trace(side->save, s->trace);
		vf_executor_set_trace(side->undo, s->trace);
	}
	return ret;
}

/* Devices that cannot be migrated are found before anything is sent. */
static int begin_devices(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->device_count; i++) {
		int ret;

		vf_device_set_trace(s->devices[i], s->trace);
		ret = vf_device_session_begin(s->devices[i], VF_DEVICE_SOURCE, err);

		if (!ret && s->device_count > 1 && !vf_device_is_p2p_safe(s->devices[i]))
			ret = vferry_error_set(err, -ENOTSUP, "device-no-p2p",
					       vf_device_address(s->devices[i]),
					       "has no P2P states, and BARs are DMA-mapped between it "
					       "and another device: they cannot be stopped one by one");
		if (ret) {
			while (i-- > 0)
				vf_device_session_end(s->devices[i]);
			return ret;
		}
	}
	return 0;
}

static int open_link(struct vf_source_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret;

	if (s->target.kind == VF_URI_FILE)
		return vf_source_file_open(side, err);
	ret = vf_source_connect(side, err);

	if (!ret && s->ram) {
		struct vf_page_sender_options options = {
			.ram = s->ram, .channels = side->channels,
			.channel_count = side->channel_count,
			.codec = (enum vf_codec) s->parameters.compression,
			.round_done = vf_source_round_done, .user = side,
		};

		struct vf_page_sender *pages;

		ret = vf_page_sender_new(&options, &pages, err);
		(void) pthread_mutex_lock(&side->lock);
		side->pages = ret ? NULL : pages;
		(void) pthread_mutex_unlock(&side->lock);
	}
	return ret ? ret : vf_source_link_start(side, err);
}

static void init_machine(struct vf_source_side *side)
{
	const struct vferry_parameters *p = &side->session->parameters;
	struct vf_source_config config = {
		.policy = vf_policy_find(policy_names[p->policy]),
		.max_downtime_ns = p->max_downtime_ns,
		.pause_budget_ns = p->pause_budget_ns ? p->pause_budget_ns : 10 * p->max_downtime_ns,
		.timeout_ns = p->timeout_ns,
		.check = p->check_only,
		.hold = p->hold_before_switchover,
	};

	for (int i = 0; i < VF_HOOK__COUNT; i++)
		config.hooks[i] = side->session->ops.hook != NULL;
	vf_source_init(&side->machine, &config);
}

/* Every stream that may send before the stop. Whether it knows its initial bytes is seen once it does. */
static void add_streams(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->component_count; i++) {
		const struct vf_session_component *c = &s->components[i];
		struct vf_stream_source_totals totals;

		if (!c->stream_source)
			continue;
		/* Before the engine hears of it: acknowledgements of another generation do not count. */
		vf_stream_source_sync(c->stream_source);
		if (!c->desc.stream->precopy_start || !c->desc.stream->remaining)
			continue;
		vf_stream_source_get_totals(c->stream_source, &totals);
		(void) vf_source_add_stream(&side->machine, c->index, totals.generation);
	}
}

/* Failed before the engine began: nothing was changed. */
static void fail_setup(struct vf_source_side *side, int exit_code, struct vferry_error *err, int ret)
{
	struct vferry_session *s = side->session;

	(void) vferry_error_set(err, ret, "setup-failed", s->uri, "%s", vferry_errno_name(ret));
	vferry_error_phase(err, "setup");
	vf_session_set_owner(s, true);
	vf_session_set_state(s, ret == -ECANCELED ? VF_STATUS_CANCELLED : VF_STATUS_FAILED);
	vf_session_finish(s, ret == -ECANCELED ? VFERRY_OUTCOME_CANCELLED : exit_code, err);
}

static bool set_up(struct vf_source_side *side)
{
	struct vferry_session *s = side->session;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret;

	vf_session_set_owner(s, true);
	vf_session_set_state(s, VF_STATUS_SETUP);
	ret = make_plans(side, &err);
	if (!ret)
		ret = begin_devices(side, &err);
	if (ret) {
		fail_setup(side, VFERRY_OUTCOME_REFUSED, &err, ret);
		return false;
	}
	ret = open_link(side, &err);
	if (ret) {
		for (size_t i = 0; i < s->device_count; i++)
			vf_device_session_end(s->devices[i]);
		fail_setup(side, ret == -EPERM && !strcmp(err.id, "insecure") ? VFERRY_OUTCOME_REFUSED
									       : VFERRY_OUTCOME_FAILED,
			   &err, ret);
		return false;
	}
	return true;
}

static void source_run(struct vferry_session *s)
{
	struct vf_source_side *side = s->source;
	struct vf_source_event start = { .kind = VF_SRC_START };

	if (!set_up(side))
		return;
	add_streams(side);
	feed(side, &start);
	while (!vf_session_quitting(s)) {
		uint64_t armed = side->machine.armed_ns == UINT64_MAX ? 0 : side->machine.armed_ns;
		struct vf_source_event timer = { .kind = VF_SRC_TIMER };
		struct vf_event event;

		if (vf_session_next_event(s, armed, &event))
			on_event(side, &event);
		else if (armed && vf_now_ns() >= armed)
			feed(side, &timer);
	}
}

static int source_cancel(struct vferry_session *s)
{
	uint64_t one = 1;
	bool ended, committed;

	(void) pthread_mutex_lock(&s->lock);
	ended = s->ended;
	(void) pthread_mutex_unlock(&s->lock);
	(void) pthread_mutex_lock(&s->source->lock);
	committed = s->source->committed_ns != 0;
	(void) pthread_mutex_unlock(&s->source->lock);
	if (committed)
		return -EALREADY;
	if (ended)
		return 0;
	(void) !write(s->cancel_fd, &one, sizeof(one));
	vf_session_post_kind(s, VF_SRC_CANCEL);
	return 0;
}

static void source_free(struct vferry_session *s)
{
	struct vf_source_side *side = s->source;

	vf_source_join_helper(side);
	vf_source_file_join(side);
	vf_source_link_stop(side);
	side->file = vf_file_writer_free(side->file);
	side->pages = vf_page_sender_free(side->pages);
	for (size_t i = 0; i < s->component_count; i++)
		s->components[i].stream_source = vf_stream_source_free(s->components[i].stream_source);
	side->save = vf_executor_free(side->save);
	side->undo = vf_executor_free(side->undo);
	/* Nobody is left who would: a device that is closed next must not stay a source of dirt. */
	if (s->ram)
		vf_ram_tracking_stop(s->ram);
	(void) vf_plan_free(side->save_plan);
	(void) vf_plan_free(side->undo_plan);
	(void) vf_limiter_free(side->limiter);
	(void) pthread_cond_destroy(&side->answers_changed);
	(void) pthread_mutex_destroy(&side->lock);
	free(side->sections);
	free(side->predicted);
	free(side);
	s->source = NULL;
}

static void source_status(struct vferry_session *s, struct vferry_status *status)
{
	struct vf_source_side *side = s->source;

	(void) pthread_mutex_lock(&side->lock);
	status->section_bytes = side->section_bytes;
	if (side->file) {
		status->ram_sent_bytes = side->file_total.bytes;
		status->pages_normal = side->file_total.pages_normal;
		status->pages_zero = side->file_total.pages_zero;
	}
	if (side->pages) {
		struct vf_page_stats pages;

		vf_page_sender_get_stats(side->pages, NULL, &pages);
		status->ram_sent_bytes = pages.bytes;
		status->pages_normal = pages.pages_normal;
		status->pages_zero = pages.pages_zero;
	}
	(void) pthread_mutex_unlock(&side->lock);
	status->ram_total_bytes = s->ram ? vferry_ram_bytes(s->ram) : 0;
	status->device_sent_bytes = 0;
	for (size_t i = 0; i < s->component_count; i++) {
		struct vf_stream_source_totals totals;

		if (!s->components[i].stream_source)
			continue;
		vf_stream_source_get_totals(s->components[i].stream_source, &totals);
		status->device_sent_bytes += totals.sent_bytes;
	}
}

const struct vf_side_ops vf_source_ops = {
	.run = source_run,
	.cancel = source_cancel,
	.free = source_free,
	.status = source_status,
};

int vf_source_side_new(struct vferry_session *s, struct vferry_error *err)
{
	struct vf_source_side *side = calloc(1, sizeof(*side));
	int ret;

	if (!side)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory for a source");
	side->session = s;
	side->load_ns = VF_UNKNOWN_NS;
	side->bandwidth = s->parameters.bandwidth;
	side->channel_count = s->target.kind == VF_URI_FD || s->target.kind == VF_URI_FILE
				      ? 1 : s->parameters.channels;
	(void) pthread_mutex_init(&side->lock, NULL);
	vf_session_init_condition(&side->answers_changed);
	init_machine(side);
	s->source = side;
	ret = vf_limiter_new(s->parameters.bandwidth, &side->limiter);
	if (!ret && getrandom(s->id, sizeof(s->id), 0) != sizeof(s->id))
		ret = -EIO;
	if (!ret)
		ret = make_streams(side);
	if (ret) {
		source_free(s);
		return vferry_error_set(err, ret, "no-memory", NULL, "cannot set up a source: %s",
					vferry_errno_name(ret));
	}
	return 0;
}

/* ---- what session.c passes on ---- */

struct vf_executor *vf_source_executor(struct vferry_session *s)
{
	return s->source ? s->source->save : NULL;
}

struct vf_plan *vf_source_plan(struct vferry_session *s)
{
	return s->source ? s->source->save_plan : NULL;
}

/* Before the save plan ran it changes with each round; afterwards it is what was expected. */
uint64_t vf_source_predicted_ns(struct vferry_session *s, const char *full_name)
{
	int step = s->source && s->source->save_plan ? vf_plan_find(s->source->save_plan, full_name)
						     : -ENOENT;

	return step < 0 || !s->source->predicted ? VF_NS_UNKNOWN : s->source->predicted[step];
}

uint64_t vf_source_pause_ns(struct vferry_session *s)
{
	uint64_t ns = 0;

	if (s->source) {
		(void) pthread_mutex_lock(&s->source->lock);
		ns = s->source->stopped_ns;
		(void) pthread_mutex_unlock(&s->source->lock);
	}
	return ns;
}

/* With VECTORS, or without, when its time is up: nobody waits for it but who asks here. */
enum vferry_known vf_source_awaits_vectors(struct vferry_session *s, const char **ret_why)
{
	struct vf_source_side *side = s->source;
	enum vferry_known known = VFERRY_KNOWN_NOT;

	(void) pthread_mutex_lock(&side->lock);
	if (side->file || !side->committed_ns) {
		*ret_why = side->file ? "nobody runs a saved machine yet" :
					"the machine was not handed over";
	} else if (!side->tells_vectors) {
		*ret_why = "the destination's version does not tell";
	} else if (side->answers_ended) {
		*ret_why = "the link ended before the destination told";
	} else if (side->running_ns && vf_now_ns() - side->running_ns > VF_TELL_VECTORS_NS) {
		*ret_why = "the destination did not tell in time";
	} else {
		*ret_why = "the destination has not told yet";
		known = VFERRY_KNOWN_SOON;
	}
	(void) pthread_mutex_unlock(&side->lock);
	return known;
}

int vf_source_continue(struct vferry_session *s)
{
	vf_session_post_kind(s, VF_SRC_CONTINUE);
	return 0;
}

int vf_source_resolve(struct vferry_session *s, const char *peer, bool fenced_destination)
{
	struct vf_event event = { .kind = peer ? VF_SRC_ASK : VF_SRC_FENCED };

	if (peer) {
		if (strlen(peer) >= sizeof(s->source->resolve_uri))
			return -EINVAL;
		(void) snprintf(s->source->resolve_uri, sizeof(s->source->resolve_uri), "%s", peer);
	}
	event.flag = !peer && !fenced_destination;	/* the source is the one fenced off */
	vf_session_post(s, &event);
	return 0;
}

int vferry_session_set_limits(struct vferry_session *s, uint64_t max_downtime_ns, uint64_t bandwidth)
{
	if (!max_downtime_ns)
		return -EINVAL;
	if (s->source) {
		struct vf_event event = { .kind = VF_SRC_OWN_LIMITS, .number = max_downtime_ns,
					  .bandwidth = bandwidth };

		vf_limiter_set_rate(s->source->limiter, bandwidth);
		vf_session_post(s, &event);
	} else if (!s->side) {
		s->parameters.max_downtime_ns = max_downtime_ns;
		s->parameters.bandwidth = bandwidth;
	}
	return 0;
}
