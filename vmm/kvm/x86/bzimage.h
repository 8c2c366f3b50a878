/* SPDX-License-Identifier: MIT */
/*
 * bzimage.h - a Linux kernel for x86-64, as its file begins ("bzImage":
 * Documentation/arch/x86/boot.rst). It is entered by the 64-bit boot protocol.
 */
#ifndef VMM_KVM_X86_BZIMAGE_H
#define VMM_KVM_X86_BZIMAGE_H

#include <stddef.h>
#include <stdint.h>

#include <asm/bootparam.h>

#include <vferry/error.h>

#define BZIMAGE_ENTRY	0x200u	/* of 64-bit code, from where the kernel was put */

struct bzimage {
	struct setup_header header;	/* for struct boot_params; what the file lacks of it is 0 */
	size_t payload;			/* where the kernel itself begins in the file */
	uint64_t gpa;			/* where it is put ... */
	uint64_t bytes;			/* ... and what it needs from there, the file's and more */
	uint64_t initrd_last;		/* the highest address that an initial RAM disk may have */
	size_t append_max;		/* bytes of command line, without the 0 behind it */
};

/**
 * bzimage_parse() - what a kernel says of itself
 * Return: 0; -ENOEXEC no such kernel, or one that can't be booted here, with the reason.
 */
int bzimage_parse(const void *file, size_t bytes, struct bzimage *ret, struct vferry_error *err);

#endif
