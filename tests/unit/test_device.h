/* SPDX-License-Identifier: MIT */
/*
 * test_device.h - for the tests of the device module: a backend in this process that notes every call
 * and fails when told to, an interrupt sink likewise, and a machine of RAM, sink, plan and device.
 *
 * Notes are one line of text, "set_state STOP; reset; ", so that a test states the whole order of
 * calls it expects and nothing may come between.
 */
#ifndef TEST_DEVICE_H
#define TEST_DEVICE_H

#define _GNU_SOURCE	/* memfd_create; so this header comes first */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "vfio/device_internal.h"
#include "test_config_image.h"

/* ---- notes ---- */

struct notes {
	pthread_mutex_t lock;
	char text[16384];
	size_t size;
};

__attribute__((format(printf, 2, 3), unused))
static void note(struct notes *n, const char *fmt, ...)
{
	va_list args;

	pthread_mutex_lock(&n->lock);
	va_start(args, fmt);
	if (n->size < sizeof(n->text) - 64)
		n->size += (size_t) vsnprintf(n->text + n->size, 64, fmt, args);
	va_end(args);
	pthread_mutex_unlock(&n->lock);
}

static inline void forget(struct notes *n)
{
	n->size = 0;
	n->text[0] = '\0';
}

#define expect_notes(n, expected)			\
	do {						\
		assert_string_equal((n)->text, expected);	\
		forget(n);				\
	} while (0)

/* ---- the backend ---- */

#define KEEP_STATE UINT32_MAX
#define FAKE_FAILURES 8
#define FAKE_VECTORS 128

struct fake_failure {
	const char *call;	/* as it is noted, without "; " */
	int error;
	uint32_t state;		/* where the device ends up; KEEP_STATE */
	unsigned int times;	/* how often; it is over at 0 */
};

struct fake {
	struct vf_backend base;	/* first */
	struct notes *notes;
	struct image image;	/* config space of the device itself */
	uint8_t fresh[VF_CONFIG_BYTES_MAX];
	uint8_t bar2[0x4000];	/* behind messages */
	int bar_fds[VF_CONFIG_BARS];
	uint64_t mig_flags;
	uint32_t state;
	bool reset_keeps_state;	/* as libvfio-user since 2026-05 */
	bool reset_needs_running;
	struct fake_failure failures[FAKE_FAILURES];
	int triggers[VF_VFIO_PCI_IRQS][FAKE_VECTORS];
	uint32_t trigger_count[VF_VFIO_PCI_IRQS];
	uint32_t irq_flags[VF_VFIO_PCI_IRQS];
	int unmask_fd;
	uint64_t to_read;	/* bytes that data_read still gives */
	uint8_t seed;		/* of what they are */
	void (*in_read)(struct fake *f);	/* called once, inside data_read */
	uint64_t written;
	struct vf_vfio_precopy_info info;
	uint64_t data_bytes;
	bool logging;
	uint64_t log_page_bytes;
	uint64_t dirty_gpa[16];
	unsigned int dirty_count;
	unsigned int maps;
};

static inline struct fake *fake_of(struct vf_backend *b)
{
	return (struct fake *) b;
}

__attribute__((unused))
static void fake_fail(struct fake *f, const char *call, int error, uint32_t state,
		      unsigned int times)
{
	for (int i = 0; i < FAKE_FAILURES; i++) {
		if (f->failures[i].times)
			continue;
		f->failures[i] = (struct fake_failure) { call, error, state, times };
		return;
	}
	fail();
}

/* Notes the call; the scripted error, or 0. */
__attribute__((format(printf, 2, 3)))
static int fake_call(struct fake *f, const char *fmt, ...)
{
	char call[64];
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(call, sizeof(call), fmt, args);
	va_end(args);
	note(f->notes, "%s; ", call);
	for (int i = 0; i < FAKE_FAILURES; i++) {
		struct fake_failure *x = &f->failures[i];

		if (!x->times || strcmp(x->call, call) != 0)
			continue;
		x->times--;
		if (x->state != KEEP_STATE)
			f->state = x->state;
		return x->error;
	}
	return 0;
}

static void fake_drop_irqs(struct fake *f, uint32_t index)
{
	for (uint32_t i = 0; i < f->trigger_count[index]; i++)
		if (f->triggers[index][i] >= 0)
			close(f->triggers[index][i]);
	f->trigger_count[index] = 0;
}

static void fake_close(struct vf_backend *b)
{
	struct fake *f = fake_of(b);

	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS; i++)
		fake_drop_irqs(f, i);
	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++)
		if (f->bar_fds[i] >= 0)
			close(f->bar_fds[i]);
	if (f->unmask_fd >= 0)
		close(f->unmask_fd);
	free(f);
}

static int fake_get_info(struct vf_backend *b, struct vf_vfio_device_info *info,
			 struct vferry_error *err)
{
	(void) b;
	(void) err;
	*info = (struct vf_vfio_device_info) {
		.flags = VF_VFIO_DEVICE_FLAGS_PCI | VF_VFIO_DEVICE_FLAGS_RESET,
		.num_regions = VF_VFIO_PCI_REGIONS, .num_irqs = VF_VFIO_PCI_IRQS,
	};
	return 0;
}

static int fake_get_region(struct vf_backend *b, uint32_t index, struct vf_backend_region *ret,
			   struct vferry_error *err)
{
	struct fake *f = fake_of(b);

	(void) err;
	*ret = (struct vf_backend_region) { .fd = -1 };
	if (index == VF_VFIO_PCI_CONFIG_REGION) {
		ret->size = f->image.size;
		ret->flags = VF_VFIO_REGION_FLAG_READ | VF_VFIO_REGION_FLAG_WRITE;
		return 0;
	}
	if (index >= VF_CONFIG_REGIONS)
		return -EINVAL;
	ret->size = f->image.regions[index].size;
	ret->flags = f->image.regions[index].flags;
	if (index >= VF_CONFIG_BARS || f->bar_fds[index] < 0)
		return 0;
	ret->fd = fcntl(f->bar_fds[index], F_DUPFD_CLOEXEC, 3);
	ret->sealed = true;
	ret->areas = calloc(1, sizeof(*ret->areas));
	ret->area_count = 1;
	ret->areas[0] = (struct vf_vfio_sparse_area) { 0, ret->size };
	return 0;
}

/* BAR 2's doorbells, and some that may not be: in mapped memory (BARs 0 and 4), in the MSI-X table. */
static int fake_get_ioeventfds(struct vf_backend *b, uint32_t region, uint64_t region_bytes,
			       struct vferry_bar_ioeventfd *list, uint32_t *ret_count,
			       struct vferry_error *err)
{
	static const struct {
		uint32_t region;
		struct vferry_bar_ioeventfd io;
	} all[] = {
		{ 0, { .offset = 0x10, .bytes = 4 } }, { 2, { .offset = 0x10, .bytes = 4 } },
		{ 2, { .offset = 0x18, .bytes = 8, .matches = true, .match = 3 } },
		{ 4, { .offset = 0x0, .bytes = 0 } }, { 4, { .offset = 0x8, .bytes = 8 } },
		{ 4, { .offset = 0xffe, .bytes = 4 } }, { 4, { .offset = 0x1ffc, .bytes = 4 } },
		{ 4, { .offset = 0x2000, .bytes = 4 } }, { 4, { .offset = 0x2800, .bytes = 2 } },
	};

	(void) b;
	(void) err;
	*ret_count = 0;
	for (size_t i = 0; i < VF_ARRAY_COUNT(all); i++) {
		if (all[i].region != region)
			continue;
		assert_true(all[i].io.offset < region_bytes);
		list[*ret_count] = all[i].io;
		list[(*ret_count)++].eventfd = eventfd(0, EFD_CLOEXEC);
	}
	return 0;
}

static int fake_get_irq_info(struct vf_backend *b, uint32_t index, struct vf_vfio_irq_info *info,
			     struct vferry_error *err)
{
	static const uint32_t counts[VF_VFIO_PCI_IRQS] = { 1, 8, MSIX_VECTORS, 1, 1 };

	(void) err;
	*info = (struct vf_vfio_irq_info) {
		.index = index, .count = counts[index],
		.flags = VF_VFIO_IRQ_INFO_EVENTFD | fake_of(b)->irq_flags[index],
	};
	return 0;
}

static int fake_region_read(struct vf_backend *b, uint32_t region, uint64_t offset, void *to,
			    size_t len, struct vferry_error *err)
{
	struct fake *f = fake_of(b);

	(void) err;
	if (region == VF_VFIO_PCI_CONFIG_REGION)
		memcpy(to, f->image.bytes + offset, len);
	else if (region == 2)
		memcpy(to, f->bar2 + offset, len);
	else
		memset(to, 0, len);
	return 0;
}

static int fake_region_write(struct vf_backend *b, uint32_t region, uint64_t offset,
			     const void *from, size_t len, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	uint32_t value = 0;
	int r = 0;

	(void) err;
	memcpy(&value, from, len < 4 ? len : 4);
	if (region == VF_VFIO_PCI_CONFIG_REGION) {
		r = fake_call(f, "config %llx=%x", (unsigned long long) offset, value);
		if (r == 0)
			memcpy(f->image.bytes + offset, from, len);
	} else if (region == 2) {
		memcpy(f->bar2 + offset, from, len);
	}
	return r;
}

static int fake_set_irqs(struct vf_backend *b, uint32_t index, uint32_t action, uint32_t start,
			 uint32_t count, const int *fds, struct vferry_error *err)
{
	static const char *const names[] = { "intx", "msi", "msix", "err", "req" };
	struct fake *f = fake_of(b);
	int r;

	(void) err;
	if (action == VF_VFIO_IRQ_SET_ACTION_UNMASK) {
		r = fake_call(f, "unmask %s%s", names[index], fds ? " fd" : "");
		if (r == 0 && fds) {
			if (f->unmask_fd >= 0)
				close(f->unmask_fd);
			f->unmask_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
		}
		return r;
	}
	r = fake_call(f, "irqs %s %u", names[index], count);
	if (r != 0)
		return r;
	fake_drop_irqs(f, index);
	for (uint32_t i = 0; i < count; i++)
		f->triggers[index][start + i] = fds[i] >= 0 ? fcntl(fds[i], F_DUPFD_CLOEXEC, 3)
							    : -1;
	f->trigger_count[index] = count;
	return 0;
}

static int fake_dma_map(struct vf_backend *b, uint64_t iova, uint64_t bytes, bool writable, int fd,
			uint64_t fd_offset, void *host, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	int r = fake_call(f, "map %llx+%llx", (unsigned long long) iova, (unsigned long long) bytes);

	(void) writable;
	(void) fd_offset;
	(void) host;
	(void) err;
	assert_true(fd >= 0);
	f->maps += r == 0;
	return r;
}

static int fake_dma_unmap(struct vf_backend *b, uint64_t iova, uint64_t bytes,
			  struct vferry_error *err)
{
	struct fake *f = fake_of(b);

	(void) err;
	f->maps--;
	return fake_call(f, "unmap %llx+%llx", (unsigned long long) iova,
			 (unsigned long long) bytes);
}

static int fake_reset(struct vf_backend *b, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	int r = fake_call(f, "reset");

	(void) err;
	if (r == 0 && f->reset_needs_running && f->state != VF_VFIO_STATE_RUNNING)
		r = -EINVAL;
	if (r < 0)
		return r;
	if (!f->reset_keeps_state)
		f->state = VF_VFIO_STATE_RUNNING;
	memcpy(f->image.bytes, f->fresh, sizeof(f->fresh));
	return 0;
}

static int fake_get_migration(struct vf_backend *b, uint64_t *flags, struct vferry_error *err)
{
	(void) err;
	*flags = fake_of(b)->mig_flags;
	return *flags ? 0 : -ENOTTY;
}

static int fake_get_state(struct vf_backend *b, uint32_t *state, struct vferry_error *err)
{
	int r = fake_call(fake_of(b), "get_state");

	(void) err;
	if (r == 0)
		*state = fake_of(b)->state;
	return r;
}

static int fake_set_state(struct vf_backend *b, uint32_t state, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	int r = fake_call(f, "set_state %s", vf_migration_state_name(state));

	(void) err;
	if (r == 0 && f->state == VF_VFIO_STATE_ERROR)
		r = -EINVAL;
	if (r == 0)
		f->state = state;
	return r;
}

static ssize_t fake_data_read(struct vf_backend *b, void *to, size_t len, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	void (*in_read)(struct fake *f) = f->in_read;
	int r = fake_call(f, "read");

	(void) err;
	f->in_read = NULL;
	if (in_read)
		in_read(f);
	if (r < 0)
		return r;
	if (len > f->to_read)
		len = f->to_read;
	memset(to, f->seed, len);
	f->to_read -= len;
	return (ssize_t) len;
}

static int fake_data_write(struct vf_backend *b, const void *from, size_t len,
			   struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	int r = fake_call(f, "write %zu", len);

	(void) from;
	(void) err;
	if (r == 0)
		f->written += len;
	return r;
}

static int fake_data_size(struct vf_backend *b, uint64_t *bytes, struct vferry_error *err)
{
	(void) err;
	*bytes = fake_of(b)->data_bytes;
	return 0;
}

static int fake_precopy_info(struct vf_backend *b, struct vf_vfio_precopy_info *info,
			     struct vferry_error *err)
{
	(void) err;
	*info = fake_of(b)->info;
	return 0;
}

static int fake_log_start(struct vf_backend *b, uint64_t page, const struct vf_vfio_dma_log_range *x,
			  uint32_t count, uint64_t *ret_page, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	int r = fake_call(f, "log_start %u", count);

	(void) x;
	(void) err;
	if (r < 0)
		return r;
	f->logging = true;
	*ret_page = f->log_page_bytes ? f->log_page_bytes : page;
	return 0;
}

static int fake_log_stop(struct vf_backend *b, struct vferry_error *err)
{
	(void) err;
	fake_of(b)->logging = false;
	return fake_call(fake_of(b), "log_stop");
}

static int fake_log_report(struct vf_backend *b, uint64_t iova, uint64_t bytes, uint64_t page,
			   uint64_t *words, struct vferry_error *err)
{
	struct fake *f = fake_of(b);
	int r = fake_call(f, "report %llx+%llx", (unsigned long long) iova,
			  (unsigned long long) bytes);
	unsigned int kept = 0;

	(void) err;
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < f->dirty_count; i++) {
		uint64_t at = f->dirty_gpa[i];

		if (at < iova || at >= iova + bytes)
			f->dirty_gpa[kept++] = at;
		else
			words[(at - iova) / page / 64] |= 1ull << (at - iova) / page % 64;
	}
	f->dirty_count = kept;
	return 0;
}

static const struct vf_backend_ops fake_ops = {
	.name = "fake",
	.close = fake_close,
	.get_info = fake_get_info,
	.get_region = fake_get_region,
	.get_irq_info = fake_get_irq_info,
	.region_read = fake_region_read,
	.region_write = fake_region_write,
	.get_ioeventfds = fake_get_ioeventfds,
	.set_irqs = fake_set_irqs,
	.dma_map = fake_dma_map,
	.dma_unmap = fake_dma_unmap,
	.reset = fake_reset,
	.get_migration = fake_get_migration,
	.get_state = fake_get_state,
	.set_state = fake_set_state,
	.data_read = fake_data_read,
	.data_write = fake_data_write,
	.data_size = fake_data_size,
	.precopy_info = fake_precopy_info,
	.dma_log_start = fake_log_start,
	.dma_log_stop = fake_log_stop,
	.dma_log_report = fake_log_report,
};

#define ALL_MIGRATION (VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P | \
		       VF_VFIO_MIGRATION_PRE_COPY)

/* One function with everything; BAR 0 and BAR 4 (with the MSI-X table) can be mapped. */
__attribute__((unused))
static struct fake *fake_new(struct notes *notes, uint64_t mig_flags)
{
	struct fake *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base.ops = &fake_ops;
	f->base.caps = (struct vf_backend_caps) {
		.features = VFERRY_DEVICE_DMA_LOG | VFERRY_DEVICE_DATA_SIZE |
			    VFERRY_DEVICE_PRECOPY_INFO,
		.log_any_range = true,
		.log_error_is_local = true,
		.irqs_while_stopped = true,
	};
	f->notes = notes;
	f->mig_flags = mig_flags;
	f->state = VF_VFIO_STATE_RUNNING;
	f->irq_flags[VF_VFIO_PCI_INTX_IRQ] = VF_VFIO_IRQ_INFO_AUTOMASKED |
					     VF_VFIO_IRQ_INFO_MASKABLE;
	f->unmask_fd = -1;
	f->seed = 1;
	image_full(&f->image);
	memcpy(f->fresh, f->image.bytes, sizeof(f->fresh));
	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++) {
		f->bar_fds[i] = -1;
		if (i != 0 && i != 4)
			continue;
		f->image.regions[i].flags |= VF_CONFIG_REGION_MMAP;
		f->bar_fds[i] = memfd_create("bar", MFD_CLOEXEC);
		assert_true(f->bar_fds[i] >= 0);
		assert_int_equal(ftruncate(f->bar_fds[i], (off_t) f->image.regions[i].size), 0);
	}
	return f;
}

/* The device signals a vector. */
__attribute__((unused))
static void fake_fire(struct fake *f, uint32_t index, uint32_t vector)
{
	assert_true(vector < f->trigger_count[index]);
	assert_int_equal(eventfd_write(f->triggers[index][vector], 1), 0);
}

/* ---- the sink ---- */

#define SINK_GSIS 256
#define SINK_FIRST 24

struct sink {
	struct notes notes;
	bool quiet;		/* only counts */
	struct vferry_irq_route routes[SINK_GSIS];
	bool routed[SINK_GSIS];
	int eventfd[SINK_GSIS];	/* of a connected GSI; -1 */
	int resample[SINK_GSIS];
	unsigned int delivered[SINK_GSIS];
	enum vferry_forwarded forwarded;
	int fail_connect, fail_disconnect, fail_routes, fail_signal, fail_producer;
	unsigned int set_routes, connects, signals;
	unsigned int asked;		/* what is forwarded, of however many at once */
	int producers;
	pthread_mutex_t lock;	/* eventfd, delivered: a test may pump from a thread of its own */
};

static int sink_set_routes(void *user, const struct vferry_irq_route *routes, size_t count,
			   struct vferry_error *err)
{
	struct sink *s = user;

	(void) err;
	if (!s->quiet)
		note(&s->notes, "routes %zu; ", count);
	if (s->fail_routes)
		return s->fail_routes;
	memset(s->routed, 0, sizeof(s->routed));
	for (size_t i = 0; i < count; i++) {
		uint32_t n = routes[i].gsi - SINK_FIRST;

		assert_true(n < SINK_GSIS && !s->routed[n]);
		s->routes[n] = routes[i];
		s->routed[n] = true;
	}
	s->set_routes++;
	return 0;
}

static int sink_connect(void *user, uint32_t gsi, int fd, int resample, struct vferry_error *err)
{
	struct sink *s = user;
	uint32_t n = gsi - SINK_FIRST;
	eventfd_t value;

	(void) err;
	if (!s->quiet)
		note(&s->notes, "connect %u; ", n);
	if (s->fail_connect)
		return s->fail_connect;
	assert_true(n < SINK_GSIS && s->routed[n]);
	/* Two INTx devices share a pin. */
	pthread_mutex_lock(&s->lock);
	assert_true(s->eventfd[n] < 0 || s->routes[n].kind == VFERRY_IRQ_PIN);
	s->eventfd[n] = fd;
	s->resample[n] = resample;
	s->connects++;
	if (eventfd_read(fd, &value) == 0)
		s->delivered[n]++;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int sink_disconnect(void *user, uint32_t gsi, int fd, struct vferry_error *err)
{
	struct sink *s = user;
	uint32_t n = gsi - SINK_FIRST;
	eventfd_t value;

	(void) err;
	if (!s->quiet)
		note(&s->notes, "disconnect %u; ", n);
	if (s->fail_disconnect)
		return s->fail_disconnect;
	pthread_mutex_lock(&s->lock);
	assert_true(s->eventfd[n] >= 0);
	/* What was signalled before was injected; KVM drops the rest of the count. */
	if (eventfd_read(fd, &value) == 0)
		s->delivered[n]++;
	s->eventfd[n] = -1;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int sink_signal(void *user, const struct vferry_irq_route *route, struct vferry_error *err)
{
	struct sink *s = user;

	(void) err;
	if (!s->quiet)
		note(&s->notes, "signal %u; ", route->gsi - SINK_FIRST);
	s->signals++;
	return s->fail_signal;
}

static int sink_producer_add(void *user, int fd, struct vferry_error *err)
{
	struct sink *s = user;

	(void) fd;
	(void) err;
	if (s->fail_producer)
		return s->fail_producer;
	s->producers++;
	return 0;
}

static void sink_producer_remove(void *user, int fd)
{
	(void) fd;
	((struct sink *) user)->producers--;
}

static void sink_forwarded(void *user, struct vferry_vector_answer *vectors, size_t count)
{
	struct sink *s = user;

	s->asked++;
	for (size_t i = 0; i < count; i++) {
		vectors[i].forwarded = s->forwarded;
		if (s->forwarded == VFERRY_FORWARDED_NO)
			(void) snprintf(vectors[i].reason, sizeof(vectors[i].reason), "no hardware");
	}
}

static inline void sink_init(struct sink *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->notes.lock, NULL);
	pthread_mutex_init(&s->lock, NULL);
	for (int i = 0; i < SINK_GSIS; i++)
		s->eventfd[i] = -1;
	s->forwarded = VFERRY_FORWARDED_NO;
}

static inline struct vferry_irq_sink sink_table(struct sink *s)
{
	return (struct vferry_irq_sink) {
		.size = sizeof(struct vferry_irq_sink),
		.user = s,
		.gsi_first = SINK_FIRST,
		.gsi_count = SINK_GSIS,
		.set_routes = sink_set_routes,
		.connect = sink_connect,
		.disconnect = sink_disconnect,
		.signal_msi = sink_signal,
		.producer_add = sink_producer_add,
		.producer_remove = sink_producer_remove,
		.forwarded = sink_forwarded,
	};
}

/* What KVM does in the signaller's context: takes the events of connected GSIs. */
static inline void sink_pump(struct sink *s)
{
	eventfd_t value;

	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < SINK_GSIS; i++)
		if (s->eventfd[i] >= 0 && eventfd_read(s->eventfd[i], &value) == 0)
			s->delivered[i]++;
	pthread_mutex_unlock(&s->lock);
}

static inline unsigned int sink_delivered(struct sink *s, unsigned int n)
{
	unsigned int count;

	pthread_mutex_lock(&s->lock);
	count = s->delivered[n];
	pthread_mutex_unlock(&s->lock);
	return count;
}

/* ---- a machine ---- */

struct machine {
	struct sink sink;
	struct vferry_irq_plan *plan;
	struct vferry_ram *ram;
	struct notes notes;	/* of the backend and of callbacks */
	struct fake *fake;
	struct vferry_device *device;
};

static void machine_bar_changed(void *user, unsigned bar, bool mapped, uint64_t gpa, uint64_t bytes)
{
	struct machine *m = user;
	struct vferry_device_info info;

	(void) bytes;
	note(&m->notes, "bar%u %s %llx; ", bar, mapped ? "at" : "gone from",
	     (unsigned long long) gpa);
	/* No lock of the library is held: the device can be asked. */
	if (m->device)
		vferry_device_get_info(m->device, &info);
}

static void machine_reachable(void *user, bool reachable)
{
	note(&((struct machine *) user)->notes, "%s; ", reachable ? "reachable" : "unreachable");
}

static const struct vferry_device_callbacks machine_callbacks = {
	.size = sizeof(machine_callbacks),
	.bar_changed = machine_bar_changed,
	.bars_reachable = machine_reachable,
};

static inline struct vferry_device_options machine_options(struct machine *m, const char *address)
{
	return (struct vferry_device_options) {
		.size = sizeof(struct vferry_device_options),
		.address = address,
		.requester_id = 0x20,
		.intx_pin = 5,
		.irqs = m->plan,
		.callbacks = &machine_callbacks,
		.user = m,
	};
}

__attribute__((unused))
static void machine_init_parts(struct machine *m)
{
	struct vferry_irq_sink table;

	sink_init(&m->sink);
	table = sink_table(&m->sink);
	assert_int_equal(vferry_irq_plan_new(&table, &m->plan, NULL), 0);
	assert_int_equal(vferry_ram_new(&m->ram), 0);
	assert_int_equal(vferry_ram_create_block(m->ram, "low", 0, 0x100000, 0, NULL), 0);
	assert_int_equal(vferry_ram_create_block(m->ram, "high", 0x40000000, 0x200000, 0, NULL), 1);
}

__attribute__((unused))
static void machine_init_with(struct machine *m, struct fake *fake)
{
	struct vferry_device_options options;
	struct vferry_error err = VFERRY_ERROR_INIT;

	machine_init_parts(m);
	m->fake = fake;
	options = machine_options(m, "00:04.0");
	assert_int_equal(vf_device_open_backend(&fake->base, "fake:", &options, &m->device, &err),
			 0);
	assert_int_equal(vferry_device_attach_ram(m->device, m->ram, &err), 0);
	forget(&m->notes);
	forget(&m->sink.notes);
}

__attribute__((unused))
static struct machine *machine_new_flags(uint64_t mig_flags)
{
	struct machine *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	pthread_mutex_init(&m->notes.lock, NULL);
	machine_init_with(m, fake_new(&m->notes, mig_flags));
	return m;
}

__attribute__((unused))
static struct machine *machine_new(void)
{
	return machine_new_flags(ALL_MIGRATION);
}

__attribute__((unused))
static void machine_free(struct machine *m)
{
	vferry_device_close(m->device);
	assert_int_equal(m->sink.producers, 0);
	for (int i = 0; i < SINK_GSIS; i++)
		assert_int_equal(m->sink.eventfd[i], -1);
	vferry_irq_plan_free(m->plan);
	vferry_ram_free(m->ram);
	free(m);
}

/* ---- the guest ---- */

static inline void guest_config(struct machine *m, uint32_t offset, unsigned int size,
				uint32_t value)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_device_config_write(m->device, offset, size, value, &err) != 0)
		fail_msg("%s: %s", err.id, err.message);
}

static inline void guest_bar(struct machine *m, unsigned int bar, uint64_t offset,
			     unsigned int size, uint64_t value)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vferry_device_bar_write(m->device, bar, offset, size, value, &err) != 0)
		fail_msg("%s: %s", err.id, err.message);
}

static inline uint64_t guest_bar_value(struct machine *m, unsigned int bar, uint64_t offset,
				       unsigned int size)
{
	uint64_t value = 0;

	assert_int_equal(vferry_device_bar_read(m->device, bar, offset, size, &value, NULL), 0);
	return value;
}

#define DOORBELL 0xfee00000ull

static inline void guest_msix_entry(struct machine *m, uint32_t vector, bool masked)
{
	guest_bar(m, 4, vector * 16, 4, (uint32_t) DOORBELL);
	guest_bar(m, 4, vector * 16 + 4, 4, 0);
	guest_bar(m, 4, vector * 16 + 8, 4, 0x4000 + vector);
	guest_bar(m, 4, vector * 16 + 12, 4, masked);
}

static inline void guest_msix_control(struct machine *m, bool enabled, bool masked)
{
	guest_config(m, AT_MSIX + VF_PCI_MSIX_CONTROL, 2,
		     (enabled ? VF_PCI_MSIX_CONTROL_ENABLE : 0u) |
		     (masked ? VF_PCI_MSIX_CONTROL_MASK : 0u));
}

/* As Linux does: on but masked, the table, unmasked. Vectors 0..count-1 are open. */
__attribute__((unused))
static void guest_msix_on(struct machine *m, uint32_t count)
{
	guest_msix_control(m, true, true);
	for (uint32_t i = 0; i < count; i++)
		guest_msix_entry(m, i, false);
	guest_msix_control(m, true, false);
}

#endif
