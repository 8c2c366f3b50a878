/* SPDX-License-Identifier: MIT */
/*
 * fill.h - content for RAM that nobody has touched, without a page fault and a clearing for each page.
 *
 * Model: while a fill is open, a userfaultfd (userfaultfd(2)) watches the blocks that it was told, and
 * makes their pages out of a buffer (UFFDIO_COPY). Where a page is there already, it is written to. It is
 * of the kind that anybody may have (UFFD_USER_MODE_ONLY): so while it is open, a thread of this process
 * that touches a page which is not there waits until it is, or until the fill is closed; and a system
 * call that does so fails with EFAULT. Nobody should: RAM is being loaded, and no vCPU runs.
 *
 * Threads: put from any number of them, each for other pages, and stop at any time; open and watch before,
 * close after.
 */
#ifndef VF_RAM_FILL_H
#define VF_RAM_FILL_H

#include <stdint.h>

#include <vferry/ram.h>

struct vf_ram_fill;

/* Watches nothing yet. NULL: this kernel has no such thing; then no block is watched, ever. */
struct vf_ram_fill *vf_ram_fill_open(struct vferry_ram *ram);
struct vf_ram_fill *vf_ram_fill_close(struct vf_ram_fill *fill);	/* stops; returns NULL */
/* No block is watched any more, and put just writes. */
void vf_ram_fill_stop(struct vf_ram_fill *fill);

/* Watches @block from now on, if no more than @most of its pages must be put together. */
void vf_ram_fill_watch(struct vf_ram_fill *fill, size_t block, uint64_t most);
/* How many pages of @block must be put together: 1, or those of a huge page. 0: it is not watched. */
uint64_t vf_ram_fill_unit(const struct vf_ram_fill *fill, size_t block);

/* Pages [page, page + count), whole units of a block that is or was watched. Return: 0; negative errno. */
int vf_ram_fill_put(struct vf_ram_fill *fill, size_t block, uint64_t page, const void *from,
		    uint64_t count);

#endif
