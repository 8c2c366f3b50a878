/* SPDX-License-Identifier: MIT */
/*
 * The client's side of vfio-user: the input is a chain of { u8 flags, u16 length, bytes }, what a
 * server sends in answer to a fixed series of calls. All of it is in the socket before the first
 * call, and then the end: so nothing waits and no thread is needed. Bit 0 of flags: the bytes are
 * the body of a reply with the right id and command; bit 1: of an error reply; bit 2: a memfd of
 * 8 KiB goes along; bit 3: an eventfd instead. Without bit 0 they go as they are.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vfio-user/client.h"
#include "vfio-user/client_internal.h"

#define PIECES_AT 0u
#include "piece_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CALLS 20u

static const uint16_t commands[CALLS] = {
	VF_VFIO_USER_VERSION, VF_VFIO_USER_GET_INFO, VF_VFIO_USER_GET_REGION_INFO,
	VF_VFIO_USER_GET_IRQ_INFO, VF_VFIO_USER_REGION_READ, VF_VFIO_USER_REGION_WRITE,
	VF_VFIO_USER_FEATURE, VF_VFIO_USER_FEATURE, VF_VFIO_USER_MIG_DATA_READ,
	VF_VFIO_USER_FEATURE, VF_VFIO_USER_FEATURE, VF_VFIO_USER_PRECOPY_INFO,
	VF_VFIO_USER_SET_IRQS, VF_VFIO_USER_DMA_MAP, VF_VFIO_USER_DMA_UNMAP, VF_VFIO_USER_RESET,
	VF_VFIO_USER_FEATURE, VF_VFIO_USER_MIG_DATA_WRITE, VF_VFIO_USER_FEATURE,
	VF_VFIO_USER_GET_REGION_IO_FDS,
};

/* The calls, in the order of `commands`; the ids are those that a new client gives out. */
static void call_all(struct vf_vfio_user_client *client)
{
	struct vf_vfio_dma_log_range range = { 0, 65536 };
	struct vf_vfio_device_info info;
	struct vf_vfio_user_region region;
	struct vf_vfio_precopy_info precopy;
	struct vf_vfio_irq_info irq;
	enum vf_vfio_state state;
	struct vf_vfio_user_ioeventfd ioeventfds[VF_VFIO_USER_MAX_IO_FDS];
	uint32_t ioeventfd_count = 0;
	uint64_t words[1] = { 0 }, flags, page;
	uint8_t bytes[64] = { 0 };

	(void) vf_vfio_user_client_get_info(client, &info, NULL);
	if (!vf_vfio_user_client_get_region(client, 0, &region, NULL)) {
		for (uint32_t i = 0; i < region.area_count; i++)
			if (region.areas[i].size > region.size)
				abort();
		vf_vfio_user_region_done(&region);
	}
	(void) vf_vfio_user_client_get_irq_info(client, 0, &irq, NULL);
	(void) vf_vfio_user_client_region_read(client, 0, 0, bytes, 8, NULL);
	(void) vf_vfio_user_client_region_write(client, 0, 0, bytes, 8, NULL);
	(void) vf_vfio_user_client_get_migration(client, &flags, NULL);
	(void) vf_vfio_user_client_get_state(client, &state, NULL);
	if (vf_vfio_user_client_mig_data_read(client, bytes, sizeof(bytes), NULL) >
	    (ssize_t) sizeof(bytes))
		abort();
	(void) vf_vfio_user_client_dma_log_start(client, 4096, &range, 1, &page, NULL);
	(void) vf_vfio_user_client_dma_log_report(client, 0, 65536, 4096, words, NULL);
	(void) vf_vfio_user_client_get_precopy_info(client, &precopy, NULL);
	(void) vf_vfio_user_client_set_irqs(client, 0, VF_VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, NULL,
					    NULL);
	(void) vf_vfio_user_client_dma_map(client, 0, 4096, true, -1, 0, NULL);
	(void) vf_vfio_user_client_dma_unmap(client, 0, 4096, NULL);
	(void) vf_vfio_user_client_reset(client, NULL);
	(void) vf_vfio_user_client_set_state(client, VF_VFIO_STATE_STOP, NULL);
	(void) vf_vfio_user_client_mig_data_write(client, bytes, sizeof(bytes), NULL);
	(void) vf_vfio_user_client_get_data_size(client, &flags, NULL);
	(void) vf_vfio_user_client_get_ioeventfds(client, 0, 8192, ioeventfds, &ioeventfd_count, NULL);
	while (ioeventfd_count) {
		const struct vf_vfio_user_ioeventfd *io = &ioeventfds[--ioeventfd_count];

		if (io->size > 8 || io->offset >= 8192 || io->size > 8192 - io->offset)
			abort();
		close(io->fd);
	}
	(void) vf_vfio_user_client_check_alive(client, NULL);
}

static void put_piece(int fd, uint32_t call, uint8_t flags, const uint8_t *bytes, size_t len)
{
	struct vf_vfio_user_header header = {
		.id = (uint16_t) ((call + 1) * VF_VFIO_USER_SLOTS + call % VF_VFIO_USER_SLOTS),
		.command = commands[call % CALLS],
		.size = (uint32_t) (VF_VFIO_USER_HEADER_BYTES + len),
		.flags = flags & 2 ? 0x21 : 1,
		.error = flags & 2 ? (uint32_t) len : 0,
	};
	uint8_t raw[VF_VFIO_USER_HEADER_BYTES];
	struct iovec iov[2] = { { raw, flags & 1 ? sizeof(raw) : 0 }, { (void *) bytes, len } };
	int memory = -1;

	vf_vfio_user_put_header(raw, &header);
	if (flags & 8) {
		memory = eventfd(0, EFD_CLOEXEC);
	} else if (flags & 4) {
		memory = memfd_create("fuzz", MFD_CLOEXEC);
		if (memory >= 0 && ftruncate(memory, 8192))
			abort();
	}
	if (iov[0].iov_len + len)
		(void) vf_socket_send_some(fd, iov, 2, &memory, memory >= 0);
	if (memory >= 0)
		close(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf_vfio_user_client_options options = { .size = sizeof(options), .timeout_ms = 200 };
	struct vf_vfio_user_client *client;
	uint32_t call = 0;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return 0;
	for (size_t at = 0; at + 3 <= size;) {
		size_t len = vf_get_u16(data + at + 1);
		uint8_t flags = data[at];

		at += 3;
		len = len < size - at ? len : size - at;
		put_piece(pair[1], call, flags, data + at, len);
		call += flags & 1;
		at += len;
	}
	(void) shutdown(pair[1], SHUT_WR);
	if (!vf_vfio_user_client_attach(pair[0], "fuzz", &options, &client, NULL)) {
		call_all(client);
		vf_vfio_user_client_free(client);
	}
	close(pair[1]);
	return 0;
}
