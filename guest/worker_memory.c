/* SPDX-License-Identifier: MIT */
/*
 * worker_memory.c - the self-checking guest's pattern in RAM.
 *
 * Model. The working set of a vCPU is visited in sweeps, each in the same scattered order. A page
 * is checked against what it must hold since the last sweep, then written anew; what it must hold
 * follows from its address and the number of the sweep that wrote it, so nothing need be kept for
 * each page: pages before `position` are of this sweep, the others of the one before. The filled
 * region behind it is written once and never changed.
 *
 * Guest RAM is read by a migration while it is written here, and written by devices while it is
 * read: that is what guests do, and is kept inside the few functions that no sanitizer looks into.
 */
#include "guest/worker.h"

#define DIRTY_AT_ONCE	16u	/* pages of a step */
#define CHECK_AT_ONCE	64u
#define CREDIT_NS	20000000ull	/* a rate is caught up with for at most so long */
#define SECOND_NS	1000000000ull

uint64_t worker_mix(uint64_t a, uint64_t b)
{
	uint64_t x = a ^ (b + 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	x ^= x >> 29;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 32;
}

__attribute__((no_sanitize("thread")))
uint64_t worker_load(struct guest_vcpu *vcpu, uint64_t gpa)
{
	const uint64_t *at = guest_ram(vcpu, gpa, sizeof(*at));

	return at ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : 0;
}

__attribute__((no_sanitize("thread")))
void worker_store(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t value)
{
	uint64_t *at = guest_ram(vcpu, gpa, sizeof(*at));

	if (!at)
		return;
	/* What was written before (a buffer, a table) is there for whoever sees this. */
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	guest_ram_written(vcpu, gpa, sizeof(*at));
}

__attribute__((no_sanitize("thread")))
void worker_zero(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes)
{
	uint64_t *at = guest_ram(vcpu, gpa, bytes);

	if (!at)
		return;
	for (uint64_t i = 0; i < bytes / sizeof(*at); i++)
		at[i] = 0;
	guest_ram_written(vcpu, gpa, bytes);
}

__attribute__((no_sanitize("thread")))
static void pattern_write(uint64_t *at, uint64_t seed, uint64_t words)
{
	for (uint64_t i = 0; i < words; i++)
		at[i] = accel_pattern(seed, i);
}

__attribute__((no_sanitize("thread")))
static uint64_t pattern_check(const uint64_t *at, uint64_t seed, uint64_t words)
{
	uint64_t i;

	/* Nearly always all is well: one branch for eight words. */
	for (i = 0; i + 8 <= words; i += 8) {
		uint64_t wrong = 0;

		for (uint64_t j = i; j < i + 8; j++)
			wrong |= at[j] ^ accel_pattern(seed, j);
		if (wrong)
			break;
	}
	while (i < words && at[i] == accel_pattern(seed, i))
		i++;
	return i;
}

__attribute__((no_sanitize("thread")))
static uint64_t zero_check(const uint64_t *at, uint64_t words)
{
	for (uint64_t i = 0; i < words; i++)
		if (at[i])
			return i;
	return words;
}

void worker_pattern_write(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t seed, uint64_t bytes)
{
	uint64_t *at = guest_ram(vcpu, gpa, bytes);

	if (!at)
		return;
	pattern_write(at, seed, bytes / sizeof(*at));
	guest_ram_written(vcpu, gpa, bytes);
}

uint64_t worker_pattern_check(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t seed, uint64_t bytes,
			      uint64_t *ret_found)
{
	const uint64_t *at = guest_ram(vcpu, gpa, bytes);
	uint64_t good;

	if (!at)
		return 0;
	good = pattern_check(at, seed, bytes / sizeof(*at)) * sizeof(*at);
	if (good < bytes && ret_found)
		*ret_found = worker_load(vcpu, gpa + good);
	return good;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* RAM may lie in two pieces; the plan sees one, that begins where the first does. */
static uint64_t ram_bytes(const struct guest_platform *platform)
{
	return platform->ram[0].bytes + platform->ram[1].bytes;
}

static uint64_t planned_gpa(const struct guest_platform *platform, uint64_t planned)
{
	uint64_t offset = planned - platform->ram[0].gpa;

	return offset < platform->ram[0].bytes ? planned :
	       platform->ram[1].gpa + (offset - platform->ram[0].bytes);
}

void worker_memory_plan(struct worker *w, const struct guest_platform *platform, unsigned cpu,
			uint64_t set_bytes, uint64_t fill_bytes)
{
	uint64_t free_pages = (ram_bytes(platform) - WORKER_DATA) / WORKER_PAGE;
	uint64_t set = set_bytes / WORKER_PAGE;
	uint64_t fill = fill_bytes / WORKER_PAGE;

	if (set > free_pages)
		set = free_pages;
	if (fill > free_pages - set)
		fill = free_pages - set;
	w->set_pages = set / platform->cpus;
	w->fill_pages = fill / platform->cpus;
	w->set_gpa = platform->ram[0].gpa + WORKER_DATA + cpu * w->set_pages * WORKER_PAGE;
	w->fill_gpa = platform->ram[0].gpa + WORKER_DATA + set * WORKER_PAGE +
		      cpu * w->fill_pages * WORKER_PAGE;
	/* Near the golden section: neighbours in time are far from each other in space. */
	w->stride = w->set_pages * 618 / 1000 | 1;
	while (gcd(w->stride, w->set_pages) > 1)
		w->stride += 2;
}

static bool range_valid(const struct guest_platform *platform, uint64_t gpa, uint64_t pages)
{
	uint64_t offset = gpa - platform->ram[0].gpa;

	return gpa >= platform->ram[0].gpa && gpa % WORKER_PAGE == 0 && offset >= WORKER_DATA &&
	       offset <= ram_bytes(platform) &&
	       pages <= (ram_bytes(platform) - offset) / WORKER_PAGE;
}

bool worker_memory_valid(const struct worker *w, const struct guest_platform *platform)
{
	return range_valid(platform, w->set_gpa, w->set_pages) &&
	       range_valid(platform, w->fill_gpa, w->fill_pages) &&
	       w->stride <= w->set_pages + 64 && gcd(w->stride, w->set_pages) <= 1 &&
	       (w->position < w->set_pages || w->position == 0) &&
	       w->fill_done <= w->fill_pages &&
	       w->check_position <= w->set_pages + w->fill_pages &&
	       w->fill_kind <= WORKER_FILL_HALF;
}

/* The page at @position of the visiting order. */
static uint64_t set_page(const struct guest_platform *platform, const struct worker *w,
			 uint64_t position)
{
	uint64_t page = position * w->stride % w->set_pages;

	return planned_gpa(platform, w->set_gpa + page * WORKER_PAGE);
}

static uint64_t fill_page(const struct guest_platform *platform, const struct worker *w,
			  uint64_t page)
{
	return planned_gpa(platform, w->fill_gpa + page * WORKER_PAGE);
}

static uint64_t page_seed(const struct worker *w, uint64_t gpa, uint64_t generation)
{
	return worker_mix(worker_mix(w->seed, gpa), generation);
}

static void corrupt(struct worker *w, uint64_t gpa, uint64_t expected, uint64_t found)
{
	if (w->corrupt_pages++ == 0) {
		w->corrupt_gpa = gpa;
		w->corrupt_expected = expected;
		w->corrupt_found = found;
	}
	worker_fault(w, WORKER_FAULT_MEMORY, gpa, expected, found);
}

static void check_page(struct guest_vcpu *vcpu, struct worker *w, uint64_t gpa, uint64_t seed)
{
	uint64_t found = 0;
	uint64_t good = worker_pattern_check(vcpu, gpa, seed, WORKER_PAGE, &found);

	w->checked_pages++;
	if (good < WORKER_PAGE)
		corrupt(w, gpa + good, accel_pattern(seed, good / 8), found);
}

static void check_zero_page(struct guest_vcpu *vcpu, struct worker *w, uint64_t gpa)
{
	const uint64_t *at = guest_ram(vcpu, gpa, WORKER_PAGE);
	uint64_t good = at ? zero_check(at, WORKER_PAGE / 8) : 0;

	w->checked_pages++;
	if (good < WORKER_PAGE / 8)
		corrupt(w, gpa + good * 8, 0, worker_load(vcpu, gpa + good * 8));
}

static void dirty_next(struct guest_vcpu *vcpu, struct worker *w)
{
	uint64_t gpa = set_page(vcpu->platform, w, w->position);

	if (w->generation > 0)
		check_page(vcpu, w, gpa, page_seed(w, gpa, w->generation));
	worker_pattern_write(vcpu, gpa, page_seed(w, gpa, w->generation + 1), WORKER_PAGE);
	w->dirtied_pages++;
	if (++w->position == w->set_pages) {
		w->position = 0;
		w->generation++;
	}
}

static bool fill_is_zero(const struct worker *w, uint64_t page)
{
	return w->fill_kind == WORKER_FILL_ZERO || (w->fill_kind == WORKER_FILL_HALF && page % 2);
}

bool worker_memory_fill(struct guest_vcpu *vcpu, struct worker *w)
{
	for (unsigned i = 0; i < CHECK_AT_ONCE; i++) {
		uint64_t gpa;

		if (w->generation == 0 && w->set_pages > 0) {
			dirty_next(vcpu, w);
			continue;
		}
		if (w->fill_done == w->fill_pages)
			return true;
		gpa = fill_page(vcpu->platform, w, w->fill_done);
		if (fill_is_zero(w, w->fill_done))
			worker_zero(vcpu, gpa, WORKER_PAGE);
		else
			worker_pattern_write(vcpu, gpa, page_seed(w, gpa, 1), WORKER_PAGE);
		w->fill_done++;
	}
	return false;
}

bool worker_memory_dirty(struct guest_vcpu *vcpu, struct worker *w, uint64_t now_ns)
{
	uint64_t cost;
	unsigned done = 0;

	if (w->set_pages == 0 || w->rate == 0) {
		w->due_ns = UINT64_MAX;
		return false;
	}
	cost = w->rate == UINT64_MAX ? 0 : WORKER_PAGE * SECOND_NS / w->rate;
	/* After a pause the rate is as before it: nothing is made up for. */
	if (w->due_ns == UINT64_MAX || w->due_ns + CREDIT_NS < now_ns)
		w->due_ns = now_ns;
	while (done < DIRTY_AT_ONCE && w->due_ns <= now_ns) {
		dirty_next(vcpu, w);
		w->due_ns += cost;
		done++;
	}
	return done > 0;
}

bool worker_memory_check(struct guest_vcpu *vcpu, struct worker *w)
{
	for (unsigned i = 0; i < CHECK_AT_ONCE; i++) {
		uint64_t at = w->check_position;
		uint64_t gpa;

		if (at == w->set_pages + w->fill_pages) {
			w->check_position = 0;
			return true;
		}
		w->check_position++;
		if (at < w->set_pages) {
			uint64_t generation = at < w->position ? w->generation + 1 : w->generation;

			gpa = set_page(vcpu->platform, w, at);
			if (generation > 0)
				check_page(vcpu, w, gpa, page_seed(w, gpa, generation));
			continue;
		}
		at -= w->set_pages;
		gpa = fill_page(vcpu->platform, w, at);
		if (fill_is_zero(w, at))
			check_zero_page(vcpu, w, gpa);
		else
			check_page(vcpu, w, gpa, page_seed(w, gpa, 1));
	}
	return false;
}
