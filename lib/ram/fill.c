/* SPDX-License-Identifier: MIT */
/* fill.c - see fill.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/trace.h"
#include "ram/fill.h"
#include "ram/ram_internal.h"

struct vf_ram_fill {
	struct vferry_ram *ram;
	uint64_t unit[VF_RAM_MAX_BLOCKS];	/* pages; 0: the block is not watched */
	pthread_rwlock_t lock;			/* who puts reads, who stops writes */
	int fd;					/* atomic; -1: stopped */
};

/*
 * What the kernel would make at a first touch: a page, or the huge page of a hugetlb block. shmem that
 * may get huge pages is left to it, since UFFDIO_COPY makes small ones.
 */
static uint64_t unit_of(const struct vf_ram_block *block)
{
	struct stat st;

	if (block->holes == VF_HOLES_RESIDENT)
		return block->huge_pages;
	if (block->holes == VF_HOLES_SEEK && !fstat(block->pub.fd, &st) &&
	    (uint64_t) st.st_blksize == VF_PAGE_BYTES)
		return 1;
	return 0;
}

struct vf_ram_fill *vf_ram_fill_open(struct vferry_ram *ram)
{
	struct vf_ram_fill *fill = calloc(1, sizeof(*fill));
	struct uffdio_api api = { .api = UFFD_API };

	if (!fill)
		return NULL;
	fill->ram = ram;
	(void) pthread_rwlock_init(&fill->lock, NULL);
	fill->fd = (int) syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fill->fd < 0 || ioctl(fill->fd, UFFDIO_API, &api))
		return vf_ram_fill_close(fill);
	return fill;
}

void vf_ram_fill_stop(struct vf_ram_fill *fill)
{
	if (!fill)
		return;
	(void) pthread_rwlock_wrlock(&fill->lock);
	if (fill->fd >= 0)
		(void) close(fill->fd);	/* who waits goes on, and finds a page of zeros */
	__atomic_store_n(&fill->fd, -1, __ATOMIC_RELEASE);
	(void) pthread_rwlock_unlock(&fill->lock);
}

struct vf_ram_fill *vf_ram_fill_close(struct vf_ram_fill *fill)
{
	if (fill) {
		vf_ram_fill_stop(fill);
		(void) pthread_rwlock_destroy(&fill->lock);
		free(fill);
	}
	return NULL;
}

void vf_ram_fill_watch(struct vf_ram_fill *fill, size_t index, uint64_t most)
{
	const struct vf_ram_block *block = fill ? &fill->ram->blocks[index] : NULL;
	uint64_t unit = block ? unit_of(block) : 0;
	struct uffdio_register range;

	if (!unit || unit > most)
		return;
	range = (struct uffdio_register) {
		.range = { .start = (uintptr_t) block->pub.host, .len = block->pub.bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	if (!ioctl(fill->fd, UFFDIO_REGISTER, &range))
		fill->unit[index] = unit;
}

uint64_t vf_ram_fill_unit(const struct vf_ram_fill *fill, size_t block)
{
	return fill && __atomic_load_n(&fill->fd, __ATOMIC_ACQUIRE) >= 0 ? fill->unit[block] : 0;
}

/* Return: pages that were put, at least one unit; negative errno. */
static int64_t put_some(struct vf_ram_fill *fill, size_t block, uint8_t *to, const uint8_t *from,
			uint64_t count)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t) to, .src = (uintptr_t) from, .len = count * VF_PAGE_BYTES,
	};

	while (ioctl(fill->fd, UFFDIO_COPY, &copy)) {
		if (copy.copy > 0)	/* up to a page that is there */
			return copy.copy / (int64_t) VF_PAGE_BYTES;
		if (copy.copy == -EEXIST) {
			memcpy(to, from, fill->unit[block] * VF_PAGE_BYTES);
			return (int64_t) fill->unit[block];
		}
		if (copy.copy != -EAGAIN)	/* somebody changes our mappings at this moment */
			return copy.copy ? copy.copy : -errno;
		copy.copy = 0;
	}
	return (int64_t) count;
}

int vf_ram_fill_put(struct vf_ram_fill *fill, size_t block, uint64_t page, const void *from,
		    uint64_t count)
{
	uint8_t *to = vf_ram_page(&fill->ram->blocks[block].pub, page);
	const uint8_t *p = from;
	int64_t done = vf_trace(__atomic_load_n(&fill->ram->trace, __ATOMIC_ACQUIRE), VF_TRACE_RAM_FILL,
				fill->ram->blocks[block].name, page, count, 0);

	if (done)
		return (int) done;
	(void) pthread_rwlock_rdlock(&fill->lock);
	if (fill->fd < 0) {
		memcpy(to, from, count * VF_PAGE_BYTES);
		count = 0;
	}
	while (count && (done = put_some(fill, block, to, p, count)) > 0) {
		count -= (uint64_t) done;
		to += (uint64_t) done * VF_PAGE_BYTES;
		p += (uint64_t) done * VF_PAGE_BYTES;
	}
	(void) pthread_rwlock_unlock(&fill->lock);
	return done < 0 ? (int) done : 0;
}
