/* SPDX-License-Identifier: MIT */
/*
 * kvm_state.c - what a KVM machine is made of beside vCPUs, interrupt controllers and clocks, which
 * <vferry/kvm.h> has: sections and components of its own.
 *
 * Section 1 of board, version 1:
 *   u32     what the guest asked for and did not get yet: 1 power-off, 2 reset
 *   u32     triple faults so far
 *   u64     running time, ns
 *   u64     paused time, ns
 *   u64     CLOCK_REALTIME of the stop, ns
 *   u32     x86-64: the address at port 0xcf8
 *
 * Section 1 of serial/0 is kvm_console.c's, that of ioapic (split irqchip) x86/ioapic.h's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define OWN_COMPONENTS	3u

struct kvm_components {
	struct kvm_machine *machine;
	struct vferry_component own[OWN_COMPONENTS];
	/* loaded, but not in force before COMMIT */
	bool board_loaded;
	uint32_t wishes, triple_faults;
	struct run_clock clock;
};

int kvm_must_be_stopped(struct kvm_machine *m, const char *object, struct vferry_error *err)
{
	if (!kvm_machine_is_running(m))
		return 0;
	return vferry_error_set(err, -EBUSY, "machine-runs", object,
				"state of a running machine cannot be read or replaced");
}

/* ---- board ---- */

void kvm_board_save(struct kvm_machine *m, struct vferry_writer *w)
{
	pthread_mutex_lock(&m->lock);
	vferry_write_u32(w, atomic_load(&m->wishes));
	vferry_write_u32(w, atomic_load(&m->triple_faults));
	vferry_write_u64(w, m->clock.run_ns);
	vferry_write_u64(w, m->clock.paused_ns);
	vferry_write_u64(w, run_clock_stopped_real(&m->clock));
	pthread_mutex_unlock(&m->lock);
	kvm_arch_save(m, w);
}

static int save_board(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_machine *m = ((struct kvm_components *) user)->machine;
	int r = kvm_must_be_stopped(m, "board", err);

	if (r == 0)
		kvm_board_save(m, vferry_step_writer(step));
	return r;
}

int kvm_board_load(struct kvm_components *c, struct vferry_reader *r, struct vferry_error *err)
{
	struct run_clock clock = { .mode = c->machine->clock.mode };
	uint32_t wishes, triple_faults;
	bool good;

	wishes = vferry_read_u32(r);
	triple_faults = vferry_read_u32(r);
	clock.run_ns = vferry_read_u64(r);
	clock.paused_ns = vferry_read_u64(r);
	clock.stopped_real_ns = vferry_read_u64(r);
	good = kvm_arch_load(c->machine, r);
	if (!good || !vferry_reader_done(r) || wishes & ~(KVM_WISH_POWER_OFF | KVM_WISH_RESET) ||
	    clock.run_ns > RUN_CLOCK_MAX_NS || clock.paused_ns > RUN_CLOCK_MAX_NS ||
	    clock.stopped_real_ns > RUN_CLOCK_MAX_NS)
		return vferry_error_set(err, -EPROTO, "bad-section", "board",
					"the state of the board cannot be read");
	c->wishes = wishes;
	c->triple_faults = triple_faults;
	c->clock = clock;
	c->board_loaded = true;
	return 0;
}

static int load_board(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_components *c = user;
	int r = kvm_must_be_stopped(c->machine, "board", err);

	return r == 0 ? kvm_board_load(c, vferry_step_reader(step), err) : r;
}

void kvm_board_apply(struct kvm_components *c)
{
	struct kvm_machine *m = c->machine;

	pthread_mutex_lock(&m->lock);
	if (c->board_loaded && !m->running) {
		m->clock = c->clock;
		atomic_store(&m->wishes, c->wishes);
		atomic_store(&m->triple_faults, c->triple_faults);
		m->loaded = true;
		c->board_loaded = false;
	}
	pthread_mutex_unlock(&m->lock);
}

/* After COMMIT, with all else in place: nothing here can fail. */
static int set_board(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	(void) err;
	kvm_board_apply(user);
	return 0;
}

/* ---- serial port, interrupts ---- */

static int save_serial(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_machine *m = ((struct kvm_components *) user)->machine;
	int r = kvm_must_be_stopped(m, "serial/0", err);

	if (r == 0)
		kvm_console_save(m->console, vferry_step_writer(step));
	return r;
}

static int load_serial(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_machine *m = ((struct kvm_components *) user)->machine;
	int r = kvm_must_be_stopped(m, "serial/0", err);

	return r == 0 ? kvm_console_load(m->console, vferry_step_reader(step), err) : r;
}

static int flush_irqs(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	return kvm_irq_flush(((struct kvm_components *) user)->machine->irq, err);
}

/* ---- tables ---- */

static const struct vferry_section_desc board_sections[] = {
	{ .id = KVM_BOARD_SECTION, .name = "board", .version = 1, .oldest = 1, .max_bytes = 256 },
};

static const struct vferry_step_desc board_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_OTHER, .name = "board",
	  .section = KVM_BOARD_SECTION, .run = save_board },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER, .name = "board",
	  .section = KVM_BOARD_SECTION, .run = load_board },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_CLOCK, .name = "set",
	  .run = set_board },
};

static const struct vferry_section_desc serial_sections[] = {
	{ .id = KVM_CONSOLE_SECTION, .name = "port", .version = 1, .oldest = 1, .max_bytes = 2048 },
};

static const struct vferry_step_desc serial_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_OTHER, .name = "port",
	  .section = KVM_CONSOLE_SECTION, .run = save_serial },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER, .name = "port",
	  .section = KVM_CONSOLE_SECTION, .run = load_serial },
};

static const struct vferry_step_desc irqfd_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_IRQ_FLUSH,
	  .name = "flush", .run = flush_irqs },
};

int kvm_components_new(struct kvm_machine *m, struct kvm_components **ret)
{
	struct kvm_components *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->machine = m;
	c->own[0] = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "board", .user = c,
		.sections = board_sections, .section_count = COUNT(board_sections),
		.steps = board_steps, .step_count = COUNT(board_steps) };
	c->own[1] = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "serial/0", .user = c,
		.sections = serial_sections, .section_count = COUNT(serial_sections),
		.steps = serial_steps, .step_count = COUNT(serial_steps) };
	c->own[2] = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "irqfd", .user = c,
		.steps = irqfd_steps, .step_count = COUNT(irqfd_steps) };
	*ret = c;
	return 0;
}

struct kvm_components *kvm_components_free(struct kvm_components *components)
{
	free(components);
	return NULL;
}

const struct vferry_component *kvm_components_get(const struct kvm_components *c, size_t index)
{
	if (index < OWN_COMPONENTS)
		return &c->own[index];
	return kvm_arch_component(c->machine, index - OWN_COMPONENTS);
}
