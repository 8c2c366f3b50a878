/* SPDX-License-Identifier: MIT */
/* test_ram_fill.c - pages that are made with their content; who waits for one, and who was there before. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ram/fill.h"
#include "ram/ram.h"
#include "huge_pool.h"

#define PAGE VF_PAGE_BYTES
#define HUGE_PAGES 512u
#define PAGES 64u

struct fixture {
	struct vferry_ram *ram;
	struct vf_ram_fill *fill;
	uint8_t *from;		/* PAGES pages with content */
	struct huge_pool pool;
};

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void) vf_ram_fill_close(f->fill);
	(void) vferry_ram_free(f->ram);
	huge_pool_restore(&f->pool);
	free(f->from);
	free(f);
	return 0;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	if (f)
		f->pool.fd = -1;
	if (!f || vferry_ram_new(&f->ram) ||
	    vferry_ram_create_block(f->ram, "ram", 0, 4 * VF_MIB, 0, NULL) < 0)
		return -1;
	f->from = malloc(HUGE_PAGES * PAGE);
	if (!f->from)
		return -1;
	for (size_t i = 0; i < HUGE_PAGES * PAGE; i++)
		f->from[i] = (uint8_t) (i * 2654435761u >> 15 | 1);
	f->fill = vf_ram_fill_open(f->ram);
	return 0;
}

static void need_fill(const struct fixture *f)
{
	if (f->fill)
		return;
	print_message("this kernel has no userfaultfd for user mode: skipped\n");
	skip();
}

static void watch(const struct fixture *f)
{
	vf_ram_fill_watch(f->fill, 0, 1);
	if (vf_ram_fill_unit(f->fill, 0) == 1)
		return;
	print_message("shmem of this host has huge pages, which are left to it: skipped\n");
	skip();
}

static uint8_t *host(const struct fixture *f, size_t block, uint64_t page)
{
	return vf_ram_page(vferry_ram_get_block(f->ram, block), page);
}

static bool is_zero(const uint8_t *page)
{
	return vf_zero_test_named("generic")(page);
}

static uint64_t allocated(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(vferry_ram_get_block(f->ram, 0)->fd, &st), 0);
	return (uint64_t) st.st_blocks * 512;
}

static void test_pages_are_made(void **state)
{
	struct fixture *f = *state;

	need_fill(f);
	assert_int_equal(vf_ram_fill_unit(f->fill, 0), 0);
	watch(f);
	assert_int_equal(vf_ram_fill_put(f->fill, 0, 7, f->from, PAGES), 0);
	assert_int_equal(allocated(f), PAGES * PAGE);
	assert_memory_equal(host(f, 0, 7), f->from, PAGES * PAGE);
	f->fill = vf_ram_fill_close(f->fill);
	assert_memory_equal(host(f, 0, 7), f->from, PAGES * PAGE);
	assert_true(is_zero(host(f, 0, 6)));
	assert_true(is_zero(host(f, 0, 7 + PAGES)));
}

/* First, last, alone and side by side among others: what is there is written over, the rest made. */
static void test_pages_that_are_there(void **state)
{
	static const uint64_t there[] = { 0, 5, 6, 7, 30, PAGES - 1 };
	struct fixture *f = *state;

	need_fill(f);
	for (size_t i = 0; i < VF_ARRAY_COUNT(there); i++)
		memset(host(f, 0, there[i]), 0xee, PAGE);
	watch(f);
	assert_int_equal(vf_ram_fill_put(f->fill, 0, 0, f->from, PAGES), 0);
	assert_memory_equal(host(f, 0, 0), f->from, PAGES * PAGE);
	assert_int_equal(allocated(f), PAGES * PAGE);
	assert_int_equal(vf_ram_fill_put(f->fill, 0, 0, f->from + PAGE, PAGES), 0);
	assert_memory_equal(host(f, 0, 0), f->from + PAGE, PAGES * PAGE);
}

static void test_stopped(void **state)
{
	struct fixture *f = *state;

	need_fill(f);
	watch(f);
	vf_ram_fill_stop(f->fill);
	vf_ram_fill_stop(f->fill);
	assert_int_equal(vf_ram_fill_unit(f->fill, 0), 0);
	assert_int_equal(vf_ram_fill_put(f->fill, 0, 3, f->from, PAGES), 0);
	assert_memory_equal(host(f, 0, 3), f->from, PAGES * PAGE);
	assert_true(is_zero(host(f, 0, 2)));
}

static void test_no_fill_at_all(void **state)
{
	(void) state;
	vf_ram_fill_watch(NULL, 0, 1);
	assert_int_equal(vf_ram_fill_unit(NULL, 0), 0);
	vf_ram_fill_stop(NULL);
	assert_null(vf_ram_fill_close(NULL));
}

static void test_what_is_not_watched(void **state)
{
	struct fixture *f = *state;
	struct vf_ram_fill *second;

	need_fill(f);
	/* Pinned memory is all there. */
	assert_int_equal(vferry_ram_create_block(f->ram, "pinned", VF_GIB, VF_MIB, VFERRY_RAM_PINNED,
						 NULL), 1);
	vf_ram_fill_watch(f->fill, 1, HUGE_PAGES);
	assert_int_equal(vf_ram_fill_unit(f->fill, 1), 0);
	/* Units larger than the caller can put together. */
	vf_ram_fill_watch(f->fill, 0, 0);
	assert_int_equal(vf_ram_fill_unit(f->fill, 0), 0);
	/* What somebody else watches already: the embedder, say. */
	watch(f);
	second = vf_ram_fill_open(f->ram);
	assert_non_null(second);
	vf_ram_fill_watch(second, 0, 1);
	assert_int_equal(vf_ram_fill_unit(second, 0), 0);
	(void) vf_ram_fill_close(second);
	assert_int_equal(vf_ram_fill_unit(f->fill, 0), 1);
}

struct toucher {
	const volatile uint8_t *at;
	uint8_t saw;
	bool done;	/* atomic */
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	t->saw = *t->at;
	__atomic_store_n(&t->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* One waits for a page that is put, one for a page that never is. */
static void test_who_touches_waits(void **state)
{
	const struct timespec moment = { .tv_nsec = 30000000 };
	struct toucher put = { 0 }, never = { 0 };
	struct fixture *f = *state;
	pthread_t threads[2];

	need_fill(f);
	watch(f);
	put.at = host(f, 0, 9);
	never.at = host(f, 0, 200);
	assert_int_equal(pthread_create(&threads[0], NULL, touch, &put), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, touch, &never), 0);
	(void) nanosleep(&moment, NULL);
	assert_false(__atomic_load_n(&put.done, __ATOMIC_ACQUIRE));
	assert_false(__atomic_load_n(&never.done, __ATOMIC_ACQUIRE));
	assert_int_equal(vf_ram_fill_put(f->fill, 0, 0, f->from, PAGES), 0);
	assert_int_equal(pthread_join(threads[0], NULL), 0);
	assert_int_equal(put.saw, f->from[9 * PAGE]);
	assert_false(__atomic_load_n(&never.done, __ATOMIC_ACQUIRE));
	vf_ram_fill_stop(f->fill);
	assert_int_equal(pthread_join(threads[1], NULL), 0);
	assert_int_equal(never.saw, 0);
}

static void test_huge_pages(void **state)
{
	struct fixture *f = *state;

	need_fill(f);
	huge_pool_grow(&f->pool, 2);
	if (vferry_ram_create_block(f->ram, "huge", VF_GIB, 4 * VF_MIB, VFERRY_RAM_HUGETLB, NULL) < 0) {
		print_message("no huge pages in the pool: skipped\n");
		skip();
	}
	vf_ram_fill_watch(f->fill, 1, HUGE_PAGES - 1);
	assert_int_equal(vf_ram_fill_unit(f->fill, 1), 0);
	vf_ram_fill_watch(f->fill, 1, HUGE_PAGES);
	assert_int_equal(vf_ram_fill_unit(f->fill, 1), HUGE_PAGES);
	assert_int_equal(vf_ram_fill_put(f->fill, 1, HUGE_PAGES, f->from, HUGE_PAGES), 0);
	assert_int_equal(vf_ram_fill_put(f->fill, 1, HUGE_PAGES, f->from, HUGE_PAGES), 0);
	vf_ram_fill_stop(f->fill);
	assert_memory_equal(host(f, 1, HUGE_PAGES), f->from, HUGE_PAGES * PAGE);
	assert_true(is_zero(host(f, 1, 0)));
}

#define fill_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fill_test(test_pages_are_made),
		fill_test(test_pages_that_are_there),
		fill_test(test_stopped),
		fill_test(test_no_fill_at_all),
		fill_test(test_what_is_not_watched),
		fill_test(test_who_touches_waits),
		fill_test(test_huge_pages),
	};

	return cmocka_run_group_tests_name("ram-fill", tests, NULL, NULL);
}
