/* SPDX-License-Identifier: MIT */
/*
 * record.h - what a destination promised, on disk before it acts.
 *
 * Model: a directory, two files for each session, named by its id in hex. ID.open is the claim: this
 * session was accepted here; it is made before the source is told so, and locked for as long as the
 * process holds it. ID.vferry is the decision: one word, "ran" or "aborted". Both appear whole or not
 * at all, and synced.
 *
 * Invariants: there is one decision, for ever: of two processes that decide at once one succeeds, and
 * the other learns so. This needs no lock. The lock only tells whether the process still lives.
 *
 * A claim without a decision, whose process is gone: the machine never ran here. No claim and no
 * decision: nothing is known. So removing files loses answers, but never makes a wrong one.
 *
 * Threads: any; nothing is shared but the files. A trace may be NULL.
 */
#ifndef VF_SESSION_RECORD_H
#define VF_SESSION_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

#include "base/trace.h"
#include "wire/message.h"

enum vf_record { VF_RECORD_NONE = 0, VF_RECORD_RAN = 1, VF_RECORD_ABORTED = 2 };

/* What a directory says of a session. */
struct vf_record_entry {
	enum vf_record decided;
	bool claimed;	/* the claim is there: whoever made it did not end in order, or lives */
	bool held;	/* it is locked: that process lives */
};

/** vf_record_claim() - Return: 0 and a descriptor that holds the claim; -EEXIST the id was used before. */
int vf_record_claim(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], int *ret_claim,
		    struct vf_trace *trace, struct vferry_error *err);
/* Ends *claim (-1: none). @forget: the decision is there, or none will ever be asked for. */
void vf_record_release(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], int *claim,
		       bool forget);
/** vf_record_write() - decides. Return: 0, synced; -EEXIST it was decided otherwise. */
int vf_record_write(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES], enum vf_record record,
		    struct vf_trace *trace, struct vferry_error *err);
int vf_record_read(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES],
		   struct vf_record_entry *ret_entry, struct vf_trace *trace,
		   struct vferry_error *err);

#endif
