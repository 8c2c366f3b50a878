/* SPDX-License-Identifier: MIT */
/*
 * destination.c - the destination's session thread: events into the engine's machine, its actions
 * carried out, the load plan run as bytes arrive.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "session/destination.h"
#include "session/source.h"
#include "vfio/device_component.h"
#include "wire/frame.h"

/* ---- load steps ---- */

static void sink_grant(void *user, uint32_t component, uint64_t bytes)
{
	uint8_t body[8];

	vf_put_u64(body, bytes);
	(void) vf_destination_send(user, VF_FRAME_CREDIT, component, body, sizeof(body));
}

static void sink_initial_loaded(void *user, uint32_t component, uint32_t generation)
{
	uint8_t body[4];

	vf_put_u32(body, generation);
	(void) vf_destination_send(user, VF_FRAME_INITIAL_ACK, component, body, sizeof(body));
}

const struct vf_stream_sink_ops vf_destination_sink_ops = {
	.grant = sink_grant,
	.initial_loaded = sink_initial_loaded,
};

static int load_component_step(struct vf_destination_side *side, struct vf_session_component *c,
			       const struct vferry_step_desc *desc, uint64_t *ret_bytes,
			       struct vferry_error *err)
{
	uint32_t section = vf_destination_feeding(side->session, c, desc);
	uint16_t version = 0;
	uint8_t *body = NULL;
	size_t bytes = 0;
	int ret = 0;

	/* A copy: a newer body may come while this step reads. */
	if (section)
		ret = vf_sections_copy(&side->sections, c->remote, section, &body, &bytes, &version);
	if (!ret)
		ret = vf_step_run_load(c, desc, section, version, body, bytes, ret_bytes, err);
	free(body);
	return ret;
}

/*
 * With --verify: the digest is taken the moment RAM is complete. Later is too late: loading the
 * interrupt controller takes pending bits out of tables in RAM.
 */
static int step_ram_complete(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	uint64_t start = vf_now_ns();
	int ret;

	if (!side->machine.verify || !s->ram)
		return 0;
	ret = vferry_ram_digest(s->ram, &side->own_digest, err);
	(void) pthread_mutex_lock(&side->lock);
	side->verify_ns = vf_now_ns() - start;
	(void) pthread_mutex_unlock(&side->lock);
	return ret;
}

static int check_devices(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret = 0;

	for (size_t i = 0; i < s->device_count && !ret; i++)
		ret = vf_device_is_loaded(s->devices[i], err);
	return ret;
}

/*
 * The last check: everything that was sent is here, devices that were loaded long ago are still there,
 * and RAM is the same if that was asked for.
 */
static int step_prepared(struct vf_destination_side *side, struct vferry_error *err)
{
	int ret = vf_destination_check_manifest(side, err);
	bool digest_there;
	uint32_t digest;

	if (!ret)
		ret = check_devices(side, err);
	if (ret || !side->machine.verify || !side->session->ram)
		return ret;
	(void) pthread_mutex_lock(&side->lock);
	digest_there = side->digest_there;
	digest = side->digest;
	(void) pthread_mutex_unlock(&side->lock);
	if (!digest_there)
		return vferry_error_set(err, -EPROTO, "no-digest", "ram",
					"verification was agreed on, but no digest came");
	if (side->own_digest != digest)
		return vferry_error_set(err, -EBADMSG, "ram-differs", "ram",
					"RAM has digest %08x here, %08x on the source",
					side->own_digest, digest);
	return 0;
}

static int run_load_step(void *user, const struct vf_plan_view *view, uint64_t *ret_bytes,
			 struct vferry_error *err)
{
	struct vf_destination_side *side = user;
	struct vferry_session *s = side->session;
	struct vf_session_component *c = view->step.component < s->component_count
						 ? &s->components[view->step.component] : NULL;

	switch (view->step.step) {
	case VF_OWN_STREAM_DATA:
		return vf_stream_sink_load_data(c->stream_sink, ret_bytes, err);
	case VF_OWN_STREAM_LAST:
		return vf_stream_sink_load_last(c->stream_sink, ret_bytes, err);
	case VF_OWN_RAM_COMPLETE:
		return step_ram_complete(side, err);
	case VF_OWN_COMMIT:
		return 0;	/* a mark: its input is what counts */
	case VF_OWN_PREPARED:
		return step_prepared(side, err);
	case VF_OWN_VCPU_RUN:
		return s->ops.start(s->user, err);
	}
	return load_component_step(side, c, &c->desc.steps[view->step.step], ret_bytes, err);
}

static void load_idle(void *user, uint64_t classes)
{
	struct vf_destination_side *side = user;

	(void) classes;	/* the next ones are allowed only when this was heard */
	vf_session_post_kind(side->session, VF_DST_OWN_IDLE);
}

static void load_failed(void *user, const struct vferry_error *error)
{
	struct vf_destination_side *side = user;

	vf_session_post_error(side->session, VF_DST_OWN_STEP_FAILED, error);
}

/* A device began anew: sections that came since the restart feed its steps again. */
static void load_restarted(void *user, const char *device)
{
	struct vf_destination_side *side = user;

	(void) pthread_mutex_lock(&side->lock);
	for (uint32_t i = 0; i < side->machine.component_count; i++)
		if (side->by_remote[i]->restarts_due && !strcmp(side->by_remote[i]->device, device))
			side->by_remote[i]->restarts_due--;
	(void) pthread_mutex_unlock(&side->lock);
	for (uint32_t i = 0; i < side->machine.component_count; i++) {
		struct vf_session_component *c = side->by_remote[i];

		if (strcmp(c->device, device))
			continue;
		for (size_t j = 0; j < c->desc.section_count; j++)
			if (vf_sections_arrived(&side->sections, i, c->desc.sections[j].id))
				vf_destination_section_arrived(side, c, c->desc.sections[j].id);
	}
}

static const struct vf_executor_ops load_ops = {
	.run = run_load_step,
	.idle = load_idle,
	.failed = load_failed,
	.restarted = load_restarted,
};

/* ---- actions ---- */

/* Sum of what load steps inside the pause declared; unknown if one of them did not. */
static uint64_t expected_load_ns(struct vf_destination_side *side)
{
	uint64_t live = vf_class_bit(VFERRY_LOAD_DEVICE_RESUMING) |
			vf_class_bit(VFERRY_LOAD_CONFIG_STAGE) |
			vf_class_bit(VFERRY_LOAD_DEVICE_DATA) |
			vf_class_bit(VFERRY_LOAD_VECTOR_ALLOC);
	struct vf_time_known time = { 0 };

	if (vf_downtime_plan(side->plan, NULL, ~live, vf_session_step_threads(side->session), &time,
			     NULL) || !time.known)
		return VF_UNKNOWN_NS;
	return time.ns;
}

static int send_accept(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	struct vf_accept accept = { .features = VF_FEATURE_VECTORS, .hold_bytes = VF_HOLD_BYTES,
				    .load_ns = expected_load_ns(side) };
	struct vf_writer w;
	int ret;

	ret = vf_executor_new(side->plan, vf_session_step_threads(s), false, &load_ops, side,
			      &side->executor);
	if (ret)
		return vferry_error_set(err, ret, "no-memory", NULL, "no memory for the load plan");
	accept.credits = calloc(s->component_count ? s->component_count : 1,
				sizeof(*accept.credits));
	if (!accept.credits)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory for an answer");
	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].stream_sink)
			accept.credits[accept.credit_count++] = (struct vf_credit_grant) {
				.component = s->components[i].remote,
				.bytes = vf_destination_credit(side),
			};
	(void) pthread_mutex_lock(&side->lock);
	side->accepted = true;
	(void) pthread_cond_broadcast(&side->file_changed);
	(void) pthread_mutex_unlock(&side->lock);
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_accept_encode(&w, &accept);
	ret = w.bad ? -ENOMEM : vf_destination_send(side, VF_FRAME_ACCEPT, VF_NO_COMPONENT, w.data,
						    w.size);
	vf_writer_done(&w);
	free(accept.credits);
	if (ret)
		return vferry_error_set(err, ret, "link-lost", NULL, "cannot answer the source: %s",
					vferry_errno_name(ret));
	vf_executor_set_trace(side->executor, s->trace);
	if (!side->machine.check_only)
		vf_executor_allow(side->executor, VF_LOAD_BEFORE_COMMIT);
	return 0;
}

static int send_refuse(struct vf_destination_side *side)
{
	struct vf_writer w;
	int ret;

	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_refuse_encode(&w, &side->session->refused);
	ret = w.bad ? -EMSGSIZE : vf_destination_send(side, VF_FRAME_REFUSE, VF_NO_COMPONENT, w.data,
						      w.size);
	vf_writer_done(&w);
	return ret;
}

/* Steps as executed, then the good news, so that the source has both when it ends. */
static void send_running(struct vf_destination_side *side)
{
	struct vf_report report;
	struct vf_writer w;
	uint8_t body[8];

	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	if (!vf_report_local(side->session, &report)) {
		vf_report_encode(&w, &report);
		if (!w.bad)
			(void) vf_destination_send(side, VF_FRAME_REPORT, VF_NO_COMPONENT, w.data,
						   w.size);
		vf_report_done(&report);
	}
	vf_writer_done(&w);
	vf_put_u64(body, side->machine_state.running_ns > side->commit_ns
				 ? side->machine_state.running_ns - side->commit_ns : 0);
	(void) vf_destination_send(side, VF_FRAME_RUNNING, VF_NO_COMPONENT, body, sizeof(body));
}

/* The last word. This side is done: a source that does not read it keeps nobody. */
static void send_vectors(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;
	struct vf_writer w;
	bool known;

	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	(void) pthread_mutex_lock(&s->lock);
	known = s->vectors_known[VF_AFTER];
	if (known)
		vf_vectors_encode(&w, &s->vectors[VF_AFTER]);
	(void) pthread_mutex_unlock(&s->lock);
	if (known && !w.bad)
		(void) vf_destination_send(side, VF_FRAME_VECTORS, VF_NO_COMPONENT, w.data, w.size);
	vf_writer_done(&w);
}

/* Nothing of the machine stays here. */
static void discard(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;

	vf_destination_file_cancel(side);
	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].stream_sink)
			vf_stream_sink_cancel(s->components[i].stream_sink);
	if (side->executor)
		vf_executor_stop(side->executor);
	for (size_t i = 0; i < s->device_count && side->devices_begun; i++)
		(void) vf_device_abort_load(s->devices[i], NULL);
}

static void let_devices_go(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;

	for (size_t i = 0; i < s->device_count && side->devices_begun; i++)
		vf_device_session_end(s->devices[i]);
	side->devices_begun = false;
}

static void finish(struct vf_destination_side *side, const struct vf_action *action)
{
	struct vferry_session *s = side->session;

	let_devices_go(side);
	if (!side->machine_state.prepared_ns)
		vf_destination_release(side);
	vf_session_set_owner(s, vf_handover_may_run(side->machine_state.handover));
	vf_session_set_state(s, action->status);
	vf_session_finish(s, action->exit_code, &side->machine_state.error);
}

static void feed(struct vf_destination_side *side, struct vf_destination_event *event);

static void write_record(struct vf_destination_side *side, bool ran)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_destination_event event = { .kind = VF_DST_RECORD_WRITTEN };

	if (vf_destination_decide(side, ran, &err)) {
		event.kind = VF_DST_RECORD_FAILED;
		event.error = &err;
	}
	feed(side, &event);
}

static void run_after_commit(struct vf_destination_side *side)
{
	for (uint32_t i = 0; i < vf_plan_count(side->plan); i++) {
		struct vf_plan_view view;

		vf_executor_get(side->executor, i, &view);
		if (view.step.step == VF_OWN_COMMIT)
			vf_executor_input(side->executor, i);
	}
	vf_executor_allow(side->executor, ~0ull);
}

static void send_prepared(struct vf_destination_side *side)
{
	uint8_t body[8];

	if (side->file) {	/* nobody else has this machine: go on at once */
		(void) pthread_mutex_lock(&side->lock);
		side->commit_ns = vf_now_ns();
		(void) pthread_mutex_unlock(&side->lock);
		vf_session_post_kind(side->session, VF_DST_COMMIT);
		return;
	}
	(void) pthread_mutex_lock(&side->lock);
	vf_put_u64(body, side->verify_ns);
	(void) pthread_mutex_unlock(&side->lock);
	(void) vf_destination_send(side, VF_FRAME_PREPARED, VF_NO_COMPONENT, body, sizeof(body));
}

/* Not an end: it stays, and a question or somebody's word decides. */
static void hold(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;
	const struct vferry_error *why = &side->link_error;

	(void) pthread_mutex_lock(&s->lock);
	s->status.outcome = VFERRY_OUTCOME_UNKNOWN;
	vferry_error_clear(&s->status.error);
	(void) vferry_error_set(&s->status.error, why->code, "outcome-unknown", why->object,
				"The source was lost when everything was loaded. The machine is held "
				"here, stopped, until the source asks or one side is declared "
				"fenced. (%.200s)", why->message);
	(void) pthread_mutex_unlock(&s->lock);
}

/* Return: false: what follows in the list no longer holds. */
static bool act(struct vf_destination_side *side, const struct vf_action *action)
{
	struct vferry_session *s = side->session;
	struct vferry_error err = VFERRY_ERROR_INIT;

	switch (action->kind) {
	case VF_ACT_EMIT:
		vf_session_set_owner(s, vf_handover_may_run(side->machine_state.handover));
		if (action->outcome == VF_OUTCOME_UNKNOWN)
			hold(side);
		vf_session_set_state(s, action->status);
		return true;
	case VF_ACT_FINISH:
		finish(side, action);
		send_vectors(side);
		return true;
	case VF_ACT_SEND_ACCEPT:
		if (send_accept(side, &err)) {
			struct vf_destination_event lost = { .kind = VF_DST_LINK_LOST,
							     .error = &err };

			feed(side, &lost);
			return false;
		}
		return true;
	case VF_ACT_SEND_REFUSE:
		(void) send_refuse(side);
		return true;
	case VF_ACT_SEND_LOAD_FAILED:
	case VF_ACT_SEND_RUN_FAILED:
		(void) vf_destination_send_error(side, VF_FRAME_FAILED, &side->machine_state.error);
		return true;
	case VF_ACT_SEND_PREPARED:
		send_prepared(side);
		return true;
	case VF_ACT_WRITE_RECORD:
		write_record(side, action->ran);
		return true;
	case VF_ACT_RUN_PLAN_AFTER_COMMIT:
		run_after_commit(side);
		return true;
	case VF_ACT_SEND_RUNNING:
		send_running(side);
		vf_session_note_vectors(s, VF_AFTER);	/* may be slow: the source knows already */
		return true;
	case VF_ACT_ANSWER_RESOLVE:
		vf_destination_answer(side, action->lost ? VF_HO_LOST :
					    action->ran ? VF_HO_RAN : VF_HO_ABORTED);
		return true;
	case VF_ACT_DISCARD:
		discard(side);
		return true;
	default:	/* timers and hooks: the destination has none */
		return true;
	}
}

/* ---- events ---- */

static void feed(struct vf_destination_side *side, struct vf_destination_event *event)
{
	struct vf_actions actions;

	event->now_ns = vf_now_ns();
	if (vf_destination_event(&side->machine_state, event, &actions))
		return;
	for (size_t i = 0; i < actions.count; i++)
		if (!act(side, &actions.list[i]))
			return;
}

static void on_machine(struct vf_destination_side *side)
{
	struct vferry_session *s = side->session;
	struct vferry_error summary = VFERRY_ERROR_INIT, claim = VFERRY_ERROR_INIT;
	struct vf_destination_event event = { .kind = VF_DST_MACHINE_OK, .error = &summary,
					      .check = side->machine.check_only };
	struct vferry_reasons reasons;

	if (vf_reasons_init(&reasons)) {
		(void) vferry_error_set(&summary, -ENOMEM, "no-memory", NULL, "no memory");
		event.kind = VF_DST_LOAD_FAILED;
		feed(side, &event);
		return;
	}
	(void) vf_destination_check(side, &reasons);
	if (!reasons.list.reason_count && vf_destination_claim(side, &claim))
		vferry_reasons_add(&reasons, claim.id, claim.object, "%s", claim.message);
	if (reasons.list.reason_count) {
		event.kind = VF_DST_MACHINE_REFUSED;
		vf_reasons_summary(&reasons.list, &summary);
	}
	(void) pthread_mutex_lock(&s->lock);
	vf_refuse_done(&s->refused);
	s->refused = reasons.list;	/* moved */
	(void) pthread_mutex_unlock(&s->lock);
	feed(side, &event);
}

static void on_idle(struct vf_destination_side *side)
{
	struct vf_destination_event event = { .kind = VF_DST_LOAD_READY };

	if (side->machine_state.handover == VF_HO_DST_LOADING) {
		feed(side, &event);
		event.kind = VF_DST_MANIFEST_OK;	/* the step `prepared` compared it */
	} else {
		event.kind = VF_DST_RUN_DONE;
	}
	feed(side, &event);
}

/* Time may have passed since PREPARED. A device that is gone by now is not what was promised. */
static void on_commit(struct vf_destination_side *side, struct vf_destination_event *commit)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_destination_event broken = { .kind = VF_DST_LOAD_FAILED, .error = &err };
	bool promised = side->machine_state.handover == VF_HO_DST_PREPARED && !side->file;

	feed(side, promised && check_devices(side, &err) ? &broken : commit);
}

static void on_event(struct vf_destination_side *side, const struct vf_event *e)
{
	struct vf_destination_event event = {
		.kind = (enum vf_destination_event_kind) e->kind,
		.error = e->has_error ? &e->error : NULL,
	};

	event.source_fenced = e->kind == VF_DST_FENCED && e->flag;
	switch (e->kind) {
	case VF_DST_OWN_MACHINE:
		on_machine(side);
		return;
	case VF_DST_OWN_IDLE:
		on_idle(side);
		return;
	case VF_DST_COMMIT:
		on_commit(side, &event);
		return;
	case VF_DST_LINK_LOST:
		side->link_error = e->error;
		break;
	case VF_DST_OWN_STEP_FAILED:
		event.kind = side->machine_state.handover == VF_HO_DST_LOADING ? VF_DST_LOAD_FAILED
									       : VF_DST_RUN_FAILED;
		break;
	}
	feed(side, &event);
}

/* ---- life ---- */

static void destination_run(struct vferry_session *s)
{
	struct vf_destination_side *side = s->destination;
	struct vf_destination_event listening = { .kind = VF_DST_LISTENING };
	struct vf_event event;

	feed(side, &listening);
	while (!vf_session_quitting(s))
		if (vf_session_next_event(s, 0, &event))
			on_event(side, &event);
}

static int destination_cancel(struct vferry_session *s)
{
	bool ended;

	(void) pthread_mutex_lock(&s->lock);
	ended = s->ended;
	(void) pthread_mutex_unlock(&s->lock);
	if (!ended)
		vf_session_post_kind(s, VF_DST_CANCELLED);
	return 0;
}

static void destination_free(struct vferry_session *s)
{
	struct vf_destination_side *side = s->destination;

	vf_destination_file_cancel(side);
	for (size_t i = 0; i < s->component_count; i++)
		if (s->components[i].stream_sink)
			vf_stream_sink_cancel(s->components[i].stream_sink);
	vf_destination_link_stop(side);
	vf_destination_release(side);
	side->executor = vf_executor_free(side->executor);
	let_devices_go(side);
	for (size_t i = 0; i < s->component_count; i++)
		s->components[i].stream_sink = vf_stream_sink_free(s->components[i].stream_sink);
	(void) vf_plan_free(side->plan);
	vf_sections_done(&side->sections);
	vf_manifest_done(&side->manifest);
	vf_machine_done(&side->machine);
	(void) pthread_cond_destroy(&side->file_changed);
	(void) pthread_mutex_destroy(&side->lock);
	free(side);
	s->destination = NULL;
}

static void destination_status(struct vferry_session *s, struct vferry_status *status)
{
	struct vf_destination_side *side = s->destination;
	struct vf_receiver_stats stats = { 0 };

	(void) pthread_mutex_lock(&side->lock);
	status->device_sent_bytes = side->stream_bytes;
	if (side->receiver)
		vf_receiver_get_stats(side->receiver, &stats);
	stats.bytes += side->file_stats.bytes;
	stats.pages_normal += side->file_stats.pages_normal;
	stats.pages_zero += side->file_stats.pages_zero;
	(void) pthread_mutex_unlock(&side->lock);
	status->ram_total_bytes = s->ram ? vferry_ram_bytes(s->ram) : 0;
	status->ram_sent_bytes = stats.bytes;
	status->pages_normal = stats.pages_normal;
	status->pages_zero = stats.pages_zero;
	status->pass = stats.rounds;
}

const struct vf_side_ops vf_destination_ops = {
	.run = destination_run,
	.cancel = destination_cancel,
	.free = destination_free,
	.status = destination_status,
};

int vf_destination_side_new(struct vferry_session *s, struct vferry_error *err)
{
	struct vf_destination_side *side = calloc(1, sizeof(*side));
	int ret;

	if (!side)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL,
					"no memory for a destination");
	side->session = s;
	side->claim = -1;
	(void) pthread_mutex_init(&side->lock, NULL);
	(void) pthread_cond_init(&side->file_changed, NULL);
	vf_destination_init(&side->machine_state);
	s->destination = side;
	ret = vf_destination_check_records(side, err);
	if (!ret)
		ret = vf_destination_listen(side, err);
	if (ret)
		destination_free(s);
	return ret;
}

/* Nothing came from the source for as long as a stall may last; a patient link does not say so. */
static bool is_silent(struct vferry_session *s)
{
	struct vf_destination_side *side = s->destination;
	struct vf_channel_stats stats = { 0 };
	bool there;

	(void) pthread_mutex_lock(&side->lock);
	there = side->channels[0];
	if (there)
		vf_channel_get_stats(side->channels[0], &stats);
	(void) pthread_mutex_unlock(&side->lock);
	return there && vf_now_ns() - stats.last_received_ns > s->parameters.stall_timeout_ns;
}

/* The engine refuses a word that has no place; here it is said why. */
int vf_destination_resolve(struct vferry_session *s, bool fenced_destination,
			   struct vferry_error *err)
{
	struct vf_event event = { .kind = VF_DST_FENCED, .flag = !fenced_destination };
	enum vferry_outcome outcome;

	(void) pthread_mutex_lock(&s->lock);
	outcome = s->status.outcome;
	(void) pthread_mutex_unlock(&s->lock);
	if (outcome == VFERRY_OUTCOME_PENDING && !fenced_destination) {
		if (!is_silent(s))
			return vferry_error_set(err, -EBUSY, "link-there", NULL,
						"the link to the source is not lost, so the source "
						"is not taken for fenced until it was silent for "
						"the stall timeout");
		vf_session_post_kind(s, VF_DST_LINK_LOST);
	}
	if (outcome != VFERRY_OUTCOME_PENDING && outcome != VFERRY_OUTCOME_UNKNOWN)
		return vferry_error_set(err, -EINVAL, "outcome-known", NULL,
					"the outcome of the migration is not unknown");
	vf_session_post(s, &event);
	return 0;
}

struct vf_executor *vf_destination_executor(struct vferry_session *s)
{
	return s->destination ? s->destination->executor : NULL;
}

struct vf_plan *vf_destination_plan(struct vferry_session *s)
{
	return s->destination ? s->destination->plan : NULL;
}

uint64_t vf_destination_pause_ns(struct vferry_session *s)
{
	uint64_t ns = 0;

	if (s->destination) {
		(void) pthread_mutex_lock(&s->destination->lock);
		ns = s->destination->switchover_ns;
		(void) pthread_mutex_unlock(&s->destination->lock);
	}
	return ns;
}
