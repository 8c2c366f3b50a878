/* SPDX-License-Identifier: MIT */
/*
 * test_page_transfer.c - RAM goes from one vferry_ram to another in one process, over real sockets,
 * while a thread writes to it; at the end both hold the same.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "ram/ram.h"
#include "transfer/page_sender.h"
#include "transfer/receiver.h"
#include "wire/pages.h"

#define MAX_CHANNELS 4
#define PAGE VF_PAGE_BYTES
#if defined(__SANITIZE_THREAD__)
#define SPARSE_BYTES (128 * VF_GIB)	/* its address space has no room for more */
#else
#define SPARSE_BYTES (2048 * VF_GIB)
#endif

struct pair {
	struct vferry_ram *from, *to;
	unsigned channels;
	struct vf_channel *out[MAX_CHANNELS], *in[MAX_CHANNELS];
	int out_fd[MAX_CHANNELS], in_fd[MAX_CHANNELS];	/* borrowed */
	struct vf_page_sender *sender;
	struct vf_receiver *receiver;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t rounds;	/* ended at the receiver */
	bool settled;		/* vf_page_sender_settle() returned */
	unsigned others;	/* frames of other types */
	unsigned closed;
	int failed;
	struct vferry_error error;
};

static int on_frame(void *user, unsigned channel, const struct vf_frame *frame, const void *body,
		    struct vferry_error *err)
{
	struct pair *p = user;

	(void) channel;
	(void) err;
	assert_int_equal(frame->type, VF_FRAME_SECTION);
	assert_memory_equal(body, "section", frame->length);
	(void) pthread_mutex_lock(&p->lock);
	p->others++;
	(void) pthread_mutex_unlock(&p->lock);
	return 0;
}

static void on_round(void *user, uint32_t round)
{
	struct pair *p = user;

	(void) pthread_mutex_lock(&p->lock);
	assert_int_equal(round, p->rounds);
	p->rounds++;
	(void) pthread_cond_broadcast(&p->changed);
	(void) pthread_mutex_unlock(&p->lock);
}

static void on_closed(void *user, unsigned channel)
{
	struct pair *p = user;

	(void) channel;
	(void) pthread_mutex_lock(&p->lock);
	p->closed++;
	(void) pthread_cond_broadcast(&p->changed);
	(void) pthread_mutex_unlock(&p->lock);
}

static void on_failed(void *user, unsigned channel, const struct vferry_error *err)
{
	struct pair *p = user;

	(void) channel;
	(void) pthread_mutex_lock(&p->lock);
	assert_int_equal(p->failed, 0);
	p->failed = err->code;
	p->error = *err;
	(void) pthread_cond_broadcast(&p->changed);
	(void) pthread_mutex_unlock(&p->lock);
}

static const struct vf_receiver_ops receiver_ops = {
	.frame = on_frame, .round = on_round, .closed = on_closed, .failed = on_failed,
};

static struct vferry_ram *make_ram(const uint64_t *sizes, size_t count)
{
	struct vferry_ram *ram;
	uint64_t gpa = 0;

	assert_int_equal(vferry_ram_new(&ram), 0);
	for (size_t i = 0; i < count; i++) {
		char name[16];

		(void) snprintf(name, sizeof(name), "ram%zu", i);
		assert_int_equal(vferry_ram_create_block(ram, name, gpa, sizes[i], 0, NULL), (int) i);
		gpa += sizes[i] + VF_GIB;
	}
	return ram;
}

static void pair_sender(struct pair *p, enum vf_codec codec)
{
	struct vf_page_sender_options sender = {
		.ram = p->from, .channels = p->out, .channel_count = p->channels, .codec = codec,
	};

	assert_int_equal(vf_page_sender_new(&sender, &p->sender, NULL), 0);
}

static void pair_start(struct pair *p, enum vf_codec codec)
{
	struct vf_receiver_options receiver = {
		.ram = p->to, .channels = p->in, .channel_count = p->channels,
		.ops = &receiver_ops, .user = p,
	};

	assert_int_equal(vf_receiver_new(&receiver, &p->receiver, NULL), 0);
	assert_int_equal(vf_receiver_start(p->receiver, NULL), 0);
	pair_sender(p, codec);
}

static void pair_connect(struct pair *p, unsigned channels)
{
	(void) pthread_mutex_init(&p->lock, NULL);
	(void) pthread_cond_init(&p->changed, NULL);
	p->channels = channels;
	for (unsigned i = 0; i < channels; i++) {
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		assert_int_equal(vf_channel_from_fd(fds[0], "out", &p->out[i], NULL), 0);
		assert_int_equal(vf_channel_from_fd(fds[1], "in", &p->in[i], NULL), 0);
		p->out_fd[i] = fds[0];
		p->in_fd[i] = fds[1];
	}
}

static void pair_init(struct pair *p, const uint64_t *sizes, size_t count, unsigned channels,
		      enum vf_codec codec)
{
	*p = (struct pair) { 0 };
	p->from = make_ram(sizes, count);
	p->to = make_ram(sizes, count);
	pair_connect(p, channels);
	pair_start(p, codec);
}

static void pair_done(struct pair *p)
{
	(void) vf_page_sender_free(p->sender);
	(void) vf_receiver_free(p->receiver);
	for (unsigned i = 0; i < p->channels; i++) {
		(void) vf_channel_free(p->out[i]);
		(void) vf_channel_free(p->in[i]);
	}
	(void) vferry_ram_free(p->from);
	(void) vferry_ram_free(p->to);
	(void) pthread_cond_destroy(&p->changed);
	(void) pthread_mutex_destroy(&p->lock);
}

static void wait_rounds(struct pair *p, uint32_t rounds)
{
	(void) pthread_mutex_lock(&p->lock);
	while (p->rounds < rounds && !p->failed)
		(void) pthread_cond_wait(&p->changed, &p->lock);
	(void) pthread_mutex_unlock(&p->lock);
	if (p->failed)
		fail_msg("receiver: %s", p->error.message);
}

static void run_round(struct pair *p, uint32_t round)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(vf_page_sender_start_round(p->sender, round), 0);
	if (vf_page_sender_wait(p->sender, 0, &err))
		fail_msg("sender: %s", err.message);
	wait_rounds(p, round + 1);
}

static uint8_t *host(struct vferry_ram *ram, size_t block, uint64_t page)
{
	return vf_ram_page(vferry_ram_get_block(ram, block), page);
}

static void assert_same(struct pair *p)
{
	uint32_t from, to;

	assert_int_equal(vferry_ram_digest(p->from, &from, NULL), 0);
	assert_int_equal(vferry_ram_digest(p->to, &to, NULL), 0);
	assert_int_equal(from, to);
	for (size_t b = 0; b < vferry_ram_block_count(p->from); b++) {
		uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(p->from, b));
		uint64_t end;

		if (vferry_ram_get_block(p->from, b)->bytes > VF_GIB)
			continue;
		for (uint64_t page = 0; page < pages; page++)
			if (vf_ram_next_data(p->from, b, page, page + 1, &end) == page)
				assert_memory_equal(host(p->from, b, page), host(p->to, b, page),
						    PAGE);
	}
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Every third page random, every fifth a text, the rest of a stretch zero, some never touched. */
static void fill(struct vferry_ram *ram, uint64_t seed)
{
	for (size_t b = 0; b < vferry_ram_block_count(ram); b++) {
		uint64_t pages = vf_ram_block_pages(vferry_ram_get_block(ram, b));

		for (uint64_t page = 0; page < pages; page++) {
			uint64_t *words = (void *) host(ram, b, page);

			if (page % 1500 < 700)
				continue;
			if (page % 3 == 0)
				for (size_t i = 0; i < PAGE / 8; i++)
					words[i] = next_random(&seed);
			else if (page % 5 == 0)
				memset(words, 'a' + (int) (page % 26), PAGE);
			else
				memset(words, 0, PAGE);
		}
	}
}

struct writer {
	struct vferry_ram *ram;
	pthread_t thread;
	bool stop;	/* atomic */
	uint64_t writes;
};

/* Fills words of random pages, zeroes some pages again, and says so. */
static void *writer_main(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = 0x9e3779b97f4a7c15;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint64_t r = next_random(&seed);
		size_t b = r % vferry_ram_block_count(w->ram);
		const struct vferry_ram_block *block = vferry_ram_get_block(w->ram, b);
		uint64_t page = (r >> 8) % vf_ram_block_pages(block);
		uint64_t *words = (void *) host(w->ram, b, page);

		if ((r >> 60) < 3)
			memset(words, 0, PAGE);
		else
			words[r >> 40 & 511] = r;
		vferry_ram_mark_dirty(w->ram, block->gpa + page * PAGE, PAGE);
		if (__atomic_add_fetch(&w->writes, 1, __ATOMIC_RELAXED) % 64 == 0)
			usleep(100);
	}
	return NULL;
}

static void live(unsigned channels, enum vf_codec codec)
{
	/* An odd last chunk, and a last word of the bitmap that is not full. */
	static const uint64_t sizes[] = { 24 * VF_MIB + 7 * VF_PAGE_BYTES, 5 * VF_MIB, PAGE };
	struct vf_ram_collected collected;
	struct vf_page_stats round_stats, total;
	struct vf_receiver_stats received;
	struct writer w = { 0 };
	struct pair p;
	uint64_t pages;

	pair_init(&p, sizes, VF_ARRAY_COUNT(sizes), channels, codec);
	fill(p.from, 88172645463325252);
	pages = vferry_ram_bytes(p.from) / PAGE;
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	w.ram = p.from;
	assert_int_equal(pthread_create(&w.thread, NULL, writer_main, &w), 0);
	while (!__atomic_load_n(&w.writes, __ATOMIC_RELAXED))
		usleep(100);		/* on a busy machine a round may be faster than a new thread */
	for (uint32_t round = 0; round < 4; round++) {
		if (round)
			assert_int_equal(vf_ram_collect(p.from, &collected), 0);
		run_round(&p, round);
		vf_page_sender_get_stats(p.sender, &round_stats, &total);
		if (!round)
			assert_int_equal(round_stats.pages_normal + round_stats.pages_zero, pages);
		/* Other frames travel among the pages. */
		assert_int_equal(vf_channel_send(p.out[round % channels], VF_FRAME_SECTION, 0, 1,
						 "section", 7, NULL), 0);
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	(void) pthread_join(w.thread, NULL);
	assert_true(w.writes > 0);
	/* However little the writer came to do: a page that was sent with content is zero now. */
	memset(host(p.from, 0, 0), 1, PAGE);
	vferry_ram_mark_dirty(p.from, vferry_ram_get_block(p.from, 0)->gpa, PAGE);
	run_round(&p, 4);
	memset(host(p.from, 0, 0), 0, PAGE);
	vferry_ram_mark_dirty(p.from, vferry_ram_get_block(p.from, 0)->gpa, PAGE);
	assert_int_equal(vf_ram_collect(p.from, &collected), 0);
	assert_int_equal(collected.failed_sources, 0);
	run_round(&p, 5);
	assert_int_equal(vf_ram_dirty_pages(p.from), 0);
	vf_page_sender_get_stats(p.sender, &round_stats, &total);
	vf_receiver_get_stats(p.receiver, &received);
	assert_int_equal(total.pages_normal, received.pages_normal);
	assert_int_equal(total.pages_zero, received.pages_zero);
	assert_int_equal(total.bytes, received.bytes);
	assert_true(total.pages_hole > 0);
	assert_true(received.pages_cleared > 0);
	assert_int_equal(p.others, 4);
	assert_same(&p);
	vf_ram_tracking_stop(p.from);
	pair_done(&p);
}

static void test_live_1_channel(void **state) { (void) state; live(1, VF_CODEC_NONE); }
static void test_live_4_channels(void **state) { (void) state; live(4, VF_CODEC_NONE); }
static void test_live_3_channels(void **state) { (void) state; live(3, VF_CODEC_NONE); }

static void test_live_lz4(void **state)
{
	(void) state;
	if (!vf_codec_available(VF_CODEC_LZ4))
		skip();
	live(1, VF_CODEC_LZ4);
	live(4, VF_CODEC_LZ4);
}

static void test_live_zstd(void **state)
{
	(void) state;
	if (!vf_codec_available(VF_CODEC_ZSTD))
		skip();
	live(1, VF_CODEC_ZSTD);
	live(4, VF_CODEC_ZSTD);
}

/* Written again while the first round is under way, by a source that is asked: sent again. */
struct source {
	unsigned starts, stops;
	uint64_t page;
	int fail;
};

static int source_start(void *user, struct vferry_error *err)
{
	(void) err;
	((struct source *) user)->starts++;
	return 0;
}

static int source_collect(void *user, uint64_t gpa, uint64_t bytes, uint64_t *words,
			  struct vferry_error *err)
{
	struct source *s = user;

	(void) err;
	if (s->fail)
		return s->fail;
	if (s->page * PAGE >= gpa && s->page * PAGE < gpa + bytes)
		words[(s->page - gpa / PAGE) / 64] |= 1ull << ((s->page - gpa / PAGE) % 64);
	return 0;
}

static void source_stop(void *user)
{
	((struct source *) user)->stops++;
}

static void test_source_dirt_is_sent(void **state)
{
	static const uint64_t sizes[] = { 8 * VF_MIB };
	struct source s = { .page = 321 };
	struct vferry_dirty_source source = {
		.size = sizeof(source), .name = "dma", .user = &s, .start = source_start,
		.collect = source_collect, .stop = source_stop,
	};
	struct vf_ram_collected collected;
	struct vf_page_stats round;
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 1, VF_CODEC_NONE);
	assert_int_equal(vferry_ram_add_dirty_source(p.from, &source, NULL), 0);
	memset(host(p.from, 0, 321), 1, PAGE);
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	run_round(&p, 0);
	memset(host(p.from, 0, 321), 2, PAGE);	/* no mark: only the source knows */
	assert_int_equal(vf_ram_collect(p.from, &collected), 0);
	assert_int_equal(collected.dirty_pages, 1);
	run_round(&p, 1);
	vf_page_sender_get_stats(p.sender, &round, NULL);
	assert_int_equal(round.pages_normal, 1);
	assert_same(&p);
	/* A page that was sent and is zero now. */
	memset(host(p.from, 0, 321), 0, PAGE);
	assert_int_equal(vf_ram_collect(p.from, &collected), 0);
	run_round(&p, 2);
	vf_page_sender_get_stats(p.sender, &round, NULL);
	assert_int_equal(round.pages_zero, 1);
	assert_same(&p);
	/* A source that fails: all pages again, holes still not read. */
	s.fail = -EIO;
	assert_int_equal(vf_ram_collect(p.from, &collected), 0);
	assert_int_equal(collected.failed_sources, 1);
	assert_int_equal(collected.error.code, -EIO);
	assert_int_equal(collected.dirty_pages, 2048);
	run_round(&p, 3);
	vf_page_sender_get_stats(p.sender, &round, NULL);
	assert_int_equal(round.pages_zero, 2048);
	assert_true(round.pages_hole >= 2047);
	assert_true(round.bytes < 1000);
	assert_int_equal(vf_ram_dirty_pages(p.from), 0);	/* or it would never converge */
	assert_same(&p);
	vf_ram_tracking_stop(p.from);
	assert_int_equal(s.starts, 1);
	assert_int_equal(s.stops, 1);
	pair_done(&p);
}

static uint64_t allocated(struct vferry_ram *ram)
{
	struct stat st;

	assert_int_equal(fstat(vferry_ram_get_block(ram, 0)->fd, &st), 0);
	return (uint64_t) st.st_blocks * 512;
}

static void test_sparse_memory(void **state)
{
	static const uint64_t sizes[] = { SPARSE_BYTES };
	struct vf_page_stats total;
	struct pair p;
	uint64_t before;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	for (uint64_t i = 0; i < 64; i++)
		memset(host(p.from, 0, i * (SPARSE_BYTES / PAGE / 65) + i), 1 + (int) i, PAGE);
	before = allocated(p.from);
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	run_round(&p, 0);
	vf_page_sender_get_stats(p.sender, NULL, &total);
	assert_int_equal(total.pages_normal, 64);
	assert_int_equal(total.pages_normal + total.pages_zero, sizes[0] / PAGE);
	assert_true(total.bytes < 64 * PAGE + 16 * VF_KIB);
	assert_int_equal(allocated(p.from), before);
	assert_int_equal(allocated(p.to), before);
	assert_same(&p);
	assert_int_equal(allocated(p.from), before);
	assert_int_equal(allocated(p.to), before);
	vf_ram_tracking_stop(p.from);
	pair_done(&p);
}

static void test_zero_guest_costs_few_bytes(void **state)
{
	static const uint64_t sizes[] = { 64 * VF_MIB };
	struct vf_page_stats total;
	struct pair p;

	(void) state;
	for (unsigned channels = 1; channels <= 4; channels++) {
		pair_init(&p, sizes, 1, channels, VF_CODEC_NONE);
		memset(host(p.from, 0, 0), 0, sizes[0]);	/* touched, and zero */
		assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
		run_round(&p, 0);
		vf_page_sender_get_stats(p.sender, NULL, &total);
		assert_int_equal(total.pages_zero, sizes[0] / PAGE);
		assert_int_equal(total.pages_hole, 0);
		assert_true(total.bytes <= channels * 72);	/* one range each */
		assert_int_equal(allocated(p.to), 0);
		vf_ram_tracking_stop(p.from);
		pair_done(&p);
	}
}

/* What the destination held before does not shine through holes and zero pages. */
static void test_destination_not_fresh(void **state)
{
	static const uint64_t sizes[] = { 6 * VF_MIB };
	struct pair p = { 0 };

	(void) state;
	p.from = make_ram(sizes, 1);
	p.to = make_ram(sizes, 1);
	memset(host(p.to, 0, 0), 0x55, sizes[0]);
	memset(host(p.from, 0, 100), 1, PAGE);
	memset(host(p.from, 0, 101), 0, PAGE);
	pair_connect(&p, 2);
	pair_start(&p, VF_CODEC_NONE);
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	run_round(&p, 0);
	assert_same(&p);
	assert_int_equal(*host(p.to, 0, 99), 0);
	assert_int_equal(*host(p.to, 0, 1535), 0);
	vf_ram_tracking_stop(p.from);
	pair_done(&p);
}

static void test_cancel_in_a_slow_round(void **state)
{
	static const uint64_t sizes[] = { 64 * VF_MIB };
	struct vf_limiter *limiter;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t start, taken;
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	memset(host(p.from, 0, 0), 1, sizes[0]);
	assert_int_equal(vf_limiter_new(4 * VF_MIB, &limiter), 0);
	vf_channel_set_limiter(p.out[0], limiter);
	vf_channel_set_limiter(p.out[1], limiter);
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	start = vf_now_ns();
	assert_int_equal(vf_page_sender_start_round(p.sender, 0), 0);
	assert_int_equal(vf_page_sender_start_round(p.sender, 0), -EBUSY);
	assert_int_equal(vf_page_sender_wait(p.sender, 50 * VF_MS_NS, &err), -ETIMEDOUT);
	vf_page_sender_cancel(p.sender);
	vf_limiter_cancel(limiter);
	assert_int_equal(vf_page_sender_wait(p.sender, 5 * VF_SECOND_NS, &err), -ECANCELED);
	taken = vf_now_ns() - start;
	assert_true(taken < 4 * VF_SECOND_NS);	/* the whole round takes 16 s */
	assert_int_equal(vf_page_sender_start_round(p.sender, 1), -ECANCELED);
	vf_ram_tracking_stop(p.from);
	pair_done(&p);
	(void) vf_limiter_free(limiter);
}

static void test_lost_peer_fails_the_round(void **state)
{
	static const uint64_t sizes[] = { 64 * VF_MIB };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct pair p;
	int ret;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	memset(host(p.from, 0, 0), 1, sizes[0]);
	vf_channel_shutdown(p.in[1]);
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	assert_int_equal(vf_page_sender_start_round(p.sender, 0), 0);
	ret = vf_page_sender_wait(p.sender, 10 * VF_SECOND_NS, &err);
	assert_true(ret == -EPIPE || ret == -ECONNRESET);
	assert_int_equal(err.code, ret);
	vf_ram_tracking_stop(p.from);
	pair_done(&p);
}

static int unread(const struct pair *p, unsigned channel)
{
	int bytes;

	assert_int_equal(ioctl(p->in_fd[channel], FIONREAD, &bytes), 0);
	return bytes;
}

static void *settle_main(void *arg)
{
	struct pair *p = arg;

	vf_page_sender_settle(p->sender);
	(void) pthread_mutex_lock(&p->lock);
	p->settled = true;
	(void) pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* A failure is told at once, though another channel's thread may be stuck and look at RAM and channel. */
static void test_who_is_stuck_is_waited_for(void **state)
{
	static const uint64_t sizes[] = { 16 * VF_MIB };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct pair p = { 0 };
	pthread_t thread;
	bool early;

	(void) state;
	p.from = make_ram(sizes, 1);
	p.to = make_ram(sizes, 1);
	memset(host(p.from, 0, 0), 1, sizes[0]);
	pair_connect(&p, 2);		/* and nobody reads */
	assert_int_equal(setsockopt(p.out_fd[1], SOL_SOCKET, SO_SNDBUF, &(int) { 64 << 10 }, sizeof(int)), 0);
	pair_sender(&p, VF_CODEC_NONE);
	assert_int_equal(vf_ram_tracking_start(p.from, NULL), 0);
	assert_int_equal(vf_page_sender_start_round(p.sender, 0), 0);
	while (!unread(&p, 1))		/* then it is in a write that does not fit */
		usleep(100);
	vf_channel_shutdown(p.out[0]);
	assert_int_not_equal(vf_page_sender_wait(p.sender, 10 * VF_SECOND_NS, &err), 0);
	assert_int_equal(pthread_create(&thread, NULL, settle_main, &p), 0);
	usleep(30000);
	(void) pthread_mutex_lock(&p.lock);
	early = p.settled;
	(void) pthread_mutex_unlock(&p.lock);
	vf_channel_shutdown(p.out[1]);
	(void) pthread_join(thread, NULL);
	assert_false(early);
	vf_ram_tracking_stop(p.from);
	pair_done(&p);
}

/* ---- frames made by hand ---- */

/* @sent: of the data; less than the frame says, for one that stays behind its word. */
static void send_pages(struct pair *p, unsigned channel, const struct vf_pages *pages, const void *data,
		       size_t sent)
{
	struct vf_outgoing out = { .frame = { .type = VF_FRAME_PAGES } };
	uint8_t table[VF_PAGES_MAX_TABLE_BYTES];
	struct iovec iov[3];

	vf_pages_encode(pages, table);
	out.frame.length = (uint32_t) vf_pages_table_bytes(pages) + pages->stored;
	out.frame.body_crc = vf_crc32c(0, table, vf_pages_table_bytes(pages));
	iov[0] = (struct iovec) { out.header, sizeof(out.header) };
	iov[1] = (struct iovec) { table, vf_pages_table_bytes(pages) };
	iov[2] = (struct iovec) { (void *) data, sent };
	assert_int_equal(vf_channel_send_vector(p->out[channel], &out, 1, iov, 3, false, NULL), 0);
}

static void send_round_end(struct pair *p, unsigned channel, uint32_t round)
{
	uint8_t body[VF_ROUND_END_BYTES];

	vf_round_end_encode(round, body);
	assert_int_equal(vf_channel_send(p->out[channel], VF_FRAME_ROUND_END, 0, 0, body, sizeof(body),
					 NULL), 0);
}

static void send_content(struct pair *p, unsigned channel, uint64_t page, uint64_t count,
			 const uint8_t *data)
{
	struct vf_pages pages = {
		.form = VF_PAGES_CHUNK, .run_count = 1, .first = page / VF_CHUNK_PAGES * VF_CHUNK_PAGES,
		.stored = (uint32_t) (count * PAGE),
		.runs = { { .page = page, .count = count, .kind = VF_PAGES_DATA } },
	};

	send_pages(p, channel, &pages, data, pages.stored);
}

/*
 * A channel may be a round ahead of the others, and bring pages that the first one did not: then they
 * are made as in the first one. Later they are received in place. Small frames and large ones.
 */
static void test_one_channel_is_ahead(void **state)
{
	static const uint64_t sizes[] = { 4 * VF_MIB };
	static uint8_t data[20 * PAGE];
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	memset(data, 0x61, sizeof(data));
	send_content(&p, 0, 5, 2, data);
	send_round_end(&p, 0, 0);
	send_content(&p, 0, 0, 20, data);
	send_content(&p, 0, 30, 1, data);
	send_round_end(&p, 0, 1);
	send_content(&p, 1, 512, 20, data);
	send_round_end(&p, 1, 0);
	wait_rounds(&p, 1);
	send_content(&p, 0, 100, 20, data);
	send_content(&p, 0, 130, 1, data);
	send_round_end(&p, 1, 1);
	send_content(&p, 1, 532, 20, data);
	send_round_end(&p, 0, 2);
	send_round_end(&p, 1, 2);
	wait_rounds(&p, 3);
	assert_memory_equal(host(p.to, 0, 0), data, 20 * PAGE);
	assert_memory_equal(host(p.to, 0, 30), data, PAGE);
	assert_memory_equal(host(p.to, 0, 100), data, 20 * PAGE);
	assert_memory_equal(host(p.to, 0, 130), data, PAGE);
	assert_memory_equal(host(p.to, 0, 512), data, 20 * PAGE);
	assert_memory_equal(host(p.to, 0, 532), data, 20 * PAGE);
	pair_done(&p);
}

/* What a channel that ends in the first round leaves behind may be touched at once. */
static void test_end_in_the_first_round(void **state)
{
	static const uint64_t sizes[] = { 4 * VF_MIB };
	static uint8_t data[20 * PAGE];
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	memset(data, 0x62, sizeof(data));
	send_content(&p, 0, 5, 20, data);
	vf_channel_shutdown(p.out[0]);
	(void) pthread_mutex_lock(&p.lock);
	while (!p.closed && !p.failed)
		(void) pthread_cond_wait(&p.changed, &p.lock);
	(void) pthread_mutex_unlock(&p.lock);
	assert_int_equal(*host(p.to, 0, 5), 0x62);
	assert_int_equal(*host(p.to, 0, 4), 0);
	pair_done(&p);
}

static void wait_failed(struct pair *p, int code)
{
	(void) pthread_mutex_lock(&p->lock);
	while (!p->failed)
		(void) pthread_cond_wait(&p->changed, &p->lock);
	(void) pthread_mutex_unlock(&p->lock);
	assert_int_equal(p->failed, code);
}

/* The receiver must refuse it, say so once, and touch no memory. */
static void refuse(const struct vf_pages *pages, const void *data, int expected)
{
	static const uint64_t sizes[] = { 4 * VF_MIB };
	struct pair p;

	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	send_pages(&p, 0, pages, data, pages->stored);
	wait_failed(&p, expected);
	assert_int_equal(allocated(p.to), 0);
	pair_done(&p);
}

static void test_bad_page_frames_are_refused(void **state)
{
	static uint8_t data[PAGE];
	struct vf_pages pages = {
		.form = VF_PAGES_CHUNK, .run_count = 1, .stored = PAGE,
		.runs = { { .page = 0, .count = 1, .kind = VF_PAGES_DATA } },
	};

	(void) state;
	memset(data, 7, sizeof(data));
	pages.block = 1;				/* no such block */
	refuse(&pages, data, -EPROTO);
	pages.block = 0;
	pages.first = 1024;				/* behind the block */
	pages.runs[0].page = 1024;
	refuse(&pages, data, -EPROTO);
	pages.first = 512;				/* the other channel's */
	pages.runs[0].page = 512;
	refuse(&pages, data, -EPROTO);
	pages.first = 0;
	pages.runs[0].page = 0;
	pages.codec = VF_CODEC_LZ4;			/* not what lz4 writes */
	pages.stored = 100;
	pages.data_crc = vf_crc32c(0, data, 100);
	refuse(&pages, data, vf_codec_available(VF_CODEC_LZ4) ? -EBADMSG : -ENOTSUP);
	pages.data_crc ^= 1;
	refuse(&pages, data, vf_codec_available(VF_CODEC_LZ4) ? -EBADMSG : -ENOTSUP);
}

static void test_rounds_out_of_order_are_refused(void **state)
{
	static const uint64_t sizes[] = { VF_MIB };
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	send_round_end(&p, 1, 1);
	wait_failed(&p, -EPROTO);
	assert_int_equal(p.rounds, 0);
	pair_done(&p);
}

/* RAM that is complete is the machine's: what comes later is not put into it. */
static void test_pages_after_the_end(void **state)
{
	static const uint64_t sizes[] = { 4 * VF_MIB };
	static uint8_t data[20 * PAGE];
	struct pair p;

	(void) state;
	memset(data, 0x63, sizeof(data));
	for (unsigned count = 0; count <= 20; count += 10) {	/* none: another round's end; small; large */
		pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
		send_round_end(&p, 0, 0);
		send_round_end(&p, 1, 0);
		wait_rounds(&p, 1);
		assert_int_equal(vf_receiver_end_pages(p.receiver, NULL), 0);
		if (count)
			send_content(&p, 1, 512, count, data);
		else
			send_round_end(&p, 1, 1);
		wait_failed(&p, -EPROTO);
		assert_string_equal(p.error.id, count ? "pages-late" : "round-order");
		assert_int_equal(allocated(p.to), 0);
		pair_done(&p);
	}
}

/* Nor what had begun: the rest of such a frame could come when the guest runs. */
static void test_pages_across_the_end(void **state)
{
	static const uint64_t sizes[] = { 4 * VF_MIB };
	static uint8_t data[20 * PAGE];
	struct vf_pages pages = {
		.form = VF_PAGES_CHUNK, .run_count = 1, .first = 512, .stored = sizeof(data),
		.runs = { { .page = 512, .count = 20, .kind = VF_PAGES_DATA } },
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	send_round_end(&p, 0, 0);
	send_round_end(&p, 1, 0);
	send_pages(&p, 1, &pages, data, PAGE);
	while (unread(&p, 1))
		usleep(100);
	wait_rounds(&p, 1);
	assert_int_equal(vf_receiver_end_pages(p.receiver, &err), -EPROTO);
	assert_string_equal(err.id, "pages-late");
	assert_non_null(strstr(err.message, "channel 1"));
	pair_done(&p);
}

static void test_closed_is_told(void **state)
{
	static const uint64_t sizes[] = { VF_MIB };
	struct pair p;

	(void) state;
	pair_init(&p, sizes, 1, 2, VF_CODEC_NONE);
	vf_channel_shutdown(p.out[0]);
	vf_channel_shutdown(p.out[1]);
	(void) pthread_mutex_lock(&p.lock);
	while (p.closed < 2)
		(void) pthread_cond_wait(&p.changed, &p.lock);
	(void) pthread_mutex_unlock(&p.lock);
	assert_int_equal(p.failed, 0);
	pair_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live_1_channel),
		cmocka_unit_test(test_live_4_channels),
		cmocka_unit_test(test_live_3_channels),
		cmocka_unit_test(test_live_lz4),
		cmocka_unit_test(test_live_zstd),
		cmocka_unit_test(test_source_dirt_is_sent),
		cmocka_unit_test(test_sparse_memory),
		cmocka_unit_test(test_zero_guest_costs_few_bytes),
		cmocka_unit_test(test_destination_not_fresh),
		cmocka_unit_test(test_cancel_in_a_slow_round),
		cmocka_unit_test(test_lost_peer_fails_the_round),
		cmocka_unit_test(test_who_is_stuck_is_waited_for),
		cmocka_unit_test(test_one_channel_is_ahead),
		cmocka_unit_test(test_end_in_the_first_round),
		cmocka_unit_test(test_bad_page_frames_are_refused),
		cmocka_unit_test(test_rounds_out_of_order_are_refused),
		cmocka_unit_test(test_pages_after_the_end),
		cmocka_unit_test(test_pages_across_the_end),
		cmocka_unit_test(test_closed_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
