/* SPDX-License-Identifier: MIT */
/*
 * sim_plans.c - the steps of the three plans: what may start, starts; most take a made-up time.
 *
 * As session/executor.c, without threads: a failed step keeps others from starting, those that run
 * come to their end. Every beginning and end is told to the judge of the order (order_world.h).
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

/* Which load steps the section of a save step feeds. */
static const struct feed {
	enum vferry_step_class from, to;
} feeds[] = {
	{ VFERRY_SAVE_CONFIG_EARLY, VFERRY_LOAD_CONFIG_STAGE },
	{ VFERRY_SAVE_CONFIG_EARLY, VFERRY_LOAD_VECTOR_ALLOC },
	{ VFERRY_SAVE_CONFIG, VFERRY_LOAD_CONFIG_RESTAGE },
	{ VFERRY_SAVE_CONFIG, VFERRY_LOAD_CONFIG_ARM },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_ID },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_SREGS },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_REGS },
	{ VFERRY_SAVE_LAPIC, VFERRY_LOAD_LAPIC },
	{ VFERRY_SAVE_LAPIC, VFERRY_LOAD_TSC_DEADLINE },
	{ VFERRY_SAVE_IOAPIC, VFERRY_LOAD_IOAPIC },
	{ VFERRY_SAVE_IOAPIC, VFERRY_LOAD_PIT },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_GIC_DIST },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_GIC_LPI_BASES },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_GIC_REDIST },
	{ VFERRY_SAVE_GIC, VFERRY_LOAD_ITS_REGS },
	{ VFERRY_SAVE_ITS_TABLES, VFERRY_LOAD_ITS_TABLES },
	{ VFERRY_SAVE_ITS_TABLES, VFERRY_LOAD_ITS_CTLR },
	{ VFERRY_SAVE_CLOCK, VFERRY_LOAD_CLOCK },
	{ VFERRY_SAVE_CLOCK, VFERRY_LOAD_COUNTER },
	{ VFERRY_SAVE_OTHER, VFERRY_LOAD_OTHER },
};

bool feeds_any(enum vferry_step_class from)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		if (feeds[i].from == from)
			return true;
	}
	return false;
}

static bool needs_input(enum vferry_step_class c)
{
	if (c == VFERRY_LOAD_RAM || c == VFERRY_LOAD_PREPARED || c == VFERRY_LOAD_COMMIT)
		return true;
	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		if (feeds[i].to == c)
			return true;
	}
	return false;
}

/* Components count in the order in which the save plan names them first. */
void name_components(struct sim *s)
{
	struct world_step steps[WORLD_MAX_STEPS];
	size_t count = world_steps(s->machine, VFERRY_PHASE_SAVE, steps, WORLD_MAX_STEPS);

	for (size_t i = 0; i < count; i++) {
		if (component_index(s, steps[i].component) == s->component_count)
			s->components[s->component_count++] = steps[i].component;
		if (steps[i].step_class == VFERRY_SAVE_DEVICE_DATA)
			s->streams[steps[i].index] = component_index(s, steps[i].component);
	}
}

uint32_t component_index(const struct sim *s, const char *name)
{
	uint32_t i;

	for (i = 0; i < s->component_count && strcmp(s->components[i], name); i++)
		;
	return i;
}

uint32_t stream_component(const struct sim *s, uint32_t device)
{
	return s->streams[device];
}

/* ---- making and freeing ---- */

static int add_steps(struct exec *x, enum which which)
{
	int ret = 0;

	for (size_t i = 0; i < x->step_count && ret >= 0; i++) {
		const struct world_step *step = &x->steps[i];
		uint32_t component = (uint32_t) i;

		for (size_t k = 0; k < i; k++) {
			if (!strcmp(x->steps[k].component, step->component)) {
				component = (uint32_t) k;
				break;
			}
		}
		ret = vf_plan_add(x->plan, &(struct vf_plan_step) {
			.component = component, .step_class = step->step_class,
			.component_name = step->component, .device = step->device,
			.name = step->name,
			.needs_input = which == LOAD && needs_input(step->step_class),
			.declared_ns = x->declared_ns }, NULL);
	}
	return ret < 0 ? ret : vf_plan_seal(x->plan, NULL);
}

/* One step that fails for sure; seeds that follow one another take one after the other. */
static int draw_doomed(struct sim *s, enum which which, const struct exec *x)
{
	uint32_t step = (uint32_t) (s->seed % x->step_count);
	enum vferry_step_class c = x->steps[step].step_class;

	if (!rng_percent(&s->rng, s->faults.step_fails[which] ? 90 : 0) ||
	    c == VFERRY_LOAD_PREPARED || c == VFERRY_LOAD_COMMIT || c == VFERRY_UNDO_VCPU_RUN)
		return -1;
	return (int) step;
}

bool make_plan(struct sim *s, enum which which)
{
	struct exec *x = &s->exec[which];

	*x = (struct exec) { .doomed = -1 };
	/* The steps that load state wait, each on a thread of its own. */
	x->threads = 1 + (unsigned) rng_below(&s->rng, 4);
	if (which == LOAD)
		x->threads += (unsigned) s->machine->devices;
	x->declared_ns = rng_percent(&s->rng, 50) ? some(s, 1000, MS / 2) : VF_NS_UNKNOWN;
	x->step_count = world_steps(s->machine, (enum vferry_phase) which, x->steps,
				    WORLD_MAX_STEPS);
	x->doomed = draw_doomed(s, which, x);
	world_init(&x->world, s->machine, (enum vferry_phase) which);
	if (vf_plan_new((enum vferry_phase) which, s->rules, s->rule_count, &x->plan) ||
	    add_steps(x, which))
		return false;
	vf_plan_allow(x->plan, 0);
	return true;
}

void free_plans(struct sim *s)
{
	for (int i = SAVE; i < PLANS; i++)
		s->exec[i].plan = vf_plan_free(s->exec[i].plan);
}

/* ---- beginning ---- */

static const char *side_name(enum which which)
{
	return which == LOAD ? "destination" : "source";
}

static void step_begins(struct sim *s, enum which which, uint32_t index)
{
	const struct world_step *step = &s->exec[which].steps[index];
	unsigned device = step->index < 0 ? 0 : (unsigned) step->index;

	say(s, "%s begins %s:%s", side_name(which), step->component, step->name);
	guest_settle(s);
	world_begin(&s->exec[which].world, step);
	switch (step->step_class) {
	case VFERRY_SAVE_DEVICE_DATA:
		pump_drain(s, device, index);
		return;
	case VFERRY_SAVE_RAM_LAST:
		s->last_step = (int) index;
		s->in_last_round = true;
		if (send_round(s, s->last_round))
			end_step(s, SAVE, index, true);
		return;
	case VFERRY_LOAD_DEVICE_DATA:
	case VFERRY_LOAD_DEVICE_DATA_LAST:
		s->device[DESTINATION][device].load_step = (int) index;
		s->device[DESTINATION][device].load_last =
			step->step_class == VFERRY_LOAD_DEVICE_DATA_LAST;
		post(s, some(s, 1000, MS / 4), (struct event) { .kind = EV_LOAD, .a = device });
		return;
	case VFERRY_LOAD_DEVICE_RUN_P2P:
		s->device[DESTINATION][device].running = true;
		break;
	case VFERRY_LOAD_VCPU_RUN:
		s->vcpus[DESTINATION] = true;
		break;
	case VFERRY_UNDO_DEVICE_RUN_P2P:
		s->device[SOURCE][device].running = true;
		break;
	case VFERRY_UNDO_VCPU_RUN:
		s->vcpus[SOURCE] = true;
		break;
	default:
		break;
	}
	post(s, some(s, 1000, rng_percent(&s->rng, 5) ? 20 * MS : MS / 2), (struct event) {
		.kind = EV_STEP, .a = which, .b = index });
}

void pump(struct sim *s, enum which which)
{
	struct exec *x = &s->exec[which];
	uint32_t ready[WORLD_MAX_STEPS];

	while (x->active && !x->aborted && !x->failed && vf_plan_running(x->plan) < x->threads) {
		size_t n = vf_plan_ready(x->plan, ready, WORLD_MAX_STEPS);
		uint32_t pick;

		if (!n)
			break;
		pick = rng_percent(&s->rng, 50) ? ready[0] : ready[rng_below(&s->rng, n)];
		if (vf_plan_start(x->plan, pick, 0, s->now_ns)) {
			wrong(s, "a ready step could not be started");
			return;
		}
		step_begins(s, which, pick);
	}
}

/* ---- input ---- */

void input(struct sim *s, enum vferry_step_class c, uint32_t index)
{
	struct exec *x = &s->exec[LOAD];

	for (size_t i = 0; i < x->step_count && x->plan; i++) {
		if (x->steps[i].step_class == c &&
		    (x->steps[i].index < 0 || (uint32_t) x->steps[i].index == index))
			vf_plan_input(x->plan, (uint32_t) i);
	}
}

/* Steps behind a device's first state wait until its load step has seen that it began anew. */
static bool is_held(const struct sim *s, enum vferry_step_class to, uint32_t index)
{
	return (to == VFERRY_LOAD_CONFIG_RESTAGE || to == VFERRY_LOAD_CONFIG_ARM) &&
	       s->device[DESTINATION][index].restarts;
}

void section_arrived(struct sim *s, enum vferry_step_class from, uint32_t index)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		if (feeds[i].from == from && !is_held(s, feeds[i].to, index))
			input(s, feeds[i].to, index);
	}
}

/* ---- ends ---- */

static bool may_fail(const struct sim *s, enum which which, uint32_t index)
{
	enum vferry_step_class c = s->exec[which].steps[index].step_class;

	return c != VFERRY_LOAD_PREPARED && c != VFERRY_LOAD_COMMIT && c != VFERRY_UNDO_VCPU_RUN;
}

static bool draw_failure(struct sim *s, enum which which, uint32_t index)
{
	struct exec *x = &s->exec[which];
	enum vferry_step_class c = x->steps[index].step_class;
	enum fault kind = FAULT_SAVE_STEP;

	if (x->doomed >= 0 ? x->doomed != (int) index :
			     rng_below(&s->rng, 1000) >= s->faults.step_fails[which] ||
				     !may_fail(s, which, index))
		return false;
	if (which == UNDO)
		kind = FAULT_UNDO_STEP;
	else if (which == LOAD)
		kind = !(vf_class_bit(c) & VF_LOAD_BEFORE_COMMIT) ? FAULT_RUN_STEP : FAULT_LOAD_STEP;
	fault(s, kind);
	s->failed_classes[which] |= vf_class_bit(c);
	return true;
}

/* The body that feeds the step must be there: a copy is what a step reads. */
static bool has_body(struct sim *s, const struct world_step *step)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		uint32_t id = 1 + feeds[i].from + 64 * (step->index < 0 ? 0 : (uint32_t) step->index);
		uint8_t *body = NULL;
		uint16_t version;
		size_t bytes;

		if (feeds[i].to != step->step_class)
			continue;
		for (size_t k = 0; k < s->sections.count; k++) {
			if (s->sections.slots[k].id != id)
				continue;
			if (vf_sections_copy(&s->sections, s->sections.slots[k].component, id, &body,
					     &bytes, &version))
				return false;
			world_free(body);
			return true;
		}
	}
	return true;
}

void step_time_over(struct sim *s, enum which which, uint32_t index)
{
	struct exec *x = &s->exec[which];
	const struct world_step *step = &x->steps[index];
	bool failed = draw_failure(s, which, index);
	int ret = 0;

	if (!failed && which == LOAD && vf_class_bit(step->step_class) & VF_LOAD_FALLIBLE &&
	    !x->aborted)
		failed = !has_body(s, step);
	if (!failed && which == SAVE && feeds_any(step->step_class)) {
		guest_settle(s);
		/* A reset of the device goes first: what follows it would be forgotten. */
		if (step->step_class == VFERRY_SAVE_CONFIG)
			ret = follow_generation(s, (unsigned) step->index);
		ret = ret ? ret : send_section(s, step);
	}
	if (!failed && !ret && which == LOAD && step->step_class == VFERRY_LOAD_RAM)
		destination_ram_complete(s);
	if (!failed && !ret && which == LOAD && step->step_class == VFERRY_LOAD_PREPARED)
		ret = destination_check_manifest(s);
	if (!failed && !ret && which == SAVE && step->step_class == VFERRY_SAVE_VCPU_STOP)
		ret = send_switchover(s);
	end_step(s, which, index, failed || ret);
}

static void save_step_ended(struct sim *s, const struct world_step *step)
{
	struct exec *x = &s->exec[SAVE];

	guest_step_ends(s, step);
	if (step->step_class == VFERRY_SAVE_VCPU_STOP) {
		for (int i = 0; i < s->machine->devices; i++)
			s->device[SOURCE][i].precopying = false;
		SRC(s, MACHINE_STOPPED);
	}
	if (step->step_class == VFERRY_SAVE_CONFIG_EARLY && !x->aborted &&
	    vf_plan_classes_done(x->plan, vf_class_bit(VFERRY_SAVE_CONFIG_EARLY)))
		source_configs_sent(s);
}

/* The session stops what it started. */
static void stop_destination(struct sim *s)
{
	s->vcpus[DESTINATION] = false;
	for (int i = 0; i < s->machine->devices; i++)
		s->device[DESTINATION][i].running = false;
}

static void step_failed(struct sim *s, enum which which, const struct world_step *step)
{
	struct exec *x = &s->exec[which];
	bool first = !x->failed;

	say(s, "FAILS: %s:%s", step->component, step->name);
	if (which == UNDO) {
		s->device_lost |= step->device != NULL;
		return;
	}
	x->failed = true;
	if (!first || x->aborted)
		return;
	if (which == SAVE) {
		SRC(s, SAVE_FAILED);
	} else if (s->dst.handover == VF_HO_DST_LOADING) {
		DST(s, LOAD_FAILED);
	} else {
		stop_destination(s);
		DST(s, RUN_FAILED);
	}
}

static void plan_ended(struct sim *s, enum which which)
{
	struct exec *x = &s->exec[which];

	if (!x->active || x->aborted || x->failed || !vf_plan_all_done(x->plan))
		return;
	if (which == SAVE) {
		world_finish(&x->world);
		x->active = false;
		SRC(s, SAVE_DONE);
	} else if (which == UNDO) {
		x->active = false;
		SRC(s, UNDO_DONE, .device_lost = s->device_lost);
	}
}

void end_step(struct sim *s, enum which which, uint32_t index, bool failed)
{
	struct exec *x = &s->exec[which];
	const struct world_step *step = &x->steps[index];

	world_end(&x->world, step);
	if (failed) {
		vf_plan_fail(x->plan, index, which == UNDO, s->now_ns);
		step_failed(s, which, step);
	} else {
		vf_plan_done(x->plan, index, 0, s->now_ns);
		if (which == SAVE)
			save_step_ended(s, step);
	}
	begin_undo(s);
	pump(s, which);
	plan_ended(s, which);
	if (which == LOAD)
		load_check_idle(s);
}

/* All that is allowed is done: the destination's session hears of it once. */
void load_check_idle(struct sim *s)
{
	struct exec *x = &s->exec[LOAD];
	bool loading = s->dst.handover == VF_HO_DST_LOADING;
	uint64_t classes = loading ? VF_LOAD_BEFORE_COMMIT : UINT64_MAX;

	if (!x->active || x->aborted || x->failed || x->ready_said || vf_plan_running(x->plan) ||
	    !vf_plan_classes_done(x->plan, classes))
		return;
	x->ready_said = true;
	if (loading) {
		DST(s, LOAD_READY);
		DST(s, MANIFEST_OK);
	} else {
		x->active = false;
		world_finish(&x->world);
		DST(s, RUN_DONE);
	}
}

/* What runs comes to its end; then everything is put back. */
void begin_undo(struct sim *s)
{
	struct exec *undo = &s->exec[UNDO];

	if (!s->undo_wanted || vf_plan_running(s->exec[SAVE].plan))
		return;
	s->undo_wanted = false;
	s->taken_back = undo->active = true;
	vf_plan_allow(undo->plan, UINT64_MAX);
	vf_ram_tracking_stop(s->ram[SOURCE]);
	for (int i = 0; i < s->machine->devices; i++)
		s->device[SOURCE][i].running = false;
	pump(s, UNDO);
}

/* ---- a device begins anew ---- */

void restart_device(struct sim *s, uint32_t device)
{
	static const char *const key[WORLD_MAX_DEVICES] = { "00:04.0", "00:05.0" };
	struct exec *x = &s->exec[LOAD];
	struct world_device *d = &x->world.device[device];
	uint32_t step = (uint32_t) s->device[DESTINATION][device].load_step;

	s->device[DESTINATION][device].load_step = -1;
	s->device[DESTINATION][device].restarts--;
	vf_plan_done(x->plan, step, 0, s->now_ns);
	world_end(&x->world, &x->steps[step]);
	if (vf_plan_restart_device(x->plan, key[device], NULL) < 0) {
		/* As executor.c: nothing starts any more. */
		say(s, "device %u cannot begin anew", device);
		x->failed = true;
		DST(s, LOAD_FAILED);
		return;
	}
	for (size_t i = 0; i < x->step_count; i++) {
		enum vferry_step_class c = x->steps[i].step_class;

		if (x->steps[i].index == (int) device &&
		    ((c == VFERRY_LOAD_DEVICE_RESUMING && d->resuming) ||
		     (c == VFERRY_LOAD_CONFIG_STAGE && d->staged) ||
		     (c == VFERRY_LOAD_DEVICE_DATA && d->data)))
			x->world.fallible++;
	}
	d->resuming = d->staged = d->data = false;
	/* Sections that came since the restart feed its steps again. */
	for (size_t i = 0; i < s->sections.count; i++) {
		const struct vf_section_slot *slot = &s->sections.slots[i];
		enum vferry_step_class from = (enum vferry_step_class) ((slot->id - 1) % 64);

		if ((from == VFERRY_SAVE_CONFIG_EARLY || from == VFERRY_SAVE_CONFIG) &&
		    (slot->id - 1) / 64 == device && slot->arrived)
			section_arrived(s, from, device);
	}
	pump(s, LOAD);
}
