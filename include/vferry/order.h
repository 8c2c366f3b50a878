/* SPDX-License-Identifier: MIT */
/*
 * vferry/order.h - the order of a save, a load and an undo, as data.
 *
 * A migration is a set of steps, each of one class. A table of rules says which class must be done
 * before which ("before"), or may never run at the same time as which ("excludes"), and why. The
 * plan of a machine follows from the rules and the steps its components registered; where bytes
 * lie in the stream has no part in it. docs/order.md is made from this table.
 *
 * Threads: the table is constant; a plan belongs to its session.
 */
#ifndef VFERRY_ORDER_H
#define VFERRY_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vferry_phase {
	VFERRY_PHASE_SAVE = 0,
	VFERRY_PHASE_LOAD = 1,
	VFERRY_PHASE_UNDO = 2,
	VFERRY_PHASE__COUNT
};

/* Classes of a phase lie in [phase * 64, phase * 64 + 64), so that a set of them is 64 bits. */
#define VFERRY_PHASE_OF(step_class) ((unsigned) (step_class) / 64)

enum vferry_step_class {
	/* Saving. The first ones run while the machine runs ("live"), the others after it stopped. */
	VFERRY_SAVE_CONFIG_EARLY = 0,	/* config space as it is now, for stage */
	VFERRY_SAVE_VCPU_STOP = 1,	/* every vCPU out of every ioctl */
	VFERRY_SAVE_VCPU_COMPLETE = 2,	/* pending MMIO and PIO of each vCPU completed */
	VFERRY_SAVE_DEVICE_P2P = 3,	/* RUNNING_P2P or PRE_COPY_P2P */
	VFERRY_SAVE_DEVICE_STOP = 4,	/* STOP_COPY (STOP where nothing is to be read) */
	VFERRY_SAVE_CONFIG = 5,		/* config space of the stopped device */
	VFERRY_SAVE_DEVICE_DATA = 6,	/* what is left of the device's state, to its end */
	VFERRY_SAVE_DEVICE_DIRTY = 7,	/* last DMA-log or IOMMU report */
	VFERRY_SAVE_IRQ_FLUSH = 8,	/* interrupts on their way to the controller arrived */
	VFERRY_SAVE_ITS_RELEASE = 9,	/* ITS tables; on -EACCES: disconnect, re-send, try later */
	VFERRY_SAVE_GIC_PENDING = 10,	/* VGIC pending tables, into guest RAM */
	VFERRY_SAVE_ITS_TABLES = 11,	/* ITS tables, into guest RAM */
	VFERRY_SAVE_GIC = 12,		/* GIC and ITS registers */
	VFERRY_SAVE_LAPIC = 13,
	VFERRY_SAVE_IOAPIC = 14,
	VFERRY_SAVE_CPU = 15,
	VFERRY_SAVE_CLOCK = 16,		/* clock, counter offset */
	VFERRY_SAVE_OTHER = 17,		/* a component without needs of its own */
	VFERRY_SAVE_RAM_LAST = 18,	/* last dirty bitmap, last pages */

	/* Loading. */
	VFERRY_LOAD_DEVICE_RESUMING = 64,	/* D0, and RESUMING */
	VFERRY_LOAD_CONFIG_STAGE = 65,		/* compared, and what touches no interrupt */
	VFERRY_LOAD_DEVICE_DATA = 66,		/* state made while the source's device ran */
	VFERRY_LOAD_CONFIG_RESTAGE = 67,	/* what changed until the device stopped */
	VFERRY_LOAD_DEVICE_DATA_LAST = 68,	/* state of the stopped device, to its end */
	VFERRY_LOAD_DEVICE_VALIDATE = 69,	/* RESUMING -> STOP: the driver validates */
	VFERRY_LOAD_VECTOR_ALLOC = 70,		/* SET_IRQS with eventfds, no irqfd */
	VFERRY_LOAD_RAM = 71,			/* every page in place */
	VFERRY_LOAD_IRQCHIP_CREATE = 72,	/* GIC, ITS exist; CTRL_INIT */
	VFERRY_LOAD_CPU_ID = 73,		/* CPUID; arm64 ID registers and MPIDR */
	VFERRY_LOAD_CPU_SREGS = 74,		/* x86: SREGS, MSRs */
	VFERRY_LOAD_CPU_REGS = 75,		/* the other registers, events, MP state */
	VFERRY_LOAD_GIC_DIST = 76,		/* GICD_IIDR, GICD_CTLR and the distributor */
	VFERRY_LOAD_GIC_LPI_BASES = 77,		/* GICR_PROPBASER, GICR_PENDBASER */
	VFERRY_LOAD_GIC_REDIST = 78,		/* GICR_CTLR and the rest of each redistributor */
	VFERRY_LOAD_ITS_REGS = 79,		/* CBASER, CREADR, CWRITER, BASERs, IIDR */
	VFERRY_LOAD_ITS_TABLES = 80,
	VFERRY_LOAD_ITS_CTLR = 81,
	VFERRY_LOAD_LAPIC = 82,
	VFERRY_LOAD_TSC_DEADLINE = 83,
	VFERRY_LOAD_IOAPIC = 84,
	VFERRY_LOAD_IRQ_ROUTES = 85,		/* the whole routing table, once */
	VFERRY_LOAD_IRQ_CONNECT = 86,		/* KVM_IRQFD of each vector */
	VFERRY_LOAD_CONFIG_ARM = 87,		/* INTx-disable, MSI flags, PMCSR */
	VFERRY_LOAD_OTHER = 88,
	VFERRY_LOAD_PREPARED = 89,		/* the session's: nothing may fail after */
	VFERRY_LOAD_COMMIT = 90,		/* the session's: the source gave the machine away */
	VFERRY_LOAD_DEVICE_RUN_P2P = 91,
	VFERRY_LOAD_DEVICE_RUN = 92,
	VFERRY_LOAD_CLOCK = 93,
	VFERRY_LOAD_COUNTER = 94,		/* arm64 counter offset, once for the VM */
	VFERRY_LOAD_VCPU_RUN = 95,
	VFERRY_LOAD_PIT = 96,			/* x86: a timer that ticks from then on; before PREPARED */

	/* Undoing: the source, after a failure before COMMIT. */
	VFERRY_UNDO_BAR_MAP = 128,
	VFERRY_UNDO_IRQ_CONNECT = 129,		/* vectors reconnected and forwarded again */
	VFERRY_UNDO_INTX = 130,
	VFERRY_UNDO_DEVICE_RUN_P2P = 131,
	VFERRY_UNDO_DEVICE_RUN = 132,
	VFERRY_UNDO_LOGGING_OFF = 133,
	VFERRY_UNDO_CLOCK = 134,
	VFERRY_UNDO_OTHER = 135,
	VFERRY_UNDO_VCPU_RUN = 136,
};

enum vferry_rule_kind {
	VFERRY_RULE_BEFORE = 0,		/* every step in `first` is done before any in `then` starts */
	VFERRY_RULE_EXCLUDES = 1,	/* a step in `first` and one in `then` never run at one time */
};

enum vferry_rule_scope {
	VFERRY_SCOPE_ANY = 0,		/* steps of any components */
	VFERRY_SCOPE_DEVICE = 1,	/* same device; a step of no device is of every one */
	VFERRY_SCOPE_COMPONENT = 2,	/* only steps of the same component */
};

struct vferry_order_rule {
	const char *id;			/* stable: "load-irqchip-before-connect" */
	enum vferry_phase phase;
	enum vferry_rule_kind kind;
	enum vferry_rule_scope scope;
	uint64_t first;			/* bit n = class phase * 64 + n */
	uint64_t then;
	bool required;			/* a `then` step without a `first` step in scope is refused */
	const char *because;		/* one sentence */
	const char *source;		/* kernel document, or section of the reference */
};

/** vferry_order_rules() - the table. Return: constant array, @ret_count rules. */
const struct vferry_order_rule *vferry_order_rules(size_t *ret_count);

/** vferry_step_class_name() - "its-tables". Return: static string, NULL for no such class. */
const char *vferry_step_class_name(int step_class);

#ifdef __cplusplus
}
#endif
#endif
