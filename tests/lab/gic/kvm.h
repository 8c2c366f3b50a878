/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - what the parts of the real kernel's backend know of each other. It runs in the lab only:
 * one process, as root, on an arm64 kernel with KVM.
 */
#ifndef TESTS_LAB_KVM_H
#define TESTS_LAB_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vgic.h"

#define KVM_CPUS	4
#define KVM_TOKENS	8
#define KVM_DEVICES	3	/* interrupt controllers of a VM */
#define KVM_ROUTES	24

#define RAM_BASE	0x40000000ull
#define RAM_BYTES	0x400000ull
#define CODE_BASE	0x50000000ull	/* a slot of its own: not copied, not in the dirty log */
#define CODE_BYTES	0x10000ull
#define PAGE		4096u

struct kvm_cpu {
	int fd;
	struct kvm_run *run;
	enum { CPU_IDLE, CPU_SPINS, CPU_HELD } state;
	pthread_t thread;
	int err;		/* why KVM_RUN came back, if not because it was asked to */
	bool ended;
	int faults;		/* userfaultfd that holds the ioctl */
	void *held_page;
};

struct kvm_token {
	uint64_t token;
	int eventfd;
	unsigned int gsi;
	bool connected;		/* an irqfd */
	int edu;		/* the device that raises it, -1: none */
};

struct kvm_vm {
	int fd;
	char debugfs[VGIC_PATH];
	uint8_t *ram, *code;
	bool dirty[RAM_BYTES / PAGE];
	struct kvm_cpu cpus[KVM_CPUS];
	unsigned int cpu_count;
	int devices[KVM_DEVICES];
	unsigned int device_count;
	int its;		/* the first one, -1: none */
	struct kvm_token tokens[KVM_TOKENS];
	unsigned int token_count;
};

/* The guest: cpu.c. Routines are those of guest.S. */
enum guest_does {
	GUEST_LOAD8, GUEST_LOAD32, GUEST_LOAD64, GUEST_STORE8, GUEST_STORE32, GUEST_STORE64,
	GUEST_ACK, GUEST_EOI, GUEST_ICC_PMR, GUEST_ICC_IGRPEN1, GUEST_ICC_CTLR,
};

int kvm_cpu_create(void *vm);
void kvm_cpu_close(struct kvm_cpu *cpu);
int kvm_cpu_mpidr(void *vm, unsigned int cpu, uint64_t mpidr);
int kvm_cpu_enter(void *vm, unsigned int cpu, bool run);
int kvm_cpu_leave(void *vm, unsigned int cpu);
int kvm_cpu_does(struct kvm_vm *vm, unsigned int cpu, enum guest_does what, uint64_t x0,
		 uint64_t x1, uint64_t *ret);
void kvm_guest_install(struct kvm_vm *vm);

/* Devices that raise interrupts: edu.c. -ENOTSUP: this machine has none. */
int edu_vector(struct kvm_token *token, bool on);
int edu_fire(const struct kvm_token *token);	/* 1: the kernel took it, 0: it never saw it */
bool edu_forwarded(const struct kvm_token *token);

/* What the kernel shows: seen.c */
int seen_open(void);
const char *seen_kind(void);
unsigned int seen_log(void);
bool seen_lpi(const struct kvm_vm *vm, uint32_t intid, struct vgic_lpi *lpi);
bool seen_forwarded(unsigned int irq);	/* a host interrupt that hardware gives to a guest */
long seen_event_count(int eventfd);
void seen_injection_clear(void);
const char *seen_injection(void);	/* "injected", "lost", NULL: nothing yet */

#endif
