/* SPDX-License-Identifier: MIT */
/* test_ram.c - blocks, marking, collecting, holes, zero test and digest. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/crc32c.h"
#include "ram/ram.h"
#include "huge_pool.h"

#define PAGE VF_PAGE_BYTES
#if defined(__SANITIZE_THREAD__)
#define SPARSE_BYTES (128 * VF_GIB)	/* its address space has no room for more */
#else
#define SPARSE_BYTES (2048 * VF_GIB)
#endif
#define HUGE (2 * VF_MIB)

static int set_up(void **state)
{
	struct vferry_ram *ram;

	if (vferry_ram_new(&ram))
		return -1;
	*state = ram;
	return 0;
}

static struct huge_pool pool = { .fd = -1 };

static int tear_down(void **state)
{
	(void) vferry_ram_free(*state);
	huge_pool_restore(&pool);
	return 0;
}

static uint8_t *host(struct vferry_ram *ram, size_t block, uint64_t page)
{
	return vf_ram_page(vferry_ram_get_block(ram, block), page);
}

static uint64_t allocated(struct vferry_ram *ram)
{
	struct stat st;

	assert_int_equal(fstat(vferry_ram_get_block(ram, 0)->fd, &st), 0);
	return (uint64_t) st.st_blocks * 512;
}

static void test_blocks(void **state)
{
	struct vferry_ram *ram = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	const struct vferry_ram_block *b;
	int seals;

	assert_int_equal(vferry_ram_create_block(ram, "low", 0, 2 * VF_MIB, 0, &err), 0);
	assert_int_equal(vferry_ram_create_block(ram, "high", VF_GIB, VF_MIB, 0, &err), 1);
	assert_int_equal(vferry_ram_block_count(ram), 2);
	assert_int_equal(vferry_ram_bytes(ram), 3 * VF_MIB);
	b = vferry_ram_get_block(ram, 1);
	assert_string_equal(b->name, "high");
	assert_int_equal(b->gpa, VF_GIB);
	assert_null(vferry_ram_get_block(ram, 2));
	assert_true(fcntl(b->fd, F_GETFD) & FD_CLOEXEC);
	seals = fcntl(b->fd, F_GET_SEALS);
	assert_int_equal(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_true(ftruncate(b->fd, 0) < 0);

	assert_ptr_equal(vferry_ram_host(ram, VF_GIB + 5, 10), (char *) b->host + 5);
	assert_ptr_equal(vferry_ram_host(ram, VF_GIB, VF_MIB), b->host);
	assert_null(vferry_ram_host(ram, VF_GIB, VF_MIB + 1));
	assert_null(vferry_ram_host(ram, VF_GIB - 1, 2));
	assert_null(vferry_ram_host(ram, 2 * VF_MIB, 1));
	assert_null(vferry_ram_host(ram, 5, UINT64_MAX));

	assert_int_equal(vferry_ram_create_block(ram, "x", VF_MIB, VF_MIB, 0, &err), -EINVAL);
	assert_string_equal(err.id, "ram-overlap");
	assert_int_equal(vferry_ram_create_block(ram, "x", 4 * VF_GIB, 5, 0, NULL), -EINVAL);
	assert_int_equal(vferry_ram_create_block(ram, "x", 4 * VF_GIB, 0, 0, NULL), -EINVAL);
	assert_int_equal(vferry_ram_create_block(ram, "x", 4 * VF_GIB + 1, PAGE, 0, NULL), -EINVAL);
	assert_int_equal(vferry_ram_create_block(ram, "x", -PAGE, 2 * PAGE, 0, NULL), -EINVAL);
	assert_int_equal(vferry_ram_create_block(ram, "", 4 * VF_GIB, PAGE, 0, NULL), -EINVAL);
	assert_int_equal(vferry_ram_create_block(ram, "x", 4 * VF_GIB, PAGE, 1u << 9, NULL), -EINVAL);
}

/* Has the mapping at @host the flag @word in /proc/self/smaps? */
static bool has_flag(const void *host, const char *word)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512], address[32];
	bool inside = false, found = false;

	assert_non_null(f);
	(void) snprintf(address, sizeof(address), "%lx-", (unsigned long) (uintptr_t) host);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, " rw-s "))
			inside = !strncmp(line, address, strlen(address));
		if (inside && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, word);
			inside = false;
		}
	}
	(void) fclose(f);
	return found;
}

static void test_left_out_of_core_dumps(void **state)
{
	struct vferry_ram *ram;

	(void) state;
	assert_int_equal(vferry_ram_new(&ram), 0);
	/* Unlike flags, so the kernel can't merge them. */
	assert_int_equal(vferry_ram_create_block(ram, "a", 0, 1 << 20, 0, NULL), 0);
	assert_int_equal(vferry_ram_create_block(ram, "b", 1ull << 32, 1 << 20, VFERRY_RAM_DUMPED, NULL),
			 1);
	assert_true(has_flag(vferry_ram_get_block(ram, 0)->host, " dd"));
	assert_false(has_flag(vferry_ram_get_block(ram, 1)->host, " dd"));
	assert_true(has_flag(vferry_ram_get_block(ram, 1)->host, " wr"));
	(void) vferry_ram_free(ram);
}

static void test_too_many_blocks(void **state)
{
	struct vferry_ram *ram = *state;

	for (int i = 0; i < VF_RAM_MAX_BLOCKS; i++)
		assert_int_equal(vferry_ram_create_block(ram, "r", (uint64_t) i * PAGE, PAGE, 0, NULL),
				 i);
	assert_int_equal(vferry_ram_create_block(ram, "r", VF_GIB, PAGE, 0, NULL), -E2BIG);
}

static void test_added_blocks_must_be_sealable(void **state)
{
	struct vferry_ram *ram = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	int sealable = memfd_create("a", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int other = memfd_create("b", MFD_CLOEXEC);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(sealable, 4 * PAGE), 0);
	assert_int_equal(ftruncate(other, 4 * PAGE), 0);
	assert_int_equal(vferry_ram_add_block(ram, "a", 0, 2 * PAGE, other, 0, 0, &err), -EINVAL);
	assert_string_equal(err.id, "ram-not-sealed");
	assert_int_equal(vferry_ram_add_block(ram, "a", 0, 2 * PAGE, file, 0, 0, NULL), -EINVAL);
	assert_int_equal(vferry_ram_add_block(ram, "a", 0, 2 * PAGE, -1, 0, 0, NULL), -EBADF);
	assert_int_equal(vferry_ram_add_block(ram, "a", 0, 4 * PAGE, sealable, PAGE, 0, NULL),
			 -EINVAL);
	assert_int_equal(pwrite(sealable, "x", 1, 3 * PAGE), 1);
	assert_int_equal(vferry_ram_add_block(ram, "a", 0, 2 * PAGE, sealable, 2 * PAGE, 0, NULL), 0);
	assert_true(ftruncate(sealable, 0) < 0);
	close(sealable);
	close(other);
	close(file);
	/* Holes are looked up at the block's place in the file. */
	{
		uint64_t end;

		assert_int_equal(vf_ram_next_data(ram, 0, 0, 2, &end), 1);
		assert_int_equal(end, 2);
	}
	assert_int_equal(*host(ram, 0, 1), 'x');
}

static void test_read_write_across_blocks(void **state)
{
	struct vferry_ram *ram = *state;
	char text[16];

	assert_int_equal(vferry_ram_create_block(ram, "a", 0, PAGE, 0, NULL), 0);
	assert_int_equal(vferry_ram_create_block(ram, "b", PAGE, PAGE, 0, NULL), 1);
	assert_int_equal(vf_ram_tracking_start(ram, NULL), 0);
	assert_int_equal(vferry_ram_write(ram, PAGE - 4, "12345678", 8), 0);
	assert_int_equal(vferry_ram_read(ram, PAGE - 4, text, 8), 0);
	assert_memory_equal(text, "12345678", 8);
	assert_int_equal(vf_ram_dirty_pages(ram), 2);
	assert_int_equal(vferry_ram_write(ram, 2 * PAGE - 4, "12345678", 8), -EFAULT);
	assert_int_equal(vferry_ram_read(ram, 2 * PAGE - 4, text, 8), -EFAULT);
	assert_int_equal(vferry_ram_read(ram, UINT64_MAX - 4, text, 8), -EFAULT);
	assert_int_equal(vferry_ram_read(ram, 2 * PAGE - 4, text, 4), 0);
	assert_memory_equal(text, "\0\0\0\0", 4);	/* the refused write wrote nothing */
}

static void test_mark_dirty(void **state)
{
	struct vferry_ram *ram = *state;

	assert_int_equal(vferry_ram_create_block(ram, "a", VF_MIB, 100 * PAGE, 0, NULL), 0);
	vferry_ram_mark_dirty(ram, VF_MIB, PAGE);	/* tracking is off */
	assert_int_equal(vf_ram_dirty_pages(ram), 0);
	assert_int_equal(vf_ram_tracking_start(ram, NULL), 0);
	assert_int_equal(vf_ram_tracking_start(ram, NULL), -EBUSY);
	assert_int_equal(vf_ram_dirty_pages(ram), 0);
	vferry_ram_mark_dirty(ram, VF_MIB + 70 * PAGE + 1, 1);
	assert_int_equal(vf_ram_next_dirty(ram, 0, 0, 100), 70);
	vferry_ram_mark_dirty(ram, VF_MIB + 80 * PAGE - 1, 2);	/* two pages */
	assert_int_equal(vf_ram_dirty_pages(ram), 3);
	vferry_ram_mark_dirty(ram, 0, UINT64_MAX);	/* clipped */
	assert_int_equal(vf_ram_dirty_pages(ram), 100);
	vferry_ram_mark_dirty(ram, UINT64_MAX - 10, 100);	/* overflows: nobody's */
	assert_int_equal(vf_ram_take_dirty(ram, 0, 1), ~0ull >> 28);
	assert_int_equal(vf_ram_take_dirty(ram, 0, 1), 0);
	assert_int_equal(vf_ram_dirty_pages(ram), 64);
	vf_ram_restore_dirty(ram, 0, 1, 5);
	assert_int_equal(vf_ram_dirty_pages(ram), 66);
	vf_ram_tracking_stop(ram);
	vf_ram_tracking_stop(ram);
	vferry_ram_mark_dirty(ram, VF_MIB + 70 * PAGE, PAGE);
	assert_int_equal(vf_ram_dirty_pages(ram), 66);
	assert_int_equal(vf_ram_tracking_start(ram, NULL), 0);	/* begins anew */
	assert_int_equal(vf_ram_dirty_pages(ram), 0);
}

struct source {
	int started, fail_start, fail_collect;
	uint64_t word;
};

static int source_start(void *user, struct vferry_error *err)
{
	struct source *s = user;

	(void) err;
	s->started += !s->fail_start;
	return s->fail_start;
}

static int source_collect(void *user, uint64_t gpa, uint64_t bytes, uint64_t *words,
			  struct vferry_error *err)
{
	struct source *s = user;

	(void) err;
	(void) gpa;
	for (uint64_t i = 0; i < vf_div_up(bytes / PAGE, 64); i++) {
		assert_int_equal(words[i], 0);	/* nothing left over from another source */
		words[i] = s->word;
	}
	return s->fail_collect;
}

static void source_stop(void *user)
{
	((struct source *) user)->started--;
}

static struct vferry_dirty_source make_source(struct source *s, const char *name)
{
	return (struct vferry_dirty_source) {
		.size = sizeof(struct vferry_dirty_source), .name = name, .user = s,
		.start = source_start, .collect = source_collect, .stop = source_stop,
	};
}

static void test_sources(void **state)
{
	struct vferry_ram *ram = *state;
	struct source a = { .word = 1 }, b = { .word = 2 };
	struct vferry_dirty_source sa = make_source(&a, "a"), sb = make_source(&b, "b");
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_ram_collected got;

	assert_int_equal(vferry_ram_create_block(ram, "x", 0, 100 * PAGE, 0, NULL), 0);
	assert_int_equal(vferry_ram_create_block(ram, "y", VF_GIB, 64 * PAGE, 0, NULL), 1);
	assert_int_equal(vferry_ram_add_dirty_source(ram, &sa, NULL), 0);
	assert_int_equal(vferry_ram_add_dirty_source(ram, &sb, NULL), 0);
	assert_int_equal(vf_ram_collect(ram, &got), -EINVAL);
	b.fail_start = -EPERM;
	assert_int_equal(vf_ram_tracking_start(ram, &err), -EPERM);
	assert_string_equal(err.object, "b");
	assert_false(vf_ram_tracking(ram));
	assert_int_equal(a.started, 0);	/* stopped again */
	b.fail_start = 0;
	assert_int_equal(vf_ram_tracking_start(ram, NULL), 0);
	assert_int_equal(a.started + b.started, 2);
	assert_int_equal(vferry_ram_remove_dirty_source(ram, &a), -EBUSY);
	assert_int_equal(vferry_ram_add_dirty_source(ram, &sa, NULL), -EBUSY);
	assert_int_equal(vf_ram_collect(ram, &got), 0);
	assert_int_equal(got.dirty_pages, 6);	/* two of each of three words */
	assert_int_equal(got.failed_sources, 0);
	assert_false(vf_ram_all_marked(ram, 0));
	b.word = ~0ull;	/* also bits behind the last page, which count for nothing */
	assert_int_equal(vf_ram_collect(ram, &got), 0);
	assert_int_equal(got.dirty_pages, 164);
	assert_true(vf_ram_all_marked(ram, 0));
	vf_ram_tracking_stop(ram);
	assert_int_equal(a.started + b.started, 0);
	assert_int_equal(vf_ram_tracking_start(ram, NULL), 0);
	b.word = 0;
	b.fail_collect = -EIO;
	assert_int_equal(vf_ram_collect(ram, &got), 0);
	assert_int_equal(got.failed_sources, 1);
	assert_string_equal(got.error.object, "b");
	assert_int_equal(got.dirty_pages, 164);
	vf_ram_tracking_stop(ram);
	assert_int_equal(vferry_ram_remove_dirty_source(ram, &a), 0);
	assert_int_equal(vferry_ram_remove_dirty_source(ram, &a), -ENOENT);
	assert_int_equal(vferry_ram_remove_dirty_source(ram, &b), 0);
}

static void test_holes_of_shmem(void **state)
{
	struct vferry_ram *ram = *state;
	uint64_t end = 7;

	assert_int_equal(vferry_ram_create_block(ram, "x", 0, SPARSE_BYTES, 0, NULL), 0);
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 1 << 20, &end), 1 << 20);
	*host(ram, 0, 1000) = 1;
	*host(ram, 0, 1001) = 1;
	*host(ram, 0, SPARSE_BYTES / PAGE - 9) = 1;
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 1 << 20, &end), 1000);
	assert_int_equal(end, 1002);
	assert_int_equal(vf_ram_next_data(ram, 0, 1001, 1 << 20, &end), 1001);
	assert_int_equal(end, 1002);
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 1001, &end), 1000);
	assert_int_equal(end, 1001);
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 1000, &end), 1000);
	assert_int_equal(vf_ram_next_data(ram, 0, 1002, SPARSE_BYTES / PAGE, &end), SPARSE_BYTES / PAGE - 9);
	assert_int_equal(allocated(ram), 3 * PAGE);
}

static void test_pinned_memory_has_no_holes(void **state)
{
	struct vferry_ram *ram = *state;
	uint64_t end;

	assert_int_equal(vferry_ram_create_block(ram, "x", 0, VF_MIB, VFERRY_RAM_PINNED, NULL), 0);
	assert_int_equal(vf_ram_next_data(ram, 0, 3, 256, &end), 3);
	assert_int_equal(end, 256);
}

static void test_holes_of_hugetlb(void **state)
{
	struct vferry_ram *ram = *state;
	const struct vferry_ram_block *b;
	uint64_t end;
	char *other;

	huge_pool_grow(&pool, 4);
	if (vferry_ram_create_block(ram, "x", 0, 4 * HUGE, VFERRY_RAM_HUGETLB, NULL) < 0) {
		print_message("no huge pages in the pool\n");
		skip();
	}
	b = vferry_ram_get_block(ram, 0);
	*host(ram, 0, 600) = 1;
	/* Before anybody looked: all data. */
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 2048, &end), 0);
	vf_ram_refresh_holes(ram);
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 2048, &end), 512);
	assert_int_equal(end, 1024);
	assert_int_equal(vf_ram_next_data(ram, 0, 1024, 2048, &end), 2048);
	/* A page that only another mapping touched: page tables do not know, so are not believed. */
	other = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	assert_true(other != MAP_FAILED);
	other[3 * HUGE] = 1;
	vf_ram_refresh_holes(ram);
	assert_int_equal(vf_ram_next_data(ram, 0, 0, 2048, &end), 0);
	assert_int_equal(end, 2048);
	munmap(other, b->bytes);
}

static void test_zero_tests(void **state)
{
	static const char *const names[] = { "avx512", "avx2", "sse2", "neon", "generic" };
	uint8_t *page = aligned_alloc(PAGE, PAGE);
	unsigned tried = 0;

	(void) state;
	assert_null(vf_zero_test_named("abacus"));
	for (size_t n = 0; n <= VF_ARRAY_COUNT(names); n++) {
		vf_zero_test test = n < VF_ARRAY_COUNT(names) ? vf_zero_test_named(names[n]) :
								vf_zero_test_best();

		if (!test)
			continue;
		tried++;
		memset(page, 0, PAGE);
		assert_true(test(page));
		for (size_t i = 0; i < PAGE; i++) {
			page[i] = (uint8_t) (1u << (i % 8));
			assert_false(test(page));
			page[i] = 0;
		}
	}
	assert_true(tried >= 2);
	free(page);
}

static uint32_t digest(struct vferry_ram *ram)
{
	uint32_t value;

	assert_int_equal(vferry_ram_digest(ram, &value, NULL), 0);
	return value;
}

static void test_digest(void **state)
{
	struct vferry_ram *ram = *state;
	uint8_t *copy = calloc(1, 3 * VF_MIB);
	uint32_t value;

	assert_int_equal(vferry_ram_create_block(ram, "x", 0, 2 * VF_MIB, 0, NULL), 0);
	assert_int_equal(vferry_ram_create_block(ram, "y", VF_GIB, VF_MIB, 0, NULL), 1);
	value = digest(ram);
	assert_int_equal(value, vf_crc32c(0, copy, 3 * VF_MIB));
	assert_int_equal(allocated(ram), 0);	/* nothing was read */
	memset(host(ram, 0, 5), 0, 3 * PAGE);	/* touched or not: the same */
	assert_int_equal(digest(ram), value);
	memset(host(ram, 0, 100), 9, 70 * PAGE + 5);
	memset(copy + 100 * PAGE, 9, 70 * PAGE + 5);
	*host(ram, 1, 255) = 1;
	copy[2 * VF_MIB + 255 * PAGE] = 1;
	assert_int_equal(digest(ram), vf_crc32c(0, copy, 3 * VF_MIB));
	assert_int_equal(allocated(ram), 74 * PAGE);
	free(copy);
}

static void test_digest_of_sparse_memory(void **state)
{
	struct vferry_ram *ram = *state;
	uint32_t empty, one;

	assert_int_equal(vferry_ram_create_block(ram, "x", 0, SPARSE_BYTES, 0, NULL), 0);
	empty = digest(ram);
	*host(ram, 0, SPARSE_BYTES / PAGE - 3) = 1;
	one = digest(ram);
	assert_int_not_equal(empty, one);
	*host(ram, 0, SPARSE_BYTES / PAGE - 3) = 0;
	assert_int_equal(digest(ram), empty);
	assert_int_equal(allocated(ram), PAGE);
}

/* Nothing that is written while tracking begins may be missed by who reads afterwards. */
struct racer {
	struct vferry_ram *ram;
	bool stop;
};

#define RACE_PAGES 64

static void *race(void *arg)
{
	struct racer *r = arg;
	uint64_t n = 0;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		uint64_t page = ++n % RACE_PAGES;

		__atomic_store_n((uint64_t *) (void *) host(r->ram, 0, page), n, __ATOMIC_RELAXED);
		vferry_ram_mark_dirty(r->ram, page * PAGE, 8);
	}
	return NULL;
}

static void test_nothing_lost_at_the_start(void **state)
{
	struct vferry_ram *ram = *state;
	struct racer r = { .ram = ram };

	assert_int_equal(vferry_ram_create_block(ram, "x", 0, RACE_PAGES * PAGE, 0, NULL), 0);
	for (int i = 0; i < 100; i++) {
		uint64_t seen[RACE_PAGES];
		pthread_t thread;

		__atomic_store_n(&r.stop, false, __ATOMIC_RELAXED);
		assert_int_equal(pthread_create(&thread, NULL, race, &r), 0);
		usleep(200);
		assert_int_equal(vf_ram_tracking_start(ram, NULL), 0);
		(void) vf_ram_take_dirty(ram, 0, 0);
		for (int p = 0; p < RACE_PAGES; p++)
			seen[p] = __atomic_load_n((uint64_t *) (void *) host(ram, 0, (uint64_t) p),
						  __ATOMIC_RELAXED);
		__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
		(void) pthread_join(thread, NULL);
		for (uint64_t p = 0; p < RACE_PAGES; p++) {
			uint64_t now = *(uint64_t *) (void *) host(ram, 0, p);

			assert_true(now == seen[p] || vf_ram_next_dirty(ram, 0, p, p + 1) == p);
		}
		vf_ram_tracking_stop(ram);
	}
}

#define ram_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ram_test(test_blocks),
		cmocka_unit_test(test_left_out_of_core_dumps),
		ram_test(test_too_many_blocks),
		ram_test(test_added_blocks_must_be_sealable),
		ram_test(test_read_write_across_blocks),
		ram_test(test_mark_dirty),
		ram_test(test_sources),
		ram_test(test_holes_of_shmem),
		ram_test(test_pinned_memory_has_no_holes),
		ram_test(test_holes_of_hugetlb),
		ram_test(test_zero_tests),
		ram_test(test_digest),
		ram_test(test_digest_of_sparse_memory),
		ram_test(test_nothing_lost_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
