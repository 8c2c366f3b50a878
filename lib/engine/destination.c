/* SPDX-License-Identifier: MIT */
/*
 * destination.c - the destination's table of states and events; see destination.h.
 *
 * Rows as in source.c. The hand-over core decides what may be answered; this machine only says
 * when the record is written and what follows it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/checked.h"
#include "engine/destination.h"

#define S(state) (1u << VF_DST_##state)
#define LOADING (S(ACTIVE) | S(SWITCHOVER))
#define PROMISED (S(PREPARED) | S(HOLDING))

typedef void handler(struct vf_destination *d, const struct vf_destination_event *e,
		     struct vf_actions *out);

/* One step of the hand-over core. Rows are chosen so that it always has one. */
static const struct vf_handover_rule *hand_over(struct vf_destination *d, enum vf_handover_input on)
{
	const struct vf_handover_rule *rule = vf_handover_step(d->handover, on);

	assert(rule);
	d->handover = rule->to;
	return rule;
}

static void emit(const struct vf_destination *d, struct vf_actions *out)
{
	struct vf_action *action = vf_actions_add(out, VF_ACT_EMIT);

	action->status = d->status;
	action->outcome = d->outcome;
}

static void set_status(struct vf_destination *d, enum vf_status status, struct vf_actions *out)
{
	if (d->status == status)
		return;
	d->status = status;
	emit(d, out);
}

static void keep_error(struct vf_destination *d, const struct vferry_error *error, int code,
		       const char *id, const char *message)
{
	if (d->error.code)
		return;
	if (error && error->code)
		d->error = *error;
	else
		(void) vferry_error_set(&d->error, code, id, NULL, "%s", message);
	vferry_error_phase(&d->error, vf_status_name(d->status));
}

static void finish(struct vf_destination *d, enum vf_outcome outcome, struct vf_actions *out)
{
	static const enum vf_status ends[VF_OUTCOME__COUNT] = {
		[VF_OUTCOME_DONE] = VF_STATUS_COMPLETED,
		[VF_OUTCOME_CHECKED] = VF_STATUS_NONE,
		[VF_OUTCOME_REFUSED] = VF_STATUS_FAILED,
		[VF_OUTCOME_FAILED] = VF_STATUS_FAILED,
		[VF_OUTCOME_CANCELLED] = VF_STATUS_CANCELLED,
		[VF_OUTCOME_LOST] = VF_STATUS_FAILED,
	};
	struct vf_action *action;

	d->state = VF_DST_ENDED;
	d->outcome = outcome;
	set_status(d, ends[outcome], out);
	action = vf_actions_add(out, VF_ACT_FINISH);
	action->status = d->status;
	action->outcome = outcome;
	action->exit_code = vf_outcome_exit_code(outcome);
}

/* Nothing was promised: forget it. */
static void discard(struct vf_destination *d, enum vf_outcome outcome, struct vf_actions *out)
{
	(void) vf_actions_add(out, VF_ACT_DISCARD);
	finish(d, outcome, out);
}

/* @said: RAN, ABORTED or LOST. */
static void answer(enum vf_handover_input said, struct vf_actions *out)
{
	struct vf_action *action = vf_actions_add(out, VF_ACT_ANSWER_RESOLVE);

	action->ran = said != VF_HO_ABORTED;
	action->lost = said == VF_HO_LOST;
}

/* The core has decided; its row says which record belongs to it. */
static void write_record(struct vf_destination *d, struct vf_actions *out)
{
	bool ran = d->handover == VF_HO_DST_RECORD_RAN;

	assert(ran || d->handover == VF_HO_DST_RECORD_ABORTED);
	d->state = ran ? VF_DST_RECORDING_RAN : VF_DST_RECORDING_ABORTED;
	vf_actions_add(out, VF_ACT_WRITE_RECORD)->ran = ran;
}

static void abort_promise(struct vf_destination *d, enum vf_handover_input on,
			  enum vf_outcome outcome, struct vf_actions *out)
{
	(void) hand_over(d, on);
	d->abort_outcome = outcome;
	write_record(d, out);
}

static void on_listening(struct vf_destination *d, const struct vf_destination_event *e,
			 struct vf_actions *out)
{
	(void) e;
	d->state = VF_DST_SETUP;
	set_status(d, VF_STATUS_SETUP, out);
}

static void on_machine_ok(struct vf_destination *d, const struct vf_destination_event *e,
			  struct vf_actions *out)
{
	d->check = e->check;
	(void) vf_actions_add(out, VF_ACT_SEND_ACCEPT);
	if (d->check) {
		(void) hand_over(d, VF_HO_CANCEL);
		discard(d, VF_OUTCOME_CHECKED, out);
		return;
	}
	d->state = VF_DST_ACTIVE;
	set_status(d, VF_STATUS_ACTIVE, out);
}

static void on_machine_refused(struct vf_destination *d, const struct vf_destination_event *e,
			       struct vf_actions *out)
{
	keep_error(d, e->error, -EINVAL, "refused", "The source's machine cannot be taken.");
	(void) hand_over(d, VF_HO_LOAD_FAILED);
	(void) vf_actions_add(out, VF_ACT_SEND_REFUSE);
	discard(d, VF_OUTCOME_REFUSED, out);
}

static void on_switchover(struct vf_destination *d, const struct vf_destination_event *e,
			  struct vf_actions *out)
{
	(void) e;
	d->state = VF_DST_SWITCHOVER;
	set_status(d, VF_STATUS_DEVICE, out);
}

static void on_ready(struct vf_destination *d, const struct vf_destination_event *e,
		     struct vf_actions *out)
{
	if (e->kind == VF_DST_LOAD_READY)
		d->load_ready = true;
	else
		d->manifest_ok = true;
	if (!d->load_ready || !d->manifest_ok)
		return;
	(void) hand_over(d, VF_HO_LOADED);
	d->state = VF_DST_PREPARED;
	d->prepared_ns = e->now_ns;
	set_status(d, VF_STATUS_DEVICE, out);
	(void) vf_actions_add(out, VF_ACT_SEND_PREPARED);
}

static void on_load_failed(struct vf_destination *d, const struct vf_destination_event *e,
			   struct vf_actions *out)
{
	if (e->kind == VF_DST_MANIFEST_BAD)
		keep_error(d, e->error, -EBADMSG, "manifest",
			   "What arrived is not what the source says it sent.");
	else
		keep_error(d, e->error, -EIO, "load-failed", "Loading the machine failed.");
	(void) hand_over(d, VF_HO_LOAD_FAILED);
	(void) vf_actions_add(out, VF_ACT_SEND_LOAD_FAILED);
	discard(d, VF_OUTCOME_FAILED, out);
}

/* The promise cannot be kept: a device died while COMMIT was awaited. Only a record helps now. */
static void on_promise_broken(struct vf_destination *d, const struct vf_destination_event *e,
			      struct vf_actions *out)
{
	keep_error(d, e->error, -EIO, "load-failed", "The machine was lost after it was prepared.");
	abort_promise(d, VF_HO_LOAD_FAILED, VF_OUTCOME_FAILED, out);
}

static void on_commit(struct vf_destination *d, const struct vf_destination_event *e,
		      struct vf_actions *out)
{
	(void) hand_over(d, VF_HO_COMMIT);
	d->committed_ns = e->now_ns;
	write_record(d, out);
}

/* COMMIT that nobody may have sent, or that crossed our `aborted`: say that it was not followed. */
static void on_commit_astray(struct vf_destination *d, const struct vf_destination_event *e,
			     struct vf_actions *out)
{
	(void) e;
	if (!vf_handover_step(d->handover, VF_HO_COMMIT) ||
	    hand_over(d, VF_HO_COMMIT)->send != VF_HO_ABORTED)
		return;	/* the second COMMIT of one machine, or an answer is on its way */
	if (d->state != VF_DST_ENDED) {
		keep_error(d, NULL, -EPROTO, "protocol",
			   "The source sent COMMIT before this side was prepared.");
		(void) vf_actions_add(out, VF_ACT_DISCARD);
		answer(VF_HO_ABORTED, out);
		finish(d, VF_OUTCOME_FAILED, out);
		return;
	}
	answer(VF_HO_ABORTED, out);
}

static void on_cancelled(struct vf_destination *d, const struct vf_destination_event *e,
			 struct vf_actions *out)
{
	keep_error(d, e->error, -ECANCELED, "cancelled", "The migration was cancelled.");
	(void) hand_over(d, VF_HO_CANCEL);
	discard(d, VF_OUTCOME_CANCELLED, out);
}

static void on_cancelled_promise(struct vf_destination *d, const struct vf_destination_event *e,
				 struct vf_actions *out)
{
	keep_error(d, e->error, -ECANCELED, "cancelled", "The migration was cancelled.");
	abort_promise(d, VF_HO_CANCEL, VF_OUTCOME_CANCELLED, out);
}

static void on_link_lost(struct vf_destination *d, const struct vf_destination_event *e,
			 struct vf_actions *out)
{
	d->link_lost = true;
	keep_error(d, e->error, -ECONNRESET, "link-lost", "The connection to the source was lost.");
	(void) hand_over(d, VF_HO_LINK_LOST);
	discard(d, VF_OUTCOME_FAILED, out);
}

static void on_link_lost_promised(struct vf_destination *d, const struct vf_destination_event *e,
				  struct vf_actions *out)
{
	(void) e;
	d->link_lost = true;
	(void) hand_over(d, VF_HO_LINK_LOST);
	d->state = VF_DST_HOLDING;
	d->outcome = VF_OUTCOME_UNKNOWN;
	emit(d, out);
}

static void on_link_lost_later(struct vf_destination *d, const struct vf_destination_event *e,
			       struct vf_actions *out)
{
	(void) e;
	(void) out;
	d->link_lost = true;
	(void) hand_over(d, VF_HO_LINK_LOST);
}

static void on_query_promised(struct vf_destination *d, const struct vf_destination_event *e,
			      struct vf_actions *out)
{
	(void) e;
	d->asked = true;
	d->link_lost = false;
	keep_error(d, NULL, -ECANCELED, "aborted",
		   "The source asked before its COMMIT arrived, and was told that it may go on.");
	abort_promise(d, VF_HO_RESOLVE, VF_OUTCOME_FAILED, out);
}

/* A record is being written: the answer comes when it is. */
static void on_query_later(struct vf_destination *d, const struct vf_destination_event *e,
			   struct vf_actions *out)
{
	(void) e;
	(void) out;
	d->asked = true;
	d->link_lost = false;
	(void) hand_over(d, VF_HO_RESOLVE);
}

static void on_query(struct vf_destination *d, const struct vf_destination_event *e,
		     struct vf_actions *out)
{
	bool loading = d->handover == VF_HO_DST_LOADING;

	(void) e;
	if (loading) {
		keep_error(d, NULL, -EPROTO, "protocol",
			   "The source asked for the outcome before there was one.");
		(void) vf_actions_add(out, VF_ACT_DISCARD);
	}
	answer(hand_over(d, VF_HO_RESOLVE)->send, out);
	if (loading)
		finish(d, VF_OUTCOME_FAILED, out);
}

/* That the source is fenced is not believed while its link is there: the table has no row for it. */
static void on_fenced_promised(struct vf_destination *d, const struct vf_destination_event *e,
			       struct vf_actions *out)
{
	if (e->source_fenced) {
		if (!vf_handover_step(d->handover, VF_HO_FENCED_SOURCE))
			return;
		(void) hand_over(d, VF_HO_FENCED_SOURCE);
		d->committed_ns = e->now_ns;
		write_record(d, out);
		return;
	}
	keep_error(d, NULL, -EHOSTDOWN, "fenced", "This side was declared fenced.");
	abort_promise(d, VF_HO_FENCED_DESTINATION, VF_OUTCOME_FAILED, out);
}

static void on_recorded_ran(struct vf_destination *d, const struct vf_destination_event *e,
			    struct vf_actions *out)
{
	(void) e;
	(void) hand_over(d, VF_HO_RECORD_WRITTEN);
	d->state = VF_DST_STARTING;
	d->outcome = VF_OUTCOME_NONE;
	(void) vf_actions_add(out, VF_ACT_RUN_PLAN_AFTER_COMMIT);
	if (d->asked)
		answer(hand_over(d, VF_HO_RESOLVE)->send, out);
}

static void on_ran_not_recorded(struct vf_destination *d, const struct vf_destination_event *e,
				struct vf_actions *out)
{
	keep_error(d, e->error, -EIO, "record-failed",
		   "The record of the hand-over could not be written, so nothing was started.");
	(void) hand_over(d, VF_HO_RECORD_FAILED);
	(void) vf_actions_add(out, VF_ACT_DISCARD);
	answer(VF_HO_ABORTED, out);
	finish(d, VF_OUTCOME_FAILED, out);
}

static void on_recorded_aborted(struct vf_destination *d, const struct vf_destination_event *e,
				struct vf_actions *out)
{
	/* Not written is as good while this process lives: see handover.c. */
	(void) hand_over(d, e->kind == VF_DST_RECORD_WRITTEN ? VF_HO_RECORD_WRITTEN :
							       VF_HO_RECORD_FAILED);
	(void) vf_actions_add(out, VF_ACT_DISCARD);
	answer(VF_HO_ABORTED, out);
	finish(d, d->abort_outcome, out);
}

static void on_run_done(struct vf_destination *d, const struct vf_destination_event *e,
			struct vf_actions *out)
{
	(void) hand_over(d, VF_HO_RUN_DONE);
	d->running_ns = e->now_ns;
	d->error = (struct vferry_error) VFERRY_ERROR_INIT;
	(void) vf_actions_add(out, VF_ACT_SEND_RUNNING);
	finish(d, VF_OUTCOME_DONE, out);
}

static void on_run_failed(struct vf_destination *d, const struct vf_destination_event *e,
			  struct vf_actions *out)
{
	d->error = (struct vferry_error) VFERRY_ERROR_INIT;
	keep_error(d, e->error, -EIO, "run-failed",
		   "The machine was handed over and could not be started here.");
	(void) hand_over(d, VF_HO_RUN_FAILED);
	(void) vf_actions_add(out, VF_ACT_SEND_RUN_FAILED);
	finish(d, VF_OUTCOME_LOST, out);
}

static void on_link_lost_end(struct vf_destination *d, const struct vf_destination_event *e,
			     struct vf_actions *out)
{
	(void) e;
	(void) out;
	d->link_lost = true;
}

static const struct row {
	uint32_t in;		/* states */
	enum vf_destination_event_kind on;
	handler *handle;
	uint32_t to;		/* states that are possible afterwards */
} table[] = {
	{ S(NONE), VF_DST_LISTENING, on_listening, S(SETUP) },
	{ S(SETUP), VF_DST_MACHINE_OK, on_machine_ok, S(ACTIVE) | S(ENDED) },
	{ S(SETUP), VF_DST_MACHINE_REFUSED, on_machine_refused, S(ENDED) },
	{ S(ACTIVE), VF_DST_SWITCHOVER_BEGAN, on_switchover, S(SWITCHOVER) },
	{ LOADING, VF_DST_LOAD_READY, on_ready, LOADING | S(PREPARED) },
	{ LOADING, VF_DST_MANIFEST_OK, on_ready, LOADING | S(PREPARED) },
	{ S(SETUP) | LOADING, VF_DST_LOAD_FAILED, on_load_failed, S(ENDED) },
	{ LOADING, VF_DST_MANIFEST_BAD, on_load_failed, S(ENDED) },
	{ PROMISED, VF_DST_LOAD_FAILED, on_promise_broken, S(RECORDING_ABORTED) },
	{ S(PREPARED), VF_DST_COMMIT, on_commit, S(RECORDING_RAN) },
	{ S(SETUP) | LOADING | S(RECORDING_ABORTED) | S(ENDED), VF_DST_COMMIT, on_commit_astray,
	  S(RECORDING_ABORTED) | S(ENDED) },
	{ S(SETUP) | LOADING, VF_DST_CANCELLED, on_cancelled, S(ENDED) },
	{ PROMISED, VF_DST_CANCELLED, on_cancelled_promise, S(RECORDING_ABORTED) },
	{ S(SETUP) | LOADING, VF_DST_LINK_LOST, on_link_lost, S(ENDED) },
	{ S(PREPARED), VF_DST_LINK_LOST, on_link_lost_promised, S(HOLDING) },
	{ S(RECORDING_RAN) | S(STARTING) | S(RECORDING_ABORTED), VF_DST_LINK_LOST,
	  on_link_lost_later, S(RECORDING_RAN) | S(STARTING) | S(RECORDING_ABORTED) },
	{ S(ENDED), VF_DST_LINK_LOST, on_link_lost_end, S(ENDED) },
	{ PROMISED, VF_DST_RESOLVE_QUERY, on_query_promised, S(RECORDING_ABORTED) },
	{ S(RECORDING_RAN) | S(RECORDING_ABORTED), VF_DST_RESOLVE_QUERY, on_query_later,
	  S(RECORDING_RAN) | S(RECORDING_ABORTED) },
	{ S(SETUP) | LOADING | S(STARTING) | S(ENDED), VF_DST_RESOLVE_QUERY, on_query,
	  S(STARTING) | S(ENDED) },
	{ PROMISED, VF_DST_FENCED, on_fenced_promised,
	  S(PREPARED) | S(RECORDING_RAN) | S(RECORDING_ABORTED) },
	{ S(RECORDING_RAN), VF_DST_RECORD_WRITTEN, on_recorded_ran, S(STARTING) },
	{ S(RECORDING_RAN), VF_DST_RECORD_FAILED, on_ran_not_recorded, S(ENDED) },
	{ S(RECORDING_ABORTED), VF_DST_RECORD_WRITTEN, on_recorded_aborted, S(ENDED) },
	{ S(RECORDING_ABORTED), VF_DST_RECORD_FAILED, on_recorded_aborted, S(ENDED) },
	{ S(STARTING), VF_DST_RUN_DONE, on_run_done, S(ENDED) },
	{ S(STARTING), VF_DST_RUN_FAILED, on_run_failed, S(ENDED) },
};

int vf_destination_event(struct vf_destination *d, const struct vf_destination_event *event,
			 struct vf_actions *ret_actions)
{
	const struct row *row = NULL;

	ret_actions->count = 0;
	for (size_t i = 0; i < VF_ARRAY_COUNT(table) && !row; i++) {
		if (table[i].on == event->kind && (table[i].in & 1u << d->state))
			row = &table[i];
	}
	if (!row)
		return 1;
	row->handle(d, event, ret_actions);
	assert(row->to & 1u << d->state);
	return 0;
}

void vf_destination_init(struct vf_destination *d)
{
	*d = (struct vf_destination) { .handover = VF_HO_DST_LOADING };
}

const char *vf_destination_state_name(enum vf_destination_state state)
{
	static const char *const names[VF_DST_STATE__COUNT] = {
		[VF_DST_NONE] = "none",
		[VF_DST_SETUP] = "setup",
		[VF_DST_ACTIVE] = "active",
		[VF_DST_SWITCHOVER] = "switchover",
		[VF_DST_PREPARED] = "prepared",
		[VF_DST_HOLDING] = "holding",
		[VF_DST_RECORDING_RAN] = "recording-ran",
		[VF_DST_STARTING] = "starting",
		[VF_DST_RECORDING_ABORTED] = "recording-aborted",
		[VF_DST_ENDED] = "ended",
	};

	return (size_t) state < VF_DST_STATE__COUNT ? names[state] : NULL;
}

const char *vf_destination_event_name(enum vf_destination_event_kind kind)
{
	static const char *const names[VF_DST_EVENT__COUNT] = {
		[VF_DST_LISTENING] = "LISTENING",
		[VF_DST_MACHINE_OK] = "MACHINE_OK",
		[VF_DST_MACHINE_REFUSED] = "MACHINE_REFUSED",
		[VF_DST_SWITCHOVER_BEGAN] = "SWITCHOVER_BEGAN",
		[VF_DST_LOAD_READY] = "LOAD_READY",
		[VF_DST_LOAD_FAILED] = "LOAD_FAILED",
		[VF_DST_MANIFEST_OK] = "MANIFEST_OK",
		[VF_DST_MANIFEST_BAD] = "MANIFEST_BAD",
		[VF_DST_COMMIT] = "COMMIT",
		[VF_DST_CANCELLED] = "CANCELLED",
		[VF_DST_LINK_LOST] = "LINK_LOST",
		[VF_DST_RESOLVE_QUERY] = "RESOLVE_QUERY",
		[VF_DST_FENCED] = "FENCED",
		[VF_DST_RECORD_WRITTEN] = "RECORD_WRITTEN",
		[VF_DST_RECORD_FAILED] = "RECORD_FAILED",
		[VF_DST_RUN_DONE] = "RUN_DONE",
		[VF_DST_RUN_FAILED] = "RUN_FAILED",
	};

	return (size_t) kind < VF_DST_EVENT__COUNT ? names[kind] : NULL;
}

static const char *state_name(uint32_t state)
{
	return vf_destination_state_name((enum vf_destination_state) state);
}

int vf_destination_table_text(char *to, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < VF_ARRAY_COUNT(table); i++)
		len = vf_table_row_text(to, size, len, table[i].in,
					vf_destination_event_name(table[i].on), table[i].to, state_name);
	return (int) len;
}
