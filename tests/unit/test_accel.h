/* SPDX-License-Identifier: MIT */
/* test_accel.h - an accel device with 1 MiB of RAM at RAM_AT, for its unit tests. */
#ifndef TEST_ACCEL_H
#define TEST_ACCEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "devices/accel_device.h"

#define RAM_AT 0x100000ull
#define RAM_BYTES 0x100000u
#define RING_AT RAM_AT
#define ENTRIES 16u
#define DATA_AT (RAM_AT + 0x10000)

struct bench {
	struct accel_device device;
	uint8_t window[ACCEL_BAR2_BYTES];
	uint8_t ram[RAM_BYTES];
	uint32_t messages[ACCEL_IRQ_MODES][ACCEL_MSIX_VECTORS];
	bool line;
	uint32_t stores_seen;		/* status stores */
	uint64_t now;
};

static inline uint8_t *ram_at(struct bench *b, uint64_t iova, size_t len)
{
	if (iova < RAM_AT || len > RAM_BYTES || iova - RAM_AT > RAM_BYTES - len)
		return NULL;
	return b->ram + (iova - RAM_AT);
}

static inline int bench_read(void *user, uint64_t iova, void *to, size_t len)
{
	uint8_t *p = ram_at(user, iova, len);

	if (!p)
		return -14;
	memcpy(to, p, len);
	return 0;
}

static inline int bench_write(void *user, uint64_t iova, const void *from, size_t len)
{
	uint8_t *p = ram_at(user, iova, len);

	if (!p)
		return -14;
	memcpy(p, from, len);
	return 0;
}

static inline int bench_load32(void *user, uint64_t iova, uint32_t *ret_value)
{
	return bench_read(user, iova, ret_value, sizeof(*ret_value));
}

static inline int bench_store32(void *user, uint64_t iova, uint32_t value)
{
	struct bench *b = user;
	uint8_t le[4];

	b->stores_seen++;
	vf_put_u32(le, value);
	return bench_write(user, iova, le, 4);
}

static inline void bench_message(void *user, enum accel_irq_mode mode, uint32_t vector)
{
	struct bench *b = user;

	b->messages[mode][vector]++;
}

static inline void bench_line(void *user, bool asserted)
{
	struct bench *b = user;

	b->line = asserted;
}

static inline struct bench *bench_new(const struct accel_options *options)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct accel_host host = {
		.dma_read = bench_read, .dma_write = bench_write, .dma_load32 = bench_load32,
		.dma_store32 = bench_store32,
		.message = bench_message, .line = bench_line, .user = b,
	};

	assert_non_null(b);
	b->now = 1000;
	assert_int_equal(accel_device_init(&b->device, options, &host, b->window), 0);
	return b;
}

static inline void bench_free(struct bench *b)
{
	accel_device_done(&b->device);
	free(b);
}

static inline struct accel_options small_options(void)
{
	return (struct accel_options) { .state_bytes = 1 << 20, .seed = 7,
					.overlay_bytes = 1 << 20, .msix_vectors = 16 };
}

static inline void reg32(struct bench *b, uint32_t at, uint32_t value)
{
	uint8_t le[4];

	vf_put_u32(le, value);
	accel_device_write(&b->device, at, le, 4, b->now);
}

static inline void reg64(struct bench *b, uint32_t at, uint64_t value)
{
	uint8_t le[8];

	vf_put_u64(le, value);
	accel_device_write(&b->device, at, le, 8, b->now);
}

static inline uint32_t get32(struct bench *b, uint32_t at)
{
	uint8_t le[4];

	accel_device_read(&b->device, at, le, 4);
	return vf_get_u32(le);
}

static inline uint64_t get64(struct bench *b, uint32_t at)
{
	uint8_t le[8];

	accel_device_read(&b->device, at, le, 8);
	return vf_get_u64(le);
}

static inline void config16(struct bench *b, uint32_t at, uint16_t value)
{
	uint8_t le[2];

	vf_put_u16(le, value);
	(void) accel_device_config_write(&b->device, at, le, 2, b->now);
}

static inline void config32(struct bench *b, uint32_t at, uint32_t value)
{
	uint8_t le[4];

	vf_put_u32(le, value);
	(void) accel_device_config_write(&b->device, at, le, 4, b->now);
}

static inline uint32_t get_config32(struct bench *b, uint32_t at)
{
	uint8_t le[4];

	accel_config_read(&b->device.config, at, le, 4);
	return vf_get_u32(le);
}

/* Bus master on, ring of ENTRIES at RING_AT. */
static inline void bench_enable(struct bench *b)
{
	config16(b, 0x04, 0x0006);
	reg64(b, ACCEL_REG_RING_BASE, RING_AT);
	reg32(b, ACCEL_REG_RING_ENTRIES, ENTRIES);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE);
	assert_int_equal(get32(b, ACCEL_REG_CTRL), ACCEL_CTRL_ENABLE);
}

static inline struct accel_descriptor *slot(struct bench *b, uint32_t index)
{
	return (struct accel_descriptor *) (void *) (b->ram + index * sizeof(struct accel_descriptor));
}

/* Puts a job at the tail and rings. Return: its slot. */
static inline uint32_t submit(struct bench *b, struct accel_descriptor d)
{
	uint32_t tail = get32(b, ACCEL_REG_RING_TAIL);

	*slot(b, tail) = d;
	reg32(b, ACCEL_REG_RING_TAIL, (tail + 1) % ENTRIES);
	return tail;
}

/* Steps until there is nothing to do now; time stands. Return: the last step's answer. */
static inline uint64_t run(struct bench *b)
{
	uint64_t next;
	int bound = 1000000;

	while ((next = accel_device_step(&b->device, b->now)) == ACCEL_STEP_AGAIN)
		assert_true(bound-- > 0);
	return next;
}

static inline uint32_t do_job(struct bench *b, struct accel_descriptor d)
{
	uint32_t at = submit(b, d);

	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	return slot(b, at)->status;
}

#endif
