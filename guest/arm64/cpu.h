/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - the bare-metal guest (bare/bare.h) on arm64: its program runs in EL1.
 *
 *   entry.S       the MMU on, into C; vectors
 *   start.c       each vCPU's start, exceptions, PSCI, the serial port, the counter and its timer
 *   bus.c         MMIO
 *   gic.c         the GIC's CPU interface, and what comes before the program sets up the rest
 *                 (worker_gic.c); INTIDs to the program's interrupt numbers
 *   paging.c      page tables
 *   registers.c   registers that hold values
 */
#ifndef GUEST_ARM64_CPU_H
#define GUEST_ARM64_CPU_H

#include "guest/bare/bare.h"
#include "layout.h"

/* Interrupts are counted in places: wired ones by INTID, messages behind them, others in the last. */
#define PLACE_MESSAGES	GUEST_ARM64_WIRED_MAX
#define PLACE_OTHERS	(PLACE_MESSAGES + WORKER_DEVICES * WORKER_SLOTS)
#define PLACES		(PLACE_OTHERS + 1)

#define HELD_MAX	48u

struct held_registers {
	uint64_t vector[32][2];
	uint64_t system[HELD_MAX];	/* as they were read back */
};

struct cpu {
	bool attention;		/* something was counted; set by interrupts, as the next two */
	uint32_t other;		/* INTID of the last one that has no place of its own */
	uint32_t arrived[PLACES];

	uint32_t taken[PLACES];	/* gic.c */
	struct bare_cpu bare;
	struct held_registers held;
};

_Static_assert(sizeof(struct cpu) <= CPU_BYTES / 2, "leaves room for a stack");

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

#define READ_REGISTER(name) ({							\
	uint64_t value_;							\
	__asm__ volatile("mrs %0, " name : "=r"(value_) : : "memory");		\
	value_;									\
})
#define WRITE_REGISTER(name, value)						\
	__asm__ volatile("msr " name ", %0" : : "r"((uint64_t) (value)) : "memory")

/* What was written to registers is in force. */
static inline void synchronize(void)
{
	__asm__ volatile("isb" : : : "memory");
}

/* ---- gic.c ---- */

void gic_boot(void);			/* vCPU 0: of the distributor, what the serial line needs */
void gic_start(struct cpu *cpu);	/* each vCPU: its redistributor and CPU interface */

/* ---- paging.c ---- */

/* Maps what the VMM told of. What has no room is taken off the platform. */
void paging_boot(void);

#endif
