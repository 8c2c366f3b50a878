/* SPDX-License-Identifier: MIT */
/* text.c - reading and writing lines, where there is no C library; see text.h. */
#include "guest/text.h"

void guest_text_init(struct guest_text *text, char *to, size_t size)
{
	*text = (struct guest_text) { .to = to, .size = size };
	to[0] = '\0';
}

static void add_char(struct guest_text *text, char c)
{
	if (text->length + 1 >= text->size)
		return;
	text->to[text->length++] = c;
	text->to[text->length] = '\0';
}

void guest_text_add(struct guest_text *text, const char *what)
{
	while (*what)
		add_char(text, *what++);
}

static void add_in_base(struct guest_text *text, uint64_t value, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		add_char(text, digits[--count]);
}

void guest_text_add_number(struct guest_text *text, uint64_t value)
{
	add_in_base(text, value, 10);
}

void guest_text_add_hex(struct guest_text *text, uint64_t value)
{
	guest_text_add(text, "0x");
	add_in_base(text, value, 16);
}

size_t guest_text_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

bool guest_text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const char *guest_text_find(const char *text, char what)
{
	while (*text && *text != what)
		text++;
	return *text ? text : NULL;
}

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned) (c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned) (c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned) (c - 'A') + 10;
	return 16;
}

bool guest_text_number(const char *text, uint64_t *ret)
{
	unsigned base = 10;
	uint64_t value = 0;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = digit_of(*text);

		if (digit >= base || value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return true;
}

bool guest_text_word(const char **at, const char *separators, char *word, size_t size)
{
	const char *from = *at;
	size_t length = 0;

	while (*from && guest_text_find(separators, *from))
		from++;
	while (from[length] && !guest_text_find(separators, from[length]))
		length++;
	if (length == 0 || length >= size)
		return false;
	for (size_t i = 0; i < length; i++)
		word[i] = from[i];
	word[length] = '\0';
	*at = from + length;
	return true;
}
