/* SPDX-License-Identifier: MIT */
/*
 * vfio_user_fixture.h - a small device behind a vfio-user server on a thread of its own, and a
 * client of it. The device has a config space, a mappable BAR0, INTx, MSI-X, and `state_bytes` of
 * migration state: byte i is (i * 7 + seed) & 0xff.
 *
 * `device->lock` guards what the test looks at while the server thread runs.
 */
#ifndef VFIO_USER_FIXTURE_H
#define VFIO_USER_FIXTURE_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vfio-user/client.h"
#include "vfio-user/server.h"

#define FIXTURE_BAR0_BYTES 16384u
#define FIXTURE_CONFIG_BYTES 4096u

struct fixture_device {
	pthread_mutex_t lock;
	struct vf_vfio_user_server *server;
	pthread_t thread;
	int stop;
	uint8_t config[FIXTURE_CONFIG_BYTES];
	int bar_fd;
	uint8_t *bar;

	uint8_t seed;
	size_t state_bytes, saved, loaded;
	bool load_wrong;
	char arcs[512];		/* "2>5 5>1 ..." as they were asked for */
	enum vf_vfio_state fail_to;	/* an arc to this state fails (ERROR = none) */
	bool lose;		/* ... and loses the device */
	atomic_bool later;	/* arcs and data are answered by another thread */
	atomic_uint later_ms;
	atomic_int resets, lost_clients, connects, maps, unmaps;
	atomic_int hang_reads;	/* region reads of config that never get an answer */
	atomic_uint_fast64_t kicks[2];	/* of ioeventfd 0 and 1 */
	/* What ioeventfd 0 had been kicked when a byte was last written to, or read from, BAR0. */
	atomic_uint_fast64_t kicks_at_write, kicks_at_read;
	uint64_t dma_test_iova;	/* region_write to config 0x100: dma_write of 8 bytes there */
};

static inline uint8_t fixture_byte(const struct fixture_device *d, size_t at)
{
	return (uint8_t) (at * 7 + d->seed);
}

static inline void *fixture_complete(void *arg)
{
	int64_t *job = arg;
	struct fixture_device *d = (struct fixture_device *) (uintptr_t) job[0];

	(void) usleep(atomic_load(&d->later_ms) * 1000);
	vf_vfio_user_server_complete(d->server, job[1]);
	free(job);
	return NULL;
}

static inline int64_t fixture_answer(struct fixture_device *d, int64_t result)
{
	int64_t *job;
	pthread_t thread;

	if (!atomic_load(&d->later))
		return result;
	job = malloc(2 * sizeof(*job));
	job[0] = (int64_t) (uintptr_t) d;
	job[1] = result;
	(void) pthread_create(&thread, NULL, fixture_complete, job);
	(void) pthread_detach(thread);
	return VF_VFIO_USER_LATER;
}

static inline int fixture_region_read(void *user, uint32_t region, uint64_t offset, void *to,
				      uint32_t len)
{
	struct fixture_device *d = user;

	if (region == VF_VFIO_PCI_CONFIG_REGION) {
		if (atomic_load(&d->hang_reads))
			return VF_VFIO_USER_LATER;
		if (offset == 0x200)	/* whatever the memory at dma_test_iova says */
			return vf_vfio_user_server_dma_read(d->server, d->dma_test_iova, to, len);
		memcpy(to, d->config + offset, len);
		return 0;
	}
	atomic_store(&d->kicks_at_read, atomic_load(&d->kicks[0]));
	memcpy(to, d->bar + offset, len);
	return 0;
}

static inline int fixture_region_write(void *user, uint32_t region, uint64_t offset,
				       const void *from, uint32_t len)
{
	struct fixture_device *d = user;

	if (region == VF_VFIO_PCI_CONFIG_REGION) {
		if (offset == 0x100)
			return vf_vfio_user_server_dma_write(d->server, d->dma_test_iova, from,
							     len);
		if (offset == 0x104) {
			vf_vfio_user_server_irq_level(d->server, VF_VFIO_PCI_INTX_IRQ,
						      *(const uint8_t *) from);
			return 0;
		}
		memcpy(d->config + offset, from, len);
		return 0;
	}
	atomic_store(&d->kicks_at_write, atomic_load(&d->kicks[0]));
	memcpy(d->bar + offset, from, len);
	return 0;
}

static inline void fixture_kicked(void *user, uint32_t ioeventfd, uint64_t count)
{
	atomic_fetch_add(&((struct fixture_device *) user)->kicks[ioeventfd % 2], count);
}

static inline int fixture_reset(void *user, enum vf_vfio_user_reset why)
{
	struct fixture_device *d = user;

	if (why == VF_VFIO_USER_RESET_LOST_CLIENT) {
		atomic_fetch_add(&d->lost_clients, 1);
		return 0;
	}
	atomic_fetch_add(&d->resets, 1);
	return (int) fixture_answer(d, 0);
}

static inline int fixture_arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to)
{
	struct fixture_device *d = user;
	size_t at;
	int ret = 0;

	(void) pthread_mutex_lock(&d->lock);
	at = strlen(d->arcs);
	(void) snprintf(d->arcs + at, sizeof(d->arcs) - at, "%d>%d ", from, to);
	if (d->fail_to == to && to != VF_VFIO_STATE_ERROR) {
		if (d->lose)
			vf_vfio_user_server_device_lost(d->server);
		ret = -EIO;
	} else if (to == VF_VFIO_STATE_STOP_COPY || to == VF_VFIO_STATE_PRE_COPY) {
		d->saved = from == VF_VFIO_STATE_STOP || from == VF_VFIO_STATE_RUNNING ? 0 :
			   d->saved;
	} else if (to == VF_VFIO_STATE_RESUMING) {
		d->loaded = 0;
		d->load_wrong = false;
	} else if (from == VF_VFIO_STATE_RESUMING && to == VF_VFIO_STATE_STOP) {
		ret = d->loaded != d->state_bytes || d->load_wrong ? -EINVAL : 0;
	}
	(void) pthread_mutex_unlock(&d->lock);
	return (int) fixture_answer(d, ret);
}

static inline ssize_t fixture_data_read(void *user, void *to, size_t len)
{
	struct fixture_device *d = user;
	uint8_t *out = to;
	size_t count;

	(void) pthread_mutex_lock(&d->lock);
	count = d->state_bytes - d->saved < len ? d->state_bytes - d->saved : len;
	for (size_t i = 0; i < count; i++)
		out[i] = fixture_byte(d, d->saved + i);
	d->saved += count;
	(void) pthread_mutex_unlock(&d->lock);
	return (ssize_t) fixture_answer(d, (int64_t) count);
}

static inline int fixture_data_write(void *user, const void *from, size_t len)
{
	struct fixture_device *d = user;
	const uint8_t *in = from;

	(void) pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < len; i++)
		if (d->loaded + i >= d->state_bytes || in[i] != fixture_byte(d, d->loaded + i))
			d->load_wrong = true;
	d->loaded += len;
	(void) pthread_mutex_unlock(&d->lock);
	return (int) fixture_answer(d, 0);
}

static inline int fixture_data_size(void *user, uint64_t *ret_bytes)
{
	*ret_bytes = ((struct fixture_device *) user)->state_bytes;
	return 0;
}

static inline int fixture_precopy_info(void *user, struct vf_vfio_precopy_info *ret_info)
{
	struct fixture_device *d = user;

	(void) pthread_mutex_lock(&d->lock);
	ret_info->initial_bytes = d->state_bytes - d->saved;
	ret_info->dirty_bytes = 5;
	ret_info->flags = VF_VFIO_PRECOPY_INFO_REINIT;
	(void) pthread_mutex_unlock(&d->lock);
	return 0;
}

static inline void fixture_connected(void *user)
{
	atomic_fetch_add(&((struct fixture_device *) user)->connects, 1);
}

static inline void fixture_mapped(void *user, const struct vf_vfio_user_dma *dma)
{
	(void) dma;
	atomic_fetch_add(&((struct fixture_device *) user)->maps, 1);
}

static inline void fixture_unmapping(void *user, const struct vf_vfio_user_dma *dma)
{
	(void) dma;
	atomic_fetch_add(&((struct fixture_device *) user)->unmaps, 1);
}

static const struct vf_vfio_user_server_ops fixture_ops = {
	.size = sizeof(fixture_ops),
	.region_read = fixture_region_read,
	.region_write = fixture_region_write,
	.reset = fixture_reset,
	.connected = fixture_connected,
	.dma_mapped = fixture_mapped,
	.dma_unmapping = fixture_unmapping,
	.kicked = fixture_kicked,
	.arc = fixture_arc,
	.data_read = fixture_data_read,
	.data_write = fixture_data_write,
	.data_size = fixture_data_size,
	.precopy_info = fixture_precopy_info,
};

static inline void *fixture_loop(void *arg)
{
	struct fixture_device *d = arg;
	struct pollfd p[2] = {
		{ .fd = vf_vfio_user_server_fd(d->server), .events = POLLIN },
		{ .fd = d->stop, .events = POLLIN },
	};

	while (poll(p, 2, -1) > 0 && !p[1].revents)
		if (vf_vfio_user_server_dispatch(d->server, NULL))
			abort();
	return NULL;
}

/* Sets the device up; the caller may change it before fixture_start(). */
static inline void fixture_init(struct fixture_device *d,
				const struct vf_vfio_user_server_options *given)
{
	struct vf_vfio_user_server_options options = {
		.size = sizeof(options),
		.migration_flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
				   VF_VFIO_MIGRATION_PRE_COPY,
	};
	struct vf_vfio_sparse_area areas[2] = {
		{ .offset = 8192, .size = 4096 }, { .offset = 0, .size = 4096 },
	};
	struct vf_vfio_user_region_desc config = {
		.size = FIXTURE_CONFIG_BYTES,
		.flags = VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE,
		.fd = -1,
	}, bar = {
		.size = FIXTURE_BAR0_BYTES,
		.flags = VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE,
		.areas = areas,
		.area_count = 2,
	};

	memset(d, 0, sizeof(*d));
	(void) pthread_mutex_init(&d->lock, NULL);
	d->bar_fd = memfd_create("bar0", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (d->bar_fd < 0 || ftruncate(d->bar_fd, FIXTURE_BAR0_BYTES) ||
	    fcntl(d->bar_fd, F_ADD_SEALS, F_SEAL_SHRINK))
		abort();
	d->bar = mmap(NULL, FIXTURE_BAR0_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, d->bar_fd, 0);
	bar.fd = d->bar_fd;
	d->stop = eventfd(0, EFD_CLOEXEC);
	d->state_bytes = 3 * 1024 * 1024 + 17;
	if (given)
		options = *given;
	if (!options.ops)
		options.ops = &fixture_ops;
	options.user = d;
	if (vf_vfio_user_server_new(&options, &d->server, NULL) ||
	    vf_vfio_user_server_set_region(d->server, VF_VFIO_PCI_CONFIG_REGION, &config, NULL) ||
	    vf_vfio_user_server_set_region(d->server, VF_VFIO_PCI_BAR0_REGION, &bar, NULL) ||
	    vf_vfio_user_server_set_irq(d->server, VF_VFIO_PCI_INTX_IRQ, 1,
					VF_VFIO_IRQ_INFO_EVENTFD | VF_VFIO_IRQ_INFO_MASKABLE |
					VF_VFIO_IRQ_INFO_AUTOMASKED, NULL) ||
	    vf_vfio_user_server_set_irq(d->server, VF_VFIO_PCI_MSIX_IRQ, 40,
					VF_VFIO_IRQ_INFO_EVENTFD, NULL))
		abort();
}

static inline void fixture_start(struct fixture_device *d)
{
	if (pthread_create(&d->thread, NULL, fixture_loop, d))
		abort();
}

static inline void fixture_stop(struct fixture_device *d)
{
	(void) eventfd_write(d->stop, 1);
	(void) pthread_join(d->thread, NULL);
}

static inline void fixture_done(struct fixture_device *d)
{
	vf_vfio_user_server_free(d->server);
	(void) munmap(d->bar, FIXTURE_BAR0_BYTES);
	close(d->bar_fd);
	close(d->stop);
	(void) pthread_mutex_destroy(&d->lock);
}

/* Connects a client to the device, over a socketpair, and starts the device's thread. */
static inline int fixture_connect(struct fixture_device *d,
				  const struct vf_vfio_user_client_options *options,
				  struct vf_vfio_user_client **ret_client)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
	    vf_vfio_user_server_attach(d->server, pair[0], NULL))
		abort();
	fixture_start(d);
	return vf_vfio_user_client_attach(pair[1], "test", options, ret_client, NULL);
}

#endif
