/* SPDX-License-Identifier: MIT */
/*
 * worker_job.c - jobs of any device: given to it, noticed, judged, watched (worker_driver.h).
 *
 * Model. Each vector of a device has a slot with at most one job under way, and the job asks for
 * exactly one interrupt. The next job of a slot is not submitted before the interrupt was
 * acknowledged, so every interrupt matters: one that never comes leaves its slot behind
 * (`unnoticed`, or `lost` if the job was not even done), one too many finds no finished job
 * (`spurious`). What a job is, and whether it was done well, is up to its device's kind.
 *
 * A device that is reset loses its jobs and its memory; the slots say so (`voided`), because an
 * interrupt of a lost job may still be under way.
 */
#include "guest/worker_driver.h"

/* ---- where things are ---- */

uint64_t worker_area(struct guest_vcpu *vcpu, unsigned device)
{
	return vcpu->platform->ram[0].gpa + WORKER_DEVICE_AREA + device * WORKER_DEVICE_BYTES;
}

uint64_t worker_source_buffer(struct guest_vcpu *vcpu, unsigned device, unsigned slot)
{
	return worker_area(vcpu, device) + WORKER_BUFFERS + slot * 2 * WORKER_PAGE;
}

uint64_t worker_target_buffer(struct guest_vcpu *vcpu, unsigned device, unsigned slot)
{
	return worker_source_buffer(vcpu, device, slot) + WORKER_PAGE;
}

uint64_t worker_resets_gpa(struct guest_vcpu *vcpu, unsigned device)
{
	return vcpu->platform->ram[0].gpa + WORKER_BOOT_PAGE + 8 * WORKER_BOOT_RESETS(device);
}

/* ---- resets ---- */

void worker_resets_count(struct guest_vcpu *vcpu, unsigned index)
{
	worker_store(vcpu, worker_resets_gpa(vcpu, index),
		     worker_load(vcpu, worker_resets_gpa(vcpu, index)) + 1);
}

void worker_jobs_void(struct worker *w, struct worker_device *dev)
{
	for (unsigned s = 0; s < WORKER_SLOTS; s++) {
		struct worker_slot *slot = &dev->slot[s];

		if (slot->in_flight) {
			slot->in_flight = 0;
			slot->voided = 1;
			w->voided_jobs++;
		}
		slot->stored = 0;
		slot->peer_written = 0;
	}
	dev->tail = 0;
}

/* ---- jobs ---- */

bool worker_job_submit(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		       uint64_t now_ns)
{
	const struct worker_kind *kind = worker_kind_of(vcpu, index);
	struct worker_slot *slot = &w->device[index].slot[s];

	slot->seed = worker_mix(worker_mix(w->seed, index * WORKER_SLOTS + s), slot->number);
	if (!kind->prepare(vcpu, w, index, s))
		return false;
	slot->submitted_ns = now_ns;
	slot->done_seen_ns = 0;
	slot->in_flight = 1;
	w->submitted_jobs++;
	kind->begin(vcpu, w, index, s);
	return true;
}

bool worker_job_done(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	return w->device[index].slot[s].in_flight &&
	       worker_kind_of(vcpu, index)->done(vcpu, w, index, s);
}

void worker_job_complete(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	worker_kind_of(vcpu, index)->judge(vcpu, w, index, s);
	slot->in_flight = 0;
	slot->voided = 0;
	if (!slot->masked)
		slot->was_masked = 0;
	slot->done_seen_ns = 0;
	slot->number++;
}

void worker_job_watch(struct guest_vcpu *vcpu, struct worker *w, unsigned index, unsigned s,
		      uint64_t now_ns)
{
	struct worker_slot *slot = &w->device[index].slot[s];

	if (!slot->in_flight)
		return;
	if (!worker_job_done(vcpu, w, index, s)) {
		uint64_t limit = w->lost_ns + w->job_delay_us * 1000 * WORKER_SLOTS;

		if (now_ns - slot->submitted_ns < limit)
			return;
		slot->in_flight = 0;
		slot->voided = 1;
		slot->number++;
		w->lost_jobs++;
		worker_fault(w, WORKER_FAULT_JOB_LOST, index, s, 0);
		return;
	}
	if (w->device[index].mode == WORKER_IRQ_POLL) {
		worker_job_complete(vcpu, w, index, s);
		return;
	}
	if (slot->masked || slot->done_seen_ns == 0) {
		slot->done_seen_ns = now_ns;
		return;
	}
	if (now_ns - slot->done_seen_ns < w->notice_ns)
		return;
	w->unnoticed_jobs++;
	worker_fault(w, WORKER_FAULT_UNNOTICED, index, s, 0);
	worker_job_complete(vcpu, w, index, s);
}
