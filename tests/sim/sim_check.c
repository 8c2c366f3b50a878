/* SPDX-License-Identifier: MIT */
/* sim_check.c - what must hold after each event, and at the end of a run. */
#include <string.h>

#include "sim.h"

static bool runs(const struct sim *s, enum side side)
{
	bool any = s->vcpus[side];

	for (int i = 0; i < s->machine->devices; i++)
		any |= s->device[side][i].running;
	return any;
}

void check(struct sim *s)
{
	bool src_runs = runs(s, SOURCE), dst_runs = runs(s, DESTINATION);
	bool dst_lives = s->dst_alive && !s->dst_keeper;
	int owners = (s->src_alive && vf_handover_may_run(s->src.handover)) +
		     (dst_lives && vf_handover_may_run(s->dst.handover));

	if (owners > 1)
		wrong(s, "both sides own the machine");
	if (src_runs && dst_runs)
		wrong(s, "both sides run");
	if (dst_runs && (!dst_lives || !vf_handover_may_run(s->dst.handover)))
		wrong(s, "the destination runs what is not its own");
	if (src_runs && (!s->src_alive || !vf_handover_may_run(s->src.handover)))
		wrong(s, "the source runs what it gave away");
	if (s->committed && src_runs && !s->may_resume)
		wrong(s, "the source runs after COMMIT");
	if (dst_runs && s->has_record_dir && s->record != RECORD_RAN)
		wrong(s, "the destination runs without a record");
	if (dst_runs && !s->was_prepared)
		wrong(s, "the destination runs what was never compared");
	for (int i = 0; i < PLANS; i++) {
		/* What is thrown away anyway need not be in order to its end. */
		if (s->exec[i].world.failure && !s->exec[i].failed && !s->exec[i].aborted)
			wrong(s, s->exec[i].world.failure);
	}
}

/* Before COMMIT, and after the word that it comes back: all of it runs, as it did before. */
static void check_source_runs(struct sim *s)
{
	if (!s->vcpus[SOURCE])
		wrong(s, "failed before COMMIT, and the source does not run");
	for (int i = 0; i < s->machine->devices; i++) {
		if (!s->device[SOURCE][i].running)
			wrong(s, "a device of the source does not run any more");
	}
	if (vf_ram_tracking(s->ram[SOURCE]))
		wrong(s, "dirty tracking stays on");
	if (s->throttle)
		wrong(s, "the guest stays throttled");
}

/* Without any trouble it ends well, or its policy had a reason. */
static void check_reason(struct sim *s)
{
	static const char *const policy[] = { "will-not-fit", "timeout", "pause-budget" };

	for (int i = 0; i < FAULT__COUNT; i++) {
		if (s->count[i] && i != FAULT_RESET && i != FAULT_REINIT && i != FAULT_DIRTY_SOURCE)
			return;
	}
	if (s->person_tries || s->src.outcome == VF_OUTCOME_DONE ||
	    s->src.outcome == VF_OUTCOME_CHECKED)
		return;
	for (size_t i = 0; i < VF_ARRAY_COUNT(policy); i++) {
		if (!strcmp(s->src.error.id, policy[i]))
			return;
	}
	say(s, "why: %s: %s", s->src.error.id, s->src.error.message);
	wrong(s, "it failed, and nothing had gone wrong");
}

static void check_source_end(struct sim *s)
{
	if (!s->finished)
		wrong(s, "it never finished");
	if (s->src_over) {
		check_source_runs(s);
		return;
	}
	switch (s->src.outcome) {
	case VF_OUTCOME_CHECKED:
	case VF_OUTCOME_REFUSED:
	case VF_OUTCOME_FAILED:
	case VF_OUTCOME_CANCELLED:
		check_source_runs(s);
		break;
	case VF_OUTCOME_DONE:
		if (s->dst_alive && !s->dst_keeper && !runs(s, DESTINATION) &&
		    s->dst.outcome != VF_OUTCOME_LOST)
			wrong(s, "done, and nobody runs it");
		break;
	case VF_OUTCOME_LOST:
		break;
	default:
		wrong(s, "no outcome at the end");
	}
	check_reason(s);
}

static void check_destination_end(struct sim *s)
{
	if (!s->dst_alive || s->dst_keeper)
		return;
	/* Never greeted: it still waits for a source. */
	if (s->dst.state != VF_DST_ENDED && (s->bound || s->dst.state != VF_DST_SETUP))
		wrong(s, "the destination waits for what never comes");
	/* Nobody told it to give up, and it could: so it has the machine now. */
	if (!s->src_alive && s->was_prepared && s->dst.handover != VF_HO_DST_RUNS &&
	    s->dst.handover != VF_HO_DST_LOST && !s->dst_told && !s->receive_failed &&
	    !s->count[FAULT_RECORD] && !s->count[FAULT_CANCEL_DESTINATION])
		wrong(s, "the source died, the destination was prepared, and nobody runs it");
}

void check_end(struct sim *s)
{
	if (s->src_alive)
		check_source_end(s);
	check_destination_end(s);
}
