/* SPDX-License-Identifier: MIT */
/* test_frame.c - the 32-byte frame header: its bytes, and everything that makes it invalid. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "wire/frame.h"

static const struct vf_frame frame = {
	.type = VF_FRAME_SECTION, .flags = VF_FRAME_OPTIONAL, .component = 0x01020304,
	.length = 0x50607, .sequence = 0x1112131415161718, .body_crc = 0x21222324,
};

static void encode(uint8_t bytes[VF_FRAME_HEADER_BYTES], const struct vf_frame *f)
{
	memset(bytes, 0xee, VF_FRAME_HEADER_BYTES);
	vf_frame_encode(f, bytes);
}

static void test_layout(void **state)
{
	static const uint8_t expected[28] = {
		'V', 'r', 'F', '1', 7, 0, 1, 0, 4, 3, 2, 1, 7, 6, 5, 0,
		0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x24, 0x23, 0x22, 0x21,
	};
	uint8_t bytes[VF_FRAME_HEADER_BYTES];

	(void) state;
	encode(bytes, &frame);
	assert_memory_equal(bytes, expected, sizeof(expected));
	assert_int_equal(vf_get_u32(bytes + 28), vf_crc32c(0, expected, 28));
}

static void test_round_trip(void **state)
{
	uint8_t bytes[VF_FRAME_HEADER_BYTES];
	struct vf_frame got;

	(void) state;
	encode(bytes, &frame);
	assert_int_equal(vf_frame_decode(bytes, VF_FRAME_MAX_BYTES, &got, NULL), 0);
	assert_int_equal(got.type, frame.type);
	assert_int_equal(got.flags, frame.flags);
	assert_int_equal(got.component, frame.component);
	assert_int_equal(got.length, frame.length);
	assert_int_equal(got.sequence, frame.sequence);
	assert_int_equal(got.body_crc, frame.body_crc);
}

static void test_every_bit_counts(void **state)
{
	uint8_t bytes[VF_FRAME_HEADER_BYTES];
	struct vf_frame got = { .type = 99 };

	(void) state;
	encode(bytes, &frame);
	for (unsigned bit = 0; bit < VF_FRAME_HEADER_BYTES * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t) (1u << (bit % 8));
		assert_int_equal(vf_frame_decode(bytes, UINT32_MAX, &got, NULL), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t) (1u << (bit % 8));
	}
	assert_int_equal(got.type, 99);	/* untouched on failure */
}

static void test_length_is_bounded(void **state)
{
	uint8_t bytes[VF_FRAME_HEADER_BYTES];
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_frame got;

	(void) state;
	encode(bytes, &frame);
	assert_int_equal(vf_frame_decode(bytes, frame.length, &got, NULL), 0);
	assert_int_equal(vf_frame_decode(bytes, frame.length - 1, &got, &err), -EMSGSIZE);
	assert_string_equal(err.id, "frame-length");
}

static void test_unknown_types(void **state)
{
	uint8_t bytes[VF_FRAME_HEADER_BYTES];
	struct vf_frame f = { .type = 999 }, got;

	(void) state;
	assert_null(vf_frame_type_name(0));
	assert_null(vf_frame_type_name(999));
	assert_string_equal(vf_frame_type_name(VF_FRAME_INITIAL_ACK), "initial-ack");
	for (uint16_t type = VF_FRAME_HELLO; type <= VF_FRAME_DIGEST; type++)
		assert_non_null(vf_frame_type_name(type));
	encode(bytes, &f);
	assert_int_equal(vf_frame_decode(bytes, 0, &got, NULL), -EPROTO);
	f.flags = VF_FRAME_OPTIONAL;
	encode(bytes, &f);
	assert_int_equal(vf_frame_decode(bytes, 0, &got, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_length_is_bounded),
		cmocka_unit_test(test_unknown_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
