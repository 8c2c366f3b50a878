/* SPDX-License-Identifier: MIT */
/*
 * fuzz_message.c - the first byte picks the message, the rest is its body. What decodes must encode
 * back to the same bytes: nothing is accepted that this side would not write.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sentences are stripped of control characters: only their lengths are the same. */
static void as_long(const struct vf_writer *w, size_t size)
{
	if (w->bad || w->size != size)
		abort();
}

static void same(const struct vf_writer *w, const uint8_t *data, size_t size)
{
	if (w->bad || w->size != size || (size && memcmp(w->data, data, size)))
		abort();
}

/* Decode, encode, compare, free: one line a message with its struct. */
#define ROUND_TRIP_AS(type, name, done, check)                        \
	do {                                                          \
		struct type m;                                        \
		if (!name##_decode(data, size, &m, &err)) {           \
			name##_encode(&w, &m);                        \
			check;                                        \
			done;                                         \
		} else if (!strstr(err.message, " byte ")) {          \
			abort();	/* where? */                  \
		}                                                     \
	} while (0)
#define ROUND_TRIP(type, name, done) ROUND_TRIP_AS(type, name, done, same(&w, data, size))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_writer w;
	uint8_t which;
	uint8_t join[VF_JOIN_BYTES];
	uint32_t v32;
	uint64_t v64;

	if (!size)
		return 0;
	which = *data++;
	size--;
	vf_writer_init(&w, VF_FRAME_MAX_MESSAGE_BYTES + size);
	switch (which) {
	case VF_FRAME_HELLO:
		ROUND_TRIP(vf_hello, vf_hello, );
		break;
	case VF_FRAME_MACHINE:
		ROUND_TRIP(vf_machine, vf_machine, vf_machine_done(&m));
		break;
	case VF_FRAME_ACCEPT:
		ROUND_TRIP(vf_accept, vf_accept, vf_accept_done(&m));
		break;
	case VF_FRAME_REFUSE:
		ROUND_TRIP_AS(vf_refuse, vf_refuse, vf_refuse_done(&m), as_long(&w, size));
		break;
	case VF_FRAME_STREAM_MARK:
		ROUND_TRIP(vf_stream_mark, vf_stream_mark, );
		break;
	case VF_FRAME_MANIFEST:
		ROUND_TRIP(vf_manifest, vf_manifest, vf_manifest_done(&m));
		break;
	case VF_FRAME_FAILED:
		ROUND_TRIP_AS(vferry_error, vf_failure, , as_long(&w, size));
		break;
	case VF_FRAME_REPORT:
		ROUND_TRIP(vf_report, vf_report, vf_report_done(&m));
		break;
	case VF_FRAME_VECTORS:
		ROUND_TRIP(vf_vectors, vf_vectors, vf_vectors_done(&m));
		break;
	case VF_FRAME_DIGEST:
		if (!vf_number32_decode(data, size, &v32, &err)) {
			vf_number32_encode(&w, v32);
			same(&w, data, size);
		}
		break;
	case VF_FRAME_JOIN:
		if (!vf_join_decode(data, size, join, &err)) {
			vf_write_bytes(&w, join, sizeof(join));
			same(&w, data, size);
		}
		break;
	case VF_FRAME_CREDIT:
		if (!vf_number64_decode(data, size, &v64, &err)) {
			vf_number64_encode(&w, v64);
			same(&w, data, size);
		}
		break;
	}
	vf_writer_done(&w);
	return 0;
}
