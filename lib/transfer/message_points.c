/* SPDX-License-Identifier: MIT */
/* message_points.c - see message_points.h. */
#include "base/checked.h"
#include "transfer/message_points.h"
#include "wire/frame.h"

#define BOTH(type) [VF_FRAME_##type] = { VF_TRACE_RECV_##type, VF_TRACE_SEND_##type }

static const enum vf_trace_point points[][2] = {
	BOTH(HELLO), BOTH(MACHINE), BOTH(ACCEPT), BOTH(REFUSE), BOTH(PAGES), BOTH(ROUND_END),
	BOTH(SECTION), BOTH(STREAM_DATA), BOTH(STREAM_MARK), BOTH(STREAM_RESTART), BOTH(SWITCHOVER),
	BOTH(MANIFEST), BOTH(COMMIT), BOTH(CANCEL), BOTH(CREDIT), BOTH(INITIAL_ACK), BOTH(PREPARED),
	BOTH(FAILED), BOTH(RUNNING), BOTH(REPORT), BOTH(RESOLVE), BOTH(RESOLVED), BOTH(KEEPALIVE),
	BOTH(DIGEST), BOTH(VECTORS),
	[VF_FRAME_JOIN] = { VF_TRACE_RECV_JOIN, VF_TRACE_NONE },	/* goes out with HELLO */
};

enum vf_trace_point vf_message_point(uint16_t type, bool sent)
{
	return type < VF_ARRAY_COUNT(points) ? points[type][sent] : VF_TRACE_NONE;
}
