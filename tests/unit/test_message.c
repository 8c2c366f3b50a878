/* SPDX-License-Identifier: MIT */
/* wire/message: what is written is read back; every cut and every lie about a count is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "wire/message.h"

static void machine_round_trip_and_cuts(void **state)
{
	uint8_t identity[3] = { 7, 8, 9 };
	struct vf_wire_section sections[2] = {
		{ .id = 1, .version = 1, .max_bytes = 4096, .name = "config" },
		{ .id = 2, .version = 3, .max_bytes = 8192, .name = "config-final" },
	};
	struct vf_wire_component components[2] = {
		{ .name = "gic", .identity = identity, .identity_bytes = 3 },
		{ .name = "pci/00:04.0", .device = "00:04.0", .has_stream = true,
		  .section_count = 2, .sections = sections },
	};
	struct vf_wire_block block = { .name = "ram0", .gpa = 0x40000000, .bytes = 1 << 20 };
	struct vf_wire_dependency dependency = { 0, 1, 1, 2 };
	struct vf_machine m = {
		.description = "soft-arm64", .verify = true, .max_downtime_ns = 5,
		.block_count = 1, .blocks = &block, .component_count = 2, .components = components,
		.dependency_count = 1, .dependencies = &dependency,
	}, back;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, 1 << 20);
	vf_machine_encode(&w, &m);
	assert_false(w.bad);
	assert_int_equal(vf_machine_decode(w.data, w.size, &back, &err), 0);
	assert_string_equal(back.components[1].device, "00:04.0");
	assert_true(back.components[1].has_stream);
	assert_int_equal(back.components[1].sections[1].max_bytes, 8192);
	assert_memory_equal(back.components[0].identity, identity, 3);
	assert_true(back.blocks[0].gpa == 0x40000000);
	assert_int_equal(back.dependencies[0].then_section, 2);
	vf_machine_done(&back);
	for (size_t cut = 0; cut < w.size; cut++)
		assert_int_equal(vf_machine_decode(w.data, cut, &back, NULL), -EBADMSG);
	vf_writer_done(&w);
}

static void equal_names_are_refused(void **state)
{
	struct vf_wire_component components[2] = { { .name = "gic" }, { .name = "gic" } };
	struct vf_machine m = { .component_count = 2, .components = components }, back;
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, 1 << 20);
	vf_machine_encode(&w, &m);
	assert_int_equal(vf_machine_decode(w.data, w.size, &back, NULL), -EBADMSG);
	vf_writer_done(&w);
}

static void counts_are_checked_before_allocation(void **state)
{
	struct vf_refuse back;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t lie[8] = { 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };

	(void) state;
	assert_int_equal(vf_refuse_decode(lie, sizeof(lie), &back, &err), -EBADMSG);
	assert_string_equal(err.id, "stream-malformed");
	assert_non_null(strstr(err.message, "refuse"));
}

static void another_major_is_named(void **state)
{
	struct vf_hello m = { .major = 9, .minor = 1, .purpose = VF_PURPOSE_MIGRATE,
			      .channel_count = 1 }, back;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, 256);
	vf_hello_encode(&w, &m);
	assert_int_equal(vf_hello_decode(w.data, w.size, &back, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.message, "9.1"));
	vf_writer_reset(&w);
	m.major = VF_STREAM_MAJOR;
	m.channel = 1;
	vf_hello_encode(&w, &m);
	assert_int_equal(vf_hello_decode(w.data, w.size, &back, NULL), -EBADMSG);
	vf_writer_done(&w);
}

static void failure_keeps_all_its_words(void **state)
{
	struct vferry_error m = VFERRY_ERROR_INIT, back;
	struct vf_writer w;

	(void) state;
	(void) vferry_error_set(&m, -EIO, "device-refused", "vfio/00:04.0", "RESUMING->STOP: EIO");
	vferry_error_phase(&m, "load");
	vf_writer_init(&w, 4096);
	vf_failure_encode(&w, &m);
	assert_int_equal(vf_failure_decode(w.data, w.size, &back, NULL), 0);
	assert_memory_equal(&m, &back, sizeof(m));
	vf_writer_done(&w);
}

static void vectors_round_trip_and_cuts(void **state)
{
	struct vf_vector_run runs[2] = {
		{ .count = 3, .connected = true, .forwarded = VFERRY_FORWARDED_YES },
		{ .count = 1, .connected = true, .forwarded = VFERRY_FORWARDED_NO,
		  .reason = "KVM injects it" },
	};
	struct vf_device_vectors devices[2] = {
		{ .address = "00:04.0", .run_count = 2, .runs = runs }, { .address = "00:05.0" },
	};
	struct vf_vectors m = { 2, devices }, back;
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, 4096);
	vf_vectors_encode(&w, &m);
	assert_int_equal(vf_vectors_decode(w.data, w.size, &back, NULL), 0);
	assert_int_equal(back.device_count, 2);
	assert_string_equal(back.devices[1].address, "00:05.0");
	assert_int_equal(back.devices[0].runs[0].forwarded, VFERRY_FORWARDED_YES);
	assert_string_equal(back.devices[0].runs[1].reason, "KVM injects it");
	vf_vectors_done(&back);
	for (size_t cut = 0; cut < w.size; cut++)
		assert_int_equal(vf_vectors_decode(w.data, cut, &back, NULL), -EBADMSG);
	vf_writer_done(&w);
}

static void refuse_vectors(const struct vf_vectors *m, const char *why)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_vectors back;
	struct vf_writer w;

	vf_writer_init(&w, 1 << 20);
	vf_vectors_encode(&w, m);
	assert_false(w.bad);
	assert_int_equal(vf_vectors_decode(w.data, w.size, &back, &err), -EBADMSG);
	if (!strstr(err.message, why))
		fail_msg("\"%s\" does not say \"%s\"", err.message, why);
	vf_writer_done(&w);
}

static void vectors_have_bounds(void **state)
{
	static struct vf_vector_run many[VF_MAX_VECTORS + 1];
	struct vf_vector_run run = { .count = 1, .connected = true };
	struct vf_device_vectors devices[5] = { { .address = "00:04.0", .run_count = 1, .runs = &run } };
	struct vf_vectors m = { 1, devices };

	(void) state;
	run.count = 0;
	refuse_vectors(&m, "out of bounds");
	run.count = VF_MAX_VECTORS + 1;
	refuse_vectors(&m, "out of bounds");
	run.count = 1;
	run.forwarded = 3;
	refuse_vectors(&m, "is no answer");
	run.forwarded = VFERRY_FORWARDED_YES;
	run.connected = false;
	refuse_vectors(&m, "not connected");
	(void) strcpy(run.reason, "\033[2J");
	run.forwarded = VFERRY_FORWARDED_NO;
	refuse_vectors(&m, "printable");
	for (size_t i = 0; i < VF_MAX_VECTORS + 1; i++)
		many[i].count = 1;
	devices[0] = (struct vf_device_vectors) { "00:04.0", VF_MAX_VECTORS + 1, many };
	refuse_vectors(&m, "out of bounds");
	/* Each device within its bound, and all together beyond theirs. */
	for (uint32_t i = 0; i < 5; i++) {
		devices[i] = (struct vf_device_vectors) { .run_count = VF_MAX_VECTORS, .runs = many };
		(void) snprintf(devices[i].address, sizeof(devices[i].address), "00:%02x.0", i);
	}
	m.device_count = 5;
	refuse_vectors(&m, "over its bound");
	m.device_count = 2;
	devices[1] = devices[0] = (struct vf_device_vectors) { .address = "00:04.0" };
	refuse_vectors(&m, "that of two devices");
}

static void manifest_round_trip(void **state)
{
	struct vf_manifest_section s = { 1, 2, 3, 4 };
	struct vf_manifest_stream t = { 1, 2, 3, 4 };
	struct vf_channel_count c = { 5, 6 };
	struct vf_manifest m = { 10, 20, 1, &s, 1, &t, 1, &c }, back;
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, 4096);
	vf_manifest_encode(&w, &m);
	assert_int_equal(vf_manifest_decode(w.data, w.size, &back, NULL), 0);
	assert_true(back.pages_zero == 20 && back.streams[0].bytes == 3 &&
		    back.channels[0].bytes == 6 && back.sections[0].crc == 4);
	vf_manifest_done(&back);
	for (size_t cut = 0; cut < w.size; cut++)
		assert_int_equal(vf_manifest_decode(w.data, cut, &back, NULL), -EBADMSG);
	vf_writer_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machine_round_trip_and_cuts),
		cmocka_unit_test(equal_names_are_refused),
		cmocka_unit_test(counts_are_checked_before_allocation),
		cmocka_unit_test(another_major_is_named),
		cmocka_unit_test(failure_keeps_all_its_words),
		cmocka_unit_test(manifest_round_trip),
		cmocka_unit_test(vectors_round_trip_and_cuts),
		cmocka_unit_test(vectors_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
