/* SPDX-License-Identifier: MIT */
/* worker_verdict.c - what the self-checking guest's words say; see worker_verdict.h. */
#include <stdio.h>

#include "worker_verdict.h"

_Static_assert(WORKER_DEVICES == MACHINE_DEVICES_MAX && WORKER_SLOTS == MACHINE_VECTORS_MAX &&
	       WORKER_MEMORY_MIN == MACHINE_MEMORY_MIN, "one machine");

static void describe_fault(const struct worker *w, char *to, size_t size)
{
	const unsigned long long a = w->fault_a, b = w->fault_b, c = w->fault_c;

	switch (w->fault) {
	case WORKER_FAULT_MEMORY:
		(void) snprintf(to, size, "memory at %#llx holds %#llx instead of %#llx", a, c, b);
		break;
	case WORKER_FAULT_JOB_RESULT:
		(void) snprintf(to, size, "device %llu slot %llu: wrong result of opcode %llu", a, b, c);
		break;
	case WORKER_FAULT_JOB_STATUS:
		(void) snprintf(to, size, "device %llu slot %llu: job ended with status %llu", a, b, c);
		break;
	case WORKER_FAULT_JOB_LOST:
		(void) snprintf(to, size, "device %llu slot %llu: job never done", a, b);
		break;
	case WORKER_FAULT_UNNOTICED:
		(void) snprintf(to, size, "device %llu slot %llu: job done, no interrupt came", a, b);
		break;
	case WORKER_FAULT_PEER:
		(void) snprintf(to, size, "device %llu slot %llu: write into the peer was lost", a, b);
		break;
	case WORKER_FAULT_INTERRUPT:
		(void) snprintf(to, size, "interrupt %llu belongs to nobody", a);
		break;
	case WORKER_FAULT_CLOCK:
		(void) snprintf(to, size, "the counter went back by %llu ns", a);
		break;
	case WORKER_FAULT_BUS:
		(void) snprintf(to, size, "device %llu did not answer an access", a);
		break;
	case WORKER_FAULT_SETUP:
		if (a == WORKER_PHASE_IRQCHIP)
			(void) snprintf(to, size, "the pin of slot %llu is shared with a device of another vCPU", b);
		else
			(void) snprintf(to, size, "set-up failed in phase %llu (%llu)", a, b);
		break;
	case WORKER_FAULT_TIMER:
		(void) snprintf(to, size, "the timer interrupt is %llu ns late", a);
		break;
	case WORKER_FAULT_REGISTER:
		(void) snprintf(to, size, "register %#llx held %#llx instead of %#llx", a, c, b);
		break;
	case WORKER_FAULT_EXCEPTION:
		(void) snprintf(to, size, "exception %llu at %#llx (%#llx)", a, b, c);
		break;
	case WORKER_FAULT_DOORBELLS:
		(void) snprintf(to, size, "device %llu heard its doorbell %llu times, and it was rung %llu",
				a, c, b);
		break;
	default:
		break;
	}
}

static void add_watch(const struct worker_watch *watch, struct machine_verdict *v)
{
	v->lost_timers += watch->lost_timers;
	v->lost_registers += watch->lost_registers;
}

void worker_verdict_begin(struct machine_verdict *ret)
{
	ret->judging = true;
	ret->booted = true;
	ret->passes = UINT64_MAX;
}

void worker_verdict_add(const struct guest_platform *platform, unsigned cpu, const uint64_t *words,
			struct machine_verdict *v)
{
	const struct worker *w = (const struct worker *) words;

	v->booted = v->booted &&
		    (w->phase == WORKER_PHASE_RUN || w->phase == WORKER_PHASE_OFF);
	v->steps += w->steps;
	v->dirtied_pages += w->dirtied_pages;
	v->checked_pages += w->checked_pages;
	if (v->corrupt_pages == 0) {
		v->corrupt_gpa = w->corrupt_gpa;
		v->corrupt_expected = w->corrupt_expected;
		v->corrupt_found = w->corrupt_found;
	}
	v->corrupt_pages += w->corrupt_pages;
	if (w->passes < v->passes)
		v->passes = w->passes;
	if (cpu == 0)
		v->devices = w->found;
	v->submitted_jobs += w->submitted_jobs;
	v->verified_jobs += w->verified_jobs;
	v->corrupt_jobs += w->corrupt_jobs;
	v->failed_jobs += w->failed_jobs;
	v->lost_jobs += w->lost_jobs;
	v->unnoticed_jobs += w->unnoticed_jobs;
	v->peer_writes += w->peer_writes;
	v->lost_peer_writes += w->lost_peer_writes;
	v->resets += w->resets;
	v->voided_jobs += w->voided_jobs;
	v->bus_errors += w->bus_errors;
	v->interrupts += w->interrupts;
	v->spurious += w->spurious;
	v->unknown_interrupts += w->unknown_interrupts;
	for (unsigned i = 0; i < WORKER_DEVICES; i++)
		for (unsigned s = 0; worker_owns(platform, cpu, i) && s < WORKER_SLOTS; s++)
			v->vector_interrupts[i][s] = w->device[i].slot[s].interrupts;
	if (w->gap_ns > v->longest_gap_ns)
		v->longest_gap_ns = w->gap_ns;
	if (!platform->bare && w->gap_running_ns > v->longest_gap_running_ns)
		v->longest_gap_running_ns = w->gap_running_ns;
	if (platform->bare)
		add_watch((const struct worker_watch *) (words + WORKER_WORDS), v);
	v->clock_backward += w->clock_backward;
	if (v->first_fault[0] == '\0')
		describe_fault(w, v->first_fault, sizeof(v->first_fault));
}
