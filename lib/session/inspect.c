/* SPDX-License-Identifier: MIT */
/*
 * inspect.c - see <vferry/inspect.h> and inspect.h; here: the file's header, its bitmaps and pages.
 *
 * Bitmaps are read piece by piece and never kept, so that memory does not depend on what the header
 * says of the size of RAM.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "session/inspect.h"
#include "vfio/config.h"

/* A piece of a bitmap: one page of it, which speaks of so many pages of RAM. */
#define PIECE_PAGES (VF_PAGE_BYTES * 8)
#define RUN_PAGES 256u

void vf_inspect_problem(struct vf_inspect *in, uint64_t offset, const char *what, const char *fmt,
			...)
{
	struct vferry_inspect_problem *p;
	va_list args;

	if (in->out->problem_count++ >= VFERRY_INSPECT_PROBLEMS)
		return;
	p = &in->out->problems[in->out->problems_listed++];
	p->offset = offset;
	(void) snprintf(p->what, sizeof(p->what), "%s", what);
	va_start(args, fmt);
	(void) vsnprintf(p->message, sizeof(p->message), fmt, args);
	va_end(args);
}

size_t vf_inspect_read(struct vf_inspect *in, void *to, size_t bytes, uint64_t at)
{
	size_t done = 0;

	while (done < bytes && at + done < in->file_bytes) {
		ssize_t n = pread(in->fd, (uint8_t *) to + done, bytes - done, (off_t) (at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && !in->result)
			in->result = -errno;
		if (n <= 0)
			break;
		done += (size_t) n;
	}
	return in->result ? 0 : done;
}

/* ---- header ---- */

/* The decoder's message without the place in front: a problem has that already. */
static const char *without_place(const char *message)
{
	static const char place[] = "header at offset 0: ";

	return strncmp(message, place, strlen(place)) ? message : message + strlen(place);
}

static bool read_header(struct vf_inspect *in)
{
	struct vferry_inspection *out = in->out;
	struct vferry_error why = VFERRY_ERROR_INIT;
	uint8_t header[VF_FILE_HEADER_BYTES];
	size_t got = vf_inspect_read(in, header, sizeof(header), 0);

	if (got < sizeof(header)) {
		vf_inspect_problem(in, got, "header",
				   "a header of %u bytes was expected, the file ends after %zu",
				   VF_FILE_HEADER_BYTES, got);
		return false;
	}
	/* Of any length: where it really ends is said at what is missing. */
	if (vf_file_header_decode(header, UINT64_MAX, &in->layout, NULL, &why)) {
		vf_inspect_problem(in, 0, "header", "%s", without_place(why.message));
		return false;
	}
	out->file_version = VF_FILE_VERSION;
	out->frames_offset = in->layout.frames_at;
	out->frames_bytes = in->layout.frames_bytes;
	out->frame_count = in->layout.frame_count;
	out->block_count = in->layout.block_count;
	out->blocks = calloc(out->block_count ? out->block_count : 1, sizeof(*out->blocks));
	if (!out->blocks) {
		in->result = -ENOMEM;
		return false;
	}
	for (size_t i = 0; i < out->block_count; i++) {
		out->blocks[i].pages = in->layout.blocks[i].pages;
		out->blocks[i].bytes = in->layout.blocks[i].pages * VF_PAGE_BYTES;
		out->blocks[i].offset = in->layout.blocks[i].pages_at;
	}
	return true;
}

/* ---- bitmaps ---- */

/* The bits of @block from page @first on, and how many pages they speak of; 0: cut off. */
static uint64_t read_piece(struct vf_inspect *in, size_t block, uint64_t first,
			   uint8_t piece[VF_PAGE_BYTES])
{
	const struct vf_file_block *b = &in->layout.blocks[block];
	uint64_t at = b->bitmap_at + first / 8;

	if (vf_inspect_read(in, piece, VF_PAGE_BYTES, at) < VF_PAGE_BYTES)
		return 0;
	return vf_min_u64(PIECE_PAGES, b->pages - first);
}

static bool has_content(const uint8_t *piece, uint64_t page)
{
	return piece[page / 8] >> (page % 8) & 1;
}

static uint64_t count_content(const uint8_t *piece, uint64_t pages)
{
	uint64_t count = 0, page = 0;

	for (; page + 64 <= pages; page += 64)
		count += (uint64_t) __builtin_popcountll(vf_get_u64(piece + page / 8));
	for (; page < pages; page++)
		count += has_content(piece, page);
	return count;
}

/* Return: they are as they were written. */
static bool read_bitmaps(struct vf_inspect *in)
{
	uint8_t piece[VF_PAGE_BYTES];
	uint32_t crc = 0;

	for (size_t b = 0; b < in->layout.block_count; b++) {
		for (uint64_t page = 0; page < in->layout.blocks[b].pages; page += PIECE_PAGES) {
			uint64_t pages = read_piece(in, b, page, piece);

			if (!pages) {
				vf_inspect_problem(
					in, in->file_bytes, "bitmaps",
					"the file ends here, %" PRIu64
					" bytes of bitmaps were expected from offset %u on",
					in->layout.bitmaps_bytes, VF_FILE_HEADER_BYTES);
				return false;
			}
			crc = vf_crc32c(crc, piece, sizeof(piece));
			in->out->blocks[b].data_pages += count_content(piece, pages);
		}
	}
	if (crc == in->layout.bitmap_crc)
		return true;
	vf_inspect_problem(
		in, VF_FILE_HEADER_BYTES, "bitmaps",
		"the bitmaps have checksum %08x, %08x was expected: which pages are zero is "
		"not known",
		crc, in->layout.bitmap_crc);
	return false;
}

/* ---- pages ---- */

struct verify {
	struct vf_inspect *in;
	uint8_t *data;			/* RUN_PAGES pages */
	uint32_t crcs[RUN_PAGES];
	uint8_t table[RUN_PAGES * 4];
};

/* @count pages from @page on, all with content. Return: go on? */
static bool verify_run(struct verify *v, size_t block, uint64_t page, uint64_t count)
{
	struct vf_inspect *in = v->in;
	const struct vf_file_block *b = &in->layout.blocks[block];
	uint64_t at = b->pages_at + page * VF_PAGE_BYTES;
	size_t table = vf_inspect_read(in, v->table, count * 4, b->crcs_at + page * 4);
	size_t data = vf_inspect_read(in, v->data, count * VF_PAGE_BYTES, at);

	if (table < count * 4 || data < count * VF_PAGE_BYTES) {
		vf_inspect_problem(in, in->file_bytes, "pages",
				   "the file ends here, before page %" PRIu64 " of block %zu",
				   (uint64_t) (page + data / VF_PAGE_BYTES), block);
		return false;
	}
	vf_crc32c_pages(v->data, count, v->crcs);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t expected = vf_get_u32(v->table + 4 * i);

		if (v->crcs[i] == expected)
			in->out->verified_pages++;
		else
			vf_inspect_problem(in, at + i * VF_PAGE_BYTES, "pages",
					   "page %" PRIu64
					   " of block %zu has checksum %08x, %08x was "
					   "expected",
					   page + i, block, v->crcs[i], expected);
	}
	return true;
}

static bool verify_piece(struct verify *v, size_t block, uint64_t first, const uint8_t *piece,
			 uint64_t pages)
{
	uint64_t page = 0;

	while (page < pages) {
		uint64_t count = 0;

		while (page + count < pages && count < RUN_PAGES &&
		       has_content(piece, page + count))
			count++;
		if (count && !verify_run(v, block, first + page, count))
			return false;
		page += count ? count : 1;
	}
	return !v->in->result;
}

static void verify_pages(struct vf_inspect *in)
{
	struct verify *v = calloc(1, sizeof(*v));
	uint8_t piece[VF_PAGE_BYTES];
	bool more = true;

	if (v)
		v->data = aligned_alloc(VF_PAGE_BYTES, RUN_PAGES * VF_PAGE_BYTES);
	if (!v || !v->data) {
		free(v);
		in->result = -ENOMEM;
		return;
	}
	v->in = in;
	for (size_t b = 0; b < in->layout.block_count && more; b++) {
		for (uint64_t page = 0; page < in->layout.blocks[b].pages && more;
		     page += PIECE_PAGES) {
			uint64_t pages = read_piece(in, b, page, piece);

			more = pages && verify_piece(v, b, page, piece, pages);
		}
	}
	free(v->data);
	free(v);
}

/* ---- the whole ---- */

static void inspect(struct vf_inspect *in)
{
	bool bitmaps;

	if (!read_header(in))
		return;
	bitmaps = read_bitmaps(in);
	vf_inspect_frames(in);
	if (bitmaps && in->options->verify)
		verify_pages(in);
	if (!in->result)
		vf_inspect_sum_up(in);
}

int vf_inspect_fd(int take_fd, const char *name, const struct vferry_inspect_options *options,
		  struct vferry_inspection **ret_inspection, struct vferry_error *err)
{
	static const struct vferry_inspect_options defaults = VFERRY_INSPECT_OPTIONS_INIT;
	struct vf_inspect in = { .fd = take_fd, .options = options ? options : &defaults };
	struct stat st;

	in.own = calloc(1, sizeof(*in.own));
	in.body = malloc(VF_FRAME_MAX_BYTES);
	if (!in.own || !in.body) {
		in.result = -ENOMEM;
	} else if (fstat(take_fd, &st)) {
		in.result = -errno;
	} else if (!S_ISREG(st.st_mode)) {
		in.result = -EINVAL;
	} else {
		in.out = &in.own->pub;
		in.file_bytes = (uint64_t) st.st_size;
		in.out->file_bytes = in.file_bytes;
		inspect(&in);
	}
	vf_close(&in.fd);
	free(in.body);
	vf_manifest_done(&in.manifest);
	if (in.result) {
		(void) vferry_inspection_free(in.own ? &in.own->pub : NULL);
		return vferry_error_set(err, in.result, "file-read", name,
					in.result == -EINVAL ? "not a regular file (%s)"
							     : "cannot be read: %s",
					vferry_errno_name(in.result));
	}
	*ret_inspection = in.out;
	return 0;
}

int vferry_inspect(const char *path, const struct vferry_inspect_options *options,
		   struct vferry_inspection **ret_inspection, struct vferry_error *err)
{
	int fd;

	if (options && options->size != sizeof(*options))
		return vferry_error_set(err, -EINVAL, "options-size", path,
					"options of another version of the library");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return vferry_error_set(err, -errno, "file-open", path, "cannot open %s: %s", path,
					vferry_errno_name(errno));
	return vf_inspect_fd(fd, path, options, ret_inspection, err);
}

struct vferry_inspection *vferry_inspection_free(struct vferry_inspection *inspection)
{
	/* The public part is the first member. */
	struct vf_inspection *own = (struct vf_inspection *) inspection;

	if (!inspection)
		return NULL;
	for (size_t i = 0; i < inspection->component_count; i++) {
		struct vferry_inspect_component *c = &inspection->components[i];

		for (size_t j = 0; j < c->section_count; j++)
			free((void *) c->sections[j].body);
		free(c->sections);
	}
	free(inspection->components);
	free(inspection->blocks);
	free(inspection->dependencies);
	vf_machine_done(&own->machine);
	free(own);
	return NULL;
}

/* ---- config space ---- */

struct visit {
	void (*field)(void *user, const struct vferry_inspect_field *field);
	void *user;
};

static void visit_field(void *user, const struct vf_config_field *field)
{
	const struct visit *v = user;
	const struct vferry_inspect_field f = {
		.group = field->group, .name = field->name, .offset = field->offset,
		.bytes = field->len, .value = field->value,
	};

	v->field(v->user, &f);
}

int vferry_inspect_config(const void *body, size_t bytes,
			  void (*field)(void *user, const struct vferry_inspect_field *field),
			  void *user, struct vferry_error *err)
{
	struct vf_reader r = vf_reader_of(body, body ? bytes : 0);
	struct visit v = { .field = field, .user = user };
	struct vf_config_state *state;
	int ret = vf_config_state_decode(&r, &state, err);

	if (ret)
		return ret;
	vf_config_visit(state, visit_field, &v);
	vf_config_state_free(state);
	return 0;
}
