/* SPDX-License-Identifier: MIT */
/*
 * kernel_resample.h - unmasks INTx at each end of interrupt, for a driver that takes no eventfd for it.
 *
 * vfio-pci does this in the kernel. Mediated devices often don't: SET_IRQS with UNMASK and an eventfd
 * answers -ENOTTY. A thread then waits for the eventfd and unmasks by the plain call.
 */
#ifndef VF_VFIO_KERNEL_RESAMPLE_H
#define VF_VFIO_KERNEL_RESAMPLE_H

#include "vfio/kernel_calls.h"

struct vf_kernel_resample;

/* @device and @eventfd are borrowed until it is freed. Return: 0; -errno. */
int vf_kernel_resample_new(const struct vf_kernel *kernel, int device, int eventfd,
			   struct vf_kernel_resample **ret_resample);
struct vf_kernel_resample *vf_kernel_resample_free(struct vf_kernel_resample *resample);

#endif
