/* SPDX-License-Identifier: MIT */
/* cleanup.h - closing a descriptor at most once. */
#ifndef VF_BASE_CLEANUP_H
#define VF_BASE_CLEANUP_H

#include <unistd.h>

/* Closes *fd if it is one, and makes it -1; errno is kept. */
void vf_close(int *fd);

#endif
