/* SPDX-License-Identifier: MIT */
/*
 * play.h - one end of a migration that is made up: sends a list of frames to a real session, each
 * when its turn has come (RUNNING after COMMIT was seen, say), so that a changed list gets as far as a
 * good one would. And how to get a good one: a migration between two real sessions is listened to.
 */
#ifndef TESTS_HOSTILE_PLAY_H
#define TESTS_HOSTILE_PLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames.h"
#include "small_machine.h"

enum hostile_role { HOSTILE_SOURCE, HOSTILE_DESTINATION };	/* what the player pretends to be */

struct hostile_play {
	enum hostile_role role;
	const struct hostile_stream *frames;
	struct vferry_session *session;	/* the real one */
	unsigned gate_ms;	/* a turn is waited for so long, then the frame goes out anyway */
	bool stay;		/* do not hang up at the end, but wait for the session's */
	/* NULL, or: what the session knows of interrupts at its end. The caller's, free(). */
	struct vferry_interrupts **ret_interrupts;
	size_t cut_at;		/* hang up after so many bytes; 0 = after all */
	/* Set by the play. */
	uint64_t seen[32];	/* frames of each type that the session sent */
	uint64_t sent;		/* frames of the list that were sent whole */
	bool committed;		/* COMMIT among them */
};

/* Plays it over @take_fd, and returns when all is sent and the session hung up, ended, or ignored it. */
void hostile_play(struct hostile_play *play, int take_fd);

/* What both sides of a good migration of small machines say; for hostile_stream_parse(). */
struct hostile_recording {
	uint8_t *from_source, *from_destination;	/* malloc()ed */
	size_t source_bytes, destination_bytes;
};

/* false: it failed. */
bool hostile_record(const struct vferry_parameters *p, struct hostile_recording *ret);

/*
 * A session of a small machine, destination or source, against @play. The machine is as it was set up;
 * @ret_status: how the session ended, after at most @limit_ns. Return: 0; -ETIMEDOUT it did not end.
 */
int hostile_session(struct small_machine *m, struct hostile_play *play,
		    const struct vferry_parameters *p, uint64_t limit_ns,
		    struct vferry_status *ret_status);

#endif
