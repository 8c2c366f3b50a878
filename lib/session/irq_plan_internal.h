/* SPDX-License-Identifier: MIT */
/*
 * irq_plan_internal.h - what the files of the interrupt plan share.
 *
 *   irq_plan.c       GSIs, the routing table, connections
 *   irq_forwarded.c  which vectors hardware delivers; taking them out of hardware
 */
#ifndef VF_SESSION_IRQ_PLAN_INTERNAL_H
#define VF_SESSION_IRQ_PLAN_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "component/irq.h"

struct vector {
	uint32_t gsi;
	int eventfd;		/* borrowed */
	bool producer;		/* the sink knows that a device signals it */
	bool has_message;
	bool wanted;
	bool connected;
	bool stale;		/* connected with an older message */
	uint64_t address;
	uint32_t data;
};

struct vf_irq_source {
	struct vf_irq_source *next;
	char name[32];
	uint32_t requester_id;
	uint32_t pin;
	enum vferry_irq_kind kind;
	uint32_t count;
	struct vector *vectors;	/* owned */
	int resample;		/* borrowed; -1 = none */
};

/* Devices wired to one pin share its GSI, as an end-of-interrupt is reported per pin. */
struct pin {
	struct pin *next;
	uint32_t pin;
	uint32_t gsi;
	uint32_t users;
};

struct irq_plan {
	struct vferry_irq_plan base;	/* first: what devices see */
	struct vferry_irq_sink sink;
	pthread_mutex_t lock;		/* everything below */
	struct vf_bitmap gsis;		/* bit n: GSI gsi_first + n is in use */
	struct vf_irq_source *sources;
	struct pin *pins;
	bool changed;			/* the table differs from what the sink has */
	unsigned int commits;
};

static inline struct irq_plan *vf_irq_plan_of(struct vferry_irq_plan *plan)
{
	return (struct irq_plan *) plan;
}

/* ---- irq_plan.c ---- */

/* Sends the message of @v once more. */
int vf_irq_signal_locked(struct irq_plan *p, struct vf_irq_source *s, const struct vector *v,
			 struct vferry_error *err);
/* Disconnects @v, if it is connected. */
int vf_irq_cut_locked(struct irq_plan *p, struct vf_irq_source *s, struct vector *v,
		      struct vferry_error *err);

/* ---- irq_forwarded.c ---- */

/* What it holds in hardware would be lost if it were disconnected. */
bool vf_irq_may_lose_locked(struct irq_plan *p, const struct vector *v);
void vf_irq_source_count(struct vferry_irq_plan *plan, struct vf_irq_source *source,
			 struct vf_irq_counts *ret_counts);

#endif
