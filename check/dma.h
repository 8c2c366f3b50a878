/* SPDX-License-Identifier: MIT */
/*
 * dma.h - memory that the device under check may reach, and drivers that make it do so.
 *
 * The memory lies at CHECK_IOVA, which is below what a device with 28 address bits reaches, and away
 * from where IOMMUs keep their doorbells. Its first pages belong to the driver.
 */
#ifndef CHECK_DMA_H
#define CHECK_DMA_H

#include "base/checked.h"
#include "internal.h"

#define CHECK_IOVA 0x4000000ull
#define CHECK_PAGES 64u
#define CHECK_BYTES (CHECK_PAGES * VF_PAGE_BYTES)
#define CHECK_DRIVER_PAGES 8u
#define CHECK_DRIVER_MAX 2048u	/* bytes at once: edu has a buffer of a page, and ignores what uses all of it */

/* Makes the memory reachable. False: BLOCKED was said. */
bool check_memory_map(struct check *c);
/* The device is closed: it reaches it no more. */
void check_memory_forget(struct check *c);
void check_memory_done(struct check *c);

/* The log of all of the memory, in pages of VF_PAGE_BYTES; errors are the device's. */
int check_log_start(struct check *c);
int check_log_stop(struct check *c);
/* Sets bits in *word for the pages that were written. False: BLOCKED was said. */
bool check_log_report(struct check *c, uint64_t *word);

struct check_driver {
	const char *name;
	uint16_t vendor, device;
	uint32_t id, id_mask;	/* what the first register reads as: a replayed device has only the ids */
	/* After a reset, with the memory mapped. All: 0 or a negative errno. */
	int (*start)(struct check *c);
	/* The device writes, or reads, [iova, iova + len), at most CHECK_DRIVER_MAX of it. */
	int (*write)(struct check *c, uint64_t iova, uint64_t len);
	int (*read)(struct check *c, uint64_t iova, uint64_t len);
	/* As write(), but only begun: it happens about work_ns later, with an interrupt of vector 0. */
	int (*begin)(struct check *c, uint64_t iova, uint64_t len);
	int (*finish)(struct check *c);		/* waits for what was begun */
	uint64_t work_ns;
	uint32_t irq_index;			/* VF_VFIO_PCI_*_IRQ */
};

/* The device as after a reset, with the memory mapped and its driver started. False: a verdict was given. */
bool check_driver_start(struct check *c);

const struct check_driver *check_driver_find(uint16_t vendor, uint16_t device);

#endif
