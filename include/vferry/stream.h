/* SPDX-License-Identifier: MIT */
/*
 * vferry/stream.h - how a component writes and reads the body of a section.
 *
 * All numbers are little-endian and of fixed width. A failed read or write makes the cursor bad and
 * every later one a no-op (reads give zeros), so code reads all fields and asks once, at the end.
 *
 * Threads: a cursor belongs to the thread it was handed to.
 */
#ifndef VFERRY_STREAM_H
#define VFERRY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vferry_writer;
struct vferry_reader;

/**
 * vferry_writer_new() - a cursor that appends to memory of its own, up to @limit bytes
 * Return: 0; -ENOMEM. Free with vferry_writer_free().
 */
int vferry_writer_new(size_t limit, struct vferry_writer **ret_writer);
struct vferry_writer *vferry_writer_free(struct vferry_writer *w);	/* returns NULL */
void vferry_write_u8(struct vferry_writer *w, uint8_t v);
void vferry_write_u16(struct vferry_writer *w, uint16_t v);
void vferry_write_u32(struct vferry_writer *w, uint32_t v);
void vferry_write_u64(struct vferry_writer *w, uint64_t v);
void vferry_write_bytes(struct vferry_writer *w, const void *data, size_t size);
void vferry_write_string(struct vferry_writer *w, const char *text);	/* up to 65,535 bytes */
bool vferry_writer_ok(const struct vferry_writer *w);	/* false: limit hit, or no memory */
/* Borrowed until the next write or the free. */
const void *vferry_writer_data(const struct vferry_writer *w, size_t *ret_size);

/** vferry_reader_new() - a cursor over @data, which must outlive it. Return: 0; -ENOMEM. */
int vferry_reader_new(const void *data, size_t size, struct vferry_reader **ret_reader);
struct vferry_reader *vferry_reader_free(struct vferry_reader *r);
uint8_t vferry_read_u8(struct vferry_reader *r);
uint16_t vferry_read_u16(struct vferry_reader *r);
uint32_t vferry_read_u32(struct vferry_reader *r);
uint64_t vferry_read_u64(struct vferry_reader *r);
/* Borrowed pointer to the next @size bytes; NULL if there are fewer. */
const void *vferry_read_bytes(struct vferry_reader *r, size_t size);
void vferry_read_string(struct vferry_reader *r, char *to, size_t size);
size_t vferry_reader_left(const struct vferry_reader *r);
/* Did everything fit, and is nothing left over? */
bool vferry_reader_done(const struct vferry_reader *r);

#ifdef __cplusplus
}
#endif
#endif
