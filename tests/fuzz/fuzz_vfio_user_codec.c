/* SPDX-License-Identifier: MIT */
/* Every decoder of vfio-user. The first byte chooses one, the rest is what it gets. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vfio-user/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_version(const uint8_t *body, size_t len)
{
	struct vf_vfio_user_caps caps, again;
	uint16_t major, minor;
	uint8_t *whole;
	char *text;

	if (vf_vfio_user_get_version(body, len, &major, &minor, &caps))
		return;
	/* What was understood can be said, and is understood again as the same. */
	if (vf_vfio_user_caps_format(&caps, &text))
		return;
	whole = calloc(1, 5 + strlen(text));
	if (whole) {
		memcpy(whole + 4, text, strlen(text));
		if (vf_vfio_user_get_version(whole, 5 + strlen(text), &major, &minor, &again) ||
		    again.max_data_xfer_bytes != caps.max_data_xfer_bytes ||
		    again.p2p != caps.p2p || again.twin_socket != caps.twin_socket)
			abort();
	}
	free(whole);
	free(text);
}

static void try_region(const uint8_t *body, size_t len)
{
	static struct vf_vfio_sparse_area areas[VF_VFIO_USER_MAX_AREAS];
	struct vf_vfio_region_info info;
	uint32_t count;

	if (vf_vfio_user_get_region_info(body, len, &info) ||
	    vf_vfio_user_get_sparse(body, len, &info, areas, &count))
		return;
	for (uint32_t i = 0; i < count; i++)
		if (areas[i].offset > info.size || areas[i].size > info.size - areas[i].offset ||
		    !areas[i].size)
			abort();
}

static void try_io_fds(const uint8_t *body, size_t len)
{
	struct vf_vfio_user_io_fd fds[VF_VFIO_USER_MAX_IO_FDS];
	uint64_t bytes = len % 2 ? 4096 : UINT64_MAX;
	uint32_t count;

	if (vf_vfio_user_get_io_fd_list(body, len, bytes, fds, &count))
		return;
	if (count > VF_VFIO_USER_MAX_IO_FDS)
		abort();
	for (uint32_t i = 0; i < count; i++)
		if (fds[i].type == VF_VFIO_USER_IOEVENTFD &&
		    (fds[i].size > 8 || fds[i].offset >= bytes || fds[i].size > bytes - fds[i].offset))
			abort();
}

static void try_small(uint8_t which, const uint8_t *body, size_t len)
{
	struct vf_vfio_dma_log_range range;
	struct vf_vfio_dma_log_report report;
	struct vf_vfio_user_dma_map map;
	struct vf_vfio_user_access access;
	struct vf_vfio_device_info device;
	struct vf_vfio_precopy_info precopy;
	struct vf_vfio_irq_info irq;
	struct vf_vfio_irq_set set;
	const uint8_t *more;
	uint64_t a, b;
	uint32_t c, d;
	size_t left;

	switch (which) {
	case 2: (void) vf_vfio_user_get_dma_map(body, len, &map); break;
	case 3: (void) vf_vfio_user_get_dma_unmap(body, len, &c, &a, &b); break;
	case 4: (void) vf_vfio_user_get_region_access(body, len, &access); break;
	case 5: (void) vf_vfio_user_get_dma_access(body, len, &access); break;
	case 6: (void) vf_vfio_user_get_device_info(body, len, &device); break;
	case 7: (void) vf_vfio_user_get_irq_info(body, len, &irq); break;
	case 8:
		if (!vf_vfio_user_get_irq_set(body, len, &set, &more) && more)
			for (uint32_t i = 0, sum = 0; i < set.count; i++)
				sum += more[i];	/* all of them are there */
		break;
	case 9: (void) vf_vfio_user_get_feature(body, len, &c, &d, &more, &left); break;
	case 10:
		if (!vf_vfio_user_get_log_start(body, len, &a, &c))
			for (uint32_t i = 0; i < c; i++)
				vf_vfio_user_get_log_range(body + VF_VFIO_USER_LOG_START_BYTES +
							   16 * (size_t) i, &range);
		break;
	case 11: (void) vf_vfio_user_get_log_report(body, len, &report); break;
	case 12: (void) vf_vfio_user_get_mig_data(body, len, &c, &d); break;
	case 13: (void) vf_vfio_user_get_precopy(body, len, &precopy); break;
	case 14: try_io_fds(body, len); break;
	default: (void) vf_vfio_user_get_buffer_range(body, len, &a, &b); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *exact;

	if (!size)
		return 0;
	exact = malloc(size - 1 ? size - 1 : 1);	/* nothing readable behind it */
	if (!exact)
		return 0;
	memcpy(exact, data + 1, size - 1);
	if (data[0] == 0)
		try_version(exact, size - 1);
	else if (data[0] == 1)
		try_region(exact, size - 1);
	else
		try_small(data[0] % 16, exact, size - 1);
	free(exact);
	return 0;
}
