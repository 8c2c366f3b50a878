/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of the sandbox share. */
#ifndef VF_SANDBOX_INTERNAL_H
#define VF_SANDBOX_INTERNAL_H

#include "sandbox.h"

/* landlock.c. Return: the ABI in force; 0 this kernel has none, and nothing was done; -errno. */
int sandbox_restrict_files(const struct sandbox_options *options, struct vferry_error *err);
/* filter.c. Return: 0; -ENOTSUP without libseccomp; -errno. */
int sandbox_restrict_calls(const struct sandbox_options *options, struct vferry_error *err);

#endif
