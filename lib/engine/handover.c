/* SPDX-License-Identifier: MIT */
/*
 * handover.c - the hand-over protocol as a table. See handover.h.
 *
 * Why it is safe: the source passes from OWNS and OFFERED to COMMITTED only by itself, and never
 * rolls back from there by itself. The destination passes to RUNS only from RECORD_RAN, which needs
 * COMMIT, or the word that the source is fenced. ABORTED is answered only in states from which no
 * row leads to RUNS.
 *
 * Why `aborted` may be answered although its record could not be written: the copy exists only in
 * the memory of the process that answers, and is discarded before it answers. The record is for the
 * one who asks after that process has gone. A later process cannot discard what the first one holds,
 * so it answers only what is written: should the first one live after all, its own `ran` then fails.
 */
#include "base/checked.h"
#include "engine/handover.h"

#define ROW(f, o, t, s) \
	{ .from = VF_HO_##f, .on = VF_HO_##o, .to = VF_HO_##t, .send = VF_HO_##s }

static const struct vf_handover_rule rules[] = {
	/* Source: until COMMIT it may change its mind. */
	ROW(SRC_OWNS, SAVED, SRC_OFFERED, MANIFEST),
	ROW(SRC_OWNS, ROLL_BACK, SRC_KEPT, CANCEL),
	ROW(SRC_OWNS, LOAD_FAILED_MSG, SRC_KEPT, NOTHING),
	ROW(SRC_OWNS, LINK_LOST, SRC_KEPT, NOTHING),
	ROW(SRC_OFFERED, ROLL_BACK, SRC_KEPT, CANCEL),
	ROW(SRC_OFFERED, LOAD_FAILED_MSG, SRC_KEPT, NOTHING),
	ROW(SRC_OFFERED, LINK_LOST, SRC_KEPT, NOTHING),
	ROW(SRC_OFFERED, PREPARED, SRC_COMMITTED, COMMIT),

	/* Source: given away. Back only on the destination's word, or on word of its end. */
	ROW(SRC_COMMITTED, RUNNING, SRC_GAVE, NOTHING),
	ROW(SRC_COMMITTED, RUN_FAILED_MSG, SRC_GAVE, NOTHING),
	ROW(SRC_COMMITTED, RAN, SRC_GAVE, NOTHING),
	ROW(SRC_COMMITTED, LOST, SRC_GAVE, NOTHING),
	ROW(SRC_COMMITTED, ABORTED, SRC_KEPT, NOTHING),
	ROW(SRC_COMMITTED, LINK_LOST, SRC_UNKNOWN, NOTHING),
	ROW(SRC_UNKNOWN, ASK, SRC_UNKNOWN, RESOLVE),
	ROW(SRC_UNKNOWN, LINK_LOST, SRC_UNKNOWN, NOTHING),
	ROW(SRC_UNKNOWN, RUNNING, SRC_GAVE, NOTHING),
	ROW(SRC_UNKNOWN, RUN_FAILED_MSG, SRC_GAVE, NOTHING),
	ROW(SRC_UNKNOWN, RAN, SRC_GAVE, NOTHING),
	ROW(SRC_UNKNOWN, LOST, SRC_GAVE, NOTHING),
	ROW(SRC_UNKNOWN, ABORTED, SRC_KEPT, NOTHING),
	ROW(SRC_UNKNOWN, FENCED_DESTINATION, SRC_KEPT, NOTHING),
	ROW(SRC_UNKNOWN, FENCED_SOURCE, SRC_GAVE, NOTHING),

	/* Destination: nothing promised, so nothing to record either. */
	ROW(DST_LOADING, LOADED, DST_PREPARED, PREPARED),
	ROW(DST_LOADING, LOAD_FAILED, DST_ABORTED, LOAD_FAILED_MSG),
	ROW(DST_LOADING, CANCEL, DST_ABORTED, NOTHING),
	ROW(DST_LOADING, LINK_LOST, DST_ABORTED, NOTHING),
	ROW(DST_LOADING, RESOLVE, DST_ABORTED, ABORTED),
	ROW(DST_LOADING, FENCED_DESTINATION, DST_ABORTED, NOTHING),
	/* Against the protocol; but the sender has given the machine away, and must hear of it. */
	ROW(DST_LOADING, COMMIT, DST_ABORTED, ABORTED),

	/*
	 * Destination: ready, and waiting for one word, however long it takes. That the source is
	 * fenced is not believed while the link to it is there.
	 */
	ROW(DST_PREPARED, COMMIT, DST_RECORD_RAN, NOTHING),
	ROW(DST_PREPARED, CANCEL, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_PREPARED, LINK_LOST, DST_HOLDING, NOTHING),
	ROW(DST_PREPARED, RESOLVE, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_PREPARED, LOAD_FAILED, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_PREPARED, FENCED_DESTINATION, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_HOLDING, LINK_LOST, DST_HOLDING, NOTHING),
	ROW(DST_HOLDING, CANCEL, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_HOLDING, LOAD_FAILED, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_HOLDING, RESOLVE, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_HOLDING, FENCED_SOURCE, DST_RECORD_RAN, NOTHING),
	ROW(DST_HOLDING, FENCED_DESTINATION, DST_RECORD_ABORTED, NOTHING),

	/* Destination: the record comes before the deed. Who asks meanwhile is answered after. */
	ROW(DST_RECORD_RAN, RECORD_WRITTEN, DST_RUNS, NOTHING),
	ROW(DST_RECORD_RAN, RECORD_FAILED, DST_ABORTED, ABORTED),
	ROW(DST_RECORD_RAN, RESOLVE, DST_RECORD_RAN, NOTHING),
	ROW(DST_RECORD_RAN, LINK_LOST, DST_RECORD_RAN, NOTHING),
	ROW(DST_RECORD_ABORTED, RECORD_WRITTEN, DST_ABORTED, ABORTED),
	ROW(DST_RECORD_ABORTED, RECORD_FAILED, DST_ABORTED, ABORTED),
	ROW(DST_RECORD_ABORTED, RESOLVE, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_RECORD_ABORTED, COMMIT, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_RECORD_ABORTED, CANCEL, DST_RECORD_ABORTED, NOTHING),
	ROW(DST_RECORD_ABORTED, LINK_LOST, DST_RECORD_ABORTED, NOTHING),

	/* Destination: ends. */
	ROW(DST_RUNS, RUN_DONE, DST_RUNS, RUNNING),
	ROW(DST_RUNS, RUN_FAILED, DST_LOST, RUN_FAILED_MSG),
	ROW(DST_RUNS, RESOLVE, DST_RUNS, RAN),
	ROW(DST_RUNS, LINK_LOST, DST_RUNS, NOTHING),
	ROW(DST_LOST, RESOLVE, DST_LOST, LOST),
	ROW(DST_LOST, LINK_LOST, DST_LOST, NOTHING),
	ROW(DST_ABORTED, RESOLVE, DST_ABORTED, ABORTED),
	ROW(DST_ABORTED, CANCEL, DST_ABORTED, NOTHING),
	ROW(DST_ABORTED, LINK_LOST, DST_ABORTED, NOTHING),
	/* A COMMIT that crossed our answer. It was not followed, which has to be said. */
	ROW(DST_ABORTED, COMMIT, DST_ABORTED, ABORTED),

	/*
	 * A later process with the same record. Of `aborted` and `ran` it tells like the one that
	 * wrote it. Without either it decides first: who is asked may not know more than the disk.
	 */
	ROW(DST_FOUND, RESOLVE, DST_CLOSING, NOTHING),
	ROW(DST_CLOSING, RECORD_WRITTEN, DST_ABORTED, ABORTED),
	ROW(DST_CLOSING, RECORD_FAILED, DST_FOUND, NOTHING),
	ROW(DST_LEFT, RESOLVE, DST_LEFT, RAN),
};

const struct vf_handover_rule *vf_handover_rules(size_t *ret_count)
{
	*ret_count = VF_ARRAY_COUNT(rules);
	return rules;
}

const struct vf_handover_rule *vf_handover_step(enum vf_handover_state state,
						enum vf_handover_input on)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(rules); i++) {
		if (rules[i].from == state && rules[i].on == on)
			return &rules[i];
	}
	return NULL;
}

bool vf_handover_may_run(enum vf_handover_state state)
{
	return state == VF_HO_SRC_OWNS || state == VF_HO_SRC_OFFERED || state == VF_HO_SRC_KEPT ||
	       state == VF_HO_DST_RUNS;
}

bool vf_handover_may_roll_back(enum vf_handover_state state)
{
	return state == VF_HO_SRC_OWNS || state == VF_HO_SRC_OFFERED;
}

const char *vf_handover_state_name(enum vf_handover_state state)
{
	static const char *const names[] = {
		[VF_HO_SRC_OWNS] = "owns",
		[VF_HO_SRC_OFFERED] = "offered",
		[VF_HO_SRC_COMMITTED] = "committed",
		[VF_HO_SRC_UNKNOWN] = "unknown",
		[VF_HO_SRC_GAVE] = "gave",
		[VF_HO_SRC_KEPT] = "kept",
		[VF_HO_DST_LOADING] = "loading",
		[VF_HO_DST_PREPARED] = "prepared",
		[VF_HO_DST_HOLDING] = "holding",
		[VF_HO_DST_RECORD_RAN] = "record-ran",
		[VF_HO_DST_RUNS] = "runs",
		[VF_HO_DST_RECORD_ABORTED] = "record-aborted",
		[VF_HO_DST_ABORTED] = "aborted",
		[VF_HO_DST_LOST] = "lost",
		[VF_HO_DST_FOUND] = "found",
		[VF_HO_DST_CLOSING] = "closing",
		[VF_HO_DST_LEFT] = "left",
	};

	return (size_t) state < VF_ARRAY_COUNT(names) ? names[state] : NULL;
}

const char *vf_handover_input_name(enum vf_handover_input input)
{
	static const char *const names[] = {
		[VF_HO_NOTHING] = "-",
		[VF_HO_MANIFEST] = "MANIFEST",
		[VF_HO_PREPARED] = "PREPARED",
		[VF_HO_COMMIT] = "COMMIT",
		[VF_HO_RUNNING] = "RUNNING",
		[VF_HO_RUN_FAILED_MSG] = "RUN_FAILED",
		[VF_HO_CANCEL] = "CANCEL",
		[VF_HO_RESOLVE] = "RESOLVE",
		[VF_HO_RAN] = "RAN",
		[VF_HO_ABORTED] = "ABORTED",
		[VF_HO_LOAD_FAILED_MSG] = "LOAD_FAILED",
		[VF_HO_LOST] = "LOST",
		[VF_HO_SAVED] = "saved",
		[VF_HO_ROLL_BACK] = "roll-back",
		[VF_HO_LOADED] = "loaded",
		[VF_HO_LOAD_FAILED] = "load-failed",
		[VF_HO_LINK_LOST] = "link-lost",
		[VF_HO_ASK] = "ask",
		[VF_HO_RECORD_WRITTEN] = "record-written",
		[VF_HO_RECORD_FAILED] = "record-failed",
		[VF_HO_RUN_DONE] = "run-done",
		[VF_HO_RUN_FAILED] = "run-failed",
		[VF_HO_FENCED_SOURCE] = "fenced-source",
		[VF_HO_FENCED_DESTINATION] = "fenced-destination",
	};

	return (size_t) input < VF_ARRAY_COUNT(names) ? names[input] : NULL;
}
