/* SPDX-License-Identifier: MIT */
/*
 * test_file.c - a machine saved and loaded: pages and frames come back, live rounds too; whatever is
 * damaged is refused with its place in the file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "ram/ram.h"
#include "transfer/file.h"
#include "transfer/file_layout.h"
#include "huge_pool.h"

#define PAGE VF_PAGE_BYTES
#if defined(__SANITIZE_THREAD__)
#define SPARSE_BYTES (128 * VF_GIB)	/* its address space has no room for more */
#else
#define SPARSE_BYTES (2048 * VF_GIB)
#endif

static const uint64_t sizes[] = { 9 * VF_MIB + 5 * VF_PAGE_BYTES, 3 * VF_MIB };

struct fixture {
	char path[64];
	struct vferry_ram *from, *to;
	struct huge_pool pool;
};

static struct vferry_ram *make_ram(const uint64_t *bytes, size_t count)
{
	struct vferry_ram *ram;

	assert_int_equal(vferry_ram_new(&ram), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(vferry_ram_create_block(ram, "ram", i << 42, bytes[i], 0, NULL),
				 (int) i);
	return ram;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	f->pool.fd = -1;

	/* In memory where that can be: syncing a disk is not what is tested here. */
	(void) snprintf(f->path, sizeof(f->path), "%s/vferry-file-XXXXXX",
			access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	fd = mkstemp(f->path);
	if (fd < 0)
		return -1;
	close(fd);
	f->from = make_ram(sizes, 2);
	f->to = make_ram(sizes, 2);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	(void) vferry_ram_free(f->from);
	(void) vferry_ram_free(f->to);
	huge_pool_restore(&f->pool);
	free(f);
	return 0;
}

static uint8_t *host(struct vferry_ram *ram, size_t block, uint64_t page)
{
	return vf_ram_page(vferry_ram_get_block(ram, block), page);
}

/* A few hundred pages with content, some touched zeros, the rest never touched. */
static void fill(struct vferry_ram *ram, uint64_t seed)
{
	for (uint64_t page = 0; page < 2305; page++) {
		if (page % 1000 > 600)
			continue;
		if (page % 7 == 0) {
			memset(host(ram, 0, page), 0, PAGE);
			continue;
		}
		for (size_t i = 0; i < PAGE; i += 8) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			memcpy(host(ram, 0, page) + i, &seed, 8);
		}
	}
	memset(host(ram, 1, 767), 0xcc, PAGE);
}

static void send_frames(struct vf_file_writer *writer)
{
	struct vf_channel *channel = vf_file_writer_channel(writer);
	char text[100];

	for (unsigned i = 0; i < 50; i++) {
		memset(text, 'a' + (int) i % 26, sizeof(text));
		assert_int_equal(vf_channel_send(channel, VF_FRAME_SECTION, 0, i, text, i, NULL), 0);
	}
	assert_int_equal(vf_channel_send(channel, VF_FRAME_KEEPALIVE, VF_FRAME_OPTIONAL, 0, "", 0,
					 NULL), 0);
}

static void save(struct fixture *f, unsigned threads)
{
	struct vf_file_write_options options = { .threads = threads };
	struct vf_file_writer *writer;
	struct vf_file_stats stats;

	assert_int_equal(vf_file_writer_new(f->path, f->from, &writer, NULL), 0);
	assert_int_equal(vf_file_write_pages(writer, &options, &stats, NULL), 0);
	assert_int_equal(stats.pages_normal + stats.pages_zero,
			 vferry_ram_bytes(f->from) / PAGE);
	send_frames(writer);
	assert_int_equal(vf_file_writer_finish(writer, NULL), 0);
	(void) vf_file_writer_free(writer);
}

/* Opens, reads all frames and pages. Return: the first failure. */
static int load(struct fixture *f, unsigned threads, struct vferry_error *err)
{
	struct vf_file_reader *reader;
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_frame frame;
	uint8_t body[1000];
	int ret = vf_file_reader_new(f->path, &reader, err);

	if (ret)
		return ret;
	while ((ret = vf_file_reader_next(reader, &cursor, &frame, err)) > 0) {
		if (frame.frame.length > sizeof(body))
			ret = -E2BIG;
		else
			ret = vf_file_reader_body(reader, &frame, body, err);
		if (ret)
			break;
		if (frame.frame.type == VF_FRAME_SECTION) {
			assert_int_equal(frame.frame.component, frame.frame.sequence);
			assert_int_equal(frame.frame.length, frame.frame.sequence);
			for (uint32_t i = 0; i < frame.frame.length; i++)
				assert_int_equal(body[i], 'a' + frame.frame.component % 26);
		}
	}
	if (!ret) {
		assert_int_equal(cursor.sequence, 51);
		ret = vf_file_reader_load_pages(reader, f->to, threads, NULL, err);
	}
	(void) vf_file_reader_free(reader);
	return ret;
}

static void assert_same(struct fixture *f)
{
	uint32_t from, to;

	assert_int_equal(vferry_ram_digest(f->from, &from, NULL), 0);
	assert_int_equal(vferry_ram_digest(f->to, &to, NULL), 0);
	assert_int_equal(from, to);
}

static uint64_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t) st.st_blocks * 512;
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;

	fill(f->from, 1);
	for (unsigned threads = 1; threads <= 4; threads++) {
		save(f, threads);
		(void) vferry_ram_free(f->to);
		f->to = make_ram(sizes, 2);
		assert_int_equal(load(f, threads, NULL), 0);
		assert_same(f);
		/* Zero pages were neither read nor touched. */
		assert_int_equal(allocated(vferry_ram_get_block(f->to, 1)->fd), PAGE);
	}
}

/* Over an older, larger file: nothing of it shines through. */
static void test_in_place(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	struct stat st;
	char junk[4096];

	memset(junk, 0xff, sizeof(junk));
	for (off_t at = 0; at < 20 * (off_t) VF_MIB; at += (off_t) sizeof(junk))
		assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
	fill(f->from, 2);
	save(f, 2);
	assert_int_equal(load(f, 2, NULL), 0);
	assert_same(f);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size < 16 * (off_t) VF_MIB);
	memset(host(f->from, 0, 0), 0, sizes[0]);
	save(f, 2);
	assert_int_equal(load(f, 2, NULL), 0);	/* into memory that is not fresh either */
	assert_same(f);
	close(fd);
}

/* Into fresh huge pages, of which the file knows some small pages; then over what is there. */
static void test_huge_pages(void **state)
{
	static const uint64_t size[] = { 8 * VF_MIB };
	struct fixture *f = *state;

	(void) vferry_ram_free(f->from);
	(void) vferry_ram_free(f->to);
	f->from = make_ram(size, 1);
	huge_pool_grow(&f->pool, 4);
	assert_int_equal(vferry_ram_new(&f->to), 0);
	if (vferry_ram_create_block(f->to, "ram", 0, size[0], VFERRY_RAM_HUGETLB, NULL) < 0) {
		print_message("no huge pages in the pool: skipped\n");
		skip();
	}
	memset(host(f->from, 0, 0), 0x31, 512 * PAGE);
	memset(host(f->from, 0, 700), 0x32, 3 * PAGE);
	memset(host(f->from, 0, 1023), 0x33, PAGE);
	*host(f->from, 0, 1536 + 511) = 0x34;
	save(f, 2);
	assert_int_equal(load(f, 2, NULL), 0);
	assert_same(f);
	/* The third was not in the file. */
	assert_int_equal(allocated(vferry_ram_get_block(f->to, 0)->fd), 6 * VF_MIB);
	memset(host(f->to, 0, 0), 0x35, size[0]);
	assert_int_equal(load(f, 2, NULL), 0);
	assert_same(f);
}

static void test_new_file_is_sparse(void **state)
{
	struct fixture *f = *state;
	int fd;

	*host(f->from, 0, 2000) = 1;
	save(f, 2);
	fd = open(f->path, O_RDONLY | O_CLOEXEC);
	assert_true(allocated(fd) < 64 * VF_KIB);
	close(fd);
	assert_int_equal(load(f, 1, NULL), 0);
	assert_same(f);
}

static void test_sparse_memory(void **state)
{
	static const uint64_t sparse[] = { SPARSE_BYTES };
	struct fixture *f = *state;
	char probe[] = "/dev/shm/vferry-file-XXXXXX";
	int fd = mkstemp(probe);

	if (fd < 0)
		skip();
	unlink(f->path);
	(void) snprintf(f->path, sizeof(f->path), "%s", probe);	/* tmpfs: files of any size */
	(void) vferry_ram_free(f->from);
	(void) vferry_ram_free(f->to);
	f->from = make_ram(sparse, 1);
	f->to = make_ram(sparse, 1);
	*host(f->from, 0, 77) = 1;
	*host(f->from, 0, SPARSE_BYTES / PAGE - 1) = 2;
	save(f, 2);
	assert_true(allocated(fd) < VF_MIB);
	assert_int_equal(load(f, 2, NULL), 0);
	assert_same(f);
	assert_int_equal(allocated(vferry_ram_get_block(f->to, 0)->fd), 2 * PAGE);
	close(fd);
}

struct dirtier {
	struct vferry_ram *ram;
	bool stop;
};

static void *dirty_main(void *arg)
{
	struct dirtier *d = arg;
	uint64_t n = 0;

	while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
		uint64_t page = ++n * 7919 % 2305;

		/* Atomic, because pwrite() reads it at any moment. */
		for (size_t i = 0; i < PAGE; i += 512)
			__atomic_store_n((uint64_t *) (void *) (host(d->ram, 0, page) + i),
					 n % 5 ? n : 0, __ATOMIC_RELAXED);
		vferry_ram_mark_dirty(d->ram, page * PAGE, PAGE);
		if (n % 16 == 0)
			usleep(50);
	}
	return NULL;
}

static void test_live_rounds(void **state)
{
	struct fixture *f = *state;
	struct dirtier d = { .ram = f->from };
	struct vf_ram_collected collected;
	struct vf_file_writer *writer;
	pthread_t thread;

	fill(f->from, 3);
	assert_int_equal(vf_file_writer_new(f->path, f->from, &writer, NULL), 0);
	assert_int_equal(vf_ram_tracking_start(f->from, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, dirty_main, &d), 0);
	for (uint32_t round = 0; round < 4; round++) {
		struct vf_file_write_options options = { .round = round, .threads = 2 };

		if (round == 3) {
			__atomic_store_n(&d.stop, true, __ATOMIC_RELAXED);
			(void) pthread_join(thread, NULL);
		}
		assert_int_equal(vf_ram_collect(f->from, &collected), 0);
		assert_int_equal(vf_file_write_pages(writer, &options, NULL, NULL), 0);
		usleep(5000);
	}
	assert_int_equal(vf_ram_dirty_pages(f->from), 0);
	send_frames(writer);
	assert_int_equal(vf_file_writer_finish(writer, NULL), 0);
	(void) vf_file_writer_free(writer);
	vf_ram_tracking_stop(f->from);
	assert_int_equal(load(f, 2, NULL), 0);
	assert_same(f);
}

/* Everything marked, by something that cannot tell: holes are not read, and count as written. */
static void test_all_marked(void **state)
{
	struct fixture *f = *state;
	struct vf_file_write_options options = { .threads = 2 };
	const struct vferry_ram_block *block = vferry_ram_get_block(f->from, 0);
	struct vf_file_writer *writer;
	uint64_t before;

	fill(f->from, 8);
	assert_int_equal(vf_file_writer_new(f->path, f->from, &writer, NULL), 0);
	assert_int_equal(vf_ram_tracking_start(f->from, NULL), 0);
	assert_int_equal(vf_file_write_pages(writer, &options, NULL, NULL), 0);
	vf_ram_mark_all(f->from);
	memset(host(f->from, 0, 3), 0x77, PAGE);
	/* Given back by the guest: it was content, and is a hole now. */
	assert_int_equal(fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   2 * (off_t) PAGE), 0);
	assert_int_equal(fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   1200 * (off_t) PAGE, 300 * (off_t) PAGE), 0);
	before = allocated(block->fd);
	options.round = 1;
	assert_int_equal(vf_file_write_pages(writer, &options, NULL, NULL), 0);
	assert_int_equal(vf_ram_dirty_pages(f->from), 0);
	assert_int_equal(allocated(block->fd), before);
	vf_ram_tracking_stop(f->from);
	/* Content before, and zero now. */
	assert_int_equal(vf_ram_tracking_start(f->from, NULL), 0);
	memset(host(f->from, 0, 1001), 0, PAGE);
	vferry_ram_mark_dirty(f->from, 1001 * PAGE, PAGE);
	memset(host(f->from, 1, 767), 0, PAGE);
	vferry_ram_mark_dirty(f->from, (1ull << 42) + 767 * PAGE, PAGE);
	options.round = 2;
	assert_int_equal(vf_file_write_pages(writer, &options, NULL, NULL), 0);
	vf_ram_tracking_stop(f->from);
	send_frames(writer);
	assert_int_equal(vf_file_writer_finish(writer, NULL), 0);
	(void) vf_file_writer_free(writer);
	assert_int_equal(load(f, 2, NULL), 0);
	assert_same(f);
}

static void test_unfinished_is_refused(void **state)
{
	struct fixture *f = *state;
	struct vf_file_writer *writer;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_frame frame;

	fill(f->from, 4);
	assert_int_equal(load(f, 1, &err), -EBADMSG);	/* an empty file */
	save(f, 2);
	assert_int_equal(load(f, 1, NULL), 0);
	/* Begun again, and given up: what was good is good no more. */
	assert_int_equal(vf_file_writer_new(f->path, f->from, &writer, NULL), 0);
	vferry_error_clear(&err);
	assert_int_equal(load(f, 1, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "incomplete"));
	send_frames(writer);
	assert_int_equal(vf_channel_recv_header(vf_file_writer_channel(writer), 100, &frame, NULL),
			 -EOPNOTSUPP);
	vf_file_writer_cancel(writer);
	assert_int_equal(vf_file_write_pages(writer, &(struct vf_file_write_options) { 0 }, NULL,
					     NULL), -ECANCELED);
	assert_int_equal(vf_file_writer_finish(writer, NULL), -ECANCELED);
	(void) vf_file_writer_free(writer);
	assert_int_equal(load(f, 1, NULL), -EBADMSG);
	assert_int_equal(vf_file_writer_new("/dev/null", f->from, &writer, NULL), -EINVAL);
	assert_int_equal(vf_file_writer_new("/nowhere/at/all", f->from, &writer, NULL), -ENOENT);
}

/* Flips one bit of the file: loading must fail and name @word. */
static void damage(struct fixture *f, uint64_t at, const char *word)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t) at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t) at), 1);
	assert_int_equal(load(f, 2, &err), -EBADMSG);
	if (!strstr(err.message, word))
		fail_msg("\"%s\" does not say \"%s\"", err.message, word);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t) at), 1);
	close(fd);
}

static void test_damage_is_found_and_placed(void **state)
{
	struct fixture *f = *state;
	struct vf_file_layout layout = {
		.block_count = 2, .blocks = { { .pages = 2309 }, { .pages = 768 } },
	};
	uint64_t page_at, frame_at;
	char word[64];
	int fd;

	fill(f->from, 5);
	save(f, 2);
	assert_int_equal(vf_file_layout_compute(&layout), 0);
	for (uint64_t at = 8; at < 64; at++)
		damage(f, at, "");
	damage(f, 3000, "checksum");
	damage(f, layout.blocks[0].bitmap_at + 1, "bitmaps at offset 4096");
	damage(f, layout.blocks[1].bitmap_at + 4000, "bitmaps at offset 4096");
	page_at = layout.blocks[1].pages_at + 767 * PAGE;
	(void) snprintf(word, sizeof(word), "page 767 of block 1 at offset %llu",
			(unsigned long long) page_at);
	damage(f, page_at + 17, word);
	damage(f, layout.blocks[1].crcs_at + 767 * 4, word);
	/* Frame n is 32 + n bytes long. */
	frame_at = layout.frames_at + 10 * 32 + 45;
	(void) snprintf(word, sizeof(word), "frame at offset %llu", (unsigned long long) frame_at);
	damage(f, frame_at, word);
	damage(f, frame_at + 20, word);
	damage(f, frame_at + 35, word);
	assert_int_equal(load(f, 2, NULL), 0);
	fd = open(f->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t) frame_at), 0);
	close(fd);
	assert_int_equal(load(f, 2, NULL), -EBADMSG);
}

static void test_later_versions_are_refused(void **state)
{
	struct vf_file_layout layout = { .block_count = 1, .blocks = { { .pages = 1 } } }, got;
	uint8_t header[VF_FILE_HEADER_BYTES];

	(void) state;
	assert_int_equal(vf_file_layout_compute(&layout), 0);
	vf_file_header_encode(&layout, header);
	assert_int_equal(vf_file_header_decode(header, layout.frames_at, &got, "x", NULL), 0);
	assert_int_equal(vf_file_header_decode(header, layout.frames_at - 1, &got, "x", NULL),
			 -EBADMSG);
	header[8] = 2;
	vf_put_u32(header + 4092, vf_crc32c(0, header, 4092));
	assert_int_equal(vf_file_header_decode(header, layout.frames_at, &got, "x", NULL),
			 -EPROTONOSUPPORT);
	layout.blocks[0].pages = 1ull << 60;
	assert_int_equal(vf_file_layout_compute(&layout), -EFBIG);
}

static void test_other_ram_is_refused(void **state)
{
	static const uint64_t others[] = { 9 * VF_MIB, 3 * VF_MIB };
	struct fixture *f = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	save(f, 1);
	(void) vferry_ram_free(f->to);
	f->to = make_ram(others, 2);
	assert_int_equal(load(f, 1, &err), -EINVAL);
	assert_string_equal(err.id, "file-ram");
	(void) vferry_ram_free(f->to);
	f->to = make_ram(sizes, 1);
	assert_int_equal(load(f, 1, NULL), -EINVAL);
}

static void test_verify_only_and_by_place(void **state)
{
	struct fixture *f = *state;
	struct vf_file_reader *reader;
	struct vf_file_stats stats;
	struct vf_file_cursor cursor = { 0 };
	struct vf_file_frame frames[50];
	uint8_t body[64];

	fill(f->from, 6);
	save(f, 2);
	assert_int_equal(vf_file_reader_new(f->path, &reader, NULL), 0);
	assert_int_equal(vf_file_reader_block_count(reader), 2);
	assert_int_equal(vf_file_reader_block_pages(reader, 1), 768);
	assert_int_equal(vf_file_reader_data_pages(reader, 1), 1);
	assert_int_equal(vf_file_reader_load_pages(reader, NULL, 2, &stats, NULL), 0);
	assert_int_equal(stats.pages_normal, vf_file_reader_data_pages(reader, 0) + 1);
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(vf_file_reader_next(reader, &cursor, &frames[i], NULL), 1);
	for (size_t i = 50; i-- > 0; ) {
		assert_int_equal(vf_file_reader_body(reader, &frames[i], body, NULL), 0);
		assert_true(!i || body[0] == 'a' + i % 26);
	}
	vf_file_reader_cancel(reader);
	assert_int_equal(vf_file_reader_load_pages(reader, NULL, 2, NULL, NULL), -ECANCELED);
	(void) vf_file_reader_free(reader);
}

static void test_no_space_is_told(void **state)
{
	struct fixture *f = *state;
	struct vf_file_writer *writer;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	/* A descriptor that takes no more stands for a full disk. */
	if (fd < 0)
		skip();
	fill(f->from, 7);
	assert_int_equal(vf_file_writer_new(f->path, f->from, &writer, NULL), 0);
	for (int other = 3; other < 64; other++) {
		struct stat a, b;

		if (other != fd && !fstat(other, &a) && !stat(f->path, &b) && a.st_ino == b.st_ino &&
		    a.st_dev == b.st_dev)
			assert_int_equal(dup2(fd, other), other);
	}
	assert_int_equal(vf_file_write_pages(writer, &(struct vf_file_write_options) { 0 }, NULL,
					     &err), -ENOSPC);
	assert_non_null(strstr(err.message, "ENOSPC"));
	assert_int_equal(vf_channel_send(vf_file_writer_channel(writer), VF_FRAME_SECTION, 0, 0, "x",
					 1, NULL), -ENOSPC);
	(void) vf_file_writer_free(writer);
	close(fd);
}

/* Guest memory goes only where nobody else can read it. */
static void test_private(void **state)
{
	struct fixture *f = *state;
	struct vf_file_writer *writer;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct stat st;
	char other[sizeof(f->path) + 8];

	assert_int_equal(chmod(f->path, 0640), 0);
	assert_int_equal(vf_file_writer_new(f->path, f->from, &writer, &err), -EPERM);
	assert_non_null(strstr(err.message, "640"));
	assert_int_equal(chmod(f->path, 0600), 0);
	assert_non_null(f);
	(void) snprintf(other, sizeof(other), "%s.link", f->path);
	assert_int_equal(symlink(f->path, other), 0);
	vferry_error_clear(&err);
	assert_int_equal(vf_file_writer_new(other, f->from, &writer, &err), -ELOOP);
	assert_non_null(strstr(err.message, "symbolic link"));
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_int_equal(vf_file_writer_new(other, f->from, &writer, NULL), -EINVAL);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(vf_file_writer_new(other, f->from, &writer, NULL), 0);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	(void) vf_file_writer_free(writer);
	assert_int_equal(close(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(other, 65534, 65534), 0);
		assert_int_equal(vf_file_writer_new(other, f->from, &writer, NULL), -EPERM);
	}
	assert_int_equal(unlink(other), 0);
}

#define file_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(test_round_trip),
		file_test(test_in_place),
		file_test(test_huge_pages),
		file_test(test_new_file_is_sparse),
		file_test(test_sparse_memory),
		file_test(test_live_rounds),
		file_test(test_all_marked),
		file_test(test_unfinished_is_refused),
		file_test(test_damage_is_found_and_placed),
		file_test(test_later_versions_are_refused),
		file_test(test_other_ram_is_refused),
		file_test(test_verify_only_and_by_place),
		file_test(test_no_space_is_told),
		file_test(test_private),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
