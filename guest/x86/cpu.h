/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - the bare-metal guest (bare/bare.h) on x86-64: its program runs in ring 3.
 *
 *   entry.S       real mode to ring 3; interrupts are counted, waits and calls made in ring 0
 *   kernel.c      what ring 0 sets up; ports; what it does about exceptions
 *   start.c       in ring 3, into the program; the time stamp counter, the wait
 *   bus.c         MMIO
 *   irqchip.c     local APIC and IOAPIC; vectors to the program's interrupt numbers
 *   paging.c      page tables beyond 4 GiB
 *   registers.c   registers that hold values
 */
#ifndef GUEST_X86_CPU_H
#define GUEST_X86_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/bare/bare.h"
#include "layout.h"

struct held_registers {
	uint64_t vector[16][4];	/* xmm or ymm */
	uint32_t vector_words;	/* of 8 bytes, in each: 0 none, 2 or 4 */
};

struct cpu {
	uint32_t attention;	/* something was counted; set in ring 0, as the next three */
	uint32_t deadline;	/* the timer is set by MSR_DEADLINE */
	uint64_t kernel_tsc;	/* as ring 0 read it last */
	uint32_t arrived[256];	/* interrupts, by vector */

	/* irqchip.c */
	uint32_t taken[256];
	uint32_t excused[16];	/* how often a pin may come without a cause */
	struct bare_cpu bare;
	uint64_t last_kernel_tsc;
	struct held_registers held;
};

_Static_assert(offsetof(struct cpu, attention) == CPU_ATTENTION &&
	       offsetof(struct cpu, deadline) == CPU_DEADLINE &&
	       offsetof(struct cpu, kernel_tsc) == CPU_KERNEL_TSC &&
	       offsetof(struct cpu, arrived) == CPU_ARRIVED, "as entry.S has it");
_Static_assert(sizeof(struct cpu) <= CPU_KERNEL_STACK / 2, "leaves room for a stack");

union cpu_area {
	struct cpu cpu;
	uint8_t bytes[CPU_BYTES];
};

extern union cpu_area cpu_areas[GUEST_CPUS_MAX];
static inline struct cpu *cpu_of(struct bare_cpu *bare)
{
	return (struct cpu *) ((char *) bare - offsetof(struct cpu, bare));
}

/* ---- instructions ---- */

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return low | (uint64_t) high << 32;
}

static inline uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (uint64_t) high << 32;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t) value), "d"((uint32_t) (value >> 32)));
}

struct cpuid {
	uint32_t a, b, c, d;
};

static inline struct cpuid read_cpuid(uint32_t leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

/* Stores and loads of one size each, so that a VMM that emulates them sees what is meant. */
static inline uint32_t read32(uint64_t at)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

static inline void write32(uint64_t at, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

static inline uint32_t lapic_read(uint32_t reg)
{
	return read32((uint64_t) LAPIC + reg);
}

static inline void lapic_write(uint32_t reg, uint32_t value)
{
	write32((uint64_t) LAPIC + reg, value);
}

/* From ring 3: @function in ring 0; none: waits, as entry.S says. */
static inline uint64_t kernel(uint64_t (*function)(void *), void *argument)
{
	uint64_t result;

	__asm__ volatile("ud2"
			 : "=a"(result), "+D"(function), "+S"(argument)
			 :
			 : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

/* ---- kernel.c ---- */

/*
 * Ports, from either ring: ring 3 has them done by ring 0 (where ring 3 runs natively and ring 0 is
 * emulated, a port that ring 3 may use by its IOPL is out of its reach all the same).
 */
uint8_t port_read8(uint32_t port);
void port_write8(uint32_t port, uint8_t value);
void port_write16(uint32_t port, uint16_t value);

/* ---- irqchip.c ---- */

void irqchip_boot(void);		/* vCPU 0 */

/* ---- paging.c ---- */

/* Maps what the VMM told of. What has no room is taken off the platform. */
void paging_boot(void);

#endif
