/* SPDX-License-Identifier: MIT */
/*
 * test_golden_messages.c - one body of each frame type, as the version that brought the type wrote it,
 * is stored as text (tests/golden/messages-v1.txt, the first argument). This side still writes the same bytes, and
 * reads them back to what was meant. `--print` writes the text anew: for a new version only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/pages.h"

#define BODY_MAX 4096u

static const char *golden_path;

/* ---- what is meant ---- */

static uint8_t identity[] = { 1, 2, 3, 250 };
static struct vf_wire_section sections[] = {
	{ .id = 1, .version = 1, .max_bytes = 40960, .name = "config" },
	{ .id = 2, .version = 3, .max_bytes = 8, .name = "config-final" },
};
static struct vf_wire_block blocks[] = {
	{ .name = "ram0", .gpa = 0x40000000, .bytes = 1ull << 40, .flags = 5 },
};
static struct vf_wire_component components[] = {
	{ .name = "irq" },
	{ .name = "pci/00:04.0", .device = "00:04.0", .section_count = 2, .sections = sections,
	  .identity_bytes = sizeof(identity), .identity = identity },
	{ .name = "vfio/00:04.0", .device = "00:04.0", .has_stream = true, .has_precopy = true },
};
static struct vf_wire_dependency dependencies[] = { { 0, 1, 1, 2 } };
static struct vf_credit_grant credits[] = { { 2, 8u << 20 } };
static struct vferry_error reasons[] = {
	{ .code = -22, .phase = "setup", .object = "pci/00:04.0", .id = "config-mismatch",
	  .message = "BAR 0 is 4096 bytes on the source and 8192 here" },
};
static struct vf_manifest_section manifest_sections[] = { { 1, 2, 4456, 0xdeadbeef } };
static struct vf_manifest_stream manifest_streams[] = { { 2, 7, 1ull << 33, 0x01020304 } };
static struct vf_channel_count manifest_channels[] = { { 10, 20 }, { 30, 1ull << 50 } };
static struct vf_report_step report_steps[] = {
	{ .component = 1, .step_class = 86, .name = "connect", .start_ns = 1000, .end_ns = 2500,
	  .bytes = 12, .thread = 3, .in_pause = true },
};

static struct vf_vector_run vector_runs[] = {
	{ .count = 3, .connected = true, .forwarded = VFERRY_FORWARDED_YES },
	{ .count = 1, .forwarded = VFERRY_FORWARDED_NO, .reason = "masked, or not set up" },
};
static struct vf_device_vectors device_vectors[] = {
	{ .address = "00:04.0", .run_count = 2, .runs = vector_runs }, { .address = "00:05.0" },
};

static void make_hello(struct vf_writer *w)
{
	struct vf_hello m = {
		.major = 1, .minor = 0, .purpose = VF_PURPOSE_MIGRATE, .channel = 1,
		.channel_count = 4, .software = "vferry 0.1.0",
	};

	for (uint8_t i = 0; i < VF_SESSION_ID_BYTES; i++)
		m.session_id[i] = (uint8_t) (0xf0 + i);
	vf_hello_encode(w, &m);
}

static void make_machine(struct vf_writer *w)
{
	const struct vf_machine m = {
		.description = "soft-arm64-v1", .compression = 2, .verify = true,
		.max_downtime_ns = 300000000, .pause_budget_ns = 3000000000, .block_count = 1,
		.blocks = blocks, .component_count = 3, .components = components,
		.dependency_count = 1, .dependencies = dependencies,
	};

	vf_machine_encode(w, &m);
}

static void make_accept(struct vf_writer *w)
{
	const struct vf_accept m = { .hold_bytes = 16u << 20, .load_ns = VF_UNKNOWN_NS,
				     .credit_count = 1, .credits = credits };

	vf_accept_encode(w, &m);
}

static void make_refuse(struct vf_writer *w)
{
	const struct vf_refuse m = { .dropped = 2, .reason_count = 1, .reasons = reasons };

	vf_refuse_encode(w, &m);
}

static void make_pages(struct vf_writer *w)
{
	static const struct vf_pages m = {
		.form = VF_PAGES_CHUNK, .codec = VF_CODEC_ZSTD, .block = 0, .run_count = 3,
		.first = 512, .stored = 100, .data_crc = 0x55aa55aa,
		.runs = { { 512, 2, VF_PAGES_DATA }, { 514, 200, VF_PAGES_ZERO },
			  { 767, 1, VF_PAGES_DATA } },
	};

	vf_pages_encode(&m, vf_write_room(w, vf_pages_table_bytes(&m)));
}

static void make_round_end(struct vf_writer *w)
{
	vf_round_end_encode(9, vf_write_room(w, VF_ROUND_END_BYTES));
}

static void make_section(struct vf_writer *w)
{
	const struct vf_section_header m = { .id = 2, .version = 3 };

	vf_section_header_encode(vf_write_room(w, VF_SECTION_HEADER_BYTES), &m);
}

static void make_stream_data(struct vf_writer *w)
{
	const struct vf_stream_header m = { .generation = 7, .offset = 1ull << 33 };

	vf_stream_header_encode(vf_write_room(w, VF_STREAM_HEADER_BYTES), &m);
}

static void make_stream_mark(struct vf_writer *w)
{
	const struct vf_stream_mark m = { 7, VF_MARK_STOPPED, 1ull << 33, 0x01020304 };

	vf_stream_mark_encode(w, &m);
}

static void make_manifest(struct vf_writer *w)
{
	const struct vf_manifest m = {
		.pages_normal = 1000, .pages_zero = 1ull << 32, .section_count = 1,
		.sections = manifest_sections, .stream_count = 1, .streams = manifest_streams,
		.channel_count = 2, .channels = manifest_channels,
	};

	vf_manifest_encode(w, &m);
}

static void make_failure(struct vf_writer *w)
{
	vf_failure_encode(w, &reasons[0]);
}

static void make_report(struct vf_writer *w)
{
	const struct vf_report m = { .step_count = 1, .steps = report_steps };

	vf_report_encode(w, &m);
}

static void make_vectors(struct vf_writer *w)
{
	const struct vf_vectors m = { .device_count = 2, .devices = device_vectors };

	vf_vectors_encode(w, &m);
}

static void make_id(struct vf_writer *w)
{
	for (uint8_t i = 0; i < VF_SESSION_ID_BYTES; i++)
		vf_write_u8(w, (uint8_t) (0xf0 + i));
}

static void make_join(struct vf_writer *w)
{
	for (uint8_t i = 0; i < VF_JOIN_BYTES; i++)
		vf_write_u8(w, (uint8_t) (0x20 + i));
}

static void make_number32(struct vf_writer *w)
{
	vf_number32_encode(w, 0x87654321);
}

static void make_resolved(struct vf_writer *w)
{
	vf_number32_encode(w, VF_RESOLUTION_ABORTED);
}

static void make_number64(struct vf_writer *w)
{
	vf_number64_encode(w, 0x123456789abcdef0);
}

/* ---- and read back: decoded, and encoded again ---- */

#define BACK(kind, name, done)                                                                \
	static void back_##name(const uint8_t *data, size_t size, struct vf_writer *w)        \
	{                                                                                     \
		struct kind m;                                                                \
                                                                                              \
		assert_int_equal(name##_decode(data, size, &m, NULL), 0);                     \
		name##_encode(w, &m);                                                         \
		done;                                                                         \
	}

BACK(vf_hello, vf_hello, )
BACK(vf_machine, vf_machine, vf_machine_done(&m))
BACK(vf_accept, vf_accept, vf_accept_done(&m))
BACK(vf_refuse, vf_refuse, vf_refuse_done(&m))
BACK(vf_stream_mark, vf_stream_mark, )
BACK(vf_manifest, vf_manifest, vf_manifest_done(&m))
BACK(vferry_error, vf_failure, )
BACK(vf_report, vf_report, vf_report_done(&m))
BACK(vf_vectors, vf_vectors, vf_vectors_done(&m))

static void back_pages(const uint8_t *data, size_t size, struct vf_writer *w)
{
	const uint64_t block_pages = 1024;
	struct vf_pages m;

	assert_int_equal(vf_pages_peek(data, (uint32_t) size + 100, NULL), (int) size);
	assert_int_equal(vf_pages_decode(data, size, (uint32_t) size + 100, &block_pages, 1, &m,
					 NULL), 0);
	assert_int_equal(m.data_pages, 3);
	vf_pages_encode(&m, vf_write_room(w, vf_pages_table_bytes(&m)));
}

static void back_round_end(const uint8_t *data, size_t size, struct vf_writer *w)
{
	uint32_t round;

	assert_int_equal(vf_round_end_decode(data, size, &round, NULL), 0);
	vf_round_end_encode(round, vf_write_room(w, VF_ROUND_END_BYTES));
}

static void back_section(const uint8_t *data, size_t size, struct vf_writer *w)
{
	struct vf_section_header m;

	assert_int_equal(vf_section_header_decode(data, size, &m, NULL), 0);
	vf_section_header_encode(vf_write_room(w, VF_SECTION_HEADER_BYTES), &m);
}

static void back_stream_data(const uint8_t *data, size_t size, struct vf_writer *w)
{
	struct vf_stream_header m;

	assert_int_equal(vf_stream_header_decode(data, size, &m, NULL), 0);
	vf_stream_header_encode(vf_write_room(w, VF_STREAM_HEADER_BYTES), &m);
}

static void back_id(const uint8_t *data, size_t size, struct vf_writer *w)
{
	uint8_t id[VF_SESSION_ID_BYTES];

	assert_int_equal(vf_id_decode(data, size, id, NULL), 0);
	vf_write_bytes(w, id, sizeof(id));
}

static void back_join(const uint8_t *data, size_t size, struct vf_writer *w)
{
	uint8_t join[VF_JOIN_BYTES];

	assert_int_equal(vf_join_decode(data, size, join, NULL), 0);
	vf_write_bytes(w, join, sizeof(join));
}

static void back_number32(const uint8_t *data, size_t size, struct vf_writer *w)
{
	uint32_t v;

	assert_int_equal(vf_number32_decode(data, size, &v, NULL), 0);
	vf_number32_encode(w, v);
}

static void back_number64(const uint8_t *data, size_t size, struct vf_writer *w)
{
	uint64_t v;

	assert_int_equal(vf_number64_decode(data, size, &v, NULL), 0);
	vf_number64_encode(w, v);
}

static const struct sample {
	enum vf_frame_type type;
	void (*make)(struct vf_writer *w);
	void (*back)(const uint8_t *data, size_t size, struct vf_writer *w);
} samples[] = {
	{ VF_FRAME_HELLO, make_hello, back_vf_hello },
	{ VF_FRAME_MACHINE, make_machine, back_vf_machine },
	{ VF_FRAME_ACCEPT, make_accept, back_vf_accept },
	{ VF_FRAME_REFUSE, make_refuse, back_vf_refuse },
	{ VF_FRAME_PAGES, make_pages, back_pages },
	{ VF_FRAME_ROUND_END, make_round_end, back_round_end },
	{ VF_FRAME_SECTION, make_section, back_section },
	{ VF_FRAME_STREAM_DATA, make_stream_data, back_stream_data },
	{ VF_FRAME_STREAM_MARK, make_stream_mark, back_vf_stream_mark },
	{ VF_FRAME_STREAM_RESTART, make_number32, back_number32 },
	{ VF_FRAME_SWITCHOVER, make_number32, back_number32 },
	{ VF_FRAME_MANIFEST, make_manifest, back_vf_manifest },
	{ VF_FRAME_COMMIT, make_id, back_id },
	{ VF_FRAME_CANCEL, make_failure, back_vf_failure },
	{ VF_FRAME_CREDIT, make_number64, back_number64 },
	{ VF_FRAME_INITIAL_ACK, make_number32, back_number32 },
	{ VF_FRAME_PREPARED, make_number32, back_number32 },
	{ VF_FRAME_FAILED, make_failure, back_vf_failure },
	{ VF_FRAME_RUNNING, make_number64, back_number64 },
	{ VF_FRAME_REPORT, make_report, back_vf_report },
	{ VF_FRAME_RESOLVE, make_id, back_id },
	{ VF_FRAME_RESOLVED, make_resolved, back_number32 },
	{ VF_FRAME_KEEPALIVE, make_number32, back_number32 },
	{ VF_FRAME_DIGEST, make_number32, back_number32 },
	{ VF_FRAME_JOIN, make_join, back_join },
	{ VF_FRAME_VECTORS, make_vectors, back_vf_vectors },
};

#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

/* ---- the text ---- */

/* A whole frame: header and body, in hexadecimal. */
static void frame_text(const struct sample *s, char *to, size_t size)
{
	uint8_t header[VF_FRAME_HEADER_BYTES];
	struct vf_frame frame = {
		.type = (uint16_t) s->type, .component = s->type, .sequence = 1000ull + s->type,
		.flags = s->type == VF_FRAME_REPORT || s->type == VF_FRAME_KEEPALIVE ||
				 s->type == VF_FRAME_JOIN || s->type == VF_FRAME_VECTORS
				 ? VF_FRAME_OPTIONAL : 0,
	};
	struct vf_writer w;
	size_t used = 0;

	vf_writer_init(&w, BODY_MAX);
	s->make(&w);
	frame.length = (uint32_t) w.size;
	frame.body_crc = vf_crc32c(0, w.data, w.size);
	vf_frame_encode(&frame, header);
	if (w.bad || 2 * (sizeof(header) + w.size) >= size)
		abort();
	for (size_t i = 0; i < sizeof(header); i++, used += 2)
		(void) snprintf(to + used, size - used, "%02x", header[i]);
	for (size_t i = 0; i < w.size; i++, used += 2)
		(void) snprintf(to + used, size - used, "%02x", w.data[i]);
	vf_writer_done(&w);
}

static int print(void)
{
	char text[2 * BODY_MAX];

	printf("# One frame of each type, as stream version %d.%d has them: header and body.\n",
	       VF_STREAM_MAJOR, VF_STREAM_MINOR);
	for (size_t i = 0; i < SAMPLES; i++) {
		frame_text(&samples[i], text, sizeof(text));
		printf("%s %s\n", vf_frame_type_name((uint16_t) samples[i].type), text);
	}
	return 0;
}

static size_t unhex(const char *text, uint8_t *to)
{
	size_t n = 0;
	unsigned byte;

	while (n < BODY_MAX && sscanf(text + 2 * n, "%2x", &byte) == 1)
		to[n++] = (uint8_t) byte;
	return n;
}

static void check(const struct sample *s, const char *golden)
{
	uint8_t bytes[BODY_MAX], *body = bytes + VF_FRAME_HEADER_BYTES;
	char text[2 * BODY_MAX];
	size_t size = unhex(golden, bytes);
	struct vf_frame frame;
	struct vf_writer w;

	frame_text(s, text, sizeof(text));
	assert_string_equal(text, golden);
	assert_int_equal(vf_frame_decode(bytes, VF_FRAME_MAX_BYTES, &frame, NULL), 0);
	assert_int_equal(frame.type, s->type);
	assert_int_equal(frame.component, s->type);
	assert_int_equal(frame.sequence, 1000 + s->type);
	assert_int_equal(frame.length, size - VF_FRAME_HEADER_BYTES);
	assert_int_equal(frame.body_crc, vf_crc32c(0, body, frame.length));
	vf_writer_init(&w, BODY_MAX);
	s->back(body, frame.length, &w);
	assert_int_equal(w.size, frame.length);
	assert_memory_equal(w.data, body, frame.length);
	vf_writer_done(&w);
}

static void every_type_is_as_it_was(void **state)
{
	FILE *file = fopen(golden_path, "r");
	char line[2 * BODY_MAX + 64], name[64], hex[2 * BODY_MAX];
	size_t seen = 0;

	(void) state;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (line[0] == '#')
			continue;
		assert_true(seen < SAMPLES);
		assert_int_equal(sscanf(line, "%63s %8191s", name, hex), 2);
		assert_string_equal(name, vf_frame_type_name((uint16_t) samples[seen].type));
		check(&samples[seen++], hex);
	}
	(void) fclose(file);
	assert_int_equal(seen, SAMPLES);
}

static void there_is_one_of_every_type(void **state)
{
	(void) state;
	for (uint16_t type = 1; vf_frame_type_name(type); type++) {
		assert_true(type <= SAMPLES);
		assert_int_equal(samples[type - 1].type, type);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_as_it_was),
		cmocka_unit_test(there_is_one_of_every_type),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s MESSAGES.TXT | --print\n", argv[0]);
		return 1;
	}
	if (!strcmp(argv[1], "--print"))
		return print();
	golden_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
