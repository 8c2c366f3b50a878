/* SPDX-License-Identifier: MIT */
/*
 * sim.c - time, the link, and what both sides do on each action and event.
 *
 * This is what a session does, without threads and bytes: it hands events to the two state machines
 * and carries out their actions, each in no time or after a made-up one.
 */
#include <stdarg.h>
#include <stdio.h>

#include "sim.h"

void wrong(struct sim *s, const char *text)
{
	if (!s->failure)
		s->failure = text;
}

void say(const struct sim *s, const char *fmt, ...)
{
	va_list args;

	if (!s->verbose)
		return;
	printf("%10.3f ms  ", (double) s->now_ns / 1e6);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

/* The queue is small: a plain array, the earliest is searched. */
void post(struct sim *s, uint64_t delay_ns, struct event e)
{
	if (s->queued == MAX_EVENTS) {
		wrong(s, "a queue grew without bound");
		return;
	}
	e.at_ns = s->now_ns + delay_ns;
	e.order = s->order++;
	s->queue[s->queued++] = e;
	if (s->queued > s->most_queued)
		s->most_queued = s->queued;
}

struct event take(struct sim *s)
{
	size_t best = 0;
	struct event e;

	for (size_t i = 1; i < s->queued; i++) {
		if (s->queue[i].at_ns < s->queue[best].at_ns ||
		    (s->queue[i].at_ns == s->queue[best].at_ns &&
		     s->queue[i].order < s->queue[best].order))
			best = i;
	}
	e = s->queue[best];
	s->queue[best] = s->queue[--s->queued];
	return e;
}

uint64_t some(struct sim *s, uint64_t least, uint64_t most)
{
	return least + rng_below(&s->rng, most - least + 1);
}

/* Channels keep their own order, and overtake each other. */
void transmit(struct sim *s, bool to_source, uint32_t channel, enum message m, uint32_t b,
	      uint32_t c)
{
	uint64_t at = s->now_ns + s->delay_ns + some(s, 0, MS / 4);
	uint64_t *free_ns = &s->channel_free_ns[to_source][channel % CHANNELS];

	if (!s->link_up)
		return;
	if (at <= *free_ns)
		at = *free_ns + 1;
	*free_ns = at;
	post(s, at - s->now_ns, (struct event) {
		.kind = EV_MESSAGE, .a = m, .b = b, .c = c, .to_source = to_source,
		.epoch = s->epoch,
	});
}


void local_src(struct sim *s, uint64_t delay_ns, enum vf_source_event_kind kind, uint32_t b)
{
	post(s, delay_ns, (struct event) { .kind = EV_SRC, .a = kind, .b = b });
}

void local_dst(struct sim *s, uint64_t delay_ns, enum vf_destination_event_kind kind)
{
	post(s, delay_ns, (struct event) { .kind = EV_DST, .a = kind });
}

/* ---- actions ---- */

static void start_round(struct sim *s, uint32_t number)
{
	uint64_t bytes, ns;

	settle_dirty(s);
	bytes = number == 1 ? s->working_set : s->dirty_bytes;
	s->dirty_bytes = 0;
	ns = bytes / (s->rate / 1000000 + 1) * 1000 + 2 * s->delay_ns + MS;
	local_src(s, ns, VF_SRC_ROUND_DONE, number);
}

static struct vf_round round_now(struct sim *s, uint32_t number)
{
	struct vf_round round = {
		.number = number, .ns = 10 * MS,
		.left = {
			.rate = s->rate, .save = { 3 * MS, true }, .load = { 5 * MS, true },
			.round_trip = { 2 * s->delay_ns, true }, .device_bytes = VF_MIB,
		},
	};

	settle_dirty(s);
	round.left.ram_bytes = s->dirty_bytes;
	return round;
}

static void on_finish(struct sim *s, const struct vf_action *a)
{
	s->finished = a->outcome != VF_OUTCOME_UNKNOWN;
	if (!s->finished)
		post(s, some(s, MS, 1000 * MS), (struct event) { .kind = EV_PERSON });
}

static void src_action(struct sim *s, const struct vf_action *a)
{
	struct exec *save = &s->exec[SAVE];

	switch (a->kind) {
	case VF_ACT_EMIT:
		if (a->status == VF_STATUS_PRE_SWITCHOVER)
			local_src(s, some(s, MS, 300 * MS), VF_SRC_CONTINUE, 0);
		break;
	case VF_ACT_ARM_TIMER:
		s->timer++;
		if (a->at_ns != UINT64_MAX)
			post(s, a->at_ns > s->now_ns ? a->at_ns - s->now_ns : 0,
			     (struct event) { .kind = EV_TIMER, .a = s->timer });
		break;
	case VF_ACT_FINISH:
		on_finish(s, a);
		break;
	case VF_ACT_RUN_HOOK:
		local_src(s, some(s, MS, 50 * MS),
			  s->faults.hook_fails ? VF_SRC_HOOK_FAILED : VF_SRC_HOOK_OK, a->hook);
		break;
	case VF_ACT_SEND_MACHINE:
		transmit(s, false, 0, MSG_MACHINE, 0, 0);
		break;
	case VF_ACT_START_TRACKING:
		save->active = true;
		vf_plan_allow(save->plan, vf_class_bit(VFERRY_SAVE_CONFIG_EARLY));
		pump(s, SAVE);
		break;
	case VF_ACT_STOP_TRACKING:
		save->aborted = true;
		break;
	case VF_ACT_START_ROUND:
		start_round(s, a->round);
		break;
	case VF_ACT_SET_THROTTLE:
		settle_dirty(s);
		s->throttle = a->percent;
		break;
	case VF_ACT_RUN_SAVE_PLAN:
		vf_plan_allow(save->plan, UINT64_MAX);
		pump(s, SAVE);
		break;
	case VF_ACT_SEND_MANIFEST:
		transmit(s, false, 0, MSG_MANIFEST, s->sent, 0);
		break;
	case VF_ACT_SEND_COMMIT:
		if (s->src_vcpus || s->src_devices)
			wrong(s, "COMMIT while something runs on the source");
		s->committed = true;
		transmit(s, false, 0, MSG_COMMIT, 0, 0);
		break;
	case VF_ACT_SEND_CANCEL:
		transmit(s, false, 0, MSG_CANCEL, 0, 0);
		break;
	case VF_ACT_SEND_RESOLVE:
		transmit(s, false, 0, MSG_RESOLVE, 0, 0);
		break;
	case VF_ACT_RUN_UNDO_PLAN:
		if (s->committed && !s->may_resume)
			wrong(s, "the source resumes after COMMIT");
		save->aborted = true;
		s->undo_wanted = true;
		begin_undo(s);
		break;
	default:
		break;
	}
}

static void dst_action(struct sim *s, const struct vf_action *a)
{
	struct exec *load = &s->exec[LOAD];

	switch (a->kind) {
	case VF_ACT_SEND_ACCEPT:
		transmit(s, true, 0, MSG_ACCEPT, 0, 0);
		load->active = true;
		vf_plan_allow(load->plan, vf_class_bit(VFERRY_LOAD_PREPARED) - 1);
		pump(s, LOAD);
		break;
	case VF_ACT_SEND_REFUSE:
		transmit(s, true, 0, MSG_REFUSE, 0, 0);
		break;
	case VF_ACT_SEND_LOAD_FAILED:
		transmit(s, true, 0, MSG_LOAD_FAILED, 0, 0);
		break;
	case VF_ACT_SEND_PREPARED:
		vf_plan_allow(load->plan, UINT64_MAX);
		session_step(s, VFERRY_LOAD_PREPARED);
		transmit(s, true, 0, MSG_PREPARED, 0, 0);
		break;
	case VF_ACT_WRITE_RECORD:
		local_dst(s, some(s, MS / 10, 20 * MS),
			  s->faults.record_fails ? VF_DST_RECORD_FAILED : VF_DST_RECORD_WRITTEN);
		break;
	case VF_ACT_RUN_PLAN_AFTER_COMMIT:
		if (s->discarded)
			wrong(s, "a discarded machine is run");
		session_step(s, VFERRY_LOAD_COMMIT);
		pump(s, LOAD);
		break;
	case VF_ACT_SEND_RUNNING:
		transmit(s, true, 0, MSG_RUNNING, 0, 0);
		break;
	case VF_ACT_SEND_RUN_FAILED:
		transmit(s, true, 0, MSG_RUN_FAILED, 0, 0);
		break;
	case VF_ACT_ANSWER_RESOLVE:
		if (!a->ran && (!s->discarded || s->dst_vcpus))
			wrong(s, "`aborted` was said of a machine that can still run");
		transmit(s, true, 0, MSG_RESOLVED, a->ran, 0);
		break;
	case VF_ACT_DISCARD:
		s->discarded = true;
		load->aborted = true;
		break;
	default:
		break;
	}
}

static void spring_traps(struct sim *s, bool destination, uint32_t before, uint32_t after)
{
	if (before == after)
		return;
	if (destination)
		s->seen_dst |= 1u << after;
	else
		s->seen_src |= 1u << after;
	for (size_t i = 0; i < VF_ARRAY_COUNT(s->faults.traps); i++) {
		struct trap *trap = &s->faults.traps[i];

		if (!trap->kind || trap->destination != destination || trap->state != after)
			continue;
		post(s, trap->delay_ns, (struct event) { .kind = trap->kind,
							 .a = VF_SRC_CANCEL });
		trap->kind = 0;
	}
}

void src_event(struct sim *s, struct vf_source_event e)
{
	uint32_t before = s->src.state;
	struct vf_actions actions;
	int r;

	e.now_ns = s->now_ns;
	r = vf_source_event(&s->src, &e, &actions);
	say(s, "source + %s%s -> %s", vf_source_event_name(e.kind), r ? " (ignored)" : "",
	    vf_source_state_name(s->src.state));
	spring_traps(s, false, before, s->src.state);
	for (size_t i = 0; i < actions.count; i++) {
		if (actions.list[i].kind != VF_ACT_ARM_TIMER)
			say(s, "    %s", vf_action_name(actions.list[i].kind));
		src_action(s, &actions.list[i]);
	}
	/* A session that knows better than its state machine. */
	if (s->bad_session && s->src.state == VF_SRC_UNKNOWN) {
		s->src_vcpus = true;
		s->src_devices = s->machine->devices;
	}
}

void dst_event(struct sim *s, struct vf_destination_event e)
{
	uint32_t before = s->dst.state;
	struct vf_actions actions;
	int r;

	if (!s->dst_alive)
		return;
	e.now_ns = s->now_ns;
	r = vf_destination_event(&s->dst, &e, &actions);
	say(s, "destination + %s%s -> %s", vf_destination_event_name(e.kind), r ? " (ignored)" : "",
	    vf_destination_state_name(s->dst.state));
	spring_traps(s, true, before, s->dst.state);
	for (size_t i = 0; i < actions.count; i++) {
		say(s, "    %s", vf_action_name(actions.list[i].kind));
		dst_action(s, &actions.list[i]);
	}
}

/* ---- events ---- */

static void cut(struct sim *s)
{
	if (!s->link_up)
		return;
	say(s, "LINK CUT");
	s->link_up = false;
	/* What is under way arrives or not; never out of order. */
	if (rng_percent(&s->rng, 50))
		s->epoch++;
	s->hearing_src = s->hearing_dst = true;
	post(s, some(s, MS / 2, 30 * MS), (struct event) { .kind = EV_SRC_HEARS });
	post(s, some(s, MS / 2, 30 * MS), (struct event) { .kind = EV_DST_HEARS });
}

static void hear(struct sim *s, bool source)
{
	bool *hearing = source ? &s->hearing_src : &s->hearing_dst;

	if (!*hearing)
		return;
	*hearing = false;
	if (source)
		SRC(s, LINK_LOST);
	else
		DST(s, LINK_LOST);
}

static void crash_destination(struct sim *s)
{
	say(s, "DESTINATION DIES");
	s->dst_alive = s->dst_vcpus = false;
	s->dst_devices = 0;
	cut(s);
}

/* An operator: asks over a new link; if that does not help, fences the destination and says so. */
static void person(struct sim *s)
{
	if (s->src.state != VF_SRC_UNKNOWN)
		return;
	if (s->dst_alive && s->person_tries++ < 4) {
		hear(s, false);
		s->hearing_src = false;
		s->epoch++;
		s->link_up = true;
		SRC(s, ASK);
		if (s->faults.more_cuts) {
			s->faults.more_cuts--;
			post(s, some(s, 1, 3 * s->delay_ns), (struct event) { .kind = EV_CUT });
		}
		post(s, 200 * MS, (struct event) { .kind = EV_PERSON });
		return;
	}
	if (s->dst_alive)
		crash_destination(s);
	s->may_resume = true;
	SRC(s, FENCED, .ran = false);
}

static void reset_device(struct sim *s)
{
	uint32_t d;

	if (!s->machine->devices || !s->src_vcpus || s->exec[SAVE].aborted ||
	    (s->src.state != VF_SRC_ROUND && s->src.state != VF_SRC_HOLD &&
	     s->src.state != VF_SRC_HOOK))
		return;
	d = (uint32_t) rng_below(&s->rng, (uint64_t) s->machine->devices);
	if (!vf_plan_classes_done(s->exec[SAVE].plan, vf_class_bit(VFERRY_SAVE_CONFIG_EARLY)))
		return;
	say(s, "GUEST RESETS device %u", d);
	s->generation[d]++;
	SRC(s, STREAM_REINIT, .component = d, .generation = s->generation[d]);
	transmit(s, false, d, MSG_RESTART, d, s->generation[d]);
	s->sent++;
	transmit(s, false, d, MSG_SECTION, VFERRY_SAVE_CONFIG_EARLY, d);
	transmit(s, false, d, MSG_INITIAL, d, s->generation[d]);
	post(s, some(s, 5 * MS, 200 * MS), (struct event) { .kind = EV_RESET_DEVICE });
}

static void to_destination(struct sim *s, const struct event *e)
{
	/* Nothing is loaded any more: what still comes is thrown away. */
	if ((s->exec[LOAD].aborted || s->exec[LOAD].failed) &&
	    (e->a == MSG_SECTION || e->a == MSG_DATA || e->a == MSG_RESTART))
		return;
	switch ((enum message) e->a) {
	case MSG_MACHINE:
		if (s->faults.refuses)
			DST(s, MACHINE_REFUSED);
		else
			DST(s, MACHINE_OK, .check = s->config.check);
		break;
	case MSG_BEGAN:
		DST(s, SWITCHOVER_BEGAN);
		break;
	case MSG_SECTION:
		/* A running restart of the device: what belongs to the new one waits for it. */
		if (e->b == VFERRY_SAVE_CONFIG_EARLY && s->restart_pending[e->c]) {
			post(s, MS / 10, *e);
			return;
		}
		s->received++;
		section_arrived(s, (enum vferry_step_class) e->b, e->c);
		pump(s, LOAD);
		check_manifest(s);
		break;
	case MSG_DATA:
		if (s->restart_pending[e->b]) {
			post(s, MS / 10, *e);
			return;
		}
		input(s, VFERRY_LOAD_DEVICE_DATA, e->b);
		pump(s, LOAD);
		break;
	case MSG_RESTART:
		try_restart(s, e->b);
		pump(s, LOAD);
		break;
	case MSG_INITIAL:
		transmit(s, true, 1, MSG_ACK, e->b, e->c);
		break;
	case MSG_MANIFEST:
		s->manifest_here = true;
		s->manifest = e->b;
		check_manifest(s);
		break;
	case MSG_COMMIT:
		DST(s, COMMIT);
		break;
	case MSG_CANCEL:
		DST(s, CANCELLED);
		break;
	case MSG_RESOLVE:
		DST(s, RESOLVE_QUERY);
		break;
	default:
		break;
	}
}

static void to_source(struct sim *s, const struct event *e)
{
	switch ((enum message) e->a) {
	case MSG_ACCEPT:
		SRC(s, PEER_ACCEPTED);
		break;
	case MSG_REFUSE:
		SRC(s, PEER_REFUSED);
		break;
	case MSG_ACK:
		SRC(s, STREAM_ACK, .component = e->b, .generation = e->c);
		break;
	case MSG_PREPARED:
		SRC(s, PEER_PREPARED);
		break;
	case MSG_RUNNING:
		SRC(s, PEER_RUNNING);
		break;
	case MSG_LOAD_FAILED:
	case MSG_RUN_FAILED:
		SRC(s, PEER_FAILED);
		break;
	case MSG_RESOLVED:
		s->may_resume |= !e->b;
		SRC(s, RESOLVED, .ran = e->b);
		break;
	default:
		break;
	}
}

void dispatch(struct sim *s, const struct event *e)
{
	switch (e->kind) {
	case EV_SRC:
		if (e->a == VF_SRC_ROUND_DONE)
			SRC(s, ROUND_DONE, .round = round_now(s, e->b));
		else
			src_event(s, (struct vf_source_event) {
				.kind = (enum vf_source_event_kind) e->a,
				.hook = (enum vf_hook) e->b });
		break;
	case EV_DST:
		dst_event(s, (struct vf_destination_event) {
			.kind = (enum vf_destination_event_kind) e->a });
		break;
	case EV_TIMER:
		if (e->a == s->timer)
			SRC(s, TIMER);
		break;
	case EV_STEP:
		end_step(s, (enum which) e->a, e->b);
		break;
	case EV_MESSAGE:
		if (e->epoch != s->epoch)
			break;
		/* Who has heard that the link is gone reads nothing more from it. */
		if (e->to_source && (s->link_up || s->hearing_src))
			to_source(s, e);
		else if (!e->to_source && s->dst_alive && (s->link_up || s->hearing_dst))
			to_destination(s, e);
		break;
	case EV_CUT:
		cut(s);
		break;
	case EV_SRC_HEARS:
		hear(s, true);
		break;
	case EV_DST_HEARS:
		hear(s, false);
		break;
	case EV_CRASH_DST:
		if (s->dst_alive)
			crash_destination(s);
		break;
	case EV_RESET_DEVICE:
		reset_device(s);
		break;
	case EV_PERSON:
		person(s);
		break;
	}
}
