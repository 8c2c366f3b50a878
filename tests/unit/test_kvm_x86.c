/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_x86.c - the state of an x86-64 machine on the real /dev/kvm: what is saved of one VM arrives
 * in another, a guest goes on there, and what is damaged on the way is refused by name.
 */
#define _GNU_SOURCE
#include "base/clock.h"
#include "kvm_pair.h"

/* ---- state ---- */

static void set_msr(int vcpu, uint32_t index, uint64_t value)
{
	if (vf_x86_msr_set(vcpu, index, value))
		fail_msg("MSR 0x%x does not take 0x%llx", index, (unsigned long long) value);
}

static void set_odd_sregs(int vcpu, unsigned n)
{
	struct kvm_sregs2 sregs;

	rig_call(vcpu, KVM_GET_SREGS2, &sregs);
	sregs.gdt.base = 0x1230 + n;
	sregs.gdt.limit = 0x77;
	sregs.idt.base = 0x4560;
	sregs.idt.limit = 0xfff;
	sregs.ldt.base = 0x5000;
	sregs.ldt.limit = 0xff;
	sregs.fs.base = 0x7f0000001000;
	sregs.cr2 = 0xdead000 + n;
	sregs.cr8 = 3;
	rig_call(vcpu, KVM_SET_SREGS2, &sregs);
}

static void set_odd_registers(int vcpu, unsigned n)
{
	struct kvm_regs regs = { .rip = 0x123456 + n, .rflags = 0x246 };
	struct kvm_debugregs debug = { .db = { 0x1000, 0, 0, 0x2000 + n }, .dr6 = 0xffff0ff1,
		.dr7 = 0x401 };
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state = { .mp_state = n ? KVM_MP_STATE_HALTED :
						     KVM_MP_STATE_RUNNABLE };
	uint64_t *general = (uint64_t *) &regs;

	for (unsigned i = 0; i < 16; i++)
		general[i] = 0x0123456789abcdef * (i + 1) + n;
	rig_call(vcpu, KVM_SET_REGS, &regs);
	rig_call(vcpu, KVM_SET_DEBUGREGS, &debug);
	rig_call(vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.nmi.pending = 1;
	events.nmi.masked = 1;
	events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	rig_call(vcpu, KVM_SET_VCPU_EVENTS, &events);
	rig_call(vcpu, KVM_SET_MP_STATE, &mp_state);
}

/* x87 and SSE, as every processor has them. */
static void set_odd_fpu(const struct kvm_rig *rig, unsigned n)
{
	uint32_t bytes = (uint32_t) ioctl(rig->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0].value = 3 };
	uint8_t *xsave = calloc(1, bytes);
	const uint16_t control = 0x27f;
	const uint32_t mxcsr = 0x1fa0;

	rig_call(rig->vcpu[n], KVM_GET_XSAVE2, xsave);
	memcpy(xsave, &control, sizeof(control));
	memcpy(xsave + 24, &mxcsr, sizeof(mxcsr));
	for (unsigned i = 160; i < 416; i++)	/* XMM0..XMM15 */
		xsave[i] = (uint8_t) (3 * i + n);
	xsave[512] = 3;				/* both in use */
	rig_call(rig->vcpu[n], KVM_SET_XSAVE, xsave);
	rig_call(rig->vcpu[n], KVM_SET_XCRS, &xcrs);
	free(xsave);
}

static void set_lapic_register(struct kvm_lapic_state *lapic, unsigned offset, uint32_t value)
{
	memcpy(lapic->regs + offset, &value, sizeof(value));
}

static void set_odd_lapic(int vcpu, unsigned n)
{
	struct kvm_lapic_state lapic;

	rig_call(vcpu, KVM_GET_LAPIC, &lapic);
	set_lapic_register(&lapic, 0xf0, 0x1ff);		/* enabled, spurious vector */
	set_lapic_register(&lapic, 0x320, 0x40000 | 0xec);	/* timer: TSC deadline */
	set_lapic_register(&lapic, 0x3e0, 0xb);
	set_lapic_register(&lapic, 0x210, 0x4 << n);		/* IRR: vector 0x22 + n */
	set_lapic_register(&lapic, 0x110, 0x8);			/* ISR */
	set_lapic_register(&lapic, 0x80, 0x20);			/* TPR */
	rig_call(vcpu, KVM_SET_LAPIC, &lapic);
	set_msr(vcpu, VF_MSR_TSC_DEADLINE, (1ull << 62) + n);
}

static void set_odd_chips(int vm)
{
	struct kvm_irqchip pic = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	struct kvm_irqchip ioapic = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_pit_state2 pit;

	rig_call(vm, KVM_GET_IRQCHIP, &pic);
	pic.chip.pic.imr = 0xfb;
	pic.chip.pic.irq_base = 0x20;
	pic.chip.pic.elcr = 0x20;
	rig_call(vm, KVM_SET_IRQCHIP, &pic);
	rig_call(vm, KVM_GET_IRQCHIP, &ioapic);
	for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		ioapic.chip.ioapic.redirtbl[i].bits = 0x10000 | (0x30 + i);
	ioapic.chip.ioapic.ioregsel = 3;
	ioapic.chip.ioapic.id = 5;
	rig_call(vm, KVM_SET_IRQCHIP, &ioapic);
	rig_call(vm, KVM_GET_PIT2, &pit);
	pit.channels[0].count = 1193;
	pit.channels[0].mode = 2;
	pit.channels[2].count = 777;
	pit.channels[2].gate = 1;
	pit.flags = KVM_PIT_FLAGS_HPET_LEGACY;	/* keeps the timer from ticking into the PIC */
	rig_call(vm, KVM_SET_PIT2, &pit);
}

static void set_odd_state(const struct kvm_rig *rig)
{
	for (unsigned n = 0; n < RIG_CPUS; n++) {
		int vcpu = rig->vcpu[n];

		set_odd_sregs(vcpu, n);
		set_msr(vcpu, 0xc0000082, 0xffffffff81000000 + n);	/* LSTAR */
		set_msr(vcpu, 0xc0000081, 0x23001000000000);		/* STAR */
		set_msr(vcpu, 0xc0000102, 0xffff888000000000 + n);	/* kernel GS base */
		set_msr(vcpu, 0x174, 0x10);				/* SYSENTER_CS */
		set_msr(vcpu, 0x277, 0x0007040600070406 + (n << 8));	/* PAT */
		set_msr(vcpu, 0x2ff, 0xc06);				/* MTRRs on, write-back */
		set_msr(vcpu, 0x200, 0xc0000000);
		set_msr(vcpu, 0x201, 0xffc0000800);
		set_msr(vcpu, 0x268, 0x0606060606060606);
		set_msr(vcpu, 0x401, 0xb200000000000000);		/* a machine check */
		set_odd_lapic(vcpu, n);
		set_odd_fpu(rig, n);
		set_odd_registers(vcpu, n);
	}
	set_odd_chips(rig->vm);
}

/* Not compared: the TSC behind the LAPIC's registers, which moved on. PPR is KVM's to compute. */
#define LAPIC_TSC_AT	(4 + 1024 + 8)

static void everything_arrives(void **state)
{
	struct pair *p = *state;
	struct side_sections *again = calloc(1, sizeof(*again));

	set_odd_state(p->source);
	rig_save(p->from, &p->sections);
	rig_load(p->to, &p->sections);
	rig_save(p->to, again);
	for (size_t i = 0; i < vferry_kvm_x86_component_count(p->from); i++) {
		const char *name = vferry_kvm_x86_component(p->from, i)->name;
		size_t bytes = p->sections.bytes[i];

		assert_true(bytes > 0);
		assert_int_equal(again->bytes[i], bytes);
		if (!strcmp(name, "clock"))
			continue;
		if (!strncmp(name, "lapic/", 6))
			bytes = LAPIC_TSC_AT;
		if (memcmp(p->sections.data[i], again->data[i], bytes)) {
			size_t at = 0;

			while (p->sections.data[i][at] == again->data[i][at])
				at++;
			fail_msg("%s: byte %zu is 0x%x and was 0x%x", name, at, again->data[i][at],
				 p->sections.data[i][at]);
		}
	}
	free(again);
}

/* The values that were set are in the target's registers, not only in a section. */
static void values_are_in_the_vcpu(void **state)
{
	static const struct {
		uint32_t index;
		uint64_t value;
	} msrs[] = {
		{ 0xc0000082, 0xffffffff81000001 }, { 0x277, 0x0007040600070506 },
		{ 0x2ff, 0xc06 }, { 0x200, 0xc0000000 }, { 0x268, 0x0606060606060606 },
		{ 0x401, 0xb200000000000000 }, { VF_MSR_TSC_DEADLINE, (1ull << 62) + 1 },
	};
	struct pair *p = *state;
	struct kvm_regs regs, want;
	struct kvm_mp_state mp_state;

	set_odd_state(p->source);
	rig_save(p->from, &p->sections);
	rig_load(p->to, &p->sections);
	rig_call(p->source->vcpu[1], KVM_GET_REGS, &want);
	rig_call(p->target->vcpu[1], KVM_GET_REGS, &regs);
	assert_memory_equal(&regs, &want, sizeof(regs));
	assert_int_equal(regs.rip, 0x123457);
	rig_call(p->target->vcpu[1], KVM_GET_MP_STATE, &mp_state);
	assert_int_equal(mp_state.mp_state, KVM_MP_STATE_HALTED);
	for (size_t i = 0; i < COUNT(msrs); i++) {
		uint64_t value = 0;

		assert_int_equal(vf_x86_msr_get(p->target->vcpu[1], msrs[i].index, &value), 0);
		if (value != msrs[i].value)
			fail_msg("MSR 0x%x is 0x%llx", msrs[i].index, (unsigned long long) value);
	}
}

/*
 * A guest that counts and puts each number out goes on counting in another VM, although it was
 * stopped in the middle of its OUT.
 */
static void guest_goes_on(void **state)
{
	static const uint8_t counter[] = {
		0xfe, 0xc0,	/* inc %al */
		0xe6, 0x10,	/* out %al, $0x10 */
		0xeb, 0xfa,	/* jmp to the inc */
	};
	struct pair *p = *state;

	memcpy(p->source->ram + 0x1000, counter, sizeof(counter));
	rig_start_at(p->source, 0, 0x1000);
	for (uint8_t n = 1; n <= 5; n++)
		assert_int_equal(rig_run_to_out(p->source, 0), n);
	rig_complete(p->source, 0);
	rig_save(p->from, &p->sections);
	memcpy(p->target->ram, p->source->ram, RIG_RAM);
	rig_load(p->to, &p->sections);
	for (uint8_t n = 6; n <= 9; n++)
		assert_int_equal(rig_run_to_out(p->target, 0), n);
	assert_int_equal(rig_run_to_out(p->source, 0), 6);	/* saving changed nothing there */
}

static uint64_t kvm_clock(const struct kvm_rig *rig)
{
	struct kvm_clock_data data = { 0 };

	rig_call(rig->vm, KVM_GET_CLOCK, &data);
	return data.clock;
}

/* KVM's clock goes on over there by as much as the time of day did, and never back. */
static void clock_goes_on(void **state)
{
	const int64_t pauses[] = { 0, 10ll * 1000000000, -10ll * 1000000000 };
	struct pair *p = *state;
	struct kvm_clock_data hour = { .clock = 3600ull * 1000000000 };
	uint8_t *section = p->sections.data[side_index(side_of(p->from), "clock")];

	for (size_t i = 0; i < COUNT(pauses); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		uint64_t gap = pauses[i] > 0 ? (uint64_t) pauses[i] : 0;
		uint64_t before, after, began, most;

		rig_call(p->source->vm, KVM_SET_CLOCK, &hour);
		began = vf_realtime_ns();
		before = kvm_clock(p->source);
		rig_save(p->from, &p->sections);
		side_make_older(section, pauses[i]);
		assert_int_equal(side_run_class(side_of(p->to), VFERRY_LOAD_CLOCK, &p->sections,
				 &err), 0);
		after = kvm_clock(p->target);
		most = gap + vf_realtime_ns() - began;
		assert_true(after >= before + gap);
		assert_true(after <= before + most + most / 1000 + 1000000); /* slewed, rounded */
	}
}

/* RAM is in place before the vCPUs are: loading them writes nothing into it. */
static void ram_is_left_alone(void **state)
{
	struct pair *p = *state;
	uint8_t *before = malloc(RIG_RAM);

	set_odd_state(p->source);
	set_msr(p->source->vcpu[0], VF_MSR_WALL_CLOCK, 0x3000);
	set_msr(p->source->vcpu[0], 0x4b564d01, 0x4000 | 1);	/* system time, on */
	rig_save(p->from, &p->sections);
	memset(p->target->ram, 0x5a, RIG_RAM);
	memcpy(before, p->target->ram, RIG_RAM);
	rig_load(p->to, &p->sections);
	assert_memory_equal(before, p->target->ram, RIG_RAM);
	free(before);
}

static void unknown_undo_is_nothing(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t before = kvm_clock(p->source);

	assert_int_equal(side_run_class(side_of(p->from), VFERRY_UNDO_CLOCK, &p->sections,
			 &err), 0);
	rig_save(p->from, &p->sections);
	assert_int_equal(side_run_class(side_of(p->from), VFERRY_UNDO_CLOCK, &p->sections,
			 &err), 0);
	assert_true(kvm_clock(p->source) >= before);
}

/* ---- damage ---- */

/* Every step of every component refuses its section if it is shorter or longer by any number. */
static void cut_sections_are_refused(void **state)
{
	struct pair *p = *state;
	uint8_t *copy = calloc(1, SIDE_SECTION + 1);
	struct vferry_error err;

	rig_save(p->from, &p->sections);
	for (size_t i = 0; i < vferry_kvm_x86_component_count(p->to); i++) {
		const struct vferry_component *c = vferry_kvm_x86_component(p->to, i);
		size_t bytes = p->sections.bytes[i];

		memcpy(copy, p->sections.data[i], bytes);
		copy[bytes] = 0;
		for (size_t n = 0; side_load_step(c, n); n++) {
			for (size_t cut = 0; cut < bytes; cut += cut < 200 || bytes - cut < 40 ? 1 : 37)
				assert_int_equal(side_load_bytes(c, n, copy, cut, &err), -EINVAL);
			assert_int_equal(side_load_bytes(c, n, copy, bytes + 1, &err), -EINVAL);
			assert_string_not_equal(err.message, "");
		}
	}
	free(copy);
}

/* Of a section of cpu/N: where its first register set begins. */
static size_t sets_at(const uint8_t *section)
{
	return 16 + vf_get_u32(section + 12) * 28ul;
}

static size_t xsave_at(const uint8_t *section)
{
	size_t at = sets_at(section);

	for (int i = 0; i < 6; i++)
		at += 4 + vf_get_u32(section + at);
	return at;
}

/* The entry of an MSR, or of the first one if @index is 0. */
static uint8_t *msr_in(uint8_t *section, uint32_t index)
{
	uint8_t *at = section + xsave_at(section);
	uint32_t count;

	at += 4 + vf_get_u32(at);
	count = vf_get_u32(at);
	at += 4;
	for (uint32_t i = 0; i < count; i++, at += 12)
		if (!index || vf_get_u32(at) == index)
			return at;
	fail_msg("MSR 0x%x is not in the section", index);
	return NULL;
}

static void register_sets_of_other_sizes_are_refused(void **state)
{
	struct pair *p = *state;
	const struct vferry_component *c = vferry_kvm_x86_component(p->to, 0);
	uint8_t *section = p->sections.data[0];
	struct vferry_error err;
	size_t at;

	rig_save(p->from, &p->sections);
	at = sets_at(section);
	for (int i = 0; i < 7; i++) {
		uint32_t bytes = vf_get_u32(section + at);

		vf_put_u32(section + at, bytes + 8);
		assert_int_equal(side_load_bytes(c, 2, section, p->sections.bytes[0], &err), -EINVAL);
		assert_string_equal(err.id, "cpu-register-set");
		vf_put_u32(section + at, bytes);
		at += 4 + bytes;
	}
	assert_int_equal(side_load_bytes(c, 0, section, p->sections.bytes[0], &err), 0);
}

static void msr_that_is_refused_is_named(void **state)
{
	struct pair *p = *state;
	const struct vferry_component *c = vferry_kvm_x86_component(p->to, 0);
	uint8_t *section = p->sections.data[0];
	uint64_t value = 0x1000;	/* a reserved bit of the MTRRs' default type */
	struct vferry_error err;

	rig_save(p->from, &p->sections);
	memcpy(msr_in(section, 0x2ff) + 4, &value, sizeof(value));
	assert_int_equal(side_load_bytes(c, 0, section, p->sections.bytes[0], &err), 0);
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0], &err), -EINVAL);
	assert_string_equal(err.id, "cpu-msr-refused");
	assert_non_null(strstr(err.message, "MSR 0x2ff does not take 0x1000"));
}

static void unknown_msr_is_never_written(void **state)
{
	struct pair *p = *state;
	const struct vferry_component *c = vferry_kvm_x86_component(p->to, 0);
	uint8_t *section = p->sections.data[0];
	struct vferry_error err;

	rig_save(p->from, &p->sections);
	vf_put_u32(msr_in(section, 0), VF_MSR_TSC);	/* there is such a one, but not for this */
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0], &err), -EINVAL);
	assert_string_equal(err.id, "cpu-msr-unknown");
	vf_put_u32(msr_in(section, VF_MSR_TSC), 0x2ff);	/* and none comes twice */
	assert_int_equal(side_load_bytes(c, 1, section, p->sections.bytes[0], &err), -EINVAL);
	assert_string_equal(err.id, "cpu-section-damaged");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_arrives),
		TEST(values_are_in_the_vcpu),
		TEST(guest_goes_on),
		TEST(clock_goes_on),
		TEST(ram_is_left_alone),
		TEST(unknown_undo_is_nothing),
		TEST(cut_sections_are_refused),
		TEST(register_sets_of_other_sizes_are_refused),
		TEST(msr_that_is_refused_is_named),
		TEST(unknown_msr_is_never_written),
	};

	if (!rig_possible())
		return RIG_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
