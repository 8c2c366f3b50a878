/* SPDX-License-Identifier: MIT */
/*
 * test_replay.c - a device is captured, replayed and captured again: both are equal. And the replayed one
 * is a device: its config space can be sized, it is reset, and it migrates with what was written to it.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/checked.h"
#include "base/clock.h"
#include "capture/capture.h"
#include "devices/accel_server.h"
#include "devices/replay_server.h"
#include "probe/record.h"
#include "vfio/backend.h"

#define CONFIG VF_VFIO_PCI_CONFIG_REGION
#define STATE_BYTES 100000u

/* One device that is served, and the backend that has it. */
struct side {
	struct accel_server *accel;
	struct replay_server *replay;
	struct vf_backend *b;
	pthread_t thread;
	int stop;
	char path[64];
	char note[256];
};

static void take_note(void *user, const char *text)
{
	struct side *s = user;

	snprintf(s->note, sizeof(s->note), "%s", text);
}

static void *serve(void *arg)
{
	struct side *s = arg;
	int ret = s->accel ? accel_server_run(s->accel, s->stop, false, NULL) :
		  replay_server_run(s->replay, s->stop, false, NULL);

	assert_int_equal(ret, 0);
	return NULL;
}

/* The device turns a second client away, and may not have seen yet that the first has gone. */
static void join(struct side *s)
{
	struct vf_backend_options o = { .timeout_ns = 60 * VF_SECOND_NS };
	uint64_t until = vf_now_ns() + 60 * VF_SECOND_NS;
	struct vferry_error err;
	char uri[96];

	(void) snprintf(uri, sizeof(uri), "vfio-user:%s", s->path);
	do {
		vferry_error_clear(&err);
		if (!vf_backend_open(uri, &o, &s->b, &err))
			return;
		(void) usleep(1000);
	} while (vf_now_ns() < until);
	fail_msg("%s", err.message);
}

static void side_start(struct side *s)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) snprintf(s->path, sizeof(s->path), "/tmp/vferry-replay-%d-%p", getpid(), (void *) s);
	s->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(s->stop >= 0);
	if (s->accel ? accel_server_listen(s->accel, s->path, &err) :
	    replay_server_listen(s->replay, s->path, &err))
		fail_msg("%s", err.message);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	join(s);
}

static void accel_start(struct side *s, struct accel_server_options o)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script script;

	memset(s, 0, sizeof(*s));
	vf_script_init(&script);
	if (accel_server_new(&o, &script, &s->accel, &err))
		fail_msg("%s", err.message);
	side_start(s);
}

static void replay_start(struct side *s, const struct capture *c)
{
	struct replay_server_options o = { .state_bytes = STATE_BYTES, .note = take_note, .user = s };
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(s, 0, sizeof(*s));
	if (replay_server_new(c, &o, &s->replay, &err))
		fail_msg("%s", err.message);
	side_start(s);
}

static void side_end(struct side *s)
{
	if (s->b)
		s->b->ops->close(s->b);
	(void) eventfd_write(s->stop, 1);
	(void) pthread_join(s->thread, NULL);
	accel_server_free(s->accel);
	replay_server_free(s->replay);
	close(s->stop);
}

static struct accel_server_options accel_defaults(void)
{
	return (struct accel_server_options) {
		.device = { .state_bytes = 1 << 20, .overlay_bytes = 1 << 20, .msix_vectors = 16 },
		.precopy = true, .p2p = true, .dma_log = true, .extensions = true,
	};
}

static void record(struct side *s, struct capture *ret)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	memset(ret, 0, sizeof(*ret));
	if (probe_record_device(s->b, ret, &err))
		fail_msg("%s", err.message);
}

/* A device such as there is none: odd sizes, two BARs to map, a large one. */
static struct capture made_up(void)
{
	static struct capture c;
	uint8_t *d = c.config;

	memset(&c, 0, sizeof(c));
	c.device_flags = VF_VFIO_DEVICE_FLAGS_RESET | VF_VFIO_DEVICE_FLAGS_PCI;
	c.extensions = true;
	c.regions[0] = (struct capture_region) { .size = 1ull << 36, .flags = 7, .area_count = 2,
						 .areas = { { 0, 4096 }, { 8192, 1 << 20 } } };
	c.regions[2] = (struct capture_region) { .size = 24, .flags = 3 };
	c.regions[3] = (struct capture_region) { .size = 4096 * 3, .flags = 1 };
	c.regions[6] = (struct capture_region) { .size = 2048, .flags = 1 };
	c.regions[CONFIG] = (struct capture_region) { .size = 256, .flags = 3 };
	c.irqs[1] = (struct capture_irq) { .count = 2, .flags = 9 };
	c.migration_flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_PRE_COPY;
	c.precopy_info = true;
	vf_put_u32(d, 0x00021234);
	vf_put_u16(d + 4, 0x0102);
	d[6] = 0x10;
	vf_put_u32(d + 0x10, 0x0000000c);	/* 64 bits, prefetchable */
	vf_put_u32(d + 0x14, 0x00000130);
	vf_put_u32(d + 0x18, 0xc001);		/* I/O */
	d[0x34] = 0x40;
	d[0x40] = 0x05;				/* MSI, 2 vectors, 32 bits, maskable */
	d[0x41] = 0x60;
	vf_put_u16(d + 0x42, 0x0102);
	d[0x60] = 0x01;				/* PM */
	d[0x61] = 0x70;
	d[0x70] = 0x10;				/* PCI Express, version 2, with a reset */
	vf_put_u16(d + 0x72, 2);
	vf_put_u32(d + 0x74, 1u << 28);
	return c;
}

/* --- capture, replay, capture --- */

static void compare(const struct capture *a, const struct capture *b)
{
	struct vf_writer texts[2];

	for (int i = 0; i < 2; i++) {
		vf_writer_init(&texts[i], CAPTURE_FILE_MAX + CAPTURE_CONFIG_FILE_MAX + 1);
		capture_write_device(i ? b : a, &texts[i]);
		capture_write_config(i ? b : a, &texts[i]);
		vf_write_u8(&texts[i], 0);
	}
	assert_string_equal(texts[0].data, texts[1].data);
	assert_memory_equal(a, b, sizeof(*a));
	vf_writer_done(&texts[0]);
	vf_writer_done(&texts[1]);
}

static void come_back_equal(const struct accel_server_options *o)
{
	struct capture first, second;
	struct side s;

	accel_start(&s, *o);
	record(&s, &first);
	side_end(&s);
	replay_start(&s, &first);
	record(&s, &second);
	side_end(&s);
	compare(&first, &second);
}

static void test_equal(void **state)
{
	(void) state;
	for (unsigned int i = 0; i < 32; i++) {
		struct accel_server_options o = accel_defaults();

		o.precopy = i & 1;
		o.p2p = i & 2;
		o.dma_log = i & 4;
		o.extensions = i & 8;
		o.device.msix_vectors = i & 16 ? 16 : 0;
		come_back_equal(&o);
	}
}

static void test_equal_made_up(void **state)
{
	struct capture c = made_up(), again;
	struct side s;

	(void) state;
	for (int i = 0; i < 4; i++) {
		c.has_data_size = i & 1;
		c.data_size = i & 1 ? (i & 2 ? 3 : 1ull << 35) : 0;	/* less than a head takes, too */
		replay_start(&s, &c);
		record(&s, &again);
		side_end(&s);
		compare(&c, &again);
	}
	/* It can't migrate, and can't be reset. */
	c.migration_flags = 0;
	c.has_data_size = c.precopy_info = false;
	c.data_size = 0;
	c.device_flags = VF_VFIO_DEVICE_FLAGS_PCI;
	replay_start(&s, &c);
	record(&s, &again);
	compare(&c, &again);
	assert_int_equal(s.b->ops->reset(s.b, NULL), -EOPNOTSUPP);
	side_end(&s);
}

/* --- what it is as a device --- */

static uint32_t get(struct side *s, uint32_t region, uint64_t at)
{
	uint8_t bytes[4];

	assert_int_equal(s->b->ops->region_read(s->b, region, at, bytes, 4, NULL), 0);
	return vf_get_u32(bytes);
}

static void put(struct side *s, uint32_t region, uint64_t at, uint32_t value)
{
	uint8_t bytes[4];

	vf_put_u32(bytes, value);
	assert_int_equal(s->b->ops->region_write(s->b, region, at, bytes, 4, NULL), 0);
}

static uint32_t set_all(struct side *s, uint32_t at)
{
	put(s, CONFIG, at, UINT32_MAX);
	return get(s, CONFIG, at);
}

static void test_config_space(void **state)
{
	struct capture c = made_up(), again;
	struct side s;

	(void) state;
	replay_start(&s, &c);
	assert_int_equal(set_all(&s, 0x00), 0x00021234);
	assert_int_equal(set_all(&s, 0x04), 0x00100547);
	assert_int_equal(set_all(&s, 0x10), 0x0000000c);	/* 64 GiB */
	assert_int_equal(set_all(&s, 0x14), 0xfffffff0);
	assert_int_equal(set_all(&s, 0x18), 0xffffffe1);	/* 24 bytes of I/O, up to 32 */
	assert_int_equal(set_all(&s, 0x1c), 0xffffc000);	/* three pages, up to four */
	assert_int_equal(set_all(&s, 0x20), 0);
	assert_int_equal(set_all(&s, 0x30), 0xfffff801);
	assert_int_equal(set_all(&s, 0x40), 0x01736005);
	assert_int_equal(set_all(&s, 0x44), 0xfffffffc);
	assert_int_equal(set_all(&s, 0x48), 0x0000ffff);
	assert_int_equal(set_all(&s, 0x4c), 0x00000003);
	assert_int_equal(set_all(&s, 0x50), 0);
	assert_int_equal(set_all(&s, 0x64), 0x00000003);
	put(&s, CONFIG, 0x78, 0x00007fff);
	assert_int_equal(get(&s, CONFIG, 0x78), 0x00007fff);
	put(&s, 2, 0, 77);
	assert_int_equal(get(&s, 2, 0), 77);
	assert_true(s.b->ops->region_write(s.b, 3, 0, "abcd", 4, NULL) < 0);
	assert_true(s.b->ops->region_read(s.b, 2, 21, &again, 4, NULL) < 0);

	put(&s, CONFIG, 0x78, 0x00008000);	/* the function's reset */
	assert_int_equal(get(&s, 2, 0), 0);
	record(&s, &again);
	compare(&c, &again);
	side_end(&s);
}

static void test_reset(void **state)
{
	struct capture c = made_up(), again;
	struct side s;
	uint32_t now;

	(void) state;
	replay_start(&s, &c);
	put(&s, 0, 1ull << 35, 5);
	put(&s, CONFIG, 0x10, 0);
	assert_int_equal(s.b->ops->set_state(s.b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(s.b->ops->reset(s.b, NULL), 0);
	assert_int_equal(s.b->ops->get_state(s.b, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_RUNNING);
	assert_int_equal(get(&s, 0, 1ull << 35), 0);
	record(&s, &again);
	compare(&c, &again);
	/* The next client finds it as fresh. */
	put(&s, 0, 0, 5);
	s.b->ops->close(s.b);
	join(&s);
	assert_int_equal(get(&s, 0, 0), 0);
	side_end(&s);
}

/* --- migration --- */

struct image {
	uint8_t *bytes;
	size_t size;
};

#define IMAGE_MAX (1u << 20)

static void drain(struct side *s, struct image *image, size_t chunk)
{
	for (;;) {
		ssize_t n;

		assert_true(image->size + chunk <= IMAGE_MAX);
		n = s->b->ops->data_read(s->b, image->bytes + image->size, chunk, NULL);
		assert_true(n >= 0);
		if (!n)
			return;
		image->size += (size_t) n;
	}
}

static struct image save(struct side *s, size_t chunk)
{
	struct image image = { .bytes = malloc(IMAGE_MAX) };

	assert_non_null(image.bytes);
	assert_int_equal(s->b->ops->set_state(s->b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	drain(s, &image, chunk);
	assert_int_equal(s->b->ops->set_state(s->b, VF_VFIO_STATE_STOP, NULL), 0);
	return image;
}

/* Ends in STOP, or, after an error, wherever. */
static int load(struct side *s, const struct image *image, size_t chunk)
{
	int ret;

	assert_int_equal(s->b->ops->set_state(s->b, VF_VFIO_STATE_RESUMING, NULL), 0);
	for (size_t at = 0; at < image->size; at += chunk) {
		ret = s->b->ops->data_write(s->b, image->bytes + at,
					    vf_min_u64(chunk, image->size - at), NULL);
		if (ret)
			return ret;
	}
	return s->b->ops->set_state(s->b, VF_VFIO_STATE_STOP, NULL);
}

static uint64_t data_size(struct side *s)
{
	uint64_t bytes;

	assert_int_equal(s->b->ops->data_size(s->b, &bytes, NULL), 0);
	return bytes;
}

static void test_untouched(void **state)
{
	struct capture c = made_up();
	struct image image;
	struct side s;

	(void) state;
	c.has_data_size = true;
	c.data_size = 54321;
	replay_start(&s, &c);
	assert_int_equal(data_size(&s), 54321);
	image = save(&s, 1000);
	assert_int_equal(image.size, 54321);
	free(image.bytes);
	side_end(&s);
	c.has_data_size = false;
	c.data_size = 0;
	replay_start(&s, &c);
	image = save(&s, 65536);
	assert_int_equal(image.size, STATE_BYTES);
	free(image.bytes);
	side_end(&s);
}

/* What was written through messages and through a mapping, at odd places. */
static void touch(struct side *s)
{
	struct vf_backend_region region;
	uint8_t *map;

	put(s, 0, 0, 0x01020304);
	put(s, 0, (1ull << 36) - 4, 0x05060708);
	put(s, 2, 20, 0x090a0b0c);
	assert_int_equal(s->b->ops->get_region(s->b, 0, &region, NULL), 0);
	map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
		   (off_t) (region.fd_offset + 8192));
	assert_ptr_not_equal(map, MAP_FAILED);
	memset(map + 5000, 0xaa, 10000);
	assert_int_equal(map[500000], 0);	/* touched, and still zero */
	(void) munmap(map, 1 << 20);
	vf_backend_region_done(&region);
}

static void check_touched(struct side *s)
{
	assert_int_equal(get(s, 0, 0), 0x01020304);
	assert_int_equal(get(s, 0, (1ull << 36) - 4), 0x05060708);
	assert_int_equal(get(s, 2, 20), 0x090a0b0c);
	assert_int_equal(get(s, 0, 8192 + 4996), 0);
	assert_int_equal(get(s, 0, 8192 + 5000), 0xaaaaaaaa);
	assert_int_equal(get(s, 0, 8192 + 14996), 0xaaaaaaaa);
	assert_int_equal(get(s, 0, 8192 + 15000), 0);
}

static void test_moves(void **state)
{
	static const size_t chunks[] = { 1, 3, 40, 4096, 100000 };
	struct capture c = made_up();
	struct image image, again;
	struct side a, b;

	(void) state;
	c.has_data_size = true;
	c.data_size = 5000;
	replay_start(&a, &c);
	touch(&a);
	for (size_t i = 0; i < VF_ARRAY_COUNT(chunks); i++) {
		image = save(&a, chunks[i]);
		assert_int_equal(image.size, 5000 + 6 * (24 + 4096) - 4096 + 24);
		assert_true(data_size(&a) >= image.size);
		replay_start(&b, &c);
		put(&b, 0, 1 << 20, 66);	/* is gone after the load */
		assert_int_equal(load(&b, &image, chunks[VF_ARRAY_COUNT(chunks) - 1 - i]), 0);
		assert_int_equal(get(&b, 0, 1 << 20), 0);
		check_touched(&b);
		again = save(&b, 999);
		assert_int_equal(again.size, image.size);
		assert_memory_equal(again.bytes, image.bytes, image.size);
		free(image.bytes);
		free(again.bytes);
		side_end(&b);
	}
	side_end(&a);
}

static void test_precopy(void **state)
{
	struct capture c = made_up();
	struct vf_vfio_precopy_info info;
	struct image image = { .bytes = malloc(IMAGE_MAX) };
	struct side a, b;
	ssize_t n;

	(void) state;
	c.has_data_size = true;
	c.data_size = 5000;
	replay_start(&a, &c);
	assert_int_equal(a.b->ops->set_state(a.b, VF_VFIO_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(a.b->ops->precopy_info(a.b, &info, NULL), 0);
	assert_int_equal(info.initial_bytes, 5000 - 24);
	n = a.b->ops->data_read(a.b, image.bytes, 100, NULL);
	assert_int_equal(n, 100);
	image.size = 100;
	assert_int_equal(a.b->ops->precopy_info(a.b, &info, NULL), 0);
	assert_int_equal(info.initial_bytes, 5000 - 24 - 100);
	assert_int_equal(data_size(&a), 5000 - 100);
	touch(&a);
	drain(&a, &image, 777);
	assert_int_equal(image.size, 5000 - 24);
	assert_int_equal(a.b->ops->precopy_info(a.b, &info, NULL), 0);
	assert_int_equal(info.initial_bytes + info.dirty_bytes, 0);
	assert_int_equal(a.b->ops->set_state(a.b, VF_VFIO_STATE_STOP_COPY, NULL), 0);
	drain(&a, &image, 777);
	assert_int_equal(data_size(&a), 0);
	replay_start(&b, &c);
	assert_int_equal(load(&b, &image, 3333), 0);
	check_touched(&b);
	side_end(&b);
	side_end(&a);
	free(image.bytes);
}

static void refused(struct side *s, const struct image *image, const char *what, size_t at)
{
	uint32_t now;

	if (load(s, image, 4096) != -EINVAL)
		fail_msg("%s at %zu was taken", what, at);
	assert_int_equal(s->b->ops->reset(s->b, NULL), 0);
	assert_int_equal(s->b->ops->get_state(s->b, &now, NULL), 0);
	assert_int_equal(now, VF_VFIO_STATE_RUNNING);
}

static void test_damaged(void **state)
{
	struct capture c = made_up();
	struct image image, part;
	struct side s;

	(void) state;
	c.has_data_size = true;
	c.data_size = 200;
	replay_start(&s, &c);
	put(&s, 2, 4, 0x01020304);
	put(&s, 0, 4096, 0x05060708);
	image = save(&s, 4096);
	for (size_t at = 0; at < image.size; at += at < 256 || at > image.size - 80 ? 1 : 97) {
		image.bytes[at] ^= 0x10;
		refused(&s, &image, "a flipped bit", at);
		image.bytes[at] ^= 0x10;
		part = (struct image) { image.bytes, at };
		refused(&s, &part, "a part", at);
	}
	image.bytes[image.size++] = 0;
	refused(&s, &image, "one byte too many", image.size);
	image.size--;
	assert_int_equal(load(&s, &image, 4096), 0);
	assert_int_equal(get(&s, 2, 4), 0x01020304);
	side_end(&s);

	/* One that is almost the same device. */
	c.regions[3].size = 4096;
	replay_start(&s, &c);
	assert_int_equal(load(&s, &image, 4096), -EINVAL);
	side_end(&s);
	assert_non_null(strstr(s.note, "another device"));
	free(image.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_equal_made_up),
		cmocka_unit_test(test_config_space),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_untouched),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_precopy),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
