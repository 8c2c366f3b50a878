/* SPDX-License-Identifier: MIT */
/*
 * soft.h - the soft machine: vCPUs without KVM.
 *
 * Model. A vCPU is a thread that calls the step function of a guest program (guest/bus.h), again
 * and again. A program's whole state is one block of 64-bit words for each vCPU, and between two
 * steps there is nothing else, so a vCPU can be parked there, its words saved, and continued by
 * another process. The bus calls that a step makes are what the exits of KVM_RUN would be.
 *
 *   soft.c        threads, start, stop, throttle, reset
 *   soft_bus.c    the bus calls
 *   soft_irq.c    from devices' eventfds to the interrupt controller (struct vferry_irq_sink)
 *   soft_state.c  what is saved and loaded: sections and components
 *
 * Threads and locks: machine->lock protects the run state and is taken first; each vCPU's lock
 * protects its flags and what it published, and is a leaf. A program's words belong to its vCPU's
 * thread while it runs, and to whoever holds machine->lock while it is parked. The interrupt
 * sink's lock comes before the GIC model's and a vCPU's, and after nothing.
 */
#ifndef VMM_SOFT_SOFT_H
#define VMM_SOFT_SOFT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/device.h>
#include <vferry/error.h>
#include <vferry/ram.h>

#include "guest/bus.h"
#include "../machine.h"
#include "../parking.h"
#include "../pci_host.h"
#include "../run_clock.h"
#include "gic.h"

/* The physical address space. */
#define SOFT_GICD_BASE		0x08000000ull
#define SOFT_ITS_BASE		0x08080000ull
#define SOFT_ITS_DOORBELL	(SOFT_ITS_BASE + 0x10040ull)
#define SOFT_GICR_BASE		0x080a0000ull	/* 128 KiB for each vCPU */
#define SOFT_WINDOW32_BASE	0x10000000ull
#define SOFT_WINDOW32_BYTES	0x2f000000ull
#define SOFT_ECAM_BASE		0x3f000000ull
#define SOFT_RAM_BASE		0x40000000ull
#define SOFT_WINDOW64_BASE	0x100000000000ull	/* 16 TiB, above any RAM */
#define SOFT_WINDOW64_BYTES	0x10000000000ull
#define SOFT_MEMORY_MAX		(8ull << 40)

#define SOFT_SPIS		64u	/* interrupts 32..95; INTx of slot n is pin n */
#define SOFT_STATE_WORDS_MAX	8192u	/* of one vCPU's program */

struct soft_machine;
struct soft_vcpu;

/* NULL: no such guest program, or behind the last. */
const struct guest_program *soft_program_find(const char *name);
const struct guest_program *soft_program_at(size_t index);

/* ---- interrupts from devices (soft_irq.c) ---- */

struct soft_irq;

/* @gic NULL: the machine has no interrupt controller; vectors are accepted and only count up. */
int soft_irq_new(struct soft_gic *gic, struct soft_irq **ret_irq);
struct soft_irq *soft_irq_free(struct soft_irq *irq);
/* For vferry_irq_plan_new(). */
void soft_irq_get_sink(struct soft_irq *irq, struct vferry_irq_sink *ret_sink);
/* A guest ended interrupt @intid: lowers INTx lines of that pin and lets their devices raise anew. */
void soft_irq_ended(struct soft_irq *irq, uint32_t intid);
/* What devices have signalled until now is in the controller when it returns. */
void soft_irq_flush(struct soft_irq *irq);

/* ---- the machine ---- */

struct soft_config {
	unsigned cpus;
	enum soft_gic_kind gic;
	enum machine_guest_time guest_time;
	const struct guest_program *program;
	const char *args;
	bool incoming;
	uint64_t stop_timeout_ns;
	struct vferry_ram *ram;		/* borrowed; one block at SOFT_RAM_BASE */
	struct pci_host *pci;		/* borrowed */
	void (*console)(void *user, const char *line);
	void (*power_off)(void *user);
	void (*log)(void *user, const char *line);
	void *user;
};

struct soft_vcpu {
	struct guest_vcpu guest;	/* what its program sees */
	struct soft_machine *machine;
	pthread_t thread;
	bool started;
	uint64_t *words;

	struct parker parker;	/* its lock protects `published`, too */
	uint64_t *published;	/* words as of the last burst */

	atomic_bool kicked;	/* an interrupt may be there */
	atomic_uint_fast64_t waiting_gpa;	/* access under way, for messages; 0 = none */

	/* of its thread alone */
	bool bus_failed;
	uint64_t wait_until;
	uint64_t throttle_due;	/* ns owed to the throttle */
};

struct soft_machine {
	struct soft_config config;
	struct guest_platform platform;
	struct soft_gic *gic;
	int gic_device;		/* handles in the model; -1: none */
	int its_device;
	struct soft_irq *irq;
	char *args;

	struct parking parking;
	pthread_mutex_t lock;	/* protects all that follows, but the atomic ones */
	struct run_clock clock;
	bool running;
	bool loaded;
	uint32_t loaded_cpus;	/* bit n: cpu/n was loaded */
	bool clock_loaded;
	uint64_t last_stop_ns;
	uint64_t starts, stops;
	struct run_clock clock_incoming;

	atomic_bool powered_off;
	atomic_uint throttle;
	struct soft_vcpu vcpu[MACHINE_CPUS_MAX];
};

int soft_machine_new(const struct soft_config *config, struct soft_machine **ret_machine,
		     struct vferry_error *err);
struct soft_machine *soft_machine_free(struct soft_machine *machine);
int soft_machine_start(struct soft_machine *machine, struct vferry_error *err);
int soft_machine_stop(struct soft_machine *machine, struct vferry_error *err);
int soft_machine_reset(struct soft_machine *machine, struct vferry_error *err);
int soft_machine_command(struct soft_machine *machine, const char *text, char *reply,
			 size_t reply_size, struct vferry_error *err);
void soft_machine_verdict(struct soft_machine *machine, struct machine_verdict *ret);
/* What runs @machine; NULL if another accelerator does. For the GIC's components, and tests. */
struct soft_machine *soft_machine_of(struct machine *machine);
/* Wakes a vCPU's thread; from anywhere. */
void soft_vcpu_kick(struct soft_vcpu *vcpu);

/* ---- state (soft_state.c) ---- */

#define SOFT_CPU_SECTION	1u
#define SOFT_CLOCK_SECTION	1u
#define SOFT_CPU_VERSION	1u
#define SOFT_CLOCK_VERSION	1u
#define SOFT_COMPONENTS		(MACHINE_CPUS_MAX + 2u)

/* The machine is stopped. Return: 0; -EBUSY it runs; -EPROTO, -EINVAL a section that is not good. */
int soft_cpu_save(struct soft_machine *machine, unsigned cpu, struct vferry_writer *w,
		  struct vferry_error *err);
int soft_cpu_load(struct soft_machine *machine, unsigned cpu, struct vferry_reader *r,
		  struct vferry_error *err);
int soft_clock_save(struct soft_machine *machine, struct vferry_writer *w,
		    struct vferry_error *err);
int soft_clock_load(struct soft_machine *machine, struct vferry_reader *r,
		    struct vferry_error *err);
void soft_clock_apply(struct soft_machine *machine);
/*
 * cpu/N, clock, irqfd. What they point to lives as long as the machine; @storage is the caller's
 * and must live as long as the session.
 */
struct soft_component_storage;
int soft_components_new(struct soft_machine *machine, struct soft_component_storage **ret);
struct soft_component_storage *soft_components_free(struct soft_component_storage *storage);
const struct vferry_component *soft_components_get(const struct soft_component_storage *storage,
						   size_t *ret_count);

#endif
