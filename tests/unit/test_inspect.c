/* SPDX-License-Identifier: MIT */
/*
 * test_inspect.c - a saved machine made by hand is shown as it is; damaged in every way, it is said
 * where, and the rest is still shown.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <vferry/inspect.h>

#include "base/checked.h"
#include "base/crc32c.h"
#include "ram/ram.h"
#include "test_config_image.h"
#include "transfer/file.h"
#include "wire/message.h"

#define PAGE VF_PAGE_BYTES
#define RAM_PAGES 600u
#define FRAMES 12u

enum { GIC = 0, PCI = 1, VFIO = 2 };

struct fixture {
	char path[64];
	uint64_t offsets[FRAMES];	/* of the frames, as a walk saw them */
	const char *types[FRAMES];
	bool intact[FRAMES];
	char details[FRAMES][80];
	size_t count;
	uint8_t stream[3000];
};

/* ---- making the file ---- */

static void send_frame(struct vf_channel *to, enum vf_frame_type type, uint32_t component,
		       const void *body, size_t bytes)
{
	assert_int_equal(vf_channel_send(to, type, 0, component, body, bytes, NULL), 0);
}

static void send_hello(struct vf_channel *to)
{
	struct vf_hello hello = {
		.major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR, .purpose = VF_PURPOSE_FILE,
		.channel_count = 1, .session_id = { 0xab, 0xcd }, .software = "a test",
	};
	struct vf_writer w;

	vf_writer_init(&w, 1 << 16);
	vf_hello_encode(&w, &hello);
	send_frame(to, VF_FRAME_HELLO, VF_NO_COMPONENT, w.data, w.size);
	vf_writer_done(&w);
}

static struct vf_config *make_config(void)
{
	struct vf_config *config;
	struct image im;

	image_full(&im);
	assert_int_equal(vf_config_new(im.bytes, im.size, im.regions, &config, NULL), 0);
	return config;
}

static void send_machine(struct vf_channel *to, const struct vf_config *config)
{
	struct vf_wire_section registers = { .id = 1, .version = 3, .max_bytes = 100,
					     .name = "registers" };
	struct vf_wire_section configs[2] = {
		{ .id = 1, .version = 1, .max_bytes = 40960, .name = "config" },
		{ .id = 2, .version = 1, .max_bytes = 40960, .name = "config-final" },
	};
	struct vf_wire_component components[3] = {
		[GIC] = { .name = "gic", .section_count = 1, .sections = &registers },
		[PCI] = { .name = "pci/00:04.0", .device = "00:04.0", .section_count = 2,
			  .sections = configs },
		[VFIO] = { .name = "vfio/00:04.0", .device = "00:04.0", .has_stream = true },
	};
	struct vf_wire_block block = { .name = "ram0",
				       .gpa = 0x40000000,
				       .bytes = RAM_PAGES * PAGE };
	struct vf_wire_dependency dependency = { GIC, 1, PCI, 2 };
	struct vf_machine m = {
		.description = "made-up", .max_downtime_ns = 7, .block_count = 1, .blocks = &block,
		.component_count = 3, .components = components, .dependency_count = 1,
		.dependencies = &dependency,
	};
	struct vf_writer layout, identity, w;

	vf_writer_init(&layout, 1 << 16);
	vf_writer_init(&identity, 1 << 16);
	vf_writer_init(&w, 1 << 20);
	vf_config_layout_encode(&config->state.layout, &layout);
	vf_write_u32(&identity, (uint32_t) layout.size);
	vf_write_bytes(&identity, layout.data, layout.size);
	components[PCI].identity = identity.data;
	components[PCI].identity_bytes = (uint32_t) identity.size;
	vf_machine_encode(&w, &m);
	assert_false(w.bad);
	send_frame(to, VF_FRAME_MACHINE, VF_NO_COMPONENT, w.data, w.size);
	vf_writer_done(&w);
	vf_writer_done(&layout);
	vf_writer_done(&identity);
}

static struct vf_manifest_section send_section(struct vf_channel *to, uint32_t component,
					       uint32_t id, const void *body, size_t bytes)
{
	struct vf_section_header header = { .id = id, .version = 1 };
	struct vf_manifest_section sent = {
		.component = component, .id = id, .bytes = (uint32_t) bytes,
		.crc = vf_crc32c(0, body, bytes),
	};
	struct vf_writer w;

	vf_writer_init(&w, 1 << 20);
	vf_section_header_encode(vf_write_room(&w, VF_SECTION_HEADER_BYTES), &header);
	vf_write_bytes(&w, body, bytes);
	send_frame(to, VF_FRAME_SECTION, component, w.data, w.size);
	vf_writer_done(&w);
	return sent;
}

static void send_data(struct vf_channel *to, const uint8_t *stream, uint64_t from, uint64_t until)
{
	struct vf_stream_header header = { .generation = 4, .offset = from };
	struct vf_writer w;

	vf_writer_init(&w, 1 << 20);
	vf_stream_header_encode(vf_write_room(&w, VF_STREAM_HEADER_BYTES), &header);
	vf_write_bytes(&w, stream + from, until - from);
	send_frame(to, VF_FRAME_STREAM_DATA, VFIO, w.data, w.size);
	vf_writer_done(&w);
}

static void send_mark(struct vf_channel *to, enum vf_stream_mark_kind kind, const uint8_t *stream,
		      uint64_t offset)
{
	struct vf_stream_mark mark = { .generation = 4, .kind = kind, .offset = offset,
				       .crc = vf_crc32c(0, stream, offset) };
	struct vf_writer w;

	vf_writer_init(&w, 64);
	vf_stream_mark_encode(&w, &mark);
	send_frame(to, VF_FRAME_STREAM_MARK, VFIO, w.data, w.size);
	vf_writer_done(&w);
}

/* Twelve frames; the numbers in the tests count them from 0. */
static void send_all(struct vf_channel *to, const struct fixture *f)
{
	struct vf_config *config = make_config();
	struct vf_manifest_section sections[3];
	struct vf_manifest_stream stream = {
		.component = VFIO, .generation = 4, .bytes = sizeof(f->stream),
		.crc = vf_crc32c(0, f->stream, sizeof(f->stream)),
	};
	struct vf_manifest manifest = { .pages_normal = 5,
					.pages_zero = 6,
					.section_count = 3,
					.sections = sections,
					.stream_count = 1,
					.streams = &stream };
	uint8_t restart[4] = { 4 };
	struct vf_writer body, w;

	vf_writer_init(&body, 1 << 16);
	vf_writer_init(&w, 1 << 16);
	vf_config_state_encode(&config->state, &body);
	send_hello(to);							/* 0 */
	send_machine(to, config);					/* 1 */
	sections[0] = send_section(to, PCI, 1, body.data, body.size);	/* 2 */
	send_frame(to, VF_FRAME_STREAM_RESTART, VFIO, restart, 4);	/* 3 */
	send_data(to, f->stream, 0, 1000);				/* 4 */
	send_mark(to, VF_MARK_INITIAL_END, f->stream, 1000);		/* 5 */
	send_mark(to, VF_MARK_STOPPED, f->stream, 1000);		/* 6 */
	sections[1] = send_section(to, GIC, 1, "registers", 9);		/* 7 */
	send_data(to, f->stream, 1000, 3000);				/* 8 */
	send_mark(to, VF_MARK_END, f->stream, 3000);			/* 9 */
	sections[2] = send_section(to, PCI, 2, body.data, body.size);	/* 10 */
	vf_manifest_encode(&w, &manifest);
	send_frame(to, VF_FRAME_MANIFEST, VF_NO_COMPONENT, w.data, w.size);	/* 11 */
	vf_writer_done(&w);
	vf_writer_done(&body);
	vf_config_free(config);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vf_file_write_options options = { 0 };
	struct vf_file_writer *writer;
	struct vf_file_stats stats;
	struct vferry_ram *ram;
	uint8_t byte = 1;
	int fd;

	(void) snprintf(f->path, sizeof(f->path), "%s/vferry-inspect-XXXXXX",
			access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < sizeof(f->stream); i++)
		f->stream[i] = (uint8_t) (i * 7 + i / 256);
	assert_int_equal(vferry_ram_new(&ram), 0);
	assert_int_equal(
		vferry_ram_create_block(ram, "ram0", 0x40000000, RAM_PAGES * PAGE, 0, NULL), 0);
	for (uint64_t page = 10; page < RAM_PAGES; page += 100)
		assert_int_equal(vferry_ram_write(ram, 0x40000000 + page * PAGE + 5, &byte, 1), 0);
	assert_int_equal(vf_file_writer_new(f->path, ram, &writer, NULL), 0);
	send_all(vf_file_writer_channel(writer), f);
	assert_int_equal(vf_file_write_pages(writer, &options, &stats, NULL), 0);
	assert_int_equal(vf_file_writer_finish(writer, NULL), 0);
	(void) vf_file_writer_free(writer);
	(void) vferry_ram_free(ram);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	free(f);
	return 0;
}

/* ---- looking ---- */

static void note_frame(void *user, const struct vferry_inspect_frame *frame)
{
	struct fixture *f = user;

	if (f->count == FRAMES)
		return;
	f->offsets[f->count] = frame->offset;
	f->types[f->count] = frame->type;
	f->intact[f->count] = frame->intact;
	strcpy(f->details[f->count++], frame->detail);
}

static struct vferry_inspection *look(struct fixture *f)
{
	struct vferry_inspect_options options = VFERRY_INSPECT_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_inspection *i;

	f->count = 0;
	options.verify = true;
	options.frame = note_frame;
	options.user = f;
	if (vferry_inspect(f->path, &options, &i, &err))
		fail_msg("%s", err.message);
	return i;
}

static void look_away(struct vferry_inspection *i)
{
	assert_null(vferry_inspection_free(i));
}

static void expect_problem(const struct vferry_inspection *i, uint64_t offset, const char *what,
			   const char *part)
{
	for (size_t n = 0; n < i->problems_listed; n++)
		if (i->problems[n].offset == offset && !strcmp(i->problems[n].what, what) &&
		    strstr(i->problems[n].message, part))
			return;
	for (size_t n = 0; n < i->problems_listed; n++)
		print_message("%llu: %s: %s\n", (unsigned long long) i->problems[n].offset,
			      i->problems[n].what, i->problems[n].message);
	fail_msg("no problem at %llu: %s: %s", (unsigned long long) offset, what, part);
}

/* Turns bits of one byte of the file. */
static void damage(const struct fixture *f, uint64_t at, uint8_t bits)
{
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t) at), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t) at), 1);
	close(fd);
}

static void a_good_file_is_shown(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i = look(f);

	for (size_t n = 0; n < i->problems_listed; n++)
		fail_msg("%s: %s", i->problems[n].what, i->problems[n].message);
	assert_int_equal(i->problem_count, 0);
	assert_int_equal(i->file_version, 1);
	assert_int_equal(i->session_id[1], 0xcd);
	assert_string_equal(i->software, "a test");
	assert_string_equal(i->machine, "made-up");
	assert_int_equal(i->block_count, 1);
	assert_int_equal(i->blocks[0].data_pages, 6);
	assert_int_equal(i->blocks[0].gpa, 0x40000000);
	assert_int_equal(i->verified_pages, 6);
	assert_int_equal(i->component_count, 3);
	assert_int_equal(i->components[GIC].sections[0].bytes, 9);
	assert_memory_equal(i->components[GIC].sections[0].body, "registers", 9);
	assert_int_equal(i->components[GIC].sections[0].version, 3);
	assert_int_equal(i->components[GIC].sections[0].body_version, 1);
	assert_false(i->components[GIC].sections[0].is_config);
	assert_true(i->components[PCI].has_ids);
	assert_int_equal(i->components[PCI].vendor, 0x1d1d);
	assert_int_equal(i->components[PCI].class_code, 0x120000);
	assert_true(i->components[PCI].sections[1].is_config);
	assert_int_equal(i->components[VFIO].stream.generation, 4);
	assert_int_equal(i->components[VFIO].stream.bytes, 3000);
	assert_int_equal(i->components[VFIO].stream.initial_bytes, 1000);
	assert_int_equal(i->components[VFIO].stream.stopped_bytes, 1000);
	assert_true(i->components[VFIO].stream.ended);
	assert_int_equal(i->dependency_count, 1);
	assert_int_equal(i->dependencies[0].then_section, 2);
	assert_int_equal(i->manifest_pages_normal, 5);
	assert_int_equal(f->count, FRAMES);
	assert_int_equal(f->offsets[0], i->frames_offset);
	assert_int_equal(f->offsets[11], i->manifest_offset);
	assert_string_equal(f->types[4], "stream-data");
	assert_string_equal(f->details[4], "generation 4, 1000 bytes at 0");
	assert_string_equal(f->details[2], "section 1, version 1");
	look_away(i);
}

static void find_field(void *user, const struct vferry_inspect_field *field)
{
	unsigned *found = user;

	*found |= (unsigned) !strcmp(field->group, "capability MSI-X") << 0;
	*found |= (unsigned) !strcmp(field->group, "extended capability AER") << 1;
	*found |= (unsigned) (!strcmp(field->name, "vendor") && strstr(field->value, "1d1d")) << 2;
}

static void config_space_is_decoded(void **state)
{
	struct vferry_inspection *i = look(*state);
	const struct vferry_inspect_section *s = &i->components[PCI].sections[0];
	unsigned found = 0;

	assert_int_equal(vferry_inspect_config(s->body, s->bytes, find_field, &found, NULL), 0);
	assert_int_equal(found, 7);
	assert_true(vferry_inspect_config(s->body, s->bytes - 1, find_field, &found, NULL) < 0);
	assert_true(vferry_inspect_config(NULL, 0, find_field, &found, NULL) < 0);
	look_away(i);
}

static void a_broken_body_is_named_and_the_rest_shown(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i;

	look_away(look(f));
	damage(f, f->offsets[7] + VF_FRAME_HEADER_BYTES + 10, 1);
	i = look(f);
	expect_problem(i, f->offsets[7], "frame",
		       "section frame 7: its body of 17 bytes has checksum");
	expect_problem(i, f->offsets[11], "manifest",
		       "gic:registers: 9 bytes were expected, the section is "
		       "missing");
	assert_int_equal(i->problem_count, 2);
	assert_int_equal(f->count, FRAMES);
	assert_false(f->intact[7]);
	assert_true(f->intact[8]);
	assert_true(i->components[VFIO].stream.ended);
	look_away(i);
}

static void a_broken_header_is_stepped_over(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i;
	uint64_t at, next;
	char text[80];

	look_away(look(f));
	at = f->offsets[4];
	next = f->offsets[5];
	damage(f, at + 12, 0x80);	/* its length */
	i = look(f);
	(void) snprintf(text, sizeof(text), "readable again at offset %llu, 1048 bytes further",
			(unsigned long long) next);
	expect_problem(i, at, "frame", "frame 4: its header has checksum");
	expect_problem(i, at, "frame", text);
	expect_problem(i, next, "frame", "frame 4 was expected, this is number 5");
	expect_problem(i, next, "stream",
		       "vfio/00:04.0: generation 4 at byte 0 was expected, this is "
		       "generation 4 at 1000");
	assert_int_equal(f->count, FRAMES - 1);
	assert_int_equal(i->components[PCI].sections[1].times, 1);
	assert_true(i->components[VFIO].stream.ended);
	look_away(i);
}

static void a_frame_that_is_none_is_named(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i;

	look_away(look(f));
	damage(f, f->offsets[11], 0xff);	/* the mark of the last */
	i = look(f);
	expect_problem(i, f->offsets[11], "frame", "frame 11 was expected: no frame begins here");
	expect_problem(i, f->offsets[11], "frame", "nothing is readable behind it");
	expect_problem(i, i->file_bytes, "file", "12 frames were expected, the last is number 10");
	expect_problem(i, i->file_bytes, "file", "a manifest was expected");
	look_away(i);
}

static void a_cut_file_is_shown_up_to_the_cut(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i;
	uint64_t cut;

	look_away(look(f));
	cut = f->offsets[8] + 100;
	assert_int_equal(truncate(f->path, (off_t) cut), 0);
	i = look(f);
	expect_problem(i, f->offsets[8], "frame",
		       "a body of 2016 bytes was expected behind it, there are 68");
	expect_problem(i, cut, "file", "the file ends here");
	expect_problem(i, cut, "stream", "vfio/00:04.0: the stream has no end; 1000 bytes");
	assert_int_equal(f->count, 8);
	assert_int_equal(i->verified_pages, 6);
	assert_int_equal(i->components[GIC].sections[0].bytes, 9);
	look_away(i);
	assert_int_equal(truncate(f->path, 3 * (off_t) PAGE + 1), 0);
	i = look(f);
	expect_problem(i, 3 * PAGE + 1, "file", "the file ends here");
	expect_problem(i, 3 * PAGE + 1, "pages", "before page 10 of block 0");
	expect_problem(i, 3 * PAGE + 1, "file", "a machine frame was expected");
	assert_int_equal(i->blocks[0].data_pages, 6);
	look_away(i);
	assert_int_equal(truncate(f->path, 100), 0);
	i = look(f);
	expect_problem(i, 100, "header", "the file ends after 100");
	assert_int_equal(i->file_version, 0);
	look_away(i);
}

static void a_broken_page_is_named_when_asked(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i = look(f);
	uint64_t at = i->blocks[0].offset + 210 * PAGE;

	look_away(i);
	damage(f, at + 5, 2);
	i = look(f);
	expect_problem(i, at, "pages", "page 210 of block 0 has checksum");
	assert_int_equal(i->problem_count, 1);
	assert_int_equal(i->verified_pages, 5);
	look_away(i);
	assert_int_equal(vferry_inspect(f->path, NULL, &i, NULL), 0);
	assert_int_equal(i->problem_count, 0);
	look_away(i);
}

static void broken_bitmaps_and_headers_are_named(void **state)
{
	struct fixture *f = *state;
	struct vferry_inspection *i;

	damage(f, PAGE + 3, 1);
	i = look(f);
	expect_problem(i, PAGE, "bitmaps", "which pages are zero is not known");
	assert_int_equal(i->component_count, 3);
	look_away(i);
	damage(f, 30, 1);
	i = look(f);
	expect_problem(i, 0, "header", "its checksum is wrong");
	look_away(i);
	damage(f, 0, 1);
	i = look(f);
	expect_problem(i, 0, "header", "this is not a saved machine");
	assert_int_equal(i->problem_count, 1);
	look_away(i);
}

static void what_is_no_file_is_refused(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_inspect_options options = { .size = 1 };
	struct vferry_inspection *i;

	(void) state;
	assert_int_equal(vferry_inspect("/nonexistent/file", NULL, &i, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/file"));
	assert_int_equal(vferry_inspect("/dev/null", NULL, &i, NULL), -EINVAL);
	assert_int_equal(vferry_inspect("/", NULL, &i, NULL), -EINVAL);
	assert_int_equal(vferry_inspect("/dev/null", &options, &i, NULL), -EINVAL);
	assert_null(vferry_inspection_free(NULL));
}

#define WITH_FILE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(a_good_file_is_shown),
		WITH_FILE(config_space_is_decoded),
		WITH_FILE(a_broken_body_is_named_and_the_rest_shown),
		WITH_FILE(a_broken_header_is_stepped_over),
		WITH_FILE(a_frame_that_is_none_is_named),
		WITH_FILE(a_cut_file_is_shown_up_to_the_cut),
		WITH_FILE(a_broken_page_is_named_when_asked),
		WITH_FILE(broken_bitmaps_and_headers_are_named),
		cmocka_unit_test(what_is_no_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
