/* SPDX-License-Identifier: MIT */
/* replay_memory.c - see replay_memory.h. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/sealed.h"
#include "replay_memory.h"

static int make_region(struct replay_region *r)
{
	void *map;
	int ret;

	r->file_bytes = vf_div_up(r->size, VF_PAGE_BYTES) * VF_PAGE_BYTES;
	ret = vf_sealed_map("replay-region", r->file_bytes, &r->fd, &map);
	if (!ret)
		r->map = map;
	return ret;
}

int replay_memory_init(struct replay_memory *m, const struct capture *capture,
		       struct vferry_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++)
		m->regions[i] = (struct replay_region) { .fd = -1 };
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS && !ret; i++) {
		if (i == VF_VFIO_PCI_CONFIG_REGION || !capture->regions[i].size)
			continue;
		m->regions[i].size = capture->regions[i].size;
		ret = make_region(&m->regions[i]);
		if (ret)
			(void) vferry_error_set(err, ret, "device-setup", "replay",
						"region %u of %" PRIu64 " bytes can't be made: %s", i,
						capture->regions[i].size, vferry_errno_name(ret));
	}
	if (ret)
		replay_memory_done(m);
	return ret;
}

void replay_memory_done(struct replay_memory *m)
{
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++) {
		if (m->regions[i].map)
			(void) munmap(m->regions[i].map, m->regions[i].file_bytes);
		m->regions[i].map = NULL;
		vf_close(&m->regions[i].fd);
	}
}

void replay_memory_reset(struct replay_memory *m)
{
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++)
		if (m->regions[i].map)
			(void) madvise(m->regions[i].map, m->regions[i].file_bytes, MADV_REMOVE);
}

static bool is_zero(const uint8_t *at, size_t len)
{
	return !at[0] && !memcmp(at, at + 1, len - 1);
}

uint32_t replay_memory_next(const struct replay_memory *m, uint32_t *region, uint64_t *offset)
{
	for (; *region < VF_VFIO_PCI_REGIONS; (*region)++, *offset = 0) {
		const struct replay_region *r = &m->regions[*region];

		while (*offset < r->size) {
			off_t data = lseek(r->fd, (off_t) *offset, SEEK_DATA);
			uint32_t len;

			if (data < 0 || (uint64_t) data >= r->size)
				break;		/* nothing behind it was touched */
			*offset = (uint64_t) data & ~(VF_PAGE_BYTES - 1);
			len = (uint32_t) vf_min_u64(VF_PAGE_BYTES, r->size - *offset);
			if (!is_zero(r->map + *offset, len))
				return len;
			*offset += VF_PAGE_BYTES;
		}
	}
	return 0;
}

uint64_t replay_memory_pages(const struct replay_memory *m)
{
	uint64_t pages = 0;
	struct stat st;

	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++)
		if (m->regions[i].map && !fstat(m->regions[i].fd, &st))
			pages += (uint64_t) st.st_blocks * 512 / VF_PAGE_BYTES;
	return pages;
}
