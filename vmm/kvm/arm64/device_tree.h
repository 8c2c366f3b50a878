/* SPDX-License-Identifier: MIT */
/* device_tree.h - what a kernel is told of an arm64 machine (a flattened device tree). */
#ifndef VMM_KVM_ARM64_DEVICE_TREE_H
#define VMM_KVM_ARM64_DEVICE_TREE_H

#include <stddef.h>
#include <stdint.h>

#define ARM64_TREE_BYTES 0x10000u	/* that one has, at most */

struct arm64_tree {
	unsigned cpus;
	uint64_t memory_bytes;
	uint64_t initrd, initrd_bytes;	/* where it lies; 0 bytes: there is none */
	const char *append;		/* the kernel's command line */
	uint8_t kaslr_seed[8];
	uint8_t rng_seed[32];
};

/* Return: its bytes; -E2BIG. */
int arm64_tree_build(const struct arm64_tree *tree, void *to, size_t size);

#endif
