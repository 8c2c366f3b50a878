/* SPDX-License-Identifier: MIT */
/*
 * arm64_internal.h - the inside of struct vferry_kvm_arm64, for the files of this folder.
 *
 *	arm64.c		the object, which components there are
 *	cpu.c		cpu/N: save, load			cpu_image.h	its section
 *	cpu_check.c	cpu/N: identity and comparison		registers.h	what it is made of
 *	counter.c	counter, and what is true of the VM	counter_time.h	its arithmetic
 *	gic_attr.c	KVM's device attributes, for gic and its/N, which are gic_component.c's
 *
 * All of it is built on every host, and every call of KVM goes through struct vf_arm64_calls, so
 * that tests can put a KVM of their own there.
 */
#ifndef VF_KVM_ARM64_INTERNAL_H
#define VF_KVM_ARM64_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/irqchip.h>
#include <vferry/kvm.h>

#include "kvm/arm64/counter_time.h"
#include "kvm/arm64/cpu_image.h"
#include "kvm/arm64/registers.h"

#define VF_ARM64_REGIONS_MAX	32u	/* of redistributors: more than KVM makes of 512 vCPUs */
#define VF_ARM64_NO_IRQ		0xffffffffu

struct vf_arm64_calls {
	void *user;
	/* ioctl(2), as vf_kvm_call(). */
	int (*call)(void *user, int fd, unsigned long request, void *argument);
	/* The host's counter, which KVM's offsets refer to, its frequency, and CLOCK_REALTIME. */
	uint64_t (*counter)(void *user);
	uint32_t (*counter_hz)(void *user);
	uint64_t (*realtime_ns)(void *user);
};

extern const struct vf_arm64_calls vf_arm64_host_calls;

/* What is known of a vCPU without asking it. */
struct vf_arm64_cpu {
	struct vferry_kvm_arm64 *arm64;
	int fd;
	char name[VFERRY_NAME_BYTES];		/* "cpu/0" */
	struct vf_arm64_bank bank;		/* ID registers have values: the load step id's */
	uint32_t timer_irq, ptimer_irq;		/* PPIs, VF_ARM64_NO_IRQ if KVM can't say */
	uint32_t pmu_irq;			/* VF_ARM64_NO_IRQ: none, or no PMU */
	uint32_t pmu_counters;			/* 0: no PMU */
	uint64_t pvtime;			/* where the guest reads stolen time; UINT64_MAX: nowhere */
	struct vferry_section_desc section;
};

struct vferry_kvm_arm64 {
	struct vf_arm64_calls calls;
	int kvm, vm, gic_fd;
	struct vf_arm64_cpu *cpus;
	uint32_t cpu_count;
	uint32_t ipa_bits;

	/* Of the host and the VM, and never changed. */
	uint32_t counter_hz;
	bool has_physical;			/* KVM can read and move CNTPCT */
	bool one_offset;			/* the embedder chose one offset for both counters */
	bool has_masks;
	uint64_t *masks;			/* VF_KVM_MASKS, of what may be changed in ID registers */
	uint64_t distributor;			/* its address */
	uint32_t region_count;
	uint64_t regions[VF_ARM64_REGIONS_MAX];	/* of redistributors, as KVM describes them */

	/* Of the machine's time: written by the counter's steps, which never run at one time. */
	enum vferry_kvm_time time;
	struct vf_arm64_time stopped;		/* what the last save found; for undo */
	bool has_stopped;

	struct vferry_gic_ops gic_ops;
	struct vferry_gic *gic;
	int (*release)(void *user, struct vferry_error *err);
	void *user;

	struct vferry_component *components;	/* cpu/N, counter */
	size_t component_count;			/* of these */
};

/** vf_arm64_new() - as vferry_kvm_arm64_new(), with a KVM of the caller's */
int vf_arm64_new(const struct vferry_kvm_arm64_config *config, const struct vf_arm64_calls *calls,
		 struct vferry_kvm_arm64 **ret_arm64, struct vferry_error *err);

/* Calls. Return: what ioctl(2) returned, or -errno; vf_arm64_has() as vf_kvm_has(). */
int vf_arm64_call(const struct vferry_kvm_arm64 *arm64, int fd, unsigned long request,
		  void *argument);
int vf_arm64_has(const struct vferry_kvm_arm64 *arm64, int fd, int capability);
int vf_arm64_get_attr(const struct vferry_kvm_arm64 *arm64, int fd, uint32_t group, uint64_t attr,
		      void *value);
int vf_arm64_reg_get(const struct vf_arm64_cpu *cpu, uint64_t id, void *value);
int vf_arm64_reg_set(const struct vf_arm64_cpu *cpu, uint64_t id, const void *value);

/* What each file has of steps and sections. Users: a struct vf_arm64_cpu, or the object. */
extern const struct vferry_step_desc vf_arm64_cpu_steps[];
extern const size_t vf_arm64_cpu_step_count;
extern const struct vferry_step_desc vf_arm64_counter_steps[];
extern const size_t vf_arm64_counter_step_count;
extern const struct vferry_section_desc vf_arm64_counter_section;

/** vf_arm64_cpu_probe() - what is to be known of a vCPU that never ran */
int vf_arm64_cpu_probe(struct vf_arm64_cpu *cpu, struct vferry_error *err);
/* Values of the ID registers, once more. */
int vf_arm64_cpu_read_id(struct vf_arm64_cpu *cpu, struct vferry_error *err);
int vf_arm64_cpu_identity(void *user, struct vferry_writer *w, struct vferry_error *err);
int vf_arm64_cpu_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons);

/** vf_arm64_counter_probe() - how the guest's time can be moved; before any vCPU ran */
int vf_arm64_counter_probe(struct vferry_kvm_arm64 *arm64, struct vferry_error *err);
int vf_arm64_counter_identity(void *user, struct vferry_writer *w, struct vferry_error *err);
int vf_arm64_counter_check(void *user, struct vferry_reader *source, struct vferry_reasons *reasons);

/** vf_arm64_gic_probe() - addresses, and the object of gic and its/N */
int vf_arm64_gic_probe(struct vferry_kvm_arm64 *arm64, const int *its, uint32_t its_count,
		       struct vferry_error *err);

#endif
