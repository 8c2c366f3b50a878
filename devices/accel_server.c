/* SPDX-License-Identifier: MIT */
/* accel_server.c - see accel_server.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel_server_internal.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/sealed.h"
#include "serving.h"

#define LOOK_NS (100 * VF_MS_NS)

void accel_server_note(struct accel_server *s, const char *text)
{
	if (s->options.note)
		s->options.note(s->options.user, text);
}

/* --- the lock and the worker --- */

void accel_server_lock(struct accel_server *s)
{
	atomic_fetch_add(&s->waiting, 1);
	(void) pthread_mutex_lock(&s->lock);
	atomic_fetch_sub(&s->waiting, 1);
}

void accel_server_unlock(struct accel_server *s)
{
	(void) pthread_cond_signal(&s->wake);
	(void) pthread_mutex_unlock(&s->lock);
}

static void wait_until(struct accel_server *s, uint64_t at_ns)
{
	struct timespec ts = vf_timespec(at_ns);

	if (at_ns == ACCEL_STEP_IDLE)
		(void) pthread_cond_wait(&s->wake, &s->lock);
	else
		(void) pthread_cond_timedwait(&s->wake, &s->lock, &ts);
}

static void *work(void *arg)
{
	struct accel_server *s = arg;

	(void) pthread_mutex_lock(&s->lock);
	while (!s->quit) {
		uint64_t next = accel_device_step(&s->device, vf_now_ns());

		if (next != ACCEL_STEP_AGAIN) {
			wait_until(s, next);
			continue;
		}
		while (atomic_load(&s->waiting)) {	/* mutexes aren't fair */
			(void) pthread_mutex_unlock(&s->lock);
			(void) sched_yield();
			(void) pthread_mutex_lock(&s->lock);
		}
	}
	(void) pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- what the device reaches: its lock is held --- */

static int host_read(void *user, uint64_t iova, void *to, size_t len)
{
	struct accel_server *s = user;

	return vf_vfio_user_server_dma_read(s->wire, iova, to, len);
}

static int host_write(void *user, uint64_t iova, const void *from, size_t len)
{
	struct accel_server *s = user;

	return vf_vfio_user_server_dma_write(s->wire, iova, from, len);
}

static int host_load32(void *user, uint64_t iova, uint32_t *ret_value)
{
	struct accel_server *s = user;
	size_t len = sizeof(*ret_value);
	uint32_t *p = vf_vfio_user_server_dma_get(s->wire, iova, false, &len);

	if (!p)
		return vf_vfio_user_server_dma_read(s->wire, iova, ret_value, sizeof(*ret_value));
	if (len == sizeof(*ret_value) && (uintptr_t) p % sizeof(*ret_value) == 0)
		*ret_value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	else
		len = 0;
	vf_vfio_user_server_dma_put(s->wire);
	return len ? 0 : -EFAULT;
}

static int host_store32(void *user, uint64_t iova, uint32_t value)
{
	struct accel_server *s = user;
	size_t len = sizeof(value);
	uint32_t *p = vf_vfio_user_server_dma_get(s->wire, iova, true, &len);

	if (!p)		/* reached by messages, whose order is kept */
		return vf_vfio_user_server_dma_write(s->wire, iova, &value, sizeof(value));
	if (len == sizeof(value) && (uintptr_t) p % sizeof(value) == 0) {
		__atomic_store_n(p, value, __ATOMIC_RELEASE);
		vf_vfio_user_server_dma_dirty(s->wire, iova, sizeof(value));
	} else {
		len = 0;
	}
	vf_vfio_user_server_dma_put(s->wire);
	return len ? 0 : -EFAULT;
}

static void host_message(void *user, enum accel_irq_mode mode, uint32_t vector)
{
	struct accel_server *s = user;

	(void) vf_vfio_user_server_irq_trigger(s->wire, mode, vector);
}

static void host_line(void *user, bool asserted)
{
	struct accel_server *s = user;

	vf_vfio_user_server_irq_level(s->wire, VF_VFIO_PCI_INTX_IRQ, asserted);
}

_Static_assert(ACCEL_IRQ_MSI == VF_VFIO_PCI_MSI_IRQ && ACCEL_IRQ_MSIX == VF_VFIO_PCI_MSIX_IRQ,
	       "modes are interrupt indexes");

/* --- regions and interrupts --- */

static int on_region_read(void *user, uint32_t region, uint64_t offset, void *to, uint32_t len)
{
	struct accel_server *s = user;

	accel_server_lock(s);
	switch (region) {
	case VF_VFIO_PCI_BAR0_REGION:
		accel_device_read(&s->device, offset, to, len);
		break;
	case VF_VFIO_PCI_BAR0_REGION + 2:
		memcpy(to, s->window + offset, len);
		break;
	default:
		accel_config_read(&s->device.config, (uint32_t) offset, to, len);
		break;
	}
	accel_server_unlock(s);
	return 0;
}

static int on_region_write(void *user, uint32_t region, uint64_t offset, const void *from,
			   uint32_t len)
{
	struct accel_server *s = user;
	bool was_reset = false;

	accel_server_lock(s);
	switch (region) {
	case VF_VFIO_PCI_BAR0_REGION:
		accel_device_write(&s->device, offset, from, len, vf_now_ns());
		break;
	case VF_VFIO_PCI_BAR0_REGION + 2:
		memcpy(s->window + offset, from, len);
		break;
	default:
		was_reset = accel_device_config_write(&s->device, (uint32_t) offset, from, len,
						      vf_now_ns());
		if (was_reset)
			accel_calls_end_sessions(s);
		break;
	}
	accel_server_unlock(s);
	if (was_reset)
		vf_vfio_user_server_was_reset(s->wire);
	return 0;
}

static int on_reset(void *user, enum vf_vfio_user_reset why)
{
	struct accel_server *s = user;

	(void) why;
	accel_server_lock(s);
	accel_calls_end_sessions(s);
	accel_device_reset(&s->device, vf_now_ns());
	accel_server_unlock(s);
	return 0;
}

static void on_irq_changed(void *user, uint32_t index)
{
	struct accel_server *s = user;
	uint32_t count = 0;

	if (index >= ACCEL_IRQ_MODES)
		return;
	for (uint32_t v = 0; v < ACCEL_MSIX_VECTORS; v++)
		count += vf_vfio_user_server_irq_connected(s->wire, index, v);
	accel_server_lock(s);
	accel_device_irq_connected(&s->device, (enum accel_irq_mode) index, count);
	accel_server_unlock(s);
}

/* There is one ioeventfd: DOORBELL. */
static void on_kicked(void *user, uint32_t ioeventfd, uint64_t count)
{
	struct accel_server *s = user;

	(void) ioeventfd;
	accel_server_lock(s);
	accel_device_kick(&s->device, count);
	accel_server_unlock(s);
}

static void on_connected(void *user)
{
	struct accel_server *s = user;

	s->was_connected = true;
}

static void on_disconnected(void *user)
{
	struct accel_server *s = user;

	s->gone = true;
	s->put_by.kind = CALL_NONE;
	for (uint32_t mode = 0; mode < ACCEL_IRQ_MODES; mode++)
		on_irq_changed(s, mode);
}

/* --- life --- */

static const struct vf_vfio_user_server_ops server_ops = {
	.size = sizeof(server_ops),
	.request = accel_calls_on_request,
	.region_read = on_region_read,
	.region_write = on_region_write,
	.reset = on_reset,
	.connected = on_connected,
	.disconnected = on_disconnected,
	.irq_changed = on_irq_changed,
	.kicked = on_kicked,
	.arc = accel_calls_on_arc,
	.data_read = accel_calls_on_data_read,
	.data_write = accel_calls_on_data_write,
	.data_size = accel_calls_on_data_size,
	.precopy_info = accel_calls_on_precopy_info,
};

static int describe(struct accel_server *s, struct vferry_error *err)
{
	static const struct vf_vfio_sparse_area all = { .size = ACCEL_BAR2_BYTES };
	const uint32_t rw = VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE;
	const struct {
		uint32_t index;
		struct vf_vfio_user_region_desc desc;
	} regions[] = {
		{ VF_VFIO_PCI_BAR0_REGION, { .size = ACCEL_BAR0_BYTES, .flags = rw, .fd = -1 } },
		{ VF_VFIO_PCI_BAR0_REGION + 2, { .size = ACCEL_BAR2_BYTES, .flags = rw,
						 .fd = s->window_fd, .areas = &all,
						 .area_count = 1 } },
		{ VF_VFIO_PCI_CONFIG_REGION, { .size = ACCEL_CONFIG_BYTES, .flags = rw, .fd = -1 } },
	};
	const struct {
		uint32_t index, count, flags;
	} irqs[] = {
		{ VF_VFIO_PCI_INTX_IRQ, 1, VF_VFIO_IRQ_INFO_EVENTFD | VF_VFIO_IRQ_INFO_MASKABLE |
					   VF_VFIO_IRQ_INFO_AUTOMASKED },
		{ VF_VFIO_PCI_MSI_IRQ, ACCEL_MSI_VECTORS, VF_VFIO_IRQ_INFO_EVENTFD |
							  VF_VFIO_IRQ_INFO_NORESIZE },
		{ VF_VFIO_PCI_MSIX_IRQ, s->options.device.msix_vectors,
		  VF_VFIO_IRQ_INFO_EVENTFD | VF_VFIO_IRQ_INFO_NORESIZE },
		/* The script's: nothing that the device does raises them. */
		{ VF_VFIO_PCI_ERR_IRQ, 1, VF_VFIO_IRQ_INFO_EVENTFD | VF_VFIO_IRQ_INFO_NORESIZE },
		{ VF_VFIO_PCI_REQ_IRQ, 1, VF_VFIO_IRQ_INFO_EVENTFD | VF_VFIO_IRQ_INFO_NORESIZE },
	};
	const struct vf_vfio_user_ioeventfd_desc doorbell = {
		.region = VF_VFIO_PCI_BAR0_REGION, .offset = ACCEL_REG_DOORBELL, .size = 4,
	};
	int ret = 0;

	for (size_t i = 0; i < VF_ARRAY_COUNT(regions) && !ret; i++)
		ret = vf_vfio_user_server_set_region(s->wire, regions[i].index, &regions[i].desc,
						     err);
	for (size_t i = 0; i < VF_ARRAY_COUNT(irqs) && !ret; i++)
		ret = vf_vfio_user_server_set_irq(s->wire, irqs[i].index, irqs[i].count,
						  irqs[i].flags, err);
	if (!ret && !s->options.no_ioeventfd)
		ret = vf_vfio_user_server_add_ioeventfd(s->wire, &doorbell, err);
	return ret;
}

/* BAR2 in a file of its own, which clients and other devices map. */
static int make_window(struct accel_server *s)
{
	void *map;
	int ret = vf_sealed_map("accel-window", ACCEL_BAR2_BYTES, &s->window_fd, &map);

	if (!ret)
		s->window = map;
	return ret;
}

static int make_wire(struct accel_server *s, struct vferry_error *err)
{
	struct vf_vfio_user_server_options o = {
		.size = sizeof(o),
		.ops = &server_ops,
		.user = s,
		.migration_flags = VF_VFIO_MIGRATION_STOP_COPY |
				   (s->options.precopy ? VF_VFIO_MIGRATION_PRE_COPY : 0) |
				   (s->options.p2p ? VF_VFIO_MIGRATION_P2P : 0),
		.no_extensions = !s->options.extensions,
		.no_dma_log = !s->options.dma_log,
		.trust = s->options.trust,
	};
	int ret = vf_vfio_user_server_new(&o, &s->wire, err);

	return ret ? ret : describe(s, err);
}

static int make_device(struct accel_server *s)
{
	const struct accel_host host = {
		.dma_read = host_read, .dma_write = host_write, .dma_load32 = host_load32,
		.dma_store32 = host_store32,
		.message = host_message, .line = host_line, .user = s,
	};
	int ret = make_window(s);

	if (!ret)
		ret = accel_device_init(&s->device, &s->options.device, &host, s->window);
	if (!ret)
		ret = accel_save_init(&s->save, &s->device);
	if (!ret)
		ret = accel_load_init(&s->load, &s->device);
	return ret;
}

static int start_worker(struct accel_server *s)
{
	int ret = -pthread_create(&s->worker, NULL, work, s);

	s->worker_runs = !ret;
	return ret;
}

static void init_lock(struct accel_server *s)
{
	pthread_condattr_t attr;

	(void) pthread_mutex_init(&s->lock, NULL);
	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&s->wake, &attr);
	(void) pthread_condattr_destroy(&attr);
}

int accel_server_new(const struct accel_server_options *options, struct vf_script *take_script,
		     struct accel_server **ret_server, struct vferry_error *err)
{
	struct accel_server *s = calloc(1, sizeof(*s));
	int ret;

	if (!s) {
		vf_script_done(take_script);
		return vferry_error_set(err, -ENOMEM, "no-memory", "accel", "out of memory");
	}
	s->options = *options;
	s->script = *take_script;
	vf_script_init(take_script);
	s->window_fd = -1;
	init_lock(s);
	ret = make_device(s);
	if (ret)
		(void) vferry_error_set(err, ret, "device-setup", "accel", "cannot make a device "
					"of %" PRIu64 " bytes and %u vectors: %s",
					options->device.state_bytes, options->device.msix_vectors,
					vferry_errno_name(ret));
	else
		ret = make_wire(s, err);
	if (!ret) {
		ret = start_worker(s);
		if (ret)
			(void) vferry_error_set(err, ret, "device-setup", "accel",
						"cannot start a thread: %s", vferry_errno_name(ret));
	}
	if (ret) {
		accel_server_free(s);
		return ret;
	}
	*ret_server = s;
	return 0;
}

void accel_server_free(struct accel_server *s)
{
	if (!s)
		return;
	if (s->worker_runs) {
		accel_server_lock(s);
		s->quit = true;
		accel_server_unlock(s);
		(void) pthread_join(s->worker, NULL);
	}
	vf_vfio_user_server_free(s->wire);
	if (s->device.window) {
		accel_save_done(&s->save);
		accel_load_done(&s->load);
		accel_device_done(&s->device);
	}
	if (s->window)
		(void) munmap(s->window, ACCEL_BAR2_BYTES);
	vf_close(&s->window_fd);
	vf_script_done(&s->script);
	(void) pthread_cond_destroy(&s->wake);
	(void) pthread_mutex_destroy(&s->lock);
	free(s);
}

int accel_server_listen(struct accel_server *s, const char *path, struct vferry_error *err)
{
	return vf_vfio_user_server_listen(s->wire, path, err);
}

int accel_server_attach(struct accel_server *s, int take_fd, struct vferry_error *err)
{
	return vf_vfio_user_server_attach(s->wire, take_fd, err);
}

/* Until the call put by is due, or the next look at whether the client is still there. */
static struct timespec wait_time(const struct accel_server *s)
{
	uint64_t now = vf_now_ns();
	uint64_t ns = s->put_by.due_ns > now ? s->put_by.due_ns - now : 0;

	return (struct timespec) { .tv_nsec = (long) vf_min_u64(ns, LOOK_NS) };
}

int accel_server_run(struct accel_server *s, int stop_fd, bool once, struct vferry_error *err)
{
	const struct serving serving = {
		.name = "accel", .wire = s->wire, .note = s->options.note, .user = s->options.user,
	};

	for (;;) {
		struct timespec wait = wait_time(s);
		int ret = serving_next(&serving, stop_fd, s->put_by.kind ? &wait : NULL, err);

		if (ret <= 0)
			return ret;
		accel_calls_do_due(s);
		if (s->wants_disconnect ||
		    (s->put_by.kind && vf_vfio_user_server_peer_gone(s->wire))) {
			s->wants_disconnect = false;
			vf_vfio_user_server_disconnect(s->wire);
		}
		if (s->wants_exit)
			return ACCEL_SERVER_EXIT;
		if (once && s->was_connected && s->gone)
			return 0;
	}
}
