/* SPDX-License-Identifier: MIT */
/* test_accel_device.c - the accel device as its driver sees it: ring, jobs, interrupts, config. */
#include "test_accel.h"

#include "base/crc32c.h"
#include "devices/accel_pattern.h"

static struct bench *b;

static int set_up(void **state)
{
	struct accel_options o = small_options();

	(void) state;
	b = bench_new(&o);
	return 0;
}

static int tear_down(void **state)
{
	(void) state;
	bench_free(b);
	return 0;
}

static void noise(uint8_t *p, size_t len, uint64_t seed)
{
	accel_pattern_fill(p, len, seed ^ 0xabcdef, 3);
}

static void test_pattern(void **state)
{
	uint8_t a[500], whole[500];

	(void) state;
	for (size_t i = 0; i < sizeof(whole); i++)
		whole[i] = (uint8_t) (accel_pattern(99, (i + 8000) / 8) >> (i % 8 * 8));
	for (size_t at = 0; at < 20; at++)
		for (size_t len = 0; len + at <= sizeof(a); len += 7) {
			memset(a, 0xee, sizeof(a));
			accel_pattern_fill(a + at, len, 99, 8000 + at);
			assert_memory_equal(a + at, whole + at, len);
			if (at + len < sizeof(a))
				assert_int_equal(a[at + len], 0xee);
			assert_true(accel_pattern_equal(a + at, len, 99, 8000 + at));
			for (size_t flip = 0; flip < len; flip += 5) {
				a[at + flip] ^= 0x10;
				assert_false(accel_pattern_equal(a + at, len, 99, 8000 + at));
				a[at + flip] ^= 0x10;
			}
		}
}

static void test_identity(void **state)
{
	(void) state;
	assert_int_equal(get32(b, ACCEL_REG_ID), ACCEL_ID);
	assert_int_equal(get32(b, ACCEL_REG_VERSION), ACCEL_VERSION);
	assert_int_equal(get64(b, ACCEL_REG_STATE_BYTES), 1 << 20);
	assert_int_equal(get64(b, ACCEL_REG_WINDOW_BYTES), ACCEL_BAR2_BYTES);
	assert_int_equal(get32(b, ACCEL_REG_VECTORS), 16);
	assert_int_equal(get64(b, ACCEL_REG_SEED), 7);
	assert_int_equal(get32(b, ACCEL_MSIX_TABLE), UINT32_MAX);
	assert_int_equal(get32(b, 0x4), ACCEL_VERSION);
	reg64(b, ACCEL_REG_SCRATCH, 0x1122334455667788ull);
	assert_int_equal(get32(b, ACCEL_REG_SCRATCH), 0x55667788);
	assert_int_equal(get32(b, ACCEL_REG_SCRATCH + 4), 0x11223344);
	assert_int_equal(get_config32(b, 0), ACCEL_PCI_DEVICE << 16 | ACCEL_PCI_VENDOR);
	assert_int_equal(get_config32(b, 8) >> 8, ACCEL_PCI_CLASS);
}

static void test_odd_accesses(void **state)
{
	uint8_t p[8] = { 0 };

	(void) state;
	accel_device_read(&b->device, 2, p, 4);
	assert_int_equal(vf_get_u32(p), UINT32_MAX);
	accel_device_read(&b->device, 0, p, 1);
	assert_int_equal(p[0], 0xff);
	accel_device_read(&b->device, ACCEL_BAR0_BYTES - 8, p, 8);
	assert_int_equal(p[7], 0xff);
	p[0] = 1;
	accel_device_write(&b->device, ACCEL_REG_SCRATCH, p, 1, 0);
	assert_int_equal(get64(b, ACCEL_REG_SCRATCH), 0);
}

/* The chain, the sizes that BARs answer, and what is read-only. */
static void test_config_space(void **state)
{
	uint8_t at = (uint8_t) get_config32(b, 0x34);
	const uint8_t want[][2] = { { ACCEL_CAP_PM, 0x01 }, { ACCEL_CAP_MSI, 0x05 },
				    { ACCEL_CAP_MSIX, 0x11 }, { ACCEL_CAP_PCIE, 0x10 } };

	(void) state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(at, want[i][0]);
		assert_int_equal(get_config32(b, at) & 0xff, want[i][1]);
		at = (uint8_t) (get_config32(b, at) >> 8);
	}
	assert_int_equal(at, 0);
	config32(b, 0x10, UINT32_MAX);
	config32(b, 0x18, UINT32_MAX);
	config32(b, 0x1c, UINT32_MAX);
	config32(b, 0x14, UINT32_MAX);
	config32(b, 0x00, 0);
	assert_int_equal(get_config32(b, 0x10), ~(ACCEL_BAR0_BYTES - 1));
	assert_int_equal(get_config32(b, 0x14), 0);
	assert_int_equal(get_config32(b, 0x18), (~(ACCEL_BAR2_BYTES - 1)) | 0xc);
	assert_int_equal(get_config32(b, 0x1c), UINT32_MAX);
	assert_int_equal(get_config32(b, 0x00), ACCEL_PCI_DEVICE << 16 | ACCEL_PCI_VENDOR);
	assert_int_equal(get_config32(b, 0x3c) >> 8, 1);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSIX + 4), ACCEL_MSIX_TABLE);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSIX + 8), ACCEL_MSIX_PBA);
}

static void test_no_msix(void **state)
{
	struct accel_options o = small_options();
	struct bench *was = b;

	(void) state;
	o.msix_vectors = 0;
	b = bench_new(&o);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSI) >> 8 & 0xff, ACCEL_CAP_PCIE);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSIX), 0);
	config32(b, ACCEL_CAP_MSIX, UINT32_MAX);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSIX), 0);
	bench_free(b);
	o.msix_vectors = 17;
	b = was;
	assert_int_equal(accel_device_init(&(struct accel_device) { 0 }, &o, &b->device.host,
					   b->window), -22);
}

static void test_copy_and_echo(void **state)
{
	struct accel_descriptor d = { .opcode = ACCEL_OP_COPY, .src = DATA_AT,
				      .dst = DATA_AT + 0x40000, .length = 0x30001,
				      .cookie = 0x1234567890abcdefull, .cookie_echo = 1 };

	(void) state;
	bench_enable(b);
	noise(ram_at(b, DATA_AT, 0x30001), 0x30001, 1);
	assert_int_equal(do_job(b, d), ACCEL_JOB_OK);
	assert_memory_equal(ram_at(b, d.dst, d.length), ram_at(b, d.src, d.length), d.length);
	assert_int_equal(*ram_at(b, d.dst + d.length, 1), 0);
	assert_int_equal(slot(b, 0)->cookie_echo, d.cookie);
	assert_int_equal(slot(b, 0)->result, 0);
	assert_int_equal(get32(b, ACCEL_REG_RING_HEAD), 1);
	assert_int_equal(get64(b, ACCEL_REG_JOBS_DONE), 1);
	assert_int_equal(b->stores_seen, 1);
}

static void test_fill_and_crc(void **state)
{
	struct accel_descriptor fill = { .opcode = ACCEL_OP_FILL, .dst = DATA_AT + 3,
					 .length = 70005, .seed = 42 };
	struct accel_descriptor crc = { .opcode = ACCEL_OP_CRC32C, .src = DATA_AT + 3,
					.length = 70005 };
	uint32_t half;

	(void) state;
	bench_enable(b);
	assert_int_equal(do_job(b, fill), ACCEL_JOB_OK);
	for (uint64_t i = 0; i < 70000 / 8; i++)
		assert_int_equal(vf_get_u64(ram_at(b, DATA_AT + 3 + i * 8, 8)), accel_pattern(42, i));
	assert_int_equal(*ram_at(b, DATA_AT + 3 + 70005, 1), 0);
	assert_int_equal(do_job(b, crc), ACCEL_JOB_OK);
	assert_int_equal(slot(b, 1)->result, vf_crc32c(0, ram_at(b, DATA_AT + 3, 70005), 70005));
	/* In two halves, the second starting with the first's result. */
	crc.length = 35000;
	assert_int_equal(do_job(b, crc), ACCEL_JOB_OK);
	half = slot(b, 2)->result;
	crc.src += 35000;
	crc.length = 35005;
	crc.seed = half;
	assert_int_equal(do_job(b, crc), ACCEL_JOB_OK);
	assert_int_equal(slot(b, 3)->result, slot(b, 1)->result);
}

static void test_internal_memory(void **state)
{
	struct accel_descriptor store = { .opcode = ACCEL_OP_STORE, .src = DATA_AT, .dst = 100001,
					  .length = 5000 };
	struct accel_descriptor load = { .opcode = ACCEL_OP_LOAD, .src = 90000,
					 .dst = DATA_AT + 0x20000, .length = 30000 };
	uint8_t want[30000];

	(void) state;
	bench_enable(b);
	noise(ram_at(b, DATA_AT, 5000), 5000, 5);
	assert_int_equal(do_job(b, store), ACCEL_JOB_OK);
	assert_int_equal(do_job(b, load), ACCEL_JOB_OK);
	for (uint64_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t) (accel_pattern(7, (90000 + i) / 8) >> ((90000 + i) % 8 * 8));
	memcpy(want + 10001, ram_at(b, DATA_AT, 5000), 5000);
	assert_memory_equal(ram_at(b, load.dst, 30000), want, 30000);
	assert_int_equal(b->device.memory.overlay_pages, 2);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	assert_int_equal(b->device.memory.overlay_pages, 0);
	assert_int_equal(b->device.memory.overlay_blocks, 0);
}

static void test_bad_jobs(void **state)
{
	const struct {
		struct accel_descriptor d;
		uint32_t status;
	} bad[] = {
		{ { .opcode = ACCEL_OP_COUNT }, ACCEL_JOB_BAD_OPCODE },
		{ { .opcode = 255, .flags = 1, .vector = 999 }, ACCEL_JOB_BAD_OPCODE },
		{ { .flags = 2 }, ACCEL_JOB_BAD_FIELD },
		{ { .flags = 1, .vector = 16 }, ACCEL_JOB_BAD_FIELD },
		{ { .length = ACCEL_LENGTH_MAX + 1 }, ACCEL_JOB_BAD_FIELD },
		{ { .delay_us = ACCEL_DELAY_MAX_US + 1 }, ACCEL_JOB_BAD_FIELD },
		{ { .opcode = ACCEL_OP_COPY, .src = 0, .dst = DATA_AT, .length = 1 },
		  ACCEL_JOB_BAD_ADDRESS },
		{ { .opcode = ACCEL_OP_COPY, .src = DATA_AT, .dst = RAM_AT + RAM_BYTES - 1,
		    .length = 2 }, ACCEL_JOB_BAD_ADDRESS },
		{ { .opcode = ACCEL_OP_FILL, .dst = UINT64_MAX - 3, .length = 64 },
		  ACCEL_JOB_BAD_ADDRESS },
		{ { .opcode = ACCEL_OP_STORE, .src = DATA_AT, .dst = (1 << 20) - 4, .length = 5 },
		  ACCEL_JOB_BAD_RANGE },
		{ { .opcode = ACCEL_OP_LOAD, .src = UINT64_MAX, .dst = DATA_AT, .length = 5 },
		  ACCEL_JOB_BAD_RANGE },
	};

	(void) state;
	bench_enable(b);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct accel_descriptor d = bad[i].d;

		d.cookie = i;
		assert_int_equal(do_job(b, d), bad[i].status);
		assert_int_equal(slot(b, (uint32_t) i % ENTRIES)->cookie_echo, i);
	}
	assert_int_equal(get64(b, ACCEL_REG_JOBS_FAILED), sizeof(bad) / sizeof(bad[0]));
	assert_int_equal(do_job(b, (struct accel_descriptor) { 0 }), ACCEL_JOB_OK);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), 0);
}

static void test_overlay_bound(void **state)
{
	struct accel_options o = small_options();
	struct bench *was = b;
	struct accel_descriptor store = { .opcode = ACCEL_OP_STORE, .src = DATA_AT,
					  .length = 3 * ACCEL_PAGE_BYTES };

	(void) state;
	o.overlay_bytes = 3 * ACCEL_PAGE_BYTES;
	b = bench_new(&o);
	bench_enable(b);
	assert_int_equal(do_job(b, store), ACCEL_JOB_OK);
	assert_int_equal(do_job(b, store), ACCEL_JOB_OK);
	store.dst = 70000;
	store.length = 1;
	assert_int_equal(do_job(b, store), ACCEL_JOB_NO_SPACE);
	assert_int_equal(b->device.memory.overlay_pages, 3);
	bench_free(b);
	b = was;
}

static void test_ring_errors(void **state)
{
	(void) state;
	config16(b, 0x04, 0x0006);
	reg32(b, ACCEL_REG_RING_ENTRIES, 3);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE);
	assert_int_equal(get32(b, ACCEL_REG_CTRL), 0);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), ACCEL_STATUS_ERROR);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), 0);

	bench_enable(b);
	reg64(b, ACCEL_REG_RING_BASE, 0);	/* fixed while enabled */
	assert_int_equal(get64(b, ACCEL_REG_RING_BASE), RING_AT);
	reg32(b, ACCEL_REG_RING_TAIL, ENTRIES);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), ACCEL_STATUS_ERROR);
	reg32(b, ACCEL_REG_RING_TAIL, 1);
	assert_int_equal(get32(b, ACCEL_REG_RING_TAIL), 0);

	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	reg64(b, ACCEL_REG_RING_BASE, RAM_AT + RAM_BYTES);	/* not RAM */
	reg32(b, ACCEL_REG_RING_ENTRIES, ENTRIES);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE);
	reg32(b, ACCEL_REG_RING_TAIL, 1);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_STATUS) & ACCEL_STATUS_ERROR, ACCEL_STATUS_ERROR);
}

static void test_ring_wraps_in_order(void **state)
{
	(void) state;
	bench_enable(b);
	for (uint32_t i = 0; i < 5 * ENTRIES; i++) {
		uint32_t at = submit(b, (struct accel_descriptor) { .cookie = i });

		assert_int_equal(at, i % ENTRIES);
		assert_int_equal(run(b), ACCEL_STEP_IDLE);
		assert_int_equal(slot(b, at)->cookie_echo, i);
		assert_int_equal(get32(b, ACCEL_REG_RING_HEAD), (i + 1) % ENTRIES);
	}
}

static void test_needs_bus_master_and_power(void **state)
{
	uint32_t at;

	(void) state;
	bench_enable(b);
	config16(b, 0x04, 0x0002);
	at = submit(b, (struct accel_descriptor) { 0 });
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, at)->status, ACCEL_JOB_PENDING);
	config16(b, 0x04, 0x0006);
	config16(b, ACCEL_CAP_PM + 4, 0x0003);		/* D3hot */
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, at)->status, ACCEL_JOB_PENDING);
	assert_int_equal(get32(b, ACCEL_REG_ID), UINT32_MAX);
	config16(b, ACCEL_CAP_PM + 4, 0x0001);		/* no such state */
	assert_int_equal(get_config32(b, ACCEL_CAP_PM + 4) & 3, 3);
	config16(b, ACCEL_CAP_PM + 4, 0x0000);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, at)->status, ACCEL_JOB_OK);
}

static void test_delay(void **state)
{
	uint32_t at;

	(void) state;
	bench_enable(b);
	at = submit(b, (struct accel_descriptor) { .delay_us = 500 });
	assert_int_equal(run(b), b->now + 500000);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), ACCEL_STATUS_BUSY);
	b->now += 499999;
	assert_int_equal(run(b), b->now + 1);
	assert_int_equal(slot(b, at)->status, ACCEL_JOB_PENDING);
	b->now++;
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, at)->status, ACCEL_JOB_OK);
}

/* A stop may come between any two chunks; nothing moves until the device runs again. */
static void test_stop_in_a_job(void **state)
{
	struct accel_descriptor d = { .opcode = ACCEL_OP_COPY, .src = DATA_AT,
				      .dst = DATA_AT + 0x50000, .length = 3 * ACCEL_CHUNK_BYTES,
				      .delay_us = 1000, .flags = ACCEL_FLAG_IRQ };
	uint32_t at;

	(void) state;
	bench_enable(b);
	accel_device_irq_connected(&b->device, ACCEL_IRQ_MSIX, 1);
	noise(ram_at(b, d.src, d.length), d.length, 3);
	at = submit(b, d);
	(void) accel_device_step(&b->device, b->now);	/* fetch */
	(void) accel_device_step(&b->device, b->now);	/* one chunk */
	b->now += 400000;
	accel_device_set_run(&b->device, ACCEL_RUN_STOPPED, b->now);
	b->now += 10000000;
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(*ram_at(b, d.dst + ACCEL_CHUNK_BYTES, 1), 0);
	accel_device_set_run(&b->device, ACCEL_RUN_ALL, b->now);
	assert_int_equal(run(b), b->now + 600000);	/* of 1 ms, 0.4 had passed */
	b->now += 600000;
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, at)->status, ACCEL_JOB_OK);
	assert_memory_equal(ram_at(b, d.dst, d.length), ram_at(b, d.src, d.length), d.length);
	assert_int_equal(b->messages[ACCEL_IRQ_MSIX][0], 1);
}

static void test_no_peers(void **state)
{
	struct accel_descriptor d = { .opcode = ACCEL_OP_COPY_PEER, .src = DATA_AT,
				      .dst = DATA_AT + 0x50000, .length = 2 * ACCEL_CHUNK_BYTES };
	uint32_t plain, peer;

	(void) state;
	bench_enable(b);
	memset(ram_at(b, d.src, d.length), 0x77, d.length);
	accel_device_set_run(&b->device, ACCEL_RUN_NO_PEERS, b->now);
	plain = submit(b, (struct accel_descriptor) { 0 });
	peer = submit(b, d);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, plain)->status, ACCEL_JOB_OK);
	assert_int_equal(slot(b, peer)->status, ACCEL_JOB_PENDING);
	assert_int_equal(*ram_at(b, d.dst, 1), 0);
	/* Half of it, then held back again. */
	accel_device_set_run(&b->device, ACCEL_RUN_ALL, b->now);
	(void) accel_device_step(&b->device, b->now);
	accel_device_set_run(&b->device, ACCEL_RUN_NO_PEERS, b->now);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(*ram_at(b, d.dst + ACCEL_CHUNK_BYTES, 1), 0);
	accel_device_set_run(&b->device, ACCEL_RUN_ALL, b->now);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, peer)->status, ACCEL_JOB_OK);
}

static struct accel_descriptor irq_job(uint16_t vector)
{
	return (struct accel_descriptor) { .flags = ACCEL_FLAG_IRQ, .vector = vector };
}

static void test_intx(void **state)
{
	(void) state;
	bench_enable(b);
	assert_int_equal(do_job(b, (struct accel_descriptor) { .vector = 2 }), ACCEL_JOB_OK);
	assert_false(b->line);
	(void) do_job(b, irq_job(2));
	(void) do_job(b, irq_job(5));
	assert_true(b->line);
	assert_int_equal(get32(b, ACCEL_REG_IRQ_STATUS), 1 << 2 | 1 << 5);
	assert_int_equal(get_config32(b, 4) >> 16 & 8, 8);
	config16(b, 4, 0x0406);
	assert_false(b->line);
	assert_int_equal(get_config32(b, 4) >> 16 & 8, 8);
	config16(b, 4, 0x0006);
	assert_true(b->line);
	reg32(b, ACCEL_REG_IRQ_STATUS, 1 << 2);
	assert_true(b->line);
	/* A stopped device drives nothing, and takes the line up again. */
	accel_device_set_run(&b->device, ACCEL_RUN_STOPPED, b->now);
	assert_false(b->line);
	accel_device_set_run(&b->device, ACCEL_RUN_ALL, b->now);
	assert_true(b->line);
	reg32(b, ACCEL_REG_IRQ_STATUS, UINT32_MAX);
	assert_false(b->line);
	assert_int_equal(get_config32(b, 4) >> 16 & 8, 0);
}

static void test_msi(void **state)
{
	uint32_t *sent = b->messages[ACCEL_IRQ_MSI];

	(void) state;
	bench_enable(b);
	config32(b, ACCEL_CAP_MSI, (2u << 4 | 1) << 16);	/* four messages, on */
	accel_device_irq_connected(&b->device, ACCEL_IRQ_MSI, 4);
	(void) do_job(b, irq_job(1));
	(void) do_job(b, irq_job(7));		/* 7 % 4 */
	assert_int_equal(sent[1], 1);
	assert_int_equal(sent[3], 1);
	assert_false(b->line);

	config32(b, ACCEL_CAP_MSI + 16, 1 << 1 | 1 << 2);
	(void) do_job(b, irq_job(1));
	(void) do_job(b, irq_job(1));
	(void) do_job(b, irq_job(2));
	(void) do_job(b, irq_job(3));
	assert_int_equal(sent[1], 1);
	assert_int_equal(sent[2], 0);
	assert_int_equal(sent[3], 2);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSI + 20), 1 << 1 | 1 << 2);
	config32(b, ACCEL_CAP_MSI + 20, 0);	/* read-only */
	assert_int_equal(get_config32(b, ACCEL_CAP_MSI + 20), 1 << 1 | 1 << 2);
	/* Unmasking one sends it once; while the device is stopped it is kept. */
	config32(b, ACCEL_CAP_MSI + 16, 1 << 2);
	assert_int_equal(sent[1], 2);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSI + 20), 1 << 2);
	accel_device_set_run(&b->device, ACCEL_RUN_STOPPED, b->now);
	config32(b, ACCEL_CAP_MSI + 16, 0);
	assert_int_equal(sent[2], 0);
	accel_device_set_run(&b->device, ACCEL_RUN_NO_PEERS, b->now);
	assert_int_equal(sent[2], 1);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSI + 20), 0);
}

static void test_msix(void **state)
{
	(void) state;
	bench_enable(b);
	/* Enabled by config space alone: nobody there, but INTx is off. */
	config32(b, ACCEL_CAP_MSIX, 0x80000000);
	(void) do_job(b, irq_job(3));
	assert_int_equal(b->messages[ACCEL_IRQ_MSIX][3], 1);
	assert_false(b->line);
	config32(b, ACCEL_CAP_MSIX, 0);
	accel_device_irq_connected(&b->device, ACCEL_IRQ_MSIX, 16);
	(void) do_job(b, irq_job(15));
	assert_int_equal(b->messages[ACCEL_IRQ_MSIX][15], 1);
	accel_device_irq_connected(&b->device, ACCEL_IRQ_MSIX, 0);
	(void) do_job(b, irq_job(15));
	assert_true(b->line);
}

static void test_function_level_reset(void **state)
{
	uint8_t ctl[2];

	(void) state;
	bench_enable(b);
	b->window[5] = 1;
	reg64(b, ACCEL_REG_SCRATCH, 5);
	config32(b, 0x10, 0xfe000000);
	(void) do_job(b, irq_job(0));
	assert_true(b->line);
	accel_config_read(&b->device.config, ACCEL_CAP_PCIE + 8, ctl, 2);
	ctl[1] |= 0x80;
	assert_true(accel_device_config_write(&b->device, ACCEL_CAP_PCIE + 8, ctl, 2, b->now));
	assert_false(b->line);
	assert_int_equal(get64(b, ACCEL_REG_SCRATCH), 0);
	assert_int_equal(get_config32(b, 0x10), 0);
	assert_int_equal(get_config32(b, ACCEL_CAP_PCIE + 8) & 0x8000, 0);
	assert_int_equal(b->window[5], 0);
}

/* The tail in RAM, looked at when the doorbell rings; all rings are counted, heard or not. */
static void test_doorbell(void **state)
{
	const uint64_t tail_at = RAM_AT + RAM_BYTES - 4;
	uint8_t *tail = ram_at(b, tail_at, 4);

	(void) state;
	accel_device_kick(&b->device, 2);		/* not enabled */
	reg64(b, ACCEL_REG_TAIL_ADDRESS, tail_at);
	bench_enable(b);
	reg64(b, ACCEL_REG_TAIL_ADDRESS, RAM_AT);	/* fixed */
	assert_true(get64(b, ACCEL_REG_TAIL_ADDRESS) == tail_at);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_DOORBELL), UINT32_MAX);
	*slot(b, 0) = (struct accel_descriptor) { .cookie = 5 };
	*slot(b, 1) = (struct accel_descriptor) { .cookie = 6 };
	vf_put_u32(tail, 2);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_RING_HEAD), 0);
	reg32(b, ACCEL_REG_DOORBELL, 0xabcd);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), ACCEL_STATUS_BUSY);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_RING_HEAD), 2);
	assert_int_equal(slot(b, 1)->cookie_echo, 6);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), 0);

	/* Rung right before it stops: looked at when it runs again. */
	*slot(b, 2) = (struct accel_descriptor) { .cookie = 7 };
	vf_put_u32(tail, 3);
	accel_device_kick(&b->device, 3);
	accel_device_set_run(&b->device, ACCEL_RUN_STOPPED, b->now);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_RING_TAIL), 2);
	accel_device_set_run(&b->device, ACCEL_RUN_NO_PEERS, b->now);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(slot(b, 2)->cookie_echo, 7);
	assert_int_equal(get64(b, ACCEL_REG_DOORBELLS), 6);

	/* In D3hot nothing is heard. */
	config16(b, ACCEL_CAP_PM + 4, 3);
	accel_device_kick(&b->device, 9);
	config16(b, ACCEL_CAP_PM + 4, 0);
	assert_int_equal(get64(b, ACCEL_REG_DOORBELLS), 6);

	/* A tail that no ring has. */
	vf_put_u32(tail, ENTRIES);
	accel_device_kick(&b->device, 1);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_STATUS) & ACCEL_STATUS_ERROR, ACCEL_STATUS_ERROR);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	assert_int_equal(get64(b, ACCEL_REG_DOORBELLS), 0);
	assert_int_equal(get64(b, ACCEL_REG_TAIL_ADDRESS), 0);
	/* None, one that is not aligned, one that is nowhere. */
	bench_enable(b);
	accel_device_kick(&b->device, 1);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), 0);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	reg64(b, ACCEL_REG_TAIL_ADDRESS, RAM_AT + 2);
	reg64(b, ACCEL_REG_RING_BASE, RING_AT);
	reg32(b, ACCEL_REG_RING_ENTRIES, ENTRIES);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE);
	assert_int_equal(get32(b, ACCEL_REG_CTRL), 0);
	reg32(b, ACCEL_REG_CTRL, ACCEL_CTRL_RESET);
	reg64(b, ACCEL_REG_TAIL_ADDRESS, 8);
	bench_enable(b);
	reg32(b, ACCEL_REG_DOORBELL, 0);
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	assert_int_equal(get32(b, ACCEL_REG_STATUS), ACCEL_STATUS_ERROR);
}

static void test_late_window_writes_are_seen(void **state)
{
	(void) state;
	b->window[100] = 1;
	accel_device_set_run(&b->device, ACCEL_RUN_STOPPED, b->now);
	assert_false(accel_device_window_late(&b->device));
	b->window[ACCEL_BAR2_BYTES - 1] = 1;
	assert_true(accel_device_window_late(&b->device));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(test_pattern), T(test_identity), T(test_odd_accesses), T(test_config_space),
		T(test_no_msix), T(test_copy_and_echo), T(test_fill_and_crc),
		T(test_internal_memory), T(test_bad_jobs), T(test_overlay_bound),
		T(test_ring_errors), T(test_ring_wraps_in_order),
		T(test_needs_bus_master_and_power), T(test_delay), T(test_stop_in_a_job),
		T(test_no_peers), T(test_doorbell), T(test_intx), T(test_msi), T(test_msix),
		T(test_function_level_reset), T(test_late_window_writes_are_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
