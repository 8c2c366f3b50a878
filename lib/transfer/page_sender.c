/* SPDX-License-Identifier: MIT */
/*
 * page_sender.c - rounds over guest RAM; see page_sender.h.
 *
 * A worker gathers frames in a batch and sends them by one call, so that few dirty pages far apart
 * cost few system calls, and a full chunk is one write of 1 MiB. A batch holds tables and headers;
 * the pages themselves are pointed at where they are, in guest memory (or, compressed, in an arena).
 *
 * Zero pages: a chunk with any data says which of its pages are zero in its own table; a chunk all
 * zero, and holes, become ranges, which grow over the units of other channels and so are few.
 *
 * Why bits and holes are looked at in this order: a page that is looked at has its bit taken first,
 * so a write that comes later sets it again. A hole is believed without taking bits: what is written
 * there later leaves its bit, for the next round. (Where holes were marked, in later rounds, their
 * bits are taken and the hole is looked up again.)
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/trace.h"
#include "ram/ram.h"
#include "transfer/chunk.h"
#include "transfer/guest_io.h"
#include "transfer/page_sender.h"
#include "wire/pages.h"

#define MAX_CHANNELS 16u
#define BATCH_BYTES VF_MIB		/* send as soon as so much is gathered */
#define BATCH_FRAMES 128u
#define BATCH_IOV 1024u
#define BATCH_TABLES (32 * VF_KIB)

/* Frames that wait to be sent by one call. */
struct batch {
	struct vf_outgoing frames[BATCH_FRAMES];
	struct iovec iov[BATCH_IOV];
	uint8_t tables[BATCH_TABLES];
	unsigned frame_count;
	unsigned iov_count;
	size_t table_bytes;
	uint64_t data_bytes;	/* behind the tables */
};

struct counters {		/* atomic, relaxed */
	uint64_t bytes, normal, zero, hole;
};

struct worker {
	struct vf_page_sender *sender;
	struct vf_channel *channel;
	unsigned index;
	pthread_t thread;
	struct counters round, total;

	/* Of the worker's thread. */
	struct batch batch;
	struct vf_pages chunk;
	struct vf_pages ranges;		/* run_count 0: none */
	struct vf_compressor *compressor;
	uint8_t *copy;			/* of a chunk's data pages, 1 MiB */
	uint8_t *arena;			/* compressed data of the batch, 1 MiB */
	size_t arena_bytes;
};

struct vf_page_sender {
	struct vferry_ram *ram;
	unsigned count;
	enum vf_codec codec;
	vf_zero_test is_zero;
	void (*round_done)(void *user, uint32_t round, int result);
	void *user;
	bool cancelled;			/* atomic */

	pthread_mutex_t lock;		/* protects all below */
	pthread_cond_t changed;
	uint64_t generation;		/* one more for each round started */
	uint32_t round;
	unsigned running;		/* workers that are in the round */
	bool in_round;			/* until round_done() returned */
	bool quit;
	int result;			/* of the round, and of all later ones if it failed */
	struct vferry_error error;
	uint64_t start_ns, round_ns, total_ns;

	struct worker *workers[MAX_CHANNELS];
};

static void add(uint64_t *counter, uint64_t n)
{
	(void) __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static bool cancelled(const struct vf_page_sender *sender)
{
	return __atomic_load_n(&sender->cancelled, __ATOMIC_RELAXED);
}

/* ---- which pages are a worker's ---- */

static uint64_t own_from(const struct worker *worker, uint64_t page)
{
	return vf_pages_owned_from(page, worker->index, worker->sender->count);
}

static uint64_t own_before(const struct worker *worker, uint64_t page)
{
	return vf_pages_owned_before(page, worker->index, worker->sender->count);
}

/* ---- batches ---- */

static int flush(struct worker *worker, struct vferry_error *err)
{
	struct batch *batch = &worker->batch;
	uint64_t bytes = 0;
	int ret;

	if (!batch->frame_count)
		return 0;
	if (cancelled(worker->sender))
		return vferry_error_set(err, -ECANCELED, "cancelled", "ram", "cancelled");
	for (unsigned i = 0; i < batch->frame_count; i++)
		bytes += VF_FRAME_HEADER_BYTES + batch->frames[i].frame.length;
	ret = vf_channel_send_vector(worker->channel, batch->frames, batch->frame_count, batch->iov,
				     batch->iov_count, true, err);
	batch->frame_count = 0;
	batch->iov_count = 0;
	batch->table_bytes = 0;
	batch->data_bytes = 0;
	worker->arena_bytes = 0;
	if (!ret) {
		add(&worker->round.bytes, bytes);
		add(&worker->total.bytes, bytes);
	}
	return ret;
}

/* Makes room for one more frame. */
static int make_room(struct worker *worker, size_t table_bytes, unsigned iovs,
		     struct vferry_error *err)
{
	const struct batch *batch = &worker->batch;

	if (batch->frame_count == BATCH_FRAMES || batch->iov_count + iovs > BATCH_IOV ||
	    batch->table_bytes + table_bytes > BATCH_TABLES)
		return flush(worker, err);
	return 0;
}

static void push_iov(struct batch *batch, void *base, size_t length)
{
	assert(batch->iov_count < BATCH_IOV);
	batch->iov[batch->iov_count++] = (struct iovec) { .iov_base = base, .iov_len = length };
}

/* Header and table of a frame; the caller pushes its data. There is room. */
static void push_frame(struct batch *batch, const struct vf_pages *pages)
{
	struct vf_outgoing *out = &batch->frames[batch->frame_count++];
	uint8_t *table = batch->tables + batch->table_bytes;
	size_t table_bytes = vf_pages_table_bytes(pages);

	vf_pages_encode(pages, table);
	out->frame = (struct vf_frame) {
		.type = VF_FRAME_PAGES,
		.component = VF_NO_COMPONENT,
		.length = (uint32_t) table_bytes + pages->stored,
		.body_crc = vf_crc32c(0, table, table_bytes),
	};
	batch->table_bytes += table_bytes;
	batch->data_bytes += pages->stored;
	push_iov(batch, out->header, sizeof(out->header));
	push_iov(batch, table, table_bytes);
}

/* ---- zero ranges ---- */

static int flush_ranges(struct worker *worker, struct vferry_error *err)
{
	struct vf_pages *ranges = &worker->ranges;
	int ret;

	if (!ranges->run_count)
		return 0;
	ret = make_room(worker, vf_pages_table_bytes(ranges), 2, err);
	if (ret)
		return ret;
	push_frame(&worker->batch, ranges);
	ranges->run_count = 0;
	return 0;
}

static void count_zero(struct worker *worker, uint64_t pages, bool hole)
{
	add(&worker->round.zero, pages);
	add(&worker->total.zero, pages);
	if (hole) {
		add(&worker->round.hole, pages);
		add(&worker->total.hole, pages);
	}
}

/* The worker's pages in [page, end) are zero. */
static int add_zero_range(struct worker *worker, size_t block, uint64_t page, uint64_t end,
			  struct vferry_error *err)
{
	struct vf_pages *ranges = &worker->ranges;
	struct vf_pages_run *last;
	int ret;

	page = own_from(worker, page);
	if (page >= end)
		return 0;
	last = ranges->run_count ? &ranges->runs[ranges->run_count - 1] : NULL;
	/* Only pages of other channels in between, of which the range says nothing? */
	if (last && ranges->block == block && own_from(worker, last->page + last->count) >= page) {
		last->count = end - last->page;
		return 0;
	}
	if (last && (ranges->block != block || ranges->run_count == VF_PAGES_MAX_RUNS)) {
		ret = flush_ranges(worker, err);
		if (ret)
			return ret;
	}
	ranges->form = VF_PAGES_ZERO_RANGES;
	ranges->block = (uint16_t) block;
	ranges->runs[ranges->run_count++] = (struct vf_pages_run) {
		.page = page, .count = end - page, .kind = VF_PAGES_ZERO,
	};
	return 0;
}

/* ---- chunks ---- */

/* Return: compressed bytes in the arena; 0 = not worth it; negative errno. */
static int64_t compress_chunk(struct worker *worker, const struct vferry_ram_block *block)
{
	struct vf_pages *chunk = &worker->chunk;
	size_t raw = chunk->data_pages * VF_PAGE_BYTES;
	size_t at = 0;
	int64_t n;

	for (unsigned i = 0; i < chunk->run_count; i++) {
		const struct vf_pages_run *run = &chunk->runs[i];

		if (run->kind != VF_PAGES_DATA)
			continue;
		vf_guest_copy(worker->copy + at, vf_ram_page(block, run->page),
			      run->count * VF_PAGE_BYTES);
		at += run->count * VF_PAGE_BYTES;
	}
	/* Less than a sixteenth saved is not worth the other side's time. */
	n = vf_compress(worker->compressor, worker->copy, raw, worker->arena + worker->arena_bytes,
			raw - raw / 16);
	return n == -ENOSPC ? 0 : n;
}

static void push_data_in_place(struct worker *worker, const struct vferry_ram_block *block)
{
	const struct vf_pages *chunk = &worker->chunk;

	for (unsigned i = 0; i < chunk->run_count; i++) {
		const struct vf_pages_run *run = &chunk->runs[i];

		if (run->kind == VF_PAGES_DATA)
			push_iov(&worker->batch, vf_ram_page(block, run->page),
				 run->count * VF_PAGE_BYTES);
	}
}

/* The runs that were found in a chunk, as one frame. */
static int send_chunk(struct worker *worker, size_t index, const struct vferry_ram_block *block,
		      struct vferry_error *err)
{
	struct vf_pages *chunk = &worker->chunk;
	struct batch *batch = &worker->batch;
	uint32_t raw = chunk->data_pages * (uint32_t) VF_PAGE_BYTES;
	int64_t stored = 0;
	uint64_t zeros = 0;
	int ret;

	chunk->form = VF_PAGES_CHUNK;
	chunk->block = (uint16_t) index;
	ret = make_room(worker, vf_pages_table_bytes(chunk), 2u + chunk->run_count, err);
	if (!ret && worker->compressor && worker->arena_bytes + raw > VF_CHUNK_BYTES)
		ret = flush(worker, err);
	if (ret)
		return ret;
	if (worker->compressor)
		stored = compress_chunk(worker, block);
	if (stored < 0)
		return vferry_error_set(err, (int) stored, "compress", "ram", "cannot compress: %s",
					vferry_errno_name((int) stored));
	chunk->codec = stored ? worker->sender->codec : VF_CODEC_NONE;
	chunk->stored = stored ? (uint32_t) stored : raw;
	chunk->data_crc = stored ? vf_crc32c(0, worker->arena + worker->arena_bytes,
					     (size_t) stored) : 0;
	push_frame(batch, chunk);
	if (stored)
		push_iov(batch, worker->arena + worker->arena_bytes, (size_t) stored);
	else
		push_data_in_place(worker, block);
	worker->arena_bytes += (size_t) stored;
	for (unsigned i = 0; i < chunk->run_count; i++)
		zeros += chunk->runs[i].kind == VF_PAGES_ZERO ? chunk->runs[i].count : 0;
	add(&worker->round.normal, chunk->data_pages);
	add(&worker->total.normal, chunk->data_pages);
	count_zero(worker, zeros, false);
	return batch->data_bytes >= BATCH_BYTES ? flush(worker, err) : 0;
}

/* Pages whose bits are already taken: looks at them and sends them. */
static int send_pages(struct worker *worker, size_t index, const struct vf_chunk *chunk,
		      struct vferry_error *err)
{
	const struct vferry_ram_block *block = vferry_ram_get_block(worker->sender->ram, index);

	if (vf_chunk_look(chunk, block, worker->sender->is_zero, &worker->chunk))
		return send_chunk(worker, index, block, err);
	for (unsigned i = 0; i < worker->chunk.run_count; i++) {
		const struct vf_pages_run *run = &worker->chunk.runs[i];
		int ret = add_zero_range(worker, index, run->page, run->page + run->count, err);

		if (ret)
			return ret;
		count_zero(worker, run->count, false);
	}
	return 0;
}

/* ---- rounds ---- */

/*
 * The pages of [page, end) that may hold data, all of them (@every: the first round) or those that
 * are dirty.
 */
static int send_data_run(struct worker *worker, size_t index, uint64_t page, uint64_t end,
			 bool every, struct vferry_error *err)
{
	while ((page = own_from(worker, page)) < end) {
		struct vf_chunk wanted = { .first = vf_chunk_first(page) };
		struct vf_chunk taken;
		int ret;

		if (cancelled(worker->sender))
			return vferry_error_set(err, -ECANCELED, "cancelled", "ram", "cancelled");
		vf_chunk_add_range(&wanted, page, end);
		vf_chunk_take(worker->sender->ram, index, &wanted, &taken);
		ret = send_pages(worker, index, every ? &wanted : &taken, err);
		if (ret)
			return ret;
		page = wanted.first + VF_CHUNK_PAGES;
	}
	return 0;
}

/* A hole: of the first round as it is, of a later one what is dirty in it. */
static int send_hole(struct worker *worker, size_t index, uint64_t page, uint64_t end, bool every,
		     struct vferry_error *err)
{
	uint64_t pages = own_before(worker, end) - own_before(worker, page);

	if (!every)
		pages = vf_chunk_take_hole(worker->sender->ram, index, page, end, worker->index,
					   worker->sender->count);
	if (!pages)
		return 0;
	count_zero(worker, pages, true);
	return add_zero_range(worker, index, page, end, err);
}

/* All of a block, by what may hold data and what cannot. */
static int walk_by_holes(struct worker *worker, size_t index, bool every, struct vferry_error *err)
{
	struct vferry_ram *ram = worker->sender->ram;
	uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(ram, index));
	uint64_t page = 0;

	while (page < pages) {
		uint64_t data_end = pages;
		uint64_t data = vf_ram_next_data(ram, index, page, pages, &data_end);
		int ret = 0;

		if (data > page)
			ret = send_hole(worker, index, page, data, every, err);
		if (!ret && data < pages)
			ret = send_data_run(worker, index, data, data_end, every, err);
		if (ret)
			return ret;
		page = data < pages ? data_end : pages;
	}
	return 0;
}

/* The dirty pages of a block. */
static int walk_dirty(struct worker *worker, size_t index, struct vferry_error *err)
{
	struct vferry_ram *ram = worker->sender->ram;
	uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(ram, index));
	uint64_t page = 0;

	for (;;) {
		uint64_t own = own_from(worker, page);
		uint64_t unit_end, end;
		int ret;

		if (own >= pages)
			return 0;
		unit_end = vf_min_u64((own / VF_UNIT_PAGES + 1) * VF_UNIT_PAGES, pages);
		page = vf_ram_next_dirty(ram, index, own, unit_end);
		if (page == unit_end)
			continue;
		end = vf_min_u64(vf_chunk_first(page) + VF_CHUNK_PAGES, pages);
		ret = send_data_run(worker, index, page, end, false, err);
		if (ret)
			return ret;
		page = end;
	}
}

static int run_round(struct worker *worker, uint32_t round, struct vferry_error *err)
{
	struct vferry_ram *ram = worker->sender->ram;
	uint8_t body[VF_ROUND_END_BYTES];
	int ret = 0;

	worker->ranges.run_count = 0;
	for (size_t b = 0; !ret && b < vferry_ram_block_count(ram); b++) {
		/* Where all was marked unknowing, dirty pages may be holes, which must not be read. */
		if (!round || vf_ram_all_marked(ram, b))
			ret = walk_by_holes(worker, b, !round, err);
		else
			ret = walk_dirty(worker, b, err);
	}
	if (!ret)
		ret = flush_ranges(worker, err);
	if (!ret)
		ret = flush(worker, err);
	if (ret)
		return ret;
	vf_round_end_encode(round, body);
	return vf_channel_send(worker->channel, VF_FRAME_ROUND_END, 0, VF_NO_COMPONENT, body,
			       sizeof(body), err);
}

/* ---- threads ---- */

/* The last worker to leave a round ends it. */
static void leave_round(struct vf_page_sender *sender, int ret, const struct vferry_error *error)
{
	uint32_t round;
	int result;

	(void) pthread_mutex_lock(&sender->lock);
	if (ret && !sender->result) {
		sender->result = ret;
		sender->error = *error;
		/* The others stop at their next write, and who waits is told now: they may be stuck. */
		__atomic_store_n(&sender->cancelled, true, __ATOMIC_RELAXED);
		(void) pthread_cond_broadcast(&sender->changed);
	}
	if (--sender->running) {
		(void) pthread_mutex_unlock(&sender->lock);
		return;
	}
	sender->round_ns = vf_now_ns() - sender->start_ns;
	sender->total_ns += sender->round_ns;
	round = sender->round;
	result = sender->result;
	(void) pthread_mutex_unlock(&sender->lock);
	if (sender->round_done)
		sender->round_done(sender->user, round, result);
	(void) pthread_mutex_lock(&sender->lock);
	sender->in_round = false;
	(void) pthread_cond_broadcast(&sender->changed);
	(void) pthread_mutex_unlock(&sender->lock);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct vf_page_sender *sender = worker->sender;
	uint64_t seen = 0;

	for (;;) {
		struct vferry_error error = VFERRY_ERROR_INIT;
		uint32_t round;
		int ret;

		(void) pthread_mutex_lock(&sender->lock);
		while (!sender->quit && sender->generation == seen)
			(void) pthread_cond_wait(&sender->changed, &sender->lock);
		if (sender->generation == seen) {
			(void) pthread_mutex_unlock(&sender->lock);
			return NULL;
		}
		seen = sender->generation;
		round = sender->round;
		(void) pthread_mutex_unlock(&sender->lock);
		ret = run_round(worker, round, &error);
		leave_round(sender, ret, &error);
	}
}

static struct worker *worker_free(struct worker *worker)
{
	if (worker) {
		(void) vf_compressor_free(worker->compressor);
		free(worker->copy);
		free(worker->arena);
		free(worker);
	}
	return NULL;
}

static int worker_new(struct vf_page_sender *sender, struct vf_channel *channel, unsigned index,
		      struct worker **ret_worker)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int ret;

	if (!worker)
		return -ENOMEM;
	worker->sender = sender;
	worker->channel = channel;
	worker->index = index;
	if (sender->codec != VF_CODEC_NONE) {
		ret = vf_compressor_new(sender->codec, &worker->compressor);
		if (ret)
			goto fail;
		worker->copy = malloc(VF_CHUNK_BYTES);
		worker->arena = malloc(VF_CHUNK_BYTES);
		ret = -ENOMEM;
		if (!worker->copy || !worker->arena)
			goto fail;
	}
	ret = vf_trace_thread(vf_channel_trace(channel), "page-sender", &worker->thread, worker_main,
			      worker);
	if (ret)
		goto fail;
	*ret_worker = worker;
	return 0;
fail:
	(void) worker_free(worker);
	return ret;
}

/* Compressed pages lie in an arena that is used again. */
static bool suits_reference(const struct vf_page_sender *sender)
{
	for (size_t i = 0; i < vferry_ram_block_count(sender->ram); i++)
		if (!(vferry_ram_get_block(sender->ram, i)->flags & VFERRY_RAM_HUGETLB))
			return false;
	return sender->codec == VF_CODEC_NONE;
}

int vf_page_sender_new(const struct vf_page_sender_options *options,
		       struct vf_page_sender **ret_sender, struct vferry_error *err)
{
	struct vf_page_sender *sender;
	pthread_condattr_t attr;

	if (!options->ram || !options->channel_count || options->channel_count > MAX_CHANNELS)
		return vferry_error_set(err, -EINVAL, "channels", "ram", "1 to %u channels, not %u",
					MAX_CHANNELS, options->channel_count);
	if (!vf_codec_available(options->codec))
		return vferry_error_set(err, -ENOTSUP, "compression", "ram",
					"this build has no %s compression",
					vf_codec_name(options->codec) ?: "such");
	sender = calloc(1, sizeof(*sender));
	if (!sender)
		return vferry_error_set(err, -ENOMEM, "memory", "ram", "no memory for the sender");
	sender->ram = options->ram;
	sender->count = options->channel_count;
	sender->codec = options->codec;
	sender->is_zero = vf_zero_test_best();
	sender->round_done = options->round_done;
	sender->user = options->user;
	(void) pthread_mutex_init(&sender->lock, NULL);
	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&sender->changed, &attr);
	(void) pthread_condattr_destroy(&attr);
	if (suits_reference(sender))
		for (unsigned i = 0; i < sender->count; i++)
			vf_channel_send_by_reference(options->channels[i]);
	for (unsigned i = 0; i < sender->count; i++) {
		int ret = worker_new(sender, options->channels[i], i, &sender->workers[i]);

		if (ret) {
			(void) vf_page_sender_free(sender);
			return vferry_error_set(err, ret, "sender-thread", "ram",
						"cannot start a sender: %s", vferry_errno_name(ret));
		}
	}
	*ret_sender = sender;
	return 0;
}

struct vf_page_sender *vf_page_sender_free(struct vf_page_sender *sender)
{
	if (!sender)
		return NULL;
	vf_page_sender_cancel(sender);
	(void) pthread_mutex_lock(&sender->lock);
	sender->quit = true;
	(void) pthread_cond_broadcast(&sender->changed);
	(void) pthread_mutex_unlock(&sender->lock);
	for (unsigned i = 0; i < sender->count; i++) {
		if (sender->workers[i])
			(void) pthread_join(sender->workers[i]->thread, NULL);
		(void) worker_free(sender->workers[i]);
	}
	(void) pthread_cond_destroy(&sender->changed);
	(void) pthread_mutex_destroy(&sender->lock);
	free(sender);
	return NULL;
}

int vf_page_sender_start_round(struct vf_page_sender *sender, uint32_t round)
{
	int ret = 0;

	(void) pthread_mutex_lock(&sender->lock);
	if (sender->result) {
		ret = sender->result;
	} else if (sender->in_round) {
		ret = -EBUSY;
	} else {
		for (unsigned i = 0; i < sender->count; i++) {
			struct counters *c = &sender->workers[i]->round;

			__atomic_store_n(&c->bytes, 0, __ATOMIC_RELAXED);
			__atomic_store_n(&c->normal, 0, __ATOMIC_RELAXED);
			__atomic_store_n(&c->zero, 0, __ATOMIC_RELAXED);
			__atomic_store_n(&c->hole, 0, __ATOMIC_RELAXED);
		}
		sender->round = round;
		sender->running = sender->count;
		sender->in_round = true;
		sender->start_ns = vf_now_ns();
		sender->generation++;
		(void) pthread_cond_broadcast(&sender->changed);
	}
	(void) pthread_mutex_unlock(&sender->lock);
	return ret;
}

int vf_page_sender_wait(struct vf_page_sender *sender, uint64_t timeout_ns,
			struct vferry_error *err)
{
	uint64_t until = 0;
	int ret = 0;

	if (timeout_ns && vf_add_u64(vf_now_ns(), timeout_ns, &until))
		until = 0;
	(void) pthread_mutex_lock(&sender->lock);
	while (sender->in_round && !sender->result && ret != ETIMEDOUT) {
		struct timespec ts = vf_timespec(until);

		if (until)
			ret = pthread_cond_timedwait(&sender->changed, &sender->lock, &ts);
		else
			ret = pthread_cond_wait(&sender->changed, &sender->lock);
	}
	ret = sender->result ? sender->result : sender->in_round ? -ETIMEDOUT : 0;
	if (sender->result && err && !err->code)
		*err = sender->error;
	(void) pthread_mutex_unlock(&sender->lock);
	return ret;
}

void vf_page_sender_settle(struct vf_page_sender *sender)
{
	(void) pthread_mutex_lock(&sender->lock);
	while (sender->in_round)
		(void) pthread_cond_wait(&sender->changed, &sender->lock);
	(void) pthread_mutex_unlock(&sender->lock);
}

void vf_page_sender_cancel(struct vf_page_sender *sender)
{
	__atomic_store_n(&sender->cancelled, true, __ATOMIC_RELAXED);
	(void) pthread_mutex_lock(&sender->lock);
	if (!sender->in_round && !sender->result) {
		sender->result = -ECANCELED;
		(void) vferry_error_set(&sender->error, -ECANCELED, "cancelled", "ram", "cancelled");
	}
	(void) pthread_mutex_unlock(&sender->lock);
}

static void sum(struct vf_page_stats *stats, const struct counters *c)
{
	stats->bytes += __atomic_load_n(&c->bytes, __ATOMIC_RELAXED);
	stats->pages_normal += __atomic_load_n(&c->normal, __ATOMIC_RELAXED);
	stats->pages_zero += __atomic_load_n(&c->zero, __ATOMIC_RELAXED);
	stats->pages_hole += __atomic_load_n(&c->hole, __ATOMIC_RELAXED);
}

static void set_rate(struct vf_page_stats *stats, uint64_t ns)
{
	stats->ns = ns;
	stats->rate = ns ? (uint64_t) ((double) stats->bytes * VF_SECOND_NS / (double) ns) : 0;
}

void vf_page_sender_get_stats(struct vf_page_sender *sender, struct vf_page_stats *ret_round,
			      struct vf_page_stats *ret_total)
{
	struct vf_page_stats round = { 0 }, total = { 0 };
	uint64_t round_ns, total_ns;

	(void) pthread_mutex_lock(&sender->lock);
	round_ns = sender->running ? vf_now_ns() - sender->start_ns : sender->round_ns;
	total_ns = sender->total_ns + (sender->running ? round_ns : 0);
	for (unsigned i = 0; i < sender->count; i++) {
		sum(&round, &sender->workers[i]->round);
		sum(&total, &sender->workers[i]->total);
	}
	(void) pthread_mutex_unlock(&sender->lock);
	set_rate(&round, round_ns);
	set_rate(&total, total_ns);
	if (ret_round)
		*ret_round = round;
	if (ret_total)
		*ret_total = total;
}
