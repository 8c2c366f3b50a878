/* SPDX-License-Identifier: MIT */
/* accel_load.c - the receiving half of accel_stream.h. Every byte here came from outside. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "accel_pattern.h"
#include "accel_stream.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"

int accel_load_init(struct accel_load *l, struct accel_device *a)
{
	memset(l, 0, sizeof(*l));
	l->device = a;
	return vf_bitmap_init(&l->received, a->memory.blocks);
}

void accel_load_done(struct accel_load *l)
{
	vf_bitmap_done(&l->received);
}

void accel_load_start(struct accel_load *l, uint64_t now_ns)
{
	struct accel_device *a = l->device;
	struct vf_bitmap received = l->received;

	accel_device_set_run(a, ACCEL_RUN_STOPPED, now_ns);
	accel_device_empty(a);
	memset(l, 0, sizeof(*l));
	l->device = a;
	l->received = received;
	vf_bitmap_clear_all(&l->received);
	l->missing_blocks = a->memory.blocks;
	l->active = true;
}

void accel_load_abort(struct accel_load *l)
{
	l->active = false;
}

__attribute__((format(printf, 3, 4)))
static int refuse(struct accel_load *l, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vferry_error_setv(&l->error, code, "device-state-bad", "accel", fmt, args);
	va_end(args);
	l->failed = code;
	return code;
}

/* Where the record being received began. */
static uint64_t record_at(const struct accel_load *l)
{
	return l->bytes - ACCEL_RECORD_HEAD - l->length;
}

/* --- heads --- */

static int check_block(struct accel_load *l)
{
	const struct accel_memory *m = &l->device->memory;

	if (l->index >= m->blocks || l->length != accel_memory_block_bytes(m, l->index))
		return refuse(l, -EINVAL, "device state at byte %" PRIu64 ": block %" PRIu64
			      " of %u bytes, but the device has %" PRIu64 " blocks",
			      record_at(l), l->index, l->length, m->blocks);
	return 0;
}

static bool length_fits(const struct accel_load *l)
{
	switch (l->type) {
	case ACCEL_RECORD_START:
		return l->length == ACCEL_START_BYTES;
	case ACCEL_RECORD_WINDOW:
		return l->length == ACCEL_WINDOW_CHUNK && l->index % ACCEL_WINDOW_CHUNK == 0 &&
		       vf_range_in(l->index, l->length, ACCEL_BAR2_BYTES);
	case ACCEL_RECORD_REGISTERS:
		return l->length == (l->version == 1 ? ACCEL_REGISTERS_1_BYTES :
				     ACCEL_REGISTERS_BYTES);
	case ACCEL_RECORD_END:
		return l->length == ACCEL_END_BYTES;
	default:
		return false;
	}
}

static int take_head(struct accel_load *l)
{
	const uint8_t *h = l->head;
	bool block;

	l->type = vf_get_u32(h);
	l->generation = vf_get_u32(h + 4);
	l->index = vf_get_u64(h + 8);
	l->length = vf_get_u32(h + 16);
	l->payload_crc = vf_get_u32(h + 20);
	l->bytes += ACCEL_RECORD_HEAD + (uint64_t) l->length;
	if (vf_get_u32(h + 28) != vf_crc32c(0, h, 28) || vf_get_u32(h + 24))
		return refuse(l, -EINVAL, "device state at byte %" PRIu64 ": damaged record head",
			      record_at(l));
	block = l->type == ACCEL_RECORD_PATTERN || l->type == ACCEL_RECORD_LITERAL;
	if (l->started != (l->type != ACCEL_RECORD_START) ||
	    (l->registers_loaded && l->type != ACCEL_RECORD_END))
		return refuse(l, -EINVAL, "device state at byte %" PRIu64
			      ": record of type %u out of its order", record_at(l), l->type);
	if (block)
		return check_block(l);
	if (!length_fits(l))
		return refuse(l, -EINVAL, "device state at byte %" PRIu64
			      ": record of type %u and %u bytes is not known", record_at(l), l->type,
			      l->length);
	return 0;
}

/* --- payloads --- */

static int take_start(struct accel_load *l)
{
	struct accel_device *a = l->device;
	const uint8_t *p = l->payload;

	l->version = vf_get_u32(p + 8);
	if (vf_get_u64(p) != ACCEL_STREAM_MAGIC || l->version < ACCEL_STREAM_OLDEST ||
	    l->version > ACCEL_STREAM_VERSION)
		return refuse(l, -EINVAL, "device state is not of an accel device, or of version %u",
			      vf_get_u32(p + 8));
	if (vf_get_u32(p + 12) != a->options.msix_vectors || vf_get_u64(p + 16) != a->memory.bytes ||
	    vf_get_u64(p + 32) != ACCEL_BAR2_BYTES)
		return refuse(l, -EINVAL, "device state is of a device with %" PRIu64
			      " bytes and %u vectors; this one has %" PRIu64 " and %u",
			      vf_get_u64(p + 16), vf_get_u32(p + 12), a->memory.bytes,
			      a->options.msix_vectors);
	accel_memory_reset(&a->memory, vf_get_u64(p + 24));
	l->started = true;
	return 0;
}

static void note_block(struct accel_load *l)
{
	if (vf_bitmap_test(&l->received, l->index))
		return;
	vf_bitmap_set_range(&l->received, l->index, 1);
	l->missing_blocks--;
}

static int take_literal(struct accel_load *l)
{
	int ret = accel_memory_put_block(&l->device->memory, l->index, l->generation, l->payload);

	if (ret)
		return refuse(l, ret, "device state holds more written memory than the device can");
	note_block(l);
	return 0;
}

static int take_registers(struct accel_load *l)
{
	int ret = accel_registers_decode(l->device, l->payload, l->length, &l->registers);

	if (ret)
		return refuse(l, ret, "device state at byte %" PRIu64 ": impossible registers",
			      record_at(l));
	l->registers_loaded = true;
	return 0;
}

static int take_end(struct accel_load *l)
{
	const uint8_t *p = l->payload;

	if (!l->registers_loaded || l->missing_blocks)
		return refuse(l, -EINVAL, "device state ends with %" PRIu64 " blocks missing%s",
			      l->missing_blocks, l->registers_loaded ? "" : ", and no registers");
	if (vf_get_u64(p) != l->records || vf_get_u64(p + 8) != record_at(l) ||
	    vf_get_u32(p + 16) != l->digest || vf_get_u32(p + 20))
		return refuse(l, -EINVAL, "device state of %" PRIu64 " bytes does not match its digest",
			      l->bytes);
	l->ended = true;
	return 0;
}

static int take_payload(struct accel_load *l)
{
	int ret = 0;

	if (l->type != ACCEL_RECORD_PATTERN && vf_crc32c(0, l->payload, l->length) != l->payload_crc)
		return refuse(l, -EINVAL, "device state at byte %" PRIu64 ": damaged payload",
			      record_at(l));
	switch (l->type) {
	case ACCEL_RECORD_START:
		ret = take_start(l);
		break;
	case ACCEL_RECORD_PATTERN:
		accel_memory_put_pattern(&l->device->memory, l->index, l->generation);
		note_block(l);
		break;
	case ACCEL_RECORD_LITERAL:
		ret = take_literal(l);
		break;
	case ACCEL_RECORD_WINDOW:
		memcpy(l->device->window + l->index, l->payload, l->length);
		break;
	case ACCEL_RECORD_REGISTERS:
		ret = take_registers(l);
		break;
	case ACCEL_RECORD_END:
		ret = take_end(l);
		break;
	default:
		ret = refuse(l, -EINVAL, "record of type %u", l->type);
		break;
	}
	if (ret)
		return ret;
	l->digest = vf_crc32c(l->digest, l->head, ACCEL_RECORD_HEAD);
	l->records++;
	l->head_have = 0;
	l->payload_have = 0;
	return 0;
}

/* Takes what it can of the current payload. */
static int add_payload(struct accel_load *l, const uint8_t *from, size_t size, size_t *ret_taken)
{
	size_t len = (size_t) vf_min_u64(size, l->length - l->payload_have);

	if (l->type == ACCEL_RECORD_PATTERN) {
		uint64_t at = l->index * ACCEL_BLOCK_BYTES + l->payload_have;
		uint64_t seed = accel_memory_seed(&l->device->memory, l->generation);

		if (!accel_pattern_equal(from, len, seed, at))
			return refuse(l, -EINVAL, "device state at byte %" PRIu64
				      ": block %" PRIu64 " is not what it says it is", record_at(l),
				      l->index);
	} else {
		memcpy(l->payload + l->payload_have, from, len);
	}
	l->payload_have += len;
	*ret_taken = len;
	return 0;
}

int accel_load_write(struct accel_load *l, const void *from, size_t size)
{
	const uint8_t *p = from;

	if (!l->active)
		return -EINVAL;
	while (size && !l->failed) {
		size_t len = 0;

		if (l->ended)
			return refuse(l, -EINVAL, "device state goes on behind its end");
		if (l->head_have < ACCEL_RECORD_HEAD) {
			len = (size_t) vf_min_u64(size, ACCEL_RECORD_HEAD - l->head_have);
			memcpy(l->head + l->head_have, p, len);
			l->head_have += len;
			if (l->head_have == ACCEL_RECORD_HEAD)
				(void) take_head(l);	/* no payload is empty */
		} else if (!add_payload(l, p, size, &len) && l->payload_have == l->length) {
			(void) take_payload(l);
		}
		p += len;
		size -= len;
	}
	return l->failed;
}

int accel_load_finish(struct accel_load *l)
{
	struct accel_device *a = l->device;

	if (!l->active)
		return -EINVAL;
	if (l->failed)
		return l->failed;
	if (!l->ended)
		return refuse(l, -EINVAL, "device state is cut off after %" PRIu64 " records",
			      l->records);
	l->active = false;
	accel_registers_apply(a, &l->registers);
	memcpy(a->frozen, a->window, ACCEL_BAR2_BYTES);
	return 0;
}
