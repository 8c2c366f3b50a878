/* SPDX-License-Identifier: MIT */
/*
 * sealed.h - memory that another process maps, too: a file without a name, mapped, of a size that is
 * sealed, so that neither side can make the other fault by shortening it.
 */
#ifndef VF_BASE_SEALED_H
#define VF_BASE_SEALED_H

#include <stdint.h>

/**
 * vf_sealed_map() - makes @bytes of it, all zero; they take memory where they are touched
 * @name: for who looks at the process's maps
 *
 * Return: 0; -errno, and nothing is left. The caller unmaps and closes.
 */
int vf_sealed_map(const char *name, uint64_t bytes, int *ret_fd, void **ret_map);

#endif
