/* SPDX-License-Identifier: MIT */
/* image.h - the self-checking guest for bare metal, an ELF file; how to start it: boot.h. */
#ifndef GUEST_IMAGE_H
#define GUEST_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* On x86-64 hosts only. */
extern const uint8_t guest_image_x86[];
extern const size_t guest_image_x86_bytes;

#endif
