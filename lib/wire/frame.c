/* SPDX-License-Identifier: MIT */
/* frame.c - the 32-byte header; its layout and validity are in frame.h. */
#include <errno.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "wire/frame.h"

#define CRC_AT 28u

static const char *const type_names[] = {
	[VF_FRAME_HELLO] = "hello",
	[VF_FRAME_MACHINE] = "machine",
	[VF_FRAME_ACCEPT] = "accept",
	[VF_FRAME_REFUSE] = "refuse",
	[VF_FRAME_PAGES] = "pages",
	[VF_FRAME_ROUND_END] = "round-end",
	[VF_FRAME_SECTION] = "section",
	[VF_FRAME_STREAM_DATA] = "stream-data",
	[VF_FRAME_STREAM_MARK] = "stream-mark",
	[VF_FRAME_STREAM_RESTART] = "stream-restart",
	[VF_FRAME_SWITCHOVER] = "switchover",
	[VF_FRAME_MANIFEST] = "manifest",
	[VF_FRAME_COMMIT] = "commit",
	[VF_FRAME_CANCEL] = "cancel",
	[VF_FRAME_CREDIT] = "credit",
	[VF_FRAME_INITIAL_ACK] = "initial-ack",
	[VF_FRAME_PREPARED] = "prepared",
	[VF_FRAME_FAILED] = "failed",
	[VF_FRAME_RUNNING] = "running",
	[VF_FRAME_REPORT] = "report",
	[VF_FRAME_RESOLVE] = "resolve",
	[VF_FRAME_RESOLVED] = "resolved",
	[VF_FRAME_KEEPALIVE] = "keepalive",
	[VF_FRAME_DIGEST] = "digest",
	[VF_FRAME_JOIN] = "join",
	[VF_FRAME_VECTORS] = "vectors",
};

bool vf_frame_is_stream(uint16_t type)
{
	return type == VF_FRAME_STREAM_DATA || type == VF_FRAME_STREAM_MARK ||
	       type == VF_FRAME_STREAM_RESTART;
}

const char *vf_frame_type_name(uint16_t type)
{
	return type < VF_ARRAY_COUNT(type_names) ? type_names[type] : NULL;
}

void vf_frame_encode(const struct vf_frame *frame, uint8_t to[VF_FRAME_HEADER_BYTES])
{
	vf_put_u32(to, VF_FRAME_MARK);
	vf_put_u16(to + 4, frame->type);
	vf_put_u16(to + 6, frame->flags);
	vf_put_u32(to + 8, frame->component);
	vf_put_u32(to + 12, frame->length);
	vf_put_u64(to + 16, frame->sequence);
	vf_put_u32(to + 24, frame->body_crc);
	vf_put_u32(to + CRC_AT, vf_crc32c(0, to, CRC_AT));
}

/* "GET ", "QEVM": what came in place of a frame is recognized by whoever reads the message. */
static char shown(uint8_t byte)
{
	return byte >= ' ' && byte <= '~' ? (char) byte : '.';
}

int vf_frame_decode(const uint8_t from[VF_FRAME_HEADER_BYTES], uint32_t max_length,
		    struct vf_frame *ret_frame, struct vferry_error *err)
{
	struct vf_frame frame;

	if (vf_get_u32(from) != VF_FRAME_MARK)
		return vferry_error_set(err, -EBADMSG, "frame-mark", NULL,
					"no frame begins here: mark 0x%08x (\"%c%c%c%c\") instead of "
					"0x%08x", vf_get_u32(from), shown(from[0]), shown(from[1]),
					shown(from[2]), shown(from[3]), VF_FRAME_MARK);
	if (vf_get_u32(from + CRC_AT) != vf_crc32c(0, from, CRC_AT))
		return vferry_error_set(err, -EBADMSG, "frame-crc", NULL,
					"the checksum of the frame header is wrong");
	frame = (struct vf_frame) {
		.type = vf_get_u16(from + 4),
		.flags = vf_get_u16(from + 6),
		.component = vf_get_u32(from + 8),
		.length = vf_get_u32(from + 12),
		.sequence = vf_get_u64(from + 16),
		.body_crc = vf_get_u32(from + 24),
	};
	if (!vf_frame_type_name(frame.type) && !(frame.flags & VF_FRAME_OPTIONAL))
		return vferry_error_set(err, -EPROTO, "frame-type", NULL,
					"type %u is not known to this version, and not optional",
					frame.type);
	if (frame.length > max_length)
		return vferry_error_set(err, -EMSGSIZE, "frame-length", NULL,
					"length: a %s frame of %u bytes; at most %u were agreed",
					vf_frame_type_name(frame.type) ?: "unknown", frame.length,
					max_length);
	*ret_frame = frame;
	return 0;
}
