/* SPDX-License-Identifier: MIT */
/*
 * fuzz_file.c - opens, walks and loads a file of whatever bytes. The input is the header, then what
 * is put right behind it; the header's checksum is put right, else nothing would get past it.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "transfer/file.h"
#include "transfer/file_layout.h"

static void walk(struct vf_file_reader *reader)
{
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_frame frame;

	while (vf_file_reader_next(reader, &cursor, &frame, NULL) > 0) {
		uint8_t *body = malloc((size_t) frame.frame.length + 1);

		if (!body)
			return;
		(void) vf_file_reader_body(reader, &frame, body, NULL);
		free(body);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[VF_FILE_HEADER_BYTES] = { 0 };
	size_t in_header = size < 256 ? size : 256;	/* the rest of it is zeros */
	struct vf_file_reader *reader;
	int fd;

	if (size > 1 << 20)
		return 0;
	if (size)
		memcpy(header, data, in_header);
	vf_put_u32(header + 4092, vf_crc32c(0, header, 4092));
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, header, sizeof(header)) != (ssize_t) sizeof(header) ||
	    write(fd, data + in_header, size - in_header) != (ssize_t) (size - in_header) ||
	    ftruncate(fd, 1 << 24))
		abort();
	if (vf_file_reader_from_fd(fd, "fuzz", &reader, NULL))
		return 0;
	walk(reader);
	(void) vf_file_reader_load_pages(reader, NULL, 1, NULL, NULL);
	(void) vf_file_reader_free(reader);
	return 0;
}
