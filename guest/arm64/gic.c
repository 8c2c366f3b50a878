/* SPDX-License-Identifier: MIT */
/*
 * gic.c - the GIC: its CPU interface, and of the rest what is needed before the program has set it
 * up (worker_gic.c): the serial line, the timer, and an interrupt by which vCPUs wake each other.
 *
 * An interrupt's priority is dropped when it is counted. It is deactivated then, too, but for
 * levels: those when their cause was dealt with, and until then they do not come again. Messages
 * (LPIs) have no active state.
 */
#include "cpu.h"
#include "vferry_kvm_arm64.h"

#define WAKE		0u		/* an SGI */
#define SPI_FIRST	32u
#define SPECIAL_FIRST	1020u		/* from here on: there is none */
#define SPECIAL_LAST	1023u
#define GICD_CTLR_VALUE	0x12u		/* ARE_NS, EnableGrp1A */
#define WAKER_ASLEEP	0x4u
#define PRIORITY	0xa0u
#define ICC_CTLR_SPLIT	0x2u		/* EOImode: deactivated on its own */
#define SGI_TO_OTHERS	(1ull << 40 | (uint64_t) WAKE << 24)

#define ICC_IAR1	"s3_0_c12_c12_0"
#define ICC_EOIR1	"s3_0_c12_c12_1"
#define ICC_DIR		"s3_0_c12_c11_1"
#define ICC_SGI1R	"s3_0_c12_c11_5"
#define ICC_PMR		"s3_0_c4_c6_0"
#define ICC_BPR1	"s3_0_c12_c12_3"
#define ICC_CTLR	"s3_0_c12_c12_4"
#define ICC_SRE		"s3_0_c12_c12_5"
#define ICC_IGRPEN1	"s3_0_c12_c12_7"

/* ---- set-up ---- */

static void add_bits(uint64_t gpa, uint32_t bits)
{
	arch_mmio_write(gpa, 4, arch_mmio_read(gpa, 4) | bits);
}

/* A level, to vCPU 0. */
void gic_boot(void)
{
	const uint64_t d = platform.gicd_gpa;
	const uint32_t irq = boot.serial_irq, bit = 1u << irq % 32;

	arch_mmio_write(d + VF_GICD_CTLR, 4, GICD_CTLR_VALUE);
	add_bits(d + VF_GICD_IGROUPR + irq / 32 * 4, bit);
	arch_mmio_write(d + VF_GICD_IPRIORITYR + irq, 1, PRIORITY);
	arch_mmio_write(d + VF_GICD_ICFGR + irq / 16 * 4, 4,
			arch_mmio_read(d + VF_GICD_ICFGR + irq / 16 * 4, 4) & ~(3u << irq % 16 * 2));
	arch_mmio_write(d + VF_GICD_IROUTER + 8ull * irq, 8, 0);
	arch_mmio_write(d + VF_GICD_ISENABLER + irq / 32 * 4, 4, bit);
}

static void start_redistributor(unsigned id)
{
	const uint64_t r = platform.gicr_gpa + id * (uint64_t) VF_GICR_FRAMES_SIZE;

	arch_mmio_write(r + VF_GICR_WAKER, 4, 0);
	while (arch_mmio_read(r + VF_GICR_WAKER, 4) & WAKER_ASLEEP)
		arch_relax();
	arch_mmio_write(r + VF_GICR_IGROUPR0, 4, UINT32_MAX);
	arch_mmio_write(r + VF_GICR_IPRIORITYR0 + WAKE, 1, PRIORITY);
	arch_mmio_write(r + VF_GICR_IPRIORITYR0 + boot.arm64.timer_irq, 1, PRIORITY);
	arch_mmio_write(r + VF_GICR_ISENABLER0, 4, 1u << WAKE | 1u << boot.arm64.timer_irq);
}

void gic_start(struct cpu *cpu)
{
	start_redistributor(cpu->bare.guest.id);
	WRITE_REGISTER(ICC_SRE, READ_REGISTER(ICC_SRE) | 1);
	synchronize();
	WRITE_REGISTER(ICC_CTLR, ICC_CTLR_SPLIT);
	worker_irqchip_cpu(&cpu->bare.guest);
	__asm__ volatile("msr daifclr, #6" : : : "memory");	/* SErrors, interrupts */
}

int guest_icc_write(struct guest_vcpu *vcpu, uint32_t reg, uint64_t value)
{
	(void) vcpu;
	switch (reg) {
	case VF_ICC_PMR_EL1:
		WRITE_REGISTER(ICC_PMR, value);
		break;
	case VF_ICC_BPR1_EL1:
		WRITE_REGISTER(ICC_BPR1, value);
		break;
	case VF_ICC_IGRPEN1_EL1:
		WRITE_REGISTER(ICC_IGRPEN1, value);
		break;
	default:
		return -1;
	}
	synchronize();
	return 0;
}

void arch_wake_others(void)
{
	if (platform.cpus == 1)
		return;
	__asm__ volatile("dsb ishst" : : : "memory");
	WRITE_REGISTER(ICC_SGI1R, SGI_TO_OTHERS);
	synchronize();
}

/* ---- counted ---- */

static uint32_t place_of(uint32_t intid)
{
	if (intid < GUEST_ARM64_WIRED_MAX)
		return intid;
	if (intid >= WORKER_MSI_FIRST && intid - WORKER_MSI_FIRST < WORKER_DEVICES * WORKER_SLOTS)
		return PLACE_MESSAGES + intid - WORKER_MSI_FIRST;
	return PLACE_OTHERS;
}

static bool is_level(uint32_t place)
{
	return place >= SPI_FIRST && place < PLACE_MESSAGES;
}

static void end(uint32_t intid)
{
	WRITE_REGISTER(ICC_DIR, intid);
	synchronize();
}

void gic_count(struct cpu *cpu);

/* entry.S comes here with interrupts masked. */
void gic_count(struct cpu *cpu)
{
	for (;;) {
		const uint32_t intid = (uint32_t) READ_REGISTER(ICC_IAR1);
		const uint32_t place = place_of(intid);

		if (intid >= SPECIAL_FIRST && intid <= SPECIAL_LAST)
			return;
		__asm__ volatile("dsb sy" : : : "memory");
		if (intid == boot.arm64.timer_irq) {
			WRITE_REGISTER("cntv_ctl_el0", 0);
			synchronize();
		}
		if (place == PLACE_OTHERS)
			cpu->other = intid;
		cpu->arrived[place]++;
		cpu->attention = true;
		WRITE_REGISTER(ICC_EOIR1, intid);
		synchronize();
		if (intid < WORKER_MSI_FIRST && !is_level(place))
			end(intid);
	}
}

/* ---- taken ---- */

static void unknown(struct cpu *cpu, uint32_t intid)
{
	cpu->bare.worker->unknown_interrupts++;
	worker_fault(cpu->bare.worker, WORKER_FAULT_INTERRUPT, intid, 0, 0);
}

static void give(struct cpu *cpu, uint32_t number)
{
	guest_worker.interrupt(&cpu->bare.guest, (uint64_t *) cpu->bare.worker, number);
}

static void take_level(struct cpu *cpu, uint32_t intid)
{
	if (intid == boot.serial_irq)
		console_interrupt();
	else if (intid >= boot.intx_first && intid - boot.intx_first < boot.intx_pins)
		give(cpu, WORKER_PIN_FIRST + intid - boot.intx_first);
	else
		unknown(cpu, intid);
	__asm__ volatile("dsb sy" : : : "memory");
	end(intid);
}

static void take(struct cpu *cpu, uint32_t place)
{
	if (is_level(place))
		take_level(cpu, place);
	else if (place >= PLACE_MESSAGES && place < PLACE_OTHERS)
		give(cpu, WORKER_MSI_FIRST + place - PLACE_MESSAGES);
	else if (place == boot.arm64.timer_irq)
		clock_timer(&cpu->bare);
	else if (place != WAKE)
		unknown(cpu, place == PLACE_OTHERS ? cpu->other : place);
}

void arch_take(struct bare_cpu *bare)
{
	struct cpu *cpu = cpu_of(bare);

	if (!__atomic_load_n(&cpu->attention, __ATOMIC_RELAXED))
		return;
	/* Before looking: what comes later will set it again. */
	__atomic_store_n(&cpu->attention, false, __ATOMIC_SEQ_CST);
	for (uint32_t place = 0; place < PLACES; place++) {
		while (cpu->taken[place] != __atomic_load_n(&cpu->arrived[place], __ATOMIC_RELAXED)) {
			cpu->taken[place]++;
			take(cpu, place);
		}
	}
}
