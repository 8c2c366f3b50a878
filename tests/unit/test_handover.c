/* SPDX-License-Identifier: MIT */
/*
 * test_handover.c - the hand-over table, explored to its last state.
 *
 * Both sides walk through the rows with two FIFO channels between them; at any moment the link may
 * be cut (each side hears of it when it likes), a new one made to ask, either side fenced (killed,
 * and the other told), a record fail. Every state that can be reached is looked at: at most one
 * side may run, and an end is always within reach. Tables with a row bent show that a bad one is
 * found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "engine/handover.h"

#define DEPTH 4			/* messages in one direction at most */
#define TABLE_BITS 20
#define MAX_ROWS 128

struct protocol {
	struct vf_handover_rule rows[MAX_ROWS];
	size_t count;
};

/* One state of the whole: packed into 64 bits as the key. */
struct both {
	uint8_t src, dst;		/* enum vf_handover_state; DEAD = fenced */
	uint8_t cut;			/* the link is gone */
	uint8_t src_knows, dst_knows;	/* that it is */
	uint8_t told;			/* the other side of a fenced one was told */
	uint8_t to_dst[DEPTH], to_src[DEPTH];
};
#define DEAD 30

struct search {
	const struct protocol *protocol;
	uint64_t *keys;			/* open addressing, 0 = free */
	uint32_t *index;		/* of each key in the queue */
	struct both *queue;
	int32_t *from;
	size_t head, tail;
	struct edge {
		uint32_t from, to;
	} *edges;			/* all steps but fencing */
	size_t edge_count;
	bool fencing;			/* the step being made is one */
	const char *failure;
	size_t failed_at;
};
#define MAX_EDGES (1u << TABLE_BITS)

static uint64_t key_of(const struct both *b)
{
	uint64_t key = 1;

	key = key << 5 | b->src;
	key = key << 5 | b->dst;
	key = key << 4 | (uint64_t) (b->cut | b->src_knows << 1 | b->dst_knows << 2 | b->told << 3);
	for (int i = 0; i < DEPTH; i++)
		key = key << 4 | b->to_dst[i];
	for (int i = 0; i < DEPTH; i++)
		key = key << 4 | b->to_src[i];
	return key;
}

static const struct vf_handover_rule *row_of(const struct protocol *p, uint8_t state,
					     enum vf_handover_input on)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->rows[i].from == state && p->rows[i].on == on)
			return &p->rows[i];
	}
	return NULL;
}

static bool may_run(uint8_t state)
{
	return state != DEAD && vf_handover_may_run((enum vf_handover_state) state);
}

static void visit(struct search *s, const struct both *b)
{
	uint64_t key = key_of(b), slot = key * 0x9e3779b97f4a7c15ull >> (64 - TABLE_BITS);

	while (s->keys[slot] && s->keys[slot] != key)
		slot = (slot + 1) & ((1u << TABLE_BITS) - 1);
	if (!s->fencing && s->tail) {
		assert_true(s->edge_count < MAX_EDGES);
		s->edges[s->edge_count++] = (struct edge) {
			(uint32_t) s->head, s->keys[slot] ? s->index[slot] : (uint32_t) s->tail,
		};
	}
	if (s->keys[slot])
		return;
	s->keys[slot] = key;
	s->index[slot] = (uint32_t) s->tail;
	assert_true(s->tail < 1u << (TABLE_BITS - 1));
	s->queue[s->tail] = *b;
	s->from[s->tail] = (int32_t) s->head;
	if (may_run(b->src) && may_run(b->dst) && !s->failure) {
		s->failure = "both sides may run";
		s->failed_at = s->tail;
	}
	s->tail++;
}

static bool push(uint8_t *channel, enum vf_handover_input message)
{
	for (int i = 0; i < DEPTH; i++) {
		if (!channel[i]) {
			channel[i] = (uint8_t) message;
			return true;
		}
	}
	return false;
}

/* One side takes @on. What it sends is lost if the link is. */
static bool apply(const struct search *s, struct both *b, bool source, enum vf_handover_input on)
{
	const struct vf_handover_rule *row = row_of(s->protocol, source ? b->src : b->dst, on);
	bool gone = b->cut;

	if (!row)
		return false;
	if (source)
		b->src = (uint8_t) row->to;
	else
		b->dst = (uint8_t) row->to;
	if (row->send == VF_HO_NOTHING || gone)
		return true;
	return push(source ? b->to_dst : b->to_src, row->send);
}

static void try_local(struct search *s, const struct both *b, bool source,
		      enum vf_handover_input on)
{
	struct both next = *b;

	if (apply(s, &next, source, on))
		visit(s, &next);
}

static void try_deliver(struct search *s, const struct both *b, bool source)
{
	struct both next = *b;
	uint8_t *channel = source ? next.to_src : next.to_dst;
	enum vf_handover_input message = (enum vf_handover_input) channel[0];

	if (!message || (source ? b->src_knows || b->src == DEAD : b->dst_knows || b->dst == DEAD))
		return;
	memmove(channel, channel + 1, DEPTH - 1);
	channel[DEPTH - 1] = 0;
	(void) apply(s, &next, source, message);	/* no row: ignored */
	visit(s, &next);
}

static void hear_cut(struct search *s, const struct both *b, bool source)
{
	struct both next = *b;

	(void) apply(s, &next, source, VF_HO_LINK_LOST);
	if (source) {
		next.src_knows = 1;
		memset(next.to_src, 0, DEPTH);
	} else {
		next.dst_knows = 1;
		memset(next.to_dst, 0, DEPTH);
	}
	visit(s, &next);
}

static void expand(struct search *s, const struct both *b)
{
	static const enum vf_handover_input source_local[] = {
		VF_HO_SAVED, VF_HO_ROLL_BACK,
	};
	static const enum vf_handover_input destination_local[] = {
		VF_HO_LOADED, VF_HO_LOAD_FAILED, VF_HO_RECORD_WRITTEN, VF_HO_RECORD_FAILED,
		VF_HO_RUN_DONE, VF_HO_RUN_FAILED, VF_HO_CANCEL,
	};
	struct both next;

	for (size_t i = 0; i < VF_ARRAY_COUNT(source_local); i++)
		try_local(s, b, true, source_local[i]);
	for (size_t i = 0; i < VF_ARRAY_COUNT(destination_local); i++) {
		/* It says RUNNING once; more would only fill the channel. */
		if (destination_local[i] == VF_HO_RUN_DONE && b->to_src[0] == VF_HO_RUNNING)
			continue;
		try_local(s, b, false, destination_local[i]);
	}
	try_deliver(s, b, true);
	try_deliver(s, b, false);
	if (!b->cut) {
		next = *b;
		next.cut = 1;
		visit(s, &next);
	} else {
		if (!b->src_knows && b->src != DEAD)
			hear_cut(s, b, true);
		if (!b->dst_knows && b->dst != DEAD)
			hear_cut(s, b, false);
	}
	/* A new link, made to ask. A destination that still believed in the old one hears of it. */
	if (b->cut && b->src_knows && b->dst != DEAD && b->src != DEAD && b->dst_knows &&
	    row_of(s->protocol, b->src, VF_HO_ASK)) {
		next = *b;
		next.cut = next.src_knows = next.dst_knows = 0;
		memset(next.to_src, 0, DEPTH);
		memset(next.to_dst, 0, DEPTH);
		if (apply(s, &next, true, VF_HO_ASK))
			visit(s, &next);
	}
	/* Fencing: one side is dead for certain, then the other is told. */
	s->fencing = true;
	if (b->src != DEAD && b->dst != DEAD) {
		next = *b;
		next.src = DEAD;
		next.cut = 1;
		visit(s, &next);
		next = *b;
		next.dst = DEAD;
		next.cut = 1;
		visit(s, &next);
	}
	s->fencing = false;
	if (b->src == DEAD && !b->told) {
		next = *b;
		next.told = 1;
		if (apply(s, &next, false, VF_HO_FENCED_SOURCE))
			visit(s, &next);
	}
	if (b->dst == DEAD && !b->told) {
		next = *b;
		next.told = 1;
		if (apply(s, &next, true, VF_HO_FENCED_DESTINATION))
			visit(s, &next);
	}
}

static bool is_end(const struct both *b)
{
	bool src_end = b->src == VF_HO_SRC_GAVE || b->src == VF_HO_SRC_KEPT || b->src == DEAD;
	bool dst_end = b->dst == VF_HO_DST_RUNS || b->dst == VF_HO_DST_LOST ||
		       b->dst == VF_HO_DST_ABORTED || b->dst == DEAD;

	/* A destination that holds on is an end only if the source kept the machine. */
	if (b->src == VF_HO_SRC_KEPT && b->dst == VF_HO_DST_HOLDING)
		return true;
	return src_end && dst_end;
}

/* From every state an end can be reached, without anybody being fenced on the way. */
static void check_ends(struct search *s)
{
	uint8_t *reaches = calloc(s->tail, 1);

	assert_non_null(reaches);
	for (size_t i = 0; i < s->tail; i++)
		reaches[i] = is_end(&s->queue[i]);
	for (bool more = true; more; ) {
		more = false;
		for (size_t i = 0; i < s->edge_count; i++) {
			const struct edge *e = &s->edges[i];

			if (reaches[e->to] && !reaches[e->from])
				reaches[e->from] = more = true;
		}
	}
	for (size_t i = 0; i < s->tail && !s->failure; i++) {
		if (!reaches[i]) {
			s->failure = "no end within reach";
			s->failed_at = i;
		}
	}
	free(reaches);
}

/* Explores everything. Return: what went wrong, or NULL. */
static const char *explore(const struct protocol *protocol, size_t *ret_states, bool print)
{
	struct search s = {
		.protocol = protocol,
		.keys = calloc(1u << TABLE_BITS, sizeof(*s.keys)),
		.index = calloc(1u << TABLE_BITS, sizeof(*s.index)),
		.queue = calloc(1u << (TABLE_BITS - 1), sizeof(*s.queue)),
		.from = calloc(1u << (TABLE_BITS - 1), sizeof(*s.from)),
		.edges = calloc(MAX_EDGES, sizeof(*s.edges)),
	};
	struct both start = { .src = VF_HO_SRC_OWNS, .dst = VF_HO_DST_LOADING };

	assert_true(s.keys && s.index && s.queue && s.from && s.edges);
	visit(&s, &start);
	while (s.head < s.tail && !s.failure) {
		struct both b = s.queue[s.head];

		expand(&s, &b);
		s.head++;
	}
	if (!s.failure)
		check_ends(&s);
	if (s.failure && print) {
		for (int32_t i = (int32_t) s.failed_at; ; i = s.from[i]) {
			const struct both *b = &s.queue[i];
			const char *src = b->src == DEAD ? "dead" :
				vf_handover_state_name((enum vf_handover_state) b->src);
			const char *dst = b->dst == DEAD ? "dead" :
				vf_handover_state_name((enum vf_handover_state) b->dst);

			print_message("  %-10s %-14s cut %d\n", src, dst, b->cut);
			if (!i)
				break;
		}
	}
	*ret_states = s.tail;
	free(s.keys);
	free(s.index);
	free(s.edges);
	free(s.queue);
	free(s.from);
	return s.failure;
}

static struct protocol the_table(void)
{
	struct protocol p;
	const struct vf_handover_rule *rules = vf_handover_rules(&p.count);

	assert_in_range(p.count, 1, MAX_ROWS - 1);
	memcpy(p.rows, rules, p.count * sizeof(*rules));
	return p;
}

static void at_most_one_runs(void **state)
{
	struct protocol p = the_table();
	size_t states;
	const char *failure = explore(&p, &states, true);

	(void) state;
	print_message("%zu states\n", states);
	assert_null(failure);
	assert_true(states > 500);
}

/* A row bent, or one too many: the search must find what is wrong with it. */
static void bad_tables_are_found(void **state)
{
	static const struct vf_handover_rule bad[] = {
		/* The source changes its mind after COMMIT. */
		{ VF_HO_SRC_COMMITTED, VF_HO_LINK_LOST, VF_HO_SRC_KEPT, VF_HO_NOTHING },
		{ VF_HO_SRC_COMMITTED, VF_HO_ROLL_BACK, VF_HO_SRC_KEPT, VF_HO_CANCEL },
		{ VF_HO_SRC_UNKNOWN, VF_HO_LINK_LOST, VF_HO_SRC_KEPT, VF_HO_NOTHING },
		/* The destination takes what it was not given. */
		{ VF_HO_DST_PREPARED, VF_HO_LINK_LOST, VF_HO_DST_RUNS, VF_HO_NOTHING },
		{ VF_HO_DST_LOADING, VF_HO_LOADED, VF_HO_DST_RUNS, VF_HO_PREPARED },
		/* The destination says `aborted` and keeps its copy. */
		{ VF_HO_DST_RECORD_RAN, VF_HO_RESOLVE, VF_HO_DST_RECORD_RAN, VF_HO_ABORTED },
		{ VF_HO_DST_RECORD_RAN, VF_HO_RECORD_FAILED, VF_HO_DST_RUNS, VF_HO_ABORTED },
		{ VF_HO_DST_RUNS, VF_HO_RESOLVE, VF_HO_DST_RUNS, VF_HO_ABORTED },
		/* Nobody ever learns what became of it. */
		{ VF_HO_SRC_UNKNOWN, VF_HO_ASK, VF_HO_SRC_UNKNOWN, VF_HO_NOTHING },
	};

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(bad); i++) {
		struct protocol p = the_table();
		bool replaced = false;
		size_t states;

		for (size_t k = 0; k < p.count; k++) {
			if (p.rows[k].from == bad[i].from && p.rows[k].on == bad[i].on) {
				p.rows[k] = bad[i];
				replaced = true;
			}
		}
		if (!replaced)
			p.rows[p.count++] = bad[i];
		if (!explore(&p, &states, false))
			fail_msg("bent row %zu: nothing was found in %zu states", i, states);
	}
}

static void table_is_well_formed(void **state)
{
	size_t count;
	const struct vf_handover_rule *rules = vf_handover_rules(&count);

	(void) state;
	for (size_t i = 0; i < count; i++) {
		assert_non_null(vf_handover_state_name(rules[i].from));
		assert_non_null(vf_handover_state_name(rules[i].to));
		assert_non_null(vf_handover_input_name(rules[i].on));
		/* Sides do not mix, and only messages are sent. */
		assert_int_equal(rules[i].from < 16, rules[i].to < 16);
		assert_true(rules[i].send < 16);
		assert_ptr_equal(vf_handover_step(rules[i].from, rules[i].on), &rules[i]);
	}
	assert_null(vf_handover_step(VF_HO_SRC_COMMITTED, VF_HO_ROLL_BACK));
	assert_null(vf_handover_state_name((enum vf_handover_state) 10));
	assert_null(vf_handover_input_name((enum vf_handover_input) 20));
	assert_true(vf_handover_may_roll_back(VF_HO_SRC_OFFERED));
	assert_false(vf_handover_may_roll_back(VF_HO_SRC_COMMITTED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_well_formed),
		cmocka_unit_test(at_most_one_runs),
		cmocka_unit_test(bad_tables_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
