/* SPDX-License-Identifier: MIT */
/*
 * kernel_device.c - a kernel VFIO device's information, regions and interrupts.
 *
 * Region information of PCI's regions is read once, at open. What the kernel says in lengths and
 * counts is bounded before memory is taken for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/kernel_device.h"

#define REGION_INFO_MAX 65536u		/* with its capabilities */
#define VECTORS_MAX 2048u		/* of MSI-X */
#define CONFIG_BYTES 256u		/* at least; less is filled up with zeros */
#define CAPS_MAX 32u			/* in a chain */

/* ---- information ---- */

static int learn_region(struct vf_kernel_device *d, uint32_t index, struct vferry_error *err)
{
	struct vf_vfio_region_info info = { .argsz = sizeof(info), .index = index };
	int r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_GET_REGION_INFO, &info);

	if (r == -EINVAL)
		return 0;	/* not there: VGA */
	if (r < 0)
		return vferry_error_set(err, r, "device-region", d->name,
					"region %u of %s could not be asked about: %s", index, d->name,
					vferry_errno_name(r));
	d->regions[index] = (struct vf_kernel_region) {
		.flags = info.flags, .size = info.size, .offset = info.offset,
	};
	return 0;
}

int vf_kernel_device_learn(struct vf_kernel_device *d, struct vferry_error *err)
{
	struct vf_vfio_device_info info = { .argsz = sizeof(info) };
	int r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_GET_INFO, &info);

	if (r < 0)
		return vferry_error_set(err, r, "device-info", d->name,
					"%s does not say what it is: %s", d->name,
					vferry_errno_name(r));
	d->info = (struct vf_vfio_device_info) {
		.argsz = sizeof(info), .flags = info.flags, .num_regions = info.num_regions,
		.num_irqs = info.num_irqs,
	};
	/* Drivers that can reset forget to say so. Trying it harms nobody: the device was just opened. */
	if (!(info.flags & VF_VFIO_DEVICE_FLAGS_RESET) &&
	    vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_RESET, NULL) >= 0)
		d->info.flags |= VF_VFIO_DEVICE_FLAGS_RESET;
	r = 0;
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS && i < info.num_regions && r == 0; i++)
		r = learn_region(d, i, err);
	return r;
}

int vf_kernel_get_info(struct vf_backend *backend, struct vf_vfio_device_info *ret_info,
		       struct vferry_error *err)
{
	(void) err;
	*ret_info = vf_kernel_device_of(backend)->info;
	return 0;
}

/* ---- what can be mapped ---- */

static int compare_areas(const void *a, const void *b)
{
	const struct vf_vfio_sparse_area *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int bad_areas(struct vf_kernel_device *d, uint32_t index, struct vferry_error *err)
{
	return vferry_error_set(err, -EPROTO, "device-region", d->name,
				"what %s says of mapping its region %u makes no sense", d->name, index);
}

static int parse_sparse(struct vf_kernel_device *d, uint32_t index, const uint8_t *info,
			size_t size, uint32_t at, struct vf_backend_region *region,
			struct vferry_error *err)
{
	struct vf_vfio_sparse_mmap sparse;
	uint64_t end = 0;

	if (!vf_range_in(at, sizeof(sparse), size))
		return bad_areas(d, index, err);
	memcpy(&sparse, info + at, sizeof(sparse));
	if (sparse.nr_areas > VF_BACKEND_AREAS_MAX ||
	    !vf_range_in(at + sizeof(sparse), sparse.nr_areas * sizeof(*region->areas), size))
		return bad_areas(d, index, err);
	if (sparse.nr_areas == 0)
		return 0;
	region->areas = malloc(sparse.nr_areas * sizeof(*region->areas));
	if (!region->areas)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->name, "no memory");
	memcpy(region->areas, info + at + sizeof(sparse), sparse.nr_areas * sizeof(*region->areas));
	qsort(region->areas, sparse.nr_areas, sizeof(*region->areas), compare_areas);
	for (uint32_t i = 0; i < sparse.nr_areas; i++) {
		const struct vf_vfio_sparse_area *area = &region->areas[i];

		if (area->size == 0)
			continue;	/* drivers say "nothing" in this way */
		if (area->offset < end || !vf_range_in(area->offset, area->size, region->size))
			return bad_areas(d, index, err);
		end = area->offset + area->size;
		region->areas[region->area_count++] = *area;
	}
	return 0;
}

/* Without the capability all of it can be mapped. */
static int all_of_it(struct vf_kernel_device *d, struct vf_backend_region *region,
		     struct vferry_error *err)
{
	region->areas = malloc(sizeof(*region->areas));
	if (!region->areas)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->name, "no memory");
	region->areas[0] = (struct vf_vfio_sparse_area) { .size = region->size };
	region->area_count = 1;
	return 0;
}

/* The whole answer, of @size bytes, with its chain. */
static int parse_caps(struct vf_kernel_device *d, uint32_t index, const uint8_t *info, size_t size,
		      struct vf_backend_region *region, struct vferry_error *err)
{
	struct vf_vfio_region_info head;
	struct vf_vfio_cap_header cap;
	uint32_t at;

	memcpy(&head, info, sizeof(head));
	at = head.flags & VF_VFIO_REGION_FLAG_CAPS ? head.cap_offset : 0;
	for (unsigned i = 0; at && i < CAPS_MAX; i++) {
		if (!vf_range_in(at, sizeof(cap), size))
			return bad_areas(d, index, err);
		memcpy(&cap, info + at, sizeof(cap));
		if (cap.id == VF_VFIO_REGION_CAP_SPARSE_MMAP)
			return parse_sparse(d, index, info, size, at, region, err);
		at = cap.next;
	}
	return all_of_it(d, region, err);
}

static int find_areas(struct vf_kernel_device *d, uint32_t index, struct vf_backend_region *region,
		      struct vferry_error *err)
{
	struct vf_vfio_region_info info = { .argsz = sizeof(info), .index = index };
	uint8_t *whole;
	uint32_t size;
	int r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_GET_REGION_INFO, &info);

	if (r < 0)
		return vferry_error_set(err, r, "device-region", d->name,
					"region %u of %s could not be asked about: %s", index, d->name,
					vferry_errno_name(r));
	size = info.argsz;
	if (size <= sizeof(info))
		return all_of_it(d, region, err);
	if (size > REGION_INFO_MAX)
		return bad_areas(d, index, err);
	whole = calloc(1, size);
	if (!whole)
		return vferry_error_set(err, -ENOMEM, "no-memory", d->name, "no memory");
	info = (struct vf_vfio_region_info) { .argsz = size, .index = index };
	memcpy(whole, &info, sizeof(info));
	r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_GET_REGION_INFO, whole);
	r = r < 0 ? bad_areas(d, index, err) : parse_caps(d, index, whole, size, region, err);
	free(whole);
	return r;
}

int vf_kernel_get_region(struct vf_backend *backend, uint32_t index,
			 struct vf_backend_region *ret_region, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_backend_region region = { .fd = -1 };
	int r = 0;

	if (index >= VF_VFIO_PCI_REGIONS)
		return vferry_error_set(err, -EINVAL, "device-region", d->name,
					"a PCI function has no region %u", index);
	region.flags = d->regions[index].flags;
	region.size = d->regions[index].size;
	region.fd_offset = d->regions[index].offset;
	if (index == VF_VFIO_PCI_CONFIG_REGION && region.size > 0 && region.size < CONFIG_BYTES)
		region.size = CONFIG_BYTES;
	if ((region.flags & VF_VFIO_REGION_FLAG_MMAP) && region.size > 0) {
		r = find_areas(d, index, &region, err);
		if (r == 0 && region.area_count > 0) {
			region.fd = d->kernel.calls->dup(d->kernel.user, d->seat.fd);
			region.sealed = true;	/* a BAR has its size */
			if (region.fd < 0)
				r = vferry_error_set(err, region.fd, "device-region", d->name,
						     "no descriptor to map region %u of %s: %s", index,
						     d->name, vferry_errno_name(region.fd));
		}
	}
	if (r < 0) {
		vf_backend_region_done(&region);
		return r;
	}
	*ret_region = region;
	return 0;
}

/* ---- regions ---- */

static int bad_access(struct vf_kernel_device *d, const char *what, uint32_t region,
		      uint64_t offset, size_t len, int r, struct vferry_error *err)
{
	return vferry_error_set(err, r, "device-access", d->name,
				"%s %zu bytes at %#llx of region %u of %s: %s", what, len,
				(unsigned long long) offset, region, d->name, vferry_errno_name(r));
}

/* Of what is asked for, how much the device has: the rest of a short config space is zeros. */
static size_t part_there(const struct vf_kernel_device *d, uint32_t region, uint64_t offset,
			 size_t len)
{
	uint64_t size = region < VF_VFIO_PCI_REGIONS ? d->regions[region].size : 0;

	if (region != VF_VFIO_PCI_CONFIG_REGION || size >= CONFIG_BYTES)
		return len;
	return offset >= size ? 0 : (size_t) vf_min_u64(len, size - offset);
}

static bool is_region(const struct vf_kernel_device *d, uint32_t region)
{
	return region < VF_VFIO_PCI_REGIONS && d->regions[region].size > 0;
}

int vf_kernel_region_read(struct vf_backend *backend, uint32_t region, uint64_t offset, void *to,
			  size_t len, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	size_t there = part_there(d, region, offset, len);
	uint8_t *at = to;

	if (!is_region(d, region))
		return bad_access(d, "reading", region, offset, len, -EINVAL, err);
	memset(at + there, 0, len - there);
	for (size_t done = 0; done < there;) {
		ssize_t n = d->kernel.calls->pread(d->kernel.user, d->seat.fd, at + done,
						   there - done,
						   d->regions[region].offset + offset + done);

		if (n == -EINTR)
			continue;
		if (n <= 0 || (size_t) n > there - done)
			return bad_access(d, "reading", region, offset, len, n < 0 ? (int) n : -EIO,
					  err);
		done += (size_t) n;
	}
	return 0;
}

int vf_kernel_region_write(struct vf_backend *backend, uint32_t region, uint64_t offset,
			   const void *from, size_t len, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	size_t there = part_there(d, region, offset, len);
	const uint8_t *at = from;

	if (!is_region(d, region))
		return bad_access(d, "writing", region, offset, len, -EINVAL, err);
	for (size_t done = 0; done < there;) {
		ssize_t n = d->kernel.calls->pwrite(d->kernel.user, d->seat.fd, at + done,
						    there - done,
						    d->regions[region].offset + offset + done);

		if (n == -EINTR)
			continue;
		if (n <= 0 || (size_t) n > there - done)
			return bad_access(d, "writing", region, offset, len, n < 0 ? (int) n : -EIO,
					  err);
		done += (size_t) n;
	}
	return 0;
}

/* ---- interrupts ---- */

int vf_kernel_get_irq_info(struct vf_backend *backend, uint32_t index,
			   struct vf_vfio_irq_info *ret_info, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	struct vf_vfio_irq_info info = { .argsz = sizeof(info), .index = index };
	int r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_GET_IRQ_INFO, &info);

	if (r < 0)
		return vferry_error_set(err, r, "irq-info", d->name,
					"interrupt index %u of %s could not be asked about: %s", index,
					d->name, vferry_errno_name(r));
	*ret_info = info;
	return 0;
}

static int call_set_irqs(struct vf_kernel_device *d, uint32_t index, uint32_t action,
			 uint32_t start, uint32_t count, const int *fds)
{
	size_t data = fds ? count * sizeof(int32_t) : 0;
	struct vf_vfio_irq_set head = {
		.argsz = (uint32_t) (sizeof(head) + data),
		.flags = action | (fds ? VF_VFIO_IRQ_SET_DATA_EVENTFD : VF_VFIO_IRQ_SET_DATA_NONE),
		.index = index,
		.start = start,
		.count = count,
	};
	uint8_t *set = malloc(sizeof(head) + data);
	int r;

	if (!set)
		return -ENOMEM;
	memcpy(set, &head, sizeof(head));
	if (data)
		memcpy(set + sizeof(head), fds, data);
	r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_SET_IRQS, set);
	free(set);
	return r;
}

static void end_resample(struct vf_kernel_device *d)
{
	pthread_mutex_lock(&d->resample_lock);
	d->resample = vf_kernel_resample_free(d->resample);
	pthread_mutex_unlock(&d->resample_lock);
}

static int begin_resample(struct vf_kernel_device *d, int eventfd)
{
	int r;

	pthread_mutex_lock(&d->resample_lock);
	d->resample = vf_kernel_resample_free(d->resample);
	r = vf_kernel_resample_new(&d->kernel, d->seat.fd, eventfd, &d->resample);
	pthread_mutex_unlock(&d->resample_lock);
	return r;
}

int vf_kernel_set_irqs(struct vf_backend *backend, uint32_t index, uint32_t action, uint32_t start,
		       uint32_t count, const int *fds, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	int r;

	if (count > VECTORS_MAX || start > VECTORS_MAX)
		return vferry_error_set(err, -EINVAL, "irq-set", d->name,
					"%u interrupts from %u on are more than a function can have",
					count, start);
	if (index == VF_VFIO_PCI_INTX_IRQ && (action & VF_VFIO_IRQ_SET_ACTION_TRIGGER))
		end_resample(d);
	r = call_set_irqs(d, index, action, start, count, fds);
	if (r == -ENOTTY && index == VF_VFIO_PCI_INTX_IRQ && fds && count == 1 &&
	    (action & VF_VFIO_IRQ_SET_ACTION_UNMASK))
		r = begin_resample(d, fds[0]);
	if (r < 0)
		return vferry_error_set(err, r, "irq-set", d->name,
					"interrupts of %s (index %u, action %#x, %u from %u) were "
					"refused: %s", d->name, index, action, count, start,
					vferry_errno_name(r));
	return r;
}

/* ---- reset ---- */

int vf_kernel_reset(struct vf_backend *backend, struct vferry_error *err)
{
	struct vf_kernel_device *d = vf_kernel_device_of(backend);
	int r = vf_kernel_device_ioctl(d, VF_VFIO_DEVICE_RESET, NULL);

	if (r < 0)
		return vferry_error_set(err, r, "device-reset", d->name, "%s could not be reset: %s%s",
					d->name, vferry_errno_name(r), r == -EINVAL || r == -ENOTTY ?
					"; it has no function reset" : "");
	/* The state is RUNNING and no session is left, by whatever route a device is reset. */
	vf_kernel_drop_stream(d);
	return 0;
}
