/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_memory.c - memory slots and dirty pages on the real /dev/kvm, each test in every way
 * that there is: what a guest writes is reported, once, and nothing else is; and a copy that is
 * made while it writes becomes the same as its memory.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "kvm/memory_internal.h"
#include "kvm_rig.h"
#include "ram/ram.h"
#include "ram/ram_internal.h"

#define PAGE		4096u
#define BLOCK_PAGES	128u		/* two of them, in what a guest in real mode reaches */
#define BLOCK_BYTES	(BLOCK_PAGES * PAGE)
#define SLOT_FIRST	7u
#define SEGMENT_AT	0x600u		/* where the poking guest finds what to write to */
#define CODE_AT		0x1000u
#define RING_ENTRIES	256u

/* Adds one to the byte at the segment that 0x600 names, puts a byte out, and so on. */
static const uint8_t poker[] = {
	0xa1, 0x00, 0x06,		/* mov 0x600, %ax */
	0x8e, 0xc0,			/* mov %ax, %es */
	0x26, 0xfe, 0x06, 0x00, 0x00,	/* incb %es:0 */
	0xe6, 0x10,			/* out %al, $0x10 */
	0xeb, 0xf2,			/* jmp to the beginning */
};

/* Adds one to a word of each page from 0x10000 on, putting a byte out after each, for ever. */
static const uint8_t writer[] = {
	0xb8, 0x00, 0x10,		/* mov $0x1000, %ax */
	0x8e, 0xc0,			/* mov %ax, %es */
	0x26, 0xff, 0x06, 0x00, 0x00,	/* incw %es:0 */
	0xe6, 0x10,			/* out %al, $0x10 */
	0x80, 0xc4, 0x01,		/* add $1, %ah */
	0x73, 0xf2,			/* jnc to the mov %ax, %es */
	0xeb, 0xed,			/* jmp to the beginning */
};

struct machine {
	struct kvm_rig rig;
	struct vferry_ram *ram;
	struct vferry_kvm_memory *memory;
};

static struct vferry_kvm_memory_config config_of(const struct machine *m,
						  enum vferry_kvm_dirty dirty)
{
	return (struct vferry_kvm_memory_config) { .size = sizeof(struct vferry_kvm_memory_config),
		.vm = m->rig.vm, .ram = m->ram, .slot_first = SLOT_FIRST, .dirty = dirty,
		.ring_entries = RING_ENTRIES };
}

/* The plain log, as on a KVM without KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. */
static void take_the_plain_log(struct machine *m)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };

	rig_call(m->rig.vm, KVM_ENABLE_CAP, &cap);
	m->memory->way = VF_KVM_WAY_LOG_AT_ONCE;
	if (!m->memory->answer.words)
		assert_int_equal(vf_bitmap_init(&m->memory->answer, BLOCK_PAGES), 0);
}

static struct machine *machine_of(enum vf_kvm_way way, uint64_t high_bytes)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct vferry_kvm_memory_config config;
	struct vferry_error err = VFERRY_ERROR_INIT;

	rig_make_vm(&m->rig);
	assert_int_equal(vferry_ram_new(&m->ram), 0);
	assert_int_equal(vferry_ram_create_block(m->ram, "low", 0, BLOCK_BYTES, 0, &err), 0);
	assert_int_equal(vferry_ram_create_block(m->ram, "high", BLOCK_BYTES, high_bytes, 0, &err),
			 1);
	config = config_of(m, way == VF_KVM_WAY_RING ? VFERRY_KVM_DIRTY_RING
						     : VFERRY_KVM_DIRTY_LOG);
	if (vferry_kvm_memory_new(&config, &m->memory, &err))
		fail_msg("%s", err.message);
	if (way == VF_KVM_WAY_LOG_AT_ONCE)
		take_the_plain_log(m);
	assert_int_equal(m->memory->way, way);
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		rig_make_vcpu(&m->rig, i);
		rig_set_cpuid(&m->rig, i);
		assert_int_equal(vferry_kvm_memory_add_vcpu(m->memory, m->rig.vcpu[i], &err), i);
	}
	return m;
}

static struct machine *machine_new(enum vf_kvm_way way)
{
	return machine_of(way, BLOCK_BYTES);
}

static void machine_free(struct machine *m)
{
	vferry_kvm_memory_free(m->memory);
	vferry_ram_free(m->ram);
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		munmap(m->rig.run[i], m->rig.run_bytes);
		close(m->rig.vcpu[i]);
	}
	close(m->rig.vm);
	close(m->rig.kvm);
	free(m);
}

static uint8_t *at(const struct machine *m, uint64_t gpa)
{
	return vferry_ram_host(m->ram, gpa, 1);
}

static void load_guest(struct machine *m, const uint8_t *code, size_t bytes)
{
	memcpy(at(m, CODE_AT), code, bytes);
	rig_start_at(&m->rig, 0, CODE_AT);
}

/* The guest writes to @page, counted from the beginning of RAM. */
static void poke(struct machine *m, uint32_t page)
{
	uint16_t segment = (uint16_t) (page * PAGE / 16);

	memcpy(at(m, SEGMENT_AT), &segment, sizeof(segment));
	(void) rig_run_to_out(&m->rig, 0);
}

static void start(struct machine *m)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_ram_tracking_start(m->ram, &err))
		fail_msg("%s", err.message);
}

static void collect(struct machine *m)
{
	struct vf_ram_collected collected = { 0 };

	assert_int_equal(vf_ram_collect(m->ram, &collected), 0);
	if (collected.failed_sources)
		fail_msg("%s", collected.error.message);
}

/* The next page that is dirty, counted from the beginning of RAM, which it is no more; or -1. */
static int take(struct machine *m)
{
	for (size_t b = 0; b < 2; b++) {
		uint64_t pages = m->ram->blocks[b].dirty.bits;
		uint64_t page = vf_ram_next_dirty(m->ram, b, 0, pages);

		if (page == pages)
			continue;
		vf_bitmap_clear_range(&m->ram->blocks[b].dirty, page, 1);
		return (int) (b * BLOCK_PAGES + page);
	}
	return -1;
}

static void expect_pages(struct machine *m, const int *pages)
{
	collect(m);
	do
		assert_int_equal(take(m), *pages);
	while (*pages++ >= 0);
}

#define EXPECT(m, ...) expect_pages(m, (const int []) { __VA_ARGS__ __VA_OPT__(,) -1 })

/* ---- in every way ---- */

static enum vf_kvm_way way_of(void **state)
{
	return *(const enum vf_kvm_way *) *state;
}

static void what_is_written_is_reported_once(void **state)
{
	struct machine *m = machine_new(way_of(state));

	load_guest(m, poker, sizeof(poker));
	poke(m, 33);			/* nobody asked yet */
	start(m);
	EXPECT(m);
	poke(m, 40);
	poke(m, 200);
	poke(m, 40);
	poke(m, 127);
	EXPECT(m, 40, 127, 200);
	EXPECT(m);
	poke(m, 40);			/* it was protected again */
	poke(m, 255);
	EXPECT(m, 40, 255);
	vf_ram_tracking_stop(m->ram);
	poke(m, 41);
	start(m);			/* and again, without what was before */
	EXPECT(m);
	poke(m, 42);
	EXPECT(m, 42);
	vf_ram_tracking_stop(m->ram);
	machine_free(m);
}

/* Parts of a block, as a caller may ask for: what lies outside is not lost. */
static void parts_are_reported(void **state)
{
	struct machine *m = machine_new(way_of(state));
	const struct vferry_dirty_source *source;
	uint64_t words[2] = { 0 };

	load_guest(m, poker, sizeof(poker));
	start(m);
	collect(m);
	poke(m, 20);
	poke(m, 70);
	poke(m, 100);
	source = &m->ram->sources[0].ops;
	assert_int_equal(source->collect(source->user, 64 * PAGE, 16 * PAGE, words, NULL), 0);
	assert_int_equal(words[0], 1ull << 6);
	words[0] = 0;
	poke(m, 21);
	assert_int_equal(source->collect(source->user, 90 * PAGE, 20 * PAGE, words, NULL), 0);
	assert_int_equal(words[0], 1ull << 10);
	words[0] = 0;
	poke(m, 110);
	assert_int_equal(source->collect(source->user, 40 * PAGE, 88 * PAGE, words, NULL), 0);
	assert_true(words[1] & 1ull << (110 - 40 - 64));
	collect(m);
	assert_int_equal(take(m), 20);
	assert_int_equal(take(m), 21);
	words[0] = 0;
	assert_int_equal(source->collect(source->user, 2 * BLOCK_BYTES - PAGE, 2 * PAGE, words,
					 NULL), -EINVAL);
	assert_int_equal(source->collect(source->user, 5, PAGE, words, NULL), -EINVAL);
	assert_int_equal(words[0], 0);
	vf_ram_tracking_stop(m->ram);
	machine_free(m);
}

struct vcpu_thread {
	struct machine *m;
	bool stop;		/* atomic */
	unsigned full;		/* how often the ring was */
};

static void *run_vcpu(void *arg)
{
	struct vcpu_thread *t = arg;
	struct kvm_run *run = t->m->rig.run[0];

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		if (ioctl(t->m->rig.vcpu[0], KVM_RUN, 0) < 0 && errno != EINTR)
			return "KVM_RUN failed";
		if (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
			t->full++;
			if (vferry_kvm_memory_ring_full(t->m->memory, 0, NULL))
				return "no room in the ring";
		} else if (run->exit_reason != KVM_EXIT_IO) {
			return "another exit";
		}
	}
	return NULL;
}

/* Copies what is dirty, word by word as a page sender does. Return: pages. */
static unsigned copy_dirty(struct machine *m, uint8_t *copy)
{
	unsigned pages = 0;

	for (size_t b = 0; b < 2; b++)
		for (uint64_t w = 0; w < BLOCK_PAGES / 64; w++) {
			uint64_t bits = vf_ram_take_dirty(m->ram, b, w);

			for (; bits; bits &= bits - 1, pages++) {
				uint64_t gpa = b * BLOCK_BYTES +
					       (w * 64 + (unsigned) __builtin_ctzll(bits)) * PAGE;

				memcpy(copy + gpa, at(m, gpa), PAGE);
			}
		}
	return pages;
}

/* A migration's rounds, with a guest that writes all the while. */
static void copy_becomes_the_same(void **state)
{
	struct machine *m = machine_new(way_of(state));
	struct vcpu_thread t = { .m = m };
	uint8_t *copy = calloc(1, 2 * BLOCK_BYTES);
	unsigned copied = 0;
	void *failure;
	pthread_t thread;

	load_guest(m, writer, sizeof(writer));
	start(m);
	memcpy(copy, at(m, 0), BLOCK_BYTES);
	memcpy(copy + BLOCK_BYTES, at(m, BLOCK_BYTES), BLOCK_BYTES);
	assert_int_equal(pthread_create(&thread, NULL, run_vcpu, &t), 0);
	while (copied < 2000) {
		collect(m);
		copied += copy_dirty(m, copy);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, &failure);
	assert_null(failure);
	collect(m);
	(void) copy_dirty(m, copy);
	assert_memory_equal(copy, at(m, 0), BLOCK_BYTES);
	assert_memory_equal(copy + BLOCK_BYTES, at(m, BLOCK_BYTES), BLOCK_BYTES);
	free(copy);
	vf_ram_tracking_stop(m->ram);
	machine_free(m);
}

/* ---- rings ---- */

static void full_ring_is_emptied(void **state)
{
	struct machine *m = machine_new(VF_KVM_WAY_RING);
	struct kvm_run *run = m->rig.run[0];
	unsigned pages = 0, full = 0;

	(void) state;
	load_guest(m, writer, sizeof(writer));
	start(m);
	collect(m);
	/* Twice round the 240 pages that it writes to, more than a ring of 256 can hold. */
	for (int i = 0; i < 480 + (int) full; i++) {
		assert_int_equal(ioctl(m->rig.vcpu[0], KVM_RUN, 0), 0);
		if (run->exit_reason != KVM_EXIT_DIRTY_RING_FULL) {
			assert_int_equal(run->exit_reason, KVM_EXIT_IO);
			continue;
		}
		full++;
		assert_int_equal(vferry_kvm_memory_ring_full(m->memory, 0, NULL), 0);
	}
	assert_true(full > 0);
	collect(m);
	for (int page = take(m); page >= 0; page = take(m)) {
		assert_int_equal(page, 16 + (int) pages);
		pages++;
	}
	assert_int_equal(pages, 240);
	vf_ram_tracking_stop(m->ram);
	machine_free(m);
}

/* What the guest writes into a slot of the VMM's own that is logged, a BAR say, is in its ring too. */
static void foreign_slots_are_left_alone(void **state)
{
	const uint64_t high_bytes = BLOCK_BYTES - 16 * PAGE;
	struct machine *m = machine_of(VF_KVM_WAY_RING, high_bytes);
	struct kvm_userspace_memory_region bar = { .flags = KVM_MEM_LOG_DIRTY_PAGES,
		.slot = SLOT_FIRST + 2, .guest_phys_addr = BLOCK_BYTES + high_bytes,
		.memory_size = 16 * PAGE };
	uint8_t *memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			       -1, 0);

	(void) state;
	assert_true(memory != MAP_FAILED);
	bar.userspace_addr = (uintptr_t) memory;
	rig_call(m->rig.vm, KVM_SET_USER_MEMORY_REGION, &bar);
	bar.slot = SLOT_FIRST - 1;
	bar.guest_phys_addr = 1ull << 32;
	rig_call(m->rig.vm, KVM_SET_USER_MEMORY_REGION, &bar);
	load_guest(m, poker, sizeof(poker));
	start(m);
	poke(m, 251);
	assert_int_equal(memory[11 * PAGE], 1);
	EXPECT(m);
	poke(m, 130);
	EXPECT(m, 130);
	vf_ram_tracking_stop(m->ram);
	machine_free(m);
	munmap(memory, 16 * PAGE);
}

static void rings_can_be_refused(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct vferry_kvm_memory *memory = NULL;
	struct vferry_kvm_memory_config config;
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	rig_make_vm(&m->rig);
	assert_int_equal(vferry_ram_new(&m->ram), 0);
	config = config_of(m, VFERRY_KVM_DIRTY_RING);
	config.ring_entries = 300;
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, &err), -EINVAL);
	assert_string_equal(err.id, "kvm-dirty-ring");
	config.ring_entries = 1u << 30;
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, NULL), -EINVAL);
	rig_make_vcpu(&m->rig, 0);
	config.ring_entries = 4096;
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, NULL), -EINVAL);
	config.dirty = VFERRY_KVM_DIRTY_LOG;
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, NULL), 0);
	assert_int_equal(vferry_kvm_memory_ring_full(memory, 0, &err), -EINVAL);
	vferry_kvm_memory_free(memory);
	munmap(m->rig.run[0], m->rig.run_bytes);
	close(m->rig.vcpu[0]);
	close(m->rig.vm);
	close(m->rig.kvm);
	vferry_ram_free(m->ram);
	free(m);
}

/* ---- slots ---- */

static void wrong_configs_are_refused(void **state)
{
	struct machine *m = machine_new(VF_KVM_WAY_LOG_BY_HAND);
	struct vferry_kvm_memory_config config = config_of(m, VFERRY_KVM_DIRTY_LOG);
	struct vferry_kvm_memory *memory = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	config.slot_first = 100;	/* the memory is there already, in other slots */
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, &err), -EEXIST);
	assert_string_equal(err.id, "kvm-memory-slot");
	assert_string_equal(err.object, "low");
	config.slot_first = UINT16_MAX;
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, NULL), -EINVAL);
	config = config_of(m, (enum vferry_kvm_dirty) 3);
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, NULL), -EINVAL);
	config = config_of(m, VFERRY_KVM_DIRTY_LOG);
	config.ram = NULL;
	assert_int_equal(vferry_kvm_memory_new(&config, &memory, NULL), -EINVAL);
	assert_int_equal(vferry_kvm_memory_new(NULL, &memory, NULL), -EINVAL);
	assert_null(memory);
	machine_free(m);
}

/* Slots are gone with the object: another may take their places. */
static void slots_are_given_back(void **state)
{
	struct machine *m = machine_new(VF_KVM_WAY_LOG_BY_HAND);
	struct vferry_kvm_memory_config config = config_of(m, VFERRY_KVM_DIRTY_AUTO);

	(void) state;
	m->memory = vferry_kvm_memory_free(m->memory);
	assert_int_equal(vferry_kvm_memory_new(&config, &m->memory, NULL), 0);
	assert_int_equal(vferry_kvm_memory_dirty(m->memory), VFERRY_KVM_DIRTY_LOG);
	load_guest(m, poker, sizeof(poker));
	start(m);
	poke(m, 99);
	EXPECT(m, 99);
	vf_ram_tracking_stop(m->ram);
	machine_free(m);
}

int main(void)
{
	static const enum vf_kvm_way ways[] = { VF_KVM_WAY_LOG_AT_ONCE, VF_KVM_WAY_LOG_BY_HAND,
		VF_KVM_WAY_RING };
	static const char *const names[] = { "plain log", "log cleared by hand", "rings" };
	const struct CMUnitTest others[] = {
		cmocka_unit_test(full_ring_is_emptied),
		cmocka_unit_test(foreign_slots_are_left_alone),
		cmocka_unit_test(rings_can_be_refused),
		cmocka_unit_test(wrong_configs_are_refused),
		cmocka_unit_test(slots_are_given_back),
	};
	int failed = 0;

	if (!rig_possible())
		return RIG_SKIP;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_prestate(name, (void *) &ways[i])
			TEST(what_is_written_is_reported_once),
			TEST(parts_are_reported),
			TEST(copy_becomes_the_same),
		};

		failed += cmocka_run_group_tests_name(names[i], tests, NULL, NULL);
	}
	return failed + cmocka_run_group_tests(others, NULL, NULL);
}
