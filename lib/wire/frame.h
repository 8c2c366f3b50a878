/* SPDX-License-Identifier: MIT */
/*
 * frame.h - what every channel and file is made of: frames of a 32-byte header and a body.
 *
 *   offset size  field
 *        0    4  mark      0x31467256 ("VrF1"): where a damaged file becomes readable again
 *        4    2  type      enum vf_frame_type
 *        6    2  flags     enum vf_frame_flags
 *        8    4  component index in the machine description; VF_NO_COMPONENT
 *       12    4  length    bytes of body
 *       16    8  sequence  of this channel, from 0: a gap, a repeat or a swap is an error
 *       24    4  body_crc  CRC32C of the body; of PAGES: of the table in front of the pages
 *       28    4  crc       CRC32C of bytes 0..27
 *
 * Little-endian. A header is valid if mark and crc match; then its type is known or it has the
 * OPTIONAL flag (skip by length), and its length is within the bound that setup agreed on. No I/O here.
 */
#ifndef VF_WIRE_FRAME_H
#define VF_WIRE_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

#define VF_FRAME_HEADER_BYTES 32
#define VF_FRAME_MARK 0x31467256u
#define VF_NO_COMPONENT UINT32_MAX
/* Before setup agreed on a bound, and for everything but pages and stream data: */
#define VF_FRAME_MAX_MESSAGE_BYTES (1u << 20)
/* A page frame: table, and at most 1 MiB of pages. A stream frame: at most 1 MiB. */
#define VF_FRAME_MAX_BYTES ((1u << 20) + (1u << 16))

enum vf_frame_type {
	VF_FRAME_HELLO = 1,		/* both ways, first on every channel */
	VF_FRAME_MACHINE = 2,		/* > what is to be moved */
	VF_FRAME_ACCEPT = 3,		/* < */
	VF_FRAME_REFUSE = 4,		/* < all reasons */
	VF_FRAME_PAGES = 5,		/* > */
	VF_FRAME_ROUND_END = 6,		/* > on every channel: the barrier */
	VF_FRAME_SECTION = 7,		/* > */
	VF_FRAME_STREAM_DATA = 8,	/* > */
	VF_FRAME_STREAM_MARK = 9,	/* > initial-end, stopped, end */
	VF_FRAME_STREAM_RESTART = 10,	/* > the guest reset the device: begin anew */
	VF_FRAME_SWITCHOVER = 11,	/* > vCPUs stopped */
	VF_FRAME_MANIFEST = 12,		/* > what was sent, per channel and in all */
	VF_FRAME_COMMIT = 13,		/* > */
	VF_FRAME_CANCEL = 14,		/* > */
	VF_FRAME_CREDIT = 15,		/* < room for more stream data */
	VF_FRAME_INITIAL_ACK = 16,	/* < initial bytes of a stream are loaded */
	VF_FRAME_PREPARED = 17,		/* < */
	VF_FRAME_FAILED = 18,		/* < */
	VF_FRAME_RUNNING = 19,		/* < */
	VF_FRAME_REPORT = 20,		/* < steps as executed; optional */
	VF_FRAME_RESOLVE = 21,		/* > which way did it end? */
	VF_FRAME_RESOLVED = 22,		/* < */
	VF_FRAME_KEEPALIVE = 23,	/* both ways; optional */
	VF_FRAME_DIGEST = 24,		/* > digest of all RAM */
	VF_FRAME_JOIN = 25,		/* > after HELLO: who is it? optional, since 1.1 */
	VF_FRAME_VECTORS = 26,		/* < who delivers interrupts; optional, since 1.2 */
};

enum vf_frame_flags {
	VF_FRAME_OPTIONAL = 1u << 0,	/* may be skipped by who does not know the type */
};

struct vf_frame {
	uint16_t type;
	uint16_t flags;
	uint32_t component;
	uint32_t length;
	uint64_t sequence;
	uint32_t body_crc;
};

void vf_frame_encode(const struct vf_frame *frame, uint8_t to[VF_FRAME_HEADER_BYTES]);
/* Return: 0; -EBADMSG mark or crc; -EMSGSIZE longer than @max_length; -EPROTO unknown and not optional. */
int vf_frame_decode(const uint8_t from[VF_FRAME_HEADER_BYTES], uint32_t max_length,
		    struct vf_frame *ret_frame, struct vferry_error *err);
/* "section"; NULL for no such type. */
const char *vf_frame_type_name(uint16_t type);
/* Data, marks and restarts: what keeps its order among its like. */
bool vf_frame_is_stream(uint16_t type);

#endif
