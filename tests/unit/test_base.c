/* SPDX-License-Identifier: MIT */
/* base: errors, cursors, bitmaps, CRC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include <vferry/error.h>
#include "base/bitmap.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "base/crc32c_forms.h"

static void first_error_counts(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	assert_int_equal(vferry_error_set(&err, -EINVAL, "first", "ram", "page %d", 7), -EINVAL);
	assert_int_equal(vferry_error_set(&err, -EIO, "second", "gic", "x"), -EIO);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.id, "first");
	assert_string_equal(err.message, "page 7");
	vferry_error_phase(&err, "setup");
	vferry_error_phase(&err, "load");
	assert_string_equal(err.phase, "setup");
	assert_string_equal(vferry_errno_name(-EBUSY), "EBUSY");
	assert_string_equal(vferry_errno_name(9999), "E?");
	assert_int_equal(vferry_error_set(NULL, -EIO, "x", NULL, "y"), -EIO);
}

static void reader_stops_at_the_end(void **state)
{
	uint8_t data[] = { 1, 2, 3, 4, 5, 6, 7 };
	struct vf_reader r = vf_reader_of(data, sizeof(data));

	(void) state;
	assert_int_equal(vf_read_u32(&r), 0x04030201);
	assert_int_equal(vf_read_u32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(vf_read_u8(&r), 0);
	assert_false(vf_reader_done(&r));
}

static void writer_keeps_its_limit(void **state)
{
	struct vf_writer w;
	struct vf_reader r;
	char text[8];

	(void) state;
	vf_writer_init(&w, 20);
	vf_write_u64(&w, 0x1122334455667788);
	vf_write_string(&w, "gic");
	vf_write_u16(&w, 0xabcd);
	assert_false(w.bad);
	r = vf_reader_of(w.data, w.size);
	assert_true(vf_read_u64(&r) == 0x1122334455667788);
	vf_read_string(&r, text, sizeof(text));
	assert_string_equal(text, "gic");
	assert_int_equal(vf_read_u16(&r), 0xabcd);
	assert_true(vf_reader_done(&r));
	vf_write_u64(&w, 1);
	assert_true(w.bad);
	assert_int_equal(w.size, 15);
	vf_writer_done(&w);
}

static void strings_are_bounded(void **state)
{
	uint8_t longer[] = { 4, 0, 'a', 'b', 'c', 'd' };
	uint8_t with_nul[] = { 2, 0, 'a', 0 };
	struct vf_reader r = vf_reader_of(longer, sizeof(longer));
	char text[4];

	(void) state;
	vf_read_string(&r, text, sizeof(text));
	assert_true(r.bad);
	r = vf_reader_of(with_nul, sizeof(with_nul));
	vf_read_string(&r, text, sizeof(text));
	assert_true(r.bad);
}

static void bitmap_ranges(void **state)
{
	struct vf_bitmap map;
	uint64_t words[2] = { 1, 1ull << 63 };

	(void) state;
	assert_int_equal(vf_bitmap_init(&map, 200), 0);
	vf_bitmap_set_range(&map, 60, 70);
	assert_int_equal(vf_bitmap_count(&map, 0, 200), 70);
	assert_int_equal(vf_bitmap_next_set(&map, 0, 200), 60);
	assert_int_equal(vf_bitmap_next_clear(&map, 60, 200), 130);
	vf_bitmap_clear_range(&map, 64, 64);
	assert_int_equal(vf_bitmap_count(&map, 0, 200), 6);
	assert_int_equal(vf_bitmap_next_set(&map, 64, 100), 100);
	assert_true(vf_bitmap_take_word_atomic(&map, 0) == 0xfull << 60);
	assert_true(vf_bitmap_take_word_atomic(&map, 0) == 0);
	vf_bitmap_or_words_atomic(&map, 0, words, 2);
	assert_true(vf_bitmap_test(&map, 0));
	assert_true(vf_bitmap_test(&map, 127));
	vf_bitmap_clear_all(&map);
	assert_int_equal(vf_bitmap_count(&map, 0, 200), 0);
	vf_bitmap_done(&map);
	assert_int_equal(vf_bitmap_init(&map, UINT64_MAX), -ENOMEM);
}

static void crc_matches_rfc3720(void **state)
{
	uint8_t zeros[32] = { 0 }, ones[32];

	(void) state;
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(vf_crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(vf_crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(vf_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(vf_crc32c(vf_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void ranges_never_overflow(void **state)
{
	(void) state;
	assert_true(vf_range_in(0, 0, 0));
	assert_true(vf_range_in(4, 4, 8));
	assert_false(vf_range_in(5, 4, 8));
	assert_false(vf_range_in(UINT64_MAX, 2, 8));
	assert_false(vf_range_in(2, UINT64_MAX, 8));
}

/* By the definition: bit by bit. */
static uint32_t plain_crc(const uint8_t *p, size_t size)
{
	uint32_t crc = ~0u;

	for (; size; size--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

#define PAGE VF_PAGE_BYTES
#define PAGES 27u	/* as many as are summed at once, and three */

static void fill(uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t) (i * 2654435761u >> 13);
}

/* Lengths around those at which long data is taken in pages, at all alignments. */
static void crc_of_long_data_and_of_parts(void **state)
{
	static const size_t lengths[] = { 0, 1, 7, 8, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1, 3 * PAGE,
					  3 * PAGE + 1, 6 * PAGE, 40001, 8 * PAGE - 1, 8 * PAGE, 9 * PAGE + 5, 24 * PAGE,
					  PAGES * PAGE + 7 };
	static uint8_t data[PAGES * PAGE + 16];

	(void) state;
	fill(data, sizeof(data));
	for (size_t i = 0; i < VF_ARRAY_COUNT(lengths); i++) {
		const uint8_t *p = data + i % 9;
		size_t size = lengths[i], first = size / 3;
		uint32_t whole = plain_crc(p, size), rest = vf_crc32c(0, p + first, size - first);

		assert_int_equal(vf_crc32c(0, p, size), whole);
		assert_int_equal(vf_crc32c(vf_crc32c(0, p, first), p + first, size - first), whole);
		assert_int_equal(vf_crc32c_combine(vf_crc32c(0, p, first), rest, size - first), whole);
	}
	assert_int_equal(vf_crc32c_power(4096), 0x35d73a62);
}

static void crc_of_pages(void **state)
{
	static uint8_t pages[PAGES * PAGE];
	static const uint8_t zeros[5000];
	uint32_t crcs[PAGES + 1], sum = 0;

	(void) state;
	fill(pages, sizeof(pages));
	for (size_t count = 0; count <= PAGES; count++) {
		crcs[count] = 0x5a5a5a5a;
		vf_crc32c_pages(pages, count, crcs);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(crcs[i], plain_crc(pages + i * PAGE, PAGE));
		assert_int_equal(crcs[count], 0x5a5a5a5a);
	}
	for (size_t i = 0; i < PAGES; i++)
		sum = vf_crc32c_append_page(sum, crcs[i]);
	assert_int_equal(sum, plain_crc(pages, sizeof(pages)));
	assert_int_equal(vf_crc32c_append_zeros(sum, 5000), vf_crc32c(sum, zeros, 5000));
	assert_int_equal(vf_crc32c_append_zeros(sum, 0), sum);
}

/* All that this processor can do, not only what it does best; at any address. */
static void crc_by_every_form(void **state)
{
	static const char *const names[] = { "generic", "sse4.2", "armv8", "vpclmulqdq" };
	static uint8_t data[8 * PAGE + 3];
	unsigned tried = 0;

	(void) state;
	fill(data, sizeof(data));
	assert_null(vf_crc32c_form_named("abacus"));
	for (size_t n = 0; n < VF_ARRAY_COUNT(names); n++) {
		const struct vf_crc32c_form *form = vf_crc32c_form_named(names[n]);
		const uint8_t *p = data + n % 4;
		uint32_t crcs[8];

		if (!form)
			continue;
		assert_string_equal(form->name, names[n]);
		assert_in_range(form->at_once, 1, VF_ARRAY_COUNT(crcs));
		form->sum_pages(p, crcs);
		for (size_t i = 0; i < form->at_once; i++)
			assert_int_equal(crcs[i], plain_crc(p + i * PAGE, PAGE));
		assert_int_equal(form->sum_page(p), crcs[0]);
		assert_int_equal(~form->update(~0u, p, 1001), plain_crc(p, 1001));
		assert_int_equal(form->append_page(crcs[0], plain_crc(p + PAGE, PAGE)),
				 plain_crc(p, 2 * PAGE));
		tried++;
	}
	assert_true(tried >= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_error_counts),
		cmocka_unit_test(reader_stops_at_the_end),
		cmocka_unit_test(writer_keeps_its_limit),
		cmocka_unit_test(strings_are_bounded),
		cmocka_unit_test(bitmap_ranges),
		cmocka_unit_test(crc_matches_rfc3720),
		cmocka_unit_test(crc_of_long_data_and_of_parts),
		cmocka_unit_test(crc_of_pages),
		cmocka_unit_test(crc_by_every_form),
		cmocka_unit_test(ranges_never_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
