/* SPDX-License-Identifier: MIT */
/* timer_device.c - see timer_device.h. All on one thread: the server and a timerfd in one poll. */
#define _GNU_SOURCE
#include "timer_device.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vfio-user/server.h"

#define BAR1_BYTES 0x3000u
#define BAR1_MAX 0x100000u
#define PIECE 1024u

struct timer_device {
	struct vf_vfio_user_server *server;
	uint8_t config[256];
	uint64_t due;		/* BAR0 */
	int bar_fd, timer;
	uint8_t *bar1;
	size_t bar1_bytes;
	size_t moved;		/* bytes of state read or written in this session */
	uint64_t dma[2];	/* first two mappings */
	int dma_count;
	bool gone;
};

static int arm(struct timer_device *d)
{
	struct itimerspec at = { .it_value = { .tv_sec = (time_t) d->due } };

	if (!d->due)
		return 0;
	return timerfd_settime(d->timer, TFD_TIMER_ABSTIME, &at, NULL) ? -errno : 0;
}

static void disarm(struct timer_device *d)
{
	struct itimerspec never = { 0 };

	(void) timerfd_settime(d->timer, 0, &never, NULL);
}

static int region_read(void *user, uint32_t region, uint64_t offset, void *to, uint32_t len)
{
	struct timer_device *d = user;
	uint8_t delta[8];

	switch (region) {
	case VF_VFIO_PCI_BAR0_REGION:
		vf_put_u64(delta, (uint64_t) time(NULL) - d->due);
		memcpy(to, delta + offset, len);
		return 0;
	case 1:
		memcpy(to, d->bar1 + offset, len);
		return 0;
	default:
		memcpy(to, d->config + offset, len);
		return 0;
	}
}

static int region_write(void *user, uint32_t region, uint64_t offset, const void *from,
			uint32_t len)
{
	struct timer_device *d = user;

	if (region == 1) {
		memcpy(d->bar1 + offset, from, len);
		return 0;
	}
	if (region != VF_VFIO_PCI_BAR0_REGION || offset || len != 8)
		return -EINVAL;
	d->due = vf_get_u64(from);
	return arm(d);
}

static int reset(void *user, enum vf_vfio_user_reset why)
{
	struct timer_device *d = user;

	disarm(d);
	d->due = 0;
	memset(d->bar1, 0, d->bar1_bytes);
	d->gone = why == VF_VFIO_USER_RESET_LOST_CLIENT;
	return 0;
}

static void dma_mapped(void *user, const struct vf_vfio_user_dma *dma)
{
	struct timer_device *d = user;

	if (d->dma_count < 2)
		d->dma[d->dma_count] = dma->iova;
	d->dma_count++;
}

static int arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to)
{
	struct timer_device *d = user;

	if (to == VF_VFIO_STATE_STOP && from == VF_VFIO_STATE_RESUMING &&
	    d->moved != (d->bar1_bytes + 8))
		return -EINVAL;
	if (to == VF_VFIO_STATE_RUNNING)
		return arm(d);
	if (to == VF_VFIO_STATE_STOP_COPY || to == VF_VFIO_STATE_STOP)
		disarm(d);
	d->moved = 0;
	return 0;
}

/* The state's bytes from @at: BAR1, then BAR0. */
static void copy_state(struct timer_device *d, bool load, size_t at, uint8_t *data, size_t len)
{
	uint8_t due[8];

	vf_put_u64(due, d->due);
	for (size_t i = 0; i < len; i++, at++) {
		uint8_t *byte = at < d->bar1_bytes ? &d->bar1[at] : &due[at - d->bar1_bytes];

		if (load)
			*byte = data[i];
		else
			data[i] = *byte;
	}
	d->due = vf_get_u64(due);
}

static ssize_t data_read(void *user, void *to, size_t len)
{
	struct timer_device *d = user;
	size_t end = vf_vfio_user_server_state(d->server) == VF_VFIO_STATE_STOP_COPY ?
		     (d->bar1_bytes + 8) : d->bar1_bytes;
	size_t count = end - d->moved < len ? end - d->moved : len;

	copy_state(d, false, d->moved, to, count);
	d->moved += count;
	return (ssize_t) count;
}

static int data_write(void *user, const void *from, size_t len)
{
	struct timer_device *d = user;

	if (len > (d->bar1_bytes + 8) - d->moved)
		return -EINVAL;
	copy_state(d, true, d->moved, (uint8_t *) from, len);
	d->moved += len;
	return 0;
}

static const struct vf_vfio_user_server_ops ops = {
	.size = sizeof(ops),
	.region_read = region_read,
	.region_write = region_write,
	.reset = reset,
	.dma_mapped = dma_mapped,
	.arc = arc,
	.data_read = data_read,
	.data_write = data_write,
};

static int check_dma(struct timer_device *d)
{
	uint8_t out[4 * PIECE], in[4 * PIECE] = { 0 };
	int ret;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t) ('A' + i / PIECE);
	ret = vf_vfio_user_server_dma_write(d->server, d->dma[1], out, sizeof(out));
	if (!ret)
		ret = vf_vfio_user_server_dma_message(d->server, true, d->dma[0], out, sizeof(out));
	if (!ret)
		ret = vf_vfio_user_server_dma_message(d->server, false, d->dma[0], in, sizeof(in));
	return ret ? ret : memcmp(in, out, sizeof(in)) ? -EIO : 0;
}

static int timer_event(struct timer_device *d)
{
	uint64_t count;

	if (read(d->timer, &count, sizeof(count)) != sizeof(count))
		return 0;
	if (!vf_vfio_user_server_irq_trigger(d->server, VF_VFIO_PCI_INTX_IRQ, 0))
		return -ENOENT;
	return d->dma_count < 2 ? 0 : check_dma(d);
}

static int describe(struct timer_device *d)
{
	struct vf_vfio_sparse_area areas[2] = {
		{ .offset = 0, .size = 0x1000 }, { .offset = 0x2000, .size = 0x1000 },
	};
	struct vf_vfio_user_region_desc desc = {
		.size = 8, .flags = VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE, .fd = -1,
	};
	int ret;

	vf_put_u16(d->config, 0xdead);
	vf_put_u16(d->config + 2, 0xbeef);
	vf_put_u16(d->config + 0x2c, 0xcafe);
	vf_put_u16(d->config + 0x2e, 0xbabe);
	ret = vf_vfio_user_server_set_region(d->server, VF_VFIO_PCI_BAR0_REGION, &desc, NULL);
	desc.size = sizeof(d->config);
	if (!ret)
		ret = vf_vfio_user_server_set_region(d->server, VF_VFIO_PCI_CONFIG_REGION, &desc,
						     NULL);
	desc.size = d->bar1_bytes;
	desc.fd = d->bar_fd;
	desc.areas = areas;
	desc.area_count = 2;
	if (!ret)
		ret = vf_vfio_user_server_set_region(d->server, 1, &desc, NULL);
	if (!ret)
		ret = vf_vfio_user_server_set_irq(d->server, VF_VFIO_PCI_INTX_IRQ, 1,
						  VF_VFIO_IRQ_INFO_EVENTFD, NULL);
	return ret;
}

static int serve(struct timer_device *d)
{
	while (!d->gone) {
		struct pollfd p[2] = {
			{ .fd = vf_vfio_user_server_fd(d->server), .events = POLLIN },
			{ .fd = d->timer, .events = POLLIN },
		};
		struct vferry_error err = VFERRY_ERROR_INIT;
		int ret = 0;

		if (poll(p, 2, 60000) <= 0)
			return -ETIMEDOUT;
		if (p[0].revents)
			ret = vf_vfio_user_server_dispatch(d->server, &err);
		if (err.code)
			fprintf(stderr, "device: %s\n", err.message);
		if (!ret && p[1].revents)
			ret = timer_event(d);
		if (ret) {
			fprintf(stderr, "device: %s\n", vferry_errno_name(ret));
			return ret;
		}
	}
	return 0;
}

int timer_device_run(const char *path)
{
	struct timer_device d = { .bar_fd = -1, .timer = -1, .bar1 = MAP_FAILED };
	struct vf_vfio_user_server_options options = {
		.size = sizeof(options),
		.ops = &ops,
		.user = &d,
		.migration_flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_PRE_COPY,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	const char *size = getenv("TIMER_DEVICE_BAR1");
	int ret = -ENOMEM;

	d.bar1_bytes = size ? strtoul(size, NULL, 0) : BAR1_BYTES;
	if (d.bar1_bytes < BAR1_BYTES || d.bar1_bytes > BAR1_MAX)
		return -EINVAL;
	d.bar_fd = memfd_create("bar1", MFD_CLOEXEC);
	d.timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (d.bar_fd < 0 || d.timer < 0 || ftruncate(d.bar_fd, d.bar1_bytes))
		goto out;
	d.bar1 = mmap(NULL, d.bar1_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d.bar_fd, 0);
	if (d.bar1 == MAP_FAILED)
		goto out;
	ret = vf_vfio_user_server_new(&options, &d.server, &err);
	if (!ret)
		ret = describe(&d);
	if (!ret)
		ret = vf_vfio_user_server_listen(d.server, path, &err);
	if (!ret)
		ret = serve(&d);
	if (err.code)
		fprintf(stderr, "device: %s\n", err.message);
out:
	vf_vfio_user_server_free(d.server);
	if (d.bar1 != MAP_FAILED)
		(void) munmap(d.bar1, d.bar1_bytes);
	vf_close(&d.timer);
	vf_close(&d.bar_fd);
	return ret;
}
