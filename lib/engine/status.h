/* SPDX-License-Identifier: MIT */
/*
 * status.h - words that both sides share: status, outcome, hooks, actions.
 */
#ifndef VF_ENGINE_STATUS_H
#define VF_ENGINE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/converge.h"

/* QEMU's words (MigrationStatus). */
enum vf_status {
	VF_STATUS_NONE = 0,
	VF_STATUS_SETUP = 1,
	VF_STATUS_ACTIVE = 2,
	VF_STATUS_PRE_SWITCHOVER = 3,
	VF_STATUS_DEVICE = 4,
	VF_STATUS_COMPLETED = 5,
	VF_STATUS_CANCELLING = 6,
	VF_STATUS_CANCELLED = 7,
	VF_STATUS_FAILED = 8,
	VF_STATUS__COUNT
};

enum vf_outcome {
	VF_OUTCOME_NONE = 0,		/* not over */
	VF_OUTCOME_DONE = 1,		/* exit 0 */
	VF_OUTCOME_CHECKED = 2,		/* exit 0: would be taken; nothing was changed */
	VF_OUTCOME_REFUSED = 3,		/* exit 2 */
	VF_OUTCOME_FAILED = 4,		/* exit 3: the source runs on */
	VF_OUTCOME_CANCELLED = 5,	/* exit 4: the source runs on */
	VF_OUTCOME_UNKNOWN = 6,		/* exit 5: start neither side */
	VF_OUTCOME_LOST = 7,		/* exit 6: failed after hand-over */
	VF_OUTCOME__COUNT
};

enum vf_hook {
	VF_HOOK_BEFORE_SWITCHOVER = 0,	/* its failure cancels */
	VF_HOOK_AFTER_COMMIT = 1,
	VF_HOOK_AFTER_ROLL_BACK = 2,
	VF_HOOK__COUNT
};

enum vf_action_kind {
	/* Both. */
	VF_ACT_EMIT = 1,		/* status (and outcome) changed: tell whoever listens */
	VF_ACT_ARM_TIMER = 2,		/* at_ns; replaces an earlier one; UINT64_MAX = none */
	VF_ACT_FINISH = 3,		/* outcome, exit_code; another may follow UNKNOWN */
	/* hook, after those asked for before have ended; answer HOOK_OK or HOOK_FAILED. */
	VF_ACT_RUN_HOOK = 4,
	/* Source. */
	VF_ACT_SEND_MACHINE = 16,	/* versions, features, machine, identities */
	VF_ACT_START_TRACKING = 17,	/* dirty tracking and pre-copy of the devices */
	VF_ACT_STOP_TRACKING = 18,	/* ... and back, machine never stopped */
	VF_ACT_START_ROUND = 19,	/* round */
	VF_ACT_SET_THROTTLE = 20,	/* percent */
	VF_ACT_FORECAST = 21,		/* verdict: it will not fit; say so */
	VF_ACT_RUN_SAVE_PLAN = 22,	/* answers: MACHINE_STOPPED, then SAVE_DONE */
	VF_ACT_SEND_MANIFEST = 23,
	VF_ACT_SEND_COMMIT = 24,
	VF_ACT_SEND_CANCEL = 25,
	VF_ACT_SEND_RESOLVE = 26,
	/* Let running save steps end, start no further one, then undo; answer UNDO_DONE. */
	VF_ACT_RUN_UNDO_PLAN = 27,
	/* Destination. */
	VF_ACT_SEND_ACCEPT = 48,
	VF_ACT_SEND_REFUSE = 49,
	VF_ACT_SEND_LOAD_FAILED = 50,
	VF_ACT_SEND_PREPARED = 51,
	VF_ACT_WRITE_RECORD = 52,	/* ran; synced, then RECORD_WRITTEN or RECORD_FAILED */
	VF_ACT_RUN_PLAN_AFTER_COMMIT = 53,
	VF_ACT_SEND_RUNNING = 54,
	VF_ACT_SEND_RUN_FAILED = 55,
	VF_ACT_ANSWER_RESOLVE = 56,	/* ran, lost; also unasked: a COMMIT was not followed */
	VF_ACT_DISCARD = 57,		/* reset devices, forget the machine; it never runs here */
};

struct vf_action {
	enum vf_action_kind kind;
	enum vf_status status;		/* EMIT, FINISH */
	enum vf_outcome outcome;	/* EMIT, FINISH */
	int exit_code;			/* FINISH */
	enum vf_hook hook;		/* RUN_HOOK */
	uint32_t round;			/* START_ROUND */
	uint32_t percent;		/* SET_THROTTLE */
	uint64_t at_ns;			/* ARM_TIMER */
	bool ran;			/* WRITE_RECORD, ANSWER_RESOLVE */
	bool lost;			/* ANSWER_RESOLVE: ran, and does not any more */
};

#define VF_ACTIONS_MAX 12u

/* To be done in this order. */
struct vf_actions {
	size_t count;
	struct vf_action list[VF_ACTIONS_MAX];
};

const char *vf_status_name(enum vf_status status);	/* "pre-switchover"; NULL */
const char *vf_outcome_name(enum vf_outcome outcome);	/* "unknown"; NULL */
int vf_outcome_exit_code(enum vf_outcome outcome);	/* 0..6; -EINVAL for NONE */
const char *vf_hook_name(enum vf_hook hook);		/* "before-switchover"; NULL */
const char *vf_action_name(enum vf_action_kind kind);	/* "SEND_COMMIT"; NULL */

/* For the two machines. */
struct vf_action *vf_actions_add(struct vf_actions *actions, enum vf_action_kind kind);

/*
 * Appends "STATE ... + EVENT -> STATE ...\n" to the @len bytes that are in @to; @in and @out are sets of
 * states. Return: the length it has, or would have if @size were enough.
 */
size_t vf_table_row_text(char *to, size_t size, size_t len, uint32_t in, const char *event,
			 uint32_t out, const char *(*state_name)(uint32_t state));

#endif
