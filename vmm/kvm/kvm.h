/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - the KVM machine: what its files share.
 *
 * Model. A vCPU is a thread that calls KVM_RUN, again and again, and does what its exits ask for.
 * It leaves KVM_RUN when it is kicked: `immediate_exit` is set, then a signal sent, so that a kick
 * is never missed, whether it comes before, in or after the call. Parked, a vCPU is outside of every
 * ioctl, and the access that its last exit was about is completed: all its state is KVM's and can be
 * read (<vferry/kvm.h>).
 *
 *   kvm.c           a machine's life: made, started, stopped, reset
 *   kvm_vcpu.c      vCPU threads: run, park, throttle
 *   kvm_exit.c      exits: MMIO, failures
 *   kvm_irq.c       from devices' eventfds to KVM's interrupt controllers (struct vferry_irq_sink)
 *   kvm_slots.c     memory of BARs as memory slots, writes to them as ioeventfds
 *   kvm_console.c   the serial port: lines for people, commands for the guest
 *   kvm_guest.c     the guest program: put into memory, asked what it saw
 *   kvm_state.c     what the components of <vferry/kvm.h> do not cover: sections and components
 *   kvm_accel.c     the table of machine_accel.h
 *   serial.c        a 16550
 *   loader.c        ELF into guest memory
 *   arch.h          what differs between architectures: x86/, arm64/
 *
 * Threads and locks: machine->lock protects the run state and is taken first; parking.h says which
 * come with the vCPUs; the console's and the sink's stand alone. No lock is held in KVM_RUN or while
 * an exit is handled.
 */
#ifndef VMM_KVM_KVM_H
#define VMM_KVM_KVM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <vferry/component.h>
#include <vferry/device.h>
#include <vferry/error.h>
#include <vferry/kvm.h>
#include <vferry/ram.h>

#include "../machine.h"
#include "../machine_accel.h"
#include "../parking.h"
#include "../pci_host.h"
#include "../run_clock.h"
#include "arch.h"

/* Numbers of memory slots: blocks of RAM, then areas of BARs. */
#define KVM_SLOT_RAM	0u
#define KVM_SLOT_BARS	64u

struct kvm_machine;
struct kvm_irq;
struct kvm_console;
struct kvm_components;
struct kvm_arch;

struct kvm_vcpu {
	struct kvm_machine *machine;
	unsigned id;
	int fd;
	struct kvm_run *run;	/* of its thread, but for immediate_exit */
	size_t run_bytes;
	pthread_t thread;
	bool started;

	struct parker parker;
	atomic_bool tick;	/* the throttle wants its share */
	atomic_bool accessing;	/* `access` is under way, for messages */
	atomic_uint_fast64_t access;	/* gpa, or port */

	/* of its thread alone */
	bool unfinished;	/* an access was carried out that KVM has not taken up */
	uint64_t throttle_due;	/* ns owed to the throttle */
};

/* What the guest wants of the whole machine; several can be wanted. */
enum kvm_wish { KVM_WISH_POWER_OFF = 1u << 0, KVM_WISH_RESET = 1u << 1 };

struct kvm_machine {
	struct machine *machine;	/* what this runs */
	unsigned cpus;
	int kvm, vm;			/* owned */
	size_t run_bytes;
	struct vferry_ram *ram;		/* borrowed */
	struct pci_host *pci;		/* borrowed */
	struct vferry_kvm_memory *memory;
	struct kvm_arch *arch;		/* arch.h */
	struct kvm_irq *irq;
	struct kvm_console *console;
	struct kvm_components *components;
	char *args;			/* of the guest program; owned */
	const struct machine_kernel *kernel;	/* in its place; borrowed, NULL: the program */
	uint64_t stop_timeout_ns;
	struct machine_callbacks callbacks;
	void *user;

	struct parking parking;
	pthread_mutex_t lock;		/* protects all that follows, but the atomic ones */
	struct run_clock clock;
	bool running;
	bool loaded;
	uint64_t last_stop_ns;
	uint64_t starts, stops;

	atomic_uint wishes;		/* enum kvm_wish */
	atomic_uint triple_faults;
	atomic_uint throttle;
	pthread_t ticker;		/* takes vCPUs out of KVM_RUN for the throttle */
	bool ticker_started;
	pthread_mutex_t tick_lock;	/* protects tick_quit, and the waiting on `tick` */
	pthread_cond_t tick;
	bool tick_quit;
	struct kvm_vcpu vcpu[MACHINE_CPUS_MAX];
};

/* ---- life (kvm.c) ---- */

int kvm_machine_new(struct machine *machine, const struct machine_options *options,
		    struct kvm_machine **ret, struct vferry_error *err);
struct kvm_machine *kvm_machine_free(struct kvm_machine *m);
int kvm_machine_start(struct kvm_machine *m, struct vferry_error *err);
int kvm_machine_stop(struct kvm_machine *m, struct vferry_error *err);
int kvm_machine_reset(struct kvm_machine *m, struct vferry_error *err);
bool kvm_machine_is_running(struct kvm_machine *m);
/* A vCPU asks for the whole machine: all park, and the owner is told once. From a vCPU's thread. */
void kvm_machine_wish(struct kvm_machine *m, enum kvm_wish wish);
/* A line for people. */
void kvm_machine_log(struct kvm_machine *m, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- vCPU threads (kvm_vcpu.c) ---- */

int kvm_vcpu_new(struct kvm_machine *m, unsigned id, struct vferry_error *err);
int kvm_vcpu_start_thread(struct kvm_vcpu *vcpu, struct vferry_error *err);
void kvm_vcpu_free(struct kvm_vcpu *vcpu);
/* Takes it out of KVM_RUN, and out of any wait, so that it looks at its flags. From any thread. */
void kvm_vcpu_kick(struct kvm_vcpu *vcpu);
/* The signal that kicks. Once for the process; again does no harm. */
int kvm_vcpu_set_up_kicks(struct vferry_error *err);
int kvm_throttle_new(struct kvm_machine *m, struct vferry_error *err);
void kvm_throttle_set(struct kvm_machine *m, unsigned percent);
void kvm_throttle_free(struct kvm_machine *m);

/* ---- exits (kvm_exit.c) ---- */

/* Does what vcpu->run asks for after KVM_RUN returned 0. */
void kvm_exit_handle(struct kvm_vcpu *vcpu);
/* A triple fault, or what is its like elsewhere: the machine is reset, as a processor does. */
void kvm_exit_triple_fault(struct kvm_vcpu *vcpu);
/* The machine can't go on, and is switched off. */
void kvm_exit_give_up(struct kvm_vcpu *vcpu);
/* KVM_RUN failed with @error: the machine can't go on. */
void kvm_exit_failed(struct kvm_vcpu *vcpu, int error);
/* Guest physical memory that is PCI's. */
uint64_t kvm_mmio_read(struct kvm_vcpu *vcpu, uint64_t gpa, unsigned size);
void kvm_mmio_write(struct kvm_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value);

/* ---- interrupts from devices (kvm_irq.c) ---- */

int kvm_irq_new(struct kvm_machine *m, struct kvm_irq **ret_irq);
struct kvm_irq *kvm_irq_free(struct kvm_irq *irq);
/* For vferry_irq_plan_new(). */
void kvm_irq_get_sink(struct kvm_irq *irq, struct vferry_irq_sink *ret_sink);
int kvm_irq_flush(struct kvm_irq *irq, struct vferry_error *err);
/* The routes of pins changed. */
int kvm_irq_refresh(struct kvm_irq *irq);

/* ---- BARs without exits (kvm_slots.c) ---- */

extern const struct pci_memory_ops kvm_slots_ops;	/* user: the machine */

/* ---- the serial port (kvm_console.c) ---- */

/* Its interrupt's level, to whatever controller there is. */
typedef void (*kvm_console_wire)(struct kvm_machine *m, bool level);

int kvm_console_new(struct kvm_machine *m, kvm_console_wire wire, struct kvm_console **ret_console);
struct kvm_console *kvm_console_free(struct kvm_console *console);
uint8_t kvm_console_read(struct kvm_console *console, unsigned offset);
void kvm_console_write(struct kvm_console *console, unsigned offset, uint8_t value);
/*
 * One line to the guest, and its answer.
 * Return: 0; -EAGAIN the machine stopped, or was reset, before the guest answered; -EINVAL the guest
 * does not know it; -ETIMEDOUT.
 */
int kvm_console_command(struct kvm_console *console, const char *text, char *reply,
			size_t reply_size, struct vferry_error *err);
/* What is typed, for a kernel. Return: how many bytes were taken. */
size_t kvm_console_put(struct kvm_console *console, const void *bytes, size_t count);
/* vCPUs park, for whatever reason: whoever waits for an answer is told. */
void kvm_console_interrupt(struct kvm_console *console);
/* Before vCPUs run: the interrupt controller is told the line's level anew. */
void kvm_console_starting(struct kvm_console *console);
void kvm_console_reset(struct kvm_console *console);
/* Machine stopped. Loaded whole or not at all: -EPROTO. */
void kvm_console_save(struct kvm_console *console, struct vferry_writer *w);
int kvm_console_load(struct kvm_console *console, struct vferry_reader *r,
		     struct vferry_error *err);

/* ---- the guest program (kvm_guest.c) ---- */

/* Is there such a program, and does it take these arguments? */
int kvm_guest_check(const struct machine_options *options, struct vferry_error *err);
/* Into guest memory, as after power-on. */
int kvm_guest_load(struct kvm_machine *m, struct vferry_error *err);
void kvm_guest_verdict(struct kvm_machine *m, struct machine_verdict *ret_verdict);
const char *kvm_guest_name(size_t index, const char **ret_summary);

/* ---- state (kvm_state.c) ---- */

#define KVM_CONSOLE_SECTION	1u
#define KVM_BOARD_SECTION	1u

/* Before state is read or replaced. -EBUSY: the machine runs. */
int kvm_must_be_stopped(struct kvm_machine *m, const char *object, struct vferry_error *err);
/* Machine stopped. Loaded whole or not at all (-EPROTO), and in force when applied. */
void kvm_board_save(struct kvm_machine *m, struct vferry_writer *w);
int kvm_board_load(struct kvm_components *components, struct vferry_reader *r,
		   struct vferry_error *err);
void kvm_board_apply(struct kvm_components *components);
int kvm_components_new(struct kvm_machine *m, struct kvm_components **ret);
struct kvm_components *kvm_components_free(struct kvm_components *components);
const struct vferry_component *kvm_components_get(const struct kvm_components *components,
						  size_t index);

#endif
