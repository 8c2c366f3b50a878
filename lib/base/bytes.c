/* SPDX-License-Identifier: MIT */
/* bytes.c - the two cursors of bytes.h. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

void vf_reader_fail(struct vf_reader *r, const char *why)
{
	if (!r->bad)
		r->why = why;
	r->bad = true;
}

void vf_reader_complaint(const struct vf_reader *r, char *to, size_t size)
{
	char place[128] = "";
	size_t at = 0;

	if (!r->bad) {
		(void) snprintf(to, size, "%zu bytes too many behind byte %zu", r->size - r->at,
				r->at);
		return;
	}
	for (unsigned i = 0; i < 2 && r->item[i].list && at < sizeof(place); i++)
		at += (size_t) snprintf(place + at, sizeof(place) - at, "%s[%u].", r->item[i].list,
					r->item[i].index);
	(void) snprintf(to, size, "%s%s at byte %zu of %zu %s", place, r->field ?: "something",
			r->field ? r->field_at : r->at, r->size, r->why ?: "is cut off");
}

const uint8_t *vf_read_bytes(struct vf_reader *r, size_t len)
{
	const uint8_t *p;

	if (r->bad || len > r->size - r->at) {
		vf_reader_fail(r, "is cut off");
		return NULL;
	}
	p = r->data + r->at;
	r->at += len;
	return p;
}

uint8_t vf_read_u8(struct vf_reader *r)
{
	const uint8_t *p = vf_read_bytes(r, 1);

	return p ? *p : 0;
}

uint16_t vf_read_u16(struct vf_reader *r)
{
	const uint8_t *p = vf_read_bytes(r, 2);

	return p ? vf_get_u16(p) : 0;
}

uint32_t vf_read_u32(struct vf_reader *r)
{
	const uint8_t *p = vf_read_bytes(r, 4);

	return p ? vf_get_u32(p) : 0;
}

uint64_t vf_read_u64(struct vf_reader *r)
{
	const uint8_t *p = vf_read_bytes(r, 8);

	return p ? vf_get_u64(p) : 0;
}

void vf_read_string(struct vf_reader *r, char *to, size_t size)
{
	uint16_t len = vf_read_u16(r);
	const uint8_t *p = vf_read_bytes(r, len);

	to[0] = '\0';
	if (!p)
		return;
	if (len >= size || memchr(p, 0, len)) {
		vf_reader_fail(r, len >= size ? "is too long" : "has a NUL inside");
		return;
	}
	memcpy(to, p, len);
	to[len] = '\0';
}

bool vf_reader_done(const struct vf_reader *r)
{
	return !r->bad && r->at == r->size;
}

void vf_writer_init(struct vf_writer *w, size_t limit)
{
	*w = (struct vf_writer) { .limit = limit };
}

void vf_writer_done(struct vf_writer *w)
{
	free(w->data);
	*w = (struct vf_writer) { .limit = w->limit };
}

void vf_writer_reset(struct vf_writer *w)
{
	w->size = 0;
	w->bad = false;
}

static bool grow(struct vf_writer *w, size_t need)
{
	size_t capacity = w->capacity ? w->capacity : 256;
	uint8_t *data;

	if (need > w->limit)
		return false;
	while (capacity < need)
		capacity *= 2;
	if (capacity > w->limit)
		capacity = w->limit;
	data = realloc(w->data, capacity);
	if (!data)
		return false;
	w->data = data;
	w->capacity = capacity;
	return true;
}

uint8_t *vf_write_room(struct vf_writer *w, size_t len)
{
	uint8_t *p;

	if (w->bad || len > w->limit - w->size ||
	    (w->size + len > w->capacity && !grow(w, w->size + len))) {
		w->bad = true;
		return NULL;
	}
	if (!len)
		return w->data ? w->data + w->size : NULL;
	p = w->data + w->size;
	memset(p, 0, len);
	w->size += len;
	return p;
}

void vf_write_bytes(struct vf_writer *w, const void *data, size_t len)
{
	uint8_t *p = len ? vf_write_room(w, len) : NULL;

	if (p)
		memcpy(p, data, len);
}

void vf_write_u8(struct vf_writer *w, uint8_t v)
{
	vf_write_bytes(w, &v, 1);
}

void vf_write_u16(struct vf_writer *w, uint16_t v)
{
	uint8_t *p = vf_write_room(w, 2);

	if (p)
		vf_put_u16(p, v);
}

void vf_write_u32(struct vf_writer *w, uint32_t v)
{
	uint8_t *p = vf_write_room(w, 4);

	if (p)
		vf_put_u32(p, v);
}

void vf_write_u64(struct vf_writer *w, uint64_t v)
{
	uint8_t *p = vf_write_room(w, 8);

	if (p)
		vf_put_u64(p, v);
}

void vf_write_string(struct vf_writer *w, const char *text)
{
	size_t len = strlen(text);

	if (len > UINT16_MAX) {
		w->bad = true;
		return;
	}
	vf_write_u16(w, (uint16_t) len);
	vf_write_bytes(w, text, len);
}
