/* SPDX-License-Identifier: MIT */
/*
 * fuzz_stream_source.c - a whole source moves its machine to a destination that is the input: a list of
 * frames (tests/hostile/frames.h). Until it has said COMMIT, its machine runs on in the end.
 */
#include <stdio.h>

#include "frame_mutator.h"
#include "play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hostile_stream stream;
	struct vferry_parameters p = VFERRY_PARAMETERS_INIT;
	struct hostile_play play = {
		.role = HOSTILE_DESTINATION, .frames = &stream, .gate_ms = 50,
	};
	struct small_machine m;
	struct vferry_status status;

	p.stall_timeout_ns = SMALL_SECOND_NS;
	p.pause_budget_ns = SMALL_SECOND_NS / 4;
	p.timeout_ns = SMALL_SECOND_NS;
	hostile_stream_parse(&stream, data, size);
	small_machine_init(&m, true);
	if (hostile_session(&m, &play, &p, 10 * SMALL_SECOND_NS, &status))
		abort();
	if (!play.seen[VF_FRAME_COMMIT] && !m.running)
		abort();	/* lost, and never given away */
	if (m.running && (status.outcome == VFERRY_OUTCOME_DONE ||
			  status.outcome == VFERRY_OUTCOME_UNKNOWN ||
			  status.outcome == VFERRY_OUTCOME_FAILED_AFTER))
		abort();	/* perhaps in two places */
	if (status.outcome > 0 && (!status.error.code || !status.error.message[0]))
		abort();
	small_machine_done(&m);
	hostile_stream_done(&stream);
	return 0;
}
