/* SPDX-License-Identifier: MIT */
/* test_pages.c - tables of page frames: round trips, channels, and what must be refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "wire/pages.h"

static const uint64_t blocks[] = { 1000, 1ull << 29 };

static struct vf_pages chunk(void)
{
	return (struct vf_pages) {
		.form = VF_PAGES_CHUNK, .block = 0, .run_count = 3, .first = 768,
		.stored = 4 * (uint32_t) VF_PAGE_BYTES,
		.runs = {
			{ .page = 768, .count = 3, .kind = VF_PAGES_DATA },
			{ .page = 771, .count = 10, .kind = VF_PAGES_ZERO },
			{ .page = 999, .count = 1, .kind = VF_PAGES_DATA },
		},
	};
}

static struct vf_pages ranges(void)
{
	return (struct vf_pages) {
		.form = VF_PAGES_ZERO_RANGES, .block = 1, .run_count = 2,
		.runs = {
			{ .page = 5, .count = 1, .kind = VF_PAGES_ZERO },
			{ .page = 600, .count = (1ull << 29) - 600, .kind = VF_PAGES_ZERO },
		},
	};
}

static int decode_bytes(const uint8_t *table, size_t bytes, uint32_t length, struct vf_pages *ret)
{
	return vf_pages_decode(table, bytes, length, blocks, VF_ARRAY_COUNT(blocks), ret, NULL);
}

static int decode(const struct vf_pages *pages, struct vf_pages *ret)
{
	uint8_t table[VF_PAGES_MAX_TABLE_BYTES];
	size_t bytes = vf_pages_table_bytes(pages);

	vf_pages_encode(pages, table);
	return decode_bytes(table, bytes, (uint32_t) bytes + pages->stored, ret);
}

static void assert_same(const struct vf_pages *a, const struct vf_pages *b)
{
	assert_int_equal(a->form, b->form);
	assert_int_equal(a->codec, b->codec);
	assert_int_equal(a->block, b->block);
	assert_int_equal(a->first, b->first);
	assert_int_equal(a->stored, b->stored);
	assert_int_equal(a->data_crc, b->data_crc);
	assert_int_equal(a->run_count, b->run_count);
	for (unsigned i = 0; i < a->run_count; i++) {
		assert_int_equal(a->runs[i].page, b->runs[i].page);
		assert_int_equal(a->runs[i].count, b->runs[i].count);
		assert_int_equal(a->runs[i].kind, b->runs[i].kind);
	}
}

static void test_round_trips(void **state)
{
	struct vf_pages pages = chunk(), got;

	(void) state;
	assert_int_equal(decode(&pages, &got), 0);
	assert_same(&pages, &got);
	assert_int_equal(got.data_pages, 4);
	assert_int_equal(vf_pages_table_bytes(&pages), 36);
	pages.codec = VF_CODEC_ZSTD;
	pages.stored = 77;
	pages.data_crc = 0x12345678;
	assert_int_equal(decode(&pages, &got), 0);
	assert_same(&pages, &got);
	pages = ranges();
	assert_int_equal(decode(&pages, &got), 0);
	assert_same(&pages, &got);
	assert_int_equal(got.data_pages, 0);

	pages = (struct vf_pages) { .form = VF_PAGES_CHUNK, .run_count = 256 };
	for (unsigned i = 0; i < 256; i++)
		pages.runs[i] = (struct vf_pages_run) { i, 1, VF_PAGES_ZERO };
	assert_int_equal(decode(&pages, &got), 0);
	assert_same(&pages, &got);
	pages.run_count = 1;
	pages.runs[0] = (struct vf_pages_run) { 0, 256, VF_PAGES_DATA };
	pages.stored = 1 << 20;
	assert_int_equal(decode(&pages, &got), 0);
	assert_int_equal(got.runs[0].count, 256);
}

#define REFUSED(make, change) do {					\
	struct vf_pages pages = make(), got;				\
	change;								\
	assert_int_equal(decode(&pages, &got), -EPROTO);		\
} while (0)

static void test_refused(void **state)
{
	(void) state;
	REFUSED(chunk, pages.block = 2);
	REFUSED(chunk, pages.stored -= 1);
	REFUSED(chunk, pages.stored = 0);
	REFUSED(chunk, pages.data_crc = 1);
	REFUSED(chunk, pages.codec = 3; pages.stored = 1);
	REFUSED(chunk, pages.codec = VF_CODEC_LZ4);	/* no smaller than the pages */
	REFUSED(chunk, pages.codec = VF_CODEC_LZ4; pages.stored = 0);
	REFUSED(chunk, pages.runs[1].page = 770);	/* overlaps */
	REFUSED(chunk, pages.runs[2].count = 2; pages.stored += 4096);	/* behind the block */
	REFUSED(chunk, pages.runs[0].kind = 2);
	REFUSED(chunk, pages.run_count = 1; pages.runs[0].kind = VF_PAGES_ZERO);	/* data of none */
	REFUSED(ranges, pages.block = 0);		/* behind the block */
	REFUSED(ranges, pages.codec = VF_CODEC_LZ4);
	REFUSED(ranges, pages.stored = 1);
	REFUSED(ranges, pages.first = 256);
	REFUSED(ranges, pages.runs[1].count++);
	REFUSED(ranges, pages.runs[1].count = UINT64_MAX - 599);
	REFUSED(ranges, pages.runs[0].count = 0);
	REFUSED(ranges, pages.runs[0].page = 600);
}

static void test_refused_bytes(void **state)
{
	uint8_t table[VF_PAGES_MAX_TABLE_BYTES];
	struct vf_pages pages = chunk(), got;
	uint32_t length = 36 + pages.stored;

	(void) state;
	vf_pages_encode(&pages, table);
	assert_int_equal(decode_bytes(table, 36, length, &got), 0);
	assert_int_equal(decode_bytes(table, 36, length + 1, &got), -EPROTO);
	assert_int_equal(decode_bytes(table, 35, length, &got), -EPROTO);
	assert_int_equal(decode_bytes(table, 23, length, &got), -EPROTO);
	assert_int_equal(vf_pages_peek(table, length, NULL), 36);
	table[0] = 3;
	assert_int_equal(vf_pages_peek(table, length, NULL), -EPROTO);
	table[0] = VF_PAGES_CHUNK;
	table[6] = 1;					/* reserved */
	assert_int_equal(decode_bytes(table, 36, length, &got), -EPROTO);
	table[6] = 0;
	table[24 + 3] = 1;				/* reserved, of a run */
	assert_int_equal(decode_bytes(table, 36, length, &got), -EPROTO);
	table[24 + 3] = 0;
	table[8] = 1;					/* first page: not a chunk's */
	assert_int_equal(decode_bytes(table, 36, length, &got), -EPROTO);
	table[8] = 0;
	table[9] = 4;					/* first page 1024: behind the block */
	assert_int_equal(decode_bytes(table, 36, length, &got), -EPROTO);
	vf_put_u16(table + 4, 0);
	assert_int_equal(vf_pages_peek(table, length, NULL), -EPROTO);
	vf_put_u16(table + 4, 257);
	assert_int_equal(vf_pages_peek(table, 24 + 257 * 4 + pages.stored, NULL), -EPROTO);
	vf_put_u16(table + 4, 3);
	vf_put_u32(table + 16, UINT32_MAX - 35);	/* 36 + stored overflows to 0 */
	assert_int_equal(vf_pages_peek(table, 0, NULL), -EPROTO);
}

static void test_pages_of_channels(void **state)
{
	(void) state;
	for (unsigned channels = 1; channels <= 5; channels++) {
		for (unsigned index = 0; index < channels; index++) {
			uint64_t owned = 0;

			for (uint64_t page = 0; page < 12 * VF_UNIT_PAGES; page++) {
				uint64_t from = vf_pages_owned_from(page, index, channels);
				bool own = vf_pages_channel(page, channels) == index;

				assert_int_equal(vf_pages_owned_before(page, index, channels), owned);
				assert_true(from >= page);
				assert_int_equal(vf_pages_channel(from, channels), index);
				assert_int_equal(from == page, own);
				assert_true(from - page <= (uint64_t) VF_UNIT_PAGES * channels);
				owned += own;
			}
		}
	}
}

static void test_round_end(void **state)
{
	uint8_t body[VF_ROUND_END_BYTES];
	uint32_t round = 0;

	(void) state;
	vf_round_end_encode(0x01020304, body);
	assert_int_equal(vf_round_end_decode(body, sizeof(body), &round, NULL), 0);
	assert_int_equal(round, 0x01020304);
	assert_int_equal(vf_round_end_decode(body, sizeof(body) - 1, &round, NULL), -EPROTO);
	body[4] = 1;
	assert_int_equal(vf_round_end_decode(body, sizeof(body), &round, NULL), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_bytes),
		cmocka_unit_test(test_pages_of_channels),
		cmocka_unit_test(test_round_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
