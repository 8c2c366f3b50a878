/* SPDX-License-Identifier: MIT */
/* sysfs.c - see sysfs.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sysfs.h"

int sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int ret = n == (ssize_t) strlen(text) ? 0 : n < 0 ? -errno : -EIO;

	if (fd >= 0)
		close(fd);
	return ret;
}

static long read_number(unsigned int slot, const char *name)
{
	char path[128], text[32] = "";
	FILE *f;

	(void) snprintf(path, sizeof(path), SYSFS_PCI "devices/0000:00:%02x.0/%s", slot, name);
	f = fopen(path, "re");
	if (f) {
		(void) !fgets(text, sizeof(text), f);
		fclose(f);
	}
	return strtol(text, NULL, 0);
}

bool sysfs_find_pci(uint32_t vendor, uint32_t id, unsigned int nth, char ret_bdf[SYSFS_BDF])
{
	for (unsigned int slot = 0; slot < 32; slot++) {
		if (read_number(slot, "vendor") != (long) vendor ||
		    read_number(slot, "device") != (long) id || nth--)
			continue;
		(void) snprintf(ret_bdf, SYSFS_BDF, "0000:00:%02x.0", slot);
		return true;
	}
	return false;
}

int sysfs_bind_pci(const char *bdf, const char *driver)
{
	char path[128];
	int ret;

	(void) snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/driver_override", bdf);
	ret = sysfs_write(path, driver);
	if (ret)
		return ret;
	(void) sysfs_write(SYSFS_PCI "drivers_probe", bdf);	/* bound already: fine */
	(void) snprintf(path, sizeof(path), SYSFS_PCI "drivers/%s/%s", driver, bdf);
	return access(path, F_OK) ? -errno : 0;
}

int sysfs_open_group(const char *folder)
{
	char path[256], target[256];
	ssize_t n;
	int fd;

	(void) snprintf(path, sizeof(path), "%s/iommu_group", folder);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	(void) snprintf(path, sizeof(path), "/dev/vfio/%.32s", strrchr(target, '/') + 1);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sysfs_vfio_irq(const char *bdf, unsigned long *ret_count)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char line[512];
	int irq = -1;

	*ret_count = 0;
	while (f && irq < 0 && fgets(line, sizeof(line), f)) {
		char *end;

		if (!strstr(line, bdf) || !strstr(line, "vfio-msi"))
			continue;
		irq = (int) strtol(line, &end, 10);
		end++;		/* the colon */
		for (char *next; ; end = next) {
			unsigned long n = strtoul(end, &next, 10);

			if (next == end || *next != ' ')
				break;
			*ret_count += n;
		}
	}
	if (f)
		fclose(f);
	return irq;
}
