/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the parts of the self-checking guest; what it does is in worker.c.
 *
 *   worker.c          arguments, commands, the step
 *   worker_boot.c     finding PCI functions and placing their BARs, as an operating system does it
 *   worker_gic.c      GIC and ITS set-up; x86/irqchip.c has its place on x86-64
 *   worker_device.c   drivers of devices: set-up, resets; with worker_irq.c, worker_job.c for what all
 *                     have in common, and worker_accel.c, worker_edu.c for what one of them has
 *   worker_memory.c   the pattern in RAM
 *
 * All structs here are made of uint64_t only: they are the vCPU's words (bus.h). Whoever runs it
 * reads its verdict from them: vmm/worker_verdict.c.
 *
 * Who has what: vCPU 0 boots; device d belongs to vCPU d modulo the number of vCPUs, as does the
 * slice of RAM that each dirties. They share the boot page in guest RAM and nothing else.
 */
#ifndef GUEST_WORKER_H
#define GUEST_WORKER_H

#include "accel.h"
#include "guest/bus.h"

#define WORKER_PAGE		4096ull
#define WORKER_MEMORY_MIN	(16ull << 20)
#define WORKER_DEVICES		16u
#define WORKER_SLOTS		16u	/* vectors of a device */
#define WORKER_PCI_SLOTS	32u	/* of bus 0 */
#define WORKER_BARS		6u
#define WORKER_RING		64u	/* entries; more than there are slots */
#define WORKER_ACTS		8u
#define WORKER_MSI_FIRST	8192u	/* interrupt numbers of messages: 16 for each device */
#define WORKER_PIN_FIRST	32u	/* and of INTx pins */
#define WORKER_PEER_BYTES	256ull	/* of one write into a peer's BAR */

/* Guest RAM, from its beginning. */
#define WORKER_BOOT_PAGE	0x000000ull
#define WORKER_LPI_CONFIG	0x010000ull
#define WORKER_LPI_PENDING	0x020000ull	/* 64 KiB for each vCPU */
#define WORKER_ITS_QUEUE	0x0a0000ull
#define WORKER_ITS_TABLES	0x0b0000ull	/* 64 KiB: devices; 64 KiB: collections */
#define WORKER_ITT		0x0d0000ull	/* 4 KiB for each device */
#define WORKER_TABLE_BYTES	0x010000ull
#define WORKER_DEVICE_AREA	0x100000ull
#define WORKER_DEVICE_BYTES	0x040000ull
#define WORKER_TAIL		0x00f000ull	/* in a device's area: the ring's tail; see worker_accel.c */
#define WORKER_BUFFERS		0x010000ull	/* and 8 KiB for each slot */
#define WORKER_DATA		0x800000ull	/* what is dirtied and filled */

/* The boot page: words of 64 bits. */
#define WORKER_BOOT_MAGIC	0x766665727279ull
#define WORKER_BOOT_COUNT	1u
#define WORKER_BOOT_SLOT(d)	(2u + (d))
#define WORKER_BOOT_RESETS(d)	(32u + (d))
#define WORKER_BOOT_KIND(d)	(48u + (d))	/* enum worker_device_kind */

enum worker_phase {
	WORKER_PHASE_PCI = 0,		/* vCPU 0 only, up to RELEASE */
	WORKER_PHASE_IRQCHIP = 1,
	WORKER_PHASE_REDIST = 2,	/* GIC only, as the next two */
	WORKER_PHASE_ITS = 3,
	WORKER_PHASE_MAP = 4,
	WORKER_PHASE_RELEASE = 5,
	WORKER_PHASE_HELD = 6,		/* the others, until released */
	WORKER_PHASE_CPU = 7,
	WORKER_PHASE_FILL = 8,
	WORKER_PHASE_RUN = 9,
	WORKER_PHASE_DEAD = 10,		/* set-up failed: first_fault says why */
	WORKER_PHASE_OFF = 11,		/* powered off, and so wherever it is moved to */
	WORKER_PHASE__COUNT
};

enum worker_device_phase {
	WORKER_DEVICE_NONE = 0,
	WORKER_DEVICE_SETUP = 1,
	WORKER_DEVICE_RUN = 2,
	WORKER_DEVICE_RESETTING = 3,	/* until resume_ns */
	WORKER_DEVICE_DRAIN = 4,	/* jobs end, then `wanted_mode` */
	WORKER_DEVICE_DEAD = 5,
	WORKER_DEVICE__COUNT
};

enum worker_device_kind {
	WORKER_KIND_ACCEL = 0,		/* uapi/accel.h */
	WORKER_KIND_EDU = 1,		/* QEMU's -device edu */
	WORKER_KIND__COUNT
};

enum worker_irq_mode {
	WORKER_IRQ_POLL = 0,
	WORKER_IRQ_INTX = 1,
	WORKER_IRQ_MSI = 2,
	WORKER_IRQ_MSIX = 3,
	WORKER_IRQ__COUNT
};

/* What was wrong first; the arguments depend on it. */
enum worker_fault {
	WORKER_FAULT_NONE = 0,
	WORKER_FAULT_MEMORY = 1,	/* gpa */
	WORKER_FAULT_JOB_RESULT = 2,	/* device, slot */
	WORKER_FAULT_JOB_STATUS = 3,	/* device, slot, status */
	WORKER_FAULT_JOB_LOST = 4,	/* device, slot */
	WORKER_FAULT_UNNOTICED = 5,	/* device, slot */
	WORKER_FAULT_PEER = 6,		/* device, slot */
	WORKER_FAULT_INTERRUPT = 7,	/* intid */
	WORKER_FAULT_CLOCK = 8,		/* ns */
	WORKER_FAULT_BUS = 9,		/* device */
	WORKER_FAULT_SETUP = 10,	/* phase, detail (IRQCHIP: slot whose pin can't be shared) */
	WORKER_FAULT_TIMER = 11,	/* ns late */
	WORKER_FAULT_REGISTER = 12,	/* number, what it should hold, what it held */
	WORKER_FAULT_EXCEPTION = 13,	/* vector, instruction, address or error code */
	WORKER_FAULT_DOORBELLS = 14,	/* device, rung, counted by the device */
	WORKER_FAULT__COUNT
};

enum worker_act_op {
	WORKER_ACT_NONE = 0,
	WORKER_ACT_FLR = 1,		/* device */
	WORKER_ACT_RESET = 2,		/* device */
	WORKER_ACT_MOVE_BAR = 3,	/* device, BAR */
	WORKER_ACT_IRQ_MODE = 4,	/* device, enum worker_irq_mode */
	WORKER_ACT_MASK = 5,		/* device, slot */
	WORKER_ACT_UNMASK = 6,		/* device, slot */
	WORKER_ACT_MASK_ALL = 7,	/* device */
	WORKER_ACT_UNMASK_ALL = 8,	/* device */
	WORKER_ACT_POWER_OFF = 9,
	WORKER_ACT_RATE = 10,		/* bytes a second */
	WORKER_ACT_JOBS = 11,		/* 0 or 1 */
	WORKER_ACT_MASK_CYCLE = 12,	/* device, ns */
	WORKER_ACT_PEER = 13,		/* 0 or 1 */
	WORKER_ACT_JUDGE = 14,
	WORKER_ACT_ADD_VECTORS = 15,	/* device, how many there are then */
	WORKER_ACT_FORGET_GAP = 16,	/* the longest gap is looked for anew */
	WORKER_ACT_TICK = 17,		/* ns; stays where it is, for as long as the guest runs */
	WORKER_ACT__COUNT
};

struct worker_act {
	uint64_t at_ns;		/* running time since power-on */
	uint64_t op;		/* enum worker_act_op; NONE: free */
	uint64_t a;
	uint64_t b;
};

#define WORKER_MASKED_VECTOR	1u
#define WORKER_MASKED_ALL	2u	/* with its function */

/* One vector and the job that it stands for. */
struct worker_slot {
	uint64_t in_flight;
	uint64_t op;		/* ACCEL_OP_*, or what another device has */
	uint64_t number;	/* of the job, from 0 */
	uint64_t seed;
	uint64_t descriptor;	/* index in the ring */
	uint64_t submitted_ns;	/* run time */
	uint64_t done_seen_ns;	/* seen done, but not noticed by an interrupt; 0 = not */
	uint64_t masked;	/* WORKER_MASKED_* */
	uint64_t was_masked;	/* and has not completed a job since: one interrupt may be spurious */
	uint64_t voided;	/* its job was lost in a reset: one interrupt may still come */
	uint64_t interrupts;
	uint64_t stored;	/* internal memory holds the pattern of stored_seed */
	uint64_t stored_seed;
	uint64_t peer_written;	/* the peer's BAR holds the pattern of peer_seed ... */
	uint64_t peer_seed;
	uint64_t peer_resets;	/* ... if the peer's count of resets is still this */
};

struct worker_device {
	uint64_t phase;
	uint64_t resume_ns;
	uint64_t pci_slot;
	uint64_t bar[WORKER_BARS];		/* value for the register, 0 = none */
	uint64_t bar_bytes[WORKER_BARS];
	uint64_t cap_msi, cap_msix, cap_pcie;	/* offsets, 0 = none */
	uint64_t msix_table;			/* offset in BAR0 */
	uint64_t slots;				/* in use */
	uint64_t mode, wanted_mode;
	uint64_t state_bytes;
	uint64_t tail;				/* jobs put into the ring since it was enabled */
	uint64_t next_slot;
	uint64_t watched_ns;			/* when timeouts were looked at last */
	uint64_t mask_cycle_ns, mask_due_ns, mask_slot;
	struct worker_slot slot[WORKER_SLOTS];
};

struct worker {
	uint64_t phase;
	uint64_t cursor;		/* of the phase */
	/* arguments and commands */
	uint64_t seed;
	uint64_t rate;			/* bytes a second; UINT64_MAX: as fast as it goes */
	uint64_t vectors;
	uint64_t mode;
	uint64_t jobs;
	uint64_t job_bytes;
	uint64_t job_delay_us;
	uint64_t notice_ns;
	uint64_t lost_ns;
	uint64_t peer;
	uint64_t fill_kind;		/* enum worker_fill */
	struct worker_act act[WORKER_ACTS];
	/* boot */
	uint64_t next32, next64;
	uint64_t found;			/* devices */
	uint64_t queue;			/* ITS commands written, modulo the queue */
	/* memory of this vCPU; set_gpa and fill_gpa as if RAM were in one piece */
	uint64_t set_gpa, set_pages, stride;
	uint64_t position, generation;	/* pages before position (in visiting order) are one ahead */
	uint64_t fill_gpa, fill_pages, fill_done;
	uint64_t due_ns;		/* run time at which the next page may be dirtied */
	uint64_t judging;
	uint64_t check_position;
	uint64_t turn;			/* device whose turn it is */
	uint64_t idle_turns;
	/* time */
	uint64_t began;			/* a step was made: the following are valid */
	uint64_t born_ns;		/* run time of the first step */
	uint64_t last_run_ns, last_paused_ns, last_counter, wake_ns;
	/* what it saw */
	uint64_t steps;
	uint64_t dirtied_pages, checked_pages, corrupt_pages;
	uint64_t corrupt_gpa, corrupt_expected, corrupt_found;
	uint64_t passes;
	uint64_t submitted_jobs, verified_jobs, corrupt_jobs, failed_jobs, lost_jobs;
	uint64_t unnoticed_jobs, peer_writes, lost_peer_writes, resets, voided_jobs, bus_errors;
	uint64_t interrupts, spurious, unknown_interrupts;
	uint64_t gap_ns, gap_running_ns, clock_backward;
	uint64_t fault, fault_a, fault_b, fault_c;
	struct worker_device device[WORKER_DEVICES];
};

enum worker_fill { WORKER_FILL_RANDOM = 0, WORKER_FILL_ZERO = 1, WORKER_FILL_HALF = 2 };

#define WORKER_WORDS (sizeof(struct worker) / sizeof(uint64_t))

/* On bare metal: behind struct worker, what a processor sees beside its program. */
struct worker_watch {
	uint64_t timers;		/* timer interrupts */
	uint64_t lost_timers;		/* that did not come in time */
	uint64_t register_checks;
	uint64_t lost_registers;	/* that held another value than was put there */
};

#define WORKER_WATCH_WORDS (sizeof(struct worker_watch) / sizeof(uint64_t))

/* Only the first fault is kept. */
void worker_fault(struct worker *w, enum worker_fault fault, uint64_t a, uint64_t b, uint64_t c);

/* ---- memory ---- */

/* A word of guest RAM, as a processor reads and writes it. */
uint64_t worker_load(struct guest_vcpu *vcpu, uint64_t gpa);
void worker_store(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t value);
void worker_zero(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t bytes);
/* word i = accel_pattern(seed, i). @bytes multiple of 8. */
void worker_pattern_write(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t seed, uint64_t bytes);
/* Return: bytes that hold the pattern, from the beginning; @bytes if all do. */
uint64_t worker_pattern_check(struct guest_vcpu *vcpu, uint64_t gpa, uint64_t seed, uint64_t bytes,
			      uint64_t *ret_found);
/* Splits what is free behind the tables among the vCPUs. */
void worker_memory_plan(struct worker *w, const struct guest_platform *platform, unsigned cpu,
			uint64_t set_bytes, uint64_t fill_bytes);
bool worker_memory_valid(const struct worker *w, const struct guest_platform *platform);
/* First contents. Return: true when all is filled. */
bool worker_memory_fill(struct guest_vcpu *vcpu, struct worker *w);
/* Dirties what is due. Return: true if it did any. */
bool worker_memory_dirty(struct guest_vcpu *vcpu, struct worker *w, uint64_t now_ns);
/* A piece of the pass over all memory. Return: true at its end. */
bool worker_memory_check(struct guest_vcpu *vcpu, struct worker *w);
uint64_t worker_mix(uint64_t a, uint64_t b);

/* ---- PCI ---- */

void worker_boot_step(struct guest_vcpu *vcpu, struct worker *w);
void worker_next_phase(struct worker *w, enum worker_phase phase);
void worker_dead(struct worker *w, uint64_t detail);
uint32_t worker_config_read(struct guest_vcpu *vcpu, uint64_t slot, uint64_t offset, unsigned size);
void worker_config_write(struct guest_vcpu *vcpu, uint64_t slot, uint64_t offset, unsigned size,
			 uint32_t value);
/* Sizes the BARs, without placing them. Decoding must be off. */
void worker_bars_size(struct guest_vcpu *vcpu, struct worker_device *dev);
void worker_bars_write(struct guest_vcpu *vcpu, const struct worker_device *dev);

/* ---- the interrupt controller: worker_gic.c or x86/irqchip.c ---- */

/* A piece of the set-up on vCPU 0, from WORKER_PHASE_IRQCHIP to WORKER_PHASE_RELEASE. */
void worker_irqchip_step(struct guest_vcpu *vcpu, struct worker *w);
/* Each vCPU's own part of it, when it was released. */
void worker_irqchip_cpu(struct guest_vcpu *vcpu);
/* The message that is interrupt WORKER_MSI_FIRST + device * WORKER_SLOTS + vector. */
struct worker_message {
	uint64_t address;
	uint32_t data;
};
struct worker_message worker_message(struct guest_vcpu *vcpu, unsigned device, unsigned vector);

/* ---- devices ---- */

/* By vendor | device << 16; KIND__COUNT: nothing is known of such a device. */
enum worker_device_kind worker_device_kind(uint32_t id);

/* The vCPU that has a device. */
static inline bool worker_owns(const struct guest_platform *platform, unsigned cpu, uint64_t device)
{
	return device % platform->cpus == cpu;
}

void worker_device_find(struct guest_vcpu *vcpu, struct worker *w);
/* Return: true if it did something. */
bool worker_device_step(struct guest_vcpu *vcpu, struct worker *w, unsigned device,
			uint64_t now_ns);
void worker_device_act(struct guest_vcpu *vcpu, struct worker *w, const struct worker_act *act,
		       uint64_t now_ns);
void worker_device_interrupt(struct guest_vcpu *vcpu, struct worker *w, uint32_t intid);
/* No job under way on any device of this vCPU, and all vectors unmasked. */
bool worker_devices_quiet(struct guest_vcpu *vcpu, struct worker *w);
bool worker_devices_busy(const struct worker *w);
/* Quiet: has each of them heard of its jobs as often as it was told? */
void worker_devices_count(struct guest_vcpu *vcpu, struct worker *w);
bool worker_device_valid(const struct worker_device *dev);

#endif
