/* SPDX-License-Identifier: MIT */
/*
 * forecast.c - how a migration of the guest would go: rounds, time, pause; see probe.h.
 *
 * Model: what a session does, without a session. Each round sends what the one before left, at the
 * bandwidth; meanwhile the guest dirties memory at its rate, never the same page twice, so at most
 * all of it. After each round the engine's own decision is asked (lib/engine/converge.h), with what
 * is left, and with the pause from its own model (lib/engine/downtime.h) over plans of the device's
 * steps by its own order rules. A guest that is throttled dirties that much less.
 *
 * What nobody measured is not known, counts nothing, and makes the pause a lower bound: how long
 * vCPUs, interrupt controllers and config space take is in no plan here.
 *
 * Pure: no system calls, no clock.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "engine/converge.h"
#include "engine/order.h"
#include "forecast.h"
#include "vferry_vfio.h"

#define NS_PER_S 1000000000ull
#define DEVICE "00:04.0"	/* on paper */

_Static_assert(PROBE_TERMS == VF_TERM__COUNT, "the engine's");

/* ---- plans ---- */

struct paper_step {
	enum vferry_step_class step_class;
	const char *component, *name;
	bool of_device;
	uint64_t ns;		/* VF_NS_UNKNOWN */
};

static int plan_time(enum vferry_phase phase, const struct paper_step *steps, size_t count,
		     uint64_t live, struct vf_time_known *ret, struct vferry_error *err)
{
	struct vf_plan *plan = NULL;
	size_t rule_count;
	const struct vferry_order_rule *rules = vferry_order_rules(&rule_count);
	int r = vf_plan_new(phase, rules, rule_count, &plan);

	for (size_t i = 0; i < count && r >= 0; i++) {
		const struct vf_plan_step step = {
			.step = (uint32_t) i,
			.step_class = steps[i].step_class,
			.component_name = steps[i].component,
			.device = steps[i].of_device ? DEVICE : NULL,
			.name = steps[i].name,
			.declared_ns = steps[i].ns,
		};

		r = vf_plan_add(plan, &step, err);
	}
	if (r >= 0)
		r = vf_plan_seal(plan, err);
	if (r == 0)
		r = vf_downtime_plan(plan, NULL, ~live, 0, ret, NULL);
	(void) vf_plan_free(plan);
	return r < 0 ? r : 0;
}

static uint64_t leg_ns(const struct probe_measured *m, enum probe_leg leg)
{
	return m && m->legs[leg].there ? m->legs[leg].ns : m ? 0 : VF_NS_UNKNOWN;
}

/* A device that gives or takes its state more slowly than the link: what that adds. */
static uint64_t slower_by(const struct probe_measured *m, enum probe_leg leg, uint64_t bandwidth)
{
	double link;

	if (!m || !m->legs[leg].there || !bandwidth)
		return 0;
	link = (double) m->legs[leg].bytes * 1e9 / (double) bandwidth;
	return (double) m->legs[leg].ns > link ? m->legs[leg].ns - (uint64_t) link : 0;
}

static int plan_save(const struct probe_facts *facts, const struct probe_measured *m,
		     uint64_t bandwidth, struct vf_time_known *ret, struct vferry_error *err)
{
	bool p2p = facts->vfio.flags & VF_VFIO_MIGRATION_P2P;
	uint64_t stop = !m ? VF_NS_UNKNOWN : leg_ns(m, PROBE_LEG_STOP) +
					     leg_ns(m, PROBE_LEG_STOP_COPY) +
					     slower_by(m, PROBE_LEG_READ, bandwidth);
	const struct paper_step steps[] = {
		{ VFERRY_SAVE_VCPU_STOP, "machine", "stop", false, 0 },
		{ VFERRY_SAVE_DEVICE_STOP, "vfio", "stop", true, stop },
		{ VFERRY_SAVE_DEVICE_DATA, "vfio", "data", true, 0 },
		{ VFERRY_SAVE_RAM_LAST, "ram", "last", false, 0 },
		{ VFERRY_SAVE_DEVICE_P2P, "vfio", "p2p", true, leg_ns(m, PROBE_LEG_P2P) },
	};

	return plan_time(VFERRY_PHASE_SAVE, steps, VF_ARRAY_COUNT(steps) - !p2p, 0, ret, err);
}

static int plan_load(const struct probe_facts *facts, const struct probe_measured *m,
		     uint64_t bandwidth, struct vf_time_known *ret, struct vferry_error *err)
{
	/* Done while the source still runs. */
	const uint64_t live = vf_class_bit(VFERRY_LOAD_DEVICE_RESUMING) |
			      vf_class_bit(VFERRY_LOAD_CONFIG_STAGE);
	bool p2p = facts->vfio.flags & VF_VFIO_MIGRATION_P2P;
	uint64_t validate = !m ? VF_NS_UNKNOWN : leg_ns(m, PROBE_LEG_VALIDATE) +
						 slower_by(m, PROBE_LEG_WRITE, bandwidth);
	const struct paper_step steps[] = {
		{ VFERRY_LOAD_DEVICE_RESUMING, "vfio", "resuming", true, 0 },
		{ VFERRY_LOAD_CONFIG_STAGE, "pci", "stage", true, 0 },
		{ VFERRY_LOAD_DEVICE_DATA, "vfio", "data", true, 0 },
		{ VFERRY_LOAD_CONFIG_RESTAGE, "pci", "restage", true, 0 },
		{ VFERRY_LOAD_DEVICE_DATA_LAST, "vfio", "data-last", true, 0 },
		{ VFERRY_LOAD_DEVICE_VALIDATE, "vfio", "validate", true, validate },
		{ VFERRY_LOAD_PREPARED, "session", "prepared", false, 0 },
		{ VFERRY_LOAD_COMMIT, "session", "commit", false, 0 },
		{ VFERRY_LOAD_DEVICE_RUN, "vfio", "run", true, leg_ns(m, PROBE_LEG_RUN) },
		{ VFERRY_LOAD_VCPU_RUN, "machine", "run", false, 0 },
		{ VFERRY_LOAD_DEVICE_RUN_P2P, "vfio", "run-p2p", true,
		  leg_ns(m, PROBE_LEG_RUN_P2P) },
	};

	return plan_time(VFERRY_PHASE_LOAD, steps, VF_ARRAY_COUNT(steps) - !p2p, live, ret, err);
}

/* ---- rounds ---- */

static uint64_t time_of(uint64_t bytes, uint64_t rate)
{
	__extension__ unsigned __int128 ns = (unsigned __int128) bytes * NS_PER_S / rate;

	return ns > UINT64_MAX / 8 ? UINT64_MAX / 8 : (uint64_t) ns;
}

static uint64_t dirtied(const struct probe_wish *wish, uint64_t ns, uint32_t throttle)
{
	__extension__ unsigned __int128 bytes =
		(unsigned __int128) wish->dirty_rate * ns / NS_PER_S * (100 - throttle) / 100;

	return bytes > wish->memory.value ? wish->memory.value : (uint64_t) bytes;
}

static void take_downtime(struct probe_forecast *f, const struct vf_downtime *d)
{
	f->downtime_ns = d->expected_ns;
	f->lower_bound = d->unknown > 0;
	for (int i = 0; i < VF_TERM__COUNT; i++)
		f->terms[i] = (struct probe_term) {
			.name = vf_downtime_term_name((enum vf_downtime_term) i),
			.ns = d->term[i].ns, .known = d->term[i].known,
		};
}

static void run_rounds(struct vf_converge *converge, const struct probe_wish *wish,
		       const struct vf_downtime_input *fixed, struct probe_forecast *f)
{
	uint64_t bytes = wish->memory.value;
	uint32_t throttle = 0;

	f->end = PROBE_GOES_ON;
	while (f->end == PROBE_GOES_ON && f->round_count < PROBE_ROUNDS_MAX) {
		uint64_t ns = time_of(bytes, wish->bandwidth.value);
		struct vf_round round = { .number = f->round_count + 1, .sent_bytes = bytes,
					  .ns = ns, .left = *fixed };
		struct vf_verdict v;

		round.left.ram_bytes = dirtied(wish, ns, throttle);
		vf_converge_round(converge, &round, true, &v);
		f->rounds[f->round_count++] = (struct probe_round) {
			.bytes = bytes, .ns = ns, .left = round.left.ram_bytes, .throttle = throttle,
		};
		take_downtime(f, &v.downtime);
		if (vf_add_u64(f->rounds_ns, ns, &f->rounds_ns))
			f->rounds_ns = UINT64_MAX;
		if (v.never == VF_NEVER_FIXED)
			f->never = v.downtime.blind ? PROBE_NEVER_BLIND : PROBE_NEVER_FIXED;
		else if (v.never == VF_NEVER_DIRTY_RATE)
			f->never = PROBE_NEVER_DIRTY_RATE;
		if (v.kind == VF_VERDICT_SWITCH)
			f->end = PROBE_SWITCHES;
		else if (v.kind == VF_VERDICT_GIVE_UP)
			f->end = PROBE_GIVES_UP;
		bytes = round.left.ram_bytes;
		throttle = v.throttle;
		/* The fixed part stays as it is, and nothing else is left to shrink. */
		if (f->never == PROBE_NEVER_FIXED || f->never == PROBE_NEVER_BLIND)
			break;
	}
}

int probe_forecast(const struct probe_facts *facts, const struct probe_measured *measured,
		   const struct probe_wish *wish, struct probe_forecast *ret, struct vferry_error *err)
{
	const struct vf_policy *policy = vf_policy_find(wish->policy ? wish->policy : "throttle");
	struct probe_forecast f = { 0 };
	struct vf_downtime_input fixed = { .rate = wish->bandwidth.value };
	struct vf_converge converge;
	int r;

	if (!policy || !wish->memory.known || !wish->bandwidth.known || !wish->memory.value ||
	    !wish->bandwidth.value)
		return vferry_error_set(err, -EINVAL, "forecast", facts->name,
					"a prediction needs the guest's memory and a bandwidth");
	if (facts->vfio.migration != PROBE_YES)
		return vferry_error_set(err, -ENOTSUP, "forecast", facts->name,
					"there is nothing to predict: the device %s",
					facts->vfio.migration == PROBE_NO ? "does not migrate"
								   : "could not be asked");
	if (measured) {
		fixed.device_bytes = measured->legs[PROBE_LEG_READ].bytes;
	} else if (facts->vfio.state_bytes.known) {
		fixed.device_bytes = facts->vfio.state_bytes.value;
	} else {
		fixed.devices_unknown = 1;
	}
	if (!facts->vfio.dma_log && !facts->vfio.iommu_dirty)
		fixed.blind_bytes = wish->memory.value;
	r = plan_save(facts, measured, wish->bandwidth.value, &fixed.save, err);
	if (r == 0)
		r = plan_load(facts, measured, wish->bandwidth.value, &fixed.load, err);
	if (r < 0)
		return vferry_error_set(err, r, "forecast", facts->name, "the plan was refused");
	vf_converge_init(&converge, policy, wish->max_downtime_ns);
	run_rounds(&converge, wish, &fixed, &f);
	f.total_ns = vf_add_u64(f.rounds_ns, f.downtime_ns, &f.total_ns) ? UINT64_MAX : f.total_ns;
	*ret = f;
	return 0;
}
