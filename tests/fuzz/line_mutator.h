/* SPDX-License-Identifier: MIT */
/*
 * line_mutator.h - libFuzzer's mutator for inputs that are lines of text: lines are repeated, dropped,
 * moved and joined, a number becomes another, brackets are nested deep, a word grows without end. Words
 * come from the target's .dict file.
 *
 * Included once by a target that defines LINES_AT, where in its input the text begins.
 */
#ifndef TESTS_FUZZ_LINE_MUTATOR_H
#define TESTS_FUZZ_LINE_MUTATOR_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "random.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

struct line {
	size_t at, size;	/* with its end */
};

static struct line pick_line(const uint8_t *data, size_t size, uint32_t *seed)
{
	size_t at = LINES_AT + fuzz_random(seed) % (size - LINES_AT), end;

	while (at > LINES_AT && data[at - 1] != '\n')
		at--;
	for (end = at; end < size && data[end++] != '\n';)
		continue;
	return (struct line) { at, end - at };
}

static size_t replace(uint8_t *data, size_t size, size_t max, size_t at, size_t out, const void *in,
		      size_t in_size)
{
	if (in_size > out && in_size - out > max - size)
		return size;
	memmove(data + at + in_size, data + at + out, size - at - out);
	memcpy(data + at, in, in_size);
	return size - out + in_size;
}

static size_t change_number(uint8_t *data, size_t size, size_t max, const struct line *l,
			    uint32_t *seed)
{
	size_t at = l->at + fuzz_random(seed) % l->size, end;
	char number[32];
	int digits;

	while (at < l->at + l->size && !isdigit(data[at]))
		at++;
	for (end = at; end < size && isdigit(data[end]); end++)
		continue;
	if (end == at)
		return size;
	digits = snprintf(number, sizeof(number), fuzz_random(seed) % 4 ? "%llu" : "-%llu",
			  (unsigned long long) fuzz_number(seed));
	return replace(data, size, max, at, end - at, number, (size_t) digits);
}

static size_t grow(uint8_t *data, size_t size, size_t max, const struct line *l, uint32_t *seed)
{
	static const char fillings[] = "[{(\"\\ x0/*\xff\xc0";
	char filling[2048];
	size_t bytes = 1 + fuzz_random(seed) % sizeof(filling);

	memset(filling, fillings[fuzz_random(seed) % (sizeof(fillings) - 1)], sizeof(filling));
	return replace(data, size, max, l->at + fuzz_random(seed) % l->size, 0, filling, bytes);
}

static size_t mutate_lines(uint8_t *data, size_t size, size_t max, uint32_t *seed)
{
	static uint8_t copy[65536];
	struct line l, other;

	if (size <= LINES_AT)
		return size;
	l = pick_line(data, size, seed);
	other = pick_line(data, size, seed);
	switch (fuzz_random(seed) % 8) {
	case 0:
		return replace(data, size, max, l.at, l.size, "", 0);
	case 1:
	case 2:
		if (l.size > sizeof(copy))
			return size;
		memcpy(copy, data + l.at, l.size);
		return replace(data, size, max, other.at, 0, copy, l.size);
	case 3:
		return replace(data, size, max, l.at + l.size - 1, 1, "", 0);
	case 4:
		return replace(data, size, max, l.at + fuzz_random(seed) % l.size, 0, "\n", 1);
	case 5:
		return grow(data, size, max, &l, seed);
	default:
		return change_number(data, size, max, &l, seed);
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint32_t random = seed | 1;

	if (fuzz_random(&random) % 2)
		return LLVMFuzzerMutate(data, size, max_size);
	for (unsigned n = 1 + fuzz_random(&random) % 3; n; n--)
		size = mutate_lines(data, size, max_size, &random);
	return size;
}

#endif
