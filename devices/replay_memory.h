/* SPDX-License-Identifier: MIT */
/*
 * replay_memory.h - the regions of a replayed device: plain memory, of the captured size, zero after a
 * reset. It takes as much of the host's as was touched.
 *
 * Each region but config space has a memfd of its own, which cannot change its size and which clients
 * may map where the captured device could be mapped.
 *
 * Threads: none of its own; clients write at any time.
 */
#ifndef VF_DEVICES_REPLAY_MEMORY_H
#define VF_DEVICES_REPLAY_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>
#include "capture/capture.h"

struct replay_region {
	uint64_t size;		/* 0 = not there, or config space */
	uint64_t file_bytes;	/* whole pages */
	int fd;			/* -1 = none */
	uint8_t *map;
};

struct replay_memory {
	struct replay_region regions[VF_VFIO_PCI_REGIONS];
};

/* On failure there is nothing to be done with it. */
int replay_memory_init(struct replay_memory *m, const struct capture *capture,
		       struct vferry_error *err);
void replay_memory_done(struct replay_memory *m);
void replay_memory_reset(struct replay_memory *m);

/*
 * The next page that is not all zero, from *region and *offset on, in the order of regions and offsets.
 * Return: bytes that are there (the last page of a region may be short), 0 at the end.
 */
uint32_t replay_memory_next(const struct replay_memory *m, uint32_t *region, uint64_t *offset);
/* Pages that take memory: about as many as next() would find. */
uint64_t replay_memory_pages(const struct replay_memory *m);

#endif
