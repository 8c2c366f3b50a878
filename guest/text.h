/* SPDX-License-Identifier: MIT */
/* text.h - reading and writing lines, where there is no C library. */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A line under construction: always ended by a 0 byte, and cut where there is no more room. */
struct guest_text {
	char *to;
	size_t size;	/* at least 1 */
	size_t length;
};

void guest_text_init(struct guest_text *text, char *to, size_t size);
void guest_text_add(struct guest_text *text, const char *what);
void guest_text_add_number(struct guest_text *text, uint64_t value);
void guest_text_add_hex(struct guest_text *text, uint64_t value);	/* with 0x */

size_t guest_text_length(const char *text);
bool guest_text_equal(const char *a, const char *b);
/* Where @what stands in @text first; NULL if nowhere. */
const char *guest_text_find(const char *text, char what);
/* Decimal, or hexadecimal behind 0x; all of @text. */
bool guest_text_number(const char *text, uint64_t *ret);
/*
 * The next word of *@at, which moves behind it. Any of @separators ends a word; several are as one.
 * Return: false when there is none left, or it does not fit (then *@at stays).
 */
bool guest_text_word(const char **at, const char *separators, char *word, size_t size);

#endif
