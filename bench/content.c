/* SPDX-License-Identifier: MIT */
/* content.c - see content.h. */
#include <pthread.h>
#include <string.h>

#include "common.h"
#include "content.h"

#define WORDS (BENCH_PAGE_BYTES / 8)
#define LANES 8

bool bench_mix_parse(const char *name, enum bench_mix *ret_mix)
{
	static const char *const names[] = {
		[BENCH_MIX_HOLE] = "hole", [BENCH_MIX_ZERO] = "zero", [BENCH_MIX_RANDOM] = "random",
		[BENCH_MIX_HALF] = "half", [BENCH_MIX_TEXT] = "text",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name, names[i])) {
			*ret_mix = (enum bench_mix) i;
			return true;
		}
	}
	return false;
}

static uint64_t hash(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void fill_random(uint64_t *words, uint64_t state)
{
	uint64_t lane[LANES];

	for (unsigned i = 0; i < LANES; i++)
		lane[i] = hash(state + i) | 1;
	for (unsigned i = 0; i < WORDS; i += LANES) {
		for (unsigned j = 0; j < LANES; j++) {
			lane[j] ^= lane[j] << 13;
			lane[j] ^= lane[j] >> 7;
			lane[j] ^= lane[j] << 17;
			words[i + j] = lane[j];
		}
	}
}

/* Records as a heap has them: a pointer, a small count, a tag, words. */
static void fill_text(uint64_t *words, uint64_t state, uint64_t page)
{
	static const char dictionary[16][9] = {
		"machine ", "device  ", "running ", "/var/lib", "vector: ", "length: ", "0000 PUT",
		"struct _", "sizeof(p", "thread  ", "channel ", "migrate ", "example ", "default ",
		"session ", "state-of",
	};

	for (unsigned i = 0; i < WORDS; i += LANES) {
		state = hash(state);
		words[i] = 0x00007f0000000000u | (state & 0xffffffff8u);
		words[i + 1] = state >> 56;
		words[i + 2] = 0x0000000100000000u | (page & 0xff);
		for (unsigned j = 3; j < 7; j++)
			memcpy(&words[i + j], dictionary[state >> (8 * j) & 15], 8);
		words[i + 7] = hash(state + 1) & 0xffffffffu;
	}
}

void bench_page_fill(uint64_t *words, enum bench_mix mix, uint64_t seed, uint64_t page)
{
	uint64_t state = hash(hash(seed ^ page << 1) + page);
	bool zero = mix == BENCH_MIX_ZERO || (mix == BENCH_MIX_HALF && !(hash(seed * 31 + page) & 1));

	if (zero)
		memset(words, 0, BENCH_PAGE_BYTES);
	else if (mix == BENCH_MIX_TEXT)
		fill_text(words, state, page);
	else
		fill_random(words, state);
}

struct filler {
	char *host;
	uint64_t first, end, seed;
	enum bench_mix mix;
};

static void *filler_main(void *arg)
{
	const struct filler *f = arg;

	for (uint64_t page = f->first; page < f->end; page++)
		bench_page_fill((uint64_t *) (f->host + page * BENCH_PAGE_BYTES), f->mix, f->seed,
				page);
	return NULL;
}

void bench_fill(void *host, uint64_t bytes, enum bench_mix mix, uint64_t seed)
{
	uint64_t pages = bytes / BENCH_PAGE_BYTES;
	struct filler first = { host, 0, pages / 2, seed, mix };
	struct filler second = { host, pages / 2, pages, seed, mix };
	pthread_t thread;

	if (mix == BENCH_MIX_HOLE)
		return;
	if (pthread_create(&thread, NULL, filler_main, &first)) {
		(void) filler_main(&first);
		(void) filler_main(&second);
		return;
	}
	(void) filler_main(&second);
	(void) pthread_join(thread, NULL);
}
