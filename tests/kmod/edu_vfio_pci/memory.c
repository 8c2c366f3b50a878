// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory.c - the guest's memory, as the driver itself reads and writes it.
 *
 * In a container VFIO does that. In an iommufd it does so for devices without an IOMMU of their own, which have an
 * access to the IOAS; ours reaches memory by its page table. So it has an access of the driver's beside that. It holds
 * no pages from one copy to the next: when some are unmapped there is nothing to give back.
 *
 * An access is to an IOAS. A device that was attached to a page table of the user's (HWPT) does not say whose
 * IOAS that is: then the driver does not reach what the device does.
 */
#include <linux/module.h>

#include "edu.h"

#ifdef EDU_HAS_IOMMUFD

#include <linux/iommufd.h>

MODULE_IMPORT_NS(IOMMUFD);

static void nothing_to_give_back(void *data, unsigned long iova, unsigned long length)
{
}

static const struct iommufd_access_ops access_ops = {
	.unmap = nothing_to_give_back,
};

int edu_memory_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, u32 *ret_id)
{
	struct edu_device *edu = edu_of(vdev);
	struct iommufd_access *access;
	u32 id;
	int ret = vfio_iommufd_physical_bind(vdev, ictx, ret_id);

	if (ret)
		return ret;
	access = iommufd_access_create(ictx, &access_ops, edu, &id);
	if (IS_ERR(access)) {
		vfio_iommufd_physical_unbind(vdev);
		return PTR_ERR(access);
	}
	edu->access = access;
	return 0;
}

void edu_memory_unbind(struct vfio_device *vdev)
{
	struct edu_device *edu = edu_of(vdev);

	if (edu->access)
		iommufd_access_destroy(edu->access);
	edu->access = NULL;
	edu->reaches_memory = false;
	vfio_iommufd_physical_unbind(vdev);
}

static void detach_access(struct edu_device *edu)
{
	bool attached = edu->reaches_memory;

	WRITE_ONCE(edu->reaches_memory, false);
	if (attached)
		iommufd_access_detach(edu->access);
}

int edu_memory_attach(struct vfio_device *vdev, u32 *id)
{
	struct edu_device *edu = edu_of(vdev);
	u32 ioas = *id;		/* the other one becomes the page table's */
	int ret = vfio_iommufd_physical_attach_ioas(vdev, id);

	if (ret)
		return ret;
	detach_access(edu);
	WRITE_ONCE(edu->reaches_memory, !iommufd_access_attach(edu->access, ioas));
	return 0;
}

void edu_memory_detach(struct vfio_device *vdev)
{
	detach_access(edu_of(vdev));
	vfio_iommufd_physical_detach_ioas(vdev);
}

#endif

int edu_memory_copy(struct edu_device *edu, u64 iova, void *data, u32 bytes, bool write)
{
#ifdef EDU_HAS_IOMMUFD
	if (edu->access) {
		int ret = iommufd_access_rw(edu->access, iova, data, bytes,
					    write ? IOMMUFD_ACCESS_RW_WRITE : IOMMUFD_ACCESS_RW_READ);

		return ret && !READ_ONCE(edu->reaches_memory) ? -EPERM : ret;
	}
#endif
	return vfio_dma_rw(&edu->core.vdev, iova, data, bytes, write);
}
