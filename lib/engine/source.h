/* SPDX-License-Identifier: MIT */
/*
 * source.h - the source side of one migration: events in, actions out.
 *
 * Model: a table of (state, event) rows, one handler each. The hand-over core (handover.h) decides
 * who owns the machine; this machine decides when to try. Everything it wants done comes as a short
 * list of actions, to be carried out in their order before the next event is handed in.
 *
 * Invariants: before COMMIT every failure ends with the source running (UNDO_DONE awaited where the
 * machine may have been stopped); after COMMIT it never resumes by itself, and cannot be cancelled.
 * An event that has no place is ignored when it may be late (a timer, an acknowledgement), and ends
 * the migration as a protocol error when the peer sent what it must not.
 *
 * Pure: no system calls, no clock (now_ns comes with each event), no memory of its own. Threads:
 * the session's only.
 */
#ifndef VF_ENGINE_SOURCE_H
#define VF_ENGINE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#include "engine/converge.h"
#include "engine/handover.h"
#include "engine/status.h"

#define VF_SOURCE_MAX_STREAMS 256u

enum vf_source_event_kind {
	VF_SRC_START = 0,
	VF_SRC_PEER_ACCEPTED = 1,
	VF_SRC_PEER_REFUSED = 2,	/* error */
	VF_SRC_ROUND_DONE = 3,		/* round */
	VF_SRC_STREAM_ACK = 4,		/* component, generation: initial bytes loaded over there */
	VF_SRC_STREAM_REINIT = 5,	/* component, generation: from now on this one counts */
	VF_SRC_TIMER = 6,
	VF_SRC_CANCEL = 7,
	VF_SRC_CONTINUE = 8,		/* leave pre-switchover */
	VF_SRC_HOOK_OK = 9,
	VF_SRC_HOOK_FAILED = 10,	/* error */
	VF_SRC_MACHINE_STOPPED = 11,	/* no vCPU runs any more: the pause began */
	VF_SRC_SAVE_DONE = 12,		/* save plan done, everything is sent */
	VF_SRC_SAVE_FAILED = 13,	/* error; also of a round, or of a device in pre-copy */
	VF_SRC_PEER_PREPARED = 14,
	VF_SRC_PEER_FAILED = 15,	/* error: load failed; after COMMIT: could not run it */
	VF_SRC_PEER_RUNNING = 16,
	VF_SRC_LINK_LOST = 17,		/* error, may be NULL */
	VF_SRC_STALL = 18,		/* no byte moved for too long */
	VF_SRC_UNDO_DONE = 19,		/* device_lost */
	VF_SRC_ASK = 20,		/* `resolve`: ask the peer, over a new link */
	VF_SRC_RESOLVED = 21,		/* ran, lost */
	VF_SRC_FENCED = 22,		/* ran: this side is fenced; else the destination */
	VF_SRC_EVENT__COUNT
};

struct vf_source_event {
	enum vf_source_event_kind kind;
	uint64_t now_ns;
	const struct vferry_error *error;	/* borrowed for the call; NULL: a default is made */
	struct vf_round round;
	uint32_t component, generation;
	enum vf_hook hook;	/* HOOK_OK, HOOK_FAILED: which one ended */
	bool device_lost;
	bool ran;		/* RESOLVED: the destination ran it. FENCED: the source is fenced */
	bool lost;		/* RESOLVED: it ran, and does not any more */
};

enum vf_source_state {
	VF_SRC_NONE = 0,
	VF_SRC_SETUP = 1,		/* machine sent, answer awaited */
	VF_SRC_ROUND = 2,		/* a round is being sent */
	VF_SRC_HOLD = 3,		/* pre-switchover: rounds go on, CONTINUE awaited */
	VF_SRC_HOOK = 4,		/* hook before switchover runs */
	VF_SRC_STOPPING = 5,		/* save plan started, vCPUs not yet all stopped */
	VF_SRC_SAVING = 6,		/* machine stopped */
	VF_SRC_WAIT_PREPARED = 7,	/* manifest sent */
	VF_SRC_WAIT_RUNNING = 8,	/* COMMIT sent */
	VF_SRC_UNKNOWN = 9,
	VF_SRC_UNDOING = 10,		/* undo plan runs */
	VF_SRC_HOOK_BACK = 11,		/* hook after roll-back runs */
	VF_SRC_ENDED = 12,
	VF_SRC_STATE__COUNT
};

struct vf_source_config {
	const struct vf_policy *policy;
	uint64_t max_downtime_ns;
	uint64_t pause_budget_ns;	/* 0 = none: RUN_SAVE_PLAN to PREPARED */
	uint64_t timeout_ns;		/* 0 = none: START to COMMIT */
	uint64_t answer_timeout_ns;	/* COMMIT to RUNNING, then unknown; 0 = 10 s */
	bool check;			/* end after the destination's answer */
	bool hold;			/* pre-switchover, until CONTINUE */
	bool hooks[VF_HOOK__COUNT];	/* which are there to be run */
};

struct vf_source_stream {
	uint32_t component, generation;
	bool acknowledged;
};

/* Caller's storage; fields are for reading. */
struct vf_source {
	struct vf_source_config config;
	enum vf_source_state state;
	enum vf_handover_state handover;
	enum vf_status status;
	enum vf_outcome outcome;	/* what it ends (or will end, while undoing) with */
	struct vf_converge converge;
	struct vf_verdict verdict;	/* of the last round */
	struct vferry_error error;	/* why it failed or was refused */
	uint32_t throttle;		/* what SET_THROTTLE last said */
	uint32_t round;
	bool round_runs;		/* a started round has not ended yet */
	bool tracking;			/* START_TRACKING was given */
	bool saving;			/* RUN_SAVE_PLAN was given: the way back is undo */
	bool link_lost;
	bool continued;			/* CONTINUE came */
	bool hook_started;		/* RUN_HOOK(before-switchover) was given */
	bool hook_done;			/* ... and it ended well */
	bool device_lost;
	bool forecast;			/* FORECAST was given */
	/* 0 = not yet; switchover = RUN_SAVE_PLAN, paused = no vCPU runs */
	uint64_t started_ns, switchover_ns, paused_ns, committed_ns;
	uint64_t armed_ns;		/* what ARM_TIMER last said */
	uint64_t next_round_ns;		/* a round is due then; 0 = none */
	struct vf_source_stream streams[VF_SOURCE_MAX_STREAMS];
	size_t stream_count;
};

void vf_source_init(struct vf_source *source, const struct vf_source_config *config);
/**
 * vf_source_add_stream() - a stream that knows its initial bytes: their acknowledgement is awaited
 * Before START. Return: 0; -EEXIST; -E2BIG.
 */
int vf_source_add_stream(struct vf_source *source, uint32_t component, uint32_t generation);
/** vf_source_event() - Return: 0 taken; 1 ignored: it came late, or has no meaning now. */
int vf_source_event(struct vf_source *source, const struct vf_source_event *event,
		    struct vf_actions *ret_actions);
/* All awaited acknowledgements are there. */
bool vf_source_acknowledged(const struct vf_source *source);

const char *vf_source_state_name(enum vf_source_state state);
const char *vf_source_event_name(enum vf_source_event_kind kind);
/* The table, a line per row: "round + ROUND_DONE -> round hold hook ...". Return: as snprintf(). */
int vf_source_table_text(char *to, size_t size);

#endif
