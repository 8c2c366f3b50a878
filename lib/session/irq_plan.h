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

/* How often the sink's table was replaced. */
unsigned int vf_irq_plan_commits(struct vferry_irq_plan *plan);

#endif
