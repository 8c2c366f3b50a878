/* SPDX-License-Identifier: MIT */
/* cursor.c - <vferry/stream.h>: the library's byte cursors, as component authors see them. */
#include <errno.h>
#include <stdlib.h>

#include "wire/cursor.h"

int vferry_writer_new(size_t limit, struct vferry_writer **ret_writer)
{
	struct vferry_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	vf_writer_init(&w->w, limit);
	*ret_writer = w;
	return 0;
}

struct vferry_writer *vferry_writer_free(struct vferry_writer *w)
{
	if (w)
		vf_writer_done(&w->w);
	free(w);
	return NULL;
}

void vferry_write_u8(struct vferry_writer *w, uint8_t v)
{
	vf_write_u8(&w->w, v);
}

void vferry_write_u16(struct vferry_writer *w, uint16_t v)
{
	vf_write_u16(&w->w, v);
}

void vferry_write_u32(struct vferry_writer *w, uint32_t v)
{
	vf_write_u32(&w->w, v);
}

void vferry_write_u64(struct vferry_writer *w, uint64_t v)
{
	vf_write_u64(&w->w, v);
}

void vferry_write_bytes(struct vferry_writer *w, const void *data, size_t size)
{
	vf_write_bytes(&w->w, data, size);
}

void vferry_write_string(struct vferry_writer *w, const char *text)
{
	vf_write_string(&w->w, text);
}

bool vferry_writer_ok(const struct vferry_writer *w)
{
	return !w->w.bad;
}

const void *vferry_writer_data(const struct vferry_writer *w, size_t *ret_size)
{
	*ret_size = w->w.size;
	return w->w.data;
}

int vferry_reader_new(const void *data, size_t size, struct vferry_reader **ret_reader)
{
	struct vferry_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->r = vf_reader_of(data, size);
	*ret_reader = r;
	return 0;
}

struct vferry_reader *vferry_reader_free(struct vferry_reader *r)
{
	free(r);
	return NULL;
}

uint8_t vferry_read_u8(struct vferry_reader *r)
{
	return vf_read_u8(&r->r);
}

uint16_t vferry_read_u16(struct vferry_reader *r)
{
	return vf_read_u16(&r->r);
}

uint32_t vferry_read_u32(struct vferry_reader *r)
{
	return vf_read_u32(&r->r);
}

uint64_t vferry_read_u64(struct vferry_reader *r)
{
	return vf_read_u64(&r->r);
}

const void *vferry_read_bytes(struct vferry_reader *r, size_t size)
{
	return vf_read_bytes(&r->r, size);
}

void vferry_read_string(struct vferry_reader *r, char *to, size_t size)
{
	vf_read_string(&r->r, to, size);
}

size_t vferry_reader_left(const struct vferry_reader *r)
{
	return vf_reader_left(&r->r);
}

bool vferry_reader_done(const struct vferry_reader *r)
{
	return vf_reader_done(&r->r);
}
