/* SPDX-License-Identifier: MIT */
/*
 * fuzz_replay_state.c - any bytes as a replayed device's state.
 *
 * First byte: how the rest is cut into writes. Check sums would keep a fuzzer out, so they are made
 * right before, unless its top bit is set. A state that is taken is saved again, and loads again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "devices/replay_state.h"

#define SAVED_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct capture small_device(void)
{
	static struct capture c;

	c.regions[0].size = 3 * VF_PAGE_BYTES + 100;
	c.regions[2].size = 24;
	c.regions[VF_VFIO_PCI_CONFIG_REGION].size = 64;
	return c;
}

/* The head's sum, then those of whatever looks like records behind the filling. */
static void mend(uint8_t *data, size_t size)
{
	uint64_t filling, at;
	uint32_t crc = 0;

	if (size < REPLAY_HEAD_BYTES)
		return;
	vf_put_u32(data + 36, vf_crc32c(0, data, 36));
	filling = vf_get_u64(data + 16);
	at = REPLAY_HEAD_BYTES + vf_min_u64(filling, size);
	while (vf_range_in(at, REPLAY_RECORD_BYTES, size)) {
		uint8_t *record = data + at;
		uint32_t bytes = vf_get_u32(record + 16);

		if (vf_get_u32(record) != 1) {
			vf_put_u32(record + 20, crc);
			return;
		}
		at += REPLAY_RECORD_BYTES;
		if (!vf_range_in(at, bytes, size))
			return;
		vf_put_u32(record + 20, vf_crc32c(0, record + REPLAY_RECORD_BYTES, bytes));
		crc = vf_crc32c(crc, record, REPLAY_RECORD_BYTES);
		at += bytes;
	}
}

static int load(struct replay_load *l, const struct replay_state *s, const uint8_t *data, size_t size,
		size_t chunk)
{
	int ret = 0;

	replay_load_start(l, s);
	for (size_t at = 0; at < size && !ret; at += chunk)
		ret = replay_load_write(l, data + at, vf_min_u64(chunk, size - at));
	if (ret)
		assert(l->error.message[0] && replay_load_write(l, data, 1) == ret);
	return ret ? ret : replay_load_finish(l);
}

static void save_and_load(struct replay_load *l, const struct replay_state *s)
{
	static uint8_t saved[SAVED_MAX];
	struct replay_save save;
	int64_t bytes;

	replay_save_start(&save, s);
	replay_save_stop(&save);
	bytes = replay_save_read(&save, saved, sizeof(saved));
	assert(bytes > 0 && bytes < SAVED_MAX && !replay_save_left(&save, s));
	assert(!load(l, s, saved, (size_t) bytes, 1000));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct replay_memory memory;
	static struct replay_state state;
	static struct replay_load l;
	struct capture c = small_device();
	uint8_t *copy;

	if (!state.memory) {
		assert(!replay_memory_init(&memory, &c, NULL));
		replay_state_init(&state, &c, 200, &memory);
	}
	if (!size)
		return 0;
	copy = malloc(size);
	assert(copy);
	memcpy(copy, data + 1, size - 1);
	if (!(data[0] & 0x80))
		mend(copy, size - 1);
	if (!load(&l, &state, copy, size - 1, 1 + (data[0] & 0x7f) * 32))
		save_and_load(&l, &state);
	free(copy);
	return 0;
}
