/* SPDX-License-Identifier: MIT */
/*
 * test_domain.h - VFIO character devices that are not there: each is a device of the kernel's CONFIG_IOMMUFD_TEST, in
 * the very iommufd that it is bound to.
 */
#ifndef TEST_DOMAIN_H
#define TEST_DOMAIN_H

#include <stdint.h>

#include "vfio/kernel_space.h"
#include "vferry_iommufd.h"
#include "vferry_vfio.h"

/* What opens as such a device: one whose IOMMU tells what was written, and one whose IOMMU does not. */
#define TEST_TRACKS	"/dev/vfio/devices/vfio1"
#define TEST_BLIND	"/dev/vfio/devices/vfio2"
/* Addresses that the IOMMU has. */
#define TEST_FIRST	(1ull << 24)
#define TEST_LAST	((1ull << 31) - 1)
#define TEST_PAGE	4096u

#define TEST_DEVICES_MAX 8

struct test_device {
	int fd;			/* what stands for it; 0 = no such device */
	uint32_t object;	/* in the iommufd; 0 = not bound yet */
	uint32_t table;		/* that it is attached to */
	bool blind;
};

struct test_host {
	struct vf_kernel kernel;	/* what the library is given */
	int iommufd;		/* the one that is open */
	uint32_t ioas;
	struct test_device devices[TEST_DEVICES_MAX];
	unsigned refused;	/* objects that the kernel did not destroy */
};

void test_host_init(struct test_host *host);
/* Fails if a device was not closed. */
void test_host_done(struct test_host *host);

/* A write by a device to each of @pages. Return: how many there are; -EINVAL if nobody logs. */
int test_write(struct test_host *host, uint32_t table, uint64_t iova, uint32_t pages);
uint32_t test_table_of(struct test_host *host, int fd);
/* Fails if the table leads elsewhere. */
void test_expect_mapped(struct test_host *host, uint32_t table, uint64_t iova, uint64_t bytes, const void *memory);

#endif
