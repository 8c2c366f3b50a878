/* SPDX-License-Identifier: MIT */
/*
 * kernel_mock_base.h - of kernel_mock.h: what the mock knows, how calls are noted and made to fail, and
 * its descriptors.
 */
#ifndef KERNEL_MOCK_BASE_H
#define KERNEL_MOCK_BASE_H

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
	unsigned mapped_bars;		/* bit n: BAR n can be mapped, its driver says ... */
	bool no_mmap;			/* ... and then it can't */
	uint32_t sparse_count;		/* of BAR 0; 0 = no capability */
	struct vf_vfio_sparse_area sparse[4];
	bool bad_caps;			/* the chain leads out of the struct */
	uint32_t argsz_lie;		/* what the kernel says that it wants, 0 = the truth */
	bool no_unmask_fd;
	unsigned unmasked;		/* by the plain call */
	int notices[2];			/* ERR, REQ: eventfds of the VMM, -1 or 0 = none */
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

static inline void fail_named(struct mock *m, const char *call, int error)
{
	m->fail_call = call;
	m->fail_with = error;
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
	int fd = memfd_create("mock", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0 && fd < MOCK_FDS);
	if (kind == MOCK_DEVICE)
		assert_int_equal(ftruncate(fd, (off_t) (VF_VFIO_PCI_REGIONS * MOCK_REGION_STRIDE)), 0);
	if (kind == MOCK_DEVICE && m->no_mmap)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
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
	if (strcmp(path, "/proc/sys/kernel/osrelease") == 0) {
		r = mock_new_fd(m, MOCK_ALIASES);
		assert_true(write(r, "6.1.0\n", 6) > 0);
		assert_int_equal(lseek(r, 0, SEEK_SET), 0);
		return r;
	}
	if (m->aliases && strcmp(path, "/lib/modules/6.1.0/modules.alias") == 0) {
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

/* ---- logs ---- */

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

#endif
