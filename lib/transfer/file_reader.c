/* SPDX-License-Identifier: MIT */
/*
 * file_reader.c - reads a saved machine; see file.h and, for the format, file_layout.h.
 *
 * The file is not trusted: the header is checked against the file's length, frames as on a channel,
 * pages against their checksums. It may also change or shrink while it is read, so it is read and
 * never mapped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/trace.h"
#include "ram/fill.h"
#include "ram/ram.h"
#include "transfer/chunk.h"
#include "transfer/file.h"
#include "transfer/file_layout.h"

#define MAX_THREADS 16u
/* Read at once, then summed: few enough to be still in the processor's cache. */
#define PIECE_PAGES 64u

struct vf_file_reader {
	int fd;
	char name[160];
	bool cancelled;		/* atomic */
	struct vf_file_layout layout;
	struct vf_bitmap content[VF_FILE_MAX_BLOCKS];
	struct vf_trace *trace;	/* borrowed, may be NULL */
};

/* Return: 0; -ENODATA the file ends before; negative errno. */
static int read_at(int fd, void *to, size_t bytes, uint64_t at)
{
	uint8_t *p = to;

	while (bytes) {
		ssize_t n = pread(fd, p, bytes, (off_t) at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		at += (uint64_t) n;
		bytes -= (size_t) n;
	}
	return 0;
}

static int traced_read(const struct vf_file_reader *reader, void *to, size_t bytes, uint64_t at)
{
	int ret = vf_trace(reader->trace, VF_TRACE_FILE_READ, reader->name, bytes, at, 0);

	return ret ? ret : read_at(reader->fd, to, bytes, at);
}

static int read_error(const struct vf_file_reader *reader, int ret, const char *what, uint64_t at,
		      struct vferry_error *err)
{
	return vferry_error_set(err, ret == -ENODATA ? -EBADMSG : ret, "file-read", reader->name,
				"%s at offset %llu: %s", what, (unsigned long long) at,
				ret == -ENODATA ? "the file ends here" : vferry_errno_name(ret));
}

/* ---- opening ---- */

static int read_bitmaps(struct vf_file_reader *reader, struct vferry_error *err)
{
	struct vf_file_layout *layout = &reader->layout;
	uint8_t piece[VF_PAGE_BYTES];
	uint32_t crc = 0;

	for (size_t b = 0; b < layout->block_count; b++) {
		uint64_t pages = layout->blocks[b].pages;
		uint64_t words = vf_bitmap_word_count(pages);
		int ret = vf_bitmap_init(&reader->content[b], pages);

		if (ret)
			return vferry_error_set(err, ret, "memory", reader->name,
						"no memory for the map of pages");
		for (uint64_t w = 0; w < words; w += sizeof(piece) / 8) {
			uint64_t at = layout->blocks[b].bitmap_at + w * 8;

			ret = traced_read(reader, piece, sizeof(piece), at);
			if (ret)
				return read_error(reader, ret, "bitmap", at, err);
			crc = vf_crc32c(crc, piece, sizeof(piece));
			for (uint64_t i = 0; i < sizeof(piece) / 8 && w + i < words; i++) {
				uint64_t bits = vf_get_u64(piece + 8 * i);

				if (w + i == words - 1 && pages % 64)
					bits &= ~0ull >> (64 - pages % 64);
				if (bits)	/* what is not written to costs no memory */
					reader->content[b].words[w + i] = bits;
			}
		}
	}
	if (crc != layout->bitmap_crc)
		return vferry_error_set(err, -EBADMSG, "file-bitmap", reader->name,
					"bitmaps at offset %u: their checksum is wrong",
					VF_FILE_HEADER_BYTES);
	return 0;
}

int vf_file_reader_from_fd(int take_fd, const char *name, struct vf_file_reader **ret_reader,
			   struct vferry_error *err)
{
	struct vf_file_reader *reader = calloc(1, sizeof(*reader));
	uint8_t header[VF_FILE_HEADER_BYTES];
	struct stat st;
	int ret;

	if (!reader) {
		vf_close(&take_fd);
		return vferry_error_set(err, -ENOMEM, "memory", name, "no memory");
	}
	reader->fd = take_fd;
	(void) snprintf(reader->name, sizeof(reader->name), "%s", name);
	if (fstat(take_fd, &st) || !S_ISREG(st.st_mode)) {
		ret = vferry_error_set(err, -EINVAL, "file-kind", name, "not a regular file");
		goto fail;
	}
	ret = read_at(take_fd, header, sizeof(header), 0);
	if (ret) {
		ret = read_error(reader, ret, "header", 0, err);
		goto fail;
	}
	ret = vf_file_header_decode(header, (uint64_t) st.st_size, &reader->layout, reader->name, err);
	if (!ret)
		ret = read_bitmaps(reader, err);
	if (ret)
		goto fail;
	*ret_reader = reader;
	return 0;
fail:
	(void) vf_file_reader_free(reader);
	return ret;
}

int vf_file_reader_new(const char *path, struct vf_file_reader **ret_reader,
		       struct vferry_error *err)
{
	char name[160];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return vferry_error_set(err, -errno, "file-open", path, "cannot open: %s",
					vferry_errno_name(errno));
	(void) snprintf(name, sizeof(name), "file:%s", path);
	return vf_file_reader_from_fd(fd, name, ret_reader, err);
}

void vf_file_reader_set_trace(struct vf_file_reader *reader, struct vf_trace *trace)
{
	reader->trace = trace;
}

struct vf_file_reader *vf_file_reader_free(struct vf_file_reader *reader)
{
	if (!reader)
		return NULL;
	for (size_t i = 0; i < VF_FILE_MAX_BLOCKS; i++)
		if (reader->content[i].words)
			vf_bitmap_done(&reader->content[i]);
	vf_close(&reader->fd);
	free(reader);
	return NULL;
}

size_t vf_file_reader_block_count(const struct vf_file_reader *reader)
{
	return reader->layout.block_count;
}

uint64_t vf_file_reader_block_pages(const struct vf_file_reader *reader, size_t block)
{
	return block < reader->layout.block_count ? reader->layout.blocks[block].pages : 0;
}

uint64_t vf_file_reader_data_pages(const struct vf_file_reader *reader, size_t block)
{
	if (block >= reader->layout.block_count)
		return 0;
	return vf_bitmap_count(&reader->content[block], 0, reader->content[block].bits);
}

void vf_file_reader_cancel(struct vf_file_reader *reader)
{
	__atomic_store_n(&reader->cancelled, true, __ATOMIC_RELAXED);
}

/* ---- frames ---- */

static int bad_frame(const struct vf_file_reader *reader, uint64_t at, int ret, const char *what,
		     struct vferry_error *err)
{
	return vferry_error_set(err, ret, "file-frame", reader->name, "frame at offset %llu: %s",
				(unsigned long long) at, what);
}

/* One header at the cursor, of any type; moves the cursor behind the frame. */
static int read_frame(struct vf_file_reader *reader, struct vf_file_cursor *cursor,
		      struct vf_file_frame *ret_frame, struct vferry_error *err)
{
	const struct vf_file_layout *layout = &reader->layout;
	uint64_t at = layout->frames_at + cursor->at;
	uint8_t header[VF_FRAME_HEADER_BYTES];
	struct vferry_error detail = VFERRY_ERROR_INIT;
	struct vf_frame frame;
	int ret;

	if (cursor->at == layout->frames_bytes) {
		if (cursor->sequence != layout->frame_count)
			return bad_frame(reader, at, -EBADMSG,
					 "the file ends before its last frame", err);
		return 0;
	}
	if (!vf_range_in(cursor->at, sizeof(header), layout->frames_bytes))
		return bad_frame(reader, at, -EBADMSG, "its header is cut off", err);
	ret = traced_read(reader, header, sizeof(header), at);
	if (ret)
		return read_error(reader, ret, "frame", at, err);
	ret = vf_frame_decode(header, VF_FRAME_MAX_BYTES, &frame, &detail);
	if (ret)
		return bad_frame(reader, at, ret, detail.message, err);
	if (!vf_range_in(cursor->at + sizeof(header), frame.length, layout->frames_bytes))
		return bad_frame(reader, at, -EBADMSG, "its body is cut off", err);
	if (frame.sequence != cursor->sequence)
		return bad_frame(reader, at, -EPROTO, "its number is not the next one", err);
	*ret_frame = (struct vf_file_frame) { .frame = frame, .offset = at };
	cursor->at += sizeof(header) + frame.length;
	cursor->sequence++;
	return 1;
}

int vf_file_reader_next(struct vf_file_reader *reader, struct vf_file_cursor *cursor,
			struct vf_file_frame *ret_frame, struct vferry_error *err)
{
	struct vf_file_cursor moved = *cursor;
	struct vf_file_frame frame;
	int ret;

	do {
		ret = read_frame(reader, &moved, &frame, err);
		if (ret <= 0)
			return ret;
	} while (!vf_frame_type_name(frame.frame.type));
	*cursor = moved;
	*ret_frame = frame;
	return 1;
}

int vf_file_reader_body(struct vf_file_reader *reader, const struct vf_file_frame *frame, void *body,
			struct vferry_error *err)
{
	int ret = traced_read(reader, body, frame->frame.length,
			  frame->offset + VF_FRAME_HEADER_BYTES);

	if (ret)
		return read_error(reader, ret, "frame", frame->offset, err);
	if (vf_crc32c(0, body, frame->frame.length) != frame->frame.body_crc)
		return bad_frame(reader, frame->offset, -EBADMSG, "the checksum of its body is wrong",
				 err);
	return 0;
}

/* ---- pages ---- */

/* The lock protects the cursor and the result. */
struct load {
	struct vf_file_reader *reader;
	struct vferry_ram *ram;		/* NULL: verify only */
	struct vf_ram_fill *fill;	/* may be NULL */
	pthread_mutex_t lock;
	size_t block;
	uint64_t page;
	int result;
	struct vferry_error error;
	uint64_t pages;
};

struct load_work {
	uint32_t crcs[VF_CHUNK_PAGES];
	uint8_t table[VF_CHUNK_PAGES * 4];
	uint8_t *scratch;		/* of a unit, where its pages are read to if not in place; or NULL */
};

/*
 * The next unit with content: its first such page. Threads get whole units, so that no two of them
 * touch the same huge page first, where one would wait while the kernel clears it for the other.
 */
static bool next_content_locked(struct load *load, size_t *ret_block, uint64_t *ret_page)
{
	struct vf_file_layout *layout = &load->reader->layout;

	for (; load->block < layout->block_count; load->block++, load->page = 0) {
		uint64_t pages = layout->blocks[load->block].pages;
		uint64_t page = vf_bitmap_next_set(&load->reader->content[load->block], load->page,
						   pages);

		if (page == pages)
			continue;
		load->page = vf_min_u64((page / VF_UNIT_PAGES + 1) * VF_UNIT_PAGES, pages);
		*ret_block = load->block;
		*ret_page = page;
		return true;
	}
	return false;
}

static uint64_t unit_first(uint64_t page)
{
	return page / VF_UNIT_PAGES * VF_UNIT_PAGES;
}

/* Where the unit of @page is read to. */
static uint8_t *unit_memory(struct load *load, struct load_work *work, size_t index, uint64_t page)
{
	if (!load->ram || vf_ram_fill_unit(load->fill, index))
		return work->scratch;
	return vf_ram_page(vferry_ram_get_block(load->ram, index), unit_first(page));
}

/* Pages [page, page + count) of the block, all with content, within one chunk. */
static int load_run(struct load *load, struct load_work *work, size_t index, uint64_t page,
		    uint64_t count, struct vferry_error *err)
{
	struct vf_file_reader *reader = load->reader;
	const struct vf_file_block *place = &reader->layout.blocks[index];
	uint64_t at = place->pages_at + page * VF_PAGE_BYTES;
	uint64_t in_chunk = page % VF_CHUNK_PAGES;
	uint8_t *to = unit_memory(load, work, index, page) + page % VF_UNIT_PAGES * VF_PAGE_BYTES;
	int ret = traced_read(reader, to, count * VF_PAGE_BYTES, at);

	if (ret)
		return read_error(reader, ret, "pages", at, err);
	vf_crc32c_pages(to, count, work->crcs);
	for (uint64_t i = 0; i < count; i++) {
		if (work->crcs[i] == vf_get_u32(work->table + 4 * (in_chunk + i)))
			continue;
		return vferry_error_set(err, -EBADMSG, "file-page", reader->name,
					"page %llu of block %zu at offset %llu: its checksum is wrong",
					(unsigned long long) (page + i), index,
					(unsigned long long) (at + i * VF_PAGE_BYTES));
	}
	(void) __atomic_fetch_add(&load->pages, count, __ATOMIC_RELAXED);
	return 0;
}

static int load_chunk(struct load *load, struct load_work *work, size_t index, uint64_t page,
		      struct vferry_error *err)
{
	struct vf_file_reader *reader = load->reader;
	const struct vf_file_block *place = &reader->layout.blocks[index];
	const struct vf_bitmap *content = &reader->content[index];
	uint64_t first = vf_chunk_first(page);
	uint64_t end = vf_min_u64(first + VF_CHUNK_PAGES, place->pages);
	uint64_t at = place->crcs_at + first * 4;
	int ret = traced_read(reader, work->table, (end - first) * 4, at);

	if (ret)
		return read_error(reader, ret, "checksums", at, err);
	while (page < end) {
		uint64_t run_end = vf_bitmap_next_clear(content, page,
							vf_min_u64(end, page + PIECE_PAGES));

		ret = load_run(load, work, index, page, run_end - page, err);
		if (ret)
			return ret;
		page = vf_bitmap_next_set(content, run_end, end);
	}
	return 0;
}

/* Zeroes what has no content of [page, end) of the unit in @scratch. */
static void clear_gaps(const struct vf_bitmap *content, uint64_t page, uint64_t end, uint8_t *scratch)
{
	while ((page = vf_bitmap_next_clear(content, page, end)) < end) {
		memset(scratch + page % VF_UNIT_PAGES * VF_PAGE_BYTES, 0, VF_PAGE_BYTES);
		page++;
	}
}

/* What has content of [page, end), within one unit, from the scratch to RAM; with what lies between if
 * it must be. */
static int put_unit(struct load *load, struct load_work *work, size_t index, uint64_t page,
		    uint64_t end, struct vferry_error *err)
{
	const struct vf_bitmap *content = &load->reader->content[index];
	uint64_t together = vf_ram_fill_unit(load->fill, index);

	while ((page = vf_bitmap_next_set(content, page, end)) < end) {
		uint64_t first = page / together * together;
		int ret;

		page = vf_bitmap_next_clear(content, page, end);
		page = (page + together - 1) / together * together;
		clear_gaps(content, first, page, work->scratch);
		ret = vf_ram_fill_put(load->fill, index, first,
				      work->scratch + first % VF_UNIT_PAGES * VF_PAGE_BYTES,
				      page - first);
		if (ret)
			return vferry_error_set(err, ret, "ram-fill", load->reader->name,
						"cannot put pages %llu to %llu of block %zu into RAM: %s",
						(unsigned long long) first,
						(unsigned long long) page - 1, index,
						vferry_errno_name(ret));
	}
	return 0;
}

/* The unit that @page, which has content, lies in. */
static int load_unit(struct load *load, struct load_work *work, size_t index, uint64_t page,
		     struct vferry_error *err)
{
	const struct vf_bitmap *content = &load->reader->content[index];
	uint64_t first = page, end = vf_min_u64(unit_first(page) + VF_UNIT_PAGES,
						load->reader->layout.blocks[index].pages);

	while (page < end) {
		int ret = load_chunk(load, work, index, page, err);

		if (ret)
			return ret;
		page = vf_bitmap_next_set(content, vf_min_u64(vf_chunk_first(page) + VF_CHUNK_PAGES,
							      end), end);
	}
	if (!work->scratch || !vf_ram_fill_unit(load->fill, index))
		return 0;
	return put_unit(load, work, index, first, end, err);
}

static void *load_main(void *arg)
{
	struct load *load = arg;
	struct load_work *work = calloc(1, sizeof(*work));
	struct vferry_error error = VFERRY_ERROR_INIT;
	int ret = work ? 0 : -ENOMEM;

	if (work && (!load->ram || load->fill)) {
		work->scratch = aligned_alloc(VF_PAGE_BYTES, VF_UNIT_PAGES * VF_PAGE_BYTES);
		ret = work->scratch ? 0 : -ENOMEM;
	}
	while (!ret) {
		uint64_t page;
		size_t block;
		bool more;

		(void) pthread_mutex_lock(&load->lock);
		more = !load->result && next_content_locked(load, &block, &page);
		(void) pthread_mutex_unlock(&load->lock);
		if (!more)
			break;
		if (__atomic_load_n(&load->reader->cancelled, __ATOMIC_RELAXED))
			ret = -ECANCELED;
		else
			ret = load_unit(load, work, block, page, &error);
	}
	if (ret) {
		(void) vferry_error_set(&error, ret, "file-read", load->reader->name, "%s",
					vferry_errno_name(ret));
		(void) pthread_mutex_lock(&load->lock);
		if (!load->result) {
			load->result = ret;
			load->error = error;
		}
		(void) pthread_mutex_unlock(&load->lock);
	}
	if (work)
		free(work->scratch);
	free(work);
	return NULL;
}

/* Of [page, end), which may hold data: zeroes what has no content in the file. */
static void clear_run(const struct vf_bitmap *content, const struct vferry_ram_block *block,
		      uint64_t page, uint64_t end, vf_zero_test is_zero)
{
	while ((page = vf_bitmap_next_clear(content, page, end)) < end) {
		if (!is_zero(vf_ram_page(block, page)))
			memset(vf_ram_page(block, page), 0, VF_PAGE_BYTES);
		page++;
	}
}

/* Pages that are zero in the file, but not known to be so in memory. Fresh memory has none. */
static int clear_others(struct vf_file_reader *reader, struct vferry_ram *ram,
			struct vferry_error *err)
{
	vf_zero_test is_zero = vf_zero_test_best();

	vf_ram_refresh_holes(ram);
	for (size_t b = 0; b < reader->layout.block_count; b++) {
		uint64_t pages = reader->layout.blocks[b].pages;
		uint64_t page = 0;

		while (page < pages) {
			uint64_t end = pages;

			page = vf_ram_next_data(ram, b, page, pages, &end);
			if (page < pages)
				clear_run(&reader->content[b], vferry_ram_get_block(ram, b), page,
					  end, is_zero);
			page = vf_max_u64(page, end);
			if (__atomic_load_n(&reader->cancelled, __ATOMIC_RELAXED))
				return vferry_error_set(err, -ECANCELED, "cancelled", reader->name,
							"cancelled");
		}
	}
	return 0;
}

static int check_sizes(const struct vf_file_reader *reader, const struct vferry_ram *ram,
		       struct vferry_error *err)
{
	if (vferry_ram_block_count(ram) != reader->layout.block_count)
		return vferry_error_set(err, -EINVAL, "file-ram", reader->name,
					"the file has %zu RAM blocks, this machine %zu",
					reader->layout.block_count, vferry_ram_block_count(ram));
	for (size_t b = 0; b < reader->layout.block_count; b++) {
		const struct vferry_ram_block *block = vferry_ram_get_block(ram, b);

		if (vf_ram_block_pages(block) != reader->layout.blocks[b].pages)
			return vferry_error_set(err, -EINVAL, "file-ram", reader->name,
						"RAM block \"%s\": %llu pages in the file, %llu here",
						block->name,
						(unsigned long long) reader->layout.blocks[b].pages,
						(unsigned long long) vf_ram_block_pages(block));
	}
	return 0;
}

int vf_file_reader_load_pages(struct vf_file_reader *reader, struct vferry_ram *ram,
			      unsigned threads, struct vf_file_stats *ret_stats,
			      struct vferry_error *err)
{
	struct load load = {
		.reader = reader, .ram = ram, .lock = PTHREAD_MUTEX_INITIALIZER,
	};
	pthread_t helpers[MAX_THREADS];
	uint64_t start = vf_now_ns();
	uint64_t all = 0;
	unsigned started = 0;
	int ret;

	threads = threads ? threads : 2;
	if (threads > MAX_THREADS)
		return vferry_error_set(err, -EINVAL, "file-threads", reader->name,
					"1 to %u threads, not %u", MAX_THREADS, threads);
	if (ram) {
		ret = check_sizes(reader, ram, err);
		if (!ret)
			ret = clear_others(reader, ram, err);
		if (ret)
			return ret;
	}
	if (ram)
		load.fill = vf_ram_fill_open(ram);
	for (size_t b = 0; b < reader->layout.block_count; b++)
		vf_ram_fill_watch(load.fill, b, VF_UNIT_PAGES);
	while (started < threads - 1 &&
	       !pthread_create(&helpers[started], NULL, load_main, &load))
		started++;
	(void) load_main(&load);
	for (unsigned i = 0; i < started; i++)
		(void) pthread_join(helpers[i], NULL);
	(void) vf_ram_fill_close(load.fill);
	if (load.result) {
		if (err && !err->code)
			*err = load.error;
		return load.result;
	}
	for (size_t b = 0; b < reader->layout.block_count; b++)
		all += reader->layout.blocks[b].pages;
	if (ret_stats) {
		*ret_stats = (struct vf_file_stats) {
			.bytes = load.pages * VF_PAGE_BYTES, .pages_normal = load.pages,
			.pages_zero = all - load.pages, .ns = vf_now_ns() - start,
		};
	}
	return 0;
}
