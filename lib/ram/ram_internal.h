/* SPDX-License-Identifier: MIT */
/* ram_internal.h - struct vferry_ram, shared by the files of lib/ram only. */
#ifndef VF_RAM_RAM_INTERNAL_H
#define VF_RAM_RAM_INTERNAL_H

#include <pthread.h>

#include "ram/ram.h"

#define VF_RAM_MAX_SOURCES 64
#define VF_RAM_NAME_BYTES 64

enum vf_hole_kind {
	VF_HOLES_NONE = 0,	/* everything counts as data */
	VF_HOLES_SEEK = 1,	/* SEEK_DATA, SEEK_HOLE */
	VF_HOLES_RESIDENT = 2,	/* page tables, while they account for all that is allocated */
};

struct vf_ram_block {
	struct vferry_ram_block pub;
	char name[VF_RAM_NAME_BYTES];
	struct vf_bitmap dirty;
	enum vf_hole_kind holes;
	uint64_t huge_pages;	/* 4 KiB pages in a huge page; of VF_HOLES_RESIDENT */
	bool resident_believed;	/* atomic; of VF_HOLES_RESIDENT, see vf_ram_refresh_holes() */
	bool all_marked;	/* atomic; somebody marked all of it without knowing */
};

struct vf_ram_source {
	struct vferry_dirty_source ops;
	char name[VF_RAM_NAME_BYTES];
	bool started;
};

struct vferry_ram {
	struct vf_ram_block blocks[VF_RAM_MAX_BLOCKS];
	size_t block_count;
	bool tracking;		/* atomic; what vferry_ram_mark_dirty() loads */
	pthread_mutex_t lock;	/* protects sources, scratch, and changes of tracking */
	struct vf_ram_source sources[VF_RAM_MAX_SOURCES];
	size_t source_count;
	struct vf_bitmap scratch;	/* one source's answer about one block */
	struct vf_trace *trace;	/* atomic; the session's, or NULL */
};

/* What tracking_start() needs of the kernel once a process; takes 10 ms if asked for only then. */
void vf_ram_prepare_barrier(void);

#endif
