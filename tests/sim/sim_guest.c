/* SPDX-License-Identifier: MIT */
/*
 * sim_guest.c - what a machine has and does, on either host; and whether both have the same.
 *
 * Guest RAM is real (lib/ram), with few pages that are written. What guest and devices do is not
 * an event of its own: guest_settle() catches up on it, in small lumps, whenever somebody looks.
 * Devices write RAM too; their log is a dirty source, asked as the library asks a device's. The
 * state of a device is an array of words, and its stream a sequence of (index, value); what else
 * there is are numbers that grow while something runs.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define AREA_BYTES (1u << 20)	/* one place, see stream_sink.h */

/* Of each device of the destination; the same for all runs. */
static uint8_t areas[WORLD_MAX_DEVICES][AREA_BYTES];

static const uint64_t block_pages[RAM_BLOCKS] = { 3 * VF_UNIT_PAGES + 200, VF_UNIT_PAGES + 72 };

/* ---- RAM ---- */

static uint64_t block_gpa(size_t block)
{
	return block ? 1ull << 32 : 0;
}

static uint64_t page_gpa(uint32_t page)
{
	return page < block_pages[0] ? page * VF_PAGE_BYTES :
				       block_gpa(1) + (page - block_pages[0]) * VF_PAGE_BYTES;
}

/* A few bytes change somewhere in the page, or all of it becomes zero. */
static void write_page(struct sim *s, uint32_t page)
{
	uint64_t *host = vferry_ram_host(s->ram[SOURCE], page_gpa(page), VF_PAGE_BYTES);

	if (rng_percent(&s->rng, 12)) {
		memset(host, 0, VF_PAGE_BYTES);
		return;
	}
	host[rng_below(&s->rng, VF_PAGE_BYTES / 8)] = ++s->version;
	host[rng_below(&s->rng, VF_PAGE_BYTES / 8)] = rng_next(&s->rng);
}

void guest_write(struct sim *s)
{
	uint32_t page = s->set[rng_below(&s->rng, s->set_count)];

	write_page(s, page);
	vferry_ram_mark_dirty(s->ram[SOURCE], page_gpa(page), VF_PAGE_BYTES);
}

void guest_dma(struct sim *s, unsigned device)
{
	uint32_t page = s->set[rng_below(&s->rng, s->set_count)];

	write_page(s, page);
	s->device[SOURCE][device].log[page / 64] |= 1ull << (page % 64);
}

/* The log of one device; asked and cleared in one. */
static int collect_log(void *user, uint64_t gpa, uint64_t bytes, uint64_t *words,
		       struct vferry_error *err)
{
	struct sim *s = ((void **) user)[0];
	struct device *d = ((void **) user)[1];
	uint32_t first = gpa ? (uint32_t) block_pages[0] : 0;

	if (rng_below(&s->rng, 1000) < s->faults.dirty_fails) {
		fault(s, FAULT_DIRTY_SOURCE);
		return vferry_error_set(err, -EIO, "log-failed", "device", "no report");
	}
	if (s->in_last_round && s->mutation == MUTATION_FORGETS_LOG)
		return 0;
	for (uint32_t i = 0; i < s->set_count; i++) {
		uint32_t page = s->set[i], at = page - first;

		if (page < first || at >= bytes / VF_PAGE_BYTES ||
		    !(d->log[page / 64] >> (page % 64) & 1))
			continue;
		words[at / 64] |= 1ull << (at % 64);
		d->log[page / 64] &= ~(1ull << (page % 64));
	}
	return 0;
}

/* What a source is asked with; it outlives the RAM. */
static void *log_user[WORLD_MAX_DEVICES][2];

static bool add_logs(struct sim *s)
{
	for (int i = 0; i < s->machine->devices; i++) {
		struct vferry_dirty_source source = {
			.size = sizeof(source), .name = "device", .user = log_user[i],
			.collect = collect_log,
		};

		log_user[i][0] = s;
		log_user[i][1] = &s->device[SOURCE][i];
		if (vferry_ram_add_dirty_source(s->ram[SOURCE], &source, NULL))
			return false;
	}
	return true;
}

static bool make_ram(struct sim *s, enum side side)
{
	static const char *const names[RAM_BLOCKS] = { "low", "high" };

	if (vferry_ram_new(&s->ram[side]))
		return false;
	for (size_t b = 0; b < RAM_BLOCKS; b++) {
		if (vferry_ram_create_block(s->ram[side], names[b], block_gpa(b),
					    block_pages[b] * VF_PAGE_BYTES, 0, NULL) < 0)
			return false;
	}
	return true;
}

/* ---- devices ---- */

static void change_words(struct sim *s, struct device *d, unsigned count)
{
	while (count--) {
		uint64_t word = rng_below(&s->rng, DEVICE_WORDS);

		d->words[word] = rng_next(&s->rng);
		d->unsent[word / 64] |= 1ull << (word % 64);
	}
}

/* A word that was never written is zero, and not sent. */
void guest_reset_device(struct sim *s, unsigned device)
{
	struct device *d = &s->device[SOURCE][device];

	memset(d->words, 0, sizeof(d->words));
	memset(d->unsent, 0, sizeof(d->unsent));
	change_words(s, d, DEVICE_WORDS / 2);
	d->generation++;
	d->config++;
}

size_t device_read(struct sim *s, unsigned device, uint8_t *to, size_t bytes)
{
	struct device *d = &s->device[SOURCE][device];
	size_t n = 0;

	for (uint32_t i = 0; i < DEVICE_WORDS && n + RECORD_BYTES <= bytes; i++) {
		if (!(d->unsent[i / 64] >> (i % 64) & 1))
			continue;
		d->unsent[i / 64] &= ~(1ull << (i % 64));
		vf_put_u64(to + n, i);
		vf_put_u64(to + n + 8, d->words[i]);
		n += RECORD_BYTES;
	}
	return n;
}

uint64_t device_left(const struct sim *s, unsigned device)
{
	uint64_t words = 0;

	for (size_t i = 0; i < DEVICE_WORDS / 64; i++)
		words += (uint64_t) __builtin_popcountll(s->device[SOURCE][device].unsent[i]);
	return words * RECORD_BYTES;
}

static int device_write(void *user, const void *data, size_t size, struct vferry_error *err)
{
	struct device *d = user;
	const uint8_t *at = data;

	for (; size >= RECORD_BYTES; at += RECORD_BYTES, size -= RECORD_BYTES) {
		uint64_t index = vf_get_u64(at);

		if (index >= DEVICE_WORDS)
			return vferry_error_set(err, -EBADMSG, "device-state", "device", "index");
		d->words[index] = vf_get_u64(at + 8);
	}
	return size ? -EBADMSG : 0;
}

static int device_restart(void *user, struct vferry_error *err)
{
	struct device *d = user;

	(void) err;
	if (!d->keeps_state)
		memset(d->words, 0, sizeof(d->words));
	return 0;
}

static void *device_area(void *user, size_t *ret_bytes)
{
	*ret_bytes = AREA_BYTES;
	return ((struct device *) user)->area;
}

const struct vferry_stream_ops device_stream_ops = {
	.size = sizeof(device_stream_ops),
	.write = device_write,
	.restart = device_restart,
	.area = device_area,
};

/* ---- time ---- */

static void settle_devices(struct sim *s, unsigned much)
{
	for (int i = 0; i < s->machine->devices; i++) {
		struct device *d = &s->device[SOURCE][i];

		if (!d->running)
			continue;
		change_words(s, d, (unsigned) rng_below(&s->rng, much + 1));
		if (rng_percent(&s->rng, 30))
			guest_dma(s, (unsigned) i);
		s->controller++;
		if (s->vcpus[SOURCE] && rng_percent(&s->rng, 10))
			d->config++;
	}
}

void guest_settle(struct sim *s)
{
	uint64_t ns = s->now_ns - s->settled_ns;
	uint64_t writes = s->writes_per_second * (100 - s->throttle) / 100 * (ns / 1000) / 1000000;

	if (ns < 1000)
		return;
	s->settled_ns = s->now_ns;
	if (s->vcpus[SOURCE]) {
		/* More than all pages are written over and over: that changes nothing. */
		for (writes = vf_min_u64(writes, 2 * s->set_count); writes; writes--)
			guest_write(s);
		s->cpu++;
		s->controller++;
		s->clock++;
	}
	settle_devices(s, ns > MS ? 4 : 1);
}

/* What a save step changes, or its device in its last moment. */
void guest_step_ends(struct sim *s, const struct world_step *step)
{
	unsigned device = step->index < 0 ? 0 : (unsigned) step->index;
	struct device *d = &s->device[SOURCE][device];

	switch (step->step_class) {
	case VFERRY_SAVE_VCPU_STOP:
		guest_settle(s);
		s->vcpus[SOURCE] = false;
		break;
	case VFERRY_SAVE_VCPU_COMPLETE:
		s->cpu++;
		guest_write(s);
		break;
	case VFERRY_SAVE_DEVICE_STOP:
		change_words(s, d, 2);
		guest_dma(s, device);
		s->controller++;
		d->config++;
		d->running = false;
		break;
	case VFERRY_SAVE_IRQ_FLUSH:
		s->controller++;
		for (int i = 0; i < s->machine->devices; i++)
			s->device[SOURCE][i].config++;
		break;
	case VFERRY_SAVE_ITS_RELEASE:
	case VFERRY_SAVE_GIC_PENDING:
	case VFERRY_SAVE_ITS_TABLES:
		guest_write(s);
		break;
	default:
		break;
	}
}

uint64_t guest_state(const struct sim *s, enum vferry_step_class step_class, uint32_t index)
{
	switch (step_class) {
	case VFERRY_SAVE_CONFIG_EARLY:
	case VFERRY_SAVE_CONFIG:
		return s->device[SOURCE][index].config;
	case VFERRY_SAVE_CPU:
		return s->cpu + index;
	case VFERRY_SAVE_CLOCK:
	case VFERRY_SAVE_OTHER:
		return s->clock;
	case VFERRY_SAVE_DEVICE_DATA:
	case VFERRY_SAVE_RAM_LAST:
		return 0;
	default:
		return s->controller;
	}
}

/* ---- the comparison ---- */

static void compare_ram(struct sim *s)
{
	for (uint32_t page = 0; page < RAM_PAGES; page++) {
		const void *here, *there;
		size_t b = page >= block_pages[0];
		uint64_t local = b ? page - block_pages[0] : page;
		uint64_t end;
		uint64_t data = vf_ram_next_data(s->ram[SOURCE], b, local, block_pages[b], &end);
		uint64_t other = vf_ram_next_data(s->ram[DESTINATION], b, local, block_pages[b], &end);

		/* Never touched on either side: zeros on both. */
		data = vf_min_u64(data, other);
		if (data > local) {
			page += (uint32_t) (data - local) - 1;
			continue;
		}
		here = vferry_ram_host(s->ram[SOURCE], page_gpa(page), VF_PAGE_BYTES);
		there = vferry_ram_host(s->ram[DESTINATION], page_gpa(page), VF_PAGE_BYTES);
		s->pages_compared++;
		if (memcmp(here, there, VF_PAGE_BYTES)) {
			say(s, "page %u differs", page);
			wrong(s, "a page of the destination is not the source's");
			return;
		}
	}
}

static void compare_sections(struct sim *s)
{
	for (uint32_t i = 0; i < s->sent_count; i++) {
		const struct vf_manifest_section *sent = &s->sent[i];
		enum vferry_step_class from = (enum vferry_step_class) ((sent->id - 1) % 64);
		uint32_t index = (sent->id - 1) / 64;
		uint16_t version;
		uint8_t *body = NULL;
		size_t bytes;

		if (from == VFERRY_SAVE_CONFIG_EARLY || !guest_state(s, from, index))
			continue;
		if (vf_sections_copy(&s->sections, sent->component, sent->id, &body, &bytes,
				     &version)) {
			wrong(s, "a section is not there");
			return;
		}
		if (bytes < 8 || vf_get_u64(body) != guest_state(s, from, index)) {
			say(s, "section of class %d, %u: %llu, should be %llu", from, index,
			    (unsigned long long) vf_get_u64(body),
			    (unsigned long long) guest_state(s, from, index));
			wrong(s, "a component of the destination is not as the source's");
		}
		world_free(body);
	}
}

void guest_compare(struct sim *s)
{
	/* A source that took the machine back has gone on with it. */
	if (s->taken_back)
		return;
	memory_pause(true);
	compare_ram(s);
	compare_sections(s);
	for (int i = 0; i < s->machine->devices; i++) {
		const struct device *here = &s->device[SOURCE][i];
		const struct device *there = &s->device[DESTINATION][i];

		s->device_bytes += sizeof(here->words);
		if (memcmp(here->words, there->words, sizeof(here->words)))
			wrong(s, "a device's state on the destination is not the source's");
	}
	memory_pause(false);
}

/* ---- life ---- */

bool guest_init(struct sim *s)
{
	if (!make_ram(s, SOURCE) || !make_ram(s, DESTINATION) || !add_logs(s))
		return false;
	s->set_count = (unsigned) some(s, 4, WORKING_SET);
	for (unsigned i = 0; i < s->set_count; i++)
		s->set[i] = (uint32_t) rng_below(&s->rng, RAM_PAGES);
	for (unsigned i = 0; i < s->set_count; i++)
		guest_write(s);
	/* A few that are written once, and never again. */
	for (unsigned i = 0; i < 4; i++)
		write_page(s, (uint32_t) rng_below(&s->rng, RAM_PAGES));
	s->cpu = s->controller = s->clock = 1;
	for (int i = 0; i < s->machine->devices; i++) {
		struct device *d = &s->device[SOURCE][i];

		d->config = 1;
		d->drain_step = s->device[DESTINATION][i].load_step = -1;
		d->has_precopy = rng_percent(&s->rng, 75);
		s->device[DESTINATION][i].area = areas[i];
		s->device[DESTINATION][i].keeps_state = s->mutation == MUTATION_KEEPS_STATE;
		change_words(s, d, DEVICE_WORDS / 2);
	}
	return true;
}

void guest_free(struct sim *s)
{
	for (int side = SOURCE; side <= DESTINATION; side++)
		s->ram[side] = vferry_ram_free(s->ram[side]);
}
