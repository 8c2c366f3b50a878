/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_arm64.c - the state of an arm64 machine on the real /dev/kvm: what is saved of one VM
 * arrives in another, a guest and its counter go on there, and what this KVM can't take is refused
 * by name. Skipped where /dev/kvm can't be opened.
 */
#define _GNU_SOURCE
#include <assert.h>

#include "arm64_vm.h"
#include "base/clock.h"
#include "ram/ram.h"
#include "ram/ram_internal.h"

#define TABLES		0x100000ull	/* offset in RAM of what an ITS gets */
#define SKIP		77

/* The kernel's own words, where its headers have them: the same numbers. */
static_assert(VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 0u, 4u, 1u)) == ARM64_SYS_REG(3, 0, 0, 4, 1), "");
static_assert(VF_REG_TIMER_CNT == KVM_REG_ARM_TIMER_CNT, "");
static_assert(VF_REG_PTIMER_CNT == KVM_REG_ARM_PTIMER_CNT, "");
static_assert(VF_REG_PSCI_VERSION == KVM_REG_ARM_PSCI_VERSION, "");
static_assert(VF_REG(VF_REG_FIRMWARE_BITMAP, VF_REG_SIZE_U64, 0u) == KVM_REG_ARM_STD_BMAP, "");
static_assert(VF_REG_SVE_VLS == KVM_REG_ARM64_SVE_VLS, "");
static_assert(VF_REG(VF_REG_SVE, VF_REG_SIZE_U256, VF_REG_SVE_FFR_FIRST) ==
	      KVM_REG_ARM64_SVE_FFR(0), "");
static_assert(VF_REG(VF_REG_DEMUX, 0u, 0u) == (KVM_REG_ARM64 | KVM_REG_ARM_DEMUX), "");
static_assert(VF_CORE_SP == KVM_REG_ARM_CORE_REG(regs.sp), "");
static_assert(VF_CORE_PC == KVM_REG_ARM_CORE_REG(regs.pc), "");
static_assert(VF_CORE_PSTATE == KVM_REG_ARM_CORE_REG(regs.pstate), "");
static_assert(VF_CORE_SP_EL1 == KVM_REG_ARM_CORE_REG(sp_el1), "");
static_assert(VF_CORE_ELR_EL1 == KVM_REG_ARM_CORE_REG(elr_el1), "");
static_assert(VF_CORE_SPSR == KVM_REG_ARM_CORE_REG(spsr), "");
static_assert(VF_CORE_VREGS == KVM_REG_ARM_CORE_REG(fp_regs.vregs), "");
static_assert(VF_CORE_FPSR == KVM_REG_ARM_CORE_REG(fp_regs.fpsr), "");
static_assert(VF_CORE_FPCR == KVM_REG_ARM_CORE_REG(fp_regs.fpcr), "");
static_assert(VF_KVM_GET_VCPU_EVENTS == KVM_GET_VCPU_EVENTS, "");
static_assert(VF_KVM_SET_VCPU_EVENTS == KVM_SET_VCPU_EVENTS, "");
static_assert(VF_KVM_CAP_ARM_PSCI_0_2 == KVM_CAP_ARM_PSCI_0_2, "");
static_assert(VF_VCPU_GRP_PMU == KVM_ARM_VCPU_PMU_V3_CTRL && VF_VCPU_PMU_IRQ ==
	      KVM_ARM_VCPU_PMU_V3_IRQ, "");
static_assert(VF_VCPU_GRP_TIMER == KVM_ARM_VCPU_TIMER_CTRL && VF_VCPU_TIMER_IRQ_PHYSICAL ==
	      KVM_ARM_VCPU_TIMER_IRQ_PTIMER, "");
static_assert(VF_VCPU_GRP_PVTIME == KVM_ARM_VCPU_PVTIME_CTRL, "");

/* ---- two of them ---- */

static void save(const struct vferry_kvm_arm64 *arm64, struct side_sections *sections)
{
	static const enum vferry_step_class order[] = { VFERRY_SAVE_CPU, VFERRY_SAVE_CLOCK,
		VFERRY_SAVE_GIC_PENDING, VFERRY_SAVE_ITS_TABLES, VFERRY_SAVE_GIC };

	side_run_all(side_of(arm64), order, COUNT(order), sections);
}

static void load(const struct vferry_kvm_arm64 *arm64, struct side_sections *sections)
{
	static const enum vferry_step_class order[] = { VFERRY_LOAD_CPU_ID, VFERRY_LOAD_CPU_REGS,
		VFERRY_LOAD_IRQCHIP_CREATE, VFERRY_LOAD_GIC_DIST, VFERRY_LOAD_GIC_LPI_BASES,
		VFERRY_LOAD_GIC_REDIST, VFERRY_LOAD_ITS_REGS, VFERRY_LOAD_ITS_TABLES,
		VFERRY_LOAD_ITS_CTLR, VFERRY_LOAD_COUNTER };

	side_run_all(side_of(arm64), order, COUNT(order), sections);
}

struct pair {
	struct vm *source, *target;
	struct side_sections sections;
};

static int pair_of(void **state, enum vferry_kvm_time time)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->source = vm_new(VFERRY_KVM_DIRTY_AUTO, time);
	p->target = vm_new(VFERRY_KVM_DIRTY_AUTO, VFERRY_KVM_TIME_RUNNING);
	*state = p;
	return 0;
}

static int set_up(void **state)
{
	return pair_of(state, VFERRY_KVM_TIME_RUNNING);
}

static int set_up_paused(void **state)
{
	return pair_of(state, VFERRY_KVM_TIME_PAUSED);
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	vm_free(p->source);
	vm_free(p->target);
	free(p);
	return 0;
}

/* ---- state ---- */

static const struct {
	uint32_t sysreg;
	uint64_t value;
} odd_sysregs[] = {
	{ VF_SYSREG(3u, 0u, 2u, 0u, 0u), 0x40010000 },			/* TTBR0_EL1 */
	{ VF_SYSREG(3u, 0u, 2u, 0u, 1u), 0x40020000 },			/* TTBR1_EL1 */
	{ VF_SYSREG(3u, 0u, 10u, 2u, 0u), 0xff440c0400 },		/* MAIR_EL1 */
	{ VF_SYSREG(3u, 0u, 12u, 0u, 0u), 0x40030000 },			/* VBAR_EL1 */
	{ VF_SYSREG(3u, 0u, 13u, 0u, 1u), 0x123 },			/* CONTEXTIDR_EL1 */
	{ VF_SYSREG(3u, 0u, 13u, 0u, 4u), 0xffff800012345678 },		/* TPIDR_EL1 */
	{ VF_SYSREG(3u, 3u, 13u, 0u, 2u), 0x1234567887654321 },		/* TPIDR_EL0 */
	{ VF_SYSREG(3u, 3u, 13u, 0u, 3u), 0x55 },			/* TPIDRRO_EL0 */
	{ VF_SYSREG(3u, 0u, 7u, 4u, 0u), 0x801 },			/* PAR_EL1 */
	{ VF_SYSREG(3u, 0u, 5u, 2u, 0u), 0x96000046 },			/* ESR_EL1 */
	{ VF_SYSREG(3u, 0u, 6u, 0u, 0u), 0xdead0000 },			/* FAR_EL1 */
	{ VF_SYSREG(3u, 3u, 14u, 0u, 2u), 0x7fffffffffff0000 },		/* CNTV_CVAL_EL0 */
	{ VF_SYSREG(3u, 3u, 14u, 3u, 1u), 3 },				/* CNTV_CTL_EL0: on, masked */
	{ VF_SYSREG(2u, 0u, 0u, 0u, 4u), 0x40001000 },			/* DBGBVR0_EL1 */
};

static void set_odd_vcpu(const struct vm *vm, unsigned n)
{
	struct vf_kvm_arm64_events events = { .serror_pending = 1 };

	for (unsigned i = 0; i < 31; i++)
		set_reg(vm, n, X(i), 0x0123456789abcdef * (i + 1) + n);
	set_reg(vm, n, CORE(VF_CORE_SP), 0x40100000 + n);
	set_reg(vm, n, CORE(VF_CORE_PC), 0x40000100);
	set_reg(vm, n, CORE(VF_CORE_PSTATE), 0x600003c5);
	set_reg(vm, n, CORE(VF_CORE_ELR_EL1), 0x40000200 + n);
	set_reg(vm, n, CORE(VF_CORE_SPSR), 0x800003c4);
	for (unsigned i = 0; i < 32; i++) {
		uint8_t v[16];
		struct kvm_one_reg reg = { .id = VF_REG(VF_REG_CORE, VF_REG_SIZE_U128,
			VF_CORE_VREGS + 4 * i), .addr = (uintptr_t) v };

		memset(v, (int) (0x11 + i + n), sizeof(v));
		call(vm->vcpu[n], KVM_SET_ONE_REG, &reg);
	}
	for (size_t i = 0; i < COUNT(odd_sysregs); i++)
		set_reg(vm, n, VF_REG_OF_SYSREG(odd_sysregs[i].sysreg), odd_sysregs[i].value);
	call(vm->vcpu[n], VF_KVM_SET_VCPU_EVENTS, &events);
}

static void set_odd_gic(const struct vm *vm)
{
	set_attr(vm->gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_CTLR, 0x12);
	set_attr(vm->gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_ISENABLER + 4, 0x5a);
	set_attr(vm->gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_ICFGR + 8, 0x2);
	set_attr(vm->gic, VF_VGIC_GRP_DIST_REGS, VF_GICD_ISPENDR + 4, 0x1);
}

/* Without a table there: what the guest never wrote reads otherwise once the library wrote it. */
static void set_odd_its(const struct vm *vm)
{
	set_attr(vm->its, VF_VGIC_GRP_ITS_REGS, VF_GITS_CBASER, RAM_GPA + TABLES + 0x20000);
	set_attr(vm->its, VF_VGIC_GRP_ITS_REGS, VF_GITS_BASER(0), RAM_GPA + TABLES);
	set_attr(vm->its, VF_VGIC_GRP_ITS_REGS, VF_GITS_BASER(1), RAM_GPA + TABLES + 0x10000);
}

static void set_odd_state(const struct vm *vm)
{
	set_odd_its(vm);
	for (unsigned n = 0; n < CPUS; n++)
		set_odd_vcpu(vm, n);
	set_odd_gic(vm);
}

static void everything_arrives(void **state)
{
	struct pair *p = *state;
	struct side_sections *again = calloc(1, sizeof(*again));
	const struct vferry_kvm_arm64 *from = p->source->arm64;

	set_odd_state(p->source);
	save(from, &p->sections);
	memcpy(p->target->ram, p->source->ram, RAM_BYTES);
	load(p->target->arm64, &p->sections);
	save(p->target->arm64, again);
	for (size_t i = 0; i < vferry_kvm_arm64_component_count(from); i++) {
		const char *name = vferry_kvm_arm64_component(from, i)->name;
		size_t bytes = p->sections.bytes[i];

		print_message("%s: %zu bytes\n", name, bytes);
		assert_true(bytes > 0);
		assert_int_equal(again->bytes[i], bytes);
		if (!strcmp(name, "counter"))
			continue;
		for (size_t at = 0; at < bytes; at++)
			if (p->sections.data[i][at] != again->data[i][at])
				fail_msg("%s: byte %zu is 0x%x and was 0x%x", name, at,
					 again->data[i][at], p->sections.data[i][at]);
	}
	free(again);
}

/* The values that were set are in the target's registers, not only in a section. */
static void values_are_in_the_vcpu(void **state)
{
	struct pair *p = *state;
	struct vf_kvm_arm64_events events = { 0 };
	struct kvm_mp_state mp_state;

	set_odd_state(p->source);
	save(p->source->arm64, &p->sections);
	load(p->target->arm64, &p->sections);
	assert_int_equal(get_reg(p->target, 1, X(3)), 0x0123456789abcdef * 4 + 1);
	assert_int_equal(get_reg(p->target, 1, CORE(VF_CORE_PC)), 0x40000100);
	for (size_t i = 0; i < COUNT(odd_sysregs); i++)
		if (get_reg(p->target, 1, VF_REG_OF_SYSREG(odd_sysregs[i].sysreg)) !=
		    odd_sysregs[i].value)
			fail_msg("number %zu did not arrive", i);
	call(p->target->vcpu[0], KVM_GET_MP_STATE, &mp_state);
	assert_int_equal(mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
	call(p->target->vcpu[1], KVM_GET_MP_STATE, &mp_state);
	assert_int_equal(mp_state.mp_state, KVM_MP_STATE_STOPPED);
	call(p->target->vcpu[1], VF_KVM_GET_VCPU_EVENTS, &events);
	assert_int_equal(events.serror_pending, 1);
}

/* A guest that counts goes on counting in another VM, although it was stopped in its store. */
static void guest_goes_on(void **state)
{
	struct pair *p = *state;

	start_at(p->source, counter_guest, sizeof(counter_guest));
	for (uint64_t n = 1; n <= 5; n++)
		assert_int_equal(run_to_out(p->source), n);
	complete(p->source);
	save(p->source->arm64, &p->sections);
	memcpy(p->target->ram, p->source->ram, RAM_BYTES);
	load(p->target->arm64, &p->sections);
	for (uint64_t n = 6; n <= 9; n++)
		assert_int_equal(run_to_out(p->target), n);
	assert_int_equal(run_to_out(p->source), 6);	/* saving changed nothing there */
}

/* ---- time ---- */

static uint64_t ticks(const struct vm *vm, uint64_t ns)
{
	return (uint64_t) ((unsigned __int128) ns * vm->arm64->counter_hz / VF_SECOND_NS);
}

/*
 * The guest's own reading goes on over there, where KVM made other offsets: by as much as the time
 * of day did, never back; or not at all.
 */
static void move_clock(struct pair *p, int64_t pause_ns, bool stands_still)
{
	size_t index = side_index(side_of(p->source->arm64), "counter");
	uint64_t gap = !stands_still && pause_ns > 0 ? (uint64_t) pause_ns : 0;
	uint64_t before, after, began, most;

	set_reg(p->source, 0, VF_REG_TIMER_CNT, ticks(p->source, 3600 * VF_SECOND_NS));
	start_at(p->source, clock_guest, sizeof(clock_guest));
	began = vf_realtime_ns();
	before = run_to_out(p->source);
	complete(p->source);
	save(p->source->arm64, &p->sections);
	side_make_older(p->sections.data[index], pause_ns);
	memcpy(p->target->ram, p->source->ram, RAM_BYTES);
	load(p->target->arm64, &p->sections);
	after = run_to_out(p->target);
	most = gap + vf_realtime_ns() - began;
	assert_true(after >= before + ticks(p->source, gap));
	assert_true(after <= before + ticks(p->source, most + most / 1000 + VF_SECOND_NS / 1000));
}

static void clock_goes_on(void **state)
{
	move_clock(*state, 0, false);
}

static void clock_goes_on_after_a_long_pause(void **state)
{
	move_clock(*state, 86400ll * (int64_t) VF_SECOND_NS, false);
}

static void clock_never_goes_back(void **state)
{
	move_clock(*state, -10ll * (int64_t) VF_SECOND_NS, false);
}

static void clock_stands_still(void **state)
{
	move_clock(*state, 10ll * (int64_t) VF_SECOND_NS, true);
}

/* CNTPCT goes along, as far from CNTVCT as it was. */
static void physical_counter_goes_on(void **state)
{
	struct pair *p = *state;
	uint64_t apart, before;

	if (!p->source->arm64->has_physical)
		skip();
	set_reg(p->source, 0, VF_REG_TIMER_CNT, ticks(p->source, 3600 * VF_SECOND_NS));
	set_reg(p->source, 0, VF_REG_PTIMER_CNT, ticks(p->source, 7200 * VF_SECOND_NS));
	before = get_reg(p->source, 0, VF_REG_PTIMER_CNT);
	save(p->source->arm64, &p->sections);
	load(p->target->arm64, &p->sections);
	assert_true(get_reg(p->target, 1, VF_REG_PTIMER_CNT) >= before);
	apart = get_reg(p->target, 1, VF_REG_PTIMER_CNT) - get_reg(p->target, 0, VF_REG_TIMER_CNT);
	assert_true(apart >= ticks(p->source, 3599 * VF_SECOND_NS));
	assert_true(apart <= ticks(p->source, 3601 * VF_SECOND_NS));
}

/* Time that stood still goes on from where it was, on the source. */
static void undo_puts_the_clock_back(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t saved;

	save(p->source->arm64, &p->sections);
	saved = p->source->arm64->stopped.virtual_count;
	set_reg(p->source, 0, VF_REG_TIMER_CNT, saved + ticks(p->source, 1000 * VF_SECOND_NS));
	assert_int_equal(side_run(p->source->arm64, VFERRY_UNDO_CLOCK, &p->sections, &err), 0);
	assert_true(get_reg(p->source, 0, VF_REG_TIMER_CNT) >= saved);
	assert_true(get_reg(p->source, 1, VF_REG_TIMER_CNT) <
		    saved + ticks(p->source, 500 * VF_SECOND_NS));
}

/* ---- one offset for both counters, as an embedder may choose ---- */

static void embedders_offset_is_moved(void **state)
{
	struct pair *p = *state;
	struct vf_kvm_counter_offset offset = { 0 };
	struct vm *both[] = { p->source, p->target };

	if (!ioctl(p->source->kvm, KVM_CHECK_EXTENSION, VF_KVM_CAP_COUNTER_OFFSET))
		skip();
	for (size_t i = 0; i < COUNT(both); i++) {
		offset.counter_offset = get_reg(both[i], 0, VF_REG_PTIMER_CNT) / 2 * (i + 1);
		call(both[i]->fd, VF_KVM_SET_COUNTER_OFFSET, &offset);
		vferry_kvm_arm64_free(both[i]->arm64);
		make_object(both[i], VFERRY_KVM_TIME_RUNNING);
		assert_true(both[i]->arm64->one_offset);
	}
	start_at(p->source, clock_guest, sizeof(clock_guest));
	offset.counter_offset = run_to_out(p->source);
	complete(p->source);
	save(p->source->arm64, &p->sections);
	memcpy(p->target->ram, p->source->ram, RAM_BYTES);
	load(p->target->arm64, &p->sections);
	assert_in_range(run_to_out(p->target), offset.counter_offset,
			offset.counter_offset + ticks(p->source, 100 * VF_SECOND_NS));
}

/* ---- refusals ---- */

static void same_machine_is_taken(void **state)
{
	struct pair *p = *state;
	struct vferry_reasons *reasons = calloc(1, sizeof(*reasons));
	uint8_t *identity = malloc(SIDE_SECTION);

	for (size_t i = 0; i < vferry_kvm_arm64_component_count(p->source->arm64); i++) {
		const struct vferry_component *c = vferry_kvm_arm64_component(p->source->arm64, i);
		size_t bytes = side_identity(c, identity);

		print_message("%s: identity of %zu bytes\n", c->name, bytes);
		c = side_component(side_of(p->target->arm64), c->name);
		assert_int_equal(side_check(c, identity, bytes, reasons), 0);
		if (reasons->count)
			fail_msg("%s", reasons->all);
	}
	free(identity);
	free(reasons);
}

/* Of an identity of cpu/N: where the value of a register is. */
static uint8_t *value_of(uint8_t *identity, uint64_t wanted)
{
	uint8_t *at = identity + 2 + 4;

	for (;;) {
		uint64_t id;

		memcpy(&id, at, sizeof(id));
		if (id == wanted)
			return at + 9;
		at += 9 + (at[8] ? vf_arm64_reg_bytes(id) : 0);
	}
}

/* A processor of another maker, and what was tried is put back. */
static void other_processor_is_refused(void **state)
{
	struct pair *p = *state;
	static const uint32_t changed[] = { VF_SYSREG(3u, 0u, 0u, 0u, 0u),	/* MIDR_EL1 */
		VF_SYSREG(3u, 0u, 0u, 7u, 0u) };			/* ID_AA64MMFR0_EL1 */
	const struct vferry_component *c = side_component(side_of(p->target->arm64), "cpu/0");
	struct vferry_reasons *reasons = calloc(1, sizeof(*reasons));
	uint8_t *identity = malloc(SIDE_SECTION);
	size_t bytes = side_identity(side_component(side_of(p->source->arm64), "cpu/0"), identity);
	uint64_t own[COUNT(changed)];

	for (size_t i = 0; i < COUNT(changed); i++) {
		own[i] = get_reg(p->target, 0, VF_REG_OF_SYSREG(changed[i]));
		value_of(identity, VF_REG_OF_SYSREG(changed[i]))[0] ^= 0xf;
	}
	assert_int_equal(side_check(c, identity, bytes, reasons), 0);
	print_message("%s", reasons->all);
	assert_non_null(strstr(reasons->all, "MIDR_EL1"));
	assert_non_null(strstr(reasons->all, "ID_AA64MMFR0_EL1"));
	for (size_t i = 0; i < COUNT(changed); i++)
		assert_int_equal(get_reg(p->target, 0, VF_REG_OF_SYSREG(changed[i])), own[i]);
	free(identity);
	free(reasons);
}

static void refused_value_is_named(void **state)
{
	struct pair *p = *state;
	const struct vferry_component *c = side_component(side_of(p->target->arm64), "cpu/0");
	uint8_t *section = p->sections.data[0];
	struct vferry_error err;

	save(p->source->arm64, &p->sections);
	side_value_in(section, VF_REG_OF_SYSREG(VF_SYSREG(3u, 0u, 0u, 0u, 0u)))[0] ^= 0xf;
	assert_true(side_load_bytes(c, 0, section, p->sections.bytes[0], &err) < 0);
	assert_string_equal(err.id, "cpu-register-refused");
	assert_non_null(strstr(err.message, "MIDR_EL1"));
}

static int try_config(const struct vm *vm, struct vferry_kvm_arm64_config config,
		      struct vferry_error *err)
{
	struct vferry_kvm_arm64 *arm64 = NULL;
	int ret;

	config.size = sizeof(config);
	config.kvm = vm->kvm;
	config.vm = vm->fd;
	*err = (struct vferry_error) VFERRY_ERROR_INIT;
	ret = vferry_kvm_arm64_new(&config, &arm64, err);
	assert_null(arm64);
	print_message("%s: %s\n", err->id, err->message);
	return ret;
}

static void bad_configs_are_refused(void **state)
{
	struct pair *p = *state;
	const struct vm *vm = p->source;
	struct vferry_kvm_arm64_config config = { .vcpu = vm->vcpu, .cpu_count = CPUS,
		.gic = vm->gic, .its = &vm->its, .its_count = 1 };
	struct vferry_error err;

	config.gic = vm->its;
	assert_true(try_config(vm, config, &err) < 0);
	config.gic = vm->gic;
	config.its = &vm->gic;
	assert_true(try_config(vm, config, &err) < 0);
	config.its = &vm->its;
	config.cpu_count = 0;
	assert_int_equal(try_config(vm, config, &err), -EINVAL);
}

static void vcpu_without_init_is_refused(void **state)
{
	struct pair *p = *state;
	int vm = call(p->source->kvm, KVM_CREATE_VM, NULL);
	int vcpu = call(vm, KVM_CREATE_VCPU, NULL);
	struct vferry_kvm_arm64_config config = { .size = sizeof(config), .kvm = p->source->kvm,
		.vm = vm, .vcpu = &vcpu, .cpu_count = 1, .gic = p->source->gic };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_kvm_arm64 *arm64 = NULL;

	assert_int_equal(vferry_kvm_arm64_new(&config, &arm64, &err), -EINVAL);
	assert_non_null(strstr(err.message, "KVM_ARM_VCPU_INIT"));
	close(vcpu);
	close(vm);
}

/* ---- what KVM writes itself ---- */

static bool is_reported(struct vm *vm, uint64_t offset)
{
	uint64_t words[RAM_BYTES / 4096 / 64] = { 0 };
	struct vf_ram_source *source = &vm->vram->sources[0];
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (source->ops.collect(source->ops.user, RAM_GPA, RAM_BYTES, words, &err))
		fail_msg("%s", err.message);
	return words[offset / 4096 / 64] >> offset / 4096 % 64 & 1;
}

/* An ITS saves its tables into RAM without a vCPU: with rings, too, the page is reported, once. */
static void tables_are_dirty(enum vferry_kvm_dirty dirty)
{
	struct vm *vm = vm_new(dirty, VFERRY_KVM_TIME_RUNNING);
	struct vferry_error err = VFERRY_ERROR_INIT;

	set_attr(vm->its, VF_VGIC_GRP_ITS_REGS, VF_GITS_BASER(0), 1ull << 63 | (RAM_GPA + TABLES));
	set_attr(vm->its, VF_VGIC_GRP_ITS_REGS, VF_GITS_BASER(1),
		 1ull << 63 | (RAM_GPA + TABLES + 0x10000));
	assert_int_equal(vf_ram_tracking_start(vm->vram, &err), 0);
	(void) is_reported(vm, TABLES);
	assert_false(is_reported(vm, TABLES + 0x10000));
	set_attr(vm->its, VF_VGIC_GRP_CTRL, VF_ITS_SAVE_TABLES, 0);
	assert_true(is_reported(vm, TABLES + 0x10000));
	assert_false(is_reported(vm, TABLES + 0x10000));
	vf_ram_tracking_stop(vm->vram);
	vm_free(vm);
}

static void tables_are_dirty_in_the_log(void **state)
{
	(void) state;
	tables_are_dirty(VFERRY_KVM_DIRTY_LOG);
}

static bool has_rings(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int has = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);

	close(kvm);
	return has > 0;
}

static void tables_are_dirty_beside_rings(void **state)
{
	(void) state;
	if (!has_rings())
		skip();
	tables_are_dirty(VFERRY_KVM_DIRTY_RING);
}

/* A guest that adds one to a word of a page is reported by its ring. */
static void guest_is_dirty_in_the_ring(void **state)
{
	static const uint32_t writer[] = {
		0xf9000040,	/* str x0, [x2] */
		0x91400042,	/* add x2, x2, #0, lsl #12: nothing */
		0xf9000020,	/* str x0, [x1] */
		0x17fffffd,	/* b to the first */
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vm *vm;

	(void) state;
	if (!has_rings())
		skip();
	vm = vm_new(VFERRY_KVM_DIRTY_RING, VFERRY_KVM_TIME_RUNNING);
	start_at(vm, writer, sizeof(writer));
	set_reg(vm, 0, X(2), RAM_GPA + 0x50000);
	(void) run_to_out(vm);
	assert_int_equal(vf_ram_tracking_start(vm->vram, &err), 0);
	(void) run_to_out(vm);
	assert_true(is_reported(vm, 0x50000));
	assert_false(is_reported(vm, 0x50000));
	(void) run_to_out(vm);
	assert_true(is_reported(vm, 0x50000));
	vf_ram_tracking_stop(vm->vram);
	vm_free(vm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define PAUSED(name) cmocka_unit_test_setup_teardown(name, set_up_paused, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_arrives),
		TEST(values_are_in_the_vcpu),
		TEST(guest_goes_on),
		TEST(clock_goes_on),
		TEST(clock_goes_on_after_a_long_pause),
		TEST(clock_never_goes_back),
		PAUSED(clock_stands_still),
		TEST(physical_counter_goes_on),
		PAUSED(undo_puts_the_clock_back),
		TEST(embedders_offset_is_moved),
		TEST(same_machine_is_taken),
		TEST(other_processor_is_refused),
		TEST(refused_value_is_named),
		TEST(bad_configs_are_refused),
		TEST(vcpu_without_init_is_refused),
		cmocka_unit_test(tables_are_dirty_in_the_log),
		cmocka_unit_test(tables_are_dirty_beside_rings),
		cmocka_unit_test(guest_is_dirty_in_the_ring),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		printf("/dev/kvm can't be opened: %s\n", strerror(errno));
		return SKIP;
	}
	close(kvm);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
