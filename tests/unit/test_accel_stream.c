/* SPDX-License-Identifier: MIT */
/* test_accel_stream.c - an accel device's state on its way from one device to another. */
#include "test_accel.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "devices/accel_pattern.h"
#include "devices/accel_stream.h"

struct pair {
	struct bench *from, *to;
	struct accel_save save;
	struct accel_load load;
	uint8_t *stream;		/* all that was read */
	size_t size;
};

#define STREAM_MAX (8u << 20)

static void pair_new(struct pair *p, const struct accel_options *from,
		     const struct accel_options *to)
{
	memset(p, 0, sizeof(*p));
	p->from = bench_new(from);
	p->to = bench_new(to);
	p->stream = malloc(STREAM_MAX);
	assert_non_null(p->stream);
	assert_int_equal(accel_save_init(&p->save, &p->from->device), 0);
	assert_int_equal(accel_load_init(&p->load, &p->to->device), 0);
}

static void pair_free(struct pair *p)
{
	accel_save_done(&p->save);
	accel_load_done(&p->load);
	bench_free(p->from);
	bench_free(p->to);
	free(p->stream);
}

static void stop(struct bench *b)
{
	accel_device_set_run(&b->device, ACCEL_RUN_STOPPED, b->now);
}

/* Reads up to @most bytes in pieces of @piece. Return: bytes read. */
static size_t pump(struct pair *p, size_t piece, size_t most)
{
	size_t had = p->size;

	while (p->size - had < most) {
		size_t want = most - (p->size - had) < piece ? most - (p->size - had) : piece;
		int64_t got;

		assert_true(p->size + want <= STREAM_MAX);
		got = accel_save_read(&p->save, p->stream + p->size, want, p->from->now);
		assert_true(got >= 0);
		p->size += (size_t) got;
		if (!got)
			break;
	}
	return p->size - had;
}

static int feed(struct pair *p, size_t piece)
{
	for (size_t at = 0; at < p->size; at += piece) {
		size_t len = p->size - at < piece ? p->size - at : piece;
		int ret = accel_load_write(&p->load, p->stream + at, len);

		if (ret)
			return ret;
	}
	return 0;
}

static void assert_same_memories(struct pair *p)
{
	size_t bytes = (size_t) p->from->device.memory.bytes;
	uint8_t *a = malloc(bytes), *b = malloc(bytes);

	assert_non_null(a);
	assert_non_null(b);
	accel_memory_read(&p->from->device.memory, 0, a, bytes);
	accel_memory_read(&p->to->device.memory, 0, b, bytes);
	assert_memory_equal(a, b, bytes);
	assert_memory_equal(p->from->window, p->to->window, ACCEL_BAR2_BYTES);
	free(a);
	free(b);
}

/* Leaves a device with something in every part of its state. */
static void make_history(struct bench *b)
{
	struct accel_descriptor store = { .opcode = ACCEL_OP_STORE, .src = DATA_AT,
					  .dst = 70001, .length = 9000 };
	struct accel_descriptor crc = { .opcode = ACCEL_OP_CRC32C, .src = DATA_AT,
					.length = 3 * ACCEL_CHUNK_BYTES, .delay_us = 700,
					.cookie = 77, .flags = ACCEL_FLAG_IRQ, .vector = 1 };

	bench_enable(b);
	accel_pattern_fill(ram_at(b, DATA_AT, 0x40000), 0x40000, 1234, 1);
	assert_int_equal(do_job(b, store), ACCEL_JOB_OK);
	store.dst = 500000;
	assert_int_equal(do_job(b, store), ACCEL_JOB_OK);
	reg64(b, ACCEL_REG_SCRATCH, 0xfeedface);
	(void) do_job(b, (struct accel_descriptor) { .flags = 1, .vector = 9 });	/* INTx cause */
	config32(b, ACCEL_CAP_MSI, (2u << 4 | 1) << 16);
	config32(b, ACCEL_CAP_MSI + 16, 1 << 2);
	(void) do_job(b, (struct accel_descriptor) { .flags = 1, .vector = 2 });	/* pending */
	b->window[7] = 1;
	b->window[ACCEL_BAR2_BYTES - 1] = 2;
	(void) submit(b, crc);
	(void) submit(b, (struct accel_descriptor) { .cookie = 78 });
	(void) accel_device_step(&b->device, b->now);
	(void) accel_device_step(&b->device, b->now);	/* one chunk of three */
	b->now += 300000;
}

/* What the VMM would have restored, and the RAM. */
static void move_ram_and_config(struct pair *p)
{
	memcpy(p->to->ram, p->from->ram, RAM_BYTES);
	config16(p->to, 0x04, 0x0006);
	config32(p->to, ACCEL_CAP_MSI, (2u << 4 | 1) << 16);
	config32(p->to, ACCEL_CAP_MSI + 16, 1 << 2);
}

static void round_trip(size_t read_piece, size_t write_piece)
{
	struct accel_options o = small_options(), other = small_options();
	struct pair p;
	struct bench *b;
	uint8_t *data;
	uint64_t estimate;

	other.seed = 99;
	o.state_bytes = 1028096;		/* the last block is short */
	other.state_bytes = o.state_bytes;
	pair_new(&p, &o, &other);
	make_history(p.from);
	stop(p.from);
	accel_save_start(&p.save);
	estimate = accel_save_estimate(&p.save, p.from->now);
	assert_int_equal(pump(&p, read_piece, SIZE_MAX), estimate);
	assert_int_equal(accel_save_estimate(&p.save, p.from->now), 0);

	b = p.to;
	accel_load_start(&p.load, b->now);
	assert_int_equal(feed(&p, write_piece), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	move_ram_and_config(&p);
	assert_same_memories(&p);
	assert_int_equal(get64(b, ACCEL_REG_SCRATCH), 0xfeedface);
	assert_int_equal(get64(b, ACCEL_REG_SEED), 7);
	assert_int_equal(get32(b, ACCEL_REG_IRQ_STATUS), 1 << 9);
	assert_int_equal(get32(b, ACCEL_REG_RING_HEAD), 4);
	assert_int_equal(get_config32(b, ACCEL_CAP_MSI + 20), 1 << 2);

	/* The job goes on where it was, for the rest of its delay. */
	b->now = 5000000;
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	accel_device_set_run(&b->device, ACCEL_RUN_ALL, b->now);
	assert_int_equal(run(b), b->now + 400000);
	b->now += 400000;
	assert_int_equal(run(b), ACCEL_STEP_IDLE);
	data = ram_at(b, DATA_AT, 3 * ACCEL_CHUNK_BYTES);
	assert_int_equal(slot(b, 4)->result, vf_crc32c(0, data, 3 * ACCEL_CHUNK_BYTES));
	assert_int_equal(slot(b, 4)->cookie_echo, 77);
	assert_int_equal(slot(b, 5)->cookie_echo, 78);
	assert_int_equal(b->messages[ACCEL_IRQ_MSI][1], 1);
	assert_int_equal(b->messages[ACCEL_IRQ_MSI][2], 0);
	config32(b, ACCEL_CAP_MSI + 16, 0);
	assert_int_equal(b->messages[ACCEL_IRQ_MSI][2], 1);
	pair_free(&p);
}

#define TAIL_AT (RAM_AT + 0xf000)

/* A ring whose tail is in RAM, stopped right behind its doorbell. */
static void rung_stream(struct pair *p)
{
	struct accel_options o = small_options();

	pair_new(p, &o, &o);
	reg64(p->from, ACCEL_REG_TAIL_ADDRESS, TAIL_AT);
	bench_enable(p->from);
	*slot(p->from, 0) = (struct accel_descriptor) { .cookie = 31 };
	vf_put_u32(ram_at(p->from, TAIL_AT, 4), 1);
	accel_device_kick(&p->from->device, 5);
	stop(p->from);
	accel_save_start(&p->save);
	(void) pump(p, 1 << 20, SIZE_MAX);
}

static void test_doorbell_goes_along(void **state)
{
	struct pair p;

	(void) state;
	rung_stream(&p);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	memcpy(p.to->ram, p.from->ram, RAM_BYTES);
	config16(p.to, 0x04, 0x0006);
	assert_int_equal(get64(p.to, ACCEL_REG_DOORBELLS), 5);
	assert_int_equal(slot(p.to, 0)->status, ACCEL_JOB_PENDING);
	accel_device_set_run(&p.to->device, ACCEL_RUN_ALL, 0);
	assert_int_equal(run(p.to), ACCEL_STEP_IDLE);
	assert_int_equal(slot(p.to, 0)->cookie_echo, 31);
	assert_int_equal(get64(p.to, ACCEL_REG_DOORBELLS), 5);
	pair_free(&p);
}

static void test_round_trip(void **state)
{
	(void) state;
	round_trip(1 << 20, 1 << 20);
	round_trip(1 << 20, 1);
	round_trip(1, 4096);
	round_trip(31, 33);
	round_trip(65537, 127);
	round_trip(100000, 65568);
}

/* Memory that changes by itself and by jobs between reads is still the same at the end. */
static void test_precopy(void **state)
{
	struct accel_options o = small_options();
	struct pair p;
	uint64_t initial, dirty;

	(void) state;
	o.dirty_rate = 40ull << 20;
	pair_new(&p, &o, &o);
	bench_enable(p.from);
	accel_save_start(&p.save);
	accel_save_pending(&p.save, p.from->now, &initial, &dirty);
	assert_true(initial > o.state_bytes);
	assert_int_equal(dirty, 0);
	for (uint32_t i = 0; i < 40; i++) {
		uint64_t after, behind;

		p.from->now += 1000000;		/* 40 KiB change */
		p.from->window[i * 20011] = (uint8_t) (i + 1);
		memset(ram_at(p.from, DATA_AT, 100), (int) i + 1, 100);
		assert_int_equal(do_job(p.from, (struct accel_descriptor) {
			.opcode = ACCEL_OP_STORE, .src = DATA_AT, .dst = (i * 77777) % (1 << 20),
			.length = 100 }), ACCEL_JOB_OK);
		(void) pump(&p, 9999, 50000);
		accel_save_pending(&p.save, p.from->now, &after, &behind);
		assert_true(after <= initial);
		initial = after;
	}
	assert_int_equal(initial, 0);
	/* It dries up only when nothing changes. */
	while (pump(&p, 70000, 70000))
		;
	accel_save_pending(&p.save, p.from->now, &initial, &dirty);
	assert_int_equal(initial + dirty, 0);
	p.from->now += 2000000;
	p.from->window[0] ^= 0x80;
	accel_save_pending(&p.save, p.from->now, &initial, &dirty);
	assert_int_equal(initial, 0);
	assert_in_range(dirty, 2 * ACCEL_BLOCK_BYTES, 3 * (ACCEL_BLOCK_BYTES + ACCEL_RECORD_HEAD));
	stop(p.from);
	accel_save_stop(&p.save);
	initial = accel_save_estimate(&p.save, p.from->now);
	assert_int_equal(pump(&p, 5000, SIZE_MAX), initial);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 60000), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	assert_same_memories(&p);
	assert_int_equal(p.to->device.dirty_block, p.from->device.dirty_block);
	pair_free(&p);
}

/* A peer's write into a stopped device is not part of what moves: that's what the P2P states are
 * for. */
static void test_window_after_stop_is_not_saved(void **state)
{
	struct accel_options o = small_options();
	struct pair p;

	(void) state;
	pair_new(&p, &o, &o);
	p.from->window[0] = 1;
	stop(p.from);
	p.from->window[0] = 2;
	accel_save_start(&p.save);
	(void) pump(&p, 4096, SIZE_MAX);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 4096), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	assert_int_equal(p.to->window[0], 1);
	/* The next hop, without having run in between, has it too. */
	assert_memory_equal(p.to->device.frozen, p.to->window, ACCEL_BAR2_BYTES);
	pair_free(&p);
}

static void test_reinit(void **state)
{
	struct accel_options o = small_options();
	struct pair p;
	uint64_t initial, dirty;

	(void) state;
	pair_new(&p, &o, &o);
	accel_save_start(&p.save);
	(void) pump(&p, 4096, 1 << 19);
	accel_save_reinit(&p.save);
	assert_true(p.save.reinit);
	accel_save_pending(&p.save, p.from->now, &initial, &dirty);
	assert_true(initial >= o.state_bytes);
	assert_int_equal(dirty, 0);
	(void) pump(&p, 4096, SIZE_MAX);
	accel_save_pending(&p.save, p.from->now, &initial, &dirty);
	assert_int_equal(initial, 0);
	stop(p.from);
	accel_save_stop(&p.save);
	(void) pump(&p, 4096, SIZE_MAX);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 4096), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	pair_free(&p);
}

/* The smallest, and saving again after a cancelled session. */
static void test_cancel_and_small(void **state)
{
	struct accel_options o = small_options();
	struct pair p;

	(void) state;
	o.state_bytes = 4096;
	pair_new(&p, &o, &o);
	accel_save_start(&p.save);
	(void) pump(&p, 100, 1000);
	accel_save_end(&p.save);
	assert_int_equal(accel_save_read(&p.save, p.stream, 10, 0), -EINVAL);
	p.size = 0;
	stop(p.from);
	accel_save_start(&p.save);
	assert_true(pump(&p, 100, SIZE_MAX) < 5000);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 10000), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	assert_int_equal(accel_load_write(&p.load, p.stream, 1), -EINVAL);
	pair_free(&p);
}

static void small_stream(struct pair *p, const struct accel_options *to)
{
	struct accel_options o = small_options();

	o.state_bytes = 3 * ACCEL_BLOCK_BYTES;
	pair_new(p, &o, to ? to : &o);
	bench_enable(p->from);
	assert_int_equal(do_job(p->from, (struct accel_descriptor) {
		.opcode = ACCEL_OP_STORE, .src = DATA_AT, .dst = ACCEL_BLOCK_BYTES,
		.length = 2000 }), ACCEL_JOB_OK);
	p->from->window[3] = 3;
	stop(p->from);
	accel_save_start(&p->save);
	(void) pump(p, 1 << 20, SIZE_MAX);
}

/* Cut off anywhere: every write may succeed, the end of it may not. */
static void test_truncated(void **state)
{
	struct pair p;
	size_t whole;

	(void) state;
	small_stream(&p, NULL);
	whole = p.size;
	for (size_t cut = 0; cut < whole; cut += cut < 400 || whole - cut < 400 ? 1 : 1777) {
		p.size = cut;
		accel_load_start(&p.load, 0);
		assert_int_equal(feed(&p, 65536), 0);
		assert_int_equal(accel_load_finish(&p.load), -EINVAL);
		assert_string_equal(p.load.error.id, "device-state-bad");
	}
	p.size = whole;
	p.stream[p.size++] = 0;
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 65536), -EINVAL);
	assert_int_equal(accel_load_finish(&p.load), -EINVAL);
	pair_free(&p);
}

/* A flipped bit is found wherever it is. */
static void test_damaged(void **state)
{
	struct pair p;

	(void) state;
	small_stream(&p, NULL);
	for (size_t at = 0; at < p.size; at += at < 300 || p.size - at < 300 ? 1 : 997) {
		p.stream[at] ^= 0x04;
		accel_load_start(&p.load, 0);
		assert_int_equal(feed(&p, 10000) ? -EINVAL : accel_load_finish(&p.load), -EINVAL);
		p.stream[at] ^= 0x04;
	}
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 10000), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	pair_free(&p);
}

/* Replaces a record's payload and head check sums, as an attacker would. */
static void forge(uint8_t *record, size_t len)
{
	vf_put_u32(record + 20, vf_crc32c(0, record + ACCEL_RECORD_HEAD, len));
	vf_put_u32(record + 28, vf_crc32c(0, record, 28));
}

static void test_forged_registers(void **state)
{
	struct pair p;
	uint8_t *record, *payload;
	struct {
		uint32_t at, value;
	} const bad[] = {
		{ 0, 2 },		/* ctrl */
		{ 4, 1 },		/* error */
		{ 8, 5 },		/* entries */
		{ 12, 99 },		/* tail */
		{ 16, ENTRIES },	/* head */
		{ 20, 0x10000 },	/* irq status */
		{ 24, 0x10 },		/* pending */
		{ 28, 1 },		/* rung, without a tail to look at */
		{ 28, 2 },		/* rung */
		{ 152, 2 },		/* where the tail is */
		{ 32, 1 },		/* base */
		{ 64, 3 },		/* next block to change */
		{ 72, 2 },		/* active */
		{ 72, 0x00ff0001 },	/* active, opcode unknown */
	};

	(void) state;
	small_stream(&p, NULL);
	record = p.stream + p.size - 2 * ACCEL_RECORD_HEAD - ACCEL_END_BYTES - ACCEL_REGISTERS_BYTES;
	payload = record + ACCEL_RECORD_HEAD;
	assert_int_equal(vf_get_u32(record), ACCEL_RECORD_REGISTERS);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t was = vf_get_u32(payload + bad[i].at);

		vf_put_u32(payload + bad[i].at, bad[i].value);
		forge(record, ACCEL_REGISTERS_BYTES);
		accel_load_start(&p.load, 0);
		assert_int_equal(feed(&p, 1 << 20), -EINVAL);
		assert_non_null(strstr(p.load.error.message, "impossible"));
		vf_put_u32(payload + bad[i].at, was);
	}
	pair_free(&p);
}

static void mend_end(struct pair *p, int spoil);

/* A device of version 1 had no doorbell; its stream ends a register record earlier. */
static void test_older_stream(void **state)
{
	const size_t less = ACCEL_REGISTERS_BYTES - ACCEL_REGISTERS_1_BYTES;
	struct pair p;
	uint8_t *record;

	(void) state;
	small_stream(&p, NULL);
	vf_put_u32(p.stream + ACCEL_RECORD_HEAD + 8, 1);
	forge(p.stream, ACCEL_START_BYTES);
	record = p.stream + p.size - 2 * ACCEL_RECORD_HEAD - ACCEL_END_BYTES - ACCEL_REGISTERS_BYTES;
	vf_put_u32(record + 16, ACCEL_REGISTERS_1_BYTES);
	forge(record, ACCEL_REGISTERS_1_BYTES);
	record += ACCEL_RECORD_HEAD + ACCEL_REGISTERS_1_BYTES;
	memmove(record, record + less, ACCEL_RECORD_HEAD + ACCEL_END_BYTES);
	p.size -= less;
	mend_end(&p, 0);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), 0);
	assert_int_equal(accel_load_finish(&p.load), 0);
	assert_int_equal(get64(p.to, ACCEL_REG_TAIL_ADDRESS), 0);
	/* Neither version's registers in a stream of the other. */
	vf_put_u32(p.stream + ACCEL_RECORD_HEAD + 8, 2);
	forge(p.stream, ACCEL_START_BYTES);
	mend_end(&p, 0);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), -EINVAL);
	vf_put_u32(p.stream + ACCEL_RECORD_HEAD + 8, 3);
	forge(p.stream, ACCEL_START_BYTES);
	mend_end(&p, 0);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), -EINVAL);
	assert_non_null(strstr(p.load.error.message, "version 3"));
	pair_free(&p);
}

/* Takes the record at @at out and makes the end fit again, but for what @spoil is added to. */
static void drop_record(struct pair *p, size_t at, int spoil)
{
	size_t len = ACCEL_RECORD_HEAD + vf_get_u32(p->stream + at + 16);

	memmove(p->stream + at, p->stream + at + len, p->size - at - len);
	p->size -= len;
	mend_end(p, spoil);
}

static void mend_end(struct pair *p, int spoil)
{
	uint32_t digest = 0;
	uint64_t records = 0;
	size_t pos = 0;

	while (vf_get_u32(p->stream + pos) != ACCEL_RECORD_END) {
		digest = vf_crc32c(digest, p->stream + pos, ACCEL_RECORD_HEAD);
		pos += ACCEL_RECORD_HEAD + vf_get_u32(p->stream + pos + 16);
		records++;
	}
	vf_put_u64(p->stream + pos + ACCEL_RECORD_HEAD, records + (spoil == 1));
	vf_put_u64(p->stream + pos + ACCEL_RECORD_HEAD + 8, pos + (spoil == 2));
	vf_put_u32(p->stream + pos + ACCEL_RECORD_HEAD + 16, digest + (spoil == 3));
	forge(p->stream + pos, ACCEL_END_BYTES);
}

/* Sound records, but not all of them, or not the ones that the end speaks of. */
static void test_missing_records(void **state)
{
	const size_t start = 0, first = ACCEL_RECORD_HEAD + ACCEL_START_BYTES;

	(void) state;
	for (int what = 0; what < 6; what++) {
		struct pair p;
		size_t at, registers;
		int ret;

		small_stream(&p, NULL);
		registers = p.size - 2 * ACCEL_RECORD_HEAD - ACCEL_END_BYTES - ACCEL_REGISTERS_BYTES;
		at = what == 0 ? start : what == 1 ? first : what == 2 ? registers :
		     registers - ACCEL_RECORD_HEAD - ACCEL_WINDOW_CHUNK;
		drop_record(&p, at, what < 3 ? 0 : what - 2);
		accel_load_start(&p.load, 0);
		ret = feed(&p, 1 << 20);
		assert_int_equal(ret ? ret : accel_load_finish(&p.load), -EINVAL);
		pair_free(&p);
	}
}

static void test_other_device(void **state)
{
	struct accel_options o = small_options();
	struct pair p;

	(void) state;
	o.state_bytes = 2 * ACCEL_BLOCK_BYTES;
	small_stream(&p, &o);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), -EINVAL);
	pair_free(&p);

	o = small_options();
	o.state_bytes = 3 * ACCEL_BLOCK_BYTES;
	o.msix_vectors = 8;
	small_stream(&p, &o);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), -EINVAL);
	pair_free(&p);

	/* One that may hold less: refused while it is loaded, not wrong later. */
	o.msix_vectors = 16;
	o.overlay_bytes = 0;
	small_stream(&p, &o);
	accel_load_start(&p.load, 0);
	assert_int_equal(feed(&p, 1 << 20), -ENOSPC);
	assert_int_equal(accel_load_finish(&p.load), -ENOSPC);
	pair_free(&p);
}

/* Huge state is made and checked in passing; says how fast, fails only if absurdly slow. */
static void test_speed_and_size(void **state)
{
	struct accel_options o = small_options();
	uint8_t *chunk = malloc(1 << 20);
	struct pair p;
	uint64_t start, made = 0, checked = 0, total = 0;

	(void) state;
	assert_non_null(chunk);
	o.state_bytes = 256ull << 20;
	pair_new(&p, &o, &o);
	stop(p.from);
	accel_save_start(&p.save);
	accel_load_start(&p.load, 0);
	for (;;) {
		int64_t got;

		start = vf_now_ns();
		got = accel_save_read(&p.save, chunk, 1 << 20, 0);
		made += vf_now_ns() - start;
		if (!got)
			break;
		total += (uint64_t) got;
		start = vf_now_ns();
		assert_int_equal(accel_load_write(&p.load, chunk, (size_t) got), 0);
		checked += vf_now_ns() - start;
	}
	assert_int_equal(accel_load_finish(&p.load), 0);
	print_message("made at %.1f GB/s, checked at %.1f GB/s\n", (double) total / (double) made,
		      (double) total / (double) checked);
	assert_true(total > o.state_bytes);
	assert_true(made + checked < 20 * VF_SECOND_NS);
	pair_free(&p);
	free(chunk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_doorbell_goes_along),
		cmocka_unit_test(test_precopy),
		cmocka_unit_test(test_window_after_stop_is_not_saved),
		cmocka_unit_test(test_reinit),
		cmocka_unit_test(test_cancel_and_small),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_forged_registers),
		cmocka_unit_test(test_older_stream),
		cmocka_unit_test(test_missing_records),
		cmocka_unit_test(test_other_device),
		cmocka_unit_test(test_speed_and_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
