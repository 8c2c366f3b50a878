/* SPDX-License-Identifier: MIT */
/*
 * destination_record.c - what this destination promised, and what an earlier one did.
 *
 * Its own session: claimed before ACCEPT is sent, decided before the deed. Anybody else's, found in
 * the record directory: the process that took it is gone, and this one speaks for it, by the rows of
 * the hand-over's table. If that process lives, only it may say.
 *
 * Threads: claiming and deciding on the session's thread; answering on a greeting's. Shared is nothing
 * but the files.
 */
#include <errno.h>
#include <stdio.h>

#include "session/destination.h"
#include "session/record.h"

/* ---- this session ---- */

int vf_destination_check_records(struct vf_destination_side *side, struct vferry_error *err)
{
	static const uint8_t nobody[VF_SESSION_ID_BYTES];
	const char *dir = side->session->parameters.record_dir;
	struct vf_record_entry entry;

	return dir ? vf_record_read(dir, nobody, &entry, NULL, err) : 0;
}

/* A file has no source that could ask. */
static bool is_recorded(struct vf_destination_side *side)
{
	bool bound;

	(void) pthread_mutex_lock(&side->lock);
	bound = side->bound;
	(void) pthread_mutex_unlock(&side->lock);
	return bound && side->session->parameters.record_dir;
}

int vf_destination_claim(struct vf_destination_side *side, struct vferry_error *err)
{
	struct vferry_session *s = side->session;

	if (!is_recorded(side) || side->machine.check_only)
		return 0;
	return vf_record_claim(s->parameters.record_dir, s->id, &side->claim, s->trace, err);
}

int vf_destination_decide(struct vf_destination_side *side, bool ran, struct vferry_error *err)
{
	struct vferry_session *s = side->session;
	int ret;

	if (!is_recorded(side))
		return 0;
	ret = vf_record_write(s->parameters.record_dir, s->id, ran ? VF_RECORD_RAN : VF_RECORD_ABORTED,
			      s->trace, err);
	side->decided = !ret;
	return ret;
}

void vf_destination_release(struct vf_destination_side *side)
{
	/* Before PREPARED there was no COMMIT, so nobody will ever ask. */
	vf_record_release(side->session->parameters.record_dir, side->session->id, &side->claim,
			  side->decided || !side->machine_state.prepared_ns);
}

/* ---- an earlier one ---- */

static enum vf_handover_state state_of(const struct vf_record_entry *entry)
{
	if (entry->decided == VF_RECORD_ABORTED)
		return VF_HO_DST_ABORTED;
	if (entry->decided == VF_RECORD_RAN)
		return entry->claimed ? VF_HO_DST_LOST : VF_HO_DST_LEFT;
	return VF_HO_DST_FOUND;
}

/* Return: 0; -ENOENT nothing is known; -EBUSY another process has it. */
static int look_up(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES],
		   enum vf_handover_state *ret_state, struct vferry_error *err)
{
	struct vf_record_entry entry;
	int ret;

	if (!dir)
		return vferry_error_set(err, -ENOENT, "unknown-session", NULL,
					"nothing is known here of that migration: this destination "
					"has no record directory");
	ret = vf_record_read(dir, id, &entry, NULL, err);
	if (ret)
		return ret;
	if (!entry.claimed && entry.decided == VF_RECORD_NONE)
		return vferry_error_set(err, -ENOENT, "unknown-session", NULL,
					"nothing is known here of that migration");
	if (entry.held)
		return vferry_error_set(err, -EBUSY, "session-held", NULL,
					"another process here has that migration; ask that one");
	*ret_state = state_of(&entry);
	return 0;
}

static int resolve_earlier(const char *dir, const uint8_t id[VF_SESSION_ID_BYTES],
			   enum vf_handover_input *ret_answer, struct vferry_error *err)
{
	enum vf_handover_state state = VF_HO_DST_FOUND;
	const struct vf_handover_rule *row;
	int ret = look_up(dir, id, &state, err);

	*ret_answer = VF_HO_NOTHING;
	if (ret)
		return ret;
	row = vf_handover_step(state, VF_HO_RESOLVE);
	if (row->to == VF_HO_DST_CLOSING) {
		ret = vf_record_write(dir, id, VF_RECORD_ABORTED, NULL, err);
		row = vf_handover_step(row->to, ret ? VF_HO_RECORD_FAILED : VF_HO_RECORD_WRITTEN);
	}
	*ret_answer = row->send;
	return ret;
}

int vf_destination_answer_earlier(struct vf_destination_side *side,
				  const uint8_t id[VF_SESSION_ID_BYTES], struct vf_channel *channel,
				  struct vferry_error *err)
{
	const char *dir = side->session->parameters.record_dir;
	enum vf_handover_input answer;
	int ret = resolve_earlier(dir, id, &answer, err);

	/* Another one decided at the same moment: its word is the one that counts. */
	if (ret == -EEXIST) {
		vferry_error_clear(err);
		ret = resolve_earlier(dir, id, &answer, err);
	}
	return ret ? ret : vf_destination_send_answer(channel, answer);
}
