/* SPDX-License-Identifier: MIT */
/* fuzz_frame.c - a channel that reads whatever a hostile peer sends. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "transfer/channel.h"

/* Without the right checksum nearly nothing gets past the header, so it is put right first. */
static void fix_headers(uint8_t *data, size_t size)
{
	size_t at = 0;

	while (size - at >= VF_FRAME_HEADER_BYTES) {
		uint32_t crc = vf_crc32c(0, data + at, 28);
		uint32_t length = data[at + 12] | data[at + 13] << 8;

		if (!(data[at] & 0x80)) {	/* some stay wrong */
			data[at] = 'V';
			crc = vf_crc32c(0, data + at, 28);
			for (unsigned i = 0; i < 4; i++)
				data[at + 28 + i] = (uint8_t) (crc >> (8 * i));
		}
		at += VF_FRAME_HEADER_BYTES;
		if (length > size - at)
			return;
		at += length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf_channel *channel;
	struct vf_frame frame;
	uint8_t *copy, *body;
	int fds[2];

	if (size > 60000)	/* fits into the socket's buffer */
		return 0;
	copy = malloc(size + 1);
	if (!copy)
		return 0;
	for (size_t i = 0; i < size; i++)
		copy[i] = data[i];
	fix_headers(copy, size);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	if (vf_channel_from_fd(fds[0], "fuzz", &channel, NULL))
		abort();
	if (write(fds[1], copy, size) != (ssize_t) size)
		abort();
	(void) close(fds[1]);
	while (vf_channel_recv(channel, 4096, &frame, &body, NULL) > 0) {
		if (frame.length > 4096 || !vf_frame_type_name(frame.type))
			abort();
		free(body);
	}
	(void) vf_channel_free(channel);
	free(copy);
	return 0;
}
