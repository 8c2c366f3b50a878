/* SPDX-License-Identifier: MIT */
/* small_machine.c - see small_machine.h. */
#include "small_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER 0x1122334455667788ull
#define BOARD_A 0xb0a4d001u
#define BOARD_B 0xb0a4d002u
#define DATA_PAGES 3u

/* Pages of ram that hold something; all others are zero, and one was touched. */
static const uint32_t data_pages[DATA_PAGES] = { 0, 7, 511 };
#define TOUCHED_PAGE 8u
#define ROM_PAGE 1u

/* ---- running ---- */

static int stop(void *user, struct vferry_error *err)
{
	struct small_machine *m = user;

	(void) err;
	m->running = false;
	return 0;
}

static int start(void *user, struct vferry_error *err)
{
	struct small_machine *m = user;

	(void) err;
	m->starts++;
	m->running = true;
	return 0;
}

static const struct vferry_machine_ops ops = { .size = sizeof(ops), .stop = stop, .start = start };

/* ---- cpu/0 and board ---- */

static int save_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct small_machine *m = user;

	(void) err;
	vferry_write_u64(vferry_step_writer(step), m->counter);
	return 0;
}

static int load_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_reader *r = vferry_step_reader(step);
	struct small_machine *m = user;
	uint64_t counter = vferry_read_u64(r);

	if (!vferry_reader_done(r) || counter != COUNTER)
		return vferry_error_set(err, -EBADMSG, "bad-cpu", "cpu/0",
					"no register can hold that");
	m->counter = counter;
	return 0;
}

static int identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	(void) user;
	(void) err;
	vferry_write_string(w, "small");
	return 0;
}

static int check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	char kind[16];

	(void) user;
	vferry_read_string(source, kind, sizeof(kind));
	if (!vferry_reader_done(source))
		return -EBADMSG;
	if (strcmp(kind, "small"))
		vferry_reasons_add(reasons, "cpu-kind", "cpu/0", "a \"%s\" there, small here", kind);
	return 0;
}

static int save_board(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct small_machine *m = user;

	(void) err;
	vferry_write_u32(vferry_step_writer(step), m->board[0]);
	return 0;
}

static int save_board_late(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct small_machine *m = user;

	(void) err;
	vferry_write_u32(vferry_step_writer(step), m->board[1]);
	return 0;
}

static int load_board(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_reader *r = vferry_step_reader(step);
	struct small_machine *m = user;
	uint32_t id = vferry_step_section_id(step), value = vferry_read_u32(r);

	if (!vferry_reader_done(r) || value != (id == 1 ? BOARD_A : BOARD_B))
		return vferry_error_set(err, -EBADMSG, "bad-board", "board", "unknown board");
	/* A source that does not speak of it is no good source, and need not be loaded. */
	if (id == 2 && !m->board[0])
		return vferry_error_set(err, -EPROTO, "bad-board", "board",
					"the late section came first: its dependency was not kept");
	m->board[id - 1] = value;
	return 0;
}

static const struct vferry_section_desc cpu_sections[] = {
	{ .id = 1, .name = "registers", .version = 1, .oldest = 1, .max_bytes = 64 },
};

static const struct vferry_section_desc board_sections[] = {
	{ .id = 1, .name = "early", .version = 1, .oldest = 1, .max_bytes = 64 },
	{ .id = 2, .name = "late", .version = 2, .oldest = 1, .max_bytes = 64 },
};

#define STEP(class, label, number, function) \
	{ .size = sizeof(struct vferry_step_desc), .step_class = class, .name = label, \
	  .section = number, .run = function }

static const struct vferry_step_desc cpu_steps[] = {
	STEP(VFERRY_SAVE_CPU, "save", 1, save_cpu),
	STEP(VFERRY_LOAD_CPU_REGS, "load", 1, load_cpu),
};

static const struct vferry_step_desc board_steps[] = {
	STEP(VFERRY_SAVE_OTHER, "save", 1, save_board),
	STEP(VFERRY_SAVE_OTHER, "save-late", 2, save_board_late),
	STEP(VFERRY_LOAD_OTHER, "load", 1, load_board),
	STEP(VFERRY_LOAD_OTHER, "load-late", 2, load_board),
};

/* ---- the device ---- */

static int precopy_start(void *user, struct vferry_error *err)
{
	(void) user;
	(void) err;
	return 0;
}

static int64_t state_read(void *user, void *buffer, size_t size, struct vferry_error *err)
{
	struct small_machine *m = user;
	size_t end = m->state_stopped ? SMALL_STATE_BYTES : SMALL_STATE_BYTES / 2;
	size_t n = end - m->state_at < size ? end - m->state_at : size;

	(void) err;
	memcpy(buffer, m->state + m->state_at, n);
	m->state_at += n;
	return (int64_t) n;
}

static int remaining(void *user, struct vferry_remaining *ret, struct vferry_error *err)
{
	const struct small_machine *m = user;
	size_t half = SMALL_STATE_BYTES / 2;

	(void) err;
	*ret = (struct vferry_remaining) {
		.initial_bytes = m->state_at < half ? half - m->state_at : 0,
		.stop_copy_bytes = half, .precopy_known = true, .stop_copy_known = true,
	};
	return 0;
}

static int state_write(void *user, const void *data, size_t size, struct vferry_error *err)
{
	struct small_machine *m = user;

	if (size > SMALL_STATE_BYTES - m->state_at)
		return vferry_error_set(err, -EFBIG, "too-long", "device", "too much state");
	memcpy(m->state + m->state_at, data, size);
	m->state_at += size;
	return 0;
}

static int state_restart(void *user, struct vferry_error *err)
{
	struct small_machine *m = user;

	(void) err;
	m->state_at = 0;
	return 0;
}

static int nothing(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) user;
	(void) step;
	(void) err;
	return 0;
}

static int device_stop(void *user, struct vferry_step *step, struct vferry_error *err)
{
	((struct small_machine *) user)->state_stopped = true;
	return nothing(user, step, err);
}

static int device_run(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct small_machine *m = user;

	m->state_stopped = false;
	m->state_at = 0;
	return nothing(user, step, err);
}

static const struct vferry_stream_ops device_stream = {
	.size = sizeof(device_stream),
	.precopy_start = precopy_start,
	.read = state_read,
	.remaining = remaining,
	.write = state_write,
	.restart = state_restart,
};

static const struct vferry_step_desc device_steps[] = {
	STEP(VFERRY_SAVE_DEVICE_P2P, "p2p", 0, nothing),
	STEP(VFERRY_SAVE_DEVICE_STOP, "stop", 0, device_stop),
	STEP(VFERRY_LOAD_DEVICE_RESUMING, "resuming", 0, nothing),
	STEP(VFERRY_LOAD_CONFIG_STAGE, "stage", 0, nothing),
	STEP(VFERRY_LOAD_CONFIG_RESTAGE, "restage", 0, nothing),
	STEP(VFERRY_LOAD_DEVICE_VALIDATE, "validate", 0, nothing),
	STEP(VFERRY_LOAD_DEVICE_RUN_P2P, "run-p2p", 0, nothing),
	STEP(VFERRY_LOAD_DEVICE_RUN, "run", 0, device_run),
	STEP(VFERRY_UNDO_DEVICE_RUN, "run-again", 0, device_run),
};

/* ---- all of it ---- */

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void add_components(struct small_machine *m)
{
	const struct vferry_component parts[] = {
		{ .size = sizeof(*parts), .name = "cpu/0", .user = m, .identity = identity,
		  .check = check, .sections = cpu_sections, .section_count = COUNT(cpu_sections),
		  .steps = cpu_steps, .step_count = COUNT(cpu_steps) },
		{ .size = sizeof(*parts), .name = "board", .user = m, .sections = board_sections,
		  .section_count = COUNT(board_sections), .steps = board_steps,
		  .step_count = COUNT(board_steps) },
		{ .size = sizeof(*parts), .name = "device", .device = "00:04.0", .user = m,
		  .steps = device_steps, .step_count = COUNT(device_steps),
		  .stream = &device_stream },
	};

	for (size_t i = 0; i < COUNT(parts); i++)
		if (vferry_session_add_component(m->session, &parts[i], NULL))
			abort();
	if (vferry_session_add_dependency(m->session, "board", 1, "board", 2, NULL))
		abort();
}

void small_machine_session(struct small_machine *m, const struct vferry_parameters *p)
{
	m->session = vferry_session_free(m->session);
	if (vferry_session_new(&ops, m, &m->session, NULL) ||
	    vferry_session_set_ram(m->session, m->ram) ||
	    vferry_session_set_machine(m->session, "small-v1") ||
	    (p && vferry_session_set_parameters(m->session, p, NULL)))
		abort();
	add_components(m);
}

static uint8_t state_byte(size_t at)
{
	return (uint8_t) (at * 7 + (at >> 8));
}

static void fill_page(struct small_machine *m, uint64_t gpa)
{
	uint32_t words[1024];

	for (uint32_t i = 0; i < 1024; i++)
		words[i] = (uint32_t) (gpa >> 12) * 2654435761u + i / 16;
	if (vferry_ram_write(m->ram, gpa, words, sizeof(words)))
		abort();
}

static bool page_is_filled(const struct small_machine *m, uint64_t gpa)
{
	uint32_t words[1024];

	if (vferry_ram_read(m->ram, gpa, words, sizeof(words)))
		abort();
	for (uint32_t i = 0; i < 1024; i++)
		if (words[i] != (uint32_t) (gpa >> 12) * 2654435761u + i / 16)
			return false;
	return true;
}

void small_machine_init(struct small_machine *m, bool source)
{
	static const uint8_t zero[4096];

	memset(m, 0, sizeof(*m));
	if (vferry_ram_new(&m->ram) ||
	    vferry_ram_create_block(m->ram, "ram", 0, SMALL_RAM_BYTES, 0, NULL) < 0 ||
	    vferry_ram_create_block(m->ram, "rom", SMALL_ROM_GPA, SMALL_ROM_BYTES, 0, NULL) < 0)
		abort();
	if (!source)
		return;
	for (unsigned i = 0; i < DATA_PAGES; i++)
		fill_page(m, data_pages[i] * 4096ull);
	fill_page(m, SMALL_ROM_GPA + ROM_PAGE * 4096ull);
	if (vferry_ram_write(m->ram, TOUCHED_PAGE * 4096ull, zero, sizeof(zero)))
		abort();
	m->counter = COUNTER;
	m->board[0] = BOARD_A;
	m->board[1] = BOARD_B;
	for (size_t i = 0; i < SMALL_STATE_BYTES; i++)
		m->state[i] = state_byte(i);
	m->running = true;
}

bool small_machine_is_whole(const struct small_machine *m)
{
	for (unsigned i = 0; i < DATA_PAGES; i++)
		if (!page_is_filled(m, data_pages[i] * 4096ull))
			return false;
	for (size_t i = 0; i < SMALL_STATE_BYTES; i++)
		if (m->state[i] != state_byte(i))
			return false;
	return page_is_filled(m, SMALL_ROM_GPA + ROM_PAGE * 4096ull) && m->counter == COUNTER &&
	       m->board[0] == BOARD_A && m->board[1] == BOARD_B;
}

void small_machine_done(struct small_machine *m)
{
	m->session = vferry_session_free(m->session);
	m->ram = vferry_ram_free(m->ram);
}
