/* SPDX-License-Identifier: MIT */
/* executor.c - see executor.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/trace.h"
#include "session/executor.h"

#define MAX_THREADS 64

struct worker {
	struct vf_executor *executor;
	pthread_t thread;
	uint32_t number;
};

struct vf_executor {
	struct vf_plan *plan;
	unsigned max_threads;
	bool go_on;
	const struct vf_executor_ops *ops;
	void *user;
	struct vf_trace *trace;		/* borrowed, may be NULL */

	pthread_mutex_t lock;		/* the plan, and everything below */
	pthread_cond_t changed;
	struct worker workers[MAX_THREADS];
	unsigned count;
	unsigned idle;
	uint64_t allowed;
	bool idle_told;			/* ops->idle() was called for `allowed` */
	bool stopping;
	bool quitting;
	struct vferry_error error;	/* of the first step that failed */
};

int vf_executor_new(struct vf_plan *plan, unsigned max_threads, bool go_on,
		    const struct vf_executor_ops *ops, void *user, struct vf_executor **ret)
{
	struct vf_executor *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	*e = (struct vf_executor) {
		.plan = plan, .go_on = go_on, .ops = ops, .user = user, .idle_told = true,
		.max_threads = max_threads < 1 ? 1 : max_threads > MAX_THREADS ? MAX_THREADS
									       : max_threads,
	};
	(void) pthread_mutex_init(&e->lock, NULL);
	(void) pthread_cond_init(&e->changed, NULL);
	vf_plan_allow(plan, 0);
	*ret = e;
	return 0;
}

void vf_executor_set_trace(struct vf_executor *e, struct vf_trace *trace)
{
	e->trace = trace;
}

static void *worker_main(void *user);

/* Called with the lock held: one more worker if somebody ready would wait for it. */
static void spawn_locked(struct vf_executor *e)
{
	uint32_t ready[1];
	struct worker *w = &e->workers[e->count];

	if (e->stopping || e->idle || e->count == e->max_threads || !vf_plan_ready(e->plan, ready, 1))
		return;
	*w = (struct worker) { .executor = e, .number = e->count };
	if (!vf_trace_thread(e->trace, "worker", &w->thread, worker_main, w))
		e->count++;
	else if (!e->count && !e->go_on && !e->error.code)	/* with no worker nothing would ever end */
		(void) vferry_error_set(&e->error, -EAGAIN, "no-thread", NULL,
					"cannot start a thread for the steps");
}

/* Without the lock. */
static int run_step(struct vf_executor *e, const struct vf_plan_view *view, uint64_t *ret_bytes,
		    struct vferry_error *err)
{
	uint64_t start = vf_now_ns();
	int ret = vf_trace(e->trace, VF_TRACE_STEP_BEGIN, view->full_name, view->step.step_class, 0,
			   0);

	if (!ret)
		ret = e->ops->run(e->user, view, ret_bytes, err);
	(void) vf_trace(e->trace, VF_TRACE_STEP_END, view->full_name,
			(uint64_t) (ret < 0 ? -ret : ret), *ret_bytes, vf_now_ns() - start);
	return ret;
}

static void run_locked(struct worker *w, uint32_t step)
{
	struct vf_executor *e = w->executor;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_plan_view view;
	uint64_t bytes = 0;
	bool restarted = false, first_failure = false;
	int ret;

	if (vf_plan_start(e->plan, step, w->number, vf_now_ns()))
		return;
	vf_plan_get(e->plan, step, &view);
	spawn_locked(e);
	(void) pthread_mutex_unlock(&e->lock);
	ret = run_step(e, &view, &bytes, &err);
	(void) pthread_mutex_lock(&e->lock);

	if (ret == VF_EXECUTOR_RESTART) {
		vf_plan_done(e->plan, step, bytes, vf_now_ns());
		ret = vf_plan_restart_device(e->plan, view.step.device, &err);
		restarted = true;
		if (ret >= 0) {
			(void) pthread_mutex_unlock(&e->lock);
			e->ops->restarted(e->user, view.step.device);
			(void) pthread_mutex_lock(&e->lock);
		}
	}
	/* A restarted step waits again, or is run by another worker already: not this one's to end. */
	if (ret >= 0 && !restarted)
		vf_plan_done(e->plan, step, bytes, vf_now_ns());
	if (ret < 0) {
		(void) vferry_error_set(&err, ret, "step-failed", view.full_name, "%s: %s",
					view.full_name, vferry_errno_name(ret));
		if (restarted)	/* done, and could not begin anew */
			e->stopping = true;
		else
			vf_plan_fail(e->plan, step, e->go_on, vf_now_ns());
		if (!e->error.code) {
			e->error = err;
			first_failure = !e->go_on;
		}
	}
	(void) pthread_cond_broadcast(&e->changed);
	if (first_failure) {
		(void) pthread_mutex_unlock(&e->lock);
		e->ops->failed(e->user, &err);
		(void) pthread_mutex_lock(&e->lock);
	}
}

/* Called with the lock held: is everything that may run done, and not told yet? */
static bool became_idle_locked(struct vf_executor *e, uint64_t *ret_classes)
{
	if (e->idle_told || e->stopping || vf_plan_running(e->plan) ||
	    !vf_plan_classes_done(e->plan, e->allowed))
		return false;
	e->idle_told = true;
	*ret_classes = e->allowed;
	return true;
}

static void *worker_main(void *user)
{
	struct worker *w = user;
	struct vf_executor *e = w->executor;

	(void) pthread_mutex_lock(&e->lock);
	while (!e->quitting) {
		uint64_t classes;
		uint32_t step;

		if (!e->stopping && !vf_plan_next(e->plan, &step)) {
			run_locked(w, step);
			continue;
		}
		if (became_idle_locked(e, &classes)) {
			(void) pthread_cond_broadcast(&e->changed);
			(void) pthread_mutex_unlock(&e->lock);
			e->ops->idle(e->user, classes);
			(void) pthread_mutex_lock(&e->lock);
			continue;
		}
		e->idle++;
		(void) pthread_cond_wait(&e->changed, &e->lock);
		e->idle--;
	}
	(void) pthread_mutex_unlock(&e->lock);
	return NULL;
}

struct vf_executor *vf_executor_free(struct vf_executor *e)
{
	if (!e)
		return NULL;
	vf_executor_stop(e);
	(void) pthread_mutex_lock(&e->lock);
	e->quitting = true;
	(void) pthread_cond_broadcast(&e->changed);
	(void) pthread_mutex_unlock(&e->lock);
	for (unsigned i = 0; i < e->count; i++)
		(void) pthread_join(e->workers[i].thread, NULL);
	(void) pthread_cond_destroy(&e->changed);
	(void) pthread_mutex_destroy(&e->lock);
	free(e);
	return NULL;
}

void vf_executor_allow(struct vf_executor *e, uint64_t classes)
{
	(void) pthread_mutex_lock(&e->lock);
	e->allowed |= classes;
	e->idle_told = false;
	vf_plan_allow(e->plan, e->allowed);
	/* A first worker even if nothing is ready: it tells when everything is done already. */
	if (!e->count) {
		struct worker *w = &e->workers[0];

		*w = (struct worker) { .executor = e };
		if (!vf_trace_thread(e->trace, "worker", &w->thread, worker_main, w))
			e->count++;
	}
	spawn_locked(e);
	(void) pthread_cond_broadcast(&e->changed);
	(void) pthread_mutex_unlock(&e->lock);
}

void vf_executor_input(struct vf_executor *e, uint32_t step)
{
	(void) pthread_mutex_lock(&e->lock);
	vf_plan_input(e->plan, step);
	spawn_locked(e);
	(void) pthread_cond_broadcast(&e->changed);
	(void) pthread_mutex_unlock(&e->lock);
}

void vf_executor_stop(struct vf_executor *e)
{
	(void) pthread_mutex_lock(&e->lock);
	e->stopping = true;
	while (vf_plan_running(e->plan))
		(void) pthread_cond_wait(&e->changed, &e->lock);
	(void) pthread_mutex_unlock(&e->lock);
}

/* No thread could be started, and what is to be done must be: who waits does it. */
static void work_here_locked(struct vf_executor *e)
{
	struct worker here = { .executor = e };
	uint32_t step;

	while (!e->count && !e->stopping && !vf_plan_next(e->plan, &step))
		run_locked(&here, step);
}

int vf_executor_wait(struct vf_executor *e, struct vferry_error *err)
{
	int ret;

	(void) pthread_mutex_lock(&e->lock);
	if (e->go_on)
		work_here_locked(e);
	while (!(e->error.code && !e->go_on) && e->count &&
	       (vf_plan_running(e->plan) || !vf_plan_classes_done(e->plan, e->allowed)))
		(void) pthread_cond_wait(&e->changed, &e->lock);
	ret = e->count || e->go_on ? e->error.code : -EAGAIN;
	if (e->error.code && err && !err->code)
		*err = e->error;
	(void) pthread_mutex_unlock(&e->lock);
	return ret;
}

void vf_executor_get(struct vf_executor *e, uint32_t step, struct vf_plan_view *ret)
{
	(void) pthread_mutex_lock(&e->lock);
	vf_plan_get(e->plan, step, ret);
	(void) pthread_mutex_unlock(&e->lock);
}
