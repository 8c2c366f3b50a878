// SPDX-License-Identifier: GPL-2.0-only
/*
 * log.c - which pages of RAM the device wrote.
 *
 * The device keeps no log, but its DMA starts by registers that are trapped, so each write into RAM is known
 * before it happens. A page goes into the log when the DMA starts, and stays there until a report that began after
 * the DMA had ended: what is written behind a report's back is in the next one.
 *
 * What the log can't hold any more is not forgotten: from then on all pages are reported.
 */
#include <linux/iova_bitmap.h>
#include <linux/sizes.h>
#include <linux/version.h>

#include "edu.h"

#define LOG_SHIFT	12
#define LOG_PAGES	65536u

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
MODULE_IMPORT_NS(IOMMUFD);
#endif

/* Since 6.7 a kernel without IOMMUFD answers each report with -EOPNOTSUPP, whatever its drivers do. */
bool edu_log_works(void)
{
	return LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0) || IS_ENABLED(CONFIG_IOMMUFD_DRIVER);
}

void edu_log_add(struct edu_device *edu, u64 iova, u64 bytes)
{
	struct edu_log *log = &edu->log;
	void *old;

	if (!log->on || log->full || !bytes)
		return;
	for (u64 page = iova >> LOG_SHIFT; page <= (iova + bytes - 1) >> LOG_SHIFT; page++) {
		old = xa_store(&log->pages, page, xa_mk_value(1), GFP_KERNEL_ACCOUNT);
		if (!old)
			log->count++;
		if (xa_is_err(old) || log->count > LOG_PAGES) {
			log->full = true;
			return;
		}
	}
}

void edu_log_stop(struct edu_device *edu)
{
	xa_destroy(&edu->log.pages);
	edu->log.on = false;
	edu->log.full = false;
	edu->log.count = 0;
}

/* All that the device can reach is logged, so the ranges don't matter. */
static int log_start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 count,
		     u64 *page_size)
{
	struct edu_device *edu = edu_of(vdev);
	int ret = 0;

	edu_lock(edu);
	if (edu->log.on) {
		ret = -EINVAL;
	} else {
		edu->log.on = true;
		ret = edu_dma_settle(edu);
		if (ret)
			edu_log_stop(edu);
		else
			edu_log_add(edu, edu->write.iova, edu->write.bytes);
	}
	edu_unlock(edu);
	if (!ret)
		*page_size = SZ_4K;
	return ret;
}

static int log_stop(struct vfio_device *vdev)
{
	struct edu_device *edu = edu_of(vdev);

	edu_lock(edu);
	edu_log_stop(edu);
	edu_unlock(edu);
	return 0;
}

static int report(struct edu_device *edu, unsigned long iova, unsigned long length,
		  struct iova_bitmap *dirty)
{
	struct edu_log *log = &edu->log;
	unsigned long page;
	void *entry;
	int ret;

	if (!log->on)
		return -EINVAL;
	ret = edu_dma_settle(edu);	/* before we look at the log */
	if (ret)
		return ret;
	if (log->full) {
		iova_bitmap_set(dirty, iova, length);
		return 0;
	}
	xa_for_each_range(&log->pages, page, entry, iova >> LOG_SHIFT,
			  (iova + length - 1) >> LOG_SHIFT) {
		iova_bitmap_set(dirty, page << LOG_SHIFT, SZ_4K);
		xa_erase(&log->pages, page);
		log->count--;
	}
	edu_log_add(edu, edu->write.iova, edu->write.bytes);	/* may write still */
	return 0;
}

static int log_read_and_clear(struct vfio_device *vdev, unsigned long iova, unsigned long length,
			      struct iova_bitmap *dirty)
{
	struct edu_device *edu = edu_of(vdev);
	int ret;

	edu_lock(edu);
	ret = report(edu, iova, length, dirty);
	edu_unlock(edu);
	return ret;
}

const struct vfio_log_ops edu_log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};
