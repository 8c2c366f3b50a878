/* SPDX-License-Identifier: MIT */
/*
 * test_arm64_vcpu.c - what arm64 machines are compared by, moved as, and refused for, on made-up
 * hosts: each has a KVM, processor and counter of its own. On a real KVM: test_kvm_arm64.c.
 */
#define _GNU_SOURCE
#include "fake_arm64.h"

#define SECOND	1000000000ull

struct pair {
	struct fake_kvm *source, *target;
	struct side_sections sections;
	struct vferry_reasons reasons;
	uint8_t identity[SIDE_SECTION];
};

static int set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->source = fake_new(5000 * SECOND);
	p->target = fake_new(77 * SECOND);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	fake_free(p->source);
	fake_free(p->target);
	free(p);
	return 0;
}

static void start_both(struct pair *p)
{
	fake_start(p->source, VFERRY_KVM_TIME_RUNNING);
	fake_start(p->target, VFERRY_KVM_TIME_RUNNING);
}

/* What the target says to the source's component of that name. */
static void compare(struct pair *p, const char *name)
{
	const struct vferry_component *from = side_component(side_of(p->source->arm64), name);
	const struct vferry_component *to = side_component(side_of(p->target->arm64), name);
	size_t bytes = side_identity(from, p->identity);

	assert_int_equal(side_check(to, p->identity, bytes, &p->reasons), 0);
}

/* vCPUs and counter: the rest is test_gic_component.c's. */
static void save(struct pair *p)
{
	static const enum vferry_step_class order[] = { VFERRY_SAVE_CPU, VFERRY_SAVE_CLOCK };

	side_run_all(side_of(p->source->arm64), order, COUNT(order), &p->sections);
}

static void load(struct pair *p)
{
	static const enum vferry_step_class order[] = { VFERRY_LOAD_CPU_ID, VFERRY_LOAD_CPU_REGS,
		VFERRY_LOAD_COUNTER };

	side_run_all(side_of(p->target->arm64), order, COUNT(order), &p->sections);
}

/* ---- making one ---- */

static void hosts_without_are_refused(void **state)
{
	static const int needed[] = { VF_KVM_CAP_ARM_PSCI_0_2, KVM_CAP_ONE_REG, KVM_CAP_MP_STATE,
		KVM_CAP_VCPU_EVENTS, KVM_CAP_DEVICE_CTRL };
	struct pair *p = *state;
	struct vferry_error err;

	for (size_t i = 0; i < COUNT(needed); i++) {
		p->source->without = needed[i];
		assert_int_equal(fake_try(p->source, VFERRY_KVM_TIME_RUNNING, &err), -ENOTSUP);
		assert_string_not_equal(err.message, "");
	}
	p->source->without = 0;
	p->source->hz = 0;
	assert_int_equal(fake_try(p->source, VFERRY_KVM_TIME_RUNNING, &err), -ENOTSUP);
	assert_string_equal(err.id, "kvm-counter-frequency");
	assert_null(p->source->arm64);
}

static void vcpus_that_are_not_ready_are_refused(void **state)
{
	static const struct {
		int code, ret;
		const char *words;
	} cases[] = {
		{ -ENOEXEC, -EINVAL, "KVM_ARM_VCPU_INIT" }, { -EPERM, -EINVAL, "KVM_ARM_VCPU_FINALIZE" },
		{ -E2BIG, -ENOTSUP, "more than 4096" }, { -EIO, -EIO, "KVM_GET_REG_LIST" },
	};
	struct pair *p = *state;
	struct vferry_error err;

	for (size_t i = 0; i < COUNT(cases); i++) {
		p->source->list_code = cases[i].code;
		assert_int_equal(fake_try(p->source, VFERRY_KVM_TIME_RUNNING, &err), cases[i].ret);
		assert_non_null(strstr(err.message, cases[i].words));
	}
}

static void guests_that_cannot_be_saved_are_refused(void **state)
{
	struct pair *p = *state;
	struct vferry_error err;

	fake_find(&p->source->vcpu[1], PFR1)->value[1] = 2;	/* MTE2 */
	assert_int_equal(fake_try(p->source, VFERRY_KVM_TIME_RUNNING, &err), -ENOTSUP);
	assert_string_equal(err.id, "kvm-mte");
	assert_string_equal(err.object, "cpu/1");
	fake_add_all(p->target, VF_REG_OF_SYSREG(VF_SYSREG_HCR_EL2), 0, ~0ull);
	assert_int_equal(fake_try(p->target, VFERRY_KVM_TIME_RUNNING, &err), -ENOTSUP);
	assert_string_equal(err.id, "kvm-nested");
}

static void what_is_no_register_is_refused(void **state)
{
	struct pair *p = *state;
	struct vferry_error err;

	fake_add(&p->source->vcpu[0], X(3), 0, 0);	/* once more */
	assert_int_equal(fake_try(p->source, VFERRY_KVM_TIME_RUNNING, &err), -EINVAL);
	assert_string_equal(err.id, "kvm-registers");
	fake_add(&p->target->vcpu[0], 0x2030000000000000, 0, 0);	/* x86's */
	assert_int_equal(fake_try(p->target, VFERRY_KVM_TIME_RUNNING, &err), -EINVAL);
	assert_string_equal(err.id, "kvm-registers");
}

/* Whichever call fails: an error that says so, and nothing is left. */
static void any_call_may_fail(void **state)
{
	static const enum vferry_step_class classes[] = { VFERRY_SAVE_CPU, VFERRY_SAVE_CLOCK,
		VFERRY_LOAD_CPU_ID, VFERRY_LOAD_CPU_REGS, VFERRY_LOAD_COUNTER };
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	unsigned failed = 0, at = 1;

	for (;; at++) {
		p->source->calls = 0;
		p->source->fail_at = at;
		if (!fake_try(p->source, VFERRY_KVM_TIME_RUNNING, &err) && p->source->calls < at)
			break;
		failed += err.code != 0;
		assert_true(err.code == 0 || (err.id[0] && err.message[0]));
		p->source->arm64 = vferry_kvm_arm64_free(p->source->arm64);
	}
	assert_true(failed > 30);
	for (size_t i = 0; i < COUNT(classes); i++) {
		for (at = 1;; at++) {
			p->source->calls = 0;
			p->source->fail_at = at;
			err = (struct vferry_error) VFERRY_ERROR_INIT;
			if (!side_run(p->source->arm64, classes[i], &p->sections, &err))
				break;
			assert_int_equal(err.code, -EIO);
			assert_non_null(strstr(err.message, "EIO"));
		}
		assert_int_equal(p->source->calls, at - 1);
	}
}

/* ---- state ---- */

static void everything_arrives(void **state)
{
	struct pair *p = *state;
	struct fake_vcpu *from = &p->source->vcpu[1], *to = &p->target->vcpu[1];

	start_both(p);
	for (uint32_t i = 0; i < from->count; i++)
		if (from->regs[i].changeable == ~0ull)
			memset(from->regs[i].value, (int) i + 1, vf_arm64_reg_bytes(from->regs[i].id));
	memcpy(fake_find(from, MPIDR)->value, fake_find(to, MPIDR)->value, 8);
	from->mp_state.mp_state = KVM_MP_STATE_STOPPED;
	from->events = (struct vf_kvm_arm64_events) { .serror_pending = 1, .serror_has_esr = 1,
		.serror_esr = 0x1234567 };
	save(p);
	load(p);
	for (uint32_t i = 0; i < from->count; i++)
		assert_memory_equal(from->regs[i].value, fake_find(to, from->regs[i].id)->value,
				    vf_arm64_reg_bytes(from->regs[i].id));
	assert_int_equal(to->mp_state.mp_state, KVM_MP_STATE_STOPPED);
	assert_memory_equal(&to->events, &from->events, sizeof(to->events));
	assert_int_equal(fake_find(to, MIDR)->written, 0);	/* it was the same */
	assert_int_equal(fake_find(to, VF_REG_PSCI_VERSION)->written, 1);
	assert_int_equal(fake_find(to, CSSELR)->written, 1);
}

/* A chain: what was loaded is what the next side is told. */
static void loaded_id_registers_are_the_identity(void **state)
{
	struct pair *p = *state;

	fake_find(&p->source->vcpu[0], ISAR0)->value[1] = 0x20;
	start_both(p);
	compare(p, "cpu/0");
	assert_int_equal(p->reasons.count, 0);
	save(p);
	load(p);
	assert_int_equal(fake_value(p->target, 0, ISAR0), 0x2021);
	p->target->vcpu[0].ran = true;
	compare(p, "cpu/0");		/* again, as if it were asked once more */
	assert_int_equal(p->reasons.count, 0);
}

static void cut_sections_are_refused(void **state)
{
	struct pair *p = *state;
	struct vferry_error err;

	start_both(p);
	save(p);
	for (size_t i = 0; i < vferry_kvm_arm64_component_count(p->target->arm64); i++) {
		const struct vferry_component *c = vferry_kvm_arm64_component(p->target->arm64, i);
		size_t bytes = p->sections.bytes[i];

		if (strncmp(c->name, "cpu/", 4) && strcmp(c->name, "counter"))
			continue;	/* test_gic_component.c */
		for (size_t n = 0; side_load_step(c, n); n++) {
			for (size_t cut = 0; cut < bytes; cut++)
				assert_int_equal(side_load_bytes(c, n, p->sections.data[i], cut, &err),
						 -EINVAL);
			assert_int_equal(side_load_bytes(c, n, p->sections.data[i], bytes + 1, &err),
					 -EINVAL);
			assert_string_not_equal(err.message, "");
		}
	}
}

/* Of a section of cpu/N: its first register's id. */
static uint64_t *first_id(uint8_t *section)
{
	return (uint64_t *) (section + 18);
}

static void damaged_sections_are_refused(void **state)
{
	struct pair *p = *state;
	const struct vferry_component *c;
	uint8_t *section = p->sections.data[0];
	struct vferry_error err;
	uint64_t id, other = VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 15u, 15u, 7u));

	start_both(p);
	c = vferry_kvm_arm64_component(p->target->arm64, 0);
	save(p);
	memcpy(&id, first_id(section), sizeof(id));
	memcpy(first_id(section), &other, sizeof(other));	/* as many bytes, but not of this vCPU */
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0], &err), -EINVAL);
	assert_string_equal(err.id, "cpu-register-unknown");
	assert_non_null(strstr(err.message, "S3_0_C15_C15_7"));
	other = X(1);
	memcpy(first_id(section), &other, sizeof(other));	/* which comes next, too */
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0], &err), -EINVAL);
	assert_string_equal(err.id, "cpu-section-damaged");
	memcpy(first_id(section), &id, sizeof(id));
	section[4] = 2;						/* an SError is there or not */
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0], &err), -EINVAL);
}

static void missing_core_register_is_named(void **state)
{
	struct pair *p = *state;
	const struct vferry_component *c;
	uint8_t *section = p->sections.data[0];
	struct vferry_error err;
	uint32_t count;

	start_both(p);
	c = vferry_kvm_arm64_component(p->target->arm64, 0);
	save(p);
	memcpy(&count, section + 14, sizeof(count));
	count--;
	memcpy(section + 14, &count, sizeof(count));
	memmove(section + 18, section + 34, p->sections.bytes[0] - 34);	/* x0 */
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0] - 16, &err), -EINVAL);
	assert_string_equal(err.id, "cpu-register-missing");
	assert_non_null(strstr(err.message, "x0"));
}

static void refused_value_is_named(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	fake_find(&p->target->vcpu[1], TPIDR)->changeable = 0xff;
	start_both(p);
	memset(fake_find(&p->source->vcpu[1], TPIDR)->value, 0x11, 2);
	save(p);
	assert_int_equal(side_run(p->target->arm64, VFERRY_LOAD_CPU_REGS, &p->sections, &err),
			 -EINVAL);
	assert_string_equal(err.id, "cpu-register-refused");
	assert_string_equal(err.object, "cpu/1");
	assert_non_null(strstr(err.message, "S3_0_C13_C0_4 does not take 0x1111"));
}

/* ---- comparison ---- */

static void same_hosts_take_each_other(void **state)
{
	struct pair *p = *state;

	start_both(p);
	compare(p, "cpu/0");
	assert_int_equal(p->reasons.count, 0);
	compare(p, "cpu/1");
	assert_int_equal(p->reasons.count, 0);
	compare(p, "counter");
	assert_int_equal(p->reasons.count, 0);
}

/* Every reason, each by name and with both values; and what was tried is put back. */
static void all_reasons_are_told(void **state)
{
	struct pair *p = *state;
	struct fake_vcpu *to = &p->target->vcpu[0];

	fake_find(&p->source->vcpu[0], MIDR)->value[0] = 0xc2;
	fake_find(&p->source->vcpu[0], ISAR0)->value[0] = 0x31;	/* fixed bits */
	fake_find(&p->source->vcpu[0], ISAR0)->value[1] = 0x00;	/* and others */
	fake_add_all(p->source, CORE(VF_CORE_SP), 0, ~0ull);
	fake_find(to, VF_REG_PSCI_VERSION)->value[0] = 0;
	start_both(p);
	compare(p, "cpu/0");
	assert_int_equal(p->reasons.count, 3);
	assert_non_null(strstr(p->reasons.all, "MIDR_EL1 is 0x410fd0c2 on the source and "
			       "0x410fd0c1 here"));
	assert_non_null(strstr(p->reasons.all, "ID_AA64ISAR0_EL1 is 0x31 on the source and "
			       "0x1021 here"));
	assert_non_null(strstr(p->reasons.all, "bits 0x10 are fixed"));
	assert_non_null(strstr(p->reasons.all, "the source has SP, which this host's KVM has not"));
	assert_int_equal(fake_value(p->target, 0, VF_REG_PSCI_VERSION), 0x10000);
	assert_int_equal(fake_find(to, VF_REG_PSCI_VERSION)->written, 2);
}

static void vcpu_that_ran_takes_no_other(void **state)
{
	struct pair *p = *state;

	fake_find(&p->source->vcpu[0], ISAR0)->value[1] = 0x20;
	start_both(p);
	p->target->vcpu[0].ran = true;
	compare(p, "cpu/0");
	assert_string_equal(p->reasons.ids, "cpu-id-register ");
	assert_non_null(strstr(p->reasons.all, "where the vCPU ran already"));
}

/* One for each feature, whatever number of registers it has. */
static void missing_features_are_one_reason_each(void **state)
{
	struct pair *p = *state;

	for (unsigned n = 0; n < 20; n++)
		fake_add_all(p->source, Z(n), n, ~0ull);
	fake_add_all(p->source, VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 1u, 2u, 0u)), 0, ~0ull);
	for (unsigned n = 0; n < 4; n++)
		fake_add_all(p->source, VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 2u, 1u, n)), 0, ~0ull);
	fake_add_all(p->source, PMCR, 0x41003000, ~0ull);
	start_both(p);
	compare(p, "cpu/1");
	assert_int_equal(p->reasons.count, 3);
	assert_non_null(strstr(p->reasons.all, "SVE on the source and not here"));
	assert_non_null(strstr(p->reasons.all, "pointer authentication on the source and not here"));
	assert_non_null(strstr(p->reasons.all, "a PMU on the source and not here"));
}

static void other_vector_lengths_are_refused(void **state)
{
	struct pair *p = *state;

	fake_add_all(p->source, VF_REG_SVE_VLS, 0xff, 0);
	fake_add_all(p->target, VF_REG_SVE_VLS, 0x0f, 0);
	start_both(p);
	compare(p, "cpu/0");
	assert_string_equal(p->reasons.ids, "cpu-sve-lengths ");
}

static void other_pmu_is_refused(void **state)
{
	struct pair *p = *state;

	fake_add_all(p->source, PMCR, 0x41003000, ~0ull);
	fake_add_all(p->target, PMCR, 0x41002000, ~0ull);
	start_both(p);
	compare(p, "cpu/0");
	assert_string_equal(p->reasons.ids, "cpu-pmu ");
	assert_non_null(strstr(p->reasons.all, "7 counters on the source and 5 here"));
}

static void other_machines_are_refused(void **state)
{
	struct pair *p = *state;

	p->target->hz = 2 * FAKE_HZ;
	p->target->distributor += 0x10000;
	p->target->region += 0x20000;
	start_both(p);
	p->source->arm64->ipa_bits = 44;
	p->source->arm64->cpu_count = 1;
	compare(p, "counter");
	p->source->arm64->cpu_count = FAKE_CPUS;
	assert_string_equal(p->reasons.ids, "kvm-vcpus kvm-counter-frequency kvm-ipa-size "
			    "kvm-gic-address kvm-gic-address ");
}

/* An identity that is cut or damaged is neither compared nor believed. */
static void cut_identities_are_refused(void **state)
{
	static const char *const names[] = { "cpu/0", "counter" };
	struct pair *p = *state;

	start_both(p);
	for (size_t i = 0; i < COUNT(names); i++) {
		struct side from = side_of(p->source->arm64), to = side_of(p->target->arm64);
		const struct vferry_component *c = side_component(to, names[i]);
		size_t bytes = side_identity(side_component(from, names[i]), p->identity);

		for (size_t cut = 0; cut < bytes; cut++)
			assert_int_equal(side_check(c, p->identity, cut, &p->reasons), -EINVAL);
		assert_int_equal(side_check(c, p->identity, bytes + 1, &p->reasons), -EINVAL);
		p->identity[0] = 9;	/* version */
		assert_int_equal(side_check(c, p->identity, bytes, &p->reasons), -EINVAL);
	}
}

/* ---- time ---- */

static uint64_t shows(const struct fake_kvm *k, bool physical)
{
	return k->counter_base + k->now_ns - k->offset[physical];
}

/* Saved, 3 s passed, then loaded on a host whose counter is another. */
static void move(struct pair *p)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(side_run(p->source->arm64, VFERRY_SAVE_CLOCK, &p->sections, &err), 0);
	p->target->now_ns = p->source->now_ns + 3 * SECOND;
	assert_int_equal(side_run(p->target->arm64, VFERRY_LOAD_COUNTER, &p->sections, &err), 0);
}

static void both_counters_go_on(void **state)
{
	struct pair *p = *state;
	uint64_t virtual_count, physical_count;

	p->source->offset[0] = 100 * SECOND;
	start_both(p);
	virtual_count = shows(p->source, false);
	physical_count = shows(p->source, true);
	move(p);
	assert_int_equal(shows(p->target, false), virtual_count + 3 * SECOND);
	assert_int_equal(shows(p->target, true), physical_count + 3 * SECOND);
}

static void time_stands_still(void **state)
{
	struct pair *p = *state;
	uint64_t virtual_count;

	fake_start(p->source, VFERRY_KVM_TIME_PAUSED);
	fake_start(p->target, VFERRY_KVM_TIME_RUNNING);
	virtual_count = shows(p->source, false);
	move(p);
	assert_int_equal(shows(p->target, false), virtual_count);
	assert_int_equal(p->target->arm64->time, VFERRY_KVM_TIME_PAUSED);	/* and there on */
}

static void time_never_goes_back(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t virtual_count;

	start_both(p);
	virtual_count = shows(p->source, false);
	assert_int_equal(side_run(p->source->arm64, VFERRY_SAVE_CLOCK, &p->sections, &err), 0);
	p->target->now_ns = p->source->now_ns - 50 * SECOND;
	assert_int_equal(side_run(p->target->arm64, VFERRY_LOAD_COUNTER, &p->sections, &err), 0);
	assert_int_equal(shows(p->target, false), virtual_count);
}

/* From a kernel that can't move CNTPCT to one that can: it was the host's. */
static void old_kernel_to_new(void **state)
{
	struct pair *p = *state;
	uint64_t physical_count;

	p->source->has_physical = false;
	start_both(p);
	physical_count = shows(p->source, true);
	compare(p, "cpu/0");
	assert_int_equal(p->reasons.count, 0);
	move(p);
	assert_int_equal(shows(p->target, true), physical_count + 3 * SECOND);
}

static void embedders_offset_is_moved(void **state)
{
	struct pair *p = *state;
	uint64_t count;

	p->source->one_offset = p->target->one_offset = true;
	p->source->offset[0] = p->source->offset[1] = 1000 * SECOND;
	start_both(p);
	count = shows(p->source, false);
	compare(p, "counter");
	assert_int_equal(p->reasons.count, 0);
	move(p);
	assert_int_equal(shows(p->target, false), count + 3 * SECOND);
	assert_int_equal(shows(p->target, true), count + 3 * SECOND);
}

/* Two counters can't become one. */
static void two_counters_need_two_offsets(void **state)
{
	struct pair *p = *state;

	p->target->one_offset = true;
	start_both(p);
	compare(p, "counter");
	assert_string_equal(p->reasons.ids, "kvm-counter-offset ");
	p->target->without = VF_KVM_CAP_COUNTER_OFFSET;
	p->target->arm64 = vferry_kvm_arm64_free(p->target->arm64);
	assert_int_equal(fake_try(p->target, VFERRY_KVM_TIME_RUNNING,
				  &(struct vferry_error) VFERRY_ERROR_INIT), -ENOTSUP);
}

static void dropped_count_is_found(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	start_both(p);
	assert_int_equal(side_run(p->source->arm64, VFERRY_SAVE_CLOCK, &p->sections, &err), 0);
	p->target->drops_counts = true;
	assert_int_equal(side_run(p->target->arm64, VFERRY_LOAD_COUNTER, &p->sections, &err),
			 -EIO);
	assert_string_equal(err.id, "counter-dropped");
}

static void undo_restores_only_what_stood_still(void **state)
{
	const enum vferry_kvm_time modes[] = { VFERRY_KVM_TIME_RUNNING, VFERRY_KVM_TIME_PAUSED };
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	for (size_t i = 0; i < COUNT(modes); i++) {
		uint64_t count;

		p->source->arm64 = vferry_kvm_arm64_free(p->source->arm64);
		fake_start(p->source, modes[i]);
		count = shows(p->source, false);
		assert_int_equal(side_run(p->source->arm64, VFERRY_SAVE_CLOCK, &p->sections,
						&err), 0);
		p->source->now_ns += 7 * SECOND;
		assert_int_equal(side_run(p->source->arm64, VFERRY_UNDO_CLOCK, &p->sections,
						&err), 0);
		assert_int_equal(shows(p->source, false),
				 count + (modes[i] == VFERRY_KVM_TIME_RUNNING ? 7 * SECOND : 0));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hosts_without_are_refused),
		TEST(vcpus_that_are_not_ready_are_refused),
		TEST(guests_that_cannot_be_saved_are_refused),
		TEST(what_is_no_register_is_refused),
		TEST(any_call_may_fail),
		TEST(everything_arrives),
		TEST(loaded_id_registers_are_the_identity),
		TEST(cut_sections_are_refused),
		TEST(damaged_sections_are_refused),
		TEST(missing_core_register_is_named),
		TEST(refused_value_is_named),
		TEST(same_hosts_take_each_other),
		TEST(all_reasons_are_told),
		TEST(vcpu_that_ran_takes_no_other),
		TEST(missing_features_are_one_reason_each),
		TEST(other_vector_lengths_are_refused),
		TEST(other_pmu_is_refused),
		TEST(other_machines_are_refused),
		TEST(cut_identities_are_refused),
		TEST(both_counters_go_on),
		TEST(time_stands_still),
		TEST(time_never_goes_back),
		TEST(old_kernel_to_new),
		TEST(embedders_offset_is_moved),
		TEST(two_counters_need_two_offsets),
		TEST(dropped_count_is_found),
		TEST(undo_restores_only_what_stood_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
