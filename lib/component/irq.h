/* SPDX-License-Identifier: MIT */
/*
 * irq.h - how a device's vectors reach the guest: the interface between a device model and the
 * machine's one interrupt plan (lib/session/irq_plan.c).
 *
 * Model. A device is a *source* of the plan. It allocates vectors (GSIs) for the mode its guest
 * chose, tells the message of each, and asks for single vectors to be connected or disconnected. The
 * plan holds the routing table of the machine: messages change a wish; commit() hands the whole table
 * to the sink, once, and does nothing when nothing changed. connect() commits first if it must, so
 * that a vector is never connected without its route.
 *
 * A vector is *wanted* from connect() to disconnect(); release() of the plan (GICv4.0 save)
 * disconnects vectors that stay wanted, and reconnect() brings them back.
 *
 * An eventfd is its vector's pending bit while it is not connected: what the device signals stays in
 * it, and the sink finds it there at connect, as KVM_IRQFD does. The plan borrows the eventfds.
 *
 * Threads: every function may be called from any thread; the plan has one lock of its own, innermost:
 * no callback leaves the plan but those of the sink.
 */
#ifndef VF_COMPONENT_IRQ_H
#define VF_COMPONENT_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/device.h>
#include <vferry/error.h>

struct vf_irq_source;	/* one device's vectors; owned by the plan */

struct vf_irq_source_desc {
	const char *name;	/* "00:04.0"; copied */
	uint32_t requester_id;
	uint32_t intx_pin;
};

struct vf_irq_counts {
	uint32_t vectors;	/* allocated */
	uint32_t wanted;
	uint32_t connected;
	uint32_t forwarded;
	uint32_t unknown;	/* connected, and the sink cannot tell */
	char reason[VFERRY_REASON_BYTES];	/* of the first connected vector that is not forwarded, or not known to be */
};

struct vf_irq_plan_ops {
	int (*source_add)(struct vferry_irq_plan *plan, const struct vf_irq_source_desc *desc,
			  struct vf_irq_source **ret_source, struct vferry_error *err);
	/* Frees its vectors too. */
	void (*source_remove)(struct vferry_irq_plan *plan, struct vf_irq_source *source);
	int (*alloc)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
		     enum vferry_irq_kind kind, uint32_t count, const int *eventfds,
		     int resample_eventfd, struct vferry_error *err);
	void (*free)(struct vferry_irq_plan *plan, struct vf_irq_source *source);
	int (*set_message)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
			   uint32_t vector, uint64_t address, uint32_t data);
	int (*commit)(struct vferry_irq_plan *plan, struct vferry_error *err);
	int (*connect)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
		       uint32_t vector, struct vferry_error *err);
	int (*disconnect)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
			  uint32_t vector, struct vferry_error *err);
	int (*reconnect)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
			 struct vferry_error *err);
	int (*flush)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
		     struct vferry_error *err);
	void (*count)(struct vferry_irq_plan *plan, struct vf_irq_source *source,
		      struct vf_irq_counts *ret_counts);
};

/* What every plan begins with. Tests of device models may bring a plan of their own. */
struct vferry_irq_plan {
	const struct vf_irq_plan_ops *ops;
};

static inline int vf_irq_source_add(struct vferry_irq_plan *plan,
				    const struct vf_irq_source_desc *desc,
				    struct vf_irq_source **ret_source, struct vferry_error *err)
{
	return plan->ops->source_add(plan, desc, ret_source, err);
}

static inline void vf_irq_source_remove(struct vferry_irq_plan *plan, struct vf_irq_source *source)
{
	plan->ops->source_remove(plan, source);
}

/*
 * GSIs for @count vectors, in place of those it had; nothing is connected yet. All eventfds are
 * announced to the sink as producers: the device signals them already. PIN: @count is 1, devices
 * with the same pin share a GSI. -ENOSPC: the sink has not that many GSIs.
 */
static inline int vf_irq_alloc(struct vferry_irq_plan *plan, struct vf_irq_source *source,
			       enum vferry_irq_kind kind, uint32_t count, const int *eventfds,
			       int resample_eventfd, struct vferry_error *err)
{
	return plan->ops->alloc(plan, source, kind, count, eventfds, resample_eventfd, err);
}

/* Disconnects and forgets its vectors; before the device is told to forget the eventfds. */
static inline void vf_irq_free(struct vferry_irq_plan *plan, struct vf_irq_source *source)
{
	plan->ops->free(plan, source);
}

/* The message that @vector shall send from the next commit on. -EINVAL: no such vector. */
static inline int vf_irq_set_message(struct vferry_irq_plan *plan, struct vf_irq_source *source,
				     uint32_t vector, uint64_t address, uint32_t data)
{
	return plan->ops->set_message(plan, source, vector, address, data);
}

/* The whole table to the sink, if it changed since the last time. */
static inline int vf_irq_commit(struct vferry_irq_plan *plan, struct vferry_error *err)
{
	return plan->ops->commit(plan, err);
}

/* Idempotent. A vector whose route changed since it was connected is connected anew: only the
 * connect makes hardware follow a route. */
static inline int vf_irq_connect(struct vferry_irq_plan *plan, struct vf_irq_source *source,
				 uint32_t vector, struct vferry_error *err)
{
	return plan->ops->connect(plan, source, vector, err);
}

/* Idempotent. A vector that was forwarded by hardware is sent once more, since what was pending in
 * hardware is lost with the connection: spurious at worst. */
static inline int vf_irq_disconnect(struct vferry_irq_plan *plan, struct vf_irq_source *source,
				    uint32_t vector, struct vferry_error *err)
{
	return plan->ops->disconnect(plan, source, vector, err);
}

/* Every wanted vector that is not connected (after a release). Tries all; returns the first error. */
static inline int vf_irq_reconnect(struct vferry_irq_plan *plan, struct vf_irq_source *source,
				   struct vferry_error *err)
{
	return plan->ops->reconnect(plan, source, err);
}

/* Until what the (stopped) device signalled has reached the controller. -ETIMEDOUT. */
static inline int vf_irq_flush(struct vferry_irq_plan *plan, struct vf_irq_source *source,
			       struct vferry_error *err)
{
	return plan->ops->flush(plan, source, err);
}

static inline void vf_irq_count(struct vferry_irq_plan *plan, struct vf_irq_source *source,
				struct vf_irq_counts *ret_counts)
{
	plan->ops->count(plan, source, ret_counts);
}

#endif
