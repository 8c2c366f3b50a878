/* SPDX-License-Identifier: MIT */
/* sim.c - time, the queue of events, and one run from its seed to its end. See sim.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

void fault(struct sim *s, enum fault kind)
{
	say(s, "* %s", fault_name(kind));
	s->count[kind]++;
}

uint64_t some(struct sim *s, uint64_t least, uint64_t most)
{
	return least + rng_below(&s->rng, most - least + 1);
}

/* The queue is small: a plain array, the earliest is searched. */
void post(struct sim *s, uint64_t delay_ns, struct event e)
{
	if (s->queued == MAX_EVENTS) {
		wrong(s, "a queue grew without bound");
		world_free(e.packet);
		return;
	}
	e.at_ns = s->now_ns + delay_ns;
	e.order = s->order++;
	s->queue[s->queued++] = e;
	if (s->queued > s->most_queued)
		s->most_queued = s->queued;
}

static struct event take(struct sim *s)
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

/* What belongs to the source's process ends with it. */
static void dispatch_source(struct sim *s, const struct event *e)
{
	if (!s->src_alive)
		return;
	s->acting = SOURCE;
	switch (e->kind) {
	case EV_BEGIN:
		source_begin(s);
		break;
	case EV_SRC:
		if (e->a == VF_SRC_CANCEL && !s->src_over && !s->finished)
			fault(s, FAULT_CANCEL);
		source_event(s, (struct vf_source_event) {
			.kind = (enum vf_source_event_kind) e->a, .hook = (enum vf_hook) e->b });
		break;
	case EV_TIMER:
		if (e->a == s->timer)
			SRC(s, TIMER);
		break;
	case EV_CHUNK:
		send_chunk(s, e->a, e->b);
		break;
	case EV_PUMP:
		pump_device(s, e->a);
		break;
	case EV_RESET_DEVICE:
		reset_device(s);
		break;
	case EV_PERSON:
		person(s);
		break;
	case EV_STALLED:
		link_source_stalls(s);
		break;
	default:
		step_time_over(s, (enum which) e->a, e->b);
		break;
	}
}

static void dispatch_destination(struct sim *s, const struct event *e)
{
	s->acting = DESTINATION;
	switch (e->kind) {
	case EV_RESTART:
		destination_restart(s);
		return;
	case EV_KEPT:
		destination_kept(s, e->a);
		return;
	default:
		break;
	}
	if (!s->dst_alive || s->dst_keeper)
		return;
	switch (e->kind) {
	case EV_DST:
		if (e->a == VF_DST_CANCELLED)
			fault(s, FAULT_CANCEL_DESTINATION);
		destination_event(s, (struct vf_destination_event) {
			.kind = (enum vf_destination_event_kind) e->a });
		break;
	case EV_LOAD:
		destination_load(s, e->a);
		break;
	case EV_RECORD:
		destination_recorded(s, e->a);
		break;
	case EV_HEIR:
		heir(s);
		break;
	default:
		step_time_over(s, LOAD, e->b);
		break;
	}
}

static void dispatch(struct sim *s, const struct event *e)
{
	switch (e->kind) {
	case EV_BEGIN:
	case EV_SRC:
	case EV_TIMER:
	case EV_CHUNK:
	case EV_PUMP:
	case EV_RESET_DEVICE:
	case EV_PERSON:
	case EV_STALLED:
		dispatch_source(s, e);
		break;
	case EV_DST:
	case EV_LOAD:
	case EV_RECORD:
	case EV_KEPT:
	case EV_RESTART:
	case EV_HEIR:
		dispatch_destination(s, e);
		break;
	case EV_STEP:
		if (e->a == LOAD)
			dispatch_destination(s, e);
		else
			dispatch_source(s, e);
		break;
	case EV_PACKET:
		link_arrives(s, e->packet);
		break;
	case EV_CUT:
		link_cut(s, e->a);
		break;
	case EV_STALL:
		link_stall(s, e->a, some(s, MS, 4 * s->stall_timeout_ns));
		break;
	case EV_HEARS:
		link_hears(s, e->a, (enum side) (e->b & 1), e->b >> 1);
		break;
	case EV_CRASH_SRC:
		source_crash(s);
		break;
	case EV_CRASH_DST:
		destination_crash(s);
		break;
	}
}

static void begin(struct sim *s)
{
	vf_source_init(&s->src, &s->config);
	vf_destination_init(&s->dst);
	s->src_alive = s->dst_alive = true;
	s->asker = s->last_step = -1;
	s->vcpus[SOURCE] = true;
	for (int i = 0; i < s->machine->devices; i++)
		s->device[SOURCE][i].running = true;
	if (!guest_init(s)) {
		wrong(s, "no guest");
		return;
	}
	memory_begin(s, s->faults.memory, s->faults.memory_stays_out);
	s->acting = DESTINATION;
	destination_begin(s);
	/* Before anything is sent: a source that cannot plan does not begin. */
	s->acting = SOURCE;
	for (int i = SAVE; i < PLANS; i++) {
		if (i != LOAD && !make_plan(s, (enum which) i))
			s->src_over = s->finished = true;
	}
	post(s, 1000, (struct event) { .kind = EV_BEGIN });
	schedule_faults(s);
}

static void end(struct sim *s)
{
	(void) memory_end();
	for (size_t i = 0; i < s->queued; i++)
		world_free(s->queue[i].packet);
	s->queued = 0;
	link_free(s);
	destination_free(s);
	free_plans(s);
	guest_free(s);
}

const char *simulate(struct sim *s, const struct vferry_order_rule *rules, size_t rule_count)
{
	s->rng = (struct rng) { s->seed };
	s->rules = rules;
	s->rule_count = rule_count;
	draw(s);
	name_components(s);
	if (s->verbose)
		printf("seed %llu: %s, policy %s, %s, %s\n", (unsigned long long) s->seed,
		       s->machine->name, s->config.policy->name,
		       s->verify ? "with --verify" : "without --verify",
		       s->has_record_dir ? "with a record" : "without a record");
	begin(s);
	while (s->queued && !s->failure) {
		struct event e = take(s);

		s->now_ns = e.at_ns;
		dispatch(s, &e);
		check(s);
		if (++s->total > MAX_TOTAL)
			wrong(s, "it does not end");
	}
	if (!s->failure)
		check_end(s);
	end(s);
	return s->failure;
}
