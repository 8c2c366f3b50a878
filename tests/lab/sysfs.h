/* SPDX-License-Identifier: MIT */
/* sysfs.h - devices of a lab machine, as sysfs has them: found, given to a driver, opened by their group. */
#ifndef TESTS_LAB_SYSFS_H
#define TESTS_LAB_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

#define SYSFS_PCI	"/sys/bus/pci/"
#define SYSFS_BDF	16	/* bytes, of "0000:00:01.0" */

int sysfs_write(const char *path, const char *text);	/* 0 or -errno */

/* The nth of its kind on the first bus; false: there is none. */
bool sysfs_find_pci(uint32_t vendor, uint32_t id, unsigned int nth, char ret_bdf[SYSFS_BDF]);

/* 0: that driver has the device now, or had it before; -errno. */
int sysfs_bind_pci(const char *bdf, const char *driver);

/*
 * The vector of a device that VFIO has set up, in /proc/interrupts. Return: its number on the host and
 * how many interrupts came; -1: there is none.
 */
int sysfs_vfio_irq(const char *bdf, unsigned long *ret_count);

/* The VFIO group of a device, by its folder: a descriptor or -errno. */
int sysfs_open_group(const char *folder);

#endif
