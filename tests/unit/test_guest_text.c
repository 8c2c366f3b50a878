/* SPDX-License-Identifier: MIT */
/* test_guest_text.c - lines as guests read and write them: cut where they must be, never beyond. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "guest/text.h"

static void test_lines_are_cut(void **state)
{
	char line[9];
	struct guest_text text;

	(void) state;
	memset(line, 'x', sizeof(line));
	guest_text_init(&text, line, 8);
	guest_text_add(&text, "vCPU ");
	guest_text_add_number(&text, 12345);
	assert_string_equal(line, "vCPU 12");
	assert_int_equal(text.length, 7);
	assert_int_equal(line[8], 'x');
	guest_text_init(&text, line, 1);
	guest_text_add(&text, "anything");
	assert_string_equal(line, "");
}

static void test_numbers_are_written(void **state)
{
	static const struct { uint64_t value; const char *decimal, *hex; } cases[] = {
		{ 0, "0", "0x0" },
		{ 10, "10", "0xa" },
		{ UINT64_MAX, "18446744073709551615", "0xffffffffffffffff" },
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guest_text text;
		char line[32];

		guest_text_init(&text, line, sizeof(line));
		guest_text_add_number(&text, cases[i].value);
		assert_string_equal(line, cases[i].decimal);
		guest_text_init(&text, line, sizeof(line));
		guest_text_add_hex(&text, cases[i].value);
		assert_string_equal(line, cases[i].hex);
	}
}

static void test_numbers_are_read(void **state)
{
	static const struct { const char *text; uint64_t value; } good[] = {
		{ "0", 0 }, { "007", 7 }, { "0x10", 16 }, { "0XfF", 255 },
		{ "18446744073709551615", UINT64_MAX }, { "0xffffffffffffffff", UINT64_MAX },
	};
	static const char *const bad[] = { "", "0x", "-1", "+1", " 1", "1 ", "12a", "0xg", "18446744073709551616",
					   "0x10000000000000000" };
	uint64_t value;

	(void) state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(guest_text_number(good[i].text, &value));
		assert_int_equal(value, good[i].value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		value = 42;
		assert_false(guest_text_number(bad[i], &value));
		assert_int_equal(value, 42);
	}
}

static void test_words(void **state)
{
	const char *at = "  one\ttwo  threehundred ";
	char word[6];

	(void) state;
	assert_true(guest_text_word(&at, " \t", word, sizeof(word)));
	assert_string_equal(word, "one");
	assert_true(guest_text_word(&at, " \t", word, sizeof(word)));
	assert_string_equal(word, "two");
	/* Too long for its room: not taken, not cut. */
	assert_false(guest_text_word(&at, " \t", word, sizeof(word)));
	assert_string_equal(at, "  threehundred ");
	at = "last";
	assert_true(guest_text_word(&at, " ", word, sizeof(word)));
	assert_false(guest_text_word(&at, " ", word, sizeof(word)));
	assert_true(guest_text_equal("a", "a"));
	assert_false(guest_text_equal("a", "ab"));
	assert_false(guest_text_equal("ab", "a"));
	assert_null(guest_text_find("abc", 'd'));
	assert_int_equal(guest_text_length("abc"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_cut),
		cmocka_unit_test(test_numbers_are_written),
		cmocka_unit_test(test_numbers_are_read),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
