/* SPDX-License-Identifier: MIT */
/*
 * handover.h - who owns the machine: the core of both sides' state machines, as one table.
 *
 * Model: the source owns the machine until it sends COMMIT, the destination from the moment its
 * record `ran` is on disk. In between nobody runs it. A row of the table says: in this state, on
 * this input, go there and send that. What the table does not list is refused, so the table is the
 * protocol.
 *
 * Invariants: at most one side is in a state that may run. The source leaves COMMITTED or UNKNOWN
 * towards running only on ABORTED (the destination promises never to run) or when the destination
 * is known to be fenced. The destination runs only in RUNS, which is entered only after its record
 * was written. A process that finds the record of another runs nothing; what it answers is in the
 * record before it is said.
 *
 * docs/model/handover.pml holds the same rows, with everything that may happen around them, for a
 * model checker; a test compares the two. docs/handover.md explains both.
 *
 * Pure: no system calls, no clock, no threads.
 */
#ifndef VF_ENGINE_HANDOVER_H
#define VF_ENGINE_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vf_handover_state {
	/* Source. */
	VF_HO_SRC_OWNS = 0,		/* running, or being saved; may be rolled back */
	VF_HO_SRC_OFFERED = 1,		/* manifest sent, PREPARED awaited; may be rolled back */
	VF_HO_SRC_COMMITTED = 2,	/* COMMIT sent: given away, answer awaited */
	VF_HO_SRC_UNKNOWN = 3,		/* as above, and the link is lost */
	VF_HO_SRC_GAVE = 4,		/* the destination has it (end) */
	VF_HO_SRC_KEPT = 5,		/* rolled back: runs on here (end) */
	/* Destination. */
	VF_HO_DST_LOADING = 16,		/* nothing promised yet */
	VF_HO_DST_PREPARED = 17,	/* PREPARED sent, COMMIT awaited */
	VF_HO_DST_HOLDING = 18,		/* as above, and the link is lost: stays, answers RESOLVE */
	VF_HO_DST_RECORD_RAN = 19,	/* `ran` is being written */
	VF_HO_DST_RUNS = 20,		/* owns the machine */
	VF_HO_DST_RECORD_ABORTED = 21,	/* `aborted` is being written */
	VF_HO_DST_ABORTED = 22,		/* never runs (end, but answers) */
	VF_HO_DST_LOST = 23,		/* owned it, could not run it, or died (end, but answers) */
	/* A later process at the destination: what it finds in the record of an earlier one. */
	VF_HO_DST_FOUND = 24,		/* accepted, nothing decided; nobody has a copy any more */
	VF_HO_DST_CLOSING = 25,		/* ... and `aborted` is being written */
	VF_HO_DST_LEFT = 26,		/* ran, and its session ended in order (end, but answers) */
};

enum vf_handover_input {
	/* Messages. */
	VF_HO_NOTHING = 0,
	VF_HO_MANIFEST = 1,		/* source: everything was sent, and this is what it was */
	VF_HO_PREPARED = 2,		/* destination: validated, nothing may fail any more */
	VF_HO_COMMIT = 3,		/* source: it is yours */
	VF_HO_RUNNING = 4,		/* destination: it runs */
	VF_HO_RUN_FAILED_MSG = 5,	/* destination: it was mine, and it could not run */
	VF_HO_CANCEL = 6,		/* source: it stays here */
	VF_HO_RESOLVE = 7,		/* source: what became of it? */
	VF_HO_RAN = 8,			/* destination's answer */
	VF_HO_ABORTED = 9,		/* destination's answer: it will never run here */
	VF_HO_LOAD_FAILED_MSG = 10,	/* destination, before PREPARED: cannot be loaded */
	VF_HO_LOST = 11,		/* destination's answer: it was mine, and is no more */
	/* What happens on one side. */
	VF_HO_SAVED = 32,		/* source: save plan done */
	VF_HO_ROLL_BACK = 33,		/* source: cancel, or any failure before COMMIT */
	VF_HO_LOADED = 34,		/* destination: all before PREPARED, manifest agrees */
	VF_HO_LOAD_FAILED = 35,
	VF_HO_LINK_LOST = 36,
	VF_HO_ASK = 37,			/* source: a person wants to know the outcome */
	VF_HO_RECORD_WRITTEN = 38,
	VF_HO_RECORD_FAILED = 39,
	VF_HO_RUN_DONE = 40,
	VF_HO_RUN_FAILED = 41,
	VF_HO_FENCED_SOURCE = 42,	/* word from outside: the source cannot run any more */
	VF_HO_FENCED_DESTINATION = 43,
};

struct vf_handover_rule {
	enum vf_handover_state from;
	enum vf_handover_input on;
	enum vf_handover_state to;
	enum vf_handover_input send;	/* VF_HO_NOTHING, or a message; lost if the link is */
};

/** vf_handover_rules() - the table. Return: constant array. */
const struct vf_handover_rule *vf_handover_rules(size_t *ret_count);
/** vf_handover_step() - Return: the row, or NULL: @on has no place in @state. */
const struct vf_handover_rule *vf_handover_step(enum vf_handover_state state,
						enum vf_handover_input on);
/* May this side let vCPUs and devices run in this state? */
bool vf_handover_may_run(enum vf_handover_state state);
/* Can a roll-back still happen here (source)? */
bool vf_handover_may_roll_back(enum vf_handover_state state);
const char *vf_handover_state_name(enum vf_handover_state state);	/* "committed"; NULL */
const char *vf_handover_input_name(enum vf_handover_input input);	/* "COMMIT"; NULL */

#endif
