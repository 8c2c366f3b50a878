/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_setup.c - what is found out before anything is sent: whether a machine on the real /dev/kvm can
 * be migrated at all, and every reason why the other side can't take it.
 */
#define _GNU_SOURCE
#include "kvm/x86/tsc_probe.h"
#include "kvm_pair.h"

/* ---- identity ---- */

struct identity {
	uint8_t data[SIDE_SECTION];
	size_t bytes;
};

static void read_identity(struct vferry_kvm_x86 *x86, const char *name, struct identity *id)
{
	id->bytes = side_identity(side_component(side_of(x86), name), id->data);
}

static int check_identity(struct vferry_kvm_x86 *x86, const char *name, const struct identity *id,
			  struct vferry_reasons *reasons)
{
	return side_check(side_component(side_of(x86), name), id->data, id->bytes, reasons);
}

static void same_machine_is_taken(void **state)
{
	static const char *const names[] = { "cpu/0", "cpu/1", "clock" };
	struct pair *p = *state;
	struct vferry_reasons reasons;
	struct identity id;

	for (size_t i = 0; i < COUNT(names); i++) {
		read_identity(p->from, names[i], &id);
		assert_int_equal(check_identity(p->to, names[i], &id, &reasons), 0);
		if (reasons.count)
			fail_msg("%s", reasons.all);
		for (id.bytes--; id.bytes; id.bytes = id.bytes * 9 / 10)
			assert_int_equal(check_identity(p->to, names[i], &id, &reasons), -EINVAL);
	}
}

/* Where things are in the identity of cpu/N. */
#define ID_VENDOR	2
#define ID_KHZ		14
#define ID_MCG_CAP	18
#define ID_XSAVE	26
#define ID_CPUID	30
#define CPUID_EAX	12
#define CPUID_ECX	20

static uint8_t *cpuid_in(struct identity *id, uint32_t function)
{
	uint8_t *at = id->data + ID_CPUID + 4;

	for (uint32_t i = 0; i < vf_get_u32(id->data + ID_CPUID); i++, at += 28)
		if (vf_get_u32(at) == function)
			return at;
	fail_msg("no leaf 0x%x", function);
	return NULL;
}

/* A bit of a feature register that this host's KVM does not offer. */
static uint32_t missing_bit(struct identity *id, uint32_t function, size_t reg)
{
	uint32_t have = vf_get_u32(cpuid_in(id, function) + reg);

	for (unsigned bit = 31; bit > 4; bit--)
		if (!(have >> bit & 1))
			return bit;
	fail_msg("all there");
	return 0;
}

static struct kvm_cpuid_entry2 *leaf_of(struct kvm_cpuid_entry2 *entries, uint32_t count,
					uint32_t function)
{
	for (uint32_t i = 0; i < count; i++)
		if (entries[i].function == function)
			return &entries[i];
	fail_msg("no leaf 0x%x", function);
	return NULL;
}

/* A feature is there if KVM says so, and also if the vCPU that is there has it all the same. */
static void feature_may_be_supported_or_forced(void **state)
{
	struct pair *p = *state;
	struct vf_x86_cpu *cpu = &p->to->cpus[0];
	struct kvm_cpuid_entry2 *own, *supported;
	struct vferry_reasons reasons;
	struct identity id;
	uint8_t *leaf;
	uint32_t bit;

	read_identity(p->from, "cpu/0", &id);
	bit = 1u << missing_bit(&id, 0x80000001, CPUID_ECX);
	leaf = cpuid_in(&id, 0x80000001);
	vf_put_u32(leaf + CPUID_ECX, vf_get_u32(leaf + CPUID_ECX) | bit);
	own = leaf_of(cpu->cpuid, cpu->cpuid_count, 0x80000001);
	supported = leaf_of(p->to->supported, p->to->supported_count, 0x80000001);
	own->ecx |= bit;
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "");
	own->ecx &= ~bit;
	supported->ecx |= bit;
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "");
	supported->ecx &= ~bit;
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-feature ");
}

static void each_difference_is_a_reason(void **state)
{
	struct pair *p = *state;
	struct vferry_reasons reasons;
	struct identity good, id;
	uint32_t bit, count;
	uint8_t *leaf;
	char text[64];

	read_identity(p->from, "cpu/0", &good);
	id = good;
	memcpy(id.data + ID_VENDOR, "AnotherOne!!", 12);
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-vendor ");

	id = good;
	bit = missing_bit(&id, 0x80000001, CPUID_ECX);
	leaf = cpuid_in(&id, 0x80000001);
	vf_put_u32(leaf + CPUID_ECX, vf_get_u32(leaf + CPUID_ECX) | 1u << bit);
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-feature ");
	(void) snprintf(text, sizeof(text), "CPUID 0x80000001/0 ecx: the source's vCPU has bits %u,",
			bit);
	assert_non_null(strstr(reasons.all, text));

	id = good;
	leaf = cpuid_in(&id, 0x80000008);
	vf_put_u32(leaf + CPUID_EAX, 0xff);
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-address-bits ");

	id = good;
	vf_put_u32(id.data + ID_XSAVE, vf_get_u32(id.data + ID_XSAVE) + 64);
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-xsave ");

	id = good;
	vf_put_u32(id.data + ID_MCG_CAP, 77);
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-machine-check ");

	id = good;
	count = p->from->msrs.count;
	vf_put_u32(id.data + id.bytes - 4, 0x7777);	/* the last MSR */
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-msr ");
	assert_non_null(strstr(reasons.all, "0x7777"));
	vf_put_u32(id.data + id.bytes - 4 * count - 4, count + 1);
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), -EINVAL);

	id = good;
	vf_put_u32(id.data + ID_KHZ, vf_get_u32(id.data + ID_KHZ) * 2);
	vf_put_u32(id.data + ID_XSAVE, 1u << 30);
	p->to->tsc_scales = false;
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-xsave cpu-tsc-frequency ");	/* all of them */
	p->to->tsc_scales = true;
	assert_int_equal(check_identity(p->to, "cpu/0", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "cpu-xsave ");
}

/* The clock's identity of another machine, as its source would have said it. */
static void clock_is_compared(void **state)
{
	struct pair *p = *state;
	struct vferry_kvm_x86 *from = p->from, *to = p->to;
	struct vferry_reasons reasons;
	struct identity id;

	from->cpu_count = 1;
	from->irqchip = VFERRY_KVM_IRQCHIP_SPLIT;
	from->pit = false;
	read_identity(from, "clock", &id);
	from->cpu_count = RIG_CPUS;
	assert_int_equal(check_identity(to, "clock", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "kvm-vcpus kvm-irqchip kvm-pit ");
	from->irqchip = VFERRY_KVM_IRQCHIP_KERNEL;
	from->pit = true;

	/* A TSC that can't be moved here must be right already. */
	to->tsc_moves = false;
	from->tsc_moves = false;
	(void) strcpy(from->boot_id, "another boot");
	read_identity(from, "clock", &id);
	assert_int_equal(check_identity(to, "clock", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "kvm-tsc ");
	(void) strcpy(from->boot_id, to->boot_id);
	from->tsc_moves = true;
	read_identity(from, "clock", &id);
	assert_int_equal(check_identity(to, "clock", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "kvm-tsc ");
	from->time = VFERRY_KVM_TIME_PAUSED;
	read_identity(from, "clock", &id);
	assert_int_equal(check_identity(to, "clock", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "kvm-time ");
	to->tsc_moves = true;
	assert_int_equal(check_identity(to, "clock", &id, &reasons), 0);
	assert_string_equal(reasons.ids, "");
}

/* ---- making one ---- */

static void refused(const struct vferry_kvm_x86_config *config, int code, const char *id)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_kvm_x86 *x86 = NULL;

	assert_int_equal(vferry_kvm_x86_new(config, &x86, &err), code);
	assert_null(x86);
	assert_string_equal(err.id, id);
	assert_string_not_equal(err.message, "");
}

static void wrong_configs_are_refused(void **state)
{
	struct pair *p = *state;
	struct vferry_kvm_x86_config config = rig_config(p->source);
	struct kvm_rig bare = { 0 };

	config.pit = false;
	refused(&config, -EINVAL, "kvm-config");
	config = rig_config(p->source);
	config.irqchip = VFERRY_KVM_IRQCHIP_SPLIT;
	refused(&config, -EINVAL, "kvm-config");
	config.pit = false;
	refused(&config, -EINVAL, "kvm-config");
	config = rig_config(p->source);
	config.cpu_count = 0;
	refused(&config, -EINVAL, "kvm-config");
	config.cpu_count = VFERRY_KVM_CPUS_MAX + 1;
	refused(&config, -EINVAL, "kvm-config");
	config = rig_config(p->source);
	config.size--;
	refused(&config, -EINVAL, "kvm-config");
	refused(NULL, -EINVAL, "kvm-config");

	rig_make_vm(&bare);
	rig_make_vcpu(&bare, 0);
	config = rig_config(&bare);
	config.cpu_count = 1;
	refused(&config, -EINVAL, "kvm-config");	/* no CPUID yet */
	munmap(bare.run[0], bare.run_bytes);
	close(bare.vcpu[0]);
	close(bare.vm);
	close(bare.kvm);
}

/* With a split irqchip there are no chips to be saved, and a PIT makes no sense. */
static void split_irqchip_has_lapics_only(void **state)
{
	struct kvm_rig rig = { 0 };
	struct vferry_kvm_x86_config config;
	struct side_sections *sections = calloc(1, sizeof(*sections));
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_kvm_x86 *x86 = NULL;

	(void) state;
	rig_make_vm_of(&rig, true);
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		rig_make_vcpu(&rig, i);
		rig_set_cpuid(&rig, i);
	}
	config = rig_config(&rig);
	config.pit = false;
	refused(&config, -EINVAL, "kvm-config");	/* it says that it is in the kernel */
	config.irqchip = VFERRY_KVM_IRQCHIP_SPLIT;
	if (vferry_kvm_x86_new(&config, &x86, &err))
		fail_msg("%s", err.message);
	assert_int_equal(vferry_kvm_x86_component_count(x86), 2 * RIG_CPUS + 1);
	assert_null(vferry_kvm_x86_component(x86, 2 * RIG_CPUS + 1));
	assert_int_equal(side_run_class(side_of(x86), VFERRY_SAVE_LAPIC, sections, &err), 0);
	assert_int_equal(side_run_class(side_of(x86), VFERRY_LOAD_LAPIC, sections, &err), 0);
	vferry_kvm_x86_free(x86);
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		munmap(rig.run[i], rig.run_bytes);
		close(rig.vcpu[i]);
	}
	close(rig.vm);
	close(rig.kvm);
	free(sections);
}

static void paused_time_needs_a_tsc_that_moves(void **state)
{
	struct pair *p = *state;
	struct vferry_kvm_x86_config config = rig_config(p->source);
	struct vferry_kvm_x86 *x86 = NULL;

	config.time = VFERRY_KVM_TIME_PAUSED;
	if (!p->from->tsc_moves) {
		refused(&config, -ENOTSUP, "kvm-time");
		return;
	}
	assert_int_equal(vferry_kvm_x86_new(&config, &x86, NULL), 0);
	vferry_kvm_x86_free(x86);
}

/* An offset that does not even read back has no effect, so the guest can't have seen one. */
static void tsc_probe_agrees_with_kvm(void **state)
{
	struct pair *p = *state;
	uint64_t offset = 0;
	bool moves = false;

	assert_int_equal(vf_x86_tsc_probe(p->source->kvm, &moves, NULL), 0);
	assert_int_equal(moves, p->from->tsc_moves);
	if (!vf_x86_tsc_offset_set(p->source->vcpu[0], 1ull << 48) &&
	    !vf_x86_tsc_offset_get(p->source->vcpu[0], &offset) && offset == 1ull << 48)
		return;
	assert_false(moves);
}

static void tsc_is_judged(void **state)
{
	const uint64_t offset = 1ull << 48, now = 1ull << 44;

	(void) state;
	assert_true(vf_x86_tsc_moved(now, now + offset + 500, now + 1000, offset));
	assert_true(vf_x86_tsc_moved(5, 7 + offset, 9, offset));
	assert_false(vf_x86_tsc_moved(now, now + 500, now + 1000, offset));
	assert_false(vf_x86_tsc_moved(now, now - offset, now + 1000, offset));
	assert_false(vf_x86_tsc_moved(now, 0, now + 1000, offset));
	assert_false(vf_x86_tsc_moved(now, offset, now + 1000, offset));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(same_machine_is_taken),
		TEST(feature_may_be_supported_or_forced),
		TEST(each_difference_is_a_reason),
		TEST(clock_is_compared),
		TEST(wrong_configs_are_refused),
		cmocka_unit_test(split_irqchip_has_lapics_only),
		TEST(paused_time_needs_a_tsc_that_moves),
		TEST(tsc_probe_agrees_with_kvm),
		cmocka_unit_test(tsc_is_judged),
	};

	if (!rig_possible())
		return RIG_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
