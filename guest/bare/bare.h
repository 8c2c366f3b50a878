/* SPDX-License-Identifier: MIT */
/*
 * bare.h - the guest on bare metal: one program for each vCPU, which steps it itself. What is the
 * same on every architecture is here, what is not in x86/ and arm64/ (x86/cpu.h, arm64/cpu.h).
 *
 *   main.c        start, the loop that steps the program
 *   clock.c       the processor's counter as the program's clock; the timer
 *   bus.c         what a program can do (guest/bus.h)
 *   console.c     the serial line: what is said, and commands
 *   watch.c       registers that hold values; exceptions
 *   memory.c      what a compiler takes for granted
 *
 * Model. An interrupt does not run code of the program: its handler counts it, and between two
 * steps the loop takes what was counted, once for each. So one that came twice is seen as two, and
 * nothing is ever done in the middle of something else. Levels (INTx, serial) are ended when the
 * program has dealt with their cause, all others at once.
 *
 * Nothing leaves the virtual machine but for devices, the timer and the console: RAM is dirtied at
 * the speed of the processor. All state is in RAM and registers, so it moves with the machine.
 */
#ifndef GUEST_BARE_BARE_H
#define GUEST_BARE_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/boot.h"
#include "guest/worker.h"

/* A vCPU, as far as it is the same everywhere. A part of the architecture's own struct. */
struct bare_cpu {
	struct guest_vcpu guest;
	struct worker *worker;	/* words */
	struct worker_watch *watch;
	/* clock.c */
	uint64_t now_ns;	/* since power-on, at the beginning of the step */
	uint64_t skipped_ns;	/* of that, pauses that it noticed */
	uint64_t wait_ns;	/* running time; what the program asked for */
	uint64_t timer_ns;	/* running time; when the timer is set to, 0: it is not */
	uint64_t command_seen;	/* console.c */
	uint64_t check_ns;	/* watch.c: when registers are looked at next */
};

/* What the VMM told, checked, and what the program is told of that: written first, by vCPU 0. */
extern struct guest_boot boot;
extern struct guest_platform platform;

/* ---- main.c ---- */

/* Before anything else of a vCPU: vCPU 0 first, and alone. */
void bare_cpu_init(struct bare_cpu *cpu, unsigned id);
_Noreturn void bare_main(struct bare_cpu *cpu);
_Noreturn void give_up(const char *why);

/* ---- clock.c ---- */

void clock_boot(uint64_t counter_hz);	/* vCPU 0, first of all */
void clock_begin_step(struct bare_cpu *cpu);
void clock_wait(struct bare_cpu *cpu);	/* until something was counted, or the timer comes */
void clock_timer(struct bare_cpu *cpu);	/* it came */
uint64_t clock_now_ns(void);

/* ---- console.c ---- */

void console_boot(void);
void console_line(const char *line);	/* takes no lock */
void console_say(const char *line);
void console_interrupt(void);
/* Between two steps. Return: one is under way, and vCPU 0 makes no step until it is done. */
bool console_commands(struct bare_cpu *cpu);

/* ---- watch.c ---- */

void registers_check(struct bare_cpu *cpu);
void register_lost(struct bare_cpu *cpu, uint64_t number, uint64_t expected, uint64_t found);
/* An exception: @what is said, and the machine ends. Nothing here may go wrong. */
void exception_end(struct bare_cpu *cpu, const char *what, uint64_t number, uint64_t instruction,
		   uint64_t detail);

/* ---- what an architecture brings ---- */

/* Where RAM begins; it is seen at its physical address plus an alias, so no address of it is NULL. */
extern const uint64_t arch_ram_gpa, arch_ram_alias;
extern const uint64_t arch_serial_default;	/* boot.serial_at, if what was told can't be read */
extern const uint64_t arch_low_end;	/* all below is mapped; beyond, RAM and windows */
/* MMIO: an access of 1, 2, 4 or 8 bytes to what is mapped. */
uint64_t arch_mmio_read(uint64_t gpa, unsigned size);
void arch_mmio_write(uint64_t gpa, unsigned size, uint64_t value);
uint64_t arch_counter_hz(void);
/* Can what was told of this architecture be? */
bool arch_told_well(void);
/* vCPU 0, with a console and a clock: the rest of set-up, and of the platform. */
void arch_boot(void);
void arch_start_others(void);
void arch_wake_others(void);
/* What was counted since it was called last. */
void arch_take(struct bare_cpu *cpu);
uint64_t arch_counter(void);
/* Until something is counted; with the timer set to so many ns from now, or if 0, as it is. */
void arch_wait(struct bare_cpu *cpu, uint64_t timer_ns);
void arch_relax(void);
uint8_t arch_serial_read(unsigned reg);
void arch_serial_write(unsigned reg, uint8_t value);
/* Registers that nothing uses are given values; those that hold others have lost them. */
void arch_registers_hold(struct bare_cpu *cpu);
void arch_registers_check(struct bare_cpu *cpu);
/* These end the machine, as soon as the VMM has heard of it. */
void arch_power_off(void);
void arch_reboot(void);
extern const char arch_end_hard_name[];	/* the command for it */
void arch_end_hard(void);

#endif
