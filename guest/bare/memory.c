/* SPDX-License-Identifier: MIT */
/*
 * memory.c - what a compiler takes for granted. Told not to make of these loops calls of the very
 * same functions.
 */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

void *memcpy(void *to, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((char *) to)[i] = ((const char *) from)[i];
	return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
	if (to <= from || (char *) to >= (const char *) from + bytes)
		return memcpy(to, from, bytes);
	while (bytes--)
		((char *) to)[bytes] = ((const char *) from)[bytes];
	return to;
}

void *memset(void *to, int value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((char *) to)[i] = (char) value;
	return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
	const unsigned char *x = a, *y = b;

	for (; bytes; bytes--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}
