/* SPDX-License-Identifier: MIT */
/*
 * accel_server.c - see accel_server.h.
 *
 * Each callback makes a struct call of its arguments. What the script says about it is asked first:
 * at once if that is all, else the call is put by with the time it is due, and the loop performs and
 * completes it then. At most one call is put by, as requests are answered one after the other.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel_server.h"
#include "accel_stream.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "vfio-user/server.h"

#define LOOK_NS (100 * VF_MS_NS)

enum call_kind {
	CALL_NONE = 0,
	CALL_REQUEST,		/* the script's word about a message, before anything is done */
	CALL_ARC,
	CALL_DATA_READ,
	CALL_DATA_WRITE,
};

struct call {
	enum call_kind kind;
	enum vf_vfio_state from, to;
	void *to_buffer;
	const void *from_buffer;
	size_t len;
	struct vf_script_action action;
	uint64_t due_ns;		/* UINT64_MAX = never */
};

struct accel_server {
	struct accel_server_options options;
	struct vf_script script;		/* dispatch thread */
	struct vf_vfio_user_server *wire;
	int window_fd;
	uint8_t *window;
	struct call put_by;			/* dispatch thread, as all below up to the lock */
	uint64_t read_bytes, written_bytes;	/* of the session */
	uint64_t read_free_ns, write_free_ns;	/* when the rate limits let the next one go */
	bool reinit_done;
	bool was_connected, gone, wants_exit, wants_disconnect;

	pthread_mutex_t lock;		/* device, save, load, quit */
	pthread_cond_t wake;		/* of the worker */
	atomic_uint waiting;		/* others that want the lock: the worker lets them pass */
	struct accel_device device;
	struct accel_save save;
	struct accel_load load;
	bool quit;
	pthread_t worker;
	bool worker_runs;
};

static void note(struct accel_server *s, const char *text)
{
	if (s->options.note)
		s->options.note(s->options.user, text);
}

/* --- the lock and the worker --- */

static void lock_device(struct accel_server *s)
{
	atomic_fetch_add(&s->waiting, 1);
	(void) pthread_mutex_lock(&s->lock);
	atomic_fetch_sub(&s->waiting, 1);
}

/* Whatever was done under the lock may be work for the worker. */
static void unlock_device(struct accel_server *s)
{
	(void) pthread_cond_signal(&s->wake);
	(void) pthread_mutex_unlock(&s->lock);
}

static void wait_until(struct accel_server *s, uint64_t at_ns)
{
	struct timespec ts = { .tv_sec = (time_t) (at_ns / VF_SECOND_NS),
			       .tv_nsec = (long) (at_ns % VF_SECOND_NS) };

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

	lock_device(s);
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
	unlock_device(s);
	return 0;
}

static void end_save(struct accel_server *s)
{
	if (s->save.active && accel_device_window_late(&s->device))
		note(s, "BAR2 was written while the device was stopped: what was saved lacks that");
	accel_save_end(&s->save);
}

/* Sessions end with a reset, however it came. */
static void end_sessions(struct accel_server *s)
{
	end_save(s);
	accel_load_abort(&s->load);
	s->reinit_done = false;
}

static int on_region_write(void *user, uint32_t region, uint64_t offset, const void *from,
			   uint32_t len)
{
	struct accel_server *s = user;
	bool was_reset = false;

	lock_device(s);
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
			end_sessions(s);
		break;
	}
	unlock_device(s);
	if (was_reset)
		vf_vfio_user_server_was_reset(s->wire);
	return 0;
}

static int on_reset(void *user, enum vf_vfio_user_reset why)
{
	struct accel_server *s = user;

	(void) why;
	lock_device(s);
	end_sessions(s);
	accel_device_reset(&s->device, vf_now_ns());
	unlock_device(s);
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
	lock_device(s);
	accel_device_irq_connected(&s->device, (enum accel_irq_mode) index, count);
	unlock_device(s);
}

/* There is one ioeventfd: DOORBELL. */
static void on_kicked(void *user, uint32_t ioeventfd, uint64_t count)
{
	struct accel_server *s = user;

	(void) ioeventfd;
	lock_device(s);
	accel_device_kick(&s->device, count);
	unlock_device(s);
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

/* --- migration: performing a call --- */

static int finish_load(struct accel_server *s)
{
	int ret = accel_load_finish(&s->load);

	if (ret)
		note(s, s->load.error.message);
	return ret;
}

static enum accel_run run_of(const struct accel_server *s, bool p2p)
{
	return p2p && !s->options.p2p_ignored ? ACCEL_RUN_NO_PEERS : ACCEL_RUN_ALL;
}

/* One single arc, with the lock held. */
static int change_state(struct accel_server *s, enum vf_vfio_state from, enum vf_vfio_state to)
{
	struct accel_device *a = &s->device;
	uint64_t now = vf_now_ns();
	bool was_saving = from == VF_VFIO_STATE_PRE_COPY || from == VF_VFIO_STATE_PRE_COPY_P2P;

	switch (to) {
	case VF_VFIO_STATE_RUNNING:
	case VF_VFIO_STATE_RUNNING_P2P:
		if (was_saving)
			end_save(s);
		accel_device_set_run(a, run_of(s, to == VF_VFIO_STATE_RUNNING_P2P), now);
		return 0;
	case VF_VFIO_STATE_PRE_COPY:
	case VF_VFIO_STATE_PRE_COPY_P2P:
		if (!was_saving)
			accel_save_start(&s->save);
		accel_device_set_run(a, run_of(s, to == VF_VFIO_STATE_PRE_COPY_P2P), now);
		return 0;
	case VF_VFIO_STATE_STOP_COPY:
		accel_device_set_run(a, ACCEL_RUN_STOPPED, now);
		if (was_saving)
			accel_save_stop(&s->save);
		else
			accel_save_start(&s->save);
		return 0;
	case VF_VFIO_STATE_RESUMING:
		accel_load_start(&s->load, now);
		return 0;
	case VF_VFIO_STATE_STOP:
		if (from == VF_VFIO_STATE_RESUMING)
			return finish_load(s);
		if (from == VF_VFIO_STATE_STOP_COPY)
			end_save(s);
		accel_device_set_run(a, ACCEL_RUN_STOPPED, now);
		return 0;
	default:
		return -EINVAL;
	}
}

static bool begins_session(enum vf_vfio_state from, enum vf_vfio_state to)
{
	bool was_saving = from == VF_VFIO_STATE_PRE_COPY || from == VF_VFIO_STATE_PRE_COPY_P2P;

	return to == VF_VFIO_STATE_RESUMING ||
	       (!was_saving && (to == VF_VFIO_STATE_PRE_COPY || to == VF_VFIO_STATE_PRE_COPY_P2P ||
				to == VF_VFIO_STATE_STOP_COPY));
}

static int64_t do_arc(struct accel_server *s, const struct call *c)
{
	int ret;

	lock_device(s);
	ret = change_state(s, c->from, c->to);
	unlock_device(s);
	if (!ret && begins_session(c->from, c->to)) {
		s->read_bytes = 0;
		s->written_bytes = 0;
		s->reinit_done = false;
	}
	return ret;
}

static uint64_t free_at(uint64_t last_ns, uint64_t bytes, uint64_t rate)
{
	if (!rate)
		return 0;
	return vf_max_u64(last_ns, vf_now_ns()) +
	       (uint64_t) ((double) bytes * (double) VF_SECOND_NS / (double) rate);
}

static int64_t do_data_read(struct accel_server *s, const struct call *c)
{
	uint64_t left = s->script.truncate_at - vf_min_u64(s->read_bytes, s->script.truncate_at);
	size_t len = (size_t) vf_min_u64(c->len, left);
	int64_t got;

	lock_device(s);
	if (!s->reinit_done && s->read_bytes >= s->script.reinit_at && !s->save.stopping) {
		accel_save_reinit(&s->save);
		s->reinit_done = true;
	}
	got = accel_save_read(&s->save, c->to_buffer, len, vf_now_ns());
	unlock_device(s);
	if (got > 0) {
		s->read_bytes += (uint64_t) got;
		s->read_free_ns = free_at(s->read_free_ns, (uint64_t) got, s->script.read_rate);
	}
	return got;
}

static int64_t do_data_write(struct accel_server *s, const struct call *c)
{
	int ret;

	lock_device(s);
	ret = accel_load_write(&s->load, c->from_buffer, c->len);
	unlock_device(s);
	if (ret)
		note(s, s->load.error.message);
	s->written_bytes += c->len;
	s->write_free_ns = free_at(s->write_free_ns, c->len, s->script.write_rate);
	return ret;
}

static int64_t perform(struct accel_server *s, const struct call *c)
{
	switch (c->kind) {
	case CALL_ARC:
		return do_arc(s, c);
	case CALL_DATA_READ:
		return do_data_read(s, c);
	case CALL_DATA_WRITE:
		return do_data_write(s, c);
	default:
		return 0;
	}
}

/* The end of a call whose delay is over. LATER = never. */
static int64_t act(struct accel_server *s, const struct call *c)
{
	switch (c->action.what) {
	case VF_SCRIPT_GO_ON:
		return perform(s, c);
	case VF_SCRIPT_FAIL:
		if (c->action.error_state) {
			lock_device(s);
			end_sessions(s);
			accel_device_set_run(&s->device, ACCEL_RUN_STOPPED, vf_now_ns());
			unlock_device(s);
			vf_vfio_user_server_device_lost(s->wire);
		}
		return c->action.code;
	case VF_SCRIPT_DISCONNECT:
		s->wants_disconnect = true;
		return VF_VFIO_USER_LATER;
	case VF_SCRIPT_EXIT:
		s->wants_exit = true;
		return VF_VFIO_USER_LATER;
	default:
		return VF_VFIO_USER_LATER;
	}
}

/* Does the call now, or puts it by: the script's delay, and at the earliest at @free_ns. */
static int64_t start(struct accel_server *s, struct call c, uint64_t free_ns)
{
	uint64_t now = vf_now_ns();
	int64_t ret;

	c.due_ns = vf_max_u64(now + c.action.delay_ns, free_ns);
	if (c.due_ns <= now) {
		ret = act(s, &c);
		if (ret != VF_VFIO_USER_LATER)
			return ret;
		c.due_ns = UINT64_MAX;
	}
	assert(s->put_by.kind == CALL_NONE);
	s->put_by = c;
	return VF_VFIO_USER_LATER;
}

static void do_what_is_due(struct accel_server *s)
{
	struct call c = s->put_by;
	int64_t ret;

	if (c.kind == CALL_NONE || vf_now_ns() < c.due_ns)
		return;
	ret = act(s, &c);
	if (ret == VF_VFIO_USER_LATER) {
		s->put_by.due_ns = UINT64_MAX;
		return;
	}
	s->put_by.kind = CALL_NONE;
	vf_vfio_user_server_complete(s->wire, ret);
}

static int on_request(void *user, uint16_t command)
{
	struct accel_server *s = user;
	struct call c = { .kind = CALL_REQUEST };

	c.action = vf_script_on_message(&s->script, command);
	return (int) start(s, c, 0);
}

static int on_arc(void *user, enum vf_vfio_state from, enum vf_vfio_state to)
{
	struct accel_server *s = user;
	struct call c = { .kind = CALL_ARC, .from = from, .to = to };

	c.action = vf_script_on_arc(&s->script, from, to);
	return (int) start(s, c, 0);
}

static ssize_t on_data_read(void *user, void *to, size_t len)
{
	struct accel_server *s = user;
	struct call c = { .kind = CALL_DATA_READ, .to_buffer = to, .len = len };

	c.action = vf_script_on_data(&s->script, false, s->read_bytes, len);
	return start(s, c, s->read_free_ns);
}

static int on_data_write(void *user, const void *from, size_t len)
{
	struct accel_server *s = user;
	struct call c = { .kind = CALL_DATA_WRITE, .from_buffer = from, .len = len };

	c.action = vf_script_on_data(&s->script, true, s->written_bytes, len);
	return (int) start(s, c, s->write_free_ns);
}

static int on_data_size(void *user, uint64_t *ret_bytes)
{
	struct accel_server *s = user;

	lock_device(s);
	*ret_bytes = accel_save_estimate(&s->save, vf_now_ns());
	unlock_device(s);
	return 0;
}

static int on_precopy_info(void *user, struct vf_vfio_precopy_info *ret_info)
{
	struct accel_server *s = user;

	lock_device(s);
	accel_save_pending(&s->save, vf_now_ns(), &ret_info->initial_bytes, &ret_info->dirty_bytes);
	ret_info->flags = s->save.reinit ? VF_VFIO_PRECOPY_INFO_REINIT : 0;
	s->save.reinit = false;
	unlock_device(s);
	return 0;
}

/* --- life --- */

static const struct vf_vfio_user_server_ops server_ops = {
	.size = sizeof(server_ops),
	.request = on_request,
	.region_read = on_region_read,
	.region_write = on_region_write,
	.reset = on_reset,
	.connected = on_connected,
	.disconnected = on_disconnected,
	.irq_changed = on_irq_changed,
	.kicked = on_kicked,
	.arc = on_arc,
	.data_read = on_data_read,
	.data_write = on_data_write,
	.data_size = on_data_size,
	.precopy_info = on_precopy_info,
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
	void *p;

	s->window_fd = memfd_create("accel-window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->window_fd < 0 || ftruncate(s->window_fd, ACCEL_BAR2_BYTES) ||
	    fcntl(s->window_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	p = mmap(NULL, ACCEL_BAR2_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->window_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	s->window = p;
	return 0;
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
		lock_device(s);
		s->quit = true;
		unlock_device(s);
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
	struct pollfd fds[] = {
		{ .fd = stop_fd, .events = POLLIN },
		{ .fd = vf_vfio_user_server_fd(s->wire), .events = POLLIN },
	};

	for (;;) {
		struct vferry_error why = VFERRY_ERROR_INIT;
		struct timespec wait = wait_time(s);
		int ret;

		if (ppoll(fds, 2, s->put_by.kind ? &wait : NULL, NULL) < 0 && errno != EINTR)
			return vferry_error_set(err, -errno, "poll", "accel", "cannot wait: %s",
						vferry_errno_name(errno));
		if (fds[0].revents)
			return 0;
		ret = vf_vfio_user_server_dispatch(s->wire, &why);
		if (why.code && strcmp(why.id, "client-gone"))	/* which is how clients leave */
			note(s, why.message);
		if (ret) {
			if (err)
				*err = why;
			return ret;
		}
		do_what_is_due(s);
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
