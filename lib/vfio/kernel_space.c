/* SPDX-License-Identifier: MIT */
/* kernel_space.c - see kernel_space.h: what is mapped, and which kind the space is of. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "vfio/kernel_space.h"

/* ---- life ---- */

int vf_space_new(const struct vf_kernel *kernel, const struct vferry_dma_space_options *options,
		 struct vferry_dma_space **ret_space, struct vferry_error *err)
{
	struct vferry_dma_space *space = calloc(1, sizeof(*space));

	if (!space)
		return vferry_error_set(err, -ENOMEM, "no-memory", "dma-space", "no memory");
	space->kernel = *kernel;
	space->kvm_vfio = options ? options->kvm_vfio : -1;
	space->given_iommufd = options ? options->iommufd : -1;
	space->fd = -1;
	pthread_mutex_init(&space->lock, NULL);
	*ret_space = space;
	return 0;
}

int vferry_dma_space_new(const struct vferry_dma_space_options *options,
			 struct vferry_dma_space **ret_space, struct vferry_error *err)
{
	const struct vf_kernel kernel = vf_kernel_real();

	if (!options || options->size < sizeof(*options))
		return vferry_error_set(err, -EINVAL, "dma-space-options", "dma-space",
					"bad options for the address space of devices");
	return vf_space_new(&kernel, options, ret_space, err);
}

struct vferry_dma_space *vferry_dma_space_free(struct vferry_dma_space *space)
{
	if (!space)
		return NULL;
	vf_close(&space->fd);
	free(space->mappings);
	pthread_mutex_destroy(&space->lock);
	free(space);
	return NULL;
}

int vf_space_tell_kvm(struct vferry_dma_space *space, int fd, bool add)
{
	int32_t told = fd;
	struct kvm_device_attr attr = {
		/* Called FILE since 6.6, of the same numbers: groups and devices alike. */
		.group = KVM_DEV_VFIO_GROUP,
		.attr = add ? KVM_DEV_VFIO_GROUP_ADD : KVM_DEV_VFIO_GROUP_DEL,
		.addr = (uintptr_t) &told,
	};

	if (space->kvm_vfio < 0)
		return 0;
	return vf_kernel_ioctl(&space->kernel, space->kvm_vfio, KVM_SET_DEVICE_ATTR, &attr);
}

/* ---- devices ---- */

/* cdev needs a kernel with iommufd, and rights to it; where either lacks, the group is asked. */
static const struct vf_space_ops *choose(struct vferry_dma_space *space,
					 const struct vf_kernel_target *target)
{
	int fd;

	if (target->wanted)
		return target->wanted == VF_KERNEL_CDEV ? &vf_space_cdev_ops : &vf_space_group_ops;
	if (space->ops)
		return space->ops;
	if (!target->cdev[0])
		return &vf_space_group_ops;
	if (space->given_iommufd >= 0)
		return &vf_space_cdev_ops;
	fd = space->kernel.calls->open(space->kernel.user, "/dev/iommu", O_RDWR);
	if (fd < 0)
		return &vf_space_group_ops;
	space->fd = fd;
	return &vf_space_cdev_ops;
}

int vf_space_enter(struct vferry_dma_space *space, const struct vf_kernel_target *target,
		   struct vf_space_seat *ret_seat, struct vferry_error *err)
{
	struct vf_space_seat seat = VF_SPACE_SEAT_INIT;
	const struct vf_space_ops *ops;
	int r;

	pthread_mutex_lock(&space->lock);
	ops = choose(space, target);
	if (space->ops && ops != space->ops) {
		r = vferry_error_set(err, -EBUSY, "device-backend", target->name,
				     "the machine's devices are opened by %s; all must be, %s is not",
				     space->ops->name, target->name);
	} else {
		space->ops = ops;
		r = ops->enter(space, target, &seat, err);
		if (r == 0) {
			space->devices++;
			*ret_seat = seat;
		} else if (space->devices == 0) {
			vf_close(&space->fd);
			space->ops = NULL;
		}
	}
	pthread_mutex_unlock(&space->lock);
	return r;
}

void vf_space_leave(struct vferry_dma_space *space, struct vf_space_seat *seat)
{
	pthread_mutex_lock(&space->lock);
	space->ops->leave(space, seat);
	if (--space->devices == 0) {
		vf_close(&space->fd);
		space->ops = NULL;
		space->ioas = 0;
		space->mapping_count = 0;
	}
	pthread_mutex_unlock(&space->lock);
}

/* ---- mappings ---- */

static struct vf_space_mapping *find_locked(struct vferry_dma_space *space, uint64_t iova,
					    uint64_t bytes)
{
	for (uint32_t i = 0; i < space->mapping_count; i++)
		if (space->mappings[i].iova == iova && space->mappings[i].bytes == bytes)
			return &space->mappings[i];
	return NULL;
}

/* If the IOMMU has no such addresses, that is worth a sentence: it is the host's layout. */
static int explain_locked(struct vferry_dma_space *space, const struct vf_space_mapping *m, int r,
			  struct vferry_error *err)
{
	struct vf_space_range *ranges = calloc(VF_SPACE_RANGES_MAX, sizeof(*ranges));
	uint64_t last = m->iova + (m->bytes - 1);
	int count = ranges ? space->ops->get_ranges(space, ranges, VF_SPACE_RANGES_MAX) : 0;
	bool inside = count <= 0;

	for (int i = 0; i < count && !inside; i++)
		inside = m->iova >= ranges[i].first && last <= ranges[i].last;
	free(ranges);
	if (!inside)
		return vferry_error_set(err, r, "dma-addresses", "dma-space",
					"addresses %#llx to %#llx cannot be mapped for DMA: on this "
					"host's IOMMU some of them are reserved",
					(unsigned long long) m->iova, (unsigned long long) last);
	return vferry_error_set(err, r, "dma-map", "dma-space",
				"%llu bytes at %#llx could not be mapped for DMA: %s",
				(unsigned long long) m->bytes, (unsigned long long) m->iova,
				vferry_errno_name(r));
}

static int add_locked(struct vferry_dma_space *space, const struct vf_space_mapping *m,
		      struct vferry_error *err)
{
	struct vf_space_mapping *mappings;
	int r;

	if (space->mapping_count == VF_SPACE_MAPPINGS_MAX)
		return vferry_error_set(err, -ENOSPC, "dma-map", "dma-space",
					"more than %u pieces of memory are mapped for DMA",
					VF_SPACE_MAPPINGS_MAX);
	mappings = realloc(space->mappings, (space->mapping_count + 1) * sizeof(*mappings));
	if (!mappings)
		return vferry_error_set(err, -ENOMEM, "no-memory", "dma-space", "no memory");
	space->mappings = mappings;
	r = space->ops->map(space, m);
	/* Who pins pages can be short of what may be pinned: that is the caller's to explain. */
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return explain_locked(space, m, r, err);
	space->mappings[space->mapping_count++] = *m;
	return 0;
}

int vf_space_map(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes, bool writable,
		 void *host, struct vferry_error *err)
{
	const struct vf_space_mapping m = {
		.iova = iova, .bytes = bytes, .host = host, .writable = writable, .users = 1,
	};
	struct vf_space_mapping *same;
	uint64_t end;
	int r = 0;

	if (!host || !bytes || vf_add_u64(iova, bytes - 1, &end))
		return vferry_error_set(err, -EINVAL, "dma-map", "dma-space",
					"no memory that could be mapped for DMA");
	pthread_mutex_lock(&space->lock);
	same = find_locked(space, iova, bytes);
	if (!same)
		r = add_locked(space, &m, err);
	else if (same->host == host && same->writable == writable)
		same->users++;
	else
		r = vferry_error_set(err, -EEXIST, "dma-map", "dma-space",
				     "other memory is mapped for DMA at %#llx already",
				     (unsigned long long) iova);
	pthread_mutex_unlock(&space->lock);
	return r;
}

int vf_space_unmap(struct vferry_dma_space *space, uint64_t iova, uint64_t bytes,
		   struct vferry_error *err)
{
	struct vf_space_mapping *m;
	int r = 0;

	pthread_mutex_lock(&space->lock);
	m = find_locked(space, iova, bytes);
	if (!m) {
		r = vferry_error_set(err, -ENOENT, "dma-unmap", "dma-space",
				     "nothing of %llu bytes is mapped for DMA at %#llx",
				     (unsigned long long) bytes, (unsigned long long) iova);
	} else if (--m->users == 0) {
		r = space->ops->unmap(space, iova, bytes);
		if (r < 0)
			r = vferry_error_set(err, r, "dma-unmap", "dma-space",
					     "%llu bytes at %#llx could not be unmapped: %s",
					     (unsigned long long) bytes, (unsigned long long) iova,
					     vferry_errno_name(r));
		/* Also after a failure: it cannot be tried better. */
		*m = space->mappings[--space->mapping_count];
	}
	pthread_mutex_unlock(&space->lock);
	return r;
}
