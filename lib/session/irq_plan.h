/* SPDX-License-Identifier: MIT */
/*
 * irq_plan.h - the session's side of the interrupt plan; devices see it by component/irq.h, the VMM
 * by <vferry/device.h>.
 */
#ifndef VF_SESSION_IRQ_PLAN_H
#define VF_SESSION_IRQ_PLAN_H

#include <vferry/component.h>
#include <vferry/device.h>

/*
 * Component "irq" with one load step, VFERRY_LOAD_IRQ_ROUTES: the whole table, once, of what all
 * devices have allocated by then. No sections. Its arrays are constant.
 * Return: 0; -EINVAL no plan.
 */
int vf_irq_plan_component(struct vferry_irq_plan *plan, struct vferry_component *ret_component);

/* Where one vector goes now. */
struct vf_irq_vector {
	char source[32];	/* of component/irq.h: the device's guest address */
	uint32_t vector;
	bool connected;
	enum vferry_forwarded forwarded;
	char reason[VFERRY_REASON_BYTES];	/* why it is not, or not known to be, forwarded */
};

/*
 * All vectors of all sources, those of one source in a row and in order; the sink is asked once.
 * @ret_list: the caller's, free(). Return: 0; -ENOMEM.
 */
int vf_irq_plan_list(struct vferry_irq_plan *plan, struct vf_irq_vector **ret_list,
		     size_t *ret_count);

/* How often the sink's table was replaced. */
unsigned int vf_irq_plan_commits(struct vferry_irq_plan *plan);

#endif
