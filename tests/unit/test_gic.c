/* SPDX-License-Identifier: MIT */
/*
 * test_gic.c - the GIC model where a scenario can't look: callbacks, threads, the guest's
 * registers, priorities, the host without a GIC. What answers to which call is
 * tests/scenarios/gic.scenario.
 */
#define _GNU_SOURCE
#include <linux/kvm.h>

#include "gic_machine.h"

_Static_assert(VF_KVM_DEV_VGIC_V3 == KVM_DEV_TYPE_ARM_VGIC_V3, "as the host's header");
_Static_assert(VF_KVM_DEV_VGIC_ITS == KVM_DEV_TYPE_ARM_VGIC_ITS, "as the host's header");
_Static_assert(VF_KVM_ROUTING_IRQCHIP == KVM_IRQ_ROUTING_IRQCHIP, "as the host's header");
_Static_assert(VF_KVM_ROUTING_MSI == KVM_IRQ_ROUTING_MSI, "as the host's header");
_Static_assert(VF_KVM_MSI_VALID_DEVID == KVM_MSI_VALID_DEVID, "as the host's header");
_Static_assert(VF_KVM_IRQFD_DEASSIGN == KVM_IRQFD_FLAG_DEASSIGN, "as the host's header");
_Static_assert(VF_KVM_IRQFD_RESAMPLE == KVM_IRQFD_FLAG_RESAMPLE, "as the host's header");

static struct gic_machine *booted(enum soft_gic_kind kind)
{
	struct gic_machine *m = machine_create(kind, CPUS, true);

	guest_boot(m);
	machine_connect(m);
	return m;
}

static void test_config_is_checked(void **state)
{
	struct soft_gic_config config = { .size = sizeof(config), .kind = SOFT_GIC_V3,
		.read = machine_read, .write = machine_write };
	struct soft_gic_config bad = config;
	enum soft_gic_kind kind;
	struct soft_gic *gic;

	(void) state;
	assert_int_equal(soft_gic_new(NULL, &gic), -EINVAL);
	bad.read = NULL;
	assert_int_equal(soft_gic_new(&bad, &gic), -EINVAL);
	bad = config;
	bad.kind = (enum soft_gic_kind) 4;
	assert_int_equal(soft_gic_new(&bad, &gic), -EINVAL);
	bad = config;
	bad.size = 4;
	assert_int_equal(soft_gic_new(&bad, &gic), -EINVAL);
	assert_int_equal(soft_gic_kind_parse("v4.1", &kind), 0);
	assert_int_equal(kind, SOFT_GIC_V4_1);
	assert_string_equal(soft_gic_kind_name(SOFT_GIC_OFF), "off");
	assert_int_equal(soft_gic_kind_parse("v5", &kind), -EINVAL);
	assert_null(soft_gic_free(NULL));
}

static void test_host_without_gic(void **state)
{
	struct soft_gic_config config = { .size = sizeof(config), .kind = SOFT_GIC_OFF,
		.read = machine_read, .write = machine_write };
	struct soft_gic *gic;

	(void) state;
	assert_int_equal(soft_gic_new(&config, &gic), 0);
	assert_int_equal(soft_gic_vcpu_create(gic), 0);
	assert_int_equal(soft_gic_device_create(gic, VF_KVM_DEV_VGIC_V3), -ENODEV);
	assert_int_equal(soft_gic_device_create(gic, VF_KVM_DEV_VGIC_ITS), -ENODEV);
	assert_int_equal(soft_gic_vcpu_enter(gic, 0, true), 0);
	soft_gic_vcpu_leave(gic, 0);
	assert_int_equal(soft_gic_vector_set(gic, 7), 0);
	assert_int_equal(soft_gic_irqfd(gic, 7, 40, 0), -EAGAIN);
	assert_int_equal(soft_gic_fire(gic, 7), SOFT_GIC_SENT_KEPT);
	assert_int_equal(soft_gic_event_count(gic, 7), 1);
	assert_int_equal(soft_gic_ack(gic, 0), SOFT_GIC_SPURIOUS);
	assert_int_equal(soft_gic_signal_msi(gic, DOORBELL, 0, 0, 1), -EINVAL);
	soft_gic_free(gic);
}

static void test_kick_comes_once_and_to_the_right_cpu(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V4_0);

	(void) state;
	m->ask_in_kick = true;
	memset(m->kicks, 0, sizeof(m->kicks));
	assert_int_equal(soft_gic_fire(m->gic, 2), SOFT_GIC_SENT_FORWARDED);
	assert_int_equal(m->kicks[0], 0);
	assert_int_equal(m->kicks[1], 1);
	assert_int_equal(soft_gic_fire(m->gic, 2), SOFT_GIC_SENT_FORWARDED);
	assert_int_equal(m->kicks[1], 1);	/* pending already */
	assert_int_equal(guest_take(m, 1), 8193);
	assert_int_equal(soft_gic_fire(m->gic, 2), SOFT_GIC_SENT_FORWARDED);
	assert_int_equal(m->kicks[1], 2);
	assert_int_equal(guest_take(m, 1), 8193);
	/* What a vCPU does to itself doesn't wake it; what is masked wakes nobody. */
	assert_int_equal(soft_gic_icc_write(m->gic, 1, VF_ICC_PMR_EL1, 0x10), 0);
	assert_int_equal(soft_gic_fire(m->gic, 2), SOFT_GIC_SENT_FORWARDED);
	assert_false(soft_gic_pending(m->gic, 1));
	assert_int_equal(soft_gic_icc_write(m->gic, 1, VF_ICC_PMR_EL1, 0xf0), 0);
	assert_true(soft_gic_pending(m->gic, 1));
	assert_int_equal(m->kicks[1], 2);
	machine_free(m);
}

static void test_priorities_preempt(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V3);

	(void) state;
	guest_store(m, DIST + VF_GICD_ISENABLER + 4, 4, 7);
	guest_store(m, DIST + VF_GICD_IPRIORITYR + 32, 1, 0x80);
	guest_store(m, DIST + VF_GICD_IPRIORITYR + 33, 1, 0x40);
	guest_store(m, DIST + VF_GICD_IPRIORITYR + 34, 1, 0x80);
	assert_int_equal(guest_load(m, DIST + VF_GICD_IPRIORITYR + 32, 4), 0x804080);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 32, true), 0);
	assert_int_equal(soft_gic_ack(m->gic, 0), 32);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 34, true), 0);
	/* Not better than what runs. */
	assert_int_equal(soft_gic_ack(m->gic, 0), SOFT_GIC_SPURIOUS);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 33, true), 0);
	assert_int_equal(soft_gic_ack(m->gic, 0), 33);
	assert_int_equal(guest_load(m, DIST + VF_GICD_ISACTIVER + 4, 4), 3);
	soft_gic_eoi(m->gic, 0, 33);
	assert_int_equal(guest_load(m, DIST + VF_GICD_ISACTIVER + 4, 4), 1);
	assert_int_equal(soft_gic_ack(m->gic, 0), SOFT_GIC_SPURIOUS);
	soft_gic_eoi(m->gic, 0, 32);
	assert_int_equal(guest_take(m, 0), 34);
	machine_free(m);
}

static void test_split_end_of_interrupt(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V3);

	(void) state;
	assert_int_equal(soft_gic_icc_write(m->gic, 0, VF_ICC_CTLR_EL1, 2), 0);
	guest_store(m, DIST + VF_GICD_ISENABLER + 4, 4, 1);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 32, true), 0);
	assert_int_equal(soft_gic_ack(m->gic, 0), 32);
	soft_gic_eoi(m->gic, 0, 32);
	assert_int_equal(guest_load(m, DIST + VF_GICD_ISACTIVER + 4, 4), 1);
	soft_gic_deactivate(m->gic, 0, 32);
	assert_int_equal(guest_load(m, DIST + VF_GICD_ISACTIVER + 4, 4), 0);
	machine_free(m);
}

static void test_private_interrupts(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V3);
	uint64_t sgi = RD(1) + VF_GICR_SGI_BASE;

	(void) state;
	assert_int_equal(soft_gic_sgi(m->gic, 1, 3), 0);
	assert_int_equal(guest_take(m, 0), SOFT_GIC_SPURIOUS);
	assert_int_equal(guest_take(m, 1), 3);
	assert_int_equal(soft_gic_sgi(m->gic, 1, 16), -EINVAL);
	assert_int_equal(soft_gic_sgi(m->gic, 2, 3), -EINVAL);

	guest_store(m, sgi + VF_GICD_ISENABLER, 4, 1u << 27);	/* the timer's PPI, a level */
	assert_int_equal(soft_gic_irq_line(m->gic, 1, 27, true), 0);
	assert_int_equal(guest_load(m, sgi + VF_GICD_ISPENDR, 4), 1u << 27);
	assert_int_equal(guest_take(m, 1), 27);
	assert_int_equal(guest_take(m, 1), 27);
	assert_int_equal(soft_gic_irq_line(m->gic, 1, 27, false), 0);
	assert_int_equal(guest_take(m, 1), SOFT_GIC_SPURIOUS);
	guest_store(m, sgi + VF_GICD_ICENABLER, 4, 1u << 27);
	assert_int_equal(soft_gic_irq_line(m->gic, 1, 27, true), 0);
	assert_int_equal(guest_take(m, 1), SOFT_GIC_SPURIOUS);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 15, true), -EINVAL);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 96, true), -EINVAL);
	machine_free(m);
}

static void test_routing_of_spis(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V3);

	(void) state;
	guest_store(m, DIST + VF_GICD_ISENABLER + 4, 4, 1);
	guest_store(m, DIST + VF_GICD_IROUTER + 32 * 8, 8, 1);
	assert_int_equal(guest_load(m, DIST + VF_GICD_IROUTER + 32 * 8, 8), 1);
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 32, true), 0);
	assert_int_equal(guest_take(m, 0), SOFT_GIC_SPURIOUS);
	assert_int_equal(guest_take(m, 1), 32);
	guest_store(m, DIST + VF_GICD_IROUTER + 32 * 8, 8, 9);	/* no such CPU: to nobody */
	assert_int_equal(soft_gic_irq_line(m->gic, 0, 32, true), 0);
	assert_int_equal(guest_take(m, 1), SOFT_GIC_SPURIOUS);
	machine_free(m);
}

static void test_accesses_of_any_width(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V3);
	uint64_t value = 1;

	(void) state;
	assert_int_equal(guest_load(m, DIST + 0xffe8, 4), 0x3b);
	assert_int_equal(guest_load(m, ITS + VF_GITS_TYPER, 8), 0x1ef71);
	assert_int_equal(guest_load(m, ITS + VF_GITS_TYPER + 4, 4), 0);
	assert_int_equal(guest_load(m, RD(1) + VF_GICR_TYPER, 8), 0x100000111);
	assert_int_equal(guest_load(m, RD(1) + VF_GICR_TYPER + 4, 4), 1);
	assert_int_equal(guest_load(m, DIST + 0x40, 4), 0);	/* no register: zero */
	assert_int_equal(guest_load(m, DIST + 1, 2), 0);
	guest_store(m, DIST + 0x40, 8, 1);
	guest_store(m, ITS + VF_GITS_TRANSLATER, 4, 0);
	assert_int_equal(soft_gic_mmio_read(m->gic, 0, 0x09000000, 4, &value), -ENXIO);
	assert_int_equal(soft_gic_mmio_read(m->gic, 0, RAM_BASE, 4, &value), -ENXIO);
	assert_int_equal(soft_gic_mmio_read(m->gic, 0, DIST, 3, &value), -EINVAL);
	assert_int_equal(value, 1);
	machine_free(m);
}

static void test_log_lines(void **state)
{
	struct gic_machine *m = machine_create(SOFT_GIC_V4_0, CPUS, true);

	(void) state;
	machine_connect(m);	/* the ITS is off: three refusals */
	assert_int_equal(m->logs, 3);
	assert_int_equal(soft_gic_vector_state(m->gic, 1), SOFT_GIC_ITS_OFF);
	assert_string_equal(soft_gic_reason_name(SOFT_GIC_ITS_OFF), "its-off");
	machine_free(m);
}

/* --- threads --- */

struct worker {
	struct gic_machine *m;
	unsigned int cpu;
	unsigned int taken;
	bool stop;
};

static void *vcpu_thread(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		assert_int_equal(soft_gic_vcpu_enter(w->m->gic, w->cpu, true), 0);
		if (guest_take(w->m, w->cpu) != SOFT_GIC_SPURIOUS)
			w->taken++;
		soft_gic_vcpu_leave(w->m->gic, w->cpu);
	}
	return NULL;
}

/* vCPUs take, a device fires, the host saves: nothing tears, and a save only ever gets EBUSY. */
static void test_many_threads(void **state)
{
	struct gic_machine *m = booted(SOFT_GIC_V4_1);
	struct worker workers[CPUS] = { { .m = m, .cpu = 0 }, { .m = m, .cpu = 1 } };
	pthread_t threads[CPUS];
	unsigned int saved = 0;

	(void) state;
	for (unsigned int i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, vcpu_thread, &workers[i]), 0);
	for (unsigned int i = 0; i < 2000; i++) {
		int ret = soft_gic_set_attr(m->gic, 1, VF_VGIC_GRP_CTRL, VF_ITS_SAVE_TABLES, NULL);

		assert_true(ret == 0 || ret == -EBUSY);
		saved += !ret;
		assert_int_equal(soft_gic_fire(m->gic, 1 + i % 3), SOFT_GIC_SENT_FORWARDED);
	}
	for (unsigned int i = 0; i < CPUS; i++) {
		__atomic_store_n(&workers[i].stop, true, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	}
	while (guest_take(m, 0) != SOFT_GIC_SPURIOUS)
		workers[0].taken++;
	while (guest_take(m, 1) != SOFT_GIC_SPURIOUS)
		workers[1].taken++;
	assert_true(workers[0].taken > 0 && workers[1].taken > 0);
	assert_int_equal(soft_gic_set_attr(m->gic, 1, VF_VGIC_GRP_CTRL, VF_ITS_SAVE_TABLES, NULL),
			 0);
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_is_checked),
		cmocka_unit_test(test_host_without_gic),
		cmocka_unit_test(test_kick_comes_once_and_to_the_right_cpu),
		cmocka_unit_test(test_priorities_preempt),
		cmocka_unit_test(test_split_end_of_interrupt),
		cmocka_unit_test(test_private_interrupts),
		cmocka_unit_test(test_routing_of_spis),
		cmocka_unit_test(test_accesses_of_any_width),
		cmocka_unit_test(test_log_lines),
		cmocka_unit_test(test_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
