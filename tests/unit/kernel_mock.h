/* SPDX-License-Identifier: MIT */
/*
 * kernel_mock.h - a kernel for the tests of the kernel backends: group, container, character device,
 * iommufd, KVM's VFIO device, sysfs, and one device that can migrate.
 *
 * Its descriptors are real ones (memfds), so that they are mapped and closed as always, and a
 * descriptor that is left open shows in /proc/self/fd. Which of them is what, it remembers by number.
 * Each call is noted; the n-th, or one by name, can be made to fail.
 */
#ifndef KERNEL_MOCK_H
#define KERNEL_MOCK_H

#define _GNU_SOURCE	/* memfd_create; so this header comes first */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vfio/kernel_device.h"
#include "vferry_iommufd.h"
#include "test_config_image.h"

enum mock_kind {
	MOCK_NONE, MOCK_CONTAINER, MOCK_GROUP, MOCK_DEVICE, MOCK_IOMMUFD, MOCK_KVM, MOCK_DATA,
	MOCK_MODALIAS, MOCK_ALIASES,
};

#define MOCK_FDS 1024
#define MOCK_REGION_STRIDE (32ull << 20)
#define MOCK_MAPPINGS 64
#define MOCK_NOTES 32768

struct mock_mapping {
	uint64_t iova, bytes, host;
	uint32_t flags;
};

struct mock {
	struct vf_kernel kernel;	/* what the backend is opened with */
	pthread_mutex_t lock;
	char notes[MOCK_NOTES];
	size_t noted;
	enum mock_kind kinds[MOCK_FDS];
	int kvm;
	int fds_before;

	/* failures */
	unsigned calls;
	unsigned fail_at;		/* the n-th call; 0 = none */
	const char *fail_call;		/* as it is noted */
	int fail_with;
	bool failed;

	/* the host */
	bool has_iommu;			/* /dev/iommu, and a character device */
	const char *driver;
	bool viable;
	bool kvm_refuses;
	const char *aliases;
	const char *release;

	/* what there is of it */
	unsigned containers_set, groups_told, devices_told;
	struct mock_mapping mappings[MOCK_MAPPINGS];
	unsigned mapping_count;
	uint64_t lock_limit;		/* bytes that can be mapped; 0 = any */
	bool bound, can_track, tracking;
	uint32_t next_id, attached_to, ioas, table;
	uint64_t dirty[16];		/* page addresses that the device or its IOMMU logged */
	unsigned dirty_count;

	/* the device */
	struct image image;
	uint32_t info_flags;
	uint64_t config_bytes;		/* less than the image: a short one */
	uint32_t sparse_count;		/* of BAR 0; 0 = no capability */
	struct vf_vfio_sparse_area sparse[4];
	bool bad_caps;			/* the chain leads out of the struct */
	uint32_t argsz_lie;		/* what the kernel says that it wants, 0 = the truth */
	bool no_unmask_fd;
	unsigned unmasked;		/* by the plain call */
	int vectors_left;		/* -1 = enough; else what SET_IRQS says there is */
	uint64_t mig_flags;
	uint32_t state;
	uint32_t fail_state;		/* where a failed transition leaves it; UINT32_MAX = as it was */
	uint32_t features_missing;	/* bit n: feature n is not there */
	unsigned resets;
	uint64_t to_read;
	unsigned again;			/* reads that find a driver still at work */
	bool never_readable;
	uint64_t written;
	unsigned writes;
	size_t write_most;		/* of one write; 0 = all */
	struct vf_vfio_precopy_info precopy;
	bool logging, no_report;
	uint64_t log_page_bytes;	/* what it chooses; 0 = as asked */
};

/* ---- notes and failures ---- */

__attribute__((format(printf, 2, 3)))
static int mock_call(struct mock *m, const char *fmt, ...)
{
	char text[96];
	va_list args;
	int r = 0;

	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pthread_mutex_lock(&m->lock);
	if (m->noted < sizeof(m->notes) - sizeof(text) - 3)
		m->noted += (size_t) snprintf(m->notes + m->noted, sizeof(m->notes) - m->noted,
					      "%s; ", text);
	if (++m->calls == m->fail_at || (m->fail_call && strcmp(m->fail_call, text) == 0)) {
		r = m->fail_with;
		m->failed = true;
		m->fail_call = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

static inline void mock_forget(struct mock *m)
{
	m->noted = 0;
	m->notes[0] = '\0';
}

#define expect_calls(m, expected)			\
	do {						\
		assert_string_equal((m)->notes, expected);	\
		mock_forget(m);				\
	} while (0)

static int mock_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void) closedir(dir);
	return n;
}

/* ---- descriptors ---- */

static int mock_new_fd(struct mock *m, enum mock_kind kind)
{
	int fd = memfd_create("mock", MFD_CLOEXEC);

	assert_true(fd >= 0 && fd < MOCK_FDS);
	if (kind == MOCK_DEVICE)
		assert_int_equal(ftruncate(fd, (off_t) (VF_VFIO_PCI_REGIONS * MOCK_REGION_STRIDE)), 0);
	m->kinds[fd] = kind;
	return fd;
}

static int mock_open(void *user, const char *path, int flags)
{
	struct mock *m = user;
	static const struct { const char *path; enum mock_kind kind; } files[] = {
		{ "/dev/vfio/vfio", MOCK_CONTAINER }, { "/dev/vfio/7", MOCK_GROUP },
		{ "/dev/iommu", MOCK_IOMMUFD }, { "/dev/vfio/devices/vfio3", MOCK_DEVICE },
	};
	int r = mock_call(m, "open %s", path);

	(void) flags;
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (strcmp(path, files[i].path) == 0 &&
		    (m->has_iommu || files[i].kind < MOCK_DEVICE)) {
			/* Whoever closed the one before took its mappings along. */
			if (files[i].kind == MOCK_CONTAINER || files[i].kind == MOCK_IOMMUFD)
				m->mapping_count = 0;
			return mock_new_fd(m, files[i].kind);
		}
	if (strstr(path, "/modalias")) {
		r = mock_new_fd(m, MOCK_MODALIAS);
		assert_true(write(r, "pci:v00001D1Dd00002E2Esv00001D1Esd00000007bc12sc00i00\n", 54) > 0);
		assert_int_equal(lseek(r, 0, SEEK_SET), 0);
		return r;
	}
	if (m->aliases && strstr(path, "/modules.alias")) {
		r = mock_new_fd(m, MOCK_ALIASES);
		assert_true(write(r, m->aliases, strlen(m->aliases)) > 0);
		assert_int_equal(lseek(r, 0, SEEK_SET), 0);
		return r;
	}
	return -ENOENT;
}

static int mock_dup(void *user, int fd)
{
	struct mock *m = user;
	int r = mock_call(m, "dup");

	if (r < 0)
		return r;
	r = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	assert_true(r >= 0 && r < MOCK_FDS);
	m->kinds[r] = m->kinds[fd];
	return r;
}

/* ---- container and group ---- */

static int mock_map(struct mock *m, uint64_t iova, uint64_t bytes, uint64_t host, uint32_t flags)
{
	uint64_t all = bytes;

	for (unsigned i = 0; i < m->mapping_count; i++) {
		all += m->mappings[i].bytes;
		if (iova < m->mappings[i].iova + m->mappings[i].bytes &&
		    m->mappings[i].iova < iova + bytes)
			return -EEXIST;
	}
	if (m->lock_limit && all > m->lock_limit)
		return -ENOMEM;
	if (iova < 0xfef00000 && iova + bytes > 0xfee00000)
		return -EINVAL;		/* x86's window for messages */
	assert_true(m->mapping_count < MOCK_MAPPINGS);
	m->mappings[m->mapping_count++] = (struct mock_mapping) { iova, bytes, host, flags };
	return 0;
}

static int mock_unmap(struct mock *m, uint64_t iova, uint64_t bytes)
{
	for (unsigned i = 0; i < m->mapping_count; i++) {
		if (m->mappings[i].iova != iova || m->mappings[i].bytes != bytes)
			continue;
		m->mappings[i] = m->mappings[--m->mapping_count];
		return 0;
	}
	return -ENOENT;
}

static int mock_iommu_info(struct vf_vfio_iommu_info *info)
{
	struct {
		struct vf_vfio_iommu_info info;
		struct vf_vfio_iova_ranges head;
		struct vf_vfio_iova_range ranges[2];
	} all = {
		.info = { .argsz = sizeof(all), .flags = VF_VFIO_IOMMU_INFO_CAPS | 1,
			  .iova_pgsizes = 4096, .cap_offset = offsetof(__typeof__(all), head) },
		.head = { .header = { .id = VF_VFIO_IOMMU_CAP_IOVA_RANGE, .version = 1 },
			  .nr_iovas = 2 },
		.ranges = { { 0, 0xfedfffff }, { 0xfef00000, UINT64_MAX >> 16 } },
	};

	if (info->argsz < sizeof(all))
		all.info.cap_offset = 0;
	memcpy(info, &all, info->argsz < sizeof(all) ? sizeof(*info) : sizeof(all));
	return 0;
}

static int mock_container(struct mock *m, unsigned long request, void *arg)
{
	const struct vf_vfio_dma_map *map = arg;
	const struct vf_vfio_dma_unmap *unmap = arg;
	int r;

	switch (request) {
	case VF_VFIO_GET_API_VERSION:
		r = mock_call(m, "container VERSION");
		return r ? r : VF_VFIO_API_VERSION;
	case VF_VFIO_CHECK_EXTENSION:
		r = mock_call(m, "container EXTENSION %d", (int) (uintptr_t) arg);
		return r < 0 ? r : 1;
	case VF_VFIO_SET_IOMMU:
		r = mock_call(m, "container SET_IOMMU %d", (int) (uintptr_t) arg);
		return r == 0 && !m->containers_set ? -EINVAL : r;
	case VF_VFIO_IOMMU_GET_INFO:
		r = mock_call(m, "container INFO");
		return r < 0 ? r : mock_iommu_info(arg);
	case VF_VFIO_IOMMU_MAP_DMA:
		r = mock_call(m, "MAP %llx+%llx", (unsigned long long) map->iova,
			      (unsigned long long) map->size);
		return r < 0 ? r : mock_map(m, map->iova, map->size, map->vaddr, map->flags);
	case VF_VFIO_IOMMU_UNMAP_DMA:
		r = mock_call(m, "UNMAP %llx+%llx", (unsigned long long) unmap->iova,
			      (unsigned long long) unmap->size);
		return r < 0 ? r : mock_unmap(m, unmap->iova, unmap->size);
	default:
		return -ENOTTY;
	}
}

static int mock_group(struct mock *m, unsigned long request, void *arg)
{
	struct vf_vfio_group_status *status = arg;
	int r;

	switch (request) {
	case VF_VFIO_GROUP_GET_STATUS:
		r = mock_call(m, "group STATUS");
		if (r == 0)
			status->flags = m->viable ? VF_VFIO_GROUP_FLAGS_VIABLE : 0;
		return r;
	case VF_VFIO_GROUP_SET_CONTAINER:
		r = mock_call(m, "group SET_CONTAINER");
		assert_int_equal(m->kinds[*(int32_t *) arg], MOCK_CONTAINER);
		m->containers_set += r == 0;
		return r;
	case VF_VFIO_GROUP_UNSET_CONTAINER:
		r = mock_call(m, "group UNSET_CONTAINER");
		m->containers_set--;
		return r;
	case VF_VFIO_GROUP_GET_DEVICE_FD:
		r = mock_call(m, "group DEVICE %s", (const char *) arg);
		if (r < 0)
			return r;
		assert_int_equal(m->groups_told, m->kvm >= 0 ? 1 : 0);
		return strcmp(arg, "0000:3b:00.0") == 0 ? mock_new_fd(m, MOCK_DEVICE) : -ENODEV;
	default:
		return -ENOTTY;
	}
}

static int mock_kvm(struct mock *m, unsigned long request, void *arg)
{
	const struct kvm_device_attr *attr = arg;
	int fd = *(int32_t *) (uintptr_t) attr->addr, r;
	bool add = attr->attr == KVM_DEV_VFIO_GROUP_ADD;
	unsigned *told = m->kinds[fd] == MOCK_GROUP ? &m->groups_told : &m->devices_told;

	if (request != KVM_SET_DEVICE_ATTR || attr->group != KVM_DEV_VFIO_GROUP)
		return -ENXIO;
	r = mock_call(m, "kvm %s %s", add ? "ADD" : "DEL",
		      m->kinds[fd] == MOCK_GROUP ? "group" : "device");
	if (r == 0 || !add)
		*told += add ? 1u : -1u;
	return r;
}

/* ---- iommufd ---- */

static void mock_take_dirty(struct mock *m, uint64_t iova, uint64_t bytes, uint64_t page, uint64_t *words)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < m->dirty_count; i++) {
		uint64_t at = m->dirty[i];

		if (at < iova || at >= iova + bytes)
			m->dirty[kept++] = at;
		else
			words[(at - iova) / page / 64] |= 1ull << (at - iova) / page % 64;
	}
	m->dirty_count = kept;
}

static int mock_iommufd(struct mock *m, unsigned long request, void *arg)
{
	struct vf_iommu_ioas_alloc *ioas = arg;
	struct vf_iommu_destroy *gone = arg;
	struct vf_iommu_hwpt_alloc *table = arg;
	struct vf_iommu_hw_info *hw = arg;
	struct vf_iommu_ioas_map *map = arg;
	struct vf_iommu_ioas_unmap *unmap = arg;
	struct vf_iommu_hwpt_set_dirty_tracking *track = arg;
	struct vf_iommu_hwpt_get_dirty_bitmap *get = arg;
	struct vf_iommu_ioas_iova_ranges *ranges = arg;
	int r;

	switch (request) {
	case VF_IOMMU_IOAS_ALLOC:
		r = mock_call(m, "ioas ALLOC");
		if (r == 0)
			ioas->out_ioas_id = m->ioas = ++m->next_id;
		return r;
	case VF_IOMMU_DESTROY:
		r = mock_call(m, "DESTROY %s", gone->id == m->ioas ? "ioas" : "hwpt");
		*(gone->id == m->ioas ? &m->ioas : &m->table) = 0;
		return r;
	case VF_IOMMU_GET_HW_INFO:
		r = mock_call(m, "HW_INFO");
		assert_true(hw->dev_id == 42);
		hw->out_capabilities = m->can_track ? VF_IOMMU_HW_CAP_DIRTY_TRACKING : 0;
		return r;
	case VF_IOMMU_HWPT_ALLOC:
		r = mock_call(m, "hwpt ALLOC%s", table->flags & VF_IOMMU_HWPT_ALLOC_DIRTY_TRACKING
			      ? " tracking" : "");
		assert_true(table->dev_id == 42 && table->pt_id == m->ioas);
		if (r == 0)
			table->out_hwpt_id = m->table = ++m->next_id;
		return r;
	case VF_IOMMU_IOAS_MAP:
		r = mock_call(m, "ioas MAP %llx+%llx", (unsigned long long) map->iova,
			      (unsigned long long) map->length);
		assert_true(map->flags & VF_IOMMU_IOAS_MAP_FIXED_IOVA);
		return r < 0 ? r : mock_map(m, map->iova, map->length, map->user_va, map->flags);
	case VF_IOMMU_IOAS_UNMAP:
		r = mock_call(m, "ioas UNMAP %llx+%llx", (unsigned long long) unmap->iova,
			      (unsigned long long) unmap->length);
		return r < 0 ? r : mock_unmap(m, unmap->iova, unmap->length);
	case VF_IOMMU_IOAS_IOVA_RANGES:
		r = mock_call(m, "ioas RANGES");
		assert_true(ranges->num_iovas >= 2);
		memcpy((void *) (uintptr_t) ranges->allowed_iovas,
		       (const struct vf_iommu_iova_range []) {
			{ 0, 0xfedfffff }, { 0xfef00000, UINT64_MAX } }, 32);
		ranges->num_iovas = 2;
		return r;
	case VF_IOMMU_HWPT_SET_DIRTY_TRACKING:
		r = mock_call(m, "hwpt TRACK %s", track->flags ? "on" : "off");
		assert_int_equal(track->hwpt_id, m->table);
		if (r == 0)
			m->tracking = track->flags != 0;
		return r;
	case VF_IOMMU_HWPT_GET_DIRTY_BITMAP:
		r = mock_call(m, "hwpt DIRTY %llx+%llx", (unsigned long long) get->iova,
			      (unsigned long long) get->length);
		if (r == 0)
			mock_take_dirty(m, get->iova, get->length, get->page_size,
					(uint64_t *) (uintptr_t) get->data);
		return r;
	default:
		return -ENOTTY;
	}
}

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
	if (info->index == 0 || info->index == 4)
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
	static const char *const names[] = { "ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING",
					     "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P" };

	return state < 8 ? names[state] : "?";
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

static int mock_ioctl(void *user, int fd, unsigned long request, void *arg)
{
	struct mock *m = user;
	int r;

	assert_true(fd >= 0 && fd < MOCK_FDS);
	switch (m->kinds[fd]) {
	case MOCK_CONTAINER:
		return mock_container(m, request, arg);
	case MOCK_GROUP:
		return mock_group(m, request, arg);
	case MOCK_DEVICE:
		return mock_device(m, request, arg);
	case MOCK_IOMMUFD:
		return mock_iommufd(m, request, arg);
	case MOCK_KVM:
		return mock_kvm(m, request, arg);
	case MOCK_DATA:
		assert_true(request == VF_VFIO_MIG_GET_PRECOPY_INFO);
		assert_int_equal(((struct vf_vfio_precopy_info *) arg)->flags, 0);
		r = mock_call(m, "PRECOPY_INFO");
		*(struct vf_vfio_precopy_info *) arg = m->precopy;
		return r;
	default:
		return -EBADF;
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

/* ---- sysfs ---- */

#define MOCK_PCI "/sys/bus/pci/devices/"

static int mock_readlink(void *user, const char *path, char *to, size_t size)
{
	struct mock *m = user;
	const struct { const char *path, *target; } links[] = {
		{ MOCK_PCI "0000:3b:00.0", "../../../devices/pci0000:3a/0000:3b:00.0" },
		{ MOCK_PCI "0000:3b:00.0/iommu_group", "../../../kernel/iommu_groups/7" },
		{ MOCK_PCI "0000:3b:00.0/driver", m->driver },
		{ MOCK_PCI "0000:3b:00.1/driver", "../../bus/pci/drivers/e1000e" },
		{ MOCK_PCI "0000:3c:00.0", "../../../devices/pci0000:3a/0000:3c:00.0" },
		{ "/sys/class/vfio-dev/vfio3/device", "../../../0000:3b:00.0" },
		{ "/sys/class/vfio-dev/vfio3/device/iommu_group", "../../../kernel/iommu_groups/7" },
		{ "/sys/class/vfio-dev/vfio3/device/driver", m->driver },
		{ "/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "../x" },
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (strcmp(path, links[i].path) == 0 && links[i].target)
			return snprintf(to, size, "%s", links[i].target) < (int) size
				       ? 0 : -ENAMETOOLONG;
	return -ENOENT;
}

static int mock_list(void *user, const char *folder, int (*each)(void *arg, const char *name),
		     void *arg)
{
	struct mock *m = user;
	int r;

	if (strcmp(folder, MOCK_PCI "0000:3b:00.0/vfio-dev") == 0) {
		if (m->has_iommu)
			(void) each(arg, "vfio3");
		return 0;
	}
	if (strcmp(folder, "/sys/kernel/iommu_groups/7/devices") == 0) {
		r = each(arg, "0000:3b:00.0");
		return r ? 0 : each(arg, "0000:3b:00.1") < 0 ? -EIO : 0;
	}
	return -ENOENT;
}

static const struct vf_kernel_calls mock_calls = {
	.open = mock_open, .dup = mock_dup, .ioctl = mock_ioctl, .pread = mock_pread,
	.pwrite = mock_pwrite, .read = mock_read, .write = mock_write,
	.set_nonblocking = mock_set_nonblocking, .wait_readable = mock_wait_readable,
	.readlink = mock_readlink, .list = mock_list,
};

/* ---- life ---- */

__attribute__((unused))
static struct mock *mock_new(void)
{
	struct mock *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->kernel = (struct vf_kernel) { .calls = &mock_calls, .user = m };
	pthread_mutex_init(&m->lock, NULL);
	image_full(&m->image);
	m->config_bytes = m->image.size;
	m->driver = "../../bus/pci/drivers/some_vfio_pci";
	m->viable = true;
	m->info_flags = VF_VFIO_DEVICE_FLAGS_PCI | VF_VFIO_DEVICE_FLAGS_RESET;
	m->vectors_left = -1;
	m->mig_flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
		       VF_VFIO_MIGRATION_PRE_COPY;
	m->state = VF_VFIO_STATE_RUNNING;
	m->fail_state = UINT32_MAX;
	m->features_missing = 1u << VF_VFIO_FEATURE_MIG_PRECOPY_INFOV2;
	m->kvm = -1;
	m->fds_before = mock_count_fds();
	return m;
}

/* Nothing is left: no descriptor, no mapping, no group in a container, nothing that KVM was told. */
__attribute__((unused))
static void mock_expect_clean(struct mock *m)
{
	if (m->kvm >= 0)
		(void) close(m->kvm);
	m->kvm = -1;
	assert_int_equal(mock_count_fds(), m->fds_before);
	assert_int_equal(m->mapping_count, 0);
	assert_int_equal(m->containers_set, 0);
	assert_int_equal(m->groups_told, 0);
	assert_int_equal(m->devices_told, 0);
	assert_int_equal(m->ioas, 0);
	assert_int_equal(m->table, 0);
}

__attribute__((unused))
static void mock_free(struct mock *m)
{
	mock_expect_clean(m);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

__attribute__((unused))
static int mock_open_backend(struct mock *m, const char *text, struct vferry_dma_space *space,
			     struct vf_backend **ret, struct vferry_error *err)
{
	const struct vf_backend_options options = { .timeout_ns = 1000000000, .dma_space = space };

	return vf_backend_open_kernel_at(&m->kernel, text, &options, ret, err);
}

__attribute__((unused))
static struct vferry_dma_space *mock_space(struct mock *m, bool with_kvm)
{
	struct vferry_dma_space_options options = {
		.size = sizeof(options), .kvm_vfio = -1, .iommufd = -1,
	};
	struct vferry_dma_space *space;

	if (with_kvm)
		options.kvm_vfio = m->kvm = mock_new_fd(m, MOCK_KVM);
	assert_int_equal(vf_space_new(&m->kernel, &options, &space, NULL), 0);
	return space;
}

#endif
