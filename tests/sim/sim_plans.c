/* SPDX-License-Identifier: MIT */
/* sim_plans.c - the guest's memory, and the steps of the three plans, judged by order_world.c. */
#include <errno.h>
#include <string.h>

#include "sim.h"

/* ---- the guest ---- */

static uint64_t dirty_now(struct sim *s)
{
	uint64_t ns = s->now_ns - s->dirty_since_ns;
	uint64_t rate = s->dirty_rate * (100 - s->throttle) / 100;
	uint64_t more = s->src_vcpus ? rate / 1000 * (ns / 1000) / 1000 : 0;

	return vf_min_u64(s->working_set, s->dirty_bytes + more);
}

void settle_dirty(struct sim *s)
{
	s->dirty_bytes = dirty_now(s);
	s->dirty_since_ns = s->now_ns;
}

/* ---- plans ---- */

static bool needs_input(enum vferry_step_class c)
{
	return VFERRY_PHASE_OF(c) == VFERRY_PHASE_LOAD && c != VFERRY_LOAD_DEVICE_RESUMING &&
	       c != VFERRY_LOAD_IRQCHIP_CREATE && c != VFERRY_LOAD_DEVICE_VALIDATE &&
	       c != VFERRY_LOAD_IRQ_ROUTES && c != VFERRY_LOAD_IRQ_CONNECT &&
	       c != VFERRY_LOAD_DEVICE_RUN_P2P && c != VFERRY_LOAD_DEVICE_RUN &&
	       c != VFERRY_LOAD_VCPU_RUN && c != VFERRY_LOAD_PREPARED && c != VFERRY_LOAD_COMMIT;
}

static bool is_sessions(enum vferry_step_class c)
{
	return c == VFERRY_LOAD_PREPARED || c == VFERRY_LOAD_COMMIT;
}

bool make_exec(struct sim *s, enum which which, const struct vferry_order_rule *rules,
	       size_t rule_count)
{
	struct exec *x = &s->exec[which];
	struct vferry_error err = VFERRY_ERROR_INIT;

	*x = (struct exec) { .threads = 1 + (unsigned) rng_below(&s->rng, 4) };
	x->step_count = world_steps(s->machine, (enum vferry_phase) which, x->steps,
				    WORLD_MAX_STEPS);
	world_init(&x->world, s->machine, (enum vferry_phase) which);
	if (vf_plan_new((enum vferry_phase) which, rules, rule_count, &x->plan))
		return false;
	for (size_t i = 0; i < x->step_count; i++) {
		const struct world_step *step = &x->steps[i];
		uint32_t component = (uint32_t) i;

		for (size_t k = 0; k < i; k++) {
			if (!strcmp(x->steps[k].component, step->component)) {
				component = (uint32_t) k;
				break;
			}
		}
		if (vf_plan_add(x->plan, &(struct vf_plan_step) {
			.component = component, .step_class = step->step_class,
			.component_name = step->component, .device = step->device,
			.name = step->name, .needs_input = needs_input(step->step_class),
			.declared_ns = VF_NS_UNKNOWN }, &err) < 0)
			return false;
	}
	return !vf_plan_seal(x->plan, &err);
}

void pump(struct sim *s, enum which which)
{
	struct exec *x = &s->exec[which];
	uint32_t ready[WORLD_MAX_STEPS];

	while (x->active && !x->aborted && !x->failed && vf_plan_running(x->plan) < x->threads) {
		size_t n = vf_plan_ready(x->plan, ready, WORLD_MAX_STEPS), keep = 0;
		const struct world_step *step;
		uint32_t pick;

		for (size_t i = 0; i < n; i++) {
			if (!is_sessions(x->steps[ready[i]].step_class))
				ready[keep++] = ready[i];
		}
		if (!keep)
			break;
		pick = rng_percent(&s->rng, 50) ? ready[0] : ready[rng_below(&s->rng, keep)];
		step = &x->steps[pick];
		if (vf_plan_start(x->plan, pick, 0, s->now_ns)) {
			wrong(s, "a ready step could not be started");
			return;
		}
		say(s, "%s begins %s:%s", which == LOAD ? "destination" : "source", step->component,
		    step->name);
		world_begin(&x->world, step);
		if (which == LOAD && step->step_class >= VFERRY_LOAD_DEVICE_RUN_P2P) {
			if (step->step_class == VFERRY_LOAD_VCPU_RUN)
				s->dst_vcpus = true;
			else if (step->device)
				s->dst_devices++;
		}
		if (which == UNDO && step->step_class == VFERRY_UNDO_DEVICE_RUN_P2P)
			s->src_devices++;
		if (which == UNDO && step->step_class == VFERRY_UNDO_VCPU_RUN) {
			settle_dirty(s);
			s->src_vcpus = true;
		}
		post(s, some(s, 1000, rng_percent(&s->rng, 5) ? 20 * MS : MS / 2), (struct event) {
			.kind = EV_STEP, .a = which, .b = pick });
	}
}

void input(struct sim *s, enum vferry_step_class c, uint32_t index)
{
	struct exec *x = &s->exec[LOAD];

	for (size_t i = 0; i < x->step_count; i++) {
		if (x->steps[i].step_class == c &&
		    (x->steps[i].index < 0 || (uint32_t) x->steps[i].index == index))
			vf_plan_input(x->plan, (uint32_t) i);
	}
}

/* Which load steps the section of a save step feeds. */
static const struct feed {
	enum vferry_step_class from, to;
} feeds[] = {
	{ VFERRY_SAVE_CONFIG_EARLY, VFERRY_LOAD_CONFIG_STAGE },
	{ VFERRY_SAVE_CONFIG_EARLY, VFERRY_LOAD_VECTOR_ALLOC },
	{ VFERRY_SAVE_CONFIG, VFERRY_LOAD_CONFIG_RESTAGE },
	{ VFERRY_SAVE_CONFIG, VFERRY_LOAD_CONFIG_ARM },
	{ VFERRY_SAVE_DEVICE_DATA, VFERRY_LOAD_DEVICE_DATA_LAST },
	{ VFERRY_SAVE_RAM_LAST, VFERRY_LOAD_RAM },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_ID },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_SREGS },
	{ VFERRY_SAVE_CPU, VFERRY_LOAD_CPU_REGS },
	{ VFERRY_SAVE_LAPIC, VFERRY_LOAD_LAPIC },
	{ VFERRY_SAVE_LAPIC, VFERRY_LOAD_TSC_DEADLINE },
	{ VFERRY_SAVE_IOAPIC, VFERRY_LOAD_IOAPIC },
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

/* A device's bytes keep to one channel; everything else takes any. */
static void send_section(struct sim *s, const struct world_step *step)
{
	uint32_t index = step->index < 0 ? 0 : (uint32_t) step->index;
	uint32_t channel = step->device ? index : (uint32_t) rng_below(&s->rng, CHANNELS);

	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		if (feeds[i].from != step->step_class)
			continue;
		s->sent++;
		transmit(s, false, channel, MSG_SECTION, step->step_class, index);
		return;
	}
}

static void check_load_ready(struct sim *s)
{
	struct exec *x = &s->exec[LOAD];
	uint64_t before = vf_class_bit(VFERRY_LOAD_PREPARED) - 1;

	if (!x->active || x->aborted || x->failed || s->ready_said ||
	    !vf_plan_classes_done(x->plan, before))
		return;
	s->ready_said = true;
	DST(s, LOAD_READY);
}

void check_manifest(struct sim *s)
{
	if (!s->manifest_here || s->received < s->manifest)
		return;
	s->manifest_here = false;
	if (s->faults.manifest_bad)
		DST(s, MANIFEST_BAD);
	else
		DST(s, MANIFEST_OK);
}

void section_arrived(struct sim *s, enum vferry_step_class from, uint32_t index)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(feeds); i++) {
		if (feeds[i].from == from)
			input(s, feeds[i].to, index);
	}
}

/* The session's own step: begins and ends in one moment. */
void session_step(struct sim *s, enum vferry_step_class c)
{
	struct exec *x = &s->exec[LOAD];

	for (uint32_t i = 0; i < x->step_count; i++) {
		if (x->steps[i].step_class != c)
			continue;
		if (vf_plan_start(x->plan, i, 0, s->now_ns)) {
			wrong(s, "PREPARED or COMMIT before its time");
			return;
		}
		world_begin(&x->world, &x->steps[i]);
		vf_plan_done(x->plan, i, 0, s->now_ns);
		world_end(&x->world, &x->steps[i]);
	}
}

void try_restart(struct sim *s, uint32_t device)
{
	static const char *const key[WORLD_MAX_DEVICES] = { "00:04.0", "00:05.0" };
	struct exec *x = &s->exec[LOAD];
	struct world_device *d = &x->world.device[device];
	int r;

	if (!x->active || x->aborted || x->failed)
		return;
	r = vf_plan_restart_device(x->plan, key[device], NULL);
	s->restart_pending[device] = r == -EBUSY;
	if (r == -EBUSY)
		return;
	if (r < 0) {
		wrong(s, "a device could not be restarted");
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
	s->restarts++;
	s->load_generation[device]++;
}

void begin_undo(struct sim *s)
{
	struct exec *save = &s->exec[SAVE], *undo = &s->exec[UNDO];

	if (!s->undo_wanted || vf_plan_running(save->plan))
		return;
	s->undo_wanted = false;
	undo->active = true;
	s->src_devices = 0;
	pump(s, UNDO);
}

static void end_save_step(struct sim *s, const struct world_step *step)
{
	if (step->step_class == VFERRY_SAVE_VCPU_STOP) {
		settle_dirty(s);
		s->src_vcpus = false;
		transmit(s, false, 0, MSG_BEGAN, 0, 0);
		SRC(s, MACHINE_STOPPED);
	}
	if (step->step_class == VFERRY_SAVE_DEVICE_STOP) {
		s->src_devices--;
		transmit(s, false, (uint32_t) step->index, MSG_DATA, (uint32_t) step->index, 0);
	}
	send_section(s, step);
	if (step->step_class == VFERRY_SAVE_CONFIG_EARLY)
		transmit(s, false, (uint32_t) step->index, MSG_INITIAL, (uint32_t) step->index,
		     s->generation[step->index]);
}

void end_step(struct sim *s, enum which which, uint32_t index)
{
	struct exec *x = &s->exec[which];
	const struct world_step *step = &x->steps[index];
	bool fails = rng_below(&s->rng, 1000) < s->faults.step_fails[which];

	if (which == LOAD && !s->dst_alive)
		return;
	if (fails && which == UNDO && step->step_class != VFERRY_UNDO_DEVICE_RUN)
		fails = false;	/* only a device can be lost there */
	world_end(&x->world, step);
	if (fails) {
		say(s, "FAILS: %s:%s", step->component, step->name);
		s->device_lost |= which == UNDO;
		x->failed = which != UNDO;
		vf_plan_fail(x->plan, index, which == UNDO, s->now_ns);
		if (which == SAVE)
			SRC(s, SAVE_FAILED);
		else if (which == LOAD && x->aborted)
			return;
		else if (which == LOAD && step->step_class > VFERRY_LOAD_COMMIT) {
			/* The session stops what it started. */
			s->dst_vcpus = false;
			s->dst_devices = 0;
			DST(s, RUN_FAILED);
		} else if (which == LOAD) {
			DST(s, LOAD_FAILED);
		}
	} else {
		vf_plan_done(x->plan, index, 0, s->now_ns);
		if (which == SAVE)
			end_save_step(s, step);
	}
	if (which == LOAD) {
		for (uint32_t d = 0; d < (uint32_t) s->machine->devices; d++) {
			if (s->restart_pending[d])
				try_restart(s, d);
		}
	}
	begin_undo(s);
	pump(s, which);
	if (which == SAVE && x->active && !x->aborted && vf_plan_all_done(x->plan) && !fails) {
		world_finish(&x->world);
		x->active = false;
		SRC(s, SAVE_DONE);
	}
	if (which == UNDO && vf_plan_all_done(x->plan) && x->active) {
		x->active = false;
		SRC(s, UNDO_DONE, .device_lost = s->device_lost);
	}
	if (which == LOAD && x->active && !x->aborted && !x->failed) {
		check_load_ready(s);
		if (vf_plan_all_done(x->plan)) {
			x->active = false;
			world_finish(&x->world);
			DST(s, RUN_DONE);
		}
	}
}
