/* SPDX-License-Identifier: MIT */
/*
 * config_mutator.h - libFuzzer's mutator for inputs that hold config space: follows the two chains of
 * capabilities, and changes what one is, where it leads, or what is in it; and the numbers in front.
 *
 * Included once by a target that defines CONFIG_AT, where in its input config space begins.
 */
#ifndef TESTS_FUZZ_CONFIG_MUTATOR_H
#define TESTS_FUZZ_CONFIG_MUTATOR_H

#include "random.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

#define CAPABILITIES_MOST 96u

static unsigned find_capabilities(const uint8_t *config, size_t size, size_t *at)
{
	unsigned count = 0;

	for (size_t next = size > 0x34 ? config[0x34] : 0;
	     next >= 0x40 && next + 2 <= size && next < 0x100 && count < CAPABILITIES_MOST / 2;
	     next = config[next + 1])
		at[count++] = next;
	for (size_t next = 0x100; next >= 0x100 && next + 4 <= size && count < CAPABILITIES_MOST;
	     next = (size_t) config[next + 3] << 4 | config[next + 2] >> 4)
		at[count++] = next;
	return count;
}

static void mutate_config(uint8_t *data, size_t size, uint32_t *seed)
{
	static const uint8_t ids[] = { 0x01, 0x03, 0x05, 0x09, 0x10, 0x11, 0x13, 0x14 };
	size_t at[CAPABILITIES_MOST], here, there;
	uint8_t *config = data + CONFIG_AT;
	size_t bytes = size - CONFIG_AT;
	unsigned count = find_capabilities(config, bytes, at);

	if (!count || fuzz_random(seed) % 4 == 0) {	/* the header, or sizes of regions */
		fuzz_field(data, size < CONFIG_AT + 64 ? size : CONFIG_AT + 64, seed);
		return;
	}
	here = at[fuzz_random(seed) % count];
	there = at[fuzz_random(seed) % count];
	switch (fuzz_random(seed) % 4) {
	case 0:
		if (here < 0x100)
			config[here] = ids[fuzz_random(seed) % sizeof(ids)];
		else
			config[here] = (uint8_t) (fuzz_random(seed) % 48);
		break;
	case 1:		/* a loop, a short cut, or out of bounds */
		if (fuzz_random(seed) % 3 == 0)
			there = (size_t) fuzz_number(seed) & 0xfff;
		if (here < 0x100) {
			config[here + 1] = (uint8_t) there;
		} else {
			config[here + 2] = (uint8_t) ((config[here + 2] & 0xf) | (there & 0xf) << 4);
			config[here + 3] = (uint8_t) (there >> 4);
		}
		break;
	default:
		fuzz_field(config + here, bytes - here < 64 ? bytes - here : 64, seed);
		break;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint32_t random = seed | 1;

	if (size <= CONFIG_AT || fuzz_random(&random) % 3 == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	for (unsigned n = 1 + fuzz_random(&random) % 4; n; n--)
		mutate_config(data, size, &random);
	return size;
}

#endif
