/* SPDX-License-Identifier: MIT */
/*
 * accel_registers.c - see accel_registers.h.
 *
 * u32 ctrl, error, ring entries, tail, head, irq status, MSI pending, rung; u64 ring base, jobs
 * done, jobs failed, scratch, next block to change by itself; then the job: u8 active, finished,
 * opcode, flags, u16 vector, zero, u32 delay, status, result, zero, u64 source, destination,
 * length, seed, cookie, bytes done, nanoseconds of the delay left. Since version 2: u64 tail address,
 * doorbells; before it `rung` is zero.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "accel_registers.h"
#include "base/bytes.h"

/* One walk for both directions, so that they can't differ. */
struct walk {
	uint8_t *at;
	bool encode;
};

static void field(struct walk *w, uint64_t *value, unsigned int width)
{
	for (unsigned int i = 0; i < width; i++) {
		if (w->encode)
			w->at[i] = (uint8_t) (*value >> 8 * i);
		else
			*value = (i ? *value : 0) | (uint64_t) w->at[i] << 8 * i;
	}
	w->at += width;
}

static void u64(struct walk *w, uint64_t *v)
{
	field(w, v, 8);
}

static void u32(struct walk *w, uint32_t *v)
{
	uint64_t wide = *v;

	field(w, &wide, 4);
	*v = (uint32_t) wide;
}

static void u16(struct walk *w, uint16_t *v)
{
	uint64_t wide = *v;

	field(w, &wide, 2);
	*v = (uint16_t) wide;
}

static void u8(struct walk *w, uint8_t *v)
{
	uint64_t wide = *v;

	field(w, &wide, 1);
	*v = (uint8_t) wide;
}

static void walk_all(struct walk *w, struct accel_saved_registers *s, uint32_t version,
		     uint8_t flags[2], uint32_t zero[3])
{
	struct accel_descriptor *d = &s->job.d;
	uint16_t pad = (uint16_t) zero[1];

	u32(w, &s->reg.ctrl);
	u32(w, &s->reg.error);
	u32(w, &s->reg.ring_entries);
	u32(w, &s->reg.tail);
	u32(w, &s->reg.head);
	u32(w, &s->reg.irq_status);
	u32(w, &s->msi_pending);
	u32(w, &zero[0]);
	u64(w, &s->reg.ring_base);
	u64(w, &s->reg.jobs_done);
	u64(w, &s->reg.jobs_failed);
	u64(w, &s->reg.scratch);
	u64(w, &s->dirty_block);
	u8(w, &flags[0]);
	u8(w, &flags[1]);
	u8(w, &d->opcode);
	u8(w, &d->flags);
	u16(w, &d->vector);
	u16(w, &pad);
	zero[1] = pad;
	u32(w, &d->delay_us);
	u32(w, &d->status);
	u32(w, &d->result);
	u32(w, &zero[2]);
	u64(w, &d->src);
	u64(w, &d->dst);
	u64(w, &d->length);
	u64(w, &d->seed);
	u64(w, &d->cookie);
	u64(w, &s->job.done);
	u64(w, &s->job.remaining_ns);
	if (version < 2)
		return;
	u64(w, &s->reg.tail_address);
	u64(w, &s->reg.doorbells);
}

size_t accel_registers_encode(const struct accel_device *a, uint8_t *to)
{
	struct accel_saved_registers s = {
		.reg = a->reg,
		.job = a->job,
		.msi_pending = accel_config_msi_pending(&a->config),
		.dirty_block = a->dirty_block,
	};
	struct walk w = { .at = to, .encode = true };
	uint8_t flags[2];
	uint32_t zero[3] = { 0 };

	assert(a->run == ACCEL_RUN_STOPPED);
	if (!s.job.active)	/* what an earlier job left behind is nobody's business */
		s.job = (struct accel_job) { 0 };
	flags[0] = s.job.active;
	flags[1] = s.job.finished;
	zero[0] = s.reg.rung;
	walk_all(&w, &s, 2, flags, zero);
	assert(w.at == to + ACCEL_REGISTERS_BYTES);
	return ACCEL_REGISTERS_BYTES;
}

static bool job_possible(const struct accel_device *a, const struct accel_saved_registers *s)
{
	const struct accel_job *j = &s->job;
	uint32_t check = accel_device_check_job(a, &j->d);

	if (!j->active)
		return true;
	if (!accel_device_ring_valid(&s->reg) || s->reg.head >= s->reg.ring_entries)
		return false;
	if (j->d.status > ACCEL_JOB_NO_SPACE || j->remaining_ns > ACCEL_DELAY_MAX_US * 1000ull)
		return false;
	/* A job that was refused at once has its reason; any other may go on only if it is sound. */
	if (check != ACCEL_JOB_PENDING)
		return j->finished && j->d.status == check && !j->done;
	if (!j->finished && j->d.status != ACCEL_JOB_PENDING)
		return false;
	return j->done <= j->d.length;
}

int accel_registers_decode(const struct accel_device *a, const void *from, size_t len,
			   struct accel_saved_registers *ret)
{
	struct accel_saved_registers s = { 0 };
	uint8_t bytes[ACCEL_REGISTERS_BYTES], flags[2] = { 0 };
	struct walk w = { .at = bytes };
	uint32_t zero[3] = { 0 }, version = len == ACCEL_REGISTERS_1_BYTES ? 1 : 2;

	if (len != ACCEL_REGISTERS_BYTES && len != ACCEL_REGISTERS_1_BYTES)
		return -EINVAL;
	memcpy(bytes, from, len);
	walk_all(&w, &s, version, flags, zero);
	s.reg.rung = zero[0];
	s.job.active = flags[0];
	s.job.finished = flags[1];
	s.job.d.cookie_echo = s.job.d.cookie;
	if (flags[0] > 1 || flags[1] > 1 || zero[0] > (version > 1) || zero[1] || zero[2])
		return -EINVAL;
	if (s.reg.rung && (!(s.reg.ctrl & ACCEL_CTRL_ENABLE) || !s.reg.tail_address))
		return -EINVAL;
	if (s.reg.ctrl & ~ACCEL_CTRL_ENABLE || s.reg.error & ~ACCEL_STATUS_ERROR ||
	    s.reg.irq_status >> ACCEL_MSIX_VECTORS || s.msi_pending >> ACCEL_MSI_VECTORS ||
	    s.dirty_block >= a->memory.blocks)
		return -EINVAL;
	if (s.reg.ctrl && (!accel_device_ring_valid(&s.reg) || s.reg.tail >= s.reg.ring_entries ||
			   s.reg.head >= s.reg.ring_entries))
		return -EINVAL;
	if (!job_possible(a, &s))
		return -EINVAL;
	*ret = s;
	return 0;
}

void accel_registers_apply(struct accel_device *a, const struct accel_saved_registers *saved)
{
	a->reg = saved->reg;
	a->job = saved->job;
	a->dirty_block = saved->dirty_block;
	accel_config_set_msi_pending(&a->config, saved->msi_pending);
	accel_device_irq_update(a);
}
