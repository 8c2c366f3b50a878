/* SPDX-License-Identifier: MIT */
/* kernel_files.h - the files of a kernel that a machine boots, read once, before anything is given up. */
#ifndef TOOLS_KERNEL_FILES_H
#define TOOLS_KERNEL_FILES_H

#include "vmm/machine.h"

struct kernel_files {
	const char *image_path, *initrd_path;	/* as given; NULL: none */
	struct machine_kernel kernel;
	void *image, *initrd;			/* owned */
};

/*
 * Reads them, for @options; nothing is done if there is no kernel. The reason, if there is one, is put into
 * @why.
 * Return: 0; -EINVAL options that do not go together; -EFBIG more than 1 GiB; what reading returned.
 */
int kernel_files_read(struct kernel_files *files, struct machine_options *options, char *why,
		      size_t why_size);
void kernel_files_done(struct kernel_files *files);

#endif
