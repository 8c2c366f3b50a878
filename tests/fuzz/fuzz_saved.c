/* SPDX-License-Identifier: MIT */
/*
 * fuzz_saved.c - a whole destination loads a saved machine. Its pages are those of a good one; its
 * frames are the input (tests/hostile/frames.h), with a header that fits them. Whatever they say, the
 * session ends, says why, and its machine runs only if all of it was loaded.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "frame_mutator.h"
#include "small_machine.h"
#include "transfer/file_layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of a good file, what is in front of its frames. */
static uint8_t *front;
static size_t front_bytes;

static void save_good(void)
{
	struct small_machine m;
	char path[64], uri[80];
	uint8_t header[VF_FILE_HEADER_BYTES];
	FILE *file;

	(void) snprintf(path, sizeof(path), "/tmp/vferry-fuzz-saved-%d", (int) getpid());
	(void) snprintf(uri, sizeof(uri), "file:%s", path);
	small_machine_init(&m, true);
	small_machine_session(&m, NULL);
	if (vferry_session_migrate(m.session, uri, NULL) ||
	    vferry_session_wait(m.session, 20 * SMALL_SECOND_NS))
		abort();
	small_machine_done(&m);
	file = fopen(path, "rb");
	if (!file || fread(header, sizeof(header), 1, file) != 1)
		abort();
	front_bytes = (size_t) vf_get_u64(header + 16);
	front = malloc(front_bytes);
	rewind(file);
	if (!front || fread(front, front_bytes, 1, file) != 1)
		abort();
	(void) fclose(file);
	(void) unlink(path);
}

/* A file with the frames of @s. Return: its descriptor. */
static int make_file(const struct hostile_stream *s)
{
	int fd = memfd_create("saved", MFD_CLOEXEC);
	uint64_t at = front_bytes;

	if (fd < 0)
		abort();
	for (unsigned i = 0; i < s->count; i++) {
		size_t bytes;
		uint8_t *frame = hostile_frame_bytes(&s->frames[i], i, &bytes);

		if (pwrite(fd, frame, bytes, (off_t) at) != (ssize_t) bytes)
			abort();
		at += bytes;
		free(frame);
	}
	vf_put_u64(front + 24, at - front_bytes);
	vf_put_u64(front + 32, s->count);
	vf_put_u32(front + 4092, vf_crc32c(0, front, 4092));
	if (pwrite(fd, front, front_bytes, 0) != (ssize_t) front_bytes)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hostile_stream stream;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct small_machine m;
	struct vferry_status status;
	char uri[64];
	int fd;

	if (!front)
		save_good();
	hostile_stream_parse(&stream, data, size);
	fd = make_file(&stream);
	(void) snprintf(uri, sizeof(uri), "file:/proc/self/fd/%d", fd);
	small_machine_init(&m, false);
	small_machine_session(&m, NULL);
	if (!vferry_session_accept(m.session, uri, &err)) {
		if (vferry_session_wait(m.session, 20 * SMALL_SECOND_NS))
			abort();
		vferry_session_get_status(m.session, &status);
		if (m.starts > 1 || m.running != (m.starts == 1) ||
		    (m.running && status.outcome != VFERRY_OUTCOME_DONE))
			abort();
		if (status.outcome > 0 && (!status.error.code || !status.error.message[0]))
			abort();
	} else if (!err.message[0]) {
		abort();
	}
	small_machine_done(&m);
	(void) close(fd);
	hostile_stream_done(&stream);
	return 0;
}
