/* SPDX-License-Identifier: MIT */
/*
 * start.c - what bare/ asks of arm64 when the machine starts and ends, for its clock and its
 * console; what is done about exceptions.
 */
#include "cpu.h"

#define SECOND_NS	1000000000ull
#define TIMER_ON	1u
#define PPI_FIRST	16u
#define PPI_END		32u
#define INTERRUPTS	"2"		/* of DAIF */

#define PSCI_CPU_ON		0xc4000003u
#define PSCI_SYSTEM_OFF		0x84000008u
#define PSCI_SYSTEM_RESET	0x84000009u

const uint64_t arch_ram_gpa = GUEST_ARM64_RAM;
const uint64_t arch_ram_alias = 0;
const uint64_t arch_serial_default = 0x09000000;

union cpu_area cpu_areas[GUEST_CPUS_MAX] __attribute__((aligned(CPU_BYTES)));

/* entry.S */
extern const uint8_t entry_other[];

/* ---- PSCI ---- */

static int64_t psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	__asm__ volatile("hvc #0"
			 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
			 :
			 : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
			   "x15", "x16", "x17", "memory");
	return (int64_t) x0;
}

void arch_power_off(void)
{
	(void) psci(PSCI_SYSTEM_OFF, 0, 0, 0);
}

void arch_reboot(void)
{
	(void) psci(PSCI_SYSTEM_RESET, 0, 0, 0);
}

/* The affinity is the number, and handed over, too. */
void arch_start_others(void)
{
	for (uint64_t n = 1; n < platform.cpus; n++)
		if (psci(PSCI_CPU_ON, n, (uint64_t) entry_other, n) != 0)
			give_up("guest: a vCPU does not start (CPU_ON)");
}

const char arch_end_hard_name[] = "bad-access";

/* Nothing is there, and a VMM is not told what a load of two registers was to load. */
void arch_end_hard(void)
{
	uint64_t a, b;

	__asm__ volatile("ldp %0, %1, [%2]" : "=&r"(a), "=&r"(b) : "r"(0x1000ull) : "memory");
}

/* ---- start ---- */

void kernel_start(struct cpu *cpu, unsigned id);

/* entry.S comes here, once on each vCPU. */
void kernel_start(struct cpu *cpu, unsigned id)
{
	bare_cpu_init(&cpu->bare, id);
	if (id > 0)
		gic_start(cpu);
	bare_main(&cpu->bare);
}

bool arch_told_well(void)
{
	const uint32_t max = GUEST_ARM64_WIRED_MAX;

	return boot.arm64.timer_irq >= PPI_FIRST && boot.arm64.timer_irq < PPI_END &&
	       boot.serial_irq >= PPI_END && boot.serial_irq < max &&
	       boot.intx_first >= PPI_END && boot.intx_pins <= max &&
	       boot.intx_first <= max - boot.intx_pins;
}

void arch_boot(void)
{
	platform.irqchip = GUEST_IRQCHIP_GIC;
	platform.vectors = GUEST_ARM64_VECTORS;
	platform.gicd_gpa = boot.arm64.gicd_gpa;
	platform.gicr_gpa = boot.arm64.gicr_gpa;
	platform.its_gpa = boot.arm64.its_gpa;
	paging_boot();
	gic_boot();
	gic_start(&cpu_areas[0].cpu);
}

/* ---- the serial port ---- */

uint8_t arch_serial_read(unsigned reg)
{
	return (uint8_t) arch_mmio_read(boot.serial_at + reg, 1);
}

void arch_serial_write(unsigned reg, uint8_t value)
{
	arch_mmio_write(boot.serial_at + reg, 1, value);
}

/* ---- time ---- */

uint64_t arch_counter_hz(void)
{
	return READ_REGISTER("cntfrq_el0");
}

uint64_t arch_counter(void)
{
	synchronize();		/* not read ahead of its time */
	return READ_REGISTER("cntvct_el0");
}

void arch_wait(struct bare_cpu *bare, uint64_t timer_ns)
{
	if (timer_ns) {
		WRITE_REGISTER("cntv_cval_el0",
			       arch_counter() + timer_ns * arch_counter_hz() / SECOND_NS + 1);
		WRITE_REGISTER("cntv_ctl_el0", TIMER_ON);
		synchronize();
	}
	__asm__ volatile("msr daifset, #" INTERRUPTS : : : "memory");
	/* Ends at an interrupt that is there, also while they are masked. */
	if (!cpu_of(bare)->attention)
		__asm__ volatile("dsb sy\n\twfi" : : : "memory");
	__asm__ volatile("msr daifclr, #" INTERRUPTS : : : "memory");
}

void arch_relax(void)
{
	__asm__ volatile("yield" : : : "memory");
}

/* ---- exceptions ---- */

void kernel_exception(struct cpu *cpu, unsigned by);

void kernel_exception(struct cpu *cpu, unsigned by)
{
	static const char *const names[] = { "synchronous", "SError", "unexpected" };
	const uint64_t instruction = READ_REGISTER("elr_el1");
	const uint64_t syndrome = READ_REGISTER("esr_el1");
	const uint64_t address = READ_REGISTER("far_el1");
	struct guest_text text;
	char what[128];

	guest_text_init(&text, what, sizeof(what));
	guest_text_add(&text, names[by]);
	guest_text_add(&text, " at ");
	guest_text_add_hex(&text, instruction);
	guest_text_add(&text, ", syndrome ");
	guest_text_add_hex(&text, syndrome);
	guest_text_add(&text, ", address ");
	guest_text_add_hex(&text, address);
	exception_end(&cpu->bare, what, syndrome >> 26 & 0x3f, instruction, address);
}
