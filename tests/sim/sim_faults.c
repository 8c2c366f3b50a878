/* SPDX-License-Identifier: MIT */
/* sim_faults.c - what goes wrong in a run, when; and people who look after what is left of it. */
#include <string.h>

#include "sim.h"
#include "wire/frame.h"

const char *fault_name(enum fault kind)
{
	static const char *const names[FAULT__COUNT] = {
		[FAULT_CUT] = "link cut",
		[FAULT_FRAMES_LOST] = "frames lost",
		[FAULT_FRAME_TORN] = "frame torn",
		[FAULT_HALF_OPEN] = "half open",
		[FAULT_STALL] = "stall",
		[FAULT_DAMAGE] = "damage",
		[FAULT_CANCEL] = "cancel",
		[FAULT_CANCEL_DESTINATION] = "cancel over there",
		[FAULT_CRASH_SOURCE] = "source dies",
		[FAULT_CRASH_DESTINATION] = "destination dies",
		[FAULT_RESTART] = "destination comes back",
		[FAULT_FENCE_SOURCE] = "source fenced",
		[FAULT_FENCE_DESTINATION] = "destination fenced",
		[FAULT_SAVE_STEP] = "save step",
		[FAULT_LOAD_STEP] = "load step",
		[FAULT_RUN_STEP] = "step after COMMIT",
		[FAULT_UNDO_STEP] = "undo step",
		[FAULT_PRECOPY] = "device in pre-copy",
		[FAULT_DIRTY_SOURCE] = "dirty log",
		[FAULT_RESET] = "device reset",
		[FAULT_REINIT] = "new initial bytes",
		[FAULT_HOOK] = "hook",
		[FAULT_RECORD] = "record",
		[FAULT_REFUSE] = "refusal",
		[FAULT_SOURCE_MEMORY] = "source out of memory",
		[FAULT_DESTINATION_MEMORY] = "destination out of memory",
	};

	return names[kind];
}

/* ---- drawn from the seed ---- */

static uint64_t maybe(struct sim *s, unsigned percent, uint64_t most_ns)
{
	return rng_percent(&s->rng, percent) ? some(s, 1, most_ns) : 0;
}

static void draw_machine(struct sim *s)
{
	size_t machine_count, policy_count;
	const struct world_machine *machines = world_machines(&machine_count);
	const struct vf_policy *policies = vf_policies(&policy_count);
	uint64_t pages_per_second;

	s->machine = &machines[rng_below(&s->rng, machine_count)];
	s->rate = some(s, 1, 16) * VF_MIB;
	pages_per_second = s->rate / VF_PAGE_BYTES;
	s->writes_per_second = rng_percent(&s->rng, 80) ? pages_per_second / some(s, 4, 50) :
							  pages_per_second * 2;
	s->delay_ns = some(s, MS / 100, 5 * MS);
	s->stall_timeout_ns = some(s, 50, 400) * MS;
	s->verify = rng_percent(&s->rng, 30);
	s->has_record_dir = rng_percent(&s->rng, 80);
	s->credit_bytes = some(s, 8, 128) * RECORD_BYTES;
	for (size_t i = 0; i < sizeof(s->id); i++)
		s->id[i] = (uint8_t) rng_next(&s->rng);
	s->config = (struct vf_source_config) {
		.policy = &policies[rng_below(&s->rng, policy_count)],
		.max_downtime_ns = some(s, 30, 300) * MS,
		.pause_budget_ns = rng_percent(&s->rng, 30) ? some(s, 20, 500) * MS : 0,
		.timeout_ns = some(s, 80, 800) * MS,
		.answer_timeout_ns = rng_percent(&s->rng, 30) ? some(s, 1, 30) * MS : 0,
		.check = rng_percent(&s->rng, 3),
		.hold = rng_percent(&s->rng, 15),
	};
	for (int i = 0; i < VF_HOOK__COUNT; i++)
		s->config.hooks[i] = rng_percent(&s->rng, 30);
}

/* Trouble at the moment a side comes to a state, or says something; or a little later. */
static void draw_trap(struct sim *s, struct trap *trap)
{
	static const enum kind kinds[] = { EV_CUT, EV_CUT, EV_STALL, EV_SRC, EV_CRASH_DST,
					   EV_CRASH_SRC, EV_CRASH_DST, EV_DST };
	static const uint16_t from_source[] = {
		VF_FRAME_HELLO, VF_FRAME_MACHINE, VF_FRAME_PAGES, VF_FRAME_ROUND_END,
		VF_FRAME_SECTION, VF_FRAME_STREAM_DATA, VF_FRAME_STREAM_MARK,
		VF_FRAME_STREAM_RESTART, VF_FRAME_SWITCHOVER, VF_FRAME_MANIFEST, VF_FRAME_COMMIT,
		VF_FRAME_COMMIT, VF_FRAME_CANCEL,
	};
	static const uint16_t from_destination[] = {
		VF_FRAME_HELLO, VF_FRAME_ACCEPT, VF_FRAME_CREDIT, VF_FRAME_INITIAL_ACK,
		VF_FRAME_PREPARED, VF_FRAME_PREPARED, VF_FRAME_RUNNING, VF_FRAME_FAILED,
		VF_FRAME_RESOLVED,
	};
	bool source = rng_percent(&s->rng, 50);

	*trap = (struct trap) {
		.kind = kinds[rng_below(&s->rng, VF_ARRAY_COUNT(kinds))],
		.side = source ? SOURCE : DESTINATION,
		.delay_ns = some(s, 0, rng_percent(&s->rng, 50) ? MS / 10 : 3 * s->delay_ns),
	};
	trap->state = (uint32_t) rng_below(&s->rng, source ? VF_SRC_STATE__COUNT :
							   VF_DST_STATE__COUNT);
	if (rng_percent(&s->rng, 50))
		trap->frame = source ? from_source[rng_below(&s->rng, VF_ARRAY_COUNT(from_source))] :
				       from_destination[rng_below(&s->rng,
							VF_ARRAY_COUNT(from_destination))];
}

static void draw_faults(struct sim *s)
{
	static const uint64_t horizons[] = { 20 * MS, 100 * MS, 500 * MS };
	uint64_t horizon = horizons[rng_below(&s->rng, VF_ARRAY_COUNT(horizons))];

	s->faults = (struct faults) {
		.cut_ns = maybe(s, 6, horizon), .stall_ns = maybe(s, 6, horizon),
		.cancel_ns = maybe(s, 6, horizon), .cancel_destination_ns = maybe(s, 3, horizon),
		.crash_source_ns = maybe(s, 3, horizon),
		.crash_destination_ns = maybe(s, 3, horizon),
		.reset_ns = maybe(s, 40, horizon),
		.hook_fails = rng_percent(&s->rng, 8), .record_fails = rng_percent(&s->rng, 8),
		.refuses = rng_percent(&s->rng, 2),
		.precopy_fails = rng_percent(&s->rng, 4) ? 30 : 0,
		.dirty_fails = rng_percent(&s->rng, 10) ? 200 : 0,
		.damage = rng_percent(&s->rng, 4) ? (unsigned) some(s, 1, 100) : 0,
		.memory = rng_percent(&s->rng, 12) ? some(s, 1, 500) : 0,
		.memory_stays_out = rng_percent(&s->rng, 15),
		.more_cuts = (unsigned) rng_below(&s->rng, 4),
	};
	for (size_t i = 0; i < VF_ARRAY_COUNT(s->faults.traps); i++) {
		if (rng_percent(&s->rng, 25))
			draw_trap(s, &s->faults.traps[i]);
	}
	for (int i = 0; i < PLANS; i++)
		s->faults.step_fails[i] = rng_percent(&s->rng, 20) ? 20 : 0;
}

void draw(struct sim *s)
{
	draw_machine(s);
	if (!s->quiet_world)
		draw_faults(s);
	if (s->force_memory)
		s->faults.memory = s->force_memory;
}

void schedule_faults(struct sim *s)
{
	const struct faults *f = &s->faults;

	if (f->cut_ns)
		post(s, f->cut_ns, (struct event) { .kind = EV_CUT });
	if (f->stall_ns)
		post(s, f->stall_ns, (struct event) { .kind = EV_STALL });
	if (f->cancel_ns)
		post(s, f->cancel_ns, (struct event) { .kind = EV_SRC, .a = VF_SRC_CANCEL });
	if (f->cancel_destination_ns)
		post(s, f->cancel_destination_ns, (struct event) { .kind = EV_DST,
								   .a = VF_DST_CANCELLED });
	if (f->crash_source_ns)
		post(s, f->crash_source_ns, (struct event) { .kind = EV_CRASH_SRC });
	if (f->crash_destination_ns)
		post(s, f->crash_destination_ns, (struct event) { .kind = EV_CRASH_DST });
	if (f->reset_ns)
		post(s, f->reset_ns, (struct event) { .kind = EV_RESET_DEVICE });
}

/* ---- narrow places ---- */

static void spring(struct sim *s, struct trap *trap)
{
	post(s, trap->delay_ns, (struct event) {
		.kind = trap->kind,
		.a = trap->kind == EV_SRC ? VF_SRC_CANCEL :
		     trap->kind == EV_DST ? VF_DST_CANCELLED : 0,
	});
	trap->kind = 0;
}

void spring_state_traps(struct sim *s, enum side side, uint32_t state)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(s->faults.traps); i++) {
		struct trap *trap = &s->faults.traps[i];

		if (trap->kind && !trap->frame && trap->side == side && trap->state == state)
			spring(s, trap);
	}
}

void spring_frame_traps(struct sim *s, enum side side, uint16_t frame)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(s->faults.traps); i++) {
		struct trap *trap = &s->faults.traps[i];

		if (trap->kind && trap->frame == frame && trap->side == side)
			spring(s, trap);
	}
}

/* ---- the guest's doing ---- */

void reset_device(struct sim *s)
{
	unsigned device;

	if (!s->machine->devices || !s->vcpus[SOURCE] || s->finished)
		return;
	device = (unsigned) rng_below(&s->rng, (uint64_t) s->machine->devices);
	if (!s->device[SOURCE][device].running)
		return;
	if (rng_percent(&s->rng, 30)) {
		fault(s, FAULT_REINIT);
		s->device[SOURCE][device].reinit = true;
	} else {
		fault(s, FAULT_RESET);
		guest_reset_device(s, device);
	}
	if (s->count[FAULT_RESET] + s->count[FAULT_REINIT] < 30)
		post(s, some(s, 5 * MS, 200 * MS), (struct event) { .kind = EV_RESET_DEVICE });
}

/* ---- people ---- */

/* The word must be true: who is fenced off is gone. */
static void fence_destination(struct sim *s)
{
	fault(s, FAULT_FENCE_DESTINATION);
	s->destination_fenced = true;
	destination_crash(s);
	s->may_resume = true;
	SRC(s, FENCED, .ran = false);
}

/* The source's outcome is unknown: ask; if that does not help, fence one side off and say so. */
void person(struct sim *s)
{
	if (s->src.state != VF_SRC_UNKNOWN)
		return;
	if (s->person_tries++ < 6) {
		SRC(s, ASK);
		if (s->faults.more_cuts && s->connections > 1) {
			s->faults.more_cuts--;
			post(s, some(s, 1, 5 * s->delay_ns), (struct event) {
				.kind = EV_CUT, .a = s->connections - 1 });
		}
		post(s, 200 * MS, (struct event) { .kind = EV_PERSON });
		return;
	}
	/* Only while the other side can still take it over, or has. */
	if (s->dst_alive && !s->dst_keeper && !s->discarded && rng_percent(&s->rng, 30))
		SRC(s, FENCED, .ran = true);
	else
		fence_destination(s);
}

/* The destination has promised, and hears nothing more. */
void heir(struct sim *s)
{
	bool source_gone = !s->src_alive || s->src.handover == VF_HO_SRC_GAVE;

	if (s->dst.state != VF_DST_HOLDING)
		return;
	if (!source_gone && s->src.state != VF_SRC_ENDED) {
		post(s, some(s, 100 * MS, 500 * MS), (struct event) { .kind = EV_HEIR });
	} else if (source_gone && rng_percent(&s->rng, 80)) {
		fault(s, FAULT_FENCE_SOURCE);
		DST(s, FENCED, .source_fenced = true);
	} else {
		s->dst_told = true;
		if (rng_percent(&s->rng, 50))
			DST(s, FENCED, .source_fenced = false);
		else
			DST(s, CANCELLED);
	}
}
