/* SPDX-License-Identifier: MIT */
/*
 * irq_forwarded.c - which vectors of the interrupt plan hardware delivers by itself.
 *
 * Only the sink knows, and asking it may be slow (KVM has it in a file of debugfs alone): whoever wants
 * to know of many asks for all of them at once.
 *
 * Threads: any; under the plan's lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/irq_plan.h"
#include "session/irq_plan_internal.h"

/* ---- asking ---- */

static void ask_locked(struct irq_plan *p, struct vferry_vector_answer *answers, size_t count)
{
	if (p->sink.forwarded && count)
		p->sink.forwarded(p->sink.user, answers, count);
	for (size_t i = 0; i < count; i++) {
		answers[i].reason[sizeof(answers[i].reason) - 1] = '\0';
		if ((unsigned int) answers[i].forwarded > VFERRY_FORWARDED_YES)
			answers[i].forwarded = VFERRY_FORWARDED_UNKNOWN;
		if (!p->sink.forwarded)
			(void) snprintf(answers[i].reason, sizeof(answers[i].reason),
					"the machine does not tell");
	}
}

/* All connected vectors of @of, or of every source if that is NULL, in order. Return: NULL: no memory. */
static struct vferry_vector_answer *ask_connected_locked(struct irq_plan *p,
							 const struct vf_irq_source *of)
{
	struct vferry_vector_answer *answers;
	size_t room = 1, count = 0;

	for (const struct vf_irq_source *s = p->sources; s; s = s->next)
		room += s->count;
	answers = calloc(room, sizeof(*answers));
	if (!answers)
		return NULL;
	for (const struct vf_irq_source *s = p->sources; s; s = s->next)
		for (uint32_t i = 0; i < s->count && (!of || s == of); i++)
			if (s->vectors[i].connected)
				answers[count++].gsi = s->vectors[i].gsi;
	ask_locked(p, answers, count);
	return answers;
}

bool vf_irq_may_lose_locked(struct irq_plan *p, const struct vector *v)
{
	struct vferry_vector_answer answer = { .gsi = v->gsi };

	ask_locked(p, &answer, 1);
	return answer.forwarded == VFERRY_FORWARDED_YES ||
	       (answer.forwarded == VFERRY_FORWARDED_UNKNOWN && p->sink.loses_pending);
}

/* ---- counting ---- */

static void count_answer(struct vf_irq_counts *c, const struct vferry_vector_answer *answer)
{
	if (answer->forwarded == VFERRY_FORWARDED_YES) {
		c->forwarded++;
		return;
	}
	c->unknown += answer->forwarded == VFERRY_FORWARDED_UNKNOWN;
	if (!c->reason[0])
		memcpy(c->reason, answer->reason, sizeof(c->reason));
}

void vf_irq_source_count(struct vferry_irq_plan *plan, struct vf_irq_source *s,
			 struct vf_irq_counts *ret_counts)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	const struct vferry_vector_answer nobody_asked = { .reason = "no memory to ask" };
	struct vferry_vector_answer *answers;
	struct vf_irq_counts c = { 0 };

	pthread_mutex_lock(&p->lock);
	answers = ask_connected_locked(p, s);
	c.vectors = s->count;
	for (uint32_t i = 0; i < s->count; i++) {
		c.wanted += s->vectors[i].wanted;
		if (!s->vectors[i].connected)
			continue;
		count_answer(&c, answers ? &answers[c.connected] : &nobody_asked);
		c.connected++;
	}
	pthread_mutex_unlock(&p->lock);
	free(answers);
	*ret_counts = c;
}

/* ---- listing ---- */

static void describe(const struct vf_irq_source *s, uint32_t i,
		     const struct vferry_vector_answer *answer, struct vf_irq_vector *to)
{
	const struct vector *v = &s->vectors[i];

	*to = (struct vf_irq_vector) { .vector = i, .connected = v->connected,
				       .forwarded = VFERRY_FORWARDED_NO };
	memcpy(to->source, s->name, sizeof(to->source));
	if (v->connected) {
		to->forwarded = answer->forwarded;
		memcpy(to->reason, answer->reason, sizeof(to->reason));
	} else {
		(void) snprintf(to->reason, sizeof(to->reason), "%s",
				v->wanted ? "it could not be connected" :
					    "the guest masked it, or did not set it up");
	}
}

int vf_irq_plan_list(struct vferry_irq_plan *plan, struct vf_irq_vector **ret_list,
		     size_t *ret_count)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	struct vferry_vector_answer *answers;
	struct vf_irq_vector *list;
	size_t room = 1, count = 0, connected = 0;

	pthread_mutex_lock(&p->lock);
	for (const struct vf_irq_source *s = p->sources; s; s = s->next)
		room += s->count;
	list = calloc(room, sizeof(*list));
	answers = ask_connected_locked(p, NULL);
	for (const struct vf_irq_source *s = p->sources; list && answers && s; s = s->next) {
		for (uint32_t i = 0; i < s->count; i++) {
			describe(s, i, &answers[connected], &list[count++]);
			connected += s->vectors[i].connected;
		}
	}
	pthread_mutex_unlock(&p->lock);
	if (!list || !answers) {
		free(list);
		free(answers);
		return -ENOMEM;
	}
	free(answers);
	*ret_list = list;
	*ret_count = count;
	return 0;
}

/* ---- release ---- */

static int cut_forwarded_locked(struct irq_plan *p, struct vferry_error *err)
{
	struct vferry_vector_answer *answers = ask_connected_locked(p, NULL);
	size_t at = 0;
	int r = 0;

	if (!answers)
		return vferry_error_set(err, -ENOMEM, "no-memory", "irq", "no memory");
	for (struct vf_irq_source *s = p->sources; s; s = s->next) {
		for (uint32_t i = 0; i < s->count && r == 0; i++) {
			struct vector *v = &s->vectors[i];

			if (v->connected && answers[at++].forwarded != VFERRY_FORWARDED_NO &&
			    s->kind == VFERRY_IRQ_MSI)
				r = vf_irq_cut_locked(p, s, v, err);
		}
	}
	free(answers);
	return r;
}

static int resend_locked(struct irq_plan *p, struct vferry_error *err)
{
	int released = 0;

	for (struct vf_irq_source *s = p->sources; s; s = s->next) {
		for (uint32_t i = 0; i < s->count && s->kind == VFERRY_IRQ_MSI; i++) {
			int r;

			if (!s->vectors[i].wanted || s->vectors[i].connected)
				continue;
			r = vf_irq_signal_locked(p, s, &s->vectors[i], err);
			if (r < 0)
				return r;
			released++;
		}
	}
	return released;
}

/*
 * All are disconnected before any is sent again: a message to an LPI that is still forwarded would go
 * to hardware, and be lost with the connection in its turn. Devices are stopped, and so is the guest:
 * what was answered for all holds until the last of them is out.
 */
int vferry_irq_plan_release(struct vferry_irq_plan *plan, struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r;

	if (!plan)
		return vferry_error_set(err, -EINVAL, "irq-plan", "irq", "no interrupt plan");
	pthread_mutex_lock(&p->lock);
	if (!p->sink.signal_msi)
		r = vferry_error_set(err, -ENOTSUP, "irq-resend", "irq",
				     "forwarded vectors cannot be released: the machine has no way to "
				     "send what is pending in hardware again");
	else
		r = cut_forwarded_locked(p, err);
	if (r == 0)
		r = resend_locked(p, err);
	pthread_mutex_unlock(&p->lock);
	return r;
}
