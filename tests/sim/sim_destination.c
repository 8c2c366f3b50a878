/* SPDX-License-Identifier: MIT */
/*
 * sim_destination.c - the destination's process: what its actions mean; and its successor, which has
 * nothing but the record. What it reads from its channels is in sim_receive.c.
 *
 * As session/destination.c. Writing the record takes time here, and other things happen meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "wire/frame.h"

bool destination_listens(const struct sim *s)
{
	return s->dst_alive;
}

/* ---- streams ---- */

static void sink_grant(void *user, uint32_t component, uint64_t bytes)
{
	uint8_t body[8];

	vf_put_u64(body, bytes);
	(void) link_send_bytes(user, 0, DESTINATION, 0, VF_FRAME_CREDIT, component, body,
			       sizeof(body));
}

static void sink_initial_loaded(void *user, uint32_t component, uint32_t generation)
{
	uint8_t body[4];

	vf_put_u32(body, generation);
	(void) link_send_bytes(user, 0, DESTINATION, 0, VF_FRAME_INITIAL_ACK, component, body,
			       sizeof(body));
}

static const struct vf_stream_sink_ops sink_ops = {
	.grant = sink_grant,
	.initial_loaded = sink_initial_loaded,
};

int destination_make_sinks(struct sim *s)
{
	int ret = 0;

	for (uint32_t i = 0; i < (uint32_t) s->machine->devices && !ret; i++)
		ret = vf_stream_sink_new(stream_component(s, i), "device", &device_stream_ops,
					 &s->device[DESTINATION][i], s->credit_bytes, &sink_ops, s,
					 &s->device[DESTINATION][i].sink);
	return ret;
}

/* The load step of a device goes on with what is queued. */
void destination_load(struct sim *s, unsigned device)
{
	struct device *d = &s->device[DESTINATION][device];
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint32_t step = (uint32_t) d->load_step;
	uint64_t bytes;
	int ret;

	d->load_posted = false;
	if (d->load_step < 0 || s->exec[LOAD].aborted)
		return;
	ret = d->load_last ? vf_stream_sink_try_last(d->sink, &bytes, &err) :
			     vf_stream_sink_try_data(d->sink, &bytes, &err);
	if (ret == -EAGAIN)
		return;
	if (ret == VF_SINK_RESTART) {
		restart_device(s, device);
		return;
	}
	d->load_step = -1;
	if (ret < 0)
		end_step(s, LOAD, step, true);
	else
		step_time_over(s, LOAD, step);
}

/* ---- actions ---- */

static uint64_t expected_load_ns(struct sim *s)
{
	struct vf_time_known time = { 0 };

	if (vf_downtime_plan(s->exec[LOAD].plan, NULL, UINT64_MAX, 4, &time, NULL) || !time.known)
		return VF_UNKNOWN_NS;
	return time.ns;
}

static int send_accept(struct sim *s)
{
	struct vf_credit_grant credits[WORLD_MAX_DEVICES];
	struct vf_accept accept = {
		.hold_bytes = s->sections.limit_bytes, .load_ns = expected_load_ns(s),
		.credits = credits, .credit_count = (uint32_t) s->machine->devices,
	};
	struct vf_writer w;
	int ret;

	for (uint32_t i = 0; i < accept.credit_count; i++)
		credits[i] = (struct vf_credit_grant) { stream_component(s, i), s->credit_bytes };
	s->accepted = true;
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_accept_encode(&w, &accept);
	ret = link_send(s, 0, DESTINATION, 0, VF_FRAME_ACCEPT, VF_NO_COMPONENT, &w);
	if (ret)
		return ret;
	if (!s->peer.check_only) {
		s->exec[LOAD].active = true;
		vf_plan_allow(s->exec[LOAD].plan, VF_LOAD_BEFORE_COMMIT);
		pump(s, LOAD);
	}
	return 0;
}

static void send_refuse(struct sim *s)
{
	struct vferry_error reason = VFERRY_ERROR_INIT;
	struct vf_refuse refuse = { .reasons = &reason, .reason_count = 1 };
	struct vf_writer w;

	(void) vferry_error_set(&reason, -EPROTO, "machine-differs", "machine", "not this one");
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_refuse_encode(&w, &refuse);
	(void) link_send(s, 0, DESTINATION, 0, VF_FRAME_REFUSE, VF_NO_COMPONENT, &w);
}

static void send_failed(struct sim *s, unsigned connection, const struct vferry_error *why)
{
	struct vf_writer w;

	vf_writer_init(&w, 4096);
	vf_failure_encode(&w, why);
	(void) link_send(s, connection, DESTINATION, 0, VF_FRAME_FAILED, VF_NO_COMPONENT, &w);
}

static void send_prepared(struct sim *s)
{
	uint8_t body[8];

	s->was_prepared = true;
	guest_compare(s);
	vf_put_u64(body, 0);
	(void) link_send_bytes(s, 0, DESTINATION, 0, VF_FRAME_PREPARED, VF_NO_COMPONENT, body,
			       sizeof(body));
}

static void send_report(struct sim *s)
{
	const struct exec *x = &s->exec[LOAD];
	struct vf_report_step steps[WORLD_MAX_STEPS];
	struct vf_report report = { .steps = steps, .step_count = (uint32_t) x->step_count };
	struct vf_writer w;

	for (uint32_t i = 0; i < report.step_count; i++) {
		struct vf_plan_view view;

		vf_plan_get(x->plan, i, &view);
		steps[i] = (struct vf_report_step) {
			.component = VF_NO_COMPONENT, .step_class = view.step.step_class,
			.start_ns = view.start_ns, .end_ns = view.end_ns,
		};
		(void) snprintf(steps[i].name, sizeof(steps[i].name), "%.60s", view.full_name);
	}
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_report_encode(&w, &report);
	(void) link_send(s, 0, DESTINATION, 0, VF_FRAME_REPORT, VF_NO_COMPONENT, &w);
}

/* As much as is known of interrupts here: one device, with one vector. */
static void send_vectors(struct sim *s)
{
	struct vf_vector_run run = { .count = 1, .connected = true };
	struct vf_device_vectors device = { .address = "00:04.0", .run_count = 1, .runs = &run };
	const struct vf_vectors vectors = { .device_count = 1, .devices = &device };
	struct vf_writer w;

	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES);
	vf_vectors_encode(&w, &vectors);
	(void) link_send(s, 0, DESTINATION, 0, VF_FRAME_VECTORS, VF_NO_COMPONENT, &w);
}

static void send_running(struct sim *s)
{
	uint8_t body[8];

	send_report(s);
	vf_put_u64(body, s->dst.running_ns - s->dst.committed_ns);
	(void) link_send_bytes(s, 0, DESTINATION, 0, VF_FRAME_RUNNING, VF_NO_COMPONENT, body,
			       sizeof(body));
	send_vectors(s);
}

static void send_resolved(struct sim *s, unsigned connection, enum vf_resolution said)
{
	uint8_t body[4];

	vf_put_u32(body, said);
	(void) link_send_bytes(s, connection, DESTINATION, 0, VF_FRAME_RESOLVED, VF_NO_COMPONENT,
			       body, sizeof(body));
}

/* Whoever asked last is told; unasked, whoever migrates. */
static void answer(struct sim *s, enum vf_resolution said)
{
	int asker = s->asker;

	if (said == VF_RESOLUTION_ABORTED && (!s->discarded || s->vcpus[DESTINATION]))
		wrong(s, "`aborted` was said of a machine that can still run");
	s->asker = -1;
	send_resolved(s, asker < 0 ? 0 : (unsigned) asker, said);
	if (asker >= 0)
		link_close(s, (unsigned) asker, DESTINATION);
}

static void write_record(struct sim *s, bool ran)
{
	s->writing = ran ? RECORD_RAN : RECORD_ABORTED;
	post(s, s->has_record_dir ? some(s, MS / 10, 20 * MS) : 0, (struct event) {
		.kind = EV_RECORD, .a = ran });
}

void destination_recorded(struct sim *s, bool ran)
{
	bool failed = s->has_record_dir && s->faults.record_fails;

	if (failed) {
		fault(s, FAULT_RECORD);
	} else if (s->has_record_dir) {
		if (s->record != RECORD_NONE && s->record != s->writing)
			wrong(s, "a record says both");
		s->record = s->writing;
	}
	s->writing = RECORD_NONE;
	say(s, "record `%s` %s", ran ? "ran" : "aborted", failed ? "fails" : "is written");
	if (failed)
		DST(s, RECORD_FAILED);
	else
		DST(s, RECORD_WRITTEN);
}

static void run_after_commit(struct sim *s)
{
	if (s->discarded)
		wrong(s, "a discarded machine is run");
	guest_compare(s);
	s->exec[LOAD].ready_said = false;
	vf_plan_allow(s->exec[LOAD].plan, UINT64_MAX);
	input(s, VFERRY_LOAD_COMMIT, 0);
	pump(s, LOAD);
}

static void discard(struct sim *s)
{
	s->discarded = true;
	s->exec[LOAD].aborted = true;
	for (int i = 0; i < s->machine->devices; i++) {
		if (s->device[DESTINATION][i].sink)
			vf_stream_sink_cancel(s->device[DESTINATION][i].sink);
	}
}

/* Return: false: what follows in the list no longer holds. */
static bool act(struct sim *s, const struct vf_action *a)
{
	switch (a->kind) {
	case VF_ACT_EMIT:
		if (s->dst.state == VF_DST_HOLDING)
			post(s, some(s, 100 * MS, 3000 * MS), (struct event) { .kind = EV_HEIR });
		return true;
	case VF_ACT_SEND_ACCEPT:
		if (!send_accept(s))
			return true;
		DST(s, LINK_LOST);
		return false;
	case VF_ACT_SEND_REFUSE:
		send_refuse(s);
		return true;
	case VF_ACT_SEND_LOAD_FAILED:
	case VF_ACT_SEND_RUN_FAILED:
		send_failed(s, 0, &s->dst.error);
		return true;
	case VF_ACT_SEND_PREPARED:
		send_prepared(s);
		return true;
	case VF_ACT_WRITE_RECORD:
		write_record(s, a->ran);
		return true;
	case VF_ACT_RUN_PLAN_AFTER_COMMIT:
		run_after_commit(s);
		return true;
	case VF_ACT_SEND_RUNNING:
		send_running(s);
		return true;
	case VF_ACT_ANSWER_RESOLVE:
		answer(s, a->lost ? VF_RESOLUTION_LOST :
			  a->ran ? VF_RESOLUTION_RAN : VF_RESOLUTION_ABORTED);
		return true;
	case VF_ACT_DISCARD:
		discard(s);
		return true;
	default:
		return true;
	}
}

void destination_event(struct sim *s, struct vf_destination_event e)
{
	uint32_t before = s->dst.state;
	struct vf_actions actions;
	int r;

	if (!s->dst_alive || s->dst_keeper)
		return;
	e.now_ns = s->now_ns;
	r = vf_destination_event(&s->dst, &e, &actions);
	say(s, "destination + %s%s -> %s", vf_destination_event_name(e.kind), r ? " (ignored)" : "",
	    vf_destination_state_name(s->dst.state));
	if (!r)
		s->seen_dst_events[before] |= 1ull << e.kind;
	s->seen_dst |= 1u << s->dst.state;
	s->seen_handover |= 1ull << s->dst.handover;
	if (before != s->dst.state)
		spring_state_traps(s, DESTINATION, s->dst.state);
	for (size_t i = 0; i < actions.count && s->dst_alive; i++) {
		say(s, "    %s", vf_action_name(actions.list[i].kind));
		if (!act(s, &actions.list[i]))
			break;
	}
}

/* ---- life ---- */

void destination_begin(struct sim *s)
{
	DST(s, LISTENING);
}

static void forget(struct sim *s)
{
	for (int i = 0; i < s->machine->devices; i++) {
		struct device *d = &s->device[DESTINATION][i];

		d->sink = vf_stream_sink_free(d->sink);
		d->load_step = -1;
		d->running = false;
	}
	if (s->sections_there)
		vf_sections_done(&s->sections);
	s->sections_there = false;
	for (size_t b = 0; b < RAM_BLOCKS; b++)
		vf_bitmap_done(&s->present[b]);
	vf_manifest_done(&s->manifest);
	vf_machine_done(&s->peer);
	s->manifest = (struct vf_manifest) { 0 };
	s->peer = (struct vf_machine) { 0 };
	s->vcpus[DESTINATION] = false;
	s->exec[LOAD].active = false;
	s->exec[LOAD].aborted = true;
}

void destination_free(struct sim *s)
{
	forget(s);
}

/* The machine dies with its process; a record that was being written is there whole, or not at all. */
void destination_crash(struct sim *s)
{
	if (!s->dst_alive)
		return;
	fault(s, FAULT_CRASH_DESTINATION);
	if (s->writing != RECORD_NONE && s->has_record_dir && rng_percent(&s->rng, 50))
		s->record = s->writing;
	s->writing = RECORD_NONE;
	s->dst_alive = s->dst_keeper = false;
	for (unsigned i = 0; i < s->connections; i++)
		link_close(s, i, DESTINATION);
	forget(s);
	if (s->has_record_dir && s->bound && rng_percent(&s->rng, 60))
		post(s, some(s, MS, 800 * MS), (struct event) { .kind = EV_RESTART });
}

/* ---- the successor ---- */

void destination_restart(struct sim *s)
{
	if (s->dst_alive || s->destination_fenced)
		return;
	fault(s, FAULT_RESTART);
	s->dst_alive = s->dst_keeper = true;
}

/* What the record says of the process that is gone. A claim is there from before ACCEPT on. */
static enum vf_handover_state found(const struct sim *s)
{
	if (s->record == RECORD_ABORTED)
		return VF_HO_DST_ABORTED;
	return s->record == RECORD_RAN ? VF_HO_DST_LOST : VF_HO_DST_FOUND;
}

/* As session/destination_record.c: by the rows of the hand-over's table. */
void destination_kept(struct sim *s, unsigned connection)
{
	const struct vf_handover_rule *row = vf_handover_step(found(s), VF_HO_RESOLVE);
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (!s->dst_alive || !s->dst_keeper)
		return;
	s->seen_handover |= 1ull << found(s) | 1ull << row->to;
	if (row->to == VF_HO_DST_CLOSING) {
		bool failed = s->faults.record_fails;

		if (failed)
			fault(s, FAULT_RECORD);
		else
			s->record = RECORD_ABORTED;
		row = vf_handover_step(row->to, failed ? VF_HO_RECORD_FAILED :
							 VF_HO_RECORD_WRITTEN);
	}
	say(s, "successor answers %s", vf_handover_input_name(row->send));
	if (row->send == VF_HO_NOTHING) {
		(void) vferry_error_set(&err, -EIO, "record-failed", NULL, "cannot write");
		send_failed(s, connection, &err);
		return;
	}
	send_resolved(s, connection, row->send == VF_HO_RAN ? VF_RESOLUTION_RAN :
				     row->send == VF_HO_LOST ? VF_RESOLUTION_LOST :
							       VF_RESOLUTION_ABORTED);
	link_close(s, connection, DESTINATION);
}
