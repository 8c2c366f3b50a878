/* SPDX-License-Identifier: MIT */
/*
 * bus.h - what a guest program is, and what it may do to the machine that it runs on.
 *
 * Model. A program is a state machine: its whole state is one block of 64-bit words for each vCPU,
 * and between two steps there is nothing else. A step touches the machine through the bus calls
 * below only: loads and stores of RAM and of MMIO, waiting for an interrupt, the counter. So the
 * same program runs wherever somebody implements these calls:
 *
 *   vmm/soft/soft_bus.c    on a thread of the soft machine, which calls step()
 *   guest/bare/            on bare metal: a processor of a virtual machine calls step() itself
 *
 * Programs are freestanding: of the C library they use constants and types only.
 */
#ifndef GUEST_BUS_H
#define GUEST_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/text.h"

enum guest_step {
	GUEST_STEP_GO = 0,	/* call again */
	GUEST_STEP_WAIT = 1,	/* wait for interrupt, or until guest_wait_until() */
	GUEST_STEP_POWER_OFF = 2,
};

enum guest_irqchip {
	GUEST_IRQCHIP_NONE = 0,	/* the program polls */
	GUEST_IRQCHIP_GIC = 1,	/* GICv3 with an ITS */
	GUEST_IRQCHIP_APIC = 2,	/* a local APIC for each vCPU, and an IOAPIC */
};

struct guest_range {
	uint64_t gpa;
	uint64_t bytes;
};

/* What a program may know of its machine without asking the bus (a device tree, as it were). */
struct guest_platform {
	unsigned cpus;
	enum guest_irqchip irqchip;
	bool bare;			/* on bare metal: nobody tells when the machine was paused */
	struct guest_range ram[2];	/* the second holds 0 bytes if there is one only */
	uint64_t ecam_gpa;
	struct guest_range window32, window64;	/* for BARs */
	uint32_t intx_first;		/* GIC: INTID of pin 0 */
	unsigned intx_pins;		/* INTx of slot n is pin n % intx_pins */
	unsigned vectors;		/* most of one device that can be told apart */
	uint64_t gicd_gpa, gicr_gpa, its_gpa;
};

/* One processor, as a program sees it. A machine puts it into a struct of its own. */
struct guest_vcpu {
	unsigned id;
	const struct guest_platform *platform;
};

struct guest_program {
	const char *name;
	const char *summary;
	uint32_t version;	/* of its words; others are refused */
	uint32_t words;
	/*
	 * State as after power-on; the first page of RAM is zero then. Touches nothing but @words.
	 * -EINVAL: arguments that it does not take, with the reason in @why.
	 */
	int (*init)(const struct guest_platform *platform, unsigned cpu, const char *args,
		    uint64_t *words, struct guest_text *why);
	/* Loaded words: is everything that is used as an index or a bound in its bounds? */
	bool (*valid)(const struct guest_platform *platform, unsigned cpu, const uint64_t *words);
	enum guest_step (*step)(struct guest_vcpu *vcpu, uint64_t *words);
	/* An interrupt was acknowledged; it is ended after the return. May be NULL: it is ignored. */
	void (*interrupt)(struct guest_vcpu *vcpu, uint64_t *words, uint32_t intid);
	/* One line of the console, given to every vCPU between two steps. -EINVAL: not known. */
	int (*command)(const struct guest_platform *platform, unsigned cpu, uint64_t *words,
		       const char *text, struct guest_text *reply);
};

extern const struct guest_program guest_worker;
extern const struct guest_program guest_idle;

/* ---- calls, from the vCPU itself, in a step ---- */

/* Pointer to guest RAM; NULL outside of it. Writes are to be marked afterwards. */
void *guest_ram(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes);
void guest_ram_written(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes);
/*
 * MMIO. An access that fails reads as ones. Where the bus tells, every later one of the same step
 * fails at once (so a step takes as long as one hanging device at most) and guest_bus_failed() is
 * true until its end.
 */
uint64_t guest_read(struct guest_vcpu *vcpu, uint64_t gpa, unsigned size);
void guest_write(struct guest_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value);
bool guest_bus_failed(const struct guest_vcpu *vcpu);
uint64_t guest_counter(struct guest_vcpu *vcpu);	/* ns; must never go back */
uint64_t guest_run_ns(struct guest_vcpu *vcpu);		/* ns, pauses left out */
uint64_t guest_wall_ns(struct guest_vcpu *vcpu);	/* ns, pauses included */
void guest_wait_until(struct guest_vcpu *vcpu, uint64_t run_ns);	/* for GUEST_STEP_WAIT */
void guest_console(struct guest_vcpu *vcpu, const char *line);

/* arm64 and soft: a register of the GIC's CPU interface. */
int guest_icc_write(struct guest_vcpu *vcpu, uint32_t reg, uint64_t value);

#endif
