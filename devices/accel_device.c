/* SPDX-License-Identifier: MIT */
/* accel_device.c - registers, interrupts and run states of the accel device; jobs: accel_jobs.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel_device.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/clock.h"

int accel_device_init(struct accel_device *a, const struct accel_options *options,
		      const struct accel_host *host, uint8_t *window)
{
	int ret;

	memset(a, 0, sizeof(*a));
	if (options->msix_vectors > ACCEL_MSIX_VECTORS)
		return -EINVAL;
	a->options = *options;
	a->host = *host;
	a->window = window;
	a->frozen = calloc(1, ACCEL_BAR2_BYTES);
	if (!a->frozen)
		return -ENOMEM;
	ret = accel_memory_init(&a->memory, options->state_bytes, options->seed,
				options->overlay_bytes / ACCEL_PAGE_BYTES);
	if (!ret)
		ret = vf_bitmap_init(&a->dirty, a->memory.blocks);
	if (ret) {
		accel_device_done(a);
		return ret;
	}
	accel_config_reset(&a->config, options->msix_vectors);
	a->run = ACCEL_RUN_ALL;
	return 0;
}

void accel_device_done(struct accel_device *a)
{
	accel_memory_done(&a->memory);
	vf_bitmap_done(&a->dirty);
	free(a->frozen);
	a->frozen = NULL;
}

void accel_device_empty(struct accel_device *a)
{
	a->reg = (struct accel_registers) { 0 };
	a->job = (struct accel_job) { 0 };
	accel_memory_reset(&a->memory, a->memory.seed);
	memset(a->window, 0, ACCEL_BAR2_BYTES);
	a->dirty_block = 0;
	accel_config_set_msi_pending(&a->config, 0);
	accel_device_mark(a, 0, a->memory.bytes);
	accel_device_irq_update(a);
}

void accel_device_reset(struct accel_device *a, uint64_t now_ns)
{
	accel_config_reset(&a->config, a->options.msix_vectors);
	a->tracking = false;
	a->memory.seed = a->options.seed;	/* it may have run with the seed of another device */
	accel_device_empty(a);
	a->dirty_clock_ns = now_ns;
	a->run = ACCEL_RUN_ALL;
}

void accel_device_set_run(struct accel_device *a, enum accel_run run, uint64_t now_ns)
{
	bool was = a->run != ACCEL_RUN_STOPPED, will = run != ACCEL_RUN_STOPPED;

	if (was && !will) {
		accel_device_age(a, now_ns);
		memcpy(a->frozen, a->window, ACCEL_BAR2_BYTES);
		a->dirty_clock_ns = 0;
		a->job.remaining_ns = a->job.deadline_ns > now_ns ? a->job.deadline_ns - now_ns : 0;
	} else if (!was && will) {
		a->dirty_clock_ns = now_ns;
		a->job.deadline_ns = now_ns + a->job.remaining_ns;
	}
	a->run = run;
	accel_device_irq_update(a);
}

/* --- internal memory that changes --- */

void accel_device_mark(struct accel_device *a, uint64_t at, uint64_t len)
{
	uint64_t end = vf_min_u64(vf_div_up(at + len, ACCEL_BLOCK_BYTES), a->tracked_blocks);

	if (!a->tracking || !len)
		return;
	for (uint64_t b = at / ACCEL_BLOCK_BYTES; b < end; b++) {
		if (vf_bitmap_test(&a->dirty, b))
			continue;
		vf_bitmap_set_range(&a->dirty, b, 1);
		a->dirty_blocks++;
	}
}

void accel_device_age(struct accel_device *a, uint64_t now_ns)
{
	uint64_t block_ns, count;

	if (a->run == ACCEL_RUN_STOPPED || !a->options.dirty_rate || now_ns <= a->dirty_clock_ns)
		return;
	if (!a->dirty_clock_ns) {
		a->dirty_clock_ns = now_ns;
		return;
	}
	/* Rates up to a block per nanosecond; beyond one sweep the rest changes nothing new. */
	block_ns = vf_max_u64(ACCEL_BLOCK_BYTES * VF_SECOND_NS / a->options.dirty_rate, 1);
	count = (now_ns - a->dirty_clock_ns) / block_ns;
	a->dirty_clock_ns += count * block_ns;
	for (count = vf_min_u64(count, a->memory.blocks); count; count--) {
		a->memory.generation[a->dirty_block]++;
		accel_device_mark(a, a->dirty_block * ACCEL_BLOCK_BYTES, 1);
		a->dirty_block = (a->dirty_block + 1) % a->memory.blocks;
	}
}

bool accel_device_window_late(const struct accel_device *a)
{
	return a->run == ACCEL_RUN_STOPPED && memcmp(a->frozen, a->window, ACCEL_BAR2_BYTES) != 0;
}

/* --- interrupts --- */

enum accel_irq_mode accel_device_irq_mode(const struct accel_device *a)
{
	/* As with kernel VFIO, vectors that have a receiver are enabled, whatever the VMM lets
	 * through to the enable bits; set bits without a receiver still take INTx away. */
	if (a->connected[ACCEL_IRQ_MSIX] || accel_config_msix_enabled(&a->config))
		return ACCEL_IRQ_MSIX;
	if (a->connected[ACCEL_IRQ_MSI] || accel_config_msi_enabled(&a->config))
		return ACCEL_IRQ_MSI;
	return ACCEL_IRQ_INTX;
}

void accel_device_irq_connected(struct accel_device *a, enum accel_irq_mode mode, uint32_t count)
{
	a->connected[mode] = count;
	if (mode == ACCEL_IRQ_INTX && a->line) {	/* a new receiver must hear of it */
		a->line = false;
		a->host.line(a->host.user, false);
	}
	accel_device_irq_update(a);
}

void accel_device_irq_update(struct accel_device *a)
{
	enum accel_irq_mode mode = accel_device_irq_mode(a);
	bool asserted = mode == ACCEL_IRQ_INTX && a->reg.irq_status;
	bool line = asserted && !accel_config_intx_disabled(&a->config) &&
		    a->run != ACCEL_RUN_STOPPED;
	uint32_t due;

	accel_config_set_intx_status(&a->config, asserted);
	if (line != a->line) {
		a->line = line;
		a->host.line(a->host.user, line);
	}
	if (mode != ACCEL_IRQ_MSI || a->run == ACCEL_RUN_STOPPED ||
	    !accel_config_bus_master(&a->config))
		return;
	due = accel_config_msi_pending(&a->config) & ~accel_config_msi_mask(&a->config);
	accel_config_set_msi_pending(&a->config, accel_config_msi_pending(&a->config) & ~due);
	for (uint32_t v = 0; due; v++, due >>= 1)
		if (due & 1)
			a->host.message(a->host.user, ACCEL_IRQ_MSI, v);
}

/* --- registers --- */

static uint32_t status_of(const struct accel_device *a)
{
	bool busy = a->job.active || a->reg.rung ||
		    (a->reg.ctrl & ACCEL_CTRL_ENABLE && a->reg.head != a->reg.tail);

	return a->reg.error | (busy ? ACCEL_STATUS_BUSY : 0);
}

/* The value of the register of 4 bytes at @at; halves of a 64-bit one are registers of their own. */
static uint32_t read32(const struct accel_device *a, uint32_t at)
{
	uint64_t wide;

	switch (at & ~4u) {
	case ACCEL_REG_RING_BASE:
		wide = a->reg.ring_base;
		break;
	case ACCEL_REG_STATE_BYTES:
		wide = a->memory.bytes;
		break;
	case ACCEL_REG_JOBS_DONE:
		wide = a->reg.jobs_done;
		break;
	case ACCEL_REG_WINDOW_BYTES:
		wide = ACCEL_BAR2_BYTES;
		break;
	case ACCEL_REG_JOBS_FAILED:
		wide = a->reg.jobs_failed;
		break;
	case ACCEL_REG_SCRATCH:
		wide = a->reg.scratch;
		break;
	case ACCEL_REG_SEED:
		wide = a->memory.seed;
		break;
	case ACCEL_REG_TAIL_ADDRESS:
		wide = a->reg.tail_address;
		break;
	case ACCEL_REG_DOORBELLS:
		wide = a->reg.doorbells;
		break;
	default:
		goto narrow;
	}
	return (uint32_t) (at & 4 ? wide >> 32 : wide);
narrow:
	switch (at) {
	case ACCEL_REG_ID:
		return ACCEL_ID;
	case ACCEL_REG_VERSION:
		return ACCEL_VERSION;
	case ACCEL_REG_CTRL:
		return a->reg.ctrl;
	case ACCEL_REG_STATUS:
		return status_of(a);
	case ACCEL_REG_RING_ENTRIES:
		return a->reg.ring_entries;
	case ACCEL_REG_RING_TAIL:
		return a->reg.tail;
	case ACCEL_REG_RING_HEAD:
		return a->reg.head;
	case ACCEL_REG_IRQ_STATUS:
		return a->reg.irq_status;
	case ACCEL_REG_VECTORS:
		return a->options.msix_vectors;
	case ACCEL_REG_OPCODES:
		return (1u << ACCEL_OP_COUNT) - 1;
	default:
		return UINT32_MAX;
	}
}

bool accel_device_ring_valid(const struct accel_registers *r)
{
	return vf_is_pow2(r->ring_entries) && r->ring_entries >= ACCEL_RING_ENTRIES_MIN &&
	       r->ring_entries <= ACCEL_RING_ENTRIES_MAX && r->ring_base % ACCEL_RING_ALIGN == 0 &&
	       r->ring_base <= UINT64_MAX - r->ring_entries * sizeof(struct accel_descriptor) &&
	       r->tail_address % sizeof(uint32_t) == 0;
}

static bool aligned_access(uint64_t at, uint32_t len)
{
	return (len == 4 || len == 8) && at % len == 0;
}

void accel_device_read(struct accel_device *a, uint64_t at, void *to, uint32_t len)
{
	uint8_t *p = to;

	memset(to, 0xff, len);
	if (!aligned_access(at, len) || at + len > ACCEL_REG_END || !accel_config_in_d0(&a->config))
		return;
	for (uint32_t i = 0; i < len; i += 4)
		vf_put_u32(p + i, read32(a, (uint32_t) at + i));
}

static void write_ctrl(struct accel_device *a, uint32_t value)
{
	struct accel_registers *r = &a->reg;

	if (value & ACCEL_CTRL_RESET) {
		accel_device_empty(a);
		return;
	}
	if (!(value & ACCEL_CTRL_ENABLE)) {
		r->ctrl = 0;
		r->rung = false;
		return;
	}
	if (r->ctrl & ACCEL_CTRL_ENABLE || r->error)
		return;
	/* A job that was let finish must have: its outcome belongs to the old ring. */
	if (!accel_device_ring_valid(r) || a->job.active) {
		r->error = ACCEL_STATUS_ERROR;
		return;
	}
	r->head = 0;
	r->tail = 0;
	r->ctrl = ACCEL_CTRL_ENABLE;
}

/* Whether it comes as a write or as a count, the same happens. */
static void ring(struct accel_device *a, uint64_t count)
{
	struct accel_registers *r = &a->reg;

	r->doorbells += count;
	if (r->ctrl & ACCEL_CTRL_ENABLE && !r->error && r->tail_address)
		r->rung = true;
}

void accel_device_kick(struct accel_device *a, uint64_t count)
{
	if (accel_config_in_d0(&a->config))
		ring(a, count);
}

static void write32(struct accel_device *a, uint32_t at, uint32_t value)
{
	struct accel_registers *r = &a->reg;
	bool enabled = r->ctrl & ACCEL_CTRL_ENABLE;
	bool fixed = enabled || a->job.active;	/* its outcome goes to the ring it came from */

	switch (at) {
	case ACCEL_REG_CTRL:
		write_ctrl(a, value);
		break;
	case ACCEL_REG_RING_BASE:
		if (!fixed)
			r->ring_base = (r->ring_base & ~0xffffffffull) | value;
		break;
	case ACCEL_REG_RING_BASE + 4:
		if (!fixed)
			r->ring_base = (r->ring_base & 0xffffffffull) | (uint64_t) value << 32;
		break;
	case ACCEL_REG_RING_ENTRIES:
		if (!fixed)
			r->ring_entries = value;
		break;
	case ACCEL_REG_RING_TAIL:
		if (!enabled || r->error)
			break;
		if (value >= r->ring_entries)
			r->error = ACCEL_STATUS_ERROR;
		else
			r->tail = value;
		break;
	case ACCEL_REG_TAIL_ADDRESS:
		if (!enabled)
			r->tail_address = (r->tail_address & ~0xffffffffull) | value;
		break;
	case ACCEL_REG_TAIL_ADDRESS + 4:
		if (!enabled)
			r->tail_address = (r->tail_address & 0xffffffffull) | (uint64_t) value << 32;
		break;
	case ACCEL_REG_DOORBELL:
		ring(a, 1);
		break;
	case ACCEL_REG_IRQ_STATUS:
		r->irq_status &= ~value;
		accel_device_irq_update(a);
		break;
	case ACCEL_REG_SCRATCH:
		r->scratch = (r->scratch & ~0xffffffffull) | value;
		break;
	case ACCEL_REG_SCRATCH + 4:
		r->scratch = (r->scratch & 0xffffffffull) | (uint64_t) value << 32;
		break;
	default:
		break;
	}
}

void accel_device_write(struct accel_device *a, uint64_t at, const void *from, uint32_t len,
			uint64_t now_ns)
{
	const uint8_t *p = from;

	if (!aligned_access(at, len) || at + len > ACCEL_REG_END || !accel_config_in_d0(&a->config))
		return;
	accel_device_age(a, now_ns);
	for (uint32_t i = 0; i < len; i += 4)
		write32(a, (uint32_t) at + i, vf_get_u32(p + i));
}

bool accel_device_config_write(struct accel_device *a, uint32_t at, const void *from, uint32_t len,
			       uint64_t now_ns)
{
	unsigned int changes = accel_config_write(&a->config, at, from, len);

	if (changes & ACCEL_CONFIG_FLR) {
		accel_device_reset(a, now_ns);
		return true;
	}
	if (changes)
		accel_device_irq_update(a);
	return false;
}
