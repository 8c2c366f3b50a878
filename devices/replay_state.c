/* SPDX-License-Identifier: MIT */
/* replay_state.c - see replay_state.h. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <string.h>

#include "accel_pattern.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "replay_state.h"

#define VERSION 1u
#define SEED 0x7265706c61790000ull

enum {
	RECORD_PAGE = 1,
	RECORD_END = 2,
};

static const uint8_t magic[8] = "VFREPLAY";

/* Vendor, device, class, revision, subsystem, and the sizes of regions: two captures of a model agree. */
static uint32_t identity_of(const struct capture *c)
{
	uint8_t id[PCI_CARDBUS_CIS] = { 0 };
	uint32_t crc;

	memcpy(id, c->config, 4);
	memcpy(id + 4, c->config + PCI_CLASS_REVISION, 4);
	if (capture_config_bytes(c) >= PCI_STD_HEADER_SIZEOF)
		memcpy(id + 8, c->config + PCI_SUBSYSTEM_VENDOR_ID, 4);
	crc = vf_crc32c(0, id, sizeof(id));
	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++) {
		uint8_t size[8];

		vf_put_u64(size, c->regions[i].size);
		crc = vf_crc32c(crc, size, sizeof(size));
	}
	return crc;
}

void replay_state_init(struct replay_state *s, const struct capture *capture, uint64_t bytes,
		       struct replay_memory *memory)
{
	*s = (struct replay_state) {
		.identity = identity_of(capture),
		.filling = bytes - vf_min_u64(bytes, REPLAY_HEAD_BYTES + REPLAY_RECORD_BYTES),
		.memory = memory,
	};
}

/* --- saving --- */

void replay_save_start(struct replay_save *s, const struct replay_state *state)
{
	*s = (struct replay_save) { .state = state, .active = true };
}

void replay_save_stop(struct replay_save *s)
{
	s->stopping = true;
}

void replay_save_end(struct replay_save *s)
{
	s->active = false;
}

static void begin_head(struct replay_save *s)
{
	uint8_t *p = s->piece;

	memset(p, 0, REPLAY_HEAD_BYTES);
	memcpy(p, magic, sizeof(magic));
	vf_put_u32(p + 8, VERSION);
	vf_put_u32(p + 12, s->state->identity);
	vf_put_u64(p + 16, s->state->filling);
	vf_put_u64(p + 24, SEED);
	vf_put_u32(p + 36, vf_crc32c(0, p, 36));
	s->piece_bytes = REPLAY_HEAD_BYTES;
	s->headed = true;
}

static void begin_record(struct replay_save *s, uint32_t type, uint32_t region, uint64_t number,
			 uint32_t bytes, uint32_t crc)
{
	uint8_t *p = s->piece;

	vf_put_u32(p, type);
	vf_put_u32(p + 4, region);
	vf_put_u64(p + 8, number);
	vf_put_u32(p + 16, bytes);
	vf_put_u32(p + 20, crc);
	s->piece_bytes = REPLAY_RECORD_BYTES + bytes;
}

static void begin_page_or_end(struct replay_save *s)
{
	uint32_t bytes = replay_memory_next(s->state->memory, &s->region, &s->offset);
	uint8_t *data = s->piece + REPLAY_RECORD_BYTES;

	if (!bytes) {
		begin_record(s, RECORD_END, 0, s->pages, 0, s->crc);
		s->ended = true;
		return;
	}
	/* Copied first: a client may go on writing. */
	memcpy(data, s->state->memory->regions[s->region].map + s->offset, bytes);
	begin_record(s, RECORD_PAGE, s->region, s->offset, bytes, vf_crc32c(0, data, bytes));
	s->crc = vf_crc32c(s->crc, s->piece, REPLAY_RECORD_BYTES);
	s->offset += VF_PAGE_BYTES;
	s->pages++;
}

/* False: nothing to send now. */
static bool begin_next(struct replay_save *s)
{
	s->piece_at = 0;
	s->piece_bytes = 0;
	if (!s->headed) {
		begin_head(s);
		return true;
	}
	if (s->ended || !s->stopping)
		return false;
	begin_page_or_end(s);
	return true;
}

int64_t replay_save_read(struct replay_save *s, void *to, size_t size)
{
	uint8_t *p = to;
	size_t have = 0;

	if (!s->active)
		return -EINVAL;
	while (have < size) {
		size_t len;

		if (s->piece_at < s->piece_bytes) {
			len = (size_t) vf_min_u64(size - have, s->piece_bytes - s->piece_at);
			memcpy(p + have, s->piece + s->piece_at, len);
			s->piece_at += len;
		} else if (s->headed && s->filled < s->state->filling) {
			len = (size_t) vf_min_u64(size - have, s->state->filling - s->filled);
			accel_pattern_fill(p + have, len, SEED, s->filled);
			s->filled += len;
		} else if (begin_next(s)) {
			continue;
		} else {
			break;
		}
		have += len;
	}
	return (int64_t) have;
}

uint64_t replay_save_initial(const struct replay_save *s)
{
	uint64_t piece = s->stopping ? 0 : s->piece_bytes - s->piece_at;

	return (s->headed ? piece : REPLAY_HEAD_BYTES) + s->state->filling - s->filled;
}

uint64_t replay_save_left(const struct replay_save *s, const struct replay_state *state)
{
	uint64_t pages = replay_memory_pages(state->memory), left = REPLAY_RECORD_BYTES;

	if (!s->active)
		return REPLAY_HEAD_BYTES + state->filling + left +
		       pages * (REPLAY_RECORD_BYTES + VF_PAGE_BYTES);
	if (s->ended)
		return s->piece_bytes - s->piece_at;
	if (s->stopping && s->headed)
		left += s->piece_bytes - s->piece_at;
	pages -= vf_min_u64(pages, s->pages);
	return replay_save_initial(s) + left + pages * (REPLAY_RECORD_BYTES + VF_PAGE_BYTES);
}

/* --- loading --- */

void replay_load_start(struct replay_load *l, const struct replay_state *state)
{
	*l = (struct replay_load) {
		.state = state, .active = true, .piece_bytes = REPLAY_HEAD_BYTES,
	};
	replay_memory_reset(state->memory);
}

static int refuse(struct replay_load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct replay_load *l, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vferry_error_setv(&l->error, -EINVAL, "device-state", "replay", fmt, args);
	va_end(args);
	l->failed = -EINVAL;
	return -EINVAL;
}

static int take_head(struct replay_load *l)
{
	const uint8_t *p = l->piece;

	if (memcmp(p, magic, sizeof(magic)))
		return refuse(l, "this is no state of a replayed device");
	if (vf_get_u32(p + 36) != vf_crc32c(0, p, 36) || vf_get_u32(p + 32))
		return refuse(l, "the head of the device state is damaged");
	if (vf_get_u32(p + 8) != VERSION)
		return refuse(l, "device state of version %u, this is %u", vf_get_u32(p + 8), VERSION);
	if (vf_get_u32(p + 12) != l->state->identity)
		return refuse(l, "this is the state of another device: ids or regions differ");
	l->filling = vf_get_u64(p + 16);
	l->seed = vf_get_u64(p + 24);
	if (l->filling > CAPTURE_STATE_MAX)
		return refuse(l, "device state of %" PRIu64 " bytes", l->filling);
	l->headed = true;
	l->piece_have = 0;
	l->piece_bytes = REPLAY_RECORD_BYTES;
	return 0;
}

static int take_end(struct replay_load *l)
{
	if (vf_get_u32(l->piece + 4) || vf_get_u64(l->piece + 8) != l->pages ||
	    vf_get_u32(l->piece + 16) || vf_get_u32(l->piece + 20) != l->crc)
		return refuse(l, "pages are missing in the device state, or are damaged");
	l->ended = true;
	return 0;
}

/* A record's head is there; of a page, its data comes next. */
static int take_record(struct replay_load *l)
{
	uint32_t type = vf_get_u32(l->piece), region = vf_get_u32(l->piece + 4);
	uint64_t offset = vf_get_u64(l->piece + 8), size;
	uint32_t bytes = vf_get_u32(l->piece + 16);

	if (type == RECORD_END)
		return take_end(l);
	if (type != RECORD_PAGE)
		return refuse(l, "record of type %u in the device state", type);
	size = region < VF_VFIO_PCI_REGIONS ? l->state->memory->regions[region].size : 0;
	if (offset % VF_PAGE_BYTES || offset >= size ||
	    bytes != vf_min_u64(VF_PAGE_BYTES, size - offset))
		return refuse(l, "a page of %u bytes at %#" PRIx64 " of region %u: there is none",
			      bytes, offset, region);
	if (region < l->region || (region == l->region && offset < l->offset))
		return refuse(l, "the page at %#" PRIx64 " of region %u is out of order", offset,
			      region);
	l->region = region;
	l->offset = offset;
	l->piece_bytes = REPLAY_RECORD_BYTES + bytes;
	return 0;
}

static int take_page(struct replay_load *l)
{
	const uint8_t *data = l->piece + REPLAY_RECORD_BYTES;
	size_t bytes = l->piece_bytes - REPLAY_RECORD_BYTES;

	if (vf_get_u32(l->piece + 20) != vf_crc32c(0, data, bytes))
		return refuse(l, "the page at %#" PRIx64 " of region %u is damaged", l->offset,
			      l->region);
	memcpy(l->state->memory->regions[l->region].map + l->offset, data, bytes);
	l->crc = vf_crc32c(l->crc, l->piece, REPLAY_RECORD_BYTES);
	l->offset += VF_PAGE_BYTES;
	l->pages++;
	l->piece_have = 0;
	l->piece_bytes = REPLAY_RECORD_BYTES;
	return 0;
}

static int take_piece(struct replay_load *l)
{
	if (!l->headed)
		return take_head(l);
	return l->piece_bytes == REPLAY_RECORD_BYTES ? take_record(l) : take_page(l);
}

int replay_load_write(struct replay_load *l, const void *from, size_t size)
{
	const uint8_t *p = from;

	if (!l->active)
		return -EINVAL;
	while (size && !l->failed) {
		size_t len;

		if (l->ended)
			return refuse(l, "device state goes on behind its end");
		if (l->headed && l->filled < l->filling) {
			len = (size_t) vf_min_u64(size, l->filling - l->filled);
			if (!accel_pattern_equal(p, len, l->seed, l->filled))
				return refuse(l, "device state is damaged behind byte %" PRIu64,
					      REPLAY_HEAD_BYTES + l->filled);
			l->filled += len;
		} else {
			len = (size_t) vf_min_u64(size, l->piece_bytes - l->piece_have);
			memcpy(l->piece + l->piece_have, p, len);
			l->piece_have += len;
			if (l->piece_have == l->piece_bytes)
				(void) take_piece(l);
		}
		p += len;
		size -= len;
	}
	return l->failed;
}

int replay_load_finish(struct replay_load *l)
{
	if (!l->active)
		return -EINVAL;
	if (l->failed)
		return l->failed;
	if (!l->ended)
		return refuse(l, "device state is cut off");
	l->active = false;
	return 0;
}
