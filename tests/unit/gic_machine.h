/* SPDX-License-Identifier: MIT */
/*
 * gic_machine.h - for tests: the GIC model with RAM, two vCPUs and one ITS, and what a guest does
 * to it at boot. Device 0x10, events 0..2 -> LPIs 8192 (CPU 0), 8193 (CPU 1), 8194 (CPU 0).
 */
#ifndef TESTS_UNIT_GIC_MACHINE_H
#define TESTS_UNIT_GIC_MACHINE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "soft/gic.h"
#include "vferry_kvm_arm64.h"

#define RAM_BASE	0x40000000ull
#define RAM_BYTES	0x400000u
#define DIST		0x08000000ull
#define ITS		0x08080000ull
#define DOORBELL	(ITS + VF_GITS_TRANSLATER)
#define RD(cpu)		(0x08100000ull + (cpu) * 0x20000ull)
#define CONFIG		0x40100000ull
#define PENDING(cpu)	(0x40110000ull + (cpu) * 0x10000ull)
#define DEVICES		0x40200000ull
#define COLLECTIONS	0x40210000ull
#define QUEUE		0x40220000ull
#define ITT		0x40230000ull
#define CPUS		2u
#define REQUESTER	0x10u

struct gic_machine {
	struct soft_gic *gic;
	int gic_device, its_device;
	uint8_t *ram;
	unsigned int kicks[CPUS];
	unsigned int logs;
	bool ask_in_kick;
};

static inline int machine_read(void *user, uint64_t gpa, void *to, size_t len)
{
	struct gic_machine *m = user;

	if (gpa < RAM_BASE || gpa - RAM_BASE >= RAM_BYTES || len > RAM_BYTES - (gpa - RAM_BASE))
		return -EFAULT;
	memcpy(to, m->ram + (gpa - RAM_BASE), len);
	return 0;
}

static inline int machine_write(void *user, uint64_t gpa, const void *from, size_t len)
{
	struct gic_machine *m = user;

	if (gpa < RAM_BASE || gpa - RAM_BASE >= RAM_BYTES || len > RAM_BYTES - (gpa - RAM_BASE))
		return -EFAULT;
	memcpy(m->ram + (gpa - RAM_BASE), from, len);
	return 0;
}

static inline void machine_kick(void *user, unsigned int cpu)
{
	struct gic_machine *m = user;

	__atomic_fetch_add(&m->kicks[cpu], 1, __ATOMIC_RELAXED);
	if (m->ask_in_kick)	/* a kick may call back: no lock is held */
		(void) soft_gic_pending(m->gic, cpu);
}

static inline void machine_log(void *user, const char *line)
{
	struct gic_machine *m = user;

	(void) line;
	__atomic_fetch_add(&m->logs, 1, __ATOMIC_RELAXED);
}

static inline void machine_set(struct gic_machine *m, int device, uint32_t group, uint64_t attr,
			       uint64_t value)
{
	assert_int_equal(soft_gic_set_attr(m->gic, device, group, attr, &value), 0);
}

/* Made and initialised, nothing done by a guest yet. @with_its: else there is none. */
static inline struct gic_machine *machine_create(enum soft_gic_kind kind, unsigned int cpus,
						 bool with_its)
{
	struct gic_machine *m = calloc(1, sizeof(*m));
	struct soft_gic_config config = {
		.size = sizeof(config), .kind = kind, .user = m, .read = machine_read,
		.write = machine_write, .kick = machine_kick, .log = machine_log,
	};

	m->ram = calloc(1, RAM_BYTES);
	assert_int_equal(soft_gic_new(&config, &m->gic), 0);
	for (unsigned int i = 0; i < cpus; i++)
		assert_int_equal(soft_gic_vcpu_create(m->gic), i);
	m->gic_device = soft_gic_device_create(m->gic, VF_KVM_DEV_VGIC_V3);
	assert_int_equal(m->gic_device, 0);
	machine_set(m, 0, VF_VGIC_GRP_NR_IRQS, 0, 96);
	machine_set(m, 0, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_DIST, DIST);
	machine_set(m, 0, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_REDIST, RD(0));
	assert_int_equal(soft_gic_set_attr(m->gic, 0, VF_VGIC_GRP_CTRL, VF_VGIC_CTRL_INIT, NULL),
			 0);
	m->its_device = -1;
	if (!with_its)
		return m;
	m->its_device = soft_gic_device_create(m->gic, VF_KVM_DEV_VGIC_ITS);
	assert_int_equal(m->its_device, 1);
	machine_set(m, 1, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_ITS, ITS);
	return m;
}

static inline void machine_free(struct gic_machine *m)
{
	assert_null(soft_gic_free(m->gic));
	free(m->ram);
	free(m);
}

static inline void guest_store(struct gic_machine *m, uint64_t gpa, unsigned int len,
			       uint64_t value)
{
	assert_int_equal(soft_gic_mmio_write(m->gic, 0, gpa, len, value), 0);
}

static inline uint64_t guest_load(struct gic_machine *m, uint64_t gpa, unsigned int len)
{
	uint64_t value = 0;

	assert_int_equal(soft_gic_mmio_read(m->gic, 0, gpa, len, &value), 0);
	return value;
}

static inline void guest_command(struct gic_machine *m, uint64_t w0, uint64_t w1, uint64_t w2)
{
	uint64_t at = guest_load(m, ITS + VF_GITS_CWRITER, 8);
	uint64_t words[4] = { w0, w1, w2, 0 };

	assert_int_equal(machine_write(m, QUEUE + at, words, sizeof(words)), 0);
	guest_store(m, ITS + VF_GITS_CWRITER, 8, (at + 32) % 0x10000);
}

static inline void guest_boot(struct gic_machine *m)
{
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		guest_store(m, RD(cpu) + VF_GICR_PROPBASER, 8, CONFIG | 15);
		guest_store(m, RD(cpu) + VF_GICR_PENDBASER, 8, PENDING(cpu));
		guest_store(m, RD(cpu), 4, 1);
		assert_int_equal(soft_gic_icc_write(m->gic, cpu, VF_ICC_PMR_EL1, 0xf0), 0);
		assert_int_equal(soft_gic_icc_write(m->gic, cpu, VF_ICC_IGRPEN1_EL1, 1), 0);
	}
	guest_store(m, DIST, 4, 0x12);
	memset(m->ram + (CONFIG - RAM_BASE), 0xa1, 3);
	guest_store(m, ITS + VF_GITS_BASER(0), 8, 1ull << 63 | DEVICES);
	guest_store(m, ITS + VF_GITS_BASER(1), 8, 1ull << 63 | COLLECTIONS);
	guest_store(m, ITS + VF_GITS_CBASER, 8, 1ull << 63 | QUEUE | 15);
	guest_store(m, ITS, 4, 1);
	guest_command(m, 0x09, 0, 1ull << 63 | 0ull << 16 | 0);
	guest_command(m, 0x09, 0, 1ull << 63 | 1ull << 16 | 1);
	guest_command(m, 0x08 | (uint64_t) REQUESTER << 32, 4, 1ull << 63 | ITT);
	for (uint64_t event = 0; event < 3; event++)
		guest_command(m, 0x0a | (uint64_t) REQUESTER << 32, event | (8192 + event) << 32,
			      event == 1);
}

/* Vectors 1, 2, 3 to events 0, 1, 2. */
static inline void machine_connect(struct gic_machine *m)
{
	struct soft_gic_route routes[3];

	for (uint32_t i = 0; i < 3; i++) {
		routes[i] = (struct soft_gic_route) { .gsi = 40 + i, .type = VF_KVM_ROUTING_MSI,
			.flags = VF_KVM_MSI_VALID_DEVID, .address = DOORBELL, .data = i,
			.devid = REQUESTER };
		assert_int_equal(soft_gic_vector_set(m->gic, 1 + i), 0);
	}
	assert_int_equal(soft_gic_set_routing(m->gic, routes, 3), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(soft_gic_irqfd(m->gic, 1 + i, 40 + i, 0), 0);
}

/* What an interrupt plan does for `release`: off hardware, and each sent once more. */
static inline int machine_release(struct gic_machine *m)
{
	int released = 0;

	for (uint32_t i = 0; i < 3; i++) {
		if (soft_gic_vector_state(m->gic, 1 + i) != SOFT_GIC_FORWARDED)
			continue;
		assert_int_equal(soft_gic_irqfd(m->gic, 1 + i, 40 + i, VF_KVM_IRQFD_DEASSIGN), 0);
		assert_int_equal(soft_gic_signal_msi(m->gic, DOORBELL, i, REQUESTER,
						     VF_KVM_MSI_VALID_DEVID), 1);
		released++;
	}
	return released;
}

/* Acknowledged and ended; SOFT_GIC_SPURIOUS if there was none. */
static inline uint32_t guest_take(struct gic_machine *m, unsigned int cpu)
{
	uint32_t intid = soft_gic_ack(m->gic, cpu);

	if (intid != SOFT_GIC_SPURIOUS)
		soft_gic_eoi(m->gic, cpu, intid);
	return intid;
}

#endif
