/* SPDX-License-Identifier: MIT */
/*
 * edu.c - QEMU's edu devices, held by vfio-pci: one raises the interrupt of one vector.
 *
 * Some scenarios show a kernel that forgets to let go of an interrupt. Its hardware then still gives
 * it to a VM that is gone, and who sets the vector again makes the kernel fall over; so that device is
 * not used any more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm.h"
#include "sysfs.h"

#define EDUS		16
#define EDU_RAISE	(0x60 / 4)
#define EDU_LOWER	(0x64 / 4)
#define COMMAND		4
#define COMMAND_MASTER	6	/* memory, bus master */

static struct edu {
	char bdf[SYSFS_BDF];
	int device;
	volatile uint32_t *bar;
	int irq;		/* the host's, while it has one */
	bool taken;
} edus[EDUS];
static unsigned int edu_count;
static int edu_ready;		/* 0: not tried, 1, or a negative errno */

/* --- finding and opening them --- */

static int open_group(const char *bdf)
{
	char path[128];
	int container, group, device;

	if (sysfs_bind_pci(bdf, "vfio-pci"))
		return -EIO;
	(void) snprintf(path, sizeof(path), SYSFS_PCI "devices/%s", bdf);
	group = sysfs_open_group(path);
	if (group < 0)
		return group;
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -errno;
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	return device < 0 ? -errno : device;	/* container and group stay open with it */
}

static int open_edu(struct edu *edu)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX };
	uint16_t command = COMMAND_MASTER;

	edu->irq = -1;
	edu->device = open_group(edu->bdf);
	if (edu->device < 0)
		return edu->device;
	if (ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    pwrite(edu->device, &command, sizeof(command), (off_t) config.offset + COMMAND) !=
		    sizeof(command))
		return -errno;
	edu->bar = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, edu->device,
			(off_t) bar.offset);
	return edu->bar == MAP_FAILED ? -errno : 0;
}

static int open_all(void)
{
	int err = 0;

	while (!err && edu_count < EDUS &&
	       sysfs_find_pci(0x1234, 0x11e8, edu_count, edus[edu_count].bdf)) {
		struct edu *edu = &edus[edu_count];

		err = open_edu(edu);
		if (err)
			fprintf(stderr, "lab: %s: %s\n", edu->bdf, strerror(-err));
		else
			edu_count++;
	}
	return err ? err : edu_count ? 1 : -ENOTSUP;
}

/* --- vectors --- */

static int set_irqs(const struct edu *edu, int eventfd)
{
	struct {
		struct vfio_irq_set head;
		int32_t fd;
	} set = {
		.head = {
			.argsz = sizeof(set),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSI_IRQ_INDEX,
			.count = 1,
		},
		.fd = eventfd,
	};

	return ioctl(edu->device, VFIO_DEVICE_SET_IRQS, &set) ? -errno : 0;
}

int edu_vector(struct kvm_token *token, bool on)
{
	unsigned long count;
	struct edu *edu;
	int err;

	if (!on) {
		if (token->edu < 0)
			return 0;
		edu = &edus[token->edu];
		err = set_irqs(edu, -1);
		token->edu = -1;
		edu->taken = seen_forwarded((unsigned int) edu->irq);
		return err;
	}
	if (!edu_ready)
		edu_ready = open_all();
	if (edu_ready < 0)
		return edu_ready;
	for (unsigned int i = 0; i < edu_count && token->edu < 0; i++)	/* set again: it has one */
		if (!edus[i].taken)
			token->edu = (int) i;
	if (token->edu < 0)
		return -ENOSPC;
	edu = &edus[token->edu];
	edu->taken = true;
	err = set_irqs(edu, token->eventfd);
	if (!err)
		edu->irq = sysfs_vfio_irq(edu->bdf, &count);
	return err ? err : edu->irq < 0 ? -EIO : 0;
}

/* Interrupts come to the CPU that we run on: what the kernel takes, it has taken before we run on. */
int edu_fire(const struct kvm_token *token)
{
	struct edu *edu = &edus[token->edu];
	unsigned long before, after;

	if (sysfs_vfio_irq(edu->bdf, &before) < 0)
		return -EIO;
	edu->bar[EDU_RAISE] = 1;
	edu->bar[EDU_LOWER] = 1;
	(void) usleep(2000);
	if (sysfs_vfio_irq(edu->bdf, &after) < 0)
		return -EIO;
	return after != before;
}

bool edu_forwarded(const struct kvm_token *token)
{
	return token->edu >= 0 && seen_forwarded((unsigned int) edus[token->edu].irq);
}
