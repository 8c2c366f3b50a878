/* SPDX-License-Identifier: MIT */
/* test_order.c - plans: building, refusing, running, restarting, predicting. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "engine/order.h"

#define DEV "00:04.0"
#define DEV2 "00:05.0"

static struct vf_plan *new_plan(enum vferry_phase phase)
{
	size_t count;
	const struct vferry_order_rule *rules = vferry_order_rules(&count);
	struct vf_plan *plan;

	assert_int_equal(vf_plan_new(phase, rules, count, &plan), 0);
	return plan;
}

static uint32_t add(struct vf_plan *plan, enum vferry_step_class step_class, const char *component,
		    const char *device, uint64_t declared_ns)
{
	static const char *const known[] = { "its/0", "its/1", "gic", "cpu/0" };
	struct vf_plan_step step = {
		.component = 100, .step_class = step_class, .component_name = component,
		.device = device, .name = vferry_step_class_name((int) step_class),
		.declared_ns = declared_ns,
	};
	int r;

	for (uint32_t i = 0; i < VF_ARRAY_COUNT(known); i++) {
		if (!strcmp(known[i], component))
			step.component = i;
	}
	r = vf_plan_add(plan, &step, NULL);
	assert_true(r >= 0);
	return (uint32_t) r;
}

static void seal(struct vf_plan *plan)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_plan_seal(plan, &err) < 0)
		fail_msg("%s", err.message);
}

static enum vf_step_state state_of(const struct vf_plan *plan, uint32_t step)
{
	struct vf_plan_view view;

	vf_plan_get(plan, step, &view);
	return view.state;
}

static void run_step(struct vf_plan *plan, uint32_t step)
{
	if (vf_plan_start(plan, step, 0, 0)) {
		char why[256];

		vf_plan_why_waiting(plan, step, why, sizeof(why));
		fail_msg("step %u: %s", step, why);
	}
	vf_plan_done(plan, step, 0, 0);
}

/* Rules of one device leave the other alone; a step of no device waits for all, and all for it. */
static void device_scope(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_UNDO);
	uint32_t connect = add(plan, VFERRY_UNDO_IRQ_CONNECT, "pci/a", DEV, 0);
	uint32_t connect2 = add(plan, VFERRY_UNDO_IRQ_CONNECT, "pci/b", DEV2, 0);
	uint32_t intx = add(plan, VFERRY_UNDO_INTX, "pci/a", DEV, 0);
	uint32_t intx2 = add(plan, VFERRY_UNDO_INTX, "pci/b", DEV2, 0);
	uint32_t intx_all = add(plan, VFERRY_UNDO_INTX, "irq", NULL, 0);

	(void) state;
	seal(plan);
	assert_int_equal(vf_plan_start(plan, intx, 0, 0), -EAGAIN);
	run_step(plan, connect);
	run_step(plan, intx);
	assert_int_equal(vf_plan_start(plan, intx2, 0, 0), -EAGAIN);
	assert_int_equal(vf_plan_start(plan, intx_all, 0, 0), -EAGAIN);
	run_step(plan, connect2);
	run_step(plan, intx_all);
	run_step(plan, intx2);
	assert_true(vf_plan_all_done(plan));
	(void) vf_plan_free(plan);

	plan = new_plan(VFERRY_PHASE_UNDO);
	connect = add(plan, VFERRY_UNDO_IRQ_CONNECT, "irq", NULL, 0);
	intx = add(plan, VFERRY_UNDO_INTX, "pci/a", DEV, 0);
	seal(plan);
	assert_int_equal(vf_plan_start(plan, intx, 0, 0), -EAGAIN);
	run_step(plan, connect);
	run_step(plan, intx);
	(void) vf_plan_free(plan);
}

/* Two ITSes: the tables of one do not wait for the registers of the other. */
static void component_scope(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	uint32_t redist = add(plan, VFERRY_LOAD_GIC_REDIST, "gic", NULL, 0);
	uint32_t regs = add(plan, VFERRY_LOAD_ITS_REGS, "its/0", NULL, 0);
	uint32_t tables = add(plan, VFERRY_LOAD_ITS_TABLES, "its/0", NULL, 0);
	uint32_t regs1 = add(plan, VFERRY_LOAD_ITS_REGS, "its/1", NULL, 0);
	uint32_t tables1 = add(plan, VFERRY_LOAD_ITS_TABLES, "its/1", NULL, 0);

	(void) state;
	seal(plan);
	run_step(plan, redist);
	run_step(plan, regs1);
	run_step(plan, tables1);
	assert_int_equal(vf_plan_start(plan, tables, 0, 0), -EAGAIN);
	run_step(plan, regs);
	run_step(plan, tables);
	(void) vf_plan_free(plan);
}

static void cycle_is_refused(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint32_t ram = add(plan, VFERRY_LOAD_RAM, "ram", NULL, 0);
	uint32_t redist = add(plan, VFERRY_LOAD_GIC_REDIST, "gic", NULL, 0);
	uint32_t other = add(plan, VFERRY_LOAD_OTHER, "uart", NULL, 0);

	(void) state;
	/* By rule: ram before redistributors. The source says: redistributors, uart, ram. */
	assert_int_equal(vf_plan_depend(plan, redist, other, NULL), 0);
	assert_int_equal(vf_plan_depend(plan, other, ram, NULL), 0);
	assert_int_equal(vf_plan_seal(plan, &err), -ELOOP);
	assert_string_equal(err.id, "order-cycle");
	assert_non_null(strstr(err.message, "load-ram-before-redistributors"));
	assert_non_null(strstr(err.message, "ram:ram before"));
	assert_non_null(strstr(err.message, "uart:other before"));
	assert_non_null(strstr(err.message, "data dependency"));
	(void) vf_plan_free(plan);
}

static void a_rule_against_itself_is_a_cycle(void **state)
{
	static const struct vferry_order_rule rule = {
		.id = "x", .phase = VFERRY_PHASE_LOAD, .first = 1, .then = 1, .because = "",
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_plan *plan;

	(void) state;
	assert_int_equal(vf_plan_new(VFERRY_PHASE_LOAD, &rule, 1, &plan), 0);
	(void) add(plan, VFERRY_LOAD_DEVICE_RESUMING, "vfio", NULL, 0);
	assert_int_equal(vf_plan_seal(plan, &err), -ELOOP);
	(void) vf_plan_free(plan);
}

static void bad_steps_are_refused(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	struct vf_plan_step step = {
		.step_class = VFERRY_LOAD_OTHER, .component_name = "uart", .name = "regs",
	};
	char long_name[VFERRY_NAME_BYTES + 1];

	(void) state;
	memset(long_name, 'x', VFERRY_NAME_BYTES);
	long_name[VFERRY_NAME_BYTES] = 0;
	assert_int_equal(vf_plan_add(plan, &step, NULL), 0);
	assert_int_equal(vf_plan_add(plan, &step, NULL), -EEXIST);
	step.name = long_name;
	assert_int_equal(vf_plan_add(plan, &step, NULL), -EINVAL);
	step.name = "";
	assert_int_equal(vf_plan_add(plan, &step, NULL), -EINVAL);
	step.name = "more";
	step.step_class = VFERRY_SAVE_OTHER;
	assert_int_equal(vf_plan_add(plan, &step, NULL), -EINVAL);
	step.step_class = (enum vferry_step_class) 127;
	assert_int_equal(vf_plan_add(plan, &step, NULL), -EINVAL);
	assert_int_equal(vf_plan_depend(plan, 0, 0, NULL), -EINVAL);
	assert_int_equal(vf_plan_depend(plan, 0, 9, NULL), -ENOENT);
	assert_int_equal(vf_plan_find(plan, "uart:regs"), 0);
	assert_int_equal(vf_plan_find(plan, "uart:regsx"), -ENOENT);
	seal(plan);
	assert_int_equal(vf_plan_seal(plan, NULL), -EBUSY);
	step.step_class = VFERRY_LOAD_OTHER;
	assert_int_equal(vf_plan_add(plan, &step, NULL), -EBUSY);
	(void) vf_plan_free(plan);
}

static void size_is_bounded(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	char name[16];

	(void) state;
	for (uint32_t i = 0; i <= VF_PLAN_MAX_STEPS; i++) {
		struct vf_plan_step step = {
			.component = i % 7, .name = name, .component_name = "c",
			.step_class = i % 2 ? VFERRY_LOAD_RAM : VFERRY_LOAD_GIC_REDIST,
		};

		(void) snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(vf_plan_add(plan, &step, NULL),
				 i < VF_PLAN_MAX_STEPS ? (int) i : -E2BIG);
	}
	for (uint32_t i = 0; i <= VF_PLAN_MAX_DEPENDS; i++)
		assert_int_equal(vf_plan_depend(plan, 1, 0, NULL),
				 i < VF_PLAN_MAX_DEPENDS ? 0 : -E2BIG);
	seal(plan);
	(void) vf_plan_free(plan);

	/* Many steps of no device in many devices would grow as a product: refused instead. */
	plan = new_plan(VFERRY_PHASE_UNDO);
	for (uint32_t i = 0; i < VF_PLAN_MAX_STEPS; i++) {
		struct vf_plan_step step = {
			.component = i, .name = name, .component_name = "c",
			.device = i % 2 ? name : NULL,
			.step_class = i % 2 ? VFERRY_UNDO_INTX : VFERRY_UNDO_IRQ_CONNECT,
		};

		(void) snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(vf_plan_add(plan, &step, NULL), (int) i);
	}
	assert_int_equal(vf_plan_seal(plan, NULL), -E2BIG);
	(void) vf_plan_free(plan);
}

static void exclusion(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	uint32_t regs = add(plan, VFERRY_LOAD_CPU_REGS, "cpu/0", NULL, 0);
	uint32_t dist = add(plan, VFERRY_LOAD_GIC_DIST, "gic", NULL, 0);
	char why[256];
	uint32_t next;

	(void) state;
	seal(plan);
	assert_int_equal(vf_plan_start(plan, regs, 1, 10), 0);
	assert_int_equal(vf_plan_running(plan), 1);
	assert_int_equal(vf_plan_start(plan, dist, 2, 11), -EBUSY);
	assert_int_equal(vf_plan_next(plan, &next), -EAGAIN);
	vf_plan_why_waiting(plan, dist, why, sizeof(why));
	assert_non_null(strstr(why, "cpu/0:cpu-regs"));
	assert_non_null(strstr(why, "load-vcpu-access-excludes-gic"));
	vf_plan_done(plan, regs, 64, 20);
	assert_int_equal(vf_plan_next(plan, &next), 0);
	assert_int_equal(next, dist);
	run_step(plan, dist);
	assert_int_equal(vf_plan_next(plan, &next), -ENODATA);
	(void) vf_plan_free(plan);
}

static void gates_of_input_and_class(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	struct vf_plan_view view;
	char why[256];
	int step = vf_plan_add(plan, &(struct vf_plan_step) {
		.step_class = VFERRY_LOAD_OTHER, .component_name = "uart", .name = "regs",
		.needs_input = true,
	}, NULL);

	(void) state;
	seal(plan);
	assert_int_equal(vf_plan_start(plan, (uint32_t) step, 0, 0), -EAGAIN);
	vf_plan_why_waiting(plan, (uint32_t) step, why, sizeof(why));
	assert_string_equal(why, "waits for its data from the source");
	vf_plan_input(plan, (uint32_t) step);
	vf_plan_allow(plan, 0);
	assert_int_equal(vf_plan_start(plan, (uint32_t) step, 0, 0), -EAGAIN);
	vf_plan_why_waiting(plan, (uint32_t) step, why, sizeof(why));
	assert_string_equal(why, "steps of class other may not start yet");
	vf_plan_allow(plan, UINT64_MAX);
	assert_int_equal(vf_plan_start(plan, (uint32_t) step, 3, 1000), 0);
	vf_plan_done(plan, (uint32_t) step, 77, 1500);
	vf_plan_get(plan, (uint32_t) step, &view);
	assert_string_equal(view.full_name, "uart:regs");
	assert_int_equal(view.thread, 3);
	assert_int_equal(view.start_ns, 1000);
	assert_int_equal(view.end_ns, 1500);
	assert_int_equal(view.bytes, 77);
	assert_int_equal(view.runs, 1);
	(void) vf_plan_free(plan);
}

static void failure_stops_all_or_not(void **state)
{
	for (int go_on = 0; go_on < 2; go_on++) {
		struct vf_plan *plan = new_plan(VFERRY_PHASE_UNDO);
		uint32_t run = add(plan, VFERRY_UNDO_DEVICE_RUN, "vfio", DEV, 0);
		uint32_t vcpu = add(plan, VFERRY_UNDO_VCPU_RUN, "machine", NULL, 0);
		uint32_t next;

		seal(plan);
		assert_int_equal(vf_plan_start(plan, run, 0, 0), 0);
		vf_plan_fail(plan, run, go_on, 5);
		assert_int_equal(state_of(plan, run), VF_STEP_FAILED);
		if (go_on) {
			run_step(plan, vcpu);
			assert_true(vf_plan_all_done(plan));
		} else {
			assert_int_equal(vf_plan_next(plan, &next), -ECANCELED);
			assert_int_equal(vf_plan_start(plan, vcpu, 0, 0), -EAGAIN);
			assert_false(vf_plan_all_done(plan));
		}
		(void) vf_plan_free(plan);
	}
	(void) state;
}

struct device_steps {
	uint32_t resuming, stage, data, restage, last, vectors;
};

static struct device_steps add_device(struct vf_plan *plan, const char *device, const char *name)
{
	return (struct device_steps) {
		.resuming = add(plan, VFERRY_LOAD_DEVICE_RESUMING, name, device, 0),
		.stage = add(plan, VFERRY_LOAD_CONFIG_STAGE, name, device, 0),
		.data = add(plan, VFERRY_LOAD_DEVICE_DATA, name, device, 0),
		.restage = add(plan, VFERRY_LOAD_CONFIG_RESTAGE, name, device, 0),
		.last = add(plan, VFERRY_LOAD_DEVICE_DATA_LAST, name, device, 0),
		.vectors = add(plan, VFERRY_LOAD_VECTOR_ALLOC, name, device, 0),
	};
}

/* A guest's reset of one device starts its first steps anew, and no others. */
static void restart_of_a_device(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	struct device_steps a = add_device(plan, DEV, "vfio/a");
	struct device_steps b = add_device(plan, DEV2, "vfio/b");
	struct vf_plan_view view;

	(void) state;
	seal(plan);
	assert_int_equal(vf_plan_restart_device(plan, "nope", NULL), -ENOENT);
	run_step(plan, a.resuming);
	run_step(plan, b.resuming);
	run_step(plan, a.stage);
	run_step(plan, b.stage);
	run_step(plan, a.vectors);
	assert_int_equal(vf_plan_start(plan, a.data, 0, 0), 0);
	assert_int_equal(vf_plan_restart_device(plan, DEV, NULL), -EBUSY);
	vf_plan_done(plan, a.data, 0, 0);
	assert_int_equal(vf_plan_restart_device(plan, DEV, NULL), 3);
	assert_int_equal(state_of(plan, a.resuming), VF_STEP_WAITING);
	assert_int_equal(state_of(plan, a.data), VF_STEP_WAITING);
	assert_int_equal(state_of(plan, a.vectors), VF_STEP_DONE);
	assert_int_equal(state_of(plan, b.stage), VF_STEP_DONE);
	assert_int_equal(vf_plan_start(plan, a.stage, 0, 0), -EAGAIN);
	assert_int_equal(vf_plan_start(plan, a.restage, 0, 0), -EAGAIN);
	run_step(plan, a.resuming);
	run_step(plan, a.stage);
	run_step(plan, a.data);
	vf_plan_get(plan, a.data, &view);
	assert_int_equal(view.runs, 2);
	run_step(plan, a.restage);
	assert_int_equal(vf_plan_restart_device(plan, DEV, NULL), -ENOTRECOVERABLE);
	assert_int_equal(state_of(plan, a.data), VF_STEP_DONE);
	run_step(plan, a.last);
	run_step(plan, b.data);
	run_step(plan, b.restage);
	run_step(plan, b.last);
	run_step(plan, b.vectors);
	assert_true(vf_plan_all_done(plan));
	(void) vf_plan_free(plan);
}

/* Nor can it begin anew once a step of something else was built on its first state. */
static void restart_after_a_dependent_step(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	struct device_steps a = add_device(plan, DEV, "vfio/a");
	uint32_t other = add(plan, VFERRY_LOAD_OTHER, "uart", NULL, 0);

	(void) state;
	assert_int_equal(vf_plan_depend(plan, a.stage, other, NULL), 0);
	seal(plan);
	run_step(plan, a.resuming);
	run_step(plan, a.stage);
	assert_int_equal(vf_plan_restart_device(plan, DEV, NULL), 3);
	run_step(plan, a.resuming);
	run_step(plan, a.stage);
	run_step(plan, other);
	assert_int_equal(vf_plan_restart_device(plan, DEV, NULL), -ENOTRECOVERABLE);
	(void) vf_plan_free(plan);
}

/* The step with the longest chain behind it goes first. */
static void longest_chain_first(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	uint32_t other = add(plan, VFERRY_LOAD_OTHER, "uart", NULL, 2000000);
	uint32_t ram = add(plan, VFERRY_LOAD_RAM, "ram", NULL, 1000000);
	uint32_t redist = add(plan, VFERRY_LOAD_GIC_REDIST, "gic", NULL, 5000000);
	uint32_t order[3], next;

	(void) state;
	seal(plan);
	assert_int_equal(vf_plan_next(plan, &next), 0);
	assert_int_equal(next, ram);
	vf_plan_order(plan, order);
	assert_true(order[0] == other || order[0] == ram);
	assert_int_equal(vf_plan_ready(plan, order, 3), 2);
	assert_int_equal(order[0], ram);
	assert_int_equal(order[1], other);
	(void) redist;
	(void) vf_plan_free(plan);
}

/* Steps in parallel count once; chains add up; exclusions and threads make it longer. */
static void makespan(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	uint32_t ram = add(plan, VFERRY_LOAD_RAM, "ram", NULL, 0);
	uint32_t redist = add(plan, VFERRY_LOAD_GIC_REDIST, "gic", NULL, 0);
	uint32_t regs = add(plan, VFERRY_LOAD_CPU_REGS, "cpu/0", NULL, 0);
	uint32_t other = add(plan, VFERRY_LOAD_OTHER, "uart", NULL, 0);
	uint64_t ns[4], total;

	(void) state;
	seal(plan);
	ns[ram] = 10;
	ns[redist] = 20;
	ns[regs] = 5;
	ns[other] = 25;
	/* ram 10, redist 20, beside them uart; regs may not run beside redist, but beside ram. */
	assert_int_equal(vf_plan_makespan(plan, ns, UINT64_MAX, 0, &total), 0);
	assert_int_equal(total, 30);
	ns[regs] = 15;
	assert_int_equal(vf_plan_makespan(plan, ns, UINT64_MAX, 0, &total), 0);
	assert_int_equal(total, 35);
	assert_int_equal(vf_plan_makespan(plan, ns, UINT64_MAX, 1, &total), 0);
	assert_int_equal(total, 70);
	assert_int_equal(vf_plan_makespan(plan, ns, vf_class_bit(VFERRY_LOAD_GIC_REDIST), 0,
					  &total), 0);
	assert_int_equal(total, 20);
	/* What is done counts no more; prediction changes nothing. */
	run_step(plan, ram);
	assert_int_equal(vf_plan_makespan(plan, ns, UINT64_MAX, 0, &total), 0);
	assert_int_equal(total, 35);
	ns[regs] = VF_NS_UNKNOWN;
	assert_int_equal(vf_plan_makespan(plan, ns, UINT64_MAX, 0, &total), 0);
	assert_int_equal(total, 25);
	assert_int_equal(state_of(plan, redist), VF_STEP_WAITING);
	(void) vf_plan_free(plan);
}

static void edges_are_told(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_LOAD);
	uint32_t ram = add(plan, VFERRY_LOAD_RAM, "ram", NULL, 0);
	uint32_t redist = add(plan, VFERRY_LOAD_GIC_REDIST, "gic", NULL, 0);
	uint32_t other = add(plan, VFERRY_LOAD_OTHER, "uart", NULL, 0);
	struct vf_plan_cursor cursor = { 0 };
	struct vf_plan_edge edge;
	char why[64];

	(void) state;
	assert_int_equal(vf_plan_depend(plan, ram, other, NULL), 0);
	seal(plan);
	assert_true(vf_plan_edges_next(plan, &cursor, &edge));
	assert_int_equal(edge.first, ram);
	assert_int_equal(edge.then, redist);
	assert_string_equal(edge.rule->id, "load-ram-before-redistributors");
	assert_true(vf_plan_edges_next(plan, &cursor, &edge));
	assert_int_equal(edge.then, other);
	assert_null(edge.rule);
	assert_false(vf_plan_edges_next(plan, &cursor, &edge));
	vf_plan_why_waiting(plan, redist, why, sizeof(why));
	assert_int_equal(strncmp(why, "waits for ram:ram (rule load-ram-before-", 39), 0);
	assert_int_equal(strlen(why), sizeof(why) - 1);
	(void) vf_plan_free(plan);
}

static void empty_plan(void **state)
{
	struct vf_plan *plan = new_plan(VFERRY_PHASE_SAVE);
	uint32_t next;
	uint64_t ns;

	(void) state;
	assert_int_equal(vf_plan_start(plan, 0, 0, 0), -EAGAIN);
	seal(plan);
	assert_int_equal(vf_plan_next(plan, &next), -ENODATA);
	assert_true(vf_plan_all_done(plan));
	assert_int_equal(vf_plan_makespan(plan, NULL, UINT64_MAX, 0, &ns), 0);
	assert_int_equal(ns, 0);
	(void) vf_plan_free(plan);
	assert_null(vf_plan_free(NULL));
	assert_int_equal(vf_plan_new((enum vferry_phase) 3, NULL, 0, &plan), -EINVAL);
	assert_null(vferry_step_class_name(-1));
	assert_null(vferry_step_class_name(63));
	assert_null(vferry_step_class_name(192));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(device_scope),
		cmocka_unit_test(component_scope),
		cmocka_unit_test(cycle_is_refused),
		cmocka_unit_test(a_rule_against_itself_is_a_cycle),
		cmocka_unit_test(bad_steps_are_refused),
		cmocka_unit_test(size_is_bounded),
		cmocka_unit_test(exclusion),
		cmocka_unit_test(gates_of_input_and_class),
		cmocka_unit_test(failure_stops_all_or_not),
		cmocka_unit_test(restart_of_a_device),
		cmocka_unit_test(restart_after_a_dependent_step),
		cmocka_unit_test(longest_chain_first),
		cmocka_unit_test(makespan),
		cmocka_unit_test(edges_are_told),
		cmocka_unit_test(empty_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
