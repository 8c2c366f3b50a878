/* SPDX-License-Identifier: MIT */
/*
 * file.h - a saved machine in one file; the format is at the top of file_layout.h.
 *
 * Writing: frames go through a channel, as over a socket; pages are written in rounds, each to its
 * fixed place, by threads of the call. The file counts only once vf_file_writer_finish() has
 * returned 0: until then, and after a crash, readers refuse it as incomplete. Written over an
 * existing file, its space is used again, which is faster than new space; it may be any regular
 * file.
 *
 * Reading: frames are read by position, in any order and as often as needed, by any thread; pages
 * by threads of the call, checked against their checksums, without touching the memory of pages that
 * are zero. Errors name the position in the file.
 */
#ifndef VF_TRANSFER_FILE_H
#define VF_TRANSFER_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/ram.h>

#include "transfer/channel.h"
#include "transfer/limiter.h"

struct vf_file_stats {
	uint64_t bytes;		/* of pages, written or read */
	uint64_t pages_normal;
	uint64_t pages_zero;	/* holes included */
	uint64_t ns;
};

/* ---- writing ---- */

struct vf_file_writer;
struct vf_trace;

/*
 * Creates the file (mode 0600), or writes over an existing one, which from then on is incomplete; it
 * must be ours alone, and no symbolic link. @ram may be NULL: frames only. Return: 0; -EINVAL no regular
 * file; -EPERM others own it or can read it; -ELOOP; -EFBIG; what open(2) says.
 */
int vf_file_writer_new(const char *path, struct vferry_ram *ram, struct vf_file_writer **ret_writer,
		       struct vferry_error *err);
/* Before anything is written; borrowed. */
void vf_file_writer_set_trace(struct vf_file_writer *writer, struct vf_trace *trace);
/* Gives an unfinished file up: removes it, or empties it if it was there before. Nobody writes any more. */
void vf_file_writer_discard(struct vf_file_writer *writer);
/* An unfinished one is discarded. NULL allowed. */
struct vf_file_writer *vf_file_writer_free(struct vf_file_writer *writer);
/* What frames are sent through, by any thread; borrowed. Receiving from it is -EOPNOTSUPP. */
struct vf_channel *vf_file_writer_channel(struct vf_file_writer *writer);

struct vf_file_write_options {
	uint32_t round;			/* 0: all pages; later ones: those that are dirty */
	unsigned threads;		/* 1..16; 0 = 2 */
	struct vf_limiter *limiter;	/* may be NULL */
};

/*
 * One round; returns when it is written. Dirty tracking as for vf_page_sender; with the machine
 * stopped and one round only, it may be off. Return: 0; -ECANCELED; -ENOSPC and other write errors.
 */
int vf_file_write_pages(struct vf_file_writer *writer, const struct vf_file_write_options *options,
			struct vf_file_stats *ret_stats, struct vferry_error *err);
/* From any thread: the round under way, and all later calls, return -ECANCELED. */
void vf_file_writer_cancel(struct vf_file_writer *writer);
/* Writes the tables, syncs, writes the header, syncs: the file is complete. */
int vf_file_writer_finish(struct vf_file_writer *writer, struct vferry_error *err);

/* ---- reading ---- */

struct vf_file_reader;

/* Return: 0; -EBADMSG not such a file, incomplete or damaged; -EPROTONOSUPPORT a later version. */
int vf_file_reader_new(const char *path, struct vf_file_reader **ret_reader,
		       struct vferry_error *err);
int vf_file_reader_from_fd(int take_fd, const char *name, struct vf_file_reader **ret_reader,
			   struct vferry_error *err);
/* Before more is read; borrowed. */
void vf_file_reader_set_trace(struct vf_file_reader *reader, struct vf_trace *trace);
struct vf_file_reader *vf_file_reader_free(struct vf_file_reader *reader);	/* NULL allowed */
size_t vf_file_reader_block_count(const struct vf_file_reader *reader);
uint64_t vf_file_reader_block_pages(const struct vf_file_reader *reader, size_t block);
/* How many pages of the block have content. */
uint64_t vf_file_reader_data_pages(const struct vf_file_reader *reader, size_t block);

struct vf_file_frame {
	struct vf_frame frame;
	uint64_t offset;	/* of its header, in the file */
};

/* A walk over all frames: start with all zeros. */
struct vf_file_cursor {
	uint64_t at;		/* in the frame region */
	uint64_t sequence;
};

/*
 * The next frame's header, verified. Frames that are optional and unknown are skipped. Return: 1;
 * 0 = no more; -EBADMSG, -EPROTO, -EMSGSIZE: "frame at offset N: ...".
 */
int vf_file_reader_next(struct vf_file_reader *reader, struct vf_file_cursor *cursor,
			struct vf_file_frame *ret_frame, struct vferry_error *err);
/* Its body (frame.length bytes) into @body, verified. */
int vf_file_reader_body(struct vf_file_reader *reader, const struct vf_file_frame *frame, void *body,
			struct vferry_error *err);

/*
 * Reads and verifies all pages. @ram: into guest memory, whose blocks must have the file's sizes;
 * NULL: only verifies. @threads 1..16; 0 = 2. Return: 0; -EINVAL sizes differ; -EBADMSG "page N of
 * block B at offset N: ...".
 */
int vf_file_reader_load_pages(struct vf_file_reader *reader, struct vferry_ram *ram,
			      unsigned threads, struct vf_file_stats *ret_stats,
			      struct vferry_error *err);
/* From any thread: loading under way returns -ECANCELED. */
void vf_file_reader_cancel(struct vf_file_reader *reader);

#endif
