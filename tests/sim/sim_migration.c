/* SPDX-License-Identifier: MIT */
/*
 * sim_migration.c - whole migrations in virtual time: many runs, and what they reached.
 *
 *   sim_migration [-v] [-m N] [SEED [COUNT]]
 *
 * Without arguments: a few thousand seeds; runs in which each allocation in turn fails; and the
 * proof that the checks can fail, by rules taken out and mistakes put in. All outcomes, states and
 * kinds of trouble must have been reached. A seed that fails is printed, and runs to the same
 * failure again; -v shows it. -m: without other trouble the allocation of number N fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"
#include "wire/frame.h"

#define SEEDS 5000
#define SEEDS_ENOUGH 500	/* so many reach everything */
#define SEEDS_FOR_MISTAKE 3000
#define PROGRESS_SECONDS 10

struct tally {
	uint64_t runs, events;
	unsigned outcome[VF_OUTCOME__COUNT];
	unsigned src[VF_SRC_STATE__COUNT], dst[VF_DST_STATE__COUNT];
	unsigned fault[FAULT__COUNT];
	uint64_t handover, frames[2], failed_classes[PLANS], tried_classes[PLANS];
	uint64_t src_events[VF_SRC_STATE__COUNT], dst_events[VF_DST_STATE__COUNT];
	uint64_t pages_sent, pages_compared, device_bytes;
	size_t most_queued;
};

static void add(struct tally *t, const struct sim *s)
{
	t->runs++;
	t->events += s->total;
	t->outcome[s->src.outcome]++;
	t->handover |= s->seen_handover;
	for (int i = 0; i < VF_SRC_STATE__COUNT; i++) {
		t->src[i] += s->seen_src >> i & 1;
		t->src_events[i] |= s->seen_src_events[i];
	}
	for (int i = 0; i < VF_DST_STATE__COUNT; i++) {
		t->dst[i] += s->seen_dst >> i & 1;
		t->dst_events[i] |= s->seen_dst_events[i];
	}
	for (int i = 0; i < FAULT__COUNT; i++)
		t->fault[i] += s->count[i] != 0;
	for (int i = 0; i < PLANS; i++) {
		t->failed_classes[i] |= s->failed_classes[i];
		for (size_t k = 0; k < s->exec[i].step_count; k++)
			t->tried_classes[i] |= vf_class_bit(s->exec[i].steps[k].step_class);
	}
	t->frames[SOURCE] |= s->seen_frames[SOURCE];
	t->frames[DESTINATION] |= s->seen_frames[DESTINATION];
	t->pages_sent += s->pages_normal;
	t->pages_compared += s->pages_compared;
	t->device_bytes += s->device_bytes;
	if (s->most_queued > t->most_queued)
		t->most_queued = s->most_queued;
}

/* ---- what was reached ---- */

static bool missing(const char *what, const char *name)
{
	printf("NEVER REACHED: %s %s\n", what, name ? name : "?");
	return false;
}

static bool print_states(const struct tally *t)
{
	bool all = true;

	printf("ended as:");
	for (int i = VF_OUTCOME_DONE; i < VF_OUTCOME__COUNT; i++)
		printf("  %s %u", vf_outcome_name((enum vf_outcome) i), t->outcome[i]);
	printf("\nsource was in:");
	for (int i = VF_SRC_SETUP; i < VF_SRC_STATE__COUNT; i++)
		printf("  %s %u", vf_source_state_name((enum vf_source_state) i), t->src[i]);
	printf("\ndestination was in:");
	for (int i = VF_DST_SETUP; i < VF_DST_STATE__COUNT; i++)
		printf("  %s %u", vf_destination_state_name((enum vf_destination_state) i),
		       t->dst[i]);
	printf("\n");
	for (int i = VF_OUTCOME_DONE; i < VF_OUTCOME__COUNT; i++)
		if (!t->outcome[i] && i != VF_OUTCOME_UNKNOWN)	/* nobody leaves it at that */
			all = missing("outcome", vf_outcome_name((enum vf_outcome) i));
	for (int i = VF_SRC_SETUP; i < VF_SRC_STATE__COUNT; i++)
		if (!t->src[i])
			all = missing("source", vf_source_state_name((enum vf_source_state) i));
	for (int i = VF_DST_SETUP; i < VF_DST_STATE__COUNT; i++)
		if (!t->dst[i])
			all = missing("destination",
				      vf_destination_state_name((enum vf_destination_state) i));
	for (int i = 0; i < 64; i++) {
		const char *name = vf_handover_state_name((enum vf_handover_state) i);

		/* A destination whose session ends in order, and then its process, is not here. */
		if (name && i != VF_HO_DST_LEFT && !(t->handover >> i & 1))
			all = missing("hand-over", name);
	}
	return all;
}

static bool print_faults(const struct tally *t)
{
	bool all = true;

	printf("runs with:");
	for (int i = 0; i < FAULT__COUNT; i++)
		printf("%s  %s %u", i && i % 9 == 0 ? "\n          " : "",
		       fault_name((enum fault) i), t->fault[i]);
	printf("\n");
	for (int i = 0; i < FAULT__COUNT; i++)
		if (!t->fault[i])
			all = missing("fault", fault_name((enum fault) i));
	return all;
}

/* Every step of every kind of machine failed once, every frame was sent. */
static bool print_classes(const struct tally *t)
{
	uint64_t never[PLANS] = {
		[LOAD] = vf_class_bit(VFERRY_LOAD_PREPARED) | vf_class_bit(VFERRY_LOAD_COMMIT),
		[UNDO] = vf_class_bit(VFERRY_UNDO_VCPU_RUN),
	};
	static const char *const phases[PLANS] = { "failing to save", "failing to load",
						   "failing to undo" };
	unsigned failed = 0, tried = 0, rows = 0, frames = 0;
	bool all = true;

	for (int i = 0; i < PLANS; i++) {
		uint64_t left = t->tried_classes[i] & ~t->failed_classes[i] & ~never[i];

		failed += (unsigned) __builtin_popcountll(t->failed_classes[i]);
		tried += (unsigned) __builtin_popcountll(t->tried_classes[i] & ~never[i]);
		for (int n = 0; n < 64; n++)
			if (left >> n & 1)
				all = missing(phases[i], vferry_step_class_name(i * 64 + n));
	}
	for (int i = 0; i < VF_SRC_STATE__COUNT; i++)
		rows += (unsigned) __builtin_popcountll(t->src_events[i]);
	for (int i = 0; i < VF_DST_STATE__COUNT; i++)
		rows += (unsigned) __builtin_popcountll(t->dst_events[i]);
	for (uint16_t i = 1; i < 64; i++) {
		const char *name = vf_frame_type_name(i);

		if (!name || i == VF_FRAME_KEEPALIVE)
			continue;
		if ((t->frames[SOURCE] | t->frames[DESTINATION]) >> i & 1)
			frames++;
		else
			all = missing("frame", name);
	}
	printf("%u of %u kinds of steps failed, %u kinds of frames, %u pairs of state and event\n",
	       failed, tried, frames, rows);
	return all;
}

/* A simulation that never gets somewhere does not test that it is right there: false then. */
static bool print_tally(const struct tally *t)
{
	bool all = print_states(t);

	all &= print_faults(t);
	all &= print_classes(t);
	printf("%llu runs, %llu events, at most %zu queued; %llu pages sent; compared before the "
	       "destination may run: %llu pages, %llu bytes of device state\n",
	       (unsigned long long) t->runs, (unsigned long long) t->events, t->most_queued,
	       (unsigned long long) t->pages_sent, (unsigned long long) t->pages_compared,
	       (unsigned long long) t->device_bytes);
	return all && t->pages_compared && t->device_bytes;
}

/* ---- runs ---- */

static struct sim sim;	/* large; used again and again */

static const char *run(struct sim settings, const struct vferry_order_rule *rules, size_t rule_count)
{
	sim = settings;
	return simulate(&sim, rules, rule_count);
}

static bool run_seeds(uint64_t first, uint64_t count, const struct sim *settings,
		      struct tally *tally)
{
	size_t rule_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	time_t told = time(NULL);

	for (uint64_t seed = first; seed < first + count; seed++) {
		const char *failure = run((struct sim) {
			.seed = seed, .verbose = settings->verbose,
			.quiet_world = settings->quiet_world, .force_memory = settings->force_memory,
		}, rules, rule_count);

		add(tally, &sim);
		if (failure) {
			printf("seed %llu: %s\n(see it with: sim_migration -v %llu)\n",
			       (unsigned long long) seed, failure, (unsigned long long) seed);
			return false;
		}
		if (count > SEEDS && time(NULL) >= told + PROGRESS_SECONDS) {
			told = time(NULL);
			printf("%llu of %llu seeds\n", (unsigned long long) (seed - first + 1),
			       (unsigned long long) count);
			(void) fflush(stdout);
		}
	}
	return true;
}

/* Does the seed give a whole migration of this machine, if nothing goes wrong? */
static bool is_whole(uint64_t seed, const struct world_machine *machine)
{
	size_t rule_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);

	return !run((struct sim) { .seed = seed, .quiet_world = true }, rules, rule_count) &&
	       sim.machine == machine && sim.src.outcome == VF_OUTCOME_DONE;
}

/* The first allocation of a run fails, then the second, and so on until there is none left. */
static bool run_out_of_memory(const struct world_machine *machine)
{
	size_t rule_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	unsigned side[2] = { 0 };
	uint64_t seed = 1, n;

	while (!is_whole(seed, machine))
		seed++;
	for (n = 1; ; n++) {
		const char *failure = run((struct sim) { .seed = seed, .quiet_world = true,
							 .force_memory = n }, rules, rule_count);

		if (failure) {
			printf("seed %llu, allocation %llu fails: %s\n"
			       "(see it with: sim_migration -v -m %llu %llu)\n",
			       (unsigned long long) seed, (unsigned long long) n, failure,
			       (unsigned long long) n, (unsigned long long) seed);
			return false;
		}
		side[SOURCE] += sim.count[FAULT_SOURCE_MEMORY];
		side[DESTINATION] += sim.count[FAULT_DESTINATION_MEMORY];
		if (!sim.count[FAULT_SOURCE_MEMORY] && !sim.count[FAULT_DESTINATION_MEMORY])
			break;
	}
	printf("%s: each of %u allocations of the source and %u of the destination failed once\n",
	       machine->name, side[SOURCE], side[DESTINATION]);
	return side[SOURCE] && side[DESTINATION];
}

/* ---- the checks can fail ---- */

static bool is_noticed(const char *what, const char *text, enum mutation mutation,
		       const struct vferry_order_rule *rules, size_t count)
{
	for (uint64_t seed = 1; seed <= SEEDS_FOR_MISTAKE; seed++) {
		const char *failure = run((struct sim) { .seed = seed, .mutation = mutation }, rules,
					  count);

		if (failure && !strcmp(failure, text)) {
			printf("%s: seed %llu: %s\n", what, (unsigned long long) seed, failure);
			return true;
		}
	}
	printf("%s: NOBODY NOTICED\n", what);
	return false;
}

static bool mistakes_are_noticed(void)
{
	static const struct {
		enum mutation mutation;
		const char *what, *text;
	} mistakes[] = {
		{ MUTATION_RESUMES, "a source that resumes by itself",
		  "the source runs what it gave away" },
		{ MUTATION_TAKES_LATE, "a page dirtied after it was read is not sent again",
		  "a page of the destination is not the source's" },
		{ MUTATION_OVERTAKES, "an older copy of a page overtakes a newer on another channel",
		  "a page of the destination is not the source's" },
		{ MUTATION_FORGETS_LOG, "the last report of a device's DMA is not asked for",
		  "a page of the destination is not the source's" },
		{ MUTATION_ZERO_LOST, "a page that became zero is not sent",
		  "a page of the destination is not the source's" },
		{ MUTATION_DROPS_CHUNK, "a chunk of device state is dropped",
		  "a device's state on the destination is not the source's" },
		{ MUTATION_KEEPS_STATE, "a device that was reset keeps its older state",
		  "a device's state on the destination is not the source's" },
		{ MUTATION_OLD_SECTION, "a register is saved before its last change",
		  "a component of the destination is not as the source's" },
	};
	size_t rule_count, kept = 0;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	struct vferry_order_rule less[128];
	bool all = true;

	for (size_t i = 0; i < rule_count; i++) {
		if (strcmp(rules[i].id, "load-irqchip-before-connect"))
			less[kept++] = rules[i];
	}
	all &= kept + 1 == rule_count;
	all &= is_noticed("a rule taken out", "the ITS is not there: software for ever",
			  MUTATION_NONE, less, kept);
	for (size_t i = 0; i < VF_ARRAY_COUNT(mistakes); i++)
		all &= is_noticed(mistakes[i].what, mistakes[i].text, mistakes[i].mutation, rules,
				  rule_count);
	return all;
}

int main(int argc, char **argv)
{
	static struct tally tally;
	const struct world_machine *machines;
	size_t machine_count;
	static struct sim settings;
	uint64_t first, count;
	int option, at;

	while ((option = getopt(argc, argv, "vm:")) != -1) {
		if (option == 'v') {
			settings.verbose = true;
		} else if (option == 'm') {
			settings.quiet_world = true;
			settings.force_memory = strtoull(optarg, NULL, 0);
		} else {
			return 2;
		}
	}
	at = optind;
	first = argc > at ? strtoull(argv[at], NULL, 0) : 1;
	count = argc > at + 1 ? strtoull(argv[at + 1], NULL, 0) : argc > at ? 1 : SEEDS;

	if (!run_seeds(first, count, &settings, &tally))
		return 1;
	if (count < SEEDS_ENOUGH)
		return 0;
	if (!print_tally(&tally))
		return 1;
	if (argc > 1)
		return 0;
	machines = world_machines(&machine_count);
	for (size_t i = 0; i < machine_count; i++) {
		if (!run_out_of_memory(&machines[i]))
			return 1;
	}
	return mistakes_are_noticed() ? 0 : 1;
}
