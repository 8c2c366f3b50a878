/* SPDX-License-Identifier: MIT */
/*
 * executor.h - threads that run the steps of a plan as they become ready.
 *
 * Model: a worker takes the best ready step, runs it without the lock, and reports. Workers are
 * started when a step is ready and nobody is idle, up to a bound, so that steps that wait for bytes
 * (device data) never keep others from running as long as the bound leaves room for them.
 *
 * Threads: all functions may be called from any thread but a worker's, except where noted.
 */
#ifndef VF_SESSION_EXECUTOR_H
#define VF_SESSION_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>

#include "engine/order.h"

struct vf_executor;
struct vf_trace;

enum { VF_EXECUTOR_RESTART = 1 };	/* run(): the step's device begins anew (load plans) */

struct vf_executor_ops {
	/* On a worker. Return: 0; VF_EXECUTOR_RESTART; negative errno. */
	int (*run)(void *user, const struct vf_plan_view *step, uint64_t *ret_bytes,
		   struct vferry_error *err);
	/* Every step of @classes, those allowed then, is done. On a worker, without lock: may come late. */
	void (*idle)(void *user, uint64_t classes);
	/* A step failed; once. On a worker, without lock. */
	void (*failed)(void *user, const struct vferry_error *error);
	/* A device began anew: its steps wait again, without input. On a worker, without lock. */
	void (*restarted)(void *user, const char *device);
};

/*
 * @plan is sealed, and borrowed until the free. @go_on: a failing step does not stop the others
 * (undo); the first error is kept. Nothing runs before vf_executor_allow().
 */
int vf_executor_new(struct vf_plan *plan, unsigned max_threads, bool go_on,
		    const struct vf_executor_ops *ops, void *user, struct vf_executor **ret);
/* Starts no further step, waits for those that run. Returns NULL. */
struct vf_executor *vf_executor_free(struct vf_executor *e);

/* Each step then passes two points of it. Before the first vf_executor_allow(); borrowed. */
void vf_executor_set_trace(struct vf_executor *e, struct vf_trace *trace);

/* From now on steps of @classes may run. May be called from ops. */
void vf_executor_allow(struct vf_executor *e, uint64_t classes);
/* The section or data of @step is there. May be called from ops. */
void vf_executor_input(struct vf_executor *e, uint32_t step);
/* Starts no further step, and waits for those that run. */
void vf_executor_stop(struct vf_executor *e);
/*
 * Waits until all allowed steps are done or one failed. Return: 0; the failure. With @go_on a lack of
 * threads is none: then the steps run here.
 */
int vf_executor_wait(struct vf_executor *e, struct vferry_error *err);
/* A step as it stands. */
void vf_executor_get(struct vf_executor *e, uint32_t step, struct vf_plan_view *ret);

#endif
