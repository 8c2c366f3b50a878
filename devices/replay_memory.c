/* SPDX-License-Identifier: MIT */
/* replay_memory.c - see replay_memory.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "replay_memory.h"

static int make_region(struct replay_region *r)
{
	void *map;

	r->file_bytes = vf_div_up(r->size, VF_PAGE_BYTES) * VF_PAGE_BYTES;
	r->fd = memfd_create("replay-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r->fd < 0 || ftruncate(r->fd, (off_t) r->file_bytes) ||
	    fcntl(r->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	map = mmap(NULL, r->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r->fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r->map = map;
	return 0;
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
