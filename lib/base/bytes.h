/* SPDX-License-Identifier: MIT */
/*
 * bytes.h - little-endian fields, and two cursors over byte strings.
 *
 * struct vf_reader walks over borrowed bytes. A read past the end sets `bad` and returns zeros from
 * then on, so a decoder reads all its fields and asks once, at the end. struct vf_writer appends to
 * memory that it owns and that never grows beyond `limit`; a failed append sets `bad` likewise.
 */
#ifndef VF_BASE_BYTES_H
#define VF_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void vf_put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t) v;
	p[1] = (uint8_t) (v >> 8);
}

static inline void vf_put_u32(uint8_t *p, uint32_t v)
{
	vf_put_u16(p, (uint16_t) v);
	vf_put_u16(p + 2, (uint16_t) (v >> 16));
}

static inline void vf_put_u64(uint8_t *p, uint64_t v)
{
	vf_put_u32(p, (uint32_t) v);
	vf_put_u32(p + 4, (uint32_t) (v >> 32));
}

static inline uint16_t vf_get_u16(const uint8_t *p)
{
	return (uint16_t) (p[0] | p[1] << 8);
}

static inline uint32_t vf_get_u32(const uint8_t *p)
{
	return vf_get_u16(p) | (uint32_t) vf_get_u16(p + 2) << 16;
}

static inline uint64_t vf_get_u64(const uint8_t *p)
{
	return vf_get_u32(p) | (uint64_t) vf_get_u32(p + 4) << 32;
}

struct vf_reader {
	const uint8_t *data;	/* borrowed */
	size_t size;
	size_t at;
	bool bad;

	/* For messages: what is being read, and what was wrong with it. All may be NULL. */
	const char *field;
	size_t field_at;
	const char *why;
	struct {
		const char *list;
		uint32_t index;
	} item[2];		/* "components[3].sections[1]" */
};

static inline struct vf_reader vf_reader_of(const void *data, size_t size)
{
	return (struct vf_reader) { .data = data, .size = size };
}

static inline size_t vf_reader_left(const struct vf_reader *r)
{
	return r->bad ? 0 : r->size - r->at;
}

/* @field (a literal) is read next. Returns @r, to be put around: vf_read_u32(vf_reader_at(&r, "id")). */
static inline struct vf_reader *vf_reader_at(struct vf_reader *r, const char *field)
{
	if (!r->bad) {
		r->field = field;
		r->field_at = r->at;
	}
	return r;
}

/* What follows belongs to element @index of @list (a literal; NULL: to no list), at depth @level. */
static inline void vf_reader_item(struct vf_reader *r, unsigned level, const char *list,
				  uint32_t index)
{
	if (r->bad)
		return;
	r->item[level].list = list;
	r->item[level].index = index;
	if (level == 0)
		r->item[1].list = NULL;
}

/* Bad, because of the field that was read last; @why (a literal) ends the sentence: "is over 16". */
void vf_reader_fail(struct vf_reader *r, const char *why);
/* "components[3].identity_bytes at byte 77 of 200 is over its bound": why it is bad, or not done. */
void vf_reader_complaint(const struct vf_reader *r, char *to, size_t size);
/* Borrowed pointer to the next @len bytes, or NULL (and bad). */
const uint8_t *vf_read_bytes(struct vf_reader *r, size_t len);
uint8_t vf_read_u8(struct vf_reader *r);
uint16_t vf_read_u16(struct vf_reader *r);
uint32_t vf_read_u32(struct vf_reader *r);
uint64_t vf_read_u64(struct vf_reader *r);
/* u16 length + bytes, copied with a NUL. Too long for @size, or a NUL inside: bad. */
void vf_read_string(struct vf_reader *r, char *to, size_t size);
/* Did everything fit, and is nothing left over? */
bool vf_reader_done(const struct vf_reader *r);

struct vf_writer {
	uint8_t *data;		/* owned */
	size_t size;		/* bytes written */
	size_t capacity;
	size_t limit;		/* never grows beyond */
	bool bad;		/* limit hit or out of memory */
};

void vf_writer_init(struct vf_writer *w, size_t limit);
void vf_writer_done(struct vf_writer *w);	/* frees; the writer may be init-ed again */
void vf_writer_reset(struct vf_writer *w);	/* keeps the memory */
/* Room for @len more bytes, zeroed; NULL and bad if there is none. */
uint8_t *vf_write_room(struct vf_writer *w, size_t len);
void vf_write_bytes(struct vf_writer *w, const void *data, size_t len);
void vf_write_u8(struct vf_writer *w, uint8_t v);
void vf_write_u16(struct vf_writer *w, uint16_t v);
void vf_write_u32(struct vf_writer *w, uint32_t v);
void vf_write_u64(struct vf_writer *w, uint64_t v);
void vf_write_string(struct vf_writer *w, const char *text);	/* u16 length + bytes */

#endif
