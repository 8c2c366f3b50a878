/* SPDX-License-Identifier: MIT */
/* downtime.c - the sum of what is known; see downtime.h. */
#include <errno.h>
#include <stdlib.h>

#include "base/checked.h"
#include "engine/downtime.h"

#define NS_PER_S 1000000000ull
/* The time of these is bytes / rate, which the terms for RAM and devices hold already. */
#define SAVE_BY_RATE \
	(vf_class_bit(VFERRY_SAVE_DEVICE_DATA) | vf_class_bit(VFERRY_SAVE_RAM_LAST))
#define LOAD_BY_RATE \
	(vf_class_bit(VFERRY_LOAD_DEVICE_DATA) | vf_class_bit(VFERRY_LOAD_DEVICE_DATA_LAST) | \
	 vf_class_bit(VFERRY_LOAD_RAM))

const char *vf_downtime_term_name(enum vf_downtime_term term)
{
	static const char *const names[VF_TERM__COUNT] = {
		[VF_TERM_RAM] = "ram",
		[VF_TERM_DEVICES] = "devices",
		[VF_TERM_SAVE] = "save",
		[VF_TERM_LOAD] = "load",
		[VF_TERM_HANDOVER] = "hand-over",
	};

	return (size_t) term < VF_TERM__COUNT ? names[term] : NULL;
}

static struct vf_time_known transfer_time(uint64_t bytes, uint64_t rate)
{
	__extension__ unsigned __int128 ns;

	if (!bytes)
		return (struct vf_time_known) { .known = true };
	if (!rate)
		return (struct vf_time_known) { 0 };
	ns = (unsigned __int128) bytes * NS_PER_S / rate;
	return (struct vf_time_known) {
		.ns = ns > UINT64_MAX / 8 ? UINT64_MAX / 8 : (uint64_t) ns,
		.known = true,
	};
}

void vf_downtime_estimate(const struct vf_downtime_input *input, struct vf_downtime *ret)
{
	struct vf_downtime d = {
		.blind = input->blind_bytes > 0,
		.term = {
			[VF_TERM_RAM] = transfer_time(vf_max_u64(input->ram_bytes,
								 input->blind_bytes),
						      input->rate),
			[VF_TERM_DEVICES] = transfer_time(input->device_bytes, input->rate),
			[VF_TERM_SAVE] = input->save,
			[VF_TERM_LOAD] = input->load,
			[VF_TERM_HANDOVER] = input->round_trip,
		},
	};

	for (int i = 0; i < VF_TERM__COUNT; i++) {
		/* What is not fully known may be known in part: its known part counts. */
		if (vf_add_u64(d.expected_ns, d.term[i].ns, &d.expected_ns))
			d.expected_ns = UINT64_MAX;
		if (!d.term[i].known)
			d.unknown++;
	}
	if (input->devices_unknown) {
		if (d.term[VF_TERM_DEVICES].known)
			d.unknown++;
		d.term[VF_TERM_DEVICES].known = false;
	}
	d.fixed_ns = d.expected_ns - d.term[VF_TERM_RAM].ns +
		     transfer_time(input->blind_bytes, input->rate).ns;
	*ret = d;
}

static struct vf_time_known predicted(const struct vf_plan_view *view, uint64_t measured)
{
	if (measured != VF_NS_UNKNOWN)
		return (struct vf_time_known) { .ns = measured, .known = true };
	if (view->step.declared_ns != VF_NS_UNKNOWN)
		return (struct vf_time_known) { .ns = view->step.declared_ns, .known = true };
	return (struct vf_time_known) { 0 };
}

static bool by_rate(enum vferry_step_class step_class)
{
	uint64_t set = 0;

	if (VFERRY_PHASE_OF(step_class) == VFERRY_PHASE_SAVE)
		set = SAVE_BY_RATE;
	else if (VFERRY_PHASE_OF(step_class) == VFERRY_PHASE_LOAD)
		set = LOAD_BY_RATE;
	return set & vf_class_bit(step_class);
}

int vf_downtime_plan(const struct vf_plan *plan, const uint64_t *measured, uint64_t classes,
		     unsigned threads, struct vf_time_known *ret, uint32_t *ret_unknown_steps)
{
	size_t count = vf_plan_count(plan);
	struct vf_time_known total = { 0 };
	uint32_t unknown = 0;
	uint64_t *ns;
	int r;

	ns = calloc(count + 1, sizeof(*ns));
	if (!ns)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct vf_plan_view view;
		struct vf_time_known time;

		vf_plan_get(plan, i, &view);
		if (!(classes & vf_class_bit(view.step.step_class)) ||
		    by_rate(view.step.step_class) || view.state == VF_STEP_DONE)
			continue;
		time = predicted(&view, measured ? measured[i] : VF_NS_UNKNOWN);
		ns[i] = time.ns;
		unknown += !time.known;
	}
	r = vf_plan_makespan(plan, ns, classes, threads, &total.ns);
	free(ns);
	if (r < 0)
		return r;
	total.known = !unknown;
	*ret = total;
	if (ret_unknown_steps)
		*ret_unknown_steps = unknown;
	return 0;
}

void vf_downtime_step(const struct vf_plan *plan, uint32_t step, const uint64_t *measured,
		      struct vf_downtime_step *ret)
{
	struct vf_plan_view view;

	vf_plan_get(plan, step, &view);
	*ret = (struct vf_downtime_step) {
		.predicted = predicted(&view, measured ? measured[step] : VF_NS_UNKNOWN),
	};
	if (view.state == VF_STEP_DONE)
		ret->actual = (struct vf_time_known) {
			.ns = view.end_ns - view.start_ns, .known = true,
		};
}
