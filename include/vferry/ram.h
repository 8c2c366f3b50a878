/* SPDX-License-Identifier: MIT */
/*
 * vferry/ram.h - guest RAM, and who dirtied it.
 *
 * RAM is one or more blocks, each a memfd (shmem or hugetlb) mapped shared and sealed against
 * resizing, because device processes map it too. What changed is the union of all dirty sources:
 * KVM's log or ring, each device's DMA log, IOMMU bits, and the VMM's own writes, which it reports
 * by vferry_ram_mark_dirty() *after* writing.
 *
 * Threads: blocks and sources are added before a session uses the RAM; vferry_ram_mark_dirty() and
 * the accessors may be called from any thread at any time.
 */
#ifndef VFERRY_RAM_H
#define VFERRY_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vferry_ram;

enum vferry_ram_flags {
	VFERRY_RAM_HUGETLB = 1u << 0,	/* 2 MiB pages from the kernel's pool */
	VFERRY_RAM_PINNED = 1u << 1,	/* DMA-pinned: populated, and never punched out */
	VFERRY_RAM_DUMPED = 1u << 2,	/* part of a core dump of the process; else left out */
};

struct vferry_ram_block {
	const char *name;	/* "ram0", borrowed from the RAM */
	uint64_t gpa;		/* guest physical address of the first byte, page aligned */
	uint64_t bytes;
	int fd;			/* memfd, borrowed */
	uint64_t fd_offset;
	void *host;		/* mapping, borrowed */
	uint32_t flags;
};

/*
 * Something that knows which pages were written. Before start() nothing is asked of it.
 * collect() reports and clears, for [gpa, gpa + bytes) inside one block: bit n of @words is page
 * gpa / 4096 + n; it only ever sets bits. A source that cannot tell marks everything; one that fails
 * loses nothing: the RAM then treats the whole range as dirty, and says so.
 */
struct vferry_dirty_source {
	uint32_t size;
	const char *name;	/* "kvm-log", "vfio/00:04.0"; copied */
	void *user;
	int (*start)(void *user, struct vferry_error *err);
	int (*collect)(void *user, uint64_t gpa, uint64_t bytes, uint64_t *words,
		       struct vferry_error *err);
	void (*stop)(void *user);
};

int vferry_ram_new(struct vferry_ram **ret_ram);
struct vferry_ram *vferry_ram_free(struct vferry_ram *ram);	/* unmaps; returns NULL */

/**
 * vferry_ram_create_block() - a new memfd, sized, sealed and mapped
 * Return: index of the block; -EINVAL alignment or overlap; -ENOMEM; -E2BIG too many (64).
 */
int vferry_ram_create_block(struct vferry_ram *ram, const char *name, uint64_t gpa, uint64_t bytes,
			    uint32_t flags, struct vferry_error *err);
/** vferry_ram_add_block() - an existing memfd; the descriptor is duplicated. Return: as above. */
int vferry_ram_add_block(struct vferry_ram *ram, const char *name, uint64_t gpa, uint64_t bytes,
			 int fd, uint64_t fd_offset, uint32_t flags, struct vferry_error *err);
size_t vferry_ram_block_count(const struct vferry_ram *ram);
const struct vferry_ram_block *vferry_ram_get_block(const struct vferry_ram *ram, size_t index);
uint64_t vferry_ram_bytes(const struct vferry_ram *ram);	/* sum of all blocks */

/* Host pointer to [gpa, gpa + bytes) if it lies in one block, else NULL. */
void *vferry_ram_host(const struct vferry_ram *ram, uint64_t gpa, uint64_t bytes);
/* Copies; -EFAULT if any byte lies outside RAM. write marks dirty. */
int vferry_ram_read(const struct vferry_ram *ram, uint64_t gpa, void *to, size_t bytes);
int vferry_ram_write(struct vferry_ram *ram, uint64_t gpa, const void *from, size_t bytes);
/* Call after the bytes were written. Costs one load while no migration runs. */
void vferry_ram_mark_dirty(struct vferry_ram *ram, uint64_t gpa, uint64_t bytes);

int vferry_ram_add_dirty_source(struct vferry_ram *ram, const struct vferry_dirty_source *source,
				struct vferry_error *err);
/* Removes the source that was added with this @user; -ENOENT. Not while a session is active. */
int vferry_ram_remove_dirty_source(struct vferry_ram *ram, void *user);

/* CRC32C over all RAM, machine stopped; never-touched ranges count as zeros and are not read. */
int vferry_ram_digest(struct vferry_ram *ram, uint32_t *ret_digest, struct vferry_error *err);

#ifdef __cplusplus
}
#endif
#endif
