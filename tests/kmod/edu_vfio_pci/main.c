// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - a VFIO variant driver: vfio-pci with migration, for QEMU's edu device.
 *
 * All that is not about migration is vfio-pci-core's. Four things of it are changed:
 *
 * - The first page of BAR 0 holds all registers, and is trapped: reads and writes go through registers.c,
 *   it can't be mapped, and no eventfd writes to it behind our back.
 * - A reset: this device has none that the PCI core knows, so the driver brings its own.
 * - Whoever opens the device finds it as after a reset, not as the last one left it.
 * - Migration and the log of DMA, by their operations.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/uaccess.h>

#include "edu.h"

/* --- the lock, and resets that come while somebody holds it --- */

static void forget_all(struct edu_device *edu)
{
	edu_stream_close(edu);
	edu->state = VFIO_DEVICE_STATE_RUNNING;
	edu->write.bytes = 0;
	edu_registers_reset(edu);
}

void edu_lock(struct edu_device *edu)
{
	mutex_lock(&edu->lock);
}

/* A reset that came in the meantime could not wait for us: it is our turn to do what it left. */
void edu_unlock(struct edu_device *edu)
{
	bool again;

	do {
		spin_lock(&edu->reset_lock);
		again = edu->was_reset;
		edu->was_reset = false;
		if (!again)
			mutex_unlock(&edu->lock);
		spin_unlock(&edu->reset_lock);
		if (again)
			forget_all(edu);
	} while (again);
}

/*
 * Called with locks of the PCI core and of vfio-pci-core held, of which some are taken inside of edu->lock. So
 * this must not sleep for it.
 */
static void edu_device_was_reset(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct edu_device *edu = container_of(core, struct edu_device, core);

	spin_lock(&edu->reset_lock);
	edu->was_reset = true;
	if (!mutex_trylock(&edu->lock)) {
		spin_unlock(&edu->reset_lock);
		return;
	}
	spin_unlock(&edu->reset_lock);
	edu_unlock(edu);
}

/* --- the trapped page --- */

static u32 access_bytes(u32 offset, size_t left)
{
	if (offset >= EDU_DMA_SOURCE && offset % 8 == 0 && left >= 8)
		return 8;
	return offset % 4 == 0 && left >= 4 ? 4 : 1;
}

/* Registers are 4 and 8 bytes wide. Anything else reads as ones and writes nothing, as the device has it. */
static int read_one(struct edu_device *edu, char __user *buf, u32 offset, u32 bytes)
{
	u64 value = ~0ull;
	__le64 le;
	int ret = 0;

	if (bytes > 1) {
		edu_lock(edu);
		ret = edu_registers_read(edu, offset, bytes, &value);
		edu_unlock(edu);
	}
	le = cpu_to_le64(value);
	if (!ret && copy_to_user(buf, &le, bytes))
		ret = -EFAULT;
	return ret;
}

static int write_one(struct edu_device *edu, const char __user *buf, u32 offset, u32 bytes)
{
	__le64 le = 0;
	int ret;

	if (copy_from_user(&le, buf, bytes))
		return -EFAULT;
	if (bytes == 1)
		return 0;
	edu_lock(edu);
	if (edu_is_stopped(edu))
		ret = -EBUSY;	/* a stopped device does not change */
	else
		ret = edu_registers_write(edu, offset, bytes, le64_to_cpu(le));
	edu_unlock(edu);
	return ret;
}

static bool is_trapped(u64 position)
{
	return VFIO_PCI_OFFSET_TO_INDEX(position) == VFIO_PCI_BAR0_REGION_INDEX &&
	       (position & VFIO_PCI_OFFSET_MASK) < EDU_TRAPPED_BYTES;
}

static ssize_t access_page(struct edu_device *edu, char __user *in, const char __user *out,
			   size_t count, loff_t *position)
{
	u32 offset = (u32)(*position & VFIO_PCI_OFFSET_MASK), bytes;
	size_t done = 0;
	int ret = 0;

	count = min_t(size_t, count, EDU_TRAPPED_BYTES - offset);
	for (; done < count; done += bytes) {
		bytes = access_bytes(offset + (u32)done, count - done);
		if (in)
			ret = read_one(edu, in + done, offset + (u32)done, bytes);
		else
			ret = write_one(edu, out + done, offset + (u32)done, bytes);
		if (ret)
			break;
	}
	*position += (loff_t)done;
	return done ? (ssize_t)done : ret;
}

static ssize_t edu_read(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *position)
{
	if (!is_trapped(*position))
		return vfio_pci_core_read(vdev, buf, count, position);
	return access_page(edu_of(vdev), buf, NULL, count, position);
}

static ssize_t edu_write(struct vfio_device *vdev, const char __user *buf, size_t count,
			 loff_t *position)
{
	if (!is_trapped(*position))
		return vfio_pci_core_write(vdev, buf, count, position);
	return access_page(edu_of(vdev), NULL, buf, count, position);
}

static int edu_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	if (is_trapped((u64)vma->vm_pgoff << PAGE_SHIFT))
		return -EINVAL;
	return vfio_pci_core_mmap(vdev, vma);
}

/* --- requests --- */

/* BAR 0 is told as it is, but for the page that can't be mapped. */
static long bar_info(struct edu_device *edu, struct vfio_region_info *info,
		     struct vfio_region_info __user *user)
{
	struct {
		struct vfio_region_info_cap_sparse_mmap head;
		struct vfio_region_sparse_mmap_area area;
	} sparse = {
		.head = {
			.header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
			.nr_areas = 1,
		},
		.area = { .offset = EDU_TRAPPED_BYTES },
	};
	struct vfio_info_cap caps = { };
	int ret;

	info->offset = VFIO_PCI_INDEX_TO_OFFSET(info->index);
	info->size = pci_resource_len(edu->core.pdev, 0);
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info->cap_offset = 0;
	if (edu->core.bar_mmap_supported[0]) {
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
		sparse.area.size = info->size - EDU_TRAPPED_BYTES;
		ret = vfio_info_add_capability(&caps, &sparse.head.header, sizeof(sparse));
		if (ret)
			return ret;
		if (info->argsz < sizeof(*info) + caps.size) {
			info->argsz = (u32)(sizeof(*info) + caps.size);
		} else {
			vfio_info_cap_shift(&caps, sizeof(*info));
			info->cap_offset = sizeof(*info);
			if (copy_to_user(user + 1, caps.buf, caps.size)) {
				kfree(caps.buf);
				return -EFAULT;
			}
		}
		kfree(caps.buf);
	}
	return copy_to_user(user, info, sizeof(*info)) ? -EFAULT : 0;
}

static long get_region_info(struct edu_device *edu, unsigned long argument)
{
	struct vfio_region_info info;

	if (copy_from_user(&info, (void __user *)argument, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	if (info.index != VFIO_PCI_BAR0_REGION_INDEX)
		return vfio_pci_core_ioctl(&edu->core.vdev, VFIO_DEVICE_GET_REGION_INFO, argument);
	return bar_info(edu, &info, (void __user *)argument);
}

/* An eventfd that writes a register would start a DMA that nobody knows of. */
static long add_ioeventfd(struct edu_device *edu, unsigned long argument)
{
	struct vfio_device_ioeventfd request;
	const size_t bytes = offsetofend(struct vfio_device_ioeventfd, fd);

	if (copy_from_user(&request, (void __user *)argument, bytes))
		return -EFAULT;
	if (request.argsz < bytes || is_trapped(request.offset))
		return -EINVAL;
	return vfio_pci_core_ioctl(&edu->core.vdev, VFIO_DEVICE_IOEVENTFD, argument);
}

/* No function level reset, no power states, no bus of its own: what a reset has to do, is done by hand. */
static long reset_device(struct edu_device *edu)
{
	int ret;

	edu_lock(edu);
	ret = edu_dma_hold(edu);
	if (!ret) {
		forget_all(edu);
		ret = edu_registers_clear(edu);
	}
	edu_unlock(edu);
	return ret;
}

static long edu_ioctl(struct vfio_device *vdev, unsigned int command, unsigned long argument)
{
	struct edu_device *edu = edu_of(vdev);

	switch (command) {
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(edu, argument);
	case VFIO_DEVICE_IOEVENTFD:
		return add_ioeventfd(edu, argument);
	case VFIO_DEVICE_RESET:
		return reset_device(edu);
	default:
		return vfio_pci_core_ioctl(vdev, command, argument);
	}
}

/* --- open and close --- */

static int edu_open(struct vfio_device *vdev)
{
	struct edu_device *edu = edu_of(vdev);
	long ret = vfio_pci_core_enable(&edu->core);

	if (ret)
		return (int)ret;
	edu->registers = pci_iomap(edu->core.pdev, 0, EDU_TRAPPED_BYTES);
	ret = edu->registers ? reset_device(edu) : -ENOMEM;
	if (ret) {
		if (edu->registers)
			pci_iounmap(edu->core.pdev, edu->registers);
		vfio_pci_core_disable(&edu->core);
		return (int)ret;
	}
	edu->core.reset_works = true;
	vfio_pci_core_finish_enable(&edu->core);
	return 0;
}

/* The next one finds nothing of what was here; and no DMA may run on when the IOMMU lets go of the guest's RAM. */
static void edu_close(struct vfio_device *vdev)
{
	struct edu_device *edu = edu_of(vdev);

	if (reset_device(edu))
		dev_warn(&edu->core.pdev->dev, "can't be reset\n");
	edu_lock(edu);
	edu_log_stop(edu);
	forget_all(edu);
	edu_unlock(edu);
	pci_iounmap(edu->core.pdev, edu->registers);
	vfio_pci_core_close_device(vdev);
}

static int edu_init(struct vfio_device *vdev)
{
	struct edu_device *edu = edu_of(vdev);

	mutex_init(&edu->lock);
	spin_lock_init(&edu->reset_lock);
	init_waitqueue_head(&edu->stream_wait);
	xa_init(&edu->log.pages);
	edu->state = VFIO_DEVICE_STATE_RUNNING;
	vdev->migration_flags = EDU_MIGRATION_FLAGS;
	vdev->mig_ops = &edu_migration_ops;
	if (edu_log_works())
		vdev->log_ops = &edu_log_ops;
	return vfio_pci_core_init_dev(vdev);
}

static void edu_release(struct vfio_device *vdev)
{
	struct edu_device *edu = edu_of(vdev);

	mutex_destroy(&edu->lock);
	vfio_pci_core_release_dev(vdev);
}

static const struct vfio_device_ops edu_ops = {
	.name = "edu-vfio-pci",
	.init = edu_init,
	.release = edu_release,
	.open_device = edu_open,
	.close_device = edu_close,
	.ioctl = edu_ioctl,
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = edu_read,
	.write = edu_write,
	.mmap = edu_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
#ifdef EDU_HAS_IOMMUFD
	.bind_iommufd = edu_memory_bind,
	.unbind_iommufd = edu_memory_unbind,
	.attach_ioas = edu_memory_attach,
	.detach_ioas = edu_memory_detach,
#endif
};

/* --- the driver --- */

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu_device *edu;
	int ret;

	if (pci_resource_len(pdev, 0) <= EDU_TRAPPED_BYTES)
		return -ENODEV;
	edu = vfio_alloc_device(edu_device, core.vdev, &pdev->dev, &edu_ops);
	if (IS_ERR(edu))
		return PTR_ERR(edu);
	dev_set_drvdata(&pdev->dev, &edu->core);
	ret = vfio_pci_core_register_device(&edu->core);
	if (ret)
		vfio_put_device(&edu->core.vdev);
	return ret;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);

	vfio_pci_core_unregister_device(core);
	vfio_put_device(&core->vdev);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(EDU_VENDOR, EDU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static const struct pci_error_handlers edu_error_handlers = {
	.reset_done = edu_device_was_reset,
	.error_detected = vfio_pci_core_aer_err_detected,
};

static struct pci_driver edu_driver = {
	.name = "edu_vfio_pci",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
	.err_handler = &edu_error_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(edu_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("vfio-pci with migration for QEMU's edu device");
