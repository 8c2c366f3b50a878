/* SPDX-License-Identifier: MIT */
/*
 * interrupts.c - who delivers the interrupts of each device: on the source before, on the destination
 * after.
 *
 * Each side asks its interrupt plan once for all vectors: the source when its vCPUs are about to stop,
 * the destination when it has sent RUNNING. The destination's answer goes to the source as VECTORS.
 * Nothing depends on it: the source is done by then, and whoever wants the answer asks again.
 *
 * Threads: the session's asks; the source's return path keeps what came; any thread may read. Under the
 * session's lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "session/irq_plan.h"
#include "session/session_internal.h"
#include "vfio/device_component.h"

/* ---- asking the plan ---- */

static bool alike(const struct vf_irq_vector *a, const struct vf_irq_vector *b)
{
	return a->connected == b->connected && a->forwarded == b->forwarded &&
	       !strncmp(a->reason, b->reason, sizeof(a->reason));
}

/* Reasons are an embedder's words, and go to where only printable ASCII is taken. */
static void begin_run(struct vf_vector_run *run, const struct vf_irq_vector *v)
{
	*run = (struct vf_vector_run) { .connected = v->connected, .forwarded = v->forwarded };
	memcpy(run->reason, v->reason, sizeof(run->reason));
	run->reason[sizeof(run->reason) - 1] = '\0';
	for (char *c = run->reason; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* The last run there is room for takes what would be beyond, and nothing is said of it. */
static void take_rest(struct vf_vector_run *run, uint32_t count)
{
	*run = (struct vf_vector_run) { .count = run->count + count, .connected = true,
					.forwarded = VFERRY_FORWARDED_UNKNOWN };
	(void) snprintf(run->reason, sizeof(run->reason), "too many different answers to list");
}

int vf_session_make_runs(const struct vf_irq_vector *list, size_t count, uint32_t most,
			 struct vf_device_vectors *to)
{
	to->runs = calloc(count < most ? count + 1 : most, sizeof(*to->runs));
	if (!to->runs)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		bool another = !i || !alike(&list[i - 1], &list[i]);

		if (another && to->run_count == most) {
			take_rest(&to->runs[most - 1], (uint32_t) (count - i));
			return 0;
		}
		if (another)
			begin_run(&to->runs[to->run_count++], &list[i]);
		to->runs[to->run_count - 1].count++;
	}
	return 0;
}

static int list_devices(struct vferry_session *s, const struct vf_irq_vector *list, size_t count,
			struct vf_vectors *m)
{
	m->devices = calloc(s->device_count + 1, sizeof(*m->devices));
	if (!m->devices)
		return -ENOMEM;
	for (size_t i = 0; i < s->device_count; i++) {
		struct vf_device_vectors *to = &m->devices[m->device_count++];
		size_t first = 0, end;
		int ret;

		(void) snprintf(to->address, sizeof(to->address), "%s",
				vf_device_address(s->devices[i]));
		while (first < count && strcmp(list[first].source, to->address))
			first++;
		for (end = first; end < count && !strcmp(list[end].source, to->address); end++)
			;
		ret = vf_session_make_runs(&list[first], end - first,
					   VF_MAX_VECTOR_RUNS / (uint32_t) s->device_count, to);
		if (ret)
			return ret;
	}
	return 0;
}

void vf_session_note_vectors(struct vferry_session *s, enum vf_when when)
{
	struct vf_irq_vector *list = NULL;
	struct vf_vectors vectors = { 0 };
	size_t count = 0;
	int ret = s->irq_plan ? vf_irq_plan_list(s->irq_plan, &list, &count) : 0;

	if (!ret)
		ret = list_devices(s, list, count, &vectors);
	free(list);
	if (ret)
		vf_vectors_done(&vectors);
	else
		vf_session_keep_vectors(s, when, &vectors);
}

void vf_session_keep_vectors(struct vferry_session *s, enum vf_when when, struct vf_vectors *vectors)
{
	(void) pthread_mutex_lock(&s->lock);
	vf_vectors_done(&s->vectors[when]);
	s->vectors[when] = *vectors;
	s->vectors_known[when] = true;
	(void) pthread_mutex_unlock(&s->lock);
}

/* ---- the report ---- */

/* One block: the head, its devices, and their runs; room is counted by the same walk. */
struct report {
	struct vferry_interrupts head;
	struct vferry_device_interrupts devices[VF_MAX_DEVICES + VF_MAX_VECTOR_DEVICES];
	struct vferry_vector_run runs[];
};

static size_t count_runs(const struct vf_vectors *m)
{
	size_t count = 0;

	for (uint32_t i = 0; i < m->device_count; i++)
		count += m->devices[i].run_count;
	return count;
}

static struct vferry_device_interrupts *device_of(struct report *r, const char *address)
{
	struct vferry_device_interrupts *d = r->devices;

	while (d < &r->devices[r->head.device_count] && strcmp(d->address, address))
		d++;
	if (d == &r->devices[r->head.device_count]) {
		(void) snprintf(d->address, sizeof(d->address), "%.15s", address);
		r->head.device_count++;
	}
	return d;
}

static void fill_side(const struct vf_device_vectors *from, struct vferry_vector_run *runs,
		      struct vferry_vectors *to)
{
	*to = (struct vferry_vectors) { .run_count = from->run_count, .runs = runs };
	for (uint32_t i = 0; i < from->run_count; i++) {
		const struct vf_vector_run *run = &from->runs[i];

		runs[i] = (struct vferry_vector_run) {
			.first = to->vectors, .count = run->count, .connected = run->connected,
			.forwarded = (enum vferry_forwarded) run->forwarded,
		};
		memcpy(runs[i].reason, run->reason, sizeof(runs[i].reason));
		to->vectors += run->count;
		if (!run->connected)
			continue;
		to->connected += run->count;
		to->forwarded += run->forwarded == VFERRY_FORWARDED_YES ? run->count : 0;
		to->unknown += run->forwarded == VFERRY_FORWARDED_UNKNOWN ? run->count : 0;
	}
}

/* Both lists of runs are in order. A vector that is not connected has not lost anything. */
static void compare(struct vferry_device_interrupts *d)
{
	for (uint32_t i = 0, j = 0; i < d->before.run_count && j < d->after.run_count;) {
		const struct vferry_vector_run *b = &d->before.runs[i], *a = &d->after.runs[j];
		uint32_t first = b->first > a->first ? b->first : a->first;
		uint32_t b_end = b->first + b->count, a_end = a->first + a->count;
		uint32_t end = b_end < a_end ? b_end : a_end;

		if (b->forwarded == VFERRY_FORWARDED_YES && a->connected) {
			d->lost += a->forwarded == VFERRY_FORWARDED_NO ? end - first : 0;
			d->doubtful += a->forwarded == VFERRY_FORWARDED_UNKNOWN ? end - first : 0;
		}
		i += b_end == end;
		j += a_end == end;
	}
}

static void fill_devices_locked(const struct vferry_session *s, struct report *r)
{
	struct vferry_vector_run *runs = r->runs;

	for (int when = VF_BEFORE; when <= VF_AFTER; when++) {
		const struct vf_vectors *m = &s->vectors[when];

		for (uint32_t i = 0; i < m->device_count; i++) {
			struct vferry_device_interrupts *d = device_of(r, m->devices[i].address);

			fill_side(&m->devices[i], runs, when == VF_BEFORE ? &d->before : &d->after);
			runs += m->devices[i].run_count;
		}
	}
	for (size_t i = 0; i < r->head.device_count; i++)
		compare(&r->devices[i]);
	r->head.devices = r->devices;
}

static enum vferry_known known(bool there, enum vferry_known otherwise, const char *why, char *reason)
{
	if (there)
		return VFERRY_KNOWN;
	(void) snprintf(reason, VFERRY_REASON_BYTES, "%s", why);
	return otherwise;
}

/* Whether the other side tells is asked first: it may tell in between, and that is no contradiction. */
int vferry_session_interrupts(struct vferry_session *s, struct vferry_interrupts **ret_interrupts)
{
	const char *why = "this side did not run the machine";
	enum vferry_known later = s->source ? vf_source_awaits_vectors(s, &why) : VFERRY_KNOWN_NOT;
	struct report *r;

	(void) pthread_mutex_lock(&s->lock);
	if (s->ended && s->status.outcome != VFERRY_OUTCOME_DONE && later == VFERRY_KNOWN_SOON) {
		later = VFERRY_KNOWN_NOT;
		why = "that the machine runs there is not known";
	}
	r = calloc(1, sizeof(*r) + (count_runs(&s->vectors[VF_BEFORE]) +
				    count_runs(&s->vectors[VF_AFTER])) * sizeof(r->runs[0]));
	if (r) {
		r->head.before = known(s->vectors_known[VF_BEFORE], VFERRY_KNOWN_NOT,
				       s->source ? "its vCPUs were not stopped" :
						   "only the source knows", r->head.before_reason);
		r->head.after = known(s->vectors_known[VF_AFTER], later, why, r->head.after_reason);
		fill_devices_locked(s, r);
	}
	(void) pthread_mutex_unlock(&s->lock);
	if (!r)
		return -ENOMEM;
	*ret_interrupts = &r->head;
	return 0;
}
