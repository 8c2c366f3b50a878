/* SPDX-License-Identifier: MIT */
/*
 * test_state_area.c - device state through the memory that is shared with a device process, in place and
 * by copies, mixed: neither may disturb the other. Two accel devices, served by threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/checked.h"
#include "devices/accel_server.h"
#include "vferry_vfio.h"
#include "vfio/backend.h"

#define STATE_BYTES (8 * VF_MIB)
#define PART 700001u	/* of no alignment */
#define PARTS_MAX 16u

struct server {
	struct accel_server *accel;
	pthread_t thread;
	int stop;
	char uri[64];
	struct vf_backend *backend;
};

static char folder[] = "/tmp/vferry-XXXXXX";

static void *serve(void *arg)
{
	struct server *s = arg;

	(void) accel_server_run(s->accel, s->stop, false, NULL);
	return NULL;
}

static void start(struct server *s, const char *name)
{
	const struct accel_server_options options = {
		.device = { .state_bytes = STATE_BYTES, .seed = 3, .overlay_bytes = VF_MIB,
			    .msix_vectors = 8 },
		.p2p = true, .extensions = true,
	};
	const struct vf_backend_options backend_options = { .timeout_ns = 5000000000u };
	struct vf_script script;

	vf_script_init(&script);
	(void) snprintf(s->uri, sizeof(s->uri), "vfio-user:%s/%s", folder, name);
	assert_int_equal(accel_server_new(&options, &script, &s->accel, NULL), 0);
	assert_int_equal(accel_server_listen(s->accel, strchr(s->uri, ':') + 1, NULL), 0);
	s->stop = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	assert_int_equal(vf_backend_open(s->uri, &backend_options, &s->backend, NULL), 0);
}

static void end(struct server *s)
{
	s->backend->ops->close(s->backend);
	(void) eventfd_write(s->stop, 1);
	(void) pthread_join(s->thread, NULL);
	accel_server_free(s->accel);
	close(s->stop);
}

static void set_state(struct server *s, uint32_t state)
{
	assert_int_equal(s->backend->ops->set_state(s->backend, state, NULL), 0);
}

/* Every other part into the area, at another place each time; the rest into @copy. */
static size_t read_all(struct server *s, uint8_t *copy, size_t *parts)
{
	size_t area_bytes, count = 0, at = 0;
	uint8_t *area = s->backend->ops->data_area(s->backend, &area_bytes);
	uint8_t *last_area = NULL;
	size_t last_at = 0, last_bytes = 0;

	assert_non_null(area);
	assert_true(area_bytes >= 4 * PART);
	for (;;) {
		uint8_t *to = count % 2 ? copy + at : area + count / 2 % 4 * PART;
		ssize_t n = s->backend->ops->data_read(s->backend, to, PART, NULL);

		assert_true(n >= 0);
		/* What the last read left in the area is there still. */
		if (last_area)
			assert_memory_equal(last_area, copy + last_at, last_bytes);
		if (!n)
			break;
		if (count % 2 == 0)
			memcpy(copy + at, to, (size_t) n);
		last_area = count % 2 ? NULL : to;
		last_at = at;
		last_bytes = (size_t) n;
		parts[count++] = (size_t) n;
		at += (size_t) n;
		assert_true(count < PARTS_MAX);
	}
	return count;
}

/* All parts that go by way of the area lie there before the first is written. */
static void write_all(struct server *s, const uint8_t *data, const size_t *parts, size_t count)
{
	const uint8_t *from[PARTS_MAX];
	size_t area_bytes, at = 0, placed = 0;
	uint8_t *area = s->backend->ops->data_area(s->backend, &area_bytes);

	for (size_t i = 0; i < count; at += parts[i++]) {
		from[i] = data + at;
		if (i % 2 && placed + parts[i] <= area_bytes) {
			from[i] = memcpy(area + placed, data + at, parts[i]);
			placed += parts[i];
		}
	}
	assert_true(placed > PART);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(s->backend->ops->data_write(s->backend, from[i], parts[i], NULL), 0);
}

static void in_place_and_by_copy(void **state)
{
	struct server source, destination;
	uint8_t *data = malloc(STATE_BYTES + VF_MIB);
	size_t parts[PARTS_MAX], count;

	(void) state;
	assert_non_null(mkdtemp(folder));
	start(&source, "source");
	start(&destination, "destination");
	set_state(&source, VF_VFIO_STATE_STOP);
	set_state(&source, VF_VFIO_STATE_STOP_COPY);
	count = read_all(&source, data, parts);
	assert_true(count > 8);
	set_state(&destination, VF_VFIO_STATE_STOP);
	set_state(&destination, VF_VFIO_STATE_RESUMING);
	write_all(&destination, data, parts, count);
	/* The device checks each byte it was given. */
	set_state(&destination, VF_VFIO_STATE_STOP);
	end(&source);
	end(&destination);
	free(data);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(in_place_and_by_copy) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
