/* SPDX-License-Identifier: MIT */
/*
 * soft.h - the soft machine: vCPUs without KVM.
 *
 * Model. A vCPU is a thread that calls the step function of a guest program, again and again. A
 * program is a state machine: its whole state is one block of 64-bit words for each vCPU, and
 * between two steps there is nothing else, so a vCPU can be parked there, its words saved, and
 * continued by another process. A step touches the machine through the bus calls below only, those
 * that the exits of KVM_RUN would make: loads and stores of RAM and of MMIO, interrupt acknowledge
 * and end, wait for interrupt, the counter.
 *
 *   soft.c        threads, start, stop, throttle, reset
 *   soft_bus.c    the bus calls
 *   soft_irq.c    from devices' eventfds to the interrupt controller (struct vferry_irq_sink)
 *   soft_clock.c  the guest's counter
 *   soft_state.c  what is saved and loaded: sections and components
 *   guest_*.c     the programs
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

#include "../machine.h"
#include "../pci_host.h"
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

/* ---- guest programs ---- */

enum soft_step {
	SOFT_STEP_GO = 0,	/* call again */
	SOFT_STEP_WAIT = 1,	/* wait for interrupt, or until soft_wait_until() */
	SOFT_STEP_POWER_OFF = 2,
};

/* What a program may know of the machine without asking the bus (a device tree, as it were). */
struct soft_platform {
	unsigned cpus;
	bool gic;
	bool its;
	uint64_t ram_gpa;
	uint64_t ram_bytes;
};

struct soft_program {
	const char *name;
	const char *summary;
	uint32_t version;	/* of its words; others are refused */
	uint32_t words;		/* at most SOFT_STATE_WORDS_MAX */
	/* State as after power-on; the first page of RAM is zero then. -EINVAL: arguments it does not know. */
	int (*init)(const struct soft_platform *platform, unsigned cpu, const char *args,
		    uint64_t *words, struct vferry_error *err);
	/* Loaded words: is everything that is used as an index or a bound in its bounds? */
	bool (*valid)(const struct soft_platform *platform, unsigned cpu, const uint64_t *words);
	enum soft_step (*step)(struct soft_vcpu *vcpu, uint64_t *words);
	/* An interrupt was acknowledged; it is ended after the return. May be NULL: it is ignored. */
	void (*interrupt)(struct soft_vcpu *vcpu, uint64_t *words, uint32_t intid);
	/* One line of the console, given to every vCPU while all are parked. -EINVAL: not known. */
	int (*command)(const struct soft_platform *platform, unsigned cpu, uint64_t *words,
		       const char *text, char *reply, size_t reply_size);
	/* Adds what this vCPU saw. NULL: a program that does not check. */
	void (*verdict)(const struct soft_platform *platform, unsigned cpu, const uint64_t *words,
			struct machine_verdict *verdict);
};

/* NULL: no such program, or behind the last. */
const struct soft_program *soft_program_find(const char *name);
const struct soft_program *soft_program_at(size_t index);
extern const struct soft_program soft_guest_worker;
extern const struct soft_program soft_guest_idle;

/* ---- the bus, for programs: from the vCPU's own thread, in a step ---- */

unsigned soft_cpu(const struct soft_vcpu *vcpu);
const struct soft_platform *soft_platform(const struct soft_vcpu *vcpu);
/* Host pointer to guest RAM, for speed; NULL outside. Writes are to be marked afterwards. */
void *soft_ram(struct soft_vcpu *vcpu, uint64_t gpa, uint64_t bytes);
void soft_ram_written(struct soft_vcpu *vcpu, uint64_t gpa, uint64_t bytes);
/*
 * MMIO. An access that fails reads as ones, and every later one of the same step fails at once:
 * so a step takes as long as one hanging device at most. soft_bus_failed() says so.
 */
uint64_t soft_read(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size);
void soft_write(struct soft_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value);
bool soft_bus_failed(const struct soft_vcpu *vcpu);
int soft_icc_write(struct soft_vcpu *vcpu, uint32_t reg, uint64_t value);
uint64_t soft_counter(struct soft_vcpu *vcpu);		/* ns, as --guest-time says */
uint64_t soft_run_ns(struct soft_vcpu *vcpu);		/* ns, pauses left out */
uint64_t soft_wall_ns(struct soft_vcpu *vcpu);		/* ns, pauses included */
void soft_wait_until(struct soft_vcpu *vcpu, uint64_t run_ns);	/* for SOFT_STEP_WAIT */
void soft_console(struct soft_vcpu *vcpu, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- the guest's clock (soft_clock.c) ---- */

/*
 * run: time that vCPUs were let run. paused: all stops together. The counter is run, or their sum.
 * Changed only while every vCPU is parked, under machine->lock.
 */
struct soft_clock {
	enum machine_guest_time mode;
	bool running;
	uint64_t run_ns;	/* until the last start or stop */
	uint64_t paused_ns;
	uint64_t since_ns;	/* CLOCK_MONOTONIC of that start or stop; 0: never started */
	uint64_t stopped_real_ns;	/* loaded: CLOCK_REALTIME when the source stopped; or 0 */
};

uint64_t soft_now_ns(void);
uint64_t soft_real_ns(void);
void soft_clock_start(struct soft_clock *clock);
void soft_clock_stop(struct soft_clock *clock);
uint64_t soft_clock_run(const struct soft_clock *clock);
uint64_t soft_clock_paused(const struct soft_clock *clock);
uint64_t soft_clock_counter(const struct soft_clock *clock);

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
	const struct soft_program *program;
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
	struct soft_machine *machine;
	unsigned id;
	pthread_t thread;
	bool started;
	uint64_t *words;

	pthread_mutex_t lock;	/* protects `parked`, `published` and the waiting on `wake` */
	pthread_cond_t wake;
	bool parked;
	uint64_t *published;	/* words as of the last burst */

	atomic_bool stop;	/* leave the run loop */
	atomic_bool exit;	/* and the thread */
	atomic_bool kicked;	/* an interrupt may be there */
	atomic_uint_fast64_t waiting_gpa;	/* access under way, for messages; 0 = none */

	/* of its thread alone */
	bool bus_failed;
	uint64_t wait_until;
	uint64_t throttle_due;	/* ns owed to the throttle */
};

struct soft_machine {
	struct soft_config config;
	struct soft_platform platform;
	struct soft_gic *gic;
	int gic_device;		/* handles in the model; -1: none */
	int its_device;
	struct soft_irq *irq;
	char *args;

	pthread_mutex_t parked_lock;	/* protects nothing but the wait for `parked` */
	pthread_cond_t parked;	/* some vCPU parked */
	pthread_mutex_t lock;	/* protects all that follows, but the atomic ones */
	struct soft_clock clock;
	bool running;
	bool loaded;
	uint32_t loaded_cpus;	/* bit n: cpu/n was loaded */
	bool clock_loaded;
	uint64_t last_stop_ns;
	uint64_t starts, stops;
	struct soft_clock clock_incoming;

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
