/* SPDX-License-Identifier: MIT */
/*
 * inspect_frames.c - the walk over the frames of a saved machine.
 *
 * A frame's header says where the next one is, so a broken header loses the way. It is found again
 * at the next place where a whole header lies: that is what the mark in front of each is for.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "session/inspect.h"

/* What is looked at at once: little first, since the next frame may be near. */
#define SCAN_BYTES_FIRST 1024u
#define SCAN_BYTES 65536u

struct walk {
	struct vf_inspect *in;
	uint64_t at;		/* offset in the file */
	uint64_t end;		/* of the frames that are there */
	uint64_t sequence;	/* of the next one */
	bool quiet;		/* problems are noted by another walk */
};

/* Is a whole frame's header at @p, for a frame at @at? */
static bool is_header(const struct walk *w, const uint8_t *p, uint64_t at, struct vf_frame *ret)
{
	return vf_get_u32(p) == VF_FRAME_MARK &&
	       !vf_frame_decode(p, VF_FRAME_MAX_BYTES, ret, NULL) && ret->sequence >= w->sequence &&
	       vf_range_in(at + VF_FRAME_HEADER_BYTES, ret->length, w->end);
}

/* The first whole header behind @from; w->end if there is none. */
static uint64_t find_header(struct walk *w, uint64_t from)
{
	uint8_t piece[SCAN_BYTES];
	struct vf_frame frame;
	size_t size = SCAN_BYTES_FIRST;

	for (; from < w->end; size = SCAN_BYTES) {
		size_t wanted = (size_t) vf_min_u64(size, w->end - from);
		size_t got = vf_inspect_read(w->in, piece, wanted, from);

		if (got < VF_FRAME_HEADER_BYTES)
			break;
		for (size_t i = 0; i + VF_FRAME_HEADER_BYTES <= got; i++)
			if (is_header(w, piece + i, from + i, &frame))
				return from + i;
		from += got - VF_FRAME_HEADER_BYTES + 1;
	}
	return w->end;
}

/* Notes what is wrong with the frame at w->at, and goes to the next one that is whole. */
static void lose(struct walk *w, const char *why)
{
	uint64_t next = find_header(w, w->at + 1);

	if (!w->quiet && next < w->end)
		vf_inspect_problem(w->in, w->at, "frame",
				   "%s; readable again at offset %" PRIu64 ", %" PRIu64
				   " bytes further", why, next, next - w->at);
	else if (!w->quiet)
		vf_inspect_problem(w->in, w->at, "frame", "%s; nothing is readable behind it", why);
	w->at = next;
}

static void lose_header(struct walk *w, const uint8_t *header, const char *why)
{
	uint32_t found = vf_get_u32(header + VF_FRAME_HEADER_BYTES - 4);
	char text[160];

	if (vf_get_u32(header) != VF_FRAME_MARK)
		(void) snprintf(text, sizeof(text), "frame %" PRIu64 " was expected: %s",
				w->sequence, why);
	else if (vf_crc32c(0, header, VF_FRAME_HEADER_BYTES - 4) != found)
		(void) snprintf(text, sizeof(text),
				"frame %" PRIu64 ": its header has checksum %08x, "
				"%08x was expected",
				w->sequence, vf_crc32c(0, header, VF_FRAME_HEADER_BYTES - 4),
				found);
	else
		(void) snprintf(text, sizeof(text), "frame %" PRIu64 ": %s", w->sequence, why);
	lose(w, text);
}

/* The next frame with a whole header. Return: there is one. */
static bool next_frame(struct walk *w, struct vf_frame *ret_frame, uint64_t *ret_offset)
{
	while (w->at < w->end && !w->in->result) {
		struct vferry_error why = VFERRY_ERROR_INIT;
		uint8_t header[VF_FRAME_HEADER_BYTES] = { 0 };
		size_t got = vf_inspect_read(w->in, header,
					     vf_min_u64(sizeof(header), w->end - w->at), w->at);

		if (got < sizeof(header)) {
			lose(w, "the header of a frame is cut off");
			continue;
		}
		if (vf_frame_decode(header, VF_FRAME_MAX_BYTES, ret_frame, &why)) {
			lose_header(w, header, why.message);
			continue;
		}
		if (!vf_range_in(w->at + sizeof(header), ret_frame->length, w->end)) {
			(void) snprintf(why.message, sizeof(why.message),
					"a body of %u bytes was expected "
					"behind it, there are %" PRIu64,
					ret_frame->length, w->end - w->at - sizeof(header));
			lose_header(w, header, why.message);
			continue;
		}
		if (ret_frame->sequence != w->sequence && !w->quiet)
			vf_inspect_problem(w->in, w->at, "frame",
					   "frame %" PRIu64 " was expected, this is "
					   "number %" PRIu64,
					   w->sequence, ret_frame->sequence);
		*ret_offset = w->at;
		w->at += sizeof(header) + ret_frame->length;
		w->sequence = ret_frame->sequence + 1;
		return true;
	}
	return false;
}

/* Reads the body. Return: its checksum is right. */
static bool read_body(struct walk *w, const struct vf_frame *frame, uint64_t offset)
{
	uint32_t crc;

	if (vf_inspect_read(w->in, w->in->body, frame->length, offset + VF_FRAME_HEADER_BYTES) <
	    frame->length)
		return false;
	crc = vf_crc32c(0, w->in->body, frame->length);
	if (crc == frame->body_crc)
		return true;
	if (!w->quiet)
		vf_inspect_problem(w->in, offset, "frame",
				   "%s frame %" PRIu64 ": its body of %u bytes has "
				   "checksum %08x, %08x was expected",
				   vf_frame_type_name(frame->type) ?: "unknown", frame->sequence,
				   frame->length, crc, frame->body_crc);
	return false;
}

static void count(struct vf_inspect *in, const struct vf_frame *frame)
{
	struct vferry_inspection *out = in->out;
	const char *type = vf_frame_type_name(frame->type);
	size_t i = 0;

	while (i < out->frame_types && out->frames[i].type != type)
		i++;
	if (i == VFERRY_INSPECT_FRAME_TYPES)
		return;		/* more than there are types */
	if (i == out->frame_types)
		out->frames[out->frame_types++].type = type;
	out->frames[i].count++;
	out->frames[i].bytes += frame->length;
}

/* What the first bytes of the body say, in words. */
static void describe(const struct vf_inspect *in, const struct vf_frame *frame, char *to,
		     size_t size)
{
	static const char *const kinds[] = {
		[VF_MARK_INITIAL_END] = "end of initial bytes",
		[VF_MARK_STOPPED] = "device stopped",
		[VF_MARK_END] = "end",
	};
	struct vf_section_header section;
	struct vf_stream_header stream;
	struct vf_stream_mark mark;
	uint32_t number;

	if (frame->type == VF_FRAME_SECTION &&
	    !vf_section_header_decode(in->body, frame->length, &section, NULL))
		(void) snprintf(to, size, "section %u, version %u", section.id, section.version);
	else if (frame->type == VF_FRAME_STREAM_DATA &&
		 !vf_stream_header_decode(in->body, frame->length, &stream, NULL))
		(void) snprintf(to, size, "generation %u, %u bytes at %" PRIu64, stream.generation,
				frame->length - VF_STREAM_HEADER_BYTES, stream.offset);
	else if (frame->type == VF_FRAME_STREAM_MARK &&
		 !vf_stream_mark_decode(in->body, frame->length, &mark, NULL))
		(void) snprintf(to, size, "generation %u, %s at %" PRIu64, mark.generation,
				kinds[mark.kind], mark.offset);
	else if ((frame->type == VF_FRAME_STREAM_RESTART || frame->type == VF_FRAME_SWITCHOVER) &&
		 !vf_number32_decode(in->body, frame->length, &number, NULL))
		(void) snprintf(to, size, "%s %u", frame->type == VF_FRAME_SWITCHOVER ? "last round"
				: "generation", number);
}

static void tell(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset, bool intact)
{
	struct vferry_inspect_frame f = {
		.offset = offset, .sequence = frame->sequence,
		.type = vf_frame_type_name(frame->type), .type_number = frame->type,
		.length = frame->length, .component = frame->component, .intact = intact,
	};

	if (!in->options->frame)
		return;
	if (frame->component < in->out->component_count)
		f.component_name = in->out->components[frame->component].name;
	if (intact)
		describe(in, frame, f.detail, sizeof(f.detail));
	in->options->frame(in->options->user, &f);
}

static struct walk walk_of(struct vf_inspect *in, bool quiet)
{
	const struct vf_file_layout *layout = &in->layout;
	struct walk w = { .in = in, .at = layout->frames_at, .quiet = quiet };

	/* frames_at is bounded by what file_layout.c computes, frames_bytes by nothing. */
	if (vf_range_in(layout->frames_at, layout->frames_bytes, in->file_bytes))
		w.end = layout->frames_at + layout->frames_bytes;
	else
		w.end = vf_max_u64(in->file_bytes, layout->frames_at);
	return w;
}

void vf_inspect_frames(struct vf_inspect *in)
{
	struct walk w = walk_of(in, true);
	struct vf_frame frame;
	uint64_t offset;

	while (next_frame(&w, &frame, &offset) && !(in->out->has_hello && in->out->has_machine))
		if ((frame.type == VF_FRAME_HELLO || frame.type == VF_FRAME_MACHINE) &&
		    read_body(&w, &frame, offset))
			vf_inspect_description(in, &frame, offset);
	w = walk_of(in, false);
	while (next_frame(&w, &frame, &offset)) {
		bool intact = read_body(&w, &frame, offset);

		count(in, &frame);
		tell(in, &frame, offset, intact);
		if (intact)
			vf_inspect_content(in, &frame, offset);
	}
	if (in->result)
		return;
	if (w.end - in->layout.frames_at < in->layout.frames_bytes)
		vf_inspect_problem(in, in->file_bytes, "file",
				   "the file ends here, %" PRIu64
				   " bytes of frames were expected from "
				   "offset %" PRIu64 " on",
				   in->layout.frames_bytes, in->layout.frames_at);
	else if (w.sequence != in->layout.frame_count)
		vf_inspect_problem(in, w.end, "file",
				   "%" PRIu64 " frames were expected, the last is number %" PRId64,
				   in->layout.frame_count, (int64_t) w.sequence - 1);
}
