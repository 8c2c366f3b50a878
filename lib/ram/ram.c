/* SPDX-License-Identifier: MIT */
/*
 * ram.c - blocks: made, sealed, mapped, looked up, read and written.
 *
 * Blocks never move or go while the RAM lives, so that all lookups run without a lock. Their list
 * only grows, and only before threads use it (see <vferry/ram.h>).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "ram/ram_internal.h"

#define HUGE_PAGE_BYTES (2 * VF_MIB)
#define HUGETLBFS_MAGIC_NUMBER 0x958458f6	/* statfs(2) */
#define MFD_2MB (21u << 26)				/* memfd_create(2): log2 of the size */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

int vferry_ram_new(struct vferry_ram **ret_ram)
{
	struct vferry_ram *ram = calloc(1, sizeof(*ram));

	if (!ram)
		return -ENOMEM;
	if (pthread_mutex_init(&ram->lock, NULL)) {
		free(ram);
		return -ENOMEM;
	}
	vf_ram_prepare_barrier();
	*ret_ram = ram;
	return 0;
}

static void block_done(struct vf_ram_block *block)
{
	if (block->pub.host)
		(void) munmap(block->pub.host, block->pub.bytes);
	vf_close(&block->pub.fd);
	vf_bitmap_done(&block->dirty);
}

struct vferry_ram *vferry_ram_free(struct vferry_ram *ram)
{
	if (!ram)
		return NULL;
	vf_ram_tracking_stop(ram);
	for (size_t i = 0; i < ram->block_count; i++)
		block_done(&ram->blocks[i]);
	vf_bitmap_done(&ram->scratch);
	(void) pthread_mutex_destroy(&ram->lock);
	free(ram);
	return NULL;
}

static int check_place(const struct vferry_ram *ram, const char *name, uint64_t gpa, uint64_t bytes,
		       uint32_t flags, struct vferry_error *err)
{
	uint64_t align = flags & VFERRY_RAM_HUGETLB ? HUGE_PAGE_BYTES : VF_PAGE_BYTES;
	uint64_t end;

	if (!name || !name[0] || strlen(name) >= VF_RAM_NAME_BYTES)
		return vferry_error_set(err, -EINVAL, "ram-name", NULL,
					"a RAM block needs a name of 1 to %d bytes",
					VF_RAM_NAME_BYTES - 1);
	if (flags & ~(uint32_t) (VFERRY_RAM_HUGETLB | VFERRY_RAM_PINNED | VFERRY_RAM_DUMPED))
		return vferry_error_set(err, -EINVAL, "ram-flags", name, "unknown flags 0x%x", flags);
	if (!bytes || bytes % align || gpa % VF_PAGE_BYTES || vf_add_u64(gpa, bytes, &end) ||
	    bytes > INT64_MAX)
		return vferry_error_set(err, -EINVAL, "ram-alignment", name,
					"0x%llx bytes at 0x%llx: the size must be a multiple of %llu",
					(unsigned long long) bytes, (unsigned long long) gpa,
					(unsigned long long) align);
	for (size_t i = 0; i < ram->block_count; i++) {
		const struct vferry_ram_block *other = &ram->blocks[i].pub;

		if (gpa < other->gpa + other->bytes && other->gpa < end)
			return vferry_error_set(err, -EINVAL, "ram-overlap", name,
						"overlaps block \"%s\"", other->name);
	}
	if (ram->block_count == VF_RAM_MAX_BLOCKS)
		return vferry_error_set(err, -E2BIG, "ram-blocks", name, "more than %d RAM blocks",
					VF_RAM_MAX_BLOCKS);
	if (vf_ram_tracking(ram))
		return vferry_error_set(err, -EBUSY, "ram-busy", name,
					"blocks cannot be added during a migration");
	return 0;
}

/* Nobody who holds the descriptor may pull the memory from under a mapping (SIGBUS). */
static int seal(int fd, const char *name, struct vferry_error *err)
{
	int seals;

	(void) fcntl(fd, F_ADD_SEALS, SEALS);	/* fails if sealing itself is sealed: then see below */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return vferry_error_set(err, -EINVAL, "ram-not-memfd", name,
					"the descriptor is not a memfd that can be sealed: %s",
					vferry_errno_name(errno));
	if ((seals & SEALS) != SEALS)
		return vferry_error_set(err, -EINVAL, "ram-not-sealed", name,
					"the memfd can be resized by others; create it with MFD_ALLOW_SEALING");
	return 0;
}

/* How holes of the block are found. */
static void choose_holes(struct vf_ram_block *block, int fd, uint32_t flags)
{
	struct statfs fs;

	if (flags & VFERRY_RAM_PINNED || fstatfs(fd, &fs))
		return;
	block->holes = fs.f_type == HUGETLBFS_MAGIC_NUMBER ? VF_HOLES_RESIDENT : VF_HOLES_SEEK;
	block->huge_pages = vf_max_u64((uint64_t) fs.f_bsize / VF_PAGE_BYTES, 1);
}

/* Maps and lists the block. Takes @take_fd over on success only. */
static int add_block(struct vferry_ram *ram, const char *name, uint64_t gpa, uint64_t bytes,
		     int take_fd, uint64_t fd_offset, uint32_t flags, struct vferry_error *err)
{
	struct vf_ram_block *block = &ram->blocks[ram->block_count];
	/*
	 * Pages of the hugetlb pool are reserved here: a pool that is too small must fail now, not by
	 * SIGBUS when the guest first touches a page.
	 */
	int map_flags = MAP_SHARED | (flags & VFERRY_RAM_HUGETLB ? 0 : MAP_NORESERVE);
	void *host;
	int ret;

	host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, map_flags, take_fd, (off_t) fd_offset);
	if (host == MAP_FAILED)
		return vferry_error_set(err, -errno, "ram-map", name, "cannot map %llu bytes: %s%s",
					(unsigned long long) bytes, vferry_errno_name(errno),
					flags & VFERRY_RAM_HUGETLB ?
					" (is vm.nr_hugepages large enough?)" : "");
	if (!(flags & VFERRY_RAM_DUMPED))
		(void) madvise(host, bytes, MADV_DONTDUMP);
	*block = (struct vf_ram_block) { .holes = VF_HOLES_NONE };
	choose_holes(block, take_fd, flags);
	ret = vf_bitmap_init(&block->dirty, bytes / VF_PAGE_BYTES);
	if (ret) {
		(void) munmap(host, bytes);
		return vferry_error_set(err, ret, "ram-memory", name, "no memory for the dirty map");
	}
	(void) snprintf(block->name, sizeof(block->name), "%s", name);
	block->pub = (struct vferry_ram_block) {
		.name = block->name, .gpa = gpa, .bytes = bytes, .fd = take_fd,
		.fd_offset = fd_offset, .host = host, .flags = flags,
	};
	return (int) ram->block_count++;
}

int vferry_ram_create_block(struct vferry_ram *ram, const char *name, uint64_t gpa, uint64_t bytes,
			    uint32_t flags, struct vferry_error *err)
{
	unsigned memfd_flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int ret = check_place(ram, name, gpa, bytes, flags, err);
	int fd;

	if (ret)
		return ret;
	if (flags & VFERRY_RAM_HUGETLB)
		memfd_flags |= MFD_HUGETLB | MFD_2MB;
	fd = memfd_create(name, memfd_flags);
	if (fd < 0)
		return vferry_error_set(err, -errno, "ram-memfd", name, "memfd_create: %s",
					vferry_errno_name(errno));
	if (ftruncate(fd, (off_t) bytes)) {
		ret = vferry_error_set(err, -errno, "ram-size", name, "cannot size the memfd: %s",
				       vferry_errno_name(errno));
		goto out;
	}
	ret = seal(fd, name, err);
	if (ret)
		goto out;
	(void) fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL);
	ret = add_block(ram, name, gpa, bytes, fd, 0, flags, err);
out:
	if (ret < 0)
		vf_close(&fd);
	return ret;
}

int vferry_ram_add_block(struct vferry_ram *ram, const char *name, uint64_t gpa, uint64_t bytes,
			 int fd, uint64_t fd_offset, uint32_t flags, struct vferry_error *err)
{
	int ret = check_place(ram, name, gpa, bytes, flags, err);
	struct stat st;
	int copy;

	if (ret)
		return ret;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return vferry_error_set(err, -errno, "ram-fd", name, "cannot duplicate descriptor %d: %s",
					fd, vferry_errno_name(errno));
	ret = seal(copy, name, err);
	if (ret)
		goto out;
	if (fstat(copy, &st) || !vf_range_in(fd_offset, bytes, (uint64_t) st.st_size)) {
		ret = vferry_error_set(err, -EINVAL, "ram-size", name,
				       "the memfd is smaller than the block");
		goto out;
	}
	ret = add_block(ram, name, gpa, bytes, copy, fd_offset, flags, err);
out:
	if (ret < 0)
		vf_close(&copy);
	return ret;
}

size_t vferry_ram_block_count(const struct vferry_ram *ram)
{
	return ram->block_count;
}

const struct vferry_ram_block *vferry_ram_get_block(const struct vferry_ram *ram, size_t index)
{
	return index < ram->block_count ? &ram->blocks[index].pub : NULL;
}

uint64_t vferry_ram_bytes(const struct vferry_ram *ram)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ram->block_count; i++)
		sum += ram->blocks[i].pub.bytes;
	return sum;
}

/* The block that @gpa lies in, or NULL. */
static const struct vf_ram_block *find_block(const struct vferry_ram *ram, uint64_t gpa)
{
	for (size_t i = 0; i < ram->block_count; i++) {
		const struct vf_ram_block *block = &ram->blocks[i];

		if (gpa - block->pub.gpa < block->pub.bytes)
			return block;
	}
	return NULL;
}

void *vferry_ram_host(const struct vferry_ram *ram, uint64_t gpa, uint64_t bytes)
{
	const struct vf_ram_block *block = find_block(ram, gpa);

	if (!block || !vf_range_in(gpa - block->pub.gpa, bytes, block->pub.bytes))
		return NULL;
	return (uint8_t *) block->pub.host + (gpa - block->pub.gpa);
}

/* Is all of [gpa, gpa + bytes) RAM? It may span blocks that touch. */
static bool all_ram(const struct vferry_ram *ram, uint64_t gpa, uint64_t bytes)
{
	while (bytes) {
		const struct vf_ram_block *block = find_block(ram, gpa);
		uint64_t part;

		if (!block)
			return false;
		part = vf_min_u64(bytes, block->pub.gpa + block->pub.bytes - gpa);
		gpa += part;
		bytes -= part;
	}
	return true;
}

int vferry_ram_read(const struct vferry_ram *ram, uint64_t gpa, void *to, size_t bytes)
{
	uint8_t *at = to;

	if (!all_ram(ram, gpa, bytes))
		return -EFAULT;
	while (bytes) {
		const struct vf_ram_block *block = find_block(ram, gpa);
		size_t part = vf_min_u64(bytes, block->pub.gpa + block->pub.bytes - gpa);

		memcpy(at, (const uint8_t *) block->pub.host + (gpa - block->pub.gpa), part);
		gpa += part;
		at += part;
		bytes -= part;
	}
	return 0;
}

int vferry_ram_write(struct vferry_ram *ram, uint64_t gpa, const void *from, size_t bytes)
{
	const uint8_t *at = from;
	uint64_t first = gpa;
	size_t left = bytes;

	if (!all_ram(ram, gpa, bytes))
		return -EFAULT;
	while (left) {
		const struct vf_ram_block *block = find_block(ram, gpa);
		size_t part = vf_min_u64(left, block->pub.gpa + block->pub.bytes - gpa);

		memcpy((uint8_t *) block->pub.host + (gpa - block->pub.gpa), at, part);
		gpa += part;
		at += part;
		left -= part;
	}
	vferry_ram_mark_dirty(ram, first, bytes);
	return 0;
}

#define DIGEST_BATCH 64

/* The checksum goes on over @pages pages at @host. */
static uint32_t digest_pages(uint32_t crc, const uint8_t *host, uint64_t pages)
{
	uint32_t part[DIGEST_BATCH];

	while (pages) {
		size_t n = vf_min_u64(pages, DIGEST_BATCH);

		vf_crc32c_pages(host, n, part);
		for (size_t i = 0; i < n; i++)
			crc = vf_crc32c_append_page(crc, part[i]);
		host += n * VF_PAGE_BYTES;
		pages -= n;
	}
	return crc;
}

int vferry_ram_digest(struct vferry_ram *ram, uint32_t *ret_digest, struct vferry_error *err)
{
	uint32_t crc = 0;

	(void) err;	/* nothing fails today; part of the contract, for RAM that has to be fetched */
	vf_ram_refresh_holes(ram);
	for (size_t b = 0; b < ram->block_count; b++) {
		const struct vferry_ram_block *block = &ram->blocks[b].pub;
		uint64_t end = vf_ram_block_pages(block);
		uint64_t page = 0;

		while (page < end) {
			uint64_t data_end = end;
			uint64_t data = vf_ram_next_data(ram, b, page, end, &data_end);

			crc = vf_crc32c_append_zeros(crc, (data - page) * VF_PAGE_BYTES);
			if (data == end)
				break;
			crc = digest_pages(crc, vf_ram_page(block, data), data_end - data);
			page = data_end;
		}
	}
	*ret_digest = crc;
	return 0;
}
