/* SPDX-License-Identifier: MIT */
/*
 * tables.c - prints the library's tables as Markdown, for scripts/docs, which puts them into docs/.
 *
 * The tables that decide (order rules, both sides' states, the hand-over) have one home, in
 * lib/engine; what the documents show is printed from there. So have what `vferry check` asserts, in check/, and
 * what `vferry probe` finds, in probe/.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vferry/order.h>

#include "base/checked.h"
#include "check/check.h"
#include "engine/destination.h"
#include "engine/handover.h"
#include "engine/source.h"
#include "probe/probe.h"
#include "sandbox/calls.h"
#include "sandbox/sandbox.h"

static const char *const phase_titles[VFERRY_PHASE__COUNT] = {
	[VFERRY_PHASE_SAVE] = "Saving",
	[VFERRY_PHASE_LOAD] = "Loading",
	[VFERRY_PHASE_UNDO] = "Undoing",
};

static unsigned count(uint64_t set)
{
	return (unsigned) __builtin_popcountll(set);
}

static uint64_t all_classes(enum vferry_phase phase)
{
	uint64_t all = 0;

	for (int n = 0; n < 64; n++)
		if (vferry_step_class_name((int) phase * 64 + n))
			all |= 1ull << n;
	return all;
}

static void print_names(enum vferry_phase phase, uint64_t set)
{
	const char *between = "";

	for (int n = 0; n < 64; n++) {
		if (!(set & 1ull << n))
			continue;
		printf("%s`%s`", between, vferry_step_class_name((int) phase * 64 + n));
		between = ", ";
	}
}

/* A set that holds nearly everything is easier to read by what it leaves out. */
static void print_set(enum vferry_phase phase, uint64_t set)
{
	uint64_t rest = all_classes(phase) & ~set;

	set &= all_classes(phase);
	if (count(set) <= 8 || count(rest) >= count(set)) {
		print_names(phase, set);
		return;
	}
	printf("everything but ");
	print_names(phase, rest);
}

static void print_rule(const struct vferry_order_rule *rule)
{
	printf("| `%s` | ", rule->id);
	print_set(rule->phase, rule->first);
	printf(" | %s", rule->kind == VFERRY_RULE_BEFORE ? "before" : "never with");
	if (rule->scope == VFERRY_SCOPE_DEVICE)
		printf(", same device");
	else if (rule->scope == VFERRY_SCOPE_COMPONENT)
		printf(", same component");
	printf(" | ");
	print_set(rule->phase, rule->then);
	printf("%s | %s | %s |\n", rule->required ? " (needed)" : "", rule->because, rule->source);
}

static int print_order(void)
{
	size_t rules;
	const struct vferry_order_rule *table = vferry_order_rules(&rules);

	for (int phase = 0; phase < VFERRY_PHASE__COUNT; phase++) {
		printf("%s### %s\n\n", phase ? "\n" : "", phase_titles[phase]);
		printf("| rule | first | | then | because | source |\n|---|---|---|---|---|---|\n");
		for (size_t i = 0; i < rules; i++)
			if (table[i].phase == (enum vferry_phase) phase)
				print_rule(&table[i]);
	}
	return 0;
}

/* "a b" becomes "a, b"; blanks at the end are dropped. */
static void print_words(char *words)
{
	const char *between = "";
	char *word, *rest;

	for (word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		printf("%s%s", between, word);
		between = ", ";
	}
}

/* "state + EVENT -> next next ..." of each line becomes a row. */
static int print_table(int (*text_of)(char *to, size_t size))
{
	int size = text_of(NULL, 0);
	char *text, *line, *rest;

	if (size < 0)
		return 1;
	text = malloc((size_t) size + 1);
	if (!text)
		return 1;
	(void) text_of(text, (size_t) size + 1);
	printf("| state | event | may go to |\n|---|---|---|\n");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *event = strstr(line, " + ");
		char *next = event ? strstr(event, " -> ") : NULL;

		if (!next) {
			free(text);
			return 1;
		}
		*event = *next = '\0';
		printf("| ");
		print_words(line);
		printf(" | %s | ", event + 3);
		print_words(next + 4);
		printf(" |\n");
	}
	free(text);
	return 0;
}

static int print_source(void)
{
	return print_table(vf_source_table_text);
}

static int print_destination(void)
{
	return print_table(vf_destination_table_text);
}

static int print_handover(void)
{
	size_t rows;
	const struct vf_handover_rule *table = vf_handover_rules(&rows);

	printf("| side | state | on | becomes | sends | may run |\n|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < rows; i++)
		printf("| %s | %s | %s | %s | %s | %s |\n",
		       table[i].from < VF_HO_DST_LOADING ? "source" : "destination",
		       vf_handover_state_name(table[i].from), vf_handover_input_name(table[i].on),
		       vf_handover_state_name(table[i].to),
		       table[i].send == VF_HO_NOTHING ? "" : vf_handover_input_name(table[i].send),
		       vf_handover_may_run(table[i].to) ? "yes" : "no");
	return 0;
}

static const char *role_text(unsigned roles)
{
	if (roles == SANDBOX_SANITIZER)
		return "builds with sanitizers";
	if (roles == SANDBOX_KVM)
		return "run, with KVM";
	if (roles == SANDBOX_VFIO)
		return "run, with kernel devices";
	return roles == SANDBOX_MACHINE ? "run" : roles == SANDBOX_DEVICE ? "device" : "run, device";
}

static int print_sandbox(void)
{
	size_t rows;
	const struct sandbox_call *table = sandbox_calls(&rows);

	printf("| who | system calls | only | for |\n|---|---|---|---|\n");
	for (size_t i = 0; i < rows; i++)
		printf("| %s | %s | %s | %s |\n", role_text(table[i].roles), table[i].names,
		       sandbox_rule_text(table[i].rule), table[i].why);
	return 0;
}

static int print_conformance(void)
{
	const struct check_group *group;

	for (size_t g = 0; (group = check_group(g)) != NULL; g++) {
		printf("%s### %s\n\n%s\n\n| id | what must hold | from |\n|---|---|---|\n", g ? "\n" : "",
		       group->name, group->about);
		for (size_t i = 0; i < group->count; i++)
			printf("| `%s` | %s | %s |\n", group->assertions[i].id,
			       group->assertions[i].sentence, group->assertions[i].source);
	}
	return 0;
}

static int print_probe(void)
{
	size_t count;
	const struct probe_rule *rules = probe_rules(&count);

	printf("| finding | weight | when |\n|---|---|---|\n");
	for (size_t i = 0; i < count; i++)
		printf("| `%s` | %s | %s |\n", rules[i].id, probe_weight_name(rules[i].weight),
		       rules[i].when);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*print)(void);
	} tables[] = {
		{ "order", print_order },
		{ "source", print_source },
		{ "destination", print_destination },
		{ "handover", print_handover },
		{ "sandbox", print_sandbox },
		{ "conformance", print_conformance },
		{ "probe", print_probe },
	};

	for (size_t i = 0; argc == 2 && i < VF_ARRAY_COUNT(tables); i++)
		if (!strcmp(argv[1], tables[i].name))
			return tables[i].print();
	(void) fprintf(stderr, "usage: tables order|source|destination|handover|sandbox|conformance|probe\n");
	return 1;
}
