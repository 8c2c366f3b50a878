/* SPDX-License-Identifier: MIT */
/*
 * sim_migration.c - whole migrations in virtual time.
 *
 * Both sides' state machines, their plans and the convergence policies are wired to a made-up link
 * (delay, several channels, cuts), a made-up guest (dirty rate, resets of its devices) and made-up
 * trouble (failing steps, hooks and records, crashes, a person who cancels). Everything follows
 * from the seed. After every event the invariants are checked; steps are judged by order_world.c.
 *
 * sim_migration [-v] [SEED [COUNT]]: without arguments a few thousand seeds, and then the proof
 * that the checks can fail: a rule is taken out, and a session that resumes when it must not is let
 * loose.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

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
			.delay_ns = some(s, 0, rng_percent(&s->rng, 50) ? MS / 10 :
								    3 * s->delay_ns),
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
