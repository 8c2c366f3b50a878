/* SPDX-License-Identifier: MIT */
/*
 * fuzz_inspect.c - a saved machine of whatever bytes is inspected to its end. The input is 256
 * bytes of the header, and then, behind the rest of it and one block's tables, the frames; a header
 * whose checksum is wrong would hide all others, so that it is put right.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "session/inspect.h"
#include "transfer/file_layout.h"

#define MEND_AT 255u	/* not 0: checksums of frames are put right as well */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_frame(void *user, const struct vferry_inspect_frame *frame)
{
	uint64_t *sum = user;

	*sum += frame->length + strlen(frame->detail);
	if (frame->component_name)
		*sum += strlen(frame->component_name);
}

static void on_field(void *user, const struct vferry_inspect_field *field)
{
	uint64_t *sum = user;

	*sum += strlen(field->group) + strlen(field->name) + strlen(field->value);
}

static void use(const struct vferry_inspection *i, uint64_t *sum)
{
	for (size_t n = 0; n < i->component_count; n++)
		for (size_t s = 0; s < i->components[n].section_count; s++) {
			const struct vferry_inspect_section *section =
				&i->components[n].sections[s];

			if (section->is_config && section->body)
				(void) vferry_inspect_config(section->body, section->bytes,
							     on_field, sum, NULL);
		}
	for (size_t n = 0; n < i->dependency_count; n++)
		if (i->dependencies[n].first_component >= i->component_count)
			abort();
	if (i->problems_listed > VFERRY_INSPECT_PROBLEMS || i->problems_listed > i->problem_count)
		abort();
}

/* Of frames as far as their lengths lead: so that what is in them is looked at, too. */
static void mend_frames(uint8_t *at, size_t size)
{
	while (size >= VF_FRAME_HEADER_BYTES) {
		uint32_t length = vf_get_u32(at + 12);

		if (length > size - VF_FRAME_HEADER_BYTES)
			return;
		vf_put_u32(at + 24, vf_crc32c(0, at + VF_FRAME_HEADER_BYTES, length));
		vf_put_u32(at + 28, vf_crc32c(0, at, 28));
		at += VF_FRAME_HEADER_BYTES + length;
		size -= VF_FRAME_HEADER_BYTES + length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vferry_inspect_options options = VFERRY_INSPECT_OPTIONS_INIT;
	uint8_t header[VF_FILE_HEADER_BYTES] = { 0 };
	size_t in_header = size < 256 ? size : 256;
	struct vferry_inspection *i;
	uint8_t *frames;
	uint64_t sum = 0;
	int fd;

	if (size > 1 << 20)
		return 0;
	if (size)
		memcpy(header, data, in_header);
	vf_put_u32(header + 4092, vf_crc32c(0, header, 4092));
	frames = malloc(size - in_header + 1);
	if (!frames)
		abort();
	if (size > in_header)
		memcpy(frames, data + in_header, size - in_header);
	if (header[MEND_AT])
		mend_frames(frames, size - in_header);
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	/* Frames of a file with one block of up to 512 pages begin at 4 MiB, of one without at 2
	 * MiB. */
	if (fd < 0 || write(fd, header, sizeof(header)) != (ssize_t) sizeof(header) ||
	    pwrite(fd, frames, size - in_header,
		   (off_t) (vf_get_u64(header + 16) & 0x600000)) != (ssize_t) (size - in_header))
		abort();
	free(frames);
	options.verify = true;
	options.frame = on_frame;
	options.user = &sum;
	if (vf_inspect_fd(fd, "fuzz", &options, &i, NULL))
		return 0;
	use(i, &sum);
	(void) vferry_inspection_free(i);
	return 0;
}
