/* SPDX-License-Identifier: MIT */
/* kernel_mock_device.h - of kernel_mock.h: the device, its regions and its migration data. */
#ifndef KERNEL_MOCK_DEVICE_H
#define KERNEL_MOCK_DEVICE_H

#include "kernel_mock_base.h"

/* ---- the device ---- */

static int mock_region_info(struct mock *m, struct vf_vfio_region_info *info)
{
	struct {
		struct vf_vfio_region_info info;
		struct vf_vfio_sparse_mmap head;
		struct vf_vfio_sparse_area areas[4];
	} all = { .info = { .index = info->index, .flags = 3,
			    .offset = info->index * MOCK_REGION_STRIDE } };
	uint32_t want = sizeof(all.info), room = info->argsz;
	int r = mock_call(m, "REGION_INFO %u", info->index);

	if (r < 0)
		return r;
	if (info->index == VF_VFIO_PCI_VGA_REGION)
		return -EINVAL;
	if (info->index == VF_VFIO_PCI_CONFIG_REGION)
		all.info.size = m->config_bytes;
	else
		all.info.size = m->image.regions[info->index].size;
	if (info->index < VF_CONFIG_BARS && m->mapped_bars & 1u << info->index)
		all.info.flags |= VF_VFIO_REGION_FLAG_MMAP;
	if (info->index == 0 && m->sparse_count) {
		all.info.flags |= VF_VFIO_REGION_FLAG_CAPS;
		all.head = (struct vf_vfio_sparse_mmap) {
			.header = { .id = VF_VFIO_REGION_CAP_SPARSE_MMAP, .version = 1 },
			.nr_areas = m->sparse_count,
		};
		memcpy(all.areas, m->sparse, sizeof(m->sparse));
		want = sizeof(all);
		if (room >= want)
			all.info.cap_offset = m->bad_caps ? sizeof(all) - 4 :
					      (uint32_t) offsetof(__typeof__(all), head);
	}
	all.info.argsz = m->argsz_lie ? m->argsz_lie : want;
	memcpy(info, &all, room < want ? sizeof(all.info) : want);
	return 0;
}

static int mock_set_irqs(struct mock *m, const struct vf_vfio_irq_set *set)
{
	static const char *const actions[] = { "MASK", "UNMASK", "TRIGGER" };
	unsigned action = set->flags & VF_VFIO_IRQ_SET_ACTION_MASK ? 0 :
			  set->flags & VF_VFIO_IRQ_SET_ACTION_UNMASK ? 1 : 2;
	bool fds = (set->flags & VF_VFIO_IRQ_SET_DATA_EVENTFD) != 0;
	int r = mock_call(m, "IRQS %u %s %u+%u%s", set->index, actions[action], set->start, set->count,
			  fds ? " fds" : "");

	assert_int_equal(set->argsz, sizeof(*set) + (fds ? 4 * set->count : 0));
	if (r < 0)
		return r;
	if (action == 1 && fds && m->no_unmask_fd)
		return -ENOTTY;
	if (action == 1 && !fds) {
		pthread_mutex_lock(&m->lock);
		m->unmasked++;
		pthread_mutex_unlock(&m->lock);
	}
	/* What the host tells, it tells by the device's own eventfd. */
	if (action == 2 && set->index >= VF_VFIO_PCI_ERR_IRQ) {
		int fd = -1;

		if (fds)
			memcpy(&fd, set + 1, sizeof(fd));
		m->notices[set->index - VF_VFIO_PCI_ERR_IRQ] = fd;
		return 0;
	}
	if (action == 2 && fds && m->vectors_left >= 0 && (int) set->count > m->vectors_left)
		return m->vectors_left;
	return 0;
}

static bool mock_has_session(uint32_t state)
{
	return state == VF_VFIO_STATE_STOP_COPY || state == VF_VFIO_STATE_RESUMING ||
	       state == VF_VFIO_STATE_PRE_COPY || state == VF_VFIO_STATE_PRE_COPY_P2P;
}

static const char *mock_state_name(uint32_t state)
{
	const char *name = vf_vfio_state_name(state);

	return name ? name : "?";
}

static int mock_set_state(struct mock *m, struct vf_vfio_feature_mig_state *state)
{
	uint32_t from = m->state;
	int r = mock_call(m, "SET %s", mock_state_name(state->device_state));

	state->data_fd = -1;
	if (r < 0) {
		if (m->fail_state != UINT32_MAX)
			m->state = m->fail_state;
		return r;
	}
	if (from == VF_VFIO_STATE_ERROR || state->device_state == VF_VFIO_STATE_ERROR)
		return -EINVAL;
	m->state = state->device_state;
	if (mock_has_session(m->state) &&
	    (!mock_has_session(from) || from == VF_VFIO_STATE_RESUMING))
		state->data_fd = mock_new_fd(m, MOCK_DATA);
	return 0;
}

static int mock_log(struct mock *m, uint32_t feature, void *data)
{
	struct vf_vfio_dma_log_control *control = data;
	const struct vf_vfio_dma_log_report *report = data;
	int r;

	switch (feature) {
	case VF_VFIO_FEATURE_DMA_LOGGING_START:
		r = mock_call(m, "LOG_START %u", control->num_ranges);
		if (r < 0)
			return r;
		m->logging = true;
		if (m->log_page_bytes)
			control->page_size = m->log_page_bytes;
		return 0;
	case VF_VFIO_FEATURE_DMA_LOGGING_STOP:
		m->logging = false;
		return mock_call(m, "LOG_STOP");
	default:
		r = mock_call(m, "REPORT %llx+%llx", (unsigned long long) report->iova,
			      (unsigned long long) report->length);
		if (r == 0 && (m->no_report || !m->logging))
			return -EOPNOTSUPP;
		if (r == 0)
			mock_take_dirty(m, report->iova, report->length, report->page_size,
					(uint64_t *) (uintptr_t) report->bitmap);
		return r;
	}
}

static int mock_feature(struct mock *m, struct vf_vfio_device_feature *head)
{
	uint32_t feature = head->flags & VF_VFIO_FEATURE_MASK;
	bool get = (head->flags & VF_VFIO_FEATURE_GET) != 0;
	void *data = head + 1;
	int r;

	if (feature >= 32 || (m->features_missing & 1u << feature))
		return mock_call(m, "FEATURE %u", feature) < 0 ? -EIO : -ENOTTY;
	if (head->flags & VF_VFIO_FEATURE_PROBE)
		return mock_call(m, "PROBE %u", feature);
	switch (feature) {
	case VF_VFIO_FEATURE_MIGRATION:
		r = mock_call(m, "GET MIGRATION");
		memcpy(data, &m->mig_flags, sizeof(m->mig_flags));
		return r == 0 && !m->mig_flags ? -ENOTTY : r;
	case VF_VFIO_FEATURE_MIG_DEVICE_STATE:
		if (!get)
			return mock_set_state(m, data);
		r = mock_call(m, "GET STATE");
		*(struct vf_vfio_feature_mig_state *) data = (struct vf_vfio_feature_mig_state) {
			.device_state = m->state, .data_fd = -1 };
		return r;
	case VF_VFIO_FEATURE_MIG_DATA_SIZE:
		r = mock_call(m, "GET DATA_SIZE");
		memcpy(data, &m->to_read, sizeof(m->to_read));
		return r;
	case VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2:
		return mock_call(m, "SET PRECOPY_INFOV2");
	default:
		return mock_log(m, feature, data);
	}
}

static int mock_device(struct mock *m, unsigned long request, void *arg)
{
	struct vf_vfio_device_info *info = arg;
	struct vf_vfio_irq_info *irq = arg;
	struct vf_vfio_bind_iommufd *bind = arg;
	struct vf_vfio_attach_iommufd_pt *attach = arg;
	int r;

	switch (request) {
	case VF_VFIO_DEVICE_GET_INFO:
		r = mock_call(m, "INFO");
		info->flags = m->info_flags;
		info->num_regions = VF_VFIO_PCI_REGIONS;
		info->num_irqs = VF_VFIO_PCI_IRQS;
		return r;
	case VF_VFIO_DEVICE_GET_REGION_INFO:
		return mock_region_info(m, arg);
	case VF_VFIO_DEVICE_GET_IRQ_INFO:
		r = mock_call(m, "IRQ_INFO %u", irq->index);
		irq->flags = VF_VFIO_IRQ_INFO_EVENTFD | (irq->index == 0 ?
			     VF_VFIO_IRQ_INFO_MASKABLE | VF_VFIO_IRQ_INFO_AUTOMASKED : 0);
		irq->count = irq->index == 0 ? 1 : 128;
		return r;
	case VF_VFIO_DEVICE_SET_IRQS:
		return mock_set_irqs(m, arg);
	case VF_VFIO_DEVICE_RESET:
		r = mock_call(m, "RESET");
		if (r == 0) {
			m->state = VF_VFIO_STATE_RUNNING;
			m->resets++;
		}
		return r;
	case VF_VFIO_DEVICE_FEATURE:
		return mock_feature(m, arg);
	case VF_VFIO_DEVICE_BIND_IOMMUFD:
		r = mock_call(m, "BIND");
		assert_int_equal(m->kinds[bind->iommufd], MOCK_IOMMUFD);
		assert_int_equal(m->devices_told, m->kvm >= 0 ? 1 : 0);
		bind->out_devid = 42;
		m->bound = r == 0;
		return r;
	case VF_VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		r = mock_call(m, "ATTACH %s", attach->pt_id == m->ioas ? "ioas" : "hwpt");
		assert_true(m->bound && (attach->pt_id == m->ioas || attach->pt_id == m->table));
		m->attached_to = attach->pt_id;
		return r;
	default:
		return -ENOTTY;
	}
}

/* ---- reading and writing ---- */

static ssize_t mock_pread(void *user, int fd, void *to, size_t len, uint64_t offset)
{
	struct mock *m = user;
	uint64_t region = offset / MOCK_REGION_STRIDE, at = offset % MOCK_REGION_STRIDE;
	int r = mock_call(m, "pread %u %llx+%zx", (unsigned) region, (unsigned long long) at, len);

	if (r < 0)
		return r;
	if (region != VF_VFIO_PCI_CONFIG_REGION)
		return pread(fd, to, len, (off_t) offset);
	if (at + len > m->config_bytes)
		return -EINVAL;
	memcpy(to, m->image.bytes + at, len);
	return (ssize_t) len;
}

static ssize_t mock_pwrite(void *user, int fd, const void *from, size_t len, uint64_t offset)
{
	struct mock *m = user;
	uint64_t region = offset / MOCK_REGION_STRIDE, at = offset % MOCK_REGION_STRIDE;
	int r = mock_call(m, "pwrite %u %llx+%zx", (unsigned) region, (unsigned long long) at, len);

	if (r < 0)
		return r;
	if (region != VF_VFIO_PCI_CONFIG_REGION)
		return pwrite(fd, from, len, (off_t) offset);
	if (at + len > m->config_bytes)
		return -EINVAL;
	memcpy(m->image.bytes + at, from, len);
	return (ssize_t) len;
}

static ssize_t mock_read(void *user, int fd, void *to, size_t len)
{
	struct mock *m = user;
	uint64_t n;
	int r;

	if (m->kinds[fd] != MOCK_DATA)
		return read(fd, to, len);
	r = mock_call(m, "read");
	if (r < 0)
		return r;
	if (!mock_has_session(m->state) || m->state == VF_VFIO_STATE_RESUMING)
		return -ENODEV;
	if (m->again) {
		m->again--;
		return -EAGAIN;
	}
	n = m->to_read < len ? m->to_read : len;
	if (n == 0)
		return m->state == VF_VFIO_STATE_STOP_COPY ? 0 : -ENOMSG;
	memset(to, 0xda, n);
	m->to_read -= n;
	return (ssize_t) n;
}

static ssize_t mock_write(void *user, int fd, const void *from, size_t len)
{
	struct mock *m = user;
	int r = mock_call(m, "write %zu", len);

	(void) from;
	assert_int_equal(m->kinds[fd], MOCK_DATA);
	if (r < 0)
		return r;
	if (m->state != VF_VFIO_STATE_RESUMING)
		return -ENODEV;
	if (m->write_most && len > m->write_most)
		len = m->write_most;
	m->written += len;
	m->writes++;
	return (ssize_t) len;
}

static int mock_set_nonblocking(void *user, int fd)
{
	assert_int_equal(((struct mock *) user)->kinds[fd], MOCK_DATA);
	return mock_call(user, "nonblocking");
}

static int mock_wait_readable(void *user, int fd, uint64_t timeout_ns)
{
	struct mock *m = user;

	(void) fd;
	(void) timeout_ns;
	return mock_call(m, "wait") < 0 ? -EIO : m->never_readable ? 0 : 1;
}

#endif
