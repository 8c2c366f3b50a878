/* SPDX-License-Identifier: MIT */
/*
 * soft_state.c - what a soft machine's vCPUs and clock are made of, in sections.
 *
 * Section 1 of cpu/N, version 1:
 *   string  name of the guest program
 *   u32     version of its words
 *   u32     words that it has
 *   u64     MPIDR
 *   u32     words that follow; those behind are 0
 *   u64...  words
 *
 * Section 1 of clock, version 1:
 *   u64     running time, ns
 *   u64     paused time, ns
 *   u64     CLOCK_REALTIME of the stop, ns
 *   u8      enum machine_guest_time
 *
 * A section is accepted whole or not at all: the words are checked by the program before they
 * replace what is there. The GIC has components of its own (<vferry/irqchip.h>).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soft.h"

#define MPIDR_RES1	0x80000000ull

/* ---- vCPUs ---- */

static int not_parked(const struct soft_machine *m, const char *object, struct vferry_error *err)
{
	if (!m->running)
		return 0;
	return vferry_error_set(err, -EBUSY, "machine-runs", object,
				"state of a running machine cannot be read or replaced");
}

int soft_cpu_save(struct soft_machine *m, unsigned cpu, struct vferry_writer *w,
		  struct vferry_error *err)
{
	const struct guest_program *program = m->config.program;
	const uint64_t *words = m->vcpu[cpu].words;
	uint32_t used = program->words;
	int r;

	pthread_mutex_lock(&m->lock);
	r = not_parked(m, "cpu", err);
	if (r == 0)
		r = soft_gic_vcpu_enter(m->gic, cpu, false);
	if (r == 0) {
		while (used > 0 && words[used - 1] == 0)
			used--;
		vferry_write_string(w, program->name);
		vferry_write_u32(w, program->version);
		vferry_write_u32(w, program->words);
		vferry_write_u64(w, MPIDR_RES1 | cpu);
		vferry_write_u32(w, used);
		for (uint32_t i = 0; i < used; i++)
			vferry_write_u64(w, words[i]);
		soft_gic_vcpu_leave(m->gic, cpu);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

static int bad_section(struct vferry_error *err, const char *object, const char *what)
{
	return vferry_error_set(err, -EPROTO, "bad-section", object, "section of %s: %s", object,
				what);
}

/* Reads the head. Return: 0 and how many words follow. */
static int read_head(const struct soft_machine *m, unsigned cpu, struct vferry_reader *r,
		     uint32_t *ret_used, struct vferry_error *err)
{
	const struct guest_program *program = m->config.program;
	char name[32];
	uint32_t version, words, used;
	uint64_t mpidr;

	vferry_read_string(r, name, sizeof(name));
	version = vferry_read_u32(r);
	words = vferry_read_u32(r);
	mpidr = vferry_read_u64(r);
	used = vferry_read_u32(r);
	if (strcmp(name, program->name) != 0)
		return bad_section(err, "cpu", "the guest program is another one");
	if (version != program->version || words != program->words)
		return bad_section(err, "cpu", "the guest program is of another version");
	if (mpidr != (MPIDR_RES1 | cpu))
		return bad_section(err, "cpu", "the affinity is not this vCPU's");
	if (used > program->words || vferry_reader_left(r) != (size_t) used * sizeof(uint64_t))
		return bad_section(err, "cpu", "the length is wrong");
	*ret_used = used;
	return 0;
}

int soft_cpu_load(struct soft_machine *m, unsigned cpu, struct vferry_reader *r,
		  struct vferry_error *err)
{
	const struct guest_program *program = m->config.program;
	struct soft_vcpu *vcpu = &m->vcpu[cpu];
	uint64_t *words;
	uint32_t used;
	int ret = read_head(m, cpu, r, &used, err);

	if (ret < 0)
		return ret;
	words = calloc(program->words, sizeof(*words));
	if (!words)
		return vferry_error_set(err, -ENOMEM, "no-memory", "cpu", "no memory for vCPU %u", cpu);
	for (uint32_t i = 0; i < used; i++)
		words[i] = vferry_read_u64(r);
	if (!vferry_reader_done(r) || !program->valid(&m->platform, cpu, words)) {
		free(words);
		return bad_section(err, "cpu", "the guest's state contradicts itself or this machine");
	}
	pthread_mutex_lock(&m->lock);
	ret = not_parked(m, "cpu", err);
	if (ret == 0)
		ret = soft_gic_vcpu_enter(m->gic, cpu, false);
	if (ret == 0) {
		memcpy(vcpu->words, words, program->words * sizeof(*words));
		pthread_mutex_lock(&vcpu->parker.lock);
		memcpy(vcpu->published, words, program->words * sizeof(*words));
		pthread_mutex_unlock(&vcpu->parker.lock);
		soft_gic_vcpu_leave(m->gic, cpu);
		m->loaded_cpus |= 1u << cpu;
	}
	pthread_mutex_unlock(&m->lock);
	free(words);
	return ret;
}

/* ---- clock ---- */

int soft_clock_save(struct soft_machine *m, struct vferry_writer *w, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = not_parked(m, "clock", err);
	if (r == 0) {
		const struct run_clock *clock = &m->clock;

		vferry_write_u64(w, clock->run_ns);
		vferry_write_u64(w, clock->paused_ns);
		vferry_write_u64(w, run_clock_stopped_real(clock));
		vferry_write_u8(w, (uint8_t) clock->mode);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int soft_clock_load(struct soft_machine *m, struct vferry_reader *r, struct vferry_error *err)
{
	struct run_clock clock = { 0 };
	uint8_t mode;
	int ret;

	clock.run_ns = vferry_read_u64(r);
	clock.paused_ns = vferry_read_u64(r);
	clock.stopped_real_ns = vferry_read_u64(r);
	mode = vferry_read_u8(r);
	if (!vferry_reader_done(r) || clock.run_ns > RUN_CLOCK_MAX_NS || clock.paused_ns > RUN_CLOCK_MAX_NS ||
	    clock.stopped_real_ns > RUN_CLOCK_MAX_NS || mode > MACHINE_GUEST_TIME_PAUSED)
		return bad_section(err, "clock", "a time is out of bounds");
	clock.mode = (enum machine_guest_time) mode;
	pthread_mutex_lock(&m->lock);
	ret = not_parked(m, "clock", err);
	if (ret == 0) {
		m->clock_incoming = clock;
		m->clock_loaded = true;
	}
	pthread_mutex_unlock(&m->lock);
	return ret;
}

void soft_clock_apply(struct soft_machine *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->clock_loaded && !m->running) {
		m->clock = m->clock_incoming;
		m->clock_loaded = false;
		m->loaded = m->loaded_cpus == (1u << m->config.cpus) - 1;
	}
	pthread_mutex_unlock(&m->lock);
}

/* ---- components ---- */

struct component_user {
	struct soft_machine *machine;
	unsigned cpu;
	char name[16];
};

struct soft_component_storage {
	struct component_user user[MACHINE_CPUS_MAX + 1];
	struct vferry_component component[SOFT_COMPONENTS];
	size_t count;
};

static int save_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;

	return soft_cpu_save(u->machine, u->cpu, vferry_step_writer(step), err);
}

/*
 * MPIDR comes before the redistributors, which are addressed by it. A soft machine's are fixed by
 * the number of the vCPU; what is left is to refuse another one here, before anything is addressed.
 */
static int load_cpu_id(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;
	uint32_t used;
	int r = read_head(u->machine, u->cpu, vferry_step_reader(step), &used, err);

	if (r < 0)
		return r;
	return soft_gic_vcpu_set_mpidr(u->machine->gic, u->cpu, MPIDR_RES1 | u->cpu);
}

static int load_cpu(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;

	return soft_cpu_load(u->machine, u->cpu, vferry_step_reader(step), err);
}

static int save_clock(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;

	return soft_clock_save(u->machine, vferry_step_writer(step), err);
}

static int load_clock(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;

	return soft_clock_load(u->machine, vferry_step_reader(step), err);
}

/* After COMMIT: nothing here can fail. */
static int set_clock(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;

	(void) step;
	(void) err;
	soft_clock_apply(u->machine);
	return 0;
}

static int flush_irqs(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct component_user *u = user;

	(void) step;
	(void) err;
	soft_irq_flush(u->machine->irq);
	return 0;
}

static int cpu_identity(void *user, struct vferry_writer *w, struct vferry_error *err)
{
	const struct component_user *u = user;

	(void) err;
	vferry_write_string(w, u->machine->config.program->name);
	vferry_write_u32(w, u->machine->config.program->version);
	vferry_write_u32(w, u->machine->config.program->words);
	return 0;
}

static int cpu_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons)
{
	const struct component_user *u = user;
	const struct guest_program *program = u->machine->config.program;
	char name[32];
	uint32_t version, words;

	vferry_read_string(source, name, sizeof(name));
	version = vferry_read_u32(source);
	words = vferry_read_u32(source);
	if (!vferry_reader_done(source))
		return -EPROTO;
	if (strcmp(name, program->name) != 0)
		vferry_reasons_add(reasons, "guest-mismatch", u->name,
				   "the source runs guest %s, this machine has guest %s", name,
				   program->name);
	else if (version != program->version || words != program->words)
		vferry_reasons_add(reasons, "guest-version", u->name,
				   "guest %s is version %u with %u words there, %u with %u here",
				   name, version, words, program->version, program->words);
	return 0;
}

static const struct vferry_section_desc cpu_sections[] = {
	{ .id = SOFT_CPU_SECTION, .name = "registers", .version = SOFT_CPU_VERSION,
	  .oldest = SOFT_CPU_VERSION, .max_bytes = 128 + SOFT_STATE_WORDS_MAX * 8 },
};

static const struct vferry_step_desc cpu_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_CPU,
	  .name = "registers", .section = SOFT_CPU_SECTION, .run = save_cpu },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_CPU_ID,
	  .name = "id", .section = SOFT_CPU_SECTION, .run = load_cpu_id },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_CPU_REGS,
	  .name = "registers", .section = SOFT_CPU_SECTION, .run = load_cpu },
};

static const struct vferry_section_desc clock_sections[] = {
	{ .id = SOFT_CLOCK_SECTION, .name = "time", .version = SOFT_CLOCK_VERSION,
	  .oldest = SOFT_CLOCK_VERSION, .max_bytes = 25 },
};

static const struct vferry_step_desc clock_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_CLOCK,
	  .name = "time", .section = SOFT_CLOCK_SECTION, .run = save_clock },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_OTHER,
	  .name = "read", .section = SOFT_CLOCK_SECTION, .run = load_clock },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_CLOCK,
	  .name = "set", .run = set_clock },
};

static const struct vferry_step_desc irq_steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_IRQ_FLUSH,
	  .name = "flush", .run = flush_irqs },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int soft_components_new(struct soft_machine *m, struct soft_component_storage **ret)
{
	struct soft_component_storage *s = calloc(1, sizeof(*s));
	struct component_user *whole;

	if (!s)
		return -ENOMEM;
	for (unsigned i = 0; i < m->config.cpus; i++) {
		struct component_user *u = &s->user[i];

		u->machine = m;
		u->cpu = i;
		(void) snprintf(u->name, sizeof(u->name), "cpu/%u", i);
		s->component[s->count++] = (struct vferry_component) {
			.size = sizeof(struct vferry_component), .name = u->name, .user = u,
			.identity = cpu_identity, .check = cpu_check, .sections = cpu_sections,
			.section_count = COUNT(cpu_sections), .steps = cpu_steps,
			.step_count = COUNT(cpu_steps) };
	}
	whole = &s->user[m->config.cpus];
	whole->machine = m;
	s->component[s->count++] = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "clock", .user = whole,
		.sections = clock_sections, .section_count = COUNT(clock_sections),
		.steps = clock_steps, .step_count = COUNT(clock_steps) };
	s->component[s->count++] = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "irqfd", .user = whole,
		.steps = irq_steps, .step_count = COUNT(irq_steps) };
	*ret = s;
	return 0;
}

struct soft_component_storage *soft_components_free(struct soft_component_storage *storage)
{
	free(storage);
	return NULL;
}

const struct vferry_component *soft_components_get(const struct soft_component_storage *storage,
						   size_t *ret_count)
{
	*ret_count = storage->count;
	return storage->component;
}
