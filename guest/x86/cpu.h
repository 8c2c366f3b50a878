/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - the bare-metal guest on x86-64: one program for each vCPU, in ring 3.
 *
 *   entry.S       real mode to ring 3; interrupts are counted, waits and calls made in ring 0
 *   kernel.c      what ring 0 sets up; what it does about exceptions
 *   main.c        start, the loop that steps the program
 *   clock.c       the TSC as the program's clock; the timer
 *   bus.c         what a program can do (guest/bus.h)
 *   irqchip.c     local APIC and IOAPIC; vectors to the program's interrupt numbers
 *   paging.c      page tables beyond 4 GiB
 *   console.c     the serial line: what is said, and commands
 *   registers.c   registers that hold values, which are looked at again and again
 *
 * Model. An interrupt does not run code of the program: ring 0 counts it, and between two steps
 * ring 3 takes what was counted, once for each. So one that came twice is seen as two, and nothing
 * is ever done in the middle of something else. Levels (INTx, serial) are ended when the program
 * has dealt with their cause, all others at once.
 *
 * Nothing leaves the virtual machine but for devices, the timer and the console: RAM is dirtied at
 * the speed of the processor. All state is in RAM and registers, so it moves with the machine.
 */
#ifndef GUEST_X86_CPU_H
#define GUEST_X86_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/boot.h"
#include "guest/worker.h"
#include "layout.h"

struct held_registers {
	uint64_t vector[16][4];	/* xmm or ymm */
	uint32_t vector_words;	/* of 8 bytes, in each: 0 none, 2 or 4 */
	uint64_t due_ns;	/* when ring 0's are looked at next */
};

struct cpu {
	uint32_t attention;	/* something was counted; set in ring 0, as the next three */
	uint32_t deadline;	/* the timer is set by MSR_DEADLINE */
	uint64_t kernel_tsc;	/* as ring 0 read it last */
	uint32_t arrived[256];	/* interrupts, by vector */

	/* irqchip.c */
	uint32_t taken[256];
	uint32_t excused[16];	/* how often a pin may come without a cause */
	struct guest_vcpu guest;
	struct worker *worker;	/* words */
	struct worker_watch *watch;
	/* clock.c */
	uint64_t now_ns;	/* since power-on, at the beginning of the step */
	uint64_t skipped_ns;	/* of that, pauses that it noticed */
	uint64_t wait_ns;	/* running time; what the program asked for */
	uint64_t timer_ns;	/* running time; when the timer is set to, 0: it is not */
	uint64_t last_kernel_tsc;
	/* console.c */
	uint64_t command_seen;
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
/* What the VMM told, checked, and what the program is told of that: written first, by vCPU 0. */
extern struct guest_boot boot;
extern struct guest_platform platform;

static inline struct cpu *cpu_of(struct guest_vcpu *vcpu)
{
	return (struct cpu *) ((char *) vcpu - offsetof(struct cpu, guest));
}

/* ---- instructions ---- */

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return low | (uint64_t) high << 32;
}

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
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

	__asm__ volatile("int3"
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

/* These end the machine, as soon as the VMM has heard of it. */
void power_off(void);
void reboot(void);
void triple_fault(void);

/* ---- main.c ---- */

_Noreturn void user_main(struct cpu *cpu);

/* ---- clock.c ---- */

void clock_boot(void);			/* vCPU 0, first of all */
void clock_begin_step(struct cpu *cpu);
void clock_wait(struct cpu *cpu);	/* until something was counted, or the timer comes */
void clock_timer(struct cpu *cpu);	/* it came */
uint64_t clock_now_ns(void);

/* ---- irqchip.c ---- */

void irqchip_boot(void);		/* vCPU 0 */
void irqchip_start_others(void);
void irqchip_wake_others(void);
void irqchip_take(struct cpu *cpu);	/* what was counted */

/* ---- paging.c ---- */

/* Maps what the VMM told of. What has no room is taken off the platform. */
void paging_boot(void);

/* ---- console.c ---- */

void console_boot(void);
void console_line(const char *line);	/* takes no lock */
void console_say(const char *line);
void console_interrupt(void);
/* Between two steps. Return: one is under way, and vCPU 0 makes no step until it is done. */
bool console_commands(struct cpu *cpu);

/* ---- registers.c ---- */

void registers_hold(struct cpu *cpu);
void registers_check(struct cpu *cpu);

#endif
