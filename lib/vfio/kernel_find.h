/* SPDX-License-Identifier: MIT */
/*
 * kernel_find.h - which device a URI names, where it is, and which drivers could have it; from sysfs.
 *
 * Everything read there is a hint to a person or a path to open. What the device really is, VFIO says.
 */
#ifndef VF_VFIO_KERNEL_FIND_H
#define VF_VFIO_KERNEL_FIND_H

#include <stdbool.h>

#include <vferry/error.h>
#include "vfio/kernel_calls.h"

enum vf_kernel_kind {
	VF_KERNEL_ANY = 0,
	VF_KERNEL_GROUP = 1,	/* group and container */
	VF_KERNEL_CDEV = 2,	/* cdev and iommufd */
};

struct vf_kernel_target {
	enum vf_kernel_kind wanted;	/* the URI's choice */
	char name[64];		/* as the group knows it: "0000:3b:00.0", a UUID */
	char folder[256];	/* in sysfs; "" = not known */
	char cdev[64];		/* "/dev/vfio/devices/vfio3"; "" = it has none */
	int fd;			/* an inherited cdev, borrowed; -1 = none */
	int group;		/* its IOMMU group; -1 = in none, or not known */
	char driver[32];	/* that it is bound to; "" = none */
};

/**
 * vf_kernel_find() - what follows "vfio:" in a URI
 *
 * [group:|cdev:]WHICH, where WHICH is a PCI address, the UUID of a mediated device, a device's folder
 * in /sys, a path /dev/vfio/devices/vfioN, or fd=N: a cdev that was opened by somebody else.
 *
 * Return: 0; -EINVAL none of these; -ENODEV there is no such device.
 */
int vf_kernel_find(const struct vf_kernel *k, const char *text, struct vf_kernel_target *ret_target,
		   struct vferry_error *err);

/* May a group not be used while a device of it has this driver ("" = none)? */
bool vf_kernel_driver_in_way(const char *driver);
/* Which driver keeps a group from being used: "0000:3b:00.1 is bound to e1000e"; "" = not found. */
void vf_kernel_find_in_way(const struct vf_kernel *k, int group, char *to, size_t size);

/*
 * A VFIO driver of this kernel that is made for the device, by modules.alias, other than the one it is
 * bound to and than vfio-pci; "" = none known.
 */
void vf_kernel_find_driver(const struct vf_kernel *k, const struct vf_kernel_target *target,
			   char *to, size_t size);

#endif
