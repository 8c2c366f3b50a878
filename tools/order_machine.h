/* SPDX-License-Identifier: MIT */
/*
 * order_machine.h - a machine that exists on paper, to show the plan of an architecture.
 *
 * It has the components and steps of a real one with two vCPUs and one device, and nothing behind
 * them: it is planned, never run.
 */
#ifndef TOOLS_ORDER_MACHINE_H
#define TOOLS_ORDER_MACHINE_H

#include <stdbool.h>

#include <vferry/session.h>

struct order_machine;

bool order_machine_known(const char *arch);	/* "arm64", "x86-64" */
int order_machine_new(const char *arch, struct order_machine **ret_machine,
		      struct vferry_error *err);
struct order_machine *order_machine_free(struct order_machine *machine);
/* As vferry_session_describe_plan(). */
int order_machine_plan(struct order_machine *machine, enum vferry_phase phase,
		       enum vferry_plan_format format, char **ret_text, struct vferry_error *err);

#endif
