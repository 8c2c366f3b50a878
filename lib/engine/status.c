/* SPDX-License-Identifier: MIT */
/* status.c - names of states, outcomes and actions; see status.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/checked.h"
#include "engine/status.h"

#define NAME_OF(table, n) ((size_t) (n) < VF_ARRAY_COUNT(table) ? (table)[n] : NULL)

const char *vf_status_name(enum vf_status status)
{
	static const char *const names[] = {
		[VF_STATUS_NONE] = "none",
		[VF_STATUS_SETUP] = "setup",
		[VF_STATUS_ACTIVE] = "active",
		[VF_STATUS_PRE_SWITCHOVER] = "pre-switchover",
		[VF_STATUS_DEVICE] = "device",
		[VF_STATUS_COMPLETED] = "completed",
		[VF_STATUS_CANCELLING] = "cancelling",
		[VF_STATUS_CANCELLED] = "cancelled",
		[VF_STATUS_FAILED] = "failed",
	};

	return NAME_OF(names, status);
}

static const struct {
	const char *name;
	int exit_code;
} outcomes[VF_OUTCOME__COUNT] = {
	[VF_OUTCOME_NONE] = { "none", -EINVAL },
	[VF_OUTCOME_DONE] = { "done", 0 },
	[VF_OUTCOME_CHECKED] = { "checked", 0 },
	[VF_OUTCOME_REFUSED] = { "refused", 2 },
	[VF_OUTCOME_FAILED] = { "failed", 3 },
	[VF_OUTCOME_CANCELLED] = { "cancelled", 4 },
	[VF_OUTCOME_UNKNOWN] = { "unknown", 5 },
	[VF_OUTCOME_LOST] = { "lost", 6 },
};

const char *vf_outcome_name(enum vf_outcome outcome)
{
	return (size_t) outcome < VF_OUTCOME__COUNT ? outcomes[outcome].name : NULL;
}

int vf_outcome_exit_code(enum vf_outcome outcome)
{
	return (size_t) outcome < VF_OUTCOME__COUNT ? outcomes[outcome].exit_code : -EINVAL;
}

const char *vf_hook_name(enum vf_hook hook)
{
	static const char *const names[VF_HOOK__COUNT] = {
		[VF_HOOK_BEFORE_SWITCHOVER] = "before-switchover",
		[VF_HOOK_AFTER_COMMIT] = "after-commit",
		[VF_HOOK_AFTER_ROLL_BACK] = "after-roll-back",
	};

	return NAME_OF(names, hook);
}

const char *vf_action_name(enum vf_action_kind kind)
{
	static const char *const names[] = {
		[VF_ACT_EMIT] = "EMIT",
		[VF_ACT_ARM_TIMER] = "ARM_TIMER",
		[VF_ACT_FINISH] = "FINISH",
		[VF_ACT_RUN_HOOK] = "RUN_HOOK",
		[VF_ACT_SEND_MACHINE] = "SEND_MACHINE",
		[VF_ACT_START_TRACKING] = "START_TRACKING",
		[VF_ACT_STOP_TRACKING] = "STOP_TRACKING",
		[VF_ACT_START_ROUND] = "START_ROUND",
		[VF_ACT_SET_THROTTLE] = "SET_THROTTLE",
		[VF_ACT_FORECAST] = "FORECAST",
		[VF_ACT_RUN_SAVE_PLAN] = "RUN_SAVE_PLAN",
		[VF_ACT_SEND_MANIFEST] = "SEND_MANIFEST",
		[VF_ACT_SEND_COMMIT] = "SEND_COMMIT",
		[VF_ACT_SEND_CANCEL] = "SEND_CANCEL",
		[VF_ACT_SEND_RESOLVE] = "SEND_RESOLVE",
		[VF_ACT_RUN_UNDO_PLAN] = "RUN_UNDO_PLAN",
		[VF_ACT_SEND_ACCEPT] = "SEND_ACCEPT",
		[VF_ACT_SEND_REFUSE] = "SEND_REFUSE",
		[VF_ACT_SEND_LOAD_FAILED] = "SEND_LOAD_FAILED",
		[VF_ACT_SEND_PREPARED] = "SEND_PREPARED",
		[VF_ACT_WRITE_RECORD] = "WRITE_RECORD",
		[VF_ACT_RUN_PLAN_AFTER_COMMIT] = "RUN_PLAN_AFTER_COMMIT",
		[VF_ACT_SEND_RUNNING] = "SEND_RUNNING",
		[VF_ACT_SEND_RUN_FAILED] = "SEND_RUN_FAILED",
		[VF_ACT_ANSWER_RESOLVE] = "ANSWER_RESOLVE",
		[VF_ACT_DISCARD] = "DISCARD",
	};

	return NAME_OF(names, kind);
}

struct vf_action *vf_actions_add(struct vf_actions *actions, enum vf_action_kind kind)
{
	struct vf_action *action;

	assert(actions->count < VF_ACTIONS_MAX);
	action = &actions->list[actions->count++];
	*action = (struct vf_action) { .kind = kind };
	return action;
}

static size_t append(char *to, size_t size, size_t len, const char *word)
{
	bool room = len < size;

	return len + (size_t) snprintf(room ? to + len : NULL, room ? size - len : 0, "%s ", word);
}

static size_t append_states(char *to, size_t size, size_t len, uint32_t states,
			    const char *(*state_name)(uint32_t state))
{
	for (uint32_t n = 0; n < 32; n++) {
		if (states & 1u << n)
			len = append(to, size, len, state_name(n));
	}
	return len;
}

size_t vf_table_row_text(char *to, size_t size, size_t len, uint32_t in, const char *event,
			 uint32_t out, const char *(*state_name)(uint32_t state))
{
	len = append_states(to, size, len, in, state_name);
	len = append(to, size, len, "+");
	len = append(to, size, len, event);
	len = append(to, size, len, "->");
	len = append_states(to, size, len, out, state_name);
	if (len && len <= size)
		to[len - 1] = '\n';
	return len;
}
