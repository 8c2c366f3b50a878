/* SPDX-License-Identifier: MIT */
/*
 * file_writer.c - writes a saved machine; see file.h and, for the format, file_layout.h.
 *
 * Frames: a channel whose transport appends to the frame region, so that whatever sends frames to a
 * peer writes them to a file as well.
 *
 * Pages: the threads of a round get chunks from one cursor, each chunk whole to one thread. A live
 * page may change between its checksum and its write: then it is dirty, and a later round writes
 * both again; the last round is with the machine stopped. Which pages have content is kept in
 * memory, a bit each, and written at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/trace.h"
#include "ram/ram.h"
#include "transfer/chunk.h"
#include "transfer/file.h"
#include "transfer/file_layout.h"
#include "transfer/guest_io.h"

#define MAX_THREADS 16u

struct vf_file_writer {
	int fd;
	char name[160];
	struct vferry_ram *ram;		/* borrowed, may be NULL */
	bool was_empty;			/* what is not written reads as zeros */
	bool made;			/* it was not there before */
	bool unfinished;		/* opened, and worth nothing yet */
	char *path;			/* owned */
	bool cancelled;			/* atomic */
	vf_zero_test is_zero;
	struct vf_file_layout layout;
	struct vf_bitmap content[VF_FILE_MAX_BLOCKS];
	struct vf_channel *channel;
	struct vf_trace *trace;		/* borrowed, may be NULL */
};

/* One round. The lock protects the cursor and the result. */
struct round {
	struct vf_file_writer *writer;
	bool every;
	struct vf_limiter *limiter;
	pthread_mutex_t lock;
	size_t block;		/* the cursor: where the next chunk is looked for ... */
	uint64_t page;
	uint64_t data_end;	/* ... and up to where is known to be data */
	int result;
	struct vferry_error error;
	uint64_t normal, zero;
};

/* What a thread needs for a chunk. */
struct work {
	struct vf_pages pages;
	uint32_t crcs[VF_CHUNK_PAGES];
	uint8_t table[VF_CHUNK_PAGES * 4];
};

/* ---- plain writing ---- */

static int write_all(const struct vf_file_writer *writer, const void *data, size_t bytes, uint64_t at,
		     bool guest)
{
	const uint8_t *p = data;

	while (bytes) {
		int ret = vf_trace(writer->trace, VF_TRACE_FILE_WRITE, writer->name, bytes, at, 0);
		ssize_t n;

		if (ret)
			return ret;
		n = guest ? vf_guest_pwrite(writer->fd, p, bytes, (off_t) at)
			  : pwrite(writer->fd, p, bytes, (off_t) at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		at += (uint64_t) n;
		bytes -= (size_t) n;
	}
	return 0;
}

static int write_at(const struct vf_file_writer *writer, const void *data, size_t bytes, uint64_t at)
{
	return write_all(writer, data, bytes, at, false);
}

static int write_error(const struct vf_file_writer *writer, int ret, const char *what, uint64_t at,
		       struct vferry_error *err)
{
	return vferry_error_set(err, ret, "file-write", writer->name,
				"cannot write %s at offset %llu: %s", what,
				(unsigned long long) at, vferry_errno_name(ret));
}

/* ---- frames: a transport that appends ---- */

struct appender {
	int fd;			/* the writer's */
	uint64_t at;		/* under the channel's send lock */
};

static int64_t append(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	struct appender *a = transport;
	ssize_t n;

	(void) guest;
	do {
		n = pwritev(a->fd, iov, (int) count, (off_t) a->at);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -EIO;
	a->at += (uint64_t) n;
	return n;
}

static int64_t no_receiving(void *transport, const struct iovec *iov, size_t count, bool guest)
{
	(void) transport;
	(void) iov;
	(void) count;
	(void) guest;
	return -EOPNOTSUPP;
}

static int no_stalling(void *transport, uint64_t ns)
{
	(void) transport;
	(void) ns;
	return 0;
}

static void no_shutdown(void *transport)
{
	(void) transport;	/* writes to a file end by themselves */
}

static const struct vf_transport_ops appender_ops = {
	.send = append,
	.recv = no_receiving,
	.set_stall_timeout = no_stalling,
	.shutdown = no_shutdown,
	.free = free,
};

void vf_file_writer_set_trace(struct vf_file_writer *writer, struct vf_trace *trace)
{
	writer->trace = trace;
	vf_channel_set_trace(writer->channel, trace);
}

struct vf_channel *vf_file_writer_channel(struct vf_file_writer *writer)
{
	return writer->channel;
}

/* ---- opening ---- */

/* Guest memory goes there: into a file that nobody else can read, or has put in our way. */
static int check_file(int fd, const char *path, struct stat *st, struct vferry_error *err)
{
	if (fstat(fd, st) || !S_ISREG(st->st_mode))
		return vferry_error_set(err, -EINVAL, "file-kind", path, "not a regular file");
	if (st->st_uid != geteuid() || st->st_mode & 077)
		return vferry_error_set(err, -EPERM, "file-not-private", path,
					"there is a file already, of user %u and mode %03o: others could "
					"read the machine's memory there; remove it first",
					(unsigned) st->st_uid, (unsigned) (st->st_mode & 0777));
	return 0;
}

static int open_file(struct vf_file_writer *writer, const char *path, struct vferry_error *err)
{
	static const uint8_t zeros[VF_FILE_HEADER_BYTES];
	struct stat st;
	int ret;

	writer->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
	writer->made = writer->fd >= 0;
	/* O_NONBLOCK: a FIFO in the way is no reason to wait. */
	if (!writer->made && errno == EEXIST)
		writer->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC |
				  O_NOCTTY, 0600);
	if (writer->fd < 0)
		return vferry_error_set(err, -errno, "file-open", path, "cannot open for writing: %s",
					errno == ELOOP ? "it is a symbolic link"
						       : vferry_errno_name(errno));
	ret = check_file(writer->fd, path, &st, err);
	if (ret)
		return ret;
	writer->unfinished = true;
	writer->was_empty = !st.st_size;
	/* An old header must not vouch for new contents, not even after a crash. */
	ret = write_at(writer, zeros, sizeof(zeros), 0);
	if (!ret && st.st_size && fdatasync(writer->fd))
		ret = -errno;
	return ret ? write_error(writer, ret, "the header", 0, err) : 0;
}

static int make_layout(struct vf_file_writer *writer, struct vferry_error *err)
{
	struct vf_file_layout *layout = &writer->layout;

	layout->block_count = writer->ram ? vferry_ram_block_count(writer->ram) : 0;
	for (size_t i = 0; i < layout->block_count; i++) {
		uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(writer->ram, i));
		/* In whole words, as they are written; the bits of no page stay clear. */
		int ret = vf_bitmap_init(&writer->content[i], vf_div_up(pages, 64) * 64);

		if (ret)
			return vferry_error_set(err, ret, "memory", writer->name,
						"no memory for the map of pages");
		layout->blocks[i].pages = pages;
	}
	if (vf_file_layout_compute(layout))
		return vferry_error_set(err, -EFBIG, "file-size", writer->name, "too much RAM");
	return 0;
}

int vf_file_writer_new(const char *path, struct vferry_ram *ram, struct vf_file_writer **ret_writer,
		       struct vferry_error *err)
{
	struct vf_file_writer *writer = calloc(1, sizeof(*writer));
	struct appender *appender;
	int ret;

	if (!writer)
		return vferry_error_set(err, -ENOMEM, "memory", path, "no memory");
	writer->fd = -1;
	writer->ram = ram;
	writer->is_zero = vf_zero_test_best();
	(void) snprintf(writer->name, sizeof(writer->name), "file:%s", path);
	writer->path = strdup(path);
	ret = writer->path ? open_file(writer, path, err) : -ENOMEM;
	if (!ret)
		ret = make_layout(writer, err);
	if (ret)
		goto fail;
	ret = -ENOMEM;
	appender = malloc(sizeof(*appender));
	if (!appender)
		goto fail;
	*appender = (struct appender) { .fd = writer->fd, .at = writer->layout.frames_at };
	ret = vf_channel_new(&appender_ops, appender, writer->name, &writer->channel);
	if (ret)
		goto fail;
	*ret_writer = writer;
	return 0;
fail:
	(void) vf_file_writer_free(writer);
	return vferry_error_set(err, ret, "memory", path, "no memory");
}

/* A file that was there before keeps its name. What was in it is gone already. */
void vf_file_writer_discard(struct vf_file_writer *writer)
{
	struct stat ours, there;

	if (!writer->unfinished)
		return;
	writer->unfinished = false;
	(void) !ftruncate(writer->fd, 0);
	if (writer->made && !fstat(writer->fd, &ours) && !lstat(writer->path, &there) &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		(void) unlink(writer->path);
}

struct vf_file_writer *vf_file_writer_free(struct vf_file_writer *writer)
{
	if (!writer)
		return NULL;
	vf_file_writer_discard(writer);
	(void) vf_channel_free(writer->channel);
	for (size_t i = 0; i < writer->layout.block_count; i++)
		if (writer->content[i].words)
			vf_bitmap_done(&writer->content[i]);
	vf_close(&writer->fd);
	free(writer->path);
	free(writer);
	return NULL;
}

void vf_file_writer_cancel(struct vf_file_writer *writer)
{
	__atomic_store_n(&writer->cancelled, true, __ATOMIC_RELAXED);
}

/* ---- pages ---- */

/* A hole in a later round: what is dirty there is zero now, whatever it was. */
static void take_hole_locked(struct round *r, uint64_t page, uint64_t end)
{
	struct vf_bitmap *content = &r->writer->content[r->block];
	uint64_t taken = vf_chunk_take_hole(r->writer->ram, r->block, page, end, 0, 1);

	(void) __atomic_fetch_add(&r->zero, taken, __ATOMIC_RELAXED);
	/* Only bits that are set: the others' memory may never have been touched. */
	while ((page = vf_bitmap_next_set(content, page, end)) < end)
		vf_bitmap_clear_range(content, page++, 1);
}

/* The pages of [from, to), which is within the chunk, that may hold data. */
static void want_data_locked(struct round *r, uint64_t from, uint64_t to, struct vf_chunk *wanted)
{
	while (from < to) {
		uint64_t end = to;
		uint64_t data = vf_ram_next_data(r->writer->ram, r->block, from, to, &end);

		if (!r->every && data > from)
			take_hole_locked(r, from, data);
		if (data == to)
			return;
		vf_chunk_add_range(wanted, data, end);
		from = end;
	}
}

/*
 * The next chunk that has something to write, and which of its pages. Holes are looked up where
 * every page counts, or where so many were marked that holes may be among them.
 * Return: false = no more.
 */
static bool next_chunk_locked(struct round *r, size_t *ret_block, struct vf_chunk *ret_wanted)
{
	struct vferry_ram *ram = r->writer->ram;

	for (; r->block < r->writer->layout.block_count; r->block++, r->page = r->data_end = 0) {
		uint64_t pages = r->writer->layout.blocks[r->block].pages;
		bool by_holes = r->every || vf_ram_all_marked(ram, r->block);
		uint64_t page = r->page, end;
		struct vf_chunk wanted;

		if (by_holes && page >= r->data_end) {
			page = vf_ram_next_data(ram, r->block, page, pages, &r->data_end);
			if (!r->every && page > r->page)
				take_hole_locked(r, r->page, page);
		} else if (!by_holes) {
			page = vf_ram_next_dirty(ram, r->block, page, pages);
		}
		if (page >= pages)
			continue;
		wanted = (struct vf_chunk) { .first = vf_chunk_first(page) };
		end = vf_min_u64(wanted.first + VF_CHUNK_PAGES, pages);
		if (!by_holes || r->data_end >= end)
			vf_chunk_add_range(&wanted, page, end);
		else
			want_data_locked(r, page, end, &wanted);
		r->page = end;
		*ret_block = r->block;
		*ret_wanted = wanted;
		return true;
	}
	return false;
}

static void take_crcs(const struct round *r, struct work *work, size_t index)
{
	const struct vferry_ram_block *block = vferry_ram_get_block(r->writer->ram, index);

	for (unsigned i = 0; i < work->pages.run_count; i++) {
		const struct vf_pages_run *run = &work->pages.runs[i];

		if (run->kind == VF_PAGES_DATA)
			vf_crc32c_pages(vf_ram_page(block, run->page), run->count,
					work->crcs + (run->page - work->pages.first));
	}
}

static int write_runs(struct round *r, struct work *work, size_t index, struct vferry_error *err)
{
	struct vf_file_writer *writer = r->writer;
	const struct vferry_ram_block *block = vferry_ram_get_block(writer->ram, index);
	const struct vf_file_block *place = &writer->layout.blocks[index];
	struct vf_bitmap *content = &writer->content[index];

	for (unsigned i = 0; i < work->pages.run_count; i++) {
		const struct vf_pages_run *run = &work->pages.runs[i];
		uint64_t at = place->pages_at + run->page * VF_PAGE_BYTES;
		int ret;

		if (run->kind == VF_PAGES_ZERO) {
			vf_bitmap_clear_range(content, run->page, run->count);
			continue;
		}
		ret = write_all(writer, vf_ram_page(block, run->page),
				run->count * VF_PAGE_BYTES, at, true);
		if (ret)
			return write_error(writer, ret, "pages", at, err);
		vf_bitmap_set_range(content, run->page, run->count);
	}
	return 0;
}

/* Checksums of the chunk: in the first round all of them, later those of the pages just written. */
static int write_crcs(struct round *r, struct work *work, size_t index, struct vferry_error *err)
{
	const struct vf_file_block *place = &r->writer->layout.blocks[index];
	size_t count = vf_min_u64(VF_CHUNK_PAGES, place->pages - work->pages.first);
	uint64_t at = place->crcs_at + work->pages.first * 4;
	int ret;

	memset(work->table, 0, sizeof(work->table));
	if (!r->every) {
		ssize_t n;

		ret = vf_trace(r->writer->trace, VF_TRACE_FILE_READ, r->writer->name, count * 4, at, 0);
		if (ret)
			return write_error(r->writer, ret, "checksums", at, err);
		n = pread(r->writer->fd, work->table, count * 4, (off_t) at);
		if (n < 0)
			return write_error(r->writer, -errno, "checksums", at, err);
		/* What lies behind the end of the file was not written yet, and stays 0. */
	}
	for (unsigned i = 0; i < work->pages.run_count; i++) {
		const struct vf_pages_run *run = &work->pages.runs[i];

		for (uint64_t p = run->page - work->pages.first, n = 0; n < run->count; n++)
			vf_put_u32(work->table + 4 * (p + n),
				   run->kind == VF_PAGES_DATA ? work->crcs[p + n] : 0);
	}
	ret = write_at(r->writer, work->table, count * 4, at);
	return ret ? write_error(r->writer, ret, "checksums", at, err) : 0;
}

static int write_chunk(struct round *r, struct work *work, size_t index,
		       const struct vf_chunk *wanted, struct vferry_error *err)
{
	struct vf_file_writer *writer = r->writer;
	struct vf_chunk taken;
	uint64_t zeros = 0;
	uint32_t data;
	int ret = 0;

	vf_chunk_take(writer->ram, index, wanted, &taken);
	data = vf_chunk_look(r->every ? wanted : &taken, vferry_ram_get_block(writer->ram, index),
			     writer->is_zero, &work->pages);
	if (data && r->limiter)
		ret = vf_limiter_take(r->limiter, data * VF_PAGE_BYTES);
	if (ret)
		return vferry_error_set(err, ret, "cancelled", writer->name, "cancelled");
	take_crcs(r, work, index);
	/*
	 * The pages last: one thread writes at a time, for the kernel has a lock on the file, and so
	 * the other's look and checksums fall into that time. Behind the pages they would not.
	 */
	if (data)
		ret = write_crcs(r, work, index, err);
	if (!ret)
		ret = write_runs(r, work, index, err);
	for (unsigned i = 0; i < work->pages.run_count; i++)
		if (work->pages.runs[i].kind == VF_PAGES_ZERO)
			zeros += work->pages.runs[i].count;
	(void) __atomic_fetch_add(&r->normal, data, __ATOMIC_RELAXED);
	(void) __atomic_fetch_add(&r->zero, zeros, __ATOMIC_RELAXED);
	return ret;
}

static void *write_main(void *arg)
{
	struct round *r = arg;
	struct work *work = calloc(1, sizeof(*work));
	struct vferry_error error = VFERRY_ERROR_INIT;
	int ret = work ? 0 : -ENOMEM;

	while (!ret) {
		struct vf_chunk wanted;
		size_t block;
		bool more;

		(void) pthread_mutex_lock(&r->lock);
		more = !r->result && next_chunk_locked(r, &block, &wanted);
		(void) pthread_mutex_unlock(&r->lock);
		if (!more)
			break;
		if (__atomic_load_n(&r->writer->cancelled, __ATOMIC_RELAXED))
			ret = -ECANCELED;
		else
			ret = write_chunk(r, work, block, &wanted, &error);
	}
	if (ret) {
		(void) vferry_error_set(&error, ret, "file-write", r->writer->name, "%s",
					vferry_errno_name(ret));
		(void) pthread_mutex_lock(&r->lock);
		if (!r->result) {
			r->result = ret;
			r->error = error;
		}
		(void) pthread_mutex_unlock(&r->lock);
	}
	free(work);
	return NULL;
}

int vf_file_write_pages(struct vf_file_writer *writer, const struct vf_file_write_options *options,
			struct vf_file_stats *ret_stats, struct vferry_error *err)
{
	unsigned threads = options->threads ? options->threads : 2;
	struct round r = {
		.writer = writer, .every = !options->round, .limiter = options->limiter,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	pthread_t helpers[MAX_THREADS];
	uint64_t start = vf_now_ns();
	unsigned started = 0;

	if (!writer->ram || threads > MAX_THREADS)
		return vferry_error_set(err, -EINVAL, "file-threads", writer->name,
					"1 to %u threads, not %u", MAX_THREADS, threads);
	if (r.every)
		vf_ram_refresh_holes(writer->ram);
	while (started < threads - 1 &&
	       !pthread_create(&helpers[started], NULL, write_main, &r))
		started++;	/* fewer threads than wanted still do it */
	(void) write_main(&r);
	for (unsigned i = 0; i < started; i++)
		(void) pthread_join(helpers[i], NULL);
	if (r.result) {
		if (err && !err->code)
			*err = r.error;
		return r.result;
	}
	if (ret_stats) {
		*ret_stats = (struct vf_file_stats) {
			.bytes = r.normal * VF_PAGE_BYTES, .pages_normal = r.normal,
			.pages_zero = r.every ? vferry_ram_bytes(writer->ram) / VF_PAGE_BYTES -
						r.normal : r.zero,
			.ns = vf_now_ns() - start,
		};
	}
	return 0;
}

/* ---- the end ---- */

/* Writes the bitmaps and their checksum. Of a new file, pages of zeros stay holes. */
static int write_bitmaps(struct vf_file_writer *writer, struct vferry_error *err)
{
	struct vf_file_layout *layout = &writer->layout;
	uint8_t piece[VF_PAGE_BYTES];

	layout->bitmap_crc = 0;
	for (size_t b = 0; b < layout->block_count; b++) {
		const struct vf_bitmap *map = &writer->content[b];
		uint64_t words = map->bits / 64;

		for (uint64_t w = 0; w < words; w += sizeof(piece) / 8) {
			uint64_t at = layout->blocks[b].bitmap_at + w * 8;
			uint64_t any = 0;
			int ret;

			memset(piece, 0, sizeof(piece));
			for (uint64_t i = 0; i < sizeof(piece) / 8 && w + i < words; i++) {
				any |= map->words[w + i];
				vf_put_u64(piece + 8 * i, map->words[w + i]);
			}
			if (any)
				layout->bitmap_crc = vf_crc32c(layout->bitmap_crc, piece,
							       sizeof(piece));
			else
				layout->bitmap_crc = vf_crc32c_append_zeros(layout->bitmap_crc,
									    sizeof(piece));
			if (!any && writer->was_empty)
				continue;
			ret = write_at(writer, piece, sizeof(piece), at);
			if (ret)
				return write_error(writer, ret, "bitmaps", at, err);
		}
	}
	return 0;
}

static int end_file(struct vf_file_writer *writer)
{
	const struct vf_file_layout *layout = &writer->layout;
	int ret = vf_trace(writer->trace, VF_TRACE_FILE_TRUNCATE, writer->name, 0, 0, 0);

	if (!ret && ftruncate(writer->fd, (off_t) (layout->frames_at + layout->frames_bytes)))
		ret = -errno;
	if (!ret)
		ret = vf_trace(writer->trace, VF_TRACE_FILE_SYNC, writer->name, 0, 0, 0);
	if (!ret && fdatasync(writer->fd))
		ret = -errno;
	return ret;
}

int vf_file_writer_finish(struct vf_file_writer *writer, struct vferry_error *err)
{
	struct vf_file_layout *layout = &writer->layout;
	uint8_t header[VF_FILE_HEADER_BYTES];
	struct vf_channel_stats frames;
	int ret;

	if (__atomic_load_n(&writer->cancelled, __ATOMIC_RELAXED))
		return vferry_error_set(err, -ECANCELED, "cancelled", writer->name, "cancelled");
	vf_channel_get_stats(writer->channel, &frames);
	layout->frames_bytes = frames.sent_bytes;
	layout->frame_count = frames.sent_frames;
	ret = write_bitmaps(writer, err);
	if (ret)
		return ret;
	/* The end of the frames is the end of the file, also over an older, longer one. */
	ret = end_file(writer);
	if (ret)
		return write_error(writer, ret, "the end", layout->frames_at, err);
	vf_file_header_encode(layout, header);
	ret = write_at(writer, header, sizeof(header), 0);
	if (!ret)
		ret = vf_trace(writer->trace, VF_TRACE_FILE_SYNC, writer->name, 0, 0, 0);
	if (!ret && fsync(writer->fd))
		ret = -errno;
	writer->unfinished = ret != 0;
	return ret ? write_error(writer, ret, "the header", 0, err) : 0;
}
