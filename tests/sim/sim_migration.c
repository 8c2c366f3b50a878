/* SPDX-License-Identifier: MIT */
/*
 * sim_migration.c - whole migrations in virtual time.
 *
 * Both sides' state machines, their plans and the convergence policies are wired to a made-up link
 * (delay, several channels, cuts), a made-up guest (dirty rate, resets of its devices) and made-up
 * trouble (failing steps, hooks and records, crashes, a person who cancels). Everything follows from
 * the seed. After every event the invariants are checked; steps are judged by order_world.c.
 *
 * sim_migration [-v] [SEED [COUNT]]: without arguments a few thousand seeds, and then the proof that
 * the checks can fail: a rule is taken out, and a session that resumes when it must not is let loose.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "engine/destination.h"
#include "engine/order.h"
#include "engine/source.h"
#include "order_world.h"
#include "rng.h"

#define MS 1000000ull
#define MAX_EVENTS 512		/* queued at one time */
#define MAX_TOTAL 200000	/* in one run */
#define MAX_RUNNING 8
#define CHANNELS 3

enum kind {
	EV_SRC = 1,		/* local event of the source machine: a = enum */
	EV_DST,
	EV_TIMER,		/* a = number of the arming */
	EV_STEP,		/* plan a, step b ends */
	EV_MESSAGE,		/* a = enum message, epoch counts */
	EV_CUT,
	EV_SRC_HEARS, EV_DST_HEARS,	/* that the link is gone */
	EV_CRASH_DST,
	EV_RESET_DEVICE,
	EV_PERSON,		/* somebody looks after an unknown outcome */
};

enum message {
	MSG_MACHINE = 1, MSG_ACCEPT, MSG_REFUSE, MSG_BEGAN, MSG_SECTION, MSG_DATA, MSG_RESTART,
	MSG_INITIAL, MSG_ACK, MSG_MANIFEST, MSG_PREPARED, MSG_COMMIT, MSG_RUNNING, MSG_LOAD_FAILED,
	MSG_RUN_FAILED, MSG_CANCEL, MSG_RESOLVE, MSG_RESOLVED,
};

struct event {
	uint64_t at_ns, order;
	enum kind kind;
	uint32_t a, b, c;
	uint32_t epoch;		/* of the link, or of the load plan's device */
	bool to_source;
};

enum which { SAVE, LOAD, UNDO, PLANS };

struct exec {
	struct vf_plan *plan;
	struct world world;
	struct world_step steps[WORLD_MAX_STEPS];
	size_t step_count;
	bool active, aborted, failed;
	unsigned threads;
};

struct faults {
	uint64_t cut_ns, cancel_ns, crash_ns, reset_ns;	/* 0 = never */
	unsigned step_fails[PLANS];			/* in 1,000 steps */
	bool hook_fails, record_fails, refuses, manifest_bad;
	unsigned more_cuts;				/* while a person asks */
	/* Trouble at the moment a side enters a state, a little later: the narrow places. */
	struct trap {
		enum kind kind;				/* 0 = none */
		bool destination;
		uint32_t state;
		uint64_t delay_ns;
	} traps[2];
};

struct sim {
	uint64_t seed;
	struct rng rng;
	bool verbose;
	bool bad_session;	/* resumes after COMMIT: the checks must notice */
	uint64_t now_ns, order;
	struct event queue[MAX_EVENTS];
	size_t queued, most_queued, total;
	const char *failure;

	const struct world_machine *machine;
	struct exec exec[PLANS];
	struct faults faults;
	struct vf_source src;
	struct vf_destination dst;
	struct vf_source_config config;

	bool link_up;
	uint32_t epoch;
	uint64_t delay_ns, channel_free_ns[2][CHANNELS];
	uint32_t timer;
	/* Guest. */
	uint64_t rate, dirty_rate, working_set, dirty_bytes, dirty_since_ns;
	uint32_t generation[WORLD_MAX_DEVICES], load_generation[WORLD_MAX_DEVICES];
	bool restart_pending[WORLD_MAX_DEVICES];
	uint32_t throttle;
	/* Who runs. */
	bool src_vcpus, dst_alive, dst_vcpus, discarded, undo_wanted;
	int src_devices, dst_devices;
	bool committed, may_resume, finished, ready_said, device_lost;
	uint32_t sent, received, manifest;
	bool manifest_here, hearing_src, hearing_dst;
	unsigned person_tries;
	uint32_t seen_src, seen_dst, restarts;	/* states, as bits */
};

static void wrong(struct sim *s, const char *text)
{
	if (!s->failure)
		s->failure = text;
}

static void say(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct sim *s, const char *fmt, ...)
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
static void post(struct sim *s, uint64_t delay_ns, struct event e)
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

static uint64_t some(struct sim *s, uint64_t least, uint64_t most)
{
	return least + rng_below(&s->rng, most - least + 1);
}

/* Channels keep their own order, and overtake each other. */
static void send(struct sim *s, bool to_source, uint32_t channel, enum message m, uint32_t b,
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

static void src_event(struct sim *s, struct vf_source_event e);
static void dst_event(struct sim *s, struct vf_destination_event e);
#define SRC(s, what, ...) \
	src_event((s), (struct vf_source_event) { .kind = VF_SRC_##what, ##__VA_ARGS__ })
#define DST(s, what, ...) \
	dst_event((s), (struct vf_destination_event) { .kind = VF_DST_##what, ##__VA_ARGS__ })

static void local_src(struct sim *s, uint64_t delay_ns, enum vf_source_event_kind kind, uint32_t b)
{
	post(s, delay_ns, (struct event) { .kind = EV_SRC, .a = kind, .b = b });
}

static void local_dst(struct sim *s, uint64_t delay_ns, enum vf_destination_event_kind kind)
{
	post(s, delay_ns, (struct event) { .kind = EV_DST, .a = kind });
}

/* ---- the guest ---- */

static uint64_t dirty_now(struct sim *s)
{
	uint64_t ns = s->now_ns - s->dirty_since_ns;
	uint64_t rate = s->dirty_rate * (100 - s->throttle) / 100;
	uint64_t more = s->src_vcpus ? rate / 1000 * (ns / 1000) / 1000 : 0;

	return vf_min_u64(s->working_set, s->dirty_bytes + more);
}

static void settle_dirty(struct sim *s)
{
	s->dirty_bytes = dirty_now(s);
	s->dirty_since_ns = s->now_ns;
}

/* ---- plans ---- */

static bool needs_input(enum vferry_step_class c)
{
	return VFERRY_PHASE_OF(c) == VFERRY_PHASE_LOAD && c != VFERRY_LOAD_DEVICE_RESUMING &&
	       c != VFERRY_LOAD_IRQCHIP_CREATE && c != VFERRY_LOAD_DEVICE_VALIDATE &&
	       c != VFERRY_LOAD_IRQ_ROUTES && c != VFERRY_LOAD_IRQ_CONNECT &&
	       c != VFERRY_LOAD_DEVICE_RUN_P2P && c != VFERRY_LOAD_DEVICE_RUN &&
	       c != VFERRY_LOAD_VCPU_RUN && c != VFERRY_LOAD_PREPARED && c != VFERRY_LOAD_COMMIT;
}

static bool is_sessions(enum vferry_step_class c)
{
	return c == VFERRY_LOAD_PREPARED || c == VFERRY_LOAD_COMMIT;
}

static bool make_exec(struct sim *s, enum which which, const struct vferry_order_rule *rules,
		      size_t rule_count)
{
	struct exec *x = &s->exec[which];
	struct vferry_error err = VFERRY_ERROR_INIT;

	*x = (struct exec) { .threads = 1 + (unsigned) rng_below(&s->rng, 4) };
	x->step_count = world_steps(s->machine, (enum vferry_phase) which, x->steps,
				    WORLD_MAX_STEPS);
	world_init(&x->world, s->machine, (enum vferry_phase) which);
	if (vf_plan_new((enum vferry_phase) which, rules, rule_count, &x->plan))
		return false;
	for (size_t i = 0; i < x->step_count; i++) {
		const struct world_step *step = &x->steps[i];
		uint32_t component = (uint32_t) i;

		for (size_t k = 0; k < i; k++) {
			if (!strcmp(x->steps[k].component, step->component)) {
				component = (uint32_t) k;
				break;
			}
		}
		if (vf_plan_add(x->plan, &(struct vf_plan_step) {
			.component = component, .step_class = step->step_class,
			.component_name = step->component, .device = step->device,
			.name = step->name, .needs_input = needs_input(step->step_class),
			.declared_ns = VF_NS_UNKNOWN }, &err) < 0)
			return false;
	}
	return !vf_plan_seal(x->plan, &err);
}

static void pump(struct sim *s, enum which which)
{
	struct exec *x = &s->exec[which];
	uint32_t ready[WORLD_MAX_STEPS];

	while (x->active && !x->aborted && !x->failed && vf_plan_running(x->plan) < x->threads) {
		size_t n = vf_plan_ready(x->plan, ready, WORLD_MAX_STEPS), keep = 0;
		const struct world_step *step;
		uint32_t pick;

		for (size_t i = 0; i < n; i++) {
			if (!is_sessions(x->steps[ready[i]].step_class))
				ready[keep++] = ready[i];
		}
		if (!keep)
			break;
		pick = rng_percent(&s->rng, 50) ? ready[0] : ready[rng_below(&s->rng, keep)];
		step = &x->steps[pick];
		if (vf_plan_start(x->plan, pick, 0, s->now_ns)) {
			wrong(s, "a ready step could not be started");
			return;
		}
		say(s, "%s begins %s:%s", which == LOAD ? "destination" : "source", step->component,
		    step->name);
		world_begin(&x->world, step);
		if (which == LOAD && step->step_class >= VFERRY_LOAD_DEVICE_RUN_P2P) {
			if (step->step_class == VFERRY_LOAD_VCPU_RUN)
				s->dst_vcpus = true;
			else if (step->device)
				s->dst_devices++;
		}
		if (which == UNDO && step->step_class == VFERRY_UNDO_DEVICE_RUN_P2P)
			s->src_devices++;
		if (which == UNDO && step->step_class == VFERRY_UNDO_VCPU_RUN) {
			settle_dirty(s);
			s->src_vcpus = true;
		}
		post(s, some(s, 1000, rng_percent(&s->rng, 5) ? 20 * MS : MS / 2), (struct event) {
			.kind = EV_STEP, .a = which, .b = pick });
	}
}

static void input(struct sim *s, enum vferry_step_class c, uint32_t index)
{
	struct exec *x = &s->exec[LOAD];

	for (size_t i = 0; i < x->step_count; i++) {
		if (x->steps[i].step_class == c &&
		    (x->steps[i].index < 0 || (uint32_t) x->steps[i].index == index))
			vf_plan_input(x->plan, (uint32_t) i);
	}
}

/* Which load steps the section of a save step feeds. */
static const struct feed {
	enum vferry_step_class from, to;
} feeds[] = {
	{ VFERRY_SAVE_CONFIG_EARLY, VFERRY_LOAD_CONFIG_STAGE },
	{ VFERRY_SAVE_CONFIG_EARLY, VFERRY_LOAD_VECTOR_ALLOC },
	{ VFERRY_SAVE_CONFIG, VFERRY_LOAD_CONFIG_RESTAGE },
	{ VFERRY_SAVE_CONFIG, VFERRY_LOAD_CONFIG_ARM },
	{ VFERRY_SAVE_DEVICE_DATA, VFERRY_LOAD_DEVICE_DATA_LAST },
	{ VFERRY_SAVE_RAM_LAST, VFERRY_LOAD_RAM },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_ID },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_SREGS },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_REGS },
	{ VFERRY_SAVE_LAPIC, VFERRY_LOAD_LAPIC },
	{ VFERRY_SAVE_LAPIC, VFERRY_LOAD_TSC_DEADLINE },
	{ VFERRY_SAVE_IOAPIC, VFERRY_LOAD_IOAPIC },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_GIC_DIST },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_GIC_LPI_BASES },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_GIC_REDIST },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_ITS_REGS },
	{ VFERRY_SAVE_ITS_TABLES, VFERRY_LOAD_ITS_TABLES },
	{ VFERRY_SAVE_ITS_TABLES, VFERRY_LOAD_ITS_CTLR },
	{ VFERRY_SAVE_CLOCK, VFERRY_LOAD_CLOCK },
	{ VFERRY_SAVE_CLOCK, VFERRY_LOAD_COUNTER },
	{ VFERRY_SAVE_OTHER, VFERRY_LOAD_OTHER },
};

/* A device's bytes keep to one channel; everything else takes any. */
static void send_section(struct sim *s, const struct world_step *step)
{
	uint32_t index = step->index < 0 ? 0 : (uint32_t) step->index;
	uint32_t channel = step->device ? index : (uint32_t) rng_below(&s->rng, CHANNELS);

	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		if (feeds[i].from != step->step_class)
			continue;
		s->sent++;
		send(s, false, channel, MSG_SECTION, step->step_class, index);
		return;
	}
}

static void check_load_ready(struct sim *s)
{
	struct exec *x = &s->exec[LOAD];
	uint64_t before = vf_class_bit(VFERRY_LOAD_PREPARED) - 1;

	if (!x->active || x->aborted || x->failed || s->ready_said ||
	    !vf_plan_classes_done(x->plan, before))
		return;
	s->ready_said = true;
	DST(s, LOAD_READY);
}

static void check_manifest(struct sim *s)
{
	if (!s->manifest_here || s->received < s->manifest)
		return;
	s->manifest_here = false;
	if (s->faults.manifest_bad)
		DST(s, MANIFEST_BAD);
	else
		DST(s, MANIFEST_OK);
}

/* The session's own step: begins and ends in one moment. */
static void session_step(struct sim *s, enum vferry_step_class c)
{
	struct exec *x = &s->exec[LOAD];

	for (uint32_t i = 0; i < x->step_count; i++) {
		if (x->steps[i].step_class != c)
			continue;
		if (vf_plan_start(x->plan, i, 0, s->now_ns)) {
			wrong(s, "PREPARED or COMMIT before its time");
			return;
		}
		world_begin(&x->world, &x->steps[i]);
		vf_plan_done(x->plan, i, 0, s->now_ns);
		world_end(&x->world, &x->steps[i]);
	}
}

static void try_restart(struct sim *s, uint32_t device)
{
	static const char *const key[WORLD_MAX_DEVICES] = { "00:04.0", "00:05.0" };
	struct exec *x = &s->exec[LOAD];
	struct world_device *d = &x->world.device[device];
	int r;

	if (!x->active || x->aborted || x->failed)
		return;
	r = vf_plan_restart_device(x->plan, key[device], NULL);
	s->restart_pending[device] = r == -EBUSY;
	if (r == -EBUSY)
		return;
	if (r < 0) {
		wrong(s, "a device could not be restarted");
		return;
	}
	for (size_t i = 0; i < x->step_count; i++) {
		enum vferry_step_class c = x->steps[i].step_class;

		if (x->steps[i].index == (int) device &&
		    ((c == VFERRY_LOAD_DEVICE_RESUMING && d->resuming) ||
		     (c == VFERRY_LOAD_CONFIG_STAGE && d->staged) ||
		     (c == VFERRY_LOAD_DEVICE_DATA && d->data)))
			x->world.fallible++;
	}
	d->resuming = d->staged = d->data = false;
	s->restarts++;
	s->load_generation[device]++;
}

static void begin_undo(struct sim *s)
{
	struct exec *save = &s->exec[SAVE], *undo = &s->exec[UNDO];

	if (!s->undo_wanted || vf_plan_running(save->plan))
		return;
	s->undo_wanted = false;
	undo->active = true;
	s->src_devices = 0;
	pump(s, UNDO);
}

static void end_save_step(struct sim *s, const struct world_step *step)
{
	if (step->step_class == VFERRY_SAVE_VCPU_STOP) {
		settle_dirty(s);
		s->src_vcpus = false;
		send(s, false, 0, MSG_BEGAN, 0, 0);
		SRC(s, MACHINE_STOPPED);
	}
	if (step->step_class == VFERRY_SAVE_DEVICE_STOP) {
		s->src_devices--;
		send(s, false, (uint32_t) step->index, MSG_DATA, (uint32_t) step->index, 0);
	}
	send_section(s, step);
	if (step->step_class == VFERRY_SAVE_CONFIG_EARLY)
		send(s, false, (uint32_t) step->index, MSG_INITIAL, (uint32_t) step->index,
		     s->generation[step->index]);
}

static void end_step(struct sim *s, enum which which, uint32_t index)
{
	struct exec *x = &s->exec[which];
	const struct world_step *step = &x->steps[index];
	bool fails = rng_below(&s->rng, 1000) < s->faults.step_fails[which];

	if (which == LOAD && !s->dst_alive)
		return;
	if (fails && which == UNDO && step->step_class != VFERRY_UNDO_DEVICE_RUN)
		fails = false;	/* only a device can be lost there */
	world_end(&x->world, step);
	if (fails) {
		say(s, "FAILS: %s:%s", step->component, step->name);
		s->device_lost |= which == UNDO;
		x->failed = which != UNDO;
		vf_plan_fail(x->plan, index, which == UNDO, s->now_ns);
		if (which == SAVE)
			SRC(s, SAVE_FAILED);
		else if (which == LOAD && x->aborted)
			return;
		else if (which == LOAD && step->step_class > VFERRY_LOAD_COMMIT) {
			/* The session stops what it started. */
			s->dst_vcpus = false;
			s->dst_devices = 0;
			DST(s, RUN_FAILED);
		} else if (which == LOAD) {
			DST(s, LOAD_FAILED);
		}
	} else {
		vf_plan_done(x->plan, index, 0, s->now_ns);
		if (which == SAVE)
			end_save_step(s, step);
	}
	if (which == LOAD) {
		for (uint32_t d = 0; d < (uint32_t) s->machine->devices; d++) {
			if (s->restart_pending[d])
				try_restart(s, d);
		}
	}
	begin_undo(s);
	pump(s, which);
	if (which == SAVE && x->active && !x->aborted && vf_plan_all_done(x->plan) && !fails) {
		world_finish(&x->world);
		x->active = false;
		SRC(s, SAVE_DONE);
	}
	if (which == UNDO && vf_plan_all_done(x->plan) && x->active) {
		x->active = false;
		SRC(s, UNDO_DONE, .device_lost = s->device_lost);
	}
	if (which == LOAD && x->active && !x->aborted && !x->failed) {
		check_load_ready(s);
		if (vf_plan_all_done(x->plan)) {
			x->active = false;
			world_finish(&x->world);
			DST(s, RUN_DONE);
		}
	}
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
		send(s, false, 0, MSG_MACHINE, 0, 0);
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
		send(s, false, 0, MSG_MANIFEST, s->sent, 0);
		break;
	case VF_ACT_SEND_COMMIT:
		if (s->src_vcpus || s->src_devices)
			wrong(s, "COMMIT while something runs on the source");
		s->committed = true;
		send(s, false, 0, MSG_COMMIT, 0, 0);
		break;
	case VF_ACT_SEND_CANCEL:
		send(s, false, 0, MSG_CANCEL, 0, 0);
		break;
	case VF_ACT_SEND_RESOLVE:
		send(s, false, 0, MSG_RESOLVE, 0, 0);
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
		send(s, true, 0, MSG_ACCEPT, 0, 0);
		load->active = true;
		vf_plan_allow(load->plan, vf_class_bit(VFERRY_LOAD_PREPARED) - 1);
		pump(s, LOAD);
		break;
	case VF_ACT_SEND_REFUSE:
		send(s, true, 0, MSG_REFUSE, 0, 0);
		break;
	case VF_ACT_SEND_LOAD_FAILED:
		send(s, true, 0, MSG_LOAD_FAILED, 0, 0);
		break;
	case VF_ACT_SEND_PREPARED:
		vf_plan_allow(load->plan, UINT64_MAX);
		session_step(s, VFERRY_LOAD_PREPARED);
		send(s, true, 0, MSG_PREPARED, 0, 0);
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
		send(s, true, 0, MSG_RUNNING, 0, 0);
		break;
	case VF_ACT_SEND_RUN_FAILED:
		send(s, true, 0, MSG_RUN_FAILED, 0, 0);
		break;
	case VF_ACT_ANSWER_RESOLVE:
		if (!a->ran && (!s->discarded || s->dst_vcpus))
			wrong(s, "`aborted` was said of a machine that can still run");
		send(s, true, 0, MSG_RESOLVED, a->ran, 0);
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

static void src_event(struct sim *s, struct vf_source_event e)
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

static void dst_event(struct sim *s, struct vf_destination_event e)
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
	send(s, false, d, MSG_RESTART, d, s->generation[d]);
	s->sent++;
	send(s, false, d, MSG_SECTION, VFERRY_SAVE_CONFIG_EARLY, d);
	send(s, false, d, MSG_INITIAL, d, s->generation[d]);
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
		for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
			if (feeds[i].from == e->b)
				input(s, feeds[i].to, e->c);
		}
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
		send(s, true, 1, MSG_ACK, e->b, e->c);
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

static void dispatch(struct sim *s, const struct event *e)
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

/* ---- checks ---- */

static void check(struct sim *s)
{
	bool src_runs = s->src_vcpus || s->src_devices, dst_runs = s->dst_vcpus || s->dst_devices;

	if (src_runs && dst_runs)
		wrong(s, "both sides run");
	if (dst_runs && !vf_handover_may_run(s->dst.handover))
		wrong(s, "the destination runs what is not its own");
	if (src_runs && !vf_handover_may_run(s->src.handover))
		wrong(s, "the source runs what it gave away");
	if (s->committed && src_runs && !s->may_resume)
		wrong(s, "the source runs after COMMIT");
	for (int i = 0; i < PLANS; i++) {
		/* What is thrown away anyway need not be in order to its end. */
		if (s->exec[i].world.failure && !s->exec[i].failed)
			wrong(s, s->exec[i].world.failure);
	}
}

static void check_end(struct sim *s)
{
	switch (s->src.outcome) {
	case VF_OUTCOME_CHECKED:
	case VF_OUTCOME_REFUSED:
	case VF_OUTCOME_FAILED:
	case VF_OUTCOME_CANCELLED:
		if (!s->src_vcpus || s->src_devices != s->machine->devices)
			wrong(s, "failed before COMMIT, and the source does not run");
		if (s->dst_vcpus)
			wrong(s, "both sides run at the end");
		break;
	case VF_OUTCOME_DONE:
		if (s->dst_alive && !s->dst_vcpus && s->dst.outcome != VF_OUTCOME_LOST)
			wrong(s, "done, and nobody runs it");
		break;
	case VF_OUTCOME_LOST:
		break;
	default:
		wrong(s, "no outcome at the end");
	}
	if (!s->finished)
		wrong(s, "it never finished");
	if (s->throttle && s->src_vcpus)
		wrong(s, "the guest stays throttled");
}

static uint64_t maybe(struct sim *s, unsigned percent, uint64_t most_ns)
{
	return rng_percent(&s->rng, percent) ? some(s, 1, most_ns) : 0;
}

static void draw(struct sim *s)
{
	static const uint64_t horizons[] = { 20 * MS, 200 * MS, 1500 * MS };
	uint64_t horizon = horizons[rng_below(&s->rng, 3)];
	size_t machine_count, policy_count;
	const struct world_machine *machines = world_machines(&machine_count);
	const struct vf_policy *policies = vf_policies(&policy_count);

	s->machine = &machines[rng_below(&s->rng, machine_count)];
	s->rate = some(s, 100, 10000) * VF_MIB;
	s->dirty_rate = rng_percent(&s->rng, 70) ? s->rate / some(s, 2, 50) : s->rate * 2;
	s->working_set = some(s, 1, 512) * VF_MIB;
	s->delay_ns = some(s, MS / 100, 5 * MS);
	s->config = (struct vf_source_config) {
		.policy = &policies[rng_below(&s->rng, policy_count)],
		.max_downtime_ns = some(s, 20, 300) * MS,
		.pause_budget_ns = rng_percent(&s->rng, 40) ? some(s, 5, 500) * MS : 0,
		.timeout_ns = some(s, 100, 3000) * MS,
		.answer_timeout_ns = rng_percent(&s->rng, 30) ? some(s, 1, 30) * MS : 0,
		.check = rng_percent(&s->rng, 3),
		.hold = rng_percent(&s->rng, 15),
	};
	for (int i = 0; i < VF_HOOK__COUNT; i++)
		s->config.hooks[i] = rng_percent(&s->rng, 30);
	s->faults = (struct faults) {
		.cut_ns = maybe(s, 10, horizon), .cancel_ns = maybe(s, 10, horizon),
		.crash_ns = maybe(s, 3, horizon), .reset_ns = maybe(s, 40, horizon),
		.hook_fails = rng_percent(&s->rng, 10), .record_fails = rng_percent(&s->rng, 8),
		.refuses = rng_percent(&s->rng, 3), .manifest_bad = rng_percent(&s->rng, 3),
		.more_cuts = (unsigned) rng_below(&s->rng, 4),
	};
	for (size_t i = 0; i < VF_ARRAY_COUNT(s->faults.traps); i++) {
		static const enum kind kinds[] = { EV_CUT, EV_CUT, EV_SRC, EV_CRASH_DST };
		bool destination = rng_percent(&s->rng, 50);

		if (!rng_percent(&s->rng, 35))
			continue;
		s->faults.traps[i] = (struct trap) {
			.kind = kinds[rng_below(&s->rng, VF_ARRAY_COUNT(kinds))],
			.destination = destination,
			.state = (uint32_t) rng_below(&s->rng, destination ? VF_DST_STATE__COUNT :
								     VF_SRC_STATE__COUNT),
			.delay_ns = some(s, 0, rng_percent(&s->rng, 50) ? MS / 10 : 3 * s->delay_ns),
		};
	}
	for (int i = 0; i < PLANS; i++)
		s->faults.step_fails[i] = rng_percent(&s->rng, 20) ? 30 : 0;
}

static void begin(struct sim *s)
{
	vf_source_init(&s->src, &s->config);
	vf_destination_init(&s->dst);
	for (int i = 0; i < s->machine->devices; i++)
		(void) vf_source_add_stream(&s->src, (uint32_t) i, 0);
	s->link_up = s->dst_alive = s->src_vcpus = true;
	s->src_devices = s->machine->devices;
	local_dst(s, 0, VF_DST_LISTENING);
	local_src(s, 1000, VF_SRC_START, 0);
	if (s->faults.cut_ns)
		post(s, s->faults.cut_ns, (struct event) { .kind = EV_CUT });
	if (s->faults.cancel_ns)
		local_src(s, s->faults.cancel_ns, VF_SRC_CANCEL, 0);
	if (s->faults.crash_ns)
		post(s, s->faults.crash_ns, (struct event) { .kind = EV_CRASH_DST });
	if (s->faults.reset_ns)
		post(s, s->faults.reset_ns, (struct event) { .kind = EV_RESET_DEVICE });
}

struct tally {
	unsigned outcome[VF_OUTCOME__COUNT];
	unsigned src[VF_SRC_STATE__COUNT], dst[VF_DST_STATE__COUNT], restarts;
	size_t most_queued;
	uint64_t events;
};

/* One migration. Return: what went wrong, or NULL. */
static const char *simulate(uint64_t seed, const struct vferry_order_rule *rules,
			    size_t rule_count, bool bad_session, bool verbose,
			    struct tally *tally)
{
	static struct sim sim;
	struct sim *s = &sim;

	*s = (struct sim) { .seed = seed, .rng = { seed }, .verbose = verbose,
			    .bad_session = bad_session };
	draw(s);
	if (verbose)
		printf("seed %llu: %s, policy %s\n", (unsigned long long) seed, s->machine->name,
		       s->config.policy->name);
	for (int i = 0; i < PLANS; i++) {
		if (!make_exec(s, (enum which) i, rules, rule_count))
			wrong(s, "no plan");
	}
	if (!s->failure)
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
	for (int i = 0; i < PLANS; i++)
		s->exec[i].plan = vf_plan_free(s->exec[i].plan);
	if (tally) {
		tally->outcome[s->src.outcome]++;
		tally->restarts += s->restarts;
		for (int i = 0; i < VF_SRC_STATE__COUNT; i++)
			tally->src[i] += s->seen_src >> i & 1;
		for (int i = 0; i < VF_DST_STATE__COUNT; i++)
			tally->dst[i] += s->seen_dst >> i & 1;
		tally->events += s->total;
		if (s->most_queued > tally->most_queued)
			tally->most_queued = s->most_queued;
	}
	return s->failure;
}

static bool must_fail(const char *what, const struct vferry_order_rule *rules, size_t count,
		      bool bad_session)
{
	for (uint64_t seed = 1; seed <= 3000; seed++) {
		const char *failure = simulate(seed, rules, count, bad_session, false, NULL);

		if (failure) {
			printf("%s: seed %llu: %s\n", what, (unsigned long long) seed, failure);
			return true;
		}
	}
	printf("%s: nobody noticed\n", what);
	return false;
}

/* A simulation that never gets somewhere does not test that it is right there: false then. */
static bool print_tally(const struct tally *t)
{
	bool all = t->restarts;

	printf("ended as:");
	for (int i = VF_OUTCOME_DONE; i < VF_OUTCOME__COUNT; i++) {
		printf("  %s %u", vf_outcome_name((enum vf_outcome) i), t->outcome[i]);
		all &= i == VF_OUTCOME_UNKNOWN || t->outcome[i];
	}
	printf("\nsource was in:");
	for (int i = VF_SRC_SETUP; i < VF_SRC_STATE__COUNT; i++) {
		printf("  %s %u", vf_source_state_name((enum vf_source_state) i), t->src[i]);
		all &= t->src[i] > 0;
	}
	printf("\ndestination was in:");
	for (int i = VF_DST_SETUP; i < VF_DST_STATE__COUNT; i++) {
		printf("  %s %u", vf_destination_state_name((enum vf_destination_state) i),
		       t->dst[i]);
		all &= t->dst[i] > 0;
	}
	printf("\n%u devices restarted, %llu events, at most %zu queued\n", t->restarts,
	       (unsigned long long) t->events, t->most_queued);
	return all;
}

int main(int argc, char **argv)
{
	size_t rule_count, kept = 0;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	struct vferry_order_rule less[128];
	struct tally tally = { 0 };
	bool verbose = argc > 1 && !strcmp(argv[1], "-v");
	int at = 1 + verbose;
	uint64_t first = argc > at ? strtoull(argv[at], NULL, 0) : 1;
	uint64_t count = argc > at + 1 ? strtoull(argv[at + 1], NULL, 0) : argc > at ? 1 : 3000;

	for (uint64_t seed = first; seed < first + count; seed++) {
		const char *failure = simulate(seed, rules, rule_count, false, verbose, &tally);

		if (failure) {
			printf("seed %llu: %s\n(see it with: sim_migration -v %llu)\n",
			       (unsigned long long) seed, failure, (unsigned long long) seed);
			return 1;
		}
	}
	if (!print_tally(&tally) && argc == 1)
		return 1;
	if (argc > 1)
		return 0;
	for (size_t i = 0; i < rule_count; i++) {
		if (strcmp(rules[i].id, "load-irqchip-before-connect"))
			less[kept++] = rules[i];
	}
	if (kept + 1 != rule_count || !must_fail("a rule taken out", less, kept, false) ||
	    !must_fail("a source that resumes by itself", rules, rule_count, true))
		return 1;
	return 0;
}
