/* SPDX-License-Identifier: MIT */
/*
 * fuzz_gic_scenario.c - any calls in any order on the GIC model, with any tables in RAM: all that a
 * guest, a peer's stream or a confused VMM could make of it. Whatever they are, an answer comes
 * back, and what ASan and UBSan watch holds.
 *
 * Input: one byte (bits 1:0 kind, 3:2 rules, 7 the guest has booted), then calls: an opcode byte
 * and its operands; operands that are missing read as zero.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft/gic.h"
#include "vferry_kvm_arm64.h"

#define RAM_BASE	0x40000000ull
#define RAM_BYTES	0x40000u
#define DIST		0x08000000ull
#define ITS		0x08080000ull
#define REDIST		0x08100000ull
#define CPUS		2u
#define CALLS_MAX	512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	const uint8_t *data;
	size_t left;
	struct soft_gic *gic;
	uint8_t ram[RAM_BYTES];
	unsigned int entered[CPUS];
};

static int ram_read(void *user, uint64_t gpa, void *to, size_t len)
{
	struct fuzz *f = user;

	if (gpa < RAM_BASE || gpa - RAM_BASE >= RAM_BYTES || len > RAM_BYTES - (gpa - RAM_BASE))
		return -EFAULT;
	memcpy(to, f->ram + (gpa - RAM_BASE), len);
	return 0;
}

static int ram_write(void *user, uint64_t gpa, const void *from, size_t len)
{
	struct fuzz *f = user;

	if (gpa < RAM_BASE || gpa - RAM_BASE >= RAM_BYTES || len > RAM_BYTES - (gpa - RAM_BASE))
		return -EFAULT;
	memcpy(f->ram + (gpa - RAM_BASE), from, len);
	return 0;
}

static void kick(void *user, unsigned int cpu)
{
	(void) soft_gic_pending(((struct fuzz *) user)->gic, cpu);
}

static void log_line(void *user, const char *line)
{
	(void) user;
	(void) line;
}

static uint64_t take(struct fuzz *f, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes && f->left; i++, f->data++, f->left--)
		value |= (uint64_t) *f->data << 8 * i;
	return value;
}

static void store(struct fuzz *f, uint64_t gpa, unsigned int len, uint64_t value)
{
	(void) soft_gic_mmio_write(f->gic, 0, gpa, len, value);
}

static void ring(struct fuzz *f, const uint64_t word[4])
{
	uint64_t at = 0;

	if (soft_gic_mmio_read(f->gic, 0, ITS + VF_GITS_CWRITER, 8, &at))
		return;
	(void) ram_write(f, RAM_BASE + 0x30000 + at % 0x1000, word, 32);
	store(f, ITS + VF_GITS_CWRITER, 8, (at + 32) % 0x1000);
}

static void create(struct fuzz *f)
{
	uint64_t dist = DIST, redist = REDIST, its = ITS;

	(void) soft_gic_device_create(f->gic, VF_KVM_DEV_VGIC_V3);
	(void) soft_gic_device_create(f->gic, VF_KVM_DEV_VGIC_ITS);
	(void) soft_gic_set_attr(f->gic, 0, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_DIST, &dist);
	(void) soft_gic_set_attr(f->gic, 0, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_REDIST, &redist);
	(void) soft_gic_set_attr(f->gic, 1, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_ITS, &its);
	(void) soft_gic_set_attr(f->gic, 0, VF_VGIC_GRP_CTRL, VF_VGIC_CTRL_INIT, NULL);
}

static void boot(struct fuzz *f)
{
	create(f);
	memset(f->ram, 0xa1, 64);
	store(f, DIST, 4, 0x12);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		store(f, REDIST + cpu * 0x20000 + VF_GICR_PROPBASER, 8, RAM_BASE | 15);
		store(f, REDIST + cpu * 0x20000 + VF_GICR_PENDBASER, 8, RAM_BASE + 0x10000 * cpu);
		store(f, REDIST + cpu * 0x20000, 4, 1);
		(void) soft_gic_icc_write(f->gic, cpu, VF_ICC_PMR_EL1, 0xff);
		(void) soft_gic_icc_write(f->gic, cpu, VF_ICC_IGRPEN1_EL1, 1);
	}
	store(f, ITS + VF_GITS_BASER(0), 8, 1ull << 63 | (RAM_BASE + 0x20000));
	store(f, ITS + VF_GITS_BASER(1), 8, 1ull << 63 | (RAM_BASE + 0x10000));
	store(f, ITS + VF_GITS_CBASER, 8, 1ull << 63 | (RAM_BASE + 0x30000));
	store(f, ITS, 4, 1);
	ring(f, (uint64_t[4]) { 0x09, 0, 1ull << 63 });
	ring(f, (uint64_t[4]) { 0x09, 0, 1ull << 63 | 1ull << 16 | 1 });
	ring(f, (uint64_t[4]) { 0x08 | 1ull << 36, 4, 1ull << 63 | (RAM_BASE + 0x38000) });
	ring(f, (uint64_t[4]) { 0x0a | 1ull << 36, 8192ull << 32, 0 });
	ring(f, (uint64_t[4]) { 0x0a | 1ull << 36, 8193ull << 32 | 1, 1 });
}

static void call_routing(struct fuzz *f)
{
	struct soft_gic_route routes[8];
	unsigned int count = (unsigned int) take(f, 1) % 9;

	for (unsigned int i = 0; i < count; i++)
		routes[i] = (struct soft_gic_route) {
			.gsi = (uint32_t) take(f, 1), .type = (uint32_t) take(f, 1) % 3,
			.pin = (uint32_t) take(f, 1), .flags = (uint32_t) take(f, 1) % 3,
			.address = ITS + VF_GITS_TRANSLATER, .data = (uint32_t) take(f, 1),
			.devid = (uint32_t) take(f, 1),
		};
	(void) soft_gic_set_routing(f->gic, routes, count);
}

static void call_attr(struct fuzz *f, bool write)
{
	int device = (int) take(f, 1) % 4;
	uint32_t group = (uint32_t) take(f, 1) % 10;
	uint64_t attr = take(f, 4) | take(f, 1) << VF_VGIC_MPIDR_SHIFT;
	uint64_t value = take(f, 8);

	if (write)
		(void) soft_gic_set_attr(f->gic, device, group, attr, &value);
	else if (!soft_gic_has_attr(f->gic, device, group, attr))
		(void) soft_gic_get_attr(f->gic, device, group, attr, &value);
}

static void call_mmio(struct fuzz *f, bool write)
{
	static const uint64_t frames[] = { DIST, REDIST, REDIST + 0x10000, REDIST + 0x20000, ITS,
		ITS + 0x10000, RAM_BASE, 0 };
	uint64_t gpa = frames[take(f, 1) % 8] + take(f, 2);
	unsigned int len = 1u << take(f, 1) % 4;
	uint64_t value = take(f, write ? len : 0);

	if (write)
		store(f, gpa, len, value);
	else
		(void) soft_gic_mmio_read(f->gic, 1, gpa, len, &value);
}

static void call_vcpu(struct fuzz *f)
{
	unsigned int how = (unsigned int) take(f, 1);
	unsigned int cpu = how % CPUS;

	if (how & 0x80 && f->entered[cpu]) {
		soft_gic_vcpu_leave(f->gic, cpu);
		f->entered[cpu]--;
	} else if (f->entered[cpu] < 4 && !soft_gic_vcpu_enter(f->gic, cpu, how & 0x40)) {
		f->entered[cpu]++;
	}
}

static void call_cpu_interface(struct fuzz *f)
{
	unsigned int cpu = (unsigned int) take(f, 1) % 3;
	uint32_t intid = soft_gic_ack(f->gic, cpu);

	if (take(f, 1) & 1)
		intid = (uint32_t) take(f, 4);
	soft_gic_eoi(f->gic, cpu, intid);
	soft_gic_deactivate(f->gic, cpu, intid);
	(void) soft_gic_icc_write(f->gic, cpu, (uint32_t) take(f, 2), take(f, 2));
}

static void call_tables(struct fuzz *f)
{
	static const uint64_t what[] = { VF_ITS_SAVE_TABLES, VF_ITS_RESTORE_TABLES,
					 VF_ITS_CTRL_RESET, VF_VGIC_SAVE_PENDING_TABLES };
	uint64_t attr = what[take(f, 1) % 4];

	(void) soft_gic_set_attr(f->gic, attr != VF_VGIC_SAVE_PENDING_TABLES, VF_VGIC_GRP_CTRL,
				 attr, NULL);
}

static void call_questions(struct fuzz *f)
{
	struct soft_gic_lpi lpi;

	(void) soft_gic_vector_state(f->gic, take(f, 1));
	(void) soft_gic_event_count(f->gic, take(f, 1));
	(void) soft_gic_lpi_state(f->gic, 1, (uint32_t) take(f, 1), (uint32_t) take(f, 1), &lpi);
}

static void call(struct fuzz *f)
{
	uint64_t word[4], at;

	switch (take(f, 1) % 18) {
	case 0:
	case 1:
		call_mmio(f, true);
		break;
	case 2:
		call_mmio(f, false);
		break;
	case 3:
		call_attr(f, true);
		break;
	case 4:
		call_attr(f, false);
		break;
	case 5:
		at = RAM_BASE + take(f, 3) % RAM_BYTES;
		word[0] = take(f, 8);
		(void) ram_write(f, at, word, 8);
		break;
	case 6:
		call_routing(f);
		break;
	case 7:
		(void) soft_gic_irqfd(f->gic, take(f, 1), (uint32_t) take(f, 1),
				      (uint32_t) take(f, 1) % 3);
		break;
	case 8:
		(void) soft_gic_vector_set(f->gic, take(f, 1));
		break;
	case 9:
		soft_gic_vector_clear(f->gic, take(f, 1));
		break;
	case 10:
		(void) soft_gic_fire(f->gic, take(f, 1));
		break;
	case 11:
		(void) soft_gic_event_write(f->gic, take(f, 1));
		break;
	case 12:
		(void) soft_gic_signal_msi(f->gic, ITS + VF_GITS_TRANSLATER, (uint32_t) take(f, 1),
					   (uint32_t) take(f, 1), 1);
		break;
	case 13:
		for (unsigned int i = 0; i < 4; i++)
			word[i] = take(f, 8);
		ring(f, word);
		break;
	case 14:
		call_tables(f);
		break;
	case 15:
		call_cpu_interface(f);
		(void) soft_gic_irq_line(f->gic, (unsigned int) take(f, 1), (uint32_t) take(f, 2),
					 take(f, 1) & 1);
		(void) soft_gic_sgi(f->gic, (unsigned int) take(f, 1), (uint32_t) take(f, 1));
		break;
	case 16:
		call_vcpu(f);
		break;
	case 17:
		call_questions(f);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz *f = calloc(1, sizeof(*f));
	struct soft_gic_config config = { .size = sizeof(config), .user = f, .read = ram_read,
		.write = ram_write, .kick = kick, .log = log_line };
	uint64_t how;

	if (!f)
		return 0;
	f->data = data;
	f->left = size;
	how = take(f, 1);
	config.kind = (enum soft_gic_kind) (how & 3);
	config.rules = (enum soft_gic_rules) ((how >> 2 & 3) % 3);
	if (soft_gic_new(&config, &f->gic))
		abort();
	for (unsigned int i = 0; i < CPUS; i++)
		(void) soft_gic_vcpu_create(f->gic);
	if (how & 0x80)
		boot(f);
	else if (how & 0x40)
		create(f);
	for (unsigned int i = 0; i < CALLS_MAX && f->left; i++)
		call(f);
	for (unsigned int i = 0; i < CPUS; i++)
		for (; f->entered[i]; f->entered[i]--)
			soft_gic_vcpu_leave(f->gic, i);
	soft_gic_free(f->gic);
	free(f);
	return 0;
}
