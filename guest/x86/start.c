/* SPDX-License-Identifier: MIT */
/* start.c - what bare/ asks of x86-64 when the machine starts, and for its clock. */
#include "cpu.h"

#define INTX_PINS_MAX	15u
#define LAPIC_TIMER_MIN	1000000u
#define SECOND_NS	1000000000ull

const uint64_t arch_ram_gpa = GUEST_X86_RAM;
const uint64_t arch_ram_alias = ALIAS;
const uint64_t arch_serial_default = 0x3f8;

/* ---- start, in ring 3 ---- */

_Noreturn void user_main(struct cpu *cpu);

/* entry.S comes here, once on each vCPU. */
_Noreturn void user_main(struct cpu *cpu)
{
	bare_main(&cpu->bare);
}

bool arch_told_well(void)
{
	return boot.x86.lapic_timer_hz >= LAPIC_TIMER_MIN && boot.intx_pins <= INTX_PINS_MAX;
}

void arch_boot(void)
{
	platform.irqchip = GUEST_IRQCHIP_APIC;
	platform.vectors = GUEST_X86_VECTORS;
	paging_boot();
	irqchip_boot();
}

/* ---- time ---- */

uint64_t arch_counter_hz(void)
{
	return boot.x86.tsc_hz;
}

uint64_t arch_counter(void)
{
	return read_tsc();
}

/* Ring 0 read the TSC in the wait, too, and where it is emulated that is another one. */
static void watch_kernel_tsc(struct cpu *cpu)
{
	if (cpu->kernel_tsc < cpu->last_kernel_tsc) {
		cpu->bare.worker->clock_backward++;
		worker_fault(cpu->bare.worker, WORKER_FAULT_CLOCK,
			     cpu->last_kernel_tsc - cpu->kernel_tsc, 0, 0);
	}
	cpu->last_kernel_tsc = cpu->kernel_tsc;
}

void arch_wait(struct bare_cpu *bare, uint64_t timer_ns)
{
	uint64_t hz = cpu_of(bare)->deadline ? boot.x86.tsc_hz : boot.x86.lapic_timer_hz;

	(void) kernel(NULL, (void *) (timer_ns ? timer_ns * hz / SECOND_NS + 1 : 0));
	watch_kernel_tsc(cpu_of(bare));
}

void arch_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}
