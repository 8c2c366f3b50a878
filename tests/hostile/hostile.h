/* SPDX-License-Identifier: MIT */
/*
 * hostile.h - what the tests of hostile peers share: the good streams that they damage, and what must
 * hold whatever comes. Included once by each program, after cmocka.
 */
#ifndef TESTS_HOSTILE_HOSTILE_H
#define TESTS_HOSTILE_HOSTILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "memory.h"
#include "play.h"

/* A session may take so long to see that it is being lied to; a hang is no pass. */
#define LIMIT_NS (20 * SMALL_SECOND_NS)
/*
 * A session of a small machine may hold 16 MiB of sections and 8 MiB of stream data, messages, and its
 * own objects (docs/architecture.md). What these tests send is small, so what it announces falsely
 * would be seen long before that.
 */
#define MEMORY_PEAK (8u << 20)
#define MEMORY_LARGEST (4u << 20)	/* the places of one stream's queue */

/* Where each instruction costs ten times as much, not every byte and bit, but every so many. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRIDE 7u
#else
#define STRIDE 1u
#endif

static struct hostile_recording recording;
static struct hostile_stream good;	/* what the player says in a good migration */

static inline int record_good(bool source)
{
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;

	p.stall_timeout_ns = 60 * SMALL_SECOND_NS;
	if (!hostile_record(&p, &recording)) {
		fprintf(stderr, "a good migration failed\n");
		return 1;
	}
	if (source)
		hostile_stream_parse(&good, recording.from_source, recording.source_bytes);
	else
		hostile_stream_parse(&good, recording.from_destination,
				     recording.destination_bytes);
	/* The probe of the link's rate is a quarter of a MiB of nothing. */
	for (unsigned i = 0; i < good.count; i++)
		if (hostile_frame_type(&good.frames[i]) == VF_FRAME_KEEPALIVE)
			hostile_frame_resize(&good.frames[i], 4);
	return 0;
}

static inline void forget_good(void)
{
	hostile_stream_done(&good);
	free(recording.from_source);
	free(recording.from_destination);
}

static inline void copy_good(struct hostile_stream *s)
{
	s->count = 0;
	for (unsigned i = 0; i < good.count; i++)
		(void) hostile_stream_insert(s, i, &good.frames[i]);
}

static inline void check_memory(const char *what)
{
	struct memory_use use = memory_use_get();

	if (use.peak > MEMORY_PEAK || use.largest > MEMORY_LARGEST)
		fail_msg("%s: %zu bytes of memory, %zu in one piece", what, use.peak, use.largest);
}

/* A sentence that says where: in which frame and at which byte, or which step refused what was in it. */
static inline void check_error(const char *what, const struct vferry_status *status)
{
	if (!status->error.code || !status->error.message[0] || !status->error.id[0])
		fail_msg("%s: outcome %d without a reason: \"%s\" \"%s\"", what, status->outcome,
			 status->error.id, status->error.message);
	for (const char *c = status->error.message; *c; c++)
		if (*c < ' ' || *c > '~')
			fail_msg("%s: a message that is not fit to be shown, from byte %zu on",
				 what, (size_t) (c - status->error.message));
}

#endif
