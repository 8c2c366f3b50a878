/* SPDX-License-Identifier: MIT */
/*
 * fuzz_stream_destination.c - a whole destination takes a migration from a source that is the input: a
 * list of frames (tests/hostile/frames.h). Whatever they say, the session ends, says why, and its
 * machine runs only if it was handed over.
 */
#include <stdio.h>

#include "frame_mutator.h"
#include "play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hostile_stream stream;
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct hostile_play play = { .role = HOSTILE_SOURCE, .frames = &stream, .gate_ms = 20 };
	struct small_machine m;
	struct vferry_status status;

	p.stall_timeout_ns = SMALL_SECOND_NS;
	hostile_stream_parse(&stream, data, size);
	small_machine_init(&m, false);
	if (hostile_session(&m, &play, &p, 10 * SMALL_SECOND_NS, &status))
		/* A promise may be held for as long as it takes. */
		if (status.outcome != VFERRY_OUTCOME_UNKNOWN && !play.seen[VF_FRAME_PREPARED])
			abort();
	if (m.starts > 1 || m.running != (m.starts == 1) ||
	    (m.running && !play.seen[VF_FRAME_PREPARED]))
		abort();
	if (status.outcome > 0 && (!status.error.code || !status.error.message[0]))
		abort();
	small_machine_done(&m);
	hostile_stream_done(&stream);
	return 0;
}
