/* SPDX-License-Identifier: MIT */
/*
 * device.h - kernel VFIO devices by the group interface, as bare as it gets: for tests of drivers. All
 * devices are in one container, into which RAM is mapped. What can't fail on a sound kernel ends the test.
 */
#ifndef TESTS_LAB_VFIO_DEVICE_H
#define TESTS_LAB_VFIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vferry_vfio.h"

#define RAM_IOVA	0x40000000ull
#define RAM_BYTES	0x400000ull
#define PAGE		4096u
#define WAIT_MS		10000		/* for what comes for certain */

struct device {
	char name[64];		/* as VFIO_GROUP_GET_DEVICE_FD wants it */
	int fd;
	uint64_t flags;		/* VF_VFIO_MIGRATION_* */
	uint64_t bar0, config;	/* where they are in the descriptor */
};

/* Returns false if there is no such PCI device, or driver. */
bool device_open_pci(struct device *device, uint32_t vendor, uint32_t id, unsigned int nth,
		     const char *driver);
void device_open(struct device *device, const char *sysfs, const char *name);
uint8_t *device_ram(void);	/* mapped at RAM_IOVA, once a device is open */

uint32_t device_read32(const struct device *device, uint64_t at);
uint64_t device_read64(const struct device *device, uint64_t at);
int device_write(const struct device *device, uint64_t at, const void *value, size_t bytes);
void device_write32(const struct device *device, uint64_t at, uint32_t value);
void device_write64(const struct device *device, uint64_t at, uint64_t value);
void device_command(const struct device *device, uint16_t command);	/* of config space */

/* An eventfd for one interrupt; -1: none any more. */
int device_interrupt(const struct device *device, uint32_t index, int eventfd);

/* VFIO_DEVICE_FEATURE: 0 or -errno. */
int device_feature(const struct device *device, uint32_t flags, void *data, size_t bytes);
int device_state(const struct device *device);
int device_set_state(const struct device *device, uint32_t state, int *ret_fd);
void device_to(const struct device *device, uint32_t state);	/* it must work, and gives no descriptor */
int device_session(const struct device *device, uint32_t state);	/* it must, and does */
void device_reset(const struct device *device);

/* Reads until the end, of a session in STOP_COPY. */
size_t stream_read_all(int fd, uint8_t *data, size_t room);
void stream_write_all(int fd, const uint8_t *data, size_t bytes);

/* The whole state; afterwards the device is in STOP_COPY, or in STOP. */
size_t device_save(const struct device *device, uint8_t *data, size_t room);
void device_load(const struct device *device, const uint8_t *data, size_t bytes);

/* The log of DMA into all of the RAM: 0 or -errno. A bit is a page. */
int device_log_start(const struct device *device);
int device_log_report(const struct device *device, uint64_t bitmap[RAM_BYTES / PAGE / 64]);
void device_log_stop(const struct device *device);

/* Every change of state from every state, against the rules of <linux/vfio.h>. */
void check_arcs(const struct device *device);

#endif
