/* SPDX-License-Identifier: MIT */
/* accel_save.c - the sending half of accel_stream.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel_pattern.h"
#include "accel_stream.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"

#define WINDOW_CHUNKS (ACCEL_BAR2_BYTES / ACCEL_WINDOW_CHUNK)

int accel_save_init(struct accel_save *s, struct accel_device *a)
{
	memset(s, 0, sizeof(*s));
	s->device = a;
	s->window_sent = calloc(1, ACCEL_BAR2_BYTES);
	return s->window_sent ? 0 : -ENOMEM;
}

void accel_save_done(struct accel_save *s)
{
	free(s->window_sent);
	s->window_sent = NULL;
}

static void forget_changes(struct accel_device *a)
{
	vf_bitmap_clear_all(&a->dirty);
	a->dirty_blocks = 0;
	a->tracked_blocks = 0;
}

void accel_save_start(struct accel_save *s)
{
	struct accel_device *a = s->device;
	uint8_t *window_sent = s->window_sent;

	memset(s, 0, sizeof(*s));
	s->device = a;
	s->window_sent = window_sent;
	s->active = true;
	s->stopping = a->run == ACCEL_RUN_STOPPED;
	memset(window_sent, 0, ACCEL_BAR2_BYTES);
	forget_changes(a);
	a->tracking = true;
}

void accel_save_stop(struct accel_save *s)
{
	assert(s->device->run == ACCEL_RUN_STOPPED);
	s->stopping = true;
	s->next_chunk = 0;
}

void accel_save_end(struct accel_save *s)
{
	s->active = false;
	s->device->tracking = false;
}

void accel_save_reinit(struct accel_save *s)
{
	if (!s->active || s->stopping)
		return;
	forget_changes(s->device);
	s->next_block = 0;
	s->reinit = true;
}

/* Starts a record whose payload lies in s->payload, or is a pattern. */
static void begin(struct accel_save *s, enum accel_record type, uint32_t generation,
		  uint64_t index, size_t len)
{
	uint8_t *h = s->head;

	s->is_pattern = type == ACCEL_RECORD_PATTERN;
	vf_put_u32(h, type);
	vf_put_u32(h + 4, generation);
	vf_put_u64(h + 8, index);
	vf_put_u32(h + 16, (uint32_t) len);
	vf_put_u32(h + 20, s->is_pattern ? 0 : vf_crc32c(0, s->payload, len));
	vf_put_u32(h + 24, 0);
	vf_put_u32(h + 28, vf_crc32c(0, h, 28));
	s->digest = vf_crc32c(s->digest, h, ACCEL_RECORD_HEAD);
	s->head_left = ACCEL_RECORD_HEAD;
	s->payload_len = len;
	s->payload_left = len;
	s->records++;
	s->bytes += ACCEL_RECORD_HEAD + len;
}

static void begin_start(struct accel_save *s)
{
	const struct accel_device *a = s->device;
	uint8_t *p = s->payload;

	vf_put_u64(p, ACCEL_STREAM_MAGIC);
	vf_put_u32(p + 8, ACCEL_STREAM_VERSION);
	vf_put_u32(p + 12, a->options.msix_vectors);
	vf_put_u64(p + 16, a->memory.bytes);
	vf_put_u64(p + 24, a->memory.seed);
	vf_put_u64(p + 32, ACCEL_BAR2_BYTES);
	begin(s, ACCEL_RECORD_START, 0, 0, ACCEL_START_BYTES);
}

/* A block as it is now; what is sent later in pieces is this, whatever happens meanwhile. */
static void begin_block(struct accel_save *s, uint64_t block)
{
	const struct accel_memory *m = &s->device->memory;
	size_t len = accel_memory_block_bytes(m, block);
	uint32_t generation = m->generation[block];

	if (m->overlay[block]) {
		accel_memory_read(m, block * ACCEL_BLOCK_BYTES, s->payload, len);
		begin(s, ACCEL_RECORD_LITERAL, generation, block, len);
		return;
	}
	s->pattern_seed = accel_memory_seed(m, generation);
	s->pattern_at = block * ACCEL_BLOCK_BYTES;
	begin(s, ACCEL_RECORD_PATTERN, generation, block, len);
}

static const uint8_t *window_of(const struct accel_save *s)
{
	return s->stopping ? s->device->frozen : s->device->window;
}

static bool window_differs(const struct accel_save *s, uint32_t chunk)
{
	size_t at = (size_t) chunk * ACCEL_WINDOW_CHUNK;

	return memcmp(window_of(s) + at, s->window_sent + at, ACCEL_WINDOW_CHUNK) != 0;
}

/* Starts the next window chunk that differs from what the other side has. */
static bool begin_window(struct accel_save *s)
{
	for (; s->next_chunk < WINDOW_CHUNKS; s->next_chunk++) {
		size_t at = (size_t) s->next_chunk * ACCEL_WINDOW_CHUNK;

		if (!window_differs(s, s->next_chunk))
			continue;
		/* One copy of what may change under our hands; both uses take it from there. */
		memcpy(s->payload, window_of(s) + at, ACCEL_WINDOW_CHUNK);
		memcpy(s->window_sent + at, s->payload, ACCEL_WINDOW_CHUNK);
		begin(s, ACCEL_RECORD_WINDOW, 0, at, ACCEL_WINDOW_CHUNK);
		s->next_chunk++;
		return true;
	}
	return false;
}

static bool begin_dirty_block(struct accel_save *s)
{
	struct accel_device *a = s->device;
	uint64_t block;

	if (!a->dirty_blocks)
		return false;
	block = vf_bitmap_next_set(&a->dirty, s->dirty_cursor, a->memory.blocks);
	if (block == a->memory.blocks)
		block = vf_bitmap_next_set(&a->dirty, 0, a->memory.blocks);
	assert(block < a->memory.blocks);
	vf_bitmap_clear_range(&a->dirty, block, 1);
	a->dirty_blocks--;
	s->dirty_cursor = block + 1;
	begin_block(s, block);
	return true;
}

static void begin_end(struct accel_save *s)
{
	vf_put_u64(s->payload, s->records);
	vf_put_u64(s->payload + 8, s->bytes);
	vf_put_u32(s->payload + 16, s->digest);
	vf_put_u32(s->payload + 20, 0);
	begin(s, ACCEL_RECORD_END, 0, 0, ACCEL_END_BYTES);
	s->ended = true;
}

/* Starts the next record. False: nothing to send now. */
static bool begin_next(struct accel_save *s)
{
	struct accel_device *a = s->device;

	if (s->ended)
		return false;
	s->is_initial = true;
	if (!s->started) {
		begin_start(s);
		s->started = true;
		return true;
	}
	if (s->next_block < a->memory.blocks) {
		a->tracked_blocks = s->next_block + 1;
		begin_block(s, s->next_block++);
		return true;
	}
	s->is_initial = false;
	if (begin_dirty_block(s))
		return true;
	if (!s->stopping)
		s->next_chunk = 0;	/* the window is looked at each time we run dry */
	if (begin_window(s))
		return true;
	if (!s->stopping)
		return false;
	if (!s->registers_sent) {
		size_t len = accel_registers_encode(a, s->payload);

		begin(s, ACCEL_RECORD_REGISTERS, 0, 0, len);
		s->registers_sent = true;
		return true;
	}
	begin_end(s);
	return true;
}

/* Moves a part of the current record. */
static size_t take(struct accel_save *s, uint8_t *to, size_t size)
{
	size_t len, at;

	if (s->head_left) {
		len = (size_t) vf_min_u64(s->head_left, size);
		memcpy(to, s->head + ACCEL_RECORD_HEAD - s->head_left, len);
		s->head_left -= len;
		return len;
	}
	len = (size_t) vf_min_u64(s->payload_left, size);
	at = s->payload_len - s->payload_left;
	if (s->is_pattern)
		accel_pattern_fill(to, len, s->pattern_seed, s->pattern_at + at);
	else
		memcpy(to, s->payload + at, len);
	s->payload_left -= len;
	return len;
}

int64_t accel_save_read(struct accel_save *s, void *to, size_t size, uint64_t now_ns)
{
	uint8_t *p = to;
	size_t have = 0;

	if (!s->active)
		return -EINVAL;
	accel_device_age(s->device, now_ns);
	while (have < size) {
		if (!s->head_left && !s->payload_left && !begin_next(s))
			break;
		have += take(s, p + have, size - have);
	}
	return (int64_t) have;
}

static uint64_t window_bytes(const struct accel_save *s)
{
	uint64_t bytes = 0;

	for (uint32_t chunk = 0; chunk < WINDOW_CHUNKS; chunk++)
		if (window_differs(s, chunk))
			bytes += ACCEL_RECORD_HEAD + ACCEL_WINDOW_CHUNK;
	return bytes;
}

static uint64_t blocks_bytes(const struct accel_memory *m, uint64_t from)
{
	if (from >= m->blocks)
		return 0;
	return m->bytes - from * ACCEL_BLOCK_BYTES + (m->blocks - from) * ACCEL_RECORD_HEAD;
}

void accel_save_pending(struct accel_save *s, uint64_t now_ns, uint64_t *ret_initial,
			uint64_t *ret_dirty)
{
	struct accel_device *a = s->device;
	uint64_t begun = s->head_left + s->payload_left, initial, dirty;

	accel_device_age(a, now_ns);
	initial = blocks_bytes(&a->memory, s->next_block);
	if (!s->started)
		initial += ACCEL_RECORD_HEAD + ACCEL_START_BYTES;
	dirty = window_bytes(s);
	dirty += a->dirty_blocks * (ACCEL_RECORD_HEAD + vf_min_u64(ACCEL_BLOCK_BYTES,
								  a->memory.bytes));
	/* A record of the first pass counts as initial until its last byte has been read. */
	*ret_initial = initial + (s->is_initial ? begun : 0);
	*ret_dirty = dirty + (s->is_initial ? 0 : begun);
}

uint64_t accel_save_estimate(struct accel_save *s, uint64_t now_ns)
{
	struct accel_device *a = s->device;
	uint64_t end = 2 * ACCEL_RECORD_HEAD + ACCEL_REGISTERS_BYTES + ACCEL_END_BYTES;
	uint64_t initial, dirty;

	if (s->active) {
		accel_save_pending(s, now_ns, &initial, &dirty);
		if (s->ended)
			return initial + dirty;
		return initial + dirty + end - (s->registers_sent ? ACCEL_RECORD_HEAD +
						ACCEL_REGISTERS_BYTES : 0);
	}
	memset(s->window_sent, 0, ACCEL_BAR2_BYTES);
	s->stopping = a->run == ACCEL_RUN_STOPPED;
	return ACCEL_RECORD_HEAD + ACCEL_START_BYTES + window_bytes(s) + blocks_bytes(&a->memory, 0) + end;
}
