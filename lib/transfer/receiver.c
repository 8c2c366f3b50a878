/* SPDX-License-Identifier: MIT */
/*
 * receiver.c - one reading thread a channel; see receiver.h.
 *
 * `present` has a bit per page that may hold something other than zeros: set for what the hole
 * lookup found at the start, and for each page of data that arrives. Only such pages are looked at,
 * and written if need be, when a zero page arrives. Each channel has its own pages
 * (vf_pages_channel()), in whole words of the map, so that threads never share a word.
 *
 * Blocks of small pages that nobody has touched are filled from buffers in the first round (ram/fill.h),
 * which costs a copy and saves a fault and a clearing for each page. All else is received in place.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "base/trace.h"
#include "ram/fill.h"
#include "ram/ram.h"
#include "transfer/compress.h"
#include "transfer/receiver.h"
#include "wire/pages.h"

#define MAX_CHANNELS 16u
#define SMALL_BYTES (32 * VF_KIB)	/* a frame of up to so much is read by one call, and then copied */

struct reader {
	struct vf_receiver *receiver;
	struct vf_channel *channel;
	unsigned index;
	pthread_t thread;
	bool started;
	bool reading;		/* atomic */
	bool in_pages;		/* atomic: a page frame has begun */
	uint32_t rounds;	/* under round_lock: ended on this channel */
	/* Atomic, relaxed. */
	uint64_t bytes, normal, zero, cleared;

	/* Of the reader's thread. */
	struct vf_pages pages;
	uint8_t table[VF_PAGES_MAX_TABLE_BYTES];
	const uint8_t *data;	/* of a small frame, in `body`: what follows the table; NULL: not read */
	struct iovec iov[VF_PAGES_MAX_RUNS];
	struct vf_compressor *decompressors[VF_CODEC_ZSTD + 1];
	uint8_t *body;		/* of other frames, and pages that are not received in place */
	size_t body_room;
	uint8_t *plain;		/* decompressed data, 1 MiB */
};

struct vf_receiver {
	struct vferry_ram *ram;
	const struct vf_receiver_ops *ops;
	void *user;
	unsigned count;
	uint32_t max_message_bytes;
	vf_zero_test is_zero;
	size_t block_count;
	uint64_t block_pages[VF_RAM_MAX_BLOCKS];
	struct vf_bitmap present[VF_RAM_MAX_BLOCKS];
	struct vf_ram_fill *fill;	/* of the first round; or NULL */
	bool stopping;			/* atomic */
	bool failed;			/* atomic */
	bool pages_ended;		/* atomic */
	pthread_mutex_t round_lock;	/* protects all rounds; held over ops->round(): their order */
	uint32_t rounds;		/* atomic for readers outside of the lock */
	struct reader *readers[MAX_CHANNELS];
};

static void add(uint64_t *counter, uint64_t n)
{
	(void) __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* Room for @bytes, which was checked against a bound before. */
static int make_room(struct reader *reader, size_t bytes, struct vferry_error *err)
{
	uint8_t *body;

	if (reader->body_room >= bytes)
		return 0;
	body = vf_trace(vf_channel_trace(reader->channel), VF_TRACE_MEMORY,
			vf_channel_name(reader->channel), bytes, 0, 0)
		       ? NULL : realloc(reader->body, bytes);
	if (!body)
		return vferry_error_set(err, -ENOMEM, "memory", vf_channel_name(reader->channel),
					"no memory for a frame of %zu bytes", bytes);
	reader->body = body;
	reader->body_room = bytes;
	return 0;
}

static int recv_into_body(struct reader *reader, size_t bytes, struct vferry_error *err)
{
	int ret = make_room(reader, bytes, err);
	struct iovec iov = { .iov_base = reader->body, .iov_len = bytes };

	return ret ? ret : vf_channel_recv_vector(reader->channel, &iov, 1, false, err);
}

/* ---- pages ---- */

/* Makes the pages of [page, end) zero that may not be so. @end is within one unit of the channel. */
static void clear_pages(struct reader *reader, size_t block, uint64_t page, uint64_t end)
{
	struct vf_receiver *receiver = reader->receiver;
	struct vf_bitmap *present = &receiver->present[block];
	const struct vferry_ram_block *b = vferry_ram_get_block(receiver->ram, block);

	while ((page = vf_bitmap_next_set(present, page, end)) < end) {
		void *host = vf_ram_page(b, page);

		if (!receiver->is_zero(host)) {
			memset(host, 0, VF_PAGE_BYTES);
			add(&reader->cleared, 1);
		}
		vf_bitmap_clear_range(present, page, 1);
		page++;
	}
}

/* Of a range, this channel's pages. */
static void take_zero_range(struct reader *reader, size_t block, uint64_t page, uint64_t count)
{
	unsigned index = reader->index, channels = reader->receiver->count;
	uint64_t end = page + count;

	add(&reader->zero, vf_pages_owned_before(end, index, channels) -
			   vf_pages_owned_before(page, index, channels));
	while ((page = vf_pages_owned_from(page, index, channels)) < end) {
		uint64_t unit_end = (page / VF_UNIT_PAGES + 1) * VF_UNIT_PAGES;

		clear_pages(reader, block, page, vf_min_u64(unit_end, end));
		page = unit_end;
	}
}

/* Do all pages of the chunk belong to this channel? Chunks never span units. */
static int check_owner(const struct reader *reader, struct vferry_error *err)
{
	unsigned owner = vf_pages_channel(reader->pages.first, reader->receiver->count);

	if (owner != reader->index)
		return vferry_error_set(err, -EPROTO, "pages-channel",
					vf_channel_name(reader->channel),
					"page %llu came on channel %u, but belongs to channel %u",
					(unsigned long long) reader->pages.first, reader->index,
					owner);
	return 0;
}

static int place_run(struct vf_receiver *receiver, size_t block, const struct vf_pages_run *run,
		     const uint8_t *from)
{
	if (vf_ram_fill_unit(receiver->fill, block))	/* if it is stopped now, put writes */
		return vf_ram_fill_put(receiver->fill, block, run->page, from, run->count);
	memcpy(vf_ram_page(vferry_ram_get_block(receiver->ram, block), run->page), from,
	       run->count * VF_PAGE_BYTES);
	return 0;
}

/* The pages of the frame, one after the other in @from, to where they belong. */
static int place_pages(struct reader *reader, const uint8_t *from, struct vferry_error *err)
{
	const struct vf_pages *pages = &reader->pages;

	for (unsigned i = 0; i < pages->run_count; i++) {
		const struct vf_pages_run *run = &pages->runs[i];
		int ret;

		if (run->kind != VF_PAGES_DATA)
			continue;
		ret = place_run(reader->receiver, pages->block, run, from);
		if (ret)
			return vferry_error_set(err, ret, "ram-fill", vf_channel_name(reader->channel),
						"cannot put page %llu of block %u into RAM: %s",
						(unsigned long long) run->page, pages->block,
						vferry_errno_name(ret));
		from += run->count * VF_PAGE_BYTES;
	}
	return 0;
}

static int recv_in_place(struct reader *reader, const struct vferry_ram_block *block,
			 struct vferry_error *err)
{
	const struct vf_pages *pages = &reader->pages;
	size_t n = 0;

	for (unsigned i = 0; i < pages->run_count; i++) {
		const struct vf_pages_run *run = &pages->runs[i];

		if (run->kind == VF_PAGES_DATA)
			reader->iov[n++] = (struct iovec) {
				.iov_base = vf_ram_page(block, run->page),
				.iov_len = run->count * VF_PAGE_BYTES,
			};
	}
	return vf_channel_recv_vector(reader->channel, reader->iov, n, true, err);
}

static int recv_uncompressed(struct reader *reader, struct vferry_error *err)
{
	const struct vf_receiver *receiver = reader->receiver;
	const struct vf_pages *pages = &reader->pages;
	int ret;

	if (reader->data)
		return place_pages(reader, reader->data, err);
	if (!vf_ram_fill_unit(receiver->fill, pages->block))
		return recv_in_place(reader, vferry_ram_get_block(receiver->ram, pages->block), err);
	ret = recv_into_body(reader, pages->data_pages * VF_PAGE_BYTES, err);
	return ret ? ret : place_pages(reader, reader->body, err);
}

static int recv_compressed(struct reader *reader, struct vferry_error *err)
{
	const struct vf_pages *pages = &reader->pages;
	const char *name = vf_channel_name(reader->channel);
	const uint8_t *stored = reader->data;
	int ret;

	if (!reader->plain)
		reader->plain = malloc(VF_CHUNK_PAGES * VF_PAGE_BYTES);
	if (!reader->plain)
		return vferry_error_set(err, -ENOMEM, "memory", name, "no memory to decompress");
	if (!reader->decompressors[pages->codec]) {
		ret = vf_compressor_new(pages->codec, &reader->decompressors[pages->codec]);
		if (ret)
			return vferry_error_set(err, ret, "compression", name,
						"this build has no %s compression",
						vf_codec_name(pages->codec));
	}
	if (!stored) {
		ret = recv_into_body(reader, pages->stored, err);
		if (ret)
			return ret;
		stored = reader->body;
	}
	if (vf_crc32c(0, stored, pages->stored) != pages->data_crc)
		return vferry_error_set(err, -EBADMSG, "pages-crc", name,
					"the checksum of compressed pages is wrong");
	ret = vf_decompress(reader->decompressors[pages->codec], stored, pages->stored,
			    reader->plain, pages->data_pages * VF_PAGE_BYTES);
	if (ret)
		return vferry_error_set(err, ret, "decompress", name, "cannot decompress pages");
	return place_pages(reader, reader->plain, err);
}

static int take_chunk(struct reader *reader, struct vferry_error *err)
{
	struct vf_receiver *receiver = reader->receiver;
	const struct vf_pages *pages = &reader->pages;
	int ret = check_owner(reader, err);

	for (unsigned i = 0; !ret && i < pages->run_count; i++) {
		const struct vf_pages_run *run = &pages->runs[i];

		if (run->kind == VF_PAGES_ZERO) {
			clear_pages(reader, pages->block, run->page, run->page + run->count);
			add(&reader->zero, run->count);
		} else {
			vf_bitmap_set_range(&receiver->present[pages->block], run->page,
					    run->count);
		}
	}
	if (!ret && pages->data_pages)
		ret = pages->codec == VF_CODEC_NONE ? recv_uncompressed(reader, err) :
						      recv_compressed(reader, err);
	if (!ret)
		add(&reader->normal, pages->data_pages);
	return ret;
}

/*
 * Dirty pages far apart come in many small frames, of which reading would cost more than all else: such
 * a frame is read whole.
 * Return: bytes of the table, in `body`; negative errno.
 */
static int recv_small(struct reader *reader, const struct vf_frame *frame, struct vferry_error *err)
{
	int table, ret = recv_into_body(reader, frame->length, err);

	if (ret)
		return ret;
	table = vf_pages_peek(reader->body, frame->length, err);
	if (table >= 0)
		reader->data = reader->body + table;
	return table;
}

/* The table in front of the pages alone. Return: its bytes, in `table`; negative errno. */
static int recv_table(struct reader *reader, const struct vf_frame *frame, struct vferry_error *err)
{
	struct iovec iov = { .iov_base = reader->table, .iov_len = VF_PAGES_HEADER_BYTES };
	int table, ret = vf_channel_recv_vector(reader->channel, &iov, 1, false, err);

	if (ret)
		return ret;
	table = vf_pages_peek(reader->table, frame->length, err);
	if (table < 0)
		return table;
	reader->data = NULL;
	iov = (struct iovec) {
		.iov_base = reader->table + VF_PAGES_HEADER_BYTES,
		.iov_len = (size_t) table - VF_PAGES_HEADER_BYTES,
	};
	ret = vf_channel_recv_vector(reader->channel, &iov, 1, false, err);
	return ret ? ret : table;
}

static int take_page_frame(struct reader *reader, const struct vf_frame *frame,
			   struct vferry_error *err)
{
	struct vf_receiver *receiver = reader->receiver;
	const char *name = vf_channel_name(reader->channel);
	struct vf_pages *pages = &reader->pages;
	const uint8_t *bytes = reader->table;
	int table, ret;

	if (!receiver->ram || frame->length < VF_PAGES_HEADER_BYTES)
		return vferry_error_set(err, -EPROTO, "pages-unexpected", name,
					"a page frame of %u bytes, which has no business here",
					frame->length);
	if (frame->length <= SMALL_BYTES) {
		table = recv_small(reader, frame, err);
		bytes = reader->body;
	} else {
		table = recv_table(reader, frame, err);
	}
	if (table < 0)
		return table;
	if (vf_crc32c(0, bytes, (size_t) table) != frame->body_crc)
		return vferry_error_set(err, -EBADMSG, "pages-crc", name,
					"the checksum of a page table is wrong");
	ret = vf_pages_decode(bytes, (size_t) table, frame->length, receiver->block_pages,
			      receiver->block_count, pages, err);
	if (ret)
		return ret;
	if (pages->form == VF_PAGES_CHUNK) {
		ret = take_chunk(reader, err);
	} else {
		for (unsigned i = 0; i < pages->run_count; i++)
			take_zero_range(reader, pages->block, pages->runs[i].page,
					pages->runs[i].count);
	}
	if (!ret)
		add(&reader->bytes, VF_FRAME_HEADER_BYTES + frame->length);
	return ret;
}

static int pages_late(const struct reader *reader, struct vferry_error *err)
{
	return vferry_error_set(err, -EPROTO, "pages-late", vf_channel_name(reader->channel),
				"pages on channel %u after the last round", reader->index);
}

/* Either this sees that pages have ended, or who ends them sees this: so both are in one order. */
static int take_pages(struct reader *reader, const struct vf_frame *frame, struct vferry_error *err)
{
	int ret;

	__atomic_store_n(&reader->in_pages, true, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&reader->receiver->pages_ended, __ATOMIC_SEQ_CST))
		return pages_late(reader, err);
	ret = take_page_frame(reader, frame, err);
	if (!ret)
		__atomic_store_n(&reader->in_pages, false, __ATOMIC_RELEASE);
	return ret;
}

int vf_receiver_end_pages(struct vf_receiver *receiver, struct vferry_error *err)
{
	__atomic_store_n(&receiver->pages_ended, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < receiver->count; i++)
		if (__atomic_load_n(&receiver->readers[i]->in_pages, __ATOMIC_SEQ_CST))
			return pages_late(receiver->readers[i], err);
	return 0;
}

/* ---- rounds ---- */

static int end_round(struct reader *reader, const uint8_t *body, size_t size, struct vferry_error *err)
{
	struct vf_receiver *receiver = reader->receiver;
	uint32_t round, least;
	int ret = vf_round_end_decode(body, size, &round, err);

	if (ret)
		return ret;
	(void) pthread_mutex_lock(&receiver->round_lock);
	if (__atomic_load_n(&receiver->pages_ended, __ATOMIC_RELAXED)) {
		ret = vferry_error_set(err, -EPROTO, "round-order", vf_channel_name(reader->channel),
				       "round %u ended after the last one", round);
		goto out;
	}
	if (round != reader->rounds) {
		ret = vferry_error_set(err, -EPROTO, "round-order", vf_channel_name(reader->channel),
				       "round %u ended where round %u was due", round,
				       reader->rounds);
		goto out;
	}
	least = ++reader->rounds;
	for (unsigned i = 0; i < receiver->count; i++)
		if (receiver->readers[i]->rounds < least)
			goto out;
	/* This channel was the last: the others are at this round at least. */
	__atomic_store_n(&receiver->rounds, least, __ATOMIC_RELEASE);
	vf_ram_fill_stop(receiver->fill);
	if (receiver->ops->round)
		receiver->ops->round(receiver->user, round);
out:
	(void) pthread_mutex_unlock(&receiver->round_lock);
	return ret;
}

/* ---- threads ---- */

/* Return: as take_other(). */
static int take_placed(struct reader *reader, const struct vf_frame *frame, size_t head, void *place,
		       struct vferry_error *err)
{
	struct vf_receiver *receiver = reader->receiver;
	int ret = make_room(reader, head, err);

	if (!ret)
		ret = vf_channel_recv_parts(reader->channel, frame, reader->body, head, place, err);
	if (!ret)
		ret = receiver->ops->placed(receiver->user, reader->index, frame, reader->body, place,
					    err);
	return ret < 0 ? ret : !ret;
}

/* Return: 1 = go on; 0 = read no more; negative errno. */
static int take_other(struct reader *reader, const struct vf_frame *frame, struct vferry_error *err)
{
	struct vf_receiver *receiver = reader->receiver;
	void *place = NULL;
	size_t head;
	int ret;

	if (frame->length > receiver->max_message_bytes)
		return vferry_error_set(err, -EMSGSIZE, "frame-length",
					vf_channel_name(reader->channel),
					"a %s frame of %u bytes; at most %u were agreed",
					vf_frame_type_name(frame->type), frame->length,
					receiver->max_message_bytes);
	if (receiver->ops->place)
		place = receiver->ops->place(receiver->user, frame, &head);
	if (place)
		return take_placed(reader, frame, head, place, err);
	ret = make_room(reader, frame->length, err);
	if (!ret)
		ret = vf_channel_recv_body(reader->channel, frame, reader->body, err);
	if (ret)
		return ret;
	if (frame->type == VF_FRAME_ROUND_END && receiver->ram) {
		ret = end_round(reader, reader->body, frame->length, err);
		return ret ? ret : 1;
	}
	ret = receiver->ops->frame(receiver->user, reader->index, frame, reader->body, err);
	return ret < 0 ? ret : !ret;
}

static void fail(struct reader *reader, int ret, struct vferry_error *error)
{
	struct vf_receiver *receiver = reader->receiver;

	(void) vferry_error_set(error, ret, "receive", vf_channel_name(reader->channel),
				"cannot receive: %s", vferry_errno_name(ret));
	vf_channel_locate(reader->channel, reader->index, error);
	if (__atomic_load_n(&receiver->stopping, __ATOMIC_ACQUIRE) ||
	    __atomic_exchange_n(&receiver->failed, true, __ATOMIC_ACQ_REL))
		return;
	if (receiver->ops->failed)
		receiver->ops->failed(receiver->user, reader->index, error);
}

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct vf_receiver *receiver = reader->receiver;
	struct vferry_error error = VFERRY_ERROR_INIT;
	bool told_to_stop = false;
	int ret;

	while (!told_to_stop) {
		struct vf_frame frame;

		ret = vf_channel_recv_header(reader->channel, VF_FRAME_MAX_BYTES, &frame, &error);
		if (ret <= 0)
			break;
		if (frame.type == VF_FRAME_PAGES) {
			ret = take_pages(reader, &frame, &error);
			if (ret)
				break;
			continue;
		}
		ret = take_other(reader, &frame, &error);
		if (ret < 0)
			break;
		told_to_stop = !ret;
	}
	/* RAM is left to others before they hear of the end: it may have come in the first round. */
	vf_ram_fill_stop(receiver->fill);
	__atomic_store_n(&reader->reading, false, __ATOMIC_RELEASE);
	if (ret < 0)
		fail(reader, ret, &error);
	else if (!told_to_stop && receiver->ops->closed &&
		 !__atomic_load_n(&receiver->stopping, __ATOMIC_ACQUIRE))
		receiver->ops->closed(receiver->user, reader->index);
	return NULL;
}

static struct reader *reader_free(struct reader *reader)
{
	if (reader) {
		for (size_t i = 0; i < VF_ARRAY_COUNT(reader->decompressors); i++)
			(void) vf_compressor_free(reader->decompressors[i]);
		free(reader->body);
		free(reader->plain);
		free(reader);
	}
	return NULL;
}

/* What is in memory already, whoever put it there, is not known to be zero; what is not can be filled. */
static int find_present(struct vf_receiver *receiver)
{
	receiver->fill = vf_ram_fill_open(receiver->ram);
	vf_ram_refresh_holes(receiver->ram);
	receiver->block_count = vferry_ram_block_count(receiver->ram);
	for (size_t b = 0; b < receiver->block_count; b++) {
		int ret = vf_ram_data_map(receiver->ram, b, &receiver->present[b]);

		if (ret)
			return ret;
		receiver->block_pages[b] = receiver->present[b].bits;
		if (vf_bitmap_next_set(&receiver->present[b], 0, receiver->block_pages[b]) ==
		    receiver->block_pages[b])
			vf_ram_fill_watch(receiver->fill, b, 1);
	}
	return 0;
}

int vf_receiver_new(const struct vf_receiver_options *options, struct vf_receiver **ret_receiver,
		    struct vferry_error *err)
{
	struct vf_receiver *receiver;
	int ret = 0;

	if (!options->channel_count || options->channel_count > MAX_CHANNELS || !options->ops ||
	    !options->ops->frame)
		return vferry_error_set(err, -EINVAL, "channels", NULL, "1 to %u channels, not %u",
					MAX_CHANNELS, options->channel_count);
	receiver = calloc(1, sizeof(*receiver));
	if (!receiver)
		return vferry_error_set(err, -ENOMEM, "memory", NULL, "no memory for the receiver");
	receiver->ram = options->ram;
	receiver->ops = options->ops;
	receiver->user = options->user;
	receiver->count = options->channel_count;
	receiver->max_message_bytes = options->max_message_bytes ?: VF_FRAME_MAX_BYTES;
	receiver->is_zero = vf_zero_test_best();
	(void) pthread_mutex_init(&receiver->round_lock, NULL);
	if (receiver->ram)
		ret = find_present(receiver);
	for (unsigned i = 0; !ret && i < receiver->count; i++) {
		struct reader *reader = calloc(1, sizeof(*reader));

		receiver->readers[i] = reader;
		if (!reader) {
			ret = -ENOMEM;
			break;
		}
		reader->receiver = receiver;
		reader->channel = options->channels[i];
		reader->index = i;
	}
	if (ret) {
		(void) vf_receiver_free(receiver);
		return vferry_error_set(err, ret, "receiver", NULL, "cannot make a receiver: %s",
					vferry_errno_name(ret));
	}
	*ret_receiver = receiver;
	return 0;
}

int vf_receiver_start(struct vf_receiver *receiver, struct vferry_error *err)
{
	int ret = 0;

	for (unsigned i = 0; !ret && i < receiver->count; i++) {
		struct reader *reader = receiver->readers[i];

		reader->reading = true;
		ret = vf_trace_thread(vf_channel_trace(reader->channel), "receiver", &reader->thread,
				      reader_main, reader);
		reader->started = !ret;
	}
	return ret ? vferry_error_set(err, ret, "receiver", NULL, "cannot start a receiver: %s",
				      vferry_errno_name(ret)) : 0;
}

struct vf_receiver *vf_receiver_free(struct vf_receiver *receiver)
{
	if (!receiver)
		return NULL;
	__atomic_store_n(&receiver->stopping, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < receiver->count; i++) {
		struct reader *reader = receiver->readers[i];

		if (reader && reader->started && __atomic_load_n(&reader->reading, __ATOMIC_ACQUIRE))
			vf_channel_shutdown(reader->channel);
	}
	for (unsigned i = 0; i < receiver->count; i++) {
		struct reader *reader = receiver->readers[i];

		if (reader && reader->started)
			(void) pthread_join(reader->thread, NULL);
	}
	/* Not before all have ended: who ends a round looks at the others. */
	for (unsigned i = 0; i < receiver->count; i++)
		(void) reader_free(receiver->readers[i]);
	for (size_t b = 0; b < receiver->block_count; b++)
		vf_bitmap_done(&receiver->present[b]);
	(void) vf_ram_fill_close(receiver->fill);
	(void) pthread_mutex_destroy(&receiver->round_lock);
	free(receiver);
	return NULL;
}

void vf_receiver_get_stats(struct vf_receiver *receiver, struct vf_receiver_stats *ret_stats)
{
	struct vf_receiver_stats stats = {
		.rounds = __atomic_load_n(&receiver->rounds, __ATOMIC_ACQUIRE),
	};

	for (unsigned i = 0; i < receiver->count; i++) {
		const struct reader *reader = receiver->readers[i];

		stats.bytes += __atomic_load_n(&reader->bytes, __ATOMIC_RELAXED);
		stats.pages_normal += __atomic_load_n(&reader->normal, __ATOMIC_RELAXED);
		stats.pages_zero += __atomic_load_n(&reader->zero, __ATOMIC_RELAXED);
		stats.pages_cleared += __atomic_load_n(&reader->cleared, __ATOMIC_RELAXED);
	}
	*ret_stats = stats;
}
