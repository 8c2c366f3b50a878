/* SPDX-License-Identifier: MIT */
/*
 * sim_source.c - the source's process: what its actions mean, and what it hears.
 *
 * As session/source.c: an action that fails becomes an event, and what was to follow it does not.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"
#include "wire/frame.h"

/* ---- actions ---- */

static void local(struct sim *s, uint64_t delay_ns, enum vf_source_event_kind kind, uint32_t b)
{
	post(s, delay_ns, (struct event) { .kind = EV_SRC, .a = kind, .b = b });
}

static int start_tracking(struct sim *s)
{
	struct exec *save = &s->exec[SAVE];
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret = vf_ram_tracking_start(s->ram[SOURCE], &err);

	if (ret)
		return ret;
	save->active = true;
	vf_plan_allow(save->plan, vf_class_bit(VFERRY_SAVE_CONFIG_EARLY));
	if (!s->machine->devices)
		source_configs_sent(s);
	pump(s, SAVE);
	return 0;
}

/* Config space is on its way: pre-copy and the first round begin. */
void source_configs_sent(struct sim *s)
{
	s->configs_sent = true;
	for (unsigned i = 0; i < (unsigned) s->machine->devices; i++)
		pump_begin(s, i);
	if (s->round_waits)
		(void) send_round(s, 0);
	s->round_waits = false;
}

static int start_round(struct sim *s, uint32_t number)
{
	guest_settle(s);
	if (s->configs_sent)
		return send_round(s, number - 1);
	s->round_waits = true;
	return 0;
}

/* @ret: how sending it ended. */
void source_round_sent(struct sim *s, int ret)
{
	struct vf_ram_collected collected = { 0 };
	struct vf_round round = { .number = s->round + 1, .ns = 10 * MS };
	int last = s->last_step;

	if (last >= 0) {
		s->last_step = -1;
		if (ret)
			end_step(s, SAVE, (uint32_t) last, true);
		else
			step_time_over(s, SAVE, (uint32_t) last);
		return;
	}
	if (!ret)
		ret = vf_ram_collect(s->ram[SOURCE], &collected);
	if (ret) {
		SRC(s, SAVE_FAILED);
		return;
	}
	round.left = (struct vf_downtime_input) {
		.rate = s->rate, .ram_bytes = collected.dirty_pages * VF_PAGE_BYTES,
		.round_trip = { 2 * s->delay_ns, true },
	};
	if (s->load_ns != VF_UNKNOWN_NS)
		round.left.load = (struct vf_time_known) { s->load_ns, true };
	for (unsigned i = 0; i < (unsigned) s->machine->devices; i++)
		round.left.device_bytes += device_left(s, i);
	ret = vf_downtime_plan(s->exec[SAVE].plan, NULL,
			       ~vf_class_bit(VFERRY_SAVE_CONFIG_EARLY), s->exec[SAVE].threads,
			       &round.left.save, NULL);
	if (ret)
		SRC(s, SAVE_FAILED);
	else
		SRC(s, ROUND_DONE, .round = round);
}

static void on_finish(struct sim *s, const struct vf_action *a)
{
	s->finished = a->outcome != VF_OUTCOME_UNKNOWN;
	if (!s->finished) {
		post(s, some(s, MS, 1000 * MS), (struct event) { .kind = EV_PERSON });
		return;
	}
	if (s->src.handover == VF_HO_SRC_GAVE)
		vf_ram_tracking_stop(s->ram[SOURCE]);
	for (unsigned i = 0; i < s->connections; i++)
		link_close(s, i, SOURCE);
}

static int send_cancel(struct sim *s)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	struct vf_writer w;

	(void) vferry_error_set(&why, -ECANCELED, "cancelled", NULL, "cancelled");
	vf_writer_init(&w, 4096);
	vf_failure_encode(&w, s->src.error.code ? &s->src.error : &why);
	(void) link_send(s, 0, SOURCE, 0, VF_FRAME_CANCEL, VF_NO_COMPONENT, &w);
	return 0;
}

void source_secret(const struct sim *s, uint8_t ret_secret[VF_JOIN_BYTES])
{
	for (size_t i = 0; i < VF_JOIN_BYTES; i++)
		ret_secret[i] = s->id[i % sizeof(s->id)] ^ 0x5a;
}

static int greet(struct sim *s, unsigned connection, unsigned channel, enum vf_purpose purpose,
		 unsigned channels)
{
	struct vf_hello hello = {
		.major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR, .purpose = purpose,
		.channel = channel, .channel_count = channels, .features = VF_FEATURE_JOIN,
		.software = "sim",
	};
	uint8_t secret[VF_JOIN_BYTES];
	struct vf_writer w;
	int ret;

	memcpy(hello.session_id, s->id, sizeof(s->id));
	source_secret(s, secret);
	vf_writer_init(&w, 512);
	vf_hello_encode(&w, &hello);
	ret = link_send(s, connection, SOURCE, channel, VF_FRAME_HELLO, VF_NO_COMPONENT, &w);
	if (ret)
		return ret;
	return link_send_bytes(s, connection, SOURCE, channel, VF_FRAME_JOIN, VF_NO_COMPONENT, secret,
			       sizeof(secret));
}

/* One question, over a connection of its own; without an answer a person asks again. */
static void ask(struct sim *s)
{
	int connection = destination_listens(s) ? link_open(s, VF_PURPOSE_RESOLVE, 1) : -ECONNREFUSED;

	if (connection < 0) {
		say(s, "nobody to ask");
		return;
	}
	(void) greet(s, (unsigned) connection, 0, VF_PURPOSE_RESOLVE, 1);
}

static void undo(struct sim *s)
{
	if (s->committed && !s->may_resume)
		wrong(s, "the source resumes after COMMIT");
	s->exec[SAVE].aborted = true;
	s->undo_wanted = true;
	send_nothing_more(s);
	begin_undo(s);
}

static int send_commit(struct sim *s)
{
	if (s->vcpus[SOURCE])
		wrong(s, "COMMIT while the source's vCPUs run");
	for (int i = 0; i < s->machine->devices; i++) {
		if (s->device[SOURCE][i].running)
			wrong(s, "COMMIT while a device of the source runs");
	}
	s->committed = true;
	return link_send_bytes(s, 0, SOURCE, 0, VF_FRAME_COMMIT, VF_NO_COMPONENT, s->id,
			       sizeof(s->id));
}

static int act(struct sim *s, const struct vf_action *a)
{
	switch (a->kind) {
	case VF_ACT_EMIT:
		if (a->status == VF_STATUS_PRE_SWITCHOVER)
			local(s, some(s, MS, 300 * MS), VF_SRC_CONTINUE, 0);
		return 0;
	case VF_ACT_ARM_TIMER:
		s->timer++;
		if (a->at_ns != UINT64_MAX)
			post(s, a->at_ns > s->now_ns ? a->at_ns - s->now_ns : 0,
			     (struct event) { .kind = EV_TIMER, .a = s->timer });
		return 0;
	case VF_ACT_FINISH:
		on_finish(s, a);
		return 0;
	case VF_ACT_RUN_HOOK:
		if (s->faults.hook_fails)
			fault(s, FAULT_HOOK);
		local(s, some(s, MS, 50 * MS),
		      s->faults.hook_fails ? VF_SRC_HOOK_FAILED : VF_SRC_HOOK_OK, a->hook);
		return 0;
	case VF_ACT_SEND_MACHINE:
		return send_machine(s);
	case VF_ACT_START_TRACKING:
		return start_tracking(s);
	case VF_ACT_STOP_TRACKING:
		s->exec[SAVE].aborted = true;
		send_nothing_more(s);
		vf_ram_tracking_stop(s->ram[SOURCE]);
		return 0;
	case VF_ACT_START_ROUND:
		return start_round(s, a->round);
	case VF_ACT_SET_THROTTLE:
		guest_settle(s);
		s->throttle = a->percent;
		return 0;
	case VF_ACT_RUN_SAVE_PLAN:
		s->last_round = s->src.round;
		vf_plan_allow(s->exec[SAVE].plan, UINT64_MAX);
		pump(s, SAVE);
		return 0;
	case VF_ACT_SEND_MANIFEST:
		return send_manifest(s);
	case VF_ACT_SEND_COMMIT:
		return send_commit(s);
	case VF_ACT_SEND_CANCEL:
		return send_cancel(s);
	case VF_ACT_SEND_RESOLVE:
		ask(s);
		return 0;
	case VF_ACT_RUN_UNDO_PLAN:
		undo(s);
		return 0;
	default:
		return 0;
	}
}

static void carry_out(struct sim *s, const struct vf_actions *actions)
{
	for (size_t i = 0; i < actions->count; i++) {
		const struct vf_action *a = &actions->list[i];

		if (a->kind != VF_ACT_ARM_TIMER)
			say(s, "    %s", vf_action_name(a->kind));
		if (!act(s, a))
			continue;
		say(s, "    ... which fails");
		if (a->kind == VF_ACT_SEND_MACHINE || a->kind == VF_ACT_SEND_MANIFEST ||
		    a->kind == VF_ACT_SEND_COMMIT)
			SRC(s, LINK_LOST);
		else
			SRC(s, SAVE_FAILED);
		return;
	}
}

void source_event(struct sim *s, struct vf_source_event e)
{
	uint32_t before = s->src.state;
	struct vf_actions actions;
	int r;

	e.now_ns = s->now_ns;
	r = vf_source_event(&s->src, &e, &actions);
	say(s, "source + %s%s -> %s", vf_source_event_name(e.kind), r ? " (ignored)" : "",
	    vf_source_state_name(s->src.state));
	if (!r)
		s->seen_src_events[before] |= 1ull << e.kind;
	s->seen_src |= 1u << s->src.state;
	s->seen_handover |= 1ull << s->src.handover;
	if (before != s->src.state)
		spring_state_traps(s, SOURCE, s->src.state);
	carry_out(s, &actions);
	/* A session that knows better than its state machine. */
	if (s->mutation == MUTATION_RESUMES && s->src.state == VF_SRC_UNKNOWN)
		s->vcpus[SOURCE] = true;
}

/* ---- what it hears ---- */

static int on_hello(struct sim *s, unsigned connection, const struct vf_frame *frame,
		    const uint8_t *body, struct vferry_error *err)
{
	struct connection *c = &s->connection[connection];
	struct vf_hello hello;
	int ret = vf_hello_decode(body, frame->length, &hello, err);

	if (ret)
		return ret;
	if (hello.purpose != c->purpose || memcmp(hello.session_id, s->id, sizeof(s->id)))
		return -EPROTO;
	if (c->purpose == VF_PURPOSE_RESOLVE)
		return link_send_bytes(s, connection, SOURCE, 0, VF_FRAME_RESOLVE, VF_NO_COMPONENT,
				       s->id, sizeof(s->id));
	if (++c->greeted == c->channels)
		SRC(s, START);
	return 0;
}

static int on_accept(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	struct vf_accept accept;
	int ret = vf_accept_decode(body, frame->length, &accept, err);

	if (ret)
		return ret;
	s->load_ns = accept.load_ns;
	for (uint32_t i = 0; i < accept.credit_count; i++) {
		for (unsigned d = 0; d < (unsigned) s->machine->devices; d++) {
			if (stream_component(s, d) == accept.credits[i].component)
				s->device[SOURCE][d].credit += accept.credits[i].bytes;
		}
	}
	vf_accept_done(&accept);
	SRC(s, PEER_ACCEPTED);
	return 0;
}

static int on_refuse(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	struct vf_refuse refuse;
	int ret = vf_refuse_decode(body, frame->length, &refuse, err);

	if (ret)
		return ret;
	if (!refuse.reason_count || !refuse.reasons[0].message[0])
		wrong(s, "refused without a reason");
	SRC(s, PEER_REFUSED, .error = &refuse.reasons[0]);
	vf_refuse_done(&refuse);
	return 0;
}

static int on_stream(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	struct device *d = NULL;
	uint32_t generation;
	uint64_t bytes;
	int ret;

	for (unsigned i = 0; i < (unsigned) s->machine->devices; i++) {
		if (stream_component(s, i) == frame->component)
			d = &s->device[SOURCE][i];
	}
	if (!d)
		return -EPROTO;
	if (frame->type == VF_FRAME_CREDIT) {
		ret = vf_number64_decode(body, frame->length, &bytes, err);
		d->credit += ret ? 0 : bytes;
		return ret;
	}
	ret = vf_number32_decode(body, frame->length, &generation, err);
	if (ret)
		return ret;
	/* Void if it speaks of an older generation, or of initial bytes that have since grown. */
	if (generation == d->sent_generation && d->initial_marked)
		d->acknowledged = true;
	SRC(s, STREAM_ACK, .component = frame->component, .generation = generation);
	return 0;
}

static int on_resolved(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		       struct vferry_error *err)
{
	uint32_t answer;
	int ret = vf_number32_decode(body, frame->length, &answer, err);

	if (ret)
		return ret;
	if (answer < VF_RESOLUTION_RAN || answer > VF_RESOLUTION_LOST)
		return -EBADMSG;
	s->may_resume |= answer == VF_RESOLUTION_ABORTED;
	SRC(s, RESOLVED, .ran = answer == VF_RESOLUTION_RAN, .lost = answer == VF_RESOLUTION_LOST);
	return 0;
}

static int on_failed(struct sim *s, unsigned connection, const struct vf_frame *frame,
		     const uint8_t *body, struct vferry_error *err)
{
	struct vferry_error said = VFERRY_ERROR_INIT;
	int ret = vf_failure_decode(body, frame->length, &said, err);

	if (ret)
		return ret;
	if (!said.code || !said.id[0])
		wrong(s, "a failure without a reason");
	if (!connection && s->src.state == VF_SRC_NONE)
		source_link_lost(s, connection, &said);	/* it was turned away */
	else if (!connection)
		SRC(s, PEER_FAILED, .error = &said);
	return 0;
}

static int on_report(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		     struct vferry_error *err)
{
	struct vf_report report;
	int ret = vf_report_decode(body, frame->length, &report, err);

	if (ret)
		return ret;
	if (report.step_count != s->exec[LOAD].step_count)
		wrong(s, "steps are missing in the report");
	vf_report_done(&report);
	return 0;
}

static int on_vectors(struct sim *s, const struct vf_frame *frame, const uint8_t *body,
		      struct vferry_error *err)
{
	struct vf_vectors vectors;
	int ret = vf_vectors_decode(body, frame->length, &vectors, err);

	if (ret)
		return ret;
	if (vectors.device_count != 1 || vectors.devices[0].run_count != 1)
		wrong(s, "vectors are not as they were sent");
	vf_vectors_done(&vectors);
	return 0;
}

int source_frame(struct sim *s, unsigned connection, const struct vf_frame *frame,
		 const uint8_t *body, struct vferry_error *err)
{
	uint64_t ns;
	int ret;

	switch (frame->type) {
	case VF_FRAME_HELLO:
		return on_hello(s, connection, frame, body, err);
	case VF_FRAME_ACCEPT:
		return on_accept(s, frame, body, err);
	case VF_FRAME_REFUSE:
		return on_refuse(s, frame, body, err);
	case VF_FRAME_CREDIT:
	case VF_FRAME_INITIAL_ACK:
		return on_stream(s, frame, body, err);
	case VF_FRAME_PREPARED:
		ret = vf_number64_decode(body, frame->length, &ns, err);
		if (!ret)
			SRC(s, PEER_PREPARED);
		return ret;
	case VF_FRAME_RUNNING:
		ret = vf_number64_decode(body, frame->length, &ns, err);
		if (!ret)
			SRC(s, PEER_RUNNING);
		return ret;
	case VF_FRAME_RESOLVED:
		return on_resolved(s, frame, body, err);
	case VF_FRAME_FAILED:
		return on_failed(s, connection, frame, body, err);
	case VF_FRAME_REPORT:
		return on_report(s, frame, body, err);
	case VF_FRAME_VECTORS:
		return on_vectors(s, frame, body, err);
	default:
		return -EPROTO;
	}
}

void source_link_lost(struct sim *s, unsigned connection, const struct vferry_error *err)
{
	struct connection *c = &s->connection[connection];

	if (c->purpose != VF_PURPOSE_MIGRATE) {
		link_close(s, connection, SOURCE);
		return;
	}
	/* While it connects: nothing was changed yet. */
	if (s->src.state == VF_SRC_NONE) {
		s->src_over = s->finished = true;
		link_close(s, connection, SOURCE);
		return;
	}
	SRC(s, LINK_LOST, .error = err);
}

/* ---- life ---- */

void source_begin(struct sim *s)
{
	unsigned channels = 1 + (unsigned) rng_below(&s->rng, MAX_CHANNELS);
	int ret = s->src_over || !destination_listens(s) ? -ECONNREFUSED :
							   link_open(s, VF_PURPOSE_MIGRATE, channels);

	if (ret < 0) {
		s->src_over = s->finished = true;
		link_close(s, 0, SOURCE);
		return;
	}
	for (unsigned i = 0; i < channels && !ret; i++)
		ret = greet(s, 0, i, VF_PURPOSE_MIGRATE, channels);
	if (ret)
		source_link_lost(s, 0, NULL);
	post(s, 10 * s->stall_timeout_ns, (struct event) { .kind = EV_STALLED });
	for (uint32_t i = 0; i < (uint32_t) s->machine->devices; i++) {
		if (s->device[SOURCE][i].has_precopy)
			(void) vf_source_add_stream(&s->src, stream_component(s, i), 0);
	}
}

/* The machine dies with its process. */
void source_crash(struct sim *s)
{
	if (!s->src_alive)
		return;
	fault(s, FAULT_CRASH_SOURCE);
	s->src_alive = s->vcpus[SOURCE] = false;
	for (int i = 0; i < s->machine->devices; i++)
		s->device[SOURCE][i].running = false;
	for (unsigned i = 0; i < s->connections; i++)
		link_close(s, i, SOURCE);
}
