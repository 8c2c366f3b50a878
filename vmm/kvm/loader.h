/* SPDX-License-Identifier: MIT */
/* loader.h - programs of the guest, from ELF images into guest memory. */
#ifndef VMM_KVM_LOADER_H
#define VMM_KVM_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/ram.h>

/**
 * loader_elf64() - every segment to its physical address; what has no bytes in the image is zeroed
 *
 * @machine: as <elf.h> has it, EM_...
 * Every number of the image is checked. The entry point is the machine's affair.
 * Return: 0; -ENOEXEC no ELF image for @machine, or one that contradicts itself; -EFAULT a segment lies
 * outside of RAM.
 */
int loader_elf64(struct vferry_ram *ram, uint16_t machine, const void *image, size_t bytes,
		 struct vferry_error *err);

/* Zeroes RAM. Return: 0; -EFAULT. */
int loader_zero(struct vferry_ram *ram, uint64_t gpa, uint64_t bytes);

#endif
