/* SPDX-License-Identifier: MIT */
/* image.h - the self-checking guest for bare metal, an ELF file; how to start it: boot.h. */
#ifndef GUEST_IMAGE_H
#define GUEST_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* Of the architecture that the host has; there is none but for x86-64 and arm64. */
extern const uint8_t guest_image[];
extern const size_t guest_image_bytes;

#endif
