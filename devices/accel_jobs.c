/* SPDX-License-Identifier: MIT */
/* accel_jobs.c - the job engine of the accel device: fetch, move a chunk, wait, write back. */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "accel_device.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "accel_pattern.h"

static uint64_t ring_slot(const struct accel_device *a)
{
	return a->reg.ring_base + (uint64_t) a->reg.head * sizeof(struct accel_descriptor);
}

uint32_t accel_device_check_job(const struct accel_device *a, const struct accel_descriptor *d)
{
	uint64_t internal = d->opcode == ACCEL_OP_STORE ? d->dst : d->src;

	if (d->opcode >= ACCEL_OP_COUNT)
		return ACCEL_JOB_BAD_OPCODE;
	if (d->flags & ~ACCEL_FLAG_IRQ || d->vector >= ACCEL_MSIX_VECTORS ||
	    d->length > ACCEL_LENGTH_MAX || d->delay_us > ACCEL_DELAY_MAX_US)
		return ACCEL_JOB_BAD_FIELD;
	if (d->opcode == ACCEL_OP_STORE || d->opcode == ACCEL_OP_LOAD)
		if (!vf_range_in(internal, d->length, a->memory.bytes))
			return ACCEL_JOB_BAD_RANGE;
	/* No bus address may wrap. */
	if (d->opcode != ACCEL_OP_NOP &&
	    (d->src > UINT64_MAX - d->length || d->dst > UINT64_MAX - d->length))
		return ACCEL_JOB_BAD_ADDRESS;
	return ACCEL_JOB_PENDING;
}

static void fetch(struct accel_device *a, uint64_t now_ns)
{
	struct accel_descriptor d;

	if (a->host.dma_read(a->host.user, ring_slot(a), &d, sizeof(d))) {
		a->reg.error = ACCEL_STATUS_ERROR;
		return;
	}
	/* All fields little-endian: this is the one place where they are taken in. */
	d.vector = le16toh(d.vector);
	d.delay_us = le32toh(d.delay_us);
	d.src = le64toh(d.src);
	d.dst = le64toh(d.dst);
	d.length = le64toh(d.length);
	d.seed = le64toh(d.seed);
	d.cookie = le64toh(d.cookie);
	d.cookie_echo = d.cookie;
	d.result = d.opcode == ACCEL_OP_CRC32C ? (uint32_t) d.seed : 0;
	d.status = accel_device_check_job(a, &d);
	a->job = (struct accel_job) { .active = true, .d = d };
	a->job.finished = d.status != ACCEL_JOB_PENDING || d.opcode == ACCEL_OP_NOP;
	a->job.deadline_ns = now_ns;
	if (d.delay_us <= ACCEL_DELAY_MAX_US)
		a->job.deadline_ns += d.delay_us * 1000ull;
}

/* What DOORBELL stands for: RING_TAIL as if the driver had written it. */
static void fetch_tail(struct accel_device *a)
{
	uint32_t tail;

	a->reg.rung = false;
	if (a->host.dma_load32(a->host.user, a->reg.tail_address, &tail) ||
	    le32toh(tail) >= a->reg.ring_entries)
		a->reg.error = ACCEL_STATUS_ERROR;
	else
		a->reg.tail = le32toh(tail);
}

static int read_source(struct accel_device *a, size_t len)
{
	const struct accel_descriptor *d = &a->job.d;
	uint64_t at = d->src + a->job.done;

	switch (d->opcode) {
	case ACCEL_OP_FILL:
		accel_pattern_fill(a->chunk, len, d->seed, a->job.done);
		return 0;
	case ACCEL_OP_LOAD:
		accel_memory_read(&a->memory, at, a->chunk, len);
		return 0;
	default:
		return a->host.dma_read(a->host.user, at, a->chunk, len);
	}
}

static int write_destination(struct accel_device *a, size_t len)
{
	struct accel_descriptor *d = &a->job.d;
	uint64_t at = d->dst + a->job.done;
	int ret;

	switch (d->opcode) {
	case ACCEL_OP_CRC32C:
		d->result = vf_crc32c(d->result, a->chunk, len);
		return 0;
	case ACCEL_OP_STORE:
		ret = accel_memory_write(&a->memory, at, a->chunk, len);
		accel_device_mark(a, at, len);	/* of a failed one, a part may be written */
		return ret;
	default:
		return a->host.dma_write(a->host.user, at, a->chunk, len);
	}
}

/* Moves one chunk of the job. */
static void move_chunk(struct accel_device *a)
{
	struct accel_job *j = &a->job;
	size_t len = (size_t) vf_min_u64(j->d.length - j->done, ACCEL_CHUNK_BYTES);
	int ret = 0;

	if (len)
		ret = read_source(a, len);
	if (len && !ret)
		ret = write_destination(a, len);
	if (ret) {
		j->d.status = ret == -ENOSPC || ret == -ENOMEM ? ACCEL_JOB_NO_SPACE
							       : ACCEL_JOB_BAD_ADDRESS;
		j->finished = true;
		return;
	}
	j->done += len;
	j->finished = j->done == j->d.length;
}

static void raise_vector(struct accel_device *a, uint32_t vector)
{
	switch (accel_device_irq_mode(a)) {
	case ACCEL_IRQ_INTX:
		a->reg.irq_status |= 1u << vector;
		break;
	case ACCEL_IRQ_MSI:
		vector %= accel_config_msi_vectors(&a->config);
		accel_config_set_msi_pending(&a->config,
					     accel_config_msi_pending(&a->config) | 1u << vector);
		break;	/* sent by the update unless it is masked */
	default:
		a->host.message(a->host.user, ACCEL_IRQ_MSIX, vector);
		break;
	}
	accel_device_irq_update(a);
}

static void complete(struct accel_device *a)
{
	struct accel_descriptor *d = &a->job.d;
	uint64_t slot = ring_slot(a);
	uint32_t status = d->status == ACCEL_JOB_PENDING ? ACCEL_JOB_OK : d->status;
	uint32_t result = d->opcode == ACCEL_OP_CRC32C && status == ACCEL_JOB_OK ? d->result : 0;
	struct {
		uint32_t result;
		uint64_t cookie;
	} __attribute__((packed)) echo = { htole32(result), htole64(d->cookie) };
	bool wants_irq = d->flags & ACCEL_FLAG_IRQ && d->vector < ACCEL_MSIX_VECTORS;

	_Static_assert(offsetof(struct accel_descriptor, result) + sizeof(echo) ==
		       sizeof(struct accel_descriptor), "result and echo end the descriptor");
	a->job.active = false;
	if (a->host.dma_write(a->host.user, slot + offsetof(struct accel_descriptor, result), &echo,
			      sizeof(echo)) ||
	    a->host.dma_store32(a->host.user, slot + offsetof(struct accel_descriptor, status),
				status)) {
		a->reg.error = ACCEL_STATUS_ERROR;
		return;
	}
	a->reg.head = (a->reg.head + 1) % a->reg.ring_entries;
	a->reg.jobs_done++;
	a->reg.jobs_failed += status != ACCEL_JOB_OK;
	if (wants_irq)
		raise_vector(a, d->vector);
}

uint64_t accel_device_step(struct accel_device *a, uint64_t now_ns)
{
	struct accel_job *j = &a->job;

	if (a->run == ACCEL_RUN_STOPPED || a->reg.error || !accel_config_bus_master(&a->config) ||
	    !accel_config_in_d0(&a->config))
		return ACCEL_STEP_IDLE;
	accel_device_age(a, now_ns);
	if (a->reg.rung) {
		fetch_tail(a);
		return ACCEL_STEP_AGAIN;
	}
	if (!j->active) {
		if (!(a->reg.ctrl & ACCEL_CTRL_ENABLE) || a->reg.head == a->reg.tail)
			return ACCEL_STEP_IDLE;
		fetch(a, now_ns);
		return ACCEL_STEP_AGAIN;
	}
	if (!j->finished) {
		if (j->d.opcode == ACCEL_OP_COPY_PEER && a->run != ACCEL_RUN_ALL)
			return ACCEL_STEP_IDLE;
		move_chunk(a);
		return ACCEL_STEP_AGAIN;
	}
	if (now_ns < j->deadline_ns)
		return j->deadline_ns;
	complete(a);
	return ACCEL_STEP_AGAIN;
}
