/* SPDX-License-Identifier: MIT */
/*
 * The server's side of vfio-user: the input is a chain of { u8 flags, u16 length, bytes }, sent to a
 * server that has a device behind it. Bit 0 of flags: a memfd goes along, bit 1: an eventfd, bit 2:
 * the bytes are a body, and the byte before them is the command of a well-formed header.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "vfio-user/server.h"
#include "vfio-user/socket.h"

#define PIECES_AT 1u
#include "piece_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vf_vfio_user_server *server;
static uint8_t memory[4096];

static int region_read(void *user, uint32_t region, uint64_t offset, void *to, uint32_t len)
{
	(void) user;
	(void) region;
	memcpy(to, memory + offset, len);
	return 0;
}

/* The written bytes choose what the device does with the client's memory. */
static int region_write(void *user, uint32_t region, uint64_t offset, const void *from,
			uint32_t len)
{
	uint8_t copy[256] = { 0 };
	uint64_t iova = len >= 8 ? vf_get_u64(from) : 0;

	(void) user;
	(void) region;
	memcpy(memory + offset, from, len);
	(void) vf_vfio_user_server_dma_write(server, iova, copy, len < 256 ? len : 256);
	(void) vf_vfio_user_server_irq_trigger(server, len % 5, 0);
	vf_vfio_user_server_irq_level(server, VF_VFIO_PCI_INTX_IRQ, len & 1);
	return 0;
}

static int reset(void *user, enum vf_vfio_user_reset why)
{
	(void) user;
	(void) why;
	return 0;
}

static int arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to)
{
	(void) user;
	return from == VF_VFIO_STATE_RESUMING && to == VF_VFIO_STATE_STOP && memory[0] ? -EINVAL : 0;
}

static ssize_t data_read(void *user, void *to, size_t len)
{
	(void) user;
	memset(to, 0x5a, len);
	return (ssize_t) len;
}

static int data_write(void *user, const void *from, size_t len)
{
	(void) user;
	memcpy(memory, from, len < sizeof(memory) ? len : sizeof(memory));
	return 0;
}

static void kicked(void *user, uint32_t ioeventfd, uint64_t count)
{
	(void) user;
	if (ioeventfd > 1 || !count)
		abort();
}

static int data_size(void *user, uint64_t *ret_bytes)
{
	(void) user;
	*ret_bytes = 1;
	return 0;
}

static int precopy_info(void *user, struct vf_vfio_precopy_info *ret_info)
{
	(void) user;
	ret_info->initial_bytes = 1;
	return 0;
}

static const struct vf_vfio_user_server_ops ops = {
	.size = sizeof(ops),
	.region_read = region_read,
	.region_write = region_write,
	.reset = reset,
	.kicked = kicked,
	.arc = arc,
	.data_read = data_read,
	.data_write = data_write,
	.data_size = data_size,
	.precopy_info = precopy_info,
};

static bool make_server(void)
{
	struct vf_vfio_user_server_options options = {
		.size = sizeof(options),
		.ops = &ops,
		.migration_flags = 7,
		.max_data_xfer_bytes = 8192,
		.max_mig_buffer_bytes = 65536,
		.max_dma_maps = 8,
		.dma_timeout_ms = 1,
		.no_twin_socket = true,
	};
	struct vf_vfio_user_region_desc desc = {
		.size = sizeof(memory), .flags = 3, .fd = -1,
	};
	const struct vf_vfio_user_ioeventfd_desc any = { .region = 7, .size = 4 };
	const struct vf_vfio_user_ioeventfd_desc five = { 7, 8, 8, true, 5 };

	return !vf_vfio_user_server_new(&options, &server, NULL) &&
	       !vf_vfio_user_server_set_region(server, 7, &desc, NULL) &&
	       !vf_vfio_user_server_add_ioeventfd(server, &any, NULL) &&
	       !vf_vfio_user_server_add_ioeventfd(server, &five, NULL) &&
	       !vf_vfio_user_server_set_irq(server, 0, 1, 7, NULL) &&
	       !vf_vfio_user_server_set_irq(server, 2, 8, 1, NULL);
}

static void settle(int fd)
{
	static uint8_t waste[65536];
	const uint64_t one = 1;

	for (int i = 0; i < 4; i++) {
		struct vf_vfio_user_fds fds = { .count = 0 };

		(void) vf_vfio_user_server_dispatch(server, NULL);
		(void) vf_socket_receive_some(fd, waste, sizeof(waste), &fds);
		for (uint32_t n = 0; n < fds.count; n++)	/* an ioeventfd, or a twin socket */
			(void) !write(fds.fd[n], &one, sizeof(one));
		vf_fds_done(&fds);
	}
}

static void send_piece(int fd, uint8_t flags, const uint8_t *bytes, size_t len)
{
	struct vf_vfio_user_header header = { .id = 1, .command = len ? bytes[0] : 0 };
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES];
	struct iovec iov[2] = { { raw, 0 }, { (void *) bytes, len } };
	int fds[2];
	uint32_t count = 0;

	if (flags & 4 && len) {
		if (header.command >= 0x80)
			header.command = (uint16_t) (header.command | 0x8000) & 0x800f;
		header.size = (uint32_t) (sizeof(raw) + len - 1);
		vf_vfio_user_put_header(raw, &header);
		iov[0].iov_len = sizeof(raw);
		iov[1] = (struct iovec) { (void *) (bytes + 1), len - 1 };
	}
	if (flags & 1) {
		fds[count] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fds[count] >= 0 && !ftruncate(fds[count], 65536) &&
		    !fcntl(fds[count], F_ADD_SEALS, F_SEAL_SHRINK))
			count++;
	}
	if (flags & 2)
		fds[count++] = eventfd(0, EFD_CLOEXEC);
	(void) vf_socket_send_some(fd, iov, 2, fds, count);
	while (count)
		close(fds[--count]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t greeting[] = "\1\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,\"vferry\":"
		"{\"version\":1,\"p2p\":true,\"precopy_info\":true,\"mig_data_size\":true,"
		"\"mig_buffer_bytes\":65536}}}";
	int pair[2];

	if (!size || !make_server())
		return 0;
	memset(memory, 0, sizeof(memory));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return 0;
	(void) vf_vfio_user_server_attach(server, pair[0], NULL);
	/* Byte 0: is there a proper VERSION first? */
	if (data[0] & 1)
		send_piece(pair[1], 4, greeting, sizeof(greeting));
	settle(pair[1]);
	for (size_t at = 1; at + 3 <= size;) {
		size_t len = vf_get_u16(data + at + 1);
		uint8_t flags = data[at];

		at += 3;
		len = len < size - at ? len : size - at;
		send_piece(pair[1], flags, data + at, len);
		settle(pair[1]);
		at += len;
	}
	close(pair[1]);
	(void) vf_vfio_user_server_dispatch(server, NULL);
	vf_vfio_user_server_free(server);
	server = NULL;
	return 0;
}
