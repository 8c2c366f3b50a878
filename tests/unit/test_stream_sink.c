/* SPDX-License-Identifier: MIT */
/*
 * test_stream_sink.c - the destination's end of a state stream: where data is put, that it is loaded
 * from there and in order, what is summed, and how credit comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "session/stream_sink.h"
#include "wire/message.h"

#define CHUNK VF_MIB
#define LIMIT (8 * VF_MIB)

struct world {
	struct vf_stream_sink *sink;
	uint8_t *area;
	size_t area_bytes;
	uint64_t offset;	/* put so far */
	uint32_t crc;
	uint8_t next;		/* byte that the next chunk to be loaded is made of */
	unsigned from_area, writes;
	uint64_t granted;
	int refuse;		/* what write() answers */
};

static int take(void *user, const void *data, size_t size, struct vferry_error *err)
{
	struct world *w = user;
	const uint8_t *p = data;

	(void) err;
	if (w->refuse)
		return w->refuse;
	for (size_t i = 0; i < size; i++)
		assert_int_equal(p[i], w->next);
	w->next++;
	w->writes++;
	if (w->area && p >= w->area && p + size <= w->area + w->area_bytes)
		w->from_area++;
	return 0;
}

static void *area(void *user, size_t *ret_bytes)
{
	struct world *w = user;

	*ret_bytes = w->area_bytes;
	return w->area;
}

static void grant(void *user, uint32_t component, uint64_t bytes)
{
	assert_int_equal(component, 5);
	((struct world *) user)->granted += bytes;
}

static const struct vferry_stream_ops stream = {
	.size = sizeof(stream), .write = take, .area = area,
};
static const struct vf_stream_sink_ops ops = { .grant = grant };

static void start(struct world *w, size_t area_bytes)
{
	*w = (struct world) { .area_bytes = area_bytes };
	w->area = area_bytes ? malloc(area_bytes) : NULL;
	assert_int_equal(vf_stream_sink_new(5, "vfio/00:04.0", &stream, w, LIMIT, &ops, w, &w->sink), 0);
}

static void end(struct world *w)
{
	w->sink = vf_stream_sink_free(w->sink);
	free(w->area);
}

/* As the receiver does: in a place if there is one. Return: was there? */
static bool put(struct world *w, uint8_t value)
{
	static uint8_t body[VF_STREAM_HEADER_BYTES + CHUNK];
	struct vf_stream_header header = { .offset = w->offset };
	struct vf_frame frame = { .type = VF_FRAME_STREAM_DATA, .component = 5, .length = sizeof(body) };
	void *place = vf_stream_sink_place(w->sink, frame.length);

	vf_stream_header_encode(body, &header);
	memset(body + VF_STREAM_HEADER_BYTES, value, CHUNK);
	frame.body_crc = vf_crc32c(0, body, sizeof(body));
	w->crc = vf_crc32c(w->crc, body + VF_STREAM_HEADER_BYTES, CHUNK);
	w->offset += CHUNK;
	if (place) {
		memset(place, value, CHUNK);
		memset(body + VF_STREAM_HEADER_BYTES, 0xee, CHUNK);
	}
	assert_int_equal(vf_stream_sink_put(w->sink, &frame, body, place, NULL), 0);
	return place != NULL;
}

static void mark(struct world *w, uint32_t kind, uint32_t crc)
{
	struct vf_stream_mark m = { .kind = kind, .offset = w->offset, .crc = crc };
	struct vf_frame frame = { .type = VF_FRAME_STREAM_MARK, .component = 5 };
	struct vf_writer writer;

	vf_writer_init(&writer, 64);
	vf_stream_mark_encode(&writer, &m);
	frame.length = (uint32_t) writer.size;
	assert_int_equal(vf_stream_sink_put(w->sink, &frame, writer.data, NULL, NULL), 0);
	vf_writer_done(&writer);
}

static void data_lies_in_the_components_area_while_there_is_room(void **state)
{
	struct world w;
	uint64_t bytes;

	(void) state;
	start(&w, 3 * CHUNK);
	for (uint8_t i = 0; i < 6; i++)
		assert_int_equal(put(&w, i), i < 3);
	mark(&w, VF_MARK_STOPPED, w.crc);
	assert_int_equal(vf_stream_sink_load_data(w.sink, &bytes, NULL), VF_SINK_DONE);
	assert_int_equal(bytes, 6 * CHUNK);
	assert_int_equal(w.writes, 6);
	assert_int_equal(w.from_area, 3);
	/* What was loaded has left its place. */
	assert_true(put(&w, 6));
	mark(&w, VF_MARK_END, w.crc);
	assert_int_equal(vf_stream_sink_load_last(w.sink, &bytes, NULL), VF_SINK_DONE);
	assert_int_equal(w.from_area, 4);
	end(&w);
}

static void a_component_without_an_area_is_served_too(void **state)
{
	struct world w;
	uint64_t bytes;

	(void) state;
	start(&w, 0);
	for (uint8_t i = 0; i < 8; i++)
		(void) put(&w, i);
	mark(&w, VF_MARK_STOPPED, w.crc);
	assert_int_equal(vf_stream_sink_load_data(w.sink, &bytes, NULL), VF_SINK_DONE);
	assert_int_equal(w.writes, 8);
	end(&w);
}

static void places_are_for_data_that_fits(void **state)
{
	struct world w;

	(void) state;
	start(&w, 3 * CHUNK);
	assert_null(vf_stream_sink_place(w.sink, 0));
	assert_null(vf_stream_sink_place(w.sink, VF_STREAM_HEADER_BYTES));
	assert_null(vf_stream_sink_place(w.sink, VF_STREAM_HEADER_BYTES + CHUNK + 1));
	assert_ptr_equal(vf_stream_sink_place(w.sink, VF_STREAM_HEADER_BYTES + 1), w.area);
	assert_ptr_equal(vf_stream_sink_place(w.sink, VF_STREAM_HEADER_BYTES + CHUNK), w.area + CHUNK);
	assert_ptr_equal(vf_stream_sink_place(w.sink, VF_STREAM_HEADER_BYTES + 1), w.area + 2 * CHUNK);
	assert_null(vf_stream_sink_place(w.sink, VF_STREAM_HEADER_BYTES + 1));
	end(&w);
}

static void a_wrong_sum_is_found(void **state)
{
	struct world w;
	uint64_t bytes;

	(void) state;
	start(&w, 3 * CHUNK);
	(void) put(&w, 0);
	(void) put(&w, 1);
	mark(&w, VF_MARK_STOPPED, w.crc ^ 1);
	assert_int_equal(vf_stream_sink_load_data(w.sink, &bytes, NULL), -EBADMSG);
	end(&w);
}

/* However little is withheld at a time, a source that waits for credit always gets some. */
static void credit_never_runs_dry(void **state)
{
	uint64_t credit = LIMIT;
	struct world w;
	uint64_t bytes;

	(void) state;
	start(&w, 3 * CHUNK);
	for (unsigned round = 0; round < 20; round++) {
		while (credit >= CHUNK) {
			(void) put(&w, (uint8_t) (w.offset / CHUNK));
			credit -= CHUNK;
		}
		w.granted = 0;
		mark(&w, VF_MARK_STOPPED, w.crc);
		assert_int_equal(vf_stream_sink_load_data(w.sink, &bytes, NULL), VF_SINK_DONE);
		credit += w.granted;
		assert_true(credit >= CHUNK);
		assert_true(credit <= LIMIT);
	}
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_lies_in_the_components_area_while_there_is_room),
		cmocka_unit_test(a_component_without_an_area_is_served_too),
		cmocka_unit_test(places_are_for_data_that_fits),
		cmocka_unit_test(a_wrong_sum_is_found),
		cmocka_unit_test(credit_never_runs_dry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
