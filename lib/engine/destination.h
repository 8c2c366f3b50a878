/* SPDX-License-Identifier: MIT */
/*
 * destination.h - the destination side of one migration: events in, actions out.
 *
 * Model as in source.h: a table of (state, event) rows over the hand-over core. Invariants: nothing
 * of the machine runs before the record `ran` is written; after `aborted` (or DISCARD) it never
 * runs; once PREPARED was sent, a lost link changes nothing but the way to be asked: it stays and
 * answers.
 *
 * Pure: no system calls, no clock, no memory of its own. Threads: the session's only.
 */
#ifndef VF_ENGINE_DESTINATION_H
#define VF_ENGINE_DESTINATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#include "engine/handover.h"
#include "engine/status.h"

enum vf_destination_event_kind {
	VF_DST_LISTENING = 0,
	VF_DST_MACHINE_OK = 1,		/* check: the source ends after our answer */
	VF_DST_MACHINE_REFUSED = 2,	/* error */
	VF_DST_SWITCHOVER_BEGAN = 3,	/* source: the machine is stopped */
	VF_DST_LOAD_READY = 4,		/* everything before PREPARED is done */
	VF_DST_LOAD_FAILED = 5,		/* error */
	VF_DST_MANIFEST_OK = 6,
	VF_DST_MANIFEST_BAD = 7,	/* error */
	VF_DST_COMMIT = 8,
	VF_DST_CANCELLED = 9,		/* the source's CANCEL, or a local one; not after COMMIT */
	VF_DST_LINK_LOST = 10,
	VF_DST_RESOLVE_QUERY = 11,
	VF_DST_FENCED = 12,		/* source_fenced: promote; else: give up */
	VF_DST_RECORD_WRITTEN = 13,
	VF_DST_RECORD_FAILED = 14,	/* error */
	VF_DST_RUN_DONE = 15,
	VF_DST_RUN_FAILED = 16,		/* error */
	VF_DST_EVENT__COUNT
};

struct vf_destination_event {
	enum vf_destination_event_kind kind;
	uint64_t now_ns;
	const struct vferry_error *error;	/* borrowed for the call; NULL: a default is made */
	bool check;
	bool source_fenced;
};

enum vf_destination_state {
	VF_DST_NONE = 0,
	VF_DST_SETUP = 1,		/* listening, machine awaited */
	VF_DST_ACTIVE = 2,		/* accepted; pre-copy */
	VF_DST_SWITCHOVER = 3,
	VF_DST_PREPARED = 4,		/* COMMIT awaited */
	VF_DST_HOLDING = 5,		/* ... and the link is lost */
	VF_DST_RECORDING_RAN = 6,
	VF_DST_STARTING = 7,		/* plan after COMMIT runs */
	VF_DST_RECORDING_ABORTED = 8,
	VF_DST_ENDED = 9,		/* still answers RESOLVE_QUERY */
	VF_DST_STATE__COUNT
};

/* Caller's storage; fields are for reading. */
struct vf_destination {
	enum vf_destination_state state;
	enum vf_handover_state handover;
	enum vf_status status;
	enum vf_outcome outcome;
	struct vferry_error error;
	bool check;
	bool load_ready, manifest_ok;
	bool link_lost;
	enum vf_outcome abort_outcome;	/* what it ends with once `aborted` is recorded */
	bool asked;			/* RESOLVE_QUERY came while a record was being written */
	uint64_t prepared_ns, committed_ns, running_ns;	/* 0 = not yet */
};

void vf_destination_init(struct vf_destination *destination);
/** vf_destination_event() - Return: 0 taken; 1 ignored: it came late, or has no meaning now. */
int vf_destination_event(struct vf_destination *destination,
			 const struct vf_destination_event *event, struct vf_actions *ret_actions);

const char *vf_destination_state_name(enum vf_destination_state state);
const char *vf_destination_event_name(enum vf_destination_event_kind kind);
int vf_destination_table_text(char *to, size_t size);

#endif
