/* SPDX-License-Identifier: MIT */
/*
 * machine.h - the reference VMM's machine, as the command line sees it.
 *
 * A machine is guest RAM, vCPUs, an interrupt controller, a PCI host and the devices passed through
 * to it; nothing else. What runs the vCPUs is an accelerator, one table of functions each
 * (machine_accel.h): `kvm` runs a guest on the kernel's KVM; `soft` runs guest programs written in C
 * on threads and needs nothing from the kernel. The machine is an embedder of libvferry like any
 * other: it uses <vferry/...> only.
 *
 * A machine is made stopped. machine_start() and machine_stop() are what a session calls through
 * machine_session_ops(), and what `stop` and `cont` of the control socket call; a destination's
 * machine is made with `incoming` set and is started by its session alone.
 *
 * Threads: every function may be called from any thread, except from the machine's callbacks;
 * machine_new/free and adding to a session by the owner only. Callbacks run on a vCPU's thread with
 * no lock of the machine held, must not block for long and must not call machine functions other
 * than machine_name_*(): hand it to your own loop.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/device.h>
#include <vferry/error.h>
#include <vferry/ram.h>
#include <vferry/session.h>
#include <vferry/trust.h>

#define MACHINE_CPUS_MAX	8u
#define MACHINE_DEVICES_MAX	16u
#define MACHINE_VECTORS_MAX	16u	/* that a guest program uses of one device */
#define MACHINE_MEMORY_MIN	(16ull << 20)

struct machine;

enum machine_gic {
	MACHINE_GIC_OFF = 0,		/* no interrupt controller: guests poll */
	MACHINE_GIC_V3 = 1,
	MACHINE_GIC_V4_0 = 2,		/* vectors can be forwarded, pending ones not read back */
	MACHINE_GIC_V4_1 = 3,
	MACHINE_GIC_DEFAULT = 4,	/* v4.0 where there is a GIC; else nothing */
};

/** "off", "v3", "v4.0", "v4.1"; -EINVAL for any other word. */
int machine_gic_parse(const char *word, enum machine_gic *ret);
const char *machine_gic_name(enum machine_gic gic);

/* Where KVM's interrupt controllers are. */
enum machine_irqchip {
	MACHINE_IRQCHIP_DEFAULT = 0,	/* kernel, with KVM; else nothing */
	MACHINE_IRQCHIP_KERNEL = 1,
	MACHINE_IRQCHIP_SPLIT = 2,	/* LAPICs in the kernel, IOAPIC here */
};

/** "kernel", "split"; -EINVAL for any other word. */
int machine_irqchip_parse(const char *word, enum machine_irqchip *ret);

/* How KVM tells which pages the guest wrote. */
enum machine_dirty {
	MACHINE_DIRTY_AUTO = 0,		/* what is better here */
	MACHINE_DIRTY_LOG = 1,
	MACHINE_DIRTY_RING = 2,
};

/** "auto", "log", "ring"; -EINVAL for any other word. */
int machine_dirty_parse(const char *word, enum machine_dirty *ret);

/* What the guest's counter does while the machine is stopped (--guest-time). */
enum machine_guest_time {
	MACHINE_GUEST_TIME_RUNNING = 0,	/* goes on: the guest sees the gap */
	MACHINE_GUEST_TIME_PAUSED = 1,	/* stands still */
};

struct machine_device_options {
	const char *uri;		/* vfio-user:PATH, vfio:WHICH; see vferry/device.h */
	const char *address;		/* guest PCI address "00:04.0"; NULL: next free from 00:01.0 */
	uint64_t timeout_ns;		/* answer of the device to one request; 0 = the library's */
};

/* A kernel in place of a guest program. All of it is borrowed while the machine lives: a reset boots it anew. */
struct machine_kernel {
	const void *image;
	size_t image_bytes;
	const void *initrd;		/* its initial RAM disk; NULL: none */
	size_t initrd_bytes;
	const char *append;		/* its command line; NULL: none */
};

struct machine_callbacks {
	uint32_t size;
	/* Output of the guest's console: whole lines, no newline. May be NULL. */
	void (*console)(void *user, const char *line);
	/* The same of a kernel, as it comes, in place of lines; on a vCPU's thread. May be NULL. */
	void (*console_bytes)(void *user, const void *bytes, size_t count);
	/* The guest powered off: its vCPUs are parking by themselves. May be NULL. */
	void (*power_off)(void *user);
	/* The guest asked for a reset: its vCPUs are parking until machine_reset(). May be NULL. */
	void (*reset)(void *user);
	/* The host tells of a device, "00:04.0 (vfio:0000:3b:00.0)": it failed (once for each machine_start());
	 * it is wanted back, and waited for (once). On threads of the library, also before machine_new() has
	 * returned. May be NULL. */
	void (*device_error)(void *user, const char *device);
	void (*device_requested)(void *user, const char *device);
	/* Warnings of the machine (an unreachable device, a line the kernel would log). May be NULL. */
	void (*log)(void *user, const char *line);
};

struct machine_options {
	uint32_t size;			/* sizeof(struct machine_options) */
	const char *accel;		/* "auto", "soft" or "kvm"; NULL = auto */
	unsigned cpus;			/* 1..MACHINE_CPUS_MAX */
	uint64_t memory_bytes;		/* multiple of 4096 (2 MiB with hugetlb) */
	bool hugetlb;
	bool dump_memory;		/* guest memory is part of core dumps */
	enum machine_gic gic;		/* soft */
	enum machine_irqchip irqchip;	/* kvm */
	enum machine_dirty dirty;	/* kvm */
	int kvm;			/* /dev/kvm, open; borrowed during machine_new(); -1: is opened */
	const char *guest;		/* name of a guest program; NULL = "worker" */
	const char *guest_args;		/* "key=value ..." as a kernel's command line; NULL = none */
	const struct machine_kernel *kernel;	/* kvm; NULL: the guest program */
	const struct machine_device_options *devices;	/* borrowed during machine_new() */
	size_t device_count;
	const struct vferry_trust *trust;	/* who may serve the devices; borrowed, may be NULL */
	bool peers;			/* BARs of each device are DMA-mapped into all others */
	bool incoming;			/* a destination: vCPUs get their state from a session */
	bool paused;			/* remembered for machine_get_info(); `run` does not start it then */
	enum machine_guest_time guest_time;
	uint64_t stop_timeout_ns;	/* most that machine_stop() takes; 0 = 10 s */
	const struct machine_callbacks *callbacks;	/* borrowed while the machine lives; or NULL */
	void *user;			/* handed to the callbacks */
};

#define MACHINE_OPTIONS_INIT { .size = sizeof(struct machine_options), .accel = "auto", .cpus = 1, \
	.memory_bytes = 256ull << 20, .gic = MACHINE_GIC_DEFAULT, .kvm = -1, .guest = "worker" }

/**
 * machine_open_kvm() - /dev/kvm, for machine_options.kvm, before the process gives up opening files
 * Return: a descriptor; -1 there is none that could be opened: machine_new() then says why.
 */
int machine_open_kvm(void);

/* Is any of them a device of the kernel's (vfio:...)? Then all guest memory will be locked. */
bool machine_has_kernel_devices(const struct machine_options *options);

/**
 * machine_new() - everything but running vCPUs
 *
 * Return: 0; -EINVAL with the option named; -ENOTSUP an accelerator that is not there, with what is
 * missing; what opening the RAM and the devices returned.
 */
int machine_new(const struct machine_options *options, struct machine **ret_machine,
		struct vferry_error *err);
/* Stops it first. Not while a session uses it. NULL is fine; returns NULL. */
struct machine *machine_free(struct machine *machine);

/** Lets the vCPUs run. 0 also if they do. -EPERM: incoming, and no state was loaded; power is off. */
int machine_start(struct machine *machine, struct vferry_error *err);
/**
 * machine_stop() - every vCPU out of its run loop and parked, no access of a vCPU under way
 * Return: 0 also if they are; -ETIMEDOUT within stop_timeout_ns, naming the vCPU and what it waits
 * for: then nothing changed and the machine runs on.
 */
int machine_stop(struct machine *machine, struct vferry_error *err);
bool machine_is_running(struct machine *machine);
/* Has somebody else's state to run: made without `incoming`, or loaded by a session. */
bool machine_is_loaded(struct machine *machine);
bool machine_is_powered_off(struct machine *machine);
/* Devices, interrupt controller and guest as after power-on; runs again if it ran. */
int machine_reset(struct machine *machine, struct vferry_error *err);
/* Share of time, in percent (0..99), that vCPUs must not run. */
void machine_throttle(struct machine *machine, unsigned percent);

/* ---- migration ---- */

/*
 * For vferry_session_new(), with the machine as user: stop, start, throttle. An embedder that wants
 * the other callbacks makes a table of its own that calls machine_stop/start/throttle.
 */
const struct vferry_machine_ops *machine_session_ops(void);
/** RAM, devices, interrupt plan, machine description and components. Once for each session. */
int machine_add_to_session(struct machine *machine, struct vferry_session *session,
			   struct vferry_error *err);

struct vferry_ram *machine_ram(struct machine *machine);			/* borrowed */
size_t machine_device_count(const struct machine *machine);
struct vferry_device *machine_device(struct machine *machine, size_t index);	/* borrowed */
/* Has the host told of an error of this device, since the machine was last started? */
bool machine_device_failed(struct machine *machine, size_t index);
/* Has the host asked for this device? */
bool machine_device_requested(struct machine *machine, size_t index);
/* Writes of the guest to this device that now reach it by eventfd, without an exit to this process. */
unsigned machine_device_ioeventfds(struct machine *machine, size_t index);

/* ---- the guest ---- */

/*
 * What is typed at the console of a kernel. Return: how many bytes were taken: fewer while the guest
 * doesn't read, none while it doesn't run or where there is no such console.
 */
size_t machine_console_put(struct machine *machine, const void *bytes, size_t count);

/*
 * machine_guest_command() - one line to the guest's console
 * @reply: the guest's one-line answer; may be NULL
 * Taken between two steps of the guest, so it is never half done nor lost by a migration.
 * Return: 0; -EINVAL the guest does not know it; -ETIMEDOUT as machine_stop(); -EPERM not loaded.
 */
int machine_guest_command(struct machine *machine, const char *text, char *reply, size_t reply_size,
			  struct vferry_error *err);

/* What the self-checking guest saw since it was started, carried along by migrations. */
struct machine_verdict {
	bool judging;			/* a guest program that checks; else all of this is 0 */
	bool booted;			/* set-up done on every vCPU */
	uint64_t steps;			/* of all vCPUs: grows while the guest runs */
	uint64_t dirtied_pages;
	uint64_t checked_pages;
	uint64_t corrupt_pages;
	uint64_t corrupt_gpa;		/* the first corrupt word ... */
	uint64_t corrupt_expected;
	uint64_t corrupt_found;
	uint64_t passes;		/* times that each vCPU has checked all of its memory */

	uint64_t devices;
	uint64_t submitted_jobs;
	uint64_t verified_jobs;
	uint64_t corrupt_jobs;		/* done, with a wrong result */
	uint64_t failed_jobs;		/* the device refused one */
	uint64_t lost_jobs;		/* never done */
	uint64_t unnoticed_jobs;	/* done, but no interrupt in time */
	uint64_t peer_writes;		/* verified in the peer's BAR */
	uint64_t lost_peer_writes;
	uint64_t resets;		/* of devices, made by the guest */
	uint64_t voided_jobs;		/* in flight when the guest reset the device: no fault */
	uint64_t bus_errors;		/* accesses that the device did not answer */

	uint64_t interrupts;
	uint64_t spurious;		/* an interrupt without a new completion */
	uint64_t unknown_interrupts;	/* of a number that the guest gave to nobody */
	uint64_t vector_interrupts[MACHINE_DEVICES_MAX][MACHINE_VECTORS_MAX];

	uint64_t longest_gap_ns;	/* between two steps of one vCPU, pauses included */
	uint64_t longest_gap_running_ns;	/* pauses left out; 0 where they can't be told apart */
	uint64_t clock_backward;	/* times the counter went back */
	uint64_t lost_timers;		/* timer interrupts that did not come in time (kvm) */
	uint64_t lost_registers;	/* processor registers that changed by themselves (kvm) */
	uint64_t paused_ns;		/* all pauses together */
	char first_fault[160];		/* one sentence on the first thing wrong; empty if none */
};

int machine_get_verdict(struct machine *machine, struct machine_verdict *ret_verdict);
/*
 * machine_judge() - the guest ends its jobs, checks all of its memory once, and goes on
 * Runs until it is done or @timeout_ns passed. The machine must be running.
 * Return: 0; -ETIMEDOUT; -EAGAIN it is stopped; -ENOTSUP a guest that does not check.
 */
int machine_judge(struct machine *machine, uint64_t timeout_ns, struct machine_verdict *ret_verdict,
		  struct vferry_error *err);
/* Nothing wrong, with at most @allowed_spurious interrupts without a completion? */
bool machine_verdict_clean(const struct machine_verdict *verdict, uint64_t allowed_spurious);

/* ---- figures ---- */

struct machine_info {
	const char *accel;		/* "kvm", "soft" */
	const char *guest;
	char description[64];		/* what both sides of a migration must agree on */
	unsigned cpus;
	uint64_t memory_bytes;
	enum machine_gic gic;		/* OFF where there is none */
	const char *irqchip;		/* "gic", "kernel", "none" */
	const char *dirty;		/* who tells what vCPUs wrote: "kvm-log", "kvm-ring", "vmm" */
	bool hugetlb;
	bool paused_at_start;
	bool running;
	bool powered_off;
	bool reset_wanted;		/* the guest asked for a reset that is not done yet */
	unsigned throttle_percent;
	uint64_t counter_ns;		/* the guest's counter */
	uint64_t last_stop_ns;		/* how long the last machine_stop() took */
	uint64_t starts;
	uint64_t stops;
	uint64_t blocked_accesses;	/* to BARs that were out of reach: should stay 0 */
};

void machine_get_info(struct machine *machine, struct machine_info *ret_info);
/* Info, verdict and devices as one JSON object; the caller frees it. -ENOMEM. */
int machine_figures(struct machine *machine, char **ret_json);

/* Names of accelerators and guest programs for --help; NULL ends. */
const char *machine_name_accel(size_t index, const char **ret_summary);
const char *machine_name_guest(size_t index, const char **ret_summary);

#endif
