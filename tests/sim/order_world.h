/* SPDX-License-Identifier: MIT */
/*
 * order_world.h - what kernels, devices and guests do when steps come in some order.
 *
 * The judge of the order rules, written without looking at them: it models facts (the kernel
 * answers -EBUSY, a message is dropped, a register write is ignored, memory is read before it
 * arrived) and says what went wrong. A step is told to it when it begins and when it ends, so that
 * two steps at one time are seen too.
 */
#ifndef SIM_ORDER_WORLD_H
#define SIM_ORDER_WORLD_H

#include <stdbool.h>
#include <stddef.h>

#include <vferry/order.h>

#define WORLD_MAX_DEVICES 2
#define WORLD_MAX_CPUS 2
#define WORLD_MAX_STEPS 96

struct world_machine {
	const char *name;
	bool arm;
	bool gic_v4;		/* vectors are forwarded; the ITS can't be saved then */
	int cpus, devices;
};

struct world_step {
	enum vferry_step_class step_class;
	const char *component;	/* "cpu/0" */
	const char *device;	/* or NULL */
	const char *name;
	int index;		/* which device or cpu it is about; -1: none */
};

/* The machines on which every rule must matter. */
const struct world_machine *world_machines(size_t *ret_count);
/* What such a machine registers. Return: how many steps. */
size_t world_steps(const struct world_machine *machine, enum vferry_phase phase,
		   struct world_step *to, size_t max);

struct world_device {
	bool p2p, stopped, running;		/* save, undo; load: after COMMIT */
	bool resuming, d3, validated;
	bool staged, restaged, data, data_last;
	bool allocated, connected, forwarded, armed, intx, bar_mapped, logging;
	/* One message each, from its last moment before it stopped. */
	bool hw_pending;			/* forwarded vector */
	bool in_eventfd;			/* software vector */
	bool masked_in_eventfd, pba;		/* masked vector */
	bool line_in_eventfd, line;		/* INTx */
	bool soft_pending, saved_message;
	bool dma_unreported;
};

struct world {
	const struct world_machine *machine;
	enum vferry_phase phase;
	const char *failure;	/* what went wrong first, or NULL */
	int cpu_ioctls;		/* in flight */
	bool vcpus_run;
	bool pending_io[WORLD_MAX_CPUS], cpu_id[WORLD_MAX_CPUS], sregs[WORLD_MAX_CPUS];
	bool lapic[WORLD_MAX_CPUS];
	bool completing[WORLD_MAX_CPUS];
	bool vectors_forwarded;
	bool pending_read, gic_read, ioapic_read, lapic_read, cpu_read;
	bool ram_taken, ram_complete;
	bool created, iidr, lpi_bases, lpis_on, its_regs, its_tables, its_on, ioapic, routes;
	int fallible;		/* steps that may fail and have not ended */
	bool prepared, committed, clock, other;
	struct world_device device[WORLD_MAX_DEVICES];
};

void world_init(struct world *world, const struct world_machine *machine, enum vferry_phase phase);
void world_begin(struct world *world, const struct world_step *step);
void world_end(struct world *world, const struct world_step *step);
/* All steps were run: is anything lost, or not as it must be? */
void world_finish(struct world *world);

#endif
