/* SPDX-License-Identifier: MIT */
/* record_device.c - an open device's answers, as a capture; see record.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vferry/device.h>

#include "base/checked.h"
#include "capture/capture.h"
#include "record.h"
#include "vfio/backend.h"

#define READ_BYTES 4u		/* a register, as a host reads config space */

static int record_region(struct vf_backend *b, uint32_t index, struct capture *c,
			 struct vferry_error *err)
{
	struct vf_backend_region region;
	struct capture_region *r = &c->regions[index];
	int ret = b->ops->get_region(b, index, &region, err);

	if (ret < 0)
		return ret;
	if (region.area_count > CAPTURE_AREAS_MAX)
		ret = vferry_error_set(err, -EINVAL, "capture-bad", NULL, "region %u has %u areas to "
				       "map, and a capture holds %u", index, region.area_count,
				       CAPTURE_AREAS_MAX);
	if (ret == 0 && region.size) {
		r->size = region.size;
		r->flags = region.flags & (VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE);
		/* Of what is said to be mappable, and has no part that is, nothing can be mapped. */
		if (region.area_count) {
			r->flags |= VF_VFIO_REGION_FLAG_MMAP;
			r->area_count = region.area_count;
			memcpy(r->areas, region.areas, region.area_count * sizeof(r->areas[0]));
		}
	}
	vf_backend_region_done(&region);
	return ret;
}

static int record_irq(struct vf_backend *b, uint32_t index, struct capture *c)
{
	struct vf_vfio_irq_info info;
	int ret = b->ops->get_irq_info(b, index, &info, NULL);

	if (ret < 0)
		return ret == -EINVAL ? 0 : ret;	/* there is none */
	if (info.count)
		c->irqs[index] = (struct capture_irq) { .count = info.count, .flags = info.flags };
	return 0;
}

static int record_config(struct vf_backend *b, struct capture *c, struct vferry_error *err)
{
	uint32_t size = (uint32_t) vf_min_u64(c->regions[VF_VFIO_PCI_CONFIG_REGION].size,
					      CAPTURE_CONFIG_MAX);
	int ret = 0;

	for (uint32_t at = 0; at < size && ret == 0; at += READ_BYTES)
		ret = b->ops->region_read(b, VF_VFIO_PCI_CONFIG_REGION, at, c->config + at,
					  vf_min_u64(READ_BYTES, size - at), err);
	return ret;
}

static int record_migration(struct vf_backend *b, struct capture *c, struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	int ret = b->ops->get_migration(b, &c->migration_flags, &why);

	if (ret < 0) {
		c->migration_flags = 0;
		if (ret == -ENOTTY || ret == -EOPNOTSUPP)
			return 0;
		if (err)
			*err = why;
		return ret;
	}
	if (!(c->migration_flags & VF_VFIO_MIGRATION_STOP_COPY)) {
		c->migration_flags = 0;
		return 0;
	}
	c->dma_log = b->caps.features & VFERRY_DEVICE_DMA_LOG;
	c->precopy_info = b->caps.features & VFERRY_DEVICE_PRECOPY_INFO;
	if (b->caps.features & VFERRY_DEVICE_DATA_SIZE)
		c->has_data_size = b->ops->data_size(b, &c->data_size, NULL) == 0;
	return 0;
}

/* A server says by its features whether it speaks as vferry's do; the kernel can do it all. */
static bool is_extended(const struct vf_backend *b)
{
	return strcmp(b->ops->name, "vfio-user") || b->caps.log_any_range;
}

int probe_record_device(struct vf_backend *b, struct capture *ret, struct vferry_error *err)
{
	struct capture *c = calloc(1, sizeof(*c));
	struct vf_vfio_device_info info;
	int r = c ? b->ops->get_info(b, &info, err) :
		vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory");

	if (r == 0) {
		c->device_flags = info.flags & ~VF_VFIO_DEVICE_FLAGS_CAPS;
		c->extensions = is_extended(b);
	}
	for (uint32_t i = 0; r == 0 && i < VF_VFIO_PCI_REGIONS && i < info.num_regions; i++)
		r = record_region(b, i, c, err);
	for (uint32_t i = 0; r == 0 && i < VF_VFIO_PCI_IRQS && i < info.num_irqs; i++)
		r = record_irq(b, i, c);
	if (r == 0)
		r = record_config(b, c, err);
	if (r == 0)
		r = record_migration(b, c, err);
	if (r == 0)
		r = capture_check(c, err);
	if (r == 0)
		*ret = *c;
	free(c);
	return r < 0 ? r : 0;
}
