/* SPDX-License-Identifier: MIT */
/*
 * inspect.h - what the parts of vferry_inspect() share.
 *
 *   inspect.c         the file's header, bitmaps, pages; making and freeing an inspection
 *   inspect_frames.c  the walk over all frames, and finding the way back behind a broken one
 *   inspect_content.c what is in them: machine, sections, streams, manifest
 *
 * The reader of lib/transfer stops at the first thing wrong, as a load must; this one notes it and
 * goes on. It trusts nothing: what a broken header says of the file's length, least.
 *
 * Threads: none.
 */
#ifndef VF_SESSION_INSPECT_H
#define VF_SESSION_INSPECT_H

#include <vferry/inspect.h>

#include "transfer/file_layout.h"
#include "wire/frame.h"
#include "wire/message.h"

#define VF_INSPECT_HOLD_BYTES (16u << 20)	/* section bodies, as a load holds them */

struct vf_inspection {
	struct vferry_inspection pub;
	struct vf_machine machine;	/* identities are borrowed from it */
};

struct vf_inspect {
	int fd;
	uint64_t file_bytes;
	const struct vferry_inspect_options *options;
	struct vf_file_layout layout;
	struct vf_inspection *own;
	struct vferry_inspection *out;	/* = &own->pub */
	uint8_t *body;			/* VF_FRAME_MAX_BYTES */
	uint64_t held_bytes;		/* section bodies */
	struct vf_manifest manifest;
	int result;			/* -ENOMEM, -EIO: the inspection as such failed */
};

/* Takes the descriptor; @options as for vferry_inspect(). For that, and for tests. */
int vf_inspect_fd(int take_fd, const char *name, const struct vferry_inspect_options *options,
		  struct vferry_inspection **ret_inspection, struct vferry_error *err);

void vf_inspect_problem(struct vf_inspect *in, uint64_t offset, const char *what, const char *fmt,
			...) __attribute__((format(printf, 4, 5)));
/* How many of @bytes at @at there are; the rest of @to is left alone. Errors of reading: 0, and
 * result. */
size_t vf_inspect_read(struct vf_inspect *in, void *to, size_t bytes, uint64_t at);

/* ---- inspect_frames.c ---- */

/* Description first, since it says what the indices in other frames mean; then everything. */
void vf_inspect_frames(struct vf_inspect *in);

/* ---- inspect_content.c ---- */

/* An intact frame, whose body is in->body. */
void vf_inspect_description(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset);
void vf_inspect_content(struct vf_inspect *in, const struct vf_frame *frame, uint64_t offset);
/* At the end: what is missing, and whether the manifest lists what was found. */
void vf_inspect_sum_up(struct vf_inspect *in);

#endif
