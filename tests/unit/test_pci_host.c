/* SPDX-License-Identifier: MIT */
/* test_pci_host.c - who answers which guest physical access. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/pci_host.h"

#define ECAM 0x3f000000ull
#define W32 0x10000000ull
#define W64 0x100000000000ull
#define PAGE ((uint64_t) sysconf(_SC_PAGESIZE))

struct function {
	uint8_t config[256];
	uint64_t value;		/* last written to a BAR */
	unsigned bar;
	uint64_t offset;
	unsigned reads, writes;
	int result;
	uint8_t memory[4096] __attribute__((aligned(8)));
	uint64_t memory_bytes;
	bool touchable;		/* its memory is not for guests only */
	atomic_bool slow;	/* an access waits until this is false */
	atomic_bool inside;
};

static uint32_t config_read(void *user, uint32_t offset, unsigned size)
{
	struct function *f = user;
	uint32_t value = 0;

	memcpy(&value, f->config + offset % 256, size);
	return value;
}

static int config_write(void *user, uint32_t offset, unsigned size, uint32_t value)
{
	struct function *f = user;

	memcpy(f->config + offset % 256, &value, size);
	return 0;
}

static int bar_read(void *user, unsigned bar, uint64_t offset, unsigned size, uint64_t *ret_value)
{
	struct function *f = user;
	const struct timespec ms = { .tv_nsec = 1000000 };

	(void) size;
	f->reads++;
	f->bar = bar;
	f->offset = offset;
	atomic_store(&f->inside, true);
	while (atomic_load(&f->slow))
		(void) nanosleep(&ms, NULL);
	*ret_value = f->value;
	return f->result;
}

static int bar_write(void *user, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct function *f = user;

	(void) size;
	f->writes++;
	f->bar = bar;
	f->offset = offset;
	f->value = value;
	return f->result;
}

static int bar_area(void *user, unsigned bar, unsigned index, struct vferry_bar_area *ret_area)
{
	struct function *f = user;

	if (bar != 2 || index != 0 || f->memory_bytes == 0)
		return -ENOENT;
	*ret_area = (struct vferry_bar_area) { .offset = 4096, .bytes = f->memory_bytes,
					       .host = f->memory };
	return 0;
}

static const struct pci_function_ops ops = { .config_read = config_read,
	.config_write = config_write, .bar_read = bar_read, .bar_write = bar_write,
	.bar_area = bar_area };

struct bench {
	struct pci_host *host;
	struct function f[2];
};

static int setup(void **state)
{
	static struct bench bench;
	const struct pci_host_config config = { .ecam = ECAM, .window32 = W32,
		.window32_bytes = 0x1000000, .window64 = W64, .window64_bytes = 1ull << 40 };

	memset(&bench, 0, sizeof(bench));
	assert_int_equal(pci_host_new(&config, &bench.host), 0);
	assert_int_equal(pci_host_add(bench.host, 1, &ops, &bench.f[0]), 0);
	assert_int_equal(pci_host_add(bench.host, 31, &ops, &bench.f[1]), 0);
	*state = &bench;
	return 0;
}

static int teardown(void **state)
{
	(void) pci_host_free(((struct bench *) *state)->host);
	return 0;
}

static uint64_t get(struct bench *b, uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(pci_host_read(b->host, gpa, size, &value, NULL, NULL), 0);
	return value;
}

static void put(struct bench *b, uint64_t gpa, unsigned size, uint64_t value)
{
	assert_int_equal(pci_host_write(b->host, gpa, size, value, NULL, NULL), 0);
}

static void test_slots(void **state)
{
	struct bench *b = *state;

	assert_int_equal(pci_host_add(b->host, 1, &ops, &b->f[0]), -EEXIST);
	assert_int_equal(pci_host_add(b->host, 0, &ops, &b->f[0]), -EINVAL);
	assert_int_equal(pci_host_add(b->host, PCI_HOST_SLOTS, &ops, &b->f[0]), -EINVAL);
	pci_host_remove(b->host, 1);
	assert_int_equal(get(b, ECAM + (1 << 15), 4), UINT32_MAX);
	assert_int_equal(pci_host_add(b->host, 1, &ops, &b->f[0]), 0);
}

static void test_config_space(void **state)
{
	struct bench *b = *state;

	put(b, ECAM + (31 << 15) + 0x10, 4, 0x12345678);
	assert_int_equal(get(b, ECAM + (31 << 15) + 0x10, 4), 0x12345678);
	assert_int_equal(get(b, ECAM + (31 << 15) + 0x12, 2), 0x1234);
	assert_int_equal(get(b, ECAM + (31 << 15) + 0x11, 1), 0x56);
	assert_int_equal(get(b, ECAM + (1 << 15) + 0x10, 4), 0);
	/* Nobody: an empty slot, another function, an unaligned or too wide access. */
	assert_int_equal(get(b, ECAM + (2 << 15), 4), UINT32_MAX);
	assert_int_equal(get(b, ECAM + (31 << 15) + (1 << 12) + 0x10, 4), UINT32_MAX);
	assert_int_equal(get(b, ECAM + (31 << 15) + 0x11, 4), UINT32_MAX);
	assert_true(get(b, ECAM + (31 << 15) + 0x10, 8) == UINT64_MAX);
	put(b, ECAM + (2 << 15), 4, 0);
}

static void test_bars(void **state)
{
	struct bench *b = *state;
	uint64_t value;

	assert_int_equal(pci_host_read(b->host, 0x40000000, 4, &value, NULL, NULL), -ENXIO);
	assert_int_equal(pci_host_write(b->host, 0x40000000, 4, 0, NULL, NULL), -ENXIO);
	assert_int_equal(get(b, W32 + 0x10000, 4), UINT32_MAX);
	pci_host_bar_changed(b->host, 1, 0, true, W32 + 0x10000, 0x10000);
	pci_host_bar_changed(b->host, 31, 4, true, W64 + 0x40000000, 0x2000);
	put(b, W32 + 0x10020, 4, 0xffffffff00000007);
	assert_int_equal(b->f[0].writes, 1);
	assert_true(b->f[0].value == 7);
	assert_int_equal(b->f[0].offset, 0x20);
	put(b, W64 + 0x40001ff8, 8, 9);
	assert_int_equal(b->f[1].bar, 4);
	assert_int_equal(get(b, W64 + 0x40001ff8, 8), 9);
	/* Across the end of a BAR. */
	assert_true(get(b, W64 + 0x40001ffc, 8) == UINT64_MAX);
	/* Moved, then switched off. */
	pci_host_bar_changed(b->host, 1, 0, true, W32 + 0x20000, 0x10000);
	assert_int_equal(get(b, W32 + 0x10020, 4), UINT32_MAX);
	assert_int_equal(get(b, W32 + 0x20020, 4), 7);
	pci_host_bar_changed(b->host, 1, 0, false, W32 + 0x20000, 0x10000);
	assert_int_equal(get(b, W32 + 0x20020, 4), UINT32_MAX);
	/* Nonsense decodes nowhere. */
	pci_host_bar_changed(b->host, 1, 0, true, UINT64_MAX - 16, 0x10000);
	pci_host_bar_changed(b->host, 1, 0, true, W32, 0);
	pci_host_bar_changed(b->host, 99, 0, true, W32, 4096);
	pci_host_bar_changed(b->host, 1, 6, true, W32, 4096);
	assert_int_equal(get(b, W32, 4), UINT32_MAX);
	/* A function that fails: ones, and its error. */
	pci_host_bar_changed(b->host, 1, 0, true, W32, 0x10000);
	b->f[0].result = -ETIMEDOUT;
	assert_int_equal(pci_host_read(b->host, W32, 4, &value, NULL, NULL), -ETIMEDOUT);
	assert_true(value == UINT32_MAX);
}

static void test_memory(void **state)
{
	struct bench *b = *state;

	b->f[0].memory_bytes = 4096;
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	put(b, W64 + 4096 + 8, 8, 0x1122334455667788);
	assert_int_equal(b->f[0].writes, 0);
	assert_true(*(uint64_t *) (void *) (b->f[0].memory + 8) == 0x1122334455667788);
	assert_int_equal(get(b, W64 + 4096 + 8, 1), 0x88);
	assert_int_equal(get(b, W64 + 4096 + 10, 2), 0x5566);
	assert_int_equal(get(b, W64 + 4096 + 12, 4), 0x11223344);
	assert_int_equal(b->f[0].reads, 0);
	/* In front of the area and behind it: by message. */
	put(b, W64 + 4088, 8, 1);
	put(b, W64 + 8192, 8, 1);
	assert_int_equal(b->f[0].writes, 2);
	/* An area that claims more than its BAR has is not believed. */
	b->f[0].memory_bytes = 1 << 20;
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	put(b, W64 + 4096, 8, 1);
	assert_int_equal(b->f[0].writes, 3);
}

/* What a machine was told to map: one area at most in these tests. */
struct direct {
	unsigned id, maps, unmaps;
	uint64_t gpa, bytes;	/* 0 bytes: none */
	void *host;
	bool refuse;
};

static bool direct_map(void *user, unsigned id, uint64_t gpa, uint64_t bytes, void *host)
{
	struct direct *d = user;

	assert_true(id < PCI_HOST_MEMORY_IDS && d->bytes == 0);
	if (d->refuse)
		return false;
	*d = (struct direct) { .id = id, .maps = d->maps + 1, .unmaps = d->unmaps, .gpa = gpa,
			       .bytes = bytes, .host = host };
	return true;
}

static void direct_unmap(void *user, unsigned id)
{
	struct direct *d = user;

	assert_true(d->bytes != 0 && d->id == id);
	d->bytes = 0;
	d->unmaps++;
}

/* The vCPUs' own memory follows the BAR: where it is, whether it decodes, whether it is in reach. */
static void test_direct_memory(void **state)
{
	static const struct pci_memory_ops memory = { .map = direct_map, .unmap = direct_unmap };
	struct bench *b = *state;
	struct direct d = { 0 };

	pci_host_set_memory(b->host, &memory, &d);
	b->f[0].memory_bytes = 4096;
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	assert_true(d.maps == 1 && d.gpa == W64 + 4096 && d.bytes == 4096);
	assert_ptr_equal(d.host, b->f[0].memory);
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	assert_true(d.maps == 1 && d.unmaps == 0);	/* nothing new */
	pci_host_bar_changed(b->host, 1, 2, true, W64 + 0x10000, 0x3000);
	assert_true(d.maps == 2 && d.unmaps == 1 && d.gpa == W64 + 0x11000);
	pci_host_bar_changed(b->host, 1, 2, false, W64 + 0x10000, 0x3000);
	assert_true(d.maps == 2 && d.unmaps == 2 && d.bytes == 0);
	/* Out of reach, moved meanwhile, and back. */
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	pci_host_bars_reachable(b->host, 1, false);
	assert_true(d.bytes == 0 && d.unmaps == 3);
	pci_host_bar_changed(b->host, 1, 2, true, W64 + 0x20000, 0x3000);
	assert_true(d.bytes == 0 && d.maps == 3);
	pci_host_bars_reachable(b->host, 1, true);
	assert_true(d.gpa == W64 + 0x21000 && d.bytes == 4096);
	/* A BAR that is not in a window, or not wholly, lies over something else. */
	pci_host_bar_changed(b->host, 1, 2, true, 0x40000000, 0x3000);
	assert_true(d.bytes == 0);
	pci_host_bar_changed(b->host, 1, 2, true, W64 + (1ull << 40) - 0x2000, 0x3000);
	assert_true(d.bytes == 0);
	/* What the machine refuses is reached as ever. */
	d.refuse = true;
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	put(b, W64 + 4096, 8, 7);
	assert_true(*(uint64_t *) (void *) b->f[0].memory == 7);
	/* Gone with its function. */
	d.refuse = false;
	pci_host_bar_changed(b->host, 1, 2, true, W64, 0x3000);
	assert_true(d.bytes == 4096);
	pci_host_remove(b->host, 1);
	assert_true(d.bytes == 0);
}

/* What a machine was told to map of BARs that are smaller than a page, by id. */
struct pages {
	uint64_t gpa[PCI_HOST_MEMORY_IDS];	/* 0: not mapped */
	unsigned count;
};

static bool page_map(void *user, unsigned id, uint64_t gpa, uint64_t bytes, void *host)
{
	struct pages *p = user;

	(void) host;
	assert_int_equal(p->gpa[id], 0);
	assert_true(bytes == PAGE && gpa % PAGE == 0);
	for (unsigned i = 0; i < PCI_HOST_MEMORY_IDS; i++)
		assert_true(p->gpa[i] != gpa);
	p->gpa[id] = gpa;
	p->count++;
	return true;
}

static void page_unmap(void *user, unsigned id)
{
	struct pages *p = user;

	assert_int_not_equal(p->gpa[id], 0);
	p->gpa[id] = 0;
	p->count--;
}

/* Where BAR @bar of the function in @slot is shown; 0: nowhere. */
static uint64_t page_of(const struct pages *p, unsigned slot, unsigned bar)
{
	return p->gpa[(slot * VFERRY_BAR_COUNT + bar) * PCI_HOST_AREAS_MAX];
}

static int page_area(void *user, unsigned bar, unsigned index, struct vferry_bar_area *ret_area)
{
	struct function *f = user;

	if (bar > 1 || index != 0)
		return -ENOENT;
	*ret_area = (struct vferry_bar_area) { .bytes = f->memory_bytes, .host = f->memory,
					       .guest_only = !f->touchable };
	return 0;
}

static const struct pci_memory_ops page_memory = { .map = page_map, .unmap = page_unmap };
static const struct pci_function_ops page_function = {
	.config_read = config_read, .config_write = config_write, .bar_read = bar_read,
	.bar_write = bar_write, .bar_area = page_area,
};

static void add_page_functions(struct bench *b, struct pages *p)
{
	pci_host_set_memory(b->host, &page_memory, p);
	b->f[0].memory_bytes = b->f[1].memory_bytes = PAGE;
	assert_int_equal(pci_host_add(b->host, 5, &page_function, &b->f[0]), 0);
	assert_int_equal(pci_host_add(b->host, 6, &page_function, &b->f[1]), 0);
}

/* A BAR is shown as a page where the guest has put it at the page's beginning. */
static void test_pages_alone(void **state)
{
	struct bench *b = *state;
	struct pages p = { .count = 0 };

	add_page_functions(b, &p);
	pci_host_bar_changed(b->host, 5, 0, true, W32, 256);
	assert_true(p.count == 1 && page_of(&p, 5, 0) == W32);
	pci_host_bar_changed(b->host, 5, 0, true, W32 + 256, 256);
	assert_int_equal(p.count, 0);
	/* It is reached all the same, and what is behind it in the page is nobody's, shown or not. */
	put(b, W32 + 256 + 8, 4, 77);
	assert_true(b->f[0].writes == 1 && b->f[0].offset == 8 && b->f[0].value == 77);
	pci_host_bar_changed(b->host, 5, 0, true, W32 + PAGE, 256);
	assert_int_equal(page_of(&p, 5, 0), W32 + PAGE);
	put(b, W32 + PAGE + 256, 4, 1);
	assert_int_equal(b->f[0].writes, 1);
	pci_host_bars_reachable(b->host, 5, false);
	assert_int_equal(p.count, 0);
	pci_host_bars_reachable(b->host, 5, true);
	assert_int_equal(page_of(&p, 5, 0), W32 + PAGE);
	pci_host_bar_changed(b->host, 5, 0, false, W32 + PAGE, 256);
	assert_int_equal(p.count, 0);
	/* Outside the windows, wholly or in part. */
	pci_host_bar_changed(b->host, 5, 0, true, 0x40000000, 256);
	assert_int_equal(p.count, 0);
	/* Of another size than a page, or for the VMM as well: not believed. */
	b->f[0].memory_bytes = 2 * PAGE;
	pci_host_bar_changed(b->host, 5, 0, true, W32, 256);
	assert_int_equal(p.count, 0);
	b->f[0].memory_bytes = PAGE;
	b->f[0].touchable = true;
	pci_host_bar_changed(b->host, 5, 0, true, W32 + 2 * PAGE, 256);
	assert_int_equal(p.count, 0);
	pci_host_remove(b->host, 6);
}

/* It goes back to being trapped while another BAR is in its page, of the same function or not. */
static void test_pages_shared(void **state)
{
	struct bench *b = *state;
	struct pages p = { .count = 0 };

	add_page_functions(b, &p);
	pci_host_bar_changed(b->host, 5, 0, true, W32, 256);
	pci_host_bar_changed(b->host, 6, 0, true, W32 + PAGE, 256);
	assert_int_equal(p.count, 2);
	/* Into the first one's page: both are trapped. */
	pci_host_bar_changed(b->host, 6, 0, true, W32 + 512, 256);
	assert_int_equal(p.count, 0);
	put(b, W32 + 4, 4, 5);
	put(b, W32 + 512 + 4, 4, 6);
	assert_true(b->f[0].value == 5 && b->f[1].value == 6);
	/* Out of reach is not out of the page. */
	pci_host_bars_reachable(b->host, 6, false);
	assert_int_equal(p.count, 0);
	pci_host_bars_reachable(b->host, 6, true);
	/* Decoding is off: the page is the first one's again. */
	pci_host_bar_changed(b->host, 6, 0, false, W32 + 512, 256);
	assert_true(p.count == 1 && page_of(&p, 5, 0) == W32);
	/* A BAR that is no page, or of the same function, is in the way as well. */
	pci_host_bar_changed(b->host, 6, 2, true, W32 + PAGE - 16, 16);
	assert_int_equal(p.count, 0);
	pci_host_bar_changed(b->host, 6, 2, true, W32 + PAGE, 16);
	assert_int_equal(p.count, 1);
	pci_host_bar_changed(b->host, 5, 1, true, W32 + 2048, 2048);
	assert_int_equal(p.count, 0);
	pci_host_bar_changed(b->host, 5, 1, true, W64 + 3 * PAGE, 2048);
	assert_true(p.count == 2 && page_of(&p, 5, 1) == W64 + 3 * PAGE);
	/* In the same place as another, which then goes with its function. */
	pci_host_bar_changed(b->host, 6, 0, true, W32, 256);
	assert_int_equal(page_of(&p, 5, 0), 0);
	pci_host_remove(b->host, 6);
	assert_true(p.count == 2 && page_of(&p, 5, 0) == W32);
	pci_host_remove(b->host, 5);
	assert_int_equal(p.count, 0);
}

/* Writes by eventfd: two of BAR 2, as a machine was told of them. */
struct heard {
	unsigned count, ever;
	uint64_t gpa[2];	/* by descriptor, 0 = not */
	bool refuse;
};

static bool hear(void *user, uint64_t gpa, const struct vferry_bar_ioeventfd *io)
{
	struct heard *h = user;

	assert_true(io->eventfd < 2 && h->gpa[io->eventfd] == 0);
	if (h->refuse)
		return false;
	h->gpa[io->eventfd] = gpa;
	h->count++;
	h->ever++;
	return true;
}

static void unhear(void *user, uint64_t gpa, const struct vferry_bar_ioeventfd *io)
{
	struct heard *h = user;

	assert_true(io->eventfd < 2 && h->gpa[io->eventfd] == gpa);	/* where it was put */
	h->gpa[io->eventfd] = 0;
	h->count--;
}

static int two_ioeventfds(void *user, unsigned bar, unsigned index,
			  struct vferry_bar_ioeventfd *ret_ioeventfd)
{
	(void) user;
	if (bar != 2 || index > 1)
		return -ENOENT;
	*ret_ioeventfd = (struct vferry_bar_ioeventfd) {
		.offset = 0x70 + 0x2000 * index, .bytes = 4, .eventfd = (int) index,
	};
	return 0;
}

static void test_ioeventfds(void **state)
{
	static const struct pci_memory_ops memory = {
		.map = direct_map, .unmap = direct_unmap, .listen = hear, .unlisten = unhear,
	};
	static const struct pci_function_ops function = {
		.config_read = config_read, .config_write = config_write, .bar_read = bar_read,
		.bar_write = bar_write, .bar_ioeventfd = two_ioeventfds,
	};
	struct bench *b = *state;
	struct heard h = { 0 };

	pci_host_set_memory(b->host, &memory, &h);
	assert_int_equal(pci_host_add(b->host, 9, &function, &b->f[0]), 0);
	pci_host_bar_changed(b->host, 9, 2, true, W64, 0x3000);
	assert_true(h.gpa[0] == W64 + 0x70 && h.gpa[1] == W64 + 0x2070);
	assert_int_equal(pci_host_listening(b->host, 9), 2);
	pci_host_bar_changed(b->host, 9, 2, true, W64, 0x3000);
	assert_int_equal(h.ever, 2);		/* nothing new */
	/* They move with the BAR, and go with its decoding. */
	pci_host_bar_changed(b->host, 9, 2, true, W64 + 0x10000, 0x3000);
	assert_true(h.count == 2 && h.gpa[0] == W64 + 0x10070);
	pci_host_bar_changed(b->host, 9, 2, false, W64 + 0x10000, 0x3000);
	assert_int_equal(h.count, 0);
	assert_int_equal(pci_host_listening(b->host, 9), 0);
	/* Out of reach nothing is heard, wherever the BAR is put meanwhile. */
	pci_host_bar_changed(b->host, 9, 2, true, W64, 0x3000);
	pci_host_bars_reachable(b->host, 9, false);
	assert_int_equal(h.count, 0);
	pci_host_bar_changed(b->host, 9, 2, true, W64 + 0x20000, 0x3000);
	assert_int_equal(h.count, 0);
	pci_host_bars_reachable(b->host, 9, true);
	assert_true(h.count == 2 && h.gpa[1] == W64 + 0x22070);
	/* A BAR too short for the second one; one that lies over something else. */
	pci_host_bar_changed(b->host, 9, 2, true, W64, 0x2000);
	assert_true(h.count == 1 && h.gpa[0] == W64 + 0x70);
	pci_host_bar_changed(b->host, 9, 2, true, 0x40000000, 0x3000);
	assert_int_equal(h.count, 0);
	/* What is refused is written to as ever, and tried again. */
	h.refuse = true;
	pci_host_bar_changed(b->host, 9, 2, true, W64, 0x3000);
	assert_int_equal(pci_host_listening(b->host, 9), 0);
	put(b, W64 + 0x70, 4, 77);
	assert_int_equal(b->f[0].value, 77);
	h.refuse = false;
	pci_host_bar_changed(b->host, 9, 2, true, W64, 0x3000);
	assert_int_equal(h.count, 2);
	pci_host_remove(b->host, 9);
	assert_int_equal(h.count, 0);
	assert_int_equal(pci_host_listening(b->host, PCI_HOST_SLOTS), 0);
}

static bool told_to_stop(void *user)
{
	return atomic_load((atomic_bool *) user);
}

struct access {
	struct bench *b;
	atomic_bool stop;
	uint64_t value;
	int result;
};

static void *access_thread(void *user)
{
	struct access *a = user;

	a->result = pci_host_read(a->b->host, W32, 4, &a->value, told_to_stop, &a->stop);
	return NULL;
}

static void sleep_ms(long ms)
{
	const struct timespec ts = { .tv_nsec = ms * 1000000 };

	(void) nanosleep(&ts, NULL);
}

/* So many accesses have had to wait by now. */
static void wait_blocked(struct bench *b, uint64_t count)
{
	for (int i = 0; i < 10000 && pci_host_blocked(b->host) != count; i++)
		sleep_ms(1);
	assert_int_equal(pci_host_blocked(b->host), count);
}

static void test_out_of_reach(void **state)
{
	struct access a = { .b = *state };
	struct bench *b = *state;
	pthread_t thread;

	b->f[0].value = 5;
	pci_host_bar_changed(b->host, 1, 0, true, W32, 0x10000);
	pci_host_bars_reachable(b->host, 1, false);
	/* It waits until they are back. */
	assert_int_equal(pthread_create(&thread, NULL, access_thread, &a), 0);
	wait_blocked(b, 1);
	pci_host_bars_reachable(b->host, 1, true);
	(void) pthread_join(thread, NULL);
	assert_int_equal(a.result, 0);
	assert_int_equal(a.value, 5);
	/* Or until its vCPU has to stop: then nothing was done. */
	pci_host_bars_reachable(b->host, 1, false);
	assert_int_equal(pthread_create(&thread, NULL, access_thread, &a), 0);
	wait_blocked(b, 2);
	atomic_store(&a.stop, true);
	pci_host_wake(b->host);
	(void) pthread_join(thread, NULL);
	assert_int_equal(a.result, -EAGAIN);
	assert_int_equal(b->f[0].reads, 1);
	/* Config space stays in reach. */
	assert_int_equal(get(b, ECAM + (1 << 15), 4), 0);
}

static void *unreachable_thread(void *user)
{
	pci_host_bars_reachable(((struct access *) user)->b->host, 1, false);
	atomic_store(&((struct access *) user)->stop, true);
	return NULL;
}

/* Taking BARs out of reach waits for the access that is under way. */
static void test_access_under_way(void **state)
{
	struct access a = { .b = *state }, other = { .b = *state };
	struct bench *b = *state;
	pthread_t access, away;

	pci_host_bar_changed(b->host, 1, 0, true, W32, 0x10000);
	atomic_store(&b->f[0].slow, true);
	assert_int_equal(pthread_create(&access, NULL, access_thread, &a), 0);
	while (!atomic_load(&b->f[0].inside))
		sleep_ms(1);
	assert_int_equal(pthread_create(&away, NULL, unreachable_thread, &other), 0);
	sleep_ms(20);
	assert_false(atomic_load(&other.stop));
	atomic_store(&b->f[0].slow, false);
	(void) pthread_join(away, NULL);
	(void) pthread_join(access, NULL);
	assert_true(atomic_load(&other.stop));
	assert_int_equal(a.result, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bars, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_direct_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_shared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioeventfds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out_of_reach, setup, teardown),
		cmocka_unit_test_setup_teardown(test_access_under_way, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
