/* SPDX-License-Identifier: MIT */
/* image.h - a Linux kernel for arm64, as its file begins ("Image": Documentation/arch/arm64/booting). */
#ifndef VMM_KVM_ARM64_IMAGE_H
#define VMM_KVM_ARM64_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#define ARM64_IMAGE_ALIGN 0x200000ull	/* of where a kernel counts its offset from */

struct arm64_image {
	uint64_t offset;	/* from a multiple of ARM64_IMAGE_ALIGN */
	uint64_t bytes;		/* that it needs from there, the file's and more */
};

/**
 * arm64_image_parse() - what a kernel says of itself
 * Return: 0; -ENOEXEC no such kernel, or one that can't be booted here, with the reason.
 */
int arm64_image_parse(const void *file, size_t bytes, struct arm64_image *ret, struct vferry_error *err);

#endif
